/* What a node says of itself and of its links, over the in-process transport. ThreadSanitizer runs
 * this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platform/clock.h"
#include "runtime/link.h"
#include "runtime/node_fixture.h"

static int setup(void **state) {
    return fixture_setup(state, 0);
}

static void info_says_who_holds_what(void **state) {
    struct fixture *f = *state;
    json_t *info = fixture_ask(f->owner, fixture_call("info", 0));
    static const char *const keys[] = {
        "machine", "memory_total", "memory_reserved", "clock_ms", "uptime_s", "jobs", "cache"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (json_object_get(info, keys[i]) == NULL) {
            fail_msg("info lacks %s", keys[i]);
        }
    }
    assert_int_equal(json_array_size(json_object_get(info, "jobs")), 0);
    assert_int_equal(json_integer_value(json_object_get(info, "memory_reserved")), 0);
    json_decref(info);
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    info = fixture_ask(f->other, fixture_call("info", 0));
    const json_t *job = json_array_get(json_object_get(info, "jobs"), 0);
    assert_int_equal(json_integer_value(json_object_get(job, "id")), 77);
    assert_string_equal(json_string_value(json_object_get(job, "owner")), "owner");
    const json_int_t bytes = json_integer_value(json_object_get(job, "memory_bytes"));
    assert_true(bytes > 0);
    assert_int_equal(json_integer_value(json_object_get(info, "memory_reserved")), bytes);
    json_decref(info);
}

static void kernels_are_checked_against_the_reference(void **state) {
    struct fixture *f = *state;
    json_t *reply = fixture_ask(f->owner, fixture_call("check", 0));
    const json_t *list = json_object_get(reply, "kernels");
    assert_int_equal(json_array_size(list), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *set = json_array_get(list, i);
        if (!json_is_true(json_object_get(set, "ok"))) {
            fail_msg("%s", json_string_value(json_object_get(set, "text")));
        }
    }
    json_decref(reply);
}

static json_t *about_peer(const char *call, const char *peer) {
    return json_pack("{s:i, s:s, s:s, s:s, s:s}", "id", 9, "call", call, "peer", peer, "address",
                     "", "key", "-");
}

static void dial_tells_whether_a_device_can_be_reached(void **state) {
    struct fixture *f = *state;
    json_t *reply = fixture_ask(f->owner, about_peer("dial", "other"));
    assert_true(json_is_true(json_object_get(reply, "up")));
    json_decref(reply);
    struct transport *third = fixture_peer(f->hub, "third");
    reply = fixture_ask(f->owner, about_peer("dial", "third"));
    assert_true(json_is_true(json_object_get(reply, "up")));
    json_decref(reply);
    third->ops->destroy(third);
    reply = fixture_ask(f->owner, about_peer("dial", "nobody"));
    assert_true(json_is_false(json_object_get(reply, "up")));
    assert_non_null(strstr(json_string_value(json_object_get(reply, "text")), "no endpoint"));
    json_decref(reply);
    assert_refused(fixture_ask(f->owner, about_peer("dial", "")), "PROTOCOL", "'peer'");
    reply = fixture_ask(f->owner, about_peer("dial", "device")); /* itself */
    assert_true(json_is_false(json_object_get(reply, "up")));
    json_decref(reply);
}

/* Answers the probes of the device until the asker has its reply. Wrong answers come first, and
 * count for nothing. */
static json_t *answer_probes(struct fixture *f, int *probes) {
    for (*probes = 0;;) {
        struct transport_message *raw;
        struct wire_message message;
        struct transport_event event;
        if (f->owner->ops->next(f->owner, TRANSPORT_WANT_CONTROL, platform_now_ns(), &event,
                                NULL) == SHOAL_OK &&
            event.kind == TRANSPORT_MESSAGE) {
            json_t *reply;
            assert_int_equal(wire_decode(event.message->data, event.message->size, &message, NULL),
                             SHOAL_OK);
            assert_int_equal(control_parse(&message, &reply, NULL), SHOAL_OK);
            f->owner->ops->message_free(f->owner, event.message);
            return reply;
        }
        if (f->other->ops->next(f->other, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
                                platform_now_ns() + 2 * CLOCK_MS, &event, NULL) != SHOAL_OK ||
            event.kind != TRANSPORT_MESSAGE) {
            continue;
        }
        raw = event.message;
        assert_int_equal(wire_decode(raw->data, raw->size, &message, NULL), SHOAL_OK);
        assert_true(link_is_question(&message.header));
        const uint64_t number = message.header.microbatch;
        f->other->ops->message_free(f->other, raw);
        for (uint64_t say = number + 1; say + 2 > number; say--) { /* after, right, before */
            shoal_status status;
            do {
                status = link_answer(f->other, "device", say, NULL);
                if (status == SHOAL_BUSY) {
                    platform_sleep_ns(CLOCK_MS);
                }
            } while (status == SHOAL_BUSY);
            assert_int_equal(status, SHOAL_OK);
        }
        ++*probes;
    }
}

static json_t *link_request(double share) {
    json_t *request = about_peer("link", "other");
    assert_int_equal(json_object_set_new(request, "bytes", json_integer(100000)), 0);
    assert_int_equal(json_object_set_new(request, "share", json_real(share)), 0);
    return request;
}

static void a_link_is_measured_while_a_job_runs_if_it_is_paced(void **state) {
    struct fixture *f = *state;
    int probes;
    assert_refused(fixture_ask(f->owner, link_request(0.0)), "PROTOCOL", "'share'");
    assert_refused(fixture_ask(f->owner, link_request(1.5)), "PROTOCOL", "'share'");
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    assert_refused(fixture_ask(f->owner, link_request(1.0)), "BUSY", "job 77");
    assert_int_equal(control_send(f->owner, "device", WIRE_REQUEST, link_request(0.5), NULL),
                     SHOAL_OK);
    json_t *reply = answer_probes(f, &probes);
    assert_true(json_is_true(json_object_get(reply, "ok")));
    assert_true(json_number_value(json_object_get(reply, "alpha_s")) > 0);
    assert_int_equal(probes, LINK_PROBE_COUNT);
    json_decref(reply);
    assert_ok(fixture_ask(f->owner, fixture_call("stop", 77)));
}

static void one_link_is_measured_at_a_time_and_ends_with_its_asker(void **state) {
    struct fixture *f = *state;
    struct transport *third = fixture_peer(f->hub, "third"); /* it will not answer */
    json_t *request = about_peer("link", "third");
    assert_int_equal(json_object_set_new(request, "bytes", json_integer(1000)), 0);
    assert_int_equal(control_send(f->owner, "device", WIRE_REQUEST, request, NULL), SHOAL_OK);
    json_t *first = fixture_ask(f->other, fixture_call("info", 0)); /* events go on */
    json_decref(first);
    request = about_peer("link", "third");
    assert_int_equal(json_object_set_new(request, "bytes", json_integer(1000)), 0);
    assert_refused(fixture_ask(f->other, request), "BUSY", "link for owner");
    third->ops->destroy(third);
    assert_refused(fixture_reply(f->owner), "PEER_LOST", "third");
}

/* Tries until it is seen: control is answered before the microbatch that came before it is done. */
static void control_is_answered_while_a_microbatch_is_computed(void **state) {
    struct fixture *f = *state;
    assert_ok(fixture_ask(f->owner, fixture_prepare(f, 77)));
    for (uint64_t i = 0; i < 2000; i++) {
        fixture_send_item(f->owner, 77, 1, i, 2, 32);
        assert_int_equal(
            control_send(f->owner, "device", WIRE_REQUEST, fixture_call("progress", 77), NULL),
            SHOAL_OK);
        bool replied = false, first = false;
        for (int messages = 0; messages < 2; messages++) {
            struct transport_message *raw;
            struct wire_message message;
            fixture_message(f->owner, &raw, &message);
            first = first || (messages == 0 && message.header.kind == WIRE_REPLY);
            replied = replied || message.header.kind == WIRE_REPLY;
            f->owner->ops->message_free(f->owner, raw);
        }
        assert_true(replied);
        if (first) {
            return;
        }
    }
    fail_msg("progress always waited for the microbatch");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(info_says_who_holds_what),
        TEST(kernels_are_checked_against_the_reference),
        TEST(dial_tells_whether_a_device_can_be_reached),
        TEST(a_link_is_measured_while_a_job_runs_if_it_is_paced),
        TEST(one_link_is_measured_at_a_time_and_ends_with_its_asker),
        TEST(control_is_answered_while_a_microbatch_is_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
