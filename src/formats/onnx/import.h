/*
 * ONNX model → graph, for fixed dims: symbolic dims are bound here, shapes are numbers from here
 * on, and what is computed from shapes alone folds away. The graph is naive: one node or a few for
 * each of the model's, images as ONNX has them with transposes around every NHWC op; the passes
 * (graph/passes) do the rest.
 *
 * Dims are bound, in this order, by a feed's shape, by name (dims), and, where it is an input's
 * first, by the microbatch (batch); a first dim that the file fixes stays as it is.
 *
 * f16 and bf16 are widened: the graph is f32 throughout, its inputs and outputs too; a port says
 * what the model calls them. Initialisers stay where they are: params name them
 * (onnx_source_create lends them), small results are constants, larger ones derived weights.
 *
 * Ops whose output's shape depends on the value of an input (Reshape, Slice, NonZero) need that
 * value: a constant, what is computed from shapes, or a graph input whose feed is known.
 *
 * Ownership: the result owns graph and texts; the model must outlive import_model only, names are
 * copied. Threads: none shared.
 * Errors: UNSUPPORTED (op, attribute, type, a dim or value that is not bound; the text names node,
 * op and what is missing), CORRUPT and MISMATCH (the model contradicts itself), NO_MEMORY.
 */
#ifndef FORMATS_ONNX_IMPORT_H
#define FORMATS_ONNX_IMPORT_H

#include "base/arena.h"
#include "formats/onnx/onnx.h"
#include "graph/graph.h"

struct import_dim {
    const char *name;
    int64_t value;
};

/* What an input will be fed with: shapes (and lengths of sequences) are taken from data; with
 * `known` its values are constants of the model. An initialiser's name overrides it. */
struct import_feed {
    const char *name;
    const struct onnx_data *data;
    bool known;
};

struct import_options {
    int64_t batch; /* 0: not given */
    const struct import_dim *dims;
    size_t dim_count;
    const struct import_feed *feeds;
    size_t feed_count;
    int64_t assumed;     /* > 0: what a dim is that nothing else binds */
    bool collect;        /* go on after refusals: issues lists all of them, there is no graph */
    size_t most_bytes;   /* of constants and lists in memory; 0: IMPORT_MOST_BYTES */
    uint32_t most_nodes; /* converted or made, every iteration counted; 0: IMPORT_MOST_NODES */
    double most_work;    /* bytes and multiplications of folding; 0: IMPORT_MOST_WORK */
};

#define IMPORT_MOST_BYTES ((size_t)1 << 31)
#define IMPORT_MOST_NODES 200000
#define IMPORT_MOST_WORK 4e9

/* One tensor that goes in or comes out. Passes keep inputs and outputs and their order. */
struct import_port {
    uint32_t
        index;   /* in graph_inputs or graph_outputs; GRAPH_NONE for inputs whose feed is known */
    int element; /* enum onnx_dtype, as the model says */
    struct tensor_type type; /* of the graph's value */
};

struct import_binding {
    const char *name;
    enum onnx_kind kind; /* TENSOR; SEQUENCE: count ports; OPTIONAL: none if it is empty */
    bool known;
    uint32_t count;
    const struct import_port *ports;
};

struct import_result {
    struct graph *graph;                           /* NULL if there are issues */
    const struct import_binding *inputs, *outputs; /* initialisers are no inputs, unless fed */
    uint32_t input_count, output_count;
    const char *const *issues; /* with collect: every refusal, once */
    uint32_t issue_count;
    const struct import_dim *dims; /* what the symbolic dims of inputs were bound to */
    uint32_t dim_count;
    uint64_t
        wanted; /* bit i: a refusal would not be if the value of the model's input i were known */
    struct arena arena;
};

/*
 * With collect, refusals are no error: *out has no graph then. *out is set in any case, for
 * import_result_fini; after an error it holds `wanted` alone.
 */
NODISCARD shoal_status import_model(const struct onnx_model *model,
                                    const struct import_options *options, struct import_result *out,
                                    struct shoal_error *error);
void import_result_fini(struct import_result *result);

/* What carries it in the graph; false: strings and complex numbers. */
bool import_element_dtype(int element, enum dtype *out);

/*
 * A tensor of data (feeds, expected outputs) as a port's value has it. to has the bytes of the
 * tensor's shape in the port's type. Errors: MISMATCH (another element type or shape), those of
 * onnx_tensor_read.
 */
NODISCARD shoal_status import_feed_port(const struct onnx_tensor *tensor,
                                        const struct import_port *port, void *to,
                                        struct shoal_error *error);

/* count elements that the graph gave, f32 to the precision of a narrower element (f16, f8). */
void import_round(int element, enum dtype dtype, void *values, size_t count);

#endif
