/* Attributes and inputs of the node being converted, and what a converter says about it. */
#include "formats/onnx/import_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

shoal_status import_fail_text(struct import_node *n, shoal_status code, const char *format, ...) {
    char text[SHOAL_ERROR_TEXT / 2];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return error_set(n->error, code, "node %.120s (%.60s, opset %" PRId64 "): %s", n->name,
                     n->op_type, n->version, text);
}

shoal_status import_refuse_type(struct import_node *n, const struct import_value *value) {
    return import_refuse(n, "elements of type %s", onnx_dtype_name(value->element));
}

shoal_status import_no_memory(struct import_node *n) {
    if (n->importer->beyond) {
        return import_refuse(n, "more than %zu bytes at import", n->importer->most_bytes);
    }
    return error_set(n->error, SHOAL_NO_MEMORY, "onnx: no memory for node %s", n->name);
}

void *import_alloc(struct import_node *n, size_t size) {
    if (value_count_bytes(n->importer, size) != SHOAL_OK) {
        return NULL;
    }
    return arena_alloc(&n->importer->arena, size);
}

/* ---- attributes ---- */

static const struct onnx_attribute *find(const struct onnx_attribute *attributes, size_t count,
                                         const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(attributes[i].name, name) == 0) {
            return &attributes[i];
        }
    }
    return NULL;
}

/* In a function's body an attribute may stand for one of the call's, or for its default. */
static const struct onnx_attribute *resolve(const struct onnx_attribute *attribute,
                                            const struct import_frame *frame) {
    while (attribute != NULL && attribute->ref_attr_name[0] != '\0') {
        if (frame == NULL || frame->call == NULL) {
            return NULL;
        }
        const struct onnx_attribute *given =
            find(frame->call->attributes, frame->call->attribute_count, attribute->ref_attr_name);
        if (given == NULL) { /* a default is a value itself */
            given = find(frame->function->defaults, frame->function->default_count,
                         attribute->ref_attr_name);
            return given != NULL && given->ref_attr_name[0] == '\0' ? given : NULL;
        }
        attribute = given;
        frame = frame->caller;
    }
    return attribute;
}

const struct onnx_attribute *import_attribute(struct import_node *n, const char *name) {
    for (size_t i = 0; i < n->onnx->attribute_count; i++) {
        const struct onnx_attribute *attribute = &n->onnx->attributes[i];
        if (strcmp(attribute->name, name) == 0) {
            n->used_attributes |= i < 64 ? UINT64_C(1) << i : 0;
            return resolve(attribute, n->frame);
        }
    }
    return NULL;
}

static shoal_status typed(struct import_node *n, const char *name, enum onnx_attribute_type type,
                          const struct onnx_attribute **out) {
    const struct onnx_attribute *attribute = import_attribute(n, name);
    if (attribute != NULL && attribute->type != type) {
        return import_corrupt(n, "attribute %.60s is of type %s, not %s", name,
                              onnx_attribute_type_name(attribute->type),
                              onnx_attribute_type_name(type));
    }
    *out = attribute;
    return SHOAL_OK;
}

bool import_attr_has(struct import_node *n, const char *name) {
    return import_attribute(n, name) != NULL;
}

void import_attr_ignore(struct import_node *n, const char *name) {
    (void)import_attribute(n, name);
}

shoal_status import_attr_int(struct import_node *n, const char *name, int64_t fallback,
                             int64_t *out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_INT, &attribute));
    *out = attribute != NULL ? attribute->i : fallback;
    return SHOAL_OK;
}

shoal_status import_attr_float(struct import_node *n, const char *name, float fallback,
                               float *out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_FLOAT, &attribute));
    *out = attribute != NULL ? attribute->f : fallback;
    return SHOAL_OK;
}

shoal_status import_attr_string(struct import_node *n, const char *name, const char *fallback,
                                const char **out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_STRING, &attribute));
    *out = attribute != NULL ? attribute->s.data : fallback;
    return SHOAL_OK;
}

shoal_status import_attr_choice(struct import_node *n, const char *name, const char *const *choices,
                                int fallback, int *out) {
    const char *text = NULL;
    TRY(import_attr_string(n, name, NULL, &text));
    if (text == NULL) {
        *out = fallback;
        return SHOAL_OK;
    }
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], text) == 0) {
            *out = i;
            return SHOAL_OK;
        }
    }
    return import_refuse(n, "attribute %s = \"%.60s\"", name, text);
}

shoal_status import_attr_ints(struct import_node *n, const char *name, int64_t *out, int max,
                              int *count) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_INTS, &attribute));
    if (attribute == NULL) {
        *count = -1;
        return SHOAL_OK;
    }
    if (attribute->count > (size_t)max) {
        return import_refuse(n, "attribute %s with %zu numbers, more than %d", name,
                             attribute->count, max);
    }
    for (size_t i = 0; i < attribute->count; i++) {
        out[i] = attribute->ints[i];
    }
    *count = (int)attribute->count;
    return SHOAL_OK;
}

shoal_status import_attr_floats(struct import_node *n, const char *name, float *out, int max,
                                int *count) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_FLOATS, &attribute));
    if (attribute == NULL) {
        *count = -1;
        return SHOAL_OK;
    }
    if (attribute->count > (size_t)max) {
        return import_refuse(n, "attribute %s with %zu numbers, more than %d", name,
                             attribute->count, max);
    }
    for (size_t i = 0; i < attribute->count; i++) {
        out[i] = attribute->floats[i];
    }
    *count = (int)attribute->count;
    return SHOAL_OK;
}

shoal_status import_attr_text(struct import_node *n, const char *name, uint32_t index,
                              const char **out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_STRINGS, &attribute));
    *out = attribute != NULL && index < attribute->count ? attribute->strings[index].data : NULL;
    return SHOAL_OK;
}

shoal_status import_attr_tensor(struct import_node *n, const char *name,
                                struct import_value **out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_TENSOR, &attribute));
    *out = NULL;
    if (attribute == NULL) {
        return SHOAL_OK;
    }
    return value_of_tensor(n->importer, attribute->t, NULL, out);
}

shoal_status import_attr_graph(struct import_node *n, const char *name,
                               const struct onnx_graph **out) {
    const struct onnx_attribute *attribute;
    TRY(typed(n, name, ONNX_ATTRIBUTE_GRAPH, &attribute));
    if (attribute == NULL || attribute->g == NULL) {
        return import_corrupt(n, "attribute %s, a graph, is missing", name);
    }
    *out = attribute->g;
    return SHOAL_OK;
}

shoal_status import_axis(struct import_node *n, int64_t axis, int rank, int *out) {
    if (axis < -rank || axis >= rank) {
        return import_corrupt(n, "axis %" PRId64 " of a tensor of rank %d", axis, rank);
    }
    *out = (int)(axis < 0 ? axis + rank : axis);
    return SHOAL_OK;
}

/* ---- inputs ---- */

struct import_value *import_input(const struct import_node *n, uint32_t index) {
    return index < n->input_count ? n->inputs[index] : NULL;
}

shoal_status import_need(struct import_node *n, uint32_t index, struct import_value **out) {
    struct import_value *value = import_input(n, index);
    if (value == NULL) {
        return import_corrupt(n, "input %" PRIu32 " is missing", index);
    }
    if (value->kind == IMPORT_SEQUENCE || value->kind == IMPORT_NOTHING) {
        return import_refuse(n, "input %" PRIu32 " is %s", index,
                             value->kind == IMPORT_SEQUENCE ? "a sequence" : "an empty optional");
    }
    *out = value;
    return SHOAL_OK;
}

bool import_is_constant(const struct import_value *value) {
    return value->kind == IMPORT_CONSTANT;
}

static const char *input_name(const struct import_node *n, const struct import_value *value) {
    for (uint32_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] == value && i < n->onnx->input_count) {
            return n->onnx->inputs[i];
        }
    }
    return "";
}

shoal_status import_bytes(struct import_node *n, struct import_value *value, const void **out) {
    if (value->kind == IMPORT_CONSTANT) {
        const shoal_status status = value_bytes(n->importer, value, out);
        return status == SHOAL_OK
                   ? SHOAL_OK
                   : error_wrap(n->error, status, "node %.120s (%.60s)", n->name, n->op_type);
    }
    n->importer->wanted |= value->needs;
    return import_refuse(n,
                         "the value of its input %.80s must be known to know shapes, but it is "
                         "computed from the model's inputs",
                         input_name(n, value));
}

static bool element_int(const struct import_value *value, const void *data, size_t index,
                        int64_t *out) {
    switch ((int)value->type.dtype) {
    case DTYPE_I64:
        *out = ((const int64_t *)data)[index];
        return true;
    case DTYPE_I32:
        *out = ((const int32_t *)data)[index];
        return true;
    case DTYPE_U32:
        *out = ((const uint32_t *)data)[index];
        return true;
    case DTYPE_U64:
        *out = (int64_t)((const uint64_t *)data)[index];
        return *out >= 0;
    case DTYPE_I16:
        *out = ((const int16_t *)data)[index];
        return true;
    case DTYPE_U16:
        *out = ((const uint16_t *)data)[index];
        return true;
    case DTYPE_I8:
        *out = ((const int8_t *)data)[index];
        return true;
    case DTYPE_U8:
    case DTYPE_BOOL:
        *out = ((const uint8_t *)data)[index];
        return true;
    default:
        return false;
    }
}

shoal_status import_ints(struct import_node *n, struct import_value *value, int64_t *out, int max,
                         int *count) {
    const void *data = NULL;
    int64_t elements = 0;
    TRY(import_bytes(n, value, &data));
    if (!shape_count(&value->type.shape, &elements) || elements > max) {
        return import_refuse(n, "input %.80s with %" PRId64 " numbers, more than %d",
                             input_name(n, value), elements, max);
    }
    for (int64_t i = 0; i < elements; i++) {
        if (!element_int(value, data, (size_t)i, &out[i])) {
            return import_refuse(n, "input %.80s of type %s where integers are read",
                                 input_name(n, value), onnx_dtype_name(value->element));
        }
    }
    *count = (int)elements;
    return SHOAL_OK;
}

shoal_status import_int(struct import_node *n, struct import_value *value, int64_t *out) {
    int count = 0;
    TRY(import_ints(n, value, out, 1, &count));
    return count == 1 ? SHOAL_OK : import_corrupt(n, "input %.80s is empty", input_name(n, value));
}

shoal_status import_number(struct import_node *n, struct import_value *value, double *out) {
    const void *data = NULL;
    int64_t elements = 0, integer = 0;
    TRY(import_bytes(n, value, &data));
    if (!shape_count(&value->type.shape, &elements) || elements != 1) {
        return import_corrupt(n, "input %.80s is not one number", input_name(n, value));
    }
    if (value->type.dtype == DTYPE_F32) {
        *out = (double)*(const float *)data;
    } else if (value->type.dtype == DTYPE_F64) {
        *out = *(const double *)data;
    } else if (element_int(value, data, 0, &integer)) {
        *out = (double)integer;
    } else {
        return import_refuse_type(n, value);
    }
    return SHOAL_OK;
}
