/* Slots, and the loop that everything else is for. */
#include "graph/executor_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <string.h>

static void *value_address(const struct executor_slot *slot, graph_value_id id) {
    const uint32_t local = slot->executor->local[id];
    ASSERT(local != GRAPH_NONE);
    return slot->data + slot->executor->values[local].offset;
}

void executor_slot_set_pointers(struct executor_slot *slot) {
    const struct executor *executor = slot->executor;
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        void **pointers = slot->pointers + executor->nodes[i].pointers;
        for (int v = 0; v < node->input_count; v++) {
            const bool bound =
                graph_value_get(executor->graph, node->inputs[v])->param != GRAPH_NONE;
            pointers[v] = bound ? NULL : value_address(slot, node->inputs[v]);
        }
        for (int v = 0; v < node->output_count; v++) {
            pointers[node->input_count + v] = value_address(slot, node->outputs[v]);
        }
    }
}

static shoal_status ensure_scratch(struct executor *executor, struct shoal_error *error) {
    if (executor->scratch != NULL || executor->memory.scratch_bytes == 0) {
        return SHOAL_OK;
    }
    executor->scratch = mem_alloc_aligned(executor->memory.scratch_bytes);
    if (executor->scratch == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for scratch (%zu bytes)",
                         executor->memory.scratch_bytes);
    }
    memset(executor->scratch, 0, executor->memory.scratch_bytes);
    return SHOAL_OK;
}

shoal_status executor_slot_create(struct executor *executor, struct executor_slot **out,
                                  struct shoal_error *error) {
    TRY(ensure_scratch(executor, error));
    const size_t bytes = executor->memory.slot_bytes;
    struct executor_slot *slot = mem_alloc(sizeof *slot);
    unsigned char *data = mem_alloc_aligned(bytes);
    if (slot == NULL || data == NULL) {
        mem_free(slot);
        mem_free(data);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for an activation slot (%zu bytes)",
                         bytes);
    }
    memset(data, 0, bytes);
    slot->executor = executor;
    slot->data = data;
    slot->pointers = (void **)(void *)(data + executor->data_bytes);
    executor_slot_set_pointers(slot);
    *out = slot;
    return SHOAL_OK;
}

void executor_slot_destroy(struct executor_slot *slot) {
    if (slot != NULL) {
        mem_free(slot->data);
        mem_free(slot);
    }
}

struct tensor executor_slot_tensor(const struct executor_slot *slot, graph_value_id value) {
    const struct executor *executor = slot->executor;
    ASSERT(value < graph_value_count(executor->graph));
    void *data = value_address(slot, value);
    const struct tensor_type *type = &executor->values[executor->local[value]].type;
    return (struct tensor){type->dtype, type->shape, data};
}

/* Nodes first..end−1. */
static shoal_status run_range(const struct executor *executor,
                              const struct executor_weights *weights,
                              const struct executor_slot *slot, void *scratch, uint32_t first,
                              uint32_t end, struct shoal_error *error) {
    for (uint32_t i = first; i < end; i++) {
        const struct executor_node *node = &executor->nodes[i];
        void **inputs = slot->pointers + node->pointers;
        const shoal_status status =
            node->kernel->ops->run(node->kernel, weights->packed[i], (const void *const *)inputs,
                                   inputs + node->node->input_count, scratch);
        if (status != SHOAL_OK) {
            return error_set(error, status, "node %s (%s, kernels %s) failed: %s", node->node->name,
                             op_describe(node->node->op)->name, node->kernel->ops->name,
                             shoal_status_text(status));
        }
    }
    return SHOAL_OK;
}

/* Inputs that lie in the weights. */
static void bind(const struct executor *executor, const struct executor_weights *weights,
                 const struct executor_slot *slot, enum graph_phase phase) {
    for (uint32_t b = phase > 0 ? executor->binding_end[phase - 1] : 0;
         b < executor->binding_end[phase]; b++) {
        slot->pointers[executor->bindings[b].pointer] =
            weights->plain + executor->bindings[b].plain_offset;
    }
}

shoal_status executor_run_nodes(const struct executor *executor,
                                const struct executor_weights *weights,
                                const struct executor_slot *slot, void *scratch,
                                struct shoal_error *error) {
    bind(executor, weights, slot, GRAPH_F);
    return run_range(executor, weights, slot, scratch, 0, executor->phase_end[GRAPH_F], error);
}

shoal_status executor_run(struct executor *executor, const struct executor_weights *weights,
                          struct executor_slot *slot, enum graph_phase phase,
                          struct shoal_error *error) {
    ASSERT(weights->executor == executor && slot->executor == executor);
    ASSERT((executor->options.phases >> phase & 1U) != 0);
    bind(executor, weights, slot, phase);
    return run_range(executor, weights, slot, executor->scratch,
                     phase > 0 ? executor->phase_end[phase - 1] : 0, executor->phase_end[phase],
                     error);
}
