/*
 * Small models as transformers saved them, from directory and pictures to logits, on every kernel
 * set this processor has: ‖a − b‖∞/‖b‖∞ below 1e-4 of transformers' fp32.
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
#include "graph/executor.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1e-4
#define SIDE 32
#define PICTURE_VALUES ((size_t)SIDE * SIDE * 3)

static const char *const inputs[] = {"rgb.png",    "plain-420.jpg", "tall.jpg",     "wide.jpg",
                                     "exif-6.jpg", "grey.jpg",      "palette8.png", "cmyk.jpg"};
#define INPUT_COUNT (sizeof inputs / sizeof inputs[0])

static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

static float pixels[INPUT_COUNT * PICTURE_VALUES];

static void preprocess_all(const struct hf_model *model) {
    for (size_t i = 0; i < INPUT_COUNT; i++) {
        char path[1024];
        struct image image;
        OK(image_read(golden_path("images", inputs[i], path), &image, &error));
        OK(image_preprocess_apply(&image, hf_preprocess(model), SIDE, SIDE,
                                  pixels + i * PICTURE_VALUES, &error));
        image_fini(&image);
    }
}

/* Where the generator kept pixel values: they must be the same floats. */
static void compare_pixels(const char *directory) {
    char path[1024];
    struct npy *npy = NULL;
    OK(npy_open(golden_path(directory, "pixel_values.npy", path), &npy, &error));
    const struct tensor expected = npy_tensor(npy);
    const size_t bytes = tensor_bytes(&expected);
    assert_int_equal(expected.dtype, DTYPE_F32);
    assert_int_equal(bytes % (PICTURE_VALUES * sizeof(float)), 0);
    assert_in_range(bytes, 1, sizeof pixels);
    assert_memory_equal(expected.data, pixels, bytes);
    npy_close(npy);
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

/* All pictures in microbatches of batch on one kernel set; out [INPUT_COUNT, width]. */
static void run_set(const struct graph *graph, struct weight_source *source, const char *set,
                    int64_t batch, float *out, size_t width) {
    struct kernel_choice *choice = NULL;
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    const graph_value_id *in = NULL, *result = NULL;
    OK(kernel_choice_create(&choice, &error));
    OK(kernel_choice_set_default(choice, set, &error));
    const struct executor_options options = {.first = 1,
                                             .last = graph_segment_count(graph),
                                             .batch = batch,
                                             .threads = 1,
                                             .choice = choice};
    OK(executor_compile(graph, &options, &executor, &error));
    OK(executor_weights_load(executor, source, &weights, &error));
    OK(executor_slot_create(executor, &slot, &error));
    assert_int_equal(executor_inputs(executor, &in), 1);
    assert_int_equal(executor_outputs(executor, &result), 1);
    for (size_t first = 0; first < INPUT_COUNT; first += (size_t)batch) {
        const struct tensor input = executor_slot_tensor(slot, in[0]);
        assert_int_equal(tensor_bytes(&input), (size_t)batch * PICTURE_VALUES * sizeof(float));
        memcpy(input.data, pixels + first * PICTURE_VALUES, tensor_bytes(&input));
        OK(executor_run(executor, weights, slot, GRAPH_F, &error));
        const struct tensor output = executor_slot_tensor(slot, result[0]);
        assert_int_equal(tensor_bytes(&output), (size_t)batch * width * sizeof(float));
        memcpy(out + first * width, output.data, tensor_bytes(&output));
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    kernel_choice_destroy(choice);
}

static void check_model(const char *directory, bool has_pixels) {
    char path[1024];
    struct hf_model *model = NULL;
    struct graph *graph = NULL;
    struct npy *npy = NULL;
    OK(hf_open(golden_path(directory, "", path), &model, &error));
    preprocess_all(model);
    if (has_pixels) {
        compare_pixels(directory);
    }
    OK(model_build(hf_config(model), &graph, &error));
    OK(npy_open(golden_path(directory, "logits.npy", path), &npy, &error));
    const struct tensor wanted = npy_tensor(npy);
    assert_int_equal(wanted.shape.dims[0], INPUT_COUNT);
    const size_t width = (size_t)wanted.shape.dims[1];
    float *out = mem_calloc(INPUT_COUNT * width, sizeof *out);
    assert_non_null(out);
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        for (int64_t batch = 1; batch <= 8; batch *= 8) {
            run_set(graph, hf_weights(model), (*set)->name, batch, out, width);
            const double worst = relative_error(out, wanted.data, INPUT_COUNT * width);
            print_message("%-16s %-10s batch %d: %.1e\n", directory, (*set)->name, (int)batch,
                          worst);
            assert_true(worst < TOLERANCE);
        }
    }
    mem_free(out);
    npy_close(npy);
    graph_destroy(graph);
    hf_close(model);
}

static void test_vit(void **state) {
    (void)state;
    check_model("vit", true);
}

static void test_vit_in_shards_with_an_old_preprocessor(void **state) {
    (void)state;
    check_model("vit-sharded", false);
}

static void test_vit_in_half_precision(void **state) {
    (void)state;
    check_model("vit-f16", false);
}

static void test_vit_features_in_bfloat16(void **state) {
    (void)state;
    check_model("vit-features", false);
}

static void test_deit_without_a_preprocessor(void **state) {
    (void)state;
    check_model("deit", false);
}

static void test_deit_with_its_teacher(void **state) {
    (void)state;
    check_model("deit-distilled", true);
}

static void test_labels_come_in_order(void **state) {
    (void)state;
    char path[1024];
    struct hf_model *model = NULL;
    OK(hf_open(golden_path("vit", "", path), &model, &error));
    assert_string_equal(hf_label(model, 6), "thing 6");
    assert_null(hf_label(model, 7));
    hf_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vit),
        cmocka_unit_test(test_vit_in_shards_with_an_old_preprocessor),
        cmocka_unit_test(test_vit_in_half_precision),
        cmocka_unit_test(test_vit_features_in_bfloat16),
        cmocka_unit_test(test_deit_without_a_preprocessor),
        cmocka_unit_test(test_deit_with_its_teacher),
        cmocka_unit_test(test_labels_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
