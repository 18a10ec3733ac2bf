/*
 * Converters of the elementwise and layout families, node by node, in the versions that differ:
 * models by hand, run, and their results against those of the onnx package's reference
 * implementation (1.23).
 */
#include "base/memory.h"
#include "formats/onnx/import.h"
#include "formats/onnx/onnx_testing.h"
#include "graph/derived.h"
#include "graph/executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * x is f32 of the shape, its elements −1, −½, 0, ½ …
 * inputs, by spaces: i (int64) or f (float), [dims], elements; "-" is left out.
 * attributes, by spaces: name=int, name=int,int…; (a list), name~float, name:text
 * y: the output `output` of so many, its shape and elements.
 */
struct row {
    const char *op;
    int opset;
    const char *x, *inputs, *attributes;
    int output, outputs;
    const char *shape, *y;
};

static const struct row rows[] = {
    {"Relu", 14, "5", "", "", 0, 1, "5", "0,0,0,0.5,1"},
    {"LeakyRelu", 16, "5", "", "alpha~0.5", 0, 1, "5", "-0.5,-0.25,0,0.5,1"},
    {"Elu", 6, "5", "", "alpha~2", 0, 1, "5", "-1.264241,-0.7869387,0,0.5,1"},
    {"Selu", 6, "4", "", "", 0, 1, "4", "-1.111331,-0.6917582,0,0.5253505"},
    {"HardSigmoid", 6, "6", "", "", 0, 1, "6", "0.3,0.4,0.5,0.6,0.7,0.8"},
    {"HardSwish", 14, "6", "", "", 0, 1, "6", "-0.3333333,-0.2083333,0,0.2916667,0.6666667,1.125"},
    {"ThresholdedRelu", 10, "6", "", "alpha~0.5", 0, 1, "6", "0,0,0,0,1,1.5"},
    {"Celu", 12, "4", "", "alpha~2", 0, 1, "4", "-0.7869387,-0.4423984,0,0.5"},
    {"Shrink", 9, "6", "", "lambd~0.5 bias~0.25", 0, 1, "6", "-0.75,0,0,0,0.75,1.25"},
    {"Gelu", 20, "4", "", "approximate:tanh", 0, 1, "4", "-0.158808,-0.154286,0,0.345714"},
    {"Gelu", 20, "4", "", "", 0, 1, "4", "-0.1586553,-0.1542688,0,0.3457312"},
    {"Clip", 6, "6", "", "min~-0.5 max~0.75", 0, 1, "6", "-0.5,-0.5,0,0.5,0.75,0.75"},
    {"Clip", 13, "6", "f[]0", "", 0, 1, "6", "0,0,0,0.5,1,1.5"},
    {"Clip", 13, "6", "- f[]0.5", "", 0, 1, "6", "-1,-0.5,0,0.5,0.5,0.5"},
    {"Mod", 13, "5", "f[1]0.75", "fmod=1", 0, 1, "5", "-0.25,-0.5,0,0.5,0.25"},
    {"Pow", 13, "4", "i[1]2", "", 0, 1, "4", "1,0.25,0,0.25"},
    {"PRelu", 16, "2,3", "f[3]0.5,1,2", "", 0, 1, "2,3", "-0.5,-0.5,0,0.5,1,1.5"},
    {"Max", 13, "4", "f[1]0.25 f[4]0,0.5,0,0", "", 0, 1, "4", "0.25,0.5,0.25,0.5"},
    {"Mean", 13, "4", "f[1]3", "", 0, 1, "4", "1,1.25,1.5,1.75"},
    {"Cast", 13, "4", "", "to=7", 0, 1, "4", "-1,0,0,0"},
    {"Cast", 19, "4", "", "to=17", 0, 1, "4", "-1,-0.5,0,0.5"},
    {"IsInf", 10, "3", "", "detect_negative=0", 0, 1, "3", "0,0,0"},
    {"ReduceSum", 13, "2,3", "i[1]1", "keepdims=0", 0, 1, "2", "-1.5,3"},
    {"ReduceSum", 11, "2,3", "", "axes=0; keepdims=0", 0, 1, "3", "-0.5,0.5,1.5"},
    {"ReduceMean", 18, "2,3", "i[1]-1", "", 0, 1, "2,1", "-0.5,1"},
    {"ReduceMax", 18, "2,3", "", "", 0, 1, "1,1", "1.5"},
    {"ReduceL2", 11, "2,3", "", "axes=1;", 0, 1, "2,1", "1.118034,1.870829"},
    {"ReduceSumSquare", 18, "2,2", "i[0]", "noop_with_empty_axes=1", 0, 1, "2,2", "1,0.25,0,0.25"},
    {"ArgMax", 13, "2,3", "", "axis=1 keepdims=0", 0, 1, "2", "2,2"},
    {"ArgMin", 13, "2,3", "", "select_last_index=1", 0, 1, "1,3", "0,0,0"},
    {"Softmax", 13, "2,3", "", "", 0, 1, "2,3",
     "0.1863237,0.3071959,0.5064804,0.1863237,0.3071959,0.5064804"},
    {"LogSoftmax", 13, "2,3", "", "axis=0", 0, 1, "2,3",
     "-1.701413,-1.701413,-1.701413,-0.2014133,-0.2014133,-0.2014133"},
    {"Hardmax", 13, "2,3", "", "", 0, 1, "2,3", "0,0,1,0,0,1"},
    {"CumSum", 14, "2,3", "i[]1", "exclusive=1 reverse=1", 0, 1, "2,3", "-0.5,0,0,2.5,1.5,0"},
    {"Transpose", 13, "2,3", "", "", 0, 1, "3,2", "-1,0.5,-0.5,1,0,1.5"},
    {"Transpose", 13, "1,2,3", "", "perm=2,0,1;", 0, 1, "3,1,2", "-1,0.5,-0.5,1,0,1.5"},
    {"Reshape", 14, "2,3", "i[3]0,-1,1", "", 0, 1, "2,3,1", "-1,-0.5,0,0.5,1,1.5"},
    {"Squeeze", 13, "1,2,1", "i[1]0", "", 0, 1, "2,1", "-1,-0.5"},
    {"Squeeze", 11, "1,2,1", "", "", 0, 1, "2", "-1,-0.5"},
    {"Unsqueeze", 13, "2", "i[2]0,-1", "", 0, 1, "1,2,1", "-1,-0.5"},
    {"Unsqueeze", 11, "2", "", "axes=0;", 0, 1, "1,2", "-1,-0.5"},
    {"Flatten", 13, "2,1,3", "", "axis=2", 0, 1, "2,3", "-1,-0.5,0,0.5,1,1.5"},
    {"Flatten", 13, "2,3", "", "axis=-1", 0, 1, "2,3", "-1,-0.5,0,0.5,1,1.5"},
    {"Slice", 9, "3,4", "", "starts=1; ends=1000; axes=1;", 0, 1, "3,3",
     "-0.5,0,0.5,1.5,2,2.5,3.5,4,4.5"},
    {"Slice", 13, "3,4", "i[2]-1,0 i[2]-1000,3 i[2]0,1 i[2]-1,2", "", 0, 1, "3,2", "3,4,1,2,-1,0"},
    {"Slice", 13, "4", "i[1]2 i[1]1", "", 0, 1, "0", ""},
    {"Split", 11, "5", "", "axis=0 split=2,3;", 1, 2, "3", "0,0.5,1"},
    {"Split", 13, "4", "i[2]1,3", "", 1, 2, "3", "-0.5,0,0.5"},
    {"Split", 18, "5", "", "num_outputs=2", 1, 2, "2", "0.5,1"},
    {"Pad", 13, "3", "i[2]1,2 f[]7", "", 0, 1, "6", "7,-1,-0.5,0,7,7"},
    {"Pad", 10, "3", "", "pads=1,1; mode:edge", 0, 1, "5", "-1,-1,-0.5,0,0"},
    {"Pad", 19, "3", "i[2]2,1", "mode:wrap", 0, 1, "6", "-0.5,0,-1,-0.5,0,-1"},
    {"Pad", 18, "2,2", "i[2]1,0 - i[1]1", "mode:reflect", 0, 1, "2,3", "-0.5,-1,-0.5,0.5,0,0.5"},
    {"Expand", 13, "2,1", "i[2]1,3", "", 0, 1, "2,3", "-1,-1,-1,-0.5,-0.5,-0.5"},
    {"Tile", 13, "2,1", "i[2]1,3", "", 0, 1, "2,3", "-1,-1,-1,-0.5,-0.5,-0.5"},
    {"Gather", 13, "2,3", "i[]-1", "axis=1", 0, 1, "2", "0,1.5"},
    {"Gather", 13, "3,2", "i[2]2,0", "", 0, 1, "2,2", "1,1.5,-1,-0.5"},
    {"GatherElements", 13, "2,2", "i[2,1]0,1", "axis=1", 0, 1, "2,1", "-1,0.5"},
    {"GatherND", 13, "2,2", "i[1,2]1,0", "", 0, 1, "1", "0"},
    {"ScatterElements", 18, "2,2", "i[1,1]0 f[1,1]9", "axis=1 reduction:add", 0, 1, "2,2",
     "8,-0.5,0,0.5"},
    {"ScatterND", 18, "3", "i[1,1]2 f[1]4", "reduction:mul", 0, 1, "3", "-1,-0.5,0"},
    {"TopK", 11, "4", "i[1]2", "largest=0", 0, 2, "2", "-1,-0.5"},
    {"TopK", 11, "4", "i[1]2", "", 1, 2, "2", "3,2"},
    {"Trilu", 14, "2,3", "i[]1", "upper=0", 0, 1, "2,3", "-1,-0.5,0,0.5,1,1.5"},
    {"DepthToSpace", 13, "1,4,1,2", "", "blocksize=2 mode:CRD", 0, 1, "1,1,2,4",
     "-1,0,-0.5,0.5,1,2,1.5,2.5"},
    {"DepthToSpace", 13, "1,4,1,2", "", "blocksize=2", 0, 1, "1,1,2,4",
     "-1,0,-0.5,0.5,1,2,1.5,2.5"},
    {"SpaceToDepth", 13, "1,1,2,4", "", "blocksize=2", 0, 1, "1,4,1,2",
     "-1,0,-0.5,0.5,1,2,1.5,2.5"},
    {"ReverseSequence", 10, "3,2", "i[2]2,3", "", 0, 1, "3,2", "0,1.5,-1,0.5,1,-0.5"},
    {"CenterCropPad", 18, "3,2", "i[2]2,4", "", 0, 1, "2,4", "0,-1,-0.5,0,0,0,0.5,0"},
    {"Det", 11, "2,2", "", "", 0, 1, "", "-0.5"},
    {"EyeLike", 9, "2,3", "", "k=1 dtype=6", 0, 1, "2,3", "0,1,0,0,0,1"},
};

#define MOST 64

/* Numbers between commas, up to what is none; returns what follows. */
static const char *numbers(const char *text, double *out, int *count) {
    *count = 0;
    while (*text == '-' || *text == 'n' || (*text >= '0' && *text <= '9')) {
        char *end = NULL;
        assert_true(*count < MOST);
        out[(*count)++] = strtod(text, &end);
        text = *end == ',' ? end + 1 : end;
    }
    return text;
}

static struct shape shape_of(const char *text) {
    double dims[MOST];
    struct shape shape = {0};
    (void)numbers(text, dims, &shape.rank);
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] = (int64_t)dims[i];
    }
    return shape;
}

static struct pb graph, node, model;

static void add_x(const struct shape *shape) {
    static struct pb dim, dims, tensor, type, value;
    dims.size = tensor.size = type.size = value.size = 0;
    for (int i = 0; i < shape->rank; i++) {
        dim.size = 0;
        pb_int(&dim, 1, shape->dims[i]);
        pb_message(&dims, 1, &dim);
    }
    pb_int(&tensor, 1, ONNX_FLOAT);
    pb_message(&tensor, 2, &dims);
    pb_message(&type, 1, &tensor);
    pb_text(&value, 1, "x");
    pb_message(&value, 2, &type);
    pb_message(&graph, 11, &value);
}

static void add_inputs(const char *text) {
    static struct pb tensor;
    char name[2] = "a";
    pb_text(&node, 1, "x");
    for (; *text != '\0'; name[0]++) {
        if (*text == '-') {
            pb_text(&node, 1, "");
            text += text[1] == ' ' ? 2 : 1;
            continue;
        }
        const bool integers = *text == 'i';
        double values[MOST];
        int count = 0;
        const struct shape shape = shape_of(text + 2);
        text = numbers(strchr(text, ']') + 1, values, &count);
        text += *text == ' ' ? 1 : 0;
        tensor.size = 0;
        pb_tensor(&tensor, name, integers ? ONNX_INT64 : ONNX_FLOAT, (size_t)shape.rank,
                  shape.dims);
        int64_t whole[MOST];
        float real[MOST];
        for (int i = 0; i < count; i++) {
            whole[i] = (int64_t)values[i];
            real[i] = (float)values[i];
        }
        pb_bytes(&tensor, 9, integers ? (const void *)whole : real,
                 (size_t)count * (integers ? sizeof *whole : sizeof *real));
        pb_message(&graph, 5, &tensor);
        pb_text(&node, 1, name);
    }
}

static void add_attributes(const char *text) {
    static struct pb attribute;
    while (*text != '\0') {
        const size_t length = strcspn(text, "=~:"), end = strcspn(text, " ");
        const char *content = text + length + 1;
        const bool list = text[end - 1] == ';';
        double values[MOST];
        int count = 0;
        attribute.size = 0;
        pb_bytes(&attribute, 1, text, length);
        if (text[length] == ':') {
            pb_bytes(&attribute, 4, content, end - length - 1);
            pb_int(&attribute, 20, ONNX_ATTRIBUTE_STRING);
        } else {
            (void)numbers(content, values, &count);
            for (int i = 0; i < count; i++) {
                if (text[length] == '~') {
                    pb_float(&attribute, 2, (float)values[i]);
                } else {
                    pb_int(&attribute, list ? 8 : 3, (int64_t)values[i]);
                }
            }
            pb_int(&attribute, 20,
                   text[length] == '~' ? ONNX_ATTRIBUTE_FLOAT
                   : list              ? ONNX_ATTRIBUTE_INTS
                                       : ONNX_ATTRIBUTE_INT);
        }
        pb_message(&node, 5, &attribute);
        text += end + (text[end] == ' ' ? 1 : 0);
    }
}

static void build(const struct row *row) {
    static struct pb value;
    const struct shape x = shape_of(row->x);
    char name[16];
    graph.size = node.size = value.size = 0;
    pb_text(&graph, 2, "g");
    add_x(&x);
    add_inputs(row->inputs);
    for (int i = 0; i < row->outputs; i++) {
        (void)snprintf(name, sizeof name, "y%d", i);
        pb_text(&node, 2, name);
    }
    pb_text(&node, 3, "it");
    pb_text(&node, 4, row->op);
    add_attributes(row->attributes);
    pb_message(&graph, 1, &node);
    (void)snprintf(name, sizeof name, "y%d", row->output);
    pb_text(&value, 1, name);
    pb_message(&graph, 12, &value);
    pb_model(&model, 8, row->opset, &graph);
}

static double element(const struct tensor *tensor, int64_t i) {
    if (tensor->dtype == DTYPE_F32) {
        return (double)((const float *)tensor->data)[i];
    }
    if (tensor->dtype == DTYPE_I64) {
        return (double)((const int64_t *)tensor->data)[i];
    }
    if (tensor->dtype == DTYPE_I32) {
        return (double)((const int32_t *)tensor->data)[i];
    }
    assert_int_equal(tensor->dtype, DTYPE_BOOL);
    return (double)((const uint8_t *)tensor->data)[i];
}

static void compare(const struct row *row, const struct tensor *y) {
    const struct shape shape = shape_of(row->shape);
    double values[MOST];
    int count = 0;
    int64_t have = 0;
    (void)numbers(row->y, values, &count);
    assert_true(shape_count(&y->shape, &have));
    bool same = shape_equal(&shape, &y->shape) && have == count;
    for (int i = 0; i < count && same; i++) {
        const double difference = fabs(element(y, i) - values[i]);
        same = difference <= 2e-6 * (1 + fabs(values[i]));
    }
    if (!same) {
        char text[SHAPE_TEXT];
        fail_msg("%s %d (%s): not %s of %s but %s, %g …", row->op, row->opset, row->attributes,
                 row->y, row->shape, shape_format(&y->shape, text), element(y, 0));
    }
}

static void run(const struct row *row, const struct import_result *imported) {
    struct shoal_error error = {.text = ""};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *raw = NULL, *source = NULL;
    const graph_value_id *ids = NULL;
    const struct executor_options options = {
        .first = 1, .last = graph_segment_count(imported->graph), .batch = 1, .threads = 1};
    assert_int_equal(weights_random_create(1, &raw, &error), SHOAL_OK);
    assert_int_equal(weights_derived_create(imported->graph, raw, &source, &error), SHOAL_OK);
    assert_int_equal(executor_compile(imported->graph, &options, &executor, &error), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, source, &weights, &error), SHOAL_OK);
    assert_int_equal(executor_slot_create(executor, &slot, &error), SHOAL_OK);
    if (graph_inputs(imported->graph, &ids) > 0 &&
        strcmp(row->op, "EyeLike") != 0) { /* reads none */
        const struct tensor x = executor_slot_tensor(slot, ids[0]);
        for (size_t i = 0; i < tensor_bytes(&x) / sizeof(float); i++) {
            ((float *)x.data)[i] = (float)i / 2 - 1;
        }
    }
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, &error), SHOAL_OK);
    (void)graph_outputs(imported->graph, &ids);
    const struct tensor y = executor_slot_tensor(slot, ids[imported->outputs[0].ports[0].index]);
    compare(row, &y);
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    source->ops->destroy(source);
    raw->ops->destroy(raw);
}

static shoal_status import(const struct row *row, struct import_result *imported,
                           struct shoal_error *error) {
    const struct import_options none = {0};
    struct onnx_model *parsed = NULL;
    build(row);
    assert_int_equal(onnx_parse("test", model.bytes, model.size, &parsed, error), SHOAL_OK);
    const shoal_status status = import_model(parsed, &none, imported, error);
    onnx_close(parsed);
    return status;
}

static void nodes_compute_what_the_standard_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct import_result imported;
        struct shoal_error error = {.text = ""};
        if (import(&rows[i], &imported, &error) != SHOAL_OK) {
            fail_msg("%s %d: %s", rows[i].op, rows[i].opset, error.text);
        }
        run(&rows[i], &imported);
        import_result_fini(&imported);
    }
}

static void malformed_nodes_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        struct row row;
        shoal_status status;
        const char *text;
    } refused[] = {
        {{"Softmax", 13, "2,3", "", "axis=2", 0, 1, "", ""}, SHOAL_CORRUPT, "axis"},
        {{"Transpose", 13, "2,3", "", "perm=0;", 0, 1, "", ""}, SHOAL_CORRUPT, "perm"},
        {{"Squeeze", 13, "2,3", "i[1]0", "", 0, 1, "", ""}, SHOAL_CORRUPT, "not 1"},
        {{"Unsqueeze", 13, "2,3", "i[2]0,0", "", 0, 1, "", ""}, SHOAL_CORRUPT, "twice"},
        {{"Slice", 13, "4", "i[1]0 i[1]4 i[1]0 i[1]0", "", 0, 1, "", ""}, SHOAL_CORRUPT, "step"},
        {{"Slice", 13, "4", "i[2]0,0 i[1]4", "", 0, 1, "", ""}, SHOAL_CORRUPT, "differ"},
        {{"Split", 13, "4", "i[2]1,4", "", 0, 2, "", ""}, SHOAL_CORRUPT, "longer"},
        {{"Split", 13, "4", "i[2]1,1", "", 0, 2, "", ""}, SHOAL_CORRUPT, "shorter"},
        {{"Split", 13, "5", "", "", 0, 2, "", ""}, SHOAL_CORRUPT, "split"},
        {{"Pad", 13, "4", "i[1]1", "", 0, 1, "", ""}, SHOAL_CORRUPT, "pads"},
        {{"Pad", 13, "4", "i[2]1,1", "mode:wild", 0, 1, "", ""}, SHOAL_UNSUPPORTED, "wild"},
        {{"Tile", 13, "4", "i[2]1,1", "", 0, 1, "", ""}, SHOAL_CORRUPT, "repeats"},
        {{"Gather", 13, "4", "i[]4", "", 0, 1, "", ""}, SHOAL_CORRUPT, "range"},
        {{"TopK", 11, "4", "i[1]5", "", 0, 2, "", ""}, SHOAL_MISMATCH, "more asked"},
        {{"DepthToSpace", 13, "1,3,2,2", "", "blocksize=2", 0, 1, "", ""}, SHOAL_CORRUPT, "blocks"},
        {{"Reshape", 13, "4", "i[1]3", "", 0, 1, "", ""}, SHOAL_MISMATCH, "do not fit"},
        {{"Relu", 13, "4", "", "wild=1", 0, 1, "", ""}, SHOAL_UNSUPPORTED, "wild"},
        {{"Cast", 13, "4", "", "to=8", 0, 1, "", ""}, SHOAL_UNSUPPORTED, "STRING"},
        {{"Dropout", 13, "4", "f[]0.5 i[]1", "", 0, 1, "", ""}, SHOAL_UNSUPPORTED, "training"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct import_result imported;
        struct shoal_error error = {.text = ""};
        const shoal_status status = import(&refused[i].row, &imported, &error);
        if (status != refused[i].status || strstr(error.text, refused[i].text) == NULL ||
            strstr(error.text, refused[i].row.op) == NULL) {
            fail_msg("%s: %d \"%s\", not \"%s\"", refused[i].row.op, (int)status, error.text,
                     refused[i].text);
        }
        import_result_fini(&imported);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_compute_what_the_standard_says),
        cmocka_unit_test(malformed_nodes_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
