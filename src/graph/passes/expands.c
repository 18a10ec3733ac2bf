/*
 * EXPAND moves behind what is computed element by element: masks are made of few numbers and
 * repeated only where somebody reads them so.
 */
#include "graph/passes/axes.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

static bool element_by_element(const struct graph_node *node) {
    switch ((int)node->op) {
    case OP_UNARY:
    case OP_CAST:
    case OP_BINARY:
    case OP_WHERE:
        return true;
    default:
        return false;
    }
}

static bool one_element(const struct rewrite *rw, graph_value_id value) {
    const struct shape *shape = &rewrite_type(rw, value)->shape;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] != 1) {
            return false;
        }
    }
    return rewrite_param(rw, value) != GRAPH_NONE;
}

/* Every operand is repeated or one number. */
static bool movable(const struct rewrite *rw, const struct graph_node *node,
                    graph_value_id inputs[OP_MAX_INPUTS]) {
    bool any = false;
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = rewrite_input(rw, node, i);
        const struct graph_node *above = match_op(rw, inputs[i], OP_EXPAND);
        if (above != NULL) {
            inputs[i] = rewrite_input(rw, above, 0);
            any = true;
        } else if (!one_element(rw, inputs[i])) {
            return false;
        }
    }
    return any;
}

static shoal_status sink(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct shape shape = rewrite_type(rw, node.outputs[0])->shape;
    struct op_attrs attrs = {.axis = shape.rank};
    graph_value_id inputs[OP_MAX_INPUTS], y = GRAPH_NONE;
    if (!movable(rw, &node, inputs)) {
        return SHOAL_OK;
    }
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dims[i] == GRAPH_BATCH) {
            return SHOAL_OK; /* EXPAND cannot name it */
        }
        attrs.ints[i] = shape.dims[i];
    }
    TRY(rewrite_add(rw, id, NULL, node.op, &node.attrs, inputs, node.input_count, NULL, 0, &y,
                    error));
    TRY(rewrite_add(rw, id, ".expanded", OP_EXPAND, &attrs, &y, 1, NULL, 0, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

shoal_status pass_expands(struct rewrite *rw, const struct pass_options *options,
                          struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node != NULL && element_by_element(node)) {
            TRY(sink(rw, id, error));
        }
    }
    return SHOAL_OK;
}
