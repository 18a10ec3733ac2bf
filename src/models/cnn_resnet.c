#include "models/cnn_parts.h"

#include "base/memory.h"

#include <inttypes.h>

/* Blocks of each stage; those of CIFAR have three stages of the same number. */
static const int *resnet_blocks(int64_t layers) {
    static const int small[] = {2, 2, 2, 2}, middle[] = {3, 4, 6, 3}, large[] = {3, 4, 23, 3},
                     largest[] = {3, 8, 36, 3};
    return layers == 18 ? small : layers <= 50 ? middle : layers == 101 ? large : largest;
}

static bool is_cifar(const struct model_config *c) {
    return c->layers % 6 == 2 && c->layers != 50 && c->layers != 152;
}

/* The name of a part of a block, "layer1.0.conv1". */
static void part_name(char text[BUILDER_NAME_TEXT], const char *block, const char *part) {
    builder_name(text, "%s.%s", block, part);
}

static struct plane normed(struct builder *b, const char *block, int number, struct plane x,
                           struct convolution convolution) {
    char name[BUILDER_NAME_TEXT], norm[BUILDER_NAME_TEXT];
    builder_name(name, "%s.conv%d", block, number);
    builder_name(norm, "%s.bn%d", block, number);
    convolution.norm = norm;
    convolution.groups = 1;
    return cnn_convolve(b, name, x, &convolution);
}

/* What goes past a block that changes its input's shape: torchvision's 1×1 convolution. */
static struct plane project(struct builder *b, const char *block, struct plane x, int64_t channels,
                            int64_t stride) {
    char name[BUILDER_NAME_TEXT], norm[BUILDER_NAME_TEXT];
    part_name(name, block, "downsample.0");
    part_name(norm, block, "downsample.1");
    const struct convolution convolution = {
        .channels = channels, .kernel = 1, .stride = stride, .groups = 1, .norm = norm};
    return cnn_convolve(b, name, x, &convolution);
}

/* Option A: every second pixel, and as many channels of zeros before and behind as are missing. It
 * is a convolution of constant filters, of which each takes one channel or none. */
static struct plane stretch(struct builder *b, const char *block, struct plane x, int64_t channels,
                            int64_t stride) {
    char name[BUILDER_NAME_TEXT];
    part_name(name, block, "shortcut");
    float *filters = mem_calloc((size_t)(channels * x.channels), sizeof *filters);
    if (filters == NULL) {
        b->status = error_set(b->error, SHOAL_NO_MEMORY, "%s: no memory", name);
        return x;
    }
    const int64_t before = (channels - x.channels) / 2;
    for (int64_t i = 0; i < x.channels; i++) {
        filters[(before + i) * x.channels + i] = 1;
    }
    const struct tensor_type type = {DTYPE_F32, SHAPE(channels, x.channels, 1, 1)};
    graph_param_id param = 0;
    if (b->status == SHOAL_OK) {
        b->status = graph_add_constant(b->graph, name, type, filters, &param, b->error);
    }
    mem_free(filters);
    const struct op_attrs attrs = {
        .stride = {(int32_t)stride, (int32_t)stride}, .dilation = {1, 1}, .groups = 1};
    return (struct plane){builder_add_node(b, name, OP_CONV2D, &attrs, &x.value, 1, &param, 1),
                          (x.side - 1) / stride + 1, channels};
}

/* Two 3×3 convolutions; or with `width` > 0 a bottleneck: 1×1, 3×3, 1×1. */
static struct plane block(struct builder *b, const char *name, struct plane x, int64_t channels,
                          int64_t stride, int64_t width) {
    const enum activation relu = ACTIVATION_RELU;
    struct plane past = x;
    if (x.channels != channels || stride > 1) {
        past = is_cifar(b->config) ? stretch(b, name, x, channels, stride)
                                   : project(b, name, x, channels, stride);
    }
    const struct convolution wide = {
        .channels = channels, .kernel = 3, .stride = stride, .pad = 1, .activation = relu};
    if (width == 0) {
        x = normed(b, name, 1, x, wide);
        struct convolution last = wide;
        last.stride = 1;
        last.residual = &past.value;
        return normed(b, name, 2, x, last);
    }
    struct convolution middle = wide;
    middle.channels = width;
    const struct convolution first = {
        .channels = width, .kernel = 1, .stride = 1, .activation = relu};
    const struct convolution last = {.channels = channels,
                                     .kernel = 1,
                                     .stride = 1,
                                     .activation = relu,
                                     .residual = &past.value};
    x = normed(b, name, 1, x, first);
    x = normed(b, name, 2, x, middle);
    return normed(b, name, 3, x, last);
}

static graph_value_id head(struct builder *b, const char *classifier, struct plane x) {
    char name[BUILDER_NAME_TEXT];
    x = cnn_average_pool(b, "avgpool", x, x.side);
    builder_name(name, "%s%s", b->config->prefix, classifier);
    return builder_linear(b, name, x.channels, b->config->labels, ACTIVATION_NONE,
                          cnn_flatten(b, "flatten", x), NULL);
}

graph_value_id cnn_resnet(struct builder *b, struct plane x) {
    const struct model_config *c = b->config;
    const bool cifar = is_cifar(c);
    const bool bottlenecks = !cifar && c->layers >= 50;
    char name[BUILDER_NAME_TEXT], norm[BUILDER_NAME_TEXT];
    builder_name(name, "%sconv1", c->prefix);
    builder_name(norm, "%sbn1", c->prefix);
    const struct convolution stem = {.channels = c->hidden,
                                     .kernel = cifar ? 3 : 7,
                                     .stride = cifar ? 1 : 2,
                                     .pad = cifar ? 1 : 3,
                                     .groups = 1,
                                     .activation = ACTIVATION_RELU,
                                     .norm = norm};
    x = cnn_convolve(b, name, x, &stem);
    if (!cifar) {
        x = cnn_max_pool(b, "maxpool", x, 3, 2, 1, false);
    }
    const int stages = cifar ? 3 : 4;
    for (int stage = 0; stage < stages; stage++) {
        const int64_t width = c->hidden << stage;
        const int64_t blocks = cifar ? (c->layers - 2) / 6 : resnet_blocks(c->layers)[stage];
        for (int64_t i = 0; i < blocks; i++) {
            builder_name(name, "%slayer%d.%" PRId64, c->prefix, stage + 1, i);
            x = block(b, name, x, bottlenecks ? 4 * width : width, stage > 0 && i == 0 ? 2 : 1,
                      bottlenecks ? width : 0);
            if (stage + 1 < stages || i + 1 < blocks) {
                builder_cut(b);
            }
        }
    }
    return head(b, cifar ? "linear" : "fc", x);
}
