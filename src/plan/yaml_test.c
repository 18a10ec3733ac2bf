/* The strict YAML reader: what it takes, and that each refusal names file, line and key. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "plan/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct shoal_error error;

static struct yaml *parse(const char *text) {
    struct yaml *yaml;
    if (yaml_read_text("f.yml", text, strlen(text), &yaml, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return yaml;
}

static struct yaml_item get(struct yaml_item map, const char *key) {
    struct yaml_item item;
    assert_int_equal(yaml_get(map, key, &item, &error), SHOAL_OK);
    return item;
}

static void expect(shoal_status got, shoal_status want, const char *text) {
    assert_int_equal(got, want);
    assert_int_equal(error.code, want);
    assert_string_equal(error.text, text);
}

static void test_reads_maps_lists_and_scalars(void **unused) {
    (void)unused;
    struct yaml *yaml = parse("a: {x: 1.5e1, y: -2}\nb: [1, 2, 3]\nc: text\nd: '7'\ne:\nf: "
                              "true\ng: 18446744073709551615\n");
    const struct yaml_item root = yaml_root(yaml);
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", NULL};
    assert_int_equal(yaml_check_keys(root, keys, &error), SHOAL_OK);
    assert_int_equal(yaml_count(root), 7);
    double number;
    uint64_t whole;
    const char *text;
    bool truth = false;
    assert_int_equal(yaml_double(get(get(root, "a"), "x"), &number, &error), SHOAL_OK);
    assert_true(number == 15.0);
    assert_int_equal(yaml_double(get(get(root, "a"), "y"), &number, &error), SHOAL_OK);
    assert_true(number == -2.0);
    struct yaml_item item;
    assert_true(yaml_is_list(get(root, "b")));
    yaml_list_at(get(root, "b"), 2, &item);
    assert_int_equal(yaml_u64(item, &whole, &error), SHOAL_OK);
    assert_int_equal(whole, 3);
    assert_int_equal(yaml_string(get(root, "d"), &text, &error), SHOAL_OK);
    assert_string_equal(text, "7");
    assert_true(yaml_is_null(get(root, "e")));
    assert_false(yaml_is_null(get(root, "c")));
    assert_int_equal(yaml_bool(get(root, "f"), &truth, &error), SHOAL_OK);
    assert_true(truth);
    assert_int_equal(yaml_u64(get(root, "g"), &whole, &error), SHOAL_OK);
    assert_true(whole == UINT64_MAX);
    assert_false(yaml_has(root, "h"));
    yaml_destroy(yaml);
}

static void test_follows_aliases(void **unused) {
    (void)unused;
    struct yaml *yaml = parse("a: &shared [1, 2]\nb: *shared\n");
    assert_int_equal(yaml_count(get(yaml_root(yaml), "b")), 2);
    yaml_destroy(yaml);
}

static void test_an_empty_document_is_null(void **unused) {
    (void)unused;
    struct yaml *yaml = parse("# nothing\n");
    assert_true(yaml_is_null(yaml_root(yaml)));
    expect(yaml_check_map(yaml_root(yaml), &error), SHOAL_CORRUPT, "f.yml:1: a map is expected");
    yaml_destroy(yaml);
}

static void test_what_costs_too_much_is_refused(void **unused) {
    (void)unused;
    enum { BYTES = 100000 };
    char *text = calloc(1, BYTES + 16);
    assert_non_null(text);
    memset(text, '[', BYTES);
    struct yaml *yaml;
    expect(yaml_read_text("f.yml", text, BYTES, &yaml, &error), SHOAL_CORRUPT,
           "f.yml:1: lists and maps nest deeper than 64");
    size_t used = 0;
    for (int i = 0; i < 2000; i++) {
        used += (size_t)snprintf(text + used, BYTES - used, "- &a%d x\n", i);
    }
    expect(yaml_read_text("f.yml", text, used, &yaml, &error), SHOAL_CORRUPT,
           "f.yml:1025: more than 1024 anchors");
    free(text);
}

static void test_unknown_duplicate_and_missing_keys(void **unused) {
    (void)unused;
    static const char *const keys[] = {"a", "b", NULL};
    struct yaml *yaml = parse("a: 1\n\nz: 2\n");
    expect(yaml_check_keys(yaml_root(yaml), keys, &error), SHOAL_CORRUPT,
           "f.yml:3: key z: unknown key; known here: a, b");
    struct yaml_item item;
    expect(yaml_get(yaml_root(yaml), "b", &item, &error), SHOAL_NOT_FOUND, "f.yml:1: has no \"b\"");
    yaml_destroy(yaml);
    yaml = parse("a: 1\nb: 2\na: 3\n");
    assert_int_equal(yaml_check_keys(yaml_root(yaml), keys, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "key a: stands there twice"));
    yaml_destroy(yaml);
    yaml = parse("[a, b]: 1\n");
    assert_int_equal(yaml_check_keys(yaml_root(yaml), keys, &error), SHOAL_CORRUPT);
    yaml_destroy(yaml);
}

static void test_wrong_types(void **unused) {
    (void)unused;
    struct yaml *yaml = parse("m: {}\nl: []\nn: 12\nq: '12'\nx: 0x1p3\ni: .inf\nh: 1e999\nneg: "
                              "-1\nbig: 18446744073709551616\n"
                              "e:\nz: \"a\\0b\"\nhalf: 1.5\n");
    const struct yaml_item root = yaml_root(yaml);
    double number;
    uint64_t whole;
    const char *text;
    bool truth;
    expect(yaml_check_map(get(root, "l"), &error), SHOAL_CORRUPT,
           "f.yml:2: key l: a map is expected");
    expect(yaml_double(get(root, "q"), &number, &error), SHOAL_CORRUPT,
           "f.yml:4: key q: a number is expected, not \"…\"");
    static const char *const no_numbers[] = {"m", "l", "q", "x", "i", "h", "e", "z"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof no_numbers[0]; i++) {
        assert_int_equal(yaml_double(get(root, no_numbers[i]), &number, &error), SHOAL_CORRUPT);
    }
    static const char *const no_whole[] = {"neg", "big", "half", "q", "m", "e"};
    for (size_t i = 0; i < sizeof no_whole / sizeof no_whole[0]; i++) {
        assert_int_equal(yaml_u64(get(root, no_whole[i]), &whole, &error), SHOAL_CORRUPT);
    }
    static const char *const no_text[] = {"m", "l", "e", "z"};
    for (size_t i = 0; i < sizeof no_text / sizeof no_text[0]; i++) {
        assert_int_equal(yaml_string(get(root, no_text[i]), &text, &error), SHOAL_CORRUPT);
    }
    expect(yaml_bool(get(root, "n"), &truth, &error), SHOAL_CORRUPT,
           "f.yml:3: key n: true or false is expected, not \"12\"");
    yaml_destroy(yaml);
}

static void test_malformed_text(void **unused) {
    (void)unused;
    struct yaml *yaml;
    static const char *const bad[] = {"a: [1, 2\n",    "a: b: c\n",         "\x80\xff",
                                      "a: *nowhere\n", "a: 1\n---\nb: 2\n", "a: 1\n---\n[",
                                      "\t- x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(yaml_read_text("f.yml", bad[i], strlen(bad[i]), &yaml, &error),
                         SHOAL_CORRUPT);
        assert_memory_equal(error.text, "f.yml:", 6);
    }
    expect(yaml_read_text("f.yml", "a: 1\n---\nb: 2\n", 14, &yaml, &error), SHOAL_CORRUPT,
           "f.yml:2: a second document; one is expected");
}

static void test_files(void **unused) {
    (void)unused;
    struct yaml *yaml;
    assert_int_equal(yaml_read_file("/nowhere/f.yml", &yaml, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nowhere/f.yml"));
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    for (uint64_t n = 1; n <= 2; n++) {
        struct yaml *yaml;
        mem_fail_after(n);
        const shoal_status status = yaml_read_text("f.yml", "a: 1", 4, &yaml, &error);
        mem_fail_after(0);
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    struct yaml *yaml = parse("a: 1");
    mem_fail_after(1);
    const shoal_status status = yaml_check_map(yaml_root(yaml), &error);
    mem_fail_after(0);
    assert_int_equal(status, SHOAL_NO_MEMORY);
    yaml_destroy(yaml);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_maps_lists_and_scalars),
        cmocka_unit_test(test_follows_aliases),
        cmocka_unit_test(test_an_empty_document_is_null),
        cmocka_unit_test(test_what_costs_too_much_is_refused),
        cmocka_unit_test(test_unknown_duplicate_and_missing_keys),
        cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_malformed_text),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
