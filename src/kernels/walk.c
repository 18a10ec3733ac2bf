#include "kernels/walk.h"

#include "base/assert.h"

void walk_strides(const struct shape *shape, int64_t strides[SHAPE_MAX_RANK]) {
    int64_t step = 1;
    for (int i = shape->rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= shape->dims[i];
    }
}

void walk_over(struct walk *walk, const struct shape *y) {
    *walk = (struct walk){.rank = y->rank, .operands = 1};
    for (int i = 0; i < y->rank; i++) {
        walk->dims[i] = y->dims[i];
    }
    walk_strides(y, walk->strides[0]);
}

void walk_add(struct walk *walk, const struct shape *x) {
    int64_t *strides = walk->strides[walk->operands++];
    int64_t step = 1;
    for (int i = 1; i <= walk->rank; i++) {
        const int64_t dim = i <= x->rank ? x->dims[x->rank - i] : 1;
        strides[walk->rank - i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

void walk_add_strides(struct walk *walk, const int64_t strides[SHAPE_MAX_RANK]) {
    ASSERT(walk->operands < WALK_OPERANDS);
    for (int i = 0; i < walk->rank; i++) {
        walk->strides[walk->operands][i] = strides[i];
    }
    walk->operands++;
}

static void move_axis(struct walk *walk, int from, int to) {
    walk->dims[to] = walk->dims[from];
    for (int k = 0; k < walk->operands; k++) {
        walk->strides[k][to] = walk->strides[k][from];
    }
}

/* Whether a step along `outer` is as long as all of `inner`, in every operand. */
static bool continues(const struct walk *walk, int outer, int inner) {
    for (int k = 0; k < walk->operands; k++) {
        if (walk->strides[k][outer] != walk->strides[k][inner] * walk->dims[inner]) {
            return false;
        }
    }
    return true;
}

void walk_merge(struct walk *walk) {
    int rank = 0;
    for (int i = 0; i < walk->rank; i++) {
        if (walk->dims[i] == 1) {
            continue;
        }
        if (rank > 0 && continues(walk, rank - 1, i)) {
            const int64_t outer = walk->dims[rank - 1];
            move_axis(walk, i, rank - 1);
            walk->dims[rank - 1] *= outer;
        } else {
            move_axis(walk, i, rank++);
        }
    }
    walk->rank = rank;
}

int64_t walk_count(const struct walk *walk) {
    int64_t count = 1;
    for (int i = 0; i < walk->rank; i++) {
        count *= walk->dims[i];
    }
    return count;
}

/* From one run to the next: the axes before the last, as an odometer. */
static void next_run(const struct walk *walk, int64_t at[SHAPE_MAX_RANK],
                     int64_t offsets[WALK_OPERANDS]) {
    for (int axis = walk->rank - 2; axis >= 0; axis--) {
        const bool wraps = ++at[axis] == walk->dims[axis];
        for (int k = 0; k < walk->operands; k++) {
            offsets[k] += walk->strides[k][axis] * (wraps ? 1 - walk->dims[axis] : 1);
        }
        if (!wraps) {
            return;
        }
        at[axis] = 0;
    }
}

void walk_part(const struct walk *walk, int64_t first, int64_t last,
               void (*row)(void *context, const int64_t offsets[WALK_OPERANDS],
                           const int64_t steps[WALK_OPERANDS], int64_t n),
               void *context) {
    int64_t offsets[WALK_OPERANDS] = {0}, begin[WALK_OPERANDS], steps[WALK_OPERANDS] = {0};
    int64_t at[SHAPE_MAX_RANK] = {0};
    const int inner = walk->rank - 1;
    const int64_t n = inner >= 0 ? walk->dims[inner] : 1;
    if (first >= last) {
        return;
    }
    int64_t place = first % n; /* within the run; n ≥ 1, for there is an element */
    int64_t rest = first / n;
    for (int axis = inner - 1; axis >= 0; axis--) {
        at[axis] = rest % walk->dims[axis];
        rest /= walk->dims[axis];
    }
    for (int k = 0; k < walk->operands && inner >= 0; k++) {
        steps[k] = walk->strides[k][inner];
        for (int axis = 0; axis < inner; axis++) {
            offsets[k] += at[axis] * walk->strides[k][axis];
        }
    }
    for (int64_t i = first; i < last;) {
        const int64_t some = n - place < last - i ? n - place : last - i;
        for (int k = 0; k < WALK_OPERANDS; k++) {
            begin[k] = offsets[k] + place * steps[k];
        }
        row(context, begin, steps, some);
        i += some;
        place = 0;
        next_run(walk, at, offsets);
    }
}

void walk_rows(const struct walk *walk,
               void (*row)(void *context, const int64_t offsets[WALK_OPERANDS],
                           const int64_t steps[WALK_OPERANDS], int64_t n),
               void *context) {
    walk_part(walk, 0, walk_count(walk), row, context);
}
