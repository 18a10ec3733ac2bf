#include "fleet.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "platform/clock.h"
#include "platform/file.h"

struct place {
    const struct lan *lan;
    uint32_t host;
    const char *home;
};

static void enter(void *argument) {
    const struct place *place = argument;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setenv("SHOAL_HOME", place->home, 1);
    lan_enter(place->lan, place->host);
}

static void start_in(const struct fleet *fleet, uint32_t host, const char *home,
                     struct command *command, const char *arguments) {
    struct place place = {.lan = &fleet->lan, .host = host, .home = home};
    command_start_after(command, arguments, enter, &place);
}

void fleet_make_key(const char *home, char key[64]) {
    const struct lan nowhere = {.count = 0};
    struct place place = {.lan = &nowhere, .home = home};
    struct command command;
    char path[400];
    command_start_after(&command, "key", enter, &place);
    command_wait(&command);
    if (command.status != 0) {
        fail_msg("shoal key: %s", command.error);
    }
    command_free(&command);
    (void)snprintf(path, sizeof path, "%s/key", home);
    char *text = harness_read(path);
    if (text == NULL || sscanf(text, "public %63s", key) != 1) {
        fail_msg("%s is no key file", path);
    }
    free(text);
}

static void write_file(const struct fleet *fleet) {
    char text[4096], key[64];
    size_t used = (size_t)snprintf(text, sizeof text, "devices:\n");
    for (uint32_t i = 0; i < fleet->count; i++) {
        used += (size_t)snprintf(
            text + used, sizeof text - used, "  - {name: %s, address: \"%s\", key: \"%s\"}\n",
            fleet->nodes[i].name, fleet->nodes[i].address, fleet->nodes[i].key);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "clients:\n");
    static const char *const clients[] = {FLEET_CLIENT, FLEET_SECOND};
    for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
        fleet_make_key(harness_path(clients[i]), key);
        used += (size_t)snprintf(text + used, sizeof text - used, "  - {name: %s, key: \"%s\"}\n",
                                 clients[i], key);
    }
    assert_true(used < sizeof text);
    harness_write(fleet->file, text, used);
}

static void launch(struct fleet *fleet, uint32_t node) {
    struct fleet_node *n = &fleet->nodes[node];
    char text[1200];
    (void)snprintf(text, sizeof text, "node --listen %s --name %s --allow %s --threads 1 %s",
                   n->address, n->name, fleet->file, n->arguments);
    start_in(fleet, node, n->home, &n->command, text);
    n->runs = true;
}

void fleet_start_node(struct fleet *fleet, uint32_t node) {
    launch(fleet, node);
    command_await(&fleet->nodes[node].command, "out", "ready ");
}

int fleet_end_node(struct fleet *fleet, uint32_t node, int number) {
    struct fleet_node *n = &fleet->nodes[node];
    assert_true(n->runs);
    assert_int_equal(kill(n->command.pid, number), 0);
    n->runs = false;
    command_wait(&n->command);
    command_free(&n->command);
    return n->command.status;
}

void fleet_open(struct fleet *fleet, const struct fleet_options *options) {
    assert_true(options->nodes >= 1 && options->nodes <= FLEET_NODES);
    memset(fleet, 0, sizeof *fleet);
    fleet->count = options->nodes;
    lan_open(&fleet->lan, fleet->count + 2, options->loopback);
    (void)snprintf(fleet->file, sizeof fleet->file, "%s", harness_path("cluster.yaml"));
    for (uint32_t i = 0; i < fleet->count; i++) {
        struct fleet_node *node = &fleet->nodes[i];
        (void)snprintf(node->name, sizeof node->name, "node-%u", i + 1);
        (void)snprintf(node->arguments, sizeof node->arguments, "%s",
                       options->node_arguments != NULL ? options->node_arguments : "");
        (void)snprintf(node->home, sizeof node->home, "%s", harness_path(node->name));
        char address[24];
        memcpy(address, fleet->lan.address[i], sizeof address);
        (void)snprintf(node->address, sizeof node->address, "tcp://%s:7700", address);
        fleet_make_key(node->home, node->key);
    }
    write_file(fleet);
    for (uint32_t i = 0; fleet->lan.isolated && options->mbit > 0 && i <= fleet->count; i++) {
        assert_true(lan_rate(&fleet->lan, i, options->mbit));
    }
    for (uint32_t i = 0; i < fleet->count; i++) {
        launch(fleet, i);
    }
    for (uint32_t i = 0; i < fleet->count; i++) {
        command_await(&fleet->nodes[i].command, "out", "ready ");
    }
}

void fleet_close(struct fleet *fleet) {
    for (uint32_t i = 0; i < fleet->count; i++) {
        if (fleet->nodes[i].runs) {
            (void)fleet_end_node(fleet, i, SIGKILL);
        }
        file_remove_tree(fleet->nodes[i].home);
    }
    file_remove_tree(harness_path(FLEET_CLIENT));
    file_remove_tree(harness_path(FLEET_SECOND));
    lan_close(&fleet->lan);
}

uint32_t fleet_stranger(const struct fleet *fleet) {
    return fleet->count + 1;
}

void fleet_start_on(struct fleet *fleet, uint32_t host, const char *client, struct command *command,
                    const char *arguments) {
    char home[600];
    (void)snprintf(home, sizeof home, "%s", harness_path(client));
    start_in(fleet, host, home, command, arguments);
}

void fleet_start(struct fleet *fleet, const char *client, struct command *command,
                 const char *arguments) {
    char text[2048];
    (void)snprintf(text, sizeof text, "%s --cluster %s", arguments, fleet->file);
    fleet_start_on(fleet, fleet->count, client, command, text);
}

void fleet_run(struct fleet *fleet, const char *client, struct command *command,
               const char *arguments) {
    fleet_start(fleet, client, command, arguments);
    command_wait(command);
}

json_t *fleet_json(struct fleet *fleet, const char *client, const char *arguments) {
    struct command command;
    fleet_run(fleet, client, &command, arguments);
    if (command.status != 0) {
        fail_msg("shoal %s: status %d: %s%s", arguments, command.status, command.out,
                 command.error);
    }
    json_t *document = command_json(&command);
    command_free(&command);
    return document;
}

/* ---- what nodes say of themselves ---- */

static json_t *node_in(const json_t *document, const char *name) {
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(document, "nodes"), i, entry) {
        const char *text = json_string_value(json_object_get(entry, "name"));
        if (text != NULL && strcmp(text, name) == 0) {
            return entry;
        }
    }
    return NULL;
}

void fleet_await_jobs(struct fleet *fleet, uint32_t node, size_t jobs) {
    const uint64_t deadline = platform_now_ns() + 60 * CLOCK_SECOND;
    for (;;) {
        struct command command;
        fleet_run(fleet, FLEET_CLIENT, &command, "nodes --json");
        json_t *document = json_loads(command.out, 0, NULL);
        const json_t *entry = node_in(document, fleet->nodes[node].name);
        const json_t *list = json_object_get(entry, "jobs");
        const bool there = json_is_array(list) && json_array_size(list) == jobs;
        json_decref(document);
        if (!there && platform_now_ns() > deadline) {
            fail_msg("%s has not %zu jobs after 60 s: %s%s", fleet->nodes[node].name, jobs,
                     command.out, command.error);
        }
        command_free(&command);
        if (there) {
            return;
        }
        platform_sleep_ns(50 * CLOCK_MS);
    }
}
