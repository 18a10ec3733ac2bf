#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/memory_plan.h"

#include <stdbool.h>

#define TIMES 40

static size_t live_peak(const struct memory_block *blocks, uint32_t count) {
    size_t peak = 0;
    for (uint32_t time = 0; time < TIMES; time++) {
        size_t sum = 0;
        for (uint32_t i = 0; i < count; i++) {
            sum += blocks[i].first <= time && time <= blocks[i].last ? blocks[i].bytes : 0;
        }
        peak = sum > peak ? sum : peak;
    }
    return peak;
}

static void check(const struct memory_block *blocks, uint32_t count, size_t total) {
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(blocks[i].offset % MEM_ALIGNMENT, 0);
        assert_true(blocks[i].offset + blocks[i].bytes <= total);
        for (uint32_t j = 0; j < i; j++) {
            const bool together =
                blocks[i].first <= blocks[j].last && blocks[j].first <= blocks[i].last;
            const bool apart = blocks[i].offset + blocks[i].bytes <= blocks[j].offset ||
                               blocks[j].offset + blocks[j].bytes <= blocks[i].offset;
            assert_true(!together || apart);
        }
    }
    assert_true(total >= live_peak(blocks, count));
}

static void test_random_lifetimes_never_overlap(void **state) {
    (void)state;
    size_t planned = 0, least = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct memory_block blocks[60];
        const uint32_t count = random_u32(seed, 0) % 60;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t first = random_u32(seed, 1 + 3 * i) % TIMES;
            const uint32_t length = random_u32(seed, 2 + 3 * i) % 6;
            blocks[i] =
                (struct memory_block){1 + random_u32(seed, 3 + 3 * i) % 5000, first,
                                      first + length < TIMES ? first + length : TIMES - 1, 0};
        }
        size_t total = 0;
        assert_int_equal(memory_plan(blocks, count, &total, NULL), SHOAL_OK);
        check(blocks, count, total);
        planned += total;
        least += live_peak(blocks, count);
    }
    /* A greedy plan is not the best one; one that shared nothing would take about 6 times as much.
     */
    assert_true((double)planned < 1.25 * (double)least);
}

static void test_disjoint_lifetimes_share(void **state) {
    (void)state;
    struct memory_block blocks[] = {
        {1000, 0, 1, 0}, {900, 1, 2, 0}, {1000, 2, 3, 0}, {900, 3, 4, 0}};
    size_t total = 0;
    assert_int_equal(memory_plan(blocks, 4, &total, NULL), SHOAL_OK);
    check(blocks, 4, total);
    assert_int_equal(total, 1024 + 960);
}

static void test_errors(void **state) {
    (void)state;
    struct memory_block blocks[] = {{SIZE_MAX / 2, 0, 1, 0}, {SIZE_MAX / 2, 1, 2, 0}};
    size_t total = 77;
    assert_int_equal(memory_plan(blocks, 2, &total, NULL), SHOAL_INVALID);
    mem_fail_after(1);
    assert_int_equal(memory_plan(blocks, 1, &total, NULL), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_int_equal(total, 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_lifetimes_never_overlap),
        cmocka_unit_test(test_disjoint_lifetimes_share),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
