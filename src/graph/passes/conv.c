/* y = activation(conv(x) + bias + residual), batch norms and padding gone into filters and
 * attributes. */
#include "graph/passes/derive.h"
#include "graph/passes/fuse.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

/* The CONV2D, or LINEAR, that may take what comes behind it. */
static const struct graph_node *open_core(const struct rewrite *rw, graph_value_id value) {
    const struct graph_node *node = rewrite_maker(rw, value);
    const bool core = node != NULL && (node->op == OP_CONV2D || node->op == OP_LINEAR);
    return core && match_inner(rw, value) && node->attrs.activation == ACTIVATION_NONE ? node
                                                                                       : NULL;
}

static int64_t outputs_of(const struct rewrite *rw, const struct graph_node *core) {
    return graph_param_get(rewrite_graph(rw), core->params[0])->type.shape.dims[0];
}

/* w·scale by output, as a param. */
static shoal_status scale_weight(struct graph *graph, const char *name, graph_param_id weight,
                                 graph_value_id scale, graph_param_id *out,
                                 struct shoal_error *error) {
    struct shape column = graph_param_get(graph, weight)->type.shape; /* [O,1,1,1] or [N,1] */
    graph_value_id w = GRAPH_NONE;
    for (int i = 1; i < column.rank; i++) {
        column.dims[i] = 1;
    }
    TRY(derive_value(graph, weight, &w, error));
    TRY(derive_reshape(graph, name, scale, &column, &scale, error));
    TRY(derive_binary(graph, name, BINARY_MUL, w, scale, &w, error));
    return derive_param(graph, w, out, error);
}

static bool all_can(const struct graph *graph, const graph_param_id *params, int count) {
    for (int i = 0; i < count; i++) {
        if (params[i] == GRAPH_NONE || !derive_can(graph, params[i])) {
            return false;
        }
    }
    return true;
}

/* scale/√(variance + ε) and shift − mean·that, plus bias·that */
static shoal_status fold_norm(struct rewrite *rw, const struct graph_node *core,
                              const struct graph_node *norm, const graph_param_id stats[4],
                              graph_param_id out[2], struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    const char *name = core->name;
    graph_value_id v[4], epsilon = 0, root = 0, gain = 0, shift = 0, bias = 0;
    const struct op_attrs sqrt_attrs = {.mode = UNARY_SQRT};
    for (int i = 0; i < 4; i++) { /* scale, shift, mean, variance */
        TRY(derive_value(graph, stats[i], &v[i], error));
    }
    TRY(derive_floats(graph, &SHAPE(1), &norm->attrs.epsilon, &epsilon, error));
    TRY(derive_binary(graph, name, BINARY_ADD, v[3], epsilon, &root, error));
    TRY(derive_op(graph, name, OP_UNARY, &sqrt_attrs, &root, 1, &root, error));
    TRY(derive_binary(graph, name, BINARY_DIV, v[0], root, &gain, error));
    TRY(derive_binary(graph, name, BINARY_MUL, v[2], gain, &shift, error));
    TRY(derive_binary(graph, name, BINARY_SUB, v[1], shift, &shift, error));
    if (core->param_count > 1) {
        TRY(derive_value(graph, core->params[1], &bias, error));
        TRY(derive_binary(graph, name, BINARY_MUL, bias, gain, &bias, error));
        TRY(derive_binary(graph, name, BINARY_ADD, bias, shift, &shift, error));
    }
    TRY(scale_weight(graph, name, core->params[0], gain, &out[0], error));
    return derive_param(graph, shift, &out[1], error);
}

static shoal_status batch_norm(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const graph_value_id x = rewrite_input(rw, &node, 0);
    const struct graph_node *core = open_core(rw, x);
    graph_param_id stats[4], folded[2];
    if (core == NULL || core->input_count > 1 ||
        node.attrs.axis != rewrite_type(rw, x)->shape.rank - 1) {
        return SHOAL_OK;
    }
    for (int i = 0; i < 4; i++) {
        stats[i] = rewrite_param(rw, rewrite_input(rw, &node, i + 1));
    }
    if (!all_can(rewrite_graph(rw), stats, 4) ||
        !all_can(rewrite_graph(rw), core->params, core->param_count)) {
        return SHOAL_OK;
    }
    const struct graph_node copy = *core;
    TRY(fold_norm(rw, &copy, &node, stats, folded, error));
    return fuse_bias(rw, id, &copy, folded[0], folded[1], error);
}

/* Constants per output, added or multiplied. */
static shoal_status per_output(struct rewrite *rw, graph_node_id id, bool *done,
                               struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    struct graph *graph = rewrite_graph(rw);
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const struct graph_node *core = open_core(rw, value);
        graph_param_id row = GRAPH_NONE, params[2] = {GRAPH_NONE, GRAPH_NONE};
        graph_value_id a = 0, b = 0;
        const bool adds = node->attrs.mode == BINARY_ADD;
        if (core == NULL || core->input_count > 1 ||
            (core->op == OP_LINEAR && adds && core->param_count == 1) || /* pass_linear's */
            !match_same_type(rw, value, node->outputs[0]) ||
            !match_row(rw, rewrite_input(rw, node, 1 - i), rewrite_type(rw, value)->shape.rank,
                       outputs_of(rw, core), &row) ||
            !derive_can(graph, row) || !all_can(graph, core->params, core->param_count)) {
            continue;
        }
        const struct graph_node copy = *core;
        const int64_t count = outputs_of(rw, core);
        *done = true;
        TRY(derive_reshaped(graph, graph_param_get(graph, row)->name, row, &SHAPE(count), &row,
                            error));
        params[0] = copy.params[0];
        params[1] = row;
        if (copy.param_count > 1) {
            TRY(derive_value(graph, copy.params[1], &a, error));
            TRY(derive_value(graph, row, &b, error));
            TRY(derive_binary(graph, copy.name, adds ? BINARY_ADD : BINARY_MUL, a, b, &a, error));
            TRY(derive_param(graph, a, &params[1], error));
        }
        if (adds) {
            return fuse_bias(rw, id, &copy, params[0], params[1], error);
        }
        TRY(derive_value(graph, row, &b, error));
        TRY(scale_weight(graph, copy.name, copy.params[0], b, &params[0], error));
        if (copy.param_count == 1) {
            TRY(derive_filled(graph, "zeros", count, 0, &params[1], error));
        }
        return fuse_bias(rw, id, &copy, params[0], params[1], error);
    }
    return SHOAL_OK;
}

static shoal_status residual(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *best = NULL;
    graph_value_id other = GRAPH_NONE;
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const graph_value_id beside = rewrite_input(rw, node, 1 - i);
        const struct graph_node *core = open_core(rw, value);
        if (core != NULL && core->op == OP_CONV2D && core->input_count == 1 && beside != value &&
            match_same_type(rw, value, beside) && fuse_is_later(rw, core, best)) {
            best = core;
            other = beside;
        }
    }
    if (best == NULL) {
        return SHOAL_OK;
    }
    const struct graph_node copy = *best;
    return fuse_residual(rw, id, &copy, other, error);
}

static shoal_status activation(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    enum activation function = ACTIVATION_NONE;
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *core = open_core(rw, rewrite_input(rw, node, 0));
    if (core == NULL || core->op != OP_CONV2D || !fuse_activation_of(node, &function)) {
        return SHOAL_OK;
    }
    const struct graph_node copy = *core;
    return fuse_activation(rw, id, &copy, function, error);
}

/* Zeros around the image, which the convolution can add itself. */
static shoal_status padding(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    struct graph_node node = *rewrite_node(rw, id);
    const struct graph_node *pad = match_op(rw, rewrite_input(rw, &node, 0), OP_PAD);
    double value = 0;
    graph_value_id y = GRAPH_NONE;
    if (pad == NULL || pad->attrs.mode != PAD_CONSTANT ||
        (pad->input_count > 1 && !match_number(rw, rewrite_input(rw, pad, 1), &value)) ||
        value > 0 || value < 0 || !match_inner(rw, pad->outputs[0])) {
        return SHOAL_OK;
    }
    const int64_t *before = pad->attrs.ints, *behind = pad->attrs.ints + PAD_END;
    if (before[0] != 0 || before[3] != 0 || behind[0] != 0 || behind[3] != 0) {
        return SHOAL_OK;
    }
    for (int i = 0; i < 2; i++) {
        if (before[i + 1] < 0 || behind[i + 1] < 0 || before[i + 1] > 1 << 16 ||
            behind[i + 1] > 1 << 16) {
            return SHOAL_OK;
        }
        node.attrs.pad[i] += (int32_t)before[i + 1];
        node.attrs.pad[i + 2] += (int32_t)behind[i + 1];
    }
    node.inputs[0] = rewrite_input(rw, pad, 0);
    TRY(rewrite_add(rw, id, NULL, OP_CONV2D, &node.attrs, node.inputs, node.input_count,
                    node.params, node.param_count, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

static shoal_status binary(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const int32_t mode = rewrite_node(rw, id)->attrs.mode;
    bool done = false;
    if (mode != BINARY_ADD && mode != BINARY_MUL) {
        return SHOAL_OK;
    }
    TRY(per_output(rw, id, &done, error));
    return done || mode != BINARY_ADD ? SHOAL_OK : residual(rw, id, error);
}

shoal_status pass_conv(struct rewrite *rw, const struct pass_options *options,
                       struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL) {
            continue;
        }
        switch ((int)node->op) {
        case OP_CONV2D:
            TRY(padding(rw, id, error));
            break;
        case OP_BATCH_NORM:
            TRY(batch_norm(rw, id, error));
            break;
        case OP_BINARY:
            TRY(binary(rw, id, error));
            break;
        case OP_UNARY:
        case OP_ACTIVATION:
            TRY(activation(rw, id, error));
            break;
        default:
            break;
        }
    }
    return SHOAL_OK;
}
