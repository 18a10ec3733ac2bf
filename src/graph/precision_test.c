#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/executor.h"
#include "graph/precision.h"

#include <stdio.h>
#include <string.h>

struct building {
    struct graph *graph;
    graph_value_id at;
    int count;
};

/* A node with weights [shape] that reads what the one before made. */
static void add(struct building *b, enum op op, struct shape shape, int32_t groups) {
    char name[16];
    (void)snprintf(name, sizeof name, "n%d", b->count++);
    const struct op_attrs attrs = {.stride = {1, 1}, .dilation = {1, 1}, .groups = groups};
    const struct graph_part part = {name, shape};
    graph_param_id weights = 0;
    assert_int_equal(graph_add_param(b->graph, name, (struct tensor_type){DTYPE_F32, shape},
                                     GRAPH_FILL_NORMAL, &part, 1, &weights, NULL),
                     SHOAL_OK);
    assert_int_equal(
        graph_add_node(b->graph, name, op, &attrs, GRAPH_F, &b->at, 1, &weights, 1, &b->at, NULL),
        SHOAL_OK);
}

static struct building begin(struct shape shape) {
    struct building b = {0};
    assert_int_equal(graph_create(&b.graph, NULL), SHOAL_OK);
    assert_int_equal(
        graph_add_input(b.graph, "x", (struct tensor_type){DTYPE_F32, shape}, &b.at, NULL),
        SHOAL_OK);
    return b;
}

/* conv 3→16, conv 16→32, depthwise, conv 32→24, linear 24→64 (too few inputs), 64→64, 64→10 */
static struct graph *mixed(void) {
    struct building b = begin(SHAPE(GRAPH_BATCH, 6, 6, 3));
    add(&b, OP_CONV2D, SHAPE(16, 3, 3, 3), 1);
    add(&b, OP_CONV2D, SHAPE(32, 16, 3, 3), 1);
    add(&b, OP_CONV2D, SHAPE(32, 1, 1, 1), 32);
    add(&b, OP_CONV2D, SHAPE(24, 32, 1, 1), 1);
    add(&b, OP_LINEAR, SHAPE(64, 24), 0);
    add(&b, OP_LINEAR, SHAPE(64, 64), 0);
    add(&b, OP_LINEAR, SHAPE(40, 64), 0);
    assert_int_equal(graph_mark_output(b.graph, b.at, NULL), SHOAL_OK);
    return b.graph;
}

static void the_rule(void **state) {
    (void)state;
    static const struct {
        enum precision asked, nodes[7];
    } cases[] = {
        {PRECISION_I8,
         {PRECISION_F32, PRECISION_I8, PRECISION_F32, PRECISION_I8, PRECISION_F32, PRECISION_I8,
          PRECISION_F32}},
        {PRECISION_BF16,
         {PRECISION_F32, PRECISION_BF16, PRECISION_F32, PRECISION_BF16, PRECISION_F32,
          PRECISION_BF16, PRECISION_F32}},
        {PRECISION_W4,
         {PRECISION_F32, PRECISION_W4, PRECISION_F32, PRECISION_W4, PRECISION_F32, PRECISION_W4,
          PRECISION_W8}},
        {PRECISION_F32,
         {PRECISION_F32, PRECISION_F32, PRECISION_F32, PRECISION_F32, PRECISION_F32, PRECISION_F32,
          PRECISION_F32}},
    };
    struct graph *graph = mixed();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        assert_int_equal(graph_set_precision(graph, cases[c].asked, NULL), SHOAL_OK);
        for (graph_node_id id = 0; id < 7; id++) {
            assert_int_equal(graph_node_get(graph, id)->attrs.precision, cases[c].nodes[id]);
        }
    }
    graph_destroy(graph);
}

/* Documented error: UNSUPPORTED. */
static void a_model_without_large_products_is_refused(void **state) {
    (void)state;
    struct shoal_error error;
    struct building b = begin(SHAPE(GRAPH_BATCH, 16));
    add(&b, OP_LINEAR, SHAPE(16, 16), 0);
    add(&b, OP_LINEAR, SHAPE(16, 16), 0);
    assert_int_equal(graph_set_precision(b.graph, PRECISION_I8, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "--dtype f32"));
    assert_int_equal(graph_set_precision(b.graph, PRECISION_F32, &error), SHOAL_OK);
    graph_destroy(b.graph);
}

/* Documented error: NO_MEMORY. */
static void no_memory_is_reported(void **state) {
    (void)state;
    struct graph *graph = mixed();
    mem_fail_after(1);
    const shoal_status status = graph_set_precision(graph, PRECISION_W8, NULL);
    mem_fail_after(0);
    assert_int_equal(status, SHOAL_NO_MEMORY);
    graph_destroy(graph);
}

static size_t weights_bytes(enum precision precision) {
    struct building b = begin(SHAPE(GRAPH_BATCH, 512));
    for (int i = 0; i < 12; i++) {
        add(&b, OP_LINEAR, SHAPE(512, 512), 0);
    }
    assert_int_equal(graph_mark_output(b.graph, b.at, NULL), SHOAL_OK);
    assert_int_equal(graph_set_precision(b.graph, precision, NULL), SHOAL_OK);
    const struct executor_options options = {.first = 1, .last = 1, .batch = 1, .threads = 1};
    struct executor *executor = NULL;
    struct executor_memory memory;
    assert_int_equal(executor_compile(b.graph, &options, &executor, NULL), SHOAL_OK);
    executor_memory_get(executor, &memory);
    executor_destroy(executor);
    graph_destroy(b.graph);
    return memory.weights_bytes;
}

/* Eleven of twelve layers have the precision, the last one stays (or becomes w8). */
static void packed_weights_are_small(void **state) {
    (void)state;
    const double full = (double)weights_bytes(PRECISION_F32);
    assert_true((double)weights_bytes(PRECISION_BF16) <= (11 * 0.501 + 1) / 12 * full);
    assert_true((double)weights_bytes(PRECISION_I8) <= (11 * 0.255 + 1) / 12 * full);
    assert_true((double)weights_bytes(PRECISION_W8) <= 0.255 * full);
    assert_true((double)weights_bytes(PRECISION_W4) <= 0.15 * full);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rule),
        cmocka_unit_test(a_model_without_large_products_is_refused),
        cmocka_unit_test(no_memory_is_reported),
        cmocka_unit_test(packed_weights_are_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
