/*
 * A device: answers requests of owners (the peers that ask), holds a stage of each of up to eight
 * jobs as memory allows, computes what its upstream sends and passes it on. `shoal node` runs one
 * per process; tests and --in-process, one per thread.
 *
 * The thread that calls node_run handles events: requests are answered at once, also while a
 * microbatch is computed. Two threads of its own compute and load. While an output of a job waits
 * for the next device's credit no further input of that job is computed; what arrives waits in the
 * credit window of its sender, so memory is bounded.
 *
 * A job lives as long as its owner's connection and as its owner renews its lease.
 *
 * Requests ("call"): see docs/protocol.md.
 */
#ifndef RUNTIME_NODE_H
#define RUNTIME_NODE_H

#include "store/contents.h"
#include "transport/transport.h"

struct node_options {
    const char *name;
    struct transport *transport; /* borrowed */
    int threads;                 /* compute threads */
    size_t memory_limit;         /* bytes of this process; 0 = none */
    size_t message_bytes; /* largest data message the transport takes; for texts; 0 = its default */
    bool shared_process;  /* other devices live in this process: its memory is not this device's
                             alone */
    bool local;           /* owner and device are of one machine: weights may be named by path */
    const char *allow_file;        /* for texts; NULL: no allow-list */
    struct contents *contents;     /* its cache, borrowed; NULL: none */
    uint64_t drain_ns;             /* how long running jobs may go on after node_drain */
    void (*reload)(void *context); /* on node_run's thread after node_reload; NULL allowed */
    void *context;
};

struct node;

NODISCARD shoal_status node_create(const struct node_options *options, struct node **out,
                                   struct shoal_error *error);

/* Runs until node_stop. Errors: CLOSED (the transport broke), NO_MEMORY. A job's failure is the
 * job's, not the node's. */
NODISCARD shoal_status node_run(struct node *node, struct shoal_error *error);

/* All three: any thread, async-signal-safe. */
void node_stop(struct node *node);
void node_drain(struct node *node); /* no new work; node_run ends when the present jobs have */
void node_reload(struct node *node);
void node_destroy(struct node *node);

#endif
