/*
 * Manifests: which contents the tensors of a model are. JSON,
 *
 *     {"format":"shoal-manifest","tensors":[{"bytes":3072,"dtype":"f32","key":"<SHA-256>",
 *      "name":"embeddings.cls","shape":[1,1,768]},…],"version":1}
 *
 * sorted by name (byte order), written without spaces, so that equal models have equal bytes; a
 * manifest's own key is the SHA-256 of these bytes. Several tensors may be one content.
 *
 * Ownership: a manifest owns its entries and their names. Threads: immutable once made.
 * Errors: every text names the tensor and what is wrong with it.
 */
#ifndef FORMATS_MANIFEST_H
#define FORMATS_MANIFEST_H

#include "base/arena.h"
#include "formats/digest.h"
#include "tensor/tensor.h"

#define MANIFEST_LIMIT ((size_t)16 << 20) /* bytes of JSON */
#define MANIFEST_MAX_TENSORS ((size_t)65536)
#define MANIFEST_NAME_LIMIT ((size_t)512)

struct manifest_entry {
    const char *name;
    enum dtype dtype; /* as stored */
    struct shape shape;
    uint64_t bytes; /* shape × dtype */
    char key[DIGEST_TEXT];
};

struct manifest {
    struct arena arena;
    struct manifest_entry *entries; /* sorted by name */
    size_t count;
};

/*
 * Copies entries in any order. Errors: INVALID (too many tensors, an empty or too long name, one
 * twice, a key that is none, bytes that do not follow from shape and dtype, one key with two sizes,
 * sizes that overflow), NO_MEMORY. manifest_fini the result.
 */
NODISCARD shoal_status manifest_create(const struct manifest_entry *entries, size_t count,
                                       struct manifest *out, struct shoal_error *error);

/* Reads bytes from outside. Errors: CORRUPT (not JSON, more than MANIFEST_LIMIT, an unknown or
 * missing key, a wrong type, entries that are not in order, whatever create refuses), VERSION (both
 * named), UNSUPPORTED (an element type or rank that Shoal has not), NO_MEMORY. */
NODISCARD shoal_status manifest_parse(const void *bytes, size_t size, struct manifest *out,
                                      struct shoal_error *error);
void manifest_fini(struct manifest *manifest);

/* mem_free the text. Errors: NO_MEMORY; INVALID (beyond MANIFEST_LIMIT, or a name is not UTF-8). */
NODISCARD shoal_status manifest_format(const struct manifest *manifest, char **json, size_t *size,
                                       struct shoal_error *error);

/* NULL if there is none. */
const struct manifest_entry *manifest_find(const struct manifest *manifest, const char *name);

#endif
