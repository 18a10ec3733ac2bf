#include "kernels/onednn/api.h"

#include <string.h>

#if DNNL_VERSION_MAJOR >= 3

onednn_view onednn_md_view(const struct onednn_md *md) {
    return md->desc;
}

dnnl_status_t onednn_md_init(struct onednn_md *md, int rank, const int64_t *dims,
                             const int64_t *strides) {
    return strides == NULL
               ? dnnl_memory_desc_create_with_tag(&md->desc, rank, dims, dnnl_f32,
                                                  dnnl_format_tag_any)
               : dnnl_memory_desc_create_with_strides(&md->desc, rank, dims, dnnl_f32, strides);
}

void onednn_md_fini(struct onednn_md *md) {
    if (md->desc != NULL) {
        (void)dnnl_memory_desc_destroy(md->desc);
        md->desc = NULL;
    }
}

dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, onednn_view src,
                            onednn_view weights, onednn_view bias, onednn_view dst,
                            const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(out, engine, src, weights, bias, dst, attr);
}

dnnl_status_t onednn_convolve(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                              const struct onednn_convolution *shape, onednn_view src,
                              onednn_view weights, onednn_view bias, onednn_view dst,
                              const_dnnl_primitive_attr_t attr) {
    return dnnl_convolution_forward_primitive_desc_create(
        out, engine, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst,
        shape->strides, shape->dilations, shape->pad_begin, shape->pad_end, attr);
}

dnnl_status_t onednn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha,
                                    float beta) {
    return dnnl_post_ops_append_eltwise(ops, kind, alpha, beta);
}

dnnl_status_t onednn_append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}

#else

onednn_view onednn_md_view(const struct onednn_md *md) {
    return &md->desc;
}

dnnl_status_t onednn_md_init(struct onednn_md *md, int rank, const int64_t *dims,
                             const int64_t *strides) {
    return strides == NULL
               ? dnnl_memory_desc_init_by_tag(&md->desc, rank, dims, dnnl_f32, dnnl_format_tag_any)
               : dnnl_memory_desc_init_by_strides(&md->desc, rank, dims, dnnl_f32, strides);
}

void onednn_md_fini(struct onednn_md *md) {
    (void)md; /* a value */
}

dnnl_status_t onednn_matmul(dnnl_primitive_desc_t *out, dnnl_engine_t engine, onednn_view src,
                            onednn_view weights, onednn_view bias, onednn_view dst,
                            const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    const dnnl_status_t status = dnnl_matmul_desc_init(&desc, src, weights, bias, dst);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
}

dnnl_status_t onednn_convolve(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                              const struct onednn_convolution *shape, onednn_view src,
                              onednn_view weights, onednn_view bias, onednn_view dst,
                              const_dnnl_primitive_attr_t attr) {
    dnnl_convolution_desc_t desc;
    const dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst,
        shape->strides, shape->dilations, shape->pad_begin, shape->pad_end);
    return status != dnnl_success ? status
                                  : dnnl_primitive_desc_create(out, &desc, attr, engine, NULL);
}

dnnl_status_t onednn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t kind, float alpha,
                                    float beta) {
    return dnnl_post_ops_append_eltwise(ops, 1, kind, alpha, beta);
}

dnnl_status_t onednn_append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1);
}

#endif

size_t onednn_md_bytes(onednn_view view) {
    return dnnl_memory_desc_get_size(view);
}

dnnl_status_t onednn_reorder(dnnl_primitive_desc_t *out, dnnl_engine_t engine, onednn_view from,
                             onednn_view to) {
    return dnnl_reorder_primitive_desc_create(out, from, engine, to, engine, NULL);
}

dnnl_status_t onednn_append_add(dnnl_post_ops_t ops, onednn_view addend) {
    return dnnl_post_ops_append_binary(ops, dnnl_binary_add, addend);
}
