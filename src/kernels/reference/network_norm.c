/* Normalisations. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"

#include <math.h>

/* Elements after axis i, and along it, of x. */
static int64_t inner_of(const struct shape *x, int axis) {
    int64_t inner = 1;
    for (int i = axis + 1; i < x->rank; i++) {
        inner *= x->dims[i];
    }
    return inner;
}

/* x, scale, shift, mean, variance [C] → y */
void reference_batch_norm(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int axis = desc->attrs.axis;
    const int64_t inner = inner_of(&desc->inputs[0].shape, axis);
    const int64_t channels = desc->inputs[0].shape.dims[axis];
    const float *x = call->inputs[0], *scale = call->inputs[1], *shift = call->inputs[2];
    const float *mean = call->inputs[3], *variance = call->inputs[4];
    float *y = call->outputs[0];
    for (int64_t i = 0; i < reference_count(&desc->outputs[0]); i++) {
        const int64_t c = i / inner % channels;
        const float factor = scale[c] / sqrtf(variance[c] + desc->attrs.epsilon);
        y[i] = (x[i] - mean[c]) * factor + shift[c];
    }
}

/* x, scale [C], shift [C] → y, with moments over each group of channels of each image. */
void reference_group_norm(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *shape = &desc->inputs[0].shape;
    const int axis = desc->attrs.axis;
    const int64_t inner = inner_of(shape, axis), channels = shape->dims[axis];
    const int64_t spatial = axis == 1 ? inner : inner_of(shape, 0) / (channels > 0 ? channels : 1);
    const int64_t size = channels / desc->attrs.groups;
    const int64_t step = axis == 1 ? 1 : channels, channel_step = axis == 1 ? spatial : 1;
    const float *scale = call->inputs[1], *shift = call->inputs[2];
    for (int64_t item = 0; item < shape->dims[0] * desc->attrs.groups; item++) {
        const int64_t group = item % desc->attrs.groups;
        const int64_t first =
            item / desc->attrs.groups * channels * spatial + group * size * channel_step;
        const float *x = (const float *)call->inputs[0] + first;
        float *y = (float *)call->outputs[0] + first;
        float sum = 0, squares = 0;
        for (int64_t i = 0; i < size * spatial; i++) {
            sum += x[i / spatial * channel_step + i % spatial * step];
        }
        const float mean = sum / (float)(size * spatial);
        for (int64_t i = 0; i < size * spatial; i++) {
            const float d = x[i / spatial * channel_step + i % spatial * step] - mean;
            squares += d * d;
        }
        const float factor = 1.0F / sqrtf(squares / (float)(size * spatial) + desc->attrs.epsilon);
        for (int64_t i = 0; i < size * spatial; i++) {
            const int64_t at = i / spatial * channel_step + i % spatial * step;
            const int64_t c = group * size + i / spatial;
            y[at] = (x[at] - mean) * factor * scale[c] + shift[c];
        }
    }
}

/* x [rows,n], scale, shift? (broadcast to the normalised axes) → y, mean, 1/deviation. */
void reference_norm_axes(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *shape = &desc->inputs[0].shape;
    const bool centred = desc->op == OP_NORM_AXES;
    const bool shifted = desc->input_count > 2;
    struct shape axes = {.rank = shape->rank - desc->attrs.axis};
    int64_t scale_steps[SHAPE_MAX_RANK], shift_steps[SHAPE_MAX_RANK] = {0};
    int64_t n = 1;
    for (int i = 0; i < axes.rank; i++) {
        axes.dims[i] = shape->dims[desc->attrs.axis + i];
        n *= axes.dims[i];
    }
    reference_broadcast_steps(&desc->inputs[1].shape, &axes, scale_steps);
    if (shifted) {
        reference_broadcast_steps(&desc->inputs[2].shape, &axes, shift_steps);
    }
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    const int64_t rows = n > 0 ? reference_count(&desc->inputs[0]) / n : 0;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        float sum = 0, squares = 0;
        for (int64_t i = 0; i < n && centred; i++) {
            sum += x[i];
        }
        const float mean = sum / (float)n;
        for (int64_t i = 0; i < n; i++) {
            squares += (x[i] - mean) * (x[i] - mean);
        }
        const float factor = 1.0F / sqrtf(squares / (float)n + desc->attrs.epsilon);
        int64_t at[SHAPE_MAX_RANK] = {0};
        for (int64_t i = 0; i < n; i++) {
            int64_t scale_at = 0, shift_at = 0;
            for (int k = 0; k < axes.rank; k++) {
                scale_at += at[k] * scale_steps[k];
                shift_at += at[k] * shift_steps[k];
            }
            y[i] = (x[i] - mean) * factor * ((const float *)call->inputs[1])[scale_at] +
                   (shifted ? ((const float *)call->inputs[2])[shift_at] : 0);
            (void)window_next(at, axes.dims, axes.rank);
        }
        if (centred) {
            ((float *)call->outputs[1])[r] = mean;
            ((float *)call->outputs[2])[r] = factor;
        }
    }
}

/* Channel c sums over channels c − ⌊(n−1)/2⌋ .. c + ⌈(n−1)/2⌉. */
void reference_lrn(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int axis = desc->attrs.axis;
    const int64_t inner = inner_of(&desc->inputs[0].shape, axis);
    const int64_t channels = desc->inputs[0].shape.dims[axis];
    const int64_t before = (desc->attrs.index - 1) / 2;
    const int64_t after = desc->attrs.index - 1 - before;
    const float *floats = desc->attrs.floats;
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    for (int64_t i = 0; i < reference_count(&desc->outputs[0]); i++) {
        const int64_t c = i / inner % channels;
        const int64_t first = c - before > 0 ? c - before : 0;
        const int64_t last = c + after < channels ? c + after : channels - 1;
        float sum = 0;
        for (int64_t k = first; k <= last; k++) {
            const float value = x[i + (k - c) * inner];
            sum += value * value;
        }
        y[i] = x[i] / powf(floats[2] + floats[0] / (float)desc->attrs.index * sum, floats[1]);
    }
}

void reference_lp_norm(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int axis = desc->attrs.axis;
    const int64_t inner = inner_of(&desc->inputs[0].shape, axis);
    const int64_t n = desc->inputs[0].shape.dims[axis];
    const int64_t rows = n > 0 ? reference_count(&desc->inputs[0]) / n : 0;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t first = r / inner * n * inner + r % inner;
        const float *x = (const float *)call->inputs[0] + first;
        float *y = (float *)call->outputs[0] + first;
        float sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += desc->attrs.index == 1 ? fabsf(x[i * inner]) : x[i * inner] * x[i * inner];
        }
        const float norm = desc->attrs.index == 1 ? sum : sqrtf(sum);
        for (int64_t i = 0; i < n; i++) {
            y[i * inner] = norm > 0 ? x[i * inner] / norm : 0;
        }
    }
}
