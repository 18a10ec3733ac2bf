/* Random graphs of everything that passes touch: with any of the passes they give the same, and the
 * same outputs. */
#include "graph/passes/test_graph.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROUNDS 300
#define MOST_NODES 24

static uint64_t seed = 20261126;
static uint64_t drawn;

static int64_t draw(int64_t low, int64_t high) { /* both included */
    const uint32_t value = random_u32(random_stream(seed, "graphs"), drawn++);
    return low + (int64_t)(value % (uint32_t)(high - low + 1));
}

/* Values made so far, all f32 of rank 2 to 4. */
struct pool {
    struct graph *graph;
    graph_value_id values[4 * MOST_NODES];
    int count;
    int names;
};

static graph_value_id any(struct pool *p) {
    /* mostly one of the latest: chains are what patterns are made of */
    const int64_t back = draw(0, 2) == 0 ? draw(1, p->count) : draw(1, p->count < 2 ? 1 : 2);
    return p->values[p->count - back];
}

static const struct shape *shape_of(const struct pool *p, graph_value_id value) {
    return &graph_value_get(p->graph, value)->type.shape;
}

static const char *fresh(struct pool *p, char text[32]) {
    (void)snprintf(text, 32, "w%d", p->names++ % 40); /* some are read more than once */
    return text;
}

static graph_value_id transpose(struct pool *p, graph_value_id x) {
    static const int64_t orders[][4] = {{0, 2, 3, 1}, {0, 3, 1, 2}, {0, 2, 1, 3}, {0, 1, 3, 2}};
    const int rank = shape_of(p, x)->rank;
    if (rank == 4) {
        return test_transpose(p->graph, x, orders[draw(0, 3)]);
    }
    return test_transpose(p->graph, x, rank == 3 ? ORDER(0, 2, 1) : ORDER(1, 0));
}

static graph_value_id reshape(struct pool *p, graph_value_id x) {
    const struct shape shape = *shape_of(p, x), *s = &shape;
    if (s->rank == 4) {
        const int64_t *d = s->dims;
        return draw(0, 1) == 0 ? test_reshape(p->graph, x, SHAPE(d[0], d[1], d[2] * d[3]))
                               : test_reshape(p->graph, x, SHAPE(d[0] * d[1], d[2] * d[3]));
    }
    const int64_t last = s->dims[s->rank - 1];
    struct shape to = {.rank = 4, .dims = {1, 1, 1, 1}};
    to.dims[0] = s->dims[0];
    to.dims[1] = s->rank == 3 ? s->dims[1] : 1;
    const int64_t half = last % 2 == 0 ? 2 : 1;
    to.dims[2] = half;
    to.dims[3] = last / half;
    return test_reshape(p->graph, x, to);
}

/* A constant that goes with x: one number, a row, a column, the whole. */
static graph_value_id beside(struct pool *p, graph_value_id x) {
    struct shape s = *shape_of(p, x);
    char name[32];
    switch (draw(0, 4)) {
    case 0:
        return test_number(p->graph, draw(0, 3) == 0 ? 1 : 0.7);
    case 1:
        return test_weight(p->graph, fresh(p, name), SHAPE(s.dims[s.rank - 1]));
    case 2:
        for (int i = 0; i < s.rank; i++) {
            s.dims[i] = i == 1 ? s.dims[i] : 1;
        }
        return test_weight(p->graph, fresh(p, name), s);
    default:
        return test_weight(p->graph, fresh(p, name), s);
    }
}

static graph_value_id binary(struct pool *p, graph_value_id x) {
    static const enum binary_function functions[] = {BINARY_ADD, BINARY_ADD, BINARY_MUL, BINARY_SUB,
                                                     BINARY_MAX};
    const enum binary_function function = functions[draw(0, 4)];
    graph_value_id y = beside(p, x);
    for (int i = 0; i < p->count && draw(0, 1) == 0; i++) { /* a value of the same shape */
        if (shape_equal(shape_of(p, p->values[i]), shape_of(p, x))) {
            y = p->values[i];
        }
    }
    return draw(0, 1) == 0 ? test_binary(p->graph, function, x, y)
                           : test_binary(p->graph, function, y, x);
}

static graph_value_id unary(struct pool *p, graph_value_id x) {
    static const enum unary_function functions[] = {UNARY_RELU,     UNARY_SIGMOID, UNARY_TANH,
                                                    UNARY_GELU_ERF, UNARY_NEG,     UNARY_ABS};
    if (draw(0, 4) == 0) {
        return test_binary(p->graph, BINARY_MUL, x, test_unary(p->graph, UNARY_SIGMOID, x));
    }
    return test_unary(p->graph, functions[draw(0, 5)], x);
}

static graph_value_id image(struct pool *p, graph_value_id x) {
    char name[32];
    const struct shape *s = shape_of(p, x);
    const struct op_attrs plain = {.axis = 1,
                                   .ints = {3, 3, [WINDOW_STRIDE] = 1, 1, [WINDOW_DILATION] = 1,
                                            1, [WINDOW_BEGIN] = 1, 1, [WINDOW_END] = 1, 1}};
    if (s->rank != 4) {
        return reshape(p, x);
    }
    switch (draw(0, 3)) {
    case 0:
        return test_node(p->graph, OP_POOL, &plain, &x, 1, NULL, 0);
    case 1:
        return test_batch_norm(p->graph, x, fresh(p, name));
    default:
        (void)snprintf(name, sizeof name, "conv%d", p->names++);
        return test_conv(p->graph, x, name, draw(1, 6), draw(0, 1) * 2 + 1);
    }
}

static graph_value_id rows(struct pool *p, graph_value_id x) {
    char name[32];
    const struct shape shape = *shape_of(p, x), *s = &shape;
    const int64_t last = s->dims[s->rank - 1];
    const struct op_attrs norm = {.axis = s->rank - 1, .epsilon = 0.5F};
    const struct op_attrs softmax = {.mode = SOFTMAX_EXP, .axis = (int32_t)draw(1, s->rank - 1)};
    const graph_value_id inputs[] = {x, test_weight(p->graph, fresh(p, name), SHAPE(last)),
                                     test_weight(p->graph, fresh(p, name), SHAPE(last))};
    switch (draw(0, 4)) {
    case 0:
        return test_node(p->graph, OP_NORM_AXES, &norm, inputs, 3, NULL, 0);
    case 1:
        return test_node(p->graph, OP_SOFTMAX, &softmax, &x, 1, NULL, 0);
    case 2:
        return test_mean(p->graph, x, INT64_C(1) << draw(1, s->rank - 1));
    default:
        (void)snprintf(name, sizeof name, "fc%d", p->names++);
        x = test_linear(p->graph, x, name, draw(2, 6));
        return draw(0, 1) == 0 ? x
                               : test_binary(p->graph, BINARY_ADD, x,
                                             test_weight(p->graph, "bias",
                                                         SHAPE(shape_of(p, x)->dims[s->rank - 1])));
    }
}

static graph_value_id cut(struct pool *p, graph_value_id x) {
    const struct shape shape = *shape_of(p, x), *s = &shape;
    struct op_attrs attrs = {0};
    const int axis = (int)draw(1, s->rank - 1);
    if (draw(0, 1) == 0) {
        const graph_value_id both[] = {x, draw(0, 1) == 0 ? test_unary(p->graph, UNARY_ABS, x) : x};
        attrs.axis = axis;
        return test_node(p->graph, OP_CONCAT, &attrs, both, 2, NULL, 0);
    }
    for (int i = 0; i < s->rank; i++) {
        attrs.ints[SLICE_STEP + i] = 1;
        attrs.ints[SLICE_LENGTH + i] = s->dims[i];
    }
    attrs.ints[axis] = s->dims[axis] / 2;
    attrs.ints[SLICE_LENGTH + axis] = s->dims[axis] - s->dims[axis] / 2;
    return test_node(p->graph, OP_SLICE, &attrs, &x, 1, NULL, 0);
}

static graph_value_id step(struct pool *p) {
    const graph_value_id x = any(p);
    switch (draw(0, 9)) {
    case 0:
    case 1:
        return transpose(p, x);
    case 2:
        return reshape(p, x);
    case 3:
    case 4:
        return binary(p, x);
    case 5:
        return unary(p, x);
    case 6:
    case 7:
        return image(p, x);
    case 8:
        return rows(p, x);
    default:
        return cut(p, x);
    }
}

static struct graph *random_graph(void) {
    struct pool p = {.graph = test_graph()};
    p.values[p.count++] = test_input(p.graph, "x", SHAPE(2, 3, 4, 6));
    p.values[p.count++] = test_input(p.graph, "y", SHAPE(2, 4, 6));
    const int64_t nodes = draw(2, MOST_NODES);
    for (int64_t i = 0; i < nodes; i++) {
        const graph_value_id y = step(&p);
        int64_t count = 0;
        assert_true(shape_count(shape_of(&p, y), &count));
        if (count < 5000 && shape_of(&p, y)->dims[0] <= 12) {
            p.values[p.count++] = y;
        }
    }
    for (int64_t i = draw(1, 3); i > 0; i--) {
        const graph_value_id value = any(&p);
        if (graph_value_get(p.graph, value)->producer != GRAPH_NONE) {
            test_output(p.graph, value);
        }
    }
    test_output(p.graph, test_unary(p.graph, UNARY_TANH, p.values[p.count - 1]));
    return p.graph;
}

static void passes_change_no_results(void **state) {
    (void)state;
    const char *text = getenv("SHOAL_TEST_SEED");
    const char *rounds = getenv("SHOAL_TEST_ROUNDS");
    seed = text != NULL ? strtoull(text, NULL, 10) : seed;
    uint32_t before = 0, after = 0;
    test_tolerance = 2e-3; /* norms of norms magnify rounding; mistakes are larger */
    for (long round = rounds != NULL ? atol(rounds) : ROUNDS; round > 0; round--) {
        struct graph *graph = random_graph();
        const uint32_t skip = draw(0, 1) == 0 ? 0 : (uint32_t)draw(0, PASS_ALL);
        before += graph_node_count(graph);
        graph = test_optimised_without(graph, skip);
        after += graph_node_count(graph);
        graph_destroy(graph);
    }
    print_message("%u nodes became %u (SHOAL_TEST_SEED=%" PRIu64 ")\n", before, after, seed);
    assert_true(after < before);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(passes_change_no_results)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
