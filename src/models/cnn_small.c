/* MobileNetV2 and SqueezeNet. */
#include "models/cnn_parts.h"

#include <inttypes.h>

/* Of the stem's 32: expansion, channels, blocks, first stride. */
static const struct {
    int expansion, channels, blocks, stride;
} rows[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
            {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

/* Scaled by width/32 and made a multiple of 8 that is not less than 0.9 of that. */
static int64_t scaled(int64_t channels, int64_t width) {
    const int64_t whole = channels * width; /* in 32nds */
    int64_t rounded = (whole + 4 * 32) / (8 * 32) * 8;
    rounded = rounded < 8 ? 8 : rounded;
    return rounded * 32 * 10 < whole * 9 ? rounded + 8 : rounded;
}

/* "<prefix>features.<index>.<first>", its norm after it as ".<second>" */
static struct plane feature(struct builder *b, int64_t index, const char *first, const char *second,
                            struct plane x, struct convolution convolution) {
    char name[BUILDER_NAME_TEXT], norm[BUILDER_NAME_TEXT];
    builder_name(name, "%sfeatures.%" PRId64 ".%s", b->config->prefix, index, first);
    builder_name(norm, "%sfeatures.%" PRId64 ".%s", b->config->prefix, index, second);
    convolution.norm = norm;
    return cnn_convolve(b, name, x, &convolution);
}

/* Expand (unless by 1), depthwise, project; the input is added where the shape stays. */
static struct plane inverted(struct builder *b, int64_t index, struct plane x, int64_t channels,
                             int64_t expansion, int64_t stride) {
    const struct plane past = x;
    const struct convolution expand = {.channels = x.channels * expansion,
                                       .kernel = 1,
                                       .stride = 1,
                                       .groups = 1,
                                       .activation = ACTIVATION_RELU6};
    const struct convolution deep = {.channels = x.channels * expansion,
                                     .kernel = 3,
                                     .stride = stride,
                                     .pad = 1,
                                     .groups = x.channels * expansion,
                                     .activation = ACTIVATION_RELU6};
    const bool adds = stride == 1 && x.channels == channels;
    const struct convolution project = {.channels = channels,
                                        .kernel = 1,
                                        .stride = 1,
                                        .groups = 1,
                                        .residual = adds ? &past.value : NULL};
    if (expansion == 1) {
        x = feature(b, index, "conv.0.0", "conv.0.1", x, deep);
        return feature(b, index, "conv.1", "conv.2", x, project);
    }
    x = feature(b, index, "conv.0.0", "conv.0.1", x, expand);
    x = feature(b, index, "conv.1.0", "conv.1.1", x, deep);
    return feature(b, index, "conv.2", "conv.3", x, project);
}

graph_value_id cnn_mobilenet(struct builder *b, struct plane x) {
    const struct model_config *c = b->config;
    const struct convolution stem = {.channels = scaled(32, c->hidden),
                                     .kernel = 3,
                                     .stride = 2,
                                     .pad = 1,
                                     .groups = 1,
                                     .activation = ACTIVATION_RELU6};
    const struct convolution last = {.channels = c->intermediate,
                                     .kernel = 1,
                                     .stride = 1,
                                     .groups = 1,
                                     .activation = ACTIVATION_RELU6};
    int64_t index = 1;
    x = feature(b, 0, "0", "1", x, stem);
    for (int64_t row = 0; row < c->layers; row++) {
        for (int i = 0; i < rows[row].blocks; i++) {
            x = inverted(b, index++, x, scaled(rows[row].channels, c->hidden), rows[row].expansion,
                         i == 0 ? rows[row].stride : 1);
            builder_cut(b);
        }
    }
    x = feature(b, index, "0", "1", x, last);
    x = cnn_average_pool(b, "avgpool", x, x.side);
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%sclassifier.1", c->prefix);
    return builder_linear(b, name, x.channels, c->labels, ACTIVATION_NONE,
                          cnn_flatten(b, "flatten", x), NULL);
}

static struct plane fire_part(struct builder *b, int64_t index, const char *part, struct plane x,
                              int64_t channels, int64_t kernel) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%sfeatures.%" PRId64 ".%s", b->config->prefix, index, part);
    const struct convolution convolution = {.channels = channels,
                                            .kernel = kernel,
                                            .stride = 1,
                                            .pad = kernel / 2,
                                            .groups = 1,
                                            .activation = ACTIVATION_RELU};
    return cnn_convolve(b, name, x, &convolution);
}

/* Squeeze 1×1, then 1×1 and 3×3 side by side. */
static struct plane fire(struct builder *b, int64_t index, struct plane x, int64_t squeezed) {
    x = fire_part(b, index, "squeeze", x, squeezed, 1);
    const struct plane narrow = fire_part(b, index, "expand1x1", x, 4 * squeezed, 1);
    const struct plane wide = fire_part(b, index, "expand3x3", x, 4 * squeezed, 3);
    const graph_value_id both[] = {narrow.value, wide.value};
    const struct op_attrs attrs = {.axis = 3};
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%sfeatures.%" PRId64, b->config->prefix, index);
    return (struct plane){builder_add_node(b, name, OP_CONCAT, &attrs, both, 2, NULL, 0), x.side,
                          8 * squeezed};
}

graph_value_id cnn_squeezenet(struct builder *b, struct plane x) {
    const struct model_config *c = b->config;
    const bool first = c->layers == 10; /* version 1.0 */
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%sfeatures.0", c->prefix);
    const struct convolution stem = {.channels = (first ? 6 : 4) * c->hidden,
                                     .kernel = first ? 7 : 3,
                                     .stride = 2,
                                     .groups = 1,
                                     .activation = ACTIVATION_RELU};
    x = cnn_convolve(b, name, x, &stem);
    /* Features are counted with activations and pools; pools come before these fires. */
    const int pools[] = {0, first ? 3 : 2, first ? 7 : 4};
    int64_t index = 2;
    for (int i = 0, pooled = 0; i < 8; i++) {
        if (pooled < 3 && i == pools[pooled]) {
            builder_name(name, "%sfeatures.%" PRId64, c->prefix, index++);
            x = cnn_max_pool(b, name, x, 3, 2, 0, true);
            pooled++;
        }
        x = fire(b, index++, x, c->hidden * (i / 2 + 1));
        builder_cut(b);
    }
    builder_name(name, "%sclassifier.1", c->prefix);
    const struct convolution last = {.channels = c->labels,
                                     .kernel = 1,
                                     .stride = 1,
                                     .groups = 1,
                                     .activation = ACTIVATION_RELU};
    x = cnn_convolve(b, name, x, &last);
    return cnn_flatten(b, "logits", cnn_average_pool(b, "avgpool", x, x.side));
}
