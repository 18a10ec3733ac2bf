/*
 * The ZeroMQ transport among strangers: they are refused and counted, and a friend's connection
 * beside them notices nothing.
 */
#include "transport/zmq/zmq_siege.h"

#include "base/log.h"
#include "base/random.h"
#include "platform/clock.h"
#include "platform/cpu.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_unknown_client_key_is_denied(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct zmq_keypair keys;
    assert_int_equal(zmq_keypair_make(&keys, NULL), SHOAL_OK);
    const struct zmq_transport_options options = {
        .base = {.name = "device-2", .lost_after_ns = PATIENCE}, /* a name that is allowed */
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
        siege_await_refused(&siege, i);
        siege_exchange(&siege);
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
    const struct zmq_transport_options options = {
        .base = {.name = "device-2", .lost_after_ns = PATIENCE}, .keys = siege.shared->keys[2]};
    struct transport *dialler = NULL;
    assert_int_equal(zmq_transport_create(&options, &dialler, NULL), SHOAL_OK);
    assert_int_equal(dialler->ops->connect(dialler, "device-0", siege.shared->address[0],
                                           other.public_key, NULL),
                     SHOAL_OK);
    const struct transport_event event = expect_event(dialler, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_non_null(strstr(event.text, "another key"));
    assert_int_equal(event.reason, TRANSPORT_LOST_WRONG_KEY);
    dialler->ops->destroy(dialler);
    siege_await_refused(&siege, 1);
    siege_close(&siege);
}

static void test_libzmq_client_without_curve(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, NULL, NULL, "device-1");
    uint8_t span[WIRE_HELLO_MESSAGE_BYTES];
    siege_hello(span, "device-1");
    raw_send(&raw, span, sizeof span, 0);
    siege_await_refused(&siege, 1);
    siege_exchange(&siege);
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
    uint64_t expected = siege_refused(siege.victim);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int fd = tcp_connect(siege.shared->address[0]);
        (void)send(fd, cases[i].bytes, cases[i].count, MSG_NOSIGNAL);
        siege_exchange(&siege);
        (void)close(fd);
        siege_await_refused(&siege, ++expected);
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
        siege_exchange(&siege);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    siege_await_refused(&siege, 250); /* a few may have closed before they were accepted */
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
        siege_exchange(&siege);
    }
    const size_t memory = memory_resident_bytes();
    struct flood_forever flood_of = {.address = siege.shared->address[0]};
    atomic_init(&flood_of.stop, false);
    assert_int_equal(pthread_create(&flood_of.thread, NULL, run_flood_forever, &flood_of), 0);
    siege_await_refused(&siege, 300); /* the door has closed, and opened again */
    for (int i = 0; i < 100; i++) {
        siege_exchange(&siege);
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
        const uint64_t before = siege_refused(siege.victim);
        const int fd = tcp_connect(siege.shared->address[0]);
        assert_int_equal(send(fd, captured, relay.count, MSG_NOSIGNAL), relay.count);
        siege_exchange(&siege); /* nothing came of it: no PEER_UP, no message */
        (void)shutdown(fd, SHUT_WR);
        siege_await_refused(&siege, before + 1);
        (void)close(fd);
    }
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
