#include "formats/wordpiece_internal.h"

#include "base/assert.h"

#include <string.h>

#define WORD_MOST 100 /* characters; longer words are unknown */

struct ids {
    int32_t *list;
    size_t capacity, count; /* count goes on beyond capacity */
};

struct word {
    unsigned char bytes[4 * WORD_MOST];
    size_t size, characters; /* characters goes on beyond WORD_MOST */
};

static void put_id(struct ids *ids, int32_t id) {
    if (ids->count < ids->capacity) {
        ids->list[ids->count] = id;
    }
    ids->count++;
}

/* The word's pieces, or [UNK] if no pieces make it. */
static void end_word(const struct wordpiece *wp, struct word *word, struct ids *ids) {
    if (word->characters == 0) {
        return;
    }
    const size_t before = ids->count;
    bool known = word->characters <= WORD_MOST;
    uint32_t node = 0;
    for (size_t at = 0; at < word->size && known;) {
        int32_t id = 0;
        const size_t length =
            node == VOCABULARY_NOWHERE
                ? 0
                : vocabulary_longest(wp->vocabulary, node, word->bytes + at, word->size - at, &id);
        known = length > 0;
        put_id(ids, id);
        at += length;
        node = wp->continued;
    }
    if (!known) {
        ids->count = before;
        put_id(ids, wp->unknown);
    }
    word->size = word->characters = 0;
}

static void add_character(struct word *word, uint32_t point) {
    if (word->characters < WORD_MOST) {
        word->size += unicode_encode(point, word->bytes + word->size);
    }
    word->characters++;
}

static void put_normal(const struct wordpiece *wp, uint32_t point, struct word *word,
                       struct ids *ids) {
    const unsigned flags = unicode_flags(&wp->unicode, point);
    if ((flags & (UNICODE_SPACE | UNICODE_PUNCTUATION)) == 0) {
        add_character(word, point);
        return;
    }
    end_word(wp, word, ids);
    if ((flags & UNICODE_PUNCTUATION) != 0) {
        add_character(word, point);
        end_word(wp, word, ids);
    }
}

/* One code point through cleaning, accents and case. */
static void put_point(const struct wordpiece *wp, uint32_t point, struct word *word,
                      struct ids *ids) {
    const unsigned flags = unicode_flags(&wp->unicode, point);
    if ((flags & UNICODE_DROPPED) != 0) {
        return;
    }
    const bool alone = (flags & UNICODE_CHINESE) != 0 && wp->split_chinese;
    if ((flags & UNICODE_SPACE) != 0 || alone) {
        end_word(wp, word, ids);
        if (!alone) {
            return;
        }
    }
    uint32_t parts[UNICODE_PARTS] = {point}, lower[UNICODE_PARTS];
    size_t count = 1;
    if (wp->strip_accents && (flags & (UNICODE_REMOVED | UNICODE_COMPOSED)) != 0) {
        count = (flags & UNICODE_REMOVED) != 0 ? 0 : unicode_decompose(point, parts);
    }
    for (size_t i = 0; i < count; i++) {
        lower[0] = parts[i];
        const bool upper =
            wp->lower_case && (unicode_flags(&wp->unicode, parts[i]) & UNICODE_UPPER) != 0;
        const size_t letters = upper ? unicode_to_lower(parts[i], lower) : 1;
        for (size_t j = 0; j < letters; j++) {
            put_normal(wp, lower[j], word, ids);
        }
    }
    if (alone) {
        end_word(wp, word, ids);
    }
}

/* The longest special token that the text begins with, or NULL. */
static const struct special *find_special(const struct wordpiece *wp, const unsigned char *at,
                                          size_t size) {
    const struct special *longest = NULL;
    for (size_t i = 0; i < wp->special_count; i++) {
        const struct special *special = &wp->specials[i];
        if (special->size <= size && memcmp(special->text, at, special->size) == 0 &&
            (longest == NULL || special->size > longest->size)) {
            longest = special;
        }
    }
    return longest;
}

/* The text's tokens; `enough`: it may stop when ids are full, otherwise it counts them all. */
static void add_text(const struct wordpiece *wp, const struct wordpiece_text *text, bool enough,
                     struct ids *ids) {
    const unsigned char *at = (const unsigned char *)text->bytes, *end = at + text->size;
    struct word word;
    word.size = word.characters = 0;
    while (at < end && !(enough && ids->count >= ids->capacity)) {
        if (wp->starts_special[*at]) {
            const struct special *special = find_special(wp, at, (size_t)(end - at));
            if (special != NULL) {
                end_word(wp, &word, ids);
                put_id(ids, special->id);
                at += special->size;
                continue;
            }
        }
        if (*at >= 0x80) {
            uint32_t point;
            at += unicode_decode(at, end, &point);
            put_point(wp, point, &word, ids);
            continue;
        }
        const unsigned does = wp->ascii[*at++];
        if (does == 0) {
            continue;
        }
        if (does == ' ' || (does & ASCII_SPLIT) != 0) {
            end_word(wp, &word, ids);
        }
        if (does != ' ') {
            if (word.characters < WORD_MOST) {
                word.bytes[word.size++] = (unsigned char)(does & ~ASCII_SPLIT);
            }
            word.characters++;
        }
        if ((does & ASCII_SPLIT) != 0) {
            end_word(wp, &word, ids);
        }
    }
    end_word(wp, &word, ids);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* What stays of texts of a and b tokens where there is room for `most`. */
static void cut_pair(size_t most, size_t *a, size_t *b) {
    size_t *shorter = *a <= *b ? a : b, *longer = *a <= *b ? b : a;
    if (*a + *b <= most) {
        return;
    }
    if (*shorter <= most / 2) {
        *longer = most - *shorter;
    } else {
        *shorter = most / 2;
        *longer = most - most / 2;
    }
}

size_t wordpiece_encode(const struct wordpiece *wordpiece, const struct wordpiece_text *first,
                        const struct wordpiece_text *second, size_t max_length, int32_t *ids,
                        int32_t *types) {
    ASSERT(max_length >= WORDPIECE_SHORTEST);
    const size_t most = max_length - (second != NULL ? 3 : 2); /* but for special tokens */
    struct ids a = {.list = ids + 1, .capacity = most},
               b = {.list = ids + max_length, .capacity = most};
    add_text(wordpiece, first, second == NULL, &a);
    if (second != NULL) {
        add_text(wordpiece, second, false, &b);
        cut_pair(most, &a.count, &b.count);
    }
    size_t count = 1 + least(a.count, most);
    ids[0] = wordpiece->cls;
    ids[count++] = wordpiece->sep;
    memset(types, 0, count * sizeof *types);
    if (second != NULL) {
        memmove(ids + count, b.list, b.count * sizeof *ids);
        for (size_t i = 0; i <= b.count; i++) {
            types[count + i] = 1;
        }
        count += b.count;
        ids[count++] = wordpiece->sep;
    }
    return count;
}

void wordpiece_finish(struct wordpiece *wordpiece) {
    unicode_init(&wordpiece->unicode);
    wordpiece->continued = vocabulary_node(wordpiece->vocabulary, "##", 2);
    for (size_t i = 0; i < wordpiece->special_count; i++) {
        wordpiece->starts_special[(unsigned char)wordpiece->specials[i].text[0]] = true;
    }
    for (unsigned byte = 0; byte < 128; byte++) {
        const unsigned flags = unicode_flags(&wordpiece->unicode, byte);
        unsigned does =
            wordpiece->lower_case && byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte;
        if ((flags & UNICODE_DROPPED) != 0) {
            does = 0;
        } else if ((flags & UNICODE_SPACE) != 0) {
            does = ' ';
        } else if ((flags & UNICODE_PUNCTUATION) != 0) {
            does |= ASCII_SPLIT;
        }
        wordpiece->ascii[byte] = (unsigned char)does;
    }
}
