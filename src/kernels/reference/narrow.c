/*
 * LINEAR and CONV2D in reduced precision: every number is replaced by what kernels/quantise.h makes
 * of it, then multiplied and added up in f64, where products of such numbers are exact.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/quantise.h"
#include "kernels/reference/reference.h"

#include <string.h>

/* n weights of one output channel in the order of the product, in place; what sums are to be
 * multiplied by. */
static float weights(enum precision precision, float *w, int64_t n) {
    float greatest = 0;
    for (int64_t i = 0; i < n; i++) {
        greatest = fabsf(w[i]) > greatest ? fabsf(w[i]) : greatest;
    }
    const struct quant_range range = quant_i8_range(greatest);
    for (int64_t i = 0; i < n && precision != PRECISION_W4; i++) {
        w[i] = precision == PRECISION_BF16 ? convert_bf16_to_f32(convert_f32_to_bf16(w[i]))
                                           : quant_i8(w[i], range);
    }
    for (int64_t i = 0; i < n && precision == PRECISION_W4; i += QUANT_GROUP) {
        const int64_t end = i + QUANT_GROUP < n ? i + QUANT_GROUP : n;
        float peak = 0;
        for (int64_t k = i; k < end; k++) {
            peak = fabsf(w[k]) > fabsf(peak) ? w[k] : peak;
        }
        uint16_t bits = 0;
        const struct quant_range group = quant_w4_range(peak, &bits);
        for (int64_t k = i; k < end; k++) {
            w[k] = quant_w4(w[k], group) * group.scale;
        }
    }
    return precision == PRECISION_I8 || precision == PRECISION_W8 ? range.scale : 1;
}

/* n activations of a row or an image, x → to; what sums are to be multiplied by. */
static float activations(enum precision precision, const float *x, int64_t n, float *to) {
    float least = 0;
    float greatest = 0;
    for (int64_t i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        greatest = x[i] > greatest ? x[i] : greatest;
    }
    const struct quant_range range = quant_range(least, greatest);
    for (int64_t i = 0; i < n; i++) {
        to[i] = precision == PRECISION_BF16 ? convert_bf16_to_f32(convert_f32_to_bf16(x[i]))
                : precision == PRECISION_I8 ? quant_u8(x[i], range) - (float)range.zero
                                            : x[i];
    }
    return precision == PRECISION_I8 ? range.scale : 1;
}

/* Scratch: activations as they are multiplied, their scales, one output channel's weights. */
struct parts {
    int64_t values, scales, weights;
};

static struct parts parts_of(const struct kernel_desc *desc) {
    const struct shape *x = &desc->inputs[0].shape;
    struct parts parts = {0};
    int64_t all = 0;
    (void)shape_count(x, &parts.values);
    (void)shape_count(&desc->params[0].shape, &all);
    parts.scales =
        quant_by_image(&desc->params[0].shape) ? x->dims[0] : parts.values / x->dims[x->rank - 1];
    parts.weights = all / desc->params[0].shape.dims[0];
    return parts;
}

size_t reference_narrow_scratch(const struct kernel_desc *desc) {
    const struct parts parts = parts_of(desc);
    return (size_t)(parts.values + parts.scales + parts.weights) * sizeof(float);
}

static void prepare(const struct reference_call *call, const struct parts *parts) {
    const enum precision precision = call->desc->attrs.precision;
    const int64_t each = parts->values / parts->scales;
    for (int64_t i = 0; i < parts->scales; i++) {
        call->scratch[parts->values + i] = activations(
            precision, (const float *)call->inputs[0] + i * each, each, call->scratch + i * each);
    }
}

void reference_linear_narrow(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct parts parts = parts_of(desc);
    const int64_t columns = desc->params[0].shape.dims[0];
    const float *residual = desc->input_count > 1 ? call->inputs[1] : NULL;
    float *w = call->scratch + parts.values + parts.scales;
    prepare(call, &parts);
    for (int64_t n = 0; n < columns; n++) {
        memcpy(w, call->params[0] + n * parts.weights, (size_t)parts.weights * sizeof(float));
        const float scale = weights(desc->attrs.precision, w, parts.weights);
        const float bias = desc->param_count > 1 ? call->params[1][n] : 0;
        for (int64_t m = 0; m < parts.scales; m++) {
            const float *x = call->scratch + m * parts.weights;
            double sum = 0;
            for (int64_t k = 0; k < parts.weights; k++) {
                sum += (double)x[k] * (double)w[k];
            }
            const float value = (float)sum * (call->scratch[parts.values + m] * scale) + bias;
            ((float *)call->outputs[0])[m * columns + n] =
                reference_activate(desc->attrs.activation, value) +
                (residual != NULL ? residual[m * columns + n] : 0);
        }
    }
}

/* Which scale is that of the window at (top, left); a window beside the image is 0 whatever its
 * scale. */
static int64_t scale_at(const struct kernel_desc *desc, int64_t image, int64_t top, int64_t left) {
    const int64_t *in = desc->inputs[0].shape.dims;
    if (quant_by_image(&desc->params[0].shape)) {
        return image;
    }
    const bool inside = top >= 0 && top < in[1] && left >= 0 && left < in[2];
    return image * in[1] * in[2] + (inside ? top * in[2] + left : 0);
}

/* The window at (top, left) of image x [H,W,C] times w [KH,KW,C]. */
static double window(const struct kernel_desc *desc, const float *x, const float *w, int64_t top,
                     int64_t left) {
    const int64_t *in = desc->inputs[0].shape.dims;
    const int64_t *filter = desc->params[0].shape.dims;
    const int32_t *dilation = desc->attrs.dilation;
    double sum = 0;
    for (int64_t i = 0; i < filter[2]; i++) {
        for (int64_t j = 0; j < filter[3]; j++, w += in[3]) {
            const int64_t row = top + i * dilation[0];
            const int64_t column = left + j * dilation[1];
            if (row >= 0 && row < in[1] && column >= 0 && column < in[2]) {
                for (int64_t c = 0; c < in[3]; c++) {
                    sum += (double)x[(row * in[2] + column) * in[3] + c] * (double)w[c];
                }
            }
        }
    }
    return sum;
}

/* One output channel of all images; w [KH,KW,C] is ready. */
static void channel(const struct reference_call *call, const struct parts *parts, int64_t o,
                    float scale) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *out = desc->outputs[0].shape.dims;
    const struct op_attrs *attrs = &desc->attrs;
    const float bias = desc->param_count > 1 ? call->params[1][o] : 0;
    const float *w = call->scratch + parts->values + parts->scales;
    for (int64_t i = 0; i < out[0] * out[1] * out[2]; i++) {
        const int64_t image = i / (out[1] * out[2]);
        const float *x = call->scratch + image * (parts->values / out[0]);
        const int64_t top = i / out[2] % out[1] * attrs->stride[0] - attrs->pad[0];
        const int64_t left = i % out[2] * attrs->stride[1] - attrs->pad[1];
        const float of_row = call->scratch[parts->values + scale_at(desc, image, top, left)];
        const float value = (float)window(desc, x, w, top, left) * (of_row * scale) + bias;
        const int64_t at = i * out[3] + o;
        ((float *)call->outputs[0])[at] = reference_activate(
            attrs->activation,
            desc->input_count > 1 ? value + ((const float *)call->inputs[1])[at] : value);
    }
}

void reference_conv2d_narrow(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct parts parts = parts_of(desc);
    const int64_t *filter = desc->params[0].shape.dims;
    const int64_t taps = filter[2] * filter[3];
    float *w = call->scratch + parts.values + parts.scales;
    prepare(call, &parts);
    for (int64_t o = 0; o < filter[0]; o++) {
        const float *from = call->params[0] + o * parts.weights;
        for (int64_t i = 0; i < parts.weights; i++) { /* [C,KH,KW] → [KH,KW,C] */
            w[i] = from[i % filter[1] * taps + i / filter[1]];
        }
        channel(call, &parts, o, weights(desc->attrs.precision, w, parts.weights));
    }
}
