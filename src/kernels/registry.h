/*
 * Which kernel sets there are, which one an op uses, and what `auto` measured.
 *
 * A choice maps kernel keys to a kernel set's name. It is made once per cluster (on the uncut
 * graph) and handed to every device, so that all compute the same bits; it is stored with the
 * profile.
 */
#ifndef KERNELS_REGISTRY_H
#define KERNELS_REGISTRY_H

#include "kernels/kernel.h"

/* All sets, NULL-terminated, in the general order of preference. */
const struct kernel_ops *const *kernel_sets(void);
/* The same in the order of preference for a desc, under the present instruction set cap. */
const struct kernel_ops *const *kernel_sets_for(const struct kernel_desc *desc);
const struct kernel_ops *kernel_set_find(const char *name); /* NULL if unknown */

/* The libraries whose versions decide bits: "onednn 2.6.3, openblas 0.3.21"; no oneDNN where it was
 * left out. */
const char *kernel_libraries(void);

/* key → set name; grows only. */
struct kernel_choice;

NODISCARD shoal_status kernel_choice_create(struct kernel_choice **out, struct shoal_error *error);
void kernel_choice_destroy(struct kernel_choice *choice);
/* A set for every key; an op that the set does not support falls to the next that does ("reference"
 * supports all). */
NODISCARD shoal_status kernel_choice_set_default(struct kernel_choice *choice, const char *set_name,
                                                 struct shoal_error *error);
NODISCARD shoal_status kernel_choice_put(struct kernel_choice *choice, const char *key,
                                         const char *set_name, struct shoal_error *error);
size_t kernel_choice_count(const struct kernel_choice *choice);
void kernel_choice_at(const struct kernel_choice *choice, size_t index, const char **key,
                      const char **set_name);

/* The set for a desc: its entry, else the default, else the first of kernel_sets_for that supports
 * it. Never NULL. choice may be NULL: no entries, no default. */
const struct kernel_ops *kernel_choice_get(const struct kernel_choice *choice,
                                           const struct kernel_desc *desc);

/*
 * Median seconds of one run of the desc on a set, weights streamed from memory as in a real model
 * (caches are flushed between runs). repeats ≥ 1. Errors: UNSUPPORTED, NO_MEMORY, INTERNAL.
 */
NODISCARD shoal_status kernel_measure(const struct kernel_desc *desc, const struct kernel_ops *set,
                                      int repeats, double *seconds, struct shoal_error *error);

/* Set `auto` prefers for the desc: the first supporting set unless another is at least 10 % faster
 * (hysteresis keeps it stable). */
NODISCARD shoal_status kernel_choose(const struct kernel_desc *desc, int repeats,
                                     const struct kernel_ops **out, double *seconds,
                                     struct shoal_error *error);

#endif
