/* Key files and allow-lists: what is taken, and that every refusal names the place and the way out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "platform/file.h"
#include "runtime/keys.h"

#include <sys/stat.h>
#include <unistd.h>

static char directory[256];
static struct shoal_error error;

static int setup(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

static char *in_directory(const char *name) {
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static const char *write_text(const char *name, const char *text, mode_t mode) {
    const char *path = in_directory(name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &error), SHOAL_OK);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void make(struct zmq_keypair *out) {
    assert_int_equal(zmq_keypair_make(out, &error), SHOAL_OK);
}

static void key_files_round_trip_and_must_be_private(void **state) {
    (void)state;
    struct zmq_keypair made, read;
    struct stat status;
    make(&made);
    char *path = in_directory("a.key");
    assert_int_equal(keys_write(path, &made, &error), SHOAL_OK);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(status.st_nlink, 1);
    assert_int_equal(keys_read(path, &read, &error), SHOAL_OK);
    assert_string_equal(made.public_key, read.public_key);
    assert_string_equal(made.secret_key, read.secret_key);
    static const mode_t wide[] = {0640, 0620, 0604, 0602, 0601, 0610};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        assert_int_equal(chmod(path, wide[i]), 0);
        assert_int_equal(keys_read(path, &read, &error), SHOAL_DENIED);
        assert_non_null(strstr(error.text, "chmod 600"));
    }
    assert_int_equal(keys_read(in_directory("none.key"), &read, &error), SHOAL_NOT_FOUND);
}

static void key_files_are_never_overwritten(void **state) {
    (void)state;
    struct zmq_keypair first, second, read;
    make(&first);
    make(&second);
    char *path = in_directory("b.key");
    assert_int_equal(keys_write(path, &first, &error), SHOAL_OK);
    assert_int_equal(keys_write(path, &second, &error), SHOAL_BUSY);
    assert_non_null(strstr(error.text, "exists already"));
    assert_int_equal(keys_read(path, &read, &error), SHOAL_OK);
    assert_string_equal(read.public_key, first.public_key);
    char **left;
    size_t count;
    assert_int_equal(file_list(directory, &left, &count, &error), SHOAL_OK);
    for (size_t i = 0; i < count; i++) {
        assert_null(strstr(left[i], ".tmp"));
    }
    file_list_free(left, count);
}

static void a_link_to_a_key_that_others_may_read_is_refused(void **state) {
    (void)state;
    struct zmq_keypair keys, read;
    char target[512];
    make(&keys);
    (void)snprintf(target, sizeof target, "%s", in_directory("target.key"));
    assert_int_equal(keys_write(target, &keys, &error), SHOAL_OK);
    assert_int_equal(symlink(target, in_directory("link.key")), 0);
    assert_int_equal(keys_read(in_directory("link.key"), &read, &error), SHOAL_OK);
    assert_int_equal(chmod(target, 0644), 0);
    assert_int_equal(keys_read(in_directory("link.key"), &read, &error), SHOAL_DENIED);
    assert_int_equal(keys_read(directory, &read, &error), SHOAL_IO);
}

static void another_users_key_file_is_refused(void **state) {
    (void)state;
    struct zmq_keypair keys, read;
    if (geteuid() != 0) {
        print_message("SKIPPED: another user's key file (only root can make one)\n");
        skip();
    }
    make(&keys);
    char *path = in_directory("theirs.key");
    assert_int_equal(keys_write(path, &keys, &error), SHOAL_OK);
    assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    assert_int_equal(keys_read(path, &read, &error), SHOAL_DENIED);
    assert_non_null(strstr(error.text, "user 12345"));
    assert_non_null(strstr(error.text, "chown"));
}

static void corrupt_key_files_name_the_line_and_show_nothing(void **state) {
    (void)state;
    struct zmq_keypair a, b, read;
    make(&a);
    make(&b);
    char foreign[256], twice[256], cut[256];
    (void)snprintf(foreign, sizeof foreign, "public %s\nsecret %s\n", a.public_key, b.secret_key);
    (void)snprintf(twice, sizeof twice, "secret %s\nsecret %s\n", a.secret_key, b.secret_key);
    (void)snprintf(cut, sizeof cut, "public %s\nsecret %.39s\n", a.public_key, a.secret_key);
    const struct {
        const char *text, *said;
    } cases[] = {
        {"", "bad.key:0:"},
        {"public short\n", "bad.key:1:"},
        {"# only a comment\n", "bad.key:1:"},
        {"\n# c\nhello world\n", "bad.key:3:"},
        {"public\n", "bad.key:1:"},
        {foreign, "not that of its secret key"},
        {twice, "bad.key:2: a second line"},
        {cut, "bad.key:2:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *path = write_text("bad.key", cases[i].text, 0600);
        assert_int_equal(keys_read(path, &read, &error), SHOAL_CORRUPT);
        if (strstr(error.text, cases[i].said) == NULL) {
            fail_msg("wanted '%s', got: %s", cases[i].said, error.text);
        }
        assert_null(strstr(error.text, a.secret_key));
        char most[40];
        (void)snprintf(most, sizeof most, "%.39s", a.secret_key);
        assert_null(strstr(error.text, most));
    }
}

static void allow_lists_round_trip(void **state) {
    (void)state;
    struct zmq_keypair keys;
    struct zmq_allowed allowed[2] = {{.name = "pi-1"}, {.name = "laptop"}}, *read;
    size_t count;
    for (int i = 0; i < 2; i++) {
        make(&keys);
        memcpy(allowed[i].public_key, keys.public_key, sizeof keys.public_key);
    }
    char *path = in_directory("allow");
    assert_int_equal(keys_write_allowed(path, allowed, 2, &error), SHOAL_OK);
    assert_int_equal(keys_read_allowed(path, &read, &count, &error), SHOAL_OK);
    assert_int_equal(count, 2);
    assert_memory_equal(read, allowed, sizeof allowed);
    mem_free(read);
    char text[512];
    (void)snprintf(text, sizeof text, "# peers\r\n\r\npi-1\t %s  \r\n# end", allowed[0].public_key);
    path = in_directory("allow-crlf");
    assert_int_equal(file_write_atomic(path, text, strlen(text), &error), SHOAL_OK);
    assert_int_equal(keys_read_allowed(path, &read, &count, &error), SHOAL_OK);
    assert_int_equal(count, 1);
    assert_memory_equal(read, allowed, sizeof *allowed);
    mem_free(read);
}

static void corrupt_allow_lists_name_the_line(void **state) {
    (void)state;
    struct zmq_keypair a, b;
    make(&a);
    make(&b);
    char same_name[256], same_key[256], nameless[256], marked[256], star[256];
    (void)snprintf(same_name, sizeof same_name, "x %s\nx %s\n", a.public_key, b.public_key);
    (void)snprintf(same_key, sizeof same_key, "x %s\n#\ny %s\n", a.public_key, a.public_key);
    (void)snprintf(nameless, sizeof nameless, " %s\n", a.public_key);
    (void)snprintf(marked, sizeof marked, "pi#1 %s\n", a.public_key);
    (void)snprintf(star, sizeof star, "* %s\n", a.public_key);
    const struct {
        const char *text, *where, *why;
    } cases[] = {
        {"# peers\n\npi-1 nokey\n", "bad-allow:3:", "shoal key"},
        {"pi-1\n", "bad-allow:1:", "'NAME KEY'"},
        {nameless, "bad-allow:1:", "no name"},
        {marked, "bad-allow:1:", "'#'"},
        {star, "bad-allow:1:", "any device"},
        {same_name, "bad-allow:2:", "name of 'x'"},
        {same_key, "bad-allow:3:", "key of 'x'"},
        {"devices:\n  - {name: a}\n", "bad-allow:2:", "\"address\""},
        {"# c\n{devices: []}\n", "bad-allow:2:", "no device"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct zmq_allowed *list;
        size_t count;
        const char *path = write_text("bad-allow", cases[i].text, 0644);
        assert_int_equal(keys_read_allowed(path, &list, &count, &error), SHOAL_CORRUPT);
        if (strstr(error.text, cases[i].where) == NULL ||
            strstr(error.text, cases[i].why) == NULL) {
            fail_msg("wanted '%s … %s', got: %s", cases[i].where, cases[i].why, error.text);
        }
    }
    struct zmq_allowed *list;
    size_t count;
    const char *path = write_text("open-allow", "", 0666);
    assert_int_equal(keys_read_allowed(path, &list, &count, &error), SHOAL_DENIED);
    assert_non_null(strstr(error.text, "chmod o-w"));
}

static void a_cluster_file_is_an_allow_list(void **state) {
    (void)state;
    struct zmq_keypair a, b;
    make(&a);
    make(&b);
    char text[512];
    (void)snprintf(text, sizeof text,
                   "# mine\n\ndevices:\n  - {name: pi-1, address: \"tcp://a:1\", key: \"%s\"}\n"
                   "clients:\n  - {name: anna, key: \"%s\"}\n",
                   a.public_key, b.public_key);
    struct zmq_allowed *list;
    size_t count;
    const char *path = write_text("mine.yaml", text, 0644);
    assert_int_equal(keys_read_allowed(path, &list, &count, &error), SHOAL_OK);
    assert_int_equal(count, 2);
    assert_string_equal(list[0].name, "pi-1");
    assert_string_equal(list[0].public_key, a.public_key);
    assert_string_equal(list[1].name, "anna");
    assert_string_equal(list[1].public_key, b.public_key);
    mem_free(list);
    (void)snprintf(text, sizeof text, "devices: %s\n", a.public_key); /* a strange name, but one */
    path = write_text("odd-allow", text, 0644);
    assert_int_equal(keys_read_allowed(path, &list, &count, &error), SHOAL_OK);
    assert_string_equal(list[0].name, "devices:");
    mem_free(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_files_round_trip_and_must_be_private),
        cmocka_unit_test(key_files_are_never_overwritten),
        cmocka_unit_test(a_link_to_a_key_that_others_may_read_is_refused),
        cmocka_unit_test(another_users_key_file_is_refused),
        cmocka_unit_test(corrupt_key_files_name_the_line_and_show_nothing),
        cmocka_unit_test(allow_lists_round_trip),
        cmocka_unit_test(corrupt_allow_lists_name_the_line),
        cmocka_unit_test(a_cluster_file_is_an_allow_list),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
