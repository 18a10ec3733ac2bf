/*
 * What a device measures about itself: the seconds of every segment of a model at the real
 * microbatch size and thread count, the memory that each needs, and which kernel set is best for
 * each op.
 *
 * Segments with equal ops on equal shapes cost the same, so each distinct one is measured once,
 * with random weights of its own size: a model that does not fit the device can still be profiled
 * on it.
 */
#ifndef RUNTIME_PROFILE_H
#define RUNTIME_PROFILE_H

#include "graph/executor.h"
#include "kernels/registry.h"
#include "models/model.h"

#include <stdatomic.h>

struct profile_segment {
    double seconds; /* median, weights coming from memory, not from cache */
    size_t weights_bytes, slot_bytes, scratch_bytes, load_extra_bytes;
};

struct profile_options {
    const struct graph *graph;        /* what is measured: the model at its longest */
    const struct model_config *model; /* its memory is that of all its lengths; NULL: the graph's
                                         alone */
    int64_t batch;
    int threads;
    const struct kernel_choice *choice;
    size_t memory_limit;       /* of the process; 0: none. What is beyond is not measured */
    const atomic_bool *cancel; /* looked at between runs; NULL: nothing cancels */
};

/* `auto`: measures every distinct op of the graph and puts the winners into choice. */
NODISCARD shoal_status profile_choose(const struct graph *graph, int64_t batch, int threads,
                                      struct kernel_choice *choice, struct shoal_error *error);

/*
 * What was chosen at the longest for the model's other lengths, op by op: then one packed copy of
 * the weights serves all of them. Errors: model_build's, NO_MEMORY.
 */
NODISCARD shoal_status profile_choose_lengths(const struct model_config *model, int64_t batch,
                                              int threads, struct kernel_choice *choice,
                                              struct shoal_error *error);

/*
 * segments [graph_segment_count]. *library_bytes: memory that libraries took beyond what was
 * planned (generated code, thread stacks). Errors: the executor's; NO_MEMORY (with the figures, if
 * it is the limit); CANCELLED.
 */
NODISCARD shoal_status profile_measure(const struct profile_options *options,
                                       struct profile_segment *segments, size_t *library_bytes,
                                       struct shoal_error *error);

/* Values that a real model might see, so that nothing runs on zeros or denormals alone; before
 * every run, which may use their memory. */
void profile_fill_inputs(const struct executor *executor, const struct executor_slot *slot);

#endif
