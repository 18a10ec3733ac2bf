#include "platform/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cpu_features_get(struct cpu_features *out) {
    memset(out, 0, sizeof *out);
#if defined(__x86_64__)
    __builtin_cpu_init();
    out->avx2 = __builtin_cpu_supports("avx2") != 0;
    out->fma = __builtin_cpu_supports("fma") != 0;
    out->avx512 =
        __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
        __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
    out->avx512_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
    out->avx512_vnni = __builtin_cpu_supports("avx512vnni") != 0;
    unsigned a, b, c, d;
    out->sha = __builtin_cpu_supports("sse4.1") != 0 && __builtin_cpu_supports("ssse3") != 0 &&
               __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
#elif defined(__aarch64__)
    out->neon = true;
    out->dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
}

/* First "name : value" line of a /proc file; value is trimmed. */
static bool proc_value(const char *path, const char *name, char *value, size_t value_bytes) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char line[512];
    bool found = false;
    const size_t length = strlen(name);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, length) == 0) {
            const char *start = strchr(line, ':');
            if (start != NULL) {
                start += 1 + strspn(start + 1, " \t");
                (void)snprintf(value, value_bytes, "%.*s", (int)strcspn(start, "\n"), start);
                found = true;
            }
        }
    }
    (void)fclose(file);
    return found;
}

const char *cpu_model_name(void) {
    static char name[128];
    if (name[0] == '\0' && !proc_value("/proc/cpuinfo", "model name", name, sizeof name)) {
        (void)snprintf(name, sizeof name, "unknown");
    }
    return name;
}

int cpu_usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int count = CPU_COUNT(&set);
        if (count > 0) {
            return count;
        }
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

size_t memory_total_bytes(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (size_t)pages * (size_t)size : 0;
}

static size_t proc_kib(const char *path, const char *name) {
    char value[64];
    return proc_value(path, name, value, sizeof value) ? (size_t)strtoull(value, NULL, 10) * 1024
                                                       : 0;
}

static bool read_number(const char *path, size_t *out) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    unsigned long long value;
    const bool read = fscanf(file, "%llu", &value) == 1;
    (void)fclose(file);
    if (read) {
        *out = (size_t)value;
    }
    return read;
}

/* Bytes that "name N" lines of a file give, added up; files that were read count as usage of a
 * cgroup but give way to who needs the memory. */
static size_t cgroup_file_cache(const char *path, const char *const names[2]) {
    FILE *file = fopen(path, "re");
    size_t sum = 0;
    char name[64];
    unsigned long long value;
    while (file != NULL && fscanf(file, "%63s %llu", name, &value) == 2) {
        if (strcmp(name, names[0]) == 0 || strcmp(name, names[1]) == 0) {
            sum += value;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return sum;
}

/* What the present cgroup still leaves, for v2 and v1; SIZE_MAX where there is no limit. */
static size_t cgroup_available(void) {
    static const struct {
        const char *limit, *usage, *stat, *cache[2];
    } versions[] = {
        {"/sys/fs/cgroup/memory.max",
         "/sys/fs/cgroup/memory.current",
         "/sys/fs/cgroup/memory.stat",
         {"inactive_file", "active_file"}},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes",
         "/sys/fs/cgroup/memory/memory.usage_in_bytes",
         "/sys/fs/cgroup/memory/memory.stat",
         {"total_inactive_file", "total_active_file"}},
    };
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        size_t limit, usage;
        if (read_number(versions[i].limit, &limit) && read_number(versions[i].usage, &usage)) {
            const size_t cache = cgroup_file_cache(versions[i].stat, versions[i].cache);
            const size_t used = usage > cache ? usage - cache : 0;
            return limit > used ? limit - used : 0;
        }
    }
    return SIZE_MAX;
}

size_t memory_available_bytes(void) {
    const size_t host = proc_kib("/proc/meminfo", "MemAvailable");
    const size_t group = cgroup_available();
    return host < group ? host : group;
}

size_t memory_resident_bytes(void) {
    return proc_kib("/proc/self/status", "VmRSS");
}

size_t memory_resident_peak(void) {
    return proc_kib("/proc/self/status", "VmHWM");
}

void memory_resident_peak_reset(void) {
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (file != NULL) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
}

/* The sanitizers put their own allocator in glibc's place, which is then not even initialised. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_ALLOCATOR
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OTHER_ALLOCATOR
#endif
#endif

void memory_trim(void) {
#ifndef OTHER_ALLOCATOR
    (void)malloc_trim(0);
#endif
}
