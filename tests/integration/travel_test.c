/* Weights of a run on devices of a cluster file: they travel once, by content. */
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
    char cache[400];
    if (harness_setup(state) != 0) {
        return -1;
    }
    nodes_make(&nodes, 3);
    for (size_t i = 0; i < nodes.count; i++) {
        (void)snprintf(cache, sizeof cache, "--cache %s-%zu", harness_path("cache"), i);
        nodes_start(&nodes, i, cache);
    }
    return 0;
}

static int teardown(void **state) {
    nodes_stop_all(&nodes);
    return harness_teardown(state);
}

static json_int_t number_of(const json_t *document, const char *key) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_integer(value)) {
        fail_msg("there is no number '%s'", key);
    }
    return json_integer_value(value);
}

static json_int_t received(const json_t *document) {
    json_int_t sum = 0;
    size_t i;
    const json_t *device;
    json_array_foreach(json_object_get(document, "devices"), i, device) {
        sum += number_of(device, "received_bytes");
    }
    return sum;
}

static json_t *run(const char *cuts) {
    char text[1200];
    (void)snprintf(text, sizeof text,
                   "run %s/tests/golden/data/vit --input random:6 --kernels reference --cuts %s",
                   getenv("SHOAL_SOURCE_DIR"), cuts);
    return nodes_json(&nodes, text, 0);
}

static void weights_travel_once_and_then_only_what_moved(void **state) {
    (void)state;
    char text[1200];
    struct command command;
    (void)snprintf(text, sizeof text,
                   "run %s/tests/golden/data/vit --input random:6 --kernels reference --threads 1 "
                   "--json",
                   getenv("SHOAL_SOURCE_DIR"));
    command_run(&command, text);
    assert_int_equal(command.status, 0);
    json_t *local = command_json(&command);
    command_free(&command);
    assert_int_equal(number_of(local, "weights_sent_bytes"), 0);
    const char *digest = json_string_value(json_object_get(local, "output_digest"));

    (void)nodes_file(&nodes, "");
    json_t *first = run("2,4");
    const json_int_t sent = number_of(first, "weights_sent_bytes");
    assert_true(sent > 100000); /* the file has 130 KB of tensors */
    assert_int_equal(number_of(first, "weights_had_bytes"), 0);
    assert_true(received(first) >= sent); /* what several need goes from one to the next */
    assert_string_equal(digest, json_string_value(json_object_get(first, "output_digest")));

    json_t *second = run("2,4");
    assert_int_equal(number_of(second, "weights_sent_bytes"), 0);
    assert_int_equal(received(second), 0);
    assert_int_equal(number_of(second, "weights_had_bytes"), received(first));
    assert_string_equal(digest, json_string_value(json_object_get(second, "output_digest")));

    json_t *moved = run("3,4");
    assert_int_equal(number_of(moved, "weights_sent_bytes"), 0); /* another device has it */
    assert_true(received(moved) > 0);
    assert_true(received(moved) < sent / 2);
    assert_string_equal(digest, json_string_value(json_object_get(moved, "output_digest")));
    json_decref(local);
    json_decref(first);
    json_decref(second);
    json_decref(moved);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_travel_once_and_then_only_what_moved),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
