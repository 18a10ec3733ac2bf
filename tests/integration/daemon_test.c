/* `shoal node` as a daemon: signals, owners that stop or meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes.h"
#include "platform/clock.h"

#include <signal.h>

#define PATIENCE_NS (100 * CLOCK_SECOND)

static struct nodes nodes;

/* Two nodes; the drain is long enough for every run here. */
static int setup(void **state) {
    if (harness_setup(state) != 0) {
        return -1;
    }
    nodes_make(&nodes, 2);
    for (size_t i = 0; i < nodes.count; i++) {
        nodes_start(&nodes, i, "--drain 100");
    }
    (void)nodes_file(&nodes, "");
    return 0;
}

static int teardown(void **state) {
    nodes_stop_all(&nodes);
    return harness_teardown(state);
}

static void start_run(struct command *command, int items, const char *more) {
    char text[1500], path[600];
    (void)snprintf(path, sizeof path, "%s", harness_path("mine.yaml"));
    (void)snprintf(text, sizeof text,
                   "run vit-test --input random:%d --kernels reference --json --cluster %s %s",
                   items, path, more);
    command_start(command, text);
}

static const char *said(const json_t *document, const char *key) {
    const char *text = json_string_value(json_object_get(document, key));
    return text != NULL ? text : "";
}

/* The digest of a run that went well; frees the command. */
static void take_digest(struct command *command, char digest[80]) {
    command_wait(command);
    if (command->status != 0) {
        fail_msg("status %d: %s", command->status, command->error);
    }
    json_t *document = command_json(command);
    (void)snprintf(digest, 80, "%s", said(document, "output_digest"));
    json_decref(document);
    command_free(command);
}

static void await_lines(const struct command *command, const char *path, size_t lines) {
    const uint64_t deadline = platform_now_ns() + PATIENCE_NS;
    for (;;) {
        char *text = harness_read(path);
        const size_t have = text != NULL ? count_lines(text) : 0;
        free(text);
        if (have >= lines) {
            return;
        }
        if (platform_now_ns() > deadline || !process_exists(command->pid)) {
            fail_msg("%s has %zu lines, wanted were %zu", path, have, lines);
        }
        platform_sleep_ns(10 * CLOCK_MS);
    }
}

/* Counts how often the node's log says so. */
static size_t count_said(size_t node, const char *text) {
    size_t count = 0;
    char *log = command_said(&nodes.nodes[node].command, "err");
    for (const char *p = log; p != NULL && (p = strstr(p, text)) != NULL; p++) {
        count++;
    }
    free(log);
    return count;
}

static void await_said(size_t node, const char *text, size_t more_than) {
    const uint64_t deadline = platform_now_ns() + PATIENCE_NS;
    while (count_said(node, text) <= more_than) {
        assert_true(platform_now_ns() < deadline);
        platform_sleep_ns(10 * CLOCK_MS);
    }
}

static void two_owners_at_once_get_what_one_gets(void **state) {
    (void)state;
    struct command first, second;
    char alone[80], a[80], b[80];
    start_run(&first, 200, "");
    take_digest(&first, alone); /* this also measured what the others need */
    start_run(&first, 200, "");
    start_run(&second, 200, "");
    take_digest(&first, a);
    take_digest(&second, b);
    assert_string_equal(a, alone);
    assert_string_equal(b, alone);
}

static void sigterm_lets_the_run_finish(void **state) {
    (void)state;
    struct command run;
    char path[600], more[700], digest[80];
    (void)snprintf(path, sizeof path, "%s", harness_path("drained.jsonl"));
    (void)snprintf(more, sizeof more, "--output %s", path);
    start_run(&run, 2000, more);
    await_lines(&run, path, 10);
    struct command *node = &nodes.nodes[1].command;
    assert_int_equal(kill(node->pid, SIGTERM), 0);
    command_await(node, "err", "stopping");
    take_digest(&run, digest);
    command_wait(node);
    assert_int_equal(node->status, 0);
    char *lines = harness_read(path);
    assert_int_equal(count_lines(lines), 2000);
    free(lines);
    command_free(node);
    nodes_start(&nodes, 1, "--drain 100");
    (void)nodes_file(&nodes, "");
}

static void a_second_sigterm_ends_it_at_once(void **state) {
    (void)state;
    struct command run;
    char path[600], more[700];
    (void)snprintf(path, sizeof path, "%s", harness_path("cut.jsonl"));
    (void)snprintf(more, sizeof more, "--output %s", path);
    start_run(&run, 100000000, more);
    await_lines(&run, path, 10);
    struct command *node = &nodes.nodes[1].command;
    assert_int_equal(kill(node->pid, SIGTERM), 0);
    command_await(node, "err", "stopping");
    assert_int_equal(kill(node->pid, SIGTERM), 0);
    command_wait(node);
    assert_int_equal(node->status, 128 + SIGTERM);
    command_free(node);
    command_wait(&run);
    assert_int_equal(run.status, 4);
    assert_non_null(strstr(run.error, nodes.nodes[1].name));
    command_free(&run);
    nodes_start(&nodes, 1, "--drain 100");
    (void)nodes_file(&nodes, "");
}

static void a_stopped_owner_loses_its_job(void **state) {
    (void)state;
    struct command run, next;
    char path[600], more[700], digest[80];
    (void)snprintf(path, sizeof path, "%s", harness_path("stopped.jsonl"));
    (void)snprintf(more, sizeof more, "--output %s", path);
    start_run(&run, 100000000, more);
    await_lines(&run, path, 10);
    const size_t before = count_said(0, "is dropped: its owner is gone");
    assert_int_equal(kill(run.pid, SIGSTOP), 0);
    await_said(0, "is dropped: its owner is gone", before);
    start_run(&next, 50, "");
    take_digest(&next, digest);
    assert_int_equal(kill(run.pid, SIGCONT), 0);
    command_wait(&run);
    assert_int_equal(run.status, 4);
    command_free(&run);
}

static void hang_up(size_t node, const char *answer) {
    const size_t before = count_said(node, answer);
    assert_int_equal(kill(nodes.nodes[node].command.pid, SIGHUP), 0);
    await_said(node, answer, before);
}

static void sighup_reads_the_allow_list_again(void **state) {
    (void)state;
    struct command run;
    char digest[80];
    nodes_allow(&nodes, 0, "client");
    hang_up(0, "was read again");
    start_run(&run, 20, "");
    command_wait(&run);
    assert_int_equal(run.status, 4);
    assert_non_null(strstr(run.error, nodes.nodes[0].name));
    command_free(&run);
    nodes_allow(&nodes, 0, NULL);
    hang_up(0, "was read again");
    start_run(&run, 20, "");
    take_digest(&run, digest);
}

static void a_bad_allow_list_changes_nothing(void **state) {
    (void)state;
    struct command run;
    char digest[80];
    harness_write(nodes.nodes[0].allow, "nonsense\n", 9);
    hang_up(0, "the allow-list stays as it was");
    start_run(&run, 20, "");
    take_digest(&run, digest);
    nodes_allow(&nodes, 0, NULL);
    hang_up(0, "was read again");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_owners_at_once_get_what_one_gets),
        cmocka_unit_test(sigterm_lets_the_run_finish),
        cmocka_unit_test(a_second_sigterm_ends_it_at_once),
        cmocka_unit_test(a_stopped_owner_loses_its_job),
        cmocka_unit_test(sighup_reads_the_allow_list_again),
        cmocka_unit_test(a_bad_allow_list_changes_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
