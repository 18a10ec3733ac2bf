#include "formats/manifest.h"

#include "base/memory.h"
#include "formats/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_FORMAT "shoal-manifest"
#define MANIFEST_VERSION 1

static int compare_names(const void *a, const void *b) {
    const struct manifest_entry *left = a, *right = b;
    return strcmp(left->name, right->name);
}

static int compare_keys(const void *a, const void *b) {
    const struct manifest_entry *const *left = a, *const *right = b;
    return strcmp((*left)->key, (*right)->key);
}

static bool is_key(const char *text) {
    return strlen(text) == DIGEST_TEXT - 1 && strspn(text, "0123456789abcdef") == DIGEST_TEXT - 1;
}

static shoal_status check_entry(const struct manifest_entry *entry, uint64_t *total,
                                struct shoal_error *error) {
    const size_t length = strlen(entry->name);
    if (length == 0 || length > MANIFEST_NAME_LIMIT) {
        return error_set(error, SHOAL_INVALID,
                         "tensor %.128s: a name of %zu bytes; 1 to %zu are allowed", entry->name,
                         length, MANIFEST_NAME_LIMIT);
    }
    size_t bytes = 0;
    if (!shape_bytes(&entry->shape, entry->dtype, &bytes) || bytes != entry->bytes) {
        char text[SHAPE_TEXT];
        return error_set(error, SHOAL_INVALID, "tensor %.128s: %s %s is not of %" PRIu64 " bytes",
                         entry->name, dtype_name(entry->dtype), shape_format(&entry->shape, text),
                         entry->bytes);
    }
    if (!is_key(entry->key)) {
        return error_set(error, SHOAL_INVALID, "tensor %.128s: its key is no SHA-256", entry->name);
    }
    if (entry->bytes > INT64_MAX - *total) {
        return error_set(error, SHOAL_INVALID, "tensor %.128s: the sizes overflow", entry->name);
    }
    *total += entry->bytes;
    return SHOAL_OK;
}

/* One content has one size. */
static shoal_status check_keys(const struct manifest *manifest, struct shoal_error *error) {
    const struct manifest_entry **by_key =
        mem_calloc(manifest->count > 0 ? manifest->count : 1, sizeof *by_key);
    if (by_key == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a manifest");
    }
    for (size_t i = 0; i < manifest->count; i++) {
        by_key[i] = &manifest->entries[i];
    }
    qsort(by_key, manifest->count, sizeof *by_key, compare_keys);
    shoal_status status = SHOAL_OK;
    for (size_t i = 1; i < manifest->count && status == SHOAL_OK; i++) {
        const struct manifest_entry *a = by_key[i - 1], *b = by_key[i];
        if (strcmp(a->key, b->key) == 0 && a->bytes != b->bytes) {
            status =
                error_set(error, SHOAL_INVALID,
                          "tensors %.128s and %.128s have one key and two sizes", a->name, b->name);
        }
    }
    mem_free(by_key);
    return status;
}

/* Of sorted entries. */
static shoal_status check(const struct manifest *manifest, struct shoal_error *error) {
    uint64_t total = 0;
    for (size_t i = 0; i < manifest->count; i++) {
        TRY(check_entry(&manifest->entries[i], &total, error));
        if (i > 0 && strcmp(manifest->entries[i - 1].name, manifest->entries[i].name) == 0) {
            return error_set(error, SHOAL_INVALID, "tensor %.128s is there twice",
                             manifest->entries[i].name);
        }
    }
    return check_keys(manifest, error);
}

static shoal_status make_entries(struct manifest *manifest, size_t count,
                                 struct shoal_error *error) {
    if (count > MANIFEST_MAX_TENSORS) {
        return error_set(error, SHOAL_INVALID, "%zu tensors; at most %zu are allowed", count,
                         MANIFEST_MAX_TENSORS);
    }
    manifest->entries =
        arena_alloc(&manifest->arena, (count > 0 ? count : 1) * sizeof *manifest->entries);
    return manifest->entries != NULL
               ? SHOAL_OK
               : error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", count);
}

static shoal_status copy_entries(struct manifest *manifest, const struct manifest_entry *entries,
                                 size_t count, struct shoal_error *error) {
    TRY(make_entries(manifest, count, error));
    for (size_t i = 0; i < count; i++) {
        manifest->entries[i] = entries[i];
        manifest->entries[i].name = arena_strdup(&manifest->arena, entries[i].name);
        if (manifest->entries[i].name == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for tensor names");
        }
    }
    manifest->count = count;
    qsort(manifest->entries, count, sizeof *manifest->entries, compare_names);
    return check(manifest, error);
}

shoal_status manifest_create(const struct manifest_entry *entries, size_t count,
                             struct manifest *out, struct shoal_error *error) {
    struct manifest manifest = {.count = 0};
    arena_init(&manifest.arena);
    const shoal_status status = copy_entries(&manifest, entries, count, error);
    if (status != SHOAL_OK) {
        manifest_fini(&manifest);
        return status;
    }
    *out = manifest;
    return SHOAL_OK;
}

void manifest_fini(struct manifest *manifest) {
    arena_fini(&manifest->arena);
    manifest->entries = NULL;
    manifest->count = 0;
}

const struct manifest_entry *manifest_find(const struct manifest *manifest, const char *name) {
    const struct manifest_entry wanted = {.name = name};
    return manifest->count == 0 ? NULL
                                : bsearch(&wanted, manifest->entries, manifest->count,
                                          sizeof *manifest->entries, compare_names);
}

/* Reading. */

static shoal_status get_text(const json_t *object, const char *key, const char **out,
                             struct shoal_error *error) {
    const char *text = NULL;
    TRY(json_get_string(object, key, &text, error));
    if (text == NULL) {
        return error_set(error, SHOAL_CORRUPT, "%s is missing", key);
    }
    *out = text;
    return SHOAL_OK;
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
    *out = (struct shape){.rank = (int)rank};
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(list, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0) {
            return error_set(error, SHOAL_CORRUPT, "shape has a dimension that is not a count");
        }
        out->dims[i] = json_integer_value(dim);
    }
    return SHOAL_OK;
}

static shoal_status parse_tensor(const json_t *object, struct manifest_entry *entry,
                                 struct shoal_error *error) {
    const char *dtype = NULL, *key = NULL;
    int64_t bytes = -1;
    TRY(get_text(object, "dtype", &dtype, error));
    if (!dtype_parse(dtype, &entry->dtype)) {
        return error_set(error, SHOAL_UNSUPPORTED, "element type %.32s is not supported", dtype);
    }
    TRY(parse_shape(object, &entry->shape, error));
    TRY(json_get_int(object, "bytes", 0, INT64_MAX, &bytes, error));
    if (bytes < 0) {
        return error_set(error, SHOAL_CORRUPT, "bytes is missing");
    }
    entry->bytes = (uint64_t)bytes;
    TRY(get_text(object, "key", &key, error));
    if (!is_key(key)) {
        return error_set(error, SHOAL_CORRUPT, "its key is no SHA-256");
    }
    memcpy(entry->key, key, DIGEST_TEXT);
    return json_object_size(object) == 5 ? SHOAL_OK
                                         : error_set(error, SHOAL_CORRUPT, "an unknown key");
}

static shoal_status parse_entries(const json_t *list, struct manifest *manifest,
                                  struct shoal_error *error) {
    TRY(make_entries(manifest, json_array_size(list), error));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *object = json_array_get(list, i);
        const char *name = NULL;
        if (!json_is_object(object)) {
            return error_set(error, SHOAL_CORRUPT, "tensor %zu is %s", i, json_kind(object));
        }
        shoal_status status = get_text(object, "name", &name, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "tensor %zu", i);
        }
        struct manifest_entry *entry = &manifest->entries[i];
        status = parse_tensor(object, entry, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "tensor %.128s", name);
        }
        entry->name = arena_strdup(&manifest->arena, name);
        if (entry->name == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for tensor names");
        }
        if (i > 0 && strcmp(entry[-1].name, name) >= 0) {
            return error_set(error, SHOAL_CORRUPT, "tensor %.128s is out of order, or twice", name);
        }
        manifest->count = i + 1;
    }
    return check(manifest, error);
}

static shoal_status parse_root(const json_t *root, struct manifest *manifest,
                               struct shoal_error *error) {
    const char *format = NULL;
    int64_t version = 0;
    TRY(json_get_string(root, "format", &format, error));
    if (format == NULL || strcmp(format, MANIFEST_FORMAT) != 0) {
        return error_set(error, SHOAL_CORRUPT, "format is not \"%s\"", MANIFEST_FORMAT);
    }
    TRY(json_get_int(root, "version", 1, INT64_MAX, &version, error));
    if (version != MANIFEST_VERSION) {
        return error_set(error, SHOAL_VERSION, "version %" PRId64 "; this program knows %d",
                         version, MANIFEST_VERSION);
    }
    const json_t *tensors = json_object_get(root, "tensors");
    if (!json_is_array(tensors)) {
        return error_set(error, SHOAL_CORRUPT, "tensors is not a list");
    }
    if (json_object_size(root) != 3) {
        return error_set(error, SHOAL_CORRUPT, "an unknown key");
    }
    const shoal_status status = parse_entries(tensors, manifest, error);
    if (status == SHOAL_INVALID && error != NULL) {
        error->code = SHOAL_CORRUPT;
    }
    return status == SHOAL_INVALID ? SHOAL_CORRUPT : status;
}

shoal_status manifest_parse(const void *bytes, size_t size, struct manifest *out,
                            struct shoal_error *error) {
    if (size > MANIFEST_LIMIT) {
        return error_set(error, SHOAL_CORRUPT, "manifest: %zu bytes, but at most %zu are accepted",
                         size, MANIFEST_LIMIT);
    }
    json_t *root = NULL;
    const shoal_status parsed = json_parse_object(bytes, size, &root, error);
    if (parsed != SHOAL_OK) {
        return error_wrap(error, parsed, "manifest");
    }
    struct manifest manifest = {.count = 0};
    arena_init(&manifest.arena);
    const shoal_status status = parse_root(root, &manifest, error);
    json_decref(root);
    if (status != SHOAL_OK) {
        manifest_fini(&manifest);
        return error_wrap(error, status, "manifest");
    }
    *out = manifest;
    return SHOAL_OK;
}

/* Writing. */

static json_t *tensor_json(const struct manifest_entry *entry) {
    json_t *shape = json_array();
    for (int i = 0; i < entry->shape.rank; i++) {
        if (json_array_append_new(shape, json_integer(entry->shape.dims[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:s, s:o, s:I, s:s}", "name", entry->name, "dtype",
                     dtype_name(entry->dtype), "shape", shape, "bytes", (json_int_t)entry->bytes,
                     "key", entry->key);
}

shoal_status manifest_format(const struct manifest *manifest, char **json, size_t *size,
                             struct shoal_error *error) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < manifest->count; i++) {
        const char *name = manifest->entries[i].name;
        if (json_array_append_new(tensors, tensor_json(&manifest->entries[i])) != 0) {
            json_decref(tensors);
            return error_set(error, SHOAL_INVALID,
                             "tensor %.128s: its name is not UTF-8, or memory is out", name);
        }
    }
    json_t *root = json_pack("{s:s, s:i, s:o}", "format", MANIFEST_FORMAT, "version",
                             MANIFEST_VERSION, "tensors", tensors);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a manifest");
    }
    const size_t length = strlen(text);
    char *copy = length <= MANIFEST_LIMIT ? mem_strdup(text) : NULL;
    free(text); /* jansson's */
    if (copy == NULL) {
        return length > MANIFEST_LIMIT
                   ? error_set(error, SHOAL_INVALID, "a manifest of %zu bytes; %zu are the most",
                               length, MANIFEST_LIMIT)
                   : error_set(error, SHOAL_NO_MEMORY, "no memory for a manifest");
    }
    *json = copy;
    *size = length;
    return SHOAL_OK;
}
