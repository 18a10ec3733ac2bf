#include "wire/hello.h"

#include "base/assert.h"
#include "wire/bytes.h"

#include <string.h>

enum hello_offset {
    AT_INSTANCE = 0,
    AT_SERIAL = 8,
    AT_MESSAGE_BYTES = 16,
    AT_CONTROL_BYTES = 24,
    AT_WINDOW = 28,
    AT_CONTROL_WINDOW = 32,
    AT_FLAGS = 36,
    AT_NAME = 40,
};
#define FLAG_SESSION 1u
_Static_assert(AT_NAME + WIRE_NAME_BYTES == WIRE_HELLO_BYTES, "the name ends the body");

void wire_hello_encode(const struct wire_hello *hello, uint8_t span[WIRE_HELLO_MESSAGE_BYTES]) {
    uint8_t body[WIRE_HELLO_BYTES] = {0};
    bytes_put(body + AT_INSTANCE, hello->instance, 8);
    bytes_put(body + AT_SERIAL, hello->serial, 8);
    bytes_put(body + AT_MESSAGE_BYTES, hello->message_bytes, 8);
    bytes_put(body + AT_CONTROL_BYTES, hello->control_bytes, 4);
    bytes_put(body + AT_WINDOW, hello->window, 4);
    bytes_put(body + AT_CONTROL_WINDOW, hello->control_window, 4);
    bytes_put(body + AT_FLAGS, hello->session ? FLAG_SESSION : 0, 4);
    const size_t length = strnlen(hello->name, WIRE_NAME_BYTES - 1);
    memcpy(body + AT_NAME, hello->name, length);
    const struct wire_header header = {.kind = WIRE_HELLO, .text_bytes = WIRE_HELLO_BYTES};
    size_t used = 0;
    const shoal_status status = wire_encode(&header, NULL, (const char *)body, span,
                                            WIRE_HELLO_MESSAGE_BYTES, NULL, &used, NULL);
    ASSERT(status == SHOAL_OK && used == WIRE_HELLO_MESSAGE_BYTES);
}

shoal_status wire_hello_decode(const struct wire_message *message, struct wire_hello *out,
                               struct shoal_error *error) {
    if (message->header.kind != WIRE_HELLO || message->header.text_bytes != WIRE_HELLO_BYTES) {
        return error_set(error, SHOAL_CORRUPT, "hello: %u bytes, not %d",
                         message->header.text_bytes, WIRE_HELLO_BYTES);
    }
    const uint8_t *body = (const uint8_t *)message->text;
    struct wire_hello hello = {
        .instance = bytes_get_u64(body + AT_INSTANCE),
        .serial = bytes_get_u64(body + AT_SERIAL),
        .message_bytes = bytes_get_u64(body + AT_MESSAGE_BYTES),
        .control_bytes = bytes_get_u32(body + AT_CONTROL_BYTES),
        .window = bytes_get_u32(body + AT_WINDOW),
        .control_window = bytes_get_u32(body + AT_CONTROL_WINDOW),
    };
    if (hello.message_bytes < WIRE_HEADER_BYTES || hello.message_bytes > WIRE_MAX_MESSAGE_BYTES) {
        return error_set(error, SHOAL_CORRUPT, "hello: message limit %llu",
                         (unsigned long long)hello.message_bytes);
    }
    if (hello.control_bytes < WIRE_HEADER_BYTES || hello.control_bytes > WIRE_MAX_MESSAGE_BYTES) {
        return error_set(error, SHOAL_CORRUPT, "hello: control limit %u", hello.control_bytes);
    }
    if (hello.window == 0 || hello.control_window == 0) {
        return error_set(error, SHOAL_CORRUPT, "hello: window 0");
    }
    const uint32_t flags = bytes_get_u32(body + AT_FLAGS);
    if ((flags & ~FLAG_SESSION) != 0) {
        return error_set(error, SHOAL_CORRUPT, "hello: unknown flags %#x", flags);
    }
    hello.session = (flags & FLAG_SESSION) != 0;
    memcpy(hello.name, body + AT_NAME, WIRE_NAME_BYTES);
    if (hello.name[0] == '\0' || hello.name[WIRE_NAME_BYTES - 1] != '\0') {
        return error_set(error, SHOAL_CORRUPT, "hello: no name, or a name without end");
    }
    *out = hello;
    return SHOAL_OK;
}
