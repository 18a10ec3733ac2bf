/*
 * The origin of a model's contents: its safetensors or ONNX files on the owner's machine, cut into
 * tensors by SHA-256. Devices ask for contents by key; the origin reads them from where they lie.
 *
 * Hashing a model takes seconds, so the hashes of each file are kept in the store under its path,
 * good for as long as size, modification time and inode stay. A file must not change while it is in
 * use; if it does, reading fails with MISMATCH, and no wrong byte gets through (receivers verify).
 *
 * Threads: open by one thread; then every function by any thread. origin_open blocks for as long as
 * hashing takes, origin_read for the disk.
 */
#ifndef RUNTIME_ORIGIN_H
#define RUNTIME_ORIGIN_H

#include "formats/manifest.h"
#include "store/store.h"

struct origin;

struct origin_options {
    const char *path;    /* model.safetensors, a model.safetensors.index.json, or a .onnx file */
    struct store *store; /* for the hashes; may be NULL */
    /* While hashing, now and then; done and total in bytes of the files that have to be hashed.
     * false: stop (CANCELLED). May be NULL. */
    bool (*on_progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

/* Errors: as safetensors_open and safetensors_open_index; UNSUPPORTED (a model beyond a manifest's
 * limits), MISMATCH (a file changed meanwhile), CANCELLED, IO, NO_MEMORY. That hashes cannot be
 * kept is logged, not an error. */
NODISCARD shoal_status origin_open(const struct origin_options *options, struct origin **out,
                                   struct shoal_error *error);
void origin_close(struct origin *origin); /* NULL allowed */

const struct manifest *origin_manifest(const struct origin *origin);
const char *origin_manifest_key(const struct origin *origin);

/* A tensor's or the manifest's. bytes may be NULL. */
bool origin_has(const struct origin *origin, const char *key, uint64_t *bytes);

/* Up to size bytes of a content, the manifest's own among them; *got is less only at its end.
 * Errors: NOT_FOUND (no such key here), MISMATCH (the file changed; names it), IO. */
NODISCARD shoal_status origin_read(const struct origin *origin, const char *key, uint64_t offset,
                                   void *out, size_t size, size_t *got, struct shoal_error *error);

#endif
