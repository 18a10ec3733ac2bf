#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/digest.h"

#include <stdio.h>
#include <string.h>

/* FIPS 180-4's own examples. */
static void test_known_answers(void **state) {
    (void)state;
    struct digest digest;
    char text[DIGEST_TEXT];
    digest_init(&digest);
    digest_final(&digest, text);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_init(&digest);
    digest_update(&digest, "abc", 3);
    digest_final(&digest, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_parts_equal_the_whole(void **state) {
    (void)state;
    static const char bytes[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (size_t cut = 0; cut < sizeof bytes - 1; cut++) {
        struct digest digest;
        char text[DIGEST_TEXT];
        digest_init(&digest);
        digest_update(&digest, bytes, cut);
        digest_update(&digest, bytes + cut, sizeof bytes - 1 - cut);
        digest_final(&digest, text);
        assert_string_equal(text,
                            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }
}

/* Every length and two cuts against libsodium alone: with the processor's own instructions the
 * blocks between go another way. */
static void test_every_length_is_libsodiums(void **state) {
    (void)state;
    static unsigned char bytes[700];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * i + 11 * i);
    }
    for (size_t size = 0; size <= sizeof bytes; size++) {
        unsigned char hash[crypto_hash_sha256_BYTES];
        char text[DIGEST_TEXT], expected[DIGEST_TEXT];
        (void)crypto_hash_sha256(hash, bytes, size);
        for (size_t i = 0; i < sizeof hash; i++) {
            (void)snprintf(expected + 2 * i, 3, "%02x", hash[i]);
        }
        for (size_t step = 1; step <= 130; step += 43) {
            struct digest digest;
            digest_init(&digest);
            const size_t first = size < step ? size : step, second = (size - first) / 2;
            digest_update(&digest, bytes, first);
            digest_update(&digest, bytes + first, second);
            digest_update(&digest, bytes + first + second, size - first - second);
            digest_final(&digest, text);
            assert_string_equal(text, expected);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_parts_equal_the_whole),
        cmocka_unit_test(test_every_length_is_libsodiums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
