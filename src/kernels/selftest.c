#include "kernels/selftest.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

/* Of the largest value of an output: float rounding over at most a few hundred terms. */
#define TOLERANCE 1e-4F

struct sample {
    enum op op;
    struct op_attrs attrs;
    int input_count, param_count;
    struct shape inputs[2], params[2];
};

static const struct sample samples[] = {
    {.op = OP_LINEAR,
     .attrs = {.activation = ACTIVATION_GELU_ERF},
     .input_count = 1,
     .param_count = 2,
     .inputs = {{3, {2, 17, 96}}},
     .params = {{2, {80, 96}}, {1, {80}}}},
    {.op = OP_LINEAR,
     .input_count = 2,
     .param_count = 2,
     .inputs = {{3, {1, 50, 64}}, {3, {1, 50, 200}}},
     .params = {{2, {200, 64}}, {1, {200}}}},
    {.op = OP_ATTENTION,
     .attrs = {.heads = 3, .scale = 0.25F},
     .input_count = 1,
     .inputs = {{3, {2, 33, 144}}}},
    {.op = OP_LAYER_NORM,
     .attrs = {.epsilon = 1e-6F},
     .input_count = 1,
     .param_count = 2,
     .inputs = {{3, {2, 9, 96}}},
     .params = {{1, {96}}, {1, {96}}}},
    {.op = OP_CONV2D,
     .attrs = {.stride = {4, 4}, .dilation = {1, 1}, .groups = 1},
     .input_count = 1,
     .param_count = 2,
     .inputs = {{4, {1, 16, 16, 3}}},
     .params = {{4, {48, 3, 4, 4}}, {1, {48}}}},
};

/* Memory of one run of one set. */
struct trial {
    struct kernel *kernel;
    void *packed, *scratch, *output;
};

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    (void)shape_bytes(&type->shape, type->dtype, &bytes);
    return bytes;
}

static void trial_fini(struct trial *trial, const struct kernel_ops *set) {
    set->destroy(trial->kernel);
    mem_free(trial->packed);
    mem_free(trial->scratch);
    mem_free(trial->output);
}

static shoal_status trial_run(struct trial *trial, const struct kernel_ops *set,
                              const struct kernel_desc *desc, void *const inputs[],
                              void *const params[], struct shoal_error *error) {
    struct kernel_sizes sizes;
    TRY(set->create(desc, &trial->kernel, error));
    set->sizes(trial->kernel, &sizes);
    trial->packed = mem_alloc_aligned(sizes.packed_bytes + 1);
    trial->scratch = mem_alloc_aligned(sizes.scratch_bytes + 1);
    trial->output = mem_alloc_aligned(bytes_of(&desc->outputs[0]));
    if (trial->packed == NULL || trial->scratch == NULL || trial->output == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to test kernels");
    }
    TRY(set->pack(trial->kernel, (const void *const *)params, trial->packed, error));
    void *outputs[OP_MAX_OUTPUTS] = {trial->output};
    const shoal_status status = set->run(trial->kernel, trial->packed, (const void *const *)inputs,
                                         outputs, trial->scratch);
    return status == SHOAL_OK
               ? SHOAL_OK
               : error_set(error, status, "%s: %s failed", set->name, op_describe(desc->op)->name);
}

static shoal_status compare(const struct kernel_ops *set, const struct kernel_desc *desc,
                            const float *have, const float *want, struct shoal_error *error) {
    const size_t count = bytes_of(&desc->outputs[0]) / sizeof *have;
    float largest = 0.0F;
    for (size_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(want[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(have[i] - want[i]) <= TOLERANCE * largest)) { /* NaN is no match either */
            return error_set(error, SHOAL_MISMATCH,
                             "%s: %s gives %.9g as value %zu, the reference %.9g", set->name,
                             op_describe(desc->op)->name, (double)have[i], i, (double)want[i]);
        }
    }
    return SHOAL_OK;
}

static shoal_status fill(const struct tensor_type *types, int count, const char *name, void *out[],
                         struct shoal_error *error) {
    for (int i = 0; i < count; i++) {
        const size_t bytes = bytes_of(&types[i]);
        out[i] = mem_alloc_aligned(bytes);
        if (out[i] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory to test kernels");
        }
        random_normal(random_stream((uint64_t)i, name), 0, 0.5F, out[i], bytes / sizeof(float));
    }
    return SHOAL_OK;
}

static shoal_status try_desc(const struct kernel_ops *set, const struct kernel_desc *desc,
                             struct shoal_error *error) {
    void *inputs[OP_MAX_INPUTS] = {NULL}, *params[OP_MAX_PARAMS] = {NULL};
    struct trial have = {0}, want = {0};
    shoal_status status = fill(desc->inputs, desc->input_count, "input", inputs, error);
    if (status == SHOAL_OK) {
        status = fill(desc->params, desc->param_count, "param", params, error);
    }
    if (status == SHOAL_OK) {
        status = trial_run(&have, set, desc, inputs, params, error);
    }
    if (status == SHOAL_OK) {
        status = trial_run(&want, &kernel_reference_ops, desc, inputs, params, error);
    }
    if (status == SHOAL_OK) {
        status = compare(set, desc, have.output, want.output, error);
    }
    trial_fini(&have, set);
    trial_fini(&want, &kernel_reference_ops);
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        mem_free(inputs[i]);
    }
    for (int i = 0; i < OP_MAX_PARAMS; i++) {
        mem_free(params[i]);
    }
    return status;
}

shoal_status kernel_self_test(const struct kernel_ops *set, int threads, int *ops,
                              struct shoal_error *error) {
    int tried = 0;
    for (size_t s = 0; s < sizeof samples / sizeof samples[0]; s++) {
        const struct sample *sample = &samples[s];
        struct tensor_type inputs[2], params[2];
        for (int i = 0; i < 2; i++) {
            inputs[i] = (struct tensor_type){DTYPE_F32, sample->inputs[i]};
            params[i] = (struct tensor_type){DTYPE_F32, sample->params[i]};
        }
        struct kernel_desc desc;
        TRY(kernel_describe(sample->op, &sample->attrs, inputs, sample->input_count, params,
                            sample->param_count, threads, &desc, error));
        if (set->supports(&desc)) {
            TRY(try_desc(set, &desc, error));
            tried++;
        }
    }
    *ops = tried;
    return SHOAL_OK;
}
