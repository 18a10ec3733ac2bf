/*
 * The exact dynamic program under every cost model of plan/: contiguous partitions of n segments
 * onto devices of several kinds, which devices, in which order, and how many. A cost model fills
 * tables; the program knows nothing else about it.
 *
 * State: (multiset S of kinds used, as a mixed-radix number; kind v of the last stage; segments
 * placed j). A bottleneck B is possible iff one can reach j = n; the states reachable under B are
 * one bit each, so a check is a few word operations per (S, v), and the least B is found by
 * bisection over the sorted table entries: the answer is exactly an entry, hence exact. Among the
 * placements under a bound, an additive program over the reachable states finds the one of least
 * sum of weights (latency, or load of a host).
 *
 * Size: states M·K for M = Π(count+1) multisets and K kinds; 16 distinct kinds are 2^20.
 * Units: whatever the tables hold; infinity = not allowed. NaN is the caller's bug.
 */
#ifndef PLAN_DP_H
#define PLAN_DP_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_DP_MAX_KINDS 64
#define PLAN_DP_MAX_STAGES 256
#define PLAN_DP_MAX_SEGMENTS 1024

/* One set of tables; owned by whoever made it with plan_tables_init. */
struct plan_tables {
    uint32_t n, kinds;
    double *stage; /* [kinds][n][n]: first, last (0-based, both included; last ≥ first) */
    double *link; /* [kinds][kinds][n]: from, to, cut c (between segments c-1 and c; 1 ≤ c < n) */
    double *source; /* [kinds] into a first stage */
    double *sink;   /* [kinds] out of a last stage */
};

/* All entries zero. Errors: NO_MEMORY, UNSUPPORTED (n too large). */
NODISCARD shoal_status plan_tables_init(struct plan_tables *tables, uint32_t n, uint32_t kinds,
                                        struct shoal_error *error);
void plan_tables_fini(struct plan_tables *tables);

static inline double *plan_stage_entry(const struct plan_tables *t, uint32_t kind, uint32_t first,
                                       uint32_t last) {
    return &t->stage[((size_t)kind * t->n + first) * t->n + last];
}
static inline double *plan_link_entry(const struct plan_tables *t, uint32_t from, uint32_t to,
                                      uint32_t cut) {
    return &t->link[((size_t)from * t->kinds + to) * t->n + cut];
}

/* A chain: stage s has segments ends[s-1] … ends[s]-1 (0-based, ends[-1] = 0) on a device of
 * kinds[s]. */
struct plan_chain {
    uint32_t stage_count;
    uint32_t ends[PLAN_DP_MAX_STAGES];
    uint32_t kinds[PLAN_DP_MAX_STAGES];
};

struct plan_dp;

/*
 * counts [tables->kinds]: devices of each kind (0 allowed). min_stages ≤ stages ≤ max_stages. The
 * tables are borrowed. Errors: UNSUPPORTED (too many states: names the kinds and the limit),
 * NO_MEMORY.
 */
NODISCARD shoal_status plan_dp_create(const struct plan_tables *tables, const uint32_t *counts,
                                      uint32_t min_stages, uint32_t max_stages,
                                      struct plan_dp **out, struct shoal_error *error);
void plan_dp_destroy(struct plan_dp *dp);

size_t plan_dp_states(const struct plan_dp *dp); /* M·K: a measure of the work */

/*
 * The least B such that a chain with all its entries ≤ B exists; infinity if none exists whatever
 * B. Candidates above `above` are not looked at (an incumbent; infinity if there is none): if
 * nothing lies below it, the answer is infinity. Errors: NO_MEMORY.
 */
NODISCARD shoal_status plan_dp_bottleneck(struct plan_dp *dp, double above, double *out,
                                          struct shoal_error *error);

/* A chain of fewest stages with all entries ≤ bound; false if there is none. Needs no memory. */
bool plan_dp_fewest(struct plan_dp *dp, double bound, struct plan_chain *out);

/*
 * Among chains with all table entries ≤ bound: the one of least sum of `weights` entries for each
 * number of stages. best [PLAN_DP_MAX_STAGES + 1]: the least sum with exactly k stages; infinity if
 * there is none. Errors: NO_MEMORY, UNSUPPORTED (more reachable states than the limit). After it,
 * plan_dp_chain gives the chain for one k with best[k] finite.
 */
NODISCARD shoal_status plan_dp_least_sum(struct plan_dp *dp, double bound,
                                         const struct plan_tables *weights, double *best,
                                         struct shoal_error *error);
void plan_dp_chain(struct plan_dp *dp, uint32_t stage_count, struct plan_chain *out);

/*
 * plan_dp_bottleneck, then of the chains that attain it one of fewest stages, then of least sum of
 * weights (left out where there are too many states for it). *chain is set only if *bottleneck is
 * finite. Errors: NO_MEMORY.
 */
NODISCARD shoal_status plan_dp_best(struct plan_dp *dp, const struct plan_tables *weights,
                                    double *bottleneck, struct plan_chain *chain,
                                    struct shoal_error *error);

#endif
