/*
 * Rows that come in the order of their microbatches, given out in the order of their items: a ring
 * of `window` rows from the next one on. Items are numbered from 0 without gaps.
 *
 * Threads: one.
 */
#ifndef RUNTIME_ORDER_H
#define RUNTIME_ORDER_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct order;

/* Errors: NO_MEMORY. */
NODISCARD shoal_status order_create(uint64_t window, size_t row_bytes, struct order **out,
                                    struct shoal_error *error);
void order_destroy(struct order *order); /* NULL allowed */

/* Room for an item's row [row_bytes], for the caller to fill, and keeps its index. An item within
 * the window, and not twice: that is the feeder's to see to, and asserted. */
void *order_put(struct order *order, uint64_t sequence, uint64_t index);

/* The next item, if it is there: lends its row until the next order_put. */
bool order_next(struct order *order, uint64_t *index, const void **row);

#endif
