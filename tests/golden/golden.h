/* Shared by the golden tests. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <stdio.h>
#include <stdlib.h>

/* $SHOAL_SOURCE_DIR/tests/golden/data/NAME/FILE (FILE may be ""). */
static inline const char *golden_path(const char *name, const char *file, char path[1024]) {
    const char *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, 1024, "%s/tests/golden/data/%s%s%s", root != NULL ? root : ".", name,
                   file[0] != '\0' ? "/" : "", file);
    return path;
}

#endif
