/*
 * What differs between oneDNN 2 (Debian 12) and 3 (Debian 13): memory descs are values in one and
 * handles in the other, operation descs are gone, post-ops have other arguments. Nothing else looks
 * at the version.
 */
#ifndef KERNELS_ONEDNN_API_H
#define KERNELS_ONEDNN_API_H

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t onednn_view; /* a borrowed desc */
#else
typedef const dnnl_memory_desc_t *onednn_view;
#endif

struct onednn_md {
    dnnl_memory_desc_t desc;
};

onednn_view onednn_md_view(const struct onednn_md *md);
/* f32; strides NULL: the library chooses the layout. Free with fini, which may be called on a
 * zeroed one. */
dnnl_status_t onednn_md_init(struct onednn_md *md, int rank, const int64_t *dims,
                             const int64_t *strides);
void onednn_md_fini(struct onednn_md *md);
size_t onednn_md_bytes(onednn_view view);

struct onednn_convolution {
    dnnl_dims_t strides, dilations /* 0 = dense */, pad_begin, pad_end; /* two of each */
};

/* bias may be NULL. */
dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, onednn_view src,
                            onednn_view weights, onednn_view bias, onednn_view dst,
                            const_dnnl_primitive_attr_t attr);
dnnl_status_t onednn_convolve(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                              const struct onednn_convolution *shape, onednn_view src,
                              onednn_view weights, onednn_view bias, onednn_view dst,
                              const_dnnl_primitive_attr_t attr);
dnnl_status_t onednn_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, onednn_view from,
                             onednn_view to);

dnnl_status_t onednn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha,
                                    float beta);
dnnl_status_t onednn_append_sum(dnnl_post_ops_t ops); /* + what the destination holds */
dnnl_status_t onednn_append_add(dnnl_post_ops_t ops, onednn_view addend);

#endif
