/* A model's stored tensors as a weight source. */
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"

#include <stdlib.h>
#include <string.h>

struct onnx_source {
    struct weight_source base;
    const struct onnx_model *model;
    struct onnx_stored *stored; /* sorted by name */
    size_t count;
};

static void source_destroy(struct weight_source *base) {
    struct onnx_source *source = (struct onnx_source *)base;
    if (source != NULL) {
        mem_free(source->stored);
        mem_free(source);
    }
}

static int compare_key(const void *key, const void *element) {
    const struct onnx_stored *stored = element;
    return strcmp(key, stored->name);
}

static int compare_names(const void *a, const void *b) {
    const struct onnx_stored *left = a, *right = b;
    return strcmp(left->name, right->name);
}

const struct onnx_stored *onnx_source_find(const struct weight_source *base, const char *name) {
    const struct onnx_source *source = (const struct onnx_source *)base;
    return bsearch(name, source->stored, source->count, sizeof *source->stored, compare_key);
}

const struct onnx_stored *onnx_source_list(const struct weight_source *base, size_t *count) {
    const struct onnx_source *source = (const struct onnx_source *)base;
    *count = source->count;
    return source->stored;
}

static shoal_status source_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    (void)shape; /* the executor compares and lists all that differ */
    (void)fill;
    const struct onnx_source *source = (const struct onnx_source *)base;
    const struct onnx_stored *stored = onnx_source_find(base, name);
    if (stored == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "%s: no tensor named %s",
                         source->model->files[0]->path, name);
    }
    if (stored->file == ONNX_NO_FILE) {
        return onnx_tensor_read(stored->tensor, out, error);
    }
    *out = (struct tensor){.dtype = stored->dtype,
                           .shape = stored->shape,
                           .data = (void *)(uintptr_t)stored->tensor->bytes};
    return SHOAL_OK;
}

static void source_release(struct weight_source *base, const struct tensor *tensor) {
    const struct onnx_source *source = (const struct onnx_source *)base;
    const uintptr_t address = (uintptr_t)tensor->data;
    for (size_t i = 0; i < source->model->file_count; i++) {
        const struct onnx_file *file = source->model->files[i];
        const uintptr_t start = (uintptr_t)file->map.data;
        if (address >= start && address - start < file->map.size) {
            if (file->mapped) {
                file_map_release(&file->map, address - start, tensor_bytes(tensor));
            }
            return;
        }
    }
    mem_free(tensor->data); /* decoded */
}

static const struct weight_source_ops source_ops = {
    .borrow = source_borrow,
    .release = source_release,
    .destroy = source_destroy,
};

static const struct onnx_tensor *constant_of(const struct onnx_node *node) {
    if (strcmp(node->op_type, "Constant") != 0 || node->domain[0] != '\0' ||
        node->output_count != 1) {
        return NULL;
    }
    const struct onnx_attribute *value = onnx_node_attribute(node, "value");
    return value != NULL && value->type == ONNX_ATTRIBUTE_TENSOR ? value->t : NULL;
}

static void add(struct onnx_source *source, const char *name, const struct onnx_tensor *tensor) {
    struct onnx_stored stored = {
        .name = name, .shape = tensor->shape, .tensor = tensor, .file = ONNX_NO_FILE};
    if (!onnx_dtype(tensor->type, &stored.dtype) ||
        !shape_bytes(&stored.shape, stored.dtype, &stored.bytes)) {
        return;
    }
    /* As they are in memory: not packed, and booleans may be any byte in a file. */
    if (tensor->bytes != NULL && stored.bytes == tensor->byte_count &&
        onnx_dtype_bits(tensor->type) >= 8 && stored.dtype != DTYPE_BOOL) {
        stored.file = tensor->file->index;
        stored.offset = tensor->offset;
    }
    source->stored[source->count++] = stored;
}

static shoal_status fill(struct onnx_source *source, struct shoal_error *error) {
    const struct onnx_graph *graph = &source->model->graph;
    const char *path = source->model->files[0]->path;
    source->stored =
        mem_calloc(graph->initialiser_count + graph->node_count + 1, sizeof *source->stored);
    if (source->stored == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory for its tensors", path);
    }
    for (size_t i = 0; i < graph->initialiser_count; i++) {
        add(source, graph->initialisers[i].name, &graph->initialisers[i]);
    }
    for (size_t i = 0; i < graph->node_count; i++) {
        const struct onnx_tensor *tensor = constant_of(&graph->nodes[i]);
        if (tensor != NULL) {
            add(source, graph->nodes[i].outputs[0], tensor);
        }
    }
    qsort(source->stored, source->count, sizeof *source->stored, compare_names);
    for (size_t i = 1; i < source->count; i++) {
        if (strcmp(source->stored[i - 1].name, source->stored[i].name) == 0) {
            return error_set(error, SHOAL_CORRUPT, "%s: there are two tensors \"%.128s\"", path,
                             source->stored[i].name);
        }
    }
    return SHOAL_OK;
}

shoal_status onnx_source_create(const struct onnx_model *model, struct weight_source **out,
                                struct shoal_error *error) {
    struct onnx_source *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", model->files[0]->path);
    }
    source->base.ops = &source_ops;
    source->model = model;
    const shoal_status status = fill(source, error);
    if (status != SHOAL_OK) {
        source_destroy(&source->base);
        return status;
    }
    *out = &source->base;
    return SHOAL_OK;
}
