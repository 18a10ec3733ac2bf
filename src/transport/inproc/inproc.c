/*
 * Endpoints of one process. One mutex per hub guards all of them: only pointers move while it is
 * held. There is no I/O thread, so nothing needs pings: an endpoint ends by leaving or by
 * vanishing.
 */
#include "transport/inproc/inproc.h"

#include "base/assert.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "transport/core.h"

#include <stdio.h>
#include <string.h>

struct inproc_hub {
    pthread_mutex_t mutex;
    struct endpoint *endpoints;
    uint64_t sessions; /* so far: numbers them */
};

/* A connection that waits for its other end to be created. */
struct dial {
    struct dial *next;
    struct core_peer *peer;
    uint64_t deadline_ns;
};

struct endpoint {
    struct transport outside; /* first: the handle that callers hold */
    struct core core;         /* its name is a session's whole name */
    char own_name[TRANSPORT_NAME_BYTES];
    struct inproc_hub *hub;
    struct endpoint *next;
    struct dial *dials;
};

static struct endpoint *endpoint_of(const struct transport *t) {
    return (struct endpoint *)(uintptr_t)t;
}

/* A peer's link is its counterpart in the other endpoint; both hold each other. */
static struct core_peer *counterpart(const struct core_peer *peer) {
    return peer->link;
}

static struct endpoint *find_endpoint(const struct inproc_hub *hub, const char *name) {
    for (struct endpoint *e = hub->endpoints; e != NULL; e = e->next) {
        if (strcmp(e->core.name, name) == 0) {
            return e;
        }
    }
    return NULL;
}

static void join(struct endpoint *a, struct core_peer *in_a, struct endpoint *b,
                 struct core_peer *in_b) {
    in_a->link = in_b;
    in_b->link = in_a;
    core_peer_hold(in_a);
    core_peer_hold(in_b);
    const struct core_limits of_b = {b->core.window, CORE_CONTROL_WINDOW, b->core.message_bytes,
                                     b->core.control_bytes};
    const struct core_limits of_a = {a->core.window, CORE_CONTROL_WINDOW, a->core.message_bytes,
                                     a->core.control_bytes};
    core_peer_up(&a->core, in_a, &of_b);
    core_peer_up(&b->core, in_b, &of_a);
}

/* Ends both sides; a hears nothing of it. The hub is locked. */
static void part(struct endpoint *a, struct core_peer *in_a, enum transport_lost reason,
                 const char *text_b) {
    struct core_peer *in_b = counterpart(in_a);
    if (in_b != NULL) {
        struct endpoint *b = find_endpoint(a->hub, in_a->device->name);
        ASSERT(b != NULL);
        in_a->link = NULL;
        in_b->link = NULL;
        core_peer_end(&b->core, in_b, reason, text_b);
        core_peer_drop(in_b);
    }
    core_peer_end(&a->core, in_a, reason, NULL);
    if (in_b != NULL) {
        core_peer_drop(in_a);
    }
}

static void remove_dial(struct endpoint *e, const struct core_peer *peer) {
    for (struct dial **at = &e->dials; *at != NULL; at = &(*at)->next) {
        if ((*at)->peer == peer) {
            struct dial *dial = *at;
            *at = dial->next;
            mem_free(dial);
            return;
        }
    }
}

/* Connects e to the endpoint named, if both are there, or is refused by it. False: it is not, or it
 * cannot take us yet. */
static bool try_join(struct endpoint *e, struct core_peer *peer) {
    struct endpoint *other = find_endpoint(e->hub, peer->device->name);
    if (other == NULL) {
        return false;
    }
    struct core_device *device = core_find(&other->core, e->core.name);
    struct core_peer *theirs = device != NULL ? device->current : NULL;
    struct shoal_error error;
    if (theirs == NULL && e->core.session &&
        core_session_check(&other->core, e->own_name, &error) != SHOAL_OK) {
        char text[CORE_TEXT];
        (void)snprintf(text, sizeof text, "refused us: %.100s", error.text);
        core_peer_end(&e->core, peer, TRANSPORT_LOST_REFUSED, text);
        return true;
    }
    if (theirs != NULL) { /* it dials us too, and has waited for this endpoint */
        remove_dial(other, theirs);
    } else if (core_peer_new(&other->core, e->core.name, &theirs, NULL) != SHOAL_OK) {
        return false;
    }
    join(e, peer, other, theirs);
    return true;
}

static shoal_status inproc_connect(struct transport *t, const char *name, const char *address,
                                   const char *public_key, struct shoal_error *error) {
    (void)address;
    (void)public_key;
    struct endpoint *e = endpoint_of(t);
    if (strcmp(name, e->core.name) == 0 || name[0] == '\0' ||
        strlen(name) >= TRANSPORT_NAME_BYTES) {
        return error_set(error, SHOAL_INVALID, "%s cannot connect to \"%s\"", e->core.name, name);
    }
    struct dial *dial = mem_calloc(1, sizeof *dial);
    if (dial == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to connect to %s", name);
    }
    (void)pthread_mutex_lock(&e->hub->mutex);
    const shoal_status status = core_peer_new(&e->core, name, &dial->peer, error);
    if (status == SHOAL_OK && !try_join(e, dial->peer)) {
        dial->deadline_ns = platform_now_ns() + e->core.lost_after_ns;
        dial->next = e->dials;
        e->dials = dial;
        dial = NULL;
    }
    (void)pthread_mutex_unlock(&e->hub->mutex);
    mem_free(dial);
    return status;
}

static shoal_status inproc_disconnect(struct transport *t, const char *name,
                                      struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    (void)pthread_mutex_lock(&e->hub->mutex);
    struct core_device *device = core_find(&e->core, name);
    struct core_peer *peer = device != NULL ? device->current : NULL;
    if (peer != NULL) {
        remove_dial(e, peer);
        part(e, peer, TRANSPORT_LOST_LEFT, "left");
    }
    (void)pthread_mutex_unlock(&e->hub->mutex);
    return peer != NULL ? SHOAL_OK : error_set(error, SHOAL_PEER_LOST, "%s is not connected", name);
}

/* The credit for a message that its receiver is done with, straight to the sender. The hub is
 * locked. */
static void pay(struct endpoint *e, struct core_peer *peer) {
    struct core_peer *theirs = peer != NULL ? counterpart(peer) : NULL;
    if (theirs == NULL) {
        return;
    }
    struct endpoint *other = find_endpoint(e->hub, peer->device->name);
    const uint32_t data = peer->data_owed, control = peer->control_owed;
    peer->data_held -= data;
    peer->control_held -= control;
    peer->data_owed = peer->control_owed = 0;
    const bool sound = core_credit(&other->core, theirs, data, control);
    ASSERT(sound);
}

static shoal_status inproc_send(struct transport *t, const char *name,
                                struct transport_message *message, struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    struct message *inside = message_of(message);
    enum wire_kind kind;
    TRY(core_inspect(message, &kind, error));
    (void)pthread_mutex_lock(&e->hub->mutex);
    struct core_peer *peer;
    const shoal_status status = core_send(&e->core, name, kind, message->size, &peer, error);
    if (status == SHOAL_OK) {
        pay(e, core_settle(inside)); /* a received message that is passed on */
        struct endpoint *other = find_endpoint(e->hub, name);
        const bool taken = core_deliver(&other->core, counterpart(peer), inside, kind);
        ASSERT(taken); /* both sides count the same window */
    }
    (void)pthread_mutex_unlock(&e->hub->mutex);
    return status;
}

static void inproc_message_free(struct transport *t, struct transport_message *message) {
    if (message == NULL) {
        return;
    }
    struct endpoint *e = endpoint_of(t);
    struct message *inside = message_of(message);
    if (inside->creditor != NULL) {
        (void)pthread_mutex_lock(&e->hub->mutex);
        pay(e, core_settle(inside));
        (void)pthread_mutex_unlock(&e->hub->mutex);
    }
    pool_give(inside);
}

/* Gives up the dials whose time is over; the earliest deadline that is left. */
static uint64_t expire_dials(struct endpoint *e) {
    uint64_t earliest = CLOCK_NEVER;
    const uint64_t now = platform_now_ns();
    (void)pthread_mutex_lock(&e->hub->mutex);
    for (struct dial *dial = e->dials, *next; dial != NULL; dial = next) {
        next = dial->next;
        struct core_peer *peer = dial->peer;
        if (try_join(e, peer)) {
            remove_dial(e, peer);
        } else if (now >= dial->deadline_ns) {
            char text[CORE_TEXT];
            (void)snprintf(text, sizeof text, "no endpoint of that name within %.1f s",
                           (double)e->core.lost_after_ns * 1e-9);
            remove_dial(e, peer);
            core_peer_end(&e->core, peer, TRANSPORT_LOST_NO_LISTENER, text);
        } else if (dial->deadline_ns < earliest) {
            earliest = dial->deadline_ns;
        }
    }
    (void)pthread_mutex_unlock(&e->hub->mutex);
    return earliest;
}

static shoal_status inproc_next(struct transport *t, unsigned want, uint64_t deadline_ns,
                                struct transport_event *out, struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    for (;;) {
        const uint64_t dials = expire_dials(e);
        const bool sooner = dials < deadline_ns;
        const shoal_status status =
            core_next(&e->core, want, sooner ? dials : deadline_ns, out, error);
        if (status != SHOAL_TIMEOUT || !sooner) {
            return status;
        }
    }
}

static shoal_status inproc_message_new(struct transport *t, size_t size,
                                       struct transport_message **out, struct shoal_error *error) {
    struct message *message;
    TRY(pool_take(endpoint_of(t)->core.pool, size, &message, error));
    *out = &message->outside;
    return SHOAL_OK;
}

static void inproc_interrupt(struct transport *t) {
    core_interrupt(&endpoint_of(t)->core);
}

static bool inproc_peer_stats(const struct transport *t, const char *name,
                              struct transport_peer_stats *out) {
    return core_peer_stats(&endpoint_of(t)->core, name, out);
}

static void inproc_stats(const struct transport *t, struct transport_stats *out) {
    struct endpoint *e = endpoint_of(t);
    *out = (struct transport_stats){.refused = atomic_load(&e->core.refused)};
    pool_measure(e->core.pool, &out->pool_bytes, &out->pool_peak_bytes);
}

static const char *inproc_name_of_key(struct transport *t, const char *public_key) {
    (void)t;
    (void)public_key;
    return NULL;
}

static const char *inproc_address(const struct transport *t) {
    (void)t;
    return NULL;
}

static void end(struct endpoint *e, enum transport_lost reason) {
    struct inproc_hub *hub = e->hub;
    (void)pthread_mutex_lock(&hub->mutex);
    while (e->dials != NULL) {
        struct core_peer *peer = e->dials->peer;
        remove_dial(e, peer);
        core_peer_end(&e->core, peer, TRANSPORT_LOST_LEFT, NULL);
    }
    for (struct core_device *device = e->core.devices, *after; device != NULL; device = after) {
        after = device->next; /* a session's goes with its end */
        if (device->current != NULL) {
            part(e, device->current, reason, transport_lost_name(reason));
        }
    }
    struct endpoint **at = &hub->endpoints;
    while (*at != e) {
        at = &(*at)->next;
    }
    *at = e->next;
    core_drain(&e->core);
    (void)pthread_mutex_unlock(&hub->mutex);
    core_fini(&e->core);
    mem_free(e);
}

static void inproc_destroy(struct transport *t) {
    end(endpoint_of(t), TRANSPORT_LOST_LEFT);
}

void inproc_vanish(struct transport *t) {
    end(endpoint_of(t), TRANSPORT_LOST_CLOSED);
}

static const struct transport_ops inproc_ops = {
    .name = "inproc",
    .connect = inproc_connect,
    .disconnect = inproc_disconnect,
    .send = inproc_send,
    .next = inproc_next,
    .message_new = inproc_message_new,
    .message_free = inproc_message_free,
    .interrupt = inproc_interrupt,
    .peer_stats = inproc_peer_stats,
    .stats = inproc_stats,
    .address = inproc_address,
    .name_of_key = inproc_name_of_key,
    .destroy = inproc_destroy,
};

/* Whoever has been dialling this name is connected now. The hub is locked. */
static void join_waiting(struct endpoint *e) {
    for (struct endpoint *other = e->next; other != NULL; other = other->next) {
        for (struct dial *dial = other->dials; dial != NULL; dial = dial->next) {
            struct core_peer *peer = dial->peer;
            if (strcmp(peer->device->name, e->core.name) == 0) {
                if (try_join(other, peer)) {
                    remove_dial(other, peer);
                }
                break;
            }
        }
    }
}

shoal_status inproc_create(struct inproc_hub *hub, const struct transport_options *options,
                           struct transport **out, struct shoal_error *error) {
    struct endpoint *e = mem_calloc(1, sizeof *e);
    if (e == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for an endpoint");
    }
    const shoal_status status = core_init(&e->core, options, &hub->mutex, error);
    if (status != SHOAL_OK) {
        mem_free(e);
        return status;
    }
    e->outside.ops = &inproc_ops;
    e->hub = hub;
    (void)snprintf(e->own_name, sizeof e->own_name, "%s", options->name);
    (void)pthread_mutex_lock(&hub->mutex);
    if (options->session) {
        core_session_name(e->own_name, hub->sessions++, e->core.name);
    }
    const bool taken = find_endpoint(hub, e->core.name) != NULL;
    if (!taken) {
        e->next = hub->endpoints;
        hub->endpoints = e;
        join_waiting(e);
    }
    (void)pthread_mutex_unlock(&hub->mutex);
    if (taken) {
        core_fini(&e->core);
        const shoal_status busy =
            error_set(error, SHOAL_BUSY, "there is an endpoint named %s already", options->name);
        mem_free(e);
        return busy;
    }
    *out = &e->outside;
    return SHOAL_OK;
}

shoal_status inproc_hub_create(struct inproc_hub **out, struct shoal_error *error) {
    struct inproc_hub *hub = mem_calloc(1, sizeof *hub);
    if (hub == NULL || pthread_mutex_init(&hub->mutex, NULL) != 0) {
        mem_free(hub);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a hub");
    }
    *out = hub;
    return SHOAL_OK;
}

void inproc_hub_destroy(struct inproc_hub *hub) {
    if (hub == NULL) {
        return;
    }
    ASSERT(hub->endpoints == NULL);
    (void)pthread_mutex_destroy(&hub->mutex);
    mem_free(hub);
}
