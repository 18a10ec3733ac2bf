/* Converters between element types. Types that the IR widens are rounded to, and widened again. */
#include "formats/onnx/import_basic.h"

#include "tensor/convert.h"

static shoal_status emit_cast(struct import_node *n, struct import_value *x, enum dtype to,
                              struct op_attrs attrs, struct import_value **out) {
    attrs.mode = (int32_t)to;
    return import_emit(n, OP_CAST, &attrs, &x, 1, out);
}

static shoal_status cast(struct import_node *n, struct import_value *x, int element,
                         const struct op_attrs *attrs, struct import_value **out) {
    enum dtype stored, wide;
    if (!import_element_stored(element, &stored) || !import_element_dtype(element, &wide)) {
        return import_refuse(n, "a cast to %s", onnx_dtype_name(element));
    }
    *out = x;
    if (stored != wide) { /* even from the same type: x may be wider than it says */
        TRY(emit_cast(n, x, stored, *attrs, &x));
        return emit_cast(n, x, wide, (struct op_attrs){0}, out);
    }
    return x->type.dtype == wide ? SHOAL_OK : emit_cast(n, x, wide, *attrs, out);
}

/* The bytes of x in the type the model means, as those of another; both exist in the IR. */
static shoal_status bitcast(struct import_node *n, struct import_value *x, int element,
                            struct import_value **out) {
    enum dtype from, to, wide;
    if (!import_element_stored(x->element, &from) || !import_element_stored(element, &to) ||
        !import_element_dtype(element, &wide)) {
        return import_refuse(n, "a cast from %s to %s", onnx_dtype_name(x->element),
                             onnx_dtype_name(element));
    }
    if ((from >= DTYPE_F4E2M1) != (to >= DTYPE_F4E2M1)) { /* a byte in memory, less in ONNX */
        return import_corrupt(n, "the types differ in size");
    }
    if (from != x->type.dtype) {
        TRY(emit_cast(n, x, from, (struct op_attrs){0}, &x));
    }
    const struct op_attrs attrs = {.mode = (int32_t)to};
    TRY(import_emit(n, OP_BITCAST, &attrs, &x, 1, out));
    return to == wide ? SHOAL_OK : emit_cast(n, *out, wide, (struct op_attrs){0}, out);
}

shoal_status import_convert_cast(struct import_node *n) {
    static const char *const roundings[] = {"up", "down", "nearest", NULL};
    struct import_value *x, *like, *y;
    struct op_attrs attrs = {0};
    int64_t element = 0, saturate = 1;
    int rounding = CONVERT_UP;
    TRY(import_need(n, 0, &x));
    if (n->mode == IMPORT_CAST_LIKE) {
        TRY(import_need(n, 1, &like));
        element = like->element;
    } else {
        TRY(import_attr_int(n, "to", 0, &element));
    }
    if (element < 0 || element > INT32_MAX) {
        return import_corrupt(n, "no type to cast to");
    }
    if (n->mode == IMPORT_BITCAST) {
        TRY(bitcast(n, x, (int)element, &y));
        return import_set_as(n, 0, y, (int)element);
    }
    TRY(import_attr_int(n, "saturate", 1, &saturate));
    TRY(import_attr_choice(n, "round_mode", roundings, CONVERT_UP, &rounding));
    attrs.index = saturate != 0 ? 0 : 1;
    attrs.axis = rounding;
    TRY(cast(n, x, (int)element, &attrs, &y));
    return import_set_as(n, 0, y, (int)element);
}
