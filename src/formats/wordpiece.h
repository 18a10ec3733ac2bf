/*
 * Text to token ids as BERT's tokeniser does it: clean, split at white space, punctuation and
 * Chinese characters, lower case without accents, then the longest pieces of a vocabulary. Ids are
 * those of AutoTokenizer for a BERT model (transformers 5, the `tokenizers` library), for every
 * code point (formats/unicode.h); special tokens written in the text count as special tokens.
 * Malformed UTF-8 is U+FFFD, which cleaning drops.
 *
 * Threads: immutable once open, any number of threads at a time. Encoding allocates nothing.
 * Source: Devlin et al., "BERT", 2018; tokenizers' BertNormalizer, BertPreTokenizer, WordPiece.
 */
#ifndef FORMATS_WORDPIECE_H
#define FORMATS_WORDPIECE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wordpiece;

/* Texts of the files there are; NULL: there is none. */
struct wordpiece_files {
    const char *vocab;            /* vocab.txt */
    size_t vocab_size;            /* bytes */
    const char *tokenizer;        /* tokenizer.json: before vocab.txt, as in transformers */
    size_t tokenizer_size;        /* bytes */
    const char *tokenizer_config; /* tokenizer_config.json: its flags before tokenizer.json's */
    size_t tokenizer_config_size; /* bytes */
};

/*
 * Errors: NOT_FOUND (no vocabulary), CORRUPT (malformed JSON or UTF-8, a token twice, no [UNK],
 * [CLS], [SEP] or [PAD]), UNSUPPORTED (another kind of tokeniser, added tokens with flags),
 * NO_MEMORY. The text names the file, the line or the key.
 */
NODISCARD shoal_status wordpiece_create(const struct wordpiece_files *files, struct wordpiece **out,
                                        struct shoal_error *error);

/* vocab.txt, tokenizer.json, tokenizer_config.json of a directory. Further errors: those of
 * file_read. */
NODISCARD shoal_status wordpiece_open_directory(const char *directory, struct wordpiece **out,
                                                struct shoal_error *error);
/* A vocab.txt (lower-casing, as bert-base-uncased), or a tokenizer.json by its suffix .json. */
NODISCARD shoal_status wordpiece_open_file(const char *path, struct wordpiece **out,
                                           struct shoal_error *error);
void wordpiece_destroy(struct wordpiece *wordpiece); /* NULL allowed */

int32_t wordpiece_size(const struct wordpiece *wordpiece); /* ids are below it */
int32_t wordpiece_pad(const struct wordpiece *wordpiece);  /* id of [PAD] */
/* Tokens of an item that the tokeniser was made for (model_max_length), or 0: not said. */
int64_t wordpiece_max_length(const struct wordpiece *wordpiece);

struct wordpiece_text {
    const char *bytes; /* need not be terminated and may hold zeros */
    size_t size;
};

#define WORDPIECE_SHORTEST 3 /* tokens: [CLS] [SEP] [SEP] */

/*
 * [CLS] first [SEP], or [CLS] first [SEP] second [SEP] (second NULL: none), cut to max_length
 * tokens: of a pair the longer one first, both alike in the end. ids and types [2 · max_length] are
 * written up to the count that is returned, at most max_length; types are 1 from the second text
 * on. max_length ≥ WORDPIECE_SHORTEST.
 */
size_t wordpiece_encode(const struct wordpiece *wordpiece, const struct wordpiece_text *first,
                        const struct wordpiece_text *second, size_t max_length, int32_t *ids,
                        int32_t *types);

#endif
