/*
 * Models by configuration: what a model is made of, the built-in ones, and the graph of one. A
 * configuration comes from a built-in name, from a Hugging Face config.json (formats/) or, as JSON
 * text, from a peer; its numbers are hostile until model_config_check has seen them.
 *
 * Vision transformers. Graph input: "pixel_values" f32 [BATCH, image, image, channels] (NHWC).
 * Output: [BATCH, labels] logits or, with labels = 0, [BATCH, hidden], the class token's row after
 * the final norm.
 *
 * BERT. Graph inputs, T = length: "input_ids" i32 [BATCH,T], "token_type_ids" i32 [BATCH,T] and
 * "attention_mask" f32 [BATCH,T]: 0 where a token is, MODEL_MASK_DROP where there is padding; it is
 * added to attention's scores. Output: [BATCH, labels] logits or [BATCH, hidden], pooled.
 *
 * Weight names are those that transformers writes; every layer has four segments (models/vit.h,
 * models/bert.h).
 *
 * Convolutional networks (models/cnn.h). Graph input: as a vision transformer's. Output: [BATCH,
 * labels] logits. Weight names are torchvision's.
 */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include "graph/graph.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_FAMILY_LIST(X)                                                               \
    X(VIT, "vit")   /* a class token before the patches */                                 \
    X(DEIT, "deit") /* class and distillation token */                                     \
    X(BERT, "bert") /* token embeddings, norms after */                                    \
    X(MLP, "mlp")   /* convolutional networks: models/cnn.h says what their fields mean */ \
    X(LENET, "lenet")                                                                      \
    X(VGG, "vgg")                                                                          \
    X(RESNET, "resnet")                                                                    \
    X(MOBILENET, "mobilenet_v2")                                                           \
    X(SQUEEZENET, "squeezenet")                                                            \
    X(GRAPH, "graph") /* no builder's: config.graph is the model (models/model_graph.h) */

enum model_family {
#define X(code, name) MODEL_##code,
    MODEL_FAMILY_LIST(X)
#undef X
        MODEL_FAMILY_COUNT
};

const char *model_family_name(enum model_family family);

/* How a BERT's rows become one per item. */
#define MODEL_POOLING_LIST(X)                                          \
    X(CLS, "cls")       /* the first token's row */                    \
    X(MEAN, "mean")     /* the mean of the rows that the mask keeps */ \
    X(POOLER, "pooler") /* the first row through a dense layer and tanh */

enum model_pooling {
#define X(code, name) MODEL_POOL_##code,
    MODEL_POOLING_LIST(X)
#undef X
        MODEL_POOLING_COUNT
};

const char *model_pooling_name(enum model_pooling pooling);
bool model_pooling_parse(const char *name, enum model_pooling *out);

#define MODEL_NAME_TEXT 64
#define MODEL_MASK_DROP (-INFINITY)

struct model_graph;

struct model_config {
    enum model_family family;
    char name[MODEL_NAME_TEXT];   /* for people; any printable text */
    char prefix[MODEL_NAME_TEXT]; /* of weight names: "vit.", "bert.", or "" for a plain model's
                                     file */
    int64_t hidden, layers, heads, intermediate; /* intermediate: width of the MLP */
    int64_t image_size, patch_size, channels;    /* pixels; 0 for BERT */
    int64_t vocabulary, positions, types;        /* rows of BERT's embedding tables; 0 for images */
    int64_t length; /* longest sequence in tokens, at most positions: the one the graph is built
                       for; 0 for images */
    int64_t labels; /* 0: no classifier, the output is the embedding */
    float layer_norm_eps;
    enum activation activation; /* of the MLP */
    bool qkv_bias;
    bool distilled;  /* two classifiers, averaged (DeiTForImageClassificationWithTeacher); DEIT only
                      */
    bool gamma_beta; /* BERT: norms' weights have the names that TensorFlow gave them */
    enum model_pooling pooling;      /* BERT: with labels always POOLER; images: always CLS */
    bool normalise;                  /* BERT: the embedding is divided by its Euclidean norm */
    enum precision precision;        /* of products with weights: graph/precision.h says which */
    const struct model_graph *graph; /* GRAPH: the model, borrowed where a configuration is copied;
                                        then name, length (0: no text), positions, vocabulary,
                                        labels and precision alone count of the fields above */
};

/* Of a configuration that model_config_from_json made: its graph. */
void model_config_fini(struct model_config *config);

/* Errors: INVALID, naming the field, its value and its bounds. */
NODISCARD shoal_status model_config_check(const struct model_config *config,
                                          struct shoal_error *error);

/* Errors: NOT_FOUND, listing the names there are. */
NODISCARD shoal_status model_builtin(const char *name, struct model_config *out,
                                     struct shoal_error *error);
/* NULL-terminated. The names with "test" are toys of a few kilobytes for tests and demonstrations.
 */
const char *const *model_builtin_names(void);

/* Errors: those of model_config_check; MISMATCH and UNSUPPORTED of shape inference and of
 * graph_set_precision; NO_MEMORY. */
NODISCARD shoal_status model_build(const struct model_config *config, struct graph **out,
                                   struct shoal_error *error);

/* What one item is to the graph, in the order of the graph's inputs. */
struct model_input {
    const char *name;
    struct tensor_type type; /* first dimension GRAPH_BATCH, unless it is one item whole */
    int64_t limit;           /* i32: values are from 0 to limit - 1; 0: any */
};
#define MODEL_MAX_INPUTS 16

/* Of a checked configuration; for texts at config->length. Returns how many, at least 1. */
uint32_t model_inputs(const struct model_config *config, struct model_input out[MODEL_MAX_INPUTS]);

/* What comes out of the graph for one item. */
struct model_output {
    const char *name;
    struct tensor_type type; /* first dimension GRAPH_BATCH, unless it is one item whole */
    uint32_t index;          /* its tensor in the last stage's messages */
    bool probabilities;      /* a softmax has been applied */
};
#define MODEL_MAX_OUTPUTS 16

/* As model_inputs. */
uint32_t model_outputs(const struct model_config *config,
                       struct model_output out[MODEL_MAX_OUTPUTS]);

/* What one microbatch must be, whatever is asked for; 0: any. */
int64_t model_batch(const struct model_config *config);

/*
 * Values of one such input that came from outside. Errors: PROTOCOL, naming the input, the place
 * and the value of the first i32 that lies outside.
 */
NODISCARD shoal_status model_input_check(const struct model_input *input, const void *values,
                                         size_t count, struct shoal_error *error);

/*
 * The lengths that items are padded to, ascending: 32, 64, 128 ... below config->length, and that
 * itself. An item's length is the least that holds its own tokens, whatever its neighbours are; a
 * microbatch holds items of one length. Images have the one length 0. Returns how many, at least 1.
 */
#define MODEL_MAX_LENGTHS 16
uint32_t model_lengths(const struct model_config *config, int64_t out[MODEL_MAX_LENGTHS]);
/* The graphs at each of them, in that order; free each with graph_destroy. Errors: as model_build;
 * then there is none. */
NODISCARD shoal_status model_build_lengths(const struct model_config *config,
                                           struct graph *out[MODEL_MAX_LENGTHS], uint32_t *count,
                                           struct shoal_error *error);
/* The least length that holds so many tokens, or the longest there is. */
int64_t model_length_for(const struct model_config *config, int64_t tokens);

/* One line of JSON, exact in every field; free with mem_free. Errors: those of model_config_check,
 * NO_MEMORY. */
NODISCARD shoal_status model_config_to_json(const struct model_config *config, char **out,
                                            struct shoal_error *error);
/*
 * Reads what model_config_to_json wrote; every key must be there, no other may. Errors: CORRUPT (no
 * JSON, an unknown, missing or twice given key, a wrong type: the text names the key), those of
 * model_config_check, those of a graph; NO_MEMORY. model_config_fini the result.
 */
NODISCARD shoal_status model_config_from_json(const char *text, size_t length,
                                              struct model_config *out, struct shoal_error *error);

#endif
