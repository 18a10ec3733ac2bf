/* Geometry of windows that move over an image's spatial axes: shared by shape inference and
 * kernels. */
#ifndef KERNELS_OP_WINDOW_H
#define KERNELS_OP_WINDOW_H

#include "kernels/op.h"

/* Attributes beyond this are refused, so that no product of two of them, or of one with a dim that
 * is within it too, overflows. */
#define WINDOW_LIMIT (INT64_C(1) << 30)

/* An image's axes: elements from one item to the next along each. */
struct window_image {
    int spatial; /* axes */
    int64_t batch, channels, batch_step, channel_step;
    int64_t dims[WINDOW_AXES], steps[WINDOW_AXES];
};

/* Of x whose channels lie on `axis`, 1 or the last; the shape is sound. */
static inline struct window_image window_image_of(const struct shape *x, int axis) {
    struct window_image image = {
        .spatial = x->rank - 2, .batch = x->dims[0], .channels = x->dims[axis]};
    const int first = axis == 1 ? 2 : 1;
    int64_t step = axis == 1 ? 1 : image.channels;
    for (int i = image.spatial - 1; i >= 0; i--) {
        image.dims[i] = x->dims[first + i];
        image.steps[i] = step;
        step *= image.dims[i];
    }
    image.channel_step = axis == 1 ? step : 1;
    image.batch_step = axis == 1 ? step * image.channels : step;
    return image;
}

static inline int64_t window_items(const struct window_image *image) {
    int64_t items = 1;
    for (int i = 0; i < image->spatial; i++) {
        items *= image->dims[i];
    }
    return items;
}

/* Advances a position within dims[count]; false after the last. */
static inline bool window_next(int64_t *at, const int64_t *dims, int count) {
    for (int i = count - 1; i >= 0; i--) {
        if (++at[i] < dims[i]) {
            return true;
        }
        at[i] = 0;
    }
    return false;
}

/*
 * Where the window at `out` meets the image with its kernel element `tap`: elements from the
 * image's first, or −1 outside.
 */
static inline int64_t window_place(const struct window_image *image, const int64_t *ints,
                                   const int64_t *out, const int64_t *tap) {
    int64_t place = 0;
    for (int i = 0; i < image->spatial; i++) {
        const int64_t at = out[i] * ints[WINDOW_STRIDE + i] - ints[WINDOW_BEGIN + i] +
                           tap[i] * ints[WINDOW_DILATION + i];
        if (at < 0 || at >= image->dims[i]) {
            return -1;
        }
        place += at * image->steps[i];
    }
    return place;
}

#endif
