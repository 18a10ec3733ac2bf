/*
 * ATTENTION: qkv [B,T,3C], mask [B,T]? → y [B,T,C].
 * SDPA: q [B,Tq,Hq,D], k [B,Tk,Hk,D], v [B,Tk,Hk,Dv], mask? → y [B,Tq,Hq,Dv].
 *
 * A unit of work is an item's head of keys: they are packed once for the query heads that share
 * them. With fewer units than threads each unit's queries are split, too.
 */
#include "kernels/blas/blas.h"

/* The problem, whichever op it came from; dims of q, k and v as SDPA has them. */
struct problem {
    int64_t items, queries, keys, query_heads, key_heads, depth, width;
    int64_t q_row, k_row, v_row; /* elements from row to row */
    int64_t mask_item, mask_head, mask_row;
};

static struct problem of_attention(const struct kernel_desc *desc) {
    const int64_t *dims = desc->inputs[0].shape.dims;
    const int64_t heads = desc->attrs.heads, depth = dims[2] / 3 / heads;
    return (struct problem){dims[0], dims[1], dims[1], heads,   heads, depth, depth,
                            dims[2], dims[2], dims[2], dims[1], 0,     0};
}

static struct problem of_sdpa(const struct kernel_desc *desc) {
    const int64_t *q = desc->inputs[0].shape.dims, *k = desc->inputs[1].shape.dims;
    const int64_t *v = desc->inputs[2].shape.dims;
    struct problem p = {q[0],        q[1],        k[1],        q[2], k[2], q[3], v[3],
                        q[2] * q[3], k[2] * k[3], v[2] * v[3], 0,    0,    0};
    if (desc->input_count > 3) { /* broadcast, aligned at the last axis */
        const struct shape *mask = &desc->inputs[3].shape;
        int64_t dims[4] = {1, 1, 1, 1};
        for (int i = 1; i <= mask->rank; i++) {
            dims[4 - i] = mask->dims[mask->rank - i];
        }
        p.mask_row = dims[2] > 1 ? dims[3] : 0;
        p.mask_head = dims[1] > 1 ? dims[2] * dims[3] : 0;
        p.mask_item = dims[0] > 1 ? dims[1] * dims[2] * dims[3] : 0;
    }
    return p;
}

static struct problem problem_of(const struct kernel_desc *desc) {
    return desc->op == OP_SDPA ? of_sdpa(desc) : of_attention(desc);
}

static void prepare(struct blas_kernel *kernel) {
    const struct problem p = problem_of(&kernel->desc);
    kernel->thread_scratch = blas_bytes(kernel->vector->attend_scratch(p.keys, p.depth, p.width));
}

/* Query head `head` of an item. */
static struct vector_attention head_of(const struct blas_call *call, const struct problem *p,
                                       int64_t item, int64_t head) {
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t of_keys = head / (p->query_heads / p->key_heads);
    const bool packed = desc->op == OP_ATTENTION; /* q, k and v side by side in one tensor */
    const int64_t channels = p->query_heads * p->depth;
    const int mask_at = packed ? 1 : 3;
    struct vector_attention g = {.queries = p->queries,
                                 .keys = p->keys,
                                 .depth = p->depth,
                                 .width = p->width,
                                 .q_stride = p->q_row,
                                 .k_stride = p->k_row,
                                 .v_stride = p->v_row,
                                 .mask_stride = p->mask_row,
                                 .y_stride = p->query_heads * p->width,
                                 .scale = desc->attrs.scale,
                                 .softcap = packed ? 0 : desc->attrs.floats[SDPA_SOFTCAP],
                                 .causal = !packed && (desc->attrs.mode & SDPA_CAUSAL) != 0};
    const float *k = packed ? (const float *)call->inputs[0] + channels : call->inputs[1];
    const float *v = packed ? (const float *)call->inputs[0] + 2 * channels : call->inputs[2];
    g.q = (const float *)call->inputs[0] + item * p->queries * p->q_row + head * p->depth;
    g.k = k + item * p->keys * p->k_row + of_keys * p->depth;
    g.v = v + item * p->keys * p->v_row + of_keys * p->width;
    if (desc->input_count > mask_at) {
        g.mask = (const float *)call->inputs[mask_at] + item * p->mask_item + head * p->mask_head;
    }
    g.y = (float *)call->outputs[0] + item * p->queries * g.y_stride + head * p->width;
    return g;
}

/* A part of the queries of the heads that share one head of keys. */
static void one_unit(const struct blas_call *call, const struct problem *p, int64_t unit,
                     int64_t first, int64_t last, float *scratch) {
    const struct vector_ops *vector = call->kernel->vector;
    const int64_t shared = p->query_heads / p->key_heads;
    const int64_t item = unit / p->key_heads, head = unit % p->key_heads * shared;
    for (int64_t i = 0; i < shared; i++) {
        const struct vector_attention g = head_of(call, p, item, head + i);
        if (i == 0) {
            vector->attend_pack(&g, scratch);
        }
        vector->attend(&g, first, last, scratch);
    }
}

static void work(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct problem p = problem_of(&call->kernel->desc);
    float *scratch =
        (float *)(void *)(call->scratch + (size_t)index * call->kernel->thread_scratch);
    const int64_t units = p.items * p.key_heads;
    const int64_t splits = units < count ? (count + units - 1) / units : 1;
    int64_t first = 0, last = 0;
    vector_part(units * splits, index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        int64_t from = 0, to = 0;
        vector_part(p.queries, (int)(i % splits), (int)splits, &from, &to);
        if (from < to) {
            one_unit(call, &p, i / splits, from, to, scratch);
        }
    }
}

const struct blas_function blas_attention = {prepare, NULL, work, 0};
