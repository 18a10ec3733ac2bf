#include "nodes.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platform/clock.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_NS (60 * CLOCK_SECOND)

static void make_key(const char *path, char out[64]) {
    char arguments[700];
    struct command command;
    (void)snprintf(arguments, sizeof arguments, "key --json --key %s", path);
    command_run(&command, arguments);
    assert_int_equal(command.status, 0);
    json_t *document = command_json(&command);
    (void)snprintf(out, 64, "%s", json_string_value(json_object_get(document, "public_key")));
    json_decref(document);
    command_free(&command);
}

void nodes_allow(struct nodes *nodes, size_t i, const char *without) {
    char text[2048];
    size_t used = 0;
    for (size_t k = 0; k < nodes->count; k++) {
        if (without == NULL || strcmp(without, nodes->nodes[k].name) != 0) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %s\n",
                                     nodes->nodes[k].name, nodes->nodes[k].key);
        }
    }
    if (without == NULL || strcmp(without, "client") != 0) {
        used += (size_t)snprintf(text + used, sizeof text - used, "client %s\n", nodes->client);
    }
    harness_write(nodes->nodes[i].allow, text, used);
}

void nodes_make(struct nodes *nodes, size_t count) {
    char name[64];
    memset(nodes, 0, sizeof *nodes);
    nodes->count = count;
    make_key(harness_path("home/key"), nodes->client);
    for (size_t i = 0; i < count; i++) {
        struct test_node *node = &nodes->nodes[i];
        (void)snprintf(node->name, sizeof node->name, "dev-%zu", i + 1);
        (void)snprintf(name, sizeof name, "%s.key", node->name);
        make_key(harness_path(name), node->key);
        (void)snprintf(name, sizeof name, "%s.allow", node->name);
        (void)snprintf(node->allow, sizeof node->allow, "%s", harness_path(name));
        (void)snprintf(node->address, sizeof node->address, "tcp://127.0.0.1:%d",
                       nodes_free_port());
    }
    for (size_t i = 0; i < count; i++) {
        nodes_allow(nodes, i, NULL);
    }
}

/* The line "ready ADDRESS" of its standard output. */
static void await_ready(struct test_node *node) {
    char path[700];
    const uint64_t deadline = platform_now_ns() + START_NS;
    (void)snprintf(path, sizeof path, "%s/%ld.out", harness_directory, (long)node->command.pid);
    for (;;) {
        char *text = harness_read(path);
        const char *ready = text != NULL ? strstr(text, "ready ") : NULL;
        const char *end = ready != NULL ? strchr(ready, '\n') : NULL;
        if (end != NULL) {
            (void)snprintf(node->address, sizeof node->address, "%.*s", (int)(end - ready - 6),
                           ready + 6);
            free(text);
            return;
        }
        free(text);
        if (platform_now_ns() > deadline || !process_exists(node->command.pid)) {
            (void)snprintf(path, sizeof path, "%s/%ld.err", harness_directory,
                           (long)node->command.pid);
            text = harness_read(path);
            fail_msg("%s does not listen: %s", node->name, text != NULL ? text : "");
        }
        platform_sleep_ns(5 * CLOCK_MS);
    }
}

void nodes_start(struct nodes *nodes, size_t i, const char *more) {
    struct test_node *node = &nodes->nodes[i];
    char arguments[2048], name[64];
    (void)snprintf(name, sizeof name, "%s.key", node->name);
    (void)snprintf(arguments, sizeof arguments,
                   "node --listen tcp://127.0.0.1:0 --name %s --key %s --allow %s --threads 1 "
                   "--drain 1 %s",
                   node->name, harness_path(name), node->allow, more);
    command_start(&node->command, arguments);
    node->runs = true;
    await_ready(node);
}

void nodes_stop(struct nodes *nodes, size_t i) {
    struct test_node *node = &nodes->nodes[i];
    if (node->runs) {
        (void)kill(node->command.pid, SIGTERM);
        command_wait(&node->command);
        command_free(&node->command);
        node->runs = false;
    }
}

void nodes_stop_all(struct nodes *nodes) {
    for (size_t i = 0; i < nodes->count; i++) {
        nodes_stop(nodes, i);
    }
}

const char *nodes_file(const struct nodes *nodes, const char *more) {
    static char path[600];
    char text[4096];
    size_t used = (size_t)snprintf(text, sizeof text, "devices:\n");
    for (size_t i = 0; i < nodes->count; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "  - {name: %s, address: \"%s\", key: \"%s\"%s}\n",
                                 nodes->nodes[i].name, nodes->nodes[i].address, nodes->nodes[i].key,
                                 nodes->nodes[i].limits);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "%s", more);
    (void)snprintf(path, sizeof path, "%s", harness_path("mine.yaml"));
    harness_write(path, text, used);
    return path;
}

json_t *nodes_json(const struct nodes *nodes, const char *arguments, int status) {
    char text[2048];
    struct command command;
    (void)nodes;
    (void)snprintf(text, sizeof text, "%s --json --cluster %s", arguments,
                   harness_path("mine.yaml"));
    command_run(&command, text);
    if (command.status != status) {
        fail_msg("shoal %s: status %d, wanted %d: %s%s", arguments, command.status, status,
                 command.out, command.error);
    }
    json_t *document = command_json(&command);
    command_free(&command);
    return document;
}

int nodes_free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    struct sockaddr *generic = (struct sockaddr *)(void *)&address;
    assert_int_equal(bind(fd, generic, size), 0);
    assert_int_equal(getsockname(fd, generic, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}
