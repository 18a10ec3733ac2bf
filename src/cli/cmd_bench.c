#include "base/median.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "graph/derived.h"
#include "graph/executor.h"
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/model_ref.h"
#include "runtime/profile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct bench_arguments {
    int64_t batch, threads, repeats, seed, length; /* batch, length 0: not given */
    const char *isa, *kernels, *dtype, *skip_passes;
    struct args_list dims;
    bool json;
};

struct bench_result {
    double seconds, gflops, peak_gflops;
    size_t planned_bytes;
    const char *kernels;
};

/* Peak is measured before and after: a neighbour's load that changes meanwhile shows in both. */
static shoal_status time_model(const struct bench_arguments *arguments, const struct graph *graph,
                               struct executor *executor, struct executor_weights *weights,
                               struct executor_slot *slot, struct bench_result *out,
                               struct shoal_error *error) {
    double times[1000];
    const int repeats = (int)arguments->repeats;
    const double peak_before = peak_f32_gflops((int)arguments->threads);
    TRY(executor_run(executor, weights, slot, GRAPH_F, error));
    for (int i = 0; i < repeats; i++) {
        profile_fill_inputs(executor, slot);
        const uint64_t start = platform_now_ns();
        TRY(executor_run(executor, weights, slot, GRAPH_F, error));
        times[i] = (double)(platform_now_ns() - start) * 1e-9;
    }
    const double peak_after = peak_f32_gflops((int)arguments->threads);
    out->seconds = median_sort(times, (size_t)repeats);
    out->gflops =
        graph_flops(graph, 1, graph_segment_count(graph), arguments->batch) / out->seconds * 1e-9;
    out->peak_gflops = peak_before > peak_after ? peak_before : peak_after;
    return SHOAL_OK;
}

/* What the graph derives from stored tensors is computed here. */
static shoal_status load(const struct graph *graph, struct executor *executor,
                         struct weight_source *source, struct executor_weights **out,
                         struct shoal_error *error) {
    struct weight_source *derived = NULL;
    if (graph_constants_get(graph) == NULL) {
        return executor_weights_load(executor, source, out, error);
    }
    TRY(weights_derived_create(graph, source, &derived, error));
    const shoal_status status = executor_weights_load(executor, derived, out, error);
    derived->ops->destroy(derived);
    return status;
}

static shoal_status bench_graph(const struct bench_arguments *arguments, const struct graph *graph,
                                const struct kernel_choice *choice, const struct weights_spec *spec,
                                struct bench_result *out, struct shoal_error *error) {
    const struct executor_options options = {.first = 1,
                                             .last = graph_segment_count(graph),
                                             .batch = arguments->batch,
                                             .threads = (int)arguments->threads,
                                             .choice = choice};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *source = NULL;
    shoal_status status = executor_compile(graph, &options, &executor, error);
    if (status == SHOAL_OK) {
        status = weights_open(spec, &source, error);
    }
    if (status == SHOAL_OK) {
        status = load(graph, executor, source, &weights, error);
        source->ops->destroy(source);
    }
    if (status == SHOAL_OK) {
        status = executor_slot_create(executor, &slot, error);
    }
    if (status == SHOAL_OK) {
        profile_fill_inputs(executor, slot);
        struct executor_memory memory;
        executor_memory_get(executor, &memory);
        out->planned_bytes = memory.weights_bytes + memory.slot_bytes + memory.scratch_bytes;
        status = time_model(arguments, graph, executor, weights, slot, out, error);
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    return status;
}

static shoal_status bench_model(struct bench_arguments *arguments, struct model_ref *ref,
                                struct bench_result *out, struct shoal_error *error) {
    struct graph *graph = NULL;
    struct kernel_choice *choice = NULL;
    enum precision precision;
    TRY(cli_parse_dtype(arguments->dtype, &precision, error));
    if (model_ref_is_text(ref)) {
        TRY(model_ref_set_length(
            ref, arguments->length > 0 ? arguments->length : model_ref_config(ref)->length, error));
    }
    model_ref_set_precision(ref, precision);
    const struct model_config *config = model_ref_config(ref);
    arguments->batch = model_batch(config) > 0 ? model_batch(config)
                       : arguments->batch > 0  ? arguments->batch
                                               : 1;
    shoal_status status = model_build(config, &graph, error); /* refuses what is too long */
    if (status == SHOAL_OK) {
        status = kernel_choice_create(&choice, error);
    }
    if (status == SHOAL_OK && strcmp(arguments->kernels, "auto") == 0) {
        status = profile_choose(graph, arguments->batch, (int)arguments->threads, choice, error);
    } else if (status == SHOAL_OK) {
        status = kernel_choice_set_default(choice, arguments->kernels, error);
    }
    if (status == SHOAL_OK) {
        const struct weights_spec weights = model_ref_weights(ref);
        status = bench_graph(arguments, graph, choice, &weights, out, error);
    }
    kernel_choice_destroy(choice);
    graph_destroy(graph);
    return status;
}

static shoal_status bench(struct bench_arguments *arguments, const char *model,
                          struct bench_result *out, struct shoal_error *error) {
    static struct import_dim dims[SESSION_MAX_DIMS]; /* for the process's life */
    enum isa isa;
    TRY(isa_parse(arguments->isa, &isa, error));
    TRY(isa_cap(isa, cli_argv, error));
    TRY(session_parse_dims(&arguments->dims, dims, SESSION_MAX_DIMS, error));
    const struct model_ref_options options = {.seed = (uint64_t)arguments->seed,
                                              .onnx = {.batch = arguments->batch,
                                                       .dims = dims,
                                                       .dim_count = arguments->dims.count,
                                                       .skip_passes = arguments->skip_passes}};
    struct model_ref *ref;
    TRY(model_ref_open(model, &options, &ref, error));
    const shoal_status status = bench_model(arguments, ref, out, error);
    model_ref_close(ref);
    return status;
}

static void print_result(const struct bench_arguments *a, const char *model,
                         const struct bench_result *r) {
    const double rate = (double)a->batch / r->seconds;
    const enum isa isa = isa_current();
    if (!a->json) {
        printf("%s, batch %lld, %lld thread%s, %s, %s, kernels %s\n%.3f items/s, %.1f GFLOP/s of "
               "%.1f (%.3f of peak), "
               "peak memory %.1f MB\n",
               model, (long long)a->batch, (long long)a->threads, a->threads > 1 ? "s" : "",
               a->dtype, isa_name(isa), a->kernels, rate, r->gflops, r->peak_gflops,
               r->gflops / r->peak_gflops, (double)memory_resident_peak() / 1e6);
        return;
    }
    json_t *document = json_pack(
        "{s:s, s:I, s:I, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:I}", "model", model, "batch",
        (json_int_t)a->batch, "threads", (json_int_t)a->threads, "dtype", a->dtype, "isa",
        isa_name(isa), "kernels", a->kernels, "items_per_second", rate, "gflops", r->gflops,
        "peak_gflops", r->peak_gflops, "fraction_of_peak", r->gflops / r->peak_gflops,
        "peak_memory_bytes", (json_int_t)memory_resident_peak(), "planned_memory_bytes",
        (json_int_t)r->planned_bytes);
    (void)json_dumpf(document, stdout, JSON_INDENT(1));
    (void)fputc('\n', stdout);
    json_decref(document);
}

int cli_bench(int argc, char **argv) {
    static struct bench_arguments a;
    a = (struct bench_arguments){
        .threads = 1, .repeats = 7, .seed = 1, .isa = "native", .kernels = "auto", .dtype = "f32"};
    const struct args_option options[] = {
        {"batch", ARGS_COUNT, "B", "items at once (default 1, or what an ONNX file fixes)",
         &a.batch, 1, 4096},
        {"dim", ARGS_LIST, "NAME=N...", "of an ONNX model: symbolic dimensions of its inputs",
         &a.dims, 0, 0},
        {"no-pass", ARGS_TEXT, "NAME,...",
         "of an ONNX model: leave out these optimisations, or all", &a.skip_passes, 0, 0},
        {"threads", ARGS_COUNT, "T", "threads (default 1)", &a.threads, 1, 1024},
        {"repeats", ARGS_COUNT, "R", "runs, of which the median counts (default 7)", &a.repeats, 1,
         1000},
        {"max-length", ARGS_COUNT, "T", "tokens of each text (default: the model's longest)",
         &a.length, 1, 65536},
        {"dtype", ARGS_TEXT, "D", "f32, bf16, int8, w8 or w4 (default f32)", &a.dtype, 0, 0},
        {"isa", ARGS_TEXT, "I", "instruction set cap: native, baseline, avx2, avx512, neon", &a.isa,
         0, 0},
        {"kernels", ARGS_TEXT, "SET", "auto, onednn, blas or reference (default auto)", &a.kernels,
         0, 0},
        {"seed", ARGS_COUNT, "S", "of the random weights (default 1)", &a.seed, 0, INT64_MAX},
        {"json", ARGS_FLAG, NULL, "one JSON document on standard output", &a.json, 0, 0},
    };
    const struct args_command command = {
        .name = "bench engine",
        .positional = "MODEL",
        .summary = "bench engine MODEL: the forward pass in this process alone, random weights, no "
                   "network: items per second,\n"
                   "GFLOP/s, and the fraction of this processor's own multiply-add peak, measured "
                   "beside it.",
        .examples = "  shoal bench engine vit-large --batch 8 --threads 1\n"
                    "  shoal bench engine bert-base --max-length 128\n"
                    "  shoal bench engine vit-base --isa avx2 --json\n"
                    "  shoal bench engine vit-large --dtype int8\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0]};
    struct shoal_error error;
    if (argc > 0 && strcmp(argv[0], "--help") != 0 && strcmp(argv[0], "-h") != 0) {
        if (strcmp(argv[0], "engine") != 0) {
            (void)error_set(&error, SHOAL_USAGE, "what to measure? shoal bench engine MODEL");
            return cli_fail("bench", &error);
        }
        argc--;
        argv++;
    }
    bool done;
    int exit_status;
    const char *model = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct bench_result result = {0};
    if (bench(&a, model, &result, &error) != SHOAL_OK) {
        return cli_fail("bench", &error);
    }
    print_result(&a, model, &result);
    return cli_flush(&error) == SHOAL_OK ? 0 : cli_fail("bench", &error);
}
