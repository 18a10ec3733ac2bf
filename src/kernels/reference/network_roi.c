/* ROI_ALIGN: regions of images, averaged into bins of equal number (He et al., "Mask R-CNN", 2017).
 */
#include "kernels/reference/network.h"

#include <math.h>

/* A region on the feature map: its first bin's corner, a bin's size, samples per bin. */
struct region {
    float top, left, height, width;
    int64_t rows, columns;
};

static int64_t samples(int64_t given, float size) {
    if (given > 0) {
        return given;
    }
    return size > 0 ? (size < 65536.0F ? (int64_t)ceilf(size) : 65536) : 0;
}

static struct region region_of(const struct kernel_desc *desc, const float *roi) {
    const float scale = desc->attrs.scale, offset = desc->attrs.ints[3] != 0 ? 0.5F : 0;
    struct region region = {.left = roi[0] * scale - offset, .top = roi[1] * scale - offset};
    float width = roi[2] * scale - offset - region.left;
    float height = roi[3] * scale - offset - region.top;
    if (desc->attrs.ints[3] == 0) { /* degenerate regions count as one element */
        width = fmaxf(width, 1);
        height = fmaxf(height, 1);
    }
    region.height = height / (float)desc->attrs.ints[0];
    region.width = width / (float)desc->attrs.ints[1];
    region.rows = samples(desc->attrs.ints[2], region.height);
    region.columns = samples(desc->attrs.ints[2], region.width);
    return region;
}

/* One axis of a sample: the two elements around it and the second one's weight. */
struct between {
    int64_t low, high;
    float weight;
};

static struct between between_of(float place, int64_t size) {
    const float within = fmaxf(place, 0);
    const int64_t low = within < (float)(size - 1) ? (int64_t)within : size - 1;
    return low >= size - 1 ? (struct between){size - 1, size - 1, 0}
                           : (struct between){low, low + 1, within - (float)low};
}

/* The bilinear value at a place of x [H,W] (or its greatest term, in mode 1). */
static float sample(const struct kernel_desc *desc, const float *x, float row, float column) {
    const int64_t height = desc->inputs[0].shape.dims[2], width = desc->inputs[0].shape.dims[3];
    if (!(row >= -1 && row <= (float)height && column >= -1 && column <= (float)width)) {
        return 0;
    }
    const struct between r = between_of(row, height), c = between_of(column, width);
    const float terms[4] = {
        (1 - r.weight) * (1 - c.weight) * x[r.low * width + c.low],
        (1 - r.weight) * c.weight * x[r.low * width + c.high],
        r.weight * (1 - c.weight) * x[r.high * width + c.low],
        r.weight * c.weight * x[r.high * width + c.high],
    };
    return desc->attrs.mode == 1 ? fmaxf(fmaxf(terms[0], terms[1]), fmaxf(terms[2], terms[3]))
                                 : terms[0] + terms[1] + terms[2] + terms[3];
}

static float bin(const struct kernel_desc *desc, const struct region *region, const float *x,
                 int64_t i, int64_t j) {
    float sum = 0;
    bool first = true;
    for (int64_t r = 0; r < region->rows; r++) {
        for (int64_t c = 0; c < region->columns; c++) {
            const float row = region->top + (float)i * region->height +
                              ((float)r + 0.5F) * region->height / (float)region->rows;
            const float column = region->left + (float)j * region->width +
                                 ((float)c + 0.5F) * region->width / (float)region->columns;
            const float value = sample(desc, x, row, column);
            sum = desc->attrs.mode == 0 ? sum + value : first || value > sum ? value : sum;
            first = false;
        }
    }
    const int64_t count = region->rows * region->columns;
    return desc->attrs.mode == 0 ? sum / (float)(count > 0 ? count : 1) : sum;
}

/* x [B,C,H,W], rois [R,4], images [R] → y [R,C,h,w] */
void reference_roi_align(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *x = desc->inputs[0].shape.dims, *out = desc->outputs[0].shape.dims;
    const int64_t *images = call->inputs[2];
    float *y = call->outputs[0];
    for (int64_t n = 0; n < out[0]; n++) {
        const struct region region = region_of(desc, (const float *)call->inputs[1] + 4 * n);
        const int64_t image = images[n] < 0 ? 0 : images[n] < x[0] ? images[n] : x[0] - 1;
        for (int64_t c = 0; c < x[1]; c++) {
            const float *plane = (const float *)call->inputs[0] + (image * x[1] + c) * x[2] * x[3];
            for (int64_t i = 0; i < out[2] * out[3]; i++) {
                *y++ = bin(desc, &region, plane, i / out[3], i % out[3]);
            }
        }
    }
}
