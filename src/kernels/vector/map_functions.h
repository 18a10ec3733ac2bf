/* Functions on registers over the whole range of f32: infinities, numbers below the normal ones,
 * NaN. Private to map.h. */

INLINE vf keep_nan(vf x, vf y) { /* y, but NaN where x is */
    return choose(x != x, x, y);
}

INLINE vf magnitude(vf x) {
    return (vf)((vi)x & 0x7FFFFFFF);
}

/* eˣ within 2 ulp; the exponent is applied in two halves, so that the ends of the range round. */
INLINE vf exponential_full(vf given) {
    const float magic = 12582912.0F; /* 1.5·2²³: adding it rounds to the nearest integer */
    const vf x = smaller(larger(given, splat(-104.5F)), splat(89.5F));
    const vf shifted = x * 1.44269504F + splat(magic);
    const vf n = shifted - magic;
    const vf r = x - n * 0.693359375F - n * -2.12194440e-4F;
    vf p = splat(1.98412698e-4F);
    p = p * r + splat(1.38888889e-3F);
    p = p * r + splat(8.33333333e-3F);
    p = p * r + splat(4.16666667e-2F);
    p = p * r + splat(1.66666667e-1F);
    p = p * r + splat(0.5F);
    p = p * r + splat(1.0F);
    p = p * r + splat(1.0F);
    const vi whole = (vi)shifted - (vi)splat(magic);
    const vi half = whole >> 1;
    const vf first = (vf)((half + 127) << 23);
    const vf second = (vf)((whole - half + 127) << 23);
    return keep_nan(given, p * first * second);
}

/* ln x within 2 ulp: x = m·2ᵉ with √½ ≤ m < √2 (Cephes, logf). */
INLINE vf logarithm(vf given) {
    const vi tiny = given < splat(1.17549435e-38F);
    const vf x = choose(tiny, given * 8388608.0F, given); /* 2²³ */
    const vi bits = (vi)x - 0x3F3504F3;                   /* √½ */
    const vi e = bits >> 23;
    const vf m = (vf)((bits & 0x007FFFFF) + 0x3F3504F3) - splat(1.0F);
    const vf exponent = __builtin_convertvector(e, vf) - choose(tiny, splat(23.0F), (vf){0});
    const vf z = m * m;
    vf p = splat(7.0376836292e-2F);
    p = p * m + splat(-1.1514610310e-1F);
    p = p * m + splat(1.1676998740e-1F);
    p = p * m + splat(-1.2420140846e-1F);
    p = p * m + splat(1.4249322787e-1F);
    p = p * m + splat(-1.6668057665e-1F);
    p = p * m + splat(2.0000714765e-1F);
    p = p * m + splat(-2.4999993993e-1F);
    p = p * m + splat(3.3333331174e-1F);
    const vf y = m * z * p + exponent * -2.12194440e-4F - z * 0.5F;
    vf result = m + y + exponent * 0.693359375F;
    result = choose(given == splat(INFINITY), given, result);
    result = choose(given == (vf){0}, splat(-INFINITY), result);
    return choose((given < (vf){0}) | (given != given), splat(NAN), result);
}

INLINE vf sigmoid_full(vf x) {
    return splat(1.0F) / (exponential_full(-x) + splat(1.0F));
}

INLINE vf softplus(vf x) {
    const vf e = exponential_full(-magnitude(x)); /* 0..1 */
    const vf sum = e + splat(1.0F);
    const vf rest = e - (sum - splat(1.0F)); /* what the sum lost */
    return choose(x > (vf){0}, x, (vf){0}) + logarithm(sum) + rest / sum;
}

/* x·tanh(softplus(x)): with e = eˣ that is x·e(e + 2)/(e(e + 2) + 2). */
INLINE vf mish(vf x) {
    const vf e = exponential_full(smaller(x, splat(30.0F)));
    const vf n = e * (e + splat(2.0F));
    return keep_nan(x, choose(x == splat(-INFINITY), (vf){0}, x * (n / (n + splat(2.0F)))));
}

INLINE vf between(vf x, vf low, vf high) { /* keeps NaN */
    x = choose(x < low, low, x);
    return choose(x > high, high, x);
}

/* By lane; compilers make one instruction of it where there is one. */
#define BY_LANE(name, function)                           \
    INLINE vf name(vf x) {                                \
        float lanes[VECTOR_WIDTH];                        \
        store(lanes, x);                                  \
        UNROLLED                                          \
        for (int lane = 0; lane < VECTOR_WIDTH; lane++) { \
            lanes[lane] = function(lanes[lane]);          \
        }                                                 \
        return load(lanes);                               \
    }
BY_LANE(square_root, sqrtf)
BY_LANE(round_down, floorf)
BY_LANE(round_up, ceilf)
BY_LANE(round_even, rintf)

INLINE vf map_one(enum unary_function function, vf p, vf q, vf x) {
    const vf one = splat(1.0F);
    switch ((int)function) {
    case UNARY_ABS:
        return magnitude(x);
    case UNARY_NEG:
        return (vf)((vi)x ^ (vi)splat(-0.0F));
    case UNARY_RELU:
        return choose(x < (vf){0}, (vf){0}, x);
    case UNARY_CLIP:
        return between(x, p, q);
    case UNARY_EXP:
        return exponential_full(x);
    case UNARY_LOG:
        return logarithm(x);
    case UNARY_SQRT:
        return square_root(x);
    case UNARY_RECIPROCAL:
        return one / x;
    case UNARY_FLOOR:
        return round_down(x);
    case UNARY_CEIL:
        return round_up(x);
    case UNARY_ROUND:
        return round_even(x);
    case UNARY_TANH:
        return keep_nan(x, hyperbolic_tangent(x));
    case UNARY_ERF:
        return keep_nan(x, error_function(x));
    case UNARY_SIGMOID:
        return sigmoid_full(x);
    case UNARY_LEAKY_RELU:
        return choose(x < (vf){0}, p * x, x);
    case UNARY_ELU:
        return choose(x < (vf){0}, p * (exponential_full(x) - one), x);
    case UNARY_HARD_SIGMOID:
        return between(p * x + q, (vf){0}, one);
    case UNARY_HARD_SWISH:
        return x * between(x * (1.0F / 6.0F) + splat(0.5F), (vf){0}, one);
    case UNARY_SOFTPLUS:
        return softplus(x);
    case UNARY_GELU_ERF:
        return keep_nan(x, apply(ACTIVATION_GELU_ERF, x));
    case UNARY_GELU_TANH:
        return keep_nan(x, apply(ACTIVATION_GELU_TANH, x));
    case UNARY_MISH:
        return mish(x);
    default: /* SWISH */
        return x * sigmoid_full(p * x);
    }
}

INLINE vf map_two(enum binary_function function, vf a, vf b) {
    switch ((int)function) {
    case BINARY_ADD:
        return a + b;
    case BINARY_SUB:
        return a - b;
    case BINARY_MUL:
        return a * b;
    case BINARY_DIV:
        return a / b;
    case BINARY_MIN:
        return choose((a < b) | (a != a), a, b);
    case BINARY_MAX:
        return choose((a > b) | (a != a), a, b);
    default: /* PRELU */
        return choose(a < (vf){0}, a * b, a);
    }
}
