/* Pools and resizing of images [B,H,W,C]: rows of channels combined. */
#include "kernels/blas/network.h"

#include "kernels/op_window.h"
#include "kernels/resize_taps.h"

#include <math.h>
#include <string.h>

#define MOST_TAPS 64 /* of one window */

bool blas_pool_fits(const struct kernel_desc *desc) {
    return desc->op == OP_POOL && desc->inputs[0].dtype == DTYPE_F32 &&
           desc->inputs[0].shape.rank == 4 && desc->attrs.axis == 3 &&
           desc->attrs.mode != POOL_LP && desc->attrs.ints[WINDOW_KERNEL] <= MOST_TAPS &&
           desc->attrs.ints[WINDOW_KERNEL + 1] <= MOST_TAPS &&
           desc->attrs.ints[WINDOW_KERNEL] * desc->attrs.ints[WINDOW_KERNEL + 1] <= MOST_TAPS &&
           blas_count(&desc->outputs[0]) > 0;
}

static void prepare_nothing(struct blas_kernel *kernel) {
    (void)kernel;
}

/* The elements of a window along one axis that lie in the image: first and one past the last. */
static void met(const int64_t *ints, int axis, int64_t out, int64_t dim, int64_t *first,
                int64_t *end, int64_t *padded) {
    const int64_t kernel = ints[WINDOW_KERNEL + axis], dilation = ints[WINDOW_DILATION + axis];
    const int64_t at = out * ints[WINDOW_STRIDE + axis] - ints[WINDOW_BEGIN + axis];
    *first = at < 0 ? (dilation - 1 - at) / dilation : 0;
    const int64_t inside = dim > at ? (dim - at + dilation - 1) / dilation : 0;
    const int64_t within = dim + ints[WINDOW_END + axis];
    const int64_t fitting = within > at ? (within - at + dilation - 1) / dilation : 0;
    *end = inside < kernel ? inside : kernel;
    *padded = fitting < kernel ? fitting : kernel;
}

/* One output row: x is its image. */
static void pool_row(const struct blas_kernel *kernel, const float *x, int64_t i, float *y) {
    const struct kernel_desc *desc = &kernel->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    const int64_t *ints = desc->attrs.ints, channels = in[3];
    const float *rows[MOST_TAPS];
    int64_t top, bottom, high;
    met(ints, 0, i, in[1], &top, &bottom, &high);
    for (int64_t j = 0; j < out[2]; j++, y += channels) {
        int64_t left, right, wide, count = 0;
        met(ints, 1, j, in[2], &left, &right, &wide);
        for (int64_t k = top; k < bottom; k++) {
            const int64_t row =
                i * ints[WINDOW_STRIDE] - ints[WINDOW_BEGIN] + k * ints[WINDOW_DILATION];
            const int64_t column = j * ints[WINDOW_STRIDE + 1] - ints[WINDOW_BEGIN + 1];
            for (int64_t l = left; l < right; l++) {
                rows[count++] =
                    x + (row * in[2] + column + l * ints[WINDOW_DILATION + 1]) * channels;
            }
        }
        if (count == 0) { /* nothing but padding */
            for (int64_t c = 0; c < channels; c++) {
                y[c] = desc->attrs.mode == POOL_MAX ? -INFINITY : 0;
            }
        } else if (desc->attrs.mode == POOL_MAX) {
            kernel->vector->rows_greatest(rows, count, channels, y);
        } else {
            const int64_t divisor = ints[WINDOW_INCLUDE] != 0 ? high * wide : count;
            kernel->vector->rows_mean(rows, count, channels, (float)divisor, y);
        }
    }
}

static void work_pool(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    int64_t first = 0, last = 0;
    vector_part(out[0] * out[1], index, count, &first, &last);
    for (int64_t n = first; n < last; n++) {
        pool_row(call->kernel, (const float *)call->inputs[0] + n / out[1] * in[1] * in[2] * in[3],
                 n % out[1], (float *)call->outputs[0] + n * out[2] * out[3]);
    }
}

bool blas_resize_fits(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape, *y = &desc->outputs[0].shape;
    return desc->op == OP_RESIZE && x->rank == 4 && x->dims[0] == y->dims[0] &&
           x->dims[3] == y->dims[3] && desc->attrs.floats[0] == 1 && desc->attrs.floats[3] == 1 &&
           desc->attrs.ints[RESIZE_COORDINATES_AT] != RESIZE_CROP &&
           resize_most_taps(desc, 1) <= MOST_TAPS && resize_most_taps(desc, 2) <= MOST_TAPS &&
           blas_count(&desc->outputs[0]) > 0;
}

/* Of each thread: one row of the image, interpolated downwards; the taps of every column. */
static void prepare_resize(struct blas_kernel *kernel) {
    const struct kernel_desc *desc = &kernel->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    kernel->thread_scratch =
        blas_bytes(in[2] * in[3]) + blas_bytes(out[2] * (1 + 2 * resize_most_taps(desc, 2)));
}

struct columns {
    int64_t most;
    int32_t *counts, *places;
    float *weights;
};

static struct columns column_taps(const struct kernel_desc *desc, float *scratch) {
    const int64_t outputs = desc->outputs[0].shape.dims[2];
    struct columns columns = {.most = resize_most_taps(desc, 2),
                              .counts = (int32_t *)(void *)scratch};
    columns.places = columns.counts + outputs;
    columns.weights = (float *)(void *)(columns.places + outputs * columns.most);
    for (int64_t j = 0; j < outputs; j++) {
        columns.counts[j] = (int32_t)resize_taps(desc, 2, j, columns.places + j * columns.most,
                                                 columns.weights + j * columns.most);
    }
    return columns;
}

static void work_resize(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const struct kernel_desc *desc = &kernel->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    const int64_t channels = in[3], width = in[2] * channels;
    float *scratch = (float *)(void *)(call->scratch + (size_t)index * kernel->thread_scratch);
    const struct columns columns = column_taps(desc, scratch + blas_bytes(width) / sizeof(float));
    int64_t first = 0, last = 0;
    vector_part(out[0] * out[1], index, count, &first, &last);
    for (int64_t n = first; n < last; n++) {
        const float *x = (const float *)call->inputs[0] + n / out[1] * in[1] * width;
        float *y = (float *)call->outputs[0] + n * out[2] * channels;
        int32_t places[MOST_TAPS];
        float weights[MOST_TAPS];
        const float *rows[MOST_TAPS];
        const int64_t taps = resize_taps(desc, 1, n % out[1], places, weights);
        for (int64_t i = 0; i < taps; i++) {
            rows[i] = x + places[i] * width;
        }
        const float *line = rows[0];
        if (taps > 1) {
            kernel->vector->rows_weighted(rows, weights, taps, width, scratch);
            line = scratch;
        }
        for (int64_t j = 0; j < out[2]; j++, y += channels) {
            const int32_t *place = columns.places + j * columns.most;
            if (columns.counts[j] == 1) {
                memcpy(y, line + place[0] * channels, (size_t)channels * sizeof(float));
                continue;
            }
            for (int32_t i = 0; i < columns.counts[j]; i++) {
                rows[i] = line + place[i] * channels;
            }
            kernel->vector->rows_weighted(rows, columns.weights + j * columns.most,
                                          columns.counts[j], channels, y);
        }
    }
}

const struct blas_function blas_pool = {prepare_nothing, NULL, work_pool, 0};
const struct blas_function blas_resize = {prepare_resize, NULL, work_resize, 0};
