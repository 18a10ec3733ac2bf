/*
 * What a run is about: items for a model, in the order given (folders in byte order of their
 * paths).
 *
 * Image models: image files and folders, .npy arrays, `random:N`; an item is one [H,W,C] f32.
 * Text models: .txt (a line an item), .tsv (text_source.h), .npy of ids i32 or i64 [N,T] (padding
 * at the end of a row is cut off), `random:N` (ids, max_length each); an item is token ids and
 * types.
 * Graphs: .npy and .pb (a TensorProto) arrays [items, ...] of numbers, which are converted to the
 * input's type where that is exact or the input is f32; NAME=FILE for each input where there are
 * several; `random:N`. One whose only input is a picture [items,C,H,W] or [items,H,W,C] of 1 or 3
 * channels takes what image models take; one that has a length is a text model.
 *
 * A path that does not exist, a folder without items, a missing column or an array of the wrong
 * shape is an error at open. An item that cannot be read later, or has no tokens, is reported by
 * input_read and the rest goes on.
 *
 * Threads: one at a time.
 */
#ifndef RUNTIME_INPUT_H
#define RUNTIME_INPUT_H

#include "formats/image_preprocess.h"
#include "formats/wordpiece.h"
#include "models/model.h"

struct input_options {
    const char *const *paths; /* what --input was given; borrowed until input_close */
    size_t path_count;
    const struct model_config *model;          /* copied */
    const struct image_preprocess *preprocess; /* image models; borrowed */
    const struct wordpiece *wordpiece;         /* text models; borrowed; NULL: there is none */
    const char *column, *pair;                 /* of tables; NULL: text_source.h's choice */
    int64_t max_length;                        /* text: most tokens of an item; the rest is cut */
    uint64_t seed;                             /* of random items */
};

struct input;

/* What a text model's input is, in the order of model_inputs. Masks of graphs are 1 and 0. */
enum input_role { INPUT_IDS, INPUT_TYPES, INPUT_MASK, INPUT_POSITIONS };
/* Whether items are texts, and then the roles. */
bool input_roles(const struct model_config *model, enum input_role out[MODEL_MAX_INPUTS]);
/* The role that an input of this name has; false: none is known. */
bool input_role_of(const char *name, enum input_role *out);

/* How pictures lie in a model's only input. */
struct input_picture {
    int64_t height, width, channels;
    bool channels_first;
};
/* false: the model takes no pictures. */
bool input_picture(const struct model_config *model, struct input_picture *out);

/* Errors: NOT_FOUND, IO, CORRUPT, UNSUPPORTED, MISMATCH (array shape, ids), USAGE (random:N is not
 * a count, columns, no vocabulary), NO_MEMORY. */
NODISCARD shoal_status input_open(const struct input_options *options, struct input **out,
                                  struct shoal_error *error);
void input_close(struct input *input);

uint64_t input_count(const struct input *input);
bool input_is_random(const struct input *input); /* nothing but random items: names mean nothing */

/*
 * Text: tokens of the longest item, found by tokenising all of it; max_length where that would take
 * long (more than INPUT_SCAN_BYTES of text). Images: 0.
 */
#define INPUT_SCAN_BYTES (UINT64_C(256) << 20)
int64_t input_longest(struct input *input);
/* Texts that input_longest found to be longer than max_length: they are cut. */
uint64_t input_cut(const struct input *input);

int64_t input_max_length(const struct input *input);
int32_t input_pad(const struct input *input); /* text: id of [PAD] */

/* The item's name: a path, "path:line", "path[i]" or "random[i]"; written into text, cut to bytes.
 */
void input_name(const struct input *input, uint64_t index, char *text, size_t bytes);

/*
 * Text: values[0] ids and values[1] types, i32 [2 · max_length] each, of which *tokens are written.
 * Others: values[i] the model's input i, one item of it; *tokens = 0. Errors concern this item
 * alone and name it.
 */
NODISCARD shoal_status input_read(struct input *input, uint64_t index,
                                  void *const values[MODEL_MAX_INPUTS], int64_t *tokens,
                                  struct shoal_error *error);

#endif
