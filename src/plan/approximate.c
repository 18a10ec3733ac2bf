#include "plan/approximate.h"

#include "base/memory.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TRIALS 6000 /* sequences that the local search looks at */

/* ---- the merged problem ---- */

struct merged {
    uint32_t groups;
    uint32_t group_of[PLAN_DP_MAX_KINDS];
    uint32_t counts[PLAN_DP_MAX_KINDS];
    struct plan_tables cost, latency;
};

static double total_compute(const struct plan_search *search, uint32_t kind) {
    double sum = 0.0;
    for (uint32_t l = 0; l < search->cost->n; l++) {
        sum += *plan_stage_entry(search->latency, kind, l, l);
    }
    return sum;
}

double plan_states(const uint32_t *counts, uint32_t kinds, uint32_t max_stages) {
    double states = kinds;
    for (uint32_t k = 0; k < kinds; k++) {
        states *= (counts[k] < max_stages ? counts[k] : max_stages) + 1.0;
    }
    return states;
}

/* Kinds in order of speed; neighbours whose speeds are closest are merged, until there are few
 * enough states. */
static void choose_groups(const struct plan_search *search, struct merged *merged) {
    const uint32_t kinds = search->cost->kinds;
    uint32_t order[PLAN_DP_MAX_KINDS], start[PLAN_DP_MAX_KINDS + 1];
    double speed[PLAN_DP_MAX_KINDS];
    for (uint32_t k = 0; k < kinds; k++) {
        const double compute = total_compute(search, k);
        uint32_t at = k;
        for (; at > 0 && speed[at - 1] > compute; at--) {
            order[at] = order[at - 1];
            speed[at] = speed[at - 1];
        }
        order[at] = k;
        speed[at] = compute;
    }
    merged->groups = kinds;
    for (uint32_t g = 0; g <= kinds; g++) { /* group g: positions start[g] … start[g+1]-1 */
        start[g] = g;
    }
    for (;;) {
        for (uint32_t g = 0; g < merged->groups; g++) {
            merged->counts[g] = 0;
            for (uint32_t at = start[g]; at < start[g + 1]; at++) {
                merged->group_of[order[at]] = g;
                merged->counts[g] += search->counts[order[at]];
            }
        }
        if (merged->groups <= 1 || plan_states(merged->counts, merged->groups,
                                               search->max_stages) <= search->merged_states) {
            return;
        }
        uint32_t closest = 0;
        double ratio = HUGE_VAL;
        for (uint32_t g = 0; g + 1 < merged->groups; g++) {
            const double slow = speed[start[g + 2] - 1], fast = speed[start[g]];
            const double spread = fast > 0.0 ? slow / fast : slow > 0.0 ? DBL_MAX : 1.0;
            if (spread < ratio) {
                ratio = spread;
                closest = g;
            }
        }
        for (uint32_t g = closest + 1; g < merged->groups; g++) {
            start[g] = start[g + 1];
        }
        merged->groups--;
    }
}

static void lower(double *entry, double value) {
    *entry = value < *entry ? value : *entry;
}

static void fill_infinite(const struct plan_tables *t) {
    const size_t stages = (size_t)t->kinds * t->n * t->n,
                 links = (size_t)t->kinds * t->kinds * t->n;
    for (size_t i = 0; i < stages; i++) {
        t->stage[i] = HUGE_VAL;
    }
    for (size_t i = 0; i < links; i++) {
        t->link[i] = HUGE_VAL;
    }
    for (uint32_t k = 0; k < t->kinds; k++) {
        t->source[k] = t->sink[k] = HUGE_VAL;
    }
}

static void merge_tables(const struct plan_search *search, const struct plan_tables *from,
                         const struct merged *merged, const struct plan_tables *to) {
    fill_infinite(to);
    for (uint32_t u = 0; u < from->kinds; u++) {
        const uint32_t g = merged->group_of[u];
        for (uint32_t i = 0; i < from->n; i++) {
            for (uint32_t j = i; j < from->n; j++) {
                lower(plan_stage_entry(to, g, i, j), *plan_stage_entry(from, u, i, j));
            }
        }
        lower(&to->source[g], from->source[u]);
        lower(&to->sink[g], from->sink[u]);
        for (uint32_t v = 0; v < from->kinds; v++) {
            for (uint32_t c = 1; c < from->n && (u != v || search->counts[u] > 1); c++) {
                lower(plan_link_entry(to, g, merged->group_of[v], c),
                      *plan_link_entry(from, u, v, c));
            }
        }
    }
}

static shoal_status solve_merged(const struct plan_search *search, struct merged *merged,
                                 struct plan_dp **dp, double *bound, struct plan_chain *chain,
                                 struct shoal_error *error) {
    TRY(plan_tables_init(&merged->cost, search->cost->n, merged->groups, error));
    TRY(plan_tables_init(&merged->latency, search->cost->n, merged->groups, error));
    merge_tables(search, search->cost, merged, &merged->cost);
    merge_tables(search, search->latency, merged, &merged->latency);
    TRY(plan_dp_create(&merged->cost, merged->counts, search->min_stages, search->max_stages, dp,
                       error));
    if (!search->least_latency) {
        return plan_dp_best(*dp, &merged->latency, bound, chain, error);
    }
    double best[PLAN_DP_MAX_STAGES + 1];
    uint32_t stages = 0;
    TRY(plan_dp_least_sum(*dp, DBL_MAX, &merged->latency, best, error));
    *bound = HUGE_VAL;
    for (uint32_t k = 1; k <= PLAN_DP_MAX_STAGES; k++) {
        if (best[k] < *bound) {
            *bound = best[k];
            stages = k;
        }
    }
    if (stages > 0) {
        plan_dp_chain(*dp, stages, chain);
    }
    return SHOAL_OK;
}

/* ---- local search ---- */

struct local {
    const struct plan_search *search;
    double *best;   /* [stages + 1][n + 1] of the sequence under trial */
    uint32_t *from; /* the start that attains it */
    uint32_t used[PLAN_DP_MAX_KINDS];
    uint32_t trials;
    struct plan_chain chain; /* the best so far: kinds and ends */
    double value;
};

static double joined(const struct plan_search *search, double so_far, double step) {
    return search->least_latency ? so_far + step : step > so_far ? step : so_far;
}

/* The stage's own cost under the objective; infinity if it does not fit. */
static double stage_cost(const struct plan_search *search, uint32_t kind, uint32_t first,
                         uint32_t last) {
    const double cost = *plan_stage_entry(search->cost, kind, first, last);
    return search->least_latency && isfinite(cost)
               ? *plan_stage_entry(search->latency, kind, first, last)
               : cost;
}

/* The optimal cuts for a sequence of kinds. Infinity if it cannot be cut so that all fits. */
static double cut_sequence(struct local *local, struct plan_chain *chain) {
    const struct plan_search *search = local->search;
    const uint32_t n = search->cost->n;
    const size_t width = (size_t)n + 1;
    local->trials++;
    for (uint32_t j = 0; j <= n; j++) {
        local->best[j] = j == 0 ? search->cost->source[chain->kinds[0]] : HUGE_VAL;
    }
    for (uint32_t s = 1; s <= chain->stage_count; s++) {
        const double *before = &local->best[(s - 1) * width];
        double *best = &local->best[s * width];
        for (uint32_t j = 0; j <= n; j++) {
            best[j] = HUGE_VAL;
        }
        for (uint32_t i = s - 1; i < n; i++) {
            if (!isfinite(before[i]) || (s == 1 && i > 0)) {
                continue;
            }
            const double into = s == 1 ? before[i]
                                       : joined(search, before[i],
                                                *plan_link_entry(search->cost, chain->kinds[s - 2],
                                                                 chain->kinds[s - 1], i));
            for (uint32_t j = i + 1; j <= n && isfinite(into); j++) {
                const double value =
                    joined(search, into, stage_cost(search, chain->kinds[s - 1], i, j - 1));
                if (value < best[j]) {
                    best[j] = value;
                    local->from[s * width + j] = i;
                }
            }
        }
    }
    const double value = joined(search, local->best[chain->stage_count * width + n],
                                search->cost->sink[chain->kinds[chain->stage_count - 1]]);
    if (isfinite(value)) {
        for (uint32_t s = chain->stage_count, end = n; s > 0; s--) {
            chain->ends[s - 1] = end;
            end = local->from[s * width + end];
        }
    }
    return value;
}

static bool keep_if_better(struct local *local, struct plan_chain *candidate) {
    const double value = cut_sequence(local, candidate);
    if (value < local->value) {
        local->value = value;
        local->chain = *candidate;
        memset(local->used, 0, sizeof local->used);
        for (uint32_t s = 0; s < candidate->stage_count; s++) {
            local->used[candidate->kinds[s]]++;
        }
        return true;
    }
    return false;
}

static bool is_free(const struct local *local, uint32_t kind) {
    return local->used[kind] < local->search->counts[kind];
}

static void insert_kind(struct plan_chain *chain, uint32_t at, uint32_t kind) {
    memmove(&chain->kinds[at + 1], &chain->kinds[at],
            (chain->stage_count - at) * sizeof chain->kinds[0]);
    chain->kinds[at] = kind;
    chain->stage_count++;
}

static void remove_kind(struct plan_chain *chain, uint32_t at) {
    chain->stage_count--;
    memmove(&chain->kinds[at], &chain->kinds[at + 1],
            (chain->stage_count - at) * sizeof chain->kinds[0]);
}

/* Tries all changes of one stage; true as soon as one is better. */
static bool improve_at(struct local *local, uint32_t s) {
    const struct plan_search *search = local->search;
    const struct plan_chain start = local->chain;
    struct plan_chain candidate;
    for (uint32_t t = 0; t < start.stage_count; t++) {
        if (start.kinds[t] != start.kinds[s]) {
            candidate = start;
            candidate.kinds[s] = start.kinds[t];
            candidate.kinds[t] = start.kinds[s];
            if (keep_if_better(local, &candidate)) {
                return true;
            }
        }
    }
    for (uint32_t k = 0; k < search->cost->kinds; k++) {
        if (!is_free(local, k)) {
            continue;
        }
        candidate = start;
        candidate.kinds[s] = k;
        if (k != start.kinds[s] && keep_if_better(local, &candidate)) {
            return true;
        }
        candidate = start;
        if (start.stage_count < search->max_stages && start.stage_count < search->cost->n) {
            insert_kind(&candidate, s, k);
            if (keep_if_better(local, &candidate)) {
                return true;
            }
        }
    }
    if (start.stage_count > search->min_stages && start.stage_count > 1) {
        candidate = start;
        remove_kind(&candidate, s);
        return keep_if_better(local, &candidate);
    }
    return false;
}

static void improve(struct local *local) {
    bool better = true;
    while (better && local->trials < MAX_TRIALS) {
        better = false;
        for (uint32_t s = 0; s < local->chain.stage_count && local->trials < MAX_TRIALS; s++) {
            better = improve_at(local, s) || better;
        }
    }
}

/* Gives each stage of the merged chain the cheapest kind of its group that is left. */
static void assign(struct local *local, const struct merged *merged,
                   const struct plan_chain *chain) {
    struct plan_chain first = *chain;
    uint32_t used[PLAN_DP_MAX_KINDS] = {0};
    for (uint32_t s = 0; s < chain->stage_count; s++) {
        uint32_t chosen = UINT32_MAX;
        double least = HUGE_VAL;
        for (uint32_t k = 0; k < local->search->cost->kinds; k++) {
            const double cost =
                stage_cost(local->search, k, s > 0 ? chain->ends[s - 1] : 0, chain->ends[s] - 1);
            if (merged->group_of[k] == chain->kinds[s] && used[k] < local->search->counts[k] &&
                (chosen == UINT32_MAX || cost < least)) {
                chosen = k;
                least = cost;
            }
        }
        first.kinds[s] = chosen;
        used[chosen]++;
    }
    (void)keep_if_better(local, &first);
}

/* Other places to start from: one device alone each, and all that are allowed, fastest last and
 * fastest first. */
static void start_elsewhere(struct local *local) {
    const struct plan_search *search = local->search;
    struct plan_chain candidate = {.stage_count = 1};
    for (uint32_t k = 0; k < search->cost->kinds && search->min_stages <= 1; k++) {
        candidate.kinds[0] = k;
        (void)keep_if_better(local, &candidate);
    }
    candidate.stage_count = 0;
    const uint32_t most =
        search->max_stages < search->cost->n ? search->max_stages : search->cost->n;
    for (uint32_t k = 0; k < search->cost->kinds; k++) {
        for (uint32_t i = 0; i < search->counts[k] && candidate.stage_count < most; i++) {
            uint32_t at = 0;
            while (at < candidate.stage_count &&
                   total_compute(search, candidate.kinds[at]) > total_compute(search, k)) {
                at++;
            }
            insert_kind(&candidate, at, k);
        }
    }
    struct plan_chain reversed = candidate;
    for (uint32_t s = 0; s < candidate.stage_count; s++) {
        reversed.kinds[s] = candidate.kinds[candidate.stage_count - 1 - s];
    }
    if (candidate.stage_count >= search->min_stages) {
        (void)keep_if_better(local, &candidate);
        (void)keep_if_better(local, &reversed);
    }
}

shoal_status plan_approximate(const struct plan_search *search, double *bound,
                              struct plan_chain *chain, struct shoal_error *error) {
    struct merged merged = {.groups = 0};
    struct plan_dp *dp = NULL;
    struct plan_chain relaxed;
    choose_groups(search, &merged);
    const shoal_status status = solve_merged(search, &merged, &dp, bound, &relaxed, error);
    plan_dp_destroy(dp);
    plan_tables_fini(&merged.cost);
    plan_tables_fini(&merged.latency);
    TRY(status);
    chain->stage_count = 0;
    if (!isfinite(*bound)) {
        return SHOAL_OK;
    }
    const uint32_t n = search->cost->n;
    const uint32_t stages = search->max_stages < n ? search->max_stages : n;
    struct local local = {.search = search, .value = HUGE_VAL};
    const size_t cells = (size_t)(stages + 1) * (n + 1);
    local.best = mem_alloc(cells * sizeof *local.best);
    local.from = mem_alloc(cells * sizeof *local.from);
    if (local.best == NULL || local.from == NULL) {
        mem_free(local.best);
        mem_free(local.from);
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for the planner's search");
    }
    assign(&local, &merged, &relaxed);
    start_elsewhere(&local);
    improve(&local);
    *chain = local.chain;
    mem_free(local.best);
    mem_free(local.from);
    return SHOAL_OK;
}
