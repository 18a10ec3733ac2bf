/*
 * Measuring one direction of a link with PROBE messages: α (seconds per message) + n·β (seconds per
 * byte). The receiver answers each probe with an empty one (link_answer).
 */
#ifndef RUNTIME_LINK_H
#define RUNTIME_LINK_H

#include "transport/transport.h"
#include "wire/message.h"

struct link_figures {
    double alpha_s, beta_s_per_byte;
    double cpu_s_per_message, cpu_s_per_byte; /* of this side's transport threads */
};

/* Called for every event that is not the answer to a probe. Errors end the measurement. */
typedef shoal_status (*link_other_event)(void *context, struct transport_event *event,
                                         struct shoal_error *error);

/*
 * large_bytes: size of the large probes, e.g. an activation's. Takes some tens of messages. Errors:
 * TIMEOUT, PEER_LOST, NO_MEMORY, and those of other.
 */
NODISCARD shoal_status link_measure(struct transport *transport, const char *peer,
                                    size_t large_bytes, link_other_event other, void *context,
                                    struct link_figures *out, struct shoal_error *error);

/* For a received PROBE that is a question. False if it is an answer. */
bool link_is_question(const struct wire_header *header);
NODISCARD shoal_status link_answer(struct transport *transport, const char *peer,
                                   struct shoal_error *error);

#endif
