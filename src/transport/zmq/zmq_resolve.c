/*
 * Addresses: tcp://HOST:PORT and what HOST stands for. libzmq would look a name up in the thread
 * that moves everybody's bytes; so names are looked up here, by a thread of their own that nobody
 * waits for, and libzmq gets numbers only.
 */
#include "transport/zmq/zmq_internal.h"

#include "base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)512 << 10) /* what name services need, and some */

bool resolve_split(const char *address, struct host_port *out) {
    if (strncmp(address, "tcp://", 6) != 0) {
        return false;
    }
    const char *host = address + 6;
    const char *colon = strrchr(host, ':');
    if (colon == NULL) {
        return false;
    }
    size_t length = (size_t)(colon - host);
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length) != NULL || memchr(host, '[', length) != NULL) {
        return false; /* IPv6 wants brackets */
    }
    const char *port = colon + 1;
    const size_t digits = strlen(port);
    if (length == 0 || length >= sizeof out->host || digits == 0 || digits > 5 ||
        strspn(port, "0123456789") != digits) {
        return false;
    }
    unsigned number = 0;
    for (size_t i = 0; i < digits; i++) {
        number = 10 * number + (unsigned)(port[i] - '0');
    }
    if (number == 0 || number > 65535) {
        return false;
    }
    memcpy(out->host, host, length);
    out->host[length] = '\0';
    memcpy(out->port, port, digits + 1);
    return true;
}

static bool is_number(const char *host) {
    struct in_addr v4;
    return inet_pton(AF_INET, host, &v4) == 1 || strchr(host, ':') != NULL;
}

bool resolve_is_needed(const char *address) {
    struct host_port at;
    return resolve_split(address, &at) && !is_number(at.host);
}

void resolve_drop(struct resolution *resolution) {
    if (resolution != NULL && atomic_fetch_sub(&resolution->references, 1) == 1) {
        (void)close(resolution->wake_fd);
        mem_free(resolution);
    }
}

static void keep_address(struct resolution *resolution, const struct addrinfo *found) {
    char host[NI_MAXHOST];
    if (resolution->count == RESOLVED_MAX ||
        (found->ai_family != AF_INET && found->ai_family != AF_INET6) ||
        getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0,
                    NI_NUMERICHOST) != 0) {
        return;
    }
    const bool v6 = found->ai_family == AF_INET6;
    const int used =
        snprintf(resolution->addresses[resolution->count], RESOLVED_BYTES, "tcp://%s%s%s:%s",
                 v6 ? "[" : "", host, v6 ? "]" : "", resolution->at.port);
    if (used > 0 && used < RESOLVED_BYTES) {
        resolution->count++;
    }
}

static void *look_up(void *argument) {
    struct resolution *resolution = argument;
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    resolution->failure = getaddrinfo(resolution->at.host, NULL, &hints, &list);
    if (resolution->failure == 0) {
        for (const struct addrinfo *found = list; found != NULL; found = found->ai_next) {
            keep_address(resolution, found);
        }
        freeaddrinfo(list);
    }
    atomic_store(&resolution->done, true);
    const uint64_t one = 1;
    const ssize_t written = write(resolution->wake_fd, &one, sizeof one);
    (void)written;
    resolve_drop(resolution);
    return NULL;
}

struct resolution *resolve_start(const char *address, int wake_fd) {
    struct resolution *resolution = mem_calloc(1, sizeof *resolution);
    if (resolution == NULL) {
        return NULL;
    }
    resolution->wake_fd = dup(wake_fd); /* the thread may outlive the endpoint */
    atomic_init(&resolution->references, 2);
    pthread_attr_t attributes;
    if (resolution->wake_fd < 0 || !resolve_split(address, &resolution->at) ||
        pthread_attr_init(&attributes) != 0) {
        atomic_store(&resolution->references, 1);
        resolve_drop(resolution);
        return NULL;
    }
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    const int failure = pthread_create(&thread, &attributes, look_up, resolution);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (failure != 0) {
        atomic_store(&resolution->references, 1);
        resolve_drop(resolution);
        return NULL;
    }
    return resolution;
}

const char *resolve_failure(const struct resolution *resolution) {
    return resolution->failure != 0 ? gai_strerror(resolution->failure)
                                    : "it has no address that fits";
}

int resolve_probe(const char *address, int wait_ms) {
    struct host_port at;
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *list = NULL;
    if (!resolve_split(address, &at) || getaddrinfo(at.host, at.port, &hints, &list) != 0) {
        return ECONNREFUSED; /* a unix socket: nothing else can be wrong with it */
    }
    int failure = ETIMEDOUT;
    const int fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        failure = errno == EAFNOSUPPORT ? ENETUNREACH : ETIMEDOUT;
    } else if (connect(fd, list->ai_addr, list->ai_addrlen) == 0) {
        failure = 0;
    } else if (errno != EINPROGRESS) {
        failure = errno;
    } else {
        struct pollfd item = {.fd = fd, .events = POLLOUT};
        socklen_t bytes = sizeof failure;
        if (poll(&item, 1, wait_ms) > 0) {
            (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &bytes);
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    freeaddrinfo(list);
    return failure;
}
