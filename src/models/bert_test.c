#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/executor.h"
#include "kernels/isa.h"
#include "models/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ITEMS 3
#define SEED 42
#define LABELS 3
#define LONGEST 128

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

static struct graph *build_length(int64_t length) {
    struct model_config config = builtin("bert-test");
    config.length = length;
    return build(&config);
}

static void test_segments_and_sizes_of_the_published_models(void **state) {
    (void)state;
    /* Parameters as in the published files, with a classifier of two labels or without the pooler.
     */
    static const struct {
        const char *name;
        uint32_t segments;
        size_t params;
        int64_t tokens, hidden;
    } expected[] = {
        {"bert-base", 48, 109482240 + 2 * 769, 512, 768},
        {"bert-large", 96, 335141888 + 2 * 1025, 512, 1024},
        {"bert-tiny", 8, 4385920 + 2 * 129, 512, 128},
        {"minilm-l6", 24, 22713216 - 385 * 384, 256, 384},
        {"minilm-l12", 48, 33360000 - 385 * 384, 128, 384},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct model_config config = builtin(expected[i].name);
        struct graph *graph = build(&config);
        const uint32_t segments = expected[i].segments;
        assert_int_equal(graph_segment_count(graph), segments);
        assert_int_equal(graph_param_bytes(graph, 1, segments), expected[i].params * sizeof(float));
        const size_t rows = (size_t)expected[i].tokens * sizeof(float);
        const size_t x = rows * (size_t)expected[i].hidden;
        assert_int_equal(graph_crossing_bytes(graph, 0, 1), 3 * rows);
        for (uint32_t s = 1; s < segments; s++) {
            const bool masked = config.pooling == MODEL_POOL_MEAN || s <= segments - 4;
            const size_t by_kind[] = {x, 2 * x, x, 5 * x};
            assert_int_equal(graph_crossing_bytes(graph, s, 1),
                             by_kind[s % 4] + (masked ? rows : 0));
        }
        graph_destroy(graph);
    }
}

static void test_flops_of_bert_base(void **state) {
    (void)state;
    struct model_config config = builtin("bert-base");
    config.length = 128;
    struct graph *graph = build(&config);
    const double t = 128, c = 768;
    const double layer =
        2 * t * c * (3 * c) + 4 * t * t * c + 2 * t * c * c + 2 * 2 * t * c * (4 * c);
    assert_true(graph_flops(graph, 1, 48, 8) == 8 * (12 * layer + 2 * c * c + 2 * c * 2));
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

static void test_weight_names_are_those_of_transformers(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int64_t rows, columns;
    } matrices[] = {
        {"attention.self.query", 32, 32},
        {"attention.self.key", 32, 32},
        {"attention.self.value", 32, 32},
        {"attention.output.dense", 32, 32},
        {"attention.output.LayerNorm", 32, 0},
        {"intermediate.dense", 64, 32},
        {"output.dense", 32, 64},
        {"output.LayerNorm", 32, 0},
    };
    struct graph *graph = build_length(64);
    assert_int_equal(count_parts(graph), 5 + 3 * 16 + 2 + 2);
    assert_true(has_part(graph, "bert.embeddings.word_embeddings.weight", SHAPE(120, 32)));
    assert_true(has_part(graph, "bert.embeddings.position_embeddings.weight", SHAPE(128, 32)));
    assert_true(has_part(graph, "bert.embeddings.token_type_embeddings.weight", SHAPE(2, 32)));
    assert_true(has_part(graph, "bert.embeddings.LayerNorm.bias", SHAPE(32)));
    for (int layer = 0; layer < 3; layer++) {
        for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
            char name[128];
            const struct shape bias = SHAPE(matrices[i].rows);
            const struct shape matrix = SHAPE(matrices[i].rows, matrices[i].columns);
            (void)snprintf(name, sizeof name, "bert.encoder.layer.%d.%s.weight", layer,
                           matrices[i].name);
            assert_true(has_part(graph, name, matrices[i].columns > 0 ? matrix : bias));
            (void)snprintf(name, sizeof name, "bert.encoder.layer.%d.%s.bias", layer,
                           matrices[i].name);
            assert_true(has_part(graph, name, bias));
        }
    }
    assert_true(has_part(graph, "bert.pooler.dense.weight", SHAPE(32, 32)));
    assert_true(has_part(graph, "classifier.weight", SHAPE(3, 32)));
    graph_destroy(graph);
}

static void test_variants(void **state) {
    (void)state;
    struct model_config config = builtin("bert-test");
    config.labels = 0;
    config.prefix[0] = '\0';
    config.pooling = MODEL_POOL_CLS;
    config.gamma_beta = true;
    struct graph *graph = build(&config);
    assert_int_equal(count_parts(graph), 5 + 3 * 16);
    assert_true(has_part(graph, "encoder.layer.2.output.LayerNorm.gamma", SHAPE(32)));
    assert_true(has_part(graph, "embeddings.LayerNorm.beta", SHAPE(32)));
    graph_destroy(graph);
    static const enum model_pooling poolings[] = {MODEL_POOL_CLS, MODEL_POOL_MEAN,
                                                  MODEL_POOL_POOLER};
    for (int i = 0; i < 6; i++) {
        config.pooling = poolings[i % 3];
        config.normalise = i >= 3;
        config.layers = 1;
        graph = build(&config);
        const graph_value_id *outputs = NULL;
        assert_int_equal(graph_segment_count(graph), 4);
        assert_int_equal(graph_outputs(graph, &outputs), 1);
        const struct tensor_type type = graph_resolve(graph_value_get(graph, outputs[0])->type, 5);
        assert_true(shape_equal(&type.shape, &SHAPE(5, 32)));
        graph_destroy(graph);
    }
}

/* ---- running ---- */

struct message {
    uint32_t count;
    graph_value_id ids[4];
    void *data[4];
};

static void free_message(struct message *message) {
    for (uint32_t i = 0; i < message->count; i++) {
        mem_free(message->data[i]);
    }
    message->count = 0;
}

static void run_stage(const struct graph *graph, uint32_t first, uint32_t last, int64_t batch,
                      struct message *message) {
    const struct executor_options options = {first, last, batch, 1, choice, 0};
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
        assert_non_null(message->data[i]);
        memcpy(message->data[i], tensor.data, tensor_bytes(&tensor));
    }
    message->count = count;
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    source->ops->destroy(source);
}

/* Texts of 5, 19 and 31 tokens, padded to a length. */
static struct message texts(int64_t first, int64_t count, int64_t length) {
    static const int64_t tokens[ITEMS] = {5, 19, 31};
    struct message message = {.count = 3, .ids = {0, 1, 2}};
    for (int i = 0; i < 3; i++) {
        message.data[i] = mem_calloc((size_t)(count * length), sizeof(int32_t));
        assert_non_null(message.data[i]);
    }
    int32_t *ids = message.data[0], *types = message.data[1];
    float *mask = message.data[2];
    for (int64_t i = 0; i < count; i++) {
        for (int64_t t = 0; t < length; t++) {
            const int64_t at = i * length + t, item = first + i;
            const bool token = t < tokens[item];
            ids[at] = token ? (int32_t)((item * 37 + t * 11) % 119) + 1 : 0;
            types[at] = token && t > tokens[item] / 2 ? 1 : 0;
            mask[at] = token ? 0 : MODEL_MASK_DROP;
        }
    }
    return message;
}

/* Texts first..first+count−1 at a length through the model split after the given segments; result
 * [count,LABELS]. */
static void run_split(const struct graph *graph, int64_t length, int64_t first, int64_t count,
                      const uint32_t *cuts, int cut_count, float *result) {
    struct message message = texts(first, count, length);
    uint32_t from = 1;
    for (int i = 0; i < cut_count; i++) {
        run_stage(graph, from, cuts[i], count, &message);
        from = cuts[i] + 1;
    }
    run_stage(graph, from, graph_segment_count(graph), count, &message);
    memcpy(result, message.data[0], sizeof(float) * (size_t)count * LABELS);
    free_message(&message);
}

static void use_set(const struct kernel_ops *set) {
    assert_int_equal(kernel_choice_set_default(choice, set->name, NULL), SHOAL_OK);
}

static void test_every_cut_gives_the_same_bits(void **state) {
    (void)state;
    struct graph *graph = build_length(32);
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        use_set(*set);
        float whole[ITEMS * LABELS], parts[ITEMS * LABELS];
        run_split(graph, 32, 0, ITEMS, NULL, 0, whole);
        assert_true(whole[0] != whole[LABELS] && whole[0] != whole[1]); /* says something */
        for (uint32_t cut = 1; cut < graph_segment_count(graph); cut++) {
            run_split(graph, 32, 0, ITEMS, &cut, 1, parts);
            assert_memory_equal(whole, parts, sizeof whole);
        }
    }
    graph_destroy(graph);
}

/* At every length, over 2 to 4 stages, each set against the reference. */
static void test_kernel_sets_agree_at_every_length(void **state) {
    (void)state;
    const struct model_config config = builtin("bert-test");
    int64_t lengths[MODEL_MAX_LENGTHS];
    const uint32_t count = model_lengths(&config, lengths);
    assert_int_equal(count, 3);
    for (uint32_t l = 0; l < count; l++) {
        struct graph *graph = build_length(lengths[l]);
        float expected[ITEMS * LABELS], found[ITEMS * LABELS];
        use_set(&kernel_reference_ops);
        run_split(graph, lengths[l], 0, ITEMS, NULL, 0, expected);
        for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
            use_set(*set);
            for (int cuts = 1; cuts <= 3; cuts++) {
                run_split(graph, lengths[l], 0, ITEMS, (uint32_t[]){1, 4, 10}, cuts, found);
                for (int i = 0; i < ITEMS * LABELS; i++) {
                    assert_true(fabsf(found[i] - expected[i]) < 1e-5F);
                }
            }
        }
        graph_destroy(graph);
    }
}

/*
 * Padding and neighbours are nothing to a text: its result stays the same. With the vector kernels
 * in every bit: what the mask drops adds zeros to unbroken sums.
 */
static void test_padding_does_not_matter(void **state) {
    (void)state;
    const bool exact = isa_current() == ISA_AVX2 || isa_current() == ISA_AVX512;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        use_set(*set);
        struct graph *graph = build_length(32);
        float expected[ITEMS * LABELS], found[ITEMS * LABELS];
        run_split(graph, 32, 0, ITEMS, NULL, 0, expected);
        graph_destroy(graph);
        for (int64_t length = 64; length <= LONGEST; length *= 2) {
            graph = build_length(length);
            for (int64_t i = 0; i < ITEMS; i++) { /* alone */
                run_split(graph, length, i, 1, NULL, 0, found + i * LABELS);
            }
            graph_destroy(graph);
            for (int i = 0; i < ITEMS * LABELS; i++) {
                assert_true(fabsf(found[i] - expected[i]) < 1e-5F);
            }
            if (exact && *set == kernel_set_find("blas")) {
                assert_memory_equal(found, expected, sizeof expected);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_and_sizes_of_the_published_models),
        cmocka_unit_test(test_flops_of_bert_base),
        cmocka_unit_test(test_weight_names_are_those_of_transformers),
        cmocka_unit_test(test_variants),
        cmocka_unit_test(test_every_cut_gives_the_same_bits),
        cmocka_unit_test(test_kernel_sets_agree_at_every_length),
        cmocka_unit_test(test_padding_does_not_matter),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
