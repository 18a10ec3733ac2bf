/* platform/: real files, real processes, real signals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "platform/process.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[256];

static int make_directory(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **state) {
    (void)state;
    file_remove_tree(directory);
    return file_exists(directory) ? -1 : 0;
}

static char *in_directory(const char *name) {
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void atomic_write_then_read_and_map(void **state) {
    (void)state;
    struct shoal_error error;
    char *path = in_directory("a.bin");
    assert_int_equal(file_write_atomic(path, "first", 5, &error), SHOAL_OK);
    assert_int_equal(file_write_atomic(path, "second!", 7, &error), SHOAL_OK);
    char *text;
    size_t size;
    assert_int_equal(file_read(path, 100, &text, &size, &error), SHOAL_OK);
    assert_int_equal(size, 7);
    assert_string_equal(text, "second!");
    mem_free(text);
    struct file_map map;
    assert_int_equal(file_map_open(path, &map, &error), SHOAL_OK);
    assert_memory_equal(map.data, "second!", 7);
    file_map_close(&map);
    char **paths;
    size_t count;
    assert_int_equal(file_list(directory, &paths, &count, &error), SHOAL_OK);
    assert_int_equal(count, 1); /* no temporary file is left */
    file_list_free(paths, count);
}

static void reading_reports_missing_large_and_irregular_files(void **state) {
    (void)state;
    struct shoal_error error;
    char *text = NULL;
    assert_int_equal(file_read(in_directory("none"), 10, &text, NULL, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "none"));
    assert_int_equal(file_write_atomic(in_directory("big"), "0123456789", 10, &error), SHOAL_OK);
    assert_int_equal(file_read(in_directory("big"), 9, &text, NULL, &error), SHOAL_CORRUPT);
    struct file_map map;
    assert_int_equal(file_map_open(directory, &map, &error), SHOAL_IO);
    assert_int_equal(file_map_open(in_directory("none"), &map, &error), SHOAL_NOT_FOUND);
    assert_null(text);
}

static void a_failed_write_leaves_the_old_file(void **state) {
    (void)state;
    struct shoal_error error;
    char *path = in_directory("kept");
    assert_int_equal(file_write_atomic(path, "old", 3, &error), SHOAL_OK);
    char *large = calloc(1, 1 << 20);
    assert_non_null(large);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096; /* writes beyond fail as on a full disk */
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const shoal_status status = file_write_atomic(path, large, 1 << 20, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    free(large);
    assert_int_equal(status, SHOAL_IO);
    char *text;
    assert_int_equal(file_read(path, 100, &text, NULL, &error), SHOAL_OK);
    assert_string_equal(text, "old");
    mem_free(text);
}

static void lists_are_sorted_and_recursive(void **state) {
    (void)state;
    struct shoal_error error;
    assert_int_equal(file_make_directories(in_directory("tree/b/c"), &error), SHOAL_OK);
    assert_int_equal(file_make_directories(in_directory("tree/b/c"), &error), SHOAL_OK);
    assert_int_equal(file_write_atomic(in_directory("tree/z"), "", 0, &error), SHOAL_OK);
    assert_int_equal(file_write_atomic(in_directory("tree/b/c/y"), "", 0, &error), SHOAL_OK);
    assert_int_equal(file_write_atomic(in_directory("tree/.hidden"), "", 0, &error), SHOAL_OK);
    assert_int_equal(symlink("/nowhere/at/all", in_directory("tree/dangling")), 0);
    char **paths;
    size_t count;
    assert_int_equal(file_list(in_directory("tree"), &paths, &count, &error), SHOAL_OK);
    assert_int_equal(count, 2);
    assert_non_null(strstr(paths[0], "/b/c/y"));
    assert_non_null(strstr(paths[1], "/z"));
    file_list_free(paths, count);
    assert_int_equal(file_make_directories(in_directory("tree/z/under-a-file"), &error), SHOAL_IO);
}

static void released_pages_are_read_again(void **state) {
    (void)state;
    enum { BYTES = 1 << 20 };
    struct shoal_error error;
    char *data = malloc(BYTES);
    assert_non_null(data);
    for (int i = 0; i < BYTES; i++) {
        data[i] = (char)(i * 31);
    }
    assert_int_equal(file_write_atomic(in_directory("map"), data, BYTES, &error), SHOAL_OK);
    struct file_map map;
    assert_int_equal(file_map_open(in_directory("map"), &map, &error), SHOAL_OK);
    assert_memory_equal(map.data, data, BYTES);
    file_map_release(&map, 100, BYTES - 100);
    assert_memory_equal(map.data, data, BYTES);
    file_map_close(&map);
    free(data);
}

static void a_child_speaks_ends_and_is_described(void **state) {
    (void)state;
    struct shoal_error error;
    struct process child;
    const char *const speak[] = {"/bin/sh", "-c", "echo hello $WHO; exit 3", NULL};
    const char *const environment[] = {"WHO=shoal", NULL};
    assert_int_equal(process_start(speak, environment, &child, &error), SHOAL_OK);
    char line[64], description[64];
    assert_int_equal(
        process_read_line(&child, line, sizeof line, platform_now_ns() + 10 * CLOCK_SECOND, &error),
        SHOAL_OK);
    assert_string_equal(line, "hello shoal");
    assert_int_equal(
        process_read_line(&child, line, sizeof line, platform_now_ns() + 10 * CLOCK_SECOND, &error),
        SHOAL_CLOSED);
    while (!process_ended(&child, description, sizeof description)) {
        platform_sleep_ns(CLOCK_MS);
    }
    assert_string_equal(description, "exited with status 3");
    process_stop(&child, 0);
}

static void a_silent_child_times_out_and_is_stopped(void **state) {
    (void)state;
    struct shoal_error error;
    struct process child;
    const char *const sleep_long[] = {"/bin/sleep", "1000", NULL};
    assert_int_equal(process_start(sleep_long, NULL, &child, &error), SHOAL_OK);
    char line[64], description[64];
    assert_int_equal(
        process_read_line(&child, line, sizeof line, platform_now_ns() + 20 * CLOCK_MS, &error),
        SHOAL_TIMEOUT);
    const pid_t pid = child.pid;
    assert_false(process_ended(&child, description, sizeof description));
    (void)kill(pid, SIGSTOP);
    process_stop(&child, 5 * CLOCK_SECOND);
    assert_int_equal(kill(pid, 0), -1); /* reaped, not a zombie */
}

static void a_program_that_is_not_there_ends_at_once(void **state) {
    (void)state;
    struct shoal_error error;
    struct process child;
    const char *const missing[] = {"/nowhere/at/all", NULL};
    assert_int_equal(process_start(missing, NULL, &child, &error), SHOAL_OK);
    char line[8];
    assert_int_equal(
        process_read_line(&child, line, sizeof line, platform_now_ns() + 10 * CLOCK_SECOND, &error),
        SHOAL_CLOSED);
    process_stop(&child, CLOCK_SECOND);
}

static void the_machine_answers_sensibly(void **state) {
    (void)state;
    assert_true(cpu_usable_cores() >= 1);
    assert_true(strlen(cpu_model_name()) > 0);
    assert_true(memory_total_bytes() > (size_t)1 << 26);
    assert_true(memory_available_bytes() > 0 && memory_available_bytes() <= memory_total_bytes());
    assert_true(memory_resident_peak() >= memory_resident_bytes() / 2);
    const uint64_t before = platform_now_ns();
    platform_sleep_ns(CLOCK_MS);
    assert_true(platform_now_ns() >= before + CLOCK_MS);
    char path[512];
    assert_int_equal(setenv("SHOAL_HOME", "/tmp/x", 1), 0);
    assert_int_equal(file_data_directory(path, sizeof path, NULL), SHOAL_OK);
    assert_string_equal(path, "/tmp/x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(atomic_write_then_read_and_map),
        cmocka_unit_test(reading_reports_missing_large_and_irregular_files),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(lists_are_sorted_and_recursive),
        cmocka_unit_test(released_pages_are_read_again),
        cmocka_unit_test(a_child_speaks_ends_and_is_described),
        cmocka_unit_test(a_silent_child_times_out_and_is_stopped),
        cmocka_unit_test(a_program_that_is_not_there_ends_at_once),
        cmocka_unit_test(the_machine_answers_sensibly),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
