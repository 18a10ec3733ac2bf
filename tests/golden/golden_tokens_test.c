/*
 * Ids of text against transformers: a small vocabulary with nasty lines under four settings, and
 * 10,000 lines of real text with bert-base-uncased's vocabulary (texts.txt). Those are not part of
 * the project: the test looks for $SHOAL_SHARED, by default ../shared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/digest.h"
#include "formats/wordpiece.h"
#include "golden.h"
#include "platform/file.h"

#include <string.h>

#define LENGTH 64 /* as in tools/golden/make_tokens.py */

static int32_t ids[2 * LENGTH], types[2 * LENGTH];

/* The line from *at on, which moves behind it; NULL at the end. */
static const char *next_line(const char **at, const char *end, size_t *size) {
    const char *line = *at;
    if (line == NULL || line >= end) {
        return NULL;
    }
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    *size = (size_t)((newline != NULL ? newline : end) - line);
    *at = newline != NULL ? newline + 1 : end;
    return line;
}

/* A pair where there is a TAB. */
static size_t encode(const struct wordpiece *wordpiece, const char *line, size_t size) {
    const char *tab = memchr(line, '\t', size);
    const struct wordpiece_text first = {line, tab != NULL ? (size_t)(tab - line) : size};
    const struct wordpiece_text second = {tab != NULL ? tab + 1 : line,
                                          tab != NULL ? size - first.size - 1 : 0};
    return wordpiece_encode(wordpiece, &first, tab != NULL ? &second : NULL, LENGTH, ids, types);
}

static char *read_golden(const char *file, size_t *size) {
    char path[1024], *text = NULL;
    assert_int_equal(file_read(golden_path("tokens", file, path), 1 << 20, &text, size, NULL),
                     SHOAL_OK);
    return text;
}

static void compare(const struct wordpiece *wordpiece, const char *expected_name) {
    size_t size = 0, expected_size = 0, length = 0, expected_length = 0, lines = 0;
    char *text = read_golden("lines.txt", &size);
    char *expected = read_golden(expected_name, &expected_size);
    const char *at = text, *line, *expected_at = expected;
    while ((line = next_line(&at, text + size, &length)) != NULL) {
        char got[16 * LENGTH] = "";
        size_t used = 0, second = 0;
        const size_t count = encode(wordpiece, line, length);
        assert_true(count <= LENGTH);
        for (size_t i = 0; i < count; i++) {
            used += (size_t)snprintf(got + used, sizeof got - used, "%d ", ids[i]);
            second += types[i] == 1;
        }
        used += (size_t)snprintf(got + used, sizeof got - used, "| %zu", second);
        const char *wanted = next_line(&expected_at, expected + expected_size, &expected_length);
        assert_non_null(wanted);
        lines++;
        if (expected_length != used || memcmp(wanted, got, used) != 0) {
            fail_msg("%s, line %zu: got '%s', transformers has '%.*s'", expected_name, lines, got,
                     (int)expected_length, wanted);
        }
    }
    assert_int_equal(lines, 420);
    assert_null(next_line(&expected_at, expected + expected_size, &expected_length));
    mem_free(text);
    mem_free(expected);
}

static void test_nasty_lines_get_the_ids_of_transformers(void **state) {
    (void)state;
    static const struct {
        const char *file, *config;
    } kinds[] = {
        {"uncased.txt", "{}"},
        {"cased.txt", "{\"do_lower_case\": false}"},
        {"stripped.txt", "{\"do_lower_case\": false, \"strip_accents\": true}"},
        {"joined.txt", "{\"strip_accents\": false, \"tokenize_chinese_chars\": false}"},
    };
    size_t size = 0;
    char *vocab = read_golden("vocab.txt", &size);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct wordpiece_files files = {.vocab = vocab,
                                              .vocab_size = size,
                                              .tokenizer_config = kinds[i].config,
                                              .tokenizer_config_size = strlen(kinds[i].config)};
        struct wordpiece *wordpiece = NULL;
        assert_int_equal(wordpiece_create(&files, &wordpiece, NULL), SHOAL_OK);
        compare(wordpiece, kinds[i].file);
        wordpiece_destroy(wordpiece);
    }
    mem_free(vocab);
}

/* "FILE LINES TOKENS SHA256": the digest over each line's count and ids as 32-bit integers. */
static void check_text(const struct wordpiece *wordpiece, const char *folder, const char *row) {
    char name[64], wanted[DIGEST_TEXT], got[DIGEST_TEXT], path[1400];
    size_t lines = 0, wanted_tokens = 0, tokens = 0, size = 0, length = 0;
    assert_int_equal(sscanf(row, "%63s %zu %zu %64s", name, &lines, &wanted_tokens, wanted), 4);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = NULL;
    assert_int_equal(file_read(path, 64 << 20, &text, &size, NULL), SHOAL_OK);
    struct digest digest;
    digest_init(&digest);
    const char *at = text;
    for (size_t i = 0; i < lines; i++) {
        const char *line = next_line(&at, text + size, &length);
        assert_non_null(line);
        const int32_t count = (int32_t)encode(wordpiece, line, length);
        digest_update(&digest, &count, sizeof count);
        digest_update(&digest, ids, (size_t)count * sizeof ids[0]);
        tokens += (size_t)count;
    }
    digest_final(&digest, got);
    assert_int_equal(tokens, wanted_tokens);
    assert_string_equal(got, wanted);
    mem_free(text);
}

static void test_ten_thousand_lines_get_the_ids_of_transformers(void **state) {
    (void)state;
    char folder[1200], path[1300], line[256], root_path[1024];
    const char *shared = getenv("SHOAL_SHARED"), *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(root_path, sizeof root_path, "%s/../shared", root != NULL ? root : ".");
    (void)snprintf(folder, sizeof folder, "%s/data/datasets/text",
                   shared != NULL ? shared : root_path);
    (void)snprintf(path, sizeof path, "%s/bert-base-uncased-vocab.txt", folder);
    if (!file_exists(path)) {
        print_message("SKIPPED: no %s\n", path);
        skip();
    }
    struct wordpiece *wordpiece = NULL;
    assert_int_equal(wordpiece_open_file(path, &wordpiece, NULL), SHOAL_OK);
    assert_int_equal(wordpiece_size(wordpiece), 30522);
    FILE *table = fopen(golden_path("tokens", "texts.txt", root_path), "r");
    assert_non_null(table);
    int files = 0;
    while (fgets(line, sizeof line, table) != NULL) {
        if (line[0] != '#') {
            check_text(wordpiece, folder, line);
            files++;
        }
    }
    (void)fclose(table);
    assert_int_equal(files, 3);
    wordpiece_destroy(wordpiece);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nasty_lines_get_the_ids_of_transformers),
        cmocka_unit_test(test_ten_thousand_lines_get_the_ids_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
