/* Nodes in their order: what each reads, its converter, what it makes; refusals. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct import_converter *const tables[] = {
    import_control_converters,   import_loop_converters,      import_structure_converters,
    import_sequence_converters,  import_data_converters,      import_elementwise_converters,
    import_layout_converters,    import_network_converters,   import_quant_converters,
    import_window_converters,    import_recurrent_converters, import_einsum_converters,
    import_sample_converters,    import_signal_converters,    import_boxes_converters,
    import_attention_converters,
};

static const struct import_converter *find_converter(const char *domain, const char *op_type) {
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (const struct import_converter *c = tables[t]; c->op_type != NULL; c++) {
            if (strcmp(c->op_type, op_type) == 0 && strcmp(c->domain, domain) == 0) {
                return c;
            }
        }
    }
    return NULL;
}

bool import_knows(const char *domain, const char *op_type) {
    return find_converter(domain, op_type) != NULL;
}

static const struct onnx_function *find_function(const struct onnx_model *model,
                                                 const struct onnx_node *node) {
    for (size_t i = 0; i < model->function_count; i++) {
        const struct onnx_function *f = &model->functions[i];
        if (strcmp(f->name, node->op_type) == 0 && strcmp(f->domain, node->domain) == 0 &&
            strcmp(f->overload, node->overload) == 0) {
            return f;
        }
    }
    return NULL;
}

static int64_t opset_of(const struct import_frame *frame, const char *domain) {
    for (size_t i = 0; i < frame->opset_count; i++) {
        if (strcmp(frame->opsets[i].domain, domain) == 0) {
            return frame->opsets[i].version;
        }
    }
    return 0;
}

shoal_status import_issue(struct importer *im, const char *text) {
    for (uint32_t i = 0; i < im->issue_count; i++) {
        if (strcmp(im->issues[i], text) == 0) {
            return SHOAL_OK;
        }
    }
    if (im->issue_count == IMPORT_MOST_ISSUES) {
        return SHOAL_OK; /* there are enough */
    }
    const char *copy = arena_strdup(&im->arena, text);
    if (copy == NULL) {
        return error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for refusals");
    }
    im->issues[im->issue_count++] = copy;
    return SHOAL_OK;
}

shoal_status frame_find(struct importer *im, const struct import_frame *frame, const char *name,
                        const char *reader, struct import_value **out) {
    *out = NULL;
    if (name[0] == '\0') {
        return SHOAL_OK;
    }
    *out = scope_find(frame->scope, name);
    return *out != NULL
               ? SHOAL_OK
               : error_set(im->error, SHOAL_CORRUPT,
                           "node %.120s reads %.120s, which nothing before it makes", reader, name);
}

/* ---- what a converter leaves ---- */

shoal_status import_set_as(struct import_node *n, uint32_t index, struct import_value *value,
                           int element) {
    if (index >= n->output_count) {
        return SHOAL_OK; /* nobody asked for it */
    }
    struct import_value *named = value;
    if (value->element != element) { /* the same value under another type's name */
        named = value_new(n->importer, value->kind, element, value->type);
        if (named == NULL) {
            return import_no_memory(n);
        }
        *named = *value;
        named->element = element;
    }
    n->outputs[index] = named;
    return SHOAL_OK;
}

shoal_status import_set(struct import_node *n, uint32_t index, struct import_value *value) {
    int element = value->element;
    const bool tensor = value->kind == IMPORT_RUNTIME || value->kind == IMPORT_CONSTANT;
    for (uint32_t i = 0; tensor && i < n->input_count; i++) {
        const struct import_value *input = n->inputs[i];
        if (input != NULL && (input->kind == IMPORT_RUNTIME || input->kind == IMPORT_CONSTANT) &&
            input->type.dtype == value->type.dtype) {
            element = input->element;
            break;
        }
    }
    return import_set_as(n, index, value, element);
}

bool import_wants(const struct import_node *n, uint32_t index) {
    return index < n->output_count && n->onnx->outputs[index][0] != '\0';
}

static shoal_status check_attributes(struct import_node *n) {
    for (size_t i = 0; i < n->onnx->attribute_count && i < 64; i++) {
        const struct onnx_attribute *attribute = &n->onnx->attributes[i];
        if ((n->used_attributes >> i & 1U) == 0) {
            return import_refuse(n, "attribute %.60s", attribute->name);
        }
    }
    return n->onnx->attribute_count > 64 ? import_refuse(n, "more than 64 attributes") : SHOAL_OK;
}

/* A stand-in for what a refused node would have made, of the shape that the model tells. */
static struct import_value *stand_in(struct importer *im, const struct import_frame *frame,
                                     const char *name) {
    struct tensor_type type = {DTYPE_F32, {0}};
    const struct onnx_value *info = NULL;
    for (size_t i = 0; i < frame->value_info_count; i++) {
        if (strcmp(frame->value_infos[i].name, name) == 0) {
            info = &frame->value_infos[i];
        }
    }
    if (info == NULL || info->kind != ONNX_KIND_TENSOR || !info->has_shape ||
        !import_element_dtype(info->type, &type.dtype)) {
        return value_new(im, IMPORT_UNKNOWN, ONNX_UNDEFINED, type);
    }
    type.shape.rank = info->rank;
    for (int i = 0; i < info->rank; i++) {
        type.shape.dims[i] = import_dim_known(im, info, i);
        if (type.shape.dims[i] < 0) {
            return value_new(im, IMPORT_UNKNOWN, ONNX_UNDEFINED, type);
        }
    }
    struct import_value *value = value_new(im, IMPORT_RUNTIME, info->type, type);
    struct shoal_error ignored;
    if (value == NULL || graph_add_input(im->graph, name, type, &value->id, &ignored) != SHOAL_OK) {
        return value_new(im, IMPORT_UNKNOWN, ONNX_UNDEFINED, type);
    }
    return value;
}

/* ---- one node ---- */

static shoal_status convert(struct import_node *n) {
    const struct onnx_function *function = find_function(n->importer->model, n->onnx);
    if (function != NULL) {
        return import_function(n, function);
    }
    const struct import_converter *converter = find_converter(n->onnx->domain, n->op_type);
    if (converter == NULL) {
        return import_refuse(n, "the op %s%s%s is not supported", n->onnx->domain,
                             n->onnx->domain[0] != '\0' ? "." : "", n->op_type);
    }
    if (n->version == 0) {
        return import_corrupt(n, "the model does not import its domain");
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] != NULL && n->inputs[i]->kind == IMPORT_UNKNOWN) {
            return SHOAL_OK; /* its outputs are unknown, too; the cause is listed already */
        }
    }
    n->mode = converter->mode;
    TRY(converter->convert(n));
    return check_attributes(n);
}

/* Refused, but the import goes on to find what else is. */
static bool goes_on(const struct importer *im, shoal_status status) {
    return im->options->collect && (status == SHOAL_UNSUPPORTED || status == SHOAL_MISMATCH ||
                                    status == SHOAL_CORRUPT || status == SHOAL_INVALID);
}

static shoal_status publish(struct import_node *n, const struct import_frame *frame) {
    for (uint32_t i = 0; i < n->output_count; i++) {
        const char *name = n->onnx->outputs[i];
        if (name[0] == '\0') {
            continue;
        }
        if (n->outputs[i] == NULL) {
            if (!n->importer->options->collect) {
                return import_refuse(n, "its output %" PRIu32 " (%.80s)", i, name);
            }
            n->outputs[i] = stand_in(n->importer, frame, name);
            if (n->outputs[i] == NULL) {
                return import_no_memory(n);
            }
        }
        TRY(scope_put(n->importer, frame->scope, name, n->outputs[i]));
    }
    return SHOAL_OK;
}

static const char *node_name(struct importer *im, const struct import_frame *frame,
                             const struct onnx_node *node) {
    const char *name = node->name;
    for (size_t i = 0; name[0] == '\0' && i < node->output_count; i++) {
        name = node->outputs[i];
    }
    name = name[0] == '\0' ? node->op_type : name;
    return frame->prefix[0] == '\0' ? name : arena_format(&im->arena, "%s%s", frame->prefix, name);
}

shoal_status import_count_node(struct importer *im) {
    return im->node_count++ < im->most_nodes
               ? SHOAL_OK
               : error_set(im->error, SHOAL_UNSUPPORTED,
                           "onnx: more than %" PRIu32
                           " nodes, loops unrolled and functions inlined",
                           im->most_nodes);
}

static shoal_status import_one(struct importer *im, const struct import_frame *frame,
                               const struct onnx_node *node) {
    struct import_node n = {.importer = im,
                            .frame = frame,
                            .onnx = node,
                            .op_type = node->op_type,
                            .version = opset_of(frame, node->domain),
                            .input_count = (uint32_t)node->input_count,
                            .output_count = (uint32_t)node->output_count,
                            .error = im->error};
    n.name = node_name(im, frame, node);
    n.inputs = arena_alloc(&im->arena, (node->input_count + 1) * sizeof(void *));
    n.outputs = arena_alloc(&im->arena, (node->output_count + 1) * sizeof(void *));
    if (n.name == NULL || n.inputs == NULL || n.outputs == NULL) {
        return error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for a node");
    }
    TRY(import_count_node(im));
    for (uint32_t i = 0; i < n.input_count; i++) {
        TRY(frame_find(im, frame, node->inputs[i], n.name, &n.inputs[i]));
        if (n.inputs[i] != NULL && n.inputs[i]->kind == IMPORT_NOTHING && !n.inputs[i]->optional) {
            n.inputs[i] = NULL; /* left out where the function was called */
        }
    }
    const shoal_status status = convert(&n);
    if (status != SHOAL_OK) {
        if (!goes_on(im, status)) {
            return status;
        }
        TRY(import_issue(im, im->error->text));
        memset(n.outputs, 0, n.output_count * sizeof(void *));
    }
    return publish(&n, frame);
}

shoal_status import_nodes(struct importer *im, const struct import_frame *frame,
                          const struct onnx_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        TRY(import_one(im, frame, &nodes[i]));
    }
    return SHOAL_OK;
}

shoal_status import_initialisers(struct importer *im, const struct import_frame *frame,
                                 const struct onnx_graph *graph) {
    for (size_t i = 0; i < graph->initialiser_count; i++) {
        const struct onnx_tensor *tensor = &graph->initialisers[i];
        struct import_value *value = NULL;
        if (frame->main && scope_find(frame->scope, tensor->name) != NULL) {
            continue; /* fed instead */
        }
        const shoal_status status =
            value_of_tensor(im, tensor, frame->main ? tensor->name : NULL, &value);
        if (goes_on(im, status)) {
            TRY(import_issue(im, im->error->text));
            value = value_new(im, IMPORT_UNKNOWN, ONNX_UNDEFINED, (struct tensor_type){0});
            if (value == NULL) {
                return error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for a value");
            }
        } else {
            TRY(status);
        }
        TRY(scope_put(im, frame->scope, tensor->name, value));
    }
    return SHOAL_OK;
}
