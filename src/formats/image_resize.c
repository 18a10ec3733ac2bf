/*
 * The method, as documented and implemented by Pillow: along one axis, output sample i lies at
 * (i + 0.5)·scale of the input; a filter, widened by the scale when shrinking, weighs the input
 * samples around it; weights are normalised in double precision and then rounded to integers of 22
 * fractional bits. Each pass rounds to 8 bits, so their order shows: along rows first, but along
 * columns first when the height shrinks by more than twice what the width does (Pillow 13; older
 * versions never did that, see docs/rationale/0003-images.md). A pass that changes nothing is
 * skipped.
 */
#include "formats/image_resize.h"

#include "base/checked.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

#define FRACTION_BITS 22
#define ROUNDING (INT32_C(1) << (FRACTION_BITS - 1))
#define PI 3.14159265358979323846

static double filter_box(double x) {
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double filter_bilinear(double x) {
    const double distance = fabs(x);
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

static double filter_hamming(double x) {
    const double distance = fabs(x);
    if (distance == 0.0) {
        return 1.0;
    }
    if (distance >= 1.0) {
        return 0.0;
    }
    /* The window's constants are single precision there; the last bit shows. */
    return sin(distance * PI) / (distance * PI) *
           ((double)0.54F + (double)0.46F * cos(distance * PI));
}

/* Keys' cubic with a = −1/2, in Horner form. */
static double filter_bicubic(double x) {
    const double a = -0.5, distance = fabs(x);
    if (distance < 1.0) {
        return ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0;
    }
    if (distance < 2.0) {
        return (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a;
    }
    return 0.0;
}

static double sinc(double x) {
    return x == 0.0 ? 1.0 : sin(x * PI) / (x * PI);
}

static double filter_lanczos(double x) {
    return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3.0) : 0.0;
}

static const struct filter {
    double (*weight)(double x);
    double support;
} filters[IMAGE_RESAMPLE_COUNT] = {
    [IMAGE_LANCZOS] = {filter_lanczos, 3.0}, [IMAGE_BILINEAR] = {filter_bilinear, 1.0},
    [IMAGE_BICUBIC] = {filter_bicubic, 2.0}, [IMAGE_BOX] = {filter_box, 0.5},
    [IMAGE_HAMMING] = {filter_hamming, 1.0},
};

/* Which input samples each output sample is made of: weights[i·room …] times the samples from
 * first[i] on. */
struct taps {
    int32_t *first, *count, *weights;
    size_t room;
};

static void taps_fini(struct taps *taps) {
    mem_free(taps->first);
    mem_free(taps->count);
    mem_free(taps->weights);
}

/* The weights of one output sample; scratch has room for all of them. */
static void fill_tap(struct taps *taps, size_t index, int32_t from, double scale,
                     const struct filter *filter, double *scratch) {
    const double widening = scale < 1.0 ? 1.0 : scale;
    const double reach = filter->support * widening, shrink = 1.0 / widening;
    const double centre = ((double)index + 0.5) * scale;
    int32_t first = (int32_t)(centre - reach + 0.5), end = (int32_t)(centre + reach + 0.5);
    first = first < 0 ? 0 : first;
    end = end > from ? from : end;
    double sum = 0.0;
    for (int32_t i = first; i < end; i++) {
        const double weight = filter->weight(((double)i - centre + 0.5) * shrink);
        scratch[i - first] = weight;
        sum += weight;
    }
    int32_t *weights = taps->weights + index * taps->room;
    for (int32_t i = 0; i < end - first; i++) {
        const double share = sum != 0.0 ? scratch[i] / sum : scratch[i];
        const double fixed = share * (double)(1 << FRACTION_BITS);
        weights[i] = (int32_t)(fixed < 0.0 ? fixed - 0.5 : fixed + 0.5);
    }
    taps->first[index] = first;
    taps->count[index] = end - first;
}

static shoal_status taps_init(struct taps *taps, int32_t from, int32_t to,
                              const struct filter *filter, struct shoal_error *error) {
    const double scale = (double)from / (double)to;
    const size_t room = (size_t)ceil(filter->support * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
    size_t total = 0;
    *taps = (struct taps){.room = room};
    double *scratch = mem_calloc(room, sizeof *scratch);
    if (checked_mul_size(room, (size_t)to, &total)) {
        taps->first = mem_calloc((size_t)to, sizeof *taps->first);
        taps->count = mem_calloc((size_t)to, sizeof *taps->count);
        taps->weights = mem_calloc(total, sizeof *taps->weights);
    }
    if (scratch == NULL || taps->first == NULL || taps->count == NULL || taps->weights == NULL) {
        mem_free(scratch);
        taps_fini(taps);
        return error_set(error, SHOAL_NO_MEMORY, "no memory to resize %d to %d", from, to);
    }
    for (size_t i = 0; i < (size_t)to; i++) {
        fill_tap(taps, i, from, scale, filter, scratch);
    }
    mem_free(scratch);
    return SHOAL_OK;
}

static uint8_t clip(int32_t fixed) {
    const int32_t value =
        fixed >> FRACTION_BITS; /* rounds towards −∞: arithmetic in gcc and clang */
    return value < 0 ? 0 : value > 255 ? 255 : (uint8_t)value;
}

static void resample_row(const uint8_t *from, uint8_t *to, size_t width, const struct taps *taps) {
    for (size_t x = 0; x < width; x++) {
        const int32_t *weights = taps->weights + x * taps->room;
        const uint8_t *pixel = from + 3 * (size_t)taps->first[x];
        int32_t red = ROUNDING, green = ROUNDING, blue = ROUNDING;
        for (int32_t i = 0; i < taps->count[x]; i++, pixel += 3) {
            red += pixel[0] * weights[i];
            green += pixel[1] * weights[i];
            blue += pixel[2] * weights[i];
        }
        *to++ = clip(red);
        *to++ = clip(green);
        *to++ = clip(blue);
    }
}

/* The rows row_first … row_first + out->height of the picture, each resampled to out's width. */
static void resample_rows(const struct image *from, int32_t row_first, const struct taps *taps,
                          const struct image *out) {
    const size_t stride = 3 * (size_t)out->width;
    for (int32_t y = 0; y < out->height; y++) {
        resample_row(from->pixels + 3 * (size_t)from->width * (size_t)(row_first + y),
                     out->pixels + stride * (size_t)y, (size_t)out->width, taps);
    }
}

/* from's first row is row_first of the picture the taps were made for. */
static shoal_status resample_columns(const struct image *from, int32_t row_first,
                                     const struct taps *taps, const struct image *out,
                                     struct shoal_error *error) {
    const size_t stride = 3 * (size_t)from->width;
    int32_t *sums = mem_calloc(stride, sizeof *sums);
    if (sums == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to resize");
    }
    for (size_t y = 0; y < (size_t)out->height; y++) {
        const int32_t *weights = taps->weights + y * taps->room;
        for (size_t i = 0; i < stride; i++) {
            sums[i] = ROUNDING;
        }
        for (int32_t tap = 0; tap < taps->count[y]; tap++) {
            const uint8_t *row = from->pixels + stride * (size_t)(taps->first[y] - row_first + tap);
            const int32_t weight = weights[tap];
            for (size_t i = 0; i < stride; i++) {
                sums[i] += row[i] * weight;
            }
        }
        uint8_t *to = out->pixels + stride * y;
        for (size_t i = 0; i < stride; i++) {
            to[i] = clip(sums[i]);
        }
    }
    mem_free(sums);
    return SHOAL_OK;
}

static shoal_status copy(const struct image *from, struct image *out, struct shoal_error *error) {
    TRY(image_alloc(from->width, from->height, out, error));
    memcpy(out->pixels, from->pixels, 3 * (size_t)from->width * (size_t)from->height);
    return SHOAL_OK;
}

/* Positions are accumulated, not multiplied: so is Pillow's rounding. */
static void nearest(const struct image *from, const struct image *to) {
    const double step_x = (double)from->width / (double)to->width;
    const double step_y = (double)from->height / (double)to->height;
    uint8_t *out = to->pixels;
    double at_y = step_y * 0.5;
    for (int32_t y = 0; y < to->height; y++, at_y += step_y) {
        const int32_t row = at_y < (double)from->height ? (int32_t)at_y : from->height - 1;
        double at_x = step_x * 0.5;
        for (int32_t x = 0; x < to->width; x++, at_x += step_x) {
            const int32_t column = at_x < (double)from->width ? (int32_t)at_x : from->width - 1;
            memcpy(out, from->pixels + 3 * ((size_t)row * (size_t)from->width + (size_t)column), 3);
            out += 3;
        }
    }
}

static shoal_status columns_then_rows(const struct image *from, const struct image *to,
                                      const struct taps *along_x, const struct taps *along_y,
                                      struct shoal_error *error) {
    struct image between;
    TRY(image_alloc(from->width, to->height, &between, error));
    const shoal_status status = resample_columns(from, 0, along_y, &between, error);
    if (status == SHOAL_OK) {
        resample_rows(&between, 0, along_x, to);
    }
    image_fini(&between);
    return status;
}

/* Only the rows that the second pass will read are made. */
static shoal_status rows_then_columns(const struct image *from, const struct image *to,
                                      const struct taps *along_x, const struct taps *along_y,
                                      struct shoal_error *error) {
    const size_t last = (size_t)to->height - 1;
    const int32_t first = along_y->first[0], end = along_y->first[last] + along_y->count[last];
    struct image between;
    TRY(image_alloc(to->width, end - first, &between, error));
    resample_rows(from, first, along_x, &between);
    const shoal_status status = resample_columns(&between, first, along_y, to, error);
    image_fini(&between);
    return status;
}

/* Both passes, or the one that is needed; to has its size already. */
static shoal_status separable(const struct image *from, const struct image *to,
                              const struct filter *filter, struct shoal_error *error) {
    struct taps along_x, along_y;
    TRY(taps_init(&along_x, from->width, to->width, filter, error));
    shoal_status status = taps_init(&along_y, from->height, to->height, filter, error);
    if (status != SHOAL_OK) {
        taps_fini(&along_x);
        return status;
    }
    if (from->height == to->height) {
        resample_rows(from, 0, &along_x, to);
    } else if (from->width == to->width) {
        status = resample_columns(from, 0, &along_y, to, error);
    } else if (from->height > to->height &&
               from->height - to->height > 2 * (int64_t)(from->width - to->width)) {
        status = columns_then_rows(from, to, &along_x, &along_y, error);
    } else {
        status = rows_then_columns(from, to, &along_x, &along_y, error);
    }
    taps_fini(&along_x);
    taps_fini(&along_y);
    return status;
}

shoal_status image_resize(const struct image *from, int64_t width, int64_t height,
                          enum image_resample resample, struct image *out,
                          struct shoal_error *error) {
    if (from->width == width && from->height == height) {
        return copy(from, out, error);
    }
    struct image image;
    TRY(image_alloc(width, height, &image, error));
    shoal_status status = SHOAL_OK;
    if (resample == IMAGE_NEAREST) {
        nearest(from, &image);
    } else {
        status = separable(from, &image, &filters[resample], error);
    }
    if (status != SHOAL_OK) {
        image_fini(&image);
        return status;
    }
    *out = image;
    return SHOAL_OK;
}
