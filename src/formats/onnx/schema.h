/* What the outline keeps of which message: the tables of onnx.proto, in the form the walk needs. */
#ifndef FORMATS_ONNX_SCHEMA_H
#define FORMATS_ONNX_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_kind {
    SCHEMA_VARINT,
    SCHEMA_FIXED32,
    SCHEMA_FIXED64, /* payload only */
    SCHEMA_BYTES,
    SCHEMA_TEXT, /* UTF-8 without zero bytes */
    SCHEMA_MESSAGE,
};

struct schema_message;

struct schema_field {
    uint32_t number;
    enum schema_kind kind;
    bool repeated; /* numbers may then be packed */
    bool payload;  /* stays in the file */
    const struct schema_message *message;
};

struct schema_message {
    const char *name;
    const struct schema_field *fields;
    size_t count;
};

#define SCHEMA_CHUNK_FIELD 1000

extern const struct schema_message schema_model, schema_tensor, schema_sequence, schema_optional;

/* NULL: not kept. */
const struct schema_field *schema_find(const struct schema_message *message, uint64_t number);

#endif
