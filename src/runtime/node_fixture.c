#include "runtime/node_fixture.h"

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

static void *run_node(void *argument) {
    struct shoal_error error;
    const shoal_status status = node_run(argument, &error);
    return status == SHOAL_OK ? NULL : argument;
}

struct transport *fixture_peer(struct inproc_hub *hub, const char *name) {
    struct transport *transport;
    const struct transport_options options = {.name = name};
    assert_int_equal(inproc_create(hub, &options, &transport, NULL), SHOAL_OK);
    return transport;
}

void fixture_next(struct transport *t, struct transport_event *event) {
    assert_int_equal(t->ops->next(t, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
                                  platform_now_ns() + 60 * CLOCK_SECOND, event, NULL),
                     SHOAL_OK);
}

static void dial(struct transport *t) {
    struct transport_event event;
    assert_int_equal(t->ops->connect(t, "device", "", "", NULL), SHOAL_OK);
    do {
        fixture_next(t, &event);
    } while (event.kind != TRANSPORT_PEER_UP);
}

int fixture_setup(void **state, size_t memory_limit) {
    struct fixture *f = mem_calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(inproc_hub_create(&f->hub, NULL), SHOAL_OK);
    f->device = fixture_peer(f->hub, "device");
    f->owner = fixture_peer(f->hub, "owner");
    f->other = fixture_peer(f->hub, "other");
    const struct node_options options = {.name = "device",
                                         .transport = f->device,
                                         .threads = 1,
                                         .memory_limit = memory_limit,
                                         .shared_process = true,
                                         .drain_ns = 60 * CLOCK_SECOND};
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

void fixture_join(struct fixture *f) {
    void *failed = NULL;
    if (!f->joined) {
        assert_int_equal(pthread_join(f->thread, &failed), 0);
        f->joined = true;
    }
    assert_null(failed);
}

int fixture_teardown(void **state) {
    struct fixture *f = *state;
    node_stop(f->node);
    fixture_join(f);
    f->owner->ops->destroy(f->owner);
    f->other->ops->destroy(f->other);
    node_destroy(f->node);
    f->device->ops->destroy(f->device);
    inproc_hub_destroy(f->hub);
    mem_free(f->model);
    mem_free(f);
    return 0;
}

json_t *fixture_reply(struct transport *from) {
    for (;;) {
        struct transport_event event;
        struct wire_message message;
        fixture_next(from, &event);
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

json_t *fixture_ask(struct transport *from, json_t *request) {
    assert_int_equal(control_send(from, "device", WIRE_REQUEST, request, NULL), SHOAL_OK);
    return fixture_reply(from);
}

void assert_refused(json_t *reply, const char *status, const char *word) {
    if (!json_is_false(json_object_get(reply, "ok")) ||
        strcmp(json_string_value(json_object_get(reply, "status")), status) != 0 ||
        strstr(json_string_value(json_object_get(reply, "text")), word) == NULL) {
        fail_msg("wanted %s with '%s', got %s", status, word, json_dumps(reply, 0));
    }
    json_decref(reply);
}

void assert_ok(json_t *reply) {
    if (!json_is_true(json_object_get(reply, "ok"))) {
        fail_msg("refused: %s", json_dumps(reply, 0));
    }
    json_decref(reply);
}

json_t *fixture_prepare(const struct fixture *f, int64_t job) {
    return json_pack(
        "{s:i, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:n, s:n, s:s, s:{s:i}, s:{s:s, s:{}}}",
        "id", 5, "call", "prepare", "job", job, "generation", 1, "stage", 0, "stages", 1, "first",
        1, "last", 12, "batch", 2, "previous", "next", "model", f->model, "weights", "seed", 1,
        "choice", "default", "reference", "ops");
}

json_t *fixture_call(const char *call, int64_t job) {
    json_t *request = json_pack("{s:i, s:s}", "id", 1, "call", call);
    if (job != 0) {
        assert_int_equal(json_object_set_new(request, "job", json_integer(job)), 0);
    }
    return request;
}

void fixture_send_item(struct transport *from, uint64_t job, uint32_t generation,
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
        fixture_next(from, &event);
        assert_int_not_equal(event.kind, TRANSPORT_MESSAGE);
    }
}

void fixture_message(struct transport *from, struct transport_message **raw,
                     struct wire_message *decoded) {
    struct transport_event event;
    do {
        fixture_next(from, &event);
    } while (event.kind != TRANSPORT_MESSAGE);
    *raw = event.message;
    assert_int_equal(wire_decode(event.message->data, event.message->size, decoded, NULL),
                     SHOAL_OK);
}
