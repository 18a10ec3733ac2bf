/*
 * ONNX files: a model's structure as plain structs, its tensors where they lie in the mapped file.
 *
 * A file is mapped. A small walk over the protobuf wire format makes a copy of it without the
 * tensors' payloads (outline.h), protobuf-c unpacks only that copy, and what it finds becomes the
 * structs below. A tensor's bytes are never copied by opening; onnx_tensor_read decodes any storage
 * into memory of the caller's.
 *
 * Ownership: everything that hangs on a struct onnx_model or struct onnx_data belongs to it and
 * lives until it is closed; nothing outside is owned. Files must not change while they are open.
 * Threads: what is open is immutable; any number of threads may read.
 * Errors: every text names the file and what is wrong with it. CORRUPT (cut off, lengths beyond
 * their message, wire types that do not fit, names that are not UTF-8, shapes that contradict
 * bytes, limits passed), UNSUPPORTED (ir_version, opset, sparse tensors, ranks above
 * SHAPE_MAX_RANK), NOT_FOUND and IO (files), NO_MEMORY.
 * Source: the ONNX specification's IR.md and the field numbers of onnx.proto, ir_version 3 to 14.
 */
#ifndef FORMATS_ONNX_ONNX_H
#define FORMATS_ONNX_ONNX_H

#include "graph/weights.h"
#include "platform/file.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONNX_IR_OLDEST 3
#define ONNX_IR_NEWEST 14
/* Of the domain ai.onnx. Models of opsets 1 to 6 open too: whether a node means the same as in
 * opset 7 is the importer's to judge. */
#define ONNX_OPSET_OLDEST 7
#define ONNX_OPSET_NEWEST 27

/*
 * X(code, number in files, bits an element takes in raw_data, dtype it is read as). STRING, the
 * complex types and the six-bit floats have a name here but cannot be read (DTYPE_COUNT).
 */
#define ONNX_DTYPE_LIST(X)                     \
    X(UNDEFINED, 0, 0, DTYPE_COUNT)            \
    X(FLOAT, 1, 32, DTYPE_F32)                 \
    X(UINT8, 2, 8, DTYPE_U8)                   \
    X(INT8, 3, 8, DTYPE_I8)                    \
    X(UINT16, 4, 16, DTYPE_U16)                \
    X(INT16, 5, 16, DTYPE_I16)                 \
    X(INT32, 6, 32, DTYPE_I32)                 \
    X(INT64, 7, 64, DTYPE_I64)                 \
    X(STRING, 8, 0, DTYPE_COUNT)               \
    X(BOOL, 9, 8, DTYPE_BOOL)                  \
    X(FLOAT16, 10, 16, DTYPE_F16)              \
    X(DOUBLE, 11, 64, DTYPE_F64)               \
    X(UINT32, 12, 32, DTYPE_U32)               \
    X(UINT64, 13, 64, DTYPE_U64)               \
    X(COMPLEX64, 14, 64, DTYPE_COUNT)          \
    X(COMPLEX128, 15, 128, DTYPE_COUNT)        \
    X(BFLOAT16, 16, 16, DTYPE_BF16)            \
    X(FLOAT8E4M3FN, 17, 8, DTYPE_F8E4M3FN)     \
    X(FLOAT8E4M3FNUZ, 18, 8, DTYPE_F8E4M3FNUZ) \
    X(FLOAT8E5M2, 19, 8, DTYPE_F8E5M2)         \
    X(FLOAT8E5M2FNUZ, 20, 8, DTYPE_F8E5M2FNUZ) \
    X(UINT4, 21, 4, DTYPE_U4)                  \
    X(INT4, 22, 4, DTYPE_I4)                   \
    X(FLOAT4E2M1, 23, 4, DTYPE_F4E2M1)         \
    X(FLOAT8E8M0, 24, 8, DTYPE_F8E8M0)         \
    X(UINT2, 25, 2, DTYPE_U2)                  \
    X(INT2, 26, 2, DTYPE_I2)                   \
    X(FLOAT6E2M3, 27, 6, DTYPE_COUNT)          \
    X(FLOAT6E3M2, 28, 6, DTYPE_COUNT)

enum onnx_dtype {
#define X(code, number, bits, dtype) ONNX_##code = (number),
    ONNX_DTYPE_LIST(X)
#undef X
        ONNX_DTYPE_COUNT
};

/* "FLOAT16"; "unknown" for a number that is not in the list. */
const char *onnx_dtype_name(int onnx);
/* What elements of this type are read as; false (out unchanged) for what cannot be read. */
bool onnx_dtype(int onnx, enum dtype *out);

/* One mapped file: the model's own or one of external data. */
struct onnx_file {
    const char *path; /* what a text calls it */
    size_t index;     /* among the model's files */
    struct file_map map;
    struct file_identity identity; /* as it was when it was mapped; zeros for onnx_parse */
    bool mapped;                   /* false: the bytes are the caller's (onnx_parse) */
};

/* Where payload lies in the file when it is not contiguous elements: see onnx_tensor_read. */
struct onnx_chunk;

struct onnx_tensor {
    const char *name; /* "" if it has none */
    int type;         /* enum onnx_dtype, or a number that this version does not know */
    struct shape shape;
    const struct onnx_file *file; /* that holds its payload */
    /*
     * Its elements as they lie in the file, contiguous, little-endian, in the stored type (4-bit
     * types two to a byte …), possibly unaligned; byte_count is checked against type and shape.
     * bytes = file's map + offset. NULL when the payload is varints or several pieces (int32_data,
     * int64_data …): onnx_tensor_read decodes all.
     */
    const unsigned char *bytes;
    size_t offset, byte_count;
    bool external;
    const struct onnx_chunk *chunks; /* private */
    size_t chunk_count;
};

enum onnx_kind {
    ONNX_KIND_TENSOR,
    ONNX_KIND_SEQUENCE, /* of tensors */
    ONNX_KIND_OPTIONAL, /* of a tensor or a sequence of tensors: see element */
    ONNX_KIND_OTHER,    /* maps, sparse tensors, deeper nesting, or no type given */
};

struct onnx_value {
    const char *name;
    enum onnx_kind kind;
    enum onnx_kind element; /* OPTIONAL: what it holds; else equal to kind */
    int type;               /* enum onnx_dtype of the (innermost) tensor; UNDEFINED if not given */
    bool has_shape;
    int rank;
    int64_t dims[SHAPE_MAX_RANK];           /* -1: not a number in the file */
    const char *dim_params[SHAPE_MAX_RANK]; /* its symbol, "" if it has none */
};

enum onnx_attribute_type {
    ONNX_ATTRIBUTE_UNDEFINED = 0, /* only with ref_attr_name */
    ONNX_ATTRIBUTE_FLOAT = 1,
    ONNX_ATTRIBUTE_INT = 2,
    ONNX_ATTRIBUTE_STRING = 3,
    ONNX_ATTRIBUTE_TENSOR = 4,
    ONNX_ATTRIBUTE_GRAPH = 5,
    ONNX_ATTRIBUTE_FLOATS = 6,
    ONNX_ATTRIBUTE_INTS = 7,
    ONNX_ATTRIBUTE_STRINGS = 8,
    ONNX_ATTRIBUTE_TENSORS = 9,
    ONNX_ATTRIBUTE_GRAPHS = 10,
    ONNX_ATTRIBUTE_SPARSE_TENSOR = 11, /* these four are recognised; their values are not kept */
    ONNX_ATTRIBUTE_SPARSE_TENSORS = 12,
    ONNX_ATTRIBUTE_TYPE_PROTO = 13,
    ONNX_ATTRIBUTE_TYPE_PROTOS = 14,
};
/* "INTS". */
const char *onnx_attribute_type_name(enum onnx_attribute_type type);

/* Bytes that need not be text; data[length] is 0. */
struct onnx_string {
    const char *data;
    size_t length;
};

struct onnx_graph;

struct onnx_attribute {
    const char *name;
    const char *ref_attr_name; /* in functions: take the caller's attribute of this name; "" else */
    enum onnx_attribute_type type;
    float f;
    int64_t i;
    struct onnx_string s;
    const struct onnx_tensor *t;
    const struct onnx_graph *g;
    /* Lists: count says how many of the one that type names. */
    size_t count;
    const float *floats;
    const int64_t *ints;
    const struct onnx_string *strings;
    const struct onnx_tensor *tensors;
    const struct onnx_graph *graphs;
};

struct onnx_node {
    const char *name; /* may be "" */
    const char *op_type;
    const char *domain;   /* "" for ai.onnx, also when the file spells it out */
    const char *overload; /* of a function; mostly "" */
    const char **inputs;  /* "" = absent */
    size_t input_count;
    const char **outputs; /* "" = absent */
    size_t output_count;
    const struct onnx_attribute *attributes;
    size_t attribute_count;
};

struct onnx_graph {
    const char *name;
    const struct onnx_node *nodes;
    size_t node_count;
    const struct onnx_tensor *initialisers;
    size_t initialiser_count;
    const struct onnx_value *inputs; /* initialisers may be among them */
    size_t input_count;
    const struct onnx_value *outputs;
    size_t output_count;
    const struct onnx_value *value_infos;
    size_t value_info_count;
};

struct onnx_opset {
    const char *domain; /* "" for ai.onnx */
    int64_t version;
};

struct onnx_function {
    const char *domain, *name, *overload;
    const char **inputs;
    size_t input_count;
    const char **outputs;
    size_t output_count;
    const char **attribute_names; /* those without a default */
    size_t attribute_name_count;
    const struct onnx_attribute *defaults;
    size_t default_count;
    const struct onnx_node *nodes;
    size_t node_count;
    const struct onnx_opset *opsets;
    size_t opset_count;
    const struct onnx_value *value_infos;
    size_t value_info_count;
};

struct onnx_model {
    int64_t ir_version;
    int64_t opset; /* of ai.onnx; 0 if the model does not import it */
    const struct onnx_opset
        *opsets; /* all, ai.onnx among them; other domains are not judged here */
    size_t opset_count;
    const char *producer_name, *producer_version;
    struct onnx_graph graph;
    const struct onnx_function *functions;
    size_t function_count;
    const struct onnx_file *const *files; /* [0] the model's own, then those of external data */
    size_t file_count;
};

/*
 * Maps and checks a model and the files of its external data, which must lie in the model's
 * directory or below it, not behind a symbolic link that leaves it. Errors: as above; DENIED (an
 * external location that is absolute, has "..", or leaves the directory). onnx_close the result.
 */
NODISCARD shoal_status onnx_open(const char *path, struct onnx_model **out,
                                 struct shoal_error *error);
/* The same of bytes in memory, which must outlive the model; name is for the texts. External data
 * is UNSUPPORTED here. */
NODISCARD shoal_status onnx_parse(const char *name, const void *bytes, size_t size,
                                  struct onnx_model **out, struct shoal_error *error);
void onnx_close(struct onnx_model *model); /* NULL allowed */

/* By name, NULL if there is none. An attribute may have another type than the caller expects. */
const struct onnx_attribute *onnx_node_attribute(const struct onnx_node *node, const char *name);
const struct onnx_tensor *onnx_graph_initialiser(const struct onnx_graph *graph, const char *name);
/* Version of an imported domain ("" = ai.onnx), 0 if it is not imported. */
int64_t onnx_model_opset(const struct onnx_model *model, const char *domain);

/*
 * All elements, contiguous and aligned, as onnx_dtype() of its type; out->data is mem_free'd by the
 * caller. Errors: UNSUPPORTED (STRING, complex, unknown types), CORRUPT (payload of the wrong field
 * for the type, count of elements other than the shape's, broken varints), NO_MEMORY; the text
 * names file and tensor.
 */
NODISCARD shoal_status onnx_tensor_read(const struct onnx_tensor *tensor, struct tensor *out,
                                        struct shoal_error *error);

/* Serialised test data: a TensorProto, SequenceProto or OptionalProto (.pb). */
struct onnx_data {
    const char *name;
    enum onnx_kind kind;
    enum onnx_kind element; /* OPTIONAL: TENSOR or SEQUENCE (OTHER when absent); else kind */
    bool has_value;         /* false: an OPTIONAL that holds nothing */
    const struct onnx_tensor *tensors; /* TENSOR: one; SEQUENCE: count */
    size_t count;
};

/* kind is what the file is expected to hold (nothing in it says so). Errors: as onnx_open, INVALID
 * (kind is OTHER). onnx_data_close the result. */
NODISCARD shoal_status onnx_data_open(const char *path, enum onnx_kind kind, struct onnx_data **out,
                                      struct shoal_error *error);
NODISCARD shoal_status onnx_data_parse(const char *name, const void *bytes, size_t size,
                                       enum onnx_kind kind, struct onnx_data **out,
                                       struct shoal_error *error);
void onnx_data_close(struct onnx_data *data); /* NULL allowed */

/*
 * The main graph's stored tensors as a weight source: its initialisers, and the tensors of its
 * Constant nodes (attribute value) under the name of the node's output. Tensors inside subgraphs
 * and functions are not listed: their names are not unique. Strings and complex tensors are left
 * out.
 */
struct onnx_stored {
    const char *name;
    enum dtype dtype; /* as read */
    struct shape shape;
    size_t bytes; /* shape × dtype */
    const struct onnx_tensor *tensor;
    /* Where exactly these bytes lie: an index into the model's files and an offset; file is
     * ONNX_NO_FILE when they must be decoded (onnx_tensor_read). */
    size_t file, offset;
};
#define ONNX_NO_FILE SIZE_MAX

/*
 * borrow: a view into the map (possibly unaligned, as with safetensors), or a decoded copy that
 * release frees; release drops a view's pages. The model must outlive the source. Errors: CORRUPT
 * (two stored tensors of one name), NO_MEMORY; borrow's: NOT_FOUND and those of
 * onnx_tensor_read.
 */
NODISCARD shoal_status onnx_source_create(const struct onnx_model *model,
                                          struct weight_source **out, struct shoal_error *error);
/* All stored tensors in order of their names; lives as long as the source. */
const struct onnx_stored *onnx_source_list(const struct weight_source *source, size_t *count);
const struct onnx_stored *onnx_source_find(const struct weight_source *source, const char *name);

#endif
