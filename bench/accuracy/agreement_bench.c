/*
 * What reduced precision costs in answers: a model on items, in every precision, against itself in
 * f32.
 *
 *   agreement_bench MODEL.onnx ITEMS.npy [LABELS.npy]
 *
 * ITEMS f32 [N, ...], one model input each; LABELS i32 [N], the classes of the first output, or
 * without them the agreement alone. bench/accuracy/items.py writes both from pictures.
 */
#include "base/memory.h"
#include "formats/npy.h"
#include "formats/onnx/import.h"
#include "graph/derived.h"
#include "graph/executor.h"
#include "graph/passes/passes.h"
#include "graph/precision.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct bench {
    const struct graph *graph;
    struct weight_source *source;
    struct tensor items, labels; /* labels.data NULL: none */
    int64_t count;               /* of items */
    size_t outputs;              /* values per item */
    float *exact, *results;      /* [count, outputs] */
};

struct running {
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
};

static void running_fini(struct running *running) {
    executor_slot_destroy(running->slot);
    executor_weights_destroy(running->weights);
    executor_destroy(running->executor);
}

static shoal_status start(const struct bench *bench, struct running *out,
                          struct shoal_error *error) {
    const struct executor_options options = {
        .first = 1, .last = graph_segment_count(bench->graph), .batch = 1, .threads = 1};
    TRY(executor_compile(bench->graph, &options, &out->executor, error));
    TRY(executor_weights_load(out->executor, bench->source, &out->weights, error));
    return executor_slot_create(out->executor, &out->slot, error);
}

static shoal_status run_items(const struct bench *bench, const struct running *running, float *to,
                              struct shoal_error *error) {
    const graph_value_id *in = NULL;
    const graph_value_id *out = NULL;
    (void)executor_inputs(running->executor, &in);
    (void)graph_outputs(bench->graph, &out);
    const struct tensor input = executor_slot_tensor(running->slot, in[0]);
    const struct tensor output = executor_slot_tensor(running->slot, out[0]);
    const size_t bytes = tensor_bytes(&bench->items) / (size_t)bench->count;
    if (tensor_bytes(&input) != bytes || input.dtype != DTYPE_F32 || output.dtype != DTYPE_F32) {
        return error_set(error, SHOAL_MISMATCH, "an item is not what the model takes");
    }
    for (int64_t i = 0; i < bench->count; i++) {
        memcpy(input.data, (const char *)bench->items.data + (size_t)i * bytes, bytes);
        TRY(executor_run(running->executor, running->weights, running->slot, GRAPH_F, error));
        memcpy(to + (size_t)i * bench->outputs, output.data, bench->outputs * sizeof *to);
    }
    return SHOAL_OK;
}

static size_t greatest(const float *values, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        best = values[i] > values[best] ? i : best;
    }
    return best;
}

static double cosine(const float *a, const float *b, size_t count) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void report(const struct bench *bench, enum precision precision, size_t weights_bytes) {
    int64_t same = 0;
    int64_t right = 0;
    double sum = 0;
    double worst = 1;
    for (int64_t i = 0; i < bench->count; i++) {
        const float *got = bench->results + (size_t)i * bench->outputs;
        const float *want = bench->exact + (size_t)i * bench->outputs;
        const size_t best = greatest(got, bench->outputs);
        const double near = cosine(got, want, bench->outputs);
        same += best == greatest(want, bench->outputs) ? 1 : 0;
        if (bench->labels.data != NULL) {
            right += best == (size_t)((const int32_t *)bench->labels.data)[i] ? 1 : 0;
        }
        sum += near;
        worst = fmin(worst, near);
    }
    const double items = (double)bench->count;
    printf("%-5s weights %8.3f MB  same class as f32 %6.2f %%  cosine mean %.5f least %.5f",
           precision_name(precision), (double)weights_bytes / 1e6, 100 * (double)same / items,
           sum / items, worst);
    if (bench->labels.data != NULL) {
        printf("  accuracy %6.2f %%", 100 * (double)right / items);
    }
    printf("\n");
}

static shoal_status one_precision(struct bench *bench, struct graph *graph,
                                  enum precision precision, struct shoal_error *error) {
    struct running running = {0};
    struct executor_memory memory;
    TRY(graph_set_precision(graph, precision, error));
    shoal_status status = start(bench, &running, error);
    if (status == SHOAL_OK) {
        status = run_items(bench, &running, bench->results, error);
    }
    if (status == SHOAL_OK) {
        executor_memory_get(running.executor, &memory);
        if (precision == PRECISION_F32) {
            memcpy(bench->exact, bench->results,
                   (size_t)bench->count * bench->outputs * sizeof(float));
        }
        report(bench, precision, memory.weights_bytes);
    }
    running_fini(&running);
    return status;
}

static shoal_status all_precisions(struct bench *bench, struct graph *graph,
                                   struct shoal_error *error) {
    const graph_value_id *out = NULL;
    (void)graph_outputs(graph, &out);
    const struct tensor_type type = graph_resolve(graph_value_get(graph, out[0])->type, 1);
    int64_t count = 0;
    if (!shape_count(&type.shape, &count) || bench->items.dtype != DTYPE_F32 ||
        bench->items.shape.rank < 1 || bench->items.shape.dims[0] < 1) {
        return error_set(error, SHOAL_INVALID, "items must be f32 [N, ...]");
    }
    bench->graph = graph;
    bench->count = bench->items.shape.dims[0];
    bench->outputs = (size_t)count;
    const size_t values = (size_t)bench->count * bench->outputs;
    bench->exact = mem_calloc(values, sizeof(float));
    bench->results = mem_calloc(values, sizeof(float));
    shoal_status status = bench->exact != NULL && bench->results != NULL
                              ? SHOAL_OK
                              : error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    for (int p = PRECISION_F32; p < PRECISION_COUNT && status == SHOAL_OK; p++) {
        status = one_precision(bench, graph, (enum precision)p, error);
    }
    mem_free(bench->exact);
    mem_free(bench->results);
    return status;
}

static shoal_status run_model(struct bench *bench, const char *path, struct shoal_error *error) {
    struct onnx_model *model = NULL;
    struct import_result import = {0};
    struct weight_source *raw = NULL;
    struct graph *graph = NULL;
    const struct import_options options = {.batch = 1};
    TRY(onnx_open(path, &model, error));
    shoal_status status = import_model(model, &options, &import, error);
    if (status == SHOAL_OK) {
        status = onnx_source_create(model, &raw, error);
    }
    if (status == SHOAL_OK) {
        const struct pass_options passes = {.source = raw};
        status = graph_optimise(import.graph, &passes, &graph, error);
    }
    if (status == SHOAL_OK) {
        status = weights_derived_create(graph, raw, &bench->source, error);
    }
    if (status == SHOAL_OK) {
        status = all_precisions(bench, graph, error);
    }
    if (bench->source != NULL) {
        bench->source->ops->destroy(bench->source);
    }
    graph_destroy(graph);
    if (raw != NULL) {
        raw->ops->destroy(raw);
    }
    import_result_fini(&import);
    onnx_close(model);
    return status;
}

int main(int argc, char **argv) {
    struct shoal_error error;
    struct bench bench = {0};
    struct npy *items = NULL;
    struct npy *labels = NULL;
    if (argc < 3) {
        (void)fprintf(stderr, "usage: agreement_bench MODEL.onnx ITEMS.npy [LABELS.npy]\n");
        return 2;
    }
    shoal_status status = npy_open(argv[2], &items, &error);
    if (status == SHOAL_OK && argc > 3) {
        status = npy_open(argv[3], &labels, &error);
    }
    if (status == SHOAL_OK) {
        bench.items = npy_tensor(items);
        if (labels != NULL) {
            bench.labels = npy_tensor(labels);
        }
        if (labels != NULL && (bench.labels.dtype != DTYPE_I32 || bench.labels.shape.rank != 1 ||
                               bench.labels.shape.dims[0] != bench.items.shape.dims[0])) {
            status = error_set(&error, SHOAL_INVALID, "%s: labels must be i32 [N]", argv[3]);
        }
    }
    if (status == SHOAL_OK) {
        status = run_model(&bench, argv[1], &error);
    }
    npy_close(items);
    npy_close(labels);
    if (status != SHOAL_OK) {
        (void)fprintf(stderr, "agreement_bench: %s\n", error.text);
    }
    return status == SHOAL_OK ? 0 : 1;
}
