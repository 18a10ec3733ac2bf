/* Products of two values: b is packed in every call. */
#include "kernels/blas/network.h"

#include <string.h>

bool blas_product_fits(const struct kernel_desc *desc) {
    return desc->op == OP_PRODUCT && desc->inputs[0].dtype == DTYPE_F32 &&
           desc->inputs[0].shape.rank >= 2 && desc->inputs[1].shape.rank >= 2 &&
           blas_count(&desc->outputs[0]) > 0 && blas_count(&desc->inputs[0]) > 0;
}

/* The matrices of one call, and how b's are shared. */
struct product {
    int64_t batch, rows, columns, depth;
    bool by_matrix, by_rows; /* how threads split: whole matrices, else rows, else columns */
};

static struct product product_of(const struct kernel_desc *desc, int threads, int panel) {
    const struct shape *a = &desc->inputs[0].shape, *y = &desc->outputs[0].shape;
    struct product p = {.rows = y->dims[y->rank - 2], .columns = y->dims[y->rank - 1]};
    p.depth = a->dims[a->rank - (desc->attrs.transpose_a ? 2 : 1)];
    p.batch = blas_count(&desc->outputs[0]) / (p.rows * p.columns);
    if (desc->inputs[1].shape.rank == 2 && !desc->attrs.transpose_a) {
        p.rows *= p.batch; /* one b for all: one tall product */
        p.batch = 1;
    }
    p.by_matrix = p.batch >= threads;
    p.by_rows = p.columns < (int64_t)2 * threads * panel;
    return p;
}

/* Columns of b that thread `index` packs. */
static void columns_of(const struct product *p, int panel, int index, int count, int64_t *first,
                       int64_t *last) {
    if (p->by_matrix || p->by_rows) {
        *first = 0;
        *last = p->columns;
        return;
    }
    vector_part((p->columns + panel - 1) / panel, index, count, first, last);
    *first *= panel;
    *last = *last * panel < p->columns ? *last * panel : p->columns;
}

static void prepare_product(struct blas_kernel *kernel) {
    const struct vector_ops *vector = kernel->vector;
    const struct product p = product_of(&kernel->desc, kernel->threads, vector->panel);
    int64_t most = 0;
    for (int i = 0; i < kernel->threads; i++) {
        int64_t first = 0, last = 0;
        columns_of(&p, vector->panel, i, kernel->threads, &first, &last);
        const int64_t packed = last > first ? vector->packed_count(p.depth, last - first) : 0;
        most = packed > most ? packed : most;
    }
    kernel->rows = most; /* elements of packed b */
    kernel->thread_scratch = blas_bytes(most) + blas_bytes(vector->gemm_scratch(p.rows, p.depth));
}

struct source {
    const float *data;
    int64_t row_step, column_step, depth;
};

static const float *row_as_it_is(const void *context, int64_t m, float *buffer) {
    (void)buffer;
    const struct source *source = context;
    return source->data + m * source->row_step;
}

static const float *row_gathered(const void *context, int64_t m, float *buffer) {
    const struct source *source = context;
    const float *from = source->data + m * source->row_step;
    for (int64_t k = 0; k < source->depth; k++) {
        buffer[k] = from[k * source->column_step];
    }
    return buffer;
}

/* Where matrix `index` of the result finds its operand. */
static int64_t matrix_of(const struct shape *x, const struct shape *y, int64_t index) {
    int64_t step = 1, at = 0;
    for (int i = 3; i <= y->rank; i++) {
        const int64_t dim = i <= x->rank ? x->dims[x->rank - i] : 1;
        at += dim == 1 ? 0 : index % y->dims[y->rank - i] * step;
        index /= y->dims[y->rank - i];
        step *= dim;
    }
    return at;
}

/* Rows first..last−1 of one matrix, columns from `column` on: packed b is in scratch. */
static void multiply(const struct blas_call *call, const struct product *p, int64_t matrix,
                     int64_t first_row, int64_t last_row, int64_t column, int64_t columns,
                     float *scratch) {
    const struct blas_kernel *kernel = call->kernel;
    const struct kernel_desc *desc = &kernel->desc;
    const bool turned = desc->attrs.transpose_a;
    const struct source source = {
        (const float *)call->inputs[0] +
            matrix_of(&desc->inputs[0].shape, &desc->outputs[0].shape, matrix) * p->depth * p->rows,
        turned ? 1 : p->depth, turned ? p->rows : 1, p->depth};
    const struct vector_gemm gemm = {
        .columns = columns,
        .depth = p->depth,
        .row = turned ? row_gathered : row_as_it_is,
        .source = &source,
        .packed = scratch,
        .y = (float *)call->outputs[0] + matrix * p->rows * p->columns + column,
        .y_stride = p->columns,
        .scale = desc->attrs.scale,
    };
    const int panel = kernel->vector->panel;
    kernel->vector->gemm(&gemm, first_row, last_row, 0, (columns + panel - 1) / panel,
                         scratch + blas_bytes(kernel->rows) / sizeof(float));
}

static void pack(const struct blas_call *call, const struct product *p, int64_t matrix,
                 int64_t column, int64_t columns, float *packed) {
    const struct kernel_desc *desc = &call->kernel->desc;
    const float *b =
        (const float *)call->inputs[1] +
        matrix_of(&desc->inputs[1].shape, &desc->outputs[0].shape, matrix) * p->depth * p->columns;
    if (desc->attrs.transpose_b) {
        call->kernel->vector->pack_columns(b + column * p->depth, p->depth, p->depth, columns,
                                           packed);
    } else {
        call->kernel->vector->pack_rows(b + column, p->columns, p->depth, columns, packed);
    }
}

static void work_product(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const struct product p = product_of(&kernel->desc, kernel->threads, kernel->vector->panel);
    float *scratch = (float *)(void *)(call->scratch + (size_t)index * kernel->thread_scratch);
    int64_t first = 0, last = p.batch, first_row = 0, last_row = p.rows, column = 0, end = 0;
    columns_of(&p, kernel->vector->panel, index, count, &column, &end);
    if (p.by_matrix) {
        vector_part(p.batch, index, count, &first, &last);
    } else if (p.by_rows) {
        vector_part(p.rows, index, count, &first_row, &last_row);
    }
    if (end <= column || last_row <= first_row) {
        return;
    }
    for (int64_t matrix = first; matrix < last; matrix++) {
        pack(call, &p, matrix, column, end - column, scratch);
        multiply(call, &p, matrix, first_row, last_row, column, end - column, scratch);
    }
}

const struct blas_function blas_product = {prepare_product, NULL, work_product, 0};
