/*
 * Measuring one direction of a link with PROBE messages: α (seconds per message) + n·β (seconds per
 * byte). The receiver answers each probe with an empty one (link_answer).
 *
 * A measurement is a few dozen round trips, small probes before large ones, one at a time. With a
 * share below 1 a pause follows each, so that probes take at most that share of the time: what
 * others send meanwhile is hardly slowed.
 */
#ifndef RUNTIME_LINK_H
#define RUNTIME_LINK_H

#include "transport/transport.h"
#include "wire/message.h"

struct link_figures {
    double alpha_s, beta_s_per_byte;
    double cpu_s_per_message, cpu_s_per_byte; /* of this side's transport threads */
};

#define LINK_SMALL_COUNT 15
#define LINK_LARGE_COUNT 7
#define LINK_PROBE_COUNT \
    (LINK_SMALL_COUNT + LINK_LARGE_COUNT + 2) /* the first of each is not counted */

/* One measurement; all fields are its own. In place, no resources. */
struct link_probe {
    struct transport *transport;
    char peer[TRANSPORT_NAME_BYTES];
    size_t large_bytes;
    double share;
    uint64_t
        number; /* of this measurement, so that late answers to another are not taken for its own */
    uint32_t round;
    bool sent; /* this round's probe is underway */
    uint64_t sent_ns, due_ns, give_up_ns;
    double seconds[LINK_PROBE_COUNT];
    double cpu_s[3]; /* of the transport: at the beginning, after the small, after the large */
};

/* large_bytes: size of the large probes, e.g. an activation's; 0 < share ≤ 1. number differs from
 * those of other measurements of this peer. */
void link_probe_init(struct link_probe *probe, struct transport *transport, const char *peer,
                     size_t large_bytes, double share, uint64_t number);
/*
 * Sends what is due; call it first, after link_probe_retry and at link_probe_due. Errors:
 * TIMEOUT (no answer for 30 s), NO_MEMORY, INVALID.
 */
NODISCARD shoal_status link_probe_step(struct link_probe *probe, struct shoal_error *error);
void link_probe_retry(struct link_probe *probe); /* the peer is up, or writable again */
uint64_t link_probe_due(const struct link_probe *probe);
/* True if a received PROBE of the peer was the answer that is awaited. */
bool link_probe_take(struct link_probe *probe, const char *peer, const struct wire_header *header);
bool link_probe_done(const struct link_probe *probe);
void link_probe_figures(const struct link_probe *probe, struct link_figures *out); /* once done */

/* Called for every event that is not the answer to a probe. Errors end the measurement. */
typedef shoal_status (*link_other_event)(void *context, struct transport_event *event,
                                         struct shoal_error *error);

/* A whole measurement at full share, events and all. Errors: as step; PEER_LOST; those of other. */
NODISCARD shoal_status link_measure(struct transport *transport, const char *peer,
                                    size_t large_bytes, link_other_event other, void *context,
                                    struct link_figures *out, struct shoal_error *error);

/* For a received PROBE that is a question. False if it is an answer. */
bool link_is_question(const struct wire_header *header);
/* Answers question number `number`. Errors: BUSY (no credit: try again when writable), PEER_LOST,
 * NO_MEMORY. */
NODISCARD shoal_status link_answer(struct transport *transport, const char *peer, uint64_t number,
                                   struct shoal_error *error);

#endif
