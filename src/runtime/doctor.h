/*
 * What is wrong with a cluster, layer by layer, and what mends it. Each device is looked at as far
 * as it can be reached: what cannot be known because a layer below is broken is not in the report.
 *
 * Takes seconds; some tens where devices do not reach each other. Threads: the owner thread's.
 */
#ifndef RUNTIME_DOCTOR_H
#define RUNTIME_DOCTOR_H

#include "runtime/cluster.h"

#define DOCTOR_LAYERS(X)                                              \
    X(NAME, "name")       /* the address's host resolves */           \
    X(PORT, "port")       /* somebody listens there */                \
    X(KEY, "key")         /* both keys are accepted */                \
    X(VERSION, "version") /* of the wire format and of the program */ \
    X(ANSWERS, "answers") /* it says what it is */                    \
    X(CLOCK, "clock")                                                 \
    X(MEMORY, "memory")                                               \
    X(DISK, "disk")                                                   \
    X(KERNELS, "kernels") /* compute what the reference does */       \
    X(LINK, "link")       /* with this machine */                     \
    X(PEERS, "peers")     /* the other devices can be reached from it */

enum doctor_layer {
#define X(code, name) DOCTOR_##code,
    DOCTOR_LAYERS(X)
#undef X
};

enum doctor_level { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_BROKEN };

const char *doctor_layer_name(enum doctor_layer layer);
const char *doctor_level_name(enum doctor_level level); /* "ok", "warning", "broken" */

struct doctor_finding {
    uint32_t device;
    enum doctor_layer layer;
    enum doctor_level level;
    char text[224];
    char fix[320]; /* a command or a line that mends it, "" if none is needed or known */
};

struct doctor_report {
    struct doctor_finding *findings; /* by device, then layer */
    uint32_t count, capacity;
};

struct doctor_options {
    struct cluster *cluster; /* connected partly */
    /* How this machine is called in the fix of a missing line on an allow-list. */
    const char *client_name;
    void (*say)(void *context, const char *what);
    void *context;
};

/* Errors: NO_MEMORY, CANCELLED, CLOSED. */
NODISCARD shoal_status doctor_examine(const struct doctor_options *options,
                                      struct doctor_report *out, struct shoal_error *error);
void doctor_report_fini(struct doctor_report *report);

/* ---- its parts, apart so that they can be tested without a network ---- */

/* Of a device that could not be reached: which layers hold, which is broken, and what mends it. */
NODISCARD shoal_status doctor_explain_lost(const struct doctor_options *options, uint32_t device,
                                           struct doctor_report *report, struct shoal_error *error);

/* Of an answer to "info": version, memory, disk. */
NODISCARD shoal_status doctor_explain_info(const struct doctor_options *options, uint32_t device,
                                           struct doctor_report *report, struct shoal_error *error);

#endif
