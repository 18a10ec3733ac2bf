/* What is computed twice is computed once. */
#include "graph/passes/pass.h"

#include "base/memory.h"

#include <string.h>

/* Nodes by what they compute, in a table with open addressing. */
struct table {
    const struct rewrite *rw;
    graph_param_id *params; /* of each param the first one with the same contents */
    graph_node_id *slots;   /* GRAPH_NONE: empty */
    uint32_t size;          /* a power of two */
};

static uint64_t mix(uint64_t hash, uint64_t number) {
    return (hash ^ number) * UINT64_C(1099511628211);
}

/* What an input is, constants by contents: the number of a param, or of a value beyond those. */
static uint64_t operand(const struct table *t, graph_value_id value) {
    const graph_param_id param = rewrite_param(t->rw, value);
    const uint64_t beyond = graph_param_count(rewrite_graph(t->rw));
    return param != GRAPH_NONE ? t->params[param] : beyond + rewrite_value(t->rw, value);
}

static uint64_t hash_node(const struct table *t, const struct graph_node *node) {
    uint64_t hash = mix(UINT64_C(14695981039346656037), (uint64_t)node->op);
    hash = mix(hash, (uint64_t)(uint32_t)node->attrs.mode);
    for (int i = 0; i < 8; i++) {
        hash = mix(hash, (uint64_t)node->attrs.ints[i]);
    }
    for (int i = 0; i < node->input_count; i++) {
        hash = mix(hash, operand(t, node->inputs[i]));
    }
    for (int i = 0; i < node->param_count; i++) {
        hash = mix(hash, t->params[node->params[i]]);
    }
    return hash ^ hash >> 29;
}

static bool same_node(const struct table *t, const struct graph_node *a,
                      const struct graph_node *b) {
    if (a->op != b->op || a->input_count != b->input_count || a->param_count != b->param_count ||
        !op_attrs_equal(&a->attrs, &b->attrs)) {
        return false;
    }
    for (int i = 0; i < a->input_count; i++) {
        if (operand(t, a->inputs[i]) != operand(t, b->inputs[i])) {
            return false;
        }
    }
    for (int i = 0; i < a->param_count; i++) {
        if (t->params[a->params[i]] != t->params[b->params[i]]) {
            return false;
        }
    }
    return true;
}

static bool same_param(const struct graph_param *a, const struct graph_param *b) {
    if (a->type.dtype != b->type.dtype || !shape_equal(&a->type.shape, &b->type.shape) ||
        a->part_count != b->part_count || (a->data == NULL) != (b->data == NULL)) {
        return false;
    }
    for (uint32_t i = 0; i < a->part_count; i++) {
        if (strcmp(a->parts[i].name, b->parts[i].name) != 0) {
            return false;
        }
    }
    size_t bytes = 0;
    return a->data == NULL || (shape_bytes(&a->type.shape, a->type.dtype, &bytes) &&
                               memcmp(a->data, b->data, bytes) == 0);
}

static uint64_t hash_param(const struct graph_param *param) {
    uint64_t hash = mix(UINT64_C(14695981039346656037), (uint64_t)param->type.dtype);
    size_t bytes = 0;
    for (int i = 0; i < param->type.shape.rank; i++) {
        hash = mix(hash, (uint64_t)param->type.shape.dims[i]);
    }
    for (uint32_t i = 0; i < param->part_count; i++) {
        for (const char *c = param->parts[i].name; *c != '\0'; c++) {
            hash = mix(hash, (unsigned char)*c);
        }
    }
    if (param->data != NULL && shape_bytes(&param->type.shape, param->type.dtype, &bytes)) {
        for (size_t i = 0; i < bytes; i++) {
            hash = mix(hash, ((const unsigned char *)param->data)[i]);
        }
    }
    return hash ^ hash >> 29;
}

static void clear(struct table *t) {
    memset(t->slots, 0xff, t->size * sizeof *t->slots); /* GRAPH_NONE */
}

static void find_params(struct table *t) {
    const struct graph *graph = rewrite_graph(t->rw);
    clear(t);
    for (graph_param_id id = 0; id < graph_param_count(graph); id++) {
        const struct graph_param *param = graph_param_get(graph, id);
        uint32_t slot = (uint32_t)hash_param(param) & (t->size - 1);
        while (t->slots[slot] != GRAPH_NONE &&
               !same_param(graph_param_get(graph, t->slots[slot]), param)) {
            slot = (slot + 1) & (t->size - 1);
        }
        if (t->slots[slot] == GRAPH_NONE) {
            t->slots[slot] = id;
        }
        t->params[id] = t->slots[slot];
    }
}

static bool may_replace_all(const struct rewrite *rw, const struct graph_node *old,
                            const struct graph_node *by) {
    for (int i = 0; i < old->output_count; i++) {
        if (!rewrite_may_replace(rw, old->outputs[i], by->outputs[i])) {
            return false;
        }
    }
    return true;
}

static shoal_status find_nodes(struct rewrite *rw, struct table *t, struct shoal_error *error) {
    clear(t);
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL) {
            continue;
        }
        uint32_t slot = (uint32_t)hash_node(t, node) & (t->size - 1);
        while (t->slots[slot] != GRAPH_NONE &&
               (rewrite_node(rw, t->slots[slot]) == NULL ||
                !same_node(t, rewrite_node(rw, t->slots[slot]), node))) {
            slot = (slot + 1) & (t->size - 1);
        }
        if (t->slots[slot] == GRAPH_NONE) {
            t->slots[slot] = id;
            continue;
        }
        const struct graph_node old = *node, by = *rewrite_node(rw, t->slots[slot]);
        for (int i = 0; may_replace_all(rw, &old, &by) && i < old.output_count; i++) {
            TRY(rewrite_replace(rw, old.outputs[i], by.outputs[i], error));
            if (rewrite_node(rw, id) == NULL) {
                break; /* nobody reads the others */
            }
        }
    }
    return SHOAL_OK;
}

shoal_status pass_same(struct rewrite *rw, const struct pass_options *options,
                       struct shoal_error *error) {
    (void)options;
    const uint32_t params = graph_param_count(rewrite_graph(rw)), nodes = rewrite_node_count(rw);
    struct table t = {.rw = rw, .size = 64};
    while (t.size < 2 * (params > nodes ? params : nodes)) {
        t.size *= 2;
    }
    t.params = mem_calloc((size_t)params + 1, sizeof *t.params);
    t.slots = mem_calloc(t.size, sizeof *t.slots);
    shoal_status status = SHOAL_OK;
    if (t.params == NULL || t.slots == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "passes: no memory for a table");
    } else {
        find_params(&t);
        status = find_nodes(rw, &t, error);
    }
    mem_free(t.params);
    mem_free(t.slots);
    return status;
}
