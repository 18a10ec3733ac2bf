/* Weights on their way into packed B. Private to narrow_variant.h. */

/* A column at a time: with rows a power of two apart, that misses less. */
struct column {
    enum precision precision;
    const float *values; /* [depth]; NULL: padding */
    int64_t depth, panels, panel, lane;
    unsigned char *packed;
};

static float largest(const float *x, int64_t n) {
    vf most = {0};
    int64_t i = 0;
    for (; i + VECTOR_WIDTH <= n; i += VECTOR_WIDTH) {
        const vf value = load(x + i);
        most = larger(most, larger(value, -value));
    }
    float lanes[VECTOR_WIDTH];
    store(lanes, most);
    float result = 0;
    for (int lane = 0; lane < VECTOR_WIDTH; lane++) {
        result = lanes[lane] > result ? lanes[lane] : result;
    }
    for (; i < n; i++) {
        const float value = fabsf(x[i]);
        result = value > result ? value : result;
    }
    return result;
}

/* quant_i8 of n values; what is left of `to` [room] becomes 0. */
static void round_i8(const float *x, int64_t n, struct quant_range range, int8_t *to,
                     int64_t room) {
    const vf magic = splat(QUANT_MAGIC);
    memset(to + n, 0, (size_t)(room - n));
    for (int64_t i = 0; i < n; i += VECTOR_WIDTH) {
        float tail[VECTOR_WIDTH] = {0};
        const int64_t width = least(VECTOR_WIDTH, n - i);
        memcpy(tail, x + i, (size_t)width * sizeof(float));
        vf value = load(tail) * range.factor + magic - magic;
        value = smaller(larger(value, splat(-127)), splat(127));
        int8_t bytes[VECTOR_WIDTH];
        store_bytes(bytes, __builtin_convertvector(value, vi));
        memcpy(to + i, bytes, (size_t)width);
    }
}

/* One block of a column in bytes, [depth] padded to whole words, lies `step` bytes together. */
static void scatter(const int8_t *from, int64_t words, int64_t step, int64_t lane,
                    unsigned char *block) {
    unsigned char *to = block + lane * step;
    for (int64_t w = 0; w < words; w++, from += step, to += PANEL * step) {
        if (step == 4) { /* a constant length is a move */
            memcpy(to, from, 4);
        } else if (step == 2) {
            memcpy(to, from, 2);
        } else {
            *to = (unsigned char)*from;
        }
    }
}

static void pack_bytes(const struct column *c) {
    const int64_t step = step_of(c->precision);
    const int64_t words = words_of(c->precision, c->depth);
    const int64_t columns = c->panels * PANEL;
    const int64_t index = c->panel * PANEL + c->lane;
    const struct quant_range range =
        quant_i8_range(c->values != NULL ? largest(c->values, c->depth) : 0);
    int32_t sum = 0;
    for (int64_t w = 0; w < words; w += WORD_BLOCK) {
        int8_t q[WORD_BLOCK * LONGEST_STEP];
        const int64_t count = least(WORD_BLOCK, words - w);
        const int64_t depth = c->values != NULL ? least(count * step, c->depth - w * step) : 0;
        round_i8(c->values != NULL ? c->values + w * step : NULL, depth, range, q, count * step);
        for (int64_t i = 0; i < depth; i++) {
            sum += q[i];
        }
        scatter(q, count, step, c->lane,
                c->packed + block_offset(c->precision, words, c->panels, w, c->panel));
    }
    unsigned char *scales = c->packed + weights_bytes(c->precision, c->depth, columns);
    memcpy(scales + index * 4, &range.scale, 4);
    if (c->precision == PRECISION_I8) {
        memcpy(scales + (columns + index) * 4, &sum, 4);
    }
}

static void pack_bf16(const struct column *c) {
    const int64_t words = words_of(c->precision, c->depth);
    for (int64_t k = 0; k < quotient_up(c->depth, 2) * 2; k++) {
        const bool inside = c->values != NULL && k < c->depth;
        const uint16_t bits = inside ? convert_f32_to_bf16(c->values[k]) : 0;
        /* in words of pairs as they come; alone, the second of a pair first */
        const int64_t word = BF16_STEP == 2 ? k / 2 : k ^ 1;
        const int64_t block = word / WORD_BLOCK * WORD_BLOCK;
        unsigned char *to =
            c->packed + block_offset(c->precision, words, c->panels, block, c->panel) +
            ((word - block) * PANEL + c->lane) * BF16_BYTES + (BF16_STEP == 2 ? k % 2 * 2 : 0);
        memcpy(to, &bits, sizeof bits);
    }
}

/* Four bits a value, in one group. */
static void pack_group(const float *x, int64_t n, int64_t lane, unsigned char *group) {
    float peak = 0;
    for (int64_t i = 0; i < n; i++) {
        peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
    }
    uint16_t bits = 0;
    const struct quant_range range = quant_w4_range(peak, &bits);
    unsigned q[QUANT_GROUP];
    for (int64_t i = 0; i < QUANT_GROUP; i++) {
        const float value = i < n ? quant_w4(x[i], range) : 0;
        q[i] = (unsigned)((int)value + 8);
    }
    memcpy(group + lane * 2, &bits, sizeof bits);
    unsigned char *to = group + (int64_t)PANEL * 2 + lane;
    for (int64_t i = 0; i < QUANT_GROUP / 2; i++, to += PANEL) {
        *to = (unsigned char)(q[i] | q[i + QUANT_GROUP / 2] << 4U);
    }
}

static void pack_w4(const struct column *c) {
    for (int64_t k = 0; k < c->depth; k += QUANT_GROUP) {
        const int64_t block = k / WORD_BLOCK * WORD_BLOCK;
        unsigned char *to = c->packed +
                            block_offset(c->precision, c->depth, c->panels, block, c->panel) +
                            panel_bytes(c->precision, k - block);
        const int64_t n = c->values != NULL ? least(QUANT_GROUP, c->depth - k) : 0;
        pack_group(n > 0 ? c->values + k : NULL, n, c->lane, to);
    }
}

static void pack(enum precision precision, const float *b, int64_t stride, int64_t depth,
                 int64_t columns, void *packed) {
    struct column c = {precision, NULL, depth, quotient_up(columns, PANEL), 0, 0, packed};
    for (int64_t n = 0; n < c.panels * PANEL; n++) {
        c.values = n < columns ? b + n * stride : NULL;
        c.panel = n / PANEL;
        c.lane = n % PANEL;
        if (precision == PRECISION_BF16) {
            pack_bf16(&c);
        } else if (precision == PRECISION_W4) {
            pack_w4(&c);
        } else {
            pack_bytes(&c);
        }
    }
}
