#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/unicode.h"
#include "formats/vocabulary.h"
#include "formats/wordpiece.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

/* Ids are line numbers from 0. */
#define VOCAB                                                                             \
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nworld\nwor\n##ld\n##s\n.\n\xe4\xb8\xad\n" \
    "cafe\nCaf\xc3\xa9\n"
enum { PAD, UNK, CLS, SEP, MASK, HELLO, WORLD, WOR, LD, S, DOT, MIDDLE, CAFE, CAFE_CASED };

static struct wordpiece *make(const char *vocab, const char *tokenizer, const char *config,
                              struct shoal_error *error) {
    struct wordpiece *wordpiece = NULL;
    const struct wordpiece_files files = {
        .vocab = vocab,
        .vocab_size = vocab != NULL ? strlen(vocab) : 0,
        .tokenizer = tokenizer,
        .tokenizer_size = tokenizer != NULL ? strlen(tokenizer) : 0,
        .tokenizer_config = config,
        .tokenizer_config_size = config != NULL ? strlen(config) : 0};
    error->text[0] = '\0';
    const shoal_status status = wordpiece_create(&files, &wordpiece, error);
    assert_true((status == SHOAL_OK) == (wordpiece != NULL));
    return wordpiece;
}

static void check_ids(const struct wordpiece *wordpiece, const char *first, const char *second,
                      size_t length, size_t types_of_second, size_t count, const int32_t *wanted) {
    int32_t ids[128], types[128];
    const struct wordpiece_text a = {first, strlen(first)},
                                b = {second, second != NULL ? strlen(second) : 0};
    assert_int_equal(
        wordpiece_encode(wordpiece, &a, second != NULL ? &b : NULL, length, ids, types), count);
    size_t ones = 0;
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ids[i], wanted[i]);
        ones += types[i] == 1;
    }
    assert_int_equal(ones, types_of_second);
}

#define CHECK(wordpiece, first, second, length, ones, ...) \
    check_ids(wordpiece, first, second, length, ones,      \
              sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (const int32_t[]){__VA_ARGS__})

static void test_words_pieces_and_special_tokens(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make(VOCAB, NULL, NULL, &error);
    CHECK(wp, "", NULL, 64, 0, CLS, SEP);
    CHECK(wp, "Hello worlds.", NULL, 64, 0, CLS, HELLO, WORLD, S, DOT, SEP);
    CHECK(wp, "wor\tworld\xc2\xa0hell", NULL, 64, 0, CLS, WOR, WORLD, UNK, SEP);
    CHECK(wp, "hello[MASK]world [mask]", NULL, 64, 0, CLS, HELLO, MASK, WORLD, UNK, UNK, UNK, SEP);
    CHECK(wp, "CAF\xc3\x89 cafe\xcc\x81", NULL, 64, 0, CLS, CAFE, CAFE, SEP);
    CHECK(wp, "\xe4\xb8\xad\xe4\xb8\xadhello", NULL, 64, 0, CLS, MIDDLE, MIDDLE, HELLO, SEP);
    CHECK(wp, "he\xffllo\xe4\xb8", NULL, 64, 0, CLS, HELLO, SEP); /* malformed bytes go */
    assert_int_equal(wordpiece_size(wp), 14);
    assert_int_equal(wordpiece_pad(wp), PAD);
    assert_int_equal(wordpiece_max_length(wp), 0);
    wordpiece_destroy(wp);
}

static void test_long_words_are_unknown(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make("[PAD]\n[UNK]\n[CLS]\n[SEP]\nx\n##x\n\xc3\xa9\n##\xc3\xa9\n", NULL,
                                "{\"strip_accents\": false}", &error);
    char word[203] = "";
    memset(word, 'x', 101);
    int32_t ids[512], types[512];
    struct wordpiece_text text = {word, 100};
    assert_int_equal(wordpiece_encode(wp, &text, NULL, 256, ids, types), 102);
    text.size = 101;
    assert_int_equal(wordpiece_encode(wp, &text, NULL, 256, ids, types), 3);
    assert_int_equal(ids[1], 1);
    for (size_t i = 0; i < 100; i++) { /* characters count, not bytes */
        memcpy(word + 2 * i, "\xc3\xa9", 2);
    }
    text.size = 200;
    assert_int_equal(wordpiece_encode(wp, &text, NULL, 256, ids, types), 102);
    assert_int_equal(ids[1], 6);
    assert_int_equal(ids[2], 7);
    wordpiece_destroy(wp);
}

static void test_items_are_cut_the_longer_text_first(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make(VOCAB, NULL, "{\"model_max_length\": 512}", &error);
    assert_int_equal(wordpiece_max_length(wp), 512);
    CHECK(wp, "hello world . . .", NULL, 4, 0, CLS, HELLO, WORLD, SEP);
    CHECK(wp, "hello", ".", 64, 2, CLS, HELLO, SEP, DOT, SEP);
    CHECK(wp, "hello world . hello", ".", 6, 2, CLS, HELLO, WORLD, SEP, DOT, SEP);
    CHECK(wp, ".", "hello world . hello", 6, 3, CLS, DOT, SEP, HELLO, WORLD, SEP);
    CHECK(wp, "hello world . .", "world hello . .", 8, 4, CLS, HELLO, WORLD, SEP, WORLD, HELLO, DOT,
          SEP);
    CHECK(wp, "hello world . . .", "world hello . .", 8, 3, CLS, HELLO, WORLD, DOT, SEP, WORLD,
          HELLO, SEP);
    CHECK(wp, "hello", "world", 3, 1, CLS, SEP, SEP);
    wordpiece_destroy(wp);
}

static void test_a_configuration_says_how(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make(VOCAB, NULL, "{\"do_lower_case\": false}", &error);
    CHECK(wp, "Hello Caf\xc3\xa9 cafe", NULL, 64, 0, CLS, UNK, CAFE_CASED, CAFE, SEP);
    wordpiece_destroy(wp);
    wp = make(VOCAB, NULL,
              "{\"tokenize_chinese_chars\": false, \"model_max_length\": 1e30, \"mask_token\": "
              "{\"content\": \"world\"}}",
              &error);
    CHECK(wp, "\xe4\xb8\xad\xe4\xb8\xad helloworld", NULL, 64, 0, CLS, UNK, HELLO, WORLD, SEP);
    assert_int_equal(wordpiece_max_length(wp), 0);
    wordpiece_destroy(wp);
}

static void test_what_transformers_5_writes_is_read(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make(
        VOCAB, NULL,
        "{\"backend\": \"tokenizers\", \"cls_token\": \"[CLS]\", \"do_lower_case\": false, "
        "\"is_local\": true, \"local_files_only\": true, \"mask_token\": \"[MASK]\", "
        "\"model_max_length\": 1000000000000000019884624838656, \"pad_token\": \"[PAD]\", "
        "\"sep_token\": \"[SEP]\", \"strip_accents\": null, \"tokenize_chinese_chars\": true, "
        "\"tokenizer_class\": \"BertTokenizer\", \"unk_token\": \"[UNK]\", "
        "\"added_tokens_decoder\": {\"4\": {\"content\": \"[MASK]\", \"lstrip\": false, "
        "\"normalized\": false, \"rstrip\": false, \"single_word\": false, \"special\": true}}}",
        &error);
    assert_non_null(wp);
    assert_int_equal(wordpiece_max_length(wp), 0);
    CHECK(wp, "Caf\xc3\xa9[MASK]", NULL, 64, 0, CLS, CAFE_CASED, MASK, SEP);
    wordpiece_destroy(wp);
}

#define TOKENIZER(normalizer, vocab, added)                                                       \
    "{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"[PAD]\": 0, \"[UNK]\": 1, \"[CLS]\": "   \
    "2, \"[SEP]\": 3, \"a\": 4, \"A\": 5" vocab                                                   \
    "}}, \"normalizer\": {\"type\": \"BertNormalizer\"" normalizer "}, \"added_tokens\": [" added \
    "]}"

static void test_tokenizer_json_is_read(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = make(VOCAB, TOKENIZER("", "", ""), NULL, &error); /* before vocab.txt */
    CHECK(wp, "a A", NULL, 64, 0, CLS, 4, 4, SEP);
    wordpiece_destroy(wp);
    wp = make(NULL, TOKENIZER(", \"lowercase\": false", "", "{\"id\": 7, \"content\": \"<x>\"}"),
              NULL, &error);
    CHECK(wp, "a A<x>", NULL, 64, 0, CLS, 4, 5, 7, SEP);
    assert_int_equal(wordpiece_size(wp), 8);
    wordpiece_destroy(wp);
    wp = make(NULL, TOKENIZER(", \"lowercase\": false", "", ""), "{\"do_lower_case\": true}",
              &error);
    CHECK(wp, "a A", NULL, 64, 0, CLS, 4, 4, SEP);
    wordpiece_destroy(wp);
}

static void test_files_that_are_no_berts_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *vocab, *tokenizer, *config, *text;
        shoal_status status;
    } cases[] = {
        {NULL, NULL, NULL, "no vocab.txt and no tokenizer.json", SHOAL_NOT_FOUND},
        {"", NULL, NULL, "no token [UNK] (unk_token)", SHOAL_CORRUPT},
        {"[PAD]\n[UNK]\n[CLS]\n", NULL, NULL, "no token [SEP] (sep_token)", SHOAL_CORRUPT},
        {"[UNK]\n[SEP]\n[CLS]\n", NULL, NULL, "no token [PAD] (pad_token)", SHOAL_CORRUPT},
        {"a\nb\na\n", NULL, NULL, "vocab.txt: line 3: token 'a' is there twice: as 0 and as 2",
         SHOAL_CORRUPT},
        {"a\n\xff\n", NULL, NULL, "vocab.txt: line 2: a token is not UTF-8", SHOAL_CORRUPT},
        {VOCAB, "{", NULL, "tokenizer.json: ", SHOAL_CORRUPT},
        {VOCAB, "{}", NULL, "tokenizer.json: model is missing", SHOAL_CORRUPT},
        {VOCAB, "{\"model\": {\"type\": \"BPE\"}}", NULL, "model is a BPE; only BERT's WordPiece",
         SHOAL_UNSUPPORTED},
        {NULL, "{\"model\": {\"vocab\": 3}}", NULL, "vocab must be an object, found",
         SHOAL_CORRUPT},
        {NULL, TOKENIZER("", ", \"z\": -1", ""), NULL, "the id of 'z' is not from 0 to 999999",
         SHOAL_CORRUPT},
        {NULL, TOKENIZER("", "", "{\"id\": 4, \"content\": \"a\", \"lstrip\": true}"), NULL,
         "added token 'a' has lstrip", SHOAL_UNSUPPORTED},
        {NULL, TOKENIZER("", "", "{\"content\": \"a\"}"), NULL, "without content or id",
         SHOAL_CORRUPT},
        {VOCAB, NULL, "{\"do_lower_case\": 1}", "tokenizer_config.json: do_lower_case must be true",
         SHOAL_CORRUPT},
        {VOCAB, NULL, "{\"tokenizer_class\": \"BertJapaneseTokenizer\"}",
         "tokenizer_class BertJapaneseTokenizer is not supported", SHOAL_UNSUPPORTED},
        {VOCAB, NULL, "{\"do_basic_tokenize\": false}", "do_basic_tokenize", SHOAL_UNSUPPORTED},
        {VOCAB, NULL, "{\"model_max_length\": 2}", "model_max_length is 2, allowed are 3",
         SHOAL_CORRUPT},
        {VOCAB, NULL, "{\"added_tokens_decoder\": {\"x\": {}}}", "'x' is no token id",
         SHOAL_CORRUPT},
        {VOCAB, NULL, "{\"sep_token\": \"</s>\"}", "no token </s> (sep_token)", SHOAL_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shoal_error error;
        assert_null(make(cases[i].vocab, cases[i].tokenizer, cases[i].config, &error));
        if (error.code != cases[i].status || strstr(error.text, cases[i].text) == NULL) {
            fail_msg("case %zu: %s", i, error.text);
        }
    }
}

static void test_a_directory_and_a_file_are_opened(void **state) {
    (void)state;
    char folder[256], path[300];
    struct shoal_error error;
    struct wordpiece *wp = NULL;
    assert_int_equal(file_make_temporary(folder, sizeof folder, NULL), SHOAL_OK);
    assert_int_equal(wordpiece_open_directory(folder, &wp, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, folder));
    (void)snprintf(path, sizeof path, "%s/vocab.txt", folder);
    assert_int_equal(file_write_atomic(path, VOCAB, strlen(VOCAB), NULL), SHOAL_OK);
    assert_int_equal(wordpiece_open_directory(folder, &wp, &error), SHOAL_OK);
    CHECK(wp, "hello", NULL, 64, 0, CLS, HELLO, SEP);
    wordpiece_destroy(wp);
    assert_int_equal(wordpiece_open_file(path, &wp, &error), SHOAL_OK);
    wordpiece_destroy(wp);
    (void)snprintf(path, sizeof path, "%s/t.json", folder);
    static const char json[] = TOKENIZER("", "", "");
    assert_int_equal(file_write_atomic(path, json, sizeof json - 1, NULL), SHOAL_OK);
    assert_int_equal(wordpiece_open_file(path, &wp, &error), SHOAL_OK);
    CHECK(wp, "A", NULL, 64, 0, CLS, 4, SEP);
    wordpiece_destroy(wp);
    file_remove_tree(folder);
}

static void test_a_vocabulary_has_limits(void **state) {
    (void)state;
    struct shoal_error error;
    struct vocabulary *vocabulary = NULL;
    assert_int_equal(vocabulary_create(&vocabulary, NULL), SHOAL_OK);
    static char token[VOCABULARY_TOKEN + 1];
    memset(token, 'a', sizeof token);
    assert_int_equal(vocabulary_add(vocabulary, token, sizeof token, 0, &error), SHOAL_CORRUPT);
    assert_int_equal(vocabulary_add(vocabulary, "a", 1, VOCABULARY_MOST, &error), SHOAL_CORRUPT);
    assert_int_equal(vocabulary_add(vocabulary, "a", 1, -1, &error), SHOAL_CORRUPT);
    assert_int_equal(vocabulary_size(vocabulary), 0);
    for (int32_t i = 0; i < 5000; i++) { /* the table grows several times */
        char text[16];
        const int length = snprintf(text, sizeof text, "t%d", i * 7919);
        assert_int_equal(vocabulary_add(vocabulary, text, (size_t)length, i, NULL), SHOAL_OK);
    }
    for (int32_t i = 0; i < 5000; i++) {
        char text[16];
        const int length = snprintf(text, sizeof text, "t%d", i * 7919);
        assert_int_equal(vocabulary_find(vocabulary, text, (size_t)length), i);
    }
    assert_int_equal(vocabulary_find(vocabulary, "t1", 2), VOCABULARY_NONE);
    assert_int_equal(vocabulary_find(vocabulary, "u", 1), VOCABULARY_NONE);
    int32_t id = -2;
    assert_int_equal(vocabulary_longest(vocabulary, 0, (const unsigned char *)"t7919x", 6, &id), 5);
    assert_int_equal(id, 1);
    vocabulary_destroy(vocabulary);
}

static void test_out_of_memory_is_an_error(void **state) {
    (void)state;
    struct shoal_error error;
    struct wordpiece *wp = NULL;
    uint64_t n = 0;
    for (shoal_status status = SHOAL_NO_MEMORY; status != SHOAL_OK;) {
        const struct wordpiece_files files = {.vocab = VOCAB, .vocab_size = sizeof VOCAB - 1};
        mem_fail_after(++n);
        status = wordpiece_create(&files, &wp, &error);
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
        assert_true(n < 100);
    }
    assert_true(n > 4);
    const uint64_t before = mem_allocation_count();
    CHECK(wp, "Hello worlds. [MASK]", NULL, 64, 0, CLS, HELLO, WORLD, S, DOT, MASK, SEP);
    assert_int_equal(mem_allocation_count(), before);
    wordpiece_destroy(wp);
}

static void test_utf8_is_decoded_as_unicode_recommends(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t taken;
        uint32_t point;
    } cases[] = {
        {"a", 1, 'a'},
        {"\xc3\xa9", 2, 0xE9},
        {"\xe4\xb8\xad", 3, 0x4E2D},
        {"\xf0\x9f\x98\x80", 4, 0x1F600},
        {"\xf4\x8f\xbf\xbf", 4, 0x10FFFF},
        {"\x80", 1, 0xFFFD},
        {"\xc0\x80", 1, 0xFFFD},
        {"\xe0\x9f\x80", 1, 0xFFFD},
        {"\xed\xa0\x80", 1, 0xFFFD},
        {"\xf4\x90\x80\x80", 1, 0xFFFD},
        {"\xf0\x9f\x98", 3, 0xFFFD},
        {"\xe4\xb8x", 2, 0xFFFD},
        {"\xf8", 1, 0xFFFD},
        {"\xef\xbf\xbd", 3, 0xFFFD},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const unsigned char *bytes = (const unsigned char *)cases[i].bytes;
        uint32_t point = 0;
        assert_int_equal(unicode_decode(bytes, bytes + strlen(cases[i].bytes), &point),
                         cases[i].taken);
        assert_int_equal(point, cases[i].point);
        if (point != UNICODE_REPLACEMENT) {
            unsigned char again[4];
            assert_int_equal(unicode_encode(point, again), cases[i].taken);
            assert_memory_equal(again, bytes, cases[i].taken);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_pieces_and_special_tokens),
        cmocka_unit_test(test_long_words_are_unknown),
        cmocka_unit_test(test_items_are_cut_the_longer_text_first),
        cmocka_unit_test(test_a_configuration_says_how),
        cmocka_unit_test(test_what_transformers_5_writes_is_read),
        cmocka_unit_test(test_tokenizer_json_is_read),
        cmocka_unit_test(test_files_that_are_no_berts_are_refused),
        cmocka_unit_test(test_a_directory_and_a_file_are_opened),
        cmocka_unit_test(test_a_vocabulary_has_limits),
        cmocka_unit_test(test_out_of_memory_is_an_error),
        cmocka_unit_test(test_utf8_is_decoded_as_unicode_recommends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
