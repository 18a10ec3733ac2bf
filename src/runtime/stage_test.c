/* A text model over several stages at every length, against one executor of the whole model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "runtime/profile.h"
#include "runtime/stage.h"

#include <math.h>
#include <string.h>

#define BATCH 2
#define LABELS 3
#define SEED 7

static struct model_config model;
static int64_t lengths[MODEL_MAX_LENGTHS];
static uint32_t length_count;

static int setup(void **state) {
    (void)state;
    if (model_builtin("bert-test", &model, NULL) != SHOAL_OK) {
        return -1;
    }
    length_count = model_lengths(&model, lengths);
    return length_count == 3 ? 0 : -1;
}

/* One microbatch of texts at a length. */
struct batch {
    int64_t length;
    int32_t ids[BATCH * 128], types[BATCH * 128];
    float mask[BATCH * 128];
    struct wire_message message;
};

static void make_batch(int64_t length, struct batch *batch) {
    memset(batch, 0, sizeof *batch);
    batch->length = length;
    for (int64_t i = 0; i < BATCH * length; i++) {
        const int64_t tokens = i < length ? length : length / 2 + 1; /* one full, one padded */
        const bool token = i % length < tokens;
        batch->ids[i] = token ? (int32_t)(i * 31 % 120) : 0;
        batch->types[i] = token ? (int32_t)(i / 7 % 2) : 0;
        batch->mask[i] = token ? 0 : MODEL_MASK_DROP;
    }
    void *data[] = {batch->ids, batch->types, batch->mask};
    batch->message.header.tensor_count = 3;
    for (int i = 0; i < 3; i++) {
        batch->message.tensors[i] = (struct tensor){
            .dtype = i < 2 ? DTYPE_I32 : DTYPE_F32, .shape = SHAPE(BATCH, length), .data = data[i]};
    }
}

static struct kernel_choice *choice_of(const char *set) {
    struct kernel_choice *choice = NULL;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, set, NULL), SHOAL_OK);
    return choice;
}

static struct stage *make_stage(uint32_t first, uint32_t last, const struct kernel_choice *choice) {
    struct stage *stage = NULL;
    struct shoal_error error = {.text = ""};
    const struct stage_options options = {.model = &model,
                                          .first = first,
                                          .last = last,
                                          .batch = BATCH,
                                          .threads = 1,
                                          .choice = choice};
    const struct weights_spec weights = {.seed = SEED};
    if (stage_compile(&options, &stage, &error) != SHOAL_OK ||
        stage_load(stage, &weights, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return stage;
}

/* The whole model at one length, by an executor of its own. */
static void run_whole(const struct batch *batch, const struct kernel_choice *choice,
                      float result[BATCH * LABELS]) {
    struct model_config at = model;
    struct graph *graph = NULL;
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *source = NULL;
    const graph_value_id *ids = NULL;
    at.length = batch->length;
    assert_int_equal(model_build(&at, &graph, NULL), SHOAL_OK);
    const struct executor_options options = {1, graph_segment_count(graph), BATCH, 1, choice, 0};
    assert_int_equal(executor_compile(graph, &options, &executor, NULL), SHOAL_OK);
    assert_int_equal(weights_random_create(SEED, &source, NULL), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, source, &weights, NULL), SHOAL_OK);
    source->ops->destroy(source);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    assert_int_equal(executor_inputs(executor, &ids), 3);
    for (int i = 0; i < 3; i++) {
        const struct tensor tensor = executor_slot_tensor(slot, ids[i]);
        memcpy(tensor.data, batch->message.tensors[i].data, tensor_bytes(&tensor));
    }
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);
    (void)executor_outputs(executor, &ids);
    memcpy(result, executor_slot_tensor(slot, ids[0]).data, sizeof(float) * BATCH * LABELS);
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    graph_destroy(graph);
}

/* From stage to stage, each reading what the one before lends. */
static void run_stages(struct stage *const *stages, int count, const struct batch *batch,
                       float result[BATCH * LABELS]) {
    struct wire_message message = batch->message;
    struct tensor out[WIRE_MAX_TENSORS];
    uint32_t out_count = 0;
    for (int i = 0; i < count; i++) {
        struct shoal_error error = {.text = ""};
        const uint64_t before = mem_allocation_count();
        if (stage_run(stages[i], &message, out, &out_count, NULL, NULL, &error) != SHOAL_OK) {
            fail_msg("stage %d: %s", i, error.text);
        }
        assert_int_equal(mem_allocation_count(), before);
        message.header.tensor_count = out_count;
        memcpy(message.tensors, out, out_count * sizeof *out);
    }
    assert_int_equal(out_count, 1);
    assert_true(shape_equal(&out[0].shape, &SHAPE(BATCH, LABELS)));
    memcpy(result, out[0].data, sizeof(float) * BATCH * LABELS);
}

/* 1 to 4 stages, lengths in turns: the bits of the whole model; every set near the reference. */
static void stages_take_every_length(void **state) {
    (void)state;
    static const uint32_t ends[4][4] = {{12}, {5, 12}, {2, 9, 12}, {1, 4, 10, 12}};
    static struct batch batch;
    struct kernel_choice *reference = choice_of("reference");
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        struct kernel_choice *choice = choice_of((*set)->name);
        for (int count = 1; count <= 4; count++) {
            struct stage *stages[4];
            for (int i = 0; i < count; i++) {
                const uint32_t *end = ends[count - 1];
                stages[i] = make_stage(i > 0 ? end[i - 1] + 1 : 1, end[i], choice);
            }
            for (int turn = 0; turn < 7; turn++) {
                float whole[BATCH * LABELS], found[BATCH * LABELS], expected[BATCH * LABELS];
                make_batch(lengths[turn * 2 % 3], &batch);
                run_whole(&batch, choice, whole);
                run_whole(&batch, reference, expected);
                run_stages(stages, count, &batch, found);
                assert_memory_equal(found, whole, sizeof whole);
                for (int i = 0; i < BATCH * LABELS; i++) {
                    assert_true(fabsf(found[i] - expected[i]) < 1e-5F);
                }
            }
            for (int i = 0; i < count; i++) {
                stage_destroy(stages[i]);
            }
        }
        kernel_choice_destroy(choice);
    }
    kernel_choice_destroy(reference);
}

static void expect_refused(struct stage *stage, const struct batch *batch, const char *text) {
    struct tensor out[WIRE_MAX_TENSORS];
    uint32_t count = 99;
    struct shoal_error error = {.text = ""};
    assert_int_equal(stage_run(stage, &batch->message, out, &count, NULL, NULL, &error),
                     SHOAL_PROTOCOL);
    if (strstr(error.text, text) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", error.text, text);
    }
    assert_int_equal(count, 99);
}

static void what_no_stage_takes_is_refused(void **state) {
    (void)state;
    static struct batch batch;
    struct kernel_choice *choice = choice_of("reference");
    struct stage *stage = make_stage(1, 12, choice);
    make_batch(32, &batch);
    batch.ids[40] = 120;
    expect_refused(stage, &batch, "input_ids: value 40 is 120");
    batch.ids[40] = -1;
    expect_refused(stage, &batch, "input_ids: value 40 is -1");
    make_batch(32, &batch);
    batch.types[3] = 2;
    expect_refused(stage, &batch, "token_type_ids: value 3 is 2");
    make_batch(31, &batch); /* no length of the model */
    expect_refused(stage, &batch, "the stage takes i32 [2,128] at its longest");
    make_batch(32, &batch); /* tensors of two lengths */
    batch.message.tensors[2].shape = SHAPE(BATCH, 64);
    expect_refused(stage, &batch, "tensor ");
    make_batch(32, &batch);
    batch.message.tensors[0].dtype = DTYPE_F32;
    expect_refused(stage, &batch, "tensor 0 of a message is f32");
    make_batch(32, &batch);
    batch.message.header.tensor_count = 2;
    expect_refused(stage, &batch, "carries 2 tensors");
    stage_destroy(stage);
    kernel_choice_destroy(choice);
}

/* A model used up to a shorter length has its lengths up to there. */
static void memory_follows_the_longest_length(void **state) {
    (void)state;
    const struct model_config longest = model;
    struct kernel_choice *choice = choice_of("blas");
    struct stage_memory memory[3] = {0};
    for (uint32_t i = 0; i < length_count; i++) {
        model.length = lengths[i];
        struct stage *stage = make_stage(1, 12, choice);
        stage_memory_get(stage, &memory[i]);
        stage_destroy(stage);
    }
    model = longest;
    for (int i = 1; i < 3; i++) {
        assert_int_equal(memory[i].executor.weights_bytes, memory[0].executor.weights_bytes);
        assert_true(memory[i].executor.slot_bytes > memory[i - 1].executor.slot_bytes * 3 / 2);
        assert_true(memory[i].in_bytes > memory[i - 1].in_bytes);
        assert_int_equal(memory[i].out_bytes, memory[0].out_bytes);
    }
    kernel_choice_destroy(choice);
}

/* `auto` gives every length the kernels of the longest, so that all share one packing. */
static void a_choice_covers_all_lengths(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    struct graph *graph = NULL;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(model_build(&model, &graph, NULL), SHOAL_OK);
    assert_int_equal(profile_choose(graph, BATCH, 1, choice, NULL), SHOAL_OK);
    const size_t longest = kernel_choice_count(choice);
    assert_int_equal(profile_choose_lengths(&model, BATCH, 1, choice, NULL), SHOAL_OK);
    assert_true(kernel_choice_count(choice) > 2 * longest);
    struct stage *all = make_stage(1, 12, choice);
    struct stage_memory memory;
    struct executor *alone = NULL;
    struct executor_memory one;
    const struct executor_options options = {1, 12, BATCH, 1, choice, 0};
    stage_memory_get(all, &memory);
    assert_int_equal(executor_compile(graph, &options, &alone, NULL), SHOAL_OK);
    executor_memory_get(alone, &one);
    bool blas = true; /* what packs alike at any length */
    for (size_t i = 0; i < kernel_choice_count(choice); i++) {
        const char *key, *set;
        kernel_choice_at(choice, i, &key, &set);
        blas = blas && strcmp(set, "blas") == 0;
    }
    assert_true(blas ? memory.executor.weights_bytes == one.weights_bytes
                     : memory.executor.weights_bytes >= one.weights_bytes);
    executor_destroy(alone);
    stage_destroy(all);
    graph_destroy(graph);
    kernel_choice_destroy(choice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages_take_every_length),
        cmocka_unit_test(what_no_stage_takes_is_refused),
        cmocka_unit_test(memory_follows_the_longest_length),
        cmocka_unit_test(a_choice_covers_all_lengths),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
