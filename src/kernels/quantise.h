/*
 * What reduced precision means, number by number: the rules that every kernel set keeps to, so that
 * sets differ by the rounding of sums alone.
 *
 * - bf16: nearest, ties to even.
 * - Activations of I8: u8 by row (LINEAR), by pixel (CONV2D with windows of one pixel) or by image
 *   (CONV2D with larger windows, which share pixels). The values' range, stretched to hold
 *   0, is divided into 255 steps: q = nearest(x/scale) + zero. x ≈ scale·(q − zero), exactly 0 at
 * 0. NaN reads as the least value.
 * - Weights of I8 and W8: q = nearest(w/scale) in −127..127 with scale = max|w|/127 over an output
 *   channel.
 * - Weights of W4: groups of QUANT_GROUP values along an output channel, in the order of the
 *   product ([KH,KW,C] for convolutions): q = nearest(w/scale) in −8..7 with the f16 scale that
 *   makes the value of greatest magnitude −8. 4.5 bits a weight. q·scale is exact in f32.
 *
 * "nearest" is that of the exact product with a factor (one fused multiply-add), ties to even.
 */
#ifndef KERNELS_QUANTISE_H
#define KERNELS_QUANTISE_H

#include "tensor/convert.h"
#include "tensor/tensor.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define QUANT_GROUP 32
#define QUANT_MAGIC 12582912.0F /* 1.5·2²³: adding it rounds to the nearest integer */

/* The longest sum of products that cannot overflow: 255·127·65536 < 2³¹. */
#define QUANT_I8_DEPTH 65536

struct quant_range {
    float scale, factor; /* factor: what values are multiplied by; 0 for a range of nothing */
    int32_t zero;
};

/* Whether a convolution's activations are quantised by image. */
static inline bool quant_by_image(const struct shape *weights) {
    return weights->rank == 4 && (weights->dims[2] > 1 || weights->dims[3] > 1);
}

static inline float quant_nearest(float x, float factor) {
    return fmaf(x, factor, QUANT_MAGIC) - QUANT_MAGIC;
}

static inline float quant_clamp(float x, float low, float high) {
    x = x > low ? x : low; /* NaN becomes low */
    return x < high ? x : high;
}

/* least ≤ 0 ≤ greatest */
static inline struct quant_range quant_range(float least, float greatest) {
    const float range = greatest - least;
    if (!(range > 1e-30F)) {
        return (struct quant_range){0, 0, 0};
    }
    struct quant_range q = {.scale = range / 255.0F, .factor = 255.0F / range};
    q.zero = (int32_t)quant_clamp(quant_nearest(-least, q.factor), 0, 255);
    return q;
}

static inline float quant_u8(float x, struct quant_range q) {
    return quant_clamp(quant_nearest(x, q.factor) + (float)q.zero, 0, 255);
}

/* greatest: the largest magnitude. */
static inline struct quant_range quant_i8_range(float greatest) {
    if (!(greatest > 1e-30F)) {
        return (struct quant_range){0, 0, 0};
    }
    return (struct quant_range){greatest / 127.0F, 127.0F / greatest, 0};
}

static inline float quant_i8(float x, struct quant_range q) {
    return quant_clamp(quant_nearest(x, q.factor), -127, 127);
}

/* peak: the value of greatest magnitude, the first of them, with its sign. bits: the f16 scale. */
static inline struct quant_range quant_w4_range(float peak, uint16_t *bits) {
    *bits = convert_f32_to_f16(quant_clamp(peak / -8.0F, -65504.0F, 65504.0F));
    const float scale = convert_f16_to_f32(*bits);
    return (struct quant_range){scale, fabsf(scale) > 0 ? 1.0F / scale : 0, 0};
}

static inline float quant_w4(float x, struct quant_range q) {
    return quant_clamp(quant_nearest(x, q.factor), -8, 7);
}

#endif
