/*
 * Tokens a second of the tokeniser on one thread, and the ids of every line.
 *
 *     tokens_bench TOKENISER LINES [MAX_LENGTH [REPEATS]]
 *
 * TOKENISER: a directory, a vocab.txt or a tokenizer.json. LINES: a file, an item a line, TAB
 * between the texts of a pair. Prints the ids of each line, then "TOKENS tokens, RATE tokens/s"
 * (median of the repeats) on standard error.
 */
#include "base/median.h"
#include "base/memory.h"
#include "formats/wordpiece.h"
#include "platform/clock.h"
#include "platform/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPEATS_MOST 100

struct job {
    struct wordpiece *wordpiece;
    const char *text;
    size_t size, max_length;
    int32_t *ids, *types; /* [2 · max_length] */
};

static size_t encode(const struct job *job, const char *line, size_t length) {
    const char *tab = memchr(line, '\t', length);
    struct wordpiece_text first = {line, tab != NULL ? (size_t)(tab - line) : length};
    struct wordpiece_text second = {tab + 1, tab != NULL ? length - first.size - 1 : 0};
    return wordpiece_encode(job->wordpiece, &first, tab != NULL ? &second : NULL, job->max_length,
                            job->ids, job->types);
}

/* Tokens of all lines. */
static size_t go(const struct job *job, bool print) {
    size_t tokens = 0;
    const char *end = job->text + job->size;
    for (const char *line = job->text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *stop = newline != NULL ? newline : end;
        const size_t count = encode(job, line, (size_t)(stop - line));
        for (size_t i = 0; i < count && print; i++) {
            (void)printf("%s%d", i > 0 ? " " : "", job->ids[i]);
        }
        if (print) {
            (void)putchar('\n');
        }
        tokens += count;
        line = newline != NULL ? newline + 1 : end;
    }
    return tokens;
}

static int fail(const struct shoal_error *error) {
    (void)fprintf(stderr, "tokens_bench: %s\n", error->text);
    return 2;
}

int main(int argc, char **argv) {
    struct shoal_error error;
    struct job job = {.max_length = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 512};
    size_t repeats = argc > 4 ? (size_t)strtoul(argv[4], NULL, 10) : 0;
    if (argc < 3 || job.max_length < WORDPIECE_SHORTEST || job.max_length > 65536) {
        (void)fprintf(stderr, "usage: tokens_bench TOKENISER LINES [MAX_LENGTH [REPEATS]]\n");
        return 2;
    }
    repeats = repeats > REPEATS_MOST ? REPEATS_MOST : repeats;
    const shoal_status status = file_is_directory(argv[1])
                                    ? wordpiece_open_directory(argv[1], &job.wordpiece, &error)
                                    : wordpiece_open_file(argv[1], &job.wordpiece, &error);
    char *text;
    if (status != SHOAL_OK ||
        file_read(argv[2], SIZE_MAX / 2, &text, &job.size, &error) != SHOAL_OK) {
        return fail(&error);
    }
    job.text = text;
    job.ids = mem_calloc(2 * job.max_length, sizeof *job.ids);
    job.types = mem_calloc(2 * job.max_length, sizeof *job.types);
    if (job.ids == NULL || job.types == NULL) {
        return 2;
    }
    const size_t tokens = go(&job, true);
    double rates[REPEATS_MOST];
    for (size_t i = 0; i < repeats; i++) {
        const uint64_t begin = platform_now_ns();
        (void)go(&job, false);
        rates[i] = (double)tokens / ((double)(platform_now_ns() - begin) * 1e-9);
    }
    if (repeats > 0) {
        (void)fprintf(stderr, "%zu tokens, %.0f tokens/s\n", tokens, median_sort(rates, repeats));
    }
    mem_free(job.ids);
    mem_free(job.types);
    mem_free(text);
    wordpiece_destroy(job.wordpiece);
    return 0;
}
