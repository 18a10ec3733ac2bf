/* The header's parser. The source over mapped files is safetensors_source.c. */
#include "formats/safetensors.h"

#include "base/checked.h"
#include "base/memory.h"
#include "formats/json.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX_BYTES ((size_t)8)

static const struct {
    const char *text;
    enum dtype dtype;
} dtype_names[] = {
    {"F32", DTYPE_F32},   {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"F64", DTYPE_F64},
    {"I8", DTYPE_I8},     {"U8", DTYPE_U8},   {"I16", DTYPE_I16},   {"U16", DTYPE_U16},
    {"I32", DTYPE_I32},   {"U32", DTYPE_U32}, {"I64", DTYPE_I64},   {"U64", DTYPE_U64},
    {"BOOL", DTYPE_BOOL},
};

static shoal_status parse_dtype(const json_t *object, enum dtype *out, struct shoal_error *error) {
    const char *text = NULL;
    TRY(json_get_string(object, "dtype", &text, error));
    if (text == NULL) {
        return error_set(error, SHOAL_CORRUPT, "dtype is missing");
    }
    for (size_t i = 0; i < sizeof dtype_names / sizeof dtype_names[0]; i++) {
        if (strcmp(text, dtype_names[i].text) == 0) {
            *out = dtype_names[i].dtype;
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_UNSUPPORTED, "element type %.32s is not supported", text);
}

static shoal_status parse_shape(const json_t *object, struct shape *out,
                                struct shoal_error *error) {
    const json_t *list = json_object_get(object, "shape");
    if (!json_is_array(list)) {
        return error_set(error, SHOAL_CORRUPT, "shape is not a list");
    }
    const size_t rank = json_array_size(list);
    if (rank > SHAPE_MAX_RANK) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "shape has %zu dimensions, at most %d are supported", rank,
                         SHAPE_MAX_RANK);
    }
    struct shape shape = {.rank = (int)rank};
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(list, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
            return error_set(error, SHOAL_CORRUPT, "shape has a dimension that is not a count");
        }
        shape.dims[i] = json_integer_value(dim);
    }
    *out = shape;
    return SHOAL_OK;
}

/* data_offsets [begin, end), relative to the byte after the header; made absolute here. */
static shoal_status parse_offsets(const json_t *object, size_t data_start, size_t file_bytes,
                                  struct safetensors_entry *entry, struct shoal_error *error) {
    const json_t *list = json_object_get(object, "data_offsets");
    const json_t *first = json_array_get(list, 0), *second = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_integer(first) || !json_is_integer(second)) {
        return error_set(error, SHOAL_CORRUPT, "data_offsets is not a list of two integers");
    }
    const int64_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || (uint64_t)end > file_bytes - data_start) {
        return error_set(error, SHOAL_CORRUPT,
                         "data_offsets [%lld, %lld] leave the file, whose data has %zu bytes",
                         (long long)begin, (long long)end, file_bytes - data_start);
    }
    size_t expected = 0;
    if (!shape_bytes(&entry->shape, entry->dtype, &expected)) {
        return error_set(error, SHOAL_CORRUPT, "its shape overflows");
    }
    if (expected != (size_t)(end - begin)) {
        char text[SHAPE_TEXT];
        return error_set(error, SHOAL_CORRUPT, "%s %s needs %zu bytes, data_offsets span %zu",
                         dtype_name(entry->dtype), shape_format(&entry->shape, text), expected,
                         (size_t)(end - begin));
    }
    entry->offset = data_start + (size_t)begin;
    entry->bytes = expected;
    return SHOAL_OK;
}

static shoal_status parse_entry(const json_t *object, size_t data_start, size_t file_bytes,
                                struct safetensors_entry *entry, struct shoal_error *error) {
    if (!json_is_object(object)) {
        return error_set(error, SHOAL_CORRUPT, "expected an object, found %s", json_kind(object));
    }
    TRY(parse_dtype(object, &entry->dtype, error));
    TRY(parse_shape(object, &entry->shape, error));
    return parse_offsets(object, data_start, file_bytes, entry, error);
}

static shoal_status check_metadata(const json_t *metadata, struct shoal_error *error) {
    if (!json_is_object(metadata)) {
        return error_set(error, SHOAL_CORRUPT, "__metadata__ is not an object");
    }
    for (void *i = json_object_iter((json_t *)(uintptr_t)metadata); i != NULL;
         i = json_object_iter_next((json_t *)(uintptr_t)metadata, i)) {
        if (!json_is_string(json_object_iter_value(i))) {
            return error_set(error, SHOAL_CORRUPT, "__metadata__ has a value that is not a string");
        }
    }
    return SHOAL_OK;
}

static shoal_status parse_entries(json_t *header, size_t data_start, size_t file_bytes,
                                  struct safetensors_table *table, struct shoal_error *error) {
    const size_t members = json_object_size(header);
    size_t bytes = 0;
    if (!checked_mul_size(members, sizeof *table->entries, &bytes)) {
        return error_set(error, SHOAL_NO_MEMORY, "too many tensors");
    }
    table->entries = arena_alloc(&table->arena, bytes > 0 ? bytes : 1);
    if (table->entries == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", members);
    }
    for (void *i = json_object_iter(header); i != NULL; i = json_object_iter_next(header, i)) {
        const char *name = json_object_iter_key(i);
        if (strcmp(name, "__metadata__") == 0) {
            TRY(check_metadata(json_object_iter_value(i), error));
            continue;
        }
        struct safetensors_entry *entry = &table->entries[table->count];
        const shoal_status status =
            parse_entry(json_object_iter_value(i), data_start, file_bytes, entry, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "tensor %.128s", name);
        }
        entry->name = arena_strdup(&table->arena, name);
        if (entry->name == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for tensor names");
        }
        table->count++;
    }
    return SHOAL_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const struct safetensors_entry *left = a, *right = b;
    if (left->offset != right->offset) {
        return left->offset < right->offset ? -1 : 1;
    }
    return left->bytes < right->bytes ? -1 : left->bytes > right->bytes;
}

static int compare_names(const void *a, const void *b) {
    const struct safetensors_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

/* The format allows neither overlaps nor holes: every byte of the file belongs to exactly one
 * tensor. */
static shoal_status check_cover(struct safetensors_table *table, size_t data_start,
                                size_t file_bytes, struct shoal_error *error) {
    qsort(table->entries, table->count, sizeof *table->entries, compare_offsets);
    size_t next = data_start;
    for (size_t i = 0; i < table->count; i++) {
        const struct safetensors_entry *entry = &table->entries[i];
        if (entry->offset != next) {
            return error_set(error, SHOAL_CORRUPT, "tensor %.128s %s the tensor before it",
                             entry->name,
                             entry->offset < next ? "overlaps" : "leaves a hole after");
        }
        next += entry->bytes;
    }
    if (next != file_bytes) {
        return error_set(error, SHOAL_CORRUPT, "%zu bytes at the end belong to no tensor",
                         file_bytes - next);
    }
    qsort(table->entries, table->count, sizeof *table->entries, compare_names);
    return SHOAL_OK;
}

/* Where the data starts: the header's own length, checked before anything else is believed. */
static shoal_status header_span(const unsigned char *file, size_t size, size_t *out,
                                struct shoal_error *error) {
    if (size < PREFIX_BYTES) {
        return error_set(error, SHOAL_CORRUPT, "%zu bytes are too few for a safetensors file",
                         size);
    }
    uint64_t length = 0;
    for (size_t i = 0; i < PREFIX_BYTES; i++) {
        length |= (uint64_t)file[i] << (8 * i);
    }
    if (length > size - PREFIX_BYTES || length > SAFETENSORS_HEADER_LIMIT) {
        return error_set(
            error, SHOAL_CORRUPT,
            "header length %llu does not fit (file of %zu bytes, limit %zu): cut off, or "
            "not a safetensors file",
            (unsigned long long)length, size, SAFETENSORS_HEADER_LIMIT);
    }
    *out = PREFIX_BYTES + (size_t)length;
    return SHOAL_OK;
}

shoal_status safetensors_parse(const void *file, size_t size, struct safetensors_table *out,
                               struct shoal_error *error) {
    size_t data_start = 0;
    TRY(header_span(file, size, &data_start, error));
    json_t *header = NULL;
    const shoal_status parsed = json_parse_object((const char *)file + PREFIX_BYTES,
                                                  data_start - PREFIX_BYTES, &header, error);
    if (parsed != SHOAL_OK) {
        return error_wrap(error, parsed, "header");
    }
    struct safetensors_table table = {.entries = NULL, .count = 0};
    arena_init(&table.arena);
    shoal_status status = parse_entries(header, data_start, size, &table, error);
    json_decref(header);
    if (status == SHOAL_OK) {
        status = check_cover(&table, data_start, size, error);
    }
    if (status != SHOAL_OK) {
        safetensors_table_fini(&table);
        return status;
    }
    *out = table;
    return SHOAL_OK;
}

void safetensors_table_fini(struct safetensors_table *table) {
    arena_fini(&table->arena);
    table->entries = NULL;
    table->count = 0;
}
