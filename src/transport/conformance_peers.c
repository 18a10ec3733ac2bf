/* Conformance: peers come, leave, vanish and come back. */
#include "transport/conformance.h"

#include "base/memory.h"
#include "platform/clock.h"

#include <string.h>

static void test_connect_brings_both_up(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    (void)cluster_add(&cluster, 0, NULL);
    (void)cluster_add(&cluster, 1, NULL);
    assert_int_equal(try_send(cluster.devices[0], 1, make_control(cluster.devices[0], 0)),
                     SHOAL_PEER_LOST);
    cluster_join(&cluster, 0, 1);
    send_control(cluster.devices[1], 0, 1); /* who was dialled may speak first */
    expect_message(cluster.devices[0], WANT_ALL, 1, 1);
    send_control(cluster.devices[0], 1, 2);
    expect_message(cluster.devices[1], WANT_ALL, 0, 2);
    cluster_close(&cluster);
}

static void test_connect_errors(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    for (int i = 0; i < 2; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    const struct conformance *implementation = *state;
    struct shoal_error error = {.text = ""};
    assert_int_equal(implementation->connect(cluster.shared, cluster.devices[0], 0, 0, &error),
                     SHOAL_INVALID);
    cluster_join(&cluster, 0, 1);
    assert_int_equal(implementation->connect(cluster.shared, cluster.devices[0], 0, 1, &error),
                     SHOAL_BUSY);
    assert_int_equal(implementation->connect(cluster.shared, cluster.devices[1], 1, 0, &error),
                     SHOAL_BUSY);
    assert_int_equal(cluster.devices[0]->ops->disconnect(cluster.devices[0], "nobody", &error),
                     SHOAL_PEER_LOST);
    send_control(cluster.devices[0], 1, 1); /* none of it did harm */
    expect_message(cluster.devices[1], WANT_ALL, 0, 1);
    cluster_close(&cluster);
}

static void test_both_dial_each_other(void **state) {
    for (int round = 0; round < 5; round++) {
        struct cluster cluster;
        cluster_open(&cluster, *state);
        for (int i = 0; i < 2; i++) {
            (void)cluster_add(&cluster, i, NULL);
        }
        const struct conformance *implementation = *state;
        for (int i = 0; i < 2; i++) {
            const shoal_status status =
                implementation->connect(cluster.shared, cluster.devices[i], i, 1 - i, NULL);
            assert_true(status == SHOAL_OK || (i == 1 && status == SHOAL_BUSY));
        }
        for (int i = 0; i < 2; i++) {
            (void)expect_event(cluster.devices[i], WANT_ALL, TRANSPORT_PEER_UP);
        }
        for (uint64_t n = 0; n < 50; n++) {
            for (int i = 0; i < 2; i++) {
                send_data(cluster.devices[i], 1 - i, n, 1000);
                expect_message(cluster.devices[1 - i], WANT_ALL, i, n);
            }
        }
        expect_nothing(cluster.devices[0], WANT_ALL, 30 * CLOCK_MS);
        expect_nothing(cluster.devices[1], WANT_ALL, 30 * CLOCK_MS);
        cluster_close(&cluster);
    }
}

static void test_many_peers(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    const int count = CONFORMANCE_DEVICES;
    for (int i = 0; i < count; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    struct transport *centre = cluster.devices[0];
    for (int i = 1; i < count; i++) { /* half dial, half are dialled */
        cluster_join(&cluster, i % 2 ? i : 0, i % 2 ? 0 : i);
    }
    uint64_t seen[CONFORMANCE_DEVICES] = {0};
    for (uint64_t n = 0; n < 20; n++) {
        for (int i = 1; i < count; i++) {
            send_data(cluster.devices[i], 0, n, 5000);
        }
        for (int i = 1; i < count; i++) {
            struct transport_event event = expect_event(centre, WANT_ALL, TRANSPORT_MESSAGE);
            int from = 1;
            while (from < count && strcmp(event.peer, device_name(from)) != 0) {
                from++;
            }
            assert_true(from < count);
            check_message(event.message, from, seen[from]++);
            /* The answer is the message itself; the credit goes back with it. */
            assert_int_equal(centre->ops->send(centre, event.peer, event.message, NULL), SHOAL_OK);
        }
        for (int i = 1; i < count; i++) {
            expect_message(cluster.devices[i], WANT_ALL, 0, n);
        }
    }
    cluster_close(&cluster);
}

static void test_dialling_a_device_that_comes_later(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    (void)cluster_add(&cluster, 0, NULL);
    const struct conformance *implementation = *state;
    assert_int_equal(implementation->connect(cluster.shared, cluster.devices[0], 0, 1, NULL),
                     SHOAL_OK);
    expect_nothing(cluster.devices[0], WANT_ALL, 100 * CLOCK_MS);
    assert_int_equal(try_send(cluster.devices[0], 1, make_control(cluster.devices[0], 0)),
                     SHOAL_PEER_LOST); /* not up */
    (void)cluster_add(&cluster, 1, NULL);
    (void)expect_event(cluster.devices[0], WANT_ALL, TRANSPORT_PEER_UP);
    (void)expect_event(cluster.devices[1], WANT_ALL, TRANSPORT_PEER_UP);
    send_control(cluster.devices[0], 1, 1);
    expect_message(cluster.devices[1], WANT_ALL, 0, 1);
    cluster_close(&cluster);
}

static void test_dialling_a_device_that_never_comes(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    (void)cluster_add(&cluster, 0, &(struct transport_options){.lost_after_ns = 200 * CLOCK_MS});
    const struct conformance *implementation = *state;
    assert_int_equal(implementation->connect(cluster.shared, cluster.devices[0], 0, 1, NULL),
                     SHOAL_OK);
    const struct transport_event event =
        expect_event(cluster.devices[0], WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.peer, device_name(1));
    assert_int_equal(event.reason, TRANSPORT_LOST_NO_LISTENER);
    assert_true(event.text[0] != '\0');
    expect_nothing(cluster.devices[0], WANT_ALL, 20 * CLOCK_MS);
    cluster_close(&cluster);
}

static void test_destroy_flushes_then_the_peer_sees_left(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    const struct transport_options wide = {.window = 8};
    (void)cluster_add(&cluster, 0, &wide);
    (void)cluster_add(&cluster, 1, &wide);
    cluster_join(&cluster, 0, 1);
    for (uint64_t i = 0; i < 8; i++) {
        send_data(cluster.devices[0], 1, i, 200000);
    }
    send_control(cluster.devices[0], 1, 8);
    cluster_destroy_device(&cluster, 0);
    for (uint64_t i = 0; i < 9; i++) {
        expect_message(cluster.devices[1], WANT_ALL, 0, i);
    }
    const struct transport_event event =
        expect_event(cluster.devices[1], WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.text, "left");
    assert_int_equal(event.reason, TRANSPORT_LOST_LEFT);
    assert_string_equal(event.peer, device_name(0));
    assert_int_equal(try_send(cluster.devices[1], 0, make_control(cluster.devices[1], 0)),
                     SHOAL_PEER_LOST);
    expect_nothing(cluster.devices[1], WANT_ALL, 30 * CLOCK_MS); /* once */
    cluster_close(&cluster);
}

static void test_disconnect_of_one_peer(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    for (int i = 0; i < 3; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    cluster_join(&cluster, 0, 1);
    cluster_join(&cluster, 2, 0);
    for (int other = 1; other <= 2; other++) { /* one that we dialled, one that dialled us */
        send_data(cluster.devices[0], other, 5, 100000);
        assert_int_equal(
            cluster.devices[0]->ops->disconnect(cluster.devices[0], device_name(other), NULL),
            SHOAL_OK);
        assert_int_equal(try_send(cluster.devices[0], other, make_control(cluster.devices[0], 0)),
                         SHOAL_PEER_LOST);
        expect_message(cluster.devices[other], WANT_ALL, 0, 5);
        const struct transport_event event =
            expect_event(cluster.devices[other], WANT_ALL, TRANSPORT_PEER_LOST);
        assert_string_equal(event.text, "left");
    }
    expect_nothing(cluster.devices[0], WANT_ALL, 30 * CLOCK_MS); /* its own doing is no news */
    cluster_join(&cluster, 0, 1);
    cluster_join(&cluster, 0, 2);
    cluster_close(&cluster);
}

static void test_a_peer_that_vanishes_is_reported_once(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    for (int i = 0; i < 3; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    cluster_join(&cluster, 0, 1); /* 1 sees who dialled it vanish, 2 whom it dialled */
    cluster_join(&cluster, 2, 0);
    struct transport_message *kept;
    send_data(cluster.devices[0], 1, 1, 1000);
    kept = expect_event(cluster.devices[1], WANT_ALL, TRANSPORT_MESSAGE).message;
    const struct conformance *implementation = *state;
    implementation->vanish(cluster.devices[0]);
    cluster.devices[0] = NULL;
    for (int i = 1; i < 3; i++) {
        const struct transport_event event =
            expect_event(cluster.devices[i], WANT_ALL, TRANSPORT_PEER_LOST);
        assert_string_equal(event.peer, device_name(0));
        assert_true(event.text[0] != '\0' && event.reason == TRANSPORT_LOST_CLOSED);
        assert_int_equal(try_send(cluster.devices[i], 0, make_control(cluster.devices[i], 0)),
                         SHOAL_PEER_LOST);
        expect_nothing(cluster.devices[i], WANT_ALL, 30 * CLOCK_MS);
    }
    check_message(kept, 0, 1); /* what was received stays ours */
    cluster.devices[1]->ops->message_free(cluster.devices[1], kept);
    cluster_join(&cluster, 1, 2); /* the others go on */
    send_data(cluster.devices[1], 2, 7, 1000);
    expect_message(cluster.devices[2], WANT_ALL, 1, 7);
    cluster_close(&cluster);
}

static void test_reconnecting_is_a_new_peer_with_fresh_credit(void **state) {
    struct cluster cluster;
    const struct conformance *implementation = *state;
    cluster_open(&cluster, implementation);
    struct transport *a = cluster_add(&cluster, 0, NULL);
    struct transport_message *old[2];
    for (int round = 0; round < 3; round++) {
        (void)cluster_add(&cluster, 1, &(struct transport_options){.window = 2});
        cluster_join(&cluster, round % 2, 1 - round % 2);
        struct transport *b = cluster.devices[1];
        send_data(a, 1, 0, 1000);
        send_data(a, 1, 1, 1000);
        assert_int_equal(try_send(a, 1, make_data(a, 2, 1000)), SHOAL_BUSY);
        for (uint64_t i = 0; i < 2; i++) { /* both windows full, nothing freed */
            send_data(b, 0, i, 1000);
            old[i] = expect_event(a, TRANSPORT_WANT_DATA, TRANSPORT_MESSAGE).message;
        }
        implementation->vanish(b);
        cluster.devices[1] = NULL;
        (void)expect_event(a, WANT_ALL, TRANSPORT_PEER_LOST);
        for (int i = 0; i < 2; i++) { /* an old message's credit is nobody's */
            a->ops->message_free(a, old[i]);
        }
    }
    cluster_close(&cluster);
}

static void test_nothing_of_a_lost_peer_follows_its_loss(void **state) {
    struct cluster cluster;
    const struct conformance *implementation = *state;
    cluster_open(&cluster, implementation);
    struct transport *a = cluster_add(&cluster, 0, NULL), *b = cluster_add(&cluster, 1, NULL);
    cluster_join(&cluster, 1, 0);
    send_data(b, 0, 0, 1000);
    send_control(b, 0, 1);
    expect_message(a, TRANSPORT_WANT_CONTROL, 1, 1); /* so the data is here too */
    implementation->vanish(b);
    cluster.devices[1] = NULL;
    (void)expect_event(a, TRANSPORT_WANT_CONTROL, TRANSPORT_PEER_LOST);
    expect_nothing(a, WANT_ALL, 20 * CLOCK_MS);
    /* Read in order, what came before the loss is delivered before it. */
    b = cluster_add(&cluster, 1, NULL);
    cluster_join(&cluster, 1, 0);
    send_data(b, 0, 2, 1000);
    send_control(b, 0, 3);
    const struct transport_event first = expect_event(a, WANT_ALL, TRANSPORT_MESSAGE);
    expect_message(a, WANT_ALL, 1, 3);
    check_message(first.message, 1, 2);
    a->ops->message_free(a, first.message);
    cluster_close(&cluster);
}

static void test_create_errors(void **state) {
    struct cluster cluster;
    const struct conformance *implementation = *state;
    cluster_open(&cluster, implementation);
    struct transport *t = NULL;
    struct shoal_error error;
    char long_name[TRANSPORT_NAME_BYTES + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const struct transport_options bad[] = {
        {.name = NULL},
        {.name = ""},
        {.name = long_name},
        {.name = "device-0", .message_bytes = (size_t)2 << 30},
        {.name = "device-0", .message_bytes = 10},
        {.name = "device#0"},
        {.name = "device-0", .control_bytes = 10},
        {.name = "device-0", .window = 1000000},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(implementation->create(cluster.shared, 0, &bad[i], &t, &error),
                         SHOAL_INVALID);
        assert_null(t);
    }
    /* Every allocation fails once. */
    const struct transport_options good = {.name = "device-0"};
    shoal_status status = SHOAL_NO_MEMORY;
    for (uint64_t n = 1; status != SHOAL_OK; n++) {
        assert_true(n < 100);
        mem_fail_after(n);
        status = implementation->create(cluster.shared, 0, &good, &t, &error);
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || (status == SHOAL_NO_MEMORY && t == NULL));
        assert_true(n > 1 || status == SHOAL_NO_MEMORY);
    }
    cluster.devices[0] = t;
    cluster_close(&cluster);
}

/* ---- sessions: several endpoints of one key, as the commands that somebody runs ---- */

static struct transport *new_session(struct cluster *cluster, int index) {
    const struct transport_options options = {
        .name = device_name(index), .session = true, .lost_after_ns = PATIENCE};
    struct transport *t = NULL;
    struct shoal_error error = {.text = ""};
    if (cluster->implementation->create(cluster->shared, index, &options, &t, &error) != SHOAL_OK) {
        fail_msg("creating a session of %s: %s", options.name, error.text);
    }
    return t;
}

/* Connects a session of device-1 with device-0; name: as device-0 knows it. */
static void join_session(struct cluster *cluster, struct transport *session,
                         char name[TRANSPORT_NAME_BYTES]) {
    assert_int_equal(cluster->implementation->connect(cluster->shared, session, 1, 0, NULL),
                     SHOAL_OK);
    struct transport_event event = expect_event(session, WANT_ALL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, "device-0");
    event = expect_event(cluster->devices[0], WANT_ALL, TRANSPORT_PEER_UP);
    assert_int_equal(strlen(event.peer), strlen("device-1#01234567"));
    assert_int_equal(strncmp(event.peer, "device-1#", 9), 0);
    assert_int_equal(strspn(event.peer + 9, "0123456789abcdef"), 8);
    memcpy(name, event.peer, TRANSPORT_NAME_BYTES);
}

static void test_sessions_of_one_key_are_peers_of_their_own(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    struct transport *t = cluster_add(&cluster, 0, &(struct transport_options){.window = 2});
    struct transport *sessions[2];
    char names[2][TRANSPORT_NAME_BYTES];
    for (int i = 0; i < 2; i++) {
        sessions[i] = new_session(&cluster, 1);
        join_session(&cluster, sessions[i], names[i]);
    }
    assert_string_not_equal(names[0], names[1]);
    (void)cluster_add(&cluster, 1, NULL); /* the device itself, with the same key */
    cluster_join(&cluster, 1, 0);
    send_data(sessions[0], 0, 0, 1000); /* uses up its window, not the other's */
    send_data(sessions[0], 0, 1, 1000);
    assert_int_equal(try_send(sessions[0], 0, make_data(sessions[0], 2, 1000)), SHOAL_BUSY);
    send_data(cluster.devices[1], 0, 2, 1000);
    send_data(sessions[1], 0, 3, 1000);
    const char *const senders[] = {names[0], names[0], device_name(1), names[1]};
    bool seen[4] = {false};
    for (int i = 0; i < 4; i++) {
        const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_MESSAGE);
        struct wire_message decoded;
        assert_int_equal(wire_decode(event.message->data, event.message->size, &decoded, NULL),
                         SHOAL_OK);
        const uint64_t number = decoded.header.microbatch;
        assert_true(number < 4 && !seen[number]);
        seen[number] = true;
        assert_string_equal(event.peer, senders[number]);
        assert_string_equal(event.message->peer, senders[number]);
        assert_int_equal(t->ops->send(t, event.peer, event.message, NULL), SHOAL_OK);
    }
    expect_message(sessions[0], TRANSPORT_WANT_DATA, 0, 0);
    expect_message(sessions[0], TRANSPORT_WANT_DATA, 0, 1);
    expect_message(cluster.devices[1], TRANSPORT_WANT_DATA, 0, 2);
    expect_message(sessions[1], TRANSPORT_WANT_DATA, 0, 3);
    cluster.implementation->vanish(sessions[0]);
    const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.peer, names[0]);
    send_control(sessions[1], 0, 4);
    const struct transport_event message = expect_event(t, WANT_ALL, TRANSPORT_MESSAGE);
    assert_string_equal(message.peer, names[1]);
    t->ops->message_free(t, message.message);
    sessions[1]->ops->destroy(sessions[1]);
    cluster_close(&cluster);
}

static void test_one_session_too_many_is_refused(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    struct transport *t = cluster_add(&cluster, 0, NULL);
    struct transport *sessions[TRANSPORT_MAX_SESSIONS + 1];
    char name[TRANSPORT_NAME_BYTES];
    for (int i = 0; i < TRANSPORT_MAX_SESSIONS; i++) {
        sessions[i] = new_session(&cluster, 1);
        join_session(&cluster, sessions[i], name);
    }
    struct transport *last = sessions[TRANSPORT_MAX_SESSIONS] = new_session(&cluster, 1);
    assert_int_equal(cluster.implementation->connect(cluster.shared, last, 1, 0, NULL), SHOAL_OK);
    struct transport_event event = expect_event(last, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_non_null(strstr(event.text, "16 sessions of device-1"));
    assert_int_equal(event.reason, TRANSPORT_LOST_REFUSED);
    expect_nothing(t, WANT_ALL, 20 * CLOCK_MS);
    (void)cluster_add(&cluster, 2, NULL); /* others are not concerned */
    cluster_join(&cluster, 2, 0);
    sessions[3]->ops->destroy(sessions[3]);
    sessions[3] = NULL;
    event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.text, "left");
    join_session(&cluster, last, name);
    for (int i = 0; i <= TRANSPORT_MAX_SESSIONS; i++) {
        if (sessions[i] != NULL) {
            sessions[i]->ops->destroy(sessions[i]);
        }
    }
    cluster_close(&cluster);
}

static void test_a_session_that_comes_back_and_many_that_do_not(void **state) {
    struct cluster cluster;
    cluster_open(&cluster, *state);
    struct transport *t = cluster_add(&cluster, 0, NULL);
    struct transport *session = new_session(&cluster, 1);
    char first[TRANSPORT_NAME_BYTES], name[TRANSPORT_NAME_BYTES];
    join_session(&cluster, session, first);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(session->ops->disconnect(session, "device-0", NULL), SHOAL_OK);
        const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_string_equal(event.peer, first);
        assert_string_equal(event.text, "left");
        join_session(&cluster, session, name);
        assert_string_equal(name, first); /* the same endpoint: the same name */
        send_data(session, 0, 1, 100000);
        const struct transport_event data = expect_event(t, WANT_ALL, TRANSPORT_MESSAGE);
        assert_string_equal(data.peer, first);
        t->ops->message_free(t, data.message);
    }
    for (int i = 0; i < 70; i++) { /* more than a listener keeps of one key: nothing piles up */
        struct transport *one = new_session(&cluster, 1);
        join_session(&cluster, one, name);
        assert_string_not_equal(name, first);
        one->ops->destroy(one);
        const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_string_equal(event.peer, name);
        struct transport_peer_stats stats;
        assert_false(t->ops->peer_stats(t, name, &stats));
    }
    session->ops->destroy(session);
    cluster_close(&cluster);
}

#define CASE(function) \
    { #function, function }
const struct conformance_case conformance_peer_cases[] = {
    CASE(test_connect_brings_both_up),
    CASE(test_connect_errors),
    CASE(test_both_dial_each_other),
    CASE(test_many_peers),
    CASE(test_dialling_a_device_that_comes_later),
    CASE(test_dialling_a_device_that_never_comes),
    CASE(test_destroy_flushes_then_the_peer_sees_left),
    CASE(test_disconnect_of_one_peer),
    CASE(test_a_peer_that_vanishes_is_reported_once),
    CASE(test_reconnecting_is_a_new_peer_with_fresh_credit),
    CASE(test_nothing_of_a_lost_peer_follows_its_loss),
    CASE(test_sessions_of_one_key_are_peers_of_their_own),
    CASE(test_one_session_too_many_is_refused),
    CASE(test_a_session_that_comes_back_and_many_that_do_not),
    CASE(test_create_errors),
};
const size_t conformance_peer_count =
    sizeof conformance_peer_cases / sizeof conformance_peer_cases[0];
