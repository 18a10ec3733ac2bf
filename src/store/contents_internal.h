/* Inside contents: what its files share. "locked" in a name: the caller holds the mutex. */
#ifndef STORE_CONTENTS_INTERNAL_H
#define STORE_CONTENTS_INTERNAL_H

#include "store/contents.h"

#include <pthread.h>
#include <sys/types.h>

struct contents_pin {
    char key[DIGEST_TEXT];
    uint32_t count;
};

struct contents {
    char *directory;
    uint64_t quota_bytes;
    int fd, partial_fd;
    int lock_fd; /* -1: not asked for */
    pthread_mutex_t mutex;
    struct contents_pin *pins; /* sorted by key */
    size_t pin_count, pin_capacity;
    struct contents_writer *writers;
    uint64_t settled_bytes; /* files that nobody here writes, at most; exact after a walk */
};

struct contents_writer {
    struct contents *contents;
    struct contents_writer *next;
    char key[DIGEST_TEXT];
    uint64_t bytes;
    _Atomic uint64_t written; /* by its thread; whoever makes room reads it */
    uint64_t flushing;        /* up to here the disk was asked to begin */
    int fd;                   /* of the partial, which its lock holds */
    struct digest digest;
};

uint64_t contents_blocks(uint64_t bytes); /* rounded up to CONTENTS_BLOCK; saturates */

/* The folder of a whole content, or -1 with errno; made if asked for. */
int contents_folder_open(const struct contents *contents, const char *key, bool make);
/* A regular file, never through a link; -1 with errno. */
int contents_file_open(int folder, const char *key, int flags);
int contents_whole_open(const struct contents *contents, const char *key);

/* Locks of an open file: they end with it, whatever happens to the process, and can be asked for
 * without being taken. */
bool contents_lock_try(int fd);
bool contents_lock_held(int fd); /* by another open file */

/* The partial's file, locked and still under its name. Errors: NOT_FOUND (unless make), BUSY. */
NODISCARD shoal_status contents_partial_open(const struct contents *contents, const char *key,
                                             bool make, int *out, struct shoal_error *error);

NODISCARD shoal_status contents_walk_locked(struct contents *contents, struct contents_entry **out,
                                            size_t *count, struct shoal_error *error);
/* Room for bytes more; need not be a multiple of the block. */
NODISCARD shoal_status contents_room_locked(struct contents *contents, uint64_t bytes,
                                            struct shoal_error *error);
/* The disk said that it is full though the figures said otherwise: evicts so many bytes or none. */
NODISCARD shoal_status contents_evict_locked(struct contents *contents, uint64_t bytes,
                                             struct shoal_error *error);
/* Of the disk; UINT64_MAX where the file system does not say (*total 0). */
uint64_t contents_disk_free(const struct contents *contents, uint64_t *total);
bool contents_pinned_locked(const struct contents *contents, const char *key);

void contents_touch(int fd); /* used now; best effort */

#endif
