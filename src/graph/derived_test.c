/* Derived weights: what is computed, from which stored tensors, in how much memory, and how it
 * fails. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/derived.h"
#include "graph/executor.h"

#include <string.h>

/* Stored: "m" [2,3] = 1..6 and "s" [3] = 10, 20, 30; anything else is missing. */
static float matrix[] = {1, 2, 3, 4, 5, 6}, scales[] = {10, 20, 30};
static int borrowed;

static shoal_status borrow(struct weight_source *source, const char *name,
                           const struct shape *shape, enum graph_fill fill, struct tensor *out,
                           struct shoal_error *error) {
    (void)source;
    (void)shape;
    (void)fill;
    if (strcmp(name, "m") == 0) {
        *out = (struct tensor){DTYPE_F32, SHAPE(2, 3), matrix};
    } else if (strcmp(name, "s") == 0) {
        *out = (struct tensor){DTYPE_F32, SHAPE(3), scales};
    } else {
        return error_set(error, SHOAL_NOT_FOUND, "no %s", name);
    }
    borrowed++;
    return SHOAL_OK;
}

static void release(struct weight_source *source, const struct tensor *tensor) {
    (void)source;
    assert_true(tensor->data == matrix || tensor->data == scales);
    borrowed--;
}

static const struct weight_source_ops ops = {borrow, release, NULL};
static struct weight_source stored = {&ops};

static graph_value_id stored_value(struct graph *graph, const char *name, struct shape shape) {
    const struct graph_part part = {name, shape};
    graph_param_id param = 0;
    graph_value_id value = 0;
    assert_int_equal(graph_add_param(graph, name, (struct tensor_type){DTYPE_F32, shape},
                                     GRAPH_FILL_NORMAL, &part, 1, &param, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_add_param_value(graph, param, &value, NULL), SHOAL_OK);
    return value;
}

static graph_value_id add(struct graph *graph, const char *name, enum op op,
                          const struct op_attrs *attrs, const graph_value_id *inputs, int count) {
    graph_value_id out = 0;
    assert_int_equal(
        graph_add_node(graph, name, op, attrs, GRAPH_F, inputs, count, NULL, 0, &out, NULL),
        SHOAL_OK);
    return out;
}

struct example {
    struct graph *graph;
    graph_value_id x, scaled, turned, y;
    graph_param_id weight;
};

/* weight [3,2] = transpose(m · s); y = x · weightᵀ; `vector` is the stored tensor that scales m. */
static struct example make_example(const char *vector) {
    struct example e = {0};
    assert_int_equal(graph_create(&e.graph, NULL), SHOAL_OK);
    assert_null(graph_constants_get(e.graph));
    struct graph *constants = graph_constants(e.graph);
    const graph_value_id both[] = {stored_value(constants, "m", SHAPE(2, 3)),
                                   stored_value(constants, vector, SHAPE(3))};
    const struct op_attrs multiply = {.mode = BINARY_MUL}, turn = {.ints = {1, 0}};
    e.scaled = add(constants, "scaled", OP_BINARY, &multiply, both, 2);
    e.turned = add(constants, "turned", OP_TRANSPOSE, &turn, &e.scaled, 1);
    assert_int_equal(graph_add_derived(e.graph, e.turned, &e.weight, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(e.graph, "x",
                                     (struct tensor_type){DTYPE_F32, SHAPE(GRAPH_BATCH, 2)}, &e.x,
                                     NULL),
                     SHOAL_OK);
    assert_int_equal(
        graph_add_node(e.graph, "y", OP_LINEAR, NULL, GRAPH_F, &e.x, 1, &e.weight, 1, &e.y, NULL),
        SHOAL_OK);
    assert_int_equal(graph_mark_output(e.graph, e.y, NULL), SHOAL_OK);
    return e;
}

static void test_an_executor_computes_what_is_derived(void **state) {
    (void)state;
    struct example e = make_example("s");
    const struct executor_options options = {.first = 1, .last = 1, .batch = 1, .threads = 1};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    assert_int_equal(executor_compile(e.graph, &options, &executor, NULL), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, &stored, &weights, NULL), SHOAL_OK);
    assert_int_equal(borrowed, 0);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    float *x = executor_slot_tensor(slot, e.x).data;
    x[0] = 1;
    x[1] = 100;
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);
    const float *y = executor_slot_tensor(slot, e.y).data;
    assert_true(y[0] == 10 + 4000 && y[1] == 40 + 10000 && y[2] == 90 + 18000);
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    graph_destroy(e.graph);
}

static shoal_status remember(void *context, const struct graph_part *part,
                             struct shoal_error *error) {
    (void)error;
    (void)strcat(context, part->name);
    return SHOAL_OK;
}

static void test_what_is_stored_for_it_and_what_it_takes(void **state) {
    (void)state;
    struct example e = make_example("s");
    const struct graph *constants = graph_constants_get(e.graph);
    char names[16] = "";
    graph_value_id found = 0;
    assert_int_equal(derived_visit(constants, e.turned, remember, names, NULL), SHOAL_OK);
    assert_string_equal(names, "ms");
    assert_int_equal(derived_peak_bytes(constants, e.turned), (6 + 3 + 6) * sizeof(float));
    assert_true(derived_find(e.graph, "turned", &found) && found == e.turned);
    assert_false(derived_find(e.graph, "scaled", &found)); /* no output */
    graph_destroy(e.graph);
}

static void test_the_source_lends_stored_ones_as_they_are(void **state) {
    (void)state;
    struct example e = make_example("s");
    struct weight_source *source = NULL;
    struct tensor first, second;
    assert_int_equal(weights_derived_create(e.graph, &stored, &source, NULL), SHOAL_OK);
    assert_int_equal(
        source->ops->borrow(source, "m", &SHAPE(2, 3), GRAPH_FILL_NORMAL, &first, NULL), SHOAL_OK);
    assert_ptr_equal(first.data, matrix);
    assert_int_equal(
        source->ops->borrow(source, "turned", &SHAPE(3, 2), GRAPH_FILL_NORMAL, &second, NULL),
        SHOAL_OK);
    assert_true(((const float *)second.data)[1] == 40);
    source->ops->release(source, &first);
    source->ops->release(source, &second);
    assert_int_equal(borrowed, 0);
    source->ops->destroy(source);
    graph_destroy(e.graph);
}

/* Documented errors of graph_add_derived: INVALID. */
static void test_what_cannot_be_derived_is_refused(void **state) {
    (void)state;
    struct example e = make_example("s");
    struct graph *constants = graph_constants(e.graph);
    graph_param_id again = 0;
    assert_int_equal(graph_add_derived(e.graph, 0, &again, NULL), SHOAL_INVALID); /* stored */
    assert_int_equal(graph_add_derived(e.graph, 99, &again, NULL), SHOAL_INVALID);
    const struct op_attrs turn = {.ints = {1, 0}};
    const graph_value_id twin = add(constants, "turned", OP_TRANSPOSE, &turn, &e.scaled, 1);
    assert_int_equal(graph_add_derived(e.graph, twin, &again, NULL), SHOAL_INVALID);
    assert_int_equal(graph_add_derived(e.graph, e.turned, &again, NULL), SHOAL_OK);
    assert_int_not_equal(again, e.weight);
    graph_destroy(e.graph);
}

/* Documented error of derived_compute: MISMATCH, naming the stored tensor. */
static void test_a_missing_stored_tensor_is_named(void **state) {
    (void)state;
    struct example e = make_example("nowhere");
    struct shoal_error error = {.text = ""};
    struct tensor out;
    assert_int_equal(derived_compute(graph_constants_get(e.graph), e.turned, &stored, &out, &error),
                     SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "nowhere"));
    assert_int_equal(borrowed, 0);
    graph_destroy(e.graph);
}

static void test_out_of_memory_anywhere(void **state) {
    (void)state;
    struct example e = make_example("s");
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t nth = 0;
    while (status == SHOAL_NO_MEMORY) {
        struct tensor out;
        mem_fail_after(++nth);
        status = derived_compute(graph_constants_get(e.graph), e.turned, &stored, &out, NULL);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            mem_free(out.data);
        }
    }
    assert_int_equal(status, SHOAL_OK);
    assert_true(nth > 8);
    graph_destroy(e.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_executor_computes_what_is_derived),
        cmocka_unit_test(test_what_is_stored_for_it_and_what_it_takes),
        cmocka_unit_test(test_the_source_lends_stored_ones_as_they_are),
        cmocka_unit_test(test_what_cannot_be_derived_is_refused),
        cmocka_unit_test(test_a_missing_stored_tensor_is_named),
        cmocka_unit_test(test_out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
