#include "runtime/order.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"

struct order {
    uint64_t window, next;
    size_t row_bytes;
    unsigned char *rows; /* [window, row_bytes] */
    uint64_t *index;     /* [window] */
    bool *there;         /* [window] */
};

shoal_status order_create(uint64_t window, size_t row_bytes, struct order **out,
                          struct shoal_error *error) {
    size_t bytes = 0;
    struct order *order = mem_calloc(1, sizeof *order);
    if (order != NULL && checked_mul_size((size_t)window, row_bytes, &bytes)) {
        order->rows = mem_alloc(bytes);
        order->index = mem_calloc((size_t)window, sizeof *order->index);
        order->there = mem_calloc((size_t)window, sizeof *order->there);
    }
    if (order == NULL || order->rows == NULL || order->index == NULL || order->there == NULL) {
        order_destroy(order);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    order->window = window;
    order->row_bytes = row_bytes;
    *out = order;
    return SHOAL_OK;
}

void order_destroy(struct order *order) {
    if (order != NULL) {
        mem_free(order->rows);
        mem_free(order->index);
        mem_free(order->there);
        mem_free(order);
    }
}

void *order_put(struct order *order, uint64_t sequence, uint64_t index) {
    ASSERT(sequence >= order->next && sequence - order->next < order->window);
    const size_t place = (size_t)(sequence % order->window);
    ASSERT(!order->there[place]);
    order->index[place] = index;
    order->there[place] = true;
    return order->rows + place * order->row_bytes;
}

bool order_next(struct order *order, uint64_t *index, const void **row) {
    const size_t place = (size_t)(order->next % order->window);
    if (!order->there[place]) {
        return false;
    }
    order->there[place] = false;
    order->next++;
    *index = order->index[place];
    *row = order->rows + place * order->row_bytes;
    return true;
}
