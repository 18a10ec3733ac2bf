/* Ops that change nothing. */
#include "graph/passes/axes.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include <string.h>

static bool is_permutation_identity(const struct graph_node *node, int rank) {
    for (int i = 0; i < rank; i++) {
        if (node->attrs.ints[i] != i) {
            return false;
        }
    }
    return true;
}

static bool slices_all(const struct graph_node *node, const struct shape *x) {
    for (int i = 0; i < x->rank; i++) {
        const int64_t *a = node->attrs.ints;
        if (a[i] != 0 || a[SLICE_LENGTH + i] != x->dims[i] || a[SLICE_STEP + i] != 1) {
            return false;
        }
    }
    return true;
}

static bool pads_nothing(const struct graph_node *node, int rank) {
    for (int i = 0; i < rank; i++) {
        if (node->attrs.ints[i] != 0 || node->attrs.ints[PAD_END + i] != 0) {
            return false;
        }
    }
    return true;
}

/* x of BINARY where the other operand is the function's neutral element. */
static bool neutral(const struct rewrite *rw, const struct graph_node *node, graph_value_id *x) {
    const graph_value_id y = node->outputs[0];
    double number = 0;
    switch (node->attrs.mode) {
    case BINARY_ADD:
    case BINARY_SUB:
        return match_with_number(rw, y, (enum binary_function)node->attrs.mode, x, &number) &&
               !(number > 0) && !(number < 0);
    case BINARY_MUL:
    case BINARY_DIV:
        return match_with_number(rw, y, (enum binary_function)node->attrs.mode, x, &number) &&
               number >= 1 && number <= 1;
    case BINARY_POW:
        return match_with_number(rw, y, BINARY_POW, x, &number) && number >= 1 && number <= 1;
    default:
        return false;
    }
}

/* An op whose result is its first input, elements, shape and type. */
static bool changes_nothing(const struct rewrite *rw, const struct graph_node *node,
                            graph_value_id *x) {
    *x = rewrite_input(rw, node, 0);
    const struct shape *shape = &rewrite_type(rw, *x)->shape;
    switch ((int)node->op) {
    case OP_TRANSPOSE:
        return is_permutation_identity(node, shape->rank);
    case OP_RESHAPE:
    case OP_EXPAND:
    case OP_TILE:
    case OP_CAST:
    case OP_CONCAT: /* of one */
        return node->input_count == 1;
    case OP_SLICE:
        return slices_all(node, shape);
    case OP_PAD:
        return pads_nothing(node, shape->rank);
    case OP_BINARY:
        return neutral(rw, node, x);
    case OP_WHERE: { /* the same on both sides */
        *x = rewrite_input(rw, node, 1);
        return *x == rewrite_input(rw, node, 2);
    }
    case OP_REDUCE: /* over axes of 1: only a mean, sum, product, greatest or least is its element
                     */
        return node->attrs.mode <= REDUCE_PROD;
    default:
        return false;
    }
}

/* REDUCE over anything else than axes of 1 has another shape, unless nothing but 1s is there. */
static bool may_drop(const struct rewrite *rw, const struct graph_node *node, graph_value_id x) {
    if (node->op == OP_CAST &&
        rewrite_type(rw, x)->dtype != rewrite_type(rw, node->outputs[0])->dtype) {
        return false;
    }
    return rewrite_may_replace(rw, node->outputs[0], x);
}

/* TRANSPOSE that moves axes of 1 only is a RESHAPE. */
static bool only_reshapes(const struct rewrite *rw, const struct graph_node *node) {
    const struct shape *x = &rewrite_type(rw, rewrite_input(rw, node, 0))->shape;
    const struct shape *y = &rewrite_type(rw, node->outputs[0])->shape;
    return node->op == OP_TRANSPOSE && axes_keep_order(x, node->attrs.ints) && axes_can_reshape(y);
}

/* A boolean constant that is all `wanted`. */
static bool all_bools(const struct rewrite *rw, graph_value_id value, bool wanted) {
    const graph_param_id id = rewrite_param(rw, value);
    int64_t count = 0;
    if (id == GRAPH_NONE) {
        return false;
    }
    const struct graph_param *param = graph_param_get(rewrite_graph(rw), id);
    if (param->data == NULL || param->type.dtype != DTYPE_BOOL ||
        !shape_count(&param->type.shape, &count)) {
        return false;
    }
    const unsigned char *bytes = param->data;
    for (int64_t i = 0; i < count; i++) {
        if ((bytes[i] != 0) != wanted) {
            return false;
        }
    }
    return count > 0;
}

/* x AND true, x OR false: x, in a larger shape perhaps. */
static bool neutral_logic(const struct rewrite *rw, const struct graph_node *node,
                          graph_value_id *x) {
    if (node->op != OP_BINARY ||
        (node->attrs.mode != BINARY_AND && node->attrs.mode != BINARY_OR)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (all_bools(rw, rewrite_input(rw, node, i), node->attrs.mode == BINARY_AND)) {
            *x = rewrite_input(rw, node, 1 - i);
            return axes_can_reshape(&rewrite_type(rw, node->outputs[0])->shape);
        }
    }
    return false;
}

static shoal_status expand_to(struct rewrite *rw, graph_node_id id, graph_value_id x,
                              struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct shape y = rewrite_type(rw, node.outputs[0])->shape;
    struct op_attrs attrs = {.axis = y.rank};
    graph_value_id out = GRAPH_NONE;
    for (int i = 0; i < y.rank; i++) {
        attrs.ints[i] = y.dims[i];
    }
    TRY(rewrite_add(rw, id, NULL, OP_EXPAND, &attrs, &x, 1, NULL, 0, &out, error));
    return rewrite_replace(rw, node.outputs[0], out, error);
}

static bool has_batch(const struct shape *shape) {
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == GRAPH_BATCH) {
            return true;
        }
    }
    return false;
}

static shoal_status clean(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const graph_value_id y = node->outputs[0];
    graph_value_id x = GRAPH_NONE, out = GRAPH_NONE;
    if (node->input_count > 0 && changes_nothing(rw, node, &x) && may_drop(rw, node, x)) {
        return rewrite_replace(rw, y, x, error);
    }
    if (neutral_logic(rw, node, &x) && !has_batch(&rewrite_type(rw, y)->shape)) {
        if (rewrite_may_replace(rw, y, x)) {
            return rewrite_replace(rw, y, x, error);
        }
        return match_same_type(rw, x, y) ? SHOAL_OK : expand_to(rw, id, x, error);
    }
    if (node->op == OP_RESHAPE && match_op(rw, rewrite_input(rw, node, 0), OP_RESHAPE) != NULL) {
        const struct graph_node *inner = match_op(rw, rewrite_input(rw, node, 0), OP_RESHAPE);
        const struct shape shape = rewrite_type(rw, y)->shape;
        if (axes_can_reshape(&shape)) {
            TRY(axes_reshape(rw, id, NULL, rewrite_input(rw, inner, 0), &shape, &out, error));
            return rewrite_may_replace(rw, y, out) ? rewrite_replace(rw, y, out, error) : SHOAL_OK;
        }
    }
    return SHOAL_OK;
}

shoal_status pass_clean(struct rewrite *rw, const struct pass_options *options,
                        struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        if (rewrite_node(rw, id) != NULL) {
            TRY(clean(rw, id, error));
        }
    }
    return SHOAL_OK;
}

shoal_status pass_views(struct rewrite *rw, const struct pass_options *options,
                        struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        graph_value_id out = GRAPH_NONE;
        if (node != NULL && only_reshapes(rw, node)) {
            const graph_value_id y = node->outputs[0];
            const struct shape shape = rewrite_type(rw, y)->shape;
            TRY(axes_reshape(rw, id, NULL, rewrite_input(rw, node, 0), &shape, &out, error));
            TRY(rewrite_may_replace(rw, y, out) ? rewrite_replace(rw, y, out, error) : SHOAL_OK);
        }
    }
    return SHOAL_OK;
}
