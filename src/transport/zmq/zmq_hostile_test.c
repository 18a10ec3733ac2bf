/*
 * The ZeroMQ transport among devices that are on the list and misbehave: they hear why and are
 * lost, and a friend's connection beside them notices nothing.
 */
#include "transport/zmq/zmq_siege.h"

#include "base/log.h"
#include "platform/clock.h"
#include "wire/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static void test_name_comes_from_authentication(void **state) {
    (void)state;
    struct siege siege;
    siege_open(&siege);
    struct raw raw;
    raw_open(&raw, siege.shared, &siege.shared->keys[2], siege.shared->keys[0].public_key,
             "device-1");
    uint8_t span[1024];
    siege_hello(span, "device-1");
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
    siege_hello(span, "device-2");
    bytes_put(span + 4, 1, 2);
    raw_send(&raw, span, sizeof span, 0);
    raw_expect_bye(&raw, "format version 1, this device speaks version 2");
    siege_await_refused(&siege, 1);
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
    siege_await_refused(&siege, 1);
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
    siege_hello(span, "device-2");
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
        const uint64_t before = siege_refused(siege.victim);
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
        assert_true(siege_refused(siege.victim) == before + 1);
        raw_close(&raw);
        siege_exchange(&siege);
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
    const uint64_t before = siege_refused(siege.victim);
    const uint64_t deadline = platform_now_ns() + PATIENCE;
    while (siege_refused(siege.victim) == before) { /* never reads, never pauses */
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
    siege_await_refused(&siege, 1);
    siege_exchange(&siege);
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
    siege_hello(span, "device-2");
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
