/* The owner's side of a core: taking events from the two queues, waiting for them, being
 * interrupted. */
#include "transport/core.h"

#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void core_wake(struct core *core) {
    const int saved = errno;
    const uint64_t one = 1;
    const ssize_t written = write(core->wake_fd, &one, sizeof one);
    (void)written; /* full means that it is awake already */
    errno = saved;
}

void core_interrupt(struct core *core) {
    atomic_store(&core->interrupted, true);
    core_wake(core);
}

void core_close(struct core *core) {
    core->closed = true;
    core_wake(core);
}

static struct core_node *pop(struct core_queue *queue) {
    struct core_node *node = queue->head;
    queue->head = node->next;
    if (queue->head == NULL) {
        queue->tail = NULL;
    }
    return node;
}

static struct message *message_of_node(struct core_node *node) {
    return (struct message *)(void *)((char *)node - offsetof(struct message, node));
}

/* A queued message that nobody will read. */
static void discard(struct core_node *node) {
    struct core_peer *peer = node->peer;
    struct message *message = message_of_node(node);
    (void)core_settle(message);
    pool_give(message);
    core_peer_drop(peer);
}

/* After the owner has heard that a peer is lost it gets nothing more of it. */
static void purge_data(struct core *core, const struct core_peer *peer) {
    struct core_node *node = core->data.head;
    core->data = (struct core_queue){NULL, NULL};
    while (node != NULL) {
        struct core_node *next = node->next;
        if (node->peer == peer) {
            discard(node);
        } else {
            node->next = NULL;
            *(core->data.tail != NULL ? &core->data.tail->next : &core->data.head) = node;
            core->data.tail = node;
        }
        node = next;
    }
}

/* The oldest entry that is wanted, taken off its queue; NULL if there is none. */
static struct core_node *take(struct core *core, unsigned want) {
    const struct core_node *data = (want & TRANSPORT_WANT_DATA) != 0 ? core->data.head : NULL;
    const struct core_node *other = (want & TRANSPORT_WANT_CONTROL) != 0 ? core->other.head : NULL;
    if (data == NULL && other == NULL) {
        return NULL;
    }
    const bool data_first = other == NULL || (data != NULL && data->sequence < other->sequence);
    return pop(data_first ? &core->data : &core->other);
}

/* Turns a taken entry into an event; false if it is stale and there is none. */
static bool present(struct core *core, struct core_node *node, struct transport_event *out) {
    struct core_peer *peer = node->peer;
    bool stale = peer->silent;
    if (node->kind == TRANSPORT_WRITABLE) {
        peer->writable_queued = false;
        stale = peer->state != CORE_UP;
    } else if (node->kind == TRANSPORT_PEER_LOST) {
        peer->device->unread--;
        purge_data(core, peer);
    } else if (node->kind == TRANSPORT_MESSAGE && stale) {
        discard(node);
        return false;
    }
    if (!stale) {
        out->kind = node->kind;
        memcpy(out->peer, peer->device->name, sizeof out->peer);
        out->reason = peer->lost_reason;
        out->text[0] = '\0';
        out->message = NULL;
        if (node->kind == TRANSPORT_MESSAGE) {
            out->message = &message_of_node(node)->outside;
        } else if (node->kind == TRANSPORT_PEER_LOST) {
            (void)snprintf(out->text, sizeof out->text, "%s", peer->lost_text);
        }
    }
    core_peer_drop(peer);
    return !stale;
}

/* Sleeps until the wake descriptor is written or the deadline has come. */
static void wait_for_wake(const struct core *core, uint64_t now, uint64_t deadline_ns) {
    struct pollfd item = {.fd = core->wake_fd, .events = POLLIN};
    struct timespec left = {0};
    if (deadline_ns != CLOCK_NEVER) {
        left.tv_sec = (time_t)((deadline_ns - now) / CLOCK_SECOND);
        left.tv_nsec = (long)((deadline_ns - now) % CLOCK_SECOND);
    }
    if (ppoll(&item, 1, deadline_ns != CLOCK_NEVER ? &left : NULL, NULL) > 0) {
        uint64_t count;
        const ssize_t got = read(core->wake_fd, &count, sizeof count);
        (void)got;
    }
}

shoal_status core_next(struct core *core, unsigned want, uint64_t deadline_ns,
                       struct transport_event *out, struct shoal_error *error) {
    for (;;) {
        if (atomic_exchange(&core->interrupted, false)) {
            *out = (struct transport_event){.kind = TRANSPORT_INTERRUPT};
            return SHOAL_OK;
        }
        (void)pthread_mutex_lock(core->mutex);
        core->waiting = 0;
        bool found = false;
        struct core_node *node = NULL;
        while (!found && (node = take(core, want)) != NULL) {
            found = present(core, node, out);
        }
        const bool closed = core->closed;
        const uint64_t now = found ? 0 : platform_now_ns();
        const bool late = !found && !closed && now >= deadline_ns;
        if (!found && !closed && !late) {
            core->waiting = want;
        }
        (void)pthread_mutex_unlock(core->mutex);
        if (found) {
            return SHOAL_OK;
        }
        if (closed) {
            return error_set(error, SHOAL_CLOSED, "endpoint %s has ended", core->name);
        }
        if (late) {
            return error_set(error, SHOAL_TIMEOUT, "nothing came before the deadline");
        }
        wait_for_wake(core, now, deadline_ns);
    }
}

void core_drain(struct core *core) {
    while (core->data.head != NULL) {
        discard(pop(&core->data));
    }
    while (core->other.head != NULL) {
        struct core_node *node = pop(&core->other);
        if (node->kind == TRANSPORT_MESSAGE) {
            discard(node);
        } else {
            core_peer_drop(node->peer);
        }
    }
}
