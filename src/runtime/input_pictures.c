/* Pictures as items: image files, and arrays of pixels. */
#include "runtime/input_internal.h"

#include "base/random.h"
#include "tensor/convert.h"

#include <string.h>

/* [N,H,W,C] or [N,C,H,W] of f32 or f64 (pixel values as the model takes them), or [N,h,w,3] u8
 * (pictures). */
shoal_status pictures_check_array(const struct input *input, const char *path,
                                  const struct tensor *array, struct shoal_error *error) {
    const int64_t h = input->model.image_size, w = h, c = input->model.channels;
    const int64_t *d = array->shape.dims;
    const bool number =
        array->dtype == DTYPE_F32 || array->dtype == DTYPE_F64 || array->dtype == DTYPE_F16;
    const bool nhwc = d[1] == h && d[2] == w && d[3] == c,
               nchw = d[1] == c && d[2] == h && d[3] == w;
    const bool pictures = array->dtype == DTYPE_U8 && d[3] == 3 && d[1] > 0 && d[2] > 0 &&
                          d[1] <= IMAGE_PIXEL_LIMIT && d[2] <= IMAGE_PIXEL_LIMIT / d[1];
    if (array->shape.rank == 4 && d[0] > 0 && ((number && (nhwc || nchw)) || pictures)) {
        return SHOAL_OK;
    }
    char text[SHAPE_TEXT];
    return error_set(error, SHOAL_MISMATCH,
                     "%s: an array of %s %s; the model takes f32 [N,%lld,%lld,%lld] or "
                     "[N,%lld,%lld,%lld], or pictures u8 [N,h,w,3]",
                     path, dtype_name(array->dtype), shape_format(&array->shape, text),
                     (long long)h, (long long)w, (long long)c, (long long)c, (long long)h,
                     (long long)w);
}

/* One [C,H,W] or [H,W,C] item of a number array to [H,W,C] f32. */
static void copy_item(const struct input *input, const struct tensor *array,
                      const unsigned char *item, float *values) {
    const int64_t h = input->model.image_size, w = h, c = input->model.channels;
    const size_t size = dtype_size(array->dtype);
    if (array->shape.dims[3] == c && array->shape.dims[1] == h) {
        (void)convert_to_f32(array->dtype, item, values, (size_t)(h * w * c));
        return;
    }
    for (int64_t channel = 0; channel < c; channel++) {
        for (int64_t i = 0; i < h * w; i++) {
            (void)convert_to_f32(array->dtype, item + (size_t)(channel * h * w + i) * size,
                                 &values[i * c + channel], 1);
        }
    }
}

static shoal_status apply(const struct input *input, const struct image *picture, float *values,
                          struct shoal_error *error) {
    const int32_t side = (int32_t)input->model.image_size;
    return image_preprocess_apply(picture, input->options.preprocess, side, side, values, error);
}

static shoal_status read_npy(const struct input *input, const struct source *source,
                             uint64_t position, float *values, struct shoal_error *error) {
    const struct tensor array = npy_tensor(source->npy);
    const int64_t *d = array.shape.dims;
    const size_t bytes = (size_t)(d[1] * d[2] * d[3]) * dtype_size(array.dtype);
    const unsigned char *item = (const unsigned char *)array.data + position * bytes;
    shoal_status status = SHOAL_OK;
    if (array.dtype == DTYPE_U8) {
        struct image picture;
        TRY(image_alloc(d[2], d[1], &picture, error));
        memcpy(picture.pixels, item, bytes);
        status = apply(input, &picture, values, error);
        image_fini(&picture);
    } else {
        copy_item(input, &array, item, values);
    }
    npy_release(source->npy, position * bytes, bytes);
    return status;
}

shoal_status pictures_read(const struct input *input, const struct source *source,
                           uint64_t position, float *values, struct shoal_error *error) {
    if (source->kind == SOURCE_RANDOM) {
        const int64_t side = input->model.image_size;
        const size_t count = (size_t)(side * side * input->model.channels);
        random_uniform(input->stream, position * count, -1.0F, 1.0F, values, count);
        return SHOAL_OK;
    }
    if (source->kind == SOURCE_NPY) {
        return read_npy(input, source, position, values, error);
    }
    struct image picture;
    TRY(image_read(source->path, &picture, error));
    const shoal_status status = apply(input, &picture, values, error);
    image_fini(&picture);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", source->path);
}
