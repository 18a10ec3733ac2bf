/* The core family: which function computes which op. */
#include "kernels/reference/reference.h"

static void (*const functions[])(const struct reference_call *) = {
    [OP_CONV2D] = reference_conv2d,
    [OP_TOKENS] = reference_tokens,
    [OP_EMBED] = reference_embed,
    [OP_LAYER_NORM] = reference_layer_norm,
    [OP_LINEAR] = reference_linear,
    [OP_ATTENTION] = reference_attention,
    [OP_ADD] = reference_add,
    [OP_ACTIVATION] = reference_activation,
    [OP_MEAN_POOL] = reference_mean_pool,
    [OP_NORMALISE] = reference_normalise,
    [OP_SELECT] = reference_select,
    [OP_SDPA] = reference_sdpa,
    [OP_MATMUL] = reference_matmul,
    [OP_SUM_ROWS] = reference_sum_rows,
    [OP_ACTIVATION_GRAD] = reference_activation_grad,
    [OP_CROSS_ENTROPY] = reference_cross_entropy,
    [OP_SGD] = reference_sgd,
};

static bool is_narrow(const struct kernel_desc *desc) {
    return desc->attrs.precision != PRECISION_F32;
}

static void run(const struct reference_call *call) {
    if (is_narrow(call->desc)) { /* op_infer: one of the two */
        (call->desc->op == OP_LINEAR ? reference_linear_narrow : reference_conv2d_narrow)(call);
        return;
    }
    functions[call->desc->op](call);
}

static size_t scratch_bytes(const struct kernel_desc *desc) {
    if (is_narrow(desc)) {
        return reference_narrow_scratch(desc);
    }
    switch ((int)desc->op) {
    case OP_ATTENTION:
        return (size_t)desc->inputs[0].shape.dims[1] * sizeof(float);
    case OP_SDPA:
        return (size_t)desc->inputs[1].shape.dims[1] * sizeof(float);
    default:
        return 0;
    }
}

static bool aliases(const struct kernel_desc *desc, int input) {
    switch ((int)desc->op) {
    case OP_LAYER_NORM: /* a row is read to its end before it is written */
    case OP_NORMALISE:
    case OP_ADD:
    case OP_ACTIVATION:
    case OP_ACTIVATION_GRAD:
    case OP_SGD:
        return true;
    case OP_LINEAR:
    case OP_CONV2D:
        return input == 1;
    default:
        return false;
    }
}

const struct reference_family reference_core = {run, scratch_bytes, aliases};
