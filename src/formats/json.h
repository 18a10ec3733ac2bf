/*
 * Reading JSON configurations with errors that name the key.
 *
 * Every getter leaves *out as it was (the caller's default) when the key is absent or null. Errors:
 * CORRUPT, naming the key, what was found and what would be allowed. Borrowed json_t stay the
 * document's. Threads: as jansson, one document by one thread at a time.
 */
#ifndef FORMATS_JSON_H
#define FORMATS_JSON_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One object with unique keys; json_decref it. Errors: CORRUPT with line and column, NO_MEMORY. */
NODISCARD shoal_status json_parse_object(const void *bytes, size_t size, json_t **out,
                                         struct shoal_error *error);

/* As above, but all numbers are reals: for documents with integers beyond 64 bits. */
NODISCARD shoal_status json_parse_reals(const void *bytes, size_t size, json_t **out,
                                        struct shoal_error *error);

/* As json_parse_object from a file of at most limit bytes; the error names the path. Further
 * errors: as file_read. */
NODISCARD shoal_status json_read_object(const char *path, size_t limit, json_t **out,
                                        struct shoal_error *error);

/* "an integer", "a string" …: what a value is, for error texts. */
const char *json_kind(const json_t *value);

NODISCARD shoal_status json_get_int(const json_t *object, const char *key, int64_t least,
                                    int64_t most, int64_t *out, struct shoal_error *error);
/* Integers and reals, finite and within [least, most]. */
NODISCARD shoal_status json_get_number(const json_t *object, const char *key, double least,
                                       double most, double *out, struct shoal_error *error);
NODISCARD shoal_status json_get_bool(const json_t *object, const char *key, bool *out,
                                     struct shoal_error *error);
NODISCARD shoal_status json_get_string(const json_t *object, const char *key, const char **out,
                                       struct shoal_error *error);

#endif
