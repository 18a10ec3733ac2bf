#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "graph/executor_internal.h"
#include "tensor/convert.h"

#include <malloc.h>
#include <string.h>

#define BATCH 3
#define MAX_VALUES 64

static struct kernel_choice *reference;

static int setup(void **state) {
    (void)state;
    return kernel_choice_create(&reference, NULL) == SHOAL_OK &&
                   kernel_choice_set_default(reference, "reference", NULL) == SHOAL_OK
               ? 0
               : -1;
}

static int teardown(void **state) {
    (void)state;
    kernel_choice_destroy(reference);
    return 0;
}

static struct executor *compile_phases(const struct graph *graph, uint32_t first, uint32_t last,
                                       unsigned phases) {
    const struct executor_options options = {first, last, BATCH, 1, reference, phases};
    struct executor *executor = NULL;
    struct shoal_error error = {0};
    const shoal_status status = executor_compile(graph, &options, &executor, &error);
    if (status != SHOAL_OK) {
        fail_msg("compile: %s", error.text);
    }
    return executor;
}

static struct executor *compile(const struct graph *graph, uint32_t first, uint32_t last) {
    return compile_phases(graph, first, last, 0);
}

/* A compiled range with weights and one slot. */
struct stage {
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
};

static struct stage make_stage(const struct graph *graph, uint32_t first, uint32_t last) {
    struct stage stage = {compile(graph, first, last), NULL, NULL};
    struct weight_source *source = NULL;
    assert_int_equal(weights_random_create(5, &source, NULL), SHOAL_OK);
    assert_int_equal(executor_weights_load(stage.executor, source, &stage.weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(stage.executor, &stage.slot, NULL), SHOAL_OK);
    source->ops->destroy(source);
    return stage;
}

static void destroy_stage(struct stage *stage) {
    executor_slot_destroy(stage->slot);
    executor_weights_destroy(stage->weights);
    executor_destroy(stage->executor);
}

static void run(struct stage *stage) {
    struct shoal_error error = {0};
    if (executor_run(stage->executor, stage->weights, stage->slot, GRAPH_F, &error) != SHOAL_OK) {
        fail_msg("run: %s", error.text);
    }
}

/*
 * A random graph over [BATCH,8] values: every node reads earlier values, some values have several
 * readers, some none, some are outputs; a cut after every node.
 */
static struct graph *random_graph(uint64_t seed) {
    struct graph *graph = NULL;
    graph_value_id values[MAX_VALUES];
    uint32_t count = 0, draw = 0;
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 8)};
    const uint32_t nodes = 4 + random_u32(seed, draw++) % 25;
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(graph_add_input(graph, i == 0 ? "x0" : "x1", type, &values[count++], NULL),
                         SHOAL_OK);
    }
    for (uint32_t i = 0; i < nodes; i++) {
        const uint32_t kind = random_u32(seed, draw++) % 4;
        /* mostly recent values, so that lifetimes end */
        const uint32_t reach = count < 4 ? count : 4;
        const uint32_t recent = random_u32(seed, draw++) % reach;
        const uint32_t any = random_u32(seed, draw++) % count;
        const graph_value_id inputs[] = {values[count - 1 - recent], values[count - 1 - any]};
        char name[16];
        (void)snprintf(name, sizeof name, "n%u", i);
        graph_param_id weight = 0;
        const struct graph_part part = {name, SHAPE(8, 8)};
        const struct op_attrs attrs = {.scale = 0.5F, .activation = ACTIVATION_TANH};
        const bool linear = kind < 2;
        if (linear) {
            assert_int_equal(graph_add_param(graph, name,
                                             (struct tensor_type){DTYPE_F32, SHAPE(8, 8)},
                                             GRAPH_FILL_NORMAL, &part, 1, &weight, NULL),
                             SHOAL_OK);
        }
        const enum op op = linear ? OP_LINEAR : kind == 2 ? OP_ADD : OP_ACTIVATION;
        const int input_count = kind == 1 || kind == 2 ? 2 : 1;
        assert_int_equal(graph_add_node(graph, name, op, &attrs, GRAPH_F, inputs, input_count,
                                        &weight, linear ? 1 : 0, &values[count++], NULL),
                         SHOAL_OK);
        if (random_u32(seed, draw++) % 8 == 0) {
            assert_int_equal(
                graph_mark_output(graph, values[random_u32(seed, draw++) % count], NULL), SHOAL_OK);
        }
        assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);
    }
    assert_int_equal(graph_mark_output(graph, values[count - 1], NULL), SHOAL_OK);
    return graph;
}

static void fill_input(struct tensor tensor, graph_value_id id) {
    random_uniform(random_stream(9, "input"), 1000 * (uint64_t)id, -1, 1, tensor.data,
                   tensor_bytes(&tensor) / sizeof(float));
}

/* Values that travel between stages, by id. */
struct store {
    float data[MAX_VALUES][BATCH * 8];
};

static void run_range(const struct graph *graph, uint32_t first, uint32_t last,
                      struct store *store) {
    struct stage stage = make_stage(graph, first, last);
    const graph_value_id *ids = NULL;
    uint32_t count = executor_inputs(stage.executor, &ids);
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor tensor = executor_slot_tensor(stage.slot, ids[i]);
        memcpy(tensor.data, store->data[ids[i]], tensor_bytes(&tensor));
    }
    run(&stage);
    count = executor_outputs(stage.executor, &ids);
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor tensor = executor_slot_tensor(stage.slot, ids[i]);
        memcpy(store->data[ids[i]], tensor.data, tensor_bytes(&tensor));
    }
    destroy_stage(&stage);
}

static void feed(const struct graph *graph, struct store *store) {
    memset(store, 0, sizeof *store);
    const graph_value_id *ids = NULL;
    const uint32_t count = graph_inputs(graph, &ids);
    for (uint32_t i = 0; i < count; i++) {
        fill_input((struct tensor){DTYPE_F32, SHAPE(BATCH, 8), store->data[ids[i]]}, ids[i]);
    }
}

/* Node by node nothing can be overwritten too early; the whole graph at once must give the same. */
static void test_random_graphs_give_the_same_however_they_are_cut(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct graph *graph = random_graph(seed);
        const uint32_t segments = graph_segment_count(graph);
        struct store single, whole, halves;
        feed(graph, &single);
        feed(graph, &whole);
        feed(graph, &halves);
        for (uint32_t s = 1; s <= segments; s++) {
            run_range(graph, s, s, &single);
        }
        run_range(graph, 1, segments, &whole);
        run_range(graph, 1, segments / 2, &halves);
        run_range(graph, segments / 2 + 1, segments, &halves);
        graph_value_id outputs[MAX_VALUES];
        const uint32_t count = graph_crossing(graph, segments, outputs, MAX_VALUES);
        for (uint32_t i = 0; i < count; i++) {
            const graph_value_id id = outputs[i];
            assert_memory_equal(single.data[id], whole.data[id], sizeof single.data[id]);
            assert_memory_equal(single.data[id], halves.data[id], sizeof single.data[id]);
        }
        graph_destroy(graph);
    }
}

static void check_no_overlap(const struct executor *executor) {
    for (uint32_t i = 0; i < executor->value_count; i++) {
        const struct executor_value *a = &executor->values[i];
        assert_true(a->first <= a->last);
        assert_true(a->offset % MEM_ALIGNMENT == 0 && a->offset + a->bytes <= executor->data_bytes);
        for (uint32_t j = 0; j < i; j++) {
            const struct executor_value *b = &executor->values[j];
            const bool bytes_meet =
                a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            const uint32_t from = a->first > b->first ? a->first : b->first;
            const uint32_t to = a->last < b->last ? a->last : b->last;
            if (!bytes_meet || from > to) {
                continue;
            }
            /* In place: the later one is made by the node at which the earlier one is read last. */
            assert_int_equal(a->block, b->block);
            assert_int_equal(from, to);
            assert_true(a->offset == b->offset && a->bytes == b->bytes);
        }
    }
}

static void test_live_values_never_overlap(void **state) {
    (void)state;
    size_t in_place = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct graph *graph = random_graph(seed);
        const uint32_t segments = graph_segment_count(graph);
        for (uint32_t last = 1; last <= segments; last += 3) {
            struct executor *executor = compile(graph, 1 + last / 2, last);
            check_no_overlap(executor);
            for (uint32_t i = 0; i + 1 < executor->value_count; i++) {
                in_place += executor->values[i].block == executor->values[i + 1].block ? 1 : 0;
            }
            executor_destroy(executor);
        }
        graph_destroy(graph);
    }
    assert_true(in_place > 100); /* aliasing was exercised */
}

/* y = x0·wᵀ + x1, read from one value twice or from two values with the same bytes */
static void run_residual(bool same, float result[BATCH * 8]) {
    struct graph *graph = NULL;
    graph_value_id x[2], y = 0;
    graph_param_id w = 0;
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 8)};
    const struct graph_part part = {"w", SHAPE(8, 8)};
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x0", type, &x[0], NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x1", type, &x[1], NULL), SHOAL_OK);
    x[1] = same ? x[0] : x[1];
    assert_int_equal(graph_add_param(graph, "w", (struct tensor_type){DTYPE_F32, SHAPE(8, 8)},
                                     GRAPH_FILL_NORMAL, &part, 1, &w, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_add_node(graph, "y", OP_LINEAR, NULL, GRAPH_F, x, 2, &w, 1, &y, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_mark_output(graph, y, NULL), SHOAL_OK);
    struct stage stage = make_stage(graph, 1, 1);
    for (int i = 0; i < 2; i++) {
        fill_input(executor_slot_tensor(stage.slot, x[i]), 1);
    }
    run(&stage);
    memcpy(result, executor_slot_tensor(stage.slot, y).data, sizeof(float) * BATCH * 8);
    destroy_stage(&stage);
    graph_destroy(graph);
}

static void test_a_value_read_twice_is_not_overwritten_by_its_reader(void **state) {
    (void)state;
    float same[BATCH * 8], apart[BATCH * 8];
    run_residual(true, same);
    run_residual(false, apart);
    assert_memory_equal(same, apart, sizeof same);
}

/* x → a → b → c, each [BATCH,8]; x is read again by c */
static struct graph *chain(void) {
    struct graph *graph = NULL;
    graph_value_id x = 0, a = 0, b = 0, c = 0;
    graph_param_id w = 0;
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 8)};
    const struct graph_part parts[] = {{"w.upper", SHAPE(3, 8)}, {"w.lower", SHAPE(5, 8)}};
    const struct op_attrs attrs = {.activation = ACTIVATION_TANH, .scale = 1};
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x", type, &x, NULL), SHOAL_OK);
    assert_int_equal(graph_add_param(graph, "w", (struct tensor_type){DTYPE_F32, SHAPE(8, 8)},
                                     GRAPH_FILL_NORMAL, parts, 2, &w, NULL),
                     SHOAL_OK);
    assert_int_equal(
        graph_add_node(graph, "a", OP_ACTIVATION, &attrs, GRAPH_F, &x, 1, NULL, 0, &a, NULL),
        SHOAL_OK);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_node(graph, "b", OP_LINEAR, &attrs, GRAPH_F, &a, 1, &w, 1, &b, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);
    const graph_value_id sum[] = {b, x};
    assert_int_equal(graph_add_node(graph, "c", OP_ADD, &attrs, GRAPH_F, sum, 2, NULL, 0, &c, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_mark_output(graph, c, NULL), SHOAL_OK);
    return graph;
}

static void test_a_value_that_passes_through_is_one_buffer_and_kept(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct stage stage = make_stage(graph, 2, 2);
    const graph_value_id *ins = NULL, *outs = NULL;
    assert_int_equal(executor_inputs(stage.executor, &ins), 2);
    assert_int_equal(executor_outputs(stage.executor, &outs), 2);
    assert_int_equal(ins[0], outs[0]); /* x */
    const struct tensor x = executor_slot_tensor(stage.slot, ins[0]);
    const struct tensor a = executor_slot_tensor(stage.slot, ins[1]);
    const struct tensor b = executor_slot_tensor(stage.slot, outs[1]);
    assert_ptr_not_equal(x.data, a.data);
    assert_ptr_not_equal(x.data, b.data);
    float before[BATCH * 8];
    fill_input(x, 1);
    fill_input(a, 2);
    memcpy(before, x.data, sizeof before);
    run(&stage);
    assert_memory_equal(x.data, before, sizeof before);
    destroy_stage(&stage);
    graph_destroy(graph);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature) /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static size_t heap_in_use(void) {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void test_memory_is_what_was_promised(void **state) {
    (void)state;
#ifdef SANITIZED
    print_message("SKIPPED: the sanitizers' allocator keeps no such account\n");
    skip();
#endif
    struct graph *graph = NULL;
    graph_value_id x = 0, y = 0;
    graph_param_id w = 0;
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 1024)};
    const struct graph_part part = {"w", SHAPE(1024, 1024)};
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x", type, &x, NULL), SHOAL_OK);
    assert_int_equal(graph_add_param(graph, "w", (struct tensor_type){DTYPE_F32, SHAPE(1024, 1024)},
                                     GRAPH_FILL_ZEROS, &part, 1, &w, NULL),
                     SHOAL_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(
            graph_add_node(graph, "n", OP_LINEAR, NULL, GRAPH_F, &x, 1, &w, 1, &y, NULL), SHOAL_OK);
        x = y;
    }
    assert_int_equal(graph_mark_output(graph, y, NULL), SHOAL_OK);
    struct stage stage = {compile(graph, 1, 1), NULL, NULL};
    struct executor_memory memory;
    executor_memory_get(stage.executor, &memory);
    assert_int_equal(memory.weights_bytes, sizeof(float) * 4 * 1024 * 1024);
    struct weight_source *source = NULL;
    assert_int_equal(weights_random_create(5, &source, NULL), SHOAL_OK);

    const size_t slack = 4096; /* the allocator's own words and page rounding, per allocation */
    size_t before = heap_in_use();
    assert_int_equal(executor_weights_load(stage.executor, source, &stage.weights, NULL), SHOAL_OK);
    size_t used = heap_in_use() - before;
    assert_true(used >= memory.weights_bytes && used <= memory.weights_bytes + 8 * slack);
    before = heap_in_use();
    assert_int_equal(executor_slot_create(stage.executor, &stage.slot, NULL), SHOAL_OK);
    used = heap_in_use() - before;
    const size_t slot = memory.slot_bytes + memory.scratch_bytes;
    assert_true(used >= slot && used <= slot + 2 * slack);
    source->ops->destroy(source);
    destroy_stage(&stage);
    graph_destroy(graph);
}

/* Weights read as values: a stored table and a constant, in a range that
 * trains nothing. */
static void test_forward_nodes_read_weights_as_values(void **state) {
    (void)state;
    static const float twos[] = {2, 2, 2, 2};
    const struct tensor_type type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 4)}, row = {DTYPE_F32, SHAPE(4)};
    const struct graph_part part = {"ones", SHAPE(4)};
    struct graph *graph = NULL;
    graph_value_id x = 0, sum = 0, product = 0;
    graph_param_id ones = 0, constant = 0;
    graph_value_id weights[2];
    assert_int_equal(graph_create(&graph, NULL), SHOAL_OK);
    assert_int_equal(graph_add_input(graph, "x", type, &x, NULL), SHOAL_OK);
    assert_int_equal(graph_add_param(graph, "ones", row, GRAPH_FILL_ONES, &part, 1, &ones, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_add_constant(graph, "twos", row, twos, &constant, NULL), SHOAL_OK);
    assert_int_equal(graph_add_param_value(graph, ones, &weights[0], NULL), SHOAL_OK);
    assert_int_equal(graph_add_param_value(graph, constant, &weights[1], NULL), SHOAL_OK);
    const struct op_attrs add = {.mode = BINARY_ADD}, multiply = {.mode = BINARY_MUL};
    const graph_value_id first[] = {x, weights[0]};
    assert_int_equal(
        graph_add_node(graph, "sum", OP_BINARY, &add, GRAPH_F, first, 2, NULL, 0, &sum, NULL),
        SHOAL_OK);
    assert_int_equal(graph_mark_cut(graph, NULL), SHOAL_OK);
    const graph_value_id second[] = {sum, weights[1]};
    assert_int_equal(graph_add_node(graph, "product", OP_BINARY, &multiply, GRAPH_F, second, 2,
                                    NULL, 0, &product, NULL),
                     SHOAL_OK);
    assert_int_equal(graph_mark_output(graph, product, NULL), SHOAL_OK);
    struct stage stage = make_stage(graph, 1, 2);
    struct executor_memory memory;
    executor_memory_get(stage.executor, &memory);
    assert_int_equal(memory.weights_bytes, 2 * MEM_ALIGNMENT);
    float *in = executor_slot_tensor(stage.slot, x).data;
    for (int i = 0; i < BATCH * 4; i++) {
        in[i] = (float)i;
    }
    run(&stage);
    const float *out = executor_slot_tensor(stage.slot, product).data;
    for (int i = 0; i < BATCH * 4; i++) {
        assert_true(out[i] == ((float)i + 1) * 2);
    }
    destroy_stage(&stage);
    graph_destroy(graph);
}

static void test_a_step_allocates_nothing(void **state) {
    (void)state;
    struct graph *graph = random_graph(3);
    struct stage stage = make_stage(graph, 1, graph_segment_count(graph));
    const graph_value_id *ids = NULL;
    const uint64_t before = mem_allocation_count();
    for (int i = 0; i < 10; i++) {
        const uint32_t count = executor_inputs(stage.executor, &ids);
        for (uint32_t v = 0; v < count; v++) {
            fill_input(executor_slot_tensor(stage.slot, ids[v]), v);
        }
        run(&stage);
    }
    assert_int_equal(mem_allocation_count(), before);
    destroy_stage(&stage);
    graph_destroy(graph);
}

static void test_two_slots_are_independent(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct stage one = make_stage(graph, 1, 3), two = one;
    assert_int_equal(executor_slot_create(one.executor, &two.slot, NULL), SHOAL_OK);
    const graph_value_id *in = NULL, *out = NULL;
    assert_int_equal(executor_inputs(one.executor, &in), 1);
    assert_int_equal(executor_outputs(one.executor, &out), 1);
    float first[BATCH * 8];
    fill_input(executor_slot_tensor(one.slot, in[0]), 1);
    fill_input(executor_slot_tensor(two.slot, in[0]), 2);
    run(&one);
    memcpy(first, executor_slot_tensor(one.slot, out[0]).data, sizeof first);
    run(&two);
    assert_memory_equal(first, executor_slot_tensor(one.slot, out[0]).data, sizeof first);
    assert_memory_not_equal(first, executor_slot_tensor(two.slot, out[0]).data, sizeof first);
    executor_slot_destroy(two.slot);
    destroy_stage(&one);
    graph_destroy(graph);
}

/* A source with a few tensors, and what a test wants to be wrong with them. */
struct fake_source {
    struct weight_source base;
    enum dtype dtype;
    const char *missing, *misshapen, *corrupt;
    int borrowed, most_borrowed;
    uint16_t data[64];
};

static shoal_status fake_borrow(struct weight_source *source, const char *name,
                                const struct shape *shape, enum graph_fill fill, struct tensor *out,
                                struct shoal_error *error) {
    (void)fill;
    struct fake_source *self = (struct fake_source *)source;
    if (self->missing != NULL && strstr(name, self->missing) != NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "no tensor %s", name);
    }
    if (self->corrupt != NULL && strstr(name, self->corrupt) != NULL) {
        return error_set(error, SHOAL_CORRUPT, "file.bin: tensor %s", name);
    }
    *out = (struct tensor){self->dtype, *shape, self->data};
    if (self->misshapen != NULL && strstr(name, self->misshapen) != NULL) {
        out->shape = SHAPE(2, 2);
    }
    self->borrowed++;
    self->most_borrowed =
        self->borrowed > self->most_borrowed ? self->borrowed : self->most_borrowed;
    return SHOAL_OK;
}

static void fake_release(struct weight_source *source, const struct tensor *tensor) {
    (void)tensor;
    ((struct fake_source *)source)->borrowed--;
}

static void fake_destroy(struct weight_source *source) {
    (void)source;
}

static const struct weight_source_ops fake_ops = {fake_borrow, fake_release, fake_destroy};

static void expect_load(struct executor *executor, struct fake_source *source,
                        shoal_status expected, struct shoal_error *error) {
    struct executor_weights *weights = NULL;
    source->base.ops = &fake_ops;
    assert_int_equal(executor_weights_load(executor, &source->base, &weights, error), expected);
    assert_int_equal(source->borrowed, 0);
    assert_true(source->most_borrowed <= 1); /* part by part */
    executor_weights_destroy(weights);
}

static void test_missing_and_misshapen_weights_are_named(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct executor *executor = compile(graph, 1, 3);
    struct shoal_error error;
    struct fake_source source = {.dtype = DTYPE_F16, .missing = "upper", .misshapen = "lower"};
    expect_load(executor, &source, SHOAL_MISMATCH, &error);
    assert_non_null(strstr(error.text, "2 weights of segments 1..3"));
    assert_non_null(strstr(error.text, "w.upper: missing, expected [3,8]"));
    assert_non_null(strstr(error.text, "w.lower: expected [5,8], found f16 [2,2]"));
    source = (struct fake_source){.dtype = DTYPE_BOOL}; /* no conversion to f32 */
    expect_load(executor, &source, SHOAL_MISMATCH, &error);
    assert_non_null(strstr(error.text, "found bool [3,8]"));
    source = (struct fake_source){.dtype = DTYPE_F16, .corrupt = "lower"};
    expect_load(executor, &source, SHOAL_CORRUPT, &error);
    assert_non_null(strstr(error.text, "file.bin"));
    executor_destroy(executor);
    executor = compile(graph, 3, 3); /* a range without weights wants none */
    source = (struct fake_source){.dtype = DTYPE_F16, .missing = "w"};
    expect_load(executor, &source, SHOAL_OK, &error);
    executor_destroy(executor);
    graph_destroy(graph);
}

static void test_many_missing_weights_are_counted(void **state) {
    (void)state;
    struct graph *graph = random_graph(11);
    uint32_t expected = graph_param_count(graph);
    assert_true(expected > 8);
    struct executor *executor = compile(graph, 1, graph_segment_count(graph));
    struct shoal_error error;
    char count[32];
    (void)snprintf(count, sizeof count, "%u weights", expected);
    struct fake_source source = {.dtype = DTYPE_F16, .missing = "n"};
    expect_load(executor, &source, SHOAL_MISMATCH, &error);
    assert_non_null(strstr(error.text, count));
    (void)snprintf(count, sizeof count, "; and %u more", expected - 8);
    assert_non_null(strstr(error.text, count));
    executor_destroy(executor);
    graph_destroy(graph);
}

static void test_stored_half_precision_is_converted(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct stage stage = {compile(graph, 2, 2), NULL, NULL};
    struct fake_source source = {.base = {&fake_ops}, .dtype = DTYPE_BF16};
    for (int i = 0; i < 40; i++) { /* the lower part repeats the upper one's bytes */
        source.data[i] = convert_f32_to_bf16((float)(i % 8 == i / 8 % 8));
    }
    assert_int_equal(executor_weights_load(stage.executor, &source.base, &stage.weights, NULL),
                     SHOAL_OK);
    assert_int_equal(executor_slot_create(stage.executor, &stage.slot, NULL), SHOAL_OK);
    const graph_value_id *in = NULL, *out = NULL;
    (void)executor_inputs(stage.executor, &in);
    (void)executor_outputs(stage.executor, &out);
    float *a = executor_slot_tensor(stage.slot, in[1]).data;
    for (int i = 0; i < BATCH * 8; i++) {
        a[i] = 0;
    }
    a[2] = 50; /* tanh(50) is 1: rows 2 of the upper and of the lower part pick it */
    run(&stage);
    const float *b = executor_slot_tensor(stage.slot, out[1]).data;
    for (int i = 0; i < 8; i++) {
        assert_true(b[i] == (i == 2 || i == 5 ? 1.0F : 0.0F));
    }
    destroy_stage(&stage);
    graph_destroy(graph);
}

static void test_options_out_of_range_are_refused(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct executor *executor = NULL;
    struct shoal_error error;
    const struct executor_options wrong[] = {
        {0, 1, 1, 1, NULL, 0}, {2, 1, 1, 1, NULL, 0},
        {1, 4, 1, 1, NULL, 0}, {1, 3, 0, 1, NULL, 0},
        {1, 3, 1, 0, NULL, 0}, {1, 3, 1, 1, NULL, 1U << GRAPH_B},
        {1, 3, 1, 1, NULL, 8}, {1, 3, INT64_MAX / 4, 1, NULL, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const shoal_status status = executor_compile(graph, &wrong[i], &executor, &error);
        assert_true(status == SHOAL_INVALID || (i == 7 && status == SHOAL_MISMATCH));
        assert_null(executor);
    }
    graph_destroy(graph);
}

static shoal_status failing_run(const struct kernel *kernel, const void *packed,
                                const void *const inputs[], void *const outputs[], void *scratch) {
    (void)kernel;
    (void)packed;
    (void)inputs;
    (void)outputs;
    (void)scratch;
    return SHOAL_INTERNAL;
}

static void test_a_failing_kernel_is_named(void **state) {
    (void)state;
    struct graph *graph = chain();
    struct stage stage = make_stage(graph, 1, 3);
    struct kernel_ops ops = kernel_reference_ops;
    ops.run = failing_run;
    const struct kernel broken = {&ops};
    stage.executor->nodes[1].kernel = &broken;
    struct shoal_error error;
    assert_int_equal(executor_run(stage.executor, stage.weights, stage.slot, GRAPH_F, &error),
                     SHOAL_INTERNAL);
    assert_non_null(strstr(error.text, "node b (linear"));
    destroy_stage(&stage);
    graph_destroy(graph);
}

static shoal_status whole_life(const struct graph *graph, unsigned phases) {
    const struct executor_options options = {1, 3, BATCH, 1, reference, phases};
    struct executor *executor = NULL;
    struct weight_source *source = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    shoal_status status = weights_random_create(1, &source, NULL);
    if (status == SHOAL_OK) {
        status = executor_compile(graph, &options, &executor, NULL);
    }
    if (status == SHOAL_OK) {
        status = executor_weights_load(executor, source, &weights, NULL);
    }
    if (status == SHOAL_OK) {
        status = executor_slot_create(executor, &slot, NULL);
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    if (source != NULL) {
        source->ops->destroy(source);
    }
    return status;
}

static void test_out_of_memory_anywhere(void **state) {
    (void)state;
    struct graph *graph = chain();
    const unsigned phases[] = {0, 1U << GRAPH_F | 1U << GRAPH_B | 1U << GRAPH_W};
    for (size_t p = 0; p < 2; p++) {
        shoal_status status = SHOAL_NO_MEMORY;
        uint64_t n = 1;
        for (; n < 1000 && status != SHOAL_OK; n++) {
            mem_fail_after(n);
            status = whole_life(graph, phases[p]);
            mem_fail_after(0);
            assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
        }
        assert_int_equal(status, SHOAL_OK);
        assert_true(n > 15);
    }
    graph_destroy(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_give_the_same_however_they_are_cut),
        cmocka_unit_test(test_live_values_never_overlap),
        cmocka_unit_test(test_a_value_read_twice_is_not_overwritten_by_its_reader),
        cmocka_unit_test(test_a_value_that_passes_through_is_one_buffer_and_kept),
        cmocka_unit_test(test_memory_is_what_was_promised),
        cmocka_unit_test(test_forward_nodes_read_weights_as_values),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_two_slots_are_independent),
        cmocka_unit_test(test_missing_and_misshapen_weights_are_named),
        cmocka_unit_test(test_many_missing_weights_are_counted),
        cmocka_unit_test(test_stored_half_precision_is_converted),
        cmocka_unit_test(test_options_out_of_range_are_refused),
        cmocka_unit_test(test_a_failing_kernel_is_named),
        cmocka_unit_test(test_out_of_memory_anywhere),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
