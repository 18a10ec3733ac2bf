#include "base/log.h"
#include "cli/cli.h"
#include "cli/run_report.h"
#include "cli/session.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "platform/process.h"
#include "runtime/input.h"
#include "runtime/job.h"
#include "runtime/origin.h"
#include "runtime/results.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct run_arguments {
    struct session session;
    struct args_list inputs;
    const char *output, *column, *pair;
    struct input *input; /* opened once the model is known */
    struct origin *origin;
    uint64_t said_ns; /* when a line about weights was due or said */
    int64_t top;
    bool logits;
    double deadline_s;
};

static void on_progress(void *context, const struct job_progress *progress) {
    struct session *session = &((struct run_arguments *)context)->session;
    if (isatty(STDERR_FILENO) == 0) {
        return;
    }
    enum { WIDTH = 30 };
    char bar[WIDTH + 1];
    const double share = progress->items_total > 0
                             ? (double)progress->items_done / (double)progress->items_total
                             : 0;
    for (int i = 0; i < WIDTH; i++) {
        bar[i] = i < (int)(share * WIDTH) ? '#' : '.';
    }
    bar[WIDTH] = '\0';
    const double rate = progress->items_per_second;
    const double left =
        rate > 0 ? (double)(progress->items_total - progress->items_done) / rate : 0;
    session_say(session, "[%s] %llu/%llu  %.2f items/s  %.0f s left", bar,
                (unsigned long long)progress->items_done, (unsigned long long)progress->items_total,
                rate, left);
}

#define LINE_NS (10 * CLOCK_SECOND) /* between lines where there is no terminal */

static void on_transfer(void *context, const struct distribution_progress *progress) {
    struct run_arguments *arguments = context;
    const uint64_t now = platform_now_ns();
    if (isatty(STDERR_FILENO) == 0) {
        if (arguments->said_ns == 0) {
            arguments->said_ns = now; /* a short transfer needs no line */
        }
        if (now - arguments->said_ns < LINE_NS) {
            return;
        }
        arguments->said_ns = now;
    }
    session_say(&arguments->session,
                "weights: %.1f of %.1f MB on the devices, %.1f MB sent from here, %.1f MB/s",
                (double)progress->done_bytes / 1e6, (double)progress->total_bytes / 1e6,
                (double)progress->sent_bytes / 1e6,
                progress->seconds > 0 ? (double)progress->done_bytes / 1e6 / progress->seconds : 0);
}

static bool on_hashing(void *context, uint64_t done, uint64_t total) {
    struct run_arguments *arguments = context;
    if (isatty(STDERR_FILENO) != 0) {
        session_say(&arguments->session, "hashing weights: %.1f of %.1f MB", (double)done / 1e6,
                    (double)total / 1e6);
    }
    return process_stop_requested() == 0;
}

/* Devices of other machines get the weights from here. */
static shoal_status open_origin(struct run_arguments *arguments, struct shoal_error *error) {
    const struct session *session = &arguments->session;
    const struct weights_spec weights = model_ref_weights(session->model);
    if (session->file == NULL || weights.path == NULL) {
        return SHOAL_OK;
    }
    const struct origin_options options = {.path = weights.path,
                                           .store = session->store,
                                           .on_progress = on_hashing,
                                           .context = arguments};
    return origin_open(&options, &arguments->origin, error);
}

static void on_skip(void *context, const char *item, const char *why) {
    struct session *session = &((struct run_arguments *)context)->session;
    (void)context;
    if (!session->json) {
        (void)fprintf(stderr, "%sskipped: %s%s%s\n", session->bar_shown ? "\r\033[K" : "",
                      strncmp(why, item, strlen(item)) == 0 ? "" : item,
                      strncmp(why, item, strlen(item)) == 0 ? "" : ": ", why);
    }
}

static const char *label_of(void *context, uint32_t class_index) {
    return model_ref_label(context, class_index);
}

#define RANDOM_LENGTH 128 /* tokens of random items, unless --max-length says otherwise */

/* Before planning: the input's longest text is what is planned for. */
static shoal_status open_input(void *context, struct shoal_error *error) {
    struct run_arguments *arguments = context;
    struct session *session = &arguments->session;
    struct model_config model = *model_ref_config(session->model);
    bool random = session->max_length == 0;
    for (size_t i = 0; i < arguments->inputs.count; i++) {
        random = random && strncmp(arguments->inputs.items[i], "random:", strlen("random:")) == 0;
    }
    if (random && model.length > RANDOM_LENGTH) {
        model.length = RANDOM_LENGTH;
    }
    const struct input_options options = {.paths = arguments->inputs.items,
                                          .path_count = arguments->inputs.count,
                                          .model = &model,
                                          .preprocess = model_ref_preprocess(session->model),
                                          .wordpiece = model_ref_wordpiece(session->model),
                                          .column = arguments->column,
                                          .pair = arguments->pair,
                                          .max_length = model.length,
                                          .seed = (uint64_t)session->seed};
    TRY(input_open(&options, &arguments->input, error));
    if (model.length > 0) {
        const int64_t longest = input_longest(arguments->input);
        const int64_t length = model_ref_length_for(session->model, longest);
        TRY(model_ref_set_length(session->model, length < model.length ? length : model.length,
                                 error));
        if (input_cut(arguments->input) > 0 && !session->json) {
            (void)fprintf(
                stderr, "note: %llu of %llu texts are longer than %lld tokens and are cut\n",
                (unsigned long long)input_cut(arguments->input),
                (unsigned long long)input_count(arguments->input), (long long)model.length);
        }
    }
    return SHOAL_OK;
}

static shoal_status open_results(const struct run_arguments *arguments, const struct input *input,
                                 struct results **out, struct shoal_error *error) {
    const struct model_config *model = model_ref_config(arguments->session.model);
    const bool lines =
        !arguments->session.json && arguments->output == NULL && !input_is_random(input);
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    const struct results_options options = {.output_path = arguments->output,
                                            .items = input_count(input),
                                            .text = lines ? stdout : NULL,
                                            .classifies = model->labels > 0,
                                            .label = label_of,
                                            .label_context = arguments->session.model,
                                            .top = (uint32_t)arguments->top,
                                            .logits = arguments->logits,
                                            .named = model->family == MODEL_GRAPH,
                                            .outputs = outputs,
                                            .output_count = model_outputs(model, outputs)};
    return results_create(&options, out, error);
}

/* The run joins the store's history; a store that cannot take it costs the user a line. */
static void record(const struct session *session, const json_t *document) {
    struct shoal_error error;
    char *text =
        session->store != NULL && document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    if (text != NULL &&
        store_run_put(session->store, text, (int64_t)time(NULL), NULL, &error) != SHOAL_OK) {
        log_warn("the run is not recorded: %s", error.text);
    }
    free(text);
}

static shoal_status print_outcome(struct run_arguments *arguments, const struct run_report *report,
                                  struct shoal_error *error) {
    session_clear_line(&arguments->session);
    json_t *document = run_report_json(report);
    record(&arguments->session, document);
    if (!arguments->session.json) {
        json_decref(document);
        run_report_print(report, stderr);
        return SHOAL_OK;
    }
    const bool printed = document != NULL && json_dumpf(document, stdout, JSON_INDENT(1)) == 0 &&
                         fputc('\n', stdout) != EOF;
    json_decref(document);
    return printed ? cli_flush(error)
                   : error_set(error, SHOAL_IO, "cannot write to standard output");
}

static shoal_status run_placed(struct run_arguments *arguments,
                               const struct plan_placement *placement, struct input *input,
                               struct results *results, uint64_t begin_ns, uint64_t *failed_items,
                               struct shoal_error *error) {
    struct session *session = &arguments->session;
    struct job_outcome outcome;
    TRY(open_origin(arguments, error));
    const struct job_options options = {.cluster = session->cluster,
                                        .placement = placement,
                                        .model = model_ref_config(session->model),
                                        .weights = model_ref_weights(session->model),
                                        .origin = arguments->origin,
                                        .on_transfer = on_transfer,
                                        .choice = planning_choice(session->planning),
                                        .batch = session->microbatch,
                                        .input = input,
                                        .results = results,
                                        .stall_ns = (uint64_t)(arguments->deadline_s * 1e9),
                                        .on_progress = on_progress,
                                        .on_skip = on_skip,
                                        .context = arguments};
    session_say(session, "loading weights onto %u device%s ...", placement->stage_count,
                placement->stage_count > 1 ? "s" : "");
    const double before_s = (double)(platform_now_ns() - begin_ns) * 1e-9;
    shoal_status status = job_run(&options, &outcome, error);
    *failed_items = outcome.failed_items;
    if (status == SHOAL_OK) {
        const struct run_report report = {.session = session,
                                          .placement = placement,
                                          .outcome = &outcome,
                                          .setup_s = before_s + outcome.setup_s};
        status = print_outcome(arguments, &report, error);
    } else if (outcome.items > 0) {
        session_clear_line(session);
        (void)fprintf(stderr, "%llu results were delivered before this:\n",
                      (unsigned long long)outcome.items);
    }
    job_outcome_fini(&outcome);
    return status;
}

static shoal_status explain_infeasible(const struct session *session,
                                       const struct plan_placement *placement,
                                       struct shoal_error *error) {
    char text[SHOAL_ERROR_TEXT] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < session->cluster->count && used < sizeof text - 64; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s lacks %.1f MB",
                                 i > 0 ? ", " : "", session->cluster->devices[i].name,
                                 (double)placement->shortfall_bytes[i] / 1e6);
    }
    return error_set(error, SHOAL_INFEASIBLE, "%s; give more memory (%s) or more devices (%s)%s%s",
                     text, session->file == NULL ? "--memory" : "memory in the cluster file",
                     session->file == NULL ? "--devices" : "lines of it",
                     placement->rejected[0] != '\0' ? "; " : "", placement->rejected);
}

static shoal_status run(struct run_arguments *arguments, const char *model, uint64_t *failed_items,
                        struct shoal_error *error) {
    struct session *session = &arguments->session;
    const uint64_t begin = platform_now_ns();
    if (arguments->inputs.count == 0) {
        return error_set(error, SHOAL_USAGE,
                         "--input is missing: images, text files, folders, .npy arrays or "
                         "random:N");
    }
    for (size_t i = 0; i < arguments->inputs.count; i++) { /* before minutes of measuring */
        const char *path = arguments->inputs.items[i], *equals = strchr(path, '=');
        if (strncmp(path, "random:", strlen("random:")) != 0 && !file_exists(path) &&
            (equals == NULL || !file_exists(equals + 1))) {
            return error_set(error, SHOAL_NOT_FOUND, "--input %s: there is no such file or folder",
                             path);
        }
    }
    session->inputs = &arguments->inputs;
    session->on_model = open_input;
    session->on_model_context = arguments;
    TRY(session_open(session, model, error));
    struct plan_placement placement;
    TRY(session_place(session, &placement, error));
    if (!placement.feasible) {
        return explain_infeasible(session, &placement, error);
    }
    if (placement.stage_count > 1 && placement.single_device_s <= placement.bottleneck_s &&
        !session->json) {
        session_clear_line(session);
        (void)fprintf(stderr,
                      "note: %s alone would be as fast (%.4g s an item against %.4g s); shoal plan "
                      "says why\n",
                      session->cluster->devices[placement.single_device].name,
                      placement.single_device_s / (double)session->microbatch,
                      placement.bottleneck_s / (double)session->microbatch);
    }
    struct results *results = NULL;
    TRY(open_results(arguments, arguments->input, &results, error));
    const shoal_status status =
        run_placed(arguments, &placement, arguments->input, results, begin, failed_items, error);
    results_destroy(results);
    return status;
}

int cli_run(int argc, char **argv) {
    static struct run_arguments a;
    session_init(&a.session, "run");
    a.top = 5;
    a.deadline_s = 60;
    struct args_option options[SESSION_OPTIONS + 8] = {
        {"input", ARGS_LIST, "PATH...",
         "images (JPEG, PNG) or texts (.txt, .tsv), folders, .npy or .pb arrays (NAME=FILE for "
         "each of several inputs), or random:N",
         &a.inputs, 0, 0},
        {"column", ARGS_TEXT, "NAME",
         "of a .tsv: name, or number if it has no names (default: sentence, text or the first)",
         &a.column, 0, 0},
        {"pair", ARGS_TEXT, "NAME", "of a .tsv: column of each item's second text", &a.pair, 0, 0},
        {"output", ARGS_TEXT, "FILE", "results as JSON lines, or raw outputs as arrays (.npy)",
         &a.output, 0, 0},
        {"top", ARGS_COUNT, "K", "classes per item in --output (default 5)", &a.top, 1, 1000},
        {"logits", ARGS_FLAG, NULL, "raw outputs in --output too", &a.logits, 0, 0},
        {"deadline", ARGS_SECONDS, "S", "fail if nothing moves for so long (default 60)",
         &a.deadline_s, 0, 0},
    };
    const size_t count = 7 + session_options(&a.session, options + 7);
    const struct args_command command = {
        .name = "run",
        .positional = "MODEL",
        .summary =
            "Runs a model on items, pipelined over devices by the optimal partition. MODEL "
            "is an ONNX file (or a directory\n"
            "with model.onnx), a Hugging Face directory (config.json, model.safetensors) or a "
            "built-in name (vit-base, vit-large, "
            "vit-huge, deit-tiny, deit-small,\n"
            "deit-base, deit-*-distilled, bert-base, bert-large, bert-tiny ..., mlp, lenet, "
            "vgg-11, "
            "vgg-16, resnet-18, resnet-20,\n"
            "resnet-50, mobilenet-v2, squeezenet, squeezenet-1.1). The same "
            "numbers as on one device, bit for bit, "
            "for any number of devices.",
        .examples =
            "  shoal run ./vit-base-patch16-224 --input photos/ --devices 4\n"
            "  shoal run ./vit-base-patch16-224 --input photos/ --cluster mine.yaml\n"
            "  shoal run vit-large --input random:200 --devices 2 --threads 1 --json\n"
            "  shoal run ./deit-small --input a.jpg b.png --output results.jsonl --logits\n"
            "  shoal run ./all-MiniLM-L6-v2 --input sentences.txt --output "
            "embeddings.npy --microbatch 8\n"
            "  shoal run ./bert-mrpc --input pairs.tsv --column sentence1 --pair "
            "sentence2 --output labels.jsonl\n"
            "  shoal run vit-huge --input random:8 --devices 4 --memory 900M\n"
            "  shoal run mobilenet.onnx --input photos/ --labels labels.txt --devices 2\n"
            "  shoal run detector.onnx --input x.npy --output scores.npy\n"
            "  shoal run decoder.onnx --input tokens=t.npy --dim T=64 --output logits.npy\n",
        .options = options,
        .option_count = count};
    bool done;
    int exit_status;
    const char *model = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    uint64_t failed_items = 0;
    const shoal_status status = run(&a, model, &failed_items, &error);
    origin_close(a.origin);
    input_close(a.input);
    session_close(&a.session);
    if (status != SHOAL_OK) {
        return cli_fail("run", &error);
    }
    return failed_items > 0 ? 1 : 0;
}
