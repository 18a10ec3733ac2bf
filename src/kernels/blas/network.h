/* The network family in the blas set. */
#ifndef KERNELS_BLAS_NETWORK_H
#define KERNELS_BLAS_NETWORK_H

#include "kernels/blas/blas.h"

/* NULL: the reference kernels serve this desc. */
const struct blas_function *blas_network_function(const struct kernel_desc *desc);

extern const struct blas_function blas_pool, blas_resize, blas_product, blas_conv_transpose;
extern const struct blas_function blas_batch_norm, blas_group_norm, blas_rms_norm;

/* Whether the desc is one that the function serves. */
bool blas_pool_fits(const struct kernel_desc *desc);
bool blas_resize_fits(const struct kernel_desc *desc);
bool blas_product_fits(const struct kernel_desc *desc);
bool blas_conv_transpose_fits(const struct kernel_desc *desc);
bool blas_norm_fits(const struct kernel_desc *desc);

#endif
