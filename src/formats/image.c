#include "formats/image.h"

#include "base/checked.h"
#include "base/memory.h"
#include "formats/image_parts.h"
#include "platform/file.h"

#include <string.h>

static bool is_jpeg(const uint8_t *bytes, size_t size) {
    return size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

static bool is_png(const uint8_t *bytes, size_t size) {
    return size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1A\n", 8) == 0;
}

bool image_recognised(const void *bytes, size_t size) {
    return is_jpeg(bytes, size) || is_png(bytes, size);
}

shoal_status image_alloc(int64_t width, int64_t height, struct image *out,
                         struct shoal_error *error) {
    if (width < 1 || height < 1 || width > IMAGE_PIXEL_LIMIT || height > IMAGE_PIXEL_LIMIT ||
        width * height > IMAGE_PIXEL_LIMIT) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "a picture of %lld×%lld pixels; 1 to %lld pixels are supported",
                         (long long)width, (long long)height, (long long)IMAGE_PIXEL_LIMIT);
    }
    uint8_t *pixels = mem_alloc((size_t)(width * height) * 3);
    if (pixels == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a picture of %lld×%lld",
                         (long long)width, (long long)height);
    }
    *out = (struct image){.width = (int32_t)width, .height = (int32_t)height, .pixels = pixels};
    return SHOAL_OK;
}

void image_fini(struct image *image) {
    mem_free(image->pixels);
    *image = (struct image){.pixels = NULL};
}

shoal_status image_orient(struct image *image, int orientation, struct shoal_error *error) {
    if (orientation < 2 || orientation > 8) {
        return SHOAL_OK;
    }
    /* EXIF 2.32, tag 0x0112: where the stored rows and columns lie in the upright picture. */
    const bool swapped = orientation >= 5;
    const bool from_right =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool from_bottom =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    struct image turned;
    TRY(image_alloc(swapped ? image->height : image->width, swapped ? image->width : image->height,
                    &turned, error));
    uint8_t *to = turned.pixels;
    for (int32_t y = 0; y < turned.height; y++) {
        for (int32_t x = 0; x < turned.width; x++) {
            int32_t from_x = swapped ? y : x, from_y = swapped ? x : y;
            from_x = from_right ? image->width - 1 - from_x : from_x;
            from_y = from_bottom ? image->height - 1 - from_y : from_y;
            const uint8_t *from =
                image->pixels + 3 * ((size_t)from_y * (size_t)image->width + (size_t)from_x);
            *to++ = from[0];
            *to++ = from[1];
            *to++ = from[2];
        }
    }
    image_fini(image);
    *image = turned;
    return SHOAL_OK;
}

shoal_status image_decode(const void *bytes, size_t size, struct image *out,
                          struct shoal_error *error) {
    struct image image = {.pixels = NULL};
    int orientation = IMAGE_ORIENTATION_ABSENT;
    if (is_jpeg(bytes, size)) {
        TRY(image_decode_jpeg(bytes, size, &image, &orientation, error));
    } else if (is_png(bytes, size)) {
        TRY(image_decode_png(bytes, size, &image, &orientation, error));
    } else {
        return error_set(error, SHOAL_UNSUPPORTED, "neither a JPEG nor a PNG picture");
    }
    const shoal_status status = image_orient(&image, orientation, error);
    if (status != SHOAL_OK) {
        image_fini(&image);
        return status;
    }
    *out = image;
    return SHOAL_OK;
}

shoal_status image_read(const char *path, struct image *out, struct shoal_error *error) {
    /* Read, not mapped: a file cut off by somebody else meanwhile must not end this process. */
    char *bytes = NULL;
    size_t size = 0;
    TRY(file_read(path, IMAGE_FILE_LIMIT, &bytes, &size, error));
    const shoal_status status = image_decode(bytes, size, out, error);
    mem_free(bytes);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", path);
}
