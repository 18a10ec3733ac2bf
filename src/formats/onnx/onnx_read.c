/* Reading a tensor's elements out of whatever a file keeps them in. */
#include "base/checked.h"
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"
#include "formats/onnx/varint.h"

#include <string.h>

/* Elements being written, in order. */
struct sink {
    unsigned char *data;
    size_t size; /* of an element in memory */
    size_t done, count;
    unsigned bits; /* of an element in the file */
    bool is_signed, is_bool;
};

/* The elements of a byte, lowest bits first; the last byte may have bits to spare. */
static void put_packed(struct sink *sink, unsigned byte) {
    const unsigned mask = (1u << sink->bits) - 1, sign = 1u << (sink->bits - 1);
    for (unsigned at = 0; at < 8 && sink->done < sink->count; at += sink->bits) {
        const unsigned bits = (byte >> at) & mask;
        sink->data[sink->done++] =
            (unsigned char)(sink->is_signed && (bits & sign) != 0 ? bits | ~mask : bits);
    }
}

/* Elements that are in low bits of a number; false if there are more than there should be. */
static bool put_number(struct sink *sink, uint64_t value) {
    if (sink->done == sink->count) {
        return false;
    }
    if (sink->bits < 8) {
        put_packed(sink, (unsigned)(value & 0xff));
        return true;
    }
    if (sink->is_bool) {
        value = value != 0;
    }
    memcpy(sink->data + sink->done++ * sink->size, &value, sink->size); /* little-endian */
    return true;
}

static bool put_fixed(struct sink *sink, const unsigned char *from, size_t bytes) {
    if (bytes != sink->size || sink->done == sink->count) {
        return false;
    }
    memcpy(sink->data + sink->done++ * sink->size, from, bytes);
    return true;
}

static bool put_value(struct sink *sink, unsigned field, const unsigned char **at,
                      const unsigned char *end) {
    if (field == ONNX_FLOAT_DATA || field == ONNX_DOUBLE_DATA) {
        const size_t bytes = field == ONNX_FLOAT_DATA ? 4 : 8;
        if ((size_t)(end - *at) < bytes || !put_fixed(sink, *at, bytes)) {
            return false;
        }
        *at += bytes;
        return true;
    }
    uint64_t value = 0;
    return varint_read(at, end, &value) && put_number(sink, value);
}

static shoal_status read_chunk(const struct onnx_tensor *tensor, const struct onnx_chunk *chunk,
                               struct sink *sink, struct shoal_error *error) {
    const unsigned char *at = (const unsigned char *)tensor->file->map.data + chunk->offset;
    const unsigned char *end = at + chunk->bytes;
    while (at < end) {
        uint64_t tag = 0;
        if ((!chunk->packed && !varint_read(&at, end, &tag)) ||
            !put_value(sink, chunk->field, &at, end)) {
            return error_set(error, SHOAL_CORRUPT,
                             "its %s is damaged, or has more than the %zu elements of its shape",
                             onnx_payload_name(chunk->field), sink->count);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_chunks(const struct onnx_tensor *tensor, struct sink *sink,
                                struct shoal_error *error) {
    for (size_t i = 0; i < tensor->chunk_count; i++) {
        TRY(read_chunk(tensor, &tensor->chunks[i], sink, error));
    }
    if (sink->done < sink->count) {
        return error_set(error, SHOAL_CORRUPT, "it has %zu elements, its shape needs %zu",
                         sink->done, sink->count);
    }
    return SHOAL_OK;
}

static void read_contiguous(const struct onnx_tensor *tensor, struct sink *sink) {
    if (sink->bits < 8) {
        for (size_t i = 0; i < tensor->byte_count; i++) {
            put_packed(sink, tensor->bytes[i]);
        }
        return;
    }
    if (sink->is_bool) {
        for (size_t i = 0; i < sink->count; i++) {
            sink->data[i] = tensor->bytes[i] != 0;
        }
        return;
    }
    memcpy(sink->data, tensor->bytes, sink->count * sink->size);
}

/* A shape that lies must not cost memory: four elements of two bits are the most that a byte of
 * payload can hold. */
static bool is_plausible(const struct onnx_tensor *tensor, size_t count) {
    size_t payload = tensor->byte_count;
    for (size_t i = 0; i < tensor->chunk_count && tensor->bytes == NULL; i++) {
        payload += tensor->chunks[i].bytes;
    }
    return count / 4 <= payload;
}

static shoal_status read_elements(const struct onnx_tensor *tensor, struct tensor *out,
                                  struct shoal_error *error) {
    enum dtype dtype = DTYPE_COUNT;
    int64_t count = 0;
    size_t bytes = 0;
    if (!onnx_dtype(tensor->type, &dtype)) {
        return error_set(error, SHOAL_UNSUPPORTED, "elements of type %s (%d) cannot be read",
                         onnx_dtype_name(tensor->type), tensor->type);
    }
    if (!shape_count(&tensor->shape, &count) || !shape_bytes(&tensor->shape, dtype, &bytes) ||
        !is_plausible(tensor, (size_t)count)) {
        char text[SHAPE_TEXT];
        return error_set(error, SHOAL_CORRUPT, "its data is too short for %s %s",
                         onnx_dtype_name(tensor->type), shape_format(&tensor->shape, text));
    }
    struct sink sink = {.data = mem_alloc_aligned(bytes > 0 ? bytes : 1),
                        .size = dtype_size(dtype),
                        .count = (size_t)count,
                        .bits = onnx_dtype_bits(tensor->type),
                        .is_signed = dtype == DTYPE_I4 || dtype == DTYPE_I2,
                        .is_bool = dtype == DTYPE_BOOL};
    if (sink.data == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu bytes", bytes);
    }
    if (tensor->bytes != NULL) {
        read_contiguous(tensor, &sink);
    } else {
        const shoal_status status = read_chunks(tensor, &sink, error);
        if (status != SHOAL_OK) {
            mem_free(sink.data);
            return status;
        }
    }
    *out = (struct tensor){.dtype = dtype, .shape = tensor->shape, .data = sink.data};
    return SHOAL_OK;
}

shoal_status onnx_tensor_read(const struct onnx_tensor *tensor, struct tensor *out,
                              struct shoal_error *error) {
    const shoal_status status = read_elements(tensor, out, error);
    return status == SHOAL_OK ? SHOAL_OK
                              : error_wrap(error, status, "%s: tensor \"%.128s\"",
                                           tensor->file->path, tensor->name);
}
