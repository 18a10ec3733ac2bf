/* Convolutions of any spatial rank. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"

#include <math.h>

static int64_t position(const struct window_image *image, const int64_t *at) {
    int64_t offset = 0;
    for (int i = 0; i < image->spatial; i++) {
        offset += at[i] * image->steps[i];
    }
    return offset;
}

/* x [B,C,...], w [O,C/groups,...], bias [O]? → y [B,O,...] */
void reference_conv(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct window_image in = window_image_of(&desc->inputs[0].shape, desc->attrs.axis);
    const struct window_image y = window_image_of(&desc->outputs[0].shape, desc->attrs.axis);
    const struct shape *filter = &desc->inputs[1].shape;
    const int64_t per_group = filter->dims[0] / desc->attrs.groups;
    const float *bias = desc->input_count > 2 ? call->inputs[2] : NULL;
    for (int64_t item = 0; item < y.batch * y.channels; item++) {
        const int64_t b = item / y.channels, o = item % y.channels;
        const float *x = (const float *)call->inputs[0] + b * in.batch_step +
                         o / per_group * filter->dims[1] * in.channel_step;
        int64_t out[WINDOW_AXES] = {0};
        do {
            const float *w = (const float *)call->inputs[1];
            int64_t per_filter = filter->dims[1];
            for (int i = 0; i < in.spatial; i++) {
                per_filter *= filter->dims[2 + i];
            }
            w += o * per_filter;
            float sum = 0;
            for (int64_t c = 0; c < filter->dims[1]; c++) {
                int64_t tap[WINDOW_AXES] = {0};
                do {
                    const int64_t place = window_place(&in, desc->attrs.ints, out, tap);
                    sum += place >= 0 ? x[c * in.channel_step + place] * *w : 0;
                    w++;
                } while (window_next(tap, filter->dims + 2, in.spatial));
            }
            ((float *)call->outputs[0])[b * y.batch_step + o * y.channel_step + position(&y, out)] =
                sum + (bias != NULL ? bias[o] : 0);
        } while (window_next(out, y.dims, y.spatial));
    }
}

/* One product of x's element at `at` and one filter, spread over y. */
static void spread(const struct window_image *y, const int64_t *ints, const int64_t *kernel,
                   const int64_t *at, float value, const float *w, float *to) {
    int64_t tap[WINDOW_AXES] = {0};
    do {
        const int64_t place = window_place(y, ints, at, tap);
        if (place >= 0) {
            to[place] += value * *w;
        }
        w++;
    } while (window_next(tap, kernel, y->spatial));
}

/* x [B,C,...], w [C,O/groups,...], bias [O]? → y [B,O,...] */
void reference_conv_transpose(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct window_image in = window_image_of(&desc->inputs[0].shape, desc->attrs.axis);
    const struct window_image y = window_image_of(&desc->outputs[0].shape, desc->attrs.axis);
    const struct shape *filter = &desc->inputs[1].shape;
    const int64_t per_group = in.channels / desc->attrs.groups, outputs = filter->dims[1];
    const int64_t total = reference_count(&desc->outputs[0]);
    const float *bias = desc->input_count > 2 ? call->inputs[2] : NULL;
    float *to = call->outputs[0];
    int64_t taps = 1;
    for (int i = 0; i < in.spatial; i++) {
        taps *= filter->dims[2 + i];
    }
    for (int64_t i = 0; i < total; i++) {
        to[i] = bias != NULL ? bias[i / y.channel_step % y.channels] : 0;
    }
    for (int64_t item = 0; item < in.batch * in.channels && total > 0; item++) {
        const int64_t b = item / in.channels, c = item % in.channels;
        const float *x = (const float *)call->inputs[0] + b * in.batch_step + c * in.channel_step;
        int64_t at[WINDOW_AXES] = {0};
        do {
            for (int64_t o = 0; o < outputs; o++) {
                const int64_t channel = c / per_group * outputs + o;
                spread(&y, desc->attrs.ints, filter->dims + 2, at, x[position(&in, at)],
                       (const float *)call->inputs[1] + (c * outputs + o) * taps,
                       to + b * y.batch_step + channel * y.channel_step);
            }
        } while (window_next(at, in.dims, in.spatial));
    }
}

/* The image x [H,W] between its elements; 0 outside. */
static float bilinear(const float *x, int64_t height, int64_t width, float row, float column) {
    if (!(row > -1 && row < (float)height && column > -1 && column < (float)width)) {
        return 0;
    }
    const float top = floorf(row), left = floorf(column);
    const int64_t i = (int64_t)top, j = (int64_t)left;
    float sum = 0;
    for (int k = 0; k < 4; k++) {
        const int64_t r = i + k / 2, c = j + k % 2;
        const float weight = (k / 2 == 1 ? row - top : 1 - (row - top)) *
                             (k % 2 == 1 ? column - left : 1 - (column - left));
        if (r >= 0 && r < height && c >= 0 && c < width) {
            sum += weight * x[r * width + c];
        }
    }
    return sum;
}

/* One output of DEFORM_CONV: filter o at (i, j) of image b. */
static float deformed(const struct reference_call *call, int64_t b, int64_t o, int64_t i,
                      int64_t j) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *in = desc->inputs[0].shape.dims, *w = desc->inputs[1].shape.dims;
    const int64_t *out = desc->outputs[0].shape.dims, *ints = desc->attrs.ints;
    const int64_t taps = w[2] * w[3], per_head = in[1] / desc->attrs.heads;
    const int64_t first = o / (w[0] / desc->attrs.groups) * w[1];
    const int64_t plane = out[2] * out[3], at = i * out[3] + j;
    const float *filter = (const float *)call->inputs[1] + o * w[1] * taps;
    const float *mask = desc->input_count > 4 ? call->inputs[4] : NULL;
    float sum = 0;
    for (int64_t c = 0; c < w[1]; c++) {
        const int64_t channel = first + c;
        const float *x = (const float *)call->inputs[0] + (b * in[1] + channel) * in[2] * in[3];
        for (int64_t t = 0; t < taps; t++) {
            const int64_t tap =
                (b * desc->attrs.heads + channel / per_head) * taps + t; /* of all offsets */
            const float *offset = (const float *)call->inputs[2] + 2 * tap * plane + at;
            const float row = (float)(i * ints[WINDOW_STRIDE] - ints[WINDOW_BEGIN] +
                                      t / w[3] * ints[WINDOW_DILATION]);
            const float column = (float)(j * ints[WINDOW_STRIDE + 1] - ints[WINDOW_BEGIN + 1] +
                                         t % w[3] * ints[WINDOW_DILATION + 1]);
            const float value = bilinear(x, in[2], in[3], row + offset[0], column + offset[plane]);
            sum += value * filter[c * taps + t] * (mask != NULL ? mask[tap * plane + at] : 1);
        }
    }
    return sum;
}

void reference_deform_conv(const struct reference_call *call) {
    const int64_t *out = call->desc->outputs[0].shape.dims;
    const float *bias = call->desc->input_count > 3 ? call->inputs[3] : NULL;
    float *y = call->outputs[0];
    for (int64_t n = 0; n < reference_count(&call->desc->outputs[0]); n++) {
        const int64_t o = n / (out[2] * out[3]) % out[1];
        y[n] = deformed(call, n / (out[1] * out[2] * out[3]), o, n / out[3] % out[2], n % out[3]) +
               (bias != NULL ? bias[o] : 0);
    }
}

/* x [B,C·taps,L] → y [B,C,image...] */
void reference_col2im(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *ints = desc->attrs.ints;
    const struct window_image y = window_image_of(&desc->outputs[0].shape, 1);
    int64_t windows[WINDOW_AXES] = {0};
    const float *x = call->inputs[0];
    float *to = call->outputs[0];
    for (int i = 0; i < y.spatial; i++) {
        windows[i] = (y.dims[i] + ints[WINDOW_BEGIN + i] + ints[WINDOW_END + i] -
                      (ints[WINDOW_KERNEL + i] - 1) * ints[WINDOW_DILATION + i] - 1) /
                         ints[WINDOW_STRIDE + i] +
                     1;
    }
    for (int64_t i = 0; i < reference_count(&desc->outputs[0]); i++) {
        to[i] = 0;
    }
    for (int64_t item = 0; item < y.batch * y.channels; item++, to += y.channel_step) {
        int64_t tap[WINDOW_AXES] = {0};
        do {
            int64_t at[WINDOW_AXES] = {0};
            do {
                const int64_t place = window_place(&y, ints, at, tap);
                if (place >= 0) {
                    to[place] += *x;
                }
                x++;
            } while (window_next(at, windows, y.spatial));
        } while (window_next(tap, ints + WINDOW_KERNEL, y.spatial));
    }
}
