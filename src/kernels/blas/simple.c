/* Ops without a matrix product: TOKENS, LAYER_NORM, ADD, ACTIVATION, SELECT. */
#include "kernels/blas/blas.h"

#include <string.h>

#define GRAIN 64 /* elements that threads do not split */

/* Both params side by side. */
static void prepare_two_params(struct blas_kernel *kernel) {
    kernel->bias_offset = blas_bytes(blas_count(&kernel->desc.params[0]));
    kernel->sizes.packed_bytes =
        kernel->bias_offset + blas_bytes(blas_count(&kernel->desc.params[1]));
}

static shoal_status pack_two_params(const struct blas_kernel *kernel, const void *const params[],
                                    char *packed, struct shoal_error *error) {
    (void)error;
    memcpy(packed, params[0], (size_t)blas_count(&kernel->desc.params[0]) * sizeof(float));
    memcpy(packed + kernel->bias_offset, params[1],
           (size_t)blas_count(&kernel->desc.params[1]) * sizeof(float));
    return SHOAL_OK;
}

static const float *first_param(const struct blas_call *call) {
    return (const float *)(const void *)call->packed;
}

static const float *second_param(const struct blas_call *call) {
    return (const float *)(const void *)(call->packed + call->kernel->bias_offset);
}

static void prepare_nothing(struct blas_kernel *kernel) {
    (void)kernel;
}

/* x [B,P,C], prefix [R,C], position [R+P,C] → y [B,R+P,C] */
static void work_tokens(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t prefix = desc->params[0].shape.dims[0];
    const int64_t rows = desc->outputs[0].shape.dims[1];
    const int64_t channels = desc->outputs[0].shape.dims[2];
    int64_t first = 0;
    int64_t last = 0;
    vector_part(desc->outputs[0].shape.dims[0] * rows, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t row = i % rows;
        const float *from = row < prefix
                                ? first_param(call) + row * channels
                                : (const float *)call->inputs[0] +
                                      (i / rows * (rows - prefix) + row - prefix) * channels;
        call->kernel->vector->add(from, second_param(call) + row * channels, 1, channels,
                                  (float *)call->outputs[0] + i * channels);
    }
}

static void work_layer_norm(void *context, int index, int count) {
    const struct blas_call *call = context;
    const int64_t channels = call->kernel->desc.params[0].shape.dims[0];
    int64_t first = 0;
    int64_t last = 0;
    vector_part(blas_count(&call->kernel->desc.inputs[0]) / channels, index, count, &first, &last);
    call->kernel->vector->layer_norm((const float *)call->inputs[0] + first * channels,
                                     first_param(call), second_param(call),
                                     call->kernel->desc.attrs.epsilon, last - first, channels,
                                     (float *)call->outputs[0] + first * channels);
}

/* A thread's range of elements, in whole grains. */
static void elements(const struct blas_call *call, int index, int count, int64_t *first,
                     int64_t *last) {
    const int64_t total = blas_count(&call->kernel->desc.outputs[0]);
    vector_part((total + GRAIN - 1) / GRAIN, index, count, first, last);
    *first *= GRAIN;
    *last = *last * GRAIN < total ? *last * GRAIN : total;
}

static void work_add(void *context, int index, int count) {
    const struct blas_call *call = context;
    int64_t first = 0;
    int64_t last = 0;
    elements(call, index, count, &first, &last);
    call->kernel->vector->add(
        (const float *)call->inputs[0] + first, (const float *)call->inputs[1] + first,
        call->kernel->desc.attrs.scale, last - first, (float *)call->outputs[0] + first);
}

static void work_activation(void *context, int index, int count) {
    const struct blas_call *call = context;
    int64_t first = 0;
    int64_t last = 0;
    elements(call, index, count, &first, &last);
    call->kernel->vector->activate(call->kernel->desc.attrs.activation,
                                   (const float *)call->inputs[0] + first, last - first,
                                   (float *)call->outputs[0] + first);
}

/* x [B,T,C] → y [B,C] */
static void work_select(void *context, int index, int count) {
    const struct blas_call *call = context;
    const int64_t *in = call->kernel->desc.inputs[0].shape.dims;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(in[0], index, count, &first, &last);
    for (int64_t b = first; b < last; b++) {
        memcpy((float *)call->outputs[0] + b * in[2],
               (const float *)call->inputs[0] +
                   (b * in[1] + call->kernel->desc.attrs.index) * in[2],
               (size_t)in[2] * sizeof(float));
    }
}

const struct blas_function blas_tokens = {prepare_two_params, pack_two_params, work_tokens, 0};
const struct blas_function blas_layer_norm = {prepare_two_params, pack_two_params, work_layer_norm,
                                              1U << 0};
const struct blas_function blas_add = {prepare_nothing, NULL, work_add, 1U << 0 | 1U << 1};
const struct blas_function blas_activation = {prepare_nothing, NULL, work_activation, 1U << 0};
const struct blas_function blas_select = {prepare_nothing, NULL, work_select, 0};
