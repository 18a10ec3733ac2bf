/* .npy files: whatever is accepted ends exactly where the file does. */
#include "formats/npy.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tensor tensor;
    struct shoal_error error;
    if (npy_parse(data, size, &tensor, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    const uint8_t *first = tensor.data;
    ASSERT(first >= data && first + tensor_bytes(&tensor) == data + size);
    return 0;
}
