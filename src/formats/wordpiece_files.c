/* The files that say what a tokeniser is: vocab.txt, tokenizer.json, tokenizer_config.json. */
#include "formats/wordpiece_internal.h"

#include "base/memory.h"
#include "formats/json.h"
#include "platform/file.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#define MOST_TOKENS 1e9 /* a model_max_length above it is transformers' way to say none */

static shoal_status add_special(struct wordpiece *wp, const char *text, int32_t id,
                                struct shoal_error *error) {
    for (size_t i = 0; i < wp->special_count; i++) {
        if (strcmp(wp->specials[i].text, text) == 0) {
            return SHOAL_OK;
        }
    }
    const size_t size = strlen(text);
    if (wp->special_count == WORDPIECE_SPECIALS || size == 0 || size > VOCABULARY_TOKEN) {
        return error_set(error, SHOAL_UNSUPPORTED, "%s",
                         size == 0                 ? "an added token is empty"
                         : size > VOCABULARY_TOKEN ? "an added token is too long"
                                                   : "more than 256 added tokens");
    }
    char *copy = mem_strdup(text);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a tokeniser");
    }
    wp->specials[wp->special_count++] = (struct special){.text = copy, .size = size, .id = id};
    return SHOAL_OK;
}

/* ---- tokenizer.json ---- */

/* object[key], an object whose "type" is one of two; NULL if absent. */
static shoal_status get_part(const json_t *object, const char *key, const char *type,
                             const char *other, const json_t **out, struct shoal_error *error) {
    const json_t *part = json_object_get(object, key);
    *out = NULL;
    if (part == NULL || json_is_null(part)) {
        return SHOAL_OK;
    }
    if (!json_is_object(part)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be an object, found %s", key,
                         json_kind(part));
    }
    const char *found = type;
    const shoal_status status = json_get_string(part, "type", &found, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "%s", key);
    }
    if (strcmp(found, type) != 0 && strcmp(found, other) != 0) {
        return error_set(error, SHOAL_UNSUPPORTED, "%s is a %.40s; only BERT's %s is supported",
                         key, found, type);
    }
    *out = part;
    return SHOAL_OK;
}

static shoal_status read_vocabulary(struct wordpiece *wp, const json_t *model,
                                    struct shoal_error *error) {
    const json_t *tokens = json_object_get(model, "vocab");
    const char *prefix = "##";
    TRY(json_get_string(model, "continuing_subword_prefix", &prefix, error));
    if (strcmp(prefix, "##") != 0) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "continuing_subword_prefix is '%.40s'; only ## is supported", prefix);
    }
    if (!json_is_object(tokens)) {
        return error_set(error, SHOAL_CORRUPT, "vocab must be an object, found %s",
                         tokens != NULL ? json_kind(tokens) : "nothing");
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)tokens); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)tokens, at)) {
        const char *token = json_object_iter_key(at);
        const json_t *id = json_object_iter_value(at);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= VOCABULARY_MOST) {
            return error_set(error, SHOAL_CORRUPT, "vocab: the id of '%.64s' is not from 0 to %d",
                             token, VOCABULARY_MOST - 1);
        }
        TRY(vocabulary_add(wp->vocabulary, token, strlen(token), (int32_t)json_integer_value(id),
                           error));
    }
    return SHOAL_OK;
}

/* An added token is found as it stands, without regard to what is around it: all that BERT's are.
 */
static shoal_status read_added(struct wordpiece *wp, const json_t *entry, int64_t id,
                               struct shoal_error *error) {
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const char *content = NULL;
    if (!json_is_object(entry)) {
        return error_set(error, SHOAL_CORRUPT, "an added token must be an object, found %s",
                         json_kind(entry));
    }
    TRY(json_get_string(entry, "content", &content, error));
    TRY(json_get_int(entry, "id", 0, VOCABULARY_MOST - 1, &id, error));
    if (content == NULL || id < 0) {
        return error_set(error, SHOAL_CORRUPT, "an added token without content or id");
    }
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        bool set = false;
        TRY(json_get_bool(entry, flags[i], &set, error));
        if (set) {
            return error_set(error, SHOAL_UNSUPPORTED,
                             "added token '%.64s' has %s, which is not supported", content,
                             flags[i]);
        }
    }
    const int32_t known = vocabulary_find(wp->vocabulary, content, strlen(content));
    if (known == VOCABULARY_NONE) {
        TRY(vocabulary_add(wp->vocabulary, content, strlen(content), (int32_t)id, error));
    }
    return add_special(wp, content, known != VOCABULARY_NONE ? known : (int32_t)id, error);
}

static shoal_status read_tokenizer(struct wordpiece *wp, const json_t *root, bool *strip_said,
                                   struct shoal_error *error) {
    const json_t *model, *normalizer, *ignored;
    TRY(get_part(root, "model", "WordPiece", "WordPiece", &model, error));
    TRY(get_part(root, "normalizer", "BertNormalizer", "BertNormalizer", &normalizer, error));
    TRY(get_part(root, "pre_tokenizer", "BertPreTokenizer", "BertPreTokenizer", &ignored, error));
    TRY(get_part(root, "post_processor", "TemplateProcessing", "BertProcessing", &ignored, error));
    if (model == NULL) {
        return error_set(error, SHOAL_CORRUPT, "model is missing");
    }
    TRY(read_vocabulary(wp, model, error));
    if (normalizer != NULL) {
        TRY(json_get_bool(normalizer, "lowercase", &wp->lower_case, error));
        TRY(json_get_bool(normalizer, "handle_chinese_chars", &wp->split_chinese, error));
        TRY(json_get_bool(normalizer, "strip_accents", &wp->strip_accents, error));
        *strip_said = json_is_boolean(json_object_get(normalizer, "strip_accents"));
    }
    const json_t *added = json_object_get(root, "added_tokens");
    if (added != NULL && !json_is_array(added)) {
        return error_set(error, SHOAL_CORRUPT, "added_tokens must be an array, found %s",
                         json_kind(added));
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        TRY(read_added(wp, json_array_get(added, i), -1, error));
    }
    return SHOAL_OK;
}

/* ---- tokenizer_config.json ---- */

static shoal_status check_class(const json_t *config, struct shoal_error *error) {
    static const char *const classes[] = {"BertTokenizer",           "BertTokenizerFast",
                                          "DistilBertTokenizer",     "DistilBertTokenizerFast",
                                          "ElectraTokenizer",        "ElectraTokenizerFast",
                                          "PreTrainedTokenizerFast", "TokenizersBackend"};
    const char *name = classes[0];
    bool basic = true;
    TRY(json_get_string(config, "tokenizer_class", &name, error));
    TRY(json_get_bool(config, "do_basic_tokenize", &basic, error));
    if (!basic) {
        return error_set(error, SHOAL_UNSUPPORTED, "do_basic_tokenize false is not supported");
    }
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(name, classes[i]) == 0) {
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_UNSUPPORTED,
                     "tokenizer_class %.64s is not supported; BertTokenizer is", name);
}

static shoal_status read_config(struct wordpiece *wp, const json_t *config, bool *strip_said,
                                struct shoal_error *error) {
    TRY(check_class(config, error));
    TRY(json_get_bool(config, "do_lower_case", &wp->lower_case, error));
    TRY(json_get_bool(config, "tokenize_chinese_chars", &wp->split_chinese, error));
    TRY(json_get_bool(config, "strip_accents", &wp->strip_accents, error));
    if (json_object_get(config, "strip_accents") != NULL) {
        *strip_said = json_is_boolean(json_object_get(config, "strip_accents"));
    }
    double length = MOST_TOKENS; /* transformers writes 1000000000000000019884624838656 for none */
    TRY(json_get_number(config, "model_max_length", WORDPIECE_SHORTEST, DBL_MAX, &length, error));
    wp->max_length = length < MOST_TOKENS ? (int64_t)length : 0;
    const json_t *added = json_object_get(config, "added_tokens_decoder");
    if (added != NULL && !json_is_object(added)) {
        return error_set(error, SHOAL_CORRUPT, "added_tokens_decoder must be an object, found %s",
                         json_kind(added));
    }
    for (void *at = json_object_iter((json_t *)(uintptr_t)added); at != NULL;
         at = json_object_iter_next((json_t *)(uintptr_t)added, at)) {
        long long id;
        char rest;
        if (sscanf(json_object_iter_key(at), "%7lld%c", &id, &rest) != 1 || id < 0 ||
            id >= VOCABULARY_MOST) {
            return error_set(error, SHOAL_CORRUPT, "added_tokens_decoder: '%.40s' is no token id",
                             json_object_iter_key(at));
        }
        TRY(read_added(wp, json_object_iter_value(at), id, error));
    }
    return SHOAL_OK;
}

/* Finds a special token by its name in the configuration, or by BERT's. */
static shoal_status find_token(struct wordpiece *wp, const json_t *config, const char *key,
                               const char *usual, bool needed, int32_t *id,
                               struct shoal_error *error) {
    const json_t *value = config != NULL ? json_object_get(config, key) : NULL;
    const char *name = usual;
    if (json_is_object(value)) {
        TRY(json_get_string(value, "content", &name, error));
    } else if (config != NULL) {
        TRY(json_get_string(config, key, &name, error));
    }
    *id = vocabulary_find(wp->vocabulary, name, strlen(name));
    if (*id != VOCABULARY_NONE) {
        return add_special(wp, name, *id, error);
    }
    return needed ? error_set(error, SHOAL_CORRUPT,
                              "the vocabulary has no token %.64s (%s); is it BERT's?", name, key)
                  : SHOAL_OK;
}

static shoal_status find_tokens(struct wordpiece *wp, const json_t *config,
                                struct shoal_error *error) {
    int32_t mask;
    TRY(find_token(wp, config, "unk_token", "[UNK]", true, &wp->unknown, error));
    TRY(find_token(wp, config, "cls_token", "[CLS]", true, &wp->cls, error));
    TRY(find_token(wp, config, "sep_token", "[SEP]", true, &wp->sep, error));
    TRY(find_token(wp, config, "pad_token", "[PAD]", true, &wp->pad, error));
    return find_token(wp, config, "mask_token", "[MASK]", false, &mask, error);
}

/* ---- both ---- */

static shoal_status read_files(struct wordpiece *wp, const struct wordpiece_files *files,
                               json_t **tokenizer, json_t **config, struct shoal_error *error) {
    bool strip_said = false;
    shoal_status status = SHOAL_OK;
    TRY(vocabulary_create(&wp->vocabulary, error));
    if (files->tokenizer != NULL) {
        status = json_parse_object(files->tokenizer, files->tokenizer_size, tokenizer, error);
        if (status == SHOAL_OK) {
            status = read_tokenizer(wp, *tokenizer, &strip_said, error);
        }
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "tokenizer.json");
        }
    } else if (files->vocab != NULL) {
        status = vocabulary_add_lines(wp->vocabulary, files->vocab, files->vocab_size, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "vocab.txt");
        }
    } else {
        return error_set(error, SHOAL_NOT_FOUND, "no vocab.txt and no tokenizer.json");
    }
    if (files->tokenizer_config != NULL) {
        status =
            json_parse_reals(files->tokenizer_config, files->tokenizer_config_size, config, error);
        if (status == SHOAL_OK) {
            status = read_config(wp, *config, &strip_said, error);
        }
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "tokenizer_config.json");
        }
    }
    if (!strip_said) {
        wp->strip_accents = wp->lower_case;
    }
    return find_tokens(wp, *config, error);
}

shoal_status wordpiece_create(const struct wordpiece_files *files, struct wordpiece **out,
                              struct shoal_error *error) {
    struct wordpiece *wp = mem_calloc(1, sizeof *wp);
    if (wp == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a tokeniser");
    }
    wp->lower_case = wp->split_chinese = true;
    json_t *tokenizer = NULL, *config = NULL;
    const shoal_status status = read_files(wp, files, &tokenizer, &config, error);
    json_decref(tokenizer);
    json_decref(config);
    if (status != SHOAL_OK) {
        wordpiece_destroy(wp);
        return status;
    }
    wordpiece_finish(wp);
    *out = wp;
    return SHOAL_OK;
}

void wordpiece_destroy(struct wordpiece *wordpiece) {
    if (wordpiece == NULL) {
        return;
    }
    for (size_t i = 0; i < wordpiece->special_count; i++) {
        mem_free(wordpiece->specials[i].text);
    }
    vocabulary_destroy(wordpiece->vocabulary);
    mem_free(wordpiece);
}

/* A file that may be absent. */
static shoal_status read_optional(const char *directory, const char *name, char **out, size_t *size,
                                  struct shoal_error *error) {
    char *path = mem_format("%s/%s", directory, name);
    if (path == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
    }
    const shoal_status status =
        file_exists(path) ? file_read(path, VOCABULARY_LIMIT, out, size, error) : SHOAL_OK;
    mem_free(path);
    return status;
}

shoal_status wordpiece_open_directory(const char *directory, struct wordpiece **out,
                                      struct shoal_error *error) {
    char *vocab = NULL, *tokenizer = NULL, *config = NULL;
    struct wordpiece_files files = {.vocab = NULL};
    shoal_status status =
        read_optional(directory, "tokenizer.json", &tokenizer, &files.tokenizer_size, error);
    if (status == SHOAL_OK) {
        status = read_optional(directory, "vocab.txt", &vocab, &files.vocab_size, error);
    }
    if (status == SHOAL_OK) {
        status = read_optional(directory, "tokenizer_config.json", &config,
                               &files.tokenizer_config_size, error);
    }
    if (status == SHOAL_OK) {
        files.vocab = vocab;
        files.tokenizer = tokenizer;
        files.tokenizer_config = config;
        status = wordpiece_create(&files, out, error);
        if (status != SHOAL_OK) {
            (void)error_wrap(error, status, "%s", directory);
        }
    }
    mem_free(vocab);
    mem_free(tokenizer);
    mem_free(config);
    return status;
}

shoal_status wordpiece_open_file(const char *path, struct wordpiece **out,
                                 struct shoal_error *error) {
    char *text = NULL;
    size_t size = 0;
    TRY(file_read(path, VOCABULARY_LIMIT, &text, &size, error));
    const char *dot = strrchr(path, '.');
    const bool json = dot != NULL && strcmp(dot, ".json") == 0;
    const struct wordpiece_files files = {.vocab = json ? NULL : text,
                                          .vocab_size = size,
                                          .tokenizer = json ? text : NULL,
                                          .tokenizer_size = size};
    const shoal_status status = wordpiece_create(&files, out, error);
    mem_free(text);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", path);
}

int32_t wordpiece_size(const struct wordpiece *wordpiece) {
    return vocabulary_size(wordpiece->vocabulary);
}

int32_t wordpiece_pad(const struct wordpiece *wordpiece) {
    return wordpiece->pad;
}

int64_t wordpiece_max_length(const struct wordpiece *wordpiece) {
    return wordpiece->max_length;
}
