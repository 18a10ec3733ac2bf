/* The distribution's decisions: each rule of distribute.h on its own, then simulated fleets with
 * shared links, delays, failures and losses, and how long a distribution takes in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/random.h"
#include "protocol/distribute.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define ORIGIN DISTRIBUTE_ORIGIN

static const char *const names[] = {"ann", "bob", "cid", "dot", "eve", "fay", "gus", "hal"};
static struct distribute_actions actions;

/* ---- one rule at a time ---- */

/* needs and has: one text a device, a character a content, '1' = yes. */
static struct distribute_state *make(uint32_t devices, const struct distribute_content *contents,
                                     const char *const *needs, const char *const *has) {
    const uint32_t count = (uint32_t)strlen(needs[0]);
    bool need_table[256] = {false}, has_table[256] = {false};
    for (uint32_t d = 0; d < devices; d++) {
        for (uint32_t c = 0; c < count; c++) {
            need_table[d * count + c] = needs[d][c] == '1';
            has_table[d * count + c] = has != NULL && has[d][c] == '1';
        }
    }
    const struct distribute_params params = {.device_count = devices,
                                             .content_count = count,
                                             .device_names = names,
                                             .contents = contents,
                                             .needs = need_table,
                                             .has = has_table,
                                             .stall_ns = 100};
    struct distribute_state *state;
    assert_int_equal(distribute_create(&params, &state, NULL), SHOAL_OK);
    return state;
}

static void step(struct distribute_state *state, struct distribute_event event) {
    distribute_step(state, &event, &actions);
}

#define STEP(state, ...) step(state, (struct distribute_event){__VA_ARGS__})

static void expect_fetch(uint32_t device, uint32_t content, uint32_t source) {
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct distribute_action *action = &actions.list[i];
        if (action->kind == DISTRIBUTE_FETCH && action->device == device &&
            action->content == content && action->source == source) {
            return;
        }
    }
    fail_msg("device %u was not told to fetch content %u from %u", device, content, source);
}

static void expect_end(const struct distribute_state *state, enum distribute_action_kind kind,
                       shoal_status status, const char *part) {
    assert_true(actions.count > 0);
    const struct distribute_action *last = &actions.list[actions.count - 1];
    assert_int_equal(last->kind, kind);
    assert_int_equal(last->status, status);
    if (strstr(actions.fail_text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", actions.fail_text, part);
    }
    assert_true(distribute_is_over(state));
    assert_true(distribute_deadline_ns(state) == CLOCK_NEVER);
}

static const struct distribute_content small[] = {
    {"alpha", 1000}, {"beta", 2000}, {"gamma", 3000}, {"delta", 4000}};

static void test_create_refuses_bad_counts(void **unused) {
    (void)unused;
    struct distribute_state *state;
    struct distribute_params params = {.device_count = 0};
    assert_int_equal(distribute_create(&params, &state, NULL), SHOAL_INVALID);
    params.device_count = DISTRIBUTE_MAX_DEVICES + 1;
    assert_int_equal(distribute_create(&params, &state, NULL), SHOAL_INVALID);
    params.device_count = 1;
    params.content_count = DISTRIBUTE_MAX_CONTENTS + 1;
    assert_int_equal(distribute_create(&params, &state, NULL), SHOAL_INVALID);
}

static void test_nothing_missing_finishes(void **unused) {
    (void)unused;
    struct distribute_state *state =
        make(2, small, (const char *[]){"10", "00"}, (const char *[]){"10", "01"});
    assert_int_equal(distribute_missing_bytes(state), 0);
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 1);
    expect_end(state, DISTRIBUTE_FINISH, SHOAL_OK, "");
    STEP(state, .kind = DISTRIBUTE_CANCEL);
    assert_int_equal(actions.count, 0);
    distribute_destroy(state);
}

static void test_the_origin_sends_a_shared_content_once(void **unused) {
    (void)unused;
    struct distribute_state *state = make(3, small, (const char *[]){"1", "1", "1"}, NULL);
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 3);
    uint32_t from_origin = 0, first = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (actions.list[i].source == ORIGIN) {
            from_origin++;
            first = actions.list[i].device;
        }
    }
    assert_int_equal(from_origin, 1);
    assert_int_equal(distribute_missing_bytes(state), 3000);
    STEP(state, .kind = DISTRIBUTE_FETCHED, .device = first);
    assert_int_equal(actions.count, 0);
    assert_true(distribute_holds(state, first, 0));
    STEP(state, .kind = DISTRIBUTE_FETCHED, .device = (first + 1) % 3);
    STEP(state, .kind = DISTRIBUTE_FETCHED, .device = (first + 2) % 3);
    expect_end(state, DISTRIBUTE_FINISH, SHOAL_OK, "");
    distribute_destroy(state);
}

static void test_a_device_that_has_it_is_the_source(void **unused) {
    (void)unused;
    struct distribute_state *state =
        make(2, small, (const char *[]){"11", "00"}, (const char *[]){"00", "01"});
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 2);
    expect_fetch(0, 0, ORIGIN);
    expect_fetch(0, 1, 1);
    distribute_destroy(state);
}

static void test_shared_goes_out_first_then_the_largest(void **unused) {
    (void)unused;
    struct distribute_state *state =
        make(2, small, (const char *[]){"0110", "0011"}, NULL); /* gamma is shared */
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 4);
    assert_int_equal(actions.list[0].content, 2);
    assert_int_equal(actions.list[1].content, 3);
    assert_int_equal(actions.list[2].content, 1);
    assert_int_equal(actions.list[3].content, 2); /* the second copy comes from the first device */
    assert_int_equal(actions.list[3].source, actions.list[0].device);
    distribute_destroy(state);
}

static void test_budgets_bound_what_runs_at_once(void **unused) {
    (void)unused;
    struct distribute_content contents[10];
    for (size_t i = 0; i < 10; i++) {
        contents[i] = (struct distribute_content){"big", 50 * MIB};
    }
    struct distribute_state *state = make(1, contents, (const char *[]){"1111111111"}, NULL);
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 3); /* 3 × (1 MiB + 16 KiB) < 4 MiB */
    STEP(state, .kind = DISTRIBUTE_FETCHED, .content = actions.list[0].content);
    assert_int_equal(actions.count, 1);
    distribute_destroy(state);

    bool needs[300];
    struct distribute_content tiny[300];
    for (size_t i = 0; i < 300; i++) {
        tiny[i] = (struct distribute_content){"tiny", 16};
        needs[i] = true;
    }
    const bool has[300] = {false};
    const struct distribute_params params = {.device_count = 1,
                                             .content_count = 300,
                                             .device_names = names,
                                             .contents = tiny,
                                             .needs = needs,
                                             .has = has};
    assert_int_equal(distribute_create(&params, &state, NULL), SHOAL_OK);
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, DISTRIBUTE_MAX_FETCHES);
    distribute_destroy(state);
}

static void test_a_failed_source_is_left_for_another_then_the_origin(void **unused) {
    (void)unused;
    struct distribute_state *state =
        make(3, small, (const char *[]){"1", "0", "0"}, (const char *[]){"0", "1", "1"});
    STEP(state, .kind = DISTRIBUTE_TICK);
    expect_fetch(0, 0, 1);
    STEP(state, .kind = DISTRIBUTE_FAILED, .status = SHOAL_TIMEOUT, .text = "silent");
    expect_fetch(0, 0, 2);
    STEP(state, .kind = DISTRIBUTE_FAILED, .status = SHOAL_CORRUPT);
    expect_fetch(0, 0, ORIGIN);
    for (int i = 0; i < 3; i++) {
        STEP(state, .kind = DISTRIBUTE_FAILED, .status = SHOAL_CORRUPT);
        expect_fetch(0, 0, ORIGIN);
    }
    STEP(state, .kind = DISTRIBUTE_FAILED, .status = SHOAL_CORRUPT, .text = "hash differs");
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_CORRUPT,
               "device ann cannot fetch alpha (0.0 MB) from the origin: hash differs");
    distribute_destroy(state);
}

static void test_an_ended_relay_is_not_the_relays_fault(void **unused) {
    (void)unused;
    struct distribute_state *state = make(2, small, (const char *[]){"1", "1"}, NULL);
    STEP(state, .kind = DISTRIBUTE_TICK);
    expect_fetch(0, 0, ORIGIN);
    expect_fetch(1, 0, 0);
    STEP(state, .kind = DISTRIBUTE_FAILED, .device = 0, .status = SHOAL_TIMEOUT);
    assert_int_equal(actions.count, 1);
    expect_fetch(0, 0, ORIGIN); /* not from 1, which follows 0 itself */
    STEP(state, .kind = DISTRIBUTE_FAILED, .device = 1, .status = SHOAL_CLOSED);
    assert_int_equal(actions.count, 1);
    expect_fetch(1, 0, 0);
    distribute_destroy(state);
}

static void test_a_pair_that_fails_is_not_matched_again(void **unused) {
    (void)unused;
    struct distribute_state *state =
        make(2, small, (const char *[]){"1111", "0000"}, (const char *[]){"0000", "1111"});
    STEP(state, .kind = DISTRIBUTE_TICK);
    assert_int_equal(actions.count, 4);
    for (uint32_t c = 0; c < 3; c++) {
        assert_int_equal(distribute_source(state, 0, c), 1);
        STEP(state, .kind = DISTRIBUTE_FAILED, .content = c, .status = SHOAL_PEER_LOST);
        expect_fetch(0, c, ORIGIN);
    }
    STEP(state, .kind = DISTRIBUTE_FAILED, .content = 3, .status = SHOAL_PEER_LOST);
    expect_fetch(0, 3, ORIGIN);
    distribute_destroy(state);
}

static void test_no_space_fails_at_once(void **unused) {
    (void)unused;
    struct distribute_state *state = make(2, small, (const char *[]){"01", "01"}, NULL);
    STEP(state, .kind = DISTRIBUTE_TICK);
    STEP(state, .kind = DISTRIBUTE_FAILED, .device = 1, .content = 1, .status = SHOAL_NO_SPACE,
         .text = "disk full");
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_NO_SPACE, "device bob cannot fetch beta");
    distribute_destroy(state);
}

static void test_a_lost_device_fails_what_it_misses_only(void **unused) {
    (void)unused;
    const char *const needs[] = {"1", "0", "0"}, *const has[] = {"0", "1", "0"};
    struct distribute_state *state = make(3, small, needs, has);
    STEP(state, .kind = DISTRIBUTE_TICK);
    expect_fetch(0, 0, 1);
    STEP(state, .kind = DISTRIBUTE_LOST, .device = 1);
    STEP(state, .kind = DISTRIBUTE_LOST, .device = 2);
    assert_int_equal(actions.count, 0);
    STEP(state, .kind = DISTRIBUTE_FAILED, .status = SHOAL_PEER_LOST);
    expect_fetch(0, 0, ORIGIN);
    STEP(state, .kind = DISTRIBUTE_LOST, .device = 0, .text = "unplugged");
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_PEER_LOST, "device ann was lost");
    assert_non_null(strstr(actions.fail_text, "unplugged"));
    distribute_destroy(state);
}

static void test_silence_is_a_timeout(void **unused) {
    (void)unused;
    struct distribute_state *state = make(1, small, (const char *[]){"1"}, NULL);
    assert_true(distribute_deadline_ns(state) == CLOCK_NEVER);
    STEP(state, .kind = DISTRIBUTE_TICK, .now_ns = 50);
    assert_int_equal(distribute_deadline_ns(state), 150);
    STEP(state, .kind = DISTRIBUTE_PROGRESS, .now_ns = 120);
    assert_int_equal(distribute_deadline_ns(state), 220);
    STEP(state, .kind = DISTRIBUTE_TICK, .now_ns = 219);
    assert_int_equal(actions.count, 0);
    STEP(state, .kind = DISTRIBUTE_TICK, .now_ns = 220);
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_TIMEOUT, "device ann has received nothing");
    distribute_destroy(state);
}

static void test_an_unasked_report_is_a_breach(void **unused) {
    (void)unused;
    struct distribute_state *state = make(2, small, (const char *[]){"10", "10"}, NULL);
    STEP(state, .kind = DISTRIBUTE_TICK);
    STEP(state, .kind = DISTRIBUTE_FETCHED, .device = 1, .content = 1);
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_PROTOCOL, "device bob reports about beta");
    distribute_destroy(state);
}

static void test_cancel(void **unused) {
    (void)unused;
    struct distribute_state *state = make(1, small, (const char *[]){"1"}, NULL);
    STEP(state, .kind = DISTRIBUTE_CANCEL);
    expect_end(state, DISTRIBUTE_FAIL, SHOAL_CANCELLED, "cancelled");
    distribute_destroy(state);
}

/* ---- simulated fleets ---- */

/*
 * Fluid flows in ticks: in each, what can move is shared equally among the flows that a link
 * carries (max-min fair), every node having one link up and one down. A relay moves whole pieces
 * that are there. Orders and reports take `delay` ticks.
 */
enum { MAX_NODES = 9, MAX_FLEET_CONTENTS = 512, MAX_FLOWS = 1024, MAX_MAIL = 4096 };
#define PIECE (256 * KIB)

struct flow {
    uint32_t device, content, source;
    uint64_t begins; /* tick */
    double moved, grant;
    bool runs, ended; /* ended: the report is underway */
};

struct mail {
    uint64_t due; /* tick */
    struct distribute_event event;
};

struct fleet {
    uint64_t seed, stream, draws, tick, tick_ns;
    uint32_t devices, contents;
    struct distribute_content texts[MAX_FLEET_CONTENTS];
    bool needs[MAX_NODES * MAX_FLEET_CONTENTS], has[MAX_NODES * MAX_FLEET_CONTENTS];
    bool held[MAX_NODES][MAX_FLEET_CONTENTS]; /* in truth; reports come later */
    struct flow *of[MAX_NODES][MAX_FLEET_CONTENTS];
    double up[MAX_NODES], down[MAX_NODES]; /* bytes a tick; the origin is the last node */
    bool lost[MAX_NODES];
    uint32_t delay;     /* ticks, at most */
    uint32_t fail_odds; /* a running flow fails with 1 in so many, each tick; 0 = never */
    bool faults;        /* failures or losses happen */
    struct flow flows[MAX_FLOWS];
    uint32_t flow_count;
    struct mail mail[MAX_MAIL];
    uint32_t mail_count;
    uint32_t origin_sent[MAX_FLEET_CONTENTS];
    struct distribute_state *state;
    bool failed, finished;
    shoal_status status;
};

static uint32_t draw(struct fleet *fleet, uint32_t below) {
    ASSERT(below > 0);
    return random_u32(fleet->stream, fleet->draws++) % below;
}

#define CHECK(fleet, condition)                                                        \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fail_msg("seed %" PRIu64 ": %s does not hold", (fleet)->seed, #condition); \
        }                                                                              \
    } while (0)

static uint64_t weight(const struct fleet *fleet, uint32_t content) {
    const uint64_t bytes = fleet->texts[content].bytes;
    return (bytes < DISTRIBUTE_FETCH_MOST ? bytes : DISTRIBUTE_FETCH_MOST) + DISTRIBUTE_FETCH_EXTRA;
}

static bool needed(const struct fleet *fleet, uint32_t d, uint32_t c) {
    return fleet->needs[(size_t)d * fleet->contents + c];
}

/* Rules 1, 2 and 4 of all that runs, recomputed; rule 5: the origin is not idle. */
static void check_invariants(struct fleet *fleet) {
    uint64_t in[MAX_NODES] = {0}, first_hand[MAX_NODES] = {0}, out[MAX_NODES] = {0}, origin = 0;
    uint32_t count[MAX_NODES] = {0}, origin_readers = 0;
    for (uint32_t d = 0; d < fleet->devices; d++) {
        for (uint32_t c = 0; c < fleet->contents; c++) {
            const uint32_t source = distribute_source(fleet->state, d, c);
            if (source == DISTRIBUTE_NOBODY) {
                continue;
            }
            CHECK(fleet, needed(fleet, d, c) && !distribute_holds(fleet->state, d, c));
            count[d]++;
            *(source == ORIGIN ? &first_hand[d] : &in[d]) += weight(fleet, c);
            *(source == ORIGIN ? &origin : &out[source]) += weight(fleet, c);
            uint32_t from = source, hops = 0; /* no circles */
            while (from < fleet->devices && hops <= fleet->devices) {
                from = distribute_source(fleet->state, from, c);
                hops++;
            }
            CHECK(fleet, hops <= fleet->devices);
        }
    }
    for (uint32_t d = 0; d < fleet->devices; d++) {
        CHECK(fleet, in[d] <= DISTRIBUTE_DEVICE_BUDGET && out[d] <= DISTRIBUTE_DEVICE_BUDGET &&
                         first_hand[d] <= DISTRIBUTE_FROM_ORIGIN_BUDGET);
        CHECK(fleet, count[d] <= DISTRIBUTE_MAX_FETCHES);
        origin_readers += first_hand[d] > 0;
    }
    CHECK(fleet, origin_readers <= DISTRIBUTE_ORIGIN_READERS);
    CHECK(fleet, origin <= DISTRIBUTE_SHARED_BUDGET +
                               fleet->devices * (DISTRIBUTE_FETCH_MOST + DISTRIBUTE_FETCH_EXTRA));
    if (distribute_is_over(fleet->state) ||
        origin + DISTRIBUTE_FETCH_MOST + DISTRIBUTE_FETCH_EXTRA > DISTRIBUTE_SHARED_BUDGET) {
        return;
    }
    for (uint32_t c = 0; c < fleet->contents; c++) {
        bool somewhere = false, wanted = false;
        for (uint32_t d = 0; d < fleet->devices; d++) {
            somewhere = somewhere || distribute_holds(fleet->state, d, c) ||
                        distribute_source(fleet->state, d, c) != DISTRIBUTE_NOBODY;
            wanted = wanted ||
                     (needed(fleet, d, c) && !fleet->lost[d] && count[d] < DISTRIBUTE_MAX_FETCHES &&
                      (first_hand[d] > 0 || origin_readers < DISTRIBUTE_ORIGIN_READERS) &&
                      first_hand[d] + weight(fleet, c) <= DISTRIBUTE_FROM_ORIGIN_BUDGET);
        }
        CHECK(fleet, somewhere || !wanted);
    }
}

static void post(struct fleet *fleet, struct distribute_event event) {
    CHECK(fleet, fleet->mail_count < MAX_MAIL);
    fleet->mail[fleet->mail_count++] =
        (struct mail){.due = fleet->tick + 1 + draw(fleet, fleet->delay), .event = event};
}

static void begin_flow(struct fleet *fleet, const struct distribute_action *action) {
    uint32_t i = 0;
    while (i < fleet->flow_count && fleet->flows[i].runs) {
        i++;
    }
    CHECK(fleet, i < MAX_FLOWS);
    fleet->flow_count += i == fleet->flow_count;
    struct flow *flow = &fleet->flows[i];
    *flow = (struct flow){.device = action->device,
                          .content = action->content,
                          .source = action->source,
                          .begins = fleet->tick + 1 + draw(fleet, fleet->delay),
                          .runs = true};
    fleet->of[action->device][action->content] = flow;
}

static void carry_out(struct fleet *fleet, struct distribute_event event) {
    event.now_ns = fleet->tick * fleet->tick_ns;
    distribute_step(fleet->state, &event, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct distribute_action *action = &actions.list[i];
        CHECK(fleet, !fleet->failed && !fleet->finished);
        if (action->kind == DISTRIBUTE_FAIL) {
            fleet->failed = true;
            fleet->status = action->status;
        } else if (action->kind == DISTRIBUTE_FINISH) {
            fleet->finished = true;
        } else {
            const uint32_t d = action->device, c = action->content, s = action->source;
            CHECK(fleet, needed(fleet, d, c) && !fleet->held[d][c] && fleet->of[d][c] == NULL);
            CHECK(fleet, s == ORIGIN || (s < fleet->devices && s != d));
            fleet->origin_sent[c] += s == ORIGIN;
            CHECK(fleet, fleet->faults || fleet->origin_sent[c] <= 1);
            begin_flow(fleet, action);
        }
    }
    CHECK(fleet, distribute_is_over(fleet->state) == (fleet->failed || fleet->finished));
    check_invariants(fleet);
}

static void end_flow(struct fleet *fleet, struct flow *flow, shoal_status status) {
    flow->runs = false;
    fleet->of[flow->device][flow->content] = NULL;
    fleet->held[flow->device][flow->content] = status == SHOAL_OK;
    post(fleet, (struct distribute_event){.kind = status == SHOAL_OK ? DISTRIBUTE_FETCHED
                                                                     : DISTRIBUTE_FAILED,
                                          .device = flow->device,
                                          .content = flow->content,
                                          .status = status,
                                          .text = "simulated"});
}

/* Nothing is resumed: the worst case. How much a flow may move now, before links are looked at;
 * negative: it must end. */
static double available(const struct fleet *fleet, const struct flow *flow) {
    const double bytes = (double)fleet->texts[flow->content].bytes;
    if (flow->source == ORIGIN || fleet->held[flow->source][flow->content]) {
        return flow->source != ORIGIN && fleet->lost[flow->source] ? -1 : bytes - flow->moved;
    }
    const struct flow *above = fleet->of[flow->source][flow->content];
    if (above == NULL || fleet->lost[flow->source]) {
        return -1;
    }
    const double there = (double)((uint64_t)(above->moved / PIECE) * PIECE);
    return there > flow->moved ? there - flow->moved : 0;
}

/* Max-min fair shares: all flows grow alike until their link is full or they have what they may. */
static void share_links(struct fleet *fleet, struct flow **flows, double *wants, uint32_t count) {
    double up[MAX_NODES], down[MAX_NODES];
    memcpy(up, fleet->up, sizeof up);
    memcpy(down, fleet->down, sizeof down);
    uint32_t left = count;
    while (left > 0) {
        uint32_t ups[MAX_NODES] = {0}, downs[MAX_NODES] = {0};
        for (uint32_t i = 0; i < left; i++) {
            ups[flows[i]->source == ORIGIN ? fleet->devices : flows[i]->source]++;
            downs[flows[i]->device]++;
        }
        double grow = 1e18;
        for (uint32_t i = 0; i < left; i++) {
            const uint32_t s = flows[i]->source == ORIGIN ? fleet->devices : flows[i]->source;
            const double a = up[s] / ups[s], b = down[flows[i]->device] / downs[flows[i]->device];
            grow = a < grow ? a : grow;
            grow = b < grow ? b : grow;
            grow = wants[i] < grow ? wants[i] : grow;
        }
        for (uint32_t i = 0; i < left; i++) {
            const uint32_t s = flows[i]->source == ORIGIN ? fleet->devices : flows[i]->source;
            flows[i]->grant += grow;
            wants[i] -= grow;
            up[s] -= grow;
            down[flows[i]->device] -= grow;
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < left; i++) {
            const uint32_t s = flows[i]->source == ORIGIN ? fleet->devices : flows[i]->source;
            if (wants[i] > 0.5 && up[s] > 0.5 && down[flows[i]->device] > 0.5) {
                flows[kept] = flows[i];
                wants[kept++] = wants[i];
            }
        }
        CHECK(fleet, kept < left);
        left = kept;
    }
}

static void move_bytes(struct fleet *fleet) {
    static struct flow *flows[MAX_FLOWS];
    static double wants[MAX_FLOWS];
    uint32_t count = 0;
    for (uint32_t i = 0; i < fleet->flow_count; i++) {
        struct flow *flow = &fleet->flows[i];
        if (!flow->runs || flow->begins > fleet->tick || fleet->lost[flow->device]) {
            continue;
        }
        const double most = available(fleet, flow);
        if (most < 0) {
            end_flow(fleet, flow, fleet->lost[flow->source] ? SHOAL_PEER_LOST : SHOAL_CLOSED);
        } else if (fleet->fail_odds > 0 && draw(fleet, fleet->fail_odds) == 0) {
            static const shoal_status causes[] = {SHOAL_TIMEOUT, SHOAL_CORRUPT, SHOAL_PEER_LOST};
            end_flow(fleet, flow, causes[draw(fleet, 3)]);
        } else if (fleet->texts[flow->content].bytes == 0) {
            end_flow(fleet, flow, SHOAL_OK);
        } else if (most > 0) {
            flow->grant = 0;
            wants[count] = most;
            flows[count++] = flow;
        }
    }
    static struct flow *all[MAX_FLOWS];
    memcpy(all, flows, count * sizeof(struct flow *));
    share_links(fleet, flows, wants, count);
    for (uint32_t i = 0; i < count; i++) {
        all[i]->moved += all[i]->grant;
        if (all[i]->moved > (double)fleet->texts[all[i]->content].bytes - 1) {
            end_flow(fleet, all[i], SHOAL_OK);
        }
    }
}

/* The mail that is due, and news of all that receive. */
static void deliver(struct fleet *fleet) {
    for (uint32_t i = 0; i < fleet->mail_count;) {
        if (fleet->mail[i].due > fleet->tick) {
            i++;
            continue;
        }
        const struct distribute_event event = fleet->mail[i].event;
        fleet->mail[i] = fleet->mail[--fleet->mail_count];
        if (!fleet->lost[event.device] || event.kind == DISTRIBUTE_LOST) {
            carry_out(fleet, event);
        }
    }
}

static void begin(struct fleet *fleet, uint64_t stall_ns) {
    const struct distribute_params params = {.device_count = fleet->devices,
                                             .content_count = fleet->contents,
                                             .device_names = names,
                                             .contents = fleet->texts,
                                             .needs = fleet->needs,
                                             .has = fleet->has,
                                             .stall_ns = stall_ns};
    assert_int_equal(distribute_create(&params, &fleet->state, NULL), SHOAL_OK);
    for (uint32_t d = 0; d < fleet->devices; d++) {
        for (uint32_t c = 0; c < fleet->contents; c++) {
            fleet->held[d][c] = fleet->has[(size_t)d * fleet->contents + c];
        }
    }
    carry_out(fleet, (struct distribute_event){.kind = DISTRIBUTE_TICK});
}

static struct fleet *new_fleet(uint64_t seed, uint32_t devices, uint64_t tick_ns) {
    static struct fleet fleet;
    memset(&fleet, 0, sizeof fleet);
    fleet.seed = seed;
    fleet.stream = random_stream(seed, "distribute_test");
    fleet.devices = devices;
    fleet.tick_ns = tick_ns;
    fleet.delay = 1;
    return &fleet;
}

/* ---- how long it takes ---- */

#define RATE 12.5e6 /* bytes a second: 100 Mbit/s */
#define TICK_NS (20 * CLOCK_MS)

static void add_content(struct fleet *fleet, uint64_t bytes) {
    ASSERT(fleet->contents < MAX_FLEET_CONTENTS);
    fleet->texts[fleet->contents++] = (struct distribute_content){"content", bytes};
}

/* The tensors of a transformer: per layer eight matrices' worth and eight vectors. */
static void add_transformer(struct fleet *fleet, uint64_t layers, uint64_t width) {
    for (uint64_t l = 0; l < layers; l++) {
        for (int i = 0; i < 4; i++) {
            add_content(fleet, 4 * width * width);
            add_content(fleet, 4 * width);
        }
        for (int i = 0; i < 2; i++) {
            add_content(fleet, 16 * width * width);
            add_content(fleet, 4 * width);
            add_content(fleet, 4 * width);
        }
    }
}

/* Virtual seconds until all is there, divided by the bytes that leave the origin over its rate. */
static double run_fleet(struct fleet *fleet) {
    double unique = 0;
    for (uint32_t c = 0; c < fleet->contents; c++) {
        unique += (double)fleet->texts[c].bytes;
    }
    const double per_tick = RATE * (double)TICK_NS * 1e-9;
    for (uint32_t i = 0; i <= fleet->devices; i++) {
        fleet->up[i] = fleet->down[i] = per_tick;
    }
    fleet->delay = 3; /* orders and reports take up to 60 ms */
    begin(fleet, 0);
    while (!distribute_is_over(fleet->state)) {
        fleet->tick++;
        CHECK(fleet, (double)fleet->tick * per_tick < 10 * unique + 1000 * per_tick);
        move_bytes(fleet);
        deliver(fleet);
    }
    CHECK(fleet, fleet->finished);
    for (uint32_t c = 0; c < fleet->contents; c++) {
        CHECK(fleet, fleet->origin_sent[c] == 1);
    }
    distribute_destroy(fleet->state);
    return (double)fleet->tick * per_tick / unique;
}

static void assert_within(const char *what, double ratio, double bound) {
    print_message("%s: %.3f of bytes/rate, bound %.2f\n", what, ratio, bound);
    if (ratio > bound) {
        fail_msg("%s takes %.3f of bytes/rate, more than %.2f", what, ratio, bound);
    }
}

static void test_disjoint_needs_keep_the_origin_busy(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(1, 8, TICK_NS);
    add_transformer(fleet, 24, 1024);
    for (uint32_t c = 0; c < fleet->contents; c++) { /* by stage: 3 layers each */
        const uint32_t d = c * 8 / fleet->contents;
        fleet->needs[d * fleet->contents + c] = true;
    }
    assert_within("24 layers by stage to 8 devices", run_fleet(fleet), 1.05);
}

static void need_all(struct fleet *fleet) {
    for (uint32_t i = 0; i < fleet->devices * fleet->contents; i++) {
        fleet->needs[i] = true;
    }
}

static void test_everything_for_all_devices(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(1, 8, TICK_NS);
    add_transformer(fleet, 24, 1024);
    need_all(fleet);
    assert_within("24 layers to each of 8 devices", run_fleet(fleet), 1.15);
}

static void test_a_large_tensor_does_not_hold_up_the_rest(void **unused) {
    (void)unused;
    struct fleet *fleet = new_fleet(1, 8, TICK_NS);
    add_content(fleet, 125000000);
    add_transformer(fleet, 12, 768);
    need_all(fleet);
    assert_within("125 MB and 12 layers to each of 8 devices", run_fleet(fleet), 1.15);
    fleet = new_fleet(1, 8, TICK_NS);
    add_content(fleet, 125000000);
    need_all(fleet);
    assert_within("125 MB to each of 8 devices", run_fleet(fleet), 1.15);
}

/* ---- random fleets ---- */

static void simulate(uint64_t seed) {
    struct fleet *fleet = new_fleet(seed, 1, 10 * CLOCK_MS);
    fleet->devices = 1 + draw(fleet, MAX_NODES - 1);
    const uint32_t contents = draw(fleet, 24);
    for (uint32_t c = 0; c < contents; c++) {
        static const uint32_t most[] = {10, 100000, 3000000, 20000000};
        add_content(fleet, draw(fleet, most[draw(fleet, 4)]));
    }
    const uint32_t density = 1 + draw(fleet, 4);
    for (uint32_t i = 0; i < fleet->devices * contents; i++) {
        fleet->needs[i] = draw(fleet, 4) < density;
        fleet->has[i] = draw(fleet, 5) == 0;
    }
    for (uint32_t i = 0; i <= fleet->devices; i++) {
        fleet->up[i] = 100000 + draw(fleet, 2000000);
        fleet->down[i] = 100000 + draw(fleet, 2000000);
    }
    fleet->delay = 1 + draw(fleet, 20);
    enum { NONE, FAILURES, LOSS, CANCEL, FAULTS };
    const uint32_t fault = draw(fleet, FAULTS), victim = draw(fleet, fleet->devices);
    const uint64_t fault_tick = 1 + draw(fleet, 300);
    fleet->faults = fault == FAILURES || fault == LOSS;
    fleet->fail_odds = fault == FAILURES ? 20 + draw(fleet, 2000) : 0;
    begin(fleet, fault == LOSS ? 0 : 3600 * CLOCK_SECOND);
    while (!distribute_is_over(fleet->state)) {
        fleet->tick++;
        CHECK(fleet, fleet->tick < 200000); /* it always ends */
        if (fault == LOSS && fleet->tick == fault_tick) {
            fleet->lost[victim] = true;
            post(fleet, (struct distribute_event){.kind = DISTRIBUTE_LOST, .device = victim});
        } else if (fault == CANCEL && fleet->tick == fault_tick) {
            carry_out(fleet, (struct distribute_event){.kind = DISTRIBUTE_CANCEL});
        }
        move_bytes(fleet);
        deliver(fleet);
    }
    const bool happened = fleet->tick >= fault_tick;
    CHECK(fleet, fleet->finished || fault != NONE);
    if (fleet->finished) {
        CHECK(fleet, distribute_missing_bytes(fleet->state) == 0);
        CHECK(fleet, fault != CANCEL || !happened || contents == 0);
        for (uint32_t d = 0; d < fleet->devices; d++) {
            for (uint32_t c = 0; c < contents; c++) {
                CHECK(fleet, !needed(fleet, d, c) || fleet->held[d][c]);
            }
        }
    } else {
        CHECK(fleet, fault != LOSS || fleet->status == SHOAL_PEER_LOST);
        CHECK(fleet, fault != CANCEL || fleet->status == SHOAL_CANCELLED);
    }
    distribute_destroy(fleet->state);
}

static void test_simulated_fleets(void **unused) {
    (void)unused;
    const char *text = getenv("SHOAL_TEST_SEED");
    const uint64_t first = text != NULL ? strtoull(text, NULL, 10) : 1;
    const char *rounds = getenv("SHOAL_TEST_ROUNDS"); /* from that seed on; 1 repeats a failure */
    const uint64_t count = text == NULL ? 300 : rounds != NULL ? strtoull(rounds, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + count; seed++) {
        simulate(seed); /* on failure: SHOAL_TEST_SEED=<seed> distribute_step_test */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_refuses_bad_counts),
        cmocka_unit_test(test_nothing_missing_finishes),
        cmocka_unit_test(test_the_origin_sends_a_shared_content_once),
        cmocka_unit_test(test_a_device_that_has_it_is_the_source),
        cmocka_unit_test(test_shared_goes_out_first_then_the_largest),
        cmocka_unit_test(test_budgets_bound_what_runs_at_once),
        cmocka_unit_test(test_a_failed_source_is_left_for_another_then_the_origin),
        cmocka_unit_test(test_an_ended_relay_is_not_the_relays_fault),
        cmocka_unit_test(test_a_pair_that_fails_is_not_matched_again),
        cmocka_unit_test(test_no_space_fails_at_once),
        cmocka_unit_test(test_a_lost_device_fails_what_it_misses_only),
        cmocka_unit_test(test_silence_is_a_timeout),
        cmocka_unit_test(test_an_unasked_report_is_a_breach),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_disjoint_needs_keep_the_origin_busy),
        cmocka_unit_test(test_everything_for_all_devices),
        cmocka_unit_test(test_a_large_tensor_does_not_hold_up_the_rest),
        cmocka_unit_test(test_simulated_fleets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
