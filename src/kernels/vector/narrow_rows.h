/* Activations on their way into packed A. Private to narrow_variant.h. */

static void stretch(const float *x, int64_t n, float *least_of, float *greatest_of) {
    vf low = splat(*least_of);
    vf high = splat(*greatest_of);
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        const vf value = load(x + i);
        low = smaller(value, low);
        high = larger(value, high);
    }
    float lanes[2][VECTOR_WIDTH];
    store(lanes[0], low);
    store(lanes[1], high);
    for (int lane = 0; lane < VECTOR_WIDTH; lane++) {
        *least_of = lanes[0][lane] < *least_of ? lanes[0][lane] : *least_of;
        *greatest_of = lanes[1][lane] > *greatest_of ? lanes[1][lane] : *greatest_of;
    }
    for (; i < n; i++) {
        *least_of = x[i] < *least_of ? x[i] : *least_of;
        *greatest_of = x[i] > *greatest_of ? x[i] : *greatest_of;
    }
}

/* quant_u8 as integers. */
INLINE vi quantise_vector(vf x, struct quant_range range) {
    const vf magic = splat(QUANT_MAGIC);
    vf value = x * range.factor + magic - magic + (float)range.zero;
    value = smaller(larger(value, (vf){0}), splat(255));
    return __builtin_convertvector(value, vi);
}

static void quantise(const float *x, int64_t n, struct quant_range range, uint8_t *to) {
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        store_bytes(to + i, quantise_vector(load(x + i), range));
    }
    if (i < n) {
        float tail[VECTOR_WIDTH] = {0};
        memcpy(tail, x + i, (size_t)(n - i) * sizeof(float));
        uint8_t bytes[VECTOR_WIDTH];
        store_bytes(bytes, quantise_vector(load(tail), range));
        memcpy(to + i, bytes, (size_t)(n - i));
    }
}

/* f32 rounded to bf16, as f32: nearest, ties to even; a NaN stays one. */
INLINE vf round_bf16(vf x) {
    const vi bits = (vi)x;
    const vi rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & (int32_t)0xFFFF0000U;
    return choose(x == x, (vf)rounded, x);
}

/* LINE words of bf16. */
INLINE void line_of_bf16(const float *x, uint32_t *to) {
#if defined(__AVX512BF16__)
    const __m512bh pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
    memcpy(to, &pairs, sizeof pairs);
#else
    float rounded[LINE];
    UNROLLED
    for (int i = 0; i < LINE; i += VECTOR_WIDTH) {
        store(rounded + i, round_bf16(load(x + i)));
    }
    for (int i = 0; i < LINE; i += 2) { /* the second of a pair comes first */
        memcpy(to + i, &rounded[i + 1], sizeof(float));
        memcpy(to + i + 1, &rounded[i], sizeof(float));
    }
#endif
}

/* LINE words of quantised values. */
INLINE void line_of_bytes(const uint8_t *q, uint32_t *to) {
#if I8_STEP == 4 && I8_OFFSET == 0
    memcpy(to, q, (size_t)LINE * 4);
#elif I8_STEP == 4
    uint8_t *bytes = (uint8_t *)to;
    for (int i = 0; i < LINE * 4; i++) {
        bytes[i] = q[i] ^ 0x80U; /* q − 128 */
    }
#elif I8_STEP == 2
    int16_t *halves = (int16_t *)(void *)to;
    for (int i = 0; i < LINE * 2; i++) {
        halves[i] = (int16_t)(q[i] - I8_OFFSET);
    }
#else
    for (int i = 0; i < LINE; i++) {
        to[i] = (uint32_t)((int32_t)q[i] - I8_OFFSET);
    }
#endif
}

INLINE void line_of(enum precision precision, const void *row, int64_t k, uint32_t *to) {
    if (precision == PRECISION_I8) {
        line_of_bytes((const uint8_t *)row + k, to);
    } else if (precision == PRECISION_BF16) {
        line_of_bf16((const float *)row + k, to);
    } else {
        memcpy(to, (const float *)row + k, LINE * sizeof(float));
    }
}

/* Where the row of a tile begins in a block of words, and how far its lines are apart. */
struct place {
    uint32_t *to;
    int64_t stride;
};

/* A row's words first..first+words−1 line for line; the last line is filled up with zeros, what
 * they are multiplied with does not matter. */
static void pack_words(enum precision precision, const void *row, int64_t depth, int64_t first,
                       int64_t words, struct place place) {
    const int64_t step = step_of(precision);
    const int64_t size = precision == PRECISION_I8 ? 1 : (int64_t)sizeof(float);
    for (int64_t w = first; w < first + words; w += LINE, place.to += place.stride) {
        const int64_t k = w * step;
        if (k + LINE * step <= depth) {
            line_of(precision, row, k, place.to);
        } else {
            float padded[LINE * LONGEST_STEP] = {0};
            memcpy(padded, (const char *)row + k * size,
                   (size_t)(least(depth - k, LINE * step) * size));
            line_of(precision, padded, 0, place.to);
        }
    }
}
