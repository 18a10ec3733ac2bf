/* The report as a picture: a row a stage; bars for compute and link on one time axis, a bar for
 * memory. */
#include "plan/explain.h"
#include "plan/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define WIDTH 960
#define ROW 58
#define TOP 96
#define NAME_X 20
#define TIME_X 210
#define TIME_WIDTH 430
#define MEMORY_X 730
#define MEMORY_WIDTH 210

#define COMPUTE_COLOUR "#3b6fb6"
#define LINK_COLOUR "#e0963b"
#define MEMORY_COLOUR "#6a9a5b"
#define OVER_COLOUR "#c0392b"
#define BACK_COLOUR "#e8eaed"
#define TEXT_COLOUR "#222"
#define FAINT_COLOUR "#666"

static void add_label(struct text *svg, double x, double y, int size, const char *colour,
                      const char *more) {
    text_add(svg, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" fill=\"%s\"%s>", x, y, size, colour,
             more);
}

static void add_bar(struct text *svg, double x, double y, double width, double height,
                    const char *colour) {
    text_add(svg,
             "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"2\" fill=\"%s\"/>\n",
             x, y, width, height, colour);
}

/* A bar with its time after it, or inside its end where there is no room. */
static void add_time(struct text *svg, double seconds, double scale_s, double y, const char *colour,
                     bool mark) {
    char label[16];
    plan_format_seconds(seconds, label, sizeof label);
    const double share = isfinite(seconds) && scale_s > 0.0 ? seconds / scale_s : 0.0;
    const double width = TIME_WIDTH * fmin(share, 1.0);
    add_bar(svg, TIME_X, y, fmax(width, 1.0), 15, colour);
    const bool inside = width > TIME_WIDTH - 90;
    add_label(svg, inside ? TIME_X + width - 6 : TIME_X + width + 6, y + 12, 12,
              inside ? "#fff" : TEXT_COLOUR, inside ? " text-anchor=\"end\"" : "");
    text_add(svg, "%s%s</text>\n", label, mark ? " – bottleneck" : "");
}

static void add_memory(struct text *svg, const struct plan_report_stage *stage, double largest,
                       double y) {
    char used[16], limit[16];
    plan_format_bytes(stage->memory_bytes, used, sizeof used);
    plan_format_bytes(stage->memory_limit_bytes, limit, sizeof limit);
    const bool limited = stage->memory_limit_bytes > 0.0;
    const double whole = limited ? stage->memory_limit_bytes : largest;
    const double share = whole > 0.0 ? fmin(stage->memory_bytes / whole, 1.0) : 0.0;
    add_bar(svg, MEMORY_X, y, MEMORY_WIDTH, 15, BACK_COLOUR);
    add_bar(svg, MEMORY_X, y, fmax(MEMORY_WIDTH * share, 1.0), 15,
            limited && stage->memory_bytes > stage->memory_limit_bytes ? OVER_COLOUR
                                                                       : MEMORY_COLOUR);
    add_label(svg, MEMORY_X, y + 31, 12, FAINT_COLOUR, "");
    text_add(svg, "%s of %s</text>\n", used, limited ? limit : "unlimited memory");
}

static void add_row(struct text *svg, const struct plan_report *report, uint32_t s, double scale_s,
                    double largest) {
    const struct plan_report_stage *stage = &report->stages[s];
    const double y = TOP + (double)s * ROW;
    const bool here = report->bottleneck_stage == s;
    text_add(svg, "<g><title>");
    (void)text_add_xml(svg, stage->device, 200);
    text_add(svg, "</title>\n");
    add_label(svg, NAME_X, y + 13, 14, TEXT_COLOUR, " font-weight=\"bold\"");
    text_add(svg, "%" PRIu32 "  ", s + 1);
    (void)text_add_xml(svg, stage->device, 19);
    text_add(svg, "</text>\n");
    add_label(svg, NAME_X, y + 31, 12, FAINT_COLOUR, "");
    text_add(svg, "%ss %" PRIu32 "–%" PRIu32 "</text>\n", report->part, stage->first, stage->last);
    add_time(svg, stage->compute_s, scale_s, y, COMPUTE_COLOUR,
             here && (report->bottleneck_kind == PLAN_BOUND_COMPUTE ||
                      report->bottleneck_kind == PLAN_BOUND_HOST));
    add_time(svg, stage->send_s, scale_s, y + 19, LINK_COLOUR,
             here && report->bottleneck_kind == PLAN_BOUND_LINK);
    add_memory(svg, stage, largest, y);
    text_add(svg, "</g>\n");
}

static void add_headings(struct text *svg, const struct plan_report *report) {
    char bottleneck[16], latency[16];
    plan_format_seconds(report->bottleneck_s, bottleneck, sizeof bottleneck);
    plan_format_seconds(report->latency_s, latency, sizeof latency);
    add_label(svg, NAME_X, 34, 20, TEXT_COLOUR, " font-weight=\"bold\"");
    (void)text_add_xml(svg, report->title != NULL ? report->title : "Placement", 60);
    text_add(svg, "</text>\n");
    add_label(svg, NAME_X, 56, 13, FAINT_COLOUR, "");
    if (report->stage_count == 0) {
        text_add(svg, "no placement fits</text>\n");
        return;
    }
    text_add(svg, "%sa microbatch every %s, %s from source to sink</text>\n",
             report->feasible ? "" : "DOES NOT FIT: ", bottleneck, latency);
    static const struct {
        double x;
        const char *colour, *label;
    } keys[] = {{TIME_X, COMPUTE_COLOUR, "compute"},
                {TIME_X + 100, LINK_COLOUR, "link to the next stage"},
                {MEMORY_X, MEMORY_COLOUR, "memory"}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        add_bar(svg, keys[i].x, 72, 11, 11, keys[i].colour);
        add_label(svg, keys[i].x + 17, 82, 12, FAINT_COLOUR, "");
        text_add(svg, "%s</text>\n", keys[i].label);
    }
}

/* A dashed line through all rows, where every bar must end at the latest. */
static void add_bottleneck_line(struct text *svg, const struct plan_report *report,
                                double scale_s) {
    if (isfinite(report->bottleneck_s) && scale_s > 0.0) {
        const double x = TIME_X + TIME_WIDTH * report->bottleneck_s / scale_s;
        text_add(svg,
                 "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"" OVER_COLOUR
                 "\" stroke-dasharray=\"4 3\"/>\n",
                 x, TOP - 6, x, TOP + (double)report->stage_count * ROW - 18);
    }
}

static double add_footer_line(struct text *svg, double y, const char *line) {
    if (line == NULL || line[0] == '\0') {
        return y;
    }
    add_label(svg, NAME_X, y, 12, FAINT_COLOUR, "");
    (void)text_add_xml(svg, line, 150);
    text_add(svg, "</text>\n");
    return y + 18;
}

static void add_footer(struct text *svg, const struct plan_report *report, double y) {
    char what[256], line[320], amount[16], limit[16];
    if (report->stage_count > 0) {
        plan_report_bottleneck(report, what, sizeof what);
        (void)snprintf(
            line, sizeof line, "bottleneck: %.200s%s", what,
            report->exact && report->feasible ? "; optimal: no placement has a smaller one" : "");
        y = add_footer_line(svg, y, report->latency ? "" : line);
    }
    y = add_footer_line(svg, y, report->reason);
    y = add_footer_line(svg, y, report->notes);
    for (uint32_t i = 0; i < report->lack_count; i++) {
        plan_format_bytes(report->lacks[i].bytes, amount, sizeof amount);
        plan_format_bytes(report->lacks[i].memory_limit_bytes, limit, sizeof limit);
        (void)snprintf(line, sizeof line, "%.200s (%s) lacks %s", report->lacks[i].device, limit,
                       amount);
        y = add_footer_line(svg, y, line);
    }
}

shoal_status plan_report_svg(const struct plan_report *report, char **out,
                             struct shoal_error *error) {
    struct text svg = {.data = NULL};
    double scale_s = isfinite(report->bottleneck_s) ? report->bottleneck_s : 0.0, largest = 0.0;
    for (uint32_t s = 0; s < report->stage_count; s++) {
        largest = fmax(largest, report->stages[s].memory_bytes);
        scale_s =
            isfinite(report->stages[s].send_s) ? fmax(scale_s, report->stages[s].send_s) : scale_s;
    }
    const double rows_end = TOP + (double)report->stage_count * ROW;
    const double height = rows_end + 18.0 * (3 + report->lack_count) + 20.0;
    text_add(&svg,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" width=\"%d\" "
             "height=\"%.0f\" "
             "font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n",
             WIDTH, height, WIDTH, height);
    text_add(&svg, "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
    add_headings(&svg, report);
    for (uint32_t s = 0; s < report->stage_count; s++) {
        add_row(&svg, report, s, scale_s, largest);
    }
    if (report->stage_count > 0) {
        add_bottleneck_line(&svg, report, scale_s);
    }
    add_footer(&svg, report, rows_end + 12);
    text_add(&svg, "</svg>\n");
    return text_take(&svg, out, error);
}
