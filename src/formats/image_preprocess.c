#include "formats/image_preprocess.h"

#include <math.h>
#include <string.h>

static void common(struct image_preprocess *out) {
    *out = (struct image_preprocess){.do_resize = true,
                                     .mode = IMAGE_RESIZE_EXACT,
                                     .do_rescale = true,
                                     .rescale_factor = 1.0 / 255.0,
                                     .do_normalize = true};
}

void image_preprocess_vit(int32_t image_size, struct image_preprocess *out) {
    common(out);
    out->resample = IMAGE_BILINEAR;
    out->height = out->width = image_size;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = out->std[c] = 0.5;
    }
}

static void imagenet(struct image_preprocess *out) {
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    memcpy(out->mean, mean, sizeof mean);
    memcpy(out->std, std, sizeof std);
}

void image_preprocess_torchvision(int32_t image_size, struct image_preprocess *out) {
    common(out);
    imagenet(out);
    out->resample = IMAGE_BILINEAR;
    if (image_size < 64) { /* pictures of CIFAR are as they are */
        out->height = out->width = image_size;
        return;
    }
    out->mode = IMAGE_RESIZE_SHORTEST;
    out->shortest = (int32_t)((int64_t)image_size * 256 / 224);
    out->do_center_crop = true;
    out->crop_height = out->crop_width = image_size;
}

void image_preprocess_digits(int32_t image_size, struct image_preprocess *out) {
    common(out);
    out->resample = IMAGE_BILINEAR;
    out->height = out->width = image_size;
    for (int c = 0; c < 3; c++) {
        out->mean[c] = 0.1307;
        out->std[c] = 0.3081;
    }
}

void image_preprocess_deit(int32_t image_size, struct image_preprocess *out) {
    common(out);
    out->resample = IMAGE_BICUBIC;
    out->height = out->width = (int32_t)((int64_t)image_size * 256 / 224);
    out->do_center_crop = true;
    out->crop_height = out->crop_width = image_size;
    imagenet(out);
}

bool image_preprocess_size(const struct image_preprocess *pre, int32_t *height, int32_t *width) {
    if (pre->do_center_crop) {
        *height = pre->crop_height;
        *width = pre->crop_width;
        return true;
    }
    if (pre->do_resize && pre->mode == IMAGE_RESIZE_EXACT) {
        *height = pre->height;
        *width = pre->width;
        return true;
    }
    return false;
}

/* The other side at the same aspect ratio, cut towards zero as Python's int() does. */
static int64_t scaled(double side, int32_t longer, int32_t shorter) {
    return (int64_t)(side * (double)longer / (double)shorter);
}

static void target_size(const struct image *image, const struct image_preprocess *pre,
                        int64_t *width, int64_t *height) {
    if (pre->mode == IMAGE_RESIZE_EXACT) {
        *width = pre->width;
        *height = pre->height;
        return;
    }
    const bool upright = image->width <= image->height;
    const int32_t shorter = upright ? image->width : image->height;
    const int32_t longer = upright ? image->height : image->width;
    double side =
        (double)pre->shortest; /* not rounded for the longer side when the limit applies */
    int64_t target = pre->shortest;
    if (pre->longest > 0 && (double)longer / (double)shorter * side > (double)pre->longest) {
        side = (double)pre->longest * (double)shorter / (double)longer;
        target = (int64_t)rint(side);
    }
    int64_t other = scaled(side, longer, shorter);
    if (pre->longest > 0 && shorter == target) {
        other = longer; /* a side that fits already is left alone */
    }
    *width = upright ? target : other;
    *height = upright ? other : target;
}

struct tables {
    float value[3][256];
};

/* Every pixel value an 8-bit sample can become, with the roundings of NumPy's float64 and float32
 * steps. */
static void fill_tables(const struct image_preprocess *pre, struct tables *tables) {
    for (int c = 0; c < 3; c++) {
        for (int sample = 0; sample < 256; sample++) {
            float value = (float)sample;
            if (pre->do_rescale) {
                value = (float)((double)sample * pre->rescale_factor);
            }
            if (pre->do_normalize) {
                value = (value - (float)pre->mean[c]) / (float)pre->std[c];
            }
            tables->value[c][sample] = value;
        }
    }
}

/* Where an axis of the crop starts in the picture: negative when the picture is smaller and zeros
 * come first. */
static int32_t crop_start(int32_t from, int32_t to) {
    const int32_t difference = from - to;
    if (difference >= 0) {
        return difference / 2;
    }
    return -((1 - difference) / 2); /* the odd line of zeros comes first */
}

static void write_values(const struct image *image, const struct image_preprocess *pre,
                         int32_t height, int32_t width, float *out) {
    struct tables tables;
    fill_tables(pre, &tables);
    const int32_t top = crop_start(image->height, height), left = crop_start(image->width, width);
    for (int32_t y = 0; y < height; y++) {
        const int32_t row = top + y;
        for (int32_t x = 0; x < width; x++) {
            static const uint8_t black[3] = {0, 0, 0};
            const int32_t column = left + x;
            const bool inside =
                row >= 0 && row < image->height && column >= 0 && column < image->width;
            const uint8_t *pixel =
                inside ? image->pixels + 3 * ((size_t)row * (size_t)image->width + (size_t)column)
                       : black;
            for (int c = 0; c < 3; c++) {
                *out++ = tables.value[c][pixel[c]];
            }
        }
    }
}

shoal_status image_preprocess_apply(const struct image *image, const struct image_preprocess *pre,
                                    int32_t height, int32_t width, float *out,
                                    struct shoal_error *error) {
    int64_t new_width = image->width, new_height = image->height;
    if (pre->do_resize) {
        target_size(image, pre, &new_width, &new_height);
    }
    const int64_t end_width = pre->do_center_crop ? pre->crop_width : new_width;
    const int64_t end_height = pre->do_center_crop ? pre->crop_height : new_height;
    if (end_width != width || end_height != height) {
        return error_set(error, SHOAL_MISMATCH,
                         "preprocessing makes %lld×%lld of it, the model wants %d×%d",
                         (long long)end_width, (long long)end_height, width, height);
    }
    if (new_width == image->width && new_height == image->height) {
        write_values(image, pre, height, width, out);
        return SHOAL_OK;
    }
    struct image resized;
    TRY(image_resize(image, new_width, new_height, pre->resample, &resized, error));
    write_values(&resized, pre, height, width, out);
    image_fini(&resized);
    return SHOAL_OK;
}
