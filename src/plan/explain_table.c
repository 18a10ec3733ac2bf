/* The report as a text for people. */
#include "plan/explain.h"
#include "plan/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NAME_LIMIT 28

/* Right-aligned in `width` columns; all our own texts are one column a byte. */
static void add_right(struct text *text, const char *cell, size_t width) {
    const size_t length = strlen(cell);
    text_pad(text, width > length ? width - length : 0);
    text_add(text, "%s", cell);
}

static void add_name(struct text *text, const char *name, size_t width) {
    const size_t count = text_add_clean(text, name, NAME_LIMIT);
    text_pad(text, width > count ? width - count : 0);
}

static size_t name_width(const char *name) {
    struct text scratch = {.failed = true}; /* counts, keeps nothing */
    return text_add_clean(&scratch, name, NAME_LIMIT);
}

static void add_heading(const struct plan_report *report, struct text *text) {
    char bottleneck[16], latency[16];
    plan_format_seconds(report->bottleneck_s, bottleneck, sizeof bottleneck);
    plan_format_seconds(report->latency_s, latency, sizeof latency);
    if (report->title != NULL) {
        (void)text_add_clean(text, report->title, 80);
        text_add(text, ": ");
    }
    text_add(text, "%" PRIu32 " stage%s, a microbatch", report->stage_count,
             report->stage_count == 1 ? "" : "s");
    if (report->microbatch > 0) {
        text_add(text, " of %" PRIu32, report->microbatch);
    }
    text_add(text, " every %s", bottleneck);
    if (report->microbatch > 0 && report->bottleneck_s > 0.0 && isfinite(report->bottleneck_s)) {
        text_add(text, " (%.4g items/s)", report->microbatch / report->bottleneck_s);
    }
    text_add(text, ", %s from source to sink\n\n", latency);
}

static bool is_bottleneck(const struct plan_report *report, uint32_t stage, enum plan_bound kind) {
    return report->bottleneck_stage == stage && report->bottleneck_kind == kind;
}

static void add_stages(const struct plan_report *report, struct text *text) {
    size_t width = strlen("device");
    for (uint32_t s = 0; s < report->stage_count; s++) {
        const size_t name = name_width(report->stages[s].device);
        width = name > width ? name : width;
    }
    text_add(text, "stage  ");
    add_name(text, "device", width);
    text_add(text, "  %8ss    compute       send     memory      limit\n", report->part);
    for (uint32_t s = 0; s < report->stage_count; s++) {
        const struct plan_report_stage *stage = &report->stages[s];
        char cell[32];
        text_add(text, "%5" PRIu32 "  ", s + 1);
        add_name(text, stage->device, width);
        (void)snprintf(cell, sizeof cell, "%" PRIu32 "-%" PRIu32, stage->first, stage->last);
        add_right(text, cell, 11);
        plan_format_seconds(stage->compute_s, cell, sizeof cell);
        add_right(text, cell, 11);
        text_add(text, "%s",
                 is_bottleneck(report, s, PLAN_BOUND_COMPUTE) ||
                         is_bottleneck(report, s, PLAN_BOUND_HOST)
                     ? "*"
                     : " ");
        plan_format_seconds(stage->send_s, cell, sizeof cell);
        add_right(text, cell, 10);
        text_add(text, "%s", is_bottleneck(report, s, PLAN_BOUND_LINK) ? "*" : " ");
        plan_format_bytes(stage->memory_bytes, cell, sizeof cell);
        add_right(text, cell, 10);
        if (stage->memory_limit_bytes > 0.0) {
            plan_format_bytes(stage->memory_limit_bytes, cell, sizeof cell);
        } else {
            (void)snprintf(cell, sizeof cell, "none");
        }
        add_right(text, cell, 11);
        text_add(text, "%s\n",
                 stage->memory_limit_bytes > 0.0 && stage->memory_bytes > stage->memory_limit_bytes
                     ? "  too little"
                     : "");
    }
    char what[256];
    plan_report_bottleneck(report, what, sizeof what);
    text_add(text, "* bottleneck: ");
    (void)text_add_clean(text, what, 200);
    text_add(text, "\n");
}

static void add_lacks(const struct plan_report *report, struct text *text) {
    size_t width = strlen("device");
    for (uint32_t i = 0; i < report->lack_count; i++) {
        const size_t name = name_width(report->lacks[i].device);
        width = name > width ? name : width;
    }
    text_add(text, "\n");
    add_name(text, "device", width);
    text_add(text, "      limit      lacks\n");
    for (uint32_t i = 0; i < report->lack_count; i++) {
        char cell[16];
        add_name(text, report->lacks[i].device, width);
        plan_format_bytes(report->lacks[i].memory_limit_bytes, cell, sizeof cell);
        add_right(text, cell, 11);
        plan_format_bytes(report->lacks[i].bytes, cell, sizeof cell);
        add_right(text, cell, 11);
        text_add(text, "\n");
    }
}

static void add_line(struct text *text, const char *line) {
    if (line != NULL && line[0] != '\0') {
        (void)text_add_clean(text, line, 500);
        text_add(text, "\n");
    }
}

/* How far from the best, and whether one device alone would do better. */
static void add_verdict(const struct plan_report *report, struct text *text) {
    const double objective = report->latency ? report->latency_s : report->bottleneck_s;
    const char *word = report->latency ? "latency" : "bottleneck";
    char bound[16], alone[16];
    plan_format_seconds(report->lower_bound_s, bound, sizeof bound);
    plan_format_seconds(report->single_device_s, alone, sizeof alone);
    if (report->exact) {
        text_add(text, "optimal: no placement has a smaller %s (lower bound %s, gap 0 %%)\n", word,
                 bound);
    } else if (report->lower_bound_s > 0.0) {
        text_add(text, "no placement has a %s below %s; this one is %.3g %% above\n", word, bound,
                 100.0 * (objective / report->lower_bound_s - 1.0));
    }
    if (report->single_device == NULL && strstr(report->reason, " alone") == NULL) {
        text_add(text, "one device alone: none can hold the whole model\n");
    } else if (report->single_device != NULL && report->stage_count > 1 &&
               report->single_device_s < objective) {
        text_add(text, "one device alone is BETTER: ");
        (void)text_add_clean(text, report->single_device, NAME_LIMIT);
        text_add(text, " takes %s\n", alone);
    } else if (report->single_device != NULL &&
               strstr(report->reason, " alone") ==
                   NULL) { /* the planner's own reason says it too */
        text_add(text, "one device alone: ");
        (void)text_add_clean(text, report->single_device, NAME_LIMIT);
        text_add(text, " takes %s%s", alone,
                 report->stage_count == 1 ? ", and no pipeline is faster\n" : "");
        if (report->stage_count > 1) {
            text_add(text, ", %.3g times as long\n",
                     objective > 0.0 ? report->single_device_s / objective : 1.0);
        }
    }
}

shoal_status plan_report_table(const struct plan_report *report, char **out,
                               struct shoal_error *error) {
    struct text text = {.data = NULL};
    if (!report->feasible) {
        text_add(&text, "infeasible");
        if (report->title != NULL) {
            text_add(&text, ": ");
            (void)text_add_clean(&text, report->title, 80);
        }
        text_add(&text, "\n");
    }
    if (report->stage_count > 0) {
        add_heading(report, &text);
        add_stages(report, &text);
    }
    if (report->feasible) {
        add_verdict(report, &text);
    }
    add_line(&text, report->reason);
    if (report->lack_count > 0) {
        add_lacks(report, &text);
    }
    if (!report->feasible && report->lack_count > 0) {
        text_add(&text,
                 "the way out: more devices, more memory on these, or a smaller microbatch\n");
    }
    add_line(&text, report->notes);
    return text_take(&text, out, error);
}
