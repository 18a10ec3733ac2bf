#include "formats/unicode.h"

#include <stdbool.h>
#include <string.h>

#define HANGUL_FIRST UINT32_C(0xAC00)
#define HANGUL_LAST UINT32_C(0xD7A3)
#define CAPITAL_I_WITH_DOT UINT32_C(0x130) /* the only one whose lower case is two points */

static const struct unicode_range spaces[] = {
    {0x9, 0xA},       {0xD, 0xD},       {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}};

static const struct {
    const struct unicode_range *ranges;
    const size_t *count;
    unsigned flag;
} classes[] = {
    {unicode_dropped, &unicode_dropped_count, UNICODE_DROPPED},
    {unicode_chinese, &unicode_chinese_count, UNICODE_CHINESE},
    {unicode_punctuation, &unicode_punctuation_count, UNICODE_PUNCTUATION},
    {unicode_removed, &unicode_removed_count, UNICODE_REMOVED},
};

/* The last entry of a sorted table of 4-byte-aligned structs whose first member, the first point,
 * is at most `point`; NULL if there is none. */
static const void *search(const void *table, size_t count, size_t size, uint32_t point) {
    const unsigned char *bytes = table;
    size_t low = 0, high = count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        uint32_t first;
        memcpy(&first, bytes + middle * size, sizeof first);
        if (first <= point) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? bytes + (low - 1) * size : NULL;
}

static bool in_ranges(const struct unicode_range *ranges, size_t count, uint32_t point) {
    const struct unicode_range *range = search(ranges, count, sizeof *ranges, point);
    return range != NULL && point <= range->last;
}

static uint32_t base_of(uint32_t point) {
    const struct unicode_block *block =
        search(unicode_bases, unicode_bases_count, sizeof *block, point);
    return block != NULL && point <= block->last
               ? unicode_base_targets[block->offset + (point - block->first)]
               : 0;
}

static const struct unicode_parts *parts_of(uint32_t point) {
    const struct unicode_parts *parts =
        search(unicode_several, unicode_several_count, sizeof *parts, point);
    return parts != NULL && parts->point == point ? parts : NULL;
}

static const struct unicode_run *run_of(uint32_t point) {
    const struct unicode_run *run = search(unicode_lower, unicode_lower_count, sizeof *run, point);
    return run != NULL && point <= run->last && (point - run->first) % run->step == 0 ? run : NULL;
}

static bool is_hangul(uint32_t point) {
    return point >= HANGUL_FIRST && point <= HANGUL_LAST;
}

static unsigned find_flags(uint32_t point) {
    unsigned flags = 0;
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        flags |= in_ranges(classes[i].ranges, *classes[i].count, point) ? classes[i].flag : 0U;
    }
    if (in_ranges(spaces, sizeof spaces / sizeof spaces[0], point)) {
        flags |= UNICODE_SPACE;
    }
    if (is_hangul(point) || base_of(point) != 0 || parts_of(point) != NULL) {
        flags |= UNICODE_COMPOSED;
    }
    if (point == CAPITAL_I_WITH_DOT || run_of(point) != NULL) {
        flags |= UNICODE_UPPER;
    }
    return flags;
}

void unicode_init(struct unicode *unicode) {
    for (uint32_t point = 0; point < UNICODE_BMP; point++) {
        unicode->flags[point] = (unsigned char)find_flags(point);
    }
}

unsigned unicode_flags(const struct unicode *unicode, uint32_t point) {
    return point < UNICODE_BMP ? unicode->flags[point] : find_flags(point);
}

size_t unicode_decompose(uint32_t point, uint32_t parts[UNICODE_PARTS]) {
    if (is_hangul(point)) {
        const uint32_t index = point - HANGUL_FIRST;
        parts[0] = 0x1100 + index / 588;
        parts[1] = 0x1161 + index % 588 / 28;
        parts[2] = 0x11A7 + index % 28;
        return index % 28 == 0 ? 2 : 3;
    }
    const struct unicode_parts *several = parts_of(point);
    if (several != NULL) {
        memcpy(parts, several->parts, sizeof several->parts);
        return parts[2] != 0 ? 3 : 2;
    }
    const uint32_t base = base_of(point);
    parts[0] = base != 0 ? base : point;
    return 1;
}

size_t unicode_to_lower(uint32_t point, uint32_t parts[UNICODE_PARTS]) {
    if (point == CAPITAL_I_WITH_DOT) {
        parts[0] = 'i';
        parts[1] = 0x307;
        return 2;
    }
    const struct unicode_run *run = run_of(point);
    parts[0] = run != NULL ? (uint32_t)((int64_t)point + run->difference) : point;
    return 1;
}

size_t unicode_decode(const unsigned char *at, const unsigned char *end, uint32_t *point) {
    const unsigned char first = at[0];
    *point = first;
    if (first < 0x80) {
        return 1;
    }
    /* Continuation bytes, and what the second byte may be (Unicode 15, table 3-7). */
    size_t more = 0;
    unsigned char low = 0x80, high = 0xBF;
    if (first >= 0xC2 && first <= 0xDF) {
        more = 1;
    } else if (first >= 0xE0 && first <= 0xEF) {
        more = 2;
        low = first == 0xE0 ? 0xA0 : low;
        high = first == 0xED ? 0x9F : high;
    } else if (first >= 0xF0 && first <= 0xF4) {
        more = 3;
        low = first == 0xF0 ? 0x90 : low;
        high = first == 0xF4 ? 0x8F : high;
    }
    uint32_t value = more == 0 ? 0 : first & (0x3FU >> more);
    for (size_t i = 1; i <= more; i++) {
        if (at + i == end || at[i] < low || at[i] > high) {
            *point = UNICODE_REPLACEMENT;
            return i;
        }
        value = value << 6 | (at[i] & 0x3FU);
        low = 0x80;
        high = 0xBF;
    }
    *point = more > 0 ? value : UNICODE_REPLACEMENT;
    return 1 + more;
}

size_t unicode_encode(uint32_t point, unsigned char out[4]) {
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    const size_t more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    for (size_t i = more; i > 0; i--) {
        out[i] = (unsigned char)(0x80U | (point & 0x3FU));
        point >>= 6;
    }
    out[0] = (unsigned char)((0xF0U << (3 - more) & 0xF0U) | point);
    return 1 + more;
}
