/* Elements of any type in one wide type, for the reference kernels of the elementwise and layout
 * families. */
#ifndef KERNELS_REFERENCE_WIDE_H
#define KERNELS_REFERENCE_WIDE_H

#include "tensor/dtype.h"

#include <stdint.h>

/* Arithmetic has three forms: f32, f64 and the storage types in double; u64; all other integers and
 * bool in i64. */
enum wide_class { WIDE_REAL, WIDE_INT, WIDE_U64 };
enum wide_class wide_class(enum dtype dtype);

/* Chunks that callers convert at a time. */
#define WIDE_CHUNK 256

/* n elements, `step` apart from `offset` on. u64 goes through the int functions bit for bit. */
void wide_load_real(enum dtype dtype, const void *from, int64_t offset, int64_t step, int64_t n,
                    double *out);
void wide_load_int(enum dtype dtype, const void *from, int64_t offset, int64_t step, int64_t n,
                   int64_t *out);
/* Contiguous from `offset` on. Reals are rounded to nearest even; integers lose their high bits;
 * bool is whether the value is not 0. */
void wide_store_real(enum dtype dtype, void *to, int64_t offset, int64_t n, const double *values);
void wide_store_int(enum dtype dtype, void *to, int64_t offset, int64_t n, const int64_t *values);

/* Towards 0, at the ends of the range where it lies outside, NaN to 0. */
int64_t wide_truncate(double value);
uint64_t wide_truncate_unsigned(double value);

/* An index as the standard has it, negative ones counted from the end; what lies outside becomes
 * the nearest end. dim ≥ 1. */
int64_t wide_index(int64_t index, int64_t dim);

#endif
