#include "cli/cli.h"
#include "cli/session.h"
#include "runtime/control.h"

#include <string.h>

static json_t *device_json(const struct plan_problem *problem, uint32_t index, const json_t *info) {
    const struct plan_device *device = &problem->devices[index];
    json_t *segments = json_array();
    for (uint32_t s = 0; s < problem->segment_count; s++) {
        (void)json_array_append_new(segments, json_real(device->compute_s[s]));
    }
    return json_pack("{s:s, s:O, s:I, s:f, s:f, s:o}", "name", device->name, "info", info,
                     "memory_base_bytes", (json_int_t)device->memory_base, "message_cpu_s",
                     device->message_cpu_s, "message_cpu_s_per_byte",
                     device->message_cpu_s_per_byte, "segments_s", segments);
}

static json_t *link_json(const char *from, const char *to, const struct plan_link *link) {
    return json_pack("{s:s, s:s, s:f, s:f}", "from", from, "to", to, "alpha_s", link->alpha_s,
                     "beta_s_per_byte", link->beta_s_per_byte);
}

static json_t *profile_json(const struct session *session) {
    const struct plan_problem *problem = planning_problem(session->planning);
    json_t *devices = json_array(), *links = json_array(), *cuts = json_array(),
           *weights = json_array();
    for (uint32_t i = 0; i < problem->device_count; i++) {
        (void)json_array_append_new(devices,
                                    device_json(problem, i, session->cluster->devices[i].info));
        (void)json_array_append_new(links, link_json(CLUSTER_OWNER, problem->devices[i].name,
                                                     &problem->devices[i].from_source));
        (void)json_array_append_new(links, link_json(problem->devices[i].name, CLUSTER_OWNER,
                                                     &problem->devices[i].to_sink));
        for (uint32_t j = 0; j < problem->device_count; j++) {
            if (i != j) {
                (void)json_array_append_new(
                    links, link_json(problem->devices[i].name, problem->devices[j].name,
                                     &problem->links[i * problem->device_count + j]));
            }
        }
    }
    for (uint32_t s = 0; s <= problem->segment_count; s++) {
        (void)json_array_append_new(cuts, json_integer((json_int_t)problem->cut_bytes[s]));
        if (s < problem->segment_count) {
            (void)json_array_append_new(weights,
                                        json_integer((json_int_t)problem->weights_bytes[s]));
        }
    }
    return json_pack("{s:o, s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:O}", "model",
                     control_string(model_ref_name(session->model)), "dtype", session->dtype,
                     "segments", (json_int_t)problem->segment_count, "microbatch",
                     (json_int_t)session->microbatch, "from_store",
                     (int)planning_from_store(session->planning), "devices", devices, "links",
                     links, "cut_bytes", cuts, "weights_bytes", weights, "choice",
                     planning_choice(session->planning));
}

static void print_profile(struct session *session) {
    const struct plan_problem *problem = planning_problem(session->planning);
    session_clear_line(session);
    printf("%s: %u segments, microbatch %lld%s\n\n%-12s %-8s %7s %12s %16s\n",
           model_ref_name(session->model), problem->segment_count, (long long)session->microbatch,
           planning_from_store(session->planning) ? " (stored; --measure measures again)" : "",
           "device", "isa", "threads", "whole model", "from the owner");
    for (uint32_t i = 0; i < problem->device_count; i++) {
        const struct plan_device *device = &problem->devices[i];
        double sum = 0;
        for (uint32_t s = 0; s < problem->segment_count; s++) {
            sum += device->compute_s[s];
        }
        const double rate = device->from_source.beta_s_per_byte > 0
                                ? 1e-6 / device->from_source.beta_s_per_byte
                                : 0;
        printf("%-12s %-8s %7d %9.2f ms %7.0f MB/s, %.2f ms\n", device->name,
               json_string_value(json_object_get(session->cluster->devices[i].info, "isa")),
               device->threads, sum * 1e3, rate, device->from_source.alpha_s * 1e3);
    }
    printf("\nsegments of %s, in ms:\n", problem->devices[0].name);
    for (uint32_t s = 0; s < problem->segment_count; s++) {
        printf("%8.2f%s", problem->devices[0].compute_s[s] * 1e3,
               s % 8 == 7 || s + 1 == problem->segment_count ? "\n" : "");
    }
}

int cli_profile(int argc, char **argv) {
    struct session session;
    session_init(&session, "profile");
    struct args_option options[SESSION_OPTIONS];
    const size_t count = session_options(&session, options);
    const struct args_command command = {
        .name = "profile",
        .positional = "MODEL",
        .summary = "Measures, on every device, the seconds of each segment of the model at the "
                   "microbatch size, and the links\n"
                   "between the devices. What is measured is kept and used by plan and run as long "
                   "as nothing relevant changes.",
        .examples = "  shoal profile vit-large --devices 4\n"
                    "  shoal profile vit-large --cluster mine.yaml --measure\n"
                    "  shoal profile ./vit-base-patch16-224 --microbatch 8 --measure --json\n",
        .options = options,
        .option_count = count};
    bool done;
    int exit_status;
    const char *model = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    shoal_status status = session_open(&session, model, &error);
    if (status == SHOAL_OK && session.json) {
        json_t *document = profile_json(&session);
        if (document == NULL || json_dumpf(document, stdout, JSON_INDENT(1)) != 0 ||
            fputc('\n', stdout) == EOF) {
            status = error_set(&error, SHOAL_IO, "cannot write to standard output");
        }
        json_decref(document);
    } else if (status == SHOAL_OK) {
        print_profile(&session);
    }
    if (status == SHOAL_OK) {
        status = cli_flush(&error);
    }
    session_close(&session);
    return status == SHOAL_OK ? 0 : cli_fail("profile", &error);
}
