/* Values of the importer: constants where they lie, as params, as bytes; nodes of the IR. */
#include "formats/onnx/import_internal.h"

#include "base/checked.h"
#include "base/memory.h"
#include "graph/derived.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static shoal_status no_memory(struct importer *im) {
    return error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for a value");
}

struct import_value *value_new(struct importer *im, enum import_kind kind, int element,
                               struct tensor_type type) {
    struct import_value *value = arena_alloc(&im->arena, sizeof *value);
    if (value != NULL) {
        *value = (struct import_value){.kind = kind,
                                       .element = element,
                                       .type = type,
                                       .id = GRAPH_NONE,
                                       .param = GRAPH_NONE,
                                       .derived = GRAPH_NONE};
    }
    return value;
}

shoal_status value_count_bytes(struct importer *im, size_t bytes) {
    if (bytes > im->most_bytes || im->bytes > im->most_bytes - bytes) {
        im->beyond = true;
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "onnx: the model's constants would take more than %zu bytes at import",
                         im->most_bytes);
    }
    im->bytes += bytes;
    return SHOAL_OK;
}

static shoal_status keep(struct importer *im, void *memory) {
    struct import_block *block = arena_alloc(&im->arena, sizeof *block);
    if (block == NULL) {
        mem_free(memory);
        return no_memory(im);
    }
    *block = (struct import_block){im->blocks, memory};
    im->blocks = block;
    return SHOAL_OK;
}

shoal_status value_memory(struct importer *im, size_t bytes, void **out) {
    TRY(value_count_bytes(im, bytes));
    void *memory = mem_alloc_aligned(bytes == 0 ? 1 : bytes);
    if (memory == NULL) {
        return no_memory(im);
    }
    TRY(keep(im, memory));
    memset(memory, 0, bytes);
    *out = memory;
    return SHOAL_OK;
}

static shoal_status type_bytes(struct importer *im, const struct tensor_type *type, size_t *out) {
    char text[SHAPE_TEXT];
    return shape_bytes(&type->shape, type->dtype, out)
               ? SHOAL_OK
               : error_set(im->error, SHOAL_UNSUPPORTED, "onnx: a tensor %s is too large",
                           shape_format(&type->shape, text));
}

shoal_status value_of_tensor(struct importer *im, const struct onnx_tensor *tensor,
                             const char *stored, struct import_value **out) {
    struct tensor_type type = {DTYPE_F32, tensor->shape};
    size_t bytes = 0;
    if (!import_element_dtype(tensor->type, &type.dtype)) {
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "onnx: tensor %.80s has elements of type %s, which is not supported",
                         tensor->name, onnx_dtype_name(tensor->type));
    }
    TRY(type_bytes(im, &type, &bytes));
    struct import_value *value = value_new(im, IMPORT_CONSTANT, tensor->type, type);
    if (value == NULL) {
        return no_memory(im);
    }
    value->tensor = tensor;
    enum dtype file = DTYPE_F32; /* what a weight source lends: converted to f32, or as it is */
    const bool lent = import_element_stored(tensor->type, &file) &&
                      (file == type.dtype || file == DTYPE_F16 || file == DTYPE_BF16);
    value->stored = lent && bytes > 0 ? stored : NULL;
    *out = value;
    return SHOAL_OK;
}

static shoal_status compute_derived(struct importer *im, struct import_value *value) {
    struct tensor tensor;
    size_t bytes = 0;
    TRY(type_bytes(im, &value->type, &bytes));
    TRY(value_count_bytes(im, bytes));
    TRY(derived_compute(graph_constants(im->graph), value->derived, im->source, &tensor,
                        im->error));
    TRY(keep(im, tensor.data));
    value->data = tensor.data;
    return SHOAL_OK;
}

shoal_status value_bytes(struct importer *im, struct import_value *value, const void **out) {
    if (value->data == NULL && value->tensor != NULL) {
        size_t bytes = 0;
        void *memory = NULL;
        TRY(type_bytes(im, &value->type, &bytes));
        TRY(value_memory(im, bytes, &memory));
        TRY(tensor_widen(value->tensor, memory, im->error));
        value->data = memory;
    } else if (value->data == NULL) {
        TRY(compute_derived(im, value));
    }
    *out = value->data;
    return SHOAL_OK;
}

/* ---- params ---- */

/* Small tables and numbers are part of the structure, where passes see them; weights stay in the
 * file. */
static bool stays_stored(const struct import_value *value) {
    size_t bytes = 0;
    if (value->stored == NULL || !shape_bytes(&value->type.shape, value->type.dtype, &bytes)) {
        return false;
    }
    return value->type.dtype == DTYPE_F32 ? bytes > IMPORT_INLINE_FLOATS * sizeof(float)
                                          : bytes > IMPORT_INLINE_BYTES;
}

static shoal_status add_stored(struct importer *im, struct graph *graph,
                               const struct import_value *value, graph_param_id *out) {
    const struct graph_part part = {value->stored, value->type.shape};
    return graph_add_param(graph, value->stored, value->type, GRAPH_FILL_NORMAL, &part, 1, out,
                           im->error);
}

static shoal_status add_inline(struct importer *im, struct graph *graph, struct import_value *value,
                               graph_param_id *out) {
    char name[32];
    const void *data = NULL;
    size_t bytes = 0;
    TRY(value_bytes(im, value, &data));
    TRY(type_bytes(im, &value->type, &bytes));
    TRY(value_count_bytes(im, bytes));
    (void)snprintf(name, sizeof name, "constant#%" PRIu32, im->name_count++);
    return graph_add_constant(graph, value->stored != NULL ? value->stored : name, value->type,
                              data, out, im->error);
}

shoal_status value_param(struct importer *im, struct import_value *value, graph_param_id *out) {
    if (value->param == GRAPH_NONE) {
        if (value->derived != GRAPH_NONE && value->data == NULL) {
            TRY(graph_add_derived(im->graph, value->derived, &value->param, im->error));
        } else if (stays_stored(value)) {
            TRY(add_stored(im, im->graph, value, &value->param));
        } else {
            TRY(add_inline(im, im->graph, value, &value->param));
        }
    }
    *out = value->param;
    return SHOAL_OK;
}

shoal_status value_materialise(struct importer *im, struct import_value *value,
                               graph_value_id *out) {
    if (value->id == GRAPH_NONE) {
        graph_param_id param = GRAPH_NONE;
        TRY(value_param(im, value, &param));
        TRY(graph_add_param_value(im->graph, param, &value->id, im->error));
    }
    *out = value->id;
    return SHOAL_OK;
}

shoal_status value_derive_param(struct importer *im, struct import_value *value,
                                graph_param_id *out) {
    struct graph *constants = graph_constants(im->graph);
    if (constants == NULL) {
        return no_memory(im);
    }
    return stays_stored(value) ? add_stored(im, constants, value, out)
                               : add_inline(im, constants, value, out);
}

shoal_status value_derive(struct importer *im, struct import_value *value, graph_value_id *out) {
    graph_param_id param = GRAPH_NONE;
    if (value->derived != GRAPH_NONE) {
        *out = value->derived;
        return SHOAL_OK;
    }
    TRY(value_derive_param(im, value, &param));
    return graph_add_param_value(graph_constants(im->graph), param, out, im->error);
}
