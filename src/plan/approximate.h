/*
 * Beyond the exact program: too many unlike kinds of devices. Inside plan/ only.
 *
 * Lower bound, proven: kinds of similar speed are merged until the exact program can take them,
 * each table entry of a merged kind being the least of its members'. Every real chain is a chain of
 * merged kinds that costs no more, so the optimum of the merged problem is a lower bound, and if
 * nothing fits there nothing fits at all.
 *
 * Placement: the merged optimum's stages are given to actual kinds, then improved by local search
 * over sequences of kinds (exchange two, replace, leave out, insert), where the cuts of a sequence
 * are always optimal for it.
 */
#ifndef PLAN_APPROXIMATE_H
#define PLAN_APPROXIMATE_H

#include "plan/dp.h"

struct plan_search {
    const struct plan_tables
        *cost; /* resources; infinity where a stage does not fit or a link does not exist */
    const struct plan_tables *latency; /* what one microbatch waits */
    const uint32_t *counts;            /* [kinds] */
    uint32_t min_stages, max_stages;
    bool least_latency;   /* objective: Σ latency instead of max cost */
    double merged_states; /* how many the merged problem may have */
};

/* M·K of dp.h, before anything is allocated for it. */
double plan_states(const uint32_t *counts, uint32_t kinds, uint32_t max_stages);

/*
 * *bound: infinity if it is proven that nothing fits. chain->stage_count 0: none was found. Errors:
 * NO_MEMORY, UNSUPPORTED (even merged, e.g. too many stages).
 */
NODISCARD shoal_status plan_approximate(const struct plan_search *search, double *bound,
                                        struct plan_chain *chain, struct shoal_error *error);

#endif
