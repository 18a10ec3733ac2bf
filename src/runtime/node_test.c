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

#include "platform/clock.h"
#include "runtime/node_fixture.h"

static int setup(void **state) {
    return fixture_setup(state, 0);
}

static int setup_small(void **state) {
    return fixture_setup(state, 1000);
}

static void unknown_and_malformed_requests_are_refused(void **state) {
    struct fixture *f = *state;
    assert_refused(fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "fly")),
                   "UNSUPPORTED", "fly");
    assert_refused(fixture_ask(f->owner, json_pack("{s:i}", "id", 1)), "PROTOCOL", "'call'");
    assert_refused(fixture_ask(f->owner, json_pack("{s:s, s:s}", "id", "one", "call", "info")),
                   "PROTOCOL", "'id'");
    assert_refused(fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "report")),
                   "NOT_FOUND", "no job");
    assert_refused(fixture_ask(f->owner, json_pack("{s:i, s:s, s:s, s:i}", "id", 1, "call",
                                                   "choose", "model", "{", "batch", 1)),
                   "CORRUPT", "");
    json_t *request = fixture_prepare(f, 77);
    assert_int_equal(json_object_set_new(request, "first", json_integer(13)), 0);
    assert_int_equal(json_object_set_new(request, "last", json_integer(14)), 0);
    assert_refused(fixture_ask(f->owner, request), "INVALID", "");
    request = fixture_prepare(f, 77);
    assert_int_equal(json_object_set_new(request, "batch", json_integer(INT32_MAX)), 0);
    assert_refused(fixture_ask(f->owner, request), "PROTOCOL", "'batch'");
    assert_ok(fixture_ask(f->owner,
                          json_pack("{s:i, s:s}", "id", 1, "call", "info"))); /* and it lives on */
}

static void a_job_belongs_to_its_owner(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    assert_refused(fixture_ask(f->other, json_pack("{s:i, s:s}", "id", 1, "call", "stop")),
                   "DENIED", "owner");
    assert_refused(fixture_ask(f->other, fixture_prepare(f, 77)), "BUSY", "job");
    assert_ok(fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "progress")));
    assert_ok(fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "stop")));
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
}

static void a_stage_beyond_the_memory_limit_is_refused_with_the_figures(void **state) {
    struct fixture *f = *state;
    assert_refused(fixture_ask(f->owner, fixture_prepare(f, 77)), "NO_MEMORY", "MB");
}

static void a_job_is_dropped_when_its_owner_leaves(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    f->owner->ops->destroy(f->owner);
    json_t *reply;
    for (int i = 0; i < 1000;
         i++) { /* the other's prepare is accepted as soon as the owner's departure is known */
        reply = fixture_ask(f->other, json_pack("{s:i, s:s}", "id", 1, "call", "progress"));
        const bool gone =
            strcmp(json_string_value(json_object_get(reply, "status")), "NOT_FOUND") == 0;
        json_decref(reply);
        if (gone) {
            f->owner = fixture_peer(f->hub, "owner");
            return;
        }
        platform_sleep_ns(CLOCK_MS);
    }
    fail_msg("the job is still there");
}

static int64_t progress(struct fixture *f) {
    json_t *reply = fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "progress"));
    const int64_t done = json_integer_value(json_object_get(reply, "done"));
    json_decref(reply);
    return done;
}

static void stale_and_foreign_activations_are_dropped(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    fixture_send_item(f->owner, 76, 1, 0, 2, 32); /* another job */
    fixture_send_item(f->owner, 77, 0, 0, 2, 32); /* an older placement */
    fixture_send_item(f->other, 77, 1, 0, 2, 32); /* another sender than the previous device */
    assert_int_equal(progress(f), 0);
    fixture_send_item(f->owner, 77, 1, 0, 2, 32);
    struct transport_event event;
    do {
        fixture_next(f->owner, &event);
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
        fixture_next(f->owner, &event);
    } while (event.kind != TRANSPORT_MESSAGE);
    assert_int_equal(wire_decode(event.message->data, event.message->size, &message, NULL),
                     SHOAL_OK);
    assert_int_equal(message.header.kind, WIRE_EVENT);
    assert_int_equal(control_parse(&message, &document, NULL), SHOAL_OK);
    assert_non_null(strstr(json_string_value(json_object_get(document, "text")), word));
    json_decref(document);
    f->owner->ops->message_free(f->owner, event.message);
    assert_ok(fixture_ask(f->owner, json_pack("{s:i, s:s}", "id", 1, "call", "stop")));
}

static void a_gap_in_the_microbatches_fails_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    fixture_send_item(f->owner, 77, 1, 1, 2, 32);
    expect_failure(f, "microbatch 1");
}

static void a_tensor_of_another_shape_fails_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    fixture_send_item(f->owner, 77, 1, 0, 2, 16);
    expect_failure(f, "[2,16,16,3]");
}

static void more_items_than_the_microbatch_holds_fail_the_job(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    fixture_send_item(f->owner, 77, 1, 0, 3, 32);
    expect_failure(f, "3 items");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unknown_and_malformed_requests_are_refused, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_job_belongs_to_its_owner, setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_stage_beyond_the_memory_limit_is_refused_with_the_figures,
                                        setup_small, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_job_is_dropped_when_its_owner_leaves, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(stale_and_foreign_activations_are_dropped, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_gap_in_the_microbatches_fails_the_job, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(a_tensor_of_another_shape_fails_the_job, setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(more_items_than_the_microbatch_holds_fail_the_job, setup,
                                        fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
