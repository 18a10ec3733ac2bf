#include "kernels/blas/blas.h"

#include "base/checked.h"
#include "base/memory.h"
#include "kernels/blas/network.h"
#include "kernels/isa.h"
#include "kernels/quantise.h"

#include <cblas.h>
#include <string.h>

static enum blas_engine forced = BLAS_ENGINE_AUTO;

void blas_engine_set(enum blas_engine engine) {
    forced = engine;
}

size_t blas_bytes(int64_t floats) {
    return round_up_size((size_t)floats * sizeof(float), MEM_ALIGNMENT);
}

int64_t blas_count(const struct tensor_type *type) {
    int64_t product = 1;
    (void)shape_count(&type->shape, &product);
    return product;
}

/* Own vector code is the faster one where it has fused multiply-add on wide registers: rationale
 * 0002. */
static bool use_cblas(void) {
    if (forced != BLAS_ENGINE_AUTO) {
        return forced == BLAS_ENGINE_CBLAS;
    }
    const enum isa isa = isa_current();
    return isa != ISA_AVX2 && isa != ISA_AVX512;
}

static bool is_depthwise(const struct kernel_desc *desc) {
    return desc->attrs.groups > 1 && desc->params[0].shape.dims[1] == 1 &&
           desc->params[0].shape.dims[0] == desc->attrs.groups;
}

static const struct blas_function *narrow_function(const struct kernel_desc *desc) {
    if (desc->op == OP_LINEAR) {
        return &blas_linear_narrow;
    }
    return desc->attrs.precision == PRECISION_I8 && quant_by_image(&desc->params[0].shape)
               ? &blas_conv2d_i8
               : &blas_conv2d_narrow;
}

static const struct blas_function *function_for(const struct kernel_desc *desc) {
    if (desc->attrs.precision != PRECISION_F32) {
        return narrow_function(desc);
    }
    switch ((int)desc->op) {
    case OP_CONV2D:
        return is_depthwise(desc) ? &blas_depthwise : &blas_conv2d;
    case OP_TOKENS:
        return &blas_tokens;
    case OP_EMBED:
        return &blas_embed;
    case OP_LAYER_NORM:
        return &blas_layer_norm;
    case OP_LINEAR:
        return use_cblas() ? &blas_linear_cblas : &blas_linear_vector;
    case OP_ATTENTION:
    case OP_SDPA:
        return &blas_attention;
    case OP_ADD:
        return &blas_add;
    case OP_ACTIVATION:
        return &blas_activation;
    case OP_MEAN_POOL:
        return &blas_mean_pool;
    case OP_NORMALISE:
        return &blas_normalise;
    case OP_SELECT:
        return &blas_select;
    default:
        break;
    }
    const struct blas_function *function = blas_map_for(desc);
    function = function != NULL ? function : blas_network_function(desc);
    return function != NULL ? function : blas_move_for(desc);
}

static const struct blas_kernel *self(const struct kernel *kernel) {
    return (const struct blas_kernel *)kernel;
}

static bool supports(const struct kernel_desc *desc) {
    return function_for(desc) != NULL;
}

/* Less than some 20 µs of work: about what it takes to wake a thread and wait for it. */
static bool is_small(const struct kernel_desc *desc) {
    const double flops = op_flops(desc->op, &desc->attrs, desc->inputs, desc->input_count,
                                  desc->params, desc->param_count, desc->outputs);
    const double elements = (double)blas_count(&desc->outputs[0]);
    return flops < 1e6 && elements < 5e4;
}

static shoal_status create(const struct kernel_desc *desc, struct kernel **out,
                           struct shoal_error *error) {
    const struct blas_function *function = function_for(desc);
    if (function == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED, "blas: no kernel for this %s",
                         op_describe(desc->op)->name);
    }
    struct blas_kernel *kernel = mem_calloc(1, sizeof *kernel);
    if (kernel == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "blas: no memory for a kernel");
    }
    openblas_set_num_threads(1); /* work is split over OpenMP threads here, whatever the variant */
    kernel->kernel.ops = &kernel_blas_ops;
    kernel->desc = *desc;
    kernel->function = function;
    kernel->vector = vector_get();
    kernel->maps = vector_maps_get();
    kernel->threads = is_small(desc) ? 1 : desc->threads;
    function->prepare(kernel);
    kernel->sizes.scratch_bytes =
        kernel->thread_scratch * (size_t)kernel->threads + kernel->shared_scratch;
    *out = &kernel->kernel;
    return SHOAL_OK;
}

static void sizes(const struct kernel *kernel, struct kernel_sizes *out) {
    *out = self(kernel)->sizes;
}

static shoal_status pack(const struct kernel *kernel, const void *const params[], void *packed,
                         struct shoal_error *error) {
    const struct blas_kernel *blas = self(kernel);
    return blas->function->pack != NULL ? blas->function->pack(blas, params, packed, error)
                                        : SHOAL_OK;
}

static shoal_status run(const struct kernel *kernel, const void *packed, const void *const inputs[],
                        void *const outputs[], void *scratch) {
    const struct blas_kernel *blas = self(kernel);
    struct blas_call call = {blas, packed, inputs, outputs, scratch, 0};
    do {
        vector_parallel(blas->threads, blas->function->work, &call);
    } while (++call.phase < blas->phases);
    return SHOAL_OK;
}

static bool aliases(const struct kernel *kernel, int input) {
    return (self(kernel)->function->aliases >> input & 1U) != 0;
}

/* Packing knows the params alone, the engine and its registers' width. */
static bool packs_like(const struct kernel *kernel, const struct kernel *other) {
    const struct blas_kernel *a = self(kernel), *b = self(other);
    return a->function == b->function && a->vector == b->vector && a->narrow == b->narrow &&
           a->desc.attrs.precision == b->desc.attrs.precision &&
           a->desc.attrs.groups == b->desc.attrs.groups && kernel_same_params(&a->desc, &b->desc);
}

static void destroy(struct kernel *kernel) {
    mem_free(kernel);
}

const struct kernel_ops kernel_blas_ops = {
    .name = "blas",
    .supports = supports,
    .create = create,
    .sizes = sizes,
    .pack = pack,
    .packs_like = packs_like,
    .run = run,
    .aliases = aliases,
    .destroy = destroy,
};
