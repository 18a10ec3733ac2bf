/*
 * The inside of the ZeroMQ transport. Two threads meet here: the owner (zmq_transport.c) and the
 * I/O thread (zmq_io.c, zmq_link.c, zmq_receive.c), which alone touches sockets. Fields marked
 * [lock] are guarded by endpoint.mutex, which is the core's mutex too; all others of a link are the
 * I/O thread's.
 */
#ifndef TRANSPORT_ZMQ_ZMQ_INTERNAL_H
#define TRANSPORT_ZMQ_ZMQ_INTERNAL_H

#include "transport/core.h"
#include "transport/zmq/zap.h"
#include "transport/zmq/zmq_transport.h"
#include "wire/fragment.h"
#include "wire/hello.h"

#include <netdb.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <zmq.h>

/*
 * Messages longer than a fragment travel in several: heartbeats and credit pass between them, each
 * is a sign of life, and nobody can make libzmq allocate more than one at a time. Long fragments
 * cost less CPU time (measured: docs/rationale/0004-transport.md), short ones let a slow link
 * breathe; every connection finds its own length.
 */
#define FRAGMENT_BYTES ((size_t)512 << 10)
#define FIRST_FRAGMENT_BYTES ((size_t)128 << 10)
#define SHORT_FRAGMENT_BYTES ((size_t)32 << 10)
#define FAST_NS (20 * CLOCK_MS)  /* a fragment that passes faster: twice as long a one next time */
#define SLOW_NS (100 * CLOCK_MS) /* slower: half as long */
#define SEND_BUFFER_BYTES (512 << 10) /* the kernel's: what it holds delays every sign of life */
#define FRAGMENTS_UNDERWAY 3          /* handed to libzmq and not yet consumed, per connection */
#define FRAGMENTS_LOW 1               /* when it pays to wake the I/O thread for more */
#define COPY_BYTES 4096               /* up to here a copy is cheaper than a callback */
#define CURVE_OVERHEAD 64             /* of a frame; really 33 */
#define KEY_BYTES ZAP_KEY_BYTES
#define LIBRARY_THREADS 2     /* one that moves bytes, one that closes sockets */
#define FLUSH_NS CLOCK_SECOND /* the most that an orderly end waits for */
#define CONTROL_CREDIT_BATCH 32

enum link_state {
    LINK_DIALLING, /* until HELLO came back */
    LINK_WAITING,  /* our dial gave way to the peer's, which should arrive */
    LINK_UP,
    LINK_LEAVING, /* sends what it has, then BYE */
    LINK_CLOSING, /* BYE is sent; the socket closes soon */
    LINK_DEAD,    /* libzmq may still hold messages of it */
};

enum bye_reason { BYE_LEFT, BYE_REFUSED, BYE_CROSSED, BYE_UNLISTED }; /* in the header's items */

#define RESOLVED_MAX 4    /* addresses of one name that are tried */
#define RESOLVED_BYTES 96 /* tcp://[…%interface]:65535 */

struct host_port {
    char host[200], port[6];
};

/* A host's name being looked up. The link and the thread that looks hold it. */
struct resolution {
    atomic_uint references;
    atomic_bool done; /* what follows is there, and stays */
    int wake_fd;
    struct host_port at;
    int failure;
    size_t count;
    char addresses[RESOLVED_MAX][RESOLVED_BYTES];
};

struct link { /* one connection */
    struct link *next;
    struct endpoint *endpoint;
    enum link_state state;
    bool dialled;
    struct core_peer *peer; /* held; NULL: none (any more) */
    char name[TRANSPORT_NAME_BYTES];
    char user[TRANSPORT_NAME_BYTES]; /* the allow-list's name: without a session's number */
    char key[ZMQ_KEY_TEXT];
    bool listed; /* dialled: has been on the allow-list */
    /* Dialled: */
    char *address;
    void *socket, *monitor;
    uint64_t redial_ns; /* 0: no dial is due */
    uint64_t redial_pause_ns;
    struct resolution *resolution;         /* NULL: the address is numeric */
    const char *target;                    /* what is dialled now */
    unsigned attempts;                     /* so far */
    uint64_t attempt_ns, attempt_until_ns; /* began; when libzmq gives it up */
    bool reached;                          /* this attempt: somebody accepted the connection */
    bool denied;                           /* one: nobody listens, or no route */
    unsigned broken;                       /* handshakes that the other side broke off at once */
    bool timed_out;                        /* the last one it broke off after a while */
    /* Accepted: */
    uint8_t id[255];
    size_t id_bytes;
    int fd; /* libzmq's, also of a dialled one; -1 unknown. Only compared, asked and shut down */
    dev_t device;
    ino_t inode;        /* 0: it was gone already */
    uint32_t suspicion; /* checks left whether fd is closed */
    bool close_seen;    /* the monitor told of it */
    /* The peer's HELLO: */
    uint64_t instance, serial;
    /* Times: */
    uint64_t deadline_ns; /* dialling, leaving, closing: when that ends */
    uint64_t heard_ns, spoke_ns, pinged_ns;
    /* Sending: */
    struct message *out_head, *out_tail; /* [lock] */
    bool ready;                          /* [lock] in the endpoint's list of links with work */
    bool leave;                          /* [lock] the owner disconnected */
    struct link *next_ready;             /* [lock] */
    bool pump;                           /* has, or may have, something to send */
    struct message *sending;
    size_t sent;
    size_t fragment_bytes;
    uint64_t unsent_data, unsent_control; /* credit taken from the core, not yet sent */
    bool stalled;                         /* libzmq took nothing: tried again soon */
    atomic_uint underway;                 /* fragments in libzmq's hands */
    atomic_uint_fast64_t handed_ns;       /* when the last fragment was handed over */
    atomic_uint_fast64_t delay_ns;        /* how long libzmq kept the last one that it consumed */
    atomic_bool starved;                  /* wants to know when underway is low */
    atomic_uint references;               /* fragments, and 1 until dead */
    /* Receiving: */
    struct message *assembling;
    struct wire_assembly assembly;
    uint64_t handed; /* messages from libzmq, to be compared with the bytes: zmq_watch.c */
    uint64_t watched_handed, watched_bytes, watch_ns;
    bool suspect;
    uint64_t chatter_ns; /* signs of life since then */
    unsigned chatter;
};

#define DOOR_KEY_BYTES 16
#define CALLERS_MAX 32

struct caller { /* who has been accepted and has not said HELLO; perhaps a stranger */
    int fd;
    dev_t device;
    ino_t inode; /* 0: unknown */
    uint64_t since_ns;
    bool cut; /* shut down already */
};

struct door {     /* zmq_door.c */
    int listener; /* -1: none that can be closed for a moment */
    uint8_t key[DOOR_KEY_BYTES];
    bool open, blind;
    uint64_t closings;
    double tokens; /* calls that may come to nothing now */
    uint64_t refilled_ns, look_ns;
    struct caller callers[CALLERS_MAX];
    size_t count;
};

struct allow_list {
    size_t count;
    struct zmq_allowed *entries;
    uint8_t (*keys)[KEY_BYTES];
};

enum refusal {
    REFUSED_KEY,
    REFUSED_HANDSHAKE,
    REFUSED_VERSION,
    REFUSED_ORDER,
    REFUSED_MALFORMED,
    REFUSED_CREDIT,
    REFUSED_NOT_ALLOWED,
    REFUSED_BUSY,
    REFUSED_KINDS,
};

struct refused {        /* of one kind */
    uint64_t logged_ns; /* 0: never */
    uint64_t since;     /* how many were not logged */
};

struct endpoint {
    struct transport outside; /* first: the handle that callers hold */
    struct core core;
    pthread_mutex_t mutex;
    pthread_t thread;
    struct zmq_keypair keys;
    uint64_t instance;
    char address[256];
    /* libzmq: */
    void *context, *router, *router_monitor, *zap;
    int wake_fd; /* wakes the I/O thread */
    atomic_bool notified;
    /* From the owner: */
    struct link *fresh;                    /* [lock] links to dial */
    struct link *ready;                    /* [lock] */
    struct allow_list allow;               /* [lock] */
    char found_name[TRANSPORT_NAME_BYTES]; /* the owner's: what name_of_key answered */
    bool allow_changed;                    /* [lock] */
    bool stopping, vanishing;              /* [lock] */
    /* The I/O thread's: */
    struct link *links;
    size_t admitted;        /* authenticated, HELLO not yet seen */
    size_t expected_closes; /* sockets that will close, of connections accounted for */
    uint64_t stop_by_ns;    /* 0: not stopping */
    struct refused refusals[REFUSED_KINDS];
    struct door door;
    zmq_pollitem_t *items;
    struct link **item_links;
    size_t item_capacity;
    struct closed {
        int fd;
        bool cut; /* by the door */
    } closed[64]; /* accepted connections, as the monitor told */
    size_t closed_count;
    /* libzmq's threads, for stats: */
    int thread_prefix;
    pid_t library_threads[LIBRARY_THREADS]; /* [lock] */
    size_t library_thread_count;            /* [lock] */
};

/* zmq_auth.c */
NODISCARD shoal_status auth_list_make(const struct zmq_allowed *allowed, size_t count,
                                      struct allow_list *out, struct shoal_error *error);
void auth_list_free(struct allow_list *list);
const struct zmq_allowed *auth_find_name(const struct allow_list *list, const char *name);
const struct zmq_allowed *auth_find_key(const struct allow_list *list, const char *key_text);
bool auth_key_is_sound(const char *text);
bool auth_serve(struct endpoint *e); /* answers one ZAP request; false: there was none */

/* zmq_resolve.c */
bool resolve_split(const char *address, struct host_port *out); /* false: not tcp://HOST:PORT */
bool resolve_is_needed(const char *address);
struct resolution *resolve_start(const char *address, int wake_fd); /* NULL: no memory, no thread */
void resolve_drop(struct resolution *resolution);
const char *resolve_failure(const struct resolution *resolution);
/* What connect(2) says within wait_ms: 0, ETIMEDOUT, ECONNREFUSED, ENETUNREACH …; numeric address.
 */
int resolve_probe(const char *address, int wait_ms);

/* zmq_door.c: who calls at the listening socket, until he is known. */
void door_init(struct door *door, uint64_t now);
void door_listens(struct door *door, int fd);
void door_call(struct door *door, int fd, uint64_t now); /* accepted */
void door_known(struct door *door, int fd);              /* its first message has come */
bool door_gone(struct door *door, int fd); /* closed; true: the door had shut it down */
void door_turn(struct door *door, uint64_t now);
uint64_t door_timer(const struct door *door, uint64_t now);

/* zmq_watch.c */
bool watch_received(int fd, uint64_t *bytes); /* by libzmq; false: cannot be told */
bool watch_is_endless(struct link *link, uint64_t now);

/* zmq_cpu.c: libzmq's own threads. */
int cpu_next_prefix(void);
size_t cpu_find_threads(int prefix, pid_t *out, size_t capacity);
double cpu_of_thread(pid_t tid);

/* zmq_io.c */
void *io_main(void *endpoint);
void io_notify(struct endpoint *e); /* any thread */
/* Counts a refusal; logs one of each kind now and then. */
void io_refuse(struct endpoint *e, enum refusal why, const char *who, const char *text);
void io_mark_ready(struct endpoint *e, struct link *link); /* [lock]; io_notify afterwards */

/* zmq_link.c */
struct link *link_new(struct endpoint *e, const char *name);
void link_free(struct link *link);
void link_dial(struct link *link, uint64_t now);
void link_wait(
    struct link *link); /* our dial gave way: the peer's should come before the deadline */
void link_resolved(struct link *link, uint64_t now); /* a name has been looked up */
/* A dial's deadline has come. */
void link_give_up(struct link *link);
void link_hello(struct link *link);
/* The connection is over; a text is told the owner. The link may still have to say BYE: then it is
 * LINK_CLOSING. */
void link_end(struct link *link, enum transport_lost reason, const char *text);
void link_end_with_bye(struct link *link, enum transport_lost reason, const char *text,
                       enum bye_reason bye, const char *told_peer);
void link_kill(struct link *link);     /* sockets too; becomes LINK_DEAD */
void link_shutdown(struct link *link); /* an accepted connection's TCP socket */
bool link_fd_is_open(const struct link *link);
void link_remember_fd(struct link *link, int fd);
void link_leave(struct link *link, uint64_t now);
void link_pump(struct link *link, uint64_t now);
void link_ping(struct link *link, uint64_t now);
void link_pong(struct link *link, uint64_t step, uint64_t now);

/* zmq_receive.c */
bool receive_router(struct endpoint *e, uint64_t now); /* one message; false: there was none */
bool receive_dealer(struct link *link, uint64_t now);

#endif
