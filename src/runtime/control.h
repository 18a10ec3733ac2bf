/*
 * Control documents: JSON in messages of kind REQUEST, REPLY and EVENT (docs/protocol.md).
 *
 * A request is {"id": n, "call": NAME, ...}; its reply {"id": n, "ok": true, ...} or {"id": n,
 * "ok": false, "status": CODE, "text": WHY}; an event {"event": NAME, ...}. Everything from a peer
 * is checked: wrong or missing keys are PROTOCOL errors that name the key, and never reach an
 * assertion.
 */
#ifndef RUNTIME_CONTROL_H
#define RUNTIME_CONTROL_H

#include "transport/transport.h"
#include "wire/message.h"

#include <jansson.h>

/* The largest control message that nodes and owners take; between an owner and the devices it
 * started, where a model of any size goes with a request. */
#define CONTROL_BYTES ((size_t)512 << 10)
#define CONTROL_LOCAL_BYTES ((size_t)128 << 20)

/* Takes the reference to document in every case. Errors: NO_MEMORY, INVALID (too large), and
 * transport's send. */
NODISCARD shoal_status control_send(struct transport *transport, const char *peer,
                                    enum wire_kind kind, json_t *document,
                                    struct shoal_error *error);

/* The document of a decoded control message; the caller's reference. Errors: PROTOCOL. */
NODISCARD shoal_status control_parse(const struct wire_message *message, json_t **out,
                                     struct shoal_error *error);

/* A JSON text; bytes of it that are no UTF-8 (file names, cut-off texts) become '?'. NULL when
 * memory is out. */
json_t *control_string(const char *text);

/* {"id": id, "ok": false, ...} from an error. NULL when memory is out. */
json_t *control_refusal(uint64_t id, const struct shoal_error *error);

/* The status that a refusal carries, with its text in error. Errors: that status; PROTOCOL if it is
 * no refusal of ours. */
NODISCARD shoal_status control_refusal_status(const json_t *reply, const char *peer,
                                              struct shoal_error *error);

/* The status of a name such as "NO_SPACE", and back; PROTOCOL for an unknown name or for "OK". */
shoal_status control_status_of(const char *name);
const char *control_status_name(shoal_status status);

/* Typed, bounded access to a document's keys. Errors: PROTOCOL, naming the key and what was
 * expected. */
NODISCARD shoal_status control_integer(const json_t *document, const char *key, int64_t least,
                                       int64_t most, int64_t *out, struct shoal_error *error);
NODISCARD shoal_status control_number(const json_t *document, const char *key, double *out,
                                      struct shoal_error *error);
/* Borrowed text of at most most bytes. */
NODISCARD shoal_status control_text(const json_t *document, const char *key, size_t most,
                                    const char **out, struct shoal_error *error);
NODISCARD shoal_status control_object(const json_t *document, const char *key, const json_t **out,
                                      struct shoal_error *error);

#endif
