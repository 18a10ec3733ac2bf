#include "base/random.h"

#include <math.h>

void random_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)UINT32_C(0xD2511F53) * c0;
        const uint64_t p1 = (uint64_t)UINT32_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t random_stream(uint64_t seed, const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *p = name; *p != '\0'; p++) {
        hash = (hash ^ (uint64_t)(unsigned char)*p) * UINT64_C(0x100000001b3);
    }
    /* splitmix64's finaliser: neighbouring seeds give unrelated streams */
    uint64_t z = hash ^ (seed * UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static void stream_block(uint64_t stream, uint64_t block, uint32_t out[4]) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0};
    const uint32_t key[2] = {(uint32_t)stream, (uint32_t)(stream >> 32)};
    random_block(counter, key, out);
}

uint32_t random_u32(uint64_t stream, uint64_t index) {
    uint32_t words[4];
    stream_block(stream, index / 4, words);
    return words[index % 4];
}

static float unit_open(uint32_t word) { /* (0, 1]: its logarithm is finite */
    return ((float)(word >> 8) + 1.0F) * 0x1p-24F;
}

static float unit_half_open(uint32_t word) { /* [0, 1) */
    return (float)(word >> 8) * 0x1p-24F;
}

void random_normal(uint64_t stream, uint64_t first, float deviation, float *values, size_t count) {
    const float two_pi = 6.28318530717958647692F;
    size_t i = 0;
    while (i < count) {
        uint32_t words[4];
        float normal[4];
        stream_block(stream, (first + i) / 4, words);
        for (size_t pair = 0; pair < 2; pair++) {
            const float radius = sqrtf(-2.0F * logf(unit_open(words[2 * pair])));
            const float angle = two_pi * unit_half_open(words[2 * pair + 1]);
            normal[2 * pair] = radius * cosf(angle);
            normal[2 * pair + 1] = radius * sinf(angle);
        }
        for (size_t lane = (size_t)((first + i) % 4); lane < 4 && i < count; lane++, i++) {
            values[i] = deviation * normal[lane];
        }
    }
}

void random_uniform(uint64_t stream, uint64_t first, float low, float high, float *values,
                    size_t count) {
    size_t i = 0;
    while (i < count) {
        uint32_t words[4];
        stream_block(stream, (first + i) / 4, words);
        for (size_t lane = (size_t)((first + i) % 4); lane < 4 && i < count; lane++, i++) {
            values[i] = low + (high - low) * unit_half_open(words[lane]);
        }
    }
}
