/* Opening, pins, reading, mapping, removing. */
#include "store/contents_internal.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VERIFY_PIECE ((size_t)1 << 18)
#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

bool contents_key_valid(const char *key) {
    for (size_t i = 0; i < DIGEST_TEXT - 1; i++) {
        if (!((key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'f'))) {
            return false;
        }
    }
    return key[DIGEST_TEXT - 1] == '\0';
}

static shoal_status check_key(const char *key, struct shoal_error *error) {
    return contents_key_valid(key)
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID,
                           "'%.80s' is no key of a content: 64 lower-case hexadecimal digits", key);
}

bool contents_lock_try(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool contents_lock_held(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

int contents_folder_open(const struct contents *contents, const char *key, bool make) {
    const char name[3] = {key[0], key[1], '\0'};
    int fd = openat(contents->fd, name, DIRECTORY_FLAGS);
    if (fd < 0 && errno == ENOENT && make) {
        if (mkdirat(contents->fd, name, 0700) == 0) {
            (void)fsync(contents->fd);
        }
        fd = openat(contents->fd, name, DIRECTORY_FLAGS);
    }
    return fd;
}

int contents_file_open(int folder, const char *key, int flags) {
    const int fd = openat(folder, key, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    struct stat status;
    if (fd >= 0 && (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))) {
        (void)close(fd);
        errno = EINVAL;
        return -1;
    }
    return fd;
}

int contents_whole_open(const struct contents *contents, const char *key) {
    const int folder = contents_folder_open(contents, key, false);
    if (folder < 0) {
        return -1;
    }
    const int fd = contents_file_open(folder, key, O_RDONLY);
    const int saved = errno;
    (void)close(folder);
    errno = saved;
    return fd;
}

void contents_touch(int fd) {
    struct timespec times[2];
    (void)clock_gettime(CLOCK_REALTIME, &times[0]); /* finer than the file system's own UTIME_NOW */
    times[1] = times[0];
    (void)futimens(fd, times);
}

/* Opening. */

/* "PID QUOTA". */
static long read_holder(int fd, uint64_t *quota_bytes) {
    char text[64] = "", *end = text;
    const ssize_t got = pread(fd, text, sizeof text - 1, 0);
    const long pid = got > 0 ? strtol(text, &end, 10) : 0;
    *quota_bytes = strtoull(end, NULL, 10);
    return pid > 0 ? pid : 0;
}

static shoal_status take_lock(struct contents *contents, struct shoal_error *error) {
    contents->lock_fd = contents_file_open(contents->fd, "lock", O_RDWR | O_CREAT);
    if (contents->lock_fd < 0) {
        return error_errno(error, errno, "%s/lock: cannot be opened", contents->directory);
    }
    if (!contents_lock_try(contents->lock_fd)) {
        const int saved = errno;
        if (saved != EAGAIN && saved != EACCES) {
            return error_errno(error, saved, "%s/lock: cannot be locked", contents->directory);
        }
        uint64_t quota;
        const long pid = read_holder(contents->lock_fd, &quota);
        char who[48] = "another process";
        if (pid > 0) {
            (void)snprintf(who, sizeof who, "process %ld", pid);
        }
        (void)close(contents->lock_fd);
        contents->lock_fd = -1;
        return error_set(error, SHOAL_BUSY,
                         "cache %s is used by %s; stop it, or take another directory (--cache)",
                         contents->directory, who);
    }
    return SHOAL_OK;
}

/* So that others can name us, and our quota. */
static shoal_status sign_lock(const struct contents *contents, struct shoal_error *error) {
    char text[64];
    const int length = snprintf(text, sizeof text, "%ld %llu\n", (long)getpid(),
                                (unsigned long long)contents->quota_bytes);
    if (ftruncate(contents->lock_fd, 0) != 0 ||
        pwrite(contents->lock_fd, text, (size_t)length, 0) != length) {
        return error_errno(error, errno, "%s/lock: cannot be written", contents->directory);
    }
    return SHOAL_OK;
}

static bool is_old(const struct contents_entry *entry, int64_t now_s) {
    const int64_t age = now_s - entry->used_ns / 1000000000,
                  most = INT64_C(86400) * CONTENTS_PARTIAL_DAYS;
    return age > most || age < -most;
}

/* Removes old partials and counts the rest. */
static shoal_status take_stock(struct contents *contents, struct shoal_error *error) {
    struct contents_entry *entries = NULL;
    size_t count = 0;
    TRY(contents_walk_locked(contents, &entries, &count, error));
    const int64_t now_s = (int64_t)time(NULL);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].partial && !entries[i].busy && is_old(&entries[i], now_s) &&
            contents_remove(contents, entries[i].key, true, NULL) != SHOAL_OK) {
            continue; /* somebody took it up, or was faster */
        }
    }
    mem_free(entries);
    return SHOAL_OK;
}

static shoal_status open_in(struct contents *contents, bool lock, struct shoal_error *error) {
    TRY(file_make_directories(contents->directory, error));
    contents->fd = open(contents->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (contents->fd < 0) {
        return error_errno(error, errno, "%s: cannot be opened", contents->directory);
    }
    if (mkdirat(contents->fd, "partial", 0700) != 0 && errno != EEXIST) {
        return error_errno(error, errno, "%s/partial: cannot be made", contents->directory);
    }
    contents->partial_fd = openat(contents->fd, "partial", DIRECTORY_FLAGS);
    if (contents->partial_fd < 0) {
        return error_errno(error, errno, "%s/partial: cannot be opened", contents->directory);
    }
    if (lock) {
        TRY(take_lock(contents, error));
    }
    TRY(take_stock(contents, error));
    if (contents->quota_bytes == CONTENTS_QUOTA_AUTO) {
        uint64_t total;
        const uint64_t free = contents_disk_free(contents, &total);
        contents->quota_bytes = total == 0 ? 0 : contents->settled_bytes + free / 4 * 3;
    }
    return lock ? sign_lock(contents, error) : SHOAL_OK;
}

shoal_status contents_open(const struct contents_options *options, struct contents **out,
                           struct shoal_error *error) {
    struct contents *contents = mem_calloc(1, sizeof *contents);
    char *directory = mem_strdup(options->directory);
    if (contents == NULL || directory == NULL) {
        mem_free(contents);
        mem_free(directory);
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", options->directory);
    }
    contents->directory = directory;
    contents->quota_bytes = options->quota_bytes;
    contents->fd = contents->partial_fd = contents->lock_fd = -1;
    (void)pthread_mutex_init(&contents->mutex, NULL);
    const shoal_status status = open_in(contents, options->lock, error);
    if (status != SHOAL_OK) {
        contents_close(contents);
        return status;
    }
    *out = contents;
    return SHOAL_OK;
}

static void close_descriptor(int fd) {
    if (fd >= 0) {
        (void)close(fd);
    }
}

void contents_close(struct contents *contents) {
    if (contents == NULL) {
        return;
    }
    close_descriptor(contents->lock_fd);
    close_descriptor(contents->partial_fd);
    close_descriptor(contents->fd);
    (void)pthread_mutex_destroy(&contents->mutex);
    mem_free(contents->pins);
    mem_free(contents->directory);
    mem_free(contents);
}

const char *contents_directory(const struct contents *contents) {
    return contents->directory;
}

long contents_holder(struct contents *contents, uint64_t *quota_bytes) {
    uint64_t quota = contents->quota_bytes;
    long pid = 0;
    if (contents->lock_fd >= 0) {
        pid = (long)getpid();
    } else {
        const int fd = contents_file_open(contents->fd, "lock", O_RDONLY);
        if (fd >= 0) {
            pid = contents_lock_held(fd) ? read_holder(fd, &quota) : 0;
            (void)close(fd);
        }
    }
    if (quota_bytes != NULL && pid > 0) {
        *quota_bytes = quota;
    }
    return pid;
}

shoal_status contents_default_directory(char *path, size_t path_bytes, struct shoal_error *error) {
    TRY(file_data_directory(path, path_bytes, error));
    const size_t used = strlen(path);
    const int length = snprintf(path + used, path_bytes - used, "/cache");
    return length > 0 && (size_t)length < path_bytes - used
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID, "the path of Shoal's data directory is too long");
}

/* Pins. */

static size_t pin_position(const struct contents *contents, const char *key) {
    size_t low = 0, high = contents->pin_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(contents->pins[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

bool contents_pinned_locked(const struct contents *contents, const char *key) {
    const size_t at = pin_position(contents, key);
    return at < contents->pin_count && strcmp(contents->pins[at].key, key) == 0;
}

static shoal_status pin_locked(struct contents *contents, const char *key,
                               struct shoal_error *error) {
    const size_t at = pin_position(contents, key);
    if (at < contents->pin_count && strcmp(contents->pins[at].key, key) == 0) {
        contents->pins[at].count++;
        return SHOAL_OK;
    }
    if (contents->pin_count == contents->pin_capacity) {
        const size_t capacity = contents->pin_capacity > 0 ? 2 * contents->pin_capacity : 64;
        struct contents_pin *larger = mem_realloc(contents->pins, capacity * sizeof *larger);
        if (larger == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", contents->directory);
        }
        contents->pins = larger;
        contents->pin_capacity = capacity;
    }
    memmove(&contents->pins[at + 1], &contents->pins[at],
            (contents->pin_count - at) * sizeof *contents->pins);
    contents->pin_count++;
    contents->pins[at].count = 1;
    memcpy(contents->pins[at].key, key, DIGEST_TEXT);
    return SHOAL_OK;
}

shoal_status contents_pin(struct contents *contents, const char *key, struct shoal_error *error) {
    TRY(check_key(key, error));
    (void)pthread_mutex_lock(&contents->mutex);
    const shoal_status status = pin_locked(contents, key, error);
    (void)pthread_mutex_unlock(&contents->mutex);
    return status;
}

void contents_unpin(struct contents *contents, const char *key) {
    (void)pthread_mutex_lock(&contents->mutex);
    if (contents_key_valid(key) && contents_pinned_locked(contents, key)) {
        const size_t at = pin_position(contents, key);
        if (--contents->pins[at].count == 0) {
            contents->pin_count--;
            memmove(&contents->pins[at], &contents->pins[at + 1],
                    (contents->pin_count - at) * sizeof *contents->pins);
        }
    }
    (void)pthread_mutex_unlock(&contents->mutex);
}

/* Whole contents. */

static shoal_status open_whole(const struct contents *contents, const char *key, int *out,
                               struct shoal_error *error) {
    TRY(check_key(key, error));
    const int fd = contents_whole_open(contents, key);
    if (fd >= 0) {
        *out = fd;
        return SHOAL_OK;
    }
    /* Whatever is no regular file of ours is as good as not there. */
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EINVAL) {
        return error_set(error, SHOAL_NOT_FOUND, "cache %s has no content %s", contents->directory,
                         key);
    }
    return error_errno(error, errno, "cache %s: content %s", contents->directory, key);
}

bool contents_has(struct contents *contents, const char *key, uint64_t *bytes) {
    int fd = -1;
    if (open_whole(contents, key, &fd, NULL) != SHOAL_OK) {
        return false;
    }
    struct stat status;
    const bool known = fstat(fd, &status) == 0;
    if (known) {
        contents_touch(fd);
        if (bytes != NULL) {
            *bytes = (uint64_t)status.st_size;
        }
    }
    (void)close(fd);
    return known;
}

shoal_status contents_read(struct contents *contents, const char *key, uint64_t offset, void *out,
                           size_t size, size_t *got, struct shoal_error *error) {
    int fd = -1;
    TRY(open_whole(contents, key, &fd, error));
    const shoal_status status = file_read_at(fd, key, offset, out, size, got, error);
    (void)close(fd);
    return status == SHOAL_OK ? SHOAL_OK
                              : error_wrap(error, status, "cache %s: content", contents->directory);
}

shoal_status contents_map(struct contents *contents, const char *key, struct file_map *out,
                          struct shoal_error *error) {
    int fd = -1;
    TRY(open_whole(contents, key, &fd, error));
    contents_touch(fd);
    const shoal_status status = file_map_descriptor(fd, key, out, error);
    (void)close(fd);
    return status == SHOAL_OK ? SHOAL_OK
                              : error_wrap(error, status, "cache %s: content", contents->directory);
}

shoal_status contents_verify(struct contents *contents, const char *key,
                             struct shoal_error *error) {
    int fd = -1;
    TRY(open_whole(contents, key, &fd, error));
    unsigned char *piece = mem_alloc(VERIFY_PIECE);
    if (piece == NULL) {
        (void)close(fd);
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", contents->directory);
    }
    struct digest digest;
    digest_init(&digest);
    size_t got = 0;
    uint64_t offset = 0;
    shoal_status status;
    while ((status = file_read_at(fd, key, offset, piece, VERIFY_PIECE, &got, error)) == SHOAL_OK &&
           got > 0) {
        digest_update(&digest, piece, got);
        offset += got;
    }
    (void)close(fd);
    mem_free(piece);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "cache %s: content", contents->directory);
    }
    char text[DIGEST_TEXT];
    digest_final(&digest, text);
    return strcmp(text, key) == 0
               ? SHOAL_OK
               : error_set(error, SHOAL_CORRUPT,
                           "cache %s: content %s is damaged: its bytes have the SHA-256 %s",
                           contents->directory, key, text);
}

static shoal_status remove_partial(const struct contents *contents, const char *key,
                                   struct shoal_error *error) {
    int fd = -1;
    TRY(contents_partial_open(contents, key, false, &fd, error));
    const int failed = unlinkat(contents->partial_fd, key, 0) == 0 ? 0 : errno;
    (void)close(fd);
    return failed == 0 ? SHOAL_OK
                       : error_errno(error, failed, "cache %s: partial %s cannot be removed",
                                     contents->directory, key);
}

shoal_status contents_remove(struct contents *contents, const char *key, bool partial,
                             struct shoal_error *error) {
    TRY(check_key(key, error));
    if (partial) {
        return remove_partial(contents, key, error);
    }
    int fd = -1;
    TRY(open_whole(contents, key, &fd, error)); /* refuses what is no content */
    (void)close(fd);
    const int folder = contents_folder_open(contents, key, false);
    const int failed = folder >= 0 && unlinkat(folder, key, 0) == 0 ? 0 : errno;
    close_descriptor(folder);
    return failed == 0 ? SHOAL_OK
                       : error_errno(error, failed, "cache %s: content %s cannot be removed",
                                     contents->directory, key);
}
