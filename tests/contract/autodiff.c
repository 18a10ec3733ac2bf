#include "autodiff.h"

#include "base/assert.h"

#include <stdio.h>

#define MAX_VALUES 256

struct tape {
    struct graph *graph;
    struct autodiff *out;
    float rate;
    graph_value_id gradients[MAX_VALUES]; /* by value; GRAPH_NONE: none yet */
    struct shoal_error *error;
};

static shoal_status emit(struct tape *tape, const char *what, const char *of, enum op op,
                         const struct op_attrs *attrs, enum graph_phase phase, graph_value_id a,
                         const graph_value_id *b, graph_value_id out[OP_MAX_OUTPUTS]) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s(%s)", what, of);
    const graph_value_id inputs[] = {a, b != NULL ? *b : a};
    return graph_add_node(tape->graph, name, op, attrs, phase, inputs, b != NULL ? 2 : 1, NULL, 0,
                          out, tape->error);
}

/* A value read by several nodes gets the sum of their gradients. */
static shoal_status add_gradient(struct tape *tape, graph_value_id value, graph_value_id gradient) {
    ASSERT(value < MAX_VALUES);
    if (tape->gradients[value] == GRAPH_NONE) {
        tape->gradients[value] = gradient;
        return SHOAL_OK;
    }
    const struct op_attrs plus = {.scale = 1};
    graph_value_id sum[OP_MAX_OUTPUTS];
    TRY(emit(tape, "sum", graph_value_get(tape->graph, value)->name, OP_ADD, &plus, GRAPH_B,
             tape->gradients[value], &gradient, sum));
    tape->gradients[value] = sum[0];
    return SHOAL_OK;
}

static bool is_computed(const struct tape *tape, graph_value_id value) {
    return graph_value_get(tape->graph, value)->producer != GRAPH_NONE;
}

/* w' = w − rate·gradient, both outputs of phase W */
static shoal_status update(struct tape *tape, graph_param_id param, graph_value_id gradient) {
    const char *name = graph_param_get(tape->graph, param)->name;
    const struct op_attrs step = {.scale = tape->rate};
    graph_value_id now = 0, next[OP_MAX_OUTPUTS];
    TRY(graph_add_param_value(tape->graph, param, &now, tape->error));
    TRY(emit(tape, "sgd", name, OP_SGD, &step, GRAPH_W, now, &gradient, next));
    TRY(graph_mark_output(tape->graph, gradient, tape->error));
    TRY(graph_mark_output(tape->graph, next[0], tape->error));
    const uint32_t at = tape->out->param_count++;
    ASSERT(at < AUTODIFF_MAX_PARAMS);
    tape->out->params[at] = param;
    tape->out->gradients[at] = gradient;
    tape->out->updated[at] = next[0];
    return SHOAL_OK;
}

/* y = x·wᵀ + bias: dx = dy·w, dw = dyᵀ·x, dbias = column sums of dy */
static shoal_status backward_linear(struct tape *tape, const struct graph_node *node,
                                    graph_value_id dy) {
    graph_value_id out[OP_MAX_OUTPUTS];
    if (is_computed(tape, node->inputs[0])) {
        graph_value_id w = 0;
        TRY(graph_add_param_value(tape->graph, node->params[0], &w, tape->error));
        TRY(emit(tape, "dx", node->name, OP_MATMUL, NULL, GRAPH_B, dy, &w, out));
        TRY(add_gradient(tape, node->inputs[0], out[0]));
    }
    const struct op_attrs outer = {.transpose_a = true};
    TRY(emit(tape, "dw", node->name, OP_MATMUL, &outer, GRAPH_W, dy, &node->inputs[0], out));
    TRY(update(tape, node->params[0], out[0]));
    if (node->param_count > 1) {
        TRY(emit(tape, "db", node->name, OP_SUM_ROWS, NULL, GRAPH_W, dy, NULL, out));
        TRY(update(tape, node->params[1], out[0]));
    }
    return SHOAL_OK;
}

static shoal_status backward(struct tape *tape, const struct graph_node *node, graph_value_id dy) {
    graph_value_id out[OP_MAX_OUTPUTS];
    switch ((int)node->op) {
    case OP_LINEAR:
        ASSERT(node->attrs.activation == ACTIVATION_NONE && node->input_count == 1);
        return backward_linear(tape, node, dy);
    case OP_ACTIVATION:
        TRY(emit(tape, "dx", node->name, OP_ACTIVATION_GRAD, &node->attrs, GRAPH_B, node->inputs[0],
                 &dy, out));
        return add_gradient(tape, node->inputs[0], out[0]);
    case OP_ADD:
        ASSERT(node->attrs.scale == 1.0F);
        TRY(add_gradient(tape, node->inputs[0], dy));
        return add_gradient(tape, node->inputs[1], dy);
    default:
        break;
    }
    return error_set(tape->error, SHOAL_UNSUPPORTED, "autodiff: %s", op_describe(node->op)->name);
}

shoal_status autodiff_append(struct graph *graph, graph_value_id logits, graph_value_id label,
                             float scale, float rate, struct autodiff *out,
                             struct shoal_error *error) {
    struct tape tape = {.graph = graph, .out = out, .rate = rate, .error = error};
    for (int i = 0; i < MAX_VALUES; i++) {
        tape.gradients[i] = GRAPH_NONE;
    }
    out->param_count = 0;
    const graph_node_id forward = graph_node_count(graph);
    TRY(graph_set_gradient_segment(graph, graph_segment_count(graph), error));
    const struct op_attrs mean = {.scale = scale};
    graph_value_id results[OP_MAX_OUTPUTS];
    TRY(emit(&tape, "loss", "logits", OP_CROSS_ENTROPY, &mean, GRAPH_B, logits, &label, results));
    TRY(graph_mark_output(graph, results[0], error));
    out->loss = results[0];
    tape.gradients[logits] = results[1];
    for (graph_node_id id = forward; id-- > 0;) {
        const struct graph_node node = *graph_node_get(graph, id); /* adding nodes moves them */
        const graph_value_id dy = tape.gradients[node.outputs[0]];
        TRY(graph_set_gradient_segment(graph, node.segment, error));
        if (dy != GRAPH_NONE) {
            TRY(backward(&tape, &node, dy));
        }
    }
    return SHOAL_OK;
}
