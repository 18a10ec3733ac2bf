/*
 * How contents travel from the origin to devices and between devices, decided without I/O:
 * distribute_step(state, event) → actions. The runtime carries them out over real sockets, a test
 * over a simulated fleet. Pure: no clock (every event carries now_ns), no sockets, no randomness;
 * memory is allocated by distribute_create alone.
 *
 * For each device and content that it needs: MISSING → ACTIVE (one fetch from one source runs) →
 * HELD, or back to MISSING when the fetch failed. Rules:
 *  1. A fetch runs for a needed, missing content only, and one at a time for each device and
 * content.
 *  2. A source is the origin, a device that holds the content, or a device that is receiving it
 * itself: a reader then follows what has arrived there (relay). Relays form chains that end at a
 * holder or at the origin, never circles.
 *  3. The origin sends a content when no device holds or receives it: once, unless fetches fail or
 * devices are lost. A device for which no other device can be a source (rule 7) has the origin as
 * well.
 *  4. Budgets. A fetch weighs its bytes, at most 1 MiB (about what is read ahead), and 16 KiB. A
 * device receives at most 16 MiB from devices and 4 MiB from the origin at a time, sends at most 16
 * MiB, at most DISTRIBUTE_MAX_FETCHES fetches; the origin sends at most 8 MiB of contents that
 * several devices lack, and that and one fetch for each device in all, to at most
 * DISTRIBUTE_ORIGIN_READERS devices: more streams fill its link no better, and where queues are
 * short some of them starve.
 *  5. Order: the origin sends what most devices lack first, then the largest, to the device that
 * receives least from it. Devices fetch from each other what fewest have or receive, from the
 * source that the fewest read this content from, then from the one that sends least: so a content
 * goes from device to device in a chain, all links carry as much, and what all need is everywhere
 * soon after its last byte has left the origin. The origin is never idle while something that only
 * it has is needed by a device that may take it.
 *  6. A failed fetch is tried again from another source. A source that was itself still receiving
 * costs 1 point, any other 4; from 8 points on a device takes that content from the origin; beyond
 * 20 the distribution fails. NO_SPACE and NO_MEMORY fail it at once: another source mends nothing.
 *  7. Two devices between which 3 fetches failed (relays that ended with their own source do not
 * count) are not matched again.
 *  8. A lost device that misses something fails the distribution (PEER_LOST). One that misses
 * nothing is no source any more; fetches from it end by their FAILED.
 *  9. A device with a fetch running that reports nothing for stall_ns fails the distribution
 * (TIMEOUT).
 * 10. A report about a fetch that does not run is that device's breach of protocol.
 * 11. Everything held: finish. After finish or fail every event is ignored.
 *
 * Threads: none; the caller serialises. Indices out of range are assertions: the caller maps names
 * of peers and keys to indices.
 */
#ifndef PROTOCOL_DISTRIBUTE_H
#define PROTOCOL_DISTRIBUTE_H

#include "base/clock.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISTRIBUTE_MAX_DEVICES 1024
#define DISTRIBUTE_MAX_CONTENTS 65536
#define DISTRIBUTE_MAX_FETCHES 64 /* of one device at a time */
/* Rule 4, bytes. */
#define DISTRIBUTE_FETCH_MOST (UINT64_C(1) << 20)
#define DISTRIBUTE_FETCH_EXTRA (UINT64_C(16) << 10)
#define DISTRIBUTE_DEVICE_BUDGET (UINT64_C(16) << 20) /* to devices, and from devices */
#define DISTRIBUTE_FROM_ORIGIN_BUDGET (UINT64_C(4) << 20)
#define DISTRIBUTE_SHARED_BUDGET (UINT64_C(8) << 20)
#define DISTRIBUTE_ORIGIN_READERS 4u /* devices */
#define DISTRIBUTE_ORIGIN UINT32_MAX
#define DISTRIBUTE_NOBODY (UINT32_MAX - 1)

struct distribute_content {
    const char *name; /* for people */
    uint64_t bytes;
};

struct distribute_params {
    uint32_t device_count, content_count; /* at least one device; contents may be none */
    const char *const *device_names;      /* borrowed for the state's life, as contents are */
    const struct distribute_content *contents;
    const bool *needs, *has; /* [device_count][content_count], read by distribute_create only */
    uint64_t stall_ns;       /* 0 = no deadline */
    uint64_t now_ns;
};

enum distribute_event_kind {
    DISTRIBUTE_TICK,     /* time has passed; also begins */
    DISTRIBUTE_FETCHED,  /* device, content: complete and verified there */
    DISTRIBUTE_FAILED,   /* device, content, status, text: its fetch failed */
    DISTRIBUTE_PROGRESS, /* device: something arrived there */
    DISTRIBUTE_LOST,     /* device, text */
    DISTRIBUTE_CANCEL,
};

struct distribute_event {
    enum distribute_event_kind kind;
    uint64_t now_ns; /* never less than the previous event's */
    uint32_t device, content;
    shoal_status status;
    const char *text; /* may be NULL */
};

enum distribute_action_kind {
    DISTRIBUTE_FETCH, /* device: fetch content from source (a device or DISTRIBUTE_ORIGIN) */
    DISTRIBUTE_FAIL,  /* status, device or DISTRIBUTE_NOBODY; text in actions.fail_text */
    DISTRIBUTE_FINISH,
};

struct distribute_action {
    enum distribute_action_kind kind;
    uint32_t device, content, source;
    shoal_status status;
};

/* What one step asks for, in this order. The list is the state's, valid until the next step. */
struct distribute_actions {
    uint32_t count;
    const struct distribute_action *list;
    char fail_text[512]; /* names device, content and cause */
};

struct distribute_state;

/* Errors: INVALID (counts out of range), NO_MEMORY. */
NODISCARD shoal_status distribute_create(const struct distribute_params *params,
                                         struct distribute_state **out, struct shoal_error *error);
void distribute_destroy(struct distribute_state *state); /* NULL allowed */

/* Overwrites *actions. */
void distribute_step(struct distribute_state *state, const struct distribute_event *event,
                     struct distribute_actions *actions);

bool distribute_is_over(const struct distribute_state *state);
uint64_t distribute_deadline_ns(const struct distribute_state *state);   /* a TICK is due then */
uint64_t distribute_missing_bytes(const struct distribute_state *state); /* of all devices */
/* The source of a running fetch; DISTRIBUTE_NOBODY if none runs. */
uint32_t distribute_source(const struct distribute_state *state, uint32_t device, uint32_t content);
bool distribute_holds(const struct distribute_state *state, uint32_t device, uint32_t content);

#endif
