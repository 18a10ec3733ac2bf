/* The inside of struct graph, shared by its building and its queries. */
#ifndef GRAPH_GRAPH_INTERNAL_H
#define GRAPH_GRAPH_INTERNAL_H

#include "base/arena.h"
#include "graph/graph.h"

struct graph_value_use {
    graph_node_id last_forward; /* last forward reader; GRAPH_NONE: none */
    bool output;
};

struct graph {
    struct arena arena; /* names and parts */
    struct graph_node *nodes;
    struct graph_value *values;
    struct graph_value_use *uses; /* beside values */
    struct graph_param *params;
    graph_node_id
        *first_readers; /* beside params: first forward node that reads it, or GRAPH_NONE */
    graph_value_id *inputs, *outputs;
    graph_node_id *cuts; /* first node after each cut, ascending */
    uint32_t node_count, value_count, param_count, input_count, output_count, cut_count;
    uint32_t node_capacity, value_capacity, use_capacity, param_capacity, reader_capacity;
    uint32_t input_capacity, output_capacity, cut_capacity;
    uint32_t forward_count;    /* nodes of phase F: the first ones */
    uint32_t gradient_segment; /* of B and W nodes to come; 0: not set */
    struct graph *constants;   /* NULL: nothing is derived */
};

#endif
