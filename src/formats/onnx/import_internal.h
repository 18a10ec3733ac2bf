/* The inside of the importer, shared by its files. */
#ifndef FORMATS_ONNX_IMPORT_INTERNAL_H
#define FORMATS_ONNX_IMPORT_INTERNAL_H

#include "base/arena.h"
#include "formats/onnx/import.h"
#include "formats/onnx/importer.h"

#define IMPORT_INLINE_BYTES ((size_t)64 << 10) /* larger results are derived weights */
#define IMPORT_INLINE_FLOATS 64                /* larger float initialisers stay in the file */
#define IMPORT_MOST_DEPTH 32                   /* of subgraphs and functions in each other */
#define IMPORT_MOST_ISSUES 1024

/* Names that nodes of one graph see: its own, then those around it. */
struct import_scope {
    const struct import_scope *parent;
    struct import_name {
        const char *name;
        struct import_value *value;
    } * slots; /* a power of two of them, half empty at least */
    size_t slot_count, used;
};

/* What the nodes being imported belong to: the model, a function's call, a subgraph. */
struct import_frame {
    const struct import_frame *caller; /* a function's: what attributes refer to */
    const struct onnx_node *call;
    const struct onnx_function *function;
    const struct onnx_opset *opsets;
    size_t opset_count;
    const struct onnx_value *value_infos; /* shapes to go on with after a refusal */
    size_t value_info_count;
    struct import_scope *scope;
    const char *prefix; /* of IR nodes' names */
    int depth;
    bool main; /* the model's own graph: its tensors are stored ones */
};

union import_number {
    float f32;
    double f64;
    int8_t i8;
    uint8_t u8;
    int16_t i16;
    uint16_t u16;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
};

struct import_block {
    struct import_block *next;
    void *memory;
};

struct importer {
    const struct onnx_model *model;
    const struct import_options *options;
    struct graph *graph;
    struct weight_source *source;
    struct arena arena;
    struct import_block *blocks; /* constants' bytes */
    size_t bytes, most_bytes;    /* of these */
    bool beyond;                 /* the limit was met */
    double work;
    uint32_t node_count, most_nodes, name_count;
    uint64_t wanted;
    const char **issues;
    uint32_t issue_count;
    struct import_dim *assumed;
    uint32_t assumed_count;
    struct shoal_error *error;
};

/* import_scope.c */
NODISCARD shoal_status scope_init(struct importer *im, struct import_scope *scope,
                                  const struct import_scope *parent);
void scope_fini(struct import_scope *scope);
NODISCARD shoal_status scope_put(struct importer *im, struct import_scope *scope, const char *name,
                                 struct import_value *value);
struct import_value *scope_find(const struct import_scope *scope, const char *name);

/* import_values.c */
struct import_value *value_new(struct importer *im, enum import_kind kind, int element,
                               struct tensor_type type);
/* Counts against the limit. */
NODISCARD shoal_status value_count_bytes(struct importer *im, size_t bytes);
/* 64-byte aligned, freed with the importer; counts against the limit. */
NODISCARD shoal_status value_memory(struct importer *im, size_t bytes, void **out);
NODISCARD shoal_status value_of_tensor(struct importer *im, const struct onnx_tensor *tensor,
                                       const char *stored, struct import_value **out);
/* A constant's elements. UNSUPPORTED: not known at import; the caller adds who wants them. */
NODISCARD shoal_status value_bytes(struct importer *im, struct import_value *value,
                                   const void **out);
/* As an input, as a packed param of the graph. */
NODISCARD shoal_status value_materialise(struct importer *im, struct import_value *value,
                                         graph_value_id *out);
NODISCARD shoal_status value_param(struct importer *im, struct import_value *value,
                                   graph_param_id *out);
/* The same of the constants graph. */
NODISCARD shoal_status value_derive(struct importer *im, struct import_value *value,
                                    graph_value_id *out);
NODISCARD shoal_status value_derive_param(struct importer *im, struct import_value *value,
                                          graph_param_id *out);
/* onnx_tensor_read, widened. to has room for the shape in the widened type. */
NODISCARD shoal_status tensor_widen(const struct onnx_tensor *tensor, void *to,
                                    struct shoal_error *error);

/* import_nodes.c */
NODISCARD shoal_status import_nodes(struct importer *im, const struct import_frame *frame,
                                    const struct onnx_node *nodes, size_t count);
/* A value by its name, "" is NULL. CORRUPT: nothing of that name before the node. */
NODISCARD shoal_status frame_find(struct importer *im, const struct import_frame *frame,
                                  const char *name, const char *reader, struct import_value **out);
NODISCARD shoal_status import_initialisers(struct importer *im, const struct import_frame *frame,
                                           const struct onnx_graph *graph);
/* Whether there is a converter. */
bool import_knows(const char *domain, const char *op_type);
/* One more node; UNSUPPORTED beyond the limit. */
NODISCARD shoal_status import_count_node(struct importer *im);
NODISCARD shoal_status import_issue(struct importer *im, const char *text);

/* import.c: a declared dim, its symbol bound as the options say; −1: not bound. */
int64_t import_dim_known(const struct importer *im, const struct onnx_value *value, int axis);

/* import_loop.c */
extern const struct import_converter import_loop_converters[];
/* import_control.c: subgraphs and functions. */
NODISCARD shoal_status import_function(struct import_node *n, const struct onnx_function *function);
/* One run of a subgraph that sees the names around it; results has room for its outputs. */
NODISCARD shoal_status import_subgraph(struct import_node *n, const struct onnx_graph *graph,
                                       const char *suffix, struct import_value *const *bound,
                                       size_t bound_count, struct import_value **results);
extern const struct import_converter import_control_converters[];
/* import_structure.c, import_sequence.c, import_data.c */
extern const struct import_converter import_structure_converters[];
extern const struct import_converter import_sequence_converters[];
extern const struct import_converter import_data_converters[];

/* import_sequence.c: a list with room for count items, all NULL; NULL: no memory. */
struct import_value *import_list(struct import_node *n, size_t count);
/* x as a slice of a new axis of 1; the inverse. */
NODISCARD shoal_status import_add_axis(struct import_node *n, struct import_value *x, int axis,
                                       struct import_value **out);
NODISCARD shoal_status import_drop_axis(struct import_node *n, struct import_value *x, int axis,
                                        struct import_value **out);

/* import_attributes.c: NULL: the node has none of that name. The references of functions are
 * followed. */
const struct onnx_attribute *import_attribute(struct import_node *n, const char *name);
/* CORRUPT unless of that type. */
NODISCARD shoal_status import_attr_graph(struct import_node *n, const char *name,
                                         const struct onnx_graph **out);

#endif
