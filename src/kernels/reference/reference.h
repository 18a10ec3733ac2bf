/*
 * The reference kernel set: plain C, one thread, sums in index order. It covers every op and is the
 * oracle that the other sets are tested against; no library, no OpenMP, so ThreadSanitizer runs on
 * it.
 */
#ifndef KERNELS_REFERENCE_REFERENCE_H
#define KERNELS_REFERENCE_REFERENCE_H

#include "kernels/kernel.h"

/* One call: params are the packed copies, in order. */
struct reference_call {
    const struct kernel_desc *desc;
    const void *const *inputs;
    const float *params[OP_MAX_PARAMS];
    void *const *outputs;
    float *scratch;
};

/* What a family of ops gives; the last two may be NULL. */
struct reference_family {
    void (*run)(const struct reference_call *call);
    size_t (*scratch_bytes)(const struct kernel_desc *desc);
    bool (*aliases)(const struct kernel_desc *desc, int input); /* as kernel_ops.aliases */
};

extern const struct reference_family reference_core, reference_elementwise, reference_layout,
    reference_network, reference_quant;

void reference_conv2d(const struct reference_call *call);
void reference_tokens(const struct reference_call *call);
void reference_embed(const struct reference_call *call);
void reference_layer_norm(const struct reference_call *call);
void reference_linear(const struct reference_call *call);
void reference_attention(const struct reference_call *call); /* scratch [T] */
void reference_sdpa(const struct reference_call *call);      /* scratch [Tk] */
void reference_add(const struct reference_call *call);
void reference_activation(const struct reference_call *call);
void reference_mean_pool(const struct reference_call *call);
void reference_normalise(const struct reference_call *call);
void reference_select(const struct reference_call *call);

/* In reduced precision: what the two above hand over to (narrow.c). */
void reference_linear_narrow(const struct reference_call *call);
void reference_conv2d_narrow(const struct reference_call *call);
size_t reference_narrow_scratch(const struct kernel_desc *desc);

void reference_matmul(const struct reference_call *call);
void reference_sum_rows(const struct reference_call *call);
void reference_activation_grad(const struct reference_call *call);
void reference_cross_entropy(const struct reference_call *call);
void reference_sgd(const struct reference_call *call);

float reference_activate(enum activation activation, float x);

#endif
