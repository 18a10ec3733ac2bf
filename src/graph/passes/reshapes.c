/*
 * RESHAPE moves behind ops that do not care, so that [B·T,C] around a product becomes [B,T,C] and
 * reshapes meet. It moves in front of a LINEAR or norm where another reshape is.
 */
#include "graph/passes/axes.h"
#include "graph/passes/derive.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

static int64_t last_dim(const struct shape *shape) {
    return shape->rank > 0 ? shape->dims[shape->rank - 1] : 1;
}

/* Ops that work on rows of the last axis, whatever the axes before it. */
static bool by_rows(const struct graph_node *node) {
    switch ((int)node->op) {
    case OP_LINEAR:
    case OP_LAYER_NORM:
    case OP_NORMALISE:
        return node->input_count == 1;
    default:
        return false;
    }
}

/* A reshape above that leaves the last axis alone; both have one. */
static const struct graph_node *keeps_rows(const struct rewrite *rw, graph_value_id value) {
    const struct graph_node *node = match_op(rw, value, OP_RESHAPE);
    if (node == NULL) {
        return NULL;
    }
    const struct shape *x = &rewrite_type(rw, rewrite_input(rw, node, 0))->shape;
    const struct shape *y = &rewrite_type(rw, value)->shape;
    const bool same = x->rank > 1 && y->rank > 1 && last_dim(x) == last_dim(y);
    return same && last_dim(x) != GRAPH_BATCH ? node : NULL;
}

/* The node on other inputs, then reshaped to what it was. */
static shoal_status behind(struct rewrite *rw, graph_node_id id, const graph_value_id *inputs,
                           struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct shape shape = rewrite_type(rw, node.outputs[0])->shape;
    graph_value_id y[OP_MAX_OUTPUTS], out = GRAPH_NONE;
    TRY(rewrite_add(rw, id, NULL, node.op, &node.attrs, inputs, node.input_count, node.params,
                    node.param_count, y, error));
    TRY(axes_reshape(rw, id, ".reshaped", y[0], &shape, &out, error));
    return rewrite_replace(rw, node.outputs[0], out, error);
}

static shoal_status sink_rows(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *above = keeps_rows(rw, rewrite_input(rw, node, 0));
    if (above == NULL) {
        return SHOAL_OK;
    }
    const graph_value_id x = rewrite_input(rw, above, 0);
    return behind(rw, id, &x, error);
}

/* reshape(op(reshape(x))): the lower one goes up, and they are one. */
static shoal_status raise(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const graph_value_id value = rewrite_input(rw, node, 0), old = node->outputs[0];
    const struct graph_node *op = rewrite_maker(rw, value);
    if (op == NULL || !by_rows(op) || !match_inner(rw, value) || keeps_rows(rw, old) == NULL) {
        return SHOAL_OK;
    }
    const struct graph_node *above = match_op(rw, rewrite_input(rw, op, 0), OP_RESHAPE);
    struct shape shape = rewrite_type(rw, old)->shape;
    if (above == NULL || keeps_rows(rw, above->outputs[0]) != NULL) {
        return SHOAL_OK; /* that one will move down */
    }
    const struct graph_node copy = *op;
    graph_value_id x = rewrite_input(rw, above, 0), y = GRAPH_NONE;
    shape.dims[shape.rank - 1] = last_dim(&rewrite_type(rw, above->outputs[0])->shape);
    if (!axes_can_reshape(&shape)) {
        return SHOAL_OK;
    }
    TRY(axes_reshape(rw, id, ".reshaped", x, &shape, &x, error));
    TRY(rewrite_add(rw, id, NULL, copy.op, &copy.attrs, &x, 1, copy.params, copy.param_count, &y,
                    error));
    return rewrite_replace(rw, old, y, error);
}

/* A constant that means the same beside x as beside what x is reshaped to: one number, or one for
 * each element of the last axis. */
static bool indifferent(const struct rewrite *rw, graph_value_id value, const struct shape *x,
                        const struct shape *y) {
    graph_param_id row = GRAPH_NONE;
    const int64_t length = last_dim(&rewrite_type(rw, value)->shape);
    const bool fits = length == 1 || (x->rank > 1 && last_dim(x) == last_dim(y) &&
                                      length == last_dim(y) && length != GRAPH_BATCH);
    return fits &&
           (rewrite_type(rw, value)->shape.rank == 0 ? rewrite_param(rw, value) != GRAPH_NONE
                                                     : match_row(rw, value, y->rank, length, &row));
}

/* The same of one axis at most. */
static shoal_status as_row(struct rewrite *rw, graph_value_id value, graph_value_id *out,
                           struct shoal_error *error) {
    const struct shape *shape = &rewrite_type(rw, value)->shape;
    struct graph *graph = rewrite_graph(rw);
    graph_param_id param = rewrite_param(rw, value);
    *out = value;
    if (shape->rank <= 1) {
        return SHOAL_OK;
    }
    const struct shape row = SHAPE(last_dim(shape));
    TRY(derive_reshaped(graph, graph_param_get(graph, param)->name, param, &row, &param, error));
    return rewrite_param_value(rw, param, out, error);
}

/* BINARY of values reshaped from one shape, or of one such value and a number or a row. */
static shoal_status sink_binary(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct shape y = rewrite_type(rw, node.outputs[0])->shape;
    graph_value_id inputs[2], x = GRAPH_NONE;
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, &node, i);
        const struct graph_node *above = match_op(rw, value, OP_RESHAPE);
        inputs[i] = GRAPH_NONE;
        if (above != NULL && shape_equal(&rewrite_type(rw, value)->shape, &y)) {
            inputs[i] = rewrite_input(rw, above, 0);
            x = inputs[i];
        }
    }
    if (x == GRAPH_NONE) {
        return SHOAL_OK;
    }
    const struct shape from = rewrite_type(rw, x)->shape;
    for (int i = 0; i < 2; i++) {
        if (inputs[i] == GRAPH_NONE ? !indifferent(rw, rewrite_input(rw, &node, i), &from, &y)
                                    : !shape_equal(&rewrite_type(rw, inputs[i])->shape, &from)) {
            return SHOAL_OK;
        }
    }
    for (int i = 0; i < 2; i++) {
        if (inputs[i] == GRAPH_NONE) {
            TRY(as_row(rw, rewrite_input(rw, &node, i), &inputs[i], error));
        }
    }
    return behind(rw, id, inputs, error);
}

static shoal_status sink_unary(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *above =
        match_op(rw, rewrite_input(rw, rewrite_node(rw, id), 0), OP_RESHAPE);
    if (above == NULL) {
        return SHOAL_OK;
    }
    const graph_value_id x = rewrite_input(rw, above, 0);
    return behind(rw, id, &x, error);
}

shoal_status pass_reshapes(struct rewrite *rw, const struct pass_options *options,
                           struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL || node->output_count != 1 ||
            !axes_can_reshape(&rewrite_type(rw, node->outputs[0])->shape)) {
            continue;
        }
        if (by_rows(node)) {
            TRY(sink_rows(rw, id, error));
        } else if (node->op == OP_BINARY) {
            TRY(sink_binary(rw, id, error));
        } else if (node->op == OP_UNARY || node->op == OP_CAST || node->op == OP_ACTIVATION) {
            TRY(sink_unary(rw, id, error));
        } else if (node->op == OP_RESHAPE) {
            TRY(raise(rw, id, error));
        }
    }
    return SHOAL_OK;
}
