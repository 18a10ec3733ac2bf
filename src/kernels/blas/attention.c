/*
 * qkv [B,T,3C], mask [B,T]? → y [B,T,C]. Per item and head: keys and values are packed, then blocks
 * of queries go through q·kᵀ, softmax and probabilities·v while their scores are in the cache.
 */
#include "kernels/blas/blas.h"

#define QUERY_BLOCK 112 /* rows of scores at a time */

/* Where the parts of a thread's scratch lie, in floats. */
struct layout {
    int64_t keys, values, scores, gemm, total;
    int64_t score_stride;
};

static int64_t floats(int64_t count) {
    return (int64_t)(blas_bytes(count) / sizeof(float));
}

static struct layout lay_out(const struct blas_kernel *kernel) {
    const int64_t tokens = kernel->desc.inputs[0].shape.dims[1];
    const int64_t depth = kernel->depth;
    const int64_t block = tokens < QUERY_BLOCK ? tokens : QUERY_BLOCK;
    const int64_t first = kernel->vector->gemm_scratch(block, depth);
    const int64_t second = kernel->vector->gemm_scratch(block, tokens);
    struct layout at = {0};
    at.score_stride = floats(tokens);
    at.values = floats(kernel->vector->packed_count(depth, tokens));
    at.scores = at.values + floats(kernel->vector->packed_count(tokens, depth));
    at.gemm = at.scores + block * at.score_stride;
    at.total = at.gemm + floats(first > second ? first : second);
    return at;
}

static void prepare(struct blas_kernel *kernel) {
    kernel->depth = kernel->desc.inputs[0].shape.dims[2] / 3 / kernel->desc.attrs.heads;
    kernel->thread_scratch = blas_bytes(lay_out(kernel).total);
}

struct rows {
    const float *data;
    int64_t stride;
};

static const float *row(const void *source, int64_t m, float *buffer) {
    (void)buffer;
    const struct rows *rows = source;
    return rows->data + m * rows->stride;
}

static void one_head(const struct blas_call *call, int64_t item, int64_t head, float *scratch) {
    const struct blas_kernel *kernel = call->kernel;
    const struct vector_ops *vector = kernel->vector;
    const int64_t tokens = kernel->desc.inputs[0].shape.dims[1];
    const int64_t stride = kernel->desc.inputs[0].shape.dims[2];
    const int64_t channels = stride / 3;
    const int64_t depth = kernel->depth;
    const struct layout at = lay_out(kernel);
    const float *q = (const float *)call->inputs[0] + item * tokens * stride + head * depth;
    const float *mask =
        kernel->desc.input_count > 1 ? (const float *)call->inputs[1] + item * tokens : NULL;
    float *y = (float *)call->outputs[0] + item * tokens * channels + head * depth;
    float *scores = scratch + at.scores;
    vector->pack_columns(q + channels, stride, depth, tokens, scratch + at.keys);
    vector->pack_rows(q + 2 * channels, stride, tokens, depth, scratch + at.values);

    const struct rows probabilities = {scores, at.score_stride};
    struct rows queries = {q, stride};
    struct vector_gemm first = {.columns = tokens,
                                .depth = depth,
                                .row = row,
                                .source = &queries,
                                .packed = scratch + at.keys,
                                .y = scores,
                                .y_stride = at.score_stride,
                                .scale = 1};
    struct vector_gemm second = {.columns = depth,
                                 .depth = tokens,
                                 .row = row,
                                 .source = &probabilities,
                                 .packed = scratch + at.values,
                                 .y_stride = channels,
                                 .scale = 1};
    const int64_t panel = vector->panel;
    const int64_t blocks = (tokens + QUERY_BLOCK - 1) / QUERY_BLOCK;
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t from = block * tokens / blocks;
        const int64_t count = (block + 1) * tokens / blocks - from;
        queries.data = q + from * stride;
        vector->gemm(&first, 0, count, 0, (tokens + panel - 1) / panel, scratch + at.gemm);
        vector->softmax(scores, count, tokens, at.score_stride, kernel->desc.attrs.scale, mask);
        second.y = y + from * channels;
        vector->gemm(&second, 0, count, 0, (depth + panel - 1) / panel, scratch + at.gemm);
    }
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const int64_t heads = call->kernel->desc.attrs.heads;
    float *scratch =
        (float *)(void *)(call->scratch + (size_t)index * call->kernel->thread_scratch);
    int64_t first = 0;
    int64_t last = 0;
    vector_part(call->kernel->desc.inputs[0].shape.dims[0] * heads, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        one_head(call, i / heads, i % heads, scratch);
    }
}

const struct blas_function blas_attention = {prepare, NULL, work, 0};
