/* What arrives: who sent it, HELLO and the transport's other own messages, fragments. I/O thread
 * only. */
#include "transport/zmq/zmq_internal.h"

#include "base/log.h"
#include "platform/clock.h"

#include <stdio.h>
#include <string.h>

#define MAX_CHATTER 1000 /* PING and PONG in a second; four are usual */
#define MAX_PARTS 2      /* a tag and a fragment */

struct arrival { /* one libzmq message without its envelope */
    zmq_msg_t parts[MAX_PARTS];
    int count; /* more than MAX_PARTS: the rest was dropped */
};

/* The peer broke the protocol: it hears why, the owner hears that it is lost. */
static void violate(struct link *link, enum refusal why, const char *text) {
    io_refuse(link->endpoint, why, link->name, text);
    char lost[CORE_TEXT];
    const bool version = why == REFUSED_VERSION && link->state == LINK_DIALLING;
    (void)snprintf(lost, sizeof lost, "%s: %.90s",
                   version ? "speaks another version" : "broke the protocol", text);
    link_end_with_bye(link, version ? TRANSPORT_LOST_VERSION : TRANSPORT_LOST_BREACH, lost,
                      BYE_REFUSED, text);
}

/* ---- HELLO ---- */

static bool limits_of_hello(const struct wire_message *message, struct wire_hello *hello,
                            struct core_limits *limits, struct shoal_error *error) {
    if (wire_hello_decode(message, hello, error) != SHOAL_OK) {
        return false;
    }
    *limits = (struct core_limits){hello->window, hello->control_window,
                                   (size_t)hello->message_bytes, hello->control_bytes};
    return true;
}

static void come_up(struct link *link, const struct wire_hello *hello,
                    const struct core_limits *limits, uint64_t now) {
    struct endpoint *e = link->endpoint;
    link->instance = hello->instance;
    link->serial = hello->serial;
    link->heard_ns = link->spoke_ns = link->pinged_ns = now;
    link->state = LINK_UP;
    if (!hello->session && strcmp(hello->name, link->user) != 0) {
        char own[WIRE_NAME_BYTES];
        wire_printable(hello->name, sizeof hello->name, own, sizeof own);
        log_info("%s calls itself \"%s\"; its key says otherwise", link->name, own);
    }
    if (!link->dialled) {
        link_hello(link);
    }
    (void)pthread_mutex_lock(&e->mutex);
    if (link->peer->state == CORE_DIALLING) {
        core_peer_up(&e->core, link->peer, limits);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    link->pump = true;
}

/* The answer to our HELLO. */
static void hello_of_dialled(struct link *link, const struct wire_message *message, uint64_t now) {
    struct wire_hello hello;
    struct core_limits limits;
    struct shoal_error error;
    if (link->state != LINK_DIALLING) {
        violate(link, REFUSED_ORDER, "a second HELLO");
    } else if (!limits_of_hello(message, &hello, &limits, &error)) {
        violate(link, REFUSED_MALFORMED, error.text);
    } else {
        come_up(link, &hello, &limits, now);
    }
}

/* Says BYE on a connection that never came up. */
static void turn_away(struct link *link, enum bye_reason reason, const char *text) {
    link_end_with_bye(link, TRANSPORT_LOST_REFUSED, NULL, reason, text);
}

enum meeting { MEET_NEW, MEET_AGAIN, MEET_TAKE_OVER, MEET_GIVE_WAY, MEET_BUSY };

/*
 * The device called and says HELLO; what do we have with it already? *old: the connection
 * concerned. Both sides decide alike which of two crossing dials lives: the one from the smaller
 * public key.
 */
static enum meeting meet(struct endpoint *e, struct link *link, const struct wire_hello *hello,
                         struct link **old) {
    const struct core_device *device = core_find(&e->core, link->name);
    if (device == NULL || device->current == NULL) {
        return MEET_NEW;
    }
    *old = device->current->link;
    if (device->current->state == CORE_DIALLING) {
        return *old == NULL || strcmp(e->keys.public_key, link->key) < 0 ? MEET_GIVE_WAY
                                                                         : MEET_TAKE_OVER;
    }
    const bool same = (*old)->instance == hello->instance && (*old)->serial == hello->serial;
    return same ? MEET_GIVE_WAY : MEET_AGAIN;
}

/* [lock] */
static shoal_status take_in(struct endpoint *e, struct link *link, bool session,
                            struct shoal_error *error) {
    struct core_peer *peer;
    if (session) {
        TRY(core_session_check(&e->core, link->user, error));
    }
    TRY(core_peer_new(&e->core, link->name, &peer, error));
    core_peer_hold(peer);
    peer->link = link;
    link->peer = peer;
    return SHOAL_OK;
}

/* The first message of an accepted connection, which has just been given a link. */
static void hello_of_accepted(struct link *link, const struct wire_message *message, uint64_t now) {
    struct endpoint *e = link->endpoint;
    struct wire_hello hello;
    struct core_limits limits;
    struct shoal_error error = {.text = ""};
    if (!limits_of_hello(message, &hello, &limits, &error)) {
        io_refuse(e, REFUSED_MALFORMED, link->name, error.text);
        turn_away(link, BYE_REFUSED, error.text);
        return;
    }
    if (hello.session) {
        core_session_name(link->user, hello.instance, link->name);
    }
    struct link *old = NULL;
    (void)pthread_mutex_lock(&e->mutex);
    const enum meeting meeting = meet(e, link, &hello, &old);
    if (meeting == MEET_TAKE_OVER) { /* our own dial ends, the owner's peer stays */
        link->peer = old->peer;
        link->peer->link = link;
        old->peer = NULL;
    }
    (void)pthread_mutex_unlock(&e->mutex);
    if (meeting == MEET_GIVE_WAY) {
        turn_away(link, BYE_CROSSED, "connected the other way");
        return;
    }
    if (meeting == MEET_AGAIN) {
        link_end(old, TRANSPORT_LOST_CLOSED, "connected anew");
    }
    if (meeting == MEET_TAKE_OVER) {
        link_kill(old);
    } else {
        (void)pthread_mutex_lock(&e->mutex);
        const shoal_status status = take_in(e, link, hello.session, &error);
        (void)pthread_mutex_unlock(&e->mutex);
        if (status != SHOAL_OK) {
            io_refuse(e, REFUSED_BUSY, link->name, error.text);
            turn_away(link, BYE_REFUSED, error.text);
            return;
        }
    }
    come_up(link, &hello, &limits, now);
}

/* ---- messages of a connection that is up ---- */

static void on_bye(struct link *link, const struct wire_message *message) {
    char text[CORE_TEXT], reason[96] = "";
    if (message->text != NULL) { /* a peer's words do not steer a terminal */
        wire_printable(message->text, message->header.text_bytes, reason, sizeof reason);
    }
    (void)snprintf(text, sizeof text, "refused us: %s", reason);
    if (link->state == LINK_DIALLING && message->header.items == BYE_CROSSED) {
        link_wait(link); /* until the dial's deadline */
        return;
    }
    switch (message->header.items) {
    case BYE_LEFT:
        link_end(link, TRANSPORT_LOST_LEFT, "left");
        break;
    case BYE_UNLISTED:
        link_end(link, TRANSPORT_LOST_REFUSED_KEY, text);
        break;
    default:
        link_end(link, TRANSPORT_LOST_REFUSED, text);
        break;
    }
}

static void on_credit(struct link *link, const struct wire_message *message) {
    struct endpoint *e = link->endpoint;
    if (message->header.microbatch == 0 && message->header.step == 0) {
        violate(link, REFUSED_CREDIT, "credit of nothing");
        return;
    }
    (void)pthread_mutex_lock(&e->mutex);
    const bool sound =
        link->peer == NULL || link->peer->state != CORE_UP ||
        core_credit(&e->core, link->peer, message->header.microbatch, message->header.step);
    (void)pthread_mutex_unlock(&e->mutex);
    if (!sound) {
        violate(link, REFUSED_CREDIT, "more credit than was used");
    }
}

/* A whole message in a buffer of the pool goes to the owner. */
static void deliver(struct link *link, struct message *message, enum wire_kind kind) {
    struct endpoint *e = link->endpoint;
    (void)pthread_mutex_lock(&e->mutex);
    const bool left = link->peer == NULL || link->peer->state != CORE_UP;
    const bool taken = !left && core_deliver(&e->core, link->peer, message, kind);
    (void)pthread_mutex_unlock(&e->mutex);
    if (!taken) {
        pool_give(message);
        if (!left) {
            violate(link, REFUSED_CREDIT, "a message beyond its credit or its size limit");
        }
    }
}

static void out_of_memory(struct link *link, size_t size) {
    log_error("no memory for a message of %zu bytes from %s", size, link->name);
    link_end_with_bye(link, TRANSPORT_LOST_FAILED, "no memory here for its message", BYE_REFUSED,
                      "out of memory");
}

/* Signs of life need no credit, and so could be sent for ever at full speed. */
static bool chatters(struct link *link, enum wire_kind kind, uint64_t now) {
    if (kind != WIRE_PING && kind != WIRE_PONG) {
        return false;
    }
    if (now > link->chatter_ns + CLOCK_SECOND) {
        link->chatter_ns = now;
        link->chatter = 0;
    }
    return ++link->chatter > MAX_CHATTER;
}

static void on_own_kind(struct link *link, const struct wire_message *message, uint64_t now) {
    if (chatters(link, message->header.kind, now)) {
        violate(link, REFUSED_ORDER, "signs of life without a pause");
        return;
    }
    switch (message->header.kind) {
    case WIRE_PING:
        link_pong(link, message->header.step, now);
        break;
    case WIRE_PONG:
        break; /* it was heard */
    case WIRE_CREDIT:
        on_credit(link, message);
        break;
    case WIRE_BYE:
        on_bye(link, message);
        break;
    case WIRE_HELLO:
        if (link->dialled) {
            hello_of_dialled(link, message, now);
        } else {
            violate(link, REFUSED_ORDER, "a second HELLO");
        }
        break;
    case WIRE_REQUEST:
    case WIRE_REPLY:
    case WIRE_EVENT:
    case WIRE_ACTIVATION:
    case WIRE_RESULT:
    case WIRE_PROBE:
    case WIRE_CHUNK:
    case WIRE_KIND_COUNT:
    default:
        break;
    }
}

static void on_whole(struct link *link, const void *bytes, size_t size, uint64_t now) {
    struct wire_message message;
    struct shoal_error error = {.text = ""};
    const shoal_status status = wire_decode(bytes, size, &message, &error);
    if (status != SHOAL_OK) {
        violate(link, status == SHOAL_VERSION ? REFUSED_VERSION : REFUSED_MALFORMED, error.text);
        return;
    }
    const enum wire_kind kind = message.header.kind;
    if (!wire_kind_is_data(kind) && !wire_kind_is_control(kind)) {
        on_own_kind(link, &message, now);
        return;
    }
    if (link->state != LINK_UP) {
        if (link->state != LINK_LEAVING) {
            violate(link, REFUSED_ORDER, "a message before HELLO");
        }
        return;
    }
    struct message *copy;
    if (pool_take(link->endpoint->core.pool, size, &copy, NULL) != SHOAL_OK) {
        out_of_memory(link, size);
        return;
    }
    memcpy(copy->outside.data, bytes, size);
    deliver(link, copy, kind);
}

static void finish_assembly(struct link *link) {
    struct message *message = link->assembling;
    link->assembling = NULL;
    link->assembly = (struct wire_assembly){0};
    struct wire_message decoded;
    struct shoal_error error = {.text = ""};
    if (wire_decode(message->outside.data, message->outside.size, &decoded, &error) != SHOAL_OK) {
        pool_give(message);
        violate(link, REFUSED_MALFORMED, error.text);
        return;
    }
    if (!wire_kind_is_data(decoded.header.kind) && !wire_kind_is_control(decoded.header.kind)) {
        pool_give(message);
        violate(link, REFUSED_MALFORMED, "the transport's own message in fragments");
        return;
    }
    deliver(link, message, decoded.header.kind);
}

/* Room for the message is taken at its first fragment: one per connection, whatever its credit. */
static void on_fragment(struct link *link, const uint8_t *tag, size_t tag_bytes, const void *bytes,
                        size_t size) {
    if (link->state == LINK_LEAVING) {
        return;
    }
    const struct core *core = &link->endpoint->core;
    const size_t limit =
        core->message_bytes > core->control_bytes ? core->message_bytes : core->control_bytes;
    uint64_t offset = 0;
    if (link->state != LINK_UP ||
        !wire_assembly_take(&link->assembly, tag, tag_bytes, size, limit, &offset)) {
        violate(link, REFUSED_MALFORMED, "a fragment out of place");
        return;
    }
    const size_t total = (size_t)link->assembly.total;
    if (offset == 0 && pool_take(core->pool, total, &link->assembling, NULL) != SHOAL_OK) {
        out_of_memory(link, total);
        return;
    }
    memcpy((uint8_t *)link->assembling->outside.data + offset, bytes, size);
    if (link->assembly.have == link->assembly.total) {
        finish_assembly(link);
    }
}

static void on_arrival(struct link *link, struct arrival *arrival, uint64_t now) {
    if (link->state == LINK_CLOSING || link->state == LINK_DEAD || link->state == LINK_WAITING) {
        link->handed++;
        return; /* dropped: the connection has been given up */
    }
    link->heard_ns = now;
    link->handed++;
    const uint64_t start = platform_now_ns();
    zmq_msg_t *first = &arrival->parts[0], *second = &arrival->parts[1];
    if (arrival->count == 1) {
        on_whole(link, zmq_msg_data(first), zmq_msg_size(first), now);
    } else if (arrival->count == 2) {
        on_fragment(link, zmq_msg_data(first), zmq_msg_size(first), zmq_msg_data(second),
                    zmq_msg_size(second));
    } else {
        violate(link, REFUSED_MALFORMED, "a message of too many parts");
    }
    if (link->peer != NULL) {
        const double seconds = 1e-9 * (double)(platform_now_ns() - start);
        (void)pthread_mutex_lock(&link->endpoint->mutex);
        link->peer->device->stats.receive_s += seconds;
        (void)pthread_mutex_unlock(&link->endpoint->mutex);
    }
}

/* ---- from the sockets ---- */

/* The parts that follow; false if there is nothing. All are taken, so that the socket stands at the
 * next message. */
static bool take_parts(void *socket, struct arrival *arrival) {
    arrival->count = 0;
    bool more = true;
    while (more) {
        zmq_msg_t spare;
        zmq_msg_t *part = arrival->count < MAX_PARTS ? &arrival->parts[arrival->count] : &spare;
        (void)zmq_msg_init(part);
        if (zmq_msg_recv(part, socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(part);
            break;
        }
        more = zmq_msg_more(part) != 0;
        if (part == &spare) {
            (void)zmq_msg_close(&spare);
        }
        arrival->count++;
    }
    return arrival->count > 0;
}

static void close_parts(struct arrival *arrival) {
    for (int i = 0; i < arrival->count && i < MAX_PARTS; i++) {
        (void)zmq_msg_close(&arrival->parts[i]);
    }
}

bool receive_dealer(struct link *link, uint64_t now) {
    struct arrival arrival;
    if (link->socket == NULL || !take_parts(link->socket, &arrival)) {
        return false;
    }
    on_arrival(link, &arrival, now);
    close_parts(&arrival);
    return true;
}

/* The connection that a ROUTER's message belongs to: the same routing id *and* the same
 * authenticated device. */
static struct link *find_link(struct endpoint *e, const void *id, size_t id_bytes,
                              const char *user) {
    for (struct link *link = e->links; link != NULL; link = link->next) {
        if (!link->dialled && link->state != LINK_DEAD && link->id_bytes == id_bytes &&
            memcmp(link->id, id, id_bytes) == 0 && strcmp(link->user, user) == 0) {
            return link;
        }
    }
    return NULL;
}

/* The first message of a connection: HELLO, or it is turned away. */
static void on_first(struct endpoint *e, const void *id, size_t id_bytes, const char *user,
                     struct arrival *arrival, uint64_t now) {
    struct link *link = link_new(e, user);
    if (link == NULL) {
        io_refuse(e, REFUSED_BUSY, user, "out of memory");
        return;
    }
    e->admitted -= e->admitted > 0 ? 1 : 0;
    memcpy(link->id, id, id_bytes);
    link->id_bytes = id_bytes;
    link_remember_fd(link, zmq_msg_get(&arrival->parts[0], ZMQ_SRCFD));
    link->handed = 1;
    door_known(&e->door, link->fd);
    link->next = e->links;
    e->links = link;
    (void)pthread_mutex_lock(&e->mutex);
    const struct zmq_allowed *entry = auth_find_name(&e->allow, user);
    if (entry != NULL) {
        memcpy(link->key, entry->public_key, sizeof link->key);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    struct wire_message message;
    struct shoal_error error = {.text = ""};
    const shoal_status status =
        arrival->count == 1 ? wire_decode(zmq_msg_data(&arrival->parts[0]),
                                          zmq_msg_size(&arrival->parts[0]), &message, &error)
                            : error_set(&error, SHOAL_CORRUPT, "a fragment before HELLO");
    if (entry == NULL) {
        io_refuse(e, REFUSED_NOT_ALLOWED, user, "no longer on the allow-list");
        turn_away(link, BYE_UNLISTED, "our key is no longer on its allow-list");
    } else if (status != SHOAL_OK) {
        io_refuse(e, status == SHOAL_VERSION ? REFUSED_VERSION : REFUSED_MALFORMED, user,
                  error.text);
        turn_away(link, BYE_REFUSED, error.text);
    } else if (message.header.kind == WIRE_HELLO) {
        hello_of_accepted(link, &message, now);
    } else if (message.header.kind == WIRE_BYE) {
        link_kill(link); /* changed its mind */
    } else {
        io_refuse(e, REFUSED_ORDER, user, "a message before HELLO");
        turn_away(link, BYE_REFUSED, "a message before HELLO");
    }
}

bool receive_router(struct endpoint *e, uint64_t now) {
    zmq_msg_t id;
    (void)zmq_msg_init(&id);
    if (e->router == NULL || zmq_msg_recv(&id, e->router, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(&id);
        return false;
    }
    struct arrival arrival = {.count = 0};
    if (zmq_msg_more(&id) != 0 && take_parts(e->router, &arrival)) {
        const char *user = zmq_msg_gets(&arrival.parts[0], "User-Id");
        if (user == NULL || user[0] == '\0') { /* cannot be: ZAP names everyone */
            io_refuse(e, REFUSED_KEY, "somebody", "a message without an authenticated sender");
        } else {
            struct link *link = find_link(e, zmq_msg_data(&id), zmq_msg_size(&id), user);
            if (link != NULL) {
                on_arrival(link, &arrival, now);
            } else {
                on_first(e, zmq_msg_data(&id), zmq_msg_size(&id), user, &arrival, now);
            }
        }
        close_parts(&arrival);
    }
    (void)zmq_msg_close(&id);
    return true;
}
