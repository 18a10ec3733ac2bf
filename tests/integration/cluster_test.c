/* Commands on devices of a cluster file: real nodes, on the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nodes.h"

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

static void expect(const char *arguments, int status, const char *said) {
    char text[2048];
    struct command command;
    (void)snprintf(text, sizeof text, "%s --cluster %s", arguments, harness_path("mine.yaml"));
    command_run(&command, text);
    if (command.status != status || strstr(command.error, said) == NULL) {
        fail_msg("shoal %s: status %d, wanted %d and '%s'; said: %s%s", text, command.status,
                 status, said, command.out, command.error);
    }
    command_free(&command);
}

static void a_cluster_computes_the_same_bits_as_one_device(void **state) {
    (void)state;
    struct command command;
    command_run(&command, "run vit-test --input random:30 --threads 1 --kernels reference --json");
    assert_int_equal(command.status, 0);
    json_t *one = command_json(&command);
    command_free(&command);
    (void)nodes_file(&nodes, "");
    json_t *all = nodes_json(&nodes, "run vit-test --input random:30 --kernels reference", 0);
    assert_string_equal(text_of(one, "output_digest"), text_of(all, "output_digest"));
    assert_int_equal(json_array_size(json_object_get(all, "devices")), 3);
    assert_true(json_is_true(json_object_get(all, "bit_identical")));
    json_decref(one);
    json_decref(all);
}

static void what_was_measured_is_known_the_next_time(void **state) {
    (void)state;
    (void)nodes_file(&nodes, "");
    json_t *first = nodes_json(&nodes, "profile vit-test --microbatch 2", 0);
    json_decref(first);
    json_t *second = nodes_json(&nodes, "profile vit-test --microbatch 2", 0);
    assert_true(json_is_true(json_object_get(second, "from_store")));
    json_decref(second);
}

static double alpha_of(const json_t *profile, const char *from, const char *to) {
    size_t i;
    const json_t *link;
    json_array_foreach(json_object_get(profile, "links"), i, link) {
        if (strcmp(text_of(link, "from"), from) == 0 && strcmp(text_of(link, "to"), to) == 0) {
            return json_number_value(json_object_get(link, "alpha_s"));
        }
    }
    fail_msg("no link from %s to %s", from, to);
    return 0;
}

static void declared_links_count_before_measured_ones(void **state) {
    (void)state;
    (void)nodes_file(&nodes, "links:\n  - {from: dev-1, to: dev-2, rate: 80Mbit, delay: 123ms}\n"
                             "  - {from: owner, to: \"*\", delay: 77ms}\n"
                             "  - {from: dev-3, to: owner, delay: 55ms}\n");
    json_t *profile = nodes_json(&nodes, "profile vit-test", 0);
    assert_true(alpha_of(profile, "dev-1", "dev-2") == 0.123);
    assert_true(alpha_of(profile, "owner", "dev-2") == 0.077);
    assert_true(alpha_of(profile, "dev-3", "owner") == 0.055);
    assert_true(alpha_of(profile, "dev-2", "dev-1") != 0.123); /* measured */
    json_decref(profile);
}

/* The node has more; what the file allows counts. */
static void the_file_bounds_memory_and_threads(void **state) {
    (void)state;
    struct nodes bounded = nodes;
    (void)snprintf(bounded.nodes[0].limits, sizeof bounded.nodes[0].limits, ", memory: 100M");
    (void)nodes_file(&bounded, "");
    json_t *plan = nodes_json(&nodes, "plan vit-test", 0);
    const json_t *stages =
        json_object_get(json_array_get(json_object_get(plan, "cells"), 0), "stages");
    size_t i, seen = 0;
    const json_t *stage;
    json_array_foreach(stages, i, stage) {
        const json_t *member = json_array_get(json_object_get(stage, "members"), 0);
        if (strcmp(text_of(member, "device"), "dev-1") == 0) {
            assert_int_equal(json_number_value(json_object_get(member, "memory_limit_bytes")),
                             100 << 20);
            seen++;
        }
    }
    assert_int_equal(seen, 1);
    assert_true(json_is_true(json_object_get(plan, "bit_identical")));
    json_decref(plan);
}

static void flags_of_local_devices_are_refused_with_the_way_out(void **state) {
    (void)state;
    (void)nodes_file(&nodes, "");
    expect("plan vit-test --devices 2", 2, "--choose-devices");
    expect("plan vit-test --in-process", 2, "exclude");
    expect("plan vit-test --threads 2", 2, "threads into the device's line");
    expect("plan vit-test --memory 1G", 2, "memory into the device's line");
    expect("plan vit-test --isa avx2", 2, "start the nodes with --isa avx2");
    expect("plan vit-test --key /nonexistent/key", 1, "shoal key");
    struct command command;
    command_run(&command, "plan vit-test --available");
    assert_int_equal(command.status, 2);
    assert_non_null(strstr(command.error, "--cluster only"));
    command_free(&command);
}

static void a_bad_file_is_named_with_line_and_key(void **state) {
    (void)state;
    static const char text[] = "devices:\n  - {name: a, address: nowhere}\n";
    harness_write(harness_path("mine.yaml"), text, sizeof text - 1);
    expect("plan vit-test", 1, "mine.yaml:2: key address:");
}

static void all_that_are_missing_are_named_at_once(void **state) {
    (void)state;
    struct nodes broken = nodes;
    (void)snprintf(broken.nodes[0].address, sizeof broken.nodes[0].address, "tcp://127.0.0.1:%d",
                   nodes_free_port());
    memcpy(broken.nodes[2].key, nodes.client, sizeof nodes.client); /* not the key that it has */
    (void)nodes_file(&broken, "");
    struct command command;
    char arguments[1024];
    (void)snprintf(arguments, sizeof arguments, "plan vit-test --cluster %s",
                   harness_path("mine.yaml"));
    command_run(&command, arguments);
    assert_int_equal(command.status, 4);
    assert_non_null(strstr(command.error, "2 of 3 devices"));
    assert_non_null(strstr(command.error, "dev-1"));
    assert_non_null(strstr(command.error, "dev-3"));
    assert_non_null(strstr(command.error, "shoal doctor --cluster"));
    command_free(&command);
    json_t *plan = nodes_json(&broken, "plan vit-test --available", 0);
    json_decref(plan);
}

/* A laptop that is a device may also give the commands. */
static void a_devices_key_gives_commands_too(void **state) {
    (void)state;
    char arguments[700];
    (void)nodes_file(&nodes, "");
    (void)snprintf(arguments, sizeof arguments, "nodes --key %s", harness_path("dev-1.key"));
    json_t *document = nodes_json(&nodes, arguments, 0);
    json_decref(document);
}

static void unlike_devices_and_their_limits_are_spoken_of(void **state) {
    (void)state;
    nodes_stop(&nodes, 2);
    nodes_start(&nodes, 2, "--threads 2 --message-bytes 500K");
    (void)nodes_file(&nodes, "");
    json_t *plan = nodes_json(&nodes, "plan vit-test", 0);
    assert_true(json_is_false(json_object_get(plan, "bit_identical")));
    json_decref(plan);
    expect("plan vit-test --microbatch 64", 1, "dev-3 accepts 0.5 MB");
    struct nodes alike = nodes; /* what the file allows is what computes */
    (void)snprintf(alike.nodes[2].limits, sizeof alike.nodes[2].limits, ", threads: 1");
    (void)nodes_file(&alike, "");
    plan = nodes_json(&alike, "plan vit-test", 0);
    assert_true(json_is_true(json_object_get(plan, "bit_identical")));
    json_decref(plan);
    nodes_stop(&nodes, 2);
    nodes_start(&nodes, 2, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cluster_computes_the_same_bits_as_one_device),
        cmocka_unit_test(what_was_measured_is_known_the_next_time),
        cmocka_unit_test(declared_links_count_before_measured_ones),
        cmocka_unit_test(the_file_bounds_memory_and_threads),
        cmocka_unit_test(flags_of_local_devices_are_refused_with_the_way_out),
        cmocka_unit_test(a_bad_file_is_named_with_line_and_key),
        cmocka_unit_test(a_devices_key_gives_commands_too),
        cmocka_unit_test(unlike_devices_and_their_limits_are_spoken_of),
        cmocka_unit_test(all_that_are_missing_are_named_at_once),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
