/* shoal run: the same bits for any number of devices, any cuts and both transports; real input;
 * reports. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

#include <sqlite3.h>

static void run_json(const char *arguments, json_t **out) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != 0) {
        fail_msg("shoal %s ended with %d: %s", arguments, command.status, command.error);
    }
    *out = command_json(&command);
    command_free(&command);
}

static void digest_of(const char *arguments, char digest[65]) {
    json_t *document;
    run_json(arguments, &document);
    const char *text = json_string_value(json_object_get(document, "output_digest"));
    assert_non_null(text);
    assert_int_equal(strlen(text), 64);
    memcpy(digest, text, 65);
    json_decref(document);
}

static void the_bits_are_the_same_for_any_number_of_devices(void **state) {
    (void)state;
    static const char *const kernels[] = {"auto", "reference", "blas", "onednn"};
    static const int devices[] = {2, 3, 4, 8};
    for (size_t k = 0; k < 3 + SHOAL_ONEDNN; k++) {
        char text[256], one[65], other[65];
        (void)snprintf(text, sizeof text,
                       "run vit-test --input random:9 --microbatch 2 --threads 1 --json --kernels "
                       "%s --devices 1",
                       kernels[k]);
        digest_of(text, one);
        for (size_t d = 0; d < 4; d++) {
            (void)snprintf(text, sizeof text,
                           "run vit-test --input random:9 --microbatch 2 --threads 1 --json "
                           "--kernels %s --devices %d%s",
                           kernels[k], devices[d], d % 2 == 0 ? "" : " --in-process");
            digest_of(text, other);
            assert_string_equal(one, other);
        }
    }
}

static void the_bits_are_the_same_for_any_cuts(void **state) {
    (void)state;
    char text[256], one[65], other[65];
    digest_of("run vit-test --input random:5 --threads 1 --json --in-process", one);
    for (int cut = 1; cut < 12; cut++) { /* vit-test has 3 layers, 12 segments */
        (void)snprintf(
            text, sizeof text,
            "run vit-test --input random:5 --threads 1 --json --in-process --devices 2 --cuts %d",
            cut);
        digest_of(text, other);
        assert_string_equal(one, other);
    }
    digest_of("run vit-test --input random:5 --threads 1 --json --devices 4 --cuts 1,5,11", other);
    assert_string_equal(one, other);
    digest_of("run vit-test --input random:5 --threads 1 --json --devices 3 --baseline even",
              other);
    assert_string_equal(one, other);
}

static void another_seed_gives_other_bits(void **state) {
    (void)state;
    char one[65], other[65];
    digest_of("run vit-test --input random:5 --threads 1 --json --in-process", one);
    digest_of("run vit-test --input random:5 --threads 1 --json --in-process --seed 2", other);
    assert_string_not_equal(one, other);
}

static void the_report_has_its_keys_and_adds_up(void **state) {
    (void)state;
    json_t *d;
    run_json("run vit-test --input random:40 --threads 1 --json --devices 3", &d);
    static const char *const keys[] = {
        "items",         "failed_items",     "setup_seconds",
        "seconds",       "items_per_second", "steady_items_per_second",
        "output_digest", "devices",          "links"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (json_object_get(d, keys[i]) == NULL) {
            fail_msg("no key %s", keys[i]);
        }
    }
    assert_int_equal(json_integer_value(json_object_get(d, "items")), 40);
    assert_int_equal(json_integer_value(json_object_get(d, "failed_items")), 0);
    assert_true(json_is_real(json_object_get(d, "steady_items_per_second")));
    const json_t *devices = json_object_get(d, "devices"), *links = json_object_get(d, "links");
    assert_int_equal(json_array_size(devices), 3);
    assert_int_equal(json_array_size(links), 4);
    static const char *const device_keys[] = {"name",
                                              "cell",
                                              "stage",
                                              "member",
                                              "first",
                                              "last",
                                              "compute_s",
                                              "receive_s",
                                              "send_s",
                                              "wait_s",
                                              "cpu_s",
                                              "peak_memory_bytes",
                                              "predicted_memory_bytes"};
    json_int_t next = 1;
    for (size_t i = 0; i < 3; i++) {
        const json_t *device = json_array_get(devices, i);
        for (size_t k = 0; k < sizeof device_keys / sizeof device_keys[0]; k++) {
            if (json_object_get(device, device_keys[k]) == NULL) {
                fail_msg("no device key %s", device_keys[k]);
            }
        }
        assert_int_equal(json_integer_value(json_object_get(device, "first")), next);
        next = json_integer_value(json_object_get(device, "last")) + 1;
        assert_true(json_real_value(json_object_get(device, "compute_s")) > 0);
        /* the step path allocates nothing of ours */
        assert_int_equal(json_integer_value(json_object_get(device, "steady_allocations")), 0);
    }
    assert_int_equal(next, 13);
    /* 40 inputs of 32·32·3 floats left for the first device, headers come on top */
    const json_int_t inputs = (json_int_t)sizeof(float) * 40 * 32 * 32 * 3;
    const json_int_t bytes = json_integer_value(json_object_get(json_array_get(links, 0), "bytes"));
    assert_true(bytes >= inputs && bytes < 2 * inputs);
    json_decref(d);
}

/* A picture made here: PNG needs a library, PPM is not read, so the fixtures of tests/golden serve.
 */
static void golden_picture(char *path, size_t bytes, const char *name) {
    (void)snprintf(path, bytes, "%s/tests/golden/data/images/%s", getenv("SHOAL_SOURCE_DIR"), name);
}

static void corrupt_items_are_reported_skipped_and_counted(void **state) {
    (void)state;
    char folder[600], source[600], text[2048], target[700];
    (void)snprintf(folder, sizeof folder, "%s", harness_path("pictures"));
    (void)snprintf(text, sizeof text, "mkdir -p %s", folder);
    assert_int_equal(system(text), 0);
    golden_picture(source, sizeof source, "*");
    (void)snprintf(text, sizeof text, "cp %s %s/", source, folder);
    assert_int_equal(system(text), 0);
    (void)snprintf(target, sizeof target, "%s/0-broken.jpg", folder);
    harness_write(target, "\xff\xd8\xff\xe0 this is no picture", 20);
    (void)snprintf(target, sizeof target, "%s/zz-empty.png", folder);
    harness_write(target, "", 0);
    struct command command;
    char output[600];
    (void)snprintf(output, sizeof output, "%s", harness_path("pictures.jsonl"));
    (void)snprintf(text, sizeof text,
                   "run vit-test --input %s --output %s --json --in-process --microbatch 4", folder,
                   output);
    command_run(&command, text);
    assert_int_equal(command.status, 1);
    json_t *document = command_json(&command);
    const json_int_t items = json_integer_value(json_object_get(document, "items"));
    assert_true(items >= 3);
    assert_int_equal(json_integer_value(json_object_get(document, "failed_items")), 2);
    char *lines = harness_read(output);
    assert_non_null(lines);
    assert_int_equal(count_lines(lines), items + 2);
    json_int_t index = 0;
    size_t errors = 0;
    for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *entry = json_loads(line, 0, NULL);
        assert_non_null(entry);
        assert_int_equal(json_integer_value(json_object_get(entry, "index")),
                         index++); /* input order, each once */
        errors += json_object_get(entry, "error") != NULL;
        json_decref(entry);
    }
    assert_int_equal(errors, 2);
    free(lines);
    json_decref(document);
    command_free(&command);
}

static void results_are_lines_with_probabilities_that_add_up(void **state) {
    (void)state;
    char text[1200], output[600];
    (void)snprintf(output, sizeof output, "%s", harness_path("top.jsonl"));
    (void)snprintf(
        text, sizeof text,
        "run vit-test --input random:7 --output %s --json --in-process --top 10 --logits", output);
    json_t *document;
    run_json(text, &document);
    json_decref(document);
    char *lines = harness_read(output);
    assert_int_equal(count_lines(lines), 7);
    for (char *line = strtok(lines, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *entry = json_loads(line, 0, NULL);
        const json_t *top = json_object_get(entry, "top"),
                     *logits = json_object_get(entry, "logits");
        assert_int_equal(json_array_size(top), 10);
        assert_int_equal(json_array_size(logits), 10);
        double sum = 0, before = 2;
        for (size_t i = 0; i < 10; i++) {
            const double p =
                json_number_value(json_object_get(json_array_get(top, i), "probability"));
            assert_true(p <= before);
            before = p;
            sum += p;
        }
        assert_true(fabs(sum - 1) < 1e-6);
        json_decref(entry);
    }
    free(lines);
}

static void a_second_run_measures_nothing(void **state) {
    (void)state;
    json_t *document;
    run_json("profile vit-test --devices 2 --threads 1 --microbatch 3 --json", &document);
    json_decref(document);
    run_json("profile vit-test --devices 2 --threads 1 --microbatch 3 --json", &document);
    assert_true(json_is_true(json_object_get(document, "from_store")));
    json_decref(document);
    run_json("profile vit-test --devices 2 --threads 1 --microbatch 4 --json", &document);
    assert_true(json_is_false(json_object_get(document, "from_store")));
    json_decref(document);
}

static void a_corrupt_store_is_no_obstacle(void **state) {
    (void)state;
    char *path = harness_path("home/shoal.db");
    harness_write(path, "this is no database, but it is long enough to be looked at: 0123456789",
                  70);
    struct command command;
    command_run(&command, "run vit-test --input random:3 --in-process --json");
    assert_int_equal(command.status, 0);
    assert_non_null(strstr(command.error, "shoal.db"));
    command_free(&command);
    (void)remove(path);
}

/* JSON, but none of ours: as an older or damaged Shoal might have left it. */
static void a_stored_choice_of_no_use_is_measured_again(void **state) {
    (void)state;
    struct command command;
    command_run(&command, "run vit-test --input random:3 --in-process --json --microbatch 7");
    assert_int_equal(command.status, 0);
    command_free(&command);
    sqlite3 *database;
    assert_int_equal(sqlite3_open(harness_path("home/shoal.db"), &database), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "UPDATE profiles SET json = '{\"ops\": 7}' WHERE key LIKE 'choice%'",
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_true(sqlite3_changes(database) > 0);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
    command_run(&command, "run vit-test --input random:3 --in-process --json --microbatch 7");
    assert_int_equal(command.status, 0);
    assert_non_null(strstr(command.error, "measuring again"));
    command_free(&command);
}

static void memory_does_not_grow_with_the_input(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("SKIPPED: memory of long runs (a sanitizer keeps freed memory)\n");
    skip();
#endif
    json_t *small, *large;
    run_json("run vit-test --input random:50 --threads 1 --json --devices 2", &small);
    run_json("run vit-test --input random:3000 --threads 1 --json --devices 2", &large);
    for (size_t i = 0; i < 2; i++) {
        const json_int_t a = json_integer_value(json_object_get(
            json_array_get(json_object_get(small, "devices"), i), "peak_memory_bytes"));
        const json_int_t b = json_integer_value(json_object_get(
            json_array_get(json_object_get(large, "devices"), i), "peak_memory_bytes"));
        assert_true(b < a + 4000000);
    }
    json_decref(small);
    json_decref(large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_the_same_for_any_number_of_devices),
        cmocka_unit_test(the_bits_are_the_same_for_any_cuts),
        cmocka_unit_test(another_seed_gives_other_bits),
        cmocka_unit_test(the_report_has_its_keys_and_adds_up),
        cmocka_unit_test(corrupt_items_are_reported_skipped_and_counted),
        cmocka_unit_test(results_are_lines_with_probabilities_that_add_up),
        cmocka_unit_test(a_second_run_measures_nothing),
        cmocka_unit_test(a_corrupt_store_is_no_obstacle),
        cmocka_unit_test(a_stored_choice_of_no_use_is_measured_again),
        cmocka_unit_test(memory_does_not_grow_with_the_input),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
