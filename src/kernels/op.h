/* The ops of the house: names, arity and attributes. Kernels know ops; nothing of graphs or
 * gradients. */
#ifndef KERNELS_OP_H
#define KERNELS_OP_H

#include "kernels/ops_core.h"
#include "kernels/ops_elementwise.h"
#include "kernels/ops_layout.h"
#include "kernels/ops_network.h"
#include "kernels/ops_quant.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The ops come in families, each with a header that lists and describes them (OP_LIST_<FAMILY>),
 * a file of shape inference (op_infer_<family>.c) and reference kernels of its own:
 * - core: what builders and fusion make; the kernel sets compete on these
 * - elementwise: unary and binary functions with broadcasting, casts, choices, reductions
 * - layout: views, moves and copies of elements
 * - network: convolutions, pools, normalisations, recurrences and products of any rank
 * - quant: quantised arithmetic
 *
 * Only core ops take params. The others take constants as inputs (graph_add_constant,
 * graph_add_param_value), of any element type that their headers name; f16 and bf16 are storage
 * types that CAST alone reads and writes.
 */
#define OP_FAMILY_LIST(X)         \
    X(CORE, "core")               \
    X(ELEMENTWISE, "elementwise") \
    X(LAYOUT, "layout")           \
    X(NETWORK, "network")         \
    X(QUANT, "quant")

enum op_family {
#define X(code, name) OP_FAMILY_##code,
    OP_FAMILY_LIST(X)
#undef X
        OP_FAMILY_COUNT
};

#define OP_LIST(X)         \
    OP_LIST_CORE(X)        \
    OP_LIST_ELEMENTWISE(X) \
    OP_LIST_LAYOUT(X)      \
    OP_LIST_NETWORK(X)     \
    OP_LIST_QUANT(X)

enum op {
#define X(code, name, imin, imax, pmin, pmax, outputs) OP_##code,
    OP_LIST(X)
#undef X
        OP_COUNT
};

#define OP_MAX_INPUTS 16
#define OP_MAX_PARAMS 4
#define OP_MAX_OUTPUTS 4

#define ACTIVATION_LIST(X)                                                                     \
    X(NONE, "none")                                                                            \
    X(RELU, "relu")                                                                            \
    X(GELU_ERF, "gelu")       /* x·Φ(x), the exact form */                                   \
    X(GELU_TANH, "gelu_tanh") /* its tanh approximation */                                     \
    X(TANH, "tanh")                                                                            \
    X(SIGMOID, "sigmoid")                                                                      \
    X(RELU6, "relu6")               /* min(max(x, 0), 6) */                                    \
    X(SILU, "silu")                 /* x·sigmoid(x) */                                        \
    X(HARD_SIGMOID, "hard_sigmoid") /* min(max(x/6 + 1/2, 0), 1), PyTorch's and HardSwish's */ \
    X(HARD_SWISH, "hard_swish")     /* x·hard_sigmoid(x) */

enum activation {
#define X(code, name) ACTIVATION_##code,
    ACTIVATION_LIST(X)
#undef X
        ACTIVATION_COUNT
};

/*
 * How LINEAR and CONV2D store their weights and multiply. Inputs, outputs and bias stay f32, and
 * so does accumulation (i32 for I8):
 * - BF16: weights and, on the way into the product, activations rounded to bf16
 * - I8: weights i8 with one scale per output channel; activations quantised on the way, by row
 * - W8, W4: weights i8 or 4-bit in groups with scales; widened to f32 on the way into the product
 */
#define PRECISION_LIST(X) \
    X(F32, "f32")         \
    X(BF16, "bf16")       \
    X(I8, "int8")         \
    X(W8, "w8")           \
    X(W4, "w4")

enum precision {
#define X(code, name) PRECISION_##code,
    PRECISION_LIST(X)
#undef X
        PRECISION_COUNT
};

#define OP_ATTR_INTS 24
#define OP_ATTR_FLOATS 24

/* Unused attributes are 0. `mode`, `axis`, `ints` and `floats` mean what the op's description
 * says. */
struct op_attrs {
    enum activation activation;
    enum precision precision; /* LINEAR and CONV2D */
    float epsilon, scale;
    int32_t heads;
    int32_t stride[2], pad[4] /* top, left, bottom, right */, dilation[2], groups;
    int64_t index;
    bool transpose_a, transpose_b;
    int32_t mode, axis;
    int64_t ints[OP_ATTR_INTS];
    float floats[OP_ATTR_FLOATS];
};

/* Whether every attribute is the same, floats by their bits. */
bool op_attrs_equal(const struct op_attrs *a, const struct op_attrs *b);

struct op_info {
    const char *name;
    int inputs_min, inputs_max, params_min, params_max, outputs;
};

const struct op_info *op_describe(enum op op);
bool op_parse(const char *name, enum op *out);
enum op_family op_family(enum op op);
const char *precision_name(enum precision precision);
bool precision_parse(const char *name, enum precision *out);
const char *activation_name(enum activation activation);
bool activation_parse(const char *name, enum activation *out);

/* An element type and a shape without data. */
struct tensor_type {
    enum dtype dtype;
    struct shape shape;
};

/*
 * Output types from input and param types. Errors, which name the op and the offending shape:
 * MISMATCH when shapes do not fit each other, UNSUPPORTED for types or attributes no kernel has.
 */
NODISCARD shoal_status op_infer(enum op op, const struct op_attrs *attrs,
                                const struct tensor_type *inputs, int input_count,
                                const struct tensor_type *params, int param_count,
                                struct tensor_type *outputs, struct shoal_error *error);

/* Floating point operations of one call: what GFLOP/s figures use. Products of matrices only
 * (2·M·N·K), others count 0. */
double op_flops(enum op op, const struct op_attrs *attrs, const struct tensor_type *inputs,
                int input_count, const struct tensor_type *params, int param_count,
                const struct tensor_type *outputs);

#endif
