/*
 * What a converter sees: one ONNX node, its inputs as values of the importer, helpers to read its
 * attributes and to emit nodes of the IR. A converter turns one op_type into IR nodes; it lives in
 * the file of its family (import_<family>.c), in that file's table.
 *
 * How a converter looks:
 *
 *     static shoal_status convert_transpose(struct import_node *n) {
 *         struct import_value *x, *y;
 *         TRY(import_need(n, 0, &x));
 *         ... import_attr_ints(n, "perm", ...) ...
 *         TRY(import_emit(n, OP_TRANSPOSE, &attrs, &x, 1, &y));
 *         return import_set(n, 0, y);
 *     }
 *
 * It need not care about constants: a node emitted on nothing but constants is computed at once
 * (small ones) or becomes a derived weight (graph/derived.h). It need not care about f16 and bf16
 * either: such values are f32 in the IR, widened before the converter sees them. Types without an
 * element type in the IR are widened as well: int4 and int2 are i8, their unsigned kin u8, the
 * 8-bit and 4-bit floats f32.
 *
 * Every attribute that a node has must be asked for, or the node is refused: an attribute nobody
 * knows is never ignored silently (import_attr_ignore says that one does not matter).
 *
 * Refusals: import_refuse(n, "what is missing") is UNSUPPORTED; the text gets node and op in front.
 * Malformed nodes (too few inputs, attributes of a wrong type) are CORRUPT: import_corrupt. Errors
 * of shape inference come back from import_emit and are passed on. All numbers in attributes and
 * inputs are hostile: check before computing with them.
 *
 * Memory: values live as long as the importer; nothing is freed by converters.
 */
#ifndef FORMATS_ONNX_IMPORTER_H
#define FORMATS_ONNX_IMPORTER_H

#include "formats/onnx/onnx.h"
#include "graph/graph.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The IR's type for elements that ONNX gives this number (enum onnx_dtype), widened and as CAST
 * knows it (FLOAT16: f32, f16); false: none (strings, complex numbers). What ONNX calls an IR type,
 * ONNX_UNDEFINED for none. */
bool import_element_dtype(int element, enum dtype *out); /* as in import.h */
bool import_element_stored(int element, enum dtype *out);
int import_element_of(enum dtype dtype);

enum import_kind {
    IMPORT_RUNTIME,  /* computed by the graph from its inputs */
    IMPORT_CONSTANT, /* known at import, or computed from weights alone */
    IMPORT_SEQUENCE, /* a list of values, which exists at import only */
    IMPORT_NOTHING,  /* an empty optional */
    IMPORT_UNKNOWN,  /* the result of a refused node, while refusals are collected */
};

/* Fields are for reading; element and type of the first two kinds only. */
struct import_value {
    enum import_kind kind;
    int element;                 /* what the model calls the elements: enum onnx_dtype */
    struct tensor_type type;     /* in the IR: every dim is a number */
    struct import_value **items; /* SEQUENCE */
    uint32_t item_count;
    bool optional; /* made by Optional, or an input of such a type */

    /* The importer's own. */
    graph_value_id id;                /* in the graph; of constants once a node reads them */
    graph_param_id param;             /* CONSTANT, once a node reads it */
    graph_value_id derived;           /* CONSTANT: its value in the constants graph */
    const void *data;                 /* CONSTANT: its elements, once they are known */
    void *memory;                     /* CONSTANT: the same, if import_constant made it */
    const struct onnx_tensor *tensor; /* CONSTANT: where they are in the file */
    const char *stored;               /* CONSTANT: what the weight source calls it */
    uint64_t needs;                   /* RUNTIME: bit i: computed from the graph's input i */
};

struct importer;
struct import_frame;

struct import_node {
    struct importer *importer;
    const struct import_frame *frame; /* the importer's own */
    const struct onnx_node *onnx;
    const char *name; /* the node's, or its first output's; for messages and for IR nodes */
    const char *op_type;
    int64_t version;      /* opset version of the node's domain */
    int mode;             /* from the converter's table */
    uint32_t input_count; /* trailing ones may be absent, too */
    uint32_t output_count;
    struct import_value **inputs; /* NULL: left out */
    struct import_value **outputs;
    uint64_t used_attributes; /* bit i: attribute i was asked for */
    struct shoal_error *error;
};

typedef shoal_status (*import_convert)(struct import_node *n);

struct import_converter {
    const char *domain; /* "" is the standard's own, also called ai.onnx */
    const char *op_type;
    import_convert convert;
    int mode; /* handed to convert, so that one serves several op_types */
};

/* Each family's table ends with an op_type of NULL. */
extern const struct import_converter import_elementwise_converters[];
extern const struct import_converter import_layout_converters[];
extern const struct import_converter import_network_converters[]; /* products, normalisations */
extern const struct import_converter import_window_converters[];  /* convolutions, pools */
extern const struct import_converter import_recurrent_converters[], import_einsum_converters[];
extern const struct import_converter import_sample_converters[], import_signal_converters[];
extern const struct import_converter import_boxes_converters[], import_attention_converters[];
extern const struct import_converter import_quant_converters[];

/* ---- refusals ---- */

#define import_refuse(n, ...) \
    error_is(SHOAL_UNSUPPORTED, import_fail_text((n), SHOAL_UNSUPPORTED, __VA_ARGS__))
#define import_corrupt(n, ...) \
    error_is(SHOAL_CORRUPT, import_fail_text((n), SHOAL_CORRUPT, __VA_ARGS__))
shoal_status import_fail_text(struct import_node *n, shoal_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* UNSUPPORTED: "<op> of <element>". */
NODISCARD shoal_status import_refuse_type(struct import_node *n, const struct import_value *value);
NODISCARD shoal_status import_no_memory(struct import_node *n);

/* Zeroed memory that lives as long as the importer; NULL: none. */
void *import_alloc(struct import_node *n, size_t size);

/* ---- attributes ---- Errors: CORRUPT (another type), UNSUPPORTED (more than max). */

bool import_attr_has(struct import_node *n, const char *name);
void import_attr_ignore(struct import_node *n, const char *name);
NODISCARD shoal_status import_attr_int(struct import_node *n, const char *name, int64_t fallback,
                                       int64_t *out);
NODISCARD shoal_status import_attr_float(struct import_node *n, const char *name, float fallback,
                                         float *out);
NODISCARD shoal_status import_attr_string(struct import_node *n, const char *name,
                                          const char *fallback, const char **out);
/* The index in choices (ended by NULL) of the string attribute; UNSUPPORTED for another text. */
NODISCARD shoal_status import_attr_choice(struct import_node *n, const char *name,
                                          const char *const *choices, int fallback, int *out);
/* *count is -1 where the attribute is left out. */
NODISCARD shoal_status import_attr_ints(struct import_node *n, const char *name, int64_t *out,
                                        int max, int *count);
NODISCARD shoal_status import_attr_floats(struct import_node *n, const char *name, float *out,
                                          int max, int *count);
/* A string of a list; *out is NULL where the attribute is left out or shorter. */
NODISCARD shoal_status import_attr_text(struct import_node *n, const char *name, uint32_t index,
                                        const char **out);
/* A constant; *out is NULL where the attribute is left out. */
NODISCARD shoal_status import_attr_tensor(struct import_node *n, const char *name,
                                          struct import_value **out);

/* axis in [-rank, rank) → [0, rank). CORRUPT otherwise. */
NODISCARD shoal_status import_axis(struct import_node *n, int64_t axis, int rank, int *out);

/* ---- inputs ---- */

/* NULL: left out. */
struct import_value *import_input(const struct import_node *n, uint32_t index);
/* Errors: CORRUPT (left out), UNSUPPORTED (no tensor: a sequence, an empty optional). */
NODISCARD shoal_status import_need(struct import_node *n, uint32_t index,
                                   struct import_value **out);
bool import_is_constant(const struct import_value *value);

/*
 * What an op must know of an input to know its output's shape. Errors: UNSUPPORTED where the value
 * is not known at import; the text says which graph input's value would do.
 * Elements as they are (type.dtype), as integers (any integer type or bool; UNSUPPORTED beyond
 * max), as one number (of any type; CORRUPT unless there is exactly one).
 */
NODISCARD shoal_status import_bytes(struct import_node *n, struct import_value *value,
                                    const void **out);
NODISCARD shoal_status import_ints(struct import_node *n, struct import_value *value, int64_t *out,
                                   int max, int *count);
NODISCARD shoal_status import_int(struct import_node *n, struct import_value *value, int64_t *out);
NODISCARD shoal_status import_number(struct import_node *n, struct import_value *value,
                                     double *out);

/* ---- what a converter makes ---- */

/*
 * Appends a node; out receives the op's outputs. inputs of kind CONSTANT become param values; if
 * all are, the node is computed now or as a derived weight. Errors: those of graph_add_node.
 */
NODISCARD shoal_status import_emit(struct import_node *n, enum op op, const struct op_attrs *attrs,
                                   struct import_value *const inputs[], int input_count,
                                   struct import_value *out[]);
/* The same for core ops that pack params; params must be constants (import_is_constant) of f32. */
NODISCARD shoal_status import_emit_packed(struct import_node *n, enum op op,
                                          const struct op_attrs *attrs,
                                          struct import_value *const inputs[], int input_count,
                                          struct import_value *const params[], int param_count,
                                          struct import_value *out[]);

/* A constant whose elements are copied from data (NULL: zeros). */
NODISCARD shoal_status import_constant(struct import_node *n, enum dtype dtype,
                                       const struct shape *shape, const void *data,
                                       struct import_value **out);
/* Where a constant that import_constant just made can be written; not after anything has read it.
 */
void *import_constant_data(struct import_value *value);
/* Of rank 0 and any type, rounded to it. */
NODISCARD shoal_status import_scalar(struct import_node *n, enum dtype dtype, double number,
                                     struct import_value **out);

/* TRANSPOSE and RESHAPE; where nothing changes *out is x itself. Of `to` every dim is a number. */
NODISCARD shoal_status import_transpose(struct import_node *n, struct import_value *x,
                                        const int64_t *order, struct import_value **out);
NODISCARD shoal_status import_reshape(struct import_node *n, struct import_value *x,
                                      const struct shape *to, struct import_value **out);
/* Any number of values along an axis, as a tree of CONCATs. `length` elements from `start` on. */
NODISCARD shoal_status import_join(struct import_node *n, struct import_value *const *values,
                                   size_t count, int axis, struct import_value **out);
NODISCARD shoal_status import_part(struct import_node *n, struct import_value *x, int axis,
                                   int64_t start, int64_t length, struct import_value **out);
/* [N,C,spatial...] → [N,spatial...,C] and back, of any rank from 2. */
NODISCARD shoal_status import_channels_last(struct import_node *n, struct import_value *x,
                                            struct import_value **out);
NODISCARD shoal_status import_channels_first(struct import_node *n, struct import_value *x,
                                             struct import_value **out);

/*
 * The node's output `index`. Its element is that of the first input with the same IR type unless
 * import_set_as says otherwise (Cast, QuantizeLinear: where several elements share one IR type).
 */
NODISCARD shoal_status import_set(struct import_node *n, uint32_t index,
                                  struct import_value *value);
NODISCARD shoal_status import_set_as(struct import_node *n, uint32_t index,
                                     struct import_value *value, int element);
/* Whether anyone reads that output. */
bool import_wants(const struct import_node *n, uint32_t index);

#endif
