/*
 * A stage sliced in two: each member computes half of the units of layers 0 and 1, on executors of
 * its own; between them an exchange point, where the members' halves are put together. The exchange
 * is this file's business.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "mlp.h"

#include <stdio.h>
#include <string.h>

#define MEMBERS 2
#define HALF (MLP_HIDDEN / MEMBERS)

/* Rows [first, first + n) of every tensor of another source: what a member needs of it. */
struct rows_source {
    struct weight_source base;
    struct weight_source *from;
    int64_t first, whole; /* whole: rows of the tensors in `from` */
    struct tensor borrowed;
};

static shoal_status rows_borrow(struct weight_source *source, const char *name,
                                const struct shape *shape, enum graph_fill fill, struct tensor *out,
                                struct shoal_error *error) {
    struct rows_source *self = (struct rows_source *)source;
    struct shape whole = *shape;
    whole.dims[0] = self->whole;
    TRY(self->from->ops->borrow(self->from, name, &whole, fill, &self->borrowed, error));
    const size_t row = tensor_bytes(&self->borrowed) / (size_t)self->whole;
    *out = (struct tensor){self->borrowed.dtype, *shape,
                           (unsigned char *)self->borrowed.data + row * (size_t)self->first};
    return SHOAL_OK;
}

static void rows_release(struct weight_source *source, const struct tensor *tensor) {
    (void)tensor;
    struct rows_source *self = (struct rows_source *)source;
    self->from->ops->release(self->from, &self->borrowed);
}

static void rows_destroy(struct weight_source *source) {
    (void)source;
}

static const struct weight_source_ops rows_ops = {rows_borrow, rows_release, rows_destroy};

/* Between two exchange points: half the units of one layer, and what follows it element by element.
 */
struct interval {
    struct graph *graph;
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
    graph_value_id x, skip, y;
};

static graph_param_id add_half(struct graph *graph, const char *name, struct shape shape) {
    graph_param_id id = 0;
    const struct graph_part part = {name, shape};
    assert_int_equal(graph_add_param(graph, name, (struct tensor_type){DTYPE_F32, shape},
                                     GRAPH_FILL_NORMAL, &part, 1, &id, NULL),
                     SHOAL_OK);
    return id;
}

static struct interval make_interval(int layer, int64_t in, enum activation activation, bool skip,
                                     int member) {
    struct interval i = {0};
    char weight[24], bias[24];
    (void)snprintf(weight, sizeof weight, "l%d.weight", layer);
    (void)snprintf(bias, sizeof bias, "l%d.bias", layer);
    assert_int_equal(graph_create(&i.graph, NULL), SHOAL_OK);
    const struct tensor_type x = {DTYPE_F32, SHAPE(GRAPH_BATCH, in)};
    const struct tensor_type half = {DTYPE_F32, SHAPE(GRAPH_BATCH, HALF)};
    assert_int_equal(graph_add_input(i.graph, "x", x, &i.x, NULL), SHOAL_OK);
    const graph_param_id params[] = {add_half(i.graph, weight, SHAPE(HALF, in)),
                                     add_half(i.graph, bias, SHAPE(HALF))};
    const struct op_attrs act = {.activation = activation}, plus = {.scale = 1};
    assert_int_equal(
        graph_add_node(i.graph, "l", OP_LINEAR, NULL, GRAPH_F, &i.x, 1, params, 2, &i.y, NULL),
        SHOAL_OK);
    assert_int_equal(
        graph_add_node(i.graph, "a", OP_ACTIVATION, &act, GRAPH_F, &i.y, 1, NULL, 0, &i.y, NULL),
        SHOAL_OK);
    if (skip) {
        assert_int_equal(graph_add_input(i.graph, "skip", half, &i.skip, NULL), SHOAL_OK);
        const graph_value_id both[] = {i.y, i.skip};
        assert_int_equal(
            graph_add_node(i.graph, "h", OP_ADD, &plus, GRAPH_F, both, 2, NULL, 0, &i.y, NULL),
            SHOAL_OK);
    }
    assert_int_equal(graph_mark_output(i.graph, i.y, NULL), SHOAL_OK);
    i.executor = mlp_compile(i.graph, 1, 1, 0);
    struct rows_source source = {.base = {&rows_ops},
                                 .from = mlp_source(),
                                 .first = (int64_t)member * HALF,
                                 .whole = MLP_HIDDEN};
    assert_int_equal(executor_weights_load(i.executor, &source.base, &i.weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(i.executor, &i.slot, NULL), SHOAL_OK);
    return i;
}

static void destroy_interval(struct interval *i) {
    executor_slot_destroy(i->slot);
    executor_weights_destroy(i->weights);
    executor_destroy(i->executor);
    graph_destroy(i->graph);
}

static void run(struct interval *i) {
    assert_int_equal(executor_run(i->executor, i->weights, i->slot, GRAPH_F, NULL), SHOAL_OK);
}

/* Columns [member·HALF, …) of whole [B,MLP_HIDDEN] from or to a member's half [B,HALF]. */
static void copy_columns(float *whole, int member, struct tensor half, bool to_whole) {
    for (int row = 0; row < MLP_BATCH; row++) {
        float *a = whole + (ptrdiff_t)row * MLP_HIDDEN + (ptrdiff_t)member * HALF;
        float *b = (float *)half.data + (ptrdiff_t)row * HALF;
        memcpy(to_whole ? a : b, to_whole ? b : a, HALF * sizeof(float));
    }
}

/* The exchange point: everyone's half to everyone. */
static void exchange(struct interval members[MEMBERS], float whole[MLP_BATCH * MLP_HIDDEN]) {
    for (int m = 0; m < MEMBERS; m++) {
        copy_columns(whole, m, executor_slot_tensor(members[m].slot, members[m].y), true);
    }
}

static void test_a_sliced_stage_equals_the_whole_one(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    struct executor *executor = mlp_compile(mlp.graph, 1, 2, 0);
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    assert_int_equal(executor_weights_load(executor, mlp_source(), &weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    struct interval first[MEMBERS], second[MEMBERS];
    for (int m = 0; m < MEMBERS; m++) {
        first[m] = make_interval(0, MLP_IN, ACTIVATION_GELU_ERF, false, m);
        second[m] = make_interval(1, MLP_HIDDEN, ACTIVATION_TANH, true, m);
    }
    const graph_value_id *outputs = NULL;
    assert_int_equal(executor_outputs(executor, &outputs), 1);
    for (uint64_t microbatch = 0; microbatch < 5; microbatch++) {
        mlp_fill_x(executor_slot_tensor(slot, mlp.x), microbatch);
        assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);

        float whole[MLP_BATCH * MLP_HIDDEN];
        for (int m = 0; m < MEMBERS; m++) {
            mlp_fill_x(executor_slot_tensor(first[m].slot, first[m].x), microbatch);
            run(&first[m]);
        }
        exchange(first, whole);
        for (int m = 0; m < MEMBERS; m++) {
            memcpy(executor_slot_tensor(second[m].slot, second[m].x).data, whole, sizeof whole);
            copy_columns(whole, m, executor_slot_tensor(second[m].slot, second[m].skip), false);
            run(&second[m]);
        }
        exchange(second, whole);
        assert_memory_equal(whole, executor_slot_tensor(slot, outputs[0]).data, sizeof whole);
    }
    for (int m = 0; m < MEMBERS; m++) {
        destroy_interval(&first[m]);
        destroy_interval(&second[m]);
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    graph_destroy(mlp.graph);
}

static void test_members_share_the_weights_between_them(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    struct executor *executor = mlp_compile(mlp.graph, 1, 2, 0);
    struct executor_memory whole, part;
    executor_memory_get(executor, &whole);
    size_t sum = 0;
    for (int m = 0; m < MEMBERS; m++) {
        struct interval i = make_interval(0, MLP_IN, ACTIVATION_GELU_ERF, false, m);
        struct interval j = make_interval(1, MLP_HIDDEN, ACTIVATION_TANH, true, m);
        executor_memory_get(i.executor, &part);
        sum += part.weights_bytes;
        executor_memory_get(j.executor, &part);
        sum += part.weights_bytes;
        destroy_interval(&i);
        destroy_interval(&j);
    }
    /* Up to rounding each of their four small biases and matrices to MEM_ALIGNMENT. */
    assert_true(sum >= whole.weights_bytes &&
                sum <= whole.weights_bytes + (size_t)8 * MEM_ALIGNMENT);
    executor_destroy(executor);
    graph_destroy(mlp.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sliced_stage_equals_the_whole_one),
        cmocka_unit_test(test_members_share_the_weights_between_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
