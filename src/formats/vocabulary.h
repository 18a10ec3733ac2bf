/*
 * A vocabulary as a trie over bytes: edges in one open-addressed table, found without allocating.
 * Tokens are well-formed UTF-8, so a match of bytes ends between characters.
 *
 * Threads: once built, any number at a time. Errors: CORRUPT (malformed UTF-8, a token twice, too
 * long), NO_MEMORY.
 */
#ifndef FORMATS_VOCABULARY_H
#define FORMATS_VOCABULARY_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define VOCABULARY_LIMIT ((size_t)64 << 20) /* bytes of a file */
#define VOCABULARY_MOST 1000000             /* tokens */
#define VOCABULARY_TOKEN 512                /* bytes of one */
#define VOCABULARY_NONE (-1)
#define VOCABULARY_NOWHERE UINT32_MAX /* no such node */

struct vocabulary;

NODISCARD shoal_status vocabulary_create(struct vocabulary **out, struct shoal_error *error);
void vocabulary_destroy(struct vocabulary *vocabulary); /* NULL allowed */

/* token [size] with an id of 0 … VOCABULARY_MOST − 1; an empty token takes its id and never
 * matches. */
NODISCARD shoal_status vocabulary_add(struct vocabulary *vocabulary, const void *token, size_t size,
                                      int32_t id, struct shoal_error *error);

/* One token a line, ids from 0 (vocab.txt). The error names the line. */
NODISCARD shoal_status vocabulary_add_lines(struct vocabulary *vocabulary, const void *text,
                                            size_t size, struct shoal_error *error);

int32_t vocabulary_size(const struct vocabulary *vocabulary); /* the largest id + 1 */
int32_t vocabulary_find(const struct vocabulary *vocabulary, const void *token, size_t size);

/* The node that the bytes lead to from the root; VOCABULARY_NOWHERE. */
uint32_t vocabulary_node(const struct vocabulary *vocabulary, const void *bytes, size_t size);

/* The longest token that bytes begin with below `node` (0: the root): its length, at least 1, and
 * id; 0 if there is none. */
size_t vocabulary_longest(const struct vocabulary *vocabulary, uint32_t node,
                          const unsigned char *bytes, size_t size, int32_t *id);

#endif
