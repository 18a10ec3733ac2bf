/* x [M,K], residual [M,N]?, w [N,K], bias [N]? → y [M,N] as one matmul with packed weights and
 * fused post-ops. */
#include "kernels/onednn/onednn.h"

#include "base/checked.h"
#include "base/memory.h"

static dnnl_status_t build_primitive(struct onednn_kernel *kernel, dnnl_engine_t engine,
                                     onednn_view x, onednn_view bias, onednn_view y, int64_t depth,
                                     int64_t columns, const struct onednn_end *end) {
    struct onednn_md any = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = onednn_md_init(&any, 2, (int64_t[]){depth, columns}, NULL);
    if (status == dnnl_success) {
        status = onednn_make_attr(end, &attr);
    }
    if (status == dnnl_success) {
        status = onednn_matmul(&kernel->primitives[0].desc, engine, x, onednn_md_view(&any), bias,
                               y, attr);
    }
    if (attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    onednn_md_fini(&any);
    return status;
}

dnnl_status_t onednn_linear_build(struct onednn_kernel *kernel, dnnl_engine_t engine) {
    const struct kernel_desc *desc = &kernel->desc;
    struct onednn_primitive *primitive = &kernel->primitives[0];
    const int64_t columns = desc->params[0].shape.dims[0];
    const int64_t depth = desc->params[0].shape.dims[1];
    int64_t elements = 0;
    (void)shape_count(&desc->inputs[0].shape, &elements);
    const int64_t rows = elements / depth;
    struct onednn_end end = {.activation = desc->attrs.activation};
    onednn_view x = NULL;
    onednn_view y = NULL;
    onednn_view bias = NULL;
    const int64_t y_dims[2] = {rows, columns};
    dnnl_status_t status =
        onednn_keep_desc(kernel, 2, (int64_t[]){rows, depth}, (int64_t[]){depth, 1}, &x);
    if (status == dnnl_success) {
        status = onednn_keep_desc(kernel, 2, y_dims, (int64_t[]){columns, 1}, &y);
    }
    if (status == dnnl_success && desc->param_count > 1) {
        status =
            onednn_keep_desc(kernel, 2, (int64_t[]){1, columns}, (int64_t[]){columns, 1}, &bias);
    }
    if (status == dnnl_success) { /* w [N,K] seen as [K,N] */
        status =
            onednn_md_init(&kernel->weights, 2, (int64_t[]){depth, columns}, (int64_t[]){1, depth});
    }
    if (status == dnnl_success) {
        end.residual = desc->input_count > 1 ? y : NULL;
        status = build_primitive(kernel, engine, x, bias, y, depth, columns, &end);
    }
    if (status != dnnl_success) {
        return status;
    }
    kernel->primitive_count = 1;
    kernel->has_weights = true;
    const onednn_view packed =
        dnnl_primitive_desc_query_md(primitive->desc, dnnl_query_weights_md, 0);
    kernel->bias_offset = round_up_size(onednn_md_bytes(packed), MEM_ALIGNMENT);
    kernel->sizes.packed_bytes =
        kernel->bias_offset + (bias != NULL ? (size_t)columns * sizeof(float) : 0);
    onednn_argue(primitive, DNNL_ARG_SRC, x, ONEDNN_INPUT, 0, 0);
    onednn_argue(primitive, DNNL_ARG_WEIGHTS, packed, ONEDNN_PACKED, 0, 0);
    onednn_argue(primitive, DNNL_ARG_DST, y, ONEDNN_OUTPUT, 0, 0);
    if (bias != NULL) {
        onednn_argue(primitive, DNNL_ARG_BIAS, bias, ONEDNN_PACKED, 0, kernel->bias_offset);
    }
    if (end.residual != NULL) {
        const int position = onednn_residual_position(desc->attrs.activation);
        onednn_argue(primitive, DNNL_ARG_ATTR_MULTIPLE_POST_OP(position) | DNNL_ARG_SRC_1, y,
                     ONEDNN_INPUT, 1, 0);
    }
    return onednn_finish(kernel, primitive);
}
