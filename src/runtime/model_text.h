/*
 * A model as devices get it in a request: its JSON text, or, where that is long and the devices are
 * a cluster's, the key of a content that they have fetched before.
 */
#ifndef RUNTIME_MODEL_TEXT_H
#define RUNTIME_MODEL_TEXT_H

#include "formats/digest.h"
#include "models/model.h"
#include "runtime/cluster.h"

#define MODEL_TEXT_INLINE ((size_t)16 << 10) /* bytes of JSON that go into a request */
#define MODEL_TEXT_LIMIT ((size_t)64 << 20)  /* that a device reads */

struct model_text {
    char *json;
    size_t bytes;
    char key[DIGEST_TEXT]; /* its SHA-256 */
    bool by_key;           /* the devices have the content */
};

/*
 * Brings a long text to all devices of a cluster. Errors: those of model_config_to_json and
 * distribution_run; UNSUPPORTED (longer than devices read). model_text_fini the result.
 */
NODISCARD shoal_status model_text_make(const struct model_config *model, struct cluster *cluster,
                                       struct model_text *out, struct shoal_error *error);
void model_text_fini(struct model_text *text);

/* The value of a request's "model"; NULL: no memory. */
json_t *model_text_json(const struct model_text *text);

/* What names the model in the store: its text, or where that is long its key. */
const char *model_text_name(const struct model_text *text);

#endif
