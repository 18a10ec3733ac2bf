#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "mlp.h"

#include "base/memory.h"
#include "base/random.h"

#include <stdio.h>

static graph_param_id add_param(struct graph *graph, const char *name, struct shape shape) {
    graph_param_id id = 0;
    const struct graph_part part = {name, shape};
    assert_int_equal(graph_add_param(graph, name, (struct tensor_type){DTYPE_F32, shape},
                                     GRAPH_FILL_NORMAL, &part, 1, &id, NULL),
                     SHOAL_OK);
    return id;
}

static graph_value_id add_linear(struct graph *graph, int layer, graph_value_id x, int64_t in,
                                 int64_t out) {
    char name[16], weight[24], bias[24];
    (void)snprintf(name, sizeof name, "l%d", layer);
    (void)snprintf(weight, sizeof weight, "l%d.weight", layer);
    (void)snprintf(bias, sizeof bias, "l%d.bias", layer);
    const graph_param_id params[] = {add_param(graph, weight, SHAPE(out, in)),
                                     add_param(graph, bias, SHAPE(out))};
    graph_value_id y = 0;
    assert_int_equal(
        graph_add_node(graph, name, OP_LINEAR, NULL, GRAPH_F, &x, 1, params, 2, &y, NULL),
        SHOAL_OK);
    return y;
}

static graph_value_id add_activation(struct graph *graph, const char *name, enum activation kind,
                                     graph_value_id x) {
    const struct op_attrs attrs = {.activation = kind};
    graph_value_id y = 0;
    assert_int_equal(
        graph_add_node(graph, name, OP_ACTIVATION, &attrs, GRAPH_F, &x, 1, NULL, 0, &y, NULL),
        SHOAL_OK);
    return y;
}

struct mlp mlp_build(void) {
    struct mlp mlp = {0};
    assert_int_equal(graph_create(&mlp.graph, NULL), SHOAL_OK);
    struct graph *graph = mlp.graph;
    const struct tensor_type x = {DTYPE_F32, SHAPE(GRAPH_BATCH, MLP_IN)};
    const struct tensor_type label = {DTYPE_I32, SHAPE(GRAPH_BATCH)};
    assert_int_equal(graph_add_input(graph, "x", x, &mlp.x, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "label", label, &mlp.label, NULL), SHOAL_OK);

    const graph_value_id h0 = add_activation(graph, "h0", ACTIVATION_GELU_ERF,
                                             add_linear(graph, 0, mlp.x, MLP_IN, MLP_HIDDEN));
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);

    const graph_value_id a1 = add_activation(graph, "a1", ACTIVATION_TANH,
                                             add_linear(graph, 1, h0, MLP_HIDDEN, MLP_HIDDEN));
    const graph_value_id skip[] = {a1, h0};
    const struct op_attrs plus = {.scale = 1};
    graph_value_id h1 = 0;
    assert_int_equal(
        graph_add_node(graph, "h1", OP_ADD, &plus, GRAPH_F, skip, 2, NULL, 0, &h1, NULL), SHOAL_OK);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);

    mlp.logits = add_linear(graph, 2, h1, MLP_HIDDEN, MLP_OUT);
    struct shoal_error error = {0};
    if (autodiff_append(graph, mlp.logits, mlp.label, 1.0F / MLP_BATCH, MLP_RATE, &mlp.training,
                        &error) != SHOAL_OK) {
        fail_msg("autodiff: %s", error.text);
    }
    return mlp;
}

struct executor *mlp_compile(const struct graph *graph, uint32_t first, uint32_t last,
                             unsigned phases) {
    struct kernel_choice *choice = NULL;
    struct executor *executor = NULL;
    struct shoal_error error = {0};
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "reference", NULL), SHOAL_OK);
    const struct executor_options options = {first, last, MLP_BATCH, 1, choice, phases};
    if (executor_compile(graph, &options, &executor, &error) != SHOAL_OK) {
        fail_msg("compile: %s", error.text);
    }
    kernel_choice_destroy(choice);
    return executor;
}

static shoal_status borrow(struct weight_source *source, const char *name,
                           const struct shape *shape, enum graph_fill fill, struct tensor *out,
                           struct shoal_error *error) {
    (void)source;
    (void)fill;
    (void)error;
    int64_t count = 0;
    assert_true(shape_count(shape, &count));
    float *values = mem_alloc((size_t)count * sizeof *values);
    assert_non_null(values);
    random_normal(random_stream(MLP_SEED, name), 0, 0.6F, values, (size_t)count);
    *out = (struct tensor){DTYPE_F32, *shape, values};
    return SHOAL_OK;
}

static void release(struct weight_source *source, const struct tensor *tensor) {
    (void)source;
    mem_free(tensor->data);
}

static void destroy(struct weight_source *source) {
    (void)source;
}

struct weight_source *mlp_source(void) {
    static const struct weight_source_ops ops = {borrow, release, destroy};
    static struct weight_source source = {&ops};
    return &source;
}

void mlp_fill_x(struct tensor x, uint64_t microbatch) {
    const size_t count = tensor_bytes(&x) / sizeof(float);
    random_normal(random_stream(MLP_SEED, "x"), microbatch * count, 1, x.data, count);
}

void mlp_fill_label(struct tensor label, uint64_t microbatch) {
    int32_t *labels = label.data;
    for (int64_t i = 0; i < label.shape.dims[0]; i++) {
        const uint64_t index = microbatch * MLP_BATCH + (uint64_t)i;
        labels[i] = (int32_t)(random_u32(random_stream(MLP_SEED, "label"), index) % MLP_OUT);
    }
}
