#include "runtime/input_internal.h"

#include "base/memory.h"
#include "base/random.h"
#include "platform/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool input_has_suffix(const char *path, const char *suffix) {
    const size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcasecmp(path + length - end, suffix) == 0;
}

/* ---- what a model takes ---- */

bool input_role_of(const char *name, enum input_role *out) {
    static const char *const names[] = {[INPUT_IDS] = "input_ids",
                                        [INPUT_TYPES] = "token_type_ids",
                                        [INPUT_MASK] = "attention_mask",
                                        [INPUT_POSITIONS] = "position_ids"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum input_role)i;
            return true;
        }
    }
    return false;
}

bool input_roles(const struct model_config *model, enum input_role out[MODEL_MAX_INPUTS]) {
    struct model_input inputs[MODEL_MAX_INPUTS];
    if (model->length == 0) {
        return false;
    }
    const uint32_t count = model_inputs(model, inputs);
    for (uint32_t i = 0; i < count; i++) {
        if (!input_role_of(inputs[i].name, &out[i])) {
            return false;
        }
    }
    return true;
}

bool input_picture(const struct model_config *model, struct input_picture *out) {
    struct model_input inputs[MODEL_MAX_INPUTS];
    if (model->image_size > 0) {
        *out = (struct input_picture){
            .height = model->image_size, .width = model->image_size, .channels = model->channels};
        return true;
    }
    const bool one = model->length == 0 && model_inputs(model, inputs) == 1;
    const struct shape *shape = &inputs[0].type.shape;
    if (!one || inputs[0].type.dtype != DTYPE_F32 || shape->rank != 4 ||
        shape->dims[0] != GRAPH_BATCH) {
        return false;
    }
    const int64_t first = shape->dims[1], last = shape->dims[3];
    const bool channels_first = first == 1 || first == 3;
    if (!channels_first && last != 1 && last != 3) {
        return false;
    }
    *out = channels_first ? (struct input_picture){shape->dims[2], last, first, true}
                          : (struct input_picture){first, shape->dims[2], last, false};
    return out->height <= IMAGE_PIXEL_LIMIT && out->width <= IMAGE_PIXEL_LIMIT / out->height;
}

/* ---- files ---- */

/* Arrays that are no pictures and no tokens. */
static bool takes_arrays(const struct input *input) {
    return input->model.family == MODEL_GRAPH && !input->is_text;
}

static shoal_status open_array(const struct input *input, struct source *source,
                               struct shoal_error *error) {
    if (takes_arrays(input) && (!input->has_picture || !input_has_suffix(source->path, ".npy"))) {
        source->kind = SOURCE_ARRAYS;
        const char *path = source->path;
        return arrays_open(input, &path, 1, source, error);
    }
    TRY(npy_open(source->path, &source->npy, error));
    const struct tensor array = npy_tensor(source->npy);
    TRY(input_is_text(input) ? tokens_check_array(source->path, &array, error)
                             : pictures_check_array(input, source->path, &array, error));
    source->count = (uint64_t)array.shape.dims[0];
    return SHOAL_OK;
}

static shoal_status open_text(const struct input *input, struct source *source,
                              struct shoal_error *error) {
    const struct input_options *options = &input->options;
    if (input_has_suffix(source->path, ".csv")) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%s: tables are read with tabs between columns (.tsv)", source->path);
    }
    if (options->wordpiece == NULL) {
        return error_set(error, SHOAL_USAGE,
                         "%s: the model has no vocabulary; give one (--vocab vocab.txt), or token "
                         "ids as .npy",
                         source->path);
    }
    if (options->pair != NULL && input->model.types < 2) {
        return error_set(error, SHOAL_USAGE, "--pair: the model knows one text an item");
    }
    const struct text_options text = {.table = input_has_suffix(source->path, ".tsv"),
                                      .column = options->column,
                                      .pair = options->pair};
    TRY(text_source_open(source->path, &text, &source->text, error));
    source->count = text_source_count(source->text);
    return SHOAL_OK;
}

static void close_source(struct source *source) {
    npy_close(source->npy);
    text_source_close(source->text);
    arrays_close(source);
    mem_free(source->path);
}

static shoal_status add_file(struct input *input, const char *path, struct shoal_error *error) {
    struct source source = {.kind = SOURCE_PICTURE, .path = mem_strdup(path), .count = 1};
    if (source.path == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    shoal_status status = SHOAL_OK;
    if (input_has_suffix(path, ".npy") || (takes_arrays(input) && input_has_suffix(path, ".pb"))) {
        source.kind = SOURCE_NPY;
        status = open_array(input, &source, error);
    } else if (input_is_text(input)) {
        source.kind = SOURCE_TEXT;
        status = open_text(input, &source, error);
    } else if (!input->has_picture) {
        status = error_set(error, SHOAL_USAGE,
                           "%s: the model takes arrays (.npy, .pb), no pictures", path);
    }
    if (status == SHOAL_OK) {
        status = add_source(input, source, error);
    }
    if (status != SHOAL_OK) {
        close_source(&source);
    }
    return status;
}

/* Whether a file of a folder is an item, by its name. */
static bool is_item_name(const struct input *input, const char *path) {
    if (input_has_suffix(path, ".npy")) {
        return true;
    }
    return input_is_text(input)
               ? input_has_suffix(path, ".txt") || input_has_suffix(path, ".tsv")
               : input_has_suffix(path, ".jpg") || input_has_suffix(path, ".jpeg") ||
                     input_has_suffix(path, ".png");
}

static shoal_status add_folder(struct input *input, const char *path, struct shoal_error *error) {
    char **paths;
    size_t count;
    TRY(file_list(path, &paths, &count, error));
    const uint64_t before = input->items;
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
        if (is_item_name(input, paths[i])) {
            status = add_file(input, paths[i], error);
        }
    }
    file_list_free(paths, count);
    if (status == SHOAL_OK && input->items == before) {
        status = error_set(error, SHOAL_NOT_FOUND, "%s: no %s or .npy file is in this folder", path,
                           input_is_text(input) ? ".txt, .tsv" : ".jpg, .jpeg, .png");
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

/* All arguments NAME=FILE together are one source. */
static shoal_status add_named(struct input *input, struct shoal_error *error) {
    const struct input_options *options = &input->options;
    const char *named[MODEL_MAX_INPUTS];
    size_t count = 0;
    uint32_t index;
    for (size_t i = 0; i < options->path_count; i++) {
        if (arrays_named(input, options->paths[i], &index) && count < MODEL_MAX_INPUTS) {
            named[count++] = options->paths[i];
        }
    }
    if (count == 0) {
        return SHOAL_OK;
    }
    struct source source = {.kind = SOURCE_ARRAYS, .path = mem_strdup(named[0])};
    shoal_status status = source.path == NULL
                              ? error_set(error, SHOAL_NO_MEMORY, "no memory for the input")
                              : arrays_open(input, named, count, &source, error);
    if (status == SHOAL_OK) {
        status = add_source(input, source, error);
    }
    if (status != SHOAL_OK) {
        close_source(&source);
    }
    return status;
}

static shoal_status add_path(struct input *input, const char *path, struct shoal_error *error) {
    uint32_t index;
    if (strncmp(path, "random:", strlen("random:")) == 0) {
        return add_random(input, path, error);
    }
    if (takes_arrays(input) && arrays_named(input, path, &index)) {
        return SHOAL_OK; /* add_named's */
    }
    if (file_is_directory(path)) {
        return add_folder(input, path, error);
    }
    return file_exists(path) ? add_file(input, path, error)
                             : error_set(error, SHOAL_NOT_FOUND,
                                         "--input %s: there is no such file or folder", path);
}

shoal_status input_open(const struct input_options *options, struct input **out,
                        struct shoal_error *error) {
    struct input *input = mem_calloc(1, sizeof *input);
    if (input == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the input");
    }
    input->options = *options;
    input->model = *options->model;
    input->stream = random_stream(options->seed, "input");
    enum input_role roles[MODEL_MAX_INPUTS];
    input->input_count = model_inputs(&input->model, input->inputs);
    input->is_text = input_roles(&input->model, roles);
    input->has_picture = !input->is_text && input_picture(&input->model, &input->picture);
    shoal_status status = takes_arrays(input) ? add_named(input, error) : SHOAL_OK;
    for (size_t i = 0; i < options->path_count && status == SHOAL_OK; i++) {
        status = add_path(input, options->paths[i], error);
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
        close_source(&input->sources[i]);
    }
    mem_free(input->sources);
    mem_free(input);
}

uint64_t input_count(const struct input *input) {
    return input->items;
}

bool input_is_random(const struct input *input) {
    for (size_t i = 0; i < input->count; i++) {
        if (input->sources[i].kind != SOURCE_RANDOM) {
            return false;
        }
    }
    return true;
}

int64_t input_max_length(const struct input *input) {
    return input->options.max_length;
}

int32_t input_pad(const struct input *input) {
    return input->options.wordpiece != NULL ? wordpiece_pad(input->options.wordpiece) : 0;
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
    const unsigned long long position = index - source->first;
    switch (source->kind) {
    case SOURCE_PICTURE:
        (void)snprintf(text, bytes, "%s", source->path);
        break;
    case SOURCE_NPY:
    case SOURCE_ARRAYS:
        (void)snprintf(text, bytes, "%s[%llu]", source->path, position);
        break;
    case SOURCE_TEXT:
        (void)snprintf(text, bytes, "%s:%llu", source->path,
                       (unsigned long long)text_source_line(source->text, position));
        break;
    case SOURCE_RANDOM:
        (void)snprintf(text, bytes, "random[%llu]", position);
        break;
    }
}

shoal_status input_read(struct input *input, uint64_t index, void *const values[MODEL_MAX_INPUTS],
                        int64_t *tokens, struct shoal_error *error) {
    const struct source *source = find_source(input, index);
    const uint64_t position = index - source->first;
    if (input_is_text(input)) {
        return tokens_read(input, source, position, input->options.max_length, values[0], values[1],
                           tokens, error);
    }
    *tokens = 0;
    if (source->kind == SOURCE_ARRAYS) {
        return arrays_read(input, source, position, values, error);
    }
    if (source->kind == SOURCE_RANDOM && takes_arrays(input)) {
        arrays_random(input, position, values);
        return SHOAL_OK;
    }
    return pictures_read(input, source, position, values[0], error);
}

/* Whether every item's tokens can be counted within seconds. */
static bool is_scanned(const struct input *input) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < input->count; i++) {
        const struct source *source = &input->sources[i];
        bytes += source->text != NULL ? text_source_bytes(source->text) : 0;
        if (source->kind == SOURCE_RANDOM) {
            return false;
        }
    }
    return bytes <= INPUT_SCAN_BYTES;
}

int64_t input_longest(struct input *input) {
    const int64_t most = input->options.max_length;
    if (!input_is_text(input) || !is_scanned(input)) {
        return input_is_text(input) ? most : 0;
    }
    const size_t bytes = 2 * (size_t)(most + 1) * sizeof(int32_t);
    int32_t *ids = mem_alloc(bytes), *types = mem_alloc(bytes);
    int64_t longest = ids == NULL || types == NULL ? most : 0;
    input->cut = 0;
    for (uint64_t i = 0; i < input->items && ids != NULL && types != NULL; i++) {
        const struct source *source = find_source(input, i);
        int64_t tokens = 0;
        if (tokens_read(input, source, i - source->first, most + 1, ids, types, &tokens, NULL) ==
            SHOAL_OK) {
            input->cut += tokens > most;
            longest = tokens > longest ? tokens : longest;
        }
    }
    mem_free(ids);
    mem_free(types);
    return longest < most ? longest : most;
}

uint64_t input_cut(const struct input *input) {
    return input->cut;
}
