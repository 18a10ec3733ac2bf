#include "graph/graph_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

/* Room for one more element of any of the graph's arrays. */
static shoal_status reserve(void **items, uint32_t count, uint32_t *capacity, size_t item_size,
                            struct shoal_error *error) {
    if (count < *capacity) {
        return SHOAL_OK;
    }
    if (count >= UINT32_MAX / 4) {
        return error_set(error, SHOAL_UNSUPPORTED, "graph: too many nodes or values");
    }
    const uint32_t wanted = *capacity == 0 ? 32 : *capacity * 2;
    void *grown = mem_realloc(*items, wanted * item_size);
    if (grown == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for %" PRIu32 " items", wanted);
    }
    *items = grown;
    *capacity = wanted;
    return SHOAL_OK;
}

#define RESERVE(array, count, capacity)                                             \
    do {                                                                            \
        void *reserve_items_ = (array);                                             \
        const shoal_status reserve_status_ =                                        \
            reserve(&reserve_items_, (count), &(capacity), sizeof *(array), error); \
        (array) = reserve_items_;                                                   \
        TRY(reserve_status_);                                                       \
    } while (0)

static shoal_status copy_name(struct graph *graph, const char *name, const char **out,
                              struct shoal_error *error) {
    const char *copy = arena_strdup(&graph->arena, name);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for the name %s", name);
    }
    *out = copy;
    return SHOAL_OK;
}

shoal_status graph_create(struct graph **out, struct shoal_error *error) {
    struct graph *graph = mem_calloc(1, sizeof *graph);
    if (graph == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory");
    }
    arena_init(&graph->arena);
    *out = graph;
    return SHOAL_OK;
}

void graph_destroy(struct graph *graph) {
    if (graph == NULL) {
        return;
    }
    graph_destroy(graph->constants);
    arena_fini(&graph->arena);
    mem_free(graph->nodes);
    mem_free(graph->values);
    mem_free(graph->uses);
    mem_free(graph->params);
    mem_free(graph->first_readers);
    mem_free(graph->inputs);
    mem_free(graph->outputs);
    mem_free(graph->cuts);
    mem_free(graph);
}

struct graph *graph_constants(struct graph *graph) {
    if (graph->constants == NULL && graph_create(&graph->constants, NULL) != SHOAL_OK) {
        return NULL;
    }
    return graph->constants;
}

const struct graph *graph_constants_get(const struct graph *graph) {
    return graph->constants;
}

static shoal_status reserve_value(struct graph *graph, struct shoal_error *error) {
    RESERVE(graph->values, graph->value_count, graph->value_capacity);
    RESERVE(graph->uses, graph->value_count, graph->use_capacity);
    return SHOAL_OK;
}

static graph_value_id append_value(struct graph *graph, struct graph_value value) {
    const graph_value_id id = graph->value_count++;
    graph->values[id] = value;
    graph->uses[id] = (struct graph_value_use){GRAPH_NONE, false};
    return id;
}

shoal_status graph_add_input(struct graph *graph, const char *name, struct tensor_type type,
                             graph_value_id *out, struct shoal_error *error) {
    const struct tensor_type one = graph_resolve(type, 1);
    size_t bytes = 0;
    if (!shape_bytes(&one.shape, one.dtype, &bytes)) {
        return error_set(error, SHOAL_INVALID, "graph: input %s has no sound shape", name);
    }
    TRY(reserve_value(graph, error));
    RESERVE(graph->inputs, graph->input_count, graph->input_capacity);
    struct graph_value value = {NULL, type, GRAPH_NONE, GRAPH_NONE};
    TRY(copy_name(graph, name, &value.name, error));
    *out = append_value(graph, value);
    graph->inputs[graph->input_count++] = *out;
    return SHOAL_OK;
}

/* Parts must fill the param exactly, whole rows each. */
static shoal_status check_parts(const char *name, const struct tensor_type *type,
                                const struct graph_part *parts, uint32_t part_count,
                                struct shoal_error *error) {
    int64_t total = 0;
    if (part_count == 0 || !shape_count(&type->shape, &total) || total == 0) {
        return error_set(error, SHOAL_INVALID, "graph: param %s is not a sound tensor of parts",
                         name);
    }
    const int64_t row = type->shape.rank > 0 ? total / type->shape.dims[0] : 1;
    int64_t sum = 0;
    for (uint32_t i = 0; i < part_count; i++) {
        int64_t count = 0;
        if (!shape_count(&parts[i].shape, &count) || count == 0 || count % row != 0 ||
            count > total - sum) {
            char text[SHAPE_TEXT];
            return error_set(error, SHOAL_MISMATCH, "graph: param %s: part %s %s does not fit",
                             name, parts[i].name, shape_format(&parts[i].shape, text));
        }
        sum += count;
    }
    return sum == total
               ? SHOAL_OK
               : error_set(error, SHOAL_MISMATCH, "graph: param %s: parts leave a gap", name);
}

static shoal_status append_param(struct graph *graph, const struct graph_param *param,
                                 graph_param_id *out, struct shoal_error *error) {
    RESERVE(graph->params, graph->param_count, graph->param_capacity);
    RESERVE(graph->first_readers, graph->param_count, graph->reader_capacity);
    graph->first_readers[graph->param_count] = GRAPH_NONE;
    graph->params[graph->param_count] = *param;
    *out = graph->param_count++;
    return SHOAL_OK;
}

shoal_status graph_add_param(struct graph *graph, const char *name, struct tensor_type type,
                             enum graph_fill fill, const struct graph_part *parts,
                             uint32_t part_count, graph_param_id *out, struct shoal_error *error) {
    TRY(check_parts(name, &type, parts, part_count, error));
    struct graph_param param = {.type = type, .fill = fill, .part_count = part_count};
    TRY(copy_name(graph, name, &param.name, error));
    struct graph_part *copies = arena_alloc(&graph->arena, part_count * sizeof *copies);
    if (copies == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for the parts of %s", name);
    }
    for (uint32_t i = 0; i < part_count; i++) {
        copies[i].shape = parts[i].shape;
        TRY(copy_name(graph, parts[i].name, &copies[i].name, error));
    }
    param.parts = copies;
    return append_param(graph, &param, out, error);
}

shoal_status graph_add_constant(struct graph *graph, const char *name, struct tensor_type type,
                                const void *data, graph_param_id *out, struct shoal_error *error) {
    size_t bytes = 0;
    if (!shape_bytes(&type.shape, type.dtype, &bytes)) {
        return error_set(error, SHOAL_INVALID, "graph: constant %s has no sound shape", name);
    }
    struct graph_param param = {.type = type};
    TRY(copy_name(graph, name, &param.name, error));
    void *copy = arena_alloc(&graph->arena, bytes);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for constant %s", name);
    }
    if (bytes > 0) {
        memcpy(copy, data, bytes);
    }
    param.data = copy;
    return append_param(graph, &param, out, error);
}

shoal_status graph_add_param_value(struct graph *graph, graph_param_id param, graph_value_id *out,
                                   struct shoal_error *error) {
    if (param >= graph->param_count) {
        return error_set(error, SHOAL_INVALID, "graph: no param %" PRIu32, param);
    }
    TRY(reserve_value(graph, error));
    const struct graph_param *of = &graph->params[param];
    *out = append_value(graph, (struct graph_value){of->name, of->type, GRAPH_NONE, param});
    return SHOAL_OK;
}

/* What graph_add_node was given, while it is checked. */
struct draft {
    struct graph_node node;
    struct tensor_type outputs[OP_MAX_OUTPUTS];
};

static shoal_status check_node(const struct graph *graph, const struct graph_node *node,
                               const char *name, struct shoal_error *error) {
    if (node->phase == GRAPH_F && graph->forward_count < graph->node_count) {
        return error_set(error, SHOAL_INVALID, "%s: a forward node after gradients", name);
    }
    if (node->phase != GRAPH_F && graph->gradient_segment == 0) {
        return error_set(error, SHOAL_INVALID, "%s: its segment was not set", name);
    }
    for (int i = 0; i < node->input_count; i++) {
        if (node->inputs[i] >= graph->value_count) {
            return error_set(error, SHOAL_INVALID, "%s: no value %" PRIu32, name, node->inputs[i]);
        }
    }
    for (int i = 0; i < node->param_count; i++) {
        if (node->params[i] >= graph->param_count) {
            return error_set(error, SHOAL_INVALID, "%s: no param %" PRIu32, name, node->params[i]);
        }
    }
    return SHOAL_OK;
}

static shoal_status infer_at(const struct graph *graph, const struct graph_node *node,
                             int64_t batch, struct tensor_type outputs[OP_MAX_OUTPUTS],
                             struct shoal_error *error) {
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS];
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = graph_resolve(graph->values[node->inputs[i]].type, batch);
    }
    for (int i = 0; i < node->param_count; i++) {
        params[i] = graph->params[node->params[i]].type;
    }
    return op_infer(node->op, &node->attrs, inputs, node->input_count, params, node->param_count,
                    outputs, error);
}

/* Inferred for microbatches of 1 and of 2: a dimension that follows the microbatch is GRAPH_BATCH.
 */
static shoal_status infer_types(const struct graph *graph, struct draft *draft, const char *name,
                                struct shoal_error *error) {
    struct tensor_type one[OP_MAX_OUTPUTS], two[OP_MAX_OUTPUTS];
    shoal_status status = infer_at(graph, &draft->node, 1, one, error);
    if (status == SHOAL_OK) {
        status = infer_at(graph, &draft->node, 2, two, error);
    }
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "node %s", name);
    }
    for (int i = 0; i < draft->node.output_count; i++) {
        draft->outputs[i] = one[i];
        ASSERT(one[i].shape.rank == two[i].shape.rank);
        for (int axis = 0; axis < one[i].shape.rank; axis++) {
            const int64_t a = one[i].shape.dims[axis], b = two[i].shape.dims[axis];
            if (a != b && (a != 1 || b != 2)) {
                return error_set(error, SHOAL_UNSUPPORTED,
                                 "node %s: a dimension is a multiple of the microbatch", name);
            }
            draft->outputs[i].shape.dims[axis] = a == b ? a : GRAPH_BATCH;
        }
    }
    return SHOAL_OK;
}

static void note_reader(struct graph *graph, graph_param_id param, graph_node_id reader) {
    if (param != GRAPH_NONE && graph->first_readers[param] == GRAPH_NONE) {
        graph->first_readers[param] = reader;
    }
}

/* Everything that can fail has been done: names are in the arena, the arrays have room. */
static void commit_node(struct graph *graph, struct draft *draft,
                        const char *const output_names[OP_MAX_OUTPUTS]) {
    struct graph_node *node = &draft->node;
    const graph_node_id id = graph->node_count;
    for (int i = 0; i < node->output_count; i++) {
        node->outputs[i] = append_value(
            graph, (struct graph_value){output_names[i], draft->outputs[i], id, GRAPH_NONE});
    }
    if (node->phase == GRAPH_F) {
        for (int i = 0; i < node->input_count; i++) {
            graph->uses[node->inputs[i]].last_forward = id;
            note_reader(graph, graph->values[node->inputs[i]].param, id);
        }
        for (int i = 0; i < node->param_count; i++) {
            note_reader(graph, node->params[i], id);
        }
        graph->forward_count++;
    }
    graph->nodes[graph->node_count++] = *node;
}

shoal_status graph_add_node(struct graph *graph, const char *name, enum op op,
                            const struct op_attrs *attrs, enum graph_phase phase,
                            const graph_value_id *inputs, int input_count,
                            const graph_param_id *params, int param_count, graph_value_id *out,
                            struct shoal_error *error) {
    static const struct op_attrs none;
    const struct op_info *info = op_describe(op);
    if (input_count < info->inputs_min || input_count > info->inputs_max ||
        param_count < info->params_min || param_count > info->params_max) {
        return error_set(error, SHOAL_MISMATCH, "node %s: %s with %d inputs and %d params", name,
                         info->name, input_count, param_count);
    }
    struct draft draft;
    memset(&draft, 0, sizeof draft);
    struct graph_node *node = &draft.node;
    node->op = op;
    node->attrs = attrs != NULL ? *attrs : none;
    node->phase = phase;
    node->segment = phase == GRAPH_F ? graph->cut_count + 1 : graph->gradient_segment;
    node->input_count = input_count;
    node->param_count = param_count;
    node->output_count = info->outputs;
    for (int i = 0; i < input_count; i++) {
        node->inputs[i] = inputs[i];
    }
    for (int i = 0; i < param_count; i++) {
        node->params[i] = params[i];
    }
    TRY(check_node(graph, node, name, error));
    TRY(infer_types(graph, &draft, name, error));
    TRY(copy_name(graph, name, &node->name, error));
    const char *names[OP_MAX_OUTPUTS] = {node->name};
    for (int i = 1; i < node->output_count; i++) {
        names[i] = arena_format(&graph->arena, "%s#%d", name, i);
        if (names[i] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "graph: no memory for node %s", name);
        }
    }
    RESERVE(graph->nodes, graph->node_count, graph->node_capacity);
    for (int i = 0; i < node->output_count; i++) { /* room for all of them */
        RESERVE(graph->values, graph->value_count + (uint32_t)i, graph->value_capacity);
        RESERVE(graph->uses, graph->value_count + (uint32_t)i, graph->use_capacity);
    }
    commit_node(graph, &draft, names);
    for (int i = 0; i < node->output_count; i++) {
        out[i] = node->outputs[i];
    }
    return SHOAL_OK;
}

shoal_status graph_mark_output(struct graph *graph, graph_value_id value,
                               struct shoal_error *error) {
    if (value >= graph->value_count || graph->values[value].param != GRAPH_NONE) {
        return error_set(error, SHOAL_INVALID, "graph: value %" PRIu32 " cannot be an output",
                         value);
    }
    if (graph->uses[value].output) {
        return SHOAL_OK;
    }
    RESERVE(graph->outputs, graph->output_count, graph->output_capacity);
    graph->outputs[graph->output_count++] = value;
    graph->uses[value].output = true;
    return SHOAL_OK;
}

shoal_status graph_mark_cut(struct graph *graph, struct shoal_error *error) {
    const uint32_t previous = graph->cut_count == 0 ? 0 : graph->cuts[graph->cut_count - 1];
    if (graph->forward_count == previous || graph->forward_count < graph->node_count) {
        return error_set(error, SHOAL_INVALID, "graph: a cut without a forward node before it");
    }
    RESERVE(graph->cuts, graph->cut_count, graph->cut_capacity);
    graph->cuts[graph->cut_count++] = graph->forward_count;
    return SHOAL_OK;
}

shoal_status graph_set_gradient_segment(struct graph *graph, uint32_t segment,
                                        struct shoal_error *error) {
    if (segment == 0 || segment > graph_segment_count(graph)) {
        return error_set(error, SHOAL_INVALID, "graph: no segment %" PRIu32, segment);
    }
    graph->gradient_segment = segment;
    return SHOAL_OK;
}
