#include "kernels/reference/reference.h"

#include <math.h>
#include <stddef.h>

/* One row of scores: query q [D] of one head against the keys of its head. */
struct row {
    const float *q, *keys, *mask; /* mask may be NULL */
    int64_t depth, stride;        /* from key to key */
    int64_t count;                /* keys that it sees */
    float scale, softcap;
};

/* p [count] = softmax(s + mask); false if nothing is seen */
static bool probabilities(const struct row *row, float *p) {
    float greatest = -INFINITY;
    for (int64_t t = 0; t < row->count; t++) {
        float sum = 0;
        for (int64_t d = 0; d < row->depth; d++) {
            sum += row->q[d] * row->keys[t * row->stride + d];
        }
        float score = sum * row->scale;
        if (row->softcap > 0) {
            score = row->softcap * tanhf(score / row->softcap);
        }
        p[t] = score + (row->mask != NULL ? row->mask[t] : 0);
        greatest = fmaxf(greatest, p[t]);
    }
    if (isinf(greatest) && greatest < 0) {
        return false;
    }
    float total = 0;
    for (int64_t t = 0; t < row->count; t++) {
        p[t] = expf(p[t] - greatest);
        total += p[t];
    }
    for (int64_t t = 0; t < row->count; t++) {
        p[t] /= total;
    }
    return true;
}

/* Row (b, h, i) of the mask [B|1,Hq|1,Tq|1,Tk]; NULL without one. */
static const float *mask_row(const struct reference_call *call, int64_t b, int64_t h, int64_t i) {
    if (call->desc->input_count <= 3) {
        return NULL;
    }
    const int64_t *m = call->desc->inputs[3].shape.dims;
    const int64_t row =
        ((m[0] > 1 ? b : 0) * m[1] + (m[1] > 1 ? h : 0)) * m[2] + (m[2] > 1 ? i : 0);
    return (const float *)call->inputs[3] + row * m[3];
}

static int64_t keys_seen(const struct kernel_desc *desc, int64_t query) {
    const int64_t queries = desc->inputs[0].shape.dims[1];
    const int64_t keys = desc->inputs[1].shape.dims[1];
    if ((desc->attrs.mode & SDPA_CAUSAL) == 0) {
        return keys;
    }
    const int64_t seen = query + 1 + keys - queries;
    return seen < 0 ? 0 : seen;
}

/* q [B,Tq,Hq,D], k [B,Tk,Hk,D], v [B,Tk,Hk,Dv], mask [B|1,Hq|1,Tq|1,Tk]? → y [B,Tq,Hq,Dv] */
void reference_sdpa(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *q = desc->inputs[0].shape.dims;
    const int64_t *v = desc->inputs[2].shape.dims;
    const int64_t per_key_head = q[2] / v[2];
    struct row row = {.depth = q[3],
                      .stride = v[2] * q[3],
                      .scale = desc->attrs.scale,
                      .softcap = desc->attrs.floats[SDPA_SOFTCAP]};
    float *p = call->scratch;
    float *y = call->outputs[0];
    row.q = call->inputs[0];
    for (int64_t b = 0; b < q[0]; b++) {
        for (int64_t i = 0; i < q[1]; i++) {
            row.count = keys_seen(desc, i);
            for (int64_t h = 0; h < q[2]; h++, row.q += q[3]) {
                const int64_t first = b * v[1] * v[2] + h / per_key_head; /* key 0 of the head */
                row.keys = (const float *)call->inputs[1] + first * q[3];
                row.mask = mask_row(call, b, h, i);
                const float *values = (const float *)call->inputs[2] + first * v[3];
                const bool any = probabilities(&row, p);
                for (int64_t d = 0; d < v[3]; d++) {
                    float sum = 0;
                    for (int64_t t = 0; t < row.count && any; t++) {
                        sum += p[t] * values[t * v[2] * v[3] + d];
                    }
                    *y++ = sum;
                }
            }
        }
    }
}
