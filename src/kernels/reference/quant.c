/* The quant family. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"

#include <math.h>

static int32_t get(enum dtype dtype, const void *data, int64_t index) {
    switch ((int)dtype) {
    case DTYPE_U8:
    case DTYPE_U4:
    case DTYPE_U2:
        return ((const uint8_t *)data)[index];
    case DTYPE_I8:
    case DTYPE_I4:
    case DTYPE_I2:
        return ((const int8_t *)data)[index];
    case DTYPE_U16:
        return ((const uint16_t *)data)[index];
    case DTYPE_I16:
        return ((const int16_t *)data)[index];
    default:
        return ((const int32_t *)data)[index];
    }
}

/* Numbers that the type has. */
static double span_of(enum dtype dtype) {
    switch ((int)dtype) {
    case DTYPE_U8:
    case DTYPE_I8:
        return 256;
    case DTYPE_U4:
    case DTYPE_I4:
        return 16;
    case DTYPE_U2:
    case DTYPE_I2:
        return 4;
    default:
        return 65536;
    }
}

/* A value rounded already, kept within the type; NaN becomes the least. */
static void put(enum dtype dtype, void *data, int64_t index, double value) {
    const bool is_signed =
        dtype == DTYPE_I8 || dtype == DTYPE_I16 || dtype == DTYPE_I4 || dtype == DTYPE_I2;
    const double span = span_of(dtype);
    const double low = is_signed ? -span / 2 : 0, high = low + span - 1;
    const int32_t kept = (int32_t)(value >= low ? (value <= high ? value : high) : low);
    switch ((int)dtype) {
    case DTYPE_U8:
    case DTYPE_U4:
    case DTYPE_U2:
        ((uint8_t *)data)[index] = (uint8_t)kept;
        break;
    case DTYPE_I8:
    case DTYPE_I4:
    case DTYPE_I2:
        ((int8_t *)data)[index] = (int8_t)kept;
        break;
    case DTYPE_U16:
        ((uint16_t *)data)[index] = (uint16_t)kept;
        break;
    default:
        ((int16_t *)data)[index] = (int16_t)kept;
        break;
    }
}

/* Which scale belongs to element i of x. */
static int64_t scale_index(const struct kernel_desc *desc, int64_t i) {
    const struct shape *x = &desc->inputs[0].shape;
    const int axis = desc->attrs.axis;
    if (reference_count(&desc->inputs[1]) == 1) {
        return 0;
    }
    int64_t inner = 1;
    for (int k = axis + 1; k < x->rank; k++) {
        inner *= x->dims[k];
    }
    const int64_t along = i / inner % x->dims[axis];
    if (desc->attrs.index == 0) {
        return along;
    }
    const int64_t outer = i / inner / x->dims[axis];
    return (outer * desc->inputs[1].shape.dims[axis] + along / desc->attrs.index) * inner +
           i % inner;
}

static void quantize(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const float *scale = call->inputs[1];
    const enum dtype type = desc->outputs[0].dtype;
    for (int64_t i = 0; i < reference_count(&desc->outputs[0]); i++) {
        const int64_t s = scale_index(desc, i);
        const float x = desc->inputs[0].dtype == DTYPE_I32
                            ? (float)((const int32_t *)call->inputs[0])[i]
                            : ((const float *)call->inputs[0])[i];
        put(type, call->outputs[0], i,
            (double)rintf(x / scale[s]) + (double)get(type, call->inputs[2], s));
    }
}

static void dequantize(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const enum dtype type = desc->inputs[0].dtype;
    const float *scale = call->inputs[1];
    for (int64_t i = 0; i < reference_count(&desc->outputs[0]); i++) {
        const int64_t s = scale_index(desc, i);
        ((float *)call->outputs[0])[i] =
            ((float)get(type, call->inputs[0], i) - (float)get(type, call->inputs[2], s)) *
            scale[s];
    }
}

static void dynamic_quantize(const struct reference_call *call) {
    const int64_t count = reference_count(&call->desc->inputs[0]);
    const float *x = call->inputs[0];
    float low = 0, high = 0;
    for (int64_t i = 0; i < count; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const float scale = (high == low ? 1 : high - low) / 255;
    const float zero = rintf(fminf(fmaxf(-low / scale, 0), 255));
    for (int64_t i = 0; i < count; i++) {
        put(DTYPE_U8, call->outputs[0], i, (double)rintf(x[i] / scale) + (double)zero);
    }
    *(float *)call->outputs[1] = scale;
    put(DTYPE_U8, call->outputs[2], 0, (double)zero);
}

/* One number, or one per index. */
static int32_t zero_at(const struct reference_call *call, int input, int64_t index) {
    const struct tensor_type *type = &call->desc->inputs[input];
    return get(type->dtype, call->inputs[input], reference_count(type) == 1 ? 0 : index);
}

static float scale_at(const struct reference_call *call, int input, int64_t index) {
    return ((const float *)
                call->inputs[input])[reference_count(&call->desc->inputs[input]) == 1 ? 0 : index];
}

/* A 32-bit sum into the result: as it is, or scaled and rounded. */
static void finish(const struct reference_call *call, int64_t at, uint32_t sum, float factor) {
    const enum dtype type = call->desc->outputs[0].dtype;
    const int32_t value = (int32_t)sum; /* wraps around */
    if (type == DTYPE_I32) {
        ((int32_t *)call->outputs[0])[at] = value;
        return;
    }
    const double scaled = (double)value * (double)factor;
    put(type, call->outputs[0], at, rint(scaled + (double)get(type, call->inputs[7], 0)));
}

/* Where x's matrices begin for each matrix of the result. */
static int64_t matrix_at(const struct shape *x, const struct shape *batch, int64_t index) {
    struct shape outer = *x;
    int64_t steps[SHAPE_MAX_RANK], at = 0;
    outer.rank = x->rank > 2 ? x->rank - 2 : 0;
    reference_broadcast_steps(&outer, batch, steps);
    for (int i = batch->rank - 1; i >= 0; i--) {
        at += index % batch->dims[i] * steps[i];
        index /= batch->dims[i];
    }
    return at * (x->rank > 1 ? x->dims[x->rank - 2] * x->dims[x->rank - 1] : x->dims[0]);
}

static void matmul(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const bool quantised = desc->op == OP_MATMUL_QUANTIZED;
    const int second = quantised ? 3 : 1;
    const struct tensor_type *a = &desc->inputs[0], *b = &desc->inputs[second];
    const int64_t depth = a->shape.dims[a->shape.rank - 1];
    const int64_t rows = a->shape.rank > 1 ? a->shape.dims[a->shape.rank - 2] : 1;
    const int64_t columns = b->shape.rank > 1 ? b->shape.dims[b->shape.rank - 1] : 1;
    struct shape batch = desc->outputs[0].shape;
    batch.rank -= (a->shape.rank > 1 ? 1 : 0) + (b->shape.rank > 1 ? 1 : 0);
    for (int64_t n = 0; n < reference_count(&desc->outputs[0]); n++) {
        const int64_t i = n / columns % rows, j = n % columns, m = n / (rows * columns);
        const int64_t a_at = matrix_at(&a->shape, &batch, m) + i * depth;
        const int64_t b_at = matrix_at(&b->shape, &batch, m) + j;
        const int32_t a_zero = zero_at(call, 2, i), b_zero = zero_at(call, quantised ? 5 : 3, j);
        uint32_t sum = 0;
        for (int64_t k = 0; k < depth; k++) {
            sum += (uint32_t)((get(a->dtype, call->inputs[0], a_at + k) - a_zero) *
                              (get(b->dtype, call->inputs[second], b_at + k * columns) - b_zero));
        }
        finish(call, n, sum,
               quantised ? scale_at(call, 1, i) * scale_at(call, 4, j) / scale_at(call, 6, 0) : 1);
    }
}

static void conv(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const bool quantised = desc->op == OP_CONV_QUANTIZED;
    const int second = quantised ? 3 : 1;
    const struct tensor_type *x = &desc->inputs[0], *w = &desc->inputs[second];
    const struct window_image in = window_image_of(&x->shape, 1);
    const struct window_image y = window_image_of(&desc->outputs[0].shape, 1);
    const int64_t per_group = w->shape.dims[0] / desc->attrs.groups;
    const int64_t per_filter = w->shape.dims[0] > 0 ? reference_count(w) / w->shape.dims[0] : 0;
    const int32_t x_zero = zero_at(call, 2, 0);
    for (int64_t item = 0; item < y.batch * y.channels; item++) {
        const int64_t b = item / y.channels, o = item % y.channels;
        const int64_t first =
            b * in.batch_step + o / per_group * w->shape.dims[1] * in.channel_step;
        const int32_t w_zero = zero_at(call, quantised ? 5 : 3, o);
        int64_t out[WINDOW_AXES] = {0}, at = item * y.channel_step;
        do {
            uint32_t sum =
                desc->input_count > 8 ? (uint32_t)((const int32_t *)call->inputs[8])[o] : 0;
            int64_t tap_index = o * per_filter;
            for (int64_t c = 0; c < w->shape.dims[1]; c++) {
                int64_t tap[WINDOW_AXES] = {0};
                do {
                    const int64_t place = window_place(&in, desc->attrs.ints, out, tap);
                    if (place >= 0) { /* padding is zero, in every sense */
                        sum +=
                            (uint32_t)((get(x->dtype, call->inputs[0],
                                            first + c * in.channel_step + place) -
                                        x_zero) *
                                       (get(w->dtype, call->inputs[second], tap_index) - w_zero));
                    }
                    tap_index++;
                } while (window_next(tap, w->shape.dims + 2, in.spatial));
            }
            finish(call, at++, sum,
                   quantised ? scale_at(call, 1, 0) * scale_at(call, 4, o) / scale_at(call, 6, 0)
                             : 1);
        } while (window_next(out, y.dims, y.spatial));
    }
}

static void run(const struct reference_call *call) {
    switch ((int)call->desc->op) {
    case OP_QUANTIZE:
        quantize(call);
        break;
    case OP_DEQUANTIZE:
        dequantize(call);
        break;
    case OP_DYNAMIC_QUANTIZE:
        dynamic_quantize(call);
        break;
    case OP_CONV_INTEGER:
    case OP_CONV_QUANTIZED:
        conv(call);
        break;
    default:
        matmul(call);
        break;
    }
}

const struct reference_family reference_quant = {run, NULL, NULL};
