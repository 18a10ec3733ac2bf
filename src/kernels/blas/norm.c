/* BATCH_NORM, GROUP_NORM and RMS_NORM. */
#include "kernels/blas/network.h"

#include <math.h>
#include <string.h>

/* Elements behind the channels' axis, and in front of it. */
struct layout {
    int64_t outer, channels, inner;
};

static struct layout layout_of(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape;
    struct layout l = {1, x->dims[desc->attrs.axis], 1};
    for (int i = 0; i < x->rank; i++) {
        l.outer *= i < desc->attrs.axis ? x->dims[i] : 1;
        l.inner *= i > desc->attrs.axis ? x->dims[i] : 1;
    }
    return l;
}

bool blas_norm_fits(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape;
    if (blas_count(&desc->outputs[0]) == 0) {
        return false;
    }
    if (desc->op == OP_RMS_NORM) {
        const struct shape *scale = &desc->inputs[1].shape;
        return desc->attrs.axis == x->rank - 1 && scale->rank == 1 &&
               scale->dims[0] == x->dims[x->rank - 1];
    }
    return desc->op == OP_BATCH_NORM || desc->op == OP_GROUP_NORM;
}

static float *scratch_of(const struct blas_call *call, int index) {
    return (float *)(void *)(call->scratch + (size_t)index * call->kernel->thread_scratch);
}

/* [C]: scale/√(variance + epsilon) */
static void prepare_batch_norm(struct blas_kernel *kernel) {
    kernel->thread_scratch = blas_bytes(layout_of(&kernel->desc).channels);
}

static void work_batch_norm(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct layout l = layout_of(&call->kernel->desc);
    const float *scale = call->inputs[1], *shift = call->inputs[2], *mean = call->inputs[3];
    const float *variance = call->inputs[4];
    float *factor = scratch_of(call, index);
    int64_t first = 0, last = 0;
    for (int64_t c = 0; c < l.channels; c++) {
        factor[c] = scale[c] / sqrtf(variance[c] + call->kernel->desc.attrs.epsilon);
    }
    const bool planes = l.inner > 1;
    vector_part(planes ? l.outer * l.channels : l.outer, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const int64_t at = i * (planes ? l.inner : l.channels), c = i % l.channels;
        const float *x = (const float *)call->inputs[0] + at;
        float *y = (float *)call->outputs[0] + at;
        if (planes) {
            call->kernel->vector->normalise_plane(x, mean[c], factor[c], shift[c], l.inner, y);
        } else {
            call->kernel->vector->normalise_channels(x, mean, factor, shift, l.channels, y);
        }
    }
}

/* Channels last: sums, means, factors and a row [C] each. */
static void prepare_group_norm(struct blas_kernel *kernel) {
    kernel->thread_scratch = 5 * blas_bytes(layout_of(&kernel->desc).channels);
}

/* A group of channels that lies in one piece. */
static void group_of_planes(const struct blas_call *call, const struct layout *l, int64_t item) {
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t size = l->channels / desc->attrs.groups, n = size * l->inner;
    const float *x = (const float *)call->inputs[0] + item * n;
    float *y = (float *)call->outputs[0] + item * n;
    float mean, variance;
    call->kernel->vector->moments(x, n, &mean, &variance);
    const float deviation = 1.0F / sqrtf(variance + desc->attrs.epsilon);
    for (int64_t k = 0; k < size; k++) {
        const int64_t c = item % desc->attrs.groups * size + k;
        call->kernel->vector->normalise_plane(
            x + k * l->inner, mean, deviation * ((const float *)call->inputs[1])[c],
            ((const float *)call->inputs[2])[c], l->inner, y + k * l->inner);
    }
}

/* Every channel of a group gets the mean of its group's sums over `count` elements. */
static void spread(const float *sums, int64_t channels, int64_t size, float count, float *to) {
    for (int64_t c = 0; c < channels; c += size) {
        float sum = 0;
        for (int64_t k = 0; k < size; k++) {
            sum += sums[c + k];
        }
        for (int64_t k = 0; k < size; k++) {
            to[c + k] = sum / count;
        }
    }
}

/* Groups first..last−1 of one image whose channels are last: x [pixels,stride], from these groups'
 * first channel on. */
static void groups_of_rows(const struct blas_call *call, const float *x, int64_t pixels,
                           int64_t stride, int64_t first, int64_t groups, float *scratch,
                           float *y) {
    const struct kernel_desc *desc = &call->kernel->desc;
    const struct vector_ops *vector = call->kernel->vector;
    const int64_t size = stride / desc->attrs.groups, n = groups * size;
    const int64_t step = (int64_t)(blas_bytes(stride) / sizeof(float));
    const float *scale = (const float *)call->inputs[1] + first * size;
    const float *shift = (const float *)call->inputs[2] + first * size;
    float *sums = scratch, *mean = scratch + step, *factor = mean + step, *row = factor + step;
    float *ones = row + step;
    for (int64_t c = 0; c < n; c++) {
        sums[c] = 0;
        ones[c] = 1;
    }
    for (int64_t p = 0; p < pixels; p++) {
        vector->add(sums, x + p * stride, 1, n, sums);
    }
    spread(sums, n, size, (float)(size * pixels), mean);
    memset(sums, 0, (size_t)n * sizeof(float));
    memset(factor, 0, (size_t)n * sizeof(float));
    for (int64_t p = 0; p < pixels; p++) {
        vector->normalise_channels(x + p * stride, mean, ones, factor, n, row);
        vector->multiply_add(row, row, n, sums);
    }
    spread(sums, n, size, (float)(size * pixels), factor);
    for (int64_t c = 0; c < n; c++) {
        factor[c] = 1.0F / sqrtf(factor[c] + desc->attrs.epsilon) * scale[c];
    }
    for (int64_t p = 0; p < pixels; p++) {
        vector->normalise_channels(x + p * stride, mean, factor, shift, n, y + p * stride);
    }
}

static void work_group_norm(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const struct layout l = layout_of(desc);
    const int64_t groups = desc->attrs.groups, images = desc->inputs[0].shape.dims[0];
    int64_t first = 0, last = 0;
    vector_part(images * groups, index, count, &first, &last);
    if (desc->attrs.axis == 1) { /* [B,C] too: then a group's elements are its channels */
        for (int64_t item = first; item < last; item++) {
            group_of_planes(call, &l, item);
        }
        return;
    }
    const int64_t pixels = l.outer / images, image_size = pixels * l.channels;
    while (first < last) {
        const int64_t image = first / groups, group = first % groups;
        const int64_t some = groups - group < last - first ? groups - group : last - first;
        const int64_t at = image * image_size + group * (l.channels / groups);
        groups_of_rows(call, (const float *)call->inputs[0] + at, pixels, l.channels, group, some,
                       scratch_of(call, index), (float *)call->outputs[0] + at);
        first += some;
    }
}

static void prepare_rms_norm(struct blas_kernel *kernel) {
    (void)kernel;
}

static void work_rms_norm(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct layout l = layout_of(&call->kernel->desc);
    int64_t first = 0, last = 0;
    vector_part(l.outer, index, count, &first, &last);
    call->kernel->vector->rms_norm((const float *)call->inputs[0] + first * l.channels,
                                   call->inputs[1], call->kernel->desc.attrs.epsilon, last - first,
                                   l.channels, (float *)call->outputs[0] + first * l.channels);
}

const struct blas_function blas_batch_norm = {prepare_batch_norm, NULL, work_batch_norm, 1U << 0};
const struct blas_function blas_group_norm = {prepare_group_norm, NULL, work_group_norm, 0};
const struct blas_function blas_rms_norm = {prepare_rms_norm, NULL, work_rms_norm, 1U << 0};
