/* tensor/: shapes that lie, names, and conversions against every f16 and bf16 bit pattern. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tensor/convert.h"
#include "tensor/tensor.h"

#include <math.h>

static void shapes_that_overflow_are_refused(void **state) {
    (void)state;
    int64_t count;
    size_t bytes;
    const struct shape good = SHAPE(8, 197, 768), negative = SHAPE(2, -1),
                       huge = SHAPE(INT64_C(1) << 40, INT64_C(1) << 40),
                       wide = SHAPE(INT64_C(1) << 62);
    const struct shape scalar = {0};
    assert_true(shape_count(&good, &count) && count == INT64_C(8) * 197 * 768);
    assert_true(shape_bytes(&good, DTYPE_F32, &bytes) && bytes == sizeof(float) * 8 * 197 * 768);
    assert_true(shape_count(&scalar, &count) && count == 1);
    assert_false(shape_count(&negative, &count));
    assert_false(shape_count(&huge, &count));
    assert_false(shape_bytes(&wide, DTYPE_F64, &bytes));
}

static void shapes_print_and_compare(void **state) {
    (void)state;
    char text[SHAPE_TEXT];
    const struct shape a = SHAPE(8, 197, 768), b = SHAPE(8, 197), c = SHAPE(8, 198);
    const struct shape long_one =
        SHAPE(INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX);
    assert_string_equal(shape_format(&a, text), "[8,197,768]");
    assert_true(strlen(shape_format(&long_one, text)) < SHAPE_TEXT);
    assert_true(shape_equal(&a, &a));
    assert_false(shape_equal(&a, &b));
    assert_false(shape_equal(&b, &c));
}

static void dtype_names_round_trip(void **state) {
    (void)state;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        enum dtype back = DTYPE_COUNT;
        assert_true(dtype_parse(dtype_name((enum dtype)i), &back));
        assert_int_equal(back, i);
        assert_true(dtype_size((enum dtype)i) >= 1);
    }
    enum dtype none;
    assert_false(dtype_parse("f33", &none));
}

static void every_half_survives_the_round_trip(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const float half = convert_f16_to_f32((uint16_t)bits),
                    brain = convert_bf16_to_f32((uint16_t)bits);
        if (isnan(half)) {
            assert_true(isnan(convert_f16_to_f32(convert_f32_to_f16(half))));
        } else {
            assert_int_equal(convert_f32_to_f16(half), bits);
        }
        if (isnan(brain)) {
            assert_true(isnan(convert_bf16_to_f32(convert_f32_to_bf16(brain))));
        } else {
            assert_int_equal(convert_f32_to_bf16(brain), bits);
        }
    }
}

/* Between two neighbours: the nearer wins, a tie goes to the even one. */
static void halves_round_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 0x7BFF; bits++) {
        const double low = (double)convert_f16_to_f32((uint16_t)bits),
                     high = (double)convert_f16_to_f32((uint16_t)(bits + 1));
        const double middle = (low + high) / 2;
        const uint32_t even = bits % 2 == 0 ? bits : bits + 1;
        assert_int_equal(convert_f32_to_f16((float)middle), even);
        assert_int_equal(convert_f32_to_f16(nextafterf((float)middle, 0.0F)), bits);
        assert_int_equal(convert_f32_to_f16(nextafterf((float)middle, INFINITY)), bits + 1);
    }
    assert_int_equal(convert_f32_to_f16(65520.0F), 0x7C00);
    assert_int_equal(convert_f32_to_f16(65519.0F), 0x7BFF);
    assert_int_equal(convert_f32_to_f16(-1e30F), 0xFC00);
    assert_int_equal(convert_f32_to_bf16(INFINITY), 0x7F80);
}

static void integers_convert_from_unaligned_bytes(void **state) {
    (void)state;
    unsigned char bytes[1 + 3 * sizeof(int64_t)];
    const int64_t values[3] = {-5, 0, 1 << 20};
    memcpy(bytes + 1, values, sizeof values);
    float out[3];
    assert_true(convert_to_f32(DTYPE_I64, bytes + 1, out, 3));
    assert_true(out[0] == -5.0F && out[1] == 0.0F && out[2] == 1048576.0F);
    const uint8_t small[3] = {0, 128, 255};
    assert_true(convert_to_f32(DTYPE_U8, small, out, 3));
    assert_true(out[2] == 255.0F);
    assert_false(convert_to_f32(DTYPE_BOOL, small, out, 3));
}

/* What ml_dtypes gives for the same values. */
static void small_floats_round_as_the_standard_says(void **state) {
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY, 0,    -0.0, 0.25, 0.75, 5,   -5,
                             0.2, -0.2,     1.25,      1.75, 2.5,  3.5,  7,    -100};
    const struct {
        enum dtype dtype;
        uint8_t codes[17];
    } rows[] = {
        {DTYPE_F4E2M1,
         {0x8, 0x7, 0xf, 0, 0x8, 0, 0x2, 0x6, 0xe, 0, 0x8, 0x2, 0x4, 0x4, 0x6, 0x7, 0xf}},
        {DTYPE_F8E4M3FN,
         {0x7f, 0x7f, 0xff, 0, 0x80, 0x28, 0x34, 0x4a, 0xca, 0x25, 0xa5, 0x3a, 0x3e, 0x42, 0x46,
          0x4e, 0xec}},
        {DTYPE_F8E4M3FNUZ,
         {0x80, 0x80, 0x80, 0, 0, 0x30, 0x3c, 0x52, 0xd2, 0x2d, 0xad, 0x42, 0x46, 0x4a, 0x4e, 0x56,
          0xf4}},
        {DTYPE_F8E5M2,
         {0x7e, 0x7c, 0xfc, 0, 0x80, 0x34, 0x3a, 0x45, 0xc5, 0x32, 0xb2, 0x3d, 0x3f, 0x41, 0x43,
          0x47, 0xd6}},
        {DTYPE_F8E5M2FNUZ,
         {0x80, 0x80, 0x80, 0, 0, 0x38, 0x3e, 0x49, 0xc9, 0x36, 0xb6, 0x41, 0x43, 0x45, 0x47, 0x4b,
          0xda}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int j = 0; j < 17; j++) {
            assert_int_equal(convert_f64_to_f8(rows[i].dtype, values[j], false), rows[i].codes[j]);
        }
    }
    assert_int_equal(convert_f64_to_f8(DTYPE_F8E4M3FN, 464, false), 126); /* a tie */
    assert_int_equal(convert_f64_to_f8(DTYPE_F8E4M3FN, 465, false), 127);
    assert_int_equal(convert_f64_to_f8(DTYPE_F8E4M3FN, -1e300, true), 0xFE);
    assert_int_equal(convert_f64_to_f8(DTYPE_F8E5M2, INFINITY, true), 0x7B);
    assert_int_equal(convert_f64_to_f8(DTYPE_I4, 3, true), 0);
}

static void small_floats_survive_the_round_trip(void **state) {
    (void)state;
    for (int dtype = DTYPE_F8E4M3FN; dtype <= DTYPE_F4E2M1; dtype++) {
        for (unsigned bits = 0; bits < (dtype == DTYPE_F4E2M1 ? 16U : 256U); bits++) {
            const float value = convert_f8_to_f32((enum dtype)dtype, (uint8_t)bits);
            const uint8_t back = convert_f64_to_f8((enum dtype)dtype, (double)value, false);
            if (isnan(value)) {
                assert_true(isnan(convert_f8_to_f32((enum dtype)dtype, back)));
            } else if (value >= 0x1p-126F || dtype != DTYPE_F8E8M0) { /* 2⁻¹²⁷ has a fraction */
                assert_int_equal(back, bits);
            }
        }
    }
    for (uint32_t bits = 0; bits < 65536; bits += 7) {
        const float half = convert_f16_to_f32((uint16_t)bits),
                    brain = convert_bf16_to_f32((uint16_t)bits);
        if (!isnan(half)) {
            assert_int_equal(convert_f64_to_f16((double)half), bits);
        }
        if (!isnan(brain)) {
            assert_int_equal(convert_f64_to_bf16((double)brain), bits);
        }
    }
    assert_int_equal(convert_f64_to_f16(1 + 0x1p-11 + 0x1p-40),
                     0x3C01); /* f32 would make it a tie */
}

static void exponents_round_as_asked(void **state) {
    (void)state;
    assert_int_equal(convert_f64_to_f8e8m0(1, CONVERT_UP, true), 127);
    assert_int_equal(convert_f64_to_f8e8m0(-1.1, CONVERT_UP, true), 128);
    assert_int_equal(convert_f64_to_f8e8m0(1.9, CONVERT_DOWN, true), 127);
    assert_int_equal(convert_f64_to_f8e8m0(1.5, CONVERT_NEAREST, true), 128);
    assert_int_equal(convert_f64_to_f8e8m0(1.4, CONVERT_NEAREST, true), 127);
    assert_int_equal(convert_f64_to_f8e8m0(0x1.8p127, CONVERT_UP, true), 0xFE);
    assert_int_equal(convert_f64_to_f8e8m0(0x1.8p127, CONVERT_UP, false), 0xFF);
    assert_int_equal(convert_f64_to_f8e8m0(-INFINITY, CONVERT_DOWN, true), 0xFF);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_overflow_are_refused),
        cmocka_unit_test(shapes_print_and_compare),
        cmocka_unit_test(dtype_names_round_trip),
        cmocka_unit_test(every_half_survives_the_round_trip),
        cmocka_unit_test(small_floats_round_as_the_standard_says),
        cmocka_unit_test(small_floats_survive_the_round_trip),
        cmocka_unit_test(exponents_round_as_asked),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(integers_convert_from_unaligned_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
