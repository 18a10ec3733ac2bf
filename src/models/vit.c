#include "models/vit.h"

#include "models/builder.h"

#include <inttypes.h>

/* pixels [B,H,W,channels] → tokens [B,R+P,C]: R prefix tokens, then P patches row by row */
static graph_value_id embeddings(struct builder *b, graph_value_id pixels) {
    const struct model_config *c = b->config;
    char name[BUILDER_NAME_TEXT], cls[BUILDER_NAME_TEXT], distillation[BUILDER_NAME_TEXT],
        position[BUILDER_NAME_TEXT];
    builder_name(name, "%sembeddings.patch_embeddings.projection", c->prefix);
    builder_name(cls, "%sembeddings.cls_token", c->prefix);
    builder_name(distillation, "%sembeddings.distillation_token", c->prefix);
    builder_name(position, "%sembeddings.position_embeddings", c->prefix);

    const int64_t patch = c->patch_size;
    const graph_param_id projection[] = {
        builder_add_whole(b, name, "weight", SHAPE(c->hidden, c->channels, patch, patch),
                          GRAPH_FILL_NORMAL),
        builder_add_whole(b, name, "bias", SHAPE(c->hidden), GRAPH_FILL_ZEROS)};
    const struct op_attrs conv = {
        .stride = {(int32_t)patch, (int32_t)patch}, .dilation = {1, 1}, .groups = 1};
    const graph_value_id patches =
        builder_add_node(b, name, OP_CONV2D, &conv, &pixels, 1, projection, 2);

    const int64_t side = c->image_size / patch;
    const int64_t prefix = c->family == MODEL_DEIT ? 2 : 1;
    const int64_t rows = prefix + side * side;
    const struct graph_part prefix_parts[] = {{cls, SHAPE(1, 1, c->hidden)},
                                              {distillation, SHAPE(1, 1, c->hidden)}};
    const struct graph_part position_part = {position, SHAPE(1, rows, c->hidden)};
    const graph_param_id params[] = {builder_add_param(b, cls, SHAPE(prefix, c->hidden),
                                                       GRAPH_FILL_NORMAL, prefix_parts,
                                                       (uint32_t)prefix),
                                     builder_add_param(b, position, SHAPE(rows, c->hidden),
                                                       GRAPH_FILL_NORMAL, &position_part, 1)};
    builder_name(name, "%sembeddings", c->prefix);
    return builder_add_node(b, name, OP_TOKENS, NULL, &patches, 1, params, 2);
}

/* x [B,T,C] → [B,T,C]; marks the cuts inside the layer */
static graph_value_id encoder_layer(struct builder *b, int64_t index, graph_value_id x) {
    const struct model_config *c = b->config;
    char layer[BUILDER_NAME_TEXT], name[BUILDER_NAME_TEXT];
    builder_name(layer, "%sencoder.layer.%" PRId64, c->prefix, index);

    builder_name(name, "%s.layernorm_before", layer);
    graph_value_id normed = builder_layer_norm(b, name, x);
    builder_name(name, "%s.attention.attention", layer);
    const graph_value_id context = builder_attention(b, name, normed, NULL);
    builder_cut(b);

    builder_name(name, "%s.attention.output.dense", layer);
    x = builder_linear(b, name, c->hidden, c->hidden, ACTIVATION_NONE, context, &x);
    builder_cut(b);

    builder_name(name, "%s.layernorm_after", layer);
    normed = builder_layer_norm(b, name, x);
    builder_name(name, "%s.intermediate.dense", layer);
    const graph_value_id wide =
        builder_linear(b, name, c->hidden, c->intermediate, c->activation, normed, NULL);
    builder_cut(b);

    builder_name(name, "%s.output.dense", layer);
    return builder_linear(b, name, c->intermediate, c->hidden, ACTIVATION_NONE, wide, &x);
}

/* x [B,T,C] → row `index` of T through a classifier [B,labels], or the row itself [B,C] */
static graph_value_id head(struct builder *b, const char *name, int64_t index, graph_value_id x) {
    const struct op_attrs row = {.index = index};
    char select[BUILDER_NAME_TEXT];
    builder_name(select, "%s.row", name);
    const bool classifier = b->config->labels > 0;
    x = builder_add_node(b, classifier ? select : name, OP_SELECT, &row, &x, 1, NULL, 0);
    return classifier ? builder_linear(b, name, b->config->hidden, b->config->labels,
                                       ACTIVATION_NONE, x, NULL)
                      : x;
}

static graph_value_id heads(struct builder *b, graph_value_id x) {
    if (!b->config->distilled) {
        return head(b, b->config->labels > 0 ? "classifier" : "embedding", 0, x);
    }
    const graph_value_id both[] = {head(b, "cls_classifier", 0, x),
                                   head(b, "distillation_classifier", 1, x)};
    const struct op_attrs mean = {.scale = 0.5F};
    return builder_add_node(b, "logits", OP_ADD, &mean, both, 2, NULL, 0);
}

shoal_status vit_build(const struct model_config *config, struct graph *graph,
                       struct shoal_error *error) {
    struct builder b = {config, graph, error, SHOAL_OK};
    graph_value_id x = 0;
    struct model_input pixels[MODEL_MAX_INPUTS];
    (void)model_inputs(config, pixels);
    TRY(graph_add_input(graph, pixels[0].name, pixels[0].type, &x, error));
    x = embeddings(&b, x);
    for (int64_t i = 0; i < config->layers; i++) {
        x = encoder_layer(&b, i, x);
        if (i + 1 < config->layers) {
            builder_cut(&b);
        }
    }
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%slayernorm", config->prefix);
    x = heads(&b, builder_layer_norm(&b, name, x));
    TRY(b.status);
    return graph_mark_output(graph, x, error);
}
