#include "kernels/resize_taps.h"

#include <math.h>

/* Whether the axis is only copied. */
static bool is_left_alone(const struct kernel_desc *desc, int axis) {
    return desc->attrs.floats[axis] == 1.0F &&
           desc->inputs[0].shape.dims[axis] == desc->outputs[0].shape.dims[axis] &&
           desc->attrs.ints[RESIZE_COORDINATES_AT] != RESIZE_CROP;
}

static bool shrinks(const struct kernel_desc *desc, int axis) {
    return desc->attrs.ints[RESIZE_ANTIALIAS_AT] != 0 && desc->attrs.floats[axis] < 1 &&
           desc->attrs.mode != RESIZE_NEAREST;
}

/* The scale, exactly where it is the ratio of the two sizes, which f32 may only be near. */
static double exact_scale(const struct kernel_desc *desc, int axis) {
    const double ratio =
        (double)desc->outputs[0].shape.dims[axis] / (double)desc->inputs[0].shape.dims[axis];
    return (float)ratio == desc->attrs.floats[axis] ? ratio : (double)desc->attrs.floats[axis];
}

/* How far taps reach to each side, in elements. */
static int64_t reach(const struct kernel_desc *desc, int axis) {
    const double half = desc->attrs.mode == RESIZE_CUBIC ? 2 : 1;
    return shrinks(desc, axis) ? (int64_t)ceil(half / (double)desc->attrs.floats[axis])
                               : (int64_t)half;
}

int64_t resize_most_taps(const struct kernel_desc *desc, int axis) {
    if (is_left_alone(desc, axis) || desc->attrs.mode == RESIZE_NEAREST) {
        return 1;
    }
    return 2 * reach(desc, axis) + 1;
}

/* Where the centre of output `out` lies on the input's axis. */
static double coordinate(const struct kernel_desc *desc, int axis, int64_t out) {
    const double scale = exact_scale(desc, axis), x = (double)out;
    const double in_size = (double)desc->inputs[0].shape.dims[axis];
    const double out_size = (double)desc->outputs[0].shape.dims[axis];
    /* of the output, before it was rounded down */
    const double size = scale == out_size / in_size ? out_size : scale * in_size;
    const double begin = (double)desc->attrs.floats[RESIZE_ROI_BEGIN + axis];
    const double end = (double)desc->attrs.floats[RESIZE_ROI_END + axis];
    switch (desc->attrs.ints[RESIZE_COORDINATES_AT]) {
    case RESIZE_ALIGN_CORNERS:
        return size == 1 ? 0 : x * (in_size - 1) / (size - 1);
    case RESIZE_ASYMMETRIC:
        return x / scale;
    case RESIZE_CROP:
        return size == 1 ? (begin + end) * (in_size - 1) / 2
                         : begin * (in_size - 1) + x * (end - begin) * (in_size - 1) / (size - 1);
    case RESIZE_PYTORCH_HALF_PIXEL:
        return size == 1 ? -0.5 : (x + 0.5) / scale - 0.5;
    case RESIZE_TF_HALF_PIXEL:
        return (x + 0.5) / scale;
    case RESIZE_HALF_PIXEL_SYMMETRIC: {
        const double adjustment = out_size / size;
        return in_size / 2 * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    default:
        return (x + 0.5) / scale - 0.5;
    }
}

static double rounded(int64_t rounding, double x) {
    switch (rounding) {
    case RESIZE_FLOOR:
        return floor(x);
    case RESIZE_CEIL:
        return ceil(x);
    case RESIZE_PREFER_CEIL:
        return floor(x + 0.5);
    default:
        return ceil(x - 0.5);
    }
}

/* The interpolating function: triangle, or Keys' cubic convolution. */
static double weight_at(const struct kernel_desc *desc, double distance) {
    const double a = (double)desc->attrs.epsilon, x = fabs(distance);
    if (desc->attrs.mode == RESIZE_LINEAR) {
        return x < 1 ? 1 - x : 0;
    }
    if (x <= 1) {
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    }
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static int32_t within(double place, int64_t size) {
    return place < 0 ? 0 : place >= (double)size ? (int32_t)(size - 1) : (int32_t)place;
}

int64_t resize_taps(const struct kernel_desc *desc, int axis, int64_t out, int32_t *places,
                    float *weights) {
    const int64_t size = desc->inputs[0].shape.dims[axis];
    if (is_left_alone(desc, axis)) {
        places[0] = (int32_t)out;
        weights[0] = 1;
        return 1;
    }
    const double x = coordinate(desc, axis, out);
    if (desc->attrs.ints[RESIZE_COORDINATES_AT] == RESIZE_CROP &&
        (x < 0 || x > (double)(size - 1))) {
        return -1;
    }
    if (desc->attrs.mode == RESIZE_NEAREST) {
        places[0] = within(rounded(desc->attrs.ints[RESIZE_ROUNDING_AT], x), size);
        weights[0] = 1;
        return 1;
    }
    const bool antialias = shrinks(desc, axis);
    const double step = antialias ? (double)desc->attrs.floats[axis] : 1;
    const bool exclude = desc->attrs.ints[RESIZE_EXCLUDE_AT] != 0;
    const int64_t half = reach(desc, axis);
    double sum = 0;
    int64_t taps = 0;
    for (int64_t i = -half; i <= half; i++) {
        const double place = floor(x) + (double)i;
        double weight = weight_at(desc, (place - x) * step);
        const bool outside = place < 0 || place > (double)(size - 1);
        if (weight == 0 || (outside && exclude)) {
            continue;
        }
        places[taps] = within(place, size);
        weights[taps++] = (float)weight;
        sum += weight;
    }
    if (taps == 0) { /* everything excluded: the nearest element */
        places[0] = within(x, size);
        weights[0] = 1;
        return 1;
    }
    for (int64_t i = 0; i < taps && (antialias || exclude); i++) {
        weights[i] = (float)((double)weights[i] / sum);
    }
    return taps;
}
