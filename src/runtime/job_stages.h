/* What a run asks of its devices before and after: stages to load, reports to give. Inside
 * runtime/. */
#ifndef RUNTIME_JOB_STAGES_H
#define RUNTIME_JOB_STAGES_H

#include "runtime/job.h"

/* Every stage loaded and connected with the next; from then on the cluster renews the job's lease.
 * Errors: refusals, PEER_LOST, TIMEOUT, CANCELLED, naming the device. */
NODISCARD shoal_status job_stages_prepare(const struct job_options *options, uint64_t id,
                                          struct shoal_error *error);

/*
 * Collects reports and stops the stages. All results are here, so a device that has left, or does
 * not answer, costs its report and a warning, no more. Errors: CANCELLED, CLOSED.
 */
NODISCARD shoal_status job_stages_finish(const struct job_options *options, uint64_t id,
                                         struct job_outcome *outcome, struct shoal_error *error);

#endif
