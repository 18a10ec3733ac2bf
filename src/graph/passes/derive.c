#include "graph/passes/derive.h"

#include "base/memory.h"
#include "graph/derived.h"

#include <inttypes.h>
#include <stdio.h>

#define NAME_BYTES 320

static shoal_status constants_of(struct graph *graph, struct graph **out,
                                 struct shoal_error *error) {
    *out = graph_constants(graph);
    return *out != NULL ? SHOAL_OK
                        : error_set(error, SHOAL_NO_MEMORY, "passes: no memory for constants");
}

/* A name that nothing else has: the nodes of the constants graph count. */
static void unique_name(char out[NAME_BYTES], const char *name, const struct graph *constants) {
    (void)snprintf(out, NAME_BYTES, "%.200s#%" PRIu32, name, graph_node_count(constants));
}

static bool any_derived(const struct graph *graph, const struct graph_param *param,
                        graph_value_id *value) {
    for (uint32_t i = 0; i < param->part_count; i++) {
        if (derived_find(graph, param->parts[i].name, value)) {
            return true;
        }
    }
    return false;
}

bool derive_can(const struct graph *graph, graph_param_id id) {
    const struct graph_param *param = graph_param_get(graph, id);
    graph_value_id value = GRAPH_NONE;
    return param->part_count <= 1 || !any_derived(graph, param, &value);
}

shoal_status derive_value(struct graph *graph, graph_param_id id, graph_value_id *out,
                          struct shoal_error *error) {
    struct graph *constants = NULL;
    TRY(constants_of(graph, &constants, error));
    const struct graph_param *param = graph_param_get(graph, id);
    graph_param_id copy = GRAPH_NONE;
    if (any_derived(graph, param, out)) {
        const struct shape *of_value = &graph_value_get(constants, *out)->type.shape;
        if (param->part_count > 1) {
            return error_set(error, SHOAL_UNSUPPORTED, "passes: %s has derived parts", param->name);
        }
        return shape_equal(of_value, &param->type.shape)
                   ? SHOAL_OK
                   : derive_reshape(graph, param->name, *out, &param->type.shape, out, error);
    }
    if (param->data != NULL) {
        TRY(graph_add_constant(constants, param->name, param->type, param->data, &copy, error));
    } else {
        TRY(graph_add_param(constants, param->name, param->type, param->fill, param->parts,
                            param->part_count, &copy, error));
    }
    return graph_add_param_value(constants, copy, out, error);
}

shoal_status derive_floats(struct graph *graph, const struct shape *shape, const float *numbers,
                           graph_value_id *out, struct shoal_error *error) {
    struct graph *constants = NULL;
    graph_param_id param = GRAPH_NONE;
    TRY(constants_of(graph, &constants, error));
    TRY(graph_add_constant(constants, "numbers", (struct tensor_type){DTYPE_F32, *shape}, numbers,
                           &param, error));
    return graph_add_param_value(constants, param, out, error);
}

shoal_status derive_op(struct graph *graph, const char *name, enum op op,
                       const struct op_attrs *attrs, const graph_value_id *inputs, int input_count,
                       graph_value_id *out, struct shoal_error *error) {
    struct graph *constants = NULL;
    char unique[NAME_BYTES];
    graph_value_id outputs[OP_MAX_OUTPUTS];
    TRY(constants_of(graph, &constants, error));
    unique_name(unique, name, constants);
    TRY(graph_add_node(constants, unique, op, attrs, GRAPH_F, inputs, input_count, NULL, 0, outputs,
                       error));
    *out = outputs[0];
    return SHOAL_OK;
}

shoal_status derive_binary(struct graph *graph, const char *name, enum binary_function function,
                           graph_value_id a, graph_value_id b, graph_value_id *out,
                           struct shoal_error *error) {
    const struct op_attrs attrs = {.mode = (int32_t)function};
    const graph_value_id both[] = {a, b};
    return derive_op(graph, name, OP_BINARY, &attrs, both, 2, out, error);
}

shoal_status derive_reshape(struct graph *graph, const char *name, graph_value_id x,
                            const struct shape *shape, graph_value_id *out,
                            struct shoal_error *error) {
    struct op_attrs attrs = {.axis = shape->rank};
    for (int i = 0; i < shape->rank; i++) {
        attrs.ints[i] = shape->dims[i];
    }
    return derive_op(graph, name, OP_RESHAPE, &attrs, &x, 1, out, error);
}

shoal_status derive_transpose(struct graph *graph, const char *name, graph_value_id x,
                              const int64_t *order, graph_value_id *out,
                              struct shoal_error *error) {
    struct op_attrs attrs = {0};
    struct graph *constants = NULL;
    TRY(constants_of(graph, &constants, error));
    for (int i = 0; i < graph_value_get(constants, x)->type.shape.rank; i++) {
        attrs.ints[i] = order[i];
    }
    return derive_op(graph, name, OP_TRANSPOSE, &attrs, &x, 1, out, error);
}

static shoal_status count_part(void *context, const struct graph_part *part,
                               struct shoal_error *error) {
    (void)part;
    (void)error;
    *(bool *)context = true;
    return SHOAL_OK;
}

shoal_status derive_param(struct graph *graph, graph_value_id value, graph_param_id *out,
                          struct shoal_error *error) {
    struct graph *constants = NULL;
    TRY(constants_of(graph, &constants, error));
    const struct graph_value *of = graph_value_get(constants, value);
    size_t bytes = 0;
    bool stored = false;
    TRY(derived_visit(constants, value, count_part, &stored, error));
    if (stored || of->param != GRAPH_NONE ||
        !shape_bytes(&of->type.shape, of->type.dtype, &bytes) || bytes == 0 ||
        bytes > DERIVE_INLINE_BYTES) {
        return graph_add_derived(graph, value, out, error);
    }
    struct tensor tensor;
    TRY(derived_compute(constants, value, NULL, &tensor, error));
    const shoal_status status =
        graph_add_constant(graph, of->name, of->type, tensor.data, out, error);
    mem_free(tensor.data);
    return status;
}

shoal_status derive_reshaped(struct graph *graph, const char *name, graph_param_id id,
                             const struct shape *shape, graph_param_id *out,
                             struct shoal_error *error) {
    const struct graph_param *param = graph_param_get(graph, id);
    const struct tensor_type type = {param->type.dtype, *shape};
    if (shape_equal(&param->type.shape, shape)) {
        *out = id;
        return SHOAL_OK;
    }
    if (param->data != NULL) {
        return graph_add_constant(graph, param->name, type, param->data, out, error);
    }
    return graph_add_param(graph, name, type, param->fill, param->parts, param->part_count, out,
                           error); /* the same elements: parts do not care */
}

shoal_status derive_filled(struct graph *graph, const char *name, int64_t count, float number,
                           graph_param_id *out, struct shoal_error *error) {
    float *numbers = mem_calloc((size_t)count, sizeof *numbers);
    if (numbers == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "passes: no memory for %s", name);
    }
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = number;
    }
    const shoal_status status = graph_add_constant(
        graph, name, (struct tensor_type){DTYPE_F32, SHAPE(count)}, numbers, out, error);
    mem_free(numbers);
    return status;
}
