/* Cuts of a finished graph: where few values cross, about as much work in each segment. */
#include "graph/graph_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

#define MOST_CROSSING 4 /* values that one message carries */

/* What crosses between node p - 1 and node p, for every p of 0..forward_count. */
static shoal_status count_crossing(const struct graph *graph, int32_t **out,
                                   struct shoal_error *error) {
    const uint32_t end = graph->forward_count;
    int32_t *crossing = mem_calloc((size_t)end + 2, sizeof *crossing);
    if (crossing == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory to find its cuts");
    }
    for (graph_value_id id = 0; id < graph->value_count; id++) {
        const struct graph_value *value = &graph->values[id];
        const struct graph_value_use *use = &graph->uses[id];
        if (value->param != GRAPH_NONE || (use->last_forward == GRAPH_NONE && !use->output)) {
            continue;
        }
        const uint32_t first = value->producer == GRAPH_NONE ? 0 : value->producer + 1;
        const uint32_t last = use->output ? end : use->last_forward; /* crosses first..last */
        if (first <= last) {
            crossing[first]++;
            crossing[last + 1]--;
        }
    }
    for (uint32_t p = 1; p <= end; p++) {
        crossing[p] += crossing[p - 1];
    }
    *out = crossing;
    return SHOAL_OK;
}

/* Multiplications, and the bytes it writes: so that a node that multiplies nothing costs, too. */
static double node_cost(const struct graph *graph, const struct graph_node *node) {
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS], outputs[OP_MAX_OUTPUTS];
    double bytes = 0;
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = graph_resolve(graph->values[node->inputs[i]].type, 1);
    }
    for (int i = 0; i < node->param_count; i++) {
        params[i] = graph->params[node->params[i]].type;
    }
    for (int i = 0; i < node->output_count; i++) {
        size_t size = 0;
        outputs[i] = graph_resolve(graph->values[node->outputs[i]].type, 1);
        bytes += shape_bytes(&outputs[i].shape, outputs[i].dtype, &size) ? (double)size : 0;
    }
    return bytes + op_flops(node->op, &node->attrs, inputs, node->input_count, params,
                            node->param_count, outputs);
}

static shoal_status place(struct graph *graph, const int32_t *crossing, struct shoal_error *error) {
    double total = 0, since = 0;
    for (graph_node_id id = 0; id < graph->forward_count; id++) {
        total += node_cost(graph, &graph->nodes[id]);
    }
    graph_node_id *cuts = mem_calloc(GRAPH_MOST_SEGMENTS, sizeof *cuts);
    if (cuts == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for its cuts");
    }
    uint32_t count = 0;
    for (graph_node_id id = 0; id < graph->forward_count; id++) {
        since += node_cost(graph, &graph->nodes[id]);
        graph->nodes[id].segment = count + 1;
        if (id + 1 < graph->forward_count && crossing[id + 1] >= 1 &&
            crossing[id + 1] <= MOST_CROSSING && since >= total / GRAPH_MOST_SEGMENTS &&
            count + 1 < GRAPH_MOST_SEGMENTS) {
            cuts[count++] = id + 1;
            since = 0;
        }
    }
    mem_free(graph->cuts);
    graph->cuts = cuts;
    graph->cut_count = count;
    graph->cut_capacity = GRAPH_MOST_SEGMENTS;
    return SHOAL_OK;
}

shoal_status graph_mark_cuts(struct graph *graph, struct shoal_error *error) {
    int32_t *crossing = NULL;
    if (graph->forward_count < graph->node_count) {
        return error_set(error, SHOAL_INVALID, "graph: cuts are marked before gradients are made");
    }
    TRY(count_crossing(graph, &crossing, error));
    const shoal_status status = place(graph, crossing, error);
    mem_free(crossing);
    return status;
}

shoal_status graph_copy_cuts(struct graph *graph, const struct graph *from,
                             struct shoal_error *error) {
    if (graph->forward_count < graph->node_count || graph->node_count != from->node_count ||
        from->forward_count < from->node_count) {
        return error_set(error, SHOAL_INVALID, "graph: cuts of a graph of other nodes");
    }
    graph_node_id *cuts = mem_calloc((size_t)from->cut_count + 1, sizeof *cuts);
    if (cuts == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for its cuts");
    }
    for (uint32_t i = 0; i < from->cut_count; i++) {
        cuts[i] = from->cuts[i];
    }
    for (graph_node_id id = 0; id < graph->node_count; id++) {
        graph->nodes[id].segment = from->nodes[id].segment;
    }
    mem_free(graph->cuts);
    graph->cuts = cuts;
    graph->cut_count = from->cut_count;
    graph->cut_capacity = from->cut_count + 1;
    return SHOAL_OK;
}
