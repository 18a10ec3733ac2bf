#include "protocol/run.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

shoal_status run_init(struct run_state *state, const struct run_params *params,
                      struct shoal_error *error) {
    if (params->stage_count == 0 || params->stage_count > RUN_MAX_STAGES) {
        return error_set(error, SHOAL_INVALID, "a run has 1 to %d stages, not %" PRIu32,
                         RUN_MAX_STAGES, params->stage_count);
    }
    if (params->in_flight == 0 || params->read_ahead == 0 || params->in_flight > RUN_MAX_SLOTS ||
        params->read_ahead > RUN_MAX_SLOTS - params->in_flight) {
        return error_set(error, SHOAL_INVALID,
                         "microbatches in flight (%" PRIu32 ") and read ahead (%" PRIu32
                         ") must each be at least 1, together at most %d",
                         params->in_flight, params->read_ahead, RUN_MAX_SLOTS);
    }
    if (params->stall_ns > 0 && params->answer_ns == 0) {
        return error_set(error, SHOAL_INVALID, "devices need time to answer: answer_ns is 0");
    }
    memset(state, 0, sizeof *state);
    state->stage_count = params->stage_count;
    state->in_flight = params->in_flight;
    state->read_ahead = params->read_ahead;
    state->credits = params->credits;
    state->ready_ns = params->ready_ns;
    state->stall_ns = params->stall_ns;
    state->answer_ns = params->answer_ns;
    state->started_ns = params->now_ns;
    state->moved_ns = params->now_ns;
    for (uint32_t i = 0; i < params->stage_count; i++) {
        (void)snprintf(state->names[i], RUN_NAME_BYTES, "%s", params->device_names[i]);
    }
    return SHOAL_OK;
}

bool run_all_ready(const struct run_state *state) {
    for (uint32_t i = 0; i < state->stage_count; i++) {
        if (!state->ready[i]) {
            return false;
        }
    }
    return true;
}

bool run_is_over(const struct run_state *state) {
    return state->over;
}

uint64_t run_delivered(const struct run_state *state) {
    return state->delivered;
}

uint64_t run_items_delivered(const struct run_state *state) {
    return state->items_delivered;
}

uint64_t run_next_input(const struct run_state *state) {
    return state->inputs;
}

uint32_t run_slot(const struct run_state *state, uint64_t number) {
    return (uint32_t)(number % (state->in_flight + state->read_ahead));
}

bool run_wants_input(const struct run_state *state) {
    return !state->over && !state->end_of_input &&
           state->inputs - state->offered < state->read_ahead;
}

/* `after` from `since`, where neither an absent deadline nor an overflow ever comes due. */
static uint64_t later(uint64_t since, uint64_t after) {
    return after > CLOCK_NEVER - since ? CLOCK_NEVER : since + after;
}

uint64_t run_deadline_ns(const struct run_state *state) {
    if (state->over) {
        return CLOCK_NEVER;
    }
    if (!run_all_ready(state)) {
        return state->ready_ns > 0 ? later(state->started_ns, state->ready_ns) : CLOCK_NEVER;
    }
    if (state->stall_ns == 0 || state->delivered == state->inputs) {
        return CLOCK_NEVER;
    }
    return state->asked ? later(state->asked_ns, state->answer_ns)
                        : later(state->moved_ns, state->stall_ns);
}

static struct run_action *push(struct run_actions *actions, enum run_action_kind kind) {
    ASSERT(actions->count < sizeof actions->list / sizeof actions->list[0]);
    struct run_action *action = &actions->list[actions->count++];
    *action = (struct run_action){.kind = kind, .stage = RUN_NO_STAGE, .status = SHOAL_OK};
    return action;
}

__attribute__((format(printf, 5, 6))) static void fail(struct run_state *state,
                                                       struct run_actions *actions,
                                                       shoal_status status, uint32_t stage,
                                                       const char *format, ...) {
    struct run_action *action = push(actions, RUN_FAIL);
    action->status = status;
    action->stage = stage;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(actions->fail_text, sizeof actions->fail_text, format, arguments);
    va_end(arguments);
    state->over = true;
}

/* The first stage not known to have finished microbatch `number` (rule 7). */
static uint32_t holder(const struct run_state *state, uint64_t number) {
    uint32_t known = 0; /* stages known to have finished it */
    for (uint32_t i = state->stage_count; i > 0; i--) {
        if (state->done[i - 1] > number) {
            known = i;
            break;
        }
    }
    return known < state->stage_count ? known : state->stage_count - 1;
}

/* The oldest undelivered microbatch has moved, or is a new one: its deadline starts again. */
static void note_move(struct run_state *state, uint64_t now_ns) {
    state->moved_ns = now_ns;
    state->asked = false;
}

static void offer(struct run_state *state, struct run_actions *actions, uint64_t now_ns) {
    if (!run_all_ready(state)) {
        return;
    }
    while (state->credits > 0 && state->offered < state->inputs &&
           state->offered - state->delivered < state->in_flight) {
        if (state->offered == state->delivered) {
            note_move(state, now_ns);
        }
        struct run_action *action = push(actions, RUN_OFFER);
        action->number = state->offered;
        action->items = state->items[run_slot(state, state->offered)];
        state->offered++;
        state->credits--;
    }
}

static void deliver(struct run_state *state, struct run_actions *actions, uint64_t now_ns) {
    while (state->delivered < state->offered && state->arrived[run_slot(state, state->delivered)]) {
        const uint32_t slot = run_slot(state, state->delivered);
        struct run_action *action = push(actions, RUN_DELIVER);
        action->number = state->delivered;
        action->items = state->items[slot];
        state->arrived[slot] = false;
        state->items_delivered += state->items[slot];
        state->delivered++;
        note_move(state, now_ns);
    }
}

static void on_input(struct run_state *state, const struct run_event *event) {
    ASSERT(run_wants_input(state) && event->number == state->inputs);
    if (state->inputs == state->delivered) {
        note_move(state, event->now_ns);
    }
    const uint32_t slot = run_slot(state, event->number);
    state->items[slot] = event->items;
    state->arrived[slot] = false;
    state->inputs++;
}

static void on_busy(struct run_state *state, const struct run_event *event) {
    ASSERT(event->number >= state->delivered && event->number < state->offered);
    ASSERT(!state->arrived[run_slot(state, event->number)]);
    state->offered = event->number;
    state->credits = 0;
}

static void on_result(struct run_state *state, const struct run_event *event,
                      struct run_actions *actions) {
    const char *name = state->names[event->stage];
    if (event->stage != state->stage_count - 1) {
        fail(state, actions, SHOAL_PROTOCOL, event->stage,
             "device %s sent a result (microbatch %" PRIu64 "), but only %s, the last stage, may",
             name, event->number, state->names[state->stage_count - 1]);
    } else if (event->number >= state->offered) {
        fail(state, actions, SHOAL_PROTOCOL, event->stage,
             "device %s sent a result for microbatch %" PRIu64 ", which was never offered", name,
             event->number);
    } else if (event->number < state->delivered || state->arrived[run_slot(state, event->number)]) {
        fail(state, actions, SHOAL_PROTOCOL, event->stage,
             "device %s sent the result of microbatch %" PRIu64 " twice", name, event->number);
    } else {
        state->arrived[run_slot(state, event->number)] = true;
        deliver(state, actions, event->now_ns);
    }
}

static void on_progress(struct run_state *state, const struct run_event *event,
                        struct run_actions *actions) {
    const uint32_t stage = event->stage;
    if (event->number > state->offered || event->number < state->done[stage]) {
        fail(state, actions, SHOAL_PROTOCOL, stage,
             "device %s says it has finished %" PRIu64 " microbatches; it said %" PRIu64
             " before, and %" PRIu64 " were offered",
             state->names[stage], event->number, state->done[stage], state->offered);
        return;
    }
    const uint32_t before = holder(state, state->delivered);
    const bool finished = state->done[state->stage_count - 1] > state->delivered;
    state->done[stage] = event->number;
    state->answered[stage] = true;
    if (state->delivered < state->offered &&
        (holder(state, state->delivered) != before ||
         (state->done[state->stage_count - 1] > state->delivered) != finished)) {
        note_move(state, event->now_ns);
    }
}

static void fail_stalled(struct run_state *state, struct run_actions *actions, uint64_t now_ns) {
    const double waited_s = (double)(now_ns - state->moved_ns) * 1e-9;
    const uint64_t oldest = state->delivered;
    if (oldest == state->offered) {
        fail(state, actions, SHOAL_TIMEOUT, 0,
             "device %s (stage 1 of %" PRIu32
             ") has taken no microbatch for %.1f s (number %" PRIu64 " waits); %" PRIu64
             " results were delivered",
             state->names[0], state->stage_count, waited_s, oldest, state->delivered);
        return;
    }
    const uint32_t stage = holder(state, oldest);
    fail(state, actions, SHOAL_TIMEOUT, stage,
         "device %s (stage %" PRIu32 " of %" PRIu32 ") %s microbatch %" PRIu64
         " for %.1f s and %s; %" PRIu64 " results were delivered",
         state->names[stage], stage + 1, state->stage_count,
         state->done[stage] > oldest ? "says that it is done with, but has not delivered,"
                                     : "has not advanced",
         oldest, waited_s, state->answered[stage] ? "is alive" : "does not answer either",
         state->delivered);
}

static void check_deadlines(struct run_state *state, struct run_actions *actions, uint64_t now_ns) {
    if (now_ns < run_deadline_ns(state)) {
        return;
    }
    if (!run_all_ready(state)) {
        uint32_t stage = 0;
        while (state->ready[stage]) {
            stage++;
        }
        fail(state, actions, SHOAL_TIMEOUT, stage,
             "device %s (stage %" PRIu32 " of %" PRIu32 ") was not ready within %.1f s",
             state->names[stage], stage + 1, state->stage_count, (double)state->ready_ns * 1e-9);
    } else if (!state->asked) {
        state->asked = true;
        state->asked_ns = now_ns;
        memset(state->answered, 0, sizeof state->answered);
        (void)push(actions, RUN_ASK_PROGRESS);
    } else {
        fail_stalled(state, actions, now_ns);
    }
}

void run_step(struct run_state *state, const struct run_event *event, struct run_actions *actions) {
    actions->count = 0;
    actions->fail_text[0] = '\0';
    if (state->over) {
        return;
    }
    ASSERT(event->stage < state->stage_count ||
           (event->kind != RUN_STAGE_READY && event->kind != RUN_RESULT &&
            event->kind != RUN_PROGRESS && event->kind != RUN_PEER_LOST));
    switch (event->kind) {
    case RUN_STAGE_READY:
        if (!state->ready[event->stage]) {
            state->ready[event->stage] = true;
            note_move(state, event->now_ns);
        }
        break;
    case RUN_INPUT:
        on_input(state, event);
        break;
    case RUN_END_OF_INPUT:
        state->end_of_input = true;
        break;
    case RUN_CREDIT:
        state->credits =
            event->count > UINT64_MAX - state->credits ? UINT64_MAX : state->credits + event->count;
        break;
    case RUN_BUSY:
        on_busy(state, event);
        return; /* the next RUN_CREDIT goes on */
    case RUN_RESULT:
        on_result(state, event, actions);
        break;
    case RUN_PROGRESS:
        on_progress(state, event, actions);
        break;
    case RUN_PEER_LOST:
        fail(state, actions, SHOAL_PEER_LOST, event->stage,
             "device %s (stage %" PRIu32 " of %" PRIu32 ") was lost: %.80s; %" PRIu64
             " results were delivered before",
             state->names[event->stage], event->stage + 1, state->stage_count,
             event->text != NULL ? event->text : "no reason given", state->delivered);
        break;
    case RUN_TICK:
        break;
    case RUN_CANCEL:
        fail(state, actions, SHOAL_CANCELLED, RUN_NO_STAGE,
             "cancelled; %" PRIu64 " results were delivered before", state->delivered);
        break;
    }
    if (state->over) {
        return;
    }
    offer(state, actions, event->now_ns);
    if (state->end_of_input && state->delivered == state->inputs) {
        (void)push(actions, RUN_FINISH);
        state->over = true;
        return;
    }
    check_deadlines(state, actions, event->now_ns);
}
