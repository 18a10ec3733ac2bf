/* The inside of struct rewrite, shared by its building and its end. */
#ifndef GRAPH_PASSES_REWRITE_INTERNAL_H
#define GRAPH_PASSES_REWRITE_INTERNAL_H

#include "graph/passes/rewrite.h"

struct rewrite_value {
    graph_value_id now; /* itself, or what replaced it */
    uint32_t readers;
    bool output;
};

struct rewrite_node {
    uint32_t segment;
    uint32_t place; /* in the order: that of an original node */
    bool dead;
};

struct rewrite {
    struct graph *graph;
    struct rewrite_value *values; /* beside graph's values */
    struct rewrite_node *nodes;   /* beside graph's nodes */
    uint32_t value_count, value_capacity, node_count, node_capacity;
    const graph_value_id *outputs; /* as the old graph had them; the working graph's array */
    uint32_t output_count;
    uint32_t segment_count;
    uint32_t most_nodes; /* more is a pass that does not end */
    bool changed;
};

/*
 * Copies nodes into another graph, in any order that the caller can justify. Values and params go
 * along when something reads them. `resolve` (may be NULL) stands for values.
 */
struct transfer {
    const struct graph *from;
    struct graph *to;
    const struct rewrite *resolve;
    graph_value_id *values; /* of from → of to; GRAPH_NONE: not there yet */
    graph_param_id *params;
};

NODISCARD shoal_status transfer_init(struct transfer *t, const struct graph *from, struct graph *to,
                                     const struct rewrite *resolve, struct shoal_error *error);
void transfer_fini(struct transfer *t);
/* name: NULL for the node's own. */
NODISCARD shoal_status transfer_node(struct transfer *t, graph_node_id id, const char *name,
                                     struct shoal_error *error);
NODISCARD shoal_status transfer_input(struct transfer *t, graph_value_id value,
                                      struct shoal_error *error);
/* The derived tensors among `to`'s params: their part of the constants graph. */
NODISCARD shoal_status transfer_constants(const struct graph *from, struct graph *to,
                                          struct shoal_error *error);

#endif
