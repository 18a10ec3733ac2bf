/*
 * The run coordinator's decisions, without I/O: what the command line's process does as source and
 * sink of a pipeline. run_step(state, event) → actions; the runtime carries them out over real
 * sockets, a test over simulated ones. Pure: no clock (every event carries now_ns), no sockets, no
 * allocation at all, no randomness.
 *
 * Microbatches are numbered from 0 without gaps. Each goes through
 *     HELD (read, waits for credit) → OFFERED (in the pipeline) → ARRIVED (result here, an older
 * one is not) → delivered. Rules:
 *  1. Nothing is offered before every stage is ready.
 *  2. At most params.in_flight microbatches are OFFERED or ARRIVED, and at most params.read_ahead
 * HELD, so run_slot(number) = number mod (in_flight + read_ahead) is free whenever run_wants_input
 * says true: the caller keeps one buffer per slot, and memory is bounded whatever the input's
 * length.
 *  3. An offer costs one credit of the first stage. The first stage's RUN_CREDIT events add
 * credits. If the transport refuses a send after all (BUSY), the caller reports RUN_BUSY with that
 * number: it and all younger offers are HELD again and no credit is left, until the next
 * RUN_CREDIT.
 *  4. Results are delivered in the order of their numbers, each exactly once, as soon as no older
 * one is missing.
 *  5. A result comes from the last stage only, for a number that is OFFERED. A second result for a
 * number, a number never offered, or a result of another stage is that device's breach of protocol:
 * fail(PROTOCOL).
 *  6. RUN_PROGRESS(stage, done): the device has finished and sent on its first `done` microbatches
 * (0 … done-1). It never falls and never exceeds the number of offers; otherwise fail(PROTOCOL).
 *  7. Stages work first in, first out, so what a later stage has finished, all earlier ones have
 * too. The *holder* of the oldest undelivered microbatch is the first stage not known to have
 * finished it; the last stage if all have; the first stage if it is not offered for want of credit.
 *  8. The oldest undelivered microbatch must move — from stage to stage, or be delivered — every
 * stall_ns. If it has not, all devices are asked for progress (once); if answer_ns later nothing
 * has moved it, the run fails with TIMEOUT, naming the holder and whether it answered. While
 * nothing is undelivered no deadline runs.
 *  9. If some stage is not ready ready_ns after the start: fail(TIMEOUT) naming the first such
 * stage.
 * 10. A lost device: fail(PEER_LOST) naming it. Whatever could be delivered in order was delivered
 * when it arrived, so nothing complete is held back; the count is in the text.
 * 11. End of input and everything delivered: finish. Cancel: fail(CANCELLED).
 * 12. After finish or fail the run is over: every later event is ignored and yields no action.
 *
 * Threads: none; the caller serialises. Errors are actions, not return values; an event that only
 * our own code could get wrong (a stage index out of range, an input that was not wanted) is an
 * assertion: the caller must have mapped names of peers to stage indices itself.
 */
#ifndef PROTOCOL_RUN_H
#define PROTOCOL_RUN_H

#include "base/clock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RUN_MAX_STAGES 64
#define RUN_MAX_SLOTS 256
#define RUN_NAME_BYTES 64
#define RUN_NO_STAGE UINT32_MAX

struct run_params {
    uint32_t stage_count;
    const char *const *device_names; /* [stage_count], copied (63 bytes kept) */
    uint32_t
        in_flight; /* ≥ 1: OFFERED and ARRIVED together; in_flight + read_ahead ≤ RUN_MAX_SLOTS */
    uint32_t read_ahead;          /* ≥ 1: HELD */
    uint64_t credits;             /* of the first stage, to begin with */
    uint64_t ready_ns;            /* 0 = no deadline */
    uint64_t stall_ns, answer_ns; /* stall_ns 0 = no deadline */
    uint64_t now_ns;
};

enum run_event_kind {
    RUN_STAGE_READY,  /* stage; again = ignored */
    RUN_INPUT,        /* number (the next one), items: in the slot run_slot(number); only while
                         run_wants_input */
    RUN_END_OF_INPUT, /* no RUN_INPUT after it */
    RUN_CREDIT,       /* count: the first stage takes so many more */
    RUN_BUSY,         /* number: this offer could not be sent (rule 3) */
    RUN_RESULT,    /* stage (the sender's), number: the caller keeps the result in run_slot(number)
                      until RUN_DELIVER */
    RUN_PROGRESS,  /* stage, number = done (rule 6); in answer to RUN_ASK_PROGRESS or unasked */
    RUN_PEER_LOST, /* stage, text = reason */
    RUN_TICK,      /* time has passed: due at run_deadline_ns at the latest */
    RUN_CANCEL,
};

struct run_event {
    enum run_event_kind kind;
    uint64_t now_ns; /* never less than the previous event's */
    uint32_t stage;
    uint64_t number;
    uint64_t count;
    uint32_t items;
    const char *text; /* may be NULL */
};

enum run_action_kind {
    RUN_OFFER,        /* send microbatch `number` to the first stage */
    RUN_DELIVER,      /* hand the result of `number` on, and free its slot */
    RUN_ASK_PROGRESS, /* ask every device for its count */
    RUN_FAIL, /* status, stage (RUN_NO_STAGE: nobody's fault); text in run_actions.fail_text */
    RUN_FINISH,
};

struct run_action {
    enum run_action_kind kind;
    uint64_t number;
    uint32_t items;
    uint32_t stage;
    shoal_status status;
};

/* What one step asks for, to be done in this order. */
struct run_actions {
    uint32_t count;
    struct run_action list[2 * RUN_MAX_SLOTS + 4];
    char fail_text[256]; /* names the device and the microbatch */
};

/* All fields are the state machine's own; read them through the functions below. About 10 KB, no
 * pointers. */
struct run_state {
    uint32_t stage_count, in_flight, read_ahead;
    uint64_t ready_ns, stall_ns, answer_ns;
    uint64_t started_ns, moved_ns, asked_ns;
    uint64_t credits;
    uint64_t inputs;    /* microbatches read: numbers below it are HELD or further */
    uint64_t offered;   /* numbers below it are OFFERED or further */
    uint64_t delivered; /* numbers below it are delivered */
    uint64_t items_delivered;
    bool end_of_input, over, asked;
    bool ready[RUN_MAX_STAGES];
    bool answered[RUN_MAX_STAGES]; /* since the question */
    uint64_t done[RUN_MAX_STAGES]; /* as reported */
    bool arrived[RUN_MAX_SLOTS];
    uint32_t items[RUN_MAX_SLOTS];
    char names[RUN_MAX_STAGES][RUN_NAME_BYTES];
};

/* Errors: INVALID (a count outside the limits above; stall_ns without answer_ns). */
NODISCARD shoal_status run_init(struct run_state *state, const struct run_params *params,
                                struct shoal_error *error);

/* Overwrites *actions. */
void run_step(struct run_state *state, const struct run_event *event, struct run_actions *actions);

bool run_wants_input(const struct run_state *state);
uint64_t
run_next_input(const struct run_state *state); /* the number that the next RUN_INPUT must carry */
uint32_t run_slot(const struct run_state *state, uint64_t number);
uint64_t
run_deadline_ns(const struct run_state *state); /* a RUN_TICK is due then; CLOCK_NEVER = none */
bool run_all_ready(const struct run_state *state);
bool run_is_over(const struct run_state *state);
uint64_t run_delivered(const struct run_state *state);       /* microbatches */
uint64_t run_items_delivered(const struct run_state *state); /* items */

#endif
