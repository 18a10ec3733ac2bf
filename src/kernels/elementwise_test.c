/* The elementwise family, on every kernel set that has the op: against straightforward loops over
 * indices, and values computed elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/op_harness.h"
#include "tensor/convert.h"

#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 300

/* Element of x that broadcasting puts at index `at` of y. */
static int64_t broadcast_place(const struct shape *x, const struct shape *y,
                               const int64_t at[SHAPE_MAX_RANK]) {
    int64_t of_x[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < x->rank; i++) {
        of_x[i] = x->dims[i] == 1 ? 0 : at[i + y->rank - x->rank];
    }
    return ravel(x, of_x);
}

/* A shape that broadcasts to y. */
static struct shape narrower(const struct shape *y) {
    const int rank = draw(0, 2) == 0 ? (int)draw(0, y->rank) : y->rank;
    struct shape x = {.rank = rank};
    for (int i = 0; i < rank; i++) {
        x.dims[i] = draw(0, 2) == 0 ? 1 : y->dims[y->rank - rank + i];
    }
    return x;
}

static double floor_mod(double a, double b) {
    return a - b * floor(a / b);
}

static uint64_t bits(double value) {
    return (uint64_t)(int64_t)value;
}

/* Numbers small enough that double is exact. */
static double binary_oracle(int mode, bool real, double a, double b) {
    switch (mode) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return real ? a / b : b == 0 ? 0 : trunc(a / b);
    case BINARY_POW:
        return real ? pow(a, b) : trunc(pow(a, b));
    case BINARY_MOD:
        return !real && b == 0 ? 0 : floor_mod(a, b);
    case BINARY_FMOD:
        return !real && b == 0 ? 0 : a - b * trunc(a / b);
    case BINARY_MIN:
        return fmin(a, b);
    case BINARY_MAX:
        return fmax(a, b);
    case BINARY_EQUAL:
        return a == b;
    case BINARY_LESS:
        return a < b;
    case BINARY_LESS_EQUAL:
        return a <= b;
    case BINARY_GREATER:
        return a > b;
    case BINARY_GREATER_EQUAL:
        return a >= b;
    case BINARY_AND:
        return a * b;
    case BINARY_OR:
        return fmax(a, b);
    case BINARY_XOR:
        return a != b;
    case BINARY_BITWISE_AND:
        return (double)(int64_t)(bits(a) & bits(b));
    case BINARY_BITWISE_OR:
        return (double)(int64_t)(bits(a) | bits(b));
    case BINARY_BITWISE_XOR:
        return (double)(int64_t)(bits(a) ^ bits(b));
    case BINARY_SHIFT_LEFT:
        return a * exp2(b);
    case BINARY_SHIFT_RIGHT:
        return floor(a / exp2(b));
    default:
        return a < 0 ? a * b : a;
    }
}

static enum dtype draw_type(char types) {
    for (;;) {
        const enum dtype dtype = draw_number();
        if (types == 'B') {
            return DTYPE_BOOL;
        }
        if (types == 'N' || types == 'A' || (types == 'I') != harness_is_real(dtype)) {
            return dtype;
        }
    }
}

/* Operands that the type holds the result of. */
static void draw_operands(int mode, const struct array *a, const struct array *b) {
    array_fill(a);
    array_fill(b);
    const bool is_unsigned = harness_is_unsigned(a->type.dtype);
    for (int64_t i = 0; i < a->count; i++) {
        if (mode == BINARY_SUB && is_unsigned) {
            array_set(a, i, array_get(a, i) + 20);
        } else if (mode == BINARY_MUL || mode == BINARY_PRELU || mode == BINARY_POW ||
                   mode == BINARY_SHIFT_LEFT) {
            array_set(a, i, trunc(array_get(a, i) / 3));
        }
        if (mode == BINARY_SHIFT_LEFT) {
            array_set(a, i, fabs(array_get(a, i)));
        }
    }
    for (int64_t i = 0; i < b->count; i++) {
        if (mode == BINARY_POW || mode == BINARY_SHIFT_LEFT || mode == BINARY_SHIFT_RIGHT) {
            array_set(b, i, (double)draw(0, 2));
        }
    }
}

static void binary_functions_broadcast(void **state) {
    (void)state;
#define X(code, name, types, result) #types[0],
    static const char types[] = {BINARY_LIST(X)};
#undef X
#define X(code, name, types, result) #result[0],
    static const char results[] = {BINARY_LIST(X)};
#undef X
    for (int round = 0; round < ROUNDS * 3; round++) {
        const int mode = round % BINARY_COUNT;
        const enum dtype dtype = draw_type(types[mode]);
        const struct shape y = draw_shape(0, 5);
        struct shape of_a = y, of_b = y;
        *(draw(0, 1) == 0 ? &of_a : &of_b) = narrower(&y);
        struct array in[2] = {array_make(dtype, of_a), array_make(dtype, of_b)};
        draw_operands(mode, &in[0], &in[1]);
        struct expected e = {array_make(results[mode] == 'B' ? DTYPE_BOOL : dtype, y),
                             dtype == DTYPE_F32 ? 1e-6 : 1e-14};
        for (int64_t i = 0; i < e.array.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&y, i, at);
            array_set(&e.array, i,
                      binary_oracle(mode, harness_is_real(dtype),
                                    array_get(&in[0], broadcast_place(&of_a, &y, at)),
                                    array_get(&in[1], broadcast_place(&of_b, &y, at))));
        }
        const struct op_attrs attrs = {.mode = mode};
        harness_each(OP_BINARY, &attrs, in, 2, meets, &e);
        array_free(&in[0]);
        array_free(&in[1]);
        array_free(&e.array);
    }
}

/* One element of i64, of i8, of u64: what wraps around, what has no quotient. */
static void integers_wrap_and_division_by_zero_is_zero(void **state) {
    (void)state;
    const struct {
        int mode;
        int64_t a, b, y;
    } rows[] = {
        {BINARY_ADD, INT64_MAX, 1, INT64_MIN},
        {BINARY_SUB, INT64_MIN, 1, INT64_MAX},
        {BINARY_MUL, INT64_MAX, 2, -2},
        {BINARY_DIV, INT64_MIN, -1, INT64_MIN},
        {BINARY_DIV, 7, 0, 0},
        {BINARY_MOD, 7, 0, 0},
        {BINARY_FMOD, INT64_MIN, -1, 0},
        {BINARY_MOD, INT64_MIN, -1, 0},
        {BINARY_POW, 2, -1, 0},
        {BINARY_POW, -1, -3, -1},
        {BINARY_POW, 3, 41, -420491770248316829},
        {BINARY_SHIFT_LEFT, 1, 64, 0},
        {BINARY_SHIFT_RIGHT, -5, 1, -3},
        {BINARY_SHIFT_RIGHT, -5, 70, -1},
        {BINARY_SHIFT_LEFT, 3, -1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array in[2] = {array_make(DTYPE_I64, SHAPE(1)), array_make(DTYPE_I64, SHAPE(1))};
        struct array out[OP_MAX_OUTPUTS];
        memcpy(in[0].data, &rows[i].a, 8);
        memcpy(in[1].data, &rows[i].b, 8);
        const struct op_attrs attrs = {.mode = rows[i].mode};
        assert_true(harness_run(&kernel_reference_ops, OP_BINARY, &attrs, in, 2, 1, -1, out));
        int64_t y = 0;
        memcpy(&y, out[0].data, 8);
        assert_true(y == rows[i].y);
        for (int k = 0; k < 2; k++) {
            array_free(&in[k]);
        }
        array_free(&out[0]);
    }
}

static void unsigned_64_bits_compare_and_divide_as_such(void **state) {
    (void)state;
    const uint64_t a = UINT64_MAX, b = 2;
    const struct {
        int mode;
        uint64_t y;
    } rows[] = {{BINARY_DIV, UINT64_MAX / 2},
                {BINARY_MOD, 1},
                {BINARY_MAX, UINT64_MAX},
                {BINARY_MIN, 2},
                {BINARY_GREATER, 1},
                {BINARY_LESS, 0},
                {BINARY_SHIFT_RIGHT, UINT64_MAX / 4}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array in[2] = {array_make(DTYPE_U64, SHAPE(1)), array_make(DTYPE_U64, SHAPE(1))};
        struct array out[OP_MAX_OUTPUTS];
        memcpy(in[0].data, &a, 8);
        memcpy(in[1].data, &b, 8);
        const struct op_attrs attrs = {.mode = rows[i].mode};
        assert_true(harness_run(&kernel_reference_ops, OP_BINARY, &attrs, in, 2, 1, -1, out));
        uint64_t y = 0;
        memcpy(&y, out[0].data, dtype_size(out[0].type.dtype));
        assert_true(y == rows[i].y);
        array_free(&in[0]);
        array_free(&in[1]);
        array_free(&out[0]);
    }
}

static void powers_mix_types(void **state) {
    (void)state;
    const enum dtype pairs[][2] = {{DTYPE_F32, DTYPE_I64},
                                   {DTYPE_I32, DTYPE_F32},
                                   {DTYPE_F64, DTYPE_U8},
                                   {DTYPE_I64, DTYPE_I32}};
    for (int i = 0; i < 4; i++) {
        struct array in[2] = {array_make(pairs[i][0], SHAPE(3)), array_make(pairs[i][1], SHAPE(3))};
        struct expected e = {array_make(pairs[i][0], SHAPE(3)), 1e-6};
        const double a[3] = {2, 3, 4}, b[3] = {3, 0, 2}, y[3] = {8, 1, 16};
        for (int k = 0; k < 3; k++) {
            array_set(&in[0], k, a[k]);
            array_set(&in[1], k, b[k]);
            array_set(&e.array, k, y[k]);
        }
        const struct op_attrs attrs = {.mode = BINARY_POW};
        harness_each(OP_BINARY, &attrs, in, 2, meets, &e);
        array_free(&in[0]);
        array_free(&in[1]);
        array_free(&e.array);
    }
}

/* By PyTorch, in f64. */
static void unary_functions_have_their_values(void **state) {
    (void)state;
    static const double xs[5] = {-2.75, -0.5, 0.25, 0.875, 3.5};
    static const struct {
        int mode;
        float p, q;
        double y[5];
    } rows[] = {
        {UNARY_ABS, 0.0F, 0.0F, {2.75, 0.5, 0.25, 0.875, 3.5}},
        {UNARY_NEG, 0.0F, 0.0F, {2.75, 0.5, -0.25, -0.875, -3.5}},
        {UNARY_SIGN, 0.0F, 0.0F, {-1.0, -1.0, 1.0, 1.0, 1.0}},
        {UNARY_RELU, 0.0F, 0.0F, {0.0, 0.0, 0.25, 0.875, 3.5}},
        {UNARY_EXP,
         0.0F,
         0.0F,
         {0.06392786120670757, 0.6065306597126334, 1.2840254166877414, 2.398875293967098,
          33.11545195869231}},
        {UNARY_RECIPROCAL,
         0.0F,
         0.0F,
         {-0.36363636363636365, -2.0, 4.0, 1.1428571428571428, 0.2857142857142857}},
        {UNARY_FLOOR, 0.0F, 0.0F, {-3.0, -1.0, 0.0, 0.0, 3.0}},
        {UNARY_CEIL, 0.0F, 0.0F, {-2.0, -0.0, 1.0, 1.0, 4.0}},
        {UNARY_ROUND, 0.0F, 0.0F, {-3.0, -0.0, 0.0, 1.0, 4.0}},
        {UNARY_SIN,
         0.0F,
         0.0F,
         {-0.38166099205233167, -0.479425538604203, 0.24740395925452294, 0.7675435022360271,
          -0.35078322768961984}},
        {UNARY_COS,
         0.0F,
         0.0F,
         {-0.9243023786324636, 0.8775825618903728, 0.9689124217106447, 0.6409968581633251,
          -0.9364566872907963}},
        {UNARY_TAN,
         0.0F,
         0.0F,
         {0.4129178944849325, -0.5463024898437905, 0.25534192122103627, 1.197421629234348,
          0.3745856401585947}},
        {UNARY_ATAN,
         0.0F,
         0.0F,
         {-1.2220253232109897, -0.4636476090008061, 0.24497866312686414, 0.7188299996216245,
          1.2924966677897853}},
        {UNARY_SINH,
         0.0F,
         0.0F,
         {-7.789352011490732, -0.5210953054937474, 0.2526123168081683, 0.9910066371442947,
          16.542627287634996}},
        {UNARY_COSH,
         0.0F,
         0.0F,
         {7.853279872697439, 1.1276259652063807, 1.0314130998795732, 1.4078686568228032,
          16.572824671057315}},
        {UNARY_TANH,
         0.0F,
         0.0F,
         {-0.9918597245682077, -0.46211715726000974, 0.24491866240370913, 0.703905603936621,
          0.9981778976111987}},
        {UNARY_ASINH,
         0.0F,
         0.0F,
         {-1.7362775864618003, -0.48121182505960347, 0.24746646154726346, 0.790168725412397,
          1.9657204716496515}},
        {UNARY_ERF,
         0.0F,
         0.0F,
         {-0.9998993780778803, -0.5204998778130465, 0.27632639016823696, 0.7840750610598597,
          0.9999992569016276}},
        {UNARY_SIGMOID,
         0.0F,
         0.0F,
         {0.060086650174007626, 0.3775406687981454, 0.5621765008857981, 0.7057850278370112,
          0.9706877692486436}},
        {UNARY_HARD_SWISH,
         0.0F,
         0.0F,
         {-0.11458333333333333, -0.20833333333333334, 0.13541666666666666, 0.5651041666666666,
          3.5}},
        {UNARY_SOFTPLUS,
         0.0F,
         0.0F,
         {0.061967589003198625, 0.4740769841801067, 0.8259394198788436, 1.2234445810050558,
          3.5297504182726205}},
        {UNARY_SOFTSIGN,
         0.0F,
         0.0F,
         {-0.7333333333333333, -0.3333333333333333, 0.2, 0.4666666666666667, 0.7777777777777778}},
        {UNARY_GELU_ERF,
         0.0F,
         0.0F,
         {-0.008194348896400028, -0.15426876936299344, 0.14967658142073093, 0.7080614162540533,
          3.4991857982233756}},
        {UNARY_GELU_TANH,
         0.0F,
         0.0F,
         {-0.007723144073617988, -0.15428599017485606, 0.149675350701685, 0.7079526805384551,
          3.499383802344626}},
        {UNARY_MISH,
         0.0F,
         0.0F,
         {-0.17019307938137893, -0.22074377465173, 0.1695724096638176, 0.7355839109844563,
          3.4939907151175196}},
        {UNARY_LOG,
         0.0F,
         0.0F,
         {NAN, NAN, -1.3862943611198906, -0.13353139262452263, 1.252762968495368}},
        {UNARY_SQRT, 0.0F, 0.0F, {NAN, NAN, 0.5, 0.9354143466934853, 1.8708286933869707}},
        {UNARY_ASIN,
         0.0F,
         0.0F,
         {NAN, -0.5235987755982989, 0.25268025514207865, 1.0654358165107394, NAN}},
        {UNARY_ACOS,
         0.0F,
         0.0F,
         {NAN, 2.0943951023931957, 1.318116071652818, 0.5053605102841573, NAN}},
        {UNARY_ACOSH, 0.0F, 0.0F, {NAN, NAN, NAN, NAN, 1.9248473002384139}},
        {UNARY_ATANH,
         0.0F,
         0.0F,
         {NAN, -0.5493061443340548, 0.25541281188299536, 1.354025100551105, NAN}},
        {UNARY_CLIP, -1.0F, 2.0F, {-1.0, -0.5, 0.25, 0.875, 2.0}},
        {UNARY_LEAKY_RELU, 0.125F, 0.0F, {-0.34375, -0.0625, 0.25, 0.875, 3.5}},
        {UNARY_ELU, 1.5F, 0.0F, {-1.4041082081899385, -0.5902040104310499, 0.25, 0.875, 3.5}},
        {UNARY_SELU, 2.0F, 3.0F, {-5.616432832759754, -2.3608160417241995, 0.75, 2.625, 10.5}},
        {UNARY_CELU, 2.0F, 0.0F, {-1.494320808390507, -0.44239843385719024, 0.25, 0.875, 3.5}},
        {UNARY_THRESHOLDED_RELU, 0.5F, 0.0F, {0.0, 0.0, 0.0, 0.875, 3.5}},
        {UNARY_HARD_SIGMOID, 0.25F, 0.5F, {0.0, 0.375, 0.5625, 0.71875, 1.0}},
        {UNARY_SWISH,
         1.5F,
         0.0F,
         {-0.04374257720749046, -0.1604106504123035, 0.14816664998851742, 0.6894397961875329,
          3.4817295600725457}},
        {UNARY_SHRINK, 0.5F, 0.25F, {-2.5, 0.0, 0.0, 0.625, 3.25}},
    };
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F64};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int k = 0; k < 2; k++) {
            /* long enough for registers and what is left over */
            struct array x = array_make(types[k], SHAPE(7, 41));
            struct expected e = {array_make(types[k], SHAPE(7, 41)), k == 0 ? 2e-6 : 1e-13};
            for (int64_t n = 0; n < x.count; n++) {
                array_set(&x, n, xs[n % 5]);
                array_set(&e.array, n, rows[i].y[n % 5]);
            }
            const struct op_attrs attrs = {.mode = rows[i].mode, .floats = {rows[i].p, rows[i].q}};
            harness_each(OP_UNARY, &attrs, &x, 1, meets, &e);
            array_free(&x);
            array_free(&e.array);
        }
    }
}

static void unary_functions_at_the_ends_of_the_range(void **state) {
    (void)state;
    static const struct {
        int mode;
        float p, q, x, y;
    } rows[] = {
        {UNARY_EXP, 0, 0, INFINITY, INFINITY},
        {UNARY_EXP, 0, 0, -INFINITY, 0},
        {UNARY_EXP, 0, 0, 88.5F, 2.7230879e38F},
        {UNARY_EXP, 0, 0, 90, INFINITY},
        {UNARY_EXP, 0, 0, NAN, NAN},
        {UNARY_SQRT, 0, 0, -1, NAN},
        {UNARY_SQRT, 0, 0, INFINITY, INFINITY},
        {UNARY_RELU, 0, 0, NAN, NAN},
        {UNARY_CLIP, -1, 1, NAN, NAN},
        {UNARY_CLIP, 2, 1, 0, 1},
        {UNARY_SIGMOID, 0, 0, -INFINITY, 0},
        {UNARY_SIGMOID, 0, 0, INFINITY, 1},
        {UNARY_SIGMOID, 0, 0, NAN, NAN},
        {UNARY_TANH, 0, 0, INFINITY, 1},
        {UNARY_TANH, 0, 0, -INFINITY, -1},
        {UNARY_TANH, 0, 0, NAN, NAN},
        {UNARY_ERF, 0, 0, NAN, NAN},
        {UNARY_ERF, 0, 0, -INFINITY, -1},
        {UNARY_SOFTPLUS, 0, 0, 1000, 1000},
        {UNARY_SOFTPLUS, 0, 0, -1000, 0},
        {UNARY_MISH, 0, 0, 1000, 1000},
        {UNARY_SIGN, 0, 0, NAN, NAN},
        {UNARY_ROUND, 0, 0, 2.5F, 2},
        {UNARY_ROUND, 0, 0, -1.5F, -2},
        {UNARY_LEAKY_RELU, 0.5F, 0, NAN, NAN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = array_make(DTYPE_F32, SHAPE(37));
        struct expected e = {array_make(DTYPE_F32, SHAPE(37)), 1e-5};
        for (int64_t n = 0; n < x.count; n++) {
            ((float *)(void *)x.data)[n] = rows[i].x;
            ((float *)(void *)e.array.data)[n] = rows[i].y;
        }
        const struct op_attrs attrs = {.mode = rows[i].mode, .floats = {rows[i].p, rows[i].q}};
        harness_each(OP_UNARY, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

static void unary_functions_of_integers_and_tests(void **state) {
    (void)state;
    const struct {
        int mode;
        enum dtype from, to;
        float p, q;
        double x, y;
    } rows[] = {
        {UNARY_ABS, DTYPE_I32, DTYPE_I32, 0, 0, -5, 5},
        {UNARY_NEG, DTYPE_I8, DTYPE_I8, 0, 0, -128, -128},
        {UNARY_NEG, DTYPE_I64, DTYPE_I64, 0, 0, 9, -9},
        {UNARY_SIGN, DTYPE_I16, DTYPE_I16, 0, 0, -7, -1},
        {UNARY_SIGN, DTYPE_U64, DTYPE_U64, 0, 0, 1.2e19, 1},
        {UNARY_RELU, DTYPE_I32, DTYPE_I32, 0, 0, -7, 0},
        {UNARY_CLIP, DTYPE_I64, DTYPE_I64, -3, 4, 9, 4},
        {UNARY_CLIP, DTYPE_U8, DTYPE_U8, 3, 40, 0, 3},
        {UNARY_CLIP, DTYPE_U64, DTYPE_U64, 3, 40, 1.2e19, 40},
        {UNARY_CLIP, DTYPE_U64, DTYPE_U64, -INFINITY, INFINITY, 7, 7},
        {UNARY_CLIP, DTYPE_I32, DTYPE_I32, -INFINITY, INFINITY, -7, -7},
        {UNARY_NOT, DTYPE_BOOL, DTYPE_BOOL, 0, 0, 0, 1},
        {UNARY_NOT, DTYPE_BOOL, DTYPE_BOOL, 0, 0, 1, 0},
        {UNARY_BITWISE_NOT, DTYPE_U8, DTYPE_U8, 0, 0, 5, 250},
        {UNARY_BITWISE_NOT, DTYPE_I32, DTYPE_I32, 0, 0, 5, -6},
        {UNARY_IS_NAN, DTYPE_F32, DTYPE_BOOL, 0, 0, NAN, 1},
        {UNARY_IS_NAN, DTYPE_F64, DTYPE_BOOL, 0, 0, INFINITY, 0},
        {UNARY_IS_INF, DTYPE_F32, DTYPE_BOOL, 1, 1, -INFINITY, 1},
        {UNARY_IS_INF, DTYPE_F32, DTYPE_BOOL, 0, 1, -INFINITY, 0},
        {UNARY_IS_INF, DTYPE_F32, DTYPE_BOOL, 1, 0, INFINITY, 0},
        {UNARY_IS_INF, DTYPE_F64, DTYPE_BOOL, 1, 1, 3, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = array_make(rows[i].from, SHAPE(2));
        struct expected e = {array_make(rows[i].to, SHAPE(2)), 0};
        for (int n = 0; n < 2; n++) {
            array_set(&x, n, rows[i].x);
            array_set(&e.array, n, rows[i].y);
        }
        const struct op_attrs attrs = {.mode = rows[i].mode, .floats = {rows[i].p, rows[i].q}};
        harness_each(OP_UNARY, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

static void where_chooses_and_broadcasts(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        const struct shape y = draw_shape(0, 4);
        const enum dtype dtype = draw(0, 5) == 0 ? DTYPE_BOOL : draw_number();
        struct shape shapes[3] = {y, y, y};
        const int64_t full = draw(0, 2);
        for (int k = 0; k < 3; k++) {
            shapes[k] = k == full ? y : narrower(&y);
        }
        struct array in[3] = {array_make(DTYPE_BOOL, shapes[0]), array_make(dtype, shapes[1]),
                              array_make(dtype, shapes[2])};
        struct expected e = {array_make(dtype, y), 0};
        for (int k = 0; k < 3; k++) {
            array_fill(&in[k]);
        }
        for (int64_t i = 0; i < e.array.count; i++) {
            int64_t at[SHAPE_MAX_RANK] = {0};
            unravel(&y, i, at);
            const int k = array_get(&in[0], broadcast_place(&shapes[0], &y, at)) != 0 ? 1 : 2;
            array_set(&e.array, i, array_get(&in[k], broadcast_place(&shapes[k], &y, at)));
        }
        const struct op_attrs attrs = {0};
        harness_each(OP_WHERE, &attrs, in, 3, meets, &e);
        for (int k = 0; k < 3; k++) {
            array_free(&in[k]);
        }
        array_free(&e.array);
    }
}

static void casts_keep_what_both_types_hold(void **state) {
    (void)state;
    for (int from = 0; from < DTYPE_COUNT; from++) {
        for (int to = 0; to < DTYPE_COUNT; to++) {
            /* 0 and 1 exist in every type, but f8e8m0 has no 0 */
            struct array x = array_make(DTYPE_I32, SHAPE(300)), a[OP_MAX_OUTPUTS],
                         b[OP_MAX_OUTPUTS], c[OP_MAX_OUTPUTS];
            for (int64_t i = 0; i < x.count; i++) {
                array_set(&x, i, from == DTYPE_F8E8M0 || to == DTYPE_F8E8M0 ? 1 : (double)(i % 2));
            }
            struct op_attrs attrs = {.mode = from};
            assert_true(harness_run(&kernel_reference_ops, OP_CAST, &attrs, &x, 1, 1, -1, a));
            attrs.mode = to;
            assert_true(harness_run(&kernel_reference_ops, OP_CAST, &attrs, a, 1, 1, -1, b));
            attrs.mode = DTYPE_I32;
            assert_true(harness_run(&kernel_reference_ops, OP_CAST, &attrs, b, 1, 1, -1, c));
            assert_memory_equal(c[0].data, x.data, 300 * sizeof(int32_t));
            array_free(&x);
            array_free(&a[0]);
            array_free(&b[0]);
            array_free(&c[0]);
        }
    }
}

static void casts_round_truncate_and_wrap(void **state) {
    (void)state;
    const struct {
        enum dtype from, to;
        double x, y;
    } rows[] = {
        {DTYPE_F32, DTYPE_I32, -2.75, -2},
        {DTYPE_F64, DTYPE_F32, 0.1, 0.1F},
        {DTYPE_F32, DTYPE_U8, 257.5, 1},
        {DTYPE_F32, DTYPE_I64, NAN, 0},
        {DTYPE_F64, DTYPE_U64, 1.2e19, 1.2e19},
        {DTYPE_U64, DTYPE_F64, 1.2e19, 1.2e19},
        {DTYPE_I32, DTYPE_I8, 200, -56},
        {DTYPE_I32, DTYPE_U16, -1, 65535},
        {DTYPE_F32, DTYPE_BOOL, 0.25, 1},
        {DTYPE_F32, DTYPE_BOOL, 0, 0},
        {DTYPE_F64, DTYPE_I64, 1e300, 0x1p63},
        {DTYPE_BOOL, DTYPE_F32, 1, 1},
        {DTYPE_I64, DTYPE_F32, 16777217, 16777216},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = array_make(rows[i].from, SHAPE(37));
        struct array y = array_make(rows[i].to, SHAPE(37));
        for (int64_t n = 0; n < 37; n++) {
            array_set(&x, n, rows[i].x);
            if (rows[i].y == 0x1p63) {
                ((int64_t *)(void *)y.data)[n] = INT64_MAX;
            } else {
                array_set(&y, n, rows[i].y);
            }
        }
        struct expected e = {y, 0};
        const struct op_attrs attrs = {.mode = (int32_t)rows[i].to};
        harness_each(OP_CAST, &attrs, &x, 1, meets, &e);
        array_free(&x);
        array_free(&e.array);
    }
}

/* Raw codes, by type, of what x becomes. */
static void casts_to_small_types(void **state) {
    (void)state;
    const struct {
        enum dtype to;
        double x;
        int64_t raw_mode, rounding;
        unsigned code;
    } rows[] = {
        {DTYPE_F16, 1.0, 0, 0, 0x3C00},
        {DTYPE_BF16, 1.0, 0, 0, 0x3F80},
        {DTYPE_F8E4M3FN, 1e6, 0, 0, 0x7E},
        {DTYPE_F8E4M3FN, 1e6, 1, 0, 0x7F},
        {DTYPE_F8E5M2, 1e6, 1, 0, 0x7C},
        {DTYPE_F8E5M2FNUZ, -0.0, 0, 0, 0},
        {DTYPE_F4E2M1, -3.5, 0, 0, 0xE},
        {DTYPE_F8E8M0, 1.4, 0, CONVERT_UP, 128},
        {DTYPE_F8E8M0, 1.4, 0, CONVERT_DOWN, 127},
        {DTYPE_F8E8M0, 1.4, 0, CONVERT_NEAREST, 127},
        {DTYPE_I4, 9, 0, 0, 0xF9},
        {DTYPE_U4, -9, 0, 0, 7},
        {DTYPE_I2, 2, 0, 0, 0xFE},
        {DTYPE_U2, -3, 0, 0, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct array x = array_make(DTYPE_F32, SHAPE(1)), y[OP_MAX_OUTPUTS];
        array_set(&x, 0, rows[i].x);
        const struct op_attrs attrs = {.mode = (int32_t)rows[i].to,
                                       .index = rows[i].raw_mode,
                                       .axis = (int32_t)rows[i].rounding};
        assert_true(harness_run(&kernel_reference_ops, OP_CAST, &attrs, &x, 1, 1, -1, y));
        unsigned code = 0;
        memcpy(&code, y[0].data, dtype_size(rows[i].to));
        assert_int_equal(code, rows[i].code);
        array_free(&x);
        array_free(&y[0]);
    }
}

static void inference_refuses_by_name(void **state) {
    (void)state;
    const struct tensor_type f = {DTYPE_F32, SHAPE(2, 3)}, g = {DTYPE_F32, SHAPE(2, 4)};
    const struct tensor_type i = {DTYPE_I32, SHAPE(2, 3)}, b = {DTYPE_BOOL, SHAPE(2, 3)};
    const struct tensor_type h = {DTYPE_F16, SHAPE(2, 3)}, e = {DTYPE_F32, SHAPE(2, 0)};
    const struct tensor_type ff[2] = {f, f}, fg[2] = {f, g}, fi[2] = {f, i}, bb[2] = {b, b};
    const struct tensor_type fff[3] = {f, f, f}, bfi[3] = {b, f, i}, bfg[3] = {b, f, g};
    const struct op_attrs none = {0};
    refuses(OP_UNARY, (struct op_attrs){.mode = UNARY_COUNT}, &f, 1, SHOAL_UNSUPPORTED, "unknown");
    refuses(OP_UNARY, (struct op_attrs){.mode = UNARY_EXP}, &i, 1, SHOAL_UNSUPPORTED, "i32");
    refuses(OP_UNARY, (struct op_attrs){.mode = UNARY_ABS}, &h, 1, SHOAL_UNSUPPORTED, "f16");
    refuses(OP_UNARY, (struct op_attrs){.mode = UNARY_NOT}, &f, 1, SHOAL_UNSUPPORTED, "f32");
    refuses(OP_BINARY, (struct op_attrs){.mode = -1}, ff, 2, SHOAL_UNSUPPORTED, "unknown");
    refuses(OP_BINARY, none, fg, 2, SHOAL_MISMATCH, "[2,3] and [2,4]");
    refuses(OP_BINARY, none, fi, 2, SHOAL_UNSUPPORTED, "differ in type");
    refuses(OP_BINARY, none, bb, 2, SHOAL_UNSUPPORTED, "bool");
    refuses(OP_BINARY, (struct op_attrs){.mode = BINARY_AND}, ff, 2, SHOAL_UNSUPPORTED, "f32");
    refuses(OP_WHERE, none, fff, 3, SHOAL_UNSUPPORTED, "f32");
    refuses(OP_WHERE, none, bfi, 3, SHOAL_UNSUPPORTED, "differ in type");
    refuses(OP_WHERE, none, bfg, 3, SHOAL_MISMATCH, "[2,4]");
    refuses(OP_CAST, (struct op_attrs){.mode = DTYPE_COUNT}, &f, 1, SHOAL_UNSUPPORTED, "type");
    refuses(OP_CAST, (struct op_attrs){.axis = 3}, &f, 1, SHOAL_UNSUPPORTED, "rounding");
    refuses(OP_REDUCE, (struct op_attrs){.mode = REDUCE_COUNT}, &f, 1, SHOAL_UNSUPPORTED,
            "unknown");
    refuses(OP_REDUCE, (struct op_attrs){.ints = {4}}, &f, 1, SHOAL_MISMATCH, "axes");
    refuses(OP_REDUCE, none, &b, 1, SHOAL_UNSUPPORTED, "bool");
    refuses(OP_ARG_REDUCE, (struct op_attrs){.axis = 2}, &f, 1, SHOAL_MISMATCH, "no such axis");
    refuses(OP_ARG_REDUCE, (struct op_attrs){.axis = 1}, &e, 1, SHOAL_MISMATCH, "nothing");
    refuses(OP_ARG_REDUCE, (struct op_attrs){.mode = 2}, &f, 1, SHOAL_UNSUPPORTED, "unknown");
    refuses(OP_SOFTMAX, (struct op_attrs){.axis = -1}, &f, 1, SHOAL_MISMATCH, "no such axis");
    refuses(OP_SOFTMAX, none, &i, 1, SHOAL_UNSUPPORTED, "i32");
    refuses(OP_SOFTMAX, (struct op_attrs){.mode = 3}, &f, 1, SHOAL_UNSUPPORTED, "unknown");
    refuses(OP_CUMULATE, (struct op_attrs){.axis = 2}, &f, 1, SHOAL_MISMATCH, "no such axis");
    refuses(OP_DETERMINANT, none, &f, 1, SHOAL_MISMATCH, "square");
}

int main(void) {
    const char *given = getenv("SHOAL_TEST_SEED");
    harness_seed = given != NULL ? strtoull(given, NULL, 10) : harness_seed;
    print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)harness_seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binary_functions_broadcast),
        cmocka_unit_test(integers_wrap_and_division_by_zero_is_zero),
        cmocka_unit_test(unsigned_64_bits_compare_and_divide_as_such),
        cmocka_unit_test(powers_mix_types),
        cmocka_unit_test(unary_functions_have_their_values),
        cmocka_unit_test(unary_functions_at_the_ends_of_the_range),
        cmocka_unit_test(unary_functions_of_integers_and_tests),
        cmocka_unit_test(where_chooses_and_broadcasts),
        cmocka_unit_test(casts_keep_what_both_types_hold),
        cmocka_unit_test(casts_round_truncate_and_wrap),
        cmocka_unit_test(casts_to_small_types),
        cmocka_unit_test(inference_refuses_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
