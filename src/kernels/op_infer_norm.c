/* Shapes of normalisations and recurrences. */
#include "kernels/op_infer_network.h"

/* [C] of input `index`. */
static shoal_status per_channel(struct op_inference *in, int index, int64_t channels) {
    return op_expect(in, "a factor is not [C]:", &in->inputs[index].shape, &SHAPE(channels));
}

/* The inputs from 1 on must broadcast to the axes of x from `axis` on without changing them. */
static shoal_status broadcast_to_axes(struct op_inference *in, int axis) {
    const struct shape *x = &in->inputs[0].shape;
    for (int i = 1; i < in->input_count; i++) {
        const struct shape *factor = &in->inputs[i].shape;
        if (factor->rank > x->rank - axis) {
            return op_refuse_pair(in, "a factor reaches beyond the normalised axes", x, factor);
        }
        for (int k = 1; k <= factor->rank; k++) {
            if (factor->dims[factor->rank - k] != 1 &&
                factor->dims[factor->rank - k] != x->dims[x->rank - k]) {
                return op_refuse_pair(in, "a factor does not go with the normalised axes", x,
                                      factor);
            }
        }
    }
    return SHOAL_OK;
}

static shoal_status norm_axes(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape moments = *x;
    TRY(broadcast_to_axes(in, in->attrs->axis));
    for (int i = in->attrs->axis; i < x->rank; i++) {
        moments.dims[i] = 1;
    }
    if (in->op == OP_NORM_AXES) {
        op_set_output(in, 1, DTYPE_F32, &moments);
        op_set_output(in, 2, DTYPE_F32, &moments);
    }
    return SHOAL_OK;
}

static shoal_status norm_channels(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const int64_t channels = x->dims[in->attrs->axis];
    for (int i = 1; i < in->input_count; i++) {
        TRY(per_channel(in, i, channels));
    }
    if (in->op == OP_GROUP_NORM) {
        if (in->attrs->axis != 1 && in->attrs->axis != x->rank - 1) {
            return op_refuse_attribute(in, "channels lie on axis 1 or on the last");
        }
        if (in->attrs->groups < 1 || channels % in->attrs->groups != 0) {
            return op_refuse(in, SHOAL_MISMATCH, "groups do not divide the channels of", x);
        }
    }
    return SHOAL_OK;
}

shoal_status op_infer_norm(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    TRY(op_expect_types(in, 0, in->input_count - 1, DTYPE_F32));
    if (attrs->axis < 0 || attrs->axis >= x->rank) {
        return op_refuse(in, SHOAL_MISMATCH, "no such axis of", x);
    }
    if (!(attrs->epsilon >= 0)) {
        return op_refuse_attribute(in, "negative epsilon");
    }
    op_set_output(in, 0, DTYPE_F32, x);
    switch ((int)in->op) {
    case OP_NORM_AXES:
    case OP_RMS_NORM:
        return norm_axes(in);
    case OP_LRN:
        return attrs->index >= 1 && attrs->index <= INT32_MAX
                   ? SHOAL_OK
                   : op_refuse_attribute(in, "the size must be at least 1");
    case OP_LP_NORM:
        return attrs->index == 1 || attrs->index == 2
                   ? SHOAL_OK
                   : op_refuse_attribute(in, "only the 1-norm and the 2-norm");
    default:
        return norm_channels(in);
    }
}

static shoal_status recurrence_attributes(struct op_inference *in, int gates, int directions) {
    for (int d = 0; d < directions; d++) {
        for (int i = 0; i < gates; i++) {
            const int64_t function = in->attrs->ints[3 * d + i];
            if (function < 0 || function >= RECURRENCE_FUNCTION_COUNT) {
                return op_refuse_attribute(in, "unknown function");
            }
        }
    }
    return in->attrs->floats[RECURRENCE_CLIP] >= 0 ? SHOAL_OK
                                                   : op_refuse_attribute(in, "negative clip");
}

shoal_status op_infer_recurrence(struct op_inference *in) {
    const bool lstm = in->op == OP_LSTM;
    const int gates = lstm ? 4 : in->op == OP_GRU ? 3 : 1;
    const int functions = lstm ? 3 : in->op == OP_GRU ? 2 : 1;
    const struct shape *x = &in->inputs[0].shape, *r = &in->inputs[2].shape;
    if (in->attrs->mode < 0 || in->attrs->mode >= RECURRENCE_DIRECTION_COUNT) {
        return op_refuse_attribute(in, "unknown direction");
    }
    const int64_t directions = in->attrs->mode == RECURRENCE_BOTH ? 2 : 1;
    TRY(recurrence_attributes(in, functions, (int)directions));
    TRY(op_expect_types(in, 0, 3, DTYPE_F32));
    TRY(op_expect_types(in, 4, 4, DTYPE_I32));
    TRY(op_expect_types(in, 5, in->input_count - 1, DTYPE_F32));
    if (x->rank != 3) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [T,B,I]:", x);
    }
    if (r->rank != 3 || r->dims[2] < 1 || r->dims[2] > INT32_MAX) {
        return op_refuse(in, SHOAL_MISMATCH, "recurrence weights are not [D,G·H,H]:", r);
    }
    const int64_t hidden = r->dims[2];
    const struct shape state = SHAPE(directions, x->dims[1], hidden);
    TRY(op_expect(in, "recurrence weights are not [D,G·H,H]:", r,
                  &SHAPE(directions, gates * hidden, hidden)));
    TRY(op_expect(in, "weights are not [D,G·H,I]:", &in->inputs[1].shape,
                  &SHAPE(directions, gates * hidden, x->dims[2])));
    TRY(op_expect(in, "bias is not [D,2·G·H]:", &in->inputs[3].shape,
                  &SHAPE(directions, 2 * gates * hidden)));
    TRY(op_expect(in, "lengths are not [B]:", &in->inputs[4].shape, &SHAPE(x->dims[1])));
    TRY(op_expect(in, "initial state is not [D,B,H]:", &in->inputs[5].shape, &state));
    if (lstm) {
        TRY(op_expect(in, "initial cell is not [D,B,H]:", &in->inputs[6].shape, &state));
        TRY(op_expect(in, "peepholes are not [D,3·H]:", &in->inputs[7].shape,
                      &SHAPE(directions, 3 * hidden)));
        op_set_output(in, 2, DTYPE_F32, &state);
    }
    op_set_output(in, 0, DTYPE_F32, &SHAPE(x->dims[0], directions, x->dims[1], hidden));
    op_set_output(in, 1, DTYPE_F32, &state);
    return SHOAL_OK;
}
