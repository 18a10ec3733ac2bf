#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kernel_desc linear_desc(int64_t rows, int threads) {
    const struct op_attrs attrs = {.activation = ACTIVATION_RELU};
    const struct tensor_type x = {DTYPE_F32, SHAPE(rows, 24)};
    const struct tensor_type w = {DTYPE_F32, SHAPE(40, 24)};
    struct kernel_desc desc;
    assert_int_equal(kernel_describe(OP_LINEAR, &attrs, &x, 1, &w, 1, threads, &desc, NULL),
                     SHOAL_OK);
    return desc;
}

static struct kernel_desc sum_desc(void) { /* of an op that only the reference has */
    const struct op_attrs attrs = {0};
    const struct tensor_type x = {DTYPE_F32, SHAPE(5, 24)};
    struct kernel_desc desc;
    assert_int_equal(kernel_describe(OP_SUM_ROWS, &attrs, &x, 1, NULL, 0, 1, &desc, NULL),
                     SHOAL_OK);
    return desc;
}

static void sets_are_found_by_name(void **state) {
    (void)state;
    static const char *const names[] = {"blas", "reference", "onednn"};
    for (size_t i = 0; i < 2 + SHOAL_ONEDNN; i++) {
        const struct kernel_ops *set = kernel_set_find(names[i]);
        assert_non_null(set);
        assert_string_equal(set->name, names[i]);
    }
    assert_null(kernel_set_find("nonsense"));
    assert_int_equal(strstr(kernel_libraries(), "onednn ") != NULL, SHOAL_ONEDNN);
    assert_non_null(strstr(kernel_libraries(), "openblas 0."));
}

static void entry_beats_default_beats_preference(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    const struct kernel_desc desc = linear_desc(7, 1);
    const struct kernel_desc other = linear_desc(8, 1);
    const struct kernel_desc sum = sum_desc();
    char key[KERNEL_KEY_TEXT];
    kernel_key(&desc, key);
    assert_ptr_equal(kernel_choice_get(NULL, &desc), kernel_sets_for(&desc)[0]);
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_ptr_equal(kernel_choice_get(choice, &desc), kernel_sets_for(&desc)[0]);
    assert_int_equal(kernel_choice_set_default(choice, "blas", NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_put(choice, key, "reference", NULL), SHOAL_OK);
    assert_string_equal(kernel_choice_get(choice, &desc)->name, "reference");
    assert_string_equal(kernel_choice_get(choice, &other)->name, "blas");
    assert_string_equal(kernel_choice_get(choice, &sum)->name, "reference");

    assert_int_equal(kernel_choice_put(choice, key, "blas", NULL), SHOAL_OK); /* replaces */
    assert_int_equal(kernel_choice_count(choice), 1);
    const char *found_key = NULL;
    const char *found_set = NULL;
    kernel_choice_at(choice, 0, &found_key, &found_set);
    assert_string_equal(found_key, key);
    assert_string_equal(found_set, "blas");
    kernel_choice_destroy(choice);
    kernel_choice_destroy(NULL);
}

static void many_entries_are_kept(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    for (int i = 0; i < 100; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(kernel_choice_put(choice, key, i % 2 == 0 ? "blas" : "reference", NULL),
                         SHOAL_OK);
    }
    assert_int_equal(kernel_choice_count(choice), 100);
    const char *key = NULL;
    const char *set = NULL;
    kernel_choice_at(choice, 99, &key, &set);
    assert_string_equal(key, "key 99");
    assert_string_equal(set, "reference");
    kernel_choice_destroy(choice);
}

static void unknown_sets_are_not_found(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    struct shoal_error error = {.text = ""};
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "mkl", &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "mkl"));
    assert_int_equal(kernel_choice_put(choice, "key", "mkl", &error), SHOAL_NOT_FOUND);
    assert_int_equal(kernel_choice_count(choice), 0);
    kernel_choice_destroy(choice);
}

static void choices_report_no_memory(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    mem_fail_after(1);
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_null(choice);
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_after(nth);
        assert_int_equal(kernel_choice_put(choice, "key", "blas", NULL), SHOAL_NO_MEMORY);
        mem_fail_after(0);
        assert_int_equal(kernel_choice_count(choice), 0);
    }
    assert_int_equal(kernel_choice_put(choice, "key", "blas", NULL), SHOAL_OK);
    kernel_choice_destroy(choice);
}

static void measuring_gives_a_time(void **state) {
    (void)state;
    const struct kernel_desc desc = linear_desc(7, 2);
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        double seconds = 0;
        const shoal_status status = kernel_measure(&desc, *set, 2, &seconds, NULL);
        if (!(*set)->supports(&desc)) { /* oneDNN on arm64 */
            assert_int_equal(status, SHOAL_UNSUPPORTED);
            continue;
        }
        assert_int_equal(status, SHOAL_OK);
        assert_true(seconds > 0 && seconds < 60);
    }
    const struct kernel_ops *chosen = NULL;
    double seconds = 0;
    assert_int_equal(kernel_choose(&desc, 1, &chosen, &seconds, NULL), SHOAL_OK);
    assert_true(chosen->supports(&desc) && chosen != &kernel_reference_ops && seconds > 0);
    const struct kernel_desc sum = sum_desc();
    assert_int_equal(kernel_choose(&sum, 1, &chosen, &seconds, NULL), SHOAL_OK);
    assert_ptr_equal(chosen, &kernel_reference_ops);
}

static void measuring_reports_unsupported_and_no_memory(void **state) {
    (void)state;
    const struct kernel_desc sum = sum_desc();
    double seconds = -1;
    assert_int_equal(kernel_measure(&sum, kernel_set_find("blas"), 1, &seconds, NULL),
                     SHOAL_UNSUPPORTED);
    uint64_t nth = 1;
    for (;; nth++) {
        mem_fail_after(nth);
        const shoal_status status = kernel_measure(&sum, &kernel_reference_ops, 1, &seconds, NULL);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
        assert_true(seconds < 0);
    }
    assert_true(nth > 5);
}

static void instruction_sets_are_parsed(void **state) {
    (void)state;
    struct shoal_error error = {.text = ""};
    enum isa isa = ISA_COUNT;
    assert_int_equal(isa_parse("native", &isa, &error), SHOAL_OK);
    assert_int_equal(isa, isa_native());
    assert_int_equal(isa_parse(isa_name(isa_native()), &isa, &error), SHOAL_OK);
    assert_int_equal(isa, isa_native());
    isa = ISA_COUNT;
    assert_int_equal(isa_parse("sse9", &isa, &error), SHOAL_USAGE);
    assert_non_null(strstr(error.text, "sse9"));
    const char *other = isa_native() == ISA_NEON ? "avx2" : "neon";
    assert_int_equal(isa_parse(other, &isa, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, isa_name(isa_native())));
    assert_int_equal(isa, ISA_COUNT);
    char *argv[] = {NULL};
    assert_int_equal(isa_cap(isa_native() == ISA_NEON ? ISA_AVX2 : ISA_NEON, argv, &error),
                     SHOAL_UNSUPPORTED);
}

static void the_peak_is_a_rate(void **state) {
    (void)state;
    assert_true(peak_f32_gflops(1) > 0);
    assert_true(peak_f32_gflops(2) > 0);
}

/* This program again, capped: a child prints what it is capped to. */
static void a_cap_survives_its_execution(void **state) {
    const char *const *program = (const char *const *)*state;
    static const char *const names[] = {"baseline", "avx2", "avx512", "neon"};
    if (getenv("SHOAL_EMULATED") != NULL) {
        print_message("SKIPPED: an emulated program cannot execute another\n");
        skip();
    }
    for (size_t i = 0; i < 4; i++) {
        enum isa isa = ISA_COUNT;
        if (isa_parse(names[i], &isa, NULL) != SHOAL_OK) {
            continue;
        }
        char command[4096];
        (void)snprintf(command, sizeof command, "'%s' --capped %s", *program, names[i]);
        FILE *child = popen(command, "r");
        assert_non_null(child);
        char line[256] = "";
        (void)fgets(line, sizeof line, child);
        assert_int_equal(pclose(child), 0);
        char expected[256];
        (void)snprintf(expected, sizeof expected, "%s twice\n", names[i]);
        assert_string_equal(line, expected);
    }
}

/* The child: caps, perhaps by executing itself again, and again once more, which must not. */
static int capped_child(char **argv) {
    enum isa isa = ISA_COUNT;
    struct shoal_error error = {.text = ""};
    if (isa_parse(argv[2], &isa, &error) != SHOAL_OK || isa_cap(isa, argv, &error) != SHOAL_OK ||
        isa_cap(isa, argv, &error) != SHOAL_OK || isa_current() != isa) {
        (void)printf("%s\n", error.text);
        return 1;
    }
    (void)printf("%s twice\n", isa_name(isa_current()));
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--capped") == 0) {
        return capped_child(argv);
    }
    void *program = argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_found_by_name),
        cmocka_unit_test(entry_beats_default_beats_preference),
        cmocka_unit_test(many_entries_are_kept),
        cmocka_unit_test(unknown_sets_are_not_found),
        cmocka_unit_test(choices_report_no_memory),
        cmocka_unit_test(measuring_gives_a_time),
        cmocka_unit_test(measuring_reports_unsupported_and_no_memory),
        cmocka_unit_test(instruction_sets_are_parsed),
        cmocka_unit_test(the_peak_is_a_rate),
        cmocka_unit_test_prestate(a_cap_survives_its_execution, program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
