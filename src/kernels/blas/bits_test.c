#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What kernels/vector and the blas set promise about bits. */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/blas/blas.h"
#include "kernels/isa.h"

#include <math.h>
#include <string.h>

static float *numbers(const char *name, size_t count) {
    float *values = mem_alloc_aligned(count * sizeof(float));
    assert_non_null(values);
    random_normal(random_stream(7, name), 0, 2.0F, values, count);
    return values;
}

/* y of a desc with random inputs and params; the first rows of inputs are the same whatever the
 * batch. */
static float *run(const struct kernel_desc *desc) {
    struct kernel *kernel = NULL;
    struct kernel_sizes sizes;
    assert_int_equal(kernel_blas_ops.create(desc, &kernel, NULL), SHOAL_OK);
    kernel_blas_ops.sizes(kernel, &sizes);
    static const char *const names[2 + OP_MAX_PARAMS] = {"a", "b", "c", "d", "e", "f"};
    void *inputs[OP_MAX_INPUTS] = {NULL};
    void *params[OP_MAX_PARAMS] = {NULL};
    for (int i = 0; i < desc->input_count; i++) {
        inputs[i] = numbers(names[i], (size_t)blas_count(&desc->inputs[i]));
    }
    for (int i = 0; i < desc->param_count; i++) {
        params[i] = numbers(names[2 + i], (size_t)blas_count(&desc->params[i]));
    }
    void *y = mem_calloc((size_t)blas_count(&desc->outputs[0]), sizeof(float));
    void *packed = mem_alloc_aligned(sizes.packed_bytes);
    void *scratch = mem_alloc_aligned(sizes.scratch_bytes);
    assert_true(y != NULL && packed != NULL && scratch != NULL);
    assert_int_equal(kernel_blas_ops.pack(kernel, (const void *const *)params, packed, NULL),
                     SHOAL_OK);
    assert_int_equal(kernel_blas_ops.run(kernel, packed, (const void *const *)inputs, &y, scratch),
                     SHOAL_OK);
    for (int i = 0; i < desc->input_count; i++) {
        mem_free(inputs[i]);
    }
    for (int i = 0; i < desc->param_count; i++) {
        mem_free(params[i]);
    }
    mem_free(packed);
    mem_free(scratch);
    kernel_blas_ops.destroy(kernel);
    return y;
}

static struct kernel_desc describe(enum op op, int64_t batch, int threads) {
    struct op_attrs attrs = {.activation = ACTIVATION_GELU_ERF,
                             .epsilon = 1e-6F,
                             .scale = 0.2F,
                             .heads = 3,
                             .stride = {1, 1},
                             .dilation = {1, 1},
                             .groups = 1,
                             .pad = {1, 1, 1, 1}};
    struct tensor_type inputs[2] = {{DTYPE_F32, SHAPE(batch, 37, 300)},
                                    {DTYPE_F32, SHAPE(batch, 37, 300)}};
    struct tensor_type params[2] = {{DTYPE_F32, SHAPE(300)}, {DTYPE_F32, SHAPE(300)}};
    int input_count = 1;
    int param_count = 2;
    if (op == OP_LINEAR) {
        params[0].shape = SHAPE(300, 300);
        input_count = 2;
    } else if (op == OP_ATTENTION) {
        inputs[0].shape = SHAPE(batch, 150, 189);
        param_count = 0;
    } else if (op == OP_CONV2D) {
        inputs[0].shape = SHAPE(batch, 9, 11, 40);
        inputs[1].shape = SHAPE(batch, 9, 11, 50);
        params[0].shape = SHAPE(50, 40, 3, 3);
        params[1].shape = SHAPE(50);
        input_count = 2;
    }
    struct kernel_desc desc;
    assert_int_equal(
        kernel_describe(op, &attrs, inputs, input_count, params, param_count, threads, &desc, NULL),
        SHOAL_OK);
    return desc;
}

static const enum op ops[] = {OP_LINEAR, OP_ATTENTION, OP_CONV2D, OP_LAYER_NORM};

static void expect_same_rows(enum op op, enum precision precision) {
    struct kernel_desc one = describe(op, 1, 1);
    one.attrs.precision = precision;
    float *expected = run(&one);
    for (int64_t batch = 1; batch <= 8; batch += batch < 3 ? 1 : 5) {
        for (int threads = 1; threads <= 3; threads++) {
            struct kernel_desc more = describe(op, batch, threads);
            more.attrs.precision = precision;
            float *got = run(&more);
            assert_memory_equal(got, expected, (size_t)blas_count(&one.outputs[0]) * sizeof(float));
            mem_free(got);
        }
    }
    mem_free(expected);
}

static void rows_depend_neither_on_batch_nor_on_threads(void **state) {
    (void)state;
    blas_engine_set(BLAS_ENGINE_VECTOR);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        expect_same_rows(ops[i], PRECISION_F32);
    }
    blas_engine_set(BLAS_ENGINE_AUTO);
    for (int precision = PRECISION_BF16; precision < PRECISION_COUNT; precision++) {
        expect_same_rows(OP_LINEAR, (enum precision)precision);
        expect_same_rows(OP_CONV2D, (enum precision)precision);
    }
}

static void the_cblas_engine_computes_the_same_function(void **state) {
    (void)state;
    const struct kernel_desc desc = describe(OP_LINEAR, 2, 2);
    const size_t count = (size_t)blas_count(&desc.outputs[0]);
    blas_engine_set(BLAS_ENGINE_VECTOR);
    float *a = run(&desc);
    blas_engine_set(BLAS_ENGINE_CBLAS);
    float *b = run(&desc);
    blas_engine_set(BLAS_ENGINE_AUTO);
    for (size_t i = 0; i < count; i++) {
        assert_true(fabsf(a[i] - b[i]) <= 2e-4F);
    }
    mem_free(a);
    mem_free(b);
}

static const float *row(const void *source, int64_t m, float *buffer) {
    (void)buffer;
    return (const float *)source + m * 300;
}

#if defined(__x86_64__) /* the one architecture with several variants */
/* All that a variant computes, into out [4 · 40·77]. */
static void compute(const struct vector_ops *vector, float *out) {
    float *x = numbers("x", (size_t)40 * 300);
    float *w = numbers("w", (size_t)77 * 300);
    float *packed = mem_alloc_aligned((size_t)vector->packed_count(300, 77) * sizeof(float));
    float *scratch = mem_alloc_aligned((size_t)vector->gemm_scratch(40, 300) * sizeof(float));
    assert_non_null(packed);
    assert_non_null(scratch);
    vector->pack_columns(w, 300, 300, 77, packed);
    const struct vector_gemm gemm = {.columns = 77,
                                     .depth = 300,
                                     .row = row,
                                     .source = x,
                                     .packed = packed,
                                     .bias = w,
                                     .y = out,
                                     .y_stride = 77,
                                     .scale = 0.05F,
                                     .activation = ACTIVATION_GELU_TANH};
    vector->gemm(&gemm, 0, 40, 0, (77 + vector->panel - 1) / vector->panel, scratch);
    const size_t part = (size_t)40 * 77;
    vector->layer_norm(x, w, w + 77, 1e-5F, 40, 77, out + part);
    memcpy(out + 2 * part, x, part * sizeof(float));
    vector->softmax(out + 2 * part, 40, 77, 77, 0.3F, w);
    float *y = out + 3 * part;
    vector->activate(ACTIVATION_GELU_ERF, x, 1001, y);
    vector->activate(ACTIVATION_SIGMOID, x, 501, y + 1001);
    vector->activate(ACTIVATION_TANH, x, 501, y + 1502);
    mem_free(x);
    mem_free(w);
    mem_free(packed);
    mem_free(scratch);
}

/* Instruction sets with fused multiply-add agree in every bit; the baseline only nearly. */
static void bits_do_not_depend_on_the_register_width(void **state) {
    (void)state;
    const size_t count = (size_t)4 * 40 * 77;
    float *baseline = mem_calloc(count, sizeof(float));
    float *avx2 = mem_calloc(count, sizeof(float));
    float *avx512 = mem_calloc(count, sizeof(float));
    assert_non_null(baseline);
    assert_non_null(avx2);
    assert_non_null(avx512);
    compute(&vector_baseline, baseline);
    if (isa_native() == ISA_AVX2 || isa_native() == ISA_AVX512) {
        compute(&vector_avx2, avx2);
        for (size_t i = 0; i < count; i++) {
            assert_true(fabsf(baseline[i] - avx2[i]) <= 1e-5F * fmaxf(1, fabsf(baseline[i])));
        }
    }
    if (isa_native() == ISA_AVX512) {
        compute(&vector_avx512, avx512);
        assert_memory_equal(avx2, avx512, count * sizeof(float));
    }
    mem_free(baseline);
    mem_free(avx2);
    mem_free(avx512);
}
#endif

/* Numbers of a few bits: the same everywhere, whatever the mathematical library. */
static void count_up(float *values, uint32_t count, uint32_t factor) {
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (float)(int)(i * factor % 1000U) / 256.0F - 2.0F;
    }
}

static uint64_t hash(uint64_t state, const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &values[i], sizeof bits);
        state = (state ^ bits) * UINT64_C(1099511628211);
    }
    return state;
}

/* Clusters mix builds: compilers must leave the chains of operations as they are written. */
static void bits_are_those_of_every_other_build(void **state) {
    (void)state;
    enum { ROWS = 40, DEPTH = 300, COLUMNS = 77, COUNT = ROWS * COLUMNS };
    const struct vector_ops *vector = vector_get();
    if (isa_current() == ISA_BASELINE) {
        print_message("SKIPPED: the recorded bits are those of processors with fused arithmetic\n");
        skip();
    }
    static float x[ROWS * DEPTH];
    static float w[COLUMNS * DEPTH];
    static float y[COUNT];
    float *packed = mem_alloc_aligned((size_t)vector->packed_count(DEPTH, COLUMNS) * sizeof(float));
    float *scratch = mem_alloc_aligned((size_t)vector->gemm_scratch(ROWS, DEPTH) * sizeof(float));
    assert_true(packed != NULL && scratch != NULL);
    count_up(x, ROWS * DEPTH, 7919);
    count_up(w, COLUMNS * DEPTH, 104729);
    vector->pack_columns(w, DEPTH, DEPTH, COLUMNS, packed);
    uint64_t all = 0;
    for (int i = 0; i < ACTIVATION_COUNT; i++) {
        const struct vector_gemm gemm = {.columns = COLUMNS,
                                         .depth = DEPTH,
                                         .row = row,
                                         .source = x,
                                         .packed = packed,
                                         .bias = w,
                                         .y = y,
                                         .y_stride = COLUMNS,
                                         .scale = 0.0625F,
                                         .activation = (enum activation)i};
        vector->gemm(&gemm, 0, ROWS, 0, (COLUMNS + vector->panel - 1) / vector->panel, scratch);
        all = hash(all, y, COUNT);
    }
    vector->layer_norm(x, w, w + COLUMNS, 1e-5F, ROWS, COLUMNS, y);
    all = hash(all, y, COUNT);
    memcpy(y, x, sizeof y);
    vector->softmax(y, ROWS, COLUMNS, COLUMNS, 0.3F, w);
    all = hash(all, y, COUNT);
    mem_free(packed);
    mem_free(scratch);
    print_message("bits %016llx\n", (unsigned long long)all);
    assert_true(all == UINT64_C(0x1b169138e9477fa5));
}

static void functions_are_accurate(void **state) {
    (void)state;
    const struct vector_ops *vector = vector_get();
    for (int i = 0; i <= 13333; i++) {
        const float x = -20 + 0.003F * (float)i; /* to 20 */
        float y = 0;
        const double d = (double)x;
        vector->activate(ACTIVATION_GELU_ERF, &x, 1, &y);
        assert_true(fabs((double)y - 0.5 * d * (1 + erf(d / sqrt(2.0)))) <=
                    4e-7 * fmax(1, fabs(d)));
        vector->activate(ACTIVATION_TANH, &x, 1, &y);
        assert_true(fabs((double)y - tanh(d)) <= 3e-7 * fabs(tanh(d)) + 1e-12);
        vector->activate(ACTIVATION_SIGMOID, &x, 1, &y);
        assert_true(fabs((double)y - 1 / (1 + exp(-d))) <= 3e-7 / (1 + exp(-d)) + 1e-12);
        vector->activate(ACTIVATION_SILU, &x, 1, &y);
        assert_true(fabs((double)y - d / (1 + exp(-d))) <= 4e-7 * fabs(d / (1 + exp(-d))) + 1e-12);
        vector->activate(ACTIVATION_RELU6, &x, 1, &y);
        assert_true(y == fminf(fmaxf(x, 0), 6));
        const double gate = fmin(fmax(d + 3, 0), 6) / 6;
        vector->activate(ACTIVATION_HARD_SIGMOID, &x, 1, &y);
        assert_true(fabs((double)y - gate) <= 2e-7);
        vector->activate(ACTIVATION_HARD_SWISH, &x, 1, &y);
        assert_true(fabs((double)y - d * gate) <= 2e-7 * fabs(d));
    }
}

static void softmax_survives_great_values_and_full_masks_of_others(void **state) {
    (void)state;
    float x[40];
    float mask[40];
    for (int i = 0; i < 40; i++) {
        x[i] = i == 17 ? 1e4F : 1e4F - 1.0F;
        mask[i] = i < 20 ? 0 : -INFINITY;
    }
    vector_get()->softmax(x, 1, 40, 40, 1, mask);
    float sum = 0;
    for (int i = 0; i < 40; i++) {
        assert_true(i < 20 ? x[i] > 0 : x[i] == 0);
        sum += x[i];
    }
    assert_true(fabsf(sum - 1) < 1e-6F && x[17] > x[0] * 2.7F);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_depend_neither_on_batch_nor_on_threads),
        cmocka_unit_test(the_cblas_engine_computes_the_same_function),
#if defined(__x86_64__)
        cmocka_unit_test(bits_do_not_depend_on_the_register_width),
#endif
        cmocka_unit_test(bits_are_those_of_every_other_build),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(softmax_survives_great_values_and_full_masks_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
