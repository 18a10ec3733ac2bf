/* Converters of the layout family. */
#include "formats/onnx/importer.h"

static shoal_status convert_transpose(struct import_node *n) {
    struct import_value *x, *y;
    int64_t order[SHAPE_MAX_RANK];
    int count = 0;
    TRY(import_need(n, 0, &x));
    const int rank = x->type.shape.rank;
    TRY(import_attr_ints(n, "perm", order, SHAPE_MAX_RANK, &count));
    if (count >= 0 && count != rank) {
        return import_corrupt(n, "perm has %d axes, its input %d", count, rank);
    }
    for (int i = 0; count < 0 && i < rank; i++) {
        order[i] = rank - 1 - i;
    }
    TRY(import_transpose(n, x, order, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_reshape(struct import_node *n) {
    struct import_value *x, *dims, *y;
    int64_t allow_zero;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &dims));
    TRY(import_attr_int(n, "allowzero", 0, &allow_zero));
    TRY(import_ints(n, dims, attrs.ints, SHAPE_MAX_RANK, &attrs.axis));
    for (int i = 0; i < attrs.axis; i++) {
        if (attrs.ints[i] == 0 && allow_zero != 0) {
            return import_refuse(n, "allowzero with a dim of 0");
        }
    }
    TRY(import_emit(n, OP_RESHAPE, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_layout_converters[] = {
    {"", "Transpose", convert_transpose, 0},
    {"", "Reshape", convert_reshape, 0},
    {NULL, NULL, NULL, 0},
};
