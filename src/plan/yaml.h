/*
 * A strict reader for small YAML documents, over libyaml's document API: unknown and duplicate
 * keys, missing keys and wrong types are errors that name file, line and key.
 *
 * A yaml_item is a handle, good while its document lives; strings are borrowed from the document.
 * Anchors and aliases work (PyYAML writes them for shared lists); merge keys (<<) are not special
 * and so unknown keys. One document a file. Quoted scalars are strings, never numbers. Errors:
 * those of file_read; CORRUPT for everything the text gets wrong; NOT_FOUND for a missing key of
 * yaml_get; NO_MEMORY.
 */
#ifndef PLAN_YAML_H
#define PLAN_YAML_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define YAML_FILE_LIMIT ((size_t)16 << 20)
#define YAML_ANCHOR_LIMIT 1024
#define YAML_DEPTH_LIMIT 64 /* lists and maps within each other */

struct yaml; /* a parsed document */

struct yaml_item {
    const struct yaml *yaml;
    int node;        /* libyaml's index, from 1 */
    const char *key; /* under which it was found; "" at the root and in lists of the root */
};

NODISCARD shoal_status yaml_read_file(const char *path, struct yaml **out,
                                      struct shoal_error *error);
/* name stands for the file in errors. */
NODISCARD shoal_status yaml_read_text(const char *name, const char *text, size_t bytes,
                                      struct yaml **out, struct shoal_error *error);
void yaml_destroy(struct yaml *yaml);

/* An empty document's root is null. */
struct yaml_item yaml_root(const struct yaml *yaml);

bool yaml_is_null(struct yaml_item item); /* also an empty value */
bool yaml_is_map(struct yaml_item item);
bool yaml_is_list(struct yaml_item item);

/* "FILE:LINE: key KEY: " before the text. */
shoal_status yaml_fail(struct yaml_item item, struct shoal_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* keys: NULL-terminated. Errors: CORRUPT (no map; another key, or one twice). */
NODISCARD shoal_status yaml_check_keys(struct yaml_item map, const char *const keys[],
                                       struct shoal_error *error);
/* Only: it is a map with scalar keys, none twice. */
NODISCARD shoal_status yaml_check_map(struct yaml_item map, struct shoal_error *error);

bool yaml_has(struct yaml_item map, const char *key);
NODISCARD shoal_status yaml_get(struct yaml_item map, const char *key, struct yaml_item *out,
                                struct shoal_error *error);

size_t yaml_count(struct yaml_item item); /* of a list or map; 0 otherwise */
/* index < yaml_count. The entry's key is found in value->key. Scalar keys are checked by
 * yaml_check_map. */
void yaml_map_at(struct yaml_item map, size_t index, struct yaml_item *value);
void yaml_list_at(struct yaml_item list, size_t index, struct yaml_item *value);

NODISCARD shoal_status yaml_string(struct yaml_item item, const char **out,
                                   struct shoal_error *error);
NODISCARD shoal_status yaml_double(struct yaml_item item, double *out,
                                   struct shoal_error *error); /* finite */
NODISCARD shoal_status yaml_u64(struct yaml_item item, uint64_t *out, struct shoal_error *error);
NODISCARD shoal_status yaml_bool(struct yaml_item item, bool *out, struct shoal_error *error);

#endif
