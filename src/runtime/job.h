/*
 * One inference run: prepares the stages, feeds the pipeline, delivers results in input order, each
 * exactly once, and collects what the devices measured. The decisions are protocol/run.h's; this
 * carries them out.
 */
#ifndef RUNTIME_JOB_H
#define RUNTIME_JOB_H

#include "models/model.h"
#include "plan/problem.h"
#include "runtime/cluster.h"
#include "runtime/distribution.h"
#include "runtime/input.h"
#include "runtime/results.h"
#include "runtime/stage.h"

struct job_progress {
    uint64_t items_done, items_total;
    double seconds, items_per_second;
};

struct origin;

struct job_options {
    struct cluster *cluster;
    const struct plan_placement *placement;
    const struct model_config *model;
    struct weights_spec weights; /* of which every device can read path itself */
    struct origin *origin; /* borrowed; not NULL: the weights travel to the devices from here */
    void (*on_transfer)(void *context, const struct distribution_progress *progress); /* or NULL */
    const json_t *choice; /* kernel choice document */
    int64_t batch;
    struct input *input;
    struct results *results;
    uint64_t stall_ns; /* the run's deadline for any progress; 0 = 60 s */
    void (*on_progress)(void *context, const struct job_progress *progress);
    void (*on_skip)(void *context, const char *item, const char *why); /* the reading thread's */
    void *context;
};

struct job_device {
    char name[TRANSPORT_NAME_BYTES];
    json_t *report; /* its answer to "report"; NULL if the run failed */
};

struct job_outcome {
    uint64_t items, failed_items;
    struct distribution_outcome weights; /* with an origin: what travelled */
    double setup_s, seconds, items_per_second;
    double steady_items_per_second; /* NaN: too few results */
    double owner_cpu_s;    /* of this process during the run: reading, sending, delivering */
    uint64_t source_bytes; /* sent to the first stage */
    char digest[DIGEST_TEXT];
    uint32_t stage_count;
    struct job_device stages[PLAN_MAX_DEVICES];
};

/*
 * *out is filled as far as the run came, also on errors: results delivered before stay delivered.
 * Errors: PEER_LOST, TIMEOUT or PROTOCOL naming the device; CANCELLED; NO_SPACE or IO of the
 * output; refusals of prepare.
 */
NODISCARD shoal_status job_run(const struct job_options *options, struct job_outcome *out,
                               struct shoal_error *error);
void job_outcome_fini(struct job_outcome *outcome);

#endif
