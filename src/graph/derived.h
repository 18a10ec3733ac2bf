/*
 * Derived weights: tensors that are computed from stored ones, on the device that needs them, when
 * it loads them. A matrix that a file stores transposed, a convolution's filters multiplied by its
 * batch norm's scale: nothing is copied when a model is built, and files and contents keep the
 * stored tensors.
 *
 * A graph may own a second one, its *constants graph* (graph_constants). That one has no inputs:
 * its nodes read params (stored tensors by their names) and constants as param values, and those of
 * its values that are marked as outputs are derived tensors. A part of the main graph's params
 * whose name is that of such an output is derived; graph_add_derived makes both.
 */
#ifndef GRAPH_DERIVED_H
#define GRAPH_DERIVED_H

#include "graph/graph.h"
#include "graph/weights.h"

/*
 * Marks a value of graph's constants graph as an output and adds a param of its type to graph whose
 * one part is it; a value that is derived already gives another param of it. Errors: INVALID (no
 * constants graph, no such value, a param value, or another derived tensor of the same name),
 * NO_MEMORY.
 */
NODISCARD shoal_status graph_add_derived(struct graph *graph, graph_value_id constant,
                                         graph_param_id *out, struct shoal_error *error);

/* Whether `name` is a derived tensor of graph; out: the value in its constants graph. */
bool derived_find(const struct graph *graph, const char *name, graph_value_id *out);

/*
 * The stored tensors that a value of a constants graph is computed from: visit gets each part, some
 * of them more than once. Errors: NO_MEMORY, visit's.
 */
NODISCARD shoal_status derived_visit(const struct graph *constants, graph_value_id value,
                                     shoal_status (*visit)(void *context,
                                                           const struct graph_part *part,
                                                           struct shoal_error *error),
                                     void *context, struct shoal_error *error);

/* The most bytes that computing a value of a constants graph holds at once, its result included; 0
 * if memory is out. */
size_t derived_peak_bytes(const struct graph *constants, graph_value_id value);

/*
 * Computes a value of a constants graph, stored tensors from source. out->data is the caller's, to
 * be freed with mem_free. Errors: the source's; MISMATCH (a stored tensor is missing or of another
 * shape or type: the text names it), UNSUPPORTED, INTERNAL, NO_MEMORY.
 */
NODISCARD shoal_status derived_compute(const struct graph *constants, graph_value_id value,
                                       struct weight_source *source, struct tensor *out,
                                       struct shoal_error *error);

/*
 * A source that computes graph's derived tensors from raw's stored ones and lends all others as raw
 * does. graph and raw are borrowed. Errors: NO_MEMORY.
 */
NODISCARD shoal_status weights_derived_create(const struct graph *graph, struct weight_source *raw,
                                              struct weight_source **out,
                                              struct shoal_error *error);

#endif
