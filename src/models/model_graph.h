/*
 * A model that is a graph rather than a configuration: what import and passes made of somebody's
 * file, for one microbatch and fixed dimensions. It holds the graph as its JSON (graph_json.h); a
 * text model's at several lengths.
 *
 * All dimensions are numbers. With a microbatch of more than one, the first dimension of every
 * input and output is the microbatch: an item is a row of each. With a microbatch of one, inputs
 * and outputs whose first dimension is 1 are such rows too, and others are one item as they are.
 *
 * Ownership: everything belongs to the model_graph. Threads: immutable once made; several may read.
 */
#ifndef MODELS_MODEL_GRAPH_H
#define MODELS_MODEL_GRAPH_H

#include "models/model.h"

#include <jansson.h>

struct model_graph_options {
    const struct graph *const *graphs; /* [count] borrowed during the call */
    const int64_t *lengths; /* [count] ascending: tokens of an item; NULL: one graph, no lengths */
    uint32_t count;
    int64_t batch;
    const char *const *output_names; /* of the graphs' outputs, in their order */
};

/*
 * Errors: UNSUPPORTED (nothing is read or given out, more tensors cross an end or a cut than a
 * message holds, a first dimension that is not the microbatch: the text names it; whatever cannot
 * travel), INVALID (graphs that are not of one model), NO_MEMORY.
 */
NODISCARD shoal_status model_graph_create(const struct model_graph_options *options,
                                          struct model_graph **out, struct shoal_error *error);
void model_graph_destroy(struct model_graph *model); /* NULL allowed */

/* An object of its own, without name; json_decref it. */
NODISCARD shoal_status model_graph_to_json(const struct model_graph *model, json_t **out,
                                           struct shoal_error *error);
/* From outside. Errors: CORRUPT, VERSION, those of graph_from_json and model_graph_create. */
NODISCARD shoal_status model_graph_from_json(const json_t *document, struct model_graph **out,
                                             struct shoal_error *error);

int64_t model_graph_batch(const struct model_graph *model);
/* The lengths, ascending; the one length 0 if it has none. Returns how many. */
uint32_t model_graph_lengths(const struct model_graph *model, int64_t out[MODEL_MAX_LENGTHS]);
/* A new graph; graph_destroy it. Errors: INVALID (no such length), NO_MEMORY. */
NODISCARD shoal_status model_graph_build(const struct model_graph *model, int64_t length,
                                         struct graph **out, struct shoal_error *error);
/* As model_inputs and model_outputs, at the least length that is not below `length`. */
uint32_t model_graph_inputs(const struct model_graph *model, int64_t length,
                            struct model_input out[MODEL_MAX_INPUTS]);
uint32_t model_graph_outputs(const struct model_graph *model, int64_t length,
                             struct model_output out[MODEL_MAX_OUTPUTS]);

/*
 * Whether graphs of one model at different lengths can share packed weights: equal nodes, and every
 * packed param made of the same tensors or the same constants.
 */
bool model_graph_alike(const struct graph *a, const struct graph *b);

#endif
