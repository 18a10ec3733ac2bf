/* Views, moves and copies of elements. Included by op.h. */
#ifndef KERNELS_OPS_LAYOUT_H
#define KERNELS_OPS_LAYOUT_H

/*
 * Elements are of any type unless said. Indices are i32 or i64, negative ones count from the end;
 * one that lies outside reads the nearest end, and writes nothing.
 *
 * - TRANSPOSE: x → axis i of the result is axis attrs.ints[i] of x
 * - RESHAPE: x → the same elements in the shape attrs.ints[0..attrs.axis): −1 (once) takes
 *   what is left, 0 that dim of x, or is a dim of 0 if attrs.mode is 1
 * - BITCAST: x → the same bytes as attrs.mode (enum dtype) of the same size
 * - SLICE: x → along axis i attrs.ints[16+i] elements, from attrs.ints[i] on, attrs.ints[8+i] ≠ 0
 *   apart (negative: backwards); all of them in x
 * - CONCAT: up to 16 tensors that differ along attrs.axis only
 * - PAD: x, value (one element of x's type)? → along axis i attrs.ints[i] elements before and
 *   attrs.ints[8+i] behind, of which attrs.mode (enum pad_mode) tells the contents; negative: so
 *   many fewer
 * - EXPAND: x → broadcast against attrs.ints[0..attrs.axis)
 * - TILE: x → repeated attrs.ints[i] times along axis i
 * - GATHER: x, indices → x's axis attrs.axis replaced by the indices' axes
 * - GATHER_ELEMENTS: x, indices of x's rank → of the indices' shape: x at the same place, but along
 *   attrs.axis at the index
 * - GATHER_ND: x, indices [...,K] → x at the K-tuples, the first attrs.axis dims common
 * - SCATTER_ELEMENTS: x, indices, updates of the indices' shape → x with the updates at the same
 *   places, but along attrs.axis at the index; attrs.mode (enum scatter_function) joins, in order
 * - SCATTER_ND: x, indices [...,K], updates → x with slices replaced
 * - SCATTER_ROWS: past, update (differs along attrs.axis only), first [B] → past with the update
 *   from first[b] on; attrs.mode 1: circular; places outside are not written
 * - ONE_HOT: indices (any number), values [2] → a new axis attrs.axis of attrs.ints[0] elements:
 *   values[1] at the index, else values[0]
 * - TRIANGLE: x [...,M,N] → upper (attrs.mode 1) or lower (0) part from diagonal attrs.ints[0]
 *   on, else 0
 * - TOP_K: number → the attrs.ints[0] greatest (attrs.mode 1) or least (0) along attrs.axis, in
 *   order, equal ones in order of place; and where they were, i64
 * - REVERSE_SEQUENCE: x, lengths [B] → along attrs.axis the first lengths[b] reversed; b along
 *   axis attrs.ints[0]
 */
#define OP_LIST_LAYOUT(X)                                  \
    X(TRANSPOSE, "transpose", 1, 1, 0, 0, 1)               \
    X(RESHAPE, "reshape", 1, 1, 0, 0, 1)                   \
    X(BITCAST, "bitcast", 1, 1, 0, 0, 1)                   \
    X(SLICE, "slice", 1, 1, 0, 0, 1)                       \
    X(CONCAT, "concat", 1, 16, 0, 0, 1)                    \
    X(PAD, "pad", 1, 2, 0, 0, 1)                           \
    X(EXPAND, "expand", 1, 1, 0, 0, 1)                     \
    X(TILE, "tile", 1, 1, 0, 0, 1)                         \
    X(GATHER, "gather", 2, 2, 0, 0, 1)                     \
    X(GATHER_ELEMENTS, "gather_elements", 2, 2, 0, 0, 1)   \
    X(GATHER_ND, "gather_nd", 2, 2, 0, 0, 1)               \
    X(SCATTER_ELEMENTS, "scatter_elements", 3, 3, 0, 0, 1) \
    X(SCATTER_ND, "scatter_nd", 3, 3, 0, 0, 1)             \
    X(SCATTER_ROWS, "scatter_rows", 3, 3, 0, 0, 1)         \
    X(ONE_HOT, "one_hot", 2, 2, 0, 0, 1)                   \
    X(TRIANGLE, "triangle", 1, 1, 0, 0, 1)                 \
    X(TOP_K, "top_k", 1, 1, 0, 0, 2)                       \
    X(REVERSE_SEQUENCE, "reverse_sequence", 2, 2, 0, 0, 1)

/* Where SLICE and PAD keep what belongs to an axis in attrs.ints. */
#define SLICE_STEP 8
#define SLICE_LENGTH 16
#define PAD_END 8

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP, PAD_MODE_COUNT };

enum scatter_function {
    SCATTER_SET,
    SCATTER_ADD,
    SCATTER_MUL,
    SCATTER_MIN,
    SCATTER_MAX,
    SCATTER_COUNT
};

#endif
