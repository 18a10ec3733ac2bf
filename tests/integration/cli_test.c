/* The command line: help, usage errors, exit statuses, plans. */
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

static void expect(const char *arguments, int status, const char *said) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != status ||
        (strstr(command.error, said) == NULL && strstr(command.out, said) == NULL)) {
        fail_msg("shoal %s: status %d, wanted %d and '%s'; said: %s%s", arguments, command.status,
                 status, said, command.out, command.error);
    }
    command_free(&command);
}

static void every_command_explains_itself_with_examples(void **state) {
    (void)state;
    expect("--help", 0, "usage: shoal COMMAND");
    expect("--version", 0, "shoal ");
    static const char *const commands[] = {"run",   "plan",   "profile", "key",   "nodes",
                                           "links", "doctor", "node",    "bench", "cache"};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s --help", commands[i]);
        expect(text, 0, "examples:");
    }
}

static void wrong_usage_is_2_and_says_what(void **state) {
    (void)state;
    expect("", 2, "usage: shoal");
    expect("swim", 2, "unknown command 'swim'");
    expect("run", 2, "MODEL is missing");
    expect("run vit-test", 2, "--input is missing");
    expect("run vit-test --inputs x", 2, "unknown option --inputs");
    expect("run vit-test --input random:5 --devices 0", 2, "--devices wants a whole number");
    expect("run vit-test --input random:5 --devices many", 2, "--devices wants a whole number");
    expect("run vit-test --input random:0", 2, "random:N with N at least 1");
    expect("run vit-test --input random:5 --kernels fast", 2,
           "choose auto, onednn, blas or reference");
    expect("run vit-test --input random:5 --memory lots", 2, "--memory wants a size");
    expect("run vit-test --input random:5 --isa mmx", 2, "mmx");
    expect("run vit-test --input random:5 --dtype int4", 2, "choose f32, bf16, int8, w8 or w4");
    expect("bench engine vit-test --dtype f64", 2, "choose f32, bf16, int8, w8 or w4");
    expect("run vit-test --input random:5 --devices 2 --cuts 12", 2, "--cuts");
    expect("run vit-test --input random:5 --devices 2 --cuts 4,4", 2, "--cuts");
    expect("run vit-test --input random:5 --cuts 4 --baseline even", 2, "exclude each other");
    expect("run vit-test --input random:5 --deadline 1e300", 2, "--deadline wants seconds");
    expect("run vit-test --input random:5 --deadline 1e-12", 2, "--deadline wants seconds");
    expect("bench motor vit-test", 2, "bench engine MODEL");
    expect("node", 2, "say --key FILE");
}

static void what_is_not_there_is_1_and_named(void **state) {
    (void)state;
    expect("run no-such-model --input random:5", 1, "vit-base");
    expect("run ./no/such/dir --input random:5", 1, "no such directory");
    expect("run vit-test --input /no/such/photo.jpg", 1, "/no/such/photo.jpg");
    expect("run vit-test --input random:5 --weights /no/such.safetensors", 1,
           "/no/such.safetensors");
    expect("run vit-test --input random:5 --cluster c.yaml", 1, "the cluster file: c.yaml");
    expect("run vit-test --input random:5 --output /no/such/folder/x.jsonl", 1, "/no/such/folder");
    expect("run model.onnx --input random:5", 1, "there is no such file");
}

static void weights_that_do_not_fit_are_listed(void **state) {
    (void)state;
    /* A file with one tensor of a wrong shape: everything else is missing. */
    static const char header[] =
        "{\"vit.layernorm.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    unsigned char file[8 + sizeof header - 1 + 8] = {(unsigned char)(sizeof header - 1)};
    memcpy(file + 8, header, sizeof header - 1);
    char *path = harness_path("wrong.safetensors");
    harness_write(path, file, sizeof file);
    char text[900];
    (void)snprintf(text, sizeof text, "run vit-test --input random:5 --in-process --weights %s",
                   path);
    expect(text, 1, "vit.embeddings.cls_token");
}

static void infeasible_is_3_with_the_shortfall_of_each_device(void **state) {
    (void)state;
    expect("run vit-base --input random:5 --devices 2 --threads 1 --memory 60M", 3,
           "local-2 lacks");
    expect("plan vit-base --devices 2 --threads 1 --memory 60M", 3, "local-1");
}

static void plans_have_their_keys(void **state) {
    (void)state;
    struct command command;
    command_run(&command, "plan vit-test --devices 3 --threads 1 --json");
    assert_int_equal(command.status, 0);
    json_t *plan = command_json(&command);
    static const char *const keys[] = {"feasible",       "bottleneck_s", "latency_s",
                                       "lower_bound_s",  "gap",          "single_device_s",
                                       "solver_seconds", "cells"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(json_object_get(plan, keys[i]));
    }
    const json_t *stages =
        json_object_get(json_array_get(json_object_get(plan, "cells"), 0), "stages");
    assert_int_equal(json_array_size(stages), 3);
    static const char *const stage_keys[] = {"first", "last", "compute_s", "send_s", "members"};
    static const char *const member_keys[] = {"device", "kind", "share", "memory_bytes",
                                              "memory_limit_bytes"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *stage = json_array_get(stages, i);
        for (size_t k = 0; k < 5; k++) {
            assert_non_null(json_object_get(stage, stage_keys[k]));
            assert_non_null(json_object_get(json_array_get(json_object_get(stage, "members"), 0),
                                            member_keys[k]));
        }
    }
    json_decref(plan);
    command_free(&command);
    expect("plan vit-test --devices 2 --threads 1", 0, "bottleneck");
    expect("plan vit-test --devices 2 --threads 1 --format svg", 0, "<svg");
    expect("plan vit-test --devices 2 --threads 1 --baseline pipedream", 0, "bottleneck");
    expect("plan vit-test --devices 3 --threads 1 --choose-devices --objective latency", 0,
           "device");
}

static void the_engine_bench_has_its_keys(void **state) {
    (void)state;
    struct command command;
    command_run(&command, "bench engine vit-test --batch 2 --repeats 3 --json");
    assert_int_equal(command.status, 0);
    json_t *result = command_json(&command);
    static const char *const keys[] = {"model",
                                       "batch",
                                       "threads",
                                       "dtype",
                                       "isa",
                                       "kernels",
                                       "items_per_second",
                                       "gflops",
                                       "peak_gflops",
                                       "fraction_of_peak",
                                       "peak_memory_bytes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_non_null(json_object_get(result, keys[i]));
    }
    assert_true(json_real_value(json_object_get(result, "fraction_of_peak")) < 1.1);
    json_decref(result);
    command_free(&command);
}

/* The digest of a run's outputs; text [128]. */
static void digest_of(const char *dtype, int devices, char *text) {
    struct command command;
    char line[200];
    (void)snprintf(line, sizeof line,
                   "run vit-test --input random:7 --microbatch 2 --threads 1 --in-process --json "
                   "--dtype %s --devices %d",
                   dtype, devices);
    command_run(&command, line);
    assert_int_equal(command.status, 0);
    json_t *result = command_json(&command);
    assert_string_equal(json_string_value(json_object_get(result, "dtype")), dtype);
    (void)snprintf(text, 128, "%s", json_string_value(json_object_get(result, "output_digest")));
    json_decref(result);
    command_free(&command);
}

/* Every precision computes something of its own, the same on however many devices. */
static void reduced_precision_keeps_its_bits_over_devices(void **state) {
    (void)state;
    static const char *const dtypes[] = {"f32", "bf16", "int8", "w8", "w4"};
    char digests[5][128];
    for (size_t i = 0; i < 5; i++) {
        char split[128];
        digest_of(dtypes[i], 1, digests[i]);
        digest_of(dtypes[i], 3, split);
        assert_string_equal(digests[i], split);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(digests[i], digests[j]);
        }
    }
}

static void the_environment_sets_options(void **state) {
    (void)state;
    assert_int_equal(setenv("SHOAL_DEVICES", "none", 1), 0);
    expect("run vit-test --input random:5", 2, "SHOAL_DEVICES");
    assert_int_equal(unsetenv("SHOAL_DEVICES"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_explains_itself_with_examples),
        cmocka_unit_test(wrong_usage_is_2_and_says_what),
        cmocka_unit_test(what_is_not_there_is_1_and_named),
        cmocka_unit_test(weights_that_do_not_fit_are_listed),
        cmocka_unit_test(infeasible_is_3_with_the_shortfall_of_each_device),
        cmocka_unit_test(plans_have_their_keys),
        cmocka_unit_test(the_engine_bench_has_its_keys),
        cmocka_unit_test(reduced_precision_keeps_its_bits_over_devices),
        cmocka_unit_test(the_environment_sets_options),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
