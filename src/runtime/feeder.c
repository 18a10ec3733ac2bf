#include "runtime/feeder.h"

#include "base/assert.h"
#include "base/memory.h"

#include <pthread.h>
#include <string.h>

struct slot {
    uint32_t items;
    float *values;
    uint64_t *index;
};

struct feeder {
    struct feeder_options options;
    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    uint64_t filled, released, skipped;
    bool ended, stop;
    struct slot slots[];
};

/* Waits for a free slot; NULL when the feeder shall stop. */
static struct slot *next_slot(struct feeder *feeder) {
    struct slot *slot = NULL;
    (void)pthread_mutex_lock(&feeder->mutex);
    while (!feeder->stop && feeder->filled - feeder->released >= feeder->options.slot_count) {
        (void)pthread_cond_wait(&feeder->changed, &feeder->mutex);
    }
    if (!feeder->stop) {
        slot = &feeder->slots[feeder->filled % feeder->options.slot_count];
    }
    (void)pthread_mutex_unlock(&feeder->mutex);
    return slot;
}

static void publish(struct feeder *feeder, bool filled, bool ended) {
    (void)pthread_mutex_lock(&feeder->mutex);
    feeder->filled += filled ? 1 : 0;
    feeder->ended = ended;
    (void)pthread_mutex_unlock(&feeder->mutex);
    feeder->options.on_filled(feeder->options.context);
}

static bool is_stopped(struct feeder *feeder) {
    (void)pthread_mutex_lock(&feeder->mutex);
    const bool stop = feeder->stop;
    (void)pthread_mutex_unlock(&feeder->mutex);
    return stop;
}

/* Reads items into the slot until it is full or the input ends. */
static void fill(struct feeder *feeder, struct slot *slot, uint64_t *next) {
    struct input *input = feeder->options.input;
    const size_t values = input_item_values(input);
    slot->items = 0;
    while (slot->items < (uint64_t)feeder->options.batch && *next < input_count(input) &&
           !is_stopped(feeder)) {
        struct shoal_error error;
        const uint64_t item = (*next)++;
        if (input_read(input, item, slot->values + slot->items * values, &error) == SHOAL_OK) {
            slot->index[slot->items++] = item;
        } else {
            feeder->options.on_skip(feeder->options.context, item, &error);
            (void)pthread_mutex_lock(&feeder->mutex);
            feeder->skipped++;
            (void)pthread_mutex_unlock(&feeder->mutex);
        }
    }
    const size_t missing = (size_t)feeder->options.batch - slot->items;
    memset(slot->values + slot->items * values, 0, missing * values * sizeof(float));
}

static void *run(void *argument) {
    struct feeder *feeder = argument;
    uint64_t next = 0;
    const uint64_t count = input_count(feeder->options.input);
    for (;;) {
        struct slot *slot = next_slot(feeder);
        if (slot == NULL) {
            return NULL;
        }
        fill(feeder, slot, &next);
        publish(feeder, slot->items > 0, next >= count);
        if (next >= count) {
            return NULL;
        }
    }
}

static shoal_status make_slots(struct feeder *feeder, struct shoal_error *error) {
    const size_t batch = (size_t)feeder->options.batch;
    const size_t bytes = batch * input_item_values(feeder->options.input) * sizeof(float);
    for (uint32_t i = 0; i < feeder->options.slot_count; i++) {
        feeder->slots[i].values = mem_alloc_aligned(bytes);
        feeder->slots[i].index = mem_calloc(batch, sizeof(uint64_t));
        if (feeder->slots[i].values == NULL || feeder->slots[i].index == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory to read %u microbatches ahead",
                             feeder->options.slot_count);
        }
    }
    if (pthread_create(&feeder->thread, NULL, run, feeder) != 0) {
        return error_set(error, SHOAL_NO_MEMORY, "cannot start the reading thread");
    }
    feeder->thread_runs = true;
    return SHOAL_OK;
}

shoal_status feeder_create(const struct feeder_options *options, struct feeder **out,
                           struct shoal_error *error) {
    struct feeder *feeder =
        mem_calloc(1, sizeof *feeder + options->slot_count * sizeof feeder->slots[0]);
    if (feeder == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the reading thread");
    }
    feeder->options = *options;
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
    for (uint32_t i = 0; i < feeder->options.slot_count; i++) {
        mem_free(feeder->slots[i].values);
        mem_free(feeder->slots[i].index);
    }
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
    (void)pthread_mutex_unlock(&feeder->mutex);
    const struct slot *slot = &feeder->slots[number % feeder->options.slot_count];
    return (struct feeder_batch){
        .items = slot->items, .values = slot->values, .index = slot->index};
}

void feeder_release(struct feeder *feeder, uint64_t number) {
    (void)pthread_mutex_lock(&feeder->mutex);
    ASSERT(number <= feeder->filled);
    feeder->released = number;
    (void)pthread_cond_signal(&feeder->changed);
    (void)pthread_mutex_unlock(&feeder->mutex);
}
