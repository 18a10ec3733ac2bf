/*
 * A transformer's graph being built, node by node: the first failure sticks and later steps do
 * nothing, so that a builder reads like the model. Weight names are "<node's name>.<suffix>".
 */
#ifndef MODELS_BUILDER_H
#define MODELS_BUILDER_H

#include "models/model.h"

#define BUILDER_NAME_TEXT 192

struct builder {
    const struct model_config *config;
    struct graph *graph;
    struct shoal_error *error;
    shoal_status status;
};

/* Prefix and layer are bounded: every name fits. */
void builder_name(char text[BUILDER_NAME_TEXT], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

graph_param_id builder_add_param(struct builder *b, const char *name, struct shape shape,
                                 enum graph_fill fill, const struct graph_part *parts,
                                 uint32_t part_count);
/* A param that is one tensor of the file, under its own name. */
graph_param_id builder_add_whole(struct builder *b, const char *name, const char *suffix,
                                 struct shape shape, enum graph_fill fill);
graph_value_id builder_add_node(struct builder *b, const char *name, enum op op,
                                const struct op_attrs *attrs, const graph_value_id *inputs,
                                int input_count, const graph_param_id *params, int param_count);
void builder_cut(struct builder *b);

/* x [B,T,C] → [B,T,C] */
graph_value_id builder_layer_norm(struct builder *b, const char *name, graph_value_id x);

/* x [...,in] → activation(x·wᵀ + bias) (+ residual) [...,out] */
graph_value_id builder_linear(struct builder *b, const char *name, int64_t in, int64_t out,
                              enum activation activation, graph_value_id x,
                              const graph_value_id *residual);

/* x [B,T,C] → context [B,T,C]: q, k and v are three tensors of the file and one product; mask [B,T]
 * or NULL. */
graph_value_id builder_attention(struct builder *b, const char *name, graph_value_id x,
                                 const graph_value_id *mask);

#endif
