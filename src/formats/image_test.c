/* Files are made with the libraries' own encoders here; pictures against Pillow are tests/golden's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/image_parts.h"
#include "formats/image_preprocess.h"
#include "platform/file.h"

#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

static uint8_t jpeg[8192], png[8192];
static size_t jpeg_bytes, png_bytes;

#define W 24
#define H 17

static void fill(uint8_t *pixels, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        pixels[i] = (uint8_t)(i * 7 % 251);
    }
}

static int encode(void **state) {
    (void)state;
    uint8_t pixels[W * H * 3];
    fill(pixels, sizeof pixels);
    tjhandle handle = tjInitCompress();
    unsigned char *out = NULL;
    unsigned long bytes = 0;
    if (tjCompress2(handle, pixels, W, 0, H, TJPF_RGB, &out, &bytes, TJSAMP_444, 90, 0) != 0 ||
        bytes > sizeof jpeg) {
        return -1;
    }
    memcpy(jpeg, out, bytes);
    jpeg_bytes = bytes;
    tjFree(out);
    (void)tjDestroy(handle);
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {.width = W, .height = H, .bit_depth = 8, .color_type = 2};
    int code = spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
    code |= spng_set_ihdr(context, &header);
    code |= spng_encode_image(context, pixels, sizeof pixels, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    void *buffer = spng_get_png_buffer(context, &png_bytes, &code);
    if (code != 0 || png_bytes > sizeof png) {
        return -1;
    }
    memcpy(png, buffer, png_bytes);
    free(buffer);
    spng_ctx_free(context);
    return 0;
}

static void test_png_is_exact(void **state) {
    (void)state;
    uint8_t pixels[W * H * 3];
    struct image image;
    fill(pixels, sizeof pixels);
    assert_true(image_recognised(png, png_bytes));
    assert_int_equal(image_decode(png, png_bytes, &image, NULL), SHOAL_OK);
    assert_int_equal(image.width, W);
    assert_int_equal(image.height, H);
    assert_memory_equal(image.pixels, pixels, sizeof pixels);
    image_fini(&image);
}

static void expect(const uint8_t *bytes, size_t size, shoal_status code, const char *wanted) {
    struct image image = {.pixels = NULL};
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = image_decode(bytes, size, &image, &error);
    if (status != code || image.pixels != NULL || strstr(error.text, wanted) == NULL) {
        fail_msg("got %s \"%s\", wanted \"%s\"", shoal_status_text(status), error.text, wanted);
    }
}

static void test_other_formats_are_unsupported(void **state) {
    (void)state;
    static const uint8_t gif[] = "GIF89a";
    assert_false(image_recognised(gif, sizeof gif));
    expect(gif, sizeof gif, SHOAL_UNSUPPORTED, "neither a JPEG nor a PNG");
    expect(gif, 0, SHOAL_UNSUPPORTED, "neither a JPEG nor a PNG");
}

static void test_files_cut_off_anywhere_are_corrupt(void **state) {
    (void)state;
    for (size_t cut = 3; cut<jpeg_bytes; cut += cut> 20 ? 13 : 1) {
        expect(jpeg, cut, SHOAL_CORRUPT, "JPEG");
    }
    expect(jpeg, jpeg_bytes - 1, SHOAL_CORRUPT, "JPEG: cut off: no end marker");
    /* The last 12 bytes of a PNG are its empty end chunk: the picture is whole without it. */
    for (size_t cut = 8; cut < png_bytes - 16; cut += 11) {
        expect(png, cut, SHOAL_CORRUPT, "PNG");
    }
}

static void test_damaged_data_is_corrupt(void **state) {
    (void)state;
    uint8_t bytes[8192];
    memcpy(bytes, png, png_bytes);
    bytes[60] ^= 0x55;
    expect(bytes, png_bytes, SHOAL_CORRUPT, "PNG");
    int orientation = 0;
    const size_t scan = image_jpeg_scan(jpeg, jpeg_bytes, &orientation);
    assert_int_equal(orientation, IMAGE_ORIENTATION_ABSENT);
    memcpy(bytes, jpeg, jpeg_bytes);
    for (size_t i = 0; i < 40; i++) {
        bytes[scan + 40 + i] = i % 2 == 0 ? 0xFF : 0; /* nothing but ones: no Huffman code is */
    }
    expect(bytes, jpeg_bytes, SHOAL_CORRUPT, "JPEG: Corrupt JPEG data");
}

static void test_size_is_checked_before_allocation(void **state) {
    (void)state;
    uint8_t bytes[8192];
    memcpy(bytes, png, png_bytes);
    static const uint8_t huge[8] = {0x00, 0x01, 0, 0, 0x00, 0x01, 0, 0}; /* 65536² */
    memcpy(bytes + 16, huge, sizeof huge);
    /* The header's checksum, so that only the size is wrong: computed by the zlib polynomial. */
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 12; i < 29; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
        }
    }
    crc = ~crc;
    for (size_t i = 0; i < 4; i++) {
        bytes[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    expect(bytes, png_bytes, SHOAL_UNSUPPORTED, "65536×65536 pixels");
    /* In a JPEG the size stands in the frame header, after FF C0, length and precision. */
    memcpy(bytes, jpeg, jpeg_bytes);
    uint8_t *frame = memmem(bytes, jpeg_bytes, "\xFF\xC0", 2);
    assert_non_null(frame);
    memcpy(frame + 5, "\xEA\x60\xEA\x60", 4);
    expect(bytes, jpeg_bytes, SHOAL_UNSUPPORTED, "60000×60000 pixels");
    struct image image;
    assert_int_equal(image_alloc(0, 4, &image, NULL), SHOAL_UNSUPPORTED);
    assert_int_equal(image_alloc(INT64_MAX, INT64_MAX, &image, NULL), SHOAL_UNSUPPORTED);
}

static void test_orientations_put_the_first_pixel_where_exif_says(void **state) {
    (void)state;
    /* EXIF's own wording: where row 0 and column 0 of the stored picture lie in the upright one. */
    static const struct {
        int orientation, width, x, y;
    } cases[] = {{1, 3, 0, 0}, {2, 3, 2, 0}, {3, 3, 2, 1}, {4, 3, 0, 1}, {5, 2, 0, 0},
                 {6, 2, 1, 0}, {7, 2, 1, 2}, {8, 2, 0, 2}, {0, 3, 0, 0}, {9, 3, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image image;
        assert_int_equal(image_alloc(3, 2, &image, NULL), SHOAL_OK);
        fill(image.pixels, 18);
        memcpy(image.pixels, "abc", 3);
        assert_int_equal(image_orient(&image, cases[i].orientation, NULL), SHOAL_OK);
        assert_int_equal(image.width, cases[i].width);
        assert_int_equal(image.width * image.height, 6);
        assert_memory_equal(image.pixels + (ptrdiff_t)3 * (cases[i].y * image.width + cases[i].x),
                            "abc", 3);
        image_fini(&image);
    }
}

static void test_orientation_is_read_from_exif_and_xmp(void **state) {
    (void)state;
    static const uint8_t little[] =
        "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    static const uint8_t big[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
    static const uint8_t wide[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x05\0\0\0\0";
    static const uint8_t two[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\x08\0\0\0\0\0\0";
    assert_int_equal(image_exif_orientation(little, sizeof little - 1), 6);
    assert_int_equal(image_exif_orientation(big, sizeof big - 1), 8);
    assert_int_equal(image_exif_orientation(wide, sizeof wide - 1), 5);
    assert_int_equal(image_exif_orientation(two, sizeof two - 1), 0);
    for (size_t cut = 0; cut < 22; cut++) {
        assert_int_equal(image_exif_orientation(big, cut), IMAGE_ORIENTATION_ABSENT);
    }
    static const uint8_t far[] = "II*\0\xFF\xFF\xFF\xFF\x01\0";
    assert_int_equal(image_exif_orientation(far, sizeof far - 1), IMAGE_ORIENTATION_ABSENT);
    static const uint8_t attribute[] = "<a tiff:Orientation=\"7\"/>",
                         element[] = "<tiff:Orientation>3<";
    assert_int_equal(image_xmp_orientation(attribute, sizeof attribute - 1), 7);
    assert_int_equal(image_xmp_orientation(element, sizeof element - 1), 3);
    assert_int_equal(image_xmp_orientation(attribute, 21), IMAGE_ORIENTATION_ABSENT);
    assert_int_equal(image_xmp_orientation(NULL, 0), IMAGE_ORIENTATION_ABSENT);
}

static void test_read_names_the_file(void **state) {
    (void)state;
    char directory[256], path[300];
    struct image image = {.pixels = NULL};
    struct shoal_error error;
    assert_int_equal(file_make_temporary(directory, sizeof directory, NULL), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/a.png", directory);
    assert_int_equal(image_read(path, &image, &error), SHOAL_NOT_FOUND);
    assert_int_equal(file_write_atomic(path, png, png_bytes / 2, NULL), SHOAL_OK);
    assert_int_equal(image_read(path, &image, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "a.png: PNG: "));
    assert_int_equal(file_write_atomic(path, png, png_bytes, NULL), SHOAL_OK);
    assert_int_equal(image_read(path, &image, &error), SHOAL_OK);
    image_fini(&image);
    file_remove_tree(directory);
}

static void test_every_failing_allocation_is_reported(void **state) {
    (void)state;
    float values[32 * 32 * 3];
    struct image_preprocess pre;
    image_preprocess_vit(32, &pre);
    for (int kind = 0; kind < 2; kind++) {
        shoal_status status = SHOAL_NO_MEMORY;
        uint64_t n = 0;
        while (status != SHOAL_OK) {
            struct image image = {.pixels = NULL};
            mem_fail_after(++n);
            status = kind == 0 ? image_decode(png, png_bytes, &image, NULL)
                               : image_decode(jpeg, jpeg_bytes, &image, NULL);
            if (status == SHOAL_OK) {
                status = image_preprocess_apply(&image, &pre, 32, 32, values, NULL);
                image_fini(&image);
            }
            mem_fail_after(0);
            assert_true(status == SHOAL_OK || status == SHOAL_NO_MEMORY);
            assert_true(n < 100);
        }
        assert_true(n > 5);
    }
}

static struct image flat(int64_t width, int64_t height, uint8_t value) {
    struct image image;
    assert_int_equal(image_alloc(width, height, &image, NULL), SHOAL_OK);
    memset(image.pixels, value, (size_t)(width * height * 3));
    return image;
}

static void test_a_flat_picture_stays_flat(void **state) {
    (void)state;
    struct image image = flat(37, 50, 201);
    for (int resample = 0; resample < IMAGE_RESAMPLE_COUNT; resample++) {
        struct image out;
        assert_int_equal(image_resize(&image, 13, 91, (enum image_resample)resample, &out, NULL),
                         SHOAL_OK);
        for (size_t i = 0; i < (size_t)13 * 91 * 3; i++) {
            assert_int_equal(out.pixels[i], 201);
        }
        image_fini(&out);
    }
    image_fini(&image);
}

static void test_resizing_over_the_limit_is_refused(void **state) {
    (void)state;
    struct image image = flat(1, 300000, 0), out;
    assert_int_equal(image_resize(&image, 300000, 300000, IMAGE_BILINEAR, &out, NULL),
                     SHOAL_UNSUPPORTED);
    assert_int_equal(image_resize(&image, 0, 5, IMAGE_BILINEAR, &out, NULL), SHOAL_UNSUPPORTED);
    /* The result would fit, the picture between the passes would not. */
    assert_int_equal(image_resize(&image, 200, 300001, IMAGE_BILINEAR, &out, NULL), SHOAL_OK);
    image_fini(&out);
    image_fini(&image);
    image = flat(IMAGE_PIXEL_LIMIT / 100, 3, 0);
    assert_int_equal(image_resize(&image, 2, 200, IMAGE_BILINEAR, &out, NULL), SHOAL_OK);
    image_fini(&out);
    image_fini(&image);
}

static void test_crops_and_pads_around_the_centre(void **state) {
    (void)state;
    struct image image = flat(4, 3, 255);
    struct image_preprocess pre = {.do_center_crop = true, .crop_height = 6, .crop_width = 2};
    float values[6 * 2 * 3];
    assert_int_equal(image_preprocess_apply(&image, &pre, 6, 2, values, NULL), SHOAL_OK);
    for (int y = 0; y < 6; y++) {
        /* 3 rows missing: 2 of zeros first, 1 last, as NumPy's ceil(3/2) has it. */
        assert_true(values[(ptrdiff_t)y * 6] == (y < 2 || y > 4 ? 0.0F : 255.0F));
    }
    image_fini(&image);
}

static void test_a_picture_of_another_size_is_a_mismatch(void **state) {
    (void)state;
    struct image image = flat(40, 20, 9);
    struct image_preprocess pre = {.do_resize = true,
                                   .mode = IMAGE_RESIZE_SHORTEST,
                                   .shortest = 10,
                                   .resample = IMAGE_BILINEAR};
    float values[20 * 10 * 3];
    int32_t height = 0, width = 0;
    struct shoal_error error;
    assert_false(image_preprocess_size(&pre, &height, &width));
    assert_int_equal(image_preprocess_apply(&image, &pre, 10, 10, values, &error), SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "20×10"));
    assert_int_equal(image_preprocess_apply(&image, &pre, 10, 20, values, &error), SHOAL_OK);
    pre.longest = 15;
    assert_int_equal(image_preprocess_apply(&image, &pre, 8, 15, values, &error), SHOAL_OK);
    image_fini(&image);
}

static void test_values_are_rescaled_and_normalised(void **state) {
    (void)state;
    struct image image = flat(2, 2, 51);
    struct image_preprocess pre;
    float values[12];
    image_preprocess_vit(2, &pre);
    pre.mean[2] = 0.2;
    assert_int_equal(image_preprocess_apply(&image, &pre, 2, 2, values, NULL), SHOAL_OK);
    assert_true(values[0] == (0.2F - 0.5F) / 0.5F);
    assert_true(values[11] == 0.0F);
    image_fini(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png_is_exact),
        cmocka_unit_test(test_other_formats_are_unsupported),
        cmocka_unit_test(test_files_cut_off_anywhere_are_corrupt),
        cmocka_unit_test(test_damaged_data_is_corrupt),
        cmocka_unit_test(test_size_is_checked_before_allocation),
        cmocka_unit_test(test_orientations_put_the_first_pixel_where_exif_says),
        cmocka_unit_test(test_orientation_is_read_from_exif_and_xmp),
        cmocka_unit_test(test_read_names_the_file),
        cmocka_unit_test(test_every_failing_allocation_is_reported),
        cmocka_unit_test(test_a_flat_picture_stays_flat),
        cmocka_unit_test(test_resizing_over_the_limit_is_refused),
        cmocka_unit_test(test_crops_and_pads_around_the_centre),
        cmocka_unit_test(test_a_picture_of_another_size_is_a_mismatch),
        cmocka_unit_test(test_values_are_rescaled_and_normalised),
    };
    return cmocka_run_group_tests(tests, encode, NULL);
}
