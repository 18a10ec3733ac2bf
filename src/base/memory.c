#include "base/memory.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

static atomic_uint_fast64_t allocation_count;
static atomic_uint_fast64_t fail_at; /* count from which allocations fail; 0 = never */

static bool count_and_permit(void) {
    const uint64_t index =
        atomic_fetch_add_explicit(&allocation_count, 1, memory_order_relaxed) + 1;
    const uint64_t limit = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return limit == 0 || index < limit;
}

void *mem_alloc(size_t size) {
    return count_and_permit() ? malloc(size > 0 ? size : 1) : NULL;
}

void *mem_calloc(size_t count, size_t size) {
    size_t bytes;
    return checked_mul_size(count, size, &bytes) && count_and_permit()
               ? calloc(1, bytes > 0 ? bytes : 1)
               : NULL;
}

void *mem_realloc(void *pointer, size_t size) {
    return count_and_permit() ? realloc(pointer, size > 0 ? size : 1) : NULL;
}

/*
 * Weights and activations are read from end to end: with pages of 2 MiB the processor looks up
 * fewer addresses (transformer blocks run 1–2 % faster). Only a hint, for the whole large pages
 * inside the block: aligning the block itself to one would cost address space and accounting.
 */
static void ask_for_large_pages(void *pointer, size_t size) {
#ifdef MADV_HUGEPAGE
    const uintptr_t start = ((uintptr_t)pointer + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    const uintptr_t end = ((uintptr_t)pointer + size) & ~(uintptr_t)(HUGE_PAGE - 1);
    if (start < end) {
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
    }
#else
    (void)pointer;
    (void)size;
#endif
}

void *mem_alloc_aligned(size_t size) {
    if (!count_and_permit() || size > SIZE_MAX - MEM_ALIGNMENT) {
        return NULL;
    }
    void *pointer = aligned_alloc(MEM_ALIGNMENT, round_up_size(size > 0 ? size : 1, MEM_ALIGNMENT));
    if (pointer != NULL && size >= 2 * HUGE_PAGE) {
        ask_for_large_pages(pointer, size);
    }
    return pointer;
}

char *mem_strdup(const char *text) {
    const size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

char *mem_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length >= 0 ? mem_alloc((size_t)length + 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)length + 1, format, again);
    }
    va_end(again);
    return text;
}

void mem_free(void *pointer) {
    free(pointer);
}

uint64_t mem_allocation_count(void) {
    return atomic_load_explicit(&allocation_count, memory_order_relaxed);
}

void mem_fail_after(uint64_t n) {
    atomic_store(&fail_at, n == 0 ? 0 : mem_allocation_count() + n);
}
