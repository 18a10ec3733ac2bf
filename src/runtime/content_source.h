/*
 * Weights from contents: a manifest says which content a tensor is, the contents' directory has it.
 *
 * borrow maps the content's file, hashes it (a card that forgot a bit would otherwise change
 * answers) and lends its bytes as they are stored; release unmaps them, so that a tensor's pages
 * are in memory only while it is packed. A content that is damaged is removed, so that the next
 * transfer brings it again. Pin what a stage needs before it is loaded.
 *
 * Threads: several threads may borrow and release.
 * Errors of borrow: NOT_FOUND (the manifest has no such tensor), CORRUPT (the content's bytes are
 * not what the manifest says), IO (it is not in the directory, or cannot be read), NO_MEMORY; all
 * name the tensor. A shape that differs is the executor's MISMATCH, which lists all of them.
 */
#ifndef RUNTIME_CONTENT_SOURCE_H
#define RUNTIME_CONTENT_SOURCE_H

#include "formats/manifest.h"
#include "graph/weights.h"
#include "store/contents.h"

/* contents and manifest are borrowed for the source's life. */
NODISCARD shoal_status content_source_create(struct contents *contents,
                                             const struct manifest *manifest,
                                             struct weight_source **out, struct shoal_error *error);

#endif
