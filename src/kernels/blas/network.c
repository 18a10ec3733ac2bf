#include "kernels/blas/network.h"

const struct blas_function *blas_network_function(const struct kernel_desc *desc) {
    switch ((int)desc->op) {
    case OP_POOL:
        return blas_pool_fits(desc) ? &blas_pool : NULL;
    case OP_RESIZE:
        return blas_resize_fits(desc) ? &blas_resize : NULL;
    case OP_PRODUCT:
        return blas_product_fits(desc) ? &blas_product : NULL;
    case OP_CONV_TRANSPOSE:
        return blas_conv_transpose_fits(desc) ? &blas_conv_transpose : NULL;
    case OP_BATCH_NORM:
        return blas_norm_fits(desc) ? &blas_batch_norm : NULL;
    case OP_GROUP_NORM:
        return blas_norm_fits(desc) ? &blas_group_norm : NULL;
    case OP_RMS_NORM:
        return blas_norm_fits(desc) ? &blas_rms_norm : NULL;
    default:
        return NULL;
    }
}
