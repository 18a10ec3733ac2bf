/*
 * Resampling of 8-bit RGB, bit for bit as Pillow's Image.resize: antialiased separable filters with
 * fixed-point coefficients, rounded to 8 bits after each pass.
 */
#ifndef FORMATS_IMAGE_RESIZE_H
#define FORMATS_IMAGE_RESIZE_H

#include "formats/image.h"

#include <stdbool.h>

/* Pillow's numbers, which preprocessor_config.json uses. */
enum image_resample {
    IMAGE_NEAREST = 0,
    IMAGE_LANCZOS = 1,
    IMAGE_BILINEAR = 2,
    IMAGE_BICUBIC = 3,
    IMAGE_BOX = 4,
    IMAGE_HAMMING = 5,
};
#define IMAGE_RESAMPLE_COUNT 6

/* A new picture of width × height. Errors: UNSUPPORTED (result or intermediate over the pixel
 * limit), NO_MEMORY. */
NODISCARD shoal_status image_resize(const struct image *from, int64_t width, int64_t height,
                                    enum image_resample resample, struct image *out,
                                    struct shoal_error *error);

#endif
