/* Element types: names and what they are read as. */
#include "formats/onnx/onnx.h"

static const struct {
    const char *name;
    enum dtype dtype;
} types[] = {
#define X(code, number, bits, dtype) [number] = {#code, dtype},
    ONNX_DTYPE_LIST(X)
#undef X
};

const char *onnx_dtype_name(int onnx) {
    return onnx >= 0 && onnx < ONNX_DTYPE_COUNT ? types[onnx].name : "unknown";
}

bool onnx_dtype(int onnx, enum dtype *out) {
    if (onnx < 0 || onnx >= ONNX_DTYPE_COUNT || types[onnx].dtype == DTYPE_COUNT) {
        return false;
    }
    *out = types[onnx].dtype;
    return true;
}
