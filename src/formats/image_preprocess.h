/*
 * From a picture to a model's pixel values, step for step as transformers' image processors on
 * Pillow do it: resize, centre crop, rescale, normalise.
 */
#ifndef FORMATS_IMAGE_PREPROCESS_H
#define FORMATS_IMAGE_PREPROCESS_H

#include "formats/image_resize.h"

enum image_resize_mode {
    IMAGE_RESIZE_EXACT,    /* to height × width, whatever the aspect ratio */
    IMAGE_RESIZE_SHORTEST, /* the shorter side to shortest, aspect kept; with longest > 0 the longer
                              at most that */
};

struct image_preprocess {
    bool do_resize;
    enum image_resize_mode mode;
    int32_t height, width;
    int32_t shortest, longest;
    enum image_resample resample;
    bool do_center_crop;
    int32_t crop_height, crop_width; /* a smaller picture is padded with zeros */
    bool do_rescale;
    double rescale_factor;
    bool do_normalize;
    double mean[3], std[3]; /* (x − mean)/std, red green blue */
};

/* What published ViT models want: image_size² bilinear, mean and deviation 1/2. */
void image_preprocess_vit(int32_t image_size, struct image_preprocess *out);
/* What published DeiT models want: image_size·256/224 bicubic, centre crop, ImageNet's mean and
 * deviation. */
void image_preprocess_deit(int32_t image_size, struct image_preprocess *out);
/* What torchvision's convolutional networks want: the shorter side to image_size·256/224, bilinear,
 * centre crop, ImageNet's mean and deviation; small images (CIFAR) are not cropped. */
void image_preprocess_torchvision(int32_t image_size, struct image_preprocess *out);
/* MNIST's: image_size², mean 0.1307, deviation 0.3081. */
void image_preprocess_digits(int32_t image_size, struct image_preprocess *out);

/* The output's size if it is the same for every picture; false otherwise. */
bool image_preprocess_size(const struct image_preprocess *pre, int32_t *height, int32_t *width);

/*
 * out [height, width, 3] f32 row-major. Errors: MISMATCH (this picture comes out in another size
 * than the height × width that the caller has room for), UNSUPPORTED (sizes over the limit),
 * NO_MEMORY.
 */
NODISCARD shoal_status image_preprocess_apply(const struct image *image,
                                              const struct image_preprocess *pre, int32_t height,
                                              int32_t width, float *out, struct shoal_error *error);

#endif
