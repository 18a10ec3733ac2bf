#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/link.h"

#include <stdio.h>
#include <string.h>

#define IDLE_NS (60 * CLOCK_SECOND) /* next() always has a deadline; passing it means nothing */

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
    node->start_resident_bytes = memory_resident_bytes();
    atomic_init(&node->stop, false);
    *out = node;
    return SHOAL_OK;
}

void node_destroy(struct node *node) {
    if (node != NULL) {
        node_job_drop(node);
        mem_free(node);
    }
}

void node_stop(struct node *node) {
    atomic_store(&node->stop, true);
    node->transport->ops->interrupt(node->transport);
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

shoal_status node_handle_event(struct node *node, struct transport_event *event,
                               struct shoal_error *error) {
    (void)error;
    switch (event->kind) {
    case TRANSPORT_MESSAGE:
        handle_message(node, event->message);
        break;
    case TRANSPORT_WRITABLE:
        node_job_try_output(node);
        break;
    case TRANSPORT_PEER_UP:
        log_info("%s is connected", event->peer);
        node_job_peer_up(node, event->peer);
        break;
    case TRANSPORT_PEER_LOST:
        log_info("%s is gone: %s", event->peer, event->text);
        node_job_peer_lost(node, event->peer, event->text);
        break;
    case TRANSPORT_INTERRUPT:
        break;
    }
    return SHOAL_OK;
}

shoal_status node_run(struct node *node, struct shoal_error *error) {
    while (!atomic_load(&node->stop)) {
        const bool blocked = node->job.output != NULL;
        const uint64_t start = platform_now_ns();
        struct transport_event event;
        const shoal_status status = node->transport->ops->next(
            node->transport,
            blocked ? TRANSPORT_WANT_CONTROL : TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
            start + IDLE_NS, &event, error);
        if (node->job.started) {
            *(blocked ? &node->job.blocked_s : &node->job.wait_s) +=
                (double)(platform_now_ns() - start) * 1e-9;
        }
        if (status == SHOAL_TIMEOUT) {
            continue;
        }
        TRY(status);
        TRY(node_handle_event(node, &event, error));
    }
    return SHOAL_OK;
}
