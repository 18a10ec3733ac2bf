/* Manifests: what is accepted is in order, of honest sizes, and comes back the same from its own
 * text. */
#include "base/assert.h"
#include "base/memory.h"
#include "formats/manifest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct manifest manifest, again;
    struct shoal_error error;
    if (manifest_parse(data, size, &manifest, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < manifest.count; i++) {
        const struct manifest_entry *entry = &manifest.entries[i];
        size_t bytes = 0;
        ASSERT(shape_bytes(&entry->shape, entry->dtype, &bytes) && bytes == entry->bytes);
        ASSERT(strlen(entry->key) == DIGEST_TEXT - 1);
        ASSERT(i == 0 || strcmp(manifest.entries[i - 1].name, entry->name) < 0);
        ASSERT(manifest_find(&manifest, entry->name) == entry);
    }
    char *first, *second;
    size_t first_size, second_size;
    ASSERT(manifest_format(&manifest, &first, &first_size, &error) == SHOAL_OK);
    ASSERT(manifest_parse(first, first_size, &again, &error) == SHOAL_OK);
    ASSERT(manifest_format(&again, &second, &second_size, &error) == SHOAL_OK);
    ASSERT(first_size == second_size && memcmp(first, second, first_size) == 0);
    mem_free(first);
    mem_free(second);
    manifest_fini(&again);
    manifest_fini(&manifest);
    return 0;
}
