/*
 * All of Shoal's own heap memory: counted, so that a test can show that the step path allocates
 * nothing.
 *
 * Threads: every function is thread-safe. Sizes are bytes. mem_alloc and mem_calloc return NULL
 * only when memory is out or when a test made the Nth allocation fail (mem_fail_after).
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define MEM_ALIGNMENT 64 /* one cache line, one AVX-512 register */

void *mem_alloc(size_t size);                  /* malloc */
void *mem_calloc(size_t count, size_t size);   /* zeroed, overflow-checked */
void *mem_realloc(void *pointer, size_t size); /* realloc */
void *mem_alloc_aligned(size_t size);          /* MEM_ALIGNMENT; free with mem_free */
char *mem_strdup(const char *text);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *pointer); /* NULL allowed */

uint64_t mem_allocation_count(void); /* allocations since the process started */

/* Tests: the n-th allocation from now (1 = next) and all after it fail; 0 switches it off. */
void mem_fail_after(uint64_t n);

#endif
