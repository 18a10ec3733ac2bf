/* Conformance: messages, order, credit, deadlines, counters. */
#include "transport/conformance.h"

#include "base/memory.h"
#include "platform/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* Two devices, 0 connected to 1. */
static void open_pair(struct cluster *cluster, void **state, const struct transport_options *of_0,
                      const struct transport_options *of_1) {
    cluster_open(cluster, *state);
    (void)cluster_add(cluster, 0, of_0);
    (void)cluster_add(cluster, 1, of_1);
    cluster_join(cluster, 0, 1);
}

static void test_order_exactly_once(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, &(struct transport_options){.window = 4});
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    uint64_t sent = 0, received = 0;
    const uint64_t total = 400;
    while (received < total) {
        while (sent < total) { /* every third is control: one order over both */
            struct transport_message *message =
                sent % 3 == 2 ? make_control(a, sent) : make_data(a, sent, 1 + sent * 37 % 3000);
            const shoal_status status = try_send(a, 1, message);
            if (status == SHOAL_BUSY) {
                break;
            }
            assert_int_equal(status, SHOAL_OK);
            sent++;
        }
        if (received < sent) {
            expect_message(b, WANT_ALL, 0, received++);
        } else { /* all of it arrived; the credit is on its way */
            (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
        }
    }
    expect_nothing(b, WANT_ALL, 20 * CLOCK_MS);
    cluster_close(&cluster);
}

static void test_large_messages(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    static const size_t sizes[] = {0,     1,      63,      64,      4000,     65535,
                                   65536, 605184, 1048576, 2420000, 20000001, 33554432};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        send_data(cluster.devices[0], 1, i, sizes[i]);
        expect_message(cluster.devices[1], WANT_ALL, 0, i);
        send_data(cluster.devices[1], 0, i, sizes[i]);
        expect_message(cluster.devices[0], WANT_ALL, 1, i);
    }
    cluster_close(&cluster);
}

static void test_flow_control_blocks_and_resumes(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, &(struct transport_options){.window = 3});
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    for (uint64_t i = 0; i < 3; i++) {
        send_data(a, 1, i, 1000);
    }
    assert_int_equal(try_send(a, 1, make_data(a, 3, 1000)), SHOAL_BUSY);
    assert_int_equal(try_send(a, 1, make_data(a, 3, 1000)), SHOAL_BUSY);
    const struct transport_event held = expect_event(b, WANT_ALL, TRANSPORT_MESSAGE);
    expect_nothing(a, WANT_ALL, 50 * CLOCK_MS); /* received is not yet freed */
    b->ops->message_free(b, held.message);
    const struct transport_event event = expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
    assert_string_equal(event.peer, device_name(1));
    send_data(a, 1, 3, 1000);
    assert_int_equal(try_send(a, 1, make_data(a, 4, 1000)), SHOAL_BUSY); /* one credit, not two */
    for (uint64_t i = 1; i < 4; i++) {
        expect_message(b, WANT_ALL, 0, i);
    }
    (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
    send_data(a, 1, 4, 1000);
    expect_message(b, WANT_ALL, 0, 4);
    cluster_close(&cluster);
}

static void test_control_passes_while_data_is_blocked(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, &(struct transport_options){.window = 1});
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    send_data(a, 1, 0, 500000);
    assert_int_equal(try_send(a, 1, make_data(a, 1, 500000)), SHOAL_BUSY);
    for (uint64_t i = 0; i < 20; i++) {
        send_control(a, 1, i);
        expect_message(b, TRANSPORT_WANT_CONTROL, 0, i);
        send_control(b, 0, i);
        expect_message(a, TRANSPORT_WANT_CONTROL, 1, i);
    }
    expect_message(b, TRANSPORT_WANT_DATA, 0, 0);
    (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
    cluster_close(&cluster);
}

static void test_control_underway_is_bounded(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    for (uint64_t i = 0; i < 256; i++) {
        send_control(a, 1, i);
    }
    assert_int_equal(try_send(a, 1, make_control(a, 256)), SHOAL_BUSY);
    for (uint64_t i = 0; i < 256; i++) {
        expect_message(b, WANT_ALL, 0, i);
    }
    (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
    for (uint64_t i = 256; i < 1000; i++) { /* and goes on for ever */
        for (;;) {
            const shoal_status status = try_send(a, 1, make_control(a, i));
            if (status == SHOAL_OK) {
                break;
            }
            assert_int_equal(status, SHOAL_BUSY);
            (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
        }
        expect_message(b, WANT_ALL, 0, i);
    }
    cluster_close(&cluster);
}

static void test_only_what_is_wanted_is_delivered(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    send_data(a, 1, 1, 100);
    send_control(a, 1, 2);
    expect_message(b, TRANSPORT_WANT_CONTROL, 0, 2);
    expect_nothing(b, TRANSPORT_WANT_CONTROL, 20 * CLOCK_MS);
    expect_message(b, TRANSPORT_WANT_DATA, 0, 1);
    send_data(a, 1, 3, 100);
    send_control(a, 1, 4);
    expect_message(b, TRANSPORT_WANT_DATA, 0, 3);
    expect_nothing(b, TRANSPORT_WANT_DATA, 20 * CLOCK_MS);
    expect_message(b, WANT_ALL, 0, 4);
    cluster_close(&cluster);
}

static void test_next_timeout(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0];
    struct transport_event event = {.kind = TRANSPORT_INTERRUPT, .text = "as before"};
    assert_int_equal(a->ops->next(a, WANT_ALL, 0, &event, NULL), SHOAL_TIMEOUT);
    for (int i = 0; i < 3; i++) {
        const uint64_t deadline = platform_now_ns() + 30 * CLOCK_MS;
        assert_int_equal(a->ops->next(a, WANT_ALL, deadline, &event, NULL), SHOAL_TIMEOUT);
        assert_true(platform_now_ns() >= deadline);
    }
    assert_string_equal(event.text, "as before"); /* outputs unchanged on error */
    cluster_close(&cluster);
}

struct helper {
    struct transport *t;
    struct transport_message *message;
};

static void *free_from_thread(void *argument) {
    struct helper *helper = argument;
    helper->t->ops->message_free(helper->t, helper->message);
    return NULL;
}

static void test_message_free_from_any_thread_gives_the_credit_back(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, &(struct transport_options){.window = 1});
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    for (uint64_t i = 0; i < 20; i++) {
        send_data(a, 1, i, 10000);
        assert_int_equal(try_send(a, 1, make_data(a, i, 1)), SHOAL_BUSY);
        struct transport_event event = expect_event(b, WANT_ALL, TRANSPORT_MESSAGE);
        check_message(event.message, 0, i);
        struct helper helper = {b, event.message};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, free_from_thread, &helper), 0);
        (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    b->ops->message_free(b, NULL); /* allowed */
    cluster_close(&cluster);
}

static void test_passing_a_message_on_gives_the_credit_back(void **state) {
    struct cluster cluster;
    const struct transport_options one = {.window = 1};
    cluster_open(&cluster, *state);
    for (int i = 0; i < 3; i++) {
        (void)cluster_add(&cluster, i, &one);
    }
    cluster_join(&cluster, 0, 1);
    cluster_join(&cluster, 1, 2);
    struct transport *a = cluster.devices[0], *b = cluster.devices[1], *c = cluster.devices[2];
    for (uint64_t i = 0; i < 10; i++) {
        send_data(a, 1, i, 70000);
        assert_int_equal(try_send(a, 1, make_data(a, i, 1)), SHOAL_BUSY);
        struct transport_event event = expect_event(b, WANT_ALL, TRANSPORT_MESSAGE);
        while (b->ops->send(b, device_name(2), event.message, NULL) != SHOAL_OK) {
            const struct transport_event more = expect_event(b, WANT_ALL, TRANSPORT_WRITABLE);
            assert_string_equal(more.peer, device_name(2));
        }
        (void)expect_event(a, WANT_ALL, TRANSPORT_WRITABLE);
        expect_message(c, WANT_ALL, 1, i);
    }
    cluster_close(&cluster);
}

static void test_send_invalid_too_large(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL,
              &(struct transport_options){.message_bytes = 10000, .control_bytes = 110});
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    assert_int_equal(try_send(a, 1, make_data(a, 0, 10000 - 191)), SHOAL_INVALID);
    assert_int_equal(try_send(a, 1, make_control(a, 0)), SHOAL_INVALID);
    send_data(a, 1, 1, 10000 - 192); /* header and descriptor take 192 */
    expect_message(b, WANT_ALL, 0, 1);
    send_control(b, 0, 2); /* the other direction has its own limits */
    expect_message(a, WANT_ALL, 1, 2);
    cluster_close(&cluster);
}

static void test_send_invalid_no_message(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0];
    struct transport_message *message = make_data(a, 0, 100);
    memset(message->data, 0, 4);
    assert_int_equal(try_send(a, 1, message), SHOAL_INVALID);
    message = make_data(a, 0, 100);
    message->size--;
    assert_int_equal(try_send(a, 1, message), SHOAL_INVALID);
    struct wire_header header = {.kind = WIRE_CREDIT, .items = 100}; /* would forge credit */
    message = make_control(a, 0);
    assert_int_equal(wire_encode(&header, NULL, NULL, message->data, message->capacity, NULL,
                                 &message->size, NULL),
                     SHOAL_OK);
    assert_int_equal(try_send(a, 1, message), SHOAL_INVALID);
    expect_nothing(cluster.devices[1], WANT_ALL, 20 * CLOCK_MS);
    cluster_close(&cluster);
}

static void *interrupt_from_thread(void *argument) {
    struct transport *t = argument;
    platform_sleep_ns(20 * CLOCK_MS);
    t->ops->interrupt(t);
    return NULL;
}

static struct transport *interrupted;
static void on_signal(int number) {
    (void)number;
    interrupted->ops->interrupt(interrupted);
}

static void test_interrupt_wakes_next(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, interrupt_from_thread, a), 0);
    (void)expect_event(a, TRANSPORT_WANT_DATA, TRANSPORT_INTERRUPT);
    assert_int_equal(pthread_join(thread, NULL), 0);
    a->ops->interrupt(a);
    a->ops->interrupt(a); /* two before anyone looks are one */
    (void)expect_event(a, TRANSPORT_WANT_CONTROL, TRANSPORT_INTERRUPT);
    expect_nothing(a, WANT_ALL, 10 * CLOCK_MS);
    interrupted = a;
    struct sigaction action = {.sa_handler = on_signal}, before;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    (void)expect_event(a, WANT_ALL, TRANSPORT_INTERRUPT);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    cluster_close(&cluster);
}

static void test_stats_add_up(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    struct transport_peer_stats of_a = {0}, of_b = {0};
    assert_false(a->ops->peer_stats(a, "device-7", &of_a));
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < 10; i++) {
        struct transport_message *message = i % 2 ? make_control(a, i) : make_data(a, i, 100 * i);
        bytes += message->size;
        send_patiently(a, 1, message);
        expect_message(b, WANT_ALL, 0, i);
    }
    send_control(b, 0, 0);
    expect_message(a, WANT_ALL, 1, 0);
    assert_true(a->ops->peer_stats(a, "device-1", &of_a));
    assert_true(b->ops->peer_stats(b, "device-0", &of_b));
    assert_true(of_a.messages_sent == 10 && of_b.messages_received == 10);
    assert_true(of_a.bytes_sent == bytes && of_b.bytes_received == bytes);
    assert_true(of_a.messages_received == 1 && of_b.messages_sent == 1);
    assert_true(of_a.send_s >= 0 && of_b.receive_s >= 0);
    struct transport_stats stats = {0};
    b->ops->stats(b, &stats);
    assert_true(stats.refused == 0 && stats.io_cpu_s >= 0);
    assert_true(stats.pool_peak_bytes >= stats.pool_bytes && stats.pool_peak_bytes > 0);
    cluster_close(&cluster);
}

static void test_steady_state_allocates_nothing(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0], *b = cluster.devices[1];
    uint64_t before = 0;
    for (uint64_t i = 0; i < 200; i++) {
        if (i == 100) {
            before = mem_allocation_count();
        }
        send_data(a, 1, i, 300000);
        send_control(a, 1, i);
        expect_message(b, WANT_ALL, 0, i);
        expect_message(b, WANT_ALL, 0, i);
        send_data(b, 0, i, 4000);
        expect_message(a, WANT_ALL, 1, i);
    }
    assert_true(mem_allocation_count() == before);
    cluster_close(&cluster);
}

static void test_message_new_no_memory(void **state) {
    struct cluster cluster;
    open_pair(&cluster, state, NULL, NULL);
    struct transport *a = cluster.devices[0];
    struct transport_message *message = NULL;
    mem_fail_after(1);
    const shoal_status status = a->ops->message_new(a, 123456, &message, NULL);
    mem_fail_after(0);
    assert_int_equal(status, SHOAL_NO_MEMORY);
    assert_null(message);
    assert_int_equal(a->ops->message_new(a, WIRE_MAX_MESSAGE_BYTES + 1, &message, NULL),
                     SHOAL_INVALID);
    cluster_close(&cluster);
}

/* ---- a ring of threads, each the owner of one device ---- */

#define RING 4
#define LAPS 150

struct runner {
    struct transport *t;
    int index;
    atomic_int *failures;
};

/* Passes tokens on round the ring; device 0 puts two in and counts the laps. */
static void *run_ring(void *argument) {
    struct runner *runner = argument;
    struct transport *t = runner->t;
    const char *next = device_name((runner->index + 1) % RING);
    uint64_t laps[2] = {0, 0};
    if (runner->index == 0) {
        for (uint64_t token = 0; token < 2; token++) {
            if (t->ops->send(t, next, make_data(t, token, 20000), NULL) != SHOAL_OK) {
                atomic_fetch_add(runner->failures, 1);
            }
        }
    }
    while (laps[0] < LAPS || laps[1] < LAPS) {
        struct transport_event event;
        if (t->ops->next(t, WANT_ALL, platform_now_ns() + PATIENCE, &event, NULL) != SHOAL_OK) {
            atomic_fetch_add(runner->failures, 1);
            return NULL;
        }
        if (event.kind != TRANSPORT_MESSAGE) {
            continue; /* PEER_UP */
        }
        struct wire_message decoded;
        if (wire_decode(event.message->data, event.message->size, &decoded, NULL) != SHOAL_OK ||
            decoded.header.microbatch > 1) {
            atomic_fetch_add(runner->failures, 1);
            return NULL;
        }
        const bool over = ++laps[decoded.header.microbatch] == LAPS && runner->index == 0;
        if (over || t->ops->send(t, next, event.message, NULL) != SHOAL_OK) {
            t->ops->message_free(t, event.message);
            if (!over) { /* two tokens never exceed a window of four */
                atomic_fetch_add(runner->failures, 1);
            }
        }
    }
    return NULL;
}

static void test_threads_in_a_ring(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    struct runner runners[RING];
    pthread_t threads[RING];
    atomic_int failures = 0;
    for (int i = 0; i < RING; i++) {
        (void)cluster_add(&cluster, i, &(struct transport_options){.window = 4});
    }
    for (int i = 0; i < RING; i++) {
        cluster_join(&cluster, i, (i + 1) % RING);
    }
    for (int i = 0; i < RING; i++) {
        runners[i] = (struct runner){cluster.devices[i], i, &failures};
        assert_int_equal(pthread_create(&threads[i], NULL, run_ring, &runners[i]), 0);
    }
    for (int i = 0; i < RING; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&failures), 0);
    cluster_close(&cluster);
}

#define CASE(function) \
    { #function, function }
const struct conformance_case conformance_flow_cases[] = {
    CASE(test_order_exactly_once),
    CASE(test_large_messages),
    CASE(test_flow_control_blocks_and_resumes),
    CASE(test_control_passes_while_data_is_blocked),
    CASE(test_control_underway_is_bounded),
    CASE(test_only_what_is_wanted_is_delivered),
    CASE(test_next_timeout),
    CASE(test_message_free_from_any_thread_gives_the_credit_back),
    CASE(test_passing_a_message_on_gives_the_credit_back),
    CASE(test_send_invalid_too_large),
    CASE(test_send_invalid_no_message),
    CASE(test_interrupt_wakes_next),
    CASE(test_stats_add_up),
    CASE(test_steady_state_allocates_nothing),
    CASE(test_message_new_no_memory),
    CASE(test_threads_in_a_ring),
};
const size_t conformance_flow_count =
    sizeof conformance_flow_cases / sizeof conformance_flow_cases[0];
