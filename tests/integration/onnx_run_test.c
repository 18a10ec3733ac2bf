/*
 * ONNX models as a user runs them: local devices as threads and as processes, a cluster of nodes;
 * the same bits everywhere, and what ONNX Runtime computes (tools/golden/make_onnx_run.py).
 */
#include <math.h>
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
    if (harness_setup(state) != 0) {
        return -1;
    }
    nodes_make(&nodes, 2);
    for (size_t i = 0; i < nodes.count; i++) {
        nodes_start(&nodes, i, "--threads 1");
    }
    return 0;
}

static int teardown(void **state) {
    nodes_stop_all(&nodes);
    return harness_teardown(state);
}

/* tests/golden/data/onnx-run/FILE */
static const char *data(const char *file) {
    static char paths[8][512];
    static int next;
    const char *root = getenv("SHOAL_SOURCE_DIR");
    char *path = paths[next = (next + 1) % 8];
    (void)snprintf(path, 512, "%s/tests/golden/data/onnx-run/%s", root != NULL ? root : ".", file);
    return path;
}

static void run(const char *arguments, char digest[65]) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != 0) {
        fail_msg("shoal %s ended with %d: %s", arguments, command.status, command.error);
    }
    json_t *document = command_json(&command);
    const char *text = json_string_value(json_object_get(document, "output_digest"));
    assert_true(text != NULL && strlen(text) == 64);
    memcpy(digest, text, 65);
    json_decref(document);
    command_free(&command);
}

/* The elements of an .npy, behind its header; free() the file. */
static unsigned char *elements(const char *path, size_t *bytes, unsigned char **file) {
    FILE *open = fopen(path, "rb");
    if (open == NULL) {
        fail_msg("there is no %s", path);
        return NULL;
    }
    *file = malloc(65536);
    const size_t size = fread(*file, 1, 65536, open);
    (void)fclose(open);
    assert_true(size > 10 && memcmp(*file, "\x93NUMPY", 6) == 0);
    const size_t start = 10 + (size_t)(*file)[8] + 256 * (size_t)(*file)[9];
    *bytes = size - start;
    return *file + start;
}

static void expect_floats(const char *got_path, const char *want_path) {
    unsigned char *files[2];
    size_t bytes[2];
    const unsigned char *got = elements(got_path, &bytes[0], &files[0]);
    const unsigned char *want = elements(want_path, &bytes[1], &files[1]);
    assert_int_equal(bytes[0], bytes[1]);
    for (size_t i = 0; i < bytes[0]; i += sizeof(float)) {
        float a, b;
        memcpy(&a, got + i, sizeof a);
        memcpy(&b, want + i, sizeof b);
        if (!(fabsf(a - b) <= 1e-5F * (1 + fabsf(b)))) {
            fail_msg("%s: element %zu is %g, wanted %g", want_path, i / 4, (double)a, (double)b);
        }
    }
    free(files[0]);
    free(files[1]);
}

static void expect_bytes(const char *got_path, const char *want_path) {
    unsigned char *files[2];
    size_t bytes[2];
    const unsigned char *got = elements(got_path, &bytes[0], &files[0]);
    const unsigned char *want = elements(want_path, &bytes[1], &files[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(got, want, bytes[0]);
    free(files[0]);
    free(files[1]);
}

/* One device; its outputs are where `output` says. Then threads, processes, a cluster. */
static void run_everywhere(const char *model, const char *input, const char *output) {
    char text[2048], one[65], other[65];
    static const char *const places[] = {"--devices 2 --in-process --threads 1",
                                         "--devices 2 --threads 1"};
    (void)snprintf(text, sizeof text,
                   "run %s %s --kernels blas --json --in-process --threads 1 --output %s",
                   data(model), input, output);
    run(text, one);
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof text, "run %s %s --kernels blas --json %s", data(model), input,
                       places[i]);
        run(text, other);
        assert_string_equal(one, other);
    }
    (void)nodes_file(&nodes, "");
    (void)snprintf(text, sizeof text, "run %s %s --kernels blas", data(model), input);
    json_t *document = nodes_json(&nodes, text, 0);
    assert_string_equal(json_string_value(json_object_get(document, "output_digest")), one);
    assert_int_equal(json_array_size(json_object_get(document, "devices")), 2);
    assert_true(json_integer_value(json_object_get(document, "weights_sent_bytes")) > 0);
    json_decref(document);
}

static void a_classifier_of_pictures(void **state) {
    (void)state;
    char input[600], output[300];
    (void)snprintf(input, sizeof input, "--input %s --microbatch 3", data("pictures.image.npy"));
    (void)snprintf(output, sizeof output, "%s", harness_path("pictures.npy"));
    run_everywhere("pictures.onnx", input, output);
    expect_floats(output, data("pictures.logits.npy"));
}

static void several_inputs_and_outputs_of_several_types(void **state) {
    (void)state;
    char input[1200], output[300], second[300];
    (void)snprintf(input, sizeof input, "--input x=%s ids=%s --microbatch 2", data("pair.x.npy"),
                   data("pair.ids.npy"));
    (void)snprintf(output, sizeof output, "%s", harness_path("pair.npy"));
    (void)snprintf(second, sizeof second, "%s", harness_path("pair.place.npy"));
    run_everywhere("pair.onnx", input, output);
    expect_floats(output, data("pair.values.npy"));
    expect_bytes(second, data("pair.place.npy"));
}

/* Longer than what goes into a request: devices of a cluster fetch it as a content. */
static void a_graph_of_many_nodes(void **state) {
    (void)state;
    char input[600], output[300];
    (void)snprintf(input, sizeof input, "--input %s", data("deep.x.npy"));
    (void)snprintf(output, sizeof output, "%s", harness_path("deep.npy"));
    run_everywhere("deep.onnx", input, output);
    expect_floats(output, data("deep.probabilities.npy"));
}

static void texts_of_any_length(void **state) {
    (void)state;
    char input[600], output[300];
    (void)snprintf(input, sizeof input, "--input %s --microbatch 2", data("words.input_ids.npy"));
    (void)snprintf(output, sizeof output, "%s", harness_path("words.npy"));
    run_everywhere("words.onnx", input, output);
    expect_floats(output, data("words.logits.npy"));
}

/* Weights that are no floats, too large to travel with the graph. */
static void products_of_integers(void **state) {
    (void)state;
    char input[600], output[300];
    (void)snprintf(input, sizeof input, "--input %s", data("integers.x.npy"));
    (void)snprintf(output, sizeof output, "%s", harness_path("integers.npy"));
    run_everywhere("integers.onnx", input, output);
    expect_floats(output, data("integers.y.npy"));
}

static void results_as_lines_have_labels_and_outputs(void **state) {
    (void)state;
    char text[2048], path[300], labels[300], digest[65];
    (void)snprintf(path, sizeof path, "%s", harness_path("lines.jsonl"));
    (void)snprintf(labels, sizeof labels, "%s", harness_path("names.txt"));
    harness_write(labels, "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    (void)snprintf(text, sizeof text,
                   "run %s --input %s --kernels blas --json --in-process --threads 1 --labels %s "
                   "--top 10 --output %s",
                   data("pictures.onnx"), data("pictures.image.npy"), labels, path);
    run(text, digest);
    char *lines = harness_read(path);
    assert_non_null(lines);
    assert_int_equal(count_lines(lines), 7);
    assert_non_null(strstr(lines, "\"label\":\"j\""));
    free(lines);
    (void)snprintf(text, sizeof text,
                   "run %s --input x=%s ids=%s --kernels blas --json --in-process --threads 1 "
                   "--logits --output %s",
                   data("pair.onnx"), data("pair.x.npy"), data("pair.ids.npy"), path);
    run(text, digest);
    lines = harness_read(path);
    assert_non_null(strstr(lines, "\"place\":{\"type\":\"i64\",\"shape\":[],\"values\":["));
    assert_non_null(strstr(lines, "\"values\":{\"type\":\"f32\",\"shape\":[5],\"values\":["));
    free(lines);
}

static void expect_error(const char *arguments, int status, const char *said) {
    struct command command;
    command_run(&command, arguments);
    if (command.status != status || strstr(command.error, said) == NULL) {
        fail_msg("shoal %s: status %d, wanted %d and '%s'; said: %s", arguments, command.status,
                 status, said, command.error);
    }
    command_free(&command);
}

static void what_cannot_be_is_said(void **state) {
    (void)state;
    static const struct {
        const char *model, *more;
        int status;
        const char *said;
    } cases[] = {
        {"deep.onnx", "--input random:2 --microbatch 3", 2, "its microbatch is 2"},
        {"pair.onnx", "--input x=%s", 2, "--input ids=FILE is missing"},
        {"pair.onnx", "--input %s", 2, "give each its file: x=FILE ids=FILE"},
        {"deep.onnx", "--input %s --dim T", 2, "NAME=N"},
        {"deep.onnx", "--input random:2 --no-pass nonsense", 2, "nonsense"},
        {"deep.onnx", "--input random:2 --labels /no/such/file", 1, "--labels"},
        {"deep.onnx", "--input random:2 --preprocess /no/such/file", 2, "no pictures"},
        {"deep.onnx", "--input random:2 --weights x.safetensors", 2, "brings its own"},
        {"words.onnx", "--input random:2 --max-length 513", 2, "512"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char more[700], text[1400];
        const char *percent = strstr(cases[i].more, "%s");
        (void)snprintf(more, sizeof more, "%.*s%s%s",
                       percent != NULL ? (int)(percent - cases[i].more) : 600, cases[i].more,
                       percent != NULL ? data("pair.x.npy") : "",
                       percent != NULL ? percent + 2 : "");
        (void)snprintf(text, sizeof text, "run %s %s --kernels blas --in-process",
                       data(cases[i].model), more);
        expect_error(text, cases[i].status, cases[i].said);
    }
    char text[1400];
    const char *lines = harness_path("lines.txt");
    harness_write(lines, "one\ntwo\n", 8);
    (void)snprintf(text, sizeof text, "run %s --input %s --in-process", data("words.onnx"), lines);
    expect_error(text, 2, "no vocabulary");
    expect_error("run vit-test --input random:1 --dim N=3", 2, "--dim is for ONNX models");
}

static void bench_and_plan_take_them(void **state) {
    (void)state;
    struct command command;
    char text[700];
    (void)snprintf(text, sizeof text, "bench engine %s --kernels blas --repeats 2 --batch 4 --json",
                   data("pictures.onnx"));
    command_run(&command, text);
    assert_int_equal(command.status, 0);
    json_t *document = command_json(&command);
    assert_int_equal(json_integer_value(json_object_get(document, "batch")), 4);
    json_decref(document);
    command_free(&command);
    (void)snprintf(text, sizeof text, "plan %s --devices 2 --kernels blas --in-process --json",
                   data("deep.onnx"));
    command_run(&command, text);
    assert_int_equal(command.status, 0);
    document = command_json(&command);
    json_decref(document);
    command_free(&command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_classifier_of_pictures),
        cmocka_unit_test(several_inputs_and_outputs_of_several_types),
        cmocka_unit_test(a_graph_of_many_nodes),
        cmocka_unit_test(texts_of_any_length),
        cmocka_unit_test(products_of_integers),
        cmocka_unit_test(results_as_lines_have_labels_and_outputs),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(bench_and_plan_take_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
