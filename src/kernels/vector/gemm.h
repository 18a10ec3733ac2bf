/*
 * Matrix product with packed B. Private to variant.h.
 *
 * As Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", TOMS 2008, with
 * one difference for the sake of bits: the sum over K is never split. A block of K leaves its
 * partial sums in memory as f32 and the next goes on from them, which is exactly the unbroken
 * chain.
 *
 * Packed B:  [block of K][panel][K in block][PANEL]
 * Packed A:  [block of K][tile][K in block / LINE][row in tile][LINE], one block of rows at a time
 * Partial sums: [panel in column block][row][PANEL]
 *
 * So the product of a tile reads A and B in the order of memory, and rows that are a power of two
 * apart in the caller's memory do not fall into the same cache sets.
 */

#if VECTOR_WIDTH == 16
#define PANEL 32
#define TILE 14 /* 28 of 32 registers hold sums */
#define DEPTH_BLOCK 512
#elif VECTOR_WIDTH == 8
#define PANEL 16
#define TILE 6 /* 12 of 16 */
#define DEPTH_BLOCK 256
#elif defined(__aarch64__)
#define PANEL 16
#define TILE 6 /* 24 of 32 */
#define DEPTH_BLOCK 256
#else
#define PANEL 16
#define TILE 2 /* 8 of 16 */
#define DEPTH_BLOCK 256
#endif

#define VECTORS (PANEL / VECTOR_WIDTH)
#define LINE 16
#define AHEAD 4                    /* lines of B fetched ahead per LINE steps of K */
#define ROW_BLOCK 224              /* packed A of one block of K stays in a 1 MiB cache */
#define COLUMN_BLOCK (128 / PANEL) /* panels */

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t quotient_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t packed_count(int64_t depth, int64_t columns) {
    return depth * quotient_up(columns, PANEL) * PANEL;
}

/* Where the block of K from `depth_first` on begins for a panel. */
static int64_t packed_offset(int64_t depth, int64_t columns, int64_t depth_first, int64_t panel) {
    const int64_t in_block = least(DEPTH_BLOCK, depth - depth_first);
    return depth_first * quotient_up(columns, PANEL) * PANEL + panel * in_block * PANEL;
}

/* One panel's block of K. Columns go one after the other: with rows a power of two apart, a column
 * at a time misses less. */
static void pack_panel(const float *b, int64_t stride, int64_t depth, int64_t width,
                       float *packed) {
    for (int64_t n = 0; n < width; n++) {
        for (int64_t k = 0; k < depth; k++) {
            packed[k * PANEL + n] = b[n * stride + k];
        }
    }
    for (int64_t n = width; n < PANEL; n++) {
        for (int64_t k = 0; k < depth; k++) {
            packed[k * PANEL + n] = 0;
        }
    }
}

static void pack_panel_rows(const float *b, int64_t stride, int64_t depth, int64_t width,
                            float *packed) {
    for (int64_t k = 0; k < depth; k++) {
        memcpy(packed + k * PANEL, b + k * stride, (size_t)width * sizeof(float));
        for (int64_t n = width; n < PANEL; n++) {
            packed[k * PANEL + n] = 0;
        }
    }
}

static void pack_columns(const float *b, int64_t stride, int64_t depth, int64_t columns,
                         float *packed) {
    for (int64_t k = 0; k < depth; k += DEPTH_BLOCK) {
        for (int64_t n = 0; n < columns; n += PANEL) {
            pack_panel(b + n * stride + k, stride, least(DEPTH_BLOCK, depth - k),
                       least(PANEL, columns - n),
                       packed + packed_offset(depth, columns, k, n / PANEL));
        }
    }
}

static void pack_rows(const float *b, int64_t stride, int64_t depth, int64_t columns,
                      float *packed) {
    for (int64_t k = 0; k < depth; k += DEPTH_BLOCK) {
        for (int64_t n = 0; n < columns; n += PANEL) {
            pack_panel_rows(b + k * stride + n, stride, least(DEPTH_BLOCK, depth - k),
                            least(PANEL, columns - n),
                            packed + packed_offset(depth, columns, k, n / PANEL));
        }
    }
}

static int64_t line_up(int64_t count) {
    return quotient_up(count, LINE) * LINE;
}

static int64_t gemm_scratch(int64_t rows, int64_t depth) {
    const int64_t block = least(rows, ROW_BLOCK);
    return (TILE + block) * line_up(depth) + block * COLUMN_BLOCK * PANEL;
}

/* One step of K: sum [rows] += a column of a times a row of b. */
INLINE void multiply_step(int rows, const float *a, const float *b, vf sum[TILE][VECTORS]) {
    vf column[VECTORS];
    UNROLLED
    for (int v = 0; v < VECTORS; v++) {
        column[v] = load(b + v * VECTOR_WIDTH);
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        const vf factor = splat(a[r * LINE]);
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = factor * column[v] + sum[r][v];
        }
    }
}

/*
 * sums [rows,PANEL] += a [depth/LINE,rows,LINE] · b [depth,PANEL]; `rows` is a constant wherever it
 * is called. Weights come from memory once, in the order of packing: `ahead` is where they will be
 * wanted next.
 */
INLINE void multiply(int rows, int64_t depth, const float *a, const float *b, float *sums,
                     bool fresh, uintptr_t ahead) {
    vf sum[TILE][VECTORS];
    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            sum[r][v] = (vf){0};
        }
    }
    if (!fresh) {
        UNROLLED
        for (int r = 0; r < rows; r++) {
            UNROLLED
            for (int v = 0; v < VECTORS; v++) {
                sum[r][v] = load(sums + r * PANEL + v * VECTOR_WIDTH);
            }
        }
    }
    for (; depth >= LINE; depth -= LINE) {
        UNROLLED
        for (int i = 0; i < AHEAD; i++) {
            __builtin_prefetch((const void *)(ahead + (uintptr_t)i * 64), 0, 2);
        }
        ahead += (uintptr_t)AHEAD * 64;
        /* Not unrolled: compilers that see several steps at once run out of registers. */
        _Pragma("GCC unroll 1") for (int step = 0; step < LINE; step++, b += PANEL) {
            multiply_step(rows, a + step, b, sum);
        }
        a += rows * LINE;
    }
    for (; depth > 0; depth--) {
        multiply_step(rows, a, b, sum);
        a++;
        b += PANEL;
    }
    UNROLLED
    for (int r = 0; r < rows; r++) {
        UNROLLED
        for (int v = 0; v < VECTORS; v++) {
            store(sums + r * PANEL + v * VECTOR_WIDTH, sum[r][v]);
        }
    }
}

#define MULTIPLY(rows)                                                                      \
    static void multiply_##rows(int64_t depth, const float *a, const float *b, float *sums, \
                                bool fresh, uintptr_t ahead) {                              \
        multiply(rows, depth, a, b, sums, fresh, ahead);                                    \
    }

MULTIPLY(1)
MULTIPLY(2)
#if TILE > 2
MULTIPLY(3)
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
#endif
#if TILE > 6
MULTIPLY(7)
MULTIPLY(8)
MULTIPLY(9)
MULTIPLY(10)
MULTIPLY(11)
MULTIPLY(12)
MULTIPLY(13)
MULTIPLY(14)
#endif

static void (*const multiplies[TILE + 1])(int64_t, const float *, const float *, float *, bool,
                                          uintptr_t) = {
    NULL,        multiply_1,  multiply_2,
#if TILE > 2
    multiply_3,  multiply_4,  multiply_5,  multiply_6,
#endif
#if TILE > 6
    multiply_7,  multiply_8,  multiply_9,  multiply_10,
    multiply_11, multiply_12, multiply_13, multiply_14,
#endif
};

/* `value` of a row's finished sums, with its residual before or after the activation. */
INLINE vf finished(enum activation activation, bool inside, vf value, vf residual) {
    return inside ? apply(activation, value + residual) : apply(activation, value) + residual;
}

/* The finished sums of one tile on their way to y: scale, bias, activation, residual. */
INLINE void finish_with(enum activation activation, const struct vector_gemm *g, int64_t row,
                        int64_t rows, int64_t column, const float *sums) {
    const int64_t width = least(PANEL, g->columns - column);
    float bias[PANEL] = {0};
    if (g->bias != NULL) {
        memcpy(bias, g->bias + column, (size_t)width * sizeof(float));
    }
    const vf scale = splat(g->scale);
    for (int64_t r = row; r < row + rows; r++, sums += PANEL) {
        float *y = g->y + r * g->y_stride + column;
        const float *residual = g->residual != NULL ? g->residual + r * g->y_stride + column : NULL;
        for (int v = 0; v < PANEL; v += VECTOR_WIDTH) {
            const vf value = load(sums + v) * scale + load(bias + v);
            if (width - v >= VECTOR_WIDTH) {
                store(y + v, residual == NULL ? apply(activation, value)
                                              : finished(activation, g->residual_inside, value,
                                                         load(residual + v)));
            } else if (width > v) {
                const size_t bytes = (size_t)(width - v) * sizeof(float);
                float part[VECTOR_WIDTH] = {0};
                if (residual != NULL) {
                    memcpy(part, residual + v, bytes);
                }
                store(part, residual == NULL
                                ? apply(activation, value)
                                : finished(activation, g->residual_inside, value, load(part)));
                memcpy(y + v, part, bytes);
            }
        }
    }
}

static void finish(const struct vector_gemm *g, int64_t row, int64_t rows, int64_t column,
                   const float *sums) {
    switch (g->activation) {
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        finish_with(ACTIVATION_NONE, g, row, rows, column, sums);
        break;
#define X(code)                                                     \
    case ACTIVATION_##code:                                         \
        finish_with(ACTIVATION_##code, g, row, rows, column, sums); \
        break;
        ACTIVATIONS_COMPUTED(X)
#undef X
    }
}

/* The lines of y that finish will write: fetched while the last products are computed. */
static void expect(const struct vector_gemm *g, int64_t row, int64_t rows, int64_t column) {
    for (int64_t r = row; r < row + rows; r++) {
        for (int64_t n = column; n < least(column + PANEL, g->columns); n += LINE) {
            __builtin_prefetch(g->y + r * g->y_stride + n, 1, 3);
        }
    }
}

struct tile {
    int64_t from, height; /* rows of the block */
};

/* Tiles of nearly the same height: no small one is left over at the end. */
static struct tile tile_at(int64_t index, int64_t tiles, int64_t rows) {
    const int64_t from = index * rows / tiles;
    return (struct tile){from, (index + 1) * rows / tiles - from};
}

/* Where a tile's part of the block of K that begins at k lies in packed A. */
static int64_t tile_offset(const struct vector_gemm *g, int64_t rows, struct tile tile, int64_t k) {
    return k * rows + tile.from * line_up(least(DEPTH_BLOCK, g->depth - k));
}

/* The rows of a tile, each `from[r]` [K], side by side line for line: written in the order of
 * memory. */
static void pack_tile(const struct vector_gemm *g, int64_t rows, struct tile tile,
                      const float *const from[TILE], float *a) {
    for (int64_t k = 0; k < g->depth; k += DEPTH_BLOCK) {
        const int64_t depth = least(DEPTH_BLOCK, g->depth - k);
        float *to = a + tile_offset(g, rows, tile, k);
        int64_t i = k;
        for (; i + LINE <= k + depth; i += LINE) {
            for (int64_t r = 0; r < tile.height; r++, to += LINE) {
                memcpy(to, from[r] + i, LINE * sizeof(float));
            }
        }
        for (int64_t r = 0; r < tile.height; r++, to += LINE) {
            memcpy(to, from[r] + i, (size_t)(k + depth - i) * sizeof(float));
        }
    }
}

static void pack_block(const struct vector_gemm *g, int64_t row, int64_t rows, float *a,
                       float *buffers) {
    const int64_t tiles = quotient_up(rows, TILE);
    for (int64_t i = 0; i < tiles; i++) {
        const struct tile tile = tile_at(i, tiles, rows);
        const float *from[TILE];
        for (int64_t r = 0; r < tile.height; r++) {
            from[r] = g->row(g->source, row + tile.from + r, buffers + r * line_up(g->depth));
        }
        pack_tile(g, rows, tile, from, a);
    }
}

/* One block of rows times the panels first..last−1 (at most COLUMN_BLOCK of them). */
static void multiply_block(const struct vector_gemm *g, int64_t row, int64_t rows, int64_t first,
                           int64_t last, const float *a, float *sums) {
    const int64_t tiles = quotient_up(rows, TILE);
    for (int64_t k = 0; k < g->depth; k += DEPTH_BLOCK) {
        const int64_t depth = least(DEPTH_BLOCK, g->depth - k);
        for (int64_t panel = first; panel < last; panel++) {
            const float *b = g->packed + packed_offset(g->depth, g->columns, k, panel);
            float *panel_sums = sums + (panel - first) * rows * PANEL;
            uintptr_t ahead = (uintptr_t)(b + depth * PANEL);
            for (int64_t i = 0; i < tiles; i++) {
                const struct tile tile = tile_at(i, tiles, rows);
                float *tile_sums = panel_sums + tile.from * PANEL;
                if (k + depth == g->depth) {
                    expect(g, row + tile.from, tile.height, panel * PANEL);
                }
                multiplies[tile.height](depth, a + tile_offset(g, rows, tile, k), b, tile_sums,
                                        k == 0, ahead);
                ahead += (uintptr_t)(depth / LINE * AHEAD * 64);
                if (k + depth == g->depth) {
                    finish(g, row + tile.from, tile.height, panel * PANEL, tile_sums);
                }
            }
        }
    }
}

static void gemm(const struct vector_gemm *g, int64_t first_row, int64_t last_row, int64_t first,
                 int64_t last, float *scratch) {
    const int64_t blocks = quotient_up(last_row - first_row, ROW_BLOCK);
    float *buffers = scratch;
    float *a = buffers + TILE * line_up(g->depth);
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t row = first_row + block * (last_row - first_row) / blocks;
        const int64_t rows = first_row + (block + 1) * (last_row - first_row) / blocks - row;
        float *sums = a + rows * line_up(g->depth);
        pack_block(g, row, rows, a, buffers);
        for (int64_t panel = first; panel < last; panel += COLUMN_BLOCK) {
            multiply_block(g, row, rows, panel, least(panel + COLUMN_BLOCK, last), a, sums);
        }
    }
}
