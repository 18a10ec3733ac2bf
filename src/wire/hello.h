/*
 * The body of HELLO, the first message of a connection in either direction, and the small messages
 * that the transport keeps to itself. Layout: docs/protocol.md. Nothing here allocates.
 */
#ifndef WIRE_HELLO_H
#define WIRE_HELLO_H

#include "wire/message.h"

#define WIRE_NAME_BYTES 64 /* device names, terminator included */
#define WIRE_HELLO_BYTES 104
#define WIRE_HELLO_MESSAGE_BYTES (WIRE_HEADER_BYTES + WIRE_HELLO_BYTES)

struct wire_hello {
    uint64_t
        instance;    /* drawn when the endpoint starts: tells a restarted device from the old one */
    uint64_t serial; /* how many connections with this peer the sender has seen end */
    uint64_t message_bytes;  /* largest data message that the sender of HELLO accepts */
    uint32_t control_bytes;  /* largest control message */
    uint32_t window;         /* data messages that it takes before credit comes back */
    uint32_t control_window; /* control messages likewise */
    bool session; /* the sender is a client: one of several endpoints of its key, which only dials
                   */
    char name[WIRE_NAME_BYTES]; /* what the sender calls itself: for messages to people, never
                                   trusted */
};

/* Writes the whole HELLO message. */
void wire_hello_encode(const struct wire_hello *hello, uint8_t span[WIRE_HELLO_MESSAGE_BYTES]);

/* message is decoded and of kind HELLO. Errors: CORRUPT (says which field). */
NODISCARD shoal_status wire_hello_decode(const struct wire_message *message, struct wire_hello *out,
                                         struct shoal_error *error);

#endif
