#include "cli/run_report.h"

#include "runtime/control.h"

#include <math.h>
#include <string.h>

static double number(const json_t *report, const char *key) {
    return json_number_value(json_object_get(report, key));
}

static json_t *real_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* Of weights that came over the network; 0 where none travelled. */
static uint64_t received_bytes(const struct run_report *report, uint32_t stage) {
    const struct distribution_outcome *weights = &report->outcome->weights;
    const uint32_t device = report->placement->stages[stage].device;
    return device < weights->device_count ? weights->devices[device].received_bytes : 0;
}

static json_t *device_json(const struct run_report *report, uint32_t index) {
    const struct plan_stage *stage = &report->placement->stages[index];
    const json_t *r = report->outcome->stages[index].report;
    return json_pack(
        "{s:s, s:i, s:i, s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, "
        "s:I}",
        "name", report->outcome->stages[index].name, "cell", 1, "stage", (int)index + 1, "member",
        "whole", "first", (int)stage->first, "last", (int)stage->last, "compute_s",
        number(r, "compute_s"), "compute_cpu_s", number(r, "compute_cpu_s"), "receive_s",
        number(r, "receive_s"), "send_s", number(r, "send_s"), "wait_s", number(r, "wait_s"),
        "blocked_s", number(r, "blocked_s"), "cpu_s", number(r, "cpu_s"), "io_cpu_s",
        number(r, "io_cpu_s"), "peak_memory_bytes",
        json_integer_value(json_object_get(r, "peak_memory_bytes")), "predicted_memory_bytes",
        (json_int_t)stage->memory_bytes, "steady_allocations",
        json_integer_value(json_object_get(r, "steady_allocations")), "received_bytes",
        (json_int_t)received_bytes(report, index));
}

static json_t *links_json(const struct run_report *report) {
    json_t *links = json_array();
    const uint32_t count = report->outcome->stage_count;
    (void)json_array_append_new(links, json_pack("{s:s, s:s, s:I, s:s}", "from", CLUSTER_OWNER,
                                                 "to", report->outcome->stages[0].name, "bytes",
                                                 (json_int_t)report->outcome->source_bytes, "codec",
                                                 "f32"));
    for (uint32_t i = 0; i < count; i++) {
        const json_t *r = report->outcome->stages[i].report;
        (void)json_array_append_new(
            links,
            json_pack("{s:s, s:s, s:I, s:s}", "from", report->outcome->stages[i].name, "to",
                      i + 1 < count ? report->outcome->stages[i + 1].name : CLUSTER_OWNER, "bytes",
                      json_integer_value(json_object_get(r, "bytes_sent")), "codec", "f32"));
    }
    return links;
}

json_t *run_report_json(const struct run_report *report) {
    const struct job_outcome *outcome = report->outcome;
    json_t *devices = json_array();
    for (uint32_t i = 0; i < outcome->stage_count; i++) {
        (void)json_array_append_new(devices, device_json(report, i));
    }
    char unlike[SHOAL_ERROR_TEXT];
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:f, s:f, s:s, s:b, s:I, s:I, "
                     "s:f, s:o, s:o}",
                     "model", control_string(model_ref_name(report->session->model)), "dtype",
                     report->session->dtype, "items", (json_int_t)outcome->items, "failed_items",
                     (json_int_t)outcome->failed_items, "microbatch",
                     (json_int_t)report->session->microbatch, "setup_seconds", report->setup_s,
                     "seconds", outcome->seconds, "items_per_second", outcome->items_per_second,
                     "steady_items_per_second", real_or_null(outcome->steady_items_per_second),
                     "predicted_items_per_second",
                     (double)report->session->microbatch / report->placement->bottleneck_s,
                     "owner_cpu_s", outcome->owner_cpu_s, "output_digest", outcome->digest,
                     "bit_identical", (int)session_bit_identical(report->session, unlike),
                     "weights_sent_bytes", (json_int_t)outcome->weights.sent_bytes,
                     "weights_had_bytes", (json_int_t)outcome->weights.had_bytes, "weights_seconds",
                     outcome->weights.seconds, "devices", devices, "links", links_json(report));
}

static uint32_t busiest(const struct run_report *report) {
    uint32_t best = 0;
    double most = -1;
    for (uint32_t i = 0; i < report->outcome->stage_count; i++) {
        const double busy = number(report->outcome->stages[i].report, "compute_s");
        if (busy > most) {
            most = busy;
            best = i;
        }
    }
    return best;
}

void run_report_print(const struct run_report *report, FILE *to) {
    const struct job_outcome *outcome = report->outcome;
    const uint32_t bottleneck = busiest(report);
    (void)fprintf(to, "\n%-12s %-9s %9s %9s %9s %9s %11s %11s\n", "device", "segments", "compute s",
                  "waiting s", "link s", "CPU s", "memory MB", "planned MB");
    for (uint32_t i = 0; i < outcome->stage_count; i++) {
        const struct plan_stage *stage = &report->placement->stages[i];
        const json_t *r = outcome->stages[i].report;
        char segments[24];
        (void)snprintf(segments, sizeof segments, "%u-%u", stage->first, stage->last);
        (void)fprintf(to, "%-12s %-9s %9.2f %9.2f %9.2f %9.2f %11.1f %11.1f%s\n",
                      outcome->stages[i].name, segments, number(r, "compute_s"),
                      number(r, "wait_s") + number(r, "blocked_s"),
                      number(r, "receive_s") + number(r, "send_s"), number(r, "cpu_s"),
                      number(r, "peak_memory_bytes") / 1e6, (double)stage->memory_bytes / 1e6,
                      i == bottleneck && outcome->stage_count > 1 ? "  <- bottleneck" : "");
    }
    if (strcmp(report->session->dtype, "f32") != 0) {
        (void)fprintf(to, "\nproducts with weights in %s", report->session->dtype);
    }
    (void)fprintf(to, "\n%llu items in %.2f s: %.2f items/s", (unsigned long long)outcome->items,
                  outcome->seconds, outcome->items_per_second);
    if (isfinite(outcome->steady_items_per_second)) {
        (void)fprintf(to, ", %.2f in the steady state", outcome->steady_items_per_second);
    }
    (void)fprintf(to, " (planned %.2f); %.2f s to set up\n",
                  (double)report->session->microbatch / report->placement->bottleneck_s,
                  report->setup_s);
    if (outcome->failed_items > 0) {
        (void)fprintf(to, "%llu items could not be read and were left out\n",
                      (unsigned long long)outcome->failed_items);
    }
    const struct distribution_outcome *weights = &outcome->weights;
    if (weights->device_count > 0) {
        (void)fprintf(to,
                      "weights: %.1f MB sent from here, %.1f MB fetched by the devices, %.1f MB "
                      "were there already; %.2f s\n",
                      (double)weights->sent_bytes / 1e6, (double)weights->received_bytes / 1e6,
                      (double)weights->had_bytes / 1e6, weights->seconds);
    }
    (void)fprintf(to, "outputs sha256 %s\n", outcome->digest);
    char unlike[SHOAL_ERROR_TEXT];
    if (!session_bit_identical(report->session, unlike)) {
        (void)fprintf(to, "%s\n", unlike);
    }
}
