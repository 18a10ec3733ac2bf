/* Floats of 16 bits and less, from their description. */
#include "tensor/convert.h"

#include <math.h>
#include <string.h>

/* Codes without the sign bit. Where nan == sign there is but one NaN, in the place of −0. */
struct format {
    int mantissa_bits, bias;
    unsigned sign, largest, infinity, nan; /* infinity 0: the type has none */
};

static const struct format e4m3fn = {3, 7, 0x80, 0x7E, 0, 0x7F};
static const struct format e4m3fnuz = {3, 8, 0x80, 0x7F, 0, 0x80};
static const struct format e5m2 = {2, 15, 0x80, 0x7B, 0x7C, 0x7E};
static const struct format e5m2fnuz = {2, 16, 0x80, 0x7F, 0, 0x80};
static const struct format e2m1 = {1, 1, 0x8, 0x7, 0, 0x8};
static const struct format f16 = {10, 15, 0x8000, 0x7BFF, 0x7C00, 0x7E00};
static const struct format bf16 = {7, 127, 0x8000, 0x7F7F, 0x7F80, 0x7FC0};

static const struct format *format_of(enum dtype dtype) {
    switch ((int)dtype) {
    case DTYPE_F8E4M3FN:
        return &e4m3fn;
    case DTYPE_F8E4M3FNUZ:
        return &e4m3fnuz;
    case DTYPE_F8E5M2:
        return &e5m2;
    case DTYPE_F8E5M2FNUZ:
        return &e5m2fnuz;
    case DTYPE_F4E2M1:
        return &e2m1;
    default:
        return NULL;
    }
}

static unsigned sign_of(const struct format *format, double value) {
    return signbit(value) != 0 ? format->sign : 0;
}

static unsigned encode(const struct format *format, double value, bool saturate) {
    const unsigned sign = sign_of(format, value);
    if (isnan(value)) {
        return format == &e2m1 || format->nan == format->sign ? format->nan : sign | format->nan;
    }
    int exponent = 0; /* |value| = f·2^exponent, ½ ≤ f < 1 */
    (void)frexp(value, &exponent);
    const int least = 1 - format->bias; /* of the exponents of normal numbers */
    const int power = value != 0 && exponent - 1 > least ? exponent - 1 : least;
    unsigned code = format->largest + 1;
    if (!isinf(value) && power < 1024 - format->mantissa_bits) {
        /* in units of the last place; 2^(mantissa_bits+1) of them are the next power's first */
        const double units = rint(ldexp(fabs(value), format->mantissa_bits - power));
        const double first = ldexp(1, format->mantissa_bits);
        const double place = (double)(power - least) * first + units;
        code = place > (double)format->largest ? code : (unsigned)place;
    }
    if (code <= format->largest) {
        return code == 0 && format->nan == format->sign && format != &e2m1 ? 0 : sign | code;
    }
    if (saturate || format == &e2m1) {
        return sign | format->largest;
    }
    if (format->infinity != 0) {
        return sign | format->infinity;
    }
    return format->nan == format->sign ? format->nan : sign | format->nan;
}

static float decode(const struct format *format, unsigned bits) {
    const unsigned code = bits & (format->sign - 1);
    if (format != &e2m1 && format->nan == format->sign && bits == format->nan) {
        return NAN;
    }
    if (code > format->largest) {
        const float special = code == format->infinity ? INFINITY : NAN;
        return (bits & format->sign) != 0 ? -special : special;
    }
    const unsigned exponent = code >> format->mantissa_bits;
    const unsigned hidden = exponent > 0 ? 1U << format->mantissa_bits : 0;
    const unsigned mantissa = (code & ((1U << format->mantissa_bits) - 1)) | hidden;
    const int power = (int)(exponent > 0 ? exponent : 1) - format->bias - format->mantissa_bits;
    const float magnitude = ldexpf((float)mantissa, power);
    return (bits & format->sign) != 0 ? -magnitude : magnitude;
}

float convert_f8_to_f32(enum dtype dtype, uint8_t bits) {
    if (dtype == DTYPE_F8E8M0) {
        return bits == 0xFF ? NAN : ldexpf(1, (int)bits - 127);
    }
    const struct format *format = format_of(dtype);
    return format != NULL ? decode(format, bits) : 0;
}

uint8_t convert_f64_to_f8e8m0(double value, enum convert_rounding rounding, bool saturate) {
    const float narrow = (float)value;
    uint32_t bits = 0;
    memcpy(&bits, &narrow, sizeof bits);
    const unsigned exponent = bits >> 23 & 0xFFU;
    const unsigned fraction = bits & 0x7FFFFFU;
    if (exponent == 0xFF) {
        return 0xFF;
    }
    const bool more = rounding == CONVERT_UP
                          ? fraction > 0
                          : rounding == CONVERT_NEAREST &&
                                (fraction > 0x400000U || (fraction == 0x400000U && exponent > 0));
    return (uint8_t)(exponent + (more && !(saturate && exponent == 0xFE) ? 1U : 0U));
}

uint8_t convert_f64_to_f8(enum dtype dtype, double value, bool saturate) {
    if (dtype == DTYPE_F8E8M0) {
        return convert_f64_to_f8e8m0(value, CONVERT_UP, saturate);
    }
    const struct format *format = format_of(dtype);
    return format != NULL ? (uint8_t)encode(format, value, saturate) : 0;
}

uint16_t convert_f64_to_f16(double value) {
    return (uint16_t)encode(&f16, value, false);
}

uint16_t convert_f64_to_bf16(double value) {
    return (uint16_t)encode(&bf16, value, false);
}
