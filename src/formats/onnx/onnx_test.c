/* Models: their structure, and every error of onnx_open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/onnx_testing.h"
#include "formats/onnx/outline.h"

#include <stdio.h>

static struct pb graph, model, part, inner; /* each test starts them anew */

static int start(void **state) {
    (void)state;
    graph.size = model.size = part.size = inner.size = 0;
    return 0;
}

static shoal_status parse(struct onnx_model **out, struct shoal_error *error) {
    return onnx_parse("test.onnx", model.bytes, model.size, out, error);
}

static void expect(shoal_status code, const char *text) {
    struct onnx_model *out = NULL;
    struct shoal_error error = {.text = ""};
    const shoal_status status = parse(&out, &error);
    if (status != code || strstr(error.text, text) == NULL ||
        strncmp(error.text, "test.onnx: ", 11) != 0) {
        fail_msg("status %d, \"%s\"; expected %d with \"%s\"", (int)status, error.text, (int)code,
                 text);
    }
    assert_null(out);
}

/* The model whose one graph is `graph`. */
static void expect_graph(shoal_status code, const char *text) {
    pb_model(&model, 8, 17, &graph);
    expect(code, text);
}

static void node(struct pb *pb, const char *op, const char *name) {
    pb->size = 0;
    pb_text(pb, 1, "x");
    pb_text(pb, 1, "");
    pb_text(pb, 2, "y");
    pb_text(pb, 3, name);
    pb_text(pb, 4, op);
}

/* AttributeProto with a name and a type; its value is the caller's to add. */
static void attribute(struct pb *pb, const char *name, int type) {
    pb->size = 0;
    pb_text(pb, 1, name);
    if (type != 0) {
        pb_int(pb, 20, type);
    }
}

static void test_structure(void **state) {
    (void)state;
    static struct pb value, type, shape, dim;
    node(&part, "Gemm", "first");
    pb_text(&part, 7, "ai.onnx");
    attribute(&inner, "alpha", ONNX_ATTRIBUTE_FLOAT);
    pb_float(&inner, 2, 0.5F);
    pb_message(&part, 5, &inner);
    attribute(&inner, "axes", 0); /* as early exporters: no type */
    pb_int(&inner, 8, -1);
    pb_int(&inner, 8, 2);
    pb_message(&part, 5, &inner);
    attribute(&inner, "pads", ONNX_ATTRIBUTE_INTS);
    pb_bytes(&inner, 8, "\x01\x02\x80\x01", 4); /* packed */
    pb_message(&part, 5, &inner);
    attribute(&inner, "mode", ONNX_ATTRIBUTE_STRING);
    pb_bytes(&inner, 4, "a\0b", 3);
    pb_message(&part, 5, &inner);
    attribute(&inner, "scales", ONNX_ATTRIBUTE_FLOATS);
    pb_float(&inner, 7, 1.5F);
    pb_float(&inner, 7, 2.5F);
    pb_message(&part, 5, &inner);
    attribute(&inner, "names", ONNX_ATTRIBUTE_STRINGS);
    pb_text(&inner, 9, "one");
    pb_text(&inner, 9, "");
    pb_message(&part, 5, &inner);
    pb_text(&part, 6, "documentation that is \xff not read");
    pb_message(&graph, 1, &part);
    dim.size = 0;
    pb_text(&dim, 2, "batch");
    pb_message(&shape, 1, &dim);
    dim.size = 0;
    pb_int(&dim, 1, 3);
    pb_message(&shape, 1, &dim);
    dim.size = 0;
    pb_int(&dim, 1, -1);
    pb_message(&shape, 1, &dim);
    pb_int(&value, 1, ONNX_FLOAT);
    pb_message(&value, 2, &shape);
    pb_message(&type, 1, &value);
    value.size = 0;
    pb_text(&value, 1, "x");
    pb_message(&value, 2, &type);
    pb_message(&graph, 11, &value);
    pb_model(&model, 8, 17, &graph);

    struct onnx_model *out = NULL;
    assert_int_equal(parse(&out, NULL), SHOAL_OK);
    assert_int_equal(out->ir_version, 8);
    assert_int_equal(out->opset, 17);
    assert_string_equal(out->producer_name, "by hand");
    assert_int_equal(onnx_model_opset(out, "ai.onnx.ml"), 0);
    assert_int_equal(out->graph.node_count, 1);
    const struct onnx_node *first = &out->graph.nodes[0];
    assert_string_equal(first->op_type, "Gemm");
    assert_string_equal(first->domain, "");
    assert_int_equal(first->input_count, 2);
    assert_string_equal(first->inputs[1], "");
    assert_string_equal(first->outputs[0], "y");
    assert_int_equal(first->attribute_count, 6);
    assert_true(onnx_node_attribute(first, "alpha")->f == 0.5F);
    const struct onnx_attribute *axes = onnx_node_attribute(first, "axes");
    assert_int_equal(axes->type, ONNX_ATTRIBUTE_INTS);
    assert_int_equal(axes->ints[0], -1);
    const struct onnx_attribute *pads = onnx_node_attribute(first, "pads");
    assert_int_equal(pads->count, 3);
    assert_int_equal(pads->ints[2], 128);
    assert_int_equal(onnx_node_attribute(first, "mode")->s.length, 3);
    assert_memory_equal(onnx_node_attribute(first, "mode")->s.data, "a\0b", 4);
    assert_true(onnx_node_attribute(first, "scales")->floats[1] == 2.5F);
    assert_string_equal(onnx_node_attribute(first, "names")->strings[0].data, "one");
    assert_null(onnx_node_attribute(first, "beta"));
    const struct onnx_value *x = &out->graph.inputs[0];
    assert_int_equal(x->kind, ONNX_KIND_TENSOR);
    assert_int_equal(x->type, ONNX_FLOAT);
    assert_true(x->has_shape);
    assert_int_equal(x->rank, 3);
    assert_int_equal(x->dims[0], -1);
    assert_string_equal(x->dim_params[0], "batch");
    assert_int_equal(x->dims[1], 3);
    assert_int_equal(x->dims[2], -1);
    assert_string_equal(x->dim_params[2], "");
    onnx_close(out);
}

static void test_kinds_of_values(void **state) {
    (void)state;
    static const struct {
        unsigned outer, middle; /* TypeProto's field; 0: none */
        enum onnx_kind kind, element;
    } cases[] = {{1, 0, ONNX_KIND_TENSOR, ONNX_KIND_TENSOR},
                 {4, 0, ONNX_KIND_SEQUENCE, ONNX_KIND_SEQUENCE},
                 {9, 0, ONNX_KIND_OPTIONAL, ONNX_KIND_TENSOR},
                 {9, 4, ONNX_KIND_OPTIONAL, ONNX_KIND_SEQUENCE},
                 {4, 4, ONNX_KIND_OTHER, ONNX_KIND_OTHER},
                 {5, 0, ONNX_KIND_OTHER, ONNX_KIND_OTHER},
                 {8, 0, ONNX_KIND_OTHER, ONNX_KIND_OTHER}};
    static struct pb tensor, wrapped, type;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tensor.size = part.size = graph.size = 0;
        pb_int(&tensor, 1, ONNX_INT64);
        type.size = 0;
        pb_message(&type, 1, &tensor);
        const unsigned levels[] = {cases[i].middle, cases[i].outer};
        for (size_t j = 0; j < 2; j++) {
            if (levels[j] > 1) {
                wrapped.size = 0;
                pb_message(&wrapped, 1, &type);
                type.size = 0;
                pb_message(&type, levels[j], &wrapped);
            }
        }
        pb_text(&part, 1, "x");
        pb_message(&part, 2, &type);
        pb_message(&graph, 11, &part);
        pb_model(&model, 8, 17, &graph);
        struct onnx_model *out = NULL;
        assert_int_equal(parse(&out, NULL), SHOAL_OK);
        assert_int_equal(out->graph.inputs[0].kind, cases[i].kind);
        assert_int_equal(out->graph.inputs[0].element, cases[i].element);
        assert_int_equal(out->graph.inputs[0].type,
                         cases[i].kind != ONNX_KIND_OTHER ? ONNX_INT64 : ONNX_UNDEFINED);
        assert_false(out->graph.inputs[0].has_shape);
        onnx_close(out);
    }
}

static void test_subgraphs_and_functions(void **state) {
    (void)state;
    static struct pb nested, function;
    nested.size = function.size = 0;
    node(&part, "Relu", "inside");
    pb_message(&nested, 1, &part);
    attribute(&inner, "then_branch", ONNX_ATTRIBUTE_GRAPH);
    pb_message(&inner, 6, &nested);
    node(&part, "If", "choice");
    pb_message(&part, 5, &inner);
    pb_message(&graph, 1, &part);
    pb_model(&model, 8, 17, &graph);
    attribute(&inner, "alpha", ONNX_ATTRIBUTE_FLOAT);
    pb_text(&inner, 21, "slope");
    node(&part, "LeakyRelu", "");
    pb_message(&part, 5, &inner);
    pb_text(&function, 1, "Mine");
    pb_text(&function, 4, "x");
    pb_text(&function, 5, "y");
    pb_text(&function, 6, "slope");
    pb_message(&function, 7, &part);
    pb_text(&function, 10, "local");
    pb_message(&model, 25, &function);
    struct onnx_model *out = NULL;
    assert_int_equal(parse(&out, NULL), SHOAL_OK);
    const struct onnx_attribute *branch = onnx_node_attribute(&out->graph.nodes[0], "then_branch");
    assert_string_equal(branch->g->nodes[0].name, "inside");
    assert_int_equal(out->function_count, 1);
    assert_string_equal(out->functions[0].domain, "local");
    assert_string_equal(out->functions[0].attribute_names[0], "slope");
    assert_string_equal(out->functions[0].nodes[0].attributes[0].ref_attr_name, "slope");
    onnx_close(out);
}

static void test_not_a_model(void **state) {
    (void)state;
    expect(SHOAL_CORRUPT, "not an ONNX model: it has no ir_version");
    pb_int(&model, 1, 8);
    expect(SHOAL_CORRUPT, "not an ONNX model: it has no graph");
    model.size = 0;
    pb_raw(&model, "\x89PNG\r\n\x1a\n", 8);
    expect(SHOAL_CORRUPT, "at byte 0, in a ModelProto");
}

static void test_versions(void **state) {
    (void)state;
    static const struct {
        int64_t ir, opset;
        shoal_status code;
        const char *text;
    } cases[] = {{2, 7, SHOAL_UNSUPPORTED, "older than the oldest that is read, 3"},
                 {15, 17, SHOAL_UNSUPPORTED, "newer than the newest that is known, 14"},
                 {14, 28, SHOAL_UNSUPPORTED, "opset 28 is newer"},
                 {14, -1, SHOAL_CORRUPT, "opset -1 is no version"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pb_model(&model, cases[i].ir, cases[i].opset, &graph);
        expect(cases[i].code, cases[i].text);
    }
    struct onnx_model *out = NULL;
    for (int64_t ir = ONNX_IR_OLDEST; ir <= ONNX_IR_NEWEST; ir++) {
        pb_model(&model, ir, ONNX_OPSET_NEWEST, &graph);
        assert_int_equal(parse(&out, NULL), SHOAL_OK);
        onnx_close(out);
    }
}

/* Cut off anywhere but between the model's own fields, a file is an error that says so. */
static void test_cut_off_anywhere(void **state) {
    (void)state;
    static const int64_t dims[] = {2};
    node(&part, "Relu", "first");
    pb_message(&graph, 1, &part);
    part.size = 0;
    pb_tensor(&part, "w", ONNX_FLOAT, 1, dims);
    pb_bytes(&part, 9, "\0\0\0\0\0\0\0\0", 8);
    pb_message(&graph, 5, &part);
    pb_model(&model, 8, 17, &graph);
    const size_t whole = model.size;
    size_t refused = 0;
    for (model.size = 0; model.size < whole; model.size++) {
        struct onnx_model *out = NULL;
        struct shoal_error error;
        const shoal_status status = parse(&out, &error);
        if (status == SHOAL_OK) {
            onnx_close(out);
            continue;
        }
        assert_int_equal(status, SHOAL_CORRUPT);
        assert_true(strlen(error.text) > 20);
        refused++;
    }
    assert_true(refused >= whole - 1); /* without its opset it is whole all the same */
}

static void test_lengths_that_lie(void **state) {
    (void)state;
    pb_tag(&graph, 1, 2);
    pb_varint(&graph, UINT64_MAX);
    expect_graph(SHOAL_CORRUPT, "field 1 is 18446744073709551615 bytes long");
    graph.size = 0;
    pb_tag(&graph, 2, 2);
    pb_raw(&graph, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    expect_graph(SHOAL_CORRUPT, "a length is cut off");
}

static void test_wire_types(void **state) {
    (void)state;
    pb_tag(&graph, 1, 3);
    expect_graph(SHOAL_CORRUPT, "field 1 has the unknown wire type 3");
    graph.size = 0;
    pb_int(&graph, 1, 5);
    expect_graph(SHOAL_CORRUPT, "field 1 has wire type 0, which does not fit it");
    graph.size = 0;
    pb_int(&graph, 0, 5);
    expect_graph(SHOAL_CORRUPT, "there is no field here");
    graph.size = 0;
    pb_tag(&graph, 900, 1); /* not known, so skipped: but it must be whole */
    pb_raw(&graph, "1234567", 7);
    expect_graph(SHOAL_CORRUPT, "a number is cut off");
    graph.size = 0;
    pb_tag(&graph, 900, 1);
    pb_raw(&graph, "12345678", 8);
    pb_model(&model, 8, 17, &graph);
    struct onnx_model *out = NULL;
    assert_int_equal(parse(&out, NULL), SHOAL_OK);
    onnx_close(out);
}

static void test_packed_numbers_cut_off(void **state) {
    (void)state;
    static const struct {
        unsigned field;
        const char *bytes;
        size_t size;
    } cases[] = {{7, "12345", 5}, {8, "\x01\x80", 2}};
    for (size_t i = 0; i < 2; i++) {
        graph.size = 0;
        attribute(&inner, "list", 0);
        pb_bytes(&inner, cases[i].field, cases[i].bytes, cases[i].size);
        node(&part, "Slice", "n");
        pb_message(&part, 5, &inner);
        pb_message(&graph, 1, &part);
        expect_graph(SHOAL_CORRUPT, "are cut off");
    }
}

static void test_names_that_are_no_text(void **state) {
    (void)state;
    pb_bytes(&graph, 2, "a\0b", 3);
    expect_graph(SHOAL_CORRUPT, "the text of field 2 is not UTF-8 or holds a zero byte");
    graph.size = 0;
    pb_text(&graph, 2, "\xc3(");
    expect_graph(SHOAL_CORRUPT, "is not UTF-8");
    graph.size = 0;
    pb_text(&graph, 2, "Gr\xc3\xa4ph \xef\xbf\xbd"); /* U+FFFD itself is text */
    pb_model(&model, 8, 17, &graph);
    struct onnx_model *out = NULL;
    assert_int_equal(parse(&out, NULL), SHOAL_OK);
    onnx_close(out);
}

static void test_twice_where_one_belongs(void **state) {
    (void)state;
    pb_model(&model, 8, 17, &graph);
    pb_message(&model, 7, &graph);
    expect(SHOAL_CORRUPT, "field 7 occurs twice");
}

/* Loop in Loop in Loop …: a graph in an attribute in a node in a graph. */
static void test_nested_too_deep(void **state) {
    (void)state;
    for (size_t i = 0; i < ONNX_DEPTH_LIMIT / 3 + 1; i++) {
        attribute(&inner, "body", ONNX_ATTRIBUTE_GRAPH);
        pb_message(&inner, 6, &graph);
        node(&part, "Loop", "");
        pb_message(&part, 5, &inner);
        graph.size = 0;
        pb_message(&graph, 1, &part);
        if (i == ONNX_DEPTH_LIMIT / 3 - 2) {
            struct onnx_model *out = NULL;
            pb_model(&model, 8, 17, &graph);
            assert_int_equal(parse(&out, NULL), SHOAL_OK);
            onnx_close(out);
        }
    }
    expect_graph(SHOAL_CORRUPT, "nested deeper than 100 messages");
}

/* Two bytes a message, and two bytes a name: the limits, not the memory, end it. */
static void test_too_much_structure(void **state) {
    (void)state;
    const size_t count = ONNX_MESSAGE_LIMIT + 10, size = count * 2 + 16;
    unsigned char *bytes = mem_alloc(size);
    struct onnx_model *out = NULL;
    struct shoal_error error;
    assert_non_null(bytes);
    memset(bytes, 0, size);
    bytes[0] = 0x08;
    bytes[1] = 8;
    for (size_t i = 1; i <= count; i++) {
        bytes[2 * i] = 8 << 3 | 2; /* opset_import {} */
    }
    assert_int_equal(onnx_parse("many", bytes, count * 2, &out, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "more than 4194304 messages"));
    mem_free(bytes);
    const size_t large = ONNX_OUTLINE_LIMIT + 64;
    bytes = mem_alloc(large);
    assert_non_null(bytes);
    struct pb *head = &model;
    pb_int(head, 1, 8);
    pb_tag(head, 2, 2); /* producer_name */
    pb_varint(head, ONNX_OUTLINE_LIMIT);
    memset(bytes, 'a', large);
    memcpy(bytes, head->bytes, head->size);
    assert_int_equal(onnx_parse("long", bytes, head->size + ONNX_OUTLINE_LIMIT, &out, &error),
                     SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "above 64 MiB"));
    mem_free(bytes);
}

static void test_nodes_and_attributes_that_are_none(void **state) {
    (void)state;
    node(&part, "", "empty");
    pb_message(&graph, 1, &part);
    expect_graph(SHOAL_CORRUPT, "node 0 ( \"empty\"): it has no op_type");
    static const struct {
        int type;
        shoal_status code;
        const char *text;
    } cases[] = {{99, SHOAL_UNSUPPORTED, "attribute odd: its type 99 is unknown"},
                 {ONNX_ATTRIBUTE_TENSOR, SHOAL_CORRUPT, "attribute odd: it has no tensor"},
                 {ONNX_ATTRIBUTE_GRAPH, SHOAL_CORRUPT, "attribute odd: it has no graph"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        graph.size = 0;
        attribute(&inner, "odd", cases[i].type);
        node(&part, "Relu", "n");
        pb_message(&part, 5, &inner);
        pb_message(&graph, 1, &part);
        expect_graph(cases[i].code, cases[i].text);
    }
}

static void test_sparse_initialiser_is_named(void **state) {
    (void)state;
    pb_text(&inner, 8, "mostly zero");
    pb_message(&part, 1, &inner);
    pb_message(&graph, 15, &part);
    expect_graph(SHOAL_UNSUPPORTED, "initialiser \"mostly zero\" is a sparse tensor");
}

static void test_too_many_dimensions(void **state) {
    (void)state;
    static const int64_t dims[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static struct pb shape, tensor, type;
    for (size_t i = 0; i < 9; i++) {
        pb_bytes(&shape, 1, "", 0);
    }
    pb_message(&tensor, 2, &shape);
    pb_message(&type, 1, &tensor);
    pb_text(&part, 1, "wide");
    pb_message(&part, 2, &type);
    pb_message(&graph, 11, &part);
    expect_graph(SHOAL_UNSUPPORTED, "value \"wide\": it has 9 dimensions, at most 8");
    graph.size = part.size = 0;
    pb_tensor(&part, "deep", ONNX_FLOAT, 9, dims);
    pb_bytes(&part, 9, "1234", 4);
    pb_message(&graph, 5, &part);
    expect_graph(SHOAL_UNSUPPORTED, "tensor \"deep\": it has 9 dimensions, at most 8");
}

static void test_no_such_file(void **state) {
    (void)state;
    struct onnx_model *out = NULL;
    struct shoal_error error;
    assert_int_equal(onnx_open("/nowhere/model.onnx", &out, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nowhere/model.onnx"));
    assert_int_equal(onnx_open("/dev/null", &out, &error), SHOAL_IO);
}

/* Whichever allocation fails, the error says so, and nothing leaks (sanitizers look). */
static void test_out_of_memory(void **state) {
    (void)state;
    static const int64_t dims[] = {2};
    node(&part, "Relu", "first");
    attribute(&inner, "names", ONNX_ATTRIBUTE_STRINGS);
    pb_text(&inner, 9, "one");
    pb_message(&part, 5, &inner);
    pb_message(&graph, 1, &part);
    part.size = 0;
    pb_tensor(&part, "w", ONNX_FLOAT, 1, dims);
    pb_bytes(&part, 9, "\0\0\0\0\0\0\0\0", 8);
    for (size_t i = 0; i < 200; i++) { /* enough for more than one block of the arena */
        pb_message(&graph, 5, &part);
    }
    pb_model(&model, 8, 17, &graph);
    shoal_status status = SHOAL_NO_MEMORY;
    size_t failures = 0;
    for (uint64_t n = 1; status != SHOAL_OK; n++) {
        struct onnx_model *out = NULL;
        struct shoal_error error;
        mem_fail_after(n);
        status = parse(&out, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            onnx_close(out);
        } else {
            assert_int_equal(status, SHOAL_NO_MEMORY);
            assert_non_null(strstr(error.text, "no memory"));
            failures++;
        }
    }
    assert_true(failures >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_structure, start),
        cmocka_unit_test_setup(test_kinds_of_values, start),
        cmocka_unit_test_setup(test_subgraphs_and_functions, start),
        cmocka_unit_test_setup(test_not_a_model, start),
        cmocka_unit_test_setup(test_versions, start),
        cmocka_unit_test_setup(test_cut_off_anywhere, start),
        cmocka_unit_test_setup(test_lengths_that_lie, start),
        cmocka_unit_test_setup(test_wire_types, start),
        cmocka_unit_test_setup(test_packed_numbers_cut_off, start),
        cmocka_unit_test_setup(test_names_that_are_no_text, start),
        cmocka_unit_test_setup(test_twice_where_one_belongs, start),
        cmocka_unit_test_setup(test_nested_too_deep, start),
        cmocka_unit_test_setup(test_too_much_structure, start),
        cmocka_unit_test_setup(test_nodes_and_attributes_that_are_none, start),
        cmocka_unit_test_setup(test_sparse_initialiser_is_named, start),
        cmocka_unit_test_setup(test_too_many_dimensions, start),
        cmocka_unit_test_setup(test_no_such_file, start),
        cmocka_unit_test_setup(test_out_of_memory, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
