#include "runtime/model_ref.h"

#include "base/memory.h"
#include "formats/hf.h"
#include "platform/file.h"
#include "runtime/input.h"
#include "runtime/onnx_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_POSITIONS 512 /* of a text model whose surroundings do not say */
#define LARGE_PICTURE 128     /* pixels: from here on pictures are cropped, as ImageNet's are */

struct model_ref {
    char *name;
    struct hf_model *hf; /* NULL: another kind */
    struct model_onnx *onnx;
    struct hf_labels labels; /* of an ONNX model */
    char *note;
    struct model_config config;
    struct image_preprocess preprocess;
    struct wordpiece *wordpiece; /* text models; NULL: no vocabulary */
    uint64_t seed;
    char *path; /* of the weights: absolute, devices may have another working directory; NULL:
                   random */
};

/* `directory/name` if it exists. */
static bool find_file(const char *directory, const char *name, char **out) {
    char *path = mem_format("%s/%s", directory, name);
    char *absolute = path != NULL && file_exists(path) ? realpath(path, NULL) : NULL;
    mem_free(path);
    *out = absolute;
    return absolute != NULL;
}

static shoal_status check_vocabulary(const struct model_ref *ref, const char *path,
                                     struct shoal_error *error) {
    if (ref->onnx == NULL && wordpiece_size(ref->wordpiece) > ref->config.vocabulary) {
        return error_set(error, SHOAL_MISMATCH,
                         "%s: a vocabulary of %d tokens, but the model has %lld", path,
                         wordpiece_size(ref->wordpiece), (long long)ref->config.vocabulary);
    }
    return SHOAL_OK;
}

/* A directory may be without a vocabulary, as long as nobody gives it text. */
static shoal_status open_tokeniser(struct model_ref *ref, const char *directory,
                                   struct shoal_error *error) {
    const shoal_status status = wordpiece_open_directory(directory, &ref->wordpiece, error);
    if (status == SHOAL_NOT_FOUND) {
        return SHOAL_OK;
    }
    return status == SHOAL_OK ? check_vocabulary(ref, directory, error) : status;
}

static shoal_status open_directory(struct model_ref *ref, const char *directory,
                                   struct shoal_error *error) {
    TRY(hf_open(directory, &ref->hf, error));
    ref->config = *hf_config(ref->hf);
    ref->preprocess = *hf_preprocess(ref->hf);
    if (!find_file(directory, "model.safetensors", &ref->path) &&
        !find_file(directory, "model.safetensors.index.json", &ref->path)) {
        return error_set(error, SHOAL_NOT_FOUND,
                         "%s: no model.safetensors and no model.safetensors.index.json", directory);
    }
    return ref->config.family == MODEL_BERT ? open_tokeniser(ref, directory, error) : SHOAL_OK;
}

static shoal_status open_builtin(struct model_ref *ref, const char *name, const char *weights,
                                 struct shoal_error *error) {
    TRY(model_builtin(name, &ref->config, error));
    hf_preprocess_default(&ref->config, &ref->preprocess);
    if (weights != NULL && (ref->path = realpath(weights, NULL)) == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "--weights %s: there is no such file", weights);
    }
    return SHOAL_OK;
}

/* ---- ONNX ---- */

/* Labels, the most positions. */
static shoal_status read_config(struct model_ref *ref, const char *directory,
                                struct shoal_error *error) {
    char *path, *text = NULL;
    size_t size = 0;
    if (!find_file(directory, "config.json", &path)) {
        return SHOAL_OK;
    }
    shoal_status status = file_read(path, HF_JSON_LIMIT, &text, &size, error);
    if (status == SHOAL_OK) {
        status = hf_labels_parse(text, size, &ref->labels, &ref->config.positions, error);
        mem_free(text);
        status = status == SHOAL_OK ? status : error_wrap(error, status, "%s", path);
    }
    free(path);
    return status;
}

static shoal_status read_labels(struct model_ref *ref, const char *directory, const char *given,
                                struct shoal_error *error) {
    char *path = NULL;
    if (given == NULL && (ref->labels.count > 0 || !find_file(directory, "labels.txt", &path))) {
        return SHOAL_OK;
    }
    hf_labels_fini(&ref->labels);
    const shoal_status status = hf_labels_read(given != NULL ? given : path, &ref->labels, error);
    free(path);
    return status == SHOAL_OK || given == NULL ? status : error_wrap(error, status, "--labels");
}

/* What models of ImageNet want: the middle of a picture whose shorter side is 256/224 of the
 * model's; small models take the whole picture. */
static void imagenet_preprocess(const struct input_picture *picture, struct image_preprocess *out) {
    const int32_t height = (int32_t)picture->height, width = (int32_t)picture->width;
    image_preprocess_deit(height, out);
    out->resample = IMAGE_BILINEAR;
    if (height == width && height >= LARGE_PICTURE) {
        out->mode = IMAGE_RESIZE_SHORTEST;
        out->shortest = height * 256 / 224;
        out->longest = 0;
        return;
    }
    out->mode = IMAGE_RESIZE_EXACT;
    out->height = height;
    out->width = width;
    out->do_center_crop = false;
}

static shoal_status read_preprocess(struct model_ref *ref, const char *directory, const char *given,
                                    struct shoal_error *error) {
    struct input_picture picture;
    char *path = NULL, *text = NULL;
    size_t size = 0;
    if (!input_picture(&ref->config, &picture)) {
        return given == NULL ? SHOAL_OK
                             : error_set(error, SHOAL_USAGE,
                                         "--preprocess %s: the model takes no pictures", given);
    }
    if (given == NULL && !find_file(directory, "preprocessor_config.json", &path)) {
        imagenet_preprocess(&picture, &ref->preprocess);
        ref->note = mem_strdup("no preprocessor_config.json is beside the model: pictures are "
                               "resized and normalised as ImageNet's are (--preprocess FILE)");
        return SHOAL_OK;
    }
    const char *from = given != NULL ? given : path;
    shoal_status status = file_read(from, HF_JSON_LIMIT, &text, &size, error);
    if (status == SHOAL_OK) {
        status = hf_preprocess_parse(text, size, MODEL_VIT, &ref->preprocess, error);
        mem_free(text);
        status = status == SHOAL_OK ? status : error_wrap(error, status, "%s", from);
    }
    free(path);
    return status;
}

static bool is_embedding(const char *name) {
    return strstr(name, "embed") != NULL || strstr(name, "hidden") != NULL ||
           strstr(name, "pool") != NULL || strstr(name, "feature") != NULL;
}

/* Classes of an item, if the first output is [items, classes] or [items, classes, 1, 1]; 0: it is
 * not. */
static int64_t count_classes(const struct model_ref *ref) {
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    (void)model_outputs(&ref->config, outputs);
    const struct tensor_type *type = &outputs[0].type;
    bool flat = type->dtype == DTYPE_F32 && type->shape.rank >= 2 &&
                type->shape.dims[0] == GRAPH_BATCH && type->shape.dims[1] > 1;
    for (int i = 2; i < type->shape.rank; i++) {
        flat = flat && type->shape.dims[i] == 1;
    }
    return flat && (ref->labels.count > 0 || !is_embedding(outputs[0].name)) ? type->shape.dims[1]
                                                                             : 0;
}

/* Import, and what follows from it. */
static shoal_status import(struct model_ref *ref, int64_t length, struct shoal_error *error) {
    struct model_input inputs[MODEL_MAX_INPUTS];
    int64_t lengths[MODEL_MAX_LENGTHS];
    TRY(model_onnx_import(ref->onnx, length, &ref->config.graph, error));
    ref->config.length = lengths[model_graph_lengths(ref->config.graph, lengths) - 1];
    ref->config.labels = count_classes(ref);
    const uint32_t count = model_inputs(&ref->config, inputs);
    ref->config.vocabulary = ref->wordpiece != NULL ? wordpiece_size(ref->wordpiece) : 2;
    for (uint32_t i = 0; i < count && ref->config.length > 0; i++) {
        if (strcmp(inputs[i].name, "input_ids") == 0 && inputs[i].limit > 0) {
            ref->config.vocabulary = inputs[i].limit;
        }
        ref->config.types = strcmp(inputs[i].name, "token_type_ids") == 0 ? 2 : ref->config.types;
    }
    return SHOAL_OK;
}

static void name_onnx(struct model_ref *ref, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    size_t length = 0;
    for (; base[length] != '\0' && length + 1 < sizeof ref->config.name; length++) {
        const bool plain = base[length] >= ' ' && base[length] <= '~';
        ref->config.name[length] = plain ? base[length] : '_';
    }
    ref->config.name[length] = '\0';
}

/* directory: of the file. */
static shoal_status open_onnx(struct model_ref *ref, const char *file, const char *directory,
                              const struct model_ref_options *options, struct shoal_error *error) {
    ref->path = realpath(file, NULL);
    if (ref->path == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "%s: there is no such file", file);
    }
    if (options->weights != NULL) {
        return error_set(error, SHOAL_USAGE,
                         "--weights goes with a built-in name; %s brings its own", file);
    }
    name_onnx(ref, ref->path);
    ref->config.family = MODEL_GRAPH;
    TRY(model_onnx_open(ref->path, &options->onnx, &ref->onnx, error));
    TRY(read_config(ref, directory, error));
    TRY(read_labels(ref, directory, options->labels, error));
    if (!model_onnx_is_text(ref->onnx)) {
        ref->config.positions = 0;
        TRY(import(ref, 0, error));
        return read_preprocess(ref, directory, options->preprocess, error);
    }
    const int64_t fixed = model_onnx_fixed_length(ref->onnx);
    const int64_t most = ref->config.positions > 0 ? ref->config.positions : DEFAULT_POSITIONS;
    ref->config.positions = fixed > 0 ? fixed : most;
    ref->config.length = ref->config.positions;
    const shoal_status status = wordpiece_open_directory(directory, &ref->wordpiece, error);
    return status == SHOAL_NOT_FOUND ? SHOAL_OK : status;
}

static shoal_status open_onnx_file(struct model_ref *ref, const char *path,
                                   const struct model_ref_options *options,
                                   struct shoal_error *error) {
    const char *slash = strrchr(path, '/');
    char *directory =
        slash != NULL ? mem_format("%.*s", (int)(slash - path + 1), path) : mem_strdup(".");
    if (directory == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    const shoal_status status = open_onnx(ref, path, directory, options, error);
    mem_free(directory);
    return status;
}

/* A directory that has model.onnx and no safetensors. */
static bool is_onnx_directory(const char *directory, char **file) {
    static const char *const weights[] = {"model.safetensors", "model.safetensors.index.json"};
    for (size_t i = 0; i < 2; i++) {
        char *path;
        if (find_file(directory, weights[i], &path)) {
            free(path);
            return false;
        }
    }
    return find_file(directory, "model.onnx", file);
}

/* Options of an ONNX model do nothing for another. */
static shoal_status check_options(const char *model, const struct model_ref_options *options,
                                  struct shoal_error *error) {
    const char *what = options->labels != NULL             ? "--labels"
                       : options->preprocess != NULL       ? "--preprocess"
                       : options->onnx.dim_count > 0       ? "--dim"
                       : options->onnx.skip_passes != NULL ? "--no-pass"
                                                           : NULL;
    return what == NULL
               ? SHOAL_OK
               : error_set(error, SHOAL_USAGE, "%s is for ONNX models; %s is none", what, model);
}

static shoal_status open_model(struct model_ref *ref, const char *model,
                               const struct model_ref_options *options, struct shoal_error *error) {
    const char *weights = options->weights;
    char *file;
    if (onnx_weights_is(model) && !file_is_directory(model)) {
        return open_onnx_file(ref, model, options, error);
    }
    if (file_is_directory(model) && is_onnx_directory(model, &file)) {
        const shoal_status status = open_onnx(ref, file, model, options, error);
        free(file);
        return status;
    }
    TRY(check_options(model, options, error));
    if (file_is_directory(model)) {
        return weights == NULL
                   ? open_directory(ref, model, error)
                   : error_set(error, SHOAL_USAGE,
                               "--weights goes with a built-in name; %s brings its own", model);
    }
    if (strchr(model, '/') != NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "%s: there is no such directory", model);
    }
    return open_builtin(ref, model, weights, error);
}

shoal_status model_ref_open(const char *model, const struct model_ref_options *options,
                            struct model_ref **out, struct shoal_error *error) {
    struct model_ref *ref = mem_calloc(1, sizeof *ref);
    if (ref == NULL || (ref->name = mem_strdup(model)) == NULL) {
        mem_free(ref);
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", model);
    }
    ref->seed = options->seed;
    arena_init(&ref->labels.arena);
    const shoal_status status = open_model(ref, model, options, error);
    if (status != SHOAL_OK) {
        model_ref_close(ref);
        return status;
    }
    if (ref->config.name[0] == '\0') {
        (void)snprintf(ref->config.name, sizeof ref->config.name, "%s",
                       model_family_name(ref->config.family));
    }
    *out = ref;
    return SHOAL_OK;
}

void model_ref_close(struct model_ref *ref) {
    if (ref != NULL) {
        hf_close(ref->hf);
        hf_labels_fini(&ref->labels);
        model_onnx_close(ref->onnx);
        mem_free(ref->note);
        wordpiece_destroy(ref->wordpiece);
        free(ref->path); /* realpath's */
        mem_free(ref->name);
        mem_free(ref);
    }
}

shoal_status model_ref_open_vocabulary(struct model_ref *ref, const char *path,
                                       struct shoal_error *error) {
    struct wordpiece *wordpiece;
    if (!model_ref_is_text(ref)) {
        return error_set(error, SHOAL_USAGE, "--vocab is for text models; %s takes pictures",
                         ref->name);
    }
    const shoal_status status = wordpiece_open_file(path, &wordpiece, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "--vocab");
    }
    wordpiece_destroy(ref->wordpiece);
    ref->wordpiece = wordpiece;
    return check_vocabulary(ref, path, error);
}

const struct wordpiece *model_ref_wordpiece(const struct model_ref *ref) {
    return ref->wordpiece;
}

int64_t model_ref_max_length(const struct model_ref *ref) {
    const int64_t model = ref->config.length;
    const int64_t tokens = ref->wordpiece != NULL ? wordpiece_max_length(ref->wordpiece) : 0;
    return tokens > 0 && tokens < model ? tokens : model;
}

bool model_ref_is_text(const struct model_ref *ref) {
    return ref->onnx != NULL ? model_onnx_is_text(ref->onnx) : ref->config.family == MODEL_BERT;
}

shoal_status model_ref_set_length(struct model_ref *ref, int64_t length,
                                  struct shoal_error *error) {
    ref->config.length = length;
    return ref->onnx != NULL ? import(ref, length, error) : SHOAL_OK;
}

int64_t model_ref_length_for(const struct model_ref *ref, int64_t tokens) {
    if (ref->onnx != NULL && model_onnx_fixed_length(ref->onnx) > 0) {
        return model_onnx_fixed_length(ref->onnx);
    }
    const struct model_config any = {.family = MODEL_BERT, .length = ref->config.length};
    return model_length_for(&any, tokens);
}

void model_ref_set_precision(struct model_ref *ref, enum precision precision) {
    ref->config.precision = precision;
}

const struct model_config *model_ref_config(const struct model_ref *ref) {
    return &ref->config;
}

const struct image_preprocess *model_ref_preprocess(const struct model_ref *ref) {
    return &ref->preprocess;
}

struct weights_spec model_ref_weights(const struct model_ref *ref) {
    return (struct weights_spec){.seed = ref->seed, .path = ref->path};
}

const char *model_ref_label(const struct model_ref *ref, uint32_t class_index) {
    if (ref->onnx != NULL) {
        return class_index < ref->labels.count ? ref->labels.names[class_index] : NULL;
    }
    return ref->hf != NULL ? hf_label(ref->hf, class_index) : NULL;
}

const char *model_ref_name(const struct model_ref *ref) {
    return ref->name;
}

const char *model_ref_note(const struct model_ref *ref) {
    if (ref->onnx != NULL) {
        return ref->note;
    }
    if (ref->hf != NULL) {
        return hf_note(ref->hf);
    }
    return ref->path == NULL ? "random weights from --seed: the answers mean nothing (--weights "
                               "FILE.safetensors loads trained ones)"
                             : NULL;
}
