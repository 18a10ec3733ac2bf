/*
 * Results as one .npy array [rows, width] f32, written row by row in ascending order: a row that is
 * left out becomes NaNs, also at the end, so that the file is whole whenever it is closed.
 *
 * Threads: one. Errors: NO_SPACE, IO, NOT_FOUND (the folder), NO_MEMORY; all name the path.
 */
#ifndef RUNTIME_RESULT_ARRAY_H
#define RUNTIME_RESULT_ARRAY_H

#include "base/status.h"

#include <stdint.h>

struct result_array;

NODISCARD shoal_status result_array_open(const char *path, uint64_t rows, uint32_t width,
                                         struct result_array **out, struct shoal_error *error);
/* index: larger than the last one, below rows. */
NODISCARD shoal_status result_array_put(struct result_array *array, uint64_t index,
                                        const float *row, struct shoal_error *error);
NODISCARD shoal_status result_array_flush(struct result_array *array, struct shoal_error *error);
/* Frees it in every case; NULL allowed. */
NODISCARD shoal_status result_array_close(struct result_array *array, struct shoal_error *error);

#endif
