/* Element types: names, widths, and what they are read as. */
#include "formats/onnx/onnx_internal.h"

static const struct {
    const char *name;
    unsigned bits;
    enum dtype dtype;
} types[] = {
#define X(code, number, bits, dtype) [number] = {#code, bits, dtype},
    ONNX_DTYPE_LIST(X)
#undef X
};

static bool known(int onnx) {
    return onnx >= 0 && onnx < ONNX_DTYPE_COUNT;
}

const char *onnx_dtype_name(int onnx) {
    return known(onnx) ? types[onnx].name : "unknown";
}

bool onnx_dtype(int onnx, enum dtype *out) {
    if (!known(onnx) || types[onnx].dtype == DTYPE_COUNT) {
        return false;
    }
    *out = types[onnx].dtype;
    return true;
}

unsigned onnx_dtype_bits(int onnx) {
    return known(onnx) ? types[onnx].bits : 0;
}

unsigned onnx_dtype_field(int onnx) {
    switch (onnx) {
    case ONNX_FLOAT:
    case ONNX_COMPLEX64:
        return ONNX_FLOAT_DATA;
    case ONNX_STRING:
        return ONNX_STRING_DATA;
    case ONNX_INT64:
        return ONNX_INT64_DATA;
    case ONNX_DOUBLE:
    case ONNX_COMPLEX128:
        return ONNX_DOUBLE_DATA;
    case ONNX_UINT32:
    case ONNX_UINT64:
        return ONNX_UINT64_DATA;
    default:
        return known(onnx) && onnx != ONNX_UNDEFINED ? ONNX_INT32_DATA : 0;
    }
}

const char *onnx_payload_name(unsigned field) {
    static const char *const names[] = {
        [ONNX_FLOAT_DATA] = "float_data",   [ONNX_INT32_DATA] = "int32_data",
        [ONNX_STRING_DATA] = "string_data", [ONNX_INT64_DATA] = "int64_data",
        [ONNX_RAW_DATA] = "raw_data",       [ONNX_DOUBLE_DATA] = "double_data",
        [ONNX_UINT64_DATA] = "uint64_data",
    };
    return field < sizeof names / sizeof names[0] && names[field] != NULL ? names[field]
                                                                          : "no field";
}

const char *onnx_attribute_type_name(enum onnx_attribute_type type) {
    static const char *const names[] = {
        "UNDEFINED",      "FLOAT",      "INT",        "STRING",  "TENSOR", "GRAPH",
        "FLOATS",         "INTS",       "STRINGS",    "TENSORS", "GRAPHS", "SPARSE_TENSOR",
        "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}
