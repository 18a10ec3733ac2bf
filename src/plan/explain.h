/*
 * A placement for people and for scripts: JSON, a text table, an SVG picture. A report is filled
 * from a placement of Shoal's planner or from a schedule of PipeEdge's problem; names in it are
 * borrowed. Units: seconds per microbatch, bytes. Texts handed out are the caller's (mem_free;
 * json_decref). Errors: NO_MEMORY. Times that are not finite are null in JSON and "-" elsewhere.
 */
#ifndef PLAN_EXPLAIN_H
#define PLAN_EXPLAIN_H

#include "plan/pipeedge.h"
#include "plan/problem.h"

#include <jansson.h>

struct plan_report_stage {
    uint32_t first, last; /* 1-based, both included */
    const char *device;
    double compute_s, receive_s, send_s;
    double memory_bytes, memory_limit_bytes; /* limit 0 = none */
};

struct plan_report_lack { /* a device that lacks memory */
    const char *device;
    double memory_limit_bytes, bytes;
};

struct plan_report {
    const char *title;   /* what was planned, e.g. the model; NULL = nothing to say */
    const char *part;    /* what stages are made of: "segment" or "layer" */
    uint32_t microbatch; /* items; 0 = not known: rates are left out */
    bool feasible, latency, exact;
    double bottleneck_s, latency_s, lower_bound_s, single_device_s, solver_seconds;
    const char *single_device; /* NULL if none fits */
    uint32_t bottleneck_stage; /* 0-based */
    enum plan_bound bottleneck_kind;
    uint32_t stage_count, lack_count;
    struct plan_report_stage stages[PLAN_DP_MAX_STAGES];
    struct plan_report_lack lacks[PLAN_MAX_DEVICES];
    const char *reason, *notes; /* "" = none */
};

/* The problem and the placement must outlive the report. */
void plan_report_fill(const struct plan_problem *problem, const struct plan_placement *placement,
                      const char *title, uint32_t microbatch, struct plan_report *out);
void plan_report_fill_pipeedge(const struct plan_pipeedge_schedule *schedule, const char *title,
                               uint32_t batch, struct plan_report *out);

/*
 * DESIGN.md section 8, `plan`: feasible bottleneck_s latency_s lower_bound_s gap single_device_s
 * solver_seconds cells[].stages[] (first last compute_s send_s members[] (device kind share
 * memory_bytes memory_limit_bytes)); beside them objective, exact, bottleneck {stage, resource},
 * single_device, items_per_second, receive_s, reason, notes and shortfall[] (device,
 * memory_limit_bytes, lacks_bytes). gap = objective / lower bound - 1. An infeasible report has no
 * cells unless it is a given placement that does not fit.
 */
NODISCARD shoal_status plan_report_json(const struct plan_report *report, json_t **out,
                                        struct shoal_error *error);
NODISCARD shoal_status plan_report_table(const struct plan_report *report, char **out,
                                         struct shoal_error *error);
/* Self-contained: no script, no font, no link. */
NODISCARD shoal_status plan_report_svg(const struct plan_report *report, char **out,
                                       struct shoal_error *error);

/* "1.23 ms", "12.3 s"; "-" if not finite. At most 15 bytes. */
void plan_format_seconds(double seconds, char *out, size_t bytes);
/* "812 MiB"; "-" if not finite. At most 15 bytes. */
void plan_format_bytes(double amount, char *out, size_t bytes);

/* What the bottleneck is, e.g. "compute of stage 2 (pi-1)"; for table and picture. */
void plan_report_bottleneck(const struct plan_report *report, char *out, size_t bytes);

#endif
