/* Converters of the elementwise family. */
#include "formats/onnx/import_basic.h"

#include <math.h>

/* Attributes of unary functions: attrs.floats in order. */
static const struct {
    int mode;
    struct {
        const char *name;
        float fallback;
    } floats[2];
} parameters[] = {
    {UNARY_LEAKY_RELU, {{"alpha", 0.01F}, {NULL, 0}}},
    {UNARY_ELU, {{"alpha", 1}, {NULL, 0}}},
    {UNARY_SELU, {{"alpha", 1.67326319217681884765625F}, {"gamma", 1.05070102214813232421875F}}},
    {UNARY_CELU, {{"alpha", 1}, {NULL, 0}}},
    {UNARY_THRESHOLDED_RELU, {{"alpha", 1}, {NULL, 0}}},
    {UNARY_HARD_SIGMOID, {{"alpha", 0.2F}, {"beta", 0.5F}}},
    {UNARY_SWISH, {{"alpha", 1}, {NULL, 0}}},
    {UNARY_SHRINK, {{"lambd", 0.5F}, {"bias", 0}}},
};

/* mode: enum unary_function. */
static shoal_status convert_unary(struct import_node *n) {
    struct import_value *x, *y;
    struct op_attrs attrs = {.mode = n->mode};
    TRY(import_need(n, 0, &x));
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        for (int k = 0; k < 2 && parameters[i].mode == n->mode; k++) {
            if (parameters[i].floats[k].name != NULL) {
                TRY(import_attr_float(n, parameters[i].floats[k].name,
                                      parameters[i].floats[k].fallback, &attrs.floats[k]));
            }
        }
    }
    import_attr_ignore(n, "consumed_inputs"); /* a hint of the oldest versions */
    TRY(import_emit(n, OP_UNARY, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_gelu(struct import_node *n) {
    static const char *const names[] = {"none", "tanh", NULL};
    struct import_value *x, *y;
    int choice;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_choice(n, "approximate", names, 0, &choice));
    const struct op_attrs attrs = {.mode = choice == 0 ? UNARY_GELU_ERF : UNARY_GELU_TANH};
    TRY(import_emit(n, OP_UNARY, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_is_inf(struct import_node *n) {
    struct import_value *x, *y;
    int64_t negative, positive;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "detect_negative", 1, &negative));
    TRY(import_attr_int(n, "detect_positive", 1, &positive));
    const struct op_attrs attrs = {.mode = UNARY_IS_INF,
                                   .floats = {negative != 0 ? 1 : 0, positive != 0 ? 1 : 0}};
    TRY(import_emit(n, OP_UNARY, &attrs, &x, 1, &y));
    return import_set_as(n, 0, y, ONNX_BOOL);
}

/* Before version 7 b was broadcast by an attribute that said where it begins. */
static shoal_status old_broadcast(struct import_node *n, struct import_value *inputs[2]) {
    const struct shape *a = &inputs[0]->type.shape, *b = &inputs[1]->type.shape;
    int64_t broadcast, at;
    TRY(import_attr_int(n, "broadcast", 0, &broadcast));
    TRY(import_attr_int(n, "axis", a->rank - b->rank, &at));
    import_attr_ignore(n, "consumed_inputs");
    if (broadcast == 0 || a->rank == 0) {
        return SHOAL_OK;
    }
    at = at < 0 ? at + a->rank : at;
    if (at < 0 || at + b->rank > a->rank) {
        return import_corrupt(n, "axis out of range");
    }
    struct shape to = *b;
    while (to.rank < a->rank - (int)at) {
        to.dims[to.rank++] = 1;
    }
    return import_reshape(n, inputs[1], &to, &inputs[1]);
}

static shoal_status emit_binary(struct import_node *n, int mode, struct import_value *a,
                                struct import_value *b, struct import_value **out) {
    struct import_value *inputs[2] = {a, b};
    const struct op_attrs attrs = {.mode = mode};
    return import_emit(n, OP_BINARY, &attrs, inputs, 2, out);
}

/* Before version 7 a vector of slopes belonged to the channels, whatever came behind them. */
static shoal_status convert_prelu(struct import_node *n) {
    struct import_value *x, *slope, *y;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &slope));
    const struct shape *shape = &x->type.shape;
    import_attr_ignore(n, "consumed_inputs");
    if (n->version < 7 && shape->rank > 2 && slope->type.shape.rank == 1) {
        struct shape to = {.rank = shape->rank - 1, .dims = {slope->type.shape.dims[0]}};
        for (int i = 1; i < to.rank; i++) {
            to.dims[i] = 1;
        }
        TRY(import_reshape(n, slope, &to, &slope));
    }
    TRY(emit_binary(n, BINARY_PRELU, x, slope, &y));
    return import_set(n, 0, y);
}

/* mode: enum binary_function. */
static shoal_status convert_binary(struct import_node *n) {
    struct import_value *inputs[2], *y;
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_need(n, 1, &inputs[1]));
    if (n->version < 7) {
        TRY(old_broadcast(n, inputs));
    }
    TRY(emit_binary(n, n->mode, inputs[0], inputs[1], &y));
    return import_set(n, 0, y);
}

/* mode: BINARY_MOD. */
static shoal_status convert_mod(struct import_node *n) {
    struct import_value *a, *b, *y;
    int64_t fmod;
    TRY(import_need(n, 0, &a));
    TRY(import_need(n, 1, &b));
    TRY(import_attr_int(n, "fmod", 0, &fmod));
    TRY(emit_binary(n, fmod != 0 ? BINARY_FMOD : BINARY_MOD, a, b, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_bit_shift(struct import_node *n) {
    static const char *const names[] = {"LEFT", "RIGHT", NULL};
    struct import_value *a, *b, *y;
    int choice;
    TRY(import_need(n, 0, &a));
    TRY(import_need(n, 1, &b));
    if (!import_attr_has(n, "direction")) {
        return import_corrupt(n, "no direction");
    }
    TRY(import_attr_choice(n, "direction", names, 0, &choice));
    TRY(emit_binary(n, choice == 0 ? BINARY_SHIFT_LEFT : BINARY_SHIFT_RIGHT, a, b, &y));
    return import_set(n, 0, y);
}

/* mode: enum binary_function, of all inputs in order; MEAN_OF_ALL: their sum, divided. */
#define MEAN_OF_ALL (-1)
static shoal_status convert_variadic(struct import_node *n) {
    struct import_value *y, *x, *count;
    TRY(import_need(n, 0, &y));
    import_attr_ignore(n, "consumed_inputs");
    for (uint32_t i = 1; i < n->input_count; i++) {
        TRY(import_need(n, i, &x));
        TRY(emit_binary(n, n->mode == MEAN_OF_ALL ? BINARY_ADD : n->mode, y, x, &y));
    }
    if (n->mode == MEAN_OF_ALL) {
        TRY(import_scalar(n, y->type.dtype, (double)n->input_count, &count));
        TRY(emit_binary(n, BINARY_DIV, y, count, &y));
    }
    return import_set(n, 0, y);
}

/* A bound that f32 holds exactly, or none; *known is false where it must be an input. */
static shoal_status bound(struct import_node *n, struct import_value *value, float none, float *out,
                          bool *known) {
    double number = 0;
    *out = none;
    *known = true;
    if (value == NULL) {
        return SHOAL_OK;
    }
    if (!import_is_constant(value) || import_number(n, value, &number) != SHOAL_OK) {
        *known = false;
        return SHOAL_OK;
    }
    *out = (float)number;
    *known = (double)*out == number;
    return SHOAL_OK;
}

static shoal_status convert_clip(struct import_node *n) {
    struct import_value *x, *y, *low = NULL, *high = NULL;
    struct op_attrs attrs = {.mode = UNARY_CLIP};
    bool low_known = true, high_known = true;
    TRY(import_need(n, 0, &x));
    if (n->version < 11) {
        TRY(import_attr_float(n, "min", -INFINITY, &attrs.floats[0]));
        TRY(import_attr_float(n, "max", INFINITY, &attrs.floats[1]));
        import_attr_ignore(n, "consumed_inputs");
    } else {
        low = import_input(n, 1);
        high = import_input(n, 2);
        TRY(bound(n, low, -INFINITY, &attrs.floats[0], &low_known));
        TRY(bound(n, high, INFINITY, &attrs.floats[1], &high_known));
    }
    if (low_known && high_known) {
        TRY(import_emit(n, OP_UNARY, &attrs, &x, 1, &y));
        return import_set(n, 0, y);
    }
    y = x;
    if (low != NULL) {
        TRY(emit_binary(n, BINARY_MAX, y, low, &y));
    }
    if (high != NULL) {
        TRY(emit_binary(n, BINARY_MIN, y, high, &y));
    }
    return import_set(n, 0, y);
}

static shoal_status convert_where(struct import_node *n) {
    struct import_value *inputs[3], *y;
    const struct op_attrs attrs = {0};
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &inputs[i]));
    }
    TRY(import_emit(n, OP_WHERE, &attrs, inputs, 3, &y));
    return import_set_as(n, 0, y, inputs[1]->element);
}

static shoal_status convert_determinant(struct import_node *n) {
    struct import_value *x, *y;
    const struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_emit(n, OP_DETERMINANT, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

/* Whether the node's dropout does anything: it does in training with a ratio above 0. */
static shoal_status check_dropout(struct import_node *n) {
    struct import_value *ratio = import_input(n, 1), *training = import_input(n, 2);
    int64_t on = 0;
    double part = 0.5;
    float unused = 0;
    TRY(import_attr_float(n, "ratio", 0.5F, &unused));
    import_attr_ignore(n, "seed");
    import_attr_ignore(n, "is_test");
    import_attr_ignore(n, "consumed_inputs");
    if (n->version < 12 || training == NULL) {
        return SHOAL_OK;
    }
    TRY(import_int(n, training, &on));
    if (on != 0 && ratio != NULL) {
        TRY(import_number(n, ratio, &part));
    }
    return on != 0 && part != 0 ? import_refuse(n, "training mode") : SHOAL_OK;
}

static shoal_status convert_dropout(struct import_node *n) {
    struct import_value *x, *mask, *one;
    TRY(import_need(n, 0, &x));
    TRY(check_dropout(n));
    TRY(import_set_as(n, 0, x, x->element));
    if (!import_wants(n, 1)) {
        return SHOAL_OK;
    }
    struct op_attrs attrs = {.axis = x->type.shape.rank};
    for (int i = 0; i < attrs.axis; i++) {
        attrs.ints[i] = x->type.shape.dims[i];
    }
    TRY(import_scalar(n, n->version < 10 ? x->type.dtype : DTYPE_BOOL, 1, &one));
    TRY(import_emit(n, OP_EXPAND, &attrs, &one, 1, &mask));
    return import_set(n, 1, mask);
}

/* ai.onnx.ml: 1 where x is greater than the threshold. */
static shoal_status convert_binarizer(struct import_node *n) {
    struct import_value *x, *limit, *y;
    float threshold;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_float(n, "threshold", 0, &threshold));
    TRY(import_scalar(n, x->type.dtype, (double)threshold, &limit));
    TRY(emit_binary(n, BINARY_GREATER, x, limit, &y));
    const struct op_attrs attrs = {.mode = (int32_t)x->type.dtype};
    TRY(import_emit(n, OP_CAST, &attrs, &y, 1, &y));
    return import_set_as(n, 0, y, x->element);
}

const struct import_converter import_elementwise_converters[] = {
    {"", "Abs", convert_unary, UNARY_ABS},
    {"", "Neg", convert_unary, UNARY_NEG},
    {"", "Sign", convert_unary, UNARY_SIGN},
    {"", "Relu", convert_unary, UNARY_RELU},
    {"", "Exp", convert_unary, UNARY_EXP},
    {"", "Log", convert_unary, UNARY_LOG},
    {"", "Sqrt", convert_unary, UNARY_SQRT},
    {"", "Reciprocal", convert_unary, UNARY_RECIPROCAL},
    {"", "Floor", convert_unary, UNARY_FLOOR},
    {"", "Ceil", convert_unary, UNARY_CEIL},
    {"", "Round", convert_unary, UNARY_ROUND},
    {"", "Sin", convert_unary, UNARY_SIN},
    {"", "Cos", convert_unary, UNARY_COS},
    {"", "Tan", convert_unary, UNARY_TAN},
    {"", "Asin", convert_unary, UNARY_ASIN},
    {"", "Acos", convert_unary, UNARY_ACOS},
    {"", "Atan", convert_unary, UNARY_ATAN},
    {"", "Sinh", convert_unary, UNARY_SINH},
    {"", "Cosh", convert_unary, UNARY_COSH},
    {"", "Tanh", convert_unary, UNARY_TANH},
    {"", "Asinh", convert_unary, UNARY_ASINH},
    {"", "Acosh", convert_unary, UNARY_ACOSH},
    {"", "Atanh", convert_unary, UNARY_ATANH},
    {"", "Erf", convert_unary, UNARY_ERF},
    {"", "Sigmoid", convert_unary, UNARY_SIGMOID},
    {"", "LeakyRelu", convert_unary, UNARY_LEAKY_RELU},
    {"", "Elu", convert_unary, UNARY_ELU},
    {"", "Selu", convert_unary, UNARY_SELU},
    {"", "Celu", convert_unary, UNARY_CELU},
    {"", "ThresholdedRelu", convert_unary, UNARY_THRESHOLDED_RELU},
    {"", "HardSigmoid", convert_unary, UNARY_HARD_SIGMOID},
    {"", "HardSwish", convert_unary, UNARY_HARD_SWISH},
    {"", "Softplus", convert_unary, UNARY_SOFTPLUS},
    {"", "Softsign", convert_unary, UNARY_SOFTSIGN},
    {"", "Mish", convert_unary, UNARY_MISH},
    {"", "Swish", convert_unary, UNARY_SWISH},
    {"", "Shrink", convert_unary, UNARY_SHRINK},
    {"", "IsNaN", convert_unary, UNARY_IS_NAN},
    {"", "Not", convert_unary, UNARY_NOT},
    {"", "BitwiseNot", convert_unary, UNARY_BITWISE_NOT},
    {"", "Gelu", convert_gelu, 0},
    {"", "IsInf", convert_is_inf, 0},
    {"", "Add", convert_binary, BINARY_ADD},
    {"", "Sub", convert_binary, BINARY_SUB},
    {"", "Mul", convert_binary, BINARY_MUL},
    {"", "Div", convert_binary, BINARY_DIV},
    {"", "Pow", convert_binary, BINARY_POW},
    {"", "Equal", convert_binary, BINARY_EQUAL},
    {"", "Less", convert_binary, BINARY_LESS},
    {"", "LessOrEqual", convert_binary, BINARY_LESS_EQUAL},
    {"", "Greater", convert_binary, BINARY_GREATER},
    {"", "GreaterOrEqual", convert_binary, BINARY_GREATER_EQUAL},
    {"", "And", convert_binary, BINARY_AND},
    {"", "Or", convert_binary, BINARY_OR},
    {"", "Xor", convert_binary, BINARY_XOR},
    {"", "BitwiseAnd", convert_binary, BINARY_BITWISE_AND},
    {"", "BitwiseOr", convert_binary, BINARY_BITWISE_OR},
    {"", "BitwiseXor", convert_binary, BINARY_BITWISE_XOR},
    {"", "PRelu", convert_prelu, 0},
    {"", "Mod", convert_mod, 0},
    {"", "BitShift", convert_bit_shift, 0},
    {"", "Max", convert_variadic, BINARY_MAX},
    {"", "Min", convert_variadic, BINARY_MIN},
    {"", "Sum", convert_variadic, BINARY_ADD},
    {"", "Mean", convert_variadic, MEAN_OF_ALL},
    {"", "Clip", convert_clip, 0},
    {"", "Where", convert_where, 0},
    {"", "Det", convert_determinant, 0},
    {"", "Dropout", convert_dropout, 0},
    {"", "Cast", import_convert_cast, IMPORT_CAST},
    {"", "CastLike", import_convert_cast, IMPORT_CAST_LIKE},
    {"", "BitCast", import_convert_cast, IMPORT_BITCAST},
    {"", "ReduceSum", import_convert_reduce, REDUCE_SUM},
    {"", "ReduceMean", import_convert_reduce, REDUCE_MEAN},
    {"", "ReduceMax", import_convert_reduce, REDUCE_MAX},
    {"", "ReduceMin", import_convert_reduce, REDUCE_MIN},
    {"", "ReduceProd", import_convert_reduce, REDUCE_PROD},
    {"", "ReduceL1", import_convert_reduce, REDUCE_L1},
    {"", "ReduceL2", import_convert_reduce, REDUCE_L2},
    {"", "ReduceLogSum", import_convert_reduce, REDUCE_LOG_SUM},
    {"", "ReduceLogSumExp", import_convert_reduce, REDUCE_LOG_SUM_EXP},
    {"", "ReduceSumSquare", import_convert_reduce, REDUCE_SUM_SQUARE},
    {"", "ArgMax", import_convert_arg_reduce, 0},
    {"", "ArgMin", import_convert_arg_reduce, 1},
    {"", "Softmax", import_convert_softmax, SOFTMAX_EXP},
    {"", "LogSoftmax", import_convert_softmax, SOFTMAX_LOG},
    {"", "Hardmax", import_convert_softmax, SOFTMAX_HARD},
    {"", "CumSum", import_convert_cumulate, 0},
    {"", "CumProd", import_convert_cumulate, 1},
    {"ai.onnx.ml", "Binarizer", convert_binarizer, 0},
    {NULL, NULL, NULL, 0},
};
