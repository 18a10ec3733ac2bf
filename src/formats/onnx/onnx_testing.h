/* For tests: a writer of the protobuf wire format, just enough to build ONNX files by hand. */
#ifndef FORMATS_ONNX_ONNX_TESTING_H
#define FORMATS_ONNX_ONNX_TESTING_H

#include "base/assert.h"

#include <stdint.h>
#include <string.h>

#define PB_BYTES ((size_t)16384)

struct pb {
    size_t size;
    unsigned char bytes[PB_BYTES];
};

static inline void pb_raw(struct pb *pb, const void *bytes, size_t size) {
    ASSERT(size <= PB_BYTES - pb->size);
    if (size > 0) {
        memcpy(pb->bytes + pb->size, bytes, size);
    }
    pb->size += size;
}

static inline void pb_varint(struct pb *pb, uint64_t value) {
    do {
        const unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        pb_raw(pb, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static inline void pb_tag(struct pb *pb, unsigned field, unsigned wire) {
    pb_varint(pb, (uint64_t)field << 3 | wire);
}

static inline void pb_int(struct pb *pb, unsigned field, int64_t value) {
    pb_tag(pb, field, 0);
    pb_varint(pb, (uint64_t)value);
}

static inline void pb_bytes(struct pb *pb, unsigned field, const void *bytes, size_t size) {
    pb_tag(pb, field, 2);
    pb_varint(pb, size);
    pb_raw(pb, bytes, size);
}

static inline void pb_text(struct pb *pb, unsigned field, const char *text) {
    pb_bytes(pb, field, text, strlen(text));
}

static inline void pb_message(struct pb *pb, unsigned field, const struct pb *message) {
    pb_bytes(pb, field, message->bytes, message->size);
}

static inline void pb_float(struct pb *pb, unsigned field, float value) {
    pb_tag(pb, field, 5);
    pb_raw(pb, &value, sizeof value);
}

/* TensorProto: name, type, dims; data is the caller's to add. */
static inline void pb_tensor(struct pb *pb, const char *name, int type, size_t rank,
                             const int64_t *dims) {
    for (size_t i = 0; i < rank; i++) {
        pb_int(pb, 1, dims[i]);
    }
    pb_int(pb, 2, type);
    if (name != NULL) {
        pb_text(pb, 8, name);
    }
}

static inline void pb_external(struct pb *pb, const char *key, const char *value) {
    static struct pb entry;
    entry.size = 0;
    pb_text(&entry, 1, key);
    pb_text(&entry, 2, value);
    pb_message(pb, 13, &entry);
}

/* ModelProto around a GraphProto. */
static inline void pb_model(struct pb *pb, int64_t ir_version, int64_t opset,
                            const struct pb *graph) {
    static struct pb import;
    import.size = 0;
    pb_text(&import, 1, "");
    pb_int(&import, 2, opset);
    pb->size = 0;
    pb_int(pb, 1, ir_version);
    pb_text(pb, 2, "by hand");
    pb_message(pb, 7, graph);
    pb_message(pb, 8, &import);
}

#endif
