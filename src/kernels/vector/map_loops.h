/* Loops over rows, columns and blocks. Private to map.h. */

/* The tail goes through the same lanes as the rest, padded, so that an element's position never
 * matters. */
INLINE void unary_all(enum unary_function function, float p, float q, const float *x, int64_t n,
                      float *y) {
    const vf first = splat(p);
    const vf second = splat(q);
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        store(y + i, map_one(function, first, second, load(x + i)));
    }
    if (i < n) {
        float tail[VECTOR_WIDTH] = {0};
        memcpy(tail, x + i, (size_t)(n - i) * sizeof(float));
        store(tail, map_one(function, first, second, load(tail)));
        memcpy(y + i, tail, (size_t)(n - i) * sizeof(float));
    }
}

#define UNARY_MAPS(X)                                                                         \
    X(ABS)                                                                                    \
    X(NEG)                                                                                    \
    X(RELU)                                                                                   \
    X(CLIP) X(EXP) X(LOG) X(SQRT) X(RECIPROCAL) X(FLOOR) X(CEIL) X(ROUND) X(TANH) X(ERF)      \
        X(SIGMOID) X(LEAKY_RELU) X(ELU) X(HARD_SIGMOID) X(HARD_SWISH) X(SOFTPLUS) X(GELU_ERF) \
            X(GELU_TANH) X(MISH) X(SWISH)

/* The switch stands outside the loops: each case compiles to a loop of its own. */
static void unary(enum unary_function function, float p, float q, const float *x, int64_t n,
                  float *y) {
    switch ((int)function) {
#define X(code)                                 \
    case UNARY_##code:                          \
        unary_all(UNARY_##code, p, q, x, n, y); \
        break;
        UNARY_MAPS(X)
#undef X
    default:
        break;
    }
}

INLINE vf element(const float *x, bool moves, int64_t i) {
    return moves ? load(x + i) : splat(*x);
}

/* The steps are constants wherever it is called. */
INLINE void binary_all(enum binary_function function, const float *a, bool a_moves, const float *b,
                       bool b_moves, int64_t n, float *y) {
    const float one_a = *a; /* y may be what does not step, if there is but one element */
    const float one_b = *b;
    a = a_moves ? a : &one_a;
    b = b_moves ? b : &one_b;
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        store(y + i, map_two(function, element(a, a_moves, i), element(b, b_moves, i)));
    }
    if (i < n) {
        const size_t rest = (size_t)(n - i) * sizeof(float);
        float left[VECTOR_WIDTH] = {0};
        float right[VECTOR_WIDTH] = {0};
        memcpy(left, a + (a_moves ? i : 0), a_moves ? rest : sizeof(float));
        memcpy(right, b + (b_moves ? i : 0), b_moves ? rest : sizeof(float));
        store(left, map_two(function, element(left, a_moves, 0), element(right, b_moves, 0)));
        memcpy(y + i, left, rest);
    }
}

INLINE void binary_steps(enum binary_function function, const float *a, int64_t a_step,
                         const float *b, int64_t b_step, int64_t n, float *y) {
    if (a_step != 0 && b_step != 0) {
        binary_all(function, a, true, b, true, n, y);
    } else if (a_step != 0) {
        binary_all(function, a, true, b, false, n, y);
    } else if (b_step != 0) {
        binary_all(function, a, false, b, true, n, y);
    } else {
        binary_all(function, a, false, b, false, n, y);
    }
}

#define COMPARISON(name, operator)                                                     \
    static void name(const float *restrict a, int64_t a_step, const float *restrict b, \
                     int64_t b_step, int64_t n, uint8_t *restrict y) {                 \
        if (a_step != 0 && b_step != 0) {                                              \
            for (int64_t i = 0; i < n; i++) {                                          \
                y[i] = (uint8_t)(a[i] operator b[i]);                                  \
            }                                                                          \
        } else {                                                                       \
            for (int64_t i = 0; i < n; i++) {                                          \
                y[i] = (uint8_t)(a[i * a_step] operator b[i * b_step]);                \
            }                                                                          \
        }                                                                              \
    }
COMPARISON(equal, ==)
COMPARISON(less, <)
COMPARISON(less_equal, <=)

/* The power that models are full of is a product, whatever stands beside it. */
static void power(const float *a, int64_t a_step, const float *b, int64_t b_step, int64_t n,
                  float *y) {
    if (b_step == 0 && *b == 2) {
        binary_steps(BINARY_MUL, a, a_step, a, a_step, n, y);
        return;
    }
    const float exponent = *b; /* y may be b, if there is but one element */
    for (int64_t i = 0; i < n; i++) {
        const float base = a[i * a_step];
        const float by = b_step != 0 ? b[i] : exponent;
        y[i] = by == 2 ? base * base : powf(base, by);
    }
}

static void binary(enum binary_function function, const float *a, int64_t a_step, const float *b,
                   int64_t b_step, int64_t n, void *y) {
    switch ((int)function) {
#define X(code)                                                  \
    case BINARY_##code:                                          \
        binary_steps(BINARY_##code, a, a_step, b, b_step, n, y); \
        break;
        X(ADD)
        X(SUB)
        X(MUL)
        X(DIV) X(MIN) X(MAX) X(PRELU)
#undef X
            case BINARY_POW : power(a, a_step, b, b_step, n, y);
        break;
    case BINARY_EQUAL:
        equal(a, a_step, b, b_step, n, y);
        break;
    case BINARY_LESS:
        less(a, a_step, b, b_step, n, y);
        break;
    case BINARY_LESS_EQUAL:
        less_equal(a, a_step, b, b_step, n, y);
        break;
    case BINARY_GREATER:
        less(b, b_step, a, a_step, n, y);
        break;
    case BINARY_GREATER_EQUAL:
        less_equal(b, b_step, a, a_step, n, y);
        break;
    default:
        break;
    }
}

static void choose_elements(const uint8_t *condition, int64_t condition_step, const void *a,
                            int64_t a_step, const void *b, int64_t b_step, int64_t n, void *y) {
    const uint32_t *left = a;
    const uint32_t *right = b;
    uint32_t *to = y;
    if (condition_step == 0) {
        const uint32_t *from = *condition != 0 ? left : right;
        const int64_t step = *condition != 0 ? a_step : b_step;
        for (int64_t i = 0; i < n; i++) {
            to[i] = from[i * step];
        }
        return;
    }
    const uint32_t one_left = *left;
    const uint32_t one_right = *right;
    for (int64_t i = 0; i < n; i++) {
        const uint32_t mask = condition[i] != 0 ? UINT32_MAX : 0;
        const uint32_t of_a = a_step != 0 ? left[i] : one_left;
        const uint32_t of_b = b_step != 0 ? right[i] : one_right;
        to[i] = (of_a & mask) | (of_b & ~mask);
    }
}

/* ---- reductions ---- */

INLINE vf fold(enum reduce_function function, vf sum, vf x) {
    switch ((int)function) {
    case REDUCE_MAX:
        return map_two(BINARY_MAX, sum, x);
    case REDUCE_MIN:
        return map_two(BINARY_MIN, sum, x);
    case REDUCE_L1:
        return sum + magnitude(x);
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        return x * x + sum;
    default:
        return sum + x;
    }
}

/* What changes nothing. */
INLINE float neutral(enum reduce_function function) {
    return function == REDUCE_MAX ? -INFINITY : function == REDUCE_MIN ? INFINITY : 0;
}

static float finish_reduce(enum reduce_function function, float sum, int64_t n) {
    if (function == REDUCE_MEAN) {
        return sum / (float)n;
    }
    return function == REDUCE_L2 ? sqrtf(sum) : sum;
}

INLINE float reduce_all(enum reduce_function function, const float *x, int64_t n) {
    vf partial[GROUP];
    float lanes[LANES];
    for (int g = 0; g < GROUP; g++) {
        partial[g] = splat(neutral(function));
    }
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        UNROLLED
        for (int g = 0; g < GROUP; g++) {
            partial[g] = fold(function, partial[g], load(x + i + g * VECTOR_WIDTH));
        }
    }
    if (i < n) {
        for (int k = 0; k < LANES; k++) {
            lanes[k] = i + k < n ? x[i + k] : neutral(function);
        }
        for (int g = 0; g < GROUP; g++) {
            partial[g] = fold(function, partial[g], load(lanes + g * VECTOR_WIDTH));
        }
    }
    for (int g = 0; g < GROUP; g++) {
        store(lanes + g * VECTOR_WIDTH, partial[g]);
    }
    const bool most = function == REDUCE_MAX;
    const bool least = function == REDUCE_MIN;
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int k = 0; k < width; k++) {
            const float a = lanes[k];
            const float b = lanes[k + width];
            lanes[k] = most ? (a > b || a != a ? a : b) : least ? (a < b || a != a ? a : b) : a + b;
        }
    }
    return finish_reduce(function, lanes[0], n);
}

#define REDUCE_MAPS(X) X(SUM) X(MEAN) X(MAX) X(MIN) X(L1) X(L2) X(SUM_SQUARE)

static float reduce(enum reduce_function function, const float *x, int64_t n) {
    switch ((int)function) {
#define X(code)         \
    case REDUCE_##code: \
        return reduce_all(REDUCE_##code, x, n);
        REDUCE_MAPS(X)
#undef X
    default:
        return 0;
    }
}

/* In strips of columns that stay in registers while the rows go by. */
INLINE void columns_all(enum reduce_function function, const float *x, int64_t rows, int64_t stride,
                        int64_t n, float *y) {
    for (int64_t c = 0; c < n; c += LANES) {
        const int64_t some = n - c < LANES ? n - c : LANES;
        vf sums[GROUP];
        for (int g = 0; g < GROUP; g++) {
            sums[g] = splat(neutral(function));
        }
        for (int64_t r = 0; r < rows; r++) {
            const float *from = x + r * stride + c;
            float tail[LANES] = {0};
            if (some < LANES) {
                memcpy(tail, from, (size_t)some * sizeof(float));
                from = tail;
            }
            UNROLLED
            for (int g = 0; g < GROUP; g++) {
                sums[g] = fold(function, sums[g], load(from + g * VECTOR_WIDTH));
            }
        }
        float lanes[LANES];
        for (int g = 0; g < GROUP; g++) {
            store(lanes + g * VECTOR_WIDTH, sums[g]);
        }
        for (int64_t k = 0; k < some; k++) {
            y[c + k] = finish_reduce(function, lanes[k], rows);
        }
    }
}

static void reduce_columns(enum reduce_function function, const float *x, int64_t rows,
                           int64_t stride, int64_t n, float *y) {
    switch ((int)function) {
#define X(code)                                            \
    case REDUCE_##code:                                    \
        columns_all(REDUCE_##code, x, rows, stride, n, y); \
        break;
        REDUCE_MAPS(X)
#undef X
    default:
        break;
    }
}

/* ---- transposes ---- */

typedef uint32_t v4 __attribute__((vector_size(16)));
typedef uint32_t v4_memory __attribute__((vector_size(16), aligned(4), may_alias));

/* y[i][j] = x[j][i], 4 by 4. */
INLINE void transpose_4(const uint32_t *x, int64_t x_column, uint32_t *y, int64_t y_row) {
    const v4 a = *(const v4_memory *)x;
    const v4 b = *(const v4_memory *)(x + x_column);
    const v4 c = *(const v4_memory *)(x + 2 * x_column);
    const v4 d = *(const v4_memory *)(x + 3 * x_column);
    const v4 ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const v4 ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const v4 cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const v4 cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(v4_memory *)y = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(v4_memory *)(y + y_row) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(v4_memory *)(y + 2 * y_row) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(v4_memory *)(y + 3 * y_row) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

#define STRIP 16 /* rows of y: a cache line of x */

static void transpose(const void *x, int64_t x_column, int64_t rows, int64_t columns, void *y,
                      int64_t y_row) {
    const uint32_t *from = x;
    uint32_t *to = y;
    for (int64_t r = 0; r < rows; r += STRIP) {
        const int64_t height = rows - r < STRIP ? rows - r : STRIP;
        int64_t c = 0;
        for (; c + 4 <= columns && height == STRIP; c += 4) {
            for (int64_t i = r; i < r + STRIP; i += 4) {
                transpose_4(from + c * x_column + i, x_column, to + i * y_row + c, y_row);
            }
        }
        for (; c < columns; c++) {
            for (int64_t i = r; i < r + height; i++) {
                to[i * y_row + c] = from[c * x_column + i];
            }
        }
    }
}
