/* Shared by input.c and the kinds of items. */
#ifndef RUNTIME_INPUT_INTERNAL_H
#define RUNTIME_INPUT_INTERNAL_H

#include "formats/npy.h"
#include "formats/onnx/onnx.h"
#include "runtime/input.h"
#include "runtime/text_source.h"

enum source_kind { SOURCE_PICTURE, SOURCE_NPY, SOURCE_TEXT, SOURCE_RANDOM, SOURCE_ARRAYS };

/* An array of a file: [items, ...] of one input. */
struct input_array {
    struct npy *npy;      /* or */
    struct tensor memory; /* of a .pb, owned */
    struct tensor tensor; /* the view */
    const char *path;
};

/* One path's items: [first, first + count). */
struct source {
    enum source_kind kind;
    char *path;
    struct npy *npy;
    struct text_source *text;
    struct input_array *arrays; /* [MODEL_MAX_INPUTS] in the order of the model's inputs */
    uint64_t first, count;
};

struct input {
    struct input_options options;
    struct model_config model;
    struct model_input inputs[MODEL_MAX_INPUTS];
    uint32_t input_count;
    bool is_text, has_picture;
    struct input_picture picture;
    struct source *sources;
    size_t count, capacity;
    uint64_t items, cut; /* cut: texts longer than max_length, as far as input_longest looked */
    uint64_t stream;     /* of random items */
};

static inline bool input_is_text(const struct input *input) {
    return input->is_text;
}

bool input_has_suffix(const char *path, const char *suffix);

/*
 * input_arrays.c. Whether an argument is NAME=FILE of one of the model's inputs; *index says which.
 * One array for each input, all of as many items. Errors: those of npy_open and onnx_data_open,
 * MISMATCH, USAGE (an input without its array, or with two).
 */
bool arrays_named(const struct input *input, const char *argument, uint32_t *index);
NODISCARD shoal_status arrays_open(const struct input *input, const char *const *paths,
                                   size_t path_count, struct source *source,
                                   struct shoal_error *error);
void arrays_close(struct source *source);
NODISCARD shoal_status arrays_read(const struct input *input, const struct source *source,
                                   uint64_t position, void *const values[MODEL_MAX_INPUTS],
                                   struct shoal_error *error);
void arrays_random(const struct input *input, uint64_t position,
                   void *const values[MODEL_MAX_INPUTS]);

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
