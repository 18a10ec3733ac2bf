/*
 * Draws pictures to try models on: draw_images DIR N [SEED].
 *
 * N different pictures (gradients, discs, stripes, small landscapes) of varied sizes, JPEG and PNG
 * in turn, the third one lying on its side with an EXIF orientation that says so. The same seed
 * gives the same pictures.
 */
#include "base/memory.h"
#include "base/random.h"
#include "platform/file.h"

#include <errno.h>
#include <math.h>
#include <spng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#define LEAST_SIDE 160
#define MOST_SIDE 520
#define MOST_PICTURES 1000000
#define JPEG_QUALITY 88
#define ROTATED 2 /* index of the picture with an EXIF orientation */

struct canvas {
    int width, height;
    uint8_t *pixels;
    uint64_t stream, drawn; /* random numbers used so far */
};

struct colour {
    int red, green, blue;
};

static int pick(struct canvas *canvas, int least, int most) {
    const uint32_t span = (uint32_t)(most - least + 1);
    return least + (int)(random_u32(canvas->stream, canvas->drawn++) % span);
}

static struct colour pick_colour(struct canvas *canvas) {
    struct colour colour;
    colour.red = pick(canvas, 0, 255);
    colour.green = pick(canvas, 0, 255);
    colour.blue = pick(canvas, 0, 255);
    return colour;
}

static uint8_t clamp(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

static void set(struct canvas *canvas, int x, int y, struct colour colour) {
    if (x >= 0 && y >= 0 && x < canvas->width && y < canvas->height) {
        uint8_t *pixel = canvas->pixels + 3 * ((size_t)y * (size_t)canvas->width + (size_t)x);
        pixel[0] = clamp(colour.red);
        pixel[1] = clamp(colour.green);
        pixel[2] = clamp(colour.blue);
    }
}

/* From one colour to the other; part of whole of the way. */
static struct colour mix(struct colour from, struct colour to, int part, int whole) {
    return (struct colour){.red = from.red + (to.red - from.red) * part / whole,
                           .green = from.green + (to.green - from.green) * part / whole,
                           .blue = from.blue + (to.blue - from.blue) * part / whole};
}

static void draw_gradient(struct canvas *canvas) {
    const struct colour from = pick_colour(canvas), to = pick_colour(canvas);
    const int slope_x = pick(canvas, 0, 3), slope_y = pick(canvas, 1, 3);
    const int whole = slope_x * canvas->width + slope_y * canvas->height;
    for (int y = 0; y < canvas->height; y++) {
        for (int x = 0; x < canvas->width; x++) {
            set(canvas, x, y, mix(from, to, slope_x * x + slope_y * y, whole));
        }
    }
}

static void draw_disc(struct canvas *canvas, int x, int y, int radius, struct colour colour) {
    for (int dy = -radius; dy <= radius; dy++) {
        for (int dx = -radius; dx <= radius; dx++) {
            if (dx * dx + dy * dy <= radius * radius) {
                set(canvas, x + dx, y + dy,
                    mix(colour, (struct colour){255, 255, 255}, radius - dx - dy, 6 * radius));
            }
        }
    }
}

static void draw_discs(struct canvas *canvas) {
    draw_gradient(canvas);
    const int count = pick(canvas, 3, 9);
    for (int i = 0; i < count; i++) {
        const int x = pick(canvas, 0, canvas->width), y = pick(canvas, 0, canvas->height);
        draw_disc(canvas, x, y, pick(canvas, 10, canvas->height / 4), pick_colour(canvas));
    }
}

static void draw_stripes(struct canvas *canvas) {
    const struct colour colours[3] = {pick_colour(canvas), pick_colour(canvas),
                                      pick_colour(canvas)};
    const int period = pick(canvas, 6, 40), lean = pick(canvas, -3, 3);
    for (int y = 0; y < canvas->height; y++) {
        for (int x = 0; x < canvas->width; x++) {
            const int place = x + lean * y / 2 + 4 * canvas->height;
            set(canvas, x, y, colours[place / period % 3]);
        }
    }
}

/* Sky, sun, hills and a house. */
static void draw_scene(struct canvas *canvas) {
    const struct colour sky = {90, 150, 230}, haze = {230, 235, 240};
    const int width = canvas->width, height = canvas->height;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            set(canvas, x, y, mix(sky, haze, y, height));
        }
    }
    draw_disc(canvas, pick(canvas, 0, width), height / 5, height / 12,
              (struct colour){250, 220, 90});
    for (int range = 0; range < 3; range++) {
        const double phase = pick(canvas, 0, 628) / 100.0, length = pick(canvas, 30, 120);
        const struct colour hill = {40 + 25 * (2 - range), 110 + 20 * range, 60};
        for (int x = 0; x < width; x++) {
            const int top =
                (int)(height * (0.45 + 0.15 * range) + height * 0.08 * sin(x / length + phase));
            for (int y = top; y < height; y++) {
                set(canvas, x, y, mix(hill, (struct colour){20, 50, 20}, y - top, height));
            }
        }
    }
    const int left = pick(canvas, 0, width / 2), base = height * 9 / 10, size = height / 5;
    const struct colour wall = pick_colour(canvas);
    for (int y = 0; y < size; y++) {
        for (int x = 0; x < size; x++) {
            set(canvas, left + x, base - y, wall);
        }
    }
    for (int y = 0; y < size / 2; y++) {
        for (int x = y; x < size - y; x++) {
            set(canvas, left + x, base - size - y, (struct colour){150, 60, 40});
        }
    }
}

static void add_grain(struct canvas *canvas) {
    for (size_t i = 0; i < 3 * (size_t)canvas->width * (size_t)canvas->height; i += 4) {
        canvas->pixels[i] = clamp(canvas->pixels[i] + pick(canvas, -6, 6));
    }
}

static bool write_bytes(const char *path, const void *bytes, size_t size) {
    struct shoal_error error;
    if (file_write_atomic(path, bytes, size, &error) != SHOAL_OK) {
        (void)fprintf(stderr, "draw_images: %s\n", error.text);
        return false;
    }
    return true;
}

/* The picture turned a quarter left, as a camera held upright stores it; EXIF's 6 turns it right
 * again. */
static bool lay_down(struct canvas *canvas) {
    uint8_t *turned = mem_alloc(3 * (size_t)canvas->width * (size_t)canvas->height);
    if (turned == NULL) {
        return false;
    }
    uint8_t *to = turned;
    for (int x = canvas->width - 1; x >= 0; x--) {
        for (int y = 0; y < canvas->height; y++, to += 3) {
            memcpy(to, canvas->pixels + 3 * ((size_t)y * (size_t)canvas->width + (size_t)x), 3);
        }
    }
    mem_free(canvas->pixels);
    canvas->pixels = turned;
    const int width = canvas->width;
    canvas->width = canvas->height;
    canvas->height = width;
    return true;
}

static bool write_jpeg(const char *path, const struct canvas *canvas, bool rotated) {
    /* APP1: length, "Exif", a big-endian TIFF directory with one entry: orientation, SHORT, 6. */
    static const uint8_t exif[] = {0xFF, 0xE1, 0, 34, 'E', 'x', 'i', 'f', 0, 0,    'M', 'M',
                                   0,    42,   0, 0,  0,   8,   0,   1,   1, 0x12, 0,   3,
                                   0,    0,    0, 1,  0,   6,   0,   0,   0, 0,    0,   0};
    tjhandle handle = tjInitCompress();
    unsigned char *jpeg = NULL;
    unsigned long bytes = 0;
    bool ok =
        handle != NULL && tjCompress2(handle, canvas->pixels, canvas->width, 0, canvas->height,
                                      TJPF_RGB, &jpeg, &bytes, TJSAMP_420, JPEG_QUALITY, 0) == 0;
    const size_t extra = rotated ? sizeof exif : 0;
    uint8_t *file = ok ? mem_alloc(bytes + extra) : NULL;
    ok = file != NULL;
    if (ok) {
        memcpy(file, jpeg, 2); /* the start marker */
        memcpy(file + 2, exif, extra);
        memcpy(file + 2 + extra, jpeg + 2, bytes - 2);
        ok = write_bytes(path, file, bytes + extra);
    }
    mem_free(file);
    tjFree(jpeg);
    if (handle != NULL) {
        (void)tjDestroy(handle);
    }
    return ok;
}

static bool write_png(const char *path, const struct canvas *canvas) {
    spng_ctx *context = spng_ctx_new(SPNG_CTX_ENCODER);
    struct spng_ihdr header = {.width = (uint32_t)canvas->width,
                               .height = (uint32_t)canvas->height,
                               .bit_depth = 8,
                               .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    const size_t size = 3 * (size_t)canvas->width * (size_t)canvas->height;
    size_t bytes = 0;
    int code = spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
    code = code != 0 ? code : spng_set_ihdr(context, &header);
    code = code != 0 ? code
                     : spng_encode_image(context, canvas->pixels, size, SPNG_FMT_PNG,
                                         SPNG_ENCODE_FINALIZE);
    void *png = code == 0 ? spng_get_png_buffer(context, &bytes, &code) : NULL;
    const bool ok = png != NULL && write_bytes(path, png, bytes);
    free(png);
    spng_ctx_free(context);
    return ok;
}

static bool draw_one(const char *directory, long index, uint64_t seed) {
    static void (*const subjects[])(struct canvas *) = {draw_scene, draw_gradient, draw_discs,
                                                        draw_stripes};
    char name[32], path[4096];
    (void)snprintf(name, sizeof name, "picture %ld", index);
    struct canvas canvas = {.stream = random_stream(seed, name)};
    canvas.width = pick(&canvas, LEAST_SIDE, MOST_SIDE);
    canvas.height = pick(&canvas, LEAST_SIDE, MOST_SIDE);
    canvas.pixels = mem_calloc((size_t)canvas.width * (size_t)canvas.height, 3);
    if (canvas.pixels == NULL) {
        return false;
    }
    subjects[index % 4](&canvas);
    add_grain(&canvas);
    const bool png = index % 2 == 1;
    (void)snprintf(path, sizeof path, "%s/picture-%05ld.%s", directory, index + 1,
                   png ? "png" : "jpg");
    bool ok = index != ROTATED || lay_down(&canvas);
    ok = ok && (png ? write_png(path, &canvas) : write_jpeg(path, &canvas, index == ROTATED));
    mem_free(canvas.pixels);
    return ok;
}

static bool parse_number(const char *text, unsigned long most, unsigned long *out) {
    char *end = NULL;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *out <= most;
}

int main(int argc, char **argv) {
    unsigned long count = 0, seed = 1;
    struct shoal_error error;
    if (argc < 3 || argc > 4 || !parse_number(argv[2], MOST_PICTURES, &count) || count == 0 ||
        (argc == 4 && !parse_number(argv[3], UINT32_MAX, &seed))) {
        (void)fprintf(stderr, "usage: draw_images DIR N [SEED]   (N from 1 to %d)\n",
                      MOST_PICTURES);
        return 2;
    }
    if (file_make_directories(argv[1], &error) != SHOAL_OK) {
        (void)fprintf(stderr, "draw_images: %s\n", error.text);
        return 1;
    }
    for (unsigned long i = 0; i < count; i++) {
        if (!draw_one(argv[1], (long)i, seed)) {
            (void)fprintf(stderr, "draw_images: picture %lu could not be drawn\n", i + 1);
            return 1;
        }
    }
    return 0;
}
