/*
 * Matrix product with weights of reduced precision: the counterpart of vector_ops.gemm, whose
 * blocking it shares. The numbers are those of kernels/quantise.h; compiled once per instruction
 * set, those with dot products of bf16 and of bytes included, and chosen by narrow_get.
 *
 * Numeric guarantee: as vector.h. Products of bytes are added up as integers, so int8 does not
 * depend on the instruction set at all. A bf16 product adds, for every pair of values, the second
 * product and then the first to one f32 chain, each with one rounding: what AVX512_BF16 does, and
 * what is computed elsewhere, numbers below 1.2e-38 aside (the instruction takes them for 0).
 *
 * Threads: all functions are pure; they work on the calling thread only.
 */
#ifndef KERNELS_VECTOR_NARROW_H
#define KERNELS_VECTOR_NARROW_H

#include "kernels/op.h"
#include "kernels/quantise.h"

/* y [M,N] = activation(A [M,K] · B [K,N] + bias) + residual, or activation(… + residual). */
struct narrow_gemm {
    enum precision precision;
    int64_t columns, depth; /* N, K ≥ 1 */
    /* Row m of A: where its K values lie, or buffer [K] filled with them; f32, or u8 if there is
     * range. */
    const void *(*row)(const void *source, int64_t m, void *buffer);
    /* I8 only: how row m was quantised; NULL: it is quantised here, as a whole. */
    struct quant_range (*range)(const void *source, int64_t m);
    const void *source;
    const void *packed;    /* B from pack */
    const float *bias;     /* [N] or NULL */
    const float *residual; /* [M,N] with y's stride, or NULL; may be y */
    float *y;
    int64_t y_stride; /* elements from row to row */
    enum activation activation;
    bool residual_first; /* before the activation */
};

struct narrow_ops {
    const char *name;
    int panel; /* columns of B are packed in panels of so many, the last one padded with zeros */

    size_t (*packed_bytes)(enum precision precision, int64_t depth, int64_t columns);
    /* From B stored transposed, b [N,K], its rows `stride` apart. packed is 64-byte aligned. */
    void (*pack)(enum precision precision, const float *b, int64_t stride, int64_t depth,
                 int64_t columns, void *packed);

    /* Bytes that one call of gemm needs. */
    size_t (*scratch_bytes)(enum precision precision, int64_t rows, int64_t depth);
    /* Rows first_row..last_row−1 and panels first..last−1 of the result. */
    void (*gemm)(const struct narrow_gemm *gemm, int64_t first_row, int64_t last_row, int64_t first,
                 int64_t last, void *scratch);

    /* The range of n values, stretched to hold what *least and *greatest were. */
    void (*stretch)(const float *x, int64_t n, float *least, float *greatest);
    void (*quantise)(const float *x, int64_t n, struct quant_range range, uint8_t *to);
};

/* For the present instruction set (the cap included); those that a precision gains from only if
 * the processor has them. */
const struct narrow_ops *narrow_get(enum precision precision);

extern const struct narrow_ops narrow_baseline;
#if defined(__x86_64__)
extern const struct narrow_ops narrow_avx2;
extern const struct narrow_ops narrow_avx512, narrow_avx512_vnni, narrow_avx512_bf16;
#elif defined(__aarch64__)
extern const struct narrow_ops narrow_dotprod;
#endif

#endif
