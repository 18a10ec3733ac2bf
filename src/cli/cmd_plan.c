#include "base/memory.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "plan/explain.h"
#include "plan/pipeedge.h"
#include "platform/clock.h"

#include <string.h>

struct plan_arguments {
    struct session session;
    const char *format;
    struct args_list pipeedge;
    const char *name;
    int64_t batch, buffers_in, buffers_out;
};

static shoal_status print_text(char *text, struct shoal_error *error) {
    const bool printed = fputs(text, stdout) != EOF && fflush(stdout) == 0;
    mem_free(text);
    return printed ? SHOAL_OK : error_set(error, SHOAL_IO, "cannot write to standard output");
}

static shoal_status print_report(const struct plan_arguments *arguments,
                                 const struct plan_report *report, struct shoal_error *error) {
    char *text, unlike[SHOAL_ERROR_TEXT];
    const struct session *session = &arguments->session;
    const bool planned = session->cluster != NULL;
    const bool identical = !planned || session_bit_identical(session, unlike);
    if (strcmp(arguments->format, "table") == 0) {
        TRY(plan_report_table(report, &text, error));
        TRY(print_text(text, error));
        if (!identical) {
            printf("\n%s\n", unlike);
        }
        return cli_flush(error);
    }
    if (strcmp(arguments->format, "svg") == 0) {
        TRY(plan_report_svg(report, &text, error));
        return print_text(text, error);
    }
    json_t *document;
    TRY(plan_report_json(report, &document, error));
    if (planned) {
        (void)json_object_set_new(document, "bit_identical", json_boolean(identical));
        (void)json_object_set_new(document, "dtype", json_string(arguments->session.dtype));
    }
    const bool printed =
        json_dumpf(document, stdout, JSON_INDENT(1)) == 0 && fputc('\n', stdout) != EOF;
    json_decref(document);
    return printed ? cli_flush(error)
                   : error_set(error, SHOAL_IO, "cannot write to standard output");
}

static shoal_status plan_pipeedge(const struct plan_arguments *arguments, bool *feasible,
                                  struct shoal_error *error) {
    if (arguments->pipeedge.count != 3) {
        return error_set(error, SHOAL_USAGE,
                         "--pipeedge wants three files: MODELS.yml TYPES.yml DEVICES.yml");
    }
    if (arguments->name == NULL || arguments->batch == 0) {
        return error_set(error, SHOAL_USAGE, "--pipeedge wants --name MODEL and --batch B as well");
    }
    const struct plan_pipeedge_options options = {.models_path = arguments->pipeedge.items[0],
                                                  .types_path = arguments->pipeedge.items[1],
                                                  .devices_path = arguments->pipeedge.items[2],
                                                  .model = arguments->name,
                                                  .batch = (uint32_t)arguments->batch,
                                                  .buffers_in = (uint32_t)arguments->buffers_in,
                                                  .buffers_out = (uint32_t)arguments->buffers_out};
    struct plan_pipeedge *problem;
    TRY(plan_pipeedge_load(&options, &problem, error));
    struct plan_pipeedge_schedule schedule;
    shoal_status status = plan_pipeedge_solve(problem, platform_clock(), &schedule, error);
    if (status == SHOAL_OK) {
        struct plan_report report;
        plan_report_fill_pipeedge(&schedule, arguments->name, options.batch, &report);
        *feasible = schedule.feasible;
        status = print_report(arguments, &report, error);
    }
    plan_pipeedge_destroy(problem);
    return status;
}

static shoal_status plan_model(struct plan_arguments *arguments, const char *model, bool *feasible,
                               struct shoal_error *error) {
    struct session *session = &arguments->session;
    if (model == NULL) {
        return error_set(error, SHOAL_USAGE, "MODEL is missing: shoal plan MODEL ...");
    }
    TRY(session_open(session, model, error));
    struct plan_placement placement;
    TRY(session_place(session, &placement, error));
    session_clear_line(session);
    struct plan_report report;
    plan_report_fill(planning_problem(session->planning), &placement,
                     model_ref_name(session->model), (uint32_t)session->microbatch, &report);
    *feasible = placement.feasible;
    return print_report(arguments, &report, error);
}

static shoal_status plan(struct plan_arguments *arguments, const char *model, bool *feasible,
                         struct shoal_error *error) {
    static const char *const formats[] = {"table", "json", "svg"};
    if (arguments->format == NULL) {
        arguments->format = arguments->session.json ? "json" : "table";
    }
    bool known = false;
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        known = known || strcmp(arguments->format, formats[i]) == 0;
    }
    if (!known) {
        return error_set(error, SHOAL_USAGE, "--format %s: choose table, json or svg",
                         arguments->format);
    }
    return arguments->pipeedge.count > 0 ? plan_pipeedge(arguments, feasible, error)
                                         : plan_model(arguments, model, feasible, error);
}

int cli_plan(int argc, char **argv) {
    static struct plan_arguments a;
    session_init(&a.session, "plan");
    a.buffers_in = a.buffers_out = 2;
    struct args_option options[SESSION_OPTIONS + 8] = {
        {"format", ARGS_TEXT, "F", "table, json or svg (default table)", &a.format, 0, 0},
        {"pipeedge", ARGS_LIST, "M T D",
         "PipeEdge's files instead of MODEL: models, device types, devices", &a.pipeedge, 0, 0},
        {"name", ARGS_TEXT, "MODEL", "with --pipeedge: which model of the file", &a.name, 0, 0},
        {"batch", ARGS_COUNT, "B", "with --pipeedge: the profiled batch", &a.batch, 1, 1 << 20},
        {"buffers-in", ARGS_COUNT, "N", "with --pipeedge: receive buffers (default 2)",
         &a.buffers_in, 0, 1024},
        {"buffers-out", ARGS_COUNT, "N", "with --pipeedge: send buffers (default 2)",
         &a.buffers_out, 0, 1024},
    };
    const size_t count = 6 + session_options(&a.session, options + 6);
    const struct args_command command = {
        .name = "plan",
        .positional = "MODEL",
        .positional_optional = true,
        .summary = "Shows the best partition of a model over devices: stages, predicted rate and "
                   "latency, memory, the proven lower\n"
                   "bound, and whether one device alone would do better. Exit status 3 if no "
                   "placement fits.",
        .examples = "  shoal plan vit-large --devices 4\n"
                    "  shoal plan vit-huge --devices 4 --memory 900M --json\n"
                    "  shoal plan vit-base --devices 8 --choose-devices\n"
                    "  shoal plan vit-large --cluster mine.yaml --microbatch 4\n"
                    "  shoal plan vit-base --devices 3 --format svg > plan.svg\n"
                    "  shoal plan --pipeedge models.yml device_types.yml devices.yml --name "
                    "google/vit-base-patch16-224 --batch 8\n",
        .options = options,
        .option_count = count};
    bool done;
    int exit_status;
    const char *model = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    bool feasible = true;
    const shoal_status status = plan(&a, model, &feasible, &error);
    session_close(&a.session);
    if (status != SHOAL_OK) {
        return cli_fail("plan", &error);
    }
    return feasible ? 0 : cli_exit_status(SHOAL_INFEASIBLE);
}
