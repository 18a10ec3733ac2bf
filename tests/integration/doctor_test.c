/* nodes, links and doctor on a cluster that is well, and on one that is broken in every way that a
 * loopback allows. */
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

#include <arpa/inet.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <unistd.h>

static struct nodes nodes;

static int setup(void **state) {
    if (harness_setup(state) != 0) {
        return -1;
    }
    nodes_make(&nodes, 3);
    for (size_t i = 0; i < nodes.count; i++) {
        nodes_start(&nodes, i, "");
    }
    return 0;
}

static int teardown(void **state) {
    nodes_stop_all(&nodes);
    return harness_teardown(state);
}

static const char *text_of(const json_t *document, const char *key) {
    const char *text = json_string_value(json_object_get(document, key));
    return text != NULL ? text : "";
}

static const json_t *find_named(const json_t *list, const char *name) {
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry) {
        if (strcmp(text_of(entry, "name"), name) == 0) {
            return entry;
        }
    }
    fail_msg("%s is not in the list", name);
    return NULL;
}

/* Runs the doctor; its status must be what its document says. */
static json_t *examine(const struct nodes *who) {
    char arguments[1024];
    struct command command;
    (void)nodes_file(who, "");
    (void)snprintf(arguments, sizeof arguments, "doctor --json --cluster %s",
                   harness_path("mine.yaml"));
    command_run(&command, arguments);
    json_t *document = command_json(&command);
    assert_int_equal(command.status, json_is_true(json_object_get(document, "ok")) ? 0 : 1);
    command_free(&command);
    return document;
}

/* The finding of a layer with that level; NULL if there is none. */
static const json_t *find_finding(const json_t *document, const char *device, const char *layer,
                                  const char *level) {
    const json_t *findings =
        json_object_get(find_named(json_object_get(document, "devices"), device), "findings");
    size_t i;
    const json_t *finding;
    json_array_foreach(findings, i, finding) {
        if (strcmp(text_of(finding, "layer"), layer) == 0 &&
            strcmp(text_of(finding, "level"), level) == 0) {
            return finding;
        }
    }
    return NULL;
}

static void expect(const json_t *document, const char *device, const char *layer, const char *level,
                   const char *fix) {
    const json_t *finding = find_finding(document, device, layer, level);
    if (finding == NULL || strstr(text_of(finding, "fix"), fix) == NULL) {
        char *all = json_dumps(document, JSON_INDENT(1));
        fail_msg("wanted %s: %s %s with '%s' in:\n%s", device, layer, level, fix, all);
    }
}

static void a_healthy_cluster_is_well(void **state) {
    (void)state;
    json_t *document = examine(&nodes);
    static const char *const layers[] = {"name", "port", "key", "version", "kernels", "peers"};
    for (size_t i = 0; i < nodes.count; i++) {
        for (size_t k = 0; k < sizeof layers / sizeof layers[0]; k++) {
            expect(document, nodes.nodes[i].name, layers[k], "ok", "");
        }
        /* Memory, disk and speed are the machine's that runs this: they must be spoken of. */
        static const char *const any[] = {"clock", "memory", "disk", "link"};
        for (size_t k = 0; k < sizeof any / sizeof any[0]; k++) {
            assert_true(find_finding(document, nodes.nodes[i].name, any[k], "ok") != NULL ||
                        find_finding(document, nodes.nodes[i].name, any[k], "warning") != NULL);
        }
    }
    json_decref(document);
}

/* Connections are taken by the kernel; nobody ever says anything. */
static int listen_mutely(char address[64]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    struct sockaddr *generic = (struct sockaddr *)(void *)&at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, generic, size), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, generic, &size), 0);
    (void)snprintf(address, 64, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    return fd;
}

static void each_layer_that_breaks_is_named_with_what_mends_it(void **state) {
    (void)state;
    struct nodes broken = nodes;
    (void)snprintf(broken.nodes[0].address, sizeof broken.nodes[0].address, "tcp://127.0.0.1:%d",
                   nodes_free_port());
    memcpy(broken.nodes[1].key, nodes.client, sizeof nodes.client); /* not the key that it has */
    (void)snprintf(broken.nodes[2].address, sizeof broken.nodes[2].address,
                   "tcp://no-such-host.invalid:7700");
    json_t *document = examine(&broken);
    expect(document, "dev-1", "name", "ok", "");
    expect(document, "dev-1", "port", "broken", "systemctl start shoal");
    assert_null(find_finding(document, "dev-1", "key", "ok")); /* cannot be known */
    expect(document, "dev-2", "port", "ok", "");
    expect(document, "dev-2", "key", "broken", "");
    expect(document, "dev-3", "name", "broken", "IP address");
    assert_null(find_finding(document, "dev-3", "port", "ok"));
    json_decref(document);
}

static void who_says_nothing_is_no_node(void **state) {
    (void)state;
    struct nodes broken = nodes;
    const int fd = listen_mutely(broken.nodes[0].address);
    json_t *document = examine(&broken);
    (void)close(fd);
    expect(document, "dev-1", "port", "ok", "");
    expect(document, "dev-1", "key", "broken", "");
    expect(document, "dev-2", "key", "ok", "");
    json_decref(document);
}

static void missing_lines_of_allow_lists_are_shown(void **state) {
    (void)state;
    char line[160];
    nodes_stop(&nodes, 0);
    nodes_stop(&nodes, 1);
    nodes_allow(&nodes, 0, "client");
    nodes_allow(&nodes, 1, "dev-3");
    nodes_start(&nodes, 0, "");
    nodes_start(&nodes, 1, "");
    json_t *document = examine(&nodes);
    (void)snprintf(line, sizeof line, " %s", nodes.client);
    expect(document, "dev-1", "key", "broken", line);
    expect(document, "dev-1", "key", "broken", "systemctl reload shoal");
    (void)snprintf(line, sizeof line, "echo 'dev-3 %s'", nodes.nodes[2].key);
    expect(document, "dev-2", "peers", "broken", line);
    expect(document, "dev-2", "peers", "broken", nodes.nodes[1].allow);
    expect(document, "dev-3", "peers", "ok", "");
    json_decref(document);
    nodes_stop(&nodes, 0);
    nodes_stop(&nodes, 1);
    nodes_allow(&nodes, 0, NULL);
    nodes_allow(&nodes, 1, NULL);
    nodes_start(&nodes, 0, "");
    nodes_start(&nodes, 1, "");
    document = examine(&nodes); /* what was mended is well */
    expect(document, "dev-1", "key", "ok", "");
    expect(document, "dev-2", "peers", "ok", "");
    json_decref(document);
}

static void what_is_wrong_on_this_side_comes_first(void **state) {
    (void)state;
    struct command command;
    char arguments[1024];
    (void)nodes_file(&nodes, "");
    (void)snprintf(arguments, sizeof arguments, "doctor --json --key /nonexistent/key --cluster %s",
                   harness_path("mine.yaml"));
    command_run(&command, arguments);
    assert_int_equal(command.status, 1);
    json_t *document = command_json(&command);
    const json_t *finding = json_array_get(json_object_get(document, "local"), 0);
    assert_string_equal(text_of(finding, "layer"), "key");
    assert_non_null(strstr(text_of(finding, "text"), "shoal key"));
    json_decref(document);
    command_free(&command);
    command_run(&command, "doctor --cluster /nonexistent/mine.yaml");
    assert_int_equal(command.status, 1);
    assert_non_null(strstr(command.error, "/nonexistent/mine.yaml"));
    command_free(&command);
    command_run(&command, "doctor");
    assert_int_equal(command.status, 2);
    command_free(&command);
}

static void nodes_says_who_is_there(void **state) {
    (void)state;
    (void)nodes_file(&nodes, "");
    json_t *document = nodes_json(&nodes, "nodes", 0);
    for (size_t i = 0; i < nodes.count; i++) {
        const json_t *node = find_named(json_object_get(document, "nodes"), nodes.nodes[i].name);
        assert_true(json_is_true(json_object_get(node, "up")));
        assert_string_equal(text_of(node, "key"), nodes.nodes[i].key);
        assert_int_equal(json_integer_value(json_object_get(node, "threads")), 1);
        assert_true(json_integer_value(json_object_get(node, "memory_total")) > 0);
        assert_int_equal(json_array_size(json_object_get(node, "jobs")), 0);
    }
    json_decref(document);
    struct nodes broken = nodes;
    (void)snprintf(broken.nodes[1].address, sizeof broken.nodes[1].address, "tcp://127.0.0.1:%d",
                   nodes_free_port());
    (void)nodes_file(&broken, "");
    document = nodes_json(&broken, "nodes", 1);
    const json_t *node = find_named(json_object_get(document, "nodes"), "dev-2");
    assert_true(json_is_false(json_object_get(node, "up")));
    assert_string_equal(text_of(node, "reason"), "no listener");
    assert_true(json_is_true(
        json_object_get(find_named(json_object_get(document, "nodes"), "dev-3"), "up")));
    json_decref(document);
}

static int count_rows(void *context, int columns, char **values, char **names) {
    (void)columns;
    (void)names;
    *(int *)context = atoi(values[0]);
    return 0;
}

static int stored_links(void) {
    sqlite3 *database;
    int count = -1;
    assert_int_equal(sqlite3_open(harness_path("home/shoal.db"), &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database,
                                  "SELECT count(*) FROM profiles WHERE key LIKE 'link 2%'",
                                  count_rows, &count, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    return count;
}

static void links_measures_both_directions_of_every_pair_and_keeps_them(void **state) {
    (void)state;
    (void)nodes_file(&nodes, "");
    json_t *document = nodes_json(&nodes, "links --share 0.5", 0);
    const json_t *links = json_object_get(document, "links");
    assert_int_equal(json_array_size(links), 4 * 3);
    size_t i;
    const json_t *link;
    json_array_foreach(links, i, link) {
        assert_true(json_is_true(json_object_get(link, "measured")));
        assert_true(json_number_value(json_object_get(link, "alpha_s")) >= 0);
        assert_string_not_equal(text_of(link, "from"), text_of(link, "to"));
    }
    json_decref(document);
    assert_int_equal(stored_links(), 4 * 3);
    struct command command;
    command_run(&command, "links --share 2 --cluster x");
    assert_int_equal(command.status, 2);
    command_free(&command);
}

/* Waits until dev-1 has a job; its owner's name. */
static void await_job(void) {
    for (int tries = 0; tries < 900; tries++) {
        json_t *document = nodes_json(&nodes, "nodes", 0);
        const json_t *node = find_named(json_object_get(document, "nodes"), "dev-1");
        const json_t *job = json_array_get(json_object_get(node, "jobs"), 0);
        const bool there = job != NULL;
        if (there) {
            assert_true(strncmp(text_of(job, "owner"), "client#", 7) == 0);
            assert_int_equal(json_integer_value(json_object_get(job, "stages")), 3);
        }
        json_decref(document);
        if (there) {
            return;
        }
        platform_sleep_ns(100 * CLOCK_MS);
    }
    fail_msg("dev-1 never shows the job");
}

static void links_are_measured_beside_a_running_job(void **state) {
    (void)state;
    struct command run;
    char arguments[1024];
    (void)snprintf(arguments, sizeof arguments,
                   "run vit-test --input random:100000000 --kernels reference --cluster %s",
                   nodes_file(&nodes, ""));
    command_start(&run, arguments);
    await_job();
    json_t *document = nodes_json(&nodes, "links --share 0.5", 0);
    assert_int_equal(json_array_size(json_object_get(document, "links")), 4 * 3);
    json_decref(document);
    document = examine(&nodes);
    expect(document, "dev-1", "kernels", "ok", "");
    json_decref(document);
    assert_true(process_exists(run.pid)); /* and it goes on */
    assert_int_equal(kill(run.pid, SIGINT), 0);
    command_wait(&run);
    assert_int_equal(run.status, 130);
    command_free(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_cluster_is_well),
        cmocka_unit_test(each_layer_that_breaks_is_named_with_what_mends_it),
        cmocka_unit_test(who_says_nothing_is_no_node),
        cmocka_unit_test(nodes_says_who_is_there),
        cmocka_unit_test(links_measures_both_directions_of_every_pair_and_keeps_them),
        cmocka_unit_test(links_are_measured_beside_a_running_job),
        cmocka_unit_test(what_is_wrong_on_this_side_comes_first),
        cmocka_unit_test(missing_lines_of_allow_lists_are_shown),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
