/* Shared by input.c and the kinds of items. */
#ifndef RUNTIME_INPUT_INTERNAL_H
#define RUNTIME_INPUT_INTERNAL_H

#include "formats/npy.h"
#include "runtime/input.h"
#include "runtime/text_source.h"

enum source_kind { SOURCE_PICTURE, SOURCE_NPY, SOURCE_TEXT, SOURCE_RANDOM };

/* One path's items: [first, first + count). */
struct source {
    enum source_kind kind;
    char *path;
    struct npy *npy;
    struct text_source *text;
    uint64_t first, count;
};

struct input {
    struct input_options options;
    struct model_config model;
    struct source *sources;
    size_t count, capacity;
    uint64_t items, cut; /* cut: texts longer than max_length, as far as input_longest looked */
    uint64_t stream;     /* of random items */
};

static inline bool input_is_text(const struct input *input) {
    return input->model.family == MODEL_BERT;
}

/* input_pictures.c. Errors: MISMATCH; item errors as input_read. */
NODISCARD shoal_status pictures_check_array(const struct input *input, const char *path,
                                            const struct tensor *array, struct shoal_error *error);
NODISCARD shoal_status pictures_read(const struct input *input, const struct source *source,
                                     uint64_t position, float *values, struct shoal_error *error);

/* input_tokens.c. ids and types: [2 · max_length]. */
NODISCARD shoal_status tokens_check_array(const char *path, const struct tensor *array,
                                          struct shoal_error *error);
NODISCARD shoal_status tokens_read(const struct input *input, const struct source *source,
                                   uint64_t position, int64_t max_length, int32_t *ids,
                                   int32_t *types, int64_t *tokens, struct shoal_error *error);

#endif
