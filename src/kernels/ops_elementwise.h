/* Unary and binary functions with broadcasting, casts, choices and reductions. Included by op.h. */
#ifndef KERNELS_OPS_ELEMENTWISE_H
#define KERNELS_OPS_ELEMENTWISE_H

/*
 * - BINARY: a, b of one type, broadcast against each other as NumPy does → attrs.mode (enum
 *   binary_function) of them; comparisons and logic give bool
 */
#define OP_LIST_ELEMENTWISE(X) X(BINARY, "binary", 2, 2, 0, 0, 1)

/* X(code, name) */
#define BINARY_LIST(X) \
    X(ADD, "add")      \
    X(SUB, "sub")      \
    X(MUL, "mul")      \
    X(DIV, "div")

enum binary_function {
#define X(code, name) BINARY_##code,
    BINARY_LIST(X)
#undef X
        BINARY_COUNT
};

#endif
