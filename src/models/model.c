#include "models/model.h"

#include "base/assert.h"
#include "graph/precision.h"
#include "models/bert.h"
#include "models/cnn.h"
#include "models/model_graph.h"
#include "models/vit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const families[] = {
#define X(code, name) [MODEL_##code] = (name),
    MODEL_FAMILY_LIST(X)
#undef X
};
_Static_assert(sizeof families / sizeof families[0] == MODEL_FAMILY_COUNT,
               "a name for every family");

const char *model_family_name(enum model_family family) {
    ASSERT((unsigned)family < MODEL_FAMILY_COUNT);
    return families[family];
}

static const char *const poolings[] = {
#define X(code, name) [MODEL_POOL_##code] = (name),
    MODEL_POOLING_LIST(X)
#undef X
};
_Static_assert(sizeof poolings / sizeof poolings[0] == MODEL_POOLING_COUNT,
               "a name for every pooling");

const char *model_pooling_name(enum model_pooling pooling) {
    ASSERT((unsigned)pooling < MODEL_POOLING_COUNT);
    return poolings[pooling];
}

bool model_pooling_parse(const char *name, enum model_pooling *out) {
    for (int i = 0; i < MODEL_POOLING_COUNT; i++) {
        if (strcmp(name, poolings[i]) == 0) {
            *out = (enum model_pooling)i;
            return true;
        }
    }
    return false;
}

/* Generous for every published model, and far from any overflow of sizes computed from them. */
#define MAX_HIDDEN 16384
#define MAX_LAYERS 1024
#define MAX_HEADS 1024
#define MAX_INTERMEDIATE 131072
#define MAX_IMAGE 8192
#define MAX_CHANNELS 64
#define MAX_LABELS 1000000
#define MAX_PATCHES 65536
#define MAX_VOCABULARY 16777216
#define MAX_POSITIONS 65536
#define MAX_TYPES 65536
#define LEAST_LENGTH 32

static shoal_status check_range(const char *field, int64_t value, int64_t low, int64_t high,
                                struct shoal_error *error) {
    if (value < low || value > high) {
        return error_set(error, SHOAL_INVALID,
                         "model: %s is %" PRId64 ", it must be from %" PRId64 " to %" PRId64, field,
                         value, low, high);
    }
    return SHOAL_OK;
}

/* Terminated, printable ASCII: it goes into names, logs and terminals. */
static shoal_status check_text(const char *field, const char text[MODEL_NAME_TEXT],
                               struct shoal_error *error) {
    const char *end = memchr(text, '\0', MODEL_NAME_TEXT);
    for (const char *p = text; end != NULL && p < end; p++) {
        if (*p < ' ' || *p > '~') {
            end = NULL;
        }
    }
    if (end == NULL) {
        return error_set(error, SHOAL_INVALID,
                         "model: %s is not printable ASCII of less than %d characters", field,
                         MODEL_NAME_TEXT);
    }
    return SHOAL_OK;
}

static shoal_status check_image(const struct model_config *config, struct shoal_error *error) {
    TRY(check_range("image_size", config->image_size, 1, MAX_IMAGE, error));
    TRY(check_range("patch_size", config->patch_size, 1, config->image_size, error));
    const int64_t side = config->image_size / config->patch_size;
    TRY(check_range("image_size / patch_size squared", side * side, 1, MAX_PATCHES, error));
    TRY(check_range("channels", config->channels, 1, MAX_CHANNELS, error));
    TRY(check_range("vocabulary", config->vocabulary, 0, 0, error));
    TRY(check_range("positions", config->positions, 0, 0, error));
    TRY(check_range("types", config->types, 0, 0, error));
    TRY(check_range("length", config->length, 0, 0, error));
    if (config->distilled && (config->family != MODEL_DEIT || config->labels == 0)) {
        return error_set(error, SHOAL_INVALID,
                         "model: distilled needs family deit and at least one label");
    }
    if (config->pooling != MODEL_POOL_CLS || config->normalise || config->gamma_beta) {
        return error_set(error, SHOAL_INVALID,
                         "model: family %s has pooling cls, no normalise and no gamma_beta",
                         model_family_name(config->family));
    }
    return SHOAL_OK;
}

static shoal_status check_text_model(const struct model_config *config, struct shoal_error *error) {
    TRY(check_range("image_size", config->image_size, 0, 0, error));
    TRY(check_range("patch_size", config->patch_size, 0, 0, error));
    TRY(check_range("channels", config->channels, 0, 0, error));
    TRY(check_range("vocabulary", config->vocabulary, 1, MAX_VOCABULARY, error));
    TRY(check_range("positions", config->positions, 1, MAX_POSITIONS, error));
    TRY(check_range("types", config->types, 1, MAX_TYPES, error));
    TRY(check_range("length", config->length, 1, config->positions, error));
    if (config->distilled || !config->qkv_bias) {
        return error_set(error, SHOAL_INVALID,
                         "model: family bert is never distilled and always has qkv_bias");
    }
    if ((unsigned)config->pooling >= MODEL_POOLING_COUNT) {
        return error_set(error, SHOAL_INVALID, "model: unknown pooling");
    }
    if (config->labels > 0 && (config->pooling != MODEL_POOL_POOLER || config->normalise)) {
        return error_set(error, SHOAL_INVALID,
                         "model: labels need pooling pooler and no normalise");
    }
    return SHOAL_OK;
}

static shoal_status check_graph(const struct model_config *config, struct shoal_error *error) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    if (config->graph == NULL) {
        return error_set(error, SHOAL_INVALID, "model: family graph without a graph");
    }
    const uint32_t count = model_graph_lengths(config->graph, lengths);
    TRY(check_range("length", config->length, lengths[0], lengths[count - 1], error));
    TRY(check_range("positions", config->positions, 0, MAX_POSITIONS, error));
    TRY(check_range("vocabulary", config->vocabulary, 0, MAX_VOCABULARY, error));
    return check_range("labels", config->labels, 0, MAX_LABELS, error);
}

shoal_status model_config_check(const struct model_config *config, struct shoal_error *error) {
    if ((unsigned)config->family >= MODEL_FAMILY_COUNT) {
        return error_set(error, SHOAL_INVALID, "model: unknown family");
    }
    TRY(check_text("name", config->name, error));
    if ((unsigned)config->precision >= PRECISION_COUNT) {
        return error_set(error, SHOAL_INVALID, "model: unknown precision");
    }
    if (config->family == MODEL_GRAPH) {
        return check_graph(config, error);
    }
    TRY(check_text("prefix", config->prefix, error));
    if (!(config->layer_norm_eps >= 0.0F && config->layer_norm_eps < 1.0F)) {
        return error_set(error, SHOAL_INVALID,
                         "model: layer_norm_eps is %g, it must be from 0 to 1",
                         (double)config->layer_norm_eps);
    }
    if (cnn_is(config->family)) {
        return cnn_check(config, error);
    }
    TRY(check_range("hidden", config->hidden, 1, MAX_HIDDEN, error));
    TRY(check_range("layers", config->layers, 1, MAX_LAYERS, error));
    TRY(check_range("heads", config->heads, 1, MAX_HEADS, error));
    if (config->hidden % config->heads != 0) {
        return error_set(error, SHOAL_INVALID,
                         "model: hidden %" PRId64 " is not a multiple of heads %" PRId64,
                         config->hidden, config->heads);
    }
    TRY(check_range("intermediate", config->intermediate, 1, MAX_INTERMEDIATE, error));
    TRY(check_range("labels", config->labels, 0, MAX_LABELS, error));
    if ((unsigned)config->activation >= ACTIVATION_COUNT) {
        return error_set(error, SHOAL_INVALID, "model: unknown activation");
    }
    return config->family == MODEL_BERT ? check_text_model(config, error)
                                        : check_image(config, error);
}

/* name, family, prefix, distilled, hidden, layers, heads, intermediate, image, patch, labels */
#define VISION_LIST(X)                                                              \
    X("vit-base", VIT, "vit.", false, 768, 12, 12, 3072, 224, 16, 1000)             \
    X("vit-large", VIT, "vit.", false, 1024, 24, 16, 4096, 224, 16, 1000)           \
    X("vit-huge", VIT, "vit.", false, 1280, 32, 16, 5120, 224, 14, 1000)            \
    /* Without distillation a DeiT is a ViT, and published as one. */               \
    X("deit-tiny", VIT, "vit.", false, 192, 12, 3, 768, 224, 16, 1000)              \
    X("deit-small", VIT, "vit.", false, 384, 12, 6, 1536, 224, 16, 1000)            \
    X("deit-base", VIT, "vit.", false, 768, 12, 12, 3072, 224, 16, 1000)            \
    X("deit-tiny-distilled", DEIT, "deit.", true, 192, 12, 3, 768, 224, 16, 1000)   \
    X("deit-small-distilled", DEIT, "deit.", true, 384, 12, 6, 1536, 224, 16, 1000) \
    X("deit-base-distilled", DEIT, "deit.", true, 768, 12, 12, 3072, 224, 16, 1000) \
    /* Toys: 2 and 3 layers on images of 32 by 32 pixels. */                        \
    X("vit-test", VIT, "vit.", false, 32, 3, 4, 64, 32, 8, 10)                      \
    X("deit-test-distilled", DEIT, "deit.", true, 32, 2, 2, 64, 32, 8, 10)

/* name, prefix, hidden, layers, heads, intermediate, words, positions, length, labels, pooling,
 * normalise */
#define BERT_LIST(X)                                                                \
    X("bert-base", "bert.", 768, 12, 12, 3072, 30522, 512, 512, 2, POOLER, false)   \
    X("bert-large", "bert.", 1024, 24, 16, 4096, 30522, 512, 512, 2, POOLER, false) \
    /* The smaller ones of Turc et al. 2019. */                                     \
    X("bert-medium", "bert.", 512, 8, 8, 2048, 30522, 512, 512, 2, POOLER, false)   \
    X("bert-small", "bert.", 512, 4, 8, 2048, 30522, 512, 512, 2, POOLER, false)    \
    X("bert-mini", "bert.", 256, 4, 4, 1024, 30522, 512, 512, 2, POOLER, false)     \
    X("bert-tiny", "bert.", 128, 2, 2, 512, 30522, 512, 512, 2, POOLER, false)      \
    /* all-MiniLM-L6-v2 and -L12-v2: embeddings of sentences. */                    \
    X("minilm-l6", "", 384, 6, 12, 1536, 30522, 512, 256, 0, MEAN, true)            \
    X("minilm-l12", "", 384, 12, 12, 1536, 30522, 512, 128, 0, MEAN, true)          \
    /* A toy. */                                                                    \
    X("bert-test", "bert.", 32, 3, 4, 64, 120, 128, 128, 3, POOLER, false)

/* name, family, hidden, layers, intermediate, image, channels, labels */
#define CNN_LIST(X)                                         \
    X("mlp", MLP, 512, 3, 0, 28, 1, 10)                     \
    X("lenet", LENET, 6, 5, 0, 28, 1, 10)                   \
    X("vgg-11", VGG, 64, 11, 4096, 224, 3, 1000)            \
    X("vgg-16", VGG, 64, 16, 4096, 224, 3, 1000)            \
    X("resnet-18", RESNET, 64, 18, 0, 224, 3, 1000)         \
    X("resnet-20", RESNET, 16, 20, 0, 32, 3, 10)            \
    X("resnet-50", RESNET, 64, 50, 0, 224, 3, 1000)         \
    X("mobilenet-v2", MOBILENET, 32, 7, 1280, 224, 3, 1000) \
    X("squeezenet", SQUEEZENET, 16, 10, 0, 224, 3, 1000)    \
    X("squeezenet-1.1", SQUEEZENET, 16, 11, 0, 224, 3, 1000)

/* Texts may not stand in parentheses where they fill an array.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
static const struct model_config builtins[] = {
#define X(label, kind, start, two, width, depth, head_count, mlp, image, patch, classes) \
    {.family = MODEL_##kind,                                                             \
     .name = label,                                                                      \
     .prefix = start,                                                                    \
     .hidden = width,                                                                    \
     .layers = depth,                                                                    \
     .heads = head_count,                                                                \
     .intermediate = mlp,                                                                \
     .image_size = image,                                                                \
     .patch_size = patch,                                                                \
     .channels = 3,                                                                      \
     .labels = classes,                                                                  \
     .layer_norm_eps = 1e-12F,                                                           \
     .activation = ACTIVATION_GELU_ERF,                                                  \
     .qkv_bias = true,                                                                   \
     .distilled = two},
    VISION_LIST(X)
#undef X
#define X(label, start, width, depth, head_count, mlp, words, rows, longest, classes, pool, unit) \
    {.family = MODEL_BERT,                                                                        \
     .name = label,                                                                               \
     .prefix = start,                                                                             \
     .hidden = width,                                                                             \
     .layers = depth,                                                                             \
     .heads = head_count,                                                                         \
     .intermediate = mlp,                                                                         \
     .vocabulary = words,                                                                         \
     .positions = rows,                                                                           \
     .types = 2,                                                                                  \
     .length = longest,                                                                           \
     .labels = classes,                                                                           \
     .layer_norm_eps = 1e-12F,                                                                    \
     .activation = ACTIVATION_GELU_ERF,                                                           \
     .qkv_bias = true,                                                                            \
     .pooling = MODEL_POOL_##pool,                                                                \
     .normalise = unit},
        BERT_LIST(X)
#undef X
#define X(label, kind, width, depth, mlp, image, planes, classes) \
    {.family = MODEL_##kind,                                      \
     .name = label,                                               \
     .hidden = width,                                             \
     .layers = depth,                                             \
     .intermediate = mlp,                                         \
     .image_size = image,                                         \
     .channels = planes,                                          \
     .labels = classes,                                           \
     .layer_norm_eps = 1e-5F},
            CNN_LIST(X)
#undef X
};
/* NOLINTEND(bugprone-macro-parentheses) */

static const char *const builtin_names[] = {
#define X(label, ...) label,
    VISION_LIST(X) BERT_LIST(X) CNN_LIST(X)
#undef X
        NULL};

const char *const *model_builtin_names(void) {
    return builtin_names;
}

shoal_status model_builtin(const char *name, struct model_config *out, struct shoal_error *error) {
    char list[SHOAL_ERROR_TEXT - 128] =
        ""; /* beside it: the text and the name that was asked for */
    size_t length = 0;
    for (size_t i = 0; i < sizeof builtins / sizeof builtins[0]; i++) {
        if (strcmp(name, builtins[i].name) == 0) {
            *out = builtins[i];
            return SHOAL_OK;
        }
        const int written = snprintf(list + length, sizeof list - length, "%s%s",
                                     i == 0 ? "" : ", ", builtins[i].name);
        ASSERT(written > 0 && (size_t)written < sizeof list - length);
        length += (size_t)written;
    }
    return error_set(error, SHOAL_NOT_FOUND, "no built-in model %.64s; there are: %s", name, list);
}

static shoal_status build_family(const struct model_config *config, struct graph **out,
                                 struct shoal_error *error) {
    if (config->family == MODEL_GRAPH) {
        return model_graph_build(config->graph, config->length, out, error);
    }
    TRY(graph_create(out, error));
    return cnn_is(config->family)         ? cnn_build(config, *out, error)
           : config->family == MODEL_BERT ? bert_build(config, *out, error)
                                          : vit_build(config, *out, error);
}

shoal_status model_build(const struct model_config *config, struct graph **out,
                         struct shoal_error *error) {
    TRY(model_config_check(config, error));
    struct graph *graph = NULL;
    shoal_status status = build_family(config, &graph, error);
    if (status == SHOAL_OK) {
        status = graph_set_precision(graph, config->precision, error);
    }
    if (status != SHOAL_OK) {
        graph_destroy(graph);
        return error_wrap(error, status, "model %s", config->name);
    }
    *out = graph;
    return SHOAL_OK;
}

void model_config_fini(struct model_config *config) {
    model_graph_destroy((struct model_graph *)(uintptr_t)config->graph);
    config->graph = NULL;
}

int64_t model_batch(const struct model_config *config) {
    return config->family == MODEL_GRAPH ? model_graph_batch(config->graph) : 0;
}

uint32_t model_outputs(const struct model_config *config,
                       struct model_output out[MODEL_MAX_OUTPUTS]) {
    if (config->family == MODEL_GRAPH) {
        return model_graph_outputs(config->graph, config->length, out);
    }
    const bool classifies = config->labels > 0;
    out[0] = (struct model_output){
        .name = classifies ? "logits" : "embedding",
        .type = {DTYPE_F32, SHAPE(GRAPH_BATCH, classifies ? config->labels : config->hidden)}};
    return 1;
}

uint32_t model_inputs(const struct model_config *config, struct model_input out[MODEL_MAX_INPUTS]) {
    if (config->family == MODEL_GRAPH) {
        return model_graph_inputs(config->graph, config->length, out);
    }
    if (config->family != MODEL_BERT) {
        const struct shape pixels =
            SHAPE(GRAPH_BATCH, config->image_size, config->image_size, config->channels);
        out[0] = (struct model_input){.name = "pixel_values", .type = {DTYPE_F32, pixels}};
        return 1;
    }
    const struct shape tokens = SHAPE(GRAPH_BATCH, config->length);
    out[0] = (struct model_input){"input_ids", {DTYPE_I32, tokens}, config->vocabulary};
    out[1] = (struct model_input){"token_type_ids", {DTYPE_I32, tokens}, config->types};
    out[2] = (struct model_input){.name = "attention_mask", .type = {DTYPE_F32, tokens}};
    return 3;
}

shoal_status model_input_check(const struct model_input *input, const void *values, size_t count,
                               struct shoal_error *error) {
    if (input->type.dtype != DTYPE_I32 || input->limit == 0) {
        return SHOAL_OK;
    }
    const int32_t *ids = values;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= input->limit) {
            return error_set(error, SHOAL_PROTOCOL,
                             "%s: value %zu is %" PRId32 ", it must be from 0 to %" PRId64,
                             input->name, i, ids[i], input->limit - 1);
        }
    }
    return SHOAL_OK;
}

uint32_t model_lengths(const struct model_config *config, int64_t out[MODEL_MAX_LENGTHS]) {
    uint32_t count = 0;
    if (config->family == MODEL_GRAPH) {
        for (count = model_graph_lengths(config->graph, out);
             count > 1 && out[count - 1] > config->length; count--) {
        }
        return count;
    }
    for (int64_t length = LEAST_LENGTH; length < config->length; length *= 2) {
        out[count++] = length;
    }
    out[count++] = config->length;
    return count;
}
_Static_assert(((int64_t)LEAST_LENGTH << (MODEL_MAX_LENGTHS - 1)) >= MAX_POSITIONS,
               "all lengths have a place");

int64_t model_length_for(const struct model_config *config, int64_t tokens) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    const uint32_t count = model_lengths(config, lengths);
    for (uint32_t i = 0; i < count; i++) {
        if (lengths[i] >= tokens) {
            return lengths[i];
        }
    }
    return lengths[count - 1];
}

shoal_status model_build_lengths(const struct model_config *config,
                                 struct graph *out[MODEL_MAX_LENGTHS], uint32_t *count,
                                 struct shoal_error *error) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    struct model_config at = *config;
    TRY(model_config_check(config, error));
    const uint32_t wanted = model_lengths(config, lengths);
    for (uint32_t i = 0; i < wanted; i++) {
        at.length = lengths[i];
        const shoal_status status = model_build(&at, &out[i], error);
        if (status != SHOAL_OK) {
            while (i-- > 0) {
                graph_destroy(out[i]);
            }
            return status;
        }
    }
    *count = wanted;
    return SHOAL_OK;
}
