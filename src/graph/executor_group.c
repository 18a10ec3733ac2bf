#include "graph/executor_group.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"
#include "graph/executor_internal.h"

#include <inttypes.h>
#include <string.h>

struct member {
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
};

struct executor_group {
    uint32_t count;
    struct executor_memory memory;
    unsigned char *data; /* all slots lie here */
    void *scratch;
    struct member members[];
};

static size_t pointer_bytes(const struct executor *executor) {
    return round_up_size(executor->pointer_count * sizeof(void *), MEM_ALIGNMENT);
}

/* The earlier member whose packed weights of a node serve this one too, or `index` itself. */
static uint32_t packed_by(const struct executor_group *group, uint32_t index, uint32_t node) {
    const struct kernel *kernel = group->members[index].executor->nodes[node].kernel;
    for (uint32_t i = 0; i < index; i++) {
        const struct kernel *earlier = group->members[i].executor->nodes[node].kernel;
        if (earlier->ops == kernel->ops && kernel->ops->packs_like(earlier, kernel)) {
            return i;
        }
    }
    return index;
}

/* Same names in the same order: then the same weights, too. */
static shoal_status check_alike(const struct executor *first, const struct executor *other,
                                struct shoal_error *error) {
    bool alike = first->node_count == other->node_count;
    for (uint32_t i = 0; alike && i < first->node_count; i++) {
        const struct graph_node *a = first->nodes[i].node, *b = other->nodes[i].node;
        alike = a->op == b->op && a->param_count == b->param_count && strcmp(a->name, b->name) == 0;
    }
    return alike ? SHOAL_OK
                 : error_set(error, SHOAL_INVALID, "executor: graphs that are not of one model");
}

/* Weights that a member has for itself alone. */
static size_t own_weights(const struct executor_group *group, uint32_t index) {
    const struct executor *executor = group->members[index].executor;
    size_t bytes = executor->plain_bytes;
    for (uint32_t n = 0; n < executor->node_count; n++) {
        bytes += packed_by(group, index, n) == index ? executor->nodes[n].packed_bytes : 0;
    }
    return bytes;
}

static void add_up(struct executor_group *group) {
    struct executor_memory *all = &group->memory;
    size_t data = 0, pointers = 0;
    for (uint32_t i = 0; i < group->count; i++) {
        const struct executor *executor = group->members[i].executor;
        const struct executor_memory *one = &executor->memory;
        const size_t weights = own_weights(group, i);
        all->weights_bytes += weights;
        pointers += pointer_bytes(executor);
        data = executor->data_bytes > data ? executor->data_bytes : data;
        all->scratch_bytes =
            one->scratch_bytes > all->scratch_bytes ? one->scratch_bytes : all->scratch_bytes;
        if (weights > 0 && one->load_extra_bytes > all->load_extra_bytes) {
            all->load_extra_bytes = one->load_extra_bytes;
        }
    }
    all->slot_bytes = data + pointers;
}

static shoal_status compile(struct executor_group *group, const struct graph *const graphs[],
                            const struct executor_options *options, struct shoal_error *error) {
    for (uint32_t i = 0; i < group->count; i++) {
        TRY(executor_compile(graphs[i], options, &group->members[i].executor, error));
        TRY(check_alike(group->members[0].executor, group->members[i].executor, error));
    }
    add_up(group);
    return SHOAL_OK;
}

shoal_status executor_group_compile(const struct graph *const graphs[], uint32_t count,
                                    const struct executor_options *options,
                                    struct executor_group **out, struct shoal_error *error) {
    if (count < 1 || count > EXECUTOR_GROUP_MAX || options->phases != 0) {
        return error_set(error, SHOAL_INVALID,
                         "executor: a group of %" PRIu32 " graphs, phases %#x", count,
                         options->phases);
    }
    struct executor_group *group =
        mem_calloc(1, sizeof *group + (size_t)count * sizeof group->members[0]);
    if (group == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "executor: no memory");
    }
    group->count = count;
    const shoal_status status = compile(group, graphs, options, error);
    if (status != SHOAL_OK) {
        executor_group_destroy(group);
        return status;
    }
    *out = group;
    return SHOAL_OK;
}

void executor_group_destroy(struct executor_group *group) {
    if (group == NULL) {
        return;
    }
    for (uint32_t i = group->count; i-- > 0;) { /* who shares weights goes before their owner */
        mem_free(group->members[i].slot);
        executor_weights_destroy(group->members[i].weights);
        executor_destroy(group->members[i].executor);
    }
    mem_free(group->data);
    mem_free(group->scratch);
    mem_free(group);
}

void executor_group_memory_get(const struct executor_group *group, struct executor_memory *out) {
    *out = group->memory;
}

static shoal_status load_member(struct executor_group *group, uint32_t index,
                                struct weight_source *source, struct shoal_error *error) {
    struct member *member = &group->members[index];
    TRY(executor_weights_create_empty(member->executor, &member->weights, error));
    for (uint32_t n = 0; n < member->executor->node_count; n++) {
        const uint32_t owner = packed_by(group, index, n);
        if (owner != index) {
            member->weights->packed[n] = group->members[owner].weights->packed[n];
            member->weights->shared[n] = true;
        }
    }
    return own_weights(group, index) > 0 ? executor_weights_fill(member->weights, source, error)
                                         : SHOAL_OK;
}

static void *zeroed(size_t bytes) {
    void *memory = mem_alloc_aligned(bytes > 0 ? bytes : MEM_ALIGNMENT);
    if (memory != NULL) {
        memset(memory, 0, bytes); /* touched here, so that later page faults do not disturb */
    }
    return memory;
}

/* All slots begin at the same place; their pointers lie behind the largest. */
static shoal_status make_slots(struct executor_group *group, struct shoal_error *error) {
    group->data = zeroed(group->memory.slot_bytes);
    group->scratch = zeroed(group->memory.scratch_bytes);
    if (group->data == NULL || group->scratch == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for activations (%zu bytes)",
                         group->memory.slot_bytes + group->memory.scratch_bytes);
    }
    size_t offset = group->memory.slot_bytes;
    for (uint32_t i = 0; i < group->count; i++) {
        struct member *member = &group->members[i];
        member->slot = mem_calloc(1, sizeof *member->slot);
        if (member->slot == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for an activation slot");
        }
        offset -= pointer_bytes(member->executor);
        *member->slot = (struct executor_slot){member->executor, group->data,
                                               (void **)(void *)(group->data + offset)};
        executor_slot_set_pointers(member->slot);
    }
    return SHOAL_OK;
}

shoal_status executor_group_load_each(struct executor_group *group,
                                      struct weight_source *const sources[],
                                      struct shoal_error *error) {
    ASSERT(group->data == NULL);
    for (uint32_t i = 0; i < group->count; i++) {
        TRY(load_member(group, i, sources[i], error));
    }
    return make_slots(group, error);
}

shoal_status executor_group_load(struct executor_group *group, struct weight_source *source,
                                 struct shoal_error *error) {
    struct weight_source *sources[EXECUTOR_GROUP_MAX];
    for (uint32_t i = 0; i < group->count; i++) {
        sources[i] = source;
    }
    return executor_group_load_each(group, sources, error);
}

uint32_t executor_group_inputs(const struct executor_group *group, uint32_t index,
                               const graph_value_id **out) {
    ASSERT(index < group->count);
    return executor_inputs(group->members[index].executor, out);
}

uint32_t executor_group_outputs(const struct executor_group *group, uint32_t index,
                                const graph_value_id **out) {
    ASSERT(index < group->count);
    return executor_outputs(group->members[index].executor, out);
}

struct tensor executor_group_tensor(const struct executor_group *group, uint32_t index,
                                    graph_value_id value) {
    ASSERT(index < group->count && group->members[index].slot != NULL);
    return executor_slot_tensor(group->members[index].slot, value);
}

shoal_status executor_group_run(struct executor_group *group, uint32_t index,
                                struct shoal_error *error) {
    ASSERT(index < group->count && group->members[index].slot != NULL);
    const struct member *member = &group->members[index];
    return executor_run_nodes(member->executor, member->weights, member->slot, group->scratch,
                              error);
}
