#include "kernels/vector/narrow.h"

#include "kernels/isa.h"
#include "platform/cpu.h"

const struct narrow_ops *narrow_get(enum precision precision) {
    struct cpu_features features;
    cpu_features_get(&features);
#if defined(__x86_64__)
    switch (isa_current()) {
    case ISA_AVX512:
        if (precision == PRECISION_BF16 && features.avx512_bf16) {
            return &narrow_avx512_bf16;
        }
        if (precision == PRECISION_I8 && features.avx512_vnni) {
            return &narrow_avx512_vnni;
        }
        return &narrow_avx512;
    case ISA_AVX2:
        return &narrow_avx2;
    case ISA_BASELINE:
    case ISA_NEON:
    case ISA_COUNT:
        break;
    }
#elif defined(__aarch64__)
    if (precision == PRECISION_I8 && features.dotprod) {
        return &narrow_dotprod;
    }
#endif
    (void)precision;
    return &narrow_baseline;
}
