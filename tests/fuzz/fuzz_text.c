/*
 * Files of texts. The first byte says how they are taken (bit 0: a table; bits 1 to 6: columns),
 * the rest is the file.
 */
#include "runtime/text_source.h"

#include "base/assert.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct text_source *source) {
    ASSERT(text_source_count(source) > 0);
    for (uint64_t i = 0; i < text_source_count(source); i++) {
        struct wordpiece_text first, second;
        bool paired;
        struct shoal_error error = {.text = ""};
        if (text_source_get(source, i, &first, &second, &paired, &error) != SHOAL_OK) {
            ASSERT(error.text[0] != '\0');
            continue;
        }
        ASSERT(memchr(first.bytes, '\n', first.size) == NULL);
        ASSERT(!paired || memchr(second.bytes, '\t', second.size) == NULL);
        ASSERT(text_source_line(source, i) > i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const columns[] = {NULL, "text", "1", "2", "a", "10000", "", "b"};
    if (size == 0) {
        return 0;
    }
    const int file = memfd_create("text", MFD_CLOEXEC);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (file < 0 || write(file, data + 1, size - 1) != (ssize_t)(size - 1)) {
        return 0;
    }
    const struct text_options options = {.table = (data[0] & 1) != 0,
                                         .column = columns[data[0] >> 1 & 7],
                                         .pair = columns[data[0] >> 4 & 7]};
    struct text_source *source;
    struct shoal_error error = {.text = ""};
    if (text_source_open(path, &options, &source, &error) == SHOAL_OK) {
        walk(source);
        text_source_close(source);
    } else {
        ASSERT(error.text[0] != '\0');
    }
    (void)close(file);
    return 0;
}
