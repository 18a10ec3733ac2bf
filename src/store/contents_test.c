/* Contents: what is put is got; the quota holds, and what is pinned stays. */
#include "store/contents_testing.h"

#include <sys/wait.h>

static void test_what_is_put_is_got(void **unused) {
    (void)unused;
    static const size_t sizes[] = {0, 1, 999, 1000, 4096, 100001};
    struct contents *contents = open_contents(0, true);
    assert_string_equal(contents_directory(contents), directory);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char key[DIGEST_TEXT];
        draw(i, sizes[i], key);
        uint64_t bytes = 1;
        size_t got = 1;
        assert_false(contents_has(contents, key, &bytes));
        assert_int_equal(contents_read(contents, key, 0, back, 1, &got, &error), SHOAL_NOT_FOUND);
        expect_text(key);
        expect_text(directory);
        assert_int_equal(put(contents, key, sizes[i]), SHOAL_OK);
        assert_true(contents_has(contents, key, &bytes));
        assert_int_equal(bytes, sizes[i]);
        assert_false(file_exists(path_of(key, true)));
        assert_int_equal(contents_read(contents, key, 0, back, MOST, &got, &error), SHOAL_OK);
        assert_int_equal(got, sizes[i]);
        assert_memory_equal(back, data, got);
        const size_t half = sizes[i] / 2;
        assert_int_equal(contents_read(contents, key, half, back, 7, &got, &error), SHOAL_OK);
        assert_int_equal(got, sizes[i] - half < 7 ? sizes[i] - half : 7);
        assert_memory_equal(back, data + half, got);
        assert_int_equal(contents_read(contents, key, UINT64_MAX, back, 7, &got, &error), SHOAL_OK);
        assert_int_equal(got, 0);
        struct file_map map;
        assert_int_equal(contents_map(contents, key, &map, &error), SHOAL_OK);
        assert_int_equal(map.size, sizes[i]);
        assert_int_equal(contents_remove(contents, key, false, &error), SHOAL_OK);
        if (map.size > 0) {
            assert_memory_equal(map.data, data, map.size); /* outlives the file */
        }
        file_map_close(&map);
        assert_int_equal(contents_map(contents, key, &map, &error), SHOAL_NOT_FOUND);
        assert_int_equal(contents_remove(contents, key, false, &error), SHOAL_NOT_FOUND);
    }
    contents_close(contents);
}

static void test_keys_from_outside_are_checked(void **unused) {
    (void)unused;
    static const char *const bad[] = {
        "",
        "../../../../../../../../../../../../../../../../../../../../etc/pass",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde/",
    };
    struct contents *contents = open_contents(0, false);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct contents_writer *writer;
        struct file_map map;
        uint64_t have;
        size_t got;
        assert_false(contents_key_valid(bad[i]));
        assert_false(contents_has(contents, bad[i], NULL));
        assert_int_equal(contents_pin(contents, bad[i], &error), SHOAL_INVALID);
        contents_unpin(contents, bad[i]);
        assert_int_equal(contents_write_begin(contents, bad[i], 1, &writer, &have, &error),
                         SHOAL_INVALID);
        assert_int_equal(contents_read(contents, bad[i], 0, back, 1, &got, &error), SHOAL_INVALID);
        assert_int_equal(contents_map(contents, bad[i], &map, &error), SHOAL_INVALID);
        assert_int_equal(contents_remove(contents, bad[i], false, &error), SHOAL_INVALID);
        assert_int_equal(contents_remove(contents, bad[i], true, &error), SHOAL_INVALID);
        assert_int_equal(contents_verify(contents, bad[i], &error), SHOAL_INVALID);
    }
    char key[DIGEST_TEXT];
    draw(1, 1, key);
    struct contents_writer *writer;
    uint64_t have;
    assert_int_equal(contents_write_begin(contents, key, UINT64_MAX, &writer, &have, &error),
                     SHOAL_INVALID);
    contents_close(contents);
}

static void test_a_partial_is_gone_on_with(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    struct contents_writer *writer, *second;
    uint64_t have;
    struct contents *contents = open_contents(0, false), *other = open_contents(0, false);
    draw(3, 10000, key);
    assert_int_equal(contents_write_begin(contents, key, 10000, &writer, &have, &error), SHOAL_OK);
    assert_int_equal(have, 0);
    assert_int_equal(contents_write(writer, data, 6000, &error), SHOAL_OK);
    assert_int_equal(contents_write_begin(contents, key, 10000, &second, &have, &error),
                     SHOAL_BUSY);
    assert_int_equal(contents_write_begin(other, key, 10000, &second, &have, &error), SHOAL_BUSY);
    expect_text(key);
    assert_int_equal(contents_remove(other, key, true, &error), SHOAL_BUSY);
    assert_false(contents_has(contents, key, NULL));
    contents_write_abandon(writer);
    assert_int_equal(contents_write_begin(other, key, 10000, &writer, &have, &error), SHOAL_OK);
    assert_int_equal(have, 6000);
    assert_int_equal(contents_write(writer, data + 6000, 4001, &error), SHOAL_INVALID);
    assert_int_equal(contents_write(writer, data + 6000, 3999, &error), SHOAL_OK);
    assert_int_equal(contents_write_commit(writer, &error), SHOAL_INVALID); /* one is missing */
    expect_text("9999 of its 10000");
    assert_int_equal(put(contents, key, 10000), SHOAL_OK);
    assert_true(contents_has(other, key, &have));
    assert_int_equal(have, 10000);

    /* One that became longer than its content starts anew; an untouched one leaves nothing. */
    draw(4, 500, key);
    assert_int_equal(file_write_atomic(path_of(key, true), back, 501, &error), SHOAL_OK);
    assert_int_equal(contents_write_begin(contents, key, 500, &writer, &have, &error), SHOAL_OK);
    assert_int_equal(have, 0);
    contents_write_abandon(writer);
    assert_false(file_exists(path_of(key, true)));
    contents_write_abandon(NULL);
    contents_close(other);
    contents_close(contents);
}

static void test_what_is_arriving_can_be_read(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    struct contents_writer *writer;
    struct contents_reader *reader;
    uint64_t have;
    size_t got;
    struct contents *contents = open_contents(0, false);
    draw(31, 5000, key);
    assert_int_equal(contents_write_begin(contents, key, 5000, &writer, &have, &error), SHOAL_OK);
    assert_int_equal(contents_reader_open(writer, &reader, &error), SHOAL_OK);
    assert_int_equal(contents_reader_read(reader, 0, back, 100, &got, &error), SHOAL_OK);
    assert_int_equal(got, 0);
    assert_int_equal(contents_write(writer, data, 3000, &error), SHOAL_OK);
    assert_int_equal(contents_reader_read(reader, 1000, back, 4000, &got, &error), SHOAL_OK);
    assert_int_equal(got, 2000);
    assert_memory_equal(back, data + 1000, 2000);
    assert_int_equal(contents_write(writer, data + 3000, 2000, &error), SHOAL_OK);
    assert_int_equal(contents_write_commit(writer, &error), SHOAL_OK);
    assert_int_equal(contents_reader_read(reader, 0, back, 5001, &got, &error), SHOAL_OK);
    assert_int_equal(got, 5000); /* it lasts beyond its writer */
    assert_memory_equal(back, data, 5000);
    contents_reader_close(reader);
    contents_reader_close(NULL);
    contents_close(contents);
}

static void test_a_corrupt_partial_is_thrown_away(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    struct contents *contents = open_contents(0, false);
    draw(5, 3000, key);
    memset(back, 0, 2000);
    assert_int_equal(file_write_atomic(path_of(key, true), back, 2000, &error), SHOAL_OK);
    assert_int_equal(put(contents, key, 3000), SHOAL_CORRUPT);
    expect_text(key);
    assert_false(file_exists(path_of(key, true)));
    assert_false(contents_has(contents, key, NULL));
    assert_int_equal(put(contents, key, 3000), SHOAL_OK);
    contents_close(contents);
}

static void test_verify_finds_damage(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    struct contents *contents = open_contents(0, false);
    put_drawn(contents, 6, 700001, key);
    assert_int_equal(contents_verify(contents, key, &error), SHOAL_OK);
    const int fd = open(path_of(key, false), O_WRONLY);
    const unsigned char other = (unsigned char)(data[400000] ^ 1);
    assert_int_equal(pwrite(fd, &other, 1, 400000), 1);
    assert_int_equal(contents_verify(contents, key, &error), SHOAL_CORRUPT);
    expect_text(key);
    assert_int_equal(pwrite(fd, data + 400000, 1, 400000), 1);
    assert_int_equal(contents_verify(contents, key, &error), SHOAL_OK);
    assert_int_equal(ftruncate(fd, 700000), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(contents_verify(contents, key, &error), SHOAL_CORRUPT);
    draw(7, 5, key);
    assert_int_equal(contents_verify(contents, key, &error), SHOAL_NOT_FOUND);
    contents_close(contents);
}

static void test_what_was_used_longest_ago_goes(void **unused) {
    (void)unused;
    enum { KEYS = 5, SIZE = 10000 }; /* 12288 as the quota counts */
    char keys[KEYS + 1][DIGEST_TEXT];
    struct contents *contents = open_contents(UINT64_C(12288) * KEYS, false);
    for (int i = 0; i < KEYS; i++) {
        put_drawn(contents, (uint64_t)i, SIZE, keys[i]);
        age(keys[i], false, 100 - i);
    }
    assert_int_equal(contents_pin(contents, keys[1], &error), SHOAL_OK);
    assert_int_equal(contents_pin(contents, keys[1], &error), SHOAL_OK);
    contents_unpin(contents, keys[1]);                  /* once more than not at all */
    assert_true(contents_has(contents, keys[0], NULL)); /* used now */
    put_drawn(contents, KEYS, SIZE, keys[KEYS]);
    assert_false(file_exists(path_of(keys[2], false)));
    for (int i = 0; i <= KEYS; i++) {
        assert_int_equal(file_exists(path_of(keys[i], false)), i != 2);
    }
    struct contents_usage usage;
    assert_int_equal(contents_usage_get(contents, &usage, &error), SHOAL_OK);
    assert_int_equal(usage.bytes, 12288 * KEYS);
    assert_int_equal(usage.pinned_bytes, 12288);
    assert_int_equal(usage.contents, KEYS);
    assert_int_equal(usage.partials, 0);
    assert_true(usage.disk_free_bytes <= usage.disk_bytes);

    /* More than can go: nothing goes, and the figures are named. */
    assert_int_equal(contents_make_room(contents, UINT64_C(12288) * KEYS - 4096, &error),
                     SHOAL_NO_SPACE);
    expect_text(directory);
    expect_text("0.057 MB"); /* asked */
    expect_text("0.061 MB"); /* quota and used */
    expect_text("0.049 MB"); /* could go */
    assert_int_equal(contents_usage_get(contents, &usage, &error), SHOAL_OK);
    assert_int_equal(usage.contents, KEYS);
    assert_int_equal(contents_make_room(contents, UINT64_MAX, &error), SHOAL_NO_SPACE);
    assert_int_equal(contents_make_room(contents, UINT64_C(12288) * (KEYS - 1), &error), SHOAL_OK);
    assert_int_equal(contents_usage_get(contents, &usage, &error), SHOAL_OK);
    assert_int_equal(usage.contents, 1);
    contents_unpin(contents, keys[1]);
    contents_unpin(contents, keys[1]); /* too often hurts nobody */
    assert_int_equal(contents_make_room(contents, UINT64_C(12288) * KEYS, &error), SHOAL_OK);
    assert_false(contents_has(contents, keys[1], NULL));
    contents_close(contents);
}

static void test_a_quota_of_its_own(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT];
    struct contents *contents = open_contents(0, false);
    struct contents_usage before, after;
    put_drawn(contents, 1, 100000, key);
    assert_int_equal(contents_usage_get(contents, &before, &error), SHOAL_OK);
    assert_int_equal(before.quota_bytes, 0);
    contents_close(contents);
    contents = open_contents(CONTENTS_QUOTA_AUTO, false);
    assert_int_equal(contents_usage_get(contents, &after, &error), SHOAL_OK);
    assert_in_range(after.quota_bytes, before.bytes, before.bytes + after.disk_bytes);
    contents_close(contents);
}

static void test_the_default_directory(void **unused) {
    (void)unused;
    char path[600], expected[600], small[10];
    const char *kept = getenv("SHOAL_HOME");
    char *home = kept != NULL ? mem_strdup(kept) : NULL;
    assert_int_equal(setenv("SHOAL_HOME", directory, 1), 0);
    (void)snprintf(expected, sizeof expected, "%s/cache", directory);
    assert_int_equal(contents_default_directory(path, sizeof path, &error), SHOAL_OK);
    assert_string_equal(path, expected);
    assert_int_equal(contents_default_directory(small, sizeof small, &error), SHOAL_INVALID);
    assert_int_equal(home != NULL ? setenv("SHOAL_HOME", home, 1) : unsetenv("SHOAL_HOME"), 0);
    mem_free(home);
}

static void test_what_is_written_is_promised_its_room(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT], other[DIGEST_TEXT];
    struct contents *contents = open_contents(40960, false);
    struct contents_writer *writer, *second;
    uint64_t have;
    draw(1, 20000, key);
    assert_int_equal(contents_write_begin(contents, key, 20000, &writer, &have, &error), SHOAL_OK);
    draw(2, 20500, other);
    assert_int_equal(contents_write_begin(contents, other, 20500, &second, &have, &error),
                     SHOAL_NO_SPACE);
    assert_false(file_exists(path_of(other, true)));
    assert_int_equal(contents_write_begin(contents, other, 20480, &second, &have, &error),
                     SHOAL_OK);
    assert_int_equal(contents_write(second, data, 9000, &error), SHOAL_OK);
    contents_write_abandon(second);
    assert_int_equal(contents_make_room(contents, 8192, &error), SHOAL_OK);
    assert_true(file_exists(path_of(other, true)));
    assert_int_equal(contents_make_room(contents, 8193, &error), SHOAL_OK); /* partials go too */
    assert_false(file_exists(path_of(other, true)));
    assert_int_equal(contents_make_room(contents, 20481, &error), SHOAL_NO_SPACE);
    contents_write_abandon(writer);
    contents_close(contents);
}

static void test_odd_files_do_not_hurt(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT], link_key[DIGEST_TEXT], path[700], outside[600];
    struct contents *contents = open_contents(0, false);
    put_drawn(contents, 1, 5000, key);
    (void)snprintf(outside, sizeof outside, "%s/outside", directory);
    assert_int_equal(file_write_atomic(outside, "mine", 4, &error), SHOAL_OK);
    draw(2, 6000, link_key);
    (void)snprintf(path, sizeof path, "%s/%.2s", directory, link_key);
    assert_int_equal(file_make_directories(path, &error), SHOAL_OK);
    assert_int_equal(symlink(outside, path_of(link_key, false)), 0);
    assert_int_equal(symlink(outside, path_of(link_key, true)), 0);
    (void)snprintf(path, sizeof path, "%s/%.2s/README", directory, key);
    assert_int_equal(file_write_atomic(path, "x", 1, &error), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/zz", directory);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(contents_has(contents, link_key, NULL));
    assert_int_equal(contents_remove(contents, link_key, false, &error), SHOAL_NOT_FOUND);
    struct contents_entry *entries;
    size_t count;
    assert_int_equal(contents_list(contents, &entries, &count, &error), SHOAL_OK);
    assert_int_equal(count, 1);
    assert_string_equal(entries[0].key, key);
    mem_free(entries);
    /* A content takes the links' place; what they point to stays as it was. */
    assert_int_equal(put(contents, link_key, 6000), SHOAL_OK);
    uint64_t bytes;
    assert_true(contents_has(contents, link_key, &bytes));
    assert_int_equal(bytes, 6000);
    char *text;
    assert_int_equal(file_read(outside, 100, &text, NULL, &error), SHOAL_OK);
    assert_string_equal(text, "mine");
    mem_free(text);
    /* A pipe and a folder where a partial should be. */
    draw(3, 100, key);
    assert_int_equal(mkfifo(path_of(key, true), 0600), 0);
    assert_int_equal(put(contents, key, 100), SHOAL_OK);
    draw(4, 100, key);
    assert_int_equal(mkdir(path_of(key, true), 0700), 0);
    assert_int_equal(put(contents, key, 100), SHOAL_IO);
    expect_text(key);
    /* A file where a folder of contents should be: an error, and the partial waits. */
    uint64_t n = 5;
    do {
        draw(n++, 100, key);
        (void)snprintf(path, sizeof path, "%s/%.2s", directory, key);
    } while (file_exists(path));
    assert_int_equal(file_write_atomic(path, "x", 1, &error), SHOAL_OK);
    assert_false(contents_has(contents, key, NULL));
    assert_int_equal(put(contents, key, 100), SHOAL_IO);
    expect_text(path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(put(contents, key, 100), SHOAL_OK);
    contents_close(contents);
    (void)snprintf(path, sizeof path, "%s/outside/below", directory);
    const struct contents_options options = {.directory = path};
    assert_int_equal(contents_open(&options, &contents, &error), SHOAL_IO);
    expect_text("outside");
}

static void test_old_partials_are_removed(void **unused) {
    (void)unused;
    char keys[3][DIGEST_TEXT];
    struct contents_writer *writer;
    uint64_t have;
    struct contents *contents = open_contents(0, false);
    for (int i = 0; i < 3; i++) {
        draw((uint64_t)i, 100, keys[i]);
        assert_int_equal(contents_write_begin(contents, keys[i], 100, &writer, &have, &error),
                         SHOAL_OK);
        assert_int_equal(contents_write(writer, data, 50, &error), SHOAL_OK);
        if (i < 2) {
            contents_write_abandon(writer);
        }
    }
    age(keys[0], true, CONTENTS_PARTIAL_DAYS + 1);
    age(keys[1], true, CONTENTS_PARTIAL_DAYS - 1);
    age(keys[2], true, CONTENTS_PARTIAL_DAYS + 1); /* old, but somebody is at it */
    contents_close(open_contents(0, false));
    assert_false(file_exists(path_of(keys[0], true)));
    assert_true(file_exists(path_of(keys[1], true)));
    assert_true(file_exists(path_of(keys[2], true)));
    contents_write_abandon(writer);
    contents_close(contents);
}

static void test_two_processes_cannot_have_one_directory(void **unused) {
    (void)unused;
    struct contents *contents = open_contents(123456789, true), *other;
    uint64_t quota;
    const struct contents_options options = {.directory = directory, .lock = true};
    assert_int_equal(contents_holder(contents, NULL), getpid());
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char part[64];
        (void)snprintf(part, sizeof part, "is used by process %ld", (long)getppid());
        const struct contents_options unlocked = {.directory = directory};
        const bool good = contents_open(&options, &other, &error) == SHOAL_BUSY &&
                          strstr(error.text, part) != NULL &&
                          strstr(error.text, directory) != NULL &&
                          contents_open(&unlocked, &other, &error) == SHOAL_OK &&
                          contents_holder(other, &quota) == (long)getppid() && quota == 123456789;
        if (!good) {
            (void)fprintf(stderr, "%s\n", error.text);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    contents_close(contents);
    other = open_contents(0, false);
    assert_int_equal(contents_holder(other, NULL), 0); /* its file is still there */
    contents_close(other);
    contents = open_contents(0, true);
    contents_close(contents);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    char key[DIGEST_TEXT], other[DIGEST_TEXT];
    struct contents *contents = open_contents(0, false), *second;
    struct contents_writer *writer;
    struct contents_entry *entries;
    struct contents_usage usage;
    uint64_t have;
    size_t count;
    put_drawn(contents, 1, 5000, key);
    draw(2, 5000, other);
    assert_int_equal(contents_write_begin(contents, other, 5000, &writer, &have, &error), SHOAL_OK);
    assert_int_equal(contents_write(writer, data, 4000, &error), SHOAL_OK);
    contents_write_abandon(writer);
    const struct contents_options options = {.directory = directory};
    for (uint64_t n = 1;; n++) {
        mem_fail_after(n);
        const shoal_status status = contents_open(&options, &second, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            assert_true(n > 3);
            contents_close(second);
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    for (uint64_t n = 1; n <= 2; n++) { /* the writer, then the piece that is hashed again */
        mem_fail_after(n);
        const shoal_status begun =
            contents_write_begin(contents, other, 5000, &writer, &have, &error);
        mem_fail_after(0);
        assert_int_equal(begun, SHOAL_NO_MEMORY);
    }
    mem_fail_after(1);
    const shoal_status pinned = contents_pin(contents, key, &error);
    const shoal_status verified = contents_verify(contents, key, &error);
    const shoal_status listed = contents_list(contents, &entries, &count, &error);
    const shoal_status used = contents_usage_get(contents, &usage, &error);
    mem_fail_after(0);
    assert_int_equal(pinned, SHOAL_NO_MEMORY);
    assert_int_equal(verified, SHOAL_NO_MEMORY);
    assert_int_equal(listed, SHOAL_NO_MEMORY);
    assert_int_equal(used, SHOAL_NO_MEMORY);
    draw(2, 5000, other);
    assert_int_equal(put(contents, other, 5000), SHOAL_OK); /* nothing was lost */
    contents_close(contents);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_put_is_got),
        TEST(test_keys_from_outside_are_checked),
        TEST(test_a_partial_is_gone_on_with),
        TEST(test_what_is_arriving_can_be_read),
        TEST(test_a_corrupt_partial_is_thrown_away),
        TEST(test_verify_finds_damage),
        TEST(test_what_was_used_longest_ago_goes),
        TEST(test_a_quota_of_its_own),
        TEST(test_the_default_directory),
        TEST(test_what_is_written_is_promised_its_room),
        TEST(test_odd_files_do_not_hurt),
        TEST(test_old_partials_are_removed),
        TEST(test_two_processes_cannot_have_one_directory),
        TEST(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
