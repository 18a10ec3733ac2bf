/* A placement as JSON with the promised keys, as a table and as a picture; with names from outside.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "plan/explain.h"
#include "plan/text.h"
#include "platform/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 12, D = 4 };

static double compute[D][N];
static struct plan_device devices[D];
static struct plan_link links[D * D];
static size_t cut[N + 1], weights[N], slot[N], scratch[N];
static struct plan_problem problem;
static struct plan_placement placement;
static struct plan_report report;
static struct shoal_error error;

static void make(const char *const names[D], size_t memory_limit) {
    for (uint32_t l = 0; l <= N; l++) {
        cut[l] = 600000 + 300000 * (l % 2);
    }
    for (uint32_t d = 0; d < D; d++) {
        for (uint32_t l = 0; l < N; l++) {
            compute[d][l] = 0.02 * (d + 2) * (1.0 + 0.3 * (l % 3));
        }
        devices[d] = (struct plan_device){.name = names[d],
                                          .threads = 1,
                                          .compute_s = compute[d],
                                          .memory_base = 10 << 20,
                                          .memory_limit = memory_limit << d,
                                          .from_source = {0.001, 1e-8},
                                          .to_sink = {0.001, 1e-8}};
    }
    for (uint32_t l = 0; l < N; l++) {
        weights[l] = 14 << 20;
        slot[l] = 2 << 20;
        scratch[l] = 1 << 20;
    }
    for (uint32_t i = 0; i < D * D; i++) {
        links[i] = (struct plan_link){.alpha_s = 0.002, .beta_s_per_byte = 8e-8};
    }
    problem = (struct plan_problem){.segment_count = N,
                                    .device_count = D,
                                    .devices = devices,
                                    .links = links,
                                    .cut_bytes = cut,
                                    .weights_bytes = weights,
                                    .slot_bytes = slot,
                                    .scratch_bytes = scratch,
                                    .in_messages = 2,
                                    .out_messages = 2};
}

static const char *const plain_names[D] = {"pi-1", "pi-2", "laptop", "mini"};

static void solve(const char *title) {
    assert_int_equal(plan_solve(&problem, &placement, &error), SHOAL_OK);
    plan_report_fill(&problem, &placement, title, 8, &report);
}

static void test_json_has_the_promised_keys(void **unused) {
    (void)unused;
    make(plain_names, 80 << 20);
    solve("vit-base");
    json_t *json;
    assert_int_equal(plan_report_json(&report, &json, &error), SHOAL_OK);
    int feasible;
    double bottleneck, latency, bound, gap, single, seconds;
    json_t *cells;
    assert_int_equal(json_unpack(json, "{s:b, s:F, s:F, s:F, s:F, s:o, s:F, s:o}", "feasible",
                                 &feasible, "bottleneck_s", &bottleneck, "latency_s", &latency,
                                 "lower_bound_s", &bound, "gap", &gap, "single_device_s", &cells,
                                 "solver_seconds", &seconds, "cells", &cells),
                     0);
    assert_true(feasible && bottleneck == placement.bottleneck_s && latency == placement.latency_s);
    assert_true(bound == bottleneck && gap == 0.0);
    const json_t *stages = json_object_get(json_array_get(cells, 0), "stages");
    assert_int_equal(json_array_size(cells), 1);
    assert_int_equal(json_array_size(stages), placement.stage_count);
    uint32_t next = 1;
    for (uint32_t s = 0; s < placement.stage_count; s++) {
        json_int_t first, last, memory, limit;
        double compute_s, send_s, share;
        const char *device, *kind;
        json_t *members;
        assert_int_equal(json_unpack(json_array_get(stages, s), "{s:I, s:I, s:F, s:F, s:o}",
                                     "first", &first, "last", &last, "compute_s", &compute_s,
                                     "send_s", &send_s, "members", &members),
                         0);
        assert_int_equal(json_unpack(members, "[{s:s, s:s, s:F, s:I, s:I}]", "device", &device,
                                     "kind", &kind, "share", &share, "memory_bytes", &memory,
                                     "memory_limit_bytes", &limit),
                         0);
        assert_int_equal(first, next);
        next = (uint32_t)last + 1;
        assert_string_equal(device, devices[placement.stages[s].device].name);
        assert_string_equal(kind, "whole");
        assert_true(share == 1.0 && memory <= limit);
    }
    assert_int_equal(next, N + 1);
    json_decref(json);

    make(plain_names, 0); /* no limits: one device can hold all */
    solve(NULL);
    assert_int_equal(plan_report_json(&report, &json, &error), SHOAL_OK);
    assert_int_equal(json_unpack(json, "{s:F}", "single_device_s", &single), 0);
    assert_true(single == placement.single_device_s);
    json_decref(json);
}

static void expect_parts(const char *text, const char *const parts[]) {
    for (size_t i = 0; parts[i] != NULL; i++) {
        if (strstr(text, parts[i]) == NULL) {
            fail_msg("\"%s\" is not in:\n%s", parts[i], text);
        }
    }
}

static void test_table(void **unused) {
    (void)unused;
    make(plain_names, 80 << 20);
    solve("vit-base");
    char *table;
    assert_int_equal(plan_report_table(&report, &table, &error), SHOAL_OK);
    static const char *const parts[] = {"vit-base: ",
                                        "a microbatch of 8 every",
                                        "items/s",
                                        "stage  device",
                                        "laptop",
                                        "* bottleneck: ",
                                        "optimal: no placement has a smaller bottleneck",
                                        " alone: ",
                                        NULL};
    expect_parts(table, parts);
    mem_free(table);
}

static void test_one_device_that_is_better_is_said(void **unused) {
    (void)unused;
    make(plain_names, 0);
    for (uint32_t i = 0; i < D * D; i++) {
        links[i].alpha_s = 50.0;
    }
    assert_int_equal(plan_even(&problem, &placement, &error), SHOAL_OK);
    plan_report_fill(&problem, &placement, NULL, 0, &report);
    char *table;
    assert_int_equal(plan_report_table(&report, &table, &error), SHOAL_OK);
    static const char *const parts[] = {"one device alone is BETTER: pi-1 takes", "% above",
                                        "this is a baseline", NULL};
    expect_parts(table, parts);
    mem_free(table);
}

static void test_infeasible(void **unused) {
    (void)unused;
    make(plain_names, 11 << 20);
    solve("vit-base");
    assert_false(report.feasible);
    json_t *json, *bottleneck, *gap;
    assert_int_equal(plan_report_json(&report, &json, &error), SHOAL_OK);
    int feasible;
    const char *device;
    json_int_t lacks;
    json_t *shortfall;
    assert_int_equal(json_unpack(json, "{s:b, s:o, s:o, s:o}", "feasible", &feasible,
                                 "bottleneck_s", &bottleneck, "gap", &gap, "shortfall", &shortfall),
                     0);
    assert_true(!feasible && json_is_null(bottleneck) && json_is_null(gap));
    assert_int_equal(json_array_size(json_object_get(json, "cells")), 0);
    assert_int_equal(json_array_size(shortfall), D);
    assert_int_equal(json_unpack(json_array_get(shortfall, 1), "{s:s, s:I}", "device", &device,
                                 "lacks_bytes", &lacks),
                     0);
    assert_string_equal(device, "pi-2");
    assert_true((size_t)lacks == placement.shortfall_bytes[1] && lacks > 0);
    json_decref(json);
    char *table, *svg;
    assert_int_equal(plan_report_table(&report, &table, &error), SHOAL_OK);
    static const char *const parts[] = {"infeasible: vit-base", "lacks", "pi-2",
                                        "the way out: more devices", NULL};
    expect_parts(table, parts);
    mem_free(table);
    assert_int_equal(plan_report_svg(&report, &svg, &error), SHOAL_OK);
    static const char *const svg_parts[] = {"no placement fits", "pi-2 (", "lacks", "</svg>", NULL};
    expect_parts(svg, svg_parts);
    mem_free(svg);
}

static void test_names_from_outside_are_escaped(void **unused) {
    (void)unused;
    static const char *const names[D] = {"<script>alert('&\"')</script>", "bad\xff\xc0\x80utf",
                                         "tab\there\x1b[31m",
                                         "größe-日本語-and-a-name-that-is-far-too-long"};
    make(names, 80 << 20);
    problem.use_all = true;
    solve("<b>\xfe</b>");
    assert_int_equal(report.stage_count, D);
    char *svg, *table;
    json_t *json;
    assert_int_equal(plan_report_svg(&report, &svg, &error), SHOAL_OK);
    assert_null(strstr(svg, "<script"));
    assert_null(strstr(svg, "<b>"));
    /* The title of a row has the name whole; malformed bytes are a question mark each. */
    static const char *const always[] = {
        "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;", "tab?here?", "größe-日本語",
        NULL};
    expect_parts(svg, always);
    assert_non_null(strstr(svg, "bad???utf"));
    for (const char *c = svg; *c != '\0'; c++) {
        assert_true((unsigned char)*c >= 0x20 || *c == '\n');
    }
    mem_free(svg);
    assert_int_equal(plan_report_table(&report, &table, &error), SHOAL_OK);
    assert_null(strchr(table, '\x1b'));
    assert_null(strchr(table, '\t'));
    mem_free(table);
    assert_int_equal(plan_report_json(&report, &json, &error), SHOAL_OK);
    assert_string_equal(json_string_value(json_object_get(json, "model")), "<b>?</b>");
    json_decref(json);
}

static void test_text_limits_count_characters(void **unused) {
    (void)unused;
    static const struct {
        const char *from;
        size_t limit, count;
        const char *want;
    } cases[] = {{"abc", 3, 3, "abc"},  {"abcd", 3, 3, "ab…"}, {"äöü", 3, 3, "äöü"},
                 {"äöüß", 3, 3, "äö…"}, {"", 3, 0, ""},        {"a\xe2\x82", 9, 3, "a??"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text text = {.data = NULL};
        char *got;
        assert_int_equal(text_add_clean(&text, cases[i].from, cases[i].limit), cases[i].count);
        assert_int_equal(text_take(&text, &got, &error), SHOAL_OK);
        assert_string_equal(got, cases[i].want);
        mem_free(got);
    }
}

static void test_units(void **unused) {
    (void)unused;
    static const struct {
        double value;
        const char *seconds, *bytes;
    } cases[] = {{0.0, "0.00 ms", "0 B"},
                 {0.00123, "1.23 ms", "0 B"},
                 {0.9999, "1.00 s", "1 B"},
                 {12.345, "12.3 s", "12 B"},
                 {1536.0, "1536 s", "1.50 KiB"},
                 {HUGE_VAL, "-", "-"},
                 {3221225472.0, "3.22e+09 s", "3.00 GiB"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[16];
        plan_format_seconds(cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].seconds);
        plan_format_bytes(cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].bytes);
    }
}

static void test_pipeedge_schedules_are_reported_too(void **unused) {
    (void)unused;
    static struct plan_pipeedge_schedule schedule;
    schedule =
        (struct plan_pipeedge_schedule){.feasible = true,
                                        .stage_count = 2,
                                        .stages = {{"mb-0", "T", 1, 20, 1.0, 0.5, 1e8, 2e8},
                                                   {"mb-1", "T", 21, 48, 2.0, 0.0, 1e8, 2e8}},
                                        .bottleneck_s = 2.0,
                                        .latency_s = 3.5,
                                        .bottleneck_stage = 1,
                                        .single_device_s = 3.0,
                                        .single_device = "mb-0"};
    plan_report_fill_pipeedge(&schedule, "vit", 8, &report);
    char *table;
    json_t *json;
    assert_int_equal(plan_report_table(&report, &table, &error), SHOAL_OK);
    static const char *const parts[] = {"layers",    "1-20", "21-48", "compute of stage 2 (mb-1)",
                                        "4 items/s", NULL};
    expect_parts(table, parts);
    mem_free(table);
    assert_int_equal(plan_report_json(&report, &json, &error), SHOAL_OK);
    assert_true(json_number_value(json_object_get(json, "items_per_second")) == 4.0);
    json_decref(json);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    make(plain_names, 80 << 20);
    solve("vit-base");
    shoal_status (*const writers[])(const struct plan_report *, char **,
                                    struct shoal_error *) = {plan_report_table, plan_report_svg};
    for (size_t w = 0; w < 2; w++) {
        uint64_t n = 1;
        for (;; n++) {
            char *text = NULL;
            mem_fail_after(n);
            const shoal_status status = writers[w](&report, &text, &error);
            mem_fail_after(0);
            mem_free(text);
            if (status == SHOAL_OK) {
                break;
            }
            assert_int_equal(status, SHOAL_NO_MEMORY);
        }
        assert_true(n > 1);
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--svg") == 0) { /* to look at one: explain_test --svg FILE */
        make(plain_names, 80 << 20);
        solve("ViT-Base, microbatch 8");
        char *svg;
        return plan_report_svg(&report, &svg, &error) == SHOAL_OK &&
                       file_write_atomic(argv[2], svg, strlen(svg), &error) == SHOAL_OK
                   ? 0
                   : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_has_the_promised_keys),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_one_device_that_is_better_is_said),
        cmocka_unit_test(test_infeasible),
        cmocka_unit_test(test_names_from_outside_are_escaped),
        cmocka_unit_test(test_text_limits_count_characters),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_pipeedge_schedules_are_reported_too),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
