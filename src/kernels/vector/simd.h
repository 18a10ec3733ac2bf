/* Registers of VECTOR_WIDTH floats as GCC/Clang vector types, and functions on them. Private to
 * variant.h. */
#ifndef KERNELS_VECTOR_SIMD_H
#define KERNELS_VECTOR_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VECTOR_WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(VECTOR_WIDTH * 4)));
typedef uint32_t vu __attribute__((vector_size(VECTOR_WIDTH * 4)));
typedef float vf_memory __attribute__((vector_size(VECTOR_WIDTH * 4), aligned(4), may_alias));

#define LANES 16                     /* partial sums of a row, whatever the width */
#define GROUP (LANES / VECTOR_WIDTH) /* registers that hold them */
#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 32")
#endif

INLINE vf load(const float *p) {
    return *(const vf_memory *)p;
}

INLINE void store(float *p, vf x) {
    *(vf_memory *)p = x;
}

INLINE vf splat(float x) {
    return x - (vf){0}; /* x − 0 is x for every x, −0 included */
}

INLINE vf choose(vi mask, vf a, vf b) { /* mask ? a : b; lanes of mask are 0 or −1 */
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

INLINE vf larger(vf a, vf b) {
    return choose(a > b, a, b);
}

INLINE vf smaller(vf a, vf b) {
    return choose(a < b, a, b);
}

/* eˣ, within 2 ulp on [−87.3, 88]; below it goes to 0, above it stays at the end of the range. */
INLINE vf exponential(vf x) {
    const float magic = 12582912.0F; /* 1.5·2²³: adding it rounds to the nearest integer */
    const vi vanishes = x < splat(-87.3F);
    x = smaller(larger(x, splat(-87.3F)), splat(88.0F));
    const vf shifted = x * 1.44269504F + splat(magic);
    const vf n = shifted - magic;
    /* r = x − n·ln 2 in two steps; |r| ≤ ln 2 / 2 */
    const vf r = x - n * 0.693359375F - n * -2.12194440e-4F;
    /* Taylor to r⁷/5040: the first term left out is below 2e-9 */
    vf p = splat(1.98412698e-4F);
    p = p * r + splat(1.38888889e-3F);
    p = p * r + splat(8.33333333e-3F);
    p = p * r + splat(4.16666667e-2F);
    p = p * r + splat(1.66666667e-1F);
    p = p * r + splat(0.5F);
    p = p * r + splat(1.0F);
    p = p * r + splat(1.0F);
    const vi exponent = ((vi)shifted - (vi)splat(magic)) << 23; /* n in the exponent's place */
    return choose(vanishes, (vf){0}, (vf)((vi)p + exponent));
}

/*
 * erf(x) as x·P(x²)/Q(x²) on |x| ≤ 3.9 (degrees 5 and 5, fitted for least relative error, 1.7e-8),
 * ±1 beyond, where 1 − |erf| < 3.5e-8. Error in f32: 3.6e-7 at most.
 */
INLINE vf error_function(vf x) {
    x = smaller(larger(x, splat(-3.9F)), splat(3.9F));
    const vf t = x * x;
    vf p = splat(2.0664651856350247e-06F);
    p = p * t + splat(2.850634336937219e-04F);
    p = p * t + splat(3.738397965207696e-03F);
    p = p * t + splat(5.2668243646621704e-02F);
    p = p * t + splat(1.8966801464557648e-01F);
    p = p * t + splat(1.1283791065216064F);
    vf q = splat(3.827000182354823e-05F);
    q = q * t + splat(1.157388905994594e-03F);
    q = q * t + splat(1.4914381317794323e-02F);
    q = q * t + splat(1.1381945759057999e-01F);
    q = q * t + splat(5.014216899871826e-01F);
    q = q * t + splat(1.0F);
    return smaller(larger(x * p / q, splat(-1.0F)), splat(1.0F));
}

INLINE vf hyperbolic_tangent(vf x) {
    x = smaller(larger(x, splat(-10.0F)), splat(10.0F));
    /* near 0 the quotient below would cancel: odd Taylor polynomial there, error below 2e-9·x */
    const vf t = x * x;
    vf p = splat(-17.0F / 315.0F);
    p = p * t + splat(2.0F / 15.0F);
    p = p * t + splat(-1.0F / 3.0F);
    p = p * t * x + x;
    const vf e = exponential(x + x);
    return choose(t < splat(0.01F), p, (e - splat(1.0F)) / (e + splat(1.0F)));
}

/* Each but NONE, for switches whose cases compile to a loop each. */
#define ACTIVATIONS_COMPUTED(X) \
    X(RELU)                     \
    X(GELU_ERF)                 \
    X(GELU_TANH)                \
    X(TANH)                     \
    X(SIGMOID)                  \
    X(RELU6)                    \
    X(SILU)                     \
    X(HARD_SIGMOID)             \
    X(HARD_SWISH)

INLINE vf hard_sigmoid(vf x) {
    return smaller(larger(x * (1.0F / 6.0F) + splat(0.5F), (vf){0}), splat(1.0F));
}

INLINE vf apply(enum activation activation, vf x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return larger(x, (vf){0});
    case ACTIVATION_GELU_ERF: {
        const vf half = x * 0.5F;
        return half * error_function(x * 0.70710678F) + half;
    }
    case ACTIVATION_GELU_TANH: {
        const vf half = x * 0.5F;
        const vf inner = (x * x * x * 0.044715F + x) * 0.79788456F;
        return half * hyperbolic_tangent(inner) + half;
    }
    case ACTIVATION_TANH:
        return hyperbolic_tangent(x);
    case ACTIVATION_SIGMOID:
        return splat(1.0F) / (exponential(-x) + splat(1.0F));
    case ACTIVATION_RELU6:
        return smaller(larger(x, (vf){0}), splat(6.0F));
    case ACTIVATION_SILU:
        return x / (exponential(-x) + splat(1.0F));
    case ACTIVATION_HARD_SIGMOID:
        return hard_sigmoid(x);
    case ACTIVATION_HARD_SWISH:
        return x * hard_sigmoid(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

/* Sum of the LANES partial sums in a fixed tree. */
INLINE float sum_lanes(const vf partial[GROUP]) {
    float lanes[LANES];
    UNROLLED
    for (int g = 0; g < GROUP; g++) {
        store(lanes + g * VECTOR_WIDTH, partial[g]);
    }
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            lanes[i] += lanes[i + width];
        }
    }
    return lanes[0];
}

#endif
