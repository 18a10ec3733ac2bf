/*
 * Arithmetic on constants: in a graph's constants graph, whose results are weights that devices
 * compute when they load them (graph/derived.h); what needs no stored tensor and is small is
 * computed at once and becomes a constant.
 */
#ifndef GRAPH_PASSES_DERIVE_H
#define GRAPH_PASSES_DERIVE_H

#include "graph/passes/rewrite.h"

#define DERIVE_INLINE_BYTES ((size_t)64 << 10)

/* Names carry `name` and a number. Errors of all: those of graph_add_node and
 * graph_add_param_value; UNSUPPORTED for a param of several parts of which some are derived. */

/* Whether derive_value takes the param. */
bool derive_can(const struct graph *graph, graph_param_id param);
/* A param of the main graph as a value of the constants graph. */
NODISCARD shoal_status derive_value(struct graph *graph, graph_param_id param, graph_value_id *out,
                                    struct shoal_error *error);
/* A constant of the constants graph: `count` floats. */
NODISCARD shoal_status derive_floats(struct graph *graph, const struct shape *shape,
                                     const float *numbers, graph_value_id *out,
                                     struct shoal_error *error);
NODISCARD shoal_status derive_op(struct graph *graph, const char *name, enum op op,
                                 const struct op_attrs *attrs, const graph_value_id *inputs,
                                 int input_count, graph_value_id *out, struct shoal_error *error);
NODISCARD shoal_status derive_binary(struct graph *graph, const char *name,
                                     enum binary_function function, graph_value_id a,
                                     graph_value_id b, graph_value_id *out,
                                     struct shoal_error *error);
NODISCARD shoal_status derive_reshape(struct graph *graph, const char *name, graph_value_id x,
                                      const struct shape *shape, graph_value_id *out,
                                      struct shoal_error *error);
NODISCARD shoal_status derive_transpose(struct graph *graph, const char *name, graph_value_id x,
                                        const int64_t *order, graph_value_id *out,
                                        struct shoal_error *error);
/* A value of the constants graph as a param of the main graph. */
NODISCARD shoal_status derive_param(struct graph *graph, graph_value_id value, graph_param_id *out,
                                    struct shoal_error *error);

/* A param with the same elements in another shape. */
NODISCARD shoal_status derive_reshaped(struct graph *graph, const char *name, graph_param_id param,
                                       const struct shape *shape, graph_param_id *out,
                                       struct shoal_error *error);
/* `count` times the same number, as an f32 constant of the main graph. */
NODISCARD shoal_status derive_filled(struct graph *graph, const char *name, int64_t count,
                                     float number, graph_param_id *out, struct shoal_error *error);

#endif
