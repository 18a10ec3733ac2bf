#include "models/graph_json.h"

#include "base/base64.h"
#include "base/memory.h"
#include "models/graph_json_parts.h"

#include <string.h>

bool graph_json_fits(const struct tensor_type *type, bool batch) {
    size_t bytes = 0;
    struct tensor_type most = *type;
    for (int i = 0; i < type->shape.rank; i++) {
        if (batch && type->shape.dims[i] == GRAPH_BATCH) {
            most.shape.dims[i] = 1;
        } else if (type->shape.dims[i] < 0 || type->shape.dims[i] > GRAPH_JSON_MAX_DIM) {
            return false;
        }
    }
    return shape_bytes(&most.shape, most.dtype, &bytes) && bytes <= GRAPH_JSON_MAX_BYTES;
}

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for its JSON");
}

/* A name that can be read again. */
static shoal_status check_name(const char *name, struct shoal_error *error) {
    json_t *text = json_string(name);
    const bool ok = text != NULL && strlen(name) <= GRAPH_JSON_MAX_NAME;
    json_decref(text);
    return ok ? SHOAL_OK
              : error_set(error, SHOAL_UNSUPPORTED,
                          "graph: the name '%.64s' is not UTF-8 of at most %d bytes", name,
                          GRAPH_JSON_MAX_NAME);
}

static shoal_status check_type(const char *name, const struct tensor_type *type,
                               struct shoal_error *error) {
    char text[SHAPE_TEXT];
    return graph_json_fits(type, true)
               ? SHOAL_OK
               : error_set(error, SHOAL_UNSUPPORTED, "graph: %s is too large to travel: %s", name,
                           shape_format(&type->shape, text));
}

static json_t *shape_json(const struct shape *shape) {
    json_t *list = json_array();
    for (int i = 0; i < shape->rank && list != NULL; i++) {
        if (json_array_append_new(list, json_integer(shape->dims[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *ids_json(const uint32_t *ids, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count && list != NULL; i++) {
        if (json_array_append_new(list, json_integer(ids[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* Takes the reference of item. */
static shoal_status append(json_t *list, json_t *item, struct shoal_error *error) {
    return json_array_append_new(list, item) == 0 ? SHOAL_OK : no_memory(error);
}

/* ---- params ---- */

static const char *const fills[] = {
    [GRAPH_FILL_NORMAL] = "normal", [GRAPH_FILL_ZEROS] = "zeros", [GRAPH_FILL_ONES] = "ones"};

static json_t *data_json(const struct graph_param *param) {
    size_t bytes = 0;
    (void)shape_bytes(&param->type.shape, param->type.dtype, &bytes); /* sound: it is a param */
    char *text = mem_alloc(base64_length(bytes) + 1);
    if (text == NULL) {
        return NULL;
    }
    base64_encode(param->data, bytes, text);
    json_t *value = json_string(text);
    mem_free(text);
    return value;
}

static shoal_status parts_json(const struct graph_param *param, json_t **out,
                               struct shoal_error *error) {
    if (param->part_count > GRAPH_JSON_MAX_PARTS) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "graph: param %s has %u parts; at most %d travel", param->name,
                         param->part_count, GRAPH_JSON_MAX_PARTS);
    }
    json_t *list = json_array();
    shoal_status status = list != NULL ? SHOAL_OK : no_memory(error);
    for (uint32_t i = 0; i < param->part_count && status == SHOAL_OK; i++) {
        status = check_name(param->parts[i].name, error);
        if (status == SHOAL_OK) {
            status = append(
                list, json_pack("[s,o]", param->parts[i].name, shape_json(&param->parts[i].shape)),
                error);
        }
    }
    if (status != SHOAL_OK) {
        json_decref(list);
        return status;
    }
    *out = list;
    return SHOAL_OK;
}

static shoal_status put_param(json_t *list, const struct graph_param *param,
                              struct shoal_error *error) {
    TRY(check_name(param->name, error));
    TRY(check_type(param->name, &param->type, error));
    json_t *parts = NULL;
    if (param->data == NULL) {
        TRY(parts_json(param, &parts, error));
    }
    json_t *head =
        json_pack("{s:s, s:s, s:o}", "name", param->name, "type", dtype_name(param->type.dtype),
                  "shape", shape_json(&param->type.shape));
    const bool ok =
        head != NULL &&
        (param->data != NULL
             ? json_object_set_new(head, "data", data_json(param)) == 0
             : json_object_set_new(head, "fill", json_string(fills[param->fill])) == 0 &&
                   json_object_set(head, "parts", parts) == 0);
    json_decref(parts);
    if (!ok) {
        json_decref(head);
        return no_memory(error);
    }
    return append(list, head, error);
}

/* ---- steps: what made the values, in order ---- */

static shoal_status put_input(json_t *list, const struct graph_value *value,
                              struct shoal_error *error) {
    TRY(check_name(value->name, error));
    TRY(check_type(value->name, &value->type, error));
    return append(list,
                  json_pack("{s:s, s:s, s:o}", "input", value->name, "type",
                            dtype_name(value->type.dtype), "shape", shape_json(&value->type.shape)),
                  error);
}

static shoal_status put_node(json_t *list, const struct graph *graph, const struct graph_node *node,
                             struct shoal_error *error) {
    if (node->phase != GRAPH_F) {
        return error_set(error, SHOAL_UNSUPPORTED, "graph: %s is a gradient; those do not travel",
                         node->name);
    }
    TRY(check_name(node->name, error));
    for (int i = 0; i < node->output_count; i++) {
        TRY(check_type(node->name, &graph_value_get(graph, node->outputs[i])->type, error));
    }
    json_t *attrs = graph_json_attrs(&node->attrs);
    json_t *item =
        json_pack("{s:s, s:s, s:o}", "node", node->name, "op", op_describe(node->op)->name,
                  "inputs", ids_json(node->inputs, (uint32_t)node->input_count));
    bool ok = item != NULL && attrs != NULL;
    if (ok && json_object_size(attrs) > 0) {
        ok = json_object_set(item, "attrs", attrs) == 0;
    }
    json_decref(attrs);
    if (ok && node->param_count > 0) {
        ok = json_object_set_new(item, "params",
                                 ids_json(node->params, (uint32_t)node->param_count)) == 0;
    }
    if (!ok) {
        json_decref(item);
        return no_memory(error);
    }
    return append(list, item, error);
}

static shoal_status put_steps(json_t *list, const struct graph *graph, struct shoal_error *error) {
    uint32_t segment = 1;
    for (graph_value_id id = 0; id < graph_value_count(graph); id++) {
        const struct graph_value *value = graph_value_get(graph, id);
        if (value->param != GRAPH_NONE) {
            TRY(append(list, json_pack("{s:I}", "param", (json_int_t)value->param), error));
            continue;
        }
        if (value->producer == GRAPH_NONE) {
            TRY(put_input(list, value, error));
            continue;
        }
        const struct graph_node *node = graph_node_get(graph, value->producer);
        if (node->outputs[0] != id) {
            continue; /* another output of the node before */
        }
        for (; segment < node->segment; segment++) {
            TRY(append(list, json_pack("{s:b}", "cut", 1), error));
        }
        TRY(put_node(list, graph, node, error));
    }
    return SHOAL_OK;
}

static shoal_status put_graph(json_t *document, const struct graph *graph,
                              struct shoal_error *error) {
    json_t *params = json_object_get(document, "params");
    const graph_value_id *outputs;
    const uint32_t output_count = graph_outputs(graph, &outputs);
    for (graph_param_id id = 0; id < graph_param_count(graph); id++) {
        TRY(put_param(params, graph_param_get(graph, id), error));
    }
    TRY(put_steps(json_object_get(document, "steps"), graph, error));
    if (json_object_set_new(document, "outputs", ids_json(outputs, output_count)) != 0) {
        return no_memory(error);
    }
    return json_array_size(params) <= GRAPH_JSON_MAX_PARAMS &&
                   json_array_size(json_object_get(document, "steps")) <= GRAPH_JSON_MAX_STEPS
               ? SHOAL_OK
               : error_set(error, SHOAL_UNSUPPORTED,
                           "graph: %u nodes and %u params are more than can travel",
                           graph_node_count(graph), graph_param_count(graph));
}

static shoal_status put_constants(json_t *document, const struct graph *constants,
                                  struct shoal_error *error) {
    json_t *inner = json_pack("{s:[], s:[]}", "params", "steps");
    if (inner == NULL) {
        return no_memory(error);
    }
    shoal_status status = put_graph(inner, constants, error);
    if (status == SHOAL_OK && json_object_set(document, "constants", inner) != 0) {
        status = no_memory(error);
    }
    json_decref(inner);
    return status;
}

shoal_status graph_to_json(const struct graph *graph, json_t **out, struct shoal_error *error) {
    json_t *document = json_pack("{s:s, s:i, s:[], s:[]}", "format", "shoal-graph", "version",
                                 GRAPH_JSON_VERSION, "params", "steps");
    if (document == NULL) {
        return no_memory(error);
    }
    shoal_status status = put_graph(document, graph, error);
    if (status == SHOAL_OK && graph_constants_get(graph) != NULL) {
        status = put_constants(document, graph_constants_get(graph), error);
    }
    if (status != SHOAL_OK) {
        json_decref(document);
        return status;
    }
    *out = document;
    return SHOAL_OK;
}
