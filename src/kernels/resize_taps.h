/*
 * Which elements of an axis one output of RESIZE takes, and with which weights: shared by kernels.
 * After ONNX's operator Resize (opset 19).
 */
#ifndef KERNELS_RESIZE_TAPS_H
#define KERNELS_RESIZE_TAPS_H

#include "kernels/kernel.h"

/* The most taps that an output of the axis has; 1 for axes that are left alone. */
int64_t resize_most_taps(const struct kernel_desc *desc, int axis);

/*
 * Taps of output `out`: places [taps] within the axis (repeated at the edges) and weights; returns
 * how many; −1: the value outside the region stands here.
 */
int64_t resize_taps(const struct kernel_desc *desc, int axis, int64_t out, int32_t *places,
                    float *weights);

#endif
