#include "graph/memory_plan.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdlib.h>

/* By size, then by start: the order is total, so plans are the same everywhere. */
static int larger_first(const void *a, const void *b) {
    const struct memory_block *x = *(struct memory_block *const *)a;
    const struct memory_block *y = *(struct memory_block *const *)b;
    if (x->bytes != y->bytes) {
        return x->bytes > y->bytes ? -1 : 1;
    }
    if (x->first != y->first) {
        return x->first < y->first ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

/* Lowest offset free during the block's life; placed are in order of their offsets. */
static size_t lowest_gap(struct memory_block *const *placed, uint32_t count,
                         const struct memory_block *block) {
    size_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct memory_block *other = placed[i];
        if (other->last < block->first || block->last < other->first) {
            continue;
        }
        if (other->offset >= offset + block->bytes) {
            break;
        }
        const size_t end = round_up_size(other->offset + other->bytes, MEM_ALIGNMENT);
        offset = end > offset ? end : offset;
    }
    return offset;
}

shoal_status memory_plan(struct memory_block *blocks, uint32_t count, size_t *total,
                         struct shoal_error *error) {
    size_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!checked_add_size(sum, blocks[i].bytes, &sum) ||
            !checked_add_size(sum, MEM_ALIGNMENT, &sum)) {
            return error_set(error, SHOAL_INVALID, "memory plan: the activations' sizes overflow");
        }
    }
    struct memory_block **order = mem_calloc(count, 2 * sizeof *order);
    if (order == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "memory plan: no memory for %u blocks", count);
    }
    struct memory_block **placed = order + count;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = &blocks[i];
    }
    qsort(order, count, sizeof *order, larger_first);
    size_t high = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct memory_block *block = order[i];
        block->offset = lowest_gap(placed, i, block);
        const size_t end = round_up_size(block->offset + block->bytes, MEM_ALIGNMENT);
        high = end > high ? end : high;
        uint32_t at = i; /* insertion keeps placed in order of offsets */
        for (; at > 0 && placed[at - 1]->offset > block->offset; at--) {
            placed[at] = placed[at - 1];
        }
        placed[at] = block;
    }
    mem_free(order);
    *total = high;
    return SHOAL_OK;
}
