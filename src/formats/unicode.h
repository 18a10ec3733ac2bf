/*
 * What BERT's tokeniser does to a code point. The tables hold what the `tokenizers` library does
 * (which mixes several editions of Unicode), for every code point: tokens do not depend on the
 * Unicode edition of a library of the machine.
 *
 * Not done: marks that survive the removal are not brought into canonical order.
 *
 * Threads: a struct unicode is immutable once made.
 */
#ifndef FORMATS_UNICODE_H
#define FORMATS_UNICODE_H

#include "formats/unicode_data.h"

#define UNICODE_REPLACEMENT UINT32_C(0xFFFD)
#define UNICODE_BMP 65536

enum unicode_flag {
    UNICODE_DROPPED = 1,     /* control, format, private use, U+0000, U+FFFD */
    UNICODE_SPACE = 2,       /* separates words */
    UNICODE_CHINESE = 4,     /* a word of its own */
    UNICODE_PUNCTUATION = 8, /* ASCII's symbols and Unicode's punctuation */
    UNICODE_REMOVED = 16,    /* a mark that goes with the accents */
    UNICODE_COMPOSED = 32,   /* unicode_decompose has something to do */
    UNICODE_UPPER = 64,      /* unicode_to_lower has something to do */
};

struct unicode {
    unsigned char flags[UNICODE_BMP];
};

void unicode_init(struct unicode *unicode);

/* Of any number; beyond the first plane by search. */
unsigned unicode_flags(const struct unicode *unicode, uint32_t point);

/* Canonical decomposition without the marks that are removed; how many. A point that has none is
 * its own part. */
size_t unicode_decompose(uint32_t point, uint32_t parts[UNICODE_PARTS]);

/* One or two points. */
size_t unicode_to_lower(uint32_t point, uint32_t parts[UNICODE_PARTS]);

/* Decodes at least one byte of UTF-8, at < end, and returns how many. What is malformed becomes
 * U+FFFD, as much at a time as Unicode recommends (its longest well-formed beginning). */
size_t unicode_decode(const unsigned char *at, const unsigned char *end, uint32_t *point);

/* 1 to 4 bytes; point is no surrogate. */
size_t unicode_encode(uint32_t point, unsigned char out[4]);

#endif
