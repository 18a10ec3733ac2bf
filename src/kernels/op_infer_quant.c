#include "kernels/op_infer_network.h"

static bool is_byte(enum dtype dtype) {
    return dtype == DTYPE_U8 || dtype == DTYPE_I8;
}

static bool is_quantised(enum dtype dtype) {
    return is_byte(dtype) || dtype == DTYPE_U16 || dtype == DTYPE_I16 || dtype == DTYPE_U4 ||
           dtype == DTYPE_I4 || dtype == DTYPE_U2 || dtype == DTYPE_I2;
}

static bool is_single(const struct shape *shape) {
    int64_t count = 0;
    return shape_count(shape, &count) && count == 1;
}

/* A scale's or zero's shape: one number, one per index of the axis, or one per block along it. */
static shoal_status check_scale(struct op_inference *in, const struct shape *x,
                                const struct shape *scale) {
    const int axis = in->attrs->axis;
    const int64_t block = in->attrs->index;
    if (block < 0) {
        return op_refuse_attribute(in, "negative block");
    }
    if (block == 0 && is_single(scale) && scale->rank <= 1) {
        return SHOAL_OK;
    }
    if (axis < 0 || axis >= x->rank) {
        return op_refuse(in, SHOAL_MISMATCH, "no such axis of", x);
    }
    struct shape expected = SHAPE(x->dims[axis]);
    if (block > 0) {
        expected = *x;
        expected.dims[axis] = x->dims[axis] / block + (x->dims[axis] % block != 0 ? 1 : 0);
    }
    return shape_equal(scale, &expected) ? SHOAL_OK
                                         : op_refuse_pair(in, "scales do not fit", x, scale);
}

static shoal_status infer_quantize(struct op_inference *in) {
    const struct tensor_type *x = &in->inputs[0], *scale = &in->inputs[1], *zero = &in->inputs[2];
    const bool back = in->op == OP_DEQUANTIZE;
    const bool typed =
        back ? zero->dtype == x->dtype && (is_quantised(x->dtype) || x->dtype == DTYPE_I32)
             : (x->dtype == DTYPE_F32 || x->dtype == DTYPE_I32) && is_quantised(zero->dtype);
    if (!typed) {
        return op_refuse_type(in, is_quantised(zero->dtype) ? x->dtype : zero->dtype);
    }
    TRY(op_expect_types(in, 1, 1, DTYPE_F32));
    TRY(check_scale(in, &x->shape, &scale->shape));
    if (!shape_equal(&scale->shape, &zero->shape)) {
        return op_refuse_pair(in, "scale and zero differ", &scale->shape, &zero->shape);
    }
    op_set_output(in, 0, back ? DTYPE_F32 : zero->dtype, &x->shape);
    return SHOAL_OK;
}

static shoal_status infer_dynamic(struct op_inference *in) {
    const struct shape scalar = {.rank = 0};
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    op_set_output(in, 0, DTYPE_U8, &in->inputs[0].shape);
    op_set_output(in, 1, DTYPE_F32, &scalar);
    op_set_output(in, 2, DTYPE_U8, &scalar);
    return SHOAL_OK;
}

/* A factor of x (scale f32, or zero of its type): one number, or one per index of `axis` of x. */
static shoal_status check_factor(struct op_inference *in, int input, enum dtype dtype,
                                 const struct shape *x, int axis) {
    const struct shape *factor = &in->inputs[input].shape;
    TRY(op_expect_types(in, input, input, dtype));
    if (is_single(factor)) {
        return SHOAL_OK;
    }
    int64_t count = 0;
    const bool fits =
        axis >= 0 && axis < x->rank && shape_count(factor, &count) && count == x->dims[axis];
    bool vector = fits && factor->rank == 1;
    /* or with x's rank and 1 everywhere else */
    vector = vector || (fits && factor->rank == x->rank && factor->dims[axis] == count);
    return vector ? SHOAL_OK : op_refuse_pair(in, "a scale or zero does not fit", x, factor);
}

static shoal_status check_bytes(struct op_inference *in, int input) {
    return is_byte(in->inputs[input].dtype) ? SHOAL_OK
                                            : op_refuse_type(in, in->inputs[input].dtype);
}

static shoal_status infer_matmul(struct op_inference *in) {
    const bool quantised = in->op == OP_MATMUL_QUANTIZED;
    const int second = quantised ? 3 : 1;
    const struct tensor_type *a = &in->inputs[0], *b = &in->inputs[second];
    struct shape y;
    TRY(check_bytes(in, 0));
    TRY(check_bytes(in, second));
    TRY(check_factor(in, 2, a->dtype, &a->shape, a->shape.rank - 2));
    TRY(check_factor(in, quantised ? 5 : 3, b->dtype, &b->shape, b->shape.rank - 1));
    if (quantised) {
        TRY(check_bytes(in, 7));
        TRY(check_factor(in, 1, DTYPE_F32, &a->shape, a->shape.rank - 2));
        TRY(check_factor(in, 4, DTYPE_F32, &b->shape, b->shape.rank - 1));
        TRY(check_factor(in, 6, DTYPE_F32, &a->shape, -1));
        TRY(check_factor(in, 7, in->inputs[7].dtype, &a->shape, -1));
    }
    if (in->attrs->transpose_a || in->attrs->transpose_b) {
        return op_refuse_attribute(in, "no transposed inputs");
    }
    TRY(op_infer_product_shape(in, &a->shape, &b->shape, &y));
    op_set_output(in, 0, quantised ? in->inputs[7].dtype : DTYPE_I32, &y);
    return SHOAL_OK;
}

static shoal_status infer_conv(struct op_inference *in) {
    const bool quantised = in->op == OP_CONV_QUANTIZED;
    const int second = quantised ? 3 : 1;
    const struct tensor_type *x = &in->inputs[0], *w = &in->inputs[second];
    struct shape y;
    TRY(check_bytes(in, 0));
    TRY(check_bytes(in, second));
    if (in->attrs->axis != 1) {
        return op_refuse_attribute(in, "channels lie on axis 1");
    }
    TRY(op_infer_conv_shape(in, &x->shape, &w->shape, &y));
    TRY(check_factor(in, 2, x->dtype, &x->shape, -1));
    TRY(check_factor(in, quantised ? 5 : 3, w->dtype, &w->shape, 0));
    if (quantised) {
        TRY(check_bytes(in, 7));
        TRY(check_factor(in, 1, DTYPE_F32, &x->shape, -1));
        TRY(check_factor(in, 4, DTYPE_F32, &w->shape, 0));
        TRY(check_factor(in, 6, DTYPE_F32, &x->shape, -1));
        TRY(check_factor(in, 7, in->inputs[7].dtype, &x->shape, -1));
        if (in->input_count > 8) {
            TRY(op_expect_types(in, 8, 8, DTYPE_I32));
            TRY(op_expect(in, "bias is not [O]:", &in->inputs[8].shape, &SHAPE(w->shape.dims[0])));
        }
    }
    op_set_output(in, 0, quantised ? in->inputs[7].dtype : DTYPE_I32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_quant(struct op_inference *in) {
    switch ((int)in->op) {
    case OP_QUANTIZE:
    case OP_DEQUANTIZE:
        return infer_quantize(in);
    case OP_DYNAMIC_QUANTIZE:
        return infer_dynamic(in);
    case OP_MATMUL_INTEGER:
    case OP_MATMUL_QUANTIZED:
        return infer_matmul(in);
    case OP_CONV_INTEGER:
    case OP_CONV_QUANTIZED:
        return infer_conv(in);
    default:
        return op_refuse_attribute(in, "unknown op");
    }
}
