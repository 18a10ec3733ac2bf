#include "transport/pool.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"
#include "wire/message.h"

#include <pthread.h>
#include <string.h>

#define SMALLEST_SHIFT 10 /* 1 KiB */
#define LARGEST_SHIFT 30
#define STEPS 8 /* classes per octave */
#define CLASSES ((LARGEST_SHIFT - SMALLEST_SHIFT) * STEPS + 1)
#define ALWAYS_KEPT ((size_t)1 << 20)
#define HEAD_BYTES ((sizeof(struct message) + 63) / 64 * 64)

_Static_assert((WIRE_MAX_MESSAGE_BYTES - 1) >> LARGEST_SHIFT == 0, "every message has a class");

struct pool {
    pthread_mutex_t mutex;
    struct message *idle[CLASSES];
    size_t bytes, peak_bytes; /* all buffers */
    size_t in_use, peak_in_use, idle_bytes;
    size_t away; /* messages not at home */
    bool released;
};

/* Class c holds (8 + c % 8) · 2^(7 + c / 8) bytes: 1024, 1152, … 2048, 2304, … */
static size_t class_bytes(uint32_t class) {
    return (size_t)(STEPS + class % STEPS) << (SMALLEST_SHIFT - 3 + class / STEPS);
}

static uint32_t class_of(size_t size) {
    if (size <= (size_t)1 << SMALLEST_SHIFT) {
        return 0;
    }
    const uint32_t octave =
        63 - (uint32_t)__builtin_clzll(size - 1); /* 2^octave < size ≤ 2^(octave+1) */
    const uint32_t step = (uint32_t)((size - 1) >> (octave - 3)) - STEPS; /* 0 … 7 */
    return (octave - SMALLEST_SHIFT) * STEPS + step + 1;
}

shoal_status pool_create(struct pool **out, struct shoal_error *error) {
    struct pool *pool = mem_calloc(1, sizeof *pool);
    if (pool == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a message pool");
    }
    if (pthread_mutex_init(&pool->mutex, NULL) != 0) {
        mem_free(pool);
        return error_set(error, SHOAL_NO_MEMORY, "no mutex for a message pool");
    }
    *out = pool;
    return SHOAL_OK;
}

static void pool_destroy(struct pool *pool) {
    for (uint32_t i = 0; i < CLASSES; i++) {
        while (pool->idle[i] != NULL) {
            struct message *message = pool->idle[i];
            pool->idle[i] = message->next;
            mem_free(message);
        }
    }
    (void)pthread_mutex_destroy(&pool->mutex);
    mem_free(pool);
}

void pool_release(struct pool *pool) {
    (void)pthread_mutex_lock(&pool->mutex);
    pool->released = true;
    const bool last = pool->away == 0;
    (void)pthread_mutex_unlock(&pool->mutex);
    if (last) {
        pool_destroy(pool);
    }
}

static void count_take(struct pool *pool, size_t bytes, bool fresh) {
    pool->away++;
    pool->in_use += bytes;
    if (pool->in_use > pool->peak_in_use) {
        pool->peak_in_use = pool->in_use;
    }
    if (fresh) {
        pool->bytes += bytes;
        if (pool->bytes > pool->peak_bytes) {
            pool->peak_bytes = pool->bytes;
        }
    } else {
        pool->idle_bytes -= bytes;
    }
}

shoal_status pool_take(struct pool *pool, size_t size, struct message **out,
                       struct shoal_error *error) {
    if (size > WIRE_MAX_MESSAGE_BYTES) {
        return error_set(error, SHOAL_INVALID, "a message of %zu bytes; at most %zu are possible",
                         size, WIRE_MAX_MESSAGE_BYTES);
    }
    const uint32_t class = class_of(size);
    const size_t bytes = HEAD_BYTES + class_bytes(class);
    (void)pthread_mutex_lock(&pool->mutex);
    struct message *message = pool->idle[class];
    if (message != NULL) {
        pool->idle[class] = message->next;
        count_take(pool, bytes, false);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    if (message == NULL) {
        message = mem_alloc_aligned(bytes);
        if (message == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for a message of %zu bytes", size);
        }
        (void)pthread_mutex_lock(&pool->mutex);
        count_take(pool, bytes, true);
        (void)pthread_mutex_unlock(&pool->mutex);
    }
    memset(message, 0, sizeof *message);
    message->home = pool;
    message->class = class;
    message->outside.data = (char *)message + HEAD_BYTES;
    message->outside.size = size;
    message->outside.capacity = class_bytes(class);
    *out = message;
    return SHOAL_OK;
}

void pool_give(struct message *message) {
    struct pool *pool = message->home;
    ASSERT(message->creditor == NULL);
    const size_t bytes = HEAD_BYTES + class_bytes(message->class);
    (void)pthread_mutex_lock(&pool->mutex);
    ASSERT(pool->away > 0);
    pool->away--;
    pool->in_use -= bytes;
    const bool keep =
        !pool->released && pool->idle_bytes + bytes <= 2 * pool->peak_in_use + ALWAYS_KEPT;
    if (keep) {
        message->next = pool->idle[message->class];
        pool->idle[message->class] = message;
        pool->idle_bytes += bytes;
    } else {
        pool->bytes -= bytes;
    }
    const bool last = pool->released && pool->away == 0;
    (void)pthread_mutex_unlock(&pool->mutex);
    if (!keep) {
        mem_free(message);
    }
    if (last) {
        pool_destroy(pool);
    }
}

void pool_measure(struct pool *pool, size_t *bytes, size_t *peak_bytes) {
    (void)pthread_mutex_lock(&pool->mutex);
    *bytes = pool->bytes;
    *peak_bytes = pool->peak_bytes;
    (void)pthread_mutex_unlock(&pool->mutex);
}
