/* What samples images between their elements. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"
#include "kernels/resize_taps.h"

#include <math.h>

/* Scratch of RESIZE: for each axis its outputs' tap counts, places and weights. */
struct table {
    int64_t most;
    int32_t *counts, *places;
    float *weights;
};

size_t reference_resize_scratch(const struct kernel_desc *desc) {
    size_t words = 0;
    for (int axis = 0; axis < desc->outputs[0].shape.rank; axis++) {
        words += (size_t)desc->outputs[0].shape.dims[axis] *
                 (1 + 2 * (size_t)resize_most_taps(desc, axis));
    }
    return words * 4;
}

static void fill_tables(const struct kernel_desc *desc, float *scratch,
                        struct table tables[SHAPE_MAX_RANK]) {
    for (int axis = 0; axis < desc->outputs[0].shape.rank; axis++) {
        const int64_t outputs = desc->outputs[0].shape.dims[axis];
        struct table *table = &tables[axis];
        table->most = resize_most_taps(desc, axis);
        table->counts = (int32_t *)(void *)scratch;
        table->places = table->counts + outputs;
        table->weights = (float *)(void *)(table->places + outputs * table->most);
        scratch = table->weights + outputs * table->most;
        for (int64_t i = 0; i < outputs; i++) {
            table->counts[i] = (int32_t)resize_taps(desc, axis, i, table->places + i * table->most,
                                                    table->weights + i * table->most);
        }
    }
}

/* The sum over all combinations of taps from `axis` on. */
static float interpolate(const struct kernel_desc *desc, const struct table *tables,
                         const int64_t *at, const int64_t *steps, int axis, const float *x) {
    if (axis == desc->outputs[0].shape.rank) {
        return *x;
    }
    const struct table *table = &tables[axis];
    const int32_t *places = table->places + at[axis] * table->most;
    const float *weights = table->weights + at[axis] * table->most;
    float sum = 0;
    for (int32_t i = 0; i < table->counts[at[axis]]; i++) {
        sum += weights[i] *
               interpolate(desc, tables, at, steps, axis + 1, x + places[i] * steps[axis]);
    }
    return sum;
}

void reference_resize(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape, *y = &desc->outputs[0].shape;
    struct table tables[SHAPE_MAX_RANK];
    int64_t steps[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0}, step = 1;
    const int64_t total = reference_count(&desc->outputs[0]);
    if (total == 0) {
        return;
    }
    fill_tables(desc, call->scratch, tables);
    for (int axis = x->rank - 1; axis >= 0; axis--) {
        steps[axis] = step;
        step *= x->dims[axis];
    }
    for (int64_t i = 0; i < total; i++) {
        bool outside = false;
        for (int axis = 0; axis < y->rank; axis++) {
            outside = outside || tables[axis].counts[at[axis]] < 0;
        }
        ((float *)call->outputs[0])[i] =
            outside ? desc->attrs.scale : interpolate(desc, tables, at, steps, 0, call->inputs[0]);
        (void)window_next(at, y->dims, y->rank);
    }
}

/* Folds x back from the borders until it lies between them. */
static float reflect(float x, float low, float high) {
    const float range = high - low;
    if (!(range > 0)) {
        return low;
    }
    if (x >= low && x <= high) {
        return x;
    }
    const float over = x < low ? low - x : x - high;
    const float turns = floorf(over / range);
    const float rest = over - turns * range;
    const bool even = fmodf(turns, 2) == 0;
    return (x < low) == even ? low + rest : high - rest;
}

/* One axis of GRID_SAMPLE: places and weights of at most 4 taps; a place of −1 counts as 0. */
struct axis_taps {
    int count;
    int64_t places[4];
    float weights[4];
};

static int64_t grid_place(const struct kernel_desc *desc, float place, int64_t size) {
    const bool align = desc->attrs.index != 0;
    if (desc->attrs.axis == GRID_REFLECTION) {
        place = truncf(
            reflect(place, align ? 0 : -0.5F, align ? (float)(size - 1) : (float)size - 0.5F));
    } else if (desc->attrs.axis == GRID_ZEROS && !(place >= 0 && place < (float)size)) {
        return -1;
    }
    return place > 0 ? (place < (float)size ? (int64_t)place : size - 1) : 0; /* NaN: 0 */
}

static struct axis_taps grid_taps(const struct kernel_desc *desc, float normalised, int64_t size) {
    const bool align = desc->attrs.index != 0;
    const float low = align ? 0 : -0.5F;
    const float high = align ? (float)(size - 1) : (float)size - 0.5F;
    float x =
        align ? (normalised + 1) / 2 * (float)(size - 1) : ((normalised + 1) * (float)size - 1) / 2;
    x = fminf(fmaxf(x, -1e9F), 1e9F); /* NaN: far outside */
    if (desc->attrs.mode == RESIZE_NEAREST) {
        x = rintf(x);
    }
    if (desc->attrs.axis == GRID_BORDER) {
        x = fminf(fmaxf(x, 0), (float)(size - 1));
    } else if (desc->attrs.axis == GRID_REFLECTION) {
        x = reflect(x, low, high);
    }
    const float first = floorf(x), t = x - first;
    struct axis_taps taps = {0, {0}, {0}};
    if (desc->attrs.mode == RESIZE_NEAREST) {
        taps = (struct axis_taps){1, {grid_place(desc, x, size)}, {1}};
    } else if (desc->attrs.mode == RESIZE_LINEAR) {
        taps = (struct axis_taps){
            2, {grid_place(desc, first, size), grid_place(desc, first + 1, size)}, {1 - t, t}};
    } else {
        const float a = -0.75F;
        taps.count = 4;
        for (int i = 0; i < 4; i++) {
            const float d = fabsf(t - (float)(i - 1));
            taps.places[i] = grid_place(desc, first + (float)(i - 1), size);
            taps.weights[i] = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1
                                     : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
        }
    }
    return taps;
}

static float grid_value(const struct axis_taps *taps, const struct window_image *image, int axis,
                        const float *x) {
    float sum = 0;
    if (axis == image->spatial || axis >= 3) { /* the second only tells the compiler */
        return *x;
    }
    for (int i = 0; i < taps[axis].count; i++) {
        if (taps[axis].places[i] >= 0) {
            sum += taps[axis].weights[i] *
                   grid_value(taps, image, axis + 1, x + taps[axis].places[i] * image->steps[axis]);
        }
    }
    return sum;
}

/* x [B,C,...], grid [B,...,k] (the last axis of x first) → y [B,C,...] */
void reference_grid_sample(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct window_image in = window_image_of(&desc->inputs[0].shape, 1);
    const struct window_image y = window_image_of(&desc->outputs[0].shape, 1);
    const int64_t places = window_items(&y);
    const float *grid = call->inputs[1];
    for (int64_t i = 0; i < y.batch * places; i++, grid += in.spatial) {
        struct axis_taps taps[3];
        for (int axis = 0; axis < in.spatial; axis++) {
            taps[axis] = grid_taps(desc, grid[in.spatial - 1 - axis], in.dims[axis]);
        }
        const int64_t b = i / places;
        for (int64_t c = 0; c < in.channels; c++) {
            const float *x =
                (const float *)call->inputs[0] + b * in.batch_step + c * in.channel_step;
            ((float *)call->outputs[0])[b * y.batch_step + c * y.channel_step + i % places] =
                grid_value(taps, &in, 0, x);
        }
    }
}

/* theta [B,k,k+1] → grid [B,...,k]: theta·(x, y(, z), 1) at the centres (or corners) of a grid over
 * −1..1. */
void reference_affine_grid(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int k = (int)desc->inputs[0].shape.dims[1];
    const struct shape *y = &desc->outputs[0].shape;
    float *to = call->outputs[0];
    for (int64_t b = 0; b < y->dims[0]; b++) {
        const float *theta = (const float *)call->inputs[0] + b * k * (k + 1);
        int64_t at[3] = {0};
        do {
            for (int i = 0; i < k; i++) {
                float sum = theta[i * (k + 1) + k];
                for (int j = 0; j < k; j++) { /* x belongs to the last axis */
                    const float size = (float)y->dims[k - j], place = (float)at[k - 1 - j];
                    const float centre = desc->attrs.index != 0
                                             ? (size > 1 ? 2 * place / (size - 1) - 1 : -1)
                                             : (2 * place + 1) / size - 1;
                    sum += theta[i * (k + 1) + j] * centre;
                }
                *to++ = sum;
            }
        } while (window_next(at, y->dims + 1, k));
    }
}
