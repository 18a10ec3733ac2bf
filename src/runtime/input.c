#include "runtime/input.h"

#include "base/memory.h"
#include "base/random.h"
#include "formats/npy.h"
#include "platform/file.h"
#include "tensor/convert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum source_kind { SOURCE_FILE, SOURCE_NPY, SOURCE_RANDOM };

/* One path's items: [first, first + count). */
struct source {
    enum source_kind kind;
    char *path;
    struct npy *npy;
    uint64_t first, count;
};

struct input {
    struct input_options options;
    struct source *sources;
    size_t count, capacity;
    uint64_t items;
    uint64_t stream; /* of random items */
};

static shoal_status add_source(struct input *input, struct source source,
                               struct shoal_error *error) {
    if (input->count == input->capacity) {
        const size_t capacity = input->capacity > 0 ? 2 * input->capacity : 64;
        struct source *larger = mem_realloc(input->sources, capacity * sizeof *larger);
        if (larger == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for a list of inputs");
        }
        input->sources = larger;
        input->capacity = capacity;
    }
    source.first = input->items;
    input->sources[input->count++] = source;
    input->items += source.count;
    return SHOAL_OK;
}

static bool has_suffix(const char *path, const char *suffix) {
    const size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcasecmp(path + length - end, suffix) == 0;
}

static bool is_picture_name(const char *path) {
    return has_suffix(path, ".jpg") || has_suffix(path, ".jpeg") || has_suffix(path, ".png");
}

/* [N,H,W,C] or [N,C,H,W] of f32 or f64 (pixel values as the model takes them), or [N,h,w,3] u8
 * (pictures). */
static shoal_status check_array(const struct input *input, const char *path,
                                const struct tensor *array, struct shoal_error *error) {
    const int64_t h = input->options.height, w = input->options.width, c = input->options.channels;
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

static shoal_status add_npy(struct input *input, const char *path, struct shoal_error *error) {
    struct source source = {.kind = SOURCE_NPY};
    TRY(npy_open(path, &source.npy, error));
    const struct tensor array = npy_tensor(source.npy);
    shoal_status status = check_array(input, path, &array, error);
    if (status == SHOAL_OK) {
        source.count = (uint64_t)array.shape.dims[0];
        source.path = mem_strdup(path);
        status = source.path != NULL ? add_source(input, source, error)
                                     : error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    if (status != SHOAL_OK) {
        npy_close(source.npy);
        mem_free(source.path);
    }
    return status;
}

static shoal_status add_file(struct input *input, const char *path, struct shoal_error *error) {
    if (has_suffix(path, ".npy")) {
        return add_npy(input, path, error);
    }
    char *copy = mem_strdup(path);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    const shoal_status status =
        add_source(input, (struct source){.kind = SOURCE_FILE, .path = copy, .count = 1}, error);
    if (status != SHOAL_OK) {
        mem_free(copy);
    }
    return status;
}

static shoal_status add_folder(struct input *input, const char *path, struct shoal_error *error) {
    char **paths;
    size_t count;
    TRY(file_list(path, &paths, &count, error));
    const uint64_t before = input->items;
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
        if (is_picture_name(paths[i]) || has_suffix(paths[i], ".npy")) {
            status = add_file(input, paths[i], error);
        }
    }
    file_list_free(paths, count);
    if (status == SHOAL_OK && input->items == before) {
        status = error_set(error, SHOAL_NOT_FOUND,
                           "%s: no .jpg, .jpeg, .png or .npy file is in this folder", path);
    }
    return status;
}

static shoal_status add_random(struct input *input, const char *text, struct shoal_error *error) {
    char *end;
    errno = 0;
    const long long count = strtoll(text + strlen("random:"), &end, 10);
    if (errno != 0 || *end != '\0' || end == text + strlen("random:") || count < 1 ||
        count > INT64_C(1) << 40) {
        return error_set(error, SHOAL_USAGE, "--input %s: write random:N with N at least 1", text);
    }
    return add_source(input, (struct source){.kind = SOURCE_RANDOM, .count = (uint64_t)count},
                      error);
}

shoal_status input_open(const struct input_options *options, struct input **out,
                        struct shoal_error *error) {
    struct input *input = mem_calloc(1, sizeof *input);
    if (input == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the input");
    }
    input->options = *options;
    input->stream = random_stream(options->seed, "input");
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < options->path_count && status == SHOAL_OK; i++) {
        const char *path = options->paths[i];
        if (strncmp(path, "random:", strlen("random:")) == 0) {
            status = add_random(input, path, error);
        } else if (file_is_directory(path)) {
            status = add_folder(input, path, error);
        } else if (!file_exists(path)) {
            status = error_set(error, SHOAL_NOT_FOUND,
                               "--input %s: there is no such file or folder", path);
        } else {
            status = add_file(input, path, error);
        }
    }
    if (status != SHOAL_OK) {
        input_close(input);
        return status;
    }
    *out = input;
    return SHOAL_OK;
}

void input_close(struct input *input) {
    if (input == NULL) {
        return;
    }
    for (size_t i = 0; i < input->count; i++) {
        npy_close(input->sources[i].npy);
        mem_free(input->sources[i].path);
    }
    mem_free(input->sources);
    mem_free(input);
}

uint64_t input_count(const struct input *input) {
    return input->items;
}

size_t input_item_values(const struct input *input) {
    return (size_t)input->options.height * (size_t)input->options.width *
           (size_t)input->options.channels;
}

bool input_is_random(const struct input *input) {
    for (size_t i = 0; i < input->count; i++) {
        if (input->sources[i].kind != SOURCE_RANDOM) {
            return false;
        }
    }
    return true;
}

static const struct source *find_source(const struct input *input, uint64_t index) {
    size_t low = 0, high = input->count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (input->sources[middle].first <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &input->sources[low];
}

void input_name(const struct input *input, uint64_t index, char *text, size_t bytes) {
    const struct source *source = find_source(input, index);
    if (source->kind == SOURCE_FILE) {
        (void)snprintf(text, bytes, "%s", source->path);
    } else {
        (void)snprintf(text, bytes, "%s[%llu]",
                       source->kind == SOURCE_NPY ? source->path : "random",
                       (unsigned long long)(index - source->first));
    }
}

/* One [C,H,W] or [H,W,C] item of a number array to [H,W,C] f32. */
static void copy_item(const struct input *input, const struct tensor *array,
                      const unsigned char *item, float *values) {
    const int64_t h = input->options.height, w = input->options.width, c = input->options.channels;
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

static shoal_status read_npy(struct input *input, const struct source *source, uint64_t position,
                             float *values, struct shoal_error *error) {
    const struct tensor array = npy_tensor(source->npy);
    const int64_t *d = array.shape.dims;
    const size_t bytes = (size_t)(d[1] * d[2] * d[3]) * dtype_size(array.dtype);
    const unsigned char *item = (const unsigned char *)array.data + position * bytes;
    shoal_status status = SHOAL_OK;
    if (array.dtype == DTYPE_U8) {
        struct image picture;
        TRY(image_alloc(d[2], d[1], &picture, error));
        memcpy(picture.pixels, item, bytes);
        status = image_preprocess_apply(&picture, input->options.preprocess, input->options.height,
                                        input->options.width, values, error);
        image_fini(&picture);
    } else {
        copy_item(input, &array, item, values);
    }
    npy_release(source->npy, position * bytes, bytes);
    return status;
}

shoal_status input_read(struct input *input, uint64_t index, float *values,
                        struct shoal_error *error) {
    const struct source *source = find_source(input, index);
    const uint64_t position = index - source->first;
    const size_t count = input_item_values(input);
    if (source->kind == SOURCE_RANDOM) {
        random_uniform(input->stream, position * count, -1.0F, 1.0F, values, count);
        return SHOAL_OK;
    }
    if (source->kind == SOURCE_NPY) {
        return read_npy(input, source, position, values, error);
    }
    struct image picture;
    TRY(image_read(source->path, &picture, error));
    const shoal_status status =
        image_preprocess_apply(&picture, input->options.preprocess, input->options.height,
                               input->options.width, values, error);
    image_fini(&picture);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", source->path);
}
