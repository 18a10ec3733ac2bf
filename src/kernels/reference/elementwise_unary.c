/* Functions of one element. */
#include "kernels/reference/elementwise.h"

#include <math.h>

static double softplus(double x) { /* without overflow */
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double gelu_tanh(double x) {
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

static double sign(double x) {
    return isnan(x) ? x : (double)((x > 0) - (x < 0));
}

static double clamp(double x, double low, double high) { /* keeps NaN */
    x = x < low ? low : x;
    return x > high ? high : x;
}

static double shrink(double x, double lambda, double bias) {
    return x < -lambda ? x + bias : x > lambda ? x - bias : 0;
}

/* Piecewise functions and those with parameters. */
static double shaped(int mode, double x, double p, double q) {
    switch (mode) {
    case UNARY_LEAKY_RELU:
        return x < 0 ? p * x : x;
    case UNARY_ELU:
        return x < 0 ? p * expm1(x) : x;
    case UNARY_SELU:
        return q * (x < 0 ? p * expm1(x) : x);
    case UNARY_CELU:
        return x < 0 ? p * expm1(x / p) : x;
    case UNARY_THRESHOLDED_RELU:
        return x > p ? x : 0;
    case UNARY_HARD_SIGMOID:
        return clamp(p * x + q, 0, 1);
    case UNARY_HARD_SWISH:
        return x * clamp(x / 6 + 0.5, 0, 1);
    case UNARY_SOFTPLUS:
        return softplus(x);
    case UNARY_SOFTSIGN:
        return x / (1 + fabs(x));
    case UNARY_GELU_ERF:
        return 0.5 * x * (1 + erf(x * 0.7071067811865476));
    case UNARY_GELU_TANH:
        return gelu_tanh(x);
    case UNARY_MISH:
        return x * tanh(softplus(x));
    case UNARY_SWISH:
        return x * sigmoid(p * x);
    case UNARY_SHRINK:
        return shrink(x, p, q);
    case UNARY_IS_NAN:
        return isnan(x) ? 1 : 0;
    default: /* IS_INF */
        return (isinf(x) && (x < 0 ? p : q) != 0) ? 1 : 0;
    }
}

static double real_function(int mode, double x, double p, double q) {
    switch (mode) {
    case UNARY_ABS:
        return fabs(x);
    case UNARY_NEG:
        return -x;
    case UNARY_SIGN:
        return sign(x);
    case UNARY_RELU:
        return x < 0 ? 0 : x;
    case UNARY_CLIP:
        return clamp(x, p, q);
    case UNARY_EXP:
        return exp(x);
    case UNARY_LOG:
        return log(x);
    case UNARY_SQRT:
        return sqrt(x);
    case UNARY_RECIPROCAL:
        return 1 / x;
    case UNARY_FLOOR:
        return floor(x);
    case UNARY_CEIL:
        return ceil(x);
    case UNARY_ROUND:
        return rint(x);
    case UNARY_SIN:
        return sin(x);
    case UNARY_COS:
        return cos(x);
    case UNARY_TAN:
        return tan(x);
    case UNARY_ASIN:
        return asin(x);
    case UNARY_ACOS:
        return acos(x);
    case UNARY_ATAN:
        return atan(x);
    case UNARY_SINH:
        return sinh(x);
    case UNARY_COSH:
        return cosh(x);
    case UNARY_TANH:
        return tanh(x);
    case UNARY_ASINH:
        return asinh(x);
    case UNARY_ACOSH:
        return acosh(x);
    case UNARY_ATANH:
        return atanh(x);
    case UNARY_ERF:
        return erf(x);
    case UNARY_SIGMOID:
        return sigmoid(x);
    default:
        return shaped(mode, x, p, q);
    }
}

static int64_t int_function(int mode, int64_t x, int64_t p, int64_t q, bool is_unsigned) {
    const bool negative = x < 0 && !is_unsigned;
    switch (mode) {
    case UNARY_ABS:
        return negative ? (int64_t)(0 - (uint64_t)x) : x;
    case UNARY_NEG:
        return (int64_t)(0 - (uint64_t)x);
    case UNARY_SIGN:
        return negative ? -1 : x != 0;
    case UNARY_RELU:
        return negative ? 0 : x;
    case UNARY_NOT:
        return x == 0;
    case UNARY_CLIP:
        if (is_unsigned) {
            x = (uint64_t)x < (uint64_t)p ? p : x;
            return (uint64_t)x > (uint64_t)q ? q : x;
        }
        x = x < p ? p : x;
        return x > q ? q : x;
    default:
        return ~x;
    }
}

static int64_t bound_of(enum wide_class class, double bound) {
    if (class == WIDE_U64) {
        return bound > 0 ? (int64_t)wide_truncate_unsigned(bound) : 0;
    }
    return wide_truncate(bound);
}

static void unary_row(void *context, const int64_t offsets[WALK_OPERANDS],
                      const int64_t steps[WALK_OPERANDS], int64_t n) {
    const struct reference_call *call = context;
    const struct kernel_desc *desc = call->desc;
    const enum dtype from = desc->inputs[0].dtype, to = desc->outputs[0].dtype;
    const enum wide_class class = wide_class(from);
    const double p = (double)desc->attrs.floats[0], q = (double)desc->attrs.floats[1];
    const int64_t low = bound_of(class, p), high = bound_of(class, q);
    union {
        double reals[WIDE_CHUNK];
        int64_t ints[WIDE_CHUNK];
    } chunk;
    for (int64_t at = 0; at < n; at += WIDE_CHUNK) {
        const int64_t count = n - at < WIDE_CHUNK ? n - at : WIDE_CHUNK;
        const int64_t first = offsets[1] + at * steps[1];
        if (class == WIDE_REAL) {
            wide_load_real(from, call->inputs[0], first, steps[1], count, chunk.reals);
            for (int64_t i = 0; i < count; i++) {
                chunk.reals[i] = real_function(desc->attrs.mode, chunk.reals[i], p, q);
            }
            wide_store_real(to, call->outputs[0], offsets[0] + at, count, chunk.reals);
        } else {
            wide_load_int(from, call->inputs[0], first, steps[1], count, chunk.ints);
            for (int64_t i = 0; i < count; i++) {
                chunk.ints[i] =
                    int_function(desc->attrs.mode, chunk.ints[i], low, high, class == WIDE_U64);
            }
            wide_store_int(to, call->outputs[0], offsets[0] + at, count, chunk.ints);
        }
    }
}

void reference_unary(const struct reference_call *call) {
    struct reference_call copy = *call;
    struct walk walk;
    walk_over(&walk, &call->desc->outputs[0].shape);
    walk_add(&walk, &call->desc->inputs[0].shape);
    walk_merge(&walk);
    walk_rows(&walk, unary_row, &copy);
}
