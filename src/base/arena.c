#include "base/arena.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES 16384

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) unsigned char bytes[];
};

void arena_init(struct arena *arena) {
    arena->head = NULL;
}

void *arena_alloc(struct arena *arena, size_t size) {
    if (size > SIZE_MAX - BLOCK_BYTES) {
        return NULL;
    }
    const size_t need = round_up_size(size > 0 ? size : 1, 16);
    struct arena_block *block = arena->head;
    if (block == NULL || block->size - block->used < need) {
        const size_t capacity = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        block = mem_alloc(sizeof *block + capacity);
        if (block == NULL) {
            return NULL;
        }
        block->next = arena->head;
        block->used = 0;
        block->size = capacity;
        arena->head = block;
    }
    void *pointer = block->bytes + block->used;
    block->used += need;
    memset(pointer, 0, need);
    return pointer;
}

char *arena_strdup(struct arena *arena, const char *text) {
    const size_t size = strlen(text) + 1;
    char *copy = arena_alloc(arena, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

char *arena_format(struct arena *arena, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length >= 0 ? arena_alloc(arena, (size_t)length + 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)length + 1, format, again);
    }
    va_end(again);
    return text;
}

void arena_fini(struct arena *arena) {
    while (arena->head != NULL) {
        struct arena_block *next = arena->head->next;
        mem_free(arena->head);
        arena->head = next;
    }
}
