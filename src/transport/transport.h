/*
 * Interface 3: transport. An endpoint sends and receives whole messages (wire/message.h) to and
 * from devices by name. Implementations: inproc (threads of one process), zmq (ROUTER/DEALER,
 * CURVE, ZAP allow-list). One conformance suite, transport/conformance.h, runs on all.
 *
 * Rules that every implementation keeps:
 *  1. A peer's name comes from authentication (the allow-list maps public keys to names), never
 * from the bytes it sends. Strangers get nothing, cost nothing, and are logged once.
 *  2. A connection carries messages both ways, so a device that only dials needs no port of its
 * own. The first message on it is HELLO with the format version; another version is refused, naming
 * both.
 *  3. Messages of one sender arrive in order, whole, at most once. A message is lost only with its
 * peer.
 *  4. Flow control: a *data* message (wire kind ACTIVATION, RESULT, PROBE or CHUNK) costs one
 * credit of the receiver; a receiver grants options.window credits to each peer and gives one back
 * when the message is freed (transport_message_free). So at most window data messages per peer are
 * anywhere underway. Control messages need no credit but are limited in size (64 KiB unless
 * options.control_bytes says otherwise) and number underway (256).
 *  5. Every wait has a deadline. Nothing blocks without one.
 *  6. Peers are pinged; one that is silent for options.lost_after_ns, or whose connection closes,
 * is reported once as lost. Its later messages (same connection) are dropped; connecting again
 * makes it a new peer. What it had sent before comes before PEER_LOST if the owner wants data then;
 * once PEER_LOST has been delivered nothing of that connection follows.
 *
 * Threads: one I/O thread of the implementation owns all sockets; it allocates nothing per message
 * in steady state beyond what libraries do (messages come from a pool). All functions below are
 * called by one owner thread, except transport_message_free and transport_interrupt, which any
 * thread may call.
 */
#ifndef TRANSPORT_TRANSPORT_H
#define TRANSPORT_TRANSPORT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_NAME_BYTES 64                    /* device names, terminator included */
#define TRANSPORT_MESSAGE_BYTES ((size_t)64 << 20) /* largest data message, unless options say */

/*
 * Sessions. An endpoint of a client (options.session) only dials, and several of them may have one
 * key: every command that somebody runs is one. A listener knows each as a peer of its own,
 * NAME#xxxxxxxx: the allow-list's name of the key and eight hex digits of the endpoint's own
 * number. Names on the allow-list have no '#'.
 */
#define TRANSPORT_SESSION_MARK '#'
#define TRANSPORT_MAX_SESSIONS 16                             /* of one key at one listener */
#define TRANSPORT_LISTED_BYTES (TRANSPORT_NAME_BYTES - 1 - 9) /* names on an allow-list */

/* A message in a pooled buffer: data is 64-byte aligned. Immutable once sent or received. */
struct transport_message {
    void *data;
    size_t size;
    size_t capacity;
    char peer[TRANSPORT_NAME_BYTES]; /* received: who sent it */
};

enum transport_event_kind {
    TRANSPORT_MESSAGE,   /* message is the caller's: transport_message_free it */
    TRANSPORT_WRITABLE,  /* peer has credit again after a send that answered BUSY */
    TRANSPORT_PEER_UP,   /* HELLO exchanged */
    TRANSPORT_PEER_LOST, /* with reason, and text: "closed", "silent for 3.0 s", "left", … */
    TRANSPORT_INTERRUPT, /* interrupt was called, once or more; comes whatever is wanted */
};

/* Why a peer is lost. The text of the event says it for people. */
#define TRANSPORT_LOST_LIST(X)                                                                 \
    /* of a peer that was up */                                                                \
    X(LEFT, "left")                                                                            \
    X(CLOSED, "closed")     /* its connection ended without goodbye, or it connected anew */   \
    X(SILENT, "silent")     /* for lost_after_ns */                                            \
    X(BREACH, "breach")     /* it broke the protocol */                                        \
    X(UNLISTED, "unlisted") /* it is no longer on the allow-list here */                       \
    X(REFUSED, "refused")   /* it says why it does not want us: in the text */                 \
    X(FAILED, "failed")     /* this side could not go on */                                    \
    /* of a dial: the further down, the closer it came */                                      \
    X(UNRESOLVED, "unresolved")   /* the host's name has no address */                         \
    X(NO_ROUTE, "no route")       /* no network here leads there */                            \
    X(NO_ANSWER, "no answer")     /* nothing came back: switched off, or a firewall */         \
    X(NO_LISTENER, "no listener") /* the host is there; nobody listens at the port */          \
    X(MUTE, "mute")               /* somebody listens, but says nothing before the deadline */ \
    X(FOREIGN, "foreign")         /* who listens speaks another protocol */                    \
    X(WRONG_KEY, "wrong key")     /* it broke the handshake off: it has another public key */  \
    X(REFUSED_KEY, "refused key") /* our key is not on its allow-list */                       \
    X(VERSION, "version")         /* another format version; the text names both */

enum transport_lost {
#define X(code, name) TRANSPORT_LOST_##code,
    TRANSPORT_LOST_LIST(X)
#undef X
};

const char *transport_lost_name(enum transport_lost reason);

struct transport_event {
    enum transport_event_kind kind;
    enum transport_lost reason; /* of PEER_LOST */
    char peer[TRANSPORT_NAME_BYTES];
    char text[128];
    struct transport_message *message;
};

/* What transport_next shall deliver; others wait. */
#define TRANSPORT_WANT_DATA 1u
#define TRANSPORT_WANT_CONTROL 2u /* control messages and all other events */

struct transport_peer_stats {
    uint64_t messages_sent, bytes_sent, messages_received, bytes_received;
    double send_s, receive_s; /* I/O thread's time for this peer */
};

struct transport_stats {
    double io_cpu_s; /* CPU time of the I/O thread(s), libraries' included where known */
    size_t pool_bytes, pool_peak_bytes;
    uint64_t refused; /* connections and messages of strangers or malformed */
};

struct transport_options {
    const char *name;       /* this device */
    bool session;           /* a client's endpoint, see above */
    uint32_t window;        /* credits granted to each peer; 0 = 2 */
    size_t message_bytes;   /* largest data message accepted; 0 = 64 MiB */
    size_t control_bytes;   /* largest control message accepted; 0 = 64 KiB */
    uint64_t ping_ns;       /* 0 = 250 ms */
    uint64_t lost_after_ns; /* 0 = 3 s */
};

struct transport;

struct transport_ops {
    const char *name; /* "inproc", "zmq" */

    /*
     * Returns at once; PEER_UP follows, or PEER_LOST after lost_after_ns at most, saying why: a
     * peer that does not listen yet is tried again until then. Errors: INVALID (own name, address,
     * unknown key format), BUSY (already connected or connecting), NO_MEMORY.
     */
    shoal_status (*connect)(struct transport *t, const char *peer, const char *address,
                            const char *public_key, struct shoal_error *error);

    /*
     * Orderly: returns at once; what was sent is flushed (bounded by 1 s), the peer sees PEER_LOST
     * "left". No event of this peer follows here. Errors: PEER_LOST (not connected).
     */
    shoal_status (*disconnect)(struct transport *t, const char *peer, struct shoal_error *error);

    /*
     * Takes the message on OK. Never blocks. Errors: BUSY (data without credit, or too many control
     * messages underway: TRANSPORT_WRITABLE follows), PEER_LOST (not up), INVALID (larger than the
     * peer accepts, or no well-formed data or control message). On error the message stays the
     * caller's. A received message may be sent on: its credit goes back then.
     */
    shoal_status (*send)(struct transport *t, const char *peer, struct transport_message *message,
                         struct shoal_error *error);

    /* Errors: TIMEOUT (deadline on the system's monotonic clock), CLOSED (the I/O thread failed).
     */
    shoal_status (*next)(struct transport *t, unsigned want, uint64_t deadline_ns,
                         struct transport_event *out, struct shoal_error *error);

    /* The data are not cleared. Errors: INVALID (more than any message may have), NO_MEMORY. */
    shoal_status (*message_new)(struct transport *t, size_t size, struct transport_message **out,
                                struct shoal_error *error);
    /* Gives the credit of a received message back. NULL is allowed. Any thread. */
    void (*message_free)(struct transport *t, struct transport_message *message);

    /* The owner's next, now or later, answers TRANSPORT_INTERRUPT. Async-signal-safe. */
    void (*interrupt)(struct transport *t);

    /* Since creation, over all connections with that device; false if there was never one. Of a
     * session: while it is connected. */
    bool (*peer_stats)(const struct transport *t, const char *peer,
                       struct transport_peer_stats *out);
    void (*stats)(const struct transport *t, struct transport_stats *out);

    /* Where it listens, e.g. "tcp://127.0.0.1:40123"; NULL if it only dials. */
    const char *(*address)(const struct transport *t);

    /*
     * The name that the allow-list has for a public key; NULL if none (inproc: always). Stays valid
     * until the next call.
     */
    const char *(*name_of_key)(struct transport *t, const char *public_key);

    /*
     * Orderly to all peers (at most about 2 s), then frees. Messages still held by the caller must
     * be freed before.
     */
    void (*destroy)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
};

#endif
