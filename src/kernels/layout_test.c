/* The layout family, on every kernel set that has the op: where each element of the result comes
 * from is computed index by index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/op_harness.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 200

static const enum dtype any_types[] = {DTYPE_F32, DTYPE_F32, DTYPE_I64,  DTYPE_U8,
                                       DTYPE_I16, DTYPE_F64, DTYPE_BOOL, DTYPE_I32};

static enum dtype draw_any(void) {
    return any_types[draw(0, 7)];
}

/* Calls the op and wants expected element i to be element from(context, at) of x; −1: 0. */
static void moves(enum op op, const struct op_attrs *attrs, const struct array *inputs, int count,
                  struct shape y, int64_t (*from)(void *context, const int64_t *at),
                  void *context) {
    struct expected e = {array_make(inputs[0].type.dtype, y), 0};
    for (int64_t i = 0; i < e.array.count; i++) {
        int64_t at[SHAPE_MAX_RANK] = {0};
        unravel(&y, i, at);
        const int64_t place = from(context, at);
        array_set(&e.array, i, place < 0 ? 0 : array_get(&inputs[0], place));
    }
    harness_each(op, attrs, inputs, count, meets, &e);
    array_free(&e.array);
}

/* What the functions of places look at. */
struct view {
    const struct shape *x, *y, *indices;
    const struct op_attrs *attrs;
    const struct array *index;
};

static struct array draw_tensor(struct shape shape) {
    struct array x = array_make(draw_any(), shape);
    array_fill(&x);
    return x;
}

static int64_t from_transpose(void *context, const int64_t *at) {
    const struct view *v = context;
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < v->x->rank; i++) {
        of_x[v->attrs->ints[i]] = at[i];
    }
    return ravel(v->x, of_x);
}

static void transposes(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS * 2; round++) {
        struct shape shape = draw_shape(0, 5);
        if (shape.rank > 0 && shape.rank < 4 && draw(0, 1) == 0) { /* beyond one block */
            shape.dims[draw(0, shape.rank - 1)] = draw(30, 70);
        }
        struct array x = draw_tensor(shape);
        struct op_attrs attrs = {0};
        struct shape y = {.rank = shape.rank};
        for (int i = 0; i < shape.rank; i++) { /* a random permutation, built by insertion */
            const int64_t place = draw(0, i);
            attrs.ints[i] = attrs.ints[place];
            attrs.ints[place] = i;
        }
        for (int i = 0; i < shape.rank; i++) {
            y.dims[i] = shape.dims[attrs.ints[i]];
        }
        struct view v = {.x = &x.type.shape, .attrs = &attrs};
        moves(OP_TRANSPOSE, &attrs, &x, 1, y, from_transpose, &v);
        array_free(&x);
    }
}

static int64_t from_same(void *context, const int64_t *at) {
    const struct view *v = context;
    return ravel(v->y, at);
}

static void reshapes_keep_the_order(void **state) {
    (void)state;
    const struct {
        struct shape x, y;
        int64_t ints[4];
        int rank, mode;
    } rows[] = {
        {SHAPE(2, 3, 4), SHAPE(6, 4), {6, 4}, 2, 0}, {SHAPE(2, 3, 4), SHAPE(2, 12), {0, -1}, 2, 0},
        {SHAPE(2, 3, 4), SHAPE(24), {-1}, 1, 0},     {SHAPE(1, 1), {0}, {0}, 0, 0},
        {SHAPE(0, 3), SHAPE(3, 0), {3, 0}, 2, 1},    {SHAPE(0, 3), SHAPE(0, 3), {0, 3}, 2, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = draw_tensor(rows[i].x);
        struct op_attrs attrs = {.axis = rows[i].rank, .mode = rows[i].mode};
        memcpy(attrs.ints, rows[i].ints, sizeof rows[i].ints);
        struct view v = {.y = &rows[i].y};
        moves(OP_RESHAPE, &attrs, &x, 1, rows[i].y, from_same, &v);
        array_free(&x);
    }
}

static void bits_are_cast(void **state) {
    (void)state;
    struct array x = array_make(DTYPE_F32, SHAPE(3)), y[OP_MAX_OUTPUTS];
    array_fill(&x);
    const struct op_attrs attrs = {.mode = DTYPE_I32};
    assert_true(harness_run(&kernel_reference_ops, OP_BITCAST, &attrs, &x, 1, 1, -1, y));
    assert_int_equal(y[0].type.dtype, DTYPE_I32);
    assert_memory_equal(x.data, y[0].data, 12);
    array_free(&x);
    array_free(&y[0]);
}

static int64_t from_slice(void *context, const int64_t *at) {
    const struct view *v = context;
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < v->x->rank; i++) {
        of_x[i] = v->attrs->ints[i] + at[i] * v->attrs->ints[SLICE_STEP + i];
    }
    return ravel(v->x, of_x);
}

static void slices(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct array x = draw_tensor(draw_shape(0, 5));
        const struct shape *shape = &x.type.shape;
        struct op_attrs attrs = {0};
        struct shape y = {.rank = shape->rank};
        for (int i = 0; i < shape->rank; i++) {
            const int64_t n = shape->dims[i], step = draw(0, 2) == 0 ? draw(-3, -1) : draw(1, 3);
            const int64_t start =
                n > 0 ? (draw(0, 1) == 0 ? (step > 0 ? 0 : n - 1) : draw(0, n - 1)) : 0;
            const int64_t most =
                n == 0 ? 0 : 1 + (step > 0 ? (n - 1 - start) / step : start / -step);
            attrs.ints[i] = start;
            attrs.ints[SLICE_STEP + i] = step;
            y.dims[i] = attrs.ints[SLICE_LENGTH + i] = draw(0, 3) > 0 ? most : draw(0, most);
        }
        struct view v = {.x = shape, .attrs = &attrs};
        moves(OP_SLICE, &attrs, &x, 1, y, from_slice, &v);
        array_free(&x);
    }
}

static void concatenation(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const int count = (int)draw(1, OP_MAX_INPUTS);
        struct shape y = draw_shape(1, 4);
        const int axis = (int)draw(0, y.rank - 1);
        const enum dtype dtype = draw_any();
        struct array in[OP_MAX_INPUTS];
        y.dims[axis] = 0;
        for (int k = 0; k < count; k++) {
            struct shape shape = y;
            shape.dims[axis] = draw(0, 3);
            in[k] = array_make(dtype, shape);
            array_fill(&in[k]);
        }
        for (int k = 0; k < count; k++) {
            y.dims[axis] += in[k].type.shape.dims[axis];
        }
        struct expected e = {array_make(dtype, y), 0};
        for (int64_t i = 0; i < e.array.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&y, i, at);
            int k = 0;
            for (; at[axis] >= in[k].type.shape.dims[axis]; k++) {
                at[axis] -= in[k].type.shape.dims[axis];
            }
            array_set(&e.array, i, array_get(&in[k], ravel(&in[k].type.shape, at)));
        }
        const struct op_attrs attrs = {.axis = axis};
        harness_each(OP_CONCAT, &attrs, in, count, meets, &e);
        for (int k = 0; k < count; k++) {
            array_free(&in[k]);
        }
        array_free(&e.array);
    }
}

/* Walks step by step from inside to the place outside. */
static int64_t pad_place(int mode, int64_t i, int64_t n) {
    int64_t place = 0, direction = 1;
    if (i >= 0 && i < n) {
        return i;
    }
    if (mode == PAD_CONSTANT) {
        return -1;
    }
    if (mode == PAD_EDGE || n == 1) {
        return i < 0 ? 0 : n - 1;
    }
    for (int64_t k = 0; k != i; k += i > 0 ? 1 : -1) {
        if (mode == PAD_WRAP) {
            place += i > 0 ? 1 : -1;
            place = place == n ? 0 : place < 0 ? n - 1 : place;
        } else {
            direction = place == n - 1 ? -1 : place == 0 ? 1 : direction;
            place += direction; /* symmetric about 0, so it is the same both ways */
        }
    }
    return place;
}

static int64_t from_pad(void *context, const int64_t *at) {
    const struct view *v = context;
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < v->x->rank; i++) {
        of_x[i] = pad_place(v->attrs->mode, at[i] - v->attrs->ints[i], v->x->dims[i]);
        if (of_x[i] < 0) {
            return -1;
        }
    }
    return ravel(v->x, of_x);
}

static void padding(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct array in[2];
        in[0] = draw_tensor(draw_shape(0, 4));
        const struct shape *shape = &in[0].type.shape;
        struct op_attrs attrs = {.mode = (int32_t)draw(0, PAD_MODE_COUNT - 1)};
        struct shape y = {.rank = shape->rank};
        for (int i = 0; i < shape->rank; i++) {
            attrs.ints[i] = draw(-1, 6);
            attrs.ints[PAD_END + i] = draw(0, 4);
            if (shape->dims[i] + attrs.ints[i] < 0 ||
                (shape->dims[i] == 0 && attrs.mode != PAD_CONSTANT)) {
                attrs.ints[i] = attrs.ints[PAD_END + i] = 0;
            }
            y.dims[i] = shape->dims[i] + attrs.ints[i] + attrs.ints[PAD_END + i];
        }
        int64_t total = 0;
        assert_true(shape_count(&y, &total));
        if (total <= HARNESS_MOST) {
            struct view v = {.x = shape, .attrs = &attrs};
            in[1] =
                array_make(in[0].type.dtype, SHAPE(1)); /* a 0, which is what is left out, too */
            moves(OP_PAD, &attrs, in, (int)draw(1, 2), y, from_pad, &v);
            array_free(&in[1]);
        }
        array_free(&in[0]);
    }
    struct array in[2] = {array_make(DTYPE_F32, SHAPE(1)),
                          array_make(DTYPE_F32, (struct shape){0})};
    struct expected e = {array_make(DTYPE_F32, SHAPE(3)), 0};
    const double values[3] = {5, 5, 2};
    array_set(&in[0], 0, 2);
    array_set(&in[1], 0, 5);
    for (int i = 0; i < 3; i++) {
        array_set(&e.array, i, values[i]);
    }
    const struct op_attrs attrs = {.ints = {2}};
    harness_each(OP_PAD, &attrs, in, 2, meets, &e);
    array_free(&in[0]);
    array_free(&in[1]);
    array_free(&e.array);
}

static int64_t from_modulo(void *context, const int64_t *at) {
    const struct view *v = context;
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < v->x->rank; i++) {
        of_x[i] = at[i + v->y->rank - v->x->rank] % v->x->dims[i];
    }
    return ravel(v->x, of_x);
}

static void expansion_and_tiles(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape y = draw_shape(0, 4);
        struct shape shape = {.rank = (int)draw(0, y.rank)};
        struct op_attrs attrs = {.axis = y.rank};
        for (int i = 0; i < shape.rank; i++) {
            shape.dims[i] = draw(0, 1) == 0 ? 1 : y.dims[y.rank - shape.rank + i];
        }
        for (int i = 0; i < y.rank; i++) {
            attrs.ints[i] = draw(0, 3) == 0 && y.rank - i <= shape.rank &&
                                    shape.dims[i - y.rank + shape.rank] == y.dims[i]
                                ? 1
                                : y.dims[i];
        }
        struct array x = draw_tensor(shape);
        struct view v = {.x = &shape, .y = &y};
        moves(OP_EXPAND, &attrs, &x, 1, y, from_modulo, &v);
        array_free(&x);
        struct shape tiled = draw_shape(0, 3), repeated = tiled;
        struct op_attrs times = {0};
        for (int i = 0; i < tiled.rank; i++) {
            times.ints[i] = draw(0, 3);
            repeated.dims[i] *= times.ints[i];
        }
        x = draw_tensor(tiled);
        v = (struct view){.x = &tiled, .y = &repeated};
        moves(OP_TILE, &times, &x, 1, repeated, from_modulo, &v);
        array_free(&x);
    }
}

/* Indices for an axis of n, some negative, some outside if `wild`. */
static struct array draw_indices(struct shape shape, int64_t n, bool wild) {
    struct array a = array_make(draw(0, 1) == 0 ? DTYPE_I32 : DTYPE_I64, shape);
    for (int64_t i = 0; i < a.count; i++) {
        array_set(&a, i, (double)(wild ? draw(-n - 3, n + 3) : draw(-n, n - 1)));
    }
    return a;
}

static int64_t clamped(const struct array *index, int64_t i, int64_t n) {
    int64_t k = (int64_t)array_get(index, i);
    k = k < 0 ? k + n : k;
    return k < 0 ? 0 : k >= n ? n - 1 : k;
}

static int64_t from_gather(void *context, const int64_t *at) {
    const struct view *v = context;
    const int axis = v->attrs->axis;
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < v->x->rank; i++) {
        of_x[i] = i < axis ? at[i] : i > axis ? at[i + v->indices->rank - 1] : 0;
    }
    of_x[axis] = clamped(v->index, ravel(v->indices, at + axis), v->x->dims[axis]);
    return ravel(v->x, of_x);
}

static int64_t from_elements(void *context, const int64_t *at) {
    const struct view *v = context;
    int64_t of_x[SHAPE_MAX_RANK];
    memcpy(of_x, at, sizeof of_x);
    of_x[v->attrs->axis] = clamped(v->index, ravel(v->indices, at), v->x->dims[v->attrs->axis]);
    return ravel(v->x, of_x);
}

static void gathers_stay_inside(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct shape shape = draw_shape(1, 4), at = draw_shape(0, 2), y = {0};
        const int axis = (int)draw(0, shape.rank - 1);
        shape.dims[axis] = shape.dims[axis] > 0 ? shape.dims[axis] : 2;
        for (int i = 0; i < shape.rank; i++) {
            for (int k = 0; k < at.rank && i == axis; k++) {
                y.dims[y.rank++] = at.dims[k];
            }
            if (i != axis) {
                y.dims[y.rank++] = shape.dims[i];
            }
        }
        const bool wild = draw(0, 1) == 1;
        struct array in[2] = {draw_tensor(shape), draw_indices(at, shape.dims[axis], wild)};
        const struct op_attrs attrs = {.axis = axis};
        struct view v = {&shape, NULL, &at, &attrs, &in[1]};
        moves(OP_GATHER, &attrs, in, 2, y, from_gather, &v);
        array_free(&in[1]);
        struct shape elements = shape;
        elements.dims[axis] = draw(0, 7);
        for (int i = 0; i < shape.rank; i++) {
            elements.dims[i] = i != axis ? draw(0, shape.dims[i]) : elements.dims[i];
        }
        in[1] = draw_indices(elements, shape.dims[axis], wild);
        v.indices = &elements;
        moves(OP_GATHER_ELEMENTS, &attrs, in, 2, elements, from_elements, &v);
        array_free(&in[0]);
        array_free(&in[1]);
    }
}

static int64_t from_tuples(void *context, const int64_t *at) {
    const struct view *v = context;
    const int batch = v->attrs->axis, tuple = v->indices->rank - 1;
    const int width = (int)v->indices->dims[tuple];
    int64_t of_x[SHAPE_MAX_RANK] = {0}, place[SHAPE_MAX_RANK] = {0};
    memcpy(place, at, (size_t)tuple * sizeof *at);
    for (int i = 0; i < v->x->rank; i++) {
        if (i < batch) {
            of_x[i] = at[i];
        } else if (i < batch + width) {
            place[tuple] = i - batch;
            of_x[i] = clamped(v->index, ravel(v->indices, place), v->x->dims[i]);
        } else {
            of_x[i] = at[tuple + i - batch - width];
        }
    }
    return ravel(v->x, of_x);
}

/* dims of 1 or more, so that there is something to choose from. */
static struct shape draw_full_shape(int least, int most) {
    struct shape shape = {.rank = (int)draw(least, most)};
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] = draw(1, 5);
    }
    return shape;
}

static void gathers_of_tuples(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape shape = draw_full_shape(1, 4);
        const int batch = (int)draw(0, shape.rank - 1);
        const int width = (int)draw(0, shape.rank - batch);
        struct shape at = {.rank = batch + (int)draw(0, 2) + 1};
        struct shape y = {0};
        for (int i = 0; i + 1 < at.rank; i++) {
            at.dims[i] = y.dims[y.rank++] = i < batch ? shape.dims[i] : draw(0, 4);
        }
        at.dims[at.rank - 1] = width;
        for (int i = batch + width; i < shape.rank; i++) {
            y.dims[y.rank++] = shape.dims[i];
        }
        struct array in[2] = {draw_tensor(shape), draw_indices(at, 5, true)};
        const struct op_attrs attrs = {.axis = batch};
        struct view v = {&shape, NULL, &at, &attrs, &in[1]};
        moves(OP_GATHER_ND, &attrs, in, 2, y, from_tuples, &v);
        array_free(&in[0]);
        array_free(&in[1]);
    }
}

static double join(int mode, double a, double b) {
    switch (mode) {
    case SCATTER_SET:
        return b;
    case SCATTER_ADD:
        return a + b;
    case SCATTER_MUL:
        return a * b;
    case SCATTER_MIN:
        return fmin(a, b);
    default:
        return fmax(a, b);
    }
}

static bool is_inside(const struct array *index, int64_t i, int64_t n) {
    const double k = array_get(index, i);
    return k >= (double)-n && k < (double)n;
}

/* x and what is written over it; exact in f64 and f32. */
static struct expected copy_of(const struct array *x) {
    struct expected e = {array_make(x->type.dtype, x->type.shape), 1e-5};
    memcpy(e.array.data, x->data, (size_t)x->count * dtype_size(x->type.dtype));
    return e;
}

static void scatters_join_in_order(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape shape = draw_full_shape(1, 4);
        const struct op_attrs attrs = {.mode = (int32_t)draw(0, SCATTER_COUNT - 1),
                                       .axis = (int32_t)draw(0, shape.rank - 1)};
        struct shape elements = shape;
        for (int i = 0; i < shape.rank; i++) {
            elements.dims[i] = i == attrs.axis ? draw(0, 6) : draw(0, shape.dims[i]);
        }
        const enum dtype dtype = draw(0, 1) == 0   ? DTYPE_F32
                                 : draw(0, 1) == 0 ? DTYPE_I64
                                                   : DTYPE_F64;
        struct array in[3] = {array_make(dtype, shape),
                              draw_indices(elements, shape.dims[attrs.axis], draw(0, 1) == 1),
                              array_make(dtype, elements)};
        array_fill(&in[0]);
        array_fill(&in[2]);
        struct expected e = copy_of(&in[0]);
        for (int64_t i = 0; i < in[1].count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&elements, i, at);
            if (is_inside(&in[1], i, shape.dims[attrs.axis])) {
                at[attrs.axis] = clamped(&in[1], i, shape.dims[attrs.axis]);
                const int64_t to = ravel(&shape, at);
                array_set(&e.array, to,
                          join(attrs.mode, array_get(&e.array, to), array_get(&in[2], i)));
            }
        }
        harness_each(OP_SCATTER_ELEMENTS, &attrs, in, 3, meets, &e);
        for (int k = 0; k < 3; k++) {
            array_free(&in[k]);
        }
        array_free(&e.array);
    }
}

static void scatters_of_tuples(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape shape = draw_full_shape(1, 4);
        const int width = (int)draw(0, shape.rank);
        const struct op_attrs attrs = {.mode = (int32_t)draw(0, SCATTER_COUNT - 1)};
        const int64_t tuples = draw(0, 5);
        struct shape updates = {.rank = 1, .dims = {tuples}};
        int64_t inner = 1;
        for (int i = width; i < shape.rank; i++) {
            updates.dims[updates.rank++] = shape.dims[i];
            inner *= shape.dims[i];
        }
        struct array in[3] = {array_make(DTYPE_F64, shape),
                              draw_indices(SHAPE(tuples, width), 5, false),
                              array_make(DTYPE_F64, updates)};
        array_fill(&in[0]);
        array_fill(&in[2]);
        struct expected e = copy_of(&in[0]);
        for (int64_t i = 0; i < tuples; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            bool inside = true;
            for (int k = 0; k < width; k++) {
                inside = inside && is_inside(&in[1], i * width + k, shape.dims[k]);
                at[k] = clamped(&in[1], i * width + k, shape.dims[k]);
            }
            for (int64_t k = 0; k < inner && inside; k++) {
                const int64_t to = ravel(&shape, at) + k;
                array_set(
                    &e.array, to,
                    join(attrs.mode, array_get(&e.array, to), array_get(&in[2], i * inner + k)));
            }
        }
        harness_each(OP_SCATTER_ND, &attrs, in, 3, meets, &e);
        for (int k = 0; k < 3; k++) {
            array_free(&in[k]);
        }
        array_free(&e.array);
    }
}

static void rows_are_scattered_from_a_place_on(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t b = draw(1, 3), h = draw(1, 2), n = draw(1, 6), c = draw(1, 3),
                      rows = draw(0, n);
        const bool four = draw(0, 1) == 1;
        const struct shape shape = four ? SHAPE(b, h, n, c) : SHAPE(b, n, c);
        const struct shape update = four ? SHAPE(b, h, rows, c) : SHAPE(b, rows, c);
        const struct op_attrs attrs = {.mode = (int32_t)draw(0, 1), .axis = four ? 2 : 1};
        struct array in[3] = {array_make(DTYPE_F32, shape), array_make(DTYPE_F32, update),
                              array_make(DTYPE_I64, SHAPE(b))};
        for (int k = 0; k < 2; k++) {
            array_fill(&in[k]);
        }
        for (int64_t i = 0; i < b; i++) {
            array_set(&in[2], i, (double)draw(-2, 2 * n));
        }
        struct expected e = copy_of(&in[0]);
        for (int64_t i = 0; i < in[1].count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&update, i, at);
            int64_t row = at[attrs.axis] + (int64_t)array_get(&in[2], at[0]);
            row = attrs.mode == 1 ? ((row % n) + n) % n : row;
            at[attrs.axis] = row;
            if (row >= 0 && row < n) {
                array_set(&e.array, ravel(&shape, at), array_get(&in[1], i));
            }
        }
        harness_each(OP_SCATTER_ROWS, &attrs, in, 3, meets, &e);
        for (int k = 0; k < 3; k++) {
            array_free(&in[k]);
        }
        array_free(&e.array);
    }
}

static void one_hot_marks_the_index(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape at = draw_shape(0, 3);
        const int64_t depth = draw(0, 5);
        const int axis = (int)draw(0, at.rank);
        struct shape y = {.rank = at.rank + 1};
        for (int i = 0; i < y.rank; i++) {
            y.dims[i] = i == axis ? depth : at.dims[i < axis ? i : i - 1];
        }
        const enum dtype types[] = {DTYPE_I64, DTYPE_F32, DTYPE_I32};
        struct array in[2] = {array_make(types[draw(0, 2)], at), array_make(draw_any(), SHAPE(2))};
        struct expected e = {array_make(in[1].type.dtype, y), 0};
        array_fill(&in[1]);
        for (int64_t i = 0; i < in[0].count; i++) {
            array_set(&in[0], i, (double)draw(-6, 6));
        }
        for (int64_t i = 0; i < e.array.count; i++) {
            int64_t place[SHAPE_MAX_RANK] = {0}, of_index[SHAPE_MAX_RANK] = {0};
            unravel(&y, i, place);
            for (int k = 0; k < at.rank; k++) {
                of_index[k] = place[k < axis ? k : k + 1];
            }
            const double index = array_get(&in[0], ravel(&at, of_index));
            const bool on =
                index == (double)place[axis] || index + (double)depth == (double)place[axis];
            array_set(&e.array, i, array_get(&in[1], on ? 1 : 0));
        }
        const struct op_attrs attrs = {.axis = axis, .ints = {depth}};
        harness_each(OP_ONE_HOT, &attrs, in, 2, meets, &e);
        array_free(&in[0]);
        array_free(&in[1]);
        array_free(&e.array);
    }
}

static int64_t from_triangle(void *context, const int64_t *at) {
    const struct view *v = context;
    const int64_t distance = at[v->x->rank - 1] - at[v->x->rank - 2];
    const int64_t k = v->attrs->ints[0];
    return (v->attrs->mode == 1 ? distance >= k : distance <= k) ? ravel(v->x, at) : -1;
}

static void triangles(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct array x = draw_tensor(draw_shape(2, 4));
        struct op_attrs attrs = {.mode = (int32_t)draw(0, 1), .ints = {draw(-7, 7)}};
        attrs.ints[0] = draw(0, 9) == 0 ? (draw(0, 1) == 0 ? INT64_MIN : INT64_MAX) : attrs.ints[0];
        struct view v = {.x = &x.type.shape, .attrs = &attrs};
        moves(OP_TRIANGLE, &attrs, &x, 1, x.type.shape, from_triangle, &v);
        array_free(&x);
    }
}

struct top {
    const struct array *x;
    const struct op_attrs *attrs;
};

/* Every result is followed by none that beats it, and k elements at most beat the last. */
static void check_top(void *context, const struct array *outputs) {
    const struct top *top = context;
    const int axis = top->attrs->axis;
    const struct shape *shape = &top->x->type.shape, *y = &outputs[0].type.shape;
    assert_int_equal(outputs[1].type.dtype, DTYPE_I64);
    for (int64_t i = 0; i < outputs[0].count; i++) {
        int64_t at[SHAPE_MAX_RANK] = {0};
        unravel(y, i, at);
        const int64_t rank = at[axis];
        const int64_t place = (int64_t)array_get(&outputs[1], i);
        const double value = array_get(&outputs[0], i);
        assert_true(place >= 0 && place < shape->dims[axis]);
        at[axis] = place;
        assert_true(array_get(top->x, ravel(shape, at)) == value);
        int64_t before = 0; /* elements that come before it */
        for (int64_t k = 0; k < shape->dims[axis]; k++) {
            at[axis] = k;
            const double other = array_get(top->x, ravel(shape, at));
            const bool beats = top->attrs->mode == 1 ? other > value : other < value;
            before += beats || (other == value && k < place) ? 1 : 0;
        }
        assert_true(before == rank);
    }
}

static void the_greatest_come_in_order(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct shape shape = draw_shape(1, 3);
        const int axis = (int)draw(0, shape.rank - 1);
        shape.dims[axis] = draw(0, 20);
        struct array x = array_make(draw_number(), shape);
        array_fill(&x);
        const struct op_attrs attrs = {
            .axis = axis, .mode = (int32_t)draw(0, 1), .ints = {draw(0, shape.dims[axis])}};
        struct top top = {&x, &attrs};
        harness_each(OP_TOP_K, &attrs, &x, 1, check_top, &top);
        array_free(&x);
    }
}

static int64_t from_reverse(void *context, const int64_t *at) {
    const struct view *v = context;
    const int time = v->attrs->axis;
    const int64_t length = (int64_t)array_get(v->index, at[v->attrs->ints[0]]);
    const int64_t bounded = length > v->x->dims[time] ? v->x->dims[time] : length;
    int64_t of_x[SHAPE_MAX_RANK];
    memcpy(of_x, at, sizeof of_x);
    of_x[time] = at[time] < bounded ? bounded - 1 - at[time] : at[time];
    return ravel(v->x, of_x);
}

static void sequences_are_reversed(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape shape = draw_shape(2, 4);
        const int batch = (int)draw(0, shape.rank - 1);
        const struct op_attrs attrs = {.axis = batch == 0 ? 1 : (int32_t)draw(0, batch - 1),
                                       .ints = {batch}};
        struct array in[2] = {draw_tensor(shape), array_make(DTYPE_I64, SHAPE(shape.dims[batch]))};
        for (int64_t i = 0; i < in[1].count; i++) {
            array_set(&in[1], i, (double)draw(-1, shape.dims[attrs.axis] + 1));
        }
        struct view v = {.x = &shape, .attrs = &attrs, .index = &in[1]};
        moves(OP_REVERSE_SEQUENCE, &attrs, in, 2, shape, from_reverse, &v);
        array_free(&in[0]);
        array_free(&in[1]);
    }
}

static void inference_refuses_by_name(void **state) {
    (void)state;
    const struct tensor_type f = {DTYPE_F32, SHAPE(2, 3)}, g = {DTYPE_F32, SHAPE(2, 4)};
    const struct tensor_type i = {DTYPE_I64, SHAPE(2, 3)}, e = {DTYPE_F32, SHAPE(0, 3)};
    const struct tensor_type h = {DTYPE_F16, SHAPE(2, 3)}, one = {DTYPE_I64, SHAPE(3)};
    const struct tensor_type ff[2] = {f, f}, fg[2] = {f, g}, fi[2] = {f, i}, ei[2] = {e, i};
    const struct tensor_type fig[3] = {f, i, g}, fii[3] = {f, i, i}, hih[3] = {h, i, h};
    const struct tensor_type fg1[3] = {f, g, one}, ffi[3] = {f, f, i}, f1[2] = {f, one};
    const struct op_attrs none = {0};
    const struct op_attrs slice = {.ints = {[SLICE_STEP] = 1, 1, [SLICE_LENGTH] = 3, 1}};
    refuses(OP_TRANSPOSE, none, &f, 1, SHOAL_MISMATCH, "permutation");
    refuses(OP_RESHAPE, (struct op_attrs){.axis = 1, .ints = {7}}, &f, 1, SHOAL_MISMATCH,
            "do not fit");
    refuses(OP_RESHAPE, (struct op_attrs){.axis = 1, .ints = {-2}}, &f, 1, SHOAL_MISMATCH, "sound");
    refuses(OP_RESHAPE, (struct op_attrs){.axis = 9}, &f, 1, SHOAL_UNSUPPORTED, "rank");
    refuses(OP_BITCAST, (struct op_attrs){.mode = DTYPE_F64}, &f, 1, SHOAL_UNSUPPORTED, "size");
    refuses(OP_SLICE, none, &f, 1, SHOAL_UNSUPPORTED, "step");
    refuses(OP_SLICE, slice, &f, 1, SHOAL_MISMATCH, "beyond [2,3]");
    refuses(OP_CONCAT, (struct op_attrs){.axis = 2}, ff, 2, SHOAL_MISMATCH, "no such axis");
    refuses(OP_CONCAT, none, fg, 2, SHOAL_MISMATCH, "[2,3] and [2,4]");
    refuses(OP_CONCAT, none, fi, 2, SHOAL_UNSUPPORTED, "differ in type");
    refuses(OP_PAD, (struct op_attrs){.mode = PAD_MODE_COUNT}, &f, 1, SHOAL_UNSUPPORTED, "mode");
    refuses(OP_PAD, (struct op_attrs){.ints = {-3}}, &f, 1, SHOAL_MISMATCH, "takes away");
    refuses(OP_PAD, none, ff, 2, SHOAL_MISMATCH, "one element");
    refuses(OP_PAD, (struct op_attrs){.mode = PAD_EDGE, .ints = {1}}, &e, 1, SHOAL_MISMATCH,
            "nothing");
    refuses(OP_EXPAND, (struct op_attrs){.axis = 2, .ints = {2, 4}}, &f, 1, SHOAL_MISMATCH,
            "go together");
    refuses(OP_EXPAND, (struct op_attrs){.axis = -1}, &f, 1, SHOAL_UNSUPPORTED, "rank");
    refuses(OP_TILE, (struct op_attrs){.ints = {-1, 1}}, &f, 1, SHOAL_MISMATCH, "repetition");
    refuses(OP_GATHER, none, ff, 2, SHOAL_UNSUPPORTED, "f32");
    refuses(OP_GATHER, (struct op_attrs){.axis = 2}, fi, 2, SHOAL_MISMATCH, "no such axis");
    refuses(OP_GATHER, none, ei, 2, SHOAL_MISMATCH, "nothing");
    refuses(OP_GATHER_ELEMENTS, none, f1, 2, SHOAL_MISMATCH, "indices do not fit");
    refuses(OP_GATHER_ND, (struct op_attrs){.axis = 1}, fi, 2, SHOAL_MISMATCH,
            "indices do not fit");
    refuses(OP_SCATTER_ELEMENTS, none, fig, 3, SHOAL_MISMATCH, "updates do not fit");
    refuses(OP_SCATTER_ELEMENTS, none, fii, 3, SHOAL_UNSUPPORTED, "differ in type");
    refuses(OP_SCATTER_ELEMENTS, (struct op_attrs){.mode = SCATTER_ADD}, hih, 3, SHOAL_UNSUPPORTED,
            "f16");
    refuses(OP_SCATTER_ELEMENTS, (struct op_attrs){.mode = -1}, fig, 3, SHOAL_UNSUPPORTED,
            "function");
    refuses(OP_SCATTER_ND, none, fig, 3, SHOAL_MISMATCH, "indices do not fit");
    refuses(OP_SCATTER_ROWS, (struct op_attrs){.axis = 1}, fg1, 3, SHOAL_MISMATCH, "update");
    refuses(OP_SCATTER_ROWS, (struct op_attrs){.axis = 1}, ffi, 3, SHOAL_MISMATCH, "update");
    refuses(OP_ONE_HOT, none, fg, 2, SHOAL_MISMATCH, "[2]");
    refuses(OP_TRIANGLE, none, &one, 1, SHOAL_MISMATCH, "matrices");
    refuses(OP_TOP_K, (struct op_attrs){.ints = {3}}, &f, 1, SHOAL_MISMATCH, "more asked for");
    refuses(OP_TOP_K, none, &h, 1, SHOAL_UNSUPPORTED, "f16");
    refuses(OP_REVERSE_SEQUENCE, (struct op_attrs){.ints = {1}}, fi, 2, SHOAL_MISMATCH, "lengths");
    refuses(OP_REVERSE_SEQUENCE, none, f1, 2, SHOAL_MISMATCH, "lengths");
}

int main(void) {
    const char *given = getenv("SHOAL_TEST_SEED");
    harness_seed = given != NULL ? strtoull(given, NULL, 10) : harness_seed;
    print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)harness_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transposes),
        cmocka_unit_test(reshapes_keep_the_order),
        cmocka_unit_test(bits_are_cast),
        cmocka_unit_test(slices),
        cmocka_unit_test(concatenation),
        cmocka_unit_test(padding),
        cmocka_unit_test(expansion_and_tiles),
        cmocka_unit_test(gathers_stay_inside),
        cmocka_unit_test(gathers_of_tuples),
        cmocka_unit_test(scatters_join_in_order),
        cmocka_unit_test(scatters_of_tuples),
        cmocka_unit_test(rows_are_scattered_from_a_place_on),
        cmocka_unit_test(one_hot_marks_the_index),
        cmocka_unit_test(triangles),
        cmocka_unit_test(the_greatest_come_in_order),
        cmocka_unit_test(sequences_are_reversed),
        cmocka_unit_test(inference_refuses_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
