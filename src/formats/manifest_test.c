/* Manifests: stable bytes, and every way in which one from outside can be wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/manifest.h"

#include <stdio.h>
#include <string.h>

#define KEY_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct shoal_error error;

static const struct manifest_entry three[] = {
    {"b.weight", DTYPE_F16, {2, {3, 4}}, 24, KEY_A},
    {"a\"\xc3\xa9", DTYPE_F32, {0, {0}}, 4, KEY_B},
    {"b.bias", DTYPE_F16, {1, {12}}, 24, KEY_A},
};

static void expect_text(const char *part) {
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
}

static void test_the_bytes_are_stable(void **unused) {
    (void)unused;
    static const char expected[] =
        "{\"format\":\"shoal-manifest\",\"tensors\":["
        "{\"bytes\":4,\"dtype\":\"f32\",\"key\":\"" KEY_B
        "\",\"name\":\"a\\\"\xc3\xa9\",\"shape\":[]},"
        "{\"bytes\":24,\"dtype\":\"f16\",\"key\":\"" KEY_A "\",\"name\":\"b.bias\",\"shape\":[12]},"
        "{\"bytes\":24,\"dtype\":\"f16\",\"key\":\"" KEY_A
        "\",\"name\":\"b.weight\",\"shape\":[3,4]}"
        "],\"version\":1}";
    struct manifest manifest, again;
    char *json;
    size_t size;
    assert_int_equal(manifest_create(three, 3, &manifest, &error), SHOAL_OK);
    assert_int_equal(manifest_format(&manifest, &json, &size, &error), SHOAL_OK);
    assert_string_equal(json, expected);
    assert_int_equal(size, strlen(expected));
    assert_int_equal(manifest_parse(json, size, &again, &error), SHOAL_OK);
    mem_free(json);
    assert_int_equal(again.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const struct manifest_entry *found = manifest_find(&again, three[i].name);
        assert_non_null(found);
        assert_int_equal(found->dtype, three[i].dtype);
        assert_true(shape_equal(&found->shape, &three[i].shape));
        assert_int_equal(found->bytes, three[i].bytes);
        assert_string_equal(found->key, three[i].key);
    }
    assert_null(manifest_find(&again, "b"));
    assert_int_equal(manifest_format(&again, &json, &size, &error), SHOAL_OK);
    assert_string_equal(json, expected);
    mem_free(json);
    manifest_fini(&again);
    manifest_fini(&manifest);
}

static void test_an_empty_model(void **unused) {
    (void)unused;
    struct manifest manifest;
    char *json;
    size_t size;
    assert_int_equal(manifest_create(NULL, 0, &manifest, &error), SHOAL_OK);
    assert_null(manifest_find(&manifest, "a"));
    assert_int_equal(manifest_format(&manifest, &json, &size, &error), SHOAL_OK);
    manifest_fini(&manifest);
    assert_int_equal(manifest_parse(json, size, &manifest, &error), SHOAL_OK);
    assert_int_equal(manifest.count, 0);
    manifest_fini(&manifest);
    mem_free(json);
}

static void refuse(struct manifest_entry second, const char *part) {
    const struct manifest_entry both[] = {three[0], second};
    struct manifest manifest;
    assert_int_equal(manifest_create(both, 2, &manifest, &error), SHOAL_INVALID);
    expect_text(part);
}

static void test_what_create_refuses(void **unused) {
    (void)unused;
    static char name[MANIFEST_NAME_LIMIT + 2];
    memset(name, 'n', MANIFEST_NAME_LIMIT + 1);
    refuse((struct manifest_entry){"", DTYPE_U8, {1, {1}}, 1, KEY_B}, "a name of 0 bytes");
    refuse((struct manifest_entry){name, DTYPE_U8, {1, {1}}, 1, KEY_B}, "a name of 513 bytes");
    refuse((struct manifest_entry){"b.weight", DTYPE_U8, {1, {1}}, 1, KEY_B},
           "b.weight is there twice");
    refuse((struct manifest_entry){"c", DTYPE_F32, {1, {1}}, 1, KEY_B}, "c: f32 [1]");
    refuse((struct manifest_entry){"c", DTYPE_U8, {1, {-1}}, 1, KEY_B}, "c: u8");
    refuse((struct manifest_entry){"c", DTYPE_U8, {1, {1}}, 1, "abc"}, "no SHA-256");
    refuse((struct manifest_entry){"c", DTYPE_U8, {1, {1}}, 1, KEY_A}, "b.weight and c");
    refuse((struct manifest_entry){"c", DTYPE_U8, {1, {INT64_MAX}}, INT64_MAX, KEY_B}, "overflow");
    struct manifest manifest;
    assert_int_equal(manifest_create(NULL, MANIFEST_MAX_TENSORS + 1, &manifest, &error),
                     SHOAL_INVALID);
    name[MANIFEST_NAME_LIMIT] = '\0';
    const struct manifest_entry longest = {name, DTYPE_U8, {1, {1}}, 1, KEY_B};
    assert_int_equal(manifest_create(&longest, 1, &manifest, &error), SHOAL_OK);
    manifest_fini(&manifest);
    const struct manifest_entry latin = {"\xe9", DTYPE_U8, {1, {1}}, 1, KEY_B};
    char *json;
    size_t size;
    assert_int_equal(manifest_create(&latin, 1, &manifest, &error), SHOAL_OK);
    assert_int_equal(manifest_format(&manifest, &json, &size, &error), SHOAL_INVALID);
    expect_text("UTF-8");
    manifest_fini(&manifest);
}

#define MANIFEST(tensors) "{\"format\":\"shoal-manifest\",\"tensors\":" tensors ",\"version\":1}"
#define TENSOR(name, dtype, shape, bytes, key)                                    \
    "{\"name\":" name ",\"dtype\":" dtype ",\"shape\":" shape ",\"bytes\":" bytes \
    ",\"key\":\"" key "\"}"

static void test_what_parse_refuses(void **unused) {
    (void)unused;
    static const struct {
        const char *json;
        shoal_status status;
        const char *part;
    } cases[] = {
        {"", SHOAL_CORRUPT, "not valid JSON"},
        {"[]", SHOAL_CORRUPT, "a list"},
        {"{}", SHOAL_CORRUPT, "format"},
        {"{\"format\":\"shoal-manifest\",\"tensors\":[],\"version\":2}", SHOAL_VERSION,
         "version 2"},
        {"{\"format\":\"shoal-manifest\",\"tensors\":[]}", SHOAL_VERSION, "version 0"},
        {"{\"format\":\"shoal-manifest\",\"version\":1}", SHOAL_CORRUPT, "tensors"},
        {"{\"format\":\"shoal-manifest\",\"tensors\":[],\"version\":1,\"x\":1}", SHOAL_CORRUPT,
         "unknown key"},
        {MANIFEST("{}"), SHOAL_CORRUPT, "tensors"},
        {MANIFEST("[3]"), SHOAL_CORRUPT, "tensor 0 is an integer"},
        {MANIFEST("[{}]"), SHOAL_CORRUPT, "name is missing"},
        {MANIFEST("[" TENSOR("7", "\"u8\"", "[1]", "1", KEY_A) "]"), SHOAL_CORRUPT, "name must"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u7\"", "[1]", "1", KEY_A) "]"), SHOAL_UNSUPPORTED, "u7"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "1", "1", KEY_A) "]"), SHOAL_CORRUPT, "shape"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1,1,1,1,1,1,1,1,1]", "1", KEY_A) "]"),
         SHOAL_UNSUPPORTED, "9 dimensions"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1.5]", "1", KEY_A) "]"), SHOAL_CORRUPT, "shape"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[-1]", "1", KEY_A) "]"), SHOAL_CORRUPT, "shape"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1]", "-1", KEY_A) "]"), SHOAL_CORRUPT, "bytes"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1]", "null", KEY_A) "]"), SHOAL_CORRUPT, "bytes"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[2]", "1", KEY_A) "]"), SHOAL_CORRUPT, "tensor t"},
        {MANIFEST("[" TENSOR("\"t\"", "\"f64\"", "[4611686018427387904]", "0", KEY_A) "]"),
         SHOAL_CORRUPT, "tensor t"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1]", "1", "../x") "]"), SHOAL_CORRUPT, "SHA-256"},
        {MANIFEST("[" TENSOR("\"\"", "\"u8\"", "[1]", "1", KEY_A) "]"), SHOAL_CORRUPT, "name"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1]", "1,\"x\":0", KEY_A) "]"), SHOAL_CORRUPT,
         "unknown key"},
        {MANIFEST("[" TENSOR("\"u\"", "\"u8\"", "[1]", "1",
                             KEY_A) "," TENSOR("\"t\"", "\"u8\"", "[1]", "1", KEY_A) "]"),
         SHOAL_CORRUPT, "tensor t is out of order"},
        {MANIFEST("[" TENSOR("\"t\"", "\"u8\"", "[1]", "1",
                             KEY_A) "," TENSOR("\"t\"", "\"u8\"", "[1]", "1", KEY_A) "]"),
         SHOAL_CORRUPT, "twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct manifest manifest;
        const shoal_status status =
            manifest_parse(cases[i].json, strlen(cases[i].json), &manifest, &error);
        if (status != cases[i].status) {
            fail_msg("%s: %s, %s", cases[i].json, shoal_status_text(status), error.text);
        }
        assert_int_equal(error.code, status);
        expect_text(cases[i].part);
        expect_text("manifest");
    }
    struct manifest manifest;
    char *large = mem_calloc(MANIFEST_LIMIT + 1, 1);
    assert_int_equal(manifest_parse(large, MANIFEST_LIMIT + 1, &manifest, &error), SHOAL_CORRUPT);
    mem_free(large);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    struct manifest manifest;
    char *json;
    size_t size;
    uint64_t failures = 0;
    for (uint64_t n = 1;; n++, failures++) {
        mem_fail_after(n);
        const shoal_status status = manifest_create(three, 3, &manifest, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    assert_true(failures > 0);
    mem_fail_after(1);
    const shoal_status status = manifest_format(&manifest, &json, &size, &error);
    mem_fail_after(0);
    assert_int_equal(status, SHOAL_NO_MEMORY);
    assert_int_equal(manifest_format(&manifest, &json, &size, &error), SHOAL_OK);
    manifest_fini(&manifest);
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_after(n);
        const shoal_status parsed = manifest_parse(json, size, &manifest, &error);
        mem_fail_after(0);
        assert_int_equal(parsed, SHOAL_NO_MEMORY);
    }
    mem_free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bytes_are_stable),  cmocka_unit_test(test_an_empty_model),
        cmocka_unit_test(test_what_create_refuses),   cmocka_unit_test(test_what_parse_refuses),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
