/*
 * JPEG through libturbojpeg with the settings whose pixels equal Pillow's: the accurate integer DCT
 * and smooth chroma upsampling, which are libjpeg's defaults.
 */
#include "formats/image_parts.h"

#include "base/memory.h"

#include <limits.h>
#include <string.h>
#include <turbojpeg.h>

/* (a·b)/255 rounded, exact for 8-bit factors. */
static uint8_t multiply_255(unsigned a, unsigned b) {
    const unsigned product = a * b + 128;
    return (uint8_t)(((product >> 8) + product) >> 8);
}

/* Adobe stores CMYK inverted, and everybody follows Adobe: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const unsigned light = cmyk[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            const uint8_t ink = multiply_255(255U - cmyk[4 * i + c], light);
            rgb[3 * i + c] = (uint8_t)(light - ink);
        }
    }
}

/*
 * Damage in the entropy-coded data is only a warning to the library, and so are harmless oddities.
 * The library keeps the text of the first warning.
 */
static bool is_damage(const char *warning) {
    return strstr(warning, "extraneous bytes") == NULL &&
           (strncmp(warning, "Corrupt JPEG data", 17) == 0 ||
            strncmp(warning, "Premature end", 13) == 0 ||
            strncmp(warning, "Inconsistent progression", 24) == 0);
}

static shoal_status decompress(tjhandle handle, const uint8_t *bytes, size_t size, uint8_t *pixels,
                               const struct image *image, int format, struct shoal_error *error) {
    const int flags = TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS;
    if (tjDecompress2(handle, bytes, (unsigned long)size, pixels, image->width, 0, image->height,
                      format, flags) != 0) {
        const char *text = tjGetErrorStr2(handle);
        if (tjGetErrorCode(handle) != TJERR_WARNING || is_damage(text)) {
            return error_set(error, SHOAL_CORRUPT, "JPEG: %.200s", text);
        }
    }
    return SHOAL_OK;
}

static shoal_status decode_cmyk(tjhandle handle, const uint8_t *bytes, size_t size,
                                struct image *image, struct shoal_error *error) {
    const size_t count = (size_t)image->width * (size_t)image->height;
    uint8_t *cmyk = mem_alloc(count * 4);
    if (cmyk == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a picture of %d×%d", image->width,
                         image->height);
    }
    const shoal_status status = decompress(handle, bytes, size, cmyk, image, TJPF_CMYK, error);
    if (status == SHOAL_OK) {
        cmyk_to_rgb(cmyk, image->pixels, count);
    }
    mem_free(cmyk);
    return status;
}

static shoal_status decode(tjhandle handle, const uint8_t *bytes, size_t size, struct image *out,
                           struct shoal_error *error) {
    int width = 0, height = 0, subsampling = -1, colours = -1;
    /* It also fails on chroma layouts without a name of their own, which the decoder can read all
     * the same. */
    if (tjDecompressHeader3(handle, bytes, (unsigned long)size, &width, &height, &subsampling,
                            &colours) != 0 &&
        (width < 1 || height < 1 || colours < 0)) {
        return error_set(error, SHOAL_CORRUPT, "JPEG: %.200s", tjGetErrorStr2(handle));
    }
    struct image image;
    TRY(image_alloc(width, height, &image, error));
    const shoal_status status =
        colours == TJCS_CMYK || colours == TJCS_YCCK
            ? decode_cmyk(handle, bytes, size, &image, error)
            : decompress(handle, bytes, size, image.pixels, &image, TJPF_RGB, error);
    if (status != SHOAL_OK) {
        image_fini(&image);
        return status;
    }
    *out = image;
    return SHOAL_OK;
}

shoal_status image_decode_jpeg(const uint8_t *bytes, size_t size, struct image *out,
                               int *orientation, struct shoal_error *error) {
    const size_t scan = image_jpeg_scan(bytes, size, orientation);
    if (size > LONG_MAX || scan == 0 || memmem(bytes + scan, size - scan, "\xFF\xD9", 2) == NULL) {
        return error_set(error, SHOAL_CORRUPT, "JPEG: cut off: no %s",
                         scan == 0 ? "picture data" : "end marker");
    }
    tjhandle handle = tjInitDecompress();
    if (handle == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the JPEG decoder");
    }
    const shoal_status status = decode(handle, bytes, size, out, error);
    (void)tjDestroy(handle);
    return status;
}
