/* The message pool: reuse, bounds, homes, failing allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "transport/pool.h"
#include "wire/message.h"

#include <string.h>

static struct pool *new_pool(void) {
    struct pool *pool = NULL;
    assert_int_equal(pool_create(&pool, NULL), SHOAL_OK);
    return pool;
}

static struct message *take(struct pool *pool, size_t size) {
    struct message *message = NULL;
    assert_int_equal(pool_take(pool, size, &message, NULL), SHOAL_OK);
    assert_int_equal((uintptr_t)message->outside.data % 64, 0);
    assert_int_equal(message->outside.size, size);
    assert_true(message->outside.capacity >= size);
    return message;
}

static void test_every_size_fits_with_an_eighth_to_spare(void **state) {
    (void)state;
    struct pool *pool = new_pool();
    for (size_t power = 1; power <= (size_t)1 << 24; power *= 2) {
        for (int delta = -1; delta <= 1; delta++) {
            for (size_t eighths = 8; eighths < 16; eighths++) {
                const size_t size = power * eighths / 8 + (size_t)delta;
                struct message *message = take(pool, size);
                if (size > 1024) {
                    assert_true(message->outside.capacity <= size + (size + 7) / 8 + 1);
                }
                pool_give(message);
            }
        }
    }
    pool_release(pool);
}

static void test_equal_sizes_are_used_again(void **state) {
    (void)state;
    struct pool *pool = new_pool();
    for (int i = 0; i < 3; i++) {
        struct message *a = take(pool, 600000), *b = take(pool, 600000), *c = take(pool, 100);
        memset(a->outside.data, 1, a->outside.capacity);
        memset(b->outside.data, 2, b->outside.capacity);
        assert_int_equal(*(uint8_t *)a->outside.data, 1);
        pool_give(a);
        pool_give(b);
        pool_give(c);
    }
    const uint64_t before = mem_allocation_count();
    for (int i = 0; i < 100; i++) {
        struct message *a = take(pool, 600000), *b = take(pool, 599990);
        pool_give(b);
        pool_give(a);
    }
    assert_true(mem_allocation_count() == before);
    size_t bytes = 0, peak = 0;
    pool_measure(pool, &bytes, &peak);
    assert_true(bytes >= 1200000 && bytes < 1500000 && peak == bytes);
    pool_release(pool);
}

static void test_idle_bytes_are_bounded(void **state) {
    (void)state;
    struct pool *pool = new_pool();
    const uint64_t stream = random_stream(1, "pool_test");
    size_t largest = 0;
    for (uint64_t i = 0; i < 2000; i++) { /* one at a time, of many sizes */
        const size_t size = 1000 + random_u32(stream, i) % 4000000;
        struct message *message = take(pool, size);
        largest = message->outside.capacity > largest ? message->outside.capacity : largest;
        pool_give(message);
    }
    size_t bytes = 0, peak = 0;
    pool_measure(pool, &bytes, &peak);
    assert_true(bytes <= 2 * (largest + 4096) + ((size_t)1 << 20));
    pool_release(pool);
}

static void test_messages_outlive_their_owner(void **state) {
    (void)state;
    struct pool *pool = new_pool();
    struct message *a = take(pool, 5000), *b = take(pool, 5000);
    pool_give(b);
    pool_release(pool);
    memset(a->outside.data, 3, 5000);
    pool_give(a); /* a sanitizer sees what is lost or freed twice */
}

static void test_take_invalid(void **state) {
    (void)state;
    struct pool *pool = new_pool();
    struct message *message = NULL;
    assert_int_equal(pool_take(pool, WIRE_MAX_MESSAGE_BYTES + 1, &message, NULL), SHOAL_INVALID);
    assert_int_equal(pool_take(pool, SIZE_MAX, &message, NULL), SHOAL_INVALID);
    assert_null(message);
    pool_release(pool);
}

static void test_no_memory(void **state) {
    (void)state;
    struct pool *pool = NULL;
    mem_fail_after(1);
    assert_int_equal(pool_create(&pool, NULL), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_null(pool);
    pool = new_pool();
    struct message *message = NULL;
    mem_fail_after(1);
    assert_int_equal(pool_take(pool, 10, &message, NULL), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_null(message);
    pool_release(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_fits_with_an_eighth_to_spare),
        cmocka_unit_test(test_equal_sizes_are_used_again),
        cmocka_unit_test(test_idle_bytes_are_bounded),
        cmocka_unit_test(test_messages_outlive_their_owner),
        cmocka_unit_test(test_take_invalid),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
