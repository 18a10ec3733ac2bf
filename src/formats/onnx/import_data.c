/* Ops whose output's shape depends on their input's values: computed at import, where they are
 * known. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <string.h>

static shoal_status i64_of(struct import_node *n, const int64_t *data, const struct shape *shape,
                           struct import_value **out) {
    return import_constant(n, DTYPE_I64, shape, data, out);
}

static bool is_zero(const unsigned char *element, enum dtype dtype) {
    size_t any = 0;
    const size_t size = dtype_size(dtype);
    for (size_t i = 0; i < size; i++) {
        /* −0 of a float is 0 */
        any |= i + 1 == size && (dtype == DTYPE_F32 || dtype == DTYPE_F64)
                   ? (size_t)(element[i] & 0x7fU)
                   : element[i];
    }
    return any == 0;
}

static shoal_status convert_non_zero(struct import_node *n) {
    struct import_value *x, *y;
    const void *data = NULL;
    int64_t count = 0, found = 0, at = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_bytes(n, x, &data));
    const unsigned char *bytes = data;
    const struct shape *shape = &x->type.shape;
    const size_t size = dtype_size(x->type.dtype);
    (void)shape_count(shape, &count); /* it is in memory */
    for (int64_t i = 0; i < count; i++) {
        found += is_zero(bytes + (size_t)i * size, x->type.dtype) ? 0 : 1;
    }
    const int rank = shape->rank == 0 ? 1 : shape->rank;
    const struct shape result = {.rank = 2, .dims = {rank, found}};
    TRY(i64_of(n, NULL, &result, &y));
    int64_t *places = import_constant_data(y);
    for (int64_t i = 0; i < count; i++) {
        if (is_zero(bytes + (size_t)i * size, x->type.dtype)) {
            continue;
        }
        int64_t rest = i;
        for (int axis = shape->rank - 1; axis >= 0; axis--) {
            places[axis * found + at] = rest % shape->dims[axis];
            rest /= shape->dims[axis];
        }
        at++;
    }
    return import_set_as(n, 0, y, ONNX_INT64);
}

/* The input may be computed at run time: only the condition decides the shape. */
static shoal_status convert_compress(struct import_node *n) {
    struct import_value *x, *condition, *index, *y;
    int64_t axis = 0, total = 0, given = 0, found = 0;
    int at = 0;
    const void *data = NULL;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &condition));
    TRY(import_bytes(n, condition, &data));
    if (condition->type.dtype != DTYPE_BOOL) {
        return import_refuse_type(n, condition);
    }
    if (import_attr_has(n, "axis")) {
        TRY(import_attr_int(n, "axis", 0, &axis));
        TRY(import_axis(n, axis, x->type.shape.rank, &at));
    } else {
        struct shape flat = {.rank = 1};
        (void)shape_count(&x->type.shape, &flat.dims[0]);
        TRY(import_reshape(n, x, &flat, &x));
    }
    total = x->type.shape.dims[at];
    (void)shape_count(&condition->type.shape, &given);
    given = given < total ? given : total;
    for (int64_t i = 0; i < given; i++) {
        found += ((const uint8_t *)data)[i] != 0 ? 1 : 0;
    }
    const struct shape shape = {.rank = 1, .dims = {found}};
    TRY(i64_of(n, NULL, &shape, &index));
    int64_t *places = import_constant_data(index);
    for (int64_t i = 0; i < given; i++) {
        if (((const uint8_t *)data)[i] != 0) {
            *places++ = i;
        }
    }
    struct import_value *const inputs[] = {x, index};
    const struct op_attrs attrs = {.axis = at};
    TRY(import_emit(n, OP_GATHER, &attrs, inputs, 2, &y));
    return import_set(n, 0, y);
}

/* ---- Unique ---- */

/* Slices along an axis: `outer` blocks, each with `count` slices of `inner` elements. */
struct slices {
    const unsigned char *data;
    enum dtype dtype;
    int64_t outer, count, inner;
};

static double number(enum dtype dtype, const unsigned char *at) {
    union import_number bits;
    memcpy(&bits, at, dtype_size(dtype));
    switch ((int)dtype) {
    case DTYPE_F32:
        return (double)bits.f32;
    case DTYPE_F64:
        return bits.f64;
    case DTYPE_I8:
        return bits.i8;
    case DTYPE_I16:
        return bits.i16;
    case DTYPE_U16:
        return bits.u16;
    case DTYPE_I32:
        return bits.i32;
    case DTYPE_U32:
        return bits.u32;
    case DTYPE_I64:
        return (double)bits.i64;
    case DTYPE_U64:
        return (double)bits.u64;
    default:
        return bits.u8;
    }
}

static int compare(const struct slices *s, int64_t a, int64_t b) {
    const size_t size = dtype_size(s->dtype);
    for (int64_t o = 0; o < s->outer; o++) {
        for (int64_t i = 0; i < s->inner; i++) {
            const double x =
                number(s->dtype, s->data + (size_t)((o * s->count + a) * s->inner + i) * size);
            const double y =
                number(s->dtype, s->data + (size_t)((o * s->count + b) * s->inner + i) * size);
            if (x < y || x > y) {
                return x < y ? -1 : 1;
            }
        }
    }
    return 0;
}

/* Merge sort of slice numbers, stable: equal ones stay in order of place. */
static void sort(const struct slices *s, int64_t *order, int64_t *room, int64_t count) {
    for (int64_t width = 1; width < count; width *= 2) {
        for (int64_t low = 0; low < count; low += 2 * width) {
            const int64_t middle = low + width < count ? low + width : count;
            const int64_t high = low + 2 * width < count ? low + 2 * width : count;
            int64_t a = low, b = middle;
            for (int64_t to = low; to < high; to++) {
                const bool left = a < middle && (b >= high || compare(s, order[a], order[b]) <= 0);
                room[to] = left ? order[a++] : order[b++];
            }
        }
        memcpy(order, room, (size_t)count * sizeof *order);
    }
}

struct unique {
    int64_t *order, *room;            /* slices sorted; equal ones side by side */
    int64_t *first, *inverse, *count; /* per group; per slice; per group */
    int64_t groups;
};

static void group(const struct slices *s, struct unique *u, bool sorted) {
    int64_t *rank_of = u->room; /* group in order of size → group in the result */
    for (int64_t i = 0; i < s->count; i++) {
        if (i == 0 || compare(s, u->order[i - 1], u->order[i]) != 0) {
            u->first[u->groups] = u->order[i]; /* the first place: the sort is stable */
            u->count[u->groups++] = 0;
        }
        u->inverse[u->order[i]] = u->groups - 1;
        u->count[u->groups - 1]++;
    }
    if (sorted) {
        return;
    }
    /* In order of first places. */
    int64_t *first = u->order, next = 0;
    memcpy(first, u->first, (size_t)u->groups * sizeof *first);
    for (int64_t i = 0; i < s->count; i++) {
        if (first[u->inverse[i]] == i) {
            rank_of[u->inverse[i]] = next++;
        }
    }
    for (int64_t i = 0; i < s->count; i++) {
        u->inverse[i] = rank_of[u->inverse[i]];
    }
    memset(u->count, 0, (size_t)u->groups * sizeof *u->count);
    for (int64_t i = s->count - 1; i >= 0; i--) {
        u->first[u->inverse[i]] = i;
        u->count[u->inverse[i]]++;
    }
}

static shoal_status unique_outputs(struct import_node *n, struct import_value *x, int axis,
                                   const struct slices *s, const struct unique *u) {
    const struct shape groups = {.rank = 1, .dims = {u->groups}},
                       slices = {.rank = 1, .dims = {s->count}};
    const struct op_attrs attrs = {.axis = axis};
    struct import_value *first, *inverse, *count, *y;
    TRY(i64_of(n, u->first, &groups, &first));
    TRY(i64_of(n, u->inverse, &slices, &inverse));
    TRY(i64_of(n, u->count, &groups, &count));
    struct import_value *const inputs[] = {x, first};
    TRY(import_emit(n, OP_GATHER, &attrs, inputs, 2, &y));
    TRY(import_set(n, 0, y));
    TRY(import_set_as(n, 1, first, ONNX_INT64));
    TRY(import_set_as(n, 2, inverse, ONNX_INT64));
    return import_set_as(n, 3, count, ONNX_INT64);
}

static shoal_status convert_unique(struct import_node *n) {
    struct import_value *x;
    int64_t axis = 0, sorted;
    int at = 0;
    const void *data = NULL;
    TRY(import_need(n, 0, &x));
    TRY(import_bytes(n, x, &data));
    TRY(import_attr_int(n, "sorted", 1, &sorted));
    if (import_attr_has(n, "axis")) {
        TRY(import_attr_int(n, "axis", 0, &axis));
        TRY(import_axis(n, axis, x->type.shape.rank, &at));
    } else {
        struct shape flat = {.rank = 1};
        (void)shape_count(&x->type.shape, &flat.dims[0]);
        TRY(import_reshape(n, x, &flat, &x));
        TRY(import_bytes(n, x, &data));
    }
    struct slices s = {data, x->type.dtype, 1, x->type.shape.dims[at], 1};
    for (int i = 0; i < x->type.shape.rank; i++) {
        s.outer *= i < at ? x->type.shape.dims[i] : 1;
        s.inner *= i > at ? x->type.shape.dims[i] : 1;
    }
    struct unique u = {0};
    int64_t *memory = import_alloc(n, (size_t)(5 * s.count + 1) * sizeof *memory);
    if (memory == NULL) {
        return import_no_memory(n);
    }
    u.order = memory;
    u.room = memory + s.count;
    u.first = memory + 2 * s.count;
    u.inverse = memory + 3 * s.count;
    u.count = memory + 4 * s.count;
    for (int64_t i = 0; i < s.count; i++) {
        u.order[i] = i;
    }
    sort(&s, u.order, u.room, s.count);
    group(&s, &u, sorted != 0);
    return unique_outputs(n, x, at, &s, &u);
}

const struct import_converter import_data_converters[] = {
    {"", "NonZero", convert_non_zero, 0},
    {"", "Compress", convert_compress, 0},
    {"", "Unique", convert_unique, 0},
    {NULL, NULL, NULL, 0},
};
