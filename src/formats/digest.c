/*
 * libsodium's SHA-256 is portable C; where the processor has instructions for it, whole blocks go
 * through them instead (five times the rate), and libsodium keeps what is left over, the padding
 * and the count. That this fits libsodium's state is checked once, at the first use.
 */
#include "formats/digest.h"

#include "platform/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define BLOCK ((size_t)64)

#if defined(__x86_64__)
#include <immintrin.h>

static const uint32_t round_constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* FIPS 180-4 with Intel's SHA extensions: the state as ABEF and CDGH, four words of the schedule in
 * a register. */
__attribute__((target("sha,sse4.1"))) static void
compress(uint32_t state[8], const unsigned char *data, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    const __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)&state[0]);
    const __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)&state[4]);
    const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; blocks > 0; blocks--, data += BLOCK) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i words[4];
        for (int i = 0; i < 4; i++) {
            words[i] = _mm_shuffle_epi8(
                _mm_loadu_si128((const __m128i *)(const void *)(data + (size_t)16 * (size_t)i)),
                swap);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            const __m128i keyed = _mm_add_epi32(
                words[i & 3],
                _mm_load_si128(
                    (const __m128i *)(const void *)&round_constants[(size_t)4 * (size_t)i]));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, keyed);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(keyed, 0x0e));
            if (i < 12) { /* W[t] = σ1(W[t−2]) + W[t−7] + σ0(W[t−15]) + W[t−16] */
                const __m128i sum =
                    _mm_add_epi32(_mm_sha256msg1_epu32(words[i & 3], words[(i + 1) & 3]),
                                  _mm_alignr_epi8(words[(i + 3) & 3], words[(i + 2) & 3], 4));
                words[i & 3] = _mm_sha256msg2_epu32(sum, words[(i + 3) & 3]);
            }
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)&state[0], _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)&state[4], _mm_alignr_epi8(dchg, feba, 8));
}

static bool has_instructions(void) {
    struct cpu_features features;
    cpu_features_get(&features);
    return features.sha;
}
#else
static void compress(uint32_t state[8], const unsigned char *data, size_t blocks) {
    (void)state;
    (void)data;
    (void)blocks;
}

static bool has_instructions(void) {
    return false;
}
#endif

/* As libsodium's update; bytes that are not whole blocks are libsodium's. */
static void update_fast(crypto_hash_sha256_state *state, const unsigned char *bytes, size_t size) {
    const size_t kept = (size_t)(state->count >> 3) % BLOCK;
    const size_t first = kept == 0 ? 0 : BLOCK - kept < size ? BLOCK - kept : size;
    if (first > 0) {
        (void)crypto_hash_sha256_update(state, bytes, first);
    }
    const size_t blocks = (size - first) / BLOCK;
    if (blocks > 0) {
        compress(state->state, bytes + first, blocks);
        state->count += (uint64_t)blocks * BLOCK * 8; /* bits */
    }
    const size_t done = first + blocks * BLOCK;
    if (done < size) {
        (void)crypto_hash_sha256_update(state, bytes + done, size - done);
    }
}

/* Both ways give the same for a text of several blocks in uneven pieces. */
static bool ways_agree(void) {
    unsigned char text[300], slow[crypto_hash_sha256_BYTES], fast[crypto_hash_sha256_BYTES];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (unsigned char)(7 * i + 3);
    }
    crypto_hash_sha256_state state;
    (void)crypto_hash_sha256_init(&state);
    update_fast(&state, text, 5);
    update_fast(&state, text + 5, 200);
    update_fast(&state, text + 205, sizeof text - 205);
    (void)crypto_hash_sha256_final(&state, fast);
    (void)crypto_hash_sha256(slow, text, sizeof text);
    return memcmp(slow, fast, sizeof slow) == 0;
}

static bool use_fast(void) {
    static atomic_int known; /* 0: not yet; 1: no; 2: yes */
    int use = atomic_load_explicit(&known, memory_order_relaxed);
    if (use == 0) {
        use = has_instructions() && ways_agree() ? 2 : 1;
        atomic_store_explicit(&known, use, memory_order_relaxed);
    }
    return use == 2;
}

void digest_init(struct digest *digest) {
    (void)crypto_hash_sha256_init(&digest->state); /* these three always return 0 */
}

void digest_update(struct digest *digest, const void *bytes, size_t size) {
    if (size >= BLOCK && use_fast()) {
        update_fast(&digest->state, bytes, size);
    } else if (size > 0) {
        (void)crypto_hash_sha256_update(&digest->state, bytes, size);
    }
}

void digest_final(struct digest *digest, char text[DIGEST_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char hash[crypto_hash_sha256_BYTES];
    (void)crypto_hash_sha256_final(&digest->state, hash);
    for (size_t i = 0; i < sizeof hash; i++) {
        text[2 * i] = digits[hash[i] >> 4];
        text[2 * i + 1] = digits[hash[i] & 15];
    }
    text[2 * sizeof hash] = '\0';
}
