/*
 * Contents: the bytes of tensors and manifests in a directory, each known by its SHA-256, its key.
 *
 *     DIR/ab/KEY        a whole content; ab are the key's first two digits
 *     DIR/partial/KEY   one that is arriving, or that a broken transfer left
 *     DIR/lock          held by the process that has the directory for itself
 *
 * The file system is the truth: nothing is known that is not there, another process may remove
 * files at any moment, and whatever else lies in the directory (links, odd names) is left alone and
 * not counted. A content appears under its name only whole, verified and synced; a crash at any
 * moment leaves whole contents and partials, and a partial is gone on with or given up. Partials
 * that nobody touched for CONTENTS_PARTIAL_DAYS are removed by contents_open.
 *
 * The quota counts sizes, each rounded up to CONTENTS_BLOCK; partials count, and what is being
 * written counts as if it were there. What was used longest ago goes first (the file's modification
 * time is its last use); pinned contents, and partials that are being written, are never evicted.
 *
 * Units: bytes. Ownership: as said at each function. Threads: every function may be called by any
 * thread; one writer by one thread at a time. They block for the disk; contents_write_begin also
 * for the hashing of what is there.
 * Errors: INVALID (a key that is not 64 lower-case hexadecimal digits), NOT_FOUND, NO_SPACE (names
 * the directory and the figures), NO_MEMORY, IO; all name the directory or the content.
 */
#ifndef STORE_CONTENTS_H
#define STORE_CONTENTS_H

#include "base/status.h"
#include "formats/digest.h"
#include "platform/file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTENTS_BLOCK 4096u
#define CONTENTS_PARTIAL_DAYS 7
#define CONTENTS_QUOTA_AUTO \
    UINT64_MAX /* what is there, and three quarters of what the disk has free */

struct contents;
struct contents_writer;

struct contents_options {
    const char *directory; /* made if it is not there */
    uint64_t quota_bytes;  /* 0: none; or CONTENTS_QUOTA_AUTO */
    bool lock;             /* a node's: one process per directory */
};

/* "cache" in file_data_directory. */
NODISCARD shoal_status contents_default_directory(char *path, size_t path_bytes,
                                                  struct shoal_error *error);

/* Errors: BUSY ("cache DIR is used by process PID") where lock is asked for. */
NODISCARD shoal_status contents_open(const struct contents_options *options, struct contents **out,
                                     struct shoal_error *error);
/* NULL allowed. No writer may be left. */
void contents_close(struct contents *contents);
const char *contents_directory(const struct contents *contents);

bool contents_key_valid(const char *key);

/* There and whole. A use: it is evicted later. bytes may be NULL. */
bool contents_has(struct contents *contents, const char *key, uint64_t *bytes);

/* A pin is of the key, whether its content is there already or not; counted. Pin first, then ask
 * contents_has: what is there then stays there. Errors: INVALID, NO_MEMORY. */
NODISCARD shoal_status contents_pin(struct contents *contents, const char *key,
                                    struct shoal_error *error);
void contents_unpin(struct contents *contents, const char *key);

/* Evicts until so many bytes more fit quota and disk, or evicts nothing. Errors: NO_SPACE. */
NODISCARD shoal_status contents_make_room(struct contents *contents, uint64_t bytes,
                                          struct shoal_error *error);

/*
 * Makes room and takes up a partial where there is one: *have bytes are there already (the caller
 * goes on from this offset). Errors: BUSY (it is being written by somebody else).
 */
NODISCARD shoal_status contents_write_begin(struct contents *contents, const char *key,
                                            uint64_t bytes, struct contents_writer **out,
                                            uint64_t *have, struct shoal_error *error);
/* The next bytes. When the disk is full it evicts and tries once more. After an error the writer
 * can still be abandoned. Errors: NO_SPACE, IO, INVALID (more than announced). */
NODISCARD shoal_status contents_write(struct contents_writer *writer, const void *data, size_t size,
                                      struct shoal_error *error);
/* Verifies, syncs and puts in place; frees the writer in every case. Errors: CORRUPT (another
 * SHA-256: the partial is removed), INVALID (bytes are missing: the partial stays). */
NODISCARD shoal_status contents_write_commit(struct contents_writer *writer,
                                             struct shoal_error *error);
/* Frees the writer; what was written stays as a partial. NULL allowed. */
void contents_write_abandon(struct contents_writer *writer);

/*
 * What a writer has written so far, for those who want it before it is whole: not verified. A
 * reader lasts beyond its writer's end and may be used while another thread commits; until it is
 * closed the content cannot be written anew.
 */
struct contents_reader;
NODISCARD shoal_status contents_reader_open(const struct contents_writer *writer,
                                            struct contents_reader **out,
                                            struct shoal_error *error);
/* *got is 0 behind the last byte written. Errors: IO. */
NODISCARD shoal_status contents_reader_read(const struct contents_reader *reader, uint64_t offset,
                                            void *out, size_t size, size_t *got,
                                            struct shoal_error *error);
void contents_reader_close(struct contents_reader *reader); /* NULL allowed */

/* Up to size bytes from the offset; *got is less only at the end, and 0 from there on. */
NODISCARD shoal_status contents_read(struct contents *contents, const char *key, uint64_t offset,
                                     void *out, size_t size, size_t *got,
                                     struct shoal_error *error);
/* file_map_close it. The map lasts even if the content is removed meanwhile. A use, as
 * contents_has. */
NODISCARD shoal_status contents_map(struct contents *contents, const char *key,
                                    struct file_map *out, struct shoal_error *error);

/* For `shoal cache`. */
struct contents_entry {
    char key[DIGEST_TEXT];
    bool partial;
    bool busy; /* a partial that is being written, by whatever process */
    bool pinned;
    uint64_t bytes;
    int64_t used_ns; /* since 1970 */
};

/* What was used longest ago comes first; mem_free the list. */
NODISCARD shoal_status contents_list(struct contents *contents, struct contents_entry **out,
                                     size_t *count, struct shoal_error *error);

/* Errors: NOT_FOUND; BUSY (a partial that is being written). Pins do not hold it. */
NODISCARD shoal_status contents_remove(struct contents *contents, const char *key, bool partial,
                                       struct shoal_error *error);

/* Hashes a whole content again. Errors: CORRUPT, NOT_FOUND, IO. */
NODISCARD shoal_status contents_verify(struct contents *contents, const char *key,
                                       struct shoal_error *error);

struct contents_usage {
    uint64_t bytes; /* as the quota counts them, partials included */
    uint64_t partial_bytes, pinned_bytes;
    uint64_t quota_bytes; /* 0: none */
    uint64_t disk_free_bytes, disk_bytes;
    size_t contents, partials;
};

NODISCARD shoal_status contents_usage_get(struct contents *contents, struct contents_usage *out,
                                          struct shoal_error *error);

/* The process that has the directory for itself, 0 if none; may be this one. *quota_bytes (may be
 * NULL) is that process's quota, 0 if there is none. */
long contents_holder(struct contents *contents, uint64_t *quota_bytes);

#endif
