/*
 * What a run is about: items from image files and folders, .npy arrays, or `random:N`, in the order
 * given (folders in byte order of their paths). Each becomes one model input [H,W,C] f32.
 *
 * A path that does not exist, a folder without pictures or an array of the wrong shape is an error
 * at open. An item that cannot be read later is reported by input_read and the rest goes on.
 *
 * Threads: one at a time.
 */
#ifndef RUNTIME_INPUT_H
#define RUNTIME_INPUT_H

#include "formats/image_preprocess.h"

#include <stdint.h>

struct input_options {
    const char *const *paths; /* what --input was given */
    size_t path_count;
    int32_t height, width, channels;
    const struct image_preprocess *preprocess;
    uint64_t seed; /* of random items */
};

struct input;

/* Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED, MISMATCH (array shape), USAGE (random:N is not a
 * count), NO_MEMORY. */
NODISCARD shoal_status input_open(const struct input_options *options, struct input **out,
                                  struct shoal_error *error);
void input_close(struct input *input);

uint64_t input_count(const struct input *input);
size_t input_item_values(const struct input *input); /* H·W·C */
bool input_is_random(const struct input *input); /* nothing but random items: names mean nothing */

/* The item's name: a path, "path[i]" or "random[i]"; written into text, cut to bytes. */
void input_name(const struct input *input, uint64_t index, char *text, size_t bytes);

/* values [H·W·C]. Errors concern this item alone and name it. */
NODISCARD shoal_status input_read(struct input *input, uint64_t index, float *values,
                                  struct shoal_error *error);

#endif
