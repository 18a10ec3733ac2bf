/* The elementwise family. */
#include "kernels/reference/reference.h"

static float apply(int32_t function, float a, float b) {
    switch (function) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    default:
        return a / b;
    }
}

/* Elements that one step along each axis of y moves in x: 0 where x is repeated. */
static void broadcast_strides(const struct shape *x, const struct shape *y,
                              int64_t strides[SHAPE_MAX_RANK]) {
    int64_t step = 1;
    for (int i = 1; i <= y->rank; i++) {
        const int64_t dim = i <= x->rank ? x->dims[x->rank - i] : 1;
        strides[y->rank - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

static void run(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *y = &desc->outputs[0].shape;
    int64_t a_strides[SHAPE_MAX_RANK], b_strides[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0};
    int64_t count = 0;
    broadcast_strides(&desc->inputs[0].shape, y, a_strides);
    broadcast_strides(&desc->inputs[1].shape, y, b_strides);
    (void)shape_count(y, &count);
    const float *a = call->inputs[0], *b = call->inputs[1];
    float *out = call->outputs[0];
    for (int64_t i = 0; i < count; i++) {
        out[i] = apply(desc->attrs.mode, *a, *b);
        for (int axis = y->rank - 1; axis >= 0; axis--) {
            a += a_strides[axis];
            b += b_strides[axis];
            if (++at[axis] < y->dims[axis]) {
                break;
            }
            a -= a_strides[axis] * y->dims[axis];
            b -= b_strides[axis] * y->dims[axis];
            at[axis] = 0;
        }
    }
}

const struct reference_family reference_elementwise = {run, NULL, NULL};
