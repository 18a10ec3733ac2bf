/*
 * Attention of one head. Private to variant.h, after gemm.h, whose tiles and layouts it uses.
 *
 * As Dao et al., "FlashAttention", NeurIPS 2022, on a CPU's caches: keys and values are packed
 * once, then each tile of queries goes through its scores, their softmax and the product with the
 * values while all of that lies in the first cache. Scores of more than KEY_BLOCK keys are never
 * there at once: the greatest score and the sum so far are carried along, and the result is
 * rescaled when a greater one appears.
 *
 * Packed keys:   [panel of keys][depth][PANEL]
 * Packed values: [block of keys][panel of width][keys in block][PANEL]
 * Scores:        [panel of keys][row in tile][PANEL]
 * Probabilities: as gemm.h's packed A
 */

#define KEY_BLOCK 512

/* Where the parts of the scratch lie, in floats. */
struct attend_layout {
    int64_t values, query, scores, probabilities, result, total;
};

static struct attend_layout attend_lay_out(int64_t keys, int64_t depth, int64_t width) {
    const int64_t block = quotient_up(least(keys, KEY_BLOCK), PANEL) * PANEL;
    struct attend_layout at;
    at.values = packed_count(depth, keys);
    at.query = at.values + packed_count(keys, width);
    at.scores = at.query + TILE * line_up(depth);
    at.probabilities = at.scores + TILE * block;
    at.result = at.probabilities + TILE * block;
    at.total = at.result + TILE * quotient_up(width, PANEL) * PANEL;
    return at;
}

static int64_t attend_scratch(int64_t keys, int64_t depth, int64_t width) {
    return attend_lay_out(keys, depth, width).total;
}

static void attend_pack(const struct vector_attention *g, float *scratch) {
    const struct attend_layout at = attend_lay_out(g->keys, g->depth, g->width);
    for (int64_t n = 0; n < g->keys; n += PANEL) {
        pack_panel(g->k + n * g->k_stride, g->k_stride, g->depth, least(PANEL, g->keys - n),
                   scratch + n * g->depth);
    }
    float *to = scratch + at.values;
    for (int64_t key = 0; key < g->keys; key += KEY_BLOCK) {
        const int64_t keys = least(KEY_BLOCK, g->keys - key);
        for (int64_t c = 0; c < g->width; c += PANEL, to += keys * PANEL) {
            pack_panel_rows(g->v + key * g->v_stride + c, g->v_stride, keys,
                            least(PANEL, g->width - c), to);
        }
    }
}

/* Rows of queries, times the scale, side by side line for line, as pack_tile does. */
static void attend_queries(const struct vector_attention *g, int64_t row, int64_t rows,
                           float *query) {
    for (int64_t i = 0; i < g->depth; i += LINE) {
        const int64_t count = least(LINE, g->depth - i);
        for (int64_t r = 0; r < rows; r++, query += LINE) {
            const float *q = g->q + (row + r) * g->q_stride + i;
            for (int64_t j = 0; j < count; j++) {
                query[j] = q[j] * g->scale;
            }
        }
    }
}

/* eˣ for x ≤ 0, relative error below 3e-7; below −87.3 it is 0. */
INLINE vf decay(vf x) {
    const float magic = 12582912.0F; /* 1.5·2²³: adding it rounds to the nearest integer */
    const vi vanishes = x < splat(-87.3F);
    const vf shifted = x * 1.44269504F + splat(magic);
    const vf n = shifted - magic;
    const vf r = x - n * 0.693359375F - n * -2.12194440e-4F;
    /* minimax on |r| ≤ ln 2 / 2 with the constant term fixed at 1 */
    vf p = splat(1.3981999507e-3F);
    p = p * r + splat(8.3334519073e-3F);
    p = p * r + splat(4.1665795894e-2F);
    p = p * r + splat(1.6666665459e-1F);
    p = p * r + splat(5.0000001201e-1F);
    p = p * r + splat(1.0F);
    p = p * r + splat(1.0F);
    const vu exponent = ((vu)shifted - (vu)splat(magic)) << 23;
    return (vf)(~(vu)vanishes & ((vu)p + exponent)); /* what vanishes may have wrapped around */
}

INLINE vi lanes_below(int64_t limit) {
    vi lane;
    for (int i = 0; i < VECTOR_WIDTH; i++) {
        lane[i] = i < limit ? -1 : 0;
    }
    return lane;
}

/* Scores at n.. of a row with softcap and mask; −∞ from `limit` on. mask may be NULL. */
INLINE vf masked(const struct vector_attention *g, vf x, const float *mask, int64_t n,
                 int64_t limit) {
    if (g->softcap > 0) {
        x = hyperbolic_tangent(x / splat(g->softcap)) * splat(g->softcap);
    }
    if (limit - n >= VECTOR_WIDTH) {
        return mask != NULL ? x + load(mask + n) : x;
    }
    if (mask != NULL) {
        float part[VECTOR_WIDTH] = {0};
        memcpy(part, mask + n, (size_t)(limit - n) * sizeof(float));
        x += load(part);
    }
    return choose(lanes_below(limit - n), x, splat(-INFINITY));
}

/* One row of the scores of a block: from here on with softcap and mask; returns the greatest.
 * `scores` is the row in its first panel, panels lie `step` apart. */
static float attend_row_greatest(const struct vector_attention *g, float *scores, int64_t step,
                                 const float *mask, int64_t limit) {
    vf greatest = splat(-INFINITY);
    const bool plain = mask == NULL && !(g->softcap > 0);
    for (int64_t n = 0; n < limit; n += PANEL, scores += step) {
        UNROLLED
        for (int v = 0; v < PANEL; v += VECTOR_WIDTH) {
            if (plain && limit - n - v >= VECTOR_WIDTH) {
                greatest = larger(load(scores + v), greatest);
            } else if (limit > n + v) {
                const vf x = masked(g, load(scores + v), mask, n + v, limit);
                store(scores + v, x);
                greatest = larger(x, greatest);
            }
        }
    }
    float lanes[VECTOR_WIDTH], most = -INFINITY;
    store(lanes, greatest);
    for (int lane = 0; lane < VECTOR_WIDTH; lane++) {
        most = lanes[lane] > most ? lanes[lane] : most;
    }
    return most;
}

/* Their exponentials, in the layout of packed A, and the sum of them; 0 from `limit` to `keys`. */
static float attend_row_exponentials(const float *scores, int64_t step, int64_t limit, int64_t keys,
                                     float greatest, int64_t rows, float *probabilities) {
    vf partial[GROUP];
    zero(partial);
    const vf shift = splat(greatest);
    for (int64_t n = 0; n < keys; n += LINE, probabilities += rows * LINE) {
        const float *at = scores + n / PANEL * step + n % PANEL;
        UNROLLED
        for (int i = 0; i < GROUP; i++) {
            const int64_t here = n + i * VECTOR_WIDTH;
            vf e = {0};
            if (here < limit) { /* a last, partial register ends in −∞ */
                e = decay(load(at + i * VECTOR_WIDTH) - shift);
            }
            store(probabilities + i * VECTOR_WIDTH, e);
            partial[i] += e;
        }
    }
    return sum_lanes(partial);
}

/* What is known of a tile's rows so far. */
struct attend_rows {
    float greatest[TILE], sum[TILE];
};

/* How many of the keys from `key` on, at most `keys`, a row sees. */
static int64_t attend_limit(const struct vector_attention *g, int64_t row, int64_t key,
                            int64_t keys) {
    const int64_t seen = g->causal ? row + g->keys - g->queries + 1 - key : keys;
    return seen < 0 ? 0 : least(seen, keys);
}

/* Softmax of one block of keys for every row of a tile; results so far are scaled to match. */
static void attend_softmax(const struct vector_attention *g, int64_t row, int64_t rows, int64_t key,
                           int64_t keys, struct attend_rows *state, const struct attend_layout *at,
                           float *scratch) {
    const int64_t panels = quotient_up(g->width, PANEL);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t limit = attend_limit(g, row + r, key, keys);
        const float *mask = g->mask != NULL ? g->mask + (row + r) * g->mask_stride + key : NULL;
        float *scores = scratch + at->scores + r * PANEL;
        float *result = scratch + at->result + r * PANEL;
        const float before = state->greatest[r];
        const float here = attend_row_greatest(g, scores, rows * PANEL, mask, limit);
        const float greatest = here > before ? here : before;
        /* a row that sees nothing: exponentials of −∞ − 0 */
        const float shift = greatest == -INFINITY ? 0.0F : greatest;
        const float sum = attend_row_exponentials(scores, rows * PANEL, limit, keys, shift, rows,
                                                  scratch + at->probabilities + r * LINE);
        if (key == 0) {
            state->sum[r] = sum;
        } else if (greatest > before) {
            float factor[VECTOR_WIDTH];
            store(factor, before == -INFINITY ? (vf){0} : decay(splat(before - greatest)));
            state->sum[r] = state->sum[r] * factor[0] + sum;
            for (int64_t p = 0; p < panels; p++) {
                for (int i = 0; i < PANEL; i++) {
                    result[p * rows * PANEL + i] *= factor[0];
                }
            }
        } else {
            state->sum[r] += sum;
        }
        state->greatest[r] = greatest;
    }
}

static void attend_finish(const struct vector_attention *g, int64_t row, int64_t rows,
                          const struct attend_rows *state, const float *result) {
    for (int64_t c = 0; c < g->width; c += PANEL) {
        const int64_t width = least(PANEL, g->width - c);
        for (int64_t r = 0; r < rows; r++, result += PANEL) {
            /* a row that saw nothing has the sum 0 and results of 0 */
            const float factor = state->sum[r] == 0 ? 0.0F : 1.0F / state->sum[r];
            float *y = g->y + (row + r) * g->y_stride + c;
            for (int64_t i = 0; i < width; i++) {
                y[i] = result[i] * factor;
            }
        }
    }
}

static void attend_tile(const struct vector_attention *g, int64_t row, int64_t rows,
                        float *scratch) {
    const struct attend_layout at = attend_lay_out(g->keys, g->depth, g->width);
    const int64_t panels = quotient_up(g->width, PANEL);
    const int64_t seen = attend_limit(g, row + rows - 1, 0, g->keys); /* by the last row */
    struct attend_rows state;
    for (int64_t r = 0; r < rows; r++) {
        state.greatest[r] = -INFINITY;
        state.sum[r] = 0;
    }
    memset(scratch + at.result, 0, (size_t)(rows * panels * PANEL) * sizeof(float));
    attend_queries(g, row, rows, scratch + at.query);
    for (int64_t key = 0; key < seen; key += KEY_BLOCK) {
        const int64_t block = least(KEY_BLOCK, g->keys - key);
        const int64_t keys = least(block, seen - key);
        float *scores = scratch + at.scores;
        for (int64_t n = 0; n < keys; n += PANEL, scores += rows * PANEL) {
            const float *b = scratch + (key + n) * g->depth;
            multiplies[rows](g->depth, scratch + at.query, b, scores, true,
                             (uintptr_t)(b + g->depth * PANEL));
        }
        attend_softmax(g, row, rows, key, keys, &state, &at, scratch);
        const float *v = scratch + at.values + key * panels * PANEL;
        for (int64_t p = 0; p < panels; p++, v += block * PANEL) {
            multiplies[rows](keys, scratch + at.probabilities, v,
                             scratch + at.result + p * rows * PANEL, key == 0,
                             (uintptr_t)(v + block * PANEL));
        }
    }
    attend_finish(g, row, rows, &state, scratch + at.result);
}

static void attend(const struct vector_attention *g, int64_t first, int64_t last, float *scratch) {
    const int64_t tiles = quotient_up(last - first, TILE);
    for (int64_t i = 0; i < tiles; i++) {
        const struct tile tile = tile_at(i, tiles, last - first);
        attend_tile(g, first + tile.from, tile.height, scratch);
    }
}
