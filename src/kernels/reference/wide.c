#include "kernels/reference/wide.h"

#include "tensor/convert.h"

#include <math.h>

enum wide_class wide_class(enum dtype dtype) {
    switch ((int)dtype) {
    case DTYPE_U64:
        return WIDE_U64;
    case DTYPE_I8:
    case DTYPE_U8:
    case DTYPE_I16:
    case DTYPE_U16:
    case DTYPE_I32:
    case DTYPE_U32:
    case DTYPE_I64:
    case DTYPE_BOOL:
    case DTYPE_I4:
    case DTYPE_U4:
    case DTYPE_I2:
    case DTYPE_U2:
        return WIDE_INT;
    default:
        return WIDE_REAL;
    }
}

#define LOAD(type, expression)                       \
    do {                                             \
        const type *x = (const type *)from + offset; \
        for (int64_t i = 0; i < n; i++) {            \
            const type element = x[i * step];        \
            out[i] = (expression);                   \
        }                                            \
    } while (0)

void wide_load_real(enum dtype dtype, const void *from, int64_t offset, int64_t step, int64_t n,
                    double *out) {
    switch ((int)dtype) {
    case DTYPE_F32:
        LOAD(float, (double)element);
        break;
    case DTYPE_F64:
        LOAD(double, element);
        break;
    case DTYPE_F16:
        LOAD(uint16_t, (double)convert_f16_to_f32(element));
        break;
    case DTYPE_BF16:
        LOAD(uint16_t, (double)convert_bf16_to_f32(element));
        break;
    case DTYPE_I8:
    case DTYPE_I4:
    case DTYPE_I2:
        LOAD(int8_t, (double)element);
        break;
    case DTYPE_U8:
    case DTYPE_U4:
    case DTYPE_U2:
    case DTYPE_BOOL:
        LOAD(uint8_t, (double)element);
        break;
    case DTYPE_I16:
        LOAD(int16_t, (double)element);
        break;
    case DTYPE_U16:
        LOAD(uint16_t, (double)element);
        break;
    case DTYPE_I32:
        LOAD(int32_t, (double)element);
        break;
    case DTYPE_U32:
        LOAD(uint32_t, (double)element);
        break;
    case DTYPE_I64:
        LOAD(int64_t, (double)element);
        break;
    case DTYPE_U64:
        LOAD(uint64_t, (double)element);
        break;
    default:
        LOAD(uint8_t, (double)convert_f8_to_f32(dtype, element));
        break;
    }
}

void wide_load_int(enum dtype dtype, const void *from, int64_t offset, int64_t step, int64_t n,
                   int64_t *out) {
    switch ((int)dtype) {
    case DTYPE_I8:
    case DTYPE_I4:
    case DTYPE_I2:
        LOAD(int8_t, element);
        break;
    case DTYPE_U8:
    case DTYPE_U4:
    case DTYPE_U2:
    case DTYPE_BOOL:
        LOAD(uint8_t, element);
        break;
    case DTYPE_I16:
        LOAD(int16_t, element);
        break;
    case DTYPE_U16:
        LOAD(uint16_t, element);
        break;
    case DTYPE_I32:
        LOAD(int32_t, element);
        break;
    case DTYPE_U32:
        LOAD(uint32_t, element);
        break;
    case DTYPE_I64:
    case DTYPE_U64:
        LOAD(int64_t, element);
        break;
    default: { /* a real one: towards 0 */
        for (int64_t i = 0; i < n; i++) {
            double value = 0;
            wide_load_real(dtype, from, offset + i * step, 1, 1, &value);
            out[i] = wide_truncate(value);
        }
        break;
    }
    }
}

#define STORE(type, expression)           \
    do {                                  \
        type *y = (type *)to + offset;    \
        for (int64_t i = 0; i < n; i++) { \
            y[i] = (type)(expression);    \
        }                                 \
    } while (0)

void wide_store_int(enum dtype dtype, void *to, int64_t offset, int64_t n, const int64_t *values) {
    switch ((int)dtype) {
    case DTYPE_F32:
        STORE(float, values[i]);
        break;
    case DTYPE_F64:
        STORE(double, values[i]);
        break;
    case DTYPE_I8:
    case DTYPE_U8:
        STORE(uint8_t, (uint64_t)values[i] & 0xFFU);
        break;
    case DTYPE_BOOL:
        STORE(uint8_t, values[i] != 0);
        break;
    case DTYPE_I16:
    case DTYPE_U16:
        STORE(uint16_t, (uint64_t)values[i] & 0xFFFFU);
        break;
    case DTYPE_I32:
    case DTYPE_U32:
        STORE(uint32_t, (uint64_t)values[i] & 0xFFFFFFFFU);
        break;
    case DTYPE_I64:
    case DTYPE_U64:
        STORE(int64_t, values[i]);
        break;
    case DTYPE_U4:
        STORE(uint8_t, (uint64_t)values[i] & 0xFU);
        break;
    case DTYPE_U2:
        STORE(uint8_t, (uint64_t)values[i] & 0x3U);
        break;
    case DTYPE_I4: /* the sign bit is taken off again from what was added: sign extension */
        STORE(int8_t, (int)(((uint64_t)values[i] & 0xFU) ^ 0x8U) - 0x8);
        break;
    case DTYPE_I2:
        STORE(int8_t, (int)(((uint64_t)values[i] & 0x3U) ^ 0x2U) - 0x2);
        break;
    default:
        for (int64_t i = 0; i < n; i++) {
            const double value = (double)values[i];
            wide_store_real(dtype, to, offset + i, 1, &value);
        }
        break;
    }
}

void wide_store_real(enum dtype dtype, void *to, int64_t offset, int64_t n, const double *values) {
    switch ((int)dtype) {
    case DTYPE_F32:
        STORE(float, values[i]);
        break;
    case DTYPE_F64:
        STORE(double, values[i]);
        break;
    case DTYPE_F16:
        STORE(uint16_t, convert_f64_to_f16(values[i]));
        break;
    case DTYPE_BF16:
        STORE(uint16_t, convert_f64_to_bf16(values[i]));
        break;
    case DTYPE_BOOL:
        STORE(uint8_t, values[i] != 0);
        break;
    case DTYPE_U64:
        STORE(uint64_t, wide_truncate_unsigned(values[i]));
        break;
    case DTYPE_F8E4M3FN:
    case DTYPE_F8E4M3FNUZ:
    case DTYPE_F8E5M2:
    case DTYPE_F8E5M2FNUZ:
    case DTYPE_F8E8M0:
    case DTYPE_F4E2M1:
        STORE(uint8_t, convert_f64_to_f8(dtype, values[i], true));
        break;
    default:
        for (int64_t i = 0; i < n; i++) {
            const int64_t value = wide_truncate(values[i]);
            wide_store_int(dtype, to, offset + i, 1, &value);
        }
        break;
    }
}

int64_t wide_truncate(double value) {
    if (isnan(value)) {
        return 0;
    }
    if (value >= 0x1p63) {
        return INT64_MAX;
    }
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}

uint64_t wide_truncate_unsigned(double value) {
    if (value >= 0x1p64) {
        return UINT64_MAX;
    }
    return value >= 0x1p63 ? (uint64_t)value : (uint64_t)wide_truncate(value);
}

int64_t wide_index(int64_t index, int64_t dim) {
    if (index < 0) {
        index = index < -dim ? 0 : index + dim;
    }
    return index < dim ? index : dim - 1;
}
