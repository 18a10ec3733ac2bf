/* Distributions over real transports: nodes with caches of their own, in threads, and peers that
 * only pretend to have what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "runtime/control.h"
#include "runtime/distribution.h"
#include "runtime/node.h"
#include "runtime/serve.h"
#include "store/contents.h"
#include "transport/inproc/inproc.h"
#include "transport/zmq/zmq_transport.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_DEVICES = 6, CONTENTS = 9 };

static const size_t sizes[CONTENTS] = {0,     1,       5000,   300 << 10, (3 << 20) + 7,
                                       40000, 2 << 20, 262144, 700001};

/* What a device that lies does with a `read`. */
enum lie { HONEST, REFUSES, WRONG_OFFSET, TOO_MUCH, GARBAGE, NO_CHUNK, LEAVES };

struct device {
    char name[TRANSPORT_NAME_BYTES];
    struct transport *transport;
    struct contents *contents;
    struct node *node;
    pthread_t thread;
    bool runs;
    enum lie lie;
    atomic_bool stop;
    atomic_uint reads; /* that a liar was asked */
};

struct fleet {
    bool zmq;
    char directory[256];
    struct inproc_hub *hub;
    uint32_t count;
    struct device devices[MAX_DEVICES];
    struct cluster_device peers[MAX_DEVICES];
    struct cluster cluster;
    struct zmq_keypair keys[MAX_DEVICES + 1];
    struct zmq_allowed allowed[MAX_DEVICES + 1];
    unsigned char *bytes[CONTENTS];
    struct distribution_content contents[CONTENTS];
    bool needs[MAX_DEVICES * CONTENTS];
    atomic_int damaged;       /* this content is read with a wrong byte; -1 = none */
    struct device *stops;     /* it goes when something is read for the first time */
    uint64_t last_done_bytes; /* of on_progress */
};

static void *run_node(void *argument) {
    struct device *device = argument;
    struct shoal_error error;
    const shoal_status status = node_run(device->node, &error);
    return status == SHOAL_OK ? NULL : argument;
}

/* ---- devices that lie ---- */

static void send_chunk(struct transport *t, const char *peer, int64_t transfer, int64_t offset,
                       uint64_t step, enum dtype dtype, size_t size) {
    static unsigned char garbage[2 << 20];
    const struct tensor tensor = {.dtype = dtype, .shape = SHAPE((int64_t)size), .data = garbage};
    const struct wire_header header = {.kind = WIRE_CHUNK,
                                       .job = (uint64_t)transfer,
                                       .microbatch = (uint64_t)offset,
                                       .step = step,
                                       .items = SHOAL_IO,
                                       .tensor_count = 1};
    size_t bytes, used;
    struct transport_message *message;
    assert_int_equal(wire_size(&tensor, 1, 0, &bytes, NULL), SHOAL_OK);
    assert_int_equal(t->ops->message_new(t, bytes, &message, NULL), SHOAL_OK);
    assert_int_equal(
        wire_encode(&header, &tensor, NULL, message->data, message->capacity, NULL, &used, NULL),
        SHOAL_OK);
    message->size = used;
    shoal_status status;
    while ((status = t->ops->send(t, peer, message, NULL)) == SHOAL_BUSY) {
        platform_sleep_ns(CLOCK_MS); /* the receiver gives credit back by and by */
    }
    if (status != SHOAL_OK) {
        t->ops->message_free(t, message);
    }
}

static void answer_read(struct device *liar, const char *peer, const json_t *request) {
    const int64_t transfer = json_integer_value(json_object_get(request, "transfer"));
    const int64_t offset = json_integer_value(json_object_get(request, "offset"));
    const int64_t length = json_integer_value(json_object_get(request, "length"));
    struct transport *t = liar->transport;
    atomic_fetch_add(&liar->reads, 1);
    switch (liar->lie) {
    case REFUSES:
        send_chunk(t, peer, transfer, offset, SERVE_REFUSED, DTYPE_U8, 4);
        break;
    case WRONG_OFFSET:
        send_chunk(t, peer, transfer, offset + 1, 0, DTYPE_U8, 1);
        break;
    case TOO_MUCH:
        send_chunk(t, peer, transfer, offset, 0, DTYPE_U8, (size_t)length + 1);
        break;
    case GARBAGE:
        send_chunk(t, peer, transfer, offset, 0, DTYPE_U8, (size_t)length);
        break;
    case NO_CHUNK:
        send_chunk(t, peer, transfer, offset, 0, DTYPE_F32, 1);
        break;
    case LEAVES:
        atomic_store(&liar->stop, true);
        break;
    case HONEST:
        break;
    }
}

/* Says that it has everything. */
static void *run_liar(void *argument) {
    struct device *liar = argument;
    struct transport *t = liar->transport;
    while (!atomic_load(&liar->stop)) {
        struct transport_event event;
        struct wire_message message;
        json_t *request;
        if (t->ops->next(t, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
                         platform_now_ns() + 20 * CLOCK_MS, &event, NULL) != SHOAL_OK ||
            event.kind != TRANSPORT_MESSAGE) {
            continue;
        }
        if (wire_decode(event.message->data, event.message->size, &message, NULL) == SHOAL_OK &&
            message.header.kind == WIRE_REQUEST &&
            control_parse(&message, &request, NULL) == SHOAL_OK) {
            const char *call = json_string_value(json_object_get(request, "call"));
            if (strcmp(call, "have") == 0) {
                const json_int_t id = json_integer_value(json_object_get(request, "id"));
                assert_int_equal(
                    control_send(t, event.peer, WIRE_REPLY,
                                 json_pack("{s:I, s:b, s:[]}", "id", id, "ok", 1, "missing"), NULL),
                    SHOAL_OK);
            } else if (strcmp(call, "read") == 0) {
                answer_read(liar, event.peer, request);
            }
            json_decref(request);
        }
        t->ops->message_free(t, event.message);
    }
    t->ops->destroy(t);
    liar->transport = NULL;
    return NULL;
}

/* ---- the fleet ---- */

static void make_keys(struct fleet *fleet) {
    for (uint32_t i = 0; i <= fleet->count; i++) {
        assert_int_equal(zmq_keypair_make(&fleet->keys[i], NULL), SHOAL_OK);
        memcpy(fleet->allowed[i].public_key, fleet->keys[i].public_key, ZMQ_KEY_TEXT);
        (void)snprintf(fleet->allowed[i].name, TRANSPORT_NAME_BYTES, "%s",
                       i < fleet->count ? fleet->devices[i].name : CLUSTER_OWNER);
    }
}

static struct transport *make_endpoint(struct fleet *fleet, uint32_t i, const char *name) {
    struct transport *transport;
    if (!fleet->zmq) {
        const struct transport_options options = {.name = name, .lost_after_ns = 2 * CLOCK_SECOND};
        assert_int_equal(inproc_create(fleet->hub, &options, &transport, NULL), SHOAL_OK);
        return transport;
    }
    const struct zmq_transport_options options = {
        .base = {.name = name, .lost_after_ns = 60 * CLOCK_SECOND, .session = i == fleet->count},
        .keys = fleet->keys[i],
        .listen = i < fleet->count ? "tcp://127.0.0.1:0" : NULL,
        .allowed = fleet->allowed,
        .allowed_count = fleet->count + 1};
    struct shoal_error error;
    if (zmq_transport_create(&options, &transport, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return transport;
}

static void start_device(struct fleet *fleet, uint32_t i, bool cache, uint64_t quota) {
    struct device *device = &fleet->devices[i];
    device->transport = make_endpoint(fleet, i, device->name);
    struct cluster_device *peer = &fleet->peers[i];
    memcpy(peer->name, device->name, sizeof peer->name);
    (void)snprintf(peer->address, sizeof peer->address, "%s",
                   fleet->zmq ? device->transport->ops->address(device->transport) : "inproc");
    (void)snprintf(peer->key, sizeof peer->key, "%s", fleet->zmq ? fleet->keys[i].public_key : "-");
    if (device->lie != HONEST) {
        assert_int_equal(pthread_create(&device->thread, NULL, run_liar, device), 0);
        device->runs = true;
        return;
    }
    char directory[300];
    (void)snprintf(directory, sizeof directory, "%s/%u", fleet->directory, i);
    const struct contents_options options = {
        .directory = directory, .quota_bytes = quota, .lock = true};
    if (cache) {
        assert_int_equal(contents_open(&options, &device->contents, NULL), SHOAL_OK);
    }
    const struct node_options node = {.name = device->name,
                                      .transport = device->transport,
                                      .threads = 1,
                                      .contents = device->contents,
                                      .shared_process = true};
    assert_int_equal(node_create(&node, &device->node, NULL), SHOAL_OK);
    assert_int_equal(pthread_create(&device->thread, NULL, run_node, device), 0);
    device->runs = true;
}

static void connect_owner(struct fleet *fleet) {
    struct transport *owner = make_endpoint(fleet, fleet->count, CLUSTER_OWNER);
    fleet->cluster =
        (struct cluster){.transport = owner, .count = fleet->count, .devices = fleet->peers};
    for (uint32_t i = 0; i < fleet->count; i++) {
        assert_int_equal(owner->ops->connect(owner, fleet->peers[i].name, fleet->peers[i].address,
                                             fleet->peers[i].key, NULL),
                         SHOAL_OK);
    }
    for (uint32_t up = 0; up < fleet->count;) {
        struct transport_event event;
        assert_int_equal(owner->ops->next(owner, TRANSPORT_WANT_CONTROL,
                                          platform_now_ns() + 60 * CLOCK_SECOND, &event, NULL),
                         SHOAL_OK);
        assert_int_equal(event.kind, TRANSPORT_PEER_UP);
        up++;
    }
}

static struct fleet *new_fleet(uint32_t count, bool zmq) {
    struct fleet *fleet = calloc(1, sizeof *fleet);
    assert_non_null(fleet);
    fleet->zmq = zmq;
    fleet->count = count;
    atomic_init(&fleet->damaged, -1);
    assert_int_equal(file_make_temporary(fleet->directory, sizeof fleet->directory, NULL),
                     SHOAL_OK);
    for (uint32_t c = 0; c < CONTENTS; c++) {
        fleet->bytes[c] = malloc(sizes[c] + 1);
        assert_non_null(fleet->bytes[c]);
        for (size_t i = 0; i < sizes[c]; i++) {
            fleet->bytes[c][i] = (unsigned char)random_u32(c, i);
        }
        struct digest digest;
        digest_init(&digest);
        digest_update(&digest, fleet->bytes[c], sizes[c]);
        digest_final(&digest, fleet->contents[c].key);
        fleet->contents[c].name = "tensor";
        fleet->contents[c].bytes = sizes[c];
    }
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(fleet->devices[i].name, TRANSPORT_NAME_BYTES, "dev-%u", i);
    }
    if (zmq) {
        make_keys(fleet);
    } else {
        assert_int_equal(inproc_hub_create(&fleet->hub, NULL), SHOAL_OK);
    }
    return fleet;
}

static void start_all(struct fleet *fleet) {
    for (uint32_t i = 0; i < fleet->count; i++) {
        start_device(fleet, i, true, 0);
    }
    connect_owner(fleet);
}

static void stop_device(struct device *device) {
    if (!device->runs) {
        return;
    }
    atomic_store(&device->stop, true);
    if (device->node != NULL) {
        node_stop(device->node);
    }
    void *broken;
    assert_int_equal(pthread_join(device->thread, &broken), 0);
    assert_null(broken);
    device->runs = false;
    node_destroy(device->node);
    device->node = NULL;
    if (device->transport != NULL) {
        device->transport->ops->destroy(device->transport);
        device->transport = NULL;
    }
}

static void free_fleet(struct fleet *fleet) {
    struct transport *owner = fleet->cluster.transport;
    owner->ops->destroy(owner);
    for (uint32_t i = 0; i < fleet->count; i++) {
        stop_device(&fleet->devices[i]);
        contents_close(fleet->devices[i].contents);
        json_decref(fleet->peers[i].reply);
        json_decref(fleet->peers[i].request);
    }
    inproc_hub_destroy(fleet->hub);
    file_remove_tree(fleet->directory);
    for (uint32_t c = 0; c < CONTENTS; c++) {
        free(fleet->bytes[c]);
    }
    free(fleet);
}

static shoal_status read_origin(void *context, const char *key, uint64_t offset, void *out,
                                size_t size, size_t *got, struct shoal_error *error) {
    struct fleet *fleet = context;
    if (fleet->stops != NULL) {
        stop_device(fleet->stops);
        fleet->stops = NULL;
    }
    for (int c = 0; c < CONTENTS; c++) {
        if (strcmp(fleet->contents[c].key, key) == 0 && offset <= sizes[c]) {
            *got = sizes[c] - offset < size ? sizes[c] - (size_t)offset : size;
            memcpy(out, fleet->bytes[c] + offset, *got);
            if (c == atomic_load(&fleet->damaged)) {
                *(unsigned char *)out ^= 1;
            }
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_NOT_FOUND, "%s is not here", key);
}

static void on_progress(void *context, const struct distribution_progress *progress) {
    struct fleet *fleet = context;
    assert_true(progress->done_bytes <= progress->total_bytes);
    fleet->last_done_bytes = progress->done_bytes;
}

static shoal_status distribute(struct fleet *fleet, struct distribution_outcome *outcome,
                               struct shoal_error *error) {
    const struct distribution_options options = {.cluster = &fleet->cluster,
                                                 .contents = fleet->contents,
                                                 .content_count = CONTENTS,
                                                 .needs = fleet->needs,
                                                 .read = read_origin,
                                                 .read_context = fleet,
                                                 .on_progress = on_progress,
                                                 .context = fleet,
                                                 .stall_ns = 300 * CLOCK_SECOND};
    return distribution_run(&options, outcome, error);
}

static struct distribution_outcome must_distribute(struct fleet *fleet) {
    struct distribution_outcome outcome;
    struct shoal_error error = {.text = ""};
    if (distribute(fleet, &outcome, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return outcome;
}

static uint64_t all_bytes(void) {
    uint64_t sum = 0;
    for (int c = 0; c < CONTENTS; c++) {
        sum += sizes[c];
    }
    return sum;
}

static void need_all(struct fleet *fleet, uint32_t device) {
    for (uint32_t c = 0; c < CONTENTS; c++) {
        fleet->needs[device * CONTENTS + c] = true;
    }
}

static void assert_has_all(const struct fleet *fleet, uint32_t device) {
    for (uint32_t c = 0; c < CONTENTS; c++) {
        struct contents *contents = fleet->devices[device].contents;
        assert_true(contents_has(contents, fleet->contents[c].key, NULL));
        assert_int_equal(contents_verify(contents, fleet->contents[c].key, NULL), SHOAL_OK);
    }
}

/* ---- tests ---- */

static void distribute_to_all(bool zmq, uint32_t count) {
    struct fleet *fleet = new_fleet(count, zmq);
    start_all(fleet);
    for (uint32_t d = 0; d < count; d++) {
        need_all(fleet, d);
    }
    struct distribution_outcome outcome = must_distribute(fleet);
    assert_int_equal(outcome.sent_bytes, all_bytes()); /* each byte leaves the origin once */
    assert_int_equal(outcome.received_bytes, count * all_bytes());
    assert_int_equal(outcome.had_bytes, 0);
    assert_int_equal(fleet->last_done_bytes, count * all_bytes());
    for (uint32_t d = 0; d < count; d++) {
        assert_int_equal(outcome.devices[d].received_bytes, all_bytes());
        assert_has_all(fleet, d);
    }
    distribution_outcome_fini(&outcome);
    outcome = must_distribute(fleet); /* and nothing a second time */
    assert_int_equal(outcome.sent_bytes, 0);
    assert_int_equal(outcome.received_bytes, 0);
    assert_int_equal(outcome.had_bytes, count * all_bytes());
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void everything_to_all_over_inproc(void **unused) {
    (void)unused;
    distribute_to_all(false, 5);
}

static void everything_to_all_over_zmq(void **unused) {
    (void)unused;
#ifdef __SANITIZE_THREAD__
    skip(); /* libzmq raises false alarms */
#endif
    distribute_to_all(true, 4);
}

static void only_what_moved_travels(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_all(fleet);
    for (uint32_t c = 0; c < CONTENTS; c++) {
        fleet->needs[c < 6 ? c : CONTENTS + c] = true;
    }
    struct distribution_outcome outcome = must_distribute(fleet);
    assert_int_equal(outcome.sent_bytes, all_bytes());
    distribution_outcome_fini(&outcome);
    fleet->needs[4] = false; /* the cut moves by two contents */
    fleet->needs[5] = false;
    fleet->needs[CONTENTS + 4] = true;
    fleet->needs[CONTENTS + 5] = true;
    outcome = must_distribute(fleet);
    assert_int_equal(outcome.sent_bytes, 0); /* the other device has them */
    assert_int_equal(outcome.received_bytes, sizes[4] + sizes[5]);
    assert_int_equal(outcome.devices[1].had_bytes, sizes[6] + sizes[7] + sizes[8]);
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void a_broken_transfer_is_gone_on_with(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(1, false);
    start_all(fleet);
    struct contents_writer *writer;
    uint64_t have;
    assert_int_equal(contents_write_begin(fleet->devices[0].contents, fleet->contents[4].key,
                                          sizes[4], &writer, &have, NULL),
                     SHOAL_OK);
    assert_int_equal(contents_write(writer, fleet->bytes[4], 1000000, NULL), SHOAL_OK);
    contents_write_abandon(writer);
    need_all(fleet, 0);
    struct distribution_outcome outcome = must_distribute(fleet);
    assert_int_equal(outcome.received_bytes, all_bytes() - 1000000);
    assert_int_equal(outcome.sent_bytes, all_bytes() - 1000000);
    assert_has_all(fleet, 0);
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void expect_failure(struct fleet *fleet, shoal_status status, const char *device,
                           const char *part) {
    struct distribution_outcome outcome;
    struct shoal_error error = {.text = ""};
    assert_int_equal(distribute(fleet, &outcome, &error), status);
    if (strstr(error.text, device) == NULL || strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say '%s' and '%s'", error.text, device, part);
    }
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void a_damaged_origin_is_corrupt(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_all(fleet);
    fleet->contents[4].name = "encoder.weight";
    atomic_store(&fleet->damaged, 4);
    need_all(fleet, 1);
    expect_failure(fleet, SHOAL_CORRUPT, "dev-1", "encoder.weight");
}

static void a_full_cache_is_told_with_figures(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_device(fleet, 0, true, 0);
    start_device(fleet, 1, true, 2000000);
    connect_owner(fleet);
    need_all(fleet, 0);
    need_all(fleet, 1);
    expect_failure(fleet, SHOAL_NO_SPACE, "dev-1", "2.000 MB");
}

static void a_device_without_cache_is_named(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_device(fleet, 0, true, 0);
    start_device(fleet, 1, false, 0);
    connect_owner(fleet);
    need_all(fleet, 1);
    expect_failure(fleet, SHOAL_UNSUPPORTED, "dev-1", "without a cache");
}

static void a_device_that_needs_nothing_needs_no_cache(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_device(fleet, 0, true, 0);
    start_device(fleet, 1, false, 0);
    connect_owner(fleet);
    need_all(fleet, 0);
    struct distribution_outcome outcome = must_distribute(fleet);
    assert_int_equal(outcome.sent_bytes, all_bytes());
    assert_has_all(fleet, 0);
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void a_lost_device_fails_what_it_needs(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(2, false);
    start_all(fleet);
    need_all(fleet, 0);
    need_all(fleet, 1);
    fleet->stops = &fleet->devices[1];
    expect_failure(fleet, SHOAL_PEER_LOST, "dev-1", "left");
}

/* Whatever a source that lies does, the fetcher gets the right bytes from elsewhere. */
static void meet_liar(enum lie lie) {
    struct fleet *fleet = new_fleet(3, false);
    fleet->devices[2].lie = lie;
    start_all(fleet);
    need_all(fleet, 0);
    need_all(fleet, 1);
    struct distribution_outcome outcome = must_distribute(fleet);
    assert_true(atomic_load(&fleet->devices[2].reads) > 0);
    assert_true(outcome.sent_bytes > 0);
    assert_has_all(fleet, 0);
    assert_has_all(fleet, 1);
    distribution_outcome_fini(&outcome);
    free_fleet(fleet);
}

static void sources_that_lie_are_left(void **unused) {
    (void)unused;
    meet_liar(REFUSES);
    meet_liar(WRONG_OFFSET);
    meet_liar(TOO_MUCH);
    meet_liar(GARBAGE);
    meet_liar(NO_CHUNK);
}

static void a_source_that_leaves_is_replaced(void **unused) {
    (void)unused;
    meet_liar(LEAVES);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_to_all_over_inproc),
        cmocka_unit_test(everything_to_all_over_zmq),
        cmocka_unit_test(only_what_moved_travels),
        cmocka_unit_test(a_broken_transfer_is_gone_on_with),
        cmocka_unit_test(a_damaged_origin_is_corrupt),
        cmocka_unit_test(a_full_cache_is_told_with_figures),
        cmocka_unit_test(a_device_without_cache_is_named),
        cmocka_unit_test(a_device_that_needs_nothing_needs_no_cache),
        cmocka_unit_test(a_lost_device_fails_what_it_needs),
        cmocka_unit_test(sources_that_lie_are_left),
        cmocka_unit_test(a_source_that_leaves_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
