/* The run coordinator: each rule of run.h on its own, then a simulated pipeline with reordering,
 * loss and stalls. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/random.h"
#include "protocol/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"ann", "bob", "cid", "dot", "eve", "fay"};

static struct run_actions actions;

static struct run_state make(uint32_t stages, uint32_t in_flight, uint32_t read_ahead,
                             uint64_t credits) {
    const struct run_params params = {.stage_count = stages,
                                      .device_names = names,
                                      .in_flight = in_flight,
                                      .read_ahead = read_ahead,
                                      .credits = credits,
                                      .ready_ns = 1000,
                                      .stall_ns = 100,
                                      .answer_ns = 10};
    struct run_state state;
    assert_int_equal(run_init(&state, &params, NULL), SHOAL_OK);
    return state;
}

static void step(struct run_state *state, struct run_event event) {
    run_step(state, &event, &actions);
}

#define STEP(state, ...) step(state, (struct run_event){__VA_ARGS__})

static struct run_state make_ready(uint32_t stages, uint32_t in_flight, uint32_t read_ahead,
                                   uint64_t credits) {
    struct run_state state = make(stages, in_flight, read_ahead, credits);
    for (uint32_t i = 0; i < stages; i++) {
        STEP(&state, .kind = RUN_STAGE_READY, .stage = i);
        assert_int_equal(actions.count, 0);
    }
    return state;
}

static void feed(struct run_state *state, uint64_t now_ns) {
    assert_true(run_wants_input(state));
    STEP(state, .kind = RUN_INPUT, .number = run_next_input(state), .items = 4, .now_ns = now_ns);
}

static void expect(uint32_t index, enum run_action_kind kind, uint64_t number) {
    assert_true(index < actions.count);
    assert_int_equal(actions.list[index].kind, kind);
    assert_int_equal(actions.list[index].number, number);
}

static void expect_fail(const struct run_state *state, shoal_status status, uint32_t stage,
                        const char *part) {
    assert_true(actions.count > 0);
    const struct run_action *last = &actions.list[actions.count - 1];
    assert_int_equal(last->kind, RUN_FAIL);
    assert_int_equal(last->status, status);
    assert_int_equal(last->stage, stage);
    if (strstr(actions.fail_text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", actions.fail_text, part);
    }
    assert_true(run_is_over(state));
    assert_true(run_deadline_ns(state) == CLOCK_NEVER);
}

static void test_init_refuses_bad_limits(void **unused) {
    (void)unused;
    struct run_state state;
    struct shoal_error error;
    struct run_params params = {
        .stage_count = 0, .device_names = names, .in_flight = 1, .read_ahead = 1};
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.stage_count = RUN_MAX_STAGES + 1;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.stage_count = 1;
    params.in_flight = 0;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.in_flight = RUN_MAX_SLOTS;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.in_flight = UINT32_MAX;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.in_flight = 2;
    params.read_ahead = 0;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.read_ahead = 2;
    params.stall_ns = 5;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_INVALID);
    params.answer_ns = 5;
    assert_int_equal(run_init(&state, &params, &error), SHOAL_OK);
}

static void test_nothing_is_offered_before_all_are_ready(void **unused) {
    (void)unused;
    struct run_state state = make(2, 2, 2, 9);
    feed(&state, 0);
    feed(&state, 0);
    assert_int_equal(actions.count, 0);
    assert_false(run_wants_input(&state));
    STEP(&state, .kind = RUN_STAGE_READY, .stage = 1);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_STAGE_READY, .stage = 0);
    assert_int_equal(actions.count, 2);
    expect(0, RUN_OFFER, 0);
    expect(1, RUN_OFFER, 1);
    assert_int_equal(actions.list[0].items, 4);
}

static void test_in_flight_and_credit_bound_the_offers(void **unused) {
    (void)unused;
    struct run_state state = make_ready(1, 2, 2, 1);
    feed(&state, 0);
    expect(0, RUN_OFFER, 0);
    feed(&state, 0);
    feed(&state, 0);
    assert_int_equal(actions.count, 0); /* no credit */
    assert_false(run_wants_input(&state));
    STEP(&state, .kind = RUN_CREDIT, .count = 5);
    assert_int_equal(actions.count, 1); /* two in flight are the limit */
    expect(0, RUN_OFFER, 1);
    STEP(&state, .kind = RUN_RESULT, .stage = 0, .number = 0);
    assert_int_equal(actions.count, 2);
    expect(0, RUN_DELIVER, 0);
    expect(1, RUN_OFFER, 2);
    assert_int_equal(run_items_delivered(&state), 4);
}

static void test_results_are_delivered_in_order(void **unused) {
    (void)unused;
    struct run_state state = make_ready(2, 3, 1, 9);
    for (int i = 0; i < 3; i++) {
        feed(&state, 0);
    }
    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 2);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 1);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 0);
    assert_int_equal(actions.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        expect(i, RUN_DELIVER, i);
    }
    assert_int_equal(run_delivered(&state), 3);
    STEP(&state, .kind = RUN_END_OF_INPUT);
    expect(0, RUN_FINISH, 0);
    assert_true(run_is_over(&state));
    STEP(&state, .kind = RUN_PEER_LOST, .stage = 0);
    assert_int_equal(actions.count, 0);
}

static void test_empty_input_finishes(void **unused) {
    (void)unused;
    struct run_state state = make(2, 1, 1, 0);
    STEP(&state, .kind = RUN_END_OF_INPUT);
    assert_int_equal(actions.count, 1);
    expect(0, RUN_FINISH, 0);
}

static void test_busy_takes_offers_back(void **unused) {
    (void)unused;
    struct run_state state = make(1, 4, 4, 9);
    for (int i = 0; i < 3; i++) {
        feed(&state, 0);
    }
    STEP(&state, .kind = RUN_STAGE_READY, .stage = 0);
    assert_int_equal(actions.count, 3);
    STEP(&state, .kind = RUN_BUSY, .number = 1);
    assert_int_equal(actions.count, 0);
    feed(&state, 0);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_CREDIT, .count = 2);
    assert_int_equal(actions.count, 2);
    expect(0, RUN_OFFER, 1);
    expect(1, RUN_OFFER, 2);
}

static void test_protocol_breaches_name_the_device(void **unused) {
    (void)unused;
    const struct run_state start = make_ready(2, 3, 1, 9);
    struct run_state state = start;
    feed(&state, 0);
    feed(&state, 0);
    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 0);
    const struct run_state middle = state;

    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 0);
    expect_fail(&state, SHOAL_PROTOCOL, 1, "device bob sent the result of microbatch 0 twice");
    state = middle;
    STEP(&state, .kind = RUN_RESULT, .stage = 1, .number = 2);
    expect_fail(&state, SHOAL_PROTOCOL, 1, "bob sent a result for microbatch 2, which was never");
    state = middle;
    STEP(&state, .kind = RUN_RESULT, .stage = 0, .number = 1);
    expect_fail(&state, SHOAL_PROTOCOL, 0, "device ann sent a result");
    state = middle;
    STEP(&state, .kind = RUN_PROGRESS, .stage = 0, .number = 3);
    expect_fail(&state, SHOAL_PROTOCOL, 0, "device ann says it has finished 3");
    state = middle;
    STEP(&state, .kind = RUN_PROGRESS, .stage = 0, .number = 2);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_PROGRESS, .stage = 0, .number = 1);
    expect_fail(&state, SHOAL_PROTOCOL, 0, "it said 2 before");
}

static void test_a_held_result_sent_twice_is_a_breach(void **unused) {
    (void)unused;
    struct run_state state = make_ready(1, 3, 1, 9);
    feed(&state, 0);
    feed(&state, 0);
    STEP(&state, .kind = RUN_RESULT, .stage = 0, .number = 1);
    STEP(&state, .kind = RUN_RESULT, .stage = 0, .number = 1);
    expect_fail(&state, SHOAL_PROTOCOL, 0, "microbatch 1 twice");
}

static void test_a_lost_device_fails_the_run(void **unused) {
    (void)unused;
    struct run_state state = make_ready(3, 3, 1, 9);
    feed(&state, 0);
    STEP(&state, .kind = RUN_RESULT, .stage = 2, .number = 0);
    expect(0, RUN_DELIVER, 0);
    STEP(&state, .kind = RUN_PEER_LOST, .stage = 1, .text = "silent for 3.0 s");
    expect_fail(&state, SHOAL_PEER_LOST, 1,
                "device bob (stage 2 of 3) was lost: silent for 3.0 s; 1");
}

static void test_cancel(void **unused) {
    (void)unused;
    struct run_state state = make_ready(1, 1, 1, 1);
    STEP(&state, .kind = RUN_CANCEL);
    expect_fail(&state, SHOAL_CANCELLED, RUN_NO_STAGE, "cancelled");
}

static void test_a_stage_that_is_never_ready(void **unused) {
    (void)unused;
    struct run_state state = make(3, 1, 1, 1);
    STEP(&state, .kind = RUN_STAGE_READY, .stage = 0, .now_ns = 5);
    assert_int_equal(run_deadline_ns(&state), 1000);
    STEP(&state, .kind = RUN_TICK, .now_ns = 999);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_TICK, .now_ns = 1000);
    expect_fail(&state, SHOAL_TIMEOUT, 1, "device bob (stage 2 of 3) was not ready");
}

static void test_a_stall_names_the_holder(void **unused) {
    (void)unused;
    struct run_state state = make_ready(3, 3, 1, 9);
    assert_true(run_deadline_ns(&state) == CLOCK_NEVER); /* idle: no deadline */
    feed(&state, 50);
    feed(&state, 60);
    assert_int_equal(run_deadline_ns(&state), 150);
    STEP(&state, .kind = RUN_TICK, .now_ns = 149);
    assert_int_equal(actions.count, 0);
    STEP(&state, .kind = RUN_TICK, .now_ns = 150);
    assert_int_equal(actions.count, 1);
    expect(0, RUN_ASK_PROGRESS, 0);
    const struct run_state asked = state;

    /* Number 0 has moved to the second stage: a new deadline, then the second stage is named. */
    STEP(&state, .kind = RUN_PROGRESS, .stage = 0, .number = 1, .now_ns = 155);
    assert_int_equal(run_deadline_ns(&state), 255);
    STEP(&state, .kind = RUN_PROGRESS, .stage = 0, .number = 2, .now_ns = 200); /* not the oldest */
    assert_int_equal(run_deadline_ns(&state), 255);
    STEP(&state, .kind = RUN_TICK, .now_ns = 255);
    expect(0, RUN_ASK_PROGRESS, 0);
    STEP(&state, .kind = RUN_PROGRESS, .stage = 1, .number = 0, .now_ns = 256);
    assert_int_equal(run_deadline_ns(&state), 265);
    STEP(&state, .kind = RUN_TICK, .now_ns = 265);
    expect_fail(&state, SHOAL_TIMEOUT, 1,
                "device bob (stage 2 of 3) has not advanced microbatch 0");
    assert_non_null(strstr(actions.fail_text, "is alive"));

    state = asked; /* nobody answers */
    STEP(&state, .kind = RUN_TICK, .now_ns = 160);
    expect_fail(&state, SHOAL_TIMEOUT, 0, "does not answer either");

    state = asked; /* a later stage's word counts for the earlier ones */
    STEP(&state, .kind = RUN_PROGRESS, .stage = 1, .number = 1, .now_ns = 155);
    STEP(&state, .kind = RUN_TICK, .now_ns = 255);
    STEP(&state, .kind = RUN_TICK, .now_ns = 265);
    expect_fail(&state, SHOAL_TIMEOUT, 2, "device cid (stage 3 of 3) has not advanced");

    state = asked; /* all say done, but no result comes: the last stage */
    STEP(&state, .kind = RUN_PROGRESS, .stage = 2, .number = 1, .now_ns = 155);
    STEP(&state, .kind = RUN_TICK, .now_ns = 255);
    STEP(&state, .kind = RUN_TICK, .now_ns = 265);
    expect_fail(&state, SHOAL_TIMEOUT, 2, "has not delivered, microbatch 0");

    state = asked; /* the result comes late, but comes */
    STEP(&state, .kind = RUN_RESULT, .stage = 2, .number = 0, .now_ns = 159);
    expect(0, RUN_DELIVER, 0);
    assert_int_equal(run_deadline_ns(&state), 259);
}

static void test_a_first_stage_without_credit_is_named(void **unused) {
    (void)unused;
    struct run_state state = make_ready(2, 1, 1, 0);
    feed(&state, 0);
    STEP(&state, .kind = RUN_TICK, .now_ns = 100);
    expect(0, RUN_ASK_PROGRESS, 0);
    STEP(&state, .kind = RUN_TICK, .now_ns = 110);
    expect_fail(&state, SHOAL_TIMEOUT, 0, "device ann (stage 1 of 2) has taken no microbatch");
}

/* A pipeline of FIFO stages with queues of their own, and a network that may hold results back and
 * so reorder them. */
struct simulation {
    uint64_t stream, draws, seed;
    uint32_t stages;
    uint64_t done[RUN_MAX_STAGES]; /* microbatches stage i has passed on; the queue between i-1 and
                                      i is the difference */
    uint64_t received;             /* by the first stage */
    bool underway[4096];           /* results between the last stage and us */
    uint64_t delivered, input_count, window, read_ahead, credit;
    uint32_t stalled; /* this stage works no longer */
    bool ended, failed, finished;
    struct run_state state;
};

static uint32_t draw(struct simulation *sim, uint32_t below) {
    ASSERT(below > 0);
    return random_u32(sim->stream, sim->draws++) % below;
}

#define CHECK(sim, condition)                                                        \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fail_msg("seed %" PRIu64 ": %s does not hold", (sim)->seed, #condition); \
        }                                                                            \
    } while (0)

static void carry_out(struct simulation *sim, struct run_event event) {
    run_step(&sim->state, &event, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct run_action *action = &actions.list[i];
        CHECK(sim, !sim->failed && !sim->finished); /* nothing after the end */
        switch (action->kind) {
        case RUN_OFFER:
            CHECK(sim, action->number == sim->received && sim->credit > 0);
            if (draw(sim, 20) == 0) { /* the transport refuses */
                sim->credit = 0;
                event = (struct run_event){
                    .kind = RUN_BUSY, .number = action->number, .now_ns = event.now_ns};
                CHECK(sim, actions.list[actions.count - 1].kind != RUN_FAIL);
                run_step(&sim->state, &event, &actions);
                CHECK(sim, actions.count == 0);
                return;
            }
            CHECK(sim, action->items == 1 + action->number % 3);
            sim->credit--;
            sim->received++;
            break;
        case RUN_DELIVER:
            CHECK(sim, action->number == sim->delivered);
            sim->delivered++;
            break;
        case RUN_ASK_PROGRESS:
            break;
        case RUN_FAIL:
            sim->failed = true;
            break;
        case RUN_FINISH:
            CHECK(sim, sim->delivered == sim->input_count && sim->ended);
            sim->finished = true;
            break;
        }
    }
    const struct run_state *state = &sim->state;
    CHECK(sim, state->delivered == sim->delivered && state->offered == sim->received);
    CHECK(sim, state->offered - state->delivered <= sim->window);
    CHECK(sim, state->inputs - state->delivered <= sim->window + sim->read_ahead);
    CHECK(sim, run_is_over(state) == (sim->failed || sim->finished));
    CHECK(sim, run_is_over(state) || state->stall_ns == 0 || !run_all_ready(state) ||
                   state->inputs == state->delivered || run_deadline_ns(state) != CLOCK_NEVER);
}

/* One random thing happens. Returns its event, or false if what was drawn cannot happen now. */
static bool happen(struct simulation *sim, struct run_event *event) {
    const uint32_t last = sim->stages - 1;
    switch (draw(sim, 7)) {
    case 0:
        if (!run_wants_input(&sim->state) || sim->ended) {
            return false;
        }
        if (sim->state.inputs == sim->input_count) {
            sim->ended = true;
            event->kind = RUN_END_OF_INPUT;
            return true;
        }
        event->kind = RUN_INPUT;
        event->number = sim->state.inputs;
        event->items = (uint32_t)(1 + event->number % 3);
        return true;
    case 1:
        event->kind = RUN_CREDIT;
        event->count = draw(sim, 3);
        sim->credit += event->count;
        return true;
    case 2:
    case 3: { /* a stage passes one on */
        const uint32_t stage = draw(sim, sim->stages);
        const uint64_t available = stage == 0 ? sim->received : sim->done[stage - 1];
        if (stage == sim->stalled || sim->done[stage] == available) {
            return false;
        }
        if (stage == last) {
            sim->underway[sim->done[stage]] = true;
        }
        sim->done[stage]++;
        return false;
    }
    case 4: { /* any result underway arrives */
        const uint64_t from = sim->delivered + draw(sim, (uint32_t)sim->window);
        if (from >= sim->input_count || !sim->underway[from]) {
            return false;
        }
        sim->underway[from] = false;
        event->kind = RUN_RESULT;
        event->stage = last;
        event->number = from;
        return true;
    }
    case 5:
        event->kind = RUN_PROGRESS;
        event->stage = draw(sim, sim->stages);
        event->number = sim->done[event->stage];
        return event->stage != sim->stalled;
    default:
        event->kind = RUN_TICK;
        return true;
    }
}

enum fault { NONE, LOSS, STALL, CANCEL, FAULTS };

static void simulate(uint64_t seed) {
    static struct simulation sim;
    sim = (struct simulation){.seed = seed, .stream = random_stream(seed, "run_test")};
    sim.stages = 1 + draw(&sim, 6);
    sim.window = 1 + draw(&sim, 8);
    sim.read_ahead = 1 + draw(&sim, 4);
    sim.input_count = draw(&sim, 40);
    sim.credit = draw(&sim, 4);
    sim.stalled = RUN_NO_STAGE;
    const enum fault fault = (enum fault)draw(&sim, FAULTS);
    const uint32_t fault_step = draw(&sim, 1500), victim = draw(&sim, sim.stages);
    const struct run_params params = {.stage_count = sim.stages,
                                      .device_names = names,
                                      .in_flight = (uint32_t)sim.window,
                                      .read_ahead = (uint32_t)sim.read_ahead,
                                      .credits = sim.credit,
                                      .stall_ns = 4000,
                                      .answer_ns = 1000};
    CHECK(&sim, run_init(&sim.state, &params, NULL) == SHOAL_OK);
    uint64_t now = 0;
    for (uint32_t i = sim.stages; i > 0; i--) {
        carry_out(&sim, (struct run_event){.kind = RUN_STAGE_READY, .stage = i - 1});
    }
    for (uint32_t i = 0; i < 40000 && !run_is_over(&sim.state); i++) {
        struct run_event event = {.now_ns = ++now};
        if (i == fault_step && fault == LOSS) {
            event.kind = RUN_PEER_LOST;
            event.stage = victim;
        } else if (i == fault_step && fault == CANCEL) {
            event.kind = RUN_CANCEL;
        } else if (i == fault_step && fault == STALL) {
            sim.stalled = victim;
            continue;
        } else if (!happen(&sim, &event)) {
            continue;
        }
        carry_out(&sim, event);
    }
    CHECK(&sim, run_is_over(&sim.state)); /* it always ends: by success, or within its deadline */
    if (sim.failed) {
        const struct run_action *last = &actions.list[actions.count - 1];
        CHECK(&sim, fault != NONE);
        CHECK(&sim, fault != LOSS || (last->status == SHOAL_PEER_LOST && last->stage == victim));
        CHECK(&sim, fault != CANCEL || last->status == SHOAL_CANCELLED);
        CHECK(&sim, fault != STALL || (last->status == SHOAL_TIMEOUT && last->stage == victim));
        CHECK(&sim,
              last->stage == RUN_NO_STAGE || strstr(actions.fail_text, names[last->stage]) != NULL);
    }
}

static void test_simulated_pipelines(void **unused) {
    (void)unused;
    const char *text = getenv("SHOAL_TEST_SEED");
    const uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    const char *rounds = getenv("SHOAL_TEST_ROUNDS"); /* from that seed on; 1 repeats a failure */
    const uint64_t count = text == NULL ? 3000 : rounds != NULL ? strtoull(rounds, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        simulate(seed); /* on failure: SHOAL_TEST_SEED=<seed> run_step_test */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_refuses_bad_limits),
        cmocka_unit_test(test_nothing_is_offered_before_all_are_ready),
        cmocka_unit_test(test_in_flight_and_credit_bound_the_offers),
        cmocka_unit_test(test_results_are_delivered_in_order),
        cmocka_unit_test(test_empty_input_finishes),
        cmocka_unit_test(test_busy_takes_offers_back),
        cmocka_unit_test(test_protocol_breaches_name_the_device),
        cmocka_unit_test(test_a_held_result_sent_twice_is_a_breach),
        cmocka_unit_test(test_a_lost_device_fails_the_run),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_a_stage_that_is_never_ready),
        cmocka_unit_test(test_a_stall_names_the_holder),
        cmocka_unit_test(test_a_first_stage_without_credit_is_named),
        cmocka_unit_test(test_simulated_pipelines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
