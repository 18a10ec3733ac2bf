/*
 * Shoal's cost model (plan/problem.h): what a stage, a message and a placement cost. Inside plan/
 * only. Sums run from a stage's first segment to its last everywhere, so that equal stages have
 * equal bits.
 */
#ifndef PLAN_COST_H
#define PLAN_COST_H

#include "plan/problem.h"

/* Errors: INVALID (names what is wrong). */
NODISCARD shoal_status plan_check(const struct plan_problem *problem, struct shoal_error *error);

double plan_link_seconds(const struct plan_link *link,
                         size_t bytes); /* infinity if there is no link */

/* A stage that grows at its end: plan_stage_begin at a 0-based segment, then plan_stage_grow once
 * per segment. */
struct plan_stage_cost {
    const struct plan_problem *problem;
    const struct plan_device *device;
    uint32_t first, next;
    double c;                      /* Σ compute_s */
    size_t weights, slot, scratch; /* Σ, max, max */
    /* filled by grow, for the stage up to the segment added last */
    double m;            /* CPU of its two messages */
    double compute_s;    /* c, with m where it shares the core */
    double resource_s;   /* what the compute resource takes: compute_s, or m if that is more */
    double host_s;       /* core-seconds of the host: threads·c + m */
    size_t memory_bytes; /* saturates */
};

void plan_stage_begin(struct plan_stage_cost *cost, const struct plan_problem *problem,
                      uint32_t device, uint32_t first);
void plan_stage_grow(struct plan_stage_cost *cost);
bool plan_stage_fits(const struct plan_stage_cost *cost);

/* host_of[d]: the first device of d's host. binding[h]: the host whose first device is h can bind
 * (see plan/problem.h). */
struct plan_hosts {
    uint32_t host_of[PLAN_MAX_DEVICES];
    bool binding[PLAN_MAX_DEVICES];
};
void plan_hosts_find(const struct plan_problem *problem, struct plan_hosts *out);

/* The objective's value of an evaluated placement. */
static inline double plan_objective(const struct plan_problem *problem,
                                    const struct plan_placement *placement) {
    return problem->latency ? placement->latency_s : placement->bottleneck_s;
}

/* plan_solve with other limits: exact up to exact_states (multisets × kinds), plan/approximate.h
 * beyond. For tests. */
NODISCARD shoal_status plan_solve_within(const struct plan_problem *problem, double exact_states,
                                         double merged_states, struct plan_placement *out,
                                         struct shoal_error *error);

/* A proven lower bound of the objective from relaxations alone: no table, no state. */
double plan_relaxed_bound(const struct plan_problem *problem);

/* The best device alone; infinity if none fits. */
void plan_best_single(const struct plan_problem *problem, double *seconds, uint32_t *device);

#endif
