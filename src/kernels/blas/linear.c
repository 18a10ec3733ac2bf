/* x [M,K], residual [M,N]?, w [N,K], bias [N]? → y [M,N] = activation(x·wᵀ + bias) + residual */
#include "kernels/blas/blas.h"

#include <cblas.h>
#include <string.h>

struct rows {
    const float *data;
    int64_t stride;
};

static const float *row(const void *source, int64_t m, float *buffer) {
    (void)buffer;
    const struct rows *rows = source;
    return rows->data + m * rows->stride;
}

static void dimensions(struct blas_kernel *kernel) {
    kernel->columns = kernel->desc.params[0].shape.dims[0];
    kernel->depth = kernel->desc.params[0].shape.dims[1];
    kernel->rows = blas_count(&kernel->desc.inputs[0]) / kernel->depth;
}

static void set_packed(struct blas_kernel *kernel, int64_t weights) {
    kernel->bias_offset = blas_bytes(weights);
    kernel->sizes.packed_bytes =
        kernel->bias_offset + (kernel->desc.param_count > 1 ? blas_bytes(kernel->columns) : 0);
}

static void pack_bias(const struct blas_kernel *kernel, const void *const params[], char *packed) {
    if (kernel->desc.param_count > 1) {
        memcpy(packed + kernel->bias_offset, params[1], (size_t)kernel->columns * sizeof(float));
    }
}

static const float *bias_of(const struct blas_call *call) {
    const struct blas_kernel *kernel = call->kernel;
    return kernel->desc.param_count > 1
               ? (const float *)(const void *)(call->packed + kernel->bias_offset)
               : NULL;
}

static void prepare_vector(struct blas_kernel *kernel) {
    const struct vector_ops *vector = kernel->vector;
    dimensions(kernel);
    set_packed(kernel, vector->packed_count(kernel->depth, kernel->columns));
    const int threads = kernel->threads;
    /* Columns share the reading of weights; with few of them the rows are split instead. */
    kernel->by_rows = kernel->columns < (int64_t)4 * threads * vector->panel;
    kernel->thread_scratch = blas_bytes(vector->gemm_scratch(kernel->rows, kernel->depth));
}

static shoal_status pack_vector(const struct blas_kernel *kernel, const void *const params[],
                                char *packed, struct shoal_error *error) {
    (void)error;
    kernel->vector->pack_columns(params[0], kernel->depth, kernel->depth, kernel->columns,
                                 (float *)(void *)packed);
    pack_bias(kernel, params, packed);
    return SHOAL_OK;
}

static void work_vector(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const struct rows x = {call->inputs[0], kernel->depth};
    const struct vector_gemm gemm = {
        .columns = kernel->columns,
        .depth = kernel->depth,
        .row = row,
        .source = &x,
        .packed = (const float *)(const void *)call->packed,
        .bias = bias_of(call),
        .residual = kernel->desc.input_count > 1 ? call->inputs[1] : NULL,
        .y = call->outputs[0],
        .y_stride = kernel->columns,
        .scale = 1,
        .activation = kernel->desc.attrs.activation,
    };
    const int64_t panels = (kernel->columns + kernel->vector->panel - 1) / kernel->vector->panel;
    int64_t first_row = 0;
    int64_t last_row = kernel->rows;
    int64_t first = 0;
    int64_t last = panels;
    if (kernel->by_rows) {
        vector_part(kernel->rows, index, count, &first_row, &last_row);
    } else {
        vector_part(panels, index, count, &first, &last);
    }
    float *scratch = (float *)(void *)(call->scratch + (size_t)index * kernel->thread_scratch);
    kernel->vector->gemm(&gemm, first_row, last_row, first, last, scratch);
}

const struct blas_function blas_linear_vector = {prepare_vector, pack_vector, work_vector, 1U << 1};

static void prepare_cblas(struct blas_kernel *kernel) {
    dimensions(kernel);
    set_packed(kernel, kernel->columns * kernel->depth);
}

static shoal_status pack_cblas(const struct blas_kernel *kernel, const void *const params[],
                               char *packed, struct shoal_error *error) {
    (void)error;
    memcpy(packed, params[0], (size_t)(kernel->columns * kernel->depth) * sizeof(float));
    pack_bias(kernel, params, packed);
    return SHOAL_OK;
}

static void work_cblas(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct blas_kernel *kernel = call->kernel;
    const float *w = (const float *)(const void *)call->packed;
    const float *bias = bias_of(call);
    int64_t first = 0;
    int64_t last = 0;
    vector_part(kernel->columns, index, count, &first, &last);
    if (first == last) {
        return;
    }
    float *y = (float *)call->outputs[0] + first;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)kernel->rows,
                (blasint)(last - first), (blasint)kernel->depth, 1, call->inputs[0],
                (blasint)kernel->depth, w + first * kernel->depth, (blasint)kernel->depth, 0, y,
                (blasint)kernel->columns);
    for (int64_t m = 0; m < kernel->rows; m++, y += kernel->columns) {
        if (bias != NULL) {
            kernel->vector->add(y, bias + first, 1, last - first, y);
        }
        kernel->vector->activate(kernel->desc.attrs.activation, y, last - first, y);
        if (kernel->desc.input_count > 1) {
            const float *residual = (const float *)call->inputs[1] + m * kernel->columns + first;
            kernel->vector->add(y, residual, 1, last - first, y);
        }
    }
}

const struct blas_function blas_linear_cblas = {prepare_cblas, pack_cblas, work_cblas, 0};
