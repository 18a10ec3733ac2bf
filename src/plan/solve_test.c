/* The planner against brute force on random small instances, its baselines, its errors and running
 * out of memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "plan/cost.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_N 12
#define MAX_D 8

/* A problem with its storage. */
struct instance {
    uint64_t seed, stream, draws;
    struct plan_problem problem;
    struct plan_device devices[MAX_D];
    struct plan_link links[MAX_D * MAX_D];
    double compute[MAX_D][MAX_N];
    size_t cut[MAX_N + 1], weights[MAX_N], slot[MAX_N], scratch[MAX_N];
};

static const char *const names[MAX_D] = {"ann", "bob", "cid", "dot", "eve", "fay", "gil", "hal"};

static uint32_t draw(struct instance *x, uint32_t below) {
    return random_u32(x->stream, x->draws++) % below;
}

static double draw_s(struct instance *x) {
    return (double)draw(x, 10000) / 1000.0;
}

static struct plan_link draw_link(struct instance *x) {
    if (draw(x, 30) == 0) {
        return (struct plan_link){.alpha_s = HUGE_VAL, .beta_s_per_byte = 0.0};
    }
    return (struct plan_link){.alpha_s = draw_s(x) / 20.0, .beta_s_per_byte = draw_s(x) / 20000.0};
}

enum hosts { NO_HOSTS, ONE_HOST, SOME_HOSTS };

static void draw_instance(struct instance *x, uint64_t seed, uint32_t max_n, uint32_t max_d,
                          enum hosts hosts) {
    memset(x, 0, sizeof *x);
    x->seed = seed;
    x->stream = random_stream(seed, "solve_test");
    struct plan_problem *p = &x->problem;
    p->segment_count = 1 + draw(x, max_n);
    p->device_count = 1 + draw(x, max_d);
    for (uint32_t l = 0; l < p->segment_count; l++) {
        x->weights[l] = draw(x, 1000);
        x->slot[l] = draw(x, 300);
        x->scratch[l] = draw(x, 300);
    }
    for (uint32_t l = 0; l <= p->segment_count; l++) {
        x->cut[l] = draw(x, 1000);
    }
    const bool limits = draw(x, 2) == 0;
    uint32_t class[MAX_D];
    for (uint32_t d = 0; d < p->device_count; d++) {
        struct plan_device *device = &x->devices[d];
        class[d] = d;
        if (d > 0 && draw(x, 2) == 0) { /* alike, but for what follows */
            class[d] = class[draw(x, d)];
            *device = x->devices[class[d]];
            if (limits && draw(x, 3) == 0) {
                device->memory_limit = 1 + draw(x, 6000);
            }
        } else {
            for (uint32_t l = 0; l < p->segment_count; l++) {
                x->compute[d][l] = draw_s(x);
            }
            *device = (struct plan_device){.threads = 1 + (int)draw(x, 2),
                                           .compute_s = x->compute[d],
                                           .shares_core = draw(x, 2) == 0,
                                           .memory_base = draw(x, 100),
                                           .memory_limit = limits ? 1 + draw(x, 6000) : 0,
                                           .from_source = draw_link(x),
                                           .to_sink = draw_link(x)};
            if (draw(x, 2) == 0) {
                device->message_cpu_s = draw_s(x) / 50.0;
                device->message_cpu_s_per_byte = draw_s(x) / 50000.0;
            }
        }
        device->name = names[d];
        device->host = hosts == ONE_HOST || (hosts == SOME_HOSTS && draw(x, 2) == 0) ? "box"
                       : hosts == SOME_HOSTS && draw(x, 2) == 0                      ? "tin"
                                                                                     : NULL;
        device->host_cores = device->host == NULL ? 0 : device->host[0] == 'b' ? 2 : 1;
    }
    /* Links by class, so that there are kinds with links of their own; sometimes one that spoils a
     * kind. */
    struct plan_link by_class[MAX_D * MAX_D];
    for (uint32_t i = 0; i < MAX_D * MAX_D; i++) {
        by_class[i] = draw_link(x);
    }
    const bool uniform = draw(x, 3) == 0;
    for (uint32_t i = 0; i < p->device_count * p->device_count; i++) {
        const uint32_t from = class[i / p->device_count], to = class[i % p->device_count];
        x->links[i] = by_class[uniform ? 0 : from * MAX_D + to];
    }
    if (draw(x, 2) == 0) {
        x->links[draw(x, p->device_count * p->device_count)] = draw_link(x);
    }
    p->devices = x->devices;
    p->links = x->links;
    p->cut_bytes = x->cut;
    p->weights_bytes = x->weights;
    p->slot_bytes = x->slot;
    p->scratch_bytes = x->scratch;
    p->in_messages = draw(x, 4);
    p->out_messages = draw(x, 4);
    p->slots = draw(x, 3);
    p->latency = hosts == NO_HOSTS && draw(x, 2) == 0;
    p->use_all = draw(x, 6) == 0;
    p->max_stages = p->use_all || draw(x, 2) == 0 ? 0 : 1 + draw(x, p->device_count);
}

/* The header's formulas once more, as plainly as possible. */
struct brute {
    struct instance *x;
    uint32_t chain[MAX_D], ends[MAX_D];
    double best_objective, best_latency, memory_factor;
    uint32_t best_stages;
    bool any;
};

static double message(const struct plan_link *link, size_t bytes) {
    return isinf(link->alpha_s) ? HUGE_VAL : link->alpha_s + (double)bytes * link->beta_s_per_byte;
}

static void judge(struct brute *b, uint32_t stages) {
    struct instance *x = b->x;
    const struct plan_problem *p = &x->problem;
    double bottleneck = 0.0, latency = 0.0, factor = 0.0, load_box = 0.0, load_tin = 0.0;
    for (uint32_t s = 0; s < stages; s++) {
        const uint32_t first = s > 0 ? b->ends[s - 1] : 0, end = b->ends[s];
        const struct plan_device *d = &x->devices[b->chain[s]];
        double c = 0.0;
        size_t weights = 0, slot = 0, scratch = 0;
        for (uint32_t l = first; l < end; l++) {
            c += d->compute_s[l];
            weights += x->weights[l];
            slot = x->slot[l] > slot ? x->slot[l] : slot;
            scratch = x->scratch[l] > scratch ? x->scratch[l] : scratch;
        }
        const size_t memory = d->memory_base + weights + slot * (p->slots > 0 ? p->slots : 1) +
                              scratch + x->cut[first] * p->in_messages +
                              x->cut[end] * p->out_messages;
        if (d->memory_limit > 0) {
            factor = fmax(factor, (double)memory / (double)d->memory_limit);
        }
        const double m = 2.0 * d->message_cpu_s +
                         (double)(x->cut[first] + x->cut[end]) * d->message_cpu_s_per_byte;
        const double compute = d->shares_core ? c + m : c;
        const double in =
            s > 0
                ? message(&x->links[b->chain[s - 1] * p->device_count + b->chain[s]], x->cut[first])
                : message(&d->from_source, x->cut[0]);
        const double out = s + 1 == stages ? message(&d->to_sink, x->cut[end]) : 0.0;
        bottleneck = fmax(fmax(bottleneck, fmax(compute, m)), fmax(in, out));
        latency += in + compute + out;
        if (d->host != NULL) {
            *(d->host[0] == 'b' ? &load_box : &load_tin) += d->threads * c + m;
        }
    }
    if (!isfinite(latency)) {
        return;
    }
    b->memory_factor = fmin(b->memory_factor, factor);
    if (factor > 1.0) {
        return;
    }
    bottleneck = fmax(bottleneck, fmax(load_box / 2.0, load_tin));
    const double objective = p->latency ? latency : bottleneck, slack = 1e-9 * (1.0 + objective);
    if (!b->any || objective < b->best_objective - slack ||
        (objective < b->best_objective + slack &&
         (stages < b->best_stages || (stages == b->best_stages && latency < b->best_latency)))) {
        b->any = true;
        b->best_objective = objective;
        b->best_stages = stages;
        b->best_latency = latency;
    }
}

static void enumerate(struct brute *b, uint32_t stages, uint32_t from, uint32_t used) {
    const struct plan_problem *p = &b->x->problem;
    if (from == p->segment_count) {
        const bool allowed = (!p->use_all || stages == p->device_count) &&
                             (p->max_stages == 0 || stages <= p->max_stages);
        if (allowed) {
            judge(b, stages);
        }
        return;
    }
    for (uint32_t d = 0; d < p->device_count; d++) {
        if ((used >> d & 1) == 0) {
            for (uint32_t end = from + 1; end <= p->segment_count; end++) {
                b->chain[stages] = d;
                b->ends[stages] = end;
                enumerate(b, stages + 1, end, used | 1U << d);
            }
        }
    }
}

#define CHECK(x, condition)                                                        \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fail_msg("seed %" PRIu64 ": %s does not hold", (x)->seed, #condition); \
        }                                                                          \
    } while (0)

static bool close_to(double a, double b) {
    return fabs(a - b) <= 4e-9 * (1.0 + fabs(b));
}

static void check_shortfall(const struct instance *x, const struct brute *b,
                            const struct plan_placement *got) {
    for (uint32_t d = 0; d < x->problem.device_count; d++) {
        const double limit = (double)x->devices[d].memory_limit;
        const double want = isfinite(b->memory_factor) ? (b->memory_factor - 1.0) * limit : 0.0;
        CHECK(x, fabs((double)got->shortfall_bytes[d] - want) <= 1.0 + 1e-9 * want);
    }
    if (isfinite(b->memory_factor)) { /* and with so much more it does fit */
        struct instance larger = *x;
        for (uint32_t d = 0; d < x->problem.device_count; d++) {
            larger.devices[d].memory_limit += got->shortfall_bytes[d];
        }
        larger.problem.devices = larger.devices;
        struct plan_placement placement;
        CHECK(x, plan_solve(&larger.problem, &placement, NULL) == SHOAL_OK && placement.feasible);
    }
}

static void check_evaluation(const struct instance *x, const struct plan_placement *got) {
    uint32_t ends[MAX_D], devices[MAX_D];
    for (uint32_t s = 0; s < got->stage_count; s++) {
        ends[s] = got->stages[s].last;
        devices[s] = got->stages[s].device;
        CHECK(x, got->stages[s].first == (s > 0 ? ends[s - 1] : 0) + 1);
    }
    struct plan_placement again;
    CHECK(x, plan_evaluate(&x->problem, ends, devices, got->stage_count, &again, NULL) == SHOAL_OK);
    CHECK(x, again.feasible && again.bottleneck_s == got->bottleneck_s &&
                 again.latency_s == got->latency_s);
}

static void check_instance(struct instance *x, uint32_t *feasible, uint32_t *inexact) {
    struct brute b = {.x = x, .memory_factor = HUGE_VAL};
    enumerate(&b, 0, 0, 0);
    struct plan_placement got;
    struct shoal_error error = {.text = ""};
    if (plan_solve(&x->problem, &got, &error) != SHOAL_OK) {
        fail_msg("seed %" PRIu64 ": %s", x->seed, error.text);
    }
    CHECK(x, got.feasible == b.any);
    if (!b.any) {
        check_shortfall(x, &b, &got);
        return;
    }
    (*feasible)++;
    check_evaluation(x, &got);
    const double objective = plan_objective(&x->problem, &got);
    CHECK(x, got.lower_bound_s <= b.best_objective * (1.0 + 1e-9));
    CHECK(x, plan_relaxed_bound(&x->problem) <= b.best_objective * (1.0 + 1e-9));
    CHECK(x, objective >= b.best_objective * (1.0 - 1e-9));
    if (!got.exact) {
        (*inexact)++;
        return;
    }
    CHECK(x, close_to(objective, b.best_objective));
    CHECK(x, close_to(got.lower_bound_s, b.best_objective));
    CHECK(x, got.stage_count >= b.best_stages);
    struct plan_hosts hosts;
    plan_hosts_find(&x->problem, &hosts);
    bool binding = false;
    for (uint32_t d = 0; d < x->problem.device_count; d++) {
        binding = binding || hosts.binding[d];
    }
    CHECK(x,
          binding || (got.stage_count == b.best_stages && close_to(got.latency_s, b.best_latency)));
}

static void run_instances(uint64_t count, uint32_t max_n, uint32_t max_d, enum hosts hosts,
                          uint32_t *inexact) {
    const char *text = getenv("SHOAL_TEST_SEED");
    const uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    uint32_t feasible = 0;
    *inexact = 0;
    const char *rounds = getenv("SHOAL_TEST_ROUNDS"); /* from that seed on; 1 repeats a failure */
    count = text == NULL ? count : rounds != NULL ? strtoull(rounds, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct instance x;
        draw_instance(&x, seed, max_n, max_d, hosts);
        check_instance(&x, &feasible, inexact);
    }
    if (text == NULL) { /* the generator makes both sorts */
        assert_true(feasible > count / 4 && feasible < count);
    }
}

static void test_optimum_equals_brute_force(void **unused) {
    (void)unused;
    uint32_t inexact;
    run_instances(6000, 6, 4, NO_HOSTS, &inexact);
    assert_int_equal(inexact, 0);
}

static void test_optimum_equals_brute_force_on_larger_instances(void **unused) {
    (void)unused;
    uint32_t inexact;
    run_instances(150, 9, 5, NO_HOSTS, &inexact);
    assert_int_equal(inexact, 0);
}

static void test_one_shared_host_is_exact(void **unused) {
    (void)unused;
    uint32_t inexact;
    run_instances(3000, 6, 4, ONE_HOST, &inexact);
    assert_int_equal(inexact, 0);
}

static void test_several_shared_hosts_keep_their_bound(void **unused) {
    (void)unused;
    uint32_t inexact;
    run_instances(3000, 6, 4, SOME_HOSTS, &inexact);
    print_message("several binding hosts: %u of 3000 not proven optimal\n", inexact);
    assert_true(inexact < 300);
}

/* n segments of 1 s on d devices with perfect links and nothing else: what tests change. */
static void plain(struct instance *x, uint32_t n, uint32_t d) {
    memset(x, 0, sizeof *x);
    for (uint32_t i = 0; i < d; i++) {
        for (uint32_t l = 0; l < n; l++) {
            x->compute[i][l] = 1.0;
        }
        x->devices[i] =
            (struct plan_device){.name = names[i], .threads = 1, .compute_s = x->compute[i]};
    }
    x->problem = (struct plan_problem){.segment_count = n,
                                       .device_count = d,
                                       .devices = x->devices,
                                       .links = x->links,
                                       .cut_bytes = x->cut,
                                       .weights_bytes = x->weights,
                                       .slot_bytes = x->slot,
                                       .scratch_bytes = x->scratch};
}

static void test_ties_take_fewer_devices(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 4);
    x.compute[0][0] = x.compute[1][0] = x.compute[2][0] = x.compute[3][0] = 3.0;
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_true(got.feasible && got.exact);
    assert_int_equal(got.stage_count, 2);
    assert_true(got.bottleneck_s == 3.0 && got.lower_bound_s == 3.0 && got.single_device_s == 6.0);
    assert_int_equal(got.stages[0].last, 1);
    assert_non_null(strstr(got.rejected, "ann alone: 6 s, 2 times as long; not used: cid, dot"));
}

static void test_one_device_alone_may_be_better(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 2);
    x.links[1].alpha_s = x.links[2].alpha_s = 100.0;
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_int_equal(got.stage_count, 1);
    assert_true(got.single_device_s == got.bottleneck_s);
    assert_non_null(strstr(got.rejected, "no pipeline is faster than ann alone"));
}

static void test_use_all_uses_all(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 3);
    x.problem.use_all = true;
    x.compute[2][0] = x.compute[2][1] = x.compute[2][2] = x.compute[2][3] = 50.0;
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_true(got.feasible);
    assert_int_equal(got.stage_count, 3);
    x.problem.segment_count = 2;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_false(got.feasible);
    assert_non_null(strstr(got.rejected, "3 devices cannot all be used"));
}

static void test_local_devices_share_their_cores(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 8, 4);
    for (uint32_t d = 0; d < 4; d++) {
        x.devices[d].host = "box";
        x.devices[d].host_cores = 2;
    }
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_int_equal(got.stage_count, 2); /* four could do no better on two cores */
    assert_true(got.exact && got.bottleneck_s == 4.0);
    const uint32_t ends[] = {2, 4, 6, 8}, devices[] = {0, 1, 2, 3};
    assert_int_equal(plan_evaluate(&x.problem, ends, devices, 4, &got, NULL), SHOAL_OK);
    assert_true(got.bottleneck_s == 4.0);
    assert_int_equal(got.bottleneck_kind, PLAN_BOUND_HOST);
}

static void test_a_missing_link_is_not_a_memory_shortfall(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 2);
    x.devices[0].from_source.alpha_s = x.devices[1].from_source.alpha_s = HUGE_VAL;
    x.devices[0].memory_limit = 5;
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_false(got.feasible);
    assert_int_equal(got.shortfall_bytes[0], 0);
    assert_non_null(strstr(got.rejected, "links"));
}

static void test_even_cuts(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 8, 3);
    struct plan_placement got;
    assert_int_equal(plan_even(&x.problem, &got, NULL), SHOAL_OK);
    assert_int_equal(got.stage_count, 3);
    assert_int_equal(got.stages[0].last, 3);
    assert_int_equal(got.stages[1].last, 6);
    assert_true(got.bottleneck_s == 3.0 && got.lower_bound_s == 3.0 && got.exact);
    plain(&x, 2, 3);
    assert_int_equal(plan_even(&x.problem, &got, NULL), SHOAL_OK);
    assert_int_equal(got.stage_count, 2);
    plain(&x, 8, 2); /* unlike devices: the gap is known */
    for (uint32_t l = 0; l < 8; l++) {
        x.compute[1][l] = 3.0;
    }
    assert_int_equal(plan_even(&x.problem, &got, NULL), SHOAL_OK);
    assert_true(got.bottleneck_s == 12.0 && got.lower_bound_s == 6.0 && !got.exact);
    assert_non_null(strstr(got.rejected, "2 stages, 6 s"));
}

static void test_baseline_that_does_not_fit(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 2);
    x.weights[3] = 100;
    x.devices[1].memory_limit = 60;
    struct plan_placement got;
    assert_int_equal(plan_even(&x.problem, &got, NULL), SHOAL_OK);
    assert_false(got.feasible);
    assert_int_equal(got.shortfall_bytes[1], 40);
    assert_int_equal(got.shortfall_bytes[0], 0);
    assert_int_equal(plan_pipedream(&x.problem, &got, NULL), SHOAL_OK);
    assert_false(got.feasible);
}

/* On equal devices and links without memory limits, PipeDream's straight partition is the optimum
 * of the inner costs. */
static void test_pipedream_is_right_where_its_assumptions_hold(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct instance x;
        draw_instance(&x, seed, 8, 4, NO_HOSTS);
        struct plan_problem *p = &x.problem;
        p->latency = p->use_all = false;
        const struct plan_link link = {.alpha_s = 0.1, .beta_s_per_byte = 1e-3};
        for (uint32_t i = 0; i < p->device_count * p->device_count; i++) {
            x.links[i] = link;
        }
        for (uint32_t d = 0; d < p->device_count; d++) {
            x.devices[d] = (struct plan_device){.name = names[d], .compute_s = x.compute[0]};
        }
        struct plan_placement got;
        CHECK(&x, plan_pipedream(p, &got, NULL) == SHOAL_OK);
        CHECK(&x, got.feasible && close_to(got.bottleneck_s, got.lower_bound_s));
    }
}

static void expect_invalid(const struct plan_problem *problem, const char *part) {
    struct shoal_error error = {.text = ""};
    struct plan_placement out;
    assert_int_equal(plan_solve(problem, &out, &error), SHOAL_INVALID);
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
    assert_int_equal(plan_even(problem, &out, NULL), SHOAL_INVALID);
    assert_int_equal(plan_pipedream(problem, &out, NULL), SHOAL_INVALID);
}

static void test_invalid_problems(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 3, 2);
    const struct plan_problem good = x.problem;
    struct plan_problem p = good;
    p.segment_count = 0;
    expect_invalid(&p, "no segments");
    p = good;
    p.device_count = PLAN_MAX_DEVICES + 1;
    expect_invalid(&p, "65 devices");
    p = good;
    p.cut_bytes = NULL;
    expect_invalid(&p, "without");
    p = good;
    p.use_all = true;
    p.max_stages = 1;
    expect_invalid(&p, "all 2 devices");
    x.compute[1][2] = -1.0;
    expect_invalid(&good, "device bob: time of segment 3 is -1 s");
    x.compute[1][2] = (double)NAN;
    expect_invalid(&good, "device bob: time of segment 3");
    x.compute[1][2] = 1.0;
    x.links[1].beta_s_per_byte = (double)NAN;
    expect_invalid(&good, "link from ann to bob");
    x.links[1].beta_s_per_byte = 0.0;
    x.devices[0].to_sink.alpha_s = -1.0;
    expect_invalid(&good, "ann: its link from the source or to the sink");
    x.devices[0].to_sink.alpha_s = 0.0;
    x.devices[1].message_cpu_s = HUGE_VAL;
    expect_invalid(&good, "CPU time of messages");
    x.devices[1].message_cpu_s = 0.0;
    x.devices[1].threads = -1;
    expect_invalid(&good, "-1 threads");
    x.devices[1].threads = 1;
    x.devices[0].host = x.devices[1].host = "box";
    x.devices[1].host_cores = 3;
    expect_invalid(&good, "share host box");
    x.devices[1].host_cores = 0;
    x.devices[1].name = NULL;
    expect_invalid(&good, "no name");
}

static void test_evaluate_refuses_what_is_no_placement(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 4, 3);
    const uint32_t good_ends[] = {2, 4}, good_devices[] = {2, 0};
    struct plan_placement out;
    assert_int_equal(plan_evaluate(&x.problem, good_ends, good_devices, 2, &out, NULL), SHOAL_OK);
    assert_true(out.bottleneck_s == 2.0 && out.latency_s == 4.0);
    assert_int_equal(plan_evaluate(&x.problem, good_ends, good_devices, 0, &out, NULL),
                     SHOAL_INVALID);
    assert_int_equal(plan_evaluate(&x.problem, good_ends, good_devices, 1, &out, NULL),
                     SHOAL_INVALID);
    assert_int_equal(plan_evaluate(&x.problem, good_ends, good_devices, 4, &out, NULL),
                     SHOAL_INVALID);
    const uint32_t twice[] = {1, 1}, missing[] = {0, 3};
    assert_int_equal(plan_evaluate(&x.problem, good_ends, twice, 2, &out, NULL), SHOAL_INVALID);
    assert_int_equal(plan_evaluate(&x.problem, good_ends, missing, 2, &out, NULL), SHOAL_INVALID);
    const uint32_t empty[] = {4, 4}, beyond[] = {2, 5};
    assert_int_equal(plan_evaluate(&x.problem, empty, good_devices, 2, &out, NULL), SHOAL_INVALID);
    assert_int_equal(plan_evaluate(&x.problem, beyond, good_devices, 2, &out, NULL), SHOAL_INVALID);
}

static void test_sizes_that_overflow_do_not_fit(void **unused) {
    (void)unused;
    struct instance x;
    plain(&x, 3, 1);
    x.weights[0] = x.weights[1] = SIZE_MAX / 2 + 1;
    x.devices[0].memory_limit = 1000;
    struct plan_placement got;
    assert_int_equal(plan_solve(&x.problem, &got, NULL), SHOAL_OK);
    assert_false(got.feasible);
    assert_true(got.shortfall_bytes[0] > SIZE_MAX / 2);
}

static void test_many_unlike_devices_get_a_placement_and_a_bound(void **unused) {
    (void)unused;
    enum { D = 30, N = 40 };
    static double compute[D][N];
    static struct plan_device devices[D];
    static struct plan_link links[D * D];
    static size_t zero[N + 1];
    struct plan_problem p = {.segment_count = N,
                             .device_count = D,
                             .devices = devices,
                             .links = links,
                             .cut_bytes = zero,
                             .weights_bytes = zero,
                             .slot_bytes = zero,
                             .scratch_bytes = zero};
    for (uint32_t d = 0; d < D; d++) {
        for (uint32_t l = 0; l < N; l++) {
            compute[d][l] = 1.0 + 0.1 * d;
        }
        devices[d] = (struct plan_device){.name = "x", .compute_s = compute[d]};
    }
    struct plan_placement got;
    assert_int_equal(plan_solve(&p, &got, NULL), SHOAL_OK);
    assert_true(got.feasible && got.lower_bound_s > 0.0 && got.bottleneck_s >= got.lower_bound_s);
    assert_true(got.bottleneck_s <= 1.5 * got.lower_bound_s);
    p.use_all = true;
    assert_int_equal(plan_solve(&p, &got, NULL), SHOAL_OK);
    assert_true(got.feasible && got.stage_count == D);
    p.use_all = false;
    p.latency = true; /* without costs of links, the fastest alone */
    assert_int_equal(plan_solve(&p, &got, NULL), SHOAL_OK);
    assert_true(got.feasible && got.exact && got.latency_s == 40.0);
    p.latency = false;
    for (uint32_t d = 0; d < D; d++) {
        devices[d].memory_base = 2;
        devices[d].memory_limit = 1;
    }
    assert_int_equal(plan_solve(&p, &got, NULL), SHOAL_OK);
    assert_true(!got.feasible && got.exact); /* proven */
    assert_non_null(strstr(got.rejected, "no placement fits"));
}

static void test_too_many_segments(void **unused) {
    (void)unused;
    enum { N = 1025 };
    static double compute[N];
    static size_t zero[N + 1];
    for (uint32_t l = 0; l < N; l++) {
        compute[l] = 1.0;
    }
    const struct plan_device device = {.name = "x", .compute_s = compute};
    const struct plan_problem p = {.segment_count = N,
                                   .device_count = 1,
                                   .devices = &device,
                                   .cut_bytes = zero,
                                   .weights_bytes = zero,
                                   .slot_bytes = zero,
                                   .scratch_bytes = zero};
    struct plan_placement got;
    struct shoal_error error;
    assert_int_equal(plan_solve(&p, &got, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "1025 segments"));
    /* The baselines go on, with a bound from relaxations. */
    assert_int_equal(plan_even(&p, &got, NULL), SHOAL_OK);
    assert_true(got.lower_bound_s > 1024.9 && got.lower_bound_s <= got.bottleneck_s);
    assert_int_equal(plan_pipedream(&p, &got, NULL), SHOAL_OK);
}

/* What is used beyond the exact program, made to work on instances that brute force can judge. */
static void test_approximation_keeps_its_promises(void **unused) {
    (void)unused;
    uint32_t feasible = 0, missed = 0, optimal = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct instance x;
        draw_instance(&x, seed, 6, 4, NO_HOSTS);
        struct brute b = {.x = &x, .memory_factor = HUGE_VAL};
        enumerate(&b, 0, 0, 0);
        struct plan_placement got;
        CHECK(&x, plan_solve_within(&x.problem, 0.0, 6.0, &got, NULL) == SHOAL_OK);
        CHECK(&x, b.any || !got.feasible);
        if (!b.any) {
            continue;
        }
        feasible++;
        CHECK(&x, got.lower_bound_s <= b.best_objective * (1.0 + 1e-9));
        CHECK(&x, got.feasible || !got.exact); /* infeasible is never said to be proven wrongly */
        if (!got.feasible) {
            missed++;
            continue;
        }
        check_evaluation(&x, &got);
        const double objective = plan_objective(&x.problem, &got);
        CHECK(&x, objective >= b.best_objective * (1.0 - 1e-9));
        CHECK(&x, !got.exact || close_to(objective, b.best_objective));
        optimal += close_to(objective, b.best_objective) ? 1 : 0;
    }
    print_message("approximation: %u feasible, %u not found, %u optimal\n", feasible, missed,
                  optimal);
    assert_true(missed < feasible / 20 && optimal > feasible * 8 / 10);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct instance x;
        draw_instance(&x, seed, 6, 4, seed % 2 == 0 ? ONE_HOST : NO_HOSTS);
        struct plan_placement untouched, got;
        memset(&untouched, 0x5a, sizeof untouched);
        uint64_t n = 1;
        for (;; n++) {
            memcpy(&got, &untouched, sizeof got);
            mem_fail_after(n);
            const shoal_status status =
                plan_solve_within(&x.problem, seed <= 8 ? 1e9 : 0.0, 100.0, &got, NULL);
            mem_fail_after(0);
            if (status == SHOAL_OK) {
                break;
            }
            CHECK(&x, status == SHOAL_NO_MEMORY);
            assert_memory_equal(&got, &untouched, sizeof got);
        }
        assert_true(n > 5);
    }
    struct instance x;
    plain(&x, 6, 3);
    uint64_t n = 1;
    for (;; n++) {
        struct plan_placement got;
        mem_fail_after(n);
        const shoal_status status = plan_pipedream(&x.problem, &got, NULL);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    assert_true(n > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimum_equals_brute_force),
        cmocka_unit_test(test_optimum_equals_brute_force_on_larger_instances),
        cmocka_unit_test(test_one_shared_host_is_exact),
        cmocka_unit_test(test_several_shared_hosts_keep_their_bound),
        cmocka_unit_test(test_ties_take_fewer_devices),
        cmocka_unit_test(test_one_device_alone_may_be_better),
        cmocka_unit_test(test_use_all_uses_all),
        cmocka_unit_test(test_local_devices_share_their_cores),
        cmocka_unit_test(test_a_missing_link_is_not_a_memory_shortfall),
        cmocka_unit_test(test_even_cuts),
        cmocka_unit_test(test_baseline_that_does_not_fit),
        cmocka_unit_test(test_pipedream_is_right_where_its_assumptions_hold),
        cmocka_unit_test(test_invalid_problems),
        cmocka_unit_test(test_evaluate_refuses_what_is_no_placement),
        cmocka_unit_test(test_sizes_that_overflow_do_not_fit),
        cmocka_unit_test(test_many_unlike_devices_get_a_placement_and_a_bound),
        cmocka_unit_test(test_too_many_segments),
        cmocka_unit_test(test_approximation_keeps_its_promises),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
