/* Models built by hand become graphs that compute what they should, or refusals that say why. */
#include "base/memory.h"
#include "formats/onnx/import.h"
#include "formats/onnx/onnx_testing.h"
#include "graph/derived.h"
#include "graph/executor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- models by hand ---- */

struct builder {
    struct pb graph, model, functions;
};

static struct builder b; /* large; each test begins anew */

static void begin(void) {
    b.graph.size = b.model.size = b.functions.size = 0;
    pb_text(&b.graph, 2, "g");
}

/* What dims are negative are symbolic: -1 is "N", others have no name. */
static void add_value(struct pb *graph, unsigned field, const char *name, int type, int rank,
                      const int64_t *dims) {
    static struct pb dim, shape, tensor, proto, value;
    shape.size = tensor.size = proto.size = value.size = 0;
    for (int i = 0; i < rank; i++) {
        dim.size = 0;
        if (dims[i] >= 0) {
            pb_int(&dim, 1, dims[i]);
        } else if (dims[i] == -1) {
            pb_text(&dim, 2, "N");
        }
        pb_message(&shape, 1, &dim);
    }
    pb_int(&tensor, 1, type);
    pb_message(&tensor, 2, &shape);
    pb_message(&proto, 1, &tensor);
    pb_text(&value, 1, name);
    pb_message(&value, 2, &proto);
    pb_message(graph, field, &value);
}

#define INPUT(name, type, ...)                                                                     \
    add_value(&b.graph, 11, name, type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), \
              (int64_t[]){__VA_ARGS__})

static void add_output(struct pb *graph, const char *name) {
    static struct pb value;
    value.size = 0;
    pb_text(&value, 1, name);
    pb_message(graph, 12, &value);
}

/* Attributes of the node to come. */
static struct pb attributes;

static void attribute(const char *name, int type, const struct pb *content) {
    static struct pb one;
    one.size = 0;
    pb_text(&one, 1, name);
    pb_raw(&one, content->bytes, content->size);
    pb_int(&one, 20, type);
    pb_message(&attributes, 5, &one);
}

static void attribute_int(const char *name, int64_t value) {
    static struct pb content;
    content.size = 0;
    pb_int(&content, 3, value);
    attribute(name, ONNX_ATTRIBUTE_INT, &content);
}

static void attribute_ints(const char *name, int count, const int64_t *values) {
    static struct pb content;
    content.size = 0;
    for (int i = 0; i < count; i++) {
        pb_int(&content, 8, values[i]);
    }
    attribute(name, ONNX_ATTRIBUTE_INTS, &content);
}

static void attribute_graph(const char *name, const struct pb *graph) {
    static struct pb content;
    content.size = 0;
    pb_message(&content, 6, graph);
    attribute(name, ONNX_ATTRIBUTE_GRAPH, &content);
}

static void attribute_reference(const char *name, int type, const char *of) {
    static struct pb content;
    content.size = 0;
    pb_text(&content, 21, of);
    attribute(name, type, &content);
}

/* inputs and outputs: names between spaces; "-" is left out. field: 1 in graphs, 7 in functions. */
static void add_words(struct pb *to, unsigned field, const char *words) {
    while (*words != '\0') {
        const size_t length = strcspn(words, " ");
        const bool absent = length == 1 && words[0] == '-';
        pb_bytes(to, field, words, absent ? 0 : length);
        words += length;
        words += *words == ' ' ? 1 : 0;
    }
}

static void add_node(struct pb *to, unsigned field, const char *domain, const char *op_type,
                     const char *inputs, const char *outputs) {
    static struct pb node;
    char name[64];
    node.size = 0;
    (void)snprintf(name, sizeof name, "the_%s", op_type);
    add_words(&node, 1, inputs);
    add_words(&node, 2, outputs);
    pb_text(&node, 3, name);
    pb_text(&node, 4, op_type);
    pb_raw(&node, attributes.bytes, attributes.size);
    pb_text(&node, 7, domain);
    pb_message(to, field, &node);
    attributes.size = 0;
}

static void node(const char *op_type, const char *inputs, const char *outputs) {
    add_node(&b.graph, 1, "", op_type, inputs, outputs);
}

static void integers(struct pb *graph, const char *name, size_t rank, int count,
                     const int64_t *values) {
    static struct pb tensor;
    const int64_t dims[] = {count};
    tensor.size = 0;
    pb_tensor(&tensor, name, ONNX_INT64, rank, dims);
    pb_bytes(&tensor, 9, values, (size_t)count * sizeof *values);
    pb_message(graph, 5, &tensor);
}

static struct onnx_model *parse(void) {
    struct onnx_model *model = NULL;
    struct shoal_error error = {.text = ""};
    pb_model(&b.model, 8, 17, &b.graph);
    pb_raw(&b.model, b.functions.bytes, b.functions.size);
    if (onnx_parse("test", b.model.bytes, b.model.size, &model, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return model;
}

/* ---- imports ---- */

static struct import_result imported;
static struct shoal_error error;

static shoal_status import(const struct import_options *options) {
    static const struct import_options none;
    struct onnx_model *model = parse();
    error.text[0] = '\0';
    const shoal_status status =
        import_model(model, options != NULL ? options : &none, &imported, &error);
    onnx_close(model);
    return status;
}

static void expect_graph(void) {
    if (import(NULL) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_non_null(imported.graph);
}

static void expect_refusal(shoal_status expected, const char *a, const char *c) {
    const shoal_status status = import(NULL);
    if (status != expected || strstr(error.text, a) == NULL || strstr(error.text, c) == NULL) {
        fail_msg("%d: \"%s\" does not say \"%s\" and \"%s\"", (int)status, error.text, a, c);
    }
    import_result_fini(&imported);
}

/* Runs the graph on its one f32 input; the caller compares. It names no stored tensor. */
static void run(const float *input, size_t count, float *output, size_t output_count) {
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *raw = NULL, *source = NULL;
    const graph_value_id *ids = NULL;
    const struct executor_options options = {
        .first = 1, .last = graph_segment_count(imported.graph), .batch = 1, .threads = 1};
    assert_int_equal(weights_random_create(1, &raw, &error), SHOAL_OK);
    assert_int_equal(weights_derived_create(imported.graph, raw, &source, &error), SHOAL_OK);
    assert_int_equal(executor_compile(imported.graph, &options, &executor, &error), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, source, &weights, &error), SHOAL_OK);
    assert_int_equal(executor_slot_create(executor, &slot, &error), SHOAL_OK);
    assert_int_equal(graph_inputs(imported.graph, &ids), 1);
    memcpy(executor_slot_tensor(slot, ids[0]).data, input, count * sizeof *input);
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, &error), SHOAL_OK);
    (void)graph_outputs(imported.graph, &ids);
    const struct tensor result =
        executor_slot_tensor(slot, ids[imported.outputs[0].ports[0].index]);
    assert_int_equal(tensor_bytes(&result), output_count * sizeof *output);
    memcpy(output, result.data, output_count * sizeof *output);
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    source->ops->destroy(source);
    raw->ops->destroy(raw);
}

/* ---- what becomes of models ---- */

static void a_node_computes_and_its_ports_say_what_goes_in_and_out(void **state) {
    (void)state;
    const float x[] = {1, -2, 3};
    float y[3];
    begin();
    INPUT("x", ONNX_FLOAT, 3);
    node("Add", "x x", "y");
    add_output(&b.graph, "y");
    expect_graph();
    assert_int_equal(imported.input_count, 1);
    assert_string_equal(imported.inputs[0].name, "x");
    assert_int_equal(imported.inputs[0].ports[0].element, ONNX_FLOAT);
    assert_string_equal(imported.outputs[0].name, "y");
    assert_int_equal(imported.outputs[0].count, 1);
    run(x, 3, y, 3);
    assert_true(y[0] == 2 && y[1] == -4 && y[2] == 6);
    import_result_fini(&imported);
}

static void an_output_that_is_an_input_or_a_constant_is_a_copy(void **state) {
    (void)state;
    const float x[] = {1, 2};
    float y[2];
    begin();
    INPUT("x", ONNX_FLOAT, 2);
    node("Identity", "x", "y");
    node("Shape", "x", "s");
    add_output(&b.graph, "y");
    add_output(&b.graph, "s");
    expect_graph();
    assert_int_equal(graph_node_count(imported.graph), 2);
    assert_int_equal(imported.outputs[1].ports[0].element, ONNX_INT64);
    run(x, 2, y, 2);
    assert_true(y[0] == 1 && y[1] == 2);
    import_result_fini(&imported);
}

/* Shape, Add, Mul of shapes: numbers at import; one node is left. */
static void shape_arithmetic_folds_away(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, -1, 4);
    const int64_t factors[] = {2, 1}, less[] = {0, 2};
    integers(&b.graph, "factors", 1, 2, factors);
    integers(&b.graph, "less", 1, 2, less);
    node("Shape", "x", "s");
    node("Mul", "s factors", "m");
    node("Sub", "m less", "t");
    node("Reshape", "x t", "y");
    add_output(&b.graph, "y");
    const struct import_options options = {.batch = 3};
    assert_int_equal(import(&options), SHOAL_OK);
    assert_int_equal(graph_node_count(imported.graph), 1);
    const struct shape expected = SHAPE(6, 2);
    assert_true(shape_equal(&imported.outputs[0].ports[0].type.shape, &expected));
    assert_int_equal(imported.dim_count, 1);
    assert_string_equal(imported.dims[0].name, "N");
    assert_int_equal(imported.dims[0].value, 3);
    import_result_fini(&imported);
}

/* More than 64 KiB: nothing is computed at import. */
static void large_constants_become_derived_weights(void **state) {
    (void)state;
    static float x[40000], y[40000];
    begin();
    INPUT("x", ONNX_FLOAT, 200, 200);
    const int64_t dims[] = {200, 200};
    integers(&b.graph, "dims", 1, 2, dims);
    node("ConstantOfShape", "dims", "zeros");
    node("Transpose", "zeros", "t");
    node("Add", "x t", "y");
    add_output(&b.graph, "y");
    expect_graph();
    assert_int_equal(graph_node_count(imported.graph), 1);
    assert_non_null(graph_constants_get(imported.graph));
    assert_int_equal(graph_node_count(graph_constants_get(imported.graph)), 2);
    x[201] = 5;
    run(x, 40000, y, 40000);
    assert_true(y[201] == 5 && y[0] == 0);
    import_result_fini(&imported);
}

static void initialisers_are_named_not_copied(void **state) {
    (void)state;
    static struct pb tensor;
    static const float weights[100];
    const int64_t dims[] = {100};
    begin();
    INPUT("x", ONNX_FLOAT, 100);
    tensor.size = 0;
    pb_tensor(&tensor, "w", ONNX_FLOAT, 1, dims);
    pb_bytes(&tensor, 9, weights, sizeof weights);
    pb_message(&b.graph, 5, &tensor);
    node("Add", "x w", "y");
    add_output(&b.graph, "y");
    expect_graph();
    assert_int_equal(graph_param_count(imported.graph), 1);
    const struct graph_param *param = graph_param_get(imported.graph, 0);
    assert_null(param->data);
    assert_int_equal(param->part_count, 1);
    assert_string_equal(param->parts[0].name, "w");
    import_result_fini(&imported);
}

/* ---- functions and control flow ---- */

/* own.f<p>(a) → Transpose<perm = @p>(a), or a call of itself. */
static void add_function(bool recursive) {
    static struct pb function, opset;
    function.size = opset.size = 0;
    pb_text(&function, 1, "f");
    pb_text(&function, 4, "a");
    pb_text(&function, 5, "c");
    pb_text(&function, 6, "p");
    if (recursive) {
        attribute_reference("p", ONNX_ATTRIBUTE_INTS, "p");
        add_node(&function, 7, "own", "f", "a", "c");
    } else {
        attribute_reference("perm", ONNX_ATTRIBUTE_INTS, "p");
        add_node(&function, 7, "", "Transpose", "a", "c");
    }
    pb_int(&opset, 2, 17);
    pb_message(&function, 9, &opset);
    pb_text(&function, 10, "own");
    pb_message(&b.functions, 25, &function);
    opset.size = 0;
    pb_text(&opset, 1, "own");
    pb_int(&opset, 2, 1);
    pb_message(&b.functions, 8, &opset);
}

static void call_function(bool recursive) {
    const int64_t order[] = {1, 0};
    begin();
    INPUT("x", ONNX_FLOAT, 2, 3);
    add_function(recursive);
    attribute_ints("p", 2, order);
    add_node(&b.graph, 1, "own", "f", "x", "y");
    add_output(&b.graph, "y");
}

static void functions_are_inlined_with_their_attributes(void **state) {
    (void)state;
    const float x[] = {1, 2, 3, 4, 5, 6};
    float y[6];
    call_function(false);
    expect_graph();
    assert_int_equal(graph_node_count(imported.graph), 1);
    assert_string_equal(graph_node_get(imported.graph, 0)->name, "the_f/the_Transpose");
    run(x, 6, y, 6);
    assert_true(y[0] == 1 && y[1] == 4 && y[5] == 6);
    import_result_fini(&imported);
}

static void functions_that_call_themselves_are_refused(void **state) {
    (void)state;
    call_function(true);
    expect_refusal(SHOAL_UNSUPPORTED, "the_f", "in each other");
}

/* body(i, c, s) → (c, s + s) */
static void loop_body(struct pb *body) {
    const int64_t one[] = {1};
    body->size = 0;
    pb_text(body, 2, "body");
    add_value(body, 11, "i", ONNX_INT64, 0, one);
    add_value(body, 11, "c", ONNX_BOOL, 0, one);
    add_value(body, 11, "s", ONNX_FLOAT, 1, one);
    add_node(body, 1, "", "Identity", "c", "c2");
    add_node(body, 1, "", "Add", "s s", "s2");
    add_output(body, "c2");
    add_output(body, "s2");
    add_output(body, "s2");
}

static void loop(int64_t trips) {
    static struct pb body;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    integers(&b.graph, "trips", 0, 1, &trips);
    loop_body(&body);
    attribute_graph("body", &body);
    node("Loop", "trips - x", "last all");
    add_output(&b.graph, "all");
    add_output(&b.graph, "last");
}

static void loops_are_unrolled(void **state) {
    (void)state;
    const float x[] = {1};
    float y[3];
    loop(3);
    expect_graph();
    run(x, 1, y, 3);
    assert_true(y[0] == 2 && y[1] == 4 && y[2] == 8);
    import_result_fini(&imported);
}

static void loops_without_end_are_refused(void **state) {
    (void)state;
    loop(INT64_MAX);
    expect_refusal(SHOAL_UNSUPPORTED, "the_Loop", "iterations");
}

static void branch(struct pb *graph, const char *op_type) {
    graph->size = 0;
    pb_text(graph, 2, "branch");
    add_node(graph, 1, "", op_type, "x x", "r");
    add_output(graph, "r");
}

/* c is a constant that says `flag`, or computed: x > x. */
static void build_if(bool known, bool flag) {
    static struct pb yes, no, tensor;
    const unsigned char byte = flag ? 1 : 0;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    tensor.size = 0;
    pb_tensor(&tensor, "known", ONNX_BOOL, 0, NULL);
    pb_bytes(&tensor, 9, &byte, 1);
    pb_message(&b.graph, 5, &tensor);
    if (!known) {
        INPUT("c", ONNX_BOOL, 1);
    }
    branch(&yes, "Add");
    branch(&no, "Sub");
    attribute_graph("then_branch", &yes);
    attribute_graph("else_branch", &no);
    node("If", known ? "known" : "c", "y");
    add_output(&b.graph, "y");
}

static void a_known_condition_leaves_one_branch(void **state) {
    (void)state;
    const float x[] = {3};
    float y[1];
    for (int flag = 0; flag < 2; flag++) {
        build_if(true, flag != 0);
        expect_graph();
        assert_int_equal(graph_node_count(imported.graph), 1);
        run(x, 1, y, 1);
        assert_true(y[0] == (flag != 0 ? 6.0F : 0.0F));
        import_result_fini(&imported);
    }
}

static void a_computed_condition_chooses_between_both(void **state) {
    (void)state;
    build_if(false, false);
    expect_graph();
    const struct graph_node *last =
        graph_node_get(imported.graph, graph_node_count(imported.graph) - 1);
    assert_int_equal(last->op, OP_WHERE);
    import_result_fini(&imported);
}

/* ---- refusals ---- */

static void an_unknown_op_is_named_with_its_node(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    node("Frobnicate", "x", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_UNSUPPORTED, "the_Frobnicate", "the op Frobnicate is not supported");
}

static void an_unknown_attribute_is_not_ignored(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    attribute_int("sideways", 1);
    node("Transpose", "x", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_UNSUPPORTED, "the_Transpose", "attribute sideways");
}

static void an_attribute_of_a_wrong_type_is_corrupt(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    attribute_int("perm", 0);
    node("Transpose", "x", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_CORRUPT, "the_Transpose", "perm is of type INT, not INTS");
}

static void a_dim_that_nobody_binds_is_named(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 1, -1);
    node("Identity", "x", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_UNSUPPORTED, "input x: dim 1 (N)", "--dim N=NUMBER");
    const struct import_dim dims[] = {{"N", 7}};
    const struct import_options options = {.dims = dims, .dim_count = 1};
    assert_int_equal(import(&options), SHOAL_OK);
    const struct shape expected = SHAPE(1, 7);
    assert_true(shape_equal(&imported.inputs[0].ports[0].type.shape, &expected));
    import_result_fini(&imported);
}

static void what_nothing_makes_is_corrupt(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 1);
    node("Add", "x ghost", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_CORRUPT, "the_Add", "ghost");
}

static void shapes_that_contradict_are_a_mismatch_at_their_node(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_FLOAT, 2);
    INPUT("z", ONNX_FLOAT, 3);
    node("Add", "x z", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_MISMATCH, "the_Add", "[2]");
}

static void strings_are_refused(void **state) {
    (void)state;
    begin();
    INPUT("x", ONNX_STRING, 2);
    node("Identity", "x", "y");
    add_output(&b.graph, "y");
    expect_refusal(SHOAL_UNSUPPORTED, "input x", "STRING");
}

static void collecting_finds_all_refusals_at_once(void **state) {
    (void)state;
    const int64_t dims[] = {2};
    begin();
    INPUT("x", ONNX_FLOAT, 2);
    node("Frobnicate", "x", "a");
    add_value(&b.graph, 13, "a", ONNX_FLOAT, 1, dims); /* so that its readers are looked at */
    attribute_int("sideways", 1);
    node("Transpose", "a", "c");
    node("Defenestrate", "c", "y");
    node("Add", "y y", "z"); /* unknown, but no fault of its own */
    add_output(&b.graph, "z");
    const struct import_options options = {.collect = true};
    assert_int_equal(import(&options), SHOAL_OK);
    assert_null(imported.graph);
    assert_int_equal(imported.issue_count, 3);
    assert_non_null(strstr(imported.issues[0], "Frobnicate"));
    assert_non_null(strstr(imported.issues[1], "sideways"));
    assert_non_null(strstr(imported.issues[2], "Defenestrate"));
    import_result_fini(&imported);
}

/* ---- values that decide shapes ---- */

static void a_value_that_decides_a_shape_is_asked_for(void **state) {
    (void)state;
    static struct pb proto;
    static const int64_t dims[] = {2}, shape[] = {3, 2};
    struct onnx_data *data = NULL;
    begin();
    INPUT("x", ONNX_FLOAT, 6);
    INPUT("shape", ONNX_INT64, 2);
    node("Reshape", "x shape", "y");
    add_output(&b.graph, "y");
    assert_int_equal(import(NULL), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "shape"));
    assert_int_equal(imported.wanted, 2); /* input 1 */
    import_result_fini(&imported);

    proto.size = 0;
    pb_tensor(&proto, "shape", ONNX_INT64, 1, dims);
    pb_bytes(&proto, 9, shape, sizeof shape);
    assert_int_equal(
        onnx_data_parse("shape", proto.bytes, proto.size, ONNX_KIND_TENSOR, &data, &error),
        SHOAL_OK);
    const struct import_feed feeds[] = {{"shape", data, true}};
    const struct import_options options = {.feeds = feeds, .feed_count = 1};
    assert_int_equal(import(&options), SHOAL_OK);
    const struct shape expected = SHAPE(3, 2);
    assert_true(shape_equal(&imported.outputs[0].ports[0].type.shape, &expected));
    assert_true(imported.inputs[1].known);
    assert_int_equal(imported.inputs[1].ports[0].index, GRAPH_NONE);
    import_result_fini(&imported);
    onnx_data_close(data);
}

/* ---- limits and memory ---- */

static void limits_on_nodes_and_bytes_hold(void **state) {
    (void)state;
    loop(100);
    const struct import_options few = {.most_nodes = 50};
    assert_int_equal(import(&few), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "more than 50 nodes"));
    import_result_fini(&imported);
    const struct import_options small = {.most_bytes = 100};
    assert_int_equal(import(&small), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "more than 100 bytes"));
    import_result_fini(&imported);
}

static void out_of_memory_anywhere_is_an_error(void **state) {
    (void)state;
    loop(3);
    struct onnx_model *model = parse();
    const struct import_options options = {0};
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 0;
    while (status != SHOAL_OK) {
        mem_fail_after(++n);
        status = import_model(model, &options, &imported, &error);
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
        import_result_fini(&imported);
        assert_true(n < 10000);
    }
    assert_true(n > 20);
    onnx_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_computes_and_its_ports_say_what_goes_in_and_out),
        cmocka_unit_test(an_output_that_is_an_input_or_a_constant_is_a_copy),
        cmocka_unit_test(shape_arithmetic_folds_away),
        cmocka_unit_test(large_constants_become_derived_weights),
        cmocka_unit_test(initialisers_are_named_not_copied),
        cmocka_unit_test(functions_are_inlined_with_their_attributes),
        cmocka_unit_test(functions_that_call_themselves_are_refused),
        cmocka_unit_test(loops_are_unrolled),
        cmocka_unit_test(loops_without_end_are_refused),
        cmocka_unit_test(a_known_condition_leaves_one_branch),
        cmocka_unit_test(a_computed_condition_chooses_between_both),
        cmocka_unit_test(an_unknown_op_is_named_with_its_node),
        cmocka_unit_test(an_unknown_attribute_is_not_ignored),
        cmocka_unit_test(an_attribute_of_a_wrong_type_is_corrupt),
        cmocka_unit_test(a_dim_that_nobody_binds_is_named),
        cmocka_unit_test(what_nothing_makes_is_corrupt),
        cmocka_unit_test(shapes_that_contradict_are_a_mismatch_at_their_node),
        cmocka_unit_test(strings_are_refused),
        cmocka_unit_test(collecting_finds_all_refusals_at_once),
        cmocka_unit_test(a_value_that_decides_a_shape_is_asked_for),
        cmocka_unit_test(limits_on_nodes_and_bytes_hold),
        cmocka_unit_test(out_of_memory_anywhere_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
