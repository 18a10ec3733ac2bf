/*
 * A stranger's flood against a listening node, to measure what a job that runs there feels of it:
 * many connections, garbage, handshakes that never end. Bounded in number, bytes and time; only
 * addresses that are not the internet's are taken.
 *
 *   flood ADDRESS [--connections N] [--parallel P] [--bytes B] [--seconds S] [--kind KIND]
 *         [--ttl T]
 *
 * KIND: silent (connects and waits), garbage (random bytes), greeting (a sound ZMTP greeting, then
 * a handshake command that claims half a megabyte, and bytes for it), mixed (one after the other).
 * T is the time to live of its packets: 255 passes a door that asks for it.
 * At most P connections exist at a time; each sends its share of B. Answers one line of JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES 16384
#define GREETING_BYTES 64
#define MAX_PARALLEL 20000

enum kind { SILENT, GARBAGE, GREETING, MIXED };
static const char *const kind_names[] = {"silent", "garbage", "greeting", "mixed"};

struct options {
    struct sockaddr_storage to;
    socklen_t to_bytes;
    uint64_t connections, parallel, bytes;
    double seconds;
    int ttl; /* of its packets; 0: the system's */
    enum kind kind;
};

struct caller { /* one connection; fd in the poll table */
    enum kind kind;
    bool connected;
    uint64_t left; /* bytes to send */
    double deadline;
};

struct tally {
    uint64_t opened, connected, unanswered, failed, ended, bytes;
};

static double now_s(void) {
    struct timespec time;
    (void)clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int usage(const char *problem) {
    (void)fprintf(stderr,
                  "flood: %s\nusage: flood tcp://HOST:PORT [--connections N] [--parallel P] "
                  "[--bytes B] [--seconds S] [--kind silent|garbage|greeting|mixed] [--ttl T]\n",
                  problem);
    return 2;
}

/* Loopback, private and link-local addresses, and those kept for benchmarks. */
static bool is_ours(const struct sockaddr_storage *to) {
    if (to->ss_family == AF_INET6) {
        const uint8_t *a = ((const struct sockaddr_in6 *)(const void *)to)->sin6_addr.s6_addr;
        const struct in6_addr loopback = in6addr_loopback;
        return memcmp(a, &loopback, 16) == 0 || (a[0] & 0xFE) == 0xFC ||
               (a[0] == 0xFE && (a[1] & 0xC0) == 0x80);
    }
    const uint32_t a = ntohl(((const struct sockaddr_in *)(const void *)to)->sin_addr.s_addr);
    return a >> 24 == 127 || a >> 24 == 10 || a >> 20 == 0xAC1 || a >> 16 == 0xC0A8 ||
           a >> 16 == 0xA9FE || a >> 17 == 0xC612u >> 1;
}

static bool read_address(const char *text, struct options *out) {
    char host[64];
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "tcp://", 6) != 0 || colon == NULL || colon < text + 7 ||
        (size_t)(colon - text) - 6 >= sizeof host) {
        return false;
    }
    const long port = strtol(colon + 1, NULL, 10);
    (void)snprintf(host, sizeof host, "%.*s", (int)(colon - text - 6), text + 6);
    if (port < 1 || port > 65535) {
        return false;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&out->to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&out->to;
    const size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        out->to_bytes = sizeof *v6;
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    out->to_bytes = sizeof *v4;
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

static int read_options(int argc, char **argv, struct options *out) {
    *out = (struct options){
        .connections = 10000, .parallel = 1000, .bytes = 100000000, .seconds = 10, .kind = MIXED};
    if (argc < 2 || !read_address(argv[1], out)) {
        return usage("an address tcp://HOST:PORT in numbers is needed");
    }
    if (!is_ours(&out->to)) {
        return usage("only loopback, private and link-local addresses are flooded");
    }
    for (int i = 2; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, "--connections") == 0) {
            out->connections = strtoull(value, NULL, 10);
        } else if (strcmp(name, "--parallel") == 0) {
            out->parallel = strtoull(value, NULL, 10);
        } else if (strcmp(name, "--bytes") == 0) {
            out->bytes = strtoull(value, NULL, 10);
        } else if (strcmp(name, "--seconds") == 0) {
            out->seconds = strtod(value, NULL);
        } else if (strcmp(name, "--ttl") == 0) {
            out->ttl = (int)(strtoul(value, NULL, 10) & 0xFF);
        } else if (strcmp(name, "--kind") == 0) {
            int kind = MIXED;
            while (kind >= 0 && strcmp(kind_names[kind], value) != 0) {
                kind--;
            }
            if (kind < 0) {
                return usage("--kind is silent, garbage, greeting or mixed");
            }
            out->kind = (enum kind)kind;
        } else {
            return usage("unknown option");
        }
    }
    if (argc % 2 != 0) {
        return usage("an option without a value");
    }
    if (out->parallel < 1 || out->parallel > MAX_PARALLEL || out->connections < 1 ||
        out->connections > 10000000 || !(out->seconds > 0) || out->seconds > 600) {
        return usage("1 to 20000 parallel, at most 10000000 connections and 600 seconds");
    }
    return 0;
}

/* Starts a connection in this slot; false: no descriptor or port for it now. */
static bool call(const struct options *options, struct pollfd *item, struct caller *caller,
                 struct tally *tally) {
    const int fd = socket(options->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    if (options->ttl > 0) {
        (void)setsockopt(fd, IPPROTO_IP, IP_TTL, &options->ttl, sizeof options->ttl);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &options->ttl, sizeof options->ttl);
    }
    if (connect(fd, (const struct sockaddr *)&options->to, options->to_bytes) != 0 &&
        errno != EINPROGRESS) {
        (void)close(fd);
        tally->failed += errno == ECONNREFUSED;
        return errno == ECONNREFUSED;
    }
    *item = (struct pollfd){.fd = fd, .events = POLLOUT | POLLIN};
    *caller = (struct caller){.kind = options->kind == MIXED ? (enum kind)(tally->opened % MIXED)
                                                             : options->kind,
                              .left = options->bytes / options->connections + 1,
                              .deadline = now_s() + 3.0};
    tally->opened++;
    return true;
}

static void hang_up(struct pollfd *item, const struct caller *caller, struct tally *tally) {
    tally->unanswered += !caller->connected;
    tally->ended += caller->connected;
    (void)close(item->fd);
    item->fd = -1;
}

static bool greet(int fd) {
    /* ZMTP 3.1, mechanism CURVE; then a command frame of 500,000 bytes */
    static const uint8_t bytes[GREETING_BYTES + 9] = {
        [0] = 0xFF, [8] = 1,    [9] = 0x7F, [10] = 3,    [11] = 1, [12] = 'C',  [13] = 'U',
        [14] = 'R', [15] = 'V', [16] = 'E', [64] = 0x06, [70] = 7, [71] = 0xA1, [72] = 0x20};
    return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes;
}

/* The connection can be written to, or something came. */
static void serve(struct pollfd *item, struct caller *caller, struct tally *tally, double now) {
    static uint8_t junk[PIECE_BYTES];
    if (junk[0] == 0) {
        uint32_t x = 1;
        for (size_t i = 0; i < sizeof junk; i++) {
            x = x * 1664525u + 1013904223u;
            junk[i] = (uint8_t)(x >> 24) | 1;
        }
    }
    if ((item->revents & (POLLERR | POLLHUP)) != 0) {
        hang_up(item, caller, tally);
        return;
    }
    if ((item->revents & POLLIN) != 0) {
        uint8_t told[512];
        if (recv(item->fd, told, sizeof told, 0) == 0) {
            hang_up(item, caller, tally);
            return;
        }
    }
    if ((item->revents & POLLOUT) == 0) {
        return;
    }
    if (!caller->connected) {
        caller->connected = true;
        tally->connected++;
        caller->deadline = now + 5.0;
        if (caller->kind == GREETING && !greet(item->fd)) {
            hang_up(item, caller, tally);
            return;
        }
    }
    if (caller->kind == SILENT || caller->left == 0) {
        item->events = POLLIN; /* stays until it is thrown out */
        return;
    }
    const size_t count = caller->left < sizeof junk ? (size_t)caller->left : sizeof junk;
    const ssize_t sent = send(item->fd, junk, count, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(item, caller, tally);
    } else if (sent > 0) {
        caller->left -= (uint64_t)sent;
        tally->bytes += (uint64_t)sent;
    }
}

static void run(const struct options *options, struct pollfd *items, struct caller *callers,
                struct tally *tally) {
    const double end = now_s() + options->seconds;
    for (uint64_t i = 0; i < options->parallel; i++) {
        items[i].fd = -1;
    }
    bool busy = true;
    for (double now = now_s(); busy && now < end; now = now_s()) {
        busy = false;
        uint64_t begun = 0;
        for (uint64_t i = 0; i < options->parallel; i++) {
            if (items[i].fd >= 0 && now > callers[i].deadline) {
                hang_up(&items[i], &callers[i], tally);
            }
            if (items[i].fd < 0 && begun < 256 &&
                tally->opened + tally->failed < options->connections) {
                begun += call(options, &items[i], &callers[i], tally) ? 1 : 256;
            }
            busy = busy || items[i].fd >= 0;
        }
        busy = busy || tally->opened + tally->failed < options->connections;
        if (poll(items, (nfds_t)options->parallel, 5) > 0) {
            for (uint64_t i = 0; i < options->parallel; i++) {
                if (items[i].fd >= 0 && items[i].revents != 0) {
                    serve(&items[i], &callers[i], tally, now);
                }
            }
        }
    }
    for (uint64_t i = 0; i < options->parallel; i++) {
        if (items[i].fd >= 0) {
            hang_up(&items[i], &callers[i], tally);
        }
    }
}

int main(int argc, char **argv) {
    struct options options;
    const int wrong = read_options(argc, argv, &options);
    if (wrong != 0) {
        return wrong;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
        if (options.parallel + 16 > files.rlim_cur) {
            options.parallel = files.rlim_cur > 32 ? files.rlim_cur - 16 : 16;
        }
    }
    struct pollfd *items = calloc(options.parallel, sizeof *items);
    struct caller *callers = calloc(options.parallel, sizeof *callers);
    if (items == NULL || callers == NULL) {
        (void)fprintf(stderr, "flood: no memory\n");
        free(items);
        free(callers);
        return 1;
    }
    struct tally tally = {0};
    const double start = now_s();
    run(&options, items, callers, &tally);
    (void)printf("{\"opened\": %llu, \"connected\": %llu, \"unanswered\": %llu, \"refused\": %llu, "
                 "\"ended\": %llu, \"bytes\": %llu, \"parallel\": %llu, \"kind\": \"%s\", "
                 "\"seconds\": %.3f}\n",
                 (unsigned long long)tally.opened, (unsigned long long)tally.connected,
                 (unsigned long long)tally.unanswered, (unsigned long long)tally.failed,
                 (unsigned long long)tally.ended, (unsigned long long)tally.bytes,
                 (unsigned long long)options.parallel, kind_names[options.kind], now_s() - start);
    free(items);
    free(callers);
    return 0;
}
