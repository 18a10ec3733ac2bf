/* What looks along axes, on every kernel set that has the op: against straightforward loops over
 * indices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/op_harness.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 300

static double reduce_start(int mode) {
    return mode == REDUCE_PROD  ? 1
           : mode == REDUCE_MAX ? -INFINITY
           : mode == REDUCE_MIN ? INFINITY
                                : 0;
}

static double reduce_step(int mode, double sum, double x) {
    switch (mode) {
    case REDUCE_MAX:
        return fmax(sum, x);
    case REDUCE_MIN:
        return fmin(sum, x);
    case REDUCE_PROD:
        return sum * x;
    case REDUCE_L1:
        return sum + fabs(x);
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        return sum + x * x;
    case REDUCE_LOG_SUM_EXP:
        return sum + exp(x);
    default:
        return sum + x;
    }
}

static double reduce_end(int mode, double sum, double count) {
    switch (mode) {
    case REDUCE_MEAN:
        return sum / count;
    case REDUCE_L2:
        return sqrt(sum);
    case REDUCE_LOG_SUM:
    case REDUCE_LOG_SUM_EXP:
        return log(sum);
    default:
        return sum;
    }
}

/* dims 1..2 along most axes where products are taken, so that every type holds them */
static void reduce_once(int mode) {
    const enum dtype dtype = mode == REDUCE_PROD || mode == REDUCE_SUM_SQUARE
                                 ? (draw(0, 1) == 0 ? DTYPE_F64 : DTYPE_I64)
                                 : draw_number();
    struct shape shape = draw_shape(0, 4), y = {0}, kept = {0};
    const int64_t axes = draw(0, (1 << shape.rank) - 1), keep = draw(0, 1);
    for (int i = 0; i < shape.rank; i++) {
        const bool gone = (axes >> i & 1) != 0;
        shape.dims[i] = mode == REDUCE_PROD && shape.dims[i] > 2 ? 2 : shape.dims[i];
        shape.dims[i] = gone && shape.dims[i] == 0 ? 1 : shape.dims[i]; /* tested below */
        kept.dims[kept.rank++] = gone ? 1 : shape.dims[i];
        if (!gone || keep == 1) {
            y.dims[y.rank++] = gone ? 1 : shape.dims[i];
        }
    }
    struct array x = array_make(dtype, shape);
    array_fill(&x);
    for (int64_t i = 0; i < x.count; i++) { /* what i8 and logarithms bear */
        const double value = array_get(&x, i);
        array_set(&x, i,
                  mode == REDUCE_LOG_SUM                   ? 1
                  : dtype == DTYPE_I8 || dtype == DTYPE_U8 ? (value > 0 ? 1 : 0)
                                                           : value);
    }
    struct expected e = {array_make(dtype, y), dtype == DTYPE_F32 ? 3e-6 : 1e-12};
    const bool integer = !harness_is_real(dtype);
    static double sums[HARNESS_MOST];
    int64_t counted = e.array.count > 0 ? x.count / e.array.count : 0;
    for (int64_t i = 0; i < e.array.count; i++) {
        sums[i] = reduce_start(mode);
    }
    for (int64_t i = 0; i < x.count; i++) {
        int64_t at[SHAPE_MAX_RANK] = {0};
        unravel(&shape, i, at);
        for (int k = 0; k < shape.rank; k++) {
            at[k] = (axes >> k & 1) != 0 ? 0 : at[k];
        }
        double *sum = &sums[ravel(&kept, at)];
        *sum = reduce_step(mode, *sum, array_get(&x, i));
    }
    for (int64_t i = 0; i < e.array.count; i++) {
        const double value = reduce_end(mode, sums[i], (double)counted);
        array_set(&e.array, i, integer ? trunc(value) : value);
    }
    const struct op_attrs attrs = {.mode = mode, .ints = {axes, keep}};
    harness_each(OP_REDUCE, &attrs, &x, 1, meets, &e);
    array_free(&x);
    array_free(&e.array);
}

static void reductions_over_any_axes(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS * 2; round++) {
        reduce_once(round % REDUCE_COUNT);
    }
}

static void reductions_over_nothing(void **state) {
    (void)state;
    const struct {
        int mode;
        enum dtype dtype;
        double y;
    } rows[] = {
        {REDUCE_SUM, DTYPE_F32, 0},
        {REDUCE_PROD, DTYPE_F32, 1},
        {REDUCE_MAX, DTYPE_F32, -INFINITY},
        {REDUCE_MIN, DTYPE_F64, INFINITY},
        {REDUCE_MEAN, DTYPE_F32, NAN},
        {REDUCE_MEAN, DTYPE_I32, 0},
        {REDUCE_MAX, DTYPE_I8, -128},
        {REDUCE_MIN, DTYPE_I16, 32767},
        {REDUCE_MIN, DTYPE_U8, 255},
        {REDUCE_MAX, DTYPE_U32, 0},
        {REDUCE_LOG_SUM, DTYPE_F32, -INFINITY},
        {REDUCE_LOG_SUM_EXP, DTYPE_F32, -INFINITY},
        {REDUCE_MIN, DTYPE_BOOL, 1},
        {REDUCE_MAX, DTYPE_BOOL, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = array_make(rows[i].dtype, SHAPE(3, 0));
        struct expected e = {array_make(rows[i].dtype, SHAPE(3)), 0};
        for (int n = 0; n < 3; n++) {
            array_set(&e.array, n, rows[i].y);
        }
        const struct op_attrs attrs = {.mode = rows[i].mode, .ints = {2, 0}};
        harness_each(OP_REDUCE, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

/* x's elements along the axis through the element at `at`. */
static double along(const struct array *x, int axis, const int64_t at[SHAPE_MAX_RANK], int64_t i) {
    int64_t place[SHAPE_MAX_RANK];
    memcpy(place, at, sizeof place);
    place[axis] = i;
    return array_get(x, ravel(&x->type.shape, place));
}

static void the_first_or_last_greatest_is_found(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct shape shape = draw_shape(1, 4);
        const int axis = (int)draw(0, shape.rank - 1);
        shape.dims[axis] = shape.dims[axis] > 0 ? shape.dims[axis] : 3;
        struct shape y = shape;
        y.dims[axis] = 1;
        struct array x = array_make(draw_number(), shape);
        struct expected e = {array_make(DTYPE_I64, y), 0};
        array_fill(&x);
        const struct op_attrs attrs = {
            .mode = (int32_t)draw(0, 1), .axis = axis, .ints = {draw(0, 1)}};
        for (int64_t i = 0; i < e.array.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0}, best = 0;
            unravel(&y, i, at);
            for (int64_t k = 1; k < shape.dims[axis]; k++) {
                const double have = along(&x, axis, at, best), next = along(&x, axis, at, k);
                const double gain = attrs.mode == 0 ? next - have : have - next;
                best = gain > 0 || (gain == 0 && attrs.ints[0] == 1) ? k : best;
            }
            array_set(&e.array, i, (double)best);
        }
        harness_each(OP_ARG_REDUCE, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

static double softmax_oracle(const struct array *x, int mode, int axis,
                             const int64_t at[SHAPE_MAX_RANK]) {
    const int64_t n = x->type.shape.dims[axis];
    double sum = 0;
    bool greatest = true;
    const double own = along(x, axis, at, at[axis]);
    for (int64_t k = 0; k < n; k++) {
        const double value = along(x, axis, at, k);
        sum += exp(value);
        greatest = greatest && (k < at[axis] ? value < own : value <= own);
    }
    if (mode == SOFTMAX_HARD) {
        return greatest ? 1 : 0;
    }
    return mode == SOFTMAX_LOG ? own - log(sum) : exp(own) / sum;
}

static void softmax_sums_to_one(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct shape shape = draw_shape(1, 4);
        const int axis = (int)draw(0, shape.rank - 1);
        shape.dims[axis] = draw(0, 2) == 0 ? draw(10, 50) : shape.dims[axis];
        const enum dtype dtype = draw(0, 1) == 0 ? DTYPE_F32 : DTYPE_F64;
        struct array x = array_make(dtype, shape);
        struct expected e = {array_make(dtype, shape), dtype == DTYPE_F32 ? 2e-6 : 1e-13};
        array_fill(&x);
        const struct op_attrs attrs = {.mode = (int32_t)draw(0, 2), .axis = axis};
        for (int64_t i = 0; i < x.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&shape, i, at);
            array_set(&e.array, i, softmax_oracle(&x, attrs.mode, axis, at));
        }
        harness_each(OP_SOFTMAX, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
    struct array x = array_make(DTYPE_F32, SHAPE(1, 20));
    struct expected e = {array_make(DTYPE_F32, SHAPE(1, 20)), 0};
    for (int i = 0; i < 20; i++) {
        ((float *)(void *)x.data)[i] = -INFINITY;
    }
    const struct op_attrs attrs = {.axis = 1};
    harness_each(OP_SOFTMAX, &attrs, &x, 1, meets, &e); /* nothing but −∞ is 0 */
    array_free(&x);
    array_free(&e.array);
}

static void running_sums_and_products(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape shape = draw_shape(1, 4);
        const enum dtype dtype = draw(0, 1) == 0   ? DTYPE_F64
                                 : draw(0, 1) == 0 ? DTYPE_I64
                                                   : DTYPE_F32;
        const struct op_attrs attrs = {.mode = (int32_t)draw(0, 1),
                                       .axis = (int32_t)draw(0, shape.rank - 1),
                                       .ints = {draw(0, 1), draw(0, 1)}};
        struct array x = array_make(dtype, shape);
        struct expected e = {array_make(dtype, shape), 1e-5};
        array_fill(&x);
        for (int64_t i = 0; i < x.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&shape, i, at);
            double sum = attrs.mode;
            for (int64_t k = 0; k < shape.dims[attrs.axis]; k++) {
                const int64_t distance =
                    attrs.ints[1] == 1 ? k - at[attrs.axis] : at[attrs.axis] - k;
                if (distance > 0 || (distance == 0 && attrs.ints[0] == 0)) {
                    const double value = along(&x, attrs.axis, at, k);
                    sum = attrs.mode == 1 ? sum * value : sum + value;
                }
            }
            array_set(&e.array, i, sum);
        }
        harness_each(OP_CUMULATE, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

/* By expansion along the first row. */
static double expand_determinant(const double *a, int n) {
    double sum = 0;
    for (int c = 0; c < n && n > 0; c++) {
        double minor[9] = {0};
        int k = 0;
        for (int i = 1; i < n; i++) {
            for (int j = 0; j < n; j++) {
                if (j != c) {
                    minor[k++] = a[i * n + j];
                }
            }
        }
        sum += (c % 2 == 0 ? a[c] : -a[c]) * (n == 1 ? 1 : expand_determinant(minor, n - 1));
    }
    return n == 0 ? 1 : sum;
}

static void determinants_of_small_matrices(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        const int64_t n = draw(0, 4), batch = draw(0, 3);
        struct array x = array_make(DTYPE_F64, SHAPE(batch, n, n));
        struct expected e = {array_make(DTYPE_F64, SHAPE(batch)), 1e-10};
        array_fill(&x);
        for (int64_t b = 0; b < batch; b++) {
            array_set(&e.array, b,
                      expand_determinant((double *)(void *)x.data + b * n * n, (int)n));
        }
        const struct op_attrs attrs = {0};
        harness_each(OP_DETERMINANT, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

int main(void) {
    const char *given = getenv("SHOAL_TEST_SEED");
    harness_seed = given != NULL ? strtoull(given, NULL, 10) : harness_seed;
    print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)harness_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_over_any_axes),
        cmocka_unit_test(reductions_over_nothing),
        cmocka_unit_test(the_first_or_last_greatest_is_found),
        cmocka_unit_test(softmax_sums_to_one),
        cmocka_unit_test(running_sums_and_products),
        cmocka_unit_test(determinants_of_small_matrices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
