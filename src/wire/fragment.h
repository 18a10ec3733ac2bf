/*
 * Long messages in pieces: the tag before each piece, and the bookkeeping of one message under
 * assembly. Pure; what is decided here about a peer's bytes is fuzzed. Layout: docs/protocol.md,
 * "Frames".
 */
#ifndef WIRE_FRAGMENT_H
#define WIRE_FRAGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_TAG_BYTES 16 /* u64 total, u64 offset */

void wire_tag_encode(uint64_t total, uint64_t offset, uint8_t out[WIRE_TAG_BYTES]);

struct wire_assembly { /* zero: no message is under assembly */
    uint64_t total, have;
};

/*
 * A piece of size bytes has come with this tag. True: it goes to *offset of the message; offset 0
 * begins one of assembly->total bytes (between WIRE_HEADER_BYTES and limit). After the piece that
 * completes it have == total; the caller sets the assembly to zero then. False: the piece does not
 * belong here, and nothing has changed.
 */
bool wire_assembly_take(struct wire_assembly *assembly, const uint8_t *tag, size_t tag_bytes,
                        size_t size, uint64_t limit, uint64_t *offset);

/* Copies what a peer wrote for people: printable ASCII, anything else becomes '?'. */
void wire_printable(const char *bytes, size_t count, char *out, size_t capacity);

#endif
