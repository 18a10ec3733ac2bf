/*
 * A graph while passes rewrite it. Nodes are never changed: a pass appends the nodes that are to
 * be, and replaces the values that were by theirs; what nobody reads any more is dead at once.
 * rewrite_finish writes what is alive into a new graph: in the old order as far as that can run,
 * with the same inputs, the same outputs under the same names, and, where the graph had cuts, with
 * those that still lie between nodes.
 *
 * Ids are those of the working graph. What stands for a value now is rewrite_value; every function
 * here resolves the ids that it is given, and rewrite_input resolves a node's. Pointers to nodes
 * and types live until the next rewrite_add or rewrite_param_value.
 *
 * Forward nodes only: gradients are built after passes. Not thread-safe.
 */
#ifndef GRAPH_PASSES_REWRITE_H
#define GRAPH_PASSES_REWRITE_H

#include "graph/graph.h"

struct rewrite;

/* graph is borrowed. Errors: INVALID (the graph has nodes of other phases), NO_MEMORY. */
NODISCARD shoal_status rewrite_create(const struct graph *graph, struct rewrite **out,
                                      struct shoal_error *error);
void rewrite_destroy(struct rewrite *rw); /* NULL allowed */
NODISCARD shoal_status rewrite_finish(const struct rewrite *rw, struct graph **out,
                                      struct shoal_error *error);

/* The working graph: for its types, params and constants graph, and to add params. */
struct graph *rewrite_graph(const struct rewrite *rw);
/* Whether anything was added or replaced. */
bool rewrite_changed(const struct rewrite *rw);

/* Ids run from 0; nodes appended while a pass walks lie behind. NULL: dead. */
uint32_t rewrite_node_count(const struct rewrite *rw);
const struct graph_node *rewrite_node(const struct rewrite *rw, graph_node_id id);

graph_value_id rewrite_value(const struct rewrite *rw, graph_value_id value);
graph_value_id rewrite_input(const struct rewrite *rw, const struct graph_node *node, int index);
const struct tensor_type *rewrite_type(const struct rewrite *rw, graph_value_id value);
/* The node that makes the value, NULL for inputs and param values. */
const struct graph_node *rewrite_maker(const struct rewrite *rw, graph_value_id value);
/* How many inputs of nodes read it; being an output of the graph counts as one more. */
uint32_t rewrite_readers(const struct rewrite *rw, graph_value_id value);
bool rewrite_is_output(const struct rewrite *rw, graph_value_id value);
/* The param behind a param value, or GRAPH_NONE. */
graph_param_id rewrite_param(const struct rewrite *rw, graph_value_id value);

/*
 * Appends a node that stands where `at` stands (its place in the order and in segments) and takes
 * its name, with `suffix` behind (NULL: none; once is enough). Errors: those of
 * graph_add_node; INTERNAL (a pass that does not end).
 */
NODISCARD shoal_status rewrite_add(struct rewrite *rw, graph_node_id at, const char *suffix,
                                   enum op op, const struct op_attrs *attrs,
                                   const graph_value_id *inputs, int input_count,
                                   const graph_param_id *params, int param_count,
                                   graph_value_id *out, struct shoal_error *error);

/*
 * Whether all readers of a value may read another one: of the same type, and not an output of the
 * graph whose name the other one cannot take (it is an input, a constant, an output itself or a
 * node's second output).
 */
bool rewrite_may_replace(const struct rewrite *rw, graph_value_id old, graph_value_id by);
/* Errors: INTERNAL if it may not be done, NO_MEMORY. `by` must not be computed from old. */
NODISCARD shoal_status rewrite_replace(struct rewrite *rw, graph_value_id old, graph_value_id by,
                                       struct shoal_error *error);

/* A value that reads a param. Errors: NO_MEMORY. */
NODISCARD shoal_status rewrite_param_value(struct rewrite *rw, graph_param_id param,
                                           graph_value_id *out, struct shoal_error *error);

/* Kills nodes whose results nobody reads, as replace does; for graphs that come with such nodes. */
NODISCARD shoal_status rewrite_sweep(struct rewrite *rw, struct shoal_error *error);

#endif
