/*
 * Safetensors files: an 8-byte little-endian header length, a JSON header, the tensors' bytes.
 *
 * Files are mapped; tensors are views into the map (possibly unaligned) whose pages are dropped
 * again on release, so a model never occupies memory twice. A file must not be changed while it is
 * open.
 *
 * Threads: an open source is immutable, several threads may borrow and release.
 * Errors: every text names the file and what is wrong with it.
 * Source: https://huggingface.co/docs/safetensors (format; the same limits as its reference
 * parser).
 */
#ifndef FORMATS_SAFETENSORS_H
#define FORMATS_SAFETENSORS_H

#include "base/arena.h"
#include "graph/weights.h"
#include "platform/file.h"

#define SAFETENSORS_HEADER_LIMIT ((size_t)100000000)

struct safetensors_entry {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    size_t offset; /* of the first byte, from the start of the file */
    size_t bytes;
    size_t shard; /* index of the file in the paths given to safetensors_open */
};

/* A parsed header, sorted by name. */
struct safetensors_table {
    struct arena arena;
    struct safetensors_entry *entries;
    size_t count;
};

/*
 * Parses a whole file in memory. Errors: CORRUPT (header longer than the file or the limit, not
 * JSON, a key of the wrong type, a name twice, offsets that leave the file, overlap, leave a hole
 * or do not equal shape × dtype), UNSUPPORTED (element type or rank Shoal has not), NO_MEMORY.
 * safetensors_table_fini the result.
 */
NODISCARD shoal_status safetensors_parse(const void *file, size_t size,
                                         struct safetensors_table *out, struct shoal_error *error);
void safetensors_table_fini(struct safetensors_table *table);

/* Opens one or several files as one source. Errors: as parse and file_map_open; CORRUPT when two
 * files hold one name. */
NODISCARD shoal_status safetensors_open(const char *const paths[], size_t count,
                                        struct weight_source **out, struct shoal_error *error);

/*
 * Opens the shards that a model.safetensors.index.json names, all in its own directory. Errors: as
 * above; CORRUPT (no weight_map, a shard name with a slash, a tensor that is not in the shard the
 * index names), NOT_FOUND (a shard).
 */
NODISCARD shoal_status safetensors_open_index(const char *path, struct weight_source **out,
                                              struct shoal_error *error);

/* All tensors of an open source in order of their names; lives as long as the source. */
const struct safetensors_entry *safetensors_list(const struct weight_source *source, size_t *count);
/* The path of a shard, and the file as it was when it was mapped; both the source's. NULL beyond
 * the last. */
const char *safetensors_shard(const struct weight_source *source, size_t shard,
                              const struct file_identity **identity);
/* NULL if there is none. */
const struct safetensors_entry *safetensors_find(const struct weight_source *source,
                                                 const char *name);

#endif
