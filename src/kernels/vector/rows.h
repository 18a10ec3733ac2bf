/* Normalisation and softmax of rows. Private to variant.h. */

INLINE void zero(vf partial[GROUP]) {
    UNROLLED
    for (int g = 0; g < GROUP; g++) {
        partial[g] = (vf){0};
    }
}

/* The last n % LANES values of a row, padded. */
INLINE void load_tail(const float *x, int64_t n, float padding, float tail[LANES]) {
    for (int i = 0; i < LANES; i++) {
        tail[i] = i < n ? x[i] : padding;
    }
}

static float row_mean(const float *x, int64_t n) {
    vf partial[GROUP];
    zero(partial);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        UNROLLED
        for (int g = 0; g < GROUP; g++) {
            partial[g] += load(x + i + g * VECTOR_WIDTH);
        }
    }
    float tail[LANES];
    load_tail(x + i, n - i, 0, tail);
    UNROLLED
    for (int g = 0; g < GROUP; g++) {
        partial[g] += load(tail + g * VECTOR_WIDTH);
    }
    return sum_lanes(partial) / (float)n;
}

static float row_variance(const float *x, int64_t n, float mean) {
    vf partial[GROUP];
    zero(partial);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        UNROLLED
        for (int g = 0; g < GROUP; g++) {
            const vf d = load(x + i + g * VECTOR_WIDTH) - mean;
            partial[g] = d * d + partial[g];
        }
    }
    float tail[LANES];
    load_tail(x + i, n - i, mean, tail);
    UNROLLED
    for (int g = 0; g < GROUP; g++) {
        const vf d = load(tail + g * VECTOR_WIDTH) - mean;
        partial[g] = d * d + partial[g];
    }
    return sum_lanes(partial) / (float)n;
}

static void layer_norm(const float *x, const float *gamma, const float *beta, float epsilon,
                       int64_t rows, int64_t n, float *y) {
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const float mean = row_mean(x, n);
        const float scale = 1.0F / sqrtf(row_variance(x, n, mean) + epsilon);
        int64_t i = 0;
        for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
            store(y + i, (load(x + i) - mean) * scale * load(gamma + i) + load(beta + i));
        }
        if (i < n) {
            float tail[3][LANES];
            load_tail(x + i, n - i, 0, tail[0]);
            load_tail(gamma + i, n - i, 0, tail[1]);
            load_tail(beta + i, n - i, 0, tail[2]);
            store(tail[0], (load(tail[0]) - mean) * scale * load(tail[1]) + load(tail[2]));
            memcpy(y + i, tail[0], (size_t)(n - i) * sizeof(float));
        }
    }
}

/* x = x·scale + mask; returns the greatest. */
INLINE float scale_row(float *x, int64_t n, float scale, const float *mask) {
    vf greatest = splat(-INFINITY);
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        const vf value = load(x + i) * scale + (mask != NULL ? load(mask + i) : (vf){0});
        store(x + i, value);
        greatest = larger(greatest, value);
    }
    float lanes[VECTOR_WIDTH];
    store(lanes, greatest);
    float most = lanes[0];
    for (int lane = 1; lane < VECTOR_WIDTH; lane++) {
        most = lanes[lane] > most ? lanes[lane] : most;
    }
    for (; i < n; i++) {
        x[i] = x[i] * scale + (mask != NULL ? mask[i] : 0.0F);
        most = x[i] > most ? x[i] : most;
    }
    return most;
}

/* x = exp(x − greatest); returns the sum. */
static float exponentiate_row(float *x, int64_t n, float greatest) {
    vf partial[GROUP];
    zero(partial);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        UNROLLED
        for (int g = 0; g < GROUP; g++) {
            const vf e = exponential(load(x + i + g * VECTOR_WIDTH) - greatest);
            store(x + i + g * VECTOR_WIDTH, e);
            partial[g] += e;
        }
    }
    if (i < n) {
        float tail[LANES];
        load_tail(x + i, n - i, -INFINITY, tail); /* whose exponential is 0 */
        UNROLLED
        for (int g = 0; g < GROUP; g++) {
            const vf e = exponential(load(tail + g * VECTOR_WIDTH) - greatest);
            store(tail + g * VECTOR_WIDTH, e);
            partial[g] += e;
        }
        memcpy(x + i, tail, (size_t)(n - i) * sizeof(float));
    }
    return sum_lanes(partial);
}

static void softmax(float *x, int64_t rows, int64_t n, int64_t stride, float scale,
                    const float *mask) {
    for (int64_t r = 0; r < rows; r++, x += stride) {
        const float greatest = scale_row(x, n, scale, mask);
        if (greatest == -INFINITY) { /* everything is masked */
            memset(x, 0, (size_t)n * sizeof(float));
            continue;
        }
        const float factor = 1.0F / exponentiate_row(x, n, greatest);
        for (int64_t i = 0; i < n; i++) {
            x[i] *= factor;
        }
    }
}
