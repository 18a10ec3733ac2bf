/* Packed B of fewer bits than its words on its way into the product. Private to narrow_variant.h.
 */

/* f16 bits, neither infinite nor NaN, as f32: the exponent's bias is made up for by a product. */
INLINE vf widen_f16(vi bits) {
    const vf magnitude = (vf)((bits & 0x7FFF) << 13) * 0x1p112F;
    return (vf)((vi)magnitude | (bits & 0x8000) << 16);
}

static void widen_bf16(const unsigned char *from, int64_t words, uint32_t *to) {
    for (int64_t i = 0; i < words * PANEL; i += VECTOR_WIDTH) {
        store_words(to + i, load_halves(from + i * 2) << 16);
    }
}

static void widen_bytes(const unsigned char *from, int64_t words, uint32_t *to) {
    for (int64_t i = 0; i < words * PANEL; i += VECTOR_WIDTH) {
        store_words(to + i, (vi) __builtin_convertvector(load_signed(from + i), vf));
    }
}

#if I8_WIDENED
/* Words of two i16, or of one i32. */
static void widen_i8(const unsigned char *from, int64_t words, uint32_t *to) {
#if I8_STEP == 2
    for (int64_t i = 0; i < words * PANEL; i += VECTOR_WIDTH) {
        const vi pairs = load_halves(from + i * 2); /* bytes 0 and 1 of each word */
        const vi low = (pairs << 24) >> 24;
        store_words(to + i, (low & 0xFFFF) | ((pairs << 16) >> 24) << 16);
    }
#else
    for (int64_t i = 0; i < words * PANEL; i += VECTOR_WIDTH) {
        store_words(to + i, load_signed(from + i));
    }
#endif
}
#endif

static void widen_group(const unsigned char *group, uint32_t *to) {
    for (int v = 0; v < PANEL; v += VECTOR_WIDTH) {
        const vf scale = widen_f16(load_halves(group + (ptrdiff_t)v * 2));
        const unsigned char *line = group + (ptrdiff_t)PANEL * 2 + v;
        uint32_t *low = to + v;
        uint32_t *high = low + (ptrdiff_t)QUANT_GROUP / 2 * PANEL;
        for (int j = 0; j < QUANT_GROUP / 2; j++, line += PANEL, low += PANEL, high += PANEL) {
            const vi q = load_unsigned(line);
            store_words(low, (vi)(__builtin_convertvector((q & 15) - 8, vf) * scale));
            store_words(high, (vi)(__builtin_convertvector((q >> 4) - 8, vf) * scale));
        }
    }
}

/* Words first..first+words−1 of a panel's block; first is a multiple of WIDE_CHUNK. `to` has room
 * for whole groups. */
static void widen(enum precision precision, const unsigned char *block, int64_t first,
                  int64_t words, uint32_t *to) {
    const unsigned char *from = block + panel_bytes(precision, first);
    switch (precision) {
    case PRECISION_BF16:
        widen_bf16(from, words, to);
        break;
    case PRECISION_W8:
        widen_bytes(from, words, to);
        break;
    case PRECISION_W4:
        for (int64_t w = 0; w < words; w += QUANT_GROUP) {
            widen_group(from + panel_bytes(precision, w), to + w * PANEL);
        }
        break;
    case PRECISION_I8:
#if I8_WIDENED
        widen_i8(from, words, to);
#endif
        break;
    case PRECISION_F32:
    case PRECISION_COUNT:
        break;
    }
}
