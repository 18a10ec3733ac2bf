/* Shared by the parts of the tokeniser: reading its files, and encoding. */
#ifndef FORMATS_WORDPIECE_INTERNAL_H
#define FORMATS_WORDPIECE_INTERNAL_H

#include "formats/unicode.h"
#include "formats/vocabulary.h"
#include "formats/wordpiece.h"

#define WORDPIECE_SPECIALS 256 /* most that a tokeniser may have */

struct special {
    char *text; /* found as it stands in raw text */
    size_t size;
    int32_t id;
};

/* What an ASCII byte does: 0 nothing, ' ' ends a word, else the character it becomes, with
 * ASCII_SPLIT if that is a word of its own. */
#define ASCII_SPLIT 0x80U

struct wordpiece {
    struct vocabulary *vocabulary;
    bool lower_case, strip_accents, split_chinese;
    int64_t max_length; /* 0: not said */
    int32_t unknown, cls, sep, pad;
    uint32_t continued; /* the vocabulary's node of "##" */
    struct special specials[WORDPIECE_SPECIALS];
    size_t special_count;
    bool starts_special[256]; /* some special token begins with this byte */
    unsigned char ascii[128];
    struct unicode unicode;
};

/* Once flags, vocabulary and specials are set. */
void wordpiece_finish(struct wordpiece *wordpiece);

#endif
