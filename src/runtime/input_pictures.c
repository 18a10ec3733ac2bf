/* Pictures as items: image files, and arrays of pixels. */
#include "runtime/input_internal.h"

#include "base/memory.h"
#include "base/random.h"
#include "tensor/convert.h"

#include <string.h>

/* [N,H,W,C] or [N,C,H,W] of f32 or f64 (pixel values as the model takes them), or [N,h,w,3] u8
 * (pictures). */
shoal_status pictures_check_array(const struct input *input, const char *path,
                                  const struct tensor *array, struct shoal_error *error) {
    const int64_t h = input->picture.height, w = input->picture.width, c = input->picture.channels;
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

/* [H,W,C] to [C,H,W] or back: rows × columns of elements. */
static void transpose(enum dtype dtype, const unsigned char *from, float *to, int64_t rows,
                      int64_t columns) {
    const size_t size = dtype_size(dtype);
    for (int64_t column = 0; column < columns; column++) {
        for (int64_t row = 0; row < rows; row++) {
            (void)convert_to_f32(dtype, from + (size_t)(row * columns + column) * size,
                                 &to[column * rows + row], 1);
        }
    }
}

/* One [C,H,W] or [H,W,C] item of a number array as the model has it, f32. */
static void copy_item(const struct input *input, const struct tensor *array,
                      const unsigned char *item, float *values) {
    const int64_t area = input->picture.height * input->picture.width;
    const int64_t c = input->picture.channels, *d = array->shape.dims;
    const bool last = d[1] == input->picture.height && d[2] == input->picture.width && d[3] == c;
    const bool first = d[1] == c && d[2] == input->picture.height && d[3] == input->picture.width;
    if (input->picture.channels_first ? first : last) {
        (void)convert_to_f32(array->dtype, item, values, (size_t)(area * c));
    } else if (input->picture.channels_first) {
        transpose(array->dtype, item, values, area, c);
    } else {
        transpose(array->dtype, item, values, c, area);
    }
}

/* What a picture becomes is [H,W,3]. */
static shoal_status apply(const struct input *input, const struct image *picture, float *values,
                          struct shoal_error *error) {
    const struct input_picture *to = &input->picture;
    const int32_t height = (int32_t)to->height, width = (int32_t)to->width;
    if (to->channels == 3 && !to->channels_first) {
        return image_preprocess_apply(picture, input->options.preprocess, height, width, values,
                                      error);
    }
    const int64_t area = to->height * to->width;
    float *pixels = mem_alloc((size_t)area * 3 * sizeof *pixels);
    if (pixels == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a picture");
    }
    const shoal_status status =
        image_preprocess_apply(picture, input->options.preprocess, height, width, pixels, error);
    if (status == SHOAL_OK && to->channels == 3) {
        transpose(DTYPE_F32, (const unsigned char *)pixels, values, area, 3);
    } else if (status == SHOAL_OK) {
        for (int64_t i = 0; i < area; i++) { /* luma, ITU-R BT.601, as Pillow's convert("L") */
            values[i] =
                0.299F * pixels[3 * i] + 0.587F * pixels[3 * i + 1] + 0.114F * pixels[3 * i + 2];
        }
    }
    mem_free(pixels);
    return status;
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
        const size_t count =
            (size_t)(input->picture.height * input->picture.width * input->picture.channels);
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
