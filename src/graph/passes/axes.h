/* Shapes, orders of axes, and the RESHAPE and TRANSPOSE nodes that make them. */
#ifndef GRAPH_PASSES_AXES_H
#define GRAPH_PASSES_AXES_H

#include "graph/passes/rewrite.h"

/* Whether a transposition of x leaves the elements where they are: only axes of 1 move. */
bool axes_keep_order(const struct shape *x, const int64_t *order);
void axes_inverse(const int64_t *order, int rank, int64_t *out);
/* The order of y where y = transpose(transpose(x, first), second). */
void axes_compose(const int64_t *first, const int64_t *second, int rank, int64_t *out);
bool axes_equal(const int64_t *a, const int64_t *b, int rank);
/* y.dims[i] = x.dims[order[i]] */
struct shape axes_permute(const struct shape *x, const int64_t *order);

/* Whether RESHAPE can name the shape: at most one dim follows the microbatch, none is 0. */
bool axes_can_reshape(const struct shape *shape);
/* out: x in that shape; x itself if it has it. */
NODISCARD shoal_status axes_reshape(struct rewrite *rw, graph_node_id at, const char *suffix,
                                    graph_value_id x, const struct shape *shape,
                                    graph_value_id *out, struct shoal_error *error);
NODISCARD shoal_status axes_transpose(struct rewrite *rw, graph_node_id at, const char *suffix,
                                      graph_value_id x, const int64_t *order, graph_value_id *out,
                                      struct shoal_error *error);

/*
 * Where a reshape from `from` to `to` may be seen as blocks: axes [from_end[i-1], from_end[i]) of
 * the one hold the elements of axes [to_end[i-1], to_end[i]) of the other. Returns the number of
 * blocks, as many as there can be; 0: there are none (or dims that cannot be multiplied).
 */
int axes_blocks(const struct shape *from, const struct shape *to, int from_end[SHAPE_MAX_RANK],
                int to_end[SHAPE_MAX_RANK]);

#endif
