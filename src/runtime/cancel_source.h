/* Weights whose reading somebody else may end: another source, asked only until a flag is set. */
#ifndef RUNTIME_CANCEL_SOURCE_H
#define RUNTIME_CANCEL_SOURCE_H

#include "graph/weights.h"

#include <stdatomic.h>

/*
 * Takes inner, also on errors. cancel is borrowed for the source's life; any thread may set it.
 * Errors: NO_MEMORY; of borrow, besides inner's: CANCELLED.
 */
NODISCARD shoal_status cancel_source_create(struct weight_source *inner, const atomic_bool *cancel,
                                            struct weight_source **out, struct shoal_error *error);

#endif
