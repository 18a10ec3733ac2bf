#include "wire/fragment.h"

#include "wire/bytes.h"
#include "wire/message.h"

void wire_tag_encode(uint64_t total, uint64_t offset, uint8_t out[WIRE_TAG_BYTES]) {
    bytes_put(out, total, 8);
    bytes_put(out + 8, offset, 8);
}

bool wire_assembly_take(struct wire_assembly *assembly, const uint8_t *tag, size_t tag_bytes,
                        size_t size, uint64_t limit, uint64_t *offset) {
    if (tag_bytes != WIRE_TAG_BYTES || size == 0) {
        return false;
    }
    const uint64_t total = bytes_get_u64(tag), at = bytes_get_u64(tag + 8);
    if (at == 0) {
        if (assembly->total != 0 || total < WIRE_HEADER_BYTES || total > limit || size > total) {
            return false;
        }
        *assembly = (struct wire_assembly){.total = total};
    } else if (assembly->total == 0 || total != assembly->total || at != assembly->have ||
               size > total - assembly->have) {
        return false;
    }
    *offset = at;
    assembly->have += size;
    return true;
}

void wire_printable(const char *bytes, size_t count, char *out, size_t capacity) {
    size_t used = 0;
    for (size_t i = 0; i < count && bytes[i] != '\0' && used + 1 < capacity; i++) {
        const unsigned char one = (unsigned char)bytes[i];
        out[used++] = one >= 32 && one < 127 ? (char)one : '?';
    }
    out[used] = '\0';
}
