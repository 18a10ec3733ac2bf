#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/executor_group.h"

#include <malloc.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#define BATCH 2
#define WIDTH 24
#define LENGTHS 3

static const int64_t lengths[LENGTHS] = {4, 33, 9};

static graph_param_id add_param(struct graph *graph, const char *name, struct shape shape) {
    graph_param_id id = 0;
    const struct graph_part part = {name, shape};
    const struct tensor_type type = {DTYPE_F32, shape};
    assert_int_equal(graph_add_param(graph, name, type, GRAPH_FILL_NORMAL, &part, 1, &id, NULL),
                     SHOAL_OK);
    return id;
}

static graph_value_id add_node(struct graph *graph, const char *name, enum op op,
                               graph_value_id input, const graph_param_id *params, int count) {
    const struct op_attrs attrs = {
        .epsilon = 1e-5F, .heads = 2, .scale = 0.3F, .activation = ACTIVATION_TANH};
    graph_value_id out = 0;
    assert_int_equal(
        graph_add_node(graph, name, op, &attrs, GRAPH_F, &input, 1, params, count, &out, NULL),
        SHOAL_OK);
    return out;
}

/* x [B,T,24] → linear → attention | norm → linear, in two segments */
static struct graph *make_graph(int64_t length, const char *last) {
    struct graph *graph = NULL;
    graph_value_id x = 0;
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, length, WIDTH)};
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x", type, &x, NULL), SHOAL_OK);
    const graph_param_id wide[] = {add_param(graph, "qkv", SHAPE((int64_t)3 * WIDTH, WIDTH))};
    x = add_node(graph, "qkv", OP_LINEAR, x, wide, 1);
    x = add_node(graph, "attention", OP_ATTENTION, x, NULL, 0);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);
    const graph_param_id norm[] = {add_param(graph, "gamma", SHAPE(WIDTH)),
                                   add_param(graph, "beta", SHAPE(WIDTH))};
    x = add_node(graph, "norm", OP_LAYER_NORM, x, norm, 2);
    const graph_param_id square[] = {add_param(graph, last, SHAPE(WIDTH, WIDTH)),
                                     add_param(graph, "bias", SHAPE(WIDTH))};
    x = add_node(graph, last, OP_LINEAR, x, square, 2);
    assert_int_equal(graph_mark_output(graph, x, NULL), SHOAL_OK);
    return graph;
}

static struct graph *graphs[LENGTHS];

static int setup(void **state) {
    (void)state;
    for (int i = 0; i < LENGTHS; i++) {
        graphs[i] = make_graph(lengths[i], "last");
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (int i = 0; i < LENGTHS; i++) {
        graph_destroy(graphs[i]);
    }
    return 0;
}

static struct executor_options options_with(const struct kernel_choice *choice) {
    return (struct executor_options){
        .first = 1, .last = 2, .batch = BATCH, .threads = 1, .choice = choice};
}

static size_t count_of(int64_t length) {
    return (size_t)(BATCH * length * WIDTH);
}

static void fill(struct tensor tensor, int round) {
    random_normal(random_stream((uint64_t)round, "x"), 0, 1, tensor.data,
                  tensor_bytes(&tensor) / sizeof(float));
}

/* What an executor of its own computes; free with mem_free. */
static float *alone(const struct executor_options *options, int index, int round) {
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    struct weight_source *source = NULL;
    const graph_value_id *ids = NULL;
    assert_int_equal(executor_compile(graphs[index], options, &executor, NULL), SHOAL_OK);
    assert_int_equal(weights_random_create(3, &source, NULL), SHOAL_OK);
    assert_int_equal(executor_weights_load(executor, source, &weights, NULL), SHOAL_OK);
    source->ops->destroy(source);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    (void)executor_inputs(executor, &ids);
    fill(executor_slot_tensor(slot, ids[0]), round);
    assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);
    (void)executor_outputs(executor, &ids);
    const struct tensor y = executor_slot_tensor(slot, ids[0]);
    float *result = mem_alloc(tensor_bytes(&y));
    assert_non_null(result);
    memcpy(result, y.data, tensor_bytes(&y));
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    return result;
}

static struct executor_group *make_group(const struct executor_options *options) {
    struct executor_group *group = NULL;
    struct weight_source *source = NULL;
    struct shoal_error error = {0};
    if (executor_group_compile((const struct graph *const *)graphs, LENGTHS, options, &group,
                               &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(weights_random_create(3, &source, NULL), SHOAL_OK);
    assert_int_equal(executor_group_load(group, source, NULL), SHOAL_OK);
    source->ops->destroy(source);
    return group;
}

/* In turns, in any order: each gives what it gives alone. */
static void expect_same_results(struct executor_group *group,
                                const struct executor_options *options) {
    static const int order[] = {0, 1, 2, 1, 0, 0, 2, 2, 1};
    for (int round = 0; round < (int)(sizeof order / sizeof order[0]); round++) {
        const int index = order[round];
        const graph_value_id *ids = NULL;
        assert_int_equal(executor_group_inputs(group, (uint32_t)index, &ids), 1);
        fill(executor_group_tensor(group, (uint32_t)index, ids[0]), round);
        const uint64_t before = mem_allocation_count();
        assert_int_equal(executor_group_run(group, (uint32_t)index, NULL), SHOAL_OK);
        assert_int_equal(mem_allocation_count(), before);
        assert_int_equal(executor_group_outputs(group, (uint32_t)index, &ids), 1);
        const struct tensor y = executor_group_tensor(group, (uint32_t)index, ids[0]);
        float *expected = alone(options, index, round);
        assert_int_equal(tensor_bytes(&y), count_of(lengths[index]) * sizeof(float));
        assert_memory_equal(y.data, expected, tensor_bytes(&y));
        mem_free(expected);
    }
}

static void a_group_computes_what_its_members_do_alone(void **state) {
    (void)state;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        struct kernel_choice *choice = NULL;
        assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
        assert_int_equal(kernel_choice_set_default(choice, (*set)->name, NULL), SHOAL_OK);
        const struct executor_options options = options_with(choice);
        struct executor_group *group = make_group(&options);
        expect_same_results(group, &options);
        executor_group_destroy(group);
        kernel_choice_destroy(choice);
    }
}

static struct executor_memory memory_alone(const struct executor_options *options, int index) {
    struct executor *executor = NULL;
    struct executor_memory memory;
    assert_int_equal(executor_compile(graphs[index], options, &executor, NULL), SHOAL_OK);
    executor_memory_get(executor, &memory);
    executor_destroy(executor);
    return memory;
}

static void memory_is_that_of_the_largest(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "blas", NULL), SHOAL_OK);
    const struct executor_options options = options_with(choice);
    struct executor_group *group = make_group(&options);
    struct executor_memory memory;
    const struct executor_memory longest = memory_alone(&options, 1);
    executor_group_memory_get(group, &memory);
    assert_int_equal(memory.weights_bytes, longest.weights_bytes);
    assert_int_equal(memory.scratch_bytes, longest.scratch_bytes);
    assert_int_equal(memory.load_extra_bytes, longest.load_extra_bytes);
    /* Beside the longest's slot only the pointers of the others. */
    assert_true(memory.slot_bytes > longest.slot_bytes);
    assert_true(memory.slot_bytes < longest.slot_bytes + 2048);
    executor_group_destroy(group);
    kernel_choice_destroy(choice);
}

/* What loading takes from the allocator is what was told before. */
static void memory_is_what_was_promised(void **state) {
    (void)state;
#ifdef SANITIZED
    print_message("SKIPPED: the sanitizers' allocator keeps no such account\n");
    skip();
#endif
    struct graph *longer[2] = {make_graph(2000, "last"), make_graph(3000, "last")};
    struct kernel_choice *choice = NULL;
    struct executor_group *group = NULL;
    struct weight_source *source = NULL;
    struct executor_memory memory;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "blas", NULL), SHOAL_OK);
    const struct executor_options options = options_with(choice);
    assert_int_equal(
        executor_group_compile((const struct graph *const *)longer, 2, &options, &group, NULL),
        SHOAL_OK);
    executor_group_memory_get(group, &memory);
    assert_int_equal(weights_random_create(3, &source, NULL), SHOAL_OK);
    const struct mallinfo2 before = mallinfo2();
    assert_int_equal(executor_group_load(group, source, NULL), SHOAL_OK);
    const struct mallinfo2 after = mallinfo2();
    const size_t used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    const size_t told = memory.weights_bytes + memory.slot_bytes + memory.scratch_bytes;
    assert_true(told > 1 << 20);
    assert_true(used >= told &&
                used <= told + (size_t)20 * 4096); /* the allocator's words, page rounding */
    source->ops->destroy(source);
    executor_group_destroy(group);
    kernel_choice_destroy(choice);
    graph_destroy(longer[0]);
    graph_destroy(longer[1]);
}

/* One length on other kernels: that node's weights are there twice, and no others. */
static void what_packs_differently_is_packed_twice(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    struct kernel_desc desc;
    char key[KERNEL_KEY_TEXT];
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "blas", NULL), SHOAL_OK);
    const struct tensor_type x = {DTYPE_F32, SHAPE(BATCH, lengths[2], WIDTH)};
    const struct tensor_type w = {DTYPE_F32, SHAPE((int64_t)3 * WIDTH, WIDTH)};
    const struct op_attrs attrs = {
        .epsilon = 1e-5F, .heads = 2, .scale = 0.3F, .activation = ACTIVATION_TANH};
    assert_int_equal(kernel_describe(OP_LINEAR, &attrs, &x, 1, &w, 1, 1, &desc, NULL), SHOAL_OK);
    kernel_key(&desc, key);
    assert_int_equal(kernel_choice_put(choice, key, "reference", NULL), SHOAL_OK);
    const struct executor_options options = options_with(choice);
    struct executor_group *group = make_group(&options);
    struct executor_memory memory;
    executor_group_memory_get(group, &memory);
    assert_int_equal(memory.weights_bytes,
                     memory_alone(&options, 0).weights_bytes + sizeof(float) * 3 * WIDTH * WIDTH);
    expect_same_results(group, &options);
    executor_group_destroy(group);
    kernel_choice_destroy(choice);
}

static void what_is_no_group_is_refused(void **state) {
    (void)state;
    struct executor_group *group = NULL;
    struct executor_options options = options_with(NULL);
    struct graph *other = make_graph(5, "other");
    const struct graph *mixed[2] = {graphs[0], other};
    assert_int_equal(executor_group_compile(mixed, 2, &options, &group, NULL), SHOAL_INVALID);
    assert_int_equal(executor_group_compile(mixed, 0, &options, &group, NULL), SHOAL_INVALID);
    assert_int_equal(executor_group_compile(mixed, EXECUTOR_GROUP_MAX + 1, &options, &group, NULL),
                     SHOAL_INVALID);
    options.phases = 7;
    assert_int_equal(executor_group_compile(mixed, 1, &options, &group, NULL), SHOAL_INVALID);
    assert_null(group);
    executor_group_destroy(NULL);
    graph_destroy(other);
}

static void every_failing_allocation_is_reported(void **state) {
    (void)state;
    struct kernel_choice *choice = NULL;
    assert_int_equal(kernel_choice_create(&choice, NULL), SHOAL_OK);
    assert_int_equal(kernel_choice_set_default(choice, "reference", NULL), SHOAL_OK);
    const struct executor_options options = options_with(choice);
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 0;
    while (status != SHOAL_OK) {
        struct executor_group *group = NULL;
        struct weight_source *source = NULL;
        assert_int_equal(weights_random_create(3, &source, NULL), SHOAL_OK);
        mem_fail_after(++n);
        status = executor_group_compile((const struct graph *const *)graphs, LENGTHS, &options,
                                        &group, NULL);
        if (status == SHOAL_OK) {
            status = executor_group_load(group, source, NULL);
        }
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
        executor_group_destroy(group);
        source->ops->destroy(source);
        assert_true(n < 1000);
    }
    assert_true(n > 20);
    kernel_choice_destroy(choice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_computes_what_its_members_do_alone),
        cmocka_unit_test(memory_is_that_of_the_largest),
        cmocka_unit_test(memory_is_what_was_promised),
        cmocka_unit_test(what_packs_differently_is_packed_twice),
        cmocka_unit_test(what_is_no_group_is_refused),
        cmocka_unit_test(every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
