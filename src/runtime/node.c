#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/link.h"

#include <stdio.h>
#include <string.h>

#define IDLE_NS (60 * CLOCK_SECOND) /* next() always has a deadline; passing it means nothing */

static void on_task_done(void *context) {
    const struct node *node = context;
    node->transport->ops->interrupt(node->transport);
}

shoal_status node_create(const struct node_options *options, struct node **out,
                         struct shoal_error *error) {
    struct node *node = mem_calloc(1, sizeof *node);
    if (node == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a node");
    }
    node->options = *options;
    (void)snprintf(node->name, sizeof node->name, "%s", options->name);
    node->options.name = node->name;
    node->transport = options->transport;
    atomic_init(&node->stop, false);
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        node->jobs[i].node = node;
    }
    shoal_status status = worker_create(on_task_done, node, &node->computer, error);
    if (status == SHOAL_OK) {
        status = worker_create(on_task_done, node, &node->loader, error);
    }
    if (status != SHOAL_OK) {
        node_destroy(node);
        return status;
    }
    node->start_resident_bytes = memory_resident_bytes();
    *out = node;
    return SHOAL_OK;
}

static void remove_peer(struct node *node, const char *name) {
    for (struct node_peer **at = &node->peers; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->name, name) == 0) {
            struct node_peer *peer = *at;
            *at = peer->next;
            mem_free(peer);
            return;
        }
    }
}

void node_destroy(struct node *node) {
    if (node == NULL) {
        return;
    }
    worker_destroy(node->loader);
    worker_destroy(node->computer);
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        node->jobs[i].working = false; /* the workers are gone */
        node->jobs[i].stopping = false;
        node_job_end(&node->jobs[i]);
    }
    node_measurement_free(node->measurement);
    while (node->peers != NULL) {
        remove_peer(node, node->peers->name);
    }
    mem_free(node);
}

void node_stop(struct node *node) {
    atomic_store(&node->stop, true);
    node->transport->ops->interrupt(node->transport);
}

bool node_peer_is_up(const struct node *node, const char *name) {
    for (const struct node_peer *peer = node->peers; peer != NULL; peer = peer->next) {
        if (strcmp(peer->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static shoal_status add_peer(struct node *node, const char *name, struct shoal_error *error) {
    remove_peer(node, name);
    struct node_peer *peer = mem_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a peer");
    }
    (void)snprintf(peer->name, sizeof peer->name, "%s", name);
    peer->next = node->peers;
    node->peers = peer;
    return SHOAL_OK;
}

static void handle_message(struct node *node, struct transport_message *message) {
    struct wire_message decoded;
    struct shoal_error error;
    if (wire_decode(message->data, message->size, &decoded, &error) != SHOAL_OK) {
        log_warn("%s sent a message that cannot be read: %s", message->peer, error.text);
    } else if (decoded.header.kind == WIRE_REQUEST) {
        node_handle_request(node, message->peer, &decoded);
    } else if (decoded.header.kind == WIRE_ACTIVATION) {
        node_job_data(node, message, &decoded);
        return;
    } else if (decoded.header.kind == WIRE_PROBE && link_is_question(&decoded.header)) {
        if (link_answer(node->transport, message->peer, &error) != SHOAL_OK) {
            log_debug("a probe of %s stays unanswered: %s", message->peer, error.text);
        }
    } else {
        log_debug("%s sent a %s message, which a node does not take", message->peer,
                  wire_kind_name(decoded.header.kind));
    }
    node->transport->ops->message_free(node->transport, message);
}

static void handle_done_tasks(struct node *node) {
    struct worker *const workers[] = {node->computer, node->loader};
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        for (struct task *task = worker_next_done(workers[i]); task != NULL;
             task = worker_next_done(workers[i])) {
            task->done(task);
        }
    }
}

shoal_status node_handle_event(struct node *node, struct transport_event *event,
                               struct shoal_error *error) {
    switch (event->kind) {
    case TRANSPORT_MESSAGE:
        handle_message(node, event->message);
        break;
    case TRANSPORT_WRITABLE:
        node_jobs_writable(node, event->peer);
        break;
    case TRANSPORT_PEER_UP:
        log_info("%s is connected", event->peer);
        TRY(add_peer(node, event->peer, error));
        node_jobs_peer_up(node, event->peer);
        break;
    case TRANSPORT_PEER_LOST:
        log_info("%s is gone: %s", event->peer, event->text);
        remove_peer(node, event->peer);
        node_jobs_peer_lost(node, event->peer, event->text);
        break;
    case TRANSPORT_INTERRUPT:
        handle_done_tasks(node);
        break;
    }
    return SHOAL_OK;
}

shoal_status node_run(struct node *node, struct shoal_error *error) {
    while (!atomic_load(&node->stop)) {
        struct transport_event event;
        const shoal_status status = node->transport->ops->next(
            node->transport, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
            platform_now_ns() + IDLE_NS, &event, error);
        if (status == SHOAL_TIMEOUT) {
            continue;
        }
        TRY(status);
        TRY(node_handle_event(node, &event, error));
    }
    return SHOAL_OK;
}
