#include "runtime/control.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

shoal_status control_send(struct transport *transport, const char *peer, enum wire_kind kind,
                          json_t *document, struct shoal_error *error) {
    char *text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a control message to %s", peer);
    }
    const size_t length = strlen(text);
    struct wire_header header = {.kind = kind, .text_bytes = (uint32_t)length};
    struct transport_message *message = NULL;
    size_t size = 0, used;
    shoal_status status = wire_size(NULL, 0, length, &size, error);
    if (status == SHOAL_OK) {
        status = transport->ops->message_new(transport, size, &message, error);
    }
    if (status == SHOAL_OK) {
        status =
            wire_encode(&header, NULL, text, message->data, message->capacity, NULL, &used, error);
    }
    if (status == SHOAL_OK) {
        message->size = used;
        status = transport->ops->send(transport, peer, message, error);
    }
    if (status != SHOAL_OK) {
        transport->ops->message_free(transport, message);
    }
    free(text);
    return status;
}

shoal_status control_parse(const struct wire_message *message, json_t **out,
                           struct shoal_error *error) {
    json_error_t why;
    json_t *document = json_loadb(message->text != NULL ? message->text : "",
                                  message->header.text_bytes, JSON_REJECT_DUPLICATES, &why);
    if (document == NULL) {
        return error_set(error, SHOAL_PROTOCOL, "a control message is not JSON: %s", why.text);
    }
    if (!json_is_object(document)) {
        json_decref(document);
        return error_set(error, SHOAL_PROTOCOL, "a control message is not a JSON object");
    }
    *out = document;
    return SHOAL_OK;
}

static const char *const status_names[] = {
#define X(code, text, class) [SHOAL_##code] = #code,
    SHOAL_STATUS_LIST(X)
#undef X
};

/* Length of the UTF-8 character that text begins with; 0 if it begins with none. */
static size_t character_bytes(const char *text) {
    for (size_t n = 1; n <= 4 && text[n - 1] != '\0'; n++) {
        json_t *character = json_stringn(text, n);
        if (character != NULL) {
            json_decref(character);
            return n;
        }
    }
    return 0;
}

json_t *control_string(const char *text) {
    json_t *string = json_string(text);
    char *copy = string == NULL ? mem_strdup(text) : NULL;
    if (copy == NULL) {
        return string;
    }
    for (char *p = copy; *p != '\0';) {
        const size_t bytes = character_bytes(p);
        if (bytes == 0) {
            *p = '?';
        }
        p += bytes > 0 ? bytes : 1;
    }
    string = json_string(copy);
    mem_free(copy);
    return string;
}

json_t *control_refusal(uint64_t id, const struct shoal_error *error) {
    return json_pack("{s:I, s:b, s:s, s:o}", "id", (json_int_t)id, "ok", 0, "status",
                     status_names[error->code], "text", control_string(error->text));
}

shoal_status control_status_of(const char *name) {
    for (size_t i = 1; i < sizeof status_names / sizeof status_names[0]; i++) {
        if (strcmp(status_names[i], name) == 0) {
            return (shoal_status)i;
        }
    }
    return SHOAL_PROTOCOL;
}

const char *control_status_name(shoal_status status) {
    return status_names[status];
}

shoal_status control_refusal_status(const json_t *reply, const char *peer,
                                    struct shoal_error *error) {
    const char *name, *text;
    TRY(control_text(reply, "status", 64, &name, error));
    TRY(control_text(reply, "text", SHOAL_ERROR_TEXT, &text, error));
    for (size_t i = 1; i < sizeof status_names / sizeof status_names[0]; i++) {
        if (strcmp(status_names[i], name) == 0) {
            return error_set(error, (shoal_status)i, "%s: %s", peer, text);
        }
    }
    return error_set(error, SHOAL_PROTOCOL, "%s answered with the unknown status %s", peer, name);
}

shoal_status control_integer(const json_t *document, const char *key, int64_t least, int64_t most,
                             int64_t *out, struct shoal_error *error) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_integer(value) || json_integer_value(value) < least ||
        json_integer_value(value) > most) {
        return error_set(error, SHOAL_PROTOCOL,
                         "control message: '%s' is not an integer from %lld to %lld", key,
                         (long long)least, (long long)most);
    }
    *out = json_integer_value(value);
    return SHOAL_OK;
}

shoal_status control_number(const json_t *document, const char *key, double *out,
                            struct shoal_error *error) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_number(value)) {
        return error_set(error, SHOAL_PROTOCOL, "control message: '%s' is not a number", key);
    }
    *out = json_number_value(value);
    return SHOAL_OK;
}

shoal_status control_text(const json_t *document, const char *key, size_t most, const char **out,
                          struct shoal_error *error) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_string(value) || json_string_length(value) > most ||
        strlen(json_string_value(value)) != json_string_length(value)) {
        return error_set(error, SHOAL_PROTOCOL,
                         "control message: '%s' is not a text of at most %zu bytes", key, most);
    }
    *out = json_string_value(value);
    return SHOAL_OK;
}

shoal_status control_object(const json_t *document, const char *key, const json_t **out,
                            struct shoal_error *error) {
    const json_t *value = json_object_get(document, key);
    if (!json_is_object(value)) {
        return error_set(error, SHOAL_PROTOCOL, "control message: '%s' is not an object", key);
    }
    *out = value;
    return SHOAL_OK;
}
