/*
 * Key files and allow-lists as text. A key file: a line "public Z85" and a line "secret Z85", mode
 * 0600 (wider is refused). An allow-list: lines "NAME Z85". Empty lines and lines whose first
 * character is # count as comments.
 */
#ifndef RUNTIME_KEYS_H
#define RUNTIME_KEYS_H

#include "transport/zmq/zmq_transport.h"

NODISCARD shoal_status keys_write(const char *path, const struct zmq_keypair *keys,
                                  struct shoal_error *error);
/* Errors: NOT_FOUND, IO, DENIED (others may read it), CORRUPT (names the line). */
NODISCARD shoal_status keys_read(const char *path, struct zmq_keypair *out,
                                 struct shoal_error *error);

NODISCARD shoal_status keys_write_allowed(const char *path, const struct zmq_allowed *allowed,
                                          size_t count, struct shoal_error *error);
/* *out is mem_free'd by the caller. Errors: NOT_FOUND, IO, CORRUPT (names the line), NO_MEMORY. */
NODISCARD shoal_status keys_read_allowed(const char *path, struct zmq_allowed **out, size_t *count,
                                         struct shoal_error *error);

#endif
