/* Converters of products and normalisations. */
#include "formats/onnx/import_compose.h"

#include <string.h>

static const int64_t swap[] = {1, 0};

/* x·w + bias with constant weights: w [K,N], or [N,K] if `turned`; bias [N] or NULL. */
static shoal_status linear(struct import_node *n, struct import_value *x, struct import_value *w,
                           bool turned, struct import_value *bias, struct import_value **y) {
    static const struct op_attrs attrs;
    if (!turned) {
        TRY(import_transpose(n, w, swap, &w));
    }
    struct import_value *params[2] = {w, bias};
    return import_emit_packed(n, OP_LINEAR, &attrs, &x, 1, params, bias != NULL ? 2 : 1, y);
}

/* Whether LINEAR can hold the weights of this product. */
static bool is_linear(const struct import_value *x, const struct import_value *w) {
    return !import_is_constant(x) && import_is_constant(w) && w->type.shape.rank == 2 &&
           w->type.dtype == DTYPE_F32 && x->type.dtype == DTYPE_F32 && x->type.shape.rank >= 1 &&
           compose_count(x) > 0 && compose_count(w) > 0;
}

static shoal_status convert_matmul(struct import_node *n) {
    struct import_value *a, *b, *y;
    TRY(import_need(n, 0, &a));
    TRY(import_need(n, 1, &b));
    if (is_linear(a, b)) {
        TRY(linear(n, a, b, false, NULL, &y));
    } else {
        TRY(compose_product(n, a, b, 1, false, &y));
    }
    return import_set(n, 0, y);
}

/* Gemm's C as [N] times beta, or NULL if it is something else. */
static shoal_status gemm_bias(struct import_node *n, struct import_value *c, int64_t columns,
                              float beta, struct import_value **out) {
    *out = NULL;
    if (c == NULL || !import_is_constant(c) || c->type.dtype != DTYPE_F32) {
        return SHOAL_OK;
    }
    const struct shape *shape = &c->type.shape;
    const int64_t count = compose_count(c);
    const bool row = shape->rank == 0 ||
                     (count == shape->dims[shape->rank - 1] && (count == 1 || count == columns));
    if (!row) {
        return SHOAL_OK;
    }
    TRY(import_reshape(n, c, &SHAPE(count), &c));
    TRY(compose_expand(n, c, &SHAPE(columns), &c));
    if (beta != 1) {
        TRY(compose_with(n, BINARY_MUL, c, (double)beta, &c));
    }
    *out = c;
    return SHOAL_OK;
}

static shoal_status convert_gemm(struct import_node *n) {
    struct import_value *a, *b, *y, *bias = NULL, *c = import_input(n, 2);
    int64_t turn_a, turn_b;
    float alpha, beta;
    TRY(import_need(n, 0, &a));
    TRY(import_need(n, 1, &b));
    TRY(import_attr_int(n, "transA", 0, &turn_a));
    TRY(import_attr_int(n, "transB", 0, &turn_b));
    TRY(import_attr_float(n, "alpha", 1, &alpha));
    TRY(import_attr_float(n, "beta", 1, &beta));
    import_attr_ignore(n, "broadcast"); /* before opset 7: C may be smaller, which it always may */
    if (a->type.shape.rank != 2 || b->type.shape.rank != 2) {
        return import_corrupt(n, "operands that are no matrices");
    }
    const bool whole = a->type.dtype != DTYPE_F32 && a->type.dtype != DTYPE_F64;
    if (whole && (alpha != 1 || beta != 1)) {
        return import_refuse(n, "alpha or beta with whole numbers");
    }
    if (is_linear(a, b)) {
        TRY(gemm_bias(n, c, b->type.shape.dims[turn_b != 0 ? 0 : 1], beta, &bias));
        if (alpha != 1) {
            TRY(compose_with(n, BINARY_MUL, b, (double)alpha, &b));
        }
        if (turn_a != 0) {
            TRY(import_transpose(n, a, swap, &a));
        }
        TRY(linear(n, a, b, turn_b != 0, bias, &y));
    } else {
        const struct op_attrs attrs = {
            .scale = alpha, .transpose_a = turn_a != 0, .transpose_b = turn_b != 0};
        TRY(import_emit(n, OP_PRODUCT, &attrs, (struct import_value *[]){a, b}, 2, &y));
    }
    if (c != NULL && bias == NULL) {
        if (beta != 1) {
            TRY(compose_with(n, BINARY_MUL, c, (double)beta, &c));
        }
        TRY(compose_binary(n, BINARY_ADD, y, c, &y));
    }
    return import_set(n, 0, y);
}

/* The moments of a batch: over all axes but the channels', [C]. */
static shoal_status batch_moments(struct import_node *n, struct import_value *x,
                                  struct import_value **mean, struct import_value **variance) {
    const int rank = x->type.shape.rank;
    const int64_t axes = ((INT64_C(1) << rank) - 1) & ~INT64_C(2);
    struct import_value *centred, *squares;
    TRY(compose_reduce(n, REDUCE_MEAN, x, axes, mean));
    TRY(compose_binary(n, BINARY_SUB, x, *mean, &centred));
    TRY(compose_binary(n, BINARY_MUL, centred, centred, &squares));
    TRY(compose_reduce(n, REDUCE_MEAN, squares, axes, variance));
    TRY(import_reshape(n, *mean, &SHAPE(x->type.shape.dims[1]), mean));
    return import_reshape(n, *variance, &SHAPE(x->type.shape.dims[1]), variance);
}

/* old·momentum + new·(1 − momentum) */
static shoal_status running(struct import_node *n, struct import_value *old,
                            struct import_value *now, float momentum, struct import_value **out) {
    TRY(compose_with(n, BINARY_MUL, old, (double)momentum, &old));
    TRY(compose_with(n, BINARY_MUL, now, 1 - (double)momentum, &now));
    return compose_binary(n, BINARY_ADD, old, now, out);
}

static shoal_status convert_batch_norm(struct import_node *n) {
    struct import_value *in[5], *y, *mean, *variance;
    struct op_attrs attrs = {.axis = 1};
    int64_t training, spatial, is_test;
    float momentum;
    for (uint32_t i = 0; i < 5; i++) {
        TRY(import_need(n, i, &in[i]));
    }
    TRY(import_attr_float(n, "epsilon", 1e-5F, &attrs.epsilon));
    TRY(import_attr_float(n, "momentum", 0.9F, &momentum));
    TRY(import_attr_int(n, "training_mode", 0, &training));
    TRY(import_attr_int(n, "spatial", 1, &spatial));
    TRY(import_attr_int(n, "is_test", 1, &is_test)); /* before opset 7 */
    if (is_test == 0) {
        return import_refuse(n, "training before opset 7");
    }
    if (spatial != 1 || in[0]->type.shape.rank < 2) {
        return import_refuse(n, "statistics per element");
    }
    if (training != 0) {
        TRY(batch_moments(n, in[0], &mean, &variance));
        if (import_wants(n, 1)) {
            TRY(running(n, in[3], mean, momentum, &y));
            TRY(import_set(n, 1, y));
        }
        if (import_wants(n, 2)) {
            TRY(running(n, in[4], variance, momentum, &y));
            TRY(import_set(n, 2, y));
        }
        in[3] = mean;
        in[4] = variance;
    }
    for (uint32_t i = training != 0 ? 3 : 1; i < n->output_count; i++) {
        if (import_wants(n, i)) {
            return import_refuse(n, "output %u outside training", (unsigned)i);
        }
    }
    TRY(import_emit(n, OP_BATCH_NORM, &attrs, in, 5, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_instance_norm(struct import_node *n) {
    struct import_value *in[3], *y;
    struct op_attrs attrs = {.axis = 1};
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &in[i]));
    }
    TRY(import_attr_float(n, "epsilon", 1e-5F, &attrs.epsilon));
    if (in[0]->type.shape.rank < 3 || in[0]->type.shape.dims[1] > INT32_MAX) {
        return import_corrupt(n, "an input of rank %d", in[0]->type.shape.rank);
    }
    attrs.groups = (int32_t)in[0]->type.shape.dims[1];
    TRY(import_emit(n, OP_GROUP_NORM, &attrs, in, 3, &y));
    return import_set(n, 0, y);
}

/* One number per group → one per channel. */
static shoal_status per_channel(struct import_node *n, struct import_value *x, int64_t groups,
                                int64_t channels, struct import_value **out) {
    TRY(import_reshape(n, x, &SHAPE(groups, 1), &x));
    TRY(compose_expand(n, x, &SHAPE(groups, channels / groups), &x));
    return import_reshape(n, x, &SHAPE(channels), out);
}

static shoal_status convert_group_norm(struct import_node *n) {
    struct import_value *in[3], *y;
    struct op_attrs attrs = {.axis = 1};
    int64_t groups;
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &in[i]));
    }
    TRY(import_attr_float(n, "epsilon", 1e-5F, &attrs.epsilon));
    TRY(import_attr_int(n, "num_groups", 0, &groups));
    import_attr_ignore(n, "stash_type"); /* sums are f32 */
    if (in[0]->type.shape.rank < 2 || groups < 1 || groups > INT32_MAX ||
        in[0]->type.shape.dims[1] % groups != 0) {
        return import_corrupt(n, "groups that do not divide the channels");
    }
    attrs.groups = (int32_t)groups;
    for (int i = 1; i < 3 && n->version < 21; i++) {
        TRY(per_channel(n, in[i], groups, in[0]->type.shape.dims[1], &in[i]));
    }
    TRY(import_emit(n, OP_GROUP_NORM, &attrs, in, 3, &y));
    return import_set(n, 0, y);
}

/* Whether the values' axes are the last ones of x from `axis` on, just so. */
static bool covers(const struct import_value *value, const struct shape *x, int axis) {
    const struct shape *shape = &value->type.shape;
    if (shape->rank != x->rank - axis) {
        return false;
    }
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] != x->dims[axis + i]) {
            return false;
        }
    }
    return true;
}

/* With constant factors, over the last axes as one: the op that kernel sets compete on. */
static shoal_status core_layer_norm(struct import_node *n, struct import_value *x, int axis,
                                    float epsilon, struct import_value *scale,
                                    struct import_value *shift, struct import_value **y) {
    const struct op_attrs attrs = {.epsilon = epsilon};
    const struct shape shape = x->type.shape;
    struct shape rows = {.rank = axis + 1};
    int64_t size = 1;
    for (int i = 0; i < shape.rank; i++) {
        if (i < axis) {
            rows.dims[i] = shape.dims[i];
        } else {
            size *= shape.dims[i];
        }
    }
    rows.dims[axis] = size;
    TRY(import_reshape(n, x, &rows, &x));
    TRY(import_reshape(n, scale, &SHAPE(size), &scale));
    if (shift != NULL) {
        TRY(import_reshape(n, shift, &SHAPE(size), &shift));
    } else {
        TRY(compose_filled(n, &SHAPE(size), 0, &shift));
    }
    struct import_value *params[2] = {scale, shift};
    TRY(import_emit_packed(n, OP_LAYER_NORM, &attrs, &x, 1, params, 2, y));
    return import_reshape(n, *y, &shape, y);
}

static shoal_status convert_layer_norm(struct import_node *n) {
    struct import_value *x, *scale, *shift = import_input(n, 2), *y[3];
    struct op_attrs attrs = {0};
    int64_t axis;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &scale));
    TRY(import_attr_int(n, "axis", -1, &axis));
    TRY(import_axis(n, axis, x->type.shape.rank, &attrs.axis));
    TRY(import_attr_float(n, "epsilon", 1e-5F, &attrs.epsilon));
    import_attr_ignore(n, "stash_type"); /* sums are f32 */
    const bool constant =
        import_is_constant(scale) && covers(scale, &x->type.shape, attrs.axis) &&
        (shift == NULL || (import_is_constant(shift) && covers(shift, &x->type.shape, attrs.axis)));
    if (constant && !import_wants(n, 1) && !import_wants(n, 2) && compose_count(x) > 0 &&
        !import_is_constant(x) && x->type.dtype == DTYPE_F32) {
        TRY(core_layer_norm(n, x, attrs.axis, attrs.epsilon, scale, shift, y));
        return import_set(n, 0, y[0]);
    }
    struct import_value *in[3] = {x, scale, shift};
    TRY(import_emit(n, OP_NORM_AXES, &attrs, in, shift != NULL ? 3 : 2, y));
    for (uint32_t i = 0; i < 3; i++) {
        if (i == 0 || import_wants(n, i)) {
            TRY(import_set(n, i, y[i]));
        }
    }
    return SHOAL_OK;
}

static shoal_status convert_rms_norm(struct import_node *n) {
    struct import_value *in[2], *y;
    struct op_attrs attrs = {0};
    int64_t axis;
    TRY(import_need(n, 0, &in[0]));
    TRY(import_need(n, 1, &in[1]));
    TRY(import_attr_int(n, "axis", -1, &axis));
    TRY(import_axis(n, axis, in[0]->type.shape.rank, &attrs.axis));
    TRY(import_attr_float(n, "epsilon", 1e-5F, &attrs.epsilon));
    import_attr_ignore(n, "stash_type");
    TRY(import_emit(n, OP_RMS_NORM, &attrs, in, 2, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_lrn(struct import_node *n) {
    struct import_value *x, *y;
    struct op_attrs attrs = {.axis = 1};
    TRY(import_need(n, 0, &x));
    TRY(import_attr_float(n, "alpha", 1e-4F, &attrs.floats[0]));
    TRY(import_attr_float(n, "beta", 0.75F, &attrs.floats[1]));
    TRY(import_attr_float(n, "bias", 1, &attrs.floats[2]));
    TRY(import_attr_int(n, "size", 0, &attrs.index));
    TRY(import_emit(n, OP_LRN, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_lp_norm(struct import_node *n) {
    struct import_value *x, *y;
    struct op_attrs attrs = {0};
    int64_t axis;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "axis", -1, &axis));
    TRY(import_axis(n, axis, x->type.shape.rank, &attrs.axis));
    TRY(import_attr_int(n, "p", 2, &attrs.index));
    TRY(import_emit(n, OP_LP_NORM, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

/* (x − mean)/(deviation + 1e-9) */
static shoal_status convert_mean_variance(struct import_node *n) {
    struct import_value *x, *mean, *centred, *squares, *y;
    int64_t axes[SHAPE_MAX_RANK] = {0, 2, 3}, bits = 0;
    int count = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_ints(n, "axes", axes, SHAPE_MAX_RANK, &count));
    for (int i = 0; i < (count < 0 ? 3 : count); i++) {
        int axis = 0;
        TRY(import_axis(n, axes[i], x->type.shape.rank, &axis));
        bits |= INT64_C(1) << axis;
    }
    TRY(compose_reduce(n, REDUCE_MEAN, x, bits, &mean));
    TRY(compose_binary(n, BINARY_SUB, x, mean, &centred));
    TRY(compose_binary(n, BINARY_MUL, centred, centred, &squares));
    TRY(compose_reduce(n, REDUCE_MEAN, squares, bits, &squares));
    TRY(compose_unary(n, UNARY_SQRT, squares, &squares));
    TRY(compose_with(n, BINARY_ADD, squares, 1e-9, &squares));
    TRY(compose_binary(n, BINARY_DIV, centred, squares, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_network_converters[] = {
    {"", "MatMul", convert_matmul, 0},
    {"", "Gemm", convert_gemm, 0},
    {"", "BatchNormalization", convert_batch_norm, 0},
    {"", "InstanceNormalization", convert_instance_norm, 0},
    {"", "GroupNormalization", convert_group_norm, 0},
    {"", "LayerNormalization", convert_layer_norm, 0},
    {"", "RMSNormalization", convert_rms_norm, 0},
    {"", "LRN", convert_lrn, 0},
    {"", "LpNormalization", convert_lp_norm, 0},
    {"", "MeanVarianceNormalization", convert_mean_variance, 0},
    {NULL, NULL, NULL, 0},
};
