#include "kernels/op_infer.h"

#include "base/checked.h"

static bool is_index(enum dtype dtype) {
    return dtype == DTYPE_I32 || dtype == DTYPE_I64;
}

static shoal_status infer_transpose(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    unsigned seen = 0;
    for (int i = 0; i < x->rank; i++) {
        const int64_t axis = in->attrs->ints[i];
        if (axis < 0 || axis >= x->rank || (seen >> axis & 1U) != 0) {
            return op_refuse(in, SHOAL_MISMATCH, "the order is no permutation of the axes of", x);
        }
        seen |= 1U << axis;
        y.dims[i] = x->dims[axis];
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_reshape(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const int rank = in->attrs->axis;
    if (rank < 0 || rank > SHAPE_MAX_RANK) {
        return op_refuse_attribute(in, "rank out of range");
    }
    struct shape y = {.rank = rank};
    int64_t total = 0, known = 1;
    int rest = -1;
    (void)shape_count(x, &total); /* checked before */
    for (int i = 0; i < rank; i++) {
        y.dims[i] = in->attrs->ints[i];
        if (y.dims[i] == 0 && i < x->rank && in->attrs->mode == 0) {
            y.dims[i] = x->dims[i];
        }
        if (y.dims[i] == -1 && rest < 0) {
            rest = i;
            y.dims[i] = 1;
        }
    }
    if (!shape_count(&y, &known)) {
        return op_refuse(in, SHOAL_MISMATCH, "no sound shape:", &y);
    }
    if (rest >= 0) {
        if (known == 0 || total % known != 0) {
            return op_refuse_pair(in, "the elements do not fit", x, &y);
        }
        y.dims[rest] = total / known;
    } else if (known != total) {
        return op_refuse_pair(in, "the elements do not fit", x, &y);
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_bitcast(struct op_inference *in) {
    const int32_t mode = in->attrs->mode;
    if (mode < 0 || mode >= DTYPE_COUNT ||
        dtype_size((enum dtype)mode) != dtype_size(in->inputs[0].dtype)) {
        return op_refuse_attribute(in, "the types differ in size");
    }
    op_set_output(in, 0, (enum dtype)mode, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status infer_slice(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    for (int i = 0; i < x->rank; i++) {
        const int64_t start = in->attrs->ints[i], step = in->attrs->ints[SLICE_STEP + i];
        const int64_t length = in->attrs->ints[SLICE_LENGTH + i];
        int64_t last = 0;
        if (step == 0 || length < 0) {
            return op_refuse_attribute(in, "a step of 0 or a negative length");
        }
        if (length > 0 &&
            (start < 0 || start >= x->dims[i] || !checked_mul_i64(length - 1, step, &last) ||
             !checked_add_i64(start, last, &last) || last < 0 || last >= x->dims[i])) {
            return op_refuse(in, SHOAL_MISMATCH, "reaches beyond", x);
        }
        y.dims[i] = length;
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status check_axis(struct op_inference *in, int rank) {
    return in->attrs->axis >= 0 && in->attrs->axis < rank
               ? SHOAL_OK
               : op_refuse(in, SHOAL_MISMATCH, "no such axis in", &in->inputs[0].shape);
}

static shoal_status infer_concat(struct op_inference *in) {
    struct shape y = in->inputs[0].shape;
    const int axis = in->attrs->axis;
    TRY(check_axis(in, y.rank));
    for (int k = 1; k < in->input_count; k++) {
        const struct shape *x = &in->inputs[k].shape;
        bool same = x->rank == y.rank;
        for (int i = 0; same && i < y.rank; i++) {
            same = i == axis || x->dims[i] == y.dims[i];
        }
        if (!same || !checked_add_i64(y.dims[axis], x->dims[axis], &y.dims[axis])) {
            return op_refuse_pair(in, "shapes do not go together", &in->inputs[0].shape, x);
        }
        if (in->inputs[k].dtype != in->inputs[0].dtype) {
            return op_refuse_attribute(in, "the inputs differ in type");
        }
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_pad(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {.rank = x->rank};
    const int32_t mode = in->attrs->mode;
    if (mode < 0 || mode >= PAD_MODE_COUNT) {
        return op_refuse_attribute(in, "unknown mode");
    }
    if (in->input_count > 1) {
        int64_t count = 0;
        if (!shape_count(&in->inputs[1].shape, &count) || count != 1) {
            return op_refuse(in, SHOAL_MISMATCH,
                             "the value is not one element:", &in->inputs[1].shape);
        }
        if (in->inputs[1].dtype != in->inputs[0].dtype) {
            return op_refuse_attribute(in, "the inputs differ in type");
        }
    }
    for (int i = 0; i < x->rank; i++) {
        const int64_t before = in->attrs->ints[i], behind = in->attrs->ints[PAD_END + i];
        if (!checked_add_i64(x->dims[i], before, &y.dims[i]) ||
            !checked_add_i64(y.dims[i], behind, &y.dims[i]) || y.dims[i] < 0) {
            return op_refuse(in, SHOAL_MISMATCH, "padding takes away more than there is of", x);
        }
        if (mode != PAD_CONSTANT && x->dims[i] == 0 && y.dims[i] > 0) {
            return op_refuse(in, SHOAL_MISMATCH, "nothing to repeat in", x);
        }
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_expand(struct op_inference *in) {
    const int rank = in->attrs->axis;
    if (rank < 0 || rank > SHAPE_MAX_RANK) {
        return op_refuse_attribute(in, "rank out of range");
    }
    struct shape to = {.rank = rank};
    struct shape y;
    for (int i = 0; i < rank; i++) {
        to.dims[i] = in->attrs->ints[i];
    }
    TRY(op_broadcast(in, &in->inputs[0].shape, &to, &y));
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_tile(struct op_inference *in) {
    struct shape y = in->inputs[0].shape;
    for (int i = 0; i < y.rank; i++) {
        if (in->attrs->ints[i] < 0 || !checked_mul_i64(y.dims[i], in->attrs->ints[i], &y.dims[i])) {
            return op_refuse(in, SHOAL_MISMATCH, "no sound repetition of", &in->inputs[0].shape);
        }
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status check_indices(struct op_inference *in) {
    return is_index(in->inputs[1].dtype) ? SHOAL_OK : op_refuse_type(in, in->inputs[1].dtype);
}

static shoal_status infer_gather(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *at = &in->inputs[1].shape;
    const int axis = in->attrs->axis;
    struct shape y = {0};
    int64_t count = 0;
    TRY(check_indices(in));
    TRY(check_axis(in, x->rank));
    if (x->rank - 1 + at->rank > SHAPE_MAX_RANK) {
        return op_refuse_pair(in, "too many axes together", x, at);
    }
    (void)shape_count(at, &count);
    if (x->dims[axis] == 0 && count > 0) {
        return op_refuse(in, SHOAL_MISMATCH, "nothing to choose from in", x);
    }
    for (int i = 0; i < x->rank; i++) {
        if (i != axis) {
            y.dims[y.rank++] = x->dims[i];
            continue;
        }
        for (int j = 0; j < at->rank; j++) {
            y.dims[y.rank++] = at->dims[j];
        }
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

/* Of indices that stand for elements of x: the same rank, and no longer but along the axis. */
static shoal_status check_elements(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *at = &in->inputs[1].shape;
    TRY(check_indices(in));
    TRY(check_axis(in, x->rank));
    bool fit = at->rank == x->rank;
    int64_t count = 0;
    (void)shape_count(at, &count);
    for (int i = 0; fit && i < x->rank && count > 0; i++) {
        fit = i == in->attrs->axis ? x->dims[i] > 0 : at->dims[i] <= x->dims[i];
    }
    return fit ? SHOAL_OK : op_refuse_pair(in, "the indices do not fit", x, at);
}

static shoal_status infer_gather_elements(struct op_inference *in) {
    TRY(check_elements(in));
    op_set_output(in, 0, in->inputs[0].dtype, &in->inputs[1].shape);
    return SHOAL_OK;
}

/* indices [...,K] with the first `batch` dims those of x → [...] and then x's axes behind them. */
static shoal_status tuples(struct op_inference *in, int batch, struct shape *y) {
    const struct shape *x = &in->inputs[0].shape, *at = &in->inputs[1].shape;
    TRY(check_indices(in));
    const int64_t width = at->rank > 0 ? at->dims[at->rank - 1] : -1;
    if (batch < 0 || batch >= at->rank || width < 0 || width > x->rank - batch ||
        at->rank - 1 + x->rank - batch - (int)width > SHAPE_MAX_RANK) {
        return op_refuse_pair(in, "the indices do not fit", x, at);
    }
    *y = (struct shape){0};
    int64_t count = 1;
    for (int i = 0; i + 1 < at->rank; i++) {
        if (i < batch && at->dims[i] != x->dims[i]) {
            return op_refuse_pair(in, "the indices do not fit", x, at);
        }
        y->dims[y->rank++] = at->dims[i];
        count *= at->dims[i] > 0 ? 1 : 0;
    }
    for (int i = batch; i < x->rank; i++) {
        if (i >= batch + (int)width) {
            y->dims[y->rank++] = x->dims[i];
        } else if (x->dims[i] == 0 && count > 0) {
            return op_refuse(in, SHOAL_MISMATCH, "nothing to choose from in", x);
        }
    }
    return SHOAL_OK;
}

static shoal_status infer_gather_nd(struct op_inference *in) {
    struct shape y;
    TRY(tuples(in, in->attrs->axis, &y));
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

/* Results are joined by numbers alone; bool counts as one for least and greatest. */
static shoal_status check_scatter(struct op_inference *in, const struct shape *updates) {
    const int32_t mode = in->attrs->mode;
    const enum dtype dtype = in->inputs[0].dtype;
    if (mode < 0 || mode >= SCATTER_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    if (in->inputs[2].dtype != dtype) {
        return op_refuse_attribute(in, "the inputs differ in type");
    }
    if (mode != SCATTER_SET && (dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype > DTYPE_BOOL)) {
        return op_refuse_type(in, dtype);
    }
    if (!shape_equal(&in->inputs[2].shape, updates)) {
        return op_refuse_pair(in, "the updates do not fit", updates, &in->inputs[2].shape);
    }
    op_set_output(in, 0, dtype, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status infer_scatter_elements(struct op_inference *in) {
    TRY(check_elements(in));
    return check_scatter(in, &in->inputs[1].shape);
}

static shoal_status infer_scatter_nd(struct op_inference *in) {
    struct shape updates;
    TRY(tuples(in, 0, &updates));
    return check_scatter(in, &updates);
}

static shoal_status infer_scatter_rows(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *update = &in->inputs[1].shape;
    TRY(check_axis(in, x->rank));
    if (in->inputs[1].dtype != in->inputs[0].dtype) {
        return op_refuse_attribute(in, "the inputs differ in type");
    }
    if (!is_index(in->inputs[2].dtype)) {
        return op_refuse_type(in, in->inputs[2].dtype);
    }
    bool fit = update->rank == x->rank && in->attrs->axis > 0 && in->inputs[2].shape.rank == 1 &&
               in->inputs[2].shape.dims[0] == x->dims[0];
    for (int i = 0; fit && i < x->rank; i++) {
        fit = i == in->attrs->axis ? update->dims[i] <= x->dims[i] : update->dims[i] == x->dims[i];
    }
    if (!fit) {
        return op_refuse_pair(in, "the update does not fit", x, update);
    }
    op_set_output(in, 0, in->inputs[0].dtype, x);
    return SHOAL_OK;
}

static shoal_status infer_one_hot(struct op_inference *in) {
    const struct shape *at = &in->inputs[0].shape, *values = &in->inputs[1].shape;
    const enum dtype dtype = in->inputs[0].dtype;
    const int axis = in->attrs->axis;
    struct shape y = {0};
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype >= DTYPE_BOOL) {
        return op_refuse_type(in, dtype);
    }
    if (values->rank != 1 || values->dims[0] != 2) {
        return op_refuse(in, SHOAL_MISMATCH, "the values are not [2]:", values);
    }
    if (axis < 0 || axis > at->rank || at->rank == SHAPE_MAX_RANK) {
        return op_refuse(in, SHOAL_MISMATCH, "no such axis in", at);
    }
    if (in->attrs->ints[0] < 0) {
        return op_refuse_attribute(in, "a negative depth");
    }
    for (int i = 0; i <= at->rank; i++) {
        y.dims[y.rank++] = i == axis ? in->attrs->ints[0] : at->dims[i < axis ? i : i - 1];
    }
    op_set_output(in, 0, in->inputs[1].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_triangle(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank < 2) {
        return op_refuse(in, SHOAL_MISMATCH, "no matrices:", x);
    }
    op_set_output(in, 0, in->inputs[0].dtype, x);
    return SHOAL_OK;
}

static shoal_status infer_top_k(struct op_inference *in) {
    struct shape y = in->inputs[0].shape;
    const enum dtype dtype = in->inputs[0].dtype;
    const int64_t k = in->attrs->ints[0];
    if (dtype == DTYPE_F16 || dtype == DTYPE_BF16 || dtype >= DTYPE_BOOL) {
        return op_refuse_type(in, dtype);
    }
    TRY(check_axis(in, y.rank));
    if (k < 0 || k > y.dims[in->attrs->axis]) {
        return op_refuse(in, SHOAL_MISMATCH, "more asked for than there are in", &y);
    }
    y.dims[in->attrs->axis] = k;
    op_set_output(in, 0, dtype, &y);
    op_set_output(in, 1, DTYPE_I64, &y);
    return SHOAL_OK;
}

static shoal_status infer_reverse_sequence(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape, *lengths = &in->inputs[1].shape;
    const int64_t batch = in->attrs->ints[0];
    TRY(check_indices(in));
    TRY(check_axis(in, x->rank));
    if (batch < 0 || batch >= x->rank || batch == in->attrs->axis || lengths->rank != 1 ||
        lengths->dims[0] != x->dims[batch]) {
        return op_refuse_pair(in, "the lengths do not fit", x, lengths);
    }
    op_set_output(in, 0, in->inputs[0].dtype, x);
    return SHOAL_OK;
}

shoal_status op_infer_layout(struct op_inference *in) {
    static shoal_status (*const infers[OP_COUNT])(struct op_inference *) = {
        [OP_TRANSPOSE] = infer_transpose,   [OP_RESHAPE] = infer_reshape,
        [OP_BITCAST] = infer_bitcast,       [OP_SLICE] = infer_slice,
        [OP_CONCAT] = infer_concat,         [OP_PAD] = infer_pad,
        [OP_EXPAND] = infer_expand,         [OP_TILE] = infer_tile,
        [OP_GATHER] = infer_gather,         [OP_GATHER_ELEMENTS] = infer_gather_elements,
        [OP_GATHER_ND] = infer_gather_nd,   [OP_SCATTER_ELEMENTS] = infer_scatter_elements,
        [OP_SCATTER_ND] = infer_scatter_nd, [OP_SCATTER_ROWS] = infer_scatter_rows,
        [OP_ONE_HOT] = infer_one_hot,       [OP_TRIANGLE] = infer_triangle,
        [OP_TOP_K] = infer_top_k,           [OP_REVERSE_SEQUENCE] = infer_reverse_sequence,
    };
    return infers[in->op] != NULL ? infers[in->op](in) : op_refuse_attribute(in, "unknown op");
}
