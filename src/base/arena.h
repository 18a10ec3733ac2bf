/* A growing arena: many small objects of one lifetime, freed together. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *head;
};

void arena_init(struct arena *arena);
void *arena_alloc(struct arena *arena,
                  size_t size); /* zeroed, 16-byte aligned; NULL when memory is out */
char *arena_strdup(struct arena *arena, const char *text);
char *arena_format(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void arena_fini(struct arena *arena);

#endif
