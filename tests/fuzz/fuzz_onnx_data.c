/* Serialised values: the first byte chooses the kind, the rest is the file. */
#include "formats/onnx/onnx.h"

#include "base/assert.h"
#include "base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct onnx_tensor *tensor) {
    struct tensor read;
    struct shoal_error error = {.text = ""};
    if (onnx_tensor_read(tensor, &read, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    int64_t count = 0;
    ASSERT(shape_equal(&read.shape, &tensor->shape) && shape_count(&read.shape, &count));
    if (read.dtype == DTYPE_BOOL) {
        for (int64_t i = 0; i < count; i++) {
            ASSERT(((const unsigned char *)read.data)[i] <= 1);
        }
    }
    mem_free(read.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct onnx_data *value = NULL;
    struct shoal_error error = {.text = ""};
    if (size == 0) {
        return 0;
    }
    if (onnx_data_parse("fuzz", data + 1, size - 1, (enum onnx_kind)(data[0] % 3), &value,
                        &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    ASSERT(value->has_value || value->count == 0);
    for (size_t i = 0; i < value->count; i++) {
        check(&value->tensors[i]);
    }
    onnx_data_close(value);
    return 0;
}
