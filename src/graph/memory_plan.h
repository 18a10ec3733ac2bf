/*
 * Offsets for blocks of memory with known lifetimes: blocks whose lifetimes overlap never share
 * bytes, others may. Greedy: larger blocks first, each at the lowest offset free during its
 * lifetime. Offsets are multiples of MEM_ALIGNMENT.
 */
#ifndef GRAPH_MEMORY_PLAN_H
#define GRAPH_MEMORY_PLAN_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct memory_block {
    size_t bytes;
    uint32_t first, last; /* alive at these times and between; first ≤ last */
    size_t offset;        /* the answer */
};

/* total: bytes that hold all blocks. Errors: NO_MEMORY; INVALID if the sizes overflow. */
NODISCARD shoal_status memory_plan(struct memory_block *blocks, uint32_t count, size_t *total,
                                   struct shoal_error *error);

#endif
