/* ONNX models: whatever is accepted lies inside the file, and every tensor in it reads or says why
 * not. */
#include "formats/onnx/onnx.h"

#include "base/assert.h"
#include "base/memory.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t seen; /* so that what is read is used */

static void use_text(const char *text) {
    seen += strlen(text);
}

static void use_tensor(const struct onnx_tensor *tensor) {
    struct tensor read;
    struct shoal_error error = {.text = ""};
    use_text(tensor->name);
    ASSERT(!tensor->external);
    if (tensor->bytes != NULL) {
        const struct file_map *map = &tensor->file->map;
        ASSERT(tensor->offset <= map->size && tensor->byte_count <= map->size - tensor->offset);
        ASSERT(tensor->bytes == (const unsigned char *)map->data + tensor->offset);
    }
    if (onnx_tensor_read(tensor, &read, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    const unsigned char *bytes = read.data;
    for (size_t i = 0; i < tensor_bytes(&read); i++) {
        seen += bytes[i];
    }
    mem_free(read.data);
}

static void use_graph(const struct onnx_graph *graph);

static void use_attribute(const struct onnx_attribute *attribute) {
    use_text(attribute->name);
    use_text(attribute->ref_attr_name);
    use_text(onnx_attribute_type_name(attribute->type));
    ASSERT(attribute->s.data[attribute->s.length] == '\0' || attribute->s.length == 0);
    if (attribute->t != NULL) {
        use_tensor(attribute->t);
    }
    if (attribute->g != NULL) {
        use_graph(attribute->g);
    }
    for (size_t i = 0; i < attribute->count; i++) {
        switch ((int)attribute->type) {
        case ONNX_ATTRIBUTE_FLOATS:
            seen += attribute->floats[i] > 0;
            break;
        case ONNX_ATTRIBUTE_INTS:
            seen += attribute->ints[i] > 0;
            break;
        case ONNX_ATTRIBUTE_STRINGS:
            ASSERT(attribute->strings[i].data[attribute->strings[i].length] == '\0');
            break;
        case ONNX_ATTRIBUTE_TENSORS:
            use_tensor(&attribute->tensors[i]);
            break;
        case ONNX_ATTRIBUTE_GRAPHS:
            use_graph(&attribute->graphs[i]);
            break;
        default:
            ASSERT(false); /* no other type has a count */
        }
    }
}

static void use_nodes(const struct onnx_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        use_text(nodes[i].name);
        use_text(nodes[i].domain);
        use_text(nodes[i].overload);
        ASSERT(nodes[i].op_type[0] != '\0');
        for (size_t j = 0; j < nodes[i].input_count; j++) {
            use_text(nodes[i].inputs[j]);
        }
        for (size_t j = 0; j < nodes[i].output_count; j++) {
            use_text(nodes[i].outputs[j]);
        }
        for (size_t j = 0; j < nodes[i].attribute_count; j++) {
            use_attribute(&nodes[i].attributes[j]);
        }
    }
}

static void use_values(const struct onnx_value *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        use_text(values[i].name);
        ASSERT(values[i].rank >= 0 && values[i].rank <= SHAPE_MAX_RANK);
        for (int j = 0; j < values[i].rank; j++) {
            ASSERT(values[i].dims[j] >= -1);
            use_text(values[i].dim_params[j]);
        }
    }
}

static void use_graph(const struct onnx_graph *graph) {
    use_text(graph->name);
    for (size_t i = 0; i < graph->initialiser_count; i++) {
        use_tensor(&graph->initialisers[i]);
    }
    use_values(graph->inputs, graph->input_count);
    use_values(graph->outputs, graph->output_count);
    use_values(graph->value_infos, graph->value_info_count);
    use_nodes(graph->nodes, graph->node_count);
}

static void use_source(const struct onnx_model *model) {
    struct weight_source *source = NULL;
    struct shoal_error error = {.text = ""};
    size_t count = 0;
    if (onnx_source_create(model, &source, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    const struct onnx_stored *stored = onnx_source_list(source, &count);
    for (size_t i = 0; i < count; i++) {
        struct tensor lent;
        ASSERT(onnx_source_find(source, stored[i].name) == &stored[i]);
        if (source->ops->borrow(source, stored[i].name, &stored[i].shape, GRAPH_FILL_ZEROS, &lent,
                                &error) == SHOAL_OK) {
            ASSERT(tensor_bytes(&lent) == stored[i].bytes);
            source->ops->release(source, &lent);
        }
    }
    source->ops->destroy(source);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct onnx_model *model = NULL;
    struct shoal_error error = {.text = ""};
    if (onnx_parse("fuzz", data, size, &model, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return 0;
    }
    use_graph(&model->graph);
    for (size_t i = 0; i < model->function_count; i++) {
        use_text(model->functions[i].name);
        use_nodes(model->functions[i].nodes, model->functions[i].node_count);
        use_values(model->functions[i].value_infos, model->functions[i].value_info_count);
        for (size_t j = 0; j < model->functions[i].default_count; j++) {
            use_attribute(&model->functions[i].defaults[j]);
        }
    }
    use_source(model);
    onnx_close(model);
    return 0;
}
