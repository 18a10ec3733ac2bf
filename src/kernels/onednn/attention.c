/*
 * qkv [B,T,3C], mask [B,T]? → y [B,T,C] as two batched matmuls that read q, k and v where they lie,
 * with the softmax of kernels/vector between them. Scores [B,heads,T,T] are the first part of
 * scratch.
 */
#include "kernels/onednn/onednn.h"

#include "base/checked.h"
#include "base/memory.h"

static dnnl_status_t product(struct onednn_kernel *kernel, dnnl_engine_t engine, int index,
                             onednn_view a, onednn_view b, onednn_view y) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status =
        onednn_make_attr(&(struct onednn_end){.activation = ACTIVATION_NONE}, &attr);
    if (status == dnnl_success) {
        status = onednn_matmul(&kernel->primitives[index].desc, engine, a, b, NULL, y, attr);
    }
    if (attr != NULL) {
        (void)dnnl_primitive_attr_destroy(attr);
    }
    return status;
}

dnnl_status_t onednn_attention_build(struct onednn_kernel *kernel, dnnl_engine_t engine) {
    const int64_t batch = kernel->desc.inputs[0].shape.dims[0];
    const int64_t tokens = kernel->desc.inputs[0].shape.dims[1];
    const int64_t stride = kernel->desc.inputs[0].shape.dims[2];
    const int64_t channels = stride / 3;
    const int64_t heads = kernel->desc.attrs.heads;
    const int64_t depth = channels / heads;
    const int64_t rows[4] = {batch, heads, tokens, depth};
    const int64_t turned[4] = {batch, heads, depth, tokens};
    const int64_t square[4] = {batch, heads, tokens, tokens};
    const int64_t item = tokens * stride;
    onednn_view q = NULL; /* v lies in the same way */
    onednn_view k = NULL;
    onednn_view scores = NULL;
    onednn_view y = NULL;
    dnnl_status_t status =
        onednn_keep_desc(kernel, 4, rows, (int64_t[]){item, depth, stride, 1}, &q);
    if (status == dnnl_success) {
        status = onednn_keep_desc(kernel, 4, turned, (int64_t[]){item, depth, 1, stride}, &k);
    }
    if (status == dnnl_success) {
        const int64_t one = tokens * tokens;
        status =
            onednn_keep_desc(kernel, 4, square, (int64_t[]){heads * one, one, tokens, 1}, &scores);
    }
    if (status == dnnl_success) {
        status = onednn_keep_desc(kernel, 4, rows,
                                  (int64_t[]){tokens * channels, depth, channels, 1}, &y);
    }
    if (status == dnnl_success) {
        status = product(kernel, engine, 0, q, k, scores);
    }
    if (status == dnnl_success) {
        status = product(kernel, engine, 1, scores, q, y);
    }
    if (status != dnnl_success) {
        return status;
    }
    kernel->primitive_count = 2;
    const size_t c = (size_t)channels * sizeof(float);
    onednn_argue(&kernel->primitives[0], DNNL_ARG_SRC, q, ONEDNN_INPUT, 0, 0);
    onednn_argue(&kernel->primitives[0], DNNL_ARG_WEIGHTS, k, ONEDNN_INPUT, 0, c);
    onednn_argue(&kernel->primitives[0], DNNL_ARG_DST, scores, ONEDNN_SCRATCH, 0, 0);
    onednn_argue(&kernel->primitives[1], DNNL_ARG_SRC, scores, ONEDNN_SCRATCH, 0, 0);
    onednn_argue(&kernel->primitives[1], DNNL_ARG_WEIGHTS, q, ONEDNN_INPUT, 0, 2 * c);
    onednn_argue(&kernel->primitives[1], DNNL_ARG_DST, y, ONEDNN_OUTPUT, 0, 0);
    kernel->pad_offset = round_up_size(onednn_md_bytes(scores), MEM_ALIGNMENT);
    kernel->sizes.scratch_bytes = kernel->pad_offset;
    status = onednn_finish(kernel, &kernel->primitives[0]);
    return status == dnnl_success ? onednn_finish(kernel, &kernel->primitives[1]) : status;
}

struct softmax {
    const struct onednn_kernel *kernel;
    const float *mask;
    float *scores;
};

static void work(void *context, int index, int count) {
    const struct softmax *softmax = context;
    const struct kernel_desc *desc = &softmax->kernel->desc;
    const int64_t tokens = desc->inputs[0].shape.dims[1];
    const int64_t heads = desc->attrs.heads;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(desc->inputs[0].shape.dims[0] * heads, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        softmax->kernel->vector->softmax(
            softmax->scores + i * tokens * tokens, tokens, tokens, tokens, desc->attrs.scale,
            softmax->mask != NULL ? softmax->mask + i / heads * tokens : NULL);
    }
}

void onednn_attention_softmax(const struct onednn_kernel *kernel, const void *const inputs[],
                              void *scratch) {
    struct softmax softmax = {kernel, kernel->desc.input_count > 1 ? inputs[1] : NULL, scratch};
    vector_parallel(kernel->desc.threads, work, &softmax);
}
