/* Little-endian numbers at unaligned places, byte by byte: the same on every processor. */
#ifndef WIRE_BYTES_H
#define WIRE_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline void bytes_put(uint8_t *to, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; i++) {
        to[i] = (uint8_t)(value >> (8 * i));
    }
}
static inline uint64_t bytes_get(const uint8_t *from, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value |= (uint64_t)from[i] << (8 * i);
    }
    return value;
}
static inline uint16_t bytes_get_u16(const uint8_t *from) {
    return (uint16_t)bytes_get(from, 2);
}
static inline uint32_t bytes_get_u32(const uint8_t *from) {
    return (uint32_t)bytes_get(from, 4);
}
static inline uint64_t bytes_get_u64(const uint8_t *from) {
    return bytes_get(from, 8);
}

#endif
