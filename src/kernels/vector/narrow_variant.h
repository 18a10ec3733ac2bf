/*
 * The body of one variant of kernels/vector/narrow.h: included once by each narrow_*.c, which is
 * compiled for its instruction set and defines VECTOR_WIDTH (floats in a register) and NARROW_NAME.
 * Everything but the table is static, so that no function compiled for a newer processor can be
 * taken by the linker for an older one.
 */
#include "kernels/vector/narrow.h"

#include "kernels/vector/simd.h"

#include "kernels/vector/narrow_format.h"

#include "kernels/vector/narrow_pack.h"
#include "kernels/vector/narrow_rows.h"
#include "kernels/vector/narrow_widen.h"

#include "kernels/vector/narrow_gemm.h"

const struct narrow_ops NARROW_NAME = {
    .name = "narrow",
    .panel = PANEL,
    .packed_bytes = packed_bytes,
    .pack = pack,
    .scratch_bytes = scratch_bytes,
    .gemm = gemm,
    .stretch = stretch,
    .quantise = quantise,
};
