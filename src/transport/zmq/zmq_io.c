/*
 * The I/O thread: one loop that owns every socket. Each turn it takes what the owner wants, answers
 * ZAP, reads monitors and sockets, lets timers run, and sends what may be sent. It never blocks
 * but in zmq_poll, whose timeout is the nearest timer.
 */
#include "transport/zmq/zmq_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RETRY_NS (5 * CLOCK_MS)     /* libzmq's queue was full */
#define SUSPICION_NS (2 * CLOCK_MS) /* between looks whether a descriptor is closed */
#define SUSPICION_LOOKS 200
#define STALL_NS (500 * CLOCK_MS) /* this thread itself did not run: peers get as much longer */
#define MAX_BROKEN 5
#define BROKEN_PAUSE_NS (100 * CLOCK_MS)
#define SLOW_BREAK_NS \
    CLOCK_SECOND /* who breaks off so late has lost patience: busy, or we are slow */
#define LOG_AGAIN_NS (600 * CLOCK_SECOND)
#define ROUTER_BATCH 256
#define DEALER_BATCH 64
#define ZAP_BATCH 64

enum { ITEM_WAKE, ITEM_ZAP, ITEM_MONITOR, ITEM_ROUTER, ITEM_FIRST_LINK };

void io_notify(struct endpoint *e) {
    if (!atomic_exchange(&e->notified, true)) {
        const uint64_t one = 1;
        const ssize_t written = write(e->wake_fd, &one, sizeof one);
        (void)written;
    }
}

void io_mark_ready(struct endpoint *e, struct link *link) {
    if (!link->ready) {
        link->ready = true;
        link->next_ready = e->ready;
        e->ready = link;
    }
}

void io_refuse(struct endpoint *e, enum refusal why, const char *who, const char *text) {
    atomic_fetch_add(&e->core.refused, 1);
    if (why == REFUSED_KEY) {
        e->expected_closes++;
    }
    struct refused *kind = &e->refusals[why];
    const uint64_t now = platform_now_ns();
    if (kind->logged_ns == 0) {
        kind->logged_ns = now;
        log_warn("refused %s: %s (further ones of this kind are counted)", who, text);
    } else if (now - kind->logged_ns > LOG_AGAIN_NS) {
        log_warn("refused %s: %s (and %llu of this kind before)", who, text,
                 (unsigned long long)kind->since);
        *kind = (struct refused){.logged_ns = now};
    } else {
        kind->since++;
    }
}

/* ---- from the owner ---- */

static void check_allowed(struct endpoint *e, struct link *link) {
    (void)pthread_mutex_lock(&e->mutex);
    const struct zmq_allowed *entry = auth_find_name(&e->allow, link->user);
    const bool on_list = entry != NULL && strcmp(entry->public_key, link->key) == 0;
    (void)pthread_mutex_unlock(&e->mutex);
    const bool over = !on_list && (!link->dialled || link->listed);
    link->listed = on_list;
    if (over) {
        link_end_with_bye(link, TRANSPORT_LOST_UNLISTED, "no longer on the allow-list",
                          BYE_UNLISTED, "our key is no longer on its allow-list");
    }
}

static void begin_stopping(struct endpoint *e, uint64_t now) {
    e->stop_by_ns = now + FLUSH_NS;
    for (struct link *link = e->links; link != NULL; link = link->next) {
        if (link->state == LINK_UP) {
            link_leave(link, now);
        } else if (link->state == LINK_DIALLING || link->state == LINK_WAITING) {
            link_kill(link);
        }
    }
}

static void take_commands(struct endpoint *e, uint64_t now) {
    (void)pthread_mutex_lock(&e->mutex);
    struct link *fresh = e->fresh;
    e->fresh = NULL;
    for (struct link *link = e->ready; link != NULL; link = link->next_ready) {
        link->ready = false;
        link->pump = true;
    }
    e->ready = NULL;
    const bool allow_changed = e->allow_changed;
    e->allow_changed = false;
    const bool stopping = e->stopping;
    (void)pthread_mutex_unlock(&e->mutex);
    while (fresh != NULL) {
        struct link *link = fresh;
        fresh = link->next;
        link->next = e->links;
        e->links = link;
        link->deadline_ns = now + e->core.lost_after_ns;
        link_dial(link, now);
    }
    for (struct link *link = e->links; link != NULL; link = link->next) {
        (void)pthread_mutex_lock(&e->mutex);
        const bool leave = link->leave;
        link->leave = false;
        (void)pthread_mutex_unlock(&e->mutex);
        if (leave && link->state != LINK_DEAD) {
            link_leave(link, now);
        }
        if (allow_changed && link->state != LINK_DEAD) {
            check_allowed(e, link);
        }
    }
    if (stopping && e->stop_by_ns == 0) {
        begin_stopping(e, now);
    }
}

/* ---- monitors ---- */

/* One event of a socket monitor; false if there is none. */
static bool monitor_read(void *monitor, uint16_t *event, uint32_t *value) {
    uint8_t head[6], address[256];
    if (monitor == NULL || zmq_recv(monitor, head, sizeof head, ZMQ_DONTWAIT) < 6) {
        return false;
    }
    (void)zmq_recv(monitor, address, sizeof address, ZMQ_DONTWAIT);
    memcpy(event, head, sizeof *event);
    memcpy(value, head + 2, sizeof *value);
    return true;
}

static void read_router_monitor(struct endpoint *e, uint64_t now) {
    uint16_t event;
    uint32_t value;
    const size_t room = sizeof e->closed / sizeof e->closed[0];
    while (e->closed_count < room && monitor_read(e->router_monitor, &event, &value)) {
        if (event == ZMQ_EVENT_LISTENING) {
            door_listens(&e->door, (int)value);
        } else if (event == ZMQ_EVENT_ACCEPTED) {
            door_call(&e->door, (int)value, now);
        } else if (event == ZMQ_EVENT_DISCONNECTED) {
            const bool cut = door_gone(&e->door, (int)value);
            e->closed[e->closed_count++] = (struct closed){.fd = (int)value, .cut = cut};
        }
    }
}

/* Closed connections, once everything that they sent has been read. */
static void apply_closed(struct endpoint *e) {
    for (size_t i = 0; i < e->closed_count; i++) {
        bool known = false;
        for (struct link *link = e->links; link != NULL; link = link->next) {
            if (!link->dialled && link->state != LINK_DEAD && link->fd == e->closed[i].fd) {
                known = true;
                link->close_seen = true;
                link->suspicion = SUSPICION_LOOKS; /* libzmq tells before it closes */
            }
        }
        if (!known && e->closed[i].cut) {
            io_refuse(e, REFUSED_HANDSHAKE, "a stranger",
                      "it called and neither came in nor went away");
        } else if (!known && e->expected_closes > 0) {
            e->expected_closes--;
        } else if (!known && e->admitted > 0) {
            e->admitted--; /* a device that went before it said HELLO, as crossing dials do */
        } else if (!known) {
            io_refuse(e, REFUSED_HANDSHAKE, "a stranger",
                      "its connection ended before it had proved who it is");
        }
    }
    e->closed_count = 0;
    if (e->door.count == 0) {
        e->admitted = 0; /* nobody is between the handshake and HELLO */
    }
}

/* The descriptor number may belong to a new connection by now: only the socket's inode tells. */
static void look_at_suspects(struct endpoint *e) {
    for (struct link *link = e->links; link != NULL; link = link->next) {
        if (link->suspicion > 0 && link->state != LINK_DEAD) {
            link->suspicion--;
            if (!link_fd_is_open(link)) {
                link->suspicion = 0;
                link_end(link, TRANSPORT_LOST_CLOSED, "closed");
            }
        }
    }
}

/* The other side broke the handshake off, as it does when it cannot read what was encrypted for
 * another key. A listener that is busy or restarts does so too, therefore not at the first time. */
static void on_broken_handshake(struct link *link, uint64_t now) {
    link->timed_out = now > link->attempt_ns + SLOW_BREAK_NS;
    link->broken += !link->timed_out;
    if (link->broken < MAX_BROKEN) {
        link->redial_ns = now + BROKEN_PAUSE_NS;
    } else {
        link_give_up(link);
    }
}

static void on_dial_event(struct link *link, uint16_t event, uint32_t value, uint64_t now) {
    if (link->redial_ns != 0) {
        return; /* this attempt is over already */
    }
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        link->reached = true;
        link_remember_fd(link, (int)value);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        if (value == 300) { /* "later" */
            on_broken_handshake(link, now);
        } else {
            link_end(link, TRANSPORT_LOST_REFUSED_KEY,
                     "refused us: our key is not on its allow-list");
        }
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        link_end(link, TRANSPORT_LOST_FOREIGN,
                 "the handshake failed: what listens there speaks another protocol");
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_DISCONNECTED:
        on_broken_handshake(link, now);
        break;
    default:
        link->broken = 0;
        if (now + 5 * CLOCK_MS < link->attempt_until_ns) { /* otherwise it took too long */
            link->denied = true;
            link->redial_ns = now + link->redial_pause_ns;
        } else {
            link->redial_ns = now + CLOCK_MS;
        }
        break;
    }
}

static void read_link_monitor(struct link *link, uint64_t now) {
    uint16_t event;
    uint32_t value;
    while (link->monitor != NULL && monitor_read(link->monitor, &event, &value)) {
        if (event == ZMQ_EVENT_DISCONNECTED || link->state == LINK_DIALLING) {
            while (receive_dealer(link, now)) { /* what it sent before counts; a BYE may say more */
            }
        }
        if (link->state == LINK_DIALLING) {
            on_dial_event(link, event, value, now);
        } else if (event == ZMQ_EVENT_DISCONNECTED &&
                   (link->state == LINK_UP || link->state == LINK_LEAVING)) {
            link_end(link, TRANSPORT_LOST_CLOSED, "closed");
        }
    }
}

/* ---- timers ---- */

static uint64_t ping_interval(const struct endpoint *e) {
    const uint64_t quarter = e->core.lost_after_ns / 4;
    return e->core.ping_ns < quarter ? e->core.ping_ns : quarter;
}

static void run_timers(struct link *link, uint64_t now) {
    const struct endpoint *e = link->endpoint;
    char text[CORE_TEXT];
    if ((link->state == LINK_UP || link->state == LINK_LEAVING || link->state == LINK_CLOSING) &&
        watch_is_endless(link, now)) {
        io_refuse(link->endpoint, REFUSED_MALFORMED, link->name, "a message without an end");
        link_end(link, TRANSPORT_LOST_BREACH, "broke the protocol: a message without an end");
        return;
    }
    switch (link->state) {
    case LINK_DIALLING:
        if (now >= link->deadline_ns) {
            link_give_up(link);
        } else if (link->target == NULL) {
            link_resolved(link, now);
        } else if (link->redial_ns != 0 && now >= link->redial_ns) {
            link_dial(link, now);
        }
        break;
    case LINK_WAITING:
        if (now >= link->deadline_ns) {
            link_end(link, TRANSPORT_LOST_NO_ANSWER,
                     "it was to connect from its side, and did not");
        }
        break;
    case LINK_UP:
        if (now > link->heard_ns && now - link->heard_ns >= e->core.lost_after_ns) {
            (void)snprintf(text, sizeof text, "silent for %.1f s",
                           (double)e->core.lost_after_ns * 1e-9);
            link_end(link, TRANSPORT_LOST_SILENT, text);
        } else if (now >= link->heard_ns + ping_interval(e) &&
                   now >= link->pinged_ns + ping_interval(e)) {
            link_ping(link, now);
        } else if (now >= link->spoke_ns + ping_interval(e)) {
            /* Unasked: an answer to the peer's PING may be queued behind data that it sends us. */
            link_pong(link, 0, now);
        }
        break;
    case LINK_LEAVING:
    case LINK_CLOSING:
        if (now >= link->deadline_ns) {
            link_kill(link);
        }
        break;
    case LINK_DEAD:
    default:
        break;
    }
}

static uint64_t link_timer(const struct link *link, uint64_t now) {
    uint64_t at = CLOCK_NEVER;
    switch (link->state) {
    case LINK_DIALLING:
        at = link->redial_ns != 0 && link->redial_ns < link->deadline_ns ? link->redial_ns
                                                                         : link->deadline_ns;
        break;
    case LINK_UP: {
        uint64_t base = link->heard_ns > link->pinged_ns ? link->heard_ns : link->pinged_ns;
        base = base < link->spoke_ns ? base : link->spoke_ns;
        const uint64_t lost = link->heard_ns + link->endpoint->core.lost_after_ns;
        at = base + ping_interval(link->endpoint);
        at = at < lost ? at : lost;
        break;
    }
    case LINK_WAITING:
    case LINK_LEAVING:
    case LINK_CLOSING:
        at = link->deadline_ns;
        break;
    case LINK_DEAD:
    default:
        return CLOCK_NEVER;
    }
    if (link->stalled && now + RETRY_NS < at) {
        at = now + RETRY_NS;
    }
    if (link->suspect && link->watch_ns < at) {
        at = link->watch_ns;
    }
    if (link->suspicion > 0 && now + SUSPICION_NS < at) {
        at = now + SUSPICION_NS;
    }
    return at;
}

/* ---- the loop ---- */

static long poll_timeout(const struct endpoint *e, uint64_t now) {
    uint64_t at = e->stop_by_ns != 0 ? e->stop_by_ns : CLOCK_NEVER;
    const uint64_t door = door_timer(&e->door, now);
    at = door < at ? door : at;
    for (const struct link *link = e->links; link != NULL; link = link->next) {
        const uint64_t timer = link_timer(link, now);
        at = timer < at ? timer : at;
    }
    if (at == CLOCK_NEVER) {
        return -1;
    }
    return at > now ? (long)((at - now + CLOCK_MS - 1) / CLOCK_MS) : 0;
}

/* Room for every link's two items; what does not fit for want of memory is looked at every turn. */
static size_t fill_items(struct endpoint *e, bool *all) {
    size_t need = ITEM_FIRST_LINK;
    for (const struct link *link = e->links; link != NULL; link = link->next) {
        need += link->socket != NULL ? 2 : 0;
    }
    if (need > e->item_capacity) {
        zmq_pollitem_t *larger = mem_realloc(e->items, 2 * need * sizeof *larger);
        if (larger != NULL) {
            e->items = larger;
            e->item_capacity = 2 * need;
        }
    }
    e->items[ITEM_WAKE] = (zmq_pollitem_t){.fd = e->wake_fd, .events = ZMQ_POLLIN};
    e->items[ITEM_ZAP] = (zmq_pollitem_t){.socket = e->zap, .events = ZMQ_POLLIN};
    size_t count = ITEM_MONITOR;
    if (e->router != NULL) {
        e->items[ITEM_MONITOR] =
            (zmq_pollitem_t){.socket = e->router_monitor, .events = ZMQ_POLLIN};
        e->items[ITEM_ROUTER] = (zmq_pollitem_t){.socket = e->router, .events = ZMQ_POLLIN};
        count = ITEM_FIRST_LINK;
    }
    for (const struct link *link = e->links; link != NULL; link = link->next) {
        if (link->socket != NULL && count + 2 <= e->item_capacity) {
            e->items[count++] = (zmq_pollitem_t){.socket = link->socket, .events = ZMQ_POLLIN};
            e->items[count++] = (zmq_pollitem_t){.socket = link->monitor, .events = ZMQ_POLLIN};
        }
    }
    *all = need <= e->item_capacity;
    return count;
}

/* Nobody is silent because we slept. */
static void forgive(struct endpoint *e, uint64_t gap_ns, uint64_t now) {
    for (struct link *link = e->links; link != NULL; link = link->next) {
        link->heard_ns = link->heard_ns + gap_ns < now ? link->heard_ns + gap_ns : now;
    }
}

static void sweep(struct endpoint *e) {
    for (struct link **at = &e->links; *at != NULL;) {
        struct link *link = *at;
        if (link->state == LINK_DEAD && atomic_load(&link->references) == 1) {
            *at = link->next;
            link_free(link);
        } else {
            at = &link->next;
        }
    }
}

static void read_sockets(struct endpoint *e, uint64_t now) {
    int turns = 0;
    while (turns < ZAP_BATCH && auth_serve(e)) {
        turns++;
    }
    read_router_monitor(e, now);
    turns = 0;
    while (turns < ROUTER_BATCH && receive_router(e, now)) {
        turns++;
    }
    if (turns < ROUTER_BATCH) {
        apply_closed(e);
    }
    look_at_suspects(e);
    for (struct link *link = e->links; link != NULL; link = link->next) {
        for (turns = 0; turns < DEALER_BATCH && receive_dealer(link, now); turns++) {
        }
        read_link_monitor(link, now);
    }
}

/* True when all is said, or time is over. */
static bool is_stopped(const struct endpoint *e, uint64_t now) {
    if (e->stop_by_ns == 0) {
        return false;
    }
    for (const struct link *link = e->links; link != NULL; link = link->next) {
        if (link->state == LINK_LEAVING && now < e->stop_by_ns) {
            return false;
        }
    }
    return true;
}

static bool io_turn(struct endpoint *e, uint64_t *last_ns) {
    bool all;
    const size_t count = fill_items(e, &all);
    uint64_t now = platform_now_ns();
    long timeout_ms = poll_timeout(e, now);
    if (!all && (timeout_ms < 0 || timeout_ms > 5)) {
        timeout_ms = 5;
    }
    if (zmq_poll(e->items, (int)count, timeout_ms) < 0 && errno != EINTR) {
        log_error("endpoint %s: zmq_poll: %s", e->core.name, zmq_strerror(errno));
        return false;
    }
    const uint64_t planned = now + (timeout_ms > 0 ? (uint64_t)timeout_ms * CLOCK_MS : 0);
    now = platform_now_ns();
    const uint64_t due = timeout_ms < 0 ? now : planned;
    const uint64_t busy_until = *last_ns + STALL_NS;
    if (now > due + STALL_NS && now > busy_until) {
        forgive(e, now - due, now);
    }
    if ((e->items[ITEM_WAKE].revents & ZMQ_POLLIN) != 0) {
        uint64_t ignored;
        const ssize_t got = read(e->wake_fd, &ignored, sizeof ignored);
        (void)got;
    }
    atomic_store(&e->notified, false);
    take_commands(e, now);
    read_sockets(e, now);
    door_turn(&e->door, now);
    for (struct link *link = e->links; link != NULL; link = link->next) {
        if (link->pump || link->stalled ||
            (link->sending != NULL && atomic_load(&link->underway) <= FRAGMENTS_LOW)) {
            link_pump(link, now);
        }
        run_timers(link, now);
    }
    sweep(e);
    *last_ns = now;
    return !is_stopped(e, now);
}

static void close_socket(void *socket, int linger_ms) {
    if (socket != NULL) {
        (void)zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
        (void)zmq_close(socket);
    }
}

void *io_main(void *endpoint) {
    struct endpoint *e = endpoint;
    uint64_t last_ns = platform_now_ns();
    bool vanishing = false;
    bool sound = true;
    while (sound && !vanishing) {
        sound = io_turn(e, &last_ns);
        (void)pthread_mutex_lock(&e->mutex);
        vanishing = e->vanishing;
        (void)pthread_mutex_unlock(&e->mutex);
    }
    const uint64_t now = platform_now_ns();
    const bool orderly = e->stop_by_ns != 0 && !vanishing;
    for (struct link *link = e->links; link != NULL; link = link->next) {
        if (orderly && link->state == LINK_CLOSING) {
            link->fd = -1; /* not shut down: its BYE is still on the way */
        }
        if (link->state != LINK_DEAD) {
            link_end(link, TRANSPORT_LOST_FAILED,
                     orderly || vanishing ? NULL : "this endpoint failed");
        }
    }
    int linger_ms = 0;
    if (orderly) {
        linger_ms = e->stop_by_ns > now ? (int)((e->stop_by_ns - now) / CLOCK_MS) : 0;
        linger_ms = linger_ms > 100 ? linger_ms : 100;
    }
    if (e->router != NULL) {
        (void)zmq_socket_monitor(e->router, NULL, 0);
    }
    close_socket(e->router_monitor, 0);
    close_socket(e->router, linger_ms);
    close_socket(e->zap, 0);
    (void)pthread_mutex_lock(&e->mutex);
    core_close(&e->core);
    (void)pthread_mutex_unlock(&e->mutex);
    return NULL;
}
