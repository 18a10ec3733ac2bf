#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct model_config builtin(const char *name) {
    struct model_config config;
    assert_int_equal(model_builtin(name, &config, NULL), SHOAL_OK);
    return config;
}

static void expect_equal(const struct model_config *a, const struct model_config *b) {
    assert_int_equal(a->family, b->family);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->prefix, b->prefix);
    assert_true(a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads);
    assert_true(a->intermediate == b->intermediate && a->image_size == b->image_size);
    assert_true(a->patch_size == b->patch_size && a->channels == b->channels);
    assert_true(a->labels == b->labels && a->activation == b->activation);
    assert_memory_equal(&a->layer_norm_eps, &b->layer_norm_eps, sizeof(float));
    assert_true(a->qkv_bias == b->qkv_bias && a->distilled == b->distilled);
    assert_true(a->vocabulary == b->vocabulary && a->positions == b->positions);
    assert_true(a->types == b->types && a->length == b->length);
    assert_true(a->pooling == b->pooling && a->normalise == b->normalise);
    assert_true(a->gamma_beta == b->gamma_beta && a->precision == b->precision);
}

static void test_every_builtin_is_sound_and_round_trips(void **state) {
    (void)state;
    int count = 0;
    for (const char *const *name = model_builtin_names(); *name != NULL; name++, count++) {
        struct model_config config = builtin(*name);
        config.precision = (enum precision)(count % PRECISION_COUNT);
        assert_string_equal(config.name, *name);
        assert_int_equal(model_config_check(&config, NULL), SHOAL_OK);
        char *text = NULL;
        struct model_config back;
        assert_int_equal(model_config_to_json(&config, &text, NULL), SHOAL_OK);
        assert_int_equal(model_config_from_json(text, strlen(text), &back, NULL), SHOAL_OK);
        expect_equal(&config, &back);
        mem_free(text);
    }
    assert_int_equal(count, 30);
}

static void test_an_unknown_builtin_lists_the_known(void **state) {
    (void)state;
    struct model_config config = {0};
    struct shoal_error error;
    assert_int_equal(model_builtin("vit-giant", &config, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "vit-giant"));
    for (const char *const *name = model_builtin_names(); *name != NULL; name++) {
        assert_non_null(strstr(error.text, *name));
    }
    assert_int_equal(config.hidden, 0);
}

/* Replaces one text of the JSON of a good model by another, and reads the result. */
static shoal_status read_with(const char *from, const char *to, struct shoal_error *error) {
    const struct model_config config = builtin("vit-test");
    char *text = NULL;
    assert_int_equal(model_config_to_json(&config, &text, NULL), SHOAL_OK);
    char *at = strstr(text, from);
    assert_non_null(at);
    char *changed = mem_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_non_null(changed);
    struct model_config back;
    const shoal_status status = model_config_from_json(changed, strlen(changed), &back, error);
    mem_free(text);
    mem_free(changed);
    return status;
}

static void expect_refused(const char *from, const char *to, shoal_status expected,
                           const char *named) {
    struct shoal_error error;
    assert_int_equal(read_with(from, to, &error), expected);
    if (strstr(error.text, named) == NULL) {
        fail_msg("\"%s\" does not name %s", error.text, named);
    }
}

static void test_hostile_json_is_refused_naming_the_key(void **state) {
    (void)state;
    struct shoal_error error;
    assert_int_equal(read_with("\"hidden\":32", "\"hidden\":32", &error), SHOAL_OK);
    expect_refused("\"hidden\":32", "\"hidden\":32,\"extra\":1", SHOAL_CORRUPT, "extra");
    expect_refused("\"hidden\":32,", "", SHOAL_CORRUPT, "hidden");
    expect_refused("\"hidden\":32", "\"hidden\":\"32\"", SHOAL_CORRUPT, "hidden");
    expect_refused("\"hidden\":32", "\"hidden\":32.0", SHOAL_CORRUPT, "hidden");
    expect_refused("\"hidden\":32", "\"hidden\":32,\"hidden\":64", SHOAL_CORRUPT, "duplicate");
    expect_refused("\"hidden\":32", "\"hidden\":0", SHOAL_INVALID, "hidden");
    expect_refused("\"hidden\":32", "\"hidden\":33", SHOAL_INVALID, "heads");
    expect_refused("\"layers\":3", "\"layers\":1152921504606846976", SHOAL_INVALID, "layers");
    expect_refused("\"layers\":3", "\"layers\":99999999999999999999", SHOAL_CORRUPT, "too big");
    expect_refused("\"heads\":4", "\"heads\":-4", SHOAL_INVALID, "heads");
    expect_refused("\"intermediate\":64", "\"intermediate\":-1", SHOAL_INVALID, "intermediate");
    expect_refused("\"image_size\":32", "\"image_size\":1073741824", SHOAL_INVALID, "image_size");
    expect_refused("\"image_size\":32", "\"image_size\":8192", SHOAL_INVALID,
                   "image_size / patch_size");
    expect_refused("\"patch_size\":8", "\"patch_size\":0", SHOAL_INVALID, "patch_size");
    expect_refused("\"patch_size\":8", "\"patch_size\":33", SHOAL_INVALID, "patch_size");
    expect_refused("\"channels\":3", "\"channels\":0", SHOAL_INVALID, "channels");
    expect_refused("\"labels\":10", "\"labels\":-10", SHOAL_INVALID, "labels");
    expect_refused("\"qkv_bias\":true", "\"qkv_bias\":1", SHOAL_CORRUPT, "qkv_bias");
    expect_refused("\"distilled\":false", "\"distilled\":true", SHOAL_INVALID, "distilled");
    expect_refused("\"activation\":\"gelu\"", "\"activation\":\"swish\"", SHOAL_CORRUPT,
                   "activation");
    expect_refused("\"family\":\"vit\"", "\"family\":\"gpt\"", SHOAL_CORRUPT, "family");
    expect_refused("\"name\":\"vit-test\"", "\"name\":7", SHOAL_CORRUPT, "name");
    expect_refused("\"name\":\"vit-test\"", "\"name\":\"a\\u001b[2J\"", SHOAL_INVALID, "name");
    expect_refused(
        "\"prefix\":\"vit.\"",
        "\"prefix\":\"0123456789012345678901234567890123456789012345678901234567890123\"",
        SHOAL_CORRUPT, "prefix");
    expect_refused("\"layer_norm_eps\":", "\"layer_norm_eps\":1e300,\"x\":", SHOAL_CORRUPT, "x");
}

/* BERT-Base's numbers, at a longest length of so many tokens. */
static struct model_config bert(int64_t length) {
    return (struct model_config){.family = MODEL_BERT,
                                 .name = "bert",
                                 .prefix = "bert.",
                                 .hidden = 768,
                                 .layers = 12,
                                 .heads = 12,
                                 .intermediate = 3072,
                                 .vocabulary = 30522,
                                 .positions = 512,
                                 .types = 2,
                                 .length = length,
                                 .labels = 2,
                                 .layer_norm_eps = 1e-12F,
                                 .activation = ACTIVATION_GELU_ERF,
                                 .qkv_bias = true,
                                 .pooling = MODEL_POOL_POOLER};
}

static void test_text_models_round_trip_and_are_checked(void **state) {
    (void)state;
    const struct model_config good = bert(512);
    struct model_config config = good, back;
    char *text = NULL;
    assert_int_equal(model_config_to_json(&config, &text, NULL), SHOAL_OK);
    assert_int_equal(model_config_from_json(text, strlen(text), &back, NULL), SHOAL_OK);
    expect_equal(&config, &back);
    mem_free(text);
#define EXPECT_INVALID(change)                                              \
    do {                                                                    \
        config = good;                                                      \
        config.change;                                                      \
        assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID); \
    } while (0)
    EXPECT_INVALID(vocabulary = 0);
    EXPECT_INVALID(vocabulary = INT64_C(1) << 40);
    EXPECT_INVALID(positions = 511); /* less than the length */
    EXPECT_INVALID(positions = INT64_C(1) << 40);
    EXPECT_INVALID(types = 0);
    EXPECT_INVALID(length = 0);
    EXPECT_INVALID(image_size = 224);
    EXPECT_INVALID(channels = 3);
    EXPECT_INVALID(distilled = true);
    EXPECT_INVALID(qkv_bias = false);
    EXPECT_INVALID(pooling = MODEL_POOL_MEAN); /* labels want the pooler */
    EXPECT_INVALID(pooling = MODEL_POOLING_COUNT);
    EXPECT_INVALID(normalise = true);
#undef EXPECT_INVALID
    config = builtin("vit-test");
    config.gamma_beta = true;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    config.length = 32;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    config.pooling = MODEL_POOL_MEAN;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
}

static void test_inputs_are_the_graphs(void **state) {
    (void)state;
    struct model_input inputs[MODEL_MAX_INPUTS];
    struct model_config config = builtin("vit-test");
    assert_int_equal(model_inputs(&config, inputs), 1);
    assert_string_equal(inputs[0].name, "pixel_values");
    assert_true(shape_equal(&inputs[0].type.shape, &SHAPE(GRAPH_BATCH, 32, 32, 3)));
    config = bert(128);
    assert_int_equal(model_inputs(&config, inputs), 3);
    assert_string_equal(inputs[0].name, "input_ids");
    assert_int_equal(inputs[0].type.dtype, DTYPE_I32);
    assert_int_equal(inputs[0].limit, 30522);
    assert_int_equal(inputs[1].limit, 2);
    assert_string_equal(inputs[2].name, "attention_mask");
    assert_int_equal(inputs[2].type.dtype, DTYPE_F32);
    assert_true(shape_equal(&inputs[2].type.shape, &SHAPE(GRAPH_BATCH, 128)));

    struct shoal_error error;
    int32_t ids[3] = {0, 30521, 5};
    assert_int_equal(model_input_check(&inputs[0], ids, 3, &error), SHOAL_OK);
    ids[2] = 30522;
    assert_int_equal(model_input_check(&inputs[0], ids, 3, &error), SHOAL_PROTOCOL);
    assert_non_null(strstr(error.text, "input_ids: value 2 is 30522"));
    ids[2] = -1;
    assert_int_equal(model_input_check(&inputs[0], ids, 3, &error), SHOAL_PROTOCOL);
}

static void test_lengths_double_up_to_the_longest(void **state) {
    (void)state;
    int64_t lengths[MODEL_MAX_LENGTHS];
    struct model_config config = bert(512);
    assert_int_equal(model_lengths(&config, lengths), 5);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(lengths[i], 32 << i);
    }
    assert_int_equal(model_length_for(&config, 1), 32);
    assert_int_equal(model_length_for(&config, 32), 32);
    assert_int_equal(model_length_for(&config, 33), 64);
    assert_int_equal(model_length_for(&config, 9999), 512);
    config.length = 200;
    assert_int_equal(model_lengths(&config, lengths), 4);
    assert_int_equal(lengths[3], 200);
    config.length = 7;
    assert_int_equal(model_lengths(&config, lengths), 1);
    assert_int_equal(lengths[0], 7);
    config.length = 65536;
    assert_int_equal(model_lengths(&config, lengths), 12);
    config = builtin("vit-test");
    assert_int_equal(model_lengths(&config, lengths), 1);
    assert_int_equal(lengths[0], 0);
}

static void test_what_is_no_json_object_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"", "[]", "{", "null", "{\"hidden\":}", "\xff\xfe"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct model_config config = {0};
        assert_int_equal(model_config_from_json(texts[i], strlen(texts[i]), &config, NULL),
                         SHOAL_CORRUPT);
    }
}

static void test_check_sees_what_json_cannot_say(void **state) {
    (void)state;
    struct model_config config = builtin("vit-test");
    config.layer_norm_eps = NAN;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    config.layer_norm_eps = -1;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    config.family = (enum model_family)99;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    config.activation = (enum activation)99;
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    config = builtin("vit-test");
    memset(config.name, 'x', sizeof config.name);
    assert_int_equal(model_config_check(&config, NULL), SHOAL_INVALID);
    struct graph *graph = NULL;
    assert_int_equal(model_build(&config, &graph, NULL), SHOAL_INVALID);
    assert_null(graph);
}

static void test_out_of_memory_anywhere(void **state) {
    (void)state;
    const struct model_config config = builtin("deit-test-distilled");
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 1;
    for (; n < 1000 && status != SHOAL_OK; n++) {
        struct graph *graph = NULL;
        char *text = NULL;
        mem_fail_after(n);
        status = model_build(&config, &graph, NULL);
        if (status == SHOAL_OK) {
            status = model_config_to_json(&config, &text, NULL);
        }
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
        graph_destroy(graph);
        mem_free(text);
    }
    assert_int_equal(status, SHOAL_OK);
    assert_true(n > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_builtin_is_sound_and_round_trips),
        cmocka_unit_test(test_an_unknown_builtin_lists_the_known),
        cmocka_unit_test(test_hostile_json_is_refused_naming_the_key),
        cmocka_unit_test(test_text_models_round_trip_and_are_checked),
        cmocka_unit_test(test_inputs_are_the_graphs),
        cmocka_unit_test(test_lengths_double_up_to_the_longest),
        cmocka_unit_test(test_what_is_no_json_object_is_refused),
        cmocka_unit_test(test_check_sees_what_json_cannot_say),
        cmocka_unit_test(test_out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
