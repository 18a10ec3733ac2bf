/* What doctor.c, doctor_lost.c and doctor_peers.c share. */
#ifndef RUNTIME_DOCTOR_INTERNAL_H
#define RUNTIME_DOCTOR_INTERNAL_H

#include "runtime/doctor.h"

/* A finding without words yet; good until the next one is added. */
NODISCARD shoal_status doctor_add(struct doctor_report *report, uint32_t device,
                                  enum doctor_layer layer, enum doctor_level level,
                                  struct doctor_finding **out, struct shoal_error *error);
void doctor_say(struct doctor_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void doctor_fix(struct doctor_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* doctor_peers.c: every device dials every other one. */
NODISCARD shoal_status doctor_examine_peers(const struct doctor_options *options,
                                            struct doctor_report *report,
                                            struct shoal_error *error);

#endif
