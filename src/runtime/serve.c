#include "runtime/serve.h"

#include "base/log.h"
#include "base/memory.h"
#include "formats/digest.h"
#include "platform/clock.h"
#include "runtime/control.h"

#include <stdio.h>
#include <string.h>

/* One transfer of one peer: bytes [next, end) are asked and not sent. */
struct stream {
    uint64_t transfer, next, end;
    uint64_t moved_ns; /* something was asked or sent */
    bool not_found;
    char key[DIGEST_TEXT];
};

struct serve_peer {
    struct serve_peer *next;
    char name[TRANSPORT_NAME_BYTES];
    struct transport_message *waiting; /* made, and not accepted by the transport yet */
    uint32_t count, turn;
    struct stream streams[SERVE_MAX_STREAMS];
};

struct serve {
    struct serve_options options;
    struct serve_peer *peers;
    uint64_t sent_bytes;
    unsigned char *buffer; /* SERVE_CHUNK_BYTES */
};

shoal_status serve_create(const struct serve_options *options, struct serve **out,
                          struct shoal_error *error) {
    struct serve *serve = mem_calloc(1, sizeof *serve);
    if (serve == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for serving contents");
    }
    serve->options = *options;
    *out = serve;
    return SHOAL_OK;
}

static void free_peer(struct serve *serve, struct serve_peer *peer) {
    struct transport *transport = serve->options.transport;
    transport->ops->message_free(transport, peer->waiting);
    mem_free(peer);
}

void serve_destroy(struct serve *serve) {
    if (serve == NULL) {
        return;
    }
    while (serve->peers != NULL) {
        struct serve_peer *peer = serve->peers;
        serve->peers = peer->next;
        free_peer(serve, peer);
    }
    mem_free(serve->buffer);
    mem_free(serve);
}

uint64_t serve_sent_bytes(const struct serve *serve) {
    return serve->sent_bytes;
}

static struct serve_peer *find_peer(const struct serve *serve, const char *name) {
    struct serve_peer *peer = serve->peers;
    while (peer != NULL && strcmp(peer->name, name) != 0) {
        peer = peer->next;
    }
    return peer;
}

static void remove_peer(struct serve *serve, struct serve_peer *gone) {
    struct serve_peer **at = &serve->peers;
    while (*at != gone) {
        at = &(*at)->next;
    }
    *at = gone->next;
    free_peer(serve, gone);
}

static void remove_stream(struct serve_peer *peer, struct stream *stream) {
    *stream = peer->streams[--peer->count];
}

/* A CHUNK of these bytes; a refusal if status is not OK. */
static shoal_status make_chunk(const struct serve *serve, const struct stream *stream,
                               const void *bytes, size_t size, shoal_status refusal,
                               struct transport_message **out, struct shoal_error *error) {
    struct transport *transport = serve->options.transport;
    const struct tensor tensor = {
        .dtype = DTYPE_U8, .shape = SHAPE((int64_t)size), .data = (void *)(uintptr_t)bytes};
    const struct wire_header header = {.kind = WIRE_CHUNK,
                                       .job = stream->transfer,
                                       .microbatch = stream->next,
                                       .step = refusal != SHOAL_OK ? SERVE_REFUSED : 0,
                                       .items = (uint32_t)refusal,
                                       .tensor_count = 1};
    size_t message_bytes, used;
    struct transport_message *message;
    TRY(wire_size(&tensor, 1, 0, &message_bytes, error));
    TRY(transport->ops->message_new(transport, message_bytes, &message, error));
    const shoal_status status =
        wire_encode(&header, &tensor, NULL, message->data, message->capacity, NULL, &used, error);
    if (status != SHOAL_OK) {
        transport->ops->message_free(transport, message);
        return status;
    }
    message->size = used;
    *out = message;
    return SHOAL_OK;
}

/* The stream's next chunk becomes the peer's waiting message. *nothing: its bytes are not there
 * yet. */
static shoal_status next_chunk(struct serve *serve, struct serve_peer *peer, struct stream *stream,
                               bool *nothing, struct shoal_error *error) {
    if (serve->buffer == NULL && (serve->buffer = mem_alloc(SERVE_CHUNK_BYTES)) == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a chunk");
    }
    const uint64_t left = stream->end - stream->next;
    const size_t size = left < SERVE_CHUNK_BYTES ? (size_t)left : SERVE_CHUNK_BYTES;
    size_t got = 0;
    struct shoal_error why;
    shoal_status status = serve->options.read(serve->options.context, stream->key, stream->next,
                                              serve->buffer, size, &got, &why);
    stream->not_found = status == SHOAL_NOT_FOUND && serve->options.wait_ns > 0;
    if (stream->not_found) {
        if (platform_now_ns() < stream->moved_ns + serve->options.wait_ns) {
            *nothing = true;
            return SHOAL_OK;
        }
        status = SHOAL_CLOSED;
    }
    if (status != SHOAL_OK) {
        log_info("%s cannot have content %s: %s", peer->name, stream->key, why.text);
        const size_t length = strlen(why.text);
        const shoal_status made = make_chunk(serve, stream, why.text, length > 0 ? length : 1,
                                             status, &peer->waiting, error);
        remove_stream(peer, stream);
        return made;
    }
    *nothing = got == 0;
    if (got == 0) {
        return SHOAL_OK;
    }
    TRY(make_chunk(serve, stream, serve->buffer, got, SHOAL_OK, &peer->waiting, error));
    serve->sent_bytes += got;
    stream->next += got;
    stream->moved_ns = platform_now_ns();
    if (stream->next == stream->end) {
        remove_stream(peer, stream);
    }
    return SHOAL_OK;
}

/* Sends while the peer has credit and something is there to be sent. */
static shoal_status pump(struct serve *serve, struct serve_peer *peer, struct shoal_error *error) {
    struct transport *transport = serve->options.transport;
    for (;;) {
        if (peer->waiting != NULL) {
            const shoal_status sent =
                transport->ops->send(transport, peer->name, peer->waiting, error);
            if (sent == SHOAL_BUSY) {
                return SHOAL_OK; /* serve_writable goes on */
            }
            TRY(sent);
            peer->waiting = NULL;
        }
        const uint32_t count = peer->count;
        for (uint32_t i = 0; i < count && peer->waiting == NULL; i++) {
            bool nothing = false;
            peer->turn = peer->turn + 1 < peer->count ? peer->turn + 1 : 0;
            TRY(next_chunk(serve, peer, &peer->streams[peer->turn], &nothing, error));
        }
        if (peer->waiting == NULL) {
            return SHOAL_OK;
        }
    }
}

/* A peer whose chunk cannot be made or sent has nothing to wait for here: it sees the silence. */
static void pump_or_drop(struct serve *serve, struct serve_peer *peer) {
    struct shoal_error error;
    const shoal_status status = pump(serve, peer, &error);
    if (status != SHOAL_OK) {
        log_warn("%s gets no more contents: %s", peer->name, error.text);
    }
    if (status != SHOAL_OK || (peer->count == 0 && peer->waiting == NULL)) {
        remove_peer(serve, peer);
    }
}

void serve_more(struct serve *serve) {
    struct serve_peer *next;
    for (struct serve_peer *peer = serve->peers; peer != NULL; peer = next) {
        next = peer->next;
        if (peer->waiting == NULL) {
            pump_or_drop(serve, peer);
        }
    }
}

uint64_t serve_deadline_ns(const struct serve *serve) {
    uint64_t deadline = CLOCK_NEVER;
    for (const struct serve_peer *peer = serve->peers; peer != NULL; peer = peer->next) {
        for (uint32_t i = 0; i < peer->count && peer->waiting == NULL; i++) {
            const struct stream *stream = &peer->streams[i];
            const uint64_t due = stream->moved_ns + serve->options.wait_ns;
            if (stream->not_found && due < deadline) {
                deadline = due;
            }
        }
    }
    return deadline;
}

void serve_writable(struct serve *serve, const char *name) {
    struct serve_peer *peer = find_peer(serve, name);
    if (peer != NULL) {
        pump_or_drop(serve, peer);
    }
}

void serve_peer_lost(struct serve *serve, const char *name) {
    struct serve_peer *peer = find_peer(serve, name);
    if (peer != NULL) {
        remove_peer(serve, peer);
    }
}

static shoal_status add_peer(struct serve *serve, const char *name, struct serve_peer **out,
                             struct shoal_error *error) {
    struct serve_peer *peer = mem_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for serving %s", name);
    }
    (void)snprintf(peer->name, sizeof peer->name, "%s", name);
    peer->next = serve->peers;
    serve->peers = peer;
    *out = peer;
    return SHOAL_OK;
}

/* Goes on with a transfer, or begins one. */
static shoal_status add_read(struct serve_peer *peer, const struct stream *read,
                             struct shoal_error *error) {
    for (uint32_t i = 0; i < peer->count; i++) {
        struct stream *stream = &peer->streams[i];
        if (stream->transfer != read->transfer) {
            continue;
        }
        if (strcmp(stream->key, read->key) != 0 || stream->end != read->next) {
            return error_set(error, SHOAL_PROTOCOL,
                             "a read of transfer %llu does not go on where the one before ended",
                             (unsigned long long)read->transfer);
        }
        if (read->end - stream->next > SERVE_MAX_AHEAD) {
            return error_set(error, SHOAL_BUSY, "transfer %llu asks too far ahead",
                             (unsigned long long)read->transfer);
        }
        stream->end = read->end;
        return SHOAL_OK;
    }
    if (peer->count == SERVE_MAX_STREAMS) {
        return error_set(error, SHOAL_BUSY, "%d transfers to %s are open already",
                         SERVE_MAX_STREAMS, peer->name);
    }
    peer->streams[peer->count++] = *read;
    return SHOAL_OK;
}

shoal_status serve_request(struct serve *serve, const char *name, const json_t *request,
                           struct shoal_error *error) {
    const char *key;
    int64_t offset, length, transfer;
    TRY(control_text(request, "content", DIGEST_TEXT - 1, &key, error));
    TRY(control_integer(request, "offset", 0, INT64_MAX / 2, &offset, error));
    TRY(control_integer(request, "length", 1, SERVE_READ_BYTES, &length, error));
    TRY(control_integer(request, "transfer", 0, INT64_MAX, &transfer, error));
    struct stream read = {.transfer = (uint64_t)transfer,
                          .next = (uint64_t)offset,
                          .end = (uint64_t)offset + (uint64_t)length,
                          .moved_ns = platform_now_ns()};
    (void)snprintf(read.key, sizeof read.key, "%s", key);
    struct serve_peer *peer = find_peer(serve, name);
    if (peer == NULL) {
        TRY(add_peer(serve, name, &peer, error));
    }
    const shoal_status status = add_read(peer, &read, error);
    if (peer->waiting == NULL) {
        pump_or_drop(serve, peer);
    }
    return status;
}
