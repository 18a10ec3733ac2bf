/*
 * A stage on its device: a range of segments, compiled, with weights and one activation slot. It
 * turns the tensors of one message into those of the next and knows nothing of who sent them.
 *
 * Threads: used by one thread at a time. stage_run allocates nothing.
 */
#ifndef RUNTIME_STAGE_H
#define RUNTIME_STAGE_H

#include "graph/executor.h"
#include "models/model.h"
#include "wire/message.h"

/* Where weights are: a safetensors file or an index of shards on this machine, or a seed. */
struct weights_spec {
    uint64_t seed;
    const char *path; /* borrowed; NULL = random from the seed */
};

NODISCARD shoal_status weights_open(const struct weights_spec *spec, struct weight_source **out,
                                    struct shoal_error *error);

struct stage_options {
    const struct model_config *model;
    struct weights_spec weights;
    uint32_t first, last;
    int64_t batch;
    int threads;
    const struct kernel_choice *choice;
    size_t memory_limit; /* of the process; 0 = none */
};

struct stage;

/* Errors: the executor's and the weight source's; NO_MEMORY with the figures where memory_limit
 * would be passed. */
NODISCARD shoal_status stage_create(const struct stage_options *options, struct stage **out,
                                    struct shoal_error *error);
void stage_destroy(struct stage *stage);

/* Bytes of one message in and of one message out. */
NODISCARD shoal_status stage_message_bytes(const struct stage *stage, size_t *in, size_t *out,
                                           struct shoal_error *error);

void stage_memory_get(const struct stage *stage, struct executor_memory *out);

/*
 * Copies the message's tensors into the slot, runs, and lends the results: out [*out_count ≤
 * WIRE_MAX_TENSORS], valid until the next run. copy_s and compute_s (may be NULL) get the seconds
 * of each part. Errors: PROTOCOL (tensors of other number, type or shape than the cut's), INTERNAL.
 */
NODISCARD shoal_status stage_run(struct stage *stage, const struct wire_message *message,
                                 struct tensor *out, uint32_t *out_count, double *copy_s,
                                 double *compute_s, struct shoal_error *error);

#endif
