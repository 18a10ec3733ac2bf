/*
 * 100 photographs from JPEG to pixel values against transformers' own preprocessing (photos.txt).
 * They are not part of the project: the test looks for $SHOAL_SHARED, by default ../shared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/digest.h"
#include "formats/image_preprocess.h"
#include "golden.h"
#include "platform/file.h"

#include <math.h>
#include <string.h>

#define SIDE 224
#define VALUES ((size_t)SIDE * SIDE * 3)
#define SAMPLES 24 /* as in tools/golden/make_golden.py */
#define DIGITS 16
#define TAR_BLOCK 512

static float values[VALUES];

static void digest_of(const void *bytes, size_t size, char text[DIGEST_TEXT]) {
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, bytes, size);
    digest_final(&digest, text);
    text[DIGITS] = '\0';
}

/* A member of an uncompressed ustar archive by the last part of its name; NULL if there is none. */
static const char *find_member(const struct file_map *tar, const char *name, size_t *size) {
    const char *bytes = tar->data;
    for (size_t at = 0; at + TAR_BLOCK <= tar->size && bytes[at] != '\0';) {
        char path[101] = "", octal[13] = "";
        memcpy(path, bytes + at, 100);
        memcpy(octal, bytes + at + 124, 12);
        *size = strtoul(octal, NULL, 8);
        const char *slash = strrchr(path, '/');
        if (strcmp(slash != NULL ? slash + 1 : path, name) == 0) {
            return bytes + at + TAR_BLOCK;
        }
        at += TAR_BLOCK + (*size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    }
    return NULL;
}

struct tally {
    int photos, exact;
    double worst, sum; /* absolute differences of the sampled values */
};

/* Whether the values are the expected floats; samples tell how far they are away otherwise. */
static void compare(const char *wanted, char **samples, struct tally *tally) {
    char got[DIGEST_TEXT];
    digest_of(values, sizeof values, got);
    tally->photos++;
    tally->exact += strcmp(got, wanted) == 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        const char *text = strtok_r(NULL, " \n", samples);
        assert_non_null(text);
        const size_t place = i * VALUES / SAMPLES + 7 * i + 1;
        const double difference = fabs(strtod(text, NULL) - (double)values[place]);
        tally->worst = fmax(tally->worst, difference);
        tally->sum += difference;
    }
}

static void check_photo(char *line, const struct file_map *tar, struct tally tallies[3]) {
    char *rest = NULL, got[DIGEST_TEXT];
    const char *name = strtok_r(line, " \n", &rest), *rgb = strtok_r(NULL, " \n", &rest);
    const char *wanted[2] = {strtok_r(NULL, " \n", &rest), NULL};
    wanted[1] = strtok_r(NULL, " \n", &rest);
    assert_non_null(wanted[1]);
    size_t size = 0;
    const char *bytes = find_member(tar, name, &size);
    struct image image = {.pixels = NULL};
    struct shoal_error error;
    if (bytes == NULL || image_decode(bytes, size, &image, &error) != SHOAL_OK) {
        fail_msg("%s: %s", name, bytes == NULL ? "not in the archive" : error.text);
    }
    digest_of(image.pixels, 3 * (size_t)image.width * (size_t)image.height, got);
    tallies[2].photos++;
    tallies[2].exact += strcmp(got, rgb) == 0;
    for (int kind = 0; kind < 2; kind++) {
        struct image_preprocess pre;
        (kind == 0 ? image_preprocess_vit : image_preprocess_deit)(SIDE, &pre);
        assert_int_equal(image_preprocess_apply(&image, &pre, SIDE, SIDE, values, NULL), SHOAL_OK);
        compare(wanted[kind], &rest, &tallies[kind]);
    }
    image_fini(&image);
}

static void test_photographs_come_out_as_transformers_has_them(void **state) {
    (void)state;
    char path[1024], tar_path[1200], line[2048];
    const char *shared = getenv("SHOAL_SHARED"), *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, sizeof path, "%s/../shared", root != NULL ? root : ".");
    (void)snprintf(tar_path, sizeof tar_path, "%s/data/datasets/imagenet/imagenet100_jpeg.tar",
                   shared != NULL ? shared : path);
    struct file_map tar;
    if (!file_exists(tar_path)) {
        print_message("SKIPPED: no %s\n", tar_path);
        skip();
    }
    assert_int_equal(file_map_open(tar_path, &tar, NULL), SHOAL_OK);
    FILE *table = fopen(golden_path("photos.txt", "", path), "r");
    assert_non_null(table);
    struct tally tallies[3] = {{0}};
    while (fgets(line, sizeof line, table) != NULL) {
        if (line[0] != '#') {
            check_photo(line, &tar, tallies);
        }
    }
    (void)fclose(table);
    file_map_close(&tar);
    static const char *const names[] = {"ViT", "DeiT"};
    print_message("RGB: %d of %d exact\n", tallies[2].exact, tallies[2].photos);
    assert_int_equal(tallies[2].photos, 100);
    assert_int_equal(tallies[2].exact, 100);
    for (int kind = 0; kind < 2; kind++) {
        const struct tally *tally = &tallies[kind];
        const double mean = tally->sum / (tally->photos * SAMPLES);
        print_message("%s: %d of %d exact; sampled values: largest difference %.1e, mean %.1e\n",
                      names[kind], tally->exact, tally->photos, tally->worst, mean);
        assert_true(tally->worst <= 2.0 / 255.0);
        assert_true(mean < 0.1 / 255.0);
        assert_int_equal(tally->exact, tally->photos);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_photographs_come_out_as_transformers_has_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
