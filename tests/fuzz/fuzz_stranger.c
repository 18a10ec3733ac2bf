/*
 * What a stranger, or a device on the list, can make the transport's own parsers read. The first
 * byte says which: 0 a request to the authentication handler, 1 a sequence of fragments, 2 the text
 * of a HELLO or BYE. The rest is frames, each a length byte and its bytes.
 */
#include "transport/zmq/zap.h"
#include "wire/bytes.h"
#include "wire/fragment.h"
#include "wire/hello.h"

#include <stdlib.h>
#include <string.h>

#define LIMIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds) {
        abort();
    }
}

/* The next frame; false at the end. */
static bool next_frame(const uint8_t **data, size_t *size, const uint8_t **frame, size_t *bytes) {
    if (*size == 0) {
        return false;
    }
    *bytes = (*data)[0] < *size - 1 ? (*data)[0] : *size - 1;
    *frame = *data + 1;
    *data += 1 + *bytes;
    *size -= 1 + *bytes;
    return true;
}

static void check_printable(const char *text, size_t capacity) {
    check(memchr(text, '\0', capacity) != NULL);
    for (; *text != '\0'; text++) {
        check(*text >= 32 && *text < 127);
    }
}

static void try_zap(const uint8_t *data, size_t size) {
    static struct zap_request request;
    memset(&request, 0, sizeof request);
    const uint8_t *frame;
    size_t bytes;
    while (next_frame(&data, &size, &frame, &bytes)) {
        if (request.count < ZAP_FRAMES) {
            memcpy(request.frames[request.count], frame, bytes);
            request.sizes[request.count] = bytes == 255 ? 100000 : bytes; /* longer than is kept */
        }
        request.count++;
    }
    const uint8_t *key = zap_key(&request);
    check(key == NULL || (key == request.frames[ZAP_KEY] && request.sizes[ZAP_KEY] == 32));
    char who[64];
    zap_address(&request, who, sizeof who);
    check_printable(who, sizeof who);
}

/* Pairs of a tag and a piece, as they come; what is complete is decoded. */
static void try_fragments(const uint8_t *data, size_t size) {
    struct wire_assembly assembly = {0};
    uint8_t *message = NULL;
    const uint8_t *tag, *piece;
    size_t tag_bytes, bytes;
    while (next_frame(&data, &size, &tag, &tag_bytes) && next_frame(&data, &size, &piece, &bytes)) {
        const struct wire_assembly before = assembly;
        uint64_t offset = 0;
        if (!wire_assembly_take(&assembly, tag, tag_bytes, bytes, LIMIT, &offset)) {
            check(memcmp(&before, &assembly, sizeof before) == 0);
            break; /* the connection ends */
        }
        if (offset == 0) {
            check(message == NULL && assembly.total <= LIMIT);
            message = malloc((size_t)assembly.total);
            check(message != NULL);
        }
        check(message != NULL); /* the first piece made it */
        memcpy(message + offset, piece, bytes);
        check(assembly.have == before.have + bytes && assembly.have <= assembly.total);
        if (assembly.have == assembly.total) {
            struct wire_message decoded;
            struct shoal_error error;
            const shoal_status status =
                wire_decode(message, (size_t)assembly.total, &decoded, &error);
            check(status != SHOAL_OK || decoded.header.kind < WIRE_KIND_COUNT);
            free(message);
            message = NULL;
            assembly = (struct wire_assembly){0};
        }
    }
    free(message);
}

static void try_texts(const uint8_t *data, size_t size) {
    const size_t count = size < WIRE_HELLO_BYTES ? size : WIRE_HELLO_BYTES;
    uint8_t body[WIRE_HELLO_BYTES] = {0}, again[WIRE_HELLO_MESSAGE_BYTES];
    memcpy(body, data, count);
    const struct wire_message message = {
        .header = {.kind = WIRE_HELLO, .text_bytes = WIRE_HELLO_BYTES}, .text = (const char *)body};
    struct wire_hello hello;
    struct shoal_error error;
    char text[90];
    if (wire_hello_decode(&message, &hello, &error) == SHOAL_OK) {
        check(strlen(hello.name) < WIRE_NAME_BYTES && hello.window > 0);
        wire_hello_encode(&hello, again);
        const uint8_t *canonical = again + WIRE_HEADER_BYTES;
        check(memcmp(canonical, body, 40) == 0); /* all but what follows the name's end */
        wire_printable(hello.name, WIRE_NAME_BYTES, text, sizeof text);
        check_printable(text, sizeof text);
    }
    wire_printable((const char *)data, size, text, sizeof text);
    check_printable(text, sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    switch (data[0] % 3) {
    case 0:
        try_zap(data + 1, size - 1);
        break;
    case 1:
        try_fragments(data + 1, size - 1);
        break;
    default:
        try_texts(data + 1, size - 1);
        break;
    }
    return 0;
}
