/* Mapped safetensors files as a weight source. */
#include "base/checked.h"
#include "base/memory.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "platform/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_LIMIT ((size_t)100000000)
#define SHARD_LIMIT ((size_t)4096)

struct shard {
    char *path;
    struct file_map map;
    struct file_identity identity;
    struct safetensors_table table; /* owns the names that the merged entries point to */
};

struct safetensors_source {
    struct weight_source base;
    struct shard *shards;
    size_t shard_count;
    struct safetensors_entry *entries; /* of all shards, sorted by name */
    size_t count;
};

static void source_destroy(struct weight_source *base) {
    struct safetensors_source *source = (struct safetensors_source *)base;
    if (source == NULL) {
        return;
    }
    for (size_t i = 0; i < source->shard_count; i++) {
        safetensors_table_fini(&source->shards[i].table);
        file_map_close(&source->shards[i].map);
        mem_free(source->shards[i].path);
    }
    mem_free(source->shards);
    mem_free(source->entries);
    mem_free(source);
}

static int compare_key(const void *key, const void *element) {
    const struct safetensors_entry *entry = element;
    return strcmp(key, entry->name);
}

static const struct safetensors_entry *find(const struct safetensors_source *source,
                                            const char *name) {
    return source->count == 0 ? NULL
                              : bsearch(name, source->entries, source->count,
                                        sizeof *source->entries, compare_key);
}

static shoal_status source_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    (void)shape; /* the executor compares and lists all that differ */
    (void)fill;
    const struct safetensors_source *source = (const struct safetensors_source *)base;
    const struct safetensors_entry *entry = find(source, name);
    if (entry == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "%s%s: no tensor named %s", source->shards[0].path,
                         source->shard_count > 1 ? " and its shards" : "", name);
    }
    const char *data = source->shards[entry->shard].map.data;
    *out = (struct tensor){.dtype = entry->dtype,
                           .shape = entry->shape,
                           .data = (void *)(uintptr_t)(data + entry->offset)};
    return SHOAL_OK;
}

static void source_release(struct weight_source *base, const struct tensor *tensor) {
    const struct safetensors_source *source = (const struct safetensors_source *)base;
    const uintptr_t address = (uintptr_t)tensor->data;
    for (size_t i = 0; i < source->shard_count; i++) {
        const struct file_map *map = &source->shards[i].map;
        const uintptr_t start = (uintptr_t)map->data;
        if (address >= start && address - start < map->size) {
            file_map_release(map, address - start, tensor_bytes(tensor));
            return;
        }
    }
}

static const struct weight_source_ops source_ops = {
    .borrow = source_borrow,
    .release = source_release,
    .destroy = source_destroy,
};

static shoal_status open_shard(const char *path, struct shard *shard, struct shoal_error *error) {
    shard->path = mem_strdup(path);
    if (shard->path == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    int fd = -1;
    TRY(file_open(path, &fd, error));
    shoal_status status = file_identify(fd, path, &shard->identity, error);
    if (status == SHOAL_OK) {
        status = file_map_descriptor(fd, path, &shard->map, error);
    }
    (void)close(fd);
    TRY(status);
    status = safetensors_parse(shard->map.data, shard->map.size, &shard->table, error);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", path);
}

static int compare_names(const void *a, const void *b) {
    const struct safetensors_entry *left = a, *right = b;
    const int order = strcmp(left->name, right->name);
    return order != 0 ? order : left->shard < right->shard ? -1 : left->shard > right->shard;
}

static shoal_status merge(struct safetensors_source *source, struct shoal_error *error) {
    size_t total = 0;
    for (size_t i = 0; i < source->shard_count; i++) {
        total += source->shards[i].table.count;
    }
    source->entries = mem_calloc(total > 0 ? total : 1, sizeof *source->entries);
    if (source->entries == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory for %zu tensors",
                         source->shards[0].path, total);
    }
    for (size_t i = 0; i < source->shard_count; i++) {
        const struct safetensors_table *table = &source->shards[i].table;
        for (size_t j = 0; j < table->count; j++) {
            source->entries[source->count] = table->entries[j];
            source->entries[source->count++].shard = i;
        }
    }
    qsort(source->entries, source->count, sizeof *source->entries, compare_names);
    for (size_t i = 1; i < source->count; i++) {
        const struct safetensors_entry *a = &source->entries[i - 1], *b = &source->entries[i];
        if (strcmp(a->name, b->name) == 0) {
            return error_set(error, SHOAL_CORRUPT, "tensor %.128s is in %s and in %s", a->name,
                             source->shards[a->shard].path, source->shards[b->shard].path);
        }
    }
    return SHOAL_OK;
}

shoal_status safetensors_open(const char *const paths[], size_t count, struct weight_source **out,
                              struct shoal_error *error) {
    if (count == 0) {
        return error_set(error, SHOAL_INVALID, "no safetensors file given");
    }
    struct safetensors_source *source = mem_calloc(1, sizeof *source);
    struct shard *shards = mem_calloc(count, sizeof *shards);
    if (source == NULL || shards == NULL) {
        mem_free(shards);
        mem_free(source);
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", paths[0]);
    }
    source->base.ops = &source_ops;
    source->shards = shards;
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; status == SHOAL_OK && i < count; i++) {
        source->shard_count = i + 1;
        status = open_shard(paths[i], &source->shards[i], error);
    }
    if (status == SHOAL_OK) {
        status = merge(source, error);
    }
    if (status != SHOAL_OK) {
        source_destroy(&source->base);
        return status;
    }
    *out = &source->base;
    return SHOAL_OK;
}

const struct safetensors_entry *safetensors_list(const struct weight_source *base, size_t *count) {
    const struct safetensors_source *source = (const struct safetensors_source *)base;
    *count = source->count;
    return source->entries;
}

const char *safetensors_shard(const struct weight_source *base, size_t shard,
                              const struct file_identity **identity) {
    const struct safetensors_source *source = (const struct safetensors_source *)base;
    if (shard >= source->shard_count) {
        return NULL;
    }
    *identity = &source->shards[shard].identity;
    return source->shards[shard].path;
}

const struct safetensors_entry *safetensors_find(const struct weight_source *base,
                                                 const char *name) {
    return find((const struct safetensors_source *)base, name);
}

/* Distinct shard names of a weight_map, each as a path beside the index. */
struct shard_list {
    struct arena arena;
    const char **names; /* room for one per tensor */
    const char **paths;
    size_t count;
};

/* A shard lies beside its index: anything else in the name could read other files. */
static bool is_plain_name(const char *name) {
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

static shoal_status collect(json_t *map, const char *index_path, struct shard_list *list,
                            struct shoal_error *error) {
    const char *slash = strrchr(index_path, '/');
    const int directory = slash == NULL ? 0 : (int)(slash - index_path + 1);
    const size_t room = json_object_size(map);
    size_t bytes = 0;
    if (!checked_mul_size(room, 2 * sizeof *list->names, &bytes) ||
        (list->names = arena_alloc(&list->arena, bytes)) == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the index");
    }
    list->paths = list->names + room;
    for (void *i = json_object_iter(map); i != NULL; i = json_object_iter_next(map, i)) {
        const char *shard = json_string_value(json_object_iter_value(i));
        if (shard == NULL || !is_plain_name(shard)) {
            return error_set(error, SHOAL_CORRUPT,
                             "weight_map: %.128s does not name a file beside it",
                             json_object_iter_key(i));
        }
        size_t known = 0;
        while (known < list->count && strcmp(list->names[known], shard) != 0) {
            known++;
        }
        if (known < list->count) {
            continue;
        }
        if (known == SHARD_LIMIT) {
            return error_set(error, SHOAL_CORRUPT, "weight_map names more than %zu files",
                             SHARD_LIMIT);
        }
        list->names[known] = arena_strdup(&list->arena, shard);
        list->paths[known] = arena_format(&list->arena, "%.*s%s", directory, index_path, shard);
        if (list->names[known] == NULL || list->paths[known] == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for the index");
        }
        list->count++;
    }
    return SHOAL_OK;
}

/* The index must not lie about where a tensor is. */
static shoal_status check_index(json_t *map, const struct shard_list *list,
                                const struct weight_source *source, struct shoal_error *error) {
    for (void *i = json_object_iter(map); i != NULL; i = json_object_iter_next(map, i)) {
        const char *name = json_object_iter_key(i);
        const char *shard = json_string_value(json_object_iter_value(i));
        const struct safetensors_entry *entry = safetensors_find(source, name);
        if (entry == NULL || strcmp(list->names[entry->shard], shard) != 0) {
            return error_set(error, SHOAL_CORRUPT, "tensor %.128s is not in %.128s", name, shard);
        }
    }
    return SHOAL_OK;
}

static shoal_status open_map(json_t *root, const char *path, struct weight_source **out,
                             struct shoal_error *error) {
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        return error_set(error, SHOAL_CORRUPT, "%s: weight_map is missing or empty", path);
    }
    struct shard_list list = {.count = 0};
    arena_init(&list.arena);
    struct weight_source *source = NULL;
    shoal_status status = collect(map, path, &list, error);
    if (status == SHOAL_OK) {
        status = safetensors_open(list.paths, list.count, &source, error);
    }
    if (status == SHOAL_OK) {
        status = check_index(map, &list, source, error);
    }
    arena_fini(&list.arena);
    if (status != SHOAL_OK) {
        source_destroy(source);
        return error_wrap(error, status, "%s", path);
    }
    *out = source;
    return SHOAL_OK;
}

shoal_status safetensors_open_index(const char *path, struct weight_source **out,
                                    struct shoal_error *error) {
    json_t *root = NULL;
    TRY(json_read_object(path, INDEX_LIMIT, &root, error));
    const shoal_status status = open_map(root, path, out, error);
    json_decref(root);
    return status;
}
