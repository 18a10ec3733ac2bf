/* What patterns are made of. Every function resolves the values that it is given; false or NULL
 * where the value is not of that form, out then unchanged. */
#ifndef GRAPH_PASSES_MATCH_H
#define GRAPH_PASSES_MATCH_H

#include "graph/passes/rewrite.h"

/* The node of that op that makes the value (its first output). */
const struct graph_node *match_op(const struct rewrite *rw, graph_value_id value, enum op op);
bool match_unary(const struct rewrite *rw, graph_value_id value, enum unary_function function,
                 graph_value_id *x);
bool match_binary(const struct rewrite *rw, graph_value_id value, enum binary_function function,
                  graph_value_id *a, graph_value_id *b);

/* One node reads it and it is no output: it may vanish into that node. */
bool match_inner(const struct rewrite *rw, graph_value_id value);

/* A constant of the graph (f32) whose elements are all one number. */
bool match_number(const struct rewrite *rw, graph_value_id value, double *out);
/* The same, equal to a number but for rounding to f32. */
bool match_is(const struct rewrite *rw, graph_value_id value, double number);
bool match_near(double a, double b);

/* value = x function number: for ADD and MUL also number function x; for MUL also x / (1/number).
 */
bool match_with_number(const struct rewrite *rw, graph_value_id value,
                       enum binary_function function, graph_value_id *x, double *number);

/* Two values of the binary node, in either order: one that is `known`, and the other one. */
bool match_other(graph_value_id a, graph_value_id b, graph_value_id known, graph_value_id *other);

bool match_same_type(const struct rewrite *rw, graph_value_id a, graph_value_id b);

/*
 * A param value that is f32 and, dims of 1 aside, a vector along the last axis of values of `rank`
 * axes, of `length` elements: [length], [1,1,length].
 */
bool match_row(const struct rewrite *rw, graph_value_id value, int rank, int64_t length,
               graph_param_id *out);

#endif
