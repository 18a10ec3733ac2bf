#include "graph/derived.h"

#include "base/assert.h"
#include "base/memory.h"
#include "kernels/registry.h"
#include "tensor/convert.h"

#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "no memory to compute weights from stored ones");
}

bool derived_find(const struct graph *graph, const char *name, graph_value_id *out) {
    const struct graph *constants = graph_constants_get(graph);
    const graph_value_id *ids = NULL;
    const uint32_t count = constants != NULL ? graph_outputs(constants, &ids) : 0;
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(graph_value_get(constants, ids[i])->name, name) == 0) {
            *out = ids[i];
            return true;
        }
    }
    return false;
}

shoal_status graph_add_derived(struct graph *graph, graph_value_id constant, graph_param_id *out,
                               struct shoal_error *error) {
    struct graph *constants = graph_constants(graph);
    graph_value_id same = 0;
    if (constants == NULL) {
        return no_memory(error);
    }
    if (constant >= graph_value_count(constants)) {
        return error_set(error, SHOAL_INVALID, "graph: no constant value %u", constant);
    }
    const struct graph_value *value = graph_value_get(constants, constant);
    if (value->param != GRAPH_NONE) {
        return error_set(error, SHOAL_INVALID, "graph: %s is stored, not derived", value->name);
    }
    if (derived_find(graph, value->name, &same) && same != constant) {
        return error_set(error, SHOAL_INVALID, "graph: two derived tensors %s", value->name);
    }
    const struct graph_part part = {value->name, value->type.shape};
    TRY(graph_add_param(graph, value->name, value->type, GRAPH_FILL_NORMAL, &part, 1, out, error));
    return graph_mark_output(constants, constant, error);
}

/* What computing one value takes: its nodes, and when each value is read for the last time. */
struct need {
    const struct graph *graph;
    bool *nodes;
    graph_node_id *last; /* per value: the last needed node that reads it; GRAPH_NONE: none */
};

static void need_fini(struct need *need) {
    mem_free(need->nodes);
    mem_free(need->last);
}

/* Backwards from the value: a node that makes something needed is needed. */
static shoal_status need_init(struct need *need, const struct graph *graph, graph_value_id value,
                              struct shoal_error *error) {
    const uint32_t nodes = graph_node_count(graph), values = graph_value_count(graph);
    *need = (struct need){graph, mem_calloc(nodes + 1, sizeof *need->nodes),
                          mem_calloc(values + 1, sizeof *need->last)};
    if (need->nodes == NULL || need->last == NULL) {
        need_fini(need);
        return no_memory(error);
    }
    memset(need->last, 0xff, values * sizeof *need->last); /* GRAPH_NONE */
    need->last[value] = nodes;                             /* beyond all nodes: it is kept */
    for (graph_node_id id = nodes; id-- > 0;) {
        const struct graph_node *node = graph_node_get(graph, id);
        for (int i = 0; i < node->output_count; i++) {
            need->nodes[id] = need->nodes[id] || need->last[node->outputs[i]] != GRAPH_NONE;
        }
        for (int i = 0; need->nodes[id] && i < node->input_count; i++) {
            if (need->last[node->inputs[i]] == GRAPH_NONE) {
                need->last[node->inputs[i]] = id;
            }
        }
    }
    return SHOAL_OK;
}

static graph_param_id param_read(const struct graph *graph, const struct graph_node *node, int i) {
    return i < node->param_count
               ? node->params[i]
               : graph_value_get(graph, node->inputs[i - node->param_count])->param;
}

shoal_status derived_visit(const struct graph *constants, graph_value_id value,
                           shoal_status (*visit)(void *context, const struct graph_part *part,
                                                 struct shoal_error *error),
                           void *context, struct shoal_error *error) {
    struct need need;
    TRY(need_init(&need, constants, value, error));
    shoal_status status = SHOAL_OK;
    for (graph_node_id id = 0; id < graph_node_count(constants); id++) {
        const struct graph_node *node = graph_node_get(constants, id);
        const int reads = need.nodes[id] ? node->param_count + node->input_count : 0;
        for (int i = 0; i < reads; i++) {
            const graph_param_id param = param_read(constants, node, i);
            const struct graph_param *read =
                param != GRAPH_NONE ? graph_param_get(constants, param) : NULL;
            for (uint32_t p = 0; read != NULL && p < read->part_count && status == SHOAL_OK; p++) {
                status = visit(context, &read->parts[p], error);
            }
        }
    }
    need_fini(&need);
    return status;
}

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    ASSERT(shape_bytes(&type->shape, type->dtype, &bytes));
    return bytes;
}

/* Bytes that a node takes while it runs beyond its inputs and outputs: its params. */
static size_t param_bytes(const struct graph *graph, const struct graph_node *node) {
    size_t bytes = 0;
    for (int i = 0; i < node->param_count; i++) {
        bytes +=
            2 * bytes_of(&graph_param_get(graph, node->params[i])->type); /* plain and packed */
    }
    return bytes;
}

/* A node's inputs, then its outputs. */
static graph_value_id touched(const struct graph_node *node, int i) {
    return i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
}

size_t derived_peak_bytes(const struct graph *constants, graph_value_id value) {
    struct need need;
    if (need_init(&need, constants, value, NULL) != SHOAL_OK) {
        return 0;
    }
    bool *held = mem_calloc(graph_value_count(constants) + 1, sizeof *held);
    size_t now = 0, peak = 0;
    for (graph_node_id id = 0; held != NULL && id < graph_node_count(constants); id++) {
        const struct graph_node *node = graph_node_get(constants, id);
        for (int i = 0; need.nodes[id] && i < node->input_count; i++) {
            if (!held[node->inputs[i]]) { /* a param value, read when it is first needed */
                held[node->inputs[i]] = true;
                now += bytes_of(&graph_value_get(constants, node->inputs[i])->type);
            }
        }
        for (int i = 0; need.nodes[id] && i < node->output_count; i++) {
            held[node->outputs[i]] = true;
            now += bytes_of(&graph_value_get(constants, node->outputs[i])->type);
        }
        const size_t most = now + (need.nodes[id] ? param_bytes(constants, node) : 0);
        peak = most > peak ? most : peak;
        for (int i = 0; need.nodes[id] && i < node->input_count + node->output_count; i++) {
            const graph_value_id v = touched(node, i);
            if (held[v] && (need.last[v] == id || need.last[v] == GRAPH_NONE)) {
                held[v] = false;
                now -= bytes_of(&graph_value_get(constants, v)->type);
            }
        }
    }
    mem_free(held);
    need_fini(&need);
    return peak;
}

static shoal_status read_part(struct weight_source *source, const struct graph_param *param,
                              const struct graph_part *part, void *to, struct shoal_error *error) {
    struct tensor stored;
    const shoal_status status =
        source->ops->borrow(source, part->name, &part->shape, param->fill, &stored, error);
    if (status == SHOAL_NOT_FOUND) {
        return error_set(error, SHOAL_MISMATCH, "the weights have no tensor %s", part->name);
    }
    TRY(status);
    int64_t count = 0;
    ASSERT(shape_count(&part->shape, &count));
    const bool fits =
        shape_equal(&stored.shape, &part->shape) &&
        convert_elements(stored.dtype, stored.data, param->type.dtype, to, (size_t)count);
    char expected[SHAPE_TEXT], found[SHAPE_TEXT];
    if (!fits) {
        (void)error_set(error, SHOAL_MISMATCH, "tensor %s: expected %s %s, found %s %s", part->name,
                        dtype_name(param->type.dtype), shape_format(&part->shape, expected),
                        dtype_name(stored.dtype), shape_format(&stored.shape, found));
    }
    source->ops->release(source, &stored);
    return fits ? SHOAL_OK : SHOAL_MISMATCH;
}

static shoal_status read_param(const struct graph *graph, graph_param_id id,
                               struct weight_source *source, void **out,
                               struct shoal_error *error) {
    const struct graph_param *param = graph_param_get(graph, id);
    const size_t bytes = bytes_of(&param->type);
    unsigned char *data = mem_alloc_aligned(bytes + 1); /* something even of an empty tensor */
    if (data == NULL) {
        return no_memory(error);
    }
    if (param->data != NULL && bytes > 0) {
        memcpy(data, param->data, bytes);
    }
    shoal_status status = SHOAL_OK;
    unsigned char *to = data;
    for (uint32_t i = 0; i < param->part_count && status == SHOAL_OK; i++) {
        int64_t count = 0;
        ASSERT(shape_count(&param->parts[i].shape, &count));
        status = read_part(source, param, &param->parts[i], to, error);
        to += (size_t)count * dtype_size(param->type.dtype);
    }
    if (status != SHOAL_OK) {
        mem_free(data);
        return status;
    }
    *out = data;
    return SHOAL_OK;
}

/* One node's run: a kernel that lives as long. */
struct step {
    const struct graph_node *node;
    struct kernel *kernel;
    void *params[OP_MAX_PARAMS], *packed, *scratch;
    const void *inputs[OP_MAX_INPUTS];
    void *outputs[OP_MAX_OUTPUTS];
};

static shoal_status run_kernel(struct step *step, struct shoal_error *error) {
    const struct kernel_ops *ops = step->kernel->ops;
    struct kernel_sizes sizes;
    ops->sizes(step->kernel, &sizes);
    step->packed = mem_alloc_aligned(sizes.packed_bytes + 1);
    step->scratch = mem_alloc_aligned(sizes.scratch_bytes + 1);
    if (step->packed == NULL || step->scratch == NULL) {
        return no_memory(error);
    }
    if (step->node->param_count > 0) {
        TRY(ops->pack(step->kernel, (const void *const *)step->params, step->packed, error));
    }
    const shoal_status status =
        ops->run(step->kernel, step->packed, step->inputs, step->outputs, step->scratch);
    return status == SHOAL_OK ? SHOAL_OK
                              : error_set(error, status, "%s (%s) failed", step->node->name,
                                          op_describe(step->node->op)->name);
}

static shoal_status make_kernel(const struct graph *graph, struct step *step,
                                struct shoal_error *error) {
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS];
    struct kernel_desc desc;
    for (int i = 0; i < step->node->input_count; i++) {
        inputs[i] = graph_value_get(graph, step->node->inputs[i])->type;
    }
    for (int i = 0; i < step->node->param_count; i++) {
        params[i] = graph_param_get(graph, step->node->params[i])->type;
    }
    TRY(kernel_describe(step->node->op, &step->node->attrs, inputs, step->node->input_count, params,
                        step->node->param_count, 1, &desc, error));
    return kernel_choice_get(NULL, &desc)->create(&desc, &step->kernel, error);
}

/* values: per value of the graph, its elements or NULL. */
static shoal_status run_node(const struct graph *graph, const struct graph_node *node,
                             struct weight_source *source, void **values,
                             struct shoal_error *error) {
    struct step step = {.node = node};
    shoal_status status = SHOAL_OK;
    for (int i = 0; i < node->input_count && status == SHOAL_OK; i++) {
        const graph_value_id id = node->inputs[i];
        if (values[id] == NULL) { /* the nodes before have made all that is no param value */
            status =
                read_param(graph, graph_value_get(graph, id)->param, source, &values[id], error);
        }
        step.inputs[i] = values[id];
    }
    for (int i = 0; i < node->param_count && status == SHOAL_OK; i++) {
        status = read_param(graph, node->params[i], source, &step.params[i], error);
    }
    for (int i = 0; i < node->output_count && status == SHOAL_OK; i++) {
        values[node->outputs[i]] =
            mem_alloc_aligned(bytes_of(&graph_value_get(graph, node->outputs[i])->type) + 1);
        step.outputs[i] = values[node->outputs[i]];
        status = step.outputs[i] != NULL ? SHOAL_OK : no_memory(error);
    }
    if (status == SHOAL_OK) {
        status = make_kernel(graph, &step, error);
    }
    if (status == SHOAL_OK) {
        status = run_kernel(&step, error);
        step.kernel->ops->destroy(step.kernel);
    }
    for (int i = 0; i < OP_MAX_PARAMS; i++) {
        mem_free(step.params[i]);
    }
    mem_free(step.packed);
    mem_free(step.scratch);
    return status;
}

static shoal_status run_needed(const struct need *need, struct weight_source *source, void **values,
                               struct shoal_error *error) {
    const struct graph *graph = need->graph;
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        const struct graph_node *node = graph_node_get(graph, id);
        if (!need->nodes[id]) {
            continue;
        }
        const shoal_status status = run_node(graph, node, source, values, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "computing %s", node->name);
        }
        for (int i = 0; i < node->input_count + node->output_count; i++) {
            const graph_value_id v = touched(node, i);
            if (need->last[v] == id || need->last[v] == GRAPH_NONE) {
                mem_free(values[v]);
                values[v] = NULL;
            }
        }
    }
    return SHOAL_OK;
}

shoal_status derived_compute(const struct graph *constants, graph_value_id value,
                             struct weight_source *source, struct tensor *out,
                             struct shoal_error *error) {
    struct need need;
    const struct graph_value *wanted = graph_value_get(constants, value);
    TRY(need_init(&need, constants, value, error));
    const uint32_t count = graph_value_count(constants);
    void **values = mem_calloc(count + 1, sizeof *values);
    shoal_status status = values != NULL ? SHOAL_OK : no_memory(error);
    if (status == SHOAL_OK) {
        status = wanted->param != GRAPH_NONE
                     ? read_param(constants, wanted->param, source, &values[value], error)
                     : run_needed(&need, source, values, error);
    }
    if (status == SHOAL_OK) {
        *out = (struct tensor){wanted->type.dtype, wanted->type.shape, values[value]};
        values[value] = NULL;
    }
    for (uint32_t v = 0; values != NULL && v < count; v++) {
        mem_free(values[v]);
    }
    mem_free(values);
    need_fini(&need);
    return status;
}

#define LENT_AT_ONCE 8

struct derived_source {
    struct weight_source source;
    const struct graph *graph;
    struct weight_source *raw;
    void *lent[LENT_AT_ONCE]; /* derived tensors out on loan */
};

static shoal_status borrow(struct weight_source *source, const char *name,
                           const struct shape *shape, enum graph_fill fill, struct tensor *out,
                           struct shoal_error *error) {
    struct derived_source *self = (struct derived_source *)source;
    graph_value_id value = 0;
    if (!derived_find(self->graph, name, &value)) {
        return self->raw->ops->borrow(self->raw, name, shape, fill, out, error);
    }
    int slot = 0;
    while (slot < LENT_AT_ONCE && self->lent[slot] != NULL) {
        slot++;
    }
    ASSERT(slot < LENT_AT_ONCE); /* our callers borrow one at a time */
    struct tensor result;
    TRY(derived_compute(graph_constants_get(self->graph), value, self->raw, &result, error));
    self->lent[slot] = result.data;
    *out = result;
    return SHOAL_OK;
}

static void release(struct weight_source *source, const struct tensor *tensor) {
    struct derived_source *self = (struct derived_source *)source;
    for (int i = 0; i < LENT_AT_ONCE; i++) {
        if (self->lent[i] == tensor->data) {
            mem_free(self->lent[i]);
            self->lent[i] = NULL;
            return;
        }
    }
    self->raw->ops->release(self->raw, tensor);
}

static void destroy(struct weight_source *source) {
    mem_free(source);
}

shoal_status weights_derived_create(const struct graph *graph, struct weight_source *raw,
                                    struct weight_source **out, struct shoal_error *error) {
    static const struct weight_source_ops ops = {borrow, release, destroy};
    struct derived_source *self = mem_calloc(1, sizeof *self);
    if (self == NULL) {
        return no_memory(error);
    }
    self->source.ops = &ops;
    self->graph = graph;
    self->raw = raw;
    *out = &self->source;
    return SHOAL_OK;
}
