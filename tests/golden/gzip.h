/* The data sets of the shared data lie compressed. Link with PkgConfig::ZLIB. */
#ifndef GOLDEN_GZIP_H
#define GOLDEN_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <zlib.h>

/* The first `size` bytes of what a .gz file holds; false if it cannot be read or has fewer. */
static inline bool gzip_read(const char *path, void *out, size_t size) {
    gzFile file = gzopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    const bool whole = gzfread(out, 1, size, file) == size;
    return gzclose(file) == Z_OK && whole;
}

#endif
