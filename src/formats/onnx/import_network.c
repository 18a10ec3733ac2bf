/* Converters of the network family. */
#include "formats/onnx/importer.h"

#include <string.h>

static shoal_status spatial(struct import_node *n, const char *name, int32_t *out, int count) {
    int64_t values[4] = {1, 1, 1, 1};
    int given = 0;
    TRY(import_attr_ints(n, name, values, 4, &given));
    if (given >= 0 && given != count) {
        return import_corrupt(n, "attribute %s with %d numbers", name, given);
    }
    for (int i = 0; i < count; i++) {
        const int64_t value = given < 0 ? (count == 4 ? 0 : 1) : values[i];
        if (value < 0 || value > INT32_MAX) {
            return import_refuse(n, "attribute %s with a number out of range", name);
        }
        out[i] = (int32_t)value;
    }
    return SHOAL_OK;
}

static shoal_status convert_conv(struct import_node *n) {
    struct import_value *x, *w, *packed[2], *y;
    struct op_attrs attrs = {0};
    int64_t groups;
    const char *padding;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &w));
    if (x->type.shape.rank != 4 || !import_is_constant(w)) {
        return import_refuse(n, "a convolution that is not of images with constant weights");
    }
    TRY(import_attr_string(n, "auto_pad", "NOTSET", &padding));
    if (strcmp(padding, "NOTSET") != 0) {
        return import_refuse(n, "auto_pad %s", padding);
    }
    TRY(spatial(n, "strides", attrs.stride, 2));
    TRY(spatial(n, "dilations", attrs.dilation, 2));
    TRY(spatial(n, "pads", attrs.pad, 4)); /* top, left, bottom, right, as ours */
    TRY(import_attr_int(n, "group", 1, &groups));
    if (groups < 1 || groups > INT32_MAX) {
        return import_corrupt(n, "group out of range");
    }
    attrs.groups = (int32_t)groups;
    import_attr_ignore(n, "kernel_shape"); /* the weights tell */
    packed[0] = w;
    packed[1] = import_input(n, 2);
    TRY(import_channels_last(n, x, &x));
    TRY(import_emit_packed(n, OP_CONV2D, &attrs, &x, 1, packed, packed[1] != NULL ? 2 : 1, &y));
    TRY(import_channels_first(n, y, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_network_converters[] = {
    {"", "Conv", convert_conv, 0},
    {NULL, NULL, NULL, 0},
};
