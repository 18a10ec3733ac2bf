#include "kernels/op_infer.h"
#include "tensor/convert.h"

static bool is_real(enum dtype dtype) {
    return dtype == DTYPE_F32 || dtype == DTYPE_F64;
}

static bool is_integer(enum dtype dtype) {
    return dtype >= DTYPE_I8 && dtype <= DTYPE_U64;
}

/* As the lists of functions say: R, N, I, B, A. */
static bool fits(char types, enum dtype dtype) {
    const bool number = is_real(dtype) || is_integer(dtype);
    switch (types) {
    case 'R':
        return is_real(dtype);
    case 'N':
        return number;
    case 'I':
        return is_integer(dtype);
    case 'B':
        return dtype == DTYPE_BOOL;
    default:
        return number || dtype == DTYPE_BOOL;
    }
}

static shoal_status require(struct op_inference *in, int input, char types) {
    const enum dtype dtype = in->inputs[input].dtype;
    return fits(types, dtype) ? SHOAL_OK : op_refuse_type(in, dtype);
}

static shoal_status infer_unary(struct op_inference *in) {
#define X(code, name, types) #types[0],
    static const char types[UNARY_COUNT] = {UNARY_LIST(X)};
#undef X
    const int mode = in->attrs->mode;
    if (mode < 0 || mode >= UNARY_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    TRY(require(in, 0, types[mode]));
    const bool test = mode == UNARY_IS_NAN || mode == UNARY_IS_INF;
    op_set_output(in, 0, test ? DTYPE_BOOL : in->inputs[0].dtype, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status infer_binary(struct op_inference *in) {
#define X(code, name, types, result) #types[0],
    static const char types[BINARY_COUNT] = {BINARY_LIST(X)};
#undef X
#define X(code, name, types, result) #result[0],
    static const char results[BINARY_COUNT] = {BINARY_LIST(X)};
#undef X
    struct shape y;
    const int mode = in->attrs->mode;
    if (mode < 0 || mode >= BINARY_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    TRY(require(in, 0, types[mode]));
    TRY(require(in, 1, types[mode]));
    if (in->inputs[0].dtype != in->inputs[1].dtype && mode != BINARY_POW) {
        return op_refuse_attribute(in, "the inputs differ in type");
    }
    TRY(op_broadcast(in, &in->inputs[0].shape, &in->inputs[1].shape, &y));
    op_set_output(in, 0, results[mode] == 'B' ? DTYPE_BOOL : in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_where(struct op_inference *in) {
    struct shape choice;
    struct shape y;
    TRY(require(in, 0, 'B'));
    if (in->inputs[1].dtype != in->inputs[2].dtype) {
        return op_refuse_attribute(in, "the inputs differ in type");
    }
    TRY(op_broadcast(in, &in->inputs[1].shape, &in->inputs[2].shape, &choice));
    TRY(op_broadcast(in, &in->inputs[0].shape, &choice, &y));
    op_set_output(in, 0, in->inputs[1].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_cast(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    if (attrs->mode < 0 || attrs->mode >= DTYPE_COUNT) {
        return op_refuse_attribute(in, "unknown type");
    }
    if (attrs->axis < CONVERT_UP || attrs->axis > CONVERT_NEAREST) {
        return op_refuse_attribute(in, "unknown rounding");
    }
    op_set_output(in, 0, (enum dtype)attrs->mode, &in->inputs[0].shape);
    return SHOAL_OK;
}

/* The axis attrs.axis of the first input, which must have it. */
static shoal_status check_axis(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    return in->attrs->axis >= 0 && in->attrs->axis < x->rank
               ? SHOAL_OK
               : op_refuse(in, SHOAL_MISMATCH, "no such axis in", x);
}

static shoal_status infer_reduce(struct op_inference *in) {
    const struct op_attrs *attrs = in->attrs;
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = {0};
    if (attrs->mode < 0 || attrs->mode >= REDUCE_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    TRY(require(in, 0, attrs->mode == REDUCE_MAX || attrs->mode == REDUCE_MIN ? 'A' : 'N'));
    if (attrs->ints[0] < 0 || attrs->ints[0] >> x->rank != 0) {
        return op_refuse(in, SHOAL_MISMATCH, "axes beyond those of", x);
    }
    for (int i = 0; i < x->rank; i++) {
        if ((attrs->ints[0] >> i & 1) == 0) {
            y.dims[y.rank++] = x->dims[i];
        } else if (attrs->ints[1] != 0) {
            y.dims[y.rank++] = 1;
        }
    }
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

static shoal_status infer_arg_reduce(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = *x;
    TRY(require(in, 0, 'N'));
    TRY(check_axis(in));
    if (in->attrs->mode < 0 || in->attrs->mode > 1) {
        return op_refuse_attribute(in, "unknown function");
    }
    if (x->dims[in->attrs->axis] == 0) {
        return op_refuse(in, SHOAL_MISMATCH, "nothing to choose from in", x);
    }
    y.dims[in->attrs->axis] = 1;
    op_set_output(in, 0, DTYPE_I64, &y);
    return SHOAL_OK;
}

static shoal_status infer_along_axis(struct op_inference *in, char types, int modes) {
    TRY(require(in, 0, types));
    TRY(check_axis(in));
    if (in->attrs->mode < 0 || in->attrs->mode >= modes) {
        return op_refuse_attribute(in, "unknown function");
    }
    op_set_output(in, 0, in->inputs[0].dtype, &in->inputs[0].shape);
    return SHOAL_OK;
}

static shoal_status infer_determinant(struct op_inference *in) {
    const struct shape *x = &in->inputs[0].shape;
    struct shape y = *x;
    TRY(require(in, 0, 'R'));
    if (x->rank < 2 || x->dims[x->rank - 1] != x->dims[x->rank - 2]) {
        return op_refuse(in, SHOAL_MISMATCH, "no square matrices:", x);
    }
    y.rank -= 2;
    y.dims[y.rank] = y.dims[y.rank + 1] = 0;
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

shoal_status op_infer_elementwise(struct op_inference *in) {
    switch ((int)in->op) {
    case OP_UNARY:
        return infer_unary(in);
    case OP_BINARY:
        return infer_binary(in);
    case OP_WHERE:
        return infer_where(in);
    case OP_CAST:
        return infer_cast(in);
    case OP_REDUCE:
        return infer_reduce(in);
    case OP_ARG_REDUCE:
        return infer_arg_reduce(in);
    case OP_SOFTMAX:
        return infer_along_axis(in, 'R', SOFTMAX_COUNT);
    case OP_CUMULATE:
        return infer_along_axis(in, 'N', 2);
    case OP_DETERMINANT:
        return infer_determinant(in);
    default:
        return op_refuse_attribute(in, "unknown op");
    }
}
