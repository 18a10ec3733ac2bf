/* Tensors and single calls of reference kernels, for the tests of op families. */
#ifndef KERNELS_TEST_TENSORS_H
#define KERNELS_TEST_TENSORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/kernel.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 20240601;
static uint64_t drawn;

static inline int64_t draw(int64_t low, int64_t high) { /* both included */
    const uint32_t value = random_u32(random_stream(seed, "network"), drawn++);
    return low + (int64_t)(value % (uint32_t)(high - low + 1));
}

static inline size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    assert_true(shape_bytes(&type->shape, type->dtype, &bytes));
    return bytes;
}

static inline int64_t count_of(const struct tensor *x) {
    int64_t count = 0;
    assert_true(shape_count(&x->shape, &count));
    return count;
}

static inline struct tensor make(enum dtype dtype, struct shape shape) {
    const struct tensor_type type = {dtype, shape};
    struct tensor tensor = {dtype, shape, mem_alloc_aligned(bytes_of(&type) + 1)};
    assert_non_null(tensor.data);
    return tensor;
}

static inline struct tensor normal(struct shape shape) {
    struct tensor tensor = make(DTYPE_F32, shape);
    random_normal(random_stream(seed + drawn++, "values"), 0, 1.0F, tensor.data,
                  (size_t)count_of(&tensor));
    return tensor;
}

static inline struct tensor bytes(enum dtype dtype, struct shape shape) {
    struct tensor tensor = make(dtype, shape);
    for (int64_t i = 0; i < count_of(&tensor); i++) {
        ((uint8_t *)tensor.data)[i] = (uint8_t)draw(0, 255);
    }
    return tensor;
}

static inline struct tensor numbers(enum dtype dtype, struct shape shape, const int64_t *values) {
    struct tensor tensor = make(dtype, shape);
    for (int64_t i = 0; i < count_of(&tensor); i++) {
        if (dtype == DTYPE_I64) {
            ((int64_t *)tensor.data)[i] = values[i];
        } else if (dtype == DTYPE_I32) {
            ((int32_t *)tensor.data)[i] = (int32_t)values[i];
        } else if (dtype == DTYPE_F32) {
            ((float *)tensor.data)[i] = (float)values[i];
        } else {
            ((uint8_t *)tensor.data)[i] = (uint8_t)values[i];
        }
    }
    return tensor;
}

static inline float *floats(const struct tensor *tensor) {
    return tensor->data;
}

/* Runs the op on the reference kernels; outputs are made. */
static inline void run(enum op op, const struct op_attrs *attrs, const struct tensor *inputs,
                       int count, struct tensor *outputs) {
    struct tensor_type types[OP_MAX_INPUTS];
    const void *in[OP_MAX_INPUTS] = {NULL};
    void *out[OP_MAX_OUTPUTS] = {NULL};
    struct kernel_desc desc;
    struct shoal_error error = {.text = ""};
    struct kernel *kernel = NULL;
    struct kernel_sizes sizes;
    for (int i = 0; i < count; i++) {
        types[i] = (struct tensor_type){inputs[i].dtype, inputs[i].shape};
        in[i] = inputs[i].data;
    }
    if (kernel_describe(op, attrs, types, count, NULL, 0, 1, &desc, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(kernel_reference_ops.create(&desc, &kernel, &error), SHOAL_OK);
    kernel_reference_ops.sizes(kernel, &sizes);
    void *scratch = mem_alloc_aligned(sizes.scratch_bytes + 1);
    assert_non_null(scratch);
    for (int i = 0; i < desc.output_count; i++) {
        outputs[i] = make(desc.outputs[i].dtype, desc.outputs[i].shape);
        memset(outputs[i].data, 0xFF, bytes_of(&desc.outputs[i]));
        out[i] = outputs[i].data;
    }
    assert_int_equal(kernel_reference_ops.run(kernel, NULL, in, out, scratch), SHOAL_OK);
    mem_free(scratch);
    kernel_reference_ops.destroy(kernel);
}

static inline void free_all(struct tensor *tensors, int count) {
    for (int i = 0; i < count; i++) {
        mem_free(tensors[i].data);
    }
}

static inline void expect_close(const struct tensor *a, const struct tensor *b, double tolerance) {
    assert_true(shape_equal(&a->shape, &b->shape));
    for (int64_t i = 0; i < count_of(a); i++) {
        const double x = (double)floats(a)[i], y = (double)floats(b)[i];
        if (!(fabs(x - y) <= tolerance * (1 + fabs(y)))) {
            fail_msg("element %" PRId64 ": %g and %g (SHOAL_TEST_SEED=%" PRIu64 ")", i, x, y, seed);
        }
    }
}

static inline struct tensor transposed(const struct tensor *x, int64_t a, int64_t b, int64_t c,
                                       int64_t d) {
    const struct op_attrs attrs = {.ints = {a, b, c, d}};
    struct tensor y;
    run(OP_TRANSPOSE, &attrs, x, 1, &y);
    return y;
}

static inline struct tensor to_nhwc(const struct tensor *x) {
    return transposed(x, 0, 2, 3, 1);
}

/* Seed from SHOAL_TEST_SEED, printed. */
static inline void read_seed(void) {
    const char *given = getenv("SHOAL_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 10) : seed;
    print_message("SHOAL_TEST_SEED=%" PRIu64 "\n", seed);
}

#endif
