/*
 * Results as one .npy array [rows, item's dims], written row by row in ascending order: a row that
 * is left out becomes NaNs (zeros, of integers), also at the end, so that the file is whole
 * whenever it is closed.
 *
 * Threads: one. Errors: NO_SPACE, IO, NOT_FOUND (the folder), UNSUPPORTED (an element type or rank
 * that the format has not), NO_MEMORY; all name the path.
 */
#ifndef RUNTIME_RESULT_ARRAY_H
#define RUNTIME_RESULT_ARRAY_H

#include "base/status.h"
#include "tensor/tensor.h"

#include <stdint.h>

struct result_array;

/* item: the shape of one row. */
NODISCARD shoal_status result_array_open(const char *path, uint64_t rows, enum dtype dtype,
                                         const struct shape *item, struct result_array **out,
                                         struct shoal_error *error);
/* index: larger than the last one, below rows. row need not be aligned. */
NODISCARD shoal_status result_array_put(struct result_array *array, uint64_t index, const void *row,
                                        struct shoal_error *error);
NODISCARD shoal_status result_array_flush(struct result_array *array, struct shoal_error *error);
/* Frees it in every case; NULL allowed. */
NODISCARD shoal_status result_array_close(struct result_array *array, struct shoal_error *error);

#endif
