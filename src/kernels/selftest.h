/*
 * Whether a kernel set computes what the reference computes, on this very processor: a few small
 * shapes of the ops that models use. A fast look for people who wonder about a device, no proof.
 */
#ifndef KERNELS_SELFTEST_H
#define KERNELS_SELFTEST_H

#include "kernels/kernel.h"

/*
 * *ops: how many descs the set supports and was tried on. Some hundred thousand operations. Errors:
 * MISMATCH (names the op, the value and what the reference says), NO_MEMORY, INTERNAL.
 */
NODISCARD shoal_status kernel_self_test(const struct kernel_ops *set, int threads, int *ops,
                                        struct shoal_error *error);

#endif
