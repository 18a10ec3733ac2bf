/* Moves that follow indices from outside: each is brought into range before it is used. */
#include "kernels/reference/layout.h"

#include <string.h>

static int64_t read_index(const struct reference_call *call, int input, int64_t at) {
    int64_t index = 0;
    wide_load_int(call->desc->inputs[input].dtype, call->inputs[input], at, 1, 1, &index);
    return index;
}

static int64_t count_of(const struct tensor_type *type) {
    int64_t count = 0;
    (void)shape_count(&type->shape, &count);
    return count;
}

/* Product of the dims from axis `first` to `last` − 1. */
static int64_t product(const struct shape *shape, int first, int last) {
    int64_t count = 1;
    for (int i = first; i < last; i++) {
        count *= shape->dims[i];
    }
    return count;
}

void reference_gather(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape;
    const int axis = desc->attrs.axis;
    const int64_t outer = product(x, 0, axis), n = x->dims[axis];
    const int64_t bytes =
        product(x, axis + 1, x->rank) * (int64_t)dtype_size(desc->inputs[0].dtype);
    const int64_t count = count_of(&desc->inputs[1]);
    char *to = call->outputs[0];
    for (int64_t o = 0; o < outer && bytes > 0; o++) {
        const char *from = (const char *)call->inputs[0] + o * n * bytes;
        for (int64_t i = 0; i < count; i++, to += bytes) {
            memcpy(to, from + wide_index(read_index(call, 1, i), n) * bytes, (size_t)bytes);
        }
    }
}

/*
 * For each element of the indices (of x's rank): where the element of x lies that is at the same
 * place but along the axis at the index. −1: the index lies outside (unless it is to be clamped).
 */
struct elements {
    const struct reference_call *call;
    int64_t strides[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK];
    bool clamped;
};

static int64_t next_element(struct elements *e, int64_t i) {
    const struct kernel_desc *desc = e->call->desc;
    const struct shape *x = &desc->inputs[0].shape, *indices = &desc->inputs[1].shape;
    const int axis = desc->attrs.axis;
    const int64_t index = read_index(e->call, 1, i);
    int64_t from = wide_index(index, x->dims[axis]) * e->strides[axis];
    for (int k = 0; k < x->rank; k++) {
        from += k == axis ? 0 : e->at[k] * e->strides[k];
    }
    for (int k = x->rank - 1; k >= 0 && ++e->at[k] == indices->dims[k]; k--) {
        e->at[k] = 0;
    }
    const bool inside = index < x->dims[axis] && index >= -x->dims[axis];
    return inside || e->clamped ? from : -1;
}

void reference_gather_elements(const struct reference_call *call) {
    const int64_t size = (int64_t)dtype_size(call->desc->inputs[0].dtype);
    const int64_t count = count_of(&call->desc->inputs[1]);
    struct elements e = {.call = call, .clamped = true};
    walk_strides(&call->desc->inputs[0].shape, e.strides);
    for (int64_t i = 0; i < count; i++) {
        memcpy((char *)call->outputs[0] + i * size,
               (const char *)call->inputs[0] + next_element(&e, i) * size, (size_t)size);
    }
}

/* Offset in elements that tuple i of K indices gives in x's axes from `batch` on; −1: one lies
 * outside. */
static int64_t tuple_offset(const struct reference_call *call, int batch, int64_t i, bool clamped) {
    const struct shape *x = &call->desc->inputs[0].shape, *at = &call->desc->inputs[1].shape;
    const int64_t width = at->dims[at->rank - 1];
    int64_t strides[SHAPE_MAX_RANK], offset = 0;
    walk_strides(x, strides);
    for (int64_t k = 0; k < width; k++) {
        const int64_t dim = x->dims[batch + k];
        const int64_t index = read_index(call, 1, i * width + k);
        if (!clamped && (index >= dim || index < -dim)) {
            return -1;
        }
        offset += wide_index(index, dim) * strides[batch + k];
    }
    return offset;
}

void reference_gather_nd(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape, *at = &desc->inputs[1].shape;
    const int batch = desc->attrs.axis;
    const int width = (int)at->dims[at->rank - 1];
    const int64_t size = (int64_t)dtype_size(desc->inputs[0].dtype);
    const int64_t bytes = product(x, batch + width, x->rank) * size;
    const int64_t batches = product(at, 0, batch), per_batch = product(at, batch, at->rank - 1);
    const int64_t x_batch = product(x, batch, x->rank) * size;
    char *to = call->outputs[0];
    for (int64_t i = 0; i < batches * per_batch && bytes > 0; i++, to += bytes) {
        memcpy(to,
               (const char *)call->inputs[0] + i / per_batch * x_batch +
                   tuple_offset(call, batch, i, true) * size,
               (size_t)bytes);
    }
}

/* n elements of the updates from `from` on, joined to y's from `to` on. */
static void join(const struct reference_call *call, int64_t from, int64_t to, int64_t n) {
    const enum dtype dtype = call->desc->inputs[0].dtype;
    const enum wide_class class = wide_class(dtype);
    const int mode = call->desc->attrs.mode;
    for (int64_t i = 0; i < n; i++) {
        if (class == WIDE_REAL) {
            double a = 0, b = 0;
            wide_load_real(dtype, call->outputs[0], to + i, 1, 1, &a);
            wide_load_real(dtype, call->inputs[2], from + i, 1, 1, &b);
            a = mode == SCATTER_ADD   ? a + b
                : mode == SCATTER_MUL ? a * b
                                      : ((mode == SCATTER_MIN ? b < a : b > a) ? b : a);
            wide_store_real(dtype, call->outputs[0], to + i, 1, &a);
            continue;
        }
        int64_t a = 0, b = 0;
        wide_load_int(dtype, call->outputs[0], to + i, 1, 1, &a);
        wide_load_int(dtype, call->inputs[2], from + i, 1, 1, &b);
        const bool less = class == WIDE_U64 ? (uint64_t)b < (uint64_t)a : b < a;
        a = mode == SCATTER_ADD   ? (int64_t)((uint64_t)a + (uint64_t)b)
            : mode == SCATTER_MUL ? (int64_t)((uint64_t)a * (uint64_t)b)
                                  : (less == (mode == SCATTER_MIN) ? b : a);
        wide_store_int(dtype, call->outputs[0], to + i, 1, &a);
    }
}

static void put(const struct reference_call *call, int64_t from, int64_t to, int64_t n) {
    const int64_t size = (int64_t)dtype_size(call->desc->inputs[0].dtype);
    if (call->desc->attrs.mode != SCATTER_SET) {
        join(call, from, to, n);
    } else if (n > 0) {
        memcpy((char *)call->outputs[0] + to * size, (const char *)call->inputs[2] + from * size,
               (size_t)(n * size));
    }
}

void reference_scatter_elements(const struct reference_call *call) {
    const int64_t count = count_of(&call->desc->inputs[1]);
    struct elements e = {.call = call};
    reference_copy(call);
    walk_strides(&call->desc->inputs[0].shape, e.strides);
    for (int64_t i = 0; i < count; i++) {
        const int64_t to = next_element(&e, i);
        if (to >= 0) {
            put(call, i, to, 1);
        }
    }
}

void reference_scatter_nd(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape, *at = &call->desc->inputs[1].shape;
    const int64_t tuples = product(at, 0, at->rank - 1);
    const int64_t n = product(x, (int)at->dims[at->rank - 1], x->rank);
    reference_copy(call);
    for (int64_t i = 0; i < tuples && n > 0; i++) {
        const int64_t to = tuple_offset(call, 0, i, false);
        if (to >= 0) {
            put(call, i * n, to, n);
        }
    }
}

void reference_scatter_rows(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape, *update = &desc->inputs[1].shape;
    const int axis = desc->attrs.axis;
    const int64_t outer = product(x, 0, axis), n = x->dims[axis], rows = update->dims[axis];
    const int64_t bytes =
        product(x, axis + 1, x->rank) * (int64_t)dtype_size(desc->inputs[0].dtype);
    const int64_t per_batch = x->dims[0] > 0 ? outer / x->dims[0] : 1;
    reference_copy(call);
    for (int64_t o = 0; o < outer && bytes > 0 && n > 0; o++) {
        const int64_t first = read_index(call, 2, o / per_batch);
        for (int64_t i = 0; i < rows; i++) {
            /* bounded first, so that the sum cannot overflow */
            int64_t row = (desc->attrs.mode == 1 ? first % n
                           : first < -rows       ? -rows
                           : first > n           ? n
                                                 : first) +
                          i;
            row = desc->attrs.mode == 1 ? (row % n + n) % n : row;
            if (row >= 0 && row < n) {
                memcpy((char *)call->outputs[0] + (o * n + row) * bytes,
                       (const char *)call->inputs[1] + (o * rows + i) * bytes, (size_t)bytes);
            }
        }
    }
}

void reference_one_hot(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *y = &desc->outputs[0].shape;
    const int axis = desc->attrs.axis;
    const int64_t outer = product(y, 0, axis), depth = y->dims[axis];
    const int64_t inner = product(y, axis + 1, y->rank);
    const size_t size = dtype_size(desc->outputs[0].dtype);
    char *to = call->outputs[0];
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t d = 0; d < depth; d++) {
            for (int64_t i = 0; i < inner; i++, to += size) {
                const int64_t index = read_index(call, 0, o * inner + i);
                const bool on = index == d || (index < 0 && index + depth == d);
                memcpy(to, (const char *)call->inputs[1] + (on ? size : 0), size);
            }
        }
    }
}

void reference_reverse_sequence(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape;
    const int time = desc->attrs.axis, batch = (int)desc->attrs.ints[0];
    const int64_t size = (int64_t)dtype_size(desc->inputs[0].dtype);
    const int64_t count = count_of(&desc->inputs[0]);
    int64_t strides[SHAPE_MAX_RANK];
    walk_strides(x, strides);
    for (int64_t i = 0; i < count; i++) {
        const int64_t t = i / strides[time] % x->dims[time];
        int64_t length = read_index(call, 1, i / strides[batch] % x->dims[batch]);
        length = length > x->dims[time] ? x->dims[time] : length;
        const int64_t from = t < length ? i + (length - 1 - 2 * t) * strides[time] : i;
        memcpy((char *)call->outputs[0] + i * size, (const char *)call->inputs[0] + from * size,
               (size_t)size);
    }
}
