#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/derived.h"
#include "graph/executor.h"
#include "models/model.h"

#include <stdio.h>
#include <string.h>

#define BATCH 2

static struct model_config builtin(const char *name) {
    struct model_config config;
    assert_int_equal(model_builtin(name, &config, NULL), SHOAL_OK);
    return config;
}

static struct graph *build(const struct model_config *config) {
    struct graph *graph = NULL;
    struct shoal_error error = {0};
    if (model_build(config, &graph, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return graph;
}

/* Params as torchvision counts them, less one per channel of a folded batch norm; blocks. */
static void parameters_and_segments_are_those_of_the_published_models(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t params;
        uint32_t segments;
    } expected[] = {{"mlp", 669706, 3},
                    {"lenet", 61706, 3},
                    {"vgg-11", 132863336, 11},
                    {"vgg-16", 138357544, 16},
                    {"resnet-18", 11689512 - 4800, 8},
                    /* and the constant filters of two shortcuts */
                    {"resnet-20", 269722 - 688 + 32 * 16 + 64 * 32, 9},
                    {"resnet-50", 25557032 - 26560, 16},
                    {"mobilenet-v2", 3504872 - 17056, 18},
                    {"squeezenet", 1248424, 9},
                    {"squeezenet-1.1", 1235496, 9}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct model_config config = builtin(expected[i].name);
        struct graph *graph = build(&config);
        const uint32_t segments = graph_segment_count(graph);
        const graph_value_id *outputs = NULL;
        assert_int_equal(segments, expected[i].segments);
        assert_int_equal(graph_param_bytes(graph, 1, segments), expected[i].params * sizeof(float));
        assert_int_equal(graph_outputs(graph, &outputs), 1);
        const struct shape *shape = &graph_value_get(graph, outputs[0])->type.shape;
        assert_true(shape->rank == 2 && shape->dims[1] == config.labels);
        for (uint32_t s = 1; s < segments; s++) { /* one value crosses, whatever branches */
            assert_int_equal(graph_crossing(graph, s, NULL, 0), 1);
        }
        graph_destroy(graph);
    }
}

static void expect_refused(struct model_config config, const char *named) {
    struct shoal_error error = {0};
    assert_int_equal(model_config_check(&config, &error), SHOAL_INVALID);
    if (strstr(error.text, named) == NULL) {
        fail_msg("\"%s\" does not name %s", error.text, named);
    }
}

static void what_there_is_not_is_refused(void **state) {
    (void)state;
    struct model_config c = builtin("resnet-50");
    c.layers = 51;
    expect_refused(c, "layers");
    c = builtin("resnet-50");
    c.hidden = INT64_MAX;
    expect_refused(c, "hidden");
    c = builtin("resnet-50");
    c.intermediate = 1;
    expect_refused(c, "intermediate");
    c = builtin("resnet-50");
    c.image_size = 1 << 20;
    expect_refused(c, "image_size");
    c = builtin("resnet-50");
    c.labels = 0;
    expect_refused(c, "labels");
    c = builtin("resnet-50");
    c.heads = 1;
    expect_refused(c, "heads");
    c = builtin("resnet-50");
    c.qkv_bias = true;
    expect_refused(c, "qkv_bias");
    c = builtin("resnet-50");
    c.layer_norm_eps = -1;
    expect_refused(c, "layer_norm_eps");
    c = builtin("vgg-16");
    c.image_size = 256;
    expect_refused(c, "224");
    c = builtin("mobilenet-v2");
    c.layers = 8;
    expect_refused(c, "layers");
    c = builtin("lenet");
    c.hidden = 5;
    expect_refused(c, "hidden");
    c = builtin("squeezenet");
    c.channels = 65;
    expect_refused(c, "channels");
    c = builtin("mlp");
    c.layers = 0;
    expect_refused(c, "layers");
}

/* Segments first..last with random weights and the kernels that are preferred. `in` and `out`: what
 * crosses. */
static void run_range(const struct graph *graph, uint32_t first, uint32_t last, int64_t batch,
                      int threads, const float *in, float *out) {
    struct shoal_error error = {0};
    const struct executor_options options = {
        .first = first, .last = last, .batch = batch, .threads = threads};
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *raw = NULL;
    assert_int_equal(executor_compile(graph, &options, &executor, &error), SHOAL_OK);
    assert_int_equal(weights_random_create(3, &raw, &error), SHOAL_OK);
    if (executor_weights_load(executor, raw, &weights, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(executor_slot_create(executor, &slot, &error), SHOAL_OK);
    const graph_value_id *ids = NULL;
    assert_int_equal(executor_inputs(executor, &ids), 1);
    const struct tensor x = executor_slot_tensor(slot, ids[0]);
    union {
        const void *given;
        void *taken;
    } data = {x.data}; /* the caller writes inputs */
    memcpy(data.taken, in, tensor_bytes(&x));
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, &error), SHOAL_OK);
    assert_int_equal(executor_outputs(executor, &ids), 1);
    const struct tensor y = executor_slot_tensor(slot, ids[0]);
    memcpy(out, y.data, tensor_bytes(&y));
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    raw->ops->destroy(raw);
}

/* A network in one piece, and cut in three: the same bits; and they say something. */
static void cuts_do_not_change_bits(void **state) {
    (void)state;
    static const char *const names[] = {"mlp",       "lenet",        "resnet-18",
                                        "resnet-20", "mobilenet-v2", "squeezenet-1.1"};
    static float pixels[BATCH * 64 * 64 * 3], values[2][BATCH * 64 * 64 * 64];
    float whole[BATCH * 10], cut[BATCH * 10];
    random_normal(random_stream(1, "pixels"), 0, 1.0F, pixels, sizeof pixels / sizeof *pixels);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct model_config config = builtin(names[i]);
        config.image_size = config.image_size > 64 ? 64 : config.image_size;
        config.labels = 10;
        struct graph *graph = build(&config);
        const uint32_t last = graph_segment_count(graph);
        run_range(graph, 1, last, BATCH, 1, pixels, whole);
        run_range(graph, 1, 1, BATCH, 1, pixels, values[0]);
        run_range(graph, 2, last - 1, BATCH, 1, values[0], values[1]);
        run_range(graph, last, last, BATCH, 1, values[1], cut);
        assert_memory_equal(whole, cut, sizeof whole);
        assert_memory_not_equal(whole, whole + 10, 10 * sizeof *whole);
        graph_destroy(graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_and_segments_are_those_of_the_published_models),
        cmocka_unit_test(what_there_is_not_is_refused),
        cmocka_unit_test(cuts_do_not_change_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
