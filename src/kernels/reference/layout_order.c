/* The greatest or least along an axis, in order. */
#include "kernels/reference/layout.h"

#include <math.h>

struct lane {
    const struct reference_call *call;
    int64_t from, step;
};

/* Whether the element at place a comes before that at b: a total order, NaN before all. */
static bool precedes(const struct lane *lane, int64_t a, int64_t b) {
    const enum dtype dtype = lane->call->desc->inputs[0].dtype;
    const bool greatest = lane->call->desc->attrs.mode == 1;
    const void *x = lane->call->inputs[0];
    bool less = false, more = false;
    if (wide_class(dtype) == WIDE_REAL) {
        double of_a = 0, of_b = 0;
        wide_load_real(dtype, x, lane->from + a * lane->step, 1, 1, &of_a);
        wide_load_real(dtype, x, lane->from + b * lane->step, 1, 1, &of_b);
        less = greatest ? !isnan(of_a) && (of_a < of_b || isnan(of_b))
                        : of_a < of_b || (isnan(of_a) && !isnan(of_b));
        more = greatest ? of_a > of_b || (isnan(of_a) && !isnan(of_b))
                        : !isnan(of_a) && (of_a > of_b || isnan(of_b));
    } else {
        int64_t of_a = 0, of_b = 0;
        wide_load_int(dtype, x, lane->from + a * lane->step, 1, 1, &of_a);
        wide_load_int(dtype, x, lane->from + b * lane->step, 1, 1, &of_b);
        const bool is_unsigned = wide_class(dtype) == WIDE_U64;
        less = is_unsigned ? (uint64_t)of_a < (uint64_t)of_b : of_a < of_b;
        more = !less && of_a != of_b;
    }
    return less || more ? more == greatest : a < b;
}

/* Merges two sorted halves by way of spare. */
static void merge(const struct lane *lane, int64_t *places, int64_t *spare, int64_t half,
                  int64_t n) {
    int64_t a = 0, b = half;
    for (int64_t i = 0; i < n; i++) {
        const bool first = b == n || (a < half && precedes(lane, places[a], places[b]));
        spare[i] = first ? places[a++] : places[b++];
    }
    for (int64_t i = 0; i < n; i++) {
        places[i] = spare[i];
    }
}

static void sort(const struct lane *lane, int64_t *places, int64_t *spare, int64_t n) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t i = 0; i + width < n; i += 2 * width) {
            merge(lane, places + i, spare, width, n - i < 2 * width ? n - i : 2 * width);
        }
    }
}

void reference_top_k(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape;
    const int axis = desc->attrs.axis;
    const int64_t n = x->dims[axis], k = desc->outputs[0].shape.dims[axis];
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? x->dims[i] : 1;
        inner *= i > axis ? x->dims[i] : 1;
    }
    int64_t *places = (int64_t *)(void *)call->scratch;
    int64_t *found = call->outputs[1];
    const size_t size = dtype_size(desc->inputs[0].dtype);
    for (int64_t lane = 0; lane < outer * inner; lane++) {
        const struct lane l = {call, lane / inner * n * inner + lane % inner, inner};
        const int64_t to = lane / inner * k * inner + lane % inner;
        for (int64_t i = 0; i < n; i++) {
            places[i] = i;
        }
        sort(&l, places, places + n, n);
        for (int64_t i = 0; i < k; i++) {
            found[to + i * inner] = places[i];
            reference_move(
                size, (const char *)call->inputs[0] + (l.from + places[i] * inner) * (int64_t)size,
                1, (char *)call->outputs[0] + (to + i * inner) * (int64_t)size, 1, 1);
        }
    }
}
