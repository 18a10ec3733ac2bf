/* From graph to graph. */
#include "graph/passes/rewrite_internal.h"

#include "base/memory.h"
#include "graph/derived.h"

#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "passes: no memory for a graph");
}

shoal_status transfer_init(struct transfer *t, const struct graph *from, struct graph *to,
                           const struct rewrite *resolve, struct shoal_error *error) {
    const size_t values = graph_value_count(from), params = graph_param_count(from);
    *t = (struct transfer){from, to, resolve, mem_calloc(values + 1, sizeof *t->values),
                           mem_calloc(params + 1, sizeof *t->params)};
    if (t->values == NULL || t->params == NULL) {
        transfer_fini(t);
        return no_memory(error);
    }
    memset(t->values, 0xff, values * sizeof *t->values); /* GRAPH_NONE */
    memset(t->params, 0xff, params * sizeof *t->params);
    return SHOAL_OK;
}

void transfer_fini(struct transfer *t) {
    mem_free(t->values);
    mem_free(t->params);
    t->values = NULL;
    t->params = NULL;
}

static shoal_status copy_param(struct transfer *t, graph_param_id id, graph_param_id *out,
                               struct shoal_error *error) {
    if (t->params[id] == GRAPH_NONE) {
        const struct graph_param *param = graph_param_get(t->from, id);
        if (param->part_count == 0) {
            TRY(graph_add_constant(t->to, param->name, param->type, param->data, &t->params[id],
                                   error));
        } else {
            TRY(graph_add_param(t->to, param->name, param->type, param->fill, param->parts,
                                param->part_count, &t->params[id], error));
        }
    }
    *out = t->params[id];
    return SHOAL_OK;
}

static shoal_status copy_value(struct transfer *t, graph_value_id id, graph_value_id *out,
                               struct shoal_error *error) {
    const graph_value_id now = t->resolve != NULL ? rewrite_value(t->resolve, id) : id;
    const struct graph_value *value = graph_value_get(t->from, now);
    if (t->values[now] == GRAPH_NONE && value->param != GRAPH_NONE) {
        graph_param_id param = GRAPH_NONE;
        TRY(copy_param(t, value->param, &param, error));
        TRY(graph_add_param_value(t->to, param, &t->values[now], error));
    }
    if (t->values[now] == GRAPH_NONE) {
        return error_set(error, SHOAL_INTERNAL, "passes: %s is read before it is made",
                         value->name);
    }
    *out = t->values[now];
    return SHOAL_OK;
}

shoal_status transfer_node(struct transfer *t, graph_node_id id, const char *name,
                           struct shoal_error *error) {
    const struct graph_node *node = graph_node_get(t->from, id);
    graph_value_id inputs[OP_MAX_INPUTS], outputs[OP_MAX_OUTPUTS];
    graph_param_id params[OP_MAX_PARAMS];
    for (int i = 0; i < node->input_count; i++) {
        TRY(copy_value(t, node->inputs[i], &inputs[i], error));
    }
    for (int i = 0; i < node->param_count; i++) {
        TRY(copy_param(t, node->params[i], &params[i], error));
    }
    TRY(graph_add_node(t->to, name != NULL ? name : node->name, node->op, &node->attrs, node->phase,
                       inputs, node->input_count, params, node->param_count, outputs, error));
    for (int i = 0; i < node->output_count; i++) {
        t->values[node->outputs[i]] = outputs[i];
    }
    return SHOAL_OK;
}

shoal_status transfer_input(struct transfer *t, graph_value_id value, struct shoal_error *error) {
    const struct graph_value *input = graph_value_get(t->from, value);
    return graph_add_input(t->to, input->name, input->type, &t->values[value], error);
}

/* ---- constants ---- */

/* Marks the nodes that a derived tensor is computed by. */
static void mark_needed(const struct graph *constants, bool *values, bool *nodes) {
    for (graph_node_id id = graph_node_count(constants); id-- > 0;) {
        const struct graph_node *node = graph_node_get(constants, id);
        for (int i = 0; i < node->output_count; i++) {
            nodes[id] = nodes[id] || values[node->outputs[i]];
        }
        for (int i = 0; nodes[id] && i < node->input_count; i++) {
            values[node->inputs[i]] = true;
        }
    }
}

/* Every derived tensor that a param of `to` names: its value in from's constants graph. */
static shoal_status visit_derived(const struct graph *from, const struct graph *to,
                                  shoal_status (*visit)(void *context, graph_value_id value,
                                                        struct shoal_error *error),
                                  void *context, struct shoal_error *error) {
    for (graph_param_id id = 0; id < graph_param_count(to); id++) {
        const struct graph_param *param = graph_param_get(to, id);
        for (uint32_t part = 0; part < param->part_count; part++) {
            graph_value_id value = GRAPH_NONE;
            if (derived_find(from, param->parts[part].name, &value)) {
                TRY(visit(context, value, error));
            }
        }
    }
    return SHOAL_OK;
}

static shoal_status note_value(void *context, graph_value_id value, struct shoal_error *error) {
    (void)error;
    ((bool *)context)[value] = true;
    return SHOAL_OK;
}

static shoal_status mark_output(void *context, graph_value_id value, struct shoal_error *error) {
    const struct transfer *t = context;
    return graph_mark_output(t->to, t->values[value], error);
}

static shoal_status copy_needed(struct transfer *t, const struct graph *from, struct graph *to,
                                bool *values, bool *nodes, struct shoal_error *error) {
    TRY(visit_derived(from, to, note_value, values, error));
    mark_needed(t->from, values, nodes);
    for (graph_node_id id = 0; id < graph_node_count(t->from); id++) {
        if (nodes[id]) {
            TRY(transfer_node(t, id, NULL, error));
        }
    }
    return visit_derived(from, to, mark_output, t, error);
}

shoal_status transfer_constants(const struct graph *from, struct graph *to,
                                struct shoal_error *error) {
    const struct graph *old = graph_constants_get(from);
    if (old == NULL) {
        return SHOAL_OK;
    }
    struct graph *constants = graph_constants(to);
    if (constants == NULL) {
        return no_memory(error);
    }
    bool *values = mem_calloc(graph_value_count(old) + 1, sizeof *values);
    bool *nodes = mem_calloc(graph_node_count(old) + 1, sizeof *nodes);
    struct transfer t = {0};
    shoal_status status = values != NULL && nodes != NULL ? SHOAL_OK : no_memory(error);
    if (status == SHOAL_OK) {
        status = transfer_init(&t, old, constants, NULL, error);
    }
    if (status == SHOAL_OK) {
        status = copy_needed(&t, from, to, values, nodes, error);
    }
    transfer_fini(&t);
    mem_free(values);
    mem_free(nodes);
    return status;
}
