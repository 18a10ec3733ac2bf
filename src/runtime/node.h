/*
 * A device: answers requests of the job's owner (the peer that asks), holds one stage, computes
 * what its upstream sends and passes it on. `shoal node` runs one per process; tests and
 * --in-process, one per thread.
 *
 * The node computes on the thread that calls node_run; the transport's own thread receives and
 * sends meanwhile. While an output waits for the next device's credit no further input is taken, so
 * at most the credit windows are underway anywhere and memory is bounded.
 *
 * Requests ("call"): info, choose, profile, link, prepare, progress, report, stop. See
 * docs/protocol.md.
 */
#ifndef RUNTIME_NODE_H
#define RUNTIME_NODE_H

#include "transport/transport.h"

struct node_options {
    const char *name;
    struct transport *transport; /* borrowed */
    int threads;                 /* compute threads */
    size_t memory_limit;         /* bytes of this process; 0 = none */
    bool shared_process; /* other devices live in this process: its memory is not this device's
                            alone */
};

struct node;

NODISCARD shoal_status node_create(const struct node_options *options, struct node **out,
                                   struct shoal_error *error);

/* Runs until node_stop. Errors: CLOSED (the transport broke), NO_MEMORY. A job's failure is the
 * job's, not the node's. */
NODISCARD shoal_status node_run(struct node *node, struct shoal_error *error);

void node_stop(struct node *node); /* any thread, async-signal-safe */
void node_destroy(struct node *node);

#endif
