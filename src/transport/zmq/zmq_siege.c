#include "transport/zmq/zmq_siege.h"

#include "platform/clock.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

void siege_open(struct siege *siege) {
    memset(siege, 0, sizeof *siege);
    cluster_open(&siege->cluster, &fixture_tcp);
    siege->shared = siege->cluster.shared;
    siege->victim = cluster_add(&siege->cluster, 0,
                                &(struct transport_options){.window = 2, .message_bytes = 1 << 21});
    siege->friend = cluster_add(&siege->cluster, 1, NULL);
    cluster_join(&siege->cluster, 1, 0);
}

void siege_exchange(struct siege *siege) {
    send_data(siege->friend, 0, siege->number, 10000);
    expect_message(siege->victim, WANT_ALL, 1, siege->number);
    send_data(siege->victim, 1, siege->number, 10000);
    expect_message(siege->friend, WANT_ALL, 0, siege->number);
    siege->number++;
}

uint64_t siege_refused(const struct transport *t) {
    struct transport_stats stats;
    t->ops->stats(t, &stats);
    return stats.refused;
}

void siege_await_refused(const struct siege *siege, uint64_t at_least) {
    const uint64_t deadline = platform_now_ns() + PATIENCE;
    while (siege_refused(siege->victim) < at_least) {
        assert_true(platform_now_ns() < deadline);
        platform_sleep_ns(5 * CLOCK_MS);
    }
}

void siege_close(struct siege *siege) {
    siege_exchange(siege);
    expect_nothing(siege->victim, WANT_ALL, 10 * CLOCK_MS);
    expect_nothing(siege->friend, WANT_ALL, 0);
    cluster_close(&siege->cluster);
}

void raw_open_at(struct raw *raw, const char *address, const struct zmq_keypair *keys,
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

void raw_open(struct raw *raw, const struct shared *shared, const struct zmq_keypair *keys,
              const char *server_key, const char *routing_id) {
    raw_open_at(raw, shared->address[0], keys, server_key, routing_id);
}

void raw_close(struct raw *raw) {
    (void)zmq_close(raw->socket);
    (void)zmq_ctx_term(raw->context);
}

void raw_send(struct raw *raw, const void *bytes, size_t count, int flags) {
    assert_int_equal(zmq_send(raw->socket, bytes, count, flags), count);
}

void raw_expect(struct raw *raw, enum wire_kind kind, struct wire_message *message,
                uint8_t span[1024]) {
    const int patience = (int)(PATIENCE / CLOCK_MS);
    (void)zmq_setsockopt(raw->socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
    do {
        const int got = zmq_recv(raw->socket, span, 1024, 0);
        assert_true(got >= WIRE_HEADER_BYTES && got <= 1024);
        assert_int_equal(wire_decode(span, (size_t)got, message, NULL), SHOAL_OK);
    } while (message->header.kind != kind);
}

void raw_expect_bye(struct raw *raw, const char *words) {
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

void siege_hello(uint8_t span[WIRE_HELLO_MESSAGE_BYTES], const char *name) {
    struct wire_hello hello = {.instance = 4711,
                               .message_bytes = 1 << 20,
                               .control_bytes = 1 << 16,
                               .window = 2,
                               .control_window = 256};
    (void)snprintf(hello.name, sizeof hello.name, "%s", name);
    wire_hello_encode(&hello, span);
}

void raw_open_up_at(struct raw *raw, struct siege *siege, int index, const char *address) {
    raw_open_at(raw, address, &siege->shared->keys[index], siege->shared->keys[0].public_key, NULL);
    uint8_t span[1024];
    siege_hello(span, device_name(index));
    raw_send(raw, span, WIRE_HELLO_MESSAGE_BYTES, 0);
    struct wire_message message;
    raw_expect(raw, WIRE_HELLO, &message, span);
    const struct transport_event event = expect_event(siege->victim, WANT_ALL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, device_name(index));
}

void raw_open_up(struct raw *raw, struct siege *siege, int index) {
    raw_open_up_at(raw, siege, index, siege->shared->address[0]);
}
