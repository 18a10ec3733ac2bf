/*
 * The end of a run: takes outputs in input order and writes what the model means — labels with
 * probabilities, a regression's value, embeddings, logits on request — as JSON lines or, raw, as a
 * .npy array [items, width] f32 (NaNs where an item was skipped) and, for people, as text; keeps
 * the SHA-256 of all raw outputs.
 *
 * Threads: results_skip from the reading thread, all else from the owner.
 */
#ifndef RUNTIME_RESULTS_H
#define RUNTIME_RESULTS_H

#include "base/status.h"
#include "formats/digest.h"

#include <stdbool.h>

#include <stdint.h>
#include <stdio.h>

struct results_options {
    const char *output_path; /* JSON lines, or by its suffix .npy an array; NULL: none */
    uint64_t items;          /* of the input: rows of the array */
    FILE *text;              /* one line an item for people; NULL: none */
    bool classifies; /* outputs are logits of classes, or of one class a value; otherwise embeddings
                      */
    const char *(*label)(void *context, uint32_t class_index); /* NULL result: unnamed class */
    void *label_context;
    uint32_t top;   /* classes an item */
    bool logits;    /* also the raw outputs */
    uint32_t width; /* values of one item's output */
};

struct results;

/* Errors: IO, NO_SPACE, NOT_FOUND (the output's folder), NO_MEMORY. */
NODISCARD shoal_status results_create(const struct results_options *options, struct results **out,
                                      struct shoal_error *error);
void results_destroy(struct results *results);

/* row [width] f32. Errors: NO_SPACE, IO (the output cannot be written). */
NODISCARD shoal_status results_add(struct results *results, uint64_t index, const char *name,
                                   const float *row, struct shoal_error *error);
/* An item that could not be read; written in its place among the results. */
void results_skip(struct results *results, uint64_t index, const char *name, const char *why);
/* Skipped items before `index` are written now; UINT64_MAX: all. */
NODISCARD shoal_status results_write_skipped(struct results *results, uint64_t index,
                                             struct shoal_error *error);
/* What was added so far reaches the file and the text's reader. Errors: NO_SPACE, IO. */
NODISCARD shoal_status results_flush(struct results *results, struct shoal_error *error);

/* The end of a run that succeeded: everything is written, the array is whole. Errors: NO_SPACE, IO.
 */
NODISCARD shoal_status results_finish(struct results *results, struct shoal_error *error);

/* Of all outputs added so far; results_add is over then. */
void results_digest(struct results *results, char text[DIGEST_TEXT]);

#endif
