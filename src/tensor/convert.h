/* Conversion between stored element types and f32. */
#ifndef TENSOR_CONVERT_H
#define TENSOR_CONVERT_H

#include "tensor/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

float convert_f16_to_f32(uint16_t bits);
uint16_t convert_f32_to_f16(float value); /* round to nearest even */
float convert_bf16_to_f32(uint16_t bits);
uint16_t convert_f32_to_bf16(float value); /* round to nearest even */

/*
 * Floats of one byte or less: F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ (Micikevicius et al., "FP8
 * formats for deep learning", 2022; FNUZ: no infinities, no −0, bias one higher), F4E2M1 and
 * F8E8M0 (OCP Microscaling formats, 2023). For a type that is none of these 0 and 0.
 */
float convert_f8_to_f32(enum dtype dtype, uint8_t bits);
/* Rounds to nearest even. What is too large becomes the largest number, with `saturate` or where
 * the type has nothing else (F4E2M1); otherwise infinity or NaN. F8E8M0: as convert_f64_to_f8e8m0,
 * up. */
uint8_t convert_f64_to_f8(enum dtype dtype, double value, bool saturate);

enum convert_rounding { CONVERT_UP, CONVERT_DOWN, CONVERT_NEAREST };
/* The exponent of |value| alone; with a fraction it is rounded as said, which for UP at the end of
 * the range overflows to NaN unless `saturate`. NaN and infinities become NaN. */
uint8_t convert_f64_to_f8e8m0(double value, enum convert_rounding rounding, bool saturate);

/* Straight from f64: no rounding to f32 on the way. */
uint16_t convert_f64_to_f16(double value);
uint16_t convert_f64_to_bf16(double value);

/* to [count] f32 ← from [count] of dtype (unaligned allowed); false if the type has no conversion
 * (bool). */
bool convert_to_f32(enum dtype dtype, const void *from, float *to, size_t count);

/* to [count] of dtype `to_dtype` ← from: any type that has a conversion where f32 is wanted, the
 * same type otherwise; false, and nothing written, for other pairs. */
bool convert_elements(enum dtype from_dtype, const void *from, enum dtype to_dtype, void *to,
                      size_t count);

#endif
