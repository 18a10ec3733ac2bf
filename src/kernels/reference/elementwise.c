/* The elementwise family: which function computes which op. */
#include "kernels/reference/elementwise.h"

static void run(const struct reference_call *call) {
    switch ((int)call->desc->op) {
    case OP_UNARY:
        reference_unary(call);
        break;
    case OP_BINARY:
        reference_binary(call);
        break;
    case OP_WHERE:
        reference_where(call);
        break;
    case OP_CAST:
        reference_cast(call);
        break;
    case OP_REDUCE:
        reference_reduce(call);
        break;
    case OP_ARG_REDUCE:
        reference_arg_reduce(call);
        break;
    case OP_SOFTMAX:
        reference_softmax(call);
        break;
    case OP_CUMULATE:
        reference_cumulate(call);
        break;
    default:
        reference_determinant(call);
        break;
    }
}

static size_t scratch_bytes(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape;
    if (desc->op != OP_DETERMINANT) {
        return 0;
    }
    /* no more than the input, if there are any matrices */
    int64_t count = 0;
    (void)shape_count(x, &count);
    const size_t n = (size_t)x->dims[x->rank - 1];
    return count > 0 ? n * n * sizeof(double) : 0;
}

static bool same_layout(const struct kernel_desc *desc, int input) {
    const struct tensor_type *x = &desc->inputs[input], *y = &desc->outputs[0];
    return dtype_size(x->dtype) == dtype_size(y->dtype) && shape_equal(&x->shape, &y->shape);
}

/* A chunk is read before it is written, whole; so an input that lies as the output does may be
 * it. */
static bool aliases(const struct kernel_desc *desc, int input) {
    switch ((int)desc->op) {
    case OP_UNARY:
    case OP_BINARY:
    case OP_WHERE:
    case OP_CAST:
    case OP_SOFTMAX:
    case OP_CUMULATE:
        return same_layout(desc, input);
    default:
        return false;
    }
}

const struct reference_family reference_elementwise = {run, scratch_bytes, aliases};
