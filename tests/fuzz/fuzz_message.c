/*
 * wire_decode on arbitrary bytes: no read outside the span, and whatever decodes encodes back to
 * the same bytes (the layout is canonical).
 */
#include "wire/hello.h"
#include "wire/message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct wire_message message;
    struct shoal_error error;
    if (wire_decode(data, size, &message, &error) != SHOAL_OK) {
        return 0;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < message.header.tensor_count; i++) {
        const uint8_t *payload = message.tensors[i].data;
        const size_t bytes = tensor_bytes(&message.tensors[i]);
        for (size_t j = 0; j < bytes; j++) {
            sum += payload[j];
        }
    }
    uint8_t *again = malloc(size);
    if (again == NULL || sum == UINT64_MAX) {
        abort();
    }
    memset(again, 0xA5, size);
    size_t used = 0;
    if (wire_encode(&message.header, message.tensors, message.text, again, size, NULL, &used,
                    &error) != SHOAL_OK ||
        used != size || memcmp(again, data, size) != 0) {
        abort();
    }
    struct wire_hello hello;
    if (message.header.kind == WIRE_HELLO &&
        wire_hello_decode(&message, &hello, &error) == SHOAL_OK) {
        uint8_t whole[WIRE_HELLO_MESSAGE_BYTES];
        wire_hello_encode(&hello, whole);
        struct wire_message decoded;
        struct wire_hello copy;
        if (wire_decode(whole, sizeof whole, &decoded, &error) != SHOAL_OK ||
            wire_hello_decode(&decoded, &copy, &error) != SHOAL_OK ||
            strcmp(copy.name, hello.name) != 0) {
            abort();
        }
    }
    free(again);
    return 0;
}
