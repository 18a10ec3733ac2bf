#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/derived.h"
#include "models/graph_json.h"
#include "models/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

static bool same_type(const struct tensor_type *a, const struct tensor_type *b) {
    return a->dtype == b->dtype && shape_equal(&a->shape, &b->shape);
}

static void expect_same_params(const struct graph *a, const struct graph *b) {
    assert_int_equal(graph_param_count(a), graph_param_count(b));
    for (graph_param_id id = 0; id < graph_param_count(a); id++) {
        const struct graph_param *p = graph_param_get(a, id), *q = graph_param_get(b, id);
        assert_string_equal(p->name, q->name);
        assert_true(same_type(&p->type, &q->type));
        assert_int_equal(p->part_count, q->part_count);
        if (p->data != NULL) {
            size_t bytes = 0;
            assert_true(shape_bytes(&p->type.shape, p->type.dtype, &bytes));
            assert_memory_equal(p->data, q->data, bytes);
            continue;
        }
        assert_int_equal(p->fill, q->fill);
        for (uint32_t i = 0; i < p->part_count; i++) {
            assert_string_equal(p->parts[i].name, q->parts[i].name);
            assert_true(shape_equal(&p->parts[i].shape, &q->parts[i].shape));
        }
    }
}

static void expect_same_graph(const struct graph *a, const struct graph *b) {
    expect_same_params(a, b);
    assert_int_equal(graph_value_count(a), graph_value_count(b));
    for (graph_value_id id = 0; id < graph_value_count(a); id++) {
        const struct graph_value *p = graph_value_get(a, id), *q = graph_value_get(b, id);
        assert_string_equal(p->name, q->name);
        assert_true(same_type(&p->type, &q->type));
        assert_true(p->producer == q->producer && p->param == q->param);
    }
    assert_int_equal(graph_node_count(a), graph_node_count(b));
    for (graph_node_id id = 0; id < graph_node_count(a); id++) {
        const struct graph_node *p = graph_node_get(a, id), *q = graph_node_get(b, id);
        assert_string_equal(p->name, q->name);
        assert_true(p->op == q->op && p->phase == q->phase && p->segment == q->segment);
        assert_true(op_attrs_equal(&p->attrs, &q->attrs));
        assert_true(p->input_count == q->input_count && p->param_count == q->param_count);
        assert_memory_equal(p->inputs, q->inputs, (size_t)p->input_count * sizeof p->inputs[0]);
        assert_memory_equal(p->params, q->params, (size_t)p->param_count * sizeof p->params[0]);
    }
    const graph_value_id *p, *q;
    const uint32_t count = graph_outputs(a, &p);
    assert_int_equal(graph_outputs(b, &q), count);
    if (count > 0) {
        assert_memory_equal(p, q, count * sizeof *p);
    }
    assert_int_equal(graph_segment_count(a), graph_segment_count(b));
}

/* Through text, as it travels. */
static struct graph *round_trip(const struct graph *graph) {
    json_t *document;
    OK(graph_to_json(graph, &document, &error));
    char *text = json_dumps(document, JSON_COMPACT);
    json_t *again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    struct graph *back;
    OK(graph_from_json(again, &back, &error));
    free(text);
    json_decref(document);
    json_decref(again);
    return back;
}

static void test_built_in_models_round_trip(void **unused) {
    (void)unused;
    static const char *const names[] = {"vit-test", "deit-test-distilled", "bert-test", "vit-base"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct model_config config;
        struct graph *graph;
        OK(model_builtin(names[i], &config, &error));
        OK(model_build(&config, &graph, &error));
        struct graph *back = round_trip(graph);
        expect_same_graph(graph, back);
        assert_null(graph_constants_get(back));
        graph_destroy(graph);
        graph_destroy(back);
    }
}

static graph_value_id add(struct graph *graph, const char *name, enum op op,
                          const struct op_attrs *attrs, const graph_value_id *inputs, int count) {
    graph_value_id out[OP_MAX_OUTPUTS];
    OK(graph_add_node(graph, name, op, attrs, GRAPH_F, inputs, count, NULL, 0, out, &error));
    return out[0];
}

/* x [2,4]; constants of several types; a derived weight; attributes of all kinds; two outputs. */
static struct graph *make_graph(void) {
    struct graph *graph;
    graph_value_id x, table, y[2], pair[2];
    graph_param_id constant, stored, derived;
    static const float numbers[] = {1.5F, -0.0F, INFINITY, 1e-42F};
    OK(graph_create(&graph, &error));
    struct graph *constants = graph_constants(graph);
    assert_non_null(constants);
    const struct tensor_type square = {DTYPE_F32, SHAPE(4, 4)};
    const struct graph_part part = {"kernel", SHAPE(4, 4)};
    OK(graph_add_param(constants, "kernel", square, GRAPH_FILL_NORMAL, &part, 1, &stored, &error));
    OK(graph_add_param_value(constants, stored, &table, &error));
    pair[0] = pair[1] = table;
    const graph_value_id sum =
        add(constants, "kernel+kernel", OP_ADD, &(struct op_attrs){.scale = 0.5F}, pair, 2);
    OK(graph_add_derived(graph, sum, &derived, &error));

    OK(graph_add_input(graph, "x", (struct tensor_type){DTYPE_F32, SHAPE(2, 4)}, &x, &error));
    OK(graph_add_constant(graph, "numbers", (struct tensor_type){DTYPE_F32, SHAPE(1, 4)}, numbers,
                          &constant, &error));
    OK(graph_add_constant(graph, "bytes", (struct tensor_type){DTYPE_U8, SHAPE(5)},
                          "\x00\xff"
                          "ab",
                          &constant, &error));
    OK(graph_add_node(graph, "y", OP_LINEAR, &(struct op_attrs){.activation = ACTIVATION_SIGMOID},
                      GRAPH_F, &x, 1, &derived, 1, y, &error));
    OK(graph_mark_cut(graph, &error));
    const struct op_attrs strange = {.epsilon = 1e-12F,
                                     .scale = 0.1F,
                                     .heads = -3,
                                     .stride = {0, 2},
                                     .pad = {1, 0, 0, INT32_MIN},
                                     .dilation = {7, 0},
                                     .groups = INT32_MAX,
                                     .index = INT64_MIN,
                                     .transpose_b = true,
                                     .mode = 2,
                                     .axis = -1,
                                     .ints = {0, INT64_MAX, [OP_ATTR_INTS - 1] = -1},
                                     .floats = {-0.0F, NAN, [OP_ATTR_FLOATS - 1] = 3.0F}};
    pair[0] = pair[1] = y[0];
    const graph_value_id z = add(graph, "z", OP_ADD, &strange, pair, 2);
    OK(graph_mark_output(graph, z, &error));
    OK(graph_mark_output(graph, y[0], &error));
    return graph;
}

static void test_everything_round_trips(void **unused) {
    (void)unused;
    struct graph *graph = make_graph();
    struct graph *back = round_trip(graph);
    expect_same_graph(graph, back);
    assert_non_null(graph_constants_get(back));
    expect_same_graph(graph_constants_get(graph), graph_constants_get(back));
    graph_value_id id;
    assert_true(derived_find(back, "kernel+kernel", &id));
    assert_int_equal(graph_segment_count(back), 2);
    graph_destroy(graph);
    graph_destroy(back);
}

static void test_what_cannot_travel_is_refused(void **unused) {
    (void)unused;
    struct graph *graph;
    graph_value_id x;
    json_t *document;
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "\xff", (struct tensor_type){DTYPE_F32, SHAPE(2)}, &x, &error));
    assert_int_equal(graph_to_json(graph, &document, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "UTF-8"));
    graph_destroy(graph);
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "wide", (struct tensor_type){DTYPE_F32, SHAPE(INT64_C(1) << 32)}, &x,
                       &error));
    assert_int_equal(graph_to_json(graph, &document, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "wide"));
    graph_destroy(graph);
    graph = make_graph();
    graph_value_id y;
    OK(graph_set_gradient_segment(graph, 1, &error));
    OK(graph_add_node(graph, "dx", OP_ACTIVATION, NULL, GRAPH_B, &x, 1, NULL, 0, &y, &error));
    assert_int_equal(graph_to_json(graph, &document, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "gradient"));
    graph_destroy(graph);
}

static void test_want_of_memory_is_an_error(void **unused) {
    (void)unused;
    struct graph *graph = make_graph();
    json_t *document;
    OK(graph_to_json(graph, &document, &error));
    for (uint64_t n = 1;; n++) {
        struct graph *back = NULL;
        mem_fail_after(n);
        const shoal_status status = graph_from_json(document, &back, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            graph_destroy(back);
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    json_decref(document);
    graph_destroy(graph);
}

/* ---- refusals: a sound document with one thing changed ---- */

#define SOUND_PARAMS                                                                 \
    "{\"name\":\"c\",\"type\":\"i32\",\"shape\":[2],\"data\":\"AQAAAAIAAAA=\"},"     \
    "{\"name\":\"w\",\"type\":\"f32\",\"shape\":[4,4],\"fill\":\"zeros\",\"parts\":" \
    "[[\"a\",[2,4]],[\"b\",[2,4]]]}"
#define SOUND_STEPS                                                                    \
    "{\"input\":\"x\",\"type\":\"f32\",\"shape\":[-1,4]},{\"param\":1},"               \
    "{\"node\":\"y\",\"op\":\"linear\",\"inputs\":[0],\"params\":[1]},{\"cut\":true}," \
    "{\"node\":\"z\",\"op\":\"add\",\"inputs\":[2,2],\"attrs\":{\"scale\":1065353216}}"
#define HEAD "{\"format\":\"shoal-graph\",\"version\":1,"
#define SOUND HEAD "\"params\":[" SOUND_PARAMS "],\"steps\":[" SOUND_STEPS "],\"outputs\":[3]}"

static shoal_status read_text(const char *text) {
    json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (document == NULL) {
        fail_msg("no JSON: %s", text);
    }
    struct graph *graph = NULL;
    const shoal_status status = graph_from_json(document, &graph, &error);
    graph_destroy(status == SHOAL_OK ? graph : NULL);
    json_decref(document);
    return status;
}

/* SOUND with its first `from` replaced by `to`. */
static void expect_refused(const char *from, const char *to, shoal_status status,
                           const char *text) {
    const char *at = strstr(SOUND, from);
    if (at == NULL) {
        fail_msg("the sound document has no %s", from);
        return;
    }
    char *changed = mem_format("%.*s%s%s", (int)(at - SOUND), SOUND, to, at + strlen(from));
    const shoal_status got = read_text(changed);
    if (got != status || strstr(error.text, text) == NULL) {
        fail_msg("%s: status %d, %s; wanted %d, %s", changed, got, error.text, status, text);
    }
    mem_free(changed);
}

static void test_documents_that_are_none_are_refused(void **unused) {
    (void)unused;
    OK(read_text(SOUND));
    static const struct {
        const char *from, *to;
        shoal_status status;
        const char *text;
    } cases[] = {
        {"shoal-graph", "onnx", SHOAL_CORRUPT, "format shoal-graph"},
        {"\"version\":1", "\"version\":2", SHOAL_VERSION, "version 2"},
        {"\"version\":1", "\"version\":1,\"more\":0", SHOAL_CORRUPT, "more"},
        {"\"outputs\":[3]", "\"outputs\":3", SHOAL_CORRUPT, "outputs"},
        {"\"outputs\":[3]", "\"outputs\":[-1]", SHOAL_CORRUPT, "outputs"},
        {"\"outputs\":[3]", "\"outputs\":[9]", SHOAL_INVALID, "9"},
        {"\"outputs\":[3]", "\"outputs\":[1]", SHOAL_INVALID, "1"},
        {"\"outputs\":[3]", "\"outputs\":[3],\"constants\":[]", SHOAL_CORRUPT, "constants"},
        {"\"outputs\":[3]",
         "\"outputs\":[3],\"constants\":{\"params\":[],\"steps\":[{\"input\":\"x\",\"type\":"
         "\"f32\",\"shape\":[1]}],\"outputs\":[]}",
         SHOAL_CORRUPT, "has inputs"},
        /* params */
        {"\"name\":\"c\"", "\"name\":7", SHOAL_CORRUPT, "\"name\""},
        {"\"name\":\"c\"", "\"name\":\"c\",\"fill\":\"ones\"", SHOAL_CORRUPT, "fill"},
        {"\"type\":\"i32\"", "\"type\":\"i31\"", SHOAL_CORRUPT, "i31"},
        {"\"shape\":[2]", "\"shape\":[3]", SHOAL_CORRUPT, "base64"},
        {"\"shape\":[2]", "\"shape\":[-1]", SHOAL_CORRUPT, "out of bounds"},
        {"\"shape\":[2]", "\"shape\":[2,\"3\"]", SHOAL_CORRUPT, "shape"},
        {"\"shape\":[2]", "\"shape\":[1,1,1,1,1,1,1,1,2]", SHOAL_CORRUPT, "shape"},
        {"\"shape\":[2]", "\"shape\":[2147483648,4]", SHOAL_CORRUPT, "out of bounds"},
        {"\"shape\":[2]", "\"shape\":[0]", SHOAL_CORRUPT, "base64"},
        {"AQAAAAIAAAA=", "AQAAAAIAAA?=", SHOAL_CORRUPT, "base64"},
        {"AQAAAAIAAAA=", "AQAAAAIAAAB=", SHOAL_CORRUPT, "base64"},
        {"AQAAAAIAAAA=", "AQAAAAIAAAAA", SHOAL_CORRUPT, "base64"},
        {"\"fill\":\"zeros\"", "\"fill\":\"twos\"", SHOAL_CORRUPT, "twos"},
        {"\"parts\":[", "\"parts\":[[\"q\"],", SHOAL_CORRUPT, "part"},
        {"[\"a\",[2,4]],[\"b\",[2,4]]", "", SHOAL_CORRUPT, "parts"},
        {"[\"a\",[2,4]]", "[\"a\",[1,4]]", SHOAL_MISMATCH, "w"},
        {"[\"a\",[2,4]]", "[\"a\",[-2,4]]", SHOAL_CORRUPT, "out of bounds"},
        {"[\"a\",[2,4]]", "[5,[2,4]]", SHOAL_CORRUPT, "parts"},
        /* steps */
        {"\"shape\":[-1,4]", "\"shape\":[-2,4]", SHOAL_CORRUPT, "out of bounds"},
        {"\"shape\":[-1,4]", "\"shape\":[-1,2147483649]", SHOAL_CORRUPT, "out of bounds"},
        {"{\"param\":1}", "{\"param\":2}", SHOAL_INVALID, "2"},
        {"{\"param\":1}", "{\"param\":-1}", SHOAL_CORRUPT, "param"},
        {"{\"param\":1}", "{\"param\":1,\"cut\":true}", SHOAL_CORRUPT, "cut"},
        {"{\"param\":1}", "{\"cut\":true}", SHOAL_INVALID, "cut"},
        {"{\"param\":1}", "[]", SHOAL_CORRUPT, "not an object"},
        {"{\"cut\":true}", "{\"cut\":1}", SHOAL_CORRUPT, "cut"},
        {"\"op\":\"linear\"", "\"op\":\"linea\"", SHOAL_CORRUPT, "linea"},
        {"\"op\":\"linear\"", "\"op\":\"linear\",\"phase\":1", SHOAL_CORRUPT, "phase"},
        {"\"inputs\":[0]", "\"inputs\":[7]", SHOAL_INVALID, "7"},
        {"\"inputs\":[0]", "\"inputs\":[4294967295]", SHOAL_CORRUPT, "inputs"},
        {"\"inputs\":[0]", "\"inputs\":[0.5]", SHOAL_CORRUPT, "inputs"},
        {"\"inputs\":[0]", "\"inputs\":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", SHOAL_CORRUPT,
         "inputs"},
        {"\"inputs\":[0]", "\"inputs\":[0,0,0]", SHOAL_MISMATCH, "linear"},
        {",\"inputs\":[0]", "", SHOAL_MISMATCH, "linear"},
        {"\"params\":[1]}", "\"params\":[2]}", SHOAL_INVALID, "2"},
        {"\"params\":[1]}", "\"params\":[0]}", SHOAL_UNSUPPORTED, "i32"},
        {"\"params\":[1]}", "\"params\":[1,1,1,1,1]}", SHOAL_CORRUPT, "params"},
        {"\"scale\":1065353216", "\"scale\":-1", SHOAL_CORRUPT, "scale"},
        {"\"scale\":1065353216", "\"scale\":1.5", SHOAL_CORRUPT, "scale"},
        {"\"scale\":1065353216", "\"scales\":1", SHOAL_CORRUPT, "scales"},
        {"\"scale\":1065353216", "\"heads\":2147483648", SHOAL_CORRUPT, "heads"},
        {"\"scale\":1065353216", "\"stride\":[1,1,1]", SHOAL_CORRUPT, "stride"},
        {"\"scale\":1065353216", "\"stride\":1", SHOAL_CORRUPT, "stride"},
        {"\"scale\":1065353216", "\"transpose_a\":2", SHOAL_CORRUPT, "transpose_a"},
        {"\"scale\":1065353216", "\"activation\":\"swash\"", SHOAL_CORRUPT, "activation"},
        {"\"scale\":1065353216", "\"precision\":32", SHOAL_CORRUPT, "precision"},
        {"\"attrs\":{", "\"attrs\":[], \"x\":{", SHOAL_CORRUPT, "x"},
        {"\"attrs\":{\"scale\":1065353216}", "\"attrs\":[]", SHOAL_CORRUPT, "attrs"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(cases[i].from, cases[i].to, cases[i].status, cases[i].text);
    }
}

static void test_long_lists_and_names_are_refused(void **unused) {
    (void)unused;
    char name[GRAPH_JSON_MAX_NAME + 2];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    char *quoted = mem_format("\"name\":\"%s\"", name);
    expect_refused("\"name\":\"c\"", quoted, SHOAL_CORRUPT, "name");
    mem_free(quoted);
    json_t *document = json_loads(SOUND, 0, NULL);
    json_t *steps = json_object_get(document, "steps");
    for (size_t i = 0; i < GRAPH_JSON_MAX_STEPS; i++) {
        (void)json_array_append_new(steps, json_null());
    }
    struct graph *graph;
    assert_int_equal(graph_from_json(document, &graph, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "steps"));
    json_decref(document);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in_models_round_trip),
        cmocka_unit_test(test_everything_round_trips),
        cmocka_unit_test(test_what_cannot_travel_is_refused),
        cmocka_unit_test(test_want_of_memory_is_an_error),
        cmocka_unit_test(test_documents_that_are_none_are_refused),
        cmocka_unit_test(test_long_lists_and_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
