/* shoal cache: list, remove, verify, beside a process that has the directory for itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"
#include "store/contents.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { KEYS = 4, BYTES = 5000 };

static struct shoal_error error;
static char directory[300], keys[KEYS][DIGEST_TEXT];

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

static void content(int n, unsigned char bytes[BYTES], char key[DIGEST_TEXT]) {
    struct digest digest;
    memset(bytes, n, BYTES);
    digest_init(&digest);
    digest_update(&digest, bytes, BYTES);
    digest_final(&digest, key);
}

static struct contents *open_contents(bool lock) {
    const struct contents_options options = {
        .directory = directory, .quota_bytes = 1000000, .lock = lock};
    struct contents *contents = NULL;
    OK(contents_open(&options, &contents, &error));
    return contents;
}

/* Whole contents 0 to 2; of the last a part. Used long ago, one day apart. */
static void fill(struct contents *contents) {
    for (int n = 0; n < KEYS; n++) {
        unsigned char bytes[BYTES];
        char path[700];
        struct contents_writer *writer;
        uint64_t have;
        content(n, bytes, keys[n]);
        OK(contents_write_begin(contents, keys[n], BYTES, &writer, &have, &error));
        if (n < KEYS - 1) {
            OK(contents_write(writer, bytes + have, BYTES - (size_t)have, &error));
            OK(contents_write_commit(writer, &error));
            (void)snprintf(path, sizeof path, "%s/%.2s/%.64s", directory, keys[n], keys[n]);
        } else {
            OK(contents_write(writer, bytes, 1000 - (size_t)have, &error));
            contents_write_abandon(writer);
            (void)snprintf(path, sizeof path, "%s/partial/%.64s", directory, keys[n]);
        }
        const time_t then = time(NULL) - (time_t)(10 - 2 * n) * 86400;
        const struct timespec times[2] = {{.tv_sec = then}, {.tv_sec = then}};
        if (n < KEYS - 1) {
            assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        }
    }
}

static int set_up(void **state) {
    if (harness_setup(state) != 0) {
        return -1;
    }
    (void)snprintf(directory, sizeof directory, "%s/the-cache", harness_directory);
    return 0;
}

static void run(struct command *command, const char *words) {
    char text[800];
    (void)snprintf(text, sizeof text, "cache %s --cache %s", words, directory);
    command_run(command, text);
}

static void expect(const char *words, int status, const char *said) {
    struct command command;
    run(&command, words);
    if (command.status != status ||
        (strstr(command.error, said) == NULL && strstr(command.out, said) == NULL)) {
        fail_msg("cache %s: status %d, wanted %d and '%s'; said: %s%s", words, command.status,
                 status, said, command.out, command.error);
    }
    command_free(&command);
}

static json_t *document(const char *words, int status) {
    struct command command;
    run(&command, words);
    if (command.status != status) {
        fail_msg("cache %s: status %d: %s", words, command.status, command.error);
    }
    json_t *root = command_json(&command);
    command_free(&command);
    return root;
}

static json_int_t number(const json_t *root, const char *key) {
    const json_t *value = json_object_get(root, key);
    if (!json_is_integer(value)) {
        fail_msg("%s is not an integer", key);
    }
    return json_integer_value(value);
}

static void it_lists_what_is_there(void **state) {
    (void)state;
    struct contents *contents = open_contents(true);
    fill(contents);
    struct contents_writer *writer;
    uint64_t have;
    OK(contents_write_begin(contents, keys[3], BYTES, &writer, &have, &error));
    assert_int_equal(have, 1000);
    char text[100];
    (void)snprintf(text, sizeof text, "used by process %ld", (long)getpid());
    expect("ls", 0, text);
    expect("ls", 0, "3 contents and 1 partial ones");
    expect("ls", 0, "of at most 1.0 MB");
    (void)snprintf(text, sizeof text, "%.12s", keys[1]);
    expect("ls", 0, text);
    json_t *root = document("ls --json", 0);
    assert_int_equal(number(root, "bytes"), 3 * 8192 + 4096);
    assert_int_equal(number(root, "partial_bytes"), 4096);
    assert_int_equal(number(root, "quota_bytes"), 1000000);
    assert_int_equal(number(root, "process"), getpid());
    assert_string_equal(json_string_value(json_object_get(root, "directory")), directory);
    const json_t *list = json_object_get(root, "contents");
    assert_int_equal(json_array_size(list), KEYS);
    for (size_t i = 0; i < KEYS; i++) { /* the latest first */
        const json_t *entry = json_array_get(list, i);
        assert_string_equal(json_string_value(json_object_get(entry, "key")), keys[KEYS - 1 - i]);
        assert_int_equal(number(entry, "bytes"), i == 0 ? 1000 : BYTES);
        assert_int_equal(json_is_true(json_object_get(entry, "partial")), i == 0);
        assert_int_equal(json_is_true(json_object_get(entry, "arriving")), i == 0);
    }
    json_decref(root);
    /* Asking did not disturb who writes, and removing leaves it. */
    expect("rm --all", 0, "left 1 that are arriving");
    unsigned char bytes[BYTES];
    content(3, bytes, keys[3]);
    OK(contents_write(writer, bytes + have, BYTES - (size_t)have, &error));
    OK(contents_write_commit(writer, &error));
    assert_true(contents_has(contents, keys[3], NULL));
    assert_false(contents_has(contents, keys[0], NULL)); /* seen at once */
    contents_close(contents);
    root = document("ls --json", 0);
    assert_int_equal(number(root, "process"), 0);
    assert_int_equal(number(root, "quota_bytes"), 0);
    assert_int_equal(json_array_size(json_object_get(root, "contents")), 1);
    json_decref(root);
}

static void it_removes_what_is_named(void **state) {
    (void)state;
    char words[300];
    struct contents *contents = open_contents(false);
    fill(contents);
    (void)snprintf(words, sizeof words, "rm %.10s %s", keys[0], keys[3]);
    expect(words, 0, "removed 2 contents, 0.006 MB");
    expect(words, 1, "has no content");
    assert_false(contents_has(contents, keys[0], NULL));
    assert_true(contents_has(contents, keys[1], NULL));
    fill(contents);
    json_t *root = document("rm --partial --json", 0);
    assert_int_equal(number(root, "removed"), 1);
    assert_int_equal(number(root, "bytes"), 1000);
    json_decref(root);
    fill(contents);
    expect("rm --older-than 9", 0, "removed 1 contents"); /* of 10, 8 and 6 days */
    expect("rm --older-than 7", 0, "removed 1 contents");
    expect("rm --partial --older-than 1", 0, "removed 0 contents");
    expect("rm --all", 0, "removed 2 contents");
    expect("rm --all", 0, "removed 0 contents");
    contents_close(contents);
}

static void it_finds_damage(void **state) {
    (void)state;
    char path[700];
    struct contents *contents = open_contents(false);
    fill(contents);
    expect("verify", 0, "3 contents verified, 0 damaged");
    (void)snprintf(path, sizeof path, "%s/%.2s/%.64s", directory, keys[1], keys[1]);
    const int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 77), 1);
    assert_int_equal(close(fd), 0);
    char said[200];
    (void)snprintf(said, sizeof said, "%s is damaged\n", keys[1]);
    expect("verify", 1, said);
    expect("verify", 1, "--remove deletes them");
    json_t *root = document("verify --json", 1);
    assert_int_equal(number(root, "verified"), 3);
    assert_int_equal(number(root, "removed"), 0);
    const json_t *damaged = json_object_get(root, "damaged");
    assert_int_equal(json_array_size(damaged), 1);
    assert_string_equal(json_string_value(json_array_get(damaged, 0)), keys[1]);
    json_decref(root);
    expect("verify --remove", 1, "is damaged: removed");
    expect("verify", 0, "2 contents verified, 0 damaged");
    assert_false(contents_has(contents, keys[1], NULL));
    contents_close(contents);
}

static void wrong_usage_is_2_and_says_what(void **state) {
    (void)state;
    struct contents *contents = open_contents(false);
    expect("--help", 0, "examples:");
    expect("", 2, "ls|rm|verify is missing");
    expect("list", 2, "choose ls, rm or verify");
    expect("rm", 2, "say which");
    expect("rm 12", 2, "is no beginning of a key");
    expect("rm ../../etc/passwd", 2, "is no beginning of a key");
    expect("rm 12345 --all", 2, "exclude each other");
    expect("rm --all --partial", 2, "exclude each other");
    expect("rm --older-than x", 2, "--older-than wants a whole number");
    expect("ls --all", 2, "go with 'shoal cache rm'");
    expect("ls 12345", 2, "go with 'shoal cache rm'");
    expect("rm --all --remove", 2, "goes with 'shoal cache verify'");
    contents_close(contents);
    struct command command;
    command_run(&command, "cache ls --cache /no/such/cache");
    assert_int_equal(command.status, 1);
    assert_non_null(strstr(command.error, "/no/such/cache"));
    command_free(&command);
    command_run(&command, "cache ls"); /* Shoal's own: nothing in it yet */
    assert_int_equal(command.status, 0);
    assert_non_null(strstr(command.out, "/cache: 0 contents"));
    command_free(&command);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, harness_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_lists_what_is_there),
        TEST(it_removes_what_is_named),
        TEST(it_finds_damage),
        TEST(wrong_usage_is_2_and_says_what),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
