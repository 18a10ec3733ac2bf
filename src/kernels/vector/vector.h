/*
 * Portable vector C for what the libraries do not serve well, compiled once per instruction set
 * (baseline, AVX2+FMA, AVX-512; NEON is arm64's baseline) and chosen by isa_current.
 *
 * Numeric guarantee: every result is computed by the same chain of operations whatever the row
 * count, the thread count, the position of the row and the width of the registers:
 * - a dot product is one chain of multiply-adds in index order, starting from 0;
 * - a sum over a row is 16 interleaved partial sums, added up in a fixed tree.
 * So results do not depend on the batch, nor on the split over threads. With fused multiply-add
 * (all but the x86-64 baseline) they do not depend on the instruction set either, for one compiled
 * program.
 *
 * Threads: all functions are pure; they work on the calling thread only.
 */
#ifndef KERNELS_VECTOR_VECTOR_H
#define KERNELS_VECTOR_VECTOR_H

#include "kernels/op.h"

/* y [M,N] = activation((A [M,K] · B [K,N])·scale + bias) + residual, or with residual_inside
 * activation((A·B)·scale + bias + residual). */
struct vector_gemm {
    int64_t columns, depth; /* N, K ≥ 1 */
    /* Row m of A: where its K values lie, or buffer [K] filled with them. */
    const float *(*row)(const void *source, int64_t m, float *buffer);
    const void *source;
    const float *packed;   /* B from pack_columns or pack_rows */
    const float *bias;     /* [N] or NULL */
    const float *residual; /* [M,N] with y's stride, or NULL; may be y */
    float *y;
    int64_t y_stride; /* elements from row to row */
    float scale;
    enum activation activation;
    bool residual_inside;
};

/*
 * One head: y [queries,width] = softmax(s + mask)·v, s = q·kᵀ·scale or, with softcap > 0,
 * softcap·tanh(q·kᵀ·scale/softcap); q [queries,depth], k [keys,depth], v [keys,width]. Rows lie
 * `stride` elements apart. A row that sees no key is 0.
 */
struct vector_attention {
    int64_t queries, keys, depth, width;
    const float *q, *k, *v;
    int64_t q_stride, k_stride, v_stride;
    const float *mask; /* [queries,keys] or NULL; a stride of 0: one row for all queries */
    int64_t mask_stride;
    float *y;
    int64_t y_stride;
    float scale, softcap;
    bool causal; /* query i sees the keys j ≤ i + keys − queries */
};

/* A depthwise convolution: x [height,width,channels], w [taps,taps,channels], bias [channels]. */
struct vector_depthwise {
    int64_t height, width, channels;
    int64_t taps[2], dilation[2];
    int64_t stride, left; /* along the line; padding before its first pixel */
    int64_t pixels;       /* of an output line */
    const float *w, *bias;
    enum activation activation;
};

struct vector_ops {
    const char *name;
    int panel; /* columns of B are packed in panels of so many, the last one padded with zeros */

    /* Elements of packed B [K,N]: K·(N rounded up to panels). */
    int64_t (*packed_count)(int64_t depth, int64_t columns);
    /* From B stored transposed, b [N,K], its rows `stride` apart (weights of linear layers). */
    void (*pack_columns)(const float *b, int64_t stride, int64_t depth, int64_t columns,
                         float *packed);
    /* From B as it is, b [K,N], its rows `stride` apart. */
    void (*pack_rows)(const float *b, int64_t stride, int64_t depth, int64_t columns,
                      float *packed);

    /* Elements of scratch that one call of gemm needs. */
    int64_t (*gemm_scratch)(int64_t rows, int64_t depth);
    /* Rows first_row..last_row−1 and panels first..last−1 of the result: how callers split work
     * over threads. */
    void (*gemm)(const struct vector_gemm *gemm, int64_t first_row, int64_t last_row, int64_t first,
                 int64_t last, float *scratch);

    /* Rows of n: y = (x − mean)/√(variance + epsilon)·gamma + beta; y may be x. */
    void (*layer_norm)(const float *x, const float *gamma, const float *beta, float epsilon,
                       int64_t rows, int64_t n, float *y);
    /* In place, rows of n lying `stride` apart: softmax(x·scale + mask); mask [n] or NULL;
     * a row of −∞ alone becomes 0. */
    void (*softmax)(float *x, int64_t rows, int64_t n, int64_t stride, float scale,
                    const float *mask);
    /* Elements of scratch for attention; keys and values packed into it; rows first..last−1 of y,
     * in memory that does not grow with their number. */
    int64_t (*attend_scratch)(int64_t keys, int64_t depth, int64_t width);
    void (*attend_pack)(const struct vector_attention *head, float *scratch);
    void (*attend)(const struct vector_attention *head, int64_t first, int64_t last,
                   float *scratch);
    void (*activate)(enum activation activation, const float *x, int64_t n, float *y);
    void (*multiply_add)(const float *a, const float *b, int64_t n, float *y); /* y += a·b */
    void (*add)(const float *a, const float *b, float scale, int64_t n, float *y);

    /* Rows of n combined, count ≥ 1 of them, in order: the greatest of each place, the sum divided,
     * the sum of products with weights. y is none of the rows. */
    void (*rows_greatest)(const float *const *rows, int64_t count, int64_t n, float *y);
    void (*rows_mean)(const float *const *rows, int64_t count, int64_t n, float divisor, float *y);
    void (*rows_weighted)(const float *const *rows, const float *weights, int64_t count, int64_t n,
                          float *y);
    /* (x − mean)·factor + shift, one of each per element, or for all; y may be x. */
    void (*normalise_channels)(const float *x, const float *mean, const float *factor,
                               const float *shift, int64_t n, float *y);
    void (*normalise_plane)(const float *x, float mean, float factor, float shift, int64_t n,
                            float *y);
    void (*moments)(const float *x, int64_t n, float *mean, float *variance);
    /* Rows of n: y = x/√(mean of squares + epsilon)·gamma; y may be x. */
    void (*rms_norm)(const float *x, const float *gamma, float epsilon, int64_t rows, int64_t n,
                     float *y);

    /* One line of output pixels y [pixels,channels] = activation(conv + bias + residual) whose
     * windows begin in row `top` of image x, perhaps outside; residual lies as y, or is NULL, and
     * may be y. */
    void (*depthwise)(const struct vector_depthwise *d, const float *x, int64_t top,
                      const float *residual, float *y);

    /* Multiply-adds in registers only, rounds times; returns the floating point operations done. */
    double (*spin)(int64_t rounds, float *sink);
};

/*
 * Calls work(context, index, count) for index 0..count−1, on so many OpenMP threads (on the calling
 * one alone if count is 1), and waits for all.
 */
void vector_parallel(int count, void (*work)(void *context, int index, int count), void *context);

/* Part `index` of `count` nearly equal parts of 0..total−1, as first and one past the last. */
static inline void vector_part(int64_t total, int index, int count, int64_t *first, int64_t *last) {
    *first = total * index / count;
    *last = total * (index + 1) / count;
}

/* For the present instruction set (the cap included). */
const struct vector_ops *vector_get(void);

extern const struct vector_ops vector_baseline;
#if defined(__x86_64__)
extern const struct vector_ops vector_avx2;
extern const struct vector_ops vector_avx512;
#endif

#endif
