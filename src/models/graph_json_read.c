/* Graphs from JSON that came from outside. */
#include "base/base64.h"
#include "base/memory.h"
#include "models/graph_json_parts.h"

#include <stdarg.h>
#include <string.h>

static shoal_status corrupt(struct shoal_error *error, const char *what) {
    return error_set(error, SHOAL_CORRUPT, "%s", what);
}

/* No other keys than these, a list that NULL ends. */
static shoal_status check_keys(const json_t *object, const char *const *known,
                               struct shoal_error *error) {
    if (!json_is_object(object)) {
        return corrupt(error, "not an object");
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        const char *const *at = known;
        while (*at != NULL && strcmp(*at, key) != 0) {
            at++;
        }
        if (*at == NULL) {
            return error_set(error, SHOAL_CORRUPT, "unknown key \"%.64s\"", key);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_text(const json_t *value, const char *key, const char **out,
                              struct shoal_error *error) {
    const char *text = json_string_value(value);
    if (text == NULL || strlen(text) != json_string_length(value) ||
        strlen(text) > GRAPH_JSON_MAX_NAME) {
        return error_set(error, SHOAL_CORRUPT, "\"%s\" must be a text of at most %d bytes", key,
                         GRAPH_JSON_MAX_NAME);
    }
    *out = text;
    return SHOAL_OK;
}

static shoal_status read_shape(const json_t *list, struct shape *out, struct shoal_error *error) {
    const size_t rank = json_array_size(list);
    if (!json_is_array(list) || rank > SHAPE_MAX_RANK) {
        return corrupt(error, "\"shape\" must be a list of at most 8 numbers");
    }
    *out = (struct shape){.rank = (int)rank};
    for (size_t i = 0; i < rank; i++) {
        const json_t *dim = json_array_get(list, i);
        if (!json_is_integer(dim)) {
            return corrupt(error, "\"shape\" must be a list of at most 8 numbers");
        }
        out->dims[i] = json_integer_value(dim);
    }
    return SHOAL_OK;
}

/* "type" and "shape" of an object. */
static shoal_status read_type(const json_t *object, bool batch, struct tensor_type *out,
                              struct shoal_error *error) {
    const char *name;
    TRY(read_text(json_object_get(object, "type"), "type", &name, error));
    if (!dtype_parse(name, &out->dtype)) {
        return error_set(error, SHOAL_CORRUPT, "\"%.64s\" is no element type", name);
    }
    TRY(read_shape(json_object_get(object, "shape"), &out->shape, error));
    char text[SHAPE_TEXT];
    return graph_json_fits(out, batch)
               ? SHOAL_OK
               : error_set(error, SHOAL_CORRUPT, "shape %s is out of bounds",
                           shape_format(&out->shape, text));
}

/* A list of ids; *count at most max. */
static shoal_status read_ids(const json_t *list, const char *key, uint32_t *out, int max,
                             int *count, struct shoal_error *error) {
    const size_t size = json_array_size(list);
    *count = 0;
    if (list == NULL) {
        return SHOAL_OK;
    }
    bool ok = json_is_array(list) && size <= (size_t)max;
    for (size_t i = 0; i < size && ok; i++) {
        const json_t *id = json_array_get(list, i);
        const json_int_t number = json_integer_value(id);
        ok = json_is_integer(id) && number >= 0 && number < (json_int_t)GRAPH_NONE;
        out[i] = (uint32_t)number;
    }
    *count = (int)size;
    return ok ? SHOAL_OK
              : error_set(error, SHOAL_CORRUPT, "\"%s\" must be a list of at most %d ids", key,
                          max);
}

/* ---- params ---- */

static shoal_status read_constant(struct graph *graph, const char *name, struct tensor_type type,
                                  const json_t *data, struct shoal_error *error) {
    size_t bytes = 0;
    graph_param_id id;
    const char *text = json_string_value(data);
    const size_t length = json_string_length(data);
    if (text == NULL || !shape_bytes(&type.shape, type.dtype, &bytes) ||
        length != base64_length(bytes)) { /* checked before memory is taken for it */
        return corrupt(error, "\"data\" is not base64 of the type's size");
    }
    unsigned char *plain = mem_alloc(bytes > 0 ? bytes : 1);
    if (plain == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for constant %s", name);
    }
    const shoal_status status = base64_decode(text, length, plain, bytes)
                                    ? graph_add_constant(graph, name, type, plain, &id, error)
                                    : corrupt(error, "\"data\" is not base64 of the type's size");
    mem_free(plain);
    return status;
}

static shoal_status read_part(const json_t *item, struct graph_part *out,
                              struct shoal_error *error) {
    if (!json_is_array(item) || json_array_size(item) != 2) {
        return corrupt(error, "a part must be a list of name and shape");
    }
    TRY(read_text(json_array_get(item, 0), "parts", &out->name, error));
    TRY(read_shape(json_array_get(item, 1), &out->shape, error));
    const struct tensor_type type = {DTYPE_U8, out->shape};
    return graph_json_fits(&type, false) ? SHOAL_OK
                                         : corrupt(error, "a part's shape is out of bounds");
}

static shoal_status read_fill(const json_t *value, enum graph_fill *out,
                              struct shoal_error *error) {
    static const char *const names[] = {"normal", "zeros", "ones"};
    const char *name;
    TRY(read_text(value, "fill", &name, error));
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum graph_fill)i;
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_CORRUPT, "\"%.64s\" is no fill", name);
}
_Static_assert(GRAPH_FILL_NORMAL == 0 && GRAPH_FILL_ZEROS == 1 && GRAPH_FILL_ONES == 2,
               "the order of names");

static shoal_status read_param(struct graph *graph, const json_t *item, struct shoal_error *error) {
    static const char *const constant_keys[] = {"name", "type", "shape", "data", NULL};
    static const char *const stored_keys[] = {"name", "type", "shape", "fill", "parts", NULL};
    const json_t *data = json_object_get(item, "data"), *list = json_object_get(item, "parts");
    struct graph_part parts[GRAPH_JSON_MAX_PARTS];
    struct tensor_type type;
    const char *name;
    graph_param_id id;
    enum graph_fill fill;
    TRY(check_keys(item, data != NULL ? constant_keys : stored_keys, error));
    TRY(read_text(json_object_get(item, "name"), "name", &name, error));
    TRY(read_type(item, false, &type, error));
    if (data != NULL) {
        return read_constant(graph, name, type, data, error);
    }
    TRY(read_fill(json_object_get(item, "fill"), &fill, error));
    const size_t count = json_array_size(list);
    if (!json_is_array(list) || count < 1 || count > GRAPH_JSON_MAX_PARTS) {
        return corrupt(error, "\"parts\" must be a list of 1 to 64 parts");
    }
    for (size_t i = 0; i < count; i++) {
        TRY(read_part(json_array_get(list, i), &parts[i], error));
    }
    return graph_add_param(graph, name, type, fill, parts, (uint32_t)count, &id, error);
}

/* ---- steps ---- */

static shoal_status read_input(struct graph *graph, const json_t *item, struct shoal_error *error) {
    static const char *const keys[] = {"input", "type", "shape", NULL};
    struct tensor_type type;
    const char *name;
    graph_value_id id;
    TRY(check_keys(item, keys, error));
    TRY(read_text(json_object_get(item, "input"), "input", &name, error));
    TRY(read_type(item, true, &type, error));
    return graph_add_input(graph, name, type, &id, error);
}

static shoal_status read_param_value(struct graph *graph, const json_t *item,
                                     struct shoal_error *error) {
    static const char *const keys[] = {"param", NULL};
    const json_t *param = json_object_get(item, "param");
    const json_int_t number = json_integer_value(param);
    graph_value_id id;
    TRY(check_keys(item, keys, error));
    if (!json_is_integer(param) || number < 0 || number >= (json_int_t)GRAPH_NONE) {
        return corrupt(error, "\"param\" must be an id");
    }
    return graph_add_param_value(graph, (graph_param_id)number, &id, error);
}

static shoal_status read_node(struct graph *graph, const json_t *item, struct shoal_error *error) {
    static const char *const keys[] = {"node", "op", "inputs", "params", "attrs", NULL};
    const json_t *given = json_object_get(item, "attrs");
    graph_value_id inputs[OP_MAX_INPUTS], outputs[OP_MAX_OUTPUTS];
    graph_param_id params[OP_MAX_PARAMS];
    int input_count, param_count;
    const char *name, *op_name;
    struct op_attrs attrs = {0};
    enum op op;
    TRY(check_keys(item, keys, error));
    TRY(read_text(json_object_get(item, "node"), "node", &name, error));
    TRY(read_text(json_object_get(item, "op"), "op", &op_name, error));
    if (!op_parse(op_name, &op)) {
        return error_set(error, SHOAL_CORRUPT, "there is no op \"%.64s\"", op_name);
    }
    if (given != NULL) {
        TRY(graph_json_read_attrs(given, &attrs, error));
    }
    TRY(read_ids(json_object_get(item, "inputs"), "inputs", inputs, OP_MAX_INPUTS, &input_count,
                 error));
    TRY(read_ids(json_object_get(item, "params"), "params", params, OP_MAX_PARAMS, &param_count,
                 error));
    TRY(graph_add_node(graph, name, op, &attrs, GRAPH_F, inputs, input_count, params, param_count,
                       outputs, error));
    for (int i = 0; i < op_describe(op)->outputs; i++) {
        const struct tensor_type *type = &graph_value_get(graph, outputs[i])->type;
        char text[SHAPE_TEXT];
        if (!graph_json_fits(type, true)) {
            return error_set(error, SHOAL_CORRUPT, "the result %s is out of bounds",
                             shape_format(&type->shape, text));
        }
    }
    return SHOAL_OK;
}

static shoal_status read_step(struct graph *graph, const json_t *item, struct shoal_error *error) {
    static const char *const cut_keys[] = {"cut", NULL};
    if (json_object_get(item, "node") != NULL) {
        return read_node(graph, item, error);
    }
    if (json_object_get(item, "input") != NULL) {
        return read_input(graph, item, error);
    }
    if (json_object_get(item, "param") != NULL) {
        return read_param_value(graph, item, error);
    }
    TRY(check_keys(item, cut_keys, error));
    return json_is_true(json_object_get(item, "cut"))
               ? graph_mark_cut(graph, error)
               : corrupt(error, "neither node, input, param nor cut");
}

/* ---- the document ---- */

static shoal_status
read_list(struct graph *graph, const json_t *document, const char *key, size_t most,
          shoal_status (*read)(struct graph *, const json_t *, struct shoal_error *),
          struct shoal_error *error) {
    const json_t *list = json_object_get(document, key);
    if (!json_is_array(list) || json_array_size(list) > most) {
        return error_set(error, SHOAL_CORRUPT, "\"%s\" must be a list of at most %zu", key, most);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const shoal_status status = read(graph, json_array_get(list, i), error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "\"%s\", entry %zu", key, i);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_outputs(struct graph *graph, const json_t *document,
                                 struct shoal_error *error) {
    const json_t *list = json_object_get(document, "outputs");
    if (!json_is_array(list)) {
        return corrupt(error, "\"outputs\" must be a list of ids");
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        const json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number >= (json_int_t)GRAPH_NONE) {
            return corrupt(error, "\"outputs\" must be a list of ids");
        }
        TRY(graph_mark_output(graph, (graph_value_id)number, error));
    }
    return SHOAL_OK;
}

static shoal_status read_body(struct graph *graph, const json_t *document,
                              struct shoal_error *error) {
    TRY(read_list(graph, document, "params", GRAPH_JSON_MAX_PARAMS, read_param, error));
    TRY(read_list(graph, document, "steps", GRAPH_JSON_MAX_STEPS, read_step, error));
    return read_outputs(graph, document, error);
}

/* What is computed from weights alone: no inputs, and every output a name of its own. */
static shoal_status check_constants(const struct graph *constants, struct shoal_error *error) {
    const graph_value_id *ids;
    if (graph_inputs(constants, &ids) > 0) {
        return corrupt(error, "\"constants\" has inputs");
    }
    const uint32_t count = graph_outputs(constants, &ids);
    if (count > GRAPH_JSON_MAX_DERIVED) {
        return error_set(error, SHOAL_CORRUPT, "\"constants\" gives %u tensors; at most %d can be",
                         count, GRAPH_JSON_MAX_DERIVED);
    }
    for (uint32_t i = 0; i < count; i++) {
        const char *name = graph_value_get(constants, ids[i])->name;
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(name, graph_value_get(constants, ids[j])->name) == 0) {
                return error_set(error, SHOAL_CORRUPT, "\"constants\" gives %.64s twice", name);
            }
        }
    }
    return SHOAL_OK;
}

static shoal_status read_constants(struct graph *graph, const json_t *document,
                                   struct shoal_error *error) {
    static const char *const keys[] = {"params", "steps", "outputs", NULL};
    struct graph *constants = graph_constants(graph);
    if (constants == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory");
    }
    TRY(check_keys(document, keys, error));
    TRY(read_body(constants, document, error));
    return check_constants(constants, error);
}

static shoal_status read_graph(struct graph *graph, const json_t *document,
                               struct shoal_error *error) {
    static const char *const keys[] = {"format",  "version",   "params", "steps",
                                       "outputs", "constants", NULL};
    const char *format = json_string_value(json_object_get(document, "format"));
    const json_t *version = json_object_get(document, "version");
    const json_t *constants = json_object_get(document, "constants");
    if (format == NULL || strcmp(format, "shoal-graph") != 0 || !json_is_integer(version)) {
        return corrupt(error, "not a document of format shoal-graph");
    }
    if (json_integer_value(version) != GRAPH_JSON_VERSION) {
        return error_set(error, SHOAL_VERSION, "version %lld; this is for version %d",
                         (long long)json_integer_value(version), GRAPH_JSON_VERSION);
    }
    TRY(check_keys(document, keys, error));
    if (constants != NULL) {
        const shoal_status status = read_constants(graph, constants, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "\"constants\"");
        }
    }
    return read_body(graph, document, error);
}

shoal_status graph_from_json(const json_t *document, struct graph **out,
                             struct shoal_error *error) {
    struct graph *graph = NULL;
    TRY(graph_create(&graph, error));
    const shoal_status status = read_graph(graph, document, error);
    if (status != SHOAL_OK) {
        graph_destroy(graph);
        return error_wrap(error, status, "graph");
    }
    *out = graph;
    return SHOAL_OK;
}
