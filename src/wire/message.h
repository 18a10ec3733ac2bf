/*
 * The message format between devices: a fixed little-endian header, then tensor descriptors with
 * 64-byte-aligned payloads, or a control document (JSON text). Pure encoding and decoding of bytes
 * that the caller owns; nothing here allocates. Decoding trusts no byte: every length is checked
 * against the span before it is used, and nothing outside ever reaches an assertion.
 *
 * Layout (version 2): docs/protocol.md. A control message (REQUEST, REPLY, EVENT) is a header with
 * tensor_count 0 and text_bytes > 0; a data message (ACTIVATION, RESULT, PROBE, CHUNK) has tensors
 * and no text. The layout is canonical: equal contents have equal bytes, and whatever decodes
 * encodes back to the same bytes.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC UINT32_C(0x4C4F4853) /* "SHOL" */
#define WIRE_VERSION 2
#define WIRE_MAX_TENSORS 16
#define WIRE_MAX_MESSAGE_BYTES ((size_t)1 << 30)
#define WIRE_ALIGNMENT 64
#define WIRE_HEADER_BYTES 96
#define WIRE_DESCRIPTOR_BYTES 96

#define WIRE_KIND_LIST(X)                                                    \
    /* kept to itself by the transport */                                    \
    X(HELLO, "hello") /* versions, device name, message and credit limits */ \
    X(PING, "ping")                                                          \
    X(PONG, "pong")                                                          \
    X(CREDIT, "credit")                                                      \
    X(BYE, "bye") /* orderly close */                                        \
    /* control: JSON text */                                                 \
    X(REQUEST, "request")                                                    \
    X(REPLY, "reply")                                                        \
    X(EVENT, "event")                                                        \
    /* tensors */                                                            \
    X(ACTIVATION, "activation")                                              \
    X(RESULT, "result")                                                      \
    X(PROBE, "probe") /* measures a link */                                  \
    X(CHUNK, "chunk") /* a piece of a content: job = transfer, microbatch = offset */

enum wire_kind {
#define X(code, name) WIRE_##code,
    WIRE_KIND_LIST(X)
#undef X
        WIRE_KIND_COUNT
};

const char *wire_kind_name(enum wire_kind kind);
bool wire_kind_is_data(enum wire_kind kind);    /* ACTIVATION, RESULT, PROBE, CHUNK: cost credit */
bool wire_kind_is_control(enum wire_kind kind); /* REQUEST, REPLY, EVENT */

/* Who sends what, and for which placement: all that a receiver needs to drop what is stale. */
struct wire_header {
    enum wire_kind kind;
    uint64_t job;
    uint32_t generation; /* of the placement */
    uint16_t from_cell, from_stage, from_member, to_cell, to_stage, to_member;
    uint64_t microbatch; /* global number, from 0 */
    uint64_t step;
    uint64_t weight_version;
    uint32_t items; /* of the microbatch that are real; the rest is padding */
    uint32_t tensor_count;
    uint32_t text_bytes;
};

struct wire_message { /* views into the decoded span */
    struct wire_header header;
    const char *text;                        /* text_bytes, not terminated */
    struct tensor tensors[WIRE_MAX_TENSORS]; /* data: payload in the span, const by contract */
};

/* Bytes of a message with these tensors' types or this much text. Errors: INVALID (too many or too
 * large). */
NODISCARD shoal_status wire_size(const struct tensor *tensors, uint32_t tensor_count,
                                 size_t text_bytes, size_t *out, struct shoal_error *error);

/*
 * Writes header and descriptors (or the text; tensors may be NULL if there are none) into span;
 * tensors' payloads with data != NULL are copied, others left for the caller to write at
 * out_payloads[i] (may be NULL). *used is wire_size's figure. Errors: INVALID, NO_SPACE (span too
 * small).
 */
NODISCARD shoal_status wire_encode(const struct wire_header *header, const struct tensor *tensors,
                                   const char *text, void *span, size_t span_bytes,
                                   void **out_payloads, size_t *used, struct shoal_error *error);

/* Errors: CORRUPT (says which field), VERSION (names both versions). *out is a view into span. */
NODISCARD shoal_status wire_decode(const void *span, size_t span_bytes, struct wire_message *out,
                                   struct shoal_error *error);

#endif
