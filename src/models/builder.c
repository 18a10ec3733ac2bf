#include "models/builder.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void builder_name(char text[BUILDER_NAME_TEXT], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, BUILDER_NAME_TEXT, format, arguments);
    va_end(arguments);
}

graph_param_id builder_add_param(struct builder *b, const char *name, struct shape shape,
                                 enum graph_fill fill, const struct graph_part *parts,
                                 uint32_t part_count) {
    graph_param_id id = 0;
    if (b->status == SHOAL_OK) {
        const struct tensor_type type = {DTYPE_F32, shape};
        b->status = graph_add_param(b->graph, name, type, fill, parts, part_count, &id, b->error);
    }
    return id;
}

graph_param_id builder_add_whole(struct builder *b, const char *name, const char *suffix,
                                 struct shape shape, enum graph_fill fill) {
    char full[BUILDER_NAME_TEXT];
    builder_name(full, "%s.%s", name, suffix);
    const struct graph_part part = {full, shape};
    return builder_add_param(b, full, shape, fill, &part, 1);
}

graph_value_id builder_add_node(struct builder *b, const char *name, enum op op,
                                const struct op_attrs *attrs, const graph_value_id *inputs,
                                int input_count, const graph_param_id *params, int param_count) {
    graph_value_id out = 0;
    if (b->status == SHOAL_OK) {
        b->status = graph_add_node(b->graph, name, op, attrs, GRAPH_F, inputs, input_count, params,
                                   param_count, &out, b->error);
    }
    return out;
}

void builder_cut(struct builder *b) {
    if (b->status == SHOAL_OK) {
        b->status = graph_mark_cut(b->graph, b->error);
    }
}

graph_value_id builder_layer_norm(struct builder *b, const char *name, graph_value_id x) {
    const struct shape shape = SHAPE(b->config->hidden);
    const bool old = b->config->gamma_beta;
    const graph_param_id params[] = {
        builder_add_whole(b, name, old ? "gamma" : "weight", shape, GRAPH_FILL_ONES),
        builder_add_whole(b, name, old ? "beta" : "bias", shape, GRAPH_FILL_ZEROS)};
    const struct op_attrs attrs = {.epsilon = b->config->layer_norm_eps};
    return builder_add_node(b, name, OP_LAYER_NORM, &attrs, &x, 1, params, 2);
}

graph_value_id builder_linear(struct builder *b, const char *name, int64_t in, int64_t out,
                              enum activation activation, graph_value_id x,
                              const graph_value_id *residual) {
    const graph_param_id params[] = {
        builder_add_whole(b, name, "weight", SHAPE(out, in), GRAPH_FILL_NORMAL),
        builder_add_whole(b, name, "bias", SHAPE(out), GRAPH_FILL_ZEROS)};
    const struct op_attrs attrs = {.activation = activation};
    const graph_value_id inputs[] = {x, residual != NULL ? *residual : x};
    return builder_add_node(b, name, OP_LINEAR, &attrs, inputs, residual != NULL ? 2 : 1, params,
                            2);
}

/* x [B,T,C] → q, k and v side by side [B,T,3C] */
static graph_value_id query_key_value(struct builder *b, const char *attention, graph_value_id x) {
    static const char *const names[] = {"query", "key", "value"};
    const int64_t hidden = b->config->hidden;
    char node[BUILDER_NAME_TEXT], weight[BUILDER_NAME_TEXT], bias[BUILDER_NAME_TEXT];
    char weights[3][BUILDER_NAME_TEXT], biases[3][BUILDER_NAME_TEXT];
    struct graph_part weight_parts[3], bias_parts[3];
    for (int i = 0; i < 3; i++) {
        builder_name(weights[i], "%s.%s.weight", attention, names[i]);
        builder_name(biases[i], "%s.%s.bias", attention, names[i]);
        weight_parts[i] = (struct graph_part){weights[i], SHAPE(hidden, hidden)};
        bias_parts[i] = (struct graph_part){biases[i], SHAPE(hidden)};
    }
    builder_name(node, "%s.qkv", attention);
    builder_name(weight, "%s.qkv.weight", attention);
    builder_name(bias, "%s.qkv.bias", attention);
    graph_param_id params[2] = {builder_add_param(b, weight, SHAPE(3 * hidden, hidden),
                                                  GRAPH_FILL_NORMAL, weight_parts, 3)};
    if (b->config->qkv_bias) {
        params[1] = builder_add_param(b, bias, SHAPE(3 * hidden), GRAPH_FILL_ZEROS, bias_parts, 3);
    }
    return builder_add_node(b, node, OP_LINEAR, NULL, &x, 1, params, b->config->qkv_bias ? 2 : 1);
}

graph_value_id builder_attention(struct builder *b, const char *name, graph_value_id x,
                                 const graph_value_id *mask) {
    const struct model_config *c = b->config;
    const int64_t width = c->hidden / c->heads; /* of a head */
    const struct op_attrs attrs = {.heads = (int32_t)c->heads,
                                   .scale = (float)(1.0 / sqrt((double)width))};
    const graph_value_id qkv = query_key_value(b, name, x);
    const graph_value_id inputs[] = {qkv, mask != NULL ? *mask : qkv};
    return builder_add_node(b, name, OP_ATTENTION, &attrs, inputs, mask != NULL ? 2 : 1, NULL, 0);
}
