/*
 * The door before the listening socket. libzmq accepts every call and keeps it until its handshake
 * has failed or timed out; it knows no limit. So calls are counted from being accepted to their
 * first message (HELLO, or gone), and when too many are unknown at a time, or too many have come to
 * nothing, the kernel drops further ones for a moment: the listening socket then demands packets
 * signed with a key that nobody has (TCP's own MD5 option), or, where the kernel has none, a time
 * to live of 255, which packets from afar and honest ones do not have. A dropped call is tried
 * again by whoever made it. Connections that exist have sockets of their own and notice nothing.
 *
 * What a caller may do until it has said HELLO: send CALL_BYTES, and stay CALL_NS; when the door is
 * closed because of the number of callers, CROWDED_CALL_NS, or CROWDED_SILENT_NS without a byte.
 * Then its socket is shut down.
 */
#include "transport/zmq/zmq_internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define CALL_BYTES 4096 /* an honest handshake and HELLO are about 1 KB */
#define CALL_NS (4 * CLOCK_SECOND)
#define CROWDED_CALL_NS (300 * CLOCK_MS)  /* several round trips of a slow wireless link */
#define CROWDED_SILENT_NS (50 * CLOCK_MS) /* an honest caller speaks as soon as it is through */
#define LOOK_NS (10 * CLOCK_MS)
#define CROWD 16         /* callers at which the door closes */
#define CROWD_OVER 12    /* and may open again */
#define FAILED_PER_S 300 /* calls that come to nothing, for ever: 1 to 3 % of a core */
#define FAILED_AT_ONCE 128
#define FAILED_REOPEN 4
#define CLOSED_TTL 255

void door_init(struct door *door, uint64_t now) {
    *door =
        (struct door){.listener = -1, .open = true, .tokens = FAILED_AT_ONCE, .refilled_ns = now};
    const ssize_t drawn = getrandom(door->key, sizeof door->key, 0);
    (void)drawn; /* no secrets hang on it */
}

/* Asks every packet of this family for a signature (RFC 2385) with our key, or no longer. */
static bool demand_signature(const struct door *door, int fd, const char *anybody, bool demand) {
    struct tcp_md5sig signature = {.tcpm_flags = TCP_MD5SIG_FLAG_PREFIX,
                                   .tcpm_keylen = demand ? DOOR_KEY_BYTES : 0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (anybody == NULL) {
        memcpy(&signature.tcpm_addr, &v4, sizeof v4);
    } else {
        (void)inet_pton(AF_INET6, anybody, &v6.sin6_addr);
        memcpy(&signature.tcpm_addr, &v6, sizeof v6);
    }
    memcpy(signature.tcpm_key, door->key, DOOR_KEY_BYTES);
    return setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &signature, sizeof signature) == 0;
}

static bool demand_ttl(int fd, int ttl) {
    const bool v4 = setsockopt(fd, IPPROTO_IP, IP_MINTTL, &ttl, sizeof ttl) == 0;
    const bool v6 = setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &ttl, sizeof ttl) == 0;
    return v4 || v6; /* IPv6 sockets take calls from IPv4 too */
}

/* What the listening socket demands while it is closed. False: it cannot be closed. */
static bool demand(const struct door *door, int fd, bool demands) {
    const bool v4 = demand_signature(door, fd, NULL, demands);
    const bool v6 = demand_signature(door, fd, "::", demands);
    const bool mapped = demand_signature(door, fd, "::ffff:0.0.0.0", demands);
    if (demands && (v4 || (v6 && mapped))) {
        return true;
    }
    return demand_ttl(fd, demands ? CLOSED_TTL : 0);
}

void door_listens(struct door *door, int fd) {
    door->listener = fd;
}

static void set_open(struct door *door, bool open) {
    if (open == door->open || door->listener < 0) {
        return;
    }
    if (!demand(door, door->listener, !open)) {
        door->listener = -1; /* a unix socket: the file system says who may call */
        door->open = true;
        return;
    }
    door->open = open;
    door->closings += !open;
    if (!open && door->closings == 1) {
        log_warn("many callers that prove nothing: further ones are let in slowly from now on, for "
                 "as long as it takes");
    }
}

static struct caller *find_caller(struct door *door, int fd) {
    for (size_t i = 0; i < door->count; i++) {
        if (door->callers[i].fd == fd) {
            return &door->callers[i];
        }
    }
    return NULL;
}

static void remove_caller(struct door *door, struct caller *caller) {
    *caller = door->callers[--door->count];
}

/* The same socket as when it was accepted, which has not become anybody's connection? */
static bool is_still_there(const struct caller *caller) {
    struct stat status;
    return caller->inode != 0 && fstat(caller->fd, &status) == 0 &&
           status.st_dev == caller->device && status.st_ino == caller->inode;
}

static void cut(struct door *door, struct caller *caller) {
    if (!caller->cut && !door->blind && is_still_there(caller)) {
        (void)shutdown(caller->fd, SHUT_RDWR); /* libzmq sees the end, and tells of it */
    }
    caller->cut = true;
}

/* Is it a connection that was accepted here? The number may have been used again. */
static bool is_accepted_here(const struct door *door, int fd) {
    struct sockaddr_storage ours = {0}, its = {0};
    socklen_t ours_bytes = sizeof ours, its_bytes = sizeof its;
    if (getsockname(door->listener, (struct sockaddr *)&ours, &ours_bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&its, &its_bytes) != 0 ||
        ours.ss_family != its.ss_family) {
        return false;
    }
    const struct sockaddr_in *v4[2] = {(const void *)&ours, (const void *)&its};
    const struct sockaddr_in6 *v6[2] = {(const void *)&ours, (const void *)&its};
    return ours.ss_family == AF_INET    ? v4[0]->sin_port == v4[1]->sin_port
           : ours.ss_family == AF_INET6 ? v6[0]->sin6_port == v6[1]->sin6_port
                                        : false;
}

void door_call(struct door *door, int fd, uint64_t now) {
    struct caller caller = {.fd = fd, .since_ns = now};
    struct stat status;
    if (door->listener >= 0 && is_accepted_here(door, fd) && fstat(fd, &status) == 0) {
        caller.device = status.st_dev;
        caller.inode = status.st_ino;
        if (door->closings > 0) { /* the kernel gives a connection what its listener has */
            (void)demand(door, fd, false);
        }
    }
    struct caller *same = find_caller(door, fd); /* its end was not told: cannot be */
    if (same != NULL) {
        remove_caller(door, same);
    }
    if (door->count == CALLERS_MAX) {
        cut(door, &caller);
        return;
    }
    door->callers[door->count++] = caller;
    if (door->count >= CROWD) {
        set_open(door, false);
    }
}

bool door_gone(struct door *door, int fd) {
    struct caller *caller = find_caller(door, fd);
    if (caller == NULL) {
        return false;
    }
    const bool was_cut = caller->cut;
    remove_caller(door, caller);
    door->tokens -= 1.0;
    return was_cut;
}

void door_known(struct door *door, int fd) {
    struct caller *caller = find_caller(door, fd);
    if (caller != NULL) {
        remove_caller(door, caller);
    }
    door->blind = door->blind || fd < 0; /* libzmq does not say which connection speaks */
}

static void look_at_callers(struct door *door, uint64_t now) {
    const bool crowded = !door->open && door->count >= CROWD_OVER;
    for (size_t i = 0; i < door->count; i++) {
        struct caller *caller = &door->callers[i];
        if (caller->cut) {
            continue;
        }
        uint64_t received = 0;
        const bool measured = caller->inode != 0 && watch_received(caller->fd, &received);
        const uint64_t patience = !crowded                    ? CALL_NS
                                  : measured && received == 0 ? CROWDED_SILENT_NS
                                                              : CROWDED_CALL_NS;
        if (now > caller->since_ns + patience || received > CALL_BYTES) {
            cut(door, caller);
        }
    }
}

void door_turn(struct door *door, uint64_t now) {
    const double more = (double)(now - door->refilled_ns) * 1e-9 * FAILED_PER_S;
    door->tokens = door->tokens + more < FAILED_AT_ONCE ? door->tokens + more : FAILED_AT_ONCE;
    door->refilled_ns = now;
    if (door->count > 0 && now >= door->look_ns) {
        look_at_callers(door, now);
        door->look_ns = now + LOOK_NS;
    }
    if (door->open && door->tokens < 1.0) {
        set_open(door, false);
    } else if (!door->open && door->count < CROWD_OVER && door->tokens >= FAILED_REOPEN) {
        set_open(door, true);
    }
}

uint64_t door_timer(const struct door *door, uint64_t now) {
    return door->count > 0 || !door->open ? now + LOOK_NS : CLOCK_NEVER;
}
