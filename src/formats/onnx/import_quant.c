/* Converters of the quant family. */
#include "formats/onnx/import_compose.h"

/* A zero of the type and the shape, or the input itself; one number alone takes the shape. */
static shoal_status or_zero(struct import_node *n, uint32_t index, enum dtype dtype,
                            const struct shape *shape, struct import_value **out) {
    int64_t count = 0;
    *out = import_input(n, index);
    if (*out == NULL) {
        return import_constant(n, dtype, shape, NULL, out);
    }
    return shape_count(shape, &count) && count == 1 && compose_count(*out) == 1
               ? import_reshape(n, *out, shape, out)
               : SHOAL_OK;
}

/* The axis and block of scales: blocks only where the attribute asks for them. */
static shoal_status scale_axis(struct import_node *n, const struct import_value *x,
                               const struct import_value *scale, struct op_attrs *attrs) {
    int64_t axis;
    TRY(import_attr_int(n, "axis", 1, &axis));
    TRY(import_attr_int(n, "block_size", 0, &attrs->index));
    if (attrs->index == 0 && compose_count(scale) == 1) {
        return SHOAL_OK; /* one number: there may be no such axis */
    }
    return import_axis(n, axis, x->type.shape.rank, &attrs->axis);
}

static bool is_float8(enum dtype dtype) {
    return dtype == DTYPE_F8E4M3FN || dtype == DTYPE_F8E4M3FNUZ || dtype == DTYPE_F8E5M2 ||
           dtype == DTYPE_F8E5M2FNUZ || dtype == DTYPE_F4E2M1;
}

/* The scale as it broadcasts against x. */
static shoal_status spread_scale(struct import_node *n, const struct import_value *x,
                                 struct import_value *scale, const struct op_attrs *attrs,
                                 struct import_value **out) {
    struct shape shape = {.rank = x->type.shape.rank};
    if (attrs->index != 0) {
        return import_refuse(n, "blocks of floats");
    }
    if (compose_count(scale) == 1) {
        return import_reshape(n, scale, &(struct shape){0}, out);
    }
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] = i == attrs->axis ? compose_count(scale) : 1;
    }
    return import_reshape(n, scale, &shape, out);
}

static shoal_status convert_quantize(struct import_node *n) {
    struct import_value *x, *scale, *zero, *y;
    struct op_attrs attrs = {0};
    int64_t given, saturate, precision;
    enum dtype dtype = DTYPE_U8;
    int element = ONNX_UINT8;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &scale));
    TRY(import_attr_int(n, "output_dtype", 0, &given));
    TRY(import_attr_int(n, "saturate", 1, &saturate));
    TRY(import_attr_int(n, "precision", 0, &precision));
    TRY(scale_axis(n, x, scale, &attrs));
    zero = import_input(n, 2);
    element = zero != NULL ? zero->element : given != 0 ? (int)given : element;
    if (given < 0 || given > INT32_MAX || (precision != 0 && precision != ONNX_FLOAT) ||
        !import_element_stored(element, &dtype)) {
        return import_refuse(n, "output_dtype or precision");
    }
    if (is_float8(dtype)) { /* f32 in the IR, rounded through the type */
        const struct op_attrs down = {.mode = (int32_t)dtype, .index = saturate == 0};
        TRY(spread_scale(n, x, scale, &attrs, &scale));
        TRY(compose_binary(n, BINARY_DIV, x, scale, &y));
        TRY(import_emit(n, OP_CAST, &down, &y, 1, &y));
        TRY(compose_cast(n, y, DTYPE_F32, &y));
        return import_set_as(n, 0, y, element);
    }
    TRY(or_zero(n, 2, dtype, &scale->type.shape, &zero));
    TRY(compose_cast(n, zero, dtype, &zero));
    TRY(import_emit(n, OP_QUANTIZE, &attrs, (struct import_value *[]){x, scale, zero}, 3, &y));
    enum dtype widened = dtype;
    if (import_element_dtype(element, &widened)) {
        TRY(compose_cast(n, y, widened, &y));
    }
    return import_set_as(n, 0, y, element);
}

static shoal_status convert_dequantize(struct import_node *n) {
    struct import_value *x, *scale, *zero, *y;
    struct op_attrs attrs = {0};
    int64_t given;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &scale));
    TRY(import_attr_int(n, "output_dtype", 0, &given));
    TRY(scale_axis(n, x, scale, &attrs));
    const int element = given != 0 ? (int)given : scale->element;
    if (x->type.dtype == DTYPE_F32) { /* floats of 8 bits, widened; their zero is 0 */
        TRY(spread_scale(n, x, scale, &attrs, &scale));
        TRY(compose_binary(n, BINARY_MUL, x, scale, &y));
        return import_set_as(n, 0, y, element);
    }
    TRY(or_zero(n, 2, x->type.dtype, &scale->type.shape, &zero));
    TRY(import_emit(n, OP_DEQUANTIZE, &attrs, (struct import_value *[]){x, scale, zero}, 3, &y));
    return import_set_as(n, 0, y, element);
}

static shoal_status convert_dynamic(struct import_node *n) {
    struct import_value *x, *y[3];
    TRY(import_need(n, 0, &x));
    TRY(import_emit(n, OP_DYNAMIC_QUANTIZE, NULL, &x, 1, y));
    for (uint32_t i = 0; i < 3; i++) {
        if (import_wants(n, i)) {
            TRY(import_set(n, i, y[i]));
        }
    }
    return SHOAL_OK;
}

static shoal_status convert_matmul(struct import_node *n) {
    const bool quantised = n->mode == OP_MATMUL_QUANTIZED;
    const uint32_t count = quantised ? 8 : 4;
    struct import_value *in[8], *y;
    for (uint32_t i = 0; i < count; i++) {
        if (quantised || i < 2) {
            TRY(import_need(n, i, &in[i]));
        } else { /* a_zero_point, b_zero_point */
            TRY(or_zero(n, i, in[i - 2]->type.dtype, &(struct shape){0}, &in[i]));
        }
    }
    TRY(import_emit(n, (enum op)n->mode, NULL, in, (int)count, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_conv(struct import_node *n) {
    const bool quantised = n->mode == OP_CONV_QUANTIZED;
    struct import_value *in[9], *y;
    struct op_attrs attrs = {.axis = 1};
    int64_t groups;
    int count = quantised ? 8 : 4;
    for (int i = 0; i < count; i++) {
        if (quantised || i < 2) {
            TRY(import_need(n, (uint32_t)i, &in[i]));
        } else {
            TRY(or_zero(n, (uint32_t)i, in[i - 2]->type.dtype, &(struct shape){0}, &in[i]));
        }
    }
    const struct import_value *x = in[0], *w = in[quantised ? 3 : 1];
    const int spatial = x->type.shape.rank - 2;
    TRY(import_attr_int(n, "group", 1, &groups));
    if (spatial < 1 || spatial > WINDOW_AXES || w->type.shape.rank != spatial + 2 || groups < 1 ||
        groups > INT32_MAX) {
        return import_corrupt(n, "image, weights or groups out of range");
    }
    attrs.groups = (int32_t)groups;
    import_attr_ignore(n, "kernel_shape");
    TRY(compose_window(n, x->type.shape.dims + 2, w->type.shape.dims + 2, spatial, attrs.ints));
    if (quantised && import_input(n, 8) != NULL) {
        in[count++] = import_input(n, 8);
    }
    TRY(import_emit(n, (enum op)n->mode, &attrs, in, count, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_quant_converters[] = {
    {"", "QuantizeLinear", convert_quantize, 0},
    {"", "DequantizeLinear", convert_dequantize, 0},
    {"", "DynamicQuantizeLinear", convert_dynamic, 0},
    {"", "MatMulInteger", convert_matmul, OP_MATMUL_INTEGER},
    {"", "QLinearMatMul", convert_matmul, OP_MATMUL_QUANTIZED},
    {"", "ConvInteger", convert_conv, OP_CONV_INTEGER},
    {"", "QLinearConv", convert_conv, OP_CONV_QUANTIZED},
    {NULL, NULL, NULL, 0},
};
