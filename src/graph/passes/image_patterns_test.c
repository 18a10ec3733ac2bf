/* Convolutions and what is around them, as models with channels first are imported. */
#include "graph/passes/test_graph.h"

static graph_value_id pool(struct graph *g, graph_value_id x, enum pool_function function) {
    const struct op_attrs attrs = {.mode = (int32_t)function,
                                   .axis = 1,
                                   .ints = {[WINDOW_KERNEL] = 2,
                                            [WINDOW_KERNEL + 1] = 2,
                                            [WINDOW_STRIDE] = 2,
                                            [WINDOW_STRIDE + 1] = 2,
                                            [WINDOW_DILATION] = 1,
                                            [WINDOW_DILATION + 1] = 1}};
    return test_node(g, OP_POOL, &attrs, &x, 1, NULL, 0);
}

static graph_value_id block(struct graph *g, graph_value_id x, const char *name, int64_t outputs,
                            int64_t kernel) {
    return test_batch_norm(g, test_conv(g, x, name, outputs, kernel), name);
}

/* conv, norm, relu, conv, norm, add, relu; pool; flatten; product: five ops that compute, and one
 * transpose for the image. */
static void a_residual_network_keeps_one_transpose(void **state) {
    (void)state;
    struct graph *g = test_graph();
    graph_value_id x = test_input(g, "x", SHAPE(2, 3, 8, 8));
    x = test_unary(g, UNARY_RELU, block(g, x, "stem", 8, 3));
    x = pool(g, x, POOL_MAX);
    const graph_value_id before = block(g, x, "shortcut", 6, 1);
    x = test_unary(g, UNARY_RELU, block(g, x, "one", 6, 3));
    x = block(g, x, "two", 6, 3);
    x = test_unary(g, UNARY_RELU, test_binary(g, BINARY_ADD, x, before));
    x = test_mean(g, x, 12);
    x = test_linear(g, test_reshape(g, x, SHAPE(2, 6)), "fc", 4);
    test_output(g, test_binary(g, BINARY_ADD, x, test_weight(g, "fc.bias", SHAPE(4))));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_CONV2D), 4);
    assert_int_equal(test_count(g, OP_TRANSPOSE), 1);
    assert_int_equal(test_count(g, OP_LINEAR), 1);
    assert_int_equal(test_count(g, OP_POOL) + test_count(g, OP_REDUCE), 2);
    assert_int_equal(graph_node_count(g) - test_count(g, OP_RESHAPE), 8);
    uint32_t residuals = 0, activated = 0;
    for (graph_node_id id = 0; id < graph_node_count(g); id++) {
        const struct graph_node *node = graph_node_get(g, id);
        residuals += node->op == OP_CONV2D && node->input_count == 2;
        activated += node->op == OP_CONV2D && node->attrs.activation == ACTIVATION_RELU;
        assert_true(node->op != OP_POOL || node->attrs.axis == 3);
        assert_true(node->op != OP_CONV2D || node->param_count == 2);
    }
    assert_int_equal(residuals, 1);
    assert_int_equal(activated, 3);
    graph_destroy(g);
}

/* Flattened images: the matrix takes the transpose (VGG). */
static void a_flattened_image_permutes_the_matrix(void **state) {
    (void)state;
    struct graph *g = test_graph();
    graph_value_id x = test_conv(g, test_input(g, "x", SHAPE(2, 3, 4, 5)), "w", 6, 3);
    x = test_reshape(g, test_unary(g, UNARY_RELU, x), SHAPE(2, 120));
    test_output(g, test_linear(g, x, "fc", 7));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_TRANSPOSE), 1);
    assert_int_equal(test_count(g, OP_LINEAR), 1);
    assert_int_equal(graph_node_count(g), 4); /* and a reshape */
    graph_destroy(g);
}

/* Concatenated, sliced, padded, enlarged and squeezed-and-excited images keep channels last. */
static void what_lies_between_convolutions_takes_their_layout(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_conv(g, test_input(g, "x", SHAPE(2, 3, 4, 4)), "a", 6, 3);
    graph_value_id s = test_conv(g, test_mean(g, x, 12), "squeeze", 2, 1);
    s = test_conv(g, test_unary(g, UNARY_RELU, s), "excite", 6, 1);
    s = test_binary(g, BINARY_MUL, test_unary(g, UNARY_SIGMOID, s), x);
    const graph_value_id both[] = {test_unary(g, UNARY_TANH, x), s};
    const struct op_attrs channels = {.axis = 1};
    graph_value_id y = test_node(g, OP_CONCAT, &channels, both, 2, NULL, 0);
    y = test_binary(g, BINARY_ADD, y, test_weight(g, "per channel", SHAPE(12, 1, 1)));
    struct op_attrs slice = {.ints = {0, 2, 0, 0}}, pad = {.ints = {0, 0, 1, 2}};
    const int64_t lengths[] = {2, 8, 4, 4};
    for (int i = 0; i < 4; i++) {
        slice.ints[SLICE_STEP + i] = 1;
        slice.ints[SLICE_LENGTH + i] = lengths[i];
    }
    pad.ints[PAD_END + 2] = 1;
    pad.mode = PAD_EDGE;
    y = test_node(g, OP_SLICE, &slice, &y, 1, NULL, 0);
    y = test_node(g, OP_PAD, &pad, &y, 1, NULL, 0);
    const struct op_attrs softmax = {.mode = SOFTMAX_EXP, .axis = 1};
    y = test_node(g, OP_SOFTMAX, &softmax, &y, 1, NULL, 0);
    struct op_attrs resize = {
        .mode = RESIZE_NEAREST,
        .ints =
            {2, 8, 12,
             12, [RESIZE_COORDINATES_AT] = RESIZE_ASYMMETRIC, [RESIZE_ROUNDING_AT] = RESIZE_FLOOR},
        .floats = {1, 1, 2, 2}};
    y = test_node(g, OP_RESIZE, &resize, &y, 1, NULL, 0);
    test_output(g, test_conv(g, y, "b", 3, 3));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_TRANSPOSE), 2); /* in and out */
    graph_destroy(g);
}

/* Zeros around an image, constants per output on both sides of a convolution that has a bias. */
static void padding_scale_and_shift_go_into_the_convolution(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const struct op_attrs conv = {.stride = {2, 2}, .dilation = {1, 1}, .groups = 1};
    struct op_attrs pad = {.ints = {0, 1, 2, 0}};
    pad.ints[PAD_END + 1] = 3;
    graph_value_id x = test_input(g, "x", SHAPE(2, 6, 6, 3));
    x = test_node(g, OP_PAD, &pad, &x, 1, NULL, 0);
    const graph_param_id params[] = {test_param(g, "w", SHAPE(4, 3, 3, 3)),
                                     test_param(g, "b", SHAPE(4))};
    x = test_node(g, OP_CONV2D, &conv, &x, 1, params, 2);
    x = test_binary(g, BINARY_MUL, test_weight(g, "gain", SHAPE(4)), x);
    x = test_binary(g, BINARY_ADD, x, test_weight(g, "shift", SHAPE(1, 1, 1, 4)));
    test_output(g, test_unary(g, UNARY_SIGMOID, x));
    g = test_optimised(g);
    assert_int_equal(graph_node_count(g), 1);
    const struct op_attrs *attrs = &test_only(g, OP_CONV2D)->attrs;
    assert_true(attrs->pad[0] == 1 && attrs->pad[1] == 2 && attrs->pad[2] == 3 &&
                attrs->pad[3] == 0);
    graph_destroy(g);
}

/* A convolution that is read twice keeps its batch norm apart. */
static void a_convolution_read_twice_is_not_scaled(void **state) {
    (void)state;
    struct graph *g = test_graph();
    const graph_value_id x = test_conv(g, test_input(g, "x", SHAPE(2, 3, 4, 4)), "w", 5, 3);
    test_output(g, test_batch_norm(g, x, "n"));
    test_output(g, test_unary(g, UNARY_TANH, x));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_BATCH_NORM), 1);
    assert_int_equal(test_count(g, OP_CONV2D), 1);
    graph_destroy(g);
}

/* The patches of a ViT: convolution, [B,C,h·w], transposed. */
static void patches_need_no_transpose(void **state) {
    (void)state;
    struct graph *g = test_graph();
    graph_value_id x = test_conv(g, test_input(g, "x", SHAPE(2, 3, 4, 4)), "w", 5, 1);
    x = test_transpose(g, test_reshape(g, x, SHAPE(2, 5, 16)), ORDER(0, 2, 1));
    const graph_value_id both[] = {test_weight(g, "cls", SHAPE(2, 1, 5)), x};
    const struct op_attrs tokens = {.axis = 1};
    test_output(g, test_node(g, OP_CONCAT, &tokens, both, 2, NULL, 0));
    g = test_optimised(g);
    assert_int_equal(test_count(g, OP_TRANSPOSE), 1);
    graph_destroy(g);
}

/* ---- switches ---- */

static void every_pass_can_be_left_out(void **state) {
    (void)state;
    for (int pass = 0; pass < PASS_COUNT; pass++) {
        struct graph *g = test_graph();
        graph_value_id x = test_input(g, "x", SHAPE(2, 3, 4, 4));
        x = test_unary(g, UNARY_RELU, block(g, x, "one", 6, 3));
        x = block(g, pool(g, x, POOL_AVERAGE), "two", 6, 1);
        x = test_linear(g, test_reshape(g, x, SHAPE(2, 24)), "fc", 4);
        test_output(g, test_binary(g, BINARY_ADD, x, test_weight(g, "fc.bias", SHAPE(4))));
        g = test_optimised_without(g, 1U << pass);
        assert_true(pass != PASS_TRANSPOSES || test_count(g, OP_TRANSPOSE) > 2);
        assert_true(pass != PASS_CONV || test_count(g, OP_UNARY) == 1);
        assert_true(pass != PASS_LINEAR || test_count(g, OP_BINARY) == 1);
        graph_destroy(g);
    }
}

static void names_say_which_passes(void **state) {
    (void)state;
    uint32_t set = 0;
    struct shoal_error error = {.text = ""};
    assert_int_equal(pass_parse("conv,fold", &set, &error), SHOAL_OK);
    assert_int_equal(set, (1U << PASS_CONV) | (1U << PASS_FOLD));
    assert_int_equal(pass_parse("", &set, &error), SHOAL_OK);
    assert_int_equal(pass_parse("conv,folding", &set, &error), SHOAL_INVALID);
    assert_non_null(strstr(error.text, "folding"));
    assert_non_null(strstr(error.text, "transposes"));
    assert_int_equal(set, (1U << PASS_CONV) | (1U << PASS_FOLD));
    assert_int_equal(pass_parse("all", &set, &error), SHOAL_OK);
    assert_int_equal(set, PASS_ALL);
    for (int pass = 0; pass < PASS_COUNT; pass++) {
        set = 0;
        assert_int_equal(pass_parse(pass_name((enum pass)pass), &set, &error), SHOAL_OK);
        assert_int_equal(set, 1U << pass);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_residual_network_keeps_one_transpose),
        cmocka_unit_test(a_flattened_image_permutes_the_matrix),
        cmocka_unit_test(what_lies_between_convolutions_takes_their_layout),
        cmocka_unit_test(padding_scale_and_shift_go_into_the_convolution),
        cmocka_unit_test(a_convolution_read_twice_is_not_scaled),
        cmocka_unit_test(patches_need_no_transpose),
        cmocka_unit_test(every_pass_can_be_left_out),
        cmocka_unit_test(names_say_which_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
