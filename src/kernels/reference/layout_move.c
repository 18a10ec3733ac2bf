/* Moves that follow a pattern: transposes, slices, joins, padding, repetition. */
#include "kernels/reference/layout.h"

#include <string.h>

#define MOVE(type)                                        \
    do {                                                  \
        const type *x = (const type *)(const void *)from; \
        type *y = (type *)(void *)to;                     \
        for (int64_t i = 0; i < n; i++) {                 \
            y[i * to_step] = x[i * from_step];            \
        }                                                 \
    } while (0)

void reference_move(size_t size, const char *from, int64_t from_step, char *to, int64_t to_step,
                    int64_t n) {
    if (from_step == 1 && to_step == 1) {
        memcpy(to, from, (size_t)n * size);
        return;
    }
    switch (size) {
    case 1:
        MOVE(uint8_t);
        break;
    case 2:
        MOVE(uint16_t);
        break;
    case 4:
        MOVE(uint32_t);
        break;
    default:
        MOVE(uint64_t);
        break;
    }
}

static size_t element_size(const struct reference_call *call) {
    return dtype_size(call->desc->inputs[0].dtype);
}

/* What walks move: from operand 1 on `from` to operand 0 on `to`. */
struct move {
    const char *from;
    char *to;
    size_t size;
};

static void move_row(void *context, const int64_t offsets[WALK_OPERANDS],
                     const int64_t steps[WALK_OPERANDS], int64_t n) {
    const struct move *move = context;
    reference_move(move->size, move->from + offsets[1] * (int64_t)move->size, steps[1],
                   move->to + offsets[0] * (int64_t)move->size, steps[0], n);
}

/* y as x seen through strides of its own, from element `first` on. */
static void move_strided(const struct reference_call *call, int64_t first,
                         const int64_t strides[SHAPE_MAX_RANK]) {
    struct move move = {call->inputs[0], call->outputs[0], element_size(call)};
    struct walk walk;
    move.from += first * (int64_t)move.size;
    walk_over(&walk, &call->desc->outputs[0].shape);
    walk_add_strides(&walk, strides);
    walk_merge(&walk);
    walk_rows(&walk, move_row, &move);
}

#define TRANSPOSE_BLOCK 32

/* y [rows,columns] with its rows `y_row` apart; x has its columns `x_column` apart, and its rows
 * side by side. */
static void transpose_matrix(const struct move *move, int64_t rows, int64_t columns, int64_t y_row,
                             int64_t x_column) {
    const int64_t size = (int64_t)move->size;
    for (int64_t r = 0; r < rows; r += TRANSPOSE_BLOCK) {
        const int64_t height = rows - r < TRANSPOSE_BLOCK ? rows - r : TRANSPOSE_BLOCK;
        for (int64_t c = 0; c < columns; c += TRANSPOSE_BLOCK) {
            const int64_t width = columns - c < TRANSPOSE_BLOCK ? columns - c : TRANSPOSE_BLOCK;
            for (int64_t i = 0; i < height; i++) {
                reference_move(move->size, move->from + ((r + i) + c * x_column) * size, x_column,
                               move->to + ((r + i) * y_row + c) * size, 1, width);
            }
        }
    }
}

/* The axis of y along which x's elements lie side by side, if that is not the last one. */
static int contiguous_axis(const struct walk *walk) {
    for (int i = 0; i + 1 < walk->rank; i++) {
        if (walk->strides[1][i] == 1) {
            return i;
        }
    }
    return -1;
}

void reference_transpose(const struct reference_call *call) {
    const struct shape *y = &call->desc->outputs[0].shape;
    int64_t of_x[SHAPE_MAX_RANK], strides[SHAPE_MAX_RANK];
    walk_strides(&call->desc->inputs[0].shape, of_x);
    for (int i = 0; i < y->rank; i++) {
        strides[i] = of_x[call->desc->attrs.ints[i]];
    }
    struct walk walk;
    walk_over(&walk, y);
    walk_add_strides(&walk, strides);
    walk_merge(&walk);
    const int axis = contiguous_axis(&walk);
    if (axis < 0) {
        move_strided(call, 0, strides);
        return;
    }
    /* matrices of that axis and the last, over all others */
    const int last = walk.rank - 1;
    const int64_t rows = walk.dims[axis], columns = walk.dims[last];
    const int64_t y_row = walk.strides[0][axis], x_column = walk.strides[1][last];
    int64_t at[SHAPE_MAX_RANK] = {0};
    struct move move = {call->inputs[0], call->outputs[0], element_size(call)};
    const int64_t size = (int64_t)move.size;
    for (int i = 0; i < walk.rank; i++) {
        if (walk.dims[i] == 0) {
            return;
        }
    }
    for (;;) {
        transpose_matrix(&move, rows, columns, y_row, x_column);
        int i = last - 1;
        for (; i >= 0; i--) {
            if (i == axis) {
                continue;
            }
            move.from += walk.strides[1][i] * size;
            move.to += walk.strides[0][i] * size;
            if (++at[i] < walk.dims[i]) {
                break;
            }
            move.from -= walk.strides[1][i] * walk.dims[i] * size;
            move.to -= walk.strides[0][i] * walk.dims[i] * size;
            at[i] = 0;
        }
        if (i < 0) {
            return;
        }
    }
}

void reference_copy(const struct reference_call *call) {
    size_t bytes = 0;
    (void)shape_bytes(&call->desc->inputs[0].shape, call->desc->inputs[0].dtype, &bytes);
    if (call->outputs[0] != call->inputs[0] && bytes > 0) {
        memcpy(call->outputs[0], call->inputs[0], bytes);
    }
}

void reference_slice(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape, *y = &call->desc->outputs[0].shape;
    const int64_t *ints = call->desc->attrs.ints;
    int64_t strides[SHAPE_MAX_RANK], first = 0;
    walk_strides(x, strides);
    for (int i = 0; i < x->rank; i++) {
        if (y->dims[i] == 0) {
            return;
        }
        first += ints[i] * strides[i];
        strides[i] *= ints[SLICE_STEP + i];
    }
    move_strided(call, first, strides);
}

void reference_concat(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *y = &desc->outputs[0].shape;
    int64_t outer = 1, inner = (int64_t)element_size(call);
    for (int i = 0; i < y->rank; i++) {
        outer *= i < desc->attrs.axis ? y->dims[i] : 1;
        inner *= i > desc->attrs.axis ? y->dims[i] : 1;
    }
    char *to = call->outputs[0];
    for (int64_t o = 0; o < outer; o++) {
        for (int k = 0; k < desc->input_count; k++) {
            const int64_t bytes = desc->inputs[k].shape.dims[desc->attrs.axis] * inner;
            if (bytes > 0) {
                memcpy(to, (const char *)call->inputs[k] + o * bytes, (size_t)bytes);
            }
            to += bytes;
        }
    }
}

/* Where along an axis of n the padded place i lies; −1: in the padding. */
static int64_t padded_place(enum pad_mode mode, int64_t i, int64_t n) {
    if (i >= 0 && i < n) {
        return i;
    }
    if (mode == PAD_CONSTANT) {
        return -1;
    }
    if (mode == PAD_EDGE || n == 1) {
        return i < 0 ? 0 : n - 1;
    }
    const int64_t period = mode == PAD_WRAP ? n : 2 * (n - 1);
    const int64_t place = (i % period + period) % period;
    return place < n ? place : period - place;
}

static void pad_row(const struct reference_call *call, int64_t from, char *to) {
    const struct kernel_desc *desc = call->desc;
    const int last = desc->outputs[0].shape.rank - 1;
    const int64_t n = last >= 0 ? desc->inputs[0].shape.dims[last] : 1;
    const int64_t count = last >= 0 ? desc->outputs[0].shape.dims[last] : 1;
    const int64_t before = last >= 0 ? desc->attrs.ints[last] : 0;
    const size_t size = element_size(call);
    static const uint64_t zero = 0;
    const char *value = desc->input_count > 1 ? call->inputs[1] : (const char *)&zero;
    for (int64_t i = 0; i < count;) {
        const int64_t place =
            from < 0 ? -1 : padded_place((enum pad_mode)desc->attrs.mode, i - before, n);
        const bool inside = place >= 0 && i - before == place; /* then all that follows is, too */
        const int64_t run = inside ? (n - place < count - i ? n - place : count - i) : 1;
        memcpy(to,
               place < 0 ? value : (const char *)call->inputs[0] + (from + place) * (int64_t)size,
               (size_t)run * size);
        i += run;
        to += run * (int64_t)size;
    }
}

void reference_pad(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape, *y = &desc->outputs[0].shape;
    int64_t strides[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0}, rows = 1;
    walk_strides(x, strides);
    for (int i = 0; i + 1 < y->rank; i++) {
        rows *= y->dims[i];
    }
    const int64_t row_bytes =
        (y->rank > 0 ? y->dims[y->rank - 1] : 1) * (int64_t)element_size(call);
    for (int64_t row = 0; row < rows && row_bytes > 0; row++) {
        int64_t from = 0;
        for (int i = 0; i + 1 < y->rank && from >= 0; i++) {
            const int64_t place = padded_place((enum pad_mode)desc->attrs.mode,
                                               at[i] - desc->attrs.ints[i], x->dims[i]);
            from = place < 0 ? -1 : from + place * strides[i];
        }
        pad_row(call, from, (char *)call->outputs[0] + row * row_bytes);
        for (int i = y->rank - 2; i >= 0 && ++at[i] == y->dims[i]; i--) {
            at[i] = 0;
        }
    }
}

void reference_expand(const struct reference_call *call) {
    struct move move = {call->inputs[0], call->outputs[0], element_size(call)};
    struct walk walk;
    walk_over(&walk, &call->desc->outputs[0].shape);
    walk_add(&walk, &call->desc->inputs[0].shape);
    walk_merge(&walk);
    walk_rows(&walk, move_row, &move);
}

void reference_tile(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape, *y = &call->desc->outputs[0].shape;
    int64_t strides[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0}, count = 0, total = 0;
    const size_t size = element_size(call);
    const int last = y->rank - 1;
    walk_strides(x, strides);
    (void)shape_count(y, &total);
    if (total == 0) {
        return;
    }
    const int64_t run = last >= 0 ? x->dims[last] : 1;
    for (char *to = call->outputs[0]; count < total; count += run) {
        int64_t from = 0;
        for (int i = 0; i < last; i++) {
            from += at[i] % x->dims[i] * strides[i];
        }
        memcpy(to, (const char *)call->inputs[0] + from * (int64_t)size, (size_t)run * size);
        to += run * (int64_t)size;
        if (last >= 0 && (at[last] += run) == y->dims[last]) {
            at[last] = 0;
            for (int i = last - 1; i >= 0 && ++at[i] == y->dims[i]; i--) {
                at[i] = 0;
            }
        }
    }
}

void reference_triangle(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape;
    const int64_t m = x->dims[x->rank - 2], n = x->dims[x->rank - 1];
    const int64_t k = call->desc->attrs.ints[0];
    const size_t size = element_size(call);
    int64_t matrices = 1;
    for (int i = 0; i + 2 < x->rank; i++) {
        matrices *= x->dims[i];
    }
    reference_copy(call);
    char *row = call->outputs[0];
    for (int64_t i = 0; i < matrices * m; i++, row += n * (int64_t)size) {
        /* the diagonal's place in this row, bounded so that sums cannot overflow */
        const int64_t bounded = k < -m ? -m : k > n ? n : k;
        const int64_t at = i % m + bounded;
        const int64_t low = at < 0 ? 0 : at > n ? n : at;
        const int64_t high = at + 1 < 0 ? 0 : at + 1 > n ? n : at + 1;
        if (call->desc->attrs.mode == 1) {
            memset(row, 0, (size_t)low * size);
        } else {
            memset(row + high * (int64_t)size, 0, (size_t)(n - high) * size);
        }
    }
}
