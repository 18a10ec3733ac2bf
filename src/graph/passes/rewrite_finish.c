/* What is alive, in an order that can run. */
#include "graph/passes/rewrite_internal.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum state { UNSEEN, OPEN, DONE };

struct finish {
    const struct rewrite *rw;
    struct transfer transfer;
    struct graph *to;
    const char **names; /* beside the working graph's values: names that outputs must have */
    unsigned char *states;
    graph_node_id *stack, *order;
    uint32_t segment; /* of the last node that was written */
};

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "passes: no memory for the rewritten graph");
}

/* What qsort compares: a node and where it stands. */
struct placed {
    uint32_t segment, place;
    graph_node_id id;
};

static int by_place(const void *left, const void *right) {
    const struct placed *a = left, *b = right;
    if (a->segment != b->segment) {
        return a->segment < b->segment ? -1 : 1;
    }
    if (a->place != b->place) {
        return a->place < b->place ? -1 : 1;
    }
    return a->id < b->id ? -1 : 1;
}

static shoal_status sort_nodes(struct finish *f, uint32_t *count, struct shoal_error *error) {
    const uint32_t all = rewrite_node_count(f->rw);
    struct placed *placed = mem_calloc(all + 1, sizeof *placed);
    if (placed == NULL) {
        return no_memory(error);
    }
    *count = 0;
    for (graph_node_id id = 0; id < all; id++) {
        if (rewrite_node(f->rw, id) != NULL) {
            placed[(*count)++] =
                (struct placed){f->rw->nodes[id].segment, f->rw->nodes[id].place, id};
        }
    }
    qsort(placed, *count, sizeof *placed, by_place);
    for (uint32_t i = 0; i < *count; i++) {
        f->order[i] = placed[i].id;
    }
    mem_free(placed);
    return SHOAL_OK;
}

/* A node, its inputs being there; a cut before it where a new segment begins. */
static shoal_status write_node(struct finish *f, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(f->rw, id);
    const uint32_t segment = f->rw->nodes[id].segment;
    if (segment > f->segment) {
        if (graph_node_count(f->to) > 0) {
            TRY(graph_mark_cut(f->to, error));
        }
        f->segment = segment;
    }
    return transfer_node(&f->transfer, id, f->names[node->outputs[0]], error);
}

/* The first input's maker that is not written yet; GRAPH_NONE: all are. */
static graph_node_id missing(const struct finish *f, const struct graph_node *node) {
    for (int i = 0; i < node->input_count; i++) {
        const graph_value_id value = rewrite_input(f->rw, node, i);
        const graph_node_id maker = graph_value_get(f->rw->graph, value)->producer;
        if (maker != GRAPH_NONE && f->states[maker] != DONE) {
            return maker;
        }
    }
    return GRAPH_NONE;
}

/* Writes a node after everything that it needs. */
static shoal_status write_after_inputs(struct finish *f, graph_node_id root,
                                       struct shoal_error *error) {
    uint32_t depth = 0;
    f->stack[depth++] = root;
    while (depth > 0) {
        const graph_node_id id = f->stack[depth - 1];
        const struct graph_node *node = rewrite_node(f->rw, id);
        if (node == NULL) {
            return error_set(error, SHOAL_INTERNAL, "passes: a dead node is read");
        }
        const graph_node_id next = f->states[id] == DONE ? GRAPH_NONE : missing(f, node);
        if (next == GRAPH_NONE) {
            if (f->states[id] != DONE) {
                TRY(write_node(f, id, error));
                f->states[id] = DONE;
            }
            depth--;
            continue;
        }
        f->states[id] = OPEN;
        if (f->states[next] == OPEN) {
            return error_set(error, SHOAL_INTERNAL, "passes: %s is computed from itself",
                             node->name);
        }
        f->stack[depth++] = next;
    }
    return SHOAL_OK;
}

static shoal_status write_all(struct finish *f, struct shoal_error *error) {
    const struct graph *graph = f->rw->graph;
    const graph_value_id *inputs = NULL;
    const uint32_t input_count = graph_inputs(graph, &inputs);
    uint32_t count = 0;
    for (uint32_t i = 0; i < input_count; i++) {
        TRY(transfer_input(&f->transfer, inputs[i], error));
    }
    for (uint32_t i = 0; i < f->rw->output_count; i++) {
        const graph_value_id old = f->rw->outputs[i];
        f->names[rewrite_value(f->rw, old)] = graph_value_get(graph, old)->name;
    }
    TRY(sort_nodes(f, &count, error));
    f->segment = 1;
    for (uint32_t i = 0; i < count; i++) {
        TRY(write_after_inputs(f, f->order[i], error));
    }
    for (uint32_t i = 0; i < f->rw->output_count; i++) {
        const graph_value_id value = rewrite_value(f->rw, f->rw->outputs[i]);
        TRY(graph_mark_output(f->to, f->transfer.values[value], error));
    }
    return transfer_constants(graph, f->to, error);
}

shoal_status rewrite_finish(const struct rewrite *rw, struct graph **out,
                            struct shoal_error *error) {
    const size_t nodes = (size_t)rw->node_count + 1;
    struct finish f = {.rw = rw};
    f.names = mem_calloc((size_t)rw->value_count + 1, sizeof *f.names);
    f.states = mem_calloc(nodes, sizeof *f.states);
    f.stack = mem_calloc(nodes, sizeof *f.stack);
    f.order = mem_calloc(nodes, sizeof *f.order);
    const bool room = f.names != NULL && f.states != NULL && f.stack != NULL && f.order != NULL;
    shoal_status status = room ? graph_create(&f.to, error) : no_memory(error);
    if (status == SHOAL_OK) {
        status = transfer_init(&f.transfer, rw->graph, f.to, rw, error);
    }
    if (status == SHOAL_OK) {
        status = write_all(&f, error);
    }
    transfer_fini(&f.transfer);
    mem_free((void *)f.names);
    mem_free(f.states);
    mem_free(f.stack);
    mem_free(f.order);
    if (status != SHOAL_OK) {
        graph_destroy(f.to);
        return status;
    }
    *out = f.to;
    return SHOAL_OK;
}
