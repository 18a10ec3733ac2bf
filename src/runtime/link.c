#include "runtime/link.h"

#include "base/median.h"
#include "platform/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_QUESTION = 1, PROBE_ANSWER = 2 }; /* in the header's step */

#define SMALL_BYTES 64
#define PROBE_NS (30 * CLOCK_SECOND)
#define FIRST_LARGE (LINK_SMALL_COUNT + 1)

bool link_is_question(const struct wire_header *header) {
    return header->step == PROBE_QUESTION;
}

/* number goes as the microbatch's: an answer has its question's. */
static shoal_status send_probe(struct transport *transport, const char *peer, uint64_t step,
                               uint64_t number, size_t bytes, struct shoal_error *error) {
    const struct wire_header header = {
        .kind = WIRE_PROBE, .step = step, .microbatch = number, .tensor_count = 1};
    const struct tensor tensor = {.dtype = DTYPE_U8, .shape = SHAPE((int64_t)bytes)};
    size_t size, used;
    TRY(wire_size(&tensor, 1, 0, &size, error));
    struct transport_message *message;
    TRY(transport->ops->message_new(transport, size, &message, error));
    void *payload[1];
    shoal_status status = wire_encode(&header, &tensor, NULL, message->data, message->capacity,
                                      payload, &used, error);
    if (status == SHOAL_OK) {
        memset(payload[0], 0x5A, bytes);
        message->size = used;
        status = transport->ops->send(transport, peer, message, error);
    }
    if (status != SHOAL_OK) {
        transport->ops->message_free(transport, message);
    }
    return status;
}

shoal_status link_answer(struct transport *transport, const char *peer, uint64_t number,
                         struct shoal_error *error) {
    return send_probe(transport, peer, PROBE_ANSWER, number, SMALL_BYTES, error);
}

/* ---- a measurement, event by event ---- */

static double io_cpu_s(const struct link_probe *probe) {
    struct transport_stats stats;
    probe->transport->ops->stats(probe->transport, &stats);
    return stats.io_cpu_s;
}

static uint64_t probe_number(const struct link_probe *probe) {
    return probe->number * LINK_PROBE_COUNT + probe->round;
}

void link_probe_init(struct link_probe *probe, struct transport *transport, const char *peer,
                     size_t large_bytes, double share, uint64_t number) {
    const uint64_t now = platform_now_ns();
    *probe = (struct link_probe){.transport = transport,
                                 .large_bytes = large_bytes,
                                 .share = share,
                                 .number = number,
                                 .due_ns = now,
                                 .give_up_ns = now + PROBE_NS};
    (void)snprintf(probe->peer, sizeof probe->peer, "%s", peer);
}

bool link_probe_done(const struct link_probe *probe) {
    return probe->round == LINK_PROBE_COUNT;
}

shoal_status link_probe_step(struct link_probe *probe, struct shoal_error *error) {
    const uint64_t now = platform_now_ns();
    if (link_probe_done(probe)) {
        return SHOAL_OK;
    }
    if (now >= probe->give_up_ns) {
        return error_set(error, SHOAL_TIMEOUT, "no answer from %s while measuring the link",
                         probe->peer);
    }
    if (probe->sent || now < probe->due_ns) {
        return SHOAL_OK;
    }
    if (probe->round == 0) {
        probe->cpu_s[0] = io_cpu_s(probe);
    }
    const size_t bytes = probe->round < FIRST_LARGE ? SMALL_BYTES : probe->large_bytes;
    probe->sent_ns = platform_now_ns();
    const shoal_status status = send_probe(probe->transport, probe->peer, PROBE_QUESTION,
                                           probe_number(probe), bytes, error);
    /* PEER_LOST: just dialled and not up yet; PEER_UP or PEER_LOST follows as an event. */
    if (status != SHOAL_OK && status != SHOAL_BUSY && status != SHOAL_PEER_LOST) {
        return status;
    }
    probe->sent = status == SHOAL_OK;
    probe->due_ns = CLOCK_NEVER; /* an event comes first */
    return SHOAL_OK;
}

void link_probe_retry(struct link_probe *probe) {
    if (!probe->sent && probe->due_ns == CLOCK_NEVER) {
        probe->due_ns = platform_now_ns();
    }
}

uint64_t link_probe_due(const struct link_probe *probe) {
    const bool waits = !probe->sent && probe->due_ns < probe->give_up_ns;
    return link_probe_done(probe) ? CLOCK_NEVER : waits ? probe->due_ns : probe->give_up_ns;
}

bool link_probe_take(struct link_probe *probe, const char *peer, const struct wire_header *header) {
    if (!probe->sent || strcmp(peer, probe->peer) != 0 || header->kind != WIRE_PROBE ||
        header->step != PROBE_ANSWER || header->microbatch != probe_number(probe)) {
        return false;
    }
    const uint64_t now = platform_now_ns(), took = now - probe->sent_ns;
    probe->seconds[probe->round++] = (double)took * 1e-9;
    probe->sent = false;
    probe->due_ns = now + (uint64_t)((double)took * (1.0 / probe->share - 1.0));
    probe->give_up_ns = probe->due_ns + PROBE_NS;
    if (probe->round == FIRST_LARGE) {
        probe->cpu_s[1] = io_cpu_s(probe);
    } else if (link_probe_done(probe)) {
        probe->cpu_s[2] = io_cpu_s(probe);
    }
    return true;
}

void link_probe_figures(const struct link_probe *probe, struct link_figures *out) {
    double seconds[LINK_PROBE_COUNT];
    memcpy(seconds, probe->seconds, sizeof seconds);
    const double small = median_sort(seconds + 1, LINK_SMALL_COUNT),
                 large = median_sort(seconds + FIRST_LARGE + 1, LINK_LARGE_COUNT),
                 bytes = (double)probe->large_bytes;
    const double small_cpu = (probe->cpu_s[1] - probe->cpu_s[0]) / (2 * (LINK_SMALL_COUNT + 1));
    const double large_cpu =
        (probe->cpu_s[2] - probe->cpu_s[1]) / (LINK_LARGE_COUNT + 1) - small_cpu;
    out->alpha_s = small / 2;
    out->beta_s_per_byte = fmax(large - small, 0.0) / bytes;
    out->cpu_s_per_message = small_cpu;
    out->cpu_s_per_byte = fmax(large_cpu - small_cpu, 0.0) / bytes;
}

/* ---- a measurement as one call ---- */

static bool take_event(struct link_probe *probe, struct transport_event *event) {
    struct wire_message message;
    if (event->kind != TRANSPORT_MESSAGE ||
        wire_decode(event->message->data, event->message->size, &message, NULL) != SHOAL_OK ||
        !link_probe_take(probe, event->peer, &message.header)) {
        return false;
    }
    probe->transport->ops->message_free(probe->transport, event->message);
    return true;
}

shoal_status link_measure(struct transport *transport, const char *peer, size_t large_bytes,
                          link_other_event other, void *context, struct link_figures *out,
                          struct shoal_error *error) {
    struct link_probe probe;
    link_probe_init(&probe, transport, peer, large_bytes, 1.0, platform_now_ns());
    for (;;) {
        TRY(link_probe_step(&probe, error));
        if (link_probe_done(&probe)) {
            link_probe_figures(&probe, out);
            return SHOAL_OK;
        }
        struct transport_event event;
        const shoal_status status =
            transport->ops->next(transport, TRANSPORT_WANT_DATA | TRANSPORT_WANT_CONTROL,
                                 link_probe_due(&probe), &event, error);
        if (status == SHOAL_TIMEOUT) {
            continue;
        }
        TRY(status);
        if (take_event(&probe, &event)) {
            continue;
        }
        const bool of_peer = strcmp(event.peer, peer) == 0;
        if (of_peer && (event.kind == TRANSPORT_PEER_UP || event.kind == TRANSPORT_WRITABLE)) {
            link_probe_retry(&probe);
        }
        TRY(other(context, &event, error));
        if (of_peer && event.kind == TRANSPORT_PEER_LOST) {
            return error_set(error, SHOAL_PEER_LOST,
                             "%s was lost while the link to it was measured", peer);
        }
    }
}
