#include "formats/onnx/check.h"

#include "base/memory.h"
#include "graph/derived.h"
#include "graph/executor.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_INPUTS 64

/* Everything that one data set's run holds. */
struct check_run {
    const struct onnx_model *model;
    const char *directory;
    const struct check_options *options;
    struct onnx_data *data[MOST_INPUTS];
    struct import_feed feeds[MOST_INPUTS];
    size_t feed_count;
    uint64_t known;
    struct import_result import;
    struct graph *graph; /* as it runs */
    struct graph *optimised;
    struct weight_source *raw, *source;
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
    struct check_outcome outcome;
    struct shoal_error *error;
};

static void run_fini(struct check_run *run) {
    executor_slot_destroy(run->slot);
    executor_weights_destroy(run->weights);
    executor_destroy(run->executor);
    if (run->source != NULL) {
        run->source->ops->destroy(run->source);
    }
    if (run->raw != NULL) {
        run->raw->ops->destroy(run->raw);
    }
    graph_destroy(run->optimised);
    import_result_fini(&run->import);
    for (size_t i = 0; i < run->feed_count; i++) {
        onnx_data_close(run->data[i]);
    }
}

static const char *file_name(const struct check_run *run, const char *what, size_t index,
                             char path[1024]) {
    (void)snprintf(path, 1024, "%s/%s_%zu.pb", run->directory, what, index);
    return path;
}

/* ---- in ---- */

static shoal_status open_inputs(struct check_run *run) {
    const struct onnx_graph *graph = &run->model->graph;
    char path[1024];
    for (size_t i = 0; i < graph->input_count && i < MOST_INPUTS; i++) {
        if (!file_exists(file_name(run, "input", i, path))) {
            break;
        }
        TRY(onnx_data_open(path, graph->inputs[i].kind, &run->data[i], run->error));
        run->feeds[i] = (struct import_feed){graph->inputs[i].name, run->data[i], false};
        run->feed_count = i + 1;
    }
    return SHOAL_OK;
}

/* Again with the values of more inputs, as long as that may help. */
static shoal_status import(struct check_run *run) {
    const struct import_options options = {.dims = run->options->dims,
                                           .dim_count = run->options->dim_count,
                                           .feeds = run->feeds,
                                           .feed_count = run->feed_count};
    for (;;) {
        const shoal_status status = import_model(run->model, &options, &run->import, run->error);
        bool more = false;
        for (size_t i = 0; i < run->feed_count; i++) {
            if ((run->import.wanted >> i & 1U) != 0 && !run->feeds[i].known) {
                run->feeds[i].known = more = true;
                run->known |= UINT64_C(1) << i;
            }
        }
        if (status != SHOAL_UNSUPPORTED || !more) {
            return status;
        }
        import_result_fini(&run->import);
    }
}

static shoal_status prepare(struct check_run *run) {
    run->graph = run->import.graph;
    TRY(onnx_source_create(run->model, &run->raw, run->error));
    if (run->options->optimise != NULL) {
        TRY(run->options->optimise(run->graph, run->raw, run->options->context, &run->optimised,
                                   run->error));
        TRY(graph_mark_cuts(run->optimised, run->error));
        run->graph = run->optimised;
    }
    run->outcome.nodes = graph_node_count(run->graph);
    const struct executor_options options = {.first = 1,
                                             .last = graph_segment_count(run->graph),
                                             .batch = 1,
                                             .threads = run->options->threads};
    TRY(weights_derived_create(run->graph, run->raw, &run->source, run->error));
    TRY(executor_compile(run->graph, &options, &run->executor, run->error));
    TRY(executor_weights_load(run->executor, run->source, &run->weights, run->error));
    return executor_slot_create(run->executor, &run->slot, run->error);
}

static bool reads(const struct executor *executor, graph_value_id value) {
    const graph_value_id *ids = NULL;
    const uint32_t count = executor_inputs(executor, &ids);
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] == value) {
            return true;
        }
    }
    return false;
}

static shoal_status feed(struct check_run *run) {
    const graph_value_id *ids = NULL;
    (void)graph_inputs(run->graph, &ids);
    for (uint32_t b = 0; b < run->import.input_count; b++) {
        const struct import_binding *binding = &run->import.inputs[b];
        const struct import_feed *found = NULL;
        for (size_t i = 0; i < run->feed_count; i++) {
            found = strcmp(run->feeds[i].name, binding->name) == 0 ? &run->feeds[i] : found;
        }
        if (found == NULL) {
            return error_set(run->error, SHOAL_NOT_FOUND, "%s: no file for input %.100s",
                             run->directory, binding->name);
        }
        for (uint32_t p = 0; p < binding->count && !binding->known; p++) {
            const struct import_port *port = &binding->ports[p];
            if (reads(run->executor, ids[port->index])) {
                TRY(import_feed_port(&found->data->tensors[p], port,
                                     executor_slot_tensor(run->slot, ids[port->index]).data,
                                     run->error));
            }
        }
    }
    return SHOAL_OK;
}

/* ---- out ---- */

static double number_at(enum dtype dtype, const void *data, size_t index) {
    switch ((int)dtype) {
    case DTYPE_F32:
        return (double)((const float *)data)[index];
    case DTYPE_F64:
        return ((const double *)data)[index];
    case DTYPE_I8:
        return ((const int8_t *)data)[index];
    case DTYPE_I16:
        return ((const int16_t *)data)[index];
    case DTYPE_U16:
        return ((const uint16_t *)data)[index];
    case DTYPE_I32:
        return ((const int32_t *)data)[index];
    case DTYPE_U32:
        return ((const uint32_t *)data)[index];
    case DTYPE_I64:
        return (double)((const int64_t *)data)[index];
    case DTYPE_U64:
        return (double)((const uint64_t *)data)[index];
    default: /* u8, bool */
        return ((const uint8_t *)data)[index];
    }
}

/* Integers must be equal, whatever the tolerance. */
static bool same(const struct import_port *port, const void *ours, const void *theirs, size_t i,
                 const struct check_options *options, double *difference) {
    const enum dtype dtype = port->type.dtype;
    *difference = 0;
    if (dtype != DTYPE_F32 && dtype != DTYPE_F64) {
        const size_t size = dtype_size(dtype);
        *difference = fabs(number_at(dtype, ours, i) - number_at(dtype, theirs, i));
        return memcmp((const char *)ours + i * size, (const char *)theirs + i * size, size) == 0;
    }
    const double a = number_at(dtype, ours, i), b = number_at(dtype, theirs, i);
    if (isnan(a) || isnan(b) || isinf(a) || isinf(b)) {
        return (isnan(a) && isnan(b)) || a == b;
    }
    const double rtol =
        port->element == ONNX_BFLOAT16 ? fmax(options->rtol, ldexp(1, -6)) : options->rtol;
    *difference = fabs(a - b);
    return *difference <= options->atol + rtol * fabs(b);
}

static void compare(struct check_run *run, const char *name, const struct import_port *port,
                    const void *ours, const void *theirs, size_t count) {
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < count; i++) {
        double difference;
        if (!same(port, ours, theirs, i, run->options, &difference)) {
            first = wrong++ == 0 ? i : first;
        }
        run->outcome.worst = fmax(run->outcome.worst, difference);
    }
    if (wrong > 0) {
        run->outcome.agrees = false;
        (void)snprintf(
            run->outcome.text, sizeof run->outcome.text,
            "output %.100s: %zu of %zu elements differ, the first at %zu: %.9g, expected "
            "%.9g",
            name, wrong, count, first, number_at(port->type.dtype, ours, first),
            number_at(port->type.dtype, theirs, first));
    }
}

/* false in *fits: of another type or shape, which is said. */
static shoal_status compare_tensor(struct check_run *run, const char *name,
                                   const struct import_port *port,
                                   const struct onnx_tensor *expected) {
    const graph_value_id *ids = NULL;
    (void)graph_outputs(run->graph, &ids);
    const struct tensor ours = executor_slot_tensor(run->slot, ids[port->index]);
    if (expected->type != port->element || !shape_equal(&expected->shape, &ours.shape)) {
        char a[SHAPE_TEXT], b[SHAPE_TEXT];
        run->outcome.agrees = false;
        (void)snprintf(run->outcome.text, sizeof run->outcome.text,
                       "output %.100s is %s %s, expected %s %s", name,
                       onnx_dtype_name(port->element), shape_format(&ours.shape, a),
                       onnx_dtype_name(expected->type), shape_format(&expected->shape, b));
        return SHOAL_OK;
    }
    const size_t bytes = tensor_bytes(&ours), count = bytes / dtype_size(ours.dtype);
    void *theirs = mem_alloc_aligned(bytes + 1), *rounded = mem_alloc_aligned(bytes + 1);
    shoal_status status = SHOAL_OK;
    if (theirs == NULL || rounded == NULL) {
        status = error_set(run->error, SHOAL_NO_MEMORY, "no memory to compare %s", name);
    } else {
        memcpy(rounded, ours.data, bytes);
        import_round(port->element, ours.dtype, rounded, count);
        status = import_feed_port(expected, port, theirs, run->error);
    }
    if (status == SHOAL_OK) {
        compare(run, name, port, rounded, theirs, count);
    }
    mem_free(theirs);
    mem_free(rounded);
    return status;
}

static shoal_status compare_output(struct check_run *run, const struct import_binding *binding,
                                   const struct onnx_data *expected) {
    const size_t count = expected->has_value ? expected->count : 0;
    if (count != binding->count) {
        run->outcome.agrees = false;
        (void)snprintf(run->outcome.text, sizeof run->outcome.text,
                       "output %.100s has %" PRIu32 " tensors, expected %zu", binding->name,
                       binding->count, count);
    }
    for (uint32_t p = 0; p < binding->count && run->outcome.agrees; p++) {
        TRY(compare_tensor(run, binding->name, &binding->ports[p], &expected->tensors[p]));
    }
    return SHOAL_OK;
}

static shoal_status compare_all(struct check_run *run) {
    char path[1024];
    run->outcome.agrees = true;
    for (uint32_t i = 0; i < run->import.output_count && run->outcome.agrees; i++) {
        const struct import_binding *binding = &run->import.outputs[i];
        struct onnx_data *expected = NULL;
        if (!file_exists(file_name(run, "output", i, path))) {
            break;
        }
        TRY(onnx_data_open(path, binding->kind, &expected, run->error));
        const shoal_status status = compare_output(run, binding, expected);
        onnx_data_close(expected);
        TRY(status);
        run->outcome.outputs++;
    }
    return run->outcome.outputs > 0 || !run->outcome.agrees
               ? SHOAL_OK
               : error_set(run->error, SHOAL_NOT_FOUND, "%s: no file output_0.pb", run->directory);
}

static shoal_status run_all(struct check_run *run) {
    TRY(open_inputs(run));
    TRY(import(run));
    TRY(prepare(run));
    TRY(feed(run));
    TRY(executor_run(run->executor, run->weights, run->slot, GRAPH_F, run->error));
    return compare_all(run);
}

shoal_status check_data_set(const struct onnx_model *model, const char *directory,
                            const struct check_options *options, struct check_outcome *out,
                            struct shoal_error *error) {
    struct check_run *run = mem_calloc(1, sizeof *run);
    if (run == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to check a model");
    }
    run->model = model;
    run->directory = directory;
    run->options = options;
    run->error = error;
    arena_init(&run->import.arena);
    const shoal_status status = run_all(run);
    run->outcome.known = run->known;
    if (status == SHOAL_OK) {
        *out = run->outcome;
    }
    run_fini(run);
    mem_free(run);
    return status;
}
