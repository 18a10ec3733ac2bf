#include "formats/onnx/schema.h"

/* Kept in step with onnx.proto; a field that is here and not there would be ignored by protobuf-c,
 * one that is there and not here would never arrive. */

#define VARINT(number) \
    { number, SCHEMA_VARINT, false, false, NULL }
#define VARINTS(number) \
    { number, SCHEMA_VARINT, true, false, NULL }
#define FLOAT(number) \
    { number, SCHEMA_FIXED32, false, false, NULL }
#define FLOATS(number) \
    { number, SCHEMA_FIXED32, true, false, NULL }
#define BYTES(number) \
    { number, SCHEMA_BYTES, false, false, NULL }
#define BYTESES(number) \
    { number, SCHEMA_BYTES, true, false, NULL }
#define TEXT(number) \
    { number, SCHEMA_TEXT, false, false, NULL }
#define TEXTS(number) \
    { number, SCHEMA_TEXT, true, false, NULL }
#define ONE(number, type) \
    { number, SCHEMA_MESSAGE, false, false, &schema_##type }
#define MANY(number, type) \
    { number, SCHEMA_MESSAGE, true, false, &schema_##type }
#define PAYLOAD(number, kind) \
    { number, SCHEMA_##kind, true, true, NULL }
#define MESSAGE(type, text, ...)                                      \
    static const struct schema_field type##_fields[] = {__VA_ARGS__}; \
    const struct schema_message schema_##type = {text, type##_fields, \
                                                 sizeof type##_fields / sizeof type##_fields[0]}
#define OWN_MESSAGE(type, text, ...)                                  \
    static const struct schema_field type##_fields[] = {__VA_ARGS__}; \
    static const struct schema_message schema_##type = {              \
        text, type##_fields, sizeof type##_fields / sizeof type##_fields[0]}

/* Messages that contain each other. */
static const struct schema_message schema_type, schema_graph;

OWN_MESSAGE(entry, "StringStringEntryProto", TEXT(1), TEXT(2));

MESSAGE(tensor, "TensorProto", VARINTS(1), VARINT(2), PAYLOAD(4, FIXED32), PAYLOAD(5, VARINT),
        PAYLOAD(6, BYTES), PAYLOAD(7, VARINT), TEXT(8), PAYLOAD(9, BYTES), PAYLOAD(10, FIXED64),
        PAYLOAD(11, VARINT), MANY(13, entry), VARINT(14));

OWN_MESSAGE(sparse, "SparseTensorProto", ONE(1, tensor));

OWN_MESSAGE(dimension, "TensorShapeProto.Dimension", VARINT(1), TEXT(2));
OWN_MESSAGE(shape, "TensorShapeProto", MANY(1, dimension));
OWN_MESSAGE(tensor_type, "TypeProto.Tensor", VARINT(1), ONE(2, shape));
OWN_MESSAGE(nested_type, "TypeProto.Sequence", ONE(1, type));
static const struct schema_message schema_other_type = {"TypeProto.Map", NULL, 0};
OWN_MESSAGE(type, "TypeProto", ONE(1, tensor_type), ONE(4, nested_type), ONE(5, other_type),
            ONE(7, other_type), ONE(8, other_type), ONE(9, nested_type));
OWN_MESSAGE(value, "ValueInfoProto", TEXT(1), ONE(2, type));

OWN_MESSAGE(attribute, "AttributeProto", TEXT(1), FLOAT(2), VARINT(3), BYTES(4), ONE(5, tensor),
            ONE(6, graph), FLOATS(7), VARINTS(8), BYTESES(9), MANY(10, tensor), MANY(11, graph),
            VARINT(20), TEXT(21));
OWN_MESSAGE(node, "NodeProto", TEXTS(1), TEXTS(2), TEXT(3), TEXT(4), MANY(5, attribute), TEXT(7),
            TEXT(8));
OWN_MESSAGE(graph, "GraphProto", MANY(1, node), TEXT(2), MANY(5, tensor), MANY(11, value),
            MANY(12, value), MANY(13, value), MANY(15, sparse));

OWN_MESSAGE(opset, "OperatorSetIdProto", TEXT(1), VARINT(2));
OWN_MESSAGE(function, "FunctionProto", TEXT(1), TEXTS(4), TEXTS(5), TEXTS(6), MANY(7, node),
            MANY(9, opset), TEXT(10), MANY(11, attribute), MANY(12, value), TEXT(13));
MESSAGE(model, "ModelProto", VARINT(1), TEXT(2), TEXT(3), ONE(7, graph), MANY(8, opset),
        MANY(25, function));

MESSAGE(sequence, "SequenceProto", TEXT(1), VARINT(2), MANY(3, tensor));
MESSAGE(optional, "OptionalProto", TEXT(1), VARINT(2), ONE(3, tensor), ONE(5, sequence));

const struct schema_field *schema_find(const struct schema_message *message, uint64_t number) {
    for (size_t i = 0; i < message->count; i++) {
        if (message->fields[i].number == number) {
            return &message->fields[i];
        }
    }
    return NULL;
}
