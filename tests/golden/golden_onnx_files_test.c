/*
 * Every ONNX file at hand opens, and every tensor in it can be read: the standard's own node tests
 * and the pretrained models. They are not part of the project: the test looks for $SHOAL_SHARED, by
 * default ../shared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/onnx/onnx.h"

#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

static void shared_path(const char *file, char path[PATH_MAX]) {
    const char *shared = getenv("SHOAL_SHARED"), *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, PATH_MAX, "%s%s/data/%s", shared != NULL ? shared : root,
                   shared != NULL ? "" : "/../shared", file);
}

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static bool unpack(const char *archive, const char *directory) {
    char tar[] = "tar", extract[] = "-xJf", to[] = "-C", file[PATH_MAX], into[PATH_MAX];
    (void)snprintf(file, sizeof file, "%s", archive);
    (void)snprintf(into, sizeof into, "%s", directory);
    char *arguments[] = {tar, extract, file, to, into, NULL};
    pid_t pid = 0;
    int status = 0;
    return posix_spawnp(&pid, tar, NULL, NULL, arguments, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Tensors of every type are read; those of types that have no elements here say so. */
static void read_tensor(const struct onnx_tensor *tensor, size_t *elements) {
    struct tensor read;
    struct shoal_error error;
    enum dtype dtype;
    int64_t count = 0;
    const shoal_status status = onnx_tensor_read(tensor, &read, &error);
    if (!onnx_dtype(tensor->type, &dtype)) {
        assert_int_equal(status, SHOAL_UNSUPPORTED);
        return;
    }
    if (status != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_true(shape_count(&read.shape, &count));
    *elements += (size_t)count;
    mem_free(read.data);
}

static void read_graph(const struct onnx_graph *graph, size_t *elements) {
    for (size_t i = 0; i < graph->initialiser_count; i++) {
        read_tensor(&graph->initialisers[i], elements);
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        for (size_t j = 0; j < graph->nodes[i].attribute_count; j++) {
            const struct onnx_attribute *attribute = &graph->nodes[i].attributes[j];
            if (attribute->t != NULL) {
                read_tensor(attribute->t, elements);
            }
            if (attribute->g != NULL) {
                read_graph(attribute->g, elements);
            }
        }
    }
}

/* The source lends what onnx_tensor_read reads. */
static void check_source(const struct onnx_model *model) {
    struct weight_source *source = NULL;
    struct shoal_error error;
    size_t count = 0;
    if (onnx_source_create(model, &source, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    const struct onnx_stored *stored = onnx_source_list(source, &count);
    for (size_t i = 0; i < count; i++) {
        struct tensor lent, read;
        assert_int_equal(source->ops->borrow(source, stored[i].name, &stored[i].shape,
                                             GRAPH_FILL_NORMAL, &lent, NULL),
                         SHOAL_OK);
        assert_int_equal(onnx_tensor_read(stored[i].tensor, &read, NULL), SHOAL_OK);
        assert_int_equal(tensor_bytes(&lent), tensor_bytes(&read));
        assert_memory_equal(lent.data, read.data, tensor_bytes(&read));
        source->ops->release(source, &lent);
        mem_free(read.data);
    }
    source->ops->destroy(source);
}

static void check_data(const char *model, const char *set, const char *what,
                       const struct onnx_value *values, size_t count, size_t *elements) {
    for (size_t i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct onnx_data *data = NULL;
        struct shoal_error error;
        (void)snprintf(path, sizeof path, "%.*s/%s/%s_%zu.pb", (int)(strrchr(model, '/') - model),
                       model, set, what, i);
        if (!file_exists(path) || values[i].kind == ONNX_KIND_OTHER) {
            continue;
        }
        if (onnx_data_open(path, values[i].kind, &data, &error) != SHOAL_OK) {
            fail_msg("%s", error.text);
        }
        for (size_t j = 0; j < data->count; j++) {
            read_tensor(&data->tensors[j], elements);
        }
        onnx_data_close(data);
    }
}

static size_t check_files(const char *directory) {
    char **paths = NULL;
    size_t count = 0, models = 0, elements = 0;
    assert_int_equal(file_list(directory, &paths, &count, NULL), SHOAL_OK);
    for (size_t i = 0; i < count; i++) {
        struct onnx_model *model = NULL;
        struct shoal_error error;
        if (!ends_with(paths[i], ".onnx")) {
            continue;
        }
        if (onnx_open(paths[i], &model, &error) != SHOAL_OK) {
            fail_msg("%s", error.text);
        }
        assert_true(model->graph.node_count > 0);
        read_graph(&model->graph, &elements);
        check_source(model);
        check_data(paths[i], "test_data_set_0", "input", model->graph.inputs,
                   model->graph.input_count, &elements);
        check_data(paths[i], "test_data_set_0", "output", model->graph.outputs,
                   model->graph.output_count, &elements);
        onnx_close(model);
        models++;
    }
    file_list_free(paths, count);
    print_message("%s: %zu models, %zu elements\n", directory, models, elements);
    return models;
}

static void check_archive(const char *name, size_t least) {
    char archive[PATH_MAX], directory[PATH_MAX];
    shared_path(name, archive);
    if (!file_exists(archive)) {
        print_message("SKIPPED: no %s\n", archive);
        skip();
    }
    assert_int_equal(file_make_temporary(directory, sizeof directory, NULL), SHOAL_OK);
    if (!unpack(archive, directory)) {
        file_remove_tree(directory);
        print_message("SKIPPED: tar cannot unpack %s\n", archive);
        skip();
    }
    const size_t models = check_files(directory);
    file_remove_tree(directory);
    assert_true(models >= least);
}

static void test_node_tests_open(void **state) {
    (void)state;
    check_archive("onnx-node-tests.tar.xz", 1900);
}

static void test_node_tests_of_opset_17_open(void **state) {
    (void)state;
    check_archive("onnx-node-tests-opset17.tar.xz", 1000);
}

static void test_pretrained_models_open(void **state) {
    (void)state;
    char directory[PATH_MAX];
    shared_path("models", directory);
    if (!file_is_directory(directory)) {
        print_message("SKIPPED: no %s\n", directory);
        skip();
    }
    assert_true(check_files(directory) >= 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node_tests_open),
        cmocka_unit_test(test_node_tests_of_opset_17_open),
        cmocka_unit_test(test_pretrained_models_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
