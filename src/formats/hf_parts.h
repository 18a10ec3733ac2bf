/* What the files that read a Hugging Face directory share. */
#ifndef FORMATS_HF_PARTS_H
#define FORMATS_HF_PARTS_H

#include "formats/hf.h"

#include <jansson.h>

#define HF_COUNT_LIMIT (INT64_C(1) << 31) /* model_config_check has the real bounds */

/* The keys of a BERT's config.json beside those of every transformer. Errors: CORRUPT, UNSUPPORTED
 * (position embeddings that are not absolute, decoders, several labels at once), naming the key. */
NODISCARD shoal_status hf_bert_keys(const json_t *root, struct model_config *config,
                                    struct shoal_error *error);

/*
 * Pooling, normalising and longest text as the files of sentence-transformers beside config.json
 * say; nothing where there is no modules.json. Errors: those of hf_modules_parse,
 * hf_pooling_parse, hf_sentence_parse and file_read.
 */
NODISCARD shoal_status hf_read_sentence_files(const char *directory, struct model_config *config,
                                              struct shoal_error *error);

#endif
