/*
 * The body of one variant: included once by each variant_*.c, which is compiled for its instruction
 * set and defines VECTOR_WIDTH (floats in a register) and VECTOR_NAME. Everything but the table is
 * static, so that no function compiled for a newer processor can be taken by the linker for an
 * older one.
 */
#include "kernels/vector/vector.h"

#include "kernels/vector/simd.h"

#include "kernels/vector/elementwise.h"
#include "kernels/vector/gemm.h"

#include "kernels/vector/depthwise.h"
#include "kernels/vector/rows.h"

#include "kernels/vector/attend.h"
#include "kernels/vector/network.h"

const struct vector_ops VECTOR_NAME = {
    .name = "vector",
    .panel = PANEL,
    .packed_count = packed_count,
    .pack_columns = pack_columns,
    .pack_rows = pack_rows,
    .gemm_scratch = gemm_scratch,
    .gemm = gemm,
    .layer_norm = layer_norm,
    .softmax = softmax,
    .attend_scratch = attend_scratch,
    .attend_pack = attend_pack,
    .attend = attend,
    .activate = activate,
    .multiply_add = multiply_add,
    .add = add,
    .rows_greatest = rows_greatest,
    .rows_mean = rows_mean,
    .rows_weighted = rows_weighted,
    .normalise_channels = normalise_channels,
    .normalise_plane = normalise_plane,
    .moments = moments,
    .rms_norm = rms_norm,
    .depthwise = depthwise,
    .spin = spin,
};
