#include "graph/passes/axes.h"

#include "base/checked.h"

bool axes_keep_order(const struct shape *x, const int64_t *order) {
    int64_t last = -1;
    for (int i = 0; i < x->rank; i++) {
        if (x->dims[order[i]] != 1) {
            if (order[i] < last) {
                return false;
            }
            last = order[i];
        }
    }
    return true;
}

void axes_inverse(const int64_t *order, int rank, int64_t *out) {
    for (int i = 0; i < rank; i++) {
        out[order[i]] = i;
    }
}

void axes_compose(const int64_t *first, const int64_t *second, int rank, int64_t *out) {
    int64_t order[SHAPE_MAX_RANK];
    for (int i = 0; i < rank; i++) {
        order[i] = first[second[i]];
    }
    for (int i = 0; i < rank; i++) {
        out[i] = order[i];
    }
}

bool axes_equal(const int64_t *a, const int64_t *b, int rank) {
    for (int i = 0; i < rank; i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

struct shape axes_permute(const struct shape *x, const int64_t *order) {
    struct shape y = {.rank = x->rank};
    for (int i = 0; i < x->rank; i++) {
        y.dims[i] = x->dims[order[i]];
    }
    return y;
}

bool axes_can_reshape(const struct shape *shape) {
    int batches = 0;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] == 0) {
            return false;
        }
        batches += shape->dims[i] == GRAPH_BATCH ? 1 : 0;
    }
    return batches <= 1;
}

shoal_status axes_reshape(struct rewrite *rw, graph_node_id at, const char *suffix,
                          graph_value_id x, const struct shape *shape, graph_value_id *out,
                          struct shoal_error *error) {
    struct op_attrs attrs = {.axis = shape->rank};
    if (shape_equal(&rewrite_type(rw, x)->shape, shape)) {
        *out = x;
        return SHOAL_OK;
    }
    for (int i = 0; i < shape->rank; i++) {
        attrs.ints[i] = shape->dims[i]; /* GRAPH_BATCH is −1: what is left */
    }
    return rewrite_add(rw, at, suffix, OP_RESHAPE, &attrs, &x, 1, NULL, 0, out, error);
}

shoal_status axes_transpose(struct rewrite *rw, graph_node_id at, const char *suffix,
                            graph_value_id x, const int64_t *order, graph_value_id *out,
                            struct shoal_error *error) {
    struct op_attrs attrs = {0};
    bool same = true;
    for (int i = 0; i < rewrite_type(rw, x)->shape.rank; i++) {
        attrs.ints[i] = order[i];
        same = same && order[i] == i;
    }
    if (same) {
        *out = x;
        return SHOAL_OK;
    }
    return rewrite_add(rw, at, suffix, OP_TRANSPOSE, &attrs, &x, 1, NULL, 0, out, error);
}

/* The microbatch counts as a prime that no dim has. */
#define BATCH_PRIME INT64_C(2147483629)

static bool times(int64_t *product, int64_t dim) {
    return checked_mul_i64(*product, dim == GRAPH_BATCH ? BATCH_PRIME : dim, product) &&
           *product > 0;
}

int axes_blocks(const struct shape *from, const struct shape *to, int from_end[SHAPE_MAX_RANK],
                int to_end[SHAPE_MAX_RANK]) {
    int blocks = 0, i = 0, j = 0;
    while (i < from->rank && j < to->rank) {
        int64_t a = 1, b = 1;
        if (!times(&a, from->dims[i++]) || !times(&b, to->dims[j++])) {
            return 0;
        }
        while (a != b) {
            const bool more = a < b ? i < from->rank && times(&a, from->dims[i++])
                                    : j < to->rank && times(&b, to->dims[j++]);
            if (!more) {
                return 0;
            }
        }
        while (i < from->rank && from->dims[i] == 1) { /* ones belong to what is before them */
            i++;
        }
        while (j < to->rank && to->dims[j] == 1) {
            j++;
        }
        from_end[blocks] = i;
        to_end[blocks++] = j;
    }
    return i == from->rank && j == to->rank ? blocks : 0;
}
