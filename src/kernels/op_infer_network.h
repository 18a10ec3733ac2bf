/* Shape inference of the network family, by files; and what the quant family shares with it. */
#ifndef KERNELS_OP_INFER_NETWORK_H
#define KERNELS_OP_INFER_NETWORK_H

#include "kernels/op_infer.h"

NODISCARD shoal_status op_infer_pool(struct op_inference *in); /* POOL, POOL_INDICES */
NODISCARD shoal_status op_infer_convolution(struct op_inference *in);
NODISCARD shoal_status op_infer_conv_transpose(struct op_inference *in);
NODISCARD shoal_status op_infer_deform_conv(struct op_inference *in);
NODISCARD shoal_status op_infer_col2im(struct op_inference *in);
NODISCARD shoal_status op_infer_max_unpool(struct op_inference *in);

NODISCARD shoal_status op_infer_norm(struct op_inference *in); /* all normalisations */
NODISCARD shoal_status op_infer_recurrence(struct op_inference *in);

NODISCARD shoal_status op_infer_resize(struct op_inference *in);
NODISCARD shoal_status op_infer_grid_sample(struct op_inference *in);
NODISCARD shoal_status op_infer_affine_grid(struct op_inference *in);
NODISCARD shoal_status op_infer_roi_align(struct op_inference *in);

/* The result of a convolution of x with w under the attributes: what CONV and the quantised ones
 * share. */
NODISCARD shoal_status op_infer_conv_shape(struct op_inference *in, const struct shape *x,
                                           const struct shape *w, struct shape *out);
/* The result of NumPy's matmul of a and b, each perhaps transposed. */
NODISCARD shoal_status op_infer_product_shape(struct op_inference *in, const struct shape *a,
                                              const struct shape *b, struct shape *out);

/* MISMATCH unless `shape` is just this. */
NODISCARD shoal_status op_expect(struct op_inference *in, const char *what,
                                 const struct shape *shape, const struct shape *expected);
/* UNSUPPORTED unless inputs first..last have the type. */
NODISCARD shoal_status op_expect_types(struct op_inference *in, int first, int last,
                                       enum dtype dtype);

#endif
