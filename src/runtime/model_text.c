#include "runtime/model_text.h"

#include "base/memory.h"
#include "runtime/distribution.h"

#include <string.h>

static shoal_status read_text(void *context, const char *key, uint64_t offset, void *out,
                              size_t size, size_t *got, struct shoal_error *error) {
    const struct model_text *text = context;
    if (strcmp(key, text->key) != 0) {
        return error_set(error, SHOAL_NOT_FOUND, "%.80s is no content of this model", key);
    }
    const size_t left = offset < text->bytes ? text->bytes - (size_t)offset : 0;
    *got = left < size ? left : size;
    memcpy(out, text->json + (text->bytes - left), *got);
    return SHOAL_OK;
}

static shoal_status distribute(struct model_text *text, struct cluster *cluster,
                               struct shoal_error *error) {
    struct distribution_content content = {.name = "the model's graph", .bytes = text->bytes};
    bool *needs = mem_calloc(cluster->count, sizeof *needs);
    if (needs == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a model");
    }
    memcpy(content.key, text->key, sizeof content.key);
    memset(needs, true, cluster->count * sizeof *needs);
    const struct distribution_options options = {.cluster = cluster,
                                                 .contents = &content,
                                                 .content_count = 1,
                                                 .needs = needs,
                                                 .read = read_text,
                                                 .read_context = text};
    struct distribution_outcome outcome;
    const shoal_status status = distribution_run(&options, &outcome, error);
    distribution_outcome_fini(&outcome);
    mem_free(needs);
    text->by_key = status == SHOAL_OK;
    return status;
}

shoal_status model_text_make(const struct model_config *model, struct cluster *cluster,
                             struct model_text *out, struct shoal_error *error) {
    struct model_text text = {0};
    TRY(model_config_to_json(model, &text.json, error));
    text.bytes = strlen(text.json);
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, text.json, text.bytes);
    digest_final(&digest, text.key);
    shoal_status status = SHOAL_OK;
    if (text.bytes > MODEL_TEXT_LIMIT) {
        status = error_set(error, SHOAL_UNSUPPORTED,
                           "model %s: its graph is %.1f MB of text; devices read at most %.0f MB",
                           model->name, (double)text.bytes / 1e6, (double)MODEL_TEXT_LIMIT / 1e6);
    } else if (text.bytes > MODEL_TEXT_INLINE && cluster->local == NULL) {
        status = distribute(&text, cluster, error);
    }
    if (status != SHOAL_OK) {
        mem_free(text.json);
        return status;
    }
    *out = text;
    return SHOAL_OK;
}

void model_text_fini(struct model_text *text) {
    mem_free(text->json);
    text->json = NULL;
}

json_t *model_text_json(const struct model_text *text) {
    return text->by_key ? json_pack("{s:s}", "content", text->key) : json_string(text->json);
}

const char *model_text_name(const struct model_text *text) {
    return text->bytes > MODEL_TEXT_INLINE / 4 ? text->key : text->json;
}
