/*
 * Texts of a file: a line an item (.txt), or columns of a table of tab-separated values. Lines end
 * with LF or CR LF; a byte order mark is left out; the last line need not end. Fields are taken as
 * they stand: quotes mean nothing.
 *
 * Threads: immutable once open.
 */
#ifndef RUNTIME_TEXT_SOURCE_H
#define RUNTIME_TEXT_SOURCE_H

#include "formats/wordpiece.h"

struct text_options {
    bool table; /* tab-separated values */
    /*
     * Columns of a table, by a name of its first line, or by number from 1, and then the first line
     * is an item. column NULL: "sentence" or "text", otherwise the first. pair NULL: one text an
     * item.
     */
    const char *column, *pair;
};

struct text_source;

/* Errors: as file_map_open; USAGE (no such column: the text lists those there are; columns of a
 * file without), CORRUPT (no line), NO_MEMORY; all name the path. */
NODISCARD shoal_status text_source_open(const char *path, const struct text_options *options,
                                        struct text_source **out, struct shoal_error *error);
void text_source_close(struct text_source *source); /* NULL allowed */

uint64_t text_source_count(const struct text_source *source);
uint64_t text_source_bytes(const struct text_source *source);
/* The item's line in the file, from 1. */
uint64_t text_source_line(const struct text_source *source, uint64_t index);

/* The item's text and, if *paired, its second one; borrowed. Errors: MISMATCH (the line has too few
 * columns). */
NODISCARD shoal_status text_source_get(const struct text_source *source, uint64_t index,
                                       struct wordpiece_text *first, struct wordpiece_text *second,
                                       bool *paired, struct shoal_error *error);

#endif
