/* What this machine is. */
#ifndef PLATFORM_CPU_H
#define PLATFORM_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_features {
    bool avx2, fma, avx512 /* F, BW, VL and DQ */, avx512_bf16, avx512_vnni, neon;
    bool dotprod; /* NEON's dot product of bytes */
    bool sha;     /* instructions for SHA-256, and SSE 4.1 */
};

void cpu_features_get(struct cpu_features *out);
const char *cpu_model_name(void); /* e.g. "AMD EPYC 9004"; "unknown" if not told */
int cpu_usable_cores(void);       /* of the affinity mask, at least 1 */

size_t memory_total_bytes(void);
size_t memory_available_bytes(void);   /* of the host or the cgroup, whichever is less */
size_t memory_resident_bytes(void);    /* this process now */
size_t memory_resident_peak(void);     /* VmHWM */
void memory_resident_peak_reset(void); /* where the kernel allows it */
void memory_trim(void);                /* gives freed heap back to the system */

#endif
