/* The layout family. */
#include "kernels/reference/reference.h"

#include <string.h>

static void transpose(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape, *y = &call->desc->outputs[0].shape;
    const size_t size = dtype_size(call->desc->inputs[0].dtype);
    int64_t of_x[SHAPE_MAX_RANK], strides[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0};
    int64_t step = 1, count = 0;
    for (int i = x->rank - 1; i >= 0; i--) {
        of_x[i] = step;
        step *= x->dims[i];
    }
    for (int i = 0; i < y->rank; i++) {
        strides[i] = of_x[call->desc->attrs.ints[i]] * (int64_t)size;
    }
    (void)shape_count(y, &count);
    const char *from = call->inputs[0];
    char *to = call->outputs[0];
    for (int64_t i = 0; i < count; i++) {
        memcpy(to, from, size);
        to += size;
        for (int axis = y->rank - 1; axis >= 0; axis--) {
            from += strides[axis];
            if (++at[axis] < y->dims[axis]) {
                break;
            }
            from -= strides[axis] * y->dims[axis];
            at[axis] = 0;
        }
    }
}

static void run(const struct reference_call *call) {
    if (call->desc->op == OP_TRANSPOSE) {
        transpose(call);
    } else if (call->outputs[0] != call->inputs[0]) {
        size_t bytes = 0;
        (void)shape_bytes(&call->desc->inputs[0].shape, call->desc->inputs[0].dtype, &bytes);
        memcpy(call->outputs[0], call->inputs[0], bytes);
    }
}

static bool aliases(const struct kernel_desc *desc, int input) {
    return desc->op == OP_RESHAPE && input == 0;
}

const struct reference_family reference_layout = {run, NULL, aliases};
