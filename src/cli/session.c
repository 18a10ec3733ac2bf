#include "cli/session.h"

#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "kernels/isa.h"
#include "platform/file.h"
#include "platform/process.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void session_init(struct session *session, const char *command) {
    *session = (struct session){.command = command,
                                .seed = 1,
                                .kernels = "auto",
                                .isa = "native",
                                .dtype = "f32",
                                .link_codec = "f32",
                                .objective = "throughput"};
}

size_t session_options(struct session *session, struct args_option *out) {
    struct session *s = session;
    const struct args_option options[] = {
        {"devices", ARGS_COUNT, "N", "so many local devices, a process each (default 1)",
         &s->devices, 1, PLAN_MAX_DEVICES},
        {"in-process", ARGS_FLAG, NULL, "local devices as threads of this process", &s->in_process,
         0, 0},
        {"cluster", ARGS_TEXT, "FILE", "the devices of this cluster file instead of local ones",
         &s->cluster_path, 0, 0},
        {"key", ARGS_TEXT, "FILE", "with --cluster: this side's key file (default $SHOAL_HOME/key)",
         &s->key_path, 0, 0},
        {"available", ARGS_FLAG, NULL, "with --cluster: do without devices that are not there",
         &s->available, 0, 0},
        {"threads", ARGS_COUNT, "T", "compute threads per device (default: cores / devices)",
         &s->threads, 1, 1024},
        {"memory", ARGS_SIZE, "SIZE", "memory limit per device, e.g. 800M (default: none)",
         &s->memory, 0, 0},
        {"microbatch", ARGS_COUNT, "M",
         "items that travel together (default 1, or what an ONNX file fixes)", &s->microbatch, 1,
         4096},
        {"dim", ARGS_LIST, "NAME=N...", "of an ONNX model: symbolic dimensions of its inputs",
         &s->dims, 0, 0},
        {"no-pass", ARGS_TEXT, "NAME,...",
         "of an ONNX model: leave out these optimisations, or all (shoal check --help lists them)",
         &s->skip_passes, 0, 0},
        {"labels", ARGS_TEXT, "FILE", "of an ONNX model: its classes' names, one a line",
         &s->labels, 0, 0},
        {"preprocess", ARGS_TEXT, "FILE",
         "of an ONNX model: how pictures become its input (preprocessor_config.json)",
         &s->preprocess, 0, 0},
        {"weights", ARGS_TEXT, "FILE", "weights of a built-in model (.safetensors)", &s->weights, 0,
         0},
        {"vocab", ARGS_TEXT, "FILE", "a text model's vocabulary: vocab.txt or tokenizer.json",
         &s->vocab, 0, 0},
        {"max-length", ARGS_COUNT, "T", "tokens of a text, at most (default: what the model has)",
         &s->max_length, WORDPIECE_SHORTEST, 65536},
        {"seed", ARGS_COUNT, "S", "of random weights and random input (default 1)", &s->seed, 0,
         INT64_MAX},
        {"kernels", ARGS_TEXT, "SET", "auto, onednn, blas or reference (default auto: measured)",
         &s->kernels, 0, 0},
        {"isa", ARGS_TEXT, "NAME",
         "instruction set cap: native, common, baseline, avx2, avx512, neon", &s->isa, 0, 0},
        {"dtype", ARGS_TEXT, "D",
         "f32, bf16, int8, w8 or w4: how products with weights compute (default f32)", &s->dtype, 0,
         0},
        {"link-codec", ARGS_TEXT, "C", "f32 (the one in this version)", &s->link_codec, 0, 0},
        {"baseline", ARGS_TEXT, "RULE", "even or pipedream instead of the optimum, for comparison",
         &s->baseline, 0, 0},
        {"cuts", ARGS_TEXT, "I,J,...", "last segment of each stage but the last one, by hand",
         &s->cuts, 0, 0},
        {"objective", ARGS_TEXT, "O", "throughput or latency (default throughput)", &s->objective,
         0, 0},
        {"choose-devices", ARGS_FLAG, NULL, "use only as many devices as help", &s->choose_devices,
         0, 0},
        {"measure", ARGS_FLAG, NULL, "measure again instead of using stored profiles",
         &s->measure_again, 0, 0},
        {"json", ARGS_FLAG, NULL, "one JSON document on standard output, nothing else", &s->json, 0,
         0},
    };
    memcpy(out, options, sizeof options);
    return sizeof options / sizeof options[0];
}

void session_clear_line(struct session *session) {
    if (session->bar_shown) {
        (void)fputs("\r\033[K", stderr);
        session->bar_shown = false;
    }
}

void session_say(struct session *session, const char *format, ...) {
    const bool terminal = isatty(STDERR_FILENO) != 0;
    if (session->json && !terminal) {
        return; /* scripts want the document alone; a person at a terminal wants to see that it goes
                   on */
    }
    va_list arguments;
    va_start(arguments, format);
    if (terminal) {
        (void)fputs("\r\033[K", stderr);
        session->bar_shown = true;
    }
    (void)vfprintf(stderr, format, arguments);
    if (!terminal) {
        (void)fputc('\n', stderr);
    }
    (void)fflush(stderr);
    va_end(arguments);
}

static void say_planning(void *context, const char *what) {
    session_say(context, "%s ...", what);
}

static shoal_status check_flags(const struct session *session, struct shoal_error *error) {
    TRY(session_check_cluster_flags(session, error));
    enum precision precision;
    TRY(cli_parse_dtype(session->dtype, &precision, error));
    if (strcmp(session->link_codec, "f32") != 0 && strcmp(session->link_codec, "auto") != 0) {
        return error_set(error, SHOAL_UNSUPPORTED, "--link-codec %s: version %s sends f32 only",
                         session->link_codec, SHOAL_VERSION_TEXT);
    }
    if (strcmp(session->kernels, "auto") != 0 && kernel_set_find(session->kernels) == NULL) {
        return error_set(error, SHOAL_USAGE, "--kernels %s: choose auto, onednn, blas or reference",
                         session->kernels);
    }
    if (strcmp(session->objective, "throughput") != 0 &&
        strcmp(session->objective, "latency") != 0) {
        return error_set(error, SHOAL_USAGE, "--objective %s: choose throughput or latency",
                         session->objective);
    }
    if (session->baseline != NULL && strcmp(session->baseline, "even") != 0 &&
        strcmp(session->baseline, "pipedream") != 0) {
        return error_set(error, SHOAL_USAGE, "--baseline %s: choose even or pipedream",
                         session->baseline);
    }
    if (session->baseline != NULL && session->cuts != NULL) {
        return error_set(error, SHOAL_USAGE, "--baseline and --cuts exclude each other");
    }
    return SHOAL_OK;
}

/* A store that cannot be opened costs time, not the run. */
struct store *session_open_store(void) {
    char path[4096];
    struct shoal_error error;
    struct store *store = NULL;
    shoal_status status = file_data_directory(path, sizeof path, &error);
    if (status == SHOAL_OK) {
        status = file_make_directories(path, &error);
    }
    if (status == SHOAL_OK) {
        status = store_open(path, &store, &error);
    }
    if (status != SHOAL_OK) {
        log_warn("profiles are not kept: %s", error.text);
        return NULL;
    }
    return store;
}

static size_t message_bytes(const struct session *session, const struct graph *graph) {
    size_t most = 0;
    for (uint32_t s = 0; s <= graph_segment_count(graph); s++) {
        const size_t bytes = graph_crossing_bytes(graph, s, session->microbatch);
        most = bytes > most ? bytes : most;
    }
    return most + 4096; /* header and descriptors */
}

static shoal_status start_local(struct session *session, size_t bytes, struct shoal_error *error) {
    const struct cluster_options options = {
        .count = (uint32_t)session->devices,
        .in_process = session->in_process,
        .threads = (int)session->threads,
        .memory_limit = session->memory,
        .isa = session->isa,
        .message_bytes = bytes < ((size_t)4 << 20) ? (size_t)4 << 20 : bytes + ((size_t)1 << 16)};
    session_say(session, "starting %lld local device%s ...", (long long)session->devices,
                session->devices > 1 ? "s" : "");
    return cluster_start_local(&options, &session->cluster, error);
}

/* A text model's vocabulary and the longest sequence it is planned for. */
static shoal_status prepare_text(struct session *session, struct shoal_error *error) {
    const int64_t most = model_ref_config(session->model)->positions;
    if (session->vocab != NULL) {
        TRY(model_ref_open_vocabulary(session->model, session->vocab, error));
    }
    if (session->max_length > most) {
        return most == 0 ? error_set(error, SHOAL_USAGE,
                                     "--max-length is for text models; %s takes pictures",
                                     model_ref_name(session->model))
                         : error_set(error, SHOAL_USAGE,
                                     "--max-length %lld: the model has no more than %lld positions",
                                     (long long)session->max_length, (long long)most);
    }
    if (most > 0) {
        return model_ref_set_length(session->model,
                                    session->max_length > 0 ? session->max_length
                                                            : model_ref_max_length(session->model),
                                    error);
    }
    return SHOAL_OK;
}

static shoal_status start_devices(struct session *session, struct shoal_error *error) {
    struct graph *graph;
    TRY(model_build(model_ref_config(session->model), &graph, error));
    const size_t bytes = message_bytes(session, graph);
    graph_destroy(graph);
    if (bytes > WIRE_MAX_MESSAGE_BYTES) {
        return error_set(
            error, SHOAL_INVALID,
            "--microbatch %lld: one message would take %.1f MB; at most %.0f MB are possible",
            (long long)session->microbatch, (double)bytes / 1e6,
            (double)WIRE_MAX_MESSAGE_BYTES / 1e6);
    }
    return session->cluster_path != NULL ? session_connect(session, bytes, error)
                                         : start_local(session, bytes, error);
}

shoal_status session_parse_dims(const struct args_list *list, struct import_dim *out, size_t most,
                                struct shoal_error *error) {
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strrchr(list->items[i], '=');
        char *end = NULL;
        const long long value = equals != NULL ? strtoll(equals + 1, &end, 10) : 0;
        char *name = equals != NULL
                         ? mem_format("%.*s", (int)(equals - list->items[i]), list->items[i])
                         : NULL;
        if (name == NULL || name[0] == '\0' || value < 1 || value > INT32_MAX || *end != '\0' ||
            i == most) {
            mem_free(name);
            return error_set(error, SHOAL_USAGE,
                             "--dim %s: write NAME=N with N at least 1, at most %zu of them",
                             list->items[i], most);
        }
        out[i] = (struct import_dim){name, value};
    }
    return SHOAL_OK;
}

static shoal_status open_model(struct session *session, const char *model,
                               struct shoal_error *error) {
    enum precision precision;
    TRY(session_parse_dims(&session->dims, session->parsed_dims, SESSION_MAX_DIMS, error));
    const struct model_ref_options options = {
        .weights = session->weights,
        .seed = (uint64_t)session->seed,
        .labels = session->labels,
        .preprocess = session->preprocess,
        .onnx = {.batch = session->microbatch,
                 .dims = session->parsed_dims,
                 .dim_count = session->dims.count,
                 .inputs = session->inputs != NULL ? session->inputs->items : NULL,
                 .input_count = session->inputs != NULL ? session->inputs->count : 0,
                 .skip_passes = session->skip_passes}};
    TRY(model_ref_open(model, &options, &session->model, error));
    TRY(prepare_text(session, error));
    const int64_t fixed = model_batch(model_ref_config(session->model));
    session->microbatch = fixed > 0 ? fixed : session->microbatch > 0 ? session->microbatch : 1;
    TRY(cli_parse_dtype(session->dtype, &precision, error));
    model_ref_set_precision(session->model, precision);
    return SHOAL_OK;
}

shoal_status session_open(struct session *session, const char *model, struct shoal_error *error) {
    enum isa isa;
    TRY(check_flags(session, error));
    TRY(session_read_cluster(session, error));
    if (session->devices == 0) {
        session->devices = 1;
    }
    if (strcmp(session->isa, "common") == 0) {
        session->isa = "native"; /* local devices have one processor, so what they have in common is
                                    all of it */
    }
    TRY(isa_parse(session->isa, &isa, error));
    TRY(isa_cap(isa, cli_argv, error));
    process_catch_stop(NULL, NULL);
    TRY(open_model(session, model, error));
    if (model_ref_note(session->model) != NULL && !session->json) {
        (void)fprintf(stderr, "note: %s\n", model_ref_note(session->model));
    }
    if (session->on_model != NULL) {
        TRY(session->on_model(session->on_model_context, error));
    }
    session->store = session_open_store();
    TRY(start_devices(session, error));
    const struct planning_options planning = {.cluster = session->cluster,
                                              .model = model_ref_config(session->model),
                                              .batch = session->microbatch,
                                              .kernels = session->kernels,
                                              .store = session->store,
                                              .measure_again = session->measure_again,
                                              .say = say_planning,
                                              .context = session};
    return planning_create(&planning, &session->planning, error);
}

static shoal_status parse_cuts(const struct session *session, uint32_t *ends, uint32_t *count,
                               struct shoal_error *error) {
    const char *p = session->cuts;
    for (*count = 0; *p != '\0';) {
        char *end;
        const unsigned long value = strtoul(p, &end, 10);
        if (end == p || (*end != ',' && *end != '\0') || value == 0 || value > UINT32_MAX ||
            *count + 1 >= PLAN_MAX_DEVICES) {
            return error_set(error, SHOAL_USAGE,
                             "--cuts %s: write segment numbers with commas, e.g. 12,24,36",
                             session->cuts);
        }
        ends[(*count)++] = (uint32_t)value;
        p = *end == ',' ? end + 1 : end;
    }
    return SHOAL_OK;
}

shoal_status session_place(const struct session *session, struct plan_placement *out,
                           struct shoal_error *error) {
    uint32_t ends[PLAN_MAX_DEVICES];
    struct planning_request request = {.rule = PLANNING_OPTIMAL,
                                       .choose_devices = session->choose_devices,
                                       .latency = strcmp(session->objective, "latency") == 0,
                                       .ends = ends};
    if (session->baseline != NULL) {
        request.rule = strcmp(session->baseline, "even") == 0 ? PLANNING_EVEN : PLANNING_PIPEDREAM;
    }
    if (session->cuts != NULL) {
        request.rule = PLANNING_CUTS;
        TRY(parse_cuts(session, ends, &request.end_count, error));
    }
    const shoal_status status = planning_place(session->planning, &request, out, error);
    /* What a person typed is usage, not a bug of the caller's. */
    return status == SHOAL_INVALID ? error_wrap(error, SHOAL_USAGE, "cannot place") : status;
}

void session_close(struct session *session) {
    session_clear_line(session);
    planning_destroy(session->planning);
    cluster_destroy(session->cluster);
    cluster_file_free(session->file);
    store_close(session->store);
    model_ref_close(session->model);
    for (size_t i = 0; i < SESSION_MAX_DIMS; i++) {
        mem_free((char *)(uintptr_t)session->parsed_dims[i].name);
    }
}
