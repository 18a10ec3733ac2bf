/*
 * The product itself, blocked as kernels/vector/gemm.h is. Private to narrow_variant.h.
 *
 * Packed A:  [block of words][tile][words in block / LINE][row in tile][LINE], a block of rows at a
 * time. Partial sums: [panel in column block][row][PANEL], f32 or i32.
 */

/* What a word is to the product. */
enum kind { KIND_F32, KIND_BF16, KIND_I8 };

static enum kind kind_of(enum precision precision) {
    if (precision == PRECISION_I8) {
        return KIND_I8;
    }
    return precision == PRECISION_BF16 && BF16_STEP == 2 ? KIND_BF16 : KIND_F32;
}

/* sum + the product of two words, lane by lane. */
INLINE vi multiply_words(enum kind kind, vi sum, vi a, vi b) {
    if (kind == KIND_I8) {
#if defined(__AVX512VNNI__)
        return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif defined(__ARM_FEATURE_DOTPROD)
        return (vi)vdotq_s32((int32x4_t)sum, (int8x16_t)a, (int8x16_t)b);
#elif defined(__AVX512BW__)
        return sum + (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
        return sum + (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
        return sum + (vi)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
        return sum + a * b;
#endif
    }
#if defined(__AVX512BF16__)
    if (kind == KIND_BF16) {
        return (vi)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
#endif
    return (vi)((vf)a * (vf)b + (vf)sum);
}

/* One word of K: sum [rows] += a column of a times a row of b. */
INLINE void multiply_step(enum kind kind, int rows, const uint32_t *a, const uint32_t *b,
                          vi sum[TILE][VECTORS]) {
    vi column[VECTORS];
    UNROLLED
    for (int v = 0; v < VECTORS; v++) {
        column[v] = load_words(b + v * VECTOR_WIDTH);
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        const vi factor = splat_word((int32_t)a[r * LINE]);
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = multiply_words(kind, sum[r][v], factor, column[v]);
        }
    }
}

/* sums [rows,PANEL] += a [words/LINE,rows,LINE] · b [words,PANEL]; kind and rows are constants
 * wherever it is called. `ahead` is where B will be wanted next. */
INLINE void multiply(enum kind kind, int rows, int64_t words, const uint32_t *a, const uint32_t *b,
                     uint32_t *sums, bool fresh, uintptr_t ahead) {
    vi sum[TILE][VECTORS];
    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = (vi){0};
        }
    }
    if (!fresh) {
        UNROLLED
        for (int r = 0; r < rows; r++) {
            UNROLLED
            for (int v = 0; v < VECTORS; v++) {
                sum[r][v] = load_words(sums + r * PANEL + v * VECTOR_WIDTH);
            }
        }
    }
    for (; words >= LINE; words -= LINE) {
        UNROLLED
        for (int i = 0; i < AHEAD; i++) {
            __builtin_prefetch((const void *)(ahead + (uintptr_t)i * 64), 0, 2);
        }
        ahead += (uintptr_t)AHEAD * 64;
        /* Not unrolled: compilers that see several steps at once run out of registers. */
        _Pragma("GCC unroll 1") for (int step = 0; step < LINE; step++, b += PANEL) {
            multiply_step(kind, rows, a + step, b, sum);
        }
        a += rows * LINE;
    }
    for (; words > 0; words--) {
        multiply_step(kind, rows, a, b, sum);
        a++;
        b += PANEL;
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            store_words(sums + r * PANEL + v * VECTOR_WIDTH, sum[r][v]);
        }
    }
}

typedef void multiply_function(int64_t words, const uint32_t *a, const uint32_t *b, uint32_t *sums,
                               bool fresh, uintptr_t ahead);

#define MULTIPLY(kind, rows)                                                                  \
    static void multiply_##kind##_##rows(int64_t words, const uint32_t *a, const uint32_t *b, \
                                         uint32_t *sums, bool fresh, uintptr_t ahead) {       \
        multiply(KIND_##kind, rows, words, a, b, sums, fresh, ahead);                         \
    }

#if TILE == 14
#define EACH_HEIGHT(X, kind) \
    X(kind, 1)               \
    X(kind, 2)               \
    X(kind, 3)               \
    X(kind, 4)               \
    X(kind, 5)               \
    X(kind, 6)               \
    X(kind, 7) X(kind, 8) X(kind, 9) X(kind, 10) X(kind, 11) X(kind, 12) X(kind, 13) X(kind, 14)
#elif TILE == 6
#define EACH_HEIGHT(X, kind) X(kind, 1) X(kind, 2) X(kind, 3) X(kind, 4) X(kind, 5) X(kind, 6)
#else
#define EACH_HEIGHT(X, kind) X(kind, 1) X(kind, 2)
#endif

EACH_HEIGHT(MULTIPLY, F32)
EACH_HEIGHT(MULTIPLY, I8)
#if BF16_STEP == 2
EACH_HEIGHT(MULTIPLY, BF16)
#endif

#define NAMED(kind, rows) [rows] = multiply_##kind##_##rows,
static multiply_function *const multiplies[][TILE + 1] = {
    [KIND_F32] = {EACH_HEIGHT(NAMED, F32)},
#if BF16_STEP == 2
    [KIND_BF16] = {EACH_HEIGHT(NAMED, BF16)},
#endif
    [KIND_I8] = {EACH_HEIGHT(NAMED, I8)},
};

/* One block of rows on its way through the product. */
struct block {
    const struct narrow_gemm *gemm;
    int64_t row, rows, tiles, words;
    uint32_t *a, *sums, *wide;
    struct quant_range *ranges; /* of the rows; I8 */
    const unsigned char *packed;
};

struct tile {
    int64_t from, height; /* rows of the block */
};

/* Tiles of nearly the same height: no small one is left over at the end. */
static struct tile tile_at(const struct block *block, int64_t index) {
    const int64_t from = index * block->rows / block->tiles;
    return (struct tile){from, (index + 1) * block->rows / block->tiles - from};
}

/* Where a tile's part of the block of words that begins at `first` lies in packed A. */
static int64_t tile_offset(const struct block *block, struct tile tile, int64_t first) {
    return first * block->rows + tile.from * line_up(least(WORD_BLOCK, block->words - first));
}

/* The finished sums of one row's panel as f32: scaled, plus bias. */
struct finishing {
    const float *scales, *bias; /* [PANEL] */
    const int32_t *sums;        /* [PANEL], of weights; I8 */
};

INLINE vf scaled(enum precision precision, const struct finishing *f, const uint32_t *sums, int v,
                 struct quant_range range) {
    const vi sum = load_words(sums + v);
    const vf bias = load(f->bias + v);
    if (precision == PRECISION_I8) {
        const vi whole = sum - load_words((const uint32_t *)f->sums + v) * (range.zero - I8_OFFSET);
        return __builtin_convertvector(whole, vf) * (load(f->scales + v) * range.scale) + bias;
    }
    return (vf)sum * load(f->scales + v) + bias;
}

INLINE vf end(enum activation activation, bool residual_first, vf value, vf residual) {
    return residual_first ? apply(activation, value + residual)
                          : apply(activation, value) + residual;
}

/* The residual is 0 where there is none: adding it changes nothing but the sign of a zero. */
INLINE void finish_with(enum activation activation, enum precision precision,
                        const struct block *block, struct tile tile, int64_t column,
                        const struct finishing *f, const uint32_t *sums) {
    const struct narrow_gemm *g = block->gemm;
    const int64_t width = least(PANEL, g->columns - column);
    for (int64_t r = tile.from; r < tile.from + tile.height; r++, sums += PANEL) {
        const int64_t at = (block->row + r) * g->y_stride + column;
        const struct quant_range range =
            precision == PRECISION_I8 ? block->ranges[r] : (struct quant_range){0};
        for (int v = 0; v < PANEL && v < width; v += VECTOR_WIDTH) {
            const vf value = scaled(precision, f, sums, v, range);
            const int64_t count = least(VECTOR_WIDTH, width - v);
            float part[VECTOR_WIDTH] = {0};
            if (count == VECTOR_WIDTH) {
                const vf residual = g->residual != NULL ? load(g->residual + at + v) : (vf){0};
                store(g->y + at + v, end(activation, g->residual_first, value, residual));
                continue;
            }
            if (g->residual != NULL) {
                memcpy(part, g->residual + at + v, (size_t)count * sizeof(float));
            }
            store(part, end(activation, g->residual_first, value, load(part)));
            memcpy(g->y + at + v, part, (size_t)count * sizeof(float));
        }
    }
}

INLINE void finish_any(enum precision precision, const struct block *block, struct tile tile,
                       int64_t column, const struct finishing *f, const uint32_t *sums) {
    switch (block->gemm->activation) { /* each its own loop */
#define X(code, name)                                                            \
    case ACTIVATION_##code:                                                      \
        finish_with(ACTIVATION_##code, precision, block, tile, column, f, sums); \
        break;
        ACTIVATION_LIST(X)
#undef X
    case ACTIVATION_COUNT:
        break;
    }
}

static void finish(const struct block *block, struct tile tile, int64_t panel,
                   const uint32_t *sums) {
    const struct narrow_gemm *g = block->gemm;
    const int64_t column = panel * PANEL;
    const int64_t columns = quotient_up(g->columns, PANEL) * PANEL;
    const float *scales =
        (const float *)(const void *)(block->packed +
                                      weights_bytes(g->precision, g->depth, columns));
    float bias[PANEL] = {0};
    float ones[PANEL];
    struct finishing f = {ones, bias, NULL};
    if (g->bias != NULL) {
        memcpy(bias, g->bias + column, (size_t)least(PANEL, g->columns - column) * sizeof(float));
    }
    if (has_scales(g->precision)) {
        f.scales = scales + column;
        f.sums = (const int32_t *)(const void *)(scales + columns) + column;
    } else {
        for (int i = 0; i < PANEL; i++) {
            ones[i] = 1;
        }
    }
    if (g->precision == PRECISION_I8) {
        finish_any(PRECISION_I8, block, tile, column, &f, sums);
    } else {
        finish_any(PRECISION_W8, block, tile, column, &f, sums);
    }
}

/* The lines of y that finish will write: fetched while the last products are computed. */
static void expect(const struct block *block, struct tile tile, int64_t column) {
    const struct narrow_gemm *g = block->gemm;
    for (int64_t r = block->row + tile.from; r < block->row + tile.from + tile.height; r++) {
        for (int64_t n = column; n < least(column + PANEL, g->columns); n += LINE) {
            __builtin_prefetch(g->y + r * g->y_stride + n, 1, 3);
        }
    }
}

/* buffer: K values of a row, then those values as bytes. */
static void pack_row(const struct block *block, int64_t r, struct tile tile,
                     unsigned char *buffer) {
    const struct narrow_gemm *g = block->gemm;
    const void *values = g->row(g->source, block->row + r, buffer);
    if (g->precision == PRECISION_I8 && g->range != NULL) {
        block->ranges[r] = g->range(g->source, block->row + r);
    } else if (g->precision == PRECISION_I8) {
        float low = 0;
        float high = 0;
        uint8_t *bytes = buffer + line_up(g->depth) * (int64_t)sizeof(float);
        stretch(values, g->depth, &low, &high);
        block->ranges[r] = quant_range(low, high);
        quantise(values, g->depth, block->ranges[r], bytes);
        values = bytes;
    }
    for (int64_t w = 0; w < block->words; w += WORD_BLOCK) {
        const struct place place = {block->a + tile_offset(block, tile, w) + (r - tile.from) * LINE,
                                    tile.height * LINE};
        pack_words(g->precision, values, g->depth, w, least(WORD_BLOCK, block->words - w), place);
    }
}

/* One panel's block of words times all tiles. */
static void multiply_panel(const struct block *block, int64_t panel, int64_t w, uint32_t *sums) {
    const struct narrow_gemm *g = block->gemm;
    const int64_t words = least(WORD_BLOCK, block->words - w);
    const int64_t panels = quotient_up(g->columns, PANEL);
    const unsigned char *b =
        block->packed + block_offset(g->precision, block->words, panels, w, panel);
    multiply_function *const *const functions = multiplies[kind_of(g->precision)];
    const bool wide = widened(g->precision);
    const int64_t chunk = wide && block->tiles == 1 ? WIDE_CHUNK : words;
    const bool last = w + words == block->words;
    for (int64_t c = 0; c < words; c += chunk) {
        const int64_t count = least(chunk, words - c);
        const uint32_t *from = (const uint32_t *)(const void *)b + c * PANEL;
        if (wide) {
            widen(g->precision, b, c, count, block->wide);
            from = block->wide;
        }
        uintptr_t ahead = (uintptr_t)b + (uintptr_t)panel_bytes(g->precision, words);
        for (int64_t i = 0; i < block->tiles; i++) {
            const struct tile tile = tile_at(block, i);
            if (last && c + count == words) {
                expect(block, tile, panel * PANEL);
            }
            functions[tile.height](count, block->a + tile_offset(block, tile, w) + c * tile.height,
                                   from, sums + tile.from * PANEL, w + c == 0, ahead);
            ahead += (uintptr_t)(count / LINE * AHEAD * 64);
        }
    }
    for (int64_t i = 0; i < block->tiles && last; i++) {
        const struct tile tile = tile_at(block, i);
        finish(block, tile, panel, sums + tile.from * PANEL);
    }
}

/* Parts of a block's scratch, in bytes from its beginning. */
struct layout {
    size_t buffer, ranges, wide, a, sums, total;
};

static size_t part(size_t *total, int64_t bytes) {
    const size_t at = *total;
    *total += (size_t)(quotient_up(bytes, 64) * 64);
    return at;
}

static struct layout lay_out(enum precision precision, int64_t rows, int64_t depth) {
    const int64_t block = least(rows, ROW_BLOCK);
    const int64_t words = line_up(words_of(precision, depth));
    const int64_t room = line_up(depth) + LINE * LONGEST_STEP;
    const bool wide = widened(precision);
    struct layout at = {0};
    at.buffer = part(&at.total, room * 5);
    at.ranges = part(&at.total, block * (int64_t)sizeof(struct quant_range));
    at.wide = part(&at.total, wide ? (int64_t)WORD_BLOCK * PANEL * 4 : 0);
    at.a = part(&at.total, block * words * 4);
    at.sums = part(&at.total, block * COLUMN_BLOCK * PANEL * 4);
    return at;
}

static size_t scratch_bytes(enum precision precision, int64_t rows, int64_t depth) {
    return lay_out(precision, rows, depth).total;
}

static void multiply_block(struct block *block, int64_t first, int64_t last,
                           unsigned char *buffer) {
    for (int64_t i = 0; i < block->tiles; i++) {
        const struct tile tile = tile_at(block, i);
        for (int64_t r = tile.from; r < tile.from + tile.height; r++) {
            pack_row(block, r, tile, buffer);
        }
    }
    for (int64_t group = first; group < last; group += COLUMN_BLOCK) {
        for (int64_t w = 0; w < block->words; w += WORD_BLOCK) {
            for (int64_t panel = group; panel < least(group + COLUMN_BLOCK, last); panel++) {
                multiply_panel(block, panel, w,
                               block->sums + (panel - group) * block->rows * PANEL);
            }
        }
    }
}

static void gemm(const struct narrow_gemm *g, int64_t first_row, int64_t last_row, int64_t first,
                 int64_t last, void *scratch) {
    const int64_t blocks = quotient_up(last_row - first_row, ROW_BLOCK);
    const struct layout at = lay_out(g->precision, last_row - first_row, g->depth);
    unsigned char *base = scratch;
    for (int64_t i = 0; i < blocks; i++) {
        const int64_t row = first_row + i * (last_row - first_row) / blocks;
        const int64_t rows = first_row + (i + 1) * (last_row - first_row) / blocks - row;
        struct block block = {
            .gemm = g,
            .row = row,
            .rows = rows,
            .tiles = quotient_up(rows, TILE),
            .words = words_of(g->precision, g->depth),
            .a = (uint32_t *)(void *)(base + at.a),
            .sums = (uint32_t *)(void *)(base + at.sums),
            .wide = (uint32_t *)(void *)(base + at.wide),
            .ranges = (struct quant_range *)(void *)(base + at.ranges),
            .packed = g->packed,
        };
        multiply_block(&block, first, last, base + at.buffer);
    }
}
