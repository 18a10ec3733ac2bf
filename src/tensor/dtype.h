/*
 * Element types. All multi-byte elements are little-endian, in memory, in files and on links. The
 * types of less than a byte take one byte per element in memory: the element in its low bits, i4
 * and i2 with the sign extended. Files that pack them are unpacked when they are read.
 */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

#define DTYPE_LIST(X)              \
    X(F32, "f32", 4)               \
    X(F16, "f16", 2)               \
    X(BF16, "bf16", 2)             \
    X(F64, "f64", 8)               \
    X(I8, "i8", 1)                 \
    X(U8, "u8", 1)                 \
    X(I16, "i16", 2)               \
    X(U16, "u16", 2)               \
    X(I32, "i32", 4)               \
    X(U32, "u32", 4)               \
    X(I64, "i64", 8)               \
    X(U64, "u64", 8)               \
    X(BOOL, "bool", 1)             \
    X(F8E4M3FN, "f8e4m3fn", 1)     \
    X(F8E4M3FNUZ, "f8e4m3fnuz", 1) \
    X(F8E5M2, "f8e5m2", 1)         \
    X(F8E5M2FNUZ, "f8e5m2fnuz", 1) \
    X(F8E8M0, "f8e8m0", 1)         \
    X(F4E2M1, "f4e2m1", 1)         \
    X(I4, "i4", 1)                 \
    X(U4, "u4", 1)                 \
    X(I2, "i2", 1)                 \
    X(U2, "u2", 1)

enum dtype {
#define X(code, text, size) DTYPE_##code,
    DTYPE_LIST(X)
#undef X
        DTYPE_COUNT
};

const char *dtype_name(enum dtype dtype);
size_t dtype_size(enum dtype dtype);
bool dtype_parse(const char *text, enum dtype *out);

#endif
