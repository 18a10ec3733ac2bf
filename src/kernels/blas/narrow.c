/*
 * LINEAR and CONV2D in reduced precision, by kernels/vector/narrow.h. A convolution is a product
 * whose left rows are gathered windows, as in conv2d.c; for int8 with windows of more than one
 * pixel the images are quantised first, each with one range, and windows of bytes are gathered.
 */
#include "kernels/blas/blas.h"

#include "base/checked.h"
#include "base/memory.h"
#include "kernels/vector/narrow.h"

#include <string.h>

static enum precision precision_of(const struct blas_kernel *kernel) {
    return kernel->desc.attrs.precision;
}

static int64_t panels_of(const struct blas_kernel *kernel) {
    return (kernel->columns + kernel->narrow->panel - 1) / kernel->narrow->panel;
}

static void plan(struct blas_kernel *kernel) {
    kernel->narrow = narrow_get(precision_of(kernel));
    kernel->bias_offset = round_up_size(
        kernel->narrow->packed_bytes(precision_of(kernel), kernel->depth, kernel->columns),
        MEM_ALIGNMENT);
    kernel->sizes.packed_bytes =
        kernel->bias_offset + (kernel->desc.param_count > 1 ? blas_bytes(kernel->columns) : 0);
    kernel->thread_scratch = round_up_size(
        kernel->narrow->scratch_bytes(precision_of(kernel), kernel->rows, kernel->depth),
        MEM_ALIGNMENT);
}

static void pack_all(const struct blas_kernel *kernel, const float *weights,
                     const void *const params[], char *packed) {
    kernel->narrow->pack(precision_of(kernel), weights, kernel->depth, kernel->depth,
                         kernel->columns, packed);
    if (kernel->desc.param_count > 1) {
        memcpy(packed + kernel->bias_offset, params[1], (size_t)kernel->columns * sizeof(float));
    }
}

/* What linear layers and convolutions have in common; the caller adds where rows come from. */
static struct narrow_gemm product(const struct blas_call *call) {
    const struct blas_kernel *kernel = call->kernel;
    return (struct narrow_gemm){
        .precision = precision_of(kernel),
        .columns = kernel->columns,
        .depth = kernel->depth,
        .packed = call->packed,
        .bias = kernel->desc.param_count > 1
                    ? (const float *)(const void *)(call->packed + kernel->bias_offset)
                    : NULL,
        .residual = kernel->desc.input_count > 1 ? call->inputs[1] : NULL,
        .y = call->outputs[0],
        .y_stride = kernel->columns,
        .activation = kernel->desc.attrs.activation,
    };
}

static void multiply(const struct blas_call *call, const struct narrow_gemm *gemm, int index,
                     int count) {
    const struct blas_kernel *kernel = call->kernel;
    int64_t first_row = 0;
    int64_t last_row = kernel->rows;
    int64_t first = 0;
    int64_t last = panels_of(kernel);
    if (kernel->by_rows) {
        vector_part(kernel->rows, index, count, &first_row, &last_row);
    } else {
        vector_part(last, index, count, &first, &last);
    }
    if (first_row < last_row && first < last) {
        kernel->narrow->gemm(gemm, first_row, last_row, first, last,
                             call->scratch + (size_t)index * kernel->thread_scratch);
    }
}

/* ---- linear ---- */

struct rows {
    const float *data;
    int64_t stride;
};

static const void *row(const void *source, int64_t m, void *buffer) {
    (void)buffer;
    const struct rows *rows = source;
    return rows->data + m * rows->stride;
}

static void prepare_linear(struct blas_kernel *kernel) {
    kernel->columns = kernel->desc.params[0].shape.dims[0];
    kernel->depth = kernel->desc.params[0].shape.dims[1];
    kernel->rows = blas_count(&kernel->desc.inputs[0]) / kernel->depth;
    plan(kernel);
    /* Columns share the reading of weights; with few of them the rows are split instead. */
    kernel->by_rows = panels_of(kernel) < (int64_t)4 * kernel->threads;
}

static shoal_status pack_linear(const struct blas_kernel *kernel, const void *const params[],
                                char *packed, struct shoal_error *error) {
    (void)error;
    pack_all(kernel, params[0], params, packed);
    return SHOAL_OK;
}

static void work_linear(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct rows x = {call->inputs[0], call->kernel->depth};
    struct narrow_gemm gemm = product(call);
    gemm.row = row;
    gemm.source = &x;
    multiply(call, &gemm, index, count);
}

const struct blas_function blas_linear_narrow = {prepare_linear, pack_linear, work_linear, 1U << 1};

/* ---- convolutions ---- */

/* Images of elements of `size` bytes; where a window hangs over the edge is `fill`. */
struct windows {
    const struct kernel_desc *desc;
    const char *x;
    int64_t size;
    const struct quant_range *ranges; /* of the images; I8 */
};

static int64_t image_of(const struct windows *w, int64_t m) {
    const int64_t *out = w->desc->outputs[0].shape.dims;
    return m / (out[1] * out[2]);
}

static struct quant_range range_of(const void *source, int64_t m) {
    const struct windows *w = source;
    return w->ranges[image_of(w, m)];
}

/* Row i of a window, which begins at column `left` of image row `line` [W,C]. */
static void gather_line(const struct windows *w, const char *line, int64_t left, int fill,
                        char *to) {
    const int64_t width = w->desc->inputs[0].shape.dims[2];
    const int64_t pixel = w->desc->inputs[0].shape.dims[3] * w->size;
    const int64_t taps = w->desc->params[0].shape.dims[3];
    const int64_t dilation = w->desc->attrs.dilation[1];
    if (dilation == 1 && left >= 0 && left + taps <= width) {
        memcpy(to, line + left * pixel, (size_t)(taps * pixel));
        return;
    }
    for (int64_t j = 0; j < taps; j++, to += pixel) {
        const int64_t column = left + j * dilation;
        if (column >= 0 && column < width) {
            memcpy(to, line + column * pixel, (size_t)pixel);
        } else {
            memset(to, fill, (size_t)pixel);
        }
    }
}

static const void *gather(const void *source, int64_t m, void *buffer) {
    const struct windows *w = source;
    const int64_t *in = w->desc->inputs[0].shape.dims;
    const int64_t *out = w->desc->outputs[0].shape.dims;
    const int64_t *filter = w->desc->params[0].shape.dims;
    const struct op_attrs *attrs = &w->desc->attrs;
    const int64_t top = m / out[2] % out[1] * attrs->stride[0] - attrs->pad[0];
    const int64_t left = m % out[2] * attrs->stride[1] - attrs->pad[1];
    const int64_t pixel = in[3] * w->size;
    const char *x = w->x + image_of(w, m) * in[1] * in[2] * pixel;
    const int fill = w->ranges != NULL ? range_of(w, m).zero : 0;
    if (filter[2] == 1 && filter[3] == 1 && top >= 0 && top < in[1] && left >= 0 && left < in[2]) {
        return x + (top * in[2] + left) * pixel; /* where it lies */
    }
    const int64_t line = filter[3] * pixel;
    char *to = buffer;
    for (int64_t i = 0; i < filter[2]; i++, to += line) {
        const int64_t at = top + i * attrs->dilation[0];
        if (at >= 0 && at < in[1]) {
            gather_line(w, x + at * in[2] * pixel, left, fill, to);
        } else {
            memset(to, fill, (size_t)line);
        }
    }
    return buffer;
}

/* Behind the threads' scratch, for int8: the images in bytes, their ranges, and the least and the
 * greatest value that each thread saw of each image. */
struct layout {
    size_t bytes, ranges, extremes, total;
};

static struct layout lay_out(const struct blas_kernel *kernel) {
    const size_t images = (size_t)kernel->desc.inputs[0].shape.dims[0];
    struct layout at = {.bytes = kernel->thread_scratch * (size_t)kernel->threads};
    at.ranges =
        round_up_size(at.bytes + (size_t)blas_count(&kernel->desc.inputs[0]), MEM_ALIGNMENT);
    at.extremes = round_up_size(at.ranges + images * sizeof(struct quant_range), MEM_ALIGNMENT);
    at.total = round_up_size(at.extremes + images * (size_t)kernel->threads * 2 * sizeof(float),
                             MEM_ALIGNMENT);
    return at;
}

static void prepare_conv2d(struct blas_kernel *kernel) {
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    const int64_t *out = kernel->desc.outputs[0].shape.dims;
    kernel->columns = filter[0];
    kernel->depth = filter[1] * filter[2] * filter[3];
    kernel->rows = out[0] * out[1] * out[2];
    kernel->by_rows = true;
    plan(kernel);
    kernel->sizes.pack_bytes = blas_bytes(kernel->columns * kernel->depth);
    if (kernel->function == &blas_conv2d_i8) {
        const struct layout at = lay_out(kernel);
        kernel->shared_scratch = at.total - at.bytes;
        kernel->phases = 3;
    }
}

static shoal_status pack_conv2d(const struct blas_kernel *kernel, const void *const params[],
                                char *packed, struct shoal_error *error) {
    const int64_t *filter = kernel->desc.params[0].shape.dims;
    const int64_t taps = filter[2] * filter[3];
    float *ordered = mem_alloc_aligned(kernel->sizes.pack_bytes);
    if (ordered == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "blas: no memory to pack a convolution");
    }
    const float *w = params[0];
    float *to = ordered;
    for (int64_t o = 0; o < filter[0]; o++, w += kernel->depth) {
        for (int64_t tap = 0; tap < taps; tap++) { /* [C,KH,KW] → [KH,KW,C] */
            for (int64_t c = 0; c < filter[1]; c++) {
                *to++ = w[c * taps + tap];
            }
        }
    }
    pack_all(kernel, ordered, params, packed);
    mem_free(ordered);
    return SHOAL_OK;
}

static void work_conv2d(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct windows windows = {&call->kernel->desc, call->inputs[0], sizeof(float), NULL};
    struct narrow_gemm gemm = product(call);
    gemm.row = gather;
    gemm.source = &windows;
    gemm.residual_first = true;
    multiply(call, &gemm, index, count);
}

/* A thread's part of every image: first its extremes, then its bytes. */
static void quantise_part(const struct blas_call *call, int index, int count) {
    const struct blas_kernel *kernel = call->kernel;
    const struct layout at = lay_out(kernel);
    const int64_t images = kernel->desc.inputs[0].shape.dims[0];
    const int64_t each = blas_count(&kernel->desc.inputs[0]) / images;
    float *extremes = (float *)(void *)(call->scratch + at.extremes);
    struct quant_range *ranges = (struct quant_range *)(void *)(call->scratch + at.ranges);
    int64_t first = 0;
    int64_t last = 0;
    vector_part(each, index, count, &first, &last);
    for (int64_t i = 0; i < images; i++) {
        const float *x = (const float *)call->inputs[0] + i * each;
        float *own = extremes + (i * count + index) * 2;
        if (call->phase == 0) {
            own[0] = own[1] = 0;
            kernel->narrow->stretch(x + first, last - first, &own[0], &own[1]);
            continue;
        }
        float range[2] = {0, 0};
        for (int t = 0; t < count; t++) {
            const float *of_thread = extremes + (i * count + t) * 2;
            range[0] = of_thread[0] < range[0] ? of_thread[0] : range[0];
            range[1] = of_thread[1] > range[1] ? of_thread[1] : range[1];
        }
        const struct quant_range all = quant_range(range[0], range[1]);
        if (index == 0) {
            ranges[i] = all;
        }
        kernel->narrow->quantise(x + first, last - first, all,
                                 (uint8_t *)call->scratch + at.bytes + i * each + first);
    }
}

static void work_conv2d_i8(void *context, int index, int count) {
    const struct blas_call *call = context;
    if (call->phase < 2) {
        quantise_part(call, index, count);
        return;
    }
    const struct layout at = lay_out(call->kernel);
    const struct windows windows = {
        &call->kernel->desc, call->scratch + at.bytes, 1,
        (const struct quant_range *)(const void *)(call->scratch + at.ranges)};
    struct narrow_gemm gemm = product(call);
    gemm.row = gather;
    gemm.range = range_of;
    gemm.source = &windows;
    gemm.residual_first = true;
    multiply(call, &gemm, index, count);
}

const struct blas_function blas_conv2d_narrow = {prepare_conv2d, pack_conv2d, work_conv2d, 1U << 1};
const struct blas_function blas_conv2d_i8 = {prepare_conv2d, pack_conv2d, work_conv2d_i8, 1U << 1};
