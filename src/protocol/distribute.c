#include "protocol/distribute.h"

#include "base/assert.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELAY_POINTS 1
#define HOLDER_POINTS 4
#define ORIGIN_ONLY_POINTS 8
#define MAX_POINTS 20
#define MAX_PAIR_FAILURES 3

/* Of one device and content. */
struct want {
    uint32_t source; /* of the running fetch; DISTRIBUTE_NOBODY: none */
    uint32_t avoid;  /* the device that failed last */
    uint8_t points;
    uint16_t readers;   /* devices that fetch it from here now */
    bool missing, held; /* missing: needed and not held */
    bool shared;        /* several lacked it when its fetch from the origin began */
};

struct content {
    uint64_t weight;
    uint32_t missing, holders, active; /* devices */
};

struct device {
    uint32_t *list; /* contents that it misses, in no order */
    uint32_t missing, fetches;
    uint64_t from_origin, from_devices, sends; /* weights of running fetches */
    uint64_t moved_ns;
    bool lost;
};

struct distribute_state {
    uint32_t device_count, content_count;
    const char *const *names;
    const struct distribute_content *texts;
    struct want *wants; /* [device_count][content_count] */
    struct content *contents;
    struct device *devices;
    uint8_t *pair_failures; /* [device_count][device_count]: receiver, source */
    uint32_t *lists;        /* the devices' */
    uint32_t *order;        /* contents as the origin sends them */
    uint32_t first;         /* all before it in order are missing nowhere */
    struct distribute_action *actions;
    uint64_t origin_shared, origin_sends; /* weights */
    uint32_t origin_readers;              /* devices with a fetch from the origin */
    uint64_t stall_ns, missing_bytes, missing;
    uint32_t turn; /* the device that chooses first */
    bool over;
};

static struct want *want_of(const struct distribute_state *state, uint32_t device,
                            uint32_t content) {
    return &state->wants[(size_t)device * state->content_count + content];
}

/* ---- creation ---- */

struct rank {
    uint64_t bytes;
    uint32_t sharers, content;
};

static int compare_ranks(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    if (x->sharers != y->sharers) {
        return x->sharers > y->sharers ? -1 : 1;
    }
    if (x->bytes != y->bytes) {
        return x->bytes > y->bytes ? -1 : 1;
    }
    return x->content < y->content ? -1 : 1;
}

static shoal_status make_order(struct distribute_state *state, struct shoal_error *error) {
    struct rank *ranks = mem_calloc(state->content_count + 1, sizeof *ranks);
    if (ranks == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    }
    for (uint32_t c = 0; c < state->content_count; c++) {
        ranks[c] = (struct rank){
            .bytes = state->texts[c].bytes, .sharers = state->contents[c].missing, .content = c};
    }
    qsort(ranks, state->content_count, sizeof *ranks, compare_ranks);
    for (uint32_t c = 0; c < state->content_count; c++) {
        state->order[c] = ranks[c].content;
    }
    mem_free(ranks);
    return SHOAL_OK;
}

static void take_in(struct distribute_state *state, const struct distribute_params *params) {
    uint32_t *list = state->lists;
    for (uint32_t c = 0; c < state->content_count; c++) {
        const uint64_t bytes = params->contents[c].bytes;
        state->contents[c].weight =
            (bytes < DISTRIBUTE_FETCH_MOST ? bytes : DISTRIBUTE_FETCH_MOST) +
            DISTRIBUTE_FETCH_EXTRA;
    }
    for (uint32_t d = 0; d < state->device_count; d++) {
        struct device *device = &state->devices[d];
        device->moved_ns = params->now_ns;
        device->list = list;
        for (uint32_t c = 0; c < state->content_count; c++) {
            struct want *want = want_of(state, d, c);
            const size_t index = (size_t)d * state->content_count + c;
            want->source = want->avoid = DISTRIBUTE_NOBODY;
            want->held = params->has[index];
            want->missing = params->needs[index] && !want->held;
            state->contents[c].holders += want->held;
            if (want->missing) {
                state->contents[c].missing++;
                state->missing_bytes += params->contents[c].bytes;
                state->missing++;
                device->list[device->missing++] = c;
            }
        }
        list += device->missing;
    }
}

shoal_status distribute_create(const struct distribute_params *params,
                               struct distribute_state **out, struct shoal_error *error) {
    const size_t devices = params->device_count, contents = params->content_count;
    if (devices == 0 || devices > DISTRIBUTE_MAX_DEVICES || contents > DISTRIBUTE_MAX_CONTENTS) {
        return error_set(error, SHOAL_INVALID,
                         "a distribution has 1 to %d devices and at most %d contents, not %zu and "
                         "%zu",
                         DISTRIBUTE_MAX_DEVICES, DISTRIBUTE_MAX_CONTENTS, devices, contents);
    }
    struct distribute_state *state = mem_calloc(1, sizeof *state);
    if (state == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    }
    state->device_count = params->device_count;
    state->content_count = params->content_count;
    state->names = params->device_names;
    state->texts = params->contents;
    state->stall_ns = params->stall_ns;
    state->wants = mem_calloc(devices * contents + 1, sizeof *state->wants);
    state->contents = mem_calloc(contents + 1, sizeof *state->contents);
    state->devices = mem_calloc(devices, sizeof *state->devices);
    state->pair_failures = mem_calloc(devices * devices, 1);
    state->lists = mem_calloc(devices * contents + 1, sizeof *state->lists);
    state->order = mem_calloc(contents + 1, sizeof *state->order);
    state->actions = mem_calloc(devices * DISTRIBUTE_MAX_FETCHES + 1, sizeof *state->actions);
    shoal_status status = SHOAL_OK;
    if (state->wants == NULL || state->contents == NULL || state->devices == NULL ||
        state->pair_failures == NULL || state->lists == NULL || state->order == NULL ||
        state->actions == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    } else {
        take_in(state, params);
        status = make_order(state, error);
    }
    if (status != SHOAL_OK) {
        distribute_destroy(state);
        return status;
    }
    *out = state;
    return SHOAL_OK;
}

void distribute_destroy(struct distribute_state *state) {
    if (state == NULL) {
        return;
    }
    mem_free(state->wants);
    mem_free(state->contents);
    mem_free(state->devices);
    mem_free(state->pair_failures);
    mem_free(state->lists);
    mem_free(state->order);
    mem_free(state->actions);
    mem_free(state);
}

/* ---- questions ---- */

bool distribute_is_over(const struct distribute_state *state) {
    return state->over;
}

uint64_t distribute_missing_bytes(const struct distribute_state *state) {
    return state->missing_bytes;
}

uint32_t distribute_source(const struct distribute_state *state, uint32_t device,
                           uint32_t content) {
    ASSERT(device < state->device_count && content < state->content_count);
    return want_of(state, device, content)->source;
}

bool distribute_holds(const struct distribute_state *state, uint32_t device, uint32_t content) {
    ASSERT(device < state->device_count && content < state->content_count);
    return want_of(state, device, content)->held;
}

static uint64_t due_ns(const struct distribute_state *state, const struct device *device) {
    if (state->stall_ns == 0 || device->fetches == 0 ||
        state->stall_ns > CLOCK_NEVER - device->moved_ns) {
        return CLOCK_NEVER;
    }
    return device->moved_ns + state->stall_ns;
}

uint64_t distribute_deadline_ns(const struct distribute_state *state) {
    uint64_t deadline = CLOCK_NEVER;
    for (uint32_t d = 0; d < state->device_count && !state->over; d++) {
        const uint64_t due = due_ns(state, &state->devices[d]);
        deadline = due < deadline ? due : deadline;
    }
    return deadline;
}

/* ---- ends ---- */

static struct distribute_action *push(struct distribute_state *state,
                                      struct distribute_actions *actions,
                                      enum distribute_action_kind kind) {
    ASSERT(actions->count <= state->device_count * DISTRIBUTE_MAX_FETCHES);
    struct distribute_action *action = &state->actions[actions->count++];
    *action = (struct distribute_action){
        .kind = kind, .device = DISTRIBUTE_NOBODY, .source = DISTRIBUTE_NOBODY};
    return action;
}

__attribute__((format(printf, 5, 6))) static void fail(struct distribute_state *state,
                                                       struct distribute_actions *actions,
                                                       shoal_status status, uint32_t device,
                                                       const char *format, ...) {
    struct distribute_action *action = push(state, actions, DISTRIBUTE_FAIL);
    action->status = status;
    action->device = device;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(actions->fail_text, sizeof actions->fail_text, format, arguments);
    va_end(arguments);
    state->over = true;
}

static const char *source_name(const struct distribute_state *state, uint32_t source) {
    return source == DISTRIBUTE_ORIGIN ? "the origin" : state->names[source];
}

/* ---- fetches ---- */

static void begin_fetch(struct distribute_state *state, struct distribute_actions *actions,
                        uint32_t d, uint32_t c, uint32_t source, uint64_t now_ns) {
    struct want *want = want_of(state, d, c);
    struct device *device = &state->devices[d];
    struct content *content = &state->contents[c];
    ASSERT(want->missing && want->source == DISTRIBUTE_NOBODY && source != d);
    if (source == DISTRIBUTE_ORIGIN) {
        state->origin_readers += device->from_origin == 0;
        device->from_origin += content->weight;
        state->origin_sends += content->weight;
        want->shared = content->missing > 1;
        state->origin_shared += want->shared ? content->weight : 0;
    } else {
        device->from_devices += content->weight;
        state->devices[source].sends += content->weight;
        want_of(state, source, c)->readers++;
    }
    if (device->fetches++ == 0) {
        device->moved_ns = now_ns;
    }
    want->source = source;
    content->active++;
    struct distribute_action *action = push(state, actions, DISTRIBUTE_FETCH);
    action->device = d;
    action->content = c;
    action->source = source;
}

static void end_fetch(struct distribute_state *state, uint32_t d, uint32_t c, uint64_t now_ns) {
    struct want *want = want_of(state, d, c);
    struct device *device = &state->devices[d];
    struct content *content = &state->contents[c];
    if (want->source == DISTRIBUTE_ORIGIN) {
        device->from_origin -= content->weight;
        state->origin_readers -= device->from_origin == 0;
        state->origin_sends -= content->weight;
        state->origin_shared -= want->shared ? content->weight : 0;
    } else {
        device->from_devices -= content->weight;
        state->devices[want->source].sends -= content->weight;
        want_of(state, want->source, c)->readers--;
    }
    device->fetches--;
    device->moved_ns = now_ns;
    want->source = DISTRIBUTE_NOBODY;
    content->active--;
}

/* ---- choosing ---- */

/* Whether what `source` has or receives of a content comes from a holder or the origin, and not
 * through `reader` (rule 2). */
static bool is_sound(const struct distribute_state *state, uint32_t source, uint32_t content,
                     uint32_t reader) {
    for (uint32_t steps = 0; steps <= state->device_count; steps++) {
        if (source == DISTRIBUTE_ORIGIN) {
            return true;
        }
        if (source == DISTRIBUTE_NOBODY || source == reader || state->devices[source].lost) {
            return false;
        }
        const struct want *want = want_of(state, source, content);
        if (want->held) {
            return true;
        }
        source = want->source;
    }
    return false;
}

/* The best source among devices that has room now; DISTRIBUTE_NOBODY if none has. *possible: one
 * could be a source, with room or without. */
static uint32_t choose_source(const struct distribute_state *state, uint32_t d, uint32_t c,
                              bool *possible) {
    const uint32_t n = state->device_count;
    const struct want *want = want_of(state, d, c);
    uint32_t best = DISTRIBUTE_NOBODY;
    *possible = false;
    if (want->points >= ORIGIN_ONLY_POINTS) {
        return best;
    }
    /* Begins with another device for each reader and content: no two devices are to carry it all,
     * a connection has a window of its own. */
    for (uint32_t i = 0; i + 1 < n; i++) {
        const uint32_t s = (d + 1 + (i + c) % (n - 1)) % n;
        const struct want *there = want_of(state, s, c);
        if ((!there->held && there->source == DISTRIBUTE_NOBODY) || s == want->avoid ||
            state->pair_failures[(size_t)d * n + s] >= MAX_PAIR_FAILURES ||
            !is_sound(state, s, c, d)) {
            continue;
        }
        *possible = true;
        const uint64_t sends = state->devices[s].sends;
        if (sends + state->contents[c].weight > DISTRIBUTE_DEVICE_BUDGET) {
            continue;
        }
        const struct want *chosen = best != DISTRIBUTE_NOBODY ? want_of(state, best, c) : NULL;
        if (chosen == NULL || there->readers < chosen->readers ||
            (there->readers == chosen->readers &&
             (sends < state->devices[best].sends ||
              (sends == state->devices[best].sends && there->held && !chosen->held)))) {
            best = s;
        }
    }
    return best;
}

static bool origin_has_room(const struct distribute_state *state, const struct content *content) {
    const uint64_t all = DISTRIBUTE_SHARED_BUDGET +
                         state->device_count * (DISTRIBUTE_FETCH_MOST + DISTRIBUTE_FETCH_EXTRA);
    return state->origin_sends + content->weight <= all &&
           (content->missing <= 1 ||
            state->origin_shared + content->weight <= DISTRIBUTE_SHARED_BUDGET);
}

static bool may_take_from_origin(const struct distribute_state *state, uint32_t d,
                                 const struct content *content) {
    const struct device *device = &state->devices[d];
    return device->fetches < DISTRIBUTE_MAX_FETCHES &&
           (device->from_origin > 0 || state->origin_readers < DISTRIBUTE_ORIGIN_READERS) &&
           device->from_origin + content->weight <= DISTRIBUTE_FROM_ORIGIN_BUDGET;
}

/* The device that receives least from the origin takes a content that only the origin has. */
static uint32_t choose_first_receiver(const struct distribute_state *state, uint32_t c) {
    uint32_t best = DISTRIBUTE_NOBODY;
    for (uint32_t i = 0; i < state->device_count; i++) {
        const uint32_t d = (state->turn + i) % state->device_count;
        const struct want *want = want_of(state, d, c);
        if (want->missing && want->source == DISTRIBUTE_NOBODY &&
            may_take_from_origin(state, d, &state->contents[c]) &&
            (best == DISTRIBUTE_NOBODY ||
             state->devices[d].from_origin < state->devices[best].from_origin)) {
            best = d;
        }
    }
    return best;
}

/* Rule 3: what no device has or receives. */
static void send_from_origin(struct distribute_state *state, struct distribute_actions *actions,
                             uint64_t now_ns) {
    while (state->first < state->content_count &&
           state->contents[state->order[state->first]].missing == 0) {
        state->first++;
    }
    for (uint32_t i = state->first; i < state->content_count; i++) {
        const uint32_t c = state->order[i];
        const struct content *content = &state->contents[c];
        if (content->missing == 0 || content->holders > 0 || content->active > 0 ||
            !origin_has_room(state, content)) {
            continue;
        }
        const uint32_t d = choose_first_receiver(state, c);
        if (d != DISTRIBUTE_NOBODY) {
            begin_fetch(state, actions, d, c, DISTRIBUTE_ORIGIN, now_ns);
            state->turn = (d + 1) % state->device_count;
        }
    }
}

/* The device's next fetch from another device, or from the origin where no device can be a source.
 * False: there is none now. */
static bool choose_fetch(const struct distribute_state *state, uint32_t d, uint32_t *content,
                         uint32_t *source) {
    const struct device *device = &state->devices[d];
    uint32_t fewest = UINT32_MAX;
    for (uint32_t i = 0; i < device->missing && device->fetches < DISTRIBUTE_MAX_FETCHES; i++) {
        const uint32_t c = device->list[i];
        const struct content *candidate = &state->contents[c];
        const uint32_t copies = candidate->holders + candidate->active;
        if (want_of(state, d, c)->source != DISTRIBUTE_NOBODY || copies == 0 || copies >= fewest) {
            continue;
        }
        bool possible;
        uint32_t from = choose_source(state, d, c, &possible);
        if (!possible && origin_has_room(state, candidate) &&
            may_take_from_origin(state, d, candidate)) {
            from = DISTRIBUTE_ORIGIN;
        } else if (from != DISTRIBUTE_NOBODY &&
                   device->from_devices + candidate->weight > DISTRIBUTE_DEVICE_BUDGET) {
            from = DISTRIBUTE_NOBODY;
        }
        if (from != DISTRIBUTE_NOBODY) {
            fewest = copies;
            *content = c;
            *source = from;
        }
    }
    return fewest != UINT32_MAX;
}

/* One fetch a device and round, so that nobody takes all that the sources have room for. */
static void send_between_devices(struct distribute_state *state, struct distribute_actions *actions,
                                 uint64_t now_ns) {
    bool any = true;
    while (any) {
        any = false;
        for (uint32_t i = 0; i < state->device_count; i++) {
            const uint32_t d = (state->turn + i) % state->device_count;
            uint32_t content, source;
            if (choose_fetch(state, d, &content, &source)) {
                begin_fetch(state, actions, d, content, source, now_ns);
                any = true;
            }
        }
    }
}

/* ---- events ---- */

static void on_fetched(struct distribute_state *state, uint32_t d, uint32_t c, uint64_t now_ns) {
    struct want *want = want_of(state, d, c);
    struct device *device = &state->devices[d];
    end_fetch(state, d, c, now_ns);
    want->missing = false;
    want->held = true;
    state->contents[c].missing--;
    state->contents[c].holders++;
    state->missing--;
    state->missing_bytes -= state->texts[c].bytes;
    uint32_t i = 0;
    while (device->list[i] != c) {
        i++;
    }
    device->list[i] = device->list[--device->missing];
}

static void on_failed(struct distribute_state *state, const struct distribute_event *event,
                      struct distribute_actions *actions) {
    const uint32_t d = event->device, c = event->content;
    struct want *want = want_of(state, d, c);
    const uint32_t source = want->source;
    const bool of_device = source != DISTRIBUTE_ORIGIN;
    const bool relay_ended =
        of_device && event->status == SHOAL_CLOSED && !want_of(state, source, c)->held;
    end_fetch(state, d, c, event->now_ns);
    want->points = (uint8_t)(want->points + (relay_ended ? RELAY_POINTS : HOLDER_POINTS));
    if (of_device && !relay_ended) {
        uint8_t *failures = &state->pair_failures[(size_t)d * state->device_count + source];
        *failures = (uint8_t)(*failures + (*failures < MAX_PAIR_FAILURES));
        want->avoid = source;
    }
    if (event->status == SHOAL_NO_SPACE || event->status == SHOAL_NO_MEMORY ||
        want->points > MAX_POINTS) {
        fail(state, actions, event->status, d,
             "device %s cannot fetch %s (%.1f MB) from %s: %.300s", state->names[d],
             state->texts[c].name, (double)state->texts[c].bytes / 1e6, source_name(state, source),
             event->text != NULL ? event->text : shoal_status_text(event->status));
    }
}

static void on_lost(struct distribute_state *state, const struct distribute_event *event,
                    struct distribute_actions *actions) {
    struct device *device = &state->devices[event->device];
    if (device->lost) {
        return;
    }
    device->lost = true;
    if (device->missing > 0) {
        fail(state, actions, SHOAL_PEER_LOST, event->device,
             "device %s was lost while it was fetching weights (%" PRIu32
             " contents missing, the first is %s): %.200s",
             state->names[event->device], device->missing, state->texts[device->list[0]].name,
             event->text != NULL ? event->text : "no reason given");
        return;
    }
    for (uint32_t c = 0; c < state->content_count; c++) {
        struct want *want = want_of(state, event->device, c);
        state->contents[c].holders -= want->held;
        want->held = false;
    }
}

static void check_deadlines(struct distribute_state *state, struct distribute_actions *actions,
                            uint64_t now_ns) {
    for (uint32_t d = 0; d < state->device_count; d++) {
        const struct device *device = &state->devices[d];
        if (now_ns < due_ns(state, device)) {
            continue;
        }
        uint32_t i = 0;
        while (want_of(state, d, device->list[i])->source == DISTRIBUTE_NOBODY) {
            i++;
        }
        const uint32_t c = device->list[i];
        fail(state, actions, SHOAL_TIMEOUT, d,
             "device %s has received nothing for %.0f s; it was fetching %s from %s",
             state->names[d], (double)(now_ns - device->moved_ns) * 1e-9, state->texts[c].name,
             source_name(state, want_of(state, d, c)->source));
        return;
    }
}

static void take_event(struct distribute_state *state, const struct distribute_event *event,
                       struct distribute_actions *actions) {
    const bool of_fetch = event->kind == DISTRIBUTE_FETCHED || event->kind == DISTRIBUTE_FAILED;
    ASSERT(event->kind == DISTRIBUTE_TICK || event->kind == DISTRIBUTE_CANCEL ||
           event->device < state->device_count);
    ASSERT(!of_fetch || event->content < state->content_count);
    if (of_fetch && want_of(state, event->device, event->content)->source == DISTRIBUTE_NOBODY) {
        fail(state, actions, SHOAL_PROTOCOL, event->device,
             "device %s reports about %s, which it was not asked to fetch",
             state->names[event->device], state->texts[event->content].name);
        return;
    }
    switch (event->kind) {
    case DISTRIBUTE_TICK:
        break;
    case DISTRIBUTE_FETCHED:
        on_fetched(state, event->device, event->content, event->now_ns);
        break;
    case DISTRIBUTE_FAILED:
        on_failed(state, event, actions);
        break;
    case DISTRIBUTE_PROGRESS:
        state->devices[event->device].moved_ns = event->now_ns;
        break;
    case DISTRIBUTE_LOST:
        on_lost(state, event, actions);
        break;
    case DISTRIBUTE_CANCEL:
        fail(state, actions, SHOAL_CANCELLED, DISTRIBUTE_NOBODY,
             "cancelled; %.1f MB of weights were still to be fetched",
             (double)state->missing_bytes / 1e6);
        break;
    }
}

void distribute_step(struct distribute_state *state, const struct distribute_event *event,
                     struct distribute_actions *actions) {
    actions->count = 0;
    actions->list = state->actions;
    actions->fail_text[0] = '\0';
    if (state->over) {
        return;
    }
    take_event(state, event, actions);
    if (!state->over) {
        check_deadlines(state, actions, event->now_ns);
    }
    if (state->over) {
        return;
    }
    if (state->missing == 0) {
        (void)push(state, actions, DISTRIBUTE_FINISH);
        state->over = true;
        return;
    }
    send_from_origin(state, actions, event->now_ns);
    send_between_devices(state, actions, event->now_ns);
}
