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

static void pixel(const struct blas_kernel *kernel, const float *x, const float *w, int64_t top,
                  int64_t left, float *y) {
    const int64_t *in = kernel->desc.inputs[0].shape.dims;
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    const int32_t *dilation = kernel->desc.attrs.dilation;
    for (int64_t i = 0; i < filter[2]; i++) {
        for (int64_t j = 0; j < filter[3]; j++, w += in[3]) {
            const int64_t row = top + i * dilation[0];
            const int64_t column = left + j * dilation[1];
            if (row >= 0 && row < in[1] && column >= 0 && column < in[2]) {
                kernel->vector->multiply_add(x + (row * in[2] + column) * in[3], w, in[3], y);
            }
        }
    }
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const int64_t *in = kernel->desc.inputs[0].shape.dims;
    const int64_t *out = kernel->desc.outputs[0].shape.dims;
    const struct op_attrs *attrs = &kernel->desc.attrs;
    const float *w = (const float *)(const void *)call->packed;
    const float *residual = kernel->desc.input_count > 1 ? call->inputs[1] : NULL;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(out[0] * out[1], index, count, &first, &last); /* lines of output pixels */
    for (int64_t line = first; line < last; line++) {
        const float *x = (const float *)call->inputs[0] + line / out[1] * in[1] * in[2] * in[3];
        float *y = (float *)call->outputs[0] + line * out[2] * out[3];
        for (int64_t j = 0; j < out[2]; j++, y += out[3]) {
            memcpy(y, call->packed + kernel->bias_offset, (size_t)out[3] * sizeof(float));
            pixel(kernel, x, w, line % out[1] * attrs->stride[0] - attrs->pad[0],
                  j * attrs->stride[1] - attrs->pad[1], y);
            if (residual != NULL) {
                kernel->vector->add(y, residual + (y - (float *)call->outputs[0]), 1, out[3], y);
            }
            if (attrs->activation != ACTIVATION_NONE) {
                kernel->vector->activate(attrs->activation, y, out[3], y);
            }
        }
    }
}

const struct blas_function blas_depthwise = {prepare, pack, work, 0};
