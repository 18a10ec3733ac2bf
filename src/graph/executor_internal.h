/* The inside of the executor, shared by its compile, weights and run. */
#ifndef GRAPH_EXECUTOR_INTERNAL_H
#define GRAPH_EXECUTOR_INTERNAL_H

#include "graph/executor.h"

#include <stdbool.h>

#define PHASE_COUNT 3
#define NO_OFFSET SIZE_MAX

struct executor_node {
    const struct graph_node *node;
    const struct kernel *kernel; /* one kernel serves all nodes of equal desc */
    uint32_t
        pointers; /* index of its first input in a slot's pointers; outputs follow the inputs */
    size_t packed_bytes; /* rounded up to MEM_ALIGNMENT */
};

struct executor_value {
    graph_value_id id;
    struct tensor_type type; /* resolved */
    size_t bytes, offset;
    uint32_t first,
        last; /* times: 0 before the first node, i + 1 at node i, node_count + 1 after the last */
    uint32_t block; /* values that share a buffer in place have one block */
};

struct executor_ids {
    graph_value_id *ids;
    uint32_t count, capacity;
};

/* A node's input that points into the weights: set at the beginning of its phase's run. */
struct executor_binding {
    uint32_t pointer;
    size_t plain_offset;
};

struct executor {
    const struct graph *graph;
    struct executor_options options; /* choice is NULL after compile; phases has at least F */
    struct executor_node *nodes;     /* in the order F, B, W */
    uint32_t node_count;
    uint32_t
        phase_end[PHASE_COUNT]; /* nodes of phase p: [p > 0 ? phase_end[p − 1] : 0, phase_end[p]) */
    struct kernel **kernels;
    struct kernel_desc *descs; /* beside kernels, while compiling */
    uint32_t kernel_count;
    struct executor_value *values;
    uint32_t value_count;
    uint32_t *local; /* graph value → index in values, or GRAPH_NONE */
    struct executor_ids inputs[PHASE_COUNT], outputs[PHASE_COUNT];
    uint32_t pointer_count;
    struct executor_binding *bindings;
    uint32_t binding_end[PHASE_COUNT];
    bool trains; /* phases B or W: the params that nodes pack are kept as plain f32, too */
    size_t *plain_offsets; /* graph param → offset of its plain bytes, or NO_OFFSET */
    size_t plain_bytes;
    size_t data_bytes; /* of a slot, its pointers not counted */
    struct executor_memory memory;
    void *scratch;
};

struct executor_weights {
    const struct executor *executor; /* compared, not read, when destroyed */
    void **packed;                   /* per node; NULL where it has no params */
    bool *shared;                    /* per node: packed is another version's, not freed here */
    uint32_t node_count;
    unsigned char *plain;
};

struct executor_slot {
    const struct executor *executor;
    unsigned char *data;
    void **pointers; /* behind the data, in the same allocation */
};

/* A version that holds nothing yet, and reads and packs what it lacks: packed that is NULL. Forward
 * only; errors: those of executor_weights_load, after which it may be filled in part. */
NODISCARD shoal_status executor_weights_create_empty(struct executor *executor,
                                                     struct executor_weights **out,
                                                     struct shoal_error *error);
NODISCARD shoal_status executor_weights_fill(struct executor_weights *weights,
                                             struct weight_source *source,
                                             struct shoal_error *error);

/* Where the nodes of a slot find their values; once its executor, data and pointers are set. */
void executor_slot_set_pointers(struct executor_slot *slot);
/* Phase F, with a scratch that may be another's. */
NODISCARD shoal_status executor_run_nodes(const struct executor *executor,
                                          const struct executor_weights *weights,
                                          const struct executor_slot *slot, void *scratch,
                                          struct shoal_error *error);

/* Values, lifetimes and offsets of the compiled nodes (executor_values.c). Errors: INVALID,
 * NO_MEMORY. */
NODISCARD shoal_status executor_plan_values(struct executor *executor, struct shoal_error *error);

#endif
