#include "kernels/op.h"

#include "base/assert.h"
#include "base/checked.h"

#include <inttypes.h>
#include <string.h>

static const struct op_info infos[] = {
#define X(code, name, imin, imax, pmin, pmax, outputs) \
    [OP_##code] = {(name), (imin), (imax), (pmin), (pmax), (outputs)},
    OP_LIST(X)
#undef X
};
_Static_assert(sizeof infos / sizeof infos[0] == OP_COUNT, "a row for every op");

#define X(code, name, imin, imax, pmin, pmax, outputs)                   \
    _Static_assert((imax) <= OP_MAX_INPUTS && (pmax) <= OP_MAX_PARAMS && \
                       (outputs) <= OP_MAX_OUTPUTS,                      \
                   "limits hold every op");
OP_LIST(X)
#undef X

static const char *const activations[] = {
#define X(code, name) [ACTIVATION_##code] = (name),
    ACTIVATION_LIST(X)
#undef X
};
_Static_assert(sizeof activations / sizeof activations[0] == ACTIVATION_COUNT,
               "a name for every activation");

const struct op_info *op_describe(enum op op) {
    ASSERT((unsigned)op < OP_COUNT);
    return &infos[op];
}

bool op_parse(const char *name, enum op *out) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (strcmp(name, infos[i].name) == 0) {
            *out = (enum op)i;
            return true;
        }
    }
    return false;
}

const char *activation_name(enum activation activation) {
    ASSERT((unsigned)activation < ACTIVATION_COUNT);
    return activations[activation];
}

bool activation_parse(const char *name, enum activation *out) {
    for (int i = 0; i < ACTIVATION_COUNT; i++) {
        if (strcmp(name, activations[i]) == 0) {
            *out = (enum activation)i;
            return true;
        }
    }
    return false;
}

/* What an inference looks at, and where it says what is wrong. */
struct inference {
    enum op op;
    const struct op_attrs *attrs;
    const struct tensor_type *inputs, *params;
    int input_count, param_count;
    struct tensor_type outputs[OP_MAX_OUTPUTS];
    struct shoal_error *error;
};

static shoal_status refuse(struct inference *in, shoal_status code, const char *what,
                           const struct shape *shape) {
    char text[SHAPE_TEXT];
    return error_set(in->error, code, "%s: %s %s", infos[in->op].name, what,
                     shape_format(shape, text));
}

static shoal_status refuse_pair(struct inference *in, const char *what, const struct shape *a,
                                const struct shape *b) {
    char text_a[SHAPE_TEXT];
    char text_b[SHAPE_TEXT];
    return error_set(in->error, SHOAL_MISMATCH, "%s: %s: %s and %s", infos[in->op].name, what,
                     shape_format(a, text_a), shape_format(b, text_b));
}

static shoal_status refuse_attribute(struct inference *in, const char *what) {
    return error_set(in->error, SHOAL_UNSUPPORTED, "%s: %s", infos[in->op].name, what);
}

static void set_output(struct inference *in, int index, const struct shape *shape) {
    in->outputs[index] = (struct tensor_type){DTYPE_F32, *shape};
}

static shoal_status same_shape(struct inference *in, const char *what, const struct shape *a,
                               const struct shape *b) {
    return shape_equal(a, b) ? SHOAL_OK : refuse_pair(in, what, a, b);
}

/* A param must be a vector of the given length. */
static shoal_status vector_of(struct inference *in, const char *what, int param, int64_t length) {
    const struct shape *shape = &in->params[param].shape;
    return shape->rank == 1 && shape->dims[0] == length ? SHOAL_OK
                                                        : refuse(in, SHOAL_MISMATCH, what, shape);
}

static shoal_status known_activation(struct inference *in) {
    return (unsigned)in->attrs->activation < ACTIVATION_COUNT
               ? SHOAL_OK
               : refuse_attribute(in, "unknown activation");
}

/* Output length of one spatial axis, or 0 if the kernel does not fit. */
static int64_t conv_extent(const struct op_attrs *attrs, int axis, int64_t in, int64_t kernel) {
    const int64_t padded = in + attrs->pad[axis] + attrs->pad[axis + 2];
    const int64_t span = (kernel - 1) * attrs->dilation[axis] + 1;
    return padded < span ? 0 : (padded - span) / attrs->stride[axis] + 1;
}

static shoal_status infer_conv2d(struct inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *w = &in->params[0].shape;
    for (int axis = 0; axis < 2; axis++) {
        if (attrs->stride[axis] < 1 || attrs->dilation[axis] < 1) {
            return refuse_attribute(in, "stride and dilation must be at least 1");
        }
        if (attrs->pad[axis] < 0 || attrs->pad[axis + 2] < 0) {
            return refuse_attribute(in, "negative padding");
        }
    }
    if (attrs->groups < 1) {
        return refuse_attribute(in, "groups must be at least 1");
    }
    if (x->rank != 4) {
        return refuse(in, SHOAL_MISMATCH, "input is not [B,H,W,C]:", x);
    }
    if (w->rank != 4) {
        return refuse(in, SHOAL_MISMATCH, "weight is not [O,C/groups,KH,KW]:", w);
    }
    if (w->dims[1] * attrs->groups != x->dims[3] || w->dims[0] % attrs->groups != 0) {
        return refuse_pair(in, "channels of input and weight differ", x, w);
    }
    if (in->param_count > 1) {
        TRY(vector_of(in, "bias is not [O]:", 1, w->dims[0]));
    }
    const int64_t oh = conv_extent(attrs, 0, x->dims[1], w->dims[2]);
    const int64_t ow = conv_extent(attrs, 1, x->dims[2], w->dims[3]);
    if (oh < 1 || ow < 1) {
        return refuse_pair(in, "the kernel is larger than the padded input", x, w);
    }
    set_output(in, 0, &SHAPE(x->dims[0], oh, ow, w->dims[0]));
    return SHOAL_OK;
}

static shoal_status infer_tokens(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *prefix = &in->params[0].shape;
    const struct shape *position = &in->params[1].shape;
    if (x->rank != 3 && x->rank != 4) {
        return refuse(in, SHOAL_MISMATCH, "input is not [B,P,C] or [B,h,w,C]:", x);
    }
    const int64_t channels = x->dims[x->rank - 1];
    const int64_t patches = x->rank == 3 ? x->dims[1] : x->dims[1] * x->dims[2];
    if (prefix->rank != 2 || prefix->dims[1] != channels) {
        return refuse_pair(in, "prefix is not [R,C]", x, prefix);
    }
    const int64_t rows = prefix->dims[0] + patches;
    if (position->rank != 2 || position->dims[0] != rows || position->dims[1] != channels) {
        return refuse_pair(in, "position is not [R+P,C]", x, position);
    }
    set_output(in, 0, &SHAPE(x->dims[0], rows, channels));
    return SHOAL_OK;
}

static shoal_status infer_embed(struct inference *in) {
    const struct shape *ids = &in->inputs[0].shape;
    const struct shape *word = &in->params[0].shape;
    const struct shape *position = &in->params[1].shape;
    if (ids->rank != 2) {
        return refuse(in, SHOAL_MISMATCH, "ids are not [B,T]:", ids);
    }
    if (word->rank != 2) {
        return refuse(in, SHOAL_MISMATCH, "the table of words is not [V,C]:", word);
    }
    if (position->rank != 2 || position->dims[1] != word->dims[1] ||
        position->dims[0] < ids->dims[1]) {
        return refuse_pair(in, "the table of positions is not [T or more,C]", ids, position);
    }
    if (in->input_count != in->param_count - 1) {
        return refuse_attribute(in, "types and their table come together");
    }
    if (in->input_count > 1) {
        const struct shape *type = &in->params[2].shape;
        TRY(same_shape(in, "ids and types differ", &in->inputs[1].shape, ids));
        if (type->rank != 2 || type->dims[1] != word->dims[1]) {
            return refuse_pair(in, "the table of types is not [S,C]", word, type);
        }
    }
    set_output(in, 0, &SHAPE(ids->dims[0], ids->dims[1], word->dims[1]));
    return SHOAL_OK;
}

static shoal_status infer_layer_norm(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank < 1) {
        return refuse(in, SHOAL_MISMATCH, "input has no axis:", x);
    }
    if (!(in->attrs->epsilon >= 0)) {
        return refuse_attribute(in, "negative epsilon");
    }
    TRY(vector_of(in, "gamma is not [C]:", 0, x->dims[x->rank - 1]));
    TRY(vector_of(in, "beta is not [C]:", 1, x->dims[x->rank - 1]));
    set_output(in, 0, x);
    return SHOAL_OK;
}

static shoal_status infer_linear(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    const struct shape *w = &in->params[0].shape;
    TRY(known_activation(in));
    if (x->rank < 1 || w->rank != 2 || x->dims[x->rank - 1] != w->dims[1]) {
        return refuse_pair(in, "input [...,K] and weight [N,K] differ in K", x, w);
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
static shoal_status mask_of(struct inference *in, const struct shape *x, const struct shape *mask) {
    return mask->rank == 2 && mask->dims[0] == x->dims[0] && mask->dims[1] == x->dims[1]
               ? SHOAL_OK
               : refuse_pair(in, "mask is not [B,T]", x, mask);
}

static shoal_status infer_attention(struct inference *in) {
    const struct shape *qkv = &in->inputs[0].shape;
    const int64_t heads = in->attrs->heads;
    if (heads < 1) {
        return refuse_attribute(in, "heads must be at least 1");
    }
    if (qkv->rank != 3 || qkv->dims[2] % (3 * heads) != 0) {
        return refuse(in, SHOAL_MISMATCH, "input is not [B,T,3C] with heads dividing C:", qkv);
    }
    if (in->input_count > 1) {
        TRY(mask_of(in, qkv, &in->inputs[1].shape));
    }
    set_output(in, 0, &SHAPE(qkv->dims[0], qkv->dims[1], qkv->dims[2] / 3));
    return SHOAL_OK;
}

static shoal_status infer_mean_pool(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 3) {
        return refuse(in, SHOAL_MISMATCH, "input is not [B,T,C]:", x);
    }
    TRY(mask_of(in, x, &in->inputs[1].shape));
    set_output(in, 0, &SHAPE(x->dims[0], x->dims[2]));
    return SHOAL_OK;
}

static shoal_status infer_normalise(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank < 1) {
        return refuse(in, SHOAL_MISMATCH, "input has no axis:", x);
    }
    if (!(in->attrs->epsilon > 0)) {
        return refuse_attribute(in, "epsilon must be positive");
    }
    set_output(in, 0, x);
    return SHOAL_OK;
}

static shoal_status infer_select(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 3) {
        return refuse(in, SHOAL_MISMATCH, "input is not [B,T,C]:", x);
    }
    if (in->attrs->index < 0 || in->attrs->index >= x->dims[1]) {
        return refuse(in, SHOAL_MISMATCH, "the index lies outside", x);
    }
    set_output(in, 0, &SHAPE(x->dims[0], x->dims[2]));
    return SHOAL_OK;
}

static shoal_status infer_matmul(struct inference *in) {
    const struct shape *a = &in->inputs[0].shape;
    const struct shape *b = &in->inputs[1].shape;
    if (a->rank != 2 || b->rank != 2) {
        return refuse_pair(in, "not two matrices", a, b);
    }
    const int ta = in->attrs->transpose_a ? 1 : 0;
    const int tb = in->attrs->transpose_b ? 1 : 0;
    if (a->dims[1 - ta] != b->dims[tb]) {
        return refuse_pair(in, "inner dimensions differ", a, b);
    }
    set_output(in, 0, &SHAPE(a->dims[ta], b->dims[1 - tb]));
    return SHOAL_OK;
}

static shoal_status infer_sum_rows(struct inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    if (x->rank != 2) {
        return refuse(in, SHOAL_MISMATCH, "input is not [M,N]:", x);
    }
    set_output(in, 0, &SHAPE(x->dims[1]));
    return SHOAL_OK;
}

static shoal_status infer_cross_entropy(struct inference *in) {
    const struct shape *logits = &in->inputs[0].shape;
    const struct shape *label = &in->inputs[1].shape;
    if (logits->rank != 2 || label->rank != 1 || label->dims[0] != logits->dims[0]) {
        return refuse_pair(in, "not logits [B,N] and labels [B]", logits, label);
    }
    set_output(in, 0, &SHAPE(logits->dims[0]));
    set_output(in, 1, logits);
    return SHOAL_OK;
}

static shoal_status infer_elementwise(struct inference *in) {
    for (int i = 1; i < in->input_count; i++) {
        TRY(same_shape(in, "inputs differ", &in->inputs[0].shape, &in->inputs[i].shape));
    }
    TRY(known_activation(in));
    set_output(in, 0, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status (*const inferences[OP_COUNT])(struct inference *) = {
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
    [OP_MATMUL] = infer_matmul,
    [OP_SUM_ROWS] = infer_sum_rows,
    [OP_ACTIVATION_GRAD] = infer_elementwise,
    [OP_CROSS_ENTROPY] = infer_cross_entropy,
    [OP_SGD] = infer_elementwise,
};

/* Sizes must be positive and their bytes must fit a size_t; all are f32 but labels and ids. */
static shoal_status check_type(struct inference *in, const struct tensor_type *type,
                               bool integers) {
    size_t bytes = 0;
    if (type->shape.rank < 0 || type->shape.rank > SHAPE_MAX_RANK) {
        return refuse_attribute(in, "rank out of range");
    }
    if (!shape_bytes(&type->shape, type->dtype, &bytes) || bytes == 0 || bytes > PTRDIFF_MAX / 4) {
        return refuse(in, SHOAL_MISMATCH, "empty or oversized shape", &type->shape);
    }
    if (type->dtype != (integers ? DTYPE_I32 : DTYPE_F32)) {
        return error_set(in->error, SHOAL_UNSUPPORTED, "%s: no kernel takes %s here",
                         infos[in->op].name, dtype_name(type->dtype));
    }
    return SHOAL_OK;
}

shoal_status op_infer(enum op op, const struct op_attrs *attrs, const struct tensor_type *inputs,
                      int input_count, const struct tensor_type *params, int param_count,
                      struct tensor_type *outputs, struct shoal_error *error) {
    ASSERT((unsigned)op < OP_COUNT);
    const struct op_info *info = &infos[op];
    struct inference in = {op, attrs, inputs, params, input_count, param_count, {{0}}, error};
    if (input_count < info->inputs_min || input_count > info->inputs_max ||
        param_count < info->params_min || param_count > info->params_max) {
        return error_set(error, SHOAL_MISMATCH, "%s: %d inputs and %d params given", info->name,
                         input_count, param_count);
    }
    for (int i = 0; i < input_count; i++) {
        const bool integers = op == OP_EMBED || (op == OP_CROSS_ENTROPY && i == 1);
        TRY(check_type(&in, &inputs[i], integers));
    }
    for (int i = 0; i < param_count; i++) {
        TRY(check_type(&in, &params[i], false));
    }
    TRY(inferences[op](&in));
    for (int i = 0; i < info->outputs; i++) {
        TRY(check_type(&in, &in.outputs[i], false));
    }
    memcpy(outputs, in.outputs, (size_t)info->outputs * sizeof outputs[0]);
    return SHOAL_OK;
}

static double count(const struct shape *shape) {
    double product = 1;
    for (int i = 0; i < shape->rank; i++) {
        product *= (double)shape->dims[i];
    }
    return product;
}

double op_flops(enum op op, const struct op_attrs *attrs, const struct tensor_type *inputs,
                int input_count, const struct tensor_type *params, int param_count,
                const struct tensor_type *outputs) {
    (void)input_count;
    (void)param_count;
    const struct shape *x = &inputs[0].shape;
    const double results = count(&outputs[0].shape);
    switch (op) {
    case OP_CONV2D: {
        const struct shape *w = &params[0].shape;
        return 2.0 * results * count(w) / (double)w->dims[0];
    }
    case OP_LINEAR:
        return 2.0 * results * (double)params[0].shape.dims[1];
    case OP_ATTENTION: /* q·kᵀ and probabilities·v, each 2·T·T·C per item */
        return 4.0 * results * (double)x->dims[1];
    case OP_MATMUL:
        return 2.0 * results * (double)x->dims[attrs->transpose_a ? 0 : 1];
    case OP_TOKENS:
    case OP_EMBED:
    case OP_LAYER_NORM:
    case OP_ADD:
    case OP_ACTIVATION:
    case OP_MEAN_POOL:
    case OP_NORMALISE:
    case OP_SELECT:
    case OP_SUM_ROWS:
    case OP_ACTIVATION_GRAD:
    case OP_CROSS_ENTROPY:
    case OP_SGD:
    case OP_COUNT:
        break;
    }
    return 0; /* by convention only products of matrices count */
}
