/*
 * The outline of an ONNX file: the same protobuf messages without the tensors' payloads, each of
 * which is replaced by where it lies (message Chunk of onnx.proto). Made by one walk over the wire
 * format that keeps its own stack, so that neither depth nor lengths in a file can hurt, and that
 * checks all that protobuf-c would take on trust. Fields that onnx.proto does not have are left
 * out.
 *
 * Errors: CORRUPT (cut off, a length beyond its message, field number 0, a wire type that is
 * unknown or not the field's, a name that is not UTF-8 or holds a zero byte, a message twice where
 * one belongs, nested deeper than ONNX_DEPTH_LIMIT, more than ONNX_MESSAGE_LIMIT messages, an
 * outline above ONNX_OUTLINE_LIMIT), NO_MEMORY. The text says at which byte and in which message.
 * Source: https://protobuf.dev/programming-guides/encoding
 */
#ifndef FORMATS_ONNX_OUTLINE_H
#define FORMATS_ONNX_OUTLINE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define ONNX_DEPTH_LIMIT 100 /* protobuf's own */
#define ONNX_MESSAGE_LIMIT ((size_t)4 << 20)
#define ONNX_OUTLINE_LIMIT ((size_t)64 << 20)

enum outline_root {
    OUTLINE_MODEL,
    OUTLINE_TENSOR,
    OUTLINE_SEQUENCE,
    OUTLINE_OPTIONAL,
};

struct outline {
    unsigned char *bytes; /* mem_free */
    size_t size;
};

NODISCARD shoal_status outline_make(enum outline_root root, const unsigned char *bytes, size_t size,
                                    struct outline *out, struct shoal_error *error);

#endif
