/* Elementwise functions and the loop that measures the processor's peak. Private to variant.h. */

/* The tail goes through the same lanes as the rest, padded, so that an element's position never
 * matters. */
INLINE void activate_all(enum activation activation, const float *x, int64_t n, float *y) {
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        store(y + i, apply(activation, load(x + i)));
    }
    if (i < n) {
        float tail[VECTOR_WIDTH] = {0};
        memcpy(tail, x + i, (size_t)(n - i) * sizeof(float));
        store(tail, apply(activation, load(tail)));
        memcpy(y + i, tail, (size_t)(n - i) * sizeof(float));
    }
}

/* The switch stands outside the loops: each case compiles to a loop of its own. */
static void activate(enum activation activation, const float *x, int64_t n, float *y) {
    switch (activation) {
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        if (x != y) {
            memcpy(y, x, (size_t)n * sizeof(float));
        }
        break;
#define X(code)                                   \
    case ACTIVATION_##code:                       \
        activate_all(ACTIVATION_##code, x, n, y); \
        break;
        ACTIVATIONS_COMPUTED(X)
#undef X
    }
}

static void add(const float *a, const float *b, float scale, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = (a[i] + b[i]) * scale;
    }
}

static void multiply_add(const float *a, const float *b, int64_t n, float *y) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = a[i] * b[i] + y[i];
    }
}

/* 12 independent chains hide the latency of 4 or 5 cycles on two units, and fit 16 registers. */
static double spin(int64_t rounds, float *sink) {
    enum { CHAINS = 12 };
    vf chain[CHAINS];
    UNROLLED
    for (int c = 0; c < CHAINS; c++) {
        chain[c] = splat((float)c);
    }
    /* values the compiler cannot know: x·0.5 + 1 settles at 2, no overflow and no denormals */
    volatile float half = 0.5F;
    volatile float one = 1.0F;
    const vf factor = splat(half);
    const vf term = splat(one);
    for (int64_t i = 0; i < rounds; i++) {
        UNROLLED
        for (int c = 0; c < CHAINS; c++) {
            chain[c] = chain[c] * factor + term;
        }
    }
    vf sum = chain[0];
    UNROLLED
    for (int c = 1; c < CHAINS; c++) {
        sum += chain[c];
    }
    for (int lane = 0; lane < VECTOR_WIDTH; lane++) {
        *sink += sum[lane];
    }
    return (double)rounds * 2.0 * CHAINS * VECTOR_WIDTH;
}
