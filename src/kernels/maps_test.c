/*
 * What the vector functions promise of the elementwise and layout families, on tensors large enough
 * for threads: the same bits on any number of them, of rows alone and among others, by every
 * instruction set that this processor has; and the reference's values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/blas/blas.h"
#include "kernels/isa.h"
#include "kernels/op_harness.h"

#include <stdlib.h>

struct row {
    enum op op;
    struct op_attrs attrs;
    struct shape shapes[3];
    enum dtype dtypes[3];
    int count;
    double tolerance;
    bool by_rows; /* of the first input alone, a first dim makes the result's first dim */
};

#define F DTYPE_F32, DTYPE_F32

/* SHAPE as a constant expression. */
#define DIMS(...)                                                    \
    {                                                                \
        (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { \
            __VA_ARGS__                                              \
        }                                                            \
    }

static const struct row rows[] = {
    {OP_UNARY, {.mode = UNARY_EXP}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_UNARY, {.mode = UNARY_ERF}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_UNARY, {.mode = UNARY_SWISH, .floats = {1}}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_UNARY, {.mode = UNARY_MISH}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_UNARY, {.mode = UNARY_SOFTPLUS}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_UNARY, {.mode = UNARY_CLIP, .floats = {0, 1}}, {DIMS(8, 61, 203)}, {F}, 1, 0, true},
    {OP_BINARY, {.mode = BINARY_ADD}, {DIMS(8, 61, 203), DIMS(8, 61, 203)}, {F}, 2, 0, false},
    {OP_BINARY, {.mode = BINARY_MUL}, {DIMS(8, 61, 203), DIMS(203)}, {F}, 2, 0, false},
    {OP_BINARY, {.mode = BINARY_DIV}, {DIMS(8, 61, 203), DIMS(8, 61, 1)}, {F}, 2, 0, false},
    {OP_BINARY, {.mode = BINARY_SUB}, {DIMS(1, 61, 203), DIMS(8, 1, 203)}, {F}, 2, 0, false},
    {OP_BINARY, {.mode = BINARY_MAX}, {{0}, DIMS(8, 61, 203)}, {F}, 2, 0, false},
    {OP_BINARY, {.mode = BINARY_GREATER}, {DIMS(8, 61, 203), DIMS(203)}, {F}, 2, 0, false},
    {OP_WHERE,
     {0},
     {DIMS(8, 1, 61, 203), DIMS(8, 2, 61, 203), {0}},
     {DTYPE_BOOL, DTYPE_I32, DTYPE_I32},
     3,
     0,
     false},
    {OP_SOFTMAX, {.axis = 2}, {DIMS(8, 61, 203)}, {F}, 1, 2e-6, true},
    {OP_REDUCE, {.mode = REDUCE_MEAN, .ints = {4, 1}}, {DIMS(120, 500, 7)}, {F}, 1, 1e-5, true},
    {OP_REDUCE, {.mode = REDUCE_SUM, .ints = {2}}, {DIMS(700, 5, 100)}, {F}, 1, 1e-5, true},
    {OP_REDUCE, {.mode = REDUCE_MAX, .ints = {1}}, {DIMS(3, 60000)}, {F}, 1, 0, false},
    {OP_CAST, {.mode = DTYPE_F32}, {DIMS(7, 9001)}, {DTYPE_I64}, 1, 0, true},
    {OP_CAST, {.mode = DTYPE_I32}, {DIMS(7, 9001)}, {F}, 1, 0, true},
    {OP_CAST, {.mode = DTYPE_BOOL}, {DIMS(7, 9001)}, {DTYPE_I64}, 1, 0, true},
    {OP_TRANSPOSE, {.ints = {1, 0}}, {DIMS(250, 301)}, {F}, 1, 0, false},
    {OP_TRANSPOSE, {.ints = {0, 2, 3, 1}}, {DIMS(4, 37, 29, 31)}, {F}, 1, 0, true},
    {OP_TRANSPOSE, {.ints = {0, 3, 1, 2}}, {DIMS(4, 29, 31, 37)}, {DTYPE_I32}, 1, 0, true},
    {OP_TRANSPOSE, {.ints = {0, 2, 1, 3}}, {DIMS(4, 70, 5, 64)}, {DTYPE_I64}, 1, 0, true},
    {OP_TRANSPOSE, {.ints = {3, 0, 2, 1}}, {DIMS(11, 17, 19, 23)}, {F}, 1, 0, false},
    {OP_SLICE,
     {.ints = {0, 3, 5, [SLICE_STEP] = 1, 2, 1, [SLICE_LENGTH] = 8, 50, 150}},
     {DIMS(8, 120, 203)},
     {F},
     1,
     0,
     false},
    {OP_CONCAT,
     {.axis = 1},
     {DIMS(8, 20, 203), DIMS(8, 1, 203), DIMS(8, 30, 203)},
     {DTYPE_U8, DTYPE_U8, DTYPE_U8},
     3,
     0,
     false},
    {OP_GATHER, {.axis = 1}, {DIMS(3, 50, 300), DIMS(70)}, {F}, 2, 0, false},
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])

/* Numbers that depend on their place alone, so that the first rows are the same in any batch. */
static struct array input_of(const struct row *row, int k, int64_t batch) {
    struct shape shape = row->shapes[k];
    const bool indices = row->op == OP_GATHER && k == 1;
    if (batch > 0) {
        shape.dims[0] = batch;
    }
    struct array a = array_make(indices ? DTYPE_I64 : row->dtypes[k], shape);
    for (int64_t i = 0; i < a.count; i++) {
        const uint32_t word = random_u32(random_stream(11, "maps") + (uint64_t)k, (uint64_t)i);
        const double number = (double)(word % 4001) / 500 - 4;
        array_set(&a, i,
                  harness_is_real(a.type.dtype) ? number
                  : a.type.dtype == DTYPE_BOOL  ? (double)(word & 1)
                  : a.type.dtype == DTYPE_U8    ? (double)(word & 127)
                                                : (double)(int64_t)(word % 101) - 50);
    }
    return a;
}

static struct array run_row(const struct kernel_ops *set, const struct row *row, int threads,
                            int64_t batch) {
    struct array in[3], out[OP_MAX_OUTPUTS];
    for (int k = 0; k < row->count; k++) {
        in[k] = input_of(row, k, batch);
    }
    assert_true(harness_run(set, row->op, &row->attrs, in, row->count, threads, -1, out));
    for (int k = 0; k < row->count; k++) {
        array_free(&in[k]);
    }
    return out[0];
}

static size_t bytes_of(const struct array *a) {
    return (size_t)a->count * dtype_size(a->type.dtype);
}

static void threads_do_not_change_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        struct array alone = run_row(&kernel_blas_ops, &rows[i], 1, 0);
        for (int threads = 2; threads <= 5; threads += 3) {
            struct array together = run_row(&kernel_blas_ops, &rows[i], threads, 0);
            assert_memory_equal(alone.data, together.data, bytes_of(&alone));
            array_free(&together);
        }
        array_free(&alone);
    }
}

static void values_are_the_reference_s(void **state) {
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        struct array ours = run_row(&kernel_blas_ops, &rows[i], 1, 0);
        struct expected e = {run_row(&kernel_reference_ops, &rows[i], 1, 0), rows[i].tolerance};
        meets(&e, &ours);
        array_free(&ours);
        array_free(&e.array);
    }
}

static void rows_do_not_depend_on_the_batch(void **state) {
    (void)state;
    int tested = 0;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].by_rows) {
            struct array many = run_row(&kernel_blas_ops, &rows[i], 2, 0);
            struct array one = run_row(&kernel_blas_ops, &rows[i], 1, 1);
            assert_memory_equal(many.data, one.data, bytes_of(&one));
            array_free(&many);
            array_free(&one);
            tested++;
        }
    }
    assert_true(tested > 10);
}

/* With fused multiply-add; the x86-64 baseline has none and rounds more often. */
static void instruction_sets_agree(void **state) {
    (void)state;
#if defined(__x86_64__)
    struct vector_maps const *const sets[] = {&vector_maps_avx2, &vector_maps_avx512};
    static float x[1000], a[1000], b[1000];
    if (isa_native() != ISA_AVX512) {
        skip();
    }
    random_normal(random_stream(3, "x"), 0, 4.0F, x, 1000);
    for (int function = 0; function < UNARY_COUNT; function++) {
        if (vector_has_unary(function)) {
            sets[0]->unary((enum unary_function)function, 0.5F, 0.75F, x, 997, a);
            sets[1]->unary((enum unary_function)function, 0.5F, 0.75F, x, 997, b);
            assert_memory_equal(a, b, 997 * sizeof *a);
        }
    }
    for (int function = 0; function < REDUCE_COUNT; function++) {
        if (vector_has_reduce(function)) {
            const float one = sets[0]->reduce((enum reduce_function)function, x, 997);
            const float other = sets[1]->reduce((enum reduce_function)function, x, 997);
            assert_memory_equal(&one, &other, sizeof one);
        }
    }
#else
    skip();
#endif
}

/* Every function of every instruction set that runs here, against the C library. */
static void unary_maps_are_close(void **state) {
    (void)state;
    const struct vector_maps *sets[3] = {&vector_maps_baseline};
    int count = 1;
#if defined(__x86_64__)
    if (isa_native() != ISA_BASELINE) {
        sets[count++] = &vector_maps_avx2;
    }
    if (isa_native() == ISA_AVX512) {
        sets[count++] = &vector_maps_avx512;
    }
#endif
    static float x[4000], y[4000];
    for (int i = 0; i < 4000; i++) {
        x[i] = -100.0F + 0.05F * (float)i + (i % 2 == 0 ? 0.0F : 0.0121F);
    }
    for (int s = 0; s < count; s++) {
        sets[s]->unary(UNARY_EXP, 0, 0, x, 3700, y); /* to 85 */
        for (int i = 0; i < 3700; i++) {
            const double want = exp((double)x[i]);
            assert_true(fabs((double)y[i] - want) <= 4e-7 * want + 1.5e-45);
        }
        sets[s]->unary(UNARY_LOG, 0, 0, x + 2001, 1999, y); /* from 0.05 on */
        for (int i = 0; i < 1999; i++) {
            const double want = log((double)x[2001 + i]);
            assert_true(fabs((double)y[i] - want) <= 3e-7 * fabs(want) + 1e-7);
        }
        const float edges[4] = {0, -1, 1e-40F, INFINITY};
        sets[s]->unary(UNARY_LOG, 0, 0, edges, 4, y);
        assert_true(isinf(y[0]) && y[0] < 0 && isnan(y[1]) && isinf(y[3]));
        assert_true(fabs((double)y[2] - log((double)1e-40F)) < 1e-4);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(values_are_the_reference_s),
        cmocka_unit_test(rows_do_not_depend_on_the_batch),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(unary_maps_are_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
