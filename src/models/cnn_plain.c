/* MLP, LeNet-5, VGG: one layer after the other. */
#include "models/cnn_parts.h"

#include <inttypes.h>

/* Named as torchvision.ops.MLP does: layers and activations (and dropout) are counted. */
graph_value_id cnn_mlp(struct builder *b, struct plane x) {
    const struct model_config *c = b->config;
    char name[BUILDER_NAME_TEXT];
    for (int64_t i = 0; i < c->layers; i++) {
        const bool last = i + 1 == c->layers;
        builder_name(name, "%s%" PRId64, c->prefix, i * 3);
        x = cnn_dense(b, name, x, last ? c->labels : c->hidden,
                      last ? ACTIVATION_NONE : ACTIVATION_RELU);
        if (!last) {
            builder_cut(b);
        }
    }
    return cnn_flatten(b, "logits", x);
}

static struct plane layer(struct builder *b, const char *group, int64_t index, struct plane x,
                          struct convolution convolution) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%s%s%" PRId64, b->config->prefix, group, index);
    convolution.groups = 1;
    return cnn_convolve(b, name, x, &convolution);
}

static struct plane dense(struct builder *b, const char *group, int64_t index, struct plane x,
                          int64_t out, enum activation activation) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%s%s%" PRId64, b->config->prefix, group, index);
    return cnn_dense(b, name, x, out, activation);
}

/* conv1, conv2, fc1, fc2, fc3 as in PyTorch's tutorials: ReLU and max pools; an image of 28² is
 * padded to 32². */
graph_value_id cnn_lenet(struct builder *b, struct plane x) {
    const struct convolution first = {
        .channels = 6, .kernel = 5, .stride = 1, .pad = 2, .activation = ACTIVATION_RELU};
    const struct convolution second = {
        .channels = 16, .kernel = 5, .stride = 1, .activation = ACTIVATION_RELU};
    x = cnn_max_pool(b, "pool1", layer(b, "conv", 1, x, first), 2, 2, 0, false);
    builder_cut(b);
    x = cnn_max_pool(b, "pool2", layer(b, "conv", 2, x, second), 2, 2, 0, false);
    builder_cut(b);
    x = dense(b, "fc", 1, x, 120, ACTIVATION_RELU);
    x = dense(b, "fc", 2, x, 84, ACTIVATION_RELU);
    x = dense(b, "fc", 3, x, b->config->labels, ACTIVATION_NONE);
    return cnn_flatten(b, "logits", x);
}

/* Convolutions of each of the five blocks. */
static const int *vgg_blocks(int64_t layers) {
    static const int eleven[] = {1, 1, 2, 2, 2}, thirteen[] = {2, 2, 2, 2, 2},
                     sixteen[] = {2, 2, 3, 3, 3}, nineteen[] = {2, 2, 4, 4, 4};
    return layers == 11 ? eleven : layers == 13 ? thirteen : layers == 16 ? sixteen : nineteen;
}

graph_value_id cnn_vgg(struct builder *b, struct plane x) {
    const struct model_config *c = b->config;
    const int *blocks = vgg_blocks(c->layers);
    int64_t index = 0; /* of the features: convolutions, activations and pools are counted */
    for (int block = 0; block < 5; block++) {
        const struct convolution convolution = {.channels = c->hidden << (block < 3 ? block : 3),
                                                .kernel = 3,
                                                .stride = 1,
                                                .pad = 1,
                                                .activation = ACTIVATION_RELU};
        for (int i = 0; i < blocks[block]; i++, index += 2) {
            x = layer(b, "features.", index, x, convolution);
            if (i + 1 < blocks[block]) {
                builder_cut(b);
            }
        }
        char name[BUILDER_NAME_TEXT];
        builder_name(name, "%sfeatures.%" PRId64, c->prefix, index++);
        x = cnn_max_pool(b, name, x, 2, 2, 0, false);
        builder_cut(b);
    }
    if (x.side > 7) { /* to 7²: a multiple, as the configuration was checked */
        x = cnn_average_pool(b, "avgpool", x, x.side / 7);
    }
    x = dense(b, "classifier.", 0, x, c->intermediate, ACTIVATION_RELU);
    builder_cut(b);
    x = dense(b, "classifier.", 3, x, c->intermediate, ACTIVATION_RELU);
    builder_cut(b);
    x = dense(b, "classifier.", 6, x, c->labels, ACTIVATION_NONE);
    return cnn_flatten(b, "logits", x);
}
