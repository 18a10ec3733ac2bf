/* A growing text, for tables and pictures: failures are remembered and told once, at the end.
 * Inside plan/ only. */
#ifndef PLAN_TEXT_H
#define PLAN_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data; /* terminated, once something was added */
    size_t length, capacity;
    bool failed; /* out of memory: what follows is dropped */
};

void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At most `limit` characters of UTF-8, longer ones cut with "…"; control characters and malformed
 * bytes become '?'. Returns their number. */
size_t text_add_clean(struct text *text, const char *from, size_t limit);

/* As text_add_clean, with the characters that XML reserves escaped. */
size_t text_add_xml(struct text *text, const char *from, size_t limit);

void text_pad(struct text *text, size_t count); /* blanks */

/* Gives the text away (mem_free it). Errors: NO_MEMORY; the text is freed then. */
NODISCARD shoal_status text_take(struct text *text, char **out, struct shoal_error *error);

#endif
