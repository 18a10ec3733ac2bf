/* The network family: which function computes which op. */
#include "kernels/reference/network.h"

static void (*const functions[OP_COUNT])(const struct reference_call *) = {
    [OP_POOL] = reference_pool,
    [OP_POOL_INDICES] = reference_pool,
    [OP_CONV] = reference_conv,
    [OP_CONV_TRANSPOSE] = reference_conv_transpose,
    [OP_DEFORM_CONV] = reference_deform_conv,
    [OP_COL2IM] = reference_col2im,
    [OP_MAX_UNPOOL] = reference_max_unpool,
    [OP_PRODUCT] = reference_product,
    [OP_EINSUM] = reference_einsum,
    [OP_BATCH_NORM] = reference_batch_norm,
    [OP_GROUP_NORM] = reference_group_norm,
    [OP_NORM_AXES] = reference_norm_axes,
    [OP_RMS_NORM] = reference_norm_axes,
    [OP_LRN] = reference_lrn,
    [OP_LP_NORM] = reference_lp_norm,
    [OP_RNN] = reference_recurrence,
    [OP_GRU] = reference_recurrence,
    [OP_LSTM] = reference_recurrence,
    [OP_RESIZE] = reference_resize,
    [OP_GRID_SAMPLE] = reference_grid_sample,
    [OP_AFFINE_GRID] = reference_affine_grid,
    [OP_ROI_ALIGN] = reference_roi_align,
    [OP_DFT] = reference_dft,
    [OP_STFT] = reference_stft,
    [OP_NLL_LOSS] = reference_nll_loss,
};

void reference_broadcast_steps(const struct shape *x, const struct shape *y,
                               int64_t steps[SHAPE_MAX_RANK]) {
    int64_t step = 1;
    for (int i = 1; i <= y->rank; i++) {
        const int64_t dim = i <= x->rank ? x->dims[x->rank - i] : 1;
        steps[y->rank - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

static void run(const struct reference_call *call) {
    functions[call->desc->op](call);
}

static size_t scratch_bytes(const struct kernel_desc *desc) {
    switch ((int)desc->op) {
    case OP_RNN:
    case OP_GRU:
    case OP_LSTM:
        return reference_recurrence_scratch(desc);
    case OP_RESIZE:
        return reference_resize_scratch(desc);
    default:
        return 0;
    }
}

static bool aliases(const struct kernel_desc *desc, int input) {
    return input == 0 && (desc->op == OP_BATCH_NORM || desc->op == OP_RMS_NORM);
}

const struct reference_family reference_network = {run, scratch_bytes, aliases};
