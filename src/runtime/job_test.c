/* Whole runs in one process: threads as devices, reference kernels. ThreadSanitizer runs this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/job.h"

#include <math.h>

struct one_run {
    uint32_t devices, items;
    int64_t batch;
    uint32_t ends[4]; /* last segment of each stage */
};

static void ignore_skip(void *context, const char *item, const char *why) {
    (void)context;
    fail_msg("%s was skipped: %s", item, why);
}

static const char *no_label(void *context, uint32_t class_index) {
    (void)context;
    (void)class_index;
    return NULL;
}

static void run(const struct one_run *what, struct job_outcome *outcome) {
    struct shoal_error error;
    struct cluster *cluster;
    struct model_config model;
    struct input *input;
    struct results *results;
    char count[32];
    const char *paths[1] = {count};
    const struct image_preprocess preprocess = {0};
    (void)snprintf(count, sizeof count, "random:%u", what->items);
    assert_int_equal(model_builtin("vit-test", &model, &error), SHOAL_OK);
    const struct cluster_options devices = {
        .count = what->devices, .in_process = true, .threads = 1};
    assert_int_equal(cluster_start_local(&devices, &cluster, &error), SHOAL_OK);
    const struct input_options source = {.paths = paths,
                                         .path_count = 1,
                                         .height = (int32_t)model.image_size,
                                         .width = (int32_t)model.image_size,
                                         .channels = (int32_t)model.channels,
                                         .preprocess = &preprocess,
                                         .seed = 3};
    assert_int_equal(input_open(&source, &input, &error), SHOAL_OK);
    const struct results_options sink = {
        .classifies = true, .label = no_label, .top = 1, .width = (uint32_t)model.labels};
    assert_int_equal(results_create(&sink, &results, &error), SHOAL_OK);
    struct plan_placement placement = {.feasible = true, .stage_count = what->devices};
    for (uint32_t i = 0; i < what->devices; i++) {
        placement.stages[i] = (struct plan_stage){.first = i == 0 ? 1 : what->ends[i - 1] + 1,
                                                  .last = what->ends[i],
                                                  .device = what->devices - 1 - i};
    }
    json_t *choice = json_pack("{s:s, s:{}}", "default", "reference", "ops");
    const struct job_options job = {.cluster = cluster,
                                    .placement = &placement,
                                    .model = &model,
                                    .weights = {.seed = 5},
                                    .choice = choice,
                                    .batch = what->batch,
                                    .input = input,
                                    .results = results,
                                    .results_width = model.labels,
                                    .on_skip = ignore_skip};
    const shoal_status status = job_run(&job, outcome, &error);
    if (status != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    json_decref(choice);
    results_destroy(results);
    input_close(input);
    cluster_destroy(cluster);
}

static void pipelines_deliver_everything_with_the_same_bits(void **state) {
    (void)state;
    static const struct one_run runs[] = {
        {.devices = 1, .items = 23, .batch = 2, .ends = {12}},
        {.devices = 2, .items = 23, .batch = 2, .ends = {5, 12}},
        {.devices = 3, .items = 23, .batch = 2, .ends = {1, 11, 12}},
        {.devices = 4, .items = 23, .batch = 2, .ends = {3, 6, 9, 12}},
    };
    char digest[DIGEST_TEXT];
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct job_outcome outcome;
        run(&runs[i], &outcome);
        assert_int_equal(outcome.items, 23);
        assert_int_equal(outcome.failed_items, 0);
        for (uint32_t s = 0; s < outcome.stage_count; s++) {
            assert_int_equal(json_integer_value(json_object_get(outcome.stages[s].report, "done")),
                             12);
        }
        if (i == 0) {
            memcpy(digest, outcome.digest, sizeof digest);
        }
        assert_string_equal(digest, outcome.digest);
        job_outcome_fini(&outcome);
    }
}

static void a_run_too_short_for_a_steady_state_says_so(void **state) {
    (void)state;
    struct job_outcome outcome;
    run(&(struct one_run){.devices = 2, .items = 3, .batch = 1, .ends = {6, 12}}, &outcome);
    assert_int_equal(outcome.items, 3);
    assert_true(isnan(outcome.steady_items_per_second));
    job_outcome_fini(&outcome);
    run(&(struct one_run){.devices = 2, .items = 9, .batch = 1, .ends = {6, 12}}, &outcome);
    assert_true(outcome.steady_items_per_second > 0);
    job_outcome_fini(&outcome);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pipelines_deliver_everything_with_the_same_bits),
        cmocka_unit_test(a_run_too_short_for_a_steady_state_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
