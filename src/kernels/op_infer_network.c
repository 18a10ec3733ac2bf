#include "kernels/op_infer_network.h"

#include "kernels/op_window.h"

shoal_status op_expect(struct op_inference *in, const char *what, const struct shape *shape,
                       const struct shape *expected) {
    return shape_equal(shape, expected) ? SHOAL_OK : op_refuse(in, SHOAL_MISMATCH, what, shape);
}

shoal_status op_expect_types(struct op_inference *in, int first, int last, enum dtype dtype) {
    for (int i = first; i <= last; i++) {
        if (in->inputs[i].dtype != dtype) {
            return op_refuse_type(in, in->inputs[i].dtype);
        }
    }
    return SHOAL_OK;
}

shoal_status op_infer_product_shape(struct op_inference *in, const struct shape *a,
                                    const struct shape *b, struct shape *out) {
    const bool ta = in->attrs->transpose_a, tb = in->attrs->transpose_b;
    if (a->rank < 1 || b->rank < 1) {
        return op_refuse_pair(in, "scalars have no product of matrices", a, b);
    }
    const int64_t depth_a = a->rank == 1 ? a->dims[0] : a->dims[a->rank - (ta ? 2 : 1)];
    const int64_t depth_b = b->rank == 1 ? b->dims[0] : b->dims[b->rank - (tb ? 1 : 2)];
    if (depth_a != depth_b) {
        return op_refuse_pair(in, "inner dimensions differ", a, b);
    }
    struct shape left = *a, right = *b, y;
    left.rank = a->rank > 2 ? a->rank - 2 : 0;
    right.rank = b->rank > 2 ? b->rank - 2 : 0;
    TRY(op_broadcast(in, &left, &right, &y));
    if (a->rank > 1) {
        y.dims[y.rank++] = a->dims[a->rank - (ta ? 1 : 2)];
    }
    if (b->rank > 1) {
        y.dims[y.rank++] = b->dims[b->rank - (tb ? 2 : 1)];
    }
    *out = y;
    return SHOAL_OK;
}

static shoal_status infer_product(struct op_inference *in) {
    struct shape y;
    const enum dtype dtype = in->inputs[0].dtype;
    TRY(op_expect_types(in, 1, 1, dtype));
    switch ((int)dtype) {
    case DTYPE_F32:
    case DTYPE_F64:
        break;
    case DTYPE_I32:
    case DTYPE_I64:
    case DTYPE_U32:
    case DTYPE_U64:
        if (in->attrs->scale != 1) {
            return op_refuse_attribute(in, "whole numbers have no scale but 1");
        }
        break;
    default:
        return op_refuse_type(in, dtype);
    }
    TRY(op_infer_product_shape(in, &in->inputs[0].shape, &in->inputs[1].shape, &y));
    op_set_output(in, 0, dtype, &y);
    return SHOAL_OK;
}

static int label_of(int64_t labels, int axis) {
    return (int)((uint64_t)labels >> (8 * axis) & 0xFF);
}

static shoal_status infer_einsum(struct op_inference *in) {
    int64_t dims[EINSUM_LABELS];
    const enum dtype dtype = in->inputs[0].dtype;
    const int64_t result = in->attrs->ints[EINSUM_RESULT];
    struct shape y = {.rank = 0};
    for (int i = 0; i < EINSUM_LABELS; i++) {
        dims[i] = -1;
    }
    if (dtype != DTYPE_F32 && dtype != DTYPE_F64 && dtype != DTYPE_I32 && dtype != DTYPE_I64) {
        return op_refuse_type(in, dtype);
    }
    TRY(op_expect_types(in, 1, in->input_count - 1, dtype));
    for (int i = 0; i < in->input_count; i++) {
        const struct shape *x = &in->inputs[i].shape;
        for (int axis = 0; axis < x->rank; axis++) {
            const int label = label_of(in->attrs->ints[i], axis);
            if (label < 1 || label >= EINSUM_LABELS) {
                return op_refuse(in, SHOAL_MISMATCH, "an axis has no label:", x);
            }
            if (dims[label] >= 0 && dims[label] != x->dims[axis]) {
                return op_refuse(in, SHOAL_MISMATCH, "one label has two sizes:", x);
            }
            dims[label] = x->dims[axis];
        }
    }
    for (; y.rank < SHAPE_MAX_RANK && label_of(result, y.rank) != 0; y.rank++) {
        const int label = label_of(result, y.rank);
        if (label >= EINSUM_LABELS || dims[label] < 0) {
            return op_refuse_attribute(in, "the result has a label that no input has");
        }
        for (int i = 0; i < y.rank; i++) {
            if (label_of(result, i) == label) {
                return op_refuse_attribute(in, "the result has a label twice");
            }
        }
        y.dims[y.rank] = dims[label];
    }
    op_set_output(in, 0, dtype, &y);
    return SHOAL_OK;
}

/* The last dim is 1 (real) or 2 (complex). */
static bool is_signal(const struct shape *x) {
    return x->rank >= 2 && (x->dims[x->rank - 1] == 1 || x->dims[x->rank - 1] == 2);
}

static shoal_status infer_dft(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const int64_t points = attrs->ints[0];
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    if (!is_signal(x) || attrs->axis < 0 || attrs->axis >= x->rank - 1) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [...,1 or 2] with such an axis:", x);
    }
    if (attrs->mode < 0 || attrs->mode >= DFT_MODE_COUNT || points < 1 || points > WINDOW_LIMIT) {
        return op_refuse_attribute(in, "unknown mode or number of points");
    }
    if (attrs->mode == DFT_INVERSE_REAL && x->dims[x->rank - 1] != 2) {
        return op_refuse(in, SHOAL_MISMATCH, "a spectrum is complex, unlike", x);
    }
    struct shape y = *x;
    y.dims[attrs->axis] = attrs->mode == DFT_ONE_SIDED ? points / 2 + 1 : points;
    y.dims[y.rank - 1] = attrs->mode == DFT_INVERSE_REAL ? 1 : 2;
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

static shoal_status infer_stft(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const int64_t length = attrs->ints[0], step = attrs->ints[1];
    TRY(op_expect_types(in, 0, 1, DTYPE_F32));
    if (x->rank != 3 || !is_signal(x)) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,L,1 or 2]:", x);
    }
    if ((attrs->mode != DFT_FORWARD && attrs->mode != DFT_ONE_SIDED) || length < 1 ||
        length > WINDOW_LIMIT || step < 1) {
        return op_refuse_attribute(in, "mode, length or step out of range");
    }
    TRY(op_expect(in, "the window is not as long as a frame:", &in->inputs[1].shape,
                  &SHAPE(length)));
    if (x->dims[1] < length) {
        return op_refuse(in, SHOAL_MISMATCH, "a frame is longer than", x);
    }
    op_set_output(in, 0, DTYPE_F32,
                  &SHAPE(x->dims[0], (x->dims[1] - length) / step + 1,
                         attrs->mode == DFT_ONE_SIDED ? length / 2 + 1 : length, 2));
    return SHOAL_OK;
}

static shoal_status infer_nll_loss(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *classes = &in->inputs[1].shape;
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    if (in->inputs[1].dtype != DTYPE_I32 && in->inputs[1].dtype != DTYPE_I64) {
        return op_refuse_type(in, in->inputs[1].dtype);
    }
    if (in->attrs->mode < 0 || in->attrs->mode >= LOSS_REDUCTION_COUNT) {
        return op_refuse_attribute(in, "unknown reduction");
    }
    if (x->rank < 2) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [N,C,...]:", x);
    }
    struct shape y = {.rank = x->rank - 1};
    y.dims[0] = x->dims[0];
    for (int i = 1; i < y.rank; i++) {
        y.dims[i] = x->dims[i + 1];
    }
    TRY(op_expect(in, "classes are not [N,...]:", classes, &y));
    if (in->input_count > 2) {
        TRY(op_expect_types(in, 2, 2, DTYPE_F32));
        TRY(op_expect(in, "weights are not [C]:", &in->inputs[2].shape, &SHAPE(x->dims[1])));
    }
    op_set_output(in, 0, DTYPE_F32, in->attrs->mode == LOSS_NONE ? &y : &(struct shape){.rank = 0});
    return SHOAL_OK;
}

static shoal_status (*const inferences[OP_COUNT])(struct op_inference *) = {
    [OP_POOL] = op_infer_pool,
    [OP_POOL_INDICES] = op_infer_pool,
    [OP_CONV] = op_infer_convolution,
    [OP_CONV_TRANSPOSE] = op_infer_conv_transpose,
    [OP_DEFORM_CONV] = op_infer_deform_conv,
    [OP_COL2IM] = op_infer_col2im,
    [OP_MAX_UNPOOL] = op_infer_max_unpool,
    [OP_PRODUCT] = infer_product,
    [OP_EINSUM] = infer_einsum,
    [OP_BATCH_NORM] = op_infer_norm,
    [OP_GROUP_NORM] = op_infer_norm,
    [OP_NORM_AXES] = op_infer_norm,
    [OP_RMS_NORM] = op_infer_norm,
    [OP_LRN] = op_infer_norm,
    [OP_LP_NORM] = op_infer_norm,
    [OP_RNN] = op_infer_recurrence,
    [OP_GRU] = op_infer_recurrence,
    [OP_LSTM] = op_infer_recurrence,
    [OP_RESIZE] = op_infer_resize,
    [OP_GRID_SAMPLE] = op_infer_grid_sample,
    [OP_AFFINE_GRID] = op_infer_affine_grid,
    [OP_ROI_ALIGN] = op_infer_roi_align,
    [OP_DFT] = infer_dft,
    [OP_STFT] = infer_stft,
    [OP_NLL_LOSS] = infer_nll_loss,
};

shoal_status op_infer_network(struct op_inference *in) {
    return inferences[in->op] != NULL ? inferences[in->op](in)
                                      : op_refuse_attribute(in, "unknown op");
}
