#include "models/vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#define NAME_TEXT 192

/* A graph being built: the first failure sticks, later steps do nothing. */
struct builder {
    const struct model_config *config;
    struct graph *graph;
    struct shoal_error *error;
    shoal_status status;
};

static void format_name(char text[NAME_TEXT], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void format_name(char text[NAME_TEXT], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, NAME_TEXT, format, arguments); /* prefix and layer are bounded: it fits */
    va_end(arguments);
}

static graph_param_id add_param(struct builder *b, const char *name, struct shape shape,
                                enum graph_fill fill, const struct graph_part *parts,
                                uint32_t part_count) {
    graph_param_id id = 0;
    if (b->status == SHOAL_OK) {
        const struct tensor_type type = {DTYPE_F32, shape};
        b->status = graph_add_param(b->graph, name, type, fill, parts, part_count, &id, b->error);
    }
    return id;
}

/* A param that is one tensor of the file, under its own name. */
static graph_param_id add_whole(struct builder *b, const char *name, const char *suffix,
                                struct shape shape, enum graph_fill fill) {
    char full[NAME_TEXT];
    format_name(full, "%s.%s", name, suffix);
    const struct graph_part part = {full, shape};
    return add_param(b, full, shape, fill, &part, 1);
}

static graph_value_id add_node(struct builder *b, const char *name, enum op op,
                               const struct op_attrs *attrs, const graph_value_id *inputs,
                               int input_count, const graph_param_id *params, int param_count) {
    graph_value_id out = 0;
    if (b->status == SHOAL_OK) {
        b->status = graph_add_node(b->graph, name, op, attrs, GRAPH_F, inputs, input_count, params,
                                   param_count, &out, b->error);
    }
    return out;
}

static void cut(struct builder *b) {
    if (b->status == SHOAL_OK) {
        b->status = graph_mark_cut(b->graph, b->error);
    }
}

/* x [B,T,C] → [B,T,C] */
static graph_value_id layer_norm(struct builder *b, const char *name, graph_value_id x) {
    const struct shape shape = SHAPE(b->config->hidden);
    const graph_param_id params[] = {add_whole(b, name, "weight", shape, GRAPH_FILL_ONES),
                                     add_whole(b, name, "bias", shape, GRAPH_FILL_ZEROS)};
    const struct op_attrs attrs = {.epsilon = b->config->layer_norm_eps};
    return add_node(b, name, OP_LAYER_NORM, &attrs, &x, 1, params, 2);
}

/* x [...,in] → activation(x·wᵀ + bias) (+ residual) [...,out] */
static graph_value_id linear(struct builder *b, const char *name, int64_t in, int64_t out,
                             enum activation activation, graph_value_id x,
                             const graph_value_id *residual) {
    const graph_param_id params[] = {
        add_whole(b, name, "weight", SHAPE(out, in), GRAPH_FILL_NORMAL),
        add_whole(b, name, "bias", SHAPE(out), GRAPH_FILL_ZEROS)};
    const struct op_attrs attrs = {.activation = activation};
    const graph_value_id inputs[] = {x, residual != NULL ? *residual : x};
    return add_node(b, name, OP_LINEAR, &attrs, inputs, residual != NULL ? 2 : 1, params, 2);
}

/* pixels [B,H,W,channels] → tokens [B,R+P,C]: R prefix tokens, then P patches row by row */
static graph_value_id embeddings(struct builder *b, graph_value_id pixels) {
    const struct model_config *c = b->config;
    char name[NAME_TEXT], cls[NAME_TEXT], distillation[NAME_TEXT], position[NAME_TEXT];
    format_name(name, "%sembeddings.patch_embeddings.projection", c->prefix);
    format_name(cls, "%sembeddings.cls_token", c->prefix);
    format_name(distillation, "%sembeddings.distillation_token", c->prefix);
    format_name(position, "%sembeddings.position_embeddings", c->prefix);

    const int64_t patch = c->patch_size;
    const graph_param_id projection[] = {
        add_whole(b, name, "weight", SHAPE(c->hidden, c->channels, patch, patch),
                  GRAPH_FILL_NORMAL),
        add_whole(b, name, "bias", SHAPE(c->hidden), GRAPH_FILL_ZEROS)};
    const struct op_attrs conv = {
        .stride = {(int32_t)patch, (int32_t)patch}, .dilation = {1, 1}, .groups = 1};
    const graph_value_id patches = add_node(b, name, OP_CONV2D, &conv, &pixels, 1, projection, 2);

    const int64_t side = c->image_size / patch;
    const int64_t prefix = c->family == MODEL_DEIT ? 2 : 1;
    const int64_t rows = prefix + side * side;
    const struct graph_part prefix_parts[] = {{cls, SHAPE(1, 1, c->hidden)},
                                              {distillation, SHAPE(1, 1, c->hidden)}};
    const struct graph_part position_part = {position, SHAPE(1, rows, c->hidden)};
    const graph_param_id params[] = {
        add_param(b, cls, SHAPE(prefix, c->hidden), GRAPH_FILL_NORMAL, prefix_parts,
                  (uint32_t)prefix),
        add_param(b, position, SHAPE(rows, c->hidden), GRAPH_FILL_NORMAL, &position_part, 1)};
    format_name(name, "%sembeddings", c->prefix);
    return add_node(b, name, OP_TOKENS, NULL, &patches, 1, params, 2);
}

/* normed x [B,T,C] → q, k and v side by side [B,T,3C]: three tensors of the file, one product */
static graph_value_id query_key_value(struct builder *b, const char *layer, graph_value_id x) {
    static const char *const names[] = {"query", "key", "value"};
    const int64_t hidden = b->config->hidden;
    char node[NAME_TEXT], weight[NAME_TEXT], bias[NAME_TEXT];
    char weights[3][NAME_TEXT], biases[3][NAME_TEXT];
    struct graph_part weight_parts[3], bias_parts[3];
    for (int i = 0; i < 3; i++) {
        format_name(weights[i], "%s.attention.attention.%s.weight", layer, names[i]);
        format_name(biases[i], "%s.attention.attention.%s.bias", layer, names[i]);
        weight_parts[i] = (struct graph_part){weights[i], SHAPE(hidden, hidden)};
        bias_parts[i] = (struct graph_part){biases[i], SHAPE(hidden)};
    }
    format_name(node, "%s.attention.attention.qkv", layer);
    format_name(weight, "%s.attention.attention.qkv.weight", layer);
    format_name(bias, "%s.attention.attention.qkv.bias", layer);
    graph_param_id params[2] = {
        add_param(b, weight, SHAPE(3 * hidden, hidden), GRAPH_FILL_NORMAL, weight_parts, 3)};
    if (b->config->qkv_bias) {
        params[1] = add_param(b, bias, SHAPE(3 * hidden), GRAPH_FILL_ZEROS, bias_parts, 3);
    }
    return add_node(b, node, OP_LINEAR, NULL, &x, 1, params, b->config->qkv_bias ? 2 : 1);
}

/* x [B,T,C] → [B,T,C]; marks the cuts inside the layer */
static graph_value_id encoder_layer(struct builder *b, int64_t index, graph_value_id x) {
    const struct model_config *c = b->config;
    char layer[NAME_TEXT], name[NAME_TEXT];
    format_name(layer, "%sencoder.layer.%" PRId64, c->prefix, index);

    format_name(name, "%s.layernorm_before", layer);
    graph_value_id normed = layer_norm(b, name, x);
    const graph_value_id qkv = query_key_value(b, layer, normed);
    const int64_t width = c->hidden / c->heads; /* of a head */
    const struct op_attrs attention = {.heads = (int32_t)c->heads,
                                       .scale = (float)(1.0 / sqrt((double)width))};
    format_name(name, "%s.attention.attention", layer);
    const graph_value_id context = add_node(b, name, OP_ATTENTION, &attention, &qkv, 1, NULL, 0);
    cut(b);

    format_name(name, "%s.attention.output.dense", layer);
    x = linear(b, name, c->hidden, c->hidden, ACTIVATION_NONE, context, &x);
    cut(b);

    format_name(name, "%s.layernorm_after", layer);
    normed = layer_norm(b, name, x);
    format_name(name, "%s.intermediate.dense", layer);
    const graph_value_id wide =
        linear(b, name, c->hidden, c->intermediate, c->activation, normed, NULL);
    cut(b);

    format_name(name, "%s.output.dense", layer);
    return linear(b, name, c->intermediate, c->hidden, ACTIVATION_NONE, wide, &x);
}

/* x [B,T,C] → row `index` of T through a classifier [B,labels], or the row itself [B,C] */
static graph_value_id head(struct builder *b, const char *name, int64_t index, graph_value_id x) {
    const struct op_attrs row = {.index = index};
    char select[NAME_TEXT];
    format_name(select, "%s.row", name);
    const bool classifier = b->config->labels > 0;
    x = add_node(b, classifier ? select : name, OP_SELECT, &row, &x, 1, NULL, 0);
    return classifier
               ? linear(b, name, b->config->hidden, b->config->labels, ACTIVATION_NONE, x, NULL)
               : x;
}

static graph_value_id heads(struct builder *b, graph_value_id x) {
    if (!b->config->distilled) {
        return head(b, b->config->labels > 0 ? "classifier" : "embedding", 0, x);
    }
    const graph_value_id both[] = {head(b, "cls_classifier", 0, x),
                                   head(b, "distillation_classifier", 1, x)};
    const struct op_attrs mean = {.scale = 0.5F};
    return add_node(b, "logits", OP_ADD, &mean, both, 2, NULL, 0);
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
            cut(&b);
        }
    }
    char name[NAME_TEXT];
    format_name(name, "%slayernorm", config->prefix);
    x = heads(&b, layer_norm(&b, name, x));
    TRY(b.status);
    return graph_mark_output(graph, x, error);
}
