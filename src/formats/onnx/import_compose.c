#include "formats/onnx/import_compose.h"

#include <string.h>

int64_t compose_count(const struct import_value *value) {
    int64_t count = 0;
    (void)shape_count(&value->type.shape, &count);
    return count;
}

shoal_status compose_binary(struct import_node *n, int function, struct import_value *a,
                            struct import_value *b, struct import_value **out) {
    const struct op_attrs attrs = {.mode = function};
    return import_emit(n, OP_BINARY, &attrs, (struct import_value *[]){a, b}, 2, out);
}

shoal_status compose_with(struct import_node *n, int function, struct import_value *a,
                          double number, struct import_value **out) {
    struct import_value *b;
    TRY(import_scalar(n, a->type.dtype, number, &b));
    return compose_binary(n, function, a, b, out);
}

shoal_status compose_unary(struct import_node *n, int function, struct import_value *x,
                           struct import_value **out) {
    const struct op_attrs attrs = {.mode = function};
    return import_emit(n, OP_UNARY, &attrs, &x, 1, out);
}

shoal_status compose_cast(struct import_node *n, struct import_value *x, enum dtype dtype,
                          struct import_value **out) {
    const struct op_attrs attrs = {.mode = (int32_t)dtype};
    if (x->type.dtype == dtype) {
        *out = x;
        return SHOAL_OK;
    }
    return import_emit(n, OP_CAST, &attrs, &x, 1, out);
}

shoal_status compose_reduce(struct import_node *n, int function, struct import_value *x,
                            int64_t axes, struct import_value **out) {
    const struct op_attrs attrs = {.mode = function, .ints = {axes, 1}};
    return import_emit(n, OP_REDUCE, &attrs, &x, 1, out);
}

shoal_status compose_slice(struct import_node *n, struct import_value *x, int axis, int64_t first,
                           int64_t count, struct import_value **out) {
    struct op_attrs attrs = {0};
    for (int i = 0; i < x->type.shape.rank; i++) {
        attrs.ints[i] = i == axis ? first : 0;
        attrs.ints[SLICE_STEP + i] = 1;
        attrs.ints[SLICE_LENGTH + i] = i == axis ? count : x->type.shape.dims[i];
    }
    return import_emit(n, OP_SLICE, &attrs, &x, 1, out);
}

shoal_status compose_concat(struct import_node *n, struct import_value *const *inputs, int count,
                            int axis, struct import_value **out) {
    const struct op_attrs attrs = {.axis = axis};
    return import_emit(n, OP_CONCAT, &attrs, inputs, count, out);
}

shoal_status compose_expand(struct import_node *n, struct import_value *x, const struct shape *to,
                            struct import_value **out) {
    struct op_attrs attrs = {.axis = to->rank};
    if (shape_equal(&x->type.shape, to)) {
        *out = x;
        return SHOAL_OK;
    }
    for (int i = 0; i < to->rank; i++) {
        attrs.ints[i] = to->dims[i];
    }
    return import_emit(n, OP_EXPAND, &attrs, &x, 1, out);
}

shoal_status compose_filled(struct import_node *n, const struct shape *shape, float number,
                            struct import_value **out) {
    TRY(import_constant(n, DTYPE_F32, shape, NULL, out));
    float *data = import_constant_data(*out);
    for (int64_t i = 0; i < compose_count(*out); i++) {
        data[i] = number;
    }
    return SHOAL_OK;
}

shoal_status compose_product(struct import_node *n, struct import_value *a, struct import_value *b,
                             float scale, bool transpose_b, struct import_value **out) {
    const struct op_attrs attrs = {.scale = scale, .transpose_b = transpose_b};
    return import_emit(n, OP_PRODUCT, &attrs, (struct import_value *[]){a, b}, 2, out);
}

shoal_status compose_spatial(struct import_node *n, const char *name, int count, int64_t fallback,
                             int64_t *out) {
    int given = 0;
    TRY(import_attr_ints(n, name, out, count, &given));
    if (given >= 0 && given != count) {
        return import_corrupt(n, "attribute %s with %d numbers, not %d", name, given, count);
    }
    for (int i = 0; i < count && given < 0; i++) {
        out[i] = fallback;
    }
    return SHOAL_OK;
}

/* What SAME_UPPER and SAME_LOWER add along one axis. */
static shoal_status same_padding(struct import_node *n, int64_t image, int64_t kernel, bool lower,
                                 int axis, int64_t *ints) {
    const int64_t stride = ints[WINDOW_STRIDE + axis], dilation = ints[WINDOW_DILATION + axis];
    const int64_t most = INT64_C(1) << 30;
    if (image < 0 || image > most || kernel < 1 || kernel > most || stride < 1 || stride > most ||
        dilation < 1 || dilation > most) {
        return import_corrupt(n, "a window out of range");
    }
    const int64_t out = (image + stride - 1) / stride;
    const int64_t wanted = (out - 1) * stride + (kernel - 1) * dilation + 1 - image;
    const int64_t total = wanted > 0 ? wanted : 0;
    ints[WINDOW_BEGIN + axis] = lower ? total - total / 2 : total / 2;
    ints[WINDOW_END + axis] = total - ints[WINDOW_BEGIN + axis];
    return SHOAL_OK;
}

shoal_status compose_window(struct import_node *n, const int64_t *image, const int64_t *kernel,
                            int spatial, int64_t *ints) {
    static const char *const choices[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", NULL};
    int64_t pads[2 * 4] = {0};
    int padding = 0;
    TRY(import_attr_choice(n, "auto_pad", choices, 0, &padding));
    TRY(compose_spatial(n, "strides", spatial, 1, ints + WINDOW_STRIDE));
    TRY(compose_spatial(n, "dilations", spatial, 1, ints + WINDOW_DILATION));
    TRY(compose_spatial(n, "pads", 2 * spatial, 0, pads));
    for (int i = 0; i < spatial; i++) {
        ints[WINDOW_BEGIN + i] = padding == 0 ? pads[i] : 0;
        ints[WINDOW_END + i] = padding == 0 ? pads[spatial + i] : 0;
        if (padding >= 2) {
            TRY(same_padding(n, image[i], kernel[i], padding == 3, i, ints));
        }
    }
    return SHOAL_OK;
}
