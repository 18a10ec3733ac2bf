/* `link`: one direction of a link, measured while everything else goes on. */
#include "runtime/node_internal.h"

#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/link.h"

#include <stdio.h>
#include <string.h>

struct node_link {
    struct link_probe probe;
    char asker[TRANSPORT_NAME_BYTES];
    uint64_t id;
};

static void finish(struct node *node) {
    mem_free(node->link);
    node->link = NULL;
}

static void refuse(struct node *node, const struct shoal_error *error) {
    node_refuse(node, node->link->asker, node->link->id, error);
    finish(node);
}

static void answer(struct node *node) {
    struct link_figures figures;
    link_probe_figures(&node->link->probe, &figures);
    node_reply(node, node->link->asker,
               json_pack("{s:I, s:b, s:f, s:f, s:f, s:f}", "id", (json_int_t)node->link->id, "ok",
                         1, "alpha_s", figures.alpha_s, "beta_s_per_byte", figures.beta_s_per_byte,
                         "cpu_s_per_message", figures.cpu_s_per_message, "cpu_s_per_byte",
                         figures.cpu_s_per_byte));
    finish(node);
}

void node_link_step(struct node *node) {
    struct shoal_error error;
    if (node->link == NULL) {
        return;
    }
    if (link_probe_done(&node->link->probe)) {
        answer(node);
    } else if (link_probe_step(&node->link->probe, &error) != SHOAL_OK) {
        refuse(node, &error);
    }
}

uint64_t node_link_deadline(const struct node *node) {
    return node->link != NULL ? link_probe_due(&node->link->probe) : CLOCK_NEVER;
}

bool node_link_take(struct node *node, const char *peer, const struct wire_header *header) {
    if (node->link == NULL || !link_probe_take(&node->link->probe, peer, header)) {
        return false;
    }
    node_link_step(node);
    return true;
}

void node_link_peer_ready(struct node *node, const char *peer) {
    if (node->link != NULL && strcmp(node->link->probe.peer, peer) == 0) {
        link_probe_retry(&node->link->probe);
        node_link_step(node);
    }
}

void node_link_peer_lost(struct node *node, const char *peer, const char *reason) {
    if (node->link == NULL) {
        return;
    }
    if (strcmp(node->link->asker, peer) == 0) {
        finish(node);
    } else if (strcmp(node->link->probe.peer, peer) == 0) {
        struct shoal_error error;
        (void)error_set(&error, SHOAL_PEER_LOST, "%s cannot be reached from here: %s", peer,
                        reason);
        refuse(node, &error);
    }
}

shoal_status node_check_no_link(const struct node *node, struct shoal_error *error) {
    return node->link == NULL ? SHOAL_OK
                              : error_set(error, SHOAL_BUSY, "busy with measuring a link for %s",
                                          node->link->asker);
}

/* At full share nothing else may run, or the figures would be of both. */
static shoal_status check_free(const struct node *node, double share, struct shoal_error *error) {
    if (share >= 1.0) {
        TRY(node_check_idle(node, error));
    }
    return node_check_not_measuring(node, error);
}

shoal_status node_call_link(struct node_call *call, struct shoal_error *error) {
    struct node *node = call->node;
    char peer[TRANSPORT_NAME_BYTES];
    int64_t bytes;
    double share = 1.0;
    if (json_object_get(call->request, "share") != NULL) {
        TRY(control_number(call->request, "share", &share, error));
    }
    if (!(share >= 0.001 && share <= 1.0)) {
        return error_set(error, SHOAL_PROTOCOL,
                         "control message: 'share' is not a number from 0.001 to 1");
    }
    TRY(check_free(node, share, error));
    TRY(control_integer(call->request, "bytes", 1, 1 << 28, &bytes, error));
    if (json_is_null(json_object_get(call->request, "peer"))) { /* back to the one who asks */
        (void)snprintf(peer, sizeof peer, "%s", call->peer);
    } else {
        json_t *device;
        TRY(node_read_peer(call, peer, &device, NULL, error));
        const shoal_status status = node_dial(node, peer, device, error);
        json_decref(device);
        TRY(status);
    }
    struct node_link *link = mem_calloc(1, sizeof *link);
    if (link == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a measurement");
    }
    link->id = call->id;
    (void)snprintf(link->asker, sizeof link->asker, "%s", call->peer);
    link_probe_init(&link->probe, node->transport, peer, (size_t)bytes, share, ++node->link_count);
    node->link = link;
    node_link_step(node);
    return SHOAL_OK;
}
