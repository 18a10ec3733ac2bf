/* shoal key: what it makes, shows and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

#include <sys/stat.h>
#include <unistd.h>

static char *secret_of(const char *path) {
    char *text = harness_read(path);
    assert_non_null(text);
    char *secret = strstr(text, "secret ");
    assert_non_null(secret);
    char *copy = strndup(secret + 7, 40);
    free(text);
    return copy;
}

static json_t *key_json(const char *arguments) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != 0) {
        fail_msg("shoal %s: %s", arguments, command.error);
    }
    json_t *document = command_json(&command);
    command_free(&command);
    return document;
}

static void it_makes_a_private_file_once_and_never_shows_the_secret(void **state) {
    (void)state;
    struct command command;
    struct stat status;
    command_run(&command, "key --name pi-1");
    assert_int_equal(command.status, 0);
    char *secret = secret_of(harness_path("home/key"));
    assert_int_equal(stat(harness_path("home/key"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_non_null(strstr(command.out, "- {name: pi-1, address: \"tcp://"));
    assert_null(strstr(command.out, secret));
    assert_null(strstr(command.error, secret));
    command_free(&command);
    command_run(&command, "key --name pi-1 --json");
    assert_null(strstr(command.out, secret));
    json_t *document = command_json(&command);
    assert_true(json_is_false(json_object_get(document, "made")));
    json_decref(document);
    command_free(&command);
    char *again = secret_of(harness_path("home/key"));
    assert_string_equal(secret, again);
    free(again);
    free(secret);
}

/* What it prints is what the cluster file and the allow-list take. */
static void its_lines_can_be_used_as_they_are(void **state) {
    (void)state;
    struct command command;
    command_run(&command, "key --name pi-1");
    const char *line = strstr(command.out, "  - {name: pi-1, address:");
    assert_non_null(line);
    char text[1024], arguments[1024];
    (void)snprintf(text, sizeof text, "devices:\n%.*s\n", (int)strcspn(line, "\n"), line);
    char *placeholder = strstr(text, "<this machine's address>");
    if (placeholder != NULL) { /* a machine without a network */
        memmove(placeholder + 9, placeholder + 24, strlen(placeholder + 24) + 1);
        memcpy(placeholder, "192.0.2.1", 9);
    }
    harness_write(harness_path("mine.yaml"), text, strlen(text));
    /* A node takes it as its allow-list: it gets as far as its address, which is none. */
    char key[600];
    (void)snprintf(key, sizeof key, "%s", harness_path("home/key"));
    (void)snprintf(arguments, sizeof arguments, "node --listen nonsense --key %s --allow %s", key,
                   harness_path("mine.yaml"));
    command_free(&command);
    command_run(&command, arguments);
    assert_int_not_equal(command.status, 0);
    assert_non_null(strstr(command.error, "nonsense"));
    command_free(&command);
}

static void each_file_has_a_key_of_its_own(void **state) {
    (void)state;
    char arguments[700];
    (void)snprintf(arguments, sizeof arguments, "key --json --key %s", harness_path("a/b/one.key"));
    json_t *one = key_json(arguments), *two = key_json("key --json");
    assert_true(json_is_true(json_object_get(one, "made")));
    assert_string_not_equal(json_string_value(json_object_get(one, "public_key")),
                            json_string_value(json_object_get(two, "public_key")));
    json_decref(one);
    json_decref(two);
}

static void expect_refusal(const char *arguments, int status, const char *said) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != status || strstr(command.error, said) == NULL) {
        fail_msg("shoal %s: status %d, wanted %d and '%s'; said: %s", arguments, command.status,
                 status, said, command.error);
    }
    command_free(&command);
}

static void what_is_unsafe_or_wrong_is_refused(void **state) {
    (void)state;
    char arguments[1300], path[600];
    (void)snprintf(path, sizeof path, "%s", harness_path("wide.key"));
    (void)snprintf(arguments, sizeof arguments, "key --show --key %s", path);
    expect_refusal(arguments, 1, "there is no key file");
    (void)snprintf(arguments, sizeof arguments, "key --key %s", path);
    json_decref(key_json("key --json"));
    struct command command;
    command_run(&command, arguments);
    assert_int_equal(command.status, 0);
    command_free(&command);
    assert_int_equal(chmod(path, 0644), 0);
    expect_refusal(arguments, 1, "chmod 600");
    expect_refusal("key --name pi#1", 2, "'#'");
    expect_refusal("key --name ...", 2, "no name");
    harness_write(path, "garbage\n", 8);
    assert_int_equal(chmod(path, 0600), 0);
    expect_refusal(arguments, 1, "wide.key:1:");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_makes_a_private_file_once_and_never_shows_the_secret),
        cmocka_unit_test(its_lines_can_be_used_as_they_are),
        cmocka_unit_test(each_file_has_a_key_of_its_own),
        cmocka_unit_test(what_is_unsafe_or_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
