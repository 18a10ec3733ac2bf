/* What the tests of op families share: random tensors, one call of a kernel on any set, elements as
 * numbers. */
#ifndef KERNELS_OP_HARNESS_H
#define KERNELS_OP_HARNESS_H

#include "base/memory.h"
#include "base/random.h"
#include "kernels/registry.h"

#include <math.h>
#include <string.h>

#define HARNESS_MOST 4096 /* elements of a tensor */
#define HARNESS_GUARD 64

struct array {
    struct tensor_type type;
    int64_t count;
    unsigned char *data; /* freed by array_free */
};

static uint64_t harness_seed = 20261126;
static uint64_t harness_drawn;

static inline int64_t draw(int64_t low, int64_t high) { /* both included */
    const uint32_t value = random_u32(random_stream(harness_seed, "ops"), harness_drawn++);
    return low + (int64_t)(value % (uint32_t)(high - low + 1));
}

static inline struct array array_make(enum dtype dtype, struct shape shape) {
    struct array a = {{dtype, shape}, 0, NULL};
    assert_true(shape_count(&shape, &a.count));
    const size_t bytes = (size_t)a.count * dtype_size(dtype);
    a.data = mem_alloc_aligned(bytes + HARNESS_GUARD);
    assert_non_null(a.data);
    memset(a.data, 0, bytes);
    memset(a.data + bytes, 0xA5, HARNESS_GUARD);
    return a;
}

/* What lies behind must not have been written. */
static inline void array_free(struct array *a) {
    const size_t bytes = (size_t)a->count * dtype_size(a->type.dtype);
    for (size_t i = 0; i < HARNESS_GUARD; i++) {
        assert_int_equal(a->data[bytes + i], 0xA5);
    }
    mem_free(a->data);
    a->data = NULL;
}

#define HARNESS_NUMBERS(X)                                                           \
    X(F32, float)                                                                    \
    X(F64, double)                                                                   \
    X(I8, int8_t)                                                                    \
    X(U8, uint8_t) X(I16, int16_t) X(U16, uint16_t) X(I32, int32_t) X(U32, uint32_t) \
        X(I64, int64_t) X(U64, uint64_t) X(BOOL, uint8_t)

static inline double array_get(const struct array *a, int64_t i) {
    switch ((int)a->type.dtype) {
#define X(code, ctype) \
    case DTYPE_##code: \
        return (double)((const ctype *)(const void *)a->data)[i];
        HARNESS_NUMBERS(X)
#undef X
    default:
        fail_msg("no number");
        return 0;
    }
}

static inline void array_set(const struct array *a, int64_t i, double value) {
    switch ((int)a->type.dtype) {
#define X(code, ctype)                                \
    case DTYPE_##code:                                \
        ((ctype *)(void *)a->data)[i] = (ctype)value; \
        break;
        HARNESS_NUMBERS(X)
#undef X
    default:
        fail_msg("no number");
    }
}

static inline bool harness_is_real(enum dtype dtype) {
    return dtype == DTYPE_F32 || dtype == DTYPE_F64;
}

static inline bool harness_is_unsigned(enum dtype dtype) {
    return dtype == DTYPE_U8 || dtype == DTYPE_U16 || dtype == DTYPE_U32 || dtype == DTYPE_U64;
}

/* Small numbers of the type: fractions for reals, none below 0 for unsigned types. */
static inline void array_fill(const struct array *a) {
    for (int64_t i = 0; i < a->count; i++) {
        const double whole = (double)draw(-20, 20);
        double value = harness_is_real(a->type.dtype) ? whole / 8 : whole;
        value = harness_is_unsigned(a->type.dtype) ? fabs(value) : value;
        array_set(a, i, a->type.dtype == DTYPE_BOOL ? (double)draw(0, 1) : value);
    }
}

static inline enum dtype draw_number(void) {
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F32, DTYPE_F64, DTYPE_I8,
                                       DTYPE_U8,  DTYPE_I16, DTYPE_U16, DTYPE_I32,
                                       DTYPE_U32, DTYPE_I64, DTYPE_U64};
    return types[draw(0, 10)];
}

/* rank 0..most with dims 0..7, mostly more than 0. */
static inline struct shape draw_shape(int least, int most) {
    struct shape shape = {.rank = (int)draw(least, most)};
    for (int i = 0; i < shape.rank; i++) {
        shape.dims[i] = draw(0, 40) == 0 ? 0 : draw(1, 6);
    }
    return shape;
}

/* Multi-index ↔ element. */
static inline void unravel(const struct shape *shape, int64_t i, int64_t at[SHAPE_MAX_RANK]) {
    for (int k = shape->rank - 1; k >= 0; k--) {
        at[k] = i % shape->dims[k];
        i /= shape->dims[k];
    }
}

static inline int64_t ravel(const struct shape *shape, const int64_t at[SHAPE_MAX_RANK]) {
    int64_t i = 0;
    for (int k = 0; k < shape->rank; k++) {
        i = i * shape->dims[k] + at[k];
    }
    return i;
}

/* Infers and runs; outputs are made here. alias ≥ 0: the first output is written over that input's
 * copy. False: the set does not support the desc (or the alias). */
static inline bool harness_run(const struct kernel_ops *set, enum op op,
                               const struct op_attrs *attrs, const struct array *inputs, int count,
                               int threads, int alias, struct array outputs[OP_MAX_OUTPUTS]) {
    struct tensor_type types[OP_MAX_INPUTS];
    struct kernel_desc desc;
    struct shoal_error error = {.text = ""};
    for (int i = 0; i < count; i++) {
        types[i] = inputs[i].type;
    }
    if (kernel_describe(op, attrs, types, count, NULL, 0, threads, &desc, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    struct kernel *kernel = NULL;
    if (!set->supports(&desc)) {
        return false;
    }
    assert_int_equal(set->create(&desc, &kernel, &error), SHOAL_OK);
    if (alias >= 0 && !set->aliases(kernel, alias)) {
        set->destroy(kernel);
        return false;
    }
    struct kernel_sizes sizes;
    set->sizes(kernel, &sizes);
    struct array scratch = array_make(DTYPE_U8, SHAPE((int64_t)sizes.scratch_bytes));
    memset(scratch.data, 0xFF, sizes.scratch_bytes);
    const void *in[OP_MAX_INPUTS] = {NULL};
    void *out[OP_MAX_OUTPUTS] = {NULL};
    for (int i = 0; i < count; i++) {
        in[i] = inputs[i].data;
    }
    for (int i = 0; i < desc.output_count; i++) {
        outputs[i] = array_make(desc.outputs[i].dtype, desc.outputs[i].shape);
        memset(outputs[i].data, 0xFF, (size_t)outputs[i].count * dtype_size(desc.outputs[i].dtype));
        out[i] = outputs[i].data;
    }
    if (alias >= 0) {
        memcpy(out[0], in[alias], (size_t)outputs[0].count * dtype_size(desc.outputs[0].dtype));
        in[alias] = out[0];
    }
    assert_int_equal(set->pack(kernel, NULL, NULL, &error), SHOAL_OK);
    const uint64_t before = mem_allocation_count();
    assert_int_equal(set->run(kernel, NULL, in, out, scratch.data), SHOAL_OK);
    assert_int_equal(mem_allocation_count(), before);
    array_free(&scratch);
    set->destroy(kernel);
    return true;
}

/* On every set that has the op: hands the outputs of each to check, and wants the same bytes from
 * every input that may be the output, too. */
static inline void harness_each(enum op op, const struct op_attrs *attrs,
                                const struct array *inputs, int count,
                                void (*check)(void *context, const struct array *outputs),
                                void *context) {
    int ran = 0;
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        struct array outputs[OP_MAX_OUTPUTS], again[OP_MAX_OUTPUTS];
        const int threads = (int)draw(1, 3);
        if (!harness_run(*set, op, attrs, inputs, count, threads, -1, outputs)) {
            continue;
        }
        ran++;
        check(context, outputs);
        for (int alias = 0; alias < count; alias++) {
            if (harness_run(*set, op, attrs, inputs, count, threads, alias, again)) {
                assert_memory_equal(outputs[0].data, again[0].data,
                                    (size_t)outputs[0].count * dtype_size(outputs[0].type.dtype));
                for (int i = 0; i < op_describe(op)->outputs; i++) {
                    array_free(&again[i]);
                }
            }
        }
        for (int i = 0; i < op_describe(op)->outputs; i++) {
            array_free(&outputs[i]);
        }
    }
    assert_true(ran > 0);
}

/* An expected array: equal within `tolerance` of the larger of 1 and the value. */
struct expected {
    struct array array;
    double tolerance;
};

static inline void meets(void *context, const struct array *outputs) {
    const struct expected *e = context;
    assert_int_equal(outputs[0].type.dtype, e->array.type.dtype);
    assert_true(shape_equal(&outputs[0].type.shape, &e->array.type.shape));
    for (int64_t i = 0; i < e->array.count; i++) {
        const double want = array_get(&e->array, i), have = array_get(&outputs[0], i);
        const double scale = fabs(want) > 1 ? fabs(want) : 1;
        if (!(fabs(want - have) <= e->tolerance * scale) && want != have &&
            !(isnan(want) && isnan(have))) {
            fail_msg("element %d: %.9g, not %.9g (seed %llu)", (int)i, have, want,
                     (unsigned long long)harness_seed);
        }
    }
}

/* op_infer refuses with that status, and the text says why. */
static inline void refuses(enum op op, struct op_attrs attrs, const struct tensor_type *inputs,
                           int count, shoal_status status, const char *text) {
    struct tensor_type outputs[OP_MAX_OUTPUTS];
    struct shoal_error error = {.text = ""};
    assert_int_equal(op_infer(op, &attrs, inputs, count, NULL, 0, outputs, &error), status);
    if (strstr(error.text, text) == NULL || strstr(error.text, op_describe(op)->name) == NULL) {
        fail_msg("\"%s\" says nothing of \"%s\"", error.text, text);
    }
}

#endif
