#include "models/bert.h"

#include "models/builder.h"

#include <inttypes.h>

#define NORM_EPSILON 1e-12F /* torch's normalize */

/* ids, types [B,T] → [B,T,C] */
static graph_value_id embeddings(struct builder *b, const graph_value_id *tokens) {
    const struct model_config *c = b->config;
    char name[BUILDER_NAME_TEXT], table[BUILDER_NAME_TEXT];
    static const char *const names[] = {"word", "position", "token_type"};
    const int64_t rows[] = {c->vocabulary, c->positions, c->types};
    graph_param_id params[3];
    for (int i = 0; i < 3; i++) {
        builder_name(table, "%sembeddings.%s_embeddings", c->prefix, names[i]);
        params[i] =
            builder_add_whole(b, table, "weight", SHAPE(rows[i], c->hidden), GRAPH_FILL_NORMAL);
    }
    builder_name(name, "%sembeddings", c->prefix);
    const graph_value_id sum = builder_add_node(b, name, OP_EMBED, NULL, tokens, 2, params, 3);
    builder_name(name, "%sembeddings.LayerNorm", c->prefix);
    return builder_layer_norm(b, name, sum);
}

/* LayerNorm(x·wᵀ + bias + residual), the end of both halves of a layer: [B,T,in] → [B,T,C] */
static graph_value_id output(struct builder *b, const char *half, int64_t in, graph_value_id x,
                             graph_value_id residual) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%s.output.dense", half);
    x = builder_linear(b, name, in, b->config->hidden, ACTIVATION_NONE, x, &residual);
    builder_name(name, "%s.output.LayerNorm", half);
    return builder_layer_norm(b, name, x);
}

/* x [B,T,C] → [B,T,C]; marks the cuts inside the layer */
static graph_value_id encoder_layer(struct builder *b, int64_t index, graph_value_id x,
                                    graph_value_id mask) {
    const struct model_config *c = b->config;
    char layer[BUILDER_NAME_TEXT], name[BUILDER_NAME_TEXT];
    builder_name(layer, "%sencoder.layer.%" PRId64, c->prefix, index);

    builder_name(name, "%s.attention.self", layer);
    const graph_value_id context = builder_attention(b, name, x, &mask);
    builder_cut(b);

    builder_name(name, "%s.attention", layer);
    x = output(b, name, c->hidden, context, x);
    builder_cut(b);

    builder_name(name, "%s.intermediate.dense", layer);
    const graph_value_id wide =
        builder_linear(b, name, c->hidden, c->intermediate, c->activation, x, NULL);
    builder_cut(b);

    return output(b, layer, c->intermediate, wide, x);
}

/* x [B,T,C] → one row an item [B,C] */
static graph_value_id pool(struct builder *b, graph_value_id x, graph_value_id mask) {
    const struct model_config *c = b->config;
    char name[BUILDER_NAME_TEXT];
    if (c->pooling == MODEL_POOL_MEAN) {
        const graph_value_id inputs[] = {x, mask};
        return builder_add_node(b, "mean", OP_MEAN_POOL, NULL, inputs, 2, NULL, 0);
    }
    const struct op_attrs first = {.index = 0};
    x = builder_add_node(b, "cls", OP_SELECT, &first, &x, 1, NULL, 0);
    if (c->pooling == MODEL_POOL_CLS) {
        return x;
    }
    builder_name(name, "%spooler.dense", c->prefix);
    return builder_linear(b, name, c->hidden, c->hidden, ACTIVATION_TANH, x, NULL);
}

static graph_value_id head(struct builder *b, graph_value_id x) {
    const struct model_config *c = b->config;
    if (c->labels > 0) {
        return builder_linear(b, "classifier", c->hidden, c->labels, ACTIVATION_NONE, x, NULL);
    }
    if (c->normalise) {
        const struct op_attrs attrs = {.epsilon = NORM_EPSILON};
        return builder_add_node(b, "normalised", OP_NORMALISE, &attrs, &x, 1, NULL, 0);
    }
    return x;
}

shoal_status bert_build(const struct model_config *config, struct graph *graph,
                        struct shoal_error *error) {
    struct builder b = {config, graph, error, SHOAL_OK};
    struct model_input inputs[MODEL_MAX_INPUTS];
    graph_value_id values[MODEL_MAX_INPUTS] = {0};
    const uint32_t count = model_inputs(config, inputs);
    for (uint32_t i = 0; i < count; i++) {
        TRY(graph_add_input(graph, inputs[i].name, inputs[i].type, &values[i], error));
    }
    const graph_value_id mask = values[2];
    graph_value_id x = embeddings(&b, values);
    for (int64_t i = 0; i < config->layers; i++) {
        x = encoder_layer(&b, i, x, mask);
        if (i + 1 < config->layers) {
            builder_cut(&b);
        }
    }
    x = head(&b, pool(&b, x, mask));
    TRY(b.status);
    return graph_mark_output(graph, x, error);
}
