/* Decoding, orientation, RGB conversion and resampling against Pillow: every byte, by SHA-256. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/digest.h"
#include "formats/image_resize.h"
#include "golden.h"

#include <string.h>

static void digest_of(const struct image *image, char text[DIGEST_TEXT]) {
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, image->pixels, 3 * (size_t)image->width * (size_t)image->height);
    digest_final(&digest, text);
}

static FILE *open_table(const char *name) {
    char path[1024];
    FILE *table = fopen(golden_path(name, "", path), "r");
    if (table == NULL) {
        fail_msg("cannot open %s", path);
    }
    return table;
}

static void read_picture(const char *name, struct image *out) {
    char path[1024];
    struct shoal_error error;
    if (image_read(golden_path("images", name, path), out, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
}

static void test_every_kind_of_file_decodes_as_pillow_does(void **state) {
    (void)state;
    FILE *table = open_table("images.txt");
    char line[512];
    int count = 0, bad = 0;
    while (fgets(line, sizeof line, table) != NULL) {
        char name[128], wanted[80], got[DIGEST_TEXT];
        int width = 0, height = 0;
        struct image image;
        if (sscanf(line, "%127s %d %d %79s", name, &width, &height, wanted) != 4 ||
            name[0] == '#') {
            continue;
        }
        read_picture(name, &image);
        digest_of(&image, got);
        if (image.width != width || image.height != height || strcmp(got, wanted) != 0) {
            print_error("%s: %d×%d differs from Pillow's %d×%d\n", name, image.width, image.height,
                        width, height);
            bad++;
        }
        image_fini(&image);
        count++;
    }
    (void)fclose(table);
    assert_int_equal(bad, 0);
    assert_in_range(count, 35, 1000);
}

static void test_every_filter_resizes_as_pillow_does(void **state) {
    (void)state;
    FILE *table = open_table("resize.txt");
    char line[512];
    int count = 0, bad = 0;
    while (fgets(line, sizeof line, table) != NULL) {
        char name[128], wanted[80], got[DIGEST_TEXT];
        int resample = 0, width = 0, height = 0;
        struct image image, out;
        if (sscanf(line, "%127s %d %d %d %79s", name, &resample, &width, &height, wanted) != 5 ||
            name[0] == '#') {
            continue;
        }
        read_picture(name, &image);
        assert_int_equal(
            image_resize(&image, width, height, (enum image_resample)resample, &out, NULL),
            SHOAL_OK);
        digest_of(&out, got);
        if (strcmp(got, wanted) != 0) {
            print_error("%s by filter %d to %d×%d differs from Pillow's\n", name, resample, width,
                        height);
            bad++;
        }
        image_fini(&out);
        image_fini(&image);
        count++;
    }
    (void)fclose(table);
    assert_int_equal(bad, 0);
    assert_in_range(count, 60, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_file_decodes_as_pillow_does),
        cmocka_unit_test(test_every_filter_resizes_as_pillow_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
