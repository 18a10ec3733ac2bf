/* Converters of what samples images between their elements. */
#include "formats/onnx/import_compose.h"

#include <math.h>
#include <string.h>

static const char *const coordinate_names[] = {
#define X(code, text) (text),
    RESIZE_COORDINATES_LIST(X)
#undef X
        NULL};

static const char *const rounding_names[] = {
#define X(code, text) (text),
    RESIZE_ROUNDING_LIST(X)
#undef X
        NULL};

/* A vector of at most 16 floats that must be known; count 0: left out or empty. */
static shoal_status known_floats(struct import_node *n, struct import_value *value, double *out,
                                 int *count) {
    const void *data = NULL;
    *count = 0;
    if (value == NULL || compose_count(value) == 0) {
        return SHOAL_OK;
    }
    if (compose_count(value) > 16 ||
        (value->type.dtype != DTYPE_F32 && value->type.dtype != DTYPE_F64)) {
        return import_refuse(n, "more than 16 numbers, or of another type");
    }
    TRY(import_bytes(n, value, &data));
    *count = (int)compose_count(value);
    for (int i = 0; i < *count; i++) {
        out[i] = value->type.dtype == DTYPE_F32 ? (double)((const float *)data)[i]
                                                : ((const double *)data)[i];
    }
    return SHOAL_OK;
}

/* What a resize is asked for: for each axis of x. */
struct wanted {
    int axes[SHAPE_MAX_RANK], count;
    double scales[SHAPE_MAX_RANK];
    int64_t sizes[SHAPE_MAX_RANK];
    double roi[2 * SHAPE_MAX_RANK];
};

static shoal_status wanted_axes(struct import_node *n, int rank, struct wanted *w) {
    int64_t axes[SHAPE_MAX_RANK];
    TRY(import_attr_ints(n, "axes", axes, SHAPE_MAX_RANK, &w->count));
    if (w->count < 0) {
        w->count = rank;
        for (int i = 0; i < rank; i++) {
            w->axes[i] = i;
        }
        return SHOAL_OK;
    }
    for (int i = 0; i < w->count; i++) {
        TRY(import_axis(n, axes[i], rank, &w->axes[i]));
    }
    return SHOAL_OK;
}

/* One scale for all axes: the policy's. */
static void keep_aspect(const struct shape *x, bool larger, struct wanted *w) {
    double scale = w->scales[0];
    for (int i = 1; i < w->count; i++) {
        scale = larger ? fmax(scale, w->scales[i]) : fmin(scale, w->scales[i]);
    }
    for (int i = 0; i < w->count; i++) {
        w->scales[i] = scale;
        w->sizes[i] = (int64_t)floor(scale * (double)x->dims[w->axes[i]] + 0.5);
    }
}

static shoal_status by_sizes(struct import_node *n, const struct shape *x,
                             struct import_value *sizes, struct wanted *w) {
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    int count = 0, policy = 0;
    TRY(import_attr_choice(n, "keep_aspect_ratio_policy", policies, 0, &policy));
    TRY(import_ints(n, sizes, w->sizes, SHAPE_MAX_RANK, &count));
    if (count != w->count) {
        return import_corrupt(n, "sizes of %d axes, not %d", count, w->count);
    }
    for (int i = 0; i < count; i++) {
        const int64_t dim = x->dims[w->axes[i]];
        if (w->sizes[i] < 1 || w->sizes[i] > (1 << 30) || dim < 1) {
            return import_refuse(n, "a size out of range");
        }
        w->scales[i] = (double)w->sizes[i] / (double)dim;
    }
    if (policy > 0) {
        keep_aspect(x, policy == 2, w);
    }
    return SHOAL_OK;
}

static shoal_status by_scales(struct import_node *n, const struct shape *x, int count,
                              struct wanted *w) {
    import_attr_ignore(n, "keep_aspect_ratio_policy");
    if (count != w->count) {
        return import_corrupt(n, "scales of %d axes, not %d", count, w->count);
    }
    for (int i = 0; i < count; i++) {
        const double size = floor(w->scales[i] * (double)x->dims[w->axes[i]]);
        if (!(w->scales[i] > 0 && size <= (double)(1 << 30))) {
            return import_refuse(n, "a scale out of range");
        }
        w->sizes[i] = (int64_t)size;
    }
    return SHOAL_OK;
}

/* The op for x as it lies, or for images with the channels last. */
static shoal_status emit_resize(struct import_node *n, struct import_value *x, struct op_attrs *to,
                                struct import_value **out) {
    const enum dtype dtype = x->type.dtype;
    const int rank = x->type.shape.rank;
    const bool image = rank == 4 && to->ints[0] == x->type.shape.dims[0] &&
                       to->ints[1] == x->type.shape.dims[1] && to->floats[0] == 1 &&
                       to->floats[1] == 1;
    TRY(compose_cast(n, x, DTYPE_F32, &x));
    if (image) {
        static const int order[] = {0, 2, 3, 1};
        struct op_attrs last = *to;
        for (int i = 0; i < 4; i++) {
            last.ints[i] = to->ints[order[i]];
            last.floats[i] = to->floats[order[i]];
            last.floats[RESIZE_ROI_BEGIN + i] = to->floats[RESIZE_ROI_BEGIN + order[i]];
            last.floats[RESIZE_ROI_END + i] = to->floats[RESIZE_ROI_END + order[i]];
        }
        TRY(import_channels_last(n, x, &x));
        TRY(import_emit(n, OP_RESIZE, &last, &x, 1, out));
        TRY(import_channels_first(n, *out, out));
    } else {
        TRY(import_emit(n, OP_RESIZE, to, &x, 1, out));
    }
    return compose_cast(n, *out, dtype, out);
}

static void set_wanted(const struct shape *x, const struct wanted *w, bool crop,
                       struct op_attrs *attrs) {
    for (int i = 0; i < x->rank; i++) {
        attrs->ints[i] = x->dims[i];
        attrs->floats[i] = attrs->floats[RESIZE_ROI_END + i] = 1;
    }
    for (int i = 0; i < w->count; i++) {
        const int axis = w->axes[i];
        attrs->ints[axis] = w->sizes[i];
        attrs->floats[axis] = (float)w->scales[i];
        if (crop) {
            attrs->floats[RESIZE_ROI_BEGIN + axis] = (float)w->roi[i];
            attrs->floats[RESIZE_ROI_END + axis] = (float)w->roi[w->count + i];
        }
    }
}

static shoal_status resize_attributes(struct import_node *n, struct op_attrs *attrs) {
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    int coordinates = RESIZE_ASYMMETRIC, rounding = RESIZE_FLOOR;
    TRY(import_attr_choice(n, "mode", modes, RESIZE_NEAREST, &attrs->mode));
    if (n->version >= 11) {
        TRY(import_attr_choice(n, "coordinate_transformation_mode", coordinate_names,
                               RESIZE_HALF_PIXEL, &coordinates));
        TRY(import_attr_choice(n, "nearest_mode", rounding_names, RESIZE_PREFER_FLOOR, &rounding));
    }
    attrs->ints[RESIZE_COORDINATES_AT] = coordinates;
    attrs->ints[RESIZE_ROUNDING_AT] = rounding;
    TRY(import_attr_float(n, "cubic_coeff_a", -0.75F, &attrs->epsilon));
    TRY(import_attr_float(n, "extrapolation_value", 0, &attrs->scale));
    TRY(import_attr_int(n, "exclude_outside", 0, &attrs->ints[RESIZE_EXCLUDE_AT]));
    return import_attr_int(n, "antialias", 0, &attrs->ints[RESIZE_ANTIALIAS_AT]);
}

static shoal_status convert_resize(struct import_node *n) {
    struct import_value *x, *y, *sizes = import_input(n, 3);
    struct op_attrs attrs = {0};
    struct wanted w = {0};
    double scales[16];
    int count = 0, roi = 0;
    TRY(import_need(n, 0, &x));
    TRY(resize_attributes(n, &attrs));
    TRY(wanted_axes(n, x->type.shape.rank, &w));
    TRY(known_floats(n, import_input(n, n->version >= 11 ? 2 : 1), scales, &count));
    if (count > 0) {
        memcpy(w.scales, scales, sizeof w.scales);
        TRY(by_scales(n, &x->type.shape, count, &w));
    } else if (sizes != NULL) {
        TRY(by_sizes(n, &x->type.shape, sizes, &w));
    } else {
        return import_corrupt(n, "neither scales nor sizes");
    }
    const bool crop = attrs.ints[RESIZE_COORDINATES_AT] == RESIZE_CROP;
    if (crop) {
        TRY(known_floats(n, import_input(n, 1), w.roi, &roi));
        if (roi != 2 * w.count) {
            return import_corrupt(n, "a region of %d numbers", roi);
        }
    }
    set_wanted(&x->type.shape, &w, crop, &attrs);
    TRY(emit_resize(n, x, &attrs, &y));
    return import_set(n, 0, y);
}

/* Before Resize: scales as an attribute (7) or an input (9). */
static shoal_status convert_upsample(struct import_node *n) {
    static const char *const modes[] = {"nearest", "linear", NULL};
    struct import_value *x, *y;
    struct op_attrs attrs = {.epsilon = -0.75F};
    struct wanted w = {0};
    float given[SHAPE_MAX_RANK];
    double scales[16] = {0};
    int count = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_choice(n, "mode", modes, 0, &attrs.mode));
    TRY(import_attr_floats(n, "scales", given, SHAPE_MAX_RANK, &count));
    for (int i = 0; i < count; i++) {
        scales[i] = (double)given[i];
    }
    if (count < 0) {
        TRY(known_floats(n, import_input(n, 1), scales, &count));
    }
    w.count = x->type.shape.rank;
    for (int i = 0; i < w.count; i++) {
        w.axes[i] = i;
        w.scales[i] = scales[i];
    }
    TRY(by_scales(n, &x->type.shape, count, &w));
    attrs.ints[RESIZE_COORDINATES_AT] = RESIZE_ASYMMETRIC;
    attrs.ints[RESIZE_ROUNDING_AT] = RESIZE_FLOOR;
    set_wanted(&x->type.shape, &w, false, &attrs);
    TRY(emit_resize(n, x, &attrs, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_grid_sample(struct import_node *n) {
    static const char *const modes[] = {"nearest",  "linear",  "cubic", "nearest",
                                        "bilinear", "bicubic", NULL};
    static const char *const paddings[] = {"zeros", "border", "reflection", NULL};
    struct import_value *in[2], *y;
    struct op_attrs attrs = {0};
    int mode = 0, padding = 0;
    TRY(import_need(n, 0, &in[0]));
    TRY(import_need(n, 1, &in[1]));
    TRY(import_attr_choice(n, "mode", modes, 1, &mode));
    TRY(import_attr_choice(n, "padding_mode", paddings, 0, &padding));
    TRY(import_attr_int(n, "align_corners", 0, &attrs.index));
    attrs.mode = mode % 3;
    attrs.axis = padding;
    TRY(import_emit(n, OP_GRID_SAMPLE, &attrs, in, 2, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_affine_grid(struct import_node *n) {
    struct import_value *theta, *size, *y;
    struct op_attrs attrs = {0};
    int64_t dims[5];
    int count = 0;
    TRY(import_need(n, 0, &theta));
    TRY(import_need(n, 1, &size));
    TRY(import_ints(n, size, dims, 5, &count));
    TRY(import_attr_int(n, "align_corners", 0, &attrs.index));
    if (theta->type.shape.rank != 3 || count != theta->type.shape.dims[1] + 2) {
        return import_corrupt(n, "size of %d dims", count);
    }
    for (int i = 0; i < count - 2; i++) {
        attrs.ints[i] = dims[2 + i];
    }
    TRY(import_emit(n, OP_AFFINE_GRID, &attrs, &theta, 1, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_roi_align(struct import_node *n) {
    static const char *const modes[] = {"avg", "max", NULL};
    static const char *const coordinates[] = {"output_half_pixel", "half_pixel", NULL};
    struct import_value *in[3], *y;
    struct op_attrs attrs = {0};
    int half = n->version >= 16 ? 1 : 0;
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &in[i]));
    }
    TRY(import_attr_choice(n, "mode", modes, 0, &attrs.mode));
    TRY(import_attr_choice(n, "coordinate_transformation_mode", coordinates, half, &half));
    TRY(import_attr_int(n, "output_height", 1, &attrs.ints[0]));
    TRY(import_attr_int(n, "output_width", 1, &attrs.ints[1]));
    TRY(import_attr_int(n, "sampling_ratio", 0, &attrs.ints[2]));
    TRY(import_attr_float(n, "spatial_scale", 1, &attrs.scale));
    attrs.ints[3] = half;
    TRY(import_emit(n, OP_ROI_ALIGN, &attrs, in, 3, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_sample_converters[] = {
    {"", "Resize", convert_resize, 0},          {"", "Upsample", convert_upsample, 0},
    {"", "GridSample", convert_grid_sample, 0}, {"", "AffineGrid", convert_affine_grid, 0},
    {"", "RoiAlign", convert_roi_align, 0},     {NULL, NULL, NULL, 0},
};
