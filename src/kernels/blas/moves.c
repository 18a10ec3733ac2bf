/* The layout family: long runs are copied, matrices transposed in blocks, on threads. */
#include "kernels/blas/blas.h"

#include "kernels/walk.h"

#include <string.h>

static void prepare_nothing(struct blas_kernel *kernel) {
    (void)kernel;
}

static size_t element_size(const struct blas_call *call) {
    return dtype_size(call->kernel->desc.inputs[0].dtype);
}

/* y [outer dims, rows, columns] ← x with its columns x_column apart, for every place of the other
 * axes. */
struct matrices {
    struct walk others; /* operand 0: y, operand 1: x */
    int64_t rows, columns, y_row, x_column;
};

/* y as x seen through the strides of its axes, merged: operand 1. */
static void transposed_walk(const struct kernel_desc *desc, struct walk *walk) {
    int64_t of_x[SHAPE_MAX_RANK];
    int64_t strides[SHAPE_MAX_RANK];
    walk_strides(&desc->inputs[0].shape, of_x);
    for (int i = 0; i < desc->outputs[0].shape.rank; i++) {
        strides[i] = of_x[desc->attrs.ints[i]];
    }
    walk_over(walk, &desc->outputs[0].shape);
    walk_add_strides(walk, strides);
    walk_merge(walk);
}

/* False where x's runs are y's, too: then there is nothing to transpose, just runs to copy. */
static bool matrices_of(const struct walk *walk, struct matrices *out) {
    const int last = walk->rank - 1;
    int axis = 0;
    while (axis < last && walk->strides[1][axis] != 1) {
        axis++;
    }
    if (axis >= last) {
        return false;
    }
    *out = (struct matrices){{.operands = 2, .rank = 0},
                             walk->dims[axis],
                             walk->dims[last],
                             walk->strides[0][axis],
                             walk->strides[1][last]};
    for (int i = 0; i < last; i++) {
        if (i != axis) {
            const int to = out->others.rank++;
            out->others.dims[to] = walk->dims[i];
            out->others.strides[0][to] = walk->strides[0][i];
            out->others.strides[1][to] = walk->strides[1][i];
        }
    }
    return true;
}

#define STRIP 16 /* rows of y at a time: a cache line of x */

/* Where matrix `index` begins in y and x. */
static void matrix_at(const struct walk *others, int64_t index, int64_t *y, int64_t *x) {
    *y = 0;
    *x = 0;
    for (int i = others->rank - 1; i >= 0; i--) {
        const int64_t at = index % others->dims[i];
        index /= others->dims[i];
        *y += at * others->strides[0][i];
        *x += at * others->strides[1][i];
    }
}

static void transpose_matrices(const struct blas_call *call, const struct matrices *m, int index,
                               int count) {
    const int64_t strips = (m->rows + STRIP - 1) / STRIP;
    int64_t first = 0;
    int64_t last = 0;
    int64_t y = 0;
    int64_t x = 0;
    vector_part(walk_count(&m->others) * strips, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i % strips * STRIP;
        matrix_at(&m->others, i / strips, &y, &x);
        call->kernel->maps->transpose((const uint32_t *)call->inputs[0] + x + row, m->x_column,
                                      m->rows - row < STRIP ? m->rows - row : STRIP, m->columns,
                                      (uint32_t *)call->outputs[0] + y + row * m->y_row, m->y_row);
    }
}

static void copy_run(void *context, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const struct blas_call *call = context;
    const int64_t size = (int64_t)element_size(call);
    (void)steps; /* both 1: supports has seen to it */
    memcpy((char *)call->outputs[0] + offsets[0] * size,
           (const char *)call->inputs[0] + offsets[1] * size, (size_t)(n * size));
}

static void copy_runs(const struct blas_call *call, const struct walk *walk, int index, int count) {
    struct blas_call copy = *call;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(walk_count(walk), index, count, &first, &last);
    walk_part(walk, first, last, copy_run, &copy);
}

static void work_transpose(void *context, int index, int count) {
    const struct blas_call *call = context;
    struct matrices matrices;
    struct walk walk;
    transposed_walk(&call->kernel->desc, &walk);
    if (matrices_of(&walk, &matrices)) {
        transpose_matrices(call, &matrices, index, count);
    } else {
        copy_runs(call, &walk, index, count);
    }
}

static bool has_transpose(const struct kernel_desc *desc) {
    struct matrices matrices;
    struct walk walk;
    transposed_walk(desc, &walk);
    return !matrices_of(&walk, &matrices) || dtype_size(desc->inputs[0].dtype) == 4;
}

/* x's first element and strides. */
static int64_t sliced_walk(const struct kernel_desc *desc, struct walk *walk) {
    int64_t strides[SHAPE_MAX_RANK];
    int64_t first = 0;
    walk_strides(&desc->inputs[0].shape, strides);
    for (int i = 0; i < desc->inputs[0].shape.rank; i++) {
        first += desc->attrs.ints[i] * strides[i];
        strides[i] *= desc->attrs.ints[SLICE_STEP + i];
    }
    walk_over(walk, &desc->outputs[0].shape);
    walk_add_strides(walk, strides);
    walk_merge(walk);
    return first;
}

static bool has_slice(const struct kernel_desc *desc) {
    struct walk walk;
    (void)sliced_walk(desc, &walk);
    return walk.rank > 0 && walk.strides[1][walk.rank - 1] == 1;
}

static void work_slice(void *context, int index, int count) {
    struct blas_call call = *(const struct blas_call *)context;
    struct walk walk;
    const int64_t first = sliced_walk(&call.kernel->desc, &walk);
    const void *from = (const char *)call.inputs[0] + first * (int64_t)element_size(&call);
    call.inputs = &from;
    copy_runs(&call, &walk, index, count);
}

/* Dims before an axis, and bytes of what lies behind. */
static void around(const struct kernel_desc *desc, const struct shape *shape, int64_t *outer,
                   int64_t *bytes) {
    *outer = 1;
    *bytes = (int64_t)dtype_size(desc->inputs[0].dtype);
    for (int i = 0; i < shape->rank; i++) {
        *outer *= i < desc->attrs.axis ? shape->dims[i] : 1;
        *bytes *= i > desc->attrs.axis ? shape->dims[i] : 1;
    }
}

/* Each input's part of each outer place is one run: threads take places, or inputs of one place. */
static void work_concat(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const struct shape *y = &desc->outputs[0].shape;
    int64_t outer = 0;
    int64_t inner = 0;
    int64_t first = 0;
    int64_t last = 0;
    around(desc, y, &outer, &inner);
    const int64_t row = y->dims[desc->attrs.axis] * inner;
    vector_part(outer * desc->input_count, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t o = i / desc->input_count;
        const int k = (int)(i % desc->input_count);
        const int64_t bytes = desc->inputs[k].shape.dims[desc->attrs.axis] * inner;
        char *to = (char *)call->outputs[0] + o * row;
        for (int before = 0; before < k; before++) {
            to += desc->inputs[before].shape.dims[desc->attrs.axis] * inner;
        }
        if (bytes > 0) {
            memcpy(to, (const char *)call->inputs[k] + o * bytes, (size_t)bytes);
        }
    }
}

static int64_t index_at(const struct blas_call *call, int64_t i, int64_t dim) {
    int64_t at = call->kernel->desc.inputs[1].dtype == DTYPE_I64
                     ? ((const int64_t *)call->inputs[1])[i]
                     : (int64_t)((const int32_t *)call->inputs[1])[i];
    at = at < 0 ? (at < -dim ? 0 : at + dim) : at;
    return at < dim ? at : dim - 1;
}

static void work_gather(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const struct shape *x = &desc->inputs[0].shape;
    const int64_t n = x->dims[desc->attrs.axis], picked = blas_count(&desc->inputs[1]);
    int64_t outer = 0;
    int64_t bytes = 0;
    int64_t first = 0;
    int64_t last = 0;
    around(desc, x, &outer, &bytes);
    vector_part(outer * picked, index, count, &first, &last);
    for (int64_t i = first; i < last && bytes > 0; i++) {
        memcpy((char *)call->outputs[0] + i * bytes,
               (const char *)call->inputs[0] +
                   (i / picked * n + index_at(call, i % picked, n)) * bytes,
               (size_t)bytes);
    }
}

static const struct blas_function transpose = {prepare_nothing, NULL, work_transpose, 0};
static const struct blas_function slice = {prepare_nothing, NULL, work_slice, 0};
static const struct blas_function concat = {prepare_nothing, NULL, work_concat, 0};
static const struct blas_function gather = {prepare_nothing, NULL, work_gather, 0};

const struct blas_function *blas_move_for(const struct kernel_desc *desc) {
    switch ((int)desc->op) {
    case OP_TRANSPOSE:
        return has_transpose(desc) ? &transpose : NULL;
    case OP_SLICE:
        return has_slice(desc) ? &slice : NULL;
    case OP_CONCAT:
        return &concat;
    case OP_GATHER:
        return &gather;
    default:
        return NULL;
    }
}
