/* A cluster file or allow-list of any bytes: read strictly; what is taken is within its limits. */
#include "base/memory.h"
#include "runtime/cluster_file.h"
#include "runtime/keys.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at_links(const struct cluster_file *file) {
    double rate, delay;
    for (uint32_t i = 0; i < file->device_count && i < 8; i++) {
        cluster_file_link_find(file, CLUSTER_FILE_OWNER, i, &rate, &delay);
        if (!(rate >= 0) || !(delay <= 3600)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct shoal_error error;
    struct cluster_file *file;
    if (cluster_file_parse("mine.yaml", (const char *)data, size, &file, &error) == SHOAL_OK) {
        if (file->device_count == 0 || file->device_count > CLUSTER_FILE_MAX_DEVICES ||
            strlen(file->devices[0].key) != ZMQ_KEY_TEXT - 1) {
            abort();
        }
        look_at_links(file);
        cluster_file_free(file);
    }
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    struct zmq_allowed *list;
    size_t count;
    if (keys_parse_allowed("allow", text, size, &list, &count, &error) == SHOAL_OK) {
        mem_free(list);
    }
    free(text);
    return 0;
}
