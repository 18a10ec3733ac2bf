/*
 * Serving contents: answers `read` requests of peers with CHUNK messages (docs/protocol.md), the
 * same way on a device (from its cache, also of what is still arriving there) and at the owner
 * (from the model's files). Credit paces it: a peer's next chunk is read when the one before has
 * been accepted, round robin over the transfers that the peer has open. Bounded per peer:
 * SERVE_MAX_STREAMS transfers, each at most SERVE_MAX_AHEAD bytes ahead.
 *
 * Threads: the one that owns the transport. read blocks for the disk.
 */
#ifndef RUNTIME_SERVE_H
#define RUNTIME_SERVE_H

#include "transport/transport.h"

#include <jansson.h>

#define SERVE_CHUNK_BYTES ((size_t)256 << 10)
#define SERVE_READ_BYTES (INT64_C(1) << 20) /* asked at once, at most */
#define SERVE_MAX_AHEAD (UINT64_C(8) << 20) /* asked and not sent, of one transfer */
#define SERVE_MAX_STREAMS 512
#define SERVE_REFUSED 1 /* header.step of a CHUNK that carries a reason; items is its status */

struct serve_options {
    struct transport *transport; /* borrowed */
    /* Up to size bytes. *got 0 means that they are not there yet: serve_more asks again. NOT_FOUND
     * likewise, for wait_ns at most: the content may be about to come; then CLOSED is the answer.
     */
    shoal_status (*read)(void *context, const char *key, uint64_t offset, void *out, size_t size,
                         size_t *got, struct shoal_error *error);
    void *context;
    uint64_t wait_ns; /* 0: what is not found is refused at once */
};

struct serve;

NODISCARD shoal_status serve_create(const struct serve_options *options, struct serve **out,
                                    struct shoal_error *error);
void serve_destroy(struct serve *serve); /* NULL allowed */

/* A `read` request. What cannot be read is refused with a CHUNK. Errors: PROTOCOL (the document),
 * BUSY (more than the bounds above), NO_MEMORY. */
NODISCARD shoal_status serve_request(struct serve *serve, const char *peer, const json_t *request,
                                     struct shoal_error *error);

void serve_more(struct serve *serve); /* something that was not there may be there now */
/* serve_more is due then; CLOCK_NEVER = nothing waits that is not found. */
uint64_t serve_deadline_ns(const struct serve *serve);
void serve_writable(struct serve *serve, const char *peer);
void serve_peer_lost(struct serve *serve, const char *peer);

uint64_t serve_sent_bytes(const struct serve *serve); /* of contents, since creation */

#endif
