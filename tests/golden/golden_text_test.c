/*
 * Small BERTs as transformers and sentence-transformers saved them, from directory and ids to
 * outputs, on every kernel set this processor has: ‖a − b‖∞/‖b‖∞ below 1e-4 of transformers' fp32,
 * each item at its own length and all of them at the longest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/hf.h"
#include "formats/npy.h"
#include "golden.h"
#include "graph/executor_group.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1e-4
#define ITEMS 6
#define STORED 64 /* tokens of an item in the files, padding included */

static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

/* Ids, types and mask (1: a token) of all items. */
static int32_t stored[3][ITEMS * STORED];

static void read_inputs(const char *directory) {
    static const char *const names[] = {"input_ids.npy", "token_type_ids.npy",
                                        "attention_mask.npy"};
    for (int i = 0; i < 3; i++) {
        char path[1024];
        struct npy *npy = NULL;
        OK(npy_open(golden_path(directory, names[i], path), &npy, &error));
        const struct tensor tensor = npy_tensor(npy);
        assert_int_equal(tensor.dtype, DTYPE_I32);
        assert_true(shape_equal(&tensor.shape, &SHAPE(ITEMS, STORED)));
        memcpy(stored[i], tensor.data, sizeof stored[i]);
        npy_close(npy);
    }
}

static int64_t tokens_of(int item) {
    int64_t count = 0;
    for (int t = 0; t < STORED; t++) {
        count += stored[2][item * STORED + t];
    }
    return count;
}

/* One item as the model takes it at a length, as row `row` of the inputs. */
static void put_item(struct executor_group *group, uint32_t index, int64_t length, int item,
                     int row) {
    const graph_value_id *in = NULL;
    assert_int_equal(executor_group_inputs(group, index, &in), 3);
    for (int i = 0; i < 3; i++) {
        const struct tensor tensor = executor_group_tensor(group, index, in[i]);
        for (int64_t t = 0; t < length; t++) {
            const int32_t value = stored[i][(int64_t)item * STORED + t];
            if (i < 2) {
                ((int32_t *)tensor.data)[row * length + t] = value;
            } else {
                ((float *)tensor.data)[row * length + t] = value == 1 ? 0 : MODEL_MASK_DROP;
            }
        }
    }
}

static void take_rows(const struct executor_group *group, uint32_t index, int rows, size_t width,
                      float *out) {
    const graph_value_id *result = NULL;
    assert_int_equal(executor_group_outputs(group, index, &result), 1);
    const struct tensor tensor = executor_group_tensor(group, index, result[0]);
    assert_int_equal(tensor_bytes(&tensor), (size_t)rows * width * sizeof(float));
    memcpy(out, tensor.data, tensor_bytes(&tensor));
}

static void run_items(const struct model_config *config, struct executor_group *group, bool alone,
                      size_t width, float *out) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    const uint32_t count = model_lengths(config, lengths);
    for (int item = 0; item < ITEMS; item++) {
        uint32_t index = count - 1;
        while (alone && index > 0 && lengths[index - 1] >= tokens_of(item)) {
            index--;
        }
        put_item(group, index, lengths[index], item, alone ? 0 : item);
        if (alone) {
            OK(executor_group_run(group, index, &error));
            take_rows(group, index, 1, width, out + (size_t)item * width);
        }
    }
    if (!alone) {
        OK(executor_group_run(group, count - 1, &error));
        take_rows(group, count - 1, ITEMS, width, out);
    }
}

/* Every item at its own length in a microbatch of one, or all at the longest in one microbatch; out
 * [ITEMS, width]. */
static void run_set(const struct hf_model *model, const char *set, bool alone, size_t width,
                    float *out) {
    struct kernel_choice *choice = NULL;
    struct executor_group *group = NULL;
    struct graph *graphs[MODEL_MAX_LENGTHS];
    uint32_t count = 0;
    OK(kernel_choice_create(&choice, &error));
    OK(kernel_choice_set_default(choice, set, &error));
    OK(model_build_lengths(hf_config(model), graphs, &count, &error));
    const struct executor_options options = {.first = 1,
                                             .last = graph_segment_count(graphs[0]),
                                             .batch = alone ? 1 : ITEMS,
                                             .threads = 1,
                                             .choice = choice};
    OK(executor_group_compile((const struct graph *const *)graphs, count, &options, &group,
                              &error));
    OK(executor_group_load(group, hf_weights(model), &error));
    run_items(hf_config(model), group, alone, width, out);
    executor_group_destroy(group);
    for (uint32_t i = 0; i < count; i++) {
        graph_destroy(graphs[i]);
    }
    kernel_choice_destroy(choice);
}

static double relative_error(const float *got, const float *wanted, size_t count) {
    double difference = 0.0, largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite((double)got[i])) {
            return (double)INFINITY;
        }
        difference = fmax(difference, fabs((double)got[i] - (double)wanted[i]));
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    return difference / largest;
}

static void check_model(const char *directory, int64_t width) {
    char path[1024];
    struct hf_model *model = NULL;
    struct npy *npy = NULL;
    float *out = mem_calloc(ITEMS * (size_t)width, sizeof *out);
    assert_non_null(out);
    read_inputs(directory);
    OK(hf_open(golden_path(directory, "", path), &model, &error));
    OK(npy_open(golden_path(directory, "logits.npy", path), &npy, &error));
    const struct tensor wanted = npy_tensor(npy);
    assert_true(shape_equal(&wanted.shape, &SHAPE(ITEMS, width)));
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        for (int alone = 0; alone < 2; alone++) {
            run_set(model, (*set)->name, alone == 1, (size_t)width, out);
            const double worst = relative_error(out, wanted.data, ITEMS * (size_t)width);
            print_message("%-16s %-10s %s: %.1e\n", directory, (*set)->name,
                          alone == 1 ? "alone" : "together", worst);
            assert_true(worst < TOLERANCE);
        }
    }
    mem_free(out);
    npy_close(npy);
    hf_close(model);
}

static void test_a_classifier(void **state) {
    (void)state;
    char path[1024];
    struct hf_model *model = NULL;
    check_model("bert", 4);
    OK(hf_open(golden_path("bert", "", path), &model, &error));
    assert_string_equal(hf_label(model, 3), "kind 3");
    assert_null(hf_label(model, 4));
    hf_close(model);
}

static void test_a_classifier_in_half_precision(void **state) {
    (void)state;
    check_model("bert-f16", 2);
}

static void test_regression(void **state) {
    (void)state;
    check_model("bert-regression", 1);
}

static void test_a_pooler(void **state) {
    (void)state;
    check_model("bert-pooler", 24);
}

static void test_names_of_tensorflow(void **state) {
    (void)state;
    check_model("bert-old-names", 24);
}

static void test_embeddings_of_sentence_transformers(void **state) {
    (void)state;
    check_model("bert-sentences", 24);
    check_model("bert-cls", 24);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_classifier),
        cmocka_unit_test(test_a_classifier_in_half_precision),
        cmocka_unit_test(test_regression),
        cmocka_unit_test(test_a_pooler),
        cmocka_unit_test(test_names_of_tensorflow),
        cmocka_unit_test(test_embeddings_of_sentence_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
