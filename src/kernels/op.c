#include "kernels/op_infer.h"

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

static const unsigned char families[] = {
#define X(code, name, imin, imax, pmin, pmax, outputs) [OP_##code] = OP_FAMILY_CORE,
    OP_LIST_CORE(X)
#undef X
#define X(code, name, imin, imax, pmin, pmax, outputs) [OP_##code] = OP_FAMILY_ELEMENTWISE,
        OP_LIST_ELEMENTWISE(X)
#undef X
#define X(code, name, imin, imax, pmin, pmax, outputs) [OP_##code] = OP_FAMILY_LAYOUT,
            OP_LIST_LAYOUT(X)
#undef X
#define X(code, name, imin, imax, pmin, pmax, outputs) [OP_##code] = OP_FAMILY_NETWORK,
                OP_LIST_NETWORK(X)
#undef X
#define X(code, name, imin, imax, pmin, pmax, outputs) [OP_##code] = OP_FAMILY_QUANT,
                    OP_LIST_QUANT(X)
#undef X
};
_Static_assert(sizeof families / sizeof families[0] == OP_COUNT, "a family for every op");

static const char *const precisions[] = {
#define X(code, name) [PRECISION_##code] = (name),
    PRECISION_LIST(X)
#undef X
};

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

const char *precision_name(enum precision precision) {
    ASSERT((unsigned)precision < PRECISION_COUNT);
    return precisions[precision];
}

bool precision_parse(const char *name, enum precision *out) {
    for (int i = 0; i < PRECISION_COUNT; i++) {
        if (strcmp(name, precisions[i]) == 0) {
            *out = (enum precision)i;
            return true;
        }
    }
    return false;
}

enum op_family op_family(enum op op) {
    ASSERT((unsigned)op < OP_COUNT);
    return (enum op_family)families[op];
}

/* The numbers key kernels: what counts is whether they are the same, NaN included. */
static bool same_bits(const float *a, const float *b, size_t count) {
    return memcmp(a, b, count * sizeof *a) == 0;
}

bool op_attrs_equal(const struct op_attrs *a, const struct op_attrs *b) {
    return a->activation == b->activation && a->precision == b->precision &&
           same_bits(&a->epsilon, &b->epsilon, 1) && same_bits(&a->scale, &b->scale, 1) &&
           a->heads == b->heads && memcmp(a->stride, b->stride, sizeof a->stride) == 0 &&
           memcmp(a->pad, b->pad, sizeof a->pad) == 0 &&
           memcmp(a->dilation, b->dilation, sizeof a->dilation) == 0 && a->groups == b->groups &&
           a->index == b->index && a->transpose_a == b->transpose_a &&
           a->transpose_b == b->transpose_b && a->mode == b->mode && a->axis == b->axis &&
           memcmp(a->ints, b->ints, sizeof a->ints) == 0 &&
           same_bits(a->floats, b->floats, OP_ATTR_FLOATS);
}

shoal_status op_refuse(struct op_inference *in, shoal_status code, const char *what,
                       const struct shape *shape) {
    char text[SHAPE_TEXT];
    return error_set(in->error, code, "%s: %s %s", infos[in->op].name, what,
                     shape_format(shape, text));
}

shoal_status op_refuse_pair(struct op_inference *in, const char *what, const struct shape *a,
                            const struct shape *b) {
    char text_a[SHAPE_TEXT];
    char text_b[SHAPE_TEXT];
    return error_set(in->error, SHOAL_MISMATCH, "%s: %s: %s and %s", infos[in->op].name, what,
                     shape_format(a, text_a), shape_format(b, text_b));
}

shoal_status op_refuse_attribute(struct op_inference *in, const char *what) {
    return error_set(in->error, SHOAL_UNSUPPORTED, "%s: %s", infos[in->op].name, what);
}

shoal_status op_refuse_type(struct op_inference *in, enum dtype dtype) {
    return error_set(in->error, SHOAL_UNSUPPORTED, "%s: no kernel takes %s here",
                     infos[in->op].name, dtype_name(dtype));
}

void op_set_output(struct op_inference *in, int index, enum dtype dtype,
                   const struct shape *shape) {
    in->outputs[index] = (struct tensor_type){dtype, *shape};
}

shoal_status op_broadcast(struct op_inference *in, const struct shape *a, const struct shape *b,
                          struct shape *out) {
    struct shape y = {.rank = a->rank > b->rank ? a->rank : b->rank};
    for (int i = 1; i <= y.rank; i++) { /* from the last axis on */
        const int64_t of_a = i <= a->rank ? a->dims[a->rank - i] : 1;
        const int64_t of_b = i <= b->rank ? b->dims[b->rank - i] : 1;
        if (of_a != of_b && of_a != 1 && of_b != 1) {
            return op_refuse_pair(in, "shapes do not go together", a, b);
        }
        y.dims[y.rank - i] = of_a == 1 ? of_b : of_a;
    }
    *out = y;
    return SHOAL_OK;
}

/* Bytes must fit a size_t; core ops have no empty tensors. */
static shoal_status check_type(struct op_inference *in, const struct tensor_type *type) {
    size_t bytes = 0;
    if (type->shape.rank < 0 || type->shape.rank > SHAPE_MAX_RANK) {
        return op_refuse_attribute(in, "rank out of range");
    }
    const bool sound = shape_bytes(&type->shape, type->dtype, &bytes) && bytes <= PTRDIFF_MAX / 4;
    if (!sound || (bytes == 0 && families[in->op] == OP_FAMILY_CORE)) {
        return op_refuse(in, SHOAL_MISMATCH, "empty or oversized shape", &type->shape);
    }
    return SHOAL_OK;
}

static shoal_status (*const family_infer[OP_FAMILY_COUNT])(struct op_inference *) = {
    [OP_FAMILY_CORE] = op_infer_core,     [OP_FAMILY_ELEMENTWISE] = op_infer_elementwise,
    [OP_FAMILY_LAYOUT] = op_infer_layout, [OP_FAMILY_NETWORK] = op_infer_network,
    [OP_FAMILY_QUANT] = op_infer_quant,
};

shoal_status op_infer(enum op op, const struct op_attrs *attrs, const struct tensor_type *inputs,
                      int input_count, const struct tensor_type *params, int param_count,
                      struct tensor_type *outputs, struct shoal_error *error) {
    ASSERT((unsigned)op < OP_COUNT);
    const struct op_info *info = &infos[op];
    struct op_inference in = {op, attrs, inputs, params, input_count, param_count, {{0}}, error};
    if (input_count < info->inputs_min || input_count > info->inputs_max ||
        param_count < info->params_min || param_count > info->params_max) {
        return error_set(error, SHOAL_MISMATCH, "%s: %d inputs and %d params given", info->name,
                         input_count, param_count);
    }
    for (int i = 0; i < input_count; i++) {
        TRY(check_type(&in, &inputs[i]));
    }
    for (int i = 0; i < param_count; i++) {
        TRY(check_type(&in, &params[i]));
    }
    TRY(family_infer[families[op]](&in));
    for (int i = 0; i < info->outputs; i++) {
        TRY(check_type(&in, &in.outputs[i]));
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
    switch ((int)op) {
    case OP_CONV2D: {
        const struct shape *w = &params[0].shape;
        return 2.0 * results * count(w) / (double)w->dims[0];
    }
    case OP_LINEAR:
        return 2.0 * results * (double)params[0].shape.dims[1];
    case OP_ATTENTION: /* q·kᵀ and probabilities·v, each 2·T·T·C per item */
        return 4.0 * results * (double)x->dims[1];
    case OP_SDPA: /* results [B,Tq,Hq,Dv]; each needs Tk products, and Tk·D/Dv for its scores */
        return 2.0 * results / (double)inputs[2].shape.dims[3] * (double)inputs[1].shape.dims[1] *
               (double)(x->dims[3] + inputs[2].shape.dims[3]);
    case OP_PRODUCT: {
        const int from_end = attrs->transpose_a && x->rank > 1 ? 2 : 1;
        return 2.0 * results * (double)x->dims[x->rank - from_end];
    }
    case OP_CONV: {
        const struct shape *w = &inputs[1].shape;
        return w->dims[0] > 0 ? 2.0 * results * count(w) / (double)w->dims[0] : 0;
    }
    case OP_CONV_TRANSPOSE: {
        const struct shape *w = &inputs[1].shape;
        return w->dims[0] > 0 ? 2.0 * count(x) * count(w) / (double)w->dims[0] : 0;
    }
    case OP_MATMUL:
        return 2.0 * results * (double)x->dims[attrs->transpose_a ? 0 : 1];
    default:
        break;
    }
    return 0; /* by convention only products of matrices count */
}
