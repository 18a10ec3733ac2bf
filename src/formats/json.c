#include "formats/json.h"

#include "base/memory.h"
#include "platform/file.h"

static shoal_status parse(const void *bytes, size_t size, size_t flags, json_t **out,
                          struct shoal_error *error) {
    json_error_t where;
    json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES | flags, &where);
    if (root == NULL) {
        if (json_error_code(&where) == json_error_out_of_memory) {
            return error_set(error, SHOAL_NO_MEMORY, "out of memory while reading JSON");
        }
        return error_set(error, SHOAL_CORRUPT, "not valid JSON: line %d, column %d: %s", where.line,
                         where.column, where.text);
    }
    if (!json_is_object(root)) {
        const shoal_status status =
            error_set(error, SHOAL_CORRUPT, "expected a JSON object, found %s", json_kind(root));
        json_decref(root);
        return status;
    }
    *out = root;
    return SHOAL_OK;
}

shoal_status json_parse_object(const void *bytes, size_t size, json_t **out,
                               struct shoal_error *error) {
    return parse(bytes, size, 0, out, error);
}

shoal_status json_parse_reals(const void *bytes, size_t size, json_t **out,
                              struct shoal_error *error) {
    return parse(bytes, size, JSON_DECODE_INT_AS_REAL, out, error);
}

shoal_status json_read_object(const char *path, size_t limit, json_t **out,
                              struct shoal_error *error) {
    char *text = NULL;
    size_t size = 0;
    TRY(file_read(path, limit, &text, &size, error));
    const shoal_status status = json_parse_object(text, size, out, error);
    mem_free(text);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", path);
}

const char *json_kind(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* The value of a key, or NULL when it is absent or null: both mean "the default". */
static json_t *present(const json_t *object, const char *key) {
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

shoal_status json_get_int(const json_t *object, const char *key, int64_t least, int64_t most,
                          int64_t *out, struct shoal_error *error) {
    const json_t *value = present(object, key);
    if (value == NULL) {
        return SHOAL_OK;
    }
    if (!json_is_integer(value)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be an integer, found %s", key,
                         json_kind(value));
    }
    const int64_t number = json_integer_value(value);
    if (number < least || number > most) {
        return error_set(error, SHOAL_CORRUPT, "%s is %lld, allowed are %lld to %lld", key,
                         (long long)number, (long long)least, (long long)most);
    }
    *out = number;
    return SHOAL_OK;
}

shoal_status json_get_number(const json_t *object, const char *key, double least, double most,
                             double *out, struct shoal_error *error) {
    const json_t *value = present(object, key);
    if (value == NULL) {
        return SHOAL_OK;
    }
    if (!json_is_number(value)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be a number, found %s", key,
                         json_kind(value));
    }
    const double number = json_number_value(value);
    if (!(number >= least && number <= most)) {
        return error_set(error, SHOAL_CORRUPT, "%s is %g, allowed are %g to %g", key, number, least,
                         most);
    }
    *out = number;
    return SHOAL_OK;
}

shoal_status json_get_bool(const json_t *object, const char *key, bool *out,
                           struct shoal_error *error) {
    const json_t *value = present(object, key);
    if (value == NULL) {
        return SHOAL_OK;
    }
    if (!json_is_boolean(value)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be true or false, found %s", key,
                         json_kind(value));
    }
    *out = json_is_true(value);
    return SHOAL_OK;
}

shoal_status json_get_string(const json_t *object, const char *key, const char **out,
                             struct shoal_error *error) {
    const json_t *value = present(object, key);
    if (value == NULL) {
        return SHOAL_OK;
    }
    if (!json_is_string(value)) {
        return error_set(error, SHOAL_CORRUPT, "%s must be a string, found %s", key,
                         json_kind(value));
    }
    *out = json_string_value(value);
    return SHOAL_OK;
}
