/*
 * Graphs as JSON: how a model that no builder knows travels to devices, and how it is kept. Exact:
 * a graph that was written and read again has the same ids, names, types, attributes (floats by
 * their bits), constants, cuts and outputs. Format: docs/protocol.md, "Graphs".
 *
 * What is read is hostile: everything is bounded, and added with graph_add_*, so that shapes are
 * inferred anew and nothing enters a graph that a builder could not have made. Beyond what a graph
 * itself asks, no dimension is over GRAPH_JSON_MAX_DIM and no value or param over
 * GRAPH_JSON_MAX_BYTES (at a microbatch of 1), so that sums and products of a model's sizes stay
 * far from overflow.
 *
 * Only forward nodes travel. Threads: as jansson, one document by one thread at a time.
 */
#ifndef MODELS_GRAPH_JSON_H
#define MODELS_GRAPH_JSON_H

#include "graph/graph.h"

#include <jansson.h>

#define GRAPH_JSON_VERSION 1
#define GRAPH_JSON_MAX_STEPS ((size_t)1 << 17)
#define GRAPH_JSON_MAX_PARAMS ((size_t)1 << 16)
#define GRAPH_JSON_MAX_PARTS 64
#define GRAPH_JSON_MAX_DERIVED 8192
#define GRAPH_JSON_MAX_NAME 512
#define GRAPH_JSON_MAX_DIM (INT64_C(1) << 31)
#define GRAPH_JSON_MAX_BYTES ((size_t)1 << 33)

/* json_decref the result. Errors: UNSUPPORTED (a gradient, a name that is not UTF-8 or too long, a
 * size beyond the bounds above), NO_MEMORY. */
NODISCARD shoal_status graph_to_json(const struct graph *graph, json_t **out,
                                     struct shoal_error *error);

/*
 * Errors: CORRUPT (a key that is missing, unknown or of a wrong type, an op, type or fill that does
 * not exist, a number out of its bounds: the text names the step and the key), VERSION (both
 * named), those of graph_add_node and the others, wrapped with the step; NO_MEMORY.
 */
NODISCARD shoal_status graph_from_json(const json_t *document, struct graph **out,
                                       struct shoal_error *error);

#endif
