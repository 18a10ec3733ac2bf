/*
 * The blas kernel set: the forward ops in portable vector C (kernels/vector), with CBLAS for the
 * matrix products where its hand-written kernels are the faster ones (x86-64 below AVX2, arm64).
 *
 * Numeric guarantee beyond kernel.h: with the vector engine the result of a row does not depend on
 * the batch, on the thread count, nor (with fused multiply-add) on the instruction set. With CBLAS
 * it may.
 */
#ifndef KERNELS_BLAS_BLAS_H
#define KERNELS_BLAS_BLAS_H

#include "kernels/kernel.h"
#include "kernels/vector/maps.h"
#include "kernels/vector/vector.h"

extern const struct kernel_ops kernel_blas_ops;

/* Who multiplies matrices in LINEAR kernels created from now on. For tests and benchmarks; not
 * thread-safe. */
enum blas_engine { BLAS_ENGINE_AUTO, BLAS_ENGINE_VECTOR, BLAS_ENGINE_CBLAS };
void blas_engine_set(enum blas_engine engine);

struct blas_kernel;

/* One call on its way through the threads. */
struct blas_call {
    const struct blas_kernel *kernel;
    const char *packed;
    const void *const *inputs;
    void *const *outputs;
    char *scratch;
    int phase; /* 0 first */
};

/* What an op adds to the common life of a kernel. prepare fills the kernel's plan and sizes; pack
 * may be NULL. */
struct blas_function {
    void (*prepare)(struct blas_kernel *kernel);
    shoal_status (*pack)(const struct blas_kernel *kernel, const void *const params[], char *packed,
                         struct shoal_error *error);
    void (*work)(void *call, int index,
                 int count); /* one thread's part; context is a struct blas_call */
    unsigned aliases;        /* bit i: outputs[0] may be inputs[i] */
};

struct blas_kernel {
    struct kernel kernel;
    struct kernel_desc desc;
    const struct blas_function *function;
    const struct vector_ops *vector;
    const struct vector_maps *maps;
    const struct narrow_ops *narrow; /* of reduced precision, or NULL */
    struct kernel_sizes sizes;
    size_t bias_offset;    /* bytes in packed; the bias, or what comes second */
    int threads;           /* desc.threads, or 1 for so little work that waking others costs more */
    size_t thread_scratch; /* bytes of each thread's part of scratch */
    int phases;            /* how often work is called, all threads waiting in between; 0 means 1 */
    size_t shared_scratch; /* bytes behind the threads' parts */
    int64_t rows, columns, depth; /* of the matrix product, if there is one */
    bool by_rows;                 /* threads split rows rather than columns */
};

extern const struct blas_function blas_linear_vector, blas_linear_cblas;
extern const struct blas_function blas_linear_narrow, blas_conv2d_narrow, blas_conv2d_i8;
extern const struct blas_function blas_conv2d, blas_depthwise, blas_tokens, blas_layer_norm;
extern const struct blas_function blas_attention, blas_add, blas_activation, blas_select;
extern const struct blas_function blas_embed, blas_mean_pool, blas_normalise;

/* Of the elementwise and the layout family; NULL: not here. */
const struct blas_function *blas_map_for(const struct kernel_desc *desc);
const struct blas_function *blas_move_for(const struct kernel_desc *desc);

/* Bytes of a number of floats, rounded up to a cache line. */
size_t blas_bytes(int64_t floats);
int64_t blas_count(const struct tensor_type *type);

#endif
