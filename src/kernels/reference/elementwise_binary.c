/* Functions of two elements, and the choice between two. */
#include "kernels/reference/elementwise.h"

#include <math.h>
#include <string.h>

static double floor_mod(double a, double b) {
    const double rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static double real_function(int mode, double a, double b) {
    switch (mode) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return a / b;
    case BINARY_POW:
        return pow(a, b);
    case BINARY_MOD:
        return floor_mod(a, b);
    case BINARY_FMOD:
        return fmod(a, b);
    case BINARY_MIN:
        return isnan(a) || a < b ? a : b;
    case BINARY_MAX:
        return isnan(a) || a > b ? a : b;
    case BINARY_EQUAL:
        return a == b ? 1 : 0;
    case BINARY_LESS:
        return a < b ? 1 : 0;
    case BINARY_LESS_EQUAL:
        return a <= b ? 1 : 0;
    case BINARY_GREATER:
        return a > b ? 1 : 0;
    case BINARY_GREATER_EQUAL:
        return a >= b ? 1 : 0;
    default: /* PRELU */
        return a < 0 ? a * b : a;
    }
}

/* Wraps around; a negative power of anything but ±1 is 0. */
static int64_t int_power(int64_t base, int64_t exponent) {
    if (exponent < 0) {
        return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    }
    uint64_t result = 1;
    uint64_t square = (uint64_t)base;
    for (; exponent > 0; exponent /= 2) {
        result = exponent % 2 == 1 ? result * square : result;
        square *= square;
    }
    return (int64_t)result;
}

static int64_t shift(int64_t a, int64_t b, bool left) {
    const uint64_t by = (uint64_t)b;
    if (left) {
        return by < 64 ? (int64_t)((uint64_t)a << by) : 0;
    }
    if (a >= 0) {
        return by < 64 ? (int64_t)((uint64_t)a >> by) : 0;
    }
    return by < 64 ? (int64_t) ~(~(uint64_t)a >> by) : -1; /* keeps the sign */
}

/* What signed and unsigned integers of 64 bits have in common. */
static int64_t bit_function(int mode, int64_t a, int64_t b) {
    switch (mode) {
    case BINARY_ADD:
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case BINARY_SUB:
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case BINARY_MUL:
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case BINARY_POW:
        return int_power(a, b);
    case BINARY_EQUAL:
        return a == b;
    case BINARY_AND:
        return a != 0 && b != 0;
    case BINARY_OR:
        return a != 0 || b != 0;
    case BINARY_XOR:
        return (a != 0) != (b != 0);
    case BINARY_BITWISE_AND:
        return (int64_t)((uint64_t)a & (uint64_t)b);
    case BINARY_BITWISE_OR:
        return (int64_t)((uint64_t)a | (uint64_t)b);
    case BINARY_BITWISE_XOR:
        return (int64_t)((uint64_t)a ^ (uint64_t)b);
    default: /* SHIFT_LEFT */
        return shift(a, b, true);
    }
}

static int64_t signed_function(int mode, int64_t a, int64_t b) {
    const bool odd = b == 0 || b == -1; /* 0 has no quotient; −1's may overflow */
    switch (mode) {
    case BINARY_DIV:
        return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
    case BINARY_MOD: {
        const int64_t rest = odd ? 0 : a % b;
        return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
    }
    case BINARY_FMOD:
        return odd ? 0 : a % b;
    case BINARY_MIN:
        return a < b ? a : b;
    case BINARY_MAX:
        return a > b ? a : b;
    case BINARY_LESS:
        return a < b;
    case BINARY_LESS_EQUAL:
        return a <= b;
    case BINARY_GREATER:
        return a > b;
    case BINARY_GREATER_EQUAL:
        return a >= b;
    case BINARY_SHIFT_RIGHT:
        return shift(a, b, false);
    case BINARY_PRELU:
        return a < 0 ? (int64_t)((uint64_t)a * (uint64_t)b) : a;
    default:
        return bit_function(mode, a, b);
    }
}

static int64_t unsigned_function(int mode, int64_t a_bits, int64_t b_bits) {
    const uint64_t a = (uint64_t)a_bits, b = (uint64_t)b_bits;
    switch (mode) {
    case BINARY_DIV:
        return b == 0 ? 0 : (int64_t)(a / b);
    case BINARY_MOD:
    case BINARY_FMOD:
        return b == 0 ? 0 : (int64_t)(a % b);
    case BINARY_MIN:
        return (int64_t)(a < b ? a : b);
    case BINARY_MAX:
        return (int64_t)(a > b ? a : b);
    case BINARY_LESS:
        return a < b;
    case BINARY_LESS_EQUAL:
        return a <= b;
    case BINARY_GREATER:
        return a > b;
    case BINARY_GREATER_EQUAL:
        return a >= b;
    case BINARY_SHIFT_RIGHT:
        return b < 64 ? (int64_t)(a >> b) : 0;
    case BINARY_PRELU:
        return a_bits;
    default:
        return bit_function(mode, a_bits, b_bits);
    }
}

/* A power of other types than integers on both sides is computed as real, and truncated. */
static bool is_real(const struct kernel_desc *desc) {
    const bool mixed = wide_class(desc->inputs[1].dtype) == WIDE_REAL;
    return wide_class(desc->inputs[0].dtype) == WIDE_REAL || mixed;
}

static void binary_row(void *context, const int64_t offsets[WALK_OPERANDS],
                       const int64_t steps[WALK_OPERANDS], int64_t n) {
    const struct reference_call *call = context;
    const struct kernel_desc *desc = call->desc;
    const enum dtype a = desc->inputs[0].dtype, b = desc->inputs[1].dtype;
    const enum dtype y = desc->outputs[0].dtype;
    const int mode = desc->attrs.mode;
    union {
        double reals[WIDE_CHUNK];
        int64_t ints[WIDE_CHUNK];
    } left, right;
    for (int64_t at = 0; at < n; at += WIDE_CHUNK) {
        const int64_t count = n - at < WIDE_CHUNK ? n - at : WIDE_CHUNK;
        const int64_t from_a = offsets[1] + at * steps[1], from_b = offsets[2] + at * steps[2];
        if (is_real(desc)) {
            wide_load_real(a, call->inputs[0], from_a, steps[1], count, left.reals);
            wide_load_real(b, call->inputs[1], from_b, steps[2], count, right.reals);
            for (int64_t i = 0; i < count; i++) {
                left.reals[i] = real_function(mode, left.reals[i], right.reals[i]);
            }
            wide_store_real(y, call->outputs[0], offsets[0] + at, count, left.reals);
            continue;
        }
        wide_load_int(a, call->inputs[0], from_a, steps[1], count, left.ints);
        wide_load_int(b, call->inputs[1], from_b, steps[2], count, right.ints);
        for (int64_t i = 0; i < count; i++) {
            left.ints[i] = wide_class(a) == WIDE_U64
                               ? unsigned_function(mode, left.ints[i], right.ints[i])
                               : signed_function(mode, left.ints[i], right.ints[i]);
        }
        wide_store_int(y, call->outputs[0], offsets[0] + at, count, left.ints);
    }
}

static void walk_call(const struct reference_call *call,
                      void (*row)(void *, const int64_t *, const int64_t *, int64_t)) {
    struct reference_call copy = *call;
    struct walk walk;
    walk_over(&walk, &call->desc->outputs[0].shape);
    for (int k = 0; k < call->desc->input_count; k++) {
        walk_add(&walk, &call->desc->inputs[k].shape);
    }
    walk_merge(&walk);
    walk_rows(&walk, row, &copy);
}

void reference_binary(const struct reference_call *call) {
    walk_call(call, binary_row);
}

static void where_row(void *context, const int64_t offsets[WALK_OPERANDS],
                      const int64_t steps[WALK_OPERANDS], int64_t n) {
    const struct reference_call *call = context;
    const size_t size = dtype_size(call->desc->outputs[0].dtype);
    const unsigned char *condition = (const unsigned char *)call->inputs[0] + offsets[1];
    char *y = (char *)call->outputs[0] + offsets[0] * (int64_t)size;
    for (int64_t i = 0; i < n; i++) {
        const int k = condition[i * steps[1]] != 0 ? 1 : 2;
        const int64_t at = offsets[k + 1] + i * steps[k + 1];
        memmove(y + i * (int64_t)size, (const char *)call->inputs[k] + at * (int64_t)size, size);
    }
}

void reference_where(const struct reference_call *call) {
    walk_call(call, where_row);
}
