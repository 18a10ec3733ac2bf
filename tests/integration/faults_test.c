/* Devices that die or stall, owners that go away, disks that fill: real signals to real processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#define DEVICES 3

static void pause_ms(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void all_are_gone(const pid_t *pids, size_t count) {
    for (size_t i = 0; i < count; i++) {
        for (int tries = 0; process_exists(pids[i]); tries++) {
            if (tries > 2000) {
                fail_msg("device process %ld lives on", (long)pids[i]);
            }
            pause_ms(5);
        }
    }
}

/* The lines of a run that was not disturbed: what every other run's output must begin with. */
static char *expected;

static void make_expected(void) {
    char text[900], output[600];
    (void)snprintf(output, sizeof output, "%s", harness_path("whole.jsonl"));
    (void)snprintf(text, sizeof text,
                   "run vit-test --input random:400 --threads 1 --in-process --json --output %s",
                   output);
    struct command command;
    command_run(&command, text);
    assert_int_equal(command.status, 0);
    command_free(&command);
    expected = harness_read(output);
    assert_int_equal(count_lines(expected), 400);
}

/* Results delivered before the failure: whole lines, in order, none lost, none twice. */
static void check_kept(const char *path) {
    char *lines = harness_read(path);
    const size_t length = lines != NULL ? strlen(lines) : 0;
    assert_true(length <= strlen(expected));
    assert_memory_equal(lines != NULL ? lines : "", expected, length);
    assert_true(length == 0 || lines[length - 1] == '\n');
    free(lines);
}

/* Endless input: the run cannot finish before it is disturbed. */
#define ENDLESS "run vit-test --input random:100000000 --threads 1 --devices 3 --output %s"

static void disturb(int device, int number, long after_ms, struct command *command,
                    pid_t pids[DEVICES]) {
    char text[900];
    (void)snprintf(text, sizeof text, ENDLESS " --deadline 5", harness_path("kept.jsonl"));
    command_start(command, text);
    await_children(command->pid, DEVICES, pids);
    pause_ms(after_ms);
    assert_int_equal(kill(pids[device], number), 0);
    command_wait(command);
}

static void first_lines_are_expected(void) {
    char *path = harness_path("kept.jsonl");
    char *lines = harness_read(path);
    size_t cut = 0, seen = 0;
    for (const char *p = lines; p != NULL && *p != '\0' && seen < 400; p++) {
        seen += *p == '\n';
        cut = (size_t)(p - lines) + 1;
    }
    if (lines != NULL) {
        assert_true(cut == 0 || lines[strlen(lines) - 1] == '\n');
        lines[cut] = '\0';
        harness_write(path, lines, cut);
        check_kept(path);
    }
    free(lines);
}

static void a_killed_device_ends_the_run_and_is_named(void **state) {
    (void)state;
    const char *chosen = getenv("SHOAL_TEST_SEED"), *times = getenv("SHOAL_TEST_ROUNDS");
    const unsigned seed = chosen != NULL ? (unsigned)strtoul(chosen, NULL, 10) : 20261121U;
    const int rounds = times != NULL ? atoi(times) : 6;
    print_message("SHOAL_TEST_SEED=%u\n", seed);
    srand(seed);
    for (int i = 0; i < rounds; i++) {
        const int device = i % DEVICES;
        const long after_ms = rand() % 1500; /* during start, profile, loading or the run */
        struct command command;
        pid_t pids[DEVICES];
        disturb(device, SIGKILL, after_ms, &command, pids);
        char name[32];
        (void)snprintf(name, sizeof name, "local-%d", device + 1);
        if (command.status != 4 || strstr(command.error, name) == NULL) {
            fail_msg("killed %s after %ld ms: status %d, said: %s", name, after_ms, command.status,
                     command.error);
        }
        all_are_gone(pids, DEVICES);
        first_lines_are_expected();
        command_free(&command);
    }
}

static void a_stalled_device_ends_the_run_within_the_deadline(void **state) {
    (void)state;
    struct command command;
    pid_t pids[DEVICES];
    const time_t begin = time(NULL);
    disturb(1, SIGSTOP, 2500, &command, pids);
    assert_int_equal(command.status, 4);
    assert_non_null(strstr(command.error, "local-2"));
    assert_true(time(NULL) - begin < 60);
    all_are_gone(pids, DEVICES);
    first_lines_are_expected();
    command_free(&command);
}

static void stop_by(int number) {
    struct command command;
    pid_t pids[DEVICES];
    char text[900];
    (void)snprintf(text, sizeof text, ENDLESS, harness_path("kept.jsonl"));
    command_start(&command, text);
    await_children(command.pid, DEVICES, pids);
    pause_ms(2000);
    assert_int_equal(kill(command.pid, number), 0);
    command_wait(&command);
    assert_int_equal(command.status, 130);
    assert_non_null(strstr(command.error, "interrupted"));
    all_are_gone(pids, DEVICES);
    first_lines_are_expected();
    command_free(&command);
}

static void ctrl_c_stops_cleanly(void **state) {
    (void)state;
    stop_by(SIGINT);
}

static void a_closed_terminal_stops_cleanly(void **state) {
    (void)state;
    stop_by(SIGHUP);
}

static void devices_end_with_an_owner_that_is_killed(void **state) {
    (void)state;
    struct command command;
    pid_t pids[DEVICES];
    char text[900];
    (void)snprintf(text, sizeof text, ENDLESS, harness_path("kept.jsonl"));
    command_start(&command, text);
    await_children(command.pid, DEVICES, pids);
    pause_ms(1000);
    assert_int_equal(kill(command.pid, SIGKILL), 0);
    command_wait(&command);
    all_are_gone(pids, DEVICES);
    command_free(&command);
}

static void a_full_disk_ends_the_run_with_its_reason(void **state) {
    (void)state;
    struct command command;
    command_run(&command,
                "run vit-test --input random:100 --threads 1 --in-process --output /dev/full");
    assert_int_equal(command.status, 1);
    assert_non_null(strstr(command.error, "/dev/full"));
    assert_non_null(strstr(command.error, "No space left"));
    command_free(&command);
}

static int setup(void **state) {
    if (harness_setup(state) != 0) {
        return -1;
    }
    make_expected();
    return 0;
}

static int teardown(void **state) {
    free(expected);
    return harness_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_device_ends_the_run_and_is_named),
        cmocka_unit_test(a_stalled_device_ends_the_run_within_the_deadline),
        cmocka_unit_test(ctrl_c_stops_cleanly),
        cmocka_unit_test(a_closed_terminal_stops_cleanly),
        cmocka_unit_test(devices_end_with_an_owner_that_is_killed),
        cmocka_unit_test(a_full_disk_ends_the_run_with_its_reason),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
