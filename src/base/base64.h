/* Bytes as text: base64 (RFC 4648, section 4), padded, without line breaks. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* Characters that size bytes become, without the terminator. */
size_t base64_length(size_t size);

/* text [base64_length(size) + 1] */
void base64_encode(const void *bytes, size_t size, char *text);

/*
 * Exactly size bytes, or false: another length, a character outside the alphabet, bits that no
 * encoder sets. Reads no further than length.
 */
bool base64_decode(const char *text, size_t length, void *out, size_t size);

#endif
