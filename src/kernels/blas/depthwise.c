/* Depthwise convolution: x [B,H,W,C], residual [B,OH,OW,C]?, w [C,1,KH,KW], bias [C]? → y
 * [B,OH,OW,C]; vectors run over channels. */
#include "kernels/blas/blas.h"

#include <string.h>

/* Packed: [KH,KW,C], then the bias (zeros if there is none). */
static void prepare(struct blas_kernel *kernel) {
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    kernel->columns = filter[0];
    kernel->depth = filter[2] * filter[3];
    kernel->bias_offset = blas_bytes(kernel->columns * kernel->depth);
    kernel->sizes.packed_bytes = kernel->bias_offset + blas_bytes(kernel->columns);
}

static shoal_status pack(const struct blas_kernel *kernel, const void *const params[], char *packed,
                         struct shoal_error *error) {
    (void)error;
    const float *w = params[0];
    float *to = (float *)(void *)packed;
    for (int64_t tap = 0; tap < kernel->depth; tap++) {
        for (int64_t c = 0; c < kernel->columns; c++) {
            *to++ = w[c * kernel->depth + tap];
        }
    }
    if (kernel->desc.param_count > 1) {
        memcpy(packed + kernel->bias_offset, params[1], (size_t)kernel->columns * sizeof(float));
    } else {
        memset(packed + kernel->bias_offset, 0, (size_t)kernel->columns * sizeof(float));
    }
    return SHOAL_OK;
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const int64_t *in = kernel->desc.inputs[0].shape.dims;
    const int64_t *out = kernel->desc.outputs[0].shape.dims;
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    const struct op_attrs *attrs = &kernel->desc.attrs;
    const float *residual = kernel->desc.input_count > 1 ? call->inputs[1] : NULL;
    const struct vector_depthwise depthwise = {
        .height = in[1],
        .width = in[2],
        .channels = in[3],
        .taps = {filter[2], filter[3]},
        .dilation = {attrs->dilation[0], attrs->dilation[1]},
        .stride = attrs->stride[1],
        .left = attrs->pad[1],
        .pixels = out[2],
        .w = (const float *)(const void *)call->packed,
        .bias = (const float *)(const void *)(call->packed + kernel->bias_offset),
        .activation = attrs->activation,
    };
    int64_t first = 0;
    int64_t last = 0;
    vector_part(out[0] * out[1], index, count, &first, &last); /* lines of output pixels */
    for (int64_t line = first; line < last; line++) {
        const int64_t at = line * out[2] * out[3];
        kernel->vector->depthwise(
            &depthwise, (const float *)call->inputs[0] + line / out[1] * in[1] * in[2] * in[3],
            line % out[1] * attrs->stride[0] - attrs->pad[0],
            residual != NULL ? residual + at : NULL, (float *)call->outputs[0] + at);
    }
}

const struct blas_function blas_depthwise = {prepare, pack, work, 1U << 1};
