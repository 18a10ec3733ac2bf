/* Unary and binary functions with broadcasting, casts, choices and reductions. Included by op.h. */
#ifndef KERNELS_OPS_ELEMENTWISE_H
#define KERNELS_OPS_ELEMENTWISE_H

/*
 * "Number" is f32, f64 or an integer of 8 bits or more; "real" is f32 or f64. Integers wrap around;
 * a division by 0 gives 0, and so does its remainder. Real results are what double arithmetic,
 * rounded once, gives (reference), or within a few units in the last place of it (other sets).
 *
 * - UNARY: x → attrs.mode (enum unary_function) of it, parameters in attrs.floats
 * - BINARY: a, b of one type, broadcast against each other as NumPy does → attrs.mode (enum
 *   binary_function) of them; comparisons give bool. POW takes a b of any type and gives a's
 * - WHERE: condition bool, a, b of one type, any; all broadcast → condition ? a : b
 * - CAST: any type → attrs.mode (enum dtype). Real to integer: towards 0, what does not fit i64 at
 *   its ends, then the low bits. To a float of 8 bits: to nearest even; what is too large becomes
 *   the largest number or, with attrs.index 1, infinity or NaN. f8e8m0 rounds as attrs.axis (enum
 *   convert_rounding) says
 * - REDUCE: number → attrs.mode (enum reduce_function) over the axes whose bits attrs.ints[0] has;
 *   they stay as 1 if attrs.ints[1] is 1. Over nothing: 0, product 1, greatest and least the ends
 *   of the type's range, mean NaN or 0. MAX and MIN of bool too
 * - ARG_REDUCE: number → i64, the axis 1 long: where along attrs.axis the greatest (attrs.mode 0)
 * or least (1) is: the first such, or the last if attrs.ints[0] is 1. NaN counts as both
 * - SOFTMAX: real → attrs.mode (enum softmax_function) along attrs.axis; EXP over −∞ alone is 0
 * - CUMULATE: number → running sum (attrs.mode 0) or product (1) along attrs.axis; attrs.ints[0] 1:
 *   without the element itself; attrs.ints[1] 1: from the end
 * - DETERMINANT: real [...,N,N] → [...]
 */
#define OP_LIST_ELEMENTWISE(X)                 \
    X(UNARY, "unary", 1, 1, 0, 0, 1)           \
    X(BINARY, "binary", 2, 2, 0, 0, 1)         \
    X(WHERE, "where", 3, 3, 0, 0, 1)           \
    X(CAST, "cast", 1, 1, 0, 0, 1)             \
    X(REDUCE, "reduce", 1, 1, 0, 0, 1)         \
    X(ARG_REDUCE, "arg_reduce", 1, 1, 0, 0, 1) \
    X(SOFTMAX, "softmax", 1, 1, 0, 0, 1)       \
    X(CUMULATE, "cumulate", 1, 1, 0, 0, 1)     \
    X(DETERMINANT, "determinant", 1, 1, 0, 0, 1)

/*
 * X(code, name, types): R real, N number, I integer, B bool. p and q are attrs.floats[0] and [1].
 */
#define UNARY_LIST(X)                                                                \
    X(ABS, "abs", N)                                                                 \
    X(NEG, "neg", N)                                                                 \
    X(SIGN, "sign", N)                                                               \
    X(RELU, "relu", N)                                                               \
    X(CLIP, "clip", N) /* min(max(x, p), q) */                                       \
    X(EXP, "exp", R)                                                                 \
    X(LOG, "log", R)                                                                 \
    X(SQRT, "sqrt", R)                                                               \
    X(RECIPROCAL, "reciprocal", R)                                                   \
    X(FLOOR, "floor", R)                                                             \
    X(CEIL, "ceil", R)                                                               \
    X(ROUND, "round", R) /* half to even */                                          \
    X(SIN, "sin", R)                                                                 \
    X(COS, "cos", R)                                                                 \
    X(TAN, "tan", R)                                                                 \
    X(ASIN, "asin", R)                                                               \
    X(ACOS, "acos", R)                                                               \
    X(ATAN, "atan", R)                                                               \
    X(SINH, "sinh", R)                                                               \
    X(COSH, "cosh", R)                                                               \
    X(TANH, "tanh", R)                                                               \
    X(ASINH, "asinh", R)                                                             \
    X(ACOSH, "acosh", R)                                                             \
    X(ATANH, "atanh", R)                                                             \
    X(ERF, "erf", R)                                                                 \
    X(SIGMOID, "sigmoid", R)                                                         \
    X(LEAKY_RELU, "leaky_relu", R)             /* x < 0 ? p·x : x */                \
    X(ELU, "elu", R)                           /* x < 0 ? p·(eˣ − 1) : x */      \
    X(SELU, "selu", R)                         /* q·(x < 0 ? p·(eˣ − 1) : x) */ \
    X(CELU, "celu", R)                         /* x < 0 ? p·(e^(x/p) − 1) : x */  \
    X(THRESHOLDED_RELU, "thresholded_relu", R) /* x > p ? x : 0 */                   \
    X(HARD_SIGMOID, "hard_sigmoid", R)         /* max(0, min(1, p·x + q)) */        \
    X(HARD_SWISH, "hard_swish", R)             /* x·max(0, min(1, x/6 + ½)) */     \
    X(SOFTPLUS, "softplus", R)                 /* log(1 + eˣ) */                    \
    X(SOFTSIGN, "softsign", R)                 /* x / (1 + |x|) */                   \
    X(GELU_ERF, "gelu", R)                                                           \
    X(GELU_TANH, "gelu_tanh", R)                                                     \
    X(MISH, "mish", R)     /* x·tanh(softplus(x)) */                                \
    X(SWISH, "swish", R)   /* x·sigmoid(p·x) */                                    \
    X(SHRINK, "shrink", R) /* x < −p ? x + q : x > p ? x − q : 0 */              \
    X(IS_NAN, "is_nan", R)                                                           \
    X(IS_INF, "is_inf", R) /* −∞ if p is not 0, +∞ if q is not 0 */            \
    X(NOT, "not", B)                                                                 \
    X(BITWISE_NOT, "bitwise_not", I)

enum unary_function {
#define X(code, name, types) UNARY_##code,
    UNARY_LIST(X)
#undef X
        UNARY_COUNT
};

/*
 * X(code, name, types, result): types as above, A any of number and bool; result S the same type,
 * B bool.
 */
#define BINARY_LIST(X)                                        \
    X(ADD, "add", N, S)                                       \
    X(SUB, "sub", N, S)                                       \
    X(MUL, "mul", N, S)                                       \
    X(DIV, "div", N, S) /* integers: towards 0 */             \
    X(POW, "pow", N, S)                                       \
    X(MOD, "mod", N, S)   /* with b's sign */                 \
    X(FMOD, "fmod", N, S) /* with a's sign */                 \
    X(MIN, "min", N, S)   /* NaN if either is */              \
    X(MAX, "max", N, S)                                       \
    X(EQUAL, "equal", A, B)                                   \
    X(LESS, "less", A, B)                                     \
    X(LESS_EQUAL, "less_equal", A, B)                         \
    X(GREATER, "greater", A, B)                               \
    X(GREATER_EQUAL, "greater_equal", A, B)                   \
    X(AND, "and", B, B)                                       \
    X(OR, "or", B, B)                                         \
    X(XOR, "xor", B, B)                                       \
    X(BITWISE_AND, "bitwise_and", I, S)                       \
    X(BITWISE_OR, "bitwise_or", I, S)                         \
    X(BITWISE_XOR, "bitwise_xor", I, S)                       \
    X(SHIFT_LEFT, "shift_left", I, S) /* by 64 and more: 0 */ \
    X(SHIFT_RIGHT, "shift_right", I, S)                       \
    X(PRELU, "prelu", N, S) /* a < 0 ? a·b : a */

enum binary_function {
#define X(code, name, types, result) BINARY_##code,
    BINARY_LIST(X)
#undef X
        BINARY_COUNT
};

#define REDUCE_LIST(X)            \
    X(SUM, "sum")                 \
    X(MEAN, "mean")               \
    X(MAX, "max")                 \
    X(MIN, "min")                 \
    X(PROD, "prod")               \
    X(L1, "l1")                   \
    X(L2, "l2")                   \
    X(LOG_SUM, "log_sum")         \
    X(LOG_SUM_EXP, "log_sum_exp") \
    X(SUM_SQUARE, "sum_square")

enum reduce_function {
#define X(code, name) REDUCE_##code,
    REDUCE_LIST(X)
#undef X
        REDUCE_COUNT
};

enum softmax_function {
    SOFTMAX_EXP,
    SOFTMAX_LOG,
    SOFTMAX_HARD, /* 1 at the first greatest, else 0 */
    SOFTMAX_COUNT
};

#endif
