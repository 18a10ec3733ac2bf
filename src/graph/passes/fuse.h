/* LINEAR and CONV2D taking what comes behind them. */
#ifndef GRAPH_PASSES_FUSE_H
#define GRAPH_PASSES_FUSE_H

#include "graph/passes/rewrite.h"

/* The activation that a UNARY or ACTIVATION node is, if the core ops have it. */
bool fuse_activation_of(const struct graph_node *node, enum activation *out);

/* Whether a comes behind b in the graph's order (b may be NULL): of two that could take a residual
 * the later one does, when the other is there. */
bool fuse_is_later(const struct rewrite *rw, const struct graph_node *a,
                   const struct graph_node *b);

/*
 * Node `id` becomes `core` (a copy of the LINEAR or CONV2D that it reads) with other params, a
 * residual, an activation. A bias is a param of as many elements as there are outputs.
 */
NODISCARD shoal_status fuse_bias(struct rewrite *rw, graph_node_id id,
                                 const struct graph_node *core, graph_param_id weight,
                                 graph_param_id bias, struct shoal_error *error);
NODISCARD shoal_status fuse_residual(struct rewrite *rw, graph_node_id id,
                                     const struct graph_node *core, graph_value_id residual,
                                     struct shoal_error *error);
NODISCARD shoal_status fuse_activation(struct rewrite *rw, graph_node_id id,
                                       const struct graph_node *core, enum activation activation,
                                       struct shoal_error *error);

#endif
