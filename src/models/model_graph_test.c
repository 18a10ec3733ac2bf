#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "models/graph_json.h"
#include "models/model_graph.h"

#include <string.h>

static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static graph_value_id linear(struct graph *graph, const char *name, graph_value_id x, int64_t in,
                             int64_t out) {
    const struct graph_part part = {name, SHAPE(out, in)};
    graph_param_id weight;
    graph_value_id y;
    OK(graph_add_param(graph, name, f32(SHAPE(out, in)), GRAPH_FILL_NORMAL, &part, 1, &weight,
                       &error));
    OK(graph_add_node(graph, name, OP_LINEAR, NULL, GRAPH_F, &x, 1, &weight, 1, &y, &error));
    return y;
}

/* a [batch,rows,4], b [batch,2] → second [batch,rows,3], first [batch,5]; the outputs are marked
 * in the other order than they are made. */
static struct graph *make(int64_t batch, int64_t rows) {
    struct graph *graph;
    graph_value_id a, b;
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "a", f32(SHAPE(batch, rows, 4)), &a, &error));
    OK(graph_add_input(graph, "b", f32(SHAPE(batch, 2)), &b, &error));
    const graph_value_id second = linear(graph, "second", a, 4, 3);
    OK(graph_mark_cut(graph, &error));
    const graph_value_id first = linear(graph, "first", b, 2, 5);
    OK(graph_mark_output(graph, first, &error));
    OK(graph_mark_output(graph, second, &error));
    return graph;
}

static const char *const names[] = {"one", "two"};

static struct model_config config_of(struct graph *graph, int64_t batch) {
    struct model_config config = {.family = MODEL_GRAPH, .name = "mine"};
    const struct graph *const graphs[] = {graph};
    const struct model_graph_options options = {
        .graphs = graphs, .count = 1, .batch = batch, .output_names = names};
    struct model_graph *model;
    OK(model_graph_create(&options, &model, &error));
    config.graph = model;
    graph_destroy(graph);
    return config;
}

static void expect_model(const struct model_config *config, int64_t batch) {
    struct model_input inputs[MODEL_MAX_INPUTS];
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    assert_int_equal(model_batch(config), batch);
    assert_int_equal(model_inputs(config, inputs), 2);
    assert_string_equal(inputs[0].name, "a");
    assert_true(shape_equal(&inputs[0].type.shape, &SHAPE(GRAPH_BATCH, 7, 4)));
    assert_string_equal(inputs[1].name, "b");
    assert_int_equal(model_outputs(config, outputs), 2);
    assert_string_equal(outputs[0].name, "one");
    assert_int_equal(outputs[0].index, 1); /* made after the other */
    assert_true(shape_equal(&outputs[0].type.shape, &SHAPE(GRAPH_BATCH, 5)));
    assert_string_equal(outputs[1].name, "two");
    assert_int_equal(outputs[1].index, 0);
    struct graph *graph;
    OK(model_build(config, &graph, &error));
    assert_int_equal(graph_segment_count(graph), 2);
    assert_int_equal(graph_node_count(graph), 2);
    graph_destroy(graph);
}

static void test_a_graph_is_a_model(void **unused) {
    (void)unused;
    struct model_config config = config_of(make(3, 7), 3), back;
    expect_model(&config, 3);
    char *text;
    OK(model_config_to_json(&config, &text, &error));
    OK(model_config_from_json(text, strlen(text), &back, &error));
    assert_int_equal(back.family, MODEL_GRAPH);
    assert_string_equal(back.name, "mine");
    expect_model(&back, 3);
    for (uint64_t n = 1;; n++) { /* every allocation may fail */
        struct model_config third;
        mem_fail_after(n);
        const shoal_status status = model_config_from_json(text, strlen(text), &third, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            model_config_fini(&third);
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    mem_free(text);
    model_config_fini(&back);
    model_config_fini(&config);
}

/* With one item a microbatch, what has no first dimension of 1 is the item as it is. */
static void test_a_single_item_may_be_of_any_shape(void **unused) {
    (void)unused;
    struct graph *graph;
    graph_value_id x;
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "x", f32(SHAPE(6, 4)), &x, &error));
    OK(graph_mark_output(graph, linear(graph, "y", x, 4, 2), &error));
    struct model_config config = config_of(graph, 1);
    struct model_input inputs[MODEL_MAX_INPUTS];
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    assert_int_equal(model_inputs(&config, inputs), 1);
    assert_true(shape_equal(&inputs[0].type.shape, &SHAPE(6, 4)));
    assert_int_equal(model_outputs(&config, outputs), 1);
    assert_true(shape_equal(&outputs[0].type.shape, &SHAPE(6, 2)));
    assert_string_equal(outputs[0].name, "one");
    model_config_fini(&config);
}

static void test_lengths(void **unused) {
    (void)unused;
    struct graph *const made[] = {make(2, 32), make(2, 64)};
    const struct graph *const graphs[] = {made[0], made[1]};
    const int64_t lengths[] = {32, 64};
    struct model_graph_options options = {
        .graphs = graphs, .lengths = lengths, .count = 2, .batch = 2, .output_names = names};
    struct model_graph *model;
    OK(model_graph_create(&options, &model, &error));
    struct model_config config = {
        .family = MODEL_GRAPH, .name = "text", .length = 64, .positions = 64, .graph = model};
    int64_t found[MODEL_MAX_LENGTHS];
    assert_int_equal(model_lengths(&config, found), 2);
    assert_true(found[0] == 32 && found[1] == 64);
    assert_int_equal(model_length_for(&config, 33), 64);
    config.length = 32;
    assert_int_equal(model_lengths(&config, found), 1);
    struct model_input inputs[MODEL_MAX_INPUTS];
    (void)model_inputs(&config, inputs);
    assert_true(shape_equal(&inputs[0].type.shape, &SHAPE(GRAPH_BATCH, 32, 4)));
    config.length = 64;
    struct graph *all[MODEL_MAX_LENGTHS];
    uint32_t count;
    OK(model_build_lengths(&config, all, &count, &error));
    assert_int_equal(count, 2);
    graph_destroy(all[0]);
    graph_destroy(all[1]);
    char *text;
    OK(model_config_to_json(&config, &text, &error));
    struct model_config back;
    OK(model_config_from_json(text, strlen(text), &back, &error));
    assert_int_equal(model_lengths(&back, found), 2);
    mem_free(text);
    model_config_fini(&back);
    config.length = 48;
    assert_int_equal(model_build(&config, &all[0], &error), SHOAL_INVALID);
    model_config_fini(&config);
    /* Other names: another model. */
    struct graph *strange;
    graph_value_id x;
    OK(graph_create(&strange, &error));
    OK(graph_add_input(strange, "a", f32(SHAPE(2, 64, 4)), &x, &error));
    OK(graph_mark_output(strange, linear(strange, "third", x, 4, 3), &error));
    const struct graph *const unlike[] = {made[0], strange};
    options.graphs = unlike;
    assert_int_equal(model_graph_create(&options, &model, &error), SHOAL_INVALID);
    graph_destroy(strange);
    graph_destroy(made[0]);
    graph_destroy(made[1]);
}

/* Sharing packed weights would be wrong where a packed constant depends on the length. */
static void test_packed_constants_must_agree(void **unused) {
    (void)unused;
    struct graph *graphs[2];
    for (int i = 0; i < 2; i++) {
        graph_value_id x, y;
        graph_param_id weight;
        const float data[] = {1, 2, 3, 4 + (float)i};
        OK(graph_create(&graphs[i], &error));
        OK(graph_add_input(graphs[i], "x", f32(SHAPE(1, 32 << i, 2)), &x, &error));
        OK(graph_add_constant(graphs[i], "w", f32(SHAPE(2, 2)), data, &weight, &error));
        OK(graph_add_node(graphs[i], "y", OP_LINEAR, NULL, GRAPH_F, &x, 1, &weight, 1, &y, &error));
    }
    assert_true(model_graph_alike(graphs[0], graphs[0]));
    assert_false(model_graph_alike(graphs[0], graphs[1]));
    graph_destroy(graphs[0]);
    graph_destroy(graphs[1]);
}

static shoal_status create(const struct graph *graph, int64_t batch) {
    struct model_graph *model = NULL;
    const struct model_graph_options options = {
        .graphs = &graph, .count = 1, .batch = batch, .output_names = names};
    const shoal_status status = model_graph_create(&options, &model, &error);
    model_graph_destroy(status == SHOAL_OK ? model : NULL);
    return status;
}

static void test_what_is_no_model_is_refused(void **unused) {
    (void)unused;
    struct graph *graph = make(3, 7);
    assert_int_equal(create(graph, 2), SHOAL_UNSUPPORTED); /* another microbatch */
    assert_non_null(strstr(error.text, "a [3,7,4]"));
    assert_int_equal(create(graph, 0), SHOAL_INVALID);
    assert_int_equal(create(graph, 1 << 20), SHOAL_INVALID);
    graph_destroy(graph);
    graph_value_id x;
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "x", f32(SHAPE(GRAPH_BATCH, 4)), &x, &error));
    assert_int_equal(create(graph, 1), SHOAL_UNSUPPORTED); /* nothing is computed */
    const graph_value_id y = linear(graph, "y", x, 4, 2);
    assert_int_equal(create(graph, 1), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "not a number"));
    graph_destroy(graph);
    OK(graph_create(&graph, &error));
    OK(graph_add_input(graph, "x", f32(SHAPE(1, 4)), &x, &error));
    (void)linear(graph, "y", x, 4, 2);
    assert_int_equal(create(graph, 1), SHOAL_UNSUPPORTED); /* no output */
    OK(graph_mark_output(graph, y, &error));
    OK(create(graph, 1));
    OK(graph_mark_output(graph, x, &error)); /* an input as it came is an output like any other */
    OK(create(graph, 1));
    graph_destroy(graph);
}

/* The text of a sound model with its first `from` replaced. */
static void expect_refused(const char *text, const char *from, const char *to, const char *what) {
    const char *at = strstr(text, from);
    assert_non_null(at);
    char *changed = mem_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    struct model_config config;
    const shoal_status status = model_config_from_json(changed, strlen(changed), &config, &error);
    if (status == SHOAL_OK || status == SHOAL_NO_MEMORY || strstr(error.text, what) == NULL) {
        fail_msg("%s for %s: %d %s", to, from, status, error.text);
    }
    mem_free(changed);
}

static void test_hostile_models_are_refused(void **unused) {
    (void)unused;
    struct model_config config = config_of(make(3, 7), 3);
    char *text;
    OK(model_config_to_json(&config, &text, &error));
    static const struct {
        const char *from, *to, *what;
    } cases[] = {
        {"\"batch\":3", "\"batch\":0", "batch"},
        {"\"batch\":3", "\"batch\":2", "microbatch 2"},
        {"\"batch\":3", "\"batch\":\"3\"", "batch"},
        {"\"one\",\"two\"", "\"one\"", "names"},
        {"\"one\",\"two\"", "\"one\",\"two\",\"three\"", "names"},
        {"\"one\",\"two\"", "1,2", "outputs"},
        {"\"length\":0,\"graph\"", "\"length\":-1,\"graph\"", "length"},
        {"\"length\":0,\"graph\"", "\"length\":70000,\"graph\"", "length"},
        {"\"graphs\":[", "\"graphs\":[7,", "length"},
        {"\"graphs\":[", "\"graphs\":[],\"old\":[", "graphs"},
        {"shoal-graph", "shoal-grape", "shoal-graph"},
        {"\"name\":\"mine\"", "\"name\":\"mine\",\"hidden\":3", "hidden"},
        {"\"labels\":0", "\"labels\":-1", "labels"},
        {"\"length\":0,\"labels\"", "\"length\":32,\"labels\"", "length"},
        {"\"model\":{", "\"model\":[],\"x\":{", "x"},
        {"\"family\":\"graph\"", "\"family\":\"vit\"", "model"},
        {"[3,7,4]", "[3,-1,4]", "not a number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_refused(text, cases[i].from, cases[i].to, cases[i].what);
    }
    mem_free(text);
    model_config_fini(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_graph_is_a_model),
        cmocka_unit_test(test_a_single_item_may_be_of_any_shape),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_packed_constants_must_agree),
        cmocka_unit_test(test_what_is_no_model_is_refused),
        cmocka_unit_test(test_hostile_models_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
