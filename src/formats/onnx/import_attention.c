/* Converters of attention and what belongs to it: Attention, RotaryEmbedding, CausalConvWithState,
 * LinearAttention. */
#include "formats/onnx/import_compose.h"

#include <math.h>
#include <string.h>

static const int64_t heads_last[] = {0, 2, 1, 3}; /* [B,H,T,D] ↔ [B,T,H,D] */

struct attention {
    struct import_value *q, *k, *v; /* [B,T,H,D] */
    int64_t past;                   /* keys before this call's */
    int64_t batch, queries, keys, heads, key_heads;
    float scale, softcap;
    bool causal, unpacked; /* unpacked: inputs and result are [B,H,T,D] */
    int64_t left, right;   /* windows, −1: none */
    struct import_value *lengths;
};

/* Input `index` as [B,T,H,D]: [B,T,H·D] or [B,H,T,D]. */
static shoal_status unpack(struct import_node *n, uint32_t index, int64_t heads,
                           struct import_value **out) {
    struct import_value *x;
    TRY(import_need(n, index, &x));
    const int64_t *dims = x->type.shape.dims;
    if (x->type.shape.rank == 4) {
        return import_transpose(n, x, heads_last, out);
    }
    if (x->type.shape.rank != 3 || heads < 1 || dims[2] % heads != 0) {
        return import_corrupt(n, "input %u whose heads do not divide its channels",
                              (unsigned)index);
    }
    return import_reshape(n, x, &SHAPE(dims[0], dims[1], heads, dims[2] / heads), out);
}

/* Past [B,H,P,D] in front of x [B,T,H,D]; the whole as output `output` too. */
static shoal_status with_past(struct import_node *n, uint32_t input, uint32_t output,
                              struct import_value *x, struct import_value **out) {
    struct import_value *past = import_input(n, input), *present;
    *out = x;
    if (past != NULL) {
        if (past->type.shape.rank != 4) {
            return import_corrupt(n, "a past of rank %d", past->type.shape.rank);
        }
        TRY(import_transpose(n, past, heads_last, &past));
        TRY(compose_concat(n, (struct import_value *[]){past, x}, 2, 1, out));
    }
    if (import_wants(n, output)) {
        TRY(import_transpose(n, *out, heads_last, &present));
        TRY(import_set(n, output, present));
    }
    return SHOAL_OK;
}

static shoal_status attention_attributes(struct import_node *n, struct attention *a,
                                         int64_t heads[2]) {
    int64_t causal;
    TRY(import_attr_int(n, "q_num_heads", 0, &heads[0]));
    TRY(import_attr_int(n, "kv_num_heads", 0, &heads[1]));
    TRY(import_attr_int(n, "is_causal", 0, &causal));
    TRY(import_attr_float(n, "scale", 0, &a->scale));
    TRY(import_attr_float(n, "softcap", 0, &a->softcap));
    TRY(import_attr_int(n, "left_window_size", -1, &a->left));
    TRY(import_attr_int(n, "right_window_size", -1, &a->right));
    import_attr_ignore(n, "softmax_precision"); /* f32 throughout */
    a->causal = causal != 0;
    return SHOAL_OK;
}

static shoal_status read_attention(struct import_node *n, struct attention *a) {
    int64_t heads[2];
    TRY(attention_attributes(n, a, heads));
    TRY(unpack(n, 0, heads[0], &a->q));
    TRY(unpack(n, 1, heads[1], &a->k));
    TRY(unpack(n, 2, heads[1], &a->v));
    a->unpacked = n->inputs[0]->type.shape.rank == 4;
    TRY(with_past(n, 4, 1, a->k, &a->k));
    TRY(with_past(n, 5, 2, a->v, &a->v));
    const int64_t *q = a->q->type.shape.dims, *k = a->k->type.shape.dims;
    a->batch = q[0];
    a->queries = q[1];
    a->heads = q[2];
    a->keys = k[1];
    a->key_heads = k[2];
    a->past = import_input(n, 4) != NULL ? import_input(n, 4)->type.shape.dims[2] : 0;
    a->lengths = import_input(n, 6);
    if (a->key_heads < 1 || a->heads % a->key_heads != 0 || q[3] < 1) {
        return import_corrupt(n, "heads that do not fit");
    }
    if (!import_attr_has(n, "scale")) {
        a->scale = 1.0F / sqrtf((float)q[3]);
    }
    return SHOAL_OK;
}

/* condition ? 0 : −∞ */
static shoal_status barrier(struct import_node *n, struct import_value *condition,
                            struct import_value **out) {
    struct import_value *in[3] = {condition, NULL, NULL};
    TRY(import_scalar(n, DTYPE_F32, 0, &in[1]));
    TRY(import_scalar(n, DTYPE_F32, -INFINITY, &in[2]));
    return import_emit(n, OP_WHERE, NULL, in, 3, out);
}

static shoal_status add_mask(struct import_node *n, struct import_value *more,
                             struct import_value **mask) {
    if (*mask == NULL) {
        *mask = more;
        return SHOAL_OK;
    }
    return compose_binary(n, BINARY_ADD, *mask, more, mask);
}

/* The mask given, as floats to add, of rank 4 and as long as the keys. */
static shoal_status given_mask(struct import_node *n, const struct attention *a,
                               struct import_value **mask) {
    struct import_value *given = import_input(n, 3), *end;
    struct op_attrs pad = {0};
    if (given == NULL) {
        return SHOAL_OK;
    }
    struct shape shape = {.rank = 4, .dims = {1, 1, 1, 1}};
    const struct shape *from = &given->type.shape;
    if (from->rank < 1 || from->rank > 4 || from->dims[from->rank - 1] > a->keys) {
        return import_corrupt(n, "a mask that does not fit");
    }
    for (int i = 1; i <= from->rank; i++) {
        shape.dims[4 - i] = from->dims[from->rank - i];
    }
    if (given->type.dtype == DTYPE_BOOL) {
        TRY(barrier(n, given, &given));
    }
    TRY(import_reshape(n, given, &shape, &given));
    if (shape.dims[3] < a->keys && shape.dims[3] > 1) {
        pad.ints[PAD_END + 3] = a->keys - shape.dims[3];
        TRY(import_scalar(n, DTYPE_F32, -INFINITY, &end));
        TRY(import_emit(n, OP_PAD, &pad, (struct import_value *[]){given, end}, 2, &given));
    }
    return add_mask(n, given, mask);
}

/* j − i for query i and key j, [1,1,Tq,Tk] i64. */
static shoal_status distances(struct import_node *n, const struct attention *a,
                              struct import_value **out) {
    if (a->queries > 65536 || a->keys > 65536) {
        return import_refuse(n, "sequences that long with such a mask");
    }
    TRY(import_constant(n, DTYPE_I64, &SHAPE(1, 1, a->queries, a->keys), NULL, out));
    int64_t *data = import_constant_data(*out);
    for (int64_t i = 0; i < a->queries * a->keys; i++) {
        data[i] = i % a->keys - i / a->keys;
    }
    return SHOAL_OK;
}

/* Keys that queries may see by place: j − i compared with the offset of the first query plus
 * `reach`. The offset is the past's length, or lengths − Tq of each item. */
static shoal_status by_place(struct import_node *n, const struct attention *a, int function,
                             int64_t reach, struct import_value **mask) {
    struct import_value *distance, *offset, *allowed;
    TRY(distances(n, a, &distance));
    if (a->lengths != NULL && import_input(n, 4) == NULL) {
        TRY(compose_cast(n, a->lengths, DTYPE_I64, &offset));
        TRY(compose_with(n, BINARY_ADD, offset, (double)(reach - a->queries), &offset));
        TRY(import_reshape(n, offset, &SHAPE(a->batch, 1, 1, 1), &offset));
    } else {
        TRY(import_scalar(n, DTYPE_I64, (double)(a->past + reach), &offset));
    }
    TRY(compose_binary(n, function, distance, offset, &allowed));
    TRY(barrier(n, allowed, &allowed));
    return add_mask(n, allowed, mask);
}

/* Every mask as one to add, or NULL; `causal` says whether that part is to be in it. */
static shoal_status whole_mask(struct import_node *n, const struct attention *a, bool causal,
                               struct import_value **mask) {
    *mask = NULL;
    TRY(given_mask(n, a, mask));
    if (causal) {
        TRY(by_place(n, a, BINARY_LESS_EQUAL, 0, mask));
    }
    if (a->left >= 0) {
        TRY(by_place(n, a, BINARY_GREATER_EQUAL, -a->left, mask));
    }
    if (a->right >= 0) {
        TRY(by_place(n, a, BINARY_LESS_EQUAL, a->right, mask));
    }
    if (a->lengths != NULL) {
        struct import_value *places, *lengths, *allowed;
        TRY(import_constant(n, DTYPE_I64, &SHAPE(1, 1, 1, a->keys), NULL, &places));
        for (int64_t j = 0; j < a->keys; j++) {
            ((int64_t *)import_constant_data(places))[j] = j;
        }
        TRY(compose_cast(n, a->lengths, DTYPE_I64, &lengths));
        TRY(import_reshape(n, lengths, &SHAPE(a->batch, 1, 1, 1), &lengths));
        TRY(compose_binary(n, BINARY_LESS, places, lengths, &allowed));
        TRY(barrier(n, allowed, &allowed));
        TRY(add_mask(n, allowed, mask));
    }
    return SHOAL_OK;
}

/* x [B,T,Hk,D] → [B,H,T,D], each head of keys as often as queries share it. */
static shoal_status spread_heads(struct import_node *n, const struct attention *a,
                                 struct import_value *x, struct import_value **out) {
    const int64_t *d = x->type.shape.dims;
    const int64_t b = d[0], t = d[1], size = d[3], shared = a->heads / a->key_heads;
    TRY(import_transpose(n, x, heads_last, &x));
    TRY(import_reshape(n, x, &SHAPE(b, a->key_heads, 1, t, size), &x));
    TRY(compose_expand(n, x, &SHAPE(b, a->key_heads, shared, t, size), &x));
    return import_reshape(n, x, &SHAPE(b, a->heads, t, size), out);
}

/* Output 3: the scores at some point on their way. mode: 0 products, 1 capped, 2 masked, 3 softmax.
 */
static shoal_status set_scores(struct import_node *n, const struct attention *a, int64_t mode) {
    const struct op_attrs softmax = {.mode = SOFTMAX_EXP, .axis = 3};
    struct import_value *q, *k, *scores, *mask;
    TRY(import_transpose(n, a->q, heads_last, &q));
    TRY(spread_heads(n, a, a->k, &k));
    TRY(compose_product(n, q, k, a->scale, true, &scores));
    if (mode >= 1 && a->softcap > 0) {
        TRY(compose_with(n, BINARY_DIV, scores, (double)a->softcap, &scores));
        TRY(compose_unary(n, UNARY_TANH, scores, &scores));
        TRY(compose_with(n, BINARY_MUL, scores, (double)a->softcap, &scores));
    }
    if (mode >= 2) {
        TRY(whole_mask(n, a, a->causal, &mask));
        if (mask != NULL) {
            TRY(compose_binary(n, BINARY_ADD, scores, mask, &scores));
        }
    }
    if (mode == 3) {
        TRY(import_emit(n, OP_SOFTMAX, &softmax, &scores, 1, &scores));
    }
    return import_set(n, 3, scores);
}

static shoal_status convert_attention(struct import_node *n) {
    struct attention a = {0};
    struct import_value *mask, *y;
    int64_t mode;
    TRY(import_attr_int(n, "qk_matmul_output_mode", 0, &mode));
    TRY(read_attention(n, &a));
    /* SDPA's own causal rule lets the last query see all keys */
    const bool own = a.causal && a.lengths == NULL && a.past == a.keys - a.queries;
    TRY(whole_mask(n, &a, a.causal && !own, &mask));
    struct op_attrs attrs = {.scale = a.scale, .mode = own ? SDPA_CAUSAL : 0};
    attrs.floats[SDPA_SOFTCAP] = a.softcap;
    struct import_value *in[4] = {a.q, a.k, a.v, mask};
    TRY(import_emit(n, OP_SDPA, &attrs, in, mask != NULL ? 4 : 3, &y));
    const int64_t *d = y->type.shape.dims;
    TRY(a.unpacked ? import_transpose(n, y, heads_last, &y)
                   : import_reshape(n, y, &SHAPE(d[0], d[1], d[2] * d[3]), &y));
    if (import_wants(n, 3)) {
        TRY(set_scores(n, &a, mode));
    }
    return import_set(n, 0, y);
}

/* ---- RotaryEmbedding ---- */

/* cos or sin as [B,T,1,half]: a cache read at the positions, or given so. */
static shoal_status angles(struct import_node *n, uint32_t index, struct import_value **out) {
    const struct op_attrs rows = {.axis = 0};
    struct import_value *cache, *positions = import_input(n, 3);
    TRY(import_need(n, index, &cache));
    if (positions != NULL) {
        TRY(import_emit(n, OP_GATHER, &rows, (struct import_value *[]){cache, positions}, 2,
                        &cache));
    }
    const int64_t *d = cache->type.shape.dims;
    if (cache->type.shape.rank != 3) {
        return import_corrupt(n, "a cache of rank %d", cache->type.shape.rank);
    }
    return import_reshape(n, cache, &SHAPE(d[0], d[1], 1, d[2]), out);
}

/* The two halves of x [B,T,H,2·half], beside each other or interleaved. */
static shoal_status halves(struct import_node *n, struct import_value *x, bool interleaved,
                           struct import_value *out[2]) {
    const int64_t *d = x->type.shape.dims;
    const struct shape shape = SHAPE(d[0], d[1], d[2], d[3] / 2);
    const struct shape pairs = SHAPE(d[0], d[1], d[2], d[3] / 2, 2);
    if (interleaved) {
        TRY(import_reshape(n, x, &pairs, &x));
    }
    for (int i = 0; i < 2; i++) {
        TRY(interleaved ? compose_slice(n, x, 4, i, 1, &out[i])
                        : compose_slice(n, x, 3, i * shape.dims[3], shape.dims[3], &out[i]));
        TRY(import_reshape(n, out[i], &shape, &out[i]));
    }
    return SHOAL_OK;
}

/* a·c ± b·d */
static shoal_status turn(struct import_node *n, int function, struct import_value *a,
                         struct import_value *c, struct import_value *b, struct import_value *d,
                         struct import_value **out) {
    TRY(compose_binary(n, BINARY_MUL, a, c, &a));
    TRY(compose_binary(n, BINARY_MUL, b, d, &b));
    return compose_binary(n, function, a, b, out);
}

static shoal_status rotate(struct import_node *n, struct import_value *x, bool interleaved,
                           struct import_value **out) {
    struct import_value *cosine, *sine, *half[2], *turned[2];
    const struct shape shape = x->type.shape;
    TRY(angles(n, 1, &cosine));
    TRY(angles(n, 2, &sine));
    TRY(halves(n, x, interleaved, half));
    TRY(turn(n, BINARY_SUB, half[0], cosine, half[1], sine, &turned[0]));
    TRY(turn(n, BINARY_ADD, half[0], sine, half[1], cosine, &turned[1]));
    if (!interleaved) {
        return compose_concat(n, turned, 2, 3, out);
    }
    for (int i = 0; i < 2; i++) {
        TRY(import_reshape(
            n, turned[i], &SHAPE(shape.dims[0], shape.dims[1], shape.dims[2], shape.dims[3] / 2, 1),
            &turned[i]));
    }
    TRY(compose_concat(n, turned, 2, 4, out));
    return import_reshape(n, *out, &shape, out);
}

static shoal_status convert_rotary(struct import_node *n) {
    struct import_value *x, *rest = NULL, *y;
    int64_t heads, interleaved, size;
    TRY(import_attr_int(n, "num_heads", 0, &heads));
    TRY(import_attr_int(n, "interleaved", 0, &interleaved));
    TRY(import_attr_int(n, "rotary_embedding_dim", 0, &size));
    TRY(unpack(n, 0, heads, &x));
    const struct shape shape = n->inputs[0]->type.shape;
    const int64_t whole = x->type.shape.dims[3];
    size = size == 0 ? whole : size;
    if (size < 2 || size > whole || size % 2 != 0) {
        return import_corrupt(n, "rotary_embedding_dim out of range");
    }
    if (size < whole) {
        TRY(compose_slice(n, x, 3, size, whole - size, &rest));
        TRY(compose_slice(n, x, 3, 0, size, &x));
    }
    TRY(rotate(n, x, interleaved != 0, &y));
    if (rest != NULL) {
        TRY(compose_concat(n, (struct import_value *[]){y, rest}, 2, 3, &y));
    }
    TRY(shape.rank == 4 ? import_transpose(n, y, heads_last, &y)
                        : import_reshape(n, y, &shape, &y));
    return import_set(n, 0, y);
}

/* ---- CausalConvWithState ---- */

static shoal_status convert_causal_conv(struct import_node *n) {
    static const char *const activations[] = {"none", "silu", "swish", NULL};
    struct import_value *x, *w, *y, *bias = import_input(n, 2), *past = import_input(n, 3);
    struct op_attrs attrs = {.axis = 1};
    int activation = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &w));
    TRY(import_attr_choice(n, "activation", activations, 0, &activation));
    const int64_t *d = x->type.shape.dims;
    if (x->type.shape.rank != 3 || w->type.shape.rank != 3 || w->type.shape.dims[2] < 1 ||
        d[1] > INT32_MAX || d[1] < 1) {
        return import_corrupt(n, "input or weights that do not fit");
    }
    const int64_t state = w->type.shape.dims[2] - 1;
    if (past == NULL) {
        TRY(compose_filled(n, &SHAPE(d[0], d[1], state), 0, &past));
    }
    TRY(compose_concat(n, (struct import_value *[]){past, x}, 2, 2, &x));
    if (import_wants(n, 1)) {
        TRY(compose_slice(n, x, 2, x->type.shape.dims[2] - state, state, &past));
        TRY(import_set(n, 1, past));
    }
    attrs.groups = (int32_t)d[1];
    attrs.ints[WINDOW_STRIDE] = attrs.ints[WINDOW_DILATION] = 1;
    struct import_value *in[3] = {x, w, bias};
    TRY(import_emit(n, OP_CONV, &attrs, in, bias != NULL ? 3 : 2, &y));
    if (activation != 0) {
        struct import_value *gate;
        TRY(compose_unary(n, UNARY_SIGMOID, y, &gate));
        TRY(compose_binary(n, BINARY_MUL, y, gate, &y));
    }
    return import_set(n, 0, y);
}

/* ---- LinearAttention: its recurrence, unrolled ---- */

#define MOST_STEPS 1024

struct recurrence {
    struct import_value *q, *k, *v, *decay, *beta; /* [B,H,T,...] */
    struct import_value *state;                    /* [B,H,Dk,Dv] */
    int64_t steps, heads, key_heads;
    float scale;
};

/* Step t of x [B,H,T,D] as [B,H,1,D]. */
static shoal_status step_of(struct import_node *n, struct import_value *x, int64_t t,
                            struct import_value **out) {
    return compose_slice(n, x, 2, t, 1, out);
}

static shoal_status update_state(struct import_node *n, struct recurrence *r, int64_t t) {
    struct import_value *k, *v, *g, *found, *column;
    TRY(step_of(n, r->k, t, &k));
    TRY(step_of(n, r->v, t, &v));
    const int64_t *d = k->type.shape.dims;
    TRY(import_reshape(n, k, &SHAPE(d[0], d[1], d[3], 1), &column));
    if (r->decay != NULL) {
        TRY(step_of(n, r->decay, t, &g));
        TRY(compose_unary(n, UNARY_EXP, g, &g));
        const int64_t *e = g->type.shape.dims;
        TRY(import_reshape(n, g, &SHAPE(e[0], e[1], e[3], 1), &g));
        TRY(compose_binary(n, BINARY_MUL, r->state, g, &r->state));
    }
    if (r->beta != NULL) { /* what the state has for the key already is taken away */
        TRY(compose_product(n, k, r->state, 1, false, &found));
        TRY(compose_binary(n, BINARY_SUB, v, found, &v));
        TRY(step_of(n, r->beta, t, &g));
        TRY(compose_binary(n, BINARY_MUL, v, g, &v));
    }
    TRY(compose_binary(n, BINARY_MUL, column, v, &v)); /* the outer product */
    return compose_binary(n, BINARY_ADD, r->state, v, &r->state);
}

/* Output of step t, [B,1,H·Dv]. */
static shoal_status read_state(struct import_node *n, struct recurrence *r, int64_t t,
                               struct import_value **out) {
    struct import_value *q, *state = r->state;
    const int64_t *s = state->type.shape.dims, shared = r->heads / r->key_heads;
    const int64_t b = s[0], dk = s[2], dv = s[3];
    TRY(step_of(n, r->q, t, &q));
    TRY(import_reshape(n, q, &SHAPE(b, r->key_heads, shared, dk), &q));
    TRY(compose_product(n, q, state, r->scale, false, out));
    return import_reshape(n, *out, &SHAPE(b, 1, r->heads * dv), out);
}

static shoal_status run_steps(struct import_node *n, struct recurrence *r,
                              struct import_value **out) {
    struct import_value *some[OP_MAX_INPUTS];
    int count = 0;
    *out = NULL;
    for (int64_t t = 0; t < r->steps; t++) {
        TRY(update_state(n, r, t));
        TRY(read_state(n, r, t, &some[count++]));
        if (count == OP_MAX_INPUTS || t + 1 == r->steps) { /* the first is all before */
            TRY(compose_concat(n, some, count, 1, out));
            some[0] = *out;
            count = 1;
        }
    }
    return SHOAL_OK;
}

/* x [B,T,H·D] → [B,H,T,D] */
static shoal_status by_heads(struct import_node *n, uint32_t index, int64_t heads,
                             struct import_value **out) {
    TRY(unpack(n, index, heads, out));
    return import_transpose(n, *out, heads_last, out);
}

static shoal_status read_recurrence(struct import_node *n, struct recurrence *r, int rule) {
    TRY(by_heads(n, 0, r->heads, &r->q));
    TRY(by_heads(n, 1, r->key_heads, &r->k));
    TRY(by_heads(n, 2, r->key_heads, &r->v));
    const int64_t *k = r->k->type.shape.dims;
    r->steps = k[2];
    if (r->steps < 1 || r->steps > MOST_STEPS || r->q->type.shape.dims[2] != r->steps) {
        return import_refuse(n, "%lld steps", (long long)r->steps);
    }
    if (rule == 1 || rule == 3) {
        TRY(by_heads(n, 4, r->key_heads, &r->decay));
    }
    if (rule >= 2) {
        struct import_value *beta;
        TRY(import_need(n, 5, &beta));
        if (beta->type.shape.rank != 3) {
            return import_corrupt(n, "beta of rank %d", beta->type.shape.rank);
        }
        TRY(by_heads(n, 5, beta->type.shape.dims[2], &r->beta));
    }
    r->state = import_input(n, 3);
    if (r->state == NULL) {
        TRY(compose_filled(n, &SHAPE(k[0], k[1], k[3], r->v->type.shape.dims[3]), 0, &r->state));
    }
    r->scale = r->scale != 0 ? r->scale : 1.0F / sqrtf((float)k[3]);
    return SHOAL_OK;
}

static shoal_status convert_linear_attention(struct import_node *n) {
    static const char *const rules[] = {"linear", "gated", "delta", "gated_delta", NULL};
    struct recurrence r = {0};
    struct import_value *y;
    int rule = 0;
    TRY(import_attr_choice(n, "update_rule", rules, 3, &rule));
    TRY(import_attr_int(n, "q_num_heads", 0, &r.heads));
    TRY(import_attr_int(n, "kv_num_heads", 0, &r.key_heads));
    TRY(import_attr_float(n, "scale", 0, &r.scale));
    import_attr_ignore(n, "chunk_size"); /* a hint for speed */
    if (r.key_heads < 1 || r.heads < 1 || r.heads % r.key_heads != 0) {
        return import_corrupt(n, "heads that do not fit");
    }
    TRY(read_recurrence(n, &r, rule));
    TRY(run_steps(n, &r, &y));
    if (import_wants(n, 1)) {
        TRY(import_set(n, 1, r.state));
    }
    return import_set(n, 0, y);
}

const struct import_converter import_attention_converters[] = {
    {"", "Attention", convert_attention, 0},
    {"", "RotaryEmbedding", convert_rotary, 0},
    {"", "CausalConvWithState", convert_causal_conv, 0},
    {"", "LinearAttention", convert_linear_attention, 0},
    {NULL, NULL, NULL, 0},
};
