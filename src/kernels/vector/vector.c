#include "kernels/vector/vector.h"

#include "kernels/isa.h"

const struct vector_ops *vector_get(void) {
#if defined(__x86_64__)
    switch (isa_current()) {
    case ISA_AVX512:
        return &vector_avx512;
    case ISA_AVX2:
        return &vector_avx2;
    case ISA_BASELINE:
    case ISA_NEON:
    case ISA_COUNT:
        break;
    }
#endif
    return &vector_baseline;
}

void vector_parallel(int count, void (*work)(void *context, int index, int count), void *context) {
    if (count == 1) {
        work(context, 0, 1);
        return;
    }
    /* A loop rather than a region: it stays complete when OpenMP grants fewer threads. */
#ifdef _OPENMP
#pragma omp parallel for schedule(static, 1) num_threads(count)
#endif
    for (int index = 0; index < count; index++) {
        work(context, index, count);
    }
}
