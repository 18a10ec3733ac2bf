#include "graph/graph_internal.h"

#include "base/assert.h"

uint32_t graph_node_count(const struct graph *graph) {
    return graph->node_count;
}

uint32_t graph_value_count(const struct graph *graph) {
    return graph->value_count;
}

uint32_t graph_param_count(const struct graph *graph) {
    return graph->param_count;
}

const struct graph_node *graph_node_get(const struct graph *graph, graph_node_id id) {
    ASSERT(id < graph->node_count);
    return &graph->nodes[id];
}

const struct graph_value *graph_value_get(const struct graph *graph, graph_value_id id) {
    ASSERT(id < graph->value_count);
    return &graph->values[id];
}

const struct graph_param *graph_param_get(const struct graph *graph, graph_param_id id) {
    ASSERT(id < graph->param_count);
    return &graph->params[id];
}

uint32_t graph_inputs(const struct graph *graph, const graph_value_id **out) {
    *out = graph->inputs;
    return graph->input_count;
}

uint32_t graph_outputs(const struct graph *graph, const graph_value_id **out) {
    *out = graph->outputs;
    return graph->output_count;
}

uint32_t graph_segment_count(const struct graph *graph) {
    const uint32_t last_cut = graph->cut_count == 0 ? 0 : graph->cuts[graph->cut_count - 1];
    return graph->cut_count + (graph->forward_count > last_cut ? 1 : 0);
}

/* Index of the first forward node after the cut behind a segment (0: before the first). */
static graph_node_id cut_position(const struct graph *graph, uint32_t segment) {
    if (segment == 0) {
        return 0;
    }
    return segment <= graph->cut_count ? graph->cuts[segment - 1] : graph->forward_count;
}

void graph_segment_nodes(const struct graph *graph, uint32_t segment, graph_node_id *first,
                         graph_node_id *end) {
    ASSERT(segment >= 1 && segment <= graph_segment_count(graph));
    *first = cut_position(graph, segment - 1);
    *end = cut_position(graph, segment);
}

/* Whether a value exists before the node at position and is wanted from there on. */
static bool crosses(const struct graph *graph, graph_value_id id, graph_node_id position) {
    const struct graph_value *value = &graph->values[id];
    const struct graph_value_use *use = &graph->uses[id];
    if (value->param != GRAPH_NONE ||
        (value->producer != GRAPH_NONE && value->producer >= position)) {
        return false;
    }
    return use->output || (use->last_forward != GRAPH_NONE && use->last_forward >= position);
}

uint32_t graph_crossing(const struct graph *graph, uint32_t segment, graph_value_id *out,
                        uint32_t max) {
    ASSERT(segment <= graph_segment_count(graph));
    const graph_node_id position = cut_position(graph, segment);
    uint32_t count = 0;
    for (graph_value_id id = 0; id < graph->value_count; id++) {
        if (crosses(graph, id, position)) {
            if (count < max) {
                out[count] = id;
            }
            count++;
        }
    }
    return count;
}

struct tensor_type graph_resolve(struct tensor_type type, int64_t batch) {
    for (int axis = 0; axis < type.shape.rank; axis++) {
        if (type.shape.dims[axis] == GRAPH_BATCH) {
            type.shape.dims[axis] = batch;
        }
    }
    return type;
}

size_t graph_crossing_bytes(const struct graph *graph, uint32_t segment, int64_t batch) {
    ASSERT(segment <= graph_segment_count(graph));
    const graph_node_id position = cut_position(graph, segment);
    size_t sum = 0;
    for (graph_value_id id = 0; id < graph->value_count; id++) {
        if (crosses(graph, id, position)) {
            const struct tensor_type type = graph_resolve(graph->values[id].type, batch);
            size_t bytes = 0;
            sum += shape_bytes(&type.shape, type.dtype, &bytes) ? bytes : 0;
        }
    }
    return sum;
}

double graph_flops(const struct graph *graph, uint32_t first, uint32_t last, int64_t batch) {
    ASSERT(first >= 1 && first <= last && last <= graph_segment_count(graph));
    double sum = 0;
    for (graph_node_id id = cut_position(graph, first - 1); id < cut_position(graph, last); id++) {
        const struct graph_node *node = &graph->nodes[id];
        struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS], outputs[OP_MAX_OUTPUTS];
        for (int i = 0; i < node->input_count; i++) {
            inputs[i] = graph_resolve(graph->values[node->inputs[i]].type, batch);
        }
        for (int i = 0; i < node->param_count; i++) {
            params[i] = graph->params[node->params[i]].type;
        }
        for (int i = 0; i < node->output_count; i++) {
            outputs[i] = graph_resolve(graph->values[node->outputs[i]].type, batch);
        }
        sum += op_flops(node->op, &node->attrs, inputs, node->input_count, params,
                        node->param_count, outputs);
    }
    return sum;
}

/* Param `index` of what a node reads: its params first, then those behind its inputs. GRAPH_NONE:
 * that input is no param value. */
static graph_param_id param_read(const struct graph *graph, const struct graph_node *node,
                                 int index) {
    return index < node->param_count ? node->params[index]
                                     : graph->values[node->inputs[index - node->param_count]].param;
}

/* Whether no node of [first, reader), and `reader` itself not before its index, reads the param. */
static bool first_in_range(const struct graph *graph, graph_param_id param, graph_node_id first,
                           graph_node_id reader, int index) {
    const bool known = graph->first_readers[param] >= first;
    for (graph_node_id id = known ? graph->first_readers[param] : first; id <= reader; id++) {
        const struct graph_node *node = &graph->nodes[id];
        const int end = id < reader ? node->param_count + node->input_count : index;
        for (int i = 0; i < end; i++) {
            if (param_read(graph, node, i) == param) {
                return false;
            }
        }
    }
    return true;
}

uint32_t graph_range_params(const struct graph *graph, uint32_t first, uint32_t last,
                            graph_param_id *out, uint32_t max) {
    ASSERT(first >= 1 && first <= last && last <= graph_segment_count(graph));
    const graph_node_id start = cut_position(graph, first - 1);
    uint32_t count = 0;
    for (graph_node_id id = start; id < cut_position(graph, last); id++) {
        const struct graph_node *node = &graph->nodes[id];
        for (int i = 0; i < node->param_count + node->input_count; i++) {
            const graph_param_id param = param_read(graph, node, i);
            if (param == GRAPH_NONE || !first_in_range(graph, param, start, id, i)) {
                continue;
            }
            if (count < max) {
                out[count] = param;
            }
            count++;
        }
    }
    return count;
}

size_t graph_param_bytes(const struct graph *graph, uint32_t first, uint32_t last) {
    ASSERT(first >= 1 && first <= last && last <= graph_segment_count(graph));
    const graph_node_id start = cut_position(graph, first - 1);
    size_t sum = 0;
    for (graph_node_id id = start; id < cut_position(graph, last); id++) {
        const struct graph_node *node = &graph->nodes[id];
        for (int i = 0; i < node->param_count + node->input_count; i++) {
            const graph_param_id param = param_read(graph, node, i);
            if (param != GRAPH_NONE && first_in_range(graph, param, start, id, i)) {
                const struct tensor_type *type = &graph->params[param].type;
                size_t bytes = 0;
                sum += shape_bytes(&type->shape, type->dtype, &bytes) ? bytes : 0;
            }
        }
    }
    return sum;
}
