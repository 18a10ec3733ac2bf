/* Attributes of nodes as JSON: an object of those that are not 0. Floats are written as their bits,
 * lists without the zeros at their ends. */
#include "models/graph_json_parts.h"

#include <string.h>

enum element { ELEMENT_I32, ELEMENT_I64, ELEMENT_F32, ELEMENT_BOOL };

struct attribute {
    const char *key;
    enum element element;
    size_t offset, count;
};

#define ONE(member, element) \
    { #member, (element), offsetof(struct op_attrs, member), 1 }
#define LIST(member, element, count) \
    { #member, (element), offsetof(struct op_attrs, member), (count) }
static const struct attribute attributes[] = {
    ONE(epsilon, ELEMENT_F32),
    ONE(scale, ELEMENT_F32),
    ONE(heads, ELEMENT_I32),
    LIST(stride, ELEMENT_I32, 2),
    LIST(pad, ELEMENT_I32, 4),
    LIST(dilation, ELEMENT_I32, 2),
    ONE(groups, ELEMENT_I32),
    ONE(index, ELEMENT_I64),
    ONE(transpose_a, ELEMENT_BOOL),
    ONE(transpose_b, ELEMENT_BOOL),
    ONE(mode, ELEMENT_I32),
    ONE(axis, ELEMENT_I32),
    LIST(ints, ELEMENT_I64, OP_ATTR_INTS),
    LIST(floats, ELEMENT_F32, OP_ATTR_FLOATS),
};
#define ATTRIBUTE_COUNT (sizeof attributes / sizeof attributes[0])

/* Whoever adds an attribute adds it above (and to GRAPH_JSON_VERSION), or it would not travel. */
_Static_assert(sizeof(struct op_attrs) ==
                       offsetof(struct op_attrs, floats) + OP_ATTR_FLOATS * sizeof(float) &&
                   offsetof(struct op_attrs, floats) ==
                       offsetof(struct op_attrs, ints) + OP_ATTR_INTS * sizeof(int64_t) &&
                   offsetof(struct op_attrs, ints) == 80,
               "every attribute is in the table");

static int64_t element_at(const struct attribute *attribute, const struct op_attrs *attrs,
                          size_t index) {
    const char *at = (const char *)attrs + attribute->offset;
    switch (attribute->element) {
    case ELEMENT_I32:
        return ((const int32_t *)(const void *)at)[index];
    case ELEMENT_I64:
        return ((const int64_t *)(const void *)at)[index];
    case ELEMENT_BOOL:
        return ((const bool *)(const void *)at)[index] ? 1 : 0;
    case ELEMENT_F32:
        break;
    }
    uint32_t bits;
    memcpy(&bits, at + index * sizeof bits, sizeof bits);
    return bits;
}

static bool put_element(const struct attribute *attribute, struct op_attrs *attrs, size_t index,
                        int64_t value) {
    char *at = (char *)attrs + attribute->offset;
    uint32_t bits;
    switch (attribute->element) {
    case ELEMENT_I32:
        ((int32_t *)(void *)at)[index] = (int32_t)value;
        return value >= INT32_MIN && value <= INT32_MAX;
    case ELEMENT_I64:
        ((int64_t *)(void *)at)[index] = value;
        return true;
    case ELEMENT_BOOL:
        ((bool *)(void *)at)[index] = value != 0;
        return value == 0 || value == 1;
    case ELEMENT_F32:
        break;
    }
    bits = (uint32_t)value;
    memcpy(at + index * sizeof bits, &bits, sizeof bits);
    return value >= 0 && value <= (int64_t)UINT32_MAX;
}

static bool put_attribute(json_t *object, const struct attribute *attribute,
                          const struct op_attrs *attrs) {
    size_t used = attribute->count;
    while (used > 0 && element_at(attribute, attrs, used - 1) == 0) {
        used--;
    }
    if (used == 0) {
        return true;
    }
    if (attribute->count == 1) {
        return json_object_set_new(object, attribute->key,
                                   json_integer(element_at(attribute, attrs, 0))) == 0;
    }
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < used && ok; i++) {
        ok = json_array_append_new(list, json_integer(element_at(attribute, attrs, i))) == 0;
    }
    ok = ok && json_object_set(object, attribute->key, list) == 0;
    json_decref(list);
    return ok;
}

json_t *graph_json_attrs(const struct op_attrs *attrs) {
    json_t *object = json_object();
    bool ok = object != NULL;
    if (ok && attrs->activation != ACTIVATION_NONE) {
        ok = json_object_set_new(object, "activation",
                                 json_string(activation_name(attrs->activation))) == 0;
    }
    if (ok && attrs->precision != PRECISION_F32) {
        ok = json_object_set_new(object, "precision",
                                 json_string(precision_name(attrs->precision))) == 0;
    }
    for (size_t i = 0; i < ATTRIBUTE_COUNT && ok; i++) {
        ok = put_attribute(object, &attributes[i], attrs);
    }
    if (!ok) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static shoal_status read_attribute(const struct attribute *attribute, const json_t *value,
                                   struct op_attrs *out, struct shoal_error *error) {
    const bool list = attribute->count > 1;
    const size_t count = list ? json_array_size(value) : 1;
    bool ok = list ? json_is_array(value) && count <= attribute->count : json_is_integer(value);
    for (size_t i = 0; i < count && ok; i++) {
        const json_t *element = list ? json_array_get(value, i) : value;
        ok =
            json_is_integer(element) && put_element(attribute, out, i, json_integer_value(element));
    }
    return ok ? SHOAL_OK
              : error_set(error, SHOAL_CORRUPT, "attribute \"%s\" is not what it must be",
                          attribute->key);
}

static shoal_status read_key(const char *key, const json_t *value, struct op_attrs *out,
                             struct shoal_error *error) {
    if (strcmp(key, "activation") == 0 && json_is_string(value) &&
        activation_parse(json_string_value(value), &out->activation)) {
        return SHOAL_OK;
    }
    if (strcmp(key, "precision") == 0 && json_is_string(value) &&
        precision_parse(json_string_value(value), &out->precision)) {
        return SHOAL_OK;
    }
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        if (strcmp(key, attributes[i].key) == 0) {
            return read_attribute(&attributes[i], value, out, error);
        }
    }
    return error_set(error, SHOAL_CORRUPT, "attribute \"%.64s\" is unknown, or its value is", key);
}

shoal_status graph_json_read_attrs(const json_t *object, struct op_attrs *out,
                                   struct shoal_error *error) {
    memset(out, 0, sizeof *out);
    if (!json_is_object(object)) {
        return error_set(error, SHOAL_CORRUPT, "\"attrs\" is no object");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        TRY(read_key(key, value, out, error));
    }
    return SHOAL_OK;
}
