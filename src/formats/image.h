/*
 * Pictures: JPEG and PNG bytes to 8-bit RGB, as Pillow's open, exif_transpose and convert("RGB")
 * give them.
 *
 * Pixels are [height, width, 3] u8 row-major. The size is checked before anything is allocated for
 * it. Threads: no shared state. Why it is done so: docs/rationale/0003-images.md.
 */
#ifndef FORMATS_IMAGE_H
#define FORMATS_IMAGE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_PIXEL_LIMIT (INT64_C(64) << 20) /* 64 Mpixel: 192 MiB of RGB */
#define IMAGE_FILE_LIMIT ((size_t)256 << 20)

struct image {
    int32_t width, height;
    uint8_t *pixels; /* owned; image_fini */
};

/*
 * Decodes one picture and turns it upright by its EXIF (or XMP) orientation. Errors: UNSUPPORTED
 * (neither JPEG nor PNG, more pixels than the limit), CORRUPT (cut off or damaged; a JPEG with
 * damaged entropy data counts), NO_MEMORY.
 */
NODISCARD shoal_status image_decode(const void *bytes, size_t size, struct image *out,
                                    struct shoal_error *error);

/* As above from a file; errors name the path. Further errors: as file_read. */
NODISCARD shoal_status image_read(const char *path, struct image *out, struct shoal_error *error);

/* Whether the bytes begin as a JPEG or PNG file does. */
bool image_recognised(const void *bytes, size_t size);

/* Unset pixels. Errors: UNSUPPORTED (a side below 1, or more pixels than the limit), NO_MEMORY. */
NODISCARD shoal_status image_alloc(int64_t width, int64_t height, struct image *out,
                                   struct shoal_error *error);
void image_fini(struct image *image);

/* In place, by EXIF's numbering: 1 nothing, 2 … 8 flips and quarter turns; others do nothing.
 * Errors: NO_MEMORY. */
NODISCARD shoal_status image_orient(struct image *image, int orientation,
                                    struct shoal_error *error);

#endif
