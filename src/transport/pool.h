/*
 * Message buffers that are used again: the step path allocates nothing once every size has been
 * seen.
 *
 * Sizes are rounded up to classes of an eighth of an octave (at most 12.5 % more than asked); each
 * class keeps a list of idle buffers. Idle bytes are bounded by twice the most that was ever in use
 * at once (plus 1 MiB), beyond that buffers go back to the system.
 *
 * Ownership: a message remembers its pool and returns there, whoever frees it. The pool lives until
 * its owner released it and its last message came home. Threads: all functions are thread-safe.
 */
#ifndef TRANSPORT_POOL_H
#define TRANSPORT_POOL_H

#include "transport/transport.h"

#include "base/status.h"

#include <stdatomic.h>
#include <stdint.h>

struct pool;
struct core_peer;

/* An entry of an event queue; lives in what it speaks of, so that queueing allocates nothing. */
struct core_node {
    struct core_node *next;
    uint64_t sequence; /* order over both queues */
    enum transport_event_kind kind;
    struct core_peer *peer;
};

/* The inside of a transport_message, which must stay its first member. */
struct message {
    struct transport_message outside;
    struct core_node node;
    struct message *next; /* in a list of idle buffers, or of messages to send */
    struct pool *home;
    struct core_peer *creditor; /* gets a credit when the message is freed; NULL: nobody */
    bool is_data;
    uint32_t class;
    atomic_uint fragments; /* being sent: pieces in the library's hands, and 1 until all have been
                              handed over */
    void *carrier;         /* the connection that sends it */
};

static inline struct message *message_of(struct transport_message *outside) {
    return (struct message *)outside;
}

NODISCARD shoal_status pool_create(struct pool **out, struct shoal_error *error);
void pool_release(struct pool *pool);

/* outside.size is set to size, the rest is cleared; the data are not. Errors: INVALID (too large),
 * NO_MEMORY. */
NODISCARD shoal_status pool_take(struct pool *pool, size_t size, struct message **out,
                                 struct shoal_error *error);
void pool_give(struct message *message);

void pool_measure(struct pool *pool, size_t *bytes, size_t *peak_bytes);

#endif
