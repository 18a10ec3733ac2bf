#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What kernels/quantise.h and kernels/vector/narrow.h promise. */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/isa.h"
#include "kernels/vector/narrow.h"
#include "platform/cpu.h"

#include <math.h>
#include <string.h>

static const enum precision precisions[] = {PRECISION_BF16, PRECISION_I8, PRECISION_W8,
                                            PRECISION_W4};
enum { KINDS = sizeof precisions / sizeof precisions[0] };

static float *numbers(const char *name, int64_t count) {
    float *values = mem_alloc_aligned((size_t)count * sizeof(float));
    assert_non_null(values);
    random_normal(random_stream(11, name), 0, 1.0F, values, (size_t)count);
    return values;
}

struct rows {
    const float *data;
    int64_t stride;
};

static const void *row(const void *source, int64_t m, void *buffer) {
    (void)buffer;
    const struct rows *rows = source;
    return rows->data + m * rows->stride;
}

struct problem {
    enum precision precision;
    int64_t rows, depth, columns;
};

/* y [rows,columns] of the problem by one variant; x [rows,depth], w [columns,depth]. */
static void compute(const struct narrow_ops *ops, const struct problem *p, const float *x,
                    const float *w, float *y) {
    unsigned char *packed =
        mem_alloc_aligned(ops->packed_bytes(p->precision, p->depth, p->columns));
    unsigned char *scratch = mem_alloc_aligned(ops->scratch_bytes(p->precision, p->rows, p->depth));
    assert_true(packed != NULL && scratch != NULL);
    const struct rows source = {x, p->depth};
    const struct narrow_gemm gemm = {.precision = p->precision,
                                     .columns = p->columns,
                                     .depth = p->depth,
                                     .row = row,
                                     .source = &source,
                                     .packed = packed,
                                     .bias = w,
                                     .y = y,
                                     .y_stride = p->columns,
                                     .activation = ACTIVATION_GELU_TANH};
    ops->pack(p->precision, w, p->depth, p->depth, p->columns, packed);
    ops->gemm(&gemm, 0, p->rows, 0, (p->columns + ops->panel - 1) / ops->panel, scratch);
    mem_free(packed);
    mem_free(scratch);
}

/* Those this processor has, baseline last; returns how many. */
static int variants(const struct narrow_ops *out[5]) {
    int count = 0;
#if defined(__x86_64__)
    struct cpu_features features;
    cpu_features_get(&features);
    const enum isa isa = isa_native();
    if (isa == ISA_AVX512) {
        out[count++] = &narrow_avx512;
    }
    if (isa == ISA_AVX512 && features.avx512_vnni) {
        out[count++] = &narrow_avx512_vnni;
    }
    if (isa == ISA_AVX512 && features.avx512_bf16) {
        out[count++] = &narrow_avx512_bf16;
    }
    if (isa == ISA_AVX512 || isa == ISA_AVX2) {
        out[count++] = &narrow_avx2;
    }
#elif defined(__aarch64__)
    struct cpu_features features;
    cpu_features_get(&features);
    if (features.dotprod) {
        out[count++] = &narrow_dotprod;
    }
#endif
    out[count++] = &narrow_baseline;
    return count;
}

/* Without fused multiply-add, a sum is rounded twice as often, and a value that lies between two
 * steps may fall on the other side. */
static bool is_exact(const struct narrow_ops *ops) {
#if defined(__x86_64__)
    return ops != &narrow_baseline;
#else
    (void)ops;
    return true;
#endif
}

static void expect_agreement(const struct problem *p) {
    const struct narrow_ops *all[5];
    const int count = variants(all);
    const int64_t results = p->rows * p->columns;
    float *x = numbers("x", p->rows * p->depth);
    float *w = numbers("w", p->columns * p->depth);
    float *first = numbers("first", results);
    float *other = numbers("other", results);
    compute(all[0], p, x, w, first);
    const float near = 0.02F * sqrtf((float)p->depth);
    for (int v = 1; v < count; v++) {
        compute(all[v], p, x, w, other);
        if (is_exact(all[v])) {
            assert_memory_equal(first, other, (size_t)results * sizeof(float));
        }
        for (int64_t i = 0; i < results; i++) {
            assert_true(fabsf(first[i] - other[i]) <= near);
        }
    }
    mem_free(x);
    mem_free(w);
    mem_free(first);
    mem_free(other);
}

static void bits_do_not_depend_on_the_instruction_set(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1},    {3, 33, 35},   {40, 300, 77},
                                        {1, 700, 40}, {230, 67, 16}, {16, 2100, 33}};
    for (int k = 0; k < KINDS; k++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            expect_agreement(
                &(struct problem){precisions[k], shapes[s][0], shapes[s][1], shapes[s][2]});
        }
    }
}

/* A row that quantises to nothing, one of a single value, one that is not finite: the neighbours
 * do not notice. */
static void odd_rows_stay_among_themselves(void **state) {
    (void)state;
    enum { ROWS = 4, DEPTH = 90, COLUMNS = 37 };
    const struct narrow_ops *all[5];
    const int count = variants(all);
    float *x = numbers("x", ROWS * DEPTH);
    float *w = numbers("w", COLUMNS * DEPTH);
    float clean[COLUMNS];
    float y[ROWS * COLUMNS];
    for (int i = 0; i < DEPTH; i++) {
        x[i] = 0;
        x[DEPTH + i] = i == 7 ? 1e-38F : 0;
        x[2 * DEPTH + i] = i == 3 ? INFINITY : i == 4 ? NAN : 1;
    }
    for (int k = 0; k < KINDS; k++) {
        for (int v = 0; v < count; v++) {
            struct problem p = {precisions[k], 1, DEPTH, COLUMNS};
            compute(all[v], &p, x + (ptrdiff_t)3 * DEPTH, w, clean);
            p.rows = ROWS;
            compute(all[v], &p, x, w, y);
            assert_memory_equal(y + (ptrdiff_t)3 * COLUMNS, clean, sizeof clean);
            for (int n = 0; n < COLUMNS; n++) {
                assert_true(fabsf(y[n] - y[COLUMNS + n]) <= 1e-30F); /* the bias, both */
                assert_true(!isfinite(y[2 * COLUMNS + n]));
            }
        }
    }
    mem_free(x);
    mem_free(w);
}

static void activations_come_back_within_half_a_step(void **state) {
    (void)state;
    float *x = numbers("x", 1000);
    for (int shift = 0; shift < 3; shift++) {
        float low = 0;
        float high = 0;
        for (int i = 0; i < 1000; i++) {
            x[i] += (float)shift * 2; /* mostly positive in the end */
            low = fminf(low, x[i]);
            high = fmaxf(high, x[i]);
        }
        const struct quant_range range = quant_range(low, high);
        assert_true(range.zero >= 0 && range.zero <= 255);
        assert_true(fabsf(quant_u8(0, range) - (float)range.zero) < 0.5F);
        for (int i = 0; i < 1000; i++) {
            const float back = range.scale * (quant_u8(x[i], range) - (float)range.zero);
            /* at the ends the zero's own rounding may cost another half */
            assert_true(fabsf(back - x[i]) <= 1.001F * range.scale);
        }
    }
    mem_free(x);
}

static void weights_come_back_within_half_a_step(void **state) {
    (void)state;
    float *w = numbers("w", QUANT_GROUP);
    float peak = 0;
    for (int i = 0; i < QUANT_GROUP; i++) {
        peak = fabsf(w[i]) > fabsf(peak) ? w[i] : peak;
    }
    const struct quant_range eight = quant_i8_range(fabsf(peak));
    uint16_t bits = 0;
    const struct quant_range four = quant_w4_range(peak, &bits);
    for (int i = 0; i < QUANT_GROUP; i++) {
        assert_true(fabsf(eight.scale * quant_i8(w[i], eight) - w[i]) <= 0.501F * eight.scale);
        /* +8 does not exist: the value opposite to the peak may be a whole step away */
        assert_true(fabsf(four.scale * quant_w4(w[i], four) - w[i]) <= 1.01F * fabsf(four.scale));
    }
    assert_true(quant_w4_range(0, &bits).factor == 0 && bits == 0x8000);
    mem_free(w);
}

/* Scales included: a twentieth over 4 bits a weight would already be too much. */
static void four_bits_take_little_memory(void **state) {
    (void)state;
    const struct narrow_ops *all[5];
    const int count = variants(all);
    for (int v = 0; v < count; v++) {
        const double full = 4.0 * 1024 * 4096;
        assert_true((double)all[v]->packed_bytes(PRECISION_W4, 1024, 4096) <= 0.1407 * full);
        assert_true((double)all[v]->packed_bytes(PRECISION_I8, 1024, 4096) <= 0.2525 * full);
        assert_true((double)all[v]->packed_bytes(PRECISION_W8, 1024, 4096) <= 0.2515 * full);
        assert_true((double)all[v]->packed_bytes(PRECISION_BF16, 1024, 4096) <= 0.5 * full);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_the_instruction_set),
        cmocka_unit_test(odd_rows_stay_among_themselves),
        cmocka_unit_test(activations_come_back_within_half_a_step),
        cmocka_unit_test(weights_come_back_within_half_a_step),
        cmocka_unit_test(four_bits_take_little_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
