/* Converters of what follows indices. */
#include "formats/onnx/import_basic.h"

/* The op on the node's first `count` inputs. */
static shoal_status plain(struct import_node *n, enum op op, const struct op_attrs *attrs,
                          uint32_t count) {
    struct import_value *inputs[3], *y;
    for (uint32_t i = 0; i < count; i++) {
        TRY(import_need(n, i, &inputs[i]));
    }
    TRY(import_emit(n, op, attrs, inputs, (int)count, &y));
    return import_set_as(n, 0, y, inputs[0]->element);
}

static shoal_status first_axis(struct import_node *n, int64_t fallback, int *out) {
    struct import_value *x;
    TRY(import_need(n, 0, &x));
    return import_attr_axis(n, "axis", fallback, x->type.shape.rank, out);
}

/* One known index is a slice, which passes understand better. */
shoal_status import_convert_gather(struct import_node *n) {
    struct import_value *x, *indices, *y;
    struct op_attrs attrs = {0};
    int64_t index = 0;
    TRY(first_axis(n, 0, &attrs.axis));
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &indices));
    const int64_t dim = x->type.shape.dims[attrs.axis];
    if (indices->type.shape.rank > 0 || !import_is_constant(indices) || import_is_constant(x)) {
        return plain(n, OP_GATHER, &attrs, 2);
    }
    TRY(import_int(n, indices, &index));
    index = index < 0 ? index + dim : index;
    if (index < 0 || index >= dim) {
        return import_corrupt(n, "an index out of range");
    }
    struct shape to = {0};
    for (int i = 0; i < x->type.shape.rank; i++) {
        if (i != attrs.axis) {
            to.dims[to.rank++] = x->type.shape.dims[i];
        }
    }
    TRY(import_slice_axis(n, x, attrs.axis, index, 1, &y));
    TRY(import_reshape(n, y, &to, &y));
    return import_set_as(n, 0, y, x->element);
}

shoal_status import_convert_gather_elements(struct import_node *n) {
    struct op_attrs attrs = {0};
    TRY(first_axis(n, 0, &attrs.axis));
    return plain(n, OP_GATHER_ELEMENTS, &attrs, 2);
}

shoal_status import_convert_gather_nd(struct import_node *n) {
    int64_t batch;
    TRY(import_attr_int(n, "batch_dims", 0, &batch));
    if (batch < 0 || batch >= SHAPE_MAX_RANK) {
        return import_corrupt(n, "batch_dims out of range");
    }
    const struct op_attrs attrs = {.axis = (int32_t)batch};
    return plain(n, OP_GATHER_ND, &attrs, 2);
}

static const char *const reductions[] = {"none", "add", "mul", "min", "max", NULL};

shoal_status import_convert_scatter_elements(struct import_node *n) {
    struct op_attrs attrs = {0};
    TRY(first_axis(n, 0, &attrs.axis));
    TRY(import_attr_choice(n, "reduction", reductions, SCATTER_SET, &attrs.mode));
    return plain(n, OP_SCATTER_ELEMENTS, &attrs, 3);
}

shoal_status import_convert_scatter_nd(struct import_node *n) {
    struct op_attrs attrs = {0};
    TRY(import_attr_choice(n, "reduction", reductions, SCATTER_SET, &attrs.mode));
    return plain(n, OP_SCATTER_ND, &attrs, 3);
}

shoal_status import_convert_tensor_scatter(struct import_node *n) {
    static const char *const modes[] = {"linear", "circular", NULL};
    struct import_value *inputs[3], *y;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_need(n, 1, &inputs[1]));
    TRY(first_axis(n, -2, &attrs.axis));
    TRY(import_attr_choice(n, "mode", modes, 0, &attrs.mode));
    inputs[2] = import_input(n, 2);
    if (inputs[2] == NULL) {
        const struct shape shape = {.rank = 1, .dims = {inputs[0]->type.shape.dims[0]}};
        TRY(import_constant(n, DTYPE_I64, &shape, NULL, &inputs[2]));
    }
    TRY(import_emit(n, OP_SCATTER_ROWS, &attrs, inputs, 3, &y));
    return import_set_as(n, 0, y, inputs[0]->element);
}

shoal_status import_convert_one_hot(struct import_node *n) {
    struct import_value *inputs[2], *depth, *y;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_need(n, 1, &depth));
    TRY(import_need(n, 2, &inputs[1]));
    double number = 0; /* the standard allows floats */
    TRY(import_number(n, depth, &number));
    if (!(number >= 0 && number < 1e15)) {
        return import_corrupt(n, "depth out of range");
    }
    attrs.ints[0] = (int64_t)number;
    TRY(import_attr_axis(n, "axis", -1, inputs[0]->type.shape.rank + 1, &attrs.axis));
    TRY(import_emit(n, OP_ONE_HOT, &attrs, inputs, 2, &y));
    return import_set_as(n, 0, y, inputs[1]->element);
}

shoal_status import_convert_top_k(struct import_node *n) {
    struct import_value *x, *k, *y[2];
    int64_t largest = 1;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(first_axis(n, -1, &attrs.axis));
    if (n->version < 10) {
        TRY(import_attr_int(n, "k", 0, &attrs.ints[0]));
    } else {
        TRY(import_need(n, 1, &k));
        TRY(import_int(n, k, &attrs.ints[0]));
    }
    TRY(import_attr_int(n, "largest", 1, &largest));
    import_attr_ignore(n, "sorted"); /* sorted is one of the orders that unsorted allows */
    attrs.mode = largest != 0 ? 1 : 0;
    TRY(import_emit(n, OP_TOP_K, &attrs, &x, 1, y));
    TRY(import_set_as(n, 0, y[0], x->element));
    return import_set_as(n, 1, y[1], ONNX_INT64);
}

shoal_status import_convert_reverse_sequence(struct import_node *n) {
    struct import_value *x;
    int batch;
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_attr_axis(n, "batch_axis", 1, x->type.shape.rank, &batch));
    TRY(import_attr_axis(n, "time_axis", 0, x->type.shape.rank, &attrs.axis));
    attrs.ints[0] = batch;
    return plain(n, OP_REVERSE_SEQUENCE, &attrs, 2);
}

/* ai.onnx.ml: columns of the last axis; one row stands for a vector. */
shoal_status import_convert_features(struct import_node *n) {
    struct import_value *inputs[2], *y;
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_need(n, 1, &inputs[1]));
    struct shape shape = inputs[0]->type.shape;
    int64_t count = 0;
    (void)shape_count(&inputs[1]->type.shape, &count);
    const struct shape flat = {.rank = 1, .dims = {count}};
    if (shape.rank == 0) {
        return import_corrupt(n, "nothing to choose from");
    }
    if (shape.rank == 1) {
        shape = SHAPE(1, shape.dims[0]);
        TRY(import_reshape(n, inputs[0], &shape, &inputs[0]));
    }
    TRY(import_reshape(n, inputs[1], &flat, &inputs[1]));
    const struct op_attrs attrs = {.axis = shape.rank - 1};
    TRY(import_emit(n, OP_GATHER, &attrs, inputs, 2, &y));
    return import_set_as(n, 0, y, inputs[0]->element);
}
