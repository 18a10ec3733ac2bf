/* From protobuf-c's messages to the structs of onnx.h: nodes, attributes, values, graphs. */
#include "formats/onnx/onnx_internal.h"

#include <string.h>

static const char *text(const char *value) {
    return value != NULL ? value : "";
}

static const char *domain(const char *value) {
    return value == NULL || strcmp(value, "ai.onnx") == 0 ? "" : value;
}

static shoal_status build_graph(struct onnx_store *store, const Onnx__GraphProto *from,
                                struct onnx_graph *out, struct shoal_error *error);

/* Names: protobuf-c's strings are never NULL in lists. */
static shoal_status build_names(struct onnx_store *store, char **from, size_t count,
                                const char ***out, struct shoal_error *error) {
    TRY(onnx_store_array(store, count, sizeof **out, out, error));
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = from[i];
    }
    return SHOAL_OK;
}

static shoal_status build_opsets(struct onnx_store *store, Onnx__OperatorSetIdProto *const *from,
                                 size_t count, const struct onnx_opset **out,
                                 struct shoal_error *error) {
    struct onnx_opset *opsets = NULL;
    TRY(onnx_store_array(store, count, sizeof *opsets, &opsets, error));
    for (size_t i = 0; i < count; i++) {
        opsets[i] = (struct onnx_opset){domain(from[i]->domain), from[i]->version};
    }
    *out = opsets;
    return SHOAL_OK;
}

/* Values. */

static shoal_status build_dims(const Onnx__TensorShapeProto *from, struct onnx_value *out,
                               struct shoal_error *error) {
    if (from->n_dim > SHAPE_MAX_RANK) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "it has %zu dimensions, at most %d are supported", from->n_dim,
                         SHAPE_MAX_RANK);
    }
    out->has_shape = true;
    out->rank = (int)from->n_dim;
    for (size_t i = 0; i < from->n_dim; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = from->dim[i];
        /* Some exporters write a negative number where they mean "any". */
        out->dims[i] = dim->has_dim_value && dim->dim_value >= 0 ? dim->dim_value : -1;
        out->dim_params[i] = out->dims[i] < 0 ? text(dim->dim_param) : "";
    }
    return SHOAL_OK;
}

/* The container that a type is, and the type inside it; NULL if it is none that is known here. */
static enum onnx_kind unwrap(const Onnx__TypeProto **type) {
    const Onnx__TypeProto *from = *type;
    const Onnx__TypeProto__Nested *nested = NULL;
    enum onnx_kind kind = ONNX_KIND_OTHER;
    if (from == NULL || from->tensor_type != NULL) {
        return from != NULL ? ONNX_KIND_TENSOR : ONNX_KIND_OTHER;
    }
    if (from->sequence_type != NULL || from->optional_type != NULL) {
        kind = from->sequence_type != NULL ? ONNX_KIND_SEQUENCE : ONNX_KIND_OPTIONAL;
        nested = from->sequence_type != NULL ? from->sequence_type : from->optional_type;
    }
    *type = nested != NULL ? nested->elem_type : NULL;
    return kind;
}

static shoal_status build_type(const Onnx__TypeProto *type, struct onnx_value *out,
                               struct shoal_error *error) {
    enum onnx_kind inner = unwrap(&type);
    out->kind = inner;
    out->element = inner;
    if (inner == ONNX_KIND_OPTIONAL) {
        inner = unwrap(&type);
        out->element = inner;
    }
    if (inner == ONNX_KIND_SEQUENCE) {
        inner = unwrap(&type);
    }
    if (inner != ONNX_KIND_TENSOR) {
        out->kind = ONNX_KIND_OTHER;
        out->element = ONNX_KIND_OTHER;
        return SHOAL_OK;
    }
    out->type = type->tensor_type->elem_type;
    return type->tensor_type->shape != NULL ? build_dims(type->tensor_type->shape, out, error)
                                            : SHOAL_OK;
}

static shoal_status build_values(struct onnx_store *store, Onnx__ValueInfoProto *const *from,
                                 size_t count, const struct onnx_value **out,
                                 struct shoal_error *error) {
    struct onnx_value *values = NULL;
    TRY(onnx_store_array(store, count, sizeof *values, &values, error));
    for (size_t i = 0; i < count; i++) {
        values[i].name = text(from[i]->name);
        const shoal_status status = build_type(from[i]->type, &values[i], error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "value \"%.128s\"", values[i].name);
        }
    }
    *out = values;
    return SHOAL_OK;
}

/* Attributes. */

static struct onnx_string string(const ProtobufCBinaryData *from) {
    return (struct onnx_string){from->data != NULL ? (const char *)from->data : "", from->len};
}

/* Zero-terminated copies: protobuf-c's bytes are not. */
static shoal_status build_strings(struct onnx_store *store, const ProtobufCBinaryData *from,
                                  size_t count, const struct onnx_string **out,
                                  struct shoal_error *error) {
    struct onnx_string *strings = NULL;
    TRY(onnx_store_array(store, count, sizeof *strings, &strings, error));
    for (size_t i = 0; i < count; i++) {
        char *copy = NULL;
        const struct onnx_string bytes = string(&from[i]);
        TRY(onnx_store_array(store, bytes.length + 1, 1, &copy, error));
        memcpy(copy, bytes.data, bytes.length);
        strings[i] = (struct onnx_string){copy, bytes.length};
    }
    *out = strings;
    return SHOAL_OK;
}

/* Early exporters leave the type out. */
static int infer_type(const Onnx__AttributeProto *from) {
    return from->has_f       ? ONNX_ATTRIBUTE_FLOAT
           : from->has_i     ? ONNX_ATTRIBUTE_INT
           : from->has_s     ? ONNX_ATTRIBUTE_STRING
           : from->t != NULL ? ONNX_ATTRIBUTE_TENSOR
           : from->g != NULL ? ONNX_ATTRIBUTE_GRAPH
           : from->n_floats  ? ONNX_ATTRIBUTE_FLOATS
           : from->n_ints    ? ONNX_ATTRIBUTE_INTS
           : from->n_strings ? ONNX_ATTRIBUTE_STRINGS
           : from->n_tensors ? ONNX_ATTRIBUTE_TENSORS
           : from->n_graphs  ? ONNX_ATTRIBUTE_GRAPHS
                             : ONNX_ATTRIBUTE_UNDEFINED;
}

static shoal_status build_graphs(struct onnx_store *store, Onnx__GraphProto *const *from,
                                 size_t count, const struct onnx_graph **out,
                                 struct shoal_error *error) {
    struct onnx_graph *graphs = NULL;
    TRY(onnx_store_array(store, count, sizeof *graphs, &graphs, error));
    for (size_t i = 0; i < count; i++) {
        TRY(build_graph(store, from[i], &graphs[i], error));
    }
    *out = graphs;
    return SHOAL_OK;
}

static shoal_status build_value_of(struct onnx_store *store, const Onnx__AttributeProto *from,
                                   struct onnx_attribute *out, struct shoal_error *error) {
    switch (out->type) {
    case ONNX_ATTRIBUTE_FLOAT:
        out->f = from->f;
        return SHOAL_OK;
    case ONNX_ATTRIBUTE_INT:
        out->i = from->i;
        return SHOAL_OK;
    case ONNX_ATTRIBUTE_STRING: {
        const struct onnx_string *copy = NULL;
        TRY(build_strings(store, &from->s, 1, &copy, error));
        out->s = *copy;
        return SHOAL_OK;
    }
    case ONNX_ATTRIBUTE_TENSOR:
        return from->t != NULL ? onnx_tensors_build(store, &from->t, 1, &out->t, error)
                               : error_set(error, SHOAL_CORRUPT, "it has no tensor");
    case ONNX_ATTRIBUTE_GRAPH:
        return from->g != NULL ? build_graphs(store, &from->g, 1, &out->g, error)
                               : error_set(error, SHOAL_CORRUPT, "it has no graph");
    case ONNX_ATTRIBUTE_FLOATS:
        out->count = from->n_floats;
        out->floats = from->floats;
        return SHOAL_OK;
    case ONNX_ATTRIBUTE_INTS:
        out->count = from->n_ints;
        out->ints = from->ints;
        return SHOAL_OK;
    case ONNX_ATTRIBUTE_STRINGS:
        out->count = from->n_strings;
        return build_strings(store, from->strings, from->n_strings, &out->strings, error);
    case ONNX_ATTRIBUTE_TENSORS:
        out->count = from->n_tensors;
        return onnx_tensors_build(store, from->tensors, from->n_tensors, &out->tensors, error);
    case ONNX_ATTRIBUTE_GRAPHS:
        out->count = from->n_graphs;
        return build_graphs(store, from->graphs, from->n_graphs, &out->graphs, error);
    case ONNX_ATTRIBUTE_UNDEFINED:
    case ONNX_ATTRIBUTE_SPARSE_TENSOR:
    case ONNX_ATTRIBUTE_SPARSE_TENSORS:
    case ONNX_ATTRIBUTE_TYPE_PROTO:
    case ONNX_ATTRIBUTE_TYPE_PROTOS:
        break;
    }
    return SHOAL_OK;
}

static shoal_status build_attribute(struct onnx_store *store, const Onnx__AttributeProto *from,
                                    struct onnx_attribute *out, struct shoal_error *error) {
    out->name = text(from->name);
    out->ref_attr_name = text(from->ref_attr_name);
    const int type = from->type != 0 ? from->type : infer_type(from);
    if (type < 0 || type > ONNX_ATTRIBUTE_TYPE_PROTOS) {
        return error_set(error, SHOAL_UNSUPPORTED, "its type %d is unknown", type);
    }
    out->type = (enum onnx_attribute_type)type;
    out->s.data = "";
    return out->ref_attr_name[0] != '\0' ? SHOAL_OK : build_value_of(store, from, out, error);
}

static shoal_status build_attributes(struct onnx_store *store, Onnx__AttributeProto *const *from,
                                     size_t count, const struct onnx_attribute **out,
                                     struct shoal_error *error) {
    struct onnx_attribute *attributes = NULL;
    TRY(onnx_store_array(store, count, sizeof *attributes, &attributes, error));
    for (size_t i = 0; i < count; i++) {
        const shoal_status status = build_attribute(store, from[i], &attributes[i], error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "attribute %.64s", attributes[i].name);
        }
    }
    *out = attributes;
    return SHOAL_OK;
}

/* Nodes and graphs. */

static shoal_status build_node(struct onnx_store *store, const Onnx__NodeProto *from,
                               struct onnx_node *out, struct shoal_error *error) {
    out->name = text(from->name);
    out->op_type = text(from->op_type);
    out->domain = domain(from->domain);
    out->overload = text(from->overload);
    out->input_count = from->n_input;
    out->output_count = from->n_output;
    out->attribute_count = from->n_attribute;
    if (out->op_type[0] == '\0') {
        return error_set(error, SHOAL_CORRUPT, "it has no op_type");
    }
    TRY(build_names(store, from->input, from->n_input, &out->inputs, error));
    TRY(build_names(store, from->output, from->n_output, &out->outputs, error));
    return build_attributes(store, from->attribute, from->n_attribute, &out->attributes, error);
}

static shoal_status build_nodes(struct onnx_store *store, Onnx__NodeProto *const *from,
                                size_t count, const struct onnx_node **out,
                                struct shoal_error *error) {
    struct onnx_node *nodes = NULL;
    TRY(onnx_store_array(store, count, sizeof *nodes, &nodes, error));
    for (size_t i = 0; i < count; i++) {
        const shoal_status status = build_node(store, from[i], &nodes[i], error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "node %zu (%.40s \"%.64s\")", i, nodes[i].op_type,
                              nodes[i].name);
        }
    }
    *out = nodes;
    return SHOAL_OK;
}

static shoal_status build_graph(struct onnx_store *store, const Onnx__GraphProto *from,
                                struct onnx_graph *out, struct shoal_error *error) {
    if (from->n_sparse_initializer > 0) {
        const Onnx__TensorProto *values = from->sparse_initializer[0]->values;
        return error_set(error, SHOAL_UNSUPPORTED,
                         "initialiser \"%.128s\" is a sparse tensor; store it as a dense one",
                         values != NULL ? text(values->name) : "");
    }
    out->name = text(from->name);
    out->node_count = from->n_node;
    out->initialiser_count = from->n_initializer;
    out->input_count = from->n_input;
    out->output_count = from->n_output;
    out->value_info_count = from->n_value_info;
    TRY(onnx_tensors_build(store, from->initializer, from->n_initializer, &out->initialisers,
                           error));
    TRY(build_values(store, from->input, from->n_input, &out->inputs, error));
    TRY(build_values(store, from->output, from->n_output, &out->outputs, error));
    TRY(build_values(store, from->value_info, from->n_value_info, &out->value_infos, error));
    return build_nodes(store, from->node, from->n_node, &out->nodes, error);
}

static shoal_status build_function(struct onnx_store *store, const Onnx__FunctionProto *from,
                                   struct onnx_function *out, struct shoal_error *error) {
    out->domain = domain(from->domain);
    out->name = text(from->name);
    out->overload = text(from->overload);
    out->input_count = from->n_input;
    out->output_count = from->n_output;
    out->attribute_name_count = from->n_attribute;
    out->default_count = from->n_attribute_proto;
    out->node_count = from->n_node;
    out->opset_count = from->n_opset_import;
    out->value_info_count = from->n_value_info;
    TRY(build_names(store, from->input, from->n_input, &out->inputs, error));
    TRY(build_names(store, from->output, from->n_output, &out->outputs, error));
    TRY(build_names(store, from->attribute, from->n_attribute, &out->attribute_names, error));
    TRY(build_attributes(store, from->attribute_proto, from->n_attribute_proto, &out->defaults,
                         error));
    TRY(build_opsets(store, from->opset_import, from->n_opset_import, &out->opsets, error));
    TRY(build_values(store, from->value_info, from->n_value_info, &out->value_infos, error));
    return build_nodes(store, from->node, from->n_node, &out->nodes, error);
}

shoal_status onnx_model_build(struct onnx_store *store, const Onnx__ModelProto *from,
                              struct onnx_model *out, struct shoal_error *error) {
    struct onnx_function *functions = NULL;
    out->ir_version = from->ir_version;
    out->producer_name = text(from->producer_name);
    out->producer_version = text(from->producer_version);
    out->opset_count = from->n_opset_import;
    out->function_count = from->n_functions;
    TRY(build_opsets(store, from->opset_import, from->n_opset_import, &out->opsets, error));
    TRY(onnx_store_array(store, from->n_functions, sizeof *functions, &functions, error));
    out->functions = functions;
    TRY(build_graph(store, from->graph, &out->graph, error));
    for (size_t i = 0; i < from->n_functions; i++) {
        const shoal_status status = build_function(store, from->functions[i], &functions[i], error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "function %.64s", functions[i].name);
        }
    }
    return SHOAL_OK;
}
