#include "graph/executor_internal.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"
#include "graph/derived.h"

#include <inttypes.h>
#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "executor: no memory");
}

static bool selected(const struct executor *executor, const struct graph_node *node) {
    return node->segment >= executor->options.first && node->segment <= executor->options.last;
}

/* The nodes of the range, phase after phase. */
static shoal_status collect_nodes(struct executor *executor, struct shoal_error *error) {
    const struct graph *graph = executor->graph;
    graph_node_id first = 0, end = 0, ignored = 0;
    graph_segment_nodes(graph, executor->options.first, &first, &ignored);
    graph_segment_nodes(graph, executor->options.last, &ignored, &end);
    const bool all = executor->options.phases != 1U << GRAPH_F;
    const graph_node_id stop = all ? graph_node_count(graph) : end;
    executor->nodes = mem_calloc(stop - first, sizeof *executor->nodes);
    if (executor->nodes == NULL) {
        return no_memory(error);
    }
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        for (graph_node_id id = first; id < stop; id++) {
            const struct graph_node *node = graph_node_get(graph, id);
            if ((int)node->phase == phase && (executor->options.phases >> phase & 1U) != 0 &&
                selected(executor, node)) {
                executor->nodes[executor->node_count++].node = node;
            }
        }
        executor->phase_end[phase] = executor->node_count;
    }
    return SHOAL_OK;
}

static shoal_status describe_node(const struct executor *executor, const struct graph_node *node,
                                  struct kernel_desc *out, struct shoal_error *error) {
    const int64_t batch = executor->options.batch;
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS];
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = graph_resolve(graph_value_get(executor->graph, node->inputs[i])->type, batch);
    }
    for (int i = 0; i < node->param_count; i++) {
        params[i] = graph_param_get(executor->graph, node->params[i])->type;
    }
    return kernel_describe(node->op, &node->attrs, inputs, node->input_count, params,
                           node->param_count, executor->options.threads, out, error);
}

static bool types_equal(const struct tensor_type *a, const struct tensor_type *b, int count) {
    for (int i = 0; i < count; i++) {
        if (a[i].dtype != b[i].dtype || !shape_equal(&a[i].shape, &b[i].shape)) {
            return false;
        }
    }
    return true;
}

/* Outputs follow from the rest, threads are the same for all. */
static bool descs_equal(const struct kernel_desc *a, const struct kernel_desc *b) {
    return a->op == b->op && a->input_count == b->input_count && a->param_count == b->param_count &&
           op_attrs_equal(&a->attrs, &b->attrs) &&
           types_equal(a->inputs, b->inputs, a->input_count) &&
           types_equal(a->params, b->params, a->param_count);
}

/* Layers repeat: a model of hundreds of nodes needs about ten kernels. */
static shoal_status kernel_for(struct executor *executor, const struct kernel_desc *desc,
                               const struct kernel_choice *choice, const struct kernel **out,
                               struct shoal_error *error) {
    for (uint32_t i = 0; i < executor->kernel_count; i++) {
        if (descs_equal(&executor->descs[i], desc)) {
            *out = executor->kernels[i];
            return SHOAL_OK;
        }
    }
    struct kernel *kernel = NULL;
    TRY(kernel_choice_get(choice, desc)->create(desc, &kernel, error));
    executor->kernels[executor->kernel_count] = kernel;
    executor->descs[executor->kernel_count] = *desc;
    executor->kernel_count++;
    *out = kernel;
    return SHOAL_OK;
}

static shoal_status create_kernels(struct executor *executor, const struct kernel_choice *choice,
                                   struct shoal_error *error) {
    executor->kernels = mem_calloc(executor->node_count, sizeof(struct kernel *));
    executor->descs = mem_calloc(executor->node_count, sizeof *executor->descs);
    if (executor->kernels == NULL || executor->descs == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < executor->node_count; i++) {
        struct executor_node *node = &executor->nodes[i];
        struct kernel_desc desc = {0};
        shoal_status status = describe_node(executor, node->node, &desc, error);
        if (status == SHOAL_OK) {
            status = kernel_for(executor, &desc, choice, &node->kernel, error);
        }
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "node %s", node->node->name);
        }
    }
    mem_free(executor->descs);
    executor->descs = NULL;
    return SHOAL_OK;
}

static size_t param_bytes(const struct executor *executor, graph_param_id param) {
    const struct tensor_type *type = &graph_param_get(executor->graph, param)->type;
    size_t bytes = 0;
    ASSERT(shape_bytes(&type->shape, type->dtype, &bytes));
    return round_up_size(bytes, MEM_ALIGNMENT);
}

/* What one part of a param takes while it is read: as stored, or while it is computed. */
static size_t largest_part(const struct graph *graph, graph_param_id id) {
    const struct graph_param *param = graph_param_get(graph, id);
    size_t largest = 0;
    for (uint32_t i = 0; i < param->part_count; i++) {
        size_t bytes = 0;
        graph_value_id derived = 0;
        if (derived_find(graph, param->parts[i].name, &derived)) {
            bytes = derived_peak_bytes(graph_constants_get(graph), derived);
            largest = bytes > largest ? bytes : largest;
            continue;
        }
        ASSERT(shape_bytes(&param->parts[i].shape, param->type.dtype, &bytes));
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

static void add_plain(struct executor *executor, graph_param_id param) {
    if (executor->plain_offsets[param] == NO_OFFSET) {
        executor->plain_offsets[param] = executor->plain_bytes;
        executor->plain_bytes += param_bytes(executor, param);
    }
}

/* Where the plain params of one weights version lie: those that nodes read as values and, for
 * training, those that nodes pack. */
static shoal_status plan_plain(struct executor *executor, struct shoal_error *error) {
    executor->trains = executor->options.phases != 1U << GRAPH_F;
    const uint32_t count = graph_param_count(executor->graph);
    executor->plain_offsets = mem_calloc(count + 1, sizeof *executor->plain_offsets);
    if (executor->plain_offsets == NULL) {
        return no_memory(error);
    }
    for (uint32_t i = 0; i < count; i++) {
        executor->plain_offsets[i] = NO_OFFSET;
    }
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        for (int p = 0; executor->trains && p < node->param_count; p++) {
            add_plain(executor, node->params[p]);
        }
        for (int v = 0; v < node->input_count; v++) {
            const graph_param_id param = graph_value_get(executor->graph, node->inputs[v])->param;
            if (param != GRAPH_NONE) {
                add_plain(executor, param);
            }
        }
    }
    return SHOAL_OK;
}

/*
 * What weights, scratch and loading take. While a node's params are copied to the staging buffer
 * its packed memory is not touched yet, and while it is packed its source has been released: of
 * these two moments the greater counts.
 */
static void measure_weights(struct executor *executor) {
    struct executor_memory *memory = &executor->memory;
    size_t staging = 0, source = 0, beyond = 0;
    for (uint32_t i = 0; i < executor->node_count; i++) {
        struct executor_node *node = &executor->nodes[i];
        struct kernel_sizes sizes = {0};
        node->kernel->ops->sizes(node->kernel, &sizes);
        memory->scratch_bytes = sizes.scratch_bytes > memory->scratch_bytes ? sizes.scratch_bytes
                                                                            : memory->scratch_bytes;
        if (node->node->param_count == 0) {
            continue;
        }
        node->packed_bytes = round_up_size(sizes.packed_bytes, MEM_ALIGNMENT);
        memory->weights_bytes += node->packed_bytes;
        size_t bytes = 0, largest = 0;
        for (int p = 0; p < node->node->param_count; p++) {
            const graph_param_id param = node->node->params[p];
            const size_t part = largest_part(executor->graph, param);
            bytes += param_bytes(executor, param);
            largest = part > largest ? part : largest;
        }
        staging = bytes > staging ? bytes : staging;
        source = largest > source ? largest : source;
        const size_t copying = largest > node->packed_bytes ? largest - node->packed_bytes : 0;
        const size_t most = copying > sizes.pack_bytes ? copying : sizes.pack_bytes;
        beyond = most > beyond ? most : beyond;
    }
    memory->scratch_bytes = round_up_size(memory->scratch_bytes, MEM_ALIGNMENT);
    memory->weights_bytes += executor->plain_bytes;
    if (executor->trains) { /* read straight into the plain params */
        staging = 0;
        beyond = source > beyond ? source : beyond;
    }
    memory->load_extra_bytes = staging + beyond;
    for (graph_param_id id = 0; id < graph_param_count(executor->graph); id++) {
        const size_t part =
            executor->plain_offsets[id] != NO_OFFSET ? largest_part(executor->graph, id) : 0;
        memory->load_extra_bytes =
            part > memory->load_extra_bytes ? part : memory->load_extra_bytes;
    }
}

static shoal_status check_options(const struct graph *graph, const struct executor_options *options,
                                  struct shoal_error *error) {
    const uint32_t segments = graph_segment_count(graph);
    if (options->first < 1 || options->first > options->last || options->last > segments) {
        return error_set(error, SHOAL_INVALID,
                         "executor: segments %" PRIu32 "..%" PRIu32 " of a model that has %" PRIu32,
                         options->first, options->last, segments);
    }
    if (options->batch < 1 || options->threads < 1) {
        return error_set(error, SHOAL_INVALID, "executor: microbatch %" PRId64 " on %d threads",
                         options->batch, options->threads);
    }
    if (options->phases >= 1U << PHASE_COUNT ||
        (options->phases != 0 && (options->phases & 1U << GRAPH_F) == 0)) {
        return error_set(error, SHOAL_INVALID, "executor: phases %#x", options->phases);
    }
    return SHOAL_OK;
}

static shoal_status compile(struct executor *executor, const struct kernel_choice *choice,
                            struct shoal_error *error) {
    TRY(collect_nodes(executor, error));
    TRY(create_kernels(executor, choice, error));
    TRY(plan_plain(executor, error));
    measure_weights(executor);
    TRY(executor_plan_values(executor, error));
    executor->memory.slot_bytes =
        executor->data_bytes +
        round_up_size(executor->pointer_count * sizeof(void *), MEM_ALIGNMENT);
    return SHOAL_OK;
}

shoal_status executor_compile(const struct graph *graph, const struct executor_options *options,
                              struct executor **out, struct shoal_error *error) {
    TRY(check_options(graph, options, error));
    struct executor *executor = mem_calloc(1, sizeof *executor);
    if (executor == NULL) {
        return no_memory(error);
    }
    executor->graph = graph;
    executor->options = *options;
    executor->options.choice = NULL;
    executor->options.phases = options->phases == 0 ? 1U << GRAPH_F : options->phases;
    const shoal_status status = compile(executor, options->choice, error);
    if (status != SHOAL_OK) {
        executor_destroy(executor);
        return error_wrap(error, status, "segments %" PRIu32 "..%" PRIu32, options->first,
                          options->last);
    }
    *out = executor;
    return SHOAL_OK;
}

void executor_destroy(struct executor *executor) {
    if (executor == NULL) {
        return;
    }
    for (uint32_t i = 0; i < executor->kernel_count; i++) {
        executor->kernels[i]->ops->destroy(executor->kernels[i]);
    }
    for (int phase = 0; phase < PHASE_COUNT; phase++) {
        mem_free(executor->inputs[phase].ids);
        mem_free(executor->outputs[phase].ids);
    }
    mem_free(executor->kernels);
    mem_free(executor->descs);
    mem_free(executor->nodes);
    mem_free(executor->values);
    mem_free(executor->local);
    mem_free(executor->bindings);
    mem_free(executor->plain_offsets);
    mem_free(executor->scratch);
    mem_free(executor);
}

void executor_memory_get(const struct executor *executor, struct executor_memory *out) {
    *out = executor->memory;
}

uint32_t executor_phase_inputs(const struct executor *executor, enum graph_phase phase,
                               const graph_value_id **out) {
    *out = executor->inputs[phase].ids;
    return executor->inputs[phase].count;
}

uint32_t executor_phase_outputs(const struct executor *executor, enum graph_phase phase,
                                const graph_value_id **out) {
    *out = executor->outputs[phase].ids;
    return executor->outputs[phase].count;
}

uint32_t executor_inputs(const struct executor *executor, const graph_value_id **out) {
    return executor_phase_inputs(executor, GRAPH_F, out);
}

uint32_t executor_outputs(const struct executor *executor, const graph_value_id **out) {
    return executor_phase_outputs(executor, GRAPH_F, out);
}
