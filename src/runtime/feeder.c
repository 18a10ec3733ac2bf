#include "runtime/feeder.h"

#include "base/assert.h"
#include "base/memory.h"

#include <pthread.h>
#include <string.h>

#define NO_ITEM UINT64_MAX

enum { IDS, TYPES }; /* what input_read gives of a text */

/* One microbatch. */
struct slot {
    uint32_t items;
    int64_t length;
    void *values[MODEL_MAX_INPUTS];
    struct feeder_item *list; /* [batch] */
};

struct feeder {
    struct feeder_options options;
    struct model_config model;
    int64_t lengths[MODEL_MAX_LENGTHS];
    uint32_t length_count, input_count;
    bool is_text;
    struct model_input inputs[MODEL_MAX_INPUTS];
    enum input_role roles[MODEL_MAX_INPUTS]; /* of a text */
    size_t item_bytes[MODEL_MAX_INPUTS];     /* of one item of the longest length */
    pthread_t thread;
    bool thread_runs;
    /* The feeder thread's own. */
    struct slot *pending[MODEL_MAX_LENGTHS]; /* being filled, by length; NULL: none */
    int32_t *tokens[2];                      /* ids and types of the item that is read */
    uint64_t sequence;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t filled, released, skipped;
    bool ended, stop;
    struct slot **ring; /* [slot_count] filled ones, by number */
    struct slot **free; /* [slots] */
    uint32_t free_count;
    struct slot slots[]; /* slot_count + length_count */
};

static uint32_t slots_of(const struct feeder *feeder) {
    return feeder->options.slot_count + feeder->length_count;
}

static bool is_stopped(struct feeder *feeder) {
    (void)pthread_mutex_lock(&feeder->mutex);
    const bool stop = feeder->stop;
    (void)pthread_mutex_unlock(&feeder->mutex);
    return stop;
}

/* ---- filling ---- */

/* One number of a text's input. */
static void put_number(enum dtype dtype, void *values, size_t at, int32_t value) {
    switch ((int)dtype) {
    case DTYPE_I64:
        ((int64_t *)values)[at] = value;
        break;
    case DTYPE_F32:
        ((float *)values)[at] = (float)value;
        break;
    case DTYPE_BOOL:
        ((bool *)values)[at] = value != 0;
        break;
    default:
        ((int32_t *)values)[at] = value;
        break;
    }
}

/* An item of text at its place: ids, types and mask up to the slot's length. */
static void place_tokens(const struct feeder *feeder, struct slot *slot, uint32_t place,
                         int64_t tokens) {
    const size_t length = (size_t)slot->length, start = place * length, count = (size_t)tokens;
    const int32_t padding = input_pad(feeder->options.input);
    for (uint32_t v = 0; v < feeder->input_count; v++) {
        const enum dtype dtype = feeder->inputs[v].type.dtype;
        for (size_t i = 0; i < length; i++) {
            const bool real = i < count;
            int32_t value = 0;
            switch (feeder->roles[v]) {
            case INPUT_IDS:
                value = real ? feeder->tokens[IDS][i] : padding;
                break;
            case INPUT_TYPES:
                value = real ? feeder->tokens[TYPES][i] : 0;
                break;
            case INPUT_POSITIONS:
                value = (int32_t)i;
                break;
            case INPUT_MASK:
                value = real;
                break;
            }
            if (feeder->roles[v] == INPUT_MASK && feeder->model.family != MODEL_GRAPH) {
                ((float *)slot->values[v])[start + i] = real ? 0.0F : MODEL_MASK_DROP;
            } else {
                put_number(dtype, slot->values[v], start + i, value);
            }
        }
    }
}

/* The places without items: zeros, or one [PAD] that attends to itself. */
static void pad(const struct feeder *feeder, struct slot *slot) {
    if (!feeder->is_text) {
        const size_t missing = (size_t)feeder->options.batch - slot->items;
        for (uint32_t v = 0; v < feeder->input_count; v++) {
            memset((char *)slot->values[v] + slot->items * feeder->item_bytes[v], 0,
                   missing * feeder->item_bytes[v]);
        }
        return;
    }
    feeder->tokens[IDS][0] = input_pad(feeder->options.input);
    feeder->tokens[TYPES][0] = 0;
    for (uint32_t i = slot->items; i < (uint64_t)feeder->options.batch; i++) {
        place_tokens(feeder, slot, i, 1);
    }
}

/* Hands on the slot of that length as the next microbatch, when there is room; false: stopped. */
static bool publish(struct feeder *feeder, uint32_t length) {
    struct slot *slot = feeder->pending[length];
    const uint32_t slots = feeder->options.slot_count;
    pad(feeder, slot);
    (void)pthread_mutex_lock(&feeder->mutex);
    while (!feeder->stop && feeder->filled - feeder->released >= slots) {
        (void)pthread_cond_wait(&feeder->changed, &feeder->mutex);
    }
    const bool stop = feeder->stop;
    if (!stop) {
        feeder->ring[feeder->filled % slots] = slot;
        feeder->filled++;
        feeder->pending[length] = NULL;
    }
    (void)pthread_mutex_unlock(&feeder->mutex);
    if (!stop) {
        feeder->options.on_filled(feeder->options.context);
    }
    return !stop;
}

/* The slot that items of that length go to. There always is a free one: others are filled and not
 * released, at most slot_count, or pending for another length. */
static struct slot *open_slot(struct feeder *feeder, uint32_t length) {
    if (feeder->pending[length] == NULL) {
        (void)pthread_mutex_lock(&feeder->mutex);
        ASSERT(feeder->free_count > 0);
        struct slot *slot = feeder->free[--feeder->free_count];
        (void)pthread_mutex_unlock(&feeder->mutex);
        slot->items = 0;
        slot->length = feeder->lengths[length];
        feeder->pending[length] = slot;
    }
    return feeder->pending[length];
}

/* The length whose pending microbatch has the oldest item; *oldest is its sequence, or NO_ITEM. */
static uint32_t find_oldest(const struct feeder *feeder, uint64_t *oldest) {
    uint32_t found = 0;
    *oldest = NO_ITEM;
    for (uint32_t i = 0; i < feeder->length_count; i++) {
        const struct slot *slot = feeder->pending[i];
        if (slot != NULL && slot->items > 0 && slot->list[0].sequence < *oldest) {
            *oldest = slot->list[0].sequence;
            found = i;
        }
    }
    return found;
}

/* Reads an item into its place; *length says which pending microbatch got it. */
static shoal_status take(struct feeder *feeder, uint64_t item, uint32_t *length,
                         struct shoal_error *error) {
    struct input *input = feeder->options.input;
    void *values[MODEL_MAX_INPUTS] = {feeder->tokens[IDS], feeder->tokens[TYPES]};
    int64_t tokens;
    *length = 0;
    if (!feeder->is_text) {
        struct slot *slot = open_slot(feeder, 0);
        for (uint32_t v = 0; v < feeder->input_count; v++) {
            values[v] = (char *)slot->values[v] + slot->items * feeder->item_bytes[v];
        }
        return input_read(input, item, values, &tokens, error);
    }
    TRY(input_read(input, item, values, &tokens, error));
    while (feeder->lengths[*length] < tokens) {
        if (++*length == feeder->length_count) {
            char name[512];
            input_name(input, item, name, sizeof name);
            return error_set(error, SHOAL_MISMATCH,
                             "%.300s: %lld tokens, longer than it was before", name,
                             (long long)tokens);
        }
    }
    struct slot *slot = open_slot(feeder, *length);
    place_tokens(feeder, slot, slot->items, tokens);
    return SHOAL_OK;
}

/* One item of the input; false: stopped. */
static bool feed(struct feeder *feeder, uint64_t item) {
    uint64_t oldest;
    uint32_t length = find_oldest(feeder, &oldest);
    if (oldest != NO_ITEM && feeder->sequence - oldest >= feeder->options.window &&
        !publish(feeder, length)) {
        return false;
    }
    struct shoal_error error;
    if (take(feeder, item, &length, &error) != SHOAL_OK) {
        feeder->options.on_skip(feeder->options.context, item, &error);
        (void)pthread_mutex_lock(&feeder->mutex);
        feeder->skipped++;
        (void)pthread_mutex_unlock(&feeder->mutex);
        return true;
    }
    struct slot *slot = feeder->pending[length];
    slot->list[slot->items++] = (struct feeder_item){item, feeder->sequence++};
    return slot->items < (uint64_t)feeder->options.batch || publish(feeder, length);
}

static void *run(void *argument) {
    struct feeder *feeder = argument;
    const uint64_t count = input_count(feeder->options.input);
    for (uint64_t item = 0; item < count; item++) {
        if (is_stopped(feeder) || !feed(feeder, item)) {
            return NULL;
        }
    }
    uint64_t oldest;
    uint32_t length = find_oldest(feeder, &oldest);
    for (; oldest != NO_ITEM; length = find_oldest(feeder, &oldest)) {
        if (!publish(feeder, length)) {
            return NULL;
        }
    }
    (void)pthread_mutex_lock(&feeder->mutex);
    feeder->ended = true;
    (void)pthread_mutex_unlock(&feeder->mutex);
    feeder->options.on_filled(feeder->options.context);
    return NULL;
}

/* ---- its life ---- */

static shoal_status make_slots(struct feeder *feeder, struct shoal_error *error) {
    const size_t batch = (size_t)feeder->options.batch;
    const size_t tokens = 2 * (size_t)input_max_length(feeder->options.input) * sizeof(int32_t);
    bool all = true;
    feeder->ring = mem_calloc(feeder->options.slot_count, sizeof(struct slot *));
    feeder->free = mem_calloc(slots_of(feeder), sizeof(struct slot *));
    for (int i = 0; i < 2 && feeder->is_text; i++) {
        feeder->tokens[i] = mem_alloc(tokens);
        all = all && feeder->tokens[i] != NULL;
    }
    for (uint32_t i = 0; i < slots_of(feeder); i++) {
        struct slot *slot = &feeder->slots[i];
        for (uint32_t v = 0; v < feeder->input_count; v++) {
            slot->values[v] = mem_alloc_aligned(batch * feeder->item_bytes[v]);
            all = all && slot->values[v] != NULL;
        }
        slot->list = mem_calloc(batch, sizeof *slot->list);
        all = all && slot->list != NULL;
        if (feeder->free != NULL) {
            feeder->free[feeder->free_count++] = slot;
        }
    }
    if (!all || feeder->ring == NULL || feeder->free == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to read %u microbatches ahead",
                         feeder->options.slot_count);
    }
    if (pthread_create(&feeder->thread, NULL, run, feeder) != 0) {
        return error_set(error, SHOAL_NO_MEMORY, "cannot start the reading thread");
    }
    feeder->thread_runs = true;
    return SHOAL_OK;
}

shoal_status feeder_create(const struct feeder_options *options, struct feeder **out,
                           struct shoal_error *error) {
    ASSERT(options->window >= (uint64_t)options->batch);
    int64_t lengths[MODEL_MAX_LENGTHS];
    const uint32_t length_count = model_lengths(options->model, lengths);
    struct feeder *feeder = mem_calloc(1, sizeof *feeder + (options->slot_count + length_count) *
                                                               sizeof feeder->slots[0]);
    if (feeder == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the reading thread");
    }
    feeder->options = *options;
    feeder->model = *options->model;
    feeder->length_count = length_count;
    memcpy(feeder->lengths, lengths, sizeof lengths);
    feeder->is_text = input_roles(options->model, feeder->roles);
    feeder->input_count = model_inputs(options->model, feeder->inputs);
    for (uint32_t i = 0; i < feeder->input_count; i++) {
        const struct tensor_type one = graph_resolve(feeder->inputs[i].type, 1);
        (void)shape_bytes(&one.shape, one.dtype, &feeder->item_bytes[i]);
    }
    (void)pthread_mutex_init(&feeder->mutex, NULL);
    (void)pthread_cond_init(&feeder->changed, NULL);
    const shoal_status status = make_slots(feeder, error);
    if (status != SHOAL_OK) {
        feeder_destroy(feeder);
        return status;
    }
    *out = feeder;
    return SHOAL_OK;
}

void feeder_destroy(struct feeder *feeder) {
    if (feeder == NULL) {
        return;
    }
    if (feeder->thread_runs) {
        (void)pthread_mutex_lock(&feeder->mutex);
        feeder->stop = true;
        (void)pthread_cond_broadcast(&feeder->changed);
        (void)pthread_mutex_unlock(&feeder->mutex);
        (void)pthread_join(feeder->thread, NULL);
    }
    for (uint32_t i = 0; i < slots_of(feeder); i++) {
        for (uint32_t v = 0; v < feeder->input_count; v++) {
            mem_free(feeder->slots[i].values[v]);
        }
        mem_free(feeder->slots[i].list);
    }
    mem_free(feeder->tokens[IDS]);
    mem_free(feeder->tokens[TYPES]);
    mem_free(feeder->ring);
    mem_free(feeder->free);
    (void)pthread_cond_destroy(&feeder->changed);
    (void)pthread_mutex_destroy(&feeder->mutex);
    mem_free(feeder);
}

uint64_t feeder_filled(struct feeder *feeder) {
    (void)pthread_mutex_lock(&feeder->mutex);
    const uint64_t filled = feeder->filled;
    (void)pthread_mutex_unlock(&feeder->mutex);
    return filled;
}

bool feeder_ended(struct feeder *feeder) {
    (void)pthread_mutex_lock(&feeder->mutex);
    const bool ended = feeder->ended;
    (void)pthread_mutex_unlock(&feeder->mutex);
    return ended;
}

uint64_t feeder_skipped(struct feeder *feeder) {
    (void)pthread_mutex_lock(&feeder->mutex);
    const uint64_t skipped = feeder->skipped;
    (void)pthread_mutex_unlock(&feeder->mutex);
    return skipped;
}

struct feeder_batch feeder_get(struct feeder *feeder, uint64_t number) {
    (void)pthread_mutex_lock(&feeder->mutex);
    ASSERT(number < feeder->filled && number >= feeder->released);
    const struct slot *slot = feeder->ring[number % feeder->options.slot_count];
    (void)pthread_mutex_unlock(&feeder->mutex);
    struct feeder_batch batch = {.items = slot->items, .length = slot->length, .list = slot->list};
    for (uint32_t i = 0; i < feeder->input_count; i++) {
        batch.values[i] = slot->values[i];
    }
    return batch;
}

void feeder_release(struct feeder *feeder, uint64_t number) {
    (void)pthread_mutex_lock(&feeder->mutex);
    ASSERT(number <= feeder->filled);
    for (; feeder->released < number; feeder->released++) {
        feeder->free[feeder->free_count++] =
            feeder->ring[feeder->released % feeder->options.slot_count];
    }
    (void)pthread_cond_signal(&feeder->changed);
    (void)pthread_mutex_unlock(&feeder->mutex);
}
