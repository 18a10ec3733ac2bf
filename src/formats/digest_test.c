#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/digest.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_parts_equal_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
