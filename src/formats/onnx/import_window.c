/* Converters of what moves windows over images: convolutions and pools. */
#include "formats/onnx/import_compose.h"

#include <string.h>

/* x [N,C,...] with 1 to 4 spatial axes. */
static shoal_status need_image(struct import_node *n, struct import_value **x, int *spatial) {
    TRY(import_need(n, 0, x));
    *spatial = (*x)->type.shape.rank - 2;
    if (*spatial < 1 || *spatial > 4) {
        return import_refuse(n, "an input of rank %d", *spatial + 2);
    }
    return SHOAL_OK;
}

static shoal_status need_groups(struct import_node *n, struct op_attrs *attrs) {
    int64_t groups;
    TRY(import_attr_int(n, "group", 1, &groups));
    if (groups < 1 || groups > INT32_MAX) {
        return import_corrupt(n, "group out of range");
    }
    attrs->groups = (int32_t)groups;
    return SHOAL_OK;
}

/* The same attributes as CONV2D has them. */
static shoal_status for_conv2d(struct import_node *n, const struct op_attrs *from,
                               struct op_attrs *to) {
    *to = (struct op_attrs){.groups = from->groups};
    for (int i = 0; i < 2; i++) {
        const int64_t values[4] = {from->ints[WINDOW_STRIDE + i], from->ints[WINDOW_DILATION + i],
                                   from->ints[WINDOW_BEGIN + i], from->ints[WINDOW_END + i]};
        for (int k = 0; k < 4; k++) {
            if (values[k] < 0 || values[k] > (1 << 30)) {
                return import_refuse(n, "stride, dilation or padding out of range");
            }
        }
        to->stride[i] = (int32_t)values[0];
        to->dilation[i] = (int32_t)values[1];
        to->pad[i] = (int32_t)values[2];
        to->pad[i + 2] = (int32_t)values[3];
    }
    return SHOAL_OK;
}

/* Along one axis only: as an image of height 1. */
static shoal_status widen(struct import_node *n, struct import_value *x,
                          struct import_value **out) {
    const int64_t *dims = x->type.shape.dims;
    return import_reshape(n, x, &SHAPE(dims[0], dims[1], 1, dims[2]), out);
}

static shoal_status conv2d(struct import_node *n, struct op_attrs *attrs, struct import_value *x,
                           struct import_value *w, struct import_value *bias,
                           struct import_value **y) {
    const bool line = x->type.shape.rank == 3;
    struct op_attrs core;
    if (line) {
        static const int places[] = {WINDOW_STRIDE, WINDOW_DILATION, WINDOW_BEGIN, WINDOW_END};
        for (int i = 0; i < 4; i++) {
            attrs->ints[places[i] + 1] = attrs->ints[places[i]];
            attrs->ints[places[i]] = i < 2 ? 1 : 0;
        }
        TRY(widen(n, x, &x));
        TRY(widen(n, w, &w));
    }
    TRY(for_conv2d(n, attrs, &core));
    struct import_value *params[2] = {w, bias};
    TRY(import_channels_last(n, x, &x));
    TRY(import_emit_packed(n, OP_CONV2D, &core, &x, 1, params, bias != NULL ? 2 : 1, y));
    TRY(import_channels_first(n, *y, y));
    const int64_t *dims = (*y)->type.shape.dims;
    return line ? import_reshape(n, *y, &SHAPE(dims[0], dims[1], dims[3]), y) : SHOAL_OK;
}

static bool is_empty(const struct import_value *x) {
    return compose_count(x) == 0;
}

static shoal_status convert_conv(struct import_node *n) {
    struct import_value *x, *w, *y, *bias = import_input(n, 2);
    struct op_attrs attrs = {.axis = 1};
    int spatial;
    TRY(need_image(n, &x, &spatial));
    TRY(import_need(n, 1, &w));
    if (w->type.shape.rank != x->type.shape.rank) {
        return import_corrupt(n, "weights of rank %d", w->type.shape.rank);
    }
    TRY(need_groups(n, &attrs));
    TRY(compose_window(n, x->type.shape.dims + 2, w->type.shape.dims + 2, spatial, attrs.ints));
    import_attr_ignore(n, "kernel_shape"); /* the weights tell */
    const bool constant =
        import_is_constant(w) && (bias == NULL || import_is_constant(bias)) && !is_empty(x);
    if (constant && spatial <= 2 && x->type.dtype == DTYPE_F32) {
        TRY(conv2d(n, &attrs, x, w, bias, &y));
    } else {
        struct import_value *inputs[3] = {x, w, bias};
        TRY(import_emit(n, OP_CONV, &attrs, inputs, bias != NULL ? 3 : 2, &y));
    }
    return import_set(n, 0, y);
}

/* Padding from output_shape and auto_pad, as the standard's formula has it. */
static shoal_status transpose_padding(struct import_node *n, const int64_t *image,
                                      const int64_t *kernel, int spatial, int64_t *ints) {
    static const char *const choices[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", NULL};
    int64_t pads[2 * 4], shape[4];
    int padding = 0, given = 0;
    TRY(import_attr_choice(n, "auto_pad", choices, 0, &padding));
    TRY(compose_spatial(n, "strides", spatial, 1, ints + WINDOW_STRIDE));
    TRY(compose_spatial(n, "dilations", spatial, 1, ints + WINDOW_DILATION));
    TRY(compose_spatial(n, "output_padding", spatial, 0, ints + WINDOW_KERNEL));
    TRY(compose_spatial(n, "pads", 2 * spatial, 0, pads));
    TRY(import_attr_ints(n, "output_shape", shape, 4, &given));
    if (given >= 0 && given != spatial && given != spatial + 2) {
        return import_corrupt(n, "output_shape of %d dims", given);
    }
    for (int i = 0; i < spatial; i++) {
        ints[WINDOW_BEGIN + i] = padding == 0 ? pads[i] : 0;
        ints[WINDOW_END + i] = padding == 0 ? pads[spatial + i] : 0;
        if (given < 0 && padding < 2) {
            continue;
        }
        const int64_t most = 1 << 30, stride = ints[WINDOW_STRIDE + i];
        const int64_t dilation = ints[WINDOW_DILATION + i], appended = ints[WINDOW_KERNEL + i];
        const int64_t wanted = given >= 0        ? shape[given - spatial + i]
                               : image[i] > most ? -1
                                                 : image[i] * stride;
        if (stride < 1 || stride > most || dilation < 1 || dilation > most || wanted < 0 ||
            wanted > most || kernel[i] > most || appended < 0 || appended > most) {
            return import_corrupt(n, "a window out of range");
        }
        const int64_t surplus =
            stride * (image[i] - 1) + appended + (kernel[i] - 1) * dilation + 1 - wanted;
        const int64_t total = surplus > 0 ? surplus : 0;
        if (surplus < 0) { /* the result is to be longer: elements are appended */
            ints[WINDOW_KERNEL + i] -= surplus;
        }
        ints[WINDOW_BEGIN + i] = padding == 2 ? total / 2 : total - total / 2;
        ints[WINDOW_END + i] = total - ints[WINDOW_BEGIN + i];
    }
    return SHOAL_OK;
}

static shoal_status convert_conv_transpose(struct import_node *n) {
    struct import_value *x, *w, *y, *bias = import_input(n, 2);
    struct op_attrs attrs = {.axis = 1};
    int spatial;
    TRY(need_image(n, &x, &spatial));
    TRY(import_need(n, 1, &w));
    if (w->type.shape.rank != x->type.shape.rank) {
        return import_corrupt(n, "weights of rank %d", w->type.shape.rank);
    }
    TRY(need_groups(n, &attrs));
    TRY(transpose_padding(n, x->type.shape.dims + 2, w->type.shape.dims + 2, spatial, attrs.ints));
    import_attr_ignore(n, "kernel_shape");
    if (spatial == 2) {
        attrs.axis = 3;
        TRY(import_channels_last(n, x, &x));
    }
    struct import_value *inputs[3] = {x, w, bias};
    TRY(import_emit(n, OP_CONV_TRANSPOSE, &attrs, inputs, bias != NULL ? 3 : 2, &y));
    if (spatial == 2) {
        TRY(import_channels_first(n, y, &y));
    }
    return import_set(n, 0, y);
}

static shoal_status convert_deform_conv(struct import_node *n) {
    struct import_value *x, *w, *offset, *y;
    struct import_value *bias = import_input(n, 3), *mask = import_input(n, 4);
    struct op_attrs attrs = {.axis = 1};
    int64_t groups;
    int spatial;
    TRY(need_image(n, &x, &spatial));
    TRY(import_need(n, 1, &w));
    TRY(import_need(n, 2, &offset));
    TRY(need_groups(n, &attrs));
    TRY(import_attr_int(n, "offset_group", 1, &groups));
    if (groups < 1 || groups > INT32_MAX || w->type.shape.rank != x->type.shape.rank) {
        return import_corrupt(n, "offset_group or weights out of range");
    }
    attrs.heads = (int32_t)groups;
    TRY(compose_window(n, x->type.shape.dims + 2, w->type.shape.dims + 2, spatial, attrs.ints));
    import_attr_ignore(n, "kernel_shape");
    if (mask != NULL && bias == NULL) {
        TRY(compose_filled(n, &SHAPE(w->type.shape.dims[0]), 0, &bias));
    }
    struct import_value *inputs[5] = {x, w, offset, bias, mask};
    const int count = mask != NULL ? 5 : bias != NULL ? 4 : 3;
    TRY(import_emit(n, OP_DEFORM_CONV, &attrs, inputs, count, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_col2im(struct import_node *n) {
    struct import_value *x, *image, *block, *y;
    struct op_attrs attrs = {0};
    int64_t dims[4], kernel[4];
    int spatial = 0, count = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &image));
    TRY(import_need(n, 2, &block));
    TRY(import_ints(n, image, dims, 4, &spatial));
    TRY(import_ints(n, block, kernel, 4, &count));
    if (spatial < 1 || count != spatial) {
        return import_corrupt(n, "image_shape and block_shape differ");
    }
    TRY(compose_window(n, dims, kernel, spatial, attrs.ints));
    attrs.axis = spatial;
    for (int i = 0; i < spatial; i++) {
        attrs.ints[WINDOW_KERNEL + i] = kernel[i];
        attrs.ints[WINDOW_IMAGE + i] = dims[i];
    }
    TRY(import_emit(n, OP_COL2IM, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

/* The pool as a node: two spatial axes with the channels last, others as they are. */
static shoal_status emit_pool(struct import_node *n, struct op_attrs *attrs, struct import_value *x,
                              struct import_value **y) {
    if (x->type.shape.rank != 4) {
        return import_emit(n, OP_POOL, attrs, &x, 1, y);
    }
    attrs->axis = 3;
    TRY(import_channels_last(n, x, &x));
    TRY(import_emit(n, OP_POOL, attrs, &x, 1, y));
    return import_channels_first(n, *y, y);
}

/* mode: enum pool_function. */
static shoal_status convert_pool(struct import_node *n) {
    struct import_value *x, *y[2] = {NULL, NULL};
    struct op_attrs attrs = {.axis = 1, .mode = n->mode};
    int64_t ceil, include = 0, order = 0, power = 0;
    int spatial;
    TRY(need_image(n, &x, &spatial));
    if (!import_attr_has(n, "kernel_shape")) {
        return import_corrupt(n, "no kernel_shape");
    }
    TRY(compose_spatial(n, "kernel_shape", spatial, 1, attrs.ints + WINDOW_KERNEL));
    TRY(compose_window(n, x->type.shape.dims + 2, attrs.ints + WINDOW_KERNEL, spatial, attrs.ints));
    TRY(import_attr_int(n, "ceil_mode", 0, &ceil));
    if (n->mode == POOL_AVERAGE) {
        TRY(import_attr_int(n, "count_include_pad", 0, &include));
    } else if (n->mode == POOL_LP) {
        TRY(import_attr_int(n, "p", 2, &power));
    } else {
        TRY(import_attr_int(n, "storage_order", 0, &order));
    }
    attrs.ints[WINDOW_CEIL] = ceil != 0;
    attrs.ints[WINDOW_INCLUDE] = include != 0;
    attrs.index = power;
    if (n->mode == POOL_MAX && import_wants(n, 1)) {
        attrs.index = order != 0;
        TRY(import_emit(n, OP_POOL_INDICES, &attrs, &x, 1, y));
        TRY(import_set(n, 1, y[1]));
    } else {
        TRY(emit_pool(n, &attrs, x, y));
    }
    return import_set(n, 0, y[0]);
}

/* Over all spatial axes. mode: enum pool_function. */
static shoal_status convert_global_pool(struct import_node *n) {
    struct import_value *x, *y;
    struct op_attrs attrs = {.axis = 1, .mode = n->mode};
    int64_t axes = 0;
    TRY(import_need(n, 0, &x));
    const int rank = x->type.shape.rank;
    if (rank < 2) {
        return import_corrupt(n, "an input of rank %d", rank);
    }
    for (int i = 2; i < rank; i++) {
        axes |= INT64_C(1) << i;
    }
    if (n->mode != POOL_LP) {
        if (rank ==
            4) { /* as with the other pools: the layout of images is the passes' to choose */
            TRY(import_channels_last(n, x, &x));
            TRY(compose_reduce(n, n->mode == POOL_MAX ? REDUCE_MAX : REDUCE_MEAN, x, 6, &y));
            TRY(import_channels_first(n, y, &y));
        } else {
            TRY(compose_reduce(n, n->mode == POOL_MAX ? REDUCE_MAX : REDUCE_MEAN, x, axes, &y));
        }
        return import_set(n, 0, y);
    }
    TRY(import_attr_int(n, "p", 2, &attrs.index));
    for (int i = 0; i < rank - 2 && i < WINDOW_AXES; i++) {
        attrs.ints[WINDOW_KERNEL + i] = x->type.shape.dims[2 + i];
        attrs.ints[WINDOW_STRIDE + i] = attrs.ints[WINDOW_DILATION + i] = 1;
    }
    TRY(emit_pool(n, &attrs, x, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_max_unpool(struct import_node *n) {
    struct import_value *x, *places, *y, *wanted = import_input(n, 2);
    struct op_attrs attrs = {0}, pad = {0};
    int64_t kernel[4], ints[OP_ATTR_INTS] = {0}, shape[SHAPE_MAX_RANK];
    int spatial, rank = 0;
    TRY(need_image(n, &x, &spatial));
    TRY(import_need(n, 1, &places));
    TRY(compose_spatial(n, "kernel_shape", spatial, 1, kernel));
    TRY(compose_spatial(n, "strides", spatial, 1, ints));
    TRY(compose_spatial(n, "pads", 2 * spatial, 0, ints + 4));
    for (int i = 0; i < spatial + 2; i++) {
        attrs.ints[i] = x->type.shape.dims[i];
    }
    for (int i = 0; i < spatial; i++) {
        const int64_t dim = x->type.shape.dims[2 + i], most = 1 << 30;
        if (dim > most || ints[i] < 0 || ints[i] > most || kernel[i] < 0 || kernel[i] > most ||
            ints[4 + i] < 0 || ints[4 + i] > most || ints[4 + spatial + i] < 0 ||
            ints[4 + spatial + i] > most) {
            return import_corrupt(n, "a window out of range");
        }
        attrs.ints[2 + i] = (dim - 1) * ints[i] + kernel[i] - ints[4 + i] - ints[4 + spatial + i];
    }
    TRY(import_emit(n, OP_MAX_UNPOOL, &attrs, (struct import_value *[]){x, places}, 2, &y));
    if (wanted != NULL) {
        TRY(import_ints(n, wanted, shape, SHAPE_MAX_RANK, &rank));
        if (rank != spatial + 2) {
            return import_corrupt(n, "output_shape of %d dims", rank);
        }
        for (int i = 0; i < rank; i++) {
            if (shape[i] < 0 || shape[i] > (1 << 30)) {
                return import_corrupt(n, "output_shape out of range");
            }
            pad.ints[PAD_END + i] = shape[i] - y->type.shape.dims[i];
        }
        TRY(import_emit(n, OP_PAD, &pad, &y, 1, &y));
    }
    return import_set(n, 0, y);
}

const struct import_converter import_window_converters[] = {
    {"", "Conv", convert_conv, 0},
    {"", "ConvTranspose", convert_conv_transpose, 0},
    {"", "DeformConv", convert_deform_conv, 0},
    {"", "Col2Im", convert_col2im, 0},
    {"", "MaxPool", convert_pool, POOL_MAX},
    {"", "AveragePool", convert_pool, POOL_AVERAGE},
    {"", "LpPool", convert_pool, POOL_LP},
    {"", "GlobalMaxPool", convert_global_pool, POOL_MAX},
    {"", "GlobalAveragePool", convert_global_pool, POOL_AVERAGE},
    {"", "GlobalLpPool", convert_global_pool, POOL_LP},
    {"", "MaxUnpool", convert_max_unpool, 0},
    {NULL, NULL, NULL, 0},
};
