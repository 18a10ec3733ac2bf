/* The partitions that Shoal is compared with: equal numbers of segments, and PipeDream's. */
#include "plan/cost.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Beside the baseline's own cost: what the optimum is, if it can be known, else a proven bound. */
static shoal_status add_optimum(const struct plan_problem *problem, struct plan_placement *out,
                                struct shoal_error *error) {
    struct plan_problem free_choice = *problem;
    free_choice.use_all = false;
    struct plan_placement optimum;
    struct shoal_error why;
    const shoal_status status = plan_solve(&free_choice, &optimum, &why);
    if (status == SHOAL_UNSUPPORTED) {
        out->lower_bound_s = plan_relaxed_bound(problem);
        plan_best_single(problem, &out->single_device_s, &out->single_device);
        return SHOAL_OK;
    }
    if (status != SHOAL_OK) {
        return error_set(error, status, "%s", why.text);
    }
    out->lower_bound_s = optimum.lower_bound_s;
    out->single_device_s = optimum.single_device_s;
    out->single_device = optimum.single_device;
    out->solver_seconds = optimum.solver_seconds;
    out->exact = optimum.feasible && plan_objective(problem, out) <= optimum.lower_bound_s;
    if (optimum.feasible) {
        (void)snprintf(out->rejected, sizeof out->rejected,
                       "this is a baseline; the planner's own choice: %" PRIu32 " stages, %.4g s",
                       optimum.stage_count, plan_objective(problem, &optimum));
    }
    return SHOAL_OK;
}

static shoal_status finish(const struct plan_problem *problem, const uint32_t *ends,
                           uint32_t stages, struct plan_placement *out, struct shoal_error *error) {
    uint32_t devices[PLAN_MAX_DEVICES];
    for (uint32_t d = 0; d < PLAN_MAX_DEVICES; d++) {
        devices[d] = d;
    }
    struct plan_placement placement;
    TRY(plan_evaluate(problem, ends, devices, stages, &placement, error));
    TRY(add_optimum(problem, &placement, error));
    *out = placement;
    return SHOAL_OK;
}

static uint32_t most_stages(const struct plan_problem *problem) {
    uint32_t stages = problem->device_count;
    if (problem->max_stages > 0 && problem->max_stages < stages) {
        stages = problem->max_stages;
    }
    return stages < problem->segment_count ? stages : problem->segment_count;
}

shoal_status plan_even(const struct plan_problem *problem, struct plan_placement *out,
                       struct shoal_error *error) {
    TRY(plan_check(problem, error));
    const uint32_t stages = most_stages(problem), n = problem->segment_count;
    uint32_t ends[PLAN_MAX_DEVICES];
    for (uint32_t s = 0; s < stages; s++) {
        const uint32_t odd = n % stages;
        ends[s] = (s + 1) * (n / stages) + (s + 1 < odd ? s + 1 : odd);
    }
    return finish(problem, ends, stages, out, error);
}

struct pipedream {
    uint32_t n, stages;
    double *sum;    /* [n + 1] of the mean device's times */
    double *cut;    /* [n] seconds of the mean link */
    double *best;   /* [stages + 1][n + 1]: A[j][m] of the paper, straight */
    uint32_t *from; /* the k that attains it */
};

static void average(const struct plan_problem *problem, struct pipedream *dp) {
    double alpha = 0.0, beta = 0.0;
    uint32_t pairs = 0;
    for (uint32_t a = 0; a < problem->device_count; a++) {
        for (uint32_t b = 0; b < problem->device_count; b++) {
            const struct plan_link *link = &problem->links[(size_t)a * problem->device_count + b];
            if (a != b && isfinite(link->alpha_s) && isfinite(link->beta_s_per_byte)) {
                alpha += link->alpha_s;
                beta += link->beta_s_per_byte;
                pairs++;
            }
        }
    }
    for (uint32_t l = 0; l < dp->n; l++) {
        double sum = 0.0;
        for (uint32_t d = 0; d < problem->device_count; d++) {
            sum += problem->devices[d].compute_s[l];
        }
        dp->sum[l + 1] = dp->sum[l] + sum / problem->device_count;
        dp->cut[l] = pairs > 0 ? (alpha + (double)problem->cut_bytes[l] * beta) / pairs : 0.0;
    }
}

/* A[j][m] = min over k of max(A[k][m-1], a_k's transfer, C(k+1, j)). Returns the best number of
 * stages. */
static uint32_t run_pipedream(struct pipedream *dp) {
    const uint32_t width = dp->n + 1;
    uint32_t stages = 1;
    for (uint32_t m = 1; m <= dp->stages; m++) {
        for (uint32_t j = m; j <= dp->n; j++) {
            double *best = &dp->best[m * width + j];
            *best = m == 1 ? dp->sum[j] : HUGE_VAL;
            for (uint32_t k = m - 1; k < j && m > 1; k++) {
                const double time =
                    fmax(fmax(dp->best[(m - 1) * width + k], dp->cut[k]), dp->sum[j] - dp->sum[k]);
                if (time < *best) {
                    *best = time;
                    dp->from[m * width + j] = k;
                }
            }
        }
        if (dp->best[m * width + dp->n] < dp->best[stages * width + dp->n]) {
            stages = m;
        }
    }
    return stages;
}

shoal_status plan_pipedream(const struct plan_problem *problem, struct plan_placement *out,
                            struct shoal_error *error) {
    TRY(plan_check(problem, error));
    struct pipedream dp = {.n = problem->segment_count, .stages = most_stages(problem)};
    const size_t cells = (size_t)(dp.stages + 1) * (dp.n + 1);
    dp.sum = mem_calloc(dp.n + 1, sizeof *dp.sum);
    dp.cut = mem_calloc(dp.n, sizeof *dp.cut);
    dp.best = mem_calloc(cells, sizeof *dp.best);
    dp.from = mem_calloc(cells, sizeof *dp.from);
    shoal_status status = SHOAL_OK;
    uint32_t ends[PLAN_MAX_DEVICES], stages = 0;
    if (dp.sum == NULL || dp.cut == NULL || dp.best == NULL || dp.from == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "out of memory for PipeDream's partition");
    } else {
        average(problem, &dp);
        stages = run_pipedream(&dp);
        for (uint32_t s = stages, end = dp.n; s > 0; s--) {
            ends[s - 1] = end;
            end = dp.from[(size_t)s * (dp.n + 1) + end];
        }
    }
    mem_free(dp.sum);
    mem_free(dp.cut);
    mem_free(dp.best);
    mem_free(dp.from);
    return status == SHOAL_OK ? finish(problem, ends, stages, out, error) : status;
}
