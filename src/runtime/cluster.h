/*
 * The owner's side: a set of devices that it started or dialled, calls to them, and what became of
 * them. The owner is a peer that does not compute: source, sink and coordinator of its jobs.
 *
 * Local devices are processes of this program (`shoal node`) with fresh keys in a private
 * directory, or threads of this process. They end with the cluster, also when the owner is killed.
 *
 * Threads: one owner thread. cluster_interrupt may be called from any thread and from signal
 * handlers.
 */
#ifndef RUNTIME_CLUSTER_H
#define RUNTIME_CLUSTER_H

#include "transport/transport.h"
#include "wire/message.h"

#include <jansson.h>

struct cluster_options {
    uint32_t count;
    bool in_process;
    int threads;          /* per device; 0 = cores / count, at least 1 */
    size_t memory_limit;  /* per device; 0 = none */
    const char *isa;      /* the devices' cap; NULL = native */
    size_t message_bytes; /* largest data message; 0 = transport's default */
};

struct cluster_device {
    char name[TRANSPORT_NAME_BYTES];
    char address[256];
    char key[64];
    uint32_t declared; /* remote: index in the cluster file */
    bool lost;
    enum transport_lost lost_reason; /* of one that did not end as a local process */
    char lost_text[192];             /* why, for the user */
    json_t *info;                    /* its answer to "info" */
    uint64_t pending;                /* id of the call that waits for an answer; 0 = none */
    json_t *request;                 /* that call, asked again at retry_ns if the device was busy */
    uint64_t retry_ns, retry_until_ns; /* retry_ns 0: the answer is awaited */
    json_t *reply;                     /* to the last call */
    bool owed;                         /* its probe is not answered yet for want of credit */
    uint64_t owed_number;
    struct local_device *local;
};

struct cluster {
    struct transport *transport;
    uint32_t count;
    struct cluster_device *devices;
    int threads; /* per device */
    bool in_process;
    struct local_cluster *local;
    const struct cluster_file *file; /* remote: borrowed; NULL: local */
    char owner_key[64];              /* remote: this side's public key */
    uint64_t next_id;
    uint64_t lease_ns, renew_ns; /* while jobs are there: how long they live unrenewed; when next */
};

/* Silence after which a peer counts as lost: long enough for a machine whose cores are all taken.
 */
#define CLUSTER_LOST_AFTER_NS (UINT64_C(5) * 1000000000)

#define CLUSTER_OWNER "owner" /* this side's name among local devices */

/* Starts the devices, connects, asks each for "info". Errors: IO, TIMEOUT, PEER_LOST, CANCELLED,
 * naming the device. */
NODISCARD shoal_status cluster_start_local(const struct cluster_options *options,
                                           struct cluster **out, struct shoal_error *error);

struct cluster_file;
struct zmq_keypair;

struct cluster_connect_options {
    const struct zmq_keypair *keys; /* this side's */
    size_t message_bytes;           /* largest data message; 0 = transport's default */
    /*
     * Devices that are not there, or do not answer, are marked lost instead of being an error:
     * all: also if that is every one of them. Otherwise PEER_LOST names each with its address and
     * why.
     */
    bool partly;
};

/*
 * Dials every device of the file as a session of this key, asks each for "info". file is borrowed
 * for the cluster's life. Takes at most CLUSTER_LOST_AFTER_NS for the dials and as long for the
 * answers. Errors: PEER_LOST, INVALID (the transport's), IO, NO_MEMORY, CANCELLED.
 */
NODISCARD shoal_status cluster_connect(const struct cluster_file *file,
                                       const struct cluster_connect_options *options,
                                       struct cluster **out, struct shoal_error *error);

/* Forgets the devices that are lost; errors as if they were needed if none is left. */
NODISCARD shoal_status cluster_keep_available(struct cluster *cluster, struct shoal_error *error);

/* Until every asked device has answered, was lost, or the time is over; whatever they say. Errors:
 * CANCELLED, CLOSED. */
NODISCARD shoal_status cluster_settle(struct cluster *cluster, uint64_t timeout_ns,
                                      struct shoal_error *error);

void cluster_destroy(struct cluster *cluster); /* stops local devices; NULL allowed */

void cluster_interrupt(struct cluster *cluster);

/*
 * Sends a call; takes the reference to request, adds its id. One call per device at a time. A
 * device that is busy with somebody else's job is asked again for a minute before its refusal
 * counts.
 */
NODISCARD shoal_status cluster_ask(struct cluster *cluster, uint32_t device, json_t *request,
                                   struct shoal_error *error);
/*
 * Until every asked device has answered; replies are then in devices[i].reply. Errors: the refusal
 * of a device; PEER_LOST, TIMEOUT, CANCELLED (Ctrl-C), naming the device.
 */
NODISCARD shoal_status cluster_collect(struct cluster *cluster, uint64_t timeout_ns,
                                       struct shoal_error *error);
/* Ask one and collect; *reply is borrowed until the next call to that device. */
NODISCARD shoal_status cluster_call(struct cluster *cluster, uint32_t device, json_t *request,
                                    uint64_t timeout_ns, const json_t **reply,
                                    struct shoal_error *error);

/*
 * The next event, at the latest at the deadline (TIMEOUT then). Watches local processes: one that
 * ended is reported as a TRANSPORT_PEER_LOST event, once. Replies are filed with their device and
 * not returned. Errors: TIMEOUT, CANCELLED, CLOSED.
 */
NODISCARD shoal_status cluster_next(struct cluster *cluster, uint64_t deadline_ns,
                                    struct transport_event *event, struct shoal_error *error);

/* From now on cluster_next renews this owner's jobs on all devices in time; 0: no longer. */
void cluster_lease(struct cluster *cluster, uint64_t lease_ns);

/* What a device may use: what it says itself, at most what the cluster file says. Bytes of its
 * process for new jobs (0: no limit), compute threads. */
size_t cluster_memory_limit(const struct cluster *cluster, uint32_t device);
int cluster_threads(const struct cluster *cluster, uint32_t device);

/* An answer to "info" that planning can compute with. Errors: PROTOCOL, naming device and key. */
NODISCARD shoal_status cluster_check_info(const struct cluster_device *device,
                                          struct shoal_error *error);

/* Index of a peer by name; count if there is none. */
uint32_t cluster_find(const struct cluster *cluster, const char *name);

#endif
