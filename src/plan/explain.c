#include "plan/explain.h"

#include "base/memory.h"
#include "plan/cost.h"
#include "plan/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void plan_report_fill(const struct plan_problem *problem, const struct plan_placement *placement,
                      const char *title, uint32_t microbatch, struct plan_report *out) {
    *out = (struct plan_report){
        .title = title,
        .part = "segment",
        .microbatch = microbatch,
        .feasible = placement->feasible,
        .latency = problem->latency,
        .exact = placement->exact,
        .bottleneck_s = placement->bottleneck_s,
        .latency_s = placement->latency_s,
        .lower_bound_s = placement->lower_bound_s,
        .single_device_s = placement->single_device_s,
        .solver_seconds = placement->solver_seconds,
        .single_device = isfinite(placement->single_device_s)
                             ? problem->devices[placement->single_device].name
                             : NULL,
        .bottleneck_stage = placement->bottleneck_stage,
        .bottleneck_kind = placement->bottleneck_kind,
        .stage_count = placement->stage_count,
        .reason = placement->rejected,
        .notes = "",
    };
    for (uint32_t s = 0; s < placement->stage_count; s++) {
        const struct plan_stage *stage = &placement->stages[s];
        const struct plan_device *device = &problem->devices[stage->device];
        out->stages[s] =
            (struct plan_report_stage){.first = stage->first,
                                       .last = stage->last,
                                       .device = device->name,
                                       .compute_s = stage->compute_s,
                                       .receive_s = stage->receive_s,
                                       .send_s = stage->send_s,
                                       .memory_bytes = (double)stage->memory_bytes,
                                       .memory_limit_bytes = (double)device->memory_limit};
    }
    for (uint32_t d = 0; d < problem->device_count && !placement->feasible; d++) {
        if (placement->shortfall_bytes[d] > 0) {
            out->lacks[out->lack_count++] = (struct plan_report_lack){
                .device = problem->devices[d].name,
                .memory_limit_bytes = (double)problem->devices[d].memory_limit,
                .bytes = (double)placement->shortfall_bytes[d]};
        }
    }
}

void plan_report_fill_pipeedge(const struct plan_pipeedge_schedule *schedule, const char *title,
                               uint32_t batch, struct plan_report *out) {
    *out = (struct plan_report){
        .title = title,
        .part = "layer",
        .microbatch = batch,
        .feasible = schedule->feasible,
        .exact = true,
        .bottleneck_s = schedule->bottleneck_s,
        .latency_s = schedule->latency_s,
        .lower_bound_s = schedule->bottleneck_s,
        .single_device_s = schedule->single_device_s,
        .solver_seconds = schedule->solver_seconds,
        .single_device = schedule->single_device,
        .bottleneck_stage = schedule->bottleneck_stage,
        .bottleneck_kind = schedule->bottleneck_is_link ? PLAN_BOUND_LINK : PLAN_BOUND_COMPUTE,
        .stage_count = schedule->stage_count,
        .reason = schedule->reason,
        .notes = schedule->notes,
    };
    for (uint32_t s = 0; s < schedule->stage_count; s++) {
        const struct plan_pipeedge_stage *stage = &schedule->stages[s];
        out->stages[s] = (struct plan_report_stage){
            .first = stage->first,
            .last = stage->last,
            .device = stage->host,
            .compute_s = stage->compute_s,
            .receive_s = s > 0 ? schedule->stages[s - 1].send_s : 0.0,
            .send_s = stage->send_s,
            .memory_bytes = stage->memory_bytes,
            .memory_limit_bytes = stage->memory_limit_bytes,
        };
    }
}

void plan_format_seconds(double seconds, char *out, size_t bytes) {
    if (!isfinite(seconds) || seconds < 0.0) {
        (void)snprintf(out, bytes, "-");
    } else if (seconds >= 1e6) {
        (void)snprintf(out, bytes, "%.2e s", seconds);
    } else if (seconds >= 0.9995) {
        (void)snprintf(out, bytes, "%.*f s",
                       seconds < 9.995   ? 2
                       : seconds < 99.95 ? 1
                                         : 0,
                       seconds);
    } else {
        const double ms = seconds * 1e3;
        (void)snprintf(out, bytes, "%.*f ms", ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0, ms);
    }
}

void plan_format_bytes(double amount, char *out, size_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB"};
    if (!isfinite(amount) || amount < 0.0) {
        (void)snprintf(out, bytes, "-");
        return;
    }
    size_t unit = 0;
    while (amount >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        amount /= 1024.0;
        unit++;
    }
    (void)snprintf(out, bytes, "%.*f %s",
                   unit == 0 || amount >= 99.95 ? 0
                   : amount >= 9.995            ? 1
                                                : 2,
                   amount, units[unit]);
}

static const char *bound_name(enum plan_bound kind) {
    switch (kind) {
    case PLAN_BOUND_COMPUTE:
        return "compute";
    case PLAN_BOUND_LINK:
        return "link";
    case PLAN_BOUND_HOST:
        return "host";
    case PLAN_BOUND_SOURCE:
        return "source link";
    }
    return "?";
}

void plan_report_bottleneck(const struct plan_report *report, char *out, size_t bytes) {
    const uint32_t stage = report->bottleneck_stage;
    const char *device = stage < report->stage_count ? report->stages[stage].device : "?";
    switch (report->bottleneck_kind) {
    case PLAN_BOUND_COMPUTE:
        (void)snprintf(out, bytes, "compute of stage %" PRIu32 " (%s)", stage + 1, device);
        return;
    case PLAN_BOUND_LINK:
        (void)snprintf(out, bytes, "the link from stage %" PRIu32 " (%s) to %s", stage + 1, device,
                       stage + 1 < report->stage_count ? report->stages[stage + 1].device
                                                       : "the sink");
        return;
    case PLAN_BOUND_HOST:
        (void)snprintf(out, bytes, "the cores that %s shares with other devices", device);
        return;
    case PLAN_BOUND_SOURCE:
        (void)snprintf(out, bytes, "the link from the source to %s", device);
        return;
    }
}

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* A whole number of bytes, however it was held. */
static json_t *amount(double bytes) {
    return isfinite(bytes) && bytes < 9e18 ? json_integer((json_int_t)bytes) : json_null();
}

/* A name may come from anywhere; JSON must be UTF-8. */
static json_t *string(const char *value) {
    if (value == NULL) {
        return json_null();
    }
    json_t *good = json_string(value);
    if (good != NULL) {
        return good;
    }
    struct text text = {.data = NULL};
    char *clean;
    (void)text_add_clean(&text, value, SIZE_MAX);
    if (text_take(&text, &clean, NULL) != SHOAL_OK) {
        return NULL;
    }
    good = json_string(clean);
    mem_free(clean);
    return good;
}

/* json_pack's "o" takes over its argument and fails if that is NULL. */
static json_t *stage_json(const struct plan_report_stage *stage) {
    return json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:[{s:o, s:s, s:f, s:o, s:o}]}", "first",
        (json_int_t)stage->first, "last", (json_int_t)stage->last, "compute_s",
        number(stage->compute_s), "receive_s", number(stage->receive_s), "send_s",
        number(stage->send_s), "members", "device", string(stage->device), "kind", "whole", "share",
        1.0, "memory_bytes", amount(stage->memory_bytes), "memory_limit_bytes",
        stage->memory_limit_bytes > 0.0 ? amount(stage->memory_limit_bytes) : json_null());
}

static json_t *cells_json(const struct plan_report *report) {
    json_t *stages = json_array();
    for (uint32_t s = 0; s < report->stage_count; s++) {
        if (json_array_append_new(stages, stage_json(&report->stages[s])) != 0) {
            json_decref(stages);
            return NULL;
        }
    }
    return report->stage_count > 0 ? json_pack("[{s:o}]", "stages", stages) : stages;
}

static json_t *shortfall_json(const struct plan_report *report) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < report->lack_count; i++) {
        const struct plan_report_lack *lack = &report->lacks[i];
        if (json_array_append_new(list,
                                  json_pack("{s:o, s:o, s:o}", "device", string(lack->device),
                                            "memory_limit_bytes", amount(lack->memory_limit_bytes),
                                            "lacks_bytes", amount(lack->bytes))) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static double gap_of(const struct plan_report *report) {
    const double objective = report->latency ? report->latency_s : report->bottleneck_s;
    if (report->exact && report->feasible) {
        return 0.0;
    }
    return report->lower_bound_s > 0.0 ? objective / report->lower_bound_s - 1.0 : HUGE_VAL;
}

shoal_status plan_report_json(const struct plan_report *report, json_t **out,
                              struct shoal_error *error) {
    const bool rate = report->feasible && report->microbatch > 0 && report->bottleneck_s > 0.0;
    json_t *bottleneck =
        report->stage_count > 0
            ? json_pack("{s:I, s:s}", "stage", (json_int_t)report->bottleneck_stage + 1, "resource",
                        bound_name(report->bottleneck_kind))
            : json_null();
    json_t *document = json_pack(
        "{s:o, s:b, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "model", string(report->title), "feasible", report->feasible, "objective",
        report->latency ? "latency" : "throughput", "exact", report->exact, "bottleneck_s",
        number(report->bottleneck_s), "latency_s", number(report->latency_s), "lower_bound_s",
        number(report->lower_bound_s), "gap", number(gap_of(report)), "single_device_s",
        number(report->single_device_s), "single_device", string(report->single_device),
        "solver_seconds", number(report->solver_seconds), "items_per_second",
        rate ? number(report->microbatch / report->bottleneck_s) : json_null(), "bottleneck",
        bottleneck, "cells", cells_json(report), "shortfall", shortfall_json(report), "reason",
        string(report->reason), "notes", string(report->notes));
    if (document == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for the plan's JSON");
    }
    *out = document;
    return SHOAL_OK;
}
