/* A directory of files as one model. */
#include "formats/hf_parts.h"

#include "base/memory.h"
#include "formats/safetensors.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

struct hf_model {
    struct model_config config;
    struct hf_labels labels;
    struct image_preprocess preprocess;
    struct weight_source *weights;
    char *note;
};

static shoal_status make_path(const char *directory, const char *name, char **out,
                              struct shoal_error *error) {
    *out = mem_format("%s/%s", directory, name);
    return *out != NULL ? SHOAL_OK : error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
}

static bool has_file(const char *directory, const char *name) {
    char *path = mem_format("%s/%s", directory, name);
    const bool found = path != NULL && file_exists(path);
    mem_free(path);
    return found;
}

/* The last part of the directory's path, made printable. */
static void set_name(const char *directory, struct model_config *config) {
    size_t end = strlen(directory);
    while (end > 0 && directory[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && directory[start - 1] != '/') {
        start--;
    }
    (void)snprintf(config->name, sizeof config->name, "%.*s", (int)(end - start),
                   directory + start);
    for (char *at = config->name; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~') {
            *at = '_';
        }
    }
    if (config->name[0] == '\0') {
        (void)snprintf(config->name, sizeof config->name, "%s", model_family_name(config->family));
    }
}

static shoal_status read_config(const char *directory, struct hf_model *model,
                                struct shoal_error *error) {
    char *path = NULL, *text = NULL;
    size_t size = 0;
    TRY(make_path(directory, "config.json", &path, error));
    shoal_status status = file_read(path, HF_JSON_LIMIT, &text, &size, error);
    if (status == SHOAL_OK) {
        status = hf_config_parse(text, size, &model->config, &model->labels, error);
        if (status != SHOAL_OK) {
            (void)error_wrap(error, status, "%s", path);
        }
    }
    mem_free(text);
    mem_free(path);
    if (status == SHOAL_OK) {
        set_name(directory, &model->config);
    }
    return status;
}

static shoal_status check_pictures(const struct hf_model *model, const char *path,
                                   struct shoal_error *error) {
    int32_t height = 0, width = 0;
    if (image_preprocess_size(&model->preprocess, &height, &width) &&
        (height != model->config.image_size || width != model->config.image_size)) {
        return error_set(error, SHOAL_MISMATCH,
                         "%s: makes pictures of %d×%d, but image_size in config.json is %lld", path,
                         height, width, (long long)model->config.image_size);
    }
    return SHOAL_OK;
}

static shoal_status read_preprocess(const char *directory, struct hf_model *model,
                                    struct shoal_error *error) {
    if (!has_file(directory, "preprocessor_config.json")) {
        hf_preprocess_default(&model->config, &model->preprocess);
        model->note =
            mem_format("%s: no preprocessor_config.json; pictures are prepared as published %s "
                       "models want it",
                       directory, model->preprocess.do_center_crop ? "DeiT" : "ViT");
        return model->note != NULL ? SHOAL_OK
                                   : error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
    }
    char *path = NULL, *text = NULL;
    size_t size = 0;
    TRY(make_path(directory, "preprocessor_config.json", &path, error));
    shoal_status status = file_read(path, HF_JSON_LIMIT, &text, &size, error);
    if (status == SHOAL_OK) {
        status = hf_preprocess_parse(text, size, model->config.family, &model->preprocess, error);
        if (status != SHOAL_OK) {
            (void)error_wrap(error, status, "%s", path);
        }
    }
    if (status == SHOAL_OK) {
        status = check_pictures(model, path, error);
    }
    mem_free(text);
    mem_free(path);
    return status;
}

static bool has_weight(const struct hf_model *model, const char *prefix, const char *name) {
    char full[MODEL_NAME_TEXT + 64];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    return safetensors_find(model->weights, full) != NULL;
}

/* Files of the same architecture exist with and without the model's name before the weights'. */
static void find_prefix(struct hf_model *model) {
    const char *prefixes[] = {model->config.prefix, "", "vit.", "deit.", "bert."};
    const char *first = model->config.family == MODEL_BERT ? "embeddings.word_embeddings.weight"
                                                           : "embeddings.cls_token";
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (has_weight(model, prefixes[i], first)) {
            if (i > 0) {
                (void)snprintf(model->config.prefix, sizeof model->config.prefix, "%s",
                               prefixes[i]);
            }
            return;
        }
    }
}

/* What a BERT's file has under other names, or lacks. */
static shoal_status suit_bert(const char *directory, struct hf_model *model,
                              struct shoal_error *error) {
    struct model_config *config = &model->config;
    config->gamma_beta = has_weight(model, config->prefix, "embeddings.LayerNorm.gamma");
    if (config->labels > 0 || config->pooling != MODEL_POOL_POOLER ||
        has_weight(model, config->prefix, "pooler.dense.weight")) {
        return SHOAL_OK;
    }
    config->pooling = MODEL_POOL_CLS;
    model->note =
        mem_format("%s: no pooler is in its weights; outputs are the first token's", directory);
    return model->note != NULL ? SHOAL_OK
                               : error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
}

static shoal_status open_weights(const char *directory, struct hf_model *model,
                                 struct shoal_error *error) {
    static const char single[] = "model.safetensors", index[] = "model.safetensors.index.json";
    const bool whole = has_file(directory, single);
    if (!whole && !has_file(directory, index)) {
        if (has_file(directory, "pytorch_model.bin") ||
            has_file(directory, "pytorch_model.bin.index.json")) {
            return error_set(
                error, SHOAL_UNSUPPORTED,
                "%s: pytorch_model.bin holds Python objects and is not read; convert it once: "
                "python3 -c \"import transformers as t; c = t.AutoConfig.from_pretrained('.'); "
                "getattr(t, c.architectures[0]).from_pretrained('.').save_pretrained('.')\"",
                directory);
        }
        return error_set(error, SHOAL_NOT_FOUND, "%s: neither %s nor %s is there", directory,
                         single, index);
    }
    char *path = NULL;
    TRY(make_path(directory, whole ? single : index, &path, error));
    const shoal_status status =
        whole ? safetensors_open((const char *const[]){path}, 1, &model->weights, error)
              : safetensors_open_index(path, &model->weights, error);
    mem_free(path);
    TRY(status);
    find_prefix(model);
    return model->config.family == MODEL_BERT ? suit_bert(directory, model, error) : SHOAL_OK;
}

/* How items become the model's input, or its output an embedding. */
static shoal_status read_surroundings(const char *directory, struct hf_model *model,
                                      struct shoal_error *error) {
    if (model->config.family != MODEL_BERT) {
        return read_preprocess(directory, model, error);
    }
    return model->config.labels > 0 ? SHOAL_OK
                                    : hf_read_sentence_files(directory, &model->config, error);
}

shoal_status hf_open(const char *directory, struct hf_model **out, struct shoal_error *error) {
    struct hf_model *model = mem_calloc(1, sizeof *model);
    if (model == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
    }
    arena_init(&model->labels.arena);
    shoal_status status = read_config(directory, model, error);
    if (status == SHOAL_OK) {
        status = read_surroundings(directory, model, error);
    }
    if (status == SHOAL_OK) {
        status = open_weights(directory, model, error);
    }
    if (status != SHOAL_OK) {
        hf_close(model);
        return status;
    }
    *out = model;
    return SHOAL_OK;
}

void hf_close(struct hf_model *model) {
    if (model == NULL) {
        return;
    }
    hf_labels_fini(&model->labels);
    if (model->weights != NULL) {
        model->weights->ops->destroy(model->weights);
    }
    mem_free(model->note);
    mem_free(model);
}

const struct model_config *hf_config(const struct hf_model *model) {
    return &model->config;
}

const char *hf_label(const struct hf_model *model, size_t index) {
    return index < model->labels.count ? model->labels.names[index] : NULL;
}

const struct image_preprocess *hf_preprocess(const struct hf_model *model) {
    return &model->preprocess;
}

struct weight_source *hf_weights(const struct hf_model *model) {
    return model->weights;
}

const char *hf_note(const struct hf_model *model) {
    return model->note;
}
