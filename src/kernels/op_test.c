#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/kernel.h"

#include <string.h>

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

/* An op, its types, and what op_infer must say. Shapes of rank 0 end the lists. */
struct row {
    enum op op;
    struct op_attrs attrs;
    struct shape inputs[3], params[3];
    shoal_status status;
    struct shape output;
    double flops;
    const char *text; /* part of the error */
};

#define CONV .stride = {2, 2}, .dilation = {1, 1}, .groups = 1

static int types_of(const struct shape shapes[3], struct tensor_type types[3]) {
    int count = 0;
    while (count < 3 && shapes[count].rank > 0) {
        types[count] = f32(shapes[count]);
        count++;
    }
    return count;
}

/* Each line is a case; the table makes the function long. */
static void inference_accepts_and_refuses_as_documented(void **state) {
    (void)state;
    const struct row rows[] = {
        {OP_CONV2D,
         {CONV, .pad = {1, 1, 1, 1}},
         {SHAPE(2, 8, 9, 3)},
         {SHAPE(5, 3, 3, 3), SHAPE(5)},
         SHOAL_OK,
         SHAPE(2, 4, 5, 5),
         2.0 * 2 * 4 * 5 * 5 * 27,
         NULL},
        {OP_CONV2D,
         {CONV},
         {SHAPE(2, 8, 9, 3)},
         {SHAPE(5, 4, 3, 3)},
         SHOAL_MISMATCH,
         {0},
         0,
         "channels"},
        {OP_CONV2D,
         {CONV},
         {SHAPE(2, 8, 9, 3)},
         {SHAPE(5, 3, 3, 3), SHAPE(4)},
         SHOAL_MISMATCH,
         {0},
         0,
         "bias is not [O]: [4]"},
        {OP_CONV2D,
         {CONV},
         {SHAPE(2, 2, 9, 3)},
         {SHAPE(5, 3, 3, 3)},
         SHOAL_MISMATCH,
         {0},
         0,
         "larger than the padded input"},
        {OP_CONV2D,
         {.groups = 1},
         {SHAPE(2, 8, 9, 3)},
         {SHAPE(5, 3, 3, 3)},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "stride"},
        {OP_CONV2D,
         {CONV, .pad = {-1, 0, 0, 0}},
         {SHAPE(2, 8, 9, 3)},
         {SHAPE(5, 3, 3, 3)},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "padding"},
        {OP_TOKENS,
         {0},
         {SHAPE(2, 2, 3, 8)},
         {SHAPE(1, 8), SHAPE(7, 8)},
         SHOAL_OK,
         SHAPE(2, 7, 8),
         0,
         NULL},
        {OP_TOKENS,
         {0},
         {SHAPE(2, 6, 8)},
         {SHAPE(1, 8), SHAPE(6, 8)},
         SHOAL_MISMATCH,
         {0},
         0,
         "position"},
        {OP_TOKENS,
         {0},
         {SHAPE(2, 6, 8)},
         {SHAPE(1, 7), SHAPE(7, 8)},
         SHOAL_MISMATCH,
         {0},
         0,
         "prefix"},
        {OP_LAYER_NORM,
         {.epsilon = 1e-6F},
         {SHAPE(2, 8)},
         {SHAPE(8), SHAPE(8)},
         SHOAL_OK,
         SHAPE(2, 8),
         0,
         NULL},
        {OP_LAYER_NORM, {0}, {SHAPE(2, 8)}, {SHAPE(8), SHAPE(7)}, SHOAL_MISMATCH, {0}, 0, "beta"},
        {OP_LAYER_NORM,
         {.epsilon = -1},
         {SHAPE(2, 8)},
         {SHAPE(8), SHAPE(8)},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "epsilon"},
        {OP_LINEAR,
         {0},
         {SHAPE(2, 7, 8), SHAPE(2, 7, 5)},
         {SHAPE(5, 8), SHAPE(5)},
         SHOAL_OK,
         SHAPE(2, 7, 5),
         2.0 * 14 * 5 * 8,
         NULL},
        {OP_LINEAR,
         {0},
         {SHAPE(2, 7, 8)},
         {SHAPE(5, 9)},
         SHOAL_MISMATCH,
         {0},
         0,
         "[2,7,8] and [5,9]"},
        {OP_LINEAR,
         {0},
         {SHAPE(2, 7, 8), SHAPE(2, 7, 6)},
         {SHAPE(5, 8)},
         SHOAL_MISMATCH,
         {0},
         0,
         "residual"},
        {OP_LINEAR,
         {.activation = ACTIVATION_COUNT},
         {SHAPE(2, 8)},
         {SHAPE(5, 8)},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "activation"},
        {OP_LINEAR, {0}, {SHAPE(2, 8)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "0 params"},
        {OP_LINEAR, {0}, {SHAPE(0, 8)}, {SHAPE(5, 8)}, SHOAL_MISMATCH, {0}, 0, "empty"},
        {OP_ATTENTION,
         {.heads = 2},
         {SHAPE(3, 7, 24), SHAPE(3, 7)},
         {{0}},
         SHOAL_OK,
         SHAPE(3, 7, 8),
         4.0 * 3 * 7 * 7 * 8,
         NULL},
        {OP_ATTENTION, {.heads = 3}, {SHAPE(3, 7, 24)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "heads"},
        {OP_ATTENTION, {.heads = 0}, {SHAPE(3, 7, 24)}, {{0}}, SHOAL_UNSUPPORTED, {0}, 0, "heads"},
        {OP_ATTENTION,
         {.heads = 2},
         {SHAPE(3, 7, 24), SHAPE(3, 8)},
         {{0}},
         SHOAL_MISMATCH,
         {0},
         0,
         "mask"},
        {OP_ADD, {.scale = 1}, {SHAPE(3, 7), SHAPE(3, 7)}, {{0}}, SHOAL_OK, SHAPE(3, 7), 0, NULL},
        {OP_ADD, {.scale = 1}, {SHAPE(3, 7), SHAPE(7, 3)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "differ"},
        {OP_ACTIVATION,
         {.activation = ACTIVATION_RELU},
         {SHAPE(3)},
         {{0}},
         SHOAL_OK,
         SHAPE(3),
         0,
         NULL},
        {OP_SDPA,
         {.scale = 1},
         {SHAPE(3, 7, 6, 8), SHAPE(3, 5, 2, 8), SHAPE(3, 5, 2, 4)},
         {{0}},
         SHOAL_OK,
         SHAPE(3, 7, 6, 4),
         2.0 * 3 * 7 * 6 * 5 * (8 + 4),
         NULL},
        {OP_SDPA,
         {.scale = 1},
         {SHAPE(3, 7, 6, 8), SHAPE(3, 5, 4, 8), SHAPE(3, 5, 4, 8)},
         {{0}},
         SHOAL_MISMATCH,
         {0},
         0,
         "Hk dividing Hq"},
        {OP_SDPA,
         {.scale = 1},
         {SHAPE(3, 7, 6, 8), SHAPE(3, 5, 2, 8), SHAPE(3, 4, 2, 8)},
         {{0}},
         SHOAL_MISMATCH,
         {0},
         0,
         "not k [B,Tk,Hk,D] and v"},
        {OP_SDPA,
         {.scale = 1, .mode = 2},
         {SHAPE(3, 7, 6, 8), SHAPE(3, 7, 6, 8), SHAPE(3, 7, 6, 8)},
         {{0}},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "mode"},
        {OP_SDPA,
         {.scale = 1, .floats = {-1}},
         {SHAPE(3, 7, 6, 8), SHAPE(3, 7, 6, 8), SHAPE(3, 7, 6, 8)},
         {{0}},
         SHOAL_UNSUPPORTED,
         {0},
         0,
         "softcap"},
        {OP_SELECT, {.index = 6}, {SHAPE(3, 7, 2)}, {{0}}, SHOAL_OK, SHAPE(3, 2), 0, NULL},
        {OP_SELECT, {.index = 7}, {SHAPE(3, 7, 2)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "index"},
        {OP_MEAN_POOL, {0}, {SHAPE(3, 7, 2), SHAPE(3, 7)}, {{0}}, SHOAL_OK, SHAPE(3, 2), 0, NULL},
        {OP_MEAN_POOL, {0}, {SHAPE(3, 7, 2), SHAPE(3, 2)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "mask"},
        {OP_MEAN_POOL, {0}, {SHAPE(3, 7), SHAPE(3, 7)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "[B,T,C]"},
        {OP_NORMALISE, {.epsilon = 1e-12F}, {SHAPE(3, 7)}, {{0}}, SHOAL_OK, SHAPE(3, 7), 0, NULL},
        {OP_NORMALISE, {0}, {SHAPE(3, 7)}, {{0}}, SHOAL_UNSUPPORTED, {0}, 0, "epsilon"},
        {OP_MATMUL,
         {.transpose_a = true},
         {SHAPE(4, 3), SHAPE(4, 5)},
         {{0}},
         SHOAL_OK,
         SHAPE(3, 5),
         2.0 * 3 * 4 * 5,
         NULL},
        {OP_MATMUL,
         {.transpose_b = true},
         {SHAPE(3, 4), SHAPE(4, 5)},
         {{0}},
         SHOAL_MISMATCH,
         {0},
         0,
         "inner"},
        {OP_SUM_ROWS, {0}, {SHAPE(4, 3)}, {{0}}, SHOAL_OK, SHAPE(3), 0, NULL},
        {OP_SUM_ROWS, {0}, {SHAPE(4, 3, 2)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "[M,N]"},
        {OP_SGD, {.scale = 1}, {SHAPE(4), SHAPE(5)}, {{0}}, SHOAL_MISMATCH, {0}, 0, "differ"},
        {OP_ACTIVATION_GRAD, {0}, {SHAPE(4), SHAPE(4)}, {{0}}, SHOAL_OK, SHAPE(4), 0, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct tensor_type inputs[3];
        struct tensor_type params[3];
        const int input_count = types_of(row->inputs, inputs);
        const int param_count = types_of(row->params, params);
        const struct tensor_type untouched = f32(SHAPE(99));
        struct tensor_type outputs[OP_MAX_OUTPUTS] = {untouched, untouched};
        struct shoal_error error = {.text = ""};
        const shoal_status status = op_infer(row->op, &row->attrs, inputs, input_count, params,
                                             param_count, outputs, &error);
        if (status != row->status) {
            fail_msg("row %zu: status %d: %s", i, (int)status, error.text);
        }
        if (row->status != SHOAL_OK) {
            assert_true(shape_equal(&outputs[0].shape, &untouched.shape));
            assert_non_null(strstr(error.text, op_describe(row->op)->name));
            if (strstr(error.text, row->text) == NULL) {
                fail_msg("row %zu: \"%s\" lacks \"%s\"", i, error.text, row->text);
            }
            continue;
        }
        assert_true(shape_equal(&outputs[0].shape, &row->output));
        assert_true(op_flops(row->op, &row->attrs, inputs, input_count, params, param_count,
                             outputs) == row->flops);
    }
}

static void cross_entropy_takes_integer_labels_only(void **state) {
    (void)state;
    const struct op_attrs attrs = {.scale = 1};
    struct tensor_type inputs[2] = {f32(SHAPE(4, 3)), {DTYPE_I32, SHAPE(4)}};
    struct tensor_type outputs[2];
    assert_int_equal(op_infer(OP_CROSS_ENTROPY, &attrs, inputs, 2, NULL, 0, outputs, NULL),
                     SHOAL_OK);
    assert_true(shape_equal(&outputs[0].shape, &SHAPE(4)));
    assert_true(shape_equal(&outputs[1].shape, &SHAPE(4, 3)));
    inputs[1].dtype = DTYPE_F32;
    assert_int_equal(op_infer(OP_CROSS_ENTROPY, &attrs, inputs, 2, NULL, 0, outputs, NULL),
                     SHOAL_UNSUPPORTED);
}

static shoal_status infer_embed(const struct shape *types, const struct shape params[3],
                                int param_count, struct tensor_type *out,
                                struct shoal_error *error) {
    const struct op_attrs attrs = {0};
    struct tensor_type in[2] = {{DTYPE_I32, SHAPE(2, 6)}, {DTYPE_I32, SHAPE(1)}};
    struct tensor_type tables[3];
    if (types != NULL) {
        in[1].shape = *types;
    }
    for (int i = 0; i < 3; i++) {
        tables[i] = f32(params[i]);
    }
    return op_infer(OP_EMBED, &attrs, in, types != NULL ? 2 : 1, tables, param_count, out, error);
}

static void embeddings_take_integers_and_fitting_tables(void **state) {
    (void)state;
    const struct shape good[3] = {SHAPE(50, 4), SHAPE(8, 4), SHAPE(2, 4)};
    const struct shape types = SHAPE(2, 6), wrong = SHAPE(2, 5);
    struct tensor_type out[2];
    struct shoal_error error;
    assert_int_equal(infer_embed(&types, good, 3, out, &error), SHOAL_OK);
    assert_true(shape_equal(&out[0].shape, &SHAPE(2, 6, 4)));
    assert_int_equal(out[0].dtype, DTYPE_F32);
    assert_int_equal(infer_embed(NULL, good, 2, out, &error), SHOAL_OK);
    assert_int_equal(infer_embed(NULL, good, 3, out, &error), SHOAL_UNSUPPORTED);
    assert_int_equal(infer_embed(&types, good, 2, out, &error), SHOAL_UNSUPPORTED);
    assert_int_equal(infer_embed(&wrong, good, 3, out, &error), SHOAL_MISMATCH);
    const struct shape few[3] = {SHAPE(50, 4), SHAPE(5, 4), SHAPE(2, 4)};
    assert_int_equal(infer_embed(&types, few, 3, out, &error), SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "positions"));
    const struct shape narrow[3] = {SHAPE(50, 4), SHAPE(8, 4), SHAPE(2, 3)};
    assert_int_equal(infer_embed(&types, narrow, 3, out, &error), SHOAL_MISMATCH);
    const struct op_attrs attrs = {0};
    const struct tensor_type ids = f32(SHAPE(2, 6));
    const struct tensor_type tables[2] = {f32(good[0]), f32(good[1])};
    assert_int_equal(op_infer(OP_EMBED, &attrs, &ids, 1, tables, 2, out, &error),
                     SHOAL_UNSUPPORTED);
}

static void other_types_are_unsupported(void **state) {
    (void)state;
    const struct op_attrs attrs = {.scale = 1};
    const struct tensor_type inputs[2] = {{DTYPE_F16, SHAPE(4)}, {DTYPE_F16, SHAPE(4)}};
    struct tensor_type outputs[2];
    assert_int_equal(op_infer(OP_ADD, &attrs, inputs, 2, NULL, 0, outputs, NULL),
                     SHOAL_UNSUPPORTED);
}

static void names_are_found_again(void **state) {
    (void)state;
    for (int i = 0; i < OP_COUNT; i++) {
        enum op op = OP_COUNT;
        assert_true(op_parse(op_describe((enum op)i)->name, &op));
        assert_int_equal(op, i);
    }
    for (int i = 0; i < ACTIVATION_COUNT; i++) {
        enum activation activation = ACTIVATION_COUNT;
        assert_true(activation_parse(activation_name((enum activation)i), &activation));
        assert_int_equal(activation, i);
    }
    enum op op = OP_ADD;
    enum activation activation = ACTIVATION_RELU;
    assert_false(op_parse("nonsense", &op));
    assert_false(activation_parse("nonsense", &activation));
    assert_int_equal(op, OP_ADD);
    assert_int_equal(activation, ACTIVATION_RELU);
}

static void keys_tell_descs_apart(void **state) {
    (void)state;
    struct op_attrs attrs = {.activation = ACTIVATION_GELU_ERF};
    const struct tensor_type x = f32(SHAPE(8, 197, 768));
    const struct tensor_type params[2] = {f32(SHAPE(3072, 768)), f32(SHAPE(3072))};
    struct kernel_desc desc;
    char key[KERNEL_KEY_TEXT];
    char other[KERNEL_KEY_TEXT];
    assert_int_equal(kernel_describe(OP_LINEAR, &attrs, &x, 1, params, 2, 1, &desc, NULL),
                     SHOAL_OK);
    kernel_key(&desc, key);
    assert_string_equal(key, "linear x=f32[8,197,768] w=f32[3072,768],f32[3072] act=gelu t=1");
    assert_int_equal(kernel_describe(OP_LINEAR, &attrs, &x, 1, params, 2, 2, &desc, NULL),
                     SHOAL_OK);
    kernel_key(&desc, other);
    assert_string_not_equal(key, other);
    assert_int_equal(kernel_describe(OP_LINEAR, &attrs, &x, 1, params, 1, 1, &desc, NULL),
                     SHOAL_OK);
    kernel_key(&desc, other);
    assert_string_not_equal(key, other);
}

static void long_keys_end_in_a_hash(void **state) {
    (void)state;
    struct kernel_desc desc = {.op = OP_CONV2D, .input_count = 4, .param_count = 4, .threads = 1};
    for (int i = 0; i < 4; i++) {
        desc.inputs[i] = desc.params[i] =
            f32(SHAPE(1000001, 1000002, 1000003, 1000004, 1000005, 1000006, 1000007, 1000008));
    }
    char key[KERNEL_KEY_TEXT];
    char other[KERNEL_KEY_TEXT];
    kernel_key(&desc, key);
    desc.threads = 2; /* at the end, where the text was cut */
    kernel_key(&desc, other);
    assert_true(strlen(key) < KERNEL_KEY_TEXT);
    assert_string_not_equal(key, other);
}

static void describing_for_no_threads_is_invalid(void **state) {
    (void)state;
    const struct op_attrs attrs = {.scale = 1};
    const struct tensor_type inputs[2] = {f32(SHAPE(4)), f32(SHAPE(4))};
    struct kernel_desc desc;
    assert_int_equal(kernel_describe(OP_ADD, &attrs, inputs, 2, NULL, 0, 0, &desc, NULL),
                     SHOAL_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inference_accepts_and_refuses_as_documented),
        cmocka_unit_test(cross_entropy_takes_integer_labels_only),
        cmocka_unit_test(embeddings_take_integers_and_fitting_tables),
        cmocka_unit_test(other_types_are_unsupported),
        cmocka_unit_test(names_are_found_again),
        cmocka_unit_test(keys_tell_descs_apart),
        cmocka_unit_test(long_keys_end_in_a_hash),
        cmocka_unit_test(describing_for_no_threads_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
