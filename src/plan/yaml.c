#include "plan/yaml.h"

#include "base/memory.h"
#include "platform/file.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct yaml {
    yaml_document_t document;
    char *name;
};

static const yaml_node_t *node_of(struct yaml_item item) {
    const yaml_node_t *start = item.yaml->document.nodes.start;
    const ptrdiff_t count = item.yaml->document.nodes.top - start;
    return item.node >= 1 && item.node <= count ? &start[item.node - 1] : NULL;
}

static const char *text_of(const yaml_node_t *node) {
    return (const char *)node->data.scalar.value;
}

void yaml_destroy(struct yaml *yaml) {
    if (yaml != NULL) {
        yaml_document_delete(&yaml->document);
        mem_free(yaml->name);
        mem_free(yaml);
    }
}

static shoal_status parse_failed(const yaml_parser_t *parser, const char *name,
                                 struct shoal_error *error) {
    if (parser->error == YAML_MEMORY_ERROR) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", name);
    }
    const size_t line = parser->error == YAML_READER_ERROR
                            ? 0
                            : parser->problem_mark.line + 1; /* bytes, not lines */
    return error_set(error, SHOAL_CORRUPT, "%s:%zu: not YAML: %s%s%s", name, line,
                     parser->problem != NULL ? parser->problem : "malformed",
                     parser->context != NULL ? " " : "",
                     parser->context != NULL ? parser->context : "");
}

/* Refuses a second document: what stands there would silently not count. */
static shoal_status load(yaml_parser_t *parser, struct yaml *yaml, struct shoal_error *error) {
    if (yaml_parser_load(parser, &yaml->document) == 0) {
        return parse_failed(parser, yaml->name, error);
    }
    yaml_document_t next;
    if (yaml_document_get_root_node(&yaml->document) == NULL) {
        return SHOAL_OK;
    }
    if (yaml_parser_load(parser, &next) == 0) {
        const shoal_status status = parse_failed(parser, yaml->name, error);
        yaml_document_delete(&yaml->document);
        return status;
    }
    const bool more = yaml_document_get_root_node(&next) != NULL;
    const size_t line = next.start_mark.line + 1;
    yaml_document_delete(&next);
    if (more) {
        yaml_document_delete(&yaml->document);
        return error_set(error, SHOAL_CORRUPT, "%s:%zu: a second document; one is expected",
                         yaml->name, line);
    }
    return SHOAL_OK;
}

static bool has_anchor(const yaml_event_t *event) {
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor != NULL) ||
           (event->type == YAML_SEQUENCE_START_EVENT &&
            event->data.sequence_start.anchor != NULL) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor != NULL);
}

/*
 * libyaml takes time that grows with length × depth and with length × anchors, so both are looked
 * at first, event by event: it stops at the first one too many.
 */
static shoal_status check_shape(const char *name, const char *text, size_t bytes,
                                struct shoal_error *error) {
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", name);
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    shoal_status status = SHOAL_OK;
    unsigned depth = 0, anchors = 0;
    for (bool more = true; more && status == SHOAL_OK;) {
        yaml_event_t event;
        if (yaml_parser_parse(&parser, &event) == 0) {
            status = parse_failed(&parser, name, error);
            break;
        }
        const bool opens =
            event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
        const bool closes =
            event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
        depth = opens ? depth + 1 : closes ? depth - 1 : depth;
        if (depth > YAML_DEPTH_LIMIT) {
            status = error_set(error, SHOAL_CORRUPT, "%s:%zu: lists and maps nest deeper than %d",
                               name, event.start_mark.line + 1, YAML_DEPTH_LIMIT);
        }
        anchors += has_anchor(&event) ? 1 : 0;
        if (anchors > YAML_ANCHOR_LIMIT && status == SHOAL_OK) {
            status = error_set(error, SHOAL_CORRUPT, "%s:%zu: more than %d anchors", name,
                               event.start_mark.line + 1, YAML_ANCHOR_LIMIT);
        }
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

shoal_status yaml_read_text(const char *name, const char *text, size_t bytes, struct yaml **out,
                            struct shoal_error *error) {
    TRY(check_shape(name, text, bytes, error));
    struct yaml *yaml = mem_calloc(1, sizeof *yaml);
    char *copy = mem_strdup(name);
    yaml_parser_t parser;
    if (yaml == NULL || copy == NULL || yaml_parser_initialize(&parser) == 0) {
        mem_free(yaml);
        mem_free(copy);
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", name);
    }
    yaml->name = copy;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    const shoal_status status = load(&parser, yaml, error);
    yaml_parser_delete(&parser);
    if (status != SHOAL_OK) {
        mem_free(yaml->name);
        mem_free(yaml);
        return status;
    }
    *out = yaml;
    return SHOAL_OK;
}

shoal_status yaml_read_file(const char *path, struct yaml **out, struct shoal_error *error) {
    char *text;
    size_t bytes;
    TRY(file_read(path, YAML_FILE_LIMIT, &text, &bytes, error));
    const shoal_status status = yaml_read_text(path, text, bytes, out, error);
    mem_free(text);
    return status;
}

struct yaml_item yaml_root(const struct yaml *yaml) {
    /* Without a root there are no nodes, and index 1 is none: null. */
    return (struct yaml_item){.yaml = yaml, .node = 1, .key = ""};
}

shoal_status yaml_fail(struct yaml_item item, struct shoal_error *error, const char *format, ...) {
    char text[SHOAL_ERROR_TEXT / 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    const yaml_node_t *node = node_of(item);
    const size_t line = node != NULL ? node->start_mark.line + 1 : 1;
    if (item.key[0] == '\0') {
        return error_set(error, SHOAL_CORRUPT, "%s:%zu: %s", item.yaml->name, line, text);
    }
    return error_set(error, SHOAL_CORRUPT, "%s:%zu: key %.80s: %s", item.yaml->name, line, item.key,
                     text);
}

bool yaml_is_null(struct yaml_item item) {
    const yaml_node_t *node = node_of(item);
    if (node == NULL) {
        return true;
    }
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return false;
    }
    const char *text = text_of(node);
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

bool yaml_is_map(struct yaml_item item) {
    const yaml_node_t *node = node_of(item);
    return node != NULL && node->type == YAML_MAPPING_NODE;
}

bool yaml_is_list(struct yaml_item item) {
    const yaml_node_t *node = node_of(item);
    return node != NULL && node->type == YAML_SEQUENCE_NODE;
}

size_t yaml_count(struct yaml_item item) {
    const yaml_node_t *node = node_of(item);
    if (yaml_is_map(item)) {
        return (size_t)(node->data.mapping.pairs.top - node->data.mapping.pairs.start);
    }
    if (yaml_is_list(item)) {
        return (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    }
    return 0;
}

void yaml_map_at(struct yaml_item map, size_t index, struct yaml_item *value) {
    const yaml_node_pair_t *pair = &node_of(map)->data.mapping.pairs.start[index];
    const yaml_node_t *key = node_of((struct yaml_item){.yaml = map.yaml, .node = pair->key});
    *value = (struct yaml_item){
        .yaml = map.yaml,
        .node = pair->value,
        .key = key != NULL && key->type == YAML_SCALAR_NODE ? text_of(key) : "",
    };
}

void yaml_list_at(struct yaml_item list, size_t index, struct yaml_item *value) {
    *value = (struct yaml_item){.yaml = list.yaml,
                                .node = node_of(list)->data.sequence.items.start[index],
                                .key = list.key};
}

static int compare_items(const void *a, const void *b) {
    const struct yaml_item *x = a, *y = b;
    return strcmp(x->key, y->key);
}

shoal_status yaml_check_map(struct yaml_item map, struct shoal_error *error) {
    if (!yaml_is_map(map)) {
        return yaml_fail(map, error, "a map is expected");
    }
    const size_t count = yaml_count(map);
    struct yaml_item *items = mem_calloc(count > 0 ? count : 1, sizeof *items);
    if (items == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", map.yaml->name);
    }
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
        yaml_map_at(map, i, &items[i]);
        if (items[i].key[0] == '\0') {
            status = yaml_fail(map, error, "its keys must be plain names");
        }
    }
    if (status == SHOAL_OK) {
        qsort(items, count, sizeof *items, compare_items);
        for (size_t i = 1; i < count && status == SHOAL_OK; i++) {
            if (strcmp(items[i - 1].key, items[i].key) == 0) {
                status = yaml_fail(items[i], error, "stands there twice");
            }
        }
    }
    mem_free(items);
    return status;
}

static shoal_status unknown_key(struct yaml_item value, const char *const keys[],
                                struct shoal_error *error) {
    char known[160] = "";
    size_t used = 0;
    for (size_t k = 0; keys[k] != NULL && used < sizeof known; k++) {
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s", k > 0 ? ", " : "", keys[k]);
    }
    return yaml_fail(value, error, "unknown key; known here: %s", known);
}

shoal_status yaml_check_keys(struct yaml_item map, const char *const keys[],
                             struct shoal_error *error) {
    TRY(yaml_check_map(map, error));
    for (size_t i = 0; i < yaml_count(map); i++) {
        struct yaml_item value;
        yaml_map_at(map, i, &value);
        size_t k = 0;
        while (keys[k] != NULL && strcmp(keys[k], value.key) != 0) {
            k++;
        }
        if (keys[k] == NULL) {
            return unknown_key(value, keys, error);
        }
    }
    return SHOAL_OK;
}

static bool find(struct yaml_item map, const char *key, struct yaml_item *out) {
    for (size_t i = 0; yaml_is_map(map) && i < yaml_count(map); i++) {
        struct yaml_item value;
        yaml_map_at(map, i, &value);
        if (strcmp(value.key, key) == 0) {
            *out = value;
            return true;
        }
    }
    return false;
}

bool yaml_has(struct yaml_item map, const char *key) {
    struct yaml_item ignored;
    return find(map, key, &ignored);
}

shoal_status yaml_get(struct yaml_item map, const char *key, struct yaml_item *out,
                      struct shoal_error *error) {
    if (!find(map, key, out)) {
        (void)yaml_fail(map, error, "has no \"%s\"", key);
        if (error != NULL) {
            error->code = SHOAL_NOT_FOUND;
        }
        return SHOAL_NOT_FOUND;
    }
    return SHOAL_OK;
}

/* A scalar's text. Bytes after a zero would be invisible, so there must be none. */
static const char *scalar(struct yaml_item item, bool plain) {
    const yaml_node_t *node = node_of(item);
    if (node == NULL || node->type != YAML_SCALAR_NODE ||
        (plain && node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) ||
        strlen(text_of(node)) != node->data.scalar.length) {
        return NULL;
    }
    return text_of(node);
}

shoal_status yaml_string(struct yaml_item item, const char **out, struct shoal_error *error) {
    const char *text = yaml_is_null(item) ? NULL : scalar(item, false);
    if (text == NULL) {
        return yaml_fail(item, error, "a text is expected");
    }
    *out = text;
    return SHOAL_OK;
}

shoal_status yaml_double(struct yaml_item item, double *out, struct shoal_error *error) {
    const char *text = scalar(item, true);
    /* Only what looks like a decimal number: strtod would also take "nan", "0x1p3" and leading
     * blanks. */
    if (text != NULL && text[0] != '\0' && text[strspn(text, "+-.0123456789eE")] == '\0') {
        char *end;
        const double value = strtod(text, &end);
        if (*end == '\0' && isfinite(value)) {
            *out = value;
            return SHOAL_OK;
        }
    }
    return yaml_fail(item, error, "a number is expected, not \"%.40s\"", text != NULL ? text : "…");
}

shoal_status yaml_u64(struct yaml_item item, uint64_t *out, struct shoal_error *error) {
    const char *text = scalar(item, true);
    if (text != NULL && text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        errno = 0;
        const uintmax_t value = strtoumax(text, NULL, 10);
        if (errno == 0 && value <= UINT64_MAX) {
            *out = (uint64_t)value;
            return SHOAL_OK;
        }
    }
    return yaml_fail(item, error, "a whole number is expected, not \"%.40s\"",
                     text != NULL ? text : "…");
}

shoal_status yaml_bool(struct yaml_item item, bool *out, struct shoal_error *error) {
    const char *text = scalar(item, true);
    if (text != NULL && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)) {
        *out = text[0] == 't';
        return SHOAL_OK;
    }
    return yaml_fail(item, error, "true or false is expected, not \"%.40s\"",
                     text != NULL ? text : "…");
}
