/* A node over the in-process transport: what it answers, what it refuses, what it drops.
 * ThreadSanitizer runs this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "models/model.h"
#include "platform/clock.h"
#include "runtime/control.h"
#include "runtime/node.h"
#include "transport/inproc/inproc.h"

#include <pthread.h>

struct fixture {
    struct inproc_hub *hub;
    struct transport *device, *owner, *other;
    struct node *node;
    pthread_t thread;
    char *model;
};

static void *run_node(void *argument) {
    struct shoal_error error;
    const shoal_status status = node_run(argument, &error);
    return status == SHOAL_OK ? NULL : argument;
}

static struct transport *make_peer(struct inproc_hub *hub, const char *name) {
    struct transport *transport;
    const struct transport_options options = {.name = name};
    assert_int_equal(inproc_create(hub, &options, &transport, NULL), SHOAL_OK);
    return transport;
}

static void next_event(struct transport *t, struct transport_event *event) {
    assert_int_equal(t->ops->next(t, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
                                  platform_now_ns() + 60 * CLOCK_SECOND, event, NULL),
                     SHOAL_OK);
}

static void dial(struct transport *t) {
    struct transport_event event;
    assert_int_equal(t->ops->connect(t, "device", "", "", NULL), SHOAL_OK);
    do {
        next_event(t, &event);
    } while (event.kind != TRANSPORT_PEER_UP);
}

static int setup_limited(void **state, size_t memory_limit) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(inproc_hub_create(&f->hub, NULL), SHOAL_OK);
    f->device = make_peer(f->hub, "device");
    f->owner = make_peer(f->hub, "owner");
    f->other = make_peer(f->hub, "other");
    const struct node_options options = {.name = "device",
                                         .transport = f->device,
                                         .threads = 1,
                                         .memory_limit = memory_limit,
                                         .shared_process = true};
    assert_int_equal(node_create(&options, &f->node, NULL), SHOAL_OK);
    assert_int_equal(pthread_create(&f->thread, NULL, run_node, f->node), 0);
    dial(f->owner);
    dial(f->other);
    struct model_config config;
    assert_int_equal(model_builtin("vit-test", &config, NULL), SHOAL_OK);
    assert_int_equal(model_config_to_json(&config, &f->model, NULL), SHOAL_OK);
    *state = f;
    return 0;
}

static int setup(void **state) {
    return setup_limited(state, 0);
}

static int setup_small(void **state) {
    return setup_limited(state, 1000);
}

static int teardown(void **state) {
    struct fixture *f = *state;
    void *failed;
    node_stop(f->node);
    assert_int_equal(pthread_join(f->thread, &failed), 0);
    assert_null(failed);
    f->owner->ops->destroy(f->owner);
    f->other->ops->destroy(f->other);
    node_destroy(f->node);
    f->device->ops->destroy(f->device);
    inproc_hub_destroy(f->hub);
    mem_free(f->model);
    free(f);
    return 0;
}

/* The next reply to `from`; other messages are freed. */
static json_t *reply_to(struct transport *from) {
    for (;;) {
        struct transport_event event;
        struct wire_message message;
        next_event(from, &event);
        if (event.kind != TRANSPORT_MESSAGE) {
            continue;
        }
        json_t *document = NULL;
        if (wire_decode(event.message->data, event.message->size, &message, NULL) == SHOAL_OK &&
            message.header.kind == WIRE_REPLY) {
            assert_int_equal(control_parse(&message, &document, NULL), SHOAL_OK);
        }
        from->ops->message_free(from, event.message);
        if (document != NULL) {
            return document;
        }
    }
}

static json_t *ask(struct transport *from, json_t *request) {
    assert_int_equal(control_send(from, "device", WIRE_REQUEST, request, NULL), SHOAL_OK);
    return reply_to(from);
}

static void assert_refused(json_t *reply, const char *status, const char *word) {
    if (!json_is_false(json_object_get(reply, "ok")) ||
        strcmp(json_string_value(json_object_get(reply, "status")), status) != 0 ||
        strstr(json_string_value(json_object_get(reply, "text")), word) == NULL) {
        fail_msg("wanted %s with '%s', got %s", status, word, json_dumps(reply, 0));
    }
    json_decref(reply);
}

static void assert_ok(json_t *reply) {
    if (!json_is_true(json_object_get(reply, "ok"))) {
        fail_msg("refused: %s", json_dumps(reply, 0));
    }
    json_decref(reply);
}

static json_t *prepare_request(const struct fixture *f) {
    return json_pack(
        "{s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:s, s:{s:i}, s:{s:s, s:{}}}",
        "id", 5, "call", "prepare", "job", 77, "generation", 1, "stage", 0, "stages", 1, "first", 1,
        "last", 12, "batch", 2, "previous", "owner", "next", "owner", "model", f->model, "weights",
        "seed", 1, "choice", "default", "reference", "ops");
}

static void unknown_and_malformed_requests_are_refused(void **state) {
    struct fixture *f = *state;
    assert_refused(ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "fly")), "UNSUPPORTED",
                   "fly");
    assert_refused(ask(f->owner, json_pack("{s:i}", "id", 1)), "PROTOCOL", "'call'");
    assert_refused(ask(f->owner, json_pack("{s:s, s:s}", "id", "one", "call", "info")), "PROTOCOL",
                   "'id'");
    assert_refused(ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "report")), "NOT_FOUND",
                   "no job");
    assert_refused(ask(f->owner, json_pack("{s:i, s:s, s:s, s:i}", "id", 1, "call", "choose",
                                           "model", "{", "batch", 1)),
                   "CORRUPT", "");
    json_t *request = prepare_request(f);
    assert_int_equal(json_object_set_new(request, "first", json_integer(13)), 0);
    assert_int_equal(json_object_set_new(request, "last", json_integer(14)), 0);
    assert_refused(ask(f->owner, request), "INVALID", "");
    request = prepare_request(f);
    assert_int_equal(json_object_set_new(request, "batch", json_integer(INT32_MAX)), 0);
    assert_refused(ask(f->owner, request), "PROTOCOL", "'batch'");
    assert_ok(
        ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "info"))); /* and it lives on */
}

static void a_job_belongs_to_its_owner(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    assert_refused(ask(f->other, json_pack("{s:i, s:s}", "id", 1, "call", "stop")), "DENIED",
                   "owner");
    assert_refused(ask(f->other, prepare_request(f)), "BUSY", "job");
    assert_ok(ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "progress")));
    assert_ok(ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "stop")));
    assert_ok(ask(f->owner, prepare_request(f)));
}

static void a_stage_beyond_the_memory_limit_is_refused_with_the_figures(void **state) {
    struct fixture *f = *state;
    assert_refused(ask(f->owner, prepare_request(f)), "NO_MEMORY", "MB");
}

static void a_job_is_dropped_when_its_owner_leaves(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    f->owner->ops->destroy(f->owner);
    json_t *reply;
    for (int i = 0; i < 1000;
         i++) { /* the other's prepare is accepted as soon as the owner's departure is known */
        reply = ask(f->other, json_pack("{s:i, s:s}", "id", 1, "call", "progress"));
        const bool gone =
            strcmp(json_string_value(json_object_get(reply, "status")), "NOT_FOUND") == 0;
        json_decref(reply);
        if (gone) {
            f->owner = make_peer(f->hub, "owner");
            return;
        }
        platform_sleep_ns(CLOCK_MS);
    }
    fail_msg("the job is still there");
}

static void send_item(struct transport *from, uint64_t job, uint32_t generation,
                      uint64_t microbatch, uint32_t items, int64_t size) {
    const struct tensor tensor = {.dtype = DTYPE_F32, .shape = SHAPE(2, size, size, 3)};
    const struct wire_header header = {.kind = WIRE_ACTIVATION,
                                       .job = job,
                                       .generation = generation,
                                       .microbatch = microbatch,
                                       .items = items,
                                       .tensor_count = 1};
    size_t bytes, used;
    struct transport_message *message;
    void *payload;
    assert_int_equal(wire_size(&tensor, 1, 0, &bytes, NULL), SHOAL_OK);
    assert_int_equal(from->ops->message_new(from, bytes, &message, NULL), SHOAL_OK);
    assert_int_equal(wire_encode(&header, &tensor, NULL, message->data, message->capacity, &payload,
                                 &used, NULL),
                     SHOAL_OK);
    memset(payload, 0, 2 * (size_t)(size * size) * 3 * sizeof(float));
    message->size = used;
    while (from->ops->send(from, "device", message, NULL) == SHOAL_BUSY) {
        struct transport_event event;
        next_event(from, &event);
        assert_int_not_equal(event.kind, TRANSPORT_MESSAGE);
    }
}

static int64_t progress(struct fixture *f) {
    json_t *reply = ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "progress"));
    const int64_t done = json_integer_value(json_object_get(reply, "done"));
    json_decref(reply);
    return done;
}

static void stale_and_foreign_activations_are_dropped(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    send_item(f->owner, 76, 1, 0, 2, 32); /* another job */
    send_item(f->owner, 77, 0, 0, 2, 32); /* an older placement */
    send_item(f->other, 77, 1, 0, 2, 32); /* another sender than the previous device */
    assert_int_equal(progress(f), 0);
    send_item(f->owner, 77, 1, 0, 2, 32);
    struct transport_event event;
    do {
        next_event(f->owner, &event);
    } while (event.kind != TRANSPORT_MESSAGE);
    struct wire_message message;
    assert_int_equal(wire_decode(event.message->data, event.message->size, &message, NULL),
                     SHOAL_OK);
    assert_int_equal(message.header.kind, WIRE_RESULT);
    assert_int_equal(message.header.microbatch, 0);
    f->owner->ops->message_free(f->owner, event.message);
    assert_int_equal(progress(f), 1);
}

/* The owner hears why, and the node lives on. */
static void expect_failure(struct fixture *f, const char *word) {
    struct transport_event event;
    struct wire_message message;
    json_t *document;
    do {
        next_event(f->owner, &event);
    } while (event.kind != TRANSPORT_MESSAGE);
    assert_int_equal(wire_decode(event.message->data, event.message->size, &message, NULL),
                     SHOAL_OK);
    assert_int_equal(message.header.kind, WIRE_EVENT);
    assert_int_equal(control_parse(&message, &document, NULL), SHOAL_OK);
    assert_non_null(strstr(json_string_value(json_object_get(document, "text")), word));
    json_decref(document);
    f->owner->ops->message_free(f->owner, event.message);
    assert_ok(ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "stop")));
}

static void a_gap_in_the_microbatches_fails_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    send_item(f->owner, 77, 1, 1, 2, 32);
    expect_failure(f, "microbatch 1");
}

static void a_tensor_of_another_shape_fails_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    send_item(f->owner, 77, 1, 0, 2, 16);
    expect_failure(f, "[2,16,16,3]");
}

static void more_items_than_the_microbatch_holds_fail_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(ask(f->owner, prepare_request(f)));
    send_item(f->owner, 77, 1, 0, 3, 32);
    expect_failure(f, "3 items");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unknown_and_malformed_requests_are_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_job_belongs_to_its_owner, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stage_beyond_the_memory_limit_is_refused_with_the_figures,
                                        setup_small, teardown),
        cmocka_unit_test_setup_teardown(a_job_is_dropped_when_its_owner_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(stale_and_foreign_activations_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_gap_in_the_microbatches_fails_the_job, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tensor_of_another_shape_fails_the_job, setup, teardown),
        cmocka_unit_test_setup_teardown(more_items_than_the_microbatch_holds_fail_the_job, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
