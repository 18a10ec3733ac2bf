#include "plan/cost.h"

#include "base/assert.h"
#include "base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool is_cost(double value) { /* finite, not negative */
    return isfinite(value) && value >= 0.0;
}

static bool is_link(const struct plan_link *link) { /* infinity: no link */
    return link->alpha_s >= 0.0 && link->beta_s_per_byte >= 0.0;
}

static const char *name_of(const struct plan_problem *problem, uint32_t device) {
    const char *name = problem->devices[device].name;
    return name != NULL ? name : "?";
}

static shoal_status check_device(const struct plan_problem *problem, uint32_t d,
                                 struct shoal_error *error) {
    const struct plan_device *device = &problem->devices[d];
    if (device->name == NULL || device->compute_s == NULL) {
        return error_set(error, SHOAL_INVALID, "device %" PRIu32 " has no name or no profile",
                         d + 1);
    }
    for (uint32_t l = 0; l < problem->segment_count; l++) {
        if (!is_cost(device->compute_s[l])) {
            return error_set(error, SHOAL_INVALID, "device %s: time of segment %" PRIu32 " is %g s",
                             device->name, l + 1, device->compute_s[l]);
        }
    }
    if (!is_cost(device->message_cpu_s) || !is_cost(device->message_cpu_s_per_byte)) {
        return error_set(error, SHOAL_INVALID, "device %s: CPU time of messages is not a time",
                         device->name);
    }
    if (!is_link(&device->from_source) || !is_link(&device->to_sink)) {
        return error_set(error, SHOAL_INVALID,
                         "device %s: its link from the source or to the sink is not a time",
                         device->name);
    }
    if (device->threads < 0 || device->host_cores < 0) {
        return error_set(error, SHOAL_INVALID, "device %s: %d threads, %d cores", device->name,
                         device->threads, device->host_cores);
    }
    for (uint32_t to = 0; to < problem->device_count; to++) {
        if (to != d && !is_link(&problem->links[(size_t)d * problem->device_count + to])) {
            return error_set(error, SHOAL_INVALID, "the link from %s to %s is not a time",
                             device->name, name_of(problem, to));
        }
    }
    return SHOAL_OK;
}

shoal_status plan_check(const struct plan_problem *problem, struct shoal_error *error) {
    if (problem->segment_count == 0) {
        return error_set(error, SHOAL_INVALID, "a plan for no segments");
    }
    if (problem->device_count == 0 || problem->device_count > PLAN_MAX_DEVICES) {
        return error_set(error, SHOAL_INVALID, "%" PRIu32 " devices; a plan takes 1 to %d",
                         problem->device_count, PLAN_MAX_DEVICES);
    }
    if (problem->devices == NULL || problem->cut_bytes == NULL || problem->weights_bytes == NULL ||
        problem->slot_bytes == NULL || problem->scratch_bytes == NULL ||
        (problem->links == NULL && problem->device_count > 1)) {
        return error_set(error, SHOAL_INVALID, "a plan without devices, links or sizes");
    }
    if (problem->use_all && problem->max_stages != 0 &&
        problem->max_stages < problem->device_count) {
        return error_set(error, SHOAL_INVALID,
                         "all %" PRIu32 " devices cannot be used in %" PRIu32 " stages",
                         problem->device_count, problem->max_stages);
    }
    for (uint32_t d = 0; d < problem->device_count; d++) {
        TRY(check_device(problem, d, error));
    }
    struct plan_hosts hosts;
    plan_hosts_find(problem, &hosts);
    for (uint32_t d = 0; d < problem->device_count; d++) {
        const struct plan_device *first = &problem->devices[hosts.host_of[d]];
        if (problem->devices[d].host_cores != first->host_cores) {
            return error_set(error, SHOAL_INVALID,
                             "devices %s and %s share host %s, but give it %d and %d cores",
                             first->name, name_of(problem, d), first->host, first->host_cores,
                             problem->devices[d].host_cores);
        }
    }
    return SHOAL_OK;
}

double plan_link_seconds(const struct plan_link *link, size_t bytes) {
    if (isinf(link->alpha_s) || isinf(link->beta_s_per_byte)) {
        return HUGE_VAL;
    }
    return link->alpha_s + (double)bytes * link->beta_s_per_byte;
}

static double message_cpu(const struct plan_device *device, size_t bytes) {
    return device->message_cpu_s + (double)bytes * device->message_cpu_s_per_byte;
}

static size_t add_saturating(size_t a, size_t b) {
    size_t sum;
    return checked_add_size(a, b, &sum) ? sum : SIZE_MAX;
}

static size_t mul_saturating(size_t a, size_t b) {
    size_t product;
    return checked_mul_size(a, b, &product) ? product : SIZE_MAX;
}

void plan_stage_begin(struct plan_stage_cost *cost, const struct plan_problem *problem,
                      uint32_t device, uint32_t first) {
    *cost = (struct plan_stage_cost){
        .problem = problem, .device = &problem->devices[device], .first = first, .next = first};
}

void plan_stage_grow(struct plan_stage_cost *cost) {
    const struct plan_problem *p = cost->problem;
    const struct plan_device *device = cost->device;
    const uint32_t l = cost->next++;
    ASSERT(l < p->segment_count);
    cost->c += device->compute_s[l];
    cost->weights = add_saturating(cost->weights, p->weights_bytes[l]);
    cost->slot = p->slot_bytes[l] > cost->slot ? p->slot_bytes[l] : cost->slot;
    cost->scratch = p->scratch_bytes[l] > cost->scratch ? p->scratch_bytes[l] : cost->scratch;

    const size_t in = p->cut_bytes[cost->first], out = p->cut_bytes[l + 1];
    cost->m = message_cpu(device, in) + message_cpu(device, out);
    cost->compute_s = device->shares_core ? cost->c + cost->m : cost->c;
    cost->resource_s = cost->m > cost->compute_s ? cost->m : cost->compute_s;
    cost->host_s = (device->threads > 0 ? device->threads : 1) * cost->c + cost->m;
    size_t bytes = add_saturating(device->memory_base, cost->weights);
    bytes = add_saturating(bytes, mul_saturating(cost->slot, p->slots > 0 ? p->slots : 1));
    bytes = add_saturating(bytes, cost->scratch);
    bytes = add_saturating(bytes, mul_saturating(in, p->in_messages));
    cost->memory_bytes = add_saturating(bytes, mul_saturating(out, p->out_messages));
}

bool plan_stage_fits(const struct plan_stage_cost *cost) {
    return cost->device->memory_limit == 0 || cost->memory_bytes <= cost->device->memory_limit;
}

void plan_hosts_find(const struct plan_problem *problem, struct plan_hosts *out) {
    int wanted[PLAN_MAX_DEVICES] = {0};
    memset(out, 0, sizeof *out);
    for (uint32_t d = 0; d < problem->device_count; d++) {
        const struct plan_device *device = &problem->devices[d];
        uint32_t host = d;
        for (uint32_t e = 0; e < d && device->host != NULL; e++) {
            if (problem->devices[e].host != NULL &&
                strcmp(problem->devices[e].host, device->host) == 0) {
                host = e;
                break;
            }
        }
        out->host_of[d] = host;
        const bool own_core = !device->shares_core &&
                              (device->message_cpu_s > 0.0 || device->message_cpu_s_per_byte > 0.0);
        wanted[host] += (device->threads > 0 ? device->threads : 1) + (own_core ? 1 : 0);
        out->binding[host] = problem->devices[host].host_cores > 0 &&
                             wanted[host] > problem->devices[host].host_cores;
    }
}

static shoal_status check_chain(const struct plan_problem *problem, const uint32_t *ends,
                                const uint32_t *devices, uint32_t stage_count,
                                struct shoal_error *error) {
    if (stage_count == 0 || stage_count > problem->device_count) {
        return error_set(error, SHOAL_INVALID, "%" PRIu32 " stages on %" PRIu32 " devices",
                         stage_count, problem->device_count);
    }
    bool used[PLAN_MAX_DEVICES] = {false};
    for (uint32_t s = 0; s < stage_count; s++) {
        if (devices[s] >= problem->device_count || used[devices[s]]) {
            return error_set(error, SHOAL_INVALID,
                             "stage %" PRIu32 ": no such device, or used twice", s + 1);
        }
        used[devices[s]] = true;
        if (ends[s] <= (s > 0 ? ends[s - 1] : 0) || ends[s] > problem->segment_count) {
            return error_set(error, SHOAL_INVALID,
                             "stage %" PRIu32 " would end after segment %" PRIu32
                             "; cuts must rise and lie between 1 and %" PRIu32,
                             s + 1, ends[s], problem->segment_count);
        }
    }
    if (ends[stage_count - 1] != problem->segment_count) {
        return error_set(error, SHOAL_INVALID,
                         "the last stage ends after segment %" PRIu32 " of %" PRIu32,
                         ends[stage_count - 1], problem->segment_count);
    }
    return SHOAL_OK;
}

static void raise_bottleneck(struct plan_placement *out, double seconds, uint32_t stage,
                             enum plan_bound kind) {
    if (seconds > out->bottleneck_s) {
        out->bottleneck_s = seconds;
        out->bottleneck_stage = stage;
        out->bottleneck_kind = kind;
    }
}

static void add_hosts(const struct plan_problem *problem, struct plan_placement *out,
                      const double *host_s) {
    struct plan_hosts hosts;
    plan_hosts_find(problem, &hosts);
    double load[PLAN_MAX_DEVICES] = {0.0};
    uint32_t busiest[PLAN_MAX_DEVICES] = {0};
    for (uint32_t s = 0; s < out->stage_count; s++) {
        const uint32_t host = hosts.host_of[out->stages[s].device];
        if (load[host] == 0.0 || out->stages[s].compute_s > out->stages[busiest[host]].compute_s) {
            busiest[host] = s;
        }
        load[host] += host_s[s];
    }
    for (uint32_t h = 0; h < problem->device_count; h++) {
        if (hosts.binding[h]) {
            raise_bottleneck(out, load[h] / problem->devices[h].host_cores, busiest[h],
                             PLAN_BOUND_HOST);
        }
    }
}

shoal_status plan_evaluate(const struct plan_problem *problem, const uint32_t *ends,
                           const uint32_t *devices, uint32_t stage_count,
                           struct plan_placement *out, struct shoal_error *error) {
    TRY(plan_check(problem, error));
    TRY(check_chain(problem, ends, devices, stage_count, error));
    memset(out, 0, sizeof *out);
    out->feasible = true;
    out->stage_count = stage_count;
    double host_s[PLAN_MAX_DEVICES];
    for (uint32_t s = 0; s < stage_count; s++) {
        struct plan_stage *stage = &out->stages[s];
        const struct plan_device *device = &problem->devices[devices[s]];
        struct plan_stage_cost cost;
        plan_stage_begin(&cost, problem, devices[s], s > 0 ? ends[s - 1] : 0);
        while (cost.next < ends[s]) {
            plan_stage_grow(&cost);
        }
        const struct plan_link *next =
            s + 1 < stage_count
                ? &problem->links[(size_t)devices[s] * problem->device_count + devices[s + 1]]
                : &device->to_sink;
        *stage = (struct plan_stage){
            .first = cost.first + 1,
            .last = ends[s],
            .device = devices[s],
            .compute_s = cost.compute_s,
            .receive_s = s > 0 ? out->stages[s - 1].send_s
                               : plan_link_seconds(&device->from_source, problem->cut_bytes[0]),
            .send_s = plan_link_seconds(next, problem->cut_bytes[ends[s]]),
            .memory_bytes = cost.memory_bytes,
        };
        host_s[s] = cost.host_s;
        out->latency_s += (s == 0 ? stage->receive_s : 0.0);
        out->latency_s += stage->compute_s;
        out->latency_s += stage->send_s;
        raise_bottleneck(out, cost.resource_s, s, PLAN_BOUND_COMPUTE);
        raise_bottleneck(out, stage->send_s, s, PLAN_BOUND_LINK);
        if (!plan_stage_fits(&cost)) {
            out->feasible = false;
            out->shortfall_bytes[devices[s]] = cost.memory_bytes - device->memory_limit;
        }
    }
    raise_bottleneck(out, out->stages[0].receive_s, 0, PLAN_BOUND_SOURCE);
    add_hosts(problem, out, host_s);
    if (!isfinite(out->latency_s)) {
        out->feasible = false; /* a link that does not exist */
    }
    return SHOAL_OK;
}

void plan_best_single(const struct plan_problem *problem, double *seconds, uint32_t *device) {
    *seconds = HUGE_VAL;
    *device = 0;
    for (uint32_t d = 0; d < problem->device_count; d++) {
        struct plan_placement alone;
        if (plan_evaluate(problem, &problem->segment_count, &d, 1, &alone, NULL) == SHOAL_OK &&
            alone.feasible && plan_objective(problem, &alone) < *seconds) {
            *seconds = plan_objective(problem, &alone);
            *device = d;
        }
    }
}

/*
 * Each segment is computed by some device, so with q(l) = min over devices of its time:
 *   latency ≥ Σ q;  bottleneck ≥ max q and ≥ Σ q / (stages allowed).
 * With r_d = min over l of c_d(l)/q(l) (≥ 1), device d needs at least r_d·Σ q over its segments, so
 *   Σ q ≤ bottleneck · Σ 1/r_d: the bound for unlike devices.
 */
double plan_relaxed_bound(const struct plan_problem *problem) {
    double sum = 0.0, largest = 0.0, speeds = 0.0;
    double ratio[PLAN_MAX_DEVICES];
    for (uint32_t d = 0; d < problem->device_count; d++) {
        ratio[d] = HUGE_VAL;
    }
    for (uint32_t l = 0; l < problem->segment_count; l++) {
        double least = HUGE_VAL;
        for (uint32_t d = 0; d < problem->device_count; d++) {
            least = fmin(least, problem->devices[d].compute_s[l]);
        }
        for (uint32_t d = 0; d < problem->device_count && least > 0.0; d++) {
            ratio[d] = fmin(ratio[d], problem->devices[d].compute_s[l] / least);
        }
        sum += least;
        largest = fmax(largest, least);
    }
    if (problem->latency || sum == 0.0) {
        return sum;
    }
    for (uint32_t d = 0; d < problem->device_count; d++) {
        speeds += 1.0 / ratio[d];
    }
    uint32_t stages = problem->max_stages > 0 ? problem->max_stages : problem->device_count;
    stages = stages < problem->device_count ? stages : problem->device_count;
    /* A hair less than computed: the sums above round, a proof must not. */
    return fmax(largest, fmax(sum / stages, sum / speeds)) * (1.0 - 1e-12);
}
