/*
 * Reads items ahead of the pipeline on a thread of its own and makes microbatches of them: full
 * ones, and a last one padded with zeros. Items that cannot be read are left out and handed to
 * on_skip (on the feeder's thread).
 *
 * Bounded: at most slot_count microbatches exist; one is filled only when the owner has released
 * its slot.
 */
#ifndef RUNTIME_FEEDER_H
#define RUNTIME_FEEDER_H

#include "runtime/input.h"

struct feeder_options {
    struct input *input; /* borrowed; the feeder's alone while it runs */
    int64_t batch;
    uint32_t slot_count;
    void (*on_skip)(void *context, uint64_t item, const struct shoal_error *error);
    void (*on_filled)(void *context); /* a microbatch or the end is there; the feeder's thread */
    void *context;
};

struct feeder_batch {
    uint32_t items;        /* real ones */
    const float *values;   /* [batch, item values] */
    const uint64_t *index; /* [items] of the input */
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
