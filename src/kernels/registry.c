#include "kernels/registry.h"

#include "base/assert.h"
#include "base/memory.h"
#include "kernels/blas/blas.h"
#include "kernels/isa.h"
#if SHOAL_ONEDNN
#include "kernels/onednn/onednn.h"
#endif

#include <string.h>

/*
 * The order of preference and why: docs/rationale/0002-kernels-bits-and-speed.md. The blas set's
 * bits depend neither on the batch, nor on threads, nor on the width of registers, and it is as
 * fast as oneDNN on matrix products and patch embeddings, and faster on depthwise convolutions; on
 * other convolutions oneDNN is faster.
 */
static const struct kernel_ops *const blas_first[] = {
    &kernel_blas_ops,
#if SHOAL_ONEDNN
    &kernel_onednn_ops,
#endif
    &kernel_reference_ops,
    NULL,
};
static const struct kernel_ops *const onednn_first[] = {
#if SHOAL_ONEDNN
    &kernel_onednn_ops,
#endif
    &kernel_blas_ops,
    &kernel_reference_ops,
    NULL,
};

const struct kernel_ops *const *kernel_sets(void) {
    return blas_first;
}

const struct kernel_ops *const *kernel_sets_for(const struct kernel_desc *desc) {
    if (desc->op != OP_CONV2D || isa_current() == ISA_NEON) {
        return blas_first;
    }
    const int64_t *filter = desc->params[0].shape.dims;
    const int64_t *out = desc->outputs[0].shape.dims;
    const bool patches =
        desc->attrs.stride[0] == filter[2] && desc->attrs.stride[1] == filter[3] && filter[2] > 1;
    const bool dense = out[1] * out[2] == 1; /* a linear layer */
    const bool depthwise = filter[1] == 1 && filter[0] == desc->attrs.groups && filter[0] > 1;
    return patches || dense || depthwise ? blas_first : onednn_first;
}

const struct kernel_ops *kernel_set_find(const char *name) {
    for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
        if (strcmp((*set)->name, name) == 0) {
            return *set;
        }
    }
    return NULL;
}

struct entry {
    char *key;
    const struct kernel_ops *set;
};

struct kernel_choice {
    struct entry *entries;
    size_t count, capacity;
    const struct kernel_ops *fallback; /* NULL: the order of kernel_sets */
};

shoal_status kernel_choice_create(struct kernel_choice **out, struct shoal_error *error) {
    struct kernel_choice *choice = mem_calloc(1, sizeof *choice);
    if (choice == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a choice of kernels");
    }
    *out = choice;
    return SHOAL_OK;
}

void kernel_choice_destroy(struct kernel_choice *choice) {
    if (choice == NULL) {
        return;
    }
    for (size_t i = 0; i < choice->count; i++) {
        mem_free(choice->entries[i].key);
    }
    mem_free(choice->entries);
    mem_free(choice);
}

static shoal_status find_set(const char *name, const struct kernel_ops **out,
                             struct shoal_error *error) {
    const struct kernel_ops *set = kernel_set_find(name);
    if (set == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "there is no kernel set \"%s\"", name);
    }
    *out = set;
    return SHOAL_OK;
}

shoal_status kernel_choice_set_default(struct kernel_choice *choice, const char *set_name,
                                       struct shoal_error *error) {
    return find_set(set_name, &choice->fallback, error);
}

static struct entry *find_entry(const struct kernel_choice *choice, const char *key) {
    for (size_t i = 0; i < choice->count; i++) {
        if (strcmp(choice->entries[i].key, key) == 0) {
            return &choice->entries[i];
        }
    }
    return NULL;
}

static shoal_status grow(struct kernel_choice *choice, struct shoal_error *error) {
    if (choice->count < choice->capacity) {
        return SHOAL_OK;
    }
    const size_t capacity = choice->capacity > 0 ? choice->capacity * 2 : 16;
    struct entry *entries = mem_realloc(choice->entries, capacity * sizeof *entries);
    if (entries == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a choice of kernels");
    }
    choice->entries = entries;
    choice->capacity = capacity;
    return SHOAL_OK;
}

shoal_status kernel_choice_put(struct kernel_choice *choice, const char *key, const char *set_name,
                               struct shoal_error *error) {
    const struct kernel_ops *set = NULL;
    TRY(find_set(set_name, &set, error));
    struct entry *entry = find_entry(choice, key);
    if (entry != NULL) {
        entry->set = set;
        return SHOAL_OK;
    }
    TRY(grow(choice, error));
    char *copy = mem_strdup(key);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a choice of kernels");
    }
    choice->entries[choice->count++] = (struct entry){copy, set};
    return SHOAL_OK;
}

size_t kernel_choice_count(const struct kernel_choice *choice) {
    return choice->count;
}

void kernel_choice_at(const struct kernel_choice *choice, size_t index, const char **key,
                      const char **set_name) {
    ASSERT(index < choice->count);
    *key = choice->entries[index].key;
    *set_name = choice->entries[index].set->name;
}

const struct kernel_ops *kernel_choice_get(const struct kernel_choice *choice,
                                           const struct kernel_desc *desc) {
    if (choice != NULL) {
        char key[KERNEL_KEY_TEXT];
        kernel_key(desc, key);
        const struct entry *entry = find_entry(choice, key);
        if (entry != NULL && entry->set->supports(desc)) {
            return entry->set;
        }
        if (choice->fallback != NULL && choice->fallback->supports(desc)) {
            return choice->fallback;
        }
    }
    for (const struct kernel_ops *const *set = kernel_sets_for(desc); *set != NULL; set++) {
        if ((*set)->supports(desc)) {
            return *set;
        }
    }
    return &kernel_reference_ops;
}
