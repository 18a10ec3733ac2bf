/*
 * The end of a run: takes outputs in input order and writes what the model means — labels with
 * probabilities, a regression's value, embeddings, raw outputs on request — as JSON lines or, raw,
 * as .npy arrays [items, ...] (NaNs where an item was skipped) and, for people, as text; keeps the
 * SHA-256 of all raw outputs. A model of several outputs gets an array for each: the first has the
 * path given, x.npy, the others x.NAME.npy.
 *
 * Threads: results_skip from the reading thread, all else from the owner.
 */
#ifndef RUNTIME_RESULTS_H
#define RUNTIME_RESULTS_H

#include "base/status.h"
#include "formats/digest.h"
#include "models/model.h"

#include <stdbool.h>

#include <stdint.h>
#include <stdio.h>

struct results_options {
    const char *output_path; /* JSON lines, or by its suffix .npy an array; NULL: none */
    uint64_t items;          /* of the input: rows of the array */
    FILE *text;              /* one line an item for people; NULL: none */
    bool classifies;         /* the first output is f32: classes, or of one class a value */
    bool named;              /* outputs are written under their names, not as logits or embedding */
    const char *(*label)(void *context, uint32_t class_index); /* NULL result: unnamed class */
    void *label_context;
    uint32_t top;                       /* classes an item */
    bool logits;                        /* also the raw outputs */
    const struct model_output *outputs; /* [output_count] copied, but for their names */
    uint32_t output_count;
};

struct results;

/* Errors: IO, NO_SPACE, NOT_FOUND (the output's folder), NO_MEMORY. */
NODISCARD shoal_status results_create(const struct results_options *options, struct results **out,
                                      struct shoal_error *error);
void results_destroy(struct results *results);

/* Bytes of one item's outputs. */
size_t results_row_bytes(const struct results *results);

/* row: the item's outputs, one after the other, [results_row_bytes]. Errors: NO_SPACE, IO (the
 * output cannot be written). */
NODISCARD shoal_status results_add(struct results *results, uint64_t index, const char *name,
                                   const void *row, struct shoal_error *error);
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
