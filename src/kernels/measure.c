/* Timing one kernel as it runs inside a model: its weights come from memory, its inputs are warm.
 */
#include "kernels/registry.h"

#include "base/median.h"
#include "base/memory.h"
#include "base/random.h"
#include "platform/clock.h"

#include <stdlib.h>
#include <string.h>

#define FLUSH_BYTES ((size_t)64 << 20) /* larger than the last-level cache of what users own */

struct bench {
    const struct kernel_desc *desc;
    struct kernel *kernel;
    void *inputs[OP_MAX_INPUTS];
    void *params[OP_MAX_PARAMS];
    void *outputs[OP_MAX_OUTPUTS];
    void *packed, *scratch, *flush;
};

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    (void)shape_bytes(&type->shape, type->dtype, &bytes);
    return bytes;
}

static shoal_status allocate(size_t bytes, void **out, struct shoal_error *error) {
    *out = mem_alloc_aligned(bytes);
    if (*out == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to measure a kernel");
    }
    memset(*out, 0, bytes);
    return SHOAL_OK;
}

static shoal_status fill(const struct tensor_type *type, const char *name, void **out,
                         struct shoal_error *error) {
    TRY(allocate(bytes_of(type), out, error));
    if (type->dtype == DTYPE_F32) {
        random_normal(random_stream(1, name), 0, 0.5F, *out, bytes_of(type) / sizeof(float));
    }
    return SHOAL_OK;
}

static shoal_status prepare(struct bench *bench, const struct kernel_ops *set,
                            struct shoal_error *error) {
    const struct kernel_desc *desc = bench->desc;
    TRY(set->create(desc, &bench->kernel, error));
    struct kernel_sizes sizes;
    set->sizes(bench->kernel, &sizes);
    for (int i = 0; i < desc->input_count; i++) {
        TRY(fill(&desc->inputs[i], "input", &bench->inputs[i], error));
    }
    for (int i = 0; i < desc->param_count; i++) {
        TRY(fill(&desc->params[i], "param", &bench->params[i], error));
    }
    for (int i = 0; i < desc->output_count; i++) {
        TRY(allocate(bytes_of(&desc->outputs[i]), &bench->outputs[i], error));
    }
    TRY(allocate(sizes.packed_bytes, &bench->packed, error));
    TRY(allocate(sizes.scratch_bytes, &bench->scratch, error));
    TRY(allocate(FLUSH_BYTES, &bench->flush, error));
    return set->pack(bench->kernel, (const void *const *)bench->params, bench->packed, error);
}

static void release(struct bench *bench, const struct kernel_ops *set) {
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        mem_free(bench->inputs[i]);
    }
    for (int i = 0; i < OP_MAX_PARAMS; i++) {
        mem_free(bench->params[i]);
    }
    for (int i = 0; i < OP_MAX_OUTPUTS; i++) {
        mem_free(bench->outputs[i]);
    }
    mem_free(bench->packed);
    mem_free(bench->scratch);
    mem_free(bench->flush);
    set->destroy(bench->kernel);
}

/* Weights out of the caches; inputs, which the op before has just written, back in. */
static void settle(const struct bench *bench) {
    volatile unsigned char *flush = bench->flush;
    for (size_t i = 0; i < FLUSH_BYTES; i += 64) {
        flush[i]++;
    }
    for (int i = 0; i < bench->desc->input_count; i++) {
        const volatile unsigned char *input = bench->inputs[i];
        for (size_t at = 0; at < bytes_of(&bench->desc->inputs[i]); at += 64) {
            (void)input[at];
        }
    }
}

static shoal_status time_runs(struct bench *bench, const struct kernel_ops *set, int repeats,
                              double *seconds, struct shoal_error *error) {
    double *times = mem_calloc((size_t)repeats, sizeof *times);
    if (times == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to measure a kernel");
    }
    shoal_status status = SHOAL_OK;
    for (int i = -1; i < repeats && status == SHOAL_OK; i++) { /* the first is not counted */
        settle(bench);
        const uint64_t start = platform_now_ns();
        status = set->run(bench->kernel, bench->packed, (const void *const *)bench->inputs,
                          bench->outputs, bench->scratch);
        if (i >= 0) {
            times[i] = (double)(platform_now_ns() - start) * 1e-9;
        }
    }
    if (status == SHOAL_OK) {
        *seconds = median_sort(times, (size_t)repeats);
    } else {
        (void)error_set(error, status, "%s: a run failed while it was measured", set->name);
    }
    mem_free(times);
    return status;
}

shoal_status kernel_measure(const struct kernel_desc *desc, const struct kernel_ops *set,
                            int repeats, double *seconds, struct shoal_error *error) {
    struct bench bench = {.desc = desc};
    shoal_status status = prepare(&bench, set, error);
    if (status == SHOAL_OK) {
        status = time_runs(&bench, set, repeats > 1 ? repeats : 1, seconds, error);
    }
    release(&bench, set);
    return status;
}

shoal_status kernel_choose(const struct kernel_desc *desc, int repeats,
                           const struct kernel_ops **out, double *seconds,
                           struct shoal_error *error) {
    const struct kernel_ops *best = NULL;
    double best_seconds = 0;
    for (const struct kernel_ops *const *set = kernel_sets_for(desc); *set != NULL; set++) {
        /* The oracle is slow and never the better one: only what nothing else supports. */
        if (!(*set)->supports(desc) || (best != NULL && *set == &kernel_reference_ops)) {
            continue;
        }
        double now = 0;
        TRY(kernel_measure(desc, *set, repeats, &now, error));
        if (best == NULL || now < 0.9 * best_seconds) {
            best = *set;
            best_seconds = now;
        }
    }
    if (best == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED, "no kernel set has this op");
    }
    *out = best;
    *seconds = best_seconds;
    return SHOAL_OK;
}
