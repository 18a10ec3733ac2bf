/*
 * Key files and allow-lists as text. A key file: a line "public Z85" and a line "secret Z85", mode
 * 0600 and this user's (anything wider is refused). An allow-list: lines "NAME Z85", or a cluster
 * file, whose devices and clients are meant. Empty lines and lines whose first character is # are
 * comments.
 */
#ifndef RUNTIME_KEYS_H
#define RUNTIME_KEYS_H

#include "transport/zmq/zmq_transport.h"

#define KEYS_MOST_ALLOWED 4096 /* entries of an allow-list */

/* A new file. Errors: BUSY (there is one), IO, NO_SPACE. */
NODISCARD shoal_status keys_write(const char *path, const struct zmq_keypair *keys,
                                  struct shoal_error *error);
/* Errors: NOT_FOUND, IO, DENIED (others may read it, or it is another user's), CORRUPT (FILE:LINE,
 * or the public key is not that of the secret one). */
NODISCARD shoal_status keys_read(const char *path, struct zmq_keypair *out,
                                 struct shoal_error *error);

NODISCARD shoal_status keys_write_allowed(const char *path, const struct zmq_allowed *allowed,
                                          size_t count, struct shoal_error *error);
/* *out is mem_free'd by the caller. Errors: NOT_FOUND, IO, DENIED (everybody may write it), CORRUPT
 * (FILE:LINE; also a name or key that stands there twice), NO_MEMORY. */
NODISCARD shoal_status keys_read_allowed(const char *path, struct zmq_allowed **out, size_t *count,
                                         struct shoal_error *error);

/* The same from text, zero-terminated, which it writes into; path stands for the file in errors. */
NODISCARD shoal_status keys_parse_allowed(const char *path, char *text, size_t size,
                                          struct zmq_allowed **out, size_t *count,
                                          struct shoal_error *error);

/* Where they are unless something else is said: $SHOAL_HOME/key and $SHOAL_HOME/allow (platform's
 * file_data_directory). Errors: NOT_FOUND, INVALID. */
NODISCARD shoal_status keys_default_path(const char *name, char *path, size_t path_bytes,
                                         struct shoal_error *error);

#endif
