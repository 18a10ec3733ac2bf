/* What convolutional networks are made of. Private to cnn*.c. */
#ifndef MODELS_CNN_PARTS_H
#define MODELS_CNN_PARTS_H

#include "models/builder.h"

/* An image on its way through the network: [BATCH, side, side, channels]. */
struct plane {
    graph_value_id value;
    int64_t side, channels;
};

struct convolution {
    int64_t channels; /* that come out */
    int64_t kernel, stride, pad, groups;
    enum activation activation;
    const char *norm;               /* the batch norm behind it; NULL: none, and a bias */
    const graph_value_id *residual; /* added before the activation, or NULL */
};

/* The convolution with the weights "<name>.weight" and "<name>.bias" or its norm's. */
struct plane cnn_convolve(struct builder *b, const char *name, struct plane x,
                          const struct convolution *c);

/* Windows of size × size; ceil: the last ones may reach beyond the image. */
struct plane cnn_max_pool(struct builder *b, const char *name, struct plane x, int64_t size,
                          int64_t stride, int64_t pad, bool ceil);
struct plane cnn_average_pool(struct builder *b, const char *name, struct plane x, int64_t size);

/* [B,1,1,C] → [B,C] */
graph_value_id cnn_flatten(struct builder *b, const char *name, struct plane x);

/* A linear layer on a flattened image whose weights are stored for [B,C,H,W]: a convolution with
 * one window. [B,H,W,C] → [B,1,1,out] */
struct plane cnn_dense(struct builder *b, const char *name, struct plane x, int64_t out,
                       enum activation activation);

/* A family's network: from the pixels to the logits [B,labels]; marks the cuts. */
graph_value_id cnn_mlp(struct builder *b, struct plane x);
graph_value_id cnn_lenet(struct builder *b, struct plane x);
graph_value_id cnn_vgg(struct builder *b, struct plane x);
graph_value_id cnn_resnet(struct builder *b, struct plane x);
graph_value_id cnn_mobilenet(struct builder *b, struct plane x);
graph_value_id cnn_squeezenet(struct builder *b, struct plane x);

#endif
