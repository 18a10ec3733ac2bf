/*
 * What the planner knows and what it answers: pure data. A problem is made from a graph, profiles and a
 * cluster (runtime/), or read from PipeEdge's files (plan/pipeedge.h).
 *
 * Units: seconds per microbatch, bytes. Segments count from 1 in placements; arrays here are 0-based.
 */
#ifndef PLAN_PROBLEM_H
#define PLAN_PROBLEM_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAX_DEVICES 64

/* One direction of one pair: a message of n bytes takes alpha_s + n·beta_s_per_byte. */
struct plan_link {
    double alpha_s, beta_s_per_byte;
};

/*
 * One device. compute_s[l]: segment l's seconds. Memory of a stage with segments [i, j]:
 *   memory_base + Σ weights_bytes[i..j] + max(slot_bytes[i..j])·slots + max(scratch_bytes[i..j])
 *   + (cut_bytes[i]·in_messages + cut_bytes[j+1]·out_messages)  ≤ memory_limit
 * message_cpu_s + n·message_cpu_s_per_byte: CPU time the device's cores spend on one message of n bytes, either
 * direction; it is added to the stage's time only where compute leaves no core free (shares_core).
 */
struct plan_device {
    const char *name;
    const char *host;  /* devices with equal host share its cores; NULL = a host of its own */
    int threads;       /* compute threads of this device */
    int host_cores;    /* 0 = unknown, taken as unlimited */
    const double *compute_s;
    double message_cpu_s, message_cpu_s_per_byte;
    bool shares_core;
    size_t memory_base, memory_limit; /* limit 0 = none */
    struct plan_link from_source, to_sink;
};

struct plan_problem {
    uint32_t segment_count, device_count;
    const struct plan_device *devices;
    const struct plan_link *links;  /* [device_count][device_count], from row to column; diagonal unused */
    const size_t *cut_bytes;        /* [segment_count + 1]: bytes crossing before segment l; [0] the input, [segment_count] the result */
    const size_t *weights_bytes;    /* [segment_count] packed */
    const size_t *slot_bytes;       /* [segment_count] */
    const size_t *scratch_bytes;    /* [segment_count] */
    uint32_t in_messages, out_messages; /* how many of each are held at once */
    bool latency;                   /* objective: latency of one microbatch instead of throughput */
    uint32_t max_stages;            /* 0 = device_count */
    bool use_all;                   /* exactly device_count stages (a user who asks for N devices and `--use-all`) */
};

struct plan_stage {
    uint32_t first, last; /* segments, 1-based, both included */
    uint32_t device;
    double compute_s;     /* incl. message CPU where it shares the core */
    double receive_s, send_s; /* link times into and out of the stage */
    size_t memory_bytes;
};

enum plan_bound { PLAN_BOUND_COMPUTE, PLAN_BOUND_LINK, PLAN_BOUND_HOST };

struct plan_placement {
    bool feasible;
    uint32_t stage_count;
    struct plan_stage stages[PLAN_MAX_DEVICES];
    double bottleneck_s, latency_s;
    uint32_t bottleneck_stage; /* 0-based */
    enum plan_bound bottleneck_kind;
    double lower_bound_s;      /* proven; equals bottleneck_s when exact */
    double single_device_s;    /* best device alone, memory respected; infinity if none fits */
    uint32_t single_device;
    double solver_seconds;
    bool exact;                /* the class of the problem was solved exactly */
    char rejected[512];        /* what was rejected and why, for the user */
    size_t shortfall_bytes[PLAN_MAX_DEVICES]; /* infeasible: least memory each device lacks for its proportional share */
};

/* Cost of given cuts (ends[k] = last segment of stage k, 1-based) on given devices: fills everything but the solver's fields. */
NODISCARD shoal_status plan_evaluate(const struct plan_problem *problem, const uint32_t *ends,
                                     const uint32_t *devices, uint32_t stage_count, struct plan_placement *out,
                                     struct shoal_error *error);

/*
 * The exact optimum over contiguous partitions, device subsets and orders, for up to 8 unlike devices
 * (more when many are equal: the state is a multiset of kinds). Infeasible is not an error: out->feasible
 * is false and shortfall_bytes is set. Errors: INVALID, UNSUPPORTED (too many unlike devices, says how many), NO_MEMORY.
 */
NODISCARD shoal_status plan_solve(const struct plan_problem *problem, struct plan_placement *out,
                                  struct shoal_error *error);

/* `--baseline even`: as equal numbers of segments as possible on all devices in their given order. */
NODISCARD shoal_status plan_even(const struct plan_problem *problem, struct plan_placement *out,
                                 struct shoal_error *error);

/* `--baseline pipedream`: PipeDream's dynamic program (SOSP'19, section 3.1), one whole member a stage, on the mean device. */
NODISCARD shoal_status plan_pipedream(const struct plan_problem *problem, struct plan_placement *out,
                                      struct shoal_error *error);

#endif
