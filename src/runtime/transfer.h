/*
 * A device's side of contents that travel: fetches contents from peers into its cache, and serves
 * what it has or is receiving (runtime/serve.h).
 *
 * A fetch asks its source for pieces (`read` requests of at most SERVE_READ_BYTES, TRANSFER_AHEAD
 * bytes ahead), appends what comes, verifies it when whole. What an earlier attempt left is gone on
 * with. Two fetches of one content are one: the second waits for the first. A source that sends
 * something else than was asked, that is lost, or that makes no progress fails the fetch, and no
 * other one. No progress is: nothing of this content for TRANSFER_STALL_NS and nothing at all from
 * that source either, or nothing of this content for TRANSFER_STARVE_NS.
 *
 * Hashing what is there and committing (a sync) happen on a thread of its own; writing, on the
 * caller's.
 *
 * Threads: the one that owns the transport. The callbacks are called on it, from within the
 * functions below; they may begin new fetches.
 */
#ifndef RUNTIME_TRANSFER_H
#define RUNTIME_TRANSFER_H

#include "formats/digest.h"
#include "runtime/serve.h"
#include "store/contents.h"
#include "wire/message.h"

#define TRANSFER_AHEAD (UINT64_C(4) << 20)
#define TRANSFER_STALL_NS (UINT64_C(20) * 1000000000)
#define TRANSFER_STARVE_NS (UINT64_C(120) * 1000000000)
/* A reader that asks for what is not here waits so long for it: it was told of us before we were
 * told to fetch it, or our own source has failed and another one is being found. */
#define TRANSFER_WAIT_NS (UINT64_C(10) * 1000000000)
#define TRANSFER_PROGRESS_NS (UINT64_C(1) * 1000000000)
#define TRANSFER_MAX_FETCHES 512   /* at once */
#define TRANSFER_MAX_OF_ASKER 128u /* at once, for one peer */

struct transfer_fetch {
    char asker[TRANSPORT_NAME_BYTES]; /* who wants it: its fetches end with it */
    char key[DIGEST_TEXT];
    uint64_t bytes;
    char source[TRANSPORT_NAME_BYTES];
    char address[256], public_key[64]; /* address "": the source is connected or dials itself */
};

struct transfer_result {
    const char *asker, *key;
    shoal_status status;
    const char *text;  /* why, if status is not OK */
    uint64_t received; /* bytes that came for it; without what was there */
};

struct transfer_options {
    struct transport *transport; /* borrowed, as contents is */
    struct contents *contents;
    void (*on_done)(void *context, const struct transfer_result *result);
    /* About once a second while something comes for an asker: bytes since it was last said. */
    void (*on_progress)(void *context, const char *asker, uint64_t received);
    void *context;
};

struct transfer;

NODISCARD shoal_status transfer_create(const struct transfer_options *options,
                                       struct transfer **out, struct shoal_error *error);
void transfer_destroy(struct transfer *transfer); /* partials stay; NULL allowed */

/* Ends by on_done, sooner or later. Errors: INVALID (key, source), BUSY (too many), NO_MEMORY; no
 * on_done then. */
NODISCARD shoal_status transfer_begin(struct transfer *transfer, const struct transfer_fetch *fetch,
                                      struct shoal_error *error);

/* A `read` request of a peer: as serve_request. */
NODISCARD shoal_status transfer_request(struct transfer *transfer, const char *peer,
                                        const json_t *request, struct shoal_error *error);

/* What the transport reports; a CHUNK's message stays the caller's. */
void transfer_chunk(struct transfer *transfer, const char *peer,
                    const struct wire_message *message);
void transfer_peer_up(struct transfer *transfer, const char *peer);
void transfer_peer_lost(struct transfer *transfer, const char *peer, const char *reason);
void transfer_writable(struct transfer *transfer, const char *peer);
void transfer_interrupted(struct transfer *transfer);

/* transfer_tick is due then; CLOCK_NEVER = nothing runs. */
uint64_t transfer_deadline_ns(const struct transfer *transfer);
void transfer_tick(struct transfer *transfer);

#endif
