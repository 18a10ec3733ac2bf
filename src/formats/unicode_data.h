/* The tables behind unicode.h, made by tools/golden/make_unicode.py; sorted by code point. */
#ifndef FORMATS_UNICODE_DATA_H
#define FORMATS_UNICODE_DATA_H

#include <stddef.h>
#include <stdint.h>

struct unicode_range {
    uint32_t first, last;
};

/* Every step-th point from first to last becomes itself + difference. */
struct unicode_run {
    uint32_t first, last, step;
    int32_t difference;
};

/* first … last have their targets from `offset` on; a target of 0 is none. */
struct unicode_block {
    uint32_t first, last, offset;
};

#define UNICODE_PARTS 3

struct unicode_parts {
    uint32_t point;
    uint32_t parts[UNICODE_PARTS]; /* 0 after the last */
};

extern const struct unicode_range unicode_dropped[], unicode_chinese[], unicode_punctuation[],
    unicode_removed[];
extern const struct unicode_run unicode_lower[];
extern const struct unicode_block unicode_bases[];
extern const uint32_t unicode_base_targets[];
extern const struct unicode_parts unicode_several[];
extern const size_t unicode_dropped_count, unicode_chinese_count, unicode_punctuation_count,
    unicode_removed_count, unicode_lower_count, unicode_bases_count, unicode_base_targets_count,
    unicode_several_count;

#endif
