/*
 * What the planner knows and what it answers: pure data. A problem is made from a graph, profiles
 * and a cluster (runtime/), or read from PipeEdge's files (plan/pipeedge.h).
 *
 * Units: seconds per microbatch, bytes. Segments count from 1 in placements; arrays here are
 * 0-based.
 */
#ifndef PLAN_PROBLEM_H
#define PLAN_PROBLEM_H

#include "base/clock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAX_DEVICES 64

/*
 * One direction of one pair: a message of n bytes takes alpha_s + n·beta_s_per_byte. Infinity in
 * either = there is no such link.
 */
struct plan_link {
    double alpha_s, beta_s_per_byte;
};

/*
 * One device. compute_s[l]: segment l's seconds. Memory of a stage with segments [i, j]:
 *   memory_base + Σ weights_bytes[i..j] + max(slot_bytes[i..j])·slots + max(scratch_bytes[i..j])
 *   + (cut_bytes[i]·in_messages + cut_bytes[j+1]·out_messages)  ≤ memory_limit
 * (i and j 0-based; the last term is the message in and the message out.)
 * message_cpu_s + n·message_cpu_s_per_byte: CPU time the device's cores spend on one message of n
 * bytes, either direction. With m = that of the message in plus that of the message out and c = Σ
 * compute_s[i..j], the stage's compute resource takes c + m where compute leaves no core free
 * (shares_core), otherwise max(c, m): a core of its own still has only so much time.
 */
struct plan_device {
    const char *name;
    const char *host; /* devices with equal host share its cores; NULL = a host of its own */
    int threads;      /* compute threads of this device */
    int host_cores;   /* 0 = unknown, taken as unlimited */
    const double *compute_s;
    double message_cpu_s, message_cpu_s_per_byte;
    bool shares_core;
    size_t memory_base, memory_limit; /* limit 0 = none */
    struct plan_link from_source, to_sink;
};

struct plan_problem {
    uint32_t segment_count, device_count;
    const struct plan_device *devices;
    const struct plan_link
        *links;              /* [device_count][device_count], from row to column; diagonal unused */
    const size_t *cut_bytes; /* [segment_count + 1]: bytes crossing before segment l; [0] the input,
                                [segment_count] the result */
    const size_t *weights_bytes;        /* [segment_count] packed */
    const size_t *slot_bytes;           /* [segment_count] */
    const size_t *scratch_bytes;        /* [segment_count] */
    uint32_t in_messages, out_messages; /* how many of each are held at once */
    uint32_t slots;                     /* activation slots of a stage; 0 = 1 */
    bool latency;        /* objective: latency of one microbatch instead of throughput */
    uint32_t max_stages; /* 0 = device_count */
    bool use_all; /* exactly device_count stages (a user who asks for N devices and `--use-all`) */
    const struct clock_source *clock; /* for solver_seconds; NULL = leave it 0 */
};

struct plan_stage {
    uint32_t first, last; /* segments, 1-based, both included */
    uint32_t device;
    double compute_s;         /* incl. message CPU where it shares the core */
    double receive_s, send_s; /* link times into and out of the stage */
    size_t memory_bytes;
};

/*
 * What limits the rate. Every stage's compute, every link used (source and sink links too) and
 * every host is a resource of its own: all overlap, and the bottleneck is the resource that a
 * microbatch keeps busy longest.
 */
enum plan_bound {
    PLAN_BOUND_COMPUTE, /* of bottleneck_stage */
    PLAN_BOUND_LINK,    /* out of bottleneck_stage (the last stage's goes to the sink) */
    PLAN_BOUND_HOST,    /* the cores of bottleneck_stage's host, shared by several devices */
    PLAN_BOUND_SOURCE,  /* the link from the source into stage 0 */
};

/*
 * Host bound: all devices with one `host` share its host_cores, so Σ (threads·c + m) over its
 * stages ≤ host_cores · bottleneck. It can only bind where the host's devices together want more
 * threads than it has cores (one more per device with message CPU of its own core); elsewhere it is
 * not looked at.
 */

struct plan_placement {
    bool feasible;
    uint32_t stage_count;
    struct plan_stage stages[PLAN_MAX_DEVICES];
    double bottleneck_s, latency_s;
    uint32_t bottleneck_stage; /* 0-based */
    enum plan_bound bottleneck_kind;
    double lower_bound_s;   /* proven, of the objective (bottleneck or latency) over all placements
                               allowed; equals it when exact */
    double single_device_s; /* objective of the best device alone, memory respected; infinity if
                               none fits */
    uint32_t single_device;
    double solver_seconds;
    bool exact; /* this placement is proven optimal (to 1e-9 relative where a host bound binds) */
    char rejected[512]; /* what was rejected and why, for the user */
    /*
     * Infeasible, from plan_solve: with f the least factor such that some placement fits once every
     * device's limit is multiplied by f, device d lacks (f - 1)·memory_limit bytes. All zero if
     * memory is not the cause (`rejected` says what is). From plan_evaluate and the baselines: what
     * each stage's device lacks for its stage.
     */
    size_t shortfall_bytes[PLAN_MAX_DEVICES];
};

/*
 * Cost of given cuts (ends[k] = last segment of stage k, 1-based) on given devices: fills
 * everything but the solver's fields (lower_bound_s, single_device_*, solver_seconds, exact,
 * rejected: zero). A stage that does not fit makes it infeasible, not an error. latency_s = source
 * link + Σ compute + links + sink link. Errors: INVALID (the problem, or cuts or devices that are
 * no placement).
 */
NODISCARD shoal_status plan_evaluate(const struct plan_problem *problem, const uint32_t *ends,
                                     const uint32_t *devices, uint32_t stage_count,
                                     struct plan_placement *out, struct shoal_error *error);

/*
 * The optimum over contiguous partitions, device subsets and orders. Devices that no measurement
 * tells apart form one kind, and the state is a multiset of kinds.
 * Exact: up to 16 unlike devices, or up to 64 of few kinds (kinds · Π(devices of the kind + 1) ≤
 * 2^21). Beyond: a placement found by search and a proven lower bound; `exact` is false unless they
 * meet. If nothing was found, feasible is false, and exact says whether that is proven. Throughput:
 * least bottleneck; then fewer devices; then lower latency (where no host bound binds). Latency:
 * least latency, then fewer devices. Host bounds: exact (to 1e-9) with one host whose cores bind
 * and up to about 12 unlike devices; beyond, or with several such hosts, the best placement found
 * and a proven lower bound. Infeasible is not an error: out->feasible is false and shortfall_bytes
 * is set. Errors: INVALID (names what), UNSUPPORTED (too many segments, says how many), NO_MEMORY.
 */
NODISCARD shoal_status plan_solve(const struct plan_problem *problem, struct plan_placement *out,
                                  struct shoal_error *error);

/*
 * `--baseline even`: as equal numbers of segments as possible on all devices in their given order
 * (the first segment_count of them if there are more; the earlier stages take the odd ones). The
 * solver's fields are those of plan_solve, so that the gap to the optimum is known; where that is
 * UNSUPPORTED, lower_bound_s comes from relaxations. Errors: INVALID, NO_MEMORY.
 */
NODISCARD shoal_status plan_even(const struct plan_problem *problem, struct plan_placement *out,
                                 struct shoal_error *error);

/*
 * `--baseline pipedream`: PipeDream's dynamic program (SOSP'19, section 3.1) with one whole member
 * a stage (m' = 1), on the mean device and the mean link, for the best number of stages up to
 * max_stages; its cuts are then placed on the devices in their given order. Memory is not part of
 * it: the result may be infeasible. Solver's fields and errors as plan_even.
 */
NODISCARD shoal_status plan_pipedream(const struct plan_problem *problem,
                                      struct plan_placement *out, struct shoal_error *error);

#endif
