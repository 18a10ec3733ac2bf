/* What looks at all elements along axes: reductions, softmax, running sums, determinants. */
#include "kernels/reference/elementwise.h"

#include <math.h>

/* One result on its way: the sum so far, and what is taken off before the exponential. */
struct reduction {
    const struct reference_call *call;
    struct walk inner; /* over the reduced axes */
    int mode;
    enum wide_class class;
    bool searching; /* LOG_SUM_EXP: for the greatest, first */
    int64_t base, seen;
    double real, greatest;
    int64_t whole;
};

static double real_step(int mode, double sum, double x) {
    switch (mode) {
    case REDUCE_MAX:
        return isnan(sum) || sum > x ? sum : x;
    case REDUCE_MIN:
        return isnan(sum) || sum < x ? sum : x;
    case REDUCE_PROD:
        return sum * x;
    case REDUCE_L1:
        return sum + fabs(x);
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        return sum + x * x;
    default:
        return sum + x;
    }
}

static int64_t int_step(int mode, bool is_unsigned, int64_t sum, int64_t x) {
    const bool less = is_unsigned ? (uint64_t)x < (uint64_t)sum : x < sum;
    switch (mode) {
    case REDUCE_MAX:
        return less ? sum : x;
    case REDUCE_MIN:
        return less ? x : sum;
    case REDUCE_PROD:
        return (int64_t)((uint64_t)sum * (uint64_t)x);
    case REDUCE_L1:
        return (int64_t)((uint64_t)sum + (x < 0 && !is_unsigned ? 0 - (uint64_t)x : (uint64_t)x));
    case REDUCE_SUM_SQUARE:
        return (int64_t)((uint64_t)sum + (uint64_t)x * (uint64_t)x);
    default:
        return (int64_t)((uint64_t)sum + (uint64_t)x);
    }
}

/* Integers take part in these as reals. */
static bool needs_reals(int mode) {
    return mode == REDUCE_L2 || mode == REDUCE_LOG_SUM || mode == REDUCE_LOG_SUM_EXP;
}

static void reduce_row(void *context, const int64_t offsets[WALK_OPERANDS],
                       const int64_t steps[WALK_OPERANDS], int64_t n) {
    struct reduction *r = context;
    const enum dtype dtype = r->call->desc->inputs[0].dtype;
    union {
        double reals[WIDE_CHUNK];
        int64_t ints[WIDE_CHUNK];
    } chunk;
    for (int64_t at = 0; at < n; at += WIDE_CHUNK) {
        const int64_t count = n - at < WIDE_CHUNK ? n - at : WIDE_CHUNK;
        const int64_t first = r->base + offsets[1] + at * steps[1];
        if (r->class != WIDE_REAL) {
            wide_load_int(dtype, r->call->inputs[0], first, steps[1], count, chunk.ints);
            for (int64_t i = 0; i < count; i++) {
                r->whole =
                    r->seen == 0 && i + at == 0 && (r->mode == REDUCE_MAX || r->mode == REDUCE_MIN)
                        ? chunk.ints[i]
                        : int_step(r->mode, r->class == WIDE_U64, r->whole, chunk.ints[i]);
            }
            continue;
        }
        wide_load_real(dtype, r->call->inputs[0], first, steps[1], count, chunk.reals);
        for (int64_t i = 0; i < count; i++) {
            if (r->searching) {
                r->greatest = real_step(REDUCE_MAX, r->greatest, chunk.reals[i]);
            } else if (r->mode == REDUCE_LOG_SUM_EXP) {
                r->real += exp(chunk.reals[i] - r->greatest);
            } else {
                r->real = real_step(r->mode, r->real, chunk.reals[i]);
            }
        }
    }
    r->seen += n;
}

/* What a reduction over nothing gives: the end of the type's range for the greatest and least. */
static int64_t int_start(int mode, enum dtype dtype) {
    const unsigned bits = (unsigned)dtype_size(dtype) * 8;
    const bool is_signed =
        dtype == DTYPE_I8 || dtype == DTYPE_I16 || dtype == DTYPE_I32 || dtype == DTYPE_I64;
    const uint64_t all = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    if (mode == REDUCE_PROD) {
        return 1;
    }
    if (mode == REDUCE_MIN) {
        return (int64_t)(dtype == DTYPE_BOOL ? 1 : is_signed ? all >> 1 : all);
    }
    return mode == REDUCE_MAX && is_signed ? -(int64_t)(all >> 1) - 1 : 0;
}

static double real_start(int mode) {
    switch (mode) {
    case REDUCE_PROD:
        return 1;
    case REDUCE_MAX:
        return -(double)INFINITY;
    case REDUCE_MIN:
        return (double)INFINITY;
    default:
        return 0;
    }
}

static double finish_real(const struct reduction *r) {
    switch (r->mode) {
    case REDUCE_MEAN:
        return r->real / (double)r->seen;
    case REDUCE_L2:
        return sqrt(r->real);
    case REDUCE_LOG_SUM:
        return log(r->real);
    case REDUCE_LOG_SUM_EXP:
        return log(r->real) + r->greatest;
    default:
        return r->real;
    }
}

static int64_t finish_int(const struct reduction *r) {
    if (r->mode != REDUCE_MEAN || r->seen == 0) {
        return r->whole;
    }
    return r->class == WIDE_U64 ? (int64_t)((uint64_t)r->whole / (uint64_t)r->seen)
                                : r->whole / r->seen;
}

static void reduce_one(struct reduction *r, int64_t from, int64_t to) {
    const struct tensor_type *x = &r->call->desc->inputs[0];
    r->base = from;
    r->seen = 0;
    r->real = real_start(r->mode);
    r->whole = int_start(r->mode, x->dtype);
    r->greatest = -(double)INFINITY;
    r->searching = r->mode == REDUCE_LOG_SUM_EXP;
    if (r->searching) {
        walk_rows(&r->inner, reduce_row, r);
        r->greatest = isinf(r->greatest) ? 0 : r->greatest; /* ∞ − ∞ would be NaN */
        r->searching = false;
        r->seen = 0;
    }
    walk_rows(&r->inner, reduce_row, r);
    if (r->class == WIDE_REAL) {
        const double value = finish_real(r);
        wide_store_real(x->dtype, r->call->outputs[0], to, 1, &value);
    } else {
        const int64_t value = finish_int(r);
        wide_store_int(x->dtype, r->call->outputs[0], to, 1, &value);
    }
}

static void reduce_outer(void *context, const int64_t offsets[WALK_OPERANDS],
                         const int64_t steps[WALK_OPERANDS], int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        reduce_one(context, offsets[1] + i * steps[1], offsets[0] + i * steps[0]);
    }
}

void reference_reduce(const struct reference_call *call) {
    const struct shape *x = &call->desc->inputs[0].shape;
    const int64_t axes = call->desc->attrs.ints[0];
    struct reduction r = {.call = call, .mode = call->desc->attrs.mode};
    r.class = needs_reals(r.mode) ? WIDE_REAL : wide_class(call->desc->inputs[0].dtype);
    int64_t of_x[SHAPE_MAX_RANK];
    struct shape kept = {0}, gone = {0};
    int64_t kept_strides[SHAPE_MAX_RANK], gone_strides[SHAPE_MAX_RANK];
    walk_strides(x, of_x);
    for (int i = 0; i < x->rank; i++) {
        if ((axes >> i & 1) != 0) {
            gone_strides[gone.rank] = of_x[i];
            gone.dims[gone.rank++] = x->dims[i];
        } else {
            kept_strides[kept.rank] = of_x[i];
            kept.dims[kept.rank++] = x->dims[i];
        }
    }
    struct walk outer;
    walk_over(&outer, &kept);
    walk_add_strides(&outer, kept_strides);
    walk_merge(&outer);
    walk_over(&r.inner, &gone);
    walk_add_strides(&r.inner, gone_strides);
    walk_merge(&r.inner);
    walk_rows(&outer, reduce_outer, &r);
}

/* x as [outer, n, inner] about an axis. */
struct lanes {
    int64_t outer, n, inner;
};

static struct lanes lanes_of(const struct shape *x, int axis) {
    struct lanes lanes = {1, x->dims[axis], 1};
    for (int i = 0; i < x->rank; i++) {
        lanes.outer *= i < axis ? x->dims[i] : 1;
        lanes.inner *= i > axis ? x->dims[i] : 1;
    }
    return lanes;
}

/* Whether x comes before the best so far; what is equal does if `later`. */
static bool beats(bool least, bool later, double x, double best) {
    if (isnan(x) || isnan(best)) {
        return isnan(x) && (later || !isnan(best));
    }
    return (least ? x < best : x > best) || (later && x == best);
}

static bool beats_int(bool least, bool later, bool is_unsigned, int64_t x, int64_t best) {
    const bool less = is_unsigned ? (uint64_t)x < (uint64_t)best : x < best;
    return x == best ? later : less == least;
}

static int64_t best_of(const struct reference_call *call, int64_t from, struct lanes lanes) {
    const struct op_attrs *attrs = &call->desc->attrs;
    const enum dtype dtype = call->desc->inputs[0].dtype;
    const enum wide_class class = wide_class(dtype);
    int64_t found = 0, whole = 0, best = 0;
    double real = 0, best_real = 0;
    for (int64_t i = 0; i < lanes.n; i++) {
        const int64_t at = from + i * lanes.inner;
        bool better = false;
        if (class == WIDE_REAL) {
            wide_load_real(dtype, call->inputs[0], at, 1, 1, &real);
            better = beats(attrs->mode == 1, attrs->ints[0] != 0, real, best_real);
        } else {
            wide_load_int(dtype, call->inputs[0], at, 1, 1, &whole);
            better =
                beats_int(attrs->mode == 1, attrs->ints[0] != 0, class == WIDE_U64, whole, best);
        }
        if (i == 0 || better) {
            found = i;
            best = whole;
            best_real = real;
        }
    }
    return found;
}

void reference_arg_reduce(const struct reference_call *call) {
    const struct lanes lanes = lanes_of(&call->desc->inputs[0].shape, call->desc->attrs.axis);
    int64_t *y = call->outputs[0];
    for (int64_t o = 0; o < lanes.outer; o++) {
        for (int64_t i = 0; i < lanes.inner; i++) {
            *y++ = best_of(call, o * lanes.n * lanes.inner + i, lanes);
        }
    }
}

static void softmax_lane(const struct reference_call *call, int64_t from, struct lanes lanes) {
    const enum dtype dtype = call->desc->inputs[0].dtype;
    const int mode = call->desc->attrs.mode;
    double value = 0, greatest = -(double)INFINITY, sum = 0;
    int64_t place = 0;
    for (int64_t i = 0; i < lanes.n; i++) {
        wide_load_real(dtype, call->inputs[0], from + i * lanes.inner, 1, 1, &value);
        place = i == 0 || value > greatest ? i : place;
        greatest = i == 0 || value > greatest ? value : greatest;
    }
    for (int64_t i = 0; i < lanes.n && mode != SOFTMAX_HARD; i++) {
        wide_load_real(dtype, call->inputs[0], from + i * lanes.inner, 1, 1, &value);
        sum += exp(value - greatest);
    }
    for (int64_t i = 0; i < lanes.n; i++) {
        const int64_t at = from + i * lanes.inner;
        wide_load_real(dtype, call->inputs[0], at, 1, 1, &value);
        if (mode == SOFTMAX_HARD) {
            value = i == place ? 1 : 0;
        } else if (mode == SOFTMAX_LOG) {
            value = value - greatest - log(sum);
        } else {
            value = isinf(greatest) && greatest < 0 ? 0 : exp(value - greatest) / sum;
        }
        wide_store_real(dtype, call->outputs[0], at, 1, &value);
    }
}

void reference_softmax(const struct reference_call *call) {
    const struct lanes lanes = lanes_of(&call->desc->inputs[0].shape, call->desc->attrs.axis);
    for (int64_t o = 0; o < lanes.outer; o++) {
        for (int64_t i = 0; i < lanes.inner; i++) {
            softmax_lane(call, o * lanes.n * lanes.inner + i, lanes);
        }
    }
}

static void cumulate_lane(const struct reference_call *call, int64_t from, struct lanes lanes) {
    const struct op_attrs *attrs = &call->desc->attrs;
    const enum dtype dtype = call->desc->inputs[0].dtype;
    const bool product = attrs->mode == 1, exclusive = attrs->ints[0] != 0;
    double real = 0, sum = product ? 1 : 0;
    int64_t whole = 0, total = product ? 1 : 0;
    for (int64_t k = 0; k < lanes.n; k++) {
        const int64_t at = from + (attrs->ints[1] != 0 ? lanes.n - 1 - k : k) * lanes.inner;
        if (wide_class(dtype) == WIDE_REAL) {
            wide_load_real(dtype, call->inputs[0], at, 1, 1, &real);
            const double before = sum;
            sum = product ? sum * real : sum + real;
            wide_store_real(dtype, call->outputs[0], at, 1, exclusive ? &before : &sum);
        } else {
            wide_load_int(dtype, call->inputs[0], at, 1, 1, &whole);
            const int64_t before = total;
            total = int_step(product ? REDUCE_PROD : REDUCE_SUM, true, total, whole);
            wide_store_int(dtype, call->outputs[0], at, 1, exclusive ? &before : &total);
        }
    }
}

void reference_cumulate(const struct reference_call *call) {
    const struct lanes lanes = lanes_of(&call->desc->inputs[0].shape, call->desc->attrs.axis);
    for (int64_t o = 0; o < lanes.outer; o++) {
        for (int64_t i = 0; i < lanes.inner; i++) {
            cumulate_lane(call, o * lanes.n * lanes.inner + i, lanes);
        }
    }
}

/* Elimination with row pivots, in place. */
static double eliminate(double *a, int64_t n) {
    double product = 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < n; i++) {
            pivot = fabs(a[i * n + k]) > fabs(a[pivot * n + k]) ? i : pivot;
        }
        if (a[pivot * n + k] == 0) {
            return 0;
        }
        for (int64_t j = 0; j < n && pivot != k; j++) {
            const double other = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = other;
        }
        product *= pivot != k ? -a[k * n + k] : a[k * n + k];
        for (int64_t i = k + 1; i < n; i++) {
            const double factor = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; j < n; j++) {
                a[i * n + j] -= factor * a[k * n + j];
            }
        }
    }
    return product;
}

void reference_determinant(const struct reference_call *call) {
    const struct tensor_type *x = &call->desc->inputs[0];
    const int64_t n = x->shape.dims[x->shape.rank - 1];
    int64_t count = 0;
    (void)shape_count(&call->desc->outputs[0].shape, &count);
    double *a = (double *)(void *)call->scratch;
    for (int64_t i = 0; i < count; i++) {
        wide_load_real(x->dtype, call->inputs[0], i * n * n, 1, n * n, a);
        const double value = eliminate(a, n);
        wide_store_real(x->dtype, call->outputs[0], i, 1, &value);
    }
}
