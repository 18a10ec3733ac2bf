/* The ZeroMQ transport: the conformance suite over tcp and ipc, and what is its own among friends.
 */
#include "transport/zmq/zmq_fixture.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/process.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- creation ---- */

static void test_create_errors_of_its_own(void **state) {
    (void)state;
    struct shared *shared = fixture_tcp.setup();
    struct transport *t = NULL, *second = NULL;
    struct shoal_error error = {.text = ""};
    struct zmq_transport_options options = {.base = {.name = "device-0"},
                                            .keys = shared->keys[0],
                                            .allowed = shared->allowed,
                                            .allowed_count = 3};
    struct zmq_transport_options bad = options;
    bad.keys.public_key[3] = ' ';
    assert_int_equal(zmq_transport_create(&bad, &t, &error), SHOAL_INVALID);
    bad.keys = shared->keys[0];
    memcpy(bad.keys.public_key, shared->keys[1].public_key, ZMQ_KEY_TEXT); /* does not fit */
    assert_int_equal(zmq_transport_create(&bad, &t, &error), SHOAL_INVALID);
    struct zmq_allowed list[3];
    static const char *const words[] = {"no name", "no z85", "twice", "no '#'", "one key"};
    for (int i = 0; i < 5; i++) {
        memcpy(list, shared->allowed, sizeof list);
        if (i == 0) {
            list[1].name[0] = '\0';
        } else if (i == 1) {
            list[1].public_key[39] = '\0';
        } else if (i == 2) {
            memcpy(list[1].name, list[0].name, sizeof list[1].name);
        } else if (i == 3) {
            list[1].name[1] = '#';
        } else {
            memcpy(list[1].public_key, list[0].public_key, ZMQ_KEY_TEXT);
        }
        bad = options;
        bad.allowed = list;
        assert_int_equal(zmq_transport_create(&bad, &t, &error), SHOAL_INVALID);
        assert_non_null(strstr(error.text, words[i]));
    }
    bad = options;
    bad.listen = "tcp://256.1.1.1:0";
    assert_int_equal(zmq_transport_create(&bad, &t, &error), SHOAL_IO);
    assert_null(t);
    bad = options;
    bad.base.session = true;
    bad.listen = "tcp://127.0.0.1:0";
    assert_int_equal(zmq_transport_create(&bad, &t, &error), SHOAL_INVALID);
    assert_non_null(strstr(error.text, "session"));
    options.listen = "tcp://127.0.0.1:0";
    assert_int_equal(zmq_transport_create(&options, &t, &error), SHOAL_OK);
    assert_non_null(strstr(t->ops->address(t), "tcp://127.0.0.1:"));
    bad = options;
    bad.listen = t->ops->address(t);
    assert_int_equal(zmq_transport_create(&bad, &second, &error), SHOAL_IO); /* in use */
    assert_non_null(strstr(error.text, bad.listen));
    assert_int_equal(zmq_transport_allow(t, list, 3, &error), SHOAL_INVALID);
    t->ops->destroy(t);
    options.listen = NULL;
    assert_int_equal(zmq_transport_create(&options, &t, &error), SHOAL_OK);
    assert_null(t->ops->address(t)); /* dials only */
    t->ops->destroy(t);
    fixture_tcp.teardown(shared);
}

static void test_connect_invalid(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t = cluster_add(&cluster, 0, NULL);
    const struct shared *shared = cluster.shared;
    const char *key = shared->keys[1].public_key, *address = "tcp://127.0.0.1:9";
    struct zmq_keypair other;
    assert_int_equal(zmq_keypair_make(&other, NULL), SHOAL_OK);
    const struct {
        const char *name, *address, *key;
    } cases[] = {
        {"device-1", address, "no key"},
        {"device-1", "udp://127.0.0.1:9", key},
        {"device-1", "tcp://127.0.0.1", key},
        {"device-1", "tcp://:9", key},
        {"device-1", "tcp://host:", key},
        {"device-1", "tcp://host:0", key},
        {"device-1", "tcp://host:65536", key},
        {"device-1", "tcp://host:1234567", key},
        {"device-1", "tcp://host:12a", key},
        {"device-1", "tcp://::1:9", key}, /* IPv6 in brackets */
        {"device-1", "tcp://[]:9", key},
        {"a#b", address, key},
        {"device-1", NULL, key},
        {"device-0", address, key},
        {"", address, key},
        {"device-1", address, shared->keys[0].public_key}, /* our own */
        {"device-2", address, key},                        /* belongs to device-1 */
        {"device-1", address, other.public_key},           /* device-1 has another */
        {"newcomer", address, NULL},                       /* not on the list, so no key */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shoal_error error = {.text = ""};
        assert_int_equal(t->ops->connect(t, cases[i].name, cases[i].address, cases[i].key, &error),
                         SHOAL_INVALID);
        assert_true(error.text[0] != '\0');
    }
    expect_nothing(t, WANT_ALL, 0);
    (void)cluster_add(&cluster, 1, NULL); /* the list knows its key */
    assert_int_equal(t->ops->connect(t, "device-1", shared->address[1], NULL, NULL), SHOAL_OK);
    (void)expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
    cluster_close(&cluster);
}

/* ---- the allow-list at run time ---- */

static void test_allow_list_replaced(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    const struct shared *shared = cluster.shared;
    for (int i = 0; i < 4; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    struct transport *t = cluster.devices[0];
    cluster_join(&cluster, 1, 0);
    cluster_join(&cluster, 2, 0);
    cluster_join(&cluster, 0, 3);
    struct zmq_allowed list[2] = {shared->allowed[2], {.name = "newcomer"}};
    struct zmq_keypair keys;
    assert_int_equal(zmq_keypair_make(&keys, NULL), SHOAL_OK);
    memcpy(list[1].public_key, keys.public_key, ZMQ_KEY_TEXT);
    assert_int_equal(zmq_transport_allow(t, list, 2, NULL), SHOAL_OK);
    for (int i = 0; i < 2; i++) { /* device-1, who had dialled, and device-3, whom we dialled */
        const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_non_null(strstr(event.text, "allow-list"));
        assert_string_not_equal(event.peer, "device-2");
        assert_int_equal(event.reason, TRANSPORT_LOST_UNLISTED);
    }
    struct transport_event event = expect_event(cluster.devices[1], WANT_ALL, TRANSPORT_PEER_LOST);
    assert_non_null(strstr(event.text, "allow-list"));
    (void)expect_event(cluster.devices[3], WANT_ALL, TRANSPORT_PEER_LOST);
    assert_int_equal(fixture_tcp.connect(cluster.shared, cluster.devices[1], 1, 0, NULL), SHOAL_OK);
    event = expect_event(cluster.devices[1], WANT_ALL, TRANSPORT_PEER_LOST);
    assert_non_null(strstr(event.text, "allow-list"));
    send_data(cluster.devices[2], 0, 1, 1000); /* who stayed on it notices nothing */
    expect_message(t, WANT_ALL, 2, 1);
    const struct zmq_transport_options options = {
        .base = {.name = "newcomer"}, .keys = keys, .allowed = shared->allowed, .allowed_count = 1};
    struct transport *newcomer = NULL;
    assert_int_equal(zmq_transport_create(&options, &newcomer, NULL), SHOAL_OK);
    assert_int_equal(newcomer->ops->connect(newcomer, "device-0", shared->address[0], NULL, NULL),
                     SHOAL_OK);
    (void)expect_event(newcomer, WANT_ALL, TRANSPORT_PEER_UP);
    event = expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
    assert_string_equal(event.peer, "newcomer");
    newcomer->ops->destroy(newcomer);
    cluster_close(&cluster);
}

static void test_allow_list_ends_sessions_too(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    const struct shared *shared = cluster.shared;
    struct transport *t = cluster_add(&cluster, 0, NULL);
    struct transport *sessions[3]; /* two of device-1, one of device-2 */
    char kept[TRANSPORT_NAME_BYTES] = "";
    for (int i = 0; i < 3; i++) {
        const int index = i < 2 ? 1 : 2;
        const struct transport_options options = {
            .name = "command", .session = true, .lost_after_ns = PATIENCE};
        assert_int_equal(fixture_tcp.create(cluster.shared, index, &options, &sessions[i], NULL),
                         SHOAL_OK);
        assert_int_equal(fixture_tcp.connect(cluster.shared, sessions[i], index, 0, NULL),
                         SHOAL_OK);
        (void)expect_event(sessions[i], WANT_ALL, TRANSPORT_PEER_UP);
        const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
        memcpy(kept, event.peer, sizeof kept);
    }
    assert_int_equal(strncmp(kept, "device-2#", 9), 0);
    assert_string_equal(t->ops->name_of_key(t, shared->keys[1].public_key), "device-1");
    assert_int_equal(zmq_transport_allow(t, &shared->allowed[2], 1, NULL), SHOAL_OK);
    assert_null(t->ops->name_of_key(t, shared->keys[1].public_key));
    assert_string_equal(t->ops->name_of_key(t, shared->keys[2].public_key), "device-2");
    assert_null(t->ops->name_of_key(t, "no key at all"));
    for (int i = 0; i < 2; i++) {
        struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_int_equal(strncmp(event.peer, "device-1#", 9), 0);
        assert_int_equal(event.reason, TRANSPORT_LOST_UNLISTED);
        event = expect_event(sessions[i], WANT_ALL, TRANSPORT_PEER_LOST);
        assert_int_equal(event.reason, TRANSPORT_LOST_REFUSED_KEY);
        assert_non_null(strstr(event.text, "allow-list"));
    }
    send_control(sessions[2], 0, 1);
    const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_MESSAGE);
    assert_string_equal(event.peer, kept);
    t->ops->message_free(t, event.message);
    for (int i = 0; i < 3; i++) {
        sessions[i]->ops->destroy(sessions[i]);
    }
    cluster_close(&cluster);
}

/* ---- why a dial fails, and names of hosts ---- */

static struct transport_event failed_dial(struct transport *t, const char *address) {
    assert_int_equal(t->ops->connect(t, "device-1", address, NULL, NULL), SHOAL_OK);
    return expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
}

static void test_failed_dials_say_why(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t =
        cluster_add(&cluster, 0, &(struct transport_options){.lost_after_ns = 1500 * CLOCK_MS});
    /* No name server is asked for a name with an empty part. */
    struct transport_event event = failed_dial(t, "tcp://no..body:9");
    assert_int_equal(event.reason, TRANSPORT_LOST_UNRESOLVED);
    assert_non_null(strstr(event.text, "no..body"));
    /* A listener that nobody serves: the kernel accepts, and that is all. */
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t at_bytes = sizeof at;
    assert_int_equal(bind(listener, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &at_bytes), 0);
    char address[64];
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    event = failed_dial(t, address); /* bound, but not listening */
    assert_int_equal(event.reason, TRANSPORT_LOST_NO_LISTENER);
    assert_non_null(strstr(event.text, address));
    assert_int_equal(listen(listener, 8), 0);
    event = failed_dial(t, address);
    assert_int_equal(event.reason, TRANSPORT_LOST_MUTE);
    (void)close(listener);
    for (int i = 0; i <= TRANSPORT_LOST_VERSION; i++) {
        assert_string_not_equal(transport_lost_name((enum transport_lost)i), "unknown");
    }
    cluster_close(&cluster);
}

/* The kernel drops what comes to this listener, as a firewall would. */
static void test_a_dial_that_nothing_answers(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t =
        cluster_add(&cluster, 0, &(struct transport_options){.lost_after_ns = 1500 * CLOCK_MS});
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), most = 255;
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t at_bytes = sizeof at;
    assert_int_equal(bind(listener, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &at_bytes), 0);
    if (setsockopt(listener, IPPROTO_IP, IP_MINTTL, &most, sizeof most) != 0) {
        (void)close(listener);
        cluster_close(&cluster);
        skip();
    }
    assert_int_equal(listen(listener, 8), 0);
    char address[64];
    (void)snprintf(address, sizeof address, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
    const struct transport_event event = failed_dial(t, address);
    assert_int_equal(event.reason, TRANSPORT_LOST_NO_ANSWER);
    (void)close(listener);
    cluster_close(&cluster);
}

static void test_names_of_hosts(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    (void)cluster_add(&cluster, 0, NULL);
    struct transport *t = cluster_add(&cluster, 1, NULL);
    const struct shared *shared = cluster.shared;
    char address[64]; /* the name may stand for ::1 too, where nobody listens: the next is tried */
    (void)snprintf(address, sizeof address, "tcp://localhost%s", strrchr(shared->address[0], ':'));
    assert_int_equal(t->ops->connect(t, "device-0", address, NULL, NULL), SHOAL_OK);
    (void)expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
    cluster_close(&cluster);
}

static void test_ipv6(void **state) {
    (void)state;
    const int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    const bool able =
        probe >= 0 && bind(probe, (const struct sockaddr *)&loopback, sizeof loopback) == 0;
    if (probe >= 0) {
        (void)close(probe);
    }
    if (!able) {
        skip();
    }
    struct shared *shared = fixture_tcp.setup();
    (void)snprintf(shared->address[0], sizeof shared->address[0], "tcp://[::1]:0");
    struct transport *ends[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        const struct transport_options options = {.name = device_name(i),
                                                  .lost_after_ns = PATIENCE};
        assert_int_equal(fixture_tcp.create(shared, i, &options, &ends[i], NULL), SHOAL_OK);
    }
    assert_non_null(strstr(shared->address[0], "tcp://[::1]:"));
    assert_int_equal(fixture_tcp.connect(shared, ends[1], 1, 0, NULL), SHOAL_OK);
    for (int i = 0; i < 2; i++) {
        (void)expect_event(ends[i], WANT_ALL, TRANSPORT_PEER_UP);
    }
    for (int i = 0; i < 2; i++) {
        ends[i]->ops->destroy(ends[i]);
    }
    fixture_tcp.teardown(shared);
}

/* ---- heartbeats and other processes ---- */

static void test_an_idle_connection_lives(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    const struct transport_options options = {.lost_after_ns = CLOCK_SECOND,
                                              .ping_ns = 50 * CLOCK_MS};
    (void)cluster_add(&cluster, 0, &options);
    (void)cluster_add(&cluster, 1, &options);
    cluster_join(&cluster, 0, 1);
    expect_nothing(cluster.devices[0], WANT_ALL, 2500 * CLOCK_MS);
    expect_nothing(cluster.devices[1], WANT_ALL, 0);
    send_control(cluster.devices[0], 1, 1);
    expect_message(cluster.devices[1], WANT_ALL, 0, 1);
    cluster_close(&cluster);
}

/* 1.2 MB at 400 kB/s take longer than lost_after; each end hears the other all the same. */
static void test_a_slow_link_is_not_silence(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    const struct transport_options options = {.lost_after_ns = 2 * CLOCK_SECOND};
    struct transport *a = cluster_add(&cluster, 0, &options);
    struct transport *b = cluster_add(&cluster, 1, &options);
    const struct shared *shared = cluster.shared;
    struct relay relay = {.to = shared->address[1], .bytes_per_second = 400000};
    relay_start(&relay);
    assert_int_equal(a->ops->connect(a, "device-1", relay.address, NULL, NULL), SHOAL_OK);
    (void)expect_event(a, WANT_ALL, TRANSPORT_PEER_UP);
    (void)expect_event(b, WANT_ALL, TRANSPORT_PEER_UP);
    const uint64_t start = platform_now_ns();
    send_data(a, 1, 7, 1200000);
    expect_message(b, WANT_ALL, 0, 7);
    assert_true(platform_now_ns() - start > options.lost_after_ns); /* or it proves nothing */
    send_control(b, 0, 8);
    expect_message(a, WANT_ALL, 1, 8);
    cluster_destroy_device(&cluster, 0);
    cluster_close(&cluster);
    relay_stop(&relay);
}

static void test_no_memory_for_a_message_loses_its_sender_only(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    for (int i = 0; i < 3; i++) {
        (void)cluster_add(&cluster, i, NULL);
    }
    struct transport *a = cluster.devices[0], *b = cluster.devices[1], *c = cluster.devices[2];
    cluster_join(&cluster, 0, 1);
    cluster_join(&cluster, 2, 1);
    static const size_t sizes[] = {100000, 3000000}; /* one frame, and fragments */
    for (size_t i = 0; i < 2; i++) {
        struct transport_message *message = make_data(a, i, sizes[i]);
        mem_fail_after(1);
        const shoal_status status = try_send(a, 1, message);
        struct transport_event event = expect_event(b, WANT_ALL, TRANSPORT_PEER_LOST);
        mem_fail_after(0);
        assert_int_equal(status, SHOAL_OK);
        assert_non_null(strstr(event.text, "no memory"));
        event = expect_event(a, WANT_ALL, TRANSPORT_PEER_LOST);
        assert_non_null(strstr(event.text, "out of memory"));
        send_data(c, 1, i, 1000);
        expect_message(b, WANT_ALL, 2, i);
        cluster_join(&cluster, 0, 1);
    }
    cluster_close(&cluster);
}

/* The other process: device-1, which sends every data message back until it is killed. */
static int run_peer(char **argv) {
    struct zmq_transport_options options = {.base = {.name = "device-1"}, .listen = NULL};
    struct zmq_allowed server = {.name = "device-0"};
    (void)snprintf(options.keys.public_key, ZMQ_KEY_TEXT, "%s", argv[3]);
    (void)snprintf(options.keys.secret_key, ZMQ_KEY_TEXT, "%s", argv[4]);
    (void)snprintf(server.public_key, ZMQ_KEY_TEXT, "%s", argv[5]);
    options.allowed = &server;
    options.allowed_count = 1;
    struct transport *t;
    struct shoal_error error;
    if (zmq_transport_create(&options, &t, &error) != SHOAL_OK ||
        t->ops->connect(t, "device-0", argv[2], NULL, &error) != SHOAL_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    for (;;) {
        struct transport_event event;
        if (t->ops->next(t, WANT_ALL, CLOCK_NEVER, &event, NULL) != SHOAL_OK ||
            event.kind == TRANSPORT_PEER_LOST) {
            break;
        }
        if (event.kind == TRANSPORT_MESSAGE &&
            t->ops->send(t, "device-0", event.message, NULL) != SHOAL_OK) {
            t->ops->message_free(t, event.message);
        }
    }
    t->ops->destroy(t);
    return 0;
}

static struct process start_peer(const struct cluster *cluster) {
    const struct shared *shared = cluster->shared;
    char self[1024];
    assert_int_equal(process_self_path(self, sizeof self, NULL), SHOAL_OK);
    const char *const argv[] = {self,
                                "peer",
                                shared->address[0],
                                shared->keys[1].public_key,
                                shared->keys[1].secret_key,
                                shared->keys[0].public_key,
                                NULL};
    struct process process;
    assert_int_equal(process_start(argv, NULL, &process, NULL), SHOAL_OK);
    return process;
}

static void test_a_killed_process_is_lost_at_once(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *t =
        cluster_add(&cluster, 0, NULL); /* lost_after is 30 s: not the reason here */
    for (int round = 0; round < 2; round++) {
        struct process process = start_peer(&cluster);
        (void)expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
        for (uint64_t i = 0; i < 10; i++) {
            send_data(t, 1, i, 700000);
            expect_message(t, WANT_ALL, 1, i);
        }
        send_data(t, 1, 10, 7000000);
        assert_int_equal(kill(process.pid, SIGKILL), 0);
        const uint64_t start = platform_now_ns();
        struct transport_event event;
        do { /* an echo may have made it */
            event.kind = TRANSPORT_INTERRUPT;
            assert_int_equal(t->ops->next(t, WANT_ALL, start + PATIENCE, &event, NULL), SHOAL_OK);
            if (event.kind == TRANSPORT_MESSAGE) {
                t->ops->message_free(t, event.message);
            }
        } while (event.kind != TRANSPORT_PEER_LOST);
        assert_string_equal(event.text, "closed");
        assert_string_equal(event.peer, "device-1");
        process_stop(&process, 0);
    }
    cluster_close(&cluster);
}

static void test_a_stopped_process_is_lost_within_the_deadline(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    const uint64_t lost_after_ns = 1500 * CLOCK_MS;
    struct transport *t =
        cluster_add(&cluster, 0, &(struct transport_options){.lost_after_ns = lost_after_ns});
    struct process process = start_peer(&cluster);
    (void)expect_event(t, WANT_ALL, TRANSPORT_PEER_UP);
    send_data(t, 1, 1, 100);
    expect_message(t, WANT_ALL, 1, 1);
    assert_int_equal(kill(process.pid, SIGSTOP), 0);
    const uint64_t start = platform_now_ns();
    send_data(t, 1, 2, 100000);
    const struct transport_event event = expect_event(t, WANT_ALL, TRANSPORT_PEER_LOST);
    assert_string_equal(event.text, "silent for 1.5 s");
    assert_int_equal(event.reason, TRANSPORT_LOST_SILENT);
    assert_true(platform_now_ns() - start < lost_after_ns + 10 * CLOCK_SECOND);
    assert_int_equal(kill(process.pid, SIGCONT), 0);
    process_stop(&process, 5 * CLOCK_SECOND);
    cluster_close(&cluster);
}

static void test_io_cpu_is_all_of_the_transports_cpu(void **state) {
    (void)state;
    struct cluster cluster;
    cluster_open(&cluster, &fixture_tcp);
    struct transport *a = cluster_add(&cluster, 0, NULL), *b = cluster_add(&cluster, 1, NULL);
    cluster_join(&cluster, 0, 1);
    struct transport_stats before[2], after[2];
    a->ops->stats(a, &before[0]);
    b->ops->stats(b, &before[1]);
    const double others = platform_process_cpu_s() - platform_thread_cpu_s();
    for (uint64_t i = 0; i < 20; i++) {
        send_patiently(a, 1, make_data(a, i, 4000000));
        expect_message(b, WANT_ALL, 0, i);
    }
    const double spent = platform_process_cpu_s() - platform_thread_cpu_s() - others;
    a->ops->stats(a, &after[0]);
    b->ops->stats(b, &after[1]);
    const double told =
        after[0].io_cpu_s - before[0].io_cpu_s + after[1].io_cpu_s - before[1].io_cpu_s;
    assert_true(told > 0.8 * spent - 0.01 && told < 1.2 * spent + 0.01);
    cluster_close(&cluster);
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "peer") == 0) {
        return run_peer(argv);
    }
    log_set_level(LOG_ERROR);
    struct CMUnitTest tests[64];
    size_t count = conformance_tests(&fixture_tcp, tests, 64);
    int failures = _cmocka_run_group_tests("zmq tcp", tests, count, NULL, NULL);
    count = conformance_tests(&fixture_ipc, tests, 64);
    failures += _cmocka_run_group_tests("zmq ipc", tests, count, NULL, NULL);
    const struct CMUnitTest own[] = {
        cmocka_unit_test(test_create_errors_of_its_own),
        cmocka_unit_test(test_connect_invalid),
        cmocka_unit_test(test_allow_list_replaced),
        cmocka_unit_test(test_allow_list_ends_sessions_too),
        cmocka_unit_test(test_failed_dials_say_why),
        cmocka_unit_test(test_a_dial_that_nothing_answers),
        cmocka_unit_test(test_names_of_hosts),
        cmocka_unit_test(test_ipv6),
        cmocka_unit_test(test_an_idle_connection_lives),
        cmocka_unit_test(test_a_slow_link_is_not_silence),
        cmocka_unit_test(test_no_memory_for_a_message_loses_its_sender_only),
        cmocka_unit_test(test_a_killed_process_is_lost_at_once),
        cmocka_unit_test(test_a_stopped_process_is_lost_within_the_deadline),
        cmocka_unit_test(test_io_cpu_is_all_of_the_transports_cpu),
    };
    failures += cmocka_run_group_tests(own, NULL, NULL);
    return failures;
}
