/* y = activation(x·wᵀ + bias) + residual, from its parts. */
#include "graph/passes/derive.h"
#include "graph/passes/fuse.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

/* product(x, constant matrix) */
static shoal_status from_product(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    static const int64_t turned[] = {1, 0};
    const struct graph_node node = *rewrite_node(rw, id);
    const graph_value_id x = rewrite_input(rw, &node, 0), w = rewrite_input(rw, &node, 1);
    const struct tensor_type *of_x = rewrite_type(rw, x), *of_w = rewrite_type(rw, w);
    graph_param_id param = rewrite_param(rw, w);
    graph_value_id y = GRAPH_NONE, constant = GRAPH_NONE;
    if (param == GRAPH_NONE || of_w->dtype != DTYPE_F32 || of_w->shape.rank != 2 ||
        of_x->shape.rank < 2 || node.attrs.transpose_a || node.attrs.scale < 1 ||
        node.attrs.scale > 1 || rewrite_param(rw, x) != GRAPH_NONE ||
        !derive_can(rewrite_graph(rw), param)) {
        return SHOAL_OK;
    }
    if (!node.attrs.transpose_b) {
        struct graph *graph = rewrite_graph(rw);
        TRY(derive_value(graph, param, &constant, error));
        TRY(derive_transpose(graph, node.name, constant, turned, &constant, error));
        TRY(derive_param(graph, constant, &param, error));
    }
    TRY(rewrite_add(rw, id, NULL, OP_LINEAR, NULL, &x, 1, &param, 1, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

/* The LINEAR that may take what comes behind it. */
static const struct graph_node *open_linear(const struct rewrite *rw, graph_value_id value) {
    const struct graph_node *node = match_op(rw, value, OP_LINEAR);
    return node != NULL && match_inner(rw, value) && node->input_count == 1 ? node : NULL;
}

static shoal_status add_bias(struct rewrite *rw, graph_node_id id, bool *done,
                             struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const struct graph_node *linear = open_linear(rw, value);
        const struct shape *shape = &rewrite_type(rw, value)->shape;
        graph_param_id bias = GRAPH_NONE;
        if (linear == NULL || linear->attrs.activation != ACTIVATION_NONE ||
            linear->param_count > 1 || !match_same_type(rw, value, node->outputs[0]) ||
            !match_row(rw, rewrite_input(rw, node, 1 - i), shape->rank,
                       shape->dims[shape->rank - 1], &bias)) {
            continue;
        }
        *done = true;
        const struct graph_node copy = *linear;
        return fuse_bias(rw, id, &copy, copy.params[0], bias, error);
    }
    return SHOAL_OK;
}

static shoal_status add_residual(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *best = NULL;
    graph_value_id residual = GRAPH_NONE;
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const graph_value_id other = rewrite_input(rw, node, 1 - i);
        const struct graph_node *linear = open_linear(rw, value);
        if (linear != NULL && match_same_type(rw, value, other) && other != value &&
            fuse_is_later(rw, linear, best)) {
            best = linear;
            residual = other;
        }
    }
    if (best == NULL) {
        return SHOAL_OK;
    }
    const struct graph_node copy = *best;
    return fuse_residual(rw, id, &copy, residual, error);
}

static shoal_status add_activation(struct rewrite *rw, graph_node_id id,
                                   struct shoal_error *error) {
    enum activation activation = ACTIVATION_NONE;
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *linear = open_linear(rw, rewrite_input(rw, node, 0));
    if (linear == NULL || linear->attrs.activation != ACTIVATION_NONE ||
        !fuse_activation_of(node, &activation)) {
        return SHOAL_OK;
    }
    const struct graph_node copy = *linear;
    return fuse_activation(rw, id, &copy, activation, error);
}

shoal_status pass_linear(struct rewrite *rw, const struct pass_options *options,
                         struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        bool done = false;
        if (node == NULL) {
            continue;
        }
        switch ((int)node->op) {
        case OP_PRODUCT:
            TRY(from_product(rw, id, error));
            break;
        case OP_UNARY:
        case OP_ACTIVATION:
            TRY(add_activation(rw, id, error));
            break;
        case OP_BINARY:
            if (node->attrs.mode == BINARY_ADD) {
                TRY(add_bias(rw, id, &done, error));
                if (!done) {
                    TRY(add_residual(rw, id, error));
                }
            }
            break;
        default:
            break;
        }
    }
    return SHOAL_OK;
}
