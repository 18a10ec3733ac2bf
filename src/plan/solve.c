/* plan_solve: Shoal's cost model on the dynamic program of dp.h. */
#include "plan/approximate.h"
#include "plan/cost.h"
#include "plan/dp.h"

#include "base/assert.h"
#include "base/memory.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* States (M·K) up to which the exact program is used, and what a merged problem may have beyond. */
#define EXACT_STATES 2097152.0
#define MERGED_STATES 131072.0

/* Host bounds are found by bisection: to this relative precision. */
#define HOST_PRECISION 1e-9

/* And with at most this much work, in steps of the additive program; each probe is at most (states
 * × segments²/2) steps. */
#define HOST_WORK 4e9

struct solver {
    const struct plan_problem *problem;
    struct plan_hosts hosts;
    uint32_t kind_count;
    uint32_t kind_of[PLAN_MAX_DEVICES];
    uint32_t first_of[PLAN_MAX_DEVICES]; /* kind → its first device */
    uint32_t counts[PLAN_MAX_DEVICES];
    uint32_t min_stages, max_stages;
    double exact_states, merged_states;
    struct plan_tables cost;    /* what each resource takes; infinity where it does not fit */
    struct plan_tables latency; /* what one microbatch waits */
    struct plan_tables weights; /* load of hosts, when one binds */
    struct plan_dp *dp;
};

static bool same_link(const struct plan_problem *p, uint32_t a, uint32_t b, uint32_t c,
                      uint32_t d) {
    const struct plan_link *x = &p->links[(size_t)a * p->device_count + b];
    const struct plan_link *y = &p->links[(size_t)c * p->device_count + d];
    return x->alpha_s == y->alpha_s && x->beta_s_per_byte == y->beta_s_per_byte;
}

/* True if swapping devices a and b changes nothing that is measured. */
static bool alike(const struct solver *solver, uint32_t a, uint32_t b) {
    const struct plan_problem *p = solver->problem;
    const struct plan_device *x = &p->devices[a], *y = &p->devices[b];
    const uint32_t host_a = solver->hosts.host_of[a], host_b = solver->hosts.host_of[b];
    if (host_a != host_b && (solver->hosts.binding[host_a] || solver->hosts.binding[host_b])) {
        return false;
    }
    if (x->threads != y->threads || x->message_cpu_s != y->message_cpu_s ||
        x->message_cpu_s_per_byte != y->message_cpu_s_per_byte ||
        x->shares_core != y->shares_core || x->memory_base != y->memory_base ||
        x->memory_limit != y->memory_limit || x->from_source.alpha_s != y->from_source.alpha_s ||
        x->from_source.beta_s_per_byte != y->from_source.beta_s_per_byte ||
        x->to_sink.alpha_s != y->to_sink.alpha_s ||
        x->to_sink.beta_s_per_byte != y->to_sink.beta_s_per_byte) {
        return false;
    }
    for (uint32_t l = 0; l < p->segment_count; l++) {
        if (x->compute_s[l] != y->compute_s[l]) {
            return false;
        }
    }
    for (uint32_t c = 0; c < p->device_count; c++) {
        if (c != a && c != b && (!same_link(p, a, c, b, c) || !same_link(p, c, a, c, b))) {
            return false;
        }
    }
    return same_link(p, a, b, b, a);
}

/* Transpositions generate all permutations, so being alike pairwise makes a class. */
static void find_kinds(struct solver *solver) {
    for (uint32_t d = 0; d < solver->problem->device_count; d++) {
        uint32_t kind = 0;
        while (kind < solver->kind_count && !alike(solver, solver->first_of[kind], d)) {
            kind++;
        }
        if (kind == solver->kind_count) {
            solver->first_of[kind] = d;
            solver->kind_count++;
        }
        solver->kind_of[d] = kind;
        solver->counts[kind]++;
    }
}

/* The link between two kinds; within a kind, that of its first two devices. NULL if the kind has
 * only one. */
static const struct plan_link *kind_link(const struct solver *solver, uint32_t from, uint32_t to) {
    const struct plan_problem *p = solver->problem;
    const uint32_t a = solver->first_of[from];
    uint32_t b = solver->first_of[to];
    if (from == to) {
        b = a + 1;
        while (b < p->device_count && solver->kind_of[b] != to) {
            b++;
        }
        if (b == p->device_count) {
            return NULL;
        }
    }
    return &p->links[(size_t)a * p->device_count + b];
}

static void fill_tables(struct solver *solver) {
    const struct plan_problem *p = solver->problem;
    const uint32_t n = p->segment_count;
    for (uint32_t k = 0; k < solver->kind_count; k++) {
        const struct plan_device *device = &p->devices[solver->first_of[k]];
        for (uint32_t i = 0; i < n; i++) {
            struct plan_stage_cost cost;
            plan_stage_begin(&cost, p, solver->first_of[k], i);
            for (uint32_t j = i; j < n; j++) {
                plan_stage_grow(&cost);
                *plan_stage_entry(&solver->cost, k, i, j) =
                    plan_stage_fits(&cost) ? cost.resource_s : HUGE_VAL;
                *plan_stage_entry(&solver->latency, k, i, j) = cost.compute_s;
            }
        }
        solver->cost.source[k] = plan_link_seconds(&device->from_source, p->cut_bytes[0]);
        solver->cost.sink[k] = plan_link_seconds(&device->to_sink, p->cut_bytes[n]);
        solver->latency.source[k] = solver->cost.source[k];
        solver->latency.sink[k] = solver->cost.sink[k];
        for (uint32_t to = 0; to < solver->kind_count; to++) {
            const struct plan_link *link = kind_link(solver, k, to);
            for (uint32_t c = 1; c < n; c++) {
                const double seconds =
                    link != NULL ? plan_link_seconds(link, p->cut_bytes[c]) : HUGE_VAL;
                *plan_link_entry(&solver->cost, k, to, c) = seconds;
                *plan_link_entry(&solver->latency, k, to, c) = seconds;
            }
        }
    }
}

/* Core-seconds per core that stages put on one host, or, with host = UINT32_MAX, on all binding
 * hosts together. */
static void fill_host_weights(struct solver *solver, uint32_t host) {
    const struct plan_problem *p = solver->problem;
    for (uint32_t k = 0; k < solver->kind_count; k++) {
        const uint32_t d = solver->first_of[k], h = solver->hosts.host_of[d];
        const bool counts = h == host || (host == UINT32_MAX && solver->hosts.binding[h]);
        for (uint32_t i = 0; i < p->segment_count; i++) {
            struct plan_stage_cost cost;
            plan_stage_begin(&cost, p, d, i);
            for (uint32_t j = i; j < p->segment_count; j++) {
                plan_stage_grow(&cost);
                *plan_stage_entry(&solver->weights, k, i, j) =
                    counts ? cost.host_s / p->devices[h].host_cores : 0.0;
            }
        }
    }
}

/* Gives each stage the next device of its kind, in the given order of the devices. */
static shoal_status place(const struct solver *solver, const struct plan_chain *chain,
                          struct plan_placement *out, struct shoal_error *error) {
    uint32_t devices[PLAN_MAX_DEVICES];
    bool used[PLAN_MAX_DEVICES] = {false};
    for (uint32_t s = 0; s < chain->stage_count; s++) {
        uint32_t d = solver->first_of[chain->kinds[s]];
        while (used[d] || solver->kind_of[d] != chain->kinds[s]) {
            d++;
            ASSERT(d < solver->problem->device_count);
        }
        used[d] = true;
        devices[s] = d;
    }
    return plan_evaluate(solver->problem, chain->ends, devices, chain->stage_count, out, error);
}

/* What a search has found: a placement, if any, and a bound that is proven. */
struct answer {
    bool found, exact;
    double lower_bound_s;
    struct plan_placement placement;
};

static shoal_status keep_if_better(const struct solver *solver, const struct plan_chain *chain,
                                   struct answer *answer, struct shoal_error *error) {
    struct plan_placement candidate;
    TRY(place(solver, chain, &candidate, error));
    const double best = answer->placement.bottleneck_s;
    if (!answer->found || candidate.bottleneck_s < best * (1.0 - HOST_PRECISION) ||
        (candidate.bottleneck_s <= best * (1.0 + HOST_PRECISION) &&
         candidate.stage_count < answer->placement.stage_count)) {
        answer->placement = candidate;
        answer->found = true;
    }
    return SHOAL_OK;
}

static uint32_t least_of(const double *best, double limit) {
    for (uint32_t k = 1; k <= PLAN_DP_MAX_STAGES; k++) {
        if (best[k] <= limit) {
            return k;
        }
    }
    return 0;
}

static double minimum(const double *best) {
    double least = HUGE_VAL;
    for (uint32_t k = 1; k <= PLAN_DP_MAX_STAGES; k++) {
        least = fmin(least, best[k]);
    }
    return least;
}

/*
 * One host that binds: the least B ≥ b0 with least load(B) ≤ B, where load(B) is the least load per
 * core over placements whose other resources all take ≤ B; load falls as B rises. Each probe gives
 * a placement (an upper bound) or rules out everything below it. *bound: proven for this host's
 * constraint alone.
 */
static shoal_status search_host(struct solver *solver, uint32_t host, double b0, double *bound,
                                struct answer *answer, struct shoal_error *error) {
    fill_host_weights(solver, host);
    double best[PLAN_DP_MAX_STAGES + 1], low = b0, high = HUGE_VAL, probe = b0;
    struct plan_chain chain;
    const double n = solver->problem->segment_count;
    const double probes = HOST_WORK / ((double)plan_dp_states(solver->dp) * n * n / 2.0);
    const int limit = probes < 3.0 ? 3 : probes < 64.0 ? (int)probes : 64;
    for (int i = 0; i < limit; i++) {
        TRY(plan_dp_least_sum(solver->dp, probe, &solver->weights, best, error));
        const double load = minimum(best);
        ASSERT(isfinite(load));
        /* All B ≤ probe need at least this load, so either B* > probe or B* ≥ load. */
        low = load > probe ? fmax(low, probe) : fmax(low, fmin(load, probe));
        const uint32_t k = least_of(best, fmax(load, probe));
        plan_dp_chain(solver->dp, k, &chain);
        TRY(keep_if_better(solver, &chain, answer, error));
        high = fmin(high, fmax(load, probe));
        if (high - low <= HOST_PRECISION * high) {
            break;
        }
        probe = i == 0 ? high : low + (high - low) / 2;
    }
    *bound = low;
    return SHOAL_OK;
}

/* Hosts that bind, after the rest has been solved to b0. */
static shoal_status solve_hosts(struct solver *solver, double b0, struct answer *answer,
                                struct shoal_error *error) {
    const struct plan_problem *p = solver->problem;
    double best[PLAN_DP_MAX_STAGES + 1];
    struct plan_chain chain;
    uint32_t binding = 0;
    answer->lower_bound_s = b0;
    for (uint32_t h = 0; h < p->device_count; h++) {
        if (solver->hosts.binding[h]) {
            double bound;
            TRY(search_host(solver, h, b0, &bound, answer, error));
            answer->lower_bound_s = fmax(answer->lower_bound_s, bound);
            binding++;
        }
    }
    if (binding > 1) { /* also the least total load, under a few bounds between what is proven and
                          what is found */
        fill_host_weights(solver, UINT32_MAX);
        for (int i = 0; i <= 4; i++) {
            const double bound =
                answer->lower_bound_s +
                (answer->placement.bottleneck_s - answer->lower_bound_s) * (double)i / 4.0;
            TRY(plan_dp_least_sum(solver->dp, bound, &solver->weights, best, error));
            for (uint32_t k = 1; k <= PLAN_DP_MAX_STAGES; k++) {
                if (isfinite(best[k])) {
                    plan_dp_chain(solver->dp, k, &chain);
                    TRY(keep_if_better(solver, &chain, answer, error));
                }
            }
        }
    }
    answer->exact =
        answer->placement.bottleneck_s <= answer->lower_bound_s * (1.0 + 2.0 * HOST_PRECISION);
    return SHOAL_OK;
}

static bool any_binding(const struct solver *solver) {
    for (uint32_t h = 0; h < solver->problem->device_count; h++) {
        if (solver->hosts.binding[h]) {
            return true;
        }
    }
    return false;
}

static shoal_status solve_throughput(struct solver *solver, struct answer *answer,
                                     struct shoal_error *error) {
    double b0;
    struct plan_chain chain;
    TRY(plan_dp_best(solver->dp, &solver->latency, &b0, &chain, error));
    if (!isfinite(b0)) {
        return SHOAL_OK;
    }
    TRY(keep_if_better(solver, &chain, answer, error));
    if (answer->placement.bottleneck_s >
        b0) { /* only a host's load can be more than the tables say */
        ASSERT(any_binding(solver));
        return solve_hosts(solver, b0, answer, error);
    }
    answer->lower_bound_s = b0;
    answer->exact = true;
    return SHOAL_OK;
}

static shoal_status solve_latency(struct solver *solver, struct answer *answer,
                                  struct shoal_error *error) {
    double best[PLAN_DP_MAX_STAGES + 1];
    TRY(plan_dp_least_sum(solver->dp, DBL_MAX, &solver->latency, best, error));
    const double least = minimum(best);
    if (!isfinite(least)) {
        return SHOAL_OK;
    }
    struct plan_chain chain;
    plan_dp_chain(solver->dp, least_of(best, least), &chain);
    TRY(place(solver, &chain, &answer->placement, error));
    ASSERT(answer->placement.latency_s == least);
    answer->found = true;
    answer->exact = true;
    answer->lower_bound_s = least;
    return SHOAL_OK;
}

/* Appends to the text for the user; what does not fit is cut off. */
__attribute__((format(printf, 2, 3))) static void say(struct plan_placement *out,
                                                      const char *format, ...) {
    const size_t used = strlen(out->rejected);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(out->rejected + used, sizeof out->rejected - used, format, arguments);
    va_end(arguments);
}

/*
 * The least factor on all limits with which something fits is itself a bottleneck: of memory /
 * limit over stages, links only having to exist.
 */
static shoal_status find_shortfall(struct solver *solver, struct plan_placement *out,
                                   struct shoal_error *error) {
    const struct plan_problem *p = solver->problem;
    const uint32_t n = p->segment_count;
    for (uint32_t k = 0; k < solver->kind_count; k++) {
        const struct plan_device *device = &p->devices[solver->first_of[k]];
        for (uint32_t i = 0; i < n; i++) {
            struct plan_stage_cost cost;
            plan_stage_begin(&cost, p, solver->first_of[k], i);
            for (uint32_t j = i; j < n; j++) {
                plan_stage_grow(&cost);
                *plan_stage_entry(&solver->cost, k, i, j) =
                    device->memory_limit == 0
                        ? 0.0
                        : (double)cost.memory_bytes / (double)device->memory_limit;
            }
        }
        solver->cost.source[k] = isfinite(solver->cost.source[k]) ? 0.0 : HUGE_VAL;
        solver->cost.sink[k] = isfinite(solver->cost.sink[k]) ? 0.0 : HUGE_VAL;
        for (uint32_t to = 0; to < solver->kind_count; to++) {
            for (uint32_t c = 1; c < n; c++) {
                double *entry = plan_link_entry(&solver->cost, k, to, c);
                *entry = isfinite(*entry) ? 0.0 : HUGE_VAL;
            }
        }
    }
    double factor;
    TRY(plan_dp_bottleneck(solver->dp, HUGE_VAL, &factor, error));
    struct plan_chain chain;
    if (!isfinite(factor) || !plan_dp_fewest(solver->dp, factor, &chain)) {
        say(out, "no chain of links joins enough devices to the source and the sink");
        return SHOAL_OK;
    }
    struct plan_placement tightest;
    TRY(place(solver, &chain, &tightest, error));
    for (uint32_t d = 0; d < p->device_count; d++) {
        const double lacking = ceil((factor - 1.0) * (double)p->devices[d].memory_limit);
        out->shortfall_bytes[d] =
            lacking < (double)SIZE_MAX ? (size_t)fmax(lacking, 0.0) : SIZE_MAX;
        if (out->shortfall_bytes[d] < tightest.shortfall_bytes[d]) {
            out->shortfall_bytes[d] = tightest.shortfall_bytes[d]; /* rounding */
        }
    }
    say(out, "no placement fits: with %.4g times each device's memory one would", factor);
    return SHOAL_OK;
}

static void explain_choice(const struct plan_problem *p, struct plan_placement *out) {
    const double objective = plan_objective(p, out);
    if (!isfinite(out->single_device_s)) {
        say(out, "no device can hold the whole model alone");
    } else if (out->stage_count > 1 && objective > 0.0) {
        say(out, "%s alone: %.4g s, %.3g times as long", p->devices[out->single_device].name,
            out->single_device_s, out->single_device_s / objective);
    } else if (p->device_count > 1) {
        say(out, "no pipeline is faster than %s alone", p->devices[out->single_device].name);
    }
    bool used[PLAN_MAX_DEVICES] = {false};
    for (uint32_t s = 0; s < out->stage_count; s++) {
        used[out->stages[s].device] = true;
    }
    uint32_t unused = 0;
    for (uint32_t d = 0; d < p->device_count; d++) {
        if (!used[d]) {
            say(out, "%s%s", unused == 0 ? "; not used: " : ", ", p->devices[d].name);
            unused++;
        }
    }
    if (unused > 0 && out->exact) {
        say(out, " (would not make it %s)", p->latency ? "faster" : "shorter at the bottleneck");
    }
}

/* Too many unlike kinds: a placement that was found, and a bound that is proven. */
static shoal_status solve_approximately(struct solver *solver, struct answer *answer,
                                        struct shoal_error *error) {
    const struct plan_search search = {.cost = &solver->cost,
                                       .latency = &solver->latency,
                                       .counts = solver->counts,
                                       .min_stages = solver->min_stages,
                                       .max_stages = solver->max_stages,
                                       .least_latency = solver->problem->latency,
                                       .merged_states = solver->merged_states};
    struct plan_chain chain;
    TRY(plan_approximate(&search, &answer->lower_bound_s, &chain, error));
    answer->exact = !isfinite(answer->lower_bound_s); /* proven infeasible */
    if (chain.stage_count > 0) {
        TRY(place(solver, &chain, &answer->placement, error));
        answer->found = true;
        answer->exact =
            plan_objective(solver->problem, &answer->placement) <= answer->lower_bound_s;
    }
    return SHOAL_OK;
}

static shoal_status find_answer(struct solver *solver, bool *exactly, struct answer *answer,
                                struct shoal_error *error) {
    const struct plan_problem *p = solver->problem;
    TRY(plan_tables_init(&solver->cost, p->segment_count, solver->kind_count, error));
    TRY(plan_tables_init(&solver->latency, p->segment_count, solver->kind_count, error));
    if (any_binding(solver)) {
        TRY(plan_tables_init(&solver->weights, p->segment_count, solver->kind_count, error));
    }
    fill_tables(solver);
    const uint32_t stages =
        solver->max_stages < p->segment_count ? solver->max_stages : p->segment_count;
    *exactly = plan_states(solver->counts, solver->kind_count, stages) <= solver->exact_states;
    if (!*exactly) {
        return solve_approximately(solver, answer, error);
    }
    TRY(plan_dp_create(&solver->cost, solver->counts, solver->min_stages, solver->max_stages,
                       &solver->dp, error));
    return p->latency ? solve_latency(solver, answer, error)
                      : solve_throughput(solver, answer, error);
}

static shoal_status solve(struct solver *solver, struct plan_placement *out,
                          struct shoal_error *error) {
    const struct plan_problem *p = solver->problem;
    struct answer answer = {.found = false, .exact = true, .lower_bound_s = HUGE_VAL};
    bool exactly;
    TRY(find_answer(solver, &exactly, &answer, error));
    struct plan_placement *placement = &answer.placement;
    if (!answer.found) {
        *placement = (struct plan_placement){.bottleneck_s = HUGE_VAL, .latency_s = HUGE_VAL};
    }
    placement->exact = answer.exact;
    placement->lower_bound_s = answer.lower_bound_s;
    plan_best_single(p, &placement->single_device_s, &placement->single_device);
    if (answer.found) {
        explain_choice(p, placement);
    } else if (p->use_all && p->device_count > p->segment_count) {
        say(placement, "%" PRIu32 " devices cannot all be used: the model has %" PRIu32 " segments",
            p->device_count, p->segment_count);
    } else if (exactly) {
        TRY(find_shortfall(solver, placement, error));
    } else if (answer.exact) {
        say(placement, "no placement fits: too little memory, or no chain of links");
    } else {
        say(placement,
            "no placement was found that fits, but with %" PRIu32
            " unlike devices it is not proven that there is none",
            solver->kind_count);
    }
    *out = *placement;
    return SHOAL_OK;
}

shoal_status plan_solve_within(const struct plan_problem *problem, double exact_states,
                               double merged_states, struct plan_placement *out,
                               struct shoal_error *error) {
    TRY(plan_check(problem, error));
    const uint64_t start_ns = problem->clock != NULL ? clock_now_ns(problem->clock) : 0;
    struct solver solver = {
        .problem = problem, .exact_states = exact_states, .merged_states = merged_states};
    solver.max_stages = problem->max_stages > 0 ? problem->max_stages : problem->device_count;
    solver.min_stages = problem->use_all ? problem->device_count : 1;
    plan_hosts_find(problem, &solver.hosts);
    find_kinds(&solver);
    const shoal_status status = solve(&solver, out, error);
    plan_dp_destroy(solver.dp);
    plan_tables_fini(&solver.cost);
    plan_tables_fini(&solver.latency);
    plan_tables_fini(&solver.weights);
    if (status == SHOAL_OK && problem->clock != NULL) {
        out->solver_seconds = (double)(clock_now_ns(problem->clock) - start_ns) * 1e-9;
    }
    return status;
}

shoal_status plan_solve(const struct plan_problem *problem, struct plan_placement *out,
                        struct shoal_error *error) {
    return plan_solve_within(problem, EXACT_STATES, MERGED_STATES, out, error);
}
