/* Bringing a run's weights to devices that do not share the owner's disk. Inside runtime/. */
#ifndef RUNTIME_JOB_WEIGHTS_H
#define RUNTIME_JOB_WEIGHTS_H

#include "runtime/job.h"

/*
 * Every device of the placement gets the contents of its stage's tensors and the manifest, from
 * options->origin or from a device that has them. *out as distribution_run, also on errors.
 * Errors: distribution_run's; NOT_FOUND (the file has no tensor of a name that the model needs).
 */
NODISCARD shoal_status job_weights_distribute(const struct job_options *options,
                                              struct distribution_outcome *out,
                                              struct shoal_error *error);

#endif
