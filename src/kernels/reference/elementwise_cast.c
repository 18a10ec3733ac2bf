/* From any element type to any other. */
#include "kernels/reference/elementwise.h"

#include "tensor/convert.h"

#include <string.h>

static void store_reals(const struct op_attrs *attrs, void *to, int64_t at, int64_t n,
                        const double *values) {
    const enum dtype dtype = (enum dtype)attrs->mode;
    const bool saturate = attrs->index == 0;
    uint8_t *bytes = (uint8_t *)to + at;
    switch ((int)dtype) {
    case DTYPE_F8E4M3FN:
    case DTYPE_F8E4M3FNUZ:
    case DTYPE_F8E5M2:
    case DTYPE_F8E5M2FNUZ:
    case DTYPE_F4E2M1:
        for (int64_t i = 0; i < n; i++) {
            bytes[i] = convert_f64_to_f8(dtype, values[i], saturate);
        }
        break;
    case DTYPE_F8E8M0:
        for (int64_t i = 0; i < n; i++) {
            bytes[i] =
                convert_f64_to_f8e8m0(values[i], (enum convert_rounding)attrs->axis, saturate);
        }
        break;
    default:
        wide_store_real(dtype, to, at, n, values);
        break;
    }
}

void reference_cast(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const enum dtype from = desc->inputs[0].dtype, to = desc->outputs[0].dtype;
    int64_t total = 0;
    (void)shape_count(&desc->inputs[0].shape, &total);
    if (from == to) {
        memmove(call->outputs[0], call->inputs[0], (size_t)total * dtype_size(from));
        return;
    }
    const bool to_integer = wide_class(to) != WIDE_REAL;
    /* u64 to real goes by way of double, which knows its sign */
    const bool real =
        wide_class(from) == WIDE_REAL || (wide_class(from) == WIDE_U64 && !to_integer);
    union {
        double reals[WIDE_CHUNK];
        int64_t ints[WIDE_CHUNK];
    } chunk;
    for (int64_t at = 0; at < total; at += WIDE_CHUNK) {
        const int64_t n = total - at < WIDE_CHUNK ? total - at : WIDE_CHUNK;
        if (real) {
            wide_load_real(from, call->inputs[0], at, 1, n, chunk.reals);
            store_reals(&desc->attrs, call->outputs[0], at, n, chunk.reals);
        } else {
            wide_load_int(from, call->inputs[0], at, 1, n, chunk.ints);
            wide_store_int(to, call->outputs[0], at, n, chunk.ints);
        }
    }
}
