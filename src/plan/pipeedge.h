/*
 * PipeEdge's problem in PipeEdge's own files, solved exactly (arXiv 2110.14895; ALGORITHMS:
 * usc-isi/PipeEdge's files).
 *
 * MODELS.yml:  model → {layers, parameters_in, parameters_out [layers], mem_MB [layers]}
 * TYPES.yml:   type → {mem_MB, bw_Mbps, model_profiles: model → [{dtype, batch_size, time_s
 * [layers]}]} DEVICES.yml: type → [host names]
 *
 * Cost of a stage with layers l … r on a device of type u before one of type v, as PipeEdge has it:
 *   compute = Σ time_s[l..r]; send = 4·parameters_out[r]·batch / (min(bw_u, bw_v)·2^20/8), nothing
 * after the last stage; cost = max(compute, send); fits: mem_MB_u·2^20 > Σ mem_MB[l..r]·2^20 + (l >
 * 1 ? in·buffers_in : 0) + out·buffers_out + in + out with in, out = 4·parameters·batch bytes; MB =
 * 2^20 bytes, Mbps = 2^20 bits a second; the comparison is strict.
 *
 * Hosts of a type without a profile for the model, batch and dtype cannot be used, nor can hosts of
 * a type that TYPES.yml does not name; both are said in `notes`. If no host is left, nothing fits:
 * that is infeasible, not an error.
 */
#ifndef PLAN_PIPEEDGE_H
#define PLAN_PIPEEDGE_H

#include "base/clock.h"
#include "plan/dp.h"

struct plan_pipeedge_options {
    const char *models_path, *types_path, *devices_path;
    const char *model;
    uint32_t batch;
    uint32_t buffers_in, buffers_out; /* PipeEdge's own default is 2 and 2 */
    const char *dtype;                /* NULL = "torch.float32", the only one supported */
};

struct plan_pipeedge; /* a loaded problem */

/*
 * Errors: those of reading files; CORRUPT (file, line and key); NOT_FOUND (the model is not in
 * MODELS.yml; a missing key); UNSUPPORTED (dtype; more than 64 usable types); INVALID (batch 0);
 * NO_MEMORY.
 */
NODISCARD shoal_status plan_pipeedge_load(const struct plan_pipeedge_options *options,
                                          struct plan_pipeedge **out, struct shoal_error *error);

/* The same from documents already read; it takes them, also on error. The paths only name them in
 * errors. */
struct yaml;
NODISCARD shoal_status plan_pipeedge_build(const struct plan_pipeedge_options *options,
                                           struct yaml *models, struct yaml *types,
                                           struct yaml *devices, struct plan_pipeedge **out,
                                           struct shoal_error *error);
void plan_pipeedge_destroy(struct plan_pipeedge *problem);

struct plan_pipeedge_stage {
    const char *host, *type; /* borrowed from the problem */
    uint32_t first, last;    /* layers, 1-based, both included */
    double compute_s, send_s;
    double memory_bytes, memory_limit_bytes;
};

struct plan_pipeedge_schedule {
    bool feasible;
    uint32_t stage_count;
    struct plan_pipeedge_stage stages[PLAN_DP_MAX_STAGES];
    double bottleneck_s, latency_s; /* seconds per microbatch; infinity if infeasible */
    uint32_t bottleneck_stage;      /* 0-based */
    bool bottleneck_is_link;        /* out of that stage */
    double single_device_s;         /* infinity if none fits */
    const char *single_device;      /* its host; NULL if none fits */
    double memory_factor;  /* infeasible: every mem_MB times a little more than this and something
                              fits; infinity: nothing would help */
    double solver_seconds; /* 0 without a clock */
    char reason[512];      /* infeasible: why; otherwise what was rejected */
    char notes[512];       /* what in the files could not be used */
};

/* The exact optimum: least bottleneck, then fewest hosts. Errors: UNSUPPORTED (too many states),
 * NO_MEMORY. */
NODISCARD shoal_status plan_pipeedge_solve(const struct plan_pipeedge *problem,
                                           const struct clock_source *clock,
                                           struct plan_pipeedge_schedule *out,
                                           struct shoal_error *error);

/*
 * The cost of a given schedule: stage s has layers up to ends[s] (1-based) on hosts[s]. As solve's,
 * without its search. Errors: INVALID (no such host, used twice, cuts that are none).
 */
NODISCARD shoal_status plan_pipeedge_evaluate(const struct plan_pipeedge *problem,
                                              const uint32_t *ends, const char *const *hosts,
                                              uint32_t stage_count,
                                              struct plan_pipeedge_schedule *out,
                                              struct shoal_error *error);

#endif
