#include "graph/passes/fuse.h"

#include "graph/passes/derive.h"
#include "graph/passes/match.h"

#include <math.h>

static bool unary_activation(const struct op_attrs *attrs, enum activation *out) {
    const float *p = attrs->floats;
    switch (attrs->mode) {
    case UNARY_RELU:
        *out = ACTIVATION_RELU;
        return true;
    case UNARY_TANH:
        *out = ACTIVATION_TANH;
        return true;
    case UNARY_SIGMOID:
        *out = ACTIVATION_SIGMOID;
        return true;
    case UNARY_GELU_ERF:
        *out = ACTIVATION_GELU_ERF;
        return true;
    case UNARY_GELU_TANH:
        *out = ACTIVATION_GELU_TANH;
        return true;
    case UNARY_CLIP:
        *out = ACTIVATION_RELU6;
        return fabs((double)p[0]) <= 0 && match_near((double)p[1], 6);
    case UNARY_SWISH:
        *out = ACTIVATION_SILU;
        return match_near((double)p[0], 1);
    case UNARY_HARD_SWISH:
        *out = ACTIVATION_HARD_SWISH;
        return true;
    case UNARY_HARD_SIGMOID:
        *out = ACTIVATION_HARD_SIGMOID;
        return match_near((double)p[0], 1.0 / 6) && match_near((double)p[1], 0.5);
    default:
        return false;
    }
}

bool fuse_activation_of(const struct graph_node *node, enum activation *out) {
    if (node->op == OP_ACTIVATION) {
        *out = node->attrs.activation;
        return true;
    }
    return node->op == OP_UNARY && unary_activation(&node->attrs, out);
}

bool fuse_is_later(const struct rewrite *rw, const struct graph_node *a,
                   const struct graph_node *b) {
    return b == NULL || graph_value_get(rewrite_graph(rw), a->outputs[0])->producer >
                            graph_value_get(rewrite_graph(rw), b->outputs[0])->producer;
}

static shoal_status become(struct rewrite *rw, graph_node_id id, const struct graph_node *core,
                           struct shoal_error *error) {
    const graph_value_id old = rewrite_node(rw, id)->outputs[0];
    graph_value_id y = GRAPH_NONE;
    TRY(rewrite_add(rw, id, NULL, core->op, &core->attrs, core->inputs, core->input_count,
                    core->params, core->param_count, &y, error));
    return rewrite_replace(rw, old, y, error);
}

shoal_status fuse_bias(struct rewrite *rw, graph_node_id id, const struct graph_node *core,
                       graph_param_id weight, graph_param_id bias, struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    struct graph_node with = *core;
    const int64_t outputs = graph_param_get(graph, weight)->type.shape.dims[0];
    TRY(derive_reshaped(graph, graph_param_get(graph, bias)->name, bias, &SHAPE(outputs),
                        &with.params[1], error));
    with.params[0] = weight;
    with.param_count = 2;
    return become(rw, id, &with, error);
}

shoal_status fuse_residual(struct rewrite *rw, graph_node_id id, const struct graph_node *core,
                           graph_value_id residual, struct shoal_error *error) {
    struct graph_node with = *core;
    with.inputs[with.input_count++] = residual;
    return become(rw, id, &with, error);
}

shoal_status fuse_activation(struct rewrite *rw, graph_node_id id, const struct graph_node *core,
                             enum activation activation, struct shoal_error *error) {
    struct graph_node with = *core;
    with.attrs.activation = activation;
    return become(rw, id, &with, error);
}
