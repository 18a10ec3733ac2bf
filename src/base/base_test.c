/* base/: errors, memory, arena, checked arithmetic, random numbers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/base64.h"
#include "base/checked.h"
#include "base/log.h"
#include "base/median.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/status.h"
#include "base/units.h"

#include <errno.h>

static void every_status_has_text_and_class(void **state) {
    (void)state;
    for (int i = 0; i <= SHOAL_INTERNAL; i++) {
        assert_string_not_equal(shoal_status_text((shoal_status)i), "unknown status");
        assert_int_equal(shoal_status_classify((shoal_status)i) == SHOAL_CLASS_NONE, i == SHOAL_OK);
    }
    assert_string_equal(shoal_status_text((shoal_status)999), "unknown status");
    assert_int_equal(shoal_status_classify((shoal_status)999), SHOAL_CLASS_BUG);
}

static void errors_are_set_and_wrapped(void **state) {
    (void)state;
    struct shoal_error error;
    assert_int_equal(error_set(&error, SHOAL_CORRUPT, "header of %d bytes", 7), SHOAL_CORRUPT);
    assert_int_equal(error_wrap(&error, SHOAL_CORRUPT, "%s", "a.bin"), SHOAL_CORRUPT);
    assert_string_equal(error.text, "a.bin: header of 7 bytes");
    assert_int_equal(error_errno(&error, ENOSPC, "%s", "x"), SHOAL_NO_SPACE);
    assert_int_equal(error_errno(&error, ENOENT, "%s", "x"), SHOAL_NOT_FOUND);
    assert_int_equal(error_errno(&error, ENOMEM, "%s", "x"), SHOAL_NO_MEMORY);
    assert_int_equal(error_errno(&error, EACCES, "%s", "x"), SHOAL_IO);
    assert_non_null(strstr(error.text, "x: "));
    assert_int_equal(error_set(NULL, SHOAL_IO, "nobody listens"), SHOAL_IO);
}

static void long_error_texts_are_cut_not_overrun(void **state) {
    (void)state;
    struct shoal_error error;
    char big[2 * SHOAL_ERROR_TEXT];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)error_set(&error, SHOAL_IO, "%s", big);
    assert_int_equal(strlen(error.text), SHOAL_ERROR_TEXT - 1);
    (void)error_wrap(&error, SHOAL_IO, "%s", big);
    assert_int_equal(strlen(error.text), SHOAL_ERROR_TEXT - 1);
}

static void checked_arithmetic_sees_overflow(void **state) {
    (void)state;
    size_t size;
    int64_t number;
    assert_true(checked_mul_size(3, 5, &size) && size == 15);
    assert_false(checked_mul_size(SIZE_MAX / 2, 3, &size));
    assert_false(checked_add_size(SIZE_MAX, 1, &size));
    assert_false(checked_mul_i64(INT64_MAX, 2, &number));
    assert_false(checked_add_i64(INT64_MAX, 1, &number));
    assert_int_equal(round_up_size(65, 64), 128);
}

static void allocations_are_counted_and_can_be_made_to_fail(void **state) {
    (void)state;
    const uint64_t before = mem_allocation_count();
    void *a = mem_alloc_aligned(100);
    assert_non_null(a);
    assert_int_equal((uintptr_t)a % MEM_ALIGNMENT, 0);
    assert_int_equal(mem_allocation_count(), before + 1);
    mem_fail_after(2);
    void *b = mem_alloc(8);
    assert_non_null(b);
    assert_null(mem_alloc(8));
    assert_null(mem_strdup("x"));
    mem_fail_after(0);
    mem_free(a);
    mem_free(b);
    assert_null(mem_calloc(SIZE_MAX, 2));
}

static void arena_keeps_all_until_fini(void **state) {
    (void)state;
    struct arena arena;
    arena_init(&arena);
    char *texts[200];
    for (int i = 0; i < 200; i++) {
        texts[i] = arena_format(&arena, "text %d", i);
        assert_non_null(texts[i]);
        const unsigned char *zeroed = arena_alloc(&arena, 500);
        for (int k = 0; k < 500; k++) {
            assert_int_equal(zeroed[k], 0);
        }
    }
    assert_non_null(arena_alloc(&arena, 100000)); /* larger than a block */
    assert_string_equal(texts[7], "text 7");
    assert_string_equal(texts[199], "text 199");
    arena_fini(&arena);
}

/* Known answers of Philox4x32-10 from its authors' test vectors (Random123, kat_vectors). */
static void philox_gives_its_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t out[4];
        random_block(cases[i].counter, cases[i].key, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void random_numbers_depend_on_index_alone(void **state) {
    (void)state;
    const uint64_t stream = random_stream(42, "vit.layernorm.weight");
    float whole[103], part[40];
    random_normal(stream, 0, 0.5F, whole, 103);
    for (uint64_t first = 0; first < 60; first++) {
        random_normal(stream, first, 0.5F, part, 40);
        assert_memory_equal(part, whole + first, sizeof part);
    }
    random_uniform(stream, 0, -1.0F, 3.0F, whole, 103);
    random_uniform(stream, 5, -1.0F, 3.0F, part, 40);
    assert_memory_equal(part, whole + 5, sizeof part);
    assert_true(random_stream(42, "a") != random_stream(42, "b"));
    assert_true(random_stream(42, "a") != random_stream(43, "a"));
    assert_true(random_u32(stream, 5) != random_u32(stream, 6));
}

static void normal_numbers_have_their_moments(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    float *values = malloc(COUNT * sizeof *values);
    assert_non_null(values);
    random_normal(random_stream(1, "moments"), 0, 2.0F, values, COUNT);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(isfinite(values[i]));
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    assert_true(fabs(sum / COUNT) < 0.02);           /* 4.5 standard errors */
    assert_true(fabs(squares / COUNT - 4.0) < 0.06); /* 4.7 standard errors */
    free(values);
}

static void the_median_is_the_middle_one(void **state) {
    (void)state;
    double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2}, one[] = {7};
    assert_true(median_sort(odd, 3) == 5);
    assert_true(odd[0] == 1 && odd[2] == 9);
    assert_true(median_sort(even, 4) == 3);
    assert_true(median_sort(one, 1) == 7);
}

static void sizes_rates_and_times_have_their_units(void **state) {
    (void)state;
    size_t size;
    double value;
    assert_true(units_parse_size("1.5G", &size) && size == (size_t)3 << 29);
    assert_true(units_parse_size("2GiB", &size) && size == (size_t)2 << 30);
    assert_true(units_parse_size("0", &size) && size == 0);
    assert_true(units_parse_rate("80Mbit", &value) && value == 1e7);
    assert_true(units_parse_rate("1.5kbit/s", &value) && value == 187.5);
    assert_true(units_parse_time("3ms", &value) && fabs(value - 3e-3) < 1e-15);
    assert_true(units_parse_time("200us", &value) && fabs(value - 2e-4) < 1e-15);
    assert_true(units_parse_time("0s", &value) && value == 0);
    static const char *const wrong[] = {"",     "G",        "-1G",  "+1G",    " 1G",   "1 G",
                                        "0x1G", "nan",      "inf",  "1e999",  "1.2.3", "1GG",
                                        "1Gb",  "9999999T", "1,5G", "1Mbit/", "1mbit", "1min"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (units_parse_size(wrong[i], &size) || units_parse_rate(wrong[i], &value) ||
            units_parse_time(wrong[i], &value)) {
            fail_msg("'%s' was taken for a quantity", wrong[i]);
        }
    }
    assert_false(units_parse_rate("7bit", &value));
    assert_false(units_parse_rate("11000Gbit", &value));
    assert_false(units_parse_time("3601s", &value));
    assert_false(units_parse_time("3", &value));
}

static void log_levels_parse(void **state) {
    (void)state;
    enum log_level level = LOG_ERROR;
    assert_true(log_parse_level("debug", &level) && level == LOG_DEBUG);
    assert_false(log_parse_level("loud", &level));
    log_set_level(LOG_WARN);
    assert_true(log_enabled(LOG_ERROR));
    assert_false(log_enabled(LOG_INFO));
}

static void base64_is_exact(void **state) {
    (void)state;
    static const struct {
        const char *plain, *text;
    } known[] = {/* RFC 4648, section 10 */
                 {"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};
    char text[16], plain[16];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const size_t size = strlen(known[i].plain);
        base64_encode(known[i].plain, size, text);
        assert_string_equal(text, known[i].text);
        assert_int_equal(base64_length(size), strlen(text));
        assert_true(base64_decode(text, strlen(text), plain, size));
        assert_memory_equal(plain, known[i].plain, size);
    }
    static const struct {
        const char *text;
        size_t size;
    } wrong[] = {{"Zg==", 2}, {"Zg=", 1},  {"Zh==", 1},   {"Zm9=", 2}, {"Z===", 1},
                 {"Zg=A", 1}, {"Zm-v", 3}, {"Zm9v\n", 3}, {"Zm8=", 3}, {"", SIZE_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_false(base64_decode(wrong[i].text, strlen(wrong[i].text), plain, wrong[i].size));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_text_and_class),
        cmocka_unit_test(errors_are_set_and_wrapped),
        cmocka_unit_test(long_error_texts_are_cut_not_overrun),
        cmocka_unit_test(checked_arithmetic_sees_overflow),
        cmocka_unit_test(allocations_are_counted_and_can_be_made_to_fail),
        cmocka_unit_test(arena_keeps_all_until_fini),
        cmocka_unit_test(philox_gives_its_known_answers),
        cmocka_unit_test(random_numbers_depend_on_index_alone),
        cmocka_unit_test(normal_numbers_have_their_moments),
        cmocka_unit_test(the_median_is_the_middle_one),
        cmocka_unit_test(sizes_rates_and_times_have_their_units),
        cmocka_unit_test(log_levels_parse),
        cmocka_unit_test(base64_is_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
