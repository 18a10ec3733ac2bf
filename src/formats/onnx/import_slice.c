/* Converters of what takes parts of tensors, and puts something around them. */
#include "formats/onnx/import_basic.h"

static shoal_status emit_slice(struct import_node *n, struct import_value *x,
                               const struct op_attrs *attrs, struct import_value **out) {
    bool whole = true;
    for (int i = 0; i < x->type.shape.rank; i++) {
        whole = whole && attrs->ints[SLICE_STEP + i] == 1 &&
                attrs->ints[SLICE_LENGTH + i] == x->type.shape.dims[i];
    }
    if (whole) {
        *out = x;
        return SHOAL_OK;
    }
    return import_emit(n, OP_SLICE, attrs, &x, 1, out);
}

static struct op_attrs everything(const struct shape *shape) {
    struct op_attrs attrs = {0};
    for (int i = 0; i < shape->rank; i++) {
        attrs.ints[SLICE_STEP + i] = 1;
        attrs.ints[SLICE_LENGTH + i] = shape->dims[i];
    }
    return attrs;
}

shoal_status import_slice_axis(struct import_node *n, struct import_value *x, int axis,
                               int64_t start, int64_t length, struct import_value **out) {
    struct op_attrs attrs = everything(&x->type.shape);
    attrs.ints[axis] = start;
    attrs.ints[SLICE_LENGTH + axis] = length;
    return emit_slice(n, x, &attrs, out);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high) {
    return value < low ? low : value > high ? high : value;
}

/* Along one axis of `dim`, as Python has it. A step beyond the axis takes one element all the
 * same. */
static void slice_range(struct op_attrs *attrs, int axis, int64_t dim, int64_t start, int64_t end,
                        int64_t step) {
    step = clamp(step, -(dim + 1), dim + 1);
    start = start < 0 ? (start < -dim ? -1 : start + dim) : start;
    end = end < 0 ? (end < -dim ? -1 : end + dim) : end;
    int64_t length = 0;
    if (step > 0) {
        start = clamp(start, 0, dim);
        end = clamp(end, 0, dim);
        length = end > start ? (end - start - 1) / step + 1 : 0;
    } else {
        start = clamp(start, -1, dim - 1);
        end = clamp(end, -1, dim - 1);
        length = start > end ? (start - end - 1) / -step + 1 : 0;
    }
    attrs->ints[axis] = length > 0 ? start : 0;
    attrs->ints[SLICE_STEP + axis] = length > 0 ? step : 1;
    attrs->ints[SLICE_LENGTH + axis] = length;
}

/* The ints of an input (from version 10 on) or an attribute. */
static shoal_status slice_ints(struct import_node *n, uint32_t input, const char *name,
                               int64_t out[SHAPE_MAX_RANK], int *count) {
    struct import_value *value;
    *count = -1;
    if (n->version < 10) {
        return name != NULL ? import_attr_ints(n, name, out, SHAPE_MAX_RANK, count) : SHOAL_OK;
    }
    value = import_input(n, input);
    return value != NULL ? import_ints(n, value, out, SHAPE_MAX_RANK, count) : SHOAL_OK;
}

shoal_status import_convert_slice(struct import_node *n) {
    struct import_value *x, *y;
    int64_t starts[SHAPE_MAX_RANK], ends[SHAPE_MAX_RANK], steps[SHAPE_MAX_RANK];
    int axes[SHAPE_MAX_RANK], start_count, end_count, axis_count, step_count;
    TRY(import_need(n, 0, &x));
    const struct shape *shape = &x->type.shape;
    TRY(slice_ints(n, 1, "starts", starts, &start_count));
    TRY(slice_ints(n, 2, "ends", ends, &end_count));
    TRY(slice_ints(n, 4, NULL, steps, &step_count));
    TRY(import_axes(n, 3, 10, shape->rank, axes, &axis_count));
    if (start_count < 0 || end_count != start_count || start_count > shape->rank ||
        (axis_count >= 0 && axis_count != start_count) ||
        (step_count >= 0 && step_count != start_count)) {
        return import_corrupt(n, "starts, ends, axes and steps differ in number");
    }
    struct op_attrs attrs = everything(shape);
    for (int i = 0; i < start_count; i++) {
        const int axis = axis_count >= 0 ? axes[i] : i;
        const int64_t step = step_count >= 0 ? steps[i] : 1;
        if (step == 0) {
            return import_corrupt(n, "a step of 0");
        }
        slice_range(&attrs, axis, shape->dims[axis], starts[i], ends[i], step);
    }
    TRY(emit_slice(n, x, &attrs, &y));
    return import_set_as(n, 0, y, x->element);
}

#define MOST_PARTS 1024

/* How long the parts are that nothing says: equal ones, the last one smaller. */
static shoal_status equal_parts(struct import_node *n, int64_t dim, int64_t lengths[MOST_PARTS],
                                int *count) {
    int64_t parts = (int64_t)n->output_count;
    if (n->version >= 18) {
        TRY(import_attr_int(n, "num_outputs", parts, &parts));
    }
    if (parts < 1 || parts > MOST_PARTS || (n->version < 18 && dim % parts != 0)) {
        return import_corrupt(n, "no way to split %lld in %lld", (long long)dim, (long long)parts);
    }
    const int64_t each = (dim + parts - 1) / parts;
    for (int64_t i = 0; i < parts; i++) {
        lengths[i] = clamp(dim - i * each, 0, each);
    }
    *count = (int)parts;
    return SHOAL_OK;
}

shoal_status import_convert_split(struct import_node *n) {
    struct import_value *x, *split, *y;
    int64_t *lengths = import_alloc(n, MOST_PARTS * sizeof *lengths), start = 0;
    int axis, count = -1;
    if (lengths == NULL) {
        return import_no_memory(n);
    }
    TRY(import_need(n, 0, &x));
    TRY(import_attr_axis(n, "axis", 0, x->type.shape.rank, &axis));
    split = n->version >= 13 ? import_input(n, 1) : NULL;
    if (split != NULL) {
        TRY(import_ints(n, split, lengths, MOST_PARTS, &count));
    } else if (n->version < 13) {
        TRY(import_attr_ints(n, "split", lengths, MOST_PARTS, &count));
    }
    const int64_t dim = x->type.shape.dims[axis];
    if (count < 0) {
        TRY(equal_parts(n, dim, lengths, &count));
    }
    if ((uint32_t)count < n->output_count) {
        return import_corrupt(n, "%d parts for %u outputs", count, (unsigned)n->output_count);
    }
    for (int i = 0; i < count; i++) {
        if (lengths[i] < 0 || lengths[i] > dim - start) {
            return import_corrupt(n, "the parts are longer than the whole");
        }
        if ((uint32_t)i < n->output_count && import_wants(n, (uint32_t)i)) {
            TRY(import_slice_axis(n, x, axis, start, lengths[i], &y));
            TRY(import_set_as(n, (uint32_t)i, y, x->element));
        }
        start += lengths[i];
    }
    return start == dim ? SHOAL_OK : import_corrupt(n, "the parts are shorter than the whole");
}

/* pads: begins, then ends, of `axes` axes. */
static shoal_status pad_amounts(struct import_node *n, int rank, const int64_t *pads, int count,
                                struct op_attrs *attrs) {
    int axes[SHAPE_MAX_RANK], named = -1;
    if (n->version >= 18) {
        TRY(import_axes(n, 3, 18, rank, axes, &named));
    }
    const int each = named >= 0 ? named : rank;
    if (count != 2 * each) {
        return import_corrupt(n, "%d pads for %d axes", count, each);
    }
    for (int i = 0; i < each; i++) {
        const int axis = named >= 0 ? axes[i] : i;
        attrs->ints[axis] = pads[i];
        attrs->ints[PAD_END + axis] = pads[each + i];
    }
    return SHOAL_OK;
}

shoal_status import_convert_pad(struct import_node *n) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};
    struct import_value *inputs[2], *amounts, *y;
    int64_t pads[2 * SHAPE_MAX_RANK];
    struct op_attrs attrs = {0};
    int count = -1, used = 1;
    float value = 0;
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_attr_choice(n, "mode", modes, PAD_CONSTANT, &attrs.mode));
    if (n->version < 11) {
        TRY(import_attr_ints(n, import_attr_has(n, "paddings") ? "paddings" : "pads", pads,
                             2 * SHAPE_MAX_RANK, &count));
        TRY(import_attr_float(n, "value", 0, &value));
        if (value != 0) {
            TRY(import_scalar(n, inputs[0]->type.dtype, (double)value, &inputs[used++]));
        }
    } else {
        TRY(import_need(n, 1, &amounts));
        TRY(import_ints(n, amounts, pads, 2 * SHAPE_MAX_RANK, &count));
        if (import_input(n, 2) != NULL && attrs.mode == PAD_CONSTANT) {
            TRY(import_need(n, 2, &inputs[used++]));
        }
    }
    TRY(pad_amounts(n, inputs[0]->type.shape.rank, pads, count, &attrs));
    TRY(import_emit(n, OP_PAD, &attrs, inputs, used, &y));
    return import_set_as(n, 0, y, inputs[0]->element);
}

shoal_status import_convert_center_crop_pad(struct import_node *n) {
    struct import_value *x, *target, *y;
    int64_t dims[SHAPE_MAX_RANK], given[SHAPE_MAX_RANK];
    int count, axis_count, axis;
    bool padded = false;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &target));
    const struct shape *shape = &x->type.shape;
    TRY(import_ints(n, target, dims, SHAPE_MAX_RANK, &count));
    TRY(import_attr_ints(n, "axes", given, SHAPE_MAX_RANK, &axis_count));
    if (count != (axis_count >= 0 ? axis_count : shape->rank)) {
        return import_corrupt(n, "%d dims for %d axes", count,
                              axis_count >= 0 ? axis_count : shape->rank);
    }
    struct op_attrs crop = everything(shape), pad = {0};
    for (int i = 0; i < count; i++) {
        TRY(import_axis(n, axis_count >= 0 ? given[i] : i, shape->rank, &axis));
        const int64_t dim = shape->dims[axis];
        if (dims[i] < 0) {
            return import_corrupt(n, "a negative dim");
        }
        if (dims[i] < dim) {
            crop.ints[axis] = dims[i] > 0 ? (dim - dims[i]) / 2 : 0;
            crop.ints[SLICE_LENGTH + axis] = dims[i];
        } else if (dims[i] > dim) {
            pad.ints[axis] = (dims[i] - dim) / 2;
            pad.ints[PAD_END + axis] = dims[i] - dim - pad.ints[axis];
            padded = true;
        }
    }
    TRY(emit_slice(n, x, &crop, &y));
    if (padded) {
        TRY(import_emit(n, OP_PAD, &pad, &y, 1, &y));
    }
    return import_set_as(n, 0, y, x->element);
}

/* mode: 0 depth to space, 1 space to depth. */
shoal_status import_convert_blocks(struct import_node *n) {
    static const char *const orders[] = {"DCR", "CRD", NULL};
    static const int64_t axes[3][6] = {{0, 3, 4, 1, 5, 2}, {0, 1, 4, 2, 5, 3}, {0, 3, 5, 1, 2, 4}};
    struct import_value *x, *y;
    int64_t b;
    int order = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "blocksize", 0, &b));
    if (n->mode == 0) {
        TRY(import_attr_choice(n, "mode", orders, 0, &order));
    }
    const int64_t *d = x->type.shape.dims;
    const bool fits = x->type.shape.rank == 4 && b > 0 && b < 32768 &&
                      (n->mode == 0 ? d[1] % (b * b) == 0 : d[2] % b == 0 && d[3] % b == 0);
    if (!fits) {
        return import_corrupt(n, "no blocks of %lld in its input", (long long)b);
    }
    const struct shape apart = n->mode == 1 ? SHAPE(d[0], d[1], d[2] / b, b, d[3] / b, b)
                               : order == 0 ? SHAPE(d[0], b, b, d[1] / (b * b), d[2], d[3])
                                            : SHAPE(d[0], d[1] / (b * b), b, b, d[2], d[3]);
    const struct shape joined = n->mode == 1 ? SHAPE(d[0], d[1] * b * b, d[2] / b, d[3] / b)
                                             : SHAPE(d[0], d[1] / (b * b), d[2] * b, d[3] * b);
    TRY(import_reshape(n, x, &apart, &y));
    TRY(import_transpose(n, y, axes[n->mode == 1 ? 2 : order], &y));
    TRY(import_reshape(n, y, &joined, &y));
    return import_set_as(n, 0, y, x->element);
}
