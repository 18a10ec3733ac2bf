/* What text models need beside matrix products: EMBED, MEAN_POOL, NORMALISE. */
#include "kernels/blas/blas.h"

#include <math.h>
#include <string.h>

/* The tables one behind the other; bytes from the start to table `index`. */
static size_t table_offset(const struct blas_kernel *kernel, int index) {
    size_t offset = 0;
    for (int i = 0; i < index; i++) {
        offset += blas_bytes(blas_count(&kernel->desc.params[i]));
    }
    return offset;
}

static void prepare_embed(struct blas_kernel *kernel) {
    kernel->sizes.packed_bytes = table_offset(kernel, kernel->desc.param_count);
}

static shoal_status pack_embed(const struct blas_kernel *kernel, const void *const params[],
                               char *packed, struct shoal_error *error) {
    (void)error;
    for (int i = 0; i < kernel->desc.param_count; i++) {
        memcpy(packed + table_offset(kernel, i), params[i],
               (size_t)blas_count(&kernel->desc.params[i]) * sizeof(float));
    }
    return SHOAL_OK;
}

/* Row `row` of table `table`, or the nearest there is. */
static const float *entry(const struct blas_call *call, int table, int64_t row) {
    const int64_t *dims = call->kernel->desc.params[table].shape.dims;
    row = row < 0 ? 0 : row >= dims[0] ? dims[0] - 1 : row;
    return (const float *)(const void *)(call->packed + table_offset(call->kernel, table)) +
           row * dims[1];
}

/* ids [B,T], types [B,T]?, word [V,C], position [P,C], type [S,C]? → y [B,T,C] */
static void work_embed(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct kernel_desc *desc = &call->kernel->desc;
    const int64_t *out = desc->outputs[0].shape.dims;
    const int32_t *ids = call->inputs[0];
    const int32_t *types = desc->input_count > 1 ? call->inputs[1] : NULL;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(out[0] * out[1], index, count, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const float *sum = entry(call, 0, ids[i]);
        float *y = (float *)call->outputs[0] + i * out[2];
        if (types != NULL) {
            call->kernel->vector->add(sum, entry(call, 2, types[i]), 1, out[2], y);
            sum = y;
        }
        call->kernel->vector->add(sum, entry(call, 1, i % out[1]), 1, out[2], y);
    }
}

static void prepare_nothing(struct blas_kernel *kernel) {
    (void)kernel;
}

/* x [B,T,C], mask [B,T] → y [B,C] */
static void work_mean_pool(void *context, int index, int count) {
    const struct blas_call *call = context;
    const int64_t *in = call->kernel->desc.inputs[0].shape.dims;
    int64_t first = 0;
    int64_t last = 0;
    vector_part(in[0], index, count, &first, &last);
    for (int64_t b = first; b < last; b++) {
        const float *x = (const float *)call->inputs[0] + b * in[1] * in[2];
        const float *mask = (const float *)call->inputs[1] + b * in[1];
        float *y = (float *)call->outputs[0] + b * in[2];
        float rows = 0;
        memset(y, 0, (size_t)in[2] * sizeof(float));
        for (int64_t t = 0; t < in[1]; t++) {
            if (mask[t] >= 0) {
                call->kernel->vector->add(y, x + t * in[2], 1, in[2], y);
                rows++;
            }
        }
        for (int64_t c = 0; c < in[2] && rows > 0; c++) {
            y[c] /= rows;
        }
    }
}

/* x [...,C] → y [...,C] */
static void work_normalise(void *context, int index, int count) {
    const struct blas_call *call = context;
    const struct shape *shape = &call->kernel->desc.inputs[0].shape;
    const int64_t channels = shape->dims[shape->rank - 1];
    int64_t first = 0;
    int64_t last = 0;
    vector_part(blas_count(&call->kernel->desc.inputs[0]) / channels, index, count, &first, &last);
    for (int64_t r = first; r < last; r++) {
        const float *x = (const float *)call->inputs[0] + r * channels;
        float *y = (float *)call->outputs[0] + r * channels;
        double squares = 0;
        for (int64_t c = 0; c < channels; c++) {
            squares += (double)x[c] * (double)x[c];
        }
        const double norm = fmax(sqrt(squares), (double)call->kernel->desc.attrs.epsilon);
        for (int64_t c = 0; c < channels; c++) {
            y[c] = (float)((double)x[c] / norm);
        }
    }
}

const struct blas_function blas_embed = {prepare_embed, pack_embed, work_embed, 0};
const struct blas_function blas_mean_pool = {prepare_nothing, NULL, work_mean_pool, 0};
const struct blas_function blas_normalise = {prepare_nothing, NULL, work_normalise, 1U << 0};
