/*
 * Which nodes of a model compute in reduced precision.
 *
 * Of the products with weights, those large enough to gain: LINEAR with at least 32 inputs and 32
 * outputs, CONV2D in one group with at least 16 input and 16 output channels, or, where weights
 * alone are narrow (w8, w4), windows of at least 32 values. Two kinds of nodes are treated better,
 * as answers depend on them most and they are small: *first* convolutions, with no product before
 * them, and *last* products, whose result no further product sees. They stay f32; under w8 and
 * w4 they become w8.
 */
#ifndef GRAPH_PRECISION_H
#define GRAPH_PRECISION_H

#include "graph/graph.h"

/*
 * Sets attrs.precision of every node. Errors: UNSUPPORTED if the precision is not f32 and no node
 * is large enough for it; NO_MEMORY.
 */
NODISCARD shoal_status graph_set_precision(struct graph *graph, enum precision precision,
                                           struct shoal_error *error);

#endif
