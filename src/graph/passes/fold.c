/* What reads constants only is computed once: now, where it is small and needs no stored tensor,
 * else by every device that loads it. */
#include "graph/passes/derive.h"
#include "graph/passes/pass.h"

#include "base/memory.h"

/* A result that is much larger than what it is computed from is cheaper to compute at every run
 * than to hold. */
#define MOST_BYTES ((size_t)4 << 20)

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    return shape_bytes(&type->shape, type->dtype, &bytes) ? bytes : SIZE_MAX;
}

static bool folds(const struct rewrite *rw, const struct graph_node *node) {
    size_t reads = 0;
    if (node->param_count > 0 || node->output_count != 1 || node->input_count == 0) {
        return false;
    }
    for (int i = 0; i < node->input_count; i++) {
        const graph_param_id param = rewrite_param(rw, rewrite_input(rw, node, i));
        if (param == GRAPH_NONE || !derive_can(rewrite_graph(rw), param)) {
            return false;
        }
        reads += bytes_of(rewrite_type(rw, rewrite_input(rw, node, i)));
    }
    const size_t bytes = bytes_of(rewrite_type(rw, node->outputs[0]));
    return bytes > 0 && (bytes <= MOST_BYTES || bytes <= 2 * reads) &&
           !rewrite_is_output(rw, node->outputs[0]);
}

static shoal_status fold(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    const struct graph_node node = *rewrite_node(rw, id);
    graph_value_id inputs[OP_MAX_INPUTS], value = GRAPH_NONE;
    graph_param_id param = GRAPH_NONE;
    for (int i = 0; i < node.input_count; i++) {
        const graph_param_id read = rewrite_param(rw, rewrite_input(rw, &node, i));
        TRY(derive_value(graph, read, &inputs[i], error));
    }
    TRY(derive_op(graph, node.name, node.op, &node.attrs, inputs, node.input_count, &value, error));
    TRY(derive_param(graph, value, &param, error));
    TRY(rewrite_param_value(rw, param, &value, error));
    return rewrite_replace(rw, node.outputs[0], value, error);
}

shoal_status pass_fold(struct rewrite *rw, const struct pass_options *options,
                       struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node != NULL && folds(rw, node)) {
            TRY(fold(rw, id, error));
        }
    }
    return SHOAL_OK;
}

shoal_status pass_dead(struct rewrite *rw, const struct pass_options *options,
                       struct shoal_error *error) {
    (void)options;
    return rewrite_sweep(rw, error);
}
