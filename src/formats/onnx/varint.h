/* Varints of the protobuf wire format. */
#ifndef FORMATS_ONNX_VARINT_H
#define FORMATS_ONNX_VARINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* Reads at *at < end and moves it; false if the varint is cut off or longer than ten bytes. */
static inline bool varint_read(const unsigned char **at, const unsigned char *end, uint64_t *out) {
    uint64_t value = 0;
    const unsigned char *next = *at;
    for (unsigned shift = 0; shift < 70 && next < end; shift += 7) {
        const unsigned char byte = *next++;
        value |= (uint64_t)(byte & 0x7f) << (shift < 64 ? shift : 63);
        if ((byte & 0x80) == 0) {
            *at = next;
            *out = value;
            return true;
        }
    }
    return false;
}

#endif
