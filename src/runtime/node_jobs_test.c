/* Several jobs on one node over the in-process transport: sharing, refusing, leases, stopping.
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
#include "platform/cpu.h"
#include "runtime/node_fixture.h"

static int setup(void **state) {
    return fixture_setup(state, 0);
}

#define ROOM (200U << 20)

static int setup_with_room(void **state) {
    return fixture_setup(state, memory_resident_bytes() + ROOM);
}

/* vit-base's first segments: 28 MB each but the first, so that MB count. */
static json_t *large_prepare(const struct fixture *f, int64_t job, int last) {
    struct model_config config;
    char *model;
    json_t *request = fixture_prepare(f, job);
    assert_int_equal(model_builtin("vit-base", &config, NULL), SHOAL_OK);
    assert_int_equal(model_config_to_json(&config, &model, NULL), SHOAL_OK);
    assert_int_equal(json_object_set_new(request, "model", json_string(model)), 0);
    assert_int_equal(json_object_set_new(request, "last", json_integer(last)), 0);
    assert_int_equal(json_object_set_new(request, "stages", json_integer(2)), 0);
    assert_int_equal(json_object_set_new(request, "batch", json_integer(1)), 0);
    mem_free(model);
    return request;
}

static void take_result(struct transport *owner, uint64_t job, uint64_t number, float out[20]) {
    struct transport_message *raw;
    struct wire_message message;
    fixture_message(owner, &raw, &message);
    assert_int_equal(message.header.kind, WIRE_RESULT);
    assert_int_equal(message.header.job, job);
    assert_int_equal(message.header.microbatch, number);
    assert_int_equal(tensor_bytes(&message.tensors[0]), 20 * sizeof *out);
    memcpy(out, message.tensors[0].data, 20 * sizeof *out);
    owner->ops->message_free(owner, raw);
}

static void two_owners_share_a_device_and_get_the_same_bits(void **state) {
    struct fixture *f = *state;
    float alone[20], first[20], second[20];
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    fixture_send_item(f->owner, 77, 1, 0, 2, 32);
    take_result(f->owner, 77, 0, alone);
    assert_ok(fixture_ask(f->other, fixture_prepare(f, 78)));
    for (uint64_t i = 0; i < 20; i++) {
        fixture_send_item(f->owner, 77, 1, i + 1, 2, 32);
        fixture_send_item(f->other, 78, 1, i, 2, 32);
        take_result(f->owner, 77, i + 1, first);
        take_result(f->other, 78, i, second);
        assert_memory_equal(first, alone, sizeof first);
        assert_memory_equal(second, alone, sizeof second);
    }
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 77)));
    fixture_send_item(f->other, 78, 1, 20, 2, 32);
    take_result(f->other, 78, 20, second);
    assert_ok(fixture_ask(f->other, fixture_call("report", 78)));
    assert_ok(fixture_ask(f->other, fixture_call("stop", 0)));
}

static void one_owner_may_have_two_jobs_and_names_them(void **state) {
    struct fixture *f = *state;
    float one[20], two[20];
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 1)));
    assert_refused(fixture_ask(f->owner, fixture_prepare(f, 1)), "BUSY", "job 1 of owner");
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 2)));
    assert_refused(fixture_ask(f->owner, fixture_call("progress", 0)), "PROTOCOL", "'job'");
    fixture_send_item(f->owner, 2, 1, 0, 2, 32);
    take_result(f->owner, 2, 0, two);
    fixture_send_item(f->owner, 1, 1, 0, 2, 32);
    take_result(f->owner, 1, 0, one);
    assert_memory_equal(one, two, sizeof one);
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 1)));
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 0)));
    assert_refused(fixture_ask(f->owner, fixture_call("stop", 0)), "NOT_FOUND", "no job");
}

static void a_ninth_job_is_refused(void **state) {
    struct fixture *f = *state;
    for (int64_t job = 1; job <= 8; job++) {
        assert_ok(fixture_ask(f->owner, fixture_prepare(f, job)));
    }
    assert_refused(fixture_ask(f->other, fixture_prepare(f, 9)), "BUSY", "8 jobs");
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 3)));
    assert_ok(fixture_ask(f->other, fixture_prepare(f, 9)));
}

static void a_second_job_beyond_the_memory_is_told_who_holds_it(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, large_prepare(f, 1, 12))); /* three of twelve blocks: 87 MB */
    json_t *reply = fixture_ask(f->other, large_prepare(f, 2, 28));
    char *text = json_dumps(reply, 0);
    if (strstr(text, "segments 1 to 28 need ") == NULL || strstr(text, " MB, free are ") == NULL ||
        strstr(text, "for a job of owner") == NULL) {
        fail_msg("said: %s", text);
    }
    free(text);
    assert_refused(reply, "NO_MEMORY", "the limit is ");
    assert_ok(fixture_ask(f->owner, fixture_call("progress", 1)));
}

static void measurements_wait_for_jobs(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    json_t *request =
        json_pack("{s:i, s:s, s:s, s:i}", "id", 1, "call", "choose", "model", f->model, "batch", 1);
    assert_refused(fixture_ask(f->other, json_incref(request)), "BUSY", "job 77 of owner");
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 77)));
    assert_ok(fixture_ask(f->other, request));
}

static void jobs_wait_for_measurements(void **state) {
    struct fixture *f = *state;
    json_t *request =
        json_pack("{s:i, s:s, s:s, s:i, s:{s:s, s:{}}}", "id", 1, "call", "profile", "model",
                  f->model, "batch", 1, "choice", "default", "reference", "ops");
    assert_int_equal(control_send(f->other, "device", WIRE_REQUEST, request, NULL), SHOAL_OK);
    /* The profile takes some 100 ms at least; whether this comes in time is up to the machine. */
    json_t *reply = fixture_ask(f->owner, fixture_prepare(f, 77));
    if (json_is_true(json_object_get(reply, "ok"))) {
        json_decref(reply);
        print_message("the profile was over already\n");
    } else {
        assert_refused(reply, "BUSY", "measurement for other");
    }
    assert_ok(fixture_reply(f->other));
}

static void a_lease_that_is_not_renewed_runs_out(void **state) {
    struct fixture *f = *state;
    struct transport_message *raw;
    struct wire_message message;
    json_t *request = fixture_prepare(f, 77), *document;
    assert_int_equal(json_object_set_new(request, "lease_s", json_integer(1)), 0);
    assert_ok(fixture_ask(f->owner, request));
    fixture_message(f->owner, &raw, &message);
    assert_int_equal(message.header.kind, WIRE_EVENT);
    assert_int_equal(control_parse(&message, &document, NULL), SHOAL_OK);
    assert_string_equal(json_string_value(json_object_get(document, "event")), "failed");
    assert_non_null(strstr(json_string_value(json_object_get(document, "text")), "renew"));
    json_decref(document);
    f->owner->ops->message_free(f->owner, raw);
    assert_refused(fixture_ask(f->owner, fixture_call("progress", 77)), "NOT_FOUND", "no job");
}

/* Renews for longer than the lease. False if this thread was held up, which proves nothing. */
static bool renew_for_a_while(struct fixture *f) {
    const uint64_t begin = platform_now_ns();
    for (uint64_t last = begin, now = begin; now < begin + 3 * CLOCK_SECOND / 2;
         last = now, now = platform_now_ns()) {
        if (now - last > CLOCK_SECOND / 4) {
            return false;
        }
        assert_int_equal(control_send(f->owner, "device", WIRE_EVENT,
                                      json_pack("{s:s}", "event", "renew"), NULL),
                         SHOAL_OK);
        json_t *reply =
            fixture_ask(f->owner, fixture_call("info", 0)); /* heard, and not too slow */
        json_decref(reply);
        platform_sleep_ns(20 * CLOCK_MS);
    }
    return true;
}

static void a_lease_that_is_renewed_lasts(void **state) {
    struct fixture *f = *state;
    for (int64_t job = 1; job < 50; job++) {
        json_t *request = fixture_prepare(f, job);
        assert_int_equal(json_object_set_new(request, "lease_s", json_integer(1)), 0);
        assert_ok(fixture_ask(f->owner, request));
        const bool proven = renew_for_a_while(f);
        json_t *reply = fixture_ask(f->owner, fixture_call("stop", job));
        if (proven) {
            assert_ok(reply);
            return;
        }
        json_decref(reply);
    }
    fail_msg("this machine never let a thread run for 1.5 s");
}

static void a_stop_while_the_stage_loads_ends_both_calls(void **state) {
    struct fixture *f = *state;
    for (int64_t job = 1; job <= 3; job++) { /* caught at whatever point */
        assert_int_equal(
            control_send(f->owner, "device", WIRE_REQUEST, large_prepare(f, job, 4), NULL),
            SHOAL_OK);
        assert_int_equal(
            control_send(f->owner, "device", WIRE_REQUEST, fixture_call("stop", job), NULL),
            SHOAL_OK);
        json_t *first = fixture_reply(f->owner), *second = fixture_reply(f->owner);
        assert_int_equal(json_integer_value(json_object_get(first, "id")), 5);
        if (!json_is_true(json_object_get(first, "ok"))) {
            json_incref(first);
            assert_refused(first, "CANCELLED", "stopped");
        }
        json_decref(first);
        assert_ok(second);
        assert_ok(fixture_ask(f->owner, fixture_prepare(f, 100))); /* and its place is free */
        assert_ok(fixture_ask(f->owner, fixture_call("stop", 100)));
    }
}

static void a_stop_while_it_computes_is_answered_when_the_stage_is_gone(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 20; i++) {
        assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
        fixture_send_item(f->owner, 77, 1, 0, 2, 32);
        fixture_send_item(f->owner, 77, 1, 1, 2, 32);
        assert_ok(fixture_ask(f->owner, fixture_call("stop", 77)));
        assert_refused(fixture_ask(f->owner, fixture_call("progress", 77)), "NOT_FOUND", "no job");
    }
}

static json_t *neighbour(const char *name, const char *key) {
    return json_pack("{s:s, s:s, s:s}", "name", name, "address", "", "key", key);
}

static void a_previous_device_that_may_not_connect_is_refused(void **state) {
    struct fixture *f = *state;
    json_t *request = fixture_prepare(f, 77);
    assert_int_equal(json_object_set_new(request, "previous", neighbour("pi-7", "abcde")), 0);
    assert_refused(fixture_ask(f->owner, request), "DENIED", "add the line 'pi-7 abcde'");
    request = fixture_prepare(f, 77);
    assert_int_equal(json_object_set_new(request, "previous", json_string("pi-7")), 0);
    assert_refused(fixture_ask(f->owner, request), "PROTOCOL", "'previous'");
}

static void a_next_device_that_is_not_there_is_named(void **state) {
    struct fixture *f = *state;
    json_t *request = fixture_prepare(f, 77);
    assert_int_equal(json_object_set_new(request, "next", neighbour("pi-7", "-")), 0);
    assert_refused(fixture_ask(f->owner, request), "PEER_LOST", "pi-7");
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
}

static void weights_by_path_are_for_local_devices(void **state) {
    struct fixture *f = *state;
    json_t *request = fixture_prepare(f, 77);
    assert_int_equal(
        json_object_set_new(request, "weights", json_pack("{s:s}", "path", "/etc/passwd")), 0);
    assert_refused(fixture_ask(f->owner, request), "DENIED", "path");
}

/* Prepares a job that comes from `other`; next NULL: back to the owner. */
static void prepare_from_other(struct fixture *f, int64_t job, const char *next) {
    json_t *request = fixture_prepare(f, job);
    assert_int_equal(json_object_set_new(request, "previous", neighbour("other", "-")), 0);
    if (next != NULL) {
        assert_int_equal(json_object_set_new(request, "next", neighbour(next, "-")), 0);
    }
    assert_ok(fixture_ask(f->owner, request));
}

static void a_blocked_job_does_not_keep_another_from_arriving(void **state) {
    struct fixture *f = *state;
    enum { STUCK = 12 }; /* far more than all windows together */
    float row[20];
    struct transport *third = fixture_peer(f->hub, "third"); /* takes nothing */
    prepare_from_other(f, 1, "third");
    prepare_from_other(f, 2, NULL);
    for (uint64_t i = 0; i < STUCK; i++) {
        fixture_send_item(f->other, 1, 1, i, 2, 32);
        fixture_send_item(f->other, 2, 1, i, 2, 32);
        take_result(f->owner, 2, i, row);
    }
    for (uint64_t i = 0; i < STUCK; i++) { /* now it takes: nothing was lost or mixed up */
        struct transport_message *raw;
        struct wire_message message;
        fixture_message(third, &raw, &message);
        assert_int_equal(message.header.kind, WIRE_RESULT);
        assert_int_equal(message.header.job, 1);
        assert_int_equal(message.header.microbatch, i);
        third->ops->message_free(third, raw);
    }
    third->ops->destroy(third);
}

static void a_draining_node_takes_no_job_and_finishes_those_it_has(void **state) {
    struct fixture *f = *state;
    float row[20];
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    node_drain(f->node);
    assert_refused(fixture_ask(f->other, fixture_prepare(f, 78)), "CLOSED", "is stopping");
    fixture_send_item(f->owner, 77, 1, 0, 2, 32);
    take_result(f->owner, 77, 0, row);
    assert_int_equal(control_send(f->owner, "device", WIRE_REQUEST, fixture_call("stop", 77), NULL),
                     SHOAL_OK);
    fixture_join(f);
}

static void a_node_without_jobs_stops_at_once(void **state) {
    struct fixture *f = *state;
    node_drain(f->node);
    fixture_join(f);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(two_owners_share_a_device_and_get_the_same_bits),
        TEST(one_owner_may_have_two_jobs_and_names_them),
        TEST(a_ninth_job_is_refused),
        cmocka_unit_test_setup_teardown(a_second_job_beyond_the_memory_is_told_who_holds_it,
                                        setup_with_room, fixture_teardown),
        TEST(measurements_wait_for_jobs),
        TEST(jobs_wait_for_measurements),
        TEST(a_lease_that_is_not_renewed_runs_out),
        TEST(a_lease_that_is_renewed_lasts),
        TEST(a_stop_while_the_stage_loads_ends_both_calls),
        TEST(a_stop_while_it_computes_is_answered_when_the_stage_is_gone),
        TEST(a_previous_device_that_may_not_connect_is_refused),
        TEST(a_next_device_that_is_not_there_is_named),
        TEST(weights_by_path_are_for_local_devices),
        TEST(a_blocked_job_does_not_keep_another_from_arriving),
        TEST(a_draining_node_takes_no_job_and_finishes_those_it_has),
        TEST(a_node_without_jobs_stops_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
