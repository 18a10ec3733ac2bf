#include "kernels/op_infer.h"

#include "base/assert.h"
#include "kernels/quantise.h"

static void set_output(struct op_inference *in, int index, const struct shape *shape) {
    op_set_output(in, index, DTYPE_F32, shape);
}

static shoal_status same_shape(struct op_inference *in, const char *what, const struct shape *a,
                               const struct shape *b) {
    return shape_equal(a, b) ? SHOAL_OK : op_refuse_pair(in, what, a, b);
}

/* A param must be a vector of the given length. */
static shoal_status vector_of(struct op_inference *in, const char *what, int param,
                              int64_t length) {
    const struct shape *shape = &in->params[param].shape;
    return shape->rank == 1 && shape->dims[0] == length
               ? SHOAL_OK
               : op_refuse(in, SHOAL_MISMATCH, what, shape);
}

static shoal_status known_activation(struct op_inference *in) {
    return (unsigned)in->attrs->activation < ACTIVATION_COUNT
               ? SHOAL_OK
               : op_refuse_attribute(in, "unknown activation");
}

/* Output length of one spatial axis, or 0 if the kernel does not fit. */
static int64_t conv_extent(const struct op_attrs *attrs, int axis, int64_t in, int64_t kernel) {
    const int64_t padded = in + attrs->pad[axis] + attrs->pad[axis + 2];
    const int64_t span = (kernel - 1) * attrs->dilation[axis] + 1;
    return padded < span ? 0 : (padded - span) / attrs->stride[axis] + 1;
}

static shoal_status infer_conv2d(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *w = &in->params[0].shape;
    TRY(known_activation(in));
    for (int axis = 0; axis < 2; axis++) {
        if (attrs->stride[axis] < 1 || attrs->dilation[axis] < 1) {
            return op_refuse_attribute(in, "stride and dilation must be at least 1");
        }
        if (attrs->pad[axis] < 0 || attrs->pad[axis + 2] < 0) {
            return op_refuse_attribute(in, "negative padding");
        }
    }
    if (attrs->groups < 1) {
        return op_refuse_attribute(in, "groups must be at least 1");
    }
    if (x->rank != 4) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,H,W,C]:", x);
    }
    if (w->rank != 4) {
        return op_refuse(in, SHOAL_MISMATCH, "weight is not [O,C/groups,KH,KW]:", w);
    }
    if (w->dims[1] * attrs->groups != x->dims[3] || w->dims[0] % attrs->groups != 0) {
        return op_refuse_pair(in, "channels of input and weight differ", x, w);
    }
    if (in->param_count > 1) {
        TRY(vector_of(in, "bias is not [O]:", 1, w->dims[0]));
    }
    const int64_t oh = conv_extent(attrs, 0, x->dims[1], w->dims[2]);
    const int64_t ow = conv_extent(attrs, 1, x->dims[2], w->dims[3]);
    if (oh < 1 || ow < 1) {
        return op_refuse_pair(in, "the kernel is larger than the padded input", x, w);
    }
    const struct shape y = SHAPE(x->dims[0], oh, ow, w->dims[0]);
    if (in->input_count > 1) {
        TRY(same_shape(in, "residual and result differ", &in->inputs[1].shape, &y));
    }
    set_output(in, 0, &y);
    return SHOAL_OK;
}

static shoal_status infer_tokens(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *prefix = &in->params[0].shape;
    const struct shape *position = &in->params[1].shape;
    if (x->rank != 3 && x->rank != 4) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,P,C] or [B,h,w,C]:", x);
    }
    const int64_t channels = x->dims[x->rank - 1];
    const int64_t patches = x->rank == 3 ? x->dims[1] : x->dims[1] * x->dims[2];
    if (prefix->rank != 2 || prefix->dims[1] != channels) {
        return op_refuse_pair(in, "prefix is not [R,C]", x, prefix);
    }
    const int64_t rows = prefix->dims[0] + patches;
    if (position->rank != 2 || position->dims[0] != rows || position->dims[1] != channels) {
        return op_refuse_pair(in, "position is not [R+P,C]", x, position);
    }
    set_output(in, 0, &SHAPE(x->dims[0], rows, channels));
    return SHOAL_OK;
}

static shoal_status infer_embed(struct op_inference *in) {
    const struct shape *ids = &in->inputs[0].shape;
    const struct shape *word = &in->params[0].shape;
    const struct shape *position = &in->params[1].shape;
    if (ids->rank != 2) {
        return op_refuse(in, SHOAL_MISMATCH, "ids are not [B,T]:", ids);
    }
    if (word->rank != 2) {
        return op_refuse(in, SHOAL_MISMATCH, "the table of words is not [V,C]:", word);
    }
    if (position->rank != 2 || position->dims[1] != word->dims[1] ||
        position->dims[0] < ids->dims[1]) {
        return op_refuse_pair(in, "the table of positions is not [T or more,C]", ids, position);
    }
    if (in->input_count != in->param_count - 1) {
        return op_refuse_attribute(in, "types and their table come together");
    }
    if (in->input_count > 1) {
        const struct shape *type = &in->params[2].shape;
        TRY(same_shape(in, "ids and types differ", &in->inputs[1].shape, ids));
        if (type->rank != 2 || type->dims[1] != word->dims[1]) {
            return op_refuse_pair(in, "the table of types is not [S,C]", word, type);
        }
    }
    set_output(in, 0, &SHAPE(ids->dims[0], ids->dims[1], word->dims[1]));
    return SHOAL_OK;
}

static shoal_status infer_layer_norm(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank < 1) {
        return op_refuse(in, SHOAL_MISMATCH, "input has no axis:", x);
    }
    if (!(in->attrs->epsilon >= 0)) {
        return op_refuse_attribute(in, "negative epsilon");
    }
    TRY(vector_of(in, "gamma is not [C]:", 0, x->dims[x->rank - 1]));
    TRY(vector_of(in, "beta is not [C]:", 1, x->dims[x->rank - 1]));
    set_output(in, 0, x);
    return SHOAL_OK;
}

static shoal_status infer_linear(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *w = &in->params[0].shape;
    TRY(known_activation(in));
    if (x->rank < 1 || w->rank != 2 || x->dims[x->rank - 1] != w->dims[1]) {
        return op_refuse_pair(in, "input [...,K] and weight [N,K] differ in K", x, w);
    }
    if (in->param_count > 1) {
        TRY(vector_of(in, "bias is not [N]:", 1, w->dims[0]));
    }
    struct shape y = *x;
    y.dims[y.rank - 1] = w->dims[0];
    if (in->input_count > 1) {
        TRY(same_shape(in, "residual and result differ", &in->inputs[1].shape, &y));
    }
    set_output(in, 0, &y);
    return SHOAL_OK;
}

/* [B,T], one number for each of the rows x [B,T,...]. */
static shoal_status mask_of(struct op_inference *in, const struct shape *x,
                            const struct shape *mask) {
    return mask->rank == 2 && mask->dims[0] == x->dims[0] && mask->dims[1] == x->dims[1]
               ? SHOAL_OK
               : op_refuse_pair(in, "mask is not [B,T]", x, mask);
}

static shoal_status infer_attention(struct op_inference *in) {
    const struct shape *qkv = &in->inputs[0].shape;
    const int64_t heads = in->attrs->heads;
    if (heads < 1) {
        return op_refuse_attribute(in, "heads must be at least 1");
    }
    if (qkv->rank != 3 || qkv->dims[2] % (3 * heads) != 0) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,T,3C] with heads dividing C:", qkv);
    }
    if (in->input_count > 1) {
        TRY(mask_of(in, qkv, &in->inputs[1].shape));
    }
    set_output(in, 0, &SHAPE(qkv->dims[0], qkv->dims[1], qkv->dims[2] / 3));
    return SHOAL_OK;
}

/* mask [B|1,Hq|1,Tq|1,Tk] for q [B,Tq,Hq,D] and k [B,Tk,Hk,D] */
static shoal_status sdpa_mask(struct op_inference *in, const struct shape *q, const struct shape *k,
                              const struct shape *mask) {
    const int64_t *m = mask->dims;
    const bool fits = mask->rank == 4 && (m[0] == 1 || m[0] == q->dims[0]) &&
                      (m[1] == 1 || m[1] == q->dims[2]) && (m[2] == 1 || m[2] == q->dims[1]) &&
                      m[3] == k->dims[1];
    return fits ? SHOAL_OK : op_refuse_pair(in, "mask is not [B|1,Hq|1,Tq|1,Tk]", q, mask);
}

static shoal_status infer_sdpa(struct op_inference *in) {
    const struct shape *q = &in->inputs[0].shape;
    const struct shape *k = &in->inputs[1].shape;
    const struct shape *v = &in->inputs[2].shape;
    if ((in->attrs->mode & ~SDPA_CAUSAL) != 0) {
        return op_refuse_attribute(in, "unknown mode");
    }
    if (!(in->attrs->floats[SDPA_SOFTCAP] >= 0)) {
        return op_refuse_attribute(in, "negative softcap");
    }
    if (q->rank != 4 || k->rank != 4 || k->dims[0] != q->dims[0] || k->dims[3] != q->dims[3] ||
        q->dims[2] % k->dims[2] != 0) {
        return op_refuse_pair(in, "not q [B,Tq,Hq,D] and k [B,Tk,Hk,D] with Hk dividing Hq", q, k);
    }
    if (v->rank != 4 || v->dims[0] != k->dims[0] || v->dims[1] != k->dims[1] ||
        v->dims[2] != k->dims[2]) {
        return op_refuse_pair(in, "not k [B,Tk,Hk,D] and v [B,Tk,Hk,Dv]", k, v);
    }
    if (in->input_count > 3) {
        TRY(sdpa_mask(in, q, k, &in->inputs[3].shape));
    }
    set_output(in, 0, &SHAPE(q->dims[0], q->dims[1], q->dims[2], v->dims[3]));
    return SHOAL_OK;
}

static shoal_status infer_mean_pool(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 3) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,T,C]:", x);
    }
    TRY(mask_of(in, x, &in->inputs[1].shape));
    set_output(in, 0, &SHAPE(x->dims[0], x->dims[2]));
    return SHOAL_OK;
}

static shoal_status infer_normalise(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank < 1) {
        return op_refuse(in, SHOAL_MISMATCH, "input has no axis:", x);
    }
    if (!(in->attrs->epsilon > 0)) {
        return op_refuse_attribute(in, "epsilon must be positive");
    }
    set_output(in, 0, x);
    return SHOAL_OK;
}

static shoal_status infer_select(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 3) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [B,T,C]:", x);
    }
    if (in->attrs->index < 0 || in->attrs->index >= x->dims[1]) {
        return op_refuse(in, SHOAL_MISMATCH, "the index lies outside", x);
    }
    set_output(in, 0, &SHAPE(x->dims[0], x->dims[2]));
    return SHOAL_OK;
}

static shoal_status infer_matmul(struct op_inference *in) {
    const struct shape *a = &in->inputs[0].shape;
    const struct shape *b = &in->inputs[1].shape;
    if (a->rank != 2 || b->rank != 2) {
        return op_refuse_pair(in, "not two matrices", a, b);
    }
    const int ta = in->attrs->transpose_a ? 1 : 0;
    const int tb = in->attrs->transpose_b ? 1 : 0;
    if (a->dims[1 - ta] != b->dims[tb]) {
        return op_refuse_pair(in, "inner dimensions differ", a, b);
    }
    set_output(in, 0, &SHAPE(a->dims[ta], b->dims[1 - tb]));
    return SHOAL_OK;
}

static shoal_status infer_sum_rows(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 2) {
        return op_refuse(in, SHOAL_MISMATCH, "input is not [M,N]:", x);
    }
    set_output(in, 0, &SHAPE(x->dims[1]));
    return SHOAL_OK;
}

static shoal_status infer_cross_entropy(struct op_inference *in) {
    const struct shape *logits = &in->inputs[0].shape;
    const struct shape *label = &in->inputs[1].shape;
    if (logits->rank != 2 || label->rank != 1 || label->dims[0] != logits->dims[0]) {
        return op_refuse_pair(in, "not logits [B,N] and labels [B]", logits, label);
    }
    set_output(in, 0, &SHAPE(logits->dims[0]));
    set_output(in, 1, logits);
    return SHOAL_OK;
}

static shoal_status infer_elementwise(struct op_inference *in) {
    for (int i = 1; i < in->input_count; i++) {
        TRY(same_shape(in, "inputs differ", &in->inputs[0].shape, &in->inputs[i].shape));
    }
    TRY(known_activation(in));
    set_output(in, 0, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status (*const inferences[])(struct op_inference *) = {
    [OP_CONV2D] = infer_conv2d,
    [OP_TOKENS] = infer_tokens,
    [OP_EMBED] = infer_embed,
    [OP_LAYER_NORM] = infer_layer_norm,
    [OP_LINEAR] = infer_linear,
    [OP_ATTENTION] = infer_attention,
    [OP_ADD] = infer_elementwise,
    [OP_ACTIVATION] = infer_elementwise,
    [OP_MEAN_POOL] = infer_mean_pool,
    [OP_NORMALISE] = infer_normalise,
    [OP_SELECT] = infer_select,
    [OP_SDPA] = infer_sdpa,
    [OP_MATMUL] = infer_matmul,
    [OP_SUM_ROWS] = infer_sum_rows,
    [OP_ACTIVATION_GRAD] = infer_elementwise,
    [OP_CROSS_ENTROPY] = infer_cross_entropy,
    [OP_SGD] = infer_elementwise,
};

static shoal_status all_of_type(struct op_inference *in, const struct tensor_type *types, int count,
                                enum dtype dtype) {
    for (int i = 0; i < count; i++) {
        if (types[i].dtype != dtype) {
            return op_refuse_type(in, types[i].dtype);
        }
    }
    return SHOAL_OK;
}

/* Reduced precision is for products with weights that share all input channels. */
static shoal_status known_precision(struct op_inference *in) {
    const enum precision precision = in->attrs->precision;
    if ((unsigned)precision >= PRECISION_COUNT) {
        return op_refuse_attribute(in, "unknown precision");
    }
    if (precision == PRECISION_F32) {
        return SHOAL_OK;
    }
    if (in->op != OP_LINEAR && in->op != OP_CONV2D) {
        return op_refuse_attribute(in, "only linear and conv2d have a precision other than f32");
    }
    if (in->op == OP_CONV2D && in->attrs->groups != 1) {
        return op_refuse_attribute(in, "convolutions in groups are f32 only");
    }
    int64_t weights = 0;
    const struct shape *w = &in->params[0].shape;
    if (precision == PRECISION_I8 && shape_count(w, &weights) && w->rank > 0 &&
        weights / w->dims[0] > QUANT_I8_DEPTH) {
        return op_refuse(in, SHOAL_UNSUPPORTED, "int8 adds up at most 65536 products, this is", w);
    }
    return SHOAL_OK;
}

/* All are f32 but labels and ids. */
shoal_status op_infer_core(struct op_inference *in) {
    TRY(known_precision(in));
    if (in->op == OP_EMBED) {
        TRY(all_of_type(in, in->inputs, in->input_count, DTYPE_I32));
    } else if (in->op == OP_CROSS_ENTROPY) {
        TRY(all_of_type(in, in->inputs, 1, DTYPE_F32));
        TRY(all_of_type(in, in->inputs + 1, 1, DTYPE_I32));
    } else {
        TRY(all_of_type(in, in->inputs, in->input_count, DTYPE_F32));
    }
    TRY(all_of_type(in, in->params, in->param_count, DTYPE_F32));
    ASSERT((size_t)in->op < sizeof inferences / sizeof inferences[0] && inferences[in->op] != NULL);
    return inferences[in->op](in);
}
