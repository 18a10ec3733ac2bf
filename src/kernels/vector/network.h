/* Rows of channels combined: pools, interpolation, normalisations. Private to variant.h. */

#define ROWS_BLOCK 4 /* registers of one row at a time */

/* What is done with each further row, and at the end: constants wherever this is called. */
enum row_rule { ROWS_GREATEST, ROWS_SUM, ROWS_WEIGHTED };

INLINE vf row_first(enum row_rule rule, vf x, float weight) {
    return rule == ROWS_WEIGHTED ? x * weight : x;
}

INLINE vf row_next(enum row_rule rule, vf sum, vf x, float weight) {
    if (rule == ROWS_GREATEST) {
        return larger(x, sum);
    }
    return rule == ROWS_SUM ? sum + x : x * weight + sum;
}

/* `registers` of them from element `at` on. */
INLINE void combine_block(enum row_rule rule, int registers, const float *const *rows,
                          const float *weights, int64_t count, int64_t at, float divisor,
                          float *y) {
    vf sum[ROWS_BLOCK];
    UNROLLED
    for (int r = 0; r < registers; r++) {
        sum[r] = row_first(rule, load(rows[0] + at + r * VECTOR_WIDTH),
                           rule == ROWS_WEIGHTED ? weights[0] : 0);
    }
    for (int64_t i = 1; i < count; i++) {
        const float *x = rows[i] + at;
        const float weight = rule == ROWS_WEIGHTED ? weights[i] : 0;
        UNROLLED
        for (int r = 0; r < registers; r++) {
            sum[r] = row_next(rule, sum[r], load(x + r * VECTOR_WIDTH), weight);
        }
    }
    UNROLLED
    for (int r = 0; r < registers; r++) {
        store(y + at + r * VECTOR_WIDTH, rule == ROWS_SUM ? sum[r] / divisor : sum[r]);
    }
}

/* The last n < VECTOR_WIDTH elements, as the lanes would. */
INLINE void combine_tail(enum row_rule rule, const float *const *rows, const float *weights,
                         int64_t count, int64_t at, int64_t n, float divisor, float *y) {
    float lanes[VECTOR_WIDTH] = {0};
    memcpy(lanes, rows[0] + at, (size_t)n * sizeof(float));
    vf sum = row_first(rule, load(lanes), rule == ROWS_WEIGHTED ? weights[0] : 0);
    for (int64_t i = 1; i < count; i++) {
        memcpy(lanes, rows[i] + at, (size_t)n * sizeof(float));
        sum = row_next(rule, sum, load(lanes), rule == ROWS_WEIGHTED ? weights[i] : 0);
    }
    store(lanes, rule == ROWS_SUM ? sum / divisor : sum);
    memcpy(y + at, lanes, (size_t)n * sizeof(float));
}

INLINE void combine(enum row_rule rule, const float *const *rows, const float *weights,
                    int64_t count, int64_t n, float divisor, float *y) {
    int64_t i = 0;
    for (; i + ROWS_BLOCK * VECTOR_WIDTH <= n; i += ROWS_BLOCK * VECTOR_WIDTH) {
        combine_block(rule, ROWS_BLOCK, rows, weights, count, i, divisor, y);
    }
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        combine_block(rule, 1, rows, weights, count, i, divisor, y);
    }
    if (i < n) {
        combine_tail(rule, rows, weights, count, i, n - i, divisor, y);
    }
}

static void rows_greatest(const float *const *rows, int64_t count, int64_t n, float *y) {
    combine(ROWS_GREATEST, rows, NULL, count, n, 1, y);
}

static void rows_mean(const float *const *rows, int64_t count, int64_t n, float divisor, float *y) {
    combine(ROWS_SUM, rows, NULL, count, n, divisor, y);
}

static void rows_weighted(const float *const *rows, const float *weights, int64_t count, int64_t n,
                          float *y) {
    combine(ROWS_WEIGHTED, rows, weights, count, n, 1, y);
}

/* Plain loops that compilers turn into vectors; every element by itself. */
static void normalise_channels(const float *x, const float *mean, const float *factor,
                               const float *shift, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = (x[i] - mean[i]) * factor[i] + shift[i];
    }
}

static void normalise_plane(const float *x, float mean, float factor, float shift, int64_t n,
                            float *y) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = (x[i] - mean) * factor + shift;
    }
}

static void moments(const float *x, int64_t n, float *mean, float *variance) {
    *mean = row_mean(x, n);
    *variance = row_variance(x, n, *mean);
}

static void rms_norm(const float *x, const float *gamma, float epsilon, int64_t rows, int64_t n,
                     float *y) {
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const float factor = 1.0F / sqrtf(row_variance(x, n, 0) + epsilon);
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[i] * factor * gamma[i];
        }
    }
}
