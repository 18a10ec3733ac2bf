#include "runtime/text_source.h"

#include "base/memory.h"
#include "platform/file.h"

#include <stdlib.h>
#include <string.h>

#define NO_COLUMN UINT32_MAX
#define COLUMNS_MOST 10000

struct text_source {
    struct file_map map;
    uint64_t *starts;      /* [lines + 1] of each line; the last one is where the file ends */
    uint64_t lines, first; /* first: lines before the items (a table's names) */
    uint32_t column, pair; /* from 0; NO_COLUMN: the whole line, or no second text */
};

static const char *bytes_of(const struct text_source *source) {
    return source->map.data;
}

/* Without its end. */
static struct wordpiece_text line_of(const struct text_source *source, uint64_t line) {
    const char *start = bytes_of(source) + source->starts[line];
    size_t size = (size_t)(source->starts[line + 1] - source->starts[line]);
    size -= size > 0 && start[size - 1] == '\n';
    size -= size > 0 && start[size - 1] == '\r';
    return (struct wordpiece_text){start, size};
}

/* Field `column` of a line; false if there are fewer. */
static bool field_of(struct wordpiece_text line, uint32_t column, struct wordpiece_text *out) {
    const char *at = line.bytes, *end = at + line.size;
    for (uint32_t i = 0;; i++) {
        const char *tab = at < end ? memchr(at, '\t', (size_t)(end - at)) : NULL;
        if (i == column) {
            *out = (struct wordpiece_text){at, (size_t)((tab != NULL ? tab : end) - at)};
            return true;
        }
        if (tab == NULL) {
            return false;
        }
        at = tab + 1;
    }
}

static shoal_status index_lines(struct text_source *source, struct shoal_error *error) {
    static const char mark[] = "\xef\xbb\xbf";
    const char *bytes = bytes_of(source);
    const size_t size = source->map.size;
    const size_t begin = size >= 3 && memcmp(bytes, mark, 3) == 0 ? 3 : 0;
    uint64_t lines = 0;
    for (size_t at = begin; at < size; lines++) {
        const char *newline = memchr(bytes + at, '\n', size - at);
        at = newline != NULL ? (size_t)(newline - bytes) + 1 : size;
    }
    source->starts = mem_alloc((lines + 1) * sizeof *source->starts);
    if (source->starts == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %llu lines",
                         (unsigned long long)lines);
    }
    size_t at = begin;
    for (uint64_t i = 0; i < lines; i++) {
        source->starts[i] = at;
        const char *newline = memchr(bytes + at, '\n', size - at);
        at = newline != NULL ? (size_t)(newline - bytes) + 1 : size;
    }
    source->starts[lines] = at;
    source->lines = lines;
    return SHOAL_OK;
}

/* "1" … as a column from 0; NO_COLUMN if it is no number. */
static uint32_t number_of(const char *text) {
    char *end;
    const unsigned long value = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && value >= 1 && value <= COLUMNS_MOST
               ? (uint32_t)value - 1
               : NO_COLUMN;
}

static uint32_t find_name(struct wordpiece_text names, const char *name) {
    struct wordpiece_text field;
    for (uint32_t i = 0; i < COLUMNS_MOST && field_of(names, i, &field); i++) {
        if (field.size == strlen(name) && memcmp(field.bytes, name, field.size) == 0) {
            return i;
        }
    }
    return NO_COLUMN;
}

static shoal_status find_column(struct wordpiece_text names, const char *option, const char *name,
                                uint32_t *out, struct shoal_error *error) {
    *out = find_name(names, name);
    if (*out != NO_COLUMN) {
        return SHOAL_OK;
    }
    char list[300] = "";
    size_t used = 0;
    struct wordpiece_text field;
    for (uint32_t i = 0; i < COLUMNS_MOST && field_of(names, i, &field); i++) {
        if (used + field.size + 3 >= sizeof list) {
            break;
        }
        memcpy(list + used, i > 0 ? ", " : "", i > 0 ? 2 : 0);
        used += i > 0 ? 2 : 0;
        memcpy(list + used, field.bytes, field.size);
        used += field.size;
    }
    return error_set(error, SHOAL_USAGE,
                     "%s %.64s: the first line names no such column; it has: %s", option, name,
                     list);
}

static shoal_status choose_columns(struct text_source *source, const struct text_options *options,
                                   struct shoal_error *error) {
    source->column = options->column != NULL ? number_of(options->column) : NO_COLUMN;
    source->pair = options->pair != NULL ? number_of(options->pair) : NO_COLUMN;
    const bool numbers = options->column != NULL && source->column != NO_COLUMN;
    if (options->pair != NULL && numbers != (source->pair != NO_COLUMN)) {
        return error_set(error, SHOAL_USAGE,
                         "--column and --pair: name both, or number both (--column 1 --pair 2)");
    }
    if (numbers) {
        return SHOAL_OK;
    }
    const struct wordpiece_text names = line_of(source, 0);
    source->first = 1;
    if (options->column != NULL) {
        TRY(find_column(names, "--column", options->column, &source->column, error));
    } else {
        source->column = find_name(names, "sentence");
        if (source->column == NO_COLUMN) {
            source->column = find_name(names, "text");
        }
        source->column = source->column == NO_COLUMN ? 0 : source->column;
    }
    return options->pair == NULL
               ? SHOAL_OK
               : find_column(names, "--pair", options->pair, &source->pair, error);
}

static shoal_status prepare(struct text_source *source, const struct text_options *options,
                            struct shoal_error *error) {
    TRY(index_lines(source, error));
    source->column = source->pair = NO_COLUMN;
    if (!options->table && (options->column != NULL || options->pair != NULL)) {
        return error_set(error, SHOAL_USAGE, "--column and --pair are for tables (.tsv)");
    }
    if (options->table && source->lines > 0) {
        TRY(choose_columns(source, options, error));
    }
    return source->lines > source->first ? SHOAL_OK
                                         : error_set(error, SHOAL_CORRUPT, "no line of text");
}

shoal_status text_source_open(const char *path, const struct text_options *options,
                              struct text_source **out, struct shoal_error *error) {
    struct text_source *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    shoal_status status = file_map_open(path, &source->map, error);
    if (status == SHOAL_OK) {
        status = prepare(source, options, error);
        if (status != SHOAL_OK) {
            (void)error_wrap(error, status, "%s", path);
        }
    }
    if (status != SHOAL_OK) {
        text_source_close(source);
        return status;
    }
    *out = source;
    return SHOAL_OK;
}

void text_source_close(struct text_source *source) {
    if (source != NULL) {
        file_map_close(&source->map);
        mem_free(source->starts);
        mem_free(source);
    }
}

uint64_t text_source_count(const struct text_source *source) {
    return source->lines - source->first;
}

uint64_t text_source_bytes(const struct text_source *source) {
    return source->map.size;
}

uint64_t text_source_line(const struct text_source *source, uint64_t index) {
    return source->first + index + 1;
}

shoal_status text_source_get(const struct text_source *source, uint64_t index,
                             struct wordpiece_text *first, struct wordpiece_text *second,
                             bool *paired, struct shoal_error *error) {
    const struct wordpiece_text line = line_of(source, source->first + index);
    *paired = source->pair != NO_COLUMN;
    *first = line;
    const uint32_t columns[] = {source->column, source->pair};
    struct wordpiece_text *const fields[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        if (columns[i] != NO_COLUMN && !field_of(line, columns[i], fields[i])) {
            return error_set(error, SHOAL_MISMATCH, "no column %u in this line", columns[i] + 1);
        }
    }
    return SHOAL_OK;
}
