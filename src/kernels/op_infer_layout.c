#include "kernels/op_infer.h"

static shoal_status infer_transpose(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    unsigned seen = 0;
    for (int i = 0; i < x->rank; i++) {
        const int64_t axis = in->attrs->ints[i];
        if (axis < 0 || axis >= x->rank || (seen >> axis & 1U) != 0) {
            return op_refuse(in, SHOAL_MISMATCH, "the order is no permutation of the axes of", x);
        }
        seen |= 1U << axis;
        y.dims[i] = x->dims[axis];
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_reshape(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const int rank = in->attrs->axis;
    if (rank < 0 || rank > SHAPE_MAX_RANK) {
        return op_refuse_attribute(in, "rank out of range");
    }
    struct shape y = {.rank = rank};
    int64_t total = 0, known = 1;
    int rest = -1;
    (void)shape_count(x, &total); /* checked before */
    for (int i = 0; i < rank; i++) {
        y.dims[i] = in->attrs->ints[i];
        if (y.dims[i] == 0 && i < x->rank) {
            y.dims[i] = x->dims[i];
        }
        if (y.dims[i] == -1 && rest < 0) {
            rest = i;
            y.dims[i] = 1;
        }
    }
    if (!shape_count(&y, &known)) {
        return op_refuse(in, SHOAL_MISMATCH, "no sound shape:", &y);
    }
    if (rest >= 0) {
        if (known == 0 || total % known != 0) {
            return op_refuse_pair(in, "the elements do not fit", x, &y);
        }
        y.dims[rest] = total / known;
    } else if (known != total) {
        return op_refuse_pair(in, "the elements do not fit", x, &y);
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

shoal_status op_infer_layout(struct op_inference *in) {
    if (in->op == OP_TRANSPOSE) {
        return infer_transpose(in);
    }
    return in->op == OP_RESHAPE ? infer_reshape(in) : op_refuse_attribute(in, "unknown op");
}
