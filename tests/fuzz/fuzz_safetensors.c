/* Safetensors headers: whatever is accepted must lie inside the file, sorted, with honest sizes. */
#include "formats/safetensors.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors_table table;
    struct shoal_error error;
    if (safetensors_parse(data, size, &table, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    size_t total = 0;
    for (size_t i = 0; i < table.count; i++) {
        const struct safetensors_entry *entry = &table.entries[i];
        size_t bytes = 0;
        ASSERT(shape_bytes(&entry->shape, entry->dtype, &bytes) && bytes == entry->bytes);
        ASSERT(entry->offset <= size && entry->bytes <= size - entry->offset);
        ASSERT(i == 0 || strcmp(table.entries[i - 1].name, entry->name) < 0);
        total += entry->bytes;
    }
    ASSERT(total <= size);
    safetensors_table_fini(&table);
    return 0;
}
