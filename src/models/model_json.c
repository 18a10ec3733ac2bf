/* Configurations as JSON: how a model is sent to devices. A graph's has the keys family, name,
 * length, positions, vocabulary, labels, precision and model (model_graph.h). */
#include "base/memory.h"
#include "models/model_graph.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum field_kind {
    FIELD_INTEGER,
    FIELD_BOOL,
    FIELD_REAL,
    FIELD_TEXT,
    FIELD_FAMILY,
    FIELD_ACTIVATION,
    FIELD_POOLING,
    FIELD_PRECISION
};

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset;
};

#define FIELD(member, kind) \
    { #member, (kind), offsetof(struct model_config, member) }
static const struct field fields[] = {
    FIELD(family, FIELD_FAMILY),         FIELD(name, FIELD_TEXT),
    FIELD(prefix, FIELD_TEXT),           FIELD(hidden, FIELD_INTEGER),
    FIELD(layers, FIELD_INTEGER),        FIELD(heads, FIELD_INTEGER),
    FIELD(intermediate, FIELD_INTEGER),  FIELD(image_size, FIELD_INTEGER),
    FIELD(patch_size, FIELD_INTEGER),    FIELD(channels, FIELD_INTEGER),
    FIELD(vocabulary, FIELD_INTEGER),    FIELD(positions, FIELD_INTEGER),
    FIELD(types, FIELD_INTEGER),         FIELD(length, FIELD_INTEGER),
    FIELD(labels, FIELD_INTEGER),        FIELD(layer_norm_eps, FIELD_REAL),
    FIELD(activation, FIELD_ACTIVATION), FIELD(qkv_bias, FIELD_BOOL),
    FIELD(distilled, FIELD_BOOL),        FIELD(pooling, FIELD_POOLING),
    FIELD(normalise, FIELD_BOOL),        FIELD(gamma_beta, FIELD_BOOL),
    FIELD(precision, FIELD_PRECISION),
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

static json_t *encode_field(const struct model_config *config, const struct field *field) {
    const char *at = (const char *)config + field->offset;
    switch (field->kind) {
    case FIELD_INTEGER:
        return json_integer(*(const int64_t *)(const void *)at);
    case FIELD_BOOL:
        return json_boolean(*(const bool *)(const void *)at);
    case FIELD_REAL:
        return json_real((double)*(const float *)(const void *)at); /* 17 digits: exact */
    case FIELD_TEXT:
        return json_string(at);
    case FIELD_FAMILY:
        return json_string(model_family_name(config->family));
    case FIELD_ACTIVATION:
        return json_string(activation_name(config->activation));
    case FIELD_POOLING:
        return json_string(model_pooling_name(config->pooling));
    case FIELD_PRECISION:
        return json_string(precision_name(config->precision));
    }
    return NULL;
}

/* Which fields a graph's configuration has. */
static bool graph_has(const struct field *field) {
    static const char *const keys[] = {"family",     "name",   "length",   "positions",
                                       "vocabulary", "labels", "precision"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(keys[i], field->key) == 0) {
            return true;
        }
    }
    return false;
}

shoal_status model_config_to_json(const struct model_config *config, char **out,
                                  struct shoal_error *error) {
    TRY(model_config_check(config, error));
    json_t *object = json_object();
    bool ok = object != NULL;
    const bool graph = config->family == MODEL_GRAPH;
    for (size_t i = 0; i < FIELD_COUNT && ok; i++) {
        if (!graph || graph_has(&fields[i])) {
            ok = json_object_set_new(object, fields[i].key, encode_field(config, &fields[i])) == 0;
        }
    }
    if (ok && graph) {
        json_t *model;
        const shoal_status status = model_graph_to_json(config->graph, &model, error);
        if (status != SHOAL_OK) {
            json_decref(object);
            return status;
        }
        ok = json_object_set_new(object, "model", model) == 0;
    }
    char *dumped = ok ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    char *text = dumped != NULL ? mem_strdup(dumped) : NULL;
    free(dumped);
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "model: no memory for its JSON");
    }
    *out = text;
    return SHOAL_OK;
}

static shoal_status wrong(const struct field *field, const char *what, struct shoal_error *error) {
    return error_set(error, SHOAL_CORRUPT, "model: key \"%s\" %s", field->key, what);
}

static shoal_status decode_text(const struct field *field, const json_t *value, char *to,
                                struct shoal_error *error) {
    const size_t length = json_string_length(value);
    if (!json_is_string(value) || length >= MODEL_NAME_TEXT ||
        memchr(json_string_value(value), '\0', length) != NULL) {
        return wrong(field, "must be a short text", error);
    }
    memcpy(to, json_string_value(value), length + 1);
    return SHOAL_OK;
}

static shoal_status decode_family(const struct field *field, const json_t *value,
                                  struct model_config *config, struct shoal_error *error) {
    for (int i = 0; json_is_string(value) && i < MODEL_FAMILY_COUNT; i++) {
        if (strcmp(json_string_value(value), model_family_name((enum model_family)i)) == 0) {
            config->family = (enum model_family)i;
            return SHOAL_OK;
        }
    }
    return wrong(field, "names no model family", error);
}

static shoal_status decode_field(const struct field *field, const json_t *value,
                                 struct model_config *config, struct shoal_error *error) {
    char *at = (char *)config + field->offset;
    switch (field->kind) {
    case FIELD_INTEGER:
        if (!json_is_integer(value)) {
            return wrong(field, "must be an integer", error);
        }
        *(int64_t *)(void *)at = json_integer_value(value);
        return SHOAL_OK;
    case FIELD_BOOL:
        if (!json_is_boolean(value)) {
            return wrong(field, "must be true or false", error);
        }
        *(bool *)(void *)at = json_is_true(value);
        return SHOAL_OK;
    case FIELD_REAL:
        if (!json_is_number(value) || fabs(json_number_value(value)) > 1e30) {
            return wrong(field, "must be a number", error);
        }
        *(float *)(void *)at = (float)json_number_value(value);
        return SHOAL_OK;
    case FIELD_TEXT:
        return decode_text(field, value, at, error);
    case FIELD_FAMILY:
        return decode_family(field, value, config, error);
    case FIELD_ACTIVATION:
        return json_is_string(value) &&
                       activation_parse(json_string_value(value), &config->activation)
                   ? SHOAL_OK
                   : wrong(field, "names no activation", error);
    case FIELD_POOLING:
        return json_is_string(value) &&
                       model_pooling_parse(json_string_value(value), &config->pooling)
                   ? SHOAL_OK
                   : wrong(field, "names no pooling", error);
    case FIELD_PRECISION:
        return json_is_string(value) &&
                       precision_parse(json_string_value(value), &config->precision)
                   ? SHOAL_OK
                   : wrong(field, "names no precision", error);
    }
    return wrong(field, "is unknown", error);
}

static shoal_status decode(const json_t *object, struct model_config *config, bool graph,
                           struct shoal_error *error) {
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        const json_t *value = json_object_get(object, fields[i].key);
        if (graph && !graph_has(&fields[i])) {
            continue;
        }
        if (value == NULL) {
            return wrong(&fields[i], "is missing", error);
        }
        TRY(decode_field(&fields[i], value, config, error));
    }
    return SHOAL_OK;
}

static shoal_status refuse_unknown(json_t *object, bool graph, struct shoal_error *error) {
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        bool known = graph && strcmp(key, "model") == 0;
        for (size_t i = 0; i < FIELD_COUNT; i++) {
            known = known || (strcmp(key, fields[i].key) == 0 && (!graph || graph_has(&fields[i])));
        }
        if (!known) {
            return error_set(error, SHOAL_CORRUPT, "model: unknown key \"%.64s\"", key);
        }
    }
    return SHOAL_OK;
}

static shoal_status decode_all(json_t *object, struct model_config *config,
                               struct shoal_error *error) {
    const char *family = json_string_value(json_object_get(object, "family"));
    const bool graph = family != NULL && strcmp(family, model_family_name(MODEL_GRAPH)) == 0;
    TRY(refuse_unknown(object, graph, error));
    TRY(decode(object, config, graph, error));
    if (graph) {
        struct model_graph *model = NULL;
        const shoal_status status =
            model_graph_from_json(json_object_get(object, "model"), &model, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "model %s", config->name);
        }
        config->graph = model;
    }
    return model_config_check(config, error);
}

shoal_status model_config_from_json(const char *text, size_t length, struct model_config *out,
                                    struct shoal_error *error) {
    json_error_t parse_error;
    json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &parse_error);
    if (!json_is_object(object)) {
        json_decref(object);
        return error_set(error, SHOAL_CORRUPT, "model: not a JSON object (line %d: %.120s)",
                         parse_error.line, parse_error.text);
    }
    struct model_config config;
    memset(&config, 0, sizeof config);
    const shoal_status status = decode_all(object, &config, error);
    json_decref(object);
    if (status != SHOAL_OK) {
        model_config_fini(&config);
        return status;
    }
    *out = config;
    return SHOAL_OK;
}
