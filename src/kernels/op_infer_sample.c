/* Shapes of what samples images between their elements. */
#include "kernels/op_infer_network.h"
#include "kernels/op_window.h"

#include <math.h>

static shoal_status resize_attributes(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    if (attrs->mode < 0 || attrs->mode >= RESIZE_MODE_COUNT ||
        attrs->ints[RESIZE_COORDINATES_AT] < 0 ||
        attrs->ints[RESIZE_COORDINATES_AT] >= RESIZE_COORDINATES_COUNT ||
        attrs->ints[RESIZE_ROUNDING_AT] < 0 ||
        attrs->ints[RESIZE_ROUNDING_AT] >= RESIZE_ROUNDING_COUNT) {
        return op_refuse_attribute(in, "unknown mode");
    }
    return isfinite(attrs->epsilon)
               ? SHOAL_OK
               : op_refuse_attribute(in, "the cubic's coefficient is no number");
}

shoal_status op_infer_resize(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    TRY(resize_attributes(in));
    for (int i = 0; i < x->rank; i++) {
        const float scale = attrs->floats[i];
        y.dims[i] = attrs->ints[i];
        if (!(scale >= 1e-6F && scale <= 1e6F) || !isfinite(attrs->floats[RESIZE_ROI_BEGIN + i]) ||
            !isfinite(attrs->floats[RESIZE_ROI_END + i])) {
            return op_refuse_attribute(in, "scale or region out of range");
        }
        if (y.dims[i] < 0 || y.dims[i] > WINDOW_LIMIT || x->dims[i] > WINDOW_LIMIT ||
            (x->dims[i] == 0 && y.dims[i] > 0)) {
            return op_refuse_pair(in, "no sound size", x, &y);
        }
    }
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_grid_sample(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *grid = &in->inputs[1].shape;
    TRY(op_expect_types(in, 0, 1, DTYPE_F32));
    if (in->attrs->mode < 0 || in->attrs->mode >= RESIZE_MODE_COUNT || in->attrs->axis < 0 ||
        in->attrs->axis >= GRID_PADDING_COUNT) {
        return op_refuse_attribute(in, "unknown mode or padding");
    }
    if ((x->rank != 4 && x->rank != 5) || grid->rank != x->rank || grid->dims[0] != x->dims[0] ||
        grid->dims[grid->rank - 1] != x->rank - 2) {
        return op_refuse_pair(in, "image [B,C,...] and grid [B,...,2 or 3] do not fit", x, grid);
    }
    struct shape y = SHAPE(x->dims[0], x->dims[1], grid->dims[1], grid->dims[2]);
    if (x->rank == 5) {
        y.rank = 5;
        y.dims[4] = grid->dims[3];
    }
    for (int i = 2; i < x->rank; i++) {
        if (x->dims[i] < 1 || x->dims[i] > (1 << 24)) { /* places are exact in f32 */
            return op_refuse(in, SHOAL_UNSUPPORTED, "empty or oversized image", x);
        }
    }
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_affine_grid(struct op_inference *in) {
    const struct shape *theta = &in->inputs[0].shape;
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    if (theta->rank != 3 || theta->dims[1] < 2 || theta->dims[1] > 3 ||
        theta->dims[2] != theta->dims[1] + 1) {
        return op_refuse(in, SHOAL_MISMATCH, "theta is not [B,2,3] or [B,3,4]:", theta);
    }
    const int spatial = (int)theta->dims[1];
    struct shape y = {.rank = spatial + 2};
    y.dims[0] = theta->dims[0];
    for (int i = 0; i < spatial; i++) {
        y.dims[1 + i] = in->attrs->ints[i];
        if (y.dims[1 + i] < 1 || y.dims[1 + i] > WINDOW_LIMIT) {
            return op_refuse_attribute(in, "no sound size");
        }
    }
    y.dims[spatial + 1] = spatial;
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_roi_align(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape, *rois = &in->inputs[1].shape;
    TRY(op_expect_types(in, 0, 1, DTYPE_F32));
    TRY(op_expect_types(in, 2, 2, DTYPE_I64));
    if (x->rank != 4 || rois->rank != 2 || rois->dims[1] != 4) {
        return op_refuse_pair(in, "not images [B,C,H,W] and regions [R,4]", x, rois);
    }
    TRY(op_expect(in, "images are not [R]:", &in->inputs[2].shape, &SHAPE(rois->dims[0])));
    for (int i = 0; i < 2; i++) {
        if (attrs->ints[i] < 1 || attrs->ints[i] > (1 << 20) || x->dims[2 + i] < 1 ||
            x->dims[2 + i] > (1 << 24)) {
            return op_refuse(in, SHOAL_UNSUPPORTED, "empty or oversized image or result:", x);
        }
    }
    if (attrs->mode < 0 || attrs->mode > 1 || attrs->ints[2] < 0 || attrs->ints[2] > (1 << 16) ||
        !isfinite(attrs->scale) || x->dims[0] < 1) {
        return op_refuse_attribute(in, "mode, samples or scale out of range");
    }
    op_set_output(in, 0, DTYPE_F32,
                  &SHAPE(rois->dims[0], x->dims[1], attrs->ints[0], attrs->ints[1]));
    return SHOAL_OK;
}
