#include "plan/text.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool reserve(struct text *text, size_t more) {
    if (text->failed) {
        return false;
    }
    if (text->capacity - text->length <= more) {
        const size_t capacity = 2 * text->capacity + more + 256;
        char *data = mem_realloc(text->data, capacity);
        if (data == NULL) {
            text->failed = true;
            return false;
        }
        text->data = data;
        text->capacity = capacity;
    }
    return true;
}

static void add_bytes(struct text *text, const char *bytes, size_t count) {
    if (reserve(text, count)) {
        memcpy(text->data + text->length, bytes, count);
        text->length += count;
        text->data[text->length] = '\0';
    }
}

void text_add(struct text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

/* Bytes of the well-formed, printable character at `from`; 0 if there is none. */
static size_t character(const unsigned char *from) {
    static const struct {
        unsigned char mask, lead;
        size_t bytes;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 1, 0x20},
                 {0xe0, 0xc0, 2, 0xa0},
                 {0xf0, 0xe0, 3, 0x800},
                 {0xf8, 0xf0, 4, 0x10000}};
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        if ((from[0] & forms[f].mask) != forms[f].lead) {
            continue;
        }
        uint32_t code = from[0] & (unsigned char)~forms[f].mask;
        for (size_t i = 1; i < forms[f].bytes; i++) {
            if ((from[i] & 0xc0) != 0x80) {
                return 0;
            }
            code = code << 6 | (from[i] & 0x3f);
        }
        const bool good = code >= forms[f].least && code != 0x7f &&
                          (code < 0xd800 || code > 0xdfff) && code != 0xfffe && code != 0xffff &&
                          code <= 0x10ffff;
        return good ? forms[f].bytes : 0;
    }
    return 0;
}

static const char *xml_entity(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static size_t add_characters(struct text *text, const char *from, size_t limit, bool xml) {
    size_t count = 0;
    while (*from != '\0') {
        const size_t bytes = character((const unsigned char *)from);
        const char *entity = xml ? xml_entity(*from) : NULL;
        const size_t step = bytes > 0 ? bytes : 1;
        count++;
        if (count >= limit && from[step] != '\0') {
            add_bytes(text, "…", strlen("…"));
            break;
        }
        if (bytes == 0) {
            add_bytes(text, "?", 1);
        } else if (entity != NULL) {
            add_bytes(text, entity, strlen(entity));
        } else {
            add_bytes(text, from, bytes);
        }
        from += step;
    }
    return count;
}

size_t text_add_clean(struct text *text, const char *from, size_t limit) {
    return add_characters(text, from, limit, false);
}

size_t text_add_xml(struct text *text, const char *from, size_t limit) {
    return add_characters(text, from, limit, true);
}

void text_pad(struct text *text, size_t count) {
    for (size_t i = 0; i < count; i++) {
        add_bytes(text, " ", 1);
    }
}

shoal_status text_take(struct text *text, char **out, struct shoal_error *error) {
    add_bytes(text, "", 0);
    if (text->failed) {
        mem_free(text->data);
        *text = (struct text){.data = NULL};
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for a text");
    }
    *out = text->data;
    *text = (struct text){.data = NULL};
    return SHOAL_OK;
}
