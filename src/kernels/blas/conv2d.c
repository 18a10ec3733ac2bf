/*
 * Convolution as a matrix product whose left rows are gathered windows: x [B,H,W,C], residual
 * [B,OH,OW,O]?, w [O,C/groups,KH,KW], bias [O]? → y [B,OH,OW,O]. A row of A is the window of one
 * output pixel, [KH,KW,C/groups]; it is made while A is packed, so that no im2col matrix ever
 * exists.
 */
#include "kernels/blas/blas.h"

#include "base/memory.h"

#include <string.h>

struct windows {
    const struct kernel_desc *desc;
    const float *x;
    int64_t first_channel, channels;
};

/* Row i of a window beginning at column `left` of image row `line` [W,C], or zeros. */
static void gather_line(const struct windows *w, const float *line, int64_t left, float *to) {
    const int64_t width = w->desc->inputs[0].shape.dims[2];
    const int64_t all = w->desc->inputs[0].shape.dims[3];
    const int64_t taps = w->desc->params[0].shape.dims[3];
    const int64_t dilation = w->desc->attrs.dilation[1];
    if (dilation == 1 && w->channels == all && left >= 0 && left + taps <= width) {
        memcpy(to, line + left * all, (size_t)(taps * all) * sizeof(float));
        return;
    }
    for (int64_t j = 0; j < taps; j++, to += w->channels) {
        const int64_t column = left + j * dilation;
        if (column >= 0 && column < width) {
            memcpy(to, line + column * all + w->first_channel, (size_t)w->channels * sizeof(float));
        } else {
            memset(to, 0, (size_t)w->channels * sizeof(float));
        }
    }
}

static const float *gather(const void *source, int64_t m, float *buffer) {
    const struct windows *w = source;
    const struct kernel_desc *desc = w->desc;
    const int64_t *in = desc->inputs[0].shape.dims;
    const int64_t *out = desc->outputs[0].shape.dims;
    const int64_t *filter = desc->params[0].shape.dims;
    const struct op_attrs *attrs = &desc->attrs;
    const int64_t image = m / (out[1] * out[2]);
    const int64_t top = m / out[2] % out[1] * attrs->stride[0] - attrs->pad[0];
    const int64_t left = m % out[2] * attrs->stride[1] - attrs->pad[1];
    const float *x = w->x + image * in[1] * in[2] * in[3];
    if (filter[2] == 1 && filter[3] == 1 && top >= 0 && top < in[1] && left >= 0 && left < in[2]) {
        return x + (top * in[2] + left) * in[3] + w->first_channel; /* where it lies */
    }
    const int64_t line = filter[3] * w->channels;
    for (int64_t i = 0; i < filter[2]; i++) {
        const int64_t row = top + i * attrs->dilation[0];
        if (row >= 0 && row < in[1]) {
            gather_line(w, x + row * in[2] * in[3], left, buffer + i * line);
        } else {
            memset(buffer + i * line, 0, (size_t)line * sizeof(float));
        }
    }
    return buffer;
}

/* Floats of one group's packed weights. */
static int64_t group_floats(const struct blas_kernel *kernel) {
    return (int64_t)(blas_bytes(kernel->vector->packed_count(kernel->depth, kernel->columns)) /
                     sizeof(float));
}

static void prepare(struct blas_kernel *kernel) {
    const struct kernel_desc *desc = &kernel->desc;
    const int64_t *filter = desc->params[0].shape.dims;
    const int64_t *out = desc->outputs[0].shape.dims;
    kernel->columns = filter[0] / desc->attrs.groups;
    kernel->depth = filter[1] * filter[2] * filter[3];
    kernel->rows = out[0] * out[1] * out[2];
    /* Columns share the reading of weights where there are more of those than of pixels. */
    kernel->by_rows = kernel->columns < (int64_t)4 * kernel->threads * kernel->vector->panel ||
                      kernel->rows > kernel->columns / 4;
    kernel->bias_offset = blas_bytes(group_floats(kernel) * desc->attrs.groups);
    kernel->sizes.packed_bytes =
        kernel->bias_offset + (desc->param_count > 1 ? blas_bytes(filter[0]) : 0);
    kernel->sizes.pack_bytes = blas_bytes(kernel->columns * kernel->depth);
    kernel->thread_scratch = blas_bytes(kernel->vector->gemm_scratch(kernel->rows, kernel->depth));
}

/* One filter [C,KH,KW] → [KH,KW,C], the order of a gathered window. */
static void reorder(const float *filter, int64_t channels, int64_t taps, float *to) {
    for (int64_t tap = 0; tap < taps; tap++) {
        for (int64_t c = 0; c < channels; c++) {
            *to++ = filter[c * taps + tap];
        }
    }
}

static shoal_status pack(const struct blas_kernel *kernel, const void *const params[], char *packed,
                         struct shoal_error *error) {
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    float *ordered = mem_alloc_aligned(kernel->sizes.pack_bytes);
    if (ordered == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "blas: no memory to pack a convolution");
    }
    const float *w = params[0];
    for (int64_t group = 0; group < kernel->desc.attrs.groups; group++) {
        for (int64_t o = 0; o < kernel->columns; o++, w += kernel->depth) {
            reorder(w, filter[1], filter[2] * filter[3], ordered + o * kernel->depth);
        }
        kernel->vector->pack_columns(ordered, kernel->depth, kernel->depth, kernel->columns,
                                     (float *)(void *)packed + group * group_floats(kernel));
    }
    mem_free(ordered);
    if (kernel->desc.param_count > 1) {
        memcpy(packed + kernel->bias_offset, params[1], (size_t)filter[0] * sizeof(float));
    }
    return SHOAL_OK;
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const struct kernel_desc *desc = &kernel->desc;
    const float *bias = (const float *)(const void *)(call->packed + kernel->bias_offset);
    const int64_t channels = desc->params[0].shape.dims[1];
    const int64_t panels = (kernel->columns + kernel->vector->panel - 1) / kernel->vector->panel;
    float *scratch = (float *)(void *)(call->scratch + (size_t)index * kernel->thread_scratch);
    int64_t first_row = 0;
    int64_t last_row = kernel->rows;
    int64_t first = 0;
    int64_t last = panels;
    if (kernel->by_rows) {
        vector_part(kernel->rows, index, count, &first_row, &last_row);
    } else {
        vector_part(panels, index, count, &first, &last);
    }
    for (int64_t group = 0; group < desc->attrs.groups && first_row < last_row; group++) {
        const struct windows windows = {desc, call->inputs[0], group * channels, channels};
        const struct vector_gemm gemm = {
            .columns = kernel->columns,
            .depth = kernel->depth,
            .row = gather,
            .source = &windows,
            .packed = (const float *)(const void *)call->packed + group * group_floats(kernel),
            .bias = desc->param_count > 1 ? bias + group * kernel->columns : NULL,
            .y = (float *)call->outputs[0] + group * kernel->columns,
            .y_stride = desc->outputs[0].shape.dims[3],
            .scale = 1,
            .activation = desc->attrs.activation,
            .residual = desc->input_count > 1
                            ? (const float *)call->inputs[1] + group * kernel->columns
                            : NULL,
            .residual_inside = true,
        };
        kernel->vector->gemm(&gemm, first_row, last_row, first, last, scratch);
    }
}

const struct blas_function blas_conv2d = {prepare, pack, work, 1U << 1};
