/* Texts and token ids as items. */
#include "runtime/input_internal.h"

#include "base/random.h"

#include <string.h>

shoal_status tokens_check_array(const char *path, const struct tensor *array,
                                struct shoal_error *error) {
    const bool ids = array->dtype == DTYPE_I32 || array->dtype == DTYPE_I64;
    if (ids && array->shape.rank == 2 && array->shape.dims[0] > 0 && array->shape.dims[1] > 0) {
        return SHOAL_OK;
    }
    char text[SHAPE_TEXT];
    return error_set(error, SHOAL_MISMATCH,
                     "%s: an array of %s %s; the model takes token ids, i32 or i64 [N,T]", path,
                     dtype_name(array->dtype), shape_format(&array->shape, text));
}

static int64_t id_at(const struct tensor *array, const unsigned char *row, int64_t i) {
    int64_t wide;
    int32_t narrow;
    if (array->dtype == DTYPE_I64) {
        memcpy(&wide, row + (size_t)i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, row + (size_t)i * sizeof narrow, sizeof narrow);
    return narrow;
}

/* One row of ids, without the padding at its end, cut to max_length. */
static shoal_status read_array(const struct input *input, const struct source *source,
                               uint64_t position, int64_t max_length, int32_t *ids, int64_t *tokens,
                               struct shoal_error *error) {
    const struct tensor array = npy_tensor(source->npy);
    const int64_t pad = input_pad(input);
    int64_t length = array.shape.dims[1];
    const unsigned char *row =
        (const unsigned char *)array.data + position * (size_t)length * dtype_size(array.dtype);
    while (length > 0 && id_at(&array, row, length - 1) == pad) {
        length--;
    }
    length = length < max_length ? length : max_length;
    for (int64_t i = 0; i < length; i++) {
        const int64_t id = id_at(&array, row, i);
        if (id < 0 || id >= input->model.vocabulary) {
            return error_set(error, SHOAL_MISMATCH,
                             "%s[%llu]: token id %lld; the model has 0 to %lld", source->path,
                             (unsigned long long)position, (long long)id,
                             (long long)input->model.vocabulary - 1);
        }
        ids[i] = (int32_t)id;
    }
    *tokens = length;
    return length > 0 ? SHOAL_OK
                      : error_set(error, SHOAL_CORRUPT, "%s[%llu]: a row of padding alone",
                                  source->path, (unsigned long long)position);
}

static shoal_status read_text(const struct input *input, const struct source *source,
                              uint64_t position, int64_t max_length, int32_t *ids, int32_t *types,
                              int64_t *tokens, struct shoal_error *error) {
    struct wordpiece_text first, second;
    bool paired;
    const shoal_status status =
        text_source_get(source->text, position, &first, &second, &paired, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "%s:%llu", source->path,
                          (unsigned long long)text_source_line(source->text, position));
    }
    const size_t count = wordpiece_encode(input->options.wordpiece, &first, paired ? &second : NULL,
                                          (size_t)max_length, ids, types);
    if (count <= (paired ? 3U : 2U)) {
        return error_set(error, SHOAL_CORRUPT, "%s:%llu: no tokens in this line", source->path,
                         (unsigned long long)text_source_line(source->text, position));
    }
    *tokens = (int64_t)count;
    return SHOAL_OK;
}

shoal_status tokens_read(const struct input *input, const struct source *source, uint64_t position,
                         int64_t max_length, int32_t *ids, int32_t *types, int64_t *tokens,
                         struct shoal_error *error) {
    if (source->kind == SOURCE_TEXT) {
        return read_text(input, source, position, max_length, ids, types, tokens, error);
    }
    const size_t length = (size_t)max_length;
    memset(types, 0, length * sizeof *types);
    if (source->kind == SOURCE_NPY) {
        return read_array(input, source, position, max_length, ids, tokens, error);
    }
    for (size_t i = 0; i < length; i++) {
        ids[i] = (int32_t)(random_u32(input->stream, position * length + i) %
                           (uint32_t)input->model.vocabulary);
    }
    *tokens = max_length;
    return SHOAL_OK;
}
