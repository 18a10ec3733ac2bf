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

/* to [count] f32 ← from [count] of dtype (unaligned allowed); false if the type has no conversion
 * (bool). */
bool convert_to_f32(enum dtype dtype, const void *from, float *to, size_t count);

#endif
