/* Activations, norms, products and attention as exporters spell them. */
#include "graph/passes/test_graph.h"

/* ---- activations ---- */

static graph_value_id gelu_erf(struct graph *g, graph_value_id x, int spelling) {
    graph_value_id inner = spelling % 2 == 0 ? test_with(g, BINARY_DIV, x, sqrt(2))
                                             : test_with(g, BINARY_MUL, x, sqrt(0.5));
    inner = test_with(g, BINARY_ADD, test_unary(g, UNARY_ERF, inner), 1);
    switch (spelling / 2) {
    case 0: /* (x · (erf + 1)) · 0.5 */
        return test_with(g, BINARY_MUL, test_binary(g, BINARY_MUL, x, inner), 0.5);
    case 1: /* (x · 0.5) · (erf + 1) */
        return test_binary(g, BINARY_MUL, test_with(g, BINARY_MUL, x, 0.5), inner);
    default: /* (0.5 · (erf + 1)) · x */
        return test_binary(g, BINARY_MUL, test_with(g, BINARY_MUL, inner, 0.5), x);
    }
}

static graph_value_id gelu_tanh(struct graph *g, graph_value_id x, int spelling) {
    graph_value_id inner;
    if (spelling == 0) { /* 0.044715 · x³ by a power */
        inner = test_with(g, BINARY_MUL, test_with(g, BINARY_POW, x, 3), 0.044715);
        inner = test_with(g, BINARY_MUL, test_binary(g, BINARY_ADD, x, inner), 0.7978845608);
    } else if (spelling == 1) { /* by products */
        inner = test_binary(g, BINARY_MUL, test_binary(g, BINARY_MUL, x, x), x);
        inner = test_binary(g, BINARY_ADD, x, test_with(g, BINARY_MUL, inner, 0.044715));
        inner = test_with(g, BINARY_MUL, inner, 0.7978845608);
    } else { /* x · 0.79… · (1 + 0.044715·x·x) */
        inner = test_binary(g, BINARY_MUL, test_with(g, BINARY_MUL, x, 0.044715), x);
        inner = test_with(g, BINARY_ADD, inner, 1);
        inner = test_binary(g, BINARY_MUL, test_with(g, BINARY_MUL, x, 0.7978845608), inner);
    }
    inner = test_with(g, BINARY_ADD, test_unary(g, UNARY_TANH, inner), 1);
    return test_binary(g, BINARY_MUL, test_with(g, BINARY_MUL, x, 0.5), inner);
}

static graph_value_id clip(struct graph *g, graph_value_id x, float least, float most) {
    const struct op_attrs attrs = {.mode = UNARY_CLIP, .floats = {least, most}};
    return test_node(g, OP_UNARY, &attrs, &x, 1, NULL, 0);
}

static graph_value_id hard_sigmoid(struct graph *g, graph_value_id x, int spelling) {
    const struct op_attrs attrs = {.mode = UNARY_HARD_SIGMOID, .floats = {1.0F / 6, 0.5F}};
    if (spelling == 0) {
        return test_node(g, OP_UNARY, &attrs, &x, 1, NULL, 0);
    }
    x = clip(g, test_with(g, BINARY_ADD, x, 3), 0, 6);
    return test_with(g, BINARY_DIV, x, 6);
}

struct spelling {
    graph_value_id (*write)(struct graph *g, graph_value_id x, int spelling);
    int count;
    enum activation activation;
};

static graph_value_id silu(struct graph *g, graph_value_id x, int spelling) {
    const graph_value_id s = test_unary(g, UNARY_SIGMOID, x);
    return spelling == 0 ? test_binary(g, BINARY_MUL, x, s) : test_binary(g, BINARY_MUL, s, x);
}

static graph_value_id hard_swish(struct graph *g, graph_value_id x, int spelling) {
    if (spelling < 2) {
        return test_binary(g, BINARY_MUL, x, hard_sigmoid(g, x, spelling));
    }
    const graph_value_id c = clip(g, test_with(g, BINARY_ADD, x, 3), 0, 6);
    return test_with(g, BINARY_DIV, test_binary(g, BINARY_MUL, x, c), 6);
}

static graph_value_id relu6(struct graph *g, graph_value_id x, int spelling) {
    if (spelling == 0) {
        return clip(g, x, 0, 6);
    }
    x = test_with(g, BINARY_MAX, x, 0);
    return test_with(g, BINARY_MIN, x, 6);
}

static graph_value_id relu(struct graph *g, graph_value_id x, int spelling) {
    return spelling == 0   ? test_unary(g, UNARY_RELU, x)
           : spelling == 1 ? clip(g, x, 0, INFINITY)
                           : test_with(g, BINARY_MAX, x, 0);
}

static const struct spelling spellings[] = {
    {gelu_erf, 6, ACTIVATION_GELU_ERF},
    {gelu_tanh, 3, ACTIVATION_GELU_TANH},
    {silu, 2, ACTIVATION_SILU},
    {hard_swish, 3, ACTIVATION_HARD_SWISH},
    {hard_sigmoid, 2, ACTIVATION_HARD_SIGMOID},
    {relu6, 2, ACTIVATION_RELU6},
    {relu, 3, ACTIVATION_RELU},
};

/* Behind a product with a bias, each is the LINEAR's own. */
static void activations_go_into_linear(void **state) {
    (void)state;
    for (size_t kind = 0; kind < sizeof spellings / sizeof spellings[0]; kind++) {
        for (int i = 0; i < spellings[kind].count; i++) {
            struct graph *g = test_graph();
            graph_value_id x = test_input(g, "x", SHAPE(GRAPH_BATCH, 3, 5));
            x = test_linear(g, x, "w", 7);
            x = test_binary(g, BINARY_ADD, test_weight(g, "b", SHAPE(7)), x);
            test_output(g, spellings[kind].write(g, x, i));
            g = test_optimised(g);
            const struct graph_node *linear = test_only(g, OP_LINEAR);
            assert_int_equal(graph_node_count(g), 1);
            assert_int_equal(linear->attrs.activation, spellings[kind].activation);
            assert_int_equal(linear->param_count, 2);
            graph_destroy(g);
        }
    }
}

/* A number that is a little off is no GELU; a part that is read elsewhere stays. */
static void what_only_looks_like_an_activation_stays(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_input(g, "x", SHAPE(GRAPH_BATCH, 5));
    graph_value_id inner = test_unary(g, UNARY_ERF, test_with(g, BINARY_DIV, x, 1.5));
    inner = test_binary(g, BINARY_MUL, x, test_with(g, BINARY_ADD, inner, 1));
    test_output(g, test_with(g, BINARY_MUL, inner, 0.5));
    g = test_optimised(g);
    for (graph_node_id id = 0; id < graph_node_count(g); id++) {
        assert_true(graph_node_get(g, id)->attrs.mode != UNARY_GELU_ERF ||
                    graph_node_get(g, id)->op != OP_UNARY);
    }
    graph_destroy(g);
    g = test_graph();
    const graph_value_id y = test_input(g, "x", SHAPE(GRAPH_BATCH, 5));
    const graph_value_id sigmoid = test_unary(g, UNARY_SIGMOID, y);
    test_output(g, test_binary(g, BINARY_MUL, y, sigmoid));
    test_output(g, sigmoid);
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 2);
    graph_destroy(g);
}

/* ---- norms ---- */

static graph_value_id layer_norm(struct graph *g, graph_value_id x, int spelling) {
    const int64_t last = INT64_C(1) << (graph_value_get(g, x)->type.shape.rank - 1);
    const graph_value_id d = test_binary(g, BINARY_SUB, x, test_mean(g, x, last));
    graph_value_id d2 = d;
    if ((spelling & 1) != 0) { /* the difference a second time */
        d2 = test_binary(g, BINARY_SUB, x, test_mean(g, x, last));
    }
    graph_value_id square =
        (spelling & 2) != 0 ? test_binary(g, BINARY_MUL, d2, d2) : test_with(g, BINARY_POW, d2, 2);
    square = test_with(g, BINARY_ADD, test_mean(g, square, last), 1e-5);
    const graph_value_id root = test_unary(g, UNARY_SQRT, square);
    graph_value_id y;
    if ((spelling & 4) != 0) {
        y = test_binary(g, BINARY_MUL, d, test_unary(g, UNARY_RECIPROCAL, root));
    } else {
        y = test_binary(g, BINARY_DIV, d, root);
    }
    y = test_binary(g, BINARY_MUL, test_weight(g, "gain", SHAPE(6)), y);
    return test_binary(g, BINARY_ADD, y, test_weight(g, "shift", SHAPE(6)));
}

static void layer_norms_are_found(void **state) {
    (void)state;
    for (int spelling = 0; spelling < 8; spelling++) {
        struct graph *g = test_graph();
        test_output(g, layer_norm(g, test_input(g, "x", SHAPE(GRAPH_BATCH, 3, 6)), spelling));
        g = test_optimised(g);
        assert_int_equal(graph_node_count(g), 1);
        const struct graph_node *norm = test_only(g, OP_LAYER_NORM);
        assert_string_equal(graph_param_get(g, norm->params[0])->parts[0].name, "gain");
        assert_string_equal(graph_param_get(g, norm->params[1])->parts[0].name, "shift");
        graph_destroy(g);
    }
}

static void a_norm_over_another_axis_stays(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_input(g, "x", SHAPE(GRAPH_BATCH, 3, 6));
    const graph_value_id d = test_binary(g, BINARY_SUB, x, test_mean(g, x, 2));
    graph_value_id square = test_mean(g, test_binary(g, BINARY_MUL, d, d), 2);
    square = test_unary(g, UNARY_SQRT, test_with(g, BINARY_ADD, square, 1e-5));
    test_output(g, test_binary(g, BINARY_DIV, d, square));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_LAYER_NORM), 0);
    graph_destroy(g);
}

static void rms_norms_are_found(void **state) {
    (void)state;
    for (int spelling = 0; spelling < 4; spelling++) {
        struct graph *g = test_graph();
        const graph_value_id x = test_input(g, "x", SHAPE(GRAPH_BATCH, 3, 6));
        graph_value_id square = test_mean(g, test_with(g, BINARY_POW, x, 2), 4), y;
        square = test_with(g, BINARY_ADD, square, 1e-6);
        if (spelling == 3) {
            y = test_binary(g, BINARY_MUL, x, test_with(g, BINARY_POW, square, -0.5));
        } else {
            const graph_value_id root = test_unary(g, UNARY_SQRT, square);
            y = spelling == 0 ? test_binary(g, BINARY_DIV, x, root)
                : spelling == 1
                    ? test_binary(g, BINARY_MUL, x, test_unary(g, UNARY_RECIPROCAL, root))
                    : test_binary(g, BINARY_MUL, x,
                                  test_binary(g, BINARY_DIV, test_number(g, 1), root));
        }
        test_output(g, test_binary(g, BINARY_MUL, test_weight(g, "gain", SHAPE(6)), y));
        g = test_optimised(g);
        assert_int_equal(graph_node_count(g), 1);
        (void)test_only(g, OP_RMS_NORM);
        graph_destroy(g);
    }
}

static void the_standards_layer_normalization_is_one_too(void **state) {
    (void)state;
    for (int shifted = 0; shifted < 2; shifted++) {
        struct graph *g = test_graph();
        const struct op_attrs attrs = {.axis = 2, .epsilon = 1e-5F};
        const graph_value_id inputs[] = {test_input(g, "x", SHAPE(GRAPH_BATCH, 3, 6)),
                                         test_weight(g, "gain", SHAPE(6)),
                                         test_weight(g, "shift", SHAPE(6))};
        test_output(g, test_node(g, OP_NORM_AXES, &attrs, inputs, 2 + shifted, NULL, 0));
        g = test_optimised(g);
        assert_int_equal(graph_node_count(g), 1);
        (void)test_only(g, OP_LAYER_NORM);
        graph_destroy(g);
    }
}

/* ---- products ---- */

/* MatMul, Add, Gelu, MatMul, Add, Add: a block's second half, in two ops; [B·T,C] in between. */
static void a_feed_forward_block_is_two_ops(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_input(g, "x", SHAPE(2, 3, 8));
    graph_value_id y = test_reshape(g, x, SHAPE(6, 8));
    const graph_value_id up = test_weight(g, "up", SHAPE(8, 12));
    const struct op_attrs plain = {.scale = 1};
    y = test_node(g, OP_PRODUCT, &plain, (graph_value_id[]){y, up}, 2, NULL, 0);
    y = test_binary(g, BINARY_ADD, y, test_weight(g, "b1", SHAPE(12)));
    y = gelu_erf(g, test_reshape(g, y, SHAPE(2, 3, 12)), 0);
    y = test_linear(g, test_reshape(g, y, SHAPE(6, 12)), "down", 8);
    y = test_binary(g, BINARY_ADD, y, test_weight(g, "b2", SHAPE(1, 8)));
    test_output(g, test_binary(g, BINARY_ADD, test_reshape(g, y, SHAPE(2, 3, 8)), x));
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 2);
    assert_int_equal(test_count(g, OP_LINEAR), 2);
    assert_int_equal(graph_node_get(g, 0)->attrs.activation, ACTIVATION_GELU_ERF);
    assert_int_equal(graph_node_get(g, 1)->input_count, 2);
    graph_destroy(g);
}

/* A sum that two products could take as residual goes into the later one; a product that is read
 * twice, or is an output, takes nothing. */
static void residuals_have_one_owner(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_input(g, "x", SHAPE(GRAPH_BATCH, 5));
    const graph_value_id a = test_linear(g, x, "a", 4), b = test_linear(g, x, "b", 4);
    test_output(g, test_binary(g, BINARY_ADD, b, a));
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 2);
    assert_int_equal(graph_node_get(g, 1)->input_count, 2);
    graph_destroy(g);
    g = test_graph();
    const graph_value_id y = test_input(g, "x", SHAPE(GRAPH_BATCH, 5));
    const graph_value_id c = test_linear(g, y, "a", 5);
    const graph_value_id sum = test_binary(g, BINARY_ADD, c, y);
    test_output(g, test_unary(g, UNARY_RELU, c));
    test_output(g, sum);
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 3);
    graph_destroy(g);
    g = test_graph();
    const graph_value_id z = test_linear(g, test_input(g, "x", SHAPE(GRAPH_BATCH, 5)), "a", 5);
    test_output(g, z);
    test_output(g, test_unary(g, UNARY_RELU, z));
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 2);
    graph_destroy(g);
}

/* ---- attention ---- */

enum { T = 6, H = 2, D = 4, C = H * D };

/* How the exporters write one head-split attention. */
struct spelt {
    bool dynamo;      /* k turned through [B·H,T,D] */
    bool root_scales; /* q and k by ⁴√, before the product */
    bool guard;       /* where(is_nan(p), 0, p) */
    bool merge_first; /* reshape, transpose, reshape behind it (old exporter) */
    int mask;         /* 0: none, 1: [B,1,1,T] of the input, 2: causal stored, 3: causal, chosen */
};

static graph_value_id split_heads(struct graph *g, graph_value_id x, int64_t heads) {
    return test_transpose(g, test_reshape(g, x, SHAPE(2, T, heads, D)), ORDER(0, 2, 1, 3));
}

static graph_value_id causal_condition(struct graph *g) {
    unsigned char seen[T * T];
    for (int i = 0; i < T * T; i++) {
        seen[i] = i % T <= i / T;
    }
    return test_constant(g, (struct tensor_type){DTYPE_BOOL, SHAPE(1, 1, T, T)}, seen);
}

static graph_value_id with_mask(struct graph *g, graph_value_id scores, int kind) {
    const float least = -3.4028234663852886e38F;
    graph_value_id inputs[3];
    switch (kind) {
    case 1:
        return test_binary(g, BINARY_ADD, scores, test_input(g, "mask", SHAPE(2, 1, 1, T)));
    case 2:
        return test_binary(g, BINARY_ADD, scores, test_weight(g, "causal", SHAPE(1, 1, T, T)));
    case 3:
        inputs[0] = causal_condition(g);
        inputs[1] = scores;
        inputs[2] = test_constant(g, test_f32((struct shape){0}), &least);
        return test_node(g, OP_WHERE, NULL, inputs, 3, NULL, 0);
    default:
        return scores;
    }
}

static graph_value_id guarded(struct graph *g, graph_value_id p) {
    const graph_value_id inputs[] = {test_unary(g, UNARY_IS_NAN, p), test_number(g, 0), p};
    return test_node(g, OP_WHERE, NULL, inputs, 3, NULL, 0);
}

/* q, k, v [B,H,T,D] → [B,T,C] */
static graph_value_id attend(struct graph *g, graph_value_id q, graph_value_id k, graph_value_id v,
                             const struct spelt *s) {
    const struct op_attrs plain = {.scale = 1}, softmax = {.mode = SOFTMAX_EXP, .axis = 3};
    if (s->dynamo) {
        k = test_transpose(g, test_reshape(g, k, SHAPE(2 * H, T, D)), ORDER(0, 2, 1));
        k = test_reshape(g, k, SHAPE(2, H, D, T));
    } else {
        k = test_transpose(g, k, ORDER(0, 1, 3, 2));
    }
    if (s->root_scales) {
        q = test_with(g, BINARY_MUL, q, pow(D, -0.25));
        k = test_with(g, BINARY_MUL, k, pow(D, -0.25));
    }
    graph_value_id y = test_node(g, OP_PRODUCT, &plain, (graph_value_id[]){q, k}, 2, NULL, 0);
    if (!s->root_scales) {
        y = test_with(g, BINARY_DIV, y, sqrt(D));
    }
    y = with_mask(g, y, s->mask);
    y = test_node(g, OP_SOFTMAX, &softmax, &y, 1, NULL, 0);
    y = s->guard ? guarded(g, y) : y;
    y = test_node(g, OP_PRODUCT, &plain, (graph_value_id[]){y, v}, 2, NULL, 0);
    if (s->merge_first) {
        y = test_reshape(g, y, SHAPE(2, H, T, D));
    }
    return test_reshape(g, test_transpose(g, y, ORDER(0, 2, 1, 3)), SHAPE(2, T, C));
}

static graph_value_id projection(struct graph *g, graph_value_id x, const char *weight,
                                 const char *bias, int64_t outputs) {
    x = test_linear(g, x, weight, outputs);
    return test_binary(g, BINARY_ADD, x, test_weight(g, bias, SHAPE(outputs)));
}

static const struct spelt spelt[] = {
    {false, false, false, false, 0}, {true, true, true, false, 0},    {false, true, true, true, 1},
    {true, false, false, false, 1},  {false, false, false, false, 2}, {true, true, true, true, 2},
    {false, false, false, true, 3},
};
#define SPELT (sizeof spelt / sizeof spelt[0])

static void attention_of_three_projections_is_packed(void **state) {
    (void)state;
    for (size_t i = 0; i < SPELT; i++) {
        struct graph *g = test_graph();
        const graph_value_id x = test_input(g, "x", SHAPE(2, T, C));
        const graph_value_id q = split_heads(g, projection(g, x, "wq", "bq", C), H);
        const graph_value_id k = split_heads(g, projection(g, x, "wk", "bk", C), H);
        const graph_value_id v = split_heads(g, projection(g, x, "wv", "bv", C), H);
        const graph_value_id y = attend(g, q, k, v, &spelt[i]);
        test_output(g, test_binary(g, BINARY_ADD, projection(g, y, "wo", "bo", C), x));
        g = test_optimised(g);
        const bool packed = spelt[i].mask < 2;
        assert_int_equal(test_count(g, OP_LINEAR), packed ? 2 : 4);
        assert_int_equal(test_count(g, packed ? OP_ATTENTION : OP_SDPA), 1);
        assert_int_equal(test_count(g, OP_TRANSPOSE), 0);
        assert_int_equal(graph_node_count(g) - test_count(g, OP_RESHAPE), packed ? 3 : 5);
        if (packed) {
            const struct graph_node *linear = graph_node_get(g, 0);
            assert_int_equal(graph_param_get(g, linear->params[0])->part_count, 3);
            assert_int_equal(graph_param_get(g, linear->params[1])->part_count, 3);
        } else {
            assert_int_equal(test_only(g, OP_SDPA)->attrs.mode, SDPA_CAUSAL);
            assert_int_equal(test_only(g, OP_SDPA)->input_count, 3);
        }
        graph_destroy(g);
    }
}

static graph_value_id third(struct graph *g, graph_value_id x, int which) {
    struct op_attrs attrs = {.ints = {0, 0, which * C}};
    for (int i = 0; i < 3; i++) {
        attrs.ints[SLICE_STEP + i] = 1;
    }
    attrs.ints[SLICE_LENGTH] = 2;
    attrs.ints[SLICE_LENGTH + 1] = T;
    attrs.ints[SLICE_LENGTH + 2] = C;
    return test_node(g, OP_SLICE, &attrs, &x, 1, NULL, 0);
}

/* One product, cut in three (GPT-2). */
static void attention_of_a_cut_projection_needs_no_cut(void **state) {
    (void)state;
    for (size_t i = 0; i < SPELT; i++) {
        struct graph *g = test_graph();
        graph_value_id x = test_input(g, "x", SHAPE(2, T, C)), heads[3];
        x = projection(g, x, "w", "b", 3 * C);
        for (int part = 0; part < 3; part++) {
            heads[part] = split_heads(g, third(g, x, part), H);
        }
        test_output(g, attend(g, heads[0], heads[1], heads[2], &spelt[i]));
        g = test_optimised(g);
        const bool packed = spelt[i].mask < 2;
        assert_int_equal(test_count(g, OP_LINEAR), packed ? 1 : 3);
        assert_int_equal(test_count(g, packed ? OP_ATTENTION : OP_SDPA), 1);
        assert_int_equal(test_count(g, OP_TRANSPOSE) + test_count(g, OP_SLICE), 0);
        graph_destroy(g);
    }
}

/* x·cos + rotated(x)·sin, as Llama has it. */
static graph_value_id rotary(struct graph *g, graph_value_id x, int64_t heads) {
    const graph_value_id cosines = test_weight(g, "cos", SHAPE(1, 1, T, D));
    const graph_value_id sines = test_weight(g, "sin", SHAPE(1, 1, T, D));
    graph_value_id halves[2];
    for (int i = 0; i < 2; i++) {
        struct op_attrs attrs = {.ints = {0, 0, 0, i * D / 2}};
        const int64_t lengths[] = {2, heads, T, D / 2};
        for (int axis = 0; axis < 4; axis++) {
            attrs.ints[SLICE_STEP + axis] = 1;
            attrs.ints[SLICE_LENGTH + axis] = lengths[axis];
        }
        halves[i] = test_node(g, OP_SLICE, &attrs, &x, 1, NULL, 0);
    }
    const struct op_attrs last = {.axis = 3};
    const graph_value_id turned[] = {test_unary(g, UNARY_NEG, halves[1]), halves[0]};
    const graph_value_id rotated = test_node(g, OP_CONCAT, &last, turned, 2, NULL, 0);
    return test_binary(g, BINARY_ADD, test_binary(g, BINARY_MUL, x, cosines),
                       test_binary(g, BINARY_MUL, rotated, sines));
}

static graph_value_id repeat_heads(struct graph *g, graph_value_id x) {
    const struct op_attrs wide = {.axis = 5, .ints = {2, 1, 2, T, D}};
    x = test_reshape(g, x, SHAPE(2, 1, 1, T, D));
    x = test_node(g, OP_EXPAND, &wide, &x, 1, NULL, 0);
    return test_reshape(g, x, SHAPE(2, H, T, D));
}

static void rotary_grouped_attention_has_no_transposes(void **state) {
    (void)state;
    for (size_t i = 0; i < SPELT; i++) {
        struct graph *g = test_graph();
        const graph_value_id x = test_input(g, "x", SHAPE(2, T, C));
        const graph_value_id q = rotary(g, split_heads(g, test_linear(g, x, "wq", C), H), H);
        graph_value_id k = rotary(g, split_heads(g, test_linear(g, x, "wk", D), 1), 1);
        const graph_value_id v = split_heads(g, test_linear(g, x, "wv", D), 1);
        k = repeat_heads(g, k);
        test_output(g, attend(g, q, k, repeat_heads(g, v), &spelt[i]));
        g = test_optimised(g);
        const struct graph_node *sdpa = test_only(g, OP_SDPA);
        assert_int_equal(test_count(g, OP_TRANSPOSE) + test_count(g, OP_EXPAND), 0);
        assert_int_equal(graph_value_get(g, sdpa->inputs[1])->type.shape.dims[2], 1);
        graph_destroy(g);
    }
}

/* [B·H,T,D], as torch.nn.MultiheadAttention has it. */
static void attention_of_rank_three_is_found(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id q = test_input(g, "q", SHAPE(4, T, D));
    const graph_value_id k = test_input(g, "k", SHAPE(4, T, D));
    const graph_value_id v = test_input(g, "v", SHAPE(4, T, D));
    const struct op_attrs plain = {.scale = 1}, softmax = {.mode = SOFTMAX_EXP, .axis = 2};
    graph_value_id pair[] = {test_with(g, BINARY_MUL, q, 0.5),
                             test_transpose(g, k, ORDER(0, 2, 1))};
    graph_value_id y = test_node(g, OP_PRODUCT, &plain, pair, 2, NULL, 0);
    y = test_binary(g, BINARY_ADD, y, test_input(g, "mask", SHAPE(4, T, T)));
    pair[0] = test_node(g, OP_SOFTMAX, &softmax, &y, 1, NULL, 0);
    pair[1] = v;
    test_output(g, test_node(g, OP_PRODUCT, &plain, pair, 2, NULL, 0));
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g) - test_count(g, OP_RESHAPE), 1);
    (void)test_only(g, OP_SDPA);
    graph_destroy(g);
}

/* Scores that somebody else reads have to be there. */
static void attention_that_shows_its_weights_stays(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_input(g, "x", SHAPE(2, H, T, D));
    const struct op_attrs plain = {.scale = 1}, softmax = {.mode = SOFTMAX_EXP, .axis = 3};
    graph_value_id pair[] = {x, test_transpose(g, x, ORDER(0, 1, 3, 2))};
    const graph_value_id s = test_node(g, OP_PRODUCT, &plain, pair, 2, NULL, 0);
    pair[0] = test_node(g, OP_SOFTMAX, &softmax, &s, 1, NULL, 0);
    pair[1] = x;
    test_output(g, pair[0]);
    test_output(g, test_node(g, OP_PRODUCT, &plain, pair, 2, NULL, 0));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_SDPA), 0);
    assert_int_equal(test_count(g, OP_PRODUCT), 2);
    graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_go_into_linear),
        cmocka_unit_test(what_only_looks_like_an_activation_stays),
        cmocka_unit_test(layer_norms_are_found),
        cmocka_unit_test(a_norm_over_another_axis_stays),
        cmocka_unit_test(rms_norms_are_found),
        cmocka_unit_test(the_standards_layer_normalization_is_one_too),
        cmocka_unit_test(a_feed_forward_block_is_two_ops),
        cmocka_unit_test(residuals_have_one_owner),
        cmocka_unit_test(attention_of_three_projections_is_packed),
        cmocka_unit_test(attention_of_a_cut_projection_needs_no_cut),
        cmocka_unit_test(rotary_grouped_attention_has_no_transposes),
        cmocka_unit_test(attention_of_rank_three_is_found),
        cmocka_unit_test(attention_that_shows_its_weights_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
