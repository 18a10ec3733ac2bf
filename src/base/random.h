/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC'11). A number depends only on (seed, stream name, index), so weights and inputs are
 * the same on whatever device and in whatever order they are made.
 */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* One block: 4 words from a 128-bit counter and a 64-bit key. */
void random_block(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* A stream's key from a seed and a name (64-bit FNV-1a of the name mixed with the seed). */
uint64_t random_stream(uint64_t seed, const char *name);

uint32_t random_u32(uint64_t stream, uint64_t index);

/* values [count] f32, normal with mean 0 and the given standard deviation (Box–Muller); element i
 * depends on first+i. */
void random_normal(uint64_t stream, uint64_t first, float deviation, float *values, size_t count);

/* values [count] f32, uniform in [low, high). */
void random_uniform(uint64_t stream, uint64_t first, float low, float high, float *values,
                    size_t count);

#endif
