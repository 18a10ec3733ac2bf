/*
 * The oneDNN kernel set, f32: LINEAR, CONV2D and ATTENTION as matmul and convolution primitives
 * with packed weights and fused post-ops. What oneDNN has no advantage in is left to other sets.
 *
 * Threads: oneDNN takes its thread count from the calling thread's OpenMP setting when a primitive
 * is created and run; both set it to desc.threads and put it back. A kernel keeps one set of
 * dnnl_memory objects and a stream (a binding). A run that finds it taken by another thread makes
 * one for itself, so that no run waits; only then does the library allocate during run. Scratchpads
 * are the caller's (dnnl_scratchpad_mode_user).
 */
#ifndef KERNELS_ONEDNN_ONEDNN_H
#define KERNELS_ONEDNN_ONEDNN_H

#include "kernels/kernel.h"
#include "kernels/onednn/api.h"
#include "kernels/vector/vector.h"

#include <stdatomic.h>

extern const struct kernel_ops kernel_onednn_ops;

#define ONEDNN_MAX_PRIMITIVES 2
#define ONEDNN_MAX_ARGUMENTS 6

/* Where an argument's data is found at run. */
enum onednn_place { ONEDNN_INPUT, ONEDNN_OUTPUT, ONEDNN_PACKED, ONEDNN_SCRATCH };

struct onednn_argument {
    int id;           /* DNNL_ARG_… */
    onednn_view desc; /* of the primitive desc, or of `own` below */
    enum onednn_place place;
    int index;     /* which input or output */
    size_t offset; /* bytes from there */
};

struct onednn_primitive {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    struct onednn_argument arguments[ONEDNN_MAX_ARGUMENTS];
    int argument_count;
};

struct onednn_binding {
    dnnl_stream_t stream;
    dnnl_memory_t memories[ONEDNN_MAX_PRIMITIVES][ONEDNN_MAX_ARGUMENTS];
};

struct onednn_kernel {
    struct kernel kernel;
    struct kernel_desc desc;
    struct onednn_primitive primitives[ONEDNN_MAX_PRIMITIVES];
    int primitive_count;
    struct onednn_md descs[8]; /* that arguments refer to; kept until destroy */
    int desc_count;
    struct kernel_sizes sizes;
    size_t bias_offset; /* bytes in packed */
    size_t pad_offset;  /* bytes in scratch: the library's scratchpad, shared by the primitives */
    struct onednn_md weights; /* as params[0] lies in memory */
    bool has_weights;
    bool accumulates;                /* the destination begins as inputs[1] */
    const struct vector_ops *vector; /* for the softmax of attention */
    struct onednn_binding binding;
    atomic_flag taken; /* the binding is in use */
};

bool onednn_conv2d_supports(const struct kernel_desc *desc);

/* Fill primitives, descs and sizes; the caller makes bindings and frees whatever there is on
 * failure. */
dnnl_status_t onednn_linear_build(struct onednn_kernel *kernel, dnnl_engine_t engine);
dnnl_status_t onednn_conv2d_build(struct onednn_kernel *kernel, dnnl_engine_t engine);
dnnl_status_t onednn_attention_build(struct onednn_kernel *kernel, dnnl_engine_t engine);

/* Between the two products of attention: softmax of the scores in scratch. */
void onednn_attention_softmax(const struct onednn_kernel *kernel, const void *const inputs[],
                              void *scratch);

/* Helpers of the builders. */

/* A desc that lives as long as the kernel. */
dnnl_status_t onednn_keep_desc(struct onednn_kernel *kernel, int rank, const int64_t *dims,
                               const int64_t *strides, onednn_view *out);
/* What follows the sums. */
struct onednn_end {
    bool accumulate; /* first add what the destination holds */
    enum activation activation;
    onednn_view residual; /* added last, or NULL */
};
/* User scratchpad, and post-ops. */
dnnl_status_t onednn_make_attr(const struct onednn_end *end, dnnl_primitive_attr_t *out);
/* Which post-op the residual is. */
int onednn_residual_position(enum activation activation);
void onednn_argue(struct onednn_primitive *primitive, int id, onednn_view desc,
                  enum onednn_place place, int index, size_t offset);
/* Creates the primitive of its desc and adds its scratchpad argument; scratch before pad_offset is
 * the op's own. */
dnnl_status_t onednn_finish(struct onednn_kernel *kernel, struct onednn_primitive *primitive);

#endif
