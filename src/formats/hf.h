/*
 * Hugging Face directories as transformers writes them: config.json, model.safetensors (or shards
 * with an index), preprocessor_config.json; of text models also what sentence-transformers puts
 * beside them (modules.json, the pooling's config.json, sentence_bert_config.json). Absent keys
 * mean what they mean in transformers. The tokeniser's files are formats/wordpiece.h's.
 *
 * Threads: an open model is immutable. Errors: every text names the file and the key.
 */
#ifndef FORMATS_HF_H
#define FORMATS_HF_H

#include "base/arena.h"
#include "formats/image_preprocess.h"
#include "models/model.h"

#define HF_JSON_LIMIT ((size_t)16 << 20)

struct hf_labels {
    struct arena arena;
    const char **names; /* of the classes in order */
    size_t count;
};

/*
 * config.json's text. Errors: CORRUPT (not JSON, a wrong type, labels with gaps), UNSUPPORTED
 * (architecture, model_type, hidden_act or a picture that is not square; of BERT also position
 * embeddings, decoders and problem types; the text lists what is supported), INVALID
 * (model_config_check). hf_labels_fini the labels. out->name is left empty.
 */
NODISCARD shoal_status hf_config_parse(const void *bytes, size_t size, struct model_config *out,
                                       struct hf_labels *labels, struct shoal_error *error);
void hf_labels_fini(struct hf_labels *labels);

/* What a config.json of any architecture says of classes and sequences: labels->count 0 and *length
 * 0 where it says nothing. Errors: CORRUPT. hf_labels_fini the labels. */
NODISCARD shoal_status hf_labels_parse(const void *bytes, size_t size, struct hf_labels *labels,
                                       int64_t *length, struct shoal_error *error);
/* A class a line. Errors: those of file_read; CORRUPT (no line), NO_MEMORY. */
NODISCARD shoal_status hf_labels_read(const char *path, struct hf_labels *labels,
                                      struct shoal_error *error);

/* preprocessor_config.json's text. Errors: CORRUPT, UNSUPPORTED. */
NODISCARD shoal_status hf_preprocess_parse(const void *bytes, size_t size, enum model_family family,
                                           struct image_preprocess *out, struct shoal_error *error);

/* What published models of the family want: for built-in names, and for directories without the
 * file. */
void hf_preprocess_default(const struct model_config *config, struct image_preprocess *out);

#define HF_PATH_TEXT 128

/* modules.json: Transformer and Pooling, then perhaps Normalize. */
struct hf_modules {
    char pooling[HF_PATH_TEXT]; /* the folder of the pooling's config.json */
    bool normalise;
};

/* Errors: CORRUPT (no list, a path that leaves the directory), UNSUPPORTED (other modules). */
NODISCARD shoal_status hf_modules_parse(const void *bytes, size_t size, struct hf_modules *out,
                                        struct shoal_error *error);
/* The pooling's config.json. Errors: CORRUPT, UNSUPPORTED (other modes than cls and mean). */
NODISCARD shoal_status hf_pooling_parse(const void *bytes, size_t size, enum model_pooling *out,
                                        struct shoal_error *error);
/* sentence_bert_config.json: the longest text in tokens, at most positions. Errors: CORRUPT. */
NODISCARD shoal_status hf_sentence_parse(const void *bytes, size_t size, int64_t positions,
                                         int64_t *length, struct shoal_error *error);

struct hf_model;

/*
 * Errors: as above and as safetensors_open; NOT_FOUND (no config.json, no weights), UNSUPPORTED
 * (pytorch_model.bin only: the text says how to convert it), MISMATCH (the preprocessor makes
 * pictures of another size than the model takes).
 */
NODISCARD shoal_status hf_open(const char *directory, struct hf_model **out,
                               struct shoal_error *error);
void hf_close(struct hf_model *model); /* NULL allowed; ends everything borrowed from it */

const struct model_config *hf_config(const struct hf_model *model);
const char *hf_label(const struct hf_model *model, size_t index); /* NULL beyond the last */
/* All zero for text models. */
const struct image_preprocess *hf_preprocess(const struct hf_model *model);
struct weight_source *hf_weights(const struct hf_model *model); /* borrowed: hf_close destroys it */
const char *hf_note(const struct hf_model *model); /* what the user should know, or NULL */

#endif
