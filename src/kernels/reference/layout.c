/* The layout family: which function computes which op. */
#include "kernels/reference/layout.h"

static void (*const functions[OP_COUNT])(const struct reference_call *) = {
    [OP_TRANSPOSE] = reference_transpose,   [OP_RESHAPE] = reference_copy,
    [OP_BITCAST] = reference_copy,          [OP_SLICE] = reference_slice,
    [OP_CONCAT] = reference_concat,         [OP_PAD] = reference_pad,
    [OP_EXPAND] = reference_expand,         [OP_TILE] = reference_tile,
    [OP_GATHER] = reference_gather,         [OP_GATHER_ELEMENTS] = reference_gather_elements,
    [OP_GATHER_ND] = reference_gather_nd,   [OP_SCATTER_ELEMENTS] = reference_scatter_elements,
    [OP_SCATTER_ND] = reference_scatter_nd, [OP_SCATTER_ROWS] = reference_scatter_rows,
    [OP_ONE_HOT] = reference_one_hot,       [OP_TRIANGLE] = reference_triangle,
    [OP_TOP_K] = reference_top_k,           [OP_REVERSE_SEQUENCE] = reference_reverse_sequence,
};

static void run(const struct reference_call *call) {
    functions[call->desc->op](call);
}

static size_t scratch_bytes(const struct kernel_desc *desc) {
    return desc->op == OP_TOP_K
               ? (size_t)desc->inputs[0].shape.dims[desc->attrs.axis] * 2 * sizeof(int64_t)
               : 0;
}

static bool aliases(const struct kernel_desc *desc, int input) {
    switch ((int)desc->op) {
    case OP_RESHAPE:
    case OP_BITCAST:
    case OP_SCATTER_ELEMENTS: /* begin with a copy of x; the others are read afterwards */
    case OP_SCATTER_ND:
    case OP_SCATTER_ROWS:
    case OP_TRIANGLE:
        return input == 0;
    default:
        return false;
    }
}

const struct reference_family reference_layout = {run, scratch_bytes, aliases};
