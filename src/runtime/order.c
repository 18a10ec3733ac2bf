#include "runtime/order.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

struct order {
    uint64_t window, next;
    size_t width;
    float *rows;     /* [window, width] */
    uint64_t *index; /* [window] */
    bool *there;     /* [window] */
};

shoal_status order_create(uint64_t window, size_t width, struct order **out,
                          struct shoal_error *error) {
    size_t bytes = 0;
    struct order *order = mem_calloc(1, sizeof *order);
    if (order != NULL && checked_mul_size((size_t)window, width, &bytes) &&
        checked_mul_size(bytes, sizeof *order->rows, &bytes)) {
        order->rows = mem_alloc(bytes);
        order->index = mem_calloc((size_t)window, sizeof *order->index);
        order->there = mem_calloc((size_t)window, sizeof *order->there);
    }
    if (order == NULL || order->rows == NULL || order->index == NULL || order->there == NULL) {
        order_destroy(order);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    order->window = window;
    order->width = width;
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

void order_put(struct order *order, uint64_t sequence, uint64_t index, const float *row) {
    ASSERT(sequence >= order->next && sequence - order->next < order->window);
    const size_t place = (size_t)(sequence % order->window);
    ASSERT(!order->there[place]);
    memcpy(order->rows + place * order->width, row, order->width * sizeof *row);
    order->index[place] = index;
    order->there[place] = true;
}

bool order_next(struct order *order, uint64_t *index, const float **row) {
    const size_t place = (size_t)(order->next % order->window);
    if (!order->there[place]) {
        return false;
    }
    order->there[place] = false;
    order->next++;
    *index = order->index[place];
    *row = order->rows + place * order->width;
    return true;
}
