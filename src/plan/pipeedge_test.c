/* PipeEdge's files: own small cases, every error, and all cases of ../shared/cases/pipeedge where
 * they are. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "plan/pipeedge.h"
#include "platform/file.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct shoal_error error;
static struct plan_pipeedge_schedule schedule;
static char directory[512];
static char paths[3][900];

static const char *const good_text[3] = {
    "Toy: {layers: 2, mem_MB: [1, 1], parameters_in: 0, parameters_out: [8, 0]}\n",
    ("A: {mem_MB: 10, bw_Mbps: 1, model_profiles: {Toy: [{batch_size: 1, dtype: torch.float32, "
     "time_s: [1, 2]}]}}\n"),
    "A: [a-0, a-1]\n",
};

static void write_files(const char *const text[3]) {
    static const char *const names[3] = {"models.yml", "types.yml", "devices.yml"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/%s", directory, names[i]);
        assert_int_equal(file_write_atomic(paths[i], text[i], strlen(text[i]), &error), SHOAL_OK);
    }
}

static struct plan_pipeedge_options options_of(const char *model, uint32_t batch) {
    return (struct plan_pipeedge_options){.models_path = paths[0],
                                          .types_path = paths[1],
                                          .devices_path = paths[2],
                                          .model = model,
                                          .batch = batch,
                                          .buffers_in = 2,
                                          .buffers_out = 2};
}

static int make_directory(void **unused) {
    (void)unused;
    return file_make_temporary(directory, sizeof directory, &error) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **unused) {
    (void)unused;
    file_remove_tree(directory);
    return 0;
}

/* Solves, and checks that the schedule costs what it says. The problem is the caller's. */
static struct plan_pipeedge *solve(const struct plan_pipeedge_options *options) {
    struct plan_pipeedge *problem;
    if (plan_pipeedge_load(options, &problem, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(plan_pipeedge_solve(problem, NULL, &schedule, &error), SHOAL_OK);
    if (schedule.feasible) {
        uint32_t ends[PLAN_DP_MAX_STAGES];
        const char *hosts[PLAN_DP_MAX_STAGES];
        for (uint32_t s = 0; s < schedule.stage_count; s++) {
            ends[s] = schedule.stages[s].last;
            hosts[s] = schedule.stages[s].host;
        }
        static struct plan_pipeedge_schedule again;
        assert_int_equal(
            plan_pipeedge_evaluate(problem, ends, hosts, schedule.stage_count, &again, &error),
            SHOAL_OK);
        assert_true(again.feasible && again.bottleneck_s == schedule.bottleneck_s);
        assert_true(again.latency_s == schedule.latency_s);
    }
    return problem;
}

static void test_committed_files(void **unused) {
    (void)unused;
    static const char *const names[3] = {"toy-models.yml", "toy-types.yml", "toy-devices.yml"};
    const char *source = getenv("SHOAL_SOURCE_DIR");
    for (int i = 0; i < 3; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/src/plan/testdata/%s",
                       source != NULL ? source : ".", names[i]);
    }
    struct plan_pipeedge_options options = options_of("Toy", 1);
    struct plan_pipeedge *problem = solve(&options);
    /* Two layers on f-0 take 1 s and one on each slow host; a cut over the slow link takes 1 s. */
    assert_true(schedule.feasible && schedule.bottleneck_s == 1.0);
    assert_int_equal(schedule.stage_count, 3);
    assert_true(schedule.single_device_s == 2.0);
    assert_string_equal(schedule.single_device, "f-0");
    assert_non_null(strstr(schedule.notes, "1 hosts of unprofiled not used"));
    assert_non_null(strstr(schedule.notes, "1 hosts of strangers not used"));
    assert_non_null(strstr(schedule.reason, "f-0 alone: 2 s, 2 times as long"));
    plan_pipeedge_destroy(problem);

    options = options_of("Toy", 2); /* only the fast type is profiled: no pipeline */
    problem = solve(&options);
    assert_true(schedule.feasible && schedule.bottleneck_s == 2.0);
    assert_int_equal(schedule.stage_count, 1);
    assert_string_equal(schedule.stages[0].host, "f-0");
    plan_pipeedge_destroy(problem);

    options = options_of("Toy", 3);
    problem = solve(&options);
    assert_false(schedule.feasible);
    assert_string_equal(schedule.reason, "no host can be used");
    plan_pipeedge_destroy(problem);
}

static void test_memory_is_compared_strictly(void **unused) {
    (void)unused;
    write_files(good_text);
    const char *text[3] = {
        "Toy: {layers: 2, mem_MB: [1, 1], parameters_in: 0, parameters_out: [0, 0]}\n",
        good_text[1], "A: [a-0]\n"};
    static const char *const limits[] = {
        "A: {mem_MB: 2, bw_Mbps: 1, model_profiles: {Toy: [{batch_size: 1, dtype: torch.float32, "
        "time_s: [1, 2]}]}}\n",
        "A: {mem_MB: 2.01, bw_Mbps: 1, model_profiles: {Toy: [{batch_size: 1, dtype: "
        "torch.float32, time_s: [1, 2]}]}}\n",
    };
    for (int i = 0; i < 2; i++) {
        text[1] = limits[i];
        write_files(text);
        const struct plan_pipeedge_options options = options_of("Toy", 1);
        struct plan_pipeedge *problem = solve(&options);
        assert_int_equal(schedule.feasible, i == 1);
        assert_true(i == 1 || schedule.memory_factor == 1.0);
        plan_pipeedge_destroy(problem);
    }
}

struct refusal {
    int file;
    const char *text;
    shoal_status status;
    const char *part; /* of the message */
};

static const struct refusal refusals[] = {
    {0, "Boy: {}\n", SHOAL_NOT_FOUND, "models.yml: there is no model \"Toy\""},
    {0, "Toy: {layers: 2, mem_MB: [1, 1], parameters_in: 0, parameters_out: [8]}\n", SHOAL_CORRUPT,
     "models.yml:1: key parameters_out: a list of 2 numbers"},
    {0, "Toy: {layers: 0, mem_MB: [], parameters_in: 0, parameters_out: []}\n", SHOAL_CORRUPT,
     "1 to 1024 layers"},
    {0, "Toy: {layers: 2, mem_MB: [1, -1], parameters_in: 0, parameters_out: [8, 0]}\n",
     SHOAL_CORRUPT, "key mem_MB: must not be negative"},
    {0, "Toy: {layers: 2, mem_MB: [1, 1], parameters_out: [8, 0]}\n", SHOAL_NOT_FOUND,
     "key Toy: has no \"parameters_in\""},
    {0, "Toy: {layers: 2, mem_MB: [1, 1], parameters_in: 0, parameters_out: [8, 0], extra: 1}\n",
     SHOAL_CORRUPT, "key extra: unknown key"},
    {0, "Toy: 5\n", SHOAL_CORRUPT, "models.yml:1: key Toy: a map is expected"},
    {0, "", SHOAL_CORRUPT, "models.yml:1: a map is expected"},
    {1,
     "A: {mem_MB: 10, bw_Mbps: 1, model_profiles: {Toy: [{batch_size: 1, dtype: torch.float32, "
     "time_s: [1]}]}}\n",
     SHOAL_CORRUPT,
     "types.yml:1: key time_s: a list of 2 numbers, one a layer, is expected, not 1"},
    {1, "A: {mem_MB: 10, bw_Mbps: 1, model_profiles: {Toy: 7}}\n", SHOAL_CORRUPT,
     "key Toy: a list of profiles"},
    {1, "A: {mem_MB: ten, bw_Mbps: 1, model_profiles: {}}\n", SHOAL_CORRUPT,
     "key mem_MB: a number is expected, not \"ten\""},
    {1, "A: {bw_Mbps: 1, model_profiles: {}}\n", SHOAL_NOT_FOUND, "key A: has no \"mem_MB\""},
    {1,
     "A: {mem_MB: 10, bw_Mbps: 1, model_profiles: {Toy: [{batch_size: 1, dtype: torch.float32, "
     "time_s: [1, 2]},\n"
     " {batch_size: 1, dtype: torch.float32, time_s: [1, 2]}]}}\n",
     SHOAL_CORRUPT, "types.yml:2: key Toy: a second profile for batch size 1"},
    {1, "A: {mem_MB: 10, bw_Mbps: 1, model_profiles: {Toy: [{batch: 1}]}}\n", SHOAL_CORRUPT,
     "key batch: unknown key"},
    {2, "A: [a-0, a-1, a-0]\n", SHOAL_CORRUPT,
     "devices.yml:1: key A: host \"a-0\" stands there twice"},
    {2, "A: [a-0]\nA: [a-1]\n", SHOAL_CORRUPT, "key A: stands there twice"},
    {2, "A: a-0\n", SHOAL_CORRUPT, "key A: a list of host names"},
    {2, "A: [[a-0]]\n", SHOAL_CORRUPT, "key A: a text is expected"},
    {2, "[A]\n", SHOAL_CORRUPT, "devices.yml:1: a map is expected"},
};

static void test_what_is_wrong_in_the_files_is_named(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct refusal *r = &refusals[i];
        const char *text[3] = {good_text[0], good_text[1], good_text[2]};
        text[r->file] = r->text;
        write_files(text);
        const struct plan_pipeedge_options options = options_of("Toy", 1);
        struct plan_pipeedge *problem;
        const shoal_status status = plan_pipeedge_load(&options, &problem, &error);
        if (status != r->status || strstr(error.text, r->part) == NULL) {
            fail_msg("refusal %zu: status %d, \"%s\" instead of \"%s\"", i, (int)status, error.text,
                     r->part);
        }
    }
}

static void test_bad_options(void **unused) {
    (void)unused;
    write_files(good_text);
    struct plan_pipeedge *problem;
    struct plan_pipeedge_options options = options_of("Toy", 0);
    assert_int_equal(plan_pipeedge_load(&options, &problem, &error), SHOAL_INVALID);
    options = options_of("Toy", 1);
    options.dtype = "torch.float16";
    assert_int_equal(plan_pipeedge_load(&options, &problem, &error), SHOAL_UNSUPPORTED);
    options = options_of("Toy", 1);
    options.types_path = "/nowhere/types.yml";
    assert_int_equal(plan_pipeedge_load(&options, &problem, &error), SHOAL_NOT_FOUND);
}

static void test_evaluate_refuses_what_is_no_schedule(void **unused) {
    (void)unused;
    write_files(good_text);
    const struct plan_pipeedge_options options = options_of("Toy", 1);
    struct plan_pipeedge *problem = solve(&options);
    const uint32_t ends[] = {1, 2}, falling[] = {2, 2}, whole[] = {2};
    const char *const hosts[] = {"a-1", "a-0"}, *const twice[] = {"a-1", "a-1"},
                      *const strange[] = {"b"};
    assert_int_equal(plan_pipeedge_evaluate(problem, ends, hosts, 2, &schedule, &error), SHOAL_OK);
    assert_int_equal(plan_pipeedge_evaluate(problem, ends, hosts, 1, &schedule, &error),
                     SHOAL_INVALID);
    assert_int_equal(plan_pipeedge_evaluate(problem, ends, hosts, 0, &schedule, &error),
                     SHOAL_INVALID);
    assert_int_equal(plan_pipeedge_evaluate(problem, falling, hosts, 2, &schedule, &error),
                     SHOAL_INVALID);
    assert_int_equal(plan_pipeedge_evaluate(problem, ends, twice, 2, &schedule, &error),
                     SHOAL_INVALID);
    assert_int_equal(plan_pipeedge_evaluate(problem, whole, strange, 1, &schedule, &error),
                     SHOAL_INVALID);
    plan_pipeedge_destroy(problem);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    write_files(good_text);
    const struct plan_pipeedge_options options = options_of("Toy", 1);
    uint64_t n = 1;
    for (;; n++) {
        struct plan_pipeedge *problem = NULL;
        mem_fail_after(n);
        shoal_status status = plan_pipeedge_load(&options, &problem, &error);
        if (status == SHOAL_OK) {
            status = plan_pipeedge_solve(problem, NULL, &schedule, &error);
        }
        mem_fail_after(0);
        plan_pipeedge_destroy(problem);
        if (status == SHOAL_OK) {
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    assert_true(n > 20);
}

static void check_case(const char *root, const char *name) {
    static const char *const files[3] = {"models.yml", "device_types.yml", "devices.yml"};
    char path[900];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(paths[i], sizeof paths[i], "%s/%s/%s", root, name, files[i]);
    }
    (void)snprintf(path, sizeof path, "%s/%s/expected.json", root, name);
    json_t *expected = json_load_file(path, 0, NULL);
    assert_non_null(expected);
    const char *model, *expect, *flag = NULL, *dtype = NULL;
    int batch, buffers_in, buffers_out;
    json_t *optimum, *extra;
    assert_int_equal(json_unpack(expected, "{s:s, s:o, s:{s:s, s:i, s:i, s:i, s:o}}", "expect",
                                 &expect, "optimum_s", &optimum, "args", "model", &model, "batch",
                                 &batch, "buffers_in", &buffers_in, "buffers_out", &buffers_out,
                                 "extra", &extra),
                     0);
    if (json_array_size(extra) > 0) {
        assert_int_equal(json_unpack(extra, "[s, s]", &flag, &dtype), 0);
        assert_string_equal(flag, "-d");
    }
    struct plan_pipeedge_options options = options_of(model, (uint32_t)batch);
    options.buffers_in = (uint32_t)buffers_in;
    options.buffers_out = (uint32_t)buffers_out;
    options.dtype = dtype;
    if (strcmp(expect, "error") == 0) {
        struct plan_pipeedge *problem;
        error.text[0] = '\0';
        assert_int_not_equal(plan_pipeedge_load(&options, &problem, &error), SHOAL_OK);
        assert_true(error.text[0] != '\0');
    } else {
        struct plan_pipeedge *problem = solve(&options);
        if (schedule.feasible != (strcmp(expect, "infeasible") != 0)) {
            fail_msg("%s: expected %s", name, expect);
        }
        const double want = json_number_value(optimum);
        if (schedule.feasible && fabs(schedule.bottleneck_s - want) > 1e-9 * want) {
            fail_msg("%s: %.17g instead of %.17g s", name, schedule.bottleneck_s, want);
        }
        plan_pipeedge_destroy(problem);
    }
    json_decref(expected);
}

static void test_shared_cases(void **unused) {
    (void)unused;
    char root[400];
    const char *shared = getenv("SHOAL_SHARED"), *source = getenv("SHOAL_SOURCE_DIR");
    if (shared != NULL) {
        (void)snprintf(root, sizeof root, "%s/cases/pipeedge", shared);
    } else {
        (void)snprintf(root, sizeof root, "%s/../shared/cases/pipeedge",
                       source != NULL ? source : ".");
    }
    DIR *cases = opendir(root);
    if (cases == NULL) {
        print_message("SKIPPED: %s is not there\n", root);
        skip();
        return;
    }
    int count = 0;
    for (const struct dirent *entry = readdir(cases); entry != NULL; entry = readdir(cases)) {
        char path[900];
        (void)snprintf(path, sizeof path, "%s/%s/expected.json", root, entry->d_name);
        if (entry->d_name[0] != '.' && file_exists(path)) {
            check_case(root, entry->d_name);
            count++;
        }
    }
    (void)closedir(cases);
    print_message("%d cases agree\n", count);
    assert_true(count > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed_files),
        cmocka_unit_test(test_memory_is_compared_strictly),
        cmocka_unit_test(test_what_is_wrong_in_the_files_is_named),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_evaluate_refuses_what_is_no_schedule),
        cmocka_unit_test(test_running_out_of_memory),
        cmocka_unit_test(test_shared_cases),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
