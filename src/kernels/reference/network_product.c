/* Products of any rank. */
#include "kernels/reference/network.h"

#include "kernels/op_window.h"

#include <string.h>

/* The matrices of one operand: elements between rows and between columns. */
struct operand {
    int64_t rows, columns, row_step, column_step;
};

static struct operand operand_of(const struct shape *x, bool transpose, bool left) {
    if (x->rank == 1) { /* a row on the left, a column on the right */
        return left ? (struct operand){1, x->dims[0], 0, 1} : (struct operand){x->dims[0], 1, 1, 0};
    }
    const int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    return transpose ? (struct operand){columns, rows, 1, columns}
                     : (struct operand){rows, columns, columns, 1};
}

/* Elements one step along each batch axis of the result moves in x. */
static void batch_steps(const struct shape *x, const struct shape *batch, int64_t *steps) {
    struct shape outer = *x;
    const int64_t matrix = x->rank > 1 ? x->dims[x->rank - 2] * x->dims[x->rank - 1] : x->dims[0];
    outer.rank = x->rank > 2 ? x->rank - 2 : 0;
    reference_broadcast_steps(&outer, batch, steps);
    for (int i = 0; i < batch->rank; i++) {
        steps[i] *= matrix;
    }
}

#define MULTIPLY(name, type, sum_type)                                                     \
    static void name(const struct operand *l, const struct operand *r, const void *a_data, \
                     const void *b_data, int64_t a_at, int64_t b_at, float scale, void *y, \
                     int64_t y_at) {                                                       \
        const type *a = (const type *)a_data + a_at, *b = (const type *)b_data + b_at;     \
        type *to = (type *)y + y_at;                                                       \
        for (int64_t i = 0; i < l->rows; i++) {                                            \
            for (int64_t j = 0; j < r->columns; j++) {                                     \
                sum_type sum = 0;                                                          \
                for (int64_t k = 0; k < l->columns; k++) {                                 \
                    sum += (sum_type)a[i * l->row_step + k * l->column_step] *             \
                           (sum_type)b[k * r->row_step + j * r->column_step];              \
                }                                                                          \
                *to++ = (type)(sum * (sum_type)scale);                                     \
            }                                                                              \
        }                                                                                  \
    }

MULTIPLY(multiply_f32, float, float)
MULTIPLY(multiply_f64, double, double)
MULTIPLY(multiply_u32, uint32_t, uint32_t) /* i32 as well: they wrap around alike */
MULTIPLY(multiply_u64, uint64_t, uint64_t)

void reference_product(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *a = &desc->inputs[0].shape, *b = &desc->inputs[1].shape;
    const struct operand left = operand_of(a, desc->attrs.transpose_a && a->rank > 1, true);
    const struct operand right = operand_of(b, desc->attrs.transpose_b && b->rank > 1, false);
    struct shape batch = desc->outputs[0].shape;
    batch.rank -= (a->rank > 1 ? 1 : 0) + (b->rank > 1 ? 1 : 0);
    int64_t a_steps[SHAPE_MAX_RANK], b_steps[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0};
    batch_steps(a, &batch, a_steps);
    batch_steps(b, &batch, b_steps);
    int64_t y_at = 0;
    if (reference_count(&desc->outputs[0]) == 0) {
        return;
    }
    do {
        int64_t a_at = 0, b_at = 0;
        for (int i = 0; i < batch.rank; i++) {
            a_at += at[i] * a_steps[i];
            b_at += at[i] * b_steps[i];
        }
        const size_t size = dtype_size(desc->inputs[0].dtype);
        void (*const multiply)(const struct operand *, const struct operand *, const void *,
                               const void *, int64_t, int64_t, float, void *, int64_t) =
            desc->inputs[0].dtype == DTYPE_F32   ? multiply_f32
            : desc->inputs[0].dtype == DTYPE_F64 ? multiply_f64
            : size == 4                          ? multiply_u32
                                                 : multiply_u64;
        multiply(&left, &right, call->inputs[0], call->inputs[1], a_at, b_at, desc->attrs.scale,
                 call->outputs[0], y_at);
        y_at += left.rows * right.columns;
    } while (window_next(at, batch.dims, batch.rank));
}

/* How EINSUM walks: for each label its size, and the step it makes in each input. */
struct walk {
    int inputs, outer, inner; /* labels of the result come first */
    int64_t dims[EINSUM_LABELS];
    int64_t steps[OP_MAX_INPUTS][EINSUM_LABELS];
};

static int label_of(int64_t labels, int axis) {
    return (int)((uint64_t)labels >> (8 * axis) & 0xFF);
}

static struct walk walk_of(const struct kernel_desc *desc) {
    struct walk walk = {.inputs = desc->input_count};
    int order[EINSUM_LABELS]; /* label → place, −1 for unseen */
    memset(order, 0xFF, sizeof order);
    const int64_t result = desc->attrs.ints[EINSUM_RESULT];
    walk.outer = desc->outputs[0].shape.rank;
    int next = walk.outer;
    for (int i = 0; i < walk.outer; i++) {
        order[label_of(result, i)] = i;
        walk.dims[i] = desc->outputs[0].shape.dims[i];
    }
    for (int i = 0; i < desc->input_count; i++) {
        const struct shape *x = &desc->inputs[i].shape;
        int64_t step = 1;
        for (int axis = x->rank - 1; axis >= 0; axis--) {
            const int label = label_of(desc->attrs.ints[i], axis);
            if (order[label] < 0) {
                order[label] = next++;
                walk.dims[order[label]] = x->dims[axis];
            }
            walk.steps[i][order[label]] += step; /* a label twice walks the diagonal */
            step *= x->dims[axis];
        }
    }
    walk.inner = next - walk.outer;
    return walk;
}

#define SUM(name, type, product_type)                                                        \
    static void name(const struct walk *walk, const void *const *inputs, const int64_t *out, \
                     void *y, int64_t index) {                                               \
        int64_t at[EINSUM_LABELS] = {0};                                                     \
        product_type sum = 0;                                                                \
        do {                                                                                 \
            product_type product = 1;                                                        \
            for (int i = 0; i < walk->inputs; i++) {                                         \
                int64_t place = 0;                                                           \
                for (int k = 0; k < walk->outer; k++) {                                      \
                    place += out[k] * walk->steps[i][k];                                     \
                }                                                                            \
                for (int k = 0; k < walk->inner; k++) {                                      \
                    place += at[k] * walk->steps[i][walk->outer + k];                        \
                }                                                                            \
                product *= (product_type)((const type *)inputs[i])[place];                   \
            }                                                                                \
            sum += product;                                                                  \
        } while (window_next(at, walk->dims + walk->outer, walk->inner));                    \
        ((type *)y)[index] = (type)sum;                                                      \
    }

SUM(sum_f32, float, float)
SUM(sum_f64, double, double)
SUM(sum_u32, uint32_t, uint32_t)
SUM(sum_u64, uint64_t, uint64_t)

void reference_einsum(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct walk walk = walk_of(desc);
    const enum dtype dtype = desc->inputs[0].dtype;
    const int64_t total = reference_count(&desc->outputs[0]);
    int64_t out[EINSUM_LABELS] = {0};
    for (int k = 0; k < walk.inner; k++) {
        if (walk.dims[walk.outer + k] == 0) { /* sums of nothing */
            memset(call->outputs[0], 0, (size_t)total * dtype_size(dtype));
            return;
        }
    }
    for (int64_t i = 0; i < total; i++) {
        switch ((int)dtype) {
        case DTYPE_F32:
            sum_f32(&walk, call->inputs, out, call->outputs[0], i);
            break;
        case DTYPE_F64:
            sum_f64(&walk, call->inputs, out, call->outputs[0], i);
            break;
        case DTYPE_I32:
            sum_u32(&walk, call->inputs, out, call->outputs[0], i);
            break;
        default:
            sum_u64(&walk, call->inputs, out, call->outputs[0], i);
            break;
        }
        (void)window_next(out, walk.dims, walk.outer);
    }
}
