/* Names to values, by scope. */
#include "formats/onnx/import_internal.h"

#include "base/memory.h"

#include <string.h>

#define FIRST_SLOTS 64

static size_t hash(const char *name) {
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *name != '\0'; name++) {
        h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    }
    return (size_t)(h ^ h >> 32);
}

/* The slot of the name, or the empty one where it would go. */
static struct import_name *slot_of(const struct import_scope *scope, const char *name) {
    size_t at = hash(name) & (scope->slot_count - 1);
    while (scope->slots[at].name != NULL && strcmp(scope->slots[at].name, name) != 0) {
        at = (at + 1) & (scope->slot_count - 1);
    }
    return &scope->slots[at];
}

shoal_status scope_init(struct importer *im, struct import_scope *scope,
                        const struct import_scope *parent) {
    *scope = (struct import_scope){.parent = parent, .slot_count = FIRST_SLOTS};
    scope->slots = mem_calloc(scope->slot_count, sizeof *scope->slots);
    return scope->slots != NULL
               ? SHOAL_OK
               : error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for names");
}

void scope_fini(struct import_scope *scope) {
    mem_free(scope->slots);
}

static shoal_status grow(struct importer *im, struct import_scope *scope) {
    struct import_scope larger = {.parent = scope->parent, .slot_count = 2 * scope->slot_count};
    larger.slots = mem_calloc(larger.slot_count, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return error_set(im->error, SHOAL_NO_MEMORY, "onnx: no memory for names");
    }
    for (size_t i = 0; i < scope->slot_count; i++) {
        if (scope->slots[i].name != NULL) {
            *slot_of(&larger, scope->slots[i].name) = scope->slots[i];
        }
    }
    larger.used = scope->used;
    mem_free(scope->slots);
    *scope = larger;
    return SHOAL_OK;
}

shoal_status scope_put(struct importer *im, struct import_scope *scope, const char *name,
                       struct import_value *value) {
    if (2 * (scope->used + 1) > scope->slot_count) {
        TRY(grow(im, scope));
    }
    struct import_name *slot = slot_of(scope, name);
    if (slot->name != NULL) {
        return error_set(im->error, SHOAL_CORRUPT, "onnx: two values of one graph are called %s",
                         name);
    }
    *slot = (struct import_name){name, value};
    scope->used++;
    return SHOAL_OK;
}

struct import_value *scope_find(const struct import_scope *scope, const char *name) {
    for (; scope != NULL; scope = scope->parent) {
        const struct import_name *slot = slot_of(scope, name);
        if (slot->name != NULL) {
            return slot->value;
        }
    }
    return NULL;
}
