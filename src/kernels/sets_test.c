/*
 * Every kernel set against the reference, on random descs of every op it supports: values within
 * graded tolerances, the same bits from other addresses and dirty scratch, nothing written outside
 * the sizes that it told, aliasing as promised, allocation failure reported.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"
#include "kernels/registry.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 40 /* descs per op */
#define GUARD 64  /* bytes behind every buffer */

static uint64_t seed = 20240501;
static uint64_t drawn;

static int64_t draw(int64_t low, int64_t high) { /* both included */
    const uint32_t value = random_u32(random_stream(seed, "descs"), drawn++);
    return low + (int64_t)(value % (uint32_t)(high - low + 1));
}

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static struct tensor_type output_of(enum op op, const struct op_attrs *attrs,
                                    const struct tensor_type *inputs,
                                    const struct tensor_type *params, int param_count) {
    struct tensor_type out;
    assert_int_equal(op_infer(op, attrs, inputs, 1, params, param_count, &out, NULL), SHOAL_OK);
    return out;
}

/* A random desc of the op, one of the core family. */
static struct kernel_desc random_desc(enum op op) {
    struct op_attrs a = {.activation = ACTIVATION_NONE};
    struct tensor_type in[OP_MAX_INPUTS] = {{0}};
    struct tensor_type par[OP_MAX_PARAMS] = {{0}};
    int inputs = op_describe(op)->inputs_min;
    int params = op_describe(op)->params_min;
    const int64_t b = draw(1, 3);
    const int64_t t = draw(1, 40);
    const int64_t c = draw(1, 70);
    switch ((int)op) {
    case OP_CONV2D: {
        const int64_t kind = draw(0, 3); /* plain, plain, grouped, depthwise */
        a.groups = kind < 2 ? 1 : (int32_t)draw(2, kind == 3 ? 70 : 4);
        const int64_t per_group = kind == 3 ? 1 : draw(1, 20);
        const int64_t out = kind == 3 ? a.groups : a.groups * draw(1, 20);
        const int64_t kh = draw(1, 4);
        const int64_t kw = draw(1, 4);
        for (int i = 0; i < 2; i++) {
            a.stride[i] = (int32_t)draw(1, 3);
            a.dilation[i] = (int32_t)draw(1, 2);
            a.pad[i] = (int32_t)draw(0, 2);
            a.pad[i + 2] = (int32_t)draw(0, 2);
        }
        in[0] = f32(SHAPE(b, draw(7, 14), draw(7, 14), per_group * a.groups));
        par[0] = f32(SHAPE(out, per_group, kh, kw));
        par[1] = f32(SHAPE(out));
        params = (int)draw(1, 2);
        a.activation = (enum activation)draw(0, ACTIVATION_COUNT - 1);
        inputs = (int)draw(1, 2);
        if (inputs > 1) {
            in[1] = output_of(op, &a, in, par, params);
        }
        break;
    }
    case OP_TOKENS: {
        const int64_t r = draw(1, 2);
        in[0] = draw(0, 1) == 0 ? f32(SHAPE(b, t, c)) : f32(SHAPE(b, 1, t, c));
        par[0] = f32(SHAPE(r, c));
        par[1] = f32(SHAPE(r + t, c));
        break;
    }
    case OP_EMBED: { /* tables smaller than some ids, too */
        inputs = (int)draw(1, 2);
        params = inputs + 1;
        in[0] = in[1] = (struct tensor_type){DTYPE_I32, SHAPE(b, t)};
        par[0] = f32(SHAPE(draw(1, 40), c));
        par[1] = f32(SHAPE(t + draw(0, 3), c));
        par[2] = f32(SHAPE(draw(1, 3), c));
        break;
    }
    case OP_LAYER_NORM: /* rows of few values may have next to no variance, which magnifies rounding
                         */
        in[0] = f32(SHAPE(b, t, c + 8));
        par[0] = par[1] = f32(SHAPE(c + 8));
        a.epsilon = 1e-6F;
        break;
    case OP_LINEAR: {
        const int64_t k = draw(1, 5) == 1 ? draw(250, 600) : draw(1, 100);
        const int64_t rows = draw(1, 6) == 1 ? draw(200, 500) : t;
        in[0] = f32(SHAPE(b, rows, k));
        in[1] = f32(SHAPE(b, rows, c));
        inputs = (int)draw(1, 2);
        par[0] = f32(SHAPE(c, k));
        par[1] = f32(SHAPE(c));
        params = (int)draw(1, 2);
        a.activation = (enum activation)draw(0, ACTIVATION_COUNT - 1);
        break;
    }
    case OP_ATTENTION: {
        a.heads = (int32_t)draw(1, 4);
        const int64_t tokens = draw(1, 4) == 1 ? draw(100, 300) : t;
        in[0] = f32(SHAPE(b, tokens, draw(1, 40) * a.heads * 3));
        in[1] = f32(SHAPE(b, tokens));
        inputs = (int)draw(1, 2);
        a.scale = 0.3F;
        break;
    }
    case OP_SDPA: {
        const int64_t keys = draw(1, 4) == 1 ? draw(100, 300) : t;
        const int64_t queries = draw(0, 1) == 0 ? keys : draw(1, 40);
        const int64_t key_heads = draw(1, 3);
        const int64_t heads = key_heads * draw(1, 3);
        const int64_t depth = draw(1, 70);
        in[0] = f32(SHAPE(b, queries, heads, depth));
        in[1] = f32(SHAPE(b, keys, key_heads, depth));
        in[2] = f32(SHAPE(b, keys, key_heads, draw(0, 1) == 0 ? depth : draw(1, 70)));
        in[3] = f32(SHAPE(draw(0, 1) == 0 ? 1 : b, draw(0, 1) == 0 ? 1 : heads,
                          draw(0, 1) == 0 ? 1 : queries, keys));
        inputs = (int)draw(3, 4);
        a.mode = draw(0, 1) == 0 ? 0 : SDPA_CAUSAL;
        a.scale = 0.3F;
        a.floats[SDPA_SOFTCAP] = draw(0, 3) == 0 ? 5.0F : 0;
        break;
    }
    case OP_MEAN_POOL:
        in[0] = f32(SHAPE(b, t, c));
        in[1] = f32(SHAPE(b, t));
        break;
    case OP_NORMALISE:
        in[0] = f32(SHAPE(b, t, c));
        a.epsilon = 1e-6F;
        break;
    case OP_SELECT:
        in[0] = f32(SHAPE(b, t, c));
        a.index = draw(0, t - 1);
        break;
    case OP_MATMUL:
        a.transpose_a = draw(0, 1) == 1;
        a.transpose_b = draw(0, 1) == 1;
        in[0] = a.transpose_a ? f32(SHAPE(c, t)) : f32(SHAPE(t, c));
        in[1] = a.transpose_b ? f32(SHAPE(b, c)) : f32(SHAPE(c, b));
        break;
    case OP_SUM_ROWS:
        in[0] = f32(SHAPE(t, c));
        break;
    case OP_CROSS_ENTROPY:
        in[0] = f32(SHAPE(t, c));
        in[1] = (struct tensor_type){DTYPE_I32, SHAPE(t)};
        a.scale = 0.25F;
        break;
    case OP_ADD:
    case OP_ACTIVATION:
    case OP_ACTIVATION_GRAD:
    case OP_SGD:
        in[0] = in[1] = f32(SHAPE(b, t, c));
        a.scale = 0.5F;
        a.activation = (enum activation)draw(0, ACTIVATION_COUNT - 1);
        break;
    default:
        break;
    }
    if (op == OP_LINEAR || (op == OP_CONV2D && a.groups == 1)) {
        const int64_t precision = draw(-3, PRECISION_COUNT - 1); /* half of them f32 */
        a.precision = precision > 0 ? (enum precision)precision : PRECISION_F32;
    }
    struct kernel_desc desc;
    struct shoal_error error;
    const int threads = draw(1, 3) == 1 ? (int)draw(2, 3) : 1;
    const shoal_status status =
        kernel_describe(op, &a, in, inputs, par, params, threads, &desc, &error);
    if (status != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return desc;
}

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    assert_true(shape_bytes(&type->shape, type->dtype, &bytes));
    return bytes;
}

/* A buffer whose last GUARD bytes must stay as they are; shift moves its address by that many cache
 * lines. */
struct buffer {
    unsigned char *base, *data;
    size_t bytes;
};

static struct buffer buffer_make(size_t bytes, size_t shift, unsigned char dirt) {
    struct buffer buffer = {.bytes = bytes};
    buffer.base = mem_alloc_aligned(bytes + shift * MEM_ALIGNMENT + GUARD);
    assert_non_null(buffer.base);
    buffer.data = buffer.base + shift * MEM_ALIGNMENT;
    memset(buffer.base, dirt, bytes + shift * MEM_ALIGNMENT);
    memset(buffer.data + bytes, 0xA5, GUARD);
    return buffer;
}

static void buffer_free(struct buffer *buffer) {
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(buffer->data[buffer->bytes + i], 0xA5);
    }
    mem_free(buffer->base);
}

static void fill(const struct tensor_type *type, const char *name, int index, void *data) {
    const size_t count = bytes_of(type) / dtype_size(type->dtype);
    if (type->dtype == DTYPE_I32) {
        for (size_t i = 0; i < count; i++) {
            ((int32_t *)data)[i] = (int32_t)(i * 7 % 23) - 1; /* the first lies outside */
        }
        return;
    }
    char text[32];
    (void)snprintf(text, sizeof text, "%s%d", name, index);
    random_normal(random_stream(seed + drawn, text), 0, 1.0F, data, count);
}

/* The description is gone when this returns: kernels keep what they need of it. */
static struct kernel *create(const struct kernel_ops *set, struct kernel_desc desc) {
    struct shoal_error error = {.text = ""};
    struct kernel *kernel = NULL;
    if (set->create(&desc, &kernel, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return kernel;
}

/* Creates, packs and runs with buffers at `shift`; alias ≥ 0 makes outputs[0] that input. Results
 * into out. */
static void run_once(const struct kernel_desc *desc, const struct kernel_ops *set, size_t shift,
                     int alias, void *out[OP_MAX_OUTPUTS]) {
    struct shoal_error error = {.text = ""};
    struct kernel *kernel = create(set, *desc);
    struct kernel_sizes sizes;
    set->sizes(kernel, &sizes);
    struct buffer inputs[OP_MAX_INPUTS];
    struct buffer params[OP_MAX_PARAMS];
    struct buffer outputs[OP_MAX_OUTPUTS];
    const void *in[OP_MAX_INPUTS] = {NULL};
    const void *par[OP_MAX_PARAMS] = {NULL};
    void *result[OP_MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < desc->input_count; i++) {
        inputs[i] = buffer_make(bytes_of(&desc->inputs[i]), shift, 1);
        fill(&desc->inputs[i], "input", i, inputs[i].data);
        in[i] = inputs[i].data;
    }
    for (int i = 0; i < desc->param_count; i++) {
        params[i] = buffer_make(bytes_of(&desc->params[i]), shift, 1);
        fill(&desc->params[i], "param", i, params[i].data);
        par[i] = params[i].data;
    }
    for (int i = 0; i < desc->output_count; i++) {
        outputs[i] = buffer_make(bytes_of(&desc->outputs[i]), shift, 0xFF);
        result[i] = outputs[i].data;
    }
    if (alias >= 0) {
        result[0] = inputs[alias].data;
    }
    struct buffer packed = buffer_make(sizes.packed_bytes, shift, 0xFF);
    struct buffer scratch = buffer_make(sizes.scratch_bytes, shift, shift > 0 ? 0xFF : 0);
    assert_int_equal(set->pack(kernel, par, packed.data, &error), SHOAL_OK);
    for (int i = 0; i < desc->param_count; i++) {
        buffer_free(&params[i]); /* pack keeps nothing of them */
    }
    const uint64_t before = mem_allocation_count();
    assert_int_equal(set->run(kernel, packed.data, in, result, scratch.data), SHOAL_OK);
    assert_int_equal(mem_allocation_count(), before);
    for (int i = 0; i < desc->output_count; i++) {
        ASSERT(out[i] != NULL);
        memcpy(out[i], result[i], bytes_of(&desc->outputs[i]));
    }
    for (int i = 0; i < desc->input_count; i++) {
        buffer_free(&inputs[i]);
    }
    for (int i = 0; i < desc->output_count; i++) {
        buffer_free(&outputs[i]);
    }
    buffer_free(&packed);
    buffer_free(&scratch);
    set->destroy(kernel);
}

/* How many products one result adds up. */
static double depth_of(const struct kernel_desc *desc) {
    if (desc->op == OP_LINEAR || desc->op == OP_CONV2D) {
        int64_t count = 0;
        assert_true(shape_count(&desc->params[0].shape, &count));
        count /= desc->params[0].shape.dims[0];
        return (double)count;
    }
    if (desc->op == OP_LAYER_NORM) {
        return (double)desc->params[0].shape.dims[0];
    }
    if (desc->op == OP_SDPA) {
        return (double)desc->inputs[1].shape.dims[1];
    }
    return desc->op == OP_ATTENTION ? (double)desc->inputs[0].shape.dims[1] : 1;
}

/*
 * Rounding grows with the root of the sum's length, and is relative to the sum, which an activation
 * may then have squeezed: sums of normal numbers are about √depth.
 */
static double tolerance(const struct kernel_desc *desc, double greatest) {
    const double root = sqrt(depth_of(desc));
    const bool product = desc->op == OP_LINEAR || desc->op == OP_CONV2D;
    const double size = product ? fmax(greatest, root) : fmax(greatest, 1);
    return 6e-8 * (16 + 4 * root) * size;
}

static void compare(const struct kernel_desc *desc, const struct kernel_ops *set, const float *got,
                    const float *want, size_t count) {
    double greatest = 0;
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        greatest = fmax(greatest, fabs((double)want[i]));
        const double difference = fabs((double)got[i] - (double)want[i]);
        worst = difference <= worst ? worst : difference; /* a NaN becomes the worst, and stays */
    }
    if (!(worst <= tolerance(desc, greatest))) {
        char key[KERNEL_KEY_TEXT];
        kernel_key(desc, key);
        fail_msg("%s: %s: off by %g of %g, allowed %g (SHOAL_TEST_SEED=%" PRIu64 ")", set->name,
                 key, worst, greatest, tolerance(desc, greatest), seed);
    }
}

static bool all_finite(const float *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            return false;
        }
    }
    return true;
}

static void check_desc(const struct kernel_desc *desc, const struct kernel_ops *set) {
    const int inputs = desc->input_count;
    const int outputs = desc->output_count;
    void *want[OP_MAX_OUTPUTS] = {NULL};
    void *got[OP_MAX_OUTPUTS] = {NULL};
    void *again[OP_MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < outputs; i++) {
        const size_t bytes = bytes_of(&desc->outputs[i]);
        want[i] = mem_calloc(1, bytes);
        got[i] = mem_calloc(1, bytes);
        again[i] = mem_calloc(1, bytes);
        assert_true(want[i] != NULL && got[i] != NULL && again[i] != NULL);
    }
    run_once(desc, &kernel_reference_ops, 0, -1, want);
    run_once(desc, set, 0, -1, got);
    run_once(desc, set, 3, -1, again);
    for (int i = 0; i < outputs; i++) {
        const size_t bytes = bytes_of(&desc->outputs[i]);
        assert_true(all_finite(want[i], bytes / sizeof(float)));
        compare(desc, set, got[i], want[i], bytes / sizeof(float));
        assert_memory_equal(got[i], again[i], bytes);
    }
    struct kernel *kernel = create(set, *desc);
    bool aliases[OP_MAX_INPUTS];
    for (int i = 0; i < inputs; i++) {
        aliases[i] = set->aliases(kernel, i);
    }
    set->destroy(kernel);
    for (int i = 0; i < inputs; i++) {
        if (aliases[i]) {
            run_once(desc, set, 1, i, again);
            assert_memory_equal(got[0], again[0], bytes_of(&desc->outputs[0]));
        }
    }
    for (int i = 0; i < outputs; i++) {
        mem_free(want[i]);
        mem_free(got[i]);
        mem_free(again[i]);
    }
}

static void every_set_agrees_with_the_reference(void **state) {
    (void)state;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        for (int op = 0; op <= OP_SGD; op++) {
            int supported = 0;
            for (int round = 0; round < ROUNDS; round++) {
                const struct kernel_desc desc = random_desc((enum op)op);
                if ((*set)->supports(&desc)) {
                    check_desc(&desc, *set);
                    supported++;
                }
            }
            print_message("%s %s: %d of %d\n", (*set)->name, op_describe((enum op)op)->name,
                          supported, ROUNDS);
        }
    }
}

static void what_every_set_must_support(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        for (int op = 0; op <= OP_SGD; op++) {
            const struct kernel_desc desc = random_desc((enum op)op);
            assert_true(kernel_reference_ops.supports(&desc));
            const bool forward = op <= OP_SELECT;
            assert_true(!forward || kernel_set_find("blas")->supports(&desc));
        }
    }
}

/* Documented error: NO_MEMORY. Every allocation of create fails once, and then it works. */
static void create_reports_no_memory(void **state) {
    (void)state;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        for (int op = 0; op <= OP_SGD; op++) {
            const struct kernel_desc desc = random_desc((enum op)op);
            if (!(*set)->supports(&desc)) {
                continue;
            }
            struct kernel *kernel = NULL;
            uint64_t nth = 1;
            for (;; nth++) {
                mem_fail_after(nth);
                const shoal_status status = (*set)->create(&desc, &kernel, NULL);
                mem_fail_after(0);
                if (status == SHOAL_OK) {
                    break;
                }
                assert_int_equal(status, SHOAL_NO_MEMORY);
                assert_null(kernel);
            }
            assert_true(nth > 1);
            (*set)->destroy(kernel);
        }
    }
}

/* Documented error of pack: NO_MEMORY, where packing needs memory of its own; not every shape does.
 */
static void pack_reports_no_memory(void **state) {
    (void)state;
    enum { SHAPES = 30 };
    int needed = 0;
    const struct kernel_ops *const *sets = kernel_sets();
    for (int n = 0; sets[n / SHAPES] != NULL; n++) {
        const struct kernel_ops *const *set = &sets[n / SHAPES];
        const struct kernel_desc desc = random_desc(OP_CONV2D);
        if (!(*set)->supports(&desc)) {
            continue;
        }
        struct kernel *kernel = NULL;
        struct kernel_sizes sizes;
        assert_int_equal((*set)->create(&desc, &kernel, NULL), SHOAL_OK);
        (*set)->sizes(kernel, &sizes);
        struct buffer packed = buffer_make(sizes.packed_bytes, 0, 0);
        struct buffer params[2];
        const void *par[2] = {NULL, NULL};
        for (int i = 0; i < desc.param_count; i++) {
            params[i] = buffer_make(bytes_of(&desc.params[i]), 0, 0);
            par[i] = params[i].data;
        }
        mem_fail_after(1);
        const shoal_status status = (*set)->pack(kernel, par, packed.data, NULL);
        mem_fail_after(0);
        assert_int_equal(status, sizes.pack_bytes > 0 ? SHOAL_NO_MEMORY : SHOAL_OK);
        needed += sizes.pack_bytes > 0 ? 1 : 0;
        for (int i = 0; i < desc.param_count; i++) {
            buffer_free(&params[i]);
        }
        buffer_free(&packed);
        (*set)->destroy(kernel);
    }
    assert_true(needed > 0);
}

/* The same op on other rows: a batch or a length that differs. */
static struct kernel_desc with_other_rows(const struct kernel_desc *desc) {
    struct tensor_type inputs[OP_MAX_INPUTS];
    memcpy(inputs, desc->inputs, sizeof inputs);
    for (int i = 0; i < desc->input_count; i++) {
        inputs[i].shape.dims[0] += 5;
    }
    struct kernel_desc other;
    assert_int_equal(kernel_describe(desc->op, &desc->attrs, inputs, desc->input_count,
                                     desc->params, desc->param_count, desc->threads, &other, NULL),
                     SHOAL_OK);
    return other;
}

static struct buffer pack_all(const struct kernel *kernel, const struct kernel_desc *desc) {
    struct buffer params[OP_MAX_PARAMS];
    const void *par[OP_MAX_PARAMS] = {NULL};
    struct kernel_sizes sizes;
    kernel->ops->sizes(kernel, &sizes);
    struct buffer packed = buffer_make(sizes.packed_bytes, 0, 0);
    for (int i = 0; i < desc->param_count; i++) {
        params[i] = buffer_make(bytes_of(&desc->params[i]), 0, 1);
        random_normal(random_stream(seed, "weights"), 0, 1.0F, (float *)(void *)params[i].data,
                      params[i].bytes / sizeof(float));
        par[i] = params[i].data;
    }
    assert_int_equal(kernel->ops->pack(kernel, par, packed.data, NULL), SHOAL_OK);
    for (int i = 0; i < desc->param_count; i++) {
        buffer_free(&params[i]);
    }
    return packed;
}

/* What one packs another may run with: the sizes and all bytes are the same. */
static void kernels_that_pack_alike_write_the_same_bytes(void **state) {
    (void)state;
    static const enum op ops[] = {OP_LINEAR, OP_EMBED, OP_LAYER_NORM};
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        int alike = 0;
        for (int round = 0; round < 60; round++) {
            const struct kernel_desc desc = random_desc(ops[round % 3]);
            const struct kernel_desc other = with_other_rows(&desc);
            if (!(*set)->supports(&desc) || !(*set)->supports(&other)) {
                continue;
            }
            struct kernel *a = create(*set, desc);
            struct kernel *b = create(*set, other);
            assert_true((*set)->packs_like(a, a));
            if ((*set)->packs_like(a, b)) {
                assert_true((*set)->packs_like(b, a));
                struct buffer x = pack_all(a, &desc);
                struct buffer y = pack_all(b, &other);
                assert_int_equal(x.bytes, y.bytes);
                assert_memory_equal(x.data, y.data, x.bytes);
                buffer_free(&x);
                buffer_free(&y);
                alike++;
            }
            (*set)->destroy(a);
            (*set)->destroy(b);
        }
        print_message("%s: %d of 60 pack alike\n", (*set)->name, alike);
        assert_true(*set == kernel_set_find("onednn") || alike == 60);
    }
}

/* A text of padding alone, in each of its forms, gives numbers. */
static void attention_over_nothing_is_zero(void **state) {
    (void)state;
    const struct op_attrs attrs = {.heads = 2, .scale = 0.2F};
    const struct tensor_type in[2] = {f32(SHAPE(2, 20, 48)), f32(SHAPE(2, 20))};
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        struct kernel_desc desc;
        struct kernel_sizes sizes;
        float qkv[2 * 20 * 48], mask[2 * 20], y[2 * 20 * 16];
        assert_int_equal(kernel_describe(OP_ATTENTION, &attrs, in, 2, NULL, 0, 1, &desc, NULL),
                         SHOAL_OK);
        if (!(*set)->supports(&desc)) {
            continue;
        }
        random_normal(random_stream(seed, "qkv"), 0, 1.0F, qkv, sizeof qkv / sizeof *qkv);
        for (int i = 0; i < 40; i++) { /* the first text has no token, the second one three */
            mask[i] = i >= 20 && i < 23 ? 0 : -INFINITY;
        }
        struct kernel *kernel = create(*set, desc);
        (*set)->sizes(kernel, &sizes);
        struct buffer x = buffer_make(sizeof qkv, 0, 0);
        struct buffer m = buffer_make(sizeof mask, 0, 0);
        struct buffer out = buffer_make(sizeof y, 0, 0xFF);
        struct buffer scratch = buffer_make(sizes.scratch_bytes, 0, 0);
        memcpy(x.data, qkv, sizeof qkv);
        memcpy(m.data, mask, sizeof mask);
        const void *inputs[2] = {x.data, m.data};
        void *outputs[1] = {out.data};
        assert_int_equal((*set)->run(kernel, NULL, inputs, outputs, scratch.data), SHOAL_OK);
        memcpy(y, out.data, sizeof y);
        for (int i = 0; i < 20 * 16; i++) {
            assert_true(y[i] == 0);
            assert_true(isfinite(y[20 * 16 + i]) && y[20 * 16 + i] != 0);
        }
        (*set)->destroy(kernel);
        buffer_free(&x);
        buffer_free(&m);
        buffer_free(&out);
        buffer_free(&scratch);
    }
}

/* A thread that runs a kernel many times with a scratch of its own. */
struct runner {
    const struct kernel *kernel;
    const void *packed, *input;
    void *output, *scratch;
    bool failed;
};

static void *run_many(void *argument) {
    struct runner *runner = argument;
    for (int i = 0; i < 50; i++) {
        const void *inputs[1] = {runner->input};
        void *outputs[1] = {runner->output};
        runner->failed =
            runner->failed || runner->kernel->ops->run(runner->kernel, runner->packed, inputs,
                                                       outputs, runner->scratch) != SHOAL_OK;
    }
    return NULL;
}

static struct kernel_desc attention_desc(void) {
    const struct op_attrs attrs = {.heads = 4, .scale = 0.2F};
    const struct tensor_type qkv = f32(SHAPE(2, 50, 192));
    struct kernel_desc desc;
    assert_int_equal(kernel_describe(OP_ATTENTION, &attrs, &qkv, 1, NULL, 0, 1, &desc, NULL),
                     SHOAL_OK);
    return desc;
}

static void two_threads_may_run_a_kernel_with_a_scratch_each(void **state) {
    (void)state;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        const struct kernel_desc desc = attention_desc();
        struct kernel *kernel = NULL;
        struct kernel_sizes sizes;
        if (!(*set)->supports(&desc)) { /* oneDNN on arm64 */
            continue;
        }
        assert_int_equal((*set)->create(&desc, &kernel, NULL), SHOAL_OK);
        (*set)->sizes(kernel, &sizes);
        struct buffer input = buffer_make(bytes_of(&desc.inputs[0]), 0, 0);
        fill(&desc.inputs[0], "input", 0, input.data);
        struct buffer outputs[2];
        struct buffer scratches[2];
        struct runner runners[2];
        pthread_t threads[2];
        for (int i = 0; i < 2; i++) {
            outputs[i] = buffer_make(bytes_of(&desc.outputs[0]), 0, 0);
            scratches[i] = buffer_make(sizes.scratch_bytes, 0, 0);
            runners[i] = (struct runner){kernel,          input.data,        input.data,
                                         outputs[i].data, scratches[i].data, false};
            assert_int_equal(pthread_create(&threads[i], NULL, run_many, &runners[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_false(runners[i].failed);
        }
        struct runner alone = runners[0];
        struct buffer expected = buffer_make(bytes_of(&desc.outputs[0]), 0, 0);
        alone.output = expected.data;
        (void)run_many(&alone);
        for (int i = 0; i < 2; i++) {
            assert_memory_equal(outputs[i].data, expected.data, expected.bytes);
            buffer_free(&outputs[i]);
            buffer_free(&scratches[i]);
        }
        buffer_free(&expected);
        buffer_free(&input);
        (*set)->destroy(kernel);
    }
}

/* Documented error: UNSUPPORTED, and the output stays as it was. */
static void create_reports_unsupported(void **state) {
    (void)state;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        for (int op = 0; op <= OP_SGD; op++) {
            const struct kernel_desc desc = random_desc((enum op)op);
            struct shoal_error error = {.text = ""};
            struct kernel *kernel = NULL;
            if (!(*set)->supports(&desc)) {
                assert_int_equal((*set)->create(&desc, &kernel, &error), SHOAL_UNSUPPORTED);
                assert_null(kernel);
                assert_non_null(strstr(error.text, (*set)->name));
            }
        }
        (*set)->destroy(NULL);
    }
    struct kernel_desc bad = random_desc(OP_ADD);
    bad.op = OP_COUNT;
    struct kernel *kernel = NULL;
    assert_int_equal(kernel_reference_ops.create(&bad, &kernel, NULL), SHOAL_UNSUPPORTED);
}

int main(void) {
    const char *given = getenv("SHOAL_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : seed;
    print_message("SHOAL_TEST_SEED=%" PRIu64 "\n", seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_agrees_with_the_reference),
        cmocka_unit_test(what_every_set_must_support),
        cmocka_unit_test(create_reports_no_memory),
        cmocka_unit_test(pack_reports_no_memory),
        cmocka_unit_test(create_reports_unsupported),
        cmocka_unit_test(kernels_that_pack_alike_write_the_same_bytes),
        cmocka_unit_test(attention_over_nothing_is_zero),
        cmocka_unit_test(two_threads_may_run_a_kernel_with_a_scratch_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
