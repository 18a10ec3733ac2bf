#include "graph/precision.h"

#include "base/memory.h"
#include "graph/graph_internal.h"
#include "kernels/quantise.h"

#define LEAST_SIDE 32
#define LEAST_CHANNELS 16

static bool only_weights(enum precision precision) {
    return precision == PRECISION_W8 || precision == PRECISION_W4;
}

/* Whether the node is a product that this precision is for. */
static bool fits(const struct graph *graph, const struct graph_node *node,
                 enum precision precision) {
    if (node->phase != GRAPH_F || (node->op != OP_LINEAR && node->op != OP_CONV2D)) {
        return false;
    }
    const struct shape *w = &graph->params[node->params[0]].type.shape;
    int64_t weights = 0;
    (void)shape_count(w, &weights);
    const int64_t depth = weights / w->dims[0];
    if (precision == PRECISION_I8 && depth > QUANT_I8_DEPTH) {
        return false;
    }
    if (node->op == OP_LINEAR) {
        return depth >= LEAST_SIDE && w->dims[0] >= LEAST_SIDE;
    }
    if (node->attrs.groups != 1) {
        return false;
    }
    return only_weights(precision) ? depth >= LEAST_SIDE
                                   : w->dims[0] >= LEAST_CHANNELS && w->dims[1] >= LEAST_CHANNELS;
}

static bool is_product(const struct graph_node *node) {
    return node->op == OP_LINEAR || node->op == OP_CONV2D || node->op == OP_MATMUL ||
           node->op == OP_ATTENTION || node->op == OP_SDPA;
}

/* before[value]: a product lies on a way from the graph's inputs to it; after[value]: from it on.
 */
struct sight {
    bool *before, *after;
};

static void look_around(const struct graph *graph, struct sight *sight) {
    for (graph_node_id id = 0; id < graph->forward_count; id++) {
        const struct graph_node *node = &graph->nodes[id];
        bool seen = is_product(node);
        for (int i = 0; i < node->input_count; i++) {
            seen = seen || sight->before[node->inputs[i]];
        }
        for (int i = 0; i < node->output_count; i++) {
            sight->before[node->outputs[i]] = seen;
        }
    }
    for (graph_node_id id = graph->forward_count; id-- > 0;) {
        const struct graph_node *node = &graph->nodes[id];
        bool seen = is_product(node);
        for (int i = 0; i < node->output_count; i++) {
            seen = seen || sight->after[node->outputs[i]];
        }
        for (int i = 0; i < node->input_count && seen; i++) {
            sight->after[node->inputs[i]] = true;
        }
    }
}

/* A first convolution or a last product. */
static bool at_an_end(const struct graph_node *node, const struct sight *sight) {
    return (node->op == OP_CONV2D && !sight->before[node->inputs[0]]) ||
           !sight->after[node->outputs[0]];
}

static uint32_t assign(struct graph *graph, enum precision precision, const struct sight *sight) {
    uint32_t narrow = 0;
    for (graph_node_id id = 0; id < graph->node_count; id++) {
        struct graph_node *node = &graph->nodes[id];
        node->attrs.precision = PRECISION_F32;
        if (precision == PRECISION_F32 || !fits(graph, node, precision)) {
            continue;
        }
        node->attrs.precision = !at_an_end(node, sight)   ? precision
                                : only_weights(precision) ? PRECISION_W8
                                                          : PRECISION_F32;
        narrow += node->attrs.precision != PRECISION_F32 ? 1 : 0;
    }
    return narrow;
}

shoal_status graph_set_precision(struct graph *graph, enum precision precision,
                                 struct shoal_error *error) {
    bool *marks = mem_calloc((size_t)graph->value_count * 2 + 1, sizeof *marks);
    if (marks == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to choose precisions");
    }
    struct sight sight = {marks, marks + graph->value_count};
    look_around(graph, &sight);
    const uint32_t narrow = assign(graph, precision, &sight);
    mem_free(marks);
    if (precision != PRECISION_F32 && narrow == 0) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "no linear layer or convolution between the first and the last one is "
                         "large enough for %s; use --dtype f32",
                         precision_name(precision));
    }
    return SHOAL_OK;
}
