/* Shapes of what moves windows over images. */
#include "kernels/op_infer_network.h"
#include "kernels/op_window.h"

/* The attributes of windows over so many axes; `pads` says whether they have padding. */
static shoal_status check_window(struct op_inference *in, int spatial) {
    const int64_t *ints = in->attrs->ints;
    for (int i = 0; i < spatial; i++) {
        if (ints[WINDOW_STRIDE + i] < 1 || ints[WINDOW_DILATION + i] < 1) {
            return op_refuse_attribute(in, "stride and dilation must be at least 1");
        }
        if (ints[WINDOW_BEGIN + i] < 0 || ints[WINDOW_END + i] < 0) {
            return op_refuse_attribute(in, "negative padding");
        }
        if (ints[WINDOW_STRIDE + i] > WINDOW_LIMIT || ints[WINDOW_DILATION + i] > WINDOW_LIMIT ||
            ints[WINDOW_BEGIN + i] > WINDOW_LIMIT || ints[WINDOW_END + i] > WINDOW_LIMIT) {
            return op_refuse_attribute(in, "stride, dilation or padding is out of range");
        }
    }
    return SHOAL_OK;
}

static shoal_status check_image(struct op_inference *in, const struct shape *x) {
    const int axis = in->attrs->axis;
    if (x->rank < 3 || x->rank > 2 + WINDOW_AXES) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,C,...] of 1 to 4 more axes:", x);
    }
    if (axis != 1 && axis != x->rank - 1) {
        return op_refuse_attribute(in, "channels lie on axis 1 or on the last");
    }
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[i] > WINDOW_LIMIT) {
            return op_refuse(in, SHOAL_UNSUPPORTED, "oversized image", x);
        }
    }
    return SHOAL_OK;
}

/* [B,C,spatial...] with the channels on the axis. */
static struct shape image_shape(int axis, int64_t batch, int64_t channels, const int64_t *spatial,
                                int count) {
    struct shape shape = {.rank = count + 2};
    shape.dims[0] = batch;
    shape.dims[axis] = channels;
    for (int i = 0; i < count; i++) {
        shape.dims[(axis == 1 ? 2 : 1) + i] = spatial[i];
    }
    return shape;
}

/*
 * Windows along one axis. With `ceil` the last may reach beyond the padding, but starts within the
 * image or the padding before it (ONNX, operator AveragePool).
 */
static int64_t window_count(const int64_t *ints, int axis, int64_t dim, int64_t kernel, bool ceil) {
    const int64_t stride = ints[WINDOW_STRIDE + axis];
    const int64_t padded = dim + ints[WINDOW_BEGIN + axis] + ints[WINDOW_END + axis];
    const int64_t span = (kernel - 1) * ints[WINDOW_DILATION + axis] + 1;
    if (padded < span) {
        return 0;
    }
    int64_t count = (padded - span + (ceil ? stride - 1 : 0)) / stride + 1;
    if (ceil && (count - 1) * stride >= dim + ints[WINDOW_BEGIN + axis]) {
        count--;
    }
    return count;
}

shoal_status op_infer_pool(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const enum dtype dtype = in->inputs[0].dtype;
    int64_t out[WINDOW_AXES];
    TRY(check_image(in, x));
    const struct window_image image = window_image_of(x, attrs->axis);
    TRY(check_window(in, image.spatial));
    if (attrs->mode < 0 || attrs->mode >= POOL_FUNCTION_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    if (dtype != DTYPE_F32 && (attrs->mode != POOL_MAX ||
                               (dtype != DTYPE_F64 && dtype != DTYPE_I8 && dtype != DTYPE_U8))) {
        return op_refuse_type(in, dtype);
    }
    if (attrs->mode == POOL_LP && attrs->index < 1) {
        return op_refuse_attribute(in, "the power must be at least 1");
    }
    if (in->op == OP_POOL_INDICES && (attrs->mode != POOL_MAX || attrs->axis != 1)) {
        return op_refuse_attribute(in, "only the greatest of [B,C,...] have places");
    }
    for (int i = 0; i < image.spatial; i++) {
        const int64_t kernel = attrs->ints[WINDOW_KERNEL + i];
        if (kernel < 1 || kernel > WINDOW_LIMIT) {
            return op_refuse_attribute(in, "the kernel must have at least 1 element");
        }
        out[i] = window_count(attrs->ints, i, image.dims[i], kernel, attrs->ints[WINDOW_CEIL] != 0);
        if (out[i] < 1) {
            return op_refuse(in, SHOAL_MISMATCH, "the kernel is larger than the padded input", x);
        }
    }
    const struct shape y =
        image_shape(attrs->axis, image.batch, image.channels, out, image.spatial);
    op_set_output(in, 0, dtype, &y);
    if (in->op == OP_POOL_INDICES) {
        op_set_output(in, 1, DTYPE_I64, &y);
    }
    return SHOAL_OK;
}

shoal_status op_infer_conv_shape(struct op_inference *in, const struct shape *x,
                                 const struct shape *w, struct shape *out) {
    const int64_t groups = in->attrs->groups;
    int64_t spatial[WINDOW_AXES];
    TRY(check_image(in, x));
    const struct window_image image = window_image_of(x, in->attrs->axis);
    TRY(check_window(in, image.spatial));
    if (groups < 1) {
        return op_refuse_attribute(in, "groups must be at least 1");
    }
    if (w->rank != x->rank) {
        return op_refuse_pair(in, "input and weight differ in rank", x, w);
    }
    if (w->dims[1] > WINDOW_LIMIT || w->dims[1] * groups != image.channels ||
        w->dims[0] % groups != 0) {
        return op_refuse_pair(in, "channels of input and weight differ", x, w);
    }
    for (int i = 0; i < image.spatial; i++) {
        const int64_t kernel = w->dims[2 + i];
        spatial[i] = kernel < 1 || kernel > WINDOW_LIMIT
                         ? 0
                         : window_count(in->attrs->ints, i, image.dims[i], kernel, false);
        if (spatial[i] < 1) {
            return op_refuse_pair(in, "the kernel is larger than the padded input", x, w);
        }
    }
    *out = image_shape(in->attrs->axis, image.batch, w->dims[0], spatial, image.spatial);
    return SHOAL_OK;
}

static shoal_status check_bias(struct op_inference *in, int index, int64_t channels) {
    return index >= in->input_count
               ? SHOAL_OK
               : op_expect(in, "bias is not [O]:", &in->inputs[index].shape, &SHAPE(channels));
}

shoal_status op_infer_convolution(struct op_inference *in) {
    struct shape y;
    TRY(op_expect_types(in, 0, in->input_count - 1, DTYPE_F32));
    TRY(op_infer_conv_shape(in, &in->inputs[0].shape, &in->inputs[1].shape, &y));
    TRY(check_bias(in, 2, in->inputs[1].shape.dims[0]));
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_conv_transpose(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape, *w = &in->inputs[1].shape;
    int64_t spatial[WINDOW_AXES];
    TRY(op_expect_types(in, 0, in->input_count - 1, DTYPE_F32));
    TRY(check_image(in, x));
    const struct window_image image = window_image_of(x, attrs->axis);
    TRY(check_window(in, image.spatial));
    if (attrs->groups < 1 || w->rank != x->rank || w->dims[0] != image.channels ||
        w->dims[0] % attrs->groups != 0 || w->dims[1] > WINDOW_LIMIT) {
        return op_refuse_pair(in, "channels of input and weight differ", x, w);
    }
    for (int i = 0; i < image.spatial; i++) {
        const int64_t kernel = w->dims[2 + i];
        const int64_t appended = attrs->ints[WINDOW_KERNEL + i];
        if (kernel < 1 || kernel > WINDOW_LIMIT || image.dims[i] < 1 || appended < 0 ||
            appended > WINDOW_LIMIT) {
            return op_refuse_pair(in, "no sound window", x, w);
        }
        spatial[i] = (image.dims[i] - 1) * attrs->ints[WINDOW_STRIDE + i] + appended +
                     (kernel - 1) * attrs->ints[WINDOW_DILATION + i] + 1 -
                     attrs->ints[WINDOW_BEGIN + i] - attrs->ints[WINDOW_END + i];
        if (spatial[i] < 1 || spatial[i] > WINDOW_LIMIT) {
            return op_refuse_pair(in, "nothing is left between the padding", x, w);
        }
    }
    TRY(check_bias(in, 2, w->dims[1] * attrs->groups));
    const struct shape y =
        image_shape(attrs->axis, image.batch, w->dims[1] * attrs->groups, spatial, image.spatial);
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_deform_conv(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *w = &in->inputs[1].shape;
    const int64_t heads = in->attrs->heads;
    struct shape y;
    TRY(op_expect_types(in, 0, in->input_count - 1, DTYPE_F32));
    if (x->rank != 4 || in->attrs->axis != 1) {
        return op_refuse(in, SHOAL_UNSUPPORTED, "only images [B,C,H,W], not", x);
    }
    TRY(op_infer_conv_shape(in, x, w, &y));
    if (heads < 1 || x->dims[1] % heads != 0) {
        return op_refuse(in, SHOAL_MISMATCH, "groups of offsets do not divide the channels of", x);
    }
    if (w->dims[2] * w->dims[3] > WINDOW_LIMIT) {
        return op_refuse(in, SHOAL_UNSUPPORTED, "oversized kernel", w);
    }
    const int64_t taps = heads * w->dims[2] * w->dims[3];
    TRY(op_expect(in, "offsets do not fit:", &in->inputs[2].shape,
                  &SHAPE(x->dims[0], 2 * taps, y.dims[2], y.dims[3])));
    TRY(check_bias(in, 3, w->dims[0]));
    if (in->input_count > 4) {
        TRY(op_expect(in, "mask does not fit:", &in->inputs[4].shape,
                      &SHAPE(x->dims[0], taps, y.dims[2], y.dims[3])));
    }
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

/* The axes of the image are those whose WINDOW_IMAGE is set: as many as attrs.axis says. */
shoal_status op_infer_col2im(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const int spatial = attrs->axis;
    struct shape y = {.rank = 2};
    int64_t taps = 1, windows = 1;
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    if (spatial < 1 || spatial > WINDOW_AXES) {
        return op_refuse_attribute(in, "images have 1 to 4 spatial axes");
    }
    y.rank += spatial;
    TRY(check_window(in, spatial));
    for (int i = 0; i < spatial; i++) {
        const int64_t kernel = attrs->ints[WINDOW_KERNEL + i];
        y.dims[2 + i] = attrs->ints[WINDOW_IMAGE + i];
        if (kernel < 1 || kernel > WINDOW_LIMIT || y.dims[2 + i] < 1 ||
            y.dims[2 + i] > WINDOW_LIMIT) {
            return op_refuse_attribute(in, "no sound image or block");
        }
        const int64_t count = window_count(attrs->ints, i, y.dims[2 + i], kernel, false);
        taps *= kernel;
        windows *= count;
        if (taps > WINDOW_LIMIT || windows > WINDOW_LIMIT || windows < 1) {
            return op_refuse_attribute(in, "no sound image or block");
        }
    }
    if (x->rank != 3 || x->dims[1] % taps != 0 || x->dims[2] != windows) {
        return op_refuse(in, SHOAL_MISMATCH, "columns do not fit the image:", x);
    }
    y.dims[0] = x->dims[0];
    y.dims[1] = x->dims[1] / taps;
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}

shoal_status op_infer_max_unpool(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    TRY(op_expect_types(in, 0, 0, DTYPE_F32));
    TRY(op_expect_types(in, 1, 1, DTYPE_I64));
    TRY(op_expect(in, "places and input differ:", &in->inputs[1].shape, x));
    for (int i = 0; i < y.rank; i++) {
        y.dims[i] = in->attrs->ints[i];
    }
    op_set_output(in, 0, DTYPE_F32, &y);
    return SHOAL_OK;
}
