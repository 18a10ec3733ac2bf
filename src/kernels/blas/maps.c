/* The elementwise family: what is hot in f32, on registers and threads. */
#include "kernels/blas/blas.h"

#include "kernels/walk.h"

#include <string.h>

#define GRAIN 64 /* elements that threads do not split */

static void prepare_nothing(struct blas_kernel *kernel) {
    (void)kernel;
}

/* A thread's range of `total` elements, in whole grains. */
static void part_of(int64_t total, int index, int count, int64_t *first, int64_t *last) {
    vector_part((total + GRAIN - 1) / GRAIN, index, count, first, last);
    *first *= GRAIN;
    *last = *last * GRAIN < total ? *last * GRAIN : total;
}

/* Along rows of y the inputs step by 1 or, where they are repeated, by 0; which merging keeps. */
static void walk_of(const struct kernel_desc *desc, struct walk *walk) {
    walk_over(walk, &desc->outputs[0].shape);
    for (int k = 0; k < desc->input_count; k++) {
        walk_add(walk, &desc->inputs[k].shape);
    }
    walk_merge(walk);
}

static void walk_threads(const struct blas_call *call, int index, int count,
                         void (*row)(void *, const int64_t *, const int64_t *, int64_t)) {
    struct walk walk;
    struct blas_call copy = *call;
    int64_t first = 0;
    int64_t last = 0;
    walk_of(&call->kernel->desc, &walk);
    part_of(walk_count(&walk), index, count, &first, &last);
    walk_part(&walk, first, last, row, &copy);
}

static void unary_row(void *context, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const struct blas_call *call = context;
    const struct op_attrs *attrs = &call->kernel->desc.attrs;
    (void)steps; /* 1: x is laid out as y is */
    call->kernel->maps->unary((enum unary_function)attrs->mode, attrs->floats[0], attrs->floats[1],
                              (const float *)call->inputs[0] + offsets[1], n,
                              (float *)call->outputs[0] + offsets[0]);
}

static void work_unary(void *context, int index, int count) {
    walk_threads(context, index, count, unary_row);
}

static void binary_row(void *context, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    char *y = (char *)call->outputs[0] + offsets[0] * (int64_t)dtype_size(desc->outputs[0].dtype);
    call->kernel->maps->binary((enum binary_function)desc->attrs.mode,
                               (const float *)call->inputs[0] + offsets[1], steps[1],
                               (const float *)call->inputs[1] + offsets[2], steps[2], n, y);
}

static void work_binary(void *context, int index, int count) {
    walk_threads(context, index, count, binary_row);
}

static void where_row(void *context, const int64_t *offsets, const int64_t *steps, int64_t n) {
    const struct blas_call *call = context;
    call->kernel->maps->choose((const uint8_t *)call->inputs[0] + offsets[1], steps[1],
                               (const uint32_t *)call->inputs[1] + offsets[2], steps[2],
                               (const uint32_t *)call->inputs[2] + offsets[3], steps[3], n,
                               (uint32_t *)call->outputs[0] + offsets[0]);
}

static void work_where(void *context, int index, int count) {
    walk_threads(context, index, count, where_row);
}

/* ---- along axes ---- */

/* The axes of a reduction side by side: x [outer, n, inner]. False if others lie between them. */
struct reduction {
    int64_t outer, n, inner;
};

static bool reduction_of(const struct kernel_desc *desc, struct reduction *out) {
    const struct shape *x = &desc->inputs[0].shape;
    *out = (struct reduction){1, 1, 1};
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] == 1) {
            continue;
        }
        if ((desc->attrs.ints[0] >> i & 1) != 0) {
            if (out->inner != 1) {
                return false;
            }
            out->n *= x->dims[i];
        } else if (out->n == 1) {
            out->outer *= x->dims[i];
        } else {
            out->inner *= x->dims[i];
        }
    }
    return out->n > 0 && out->inner > 0;
}

static void work_reduce(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct vector_maps *maps = call->kernel->maps;
    const enum reduce_function function = (enum reduce_function)call->kernel->desc.attrs.mode;
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    struct reduction r;
    int64_t first = 0;
    int64_t last = 0;
    (void)reduction_of(&call->kernel->desc, &r);
    if (r.inner > 1 && r.outer < count) { /* few matrices: columns are split */
        part_of(r.inner, index, count, &first, &last);
        for (int64_t o = 0; o < r.outer && first < last; o++) {
            maps->reduce_columns(function, x + o * r.n * r.inner + first, r.n, r.inner,
                                 last - first, y + o * r.inner + first);
        }
        return;
    }
    vector_part(r.outer, index, count, &first, &last);
    for (int64_t o = first; o < last; o++) {
        if (r.inner > 1) {
            maps->reduce_columns(function, x + o * r.n * r.inner, r.n, r.inner, r.inner,
                                 y + o * r.inner);
        } else {
            y[o] = maps->reduce(function, x + o * r.n, r.n);
        }
    }
}

/* Along the last axis. */
static void work_softmax(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct shape *shape = &call->kernel->desc.inputs[0].shape;
    const int64_t n = shape->dims[shape->rank - 1];
    int64_t first = 0;
    int64_t last = 0;
    vector_part(n > 0 ? blas_count(&call->kernel->desc.inputs[0]) / n : 0, index, count, &first,
                &last);
    const float *x = (const float *)call->inputs[0] + first * n;
    float *y = (float *)call->outputs[0] + first * n;
    if (x != y && last > first) {
        memcpy(y, x, (size_t)((last - first) * n) * sizeof(float));
    }
    call->kernel->vector->softmax(y, last - first, n, n, 1, NULL);
}

/* ---- casts ---- */

static int64_t truncate(float value) { /* as the reference does */
    if (value != value) {
        return 0;
    }
    if (value >= 0x1p63F) {
        return INT64_MAX;
    }
    return value < -0x1p63F ? INT64_MIN : (int64_t)value;
}

#define CAST(from, to, expression)                     \
    do {                                               \
        const from *x = (const from *)call->inputs[0]; \
        to *y = (to *)call->outputs[0];                \
        for (int64_t i = first; i < last; i++) {       \
            y[i] = (to)(expression);                   \
        }                                              \
    } while (0)

#define PAIR(from, to) ((int)DTYPE_##from * DTYPE_COUNT + (int)DTYPE_##to)

static int pair_of(const struct kernel_desc *desc) {
    return (int)desc->inputs[0].dtype * DTYPE_COUNT + (int)desc->outputs[0].dtype;
}

static bool has_cast(const struct kernel_desc *desc) {
    switch (pair_of(desc)) {
    case PAIR(I64, F32):
    case PAIR(I32, F32):
    case PAIR(U8, F32):
    case PAIR(BOOL, F32):
    case PAIR(F32, I64):
    case PAIR(F32, I32):
    case PAIR(F32, BOOL):
    case PAIR(I64, I32):
    case PAIR(I32, I64):
    case PAIR(I64, BOOL):
    case PAIR(BOOL, I64):
        return true;
    default:
        return false;
    }
}

static void work_cast(void *context, int index, int count) {
    const struct blas_call *call = context;
    int64_t first = 0;
    int64_t last = 0;
    part_of(blas_count(&call->kernel->desc.inputs[0]), index, count, &first, &last);
    switch (pair_of(&call->kernel->desc)) {
    case PAIR(I64, F32):
        CAST(int64_t, float, x[i]);
        break;
    case PAIR(I32, F32):
        CAST(int32_t, float, x[i]);
        break;
    case PAIR(U8, F32):
    case PAIR(BOOL, F32):
        CAST(uint8_t, float, x[i]);
        break;
    case PAIR(F32, I64):
        CAST(float, int64_t, truncate(x[i]));
        break;
    case PAIR(F32, I32):
        CAST(float, uint32_t, (uint64_t)truncate(x[i]) & 0xFFFFFFFFU);
        break;
    case PAIR(F32, BOOL):
        CAST(float, uint8_t, x[i] != 0);
        break;
    case PAIR(I64, I32):
        CAST(uint64_t, uint32_t, x[i] & 0xFFFFFFFFU);
        break;
    case PAIR(I32, I64):
        CAST(int32_t, int64_t, x[i]);
        break;
    case PAIR(I64, BOOL):
        CAST(int64_t, uint8_t, x[i] != 0);
        break;
    case PAIR(BOOL, I64):
        CAST(uint8_t, int64_t, x[i]);
        break;
    default:
        break;
    }
}

/* ---- which function ---- */

static const struct blas_function unary_function = {prepare_nothing, NULL, work_unary, 1U << 0};
static const struct blas_function binary_function[4] = {
    /* outputs[0] may be an input that lies as it does: none, the first, the second, both */
    {prepare_nothing, NULL, work_binary, 0},
    {prepare_nothing, NULL, work_binary, 1U << 0},
    {prepare_nothing, NULL, work_binary, 1U << 1},
    {prepare_nothing, NULL, work_binary, 1U << 0 | 1U << 1}};
static const struct blas_function where_function = {prepare_nothing, NULL, work_where, 0};
static const struct blas_function reduce_function = {prepare_nothing, NULL, work_reduce, 0};
static const struct blas_function softmax_function = {prepare_nothing, NULL, work_softmax, 1U << 0};
static const struct blas_function cast_function = {prepare_nothing, NULL, work_cast, 0};

static const struct blas_function *binary_of(const struct kernel_desc *desc) {
    int alias = 0;
    for (int k = 0; k < 2; k++) {
        if (desc->inputs[k].dtype != DTYPE_F32) {
            return NULL;
        }
        if (desc->outputs[0].dtype == DTYPE_F32 &&
            shape_equal(&desc->inputs[k].shape, &desc->outputs[0].shape)) {
            alias |= 1 << k;
        }
    }
    return vector_has_binary(desc->attrs.mode) ? &binary_function[alias] : NULL;
}

const struct blas_function *blas_map_for(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape;
    const bool f32 = desc->inputs[0].dtype == DTYPE_F32;
    struct reduction reduction;
    switch ((int)desc->op) {
    case OP_UNARY:
        return f32 && vector_has_unary(desc->attrs.mode) ? &unary_function : NULL;
    case OP_BINARY:
        return binary_of(desc);
    case OP_WHERE:
        return dtype_size(desc->outputs[0].dtype) == 4 ? &where_function : NULL;
    case OP_CAST:
        return has_cast(desc) ? &cast_function : NULL;
    case OP_REDUCE:
        return f32 && vector_has_reduce(desc->attrs.mode) && reduction_of(desc, &reduction)
                   ? &reduce_function
                   : NULL;
    case OP_SOFTMAX:
        return f32 && desc->attrs.mode == SOFTMAX_EXP && desc->attrs.axis == x->rank - 1
                   ? &softmax_function
                   : NULL;
    default:
        return NULL;
    }
}
