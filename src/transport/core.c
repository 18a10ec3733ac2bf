#include "transport/core.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DEFAULT_WINDOW 2
#define DEFAULT_CONTROL_BYTES ((size_t)64 << 10)
#define DEFAULT_PING_NS (250 * CLOCK_MS)
#define DEFAULT_LOST_AFTER_NS (3 * CLOCK_SECOND)
#define MAX_WINDOW 65536u

shoal_status core_init(struct core *core, const struct transport_options *options,
                       pthread_mutex_t *mutex, struct shoal_error *error) {
    if (options->name == NULL || options->name[0] == '\0' ||
        strlen(options->name) >= TRANSPORT_NAME_BYTES) {
        return error_set(error, SHOAL_INVALID, "an endpoint needs a name of 1 to %d bytes",
                         TRANSPORT_NAME_BYTES - 1);
    }
    if (strchr(options->name, TRANSPORT_SESSION_MARK) != NULL ||
        (options->session && strlen(options->name) > TRANSPORT_LISTED_BYTES)) {
        return error_set(error, SHOAL_INVALID,
                         "an endpoint's name has no '%c', and a session's at most %d bytes: \"%s\"",
                         TRANSPORT_SESSION_MARK, TRANSPORT_LISTED_BYTES, options->name);
    }
    *core = (struct core){
        .mutex = mutex,
        .session = options->session,
        .window = options->window > 0 ? options->window : DEFAULT_WINDOW,
        .message_bytes =
            options->message_bytes > 0 ? options->message_bytes : TRANSPORT_MESSAGE_BYTES,
        .control_bytes =
            options->control_bytes > 0 ? options->control_bytes : DEFAULT_CONTROL_BYTES,
        .ping_ns = options->ping_ns > 0 ? options->ping_ns : DEFAULT_PING_NS,
        .lost_after_ns =
            options->lost_after_ns > 0 ? options->lost_after_ns : DEFAULT_LOST_AFTER_NS,
        .wake_fd = -1,
    };
    (void)snprintf(core->name, sizeof core->name, "%s", options->name);
    if (core->window > MAX_WINDOW || core->message_bytes > WIRE_MAX_MESSAGE_BYTES ||
        core->control_bytes > WIRE_MAX_MESSAGE_BYTES || core->message_bytes < WIRE_HEADER_BYTES ||
        core->control_bytes < WIRE_HEADER_BYTES) {
        return error_set(error, SHOAL_INVALID,
                         "endpoint %s: a window or size limit is out of range", core->name);
    }
    TRY(pool_create(&core->pool, error));
    core->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (core->wake_fd < 0) {
        const int saved = errno;
        pool_release(core->pool);
        return error_errno(error, saved, "endpoint %s: eventfd", core->name);
    }
    return SHOAL_OK;
}

struct core_device *core_find(const struct core *core, const char *name) {
    for (struct core_device *device = core->devices; device != NULL; device = device->next) {
        if (strcmp(device->name, name) == 0) {
            return device;
        }
    }
    return NULL;
}

shoal_status core_peer_new(struct core *core, const char *name, struct core_peer **out,
                           struct shoal_error *error) {
    struct core_device *device = core_find(core, name);
    if (device != NULL && device->current != NULL) {
        return error_set(error, SHOAL_BUSY, "already connected to %s, or connecting", name);
    }
    if (device != NULL && device->unread >= CORE_MAX_UNREAD) {
        return error_set(error, SHOAL_BUSY, "%s was lost %u times and nobody has taken notice",
                         name, device->unread);
    }
    struct core_peer *peer = mem_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a connection to %s", name);
    }
    if (device == NULL) {
        device = mem_calloc(1, sizeof *device);
        if (device == NULL) {
            mem_free(peer);
            return error_set(error, SHOAL_NO_MEMORY, "no memory for device %s", name);
        }
        (void)snprintf(device->name, sizeof device->name, "%s", name);
        device->session = strchr(name, TRANSPORT_SESSION_MARK) != NULL;
        device->core = core;
        device->next = core->devices;
        core->devices = device;
    }
    peer->device = device;
    peer->state = CORE_DIALLING;
    peer->references = 1;
    peer->up = (struct core_node){.kind = TRANSPORT_PEER_UP, .peer = peer};
    peer->lost = (struct core_node){.kind = TRANSPORT_PEER_LOST, .peer = peer};
    peer->writable = (struct core_node){.kind = TRANSPORT_WRITABLE, .peer = peer};
    device->current = peer;
    device->peers++;
    *out = peer;
    return SHOAL_OK;
}

void core_session_name(const char *name, uint64_t instance, char out[TRANSPORT_NAME_BYTES]) {
    (void)snprintf(out, TRANSPORT_NAME_BYTES, "%.*s%c%08x", TRANSPORT_LISTED_BYTES, name,
                   TRANSPORT_SESSION_MARK, (unsigned)(instance & UINT32_MAX));
}

shoal_status core_session_check(const struct core *core, const char *name,
                                struct shoal_error *error) {
    const size_t length = strlen(name);
    uint32_t current = 0, all = 0;
    for (const struct core_device *device = core->devices; device != NULL; device = device->next) {
        if (device->session && strncmp(device->name, name, length) == 0 &&
            device->name[length] == TRANSPORT_SESSION_MARK) {
            current += device->current != NULL;
            all++;
        }
    }
    if (current >= TRANSPORT_MAX_SESSIONS) {
        return error_set(error, SHOAL_BUSY,
                         "%d sessions of %s are connected already, wait until one ends",
                         TRANSPORT_MAX_SESSIONS, name);
    }
    if (all >= CORE_MAX_UNREAD_SESSIONS) {
        return error_set(error, SHOAL_BUSY, "%u sessions of %s have ended and are not cleared away",
                         all - current, name);
    }
    return SHOAL_OK;
}

/* Nothing is left of a session: its device goes. */
static void forget_session(struct core_device *device) {
    struct core_device **at = &device->core->devices;
    while (*at != device) {
        at = &(*at)->next;
    }
    *at = device->next;
    mem_free(device);
}

void core_peer_hold(struct core_peer *peer) {
    peer->references++;
}

void core_peer_drop(struct core_peer *peer) {
    ASSERT(peer->references > 0);
    if (--peer->references == 0) {
        ASSERT(peer->state == CORE_GONE);
        struct core_device *device = peer->device;
        mem_free(peer);
        if (--device->peers == 0 && device->session) {
            ASSERT(device->current == NULL);
            forget_session(device);
        }
    }
}

void core_enqueue(struct core *core, struct core_node *node, bool is_data) {
    struct core_queue *queue = is_data ? &core->data : &core->other;
    core_peer_hold(node->peer);
    node->next = NULL;
    node->sequence = core->sequence++;
    if (queue->tail != NULL) {
        queue->tail->next = node;
    } else {
        queue->head = node;
    }
    queue->tail = node;
    const unsigned class = is_data ? TRANSPORT_WANT_DATA : TRANSPORT_WANT_CONTROL;
    if ((core->waiting & class) != 0) {
        core->waiting = 0;
        core_wake(core);
    }
}

void core_peer_up(struct core *core, struct core_peer *peer, const struct core_limits *limits) {
    ASSERT(peer->state == CORE_DIALLING);
    peer->state = CORE_UP;
    peer->data_limit = limits->window < MAX_WINDOW ? limits->window : MAX_WINDOW;
    peer->control_limit =
        limits->control_window < CORE_CONTROL_WINDOW ? limits->control_window : CORE_CONTROL_WINDOW;
    peer->data_credit = peer->data_limit;
    peer->control_credit = peer->control_limit;
    peer->data_bytes = limits->message_bytes;
    peer->control_bytes = limits->control_bytes;
    core_enqueue(core, &peer->up, false);
}

void core_peer_end(struct core *core, struct core_peer *peer, enum transport_lost reason,
                   const char *text) {
    if (peer->state == CORE_GONE) {
        return;
    }
    peer->state = CORE_GONE;
    struct core_device *device = peer->device;
    ASSERT(device->current == peer);
    device->current = NULL;
    device->ended++;
    if (text != NULL) {
        peer->lost_reason = reason;
        (void)snprintf(peer->lost_text, sizeof peer->lost_text, "%s", text);
        device->unread++;
        core_enqueue(core, &peer->lost, false);
    } else {
        peer->silent = true;
    }
    core_peer_drop(peer);
}

shoal_status core_inspect(const struct transport_message *message, enum wire_kind *kind,
                          struct shoal_error *error) {
    struct wire_message decoded;
    const shoal_status status = wire_decode(message->data, message->size, &decoded, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, SHOAL_INVALID, "what is to be sent is no message");
    }
    if (!wire_kind_is_data(decoded.header.kind) && !wire_kind_is_control(decoded.header.kind)) {
        return error_set(error, SHOAL_INVALID, "%s messages are the transport's own",
                         wire_kind_name(decoded.header.kind));
    }
    *kind = decoded.header.kind;
    return SHOAL_OK;
}

shoal_status core_send(struct core *core, const char *name, enum wire_kind kind, size_t size,
                       struct core_peer **out, struct shoal_error *error) {
    struct core_device *device = core_find(core, name);
    struct core_peer *peer = device != NULL ? device->current : NULL;
    if (peer == NULL || peer->state != CORE_UP) {
        return error_set(error, SHOAL_PEER_LOST, "%s is not connected", name);
    }
    const bool is_data = wire_kind_is_data(kind);
    const size_t limit = is_data ? peer->data_bytes : peer->control_bytes;
    if (size > limit) {
        return error_set(error, SHOAL_INVALID,
                         "%s accepts %s messages of at most %zu bytes, not %zu", name,
                         is_data ? "data" : "control", limit, size);
    }
    uint32_t *credit = is_data ? &peer->data_credit : &peer->control_credit;
    if (*credit == 0) {
        *(is_data ? &peer->data_blocked : &peer->control_blocked) = true;
        return error_set(error, SHOAL_BUSY, "%s has no room for another %s message now", name,
                         is_data ? "data" : "control");
    }
    --*credit;
    device->stats.messages_sent++;
    device->stats.bytes_sent += size;
    *out = peer;
    return SHOAL_OK;
}

bool core_deliver(struct core *core, struct core_peer *peer, struct message *message,
                  enum wire_kind kind) {
    const bool is_data = wire_kind_is_data(kind);
    uint32_t *held = is_data ? &peer->data_held : &peer->control_held;
    if (*held >= (is_data ? core->window : CORE_CONTROL_WINDOW) ||
        message->outside.size > (is_data ? core->message_bytes : core->control_bytes)) {
        return false;
    }
    ++*held;
    struct core_device *device = peer->device;
    device->stats.messages_received++;
    device->stats.bytes_received += message->outside.size;
    memcpy(message->outside.peer, device->name, sizeof device->name);
    message->is_data = is_data;
    ASSERT(message->creditor == NULL);
    message->creditor = peer;
    core_peer_hold(peer);
    message->node = (struct core_node){.kind = TRANSPORT_MESSAGE, .peer = peer};
    core_enqueue(core, &message->node, is_data);
    return true;
}

bool core_credit(struct core *core, struct core_peer *peer, uint64_t data, uint64_t control) {
    if (data > peer->data_limit - peer->data_credit ||
        control > peer->control_limit - peer->control_credit) {
        return false;
    }
    peer->data_credit += (uint32_t)data;
    peer->control_credit += (uint32_t)control;
    if ((peer->data_blocked && data > 0) || (peer->control_blocked && control > 0)) {
        peer->data_blocked = peer->data_blocked && data == 0;
        peer->control_blocked = peer->control_blocked && control == 0;
        if (!peer->writable_queued && peer->state == CORE_UP) {
            peer->writable_queued = true;
            core_enqueue(core, &peer->writable, false);
        }
    }
    return true;
}

struct core_peer *core_settle(struct message *message) {
    struct core_peer *peer = message->creditor;
    if (peer == NULL) {
        return NULL;
    }
    message->creditor = NULL;
    ++*(message->is_data ? &peer->data_owed : &peer->control_owed);
    struct core_peer *answer = peer->state == CORE_UP ? peer : NULL;
    core_peer_drop(peer); /* an answer that is up is still held by its device */
    return answer;
}

bool core_peer_stats(const struct core *core, const char *name, struct transport_peer_stats *out) {
    (void)pthread_mutex_lock(core->mutex);
    const struct core_device *device = core_find(core, name);
    if (device != NULL) {
        *out = device->stats;
    }
    (void)pthread_mutex_unlock(core->mutex);
    return device != NULL;
}

void core_fini(struct core *core) {
    core_drain(core);
    while (core->devices != NULL) {
        struct core_device *device = core->devices;
        core->devices = device->next;
        ASSERT(device->current == NULL);
        mem_free(device);
    }
    (void)close(core->wake_fd);
    pool_release(core->pool);
}
