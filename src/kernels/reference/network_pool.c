/* Pools: x → the greatest, the mean or the norm of each window. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"

#include <math.h>

static double get(enum dtype dtype, const void *data, int64_t index) {
    switch ((int)dtype) {
    case DTYPE_F64:
        return ((const double *)data)[index];
    case DTYPE_I8:
        return ((const int8_t *)data)[index];
    case DTYPE_U8:
        return ((const uint8_t *)data)[index];
    default:
        return (double)((const float *)data)[index];
    }
}

static void put(enum dtype dtype, void *data, int64_t index, double value) {
    switch ((int)dtype) {
    case DTYPE_F64:
        ((double *)data)[index] = value;
        break;
    case DTYPE_I8:
        ((int8_t *)data)[index] = value < -128 ? -128 : (int8_t)value;
        break;
    case DTYPE_U8:
        ((uint8_t *)data)[index] = value < 0 ? 0 : (uint8_t)value;
        break;
    default:
        ((float *)data)[index] = (float)value;
    }
}

/* Elements of a window that lie within the padded image along one axis. */
static int64_t within_padding(const struct window_image *image, const int64_t *ints, int axis,
                              int64_t out) {
    const int64_t dilation = ints[WINDOW_DILATION + axis];
    const int64_t first = out * ints[WINDOW_STRIDE + axis];
    const int64_t end = ints[WINDOW_BEGIN + axis] + image->dims[axis] + ints[WINDOW_END + axis];
    const int64_t fitting = (end - first + dilation - 1) / dilation;
    return fitting < ints[WINDOW_KERNEL + axis] ? fitting : ints[WINDOW_KERNEL + axis];
}

/* What an average divides by. */
static double divisor(const struct window_image *image, const int64_t *ints, const int64_t *out,
                      int64_t met) {
    if (ints[WINDOW_INCLUDE] == 0) {
        return (double)met;
    }
    double product = 1;
    for (int i = 0; i < image->spatial; i++) {
        product *= (double)within_padding(image, ints, i, out[i]);
    }
    return product;
}

struct found {
    float sum;
    double greatest;
    int64_t place, met;
};

/* Visits the elements of x that the window at `out` meets; first: x's offset of image and
 * channel. */
static struct found visit(const struct kernel_desc *desc, const struct window_image *image,
                          const void *x, int64_t first, const int64_t *out) {
    const int64_t *ints = desc->attrs.ints;
    const enum dtype dtype = desc->inputs[0].dtype;
    struct found found = {0, (double)-INFINITY, -1, 0};
    int64_t tap[WINDOW_AXES] = {0};
    do {
        const int64_t place = window_place(image, ints, out, tap);
        if (place < 0) {
            continue;
        }
        const double value = get(dtype, x, first + place);
        found.met++;
        if (desc->attrs.mode == POOL_AVERAGE) {
            found.sum += (float)value;
        } else if (desc->attrs.mode == POOL_LP) {
            found.sum += powf(fabsf((float)value), (float)desc->attrs.index);
        } else if (value > found.greatest || found.place < 0) {
            found.greatest = value;
            found.place = place;
        }
    } while (window_next(tap, ints + WINDOW_KERNEL, image->spatial));
    return found;
}

/* The place in x [B,C,...] as ONNX counts it. */
static int64_t place_of(const struct kernel_desc *desc, const struct window_image *image,
                        int64_t first, int64_t place) {
    if (desc->attrs.index == 0 || place < 0) {
        return first + place;
    }
    int64_t index = 0, step = 1;
    for (int i = 0; i < image->spatial; i++) { /* column-major */
        index += place / image->steps[i] % image->dims[i] * step;
        step *= image->dims[i];
    }
    return first + index;
}

void reference_pool(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct window_image in = window_image_of(&desc->inputs[0].shape, desc->attrs.axis);
    const struct window_image y = window_image_of(&desc->outputs[0].shape, desc->attrs.axis);
    if (reference_count(&desc->outputs[0]) == 0) {
        return;
    }
    for (int64_t item = 0; item < in.batch * in.channels; item++) {
        const int64_t b = item / in.channels, c = item % in.channels;
        const int64_t first = b * in.batch_step + c * in.channel_step;
        int64_t out[WINDOW_AXES] = {0};
        do {
            const struct found found = visit(desc, &in, call->inputs[0], first, out);
            int64_t at = b * y.batch_step + c * y.channel_step;
            for (int i = 0; i < y.spatial; i++) {
                at += out[i] * y.steps[i];
            }
            double value = found.greatest;
            if (desc->attrs.mode == POOL_AVERAGE) {
                const double count = divisor(&in, desc->attrs.ints, out, found.met);
                value = (double)(count > 0 ? found.sum / (float)count : 0);
            } else if (desc->attrs.mode == POOL_LP) {
                value = (double)powf(found.sum, 1.0F / (float)desc->attrs.index);
            }
            put(desc->inputs[0].dtype, call->outputs[0], at, value);
            if (desc->op == OP_POOL_INDICES) {
                ((int64_t *)call->outputs[1])[at] = place_of(desc, &in, first, found.place);
            }
        } while (window_next(out, y.dims, y.spatial));
    }
}

void reference_max_unpool(const struct reference_call *call) {
    const float *x = call->inputs[0];
    const int64_t *places = call->inputs[1];
    const int64_t total = reference_count(&call->desc->outputs[0]);
    const int64_t count = reference_count(&call->desc->inputs[0]);
    float *y = call->outputs[0];
    for (int64_t i = 0; i < total; i++) {
        y[i] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (places[i] >= 0 && places[i] < total) {
            y[places[i]] = x[i];
        }
    }
}
