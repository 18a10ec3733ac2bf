/*
 * Reads items ahead of the pipeline on a thread of its own and makes microbatches of them, each of
 * items of one length (model_lengths): an item's padding depends on its own tokens alone. Items
 * that cannot be read are left out and handed to on_skip (on the feeder's thread).
 *
 * A microbatch goes when it is full; when the input ends; and when its oldest item would otherwise
 * keep `window` items or more waiting for their turn: so results come in input order from a buffer
 * of `window` rows (order.h). Which items share a microbatch depends on the input alone.
 *
 * Bounded: at most slot_count microbatches are filled and not released, and one more for each
 * length is being filled.
 */
#ifndef RUNTIME_FEEDER_H
#define RUNTIME_FEEDER_H

#include "runtime/input.h"

struct feeder_options {
    struct input *input;              /* borrowed; the feeder's alone while it runs */
    const struct model_config *model; /* its length is the longest; copied */
    int64_t batch;
    uint32_t slot_count;
    uint64_t window; /* items, at least batch */
    void (*on_skip)(void *context, uint64_t item, const struct shoal_error *error);
    void (*on_filled)(void *context); /* a microbatch or the end is there; the feeder's thread */
    void *context;
};

struct feeder_item {
    uint64_t index;    /* of the input */
    uint64_t sequence; /* among the items that could be read, from 0 in input order */
};

struct feeder_batch {
    uint32_t items;                       /* real ones */
    int64_t length;                       /* tokens each is padded to; 0: pictures */
    const void *values[MODEL_MAX_INPUTS]; /* of model_inputs at that length, [batch, ...] */
    const struct feeder_item *list;       /* [items] */
};

struct feeder;

NODISCARD shoal_status feeder_create(const struct feeder_options *options, struct feeder **out,
                                     struct shoal_error *error);
void feeder_destroy(struct feeder *feeder); /* stops and joins; NULL allowed */

uint64_t feeder_filled(struct feeder *feeder);  /* microbatches 0 … filled − 1 have been made */
bool feeder_ended(struct feeder *feeder);       /* no more than feeder_filled will come */
uint64_t feeder_skipped(struct feeder *feeder); /* items that could not be read */
/* Of a microbatch that is filled and not released. */
struct feeder_batch feeder_get(struct feeder *feeder, uint64_t number);
/* Microbatches are released in order: all up to and without `number`. */
void feeder_release(struct feeder *feeder, uint64_t number);

#endif
