#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/graph.h"

#include <string.h>

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static graph_param_id param(struct graph *graph, const char *name, struct shape shape) {
    graph_param_id id = GRAPH_NONE;
    const struct graph_part part = {name, shape};
    assert_int_equal(
        graph_add_param(graph, name, f32(shape), GRAPH_FILL_NORMAL, &part, 1, &id, NULL), SHOAL_OK);
    return id;
}

static graph_value_id node(struct graph *graph, const char *name, enum op op, graph_value_id a,
                           const graph_value_id *b, const graph_param_id *weight) {
    const graph_value_id inputs[] = {a, b != NULL ? *b : a};
    graph_value_id out = GRAPH_NONE;
    const struct op_attrs attrs = {.scale = 1};
    assert_int_equal(graph_add_node(graph, name, op, &attrs, GRAPH_F, inputs, b != NULL ? 2 : 1,
                                    weight, weight != NULL ? 1 : 0, &out, NULL),
                     SHOAL_OK);
    return out;
}

/* x → h = x·wᵀ | a = act(h) | y = a + x | z = y·wᵀ, with w read twice */
struct example {
    struct graph *graph;
    graph_value_id x, h, a, y, z;
    graph_param_id w;
};

static struct example make_example(void) {
    struct example e = {0};
    assert_int_equal(graph_create(&e.graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(e.graph, "x", f32(SHAPE(GRAPH_BATCH, 8)), &e.x, NULL),
                     SHOAL_OK);
    e.w = param(e.graph, "w", SHAPE(8, 8));
    e.h = node(e.graph, "h", OP_LINEAR, e.x, NULL, &e.w);
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    e.a = node(e.graph, "a", OP_ACTIVATION, e.h, NULL, NULL);
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    e.y = node(e.graph, "y", OP_ADD, e.a, &e.x, NULL);
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    e.z = node(e.graph, "z", OP_LINEAR, e.y, NULL, &e.w);
    assert_int_equal(graph_mark_output(e.graph, e.z, NULL), SHOAL_OK);
    return e;
}

static void test_types_follow_the_microbatch(void **state) {
    (void)state;
    struct example e = make_example();
    const struct tensor_type *type = &graph_value_get(e.graph, e.z)->type;
    assert_int_equal(type->shape.rank, 2);
    assert_true(type->shape.dims[0] == GRAPH_BATCH && type->shape.dims[1] == 8);
    const struct tensor_type five = graph_resolve(*type, 5);
    assert_true(shape_equal(&five.shape, &SHAPE(5, 8)));
    graph_destroy(e.graph);
}

static void expect_crossing(const struct graph *graph, uint32_t segment, const graph_value_id *ids,
                            uint32_t count) {
    graph_value_id found[8];
    assert_int_equal(graph_crossing(graph, segment, found, 8), count);
    assert_memory_equal(found, ids, count * sizeof ids[0]);
    assert_int_equal(graph_crossing_bytes(graph, segment, 3), sizeof(float) * count * 3 * 8);
}

static void test_crossings(void **state) {
    (void)state;
    struct example e = make_example();
    assert_int_equal(graph_segment_count(e.graph), 4);
    expect_crossing(e.graph, 0, (graph_value_id[]){e.x}, 1);
    expect_crossing(e.graph, 1, (graph_value_id[]){e.x, e.h}, 2); /* x is wanted again by y */
    expect_crossing(e.graph, 2, (graph_value_id[]){e.x, e.a}, 2);
    expect_crossing(e.graph, 3, (graph_value_id[]){e.y}, 1);
    expect_crossing(e.graph, 4, (graph_value_id[]){e.z}, 1);
    graph_value_id one = GRAPH_NONE;
    assert_int_equal(graph_crossing(e.graph, 1, &one, 1), 2); /* says how many there are */
    assert_int_equal(one, e.x);
    graph_node_id first = 0, end = 0;
    graph_segment_nodes(e.graph, 3, &first, &end);
    assert_true(first == 2 && end == 3);
    assert_int_equal(graph_node_get(e.graph, 2)->segment, 3);
    graph_destroy(e.graph);
}

static void test_an_early_output_travels_to_the_end(void **state) {
    (void)state;
    struct example e = make_example();
    assert_int_equal(graph_mark_output(e.graph, e.h, NULL), SHOAL_OK);
    expect_crossing(e.graph, 3, (graph_value_id[]){e.h, e.y}, 2);
    expect_crossing(e.graph, 4, (graph_value_id[]){e.h, e.z}, 2);
    graph_destroy(e.graph);
}

static void test_flops_and_param_bytes(void **state) {
    (void)state;
    struct example e = make_example();
    assert_true(graph_flops(e.graph, 1, 1, 3) == 2.0 * 3 * 8 * 8);
    assert_true(graph_flops(e.graph, 1, 4, 3) == 2 * 2.0 * 3 * 8 * 8);
    const size_t w = sizeof(float) * 8 * 8;
    assert_int_equal(graph_param_bytes(e.graph, 1, 1), w);
    assert_int_equal(graph_param_bytes(e.graph, 2, 3), 0);
    assert_int_equal(graph_param_bytes(e.graph, 4, 4), w);
    assert_int_equal(graph_param_bytes(e.graph, 1, 4), w); /* shared: counted once */
    graph_destroy(e.graph);
}

static void test_a_cut_after_the_last_node_opens_no_segment(void **state) {
    (void)state;
    struct example e = make_example();
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    assert_int_equal(graph_segment_count(e.graph), 4);
    graph_destroy(e.graph);
}

static void test_a_node_whose_shapes_do_not_fit_is_named(void **state) {
    (void)state;
    struct example e = make_example();
    const graph_param_id narrow = param(e.graph, "narrow", SHAPE(8, 7));
    const uint32_t nodes = graph_node_count(e.graph), values = graph_value_count(e.graph);
    graph_value_id out = 77;
    struct shoal_error error;
    assert_int_equal(graph_add_node(e.graph, "bad.layer", OP_LINEAR, NULL, GRAPH_F, &e.z, 1,
                                    &narrow, 1, &out, &error),
                     SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "bad.layer"));
    assert_non_null(strstr(error.text, "linear"));
    assert_non_null(strstr(error.text, "[8,7]"));
    assert_int_equal(out, 77);
    assert_int_equal(graph_node_count(e.graph), nodes);
    assert_int_equal(graph_value_count(e.graph), values);
    assert_int_equal(
        graph_add_node(e.graph, "arity", OP_ADD, NULL, GRAPH_F, &e.z, 1, NULL, 0, &out, &error),
        SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "arity"));
    graph_destroy(e.graph);
}

static void test_unsupported_attributes_are_refused(void **state) {
    (void)state;
    struct example e = make_example();
    graph_value_id out = 0;
    struct shoal_error error;
    const struct op_attrs attrs = {.activation = (enum activation)999};
    assert_int_equal(graph_add_node(e.graph, "odd", OP_ACTIVATION, &attrs, GRAPH_F, &e.z, 1, NULL,
                                    0, &out, &error),
                     SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "odd"));
    graph_destroy(e.graph);
}

static void test_ids_that_do_not_exist_are_refused(void **state) {
    (void)state;
    struct example e = make_example();
    graph_value_id out = 0;
    const graph_value_id none = 1000;
    assert_int_equal(
        graph_add_node(e.graph, "n", OP_ACTIVATION, NULL, GRAPH_F, &none, 1, NULL, 0, &out, NULL),
        SHOAL_INVALID);
    assert_int_equal(
        graph_add_node(e.graph, "n", OP_LINEAR, NULL, GRAPH_F, &e.z, 1, &none, 1, &out, NULL),
        SHOAL_INVALID);
    assert_int_equal(graph_mark_output(e.graph, none, NULL), SHOAL_INVALID);
    assert_int_equal(graph_add_param_value(e.graph, none, &out, NULL), SHOAL_INVALID);
    graph_destroy(e.graph);
}

static void test_a_cut_needs_a_node_before_it(void **state) {
    (void)state;
    struct graph *graph = NULL;
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_INVALID);
    graph_destroy(graph);
    struct example e = make_example();
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_INVALID);
    graph_destroy(e.graph);
}

static void test_params_are_made_of_whole_parts(void **state) {
    (void)state;
    struct graph *graph = NULL;
    graph_param_id id = 77;
    struct shoal_error error;
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    const struct graph_part parts[] = {{"q", SHAPE(1, 2, 4)}, {"k", SHAPE(3, 4)}};
    assert_int_equal(
        graph_add_param(graph, "qk", f32(SHAPE(5, 4)), GRAPH_FILL_ZEROS, parts, 2, &id, NULL),
        SHOAL_OK);
    assert_string_equal(graph_param_get(graph, id)->parts[1].name, "k");
    assert_int_equal(
        graph_add_param(graph, "qk", f32(SHAPE(6, 4)), GRAPH_FILL_ZEROS, parts, 2, &id, &error),
        SHOAL_MISMATCH);
    assert_int_equal(
        graph_add_param(graph, "qk", f32(SHAPE(4, 4)), GRAPH_FILL_ZEROS, parts, 2, &id, &error),
        SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "part k [3,4]"));
    const struct graph_part uneven = {"u", SHAPE(20)};
    assert_int_equal(
        graph_add_param(graph, "u", f32(SHAPE(3, 7)), GRAPH_FILL_ZEROS, &uneven, 1, &id, NULL),
        SHOAL_MISMATCH);
    assert_int_equal(
        graph_add_param(graph, "u", f32(SHAPE(-1, 7)), GRAPH_FILL_ZEROS, &uneven, 1, &id, NULL),
        SHOAL_INVALID);
    graph_value_id value = 0;
    assert_int_equal(graph_add_input(graph, "x", f32(SHAPE(GRAPH_BATCH, -3)), &value, NULL),
                     SHOAL_INVALID);
    graph_destroy(graph);
}

static void test_forward_nodes_read_params_and_constants_as_values(void **state) {
    (void)state;
    struct example e = make_example();
    static const float numbers[] = {1, 2};
    const struct tensor_type type = {DTYPE_F32, SHAPE(1, 2)};
    const struct op_attrs add = {.mode = BINARY_ADD};
    graph_param_id constant = 0, params[8];
    graph_value_id value = 0, sum = 0;
    assert_int_equal(graph_add_constant(e.graph, "numbers",
                                        (struct tensor_type){DTYPE_F32, SHAPE(-1)}, numbers,
                                        &constant, NULL),
                     SHOAL_INVALID);
    assert_int_equal(graph_add_constant(e.graph, "numbers", type, numbers, &constant, NULL),
                     SHOAL_OK);
    assert_memory_equal(graph_param_get(e.graph, constant)->data, numbers, sizeof numbers);
    assert_int_equal(graph_add_param_value(e.graph, constant, &value, NULL), SHOAL_OK);
    const graph_value_id twice[] = {value, value};
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_OK);
    assert_int_equal(
        graph_add_node(e.graph, "sum", OP_BINARY, &add, GRAPH_F, twice, 2, NULL, 0, &sum, NULL),
        SHOAL_OK);
    assert_int_equal(graph_mark_output(e.graph, sum, NULL), SHOAL_OK);
    const uint32_t last = graph_segment_count(e.graph);
    assert_int_equal(graph_range_params(e.graph, last, last, params, 8), 1);
    assert_int_equal(params[0], constant);
    assert_int_equal(graph_param_bytes(e.graph, last, last), sizeof numbers); /* counted once */
    graph_destroy(e.graph);
}

static void test_gradients_come_after_the_forward_nodes(void **state) {
    (void)state;
    struct example e = make_example();
    graph_value_id w = 0, out = 0;
    assert_int_equal(graph_add_param_value(e.graph, e.w, &w, NULL), SHOAL_OK);
    const graph_value_id product[] = {e.z, w};
    assert_int_equal(
        graph_add_node(e.graph, "dx", OP_MATMUL, NULL, GRAPH_B, product, 2, NULL, 0, &out, NULL),
        SHOAL_INVALID); /* no segment yet */
    assert_int_equal(graph_set_gradient_segment(e.graph, 9, NULL), SHOAL_INVALID);
    assert_int_equal(graph_set_gradient_segment(e.graph, 4, NULL), SHOAL_OK);
    assert_int_equal(
        graph_add_node(e.graph, "dx", OP_MATMUL, NULL, GRAPH_B, product, 2, NULL, 0, &out, NULL),
        SHOAL_OK);
    const struct op_attrs outer = {.transpose_a = true};
    const graph_value_id dw[] = {out, e.y};
    assert_int_equal(
        graph_add_node(e.graph, "dw", OP_MATMUL, &outer, GRAPH_W, dw, 2, NULL, 0, &out, NULL),
        SHOAL_OK);
    const struct shape *shape = &graph_value_get(e.graph, out)->type.shape;
    assert_true(shape_equal(shape, &SHAPE(8, 8))); /* the microbatch is summed away */
    assert_int_equal(graph_node_get(e.graph, 5)->segment, 4);
    assert_int_equal(
        graph_add_node(e.graph, "late", OP_ACTIVATION, NULL, GRAPH_F, &e.z, 1, NULL, 0, &out, NULL),
        SHOAL_INVALID);
    assert_int_equal(graph_mark_cut(e.graph, NULL), SHOAL_INVALID);
    assert_int_equal(graph_mark_output(e.graph, w, NULL), SHOAL_INVALID);
    assert_int_equal(graph_segment_count(e.graph), 4);
    expect_crossing(e.graph, 3, (graph_value_id[]){e.y}, 1); /* readers of B and W do not count */
    graph_destroy(e.graph);
}

/* Builds a little graph; every failure must be NO_MEMORY. */
static shoal_status build_all(void) {
    struct graph *graph = NULL;
    TRY(graph_create(&graph, NULL));
    graph_value_id value = 0;
    graph_param_id weight = 0;
    const struct graph_part part = {"w", SHAPE(4, 4)};
    shoal_status status = graph_add_input(graph, "x", f32(SHAPE(GRAPH_BATCH, 4)), &value, NULL);
    for (int i = 0; i < 40 && status == SHOAL_OK; i++) {
        status =
            graph_add_param(graph, "w", f32(SHAPE(4, 4)), GRAPH_FILL_ONES, &part, 1, &weight, NULL);
        if (status == SHOAL_OK) {
            status = graph_add_node(graph, "n", OP_LINEAR, NULL, GRAPH_F, &value, 1, &weight, 1,
                                    &value, NULL);
        }
        if (status == SHOAL_OK) {
            status = graph_mark_cut(graph, NULL);
        }
    }
    if (status == SHOAL_OK) {
        status = graph_mark_output(graph, value, NULL);
    }
    graph_destroy(graph);
    return status;
}

static void test_out_of_memory_anywhere(void **state) {
    (void)state;
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 1;
    for (; n < 1000 && status != SHOAL_OK; n++) {
        mem_fail_after(n);
        status = build_all();
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
    }
    assert_int_equal(status, SHOAL_OK);
    assert_true(n > 8); /* several places were hit */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_follow_the_microbatch),
        cmocka_unit_test(test_crossings),
        cmocka_unit_test(test_an_early_output_travels_to_the_end),
        cmocka_unit_test(test_flops_and_param_bytes),
        cmocka_unit_test(test_a_cut_after_the_last_node_opens_no_segment),
        cmocka_unit_test(test_a_node_whose_shapes_do_not_fit_is_named),
        cmocka_unit_test(test_unsupported_attributes_are_refused),
        cmocka_unit_test(test_ids_that_do_not_exist_are_refused),
        cmocka_unit_test(test_a_cut_needs_a_node_before_it),
        cmocka_unit_test(test_params_are_made_of_whole_parts),
        cmocka_unit_test(test_forward_nodes_read_params_and_constants_as_values),
        cmocka_unit_test(test_gradients_come_after_the_forward_nodes),
        cmocka_unit_test(test_out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
