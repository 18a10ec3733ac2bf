/*
 * x [B,H,W,C], residual [B,OH,OW,O]?, w [O,C/groups,KH,KW], bias [O]? → y [B,OH,OW,O]: NHWC
 * activations, weights in the library's layout, residual and activation fused. The residual is what
 * the destination holds before.
 */
#include "kernels/onednn/onednn.h"

#include "base/checked.h"
#include "base/memory.h"

/* Whether every window has a part of the image along axis 0 (height) or 1 (width). */
static bool windows_touch(const struct kernel_desc *desc, int axis) {
    const int64_t last = (desc->outputs[0].shape.dims[1 + axis] - 1) * desc->attrs.stride[axis];
    return desc->attrs.pad[axis] < desc->params[0].shape.dims[2 + axis] &&
           last - desc->attrs.pad[axis] < desc->inputs[0].shape.dims[1 + axis];
}

/*
 * With a residual oneDNN 2.6 crashes or errs where windows lie in the padding alone, with
 * dilations, and with groups; so it does, residual or not, where it adds another tensor than its
 * destination (a binary post-op).
 */
bool onednn_conv2d_supports(const struct kernel_desc *desc) {
    const struct op_attrs *attrs = &desc->attrs;
    return desc->input_count == 1 ||
           (attrs->groups == 1 && attrs->dilation[0] == 1 && attrs->dilation[1] == 1 &&
            windows_touch(desc, 0) && windows_touch(desc, 1));
}

/* The library's order of dims is NCHW whatever the layout; the strides say NHWC. */
static dnnl_status_t keep_image(struct onednn_kernel *kernel, const struct shape *shape,
                                onednn_view *out) {
    const int64_t *d = shape->dims;
    const int64_t dims[4] = {d[0], d[3], d[1], d[2]};
    const int64_t strides[4] = {d[1] * d[2] * d[3], 1, d[2] * d[3], d[3]};
    return onednn_keep_desc(kernel, 4, dims, strides, out);
}

static struct onednn_convolution shape_of(const struct op_attrs *attrs) {
    struct onednn_convolution shape = {{0}, {0}, {0}, {0}};
    for (int i = 0; i < 2; i++) {
        shape.strides[i] = attrs->stride[i];
        shape.dilations[i] = attrs->dilation[i] - 1;
        shape.pad_begin[i] = attrs->pad[i];
        shape.pad_end[i] = attrs->pad[i + 2];
    }
    return shape;
}

static dnnl_status_t build_primitive(struct onednn_kernel *kernel, dnnl_engine_t engine,
                                     onednn_view x, onednn_view bias, onednn_view y,
                                     const struct onednn_end *end) {
    const int64_t *w = kernel->desc.params[0].shape.dims;
    const int64_t groups = kernel->desc.attrs.groups;
    const struct onednn_convolution shape = shape_of(&kernel->desc.attrs);
    const int64_t taps = w[2] * w[3];
    /* [groups,] O, C, KH, KW */
    const int64_t dims[5] = {groups, w[0] / groups, w[1], w[2], w[3]};
    const int64_t strides[5] = {w[0] / groups * w[1] * taps, w[1] * taps, taps, w[3], 1};
    const int skip = groups > 1 ? 0 : 1;
    struct onednn_md any = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = onednn_md_init(&kernel->weights, 5 - skip, dims + skip, strides + skip);
    if (status == dnnl_success) {
        status = onednn_md_init(&any, 5 - skip, dims + skip, NULL);
    }
    if (status == dnnl_success) {
        status = onednn_make_attr(end, &attr);
    }
    if (status == dnnl_success) {
        status = onednn_convolve(&kernel->primitives[0].desc, engine, &shape, x,
                                 onednn_md_view(&any), bias, y, attr);
    }
    if (attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    onednn_md_fini(&any);
    return status;
}

dnnl_status_t onednn_conv2d_build(struct onednn_kernel *kernel, dnnl_engine_t engine) {
    const struct kernel_desc *desc = &kernel->desc;
    struct onednn_primitive *primitive = &kernel->primitives[0];
    const int64_t columns = desc->params[0].shape.dims[0];
    struct onednn_end end = {.accumulate = desc->input_count > 1,
                             .activation = desc->attrs.activation};
    onednn_view x = NULL;
    onednn_view y = NULL;
    onednn_view bias = NULL;
    dnnl_status_t status = keep_image(kernel, &desc->inputs[0].shape, &x);
    if (status == dnnl_success) {
        status = keep_image(kernel, &desc->outputs[0].shape, &y);
    }
    if (status == dnnl_success && desc->param_count > 1) {
        status = onednn_keep_desc(kernel, 1, &columns, (int64_t[]){1}, &bias);
    }
    if (status == dnnl_success) {
        status = build_primitive(kernel, engine, x, bias, y, &end);
    }
    if (status != dnnl_success) {
        return status;
    }
    kernel->primitive_count = 1;
    kernel->has_weights = true;
    kernel->accumulates = end.accumulate;
    const onednn_view packed =
        dnnl_primitive_desc_query_md(primitive->desc, dnnl_query_weights_md, 0);
    kernel->bias_offset = round_up_size(onednn_md_bytes(packed), MEM_ALIGNMENT);
    kernel->sizes.packed_bytes =
        kernel->bias_offset + (bias != NULL ? (size_t)columns * sizeof(float) : 0);
    onednn_argue(primitive, DNNL_ARG_SRC, x, ONEDNN_INPUT, 0, 0);
    onednn_argue(primitive, DNNL_ARG_WEIGHTS, packed, ONEDNN_PACKED, 0, 0);
    onednn_argue(primitive, DNNL_ARG_DST, y, ONEDNN_OUTPUT, 0, 0);
    if (bias != NULL) {
        onednn_argue(primitive, DNNL_ARG_BIAS, bias, ONEDNN_PACKED, 0, kernel->bias_offset);
    }
    return onednn_finish(kernel, primitive);
}
