/* Ops about tensors rather than on them: constants, shapes, names for other values. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static shoal_status convert_identity(struct import_node *n) {
    struct import_value *x = import_input(n, 0); /* a sequence or an optional as well */
    if (x == NULL) {
        return import_corrupt(n, "input 0 is missing");
    }
    return import_set_as(n, 0, x, x->element);
}

/* ---- constants ---- */

static shoal_status numbers(struct import_node *n, enum dtype dtype, const void *data, size_t count,
                            bool scalar, struct import_value **out) {
    const struct shape shape = {.rank = scalar ? 0 : 1, .dims = {scalar ? 0 : (int64_t)count}};
    return import_constant(n, dtype, &shape, data, out);
}

static shoal_status constant_of(struct import_node *n, const struct onnx_attribute *a,
                                struct import_value **out) {
    const bool main = n->frame->main && n->onnx->output_count > 0;
    switch ((int)a->type) {
    case ONNX_ATTRIBUTE_TENSOR:
        return value_of_tensor(n->importer, a->t, main ? n->onnx->outputs[0] : NULL, out);
    case ONNX_ATTRIBUTE_INT:
        return numbers(n, DTYPE_I64, &a->i, 1, true, out);
    case ONNX_ATTRIBUTE_FLOAT:
        return numbers(n, DTYPE_F32, &a->f, 1, true, out);
    case ONNX_ATTRIBUTE_INTS:
        return numbers(n, DTYPE_I64, a->ints, a->count, false, out);
    case ONNX_ATTRIBUTE_FLOATS:
        return numbers(n, DTYPE_F32, a->floats, a->count, false, out);
    default:
        return import_refuse(n, "a constant of type %s", onnx_attribute_type_name(a->type));
    }
}

static shoal_status convert_constant(struct import_node *n) {
    static const char *const names[] = {"value",         "value_int",    "value_float",
                                        "value_ints",    "value_floats", "value_string",
                                        "value_strings", "sparse_value"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct onnx_attribute *attribute = import_attribute(n, names[i]);
        if (attribute != NULL) {
            struct import_value *value = NULL;
            TRY(constant_of(n, attribute, &value));
            return import_set_as(n, 0, value, value->element);
        }
    }
    return import_corrupt(n, "no value");
}

/* Copies of one element: at once, or where they are needed. */
static shoal_status fill(struct import_node *n, struct import_value *one, const struct shape *shape,
                         struct import_value **out) {
    struct import_value *value = NULL;
    const size_t size = dtype_size(one->type.dtype);
    size_t bytes = 0;
    if (!shape_bytes(shape, one->type.dtype, &bytes)) {
        return import_refuse(n, "a constant of an impossible shape");
    }
    if (bytes > IMPORT_INLINE_BYTES) {
        struct op_attrs attrs = {.axis = shape->rank};
        memcpy(attrs.ints, shape->dims, sizeof shape->dims);
        return import_emit(n, OP_EXPAND, &attrs, &one, 1, out);
    }
    TRY(import_constant(n, one->type.dtype, shape, NULL, &value));
    unsigned char *to = import_constant_data(value);
    for (size_t at = 0; at < bytes; at += size) {
        memcpy(to + at, one->data, size);
    }
    value->element = one->element;
    *out = value;
    return SHOAL_OK;
}

static shoal_status dims_of(struct import_node *n, uint32_t index, struct shape *out) {
    struct import_value *input;
    struct shape shape = {0};
    TRY(import_need(n, index, &input));
    TRY(import_ints(n, input, shape.dims, SHAPE_MAX_RANK, &shape.rank));
    int64_t count = 0;
    if (!shape_count(&shape, &count)) {
        char text[SHAPE_TEXT];
        return import_corrupt(n, "the shape %s", shape_format(&shape, text));
    }
    *out = shape;
    return SHOAL_OK;
}

static shoal_status convert_constant_of_shape(struct import_node *n) {
    struct import_value *one, *value;
    struct shape shape;
    const void *data = NULL;
    int64_t count = 0;
    TRY(dims_of(n, 0, &shape));
    TRY(import_attr_tensor(n, "value", &one));
    if (one == NULL) {
        TRY(import_scalar(n, DTYPE_F32, 0, &one));
    }
    if (!shape_count(&one->type.shape, &count) || count != 1) {
        return import_corrupt(n, "its value is not one number");
    }
    TRY(import_bytes(n, one, &data));
    TRY(fill(n, one, &shape, &value));
    return import_set_as(n, 0, value, one->element);
}

/* ---- shapes ---- */

static int64_t clamp(int64_t value, int64_t rank) {
    value = value < 0 ? value + rank : value;
    return value < 0 ? 0 : value > rank ? rank : value;
}

static shoal_status convert_shape(struct import_node *n) {
    struct import_value *x, *y;
    int64_t start, end;
    TRY(import_need(n, 0, &x));
    const int rank = x->type.shape.rank;
    TRY(import_attr_int(n, "start", 0, &start));
    TRY(import_attr_int(n, "end", rank, &end));
    start = clamp(start, rank);
    end = clamp(end, rank);
    const struct shape shape = {.rank = 1, .dims = {end > start ? end - start : 0}};
    TRY(import_constant(n, DTYPE_I64, &shape, &x->type.shape.dims[start < rank ? start : 0], &y));
    return import_set_as(n, 0, y, ONNX_INT64);
}

static shoal_status convert_size(struct import_node *n) {
    struct import_value *x, *y;
    int64_t count = 0;
    const struct shape scalar = {0};
    TRY(import_need(n, 0, &x));
    (void)shape_count(&x->type.shape, &count); /* it is sound */
    TRY(import_constant(n, DTYPE_I64, &scalar, &count, &y));
    return import_set_as(n, 0, y, ONNX_INT64);
}

/* ---- ranges ---- */

static shoal_status range_floats(struct import_node *n, const double limits[3], enum dtype dtype,
                                 struct import_value **out) {
    const double count = fmax(ceil((limits[1] - limits[0]) / limits[2]), 0);
    if (!(count < 1e9)) {
        return import_refuse(n, "a range of %g numbers", count);
    }
    const struct shape shape = {.rank = 1, .dims = {(int64_t)count}};
    TRY(import_constant(n, dtype, &shape, NULL, out));
    void *to = import_constant_data(*out);
    for (int64_t i = 0; i < shape.dims[0]; i++) {
        const double value = limits[0] + (double)i * limits[2];
        if (dtype == DTYPE_F32) {
            ((float *)to)[i] = (float)value;
        } else {
            ((double *)to)[i] = value;
        }
    }
    return SHOAL_OK;
}

static shoal_status range_ints(struct import_node *n, const int64_t limits[3], enum dtype dtype,
                               struct import_value **out) {
    int64_t span = 0;
    if (limits[2] == 0 || limits[2] == INT64_MIN ||
        __builtin_sub_overflow(limits[1], limits[0], &span) || span == INT64_MIN) {
        return import_corrupt(n, "no sound range");
    }
    const bool empty = (span > 0) != (limits[2] > 0) || span == 0;
    const int64_t step = limits[2] < 0 ? -limits[2] : limits[2];
    const int64_t length = span < 0 ? -span : span;
    const struct shape shape = {.rank = 1, .dims = {empty ? 0 : (length - 1) / step + 1}};
    TRY(import_constant(n, dtype, &shape, NULL, out));
    void *to = import_constant_data(*out);
    for (int64_t i = 0; i < shape.dims[0]; i++) {
        const int64_t value = limits[0] + i * limits[2];
        if (dtype == DTYPE_I64) {
            ((int64_t *)to)[i] = value;
        } else if (dtype == DTYPE_I32) {
            ((int32_t *)to)[i] = (int32_t)value;
        } else {
            ((int16_t *)to)[i] = (int16_t)value;
        }
    }
    return SHOAL_OK;
}

static shoal_status convert_range(struct import_node *n) {
    struct import_value *input = NULL, *y;
    double limits[3];
    int64_t integers[3];
    bool floating = false;
    enum dtype dtype = DTYPE_F32;
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &input));
        if (i > 0 && input->type.dtype != dtype) {
            return import_corrupt(n, "inputs of several types");
        }
        dtype = input->type.dtype;
        floating = dtype == DTYPE_F32 || dtype == DTYPE_F64;
        if (!floating && dtype != DTYPE_I64 && dtype != DTYPE_I32 && dtype != DTYPE_I16) {
            return import_refuse_type(n, input);
        }
        if (floating) {
            TRY(import_number(n, input, &limits[i]));
        } else {
            TRY(import_int(n, input, &integers[i]));
        }
    }
    import_attr_ignore(n, "stash_type"); /* of f16 and bf16: f32 is finer */
    TRY(floating ? range_floats(n, limits, dtype, &y) : range_ints(n, integers, dtype, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_structure_converters[] = {
    {"", "Identity", convert_identity, 0},
    {"", "Constant", convert_constant, 0},
    {"", "ConstantOfShape", convert_constant_of_shape, 0},
    {"", "Shape", convert_shape, 0},
    {"", "Size", convert_size, 0},
    {"", "Range", convert_range, 0},
    {NULL, NULL, NULL, 0},
};
