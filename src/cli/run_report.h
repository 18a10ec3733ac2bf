/* What a run says at its end: the JSON document of DESIGN's keys, and the table for people. */
#ifndef CLI_RUN_REPORT_H
#define CLI_RUN_REPORT_H

#include "cli/session.h"
#include "runtime/job.h"

#include <jansson.h>

struct run_report {
    const struct session *session;
    const struct plan_placement *placement;
    const struct job_outcome *outcome;
    double setup_s; /* devices, profile, plan and weights */
};

/* NULL when memory is out. */
json_t *run_report_json(const struct run_report *report);

/* Devices, segments, seconds of computing, waiting and links, memory; the bottleneck marked. */
void run_report_print(const struct run_report *report, FILE *to);

#endif
