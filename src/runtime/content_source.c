#include "runtime/content_source.h"

#include "base/memory.h"

#include <pthread.h>
#include <string.h>

struct borrowed {
    struct file_map map;
    struct borrowed *next;
};

struct content_source {
    struct weight_source base;
    struct contents *contents;
    const struct manifest *manifest;
    pthread_mutex_t mutex; /* of the list */
    struct borrowed *lent;
};

static shoal_status damaged(struct content_source *source, const struct manifest_entry *entry,
                            const char *what, struct shoal_error *error) {
    const bool removed = contents_remove(source->contents, entry->key, false, NULL) == SHOAL_OK;
    return error_set(error, SHOAL_CORRUPT, "cache %s: content %s of tensor %.128s %s; %s",
                     contents_directory(source->contents), entry->key, entry->name, what,
                     removed ? "it was removed: the next run fetches it again"
                             : "remove it: shoal cache verify --remove");
}

static shoal_status check_map(struct content_source *source, const struct manifest_entry *entry,
                              const struct file_map *map, struct shoal_error *error) {
    if (map->size != entry->bytes) {
        return damaged(source, entry, "has another size than its manifest says", error);
    }
    char text[DIGEST_TEXT];
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, map->data, map->size);
    digest_final(&digest, text);
    return strcmp(text, entry->key) == 0 ? SHOAL_OK : damaged(source, entry, "is damaged", error);
}

static shoal_status map_entry(struct content_source *source, const struct manifest_entry *entry,
                              struct file_map *out, struct shoal_error *error) {
    shoal_status status = contents_map(source->contents, entry->key, out, error);
    if (status != SHOAL_OK) {
        /* NOT_FOUND would mean that the model has no such tensor. */
        status = status == SHOAL_NOT_FOUND ? SHOAL_IO : status;
        return error_wrap(error, status, "tensor %.128s", entry->name);
    }
    status = check_map(source, entry, out, error);
    if (status != SHOAL_OK) {
        file_map_close(out);
    }
    return status;
}

static shoal_status source_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    (void)shape; /* the executor compares and lists all that differ */
    (void)fill;
    struct content_source *source = (struct content_source *)base;
    const struct manifest_entry *entry = manifest_find(source->manifest, name);
    if (entry == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "the manifest has no tensor named %.128s", name);
    }
    struct borrowed *lent = mem_calloc(1, sizeof *lent);
    if (lent == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for tensor %.128s", name);
    }
    const shoal_status status = map_entry(source, entry, &lent->map, error);
    if (status != SHOAL_OK) {
        mem_free(lent);
        return status;
    }
    (void)pthread_mutex_lock(&source->mutex);
    lent->next = source->lent;
    source->lent = lent;
    (void)pthread_mutex_unlock(&source->mutex);
    *out = (struct tensor){
        .dtype = entry->dtype, .shape = entry->shape, .data = (void *)(uintptr_t)lent->map.data};
    return SHOAL_OK;
}

static void source_release(struct weight_source *base, const struct tensor *tensor) {
    struct content_source *source = (struct content_source *)base;
    (void)pthread_mutex_lock(&source->mutex);
    struct borrowed **at = &source->lent;
    while (*at != NULL && (*at)->map.data != tensor->data) {
        at = &(*at)->next;
    }
    struct borrowed *lent = *at;
    if (lent != NULL) {
        *at = lent->next;
    }
    (void)pthread_mutex_unlock(&source->mutex);
    if (lent != NULL) {
        file_map_close(&lent->map);
        mem_free(lent);
    }
}

static void source_destroy(struct weight_source *base) {
    struct content_source *source = (struct content_source *)base;
    while (source->lent != NULL) {
        struct borrowed *lent = source->lent;
        source->lent = lent->next;
        file_map_close(&lent->map);
        mem_free(lent);
    }
    (void)pthread_mutex_destroy(&source->mutex);
    mem_free(source);
}

static const struct weight_source_ops source_ops = {
    .borrow = source_borrow,
    .release = source_release,
    .destroy = source_destroy,
};

shoal_status content_source_create(struct contents *contents, const struct manifest *manifest,
                                   struct weight_source **out, struct shoal_error *error) {
    struct content_source *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a source of weights");
    }
    source->base.ops = &source_ops;
    source->contents = contents;
    source->manifest = manifest;
    (void)pthread_mutex_init(&source->mutex, NULL);
    *out = &source->base;
    return SHOAL_OK;
}
