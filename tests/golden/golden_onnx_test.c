/*
 * Small models as PyTorch's exporters write them, with what ONNX Runtime computed (tools/golden/
 * make_onnx.py): imported and optimised they give the same, and they consist of what they should.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/onnx/check.h"
#include "golden.h"
#include "graph/passes/passes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct expected {
    const char *model;
    const char *nodes; /* "2 conv2d, 1 linear": of each op, in the order of op.h */
};

static const struct expected expected[] = {
    {"bert", "5 layer_norm, 8 linear, 2 attention, 2 binary, 1 where, 1 cast, 3 reshape, 3 gather"},
    {"bert-eager-dynamo", "5 layer_norm, 8 linear, 2 attention, 2 binary, 1 where, 1 cast, 1 "
                          "reshape, 2 gather, 1 gather_nd"},
    {"deit-dynamo", "1 conv2d, 5 layer_norm, 10 linear, 2 attention, 2 binary, 1 transpose, 2 "
                    "reshape, 2 slice, 1 concat"},
    {"densenet-dynamo", "10 conv2d, 1 linear, 6 unary, 1 reduce, 1 transpose, 1 reshape, 4 concat, "
                        "2 pool, 6 batch_norm"},
    {"distilbert-dynamo", "5 layer_norm, 10 linear, 2 attention, 1 binary, 1 where, 1 cast, 2 "
                          "reshape, 1 slice, 1 gather, 1 gather_nd"},
    {"efficientnet", "26 conv2d, 1 linear, 5 binary, 6 reduce, 1 transpose, 1 reshape"},
    {"gpt2-dynamo", "5 layer_norm, 13 linear, 2 sdpa, 1 binary, 8 reshape, 1 gather"},
    {"llama-dynamo",
     "15 linear, 2 sdpa, 4 unary, 14 binary, 8 reshape, 8 slice, 4 concat, 1 gather, 5 rms_norm"},
    {"llama-mask", "15 linear, 2 sdpa, 4 unary, 15 binary, 1 where, 1 cast, 10 reshape, 8 slice, 4 "
                   "concat, 2 gather, 5 rms_norm"},
    {"mobilenet-v1", "7 conv2d, 1 linear, 1 reduce, 1 transpose, 1 reshape"},
    {"mobilenet-v2-dynamo", "16 conv2d, 1 linear, 1 reduce, 1 transpose, 1 reshape"},
    {"resnet", "13 conv2d, 1 linear, 1 reduce, 1 transpose, 1 reshape, 1 pool"},
    {"unet", "11 conv2d, 2 transpose, 2 concat, 2 pool, 2 conv_transpose"},
    {"unet-resize-dynamo", "13 conv2d, 2 transpose, 2 concat, 2 pool, 2 resize"},
    {"vgg", "4 conv2d, 2 linear, 1 transpose, 1 reshape, 4 pool"},
    {"vit", "1 conv2d, 5 layer_norm, 9 linear, 2 attention, 1 binary, 1 transpose, 2 reshape, 1 "
            "slice, 1 concat"},
};

static void describe(const struct graph *graph, char text[512]) {
    uint32_t counts[OP_COUNT] = {0};
    size_t length = 0;
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        counts[graph_node_get(graph, id)->op]++;
    }
    text[0] = '\0';
    for (int op = 0; op < OP_COUNT; op++) {
        if (counts[op] > 0) {
            length +=
                (size_t)snprintf(text + length, 512 - length, "%s%u %s", length > 0 ? ", " : "",
                                 counts[op], op_describe((enum op)op)->name);
            assert_true(length < 512);
        }
    }
}

static void print_graph(const struct graph *graph) {
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        const struct graph_node *node = graph_node_get(graph, id);
        char shape[SHAPE_TEXT];
        print_message("%s: %s", op_describe(node->op)->name, node->name);
        for (int i = 0; i < node->input_count; i++) {
            const struct graph_value *value = graph_value_get(graph, node->inputs[i]);
            print_message(" (%s%s %s)", value->param != GRAPH_NONE ? "=" : "", value->name,
                          shape_format(&value->type.shape, shape));
        }
        print_message(" → %s\n",
                      shape_format(&graph_value_get(graph, node->outputs[0])->type.shape, shape));
    }
}

/* context: text for describe; NULL: no passes */
static shoal_status optimise(const struct graph *graph, struct weight_source *source, void *context,
                             struct graph **out, struct shoal_error *error) {
    const struct pass_options options = {.source = source};
    TRY(graph_optimise(graph, &options, out, error));
    describe(*out, context);
    if (getenv("SHOAL_TEST_PRINT") != NULL) {
        print_graph(*out);
    }
    return SHOAL_OK;
}

static void check(const char *model, bool with_passes, char text[512]) {
    char path[1024], data[1024];
    struct onnx_model *onnx = NULL;
    struct shoal_error error = {.text = ""};
    struct check_outcome outcome = {0};
    const struct check_options options = {.rtol = CHECK_RTOL,
                                          .atol = 1e-6,
                                          .threads = 1,
                                          .optimise = with_passes ? optimise : NULL,
                                          .context = text};
    char name[256];
    (void)snprintf(name, sizeof name, "onnx/%s", model);
    (void)golden_path(name, "model.onnx", path);
    (void)golden_path(name, "test_data_set_0", data);
    if (onnx_open(path, &onnx, &error) != SHOAL_OK ||
        check_data_set(onnx, data, &options, &outcome, &error) != SHOAL_OK) {
        fail_msg("%s: %s", model, error.text);
    }
    if (!outcome.agrees) {
        fail_msg("%s: %s", model, outcome.text);
    }
    onnx_close(onnx);
}

static void exported_models_compute_what_onnx_runtime_does(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        char text[512] = "";
        check(expected[i].model, false, text);
        check(expected[i].model, true, text);
        if (strcmp(text, expected[i].nodes) != 0) {
            fail_msg("%s: %s; expected %s", expected[i].model, text, expected[i].nodes);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) { /* one model, for whoever changes passes */
        char text[512] = "";
        check(argv[1], true, text);
        print_message("%s\n", text);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exported_models_compute_what_onnx_runtime_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
