/* Converters of the elementwise family. */
#include "formats/onnx/importer.h"

/* mode: enum binary_function. */
static shoal_status convert_binary(struct import_node *n) {
    struct import_value *inputs[2], *y;
    const struct op_attrs attrs = {.mode = n->mode};
    TRY(import_need(n, 0, &inputs[0]));
    TRY(import_need(n, 1, &inputs[1]));
    TRY(import_emit(n, OP_BINARY, &attrs, inputs, 2, &y));
    return import_set(n, 0, y);
}

/* mode: enum activation. */
static shoal_status convert_activation(struct import_node *n) {
    struct import_value *x, *y;
    const struct op_attrs attrs = {.activation = (enum activation)n->mode};
    TRY(import_need(n, 0, &x));
    TRY(import_emit(n, OP_ACTIVATION, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_elementwise_converters[] = {
    {"", "Add", convert_binary, BINARY_ADD},           {"", "Sub", convert_binary, BINARY_SUB},
    {"", "Mul", convert_binary, BINARY_MUL},           {"", "Div", convert_binary, BINARY_DIV},
    {"", "Relu", convert_activation, ACTIVATION_RELU}, {NULL, NULL, NULL, 0},
};
