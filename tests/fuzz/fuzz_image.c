/* JPEG and PNG files, their metadata, and what is made of them. */
#include "formats/image_preprocess.h"

#include "base/assert.h"

#include <turbojpeg.h>

#define PIXELS ((int64_t)512 * 512) /* larger pictures take the same way, only slower */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_large(const uint8_t *data, size_t size) {
    int width = 0, height = 0, subsampling = 0, colours = 0;
    if (data[0] == 0x89) {
        const uint32_t w = (uint32_t)data[18] << 8 | data[19],
                       h = (uint32_t)data[22] << 8 | data[23];
        return data[16] != 0 || data[17] != 0 || data[20] != 0 || data[21] != 0 ||
               (int64_t)w * h > PIXELS;
    }
    tjhandle handle = tjInitDecompress();
    (void)tjDecompressHeader3(handle, data, (unsigned long)size, &width, &height, &subsampling,
                              &colours);
    (void)tjDestroy(handle);
    return (int64_t)width * height > PIXELS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct image image;
    struct shoal_error error;
    if (image_recognised(data, size) && size >= 32 && is_large(data, size)) {
        return 0;
    }
    if (image_decode(data, size, &image, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    ASSERT((int64_t)image.width * image.height <= IMAGE_PIXEL_LIMIT);
    static float values[16 * 16 * 3];
    struct image_preprocess pre;
    image_preprocess_deit(16, &pre);
    ASSERT(image_preprocess_apply(&image, &pre, 16, 16, values, NULL) == SHOAL_OK);
    image_fini(&image);
    return 0;
}
