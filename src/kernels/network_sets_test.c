/*
 * What kernel sets other than the reference have of the network family, against the reference on
 * random descs: values, the same bits on any number of threads and from dirty scratch, nothing
 * written outside, aliasing as promised.
 */
#include "kernels/isa.h"
#include "kernels/registry.h"
#include "kernels/test_tensors.h"

#define ROUNDS 40
#define GUARD 64

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static void random_window(struct op_attrs *attrs) {
    for (int i = 0; i < 2; i++) {
        attrs->ints[WINDOW_STRIDE + i] = draw(1, 3);
        attrs->ints[WINDOW_DILATION + i] = draw(1, 2);
        attrs->ints[WINDOW_BEGIN + i] = draw(0, 2);
        attrs->ints[WINDOW_END + i] = draw(0, 2);
    }
}

/* Random inputs and attributes of an op that some set serves; returns how many inputs. */
static int random_case(enum op op, struct op_attrs *a, struct tensor_type *in) {
    const int64_t b = draw(1, 3), c = draw(1, 70), h = draw(5, 12), w = draw(5, 12);
    *a = (struct op_attrs){.axis = 3, .groups = 1, .scale = 1, .epsilon = 1e-5F};
    in[0] = f32(SHAPE(b, h, w, c));
    switch ((int)op) {
    case OP_POOL:
        random_window(a);
        a->mode = (int32_t)draw(0, 1);
        a->ints[WINDOW_KERNEL] = draw(1, 3);
        a->ints[WINDOW_KERNEL + 1] = draw(1, 3);
        a->ints[WINDOW_CEIL] = draw(0, 1);
        a->ints[WINDOW_INCLUDE] = draw(0, 1);
        return 1;
    case OP_RESIZE:
        a->mode = (int32_t)draw(0, 2);
        a->epsilon = -0.75F;
        a->ints[RESIZE_COORDINATES_AT] = draw(0, RESIZE_ASYMMETRIC);
        a->ints[RESIZE_ROUNDING_AT] = draw(0, 3);
        a->ints[RESIZE_ANTIALIAS_AT] = draw(0, 1);
        a->ints[RESIZE_EXCLUDE_AT] = draw(0, 1);
        for (int i = 0; i < 4; i++) {
            const int64_t dim = in[0].shape.dims[i];
            a->ints[i] = i == 1 || i == 2 ? draw(2, 20) : dim;
            a->floats[i] = (float)a->ints[i] / (float)dim;
        }
        return 1;
    case OP_PRODUCT: {
        const int64_t m = draw(1, 40), k = draw(1, 5) == 1 ? draw(250, 600) : draw(1, 90);
        a->transpose_a = draw(0, 3) == 0;
        a->transpose_b = draw(0, 1) == 0;
        a->scale = draw(0, 1) == 0 ? 1 : 0.125F;
        in[0] = f32(a->transpose_a ? SHAPE(b, 2, k, m) : SHAPE(b, 2, m, k));
        in[1] = f32(a->transpose_b ? SHAPE(2, c, k) : SHAPE(2, k, c));
        if (draw(0, 2) == 0) { /* one matrix for all */
            in[1] = f32(a->transpose_b ? SHAPE(c, k) : SHAPE(k, c));
        }
        return 2;
    }
    case OP_CONV_TRANSPOSE:
        random_window(a);
        in[1] = f32(SHAPE(c, draw(1, 40), draw(2, 4), draw(2, 4)));
        in[2] = f32(SHAPE(in[1].shape.dims[1]));
        return (int)draw(2, 3);
    case OP_RMS_NORM:
        in[1] = f32(SHAPE(c));
        return 2;
    default: /* BATCH_NORM, GROUP_NORM; channels last or second */
        if (op == OP_GROUP_NORM) {
            a->groups = (int32_t)draw(1, 4);
            in[0].shape.dims[3] = a->groups * draw(1, 9);
        }
        if (draw(0, 1) == 0) {
            const int64_t channels = in[0].shape.dims[3];
            a->axis = 1;
            in[0] = f32(SHAPE(b, channels, h, w));
        }
        for (int i = 1; i < 5; i++) {
            in[i] = f32(SHAPE(in[0].shape.dims[a->axis]));
        }
        return op == OP_BATCH_NORM ? 5 : 3;
    }
}

/* Runs the desc on a set; the result is made. alias: outputs[0] is inputs[0]. */
static struct tensor run_on(const struct kernel_ops *set, const struct kernel_desc *desc,
                            const struct tensor *inputs, unsigned char dirt, bool alias) {
    struct kernel *kernel = NULL;
    struct kernel_sizes sizes;
    struct shoal_error error = {.text = ""};
    const void *in[OP_MAX_INPUTS] = {NULL};
    if (set->create(desc, &kernel, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    set->sizes(kernel, &sizes);
    struct tensor y = {desc->outputs[0].dtype, desc->outputs[0].shape, NULL};
    const size_t bytes = bytes_of(&desc->outputs[0]);
    unsigned char *result = mem_alloc_aligned(bytes + GUARD);
    unsigned char *scratch = mem_alloc_aligned(sizes.scratch_bytes + GUARD);
    assert_true(result != NULL && scratch != NULL);
    memset(result, 0xFF, bytes);
    memset(scratch, dirt, sizes.scratch_bytes);
    memset(result + bytes, 0xA5, GUARD);
    memset(scratch + sizes.scratch_bytes, 0xA5, GUARD);
    for (int i = 0; i < desc->input_count; i++) {
        in[i] = inputs[i].data;
    }
    if (alias) {
        memcpy(result, in[0], bytes);
        in[0] = result;
    }
    const uint64_t before = mem_allocation_count();
    assert_int_equal(set->run(kernel, NULL, in, (void *[]){result}, scratch), SHOAL_OK);
    assert_int_equal(mem_allocation_count(), before);
    for (size_t i = 0; i < GUARD; i++) {
        assert_true(result[bytes + i] == 0xA5 && scratch[sizes.scratch_bytes + i] == 0xA5);
    }
    mem_free(scratch);
    set->destroy(kernel);
    y.data = result;
    return y;
}

static bool may_alias(const struct kernel_ops *set, const struct kernel_desc *desc) {
    struct kernel *kernel = NULL;
    assert_int_equal(set->create(desc, &kernel, NULL), SHOAL_OK);
    const bool aliases = set->aliases(kernel, 0);
    set->destroy(kernel);
    return aliases;
}

/* Rounding grows with the root of a sum's length, and with the sum. */
static void compare(const struct kernel_desc *desc, const struct tensor *got,
                    const struct tensor *want) {
    double greatest = 1, worst = 0;
    const double depth = desc->op == OP_PRODUCT || desc->op == OP_CONV_TRANSPOSE ? 1200 : 100;
    for (int64_t i = 0; i < count_of(want); i++) {
        const double a = (double)floats(got)[i], b = (double)floats(want)[i];
        if (isinf(b) && a == b) {
            continue;
        }
        const double difference = fabs(a - b);
        greatest = fmax(greatest, fabs(b));
        worst = difference <= worst ? worst : difference; /* a NaN becomes the worst, and stays */
    }
    const double allowed = 6e-8 * (16 + 4 * sqrt(depth)) * greatest;
    if (!(worst <= allowed)) {
        char key[KERNEL_KEY_TEXT];
        kernel_key(desc, key);
        fail_msg("%s: off by %g of %g, allowed %g (SHOAL_TEST_SEED=%" PRIu64 ")", key, worst,
                 greatest, allowed, seed);
    }
}

static void check(const struct kernel_ops *set, struct kernel_desc *desc,
                  const struct tensor *inputs) {
    struct tensor want = run_on(&kernel_reference_ops, desc, inputs, 0, false);
    struct tensor got = run_on(set, desc, inputs, 0, false);
    compare(desc, &got, &want);
    const size_t bytes = bytes_of(&desc->outputs[0]);
    for (int threads = 1; threads <= 3; threads++) {
        desc->threads = threads;
        struct tensor again = run_on(set, desc, inputs, 0xFF, false);
        assert_memory_equal(again.data, got.data, bytes);
        mem_free(again.data);
    }
    if (may_alias(set, desc)) {
        struct tensor again = run_on(set, desc, inputs, 0xFF, true);
        assert_memory_equal(again.data, got.data, bytes);
        mem_free(again.data);
    }
    free_all((struct tensor[]){want, got}, 2);
}

static void every_set_agrees_with_the_reference(void **state) {
    (void)state;
    static const enum op ops[] = {OP_POOL,       OP_RESIZE,     OP_PRODUCT, OP_CONV_TRANSPOSE,
                                  OP_BATCH_NORM, OP_GROUP_NORM, OP_RMS_NORM};
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++) {
        int served = 0;
        for (int round = 0; round < ROUNDS; round++) {
            struct op_attrs attrs;
            struct tensor_type in[5];
            struct tensor inputs[5];
            struct kernel_desc desc;
            const int count = random_case(ops[k], &attrs, in);
            struct shoal_error error;
            if (kernel_describe(ops[k], &attrs, in, count, NULL, 0, (int)draw(1, 3), &desc,
                                &error) != SHOAL_OK) {
                continue; /* a window that does not fit */
            }
            for (int i = 0; i < count; i++) {
                inputs[i] = normal(in[i].shape);
            }
            for (int64_t i = 0; ops[k] == OP_BATCH_NORM && i < count_of(&inputs[4]); i++) {
                floats(&inputs[4])[i] = 0.5F + fabsf(floats(&inputs[4])[i]);
            }
            for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
                if ((*set)->supports(&desc) && *set != &kernel_reference_ops) {
                    check(*set, &desc, inputs);
                    served++;
                }
            }
            free_all(inputs, count);
        }
        print_message("%s: %d\n", op_describe(ops[k])->name, served);
        assert_true(served >= ROUNDS / 2); /* the blas set serves nearly all of these */
    }
}

/* Two items on several threads are large enough for more than one of them. */
static void large_ones_are_the_same_on_any_number_of_threads(void **state) {
    (void)state;
    struct op_attrs product = {.scale = 1, .transpose_b = true};
    struct op_attrs window = {.axis = 3, .groups = 1, .ints = {0, 0, 0, 0, 2, 2, 0, 0, 1, 1}};
    const struct {
        enum op op;
        const struct op_attrs *attrs;
        struct tensor_type in[2];
    } cases[] = {
        {OP_PRODUCT, &product, {f32(SHAPE(150, 300)), f32(SHAPE(500, 300))}},
        {OP_PRODUCT, &product, {f32(SHAPE(3000, 64)), f32(SHAPE(20, 64))}},
        {OP_PRODUCT, &product, {f32(SHAPE(5, 90, 64)), f32(SHAPE(5, 90, 64))}},
        {OP_CONV_TRANSPOSE, &window, {f32(SHAPE(1, 20, 24, 48)), f32(SHAPE(48, 40, 2, 2))}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kernel_desc desc;
        assert_int_equal(
            kernel_describe(cases[i].op, cases[i].attrs, cases[i].in, 2, NULL, 0, 1, &desc, NULL),
            SHOAL_OK);
        assert_true(kernel_set_find("blas")->supports(&desc));
        struct tensor inputs[2] = {normal(cases[i].in[0].shape), normal(cases[i].in[1].shape)};
        check(kernel_set_find("blas"), &desc, inputs);
        free_all(inputs, 2);
    }
}

/* network_sets_test [INSTRUCTION SET]: with a cap on what the kernels use. */
int main(int argc, char **argv) {
    enum isa isa;
    if (argc > 1 &&
        (isa_parse(argv[1], &isa, NULL) != SHOAL_OK || isa_cap(isa, argv, NULL) != SHOAL_OK)) {
        print_error("%s: no such instruction set here\n", argv[1]);
        return 2;
    }
    read_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_agrees_with_the_reference),
        cmocka_unit_test(large_ones_are_the_same_on_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
