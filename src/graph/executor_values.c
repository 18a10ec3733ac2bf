/* Which values the compiled nodes need, how long each lives, and where it lies in a slot. */
#include "graph/executor_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "graph/memory_plan.h"

#include <inttypes.h>
#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "executor: no memory for the memory plan");
}

static uint32_t end_of_time(const struct executor *executor) {
    return executor->node_count + 1;
}

static shoal_status add_value(struct executor *executor, graph_value_id id, uint32_t time,
                              struct shoal_error *error) {
    struct executor_value value = {.id = id, .first = time, .last = time};
    value.type = graph_resolve(graph_value_get(executor->graph, id)->type, executor->options.batch);
    if (!shape_bytes(&value.type.shape, value.type.dtype, &value.bytes) ||
        value.bytes > PTRDIFF_MAX / 4) {
        return error_set(error, SHOAL_INVALID, "value %s is too large at microbatch %" PRId64,
                         graph_value_get(executor->graph, id)->name, executor->options.batch);
    }
    executor->local[id] = executor->value_count;
    executor->values[executor->value_count++] = value;
    return SHOAL_OK;
}

static shoal_status put_id(struct executor_ids *list, graph_value_id id,
                           struct shoal_error *error) {
    if (list->count == list->capacity) {
        const uint32_t wanted = list->capacity == 0 ? 8 : 2 * list->capacity;
        graph_value_id *grown = mem_realloc(list->ids, wanted * sizeof *grown);
        if (grown == NULL) {
            return no_memory(error);
        }
        list->ids = grown;
        list->capacity = wanted;
    }
    uint32_t at = list->count++; /* in order of ids */
    for (; at > 0 && list->ids[at - 1] > id; at--) {
        list->ids[at] = list->ids[at - 1];
    }
    list->ids[at] = id;
    return SHOAL_OK;
}

static shoal_status crossing(const struct executor *executor, uint32_t segment,
                             struct executor_ids *list, struct shoal_error *error) {
    const uint32_t count = graph_crossing(executor->graph, segment, NULL, 0);
    list->ids = mem_calloc(count, sizeof *list->ids);
    if (list->ids == NULL) {
        return no_memory(error);
    }
    list->capacity = count;
    list->count = graph_crossing(executor->graph, segment, list->ids, count);
    return SHOAL_OK;
}

/*
 * A value that a node of B or W reads and the range does not make: a graph input (labels) or a
 * gradient of another stage. A forward value of another stage is not to be had.
 */
static shoal_status add_outside(struct executor *executor, const struct graph_node *node,
                                graph_value_id id, struct shoal_error *error) {
    const struct graph_value *value = graph_value_get(executor->graph, id);
    const bool forward = value->producer != GRAPH_NONE &&
                         graph_node_get(executor->graph, value->producer)->phase == GRAPH_F;
    ASSERT(node->phase != GRAPH_F); /* graph_crossing covers forward nodes */
    if (forward) {
        return error_set(error, SHOAL_INVALID,
                         "node %s reads %s, which its segments neither make nor get", node->name,
                         value->name);
    }
    TRY(add_value(executor, id, 0,
                  error)); /* the caller may write it at any time before the phase */
    return put_id(&executor->inputs[node->phase], id, error);
}

static shoal_status collect_values(struct executor *executor, struct shoal_error *error) {
    for (uint32_t i = 0; i < executor->inputs[GRAPH_F].count; i++) {
        TRY(add_value(executor, executor->inputs[GRAPH_F].ids[i], 0, error));
    }
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        for (int v = 0; v < node->input_count; v++) {
            const graph_value_id id = node->inputs[v];
            if (graph_value_get(executor->graph, id)->param != GRAPH_NONE) {
                continue;
            }
            if (executor->local[id] == GRAPH_NONE) {
                TRY(add_outside(executor, node, id, error));
            }
            executor->values[executor->local[id]].last = i + 1;
        }
        for (int v = 0; v < node->output_count; v++) {
            TRY(add_value(executor, node->outputs[v], i + 1, error));
        }
        executor->nodes[i].pointers = executor->pointer_count;
        executor->pointer_count += (uint32_t)(node->input_count + node->output_count);
    }
    return SHOAL_OK;
}

static bool is_graph_output(const struct graph *graph, graph_value_id id) {
    const graph_value_id *ids = NULL;
    const uint32_t count = graph_outputs(graph, &ids);
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static bool read_by_other_segment(const struct executor *executor, graph_value_id id) {
    for (graph_node_id n = 0; n < graph_node_count(executor->graph); n++) {
        const struct graph_node *node = graph_node_get(executor->graph, n);
        if (node->segment >= executor->options.first && node->segment <= executor->options.last) {
            continue;
        }
        for (int v = 0; v < node->input_count; v++) {
            if (node->inputs[v] == id) {
                return true;
            }
        }
    }
    return false;
}

/* Outputs of B and W; and whatever leaves the range lives to the end of the slot's cycle. */
static shoal_status keep_outputs(struct executor *executor, struct shoal_error *error) {
    for (uint32_t i = executor->phase_end[GRAPH_F]; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        for (int v = 0; v < node->output_count; v++) {
            if (is_graph_output(executor->graph, node->outputs[v]) ||
                read_by_other_segment(executor, node->outputs[v])) {
                TRY(put_id(&executor->outputs[node->phase], node->outputs[v], error));
            }
        }
    }
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        for (uint32_t i = 0; i < executor->outputs[phase].count; i++) {
            const uint32_t local = executor->local[executor->outputs[phase].ids[i]];
            ASSERT(local != GRAPH_NONE);
            executor->values[local].last = end_of_time(executor);
        }
    }
    return SHOAL_OK;
}

/* The input whose buffer the node's first output may take: it dies here, and is read but once. */
static uint32_t in_place(const struct executor *executor, uint32_t index) {
    const struct executor_node *node = &executor->nodes[index];
    const struct executor_value *output =
        &executor->values[executor->local[node->node->outputs[0]]];
    for (int i = 0; i < node->node->input_count; i++) {
        const graph_value_id id = node->node->inputs[i];
        if (graph_value_get(executor->graph, id)->param != GRAPH_NONE ||
            !node->kernel->ops->aliases(node->kernel, i)) {
            continue;
        }
        int readings = 0;
        for (int j = 0; j < node->node->input_count; j++) {
            readings += node->node->inputs[j] == id ? 1 : 0;
        }
        const struct executor_value *input = &executor->values[executor->local[id]];
        if (readings == 1 && input->last == index + 1 && input->bytes == output->bytes) {
            return executor->local[id];
        }
    }
    return GRAPH_NONE;
}

/* Values to blocks; returns how many blocks. */
static uint32_t assign_blocks(struct executor *executor, struct memory_block *blocks) {
    uint32_t count = 0;
    for (uint32_t v = 0; v < executor->value_count; v++) {
        executor->values[v].block = GRAPH_NONE;
    }
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const graph_value_id id = executor->nodes[i].node->outputs[0];
        const uint32_t shared = in_place(executor, i);
        if (shared == GRAPH_NONE) {
            continue;
        }
        struct executor_value *input = &executor->values[shared];
        if (input->block == GRAPH_NONE) {
            input->block = count;
            blocks[count++] = (struct memory_block){input->bytes, input->first, input->last, 0};
        }
        struct executor_value *output = &executor->values[executor->local[id]];
        output->block = input->block;
        blocks[output->block].last = output->last;
    }
    for (uint32_t v = 0; v < executor->value_count; v++) {
        struct executor_value *value = &executor->values[v];
        if (value->block == GRAPH_NONE) {
            value->block = count;
            blocks[count++] = (struct memory_block){value->bytes, value->first, value->last, 0};
        }
    }
    return count;
}

static shoal_status place_values(struct executor *executor, struct shoal_error *error) {
    struct memory_block *blocks = mem_calloc(executor->value_count, sizeof *blocks);
    if (blocks == NULL) {
        return no_memory(error);
    }
    const uint32_t count = assign_blocks(executor, blocks);
    const shoal_status status = memory_plan(blocks, count, &executor->data_bytes, error);
    for (uint32_t v = 0; v < executor->value_count && status == SHOAL_OK; v++) {
        executor->values[v].offset = blocks[executor->values[v].block].offset;
    }
    mem_free(blocks);
    return status;
}

/* Inputs that are param values: their pointers depend on the weights of a run. */
static shoal_status bind_params(struct executor *executor, struct shoal_error *error) {
    executor->bindings = mem_calloc(executor->pointer_count, sizeof *executor->bindings);
    if (executor->bindings == NULL) {
        return no_memory(error);
    }
    uint32_t count = 0;
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        for (uint32_t i = phase > 0 ? executor->phase_end[phase - 1] : 0;
             i < executor->phase_end[phase]; i++) {
            const struct executor_node *node = &executor->nodes[i];
            for (int v = 0; v < node->node->input_count; v++) {
                const graph_param_id param =
                    graph_value_get(executor->graph, node->node->inputs[v])->param;
                if (param != GRAPH_NONE) {
                    executor->bindings[count++] = (struct executor_binding){
                        node->pointers + (uint32_t)v, executor->plain_offsets[param]};
                }
            }
        }
        executor->binding_end[phase] = count;
    }
    return SHOAL_OK;
}

shoal_status executor_plan_values(struct executor *executor, struct shoal_error *error) {
    const uint32_t total = graph_value_count(executor->graph);
    executor->values = mem_calloc(total, sizeof *executor->values);
    executor->local = mem_calloc(total, sizeof *executor->local);
    if (executor->values == NULL || executor->local == NULL) {
        return no_memory(error);
    }
    memset(executor->local, 0xff, total * sizeof *executor->local); /* GRAPH_NONE */
    TRY(crossing(executor, executor->options.first - 1, &executor->inputs[GRAPH_F], error));
    TRY(crossing(executor, executor->options.last, &executor->outputs[GRAPH_F], error));
    TRY(collect_values(executor, error));
    TRY(keep_outputs(executor, error));
    TRY(place_values(executor, error));
    return bind_params(executor, error);
}
