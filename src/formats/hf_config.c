/* config.json of ViT, DeiT and BERT. */
#include "base/memory.h"
#include "formats/hf_parts.h"
#include "formats/json.h"
#include "platform/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_LIMIT 1000000
#define DEFAULT_LABELS 2 /* transformers' num_labels */

static const struct architecture {
    const char *name, *prefix;
    enum model_family family;
    bool classifier, distilled;
    enum model_pooling pooling;
} architectures[] = {
    {"ViTForImageClassification", "vit.", MODEL_VIT, true, false, MODEL_POOL_CLS},
    {"DeiTForImageClassification", "deit.", MODEL_DEIT, true, false, MODEL_POOL_CLS},
    {"DeiTForImageClassificationWithTeacher", "deit.", MODEL_DEIT, true, true, MODEL_POOL_CLS},
    {"ViTModel", "", MODEL_VIT, false, false, MODEL_POOL_CLS},
    {"DeiTModel", "", MODEL_DEIT, false, false, MODEL_POOL_CLS},
    {"BertModel", "", MODEL_BERT, false, false, MODEL_POOL_POOLER},
    {"BertForSequenceClassification", "bert.", MODEL_BERT, true, false, MODEL_POOL_POOLER},
    /* The heads of pretraining are left away. */
    {"BertForPreTraining", "bert.", MODEL_BERT, false, false, MODEL_POOL_POOLER},
    {"BertForNextSentencePrediction", "bert.", MODEL_BERT, false, false, MODEL_POOL_POOLER},
    {"BertForMaskedLM", "bert.", MODEL_BERT, false, false, MODEL_POOL_CLS},
};
#define ARCHITECTURE_COUNT (sizeof architectures / sizeof architectures[0])
#define ARCHITECTURE_TEXT                                                                   \
    "supported are ViTForImageClassification, DeiTForImageClassification, "                 \
    "DeiTForImageClassificationWithTeacher, ViTModel, DeiTModel, BertModel, "               \
    "BertForSequenceClassification, BertForPreTraining, BertForNextSentencePrediction and " \
    "BertForMaskedLM"

static shoal_status find_architecture(const char *name, const struct architecture **out,
                                      struct shoal_error *error) {
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++) {
        if (strcmp(name, architectures[i].name) == 0) {
            *out = &architectures[i];
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_UNSUPPORTED,
                     "architectures: %.80s is not supported; " ARCHITECTURE_TEXT, name);
}

static shoal_status parse_model_type(const json_t *root, const struct architecture **out,
                                     struct shoal_error *error) {
    const char *type = NULL;
    TRY(json_get_string(root, "model_type", &type, error));
    const struct architecture *named = *out;
    if (type == NULL) {
        return named != NULL
                   ? SHOAL_OK
                   : error_set(error, SHOAL_CORRUPT, "model_type and architectures are missing");
    }
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++) {
        if (strcmp(type, model_family_name(architectures[i].family)) == 0) {
            if (named == NULL) {
                *out =
                    &architectures[i]; /* the first of a family: a classifier, of BERT the model */
                return SHOAL_OK;
            }
            if (named->family == architectures[i].family) {
                return SHOAL_OK;
            }
            return error_set(error, SHOAL_CORRUPT, "model_type %s contradicts architectures (%s)",
                             type, named->name);
        }
    }
    return error_set(error, SHOAL_UNSUPPORTED,
                     "model_type: %.80s is not supported; supported are vit, deit and bert", type);
}

static shoal_status parse_architecture(const json_t *root, const struct architecture **out,
                                       struct shoal_error *error) {
    const json_t *list = json_object_get(root, "architectures");
    if (list != NULL && !json_is_null(list)) {
        const char *name = json_string_value(json_array_get(list, 0));
        if (name == NULL) {
            return error_set(error, SHOAL_CORRUPT, "architectures must be a list of names");
        }
        TRY(find_architecture(name, out, error));
    }
    return parse_model_type(root, out, error);
}

static shoal_status parse_activation(const json_t *root, enum activation *out,
                                     struct shoal_error *error) {
    static const struct {
        const char *name;
        enum activation activation;
    } names[] = {
        {"gelu", ACTIVATION_GELU_ERF},      {"gelu_python", ACTIVATION_GELU_ERF},
        {"gelu_new", ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"relu", ACTIVATION_RELU},          {"tanh", ACTIVATION_TANH},
        {"sigmoid", ACTIVATION_SIGMOID},
    };
    const char *name = "gelu";
    TRY(json_get_string(root, "hidden_act", &name, error));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].activation;
            return SHOAL_OK;
        }
    }
    return error_set(
        error, SHOAL_UNSUPPORTED,
        "hidden_act: %.80s is not supported; supported are gelu, gelu_python, gelu_new, "
        "gelu_pytorch_tanh, relu, tanh and sigmoid",
        name);
}

/* One number, or a list of two equal ones. */
static shoal_status parse_square(const json_t *root, const char *key, int64_t *out,
                                 struct shoal_error *error) {
    const json_t *list = json_object_get(root, key);
    if (!json_is_array(list)) {
        return json_get_int(root, key, 1, HF_COUNT_LIMIT, out, error);
    }
    const json_t *height = json_array_get(list, 0), *width = json_array_get(list, 1);
    if (json_array_size(list) != 2 || !json_is_integer(height) || !json_is_integer(width)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be an integer or a list of two", key);
    }
    if (json_integer_value(height) != json_integer_value(width)) {
        return error_set(error, SHOAL_UNSUPPORTED, "%s: %lld×%lld is not square", key,
                         (long long)json_integer_value(height),
                         (long long)json_integer_value(width));
    }
    *out = json_integer_value(height);
    return SHOAL_OK;
}

static shoal_status parse_image_keys(const json_t *root, struct model_config *config,
                                     struct shoal_error *error) {
    config->image_size = 224;
    config->patch_size = 16;
    config->channels = 3;
    TRY(json_get_int(root, "num_channels", 1, HF_COUNT_LIMIT, &config->channels, error));
    TRY(parse_square(root, "image_size", &config->image_size, error));
    TRY(parse_square(root, "patch_size", &config->patch_size, error));
    return json_get_bool(root, "qkv_bias", &config->qkv_bias, error);
}

static shoal_status parse_numbers(const json_t *root, struct model_config *config,
                                  struct shoal_error *error) {
    double epsilon = 1e-12;
    config->hidden = 768;
    config->layers = 12;
    config->heads = 12;
    config->intermediate = 3072;
    config->qkv_bias = true;
    TRY(json_get_int(root, "hidden_size", 1, HF_COUNT_LIMIT, &config->hidden, error));
    TRY(json_get_int(root, "num_hidden_layers", 1, HF_COUNT_LIMIT, &config->layers, error));
    TRY(json_get_int(root, "num_attention_heads", 1, HF_COUNT_LIMIT, &config->heads, error));
    TRY(json_get_int(root, "intermediate_size", 1, HF_COUNT_LIMIT, &config->intermediate, error));
    TRY(json_get_number(root, "layer_norm_eps", 0.0, 1.0, &epsilon, error));
    config->layer_norm_eps = (float)epsilon;
    TRY(config->family == MODEL_BERT ? hf_bert_keys(root, config, error)
                                     : parse_image_keys(root, config, error));
    return parse_activation(root, &config->activation, error);
}

/* names [count], unset. */
static shoal_status make_names(struct hf_labels *labels, size_t count, struct shoal_error *error) {
    labels->names = arena_alloc(&labels->arena, (count > 0 ? count : 1) * sizeof *labels->names);
    if (labels->names == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu labels", count);
    }
    labels->count = count;
    return SHOAL_OK;
}

static shoal_status number_labels(int64_t count, struct hf_labels *labels,
                                  struct shoal_error *error) {
    TRY(make_names(labels, (size_t)count, error));
    for (size_t i = 0; i < labels->count; i++) {
        labels->names[i] = arena_format(&labels->arena, "LABEL_%zu", i);
        if (labels->names[i] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for labels");
        }
    }
    return SHOAL_OK;
}

static shoal_status copy_labels(json_t *map, struct hf_labels *labels, struct shoal_error *error) {
    const size_t count = json_object_size(map);
    TRY(make_names(labels, count, error));
    for (size_t i = 0; i < count; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%zu", i);
        const json_t *label = json_object_get(map, key);
        if (!json_is_string(label)) {
            return error_set(error, SHOAL_CORRUPT, "id2label: %zu entries, but %zu is %s", count, i,
                             label == NULL ? "missing" : json_kind(label));
        }
        labels->names[i] = arena_strdup(&labels->arena, json_string_value(label));
        if (labels->names[i] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for labels");
        }
    }
    return SHOAL_OK;
}

static shoal_status parse_labels(const json_t *root, struct hf_labels *labels,
                                 struct shoal_error *error) {
    json_t *map = json_object_get(root, "id2label");
    int64_t count = DEFAULT_LABELS;
    TRY(json_get_int(root, "num_labels", 1, LABEL_LIMIT, &count, error));
    if (map == NULL || json_is_null(map)) {
        return number_labels(count, labels, error);
    }
    if (!json_is_object(map) || json_object_size(map) == 0 || json_object_size(map) > LABEL_LIMIT) {
        return error_set(error, SHOAL_CORRUPT, "id2label must be an object of 1 to %d labels",
                         LABEL_LIMIT);
    }
    return copy_labels(map, labels, error);
}

static shoal_status parse_root(const json_t *root, struct model_config *out,
                               struct hf_labels *labels, struct shoal_error *error) {
    struct model_config config;
    memset(&config, 0, sizeof config);
    const struct architecture *architecture = NULL;
    TRY(parse_architecture(root, &architecture, error));
    config.family = architecture->family;
    config.distilled = architecture->distilled;
    config.pooling = architecture->pooling;
    (void)snprintf(config.prefix, sizeof config.prefix, "%s", architecture->prefix);
    TRY(parse_numbers(root, &config, error));
    if (architecture->classifier) {
        TRY(parse_labels(root, labels, error));
        config.labels = (int64_t)labels->count;
    }
    TRY(model_config_check(&config, error));
    *out = config;
    return SHOAL_OK;
}

shoal_status hf_config_parse(const void *bytes, size_t size, struct model_config *out,
                             struct hf_labels *labels, struct shoal_error *error) {
    json_t *root = NULL;
    TRY(json_parse_object(bytes, size, &root, error));
    struct hf_labels found = {.names = NULL, .count = 0};
    arena_init(&found.arena);
    const shoal_status status = parse_root(root, out, &found, error);
    json_decref(root);
    if (status != SHOAL_OK) {
        hf_labels_fini(&found);
        return status;
    }
    *labels = found;
    return SHOAL_OK;
}

static shoal_status parse_any(const json_t *root, struct hf_labels *labels, int64_t *length,
                              struct shoal_error *error) {
    const json_t *map = json_object_get(root, "id2label");
    TRY(json_get_int(root, "max_position_embeddings", 1, HF_COUNT_LIMIT, length, error));
    return json_is_object(map) && json_object_size(map) > 0 ? parse_labels(root, labels, error)
                                                            : SHOAL_OK;
}

shoal_status hf_labels_parse(const void *bytes, size_t size, struct hf_labels *labels,
                             int64_t *length, struct shoal_error *error) {
    json_t *root = NULL;
    TRY(json_parse_object(bytes, size, &root, error));
    struct hf_labels found = {.names = NULL, .count = 0};
    arena_init(&found.arena);
    *length = 0;
    const shoal_status status = parse_any(root, &found, length, error);
    json_decref(root);
    if (status != SHOAL_OK) {
        hf_labels_fini(&found);
        return status;
    }
    *labels = found;
    return SHOAL_OK;
}

static shoal_status split_lines(char *text, struct hf_labels *labels, struct shoal_error *error) {
    size_t count = 0;
    for (const char *p = text; *p != '\0'; p++) {
        count += *p == '\n' || p[1] == '\0';
    }
    if (count == 0 || count > LABEL_LIMIT) {
        return error_set(error, SHOAL_CORRUPT, "%zu lines; 1 to %d labels can be", count,
                         LABEL_LIMIT);
    }
    TRY(make_names(labels, count, error));
    char *at = text;
    for (size_t i = 0; i < count; i++) {
        const size_t length = strcspn(at, "\n");
        const bool last = at[length] == '\0';
        at[length] = '\0';
        at[strcspn(at, "\r")] = '\0';
        labels->names[i] = arena_strdup(&labels->arena, at);
        if (labels->names[i] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for labels");
        }
        at += last ? length : length + 1;
    }
    return SHOAL_OK;
}

shoal_status hf_labels_read(const char *path, struct hf_labels *labels, struct shoal_error *error) {
    char *text = NULL;
    struct hf_labels found = {.names = NULL, .count = 0};
    TRY(file_read(path, HF_JSON_LIMIT, &text, NULL, error));
    arena_init(&found.arena);
    const shoal_status status = split_lines(text, &found, error);
    mem_free(text);
    if (status != SHOAL_OK) {
        hf_labels_fini(&found);
        return error_wrap(error, status, "%s", path);
    }
    *labels = found;
    return SHOAL_OK;
}

void hf_labels_fini(struct hf_labels *labels) {
    arena_fini(&labels->arena);
    labels->names = NULL;
    labels->count = 0;
}
