/*
 * What node*.c share.
 *
 * Two kinds of threads: the *event thread* (node_run's caller) owns the transport, the table of
 * jobs and everything else here; two *workers* have hands but no opinions: the computer runs
 * microbatches and measures, the loader compiles and loads stages. A task that is with a worker
 * owns what it works on (a job's stage and step, a measurement); it comes back through
 * worker_next_done, for which the transport's `next` is interrupted. Each job has at most one task
 * underway, so the workers' first-in-first-out is a round robin over the jobs that have input.
 */
#ifndef RUNTIME_NODE_INTERNAL_H
#define RUNTIME_NODE_INTERNAL_H

#include "runtime/control.h"
#include "runtime/node.h"
#include "runtime/stage.h"
#include "runtime/worker.h"

#include <stdatomic.h>

#define NODE_MAX_JOBS 8
#define NODE_INBOX 32 /* messages of one job */
#define NODE_MAX_DIALS 16
#define NODE_NO_KEY "-" /* inproc's */
#define NODE_MAX_BATCH 4096

enum node_job_state {
    NODE_JOB_FREE,
    NODE_JOB_LOADING,    /* the stage is the loader's */
    NODE_JOB_CONNECTING, /* loaded; `prepare` is answered when the next device is up */
    NODE_JOB_READY,
    NODE_JOB_ENDING, /* dropped; free as soon as the worker gives it back */
};

/* One microbatch, the computer's while the job's task is underway. */
struct node_step {
    struct transport_message *input, *output;
    shoal_status status;
    struct shoal_error error;
    double copy_s, compute_s, cpu_s, queue_s; /* queue_s: until the computer came to it */
    uint64_t submit_ns;
};

/* One stage of one run. Times are of this device since its first microbatch. */
struct node_job {
    enum node_job_state state;
    struct node *node;
    uint64_t id;
    uint32_t generation;
    uint16_t index, count; /* this stage, from 0, of so many */
    int64_t batch;
    char owner[TRANSPORT_NAME_BYTES], previous[TRANSPORT_NAME_BYTES], next[TRANSPORT_NAME_BYTES];
    uint64_t begin_ns;
    uint64_t lease_ns, lease_until_ns; /* dropped then unless renewed; lease_ns 0: never */
    uint64_t prepare_id, stop_id; /* requests that wait for an answer; stop's only if stopping */
    bool stopping;
    bool next_up;
    bool failed; /* said so to the owner; drops what still arrives */

    struct task task;
    bool working;           /* the task is with a worker */
    struct node_load *load; /* node_prepare.c's; NULL once loaded */
    struct stage *stage;
    size_t out_bytes;
    size_t reserved_bytes; /* of memory, from compiling on */

    struct node_step step;
    struct transport_message *inbox[NODE_INBOX]; /* arrived, oldest first */
    uint32_t inbox_count;
    uint32_t inbox_copies;            /* the oldest so many: copies, which hold nobody's credit */
    struct transport_message *output; /* waits for the next device's credit */
    uint64_t blocked_ns;              /* since when; 0: it does not wait */
    uint64_t taken;                   /* microbatches that arrived: the number of the next one */
    uint64_t done;                    /* microbatches sent on */

    bool started;
    uint64_t since_ns; /* wait_s and blocked_s are added up to here */
    double compute_s, compute_cpu_s, copy_s, wait_s, blocked_s;
    double start_cpu_s, start_io_cpu_s, start_compute_cpu_s;
    uint64_t steady_allocations; /* count after the second microbatch */
};

/* A `dial` that waits for its end. */
struct node_dial {
    char peer[TRANSPORT_NAME_BYTES]; /* "": free */
    char asker[TRANSPORT_NAME_BYTES];
    uint64_t id;
    bool listed; /* the allow-list here has the peer */
};

struct node_peer;        /* node_peers.c's: one that is connected */
struct node_measurement; /* node_measure.c's */
struct node_link;        /* node_link.c's */
struct node_contents;    /* node_contents.c's */

struct node {
    struct node_options options;
    char name[TRANSPORT_NAME_BYTES];
    struct transport *transport;
    struct worker *computer, *loader;
    atomic_bool stop, drain, reload; /* asked for */
    uint64_t drain_until_ns;         /* draining; 0: not */
    uint64_t start_ns;
    size_t start_resident_bytes;
    struct node_peer *peers;
    struct node_dial dials[NODE_MAX_DIALS];
    struct node_job jobs[NODE_MAX_JOBS];
    double compute_cpu_s;                 /* of all jobs that ever were */
    struct node_measurement *measurement; /* one at a time; jobs are refused meanwhile */
    struct node_link *link;               /* likewise */
    uint64_t link_count;
    struct node_contents *contents; /* NULL: no cache */
};

/* A request being answered. reply stays NULL when the answer is deferred. */
struct node_call {
    struct node *node;
    const char *peer;
    uint64_t id;
    const json_t *request;
    json_t *reply;
};

/* node_requests.c: answers one request (always, unless its answer is deferred). */
void node_handle_request(struct node *node, const char *peer, const struct wire_message *message);
NODISCARD shoal_status node_reply_or_out_of_memory(struct node_call *call, json_t *reply,
                                                   struct shoal_error *error);
void node_handle_notice(struct node *node, const char *peer, const struct wire_message *message);
/* A deferred answer; takes the reference. */
void node_reply(struct node *node, const char *peer, json_t *reply);
void node_refuse(struct node *node, const char *peer, uint64_t id, const struct shoal_error *error);
/* "model" and "batch" of a request; model_config_fini the first. */
NODISCARD shoal_status node_read_model(const struct node_call *call, struct model_config *model,
                                       int64_t *batch, struct shoal_error *error);
/* "threads" of a request: at most this device's own, which it is if nothing is said. */
NODISCARD shoal_status node_read_threads(const struct node_call *call, int *threads,
                                         struct shoal_error *error);

/* node_info.c */
NODISCARD shoal_status node_call_info(struct node_call *call, struct shoal_error *error);

/* node_prepare.c */
NODISCARD shoal_status node_call_prepare(struct node_call *call, struct shoal_error *error);
void node_prepare_peer_up(struct node_job *job); /* the next device is up */
void node_load_cancel(struct node_load *load);   /* NULL allowed, as below */
void node_load_free(struct node_load *load);

/* node_measure.c. Errors: CLOSED when the device is stopping. Busy: BUSY, naming what the device is
 * busy with. */
NODISCARD shoal_status node_check_idle(const struct node *node, struct shoal_error *error);
NODISCARD shoal_status node_check_not_measuring(const struct node *node, struct shoal_error *error);
NODISCARD shoal_status node_call_choose(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_call_profile(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_call_check(struct node_call *call, struct shoal_error *error);
void node_measurement_cancel(struct node_measurement *measurement); /* NULL allowed, as below */
void node_measurement_peer_lost(struct node *node, const char *peer);
void node_measurement_free(struct node_measurement *measurement);

/* node_job.c */
void node_job_data(struct node *node, struct transport_message *message,
                   const struct wire_message *decoded); /* takes the message */
void node_jobs_writable(struct node *node, const char *peer);
void node_jobs_peer_up(struct node *node, const char *peer);
void node_jobs_peer_lost(struct node *node, const char *peer, const char *reason);
void node_job_end(struct node_job *job); /* at once, or when its worker is done with it */
void node_job_fail(struct node_job *job, const struct shoal_error *error);
void node_jobs_renew(struct node *node, const char *owner);
/* Drops jobs whose lease ran out. all_heard: no event waits, so no renewal either; otherwise as
 * much time again is given. */
void node_jobs_expire(struct node *node, uint64_t now_ns, bool all_heard);
/* Takes what a blocked job has not computed off its sender's credit if another job needs that. */
void node_jobs_unblock(struct node *node, uint64_t now_ns);
uint64_t node_jobs_deadline(const struct node *node); /* either is due then */
bool node_has_jobs(const struct node *node);
/* The job of an owner: of that id, or (id 0) the only one. Errors: NOT_FOUND, DENIED. */
NODISCARD shoal_status node_find_job(struct node *node, const char *owner, uint64_t id,
                                     struct node_job **out, struct shoal_error *error);

/* node_memory.c: reserves planned bytes for a job. Errors: NO_MEMORY with the figures. */
NODISCARD shoal_status node_reserve(struct node_job *job, const char *what, size_t bytes,
                                    struct shoal_error *error);
size_t node_reserved_bytes(const struct node *node);
bool node_has_room(const struct node *node, size_t bytes); /* beside what is reserved */

/* node_link.c */
NODISCARD shoal_status node_call_link(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_check_no_link(const struct node *node, struct shoal_error *error);
void node_link_step(struct node *node);
uint64_t node_link_deadline(const struct node *node); /* node_link_step is due then */
bool node_link_take(struct node *node, const char *peer, const struct wire_header *header);
void node_link_peer_ready(struct node *node, const char *peer); /* up, or writable */
void node_link_peer_lost(struct node *node, const char *peer, const char *reason);

/* node_peers.c */
NODISCARD shoal_status node_peer_came(struct node *node, const char *name,
                                      struct shoal_error *error);
void node_peer_went(struct node *node, const char *name, enum transport_lost lost,
                    const char *reason);
void node_peer_writable(struct node *node, const char *name);
void node_peer_probes(struct node *node, const char *name, const struct wire_header *header);
bool node_peer_is_up(const struct node *node, const char *name);
void node_peers_fini(struct node *node);
/*
 * {"name", "key"}: a device is known by its key, so its name is what this device's allow-list calls
 * it. Keyless transports ("-") know names alone. *listed (NULL allowed): whether the list has it.
 */
NODISCARD shoal_status node_read_device(struct node *node, const json_t *device,
                                        char name[TRANSPORT_NAME_BYTES], bool *listed,
                                        struct shoal_error *error);
/* The device of a request's "peer", "address" and "key", as *device, the caller's, for node_dial.
 */
NODISCARD shoal_status node_read_peer(const struct node_call *call, char name[TRANSPORT_NAME_BYTES],
                                      json_t **device, bool *listed, struct shoal_error *error);
/* Dials unless it is connected or being dialled; PEER_UP or PEER_LOST follows then. */
NODISCARD shoal_status node_dial(struct node *node, const char *name, const json_t *device,
                                 struct shoal_error *error);
NODISCARD shoal_status node_call_dial(struct node_call *call, struct shoal_error *error);

/* node_contents.c: have, fetch, read, release, and what they need of the event thread. */
NODISCARD shoal_status node_contents_create(struct node *node, struct contents *contents,
                                            struct node_contents **out, struct shoal_error *error);
void node_contents_destroy(struct node_contents *here); /* NULL allowed */
NODISCARD shoal_status node_call_have(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_call_fetch(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_call_read(struct node_call *call, struct shoal_error *error);
NODISCARD shoal_status node_call_release(struct node_call *call, struct shoal_error *error);
void node_contents_chunk(struct node *node, const char *peer, const struct wire_message *message);
void node_contents_peer_up(struct node *node, const char *peer);
void node_contents_peer_lost(struct node *node, const char *peer, const char *reason);
void node_contents_writable(struct node *node, const char *peer);
void node_contents_interrupted(struct node *node);
uint64_t node_contents_deadline(const struct node *node); /* node_contents_tick is due then */
void node_contents_tick(struct node *node);

#endif
