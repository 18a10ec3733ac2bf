/*
 * The model IR: a list of nodes in an order in which they can run, over values (activations) and
 * params (weights). Built by models/ and formats/, rewritten by passes and autodiff, cut by the
 * planner.
 *
 * The first dimension of an activation is usually GRAPH_BATCH, the microbatch, replaced by a number
 * when a segment is compiled. Gradients are ordinary nodes: each node carries a phase, F (forward),
 * B (gradient of inputs) or W (gradient of weights and update), so that schedules can place them.
 *
 * A *cut* is a place between two nodes where the forward graph may be split; a *segment* is the
 * nodes between neighbouring cuts. Segments count from 1, as on the command line. Values that cross
 * a cut: those produced (or fed) before it and read after it by forward nodes, or wanted as the
 * graph's outputs; in order of their ids.
 *
 * Training: nodes of phases B and W come after all forward nodes, and each belongs to the forward
 * segment whose gradient it computes (graph_set_gradient_segment), so that a stage has all three
 * phases of its segments.
 *
 * A node reads weights in one of two ways: as params, packed by its kernel, or, of any element type
 * and by any phase, as *param values* (graph_add_param_value): inputs whose bytes are a param's.
 *
 * Ownership: the graph owns everything in it; pointers returned live as long as it does and are
 * invalidated by the next change. Not thread-safe while it is changed.
 */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include "kernels/kernel.h"

#define GRAPH_BATCH INT64_C(-1)

typedef uint32_t graph_value_id;
typedef uint32_t graph_param_id;
typedef uint32_t graph_node_id;
#define GRAPH_NONE UINT32_MAX

enum graph_phase { GRAPH_F, GRAPH_B, GRAPH_W };

/* How a param is filled when there is no file: keyed by (seed, name), the same on every device. */
enum graph_fill {
    GRAPH_FILL_NORMAL /* mean 0, deviation 0.02 */,
    GRAPH_FILL_ZEROS,
    GRAPH_FILL_ONES
};

struct graph_value {
    const char *name;
    struct tensor_type type;
    graph_node_id producer; /* GRAPH_NONE: an input of the graph, or a param value */
    graph_param_id param;   /* GRAPH_NONE, or the param whose plain bytes this value has */
};

/*
 * A param is the concatenation along dimension 0 of parts, tensors as files name them (q, k and v
 * of one attention become one matrix). The parts' shapes differ at most in dimension 0.
 */
struct graph_part {
    const char *name;
    struct shape shape; /* as stored in files; its elements are laid out as in the param (extra dims
                           of 1 may differ) */
};

struct graph_param {
    const char *name;
    struct tensor_type type;
    enum graph_fill fill;
    uint32_t part_count; /* 0: a constant */
    const struct graph_part *parts;
    const void *data; /* a constant's elements, owned by the graph; NULL for params with parts */
};

struct graph_node {
    const char *name;
    enum op op;
    struct op_attrs attrs;
    enum graph_phase phase;
    uint32_t segment; /* 1-based */
    int input_count, param_count, output_count;
    graph_value_id inputs[OP_MAX_INPUTS];
    graph_param_id params[OP_MAX_PARAMS];
    graph_value_id outputs[OP_MAX_OUTPUTS];
};

struct graph;

NODISCARD shoal_status graph_create(struct graph **out, struct shoal_error *error);
void graph_destroy(struct graph *graph);

NODISCARD shoal_status graph_add_input(struct graph *graph, const char *name,
                                       struct tensor_type type, graph_value_id *out,
                                       struct shoal_error *error);
NODISCARD shoal_status graph_add_param(struct graph *graph, const char *name,
                                       struct tensor_type type, enum graph_fill fill,
                                       const struct graph_part *parts, uint32_t part_count,
                                       graph_param_id *out, struct shoal_error *error);
/*
 * A param whose elements the graph itself holds, copied from data: small tables and numbers that
 * belong to the model's structure rather than to its weights. Errors: INVALID (no sound shape),
 * NO_MEMORY.
 */
NODISCARD shoal_status graph_add_constant(struct graph *graph, const char *name,
                                          struct tensor_type type, const void *data,
                                          graph_param_id *out, struct shoal_error *error);
/*
 * A value that reads a param or a constant as it is, in its own element type; it never crosses a
 * cut: every device that reads it holds it. Errors: INVALID (no such param), NO_MEMORY.
 */
NODISCARD shoal_status graph_add_param_value(struct graph *graph, graph_param_id param,
                                             graph_value_id *out, struct shoal_error *error);
/*
 * Appends a node; infers its outputs' types; out receives output_count ids. Errors: MISMATCH or
 * UNSUPPORTED, naming node, op and shapes; INVALID (an id that does not exist, a forward node after
 * others, a forward node that reads a param value); NO_MEMORY.
 */
NODISCARD shoal_status graph_add_node(struct graph *graph, const char *name, enum op op,
                                      const struct op_attrs *attrs, enum graph_phase phase,
                                      const graph_value_id *inputs, int input_count,
                                      const graph_param_id *params, int param_count,
                                      graph_value_id *out, struct shoal_error *error);
NODISCARD shoal_status graph_mark_output(struct graph *graph, graph_value_id value,
                                         struct shoal_error *error);
/* A cut after the last node added so far. Errors: INVALID if there is no forward node since the
 * previous cut. */
NODISCARD shoal_status graph_mark_cut(struct graph *graph, struct shoal_error *error);
/*
 * Cuts a finished graph by itself, in place of the cuts it has: wherever at most 4 values cross,
 * but no segment below 1/GRAPH_MOST_SEGMENTS of the work, so that there are at most so many.
 * Errors: INVALID (there are nodes of phases B or W), NO_MEMORY; then the graph is as before.
 */
#define GRAPH_MOST_SEGMENTS 256
NODISCARD shoal_status graph_mark_cuts(struct graph *graph, struct shoal_error *error);
/* The cuts of another graph of as many forward nodes (the same model at another length), in place
 * of those it has. Errors: INVALID (another number of nodes, gradients), NO_MEMORY. */
NODISCARD shoal_status graph_copy_cuts(struct graph *graph, const struct graph *from,
                                       struct shoal_error *error);
/* Nodes of phases B and W added from here on belong to this segment. Errors: INVALID (no such
 * segment). */
NODISCARD shoal_status graph_set_gradient_segment(struct graph *graph, uint32_t segment,
                                                  struct shoal_error *error);

/*
 * The graph of what is computed from weights alone (graph/derived.h), owned by graph and made at
 * the first call; NULL: no memory. The other: NULL if there is none.
 */
struct graph *graph_constants(struct graph *graph);
const struct graph *graph_constants_get(const struct graph *graph);

uint32_t graph_node_count(const struct graph *graph);
uint32_t graph_value_count(const struct graph *graph);
uint32_t graph_param_count(const struct graph *graph);
const struct graph_node *graph_node_get(const struct graph *graph, graph_node_id id);
const struct graph_value *graph_value_get(const struct graph *graph, graph_value_id id);
const struct graph_param *graph_param_get(const struct graph *graph, graph_param_id id);
uint32_t graph_inputs(const struct graph *graph, const graph_value_id **out);
uint32_t graph_outputs(const struct graph *graph, const graph_value_id **out);

/* Forward segments: cuts + 1 (a cut after the last node opens none). Forward nodes of segment s
 * (1-based) are [first, end). */
uint32_t graph_segment_count(const struct graph *graph);
void graph_segment_nodes(const struct graph *graph, uint32_t segment, graph_node_id *first,
                         graph_node_id *end);

/*
 * Values crossing the cut after segment s (0: the graph's inputs; segment_count: its outputs; those
 * of phase F), at most max, in the order in which messages carry them; returns how many there are.
 */
uint32_t graph_crossing(const struct graph *graph, uint32_t segment, graph_value_id *out,
                        uint32_t max);

/* A type with GRAPH_BATCH replaced. */
struct tensor_type graph_resolve(struct tensor_type type, int64_t batch);

/* Bytes of one microbatch crossing the cut after segment s. */
size_t graph_crossing_bytes(const struct graph *graph, uint32_t segment, int64_t batch);

/* Floating point operations of forward segments first..last for a microbatch. */
double graph_flops(const struct graph *graph, uint32_t first, uint32_t last, int64_t batch);

/*
 * The params that forward nodes of segments first..last read, packed or as values, each once, in
 * the order in which they are first read; at most max; returns how many there are.
 */
uint32_t graph_range_params(const struct graph *graph, uint32_t first, uint32_t last,
                            graph_param_id *out, uint32_t max);

/* Bytes of these, those of f32 as stored in f32. */
size_t graph_param_bytes(const struct graph *graph, uint32_t first, uint32_t last);

#endif
