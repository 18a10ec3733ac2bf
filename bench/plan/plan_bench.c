/*
 * How long the exact planner takes: prints a table for BENCHMARKS.md. Median of --repeats runs (5).
 * Profiles are synthetic: sub-layers in the proportions of ViT blocks, device speeds drawn from a
 * fixed seed, so unlike in every entry.
 */
#include "base/memory.h"
#include "base/random.h"
#include "plan/dp.h"
#include "plan/problem.h"
#include "platform/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEGMENTS 128

struct bench {
    const char *name;
    uint32_t kinds, each, segments;
    bool limits, pair_links, latency;
    const char *host; /* all devices on one host with 4 cores */
};

static const struct bench benches[] = {
    {"ViT-Large, 8 unlike devices, memory limits, per-pair links", 8, 1, 96, true, true, false,
     NULL},
    {"the same, latency objective", 8, 1, 96, true, true, true, NULL},
    {"the same, all on one host of 4 cores", 8, 1, 96, true, true, false, "box"},
    {"16 unlike devices on one host of 4 cores, ViT-Base (48)", 16, 1, 48, true, true, false,
     "box"},
    {"ViT-Large, 8 equal devices", 1, 8, 96, true, false, false, NULL},
    {"4 kinds × 8 hosts, ViT-Large", 4, 8, 96, true, false, false, NULL},
    {"16 unlike devices, ViT-Base (48)", 16, 1, 48, true, true, false, NULL},
    {"16 unlike devices, ViT-Large (96)", 16, 1, 96, true, true, false, NULL},
    {"32 unlike devices, ViT-Large (96)", 32, 1, 96, true, true, false, NULL},
};

static double compute[PLAN_MAX_DEVICES][MAX_SEGMENTS];
static struct plan_device devices[PLAN_MAX_DEVICES];
static struct plan_link links[PLAN_MAX_DEVICES * PLAN_MAX_DEVICES];
static size_t cut[MAX_SEGMENTS + 1], weights[MAX_SEGMENTS], slot[MAX_SEGMENTS],
    scratch[MAX_SEGMENTS];

static double uniform(uint64_t stream, uint64_t index) {
    return (double)random_u32(stream, index) / 4294967296.0;
}

/* ViT-Large at batch 8: the four sub-layers' share of a block, and what crosses the cut after each.
 */
static struct plan_problem make(const struct bench *bench) {
    static const double shares[4] = {0.40, 0.09, 0.33, 0.30};
    static const size_t crossing[4] = {2, 1, 5, 1}; /* times the hidden state */
    const uint64_t stream = random_stream(1, bench->name);
    const uint32_t count = bench->kinds * bench->each;
    const size_t state = (size_t)8 * 197 * 1024 * 4;
    for (uint32_t l = 0; l < bench->segments; l++) {
        weights[l] = (size_t)((double)(1024 * 1024 * 4) * 12.6 * shares[l % 4]);
        slot[l] = 6 * state;
        scratch[l] = 4 * state;
        cut[l + 1] = crossing[l % 4] * state;
    }
    cut[0] = (size_t)8 * 3 * 224 * 224 * 4;
    cut[bench->segments] = (size_t)8 * 1000 * 4;
    for (uint32_t d = 0; d < count; d++) {
        const uint32_t kind = d / bench->each;
        const double speed = 0.2 + 2.0 * uniform(stream, kind);
        for (uint32_t l = 0; l < bench->segments; l++) {
            compute[d][l] =
                shares[l % 4] * speed * (0.95 + 0.1 * uniform(stream, 1000 * (kind + 1) + l));
        }
        devices[d] = (struct plan_device){
            .name = "device",
            .host = bench->host,
            .host_cores = bench->host != NULL ? 4 : 0,
            .threads = 1,
            .compute_s = compute[d],
            .message_cpu_s = 1e-4,
            .message_cpu_s_per_byte = 2e-9,
            .memory_base = 20000000,
            .memory_limit = bench->limits ? (size_t)(4e8 + 4e8 * uniform(stream, 100 + kind)) : 0,
            .from_source = {1e-3, 1e-8},
            .to_sink = {1e-3, 1e-8},
        };
    }
    for (uint32_t i = 0; i < count * count; i++) {
        links[i] = (struct plan_link){1e-3, 1e-8};
        if (bench->pair_links) {
            links[i].alpha_s *= 0.5 + uniform(stream, 2000 + i);
            links[i].beta_s_per_byte *= 0.5 + 5.0 * uniform(stream, 90000 + i);
        }
    }
    return (struct plan_problem){.segment_count = bench->segments,
                                 .device_count = count,
                                 .devices = devices,
                                 .links = links,
                                 .cut_bytes = cut,
                                 .weights_bytes = weights,
                                 .slot_bytes = slot,
                                 .scratch_bytes = scratch,
                                 .in_messages = 3,
                                 .out_messages = 3,
                                 .latency = bench->latency,
                                 .clock = platform_clock()};
}

/* PipeEdge's cost model goes through the same tables: distinct types, a link's rate the slower
 * end's. */
static double pipeedge_tables(uint32_t kinds, uint32_t each, uint32_t segments, double *bottleneck,
                              uint32_t *stages) {
    const uint64_t stream = random_stream(2, "pipeedge");
    struct plan_tables cost, latency;
    struct plan_dp *dp;
    struct plan_chain chain;
    uint32_t counts[PLAN_DP_MAX_KINDS];
    const uint64_t start = platform_now_ns();
    if (plan_tables_init(&cost, segments, kinds, NULL) != SHOAL_OK ||
        plan_tables_init(&latency, segments, kinds, NULL) != SHOAL_OK) {
        return -1.0;
    }
    for (uint32_t u = 0; u < kinds; u++) {
        counts[u] = each;
        for (uint32_t i = 0; i < segments; i++) {
            double sum = 0.0;
            for (uint32_t j = i; j < segments; j++) {
                sum += (0.2 + uniform(stream, u)) * (0.5 + uniform(stream, 100 + 1000 * u + j));
                *plan_stage_entry(&cost, u, i, j) = sum;
                *plan_stage_entry(&latency, u, i, j) = sum;
            }
        }
        for (uint32_t v = 0; v < kinds; v++) {
            const double rate = fmin(0.1 + uniform(stream, 50 + u), 0.1 + uniform(stream, 50 + v));
            for (uint32_t c = 1; c < segments; c++) {
                const double seconds = 0.3 * (c % 4 == 0 || c % 4 == 2 ? 1.0 : 3.0) / rate;
                *plan_link_entry(&cost, u, v, c) = seconds;
                *plan_link_entry(&latency, u, v, c) = seconds;
            }
        }
    }
    double seconds = -1.0;
    if (plan_dp_create(&cost, counts, 1, kinds * each, &dp, NULL) == SHOAL_OK) {
        if (plan_dp_best(dp, &latency, bottleneck, &chain, NULL) == SHOAL_OK) {
            seconds = (double)(platform_now_ns() - start) * 1e-9;
            *stages = chain.stage_count;
        }
        plan_dp_destroy(dp);
    }
    plan_tables_fini(&cost);
    plan_tables_fini(&latency);
    return seconds;
}

static int compare(const void *a, const void *b) {
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

#define MAX_REPEATS 101

static void print_row(const char *name, double *seconds, int repeats, double bottleneck,
                      double bound, uint32_t stages, bool exact) {
    qsort(seconds, (size_t)repeats, sizeof *seconds, compare);
    printf("| %s | %.1f | %.1f | %.4g | %.4g | %" PRIu32 " | %s |\n", name,
           seconds[repeats / 2] * 1e3, seconds[0] * 1e3, bottleneck, bound, stages,
           exact ? "yes" : "no");
    (void)fflush(stdout);
}

int main(int argc, char **argv) {
    int repeats = argc > 1 ? atoi(argv[1]) : 5;
    repeats = repeats < 1 ? 1 : repeats > MAX_REPEATS ? MAX_REPEATS : repeats;
    printf("| problem | median ms | least ms | objective s | stages | exact "
           "|\n|---|---|---|---|---|---|\n");
    double seconds[MAX_REPEATS];
    for (size_t b = 0; b < sizeof benches / sizeof benches[0]; b++) {
        const struct plan_problem problem = make(&benches[b]);
        static struct plan_placement placement;
        struct shoal_error error;
        for (int i = 0; i < repeats; i++) {
            if (plan_solve(&problem, &placement, &error) != SHOAL_OK) {
                (void)fprintf(stderr, "%s: %s\n", benches[b].name, error.text);
                return 1;
            }
            seconds[i] = placement.solver_seconds;
        }
        print_row(benches[b].name, seconds, repeats,
                  problem.latency ? placement.latency_s : placement.bottleneck_s,
                  placement.lower_bound_s, placement.stage_count, placement.exact);
    }
    static const uint32_t shapes[][3] = {{16, 1, 48}, {4, 8, 96}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        double bottleneck = 0.0;
        uint32_t stages = 0;
        for (int i = 0; i < repeats; i++) {
            seconds[i] =
                pipeedge_tables(shapes[s][0], shapes[s][1], shapes[s][2], &bottleneck, &stages);
        }
        char name[96];
        (void)snprintf(name, sizeof name,
                       "PipeEdge's cost model: %" PRIu32 " types × %" PRIu32 " hosts × %" PRIu32
                       " layers",
                       shapes[s][0], shapes[s][1], shapes[s][2]);
        print_row(name, seconds, repeats, bottleneck, bottleneck, stages, true);
    }
    return 0;
}
