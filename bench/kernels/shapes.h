/* Every distinct matrix product and convolution of five networks. Private to shapes_bench.c. */
#ifndef BENCH_KERNELS_SHAPES_H
#define BENCH_KERNELS_SHAPES_H

struct layer {
    const char *network;
    int rows, depth, columns; /* matrix product per item; rows 0: a convolution */
    int size, channels, filters, kernel, stride,
        groups; /* square images, "same" padding but for patches */
};

#define M(network, rows, depth, columns) \
    { network, rows, depth, columns, 0, 0, 0, 0, 0, 0 }
#define C(network, size, channels, filters, kernel, stride) \
    { network, 0, 0, 0, size, channels, filters, kernel, stride, 1 }
#define D(network, size, channels, stride) \
    { network, 0, 0, 0, size, channels, channels, 3, stride, channels }

static const struct layer layers[] = {
    C("vit-base", 224, 3, 768, 16, 16),    M("vit-base", 197, 768, 2304),
    M("vit-base", 197, 768, 768),          M("vit-base", 197, 768, 3072),
    M("vit-base", 197, 3072, 768),         M("vit-base", 1, 768, 1000),
    C("vit-large", 224, 3, 1024, 16, 16),  M("vit-large", 197, 1024, 3072),
    M("vit-large", 197, 1024, 1024),       M("vit-large", 197, 1024, 4096),
    M("vit-large", 197, 4096, 1024),       M("vit-large", 1, 1024, 1000),
    M("bert-base-128", 128, 768, 2304),    M("bert-base-128", 128, 768, 768),
    M("bert-base-128", 128, 768, 3072),    M("bert-base-128", 128, 3072, 768),
    M("bert-base", 1, 768, 768),           M("bert-base-512", 512, 768, 2304),
    M("bert-base-512", 512, 768, 768),     M("bert-base-512", 512, 768, 3072),
    M("bert-base-512", 512, 3072, 768),    C("resnet-50", 224, 3, 64, 7, 2),
    C("resnet-50", 56, 64, 64, 1, 1),      C("resnet-50", 56, 64, 64, 3, 1),
    C("resnet-50", 56, 64, 256, 1, 1),     C("resnet-50", 56, 256, 64, 1, 1),
    C("resnet-50", 56, 256, 128, 1, 1),    C("resnet-50", 56, 128, 128, 3, 2),
    C("resnet-50", 28, 128, 512, 1, 1),    C("resnet-50", 56, 256, 512, 1, 2),
    C("resnet-50", 28, 512, 128, 1, 1),    C("resnet-50", 28, 128, 128, 3, 1),
    C("resnet-50", 28, 512, 256, 1, 1),    C("resnet-50", 28, 256, 256, 3, 2),
    C("resnet-50", 14, 256, 1024, 1, 1),   C("resnet-50", 28, 512, 1024, 1, 2),
    C("resnet-50", 14, 1024, 256, 1, 1),   C("resnet-50", 14, 256, 256, 3, 1),
    C("resnet-50", 14, 1024, 512, 1, 1),   C("resnet-50", 14, 512, 512, 3, 2),
    C("resnet-50", 7, 512, 2048, 1, 1),    C("resnet-50", 14, 1024, 2048, 1, 2),
    C("resnet-50", 7, 2048, 512, 1, 1),    C("resnet-50", 7, 512, 512, 3, 1),
    M("resnet-50", 1, 2048, 1000),         C("mobilenet-v2", 224, 3, 32, 3, 2),
    D("mobilenet-v2", 112, 32, 1),         C("mobilenet-v2", 112, 32, 16, 1, 1),
    C("mobilenet-v2", 112, 16, 96, 1, 1),  D("mobilenet-v2", 112, 96, 2),
    C("mobilenet-v2", 56, 96, 24, 1, 1),   C("mobilenet-v2", 56, 24, 144, 1, 1),
    D("mobilenet-v2", 56, 144, 1),         C("mobilenet-v2", 56, 144, 24, 1, 1),
    D("mobilenet-v2", 56, 144, 2),         C("mobilenet-v2", 28, 144, 32, 1, 1),
    C("mobilenet-v2", 28, 32, 192, 1, 1),  D("mobilenet-v2", 28, 192, 1),
    C("mobilenet-v2", 28, 192, 32, 1, 1),  D("mobilenet-v2", 28, 192, 2),
    C("mobilenet-v2", 14, 192, 64, 1, 1),  C("mobilenet-v2", 14, 64, 384, 1, 1),
    D("mobilenet-v2", 14, 384, 1),         C("mobilenet-v2", 14, 384, 64, 1, 1),
    C("mobilenet-v2", 14, 384, 96, 1, 1),  C("mobilenet-v2", 14, 96, 576, 1, 1),
    D("mobilenet-v2", 14, 576, 1),         C("mobilenet-v2", 14, 576, 96, 1, 1),
    D("mobilenet-v2", 14, 576, 2),         C("mobilenet-v2", 7, 576, 160, 1, 1),
    C("mobilenet-v2", 7, 160, 960, 1, 1),  D("mobilenet-v2", 7, 960, 1),
    C("mobilenet-v2", 7, 960, 160, 1, 1),  C("mobilenet-v2", 7, 960, 320, 1, 1),
    C("mobilenet-v2", 7, 320, 1280, 1, 1), M("mobilenet-v2", 1, 1280, 1000),
};

#undef M
#undef C
#undef D

enum { LAYERS = sizeof layers / sizeof layers[0] };

#endif
