#include "transport/conformance.h"

#include "base/assert.h"
#include "platform/clock.h"

#include <stdio.h>
#include <string.h>

size_t conformance_tests(const struct conformance *implementation, struct CMUnitTest *table,
                         size_t capacity) {
    size_t count = 0;
    for (size_t i = 0; i < conformance_flow_count + conformance_peer_count; i++) {
        const struct conformance_case *one =
            i < conformance_flow_count ? &conformance_flow_cases[i]
                                       : &conformance_peer_cases[i - conformance_flow_count];
        ASSERT(count < capacity);
        table[count++] = (struct CMUnitTest){
            .name = one->name,
            .test_func = one->run,
            .initial_state = (void *)(uintptr_t)implementation,
        };
    }
    return count;
}

const char *device_name(int index) {
    static const char *const names[CONFORMANCE_DEVICES] = {
        "device-0", "device-1", "device-2", "device-3",  "device-4",  "device-5",  "device-6",
        "device-7", "device-8", "device-9", "device-10", "device-11", "device-12", "device-13"};
    return names[index];
}

void cluster_open(struct cluster *cluster, const struct conformance *implementation) {
    memset(cluster, 0, sizeof *cluster);
    cluster->implementation = implementation;
    cluster->shared = implementation->setup();
    assert_non_null(cluster->shared);
}

struct transport *cluster_add(struct cluster *cluster, int index,
                              const struct transport_options *options) {
    struct transport_options own = options != NULL ? *options : (struct transport_options){0};
    own.name = device_name(index);
    if (own.lost_after_ns == 0) {
        own.lost_after_ns = PATIENCE;
    }
    struct shoal_error error = {.text = ""};
    if (cluster->implementation->create(cluster->shared, index, &own, &cluster->devices[index],
                                        &error) != SHOAL_OK) {
        fail_msg("creating %s: %s", own.name, error.text);
    }
    return cluster->devices[index];
}

void cluster_join(struct cluster *cluster, int from, int to) {
    struct shoal_error error = {.text = ""};
    if (cluster->implementation->connect(cluster->shared, cluster->devices[from], from, to,
                                         &error) != SHOAL_OK) {
        fail_msg("connecting: %s", error.text);
    }
    struct transport_event event =
        expect_event(cluster->devices[from], TRANSPORT_WANT_CONTROL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, device_name(to));
    event = expect_event(cluster->devices[to], TRANSPORT_WANT_CONTROL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, device_name(from));
}

void cluster_destroy_device(struct cluster *cluster, int index) {
    struct transport *t = cluster->devices[index];
    cluster->devices[index] = NULL;
    if (t != NULL) {
        t->ops->destroy(t);
    }
}

void cluster_close(struct cluster *cluster) {
    for (int i = 0; i < CONFORMANCE_DEVICES; i++) {
        cluster_destroy_device(cluster, i);
    }
    cluster->implementation->teardown(cluster->shared);
}

struct transport_event expect_event(struct transport *t, unsigned want,
                                    enum transport_event_kind kind) {
    struct transport_event event = {.text = ""};
    struct shoal_error error = {.text = ""};
    if (t->ops->next(t, want, platform_now_ns() + PATIENCE, &event, &error) != SHOAL_OK) {
        fail_msg("expected event %d: %s", (int)kind, error.text);
    }
    if (event.kind != kind) {
        fail_msg("expected event %d, got %d from %s: %s", (int)kind, (int)event.kind, event.peer,
                 event.text);
    }
    return event;
}

void expect_nothing(struct transport *t, unsigned want, uint64_t for_ns) {
    struct transport_event event = {.text = ""};
    const shoal_status status = t->ops->next(t, want, platform_now_ns() + for_ns, &event, NULL);
    if (status != SHOAL_TIMEOUT) {
        fail_msg("expected nothing, got %s: event %d from %s: %s", shoal_status_text(status),
                 (int)event.kind, event.peer, event.text);
    }
}

/* A cheap generator of bytes: which ones does not matter, only that they differ between numbers. */
static uint8_t byte_at(uint64_t number, size_t i) {
    return (uint8_t)((number * 131 + i * 7 + (i >> 8) * 13) & 0xFF);
}

struct transport_message *make_data(struct transport *t, uint64_t number, size_t bytes) {
    const struct wire_header header = {
        .kind = WIRE_ACTIVATION, .microbatch = number, .items = 1, .tensor_count = 1};
    const struct tensor tensor = {.dtype = DTYPE_U8, .shape = SHAPE((int64_t)bytes)};
    size_t size = 0, used = 0;
    assert_int_equal(wire_size(&tensor, 1, 0, &size, NULL), SHOAL_OK);
    struct transport_message *message = NULL;
    assert_int_equal(t->ops->message_new(t, size, &message, NULL), SHOAL_OK);
    assert_true(message->capacity >= size && message->size == size);
    assert_int_equal((uintptr_t)message->data % 64, 0);
    void *payload[1];
    assert_int_equal(
        wire_encode(&header, &tensor, NULL, message->data, message->capacity, payload, &used, NULL),
        SHOAL_OK);
    message->size = used;
    uint8_t *at = payload[0];
    for (size_t i = 0; i < bytes; i++) {
        at[i] = byte_at(number, i);
    }
    return message;
}

struct transport_message *make_control(struct transport *t, uint64_t number) {
    const char *text = "{\"conformance\": true}";
    const struct wire_header header = {
        .kind = WIRE_EVENT, .microbatch = number, .text_bytes = (uint32_t)strlen(text)};
    struct transport_message *message = NULL;
    size_t used = 0;
    assert_int_equal(t->ops->message_new(t, WIRE_HEADER_BYTES + strlen(text), &message, NULL),
                     SHOAL_OK);
    assert_int_equal(
        wire_encode(&header, NULL, text, message->data, message->capacity, NULL, &used, NULL),
        SHOAL_OK);
    message->size = used;
    return message;
}

shoal_status try_send(struct transport *t, int to, struct transport_message *message) {
    struct shoal_error error = {.text = ""};
    const shoal_status status = t->ops->send(t, device_name(to), message, &error);
    if (status != SHOAL_OK) {
        assert_true(error.text[0] != '\0' && error.code == status);
        t->ops->message_free(t, message);
    }
    return status;
}

void send_patiently(struct transport *t, int to, struct transport_message *message) {
    shoal_status status;
    while ((status = t->ops->send(t, device_name(to), message, NULL)) == SHOAL_BUSY) {
        (void)expect_event(t, TRANSPORT_WANT_CONTROL, TRANSPORT_WRITABLE);
    }
    assert_int_equal(status, SHOAL_OK);
}

void send_data(struct transport *t, int to, uint64_t number, size_t bytes) {
    assert_int_equal(try_send(t, to, make_data(t, number, bytes)), SHOAL_OK);
}

void send_control(struct transport *t, int to, uint64_t number) {
    assert_int_equal(try_send(t, to, make_control(t, number)), SHOAL_OK);
}

void check_message(const struct transport_message *message, int from, uint64_t number) {
    struct wire_message decoded;
    assert_string_equal(message->peer, device_name(from));
    assert_int_equal((uintptr_t)message->data % 64, 0);
    assert_int_equal(wire_decode(message->data, message->size, &decoded, NULL), SHOAL_OK);
    assert_int_equal(decoded.header.microbatch, number);
    if (decoded.header.tensor_count == 1) {
        const uint8_t *at = decoded.tensors[0].data;
        const size_t bytes = tensor_bytes(&decoded.tensors[0]);
        for (size_t i = 0; i < bytes; i++) {
            if (at[i] != byte_at(number, i)) {
                fail_msg("message %llu differs at byte %zu", (unsigned long long)number, i);
            }
        }
    }
}

void expect_message(struct transport *t, unsigned want, int from, uint64_t number) {
    const struct transport_event event = expect_event(t, want, TRANSPORT_MESSAGE);
    assert_string_equal(event.peer, device_name(from));
    check_message(event.message, from, number);
    t->ops->message_free(t, event.message);
}
