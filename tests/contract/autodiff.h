/*
 * Just enough reverse-mode differentiation for the experiment: appends to a forward graph of
 * LINEAR, ACTIVATION and ADD the ordinary nodes that compute gradients (phase B), gradients of
 * params and their update (phase W), each in the forward segment it belongs to.
 */
#ifndef CONTRACT_AUTODIFF_H
#define CONTRACT_AUTODIFF_H

#include "graph/graph.h"

#define AUTODIFF_MAX_PARAMS 16

struct autodiff {
    graph_value_id loss;  /* [B], one per item; an output of phase B */
    uint32_t param_count; /* in no particular order */
    graph_param_id params[AUTODIFF_MAX_PARAMS];
    graph_value_id gradients[AUTODIFF_MAX_PARAMS]; /* outputs of phase W */
    graph_value_id updated[AUTODIFF_MAX_PARAMS]; /* param − rate·gradient: outputs of phase W */
};

/* Cross entropy of logits [B,N] and label [B] i32, its gradient times scale; then everything behind
 * it. */
NODISCARD shoal_status autodiff_append(struct graph *graph, graph_value_id logits,
                                       graph_value_id label, float scale, float rate,
                                       struct autodiff *out, struct shoal_error *error);

#endif
