/* MODEL as an ONNX file: what is found beside it, which microbatch and lengths it gets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "platform/file.h"
#include "runtime/input.h"
#include "runtime/model_ref.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char directory[64];
static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

/* tests/golden/data/onnx-run/FILE */
static const char *data(const char *file) {
    static char path[1024];
    const char *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, sizeof path, "%s/tests/golden/data/onnx-run/%s", root != NULL ? root : ".",
                   file);
    return path;
}

static struct model_ref *open_ref(const char *model, const struct model_ref_options *options) {
    struct model_ref *ref;
    OK(model_ref_open(model, options, &ref, &error));
    return ref;
}

static void expect_refused(const char *model, const struct model_ref_options *options,
                           shoal_status status, const char *text) {
    struct model_ref *ref;
    assert_int_equal(model_ref_open(model, options, &ref, &error), status);
    if (strstr(error.text, text) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, text);
    }
}

static void test_the_microbatch_is_the_files_or_the_runs(void **unused) {
    (void)unused;
    const struct model_ref_options any = {.seed = 1}, five = {.onnx.batch = 5},
                                   two = {.onnx.batch = 2};
    struct model_ref *ref = open_ref(data("pictures.onnx"), &any);
    assert_int_equal(model_batch(model_ref_config(ref)), 1);
    model_ref_close(ref);
    ref = open_ref(data("pictures.onnx"), &five);
    assert_int_equal(model_batch(model_ref_config(ref)), 5);
    assert_int_equal(model_ref_config(ref)->labels, 10);
    struct input_picture picture;
    assert_true(input_picture(model_ref_config(ref), &picture));
    assert_true(picture.channels_first && picture.channels == 3 && picture.height == 16);
    assert_non_null(strstr(model_ref_note(ref), "preprocessor_config.json"));
    assert_null(model_ref_label(ref, 3));
    model_ref_close(ref);
    ref = open_ref(data("deep.onnx"), &any);
    assert_int_equal(model_batch(model_ref_config(ref)), 2);
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    assert_int_equal(model_outputs(model_ref_config(ref), outputs), 1);
    assert_true(outputs[0].probabilities);
    assert_string_equal(outputs[0].name, "probabilities");
    model_ref_close(ref);
    model_ref_close(open_ref(data("deep.onnx"), &two));
    expect_refused(data("deep.onnx"), &five, SHOAL_USAGE, "its microbatch is 2");
}

static void test_several_inputs_and_outputs(void **unused) {
    (void)unused;
    const struct model_ref_options options = {.onnx.batch = 4};
    struct model_ref *ref = open_ref(data("pair.onnx"), &options);
    struct model_input inputs[MODEL_MAX_INPUTS];
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    struct input_picture picture;
    assert_int_equal(model_inputs(model_ref_config(ref), inputs), 2);
    assert_string_equal(inputs[0].name, "x");
    assert_string_equal(inputs[1].name, "ids");
    assert_int_equal(inputs[1].type.dtype, DTYPE_I64);
    assert_int_equal(inputs[1].limit, 20);
    assert_int_equal(model_outputs(model_ref_config(ref), outputs), 2);
    assert_string_equal(outputs[0].name, "values");
    assert_string_equal(outputs[1].name, "place");
    assert_int_equal(outputs[1].type.dtype, DTYPE_I64);
    assert_false(input_picture(model_ref_config(ref), &picture));
    model_ref_close(ref);
}

static void test_texts_share_weights_at_all_lengths(void **unused) {
    (void)unused;
    const struct model_ref_options options = {.seed = 1};
    struct model_ref *ref = open_ref(data("words.onnx"), &options);
    int64_t lengths[MODEL_MAX_LENGTHS];
    assert_true(model_ref_is_text(ref));
    assert_int_equal(model_ref_config(ref)->positions, 512);
    OK(model_ref_set_length(ref, 100, &error));
    assert_int_equal(model_lengths(model_ref_config(ref), lengths), 3);
    assert_true(lengths[0] == 32 && lengths[1] == 64 && lengths[2] == 100);
    assert_int_equal(model_ref_config(ref)->vocabulary, 40);
    OK(model_ref_set_length(ref, 20, &error));
    assert_int_equal(model_lengths(model_ref_config(ref), lengths), 1);
    enum input_role roles[MODEL_MAX_INPUTS];
    assert_true(input_roles(model_ref_config(ref), roles));
    assert_true(roles[0] == INPUT_IDS && roles[1] == INPUT_MASK);
    model_ref_close(ref);
}

static void copy_model(const char *name) {
    char path[128], *bytes;
    size_t size;
    (void)snprintf(path, sizeof path, "%s/model.onnx", directory);
    OK(file_read(data(name), (size_t)1 << 20, &bytes, &size, &error));
    OK(file_write_atomic(path, bytes, size, &error));
    mem_free(bytes);
}

static void write_file(const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    OK(file_write_atomic(path, text, strlen(text), &error));
}

static void test_what_lies_beside_it_is_used(void **unused) {
    (void)unused;
    struct model_ref_options options = {.seed = 1};
    char labels[128];
    copy_model("pictures.onnx");
    write_file("labels.txt", "zero\r\none\ntwo");
    struct model_ref *ref = open_ref(directory, &options);
    assert_string_equal(model_ref_label(ref, 0), "zero");
    assert_string_equal(model_ref_label(ref, 2), "two");
    assert_null(model_ref_label(ref, 3));
    model_ref_close(ref);
    write_file("config.json",
               "{\"model_type\":\"convnext\",\"id2label\":{\"0\":\"cat\",\"1\":\"dog\"}}");
    write_file("preprocessor_config.json",
               "{\"do_resize\":true,\"size\":{\"height\":16,\"width\":16},\"image_std\":[1,1,1]}");
    ref = open_ref(directory, &options);
    assert_string_equal(model_ref_label(ref, 1), "dog"); /* before labels.txt */
    assert_true(model_ref_preprocess(ref)->height == 16 &&
                model_ref_preprocess(ref)->std[0] == 1.0);
    assert_null(model_ref_note(ref));
    model_ref_close(ref);
    (void)snprintf(labels, sizeof labels, "%s/labels.txt", directory);
    options.labels = labels;
    ref = open_ref(directory, &options);
    assert_string_equal(model_ref_label(ref, 1), "one"); /* --labels before all */
    model_ref_close(ref);
    write_file("labels.txt", "");
    expect_refused(directory, &options, SHOAL_CORRUPT, "--labels");
    write_file("config.json", "{\"id2label\":{\"0\":\"cat\",\"2\":\"dog\"}}");
    options.labels = NULL;
    expect_refused(directory, &options, SHOAL_CORRUPT, "id2label");
}

static void test_wrong_use_is_said(void **unused) {
    (void)unused;
    const struct import_dim dim = {"N", 3};
    const struct model_ref_options none = {.seed = 1}, weights = {.weights = "x.safetensors"},
                                   pass = {.onnx.skip_passes = "nonsense"},
                                   dims = {.onnx = {.dims = &dim, .dim_count = 1}},
                                   preprocess = {.preprocess = "x.json"};
    expect_refused("no-such.onnx", &none, SHOAL_NOT_FOUND, "no-such.onnx");
    expect_refused(data("pair.onnx"), &weights, SHOAL_USAGE, "brings its own");
    expect_refused(data("pair.onnx"), &pass, SHOAL_USAGE, "nonsense");
    expect_refused(data("pair.onnx"), &preprocess, SHOAL_USAGE, "no pictures");
    expect_refused("vit-test", &dims, SHOAL_USAGE, "--dim is for ONNX models");
    write_file("broken.onnx", "this is no protobuf");
    char path[128];
    (void)snprintf(path, sizeof path, "%s/broken.onnx", directory);
    struct model_ref *ref;
    assert_int_not_equal(model_ref_open(path, &none, &ref, &error), SHOAL_OK);
    assert_non_null(strstr(error.text, "broken.onnx"));
}

static int make_directory(void **unused) {
    (void)unused;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **unused) {
    (void)unused;
    file_remove_tree(directory);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_microbatch_is_the_files_or_the_runs),
        TEST(test_several_inputs_and_outputs),
        TEST(test_texts_share_weights_at_all_lengths),
        TEST(test_what_lies_beside_it_is_used),
        TEST(test_wrong_use_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
