/* Walking several tensors together: what the kernels of the elementwise and layout families have in
 * common, whatever the set. */
#ifndef KERNELS_WALK_H
#define KERNELS_WALK_H

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

/* The same for the elements `first` to `last` − 1, in the order of y: a thread's part. */
void walk_part(const struct walk *walk, int64_t first, int64_t last,
               void (*row)(void *context, const int64_t offsets[WALK_OPERANDS],
                           const int64_t steps[WALK_OPERANDS], int64_t n),
               void *context);

/* Product of the dims. */
int64_t walk_count(const struct walk *walk);

#endif
