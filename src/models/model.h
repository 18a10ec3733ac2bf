/*
 * Models by configuration: what a model is made of, the built-in ones, and the graph of one. A
 * configuration comes from a built-in name, from a Hugging Face config.json (formats/) or, as JSON
 * text, from a peer; its numbers are hostile until model_config_check has seen them.
 *
 * Vision transformers. Graph input: "pixel_values" f32 [BATCH, image, image, channels] (NHWC).
 * Output: "logits" [BATCH, labels] or, with labels = 0, "embedding" [BATCH, hidden], the class
 * token's row after the final norm. Weight names are those that transformers writes; every layer
 * has four segments (models/vit.h).
 */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include "graph/graph.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_FAMILY_LIST(X)                               \
    X(VIT, "vit")   /* a class token before the patches */ \
    X(DEIT, "deit") /* class and distillation token */

enum model_family {
#define X(code, name) MODEL_##code,
    MODEL_FAMILY_LIST(X)
#undef X
        MODEL_FAMILY_COUNT
};

const char *model_family_name(enum model_family family);

#define MODEL_NAME_TEXT 64

struct model_config {
    enum model_family family;
    char name[MODEL_NAME_TEXT];   /* for people; any printable text */
    char prefix[MODEL_NAME_TEXT]; /* of weight names: "vit.", "deit.", or "" for a plain ViTModel's
                                     file */
    int64_t hidden, layers, heads, intermediate; /* intermediate: width of the MLP */
    int64_t image_size, patch_size, channels;    /* pixels */
    int64_t labels;                              /* 0: no classifier, the output is the embedding */
    float layer_norm_eps;
    enum activation activation; /* of the MLP */
    bool qkv_bias;
    bool distilled; /* two classifiers, averaged (DeiTForImageClassificationWithTeacher); DEIT only
                     */
};

/* Errors: INVALID, naming the field, its value and its bounds. */
NODISCARD shoal_status model_config_check(const struct model_config *config,
                                          struct shoal_error *error);

/* Errors: NOT_FOUND, listing the names there are. */
NODISCARD shoal_status model_builtin(const char *name, struct model_config *out,
                                     struct shoal_error *error);
/* NULL-terminated. The names with "test" are toys of a few kilobytes for tests and demonstrations.
 */
const char *const *model_builtin_names(void);

/* Errors: those of model_config_check; MISMATCH and UNSUPPORTED of shape inference; NO_MEMORY. */
NODISCARD shoal_status model_build(const struct model_config *config, struct graph **out,
                                   struct shoal_error *error);

/* [batch, image, image, channels]; batch may be GRAPH_BATCH. */
struct shape model_input_shape(const struct model_config *config, int64_t batch);

/* One line of JSON, exact in every field; free with mem_free. Errors: NO_MEMORY. */
NODISCARD shoal_status model_config_to_json(const struct model_config *config, char **out,
                                            struct shoal_error *error);
/*
 * Reads what model_config_to_json wrote; every key must be there, no other may. Errors: CORRUPT (no
 * JSON, an unknown, missing or twice given key, a wrong type: the text names the key), those of
 * model_config_check, NO_MEMORY.
 */
NODISCARD shoal_status model_config_from_json(const char *text, size_t length,
                                              struct model_config *out, struct shoal_error *error);

#endif
