/* Private to image*.c: the decoders and the metadata readers behind image_decode. */
#ifndef FORMATS_IMAGE_PARTS_H
#define FORMATS_IMAGE_PARTS_H

#include "formats/image.h"

#define IMAGE_ORIENTATION_ABSENT (-1)

/* Both set *orientation to what the metadata says, or IMAGE_ORIENTATION_ABSENT. */
shoal_status image_decode_jpeg(const uint8_t *bytes, size_t size, struct image *out,
                               int *orientation, struct shoal_error *error);
shoal_status image_decode_png(const uint8_t *bytes, size_t size, struct image *out,
                              int *orientation, struct shoal_error *error);

/* Orientation of a TIFF structure (an EXIF block without its "Exif\0\0"), or
 * IMAGE_ORIENTATION_ABSENT. */
int image_exif_orientation(const uint8_t *tiff, size_t size);
/* tiff:Orientation of an XMP packet, or IMAGE_ORIENTATION_ABSENT. */
int image_xmp_orientation(const uint8_t *xmp, size_t size);

/* A JPEG's segments up to its first scan. Returns the offset after the scan's marker, 0 if there is
 * none. */
size_t image_jpeg_scan(const uint8_t *bytes, size_t size, int *orientation);

#endif
