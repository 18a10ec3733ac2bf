/* The functions of the network family, by file. */
#ifndef KERNELS_REFERENCE_NETWORK_H
#define KERNELS_REFERENCE_NETWORK_H

#include "kernels/reference/reference.h"

void reference_pool(const struct reference_call *call); /* POOL, POOL_INDICES */
void reference_max_unpool(const struct reference_call *call);
void reference_conv(const struct reference_call *call);
void reference_conv_transpose(const struct reference_call *call);
void reference_deform_conv(const struct reference_call *call);
void reference_col2im(const struct reference_call *call);

void reference_product(const struct reference_call *call);
void reference_einsum(const struct reference_call *call);

void reference_batch_norm(const struct reference_call *call);
void reference_group_norm(const struct reference_call *call);
void reference_norm_axes(const struct reference_call *call); /* RMS_NORM too */
void reference_lrn(const struct reference_call *call);
void reference_lp_norm(const struct reference_call *call);

void reference_recurrence(const struct reference_call *call); /* RNN, GRU, LSTM */
size_t reference_recurrence_scratch(const struct kernel_desc *desc);

void reference_resize(const struct reference_call *call);
size_t reference_resize_scratch(const struct kernel_desc *desc);
void reference_grid_sample(const struct reference_call *call);
void reference_affine_grid(const struct reference_call *call);
void reference_roi_align(const struct reference_call *call);

void reference_dft(const struct reference_call *call);
void reference_stft(const struct reference_call *call);
void reference_nll_loss(const struct reference_call *call);

/* Elements of a type known to be sound. */
static inline int64_t reference_count(const struct tensor_type *type) {
    int64_t product = 1;
    (void)shape_count(&type->shape, &product);
    return product;
}

/* Elements that one step along each of y's axes moves in x, which broadcasts to y as NumPy does: 0
 * where x is repeated. */
void reference_broadcast_steps(const struct shape *x, const struct shape *y,
                               int64_t steps[SHAPE_MAX_RANK]);

#endif
