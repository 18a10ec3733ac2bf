#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"

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
    atomic_init(&node->drain, false);
    atomic_init(&node->reload, false);
    node->start_ns = platform_now_ns();
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        node->jobs[i].node = node;
    }
    shoal_status status = worker_create(on_task_done, node, &node->computer, error);
    if (status == SHOAL_OK) {
        status = worker_create(on_task_done, node, &node->loader, error);
    }
    if (status == SHOAL_OK && options->contents != NULL) {
        status = node_contents_create(node, options->contents, &node->contents, error);
    }
    if (status != SHOAL_OK) {
        node_destroy(node);
        return status;
    }
    node->start_resident_bytes = memory_resident_bytes();
    *out = node;
    return SHOAL_OK;
}

void node_destroy(struct node *node) {
    if (node == NULL) {
        return;
    }
    node_measurement_cancel(node->measurement);
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        node_load_cancel(node->jobs[i].load);
    }
    worker_destroy(node->loader);
    worker_destroy(node->computer);
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        node->jobs[i].working = false; /* the workers are gone */
        node->jobs[i].stopping = false;
        node_job_end(&node->jobs[i]);
    }
    node_measurement_free(node->measurement);
    node_contents_destroy(node->contents);
    node_peers_fini(node);
    mem_free(node->link);
    mem_free(node);
}

void node_stop(struct node *node) {
    atomic_store(&node->stop, true);
    node->transport->ops->interrupt(node->transport);
}

void node_drain(struct node *node) {
    atomic_store(&node->drain, true);
    node->transport->ops->interrupt(node->transport);
}

void node_reload(struct node *node) {
    atomic_store(&node->reload, true);
    node->transport->ops->interrupt(node->transport);
}

static void handle_message(struct node *node, struct transport_message *message) {
    struct wire_message decoded;
    struct shoal_error error;
    if (wire_decode(message->data, message->size, &decoded, &error) != SHOAL_OK) {
        log_warn("%s sent a message that cannot be read: %s", message->peer, error.text);
    } else if (decoded.header.kind == WIRE_REQUEST) {
        node_handle_request(node, message->peer, &decoded);
    } else if (decoded.header.kind == WIRE_EVENT) {
        node_handle_notice(node, message->peer, &decoded);
    } else if (decoded.header.kind == WIRE_ACTIVATION) {
        node_job_data(node, message, &decoded);
        return;
    } else if (decoded.header.kind == WIRE_CHUNK) {
        node_contents_chunk(node, message->peer, &decoded);
    } else if (decoded.header.kind == WIRE_PROBE) {
        if (!node_link_take(node, message->peer, &decoded.header)) {
            node_peer_probes(node, message->peer, &decoded.header);
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

static shoal_status handle_event(struct node *node, struct transport_event *event,
                                 struct shoal_error *error) {
    switch (event->kind) {
    case TRANSPORT_MESSAGE:
        handle_message(node, event->message);
        break;
    case TRANSPORT_WRITABLE:
        node_peer_writable(node, event->peer);
        node_link_peer_ready(node, event->peer);
        node_jobs_writable(node, event->peer);
        node_contents_writable(node, event->peer);
        break;
    case TRANSPORT_PEER_UP:
        TRY(node_peer_came(node, event->peer, error));
        node_link_peer_ready(node, event->peer);
        node_jobs_peer_up(node, event->peer);
        node_contents_peer_up(node, event->peer);
        break;
    case TRANSPORT_PEER_LOST:
        node_peer_went(node, event->peer, event->reason, event->text);
        node_link_peer_lost(node, event->peer, event->text);
        node_measurement_peer_lost(node, event->peer);
        node_jobs_peer_lost(node, event->peer, event->text);
        node_contents_peer_lost(node, event->peer, event->text);
        break;
    case TRANSPORT_INTERRUPT:
        handle_done_tasks(node);
        node_contents_interrupted(node);
        break;
    }
    return SHOAL_OK;
}

static bool is_idle(const struct node *node) {
    return !node_has_jobs(node) && node->measurement == NULL && node->link == NULL;
}

/* What signals asked for. */
static void obey(struct node *node) {
    if (atomic_exchange(&node->reload, false) && node->options.reload != NULL) {
        node->options.reload(node->options.context);
    }
    if (atomic_load(&node->drain) && node->drain_until_ns == 0) {
        node->drain_until_ns = platform_now_ns() + node->options.drain_ns;
        log_info("stopping: %s", is_idle(node) ? "nothing is underway"
                                               : "no new jobs; the present ones may finish");
    }
}

/* Whether running ends; what time alone brings about is done here. */
static bool is_over(struct node *node) {
    obey(node);
    const uint64_t now = platform_now_ns();
    if (node->drain_until_ns == 0) {
        return atomic_load(&node->stop);
    }
    if (now >= node->drain_until_ns && !is_idle(node)) {
        log_warn("stopping: what is underway did not finish within %.0f s",
                 (double)node->options.drain_ns * 1e-9);
        return true;
    }
    return atomic_load(&node->stop) || is_idle(node);
}

static uint64_t next_deadline(const struct node *node) {
    uint64_t deadline = platform_now_ns() + IDLE_NS;
    const uint64_t others[] = {node_jobs_deadline(node), node_link_deadline(node),
                               node_contents_deadline(node),
                               node->drain_until_ns > 0 ? node->drain_until_ns : CLOCK_NEVER};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        deadline = others[i] < deadline ? others[i] : deadline;
    }
    return deadline;
}

shoal_status node_run(struct node *node, struct shoal_error *error) {
    while (!is_over(node)) {
        struct transport_event event;
        const shoal_status status = node->transport->ops->next(
            node->transport, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA, next_deadline(node),
            &event, error);
        node_jobs_expire(node, platform_now_ns(), status == SHOAL_TIMEOUT);
        node_jobs_unblock(node, platform_now_ns());
        node_contents_tick(node);
        if (status == SHOAL_TIMEOUT) {
            node_link_step(node);
            continue;
        }
        TRY(status);
        TRY(handle_event(node, &event, error));
    }
    return SHOAL_OK;
}
