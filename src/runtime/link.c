#include "runtime/link.h"

#include "base/median.h"
#include "platform/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_QUESTION = 1, PROBE_ANSWER = 2 }; /* in the header's step */

#define SMALL_BYTES 64
#define SMALL_COUNT 15
#define LARGE_COUNT 7
#define PROBE_NS (30 * CLOCK_SECOND)

bool link_is_question(const struct wire_header *header) {
    return header->step == PROBE_QUESTION;
}

static shoal_status send_probe(struct transport *transport, const char *peer, uint64_t step,
                               size_t bytes, struct shoal_error *error) {
    const struct wire_header header = {.kind = WIRE_PROBE, .step = step, .tensor_count = 1};
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

shoal_status link_answer(struct transport *transport, const char *peer, struct shoal_error *error) {
    return send_probe(transport, peer, PROBE_ANSWER, SMALL_BYTES, error);
}

/* True if the event is an answer of peer; the message is freed then. */
static bool take_answer(struct transport *transport, struct transport_event *event,
                        const char *peer) {
    struct wire_message message;
    if (event->kind != TRANSPORT_MESSAGE || strcmp(event->peer, peer) != 0 ||
        wire_decode(event->message->data, event->message->size, &message, NULL) != SHOAL_OK ||
        message.header.kind != WIRE_PROBE || message.header.step != PROBE_ANSWER) {
        return false;
    }
    transport->ops->message_free(transport, event->message);
    return true;
}

static shoal_status round_trip(struct transport *transport, const char *peer, size_t bytes,
                               link_other_event other, void *context, double *seconds,
                               struct shoal_error *error) {
    const uint64_t deadline = platform_now_ns() + PROBE_NS;
    uint64_t start = platform_now_ns();
    bool sent = false;
    for (;;) {
        if (!sent) {
            start = platform_now_ns();
            const shoal_status status = send_probe(transport, peer, PROBE_QUESTION, bytes, error);
            /* PEER_LOST: just dialled and not up yet; PEER_UP or PEER_LOST follows as an event. */
            if (status != SHOAL_OK && status != SHOAL_BUSY && status != SHOAL_PEER_LOST) {
                return status;
            }
            sent = status == SHOAL_OK;
        }
        struct transport_event event;
        shoal_status status = transport->ops->next(
            transport, TRANSPORT_WANT_DATA | TRANSPORT_WANT_CONTROL, deadline, &event, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "no answer from %s while measuring the link", peer);
        }
        if (take_answer(transport, &event, peer)) {
            *seconds = (double)(platform_now_ns() - start) * 1e-9;
            return SHOAL_OK;
        }
        const bool lost = event.kind == TRANSPORT_PEER_LOST && strcmp(event.peer, peer) == 0;
        TRY(other(context, &event, error));
        if (lost) {
            return error_set(error, SHOAL_PEER_LOST,
                             "%s was lost while the link to it was measured", peer);
        }
    }
}

static shoal_status median_trip(struct transport *transport, const char *peer, size_t bytes,
                                int count, link_other_event other, void *context, double *seconds,
                                struct shoal_error *error) {
    double times[SMALL_COUNT];
    double warm;
    TRY(round_trip(transport, peer, bytes, other, context, &warm, error));
    for (int i = 0; i < count; i++) {
        TRY(round_trip(transport, peer, bytes, other, context, &times[i], error));
    }
    *seconds = median_sort(times, (size_t)count);
    return SHOAL_OK;
}

shoal_status link_measure(struct transport *transport, const char *peer, size_t large_bytes,
                          link_other_event other, void *context, struct link_figures *out,
                          struct shoal_error *error) {
    struct transport_stats stats[3];
    double small, large;
    transport->ops->stats(transport, &stats[0]);
    TRY(median_trip(transport, peer, SMALL_BYTES, SMALL_COUNT, other, context, &small, error));
    transport->ops->stats(transport, &stats[1]);
    TRY(median_trip(transport, peer, large_bytes, LARGE_COUNT, other, context, &large, error));
    transport->ops->stats(transport, &stats[2]);
    const double small_cpu = (stats[1].io_cpu_s - stats[0].io_cpu_s) / (2 * (SMALL_COUNT + 1));
    const double large_cpu =
        (stats[2].io_cpu_s - stats[1].io_cpu_s) / (LARGE_COUNT + 1) - small_cpu;
    out->alpha_s = small / 2;
    out->beta_s_per_byte = fmax(large - small, 0.0) / (double)large_bytes;
    out->cpu_s_per_message = small_cpu;
    out->cpu_s_per_byte = fmax(large_cpu - small_cpu, 0.0) / (double)large_bytes;
    return SHOAL_OK;
}
