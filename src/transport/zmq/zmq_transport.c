/* The owner's side of the ZeroMQ transport: creation, the operations, destruction. */
#include "transport/zmq/zmq_transport.h"

#include "transport/zmq/zmq_internal.h"

#include "base/assert.h"
#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define FIRST_ITEMS 32
#define HANDSHAKE_MS 2000 /* strangers are patient; three round trips of a slow link are less */
#define BACKLOG 64        /* calls that the kernel keeps for libzmq, and more than it should need */
#define MAX_SOCKETS 4096  /* three per dialled peer */

static struct endpoint *endpoint_of(const struct transport *t) {
    return (struct endpoint *)(uintptr_t)t;
}

/* ---- operations ---- */

static shoal_status check_dial(const struct endpoint *e, const char *name, const char *address,
                               const char *key, struct shoal_error *error) {
    if (name[0] == '\0' || strlen(name) >= TRANSPORT_NAME_BYTES ||
        strchr(name, TRANSPORT_SESSION_MARK) != NULL || strcmp(name, e->core.name) == 0) {
        return error_set(error, SHOAL_INVALID, "%s cannot connect to \"%s\"", e->core.name, name);
    }
    if (address == NULL || strlen(address) > 200 ||
        (strncmp(address, "tcp://", 6) != 0 && strncmp(address, "ipc://", 6) != 0)) {
        return error_set(error, SHOAL_INVALID, "the address of %s is not tcp://… or ipc://…", name);
    }
    struct host_port at;
    if (strncmp(address, "tcp://", 6) == 0 && !resolve_split(address, &at)) {
        return error_set(error, SHOAL_INVALID,
                         "the address of %s is not tcp://HOST:PORT (IPv6: tcp://[HOST]:PORT): %s",
                         name, address);
    }
    if (!auth_key_is_sound(key)) {
        return error_set(error, SHOAL_INVALID, "the key of %s is no z85 public key", name);
    }
    /* A command may use the key of the device on its machine, and dial it. */
    if (!e->core.session && strcmp(key, e->keys.public_key) == 0) {
        return error_set(error, SHOAL_INVALID, "the key given for %s is our own", name);
    }
    return SHOAL_OK;
}

/* [lock] One name, one key: a device known by the allow-list is not dialled under another. */
static shoal_status check_identity(const struct endpoint *e, const char *name, const char *key,
                                   bool *listed, struct shoal_error *error) {
    const struct zmq_allowed *by_name = auth_find_name(&e->allow, name);
    const struct zmq_allowed *by_key = auth_find_key(&e->allow, key);
    if (by_name != by_key) {
        return error_set(error, SHOAL_INVALID,
                         "the key given for %s belongs to %s on the allow-list", name,
                         by_key != NULL ? by_key->name : "nobody");
    }
    *listed = by_name != NULL;
    return SHOAL_OK;
}

static shoal_status start_dial(struct endpoint *e, struct link *link, struct shoal_error *error) {
    TRY(check_identity(e, link->name, link->key, &link->listed, error));
    struct core_peer *peer;
    TRY(core_peer_new(&e->core, link->name, &peer, error));
    core_peer_hold(peer);
    peer->link = link;
    link->peer = peer;
    link->next = e->fresh;
    e->fresh = link;
    return SHOAL_OK;
}

static shoal_status zmq_op_connect(struct transport *t, const char *name, const char *address,
                                   const char *public_key, struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    char key[ZMQ_KEY_TEXT] = "";
    if (public_key == NULL) { /* as the allow-list has it */
        (void)pthread_mutex_lock(&e->mutex);
        const struct zmq_allowed *entry = auth_find_name(&e->allow, name);
        if (entry != NULL) {
            memcpy(key, entry->public_key, sizeof key);
        }
        (void)pthread_mutex_unlock(&e->mutex);
        public_key = key;
    }
    TRY(check_dial(e, name, address, public_key, error));
    struct link *link = link_new(e, name);
    char *copy = mem_strdup(address);
    if (link == NULL || copy == NULL) {
        mem_free(link);
        mem_free(copy);
        return error_set(error, SHOAL_NO_MEMORY, "no memory to connect to %s", name);
    }
    link->dialled = true;
    link->address = copy;
    (void)snprintf(link->key, sizeof link->key, "%s", public_key);
    (void)pthread_mutex_lock(&e->mutex);
    const shoal_status status = start_dial(e, link, error);
    (void)pthread_mutex_unlock(&e->mutex);
    if (status != SHOAL_OK) {
        link_free(link);
        return status;
    }
    io_notify(e);
    return SHOAL_OK;
}

static shoal_status zmq_op_disconnect(struct transport *t, const char *name,
                                      struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    (void)pthread_mutex_lock(&e->mutex);
    struct core_device *device = core_find(&e->core, name);
    struct core_peer *peer = device != NULL ? device->current : NULL;
    if (peer != NULL) {
        struct link *link = peer->link;
        link->leave = true;
        io_mark_ready(e, link);
        core_peer_end(&e->core, peer, TRANSPORT_LOST_LEFT, NULL);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    if (peer == NULL) {
        return error_set(error, SHOAL_PEER_LOST, "%s is not connected", name);
    }
    io_notify(e);
    return SHOAL_OK;
}

/* [lock] Someone is owed credit: the I/O thread sends it. */
static void pay(struct endpoint *e, const struct core_peer *peer) {
    if (peer != NULL && peer->link != NULL) {
        io_mark_ready(e, peer->link);
    }
}

static shoal_status zmq_op_send(struct transport *t, const char *name,
                                struct transport_message *message, struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    struct message *inside = message_of(message);
    enum wire_kind kind;
    TRY(core_inspect(message, &kind, error));
    (void)pthread_mutex_lock(&e->mutex);
    struct core_peer *peer;
    const shoal_status status = core_send(&e->core, name, kind, message->size, &peer, error);
    if (status == SHOAL_OK) {
        pay(e, core_settle(inside)); /* a received message that is passed on */
        struct link *link = peer->link;
        inside->next = NULL;
        *(link->out_tail != NULL ? &link->out_tail->next : &link->out_head) = inside;
        link->out_tail = inside;
        io_mark_ready(e, link);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    if (status == SHOAL_OK) {
        io_notify(e);
    }
    return status;
}

static shoal_status zmq_op_next(struct transport *t, unsigned want, uint64_t deadline_ns,
                                struct transport_event *out, struct shoal_error *error) {
    return core_next(&endpoint_of(t)->core, want, deadline_ns, out, error);
}

static shoal_status zmq_op_message_new(struct transport *t, size_t size,
                                       struct transport_message **out, struct shoal_error *error) {
    struct message *message;
    TRY(pool_take(endpoint_of(t)->core.pool, size, &message, error));
    *out = &message->outside;
    return SHOAL_OK;
}

static void zmq_op_message_free(struct transport *t, struct transport_message *message) {
    if (message == NULL) {
        return;
    }
    struct endpoint *e = endpoint_of(t);
    struct message *inside = message_of(message);
    if (inside->creditor != NULL) {
        (void)pthread_mutex_lock(&e->mutex);
        pay(e, core_settle(inside));
        (void)pthread_mutex_unlock(&e->mutex);
        io_notify(e);
    }
    pool_give(inside);
}

static void zmq_op_interrupt(struct transport *t) {
    core_interrupt(&endpoint_of(t)->core);
}

static bool zmq_op_peer_stats(const struct transport *t, const char *name,
                              struct transport_peer_stats *out) {
    return core_peer_stats(&endpoint_of(t)->core, name, out);
}

static void zmq_op_stats(const struct transport *t, struct transport_stats *out) {
    struct endpoint *e = endpoint_of(t);
    *out = (struct transport_stats){.refused = atomic_load(&e->core.refused)};
    pool_measure(e->core.pool, &out->pool_bytes, &out->pool_peak_bytes);
    clockid_t clock;
    struct timespec time;
    if (pthread_getcpuclockid(e->thread, &clock) == 0 && clock_gettime(clock, &time) == 0) {
        out->io_cpu_s = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    }
    (void)pthread_mutex_lock(&e->mutex);
    if (e->library_thread_count < LIBRARY_THREADS) { /* they name themselves when they first run */
        e->library_thread_count =
            cpu_find_threads(e->thread_prefix, e->library_threads, LIBRARY_THREADS);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    for (size_t i = 0; i < e->library_thread_count; i++) {
        out->io_cpu_s += cpu_of_thread(e->library_threads[i]);
    }
}

static const char *zmq_op_address(const struct transport *t) {
    const struct endpoint *e = endpoint_of(t);
    return e->router != NULL ? e->address : NULL;
}

static const char *zmq_op_name_of_key(struct transport *t, const char *public_key) {
    struct endpoint *e = endpoint_of(t);
    (void)pthread_mutex_lock(&e->mutex);
    const struct zmq_allowed *entry = auth_find_key(&e->allow, public_key);
    if (entry != NULL) {
        memcpy(e->found_name, entry->name, sizeof e->found_name);
    }
    (void)pthread_mutex_unlock(&e->mutex);
    return entry != NULL ? e->found_name : NULL;
}

shoal_status zmq_transport_allow(struct transport *t, const struct zmq_allowed *allowed,
                                 size_t count, struct shoal_error *error) {
    struct endpoint *e = endpoint_of(t);
    struct allow_list list;
    TRY(auth_list_make(allowed, count, &list, error));
    (void)pthread_mutex_lock(&e->mutex);
    struct allow_list old = e->allow;
    e->allow = list;
    e->allow_changed = true;
    (void)pthread_mutex_unlock(&e->mutex);
    auth_list_free(&old);
    io_notify(e);
    return SHOAL_OK;
}

/* ---- the end ---- */

/* What creation has made so far, in reverse; the I/O thread does not run (any more). */
static void dismantle(struct endpoint *e) {
    if (e->context != NULL) {
        (void)zmq_ctx_term(e->context); /* waits for the sockets' lingering, bounded; every callback
                                           has run then */
    }
    while (e->links != NULL) {
        struct link *link = e->links;
        e->links = link->next;
        ASSERT(atomic_load(&link->references) == 1);
        link_free(link);
    }
    auth_list_free(&e->allow);
    mem_free(e->items);
    if (e->wake_fd >= 0) {
        (void)close(e->wake_fd);
    }
    if (e->core.pool != NULL) {
        core_fini(&e->core);
    }
    (void)pthread_mutex_destroy(&e->mutex);
    mem_free(e);
}

static void end(struct endpoint *e, bool vanish) {
    (void)pthread_mutex_lock(&e->mutex);
    for (struct core_device *device = e->core.devices, *after; device != NULL; device = after) {
        after = device->next; /* a session's goes with its end */
        if (device->current != NULL) {
            core_peer_end(&e->core, device->current, TRANSPORT_LOST_LEFT, NULL);
        }
    }
    e->stopping = !vanish;
    e->vanishing = vanish;
    (void)pthread_mutex_unlock(&e->mutex);
    io_notify(e);
    (void)pthread_join(e->thread, NULL);
    for (struct link *link = e->fresh, *next; link != NULL; link = next) { /* never dialled */
        next = link->next;
        core_peer_drop(link->peer);
        link_free(link);
    }
    dismantle(e);
}

static void zmq_op_destroy(struct transport *t) {
    end(endpoint_of(t), false);
}

void zmq_transport_vanish(struct transport *t) {
    end(endpoint_of(t), true);
}

static const struct transport_ops zmq_ops = {
    .name = "zmq",
    .connect = zmq_op_connect,
    .disconnect = zmq_op_disconnect,
    .send = zmq_op_send,
    .next = zmq_op_next,
    .message_new = zmq_op_message_new,
    .message_free = zmq_op_message_free,
    .interrupt = zmq_op_interrupt,
    .peer_stats = zmq_op_peer_stats,
    .stats = zmq_op_stats,
    .address = zmq_op_address,
    .name_of_key = zmq_op_name_of_key,
    .destroy = zmq_op_destroy,
};

/* ---- creation ---- */

static bool set_int(void *socket, int option, int value) {
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static shoal_status zmq_error(struct shoal_error *error, const char *what) {
    return error_set(error, errno == ENOMEM ? SHOAL_NO_MEMORY : SHOAL_IO, "%s: %s", what,
                     zmq_strerror(errno));
}

static bool prepare_router(const struct endpoint *e, const char *listen) {
    const int64_t frame_limit = (int64_t)(FRAGMENT_BYTES + CURVE_OVERHEAD);
    return set_int(e->router, ZMQ_LINGER, 0) && set_int(e->router, ZMQ_ROUTER_MANDATORY, 1) &&
           set_int(e->router, ZMQ_SNDBUF, SEND_BUFFER_BYTES) &&
           set_int(e->router, ZMQ_SNDHWM, 1024) && set_int(e->router, ZMQ_RCVHWM, 64) &&
           set_int(e->router, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) &&
           set_int(e->router, ZMQ_BACKLOG, BACKLOG) &&
           set_int(e->router, ZMQ_IPV6, strchr(listen, '[') != NULL) &&
           zmq_setsockopt(e->router, ZMQ_MAXMSGSIZE, &frame_limit, sizeof frame_limit) == 0 &&
           set_int(e->router, ZMQ_CURVE_SERVER, 1) &&
           zmq_setsockopt(e->router, ZMQ_ZAP_DOMAIN, "shoal", 5) == 0 &&
           zmq_setsockopt(e->router, ZMQ_CURVE_SECRETKEY, e->keys.secret_key, ZMQ_KEY_TEXT) == 0;
}

static shoal_status listen_at(struct endpoint *e, const char *listen, struct shoal_error *error) {
    e->router = zmq_socket(e->context, ZMQ_ROUTER);
    if (e->router == NULL || !prepare_router(e, listen)) {
        return zmq_error(error, "preparing the listening socket");
    }
    e->router_monitor = zmq_socket(e->context, ZMQ_PAIR);
    if (e->router_monitor == NULL ||
        !set_int(e->router_monitor, ZMQ_RCVHWM, 0) || /* libzmq would wait for us to read */
        zmq_socket_monitor(e->router, "inproc://shoal.monitor.router",
                           ZMQ_EVENT_LISTENING | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED) !=
            0 ||
        zmq_connect(e->router_monitor, "inproc://shoal.monitor.router") != 0) {
        return zmq_error(error, "watching the listening socket");
    }
    if (zmq_bind(e->router, listen) != 0) {
        return error_set(error, SHOAL_IO, "cannot listen at %s: %s", listen, zmq_strerror(errno));
    }
    size_t bytes = sizeof e->address;
    if (zmq_getsockopt(e->router, ZMQ_LAST_ENDPOINT, e->address, &bytes) != 0) {
        return zmq_error(error, "the listening socket's address");
    }
    return SHOAL_OK;
}

static shoal_status make_sockets(struct endpoint *e, const char *listen,
                                 struct shoal_error *error) {
    e->context = zmq_ctx_new();
    const int prefix = cpu_next_prefix();
    if (e->context == NULL || zmq_ctx_set(e->context, ZMQ_THREAD_NAME_PREFIX, prefix) != 0 ||
        zmq_ctx_set(e->context, ZMQ_MAX_SOCKETS, MAX_SOCKETS) != 0) {
        return zmq_error(error, "a libzmq context");
    }
    e->zap = zmq_socket(e->context, ZMQ_REP);
    if (e->zap == NULL || !set_int(e->zap, ZMQ_LINGER, 0) ||
        zmq_bind(e->zap, "inproc://zeromq.zap.01") != 0) {
        return zmq_error(error, "the ZAP handler");
    }
    if (listen != NULL) {
        TRY(listen_at(e, listen, error));
    }
    e->thread_prefix = prefix;
    return SHOAL_OK;
}

static shoal_status start_thread(struct endpoint *e, struct shoal_error *error) {
    sigset_t all, before;
    (void)sigfillset(&all); /* signals are for the program's own threads */
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failure = pthread_create(&e->thread, NULL, io_main, e);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        return error_errno(error, failure, "starting the I/O thread");
    }
    (void)pthread_setname_np(e->thread, "shoal-io");
    return SHOAL_OK;
}

static shoal_status check_keys(const struct zmq_keypair *keys, struct shoal_error *error) {
    char derived[ZMQ_KEY_TEXT];
    if (memchr(keys->public_key, '\0', ZMQ_KEY_TEXT) == NULL ||
        !auth_key_is_sound(keys->public_key) ||
        memchr(keys->secret_key, '\0', ZMQ_KEY_TEXT) == NULL ||
        !auth_key_is_sound(keys->secret_key)) {
        return error_set(error, SHOAL_INVALID, "this device's own keys are no z85 keys");
    }
    if (zmq_curve_public(derived, keys->secret_key) != 0 ||
        strcmp(derived, keys->public_key) != 0) {
        return error_set(error, SHOAL_INVALID,
                         "this device's public key does not fit its secret key");
    }
    return SHOAL_OK;
}

static shoal_status build(struct endpoint *e, const struct zmq_transport_options *options,
                          struct shoal_error *error) {
    TRY(core_init(&e->core, &options->base, &e->mutex, error));
    if (options->base.session && options->listen != NULL) {
        return error_set(error, SHOAL_INVALID, "a session only dials, it cannot listen at %s",
                         options->listen);
    }
    e->outside.ops = &zmq_ops;
    e->keys = options->keys;
    TRY(check_keys(&e->keys, error));
    TRY(auth_list_make(options->allowed, options->allowed_count, &e->allow, error));
    if (getrandom(&e->instance, sizeof e->instance, 0) != (ssize_t)sizeof e->instance) {
        return error_errno(error, errno, "random bytes");
    }
    e->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (e->wake_fd < 0) {
        return error_errno(error, errno, "eventfd");
    }
    door_init(&e->door, platform_now_ns());
    e->item_capacity = FIRST_ITEMS;
    e->items = mem_calloc(FIRST_ITEMS, sizeof *e->items);
    if (e->items == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for an endpoint");
    }
    TRY(make_sockets(e, options->listen, error));
    return start_thread(e, error);
}

shoal_status zmq_transport_create(const struct zmq_transport_options *options,
                                  struct transport **out, struct shoal_error *error) {
    struct endpoint *e = mem_calloc(1, sizeof *e);
    if (e == NULL || pthread_mutex_init(&e->mutex, NULL) != 0) {
        mem_free(e);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for an endpoint");
    }
    e->wake_fd = -1;
    const shoal_status status = build(e, options, error);
    if (status != SHOAL_OK) {
        void *const sockets[] = {e->router_monitor, e->router, e->zap};
        for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++) {
            if (sockets[i] != NULL) {
                (void)set_int(sockets[i], ZMQ_LINGER, 0);
                (void)zmq_close(sockets[i]);
            }
        }
        dismantle(e);
        return status;
    }
    *out = &e->outside;
    return SHOAL_OK;
}
