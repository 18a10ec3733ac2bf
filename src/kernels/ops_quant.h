/* Quantised arithmetic. Included by op.h. */
#ifndef KERNELS_OPS_QUANT_H
#define KERNELS_OPS_QUANT_H

/*
 * q stands for u8, i8, u16, i16, u4, i4, u2 or i2. A quantised number is q = x/scale + zero,
 * rounded to the nearest even and kept within its type. Scales and zeros of one shape: a scalar (or
 * one element); [D], one per index of attrs.axis; or, with attrs.index ≥ 1 elements to a block, x's
 * shape with the dim of attrs.axis divided by that (rounded up).
 *
 * - QUANTIZE: x f32 or i32, scale f32, zero q → q of zero's type
 * - DEQUANTIZE: x q or i32, scale f32, zero of x's type → f32 (x − zero)·scale
 * - DYNAMIC_QUANTIZE: x f32 → u8, scale f32 [], zero u8 []: the range of x and 0
 *
 * In products, a and b are u8 or i8, and their zeros have their types:
 * - MATMUL_INTEGER: a [...,M,K], b [...,K,N], zero of a (scalar or [M], [...,M,1]), zero of b
 * (scalar or [N], [...,1,N]) → i32 (a − zero)·(b − zero), broadcast as NumPy's matmul
 * - MATMUL_QUANTIZED: a, scale, zero, b, scale, zero, scale, zero (of the result) → q of the last
 *   zero's type (u8 or i8); scales and zeros as above
 * - CONV_INTEGER: x [B,C,...], w [O,C/groups,...], zero of x (scalar), zero of w (scalar or [O]) →
 *   i32; attributes as CONV's with attrs.axis 1
 * - CONV_QUANTIZED: x, scale, zero, w, scale, zero (scalar or [O]), scale, zero (of the result),
 *   bias i32 [O]? → u8 or i8
 * Sums wrap around at 32 bits.
 */
#define OP_LIST_QUANT(X)                                   \
    X(QUANTIZE, "quantize", 3, 3, 0, 0, 1)                 \
    X(DEQUANTIZE, "dequantize", 3, 3, 0, 0, 1)             \
    X(DYNAMIC_QUANTIZE, "dynamic_quantize", 1, 1, 0, 0, 3) \
    X(MATMUL_INTEGER, "matmul_integer", 4, 4, 0, 0, 1)     \
    X(MATMUL_QUANTIZED, "matmul_quantized", 8, 8, 0, 0, 1) \
    X(CONV_INTEGER, "conv_integer", 4, 4, 0, 0, 1)         \
    X(CONV_QUANTIZED, "conv_quantized", 8, 9, 0, 0, 1)

#endif
