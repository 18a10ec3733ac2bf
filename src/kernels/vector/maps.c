#include "kernels/vector/maps.h"

#include "kernels/isa.h"

const struct vector_maps *vector_maps_get(void) {
#if defined(__x86_64__)
    switch (isa_current()) {
    case ISA_AVX512:
        return &vector_maps_avx512;
    case ISA_AVX2:
        return &vector_maps_avx2;
    case ISA_BASELINE:
    case ISA_NEON:
    case ISA_COUNT:
        break;
    }
#endif
    return &vector_maps_baseline;
}

bool vector_has_unary(int function) {
    switch (function) {
    case UNARY_ABS:
    case UNARY_NEG:
    case UNARY_RELU:
    case UNARY_CLIP:
    case UNARY_EXP:
    case UNARY_LOG:
    case UNARY_SQRT:
    case UNARY_RECIPROCAL:
    case UNARY_FLOOR:
    case UNARY_CEIL:
    case UNARY_ROUND:
    case UNARY_TANH:
    case UNARY_ERF:
    case UNARY_SIGMOID:
    case UNARY_LEAKY_RELU:
    case UNARY_ELU:
    case UNARY_HARD_SIGMOID:
    case UNARY_HARD_SWISH:
    case UNARY_SOFTPLUS:
    case UNARY_GELU_ERF:
    case UNARY_GELU_TANH:
    case UNARY_MISH:
    case UNARY_SWISH:
        return true;
    default:
        return false;
    }
}

bool vector_has_binary(int function) {
    switch (function) {
    case BINARY_ADD:
    case BINARY_SUB:
    case BINARY_MUL:
    case BINARY_DIV:
    case BINARY_POW:
    case BINARY_MIN:
    case BINARY_MAX:
    case BINARY_EQUAL:
    case BINARY_LESS:
    case BINARY_LESS_EQUAL:
    case BINARY_GREATER:
    case BINARY_GREATER_EQUAL:
    case BINARY_PRELU:
        return true;
    default:
        return false;
    }
}

bool vector_has_reduce(int function) {
    switch (function) {
    case REDUCE_SUM:
    case REDUCE_MEAN:
    case REDUCE_MAX:
    case REDUCE_MIN:
    case REDUCE_L1:
    case REDUCE_L2:
    case REDUCE_SUM_SQUARE:
        return true;
    default:
        return false;
    }
}
