/*
 * What MODEL on a command line means: a Hugging Face directory, an ONNX file or a directory with a
 * model.onnx, or a built-in name with weights from a safetensors file or, with a warning, from a
 * seed.
 *
 * Beside an ONNX file, config.json (id2label, max_position_embeddings), preprocessor_config.json, a
 * tokeniser's files and labels.txt are used.
 */
#ifndef RUNTIME_MODEL_REF_H
#define RUNTIME_MODEL_REF_H

#include "formats/image_preprocess.h"
#include "formats/wordpiece.h"
#include "models/model.h"
#include "runtime/model_onnx.h"
#include "runtime/stage.h"

struct model_ref;

/* Strings and lists are borrowed as long as the model_ref lives. */
struct model_ref_options {
    const char *weights; /* a safetensors file for a built-in name; NULL: none */
    uint64_t seed;
    const char *labels, *preprocess; /* of an ONNX model: files in place of those beside it */
    struct model_onnx_options onnx;  /* its batch: what is asked for, 0: whatever fits */
};

/*
 * Errors: NOT_FOUND (neither a file, a directory nor a built-in name; lists these), UNSUPPORTED,
 * those of hf_open, model_onnx_open and model_onnx_import, USAGE (an option that the kind of model
 * has no use for).
 */
NODISCARD shoal_status model_ref_open(const char *model, const struct model_ref_options *options,
                                      struct model_ref **out, struct shoal_error *error);
void model_ref_close(struct model_ref *ref); /* NULL allowed */

/* A text model's vocabulary from a file (vocab.txt, tokenizer.json), instead of what its directory
 * has. Errors: those of wordpiece_open_file; USAGE (no text model), MISMATCH (more tokens than the
 * model has). */
NODISCARD shoal_status model_ref_open_vocabulary(struct model_ref *ref, const char *path,
                                                 struct shoal_error *error);
/* Of a text model; NULL: there is none. */
const struct wordpiece *model_ref_wordpiece(const struct model_ref *ref);
/* The most tokens of an item that model and tokeniser were made for; 0: pictures. */
int64_t model_ref_max_length(const struct model_ref *ref);
/* Whether items are texts. */
bool model_ref_is_text(const struct model_ref *ref);
/* The longest sequence of this run, at most what the model has: its configuration's length from now
 * on. A text model of an ONNX file is imported here: before, its configuration has no graph.
 * Errors: those of model_onnx_import; none otherwise. */
NODISCARD shoal_status model_ref_set_length(struct model_ref *ref, int64_t length,
                                            struct shoal_error *error);
/* The length that this run has for items of so many tokens at most. */
int64_t model_ref_length_for(const struct model_ref *ref, int64_t tokens);

/* How its products compute: its configuration's precision from now on. */
void model_ref_set_precision(struct model_ref *ref, enum precision precision);

const struct model_config *model_ref_config(const struct model_ref *ref);
const struct image_preprocess *model_ref_preprocess(const struct model_ref *ref);
struct weights_spec model_ref_weights(const struct model_ref *ref);
const char *model_ref_label(const struct model_ref *ref,
                            uint32_t class_index);       /* NULL: none is known */
const char *model_ref_name(const struct model_ref *ref); /* as given */
/* What the user should be told, or NULL: answers of random weights mean nothing, defaults that were
 * taken. */
const char *model_ref_note(const struct model_ref *ref);

#endif
