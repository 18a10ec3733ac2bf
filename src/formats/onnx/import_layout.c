/* Converters of the layout family. */
#include "formats/onnx/import_basic.h"

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
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_reshape(struct import_node *n) {
    struct import_value *x, *dims, *y;
    int64_t allow_zero = 0;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    if (n->version < 5) {
        TRY(import_attr_ints(n, "shape", attrs.ints, SHAPE_MAX_RANK, &attrs.axis));
        import_attr_ignore(n, "consumed_inputs");
    } else {
        TRY(import_need(n, 1, &dims));
        TRY(import_attr_int(n, "allowzero", 0, &allow_zero));
        TRY(import_ints(n, dims, attrs.ints, SHAPE_MAX_RANK, &attrs.axis));
    }
    attrs.mode = allow_zero != 0 ? 1 : 0;
    TRY(import_emit(n, OP_RESHAPE, &attrs, &x, 1, &y));
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_squeeze(struct import_node *n) {
    struct import_value *x, *y;
    int axes[SHAPE_MAX_RANK], count;
    unsigned gone = 0;
    TRY(import_need(n, 0, &x));
    const struct shape *shape = &x->type.shape;
    TRY(import_axes(n, 1, 13, shape->rank, axes, &count));
    for (int i = 0; i < (count < 0 ? shape->rank : count); i++) {
        const int axis = count < 0 ? i : axes[i];
        if (shape->dims[axis] == 1) {
            gone |= 1U << axis;
        } else if (count >= 0) {
            return import_corrupt(n, "axis %d is not 1", axis);
        }
    }
    struct shape to = {0};
    for (int i = 0; i < shape->rank; i++) {
        if ((gone >> i & 1U) == 0) {
            to.dims[to.rank++] = shape->dims[i];
        }
    }
    TRY(import_reshape(n, x, &to, &y));
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_unsqueeze(struct import_node *n) {
    struct import_value *x, *axes_input, *y;
    int64_t given[SHAPE_MAX_RANK];
    int count = 0, axis;
    unsigned added = 0;
    TRY(import_need(n, 0, &x));
    const struct shape *shape = &x->type.shape;
    if (n->version < 13) {
        TRY(import_attr_ints(n, "axes", given, SHAPE_MAX_RANK, &count));
    } else {
        TRY(import_need(n, 1, &axes_input));
        TRY(import_ints(n, axes_input, given, SHAPE_MAX_RANK, &count));
    }
    if (count < 0) {
        return import_corrupt(n, "no axes");
    }
    if (shape->rank + count > SHAPE_MAX_RANK) {
        return import_refuse(n, "more than %d axes", SHAPE_MAX_RANK);
    }
    struct shape to = {.rank = shape->rank + count};
    for (int i = 0; i < count; i++) {
        TRY(import_axis(n, given[i], to.rank, &axis));
        if ((added >> axis & 1U) != 0) {
            return import_corrupt(n, "axis %d twice", axis);
        }
        added |= 1U << axis;
    }
    for (int i = 0, from = 0; i < to.rank; i++) {
        to.dims[i] = (added >> i & 1U) != 0 ? 1 : shape->dims[from++];
    }
    TRY(import_reshape(n, x, &to, &y));
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_flatten(struct import_node *n) {
    struct import_value *x, *y;
    int axis;
    TRY(import_need(n, 0, &x));
    const struct shape *shape = &x->type.shape;
    int64_t given;
    TRY(import_attr_int(n, "axis", 1, &given));
    given = given < 0 ? given + shape->rank : given; /* rank itself is one, too */
    TRY(import_axis(n, given, shape->rank + 1, &axis));
    struct shape to = {2, {1, 1}};
    for (int i = 0; i < shape->rank; i++) {
        to.dims[i < axis ? 0 : 1] *= shape->dims[i];
    }
    TRY(import_reshape(n, x, &to, &y));
    return import_set_as(n, 0, y, x->element);
}

/* As a tree where an op takes fewer inputs. */
static shoal_status concat(struct import_node *n, struct import_value **inputs, uint32_t count,
                           const struct op_attrs *attrs, struct import_value **out) {
    while (count > 1) {
        uint32_t made = 0;
        for (uint32_t i = 0; i < count; i += OP_MAX_INPUTS) {
            const uint32_t some = count - i < OP_MAX_INPUTS ? count - i : OP_MAX_INPUTS;
            if (some == 1) {
                inputs[made++] = inputs[i];
                continue;
            }
            struct import_value *y;
            TRY(import_emit(n, OP_CONCAT, attrs, inputs + i, (int)some, &y));
            inputs[made++] = y;
        }
        count = made;
    }
    *out = inputs[0];
    return SHOAL_OK;
}

static shoal_status convert_concat(struct import_node *n) {
    struct op_attrs attrs = {0};
    if (n->input_count == 0) {
        return import_corrupt(n, "no inputs");
    }
    struct import_value *y, **inputs = import_alloc(n, n->input_count * sizeof(void *));
    if (inputs == NULL) {
        return import_no_memory(n);
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        TRY(import_need(n, i, &inputs[i]));
    }
    const int element = inputs[0]->element;
    TRY(import_attr_axis(n, "axis", 1, inputs[0]->type.shape.rank, &attrs.axis));
    TRY(concat(n, inputs, n->input_count, &attrs, &y));
    return import_set_as(n, 0, y, element);
}

static shoal_status convert_expand(struct import_node *n) {
    struct import_value *x, *dims, *y;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &dims));
    TRY(import_ints(n, dims, attrs.ints, SHAPE_MAX_RANK, &attrs.axis));
    TRY(import_emit(n, OP_EXPAND, &attrs, &x, 1, &y));
    if (shape_equal(&y->type.shape, &x->type.shape)) {
        y = x;
    }
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_tile(struct import_node *n) {
    struct import_value *x, *repeats, *y;
    struct op_attrs attrs = {0};
    int count;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &repeats));
    TRY(import_ints(n, repeats, attrs.ints, SHAPE_MAX_RANK, &count));
    if (count != x->type.shape.rank) {
        return import_corrupt(n, "%d repeats for %d axes", count, x->type.shape.rank);
    }
    TRY(import_emit(n, OP_TILE, &attrs, &x, 1, &y));
    return import_set_as(n, 0, y, x->element);
}

static shoal_status convert_triangle(struct import_node *n) {
    struct import_value *x, *k, *y;
    int64_t upper;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "upper", 1, &upper));
    attrs.mode = upper != 0 ? 1 : 0;
    k = import_input(n, 1);
    if (k != NULL) {
        TRY(import_int(n, k, &attrs.ints[0]));
    }
    TRY(import_emit(n, OP_TRIANGLE, &attrs, &x, 1, &y));
    return import_set_as(n, 0, y, x->element);
}

const struct import_converter import_layout_converters[] = {
    {"", "Transpose", convert_transpose, 0},
    {"", "Reshape", convert_reshape, 0},
    {"", "Squeeze", convert_squeeze, 0},
    {"", "Unsqueeze", convert_unsqueeze, 0},
    {"", "Flatten", convert_flatten, 0},
    {"", "Concat", convert_concat, 0},
    {"", "Expand", convert_expand, 0},
    {"", "Tile", convert_tile, 0},
    {"", "Trilu", convert_triangle, 0},
    {"", "Slice", import_convert_slice, 0},
    {"", "Split", import_convert_split, 0},
    {"", "Pad", import_convert_pad, 0},
    {"", "CenterCropPad", import_convert_center_crop_pad, 0},
    {"", "DepthToSpace", import_convert_blocks, 0},
    {"", "SpaceToDepth", import_convert_blocks, 1},
    {"", "Gather", import_convert_gather, 0},
    {"", "GatherElements", import_convert_gather_elements, 0},
    {"", "GatherND", import_convert_gather_nd, 0},
    {"", "Scatter", import_convert_scatter_elements, 0},
    {"", "ScatterElements", import_convert_scatter_elements, 0},
    {"", "ScatterND", import_convert_scatter_nd, 0},
    {"", "TensorScatter", import_convert_tensor_scatter, 0},
    {"", "OneHot", import_convert_one_hot, 0},
    {"", "TopK", import_convert_top_k, 0},
    {"", "ReverseSequence", import_convert_reverse_sequence, 0},
    {"", "EyeLike", import_convert_eye_like, 0},
    {"", "HannWindow", import_convert_window, 0},
    {"", "HammingWindow", import_convert_window, 1},
    {"", "BlackmanWindow", import_convert_window, 2},
    {"ai.onnx.ml", "ArrayFeatureExtractor", import_convert_features, 0},
    {NULL, NULL, NULL, 0},
};
