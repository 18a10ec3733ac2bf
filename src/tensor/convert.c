#include "tensor/convert.h"

#include <string.h>

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float convert_f16_to_f32(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000U) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1FU;
    const uint32_t mantissa = bits & 0x3FFU;
    if (exponent == 0x1FU) { /* infinity or NaN */
        return float_of_bits(sign | 0x7F800000U | (mantissa << 13));
    }
    if (exponent == 0) { /* zero or subnormal: mantissa · 2⁻²⁴, exact in f32 */
        const float magnitude = (float)mantissa * 0x1p-24F;
        return sign != 0 ? -magnitude : magnitude;
    }
    return float_of_bits(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

uint16_t convert_f32_to_f16(float value) {
    const uint32_t bits = bits_of_float(value);
    const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000U);
    const uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) { /* NaN stays NaN */
        return (uint16_t)(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
    }
    if (magnitude >= 0x477FF000U) { /* rounds to 65536 or more */
        return (uint16_t)(sign | 0x7C00U);
    }
    if (magnitude < 0x38800000U) { /* below 2⁻¹⁴: subnormal; adding 0.5 leaves round(value · 2²⁴) in
                                      the low bits */
        const uint32_t shifted = bits_of_float(float_of_bits(magnitude) + 0.5F);
        return (uint16_t)(sign | (shifted - 0x3F000000U));
    }
    const uint32_t odd = (magnitude >> 13) & 1U;
    return (uint16_t)(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13));
}

float convert_bf16_to_f32(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

uint16_t convert_f32_to_bf16(float value) {
    const uint32_t bits = bits_of_float(value);
    if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
        return (uint16_t)((bits >> 16) | 0x40U);
    }
    return (uint16_t)((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

#define CONVERT_LOOP(type, expression)                                    \
    do {                                                                  \
        for (size_t i = 0; i < count; i++) {                              \
            type element;                                                 \
            memcpy(&element, bytes + i * sizeof element, sizeof element); \
            to[i] = (expression);                                         \
        }                                                                 \
    } while (0)

bool convert_to_f32(enum dtype dtype, const void *from, float *to, size_t count) {
    const unsigned char *bytes = from;
    switch (dtype) {
    case DTYPE_F32:
        memcpy(to, from, count * sizeof *to);
        return true;
    case DTYPE_F16:
        CONVERT_LOOP(uint16_t, convert_f16_to_f32(element));
        return true;
    case DTYPE_BF16:
        CONVERT_LOOP(uint16_t, convert_bf16_to_f32(element));
        return true;
    case DTYPE_F64:
        CONVERT_LOOP(double, (float)element);
        return true;
    case DTYPE_I8:
        CONVERT_LOOP(int8_t, (float)element);
        return true;
    case DTYPE_U8:
        CONVERT_LOOP(uint8_t, (float)element);
        return true;
    case DTYPE_I16:
        CONVERT_LOOP(int16_t, (float)element);
        return true;
    case DTYPE_U16:
        CONVERT_LOOP(uint16_t, (float)element);
        return true;
    case DTYPE_I32:
        CONVERT_LOOP(int32_t, (float)element);
        return true;
    case DTYPE_U32:
        CONVERT_LOOP(uint32_t, (float)element);
        return true;
    case DTYPE_I64:
        CONVERT_LOOP(int64_t, (float)element);
        return true;
    case DTYPE_U64:
        CONVERT_LOOP(uint64_t, (float)element);
        return true;
    case DTYPE_F8E4M3FN:
    case DTYPE_F8E4M3FNUZ:
    case DTYPE_F8E5M2:
    case DTYPE_F8E5M2FNUZ:
    case DTYPE_F8E8M0:
    case DTYPE_F4E2M1:
        CONVERT_LOOP(uint8_t, convert_f8_to_f32(dtype, element));
        return true;
    case DTYPE_I4:
    case DTYPE_I2:
        CONVERT_LOOP(int8_t, (float)element);
        return true;
    case DTYPE_U4:
    case DTYPE_U2:
        CONVERT_LOOP(uint8_t, (float)element);
        return true;
    case DTYPE_BOOL:
    case DTYPE_COUNT:
        break;
    }
    return false;
}

bool convert_elements(enum dtype from_dtype, const void *from, enum dtype to_dtype, void *to,
                      size_t count) {
    if (to_dtype == DTYPE_F32) {
        return convert_to_f32(from_dtype, from, to, count);
    }
    if (from_dtype == to_dtype) {
        memcpy(to, from, count * dtype_size(to_dtype));
    }
    return from_dtype == to_dtype;
}
