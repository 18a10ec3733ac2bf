/* What node.c, node_requests.c and node_job.c share. */
#ifndef RUNTIME_NODE_INTERNAL_H
#define RUNTIME_NODE_INTERNAL_H

#include "runtime/control.h"
#include "runtime/node.h"
#include "runtime/stage.h"

#include <stdatomic.h>

/* One stage of one run. Times are of this device since its first microbatch. */
struct node_job {
    struct stage *stage; /* NULL: no job */
    uint64_t id;
    uint32_t generation;
    uint16_t index, count; /* this stage, from 0, of so many */
    int64_t batch;
    char owner[TRANSPORT_NAME_BYTES], previous[TRANSPORT_NAME_BYTES], next[TRANSPORT_NAME_BYTES];

    bool waits_for_next; /* prepare is answered when the next device is up */
    uint64_t prepare_id;
    bool failed; /* said so to the owner; drops what still arrives */

    struct transport_message *output; /* waits for the next device's credit */
    uint64_t done; /* microbatches sent on; the next one expected is done, or done + 1 with output
                      waiting */

    bool started;
    double compute_s, compute_cpu_s, copy_s, wait_s, blocked_s;
    double start_cpu_s, start_io_cpu_s;
    uint64_t steady_allocations; /* count after the second microbatch */
};

struct node {
    struct node_options options;
    char name[TRANSPORT_NAME_BYTES];
    struct transport *transport;
    atomic_bool stop;
    bool measuring; /* a link or a profile; requests that need time are refused meanwhile */
    size_t start_resident_bytes;
    struct node_job job;
};

/* node_requests.c: answers one request (always, unless its answer is deferred). */
void node_handle_request(struct node *node, const char *peer, const struct wire_message *message);

/* node_job.c */
void node_job_data(struct node *node, struct transport_message *message,
                   const struct wire_message *decoded);
void node_job_try_output(struct node *node);
void node_job_peer_up(struct node *node, const char *peer);
void node_job_peer_lost(struct node *node, const char *peer, const char *reason);
void node_job_drop(struct node *node);
void node_job_fail(struct node *node, const struct shoal_error *error);

/* node.c */
NODISCARD shoal_status node_handle_event(struct node *node, struct transport_event *event,
                                         struct shoal_error *error);

#endif
