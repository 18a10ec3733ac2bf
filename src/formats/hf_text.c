/* BERT's part of config.json, and the files that sentence-transformers puts beside it. */
#include "formats/hf_parts.h"

#include "base/memory.h"
#include "formats/json.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

static shoal_status refuse_text(const json_t *root, const char *key, const char *supported,
                                struct shoal_error *error) {
    const char *value = supported;
    TRY(json_get_string(root, key, &value, error));
    return strcmp(value, supported) == 0
               ? SHOAL_OK
               : error_set(error, SHOAL_UNSUPPORTED, "%s: %.80s is not supported; supported is %s",
                           key, value, supported);
}

static shoal_status refuse_flag(const json_t *root, const char *key, struct shoal_error *error) {
    bool value = false;
    TRY(json_get_bool(root, key, &value, error));
    return value ? error_set(error, SHOAL_UNSUPPORTED, "%s: decoders are not supported", key)
                 : SHOAL_OK;
}

shoal_status hf_bert_keys(const json_t *root, struct model_config *config,
                          struct shoal_error *error) {
    TRY(refuse_text(root, "position_embedding_type", "absolute", error));
    TRY(refuse_flag(root, "is_decoder", error));
    TRY(refuse_flag(root, "add_cross_attention", error));
    const char *problem = "";
    TRY(json_get_string(root, "problem_type", &problem, error));
    if (strcmp(problem, "multi_label_classification") == 0) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "problem_type: multi_label_classification is not supported; supported are "
                         "single_label_classification and regression");
    }
    config->vocabulary = 30522;
    config->positions = 512;
    config->types = 2;
    TRY(json_get_int(root, "vocab_size", 1, HF_COUNT_LIMIT, &config->vocabulary, error));
    TRY(json_get_int(root, "max_position_embeddings", 1, HF_COUNT_LIMIT, &config->positions,
                     error));
    TRY(json_get_int(root, "type_vocab_size", 1, HF_COUNT_LIMIT, &config->types, error));
    config->length = config->positions;
    return SHOAL_OK;
}

/* ---- sentence-transformers ---- */

/* "sentence_transformers.models.Pooling" and later names of it: the last word. */
static const char *class_of(const json_t *module) {
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *dot = type != NULL ? strrchr(type, '.') : NULL;
    return dot != NULL ? dot + 1 : type;
}

/* A folder's name that stays inside its directory. */
static shoal_status take_path(const json_t *module, char out[HF_PATH_TEXT],
                              struct shoal_error *error) {
    const char *path = NULL;
    TRY(json_get_string(module, "path", &path, error));
    if (path == NULL || strlen(path) >= HF_PATH_TEXT || path[0] == '/' ||
        strstr(path, "..") != NULL) {
        return error_set(error, SHOAL_CORRUPT, "path must be the short name of a folder here");
    }
    (void)snprintf(out, HF_PATH_TEXT, "%s", path);
    return SHOAL_OK;
}

static shoal_status take_module(const json_t *module, size_t index, struct hf_modules *out,
                                struct shoal_error *error) {
    const char *kind = json_is_object(module) ? class_of(module) : NULL;
    char path[HF_PATH_TEXT] = "";
    if (kind == NULL) {
        return error_set(error, SHOAL_CORRUPT, "module %zu has no type", index);
    }
    TRY(take_path(module, path, error));
    if (index == 0 && strcmp(kind, "Transformer") == 0) {
        return path[0] == '\0' ? SHOAL_OK
                               : error_set(error, SHOAL_UNSUPPORTED,
                                           "the transformer's files lie in %s; supported is the "
                                           "layout that has them here",
                                           path);
    }
    if (index == 1 && strcmp(kind, "Pooling") == 0) {
        (void)snprintf(out->pooling, sizeof out->pooling, "%s", path);
        return SHOAL_OK;
    }
    if (index == 2 && strcmp(kind, "Normalize") == 0) {
        out->normalise = true;
        return SHOAL_OK;
    }
    return error_set(error, SHOAL_UNSUPPORTED,
                     "module %zu is a %.80s; supported are Transformer, Pooling and then Normalize",
                     index, kind);
}

shoal_status hf_modules_parse(const void *bytes, size_t size, struct hf_modules *out,
                              struct shoal_error *error) {
    struct hf_modules modules = {.pooling = "", .normalise = false};
    json_error_t where;
    json_t *list = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    const size_t count = json_array_size(list); /* 0 for what is no array */
    shoal_status status = SHOAL_OK;
    if (count < 2) {
        status = error_set(error, SHOAL_CORRUPT, "expected a list of two or more modules");
    }
    for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
        status = take_module(json_array_get(list, i), i, &modules, error);
    }
    json_decref(list);
    TRY(status);
    *out = modules;
    return SHOAL_OK;
}

/* Up to version 5 a flag for each mode, then one key. */
static shoal_status pooling_of(const json_t *root, enum model_pooling *out,
                               struct shoal_error *error) {
    static const char *const others[] = {
        "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
    const char *mode = NULL;
    bool cls = false, mean = false;
    TRY(json_get_string(root, "pooling_mode", &mode, error));
    TRY(json_get_bool(root, "pooling_mode_cls_token", &cls, error));
    TRY(json_get_bool(root, "pooling_mode_mean_tokens", &mean, error));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        bool other = false;
        TRY(json_get_bool(root, others[i], &other, error));
        if (other) {
            mode = others[i];
        }
    }
    if (mode != NULL) {
        cls = strcmp(mode, "cls") == 0;
        mean = strcmp(mode, "mean") == 0;
    }
    if (cls == mean) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "pooling_mode: %.80s is not supported; supported is one of cls and mean",
                         mode != NULL ? mode
                         : cls        ? "cls and mean"
                                      : "none");
    }
    *out = cls ? MODEL_POOL_CLS : MODEL_POOL_MEAN;
    return SHOAL_OK;
}

shoal_status hf_pooling_parse(const void *bytes, size_t size, enum model_pooling *out,
                              struct shoal_error *error) {
    json_t *root = NULL;
    TRY(json_parse_object(bytes, size, &root, error));
    const shoal_status status = pooling_of(root, out, error);
    json_decref(root);
    return status;
}

shoal_status hf_sentence_parse(const void *bytes, size_t size, int64_t positions, int64_t *length,
                               struct shoal_error *error) {
    json_t *root = NULL;
    int64_t longest = positions;
    TRY(json_parse_object(bytes, size, &root, error));
    const shoal_status status =
        json_get_int(root, "max_seq_length", 1, HF_COUNT_LIMIT, &longest, error);
    json_decref(root);
    TRY(status);
    *length = longest < positions ? longest : positions;
    return SHOAL_OK;
}

/* ---- files ---- */

/* directory/folder/name's text, or NULL if it does not exist and need not. */
static shoal_status read_text(const char *directory, const char *folder, const char *name,
                              bool required, char **path, char **text, size_t *size,
                              struct shoal_error *error) {
    *text = NULL;
    *path = mem_format("%s/%s%s%s", directory, folder, folder[0] != '\0' ? "/" : "", name);
    if (*path == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
    }
    return required || file_exists(*path) ? file_read(*path, HF_JSON_LIMIT, text, size, error)
                                          : SHOAL_OK;
}

/* Ends the reading of one file: its path goes before an error of its content. */
static shoal_status end_file(shoal_status status, char *path, char *text,
                             struct shoal_error *error) {
    const shoal_status result =
        status != SHOAL_OK && text != NULL ? error_wrap(error, status, "%s", path) : status;
    mem_free(path);
    mem_free(text);
    return result;
}

shoal_status hf_read_sentence_files(const char *directory, struct model_config *config,
                                    struct shoal_error *error) {
    char *path = NULL, *text = NULL;
    size_t size = 0;
    struct hf_modules modules = {.pooling = ""};
    shoal_status status =
        read_text(directory, "", "modules.json", false, &path, &text, &size, error);
    const bool found = text != NULL;
    if (status == SHOAL_OK && found) {
        status = hf_modules_parse(text, size, &modules, error);
    }
    TRY(end_file(status, path, text, error));
    if (!found) {
        return SHOAL_OK;
    }
    status = read_text(directory, modules.pooling, "config.json", true, &path, &text, &size, error);
    if (status == SHOAL_OK) {
        status = hf_pooling_parse(text, size, &config->pooling, error);
    }
    TRY(end_file(status, path, text, error));
    config->normalise = modules.normalise;
    status =
        read_text(directory, "", "sentence_bert_config.json", false, &path, &text, &size, error);
    if (status == SHOAL_OK && text != NULL) {
        status = hf_sentence_parse(text, size, config->positions, &config->length, error);
    }
    return end_file(status, path, text, error);
}
