/*
 * NumPy .npy files: one C-order array per file, header versions 1 to 3.
 *
 * Element types: little-endian (or single-byte) floats f2 f4 f8, integers i1 … i8 and u1 … u8,
 * bool. Source: numpy/lib/format.py (the format's specification).
 */
#ifndef FORMATS_NPY_H
#define FORMATS_NPY_H

#include "base/status.h"
#include "tensor/tensor.h"

/*
 * A view of the array in a file's bytes (data may be unaligned and must not be written). Errors:
 * CORRUPT (magic, header, size), UNSUPPORTED (version, Fortran order, byte order, element type,
 * rank).
 */
NODISCARD shoal_status npy_parse(const void *file, size_t size, struct tensor *out,
                                 struct shoal_error *error);

struct npy; /* an open, mapped file */

/* Errors: as above and as file_map_open; all name the path. */
NODISCARD shoal_status npy_open(const char *path, struct npy **out, struct shoal_error *error);
struct tensor npy_tensor(const struct npy *npy); /* read-only view, valid until close */
void npy_release(const struct npy *npy, size_t offset,
                 size_t bytes);  /* drops pages of the array's range */
void npy_close(struct npy *npy); /* NULL allowed */

/* What stands before the elements of an array. Errors: INVALID (the shape overflows), UNSUPPORTED
 * (an element type that NumPy has not). */
#define NPY_HEADER_BYTES 320
NODISCARD shoal_status npy_header(enum dtype dtype, const struct shape *shape,
                                  unsigned char header[NPY_HEADER_BYTES], size_t *size,
                                  struct shoal_error *error);

/* data: f32 of that shape. Errors: as file_write_atomic, INVALID (shape), NO_MEMORY. */
NODISCARD shoal_status npy_write_f32(const char *path, const struct shape *shape, const float *data,
                                     struct shoal_error *error);

#endif
