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

static const struct reference_family *const families[OP_FAMILY_COUNT] = {
    [OP_FAMILY_CORE] = &reference_core,     [OP_FAMILY_ELEMENTWISE] = &reference_elementwise,
    [OP_FAMILY_LAYOUT] = &reference_layout, [OP_FAMILY_NETWORK] = &reference_network,
    [OP_FAMILY_QUANT] = &reference_quant,
};

static const struct reference_family *family_of(const struct kernel_desc *desc) {
    return families[op_family(desc->op)];
}

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
    const struct reference_family *family = family_of(desc);
    kernel->scratch_bytes = family->scratch_bytes != NULL ? family->scratch_bytes(desc) : 0;
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
    family_of(&reference->desc)->run(&call);
    return SHOAL_OK;
}

static bool aliases(const struct kernel *kernel, int input) {
    const struct reference_family *family = family_of(&self(kernel)->desc);
    return family->aliases != NULL && family->aliases(&self(kernel)->desc, input);
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
