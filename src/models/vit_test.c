#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/executor.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define BATCH 2
#define SEED 42

static struct kernel_choice *choice; /* whose default a test sets */

static int setup(void **state) {
    (void)state;
    return kernel_choice_create(&choice, NULL) == SHOAL_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    kernel_choice_destroy(choice);
    return 0;
}

static struct graph *build(const struct model_config *config) {
    struct graph *graph = NULL;
    struct shoal_error error = {0};
    if (model_build(config, &graph, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return graph;
}

static struct graph *build_named(const char *name) {
    struct model_config config;
    assert_int_equal(model_builtin(name, &config, NULL), SHOAL_OK);
    return build(&config);
}

static void test_segments_and_sizes_of_the_published_models(void **state) {
    (void)state;
    /* Parameters as published with each model's card; crossing values in f32 elements of one image.
     */
    static const struct {
        const char *name;
        uint32_t segments;
        size_t params;
        int64_t tokens, hidden, intermediate;
    } expected[] = {
        {"vit-base", 48, 86567656, 197, 768, 3072},
        {"vit-large", 96, 304326632, 197, 1024, 4096},
        {"vit-huge", 128, 632045800, 257, 1280, 5120},
        {"deit-tiny", 48, 5717416, 197, 192, 768},
        {"deit-small-distilled", 48, 22436432, 198, 384, 1536},
        {"deit-base-distilled", 48, 87338192, 198, 768, 3072},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct graph *graph = build_named(expected[i].name);
        const uint32_t segments = expected[i].segments;
        assert_int_equal(graph_segment_count(graph), segments);
        assert_int_equal(graph_param_bytes(graph, 1, segments), expected[i].params * sizeof(float));
        const size_t rows = (size_t)expected[i].tokens * sizeof(float);
        const size_t x = rows * (size_t)expected[i].hidden;
        const size_t wide = rows * (size_t)expected[i].intermediate;
        assert_int_equal(graph_crossing_bytes(graph, 0, 1), sizeof(float) * 3 * 224 * 224);
        for (uint32_t s = 1; s < segments; s++) {
            const size_t by_kind[] = {x, 2 * x, x, wide + x};
            assert_int_equal(graph_crossing_bytes(graph, s, 1), by_kind[s % 4]);
        }
        assert_int_equal(graph_crossing_bytes(graph, segments, 1), 1000 * sizeof(float));
        graph_destroy(graph);
    }
}

static void test_flops_of_vit_base(void **state) {
    (void)state;
    struct graph *graph = build_named("vit-base");
    const double t = 197, c = 768;
    const double layer =
        2 * t * c * (3 * c) + 4 * t * t * c + 2 * t * c * c + 2 * 2 * t * c * (4 * c);
    assert_true(graph_flops(graph, 1, 48, 8) ==
                8 * (2.0 * 196 * c * 768 + 12 * layer + 2 * c * 1000));
    graph_destroy(graph);
}

static bool has_part(const struct graph *graph, const char *name, struct shape shape) {
    for (uint32_t p = 0; p < graph_param_count(graph); p++) {
        const struct graph_param *param = graph_param_get(graph, p);
        for (uint32_t i = 0; i < param->part_count; i++) {
            if (strcmp(param->parts[i].name, name) == 0) {
                return shape_equal(&param->parts[i].shape, &shape);
            }
        }
    }
    return false;
}

static uint32_t count_parts(const struct graph *graph) {
    uint32_t count = 0;
    for (uint32_t p = 0; p < graph_param_count(graph); p++) {
        count += graph_param_get(graph, p)->part_count;
    }
    return count;
}

/* What transformers writes for a layer of width 32, MLP 64. */
static void expect_layer_names(const struct graph *graph, const char *prefix, int layer) {
    static const struct {
        const char *name;
        int64_t rows, columns;
    } tensors[] = {
        {"attention.attention.query", 32, 32}, {"attention.attention.key", 32, 32},
        {"attention.attention.value", 32, 32}, {"attention.output.dense", 32, 32},
        {"layernorm_before", 32, 0},           {"layernorm_after", 32, 0},
        {"intermediate.dense", 64, 32},        {"output.dense", 32, 64},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[128];
        const struct shape bias = SHAPE(tensors[i].rows);
        const struct shape matrix = SHAPE(tensors[i].rows, tensors[i].columns);
        (void)snprintf(name, sizeof name, "%sencoder.layer.%d.%s.weight", prefix, layer,
                       tensors[i].name);
        assert_true(has_part(graph, name, tensors[i].columns > 0 ? matrix : bias));
        (void)snprintf(name, sizeof name, "%sencoder.layer.%d.%s.bias", prefix, layer,
                       tensors[i].name);
        assert_true(has_part(graph, name, bias));
    }
}

static void test_weight_names_are_those_of_transformers(void **state) {
    (void)state;
    struct graph *graph = build_named("vit-test");
    assert_int_equal(count_parts(graph), 4 + 3 * 16 + 2 + 2);
    assert_true(has_part(graph, "vit.embeddings.cls_token", SHAPE(1, 1, 32)));
    assert_true(has_part(graph, "vit.embeddings.position_embeddings", SHAPE(1, 17, 32)));
    assert_true(
        has_part(graph, "vit.embeddings.patch_embeddings.projection.weight", SHAPE(32, 3, 8, 8)));
    assert_true(has_part(graph, "vit.embeddings.patch_embeddings.projection.bias", SHAPE(32)));
    for (int i = 0; i < 3; i++) {
        expect_layer_names(graph, "vit.", i);
    }
    assert_true(has_part(graph, "vit.layernorm.weight", SHAPE(32)));
    assert_true(has_part(graph, "classifier.weight", SHAPE(10, 32)));
    assert_true(has_part(graph, "classifier.bias", SHAPE(10)));
    graph_destroy(graph);

    graph = build_named("deit-test-distilled");
    assert_int_equal(count_parts(graph), 5 + 2 * 16 + 2 + 4);
    assert_true(has_part(graph, "deit.embeddings.distillation_token", SHAPE(1, 1, 32)));
    assert_true(has_part(graph, "deit.embeddings.position_embeddings", SHAPE(1, 18, 32)));
    expect_layer_names(graph, "deit.", 1);
    assert_true(has_part(graph, "cls_classifier.weight", SHAPE(10, 32)));
    assert_true(has_part(graph, "distillation_classifier.bias", SHAPE(10)));
    graph_destroy(graph);
}

static void test_variants(void **state) {
    (void)state;
    struct model_config config;
    assert_int_equal(model_builtin("vit-test", &config, NULL), SHOAL_OK);
    config.labels = 0; /* a ViTModel: no classifier, no prefix */
    config.prefix[0] = '\0';
    config.qkv_bias = false;
    struct graph *graph = build(&config);
    assert_int_equal(count_parts(graph), 4 + 3 * 13 + 2);
    assert_true(has_part(graph, "embeddings.cls_token", SHAPE(1, 1, 32)));
    assert_false(has_part(graph, "encoder.layer.0.attention.attention.query.bias", SHAPE(32)));
    const graph_value_id *outputs = NULL;
    assert_int_equal(graph_outputs(graph, &outputs), 1);
    assert_string_equal(graph_value_get(graph, outputs[0])->name, "embedding");
    const struct tensor_type type = graph_resolve(graph_value_get(graph, outputs[0])->type, 5);
    assert_true(shape_equal(&type.shape, &SHAPE(5, 32)));
    graph_destroy(graph);

    assert_int_equal(model_builtin("deit-test-distilled", &config, NULL), SHOAL_OK);
    config.distilled = false; /* DeiTForImageClassification: both tokens, one classifier */
    graph = build(&config);
    assert_true(has_part(graph, "deit.embeddings.distillation_token", SHAPE(1, 1, 32)));
    assert_true(has_part(graph, "classifier.weight", SHAPE(10, 32)));
    graph_destroy(graph);

    assert_int_equal(model_builtin("vit-test", &config, NULL), SHOAL_OK);
    config.layers = 1;      /* the first layer is also the last */
    config.image_size = 35; /* pixels beyond the last whole patch are not looked at */
    graph = build(&config);
    assert_int_equal(graph_segment_count(graph), 4);
    assert_true(
        shape_equal(&graph_value_get(graph, 0)->type.shape, &SHAPE(GRAPH_BATCH, 35, 35, 3)));
    graph_destroy(graph);
}

/* Values on their way between stages: at most two. */
struct message {
    uint32_t count;
    graph_value_id ids[4];
    float *data[4];
};

static void free_message(struct message *message) {
    for (uint32_t i = 0; i < message->count; i++) {
        mem_free(message->data[i]);
    }
    message->count = 0;
}

static void run_stage(const struct graph *graph, uint32_t first, uint32_t last,
                      struct message *message) {
    const struct executor_options options = {first, last, BATCH, 1, choice, 0};
    struct executor *executor = NULL;
    struct weight_source *source = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    assert_int_equal(executor_compile(graph, &options, &executor, NULL), SHOAL_OK);
    assert_int_equal(weights_random_create(SEED, &source, NULL), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, source, &weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    const graph_value_id *ids = NULL;
    uint32_t count = executor_inputs(executor, &ids);
    assert_int_equal(count, message->count);
    for (uint32_t i = 0; i < message->count; i++) {
        const struct tensor tensor = executor_slot_tensor(slot, ids[i]);
        assert_int_equal(ids[i], message->ids[i]);
        memcpy(tensor.data, message->data[i], tensor_bytes(&tensor));
    }
    free_message(message);
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);
    count = executor_outputs(executor, &ids);
    assert_true(count <= 4);
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor tensor = executor_slot_tensor(slot, ids[i]);
        message->ids[i] = ids[i];
        message->data[i] = mem_alloc(tensor_bytes(&tensor));
        memcpy(message->data[i], tensor.data, tensor_bytes(&tensor));
    }
    message->count = count;
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    source->ops->destroy(source);
}

/* Runs the model split after the given segments; result [BATCH,10]. */
static void run_split(const struct graph *graph, const uint32_t *cuts, int cut_count,
                      float result[BATCH * 10]) {
    const size_t pixels = (size_t)BATCH * 32 * 32 * 3;
    struct message message = {.count = 1, .ids = {0}};
    message.data[0] = mem_alloc(pixels * sizeof(float));
    random_normal(random_stream(SEED, "pixels"), 0, 1, message.data[0], pixels);
    uint32_t first = 1;
    for (int i = 0; i < cut_count; i++) {
        run_stage(graph, first, cuts[i], &message);
        first = cuts[i] + 1;
    }
    run_stage(graph, first, graph_segment_count(graph), &message);
    memcpy(result, message.data[0], sizeof(float) * BATCH * 10);
    free_message(&message);
}

static void use_set(const struct kernel_ops *set) {
    assert_int_equal(kernel_choice_set_default(choice, set->name, NULL), SHOAL_OK);
}

static void test_every_cut_gives_the_same_bits(void **state) {
    (void)state;
    static const char *const names[] = {"vit-test", "deit-test-distilled"};
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        use_set(*set);
        for (int m = 0; m < 2; m++) {
            struct graph *graph = build_named(names[m]);
            float whole[BATCH * 10], parts[BATCH * 10];
            run_split(graph, NULL, 0, whole);
            assert_true(whole[0] != whole[10] && whole[0] != whole[1]); /* says something */
            for (uint32_t cut = 1; cut < graph_segment_count(graph); cut++) {
                run_split(graph, &cut, 1, parts);
                assert_memory_equal(whole, parts, sizeof whole);
            }
            graph_destroy(graph);
        }
    }
}

static void test_kernel_sets_agree(void **state) {
    (void)state;
    struct graph *graph = build_named("deit-test-distilled");
    float expected[BATCH * 10], found[BATCH * 10];
    use_set(&kernel_reference_ops);
    run_split(graph, NULL, 0, expected);
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        use_set(*set);
        run_split(graph, NULL, 0, found);
        for (int i = 0; i < BATCH * 10; i++) {
            assert_true(fabsf(found[i] - expected[i]) < 1e-5F);
        }
    }
    graph_destroy(graph);
}

static void test_every_split_in_three_gives_the_same_bits(void **state) {
    (void)state;
    struct graph *graph = build_named("deit-test-distilled");
    float whole[BATCH * 10], parts[BATCH * 10];
    use_set(&kernel_reference_ops);
    run_split(graph, NULL, 0, whole);
    for (uint32_t a = 1; a < graph_segment_count(graph); a++) {
        for (uint32_t b = a + 1; b < graph_segment_count(graph); b++) {
            run_split(graph, (uint32_t[]){a, b}, 2, parts);
            assert_memory_equal(whole, parts, sizeof whole);
        }
    }
    uint32_t all[7];
    for (uint32_t i = 0; i < 7; i++) {
        all[i] = i + 1;
    }
    run_split(graph, all, 7, parts);
    assert_memory_equal(whole, parts, sizeof whole);
    graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_and_sizes_of_the_published_models),
        cmocka_unit_test(test_flops_of_vit_base),
        cmocka_unit_test(test_weight_names_are_those_of_transformers),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_every_cut_gives_the_same_bits),
        cmocka_unit_test(test_kernel_sets_agree),
        cmocka_unit_test(test_every_split_in_three_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
