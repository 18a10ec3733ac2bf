/* PNG through libspng: alpha, transparency and gamma are ignored, as Pillow's convert("RGB") does.
 */
#include "formats/image_parts.h"

#include "base/memory.h"

#include <spng.h>
#include <string.h>

#define CHUNK_LIMIT ((size_t)16 << 20)
#define CACHE_LIMIT ((size_t)64 << 20)

static shoal_status png_error(int code, struct shoal_error *error) {
    return error_set(error, code == SPNG_EMEM ? SHOAL_NO_MEMORY : SHOAL_CORRUPT, "PNG: %s",
                     spng_strerror(code));
}

/* 16-bit grey is clipped, not scaled: that is what Pillow makes of it. */
static shoal_status decode_grey16(spng_ctx *context, struct image *image,
                                  struct shoal_error *error) {
    const size_t count = (size_t)image->width * (size_t)image->height;
    uint16_t *grey = mem_alloc(count * sizeof *grey);
    if (grey == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a picture of %d×%d", image->width,
                         image->height);
    }
    const int code = spng_decode_image(context, grey, count * sizeof *grey, SPNG_FMT_PNG, 0);
    for (size_t i = 0; code == 0 && i < count; i++) {
        const uint8_t value = grey[i] > 255 ? 255 : (uint8_t)grey[i];
        image->pixels[3 * i] = image->pixels[3 * i + 1] = image->pixels[3 * i + 2] = value;
    }
    mem_free(grey);
    return code == 0 ? SHOAL_OK : png_error(code, error);
}

static int text_orientation(spng_ctx *context) {
    uint32_t count = 0;
    if (spng_get_text(context, NULL, &count) != 0 || count == 0) {
        return IMAGE_ORIENTATION_ABSENT;
    }
    struct spng_text *texts = mem_calloc(count, sizeof *texts);
    int orientation = IMAGE_ORIENTATION_ABSENT;
    if (texts != NULL && spng_get_text(context, texts, &count) == 0) {
        for (uint32_t i = 0; i < count; i++) {
            if (strcmp(texts[i].keyword, "XML:com.adobe.xmp") == 0) {
                orientation =
                    image_xmp_orientation((const uint8_t *)texts[i].text, texts[i].length);
            }
        }
    }
    mem_free(texts);
    return orientation;
}

static int read_orientation(spng_ctx *context) {
    (void)spng_decode_chunks(
        context); /* metadata may follow the picture; damaged, it counts as absent */
    struct spng_exif exif;
    int orientation = IMAGE_ORIENTATION_ABSENT;
    if (spng_get_exif(context, &exif) == 0) {
        orientation = image_exif_orientation((const uint8_t *)exif.data, exif.length);
    }
    return orientation != IMAGE_ORIENTATION_ABSENT ? orientation : text_orientation(context);
}

static shoal_status decode(spng_ctx *context, const uint8_t *bytes, size_t size, struct image *out,
                           int *orientation, struct shoal_error *error) {
    struct spng_ihdr header;
    int code = spng_set_chunk_limits(context, CHUNK_LIMIT, CACHE_LIMIT);
    code = code != 0 ? code : spng_set_png_buffer(context, bytes, size);
    code = code != 0 ? code : spng_get_ihdr(context, &header);
    if (code != 0) {
        return png_error(code, error);
    }
    struct image image;
    TRY(image_alloc(header.width, header.height, &image, error));
    shoal_status status = SHOAL_OK;
    if (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE && header.bit_depth == 16) {
        status = decode_grey16(context, &image, error);
    } else {
        const size_t bytes_out = (size_t)image.width * (size_t)image.height * 3;
        code = spng_decode_image(context, image.pixels, bytes_out, SPNG_FMT_RGB8, 0);
        status = code == 0 ? SHOAL_OK : png_error(code, error);
    }
    if (status != SHOAL_OK) {
        image_fini(&image);
        return status;
    }
    *orientation = read_orientation(context);
    *out = image;
    return SHOAL_OK;
}

shoal_status image_decode_png(const uint8_t *bytes, size_t size, struct image *out,
                              int *orientation, struct shoal_error *error) {
    spng_ctx *context = spng_ctx_new(0);
    if (context == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the PNG decoder");
    }
    const shoal_status status = decode(context, bytes, size, out, orientation, error);
    spng_ctx_free(context);
    return status;
}
