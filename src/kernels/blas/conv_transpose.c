/*
 * CONV_TRANSPOSE of images [B,H,W,C] as products of matrices, without sums that meet in memory:
 * outputs whose place modulo the stride is the same see the same taps of the filter, so each such
 * class of them is a dense convolution of its own.
 */
#include "kernels/blas/network.h"

#include "kernels/op_window.h"

#include <string.h>

#define MOST_CLASSES 16 /* along one axis */

bool blas_conv_transpose_fits(const struct kernel_desc *desc) {
    return desc->op == OP_CONV_TRANSPOSE && desc->inputs[0].shape.rank == 4 &&
           desc->attrs.axis == 3 && desc->attrs.groups == 1 &&
           desc->attrs.ints[WINDOW_STRIDE] <= MOST_CLASSES &&
           desc->attrs.ints[WINDOW_STRIDE + 1] <= MOST_CLASSES &&
           blas_count(&desc->outputs[0]) > 0 && blas_count(&desc->inputs[0]) > 0;
}

/* Taps of the filter that outputs of class `rest` (place + padding, modulo the stride) see along
 * one axis; returns how many. taps may be NULL. */
static int64_t taps_of(const struct kernel_desc *desc, int axis, int64_t rest, int64_t *taps) {
    const int64_t stride = desc->attrs.ints[WINDOW_STRIDE + axis];
    const int64_t dilation = desc->attrs.ints[WINDOW_DILATION + axis];
    int64_t count = 0;
    for (int64_t k = 0; k < desc->inputs[1].shape.dims[2 + axis]; k++) {
        if (k * dilation % stride == rest) {
            if (taps != NULL) {
                taps[count] = k;
            }
            count++;
        }
    }
    return count;
}

/* Elements of the packed filter of class (rest_h, rest_w). */
static int64_t class_size(const struct blas_kernel *kernel, int64_t rest_h, int64_t rest_w) {
    const int64_t *w = kernel->desc.inputs[1].shape.dims;
    const int64_t taps =
        taps_of(&kernel->desc, 0, rest_h, NULL) * taps_of(&kernel->desc, 1, rest_w, NULL);
    return taps > 0 ? kernel->vector->packed_count(taps * w[0], w[1]) : 0;
}

static int64_t class_offset(const struct blas_kernel *kernel, int64_t class_index) {
    const int64_t across = kernel->desc.attrs.ints[WINDOW_STRIDE + 1];
    int64_t offset = 0;
    for (int64_t i = 0; i < class_index; i++) {
        offset += (int64_t)(blas_bytes(class_size(kernel, i / across, i % across)) / sizeof(float));
    }
    return offset;
}

static int64_t class_count(const struct blas_kernel *kernel) {
    return kernel->desc.attrs.ints[WINDOW_STRIDE] * kernel->desc.attrs.ints[WINDOW_STRIDE + 1];
}

/* All packed filters are shared; a thread has one filter before packing, and what gemm needs. */
static void prepare(struct blas_kernel *kernel) {
    const int64_t *w = kernel->desc.inputs[1].shape.dims;
    const int64_t *out = kernel->desc.outputs[0].shape.dims;
    const int64_t depth = w[0] * w[2] * w[3];
    kernel->phases = 2;
    kernel->shared_scratch = (size_t)class_offset(kernel, class_count(kernel)) * sizeof(float);
    kernel->depth = depth;
    kernel->thread_scratch =
        blas_bytes(depth * w[1]) + blas_bytes(kernel->vector->gemm_scratch(out[2], depth));
}

static float *shared_of(const struct blas_call *call) {
    return (float *)(void *)(call->scratch +
                             (size_t)call->kernel->threads * call->kernel->thread_scratch);
}

static float *own_of(const struct blas_call *call, int index) {
    return (float *)(void *)(call->scratch + (size_t)index * call->kernel->thread_scratch);
}

/* w [C,O,KH,KW] → [taps,C,O] of the class, then packed. */
static void pack_class(const struct blas_call *call, int64_t class_index, float *plain) {
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t *w = desc->inputs[1].shape.dims;
    const int64_t across = desc->attrs.ints[WINDOW_STRIDE + 1];
    const float *from = call->inputs[1];
    float *to = plain;
    int64_t depth = 0;
    for (int64_t i = 0; i < w[2]; i++) {
        for (int64_t j = 0; j < w[3]; j++) {
            if (i * desc->attrs.ints[WINDOW_DILATION] % desc->attrs.ints[WINDOW_STRIDE] !=
                    class_index / across ||
                j * desc->attrs.ints[WINDOW_DILATION + 1] % across != class_index % across) {
                continue;
            }
            for (int64_t n = 0; n < w[0] * w[1]; n++) {
                *to++ = from[(n * w[2] + i) * w[3] + j];
            }
            depth += w[0];
        }
    }
    if (depth > 0) {
        call->kernel->vector->pack_rows(plain, w[1], depth, w[1],
                                        shared_of(call) + class_offset(call->kernel, class_index));
    }
}

/* Outputs of one row and one class: where their taps lie. */
struct line {
    const struct kernel_desc *desc;
    const float *x;     /* the image */
    int64_t row, first; /* place + padding of the row and of the first output */
};

/* The elements of x that output m of the line adds up, tap by tap; 0 outside. */
static const float *gather(const void *context, int64_t m, float *buffer) {
    const struct line *line = context;
    const struct kernel_desc *desc = line->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *w = desc->inputs[1].shape.dims;
    const int64_t *ints = desc->attrs.ints;
    const int64_t column = line->first + m * ints[WINDOW_STRIDE + 1];
    float *to = buffer;
    for (int64_t i = 0; i < w[2]; i++) {
        const int64_t down = line->row - i * ints[WINDOW_DILATION];
        if (down % ints[WINDOW_STRIDE] != 0) {
            continue;
        }
        const int64_t r = down / ints[WINDOW_STRIDE];
        for (int64_t j = 0; j < w[3]; j++) {
            const int64_t right = column - j * ints[WINDOW_DILATION + 1];
            if (right % ints[WINDOW_STRIDE + 1] != 0) {
                continue;
            }
            const int64_t c = right / ints[WINDOW_STRIDE + 1];
            if (down >= 0 && r < in[1] && right >= 0 && c < in[2]) {
                memcpy(to, line->x + (r * in[2] + c) * in[3], (size_t)in[3] * sizeof(float));
            } else {
                memset(to, 0, (size_t)in[3] * sizeof(float));
            }
            to += in[3];
        }
    }
    return buffer;
}

static void fill_bias(const struct blas_call *call, int64_t count, int64_t stride, float *y) {
    const int64_t channels = call->kernel->desc.outputs[0].shape.dims[3];
    for (int64_t m = 0; m < count; m++) {
        for (int64_t o = 0; o < channels; o++) {
            y[m * stride + o] =
                call->kernel->desc.input_count > 2 ? ((const float *)call->inputs[2])[o] : 0;
        }
    }
}

/* Row n of all images' output rows. */
static void output_row(const struct blas_call *call, int64_t n, float *scratch) {
    const struct blas_kernel *kernel = call->kernel;
    const struct kernel_desc *desc = &kernel->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    const int64_t *ints = desc->attrs.ints, across = ints[WINDOW_STRIDE + 1];
    const int64_t row = n % out[1] + ints[WINDOW_BEGIN];
    for (int64_t j = 0; j < across && j < out[2]; j++) {
        const int64_t column = j + ints[WINDOW_BEGIN + 1];
        const int64_t rest_h = row % ints[WINDOW_STRIDE], rest_w = column % across;
        const int64_t taps = taps_of(desc, 0, rest_h, NULL) * taps_of(desc, 1, rest_w, NULL);
        const int64_t count = (out[2] - j + across - 1) / across, stride = across * out[3];
        float *y = (float *)call->outputs[0] + (n * out[2] + j) * out[3];
        const struct line line = {
            desc, (const float *)call->inputs[0] + n / out[1] * in[1] * in[2] * in[3], row, column};
        if (taps == 0) {
            fill_bias(call, count, stride, y);
            continue;
        }
        const struct vector_gemm gemm = {
            .columns = out[3],
            .depth = taps * in[3],
            .row = gather,
            .source = &line,
            .packed = shared_of(call) + class_offset(kernel, rest_h * across + rest_w),
            .bias = desc->input_count > 2 ? call->inputs[2] : NULL,
            .y = y,
            .y_stride = stride,
            .scale = 1,
        };
        const int panel = kernel->vector->panel;
        kernel->vector->gemm(&gemm, 0, count, 0, (out[3] + panel - 1) / panel, scratch);
    }
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const int64_t *w = kernel->desc.inputs[1].shape.dims;
    const int64_t *out = kernel->desc.outputs[0].shape.dims;
    float *own = own_of(call, index);
    int64_t first = 0, last = 0;
    if (call->phase == 0) {
        vector_part(class_count(kernel), index, count, &first, &last);
        for (int64_t i = first; i < last; i++) {
            pack_class(call, i, own);
        }
        return;
    }
    vector_part(out[0] * out[1], index, count, &first, &last);
    for (int64_t n = first; n < last; n++) {
        output_row(call, n, own + blas_bytes(kernel->depth * w[1]) / sizeof(float));
    }
}

const struct blas_function blas_conv_transpose = {prepare, NULL, work, 0};
