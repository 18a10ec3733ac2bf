#include "runtime/profile.h"

#include "base/median.h"
#include "base/memory.h"
#include "base/random.h"
#include "graph/executor_group.h"
#include "platform/clock.h"
#include "platform/cpu.h"

#include <stdlib.h>
#include <string.h>

#define FLUSH_BYTES \
    ((size_t)64 << 20) /* beyond any last-level cache slice that one core keeps warm */
#define MEASURE_NS                                                                \
    (400 * CLOCK_MS) /* spent on each distinct segment, at least MIN_REPEATS runs \
                      */
#define MIN_REPEATS 5
#define MAX_REPEATS 41

static shoal_status node_desc(const struct profile_options *options, graph_node_id id,
                              struct kernel_desc *out, struct shoal_error *error) {
    const struct graph_node *node = graph_node_get(options->graph, id);
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS];
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] =
            graph_resolve(graph_value_get(options->graph, node->inputs[i])->type, options->batch);
    }
    for (int i = 0; i < node->param_count; i++) {
        params[i] = graph_param_get(options->graph, node->params[i])->type;
    }
    return kernel_describe(node->op, &node->attrs, inputs, node->input_count, params,
                           node->param_count, options->threads, out, error);
}

shoal_status profile_choose(const struct graph *graph, int64_t batch, int threads,
                            struct kernel_choice *choice, struct shoal_error *error) {
    const struct profile_options options = {.graph = graph, .batch = batch, .threads = threads};
    for (uint32_t segment = 1; segment <= graph_segment_count(graph); segment++) {
        graph_node_id first, end;
        graph_segment_nodes(graph, segment, &first, &end);
        for (graph_node_id id = first; id < end; id++) {
            struct kernel_desc desc;
            char key[KERNEL_KEY_TEXT];
            TRY(node_desc(&options, id, &desc, error));
            kernel_key(&desc, key);
            bool known = false;
            for (size_t i = 0; i < kernel_choice_count(choice) && !known; i++) {
                const char *other, *set;
                kernel_choice_at(choice, i, &other, &set);
                known = strcmp(other, key) == 0;
            }
            if (!known) {
                const struct kernel_ops *best;
                double seconds;
                TRY(kernel_choose(&desc, MIN_REPEATS, &best, &seconds, error));
                TRY(kernel_choice_put(choice, key, best->name, error));
            }
        }
    }
    return SHOAL_OK;
}

static shoal_status copy_choice(const struct profile_options *from,
                                const struct profile_options *to, struct kernel_choice *choice,
                                struct shoal_error *error) {
    for (graph_node_id id = 0; id < graph_node_count(from->graph); id++) {
        struct kernel_desc measured, desc;
        char key[KERNEL_KEY_TEXT];
        TRY(node_desc(from, id, &measured, error));
        TRY(node_desc(to, id, &desc, error));
        kernel_key(&desc, key);
        TRY(kernel_choice_put(choice, key, kernel_choice_get(choice, &measured)->name, error));
    }
    return SHOAL_OK;
}

shoal_status profile_choose_lengths(const struct model_config *model, int64_t batch, int threads,
                                    struct kernel_choice *choice, struct shoal_error *error) {
    struct graph *graphs[MODEL_MAX_LENGTHS];
    uint32_t count;
    TRY(model_build_lengths(model, graphs, &count, error));
    const struct profile_options longest = {
        .graph = graphs[count - 1], .batch = batch, .threads = threads};
    shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i + 1 < count && status == SHOAL_OK; i++) {
        const struct profile_options shorter = {
            .graph = graphs[i], .batch = batch, .threads = threads};
        status = copy_choice(&longest, &shorter, choice, error);
    }
    for (uint32_t i = 0; i < count; i++) {
        graph_destroy(graphs[i]);
    }
    return status;
}

/* Equal for segments whose nodes have equal kernel keys in equal order. */
static shoal_status segment_signature(const struct profile_options *options, uint32_t segment,
                                      uint64_t *out, struct shoal_error *error) {
    graph_node_id first, end;
    graph_segment_nodes(options->graph, segment, &first, &end);
    uint64_t signature = 0;
    for (graph_node_id id = first; id < end; id++) {
        struct kernel_desc desc;
        char key[KERNEL_KEY_TEXT];
        TRY(node_desc(options, id, &desc, error));
        kernel_key(&desc, key);
        signature = random_stream(signature + id - first + 1, key);
    }
    *out = signature;
    return SHOAL_OK;
}

/* Of a device with little memory, less: it has small caches, too. */
static size_t flush_bytes(const struct profile_options *options) {
    const size_t share = options->memory_limit / 8;
    return share > 0 && share < FLUSH_BYTES ? share : FLUSH_BYTES;
}

/* Reads and writes more than the caches hold, so that the next run's weights come from memory. */
static void flush_caches(unsigned char *buffer, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) {
        buffer[i]++;
    }
}

void profile_fill_inputs(const struct executor *executor, const struct executor_slot *slot) {
    const graph_value_id *values;
    const uint32_t count = executor_inputs(executor, &values);
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor tensor = executor_slot_tensor(slot, values[i]);
        if (tensor.dtype == DTYPE_F32) {
            random_uniform(random_stream(i, "profile"), 0, -1.0F, 1.0F, tensor.data,
                           tensor_bytes(&tensor) / 4);
        } else {
            memset(tensor.data, 0, tensor_bytes(&tensor));
        }
    }
}

static shoal_status check_cancel(const struct profile_options *options, struct shoal_error *error) {
    return options->cancel != NULL && atomic_load(options->cancel)
               ? error_set(error, SHOAL_CANCELLED, "the measurement was given up")
               : SHOAL_OK;
}

/* While the segment loads, and while it runs. */
static shoal_status check_memory(const struct profile_options *options, uint32_t segment,
                                 const struct executor *executor, struct shoal_error *error) {
    struct executor_memory memory;
    executor_memory_get(executor, &memory);
    const size_t step = memory.slot_bytes + memory.scratch_bytes,
                 more = step > memory.load_extra_bytes ? step : memory.load_extra_bytes,
                 need = memory_resident_bytes() + memory.weights_bytes + more;
    if (options->memory_limit > 0 && need > options->memory_limit) {
        return error_set(error, SHOAL_NO_MEMORY,
                         "measuring segment %u needs %.1f MB with what is in use, the limit is "
                         "%.1f MB: no stage with it fits this device",
                         segment, (double)need / 1e6, (double)options->memory_limit / 1e6);
    }
    return SHOAL_OK;
}

static shoal_status time_runs(const struct profile_options *options, struct executor *executor,
                              struct executor_weights *weights, struct executor_slot *slot,
                              unsigned char *flush, double *seconds, struct shoal_error *error) {
    double times[MAX_REPEATS];
    int count = 0;
    profile_fill_inputs(executor, slot);
    TRY(executor_run(executor, weights, slot, GRAPH_F,
                     error)); /* first touch, generated code, thread start */
    const uint64_t start = platform_now_ns();
    while (count < MAX_REPEATS && (count < MIN_REPEATS || platform_now_ns() - start < MEASURE_NS)) {
        TRY(check_cancel(options, error));
        profile_fill_inputs(executor, slot); /* a run may use its inputs' memory */
        flush_caches(flush, flush_bytes(options));
        const uint64_t before = platform_now_ns();
        TRY(executor_run(executor, weights, slot, GRAPH_F, error));
        times[count++] = (double)(platform_now_ns() - before) * 1e-9;
    }
    *seconds = median_sort(times, (size_t)count);
    return SHOAL_OK;
}

/* Of one segment at all lengths. */
static shoal_status group_memory(const struct profile_options *options,
                                 const struct executor_options *compile,
                                 struct executor_memory *out, struct shoal_error *error) {
    struct graph *graphs[MODEL_MAX_LENGTHS];
    struct executor_group *group = NULL;
    uint32_t count;
    TRY(model_build_lengths(options->model, graphs, &count, error));
    const shoal_status status =
        executor_group_compile((const struct graph *const *)graphs, count, compile, &group, error);
    if (status == SHOAL_OK) {
        executor_group_memory_get(group, out);
    }
    executor_group_destroy(group);
    for (uint32_t i = 0; i < count; i++) {
        graph_destroy(graphs[i]);
    }
    return status;
}

/*
 * Random weights of a graph: f32 as weights_random_create makes them, zeros for params that are
 * read as other types.
 */
struct sample_source {
    struct weight_source base;
    const struct graph *graph;
    struct weight_source *random;
};

static enum dtype dtype_of(const struct graph *graph, const char *name) {
    for (graph_param_id id = 0; id < graph_param_count(graph); id++) {
        const struct graph_param *param = graph_param_get(graph, id);
        for (uint32_t i = 0; i < param->part_count; i++) {
            if (strcmp(param->parts[i].name, name) == 0) {
                return param->type.dtype;
            }
        }
    }
    return DTYPE_F32;
}

static shoal_status sample_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    const struct sample_source *source = (const struct sample_source *)base;
    const enum dtype dtype = dtype_of(source->graph, name);
    size_t bytes = 0;
    if (dtype == DTYPE_F32) {
        return source->random->ops->borrow(source->random, name, shape, fill, out, error);
    }
    if (!shape_bytes(shape, dtype, &bytes)) {
        return error_set(error, SHOAL_INVALID, "%s has no sound shape", name);
    }
    *out = (struct tensor){dtype, *shape, mem_calloc(bytes > 0 ? bytes : 1, 1)};
    return out->data != NULL ? SHOAL_OK
                             : error_set(error, SHOAL_NO_MEMORY, "no memory for %s", name);
}

static void sample_release(struct weight_source *base, const struct tensor *tensor) {
    (void)base;
    mem_free(tensor->data); /* random weights are owned likewise */
}

static void sample_destroy(struct weight_source *base) {
    struct sample_source *source = (struct sample_source *)base;
    source->random->ops->destroy(source->random);
    mem_free(source);
}

static shoal_status sample_source_create(const struct graph *graph, struct weight_source **out,
                                         struct shoal_error *error) {
    static const struct weight_source_ops ops = {
        .borrow = sample_borrow, .release = sample_release, .destroy = sample_destroy};
    struct sample_source *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for random weights");
    }
    const shoal_status status = weights_random_create(1, &source->random, error);
    if (status != SHOAL_OK) {
        mem_free(source);
        return status;
    }
    source->base.ops = &ops;
    source->graph = graph;
    *out = &source->base;
    return SHOAL_OK;
}

static shoal_status measure_segment(const struct profile_options *options, uint32_t segment,
                                    unsigned char *flush, struct profile_segment *out,
                                    size_t *grown, struct shoal_error *error) {
    const struct executor_options compile = {.first = segment,
                                             .last = segment,
                                             .batch = options->batch,
                                             .threads = options->threads,
                                             .choice = options->choice};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *source = NULL;
    const size_t resident = memory_resident_bytes();
    TRY(check_cancel(options, error));
    shoal_status status = executor_compile(options->graph, &compile, &executor, error);
    if (status == SHOAL_OK) {
        status = check_memory(options, segment, executor, error);
    }
    if (status == SHOAL_OK) {
        status = sample_source_create(options->graph, &source, error);
    }
    if (status == SHOAL_OK) {
        status = executor_weights_load(executor, source, &weights, error);
        source->ops->destroy(source);
    }
    if (status == SHOAL_OK) {
        status = executor_slot_create(executor, &slot, error);
    }
    if (status == SHOAL_OK) {
        status = time_runs(options, executor, weights, slot, flush, &out->seconds, error);
    }
    if (status == SHOAL_OK) {
        struct executor_memory memory;
        executor_memory_get(executor, &memory);
        memory_trim();
        const size_t now = memory_resident_bytes();
        const size_t known =
            resident + memory.weights_bytes + memory.slot_bytes + memory.scratch_bytes;
        *grown = now > known ? now - known : 0;
        if (options->model != NULL) {
            status = group_memory(options, &compile, &memory, error);
        }
        out->weights_bytes = memory.weights_bytes;
        out->slot_bytes = memory.slot_bytes;
        out->scratch_bytes = memory.scratch_bytes;
        out->load_extra_bytes = memory.load_extra_bytes;
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    return status;
}

shoal_status profile_measure(const struct profile_options *options,
                             struct profile_segment *segments, size_t *library_bytes,
                             struct shoal_error *error) {
    const uint32_t count = graph_segment_count(options->graph);
    uint64_t *signatures = mem_calloc(count, sizeof *signatures);
    unsigned char *flush = mem_calloc(1, flush_bytes(options));
    shoal_status status = SHOAL_OK;
    if (signatures == NULL || flush == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "no memory to profile the model");
    } else {
        flush_caches(flush,
                     flush_bytes(options)); /* resident from now on, not counted as a library's */
    }
    size_t libraries = 0;
    for (uint32_t i = 0; status == SHOAL_OK && i < count; i++) {
        status = segment_signature(options, i + 1, &signatures[i], error);
        uint32_t same = 0;
        while (status == SHOAL_OK && same < i && signatures[same] != signatures[i]) {
            same++;
        }
        if (status == SHOAL_OK && same < i) {
            segments[i] = segments[same];
        } else if (status == SHOAL_OK) {
            size_t grown = 0;
            status = measure_segment(options, i + 1, flush, &segments[i], &grown, error);
            libraries +=
                grown; /* generated code stays cached in the libraries, so growth adds up */
        }
    }
    mem_free(flush);
    mem_free(signatures);
    memory_trim();
    if (status == SHOAL_OK) {
        *library_bytes = libraries;
    }
    return status;
}
