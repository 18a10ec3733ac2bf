#include "kernels/onednn/onednn.h"

#include "base/checked.h"
#include "base/memory.h"
#include "kernels/isa.h"

#include <pthread.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static dnnl_engine_t engine; /* one for the process, never destroyed */
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void make_engine(void) {
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) {
        engine = NULL;
    }
}

/* The OpenMP thread count of this thread, set for a while. */
static int enter_threads(int threads) {
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    omp_set_num_threads(threads);
    return before;
#else
    return threads;
#endif
}

static void leave_threads(int before) {
#ifdef _OPENMP
    omp_set_num_threads(before);
#else
    (void)before;
#endif
}

static const struct onednn_kernel *self(const struct kernel *kernel) {
    return (const struct onednn_kernel *)kernel;
}

/*
 * Elsewhere than on x86-64 Debian's build has only its slow reference code. Attention over a single
 * token is left out: oneDNN 3.7 takes the strides of such a product wrongly and returns other
 * values.
 */
static bool supports(const struct kernel_desc *desc) {
    if (isa_current() == ISA_NEON || desc->attrs.precision != PRECISION_F32) {
        return false;
    }
    return desc->op == OP_LINEAR || (desc->op == OP_CONV2D && onednn_conv2d_supports(desc)) ||
           (desc->op == OP_ATTENTION && desc->inputs[0].shape.dims[1] > 1);
}

dnnl_status_t onednn_keep_desc(struct onednn_kernel *kernel, int rank, const int64_t *dims,
                               const int64_t *strides, onednn_view *out) {
    struct onednn_md *md = &kernel->descs[kernel->desc_count];
    const dnnl_status_t status = onednn_md_init(md, rank, dims, strides);
    if (status == dnnl_success) {
        kernel->desc_count++;
        *out = onednn_md_view(md);
    }
    return status;
}

/* min(max(x/6 + 1/2, 0), 1): two post-ops, for oneDNN 2.6 has no such function. */
static dnnl_status_t append_hard_sigmoid(dnnl_post_ops_t ops) {
    const dnnl_status_t status = onednn_append_eltwise(ops, dnnl_eltwise_linear, 1.0F / 6.0F, 0.5F);
    return status == dnnl_success ? onednn_append_eltwise(ops, dnnl_eltwise_clip, 0, 1) : status;
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, enum activation activation) {
    switch (activation) {
    case ACTIVATION_RELU:
        return onednn_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
    case ACTIVATION_GELU_ERF:
        return onednn_append_eltwise(ops, dnnl_eltwise_gelu_erf, 0, 0);
    case ACTIVATION_GELU_TANH:
        return onednn_append_eltwise(ops, dnnl_eltwise_gelu_tanh, 0, 0);
    case ACTIVATION_TANH:
        return onednn_append_eltwise(ops, dnnl_eltwise_tanh, 0, 0);
    case ACTIVATION_SIGMOID:
        return onednn_append_eltwise(ops, dnnl_eltwise_logistic, 0, 0);
    case ACTIVATION_RELU6:
        return onednn_append_eltwise(ops, dnnl_eltwise_clip, 0, 6);
    case ACTIVATION_SILU:
        return onednn_append_eltwise(ops, dnnl_eltwise_swish, 1, 0);
    case ACTIVATION_HARD_SIGMOID:
        return append_hard_sigmoid(ops);
    case ACTIVATION_HARD_SWISH: /* oneDNN 2 does not look at the numbers */
        return onednn_append_eltwise(ops, dnnl_eltwise_hardswish, 1.0F / 6.0F, 0.5F);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return dnnl_success;
}

static dnnl_status_t append(dnnl_post_ops_t ops, const struct onednn_end *end) {
    dnnl_status_t status = dnnl_success;
    if (end->accumulate) {
        status = onednn_append_sum(ops);
    }
    if (status == dnnl_success) {
        status = append_activation(ops, end->activation);
    }
    if (status == dnnl_success && end->residual != NULL) {
        status = onednn_append_add(ops, end->residual);
    }
    return status;
}

dnnl_status_t onednn_make_attr(const struct onednn_end *end, dnnl_primitive_attr_t *out) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(&attr);
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    }
    if (status == dnnl_success) {
        status = dnnl_post_ops_create(&ops);
    }
    if (status == dnnl_success) {
        status = append(ops, end);
    }
    if (status == dnnl_success) {
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    if (ops != NULL) {
        (void)dnnl_post_ops_destroy(ops);
    }
    if (status != dnnl_success && attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
        attr = NULL;
    }
    *out = attr;
    return status;
}

int onednn_residual_position(enum activation activation) {
    return activation == ACTIVATION_NONE ? 0 : activation == ACTIVATION_HARD_SIGMOID ? 2 : 1;
}

void onednn_argue(struct onednn_primitive *primitive, int id, onednn_view desc,
                  enum onednn_place place, int index, size_t offset) {
    primitive->arguments[primitive->argument_count++] =
        (struct onednn_argument){id, desc, place, index, offset};
}

dnnl_status_t onednn_finish(struct onednn_kernel *kernel, struct onednn_primitive *primitive) {
    const onednn_view pad =
        dnnl_primitive_desc_query_md(primitive->desc, dnnl_query_scratchpad_md, 0);
    if (pad != NULL && onednn_md_bytes(pad) > 0) {
        const size_t bytes = kernel->pad_offset + onednn_md_bytes(pad);
        onednn_argue(primitive, DNNL_ARG_SCRATCHPAD, pad, ONEDNN_SCRATCH, 0, kernel->pad_offset);
        kernel->sizes.scratch_bytes =
            bytes > kernel->sizes.scratch_bytes ? bytes : kernel->sizes.scratch_bytes;
    }
    return dnnl_primitive_create(&primitive->primitive, primitive->desc);
}

static void binding_fini(const struct onednn_kernel *kernel, struct onednn_binding *binding) {
    for (int p = 0; p < kernel->primitive_count; p++) {
        for (int a = 0; a < kernel->primitives[p].argument_count; a++) {
            if (binding->memories[p][a] != NULL) {
                (void)dnnl_memory_destroy(binding->memories[p][a]);
            }
        }
    }
    if (binding->stream != NULL) {
        (void)dnnl_stream_destroy(binding->stream);
    }
}

static dnnl_status_t binding_init(const struct onednn_kernel *kernel,
                                  struct onednn_binding *binding) {
    memset(binding, 0, sizeof *binding);
    dnnl_status_t status = dnnl_stream_create(&binding->stream, engine, dnnl_stream_default_flags);
    for (int p = 0; p < kernel->primitive_count; p++) {
        const struct onednn_primitive *primitive = &kernel->primitives[p];
        for (int a = 0; a < primitive->argument_count && status == dnnl_success; a++) {
            status = dnnl_memory_create(&binding->memories[p][a], primitive->arguments[a].desc,
                                        engine, DNNL_MEMORY_NONE);
        }
    }
    if (status != dnnl_success) {
        binding_fini(kernel, binding);
    }
    return status;
}

static void destroy(struct kernel *kernel) {
    if (kernel == NULL) {
        return;
    }
    struct onednn_kernel *onednn = (struct onednn_kernel *)kernel;
    binding_fini(onednn, &onednn->binding);
    for (int p = 0; p < ONEDNN_MAX_PRIMITIVES; p++) {
        if (onednn->primitives[p].primitive != NULL) {
            (void)dnnl_primitive_destroy(onednn->primitives[p].primitive);
        }
        if (onednn->primitives[p].desc != NULL) {
            (void)dnnl_primitive_desc_destroy(onednn->primitives[p].desc);
        }
    }
    for (int i = 0; i < onednn->desc_count; i++) {
        onednn_md_fini(&onednn->descs[i]);
    }
    onednn_md_fini(&onednn->weights);
    mem_free(onednn);
}

static dnnl_status_t build(struct onednn_kernel *kernel) {
    (void)pthread_once(&engine_once, make_engine);
    if (engine == NULL) {
        return dnnl_runtime_error;
    }
    dnnl_status_t status = dnnl_success;
    if (kernel->desc.op == OP_LINEAR) {
        status = onednn_linear_build(kernel, engine);
    } else if (kernel->desc.op == OP_CONV2D) {
        status = onednn_conv2d_build(kernel, engine);
    } else {
        status = onednn_attention_build(kernel, engine);
    }
    return status == dnnl_success ? binding_init(kernel, &kernel->binding) : status;
}

static shoal_status create(const struct kernel_desc *desc, struct kernel **out,
                           struct shoal_error *error) {
    if (!supports(desc)) {
        return error_set(error, SHOAL_UNSUPPORTED, "onednn: no kernel for op %d", (int)desc->op);
    }
    struct onednn_kernel *kernel = mem_calloc(1, sizeof *kernel);
    if (kernel == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "onednn: no memory for a kernel");
    }
    kernel->kernel.ops = &kernel_onednn_ops;
    kernel->desc = *desc;
    kernel->vector = vector_get();
    atomic_flag_clear(&kernel->taken);
    const int before = enter_threads(desc->threads);
    const dnnl_status_t status = build(kernel);
    leave_threads(before);
    if (status != dnnl_success) {
        destroy(&kernel->kernel);
        return error_set(error, status == dnnl_out_of_memory ? SHOAL_NO_MEMORY : SHOAL_INTERNAL,
                         "onednn: cannot create %s (status %d)", op_describe(desc->op)->name,
                         (int)status);
    }
    *out = &kernel->kernel;
    return SHOAL_OK;
}

static void sizes(const struct kernel *kernel, struct kernel_sizes *out) {
    *out = self(kernel)->sizes;
}

/* The library chooses a layout by the whole shape: it says whether two are the same. */
static bool packs_like(const struct kernel *kernel, const struct kernel *other) {
    const struct onednn_kernel *a = self(kernel), *b = self(other);
    return kernel_same_params(&a->desc, &b->desc) && a->has_weights == b->has_weights &&
           a->bias_offset == b->bias_offset && a->sizes.packed_bytes == b->sizes.packed_bytes &&
           (!a->has_weights ||
            dnnl_memory_desc_equal(
                dnnl_primitive_desc_query_md(a->primitives[0].desc, dnnl_query_weights_md, 0),
                dnnl_primitive_desc_query_md(b->primitives[0].desc, dnnl_query_weights_md, 0)) !=
                0);
}

static dnnl_status_t reorder(onednn_view from, const void *source, onednn_view to, void *target) {
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_stream_t stream = NULL;
    dnnl_memory_t memories[2] = {NULL, NULL};
    union {
        const void *given;
        void *taken;
    } input = {source}; /* only read, but the library's handles are not const */
    dnnl_status_t status = onednn_reorder(&desc, engine, from, to);
    status = status == dnnl_success ? dnnl_primitive_create(&primitive, desc) : status;
    status = status == dnnl_success ? dnnl_stream_create(&stream, engine, dnnl_stream_default_flags)
                                    : status;
    status = status == dnnl_success ? dnnl_memory_create(&memories[0], from, engine, input.taken)
                                    : status;
    status = status == dnnl_success ? dnnl_memory_create(&memories[1], to, engine, target) : status;
    if (status == dnnl_success) {
        const dnnl_exec_arg_t arguments[2] = {{DNNL_ARG_FROM, memories[0]},
                                              {DNNL_ARG_TO, memories[1]}};
        status = dnnl_primitive_execute(primitive, stream, 2, arguments);
        const dnnl_status_t waited = dnnl_stream_wait(stream);
        status = status == dnnl_success ? waited : status;
    }
    for (int i = 0; i < 2; i++) {
        (void)(memories[i] != NULL ? dnnl_memory_destroy(memories[i]) : dnnl_success);
    }
    (void)(stream != NULL ? dnnl_stream_destroy(stream) : dnnl_success);
    (void)(primitive != NULL ? dnnl_primitive_destroy(primitive) : dnnl_success);
    (void)(desc != NULL ? dnnl_primitive_desc_destroy(desc) : dnnl_success);
    return status;
}

static shoal_status pack(const struct kernel *kernel, const void *const params[], void *packed,
                         struct shoal_error *error) {
    const struct onednn_kernel *onednn = self(kernel);
    if (!onednn->has_weights) {
        return SHOAL_OK;
    }
    memset(packed, 0, onednn->sizes.packed_bytes); /* the layout may have padding */
    const int before = enter_threads(onednn->desc.threads);
    const dnnl_status_t status = reorder(
        onednn_md_view(&onednn->weights), params[0],
        dnnl_primitive_desc_query_md(onednn->primitives[0].desc, dnnl_query_weights_md, 0), packed);
    leave_threads(before);
    if (status != dnnl_success) {
        return error_set(error, status == dnnl_out_of_memory ? SHOAL_NO_MEMORY : SHOAL_INTERNAL,
                         "onednn: cannot pack weights (status %d)", (int)status);
    }
    if (onednn->desc.param_count > 1) {
        size_t bytes = 0;
        (void)shape_bytes(&onednn->desc.params[1].shape, DTYPE_F32, &bytes);
        memcpy((char *)packed + onednn->bias_offset, params[1], bytes);
    }
    return SHOAL_OK;
}

struct call {
    const void *packed;
    const void *const *inputs;
    void *const *outputs;
    void *scratch;
};

static void *locate(const struct onednn_argument *argument, const struct call *call) {
    union {
        const void *given;
        void *taken;
    } base = {NULL}; /* inputs are only read */
    switch (argument->place) {
    case ONEDNN_INPUT:
        base.given = call->inputs[argument->index];
        break;
    case ONEDNN_OUTPUT:
        base.taken = call->outputs[argument->index];
        break;
    case ONEDNN_PACKED:
        base.given = call->packed;
        break;
    case ONEDNN_SCRATCH:
        base.taken = call->scratch;
        break;
    }
    return (char *)base.taken + argument->offset;
}

static dnnl_status_t execute(const struct onednn_kernel *kernel, int index,
                             const struct onednn_binding *binding, const struct call *call) {
    const struct onednn_primitive *primitive = &kernel->primitives[index];
    dnnl_exec_arg_t arguments[ONEDNN_MAX_ARGUMENTS];
    for (int a = 0; a < primitive->argument_count; a++) {
        dnnl_memory_t memory = binding->memories[index][a];
        const dnnl_status_t status =
            dnnl_memory_set_data_handle(memory, locate(&primitive->arguments[a], call));
        if (status != dnnl_success) {
            return status;
        }
        arguments[a] = (dnnl_exec_arg_t){primitive->arguments[a].id, memory};
    }
    return dnnl_primitive_execute(primitive->primitive, binding->stream, primitive->argument_count,
                                  arguments);
}

static dnnl_status_t execute_all(const struct onednn_kernel *kernel,
                                 const struct onednn_binding *binding, const struct call *call) {
    dnnl_status_t status = dnnl_success;
    for (int p = 0; p < kernel->primitive_count && status == dnnl_success; p++) {
        if (p == 1) {
            onednn_attention_softmax(kernel, call->inputs, call->scratch);
        }
        status = execute(kernel, p, binding, call);
        const dnnl_status_t waited = dnnl_stream_wait(binding->stream);
        status = status == dnnl_success ? waited : status;
    }
    return status;
}

static shoal_status run(const struct kernel *kernel, const void *packed, const void *const inputs[],
                        void *const outputs[], void *scratch) {
    /* The binding is the only part that changes after create, and `taken` says whose it is. */
    union {
        const struct kernel *given;
        struct onednn_kernel *taken;
    } cast = {kernel};
    struct onednn_kernel *onednn = cast.taken;
    const struct call call = {packed, inputs, outputs, scratch};
    if (onednn->accumulates && inputs[1] != outputs[0]) {
        size_t bytes = 0;
        (void)shape_bytes(&onednn->desc.outputs[0].shape, DTYPE_F32, &bytes);
        memcpy(outputs[0], inputs[1], bytes);
    }
    const int before = enter_threads(onednn->desc.threads);
    dnnl_status_t status = dnnl_success;
    if (!atomic_flag_test_and_set_explicit(&onednn->taken, memory_order_acquire)) {
        status = execute_all(onednn, &onednn->binding, &call);
        atomic_flag_clear_explicit(&onednn->taken, memory_order_release);
    } else {
        struct onednn_binding binding;
        status = binding_init(onednn, &binding);
        if (status == dnnl_success) {
            status = execute_all(onednn, &binding, &call);
            binding_fini(onednn, &binding);
        }
    }
    leave_threads(before);
    return status == dnnl_success ? SHOAL_OK : SHOAL_INTERNAL;
}

/* A convolution adds to its destination. A matrix product may keep partial sums there before it
 * reads the residual. */
static bool aliases(const struct kernel *kernel, int input) {
    return input == 1 && self(kernel)->accumulates;
}

const struct kernel_ops kernel_onednn_ops = {
    .name = "onednn",
    .supports = supports,
    .create = create,
    .sizes = sizes,
    .pack = pack,
    .packs_like = packs_like,
    .run = run,
    .aliases = aliases,
    .destroy = destroy,
};
