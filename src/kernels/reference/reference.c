#include "kernels/reference/reference.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

struct reference_kernel {
    struct kernel kernel;
    struct kernel_desc desc;
    size_t param_offsets[OP_MAX_PARAMS]; /* bytes in the packed params */
    size_t packed_bytes, scratch_bytes;
};

static void (*const functions[OP_COUNT])(const struct reference_call *) = {
    [OP_CONV2D] = reference_conv2d,
    [OP_TOKENS] = reference_tokens,
    [OP_EMBED] = reference_embed,
    [OP_LAYER_NORM] = reference_layer_norm,
    [OP_LINEAR] = reference_linear,
    [OP_ATTENTION] = reference_attention,
    [OP_ADD] = reference_add,
    [OP_ACTIVATION] = reference_activation,
    [OP_MEAN_POOL] = reference_mean_pool,
    [OP_NORMALISE] = reference_normalise,
    [OP_SELECT] = reference_select,
    [OP_MATMUL] = reference_matmul,
    [OP_SUM_ROWS] = reference_sum_rows,
    [OP_ACTIVATION_GRAD] = reference_activation_grad,
    [OP_CROSS_ENTROPY] = reference_cross_entropy,
    [OP_SGD] = reference_sgd,
};

static const struct reference_kernel *self(const struct kernel *kernel) {
    return (const struct reference_kernel *)kernel;
}

static bool supports(const struct kernel_desc *desc) {
    return (unsigned)desc->op < OP_COUNT; /* op_infer has refused what no kernel has */
}

static shoal_status create(const struct kernel_desc *desc, struct kernel **out,
                           struct shoal_error *error) {
    if (!supports(desc)) {
        return error_set(error, SHOAL_UNSUPPORTED, "reference: unknown op %d", (int)desc->op);
    }
    struct reference_kernel *kernel = mem_calloc(1, sizeof *kernel);
    if (kernel == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "reference: no memory for a kernel");
    }
    kernel->kernel.ops = &kernel_reference_ops;
    kernel->desc = *desc;
    for (int i = 0; i < desc->param_count; i++) {
        size_t bytes = 0;
        (void)shape_bytes(&desc->params[i].shape, desc->params[i].dtype, &bytes);
        kernel->param_offsets[i] = kernel->packed_bytes;
        kernel->packed_bytes += round_up_size(bytes, MEM_ALIGNMENT);
    }
    if (desc->op == OP_ATTENTION) {
        kernel->scratch_bytes = (size_t)desc->inputs[0].shape.dims[1] * sizeof(float);
    }
    *out = &kernel->kernel;
    return SHOAL_OK;
}

static void sizes(const struct kernel *kernel, struct kernel_sizes *out) {
    *out = (struct kernel_sizes){self(kernel)->packed_bytes, self(kernel)->scratch_bytes, 0};
}

static shoal_status pack(const struct kernel *kernel, const void *const params[], void *packed,
                         struct shoal_error *error) {
    (void)error;
    const struct reference_kernel *reference = self(kernel);
    for (int i = 0; i < reference->desc.param_count; i++) {
        const struct tensor_type *type = &reference->desc.params[i];
        size_t bytes = 0;
        (void)shape_bytes(&type->shape, type->dtype, &bytes);
        memcpy((char *)packed + reference->param_offsets[i], params[i], bytes);
    }
    return SHOAL_OK;
}

static shoal_status run(const struct kernel *kernel, const void *packed, const void *const inputs[],
                        void *const outputs[], void *scratch) {
    const struct reference_kernel *reference = self(kernel);
    struct reference_call call = {&reference->desc, inputs, {NULL}, outputs, scratch};
    for (int i = 0; i < reference->desc.param_count; i++) {
        call.params[i] =
            (const float *)(const void *)((const char *)packed + reference->param_offsets[i]);
    }
    functions[reference->desc.op](&call);
    return SHOAL_OK;
}

static bool aliases(const struct kernel *kernel, int input) {
    switch (self(kernel)->desc.op) {
    case OP_LAYER_NORM: /* a row is read to its end before it is written */
    case OP_NORMALISE:
    case OP_ADD:
    case OP_ACTIVATION:
    case OP_ACTIVATION_GRAD:
    case OP_SGD:
        return true;
    case OP_LINEAR:
        return input == 1;
    case OP_CONV2D:
    case OP_TOKENS:
    case OP_EMBED:
    case OP_ATTENTION:
    case OP_MEAN_POOL:
    case OP_SELECT:
    case OP_MATMUL:
    case OP_SUM_ROWS:
    case OP_CROSS_ENTROPY:
    case OP_COUNT:
        break;
    }
    return false;
}

static bool packs_like(const struct kernel *kernel, const struct kernel *other) {
    return kernel_same_params(&self(kernel)->desc, &self(other)->desc);
}

static void destroy(struct kernel *kernel) {
    mem_free(kernel);
}

const struct kernel_ops kernel_reference_ops = {
    .name = "reference",
    .supports = supports,
    .create = create,
    .sizes = sizes,
    .pack = pack,
    .packs_like = packs_like,
    .run = run,
    .aliases = aliases,
    .destroy = destroy,
};
