#include "kernels/isa.h"

#include "base/assert.h"
#include "platform/cpu.h"
#include "platform/process.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
#define X(code, name) [ISA_##code] = (name),
    ISA_LIST(X)
#undef X
};
_Static_assert(sizeof names / sizeof names[0] == ISA_COUNT, "a name for every instruction set");

/* What the libraries read when they are loaded. oneDNN has changed its prefix: both are set. */
static const char *const variables[] = {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
                                        "OPENBLAS_CORETYPE"};
enum { VARIABLE_COUNT = sizeof variables / sizeof variables[0] };

static const char *const values[ISA_COUNT][VARIABLE_COUNT] = {
    [ISA_BASELINE] = {"SSE41", "SSE41", "Nehalem"},
    [ISA_AVX2] = {"AVX2", "AVX2", "Haswell"},
    [ISA_AVX512] = {"AVX512_CORE", "AVX512_CORE", "SkylakeX"},
    [ISA_NEON] = {NULL, NULL, "ARMV8"},
};

/* Set in the environment of a program executed again, so that it cannot happen twice. */
static const char guard[] = "SHOAL_ISA_CAPPED";

static atomic_int cap = ISA_COUNT; /* ISA_COUNT: none */

const char *isa_name(enum isa isa) {
    ASSERT((unsigned)isa < ISA_COUNT);
    return names[isa];
}

enum isa isa_native(void) {
    struct cpu_features features;
    cpu_features_get(&features);
    if (features.avx512 && features.avx2 && features.fma) {
        return ISA_AVX512;
    }
    if (features.avx2 && features.fma) {
        return ISA_AVX2;
    }
    return features.neon ? ISA_NEON : ISA_BASELINE;
}

enum isa isa_current(void) {
    const int capped = atomic_load_explicit(&cap, memory_order_relaxed);
    return capped == ISA_COUNT ? isa_native() : (enum isa)capped;
}

static bool has(enum isa isa) {
    const enum isa native = isa_native();
    if (native == ISA_NEON || isa == ISA_NEON) {
        return isa == native;
    }
    return isa <= native; /* on x86-64 each contains the ones before it */
}

shoal_status isa_parse(const char *name, enum isa *out, struct shoal_error *error) {
    if (strcmp(name, "native") == 0) {
        *out = isa_native();
        return SHOAL_OK;
    }
    for (int i = 0; i < ISA_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            if (!has((enum isa)i)) {
                return error_set(error, SHOAL_UNSUPPORTED,
                                 "this processor does not have the instruction set %s (it has %s)",
                                 name, names[isa_native()]);
            }
            *out = (enum isa)i;
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_USAGE,
                     "unknown instruction set \"%s\": native, baseline, avx2, avx512 or neon",
                     name);
}

static bool environment_ready(enum isa isa) {
    for (int i = 0; i < VARIABLE_COUNT; i++) {
        const char *want = values[isa][i];
        const char *have = getenv(variables[i]);
        if (want != NULL && (have == NULL || strcmp(have, want) != 0)) {
            return false;
        }
    }
    return true;
}

static shoal_status execute_again(enum isa isa, char **argv, struct shoal_error *error) {
    char path[PATH_MAX];
    TRY(process_self_path(path, sizeof path, error));
    for (int i = 0; i < VARIABLE_COUNT; i++) {
        if (values[isa][i] != NULL && setenv(variables[i], values[isa][i], 1) != 0) {
            return error_errno(error, errno, "cannot set %s", variables[i]);
        }
    }
    if (setenv(guard, names[isa], 1) != 0) {
        return error_errno(error, errno, "cannot set %s", guard);
    }
    (void)execv(path, argv);
    return error_errno(error, errno, "cannot execute %s again", path);
}

shoal_status isa_cap(enum isa isa, char **argv, struct shoal_error *error) {
    ASSERT((unsigned)isa < ISA_COUNT);
    if (!has(isa)) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "this processor does not have the instruction set %s (it has %s)",
                         names[isa], names[isa_native()]);
    }
    /* Uncapped libraries take the best there is: nothing to arrange, unless a parent capped them
     * lower. */
    bool inherited = false;
    for (int i = 0; i < VARIABLE_COUNT; i++) {
        inherited = inherited || getenv(variables[i]) != NULL;
    }
    if ((isa != isa_native() || inherited) && !environment_ready(isa)) {
        const char *before = getenv(guard);
        if (before != NULL && strcmp(before, names[isa]) == 0) {
            return error_set(error, SHOAL_INTERNAL,
                             "the environment lost its instruction set cap %s on the way", before);
        }
        return execute_again(isa, argv, error);
    }
    atomic_store_explicit(&cap, (int)isa, memory_order_relaxed);
    return SHOAL_OK;
}
