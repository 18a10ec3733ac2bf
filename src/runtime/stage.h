/*
 * A stage on its device: a range of segments, compiled, with weights and one activation slot. It
 * turns the tensors of one message into those of the next and knows nothing of who sent them.
 *
 * A text model's stage takes messages of every length of model_lengths, up to its model's own, and
 * tells them by their shapes. All lengths share the weights, the slot and the scratch.
 *
 * Threads: used by one thread at a time. stage_run allocates nothing.
 */
#ifndef RUNTIME_STAGE_H
#define RUNTIME_STAGE_H

#include "graph/executor_group.h"
#include "models/model.h"
#include "wire/message.h"

#include <stdatomic.h>

struct contents;
struct manifest;

/* Where weights are: contents that a manifest names, or a safetensors file, an index of shards or
 * an ONNX file on this machine, or a seed. */
struct weights_spec {
    uint64_t seed;
    const char *path;                /* borrowed; NULL = random from the seed */
    struct contents *contents;       /* borrowed; with a manifest, which then decides */
    const struct manifest *manifest; /* borrowed; NULL = path or seed */
    const atomic_bool *cancel;       /* borrowed; ends stage_load once true; NULL: nothing does */
};

NODISCARD shoal_status weights_open(const struct weights_spec *spec, struct weight_source **out,
                                    struct shoal_error *error);

struct stage_options {
    const struct model_config *model;
    uint32_t first, last;
    int64_t batch;
    int threads;
    const struct kernel_choice *choice; /* read only during compile */
};

/*
 * Copies of a message that a stage may hold at once: the credit window of two arriving (each while
 * it is decrypted held twice), the one that is made, and two leaving.
 */
#define STAGE_MESSAGES_IN 4
#define STAGE_MESSAGES_OUT 4

/* What a stage takes once it is loaded. */
struct stage_memory {
    struct executor_memory executor;
    size_t in_bytes, out_bytes; /* of the greatest message in, of the greatest out */
    size_t planned_bytes;       /* its largest: messages and what loading takes besides included */
};

struct stage;

/*
 * Everything but weights and slot; takes little memory, so that what stage_load will take can be
 * known and refused before. Errors: the executor's; UNSUPPORTED (more tensors cross a cut than fit
 * a message).
 */
NODISCARD shoal_status stage_compile(const struct stage_options *options, struct stage **out,
                                     struct shoal_error *error);
void stage_memory_get(const struct stage *stage, struct stage_memory *out);

/* Once. Errors: the weight source's and the executor's; CANCELLED. */
NODISCARD shoal_status stage_load(struct stage *stage, const struct weights_spec *weights,
                                  struct shoal_error *error);
void stage_destroy(struct stage *stage); /* loaded or not; NULL allowed */

/*
 * Copies the message's tensors into the slot, runs, and lends the results: out [*out_count ≤
 * WIRE_MAX_TENSORS], valid until the next run. copy_s and compute_s (may be NULL) get the seconds
 * of each part. Errors: PROTOCOL (tensors of other number, type or shape than the cut's; in the
 * first stage ids outside their tables), INTERNAL.
 */
NODISCARD shoal_status stage_run(struct stage *stage, const struct wire_message *message,
                                 struct tensor *out, uint32_t *out_count, double *copy_s,
                                 double *compute_s, struct shoal_error *error);

#endif
