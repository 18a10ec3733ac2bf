/* Views, moves and copies of elements. Included by op.h. */
#ifndef KERNELS_OPS_LAYOUT_H
#define KERNELS_OPS_LAYOUT_H

/*
 * - TRANSPOSE: x → axis i of the result is axis attrs.ints[i] of x; any type
 * - RESHAPE: x → the same elements in the shape attrs.ints[0..attrs.axis): 0 takes that dim of x,
 * −1 (once) what is left; any type
 */
#define OP_LIST_LAYOUT(X)                    \
    X(TRANSPOSE, "transpose", 1, 1, 0, 0, 1) \
    X(RESHAPE, "reshape", 1, 1, 0, 0, 1)

#endif
