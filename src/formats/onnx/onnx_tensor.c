/* Tensors: where their payload is, checked against type and shape, and reading it. */
#include "base/checked.h"
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"

#include <string.h>

/* Bytes that count elements take when they lie packed in raw_data; false on overflow. */
static bool packed_bytes(int64_t count, unsigned bits, size_t *out) {
    int64_t total = 0;
    if (!checked_mul_i64(count, (int64_t)bits, &total) || !checked_add_i64(total, 7, &total)) {
        return false;
    }
    *out = (size_t)(total / 8);
    return true;
}

static shoal_status build_shape(const Onnx__TensorProto *from, struct shape *out, int64_t *count,
                                struct shoal_error *error) {
    if (from->n_dims > SHAPE_MAX_RANK) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "it has %zu dimensions, at most %d are supported", from->n_dims,
                         SHAPE_MAX_RANK);
    }
    struct shape shape = {.rank = (int)from->n_dims};
    for (size_t i = 0; i < from->n_dims; i++) {
        shape.dims[i] = from->dims[i];
        if (shape.dims[i] < 0) {
            return error_set(error, SHOAL_CORRUPT, "its dimension %zu is %lld", i,
                             (long long)shape.dims[i]);
        }
    }
    if (!shape_count(&shape, count)) {
        return error_set(error, SHOAL_CORRUPT, "its shape overflows");
    }
    *out = shape;
    return SHOAL_OK;
}

/* bytes must be what type and shape need. */
static shoal_status check_bytes(const struct onnx_tensor *tensor, int64_t count, size_t bytes,
                                const char *where, struct shoal_error *error) {
    const unsigned bits = onnx_dtype_bits(tensor->type);
    size_t expected = 0;
    if (bits == 0) {
        return SHOAL_OK; /* reading it will be refused */
    }
    if (!packed_bytes(count, bits, &expected)) {
        return error_set(error, SHOAL_CORRUPT, "its shape overflows");
    }
    if (expected != bytes) {
        char text[SHAPE_TEXT];
        return error_set(error, SHOAL_CORRUPT, "%s %s needs %zu bytes, %s has %zu",
                         onnx_dtype_name(tensor->type), shape_format(&tensor->shape, text),
                         expected, where, bytes);
    }
    return SHOAL_OK;
}

static const char *entry(const Onnx__TensorProto *from, const char *key) {
    for (size_t i = 0; i < from->n_external_data; i++) {
        const Onnx__StringStringEntryProto *pair = from->external_data[i];
        if (pair->key != NULL && strcmp(pair->key, key) == 0) {
            return pair->value != NULL ? pair->value : "";
        }
    }
    return NULL;
}

static shoal_status entry_number(const Onnx__TensorProto *from, const char *key, size_t absent,
                                 size_t *out, struct shoal_error *error) {
    const char *text = entry(from, key);
    size_t value = 0;
    if (text == NULL) {
        *out = absent;
        return SHOAL_OK;
    }
    bool good = text[0] != '\0';
    for (const char *at = text; *at != '\0' && good; at++) {
        good = *at >= '0' && *at <= '9' && checked_mul_size(value, 10, &value) &&
               checked_add_size(value, (size_t)(*at - '0'), &value);
    }
    if (!good) {
        return error_set(error, SHOAL_CORRUPT, "its external data's %s is \"%.40s\", not a number",
                         key, text);
    }
    *out = value;
    return SHOAL_OK;
}

static shoal_status build_external(struct onnx_store *store, const Onnx__TensorProto *from,
                                   int64_t count, struct onnx_tensor *out,
                                   struct shoal_error *error) {
    const char *location = entry(from, "location");
    size_t offset = 0, length = 0, expected = 0;
    if (location == NULL) {
        return error_set(error, SHOAL_CORRUPT, "its data is external, but no location is given");
    }
    if (onnx_dtype_bits(out->type) == 0) {
        return error_set(error, SHOAL_CORRUPT, "its data is external, which its type %s cannot be",
                         onnx_dtype_name(out->type));
    }
    if (!packed_bytes(count, onnx_dtype_bits(out->type), &expected)) {
        return error_set(error, SHOAL_CORRUPT, "its shape overflows");
    }
    TRY(entry_number(from, "offset", 0, &offset, error));
    TRY(entry_number(from, "length", expected, &length, error));
    TRY(check_bytes(out, count, length, "its external data", error));
    TRY(onnx_external_file(store, location, &out->file, error));
    const size_t size = out->file->map.size;
    if (offset > size || length > size - offset) {
        return error_set(error, SHOAL_CORRUPT,
                         "its %zu bytes at %zu are not in %s, which has %zu: cut off, or not the "
                         "model's",
                         length, offset, out->file->path, size);
    }
    out->external = true;
    out->offset = offset;
    out->byte_count = length;
    out->bytes = length > 0 ? (const unsigned char *)out->file->map.data + offset : NULL;
    return SHOAL_OK;
}

/* Contiguous payload: raw_data, or fixed-width numbers packed in one piece. */
static bool is_contiguous(const struct onnx_tensor *tensor, const struct onnx_chunk *chunk) {
    return chunk->field == ONNX_RAW_DATA ||
           (chunk->packed && ((chunk->field == ONNX_FLOAT_DATA && tensor->type == ONNX_FLOAT) ||
                              (chunk->field == ONNX_DOUBLE_DATA && tensor->type == ONNX_DOUBLE)));
}

static shoal_status keep_chunks(struct onnx_store *store, const Onnx__TensorProto *from,
                                struct onnx_tensor *out, struct shoal_error *error) {
    const size_t size = store->files[0]->map.size;
    const unsigned field = onnx_dtype_field(out->type);
    struct onnx_chunk *chunks = NULL;
    TRY(onnx_store_array(store, from->n_chunk, sizeof *chunks, &chunks, error));
    for (size_t i = 0; i < from->n_chunk; i++) {
        const Onnx__Chunk *chunk = from->chunk[i];
        if (chunk->offset > size || chunk->bytes > size - chunk->offset) {
            return error_set(error, SHOAL_INTERNAL, "its data leaves the file");
        }
        if (chunk->bytes == 0) {
            continue;
        }
        if (field != 0 && chunk->field != ONNX_RAW_DATA && chunk->field != field) {
            return error_set(error, SHOAL_CORRUPT, "its data is in %s, where %s cannot be",
                             onnx_payload_name(chunk->field), onnx_dtype_name(out->type));
        }
        if (out->chunk_count > 0 &&
            (chunk->field == ONNX_RAW_DATA || chunks[0].field == ONNX_RAW_DATA)) {
            return error_set(error, SHOAL_CORRUPT, "its data is there twice: %s and %s",
                             onnx_payload_name(chunks[0].field), onnx_payload_name(chunk->field));
        }
        chunks[out->chunk_count++] = (struct onnx_chunk){.field = chunk->field,
                                                         .packed = chunk->packed != 0,
                                                         .offset = (size_t)chunk->offset,
                                                         .bytes = (size_t)chunk->bytes};
    }
    out->chunks = chunks;
    return SHOAL_OK;
}

static shoal_status build_internal(struct onnx_store *store, const Onnx__TensorProto *from,
                                   int64_t count, struct onnx_tensor *out,
                                   struct shoal_error *error) {
    TRY(keep_chunks(store, from, out, error));
    if (out->chunk_count == 0) {
        return count == 0 ? SHOAL_OK : check_bytes(out, count, 0, "the file", error);
    }
    const struct onnx_chunk *first = &out->chunks[0];
    if (out->chunk_count == 1 && is_contiguous(out, first)) {
        TRY(check_bytes(out, count, first->bytes, onnx_payload_name(first->field), error));
        out->offset = first->offset;
        out->byte_count = first->bytes;
        out->bytes = (const unsigned char *)out->file->map.data + first->offset;
    }
    return SHOAL_OK;
}

static shoal_status build(struct onnx_store *store, const Onnx__TensorProto *from,
                          struct onnx_tensor *out, struct shoal_error *error) {
    int64_t count = 0;
    out->type = from->data_type;
    out->file = store->files[0];
    TRY(build_shape(from, &out->shape, &count, error));
    if (from->data_location == 0) {
        return build_internal(store, from, count, out, error);
    }
    if (from->data_location != 1) {
        return error_set(error, SHOAL_UNSUPPORTED, "its data_location %d is unknown",
                         from->data_location);
    }
    return build_external(store, from, count, out, error);
}

shoal_status onnx_tensor_build(struct onnx_store *store, const Onnx__TensorProto *from,
                               struct onnx_tensor *out, struct shoal_error *error) {
    struct onnx_tensor tensor = {.name = from->name != NULL ? from->name : ""};
    const shoal_status status = build(store, from, &tensor, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "tensor \"%.128s\"", tensor.name);
    }
    *out = tensor;
    return SHOAL_OK;
}

shoal_status onnx_tensors_build(struct onnx_store *store, Onnx__TensorProto *const *from,
                                size_t count, const struct onnx_tensor **out,
                                struct shoal_error *error) {
    struct onnx_tensor *tensors = NULL;
    TRY(onnx_store_array(store, count, sizeof *tensors, &tensors, error));
    for (size_t i = 0; i < count; i++) {
        TRY(onnx_tensor_build(store, from[i], &tensors[i], error));
    }
    *out = tensors;
    return SHOAL_OK;
}
