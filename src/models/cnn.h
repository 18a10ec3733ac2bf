/*
 * Convolutional networks as graphs: MLP and LeNet-5 (LeCun et al. 1998), VGG (Simonyan and
 * Zisserman 2015), ResNet (He et al. 2016; with the bottlenecks' stride in their 3×3 convolution,
 * and the narrow ones for CIFAR with shortcuts of option A), MobileNetV2 (Sandler et al. 2018),
 * SqueezeNet (Iandola et al. 2016). Weights have torchvision's names; those of CIFAR's ResNets are
 * the ones of the paper's well-known implementation in PyTorch (conv1, bn1, layer1.0.conv1, …,
 * linear).
 *
 * Configurations: hidden is the width that the others are multiples of (MLP: of every hidden layer;
 * LeNet: 6; VGG and ResNet: 64, CIFAR's 16; MobileNetV2: 32, the stem; SqueezeNet: 16, the first
 * squeeze); intermediate the classifier's (VGG: 4096; MobileNetV2: 1280; else 0); layers the depth
 * that names the model (MLP: linear layers; MobileNetV2: rows of its table, 7; SqueezeNet: 10 or
 * 11 for version 1.0 or 1.1); layer_norm_eps the batch norms' epsilon.
 *
 * Images are NHWC. Batch norms are folded into the convolutions before them by derived weights
 * (graph/derived.h); ends of blocks are fused into their last convolution. Segments: a block of the
 * network each, or one convolution where there are no blocks; the stem belongs to the first, the
 * head to the last.
 */
#ifndef MODELS_CNN_H
#define MODELS_CNN_H

#include "models/model.h"

bool cnn_is(enum model_family family);

/* Errors: INVALID, naming the field, its value and its bounds. */
NODISCARD shoal_status cnn_check(const struct model_config *config, struct shoal_error *error);

/* Adds all nodes of a checked configuration to an empty graph. Errors: as model_build. */
NODISCARD shoal_status cnn_build(const struct model_config *config, struct graph *graph,
                                 struct shoal_error *error);

#endif
