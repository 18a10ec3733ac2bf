/* Converters of what looks along axes. */
#include "formats/onnx/import_basic.h"

shoal_status import_attr_axis(struct import_node *n, const char *name, int64_t fallback, int rank,
                              int *out) {
    int64_t axis;
    TRY(import_attr_int(n, name, fallback, &axis));
    return import_axis(n, axis, rank, out);
}

shoal_status import_axes(struct import_node *n, uint32_t input, int64_t since, int rank,
                         int axes[SHAPE_MAX_RANK], int *count) {
    int64_t given[SHAPE_MAX_RANK];
    unsigned seen = 0;
    struct import_value *value = n->version >= since ? import_input(n, input) : NULL;
    *count = -1;
    if (value != NULL) {
        TRY(import_ints(n, value, given, SHAPE_MAX_RANK, count));
    } else if (n->version < since) {
        TRY(import_attr_ints(n, "axes", given, SHAPE_MAX_RANK, count));
    }
    for (int i = 0; i < *count; i++) {
        TRY(import_axis(n, given[i], rank, &axes[i]));
        if ((seen >> axes[i] & 1U) != 0) {
            return import_corrupt(n, "axis %d twice", axes[i]);
        }
        seen |= 1U << axes[i];
    }
    return SHOAL_OK;
}

/* mode: enum reduce_function. */
shoal_status import_convert_reduce(struct import_node *n) {
    struct import_value *x, *y;
    int axes[SHAPE_MAX_RANK], count;
    int64_t keep, noop = 0;
    TRY(import_need(n, 0, &x));
    const int rank = x->type.shape.rank;
    TRY(import_axes(n, 1, n->mode == REDUCE_SUM ? 13 : 18, rank, axes, &count));
    TRY(import_attr_int(n, "keepdims", 1, &keep));
    TRY(import_attr_int(n, "noop_with_empty_axes", 0, &noop));
    struct op_attrs attrs = {.mode = n->mode, .ints = {0, keep != 0 ? 1 : 0}};
    for (int i = 0; i < count; i++) {
        attrs.ints[0] |= INT64_C(1) << axes[i];
    }
    if (count <= 0 && noop == 0) {
        attrs.ints[0] = (INT64_C(1) << rank) - 1;
    }
    TRY(import_emit(n, OP_REDUCE, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

/* mode: 0 the greatest, 1 the least. */
shoal_status import_convert_arg_reduce(struct import_node *n) {
    struct import_value *x, *y;
    int64_t keep, last = 0;
    int axis;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_axis(n, "axis", 0, x->type.shape.rank, &axis));
    TRY(import_attr_int(n, "keepdims", 1, &keep));
    TRY(import_attr_int(n, "select_last_index", 0, &last));
    const struct op_attrs attrs = {.mode = n->mode, .axis = axis, .ints = {last != 0 ? 1 : 0}};
    TRY(import_emit(n, OP_ARG_REDUCE, &attrs, &x, 1, &y));
    if (keep == 0) {
        struct shape to = {0};
        for (int i = 0; i < y->type.shape.rank; i++) {
            if (i != axis) {
                to.dims[to.rank++] = y->type.shape.dims[i];
            }
        }
        TRY(import_reshape(n, y, &to, &y));
    }
    return import_set_as(n, 0, y, ONNX_INT64);
}

/* mode: enum softmax_function. Before version 13 all axes from the given one on are one. */
shoal_status import_convert_softmax(struct import_node *n) {
    struct import_value *x, *y;
    int axis;
    TRY(import_need(n, 0, &x));
    const struct shape shape = x->type.shape;
    const bool flat = n->version < 13;
    int64_t given;
    TRY(import_attr_int(n, "axis", flat ? 1 : -1, &given));
    given = given < 0 ? given + shape.rank : given; /* of a flat one rank itself is an axis, too */
    TRY(import_axis(n, given, shape.rank + (flat ? 1 : 0), &axis));
    struct op_attrs attrs = {.mode = n->mode, .axis = axis};
    if (flat && axis != shape.rank - 1) {
        struct shape two = {2, {1, 1}};
        for (int i = 0; i < shape.rank; i++) {
            two.dims[i < axis ? 0 : 1] *= shape.dims[i];
        }
        attrs.axis = 1;
        TRY(import_reshape(n, x, &two, &x));
    }
    TRY(import_emit(n, OP_SOFTMAX, &attrs, &x, 1, &y));
    TRY(import_reshape(n, y, &shape, &y));
    return import_set(n, 0, y);
}

/* mode: 0 sum, 1 product. */
shoal_status import_convert_cumulate(struct import_node *n) {
    struct import_value *x, *where, *y;
    int64_t axis, exclusive, reverse;
    struct op_attrs attrs = {.mode = n->mode};
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &where));
    TRY(import_int(n, where, &axis));
    TRY(import_axis(n, axis, x->type.shape.rank, &attrs.axis));
    TRY(import_attr_int(n, "exclusive", 0, &exclusive));
    TRY(import_attr_int(n, "reverse", 0, &reverse));
    attrs.ints[0] = exclusive != 0 ? 1 : 0;
    attrs.ints[1] = reverse != 0 ? 1 : 0;
    TRY(import_emit(n, OP_CUMULATE, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}
