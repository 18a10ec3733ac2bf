/*
 * How numbers lie in memory. Private to narrow_variant.h.
 *
 * The inner product works on *words* of 32 bits that hold STEP consecutive values of K: of packed A
 * always, of packed B either as they lie or widened on the way, a panel's block at a time:
 *
 *   precision  word of A                     word of B                   B in memory
 *   BF16       2 bf16                        2 bf16                      as it is (AVX512_BF16)
 *              f32                           f32                         bf16, pairs swapped
 *   I8         4 bytes                       4 bytes                     as it is (VNNI, dot
 * product) 2 i16                         2 i16                       2 bytes (x86-64) i32 i32 1
 * byte W8         f32                           f32                         1 byte W4         f32
 * f32                         4 bits; f16 scales
 *
 * Packed B: [block of words][panel][word in block][PANEL], then a scale f32 and a sum of weights
 * i32 for each column. Of W4: [block][panel][group of 32 in block] PANEL f16 scales and 16 lines of
 * PANEL bytes, which hold value j in the low four bits and j + 16 in the high ones.
 */
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if VECTOR_WIDTH == 16
#define PANEL 32
#define TILE 14
#define WORD_BLOCK 512
#elif VECTOR_WIDTH == 8
#define PANEL 16
#define TILE 6
#define WORD_BLOCK 256
#elif defined(__aarch64__)
#define PANEL 16
#define TILE 6
#define WORD_BLOCK 256
#else
#define PANEL 16
#define TILE 2
#define WORD_BLOCK 256
#endif

#define VECTORS (PANEL / VECTOR_WIDTH)
#define LINE 16
#define AHEAD 4                    /* lines of B fetched ahead per LINE words */
#define ROW_BLOCK 224              /* packed A of one block of words stays in a 1 MiB cache */
#define COLUMN_BLOCK (128 / PANEL) /* panels */
#define WIDE_CHUNK 64 /* words widened at a time for few rows: stays in the first cache */
#define LONGEST_STEP 4

#if defined(__AVX512BF16__)
#define BF16_STEP 2
#define BF16_BYTES 4 /* of a word of B in memory */
#else
#define BF16_STEP 1
#define BF16_BYTES 2
#endif

#if defined(__AVX512VNNI__)
#define I8_STEP 4
#define I8_OFFSET 0 /* what is taken off a quantised activation in a word of A */
#define I8_WIDENED 0
#elif defined(__ARM_FEATURE_DOTPROD)
#define I8_STEP 4
#define I8_OFFSET 128
#define I8_WIDENED 0
#elif defined(__SSE2__)
#define I8_STEP 2
#define I8_OFFSET 128
#define I8_WIDENED 1
#else
#define I8_STEP 1
#define I8_OFFSET 128
#define I8_WIDENED 1
#endif

typedef int32_t vi_memory __attribute__((vector_size(VECTOR_WIDTH * 4), aligned(4), may_alias));
typedef int8_t vb __attribute__((vector_size(VECTOR_WIDTH)));
typedef int8_t vb_memory __attribute__((vector_size(VECTOR_WIDTH), aligned(1), may_alias));
typedef uint8_t vu_memory __attribute__((vector_size(VECTOR_WIDTH), aligned(1), may_alias));
typedef uint16_t vh_memory __attribute__((vector_size(VECTOR_WIDTH * 2), aligned(2), may_alias));

INLINE vi load_words(const uint32_t *p) {
    return *(const vi_memory *)p;
}

INLINE void store_words(uint32_t *p, vi x) {
    *(vi_memory *)p = x;
}

/*
 * VECTOR_WIDTH bytes or halves as integers, and the low bytes of integers. What compilers make of
 * __builtin_convertvector between elements of such unlike sizes goes through memory.
 */
INLINE vi load_signed(const unsigned char *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i_u *)(const void *)p));
#else
    return __builtin_convertvector(*(const vb_memory *)p, vi);
#endif
}

INLINE vi load_unsigned(const unsigned char *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)(const void *)p));
#else
    return __builtin_convertvector(*(const vu_memory *)p, vi);
#endif
}

INLINE vi load_halves(const unsigned char *p) {
#if defined(__AVX512F__)
    return (vi)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)(const void *)p));
#elif defined(__AVX2__)
    return (vi)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)(const void *)p));
#else
    return __builtin_convertvector(*(const vh_memory *)p, vi);
#endif
}

INLINE void store_bytes(void *p, vi x) {
#if defined(__AVX512F__)
    _mm_storeu_si128((__m128i_u *)p, _mm512_cvtepi32_epi8((__m512i)x));
#elif defined(__AVX2__)
    const __m256i lowest = _mm256_set1_epi32(0x0C080400); /* of each half's four integers */
    const __m256i halves = _mm256_shuffle_epi8((__m256i)x, lowest);
    const __m128i both =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    _mm_storel_epi64((__m128i_u *)p, both);
#else
    *(vb_memory *)p = __builtin_convertvector(x, vb);
#endif
}

INLINE vi splat_word(int32_t x) {
    return x - (vi){0};
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t quotient_up(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

static int64_t line_up(int64_t count) {
    return quotient_up(count, LINE) * LINE;
}

static int64_t step_of(enum precision precision) {
    return precision == PRECISION_BF16 ? BF16_STEP : precision == PRECISION_I8 ? I8_STEP : 1;
}

/* Words of one row of K values. bf16 in pairs: a swapped pair may not fall apart. */
static int64_t words_of(enum precision precision, int64_t depth) {
    return precision == PRECISION_BF16 ? quotient_up(depth, 2) * 2 / BF16_STEP
                                       : quotient_up(depth, step_of(precision));
}

static bool widened(enum precision precision) {
    return precision == PRECISION_BF16 ? BF16_STEP == 1
                                       : precision != PRECISION_I8 || I8_WIDENED == 1;
}

/* Bytes of a panel's `words` words of B. */
static int64_t panel_bytes(enum precision precision, int64_t words) {
    switch (precision) {
    case PRECISION_BF16:
        return words * PANEL * BF16_BYTES;
    case PRECISION_I8:
        return words * PANEL * I8_STEP;
    case PRECISION_W4:
        return quotient_up(words, QUANT_GROUP) * PANEL * (QUANT_GROUP / 2 + 2);
    case PRECISION_W8:
    case PRECISION_F32:
    case PRECISION_COUNT:
        break;
    }
    return words * PANEL;
}

/* Where a panel's block that begins at word `first` lies. */
static int64_t block_offset(enum precision precision, int64_t words, int64_t panels, int64_t first,
                            int64_t panel) {
    return panels * (first / WORD_BLOCK) * panel_bytes(precision, WORD_BLOCK) +
           panel * panel_bytes(precision, least(WORD_BLOCK, words - first));
}

/* Of all panels: where the scales begin. */
static int64_t weights_bytes(enum precision precision, int64_t depth, int64_t columns) {
    const int64_t words = words_of(precision, depth);
    const int64_t panels = quotient_up(columns, PANEL);
    const int64_t rest = words % WORD_BLOCK;
    const int64_t bytes = panels * (words / WORD_BLOCK * panel_bytes(precision, WORD_BLOCK) +
                                    panel_bytes(precision, rest));
    return quotient_up(bytes, 64) * 64;
}

static bool has_scales(enum precision precision) {
    return precision == PRECISION_I8 || precision == PRECISION_W8;
}

static size_t packed_bytes(enum precision precision, int64_t depth, int64_t columns) {
    const int64_t sums = precision == PRECISION_I8 ? 2 : has_scales(precision) ? 1 : 0;
    return (size_t)(weights_bytes(precision, depth, columns) +
                    sums * quotient_up(columns, PANEL) * PANEL * 4);
}
