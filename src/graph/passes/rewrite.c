#include "graph/passes/rewrite_internal.h"

#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "passes: no memory to rewrite a graph");
}

/* ---- what there is ---- */

struct graph *rewrite_graph(const struct rewrite *rw) {
    return rw->graph;
}

bool rewrite_changed(const struct rewrite *rw) {
    return rw->changed;
}

uint32_t rewrite_node_count(const struct rewrite *rw) {
    return rw->node_count;
}

const struct graph_node *rewrite_node(const struct rewrite *rw, graph_node_id id) {
    ASSERT(id < rw->node_count);
    return rw->nodes[id].dead ? NULL : graph_node_get(rw->graph, id);
}

graph_value_id rewrite_value(const struct rewrite *rw, graph_value_id value) {
    ASSERT(value < rw->value_count);
    while (rw->values[value].now != value) {
        value = rw->values[value].now;
    }
    return value;
}

graph_value_id rewrite_input(const struct rewrite *rw, const struct graph_node *node, int index) {
    ASSERT(index >= 0 && index < node->input_count);
    return rewrite_value(rw, node->inputs[index]);
}

const struct tensor_type *rewrite_type(const struct rewrite *rw, graph_value_id value) {
    return &graph_value_get(rw->graph, rewrite_value(rw, value))->type;
}

const struct graph_node *rewrite_maker(const struct rewrite *rw, graph_value_id value) {
    const graph_node_id maker = graph_value_get(rw->graph, rewrite_value(rw, value))->producer;
    return maker == GRAPH_NONE ? NULL : rewrite_node(rw, maker);
}

uint32_t rewrite_readers(const struct rewrite *rw, graph_value_id value) {
    return rw->values[rewrite_value(rw, value)].readers;
}

bool rewrite_is_output(const struct rewrite *rw, graph_value_id value) {
    return rw->values[rewrite_value(rw, value)].output;
}

graph_param_id rewrite_param(const struct rewrite *rw, graph_value_id value) {
    return graph_value_get(rw->graph, rewrite_value(rw, value))->param;
}

/* ---- keeping up with the working graph ---- */

static shoal_status grow(void **items, uint32_t wanted, uint32_t *capacity, size_t size,
                         struct shoal_error *error) {
    if (wanted > *capacity) {
        const uint32_t room = wanted + wanted / 2 + 16;
        void *grown = mem_realloc(*items, room * size);
        if (grown == NULL) {
            return no_memory(error);
        }
        *items = grown;
        *capacity = room;
    }
    return SHOAL_OK;
}

/* Room beside every value and node of the working graph, and `more` to come. */
static shoal_status make_room(struct rewrite *rw, uint32_t more, struct shoal_error *error) {
    void *values = rw->values, *nodes = rw->nodes;
    shoal_status status = grow(&values, graph_value_count(rw->graph) + more, &rw->value_capacity,
                               sizeof *rw->values, error);
    rw->values = values;
    TRY(status);
    status = grow(&nodes, graph_node_count(rw->graph) + more, &rw->node_capacity, sizeof *rw->nodes,
                  error);
    rw->nodes = nodes;
    return status;
}

/* New values read by nobody; new nodes read their inputs. */
static void keep_up(struct rewrite *rw, uint32_t segment, uint32_t place) {
    while (rw->value_count < graph_value_count(rw->graph)) {
        rw->values[rw->value_count] = (struct rewrite_value){rw->value_count, 0, false};
        rw->value_count++;
    }
    while (rw->node_count < graph_node_count(rw->graph)) {
        const struct graph_node *node = graph_node_get(rw->graph, rw->node_count);
        rw->nodes[rw->node_count++] = (struct rewrite_node){segment, place, false};
        for (int i = 0; i < node->input_count; i++) {
            rw->values[rewrite_value(rw, node->inputs[i])].readers++;
        }
    }
}

/* ---- beginning ---- */

/* No pass makes more nodes of one than this. */
#define MOST_GROWTH 64

static shoal_status copy_graph(struct rewrite *rw, const struct graph *graph, struct transfer *t,
                               struct shoal_error *error) {
    const graph_value_id *inputs = NULL;
    const uint32_t input_count = graph_inputs(graph, &inputs);
    for (uint32_t i = 0; i < input_count; i++) {
        TRY(transfer_input(t, inputs[i], error));
    }
    rw->output_count = graph_outputs(graph, &rw->outputs);
    rw->segment_count = graph_segment_count(graph);
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        const struct graph_node *node = graph_node_get(graph, id);
        if (node->phase != GRAPH_F) {
            return error_set(error, SHOAL_INVALID,
                             "node %s: passes come before gradients are built", node->name);
        }
        TRY(transfer_node(t, id, NULL, error));
        TRY(make_room(rw, 0, error));
        keep_up(rw, node->segment, id);
    }
    TRY(make_room(rw, 0, error));
    keep_up(rw, 0, 0);
    for (uint32_t i = 0; i < rw->output_count; i++) {
        const graph_value_id value = t->values[rw->outputs[i]];
        rw->values[value].readers++;
        rw->values[value].output = true;
        TRY(graph_mark_output(rw->graph, value, error));
    }
    rw->output_count = graph_outputs(rw->graph, &rw->outputs);
    rw->most_nodes = MOST_GROWTH * (rw->node_count + MOST_GROWTH);
    return transfer_constants(graph, rw->graph, error);
}

shoal_status rewrite_create(const struct graph *graph, struct rewrite **out,
                            struct shoal_error *error) {
    struct rewrite *rw = mem_calloc(1, sizeof *rw);
    struct transfer t = {0};
    if (rw == NULL) {
        return no_memory(error);
    }
    shoal_status status = graph_create(&rw->graph, error);
    if (status == SHOAL_OK) {
        status = transfer_init(&t, graph, rw->graph, NULL, error);
    }
    if (status == SHOAL_OK) {
        status = copy_graph(rw, graph, &t, error);
    }
    transfer_fini(&t);
    if (status != SHOAL_OK) {
        rewrite_destroy(rw);
        return status;
    }
    *out = rw;
    return SHOAL_OK;
}

void rewrite_destroy(struct rewrite *rw) {
    if (rw == NULL) {
        return;
    }
    graph_destroy(rw->graph);
    mem_free(rw->values);
    mem_free(rw->nodes);
    mem_free(rw);
}

/* ---- rewriting ---- */

#define NAME_MAX_BYTES 512

static bool ends_with(const char *text, const char *end) {
    const size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

shoal_status rewrite_add(struct rewrite *rw, graph_node_id at, const char *suffix, enum op op,
                         const struct op_attrs *attrs, const graph_value_id *inputs,
                         int input_count, const graph_param_id *params, int param_count,
                         graph_value_id *out, struct shoal_error *error) {
    graph_value_id resolved[OP_MAX_INPUTS];
    char name[NAME_MAX_BYTES];
    ASSERT(at < rw->node_count && input_count <= OP_MAX_INPUTS);
    for (int i = 0; i < input_count; i++) {
        resolved[i] = rewrite_value(rw, inputs[i]);
    }
    const char *own = graph_node_get(rw->graph, at)->name;
    if (rw->node_count > rw->most_nodes) {
        return error_set(error, SHOAL_INTERNAL, "passes: %s is rewritten without end", own);
    }
    if (suffix != NULL && ends_with(own, suffix)) {
        suffix = NULL;
    }
    (void)snprintf(name, sizeof name, "%s%s", own, suffix != NULL ? suffix : "");
    TRY(make_room(rw, OP_MAX_OUTPUTS, error));
    TRY(graph_add_node(rw->graph, suffix != NULL ? name : own, op, attrs, GRAPH_F, resolved,
                       input_count, params, param_count, out, error));
    keep_up(rw, rw->nodes[at].segment, rw->nodes[at].place);
    rw->changed = true;
    return SHOAL_OK;
}

shoal_status rewrite_param_value(struct rewrite *rw, graph_param_id param, graph_value_id *out,
                                 struct shoal_error *error) {
    TRY(make_room(rw, 1, error));
    TRY(graph_add_param_value(rw->graph, param, out, error));
    keep_up(rw, 0, 0);
    return SHOAL_OK;
}

static bool unread(const struct rewrite *rw, const struct graph_node *node) {
    for (int i = 0; i < node->output_count; i++) {
        /* A replaced value has no readers: they are its stand-in's. */
        if (rw->values[node->outputs[i]].readers > 0) {
            return false;
        }
    }
    return true;
}

/* Kills `first` if nobody reads it, and then what it alone read. */
static shoal_status kill_unread(struct rewrite *rw, graph_node_id first,
                                struct shoal_error *error) {
    uint32_t count = 0, capacity = 0;
    void *stack = NULL;
    shoal_status status = grow(&stack, 1, &capacity, sizeof first, error);
    if (status == SHOAL_OK) {
        ((graph_node_id *)stack)[count++] = first;
    }
    while (status == SHOAL_OK && count > 0) {
        const graph_node_id id = ((graph_node_id *)stack)[--count];
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL || !unread(rw, node)) {
            continue;
        }
        status = grow(&stack, count + OP_MAX_INPUTS, &capacity, sizeof first, error);
        if (status != SHOAL_OK) {
            break;
        }
        rw->nodes[id].dead = true;
        for (int i = 0; i < node->input_count; i++) {
            const graph_value_id value = rewrite_input(rw, node, i);
            const graph_node_id maker = graph_value_get(rw->graph, value)->producer;
            ASSERT(rw->values[value].readers > 0);
            rw->values[value].readers--;
            if (maker != GRAPH_NONE) {
                ((graph_node_id *)stack)[count++] = maker;
            }
        }
    }
    mem_free(stack);
    return status;
}

static bool takes_name(const struct rewrite *rw, graph_value_id by) {
    const struct graph_value *value = graph_value_get(rw->graph, by);
    return value->producer != GRAPH_NONE && !rw->values[by].output &&
           graph_node_get(rw->graph, value->producer)->outputs[0] == by;
}

bool rewrite_may_replace(const struct rewrite *rw, graph_value_id old, graph_value_id by) {
    const graph_value_id from = rewrite_value(rw, old), to = rewrite_value(rw, by);
    const struct tensor_type *a = rewrite_type(rw, from), *b = rewrite_type(rw, to);
    return from != to && a->dtype == b->dtype && shape_equal(&a->shape, &b->shape) &&
           (!rw->values[from].output || takes_name(rw, to));
}

shoal_status rewrite_replace(struct rewrite *rw, graph_value_id old, graph_value_id by,
                             struct shoal_error *error) {
    const graph_value_id from = rewrite_value(rw, old), to = rewrite_value(rw, by);
    if (!rewrite_may_replace(rw, from, to)) {
        return error_set(error, SHOAL_INTERNAL, "passes: %s may not take the place of %s",
                         graph_value_get(rw->graph, to)->name,
                         graph_value_get(rw->graph, from)->name);
    }
    struct rewrite_value *a = &rw->values[from], *b = &rw->values[to];
    b->readers += a->readers;
    b->output = b->output || a->output;
    *a = (struct rewrite_value){to, 0, false};
    rw->changed = true;
    const graph_node_id maker = graph_value_get(rw->graph, from)->producer;
    return maker == GRAPH_NONE ? SHOAL_OK : kill_unread(rw, maker, error);
}

shoal_status rewrite_sweep(struct rewrite *rw, struct shoal_error *error) {
    for (graph_node_id id = rw->node_count; id-- > 0;) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node != NULL && unread(rw, node)) {
            TRY(kill_unread(rw, id, error));
            rw->changed = true;
        }
    }
    return SHOAL_OK;
}
