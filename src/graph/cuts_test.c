/* Where a finished graph is cut by itself. */
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static graph_value_id add(struct graph *graph, graph_value_id a, graph_value_id b) {
    const graph_value_id inputs[] = {a, b};
    const struct op_attrs attrs = {.scale = 1};
    graph_value_id out = GRAPH_NONE;
    assert_int_equal(
        graph_add_node(graph, "add", OP_ADD, &attrs, GRAPH_F, inputs, 2, NULL, 0, &out, NULL),
        SHOAL_OK);
    return out;
}

static struct graph *begin(graph_value_id *input) {
    struct graph *graph = NULL;
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(
        graph_add_input(graph, "x", (struct tensor_type){DTYPE_F32, SHAPE(1, 64)}, input, NULL),
        SHOAL_OK);
    return graph;
}

/* Every segment holds a node, they are in order, and few values cross. */
static void check_segments(const struct graph *graph) {
    const uint32_t count = graph_segment_count(graph);
    graph_node_id expected = 0;
    assert_true(count >= 1 && count <= GRAPH_MOST_SEGMENTS);
    for (uint32_t s = 1; s <= count; s++) {
        graph_node_id first, end;
        graph_segment_nodes(graph, s, &first, &end);
        assert_int_equal(first, expected);
        assert_true(end > first);
        for (graph_node_id id = first; id < end; id++) {
            assert_int_equal(graph_node_get(graph, id)->segment, s);
        }
        assert_true(s == count || graph_crossing(graph, s, NULL, 0) <= 4);
        expected = end;
    }
    assert_int_equal(expected, graph_node_count(graph));
}

static void a_chain_is_cut_after_every_node(void **state) {
    (void)state;
    graph_value_id x;
    struct graph *graph = begin(&x);
    for (int i = 0; i < 10; i++) {
        x = add(graph, x, x);
    }
    assert_int_equal(graph_mark_output(graph, x, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cuts(graph, NULL), SHOAL_OK);
    assert_int_equal(graph_segment_count(graph), 10);
    check_segments(graph);
    assert_int_equal(graph_mark_cuts(graph, NULL), SHOAL_OK); /* in place of the old ones */
    assert_int_equal(graph_segment_count(graph), 10);
    check_segments(graph);
    graph_destroy(graph);
}

static void a_long_chain_has_no_more_segments_than_allowed(void **state) {
    (void)state;
    graph_value_id x;
    struct graph *graph = begin(&x);
    for (int i = 0; i < 2000; i++) {
        x = add(graph, x, x);
    }
    assert_int_equal(graph_mark_output(graph, x, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cuts(graph, NULL), SHOAL_OK);
    assert_true(graph_segment_count(graph) > 200);
    check_segments(graph);
    graph_destroy(graph);
}

/* Six values live at once in the middle: no cut there. */
static void no_cut_where_many_values_cross(void **state) {
    (void)state;
    graph_value_id x, many[6];
    struct graph *graph = begin(&x);
    for (int i = 0; i < 6; i++) {
        many[i] = add(graph, x, x);
    }
    graph_value_id sum = many[0];
    for (int i = 1; i < 6; i++) {
        sum = add(graph, sum, many[i]);
    }
    assert_int_equal(graph_mark_output(graph, sum, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cuts(graph, NULL), SHOAL_OK);
    check_segments(graph);
    for (uint32_t s = 1; s < graph_segment_count(graph); s++) {
        graph_node_id first, end;
        graph_segment_nodes(graph, s, &first, &end);
        assert_true(end != 5 && end != 6 && end != 7);
    }
    assert_true(graph_segment_count(graph) > 1);
    graph_destroy(graph);
}

static void cuts_are_copied_between_graphs_of_as_many_nodes(void **state) {
    (void)state;
    graph_value_id x;
    struct graph *graphs[3];
    for (int g = 0; g < 3; g++) {
        graphs[g] = begin(&x);
        for (int i = 0; i < 6 + g / 2; i++) {
            x = add(graphs[g], x, x);
        }
        assert_int_equal(graph_mark_output(graphs[g], x, NULL), SHOAL_OK);
    }
    assert_int_equal(graph_mark_cuts(graphs[0], NULL), SHOAL_OK);
    assert_int_equal(graph_copy_cuts(graphs[1], graphs[0], NULL), SHOAL_OK);
    assert_int_equal(graph_segment_count(graphs[1]), 6);
    check_segments(graphs[1]);
    assert_int_equal(graph_copy_cuts(graphs[2], graphs[0], NULL), SHOAL_INVALID);
    for (int g = 0; g < 3; g++) {
        graph_destroy(graphs[g]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_is_cut_after_every_node),
        cmocka_unit_test(a_long_chain_has_no_more_segments_than_allowed),
        cmocka_unit_test(cuts_are_copied_between_graphs_of_as_many_nodes),
        cmocka_unit_test(no_cut_where_many_values_cross),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
