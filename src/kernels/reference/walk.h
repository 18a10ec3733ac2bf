/* Walking several tensors together, and elements of any type in one wide type: what the reference
 * kernels of the elementwise and layout families have in common. */
#ifndef KERNELS_REFERENCE_WALK_H
#define KERNELS_REFERENCE_WALK_H

#include "tensor/tensor.h"

#define WALK_OPERANDS 4

/* dims, and how many elements one step along each moves in each operand. */
struct walk {
    int rank, operands;
    int64_t dims[SHAPE_MAX_RANK];
    int64_t strides[WALK_OPERANDS][SHAPE_MAX_RANK];
};

/* Elements that a step along each axis of a contiguous tensor moves. */
void walk_strides(const struct shape *shape, int64_t strides[SHAPE_MAX_RANK]);

/* Over y, which is operand 0. */
void walk_over(struct walk *walk, const struct shape *y);
/* A further operand: x broadcast to y as NumPy does, or strides of its own. */
void walk_add(struct walk *walk, const struct shape *x);
void walk_add_strides(struct walk *walk, const int64_t strides[SHAPE_MAX_RANK]);
/* Drops axes of length 1 and merges what lies evenly in all operands. Once all have been added. */
void walk_merge(struct walk *walk);

/*
 * Calls row for each run along the last axis, in index order: offsets[k] is where it begins in
 * operand k, steps[k] the stride, n ≥ 1 its length. Nothing for empty tensors.
 */
void walk_rows(const struct walk *walk,
               void (*row)(void *context, const int64_t offsets[WALK_OPERANDS],
                           const int64_t steps[WALK_OPERANDS], int64_t n),
               void *context);

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
