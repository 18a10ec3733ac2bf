#include "runtime/model_ref.h"

#include "base/memory.h"
#include "formats/hf.h"
#include "platform/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model_ref {
    char *name;
    struct hf_model *hf; /* NULL: built-in */
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
    if (wordpiece_size(ref->wordpiece) > ref->config.vocabulary) {
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

static shoal_status open_model(struct model_ref *ref, const char *model, const char *weights,
                               struct shoal_error *error) {
    if (file_is_directory(model)) {
        return weights == NULL
                   ? open_directory(ref, model, error)
                   : error_set(error, SHOAL_USAGE,
                               "--weights goes with a built-in name; %s brings its own", model);
    }
    const char *dot = strrchr(model, '.');
    if (dot != NULL && strcmp(dot, ".onnx") == 0) {
        return error_set(
            error, SHOAL_UNSUPPORTED,
            "%s: version %s cannot read ONNX files; use the model's Hugging Face directory", model,
            SHOAL_VERSION_TEXT);
    }
    if (strchr(model, '/') != NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "%s: there is no such directory", model);
    }
    return open_builtin(ref, model, weights, error);
}

shoal_status model_ref_open(const char *model, const char *weights, uint64_t seed,
                            struct model_ref **out, struct shoal_error *error) {
    struct model_ref *ref = mem_calloc(1, sizeof *ref);
    if (ref == NULL || (ref->name = mem_strdup(model)) == NULL) {
        mem_free(ref);
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", model);
    }
    ref->seed = seed;
    const shoal_status status = open_model(ref, model, weights, error);
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
        wordpiece_destroy(ref->wordpiece);
        free(ref->path); /* realpath's */
        mem_free(ref->name);
        mem_free(ref);
    }
}

shoal_status model_ref_open_vocabulary(struct model_ref *ref, const char *path,
                                       struct shoal_error *error) {
    struct wordpiece *wordpiece;
    if (ref->config.family != MODEL_BERT) {
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

void model_ref_set_length(struct model_ref *ref, int64_t length) {
    ref->config.length = length;
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
    return ref->hf != NULL ? hf_label(ref->hf, class_index) : NULL;
}

const char *model_ref_name(const struct model_ref *ref) {
    return ref->name;
}

const char *model_ref_note(const struct model_ref *ref) {
    if (ref->hf != NULL) {
        return hf_note(ref->hf);
    }
    return ref->path == NULL ? "random weights from --seed: the answers mean nothing (--weights "
                               "FILE.safetensors loads trained ones)"
                             : NULL;
}
