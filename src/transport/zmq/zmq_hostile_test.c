/*
 * The ZeroMQ transport among strangers and devices that misbehave: they are refused and counted,
 * and a friend's connection beside them notices nothing.
 */
#include "transport/zmq/zmq_fixture.h"

#include "base/log.h"
#include "base/random.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "wire/bytes.h"
#include "wire/hello.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

/* device-0 is under attack, device-1 its friend; others lend their keys to the attacker. */
struct siege {
    struct cluster cluster;
    struct shared *shared;
    struct transport *victim, *friend;
    uint64_t number;
};

static void siege_open(struct siege *siege) {
    memset(siege, 0, sizeof *siege);
    cluster_open(&siege->cluster, &fixture_tcp);
    siege->shared = siege->cluster.shared;
    siege->victim = cluster_add(&siege->cluster, 0,
                                &(struct transport_options){.window = 2, .message_bytes = 1 << 21});
    siege->friend = cluster_add(&siege->cluster, 1, NULL);
    cluster_join(&siege->cluster, 1, 0);
}

static void exchange(struct siege *siege) {
    send_data(siege->friend, 0, siege->number, 10000);
    expect_message(siege->victim, WANT_ALL, 1, siege->number);
    send_data(siege->victim, 1, siege->number, 10000);
    expect_message(siege->friend, WANT_ALL, 0, siege->number);
    siege->number++;
}

static uint64_t refused(const struct transport *t) {
    struct transport_stats stats;
    t->ops->stats(t, &stats);
    return stats.refused;
}

static void await_refused(const struct siege *siege, uint64_t at_least) {
    const uint64_t deadline = platform_now_ns() + PATIENCE;
    while (refused(siege->victim) < at_least) {
        assert_true(platform_now_ns() < deadline);
        platform_sleep_ns(5 * CLOCK_MS);
    }
}

static void siege_close(struct siege *siege) {
    exchange(siege);
    expect_nothing(siege->victim, WANT_ALL, 10 * CLOCK_MS);
    expect_nothing(siege->friend, WANT_ALL, 0);
    cluster_close(&siege->cluster);
}

/* ---- a bare libzmq client ---- */

struct raw {
    void *context, *socket;
};

/* keys NULL: no CURVE. */
static void raw_open_at(struct raw *raw, const char *address, const struct zmq_keypair *keys,
                        const char *server_key, const char *routing_id) {
    raw->context = zmq_ctx_new();
    raw->socket = zmq_socket(raw->context, ZMQ_DEALER);
    const int linger = 200;
    (void)zmq_setsockopt(raw->socket, ZMQ_LINGER, &linger, sizeof linger);
    if (routing_id != NULL) {
        (void)zmq_setsockopt(raw->socket, ZMQ_ROUTING_ID, routing_id, strlen(routing_id));
    }
    if (keys != NULL) {
        (void)zmq_setsockopt(raw->socket, ZMQ_CURVE_SERVERKEY, server_key, ZMQ_KEY_TEXT);
        (void)zmq_setsockopt(raw->socket, ZMQ_CURVE_PUBLICKEY, keys->public_key, ZMQ_KEY_TEXT);
        (void)zmq_setsockopt(raw->socket, ZMQ_CURVE_SECRETKEY, keys->secret_key, ZMQ_KEY_TEXT);
    }
    assert_int_equal(zmq_connect(raw->socket, address), 0);
}

static void raw_open(struct raw *raw, const struct shared *shared, const struct zmq_keypair *keys,
                     const char *server_key, const char *routing_id) {
    raw_open_at(raw, shared->address[0], keys, server_key, routing_id);
}

static void raw_close(struct raw *raw) {
    (void)zmq_close(raw->socket);
    (void)zmq_ctx_term(raw->context);
}

static void raw_send(struct raw *raw, const void *bytes, size_t count, int flags) {
    assert_int_equal(zmq_send(raw->socket, bytes, count, flags), count);
}

/* The next message of this kind that the victim says; others (PING) are passed over. */
static void raw_expect(struct raw *raw, enum wire_kind kind, struct wire_message *message,
                       uint8_t span[1024]) {
    const int patience = (int)(PATIENCE / CLOCK_MS);
    (void)zmq_setsockopt(raw->socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    do {
        const int got = zmq_recv(raw->socket, span, 1024, 0);
        assert_true(got >= WIRE_HEADER_BYTES && got <= 1024);
        assert_int_equal(wire_decode(span, (size_t)got, message, NULL), SHOAL_OK);
    } while (message->header.kind != kind);
}

static void raw_expect_bye(struct raw *raw, const char *words) {
    struct wire_message message;
    uint8_t span[1024];
    raw_expect(raw, WIRE_BYE, &message, span);
    char text[512];
    (void)snprintf(text, sizeof text, "%.*s", (int)message.header.text_bytes,
                   message.text != NULL ? message.text : "");
    if (strstr(text, words) == NULL) {
        fail_msg("expected a BYE with \"%s\", got \"%s\"", words, text);
    }
}

static void make_hello(uint8_t span[WIRE_HELLO_MESSAGE_BYTES], const char *name) {
    struct wire_hello hello = {.instance = 4711,
                               .message_bytes = 1 << 20,
                               .control_bytes = 1 << 16,
                               .window = 2,
                               .control_window = 256};
    (void)snprintf(hello.name, sizeof hello.name, "%s", name);
    wire_hello_encode(&hello, span);
}

/* An authenticated client that has said HELLO properly. */
static void raw_open_up_at(struct raw *raw, struct siege *siege, int index, const char *address) {
    raw_open_at(raw, address, &siege->shared->keys[index], siege->shared->keys[0].public_key, NULL);
    uint8_t span[1024];
    make_hello(span, device_name(index));
    raw_send(raw, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    struct wire_message message;
    raw_expect(raw, WIRE_HELLO, &message, span);
    const struct transport_event event = expect_event(siege->victim, WANT_ALL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, device_name(index));
}

static void raw_open_up(struct raw *raw, struct siege *siege, int index) {
    raw_open_up_at(raw, siege, index, siege->shared->address[0]);
}

/* ---- strangers ---- */

static void test_unknown_client_key_is_denied(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct zmq_keypair keys;
    assert_int_equal(zmq_keypair_make(&keys, NULL), SHOAL_OK);
    const struct zmq_transport_options options = {
        .base = {.name = "device-2"}, /* a name that is allowed */
        .keys = keys,
        .allowed = siege.shared->allowed,
        .allowed_count = 1};
    struct transport *stranger = NULL;
    assert_int_equal(zmq_transport_create(&options, &stranger, NULL), SHOAL_OK);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(
            stranger->ops->connect(stranger, "device-0", siege.shared->address[0], NULL, NULL),
            SHOAL_OK);
        const struct transport_event event = expect_event(stranger, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_non_null(strstr(event.text, "allow-list"));
        assert_int_equal(event.reason, TRANSPORT_LOST_REFUSED_KEY);
        await_refused(&siege, i);
        exchange(&siege);
    }
    stranger->ops->destroy(stranger);
    siege_close(&siege);
}

static void test_wrong_server_key_is_noticed_by_the_dialler(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct zmq_keypair other;
    assert_int_equal(zmq_keypair_make(&other, NULL), SHOAL_OK);
    const struct zmq_transport_options options = {.base = {.name = "device-2"},
                                                  .keys = siege.shared->keys[2]};
    struct transport *dialler = NULL;
    assert_int_equal(zmq_transport_create(&options, &dialler, NULL), SHOAL_OK);
    assert_int_equal(dialler->ops->connect(dialler, "device-0", siege.shared->address[0],
                                           other.public_key, NULL),
                     SHOAL_OK);
    const struct transport_event event = expect_event(dialler, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_non_null(strstr(event.text, "another key"));
    assert_int_equal(event.reason, TRANSPORT_LOST_WRONG_KEY);
    dialler->ops->destroy(dialler);
    await_refused(&siege, 1);
    siege_close(&siege);
}

static void test_libzmq_client_without_curve(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, NULL, NULL, "device-1");
    uint8_t span[WIRE_HELLO_MESSAGE_BYTES];
    make_hello(span, "device-1");
    raw_send(&raw, span, sizeof span, 0);
    await_refused(&siege, 1);
    exchange(&siege);
    raw_close(&raw);
    siege_close(&siege);
}

/* ---- plain TCP ---- */

static void test_raw_tcp_garbage(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    uint8_t junk[4096];
    const uint64_t stream = random_stream(3, "garbage");
    for (size_t i = 0; i < sizeof junk; i++) {
        junk[i] = (uint8_t)random_u32(stream, i);
    }
    /* A sound ZMTP greeting with mechanism CURVE, then junk: a frame that claims 2^62 bytes. */
    uint8_t greeting[64 + 9] = {0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0, 'C', 'U', 'R', 'V', 'E'};
    greeting[64] = 0x06;
    greeting[65] = 0x40;
    const struct {
        const void *bytes;
        size_t count;
    } cases[] = {{"", 0},   {http, sizeof http}, {junk, sizeof junk},
                 {junk, 1}, {greeting, 64},      {greeting, sizeof greeting}};
    uint64_t expected = refused(siege.victim);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int fd = tcp_connect(siege.shared->address[0]);
        (void)send(fd, cases[i].bytes, cases[i].count, MSG_NOSIGNAL);
        exchange(&siege);
        (void)close(fd);
        await_refused(&siege, ++expected);
    }
    siege_close(&siege);
}

static void *flood(void *argument) {
    const char *address = argument;
    uint8_t junk[512];
    for (uint64_t i = 0; i < 300; i++) {
        for (size_t j = 0; j < sizeof junk; j++) {
            junk[j] = (uint8_t)random_u32(i, j);
        }
        junk[0] = i % 2 == 0 ? 0xFF : junk[0];
        const int fd = tcp_connect(address);
        (void)send(fd, junk, sizeof junk, MSG_NOSIGNAL);
        (void)close(fd);
    }
    return NULL;
}

static void test_a_flood_of_garbage_disturbs_nobody(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, flood, siege.shared->address[0]), 0);
    for (int i = 0; i < 100; i++) {
        exchange(&siege);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    await_refused(&siege, 250); /* a few may have closed before they were accepted */
    siege_close(&siege);
}

/* ---- a flood that does not stop ---- */

#define FLOOD_SOCKETS 200

struct flood_forever {
    const char *address;
    atomic_bool stop;
    pthread_t thread;
};

/* Calls as fast as it can with 200 sockets that do not block: a third is silent, a third sends
 * garbage, a third begins a handshake with a huge frame; each stays as long as it may. */
static void *run_flood_forever(void *argument) {
    struct flood_forever *flood_of = argument;
    static uint8_t start[3][64 + 4096];
    memset(start, 0x5A, sizeof start);
    memset(start[2], 0, 64);
    memcpy(start[2], "\xFF\0\0\0\0\0\0\0\1\x7F\3\1CURVE", 17);
    memcpy(start[2] + 64, "\6\0\0\0\0\0\7\0\0", 9); /* a command of 458752 bytes */
    int port = 0;
    assert_int_equal(sscanf(flood_of->address, "tcp://127.0.0.1:%d", &port), 1);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct pollfd items[FLOOD_SOCKETS];
    for (size_t i = 0; i < FLOOD_SOCKETS; i++) {
        items[i] = (struct pollfd){.fd = -1};
    }
    while (!atomic_load(&flood_of->stop)) {
        for (size_t i = 0; i < FLOOD_SOCKETS; i++) {
            if (items[i].fd < 0) {
                items[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
                items[i].events = POLLOUT | POLLIN;
                items[i].revents = 0;
                (void)connect(items[i].fd, (const struct sockaddr *)&to, sizeof to);
            }
        }
        (void)poll(items, FLOOD_SOCKETS, 10);
        for (size_t i = 0; i < FLOOD_SOCKETS; i++) {
            uint8_t told[256];
            if ((items[i].revents & (POLLERR | POLLHUP)) != 0 ||
                ((items[i].revents & POLLIN) != 0 &&
                 recv(items[i].fd, told, sizeof told, 0) <= 0)) {
                (void)close(items[i].fd);
                items[i].fd = -1;
            } else if ((items[i].revents & POLLOUT) != 0) {
                items[i].events = POLLIN;
                (void)send(items[i].fd, start[i % 3], i % 3 == 0 ? 0 : sizeof start[0],
                           MSG_NOSIGNAL);
            }
        }
    }
    for (size_t i = 0; i < FLOOD_SOCKETS; i++) {
        if (items[i].fd >= 0) {
            (void)close(items[i].fd);
        }
    }
    return NULL;
}

static void test_friends_get_in_during_a_flood(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    for (int i = 0; i < 20; i++) {
        exchange(&siege);
    }
    const size_t memory = memory_resident_bytes();
    struct flood_forever flood_of = {.address = siege.shared->address[0]};
    atomic_init(&flood_of.stop, false);
    assert_int_equal(pthread_create(&flood_of.thread, NULL, run_flood_forever, &flood_of), 0);
    await_refused(&siege, 300); /* the door has closed, and opened again */
    for (int i = 0; i < 100; i++) {
        exchange(&siege);
    }
    (void)cluster_add(&siege.cluster, 2, NULL);
    cluster_join(&siege.cluster, 2, 0); /* a friend that comes now */
    send_data(siege.cluster.devices[2], 0, 1, 300000);
    expect_message(siege.victim, WANT_ALL, 2, 1);
#ifndef __SANITIZE_ADDRESS__
    const size_t after = memory_resident_bytes();
    assert_true(after < memory + ((size_t)20 << 20));
#else
    (void)memory;
#endif
    atomic_store(&flood_of.stop, true);
    assert_int_equal(pthread_join(flood_of.thread, NULL), 0);
    (void)cluster_add(&siege.cluster, 3, NULL);
    cluster_join(&siege.cluster, 3, 0); /* and one after it */
    siege_close(&siege);
}

static void test_replayed_bytes_are_refused(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    static uint8_t captured[1 << 16];
    struct relay relay = {
        .to = siege.shared->address[0], .bytes = captured, .capacity = sizeof captured};
    relay_start(&relay);
    struct transport *honest = cluster_add(&siege.cluster, 2, NULL);
    assert_int_equal(honest->ops->connect(honest, "device-0", relay.address, NULL, NULL), SHOAL_OK);
    (void)expect_event(honest, WANT_ALL, TRANSPORT_PEER_UP);
    (void)expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_UP);
    send_data(honest, 0, 99, 5000);
    expect_message(siege.victim, WANT_ALL, 2, 99);
    cluster_destroy_device(&siege.cluster, 2);
    (void)expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_LOST);
    relay_stop(&relay);
    assert_true(relay.count > 5000 && relay.count < sizeof captured);
    for (uint64_t i = 1; i <= 2; i++) {
        const uint64_t before = refused(siege.victim);
        const int fd = tcp_connect(siege.shared->address[0]);
        assert_int_equal(send(fd, captured, relay.count, MSG_NOSIGNAL), relay.count);
        exchange(&siege); /* nothing came of it: no PEER_UP, no message */
        (void)shutdown(fd, SHUT_WR);
        await_refused(&siege, before + 1);
        (void)close(fd);
    }
    siege_close(&siege);
}

/* ---- devices on the list that break the protocol ---- */

static void test_name_comes_from_authentication(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, &siege.shared->keys[2], siege.shared->keys[0].public_key,
             "device-1");
    uint8_t span[1024];
    make_hello(span, "device-1");
    raw_send(&raw, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    struct transport_event event = expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, "device-2");
    const struct wire_header header = {.kind = WIRE_EVENT, .microbatch = 5, .text_bytes = 2};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, "{}", span, sizeof span, NULL, &used, NULL),
                     SHOAL_OK);
    raw_send(&raw, span, used, 0);
    expect_message(siege.victim, WANT_ALL, 2, 5);
    raw_close(&raw);
    event = expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.peer, "device-2");
    siege_close(&siege);
}

static void test_hello_of_another_version_names_both(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, &siege.shared->keys[2], siege.shared->keys[0].public_key, NULL);
    uint8_t span[WIRE_HELLO_MESSAGE_BYTES];
    make_hello(span, "device-2");
    bytes_put(span + 4, 1, 2);
    raw_send(&raw, span, sizeof span, 0);
    raw_expect_bye(&raw, "format version 1, this device speaks version 2");
    await_refused(&siege, 1);
    raw_close(&raw);
    siege_close(&siege);
}

/* device-1 as a bare ROUTER, which answers our HELLO in its own way. */
static void *server_open(void *context, const struct shared *shared, char address[128]) {
    void *server = zmq_socket(context, ZMQ_ROUTER);
    const int yes = 1, linger = 0, patience = (int)(PATIENCE / CLOCK_MS);
    size_t address_bytes = 128;
    (void)zmq_setsockopt(server, ZMQ_CURVE_SERVER, &yes, sizeof yes);
    (void)zmq_setsockopt(server, ZMQ_CURVE_SECRETKEY, shared->keys[1].secret_key, ZMQ_KEY_TEXT);
    (void)zmq_setsockopt(server, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(server, ZMQ_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(zmq_bind(server, "tcp://127.0.0.1:0"), 0);
    assert_int_equal(zmq_getsockopt(server, ZMQ_LAST_ENDPOINT, address, &address_bytes), 0);
    return server;
}

static void test_dialling_a_device_of_another_version_names_both(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t = cluster_add(&cluster, 0, NULL);
    char address[128];
    void *context = zmq_ctx_new(), *server = server_open(context, cluster.shared, address);
    assert_int_equal(t->ops->connect(t, "device-1", address, NULL, NULL), SHOAL_OK);
    uint8_t id[256], span[1024];
    const int id_bytes = zmq_recv(server, id, sizeof id, 0);
    assert_true(id_bytes > 0);
    assert_int_equal(zmq_recv(server, span, sizeof span, 0), WIRE_HELLO_MESSAGE_BYTES);
    bytes_put(span + 4, 9, 2);
    (void)zmq_send(server, id, (size_t)id_bytes, ZMQ_SNDMORE);
    (void)zmq_send(server, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_int_equal(event.reason, TRANSPORT_LOST_VERSION);
    assert_non_null(strstr(event.text, "version 9"));
    assert_non_null(strstr(event.text, "version 2"));
    (void)zmq_close(server);
    (void)zmq_ctx_term(context);
    cluster_close(&cluster);
}

static void test_no_message_before_hello(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, &siege.shared->keys[2], siege.shared->keys[0].public_key, NULL);
    uint8_t span[256];
    const struct wire_header header = {.kind = WIRE_EVENT, .text_bytes = 2};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, "{}", span, sizeof span, NULL, &used, NULL),
                     SHOAL_OK);
    raw_send(&raw, span, used, 0);
    raw_expect_bye(&raw, "before HELLO");
    await_refused(&siege, 1);
    raw_close(&raw);
    siege_close(&siege);
}

static size_t data_message(uint8_t *span, size_t capacity, size_t bytes) {
    const struct wire_header header = {.kind = WIRE_ACTIVATION, .tensor_count = 1};
    const struct tensor tensor = {.dtype = DTYPE_U8, .shape = SHAPE((int64_t)bytes)};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, &tensor, NULL, span, capacity, NULL, &used, NULL),
                     SHOAL_OK);
    return used;
}

static void send_tagged(struct raw *raw, uint64_t total, uint64_t offset, const void *bytes,
                        size_t count) {
    uint8_t tag[16];
    bytes_put(tag, total, 8);
    bytes_put(tag + 8, offset, 8);
    raw_send(raw, tag, sizeof tag, ZMQ_SNDMORE);
    raw_send(raw, bytes, count, 0);
}

static uint8_t big[1 << 19];

static void break_by_garbage(struct raw *raw) {
    raw_send(raw, "SHOL but no more", 16, 0);
}
static void break_by_second_hello(struct raw *raw) {
    uint8_t span[WIRE_HELLO_MESSAGE_BYTES];
    make_hello(span, "device-2");
    raw_send(raw, span, sizeof span, 0);
}
static void break_by_forged_credit(struct raw *raw) {
    const struct wire_header header = {.kind = WIRE_CREDIT, .microbatch = UINT64_MAX, .step = 1};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, NULL, big, sizeof big, NULL, &used, NULL),
                     SHOAL_OK);
    raw_send(raw, big, used, 0);
}
static void break_by_empty_credit(struct raw *raw) {
    const struct wire_header header = {.kind = WIRE_CREDIT};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, NULL, big, sizeof big, NULL, &used, NULL),
                     SHOAL_OK);
    raw_send(raw, big, used, 0);
}
static void break_by_exceeding_credit(struct raw *raw) {
    for (int i = 0; i < 3; i++) { /* the window is 2, and nobody frees */
        raw_send(raw, big, data_message(big, sizeof big, 100), 0);
    }
}
static void break_by_a_large_control_message(struct raw *raw) {
    const struct wire_header header = {.kind = WIRE_EVENT, .text_bytes = 70000};
    static char text[70000];
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, text, big, sizeof big, NULL, &used, NULL),
                     SHOAL_OK);
    raw_send(raw, big, used, 0);
}
static void break_by_a_huge_total(struct raw *raw) {
    send_tagged(raw, UINT64_MAX, 0, big, 1000);
}
static void break_by_a_gap(struct raw *raw) {
    send_tagged(raw, 100000, 0, big, 1000);
    send_tagged(raw, 100000, 2000, big, 1000);
}
static void break_by_an_overrun(struct raw *raw) {
    send_tagged(raw, 1500, 0, big, 1000);
    send_tagged(raw, 1500, 1000, big, 1000);
}
static void break_by_a_middle_without_beginning(struct raw *raw) {
    send_tagged(raw, 100000, 1000, big, 1000);
}
static void break_by_beginning_twice(struct raw *raw) {
    send_tagged(raw, 100000, 0, big, 1000);
    send_tagged(raw, 100000, 0, big, 1000);
}
static void break_by_garbage_in_fragments(struct raw *raw) {
    send_tagged(raw, 2000, 0, big, 1000);
    send_tagged(raw, 2000, 1000, big, 1000);
}
static void break_by_many_parts(struct raw *raw) {
    for (int i = 0; i < 9; i++) {
        raw_send(raw, "part", 4, i < 8 ? ZMQ_SNDMORE : 0);
    }
}
static void break_by_an_empty_message(struct raw *raw) {
    raw_send(raw, "", 0, 0);
}

static void test_devices_that_break_the_protocol_are_lost(void **state) {
    (void)state;
    static const struct {
        void (*offend)(struct raw *raw);
        const char *words;
    } cases[] = {
        {break_by_garbage, "message:"},
        {break_by_an_empty_message, "message:"},
        {break_by_second_hello, "second HELLO"},
        {break_by_forged_credit, "more credit than was used"},
        {break_by_empty_credit, "credit of nothing"},
        {break_by_exceeding_credit, "beyond its credit"},
        {break_by_a_large_control_message, "size limit"},
        {break_by_a_huge_total, "fragment"},
        {break_by_a_gap, "fragment"},
        {break_by_an_overrun, "fragment"},
        {break_by_a_middle_without_beginning, "fragment"},
        {break_by_beginning_twice, "fragment"},
        {break_by_garbage_in_fragments, "message:"},
        {break_by_many_parts, "too many parts"},
    };
    struct siege siege;
    siege_open(&siege);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint64_t before = refused(siege.victim);
        struct raw raw;
        memset(big, 'x', 4096);
        raw_open_up(&raw, &siege, 2);
        cases[i].offend(&raw);
        const struct transport_event event =
            expect_event(siege.victim, TRANSPORT_WANT_CONTROL, TRANSPORT_PEER_LOST);
        assert_string_equal(event.peer, "device-2");
        if (strstr(event.text, "broke the protocol") == NULL ||
            strstr(event.text, cases[i].words) == NULL) {
            fail_msg("case %zu: \"%s\"", i, event.text);
        }
        assert_int_equal(event.reason, TRANSPORT_LOST_BREACH);
        raw_expect_bye(&raw, cases[i].words);
        assert_true(refused(siege.victim) == before + 1);
        raw_close(&raw);
        exchange(&siege);
    }
    siege_close(&siege);
}

static void test_signs_of_life_at_full_speed(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open_up(&raw, &siege, 2);
    const struct wire_header header = {.kind = WIRE_PING, .step = 1};
    uint8_t span[WIRE_HEADER_BYTES];
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, NULL, span, sizeof span, NULL, &used, NULL),
                     SHOAL_OK);
    const uint64_t before = refused(siege.victim);
    const uint64_t deadline = platform_now_ns() + PATIENCE;
    while (refused(siege.victim) == before) { /* never reads, never pauses */
        (void)zmq_send(raw.socket, span, used, ZMQ_DONTWAIT);
        assert_true(platform_now_ns() < deadline);
    }
    const struct transport_event event =
        expect_event(siege.victim, TRANSPORT_WANT_CONTROL, TRANSPORT_PEER_LOST);
    assert_int_equal(event.reason, TRANSPORT_LOST_BREACH);
    assert_non_null(strstr(event.text, "signs of life"));
    const int none = 0;
    (void)zmq_setsockopt(raw.socket, ZMQ_LINGER, &none, sizeof none);
    raw_close(&raw);
    siege_close(&siege);
}

/*
 * libzmq aborts when a socket is closed while a connection of it breaks in the middle of a message
 * of several parts (session_base.cpp, clean_pipes; 4.3.4). So whoever sends such a message here
 * closes its socket only when libzmq has told of the connection's end.
 */
static void *watch_end(void *context, void *socket) {
    void *monitor = zmq_socket(context, ZMQ_PAIR);
    const int patience = (int)(PATIENCE / CLOCK_MS);
    (void)zmq_setsockopt(monitor, ZMQ_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(zmq_socket_monitor(socket, "inproc://end", ZMQ_EVENT_DISCONNECTED), 0);
    assert_int_equal(zmq_connect(monitor, "inproc://end"), 0);
    return monitor;
}

static void await_end(void *socket, void *monitor) {
    uint8_t event[64];
    assert_true(zmq_recv(monitor, event, sizeof event, 0) > 0);
    (void)zmq_socket_monitor(socket, NULL, 0);
    (void)zmq_close(monitor);
}

/* Frames of one message that does not end: 64 MB of them, of which the relay passes 4 MB/s. (A
 * libzmq client keeps a message back until its last frame; the victim cannot know that there is
 * one.) */
static void send_endless(struct raw *raw, size_t bytes) {
    for (size_t sent = 0; sent < bytes; sent += sizeof big) {
        raw_send(raw, big, sizeof big, ZMQ_SNDMORE);
    }
    raw_send(raw, big, 1, 0);
}

static void test_a_message_without_an_end(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct relay relay = {.to = siege.shared->address[0], .bytes_per_second = 4000000};
    relay_start(&relay);
    struct raw raw;
    raw_open_up_at(&raw, &siege, 2, relay.address);
    void *monitor = watch_end(raw.context, raw.socket);
    send_endless(&raw, (size_t)64 << 20);
    for (;;) { /* meanwhile the friend is served */
        struct transport_event event = {.text = ""};
        send_data(siege.friend, 0, siege.number, 10000);
        expect_message(siege.victim, TRANSPORT_WANT_DATA, 1, siege.number);
        siege.number++;
        if (siege.victim->ops->next(siege.victim, WANT_ALL, platform_now_ns() + 5 * CLOCK_MS,
                                    &event, NULL) == SHOAL_OK) {
            assert_int_equal(event.kind, TRANSPORT_PEER_LOST);
            assert_string_equal(event.peer, "device-2");
            assert_int_equal(event.reason, TRANSPORT_LOST_BREACH);
            assert_string_equal(event.text, "broke the protocol: a message without an end");
            break;
        }
    }
    await_end(raw.socket, monitor);
    const int none = 0;
    (void)zmq_setsockopt(raw.socket, ZMQ_LINGER, &none, sizeof none);
    raw_close(&raw);
    relay_stop(&relay);
    siege_close(&siege);
}

static void test_dialling_a_device_whose_message_has_no_end(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t = cluster_add(&cluster, 0, NULL);
    char address[128];
    void *context = zmq_ctx_new(), *server = server_open(context, cluster.shared, address);
    void *monitor = watch_end(context, server);
    struct relay relay = {.to = address, .bytes_per_second = 4000000, .slow_back = true};
    relay_start(&relay);
    assert_int_equal(t->ops->connect(t, "device-1", relay.address, NULL, NULL), SHOAL_OK);
    uint8_t id[256], span[1024];
    const int id_bytes = zmq_recv(server, id, sizeof id, 0);
    assert_true(id_bytes > 0);
    assert_int_equal(zmq_recv(server, span, sizeof span, 0), WIRE_HELLO_MESSAGE_BYTES);
    (void)zmq_send(server, id, (size_t)id_bytes, ZMQ_SNDMORE);
    (void)zmq_send(server, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    (void)expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
    (void)zmq_send(server, id, (size_t)id_bytes, ZMQ_SNDMORE);
    for (size_t sent = 0; sent < (size_t)64 << 20; sent += sizeof big) {
        assert_int_equal(zmq_send(server, big, sizeof big, ZMQ_SNDMORE), sizeof big);
    }
    (void)zmq_send(server, big, 1, 0);
    const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_int_equal(event.reason, TRANSPORT_LOST_BREACH);
    assert_string_equal(event.text, "broke the protocol: a message without an end");
    await_end(server, monitor);
    (void)zmq_close(server);
    (void)zmq_ctx_term(context);
    relay_stop(&relay);
    cluster_close(&cluster);
}

static void test_a_first_message_without_an_end(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct relay relay = {.to = siege.shared->address[0], .bytes_per_second = 4000000};
    relay_start(&relay);
    struct raw raw;
    raw_open_at(&raw, relay.address, &siege.shared->keys[2], siege.shared->keys[0].public_key,
                NULL);
    void *monitor = watch_end(raw.context, raw.socket);
    send_endless(&raw, (size_t)64 << 20); /* its key is known, but it has not said HELLO */
    await_refused(&siege, 1);
    exchange(&siege);
    await_end(raw.socket, monitor);
    const int none = 0;
    (void)zmq_setsockopt(raw.socket, ZMQ_LINGER, &none, sizeof none);
    raw_close(&raw);
    relay_stop(&relay);
    siege_close(&siege);
}

static void test_a_device_started_again_replaces_itself(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw first, second;
    raw_open_up(&first, &siege, 2); /* its machine lost power: the connection stays open */
    uint8_t span[1024];
    raw_open(&second, siege.shared, &siege.shared->keys[2], siege.shared->keys[0].public_key, NULL);
    make_hello(span, "device-2");
    bytes_put(span + WIRE_HEADER_BYTES, 4712, 8); /* another instance */
    raw_send(&second, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    const struct transport_event event = expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.text, "connected anew");
    assert_int_equal(event.reason, TRANSPORT_LOST_CLOSED);
    (void)expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_UP);
    raw_close(&first);
    raw_close(&second);
    (void)expect_event(siege.victim, WANT_ALL, TRANSPORT_PEER_LOST);
    siege_close(&siege);
}

int main(void) {
    log_set_level(LOG_ERROR); /* refusals are what is tested here */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_client_key_is_denied),
        cmocka_unit_test(test_wrong_server_key_is_noticed_by_the_dialler),
        cmocka_unit_test(test_libzmq_client_without_curve),
        cmocka_unit_test(test_raw_tcp_garbage),
        cmocka_unit_test(test_a_flood_of_garbage_disturbs_nobody),
        cmocka_unit_test(test_friends_get_in_during_a_flood),
        cmocka_unit_test(test_replayed_bytes_are_refused),
        cmocka_unit_test(test_name_comes_from_authentication),
        cmocka_unit_test(test_hello_of_another_version_names_both),
        cmocka_unit_test(test_dialling_a_device_of_another_version_names_both),
        cmocka_unit_test(test_no_message_before_hello),
        cmocka_unit_test(test_devices_that_break_the_protocol_are_lost),
        cmocka_unit_test(test_signs_of_life_at_full_speed),
        cmocka_unit_test(test_a_message_without_an_end),
        cmocka_unit_test(test_dialling_a_device_whose_message_has_no_end),
        cmocka_unit_test(test_a_first_message_without_an_end),
        cmocka_unit_test(test_a_device_started_again_replaces_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
