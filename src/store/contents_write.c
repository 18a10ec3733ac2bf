/* Contents that arrive: partial, synced, verified, in place. */
#include "store/contents_internal.h"

#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_PIECE ((size_t)1 << 18)
#define FLUSH_PIECE ((uint64_t)4 << 20)
#define LOCK_TRIES 20 /* a millisecond each: who removes a partial holds it for much less */

/* The open file is still what the name stands for. */
static bool still_named(int folder, const char *key, int fd) {
    struct stat named, open_file;
    return fstatat(folder, key, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &open_file) == 0 &&
           named.st_ino == open_file.st_ino && named.st_dev == open_file.st_dev;
}

shoal_status contents_partial_open(const struct contents *contents, const char *key, bool make,
                                   int *out, struct shoal_error *error) {
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        const int fd = contents_file_open(contents->partial_fd, key, O_RDWR | (make ? O_CREAT : 0));
        if (fd < 0 && make && (errno == ELOOP || errno == EINVAL || errno == ENXIO)) {
            (void)unlinkat(contents->partial_fd, key, 0); /* a link or a pipe in our way */
            continue;
        }
        if (fd < 0) {
            return errno == ENOENT || errno == ELOOP || errno == EINVAL
                       ? error_set(error, SHOAL_NOT_FOUND, "cache %s has no partial %s",
                                   contents->directory, key)
                       : error_errno(error, errno, "cache %s: partial %s", contents->directory,
                                     key);
        }
        const bool locked = contents_lock_try(fd);
        if (locked && still_named(contents->partial_fd, key, fd)) {
            *out = fd;
            return SHOAL_OK;
        }
        (void)close(fd);
        if (!locked) {
            platform_sleep_ns(CLOCK_MS);
        }
    }
    return error_set(error, SHOAL_BUSY, "cache %s: content %s is being written already",
                     contents->directory, key);
}

/* What an earlier writer left goes into the digest; more than the content has is thrown away. */
static shoal_status take_up(struct contents_writer *writer, struct shoal_error *error) {
    struct stat status;
    if (fstat(writer->fd, &status) != 0 ||
        ((uint64_t)status.st_size > writer->bytes && ftruncate(writer->fd, 0) != 0)) {
        return error_errno(error, errno, "cache %s: partial %s", writer->contents->directory,
                           writer->key);
    }
    if (status.st_size == 0 || (uint64_t)status.st_size > writer->bytes) {
        return SHOAL_OK;
    }
    unsigned char *piece = mem_alloc(HASH_PIECE);
    if (piece == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", writer->contents->directory);
    }
    ssize_t got = 0;
    while (writer->written < (uint64_t)status.st_size) {
        const uint64_t left = (uint64_t)status.st_size - writer->written;
        got = pread(writer->fd, piece, left < HASH_PIECE ? (size_t)left : HASH_PIECE,
                    (off_t)writer->written);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        digest_update(&writer->digest, piece, (size_t)got);
        writer->written += (uint64_t)got;
    }
    const int saved = errno;
    mem_free(piece);
    return got >= 0 ? SHOAL_OK
                    : error_errno(error, saved, "cache %s: partial %s", writer->contents->directory,
                                  writer->key);
}

/* The writer's bytes stop being a file of nobody's and become a promise. */
static shoal_status enter(struct contents_writer *writer, struct shoal_error *error) {
    struct contents *contents = writer->contents;
    const uint64_t there = contents_blocks(writer->written);
    (void)pthread_mutex_lock(&contents->mutex);
    const shoal_status status =
        contents_room_locked(contents, contents_blocks(writer->bytes) - there, error);
    if (status == SHOAL_OK) {
        contents->settled_bytes -=
            there < contents->settled_bytes ? there : contents->settled_bytes;
        writer->next = contents->writers;
        contents->writers = writer;
    }
    (void)pthread_mutex_unlock(&contents->mutex);
    return status;
}

static void leave(struct contents_writer *writer, uint64_t kept_bytes) {
    struct contents *contents = writer->contents;
    (void)pthread_mutex_lock(&contents->mutex);
    struct contents_writer **at = &contents->writers;
    while (*at != NULL && *at != writer) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = writer->next;
        contents->settled_bytes += contents_blocks(kept_bytes);
    }
    (void)pthread_mutex_unlock(&contents->mutex);
    (void)close(writer->fd); /* which ends its lock */
    mem_free(writer);
}

void contents_write_abandon(struct contents_writer *writer) {
    if (writer == NULL) {
        return;
    }
    if (writer->written == 0) {
        (void)unlinkat(writer->contents->partial_fd, writer->key, 0);
    }
    leave(writer, writer->written);
}

shoal_status contents_write_begin(struct contents *contents, const char *key, uint64_t bytes,
                                  struct contents_writer **out, uint64_t *have,
                                  struct shoal_error *error) {
    if (!contents_key_valid(key) || bytes > INT64_MAX / 2) {
        return error_set(error, SHOAL_INVALID, "'%.80s' of %llu bytes is no content", key,
                         (unsigned long long)bytes);
    }
    struct contents_writer *writer = mem_calloc(1, sizeof *writer);
    if (writer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", contents->directory);
    }
    writer->contents = contents;
    writer->bytes = bytes;
    memcpy(writer->key, key, DIGEST_TEXT);
    digest_init(&writer->digest);
    shoal_status status = contents_partial_open(contents, key, true, &writer->fd, error);
    if (status != SHOAL_OK) {
        mem_free(writer);
        return status;
    }
    status = take_up(writer, error);
    if (status == SHOAL_OK) {
        status = enter(writer, error);
    }
    if (status != SHOAL_OK) {
        contents_write_abandon(writer);
        return status;
    }
    *out = writer;
    *have = writer->written;
    return SHOAL_OK;
}

/* As much as the system takes; 0 or the error's number. What was taken is hashed. */
static int append(struct contents_writer *writer, const char **data, size_t *size) {
    while (*size > 0) {
        const ssize_t done = pwrite(writer->fd, *data, *size, (off_t)writer->written);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? errno : EIO;
        }
        digest_update(&writer->digest, *data, (size_t)done);
        writer->written += (uint64_t)done;
        *data += done;
        *size -= (size_t)done;
    }
    return 0;
}

/* The disk writes while the network brings more, so that the sync at the end is short. */
static void begin_flush(struct contents_writer *writer) {
    if (writer->written - writer->flushing >= FLUSH_PIECE) {
        (void)sync_file_range(writer->fd, (off_t)writer->flushing,
                              (off_t)(writer->written - writer->flushing), SYNC_FILE_RANGE_WRITE);
        writer->flushing = writer->written;
    }
}

static bool is_full(int failed) {
    return failed == ENOSPC || failed == EDQUOT || failed == EFBIG;
}

shoal_status contents_write(struct contents_writer *writer, const void *data, size_t size,
                            struct shoal_error *error) {
    struct contents *contents = writer->contents;
    if (size > writer->bytes - writer->written) {
        return error_set(error, SHOAL_INVALID, "content %s has %llu bytes, and more came",
                         writer->key, (unsigned long long)writer->bytes);
    }
    const char *next = data;
    int failed = append(writer, &next, &size);
    if (is_full(failed)) {
        (void)pthread_mutex_lock(&contents->mutex);
        const shoal_status room =
            contents_evict_locked(contents, writer->bytes - writer->written, error);
        (void)pthread_mutex_unlock(&contents->mutex);
        TRY(room);
        failed = append(writer, &next, &size);
    }
    if (failed == 0) {
        begin_flush(writer);
        return SHOAL_OK;
    }
    const shoal_status status = is_full(failed) ? SHOAL_NO_SPACE : SHOAL_IO;
    return error_set(error, status, "cache %s: content %s: %llu of %llu bytes written, then: %s",
                     contents->directory, writer->key, (unsigned long long)writer->written,
                     (unsigned long long)writer->bytes, strerror(failed));
}

/* The digest is that of the key and the disk has the bytes; else the partial is of no use: after a
 * failed sync nobody knows what the disk has. */
static shoal_status make_sure(struct contents_writer *writer, struct shoal_error *error) {
    char text[DIGEST_TEXT];
    digest_final(&writer->digest, text);
    shoal_status status = SHOAL_OK;
    if (strcmp(text, writer->key) != 0) {
        status = error_set(error, SHOAL_CORRUPT,
                           "content %s: the %llu bytes that came have the SHA-256 %s; thrown away",
                           writer->key, (unsigned long long)writer->bytes, text);
    } else if (fsync(writer->fd) != 0) {
        status = error_errno(error, errno, "cache %s: content %s cannot be synced",
                             writer->contents->directory, writer->key);
    }
    if (status != SHOAL_OK) {
        (void)unlinkat(writer->contents->partial_fd, writer->key, 0);
        writer->written = 0;
    }
    return status;
}

static shoal_status put_in_place(struct contents_writer *writer, struct shoal_error *error) {
    struct contents *contents = writer->contents;
    const int folder = contents_folder_open(contents, writer->key, true);
    if (folder < 0) {
        return error_errno(error, errno, "%s/%.2s: cannot be opened", contents->directory,
                           writer->key);
    }
    contents_touch(writer->fd);
    shoal_status status = SHOAL_OK;
    if (renameat(contents->partial_fd, writer->key, folder, writer->key) != 0) {
        status = error_errno(error, errno, "cache %s: content %s cannot be put in place",
                             contents->directory, writer->key);
    } else if (fsync(folder) != 0) {
        status = error_errno(error, errno, "%s/%.2s: cannot be synced", contents->directory,
                             writer->key);
    }
    (void)close(folder);
    return status;
}

shoal_status contents_write_commit(struct contents_writer *writer, struct shoal_error *error) {
    shoal_status status = SHOAL_OK;
    if (writer->written < writer->bytes) {
        status = error_set(error, SHOAL_INVALID, "content %s has only %llu of its %llu bytes",
                           writer->key, (unsigned long long)writer->written,
                           (unsigned long long)writer->bytes);
    } else {
        status = make_sure(writer, error);
        if (status == SHOAL_OK) {
            status = put_in_place(writer, error);
        }
    }
    if (status != SHOAL_OK) {
        contents_write_abandon(writer);
        return status;
    }
    leave(writer, writer->bytes);
    return SHOAL_OK;
}
