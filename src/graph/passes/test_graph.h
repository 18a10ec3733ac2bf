/* For tests of passes: graphs in few words, and the same graph with and without passes on the same
 * numbers. */
#ifndef GRAPH_PASSES_TEST_GRAPH_H
#define GRAPH_PASSES_TEST_GRAPH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/derived.h"
#include "graph/executor.h"
#include "graph/passes/passes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- numbers ---- */

static inline void test_numbers(const char *name, float *out, int64_t count) {
    random_normal(random_stream(20261126, name), 0, 1.0F, out, (size_t)count);
    if (strncmp(name, "var", 3) == 0) { /* variances */
        for (int64_t i = 0; i < count; i++) {
            out[i] = 0.5F + fabsf(out[i]);
        }
    }
}

/* A source that has every tensor, its numbers drawn by its name. */
static inline shoal_status test_borrow(struct weight_source *source, const char *name,
                                       const struct shape *shape, enum graph_fill fill,
                                       struct tensor *out, struct shoal_error *error) {
    (void)source;
    (void)fill;
    (void)error;
    int64_t count = 0;
    assert_true(shape_count(shape, &count));
    *out = (struct tensor){DTYPE_F32, *shape, mem_calloc((size_t)count, sizeof(float))};
    assert_non_null(out->data);
    if (strcmp(name, "causal") == 0) { /* a mask that a file holds */
        const int64_t keys = shape->dims[shape->rank - 1], rows = shape->dims[shape->rank - 2];
        for (int64_t i = 0; i < count; i++) {
            ((float *)out->data)[i] = i % keys <= i / keys % rows + keys - rows ? 0 : -INFINITY;
        }
    } else {
        test_numbers(name, out->data, count);
    }
    return SHOAL_OK;
}

static inline void test_release(struct weight_source *source, const struct tensor *tensor) {
    (void)source;
    mem_free(tensor->data);
}

static const struct weight_source_ops test_source_ops = {test_borrow, test_release, NULL};
static struct weight_source test_source = {&test_source_ops};

/* ---- graphs ---- */

#define CHECKED(call)                              \
    do {                                           \
        struct shoal_error error_ = {.text = ""};  \
        struct shoal_error *const error = &error_; \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s", error_.text);           \
        }                                          \
    } while (0)

static inline struct tensor_type test_f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static inline struct graph *test_graph(void) {
    struct graph *graph = NULL;
    CHECKED(graph_create(&graph, error));
    return graph;
}

static inline graph_value_id test_input(struct graph *graph, const char *name, struct shape shape) {
    graph_value_id out = 0;
    CHECKED(graph_add_input(graph, name, test_f32(shape), &out, error));
    return out;
}

static inline graph_param_id test_param(struct graph *graph, const char *name, struct shape shape) {
    const struct graph_part part = {name, shape};
    graph_param_id out = 0;
    CHECKED(
        graph_add_param(graph, name, test_f32(shape), GRAPH_FILL_NORMAL, &part, 1, &out, error));
    return out;
}

/* A stored tensor as an input. */
static inline graph_value_id test_weight(struct graph *graph, const char *name,
                                         struct shape shape) {
    graph_value_id out = 0;
    CHECKED(graph_add_param_value(graph, test_param(graph, name, shape), &out, error));
    return out;
}

static inline graph_value_id test_constant(struct graph *graph, struct tensor_type type,
                                           const void *data) {
    graph_param_id param = 0;
    graph_value_id out = 0;
    CHECKED(graph_add_constant(graph, "constant", type, data, &param, error));
    CHECKED(graph_add_param_value(graph, param, &out, error));
    return out;
}

static inline graph_value_id test_number(struct graph *graph, double number) {
    const float value = (float)number;
    return test_constant(graph, (struct tensor_type){DTYPE_F32, {0}}, &value);
}

static inline graph_value_id test_node(struct graph *graph, enum op op,
                                       const struct op_attrs *attrs, const graph_value_id *inputs,
                                       int count, const graph_param_id *params, int param_count) {
    graph_value_id out[OP_MAX_OUTPUTS];
    char name[32];
    (void)snprintf(name, sizeof name, "n%u", graph_node_count(graph));
    CHECKED(graph_add_node(graph, name, op, attrs, GRAPH_F, inputs, count, params, param_count, out,
                           error));
    return out[0];
}

static inline graph_value_id test_unary(struct graph *graph, enum unary_function function,
                                        graph_value_id x) {
    const struct op_attrs attrs = {.mode = (int32_t)function};
    return test_node(graph, OP_UNARY, &attrs, &x, 1, NULL, 0);
}

static inline graph_value_id test_binary(struct graph *graph, enum binary_function function,
                                         graph_value_id a, graph_value_id b) {
    const struct op_attrs attrs = {.mode = (int32_t)function};
    return test_node(graph, OP_BINARY, &attrs, (graph_value_id[]){a, b}, 2, NULL, 0);
}

static inline graph_value_id test_with(struct graph *graph, enum binary_function function,
                                       graph_value_id a, double number) {
    return test_binary(graph, function, a, test_number(graph, number));
}

static inline graph_value_id test_reshape(struct graph *graph, graph_value_id x,
                                          struct shape shape) {
    struct op_attrs attrs = {.axis = shape.rank};
    memcpy(attrs.ints, shape.dims, (size_t)shape.rank * sizeof shape.dims[0]);
    return test_node(graph, OP_RESHAPE, &attrs, &x, 1, NULL, 0);
}

/* order: as many axes as x has */
static inline graph_value_id test_transpose(struct graph *graph, graph_value_id x,
                                            const int64_t *order) {
    struct op_attrs attrs = {0};
    const int rank = graph_value_get(graph, x)->type.shape.rank;
    memcpy(attrs.ints, order, (size_t)rank * sizeof order[0]);
    return test_node(graph, OP_TRANSPOSE, &attrs, &x, 1, NULL, 0);
}

#define ORDER(...) ((const int64_t[]){__VA_ARGS__})

static inline graph_value_id test_mean(struct graph *graph, graph_value_id x, int64_t axes) {
    const struct op_attrs attrs = {.mode = REDUCE_MEAN, .ints = {axes, 1}};
    return test_node(graph, OP_REDUCE, &attrs, &x, 1, NULL, 0);
}

static inline graph_value_id test_linear(struct graph *graph, graph_value_id x, const char *weight,
                                         int64_t outputs) {
    const struct shape *shape = &graph_value_get(graph, x)->type.shape;
    const graph_param_id w =
        test_param(graph, weight, SHAPE(outputs, shape->dims[shape->rank - 1]));
    return test_node(graph, OP_LINEAR, NULL, &x, 1, &w, 1);
}

/* As imported: x [B,C,H,W] between transposes. */
static inline graph_value_id test_conv(struct graph *graph, graph_value_id x, const char *weight,
                                       int64_t outputs, int64_t kernel) {
    const int32_t pad = (int32_t)(kernel / 2);
    const struct op_attrs attrs = {
        .stride = {1, 1}, .dilation = {1, 1}, .groups = 1, .pad = {pad, pad, pad, pad}};
    const int64_t channels = graph_value_get(graph, x)->type.shape.dims[1];
    const graph_param_id w = test_param(graph, weight, SHAPE(outputs, channels, kernel, kernel));
    x = test_transpose(graph, x, ORDER(0, 2, 3, 1));
    x = test_node(graph, OP_CONV2D, &attrs, &x, 1, &w, 1);
    return test_transpose(graph, x, ORDER(0, 3, 1, 2));
}

/* Of channels first. */
static inline graph_value_id test_batch_norm(struct graph *graph, graph_value_id x,
                                             const char *name) {
    const int64_t channels = graph_value_get(graph, x)->type.shape.dims[1];
    const struct op_attrs attrs = {.epsilon = 1e-3F, .axis = 1};
    graph_value_id inputs[5] = {x};
    static const char *const parts[] = {"scale", "shift", "mean", "var"};
    for (int i = 0; i < 4; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s.%s", parts[i], name);
        inputs[i + 1] = test_weight(graph, text, SHAPE(channels));
    }
    return test_node(graph, OP_BATCH_NORM, &attrs, inputs, 5, NULL, 0);
}

static inline void test_output(struct graph *graph, graph_value_id value) {
    CHECKED(graph_mark_output(graph, value, error));
}

static inline uint32_t test_count(const struct graph *graph, enum op op) {
    uint32_t count = 0;
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        count += graph_node_get(graph, id)->op == op ? 1 : 0;
    }
    return count;
}

/* The only node of that op. */
static inline const struct graph_node *test_only(const struct graph *graph, enum op op) {
    const struct graph_node *found = NULL;
    assert_int_equal(test_count(graph, op), 1);
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        found = graph_node_get(graph, id)->op == op ? graph_node_get(graph, id) : found;
    }
    return found;
}

static inline void test_print(const struct graph *graph) {
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        const struct graph_node *node = graph_node_get(graph, id);
        char text[SHAPE_TEXT];
        print_message("  %s %s mode %d → %s\n", node->name, op_describe(node->op)->name,
                      node->attrs.mode,
                      shape_format(&graph_value_get(graph, node->outputs[0])->type.shape, text));
    }
}

/* ---- runs ---- */

#define TEST_BATCH 2

static inline size_t test_bytes(const struct graph *graph, graph_value_id value) {
    const struct tensor_type type = graph_resolve(graph_value_get(graph, value)->type, TEST_BATCH);
    size_t bytes = 0;
    assert_true(shape_bytes(&type.shape, type.dtype, &bytes));
    return bytes;
}

/* Every output, on inputs drawn by their names; mem_free each. */
static inline void test_run(const struct graph *graph, float **out) {
    const struct executor_options options = {
        .first = 1, .last = graph_segment_count(graph), .batch = TEST_BATCH, .threads = 1};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *source = NULL;
    const graph_value_id *ids = NULL;
    CHECKED(executor_compile(graph, &options, &executor, error));
    CHECKED(weights_derived_create(graph, &test_source, &source, error));
    CHECKED(executor_weights_load(executor, source, &weights, error));
    CHECKED(executor_slot_create(executor, &slot, error));
    for (uint32_t i = 0, n = executor_inputs(executor, &ids); i < n; i++) {
        const struct tensor to = executor_slot_tensor(slot, ids[i]);
        int64_t count = 0;
        assert_true(shape_count(&to.shape, &count));
        if (to.dtype == DTYPE_BOOL) {
            for (int64_t k = 0; k < count; k++) {
                ((unsigned char *)to.data)[k] = k % 3 != 1;
            }
        } else {
            test_numbers(graph_value_get(graph, ids[i])->name, to.data, count);
        }
    }
    CHECKED(executor_run(executor, weights, slot, GRAPH_F, error));
    for (uint32_t i = 0, n = graph_outputs(graph, &ids); i < n; i++) {
        const size_t bytes = test_bytes(graph, ids[i]);
        out[i] = mem_calloc(1, bytes);
        assert_non_null(out[i]);
        memcpy(out[i], executor_slot_tensor(slot, ids[i]).data, bytes);
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    source->ops->destroy(source);
    executor_destroy(executor);
}

#define TEST_OUTPUTS 8

/* Of the greatest result, or of 1. */
static double test_tolerance = 1e-4;

static inline void test_compare(const float *got, const float *want, size_t count) {
    double worst = 0, greatest = 1;
    for (size_t i = 0; i < count; i++) {
        if (isnan(want[i]) && isnan(got[i])) {
            continue;
        }
        const double off = got[i] == want[i] ? 0 : fabs((double)got[i] - (double)want[i]);
        greatest = isfinite(want[i]) ? fmax(greatest, fabs((double)want[i])) : greatest;
        worst = off <= worst ? worst : off; /* a NaN stays */
    }
    if (!(worst <= test_tolerance * greatest)) {
        fail_msg("off by %g of %g", worst, greatest);
    }
}

/* Two graphs of the same inputs and outputs give the same. */
static inline void test_same(const struct graph *a, const struct graph *b) {
    const graph_value_id *of_a = NULL, *of_b = NULL;
    float *want[TEST_OUTPUTS] = {NULL}, *got[TEST_OUTPUTS] = {NULL};
    const uint32_t outputs = graph_outputs(a, &of_a);
    assert_int_equal(outputs, graph_outputs(b, &of_b));
    assert_true(outputs <= TEST_OUTPUTS);
    test_run(a, want);
    test_run(b, got);
    for (uint32_t i = 0; i < outputs; i++) {
        const struct graph_value *left = graph_value_get(a, of_a[i]);
        const struct graph_value *right = graph_value_get(b, of_b[i]);
        assert_string_equal(left->name, right->name);
        assert_int_equal(left->type.dtype, right->type.dtype);
        assert_true(shape_equal(&left->type.shape, &right->type.shape));
        if (left->type.dtype == DTYPE_F32) {
            test_compare(got[i], want[i], test_bytes(a, of_a[i]) / sizeof(float));
        } else {
            assert_memory_equal(got[i], want[i], test_bytes(a, of_a[i]));
        }
        mem_free(want[i]);
        mem_free(got[i]);
    }
}

/* graph with all passes but those in skip, which gives the same; graph is gone. */
static inline struct graph *test_optimised_without(struct graph *graph, uint32_t skip) {
    const struct pass_options options = {.skip = skip, .source = &test_source};
    struct graph *out = NULL;
    CHECKED(graph_optimise(graph, &options, &out, error));
    test_same(graph, out);
    graph_destroy(graph);
    return out;
}

static inline struct graph *test_optimised(struct graph *graph) {
    return test_optimised_without(graph, 0);
}

#endif
