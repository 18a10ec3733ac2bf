/* Element types of ONNX as the IR has them: the narrow ones widened. */
#include "formats/onnx/import_internal.h"

#include "base/memory.h"
#include "tensor/convert.h"

#include <math.h>
#include <string.h>

/* What is narrow, and what carries it in the IR. */
static const struct {
    int element;
    enum dtype stored, wide;
} narrow[] = {
    {ONNX_FLOAT16, DTYPE_F16, DTYPE_F32},
    {ONNX_BFLOAT16, DTYPE_BF16, DTYPE_F32},
    {ONNX_FLOAT8E4M3FN, DTYPE_F8E4M3FN, DTYPE_F32},
    {ONNX_FLOAT8E4M3FNUZ, DTYPE_F8E4M3FNUZ, DTYPE_F32},
    {ONNX_FLOAT8E5M2, DTYPE_F8E5M2, DTYPE_F32},
    {ONNX_FLOAT8E5M2FNUZ, DTYPE_F8E5M2FNUZ, DTYPE_F32},
    {ONNX_FLOAT8E8M0, DTYPE_F8E8M0, DTYPE_F32},
    {ONNX_FLOAT4E2M1, DTYPE_F4E2M1, DTYPE_F32},
    {ONNX_INT4, DTYPE_I4, DTYPE_I8},
    {ONNX_UINT4, DTYPE_U4, DTYPE_U8},
    {ONNX_INT2, DTYPE_I2, DTYPE_I8},
    {ONNX_UINT2, DTYPE_U2, DTYPE_U8},
};
#define NARROW_COUNT (sizeof narrow / sizeof narrow[0])

static const struct {
    int element;
    enum dtype dtype;
} plain[] = {
    {ONNX_FLOAT, DTYPE_F32},  {ONNX_DOUBLE, DTYPE_F64}, {ONNX_INT8, DTYPE_I8},
    {ONNX_UINT8, DTYPE_U8},   {ONNX_INT16, DTYPE_I16},  {ONNX_UINT16, DTYPE_U16},
    {ONNX_INT32, DTYPE_I32},  {ONNX_UINT32, DTYPE_U32}, {ONNX_INT64, DTYPE_I64},
    {ONNX_UINT64, DTYPE_U64}, {ONNX_BOOL, DTYPE_BOOL},
};
#define PLAIN_COUNT (sizeof plain / sizeof plain[0])

bool import_element_dtype(int element, enum dtype *out) {
    for (size_t i = 0; i < PLAIN_COUNT; i++) {
        if (plain[i].element == element) {
            *out = plain[i].dtype;
            return true;
        }
    }
    for (size_t i = 0; i < NARROW_COUNT; i++) {
        if (narrow[i].element == element) {
            *out = narrow[i].wide;
            return true;
        }
    }
    return false;
}

bool import_element_stored(int element, enum dtype *out) {
    for (size_t i = 0; i < NARROW_COUNT; i++) {
        if (narrow[i].element == element) {
            *out = narrow[i].stored;
            return true;
        }
    }
    return import_element_dtype(element, out);
}

int import_element_of(enum dtype dtype) {
    for (size_t i = 0; i < PLAIN_COUNT; i++) {
        if (plain[i].dtype == dtype) {
            return plain[i].element;
        }
    }
    for (size_t i = 0; i < NARROW_COUNT; i++) {
        if (narrow[i].stored == dtype) {
            return narrow[i].element;
        }
    }
    return ONNX_UNDEFINED;
}

/* Narrow floats; narrow integers are read wide. */
static void widen(int element, const struct tensor *from, float *to, size_t count) {
    enum dtype stored = DTYPE_F32;
    (void)import_element_stored(element, &stored); /* known: it is narrow */
    if (stored == DTYPE_F16 || stored == DTYPE_BF16) {
        (void)convert_to_f32(stored, from->data, to, count); /* both have a conversion */
        return;
    }
    for (size_t i = 0; i < count; i++) {
        to[i] = convert_f8_to_f32(stored, ((const uint8_t *)from->data)[i]);
    }
}

shoal_status tensor_widen(const struct onnx_tensor *tensor, void *to, struct shoal_error *error) {
    struct tensor read;
    enum dtype wide = DTYPE_F32;
    if (!import_element_dtype(tensor->type, &wide)) {
        return error_set(error, SHOAL_UNSUPPORTED, "tensor %.80s has elements of type %s",
                         tensor->name, onnx_dtype_name(tensor->type));
    }
    TRY(onnx_tensor_read(tensor, &read, error));
    if (wide != DTYPE_F32 || tensor->type == ONNX_FLOAT) {
        const size_t bytes = tensor_bytes(&read);
        if (bytes > 0) {
            memcpy(to, read.data, bytes);
        }
    } else {
        widen(tensor->type, &read, to, tensor_bytes(&read) / dtype_size(read.dtype));
    }
    mem_free(read.data);
    return SHOAL_OK;
}

shoal_status import_feed_port(const struct onnx_tensor *tensor, const struct import_port *port,
                              void *to, struct shoal_error *error) {
    char found[SHAPE_TEXT], expected[SHAPE_TEXT];
    if (tensor->type != port->element || !shape_equal(&tensor->shape, &port->type.shape)) {
        return error_set(error, SHOAL_MISMATCH, "tensor %.80s is %s %s, the model has %s %s",
                         tensor->name, onnx_dtype_name(tensor->type),
                         shape_format(&tensor->shape, found), onnx_dtype_name(port->element),
                         shape_format(&port->type.shape, expected));
    }
    return tensor_widen(tensor, to, error);
}

static float round_to(enum dtype stored, float value) {
    switch ((int)stored) {
    case DTYPE_F16:
        return convert_f16_to_f32(convert_f32_to_f16(value));
    case DTYPE_BF16:
        return convert_bf16_to_f32(convert_f32_to_bf16(value));
    default:
        return convert_f8_to_f32(stored, convert_f64_to_f8(stored, (double)value, isfinite(value)));
    }
}

void import_round(int element, enum dtype dtype, void *values, size_t count) {
    enum dtype stored = DTYPE_F32;
    if (dtype != DTYPE_F32 || !import_element_stored(element, &stored) || stored == DTYPE_F32) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ((float *)values)[i] = round_to(stored, ((float *)values)[i]);
    }
}
