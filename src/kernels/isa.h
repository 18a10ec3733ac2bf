/*
 * Instruction sets: what the processor has, and the cap that all kernel sets keep to.
 *
 * The cap must be set before the first kernel is created; OpenBLAS and oneDNN read theirs when they
 * are loaded, so isa_environment names the variables a process must be started with (isa_reexec
 * does that for the present one).
 */
#ifndef KERNELS_ISA_H
#define KERNELS_ISA_H

#include "base/status.h"

#define ISA_LIST(X)                                                                             \
    X(BASELINE, "baseline") /* what every processor of the architecture has */                  \
    X(AVX2, "avx2")         /* AVX2 and FMA */                                                  \
    X(AVX512, "avx512")     /* AVX-512 F, BW, VL, DQ; VNNI and BF16 where they keep the bits */ \
    X(NEON, "neon")

enum isa {
#define X(code, name) ISA_##code,
    ISA_LIST(X)
#undef X
        ISA_COUNT
};

const char *isa_name(enum isa isa);

enum isa isa_native(void);  /* the best this processor has */
enum isa isa_current(void); /* native, or the cap */

/* name: "native" or one of ISA_LIST. Errors: USAGE (unknown name), UNSUPPORTED (the processor lacks
 * it). */
NODISCARD shoal_status isa_parse(const char *name, enum isa *out, struct shoal_error *error);

/*
 * Makes isa the cap. If the environment of this process lacks what the libraries need for it, the
 * variables are set and the program executed again with the same arguments (does not return then).
 */
NODISCARD shoal_status isa_cap(enum isa isa, char **argv, struct shoal_error *error);

#endif
