#include "transport/zmq/zmq_fixture.h"

#include "base/memory.h"
#include "platform/file.h"

#include "platform/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

static void *setup(bool ipc) {
    struct shared *shared = mem_calloc(1, sizeof *shared);
    assert_non_null(shared);
    if (ipc) {
        assert_int_equal(file_make_temporary(shared->directory, sizeof shared->directory, NULL),
                         SHOAL_OK);
    }
    for (int i = 0; i < CONFORMANCE_DEVICES; i++) {
        assert_int_equal(zmq_keypair_make(&shared->keys[i], NULL), SHOAL_OK);
        (void)snprintf(shared->allowed[i].name, TRANSPORT_NAME_BYTES, "%s", device_name(i));
        memcpy(shared->allowed[i].public_key, shared->keys[i].public_key, ZMQ_KEY_TEXT);
        if (ipc) {
            (void)snprintf(shared->address[i], sizeof shared->address[i], "ipc://%s/%d",
                           shared->directory, i);
        }
    }
    return shared;
}

static void *setup_tcp(void) {
    return setup(false);
}

static void *setup_ipc(void) {
    return setup(true);
}

static void teardown(void *argument) {
    struct shared *shared = argument;
    if (shared->directory[0] != '\0') {
        file_remove_tree(shared->directory);
    }
    mem_free(shared);
}

/* A port that is free now: for a device that is dialled before it listens. */
static void find_port(char *address, size_t bytes) {
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:0"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, address, &bytes), 0);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
}

static shoal_status create(void *argument, int index, const struct transport_options *options,
                           struct transport **out, struct shoal_error *error) {
    struct shared *shared = argument;
    const struct zmq_transport_options own = {
        .base = *options,
        .keys = shared->keys[index],
        .listen = options->session                    ? NULL
                  : shared->address[index][0] != '\0' ? shared->address[index]
                                                      : "tcp://127.0.0.1:0",
        .allowed = shared->allowed,
        .allowed_count = CONFORMANCE_DEVICES,
    };
    const shoal_status status = zmq_transport_create(&own, out, error);
    if (status == SHOAL_OK && !options->session) {
        (void)snprintf(shared->address[index], sizeof shared->address[index], "%s",
                       (*out)->ops->address(*out));
    }
    return status;
}

static shoal_status dial(void *argument, struct transport *from, int from_index, int to_index,
                         struct shoal_error *error) {
    (void)from_index;
    struct shared *shared = argument;
    if (shared->address[to_index][0] == '\0') {
        find_port(shared->address[to_index], sizeof shared->address[to_index]);
    }
    return from->ops->connect(from, device_name(to_index), shared->address[to_index],
                              shared->keys[to_index].public_key, error);
}

const struct conformance fixture_tcp = {.setup = setup_tcp,
                                        .teardown = teardown,
                                        .create = create,
                                        .connect = dial,
                                        .vanish = zmq_transport_vanish};
const struct conformance fixture_ipc = {.setup = setup_ipc,
                                        .teardown = teardown,
                                        .create = create,
                                        .connect = dial,
                                        .vanish = zmq_transport_vanish};

int tcp_connect(const char *address) {
    int port = 0;
    assert_int_equal(sscanf(address, "tcp://127.0.0.1:%d", &port), 1);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void *run_relay(void *argument) {
    struct relay *relay = argument;
    const int client = accept(relay->listener, NULL, NULL);
    const int server = tcp_connect(relay->to);
    struct pollfd items[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    static uint8_t buffer[4096];
    while (poll(items, 2, (int)(PATIENCE / CLOCK_MS)) > 0) {
        for (int from = 0; from < 2; from++) {
            if (items[from].revents == 0) {
                continue;
            }
            const ssize_t got = recv(items[from].fd, buffer, sizeof buffer, 0);
            if (got <= 0 || send(items[1 - from].fd, buffer, (size_t)got, MSG_NOSIGNAL) != got) {
                (void)close(client);
                (void)close(server);
                return NULL;
            }
            if (from == 0 && relay->count + (size_t)got <= relay->capacity) {
                memcpy(relay->bytes + relay->count, buffer, (size_t)got);
                relay->count += (size_t)got;
            }
            if (relay->bytes_per_second > 0 && (from == 0 || relay->slow_back)) {
                platform_sleep_ns((uint64_t)got * CLOCK_SECOND / relay->bytes_per_second);
            }
        }
    }
    (void)close(client);
    (void)close(server);
    return NULL;
}

void relay_start(struct relay *relay) {
    const int small = 16384;
    relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t at_bytes = sizeof at;
    if (relay->bytes_per_second > 0) { /* a slow link holds little */
        (void)setsockopt(relay->listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    assert_int_equal(bind(relay->listener, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(relay->listener, 1), 0);
    assert_int_equal(getsockname(relay->listener, (struct sockaddr *)&at, &at_bytes), 0);
    (void)snprintf(relay->address, sizeof relay->address, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&relay->thread, NULL, run_relay, relay), 0);
}

void relay_stop(struct relay *relay) {
    assert_int_equal(pthread_join(relay->thread, NULL), 0);
    (void)close(relay->listener);
}
