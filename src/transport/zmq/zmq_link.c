/* One connection: its birth and end, and its sending half. I/O thread only. */
#include "transport/zmq/zmq_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_PAUSE_NS (20 * CLOCK_MS)
#define PROBE_MS 5
#define LONGEST_PAUSE_NS (500 * CLOCK_MS)

enum sent {
    SENT,
    SENT_LATER,
    SENT_NEVER
}; /* later: libzmq's queue is full; never: no such peer any more */

struct link *link_new(struct endpoint *e, const char *name) {
    struct link *link = mem_calloc(1, sizeof *link);
    if (link == NULL) {
        return NULL;
    }
    link->endpoint = e;
    link->fd = -1;
    link->fragment_bytes = FIRST_FRAGMENT_BYTES;
    link->redial_pause_ns = FIRST_PAUSE_NS;
    atomic_init(&link->references, 1);
    (void)snprintf(link->name, sizeof link->name, "%s", name);
    (void)snprintf(link->user, sizeof link->user, "%s", name);
    return link;
}

void link_free(struct link *link) {
    resolve_drop(link->resolution);
    mem_free(link->address);
    mem_free(link);
}

/* ---- handing bytes to libzmq ---- */

static enum sent sent_of_errno(void) {
    return errno == EAGAIN ? SENT_LATER : SENT_NEVER;
}

/* What comes before the message itself: on the ROUTER whom it is for. */
static enum sent send_envelope(struct link *link, void **socket) {
    if (link->dialled) {
        *socket = link->socket;
        return SENT;
    }
    *socket = link->endpoint->router;
    if (zmq_send(*socket, link->id, link->id_bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
        return sent_of_errno();
    }
    return SENT;
}

static enum sent send_copy(struct link *link, const void *bytes, size_t count) {
    void *socket;
    const enum sent status = send_envelope(link, &socket);
    if (status != SENT) {
        return status;
    }
    return zmq_send(socket, bytes, count, ZMQ_DONTWAIT) >= 0 ? SENT : sent_of_errno();
}

static enum sent send_header(struct link *link, const struct wire_header *header,
                             const char *text) {
    uint8_t span[WIRE_HEADER_BYTES + CORE_TEXT];
    size_t used = 0;
    const shoal_status status =
        wire_encode(header, NULL, text, span, sizeof span, NULL, &used, NULL);
    ASSERT(status == SHOAL_OK);
    return send_copy(link, span, used);
}

static void message_done(struct message *message) {
    if (atomic_fetch_sub(&message->fragments, 1) == 1) {
        pool_give(message);
    }
}

/* libzmq's background thread (or whoever closes the message) is done with a fragment. */
static void fragment_done(void *data, void *hint) {
    (void)data;
    struct message *message = hint;
    struct link *link = message->carrier;
    struct endpoint *e = link->endpoint; /* outlives the context, and so every callback */
    message_done(message);
    atomic_store(&link->delay_ns, platform_now_ns() - atomic_load(&link->handed_ns));
    const bool low = atomic_fetch_sub(&link->underway, 1) - 1 <= FRAGMENTS_LOW;
    if (low && atomic_exchange(&link->starved, false)) {
        io_notify(e);
    }
    atomic_fetch_sub(&link->references, 1); /* the last that touches the link */
}

static enum sent send_fragment(struct link *link, struct message *message, size_t offset,
                               size_t count) {
    uint8_t *data = (uint8_t *)message->outside.data + offset;
    zmq_msg_t body;
    if (zmq_msg_init_data(&body, data, count, fragment_done, message) != 0) {
        return SENT_LATER; /* libzmq has no memory now */
    }
    atomic_fetch_add(&link->underway, 1);
    atomic_fetch_add(&link->references, 1);
    atomic_fetch_add(&message->fragments, 1);
    atomic_store(&link->handed_ns, platform_now_ns());
    void *socket;
    enum sent status = send_envelope(link, &socket);
    if (status == SENT && count < message->outside.size) {
        uint8_t tag[WIRE_TAG_BYTES];
        wire_tag_encode(message->outside.size, offset, tag);
        if (zmq_send(socket, tag, sizeof tag, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
            status = sent_of_errno();
        }
    }
    if (status == SENT && zmq_msg_send(&body, socket, ZMQ_DONTWAIT) < 0) {
        status = sent_of_errno();
    }
    if (status != SENT) {
        (void)zmq_msg_close(&body); /* runs the callback */
    }
    return status;
}

/* The next piece of the message in hand, which is over (NULL) after the last. */
static enum sent send_piece(struct link *link) {
    struct message *message = link->sending;
    const size_t size = message->outside.size;
    const size_t left = size - link->sent;
    const size_t count = left < link->fragment_bytes ? left : link->fragment_bytes;
    const enum sent status = size <= COPY_BYTES ? send_copy(link, message->outside.data, size)
                                                : send_fragment(link, message, link->sent, count);
    if (status == SENT) {
        link->sent += count;
        link->spoke_ns = platform_now_ns();
        if (link->sent == size) {
            link->sending = NULL;
            message_done(message);
        }
    }
    return status;
}

static bool next_message(struct link *link) {
    struct endpoint *e = link->endpoint;
    (void)pthread_mutex_lock(&e->mutex);
    struct message *message = link->out_head;
    if (message != NULL) {
        link->out_head = message->next;
        if (link->out_head == NULL) {
            link->out_tail = NULL;
        }
    }
    (void)pthread_mutex_unlock(&e->mutex);
    if (message == NULL) {
        return false;
    }
    message->carrier = link;
    atomic_store(&message->fragments, 1);
    link->sending = message;
    link->sent = 0;
    return true;
}

static enum sent send_credit(struct link *link) {
    struct endpoint *e = link->endpoint;
    (void)pthread_mutex_lock(&e->mutex);
    struct core_peer *peer = link->peer;
    if (peer != NULL && peer->state == CORE_UP) {
        if (peer->data_owed > 0 || peer->control_owed >= CONTROL_CREDIT_BATCH) {
            link->unsent_data += peer->data_owed;
            link->unsent_control += peer->control_owed;
            peer->data_held -= peer->data_owed;
            peer->control_held -= peer->control_owed;
            peer->data_owed = peer->control_owed = 0;
        }
    }
    (void)pthread_mutex_unlock(&e->mutex);
    if (link->unsent_data == 0 && link->unsent_control == 0) {
        return SENT;
    }
    const struct wire_header header = {
        .kind = WIRE_CREDIT, .microbatch = link->unsent_data, .step = link->unsent_control};
    const enum sent status = send_header(link, &header, NULL);
    if (status == SENT) {
        link->unsent_data = link->unsent_control = 0;
    }
    return status;
}

/* Longer fragments while they pass fast, shorter ones while they do not. */
static void adapt_fragments(struct link *link) {
    const uint64_t delay = atomic_exchange(&link->delay_ns, 0);
    if (delay > SLOW_NS && link->fragment_bytes > SHORT_FRAGMENT_BYTES) {
        link->fragment_bytes /= 2;
    } else if (delay > 0 && delay < FAST_NS && link->fragment_bytes < FRAGMENT_BYTES) {
        link->fragment_bytes *= 2;
    }
}

/* As much of what waits as may be underway. */
static enum sent send_messages(struct link *link) {
    for (;;) {
        if (link->sending == NULL && !next_message(link)) {
            return SENT;
        }
        if (atomic_load(&link->underway) >= FRAGMENTS_UNDERWAY) {
            atomic_store(&link->starved, true);
            if (atomic_load(&link->underway) > FRAGMENTS_LOW) {
                return SENT; /* fragment_done wakes us */
            }
            atomic_store(&link->starved, false);
        }
        adapt_fragments(link);
        const enum sent status = send_piece(link);
        if (status != SENT) {
            return status;
        }
    }
}

static void finish_leaving(struct link *link, uint64_t now) {
    const struct wire_header bye = {.kind = WIRE_BYE, .items = BYE_LEFT};
    (void)send_header(link, &bye, NULL);
    link->state = LINK_CLOSING;
    link->deadline_ns = now + FLUSH_NS;
    if (link->dialled) { /* libzmq sends what it has, then closes */
        const int linger_ms = (int)(FLUSH_NS / CLOCK_MS);
        (void)zmq_setsockopt(link->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        link_kill(link);
    }
}

void link_pump(struct link *link, uint64_t now) {
    link->pump = false;
    link->stalled = false;
    if (link->state != LINK_UP && link->state != LINK_LEAVING) {
        return;
    }
    const uint64_t start = platform_now_ns();
    enum sent status = send_credit(link);
    if (status == SENT) {
        status = send_messages(link);
    }
    if (link->peer != NULL) {
        const double seconds = 1e-9 * (double)(platform_now_ns() - start);
        (void)pthread_mutex_lock(&link->endpoint->mutex);
        link->peer->device->stats.send_s += seconds;
        (void)pthread_mutex_unlock(&link->endpoint->mutex);
    }
    if (status == SENT_NEVER) {
        link_end(link, TRANSPORT_LOST_CLOSED, "closed");
    } else if (status == SENT_LATER) {
        link->stalled = true;
    } else if (link->state == LINK_LEAVING && link->sending == NULL) {
        finish_leaving(link, now);
    }
}

void link_ping(struct link *link, uint64_t now) {
    link->pinged_ns = link->spoke_ns = now;
    const struct wire_header header = {.kind = WIRE_PING, .step = now};
    (void)send_header(link, &header, NULL); /* not sent is as good as not answered */
}

void link_pong(struct link *link, uint64_t step, uint64_t now) {
    link->spoke_ns = now;
    const struct wire_header header = {.kind = WIRE_PONG, .step = step};
    (void)send_header(link, &header, NULL);
}

void link_hello(struct link *link) {
    const struct endpoint *e = link->endpoint;
    struct wire_hello hello = {
        .instance = e->instance,
        .message_bytes = e->core.message_bytes,
        .control_bytes = (uint32_t)e->core.control_bytes,
        .window = e->core.window,
        .control_window = CORE_CONTROL_WINDOW,
        .session = e->core.session,
    };
    (void)pthread_mutex_lock(&link->endpoint->mutex);
    hello.serial = link->peer->device->ended;
    (void)pthread_mutex_unlock(&link->endpoint->mutex);
    (void)snprintf(hello.name, sizeof hello.name, "%s", e->core.name);
    uint8_t span[WIRE_HELLO_MESSAGE_BYTES];
    wire_hello_encode(&hello, span);
    if (send_copy(link, span, sizeof span) != SENT) {
        link->stalled = true; /* a new connection's queue is empty; if not, the deadline ends it */
    }
}

/* ---- dialling ---- */

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/*
 * Until another attempt: the next address of several; and a listener under attack drops nine of ten
 * calls, so that a new one has a better chance than the kernel's patience with the old.
 */
static int connect_timeout_ms(const struct link *link) {
    static const uint64_t timeouts_ms[] = {250, 500, 250, 1000}; /* slow networks have their turn */
    const uint64_t whole_ms = link->endpoint->core.lost_after_ns / CLOCK_MS;
    uint64_t ms = timeouts_ms[link->attempts % (sizeof timeouts_ms / sizeof timeouts_ms[0])];
    ms = ms < whole_ms ? ms : whole_ms;
    return ms > 0 ? (int)ms : 1;
}

static bool prepare_dealer(const struct link *link, void *dealer) {
    const struct endpoint *e = link->endpoint;
    const int64_t frame_limit = (int64_t)(FRAGMENT_BYTES + CURVE_OVERHEAD);
    return set_int(dealer, ZMQ_LINGER, 0) && set_int(dealer, ZMQ_RECONNECT_IVL, -1) &&
           set_int(dealer, ZMQ_SNDBUF, SEND_BUFFER_BYTES) && set_int(dealer, ZMQ_SNDHWM, 1024) &&
           set_int(dealer, ZMQ_RCVHWM, 64) &&
           set_int(dealer, ZMQ_HANDSHAKE_IVL,
                   (int)((e->core.lost_after_ns + CLOCK_SECOND) / CLOCK_MS)) &&
           set_int(dealer, ZMQ_IPV6, strchr(link->target, '[') != NULL) &&
           set_int(dealer, ZMQ_CONNECT_TIMEOUT, connect_timeout_ms(link)) &&
           zmq_setsockopt(dealer, ZMQ_MAXMSGSIZE, &frame_limit, sizeof frame_limit) == 0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_SERVERKEY, link->key, ZMQ_KEY_TEXT) == 0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_PUBLICKEY, e->keys.public_key, ZMQ_KEY_TEXT) == 0 &&
           zmq_setsockopt(dealer, ZMQ_CURVE_SECRETKEY, e->keys.secret_key, ZMQ_KEY_TEXT) == 0;
}

static bool watch_dealer(struct link *link) {
    char address[64];
    (void)snprintf(address, sizeof address, "inproc://shoal.monitor.%p", link->socket);
    const int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
                       ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                       ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    link->monitor = zmq_socket(link->endpoint->context, ZMQ_PAIR);
    return link->monitor != NULL && set_int(link->monitor, ZMQ_LINGER, 0) &&
           zmq_socket_monitor(link->socket, address, events) == 0 &&
           zmq_connect(link->monitor, address) == 0;
}

static void close_sockets(struct link *link) {
    if (link->monitor != NULL) {
        (void)zmq_socket_monitor(link->socket, NULL, 0);
        (void)zmq_close(link->monitor);
        link->monitor = NULL;
    }
    if (link->socket != NULL) {
        (void)zmq_close(link->socket);
        link->socket = NULL;
    }
}

/* The first or the next address to try; false: it is not known yet, or the dial is over. */
static bool choose_target(struct link *link) {
    if (!resolve_is_needed(link->address)) {
        link->target = link->address;
        return true;
    }
    if (link->resolution == NULL) {
        link->resolution = resolve_start(link->address, link->endpoint->wake_fd);
        if (link->resolution == NULL) {
            link_end(link, TRANSPORT_LOST_FAILED, "no thread or memory to look its name up");
        }
        return false;
    }
    link->target = link->resolution->addresses[link->attempts % link->resolution->count];
    return true;
}

void link_resolved(struct link *link, uint64_t now) {
    const struct resolution *resolution = link->resolution;
    if (resolution == NULL || !atomic_load(&resolution->done)) {
        return;
    }
    if (resolution->count == 0) {
        char text[CORE_TEXT];
        (void)snprintf(text, sizeof text, "the name \"%.50s\" was not found: %.40s",
                       resolution->at.host, resolve_failure(resolution));
        link_end(link, TRANSPORT_LOST_UNRESOLVED, text);
        return;
    }
    link_dial(link, now);
}

/* What the last attempt knows. */
void link_give_up(struct link *link) {
    char text[CORE_TEXT];
    const double seconds = (double)link->endpoint->core.lost_after_ns * 1e-9;
    const char *at = link->target != NULL ? link->target : link->address;
    enum transport_lost reason;
    if (link->target == NULL) {
        reason = TRANSPORT_LOST_UNRESOLVED;
        (void)snprintf(text, sizeof text, "the name in %.60s was not resolved within %.1f s", at,
                       seconds);
    } else if (link->broken > 0) {
        reason = TRANSPORT_LOST_WRONG_KEY;
        (void)snprintf(text, sizeof text,
                       "broke the handshake off: %.50s has another key than we were told", at);
    } else if (link->reached || link->timed_out) {
        reason = TRANSPORT_LOST_MUTE;
        (void)snprintf(text, sizeof text,
                       "%.60s accepts connections but did not answer within %.1f s", at, seconds);
    } else {
        /* libzmq does not say why, and on a busy machine a refusal looks like no answer. */
        const int failure = resolve_probe(at, PROBE_MS);
        if (failure == ENETUNREACH || failure == EHOSTUNREACH || failure == ENETDOWN) {
            reason = TRANSPORT_LOST_NO_ROUTE;
            (void)snprintf(text, sizeof text, "no network leads to %.60s", at);
        } else if (failure == 0 && !link->denied) {
            reason = TRANSPORT_LOST_MUTE;
            (void)snprintf(text, sizeof text, "%.60s takes calls, but did not answer within %.1f s",
                           at, seconds);
        } else if (failure == ECONNREFUSED || link->denied) {
            reason = TRANSPORT_LOST_NO_LISTENER;
            (void)snprintf(text, sizeof text, "nobody listens at %.60s", at);
        } else {
            reason = TRANSPORT_LOST_NO_ANSWER;
            (void)snprintf(text, sizeof text, "no answer from %.60s within %.1f s", at, seconds);
        }
    }
    link_end(link, reason, text);
}

void link_dial(struct link *link, uint64_t now) {
    close_sockets(link);
    if (!choose_target(link)) {
        link->redial_ns = 0;
        return;
    }
    link->attempt_ns = now;
    link->attempt_until_ns = now + (uint64_t)connect_timeout_ms(link) * CLOCK_MS;
    link->redial_ns = now + link->redial_pause_ns; /* should this attempt fail */
    link->redial_pause_ns =
        link->redial_pause_ns * 2 < LONGEST_PAUSE_NS ? link->redial_pause_ns * 2 : LONGEST_PAUSE_NS;
    link->socket = zmq_socket(link->endpoint->context, ZMQ_DEALER);
    if (link->socket == NULL || !prepare_dealer(link, link->socket) || !watch_dealer(link) ||
        zmq_connect(link->socket, link->target) != 0) {
        char text[CORE_TEXT];
        (void)snprintf(text, sizeof text, "cannot dial %.60s: %s", link->target,
                       zmq_strerror(errno));
        link_end(link, TRANSPORT_LOST_FAILED, text);
        return;
    }
    link->redial_ns = 0;
    link->attempts++;
    link->reached = false;
    link_hello(link);
}

void link_wait(struct link *link) {
    close_sockets(link);
    link->redial_ns = 0;
    link->state = LINK_WAITING;
}

/* ---- the end ---- */

/*
 * Where other streams keep a queue full, one whose few packets were lost doubles its pauses up to
 * seconds, and counts as silent. Linear pauses while little is underway keep it alive (Linux; a
 * stream with more underway is left as fair as any).
 */
static void keep_alive_in_crowds(int fd) {
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, &on, sizeof on);
}

void link_remember_fd(struct link *link, int fd) {
    struct stat status;
    link->fd = fd;
    const bool there = fd >= 0 && fstat(fd, &status) == 0;
    if (there) {
        keep_alive_in_crowds(fd);
    }
    link->device = there ? status.st_dev : 0;
    link->inode = there ? status.st_ino : 0;
}

bool link_fd_is_open(const struct link *link) {
    struct stat status;
    return link->fd >= 0 && fstat(link->fd, &status) == 0 && status.st_dev == link->device &&
           status.st_ino == link->inode;
}

/*
 * libzmq cannot close one connection of a ROUTER, so its descriptor is shut down underneath, after
 * a look that it is still the same socket. libzmq sees the end of the stream and cleans up.
 */
void link_shutdown(struct link *link) {
    if (!link->dialled && link_fd_is_open(link)) {
        (void)shutdown(link->fd, SHUT_RDWR);
    }
    if (!link->dialled && link->fd >= 0 && !link->close_seen) {
        link->endpoint->expected_closes++;
    }
    link->fd = -1;
}

/* Takes the link from the core: the owner hears the text (unless NULL), what was to be sent is
 * dropped. */
static void detach(struct link *link, enum transport_lost reason, const char *text) {
    struct endpoint *e = link->endpoint;
    (void)pthread_mutex_lock(&e->mutex);
    if (link->peer != NULL) {
        link->peer->link = NULL;
        core_peer_end(&e->core, link->peer, reason, text);
        core_peer_drop(link->peer);
        link->peer = NULL;
    }
    struct message *message = link->out_head;
    link->out_head = link->out_tail = NULL;
    for (struct link **at = &e->ready; link->ready && *at != NULL; at = &(*at)->next_ready) {
        if (*at == link) {
            *at = link->next_ready;
            link->ready = false;
            break;
        }
    }
    (void)pthread_mutex_unlock(&e->mutex);
    while (message != NULL) {
        struct message *next = message->next;
        pool_give(message);
        message = next;
    }
    if (link->sending != NULL) {
        message_done(link->sending);
        link->sending = NULL;
    }
    if (link->assembling != NULL) {
        pool_give(link->assembling);
        link->assembling = NULL;
    }
}

void link_kill(struct link *link) {
    detach(link, TRANSPORT_LOST_LEFT, NULL);
    link_shutdown(link);
    close_sockets(link);
    link->state = LINK_DEAD;
}

void link_end(struct link *link, enum transport_lost reason, const char *text) {
    if (link->state == LINK_DEAD) {
        return;
    }
    if (link->peer != NULL && text != NULL) {
        log_info("%s is lost: %s", link->name, text);
    }
    detach(link, reason, text);
    link_kill(link);
}

void link_end_with_bye(struct link *link, enum transport_lost reason, const char *text,
                       enum bye_reason bye_reason, const char *told_peer) {
    if (link->state == LINK_DEAD || link->state == LINK_CLOSING) {
        return;
    }
    const struct wire_header bye = {.kind = WIRE_BYE,
                                    .items = bye_reason,
                                    .text_bytes = (uint32_t)strnlen(told_peer, CORE_TEXT)};
    (void)send_header(link, &bye, told_peer);
    detach(link, reason, text);
    link->state = LINK_CLOSING;
    link->deadline_ns = platform_now_ns() + FLUSH_NS;
    if (link->dialled) {
        (void)set_int(link->socket, ZMQ_LINGER, (int)(FLUSH_NS / CLOCK_MS));
        link_kill(link);
    }
}

/* The owner has left this peer; what it sent before is still delivered. */
void link_leave(struct link *link, uint64_t now) {
    if (link->state != LINK_UP) {
        link_kill(link);
        return;
    }
    link->state = LINK_LEAVING;
    link->deadline_ns = now + FLUSH_NS;
    link->pump = true;
}
