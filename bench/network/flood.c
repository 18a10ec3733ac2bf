/*
 * A stranger's flood: so many connections to one address, every second of which greets as ZMTP
 * peers do before it sends garbage; then more of them, since a connection is closed long before it
 * has sent its share, until so many megabytes are sent. At most 500 are open at a time.
 * usage: flood HOST PORT CONNECTIONS MEGABYTES
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OPEN_MOST 500
#define LIFE_S 2 /* a connection that takes nothing for so long is closed */

struct flow {
    int fd; /* -1: none */
    size_t left;
    bool greets;
    time_t moved;
};

static struct sockaddr_in to;
static struct flow flows[OPEN_MOST];
static unsigned char garbage[65536];
static unsigned long opened, failed, ended;
static size_t sent;

static time_t now_s(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

static void open_flow(struct flow *flow, size_t bytes, bool greets) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)) {
        failed++;
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    opened++;
    *flow = (struct flow){.fd = fd, .left = bytes, .greets = greets, .moved = now_s()};
}

static void close_flow(struct flow *flow) {
    (void)close(flow->fd);
    flow->fd = -1;
    ended++;
}

static void push(struct flow *flow) {
    /* Signature, version 3.1, mechanism CURVE, as client: what libzmq answers with a handshake. */
    static const unsigned char greeting[64] = {0xff, 0, 0, 0,   0,   0,   0,   0,  1,
                                               0x7f, 3, 1, 'C', 'U', 'R', 'V', 'E'};
    ssize_t wrote;
    if (flow->greets) {
        wrote = send(flow->fd, greeting, sizeof greeting, MSG_NOSIGNAL);
        flow->greets = wrote <= 0;
    } else {
        const size_t size = flow->left < sizeof garbage ? flow->left : sizeof garbage;
        wrote = send(flow->fd, garbage, size, MSG_NOSIGNAL);
        flow->left -= wrote > 0 ? (size_t)wrote : 0;
    }
    if (wrote > 0) {
        sent += (size_t)wrote;
        flow->moved = now_s();
    }
    if (flow->left == 0 || (wrote < 0 && errno != EAGAIN && errno != EINTR)) {
        close_flow(flow);
    }
}

static void serve(void) {
    struct pollfd items[OPEN_MOST];
    struct flow *owners[OPEN_MOST];
    nfds_t count = 0;
    for (size_t i = 0; i < OPEN_MOST; i++) {
        if (flows[i].fd >= 0 && now_s() - flows[i].moved > LIFE_S) {
            close_flow(&flows[i]);
        }
        if (flows[i].fd >= 0) {
            owners[count] = &flows[i];
            items[count++] = (struct pollfd){.fd = flows[i].fd, .events = POLLOUT};
        }
    }
    if (poll(items, count, 100) > 0) {
        for (nfds_t i = 0; i < count; i++) {
            if (items[i].revents != 0) {
                push(owners[i]);
            }
        }
    }
}

static bool any_open(void) {
    for (size_t i = 0; i < OPEN_MOST; i++) {
        if (flows[i].fd >= 0) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv) {
    to.sin_family = AF_INET;
    if (argc != 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
        (void)fprintf(stderr, "usage: flood HOST PORT CONNECTIONS MEGABYTES\n");
        return 2;
    }
    to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    const unsigned long connections = strtoul(argv[3], NULL, 10);
    const size_t bytes = strtoul(argv[4], NULL, 10) * 1000000;
    /* All garbage goes through a tenth of the connections: most are refused early on. */
    const size_t each = connections > 0 ? 10 * bytes / connections + 1 : 0;
    srand(20261126);
    for (size_t i = 0; i < sizeof garbage; i++) {
        garbage[i] = (unsigned char)rand();
    }
    for (size_t i = 0; i < OPEN_MOST; i++) {
        flows[i].fd = -1;
    }
    unsigned long tried = 0;
    bool more = true;
    while (more || any_open()) {
        for (size_t i = 0; i < OPEN_MOST && more; i++) {
            if (flows[i].fd < 0) {
                const bool loud = tried % 10 == 0 || tried >= connections;
                open_flow(&flows[i], loud ? each : 100, tried % 2 == 0);
                tried++;
            }
            more = tried < connections || (sent < bytes && tried < 10 * connections);
        }
        serve();
    }
    printf("%lu connections opened, %lu refused at once, %lu ended, %.1f MB sent\n", opened, failed,
           ended, (double)sent / 1e6);
    return 0;
}
