/*
 * What every transport shares: the table of peers, credit, and the two event queues that the owner
 * thread reads. A core does no I/O; implementations call it when bytes or pointers arrive.
 *
 * Two objects stand for "a peer": a device is a name with its counters and stays for the endpoint's
 * life (that of a session: while anything of it is left); a core_peer is one connection to it, from
 * connecting to lost. What was queued for a lost connection can so never be taken for the next
 * one's.
 *
 * Threads: functions marked [lock] are called with core->mutex held; the others take it themselves.
 * Queues are bounded: messages by the windows granted, other events by one of each kind per
 * core_peer, and core_peers by CORE_MAX_UNREAD per device.
 */
#ifndef TRANSPORT_CORE_H
#define TRANSPORT_CORE_H

#include "transport/pool.h"
#include "transport/transport.h"
#include "wire/message.h"

#include <pthread.h>

#define CORE_CONTROL_WINDOW 256 /* control messages underway to a peer */
#define CORE_MAX_UNREAD 4       /* connections of one device whose end the owner has not read yet */
#define CORE_TEXT 128
#define CORE_MAX_UNREAD_SESSIONS 64 /* sessions of one key, ended ones that are unread included */

enum core_state { CORE_DIALLING, CORE_UP, CORE_GONE };

struct core_device {
    struct core_device *next;
    char name[TRANSPORT_NAME_BYTES];
    struct core_peer *current; /* NULL: none; holds a reference */
    uint32_t unread;           /* core_peers that still have events queued */
    uint64_t ended;            /* connections that ended: HELLO's serial */
    uint32_t peers;            /* core_peers of it that exist */
    bool session;              /* goes with its last core_peer: sessions come and go for ever */
    struct core *core;
    struct transport_peer_stats stats;
};

struct core_peer {
    struct core_device *device;
    enum core_state state;
    uint32_t references;
    struct core_node up, lost, writable;
    bool writable_queued;
    bool silent; /* the owner left it: no event of it any more */
    enum transport_lost lost_reason;
    char lost_text[CORE_TEXT];
    /* What we may send. */
    uint32_t data_credit, data_limit, control_credit, control_limit;
    size_t data_bytes, control_bytes;
    bool data_blocked, control_blocked;
    /* What the peer may send: held = received and not credited yet; owed = of these, freed by the
     * owner. */
    uint32_t data_held, data_owed, control_held, control_owed;
    void *link; /* the implementation's */
};

struct core_queue {
    struct core_node *head, *tail;
};

struct core {
    pthread_mutex_t *mutex; /* the endpoint's, or one that endpoints share */
    struct pool *pool;
    char name[TRANSPORT_NAME_BYTES];
    bool session; /* this endpoint is a client's */
    uint32_t window;
    size_t message_bytes, control_bytes;
    uint64_t ping_ns, lost_after_ns;
    struct core_device *devices;
    struct core_queue data, other;
    uint64_t sequence;
    unsigned waiting; /* what the owner waits for now, as TRANSPORT_WANT_… */
    int wake_fd;
    atomic_bool interrupted;
    bool closed; /* the I/O thread has given up */
    atomic_uint_fast64_t refused;
};

/* Checks and copies the options. Errors: INVALID (no name, name too long, limits out of range),
 * NO_MEMORY, IO. */
NODISCARD shoal_status core_init(struct core *core, const struct transport_options *options,
                                 pthread_mutex_t *mutex, struct shoal_error *error);
/* Frees queued messages and the table; nothing else uses the core any more. */
void core_fini(struct core *core);

/* [lock] NULL if there was never such a device. */
struct core_device *core_find(const struct core *core, const char *name);

/*
 * [lock] A new connection (dialling) becomes the device's current one; there must be none.
 * Errors: BUSY (there is one, or the owner does not read its events), NO_MEMORY.
 */
NODISCARD shoal_status core_peer_new(struct core *core, const char *name, struct core_peer **out,
                                     struct shoal_error *error);

/* The name of one session of a peer: NAME#xxxxxxxx. */
void core_session_name(const char *name, uint64_t instance, char out[TRANSPORT_NAME_BYTES]);
/* [lock] May one more session of this name come? Errors: BUSY (says how many there are). */
NODISCARD shoal_status core_session_check(const struct core *core, const char *name,
                                          struct shoal_error *error);

void core_peer_hold(struct core_peer *peer); /* [lock] */
void core_peer_drop(struct core_peer *peer); /* [lock] */

struct core_limits {
    uint32_t window, control_window;
    size_t message_bytes, control_bytes;
};
void core_peer_up(struct core *core, struct core_peer *peer,
                  const struct core_limits *limits); /* [lock] */

/* [lock] Once per core_peer; later calls do nothing. With text NULL no event is queued (the owner's
 * own doing). */
void core_peer_end(struct core *core, struct core_peer *peer, enum transport_lost reason,
                   const char *text);

/*
 * [lock] May a message of this kind and size be sent? Takes the credit on OK.
 * Errors: BUSY (WRITABLE will follow), PEER_LOST, INVALID (larger than the peer accepts).
 */
NODISCARD shoal_status core_send(struct core *core, const char *name, enum wire_kind kind,
                                 size_t size, struct core_peer **out, struct shoal_error *error);

/* [lock] The message is the owner's from here. False: the peer sent more than its credit, or too
 * much; message untouched. */
NODISCARD bool core_deliver(struct core *core, struct core_peer *peer, struct message *message,
                            enum wire_kind kind);

/* [lock] The peer gave credit back. False: more than it ever got. */
NODISCARD bool core_credit(struct core *core, struct core_peer *peer, uint64_t data,
                           uint64_t control);

/* [lock] The owner is done with a received message: books the credit; the peer it is owed to, or
 * NULL. */
struct core_peer *core_settle(struct message *message);

/* As transport_ops.next. */
NODISCARD shoal_status core_next(struct core *core, unsigned want, uint64_t deadline_ns,
                                 struct transport_event *out, struct shoal_error *error);
void core_enqueue(struct core *core, struct core_node *node, bool is_data); /* [lock] */
void core_drain(struct core *core);     /* drops all that is queued */
void core_wake(struct core *core);      /* the owner looks again */
void core_interrupt(struct core *core); /* async-signal-safe */
void core_close(struct core *core);     /* [lock] next answers CLOSED once the queues are empty */

bool core_peer_stats(const struct core *core, const char *name, struct transport_peer_stats *out);

/* Decodes what the owner wants to send. Errors: INVALID (not a whole message of a kind that owners
 * send). */
NODISCARD shoal_status core_inspect(const struct transport_message *message, enum wire_kind *kind,
                                    struct shoal_error *error);

#endif
