/* What is there, what it occupies, and what goes when room is needed. */
#include "store/contents_internal.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

uint64_t contents_blocks(uint64_t bytes) {
    const uint64_t more = CONTENTS_BLOCK - 1;
    return bytes > UINT64_MAX - more ? UINT64_MAX - more
                                     : (bytes + more) / CONTENTS_BLOCK * CONTENTS_BLOCK;
}

static uint64_t add(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

struct listing {
    struct contents_entry *entries;
    size_t count, capacity;
};

static struct contents_entry *push(struct listing *list) {
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        struct contents_entry *larger = mem_realloc(list->entries, capacity * sizeof *larger);
        if (larger == NULL) {
            return NULL;
        }
        list->entries = larger;
        list->capacity = capacity;
    }
    struct contents_entry *entry = &list->entries[list->count++];
    *entry = (struct contents_entry){.bytes = 0};
    return entry;
}

static int64_t nanoseconds(const struct timespec *time) {
    const int64_t most = INT64_MAX / 1000000000 - 1; /* the year 2262 */
    const int64_t seconds = time->tv_sec > most    ? most
                            : time->tv_sec < -most ? -most
                                                   : (int64_t)time->tv_sec;
    return seconds * 1000000000 + time->tv_nsec;
}

static bool partial_busy(int folder, const char *key) {
    const int fd = contents_file_open(folder, key, O_RDONLY);
    const bool busy = fd >= 0 && contents_lock_held(fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    return busy;
}

/* The regular files of one folder whose names are keys; prefix is NULL for the partials. Takes the
 * descriptor. */
static shoal_status list_folder(struct contents *contents, int folder, const char *prefix,
                                struct listing *list, struct shoal_error *error) {
    DIR *stream = fdopendir(folder);
    if (stream == NULL) {
        const int saved = errno;
        (void)close(folder);
        return error_errno(error, saved, "%s: cannot be listed", contents->directory);
    }
    shoal_status status = SHOAL_OK;
    for (struct dirent *file = readdir(stream); file != NULL && status == SHOAL_OK;
         file = readdir(stream)) {
        struct stat info;
        if (!contents_key_valid(file->d_name) ||
            (prefix != NULL && strncmp(file->d_name, prefix, 2) != 0) ||
            fstatat(dirfd(stream), file->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(info.st_mode)) {
            continue;
        }
        struct contents_entry *entry = push(list);
        if (entry == NULL) {
            status = error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", contents->directory);
            break;
        }
        memcpy(entry->key, file->d_name, DIGEST_TEXT);
        entry->partial = prefix == NULL;
        entry->busy = entry->partial && partial_busy(dirfd(stream), entry->key);
        entry->pinned = contents_pinned_locked(contents, entry->key);
        entry->bytes = (uint64_t)info.st_size;
        entry->used_ns = nanoseconds(&info.st_mtim);
    }
    (void)closedir(stream);
    return status;
}

static bool is_digit(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* One entry of the directory: a folder of contents, of partials, or nothing of ours. */
static shoal_status list_entry(struct contents *contents, const char *name, struct listing *list,
                               struct shoal_error *error) {
    const bool partial = strcmp(name, "partial") == 0;
    if (!partial && !(is_digit(name[0]) && is_digit(name[1]) && name[2] == '\0')) {
        return SHOAL_OK;
    }
    const int folder = openat(contents->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder >= 0) {
        return list_folder(contents, folder, partial ? NULL : name, list, error);
    }
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP
               ? SHOAL_OK
               : error_errno(error, errno, "%s/%s: cannot be listed", contents->directory, name);
}

static int compare_use(const void *a, const void *b) {
    const struct contents_entry *left = a, *right = b;
    if (left->used_ns != right->used_ns) {
        return left->used_ns < right->used_ns ? -1 : 1;
    }
    return strcmp(left->key, right->key);
}

static bool written_here(const struct contents *contents, const struct contents_entry *entry) {
    for (const struct contents_writer *w = contents->writers; w != NULL && entry->partial;
         w = w->next) {
        if (strcmp(w->key, entry->key) == 0) {
            return true;
        }
    }
    return false;
}

shoal_status contents_walk_locked(struct contents *contents, struct contents_entry **out,
                                  size_t *count, struct shoal_error *error) {
    const int fd = openat(contents->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL) {
        const int saved = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return error_errno(error, saved, "%s: cannot be listed", contents->directory);
    }
    struct listing list = {0};
    shoal_status status = SHOAL_OK;
    for (struct dirent *entry = readdir(stream); entry != NULL && status == SHOAL_OK;
         entry = readdir(stream)) {
        status = list_entry(contents, entry->d_name, &list, error);
    }
    (void)closedir(stream);
    if (status != SHOAL_OK) {
        mem_free(list.entries);
        return status;
    }
    contents->settled_bytes = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (!written_here(contents, &list.entries[i])) {
            contents->settled_bytes =
                add(contents->settled_bytes, contents_blocks(list.entries[i].bytes));
        }
    }
    if (list.count > 1) {
        qsort(list.entries, list.count, sizeof *list.entries, compare_use);
    }
    *out = list.entries;
    *count = list.count;
    return SHOAL_OK;
}

shoal_status contents_list(struct contents *contents, struct contents_entry **out, size_t *count,
                           struct shoal_error *error) {
    (void)pthread_mutex_lock(&contents->mutex);
    const shoal_status status = contents_walk_locked(contents, out, count, error);
    (void)pthread_mutex_unlock(&contents->mutex);
    return status;
}

uint64_t contents_disk_free(const struct contents *contents, uint64_t *total) {
    struct statvfs disk;
    if (fstatvfs(contents->fd, &disk) != 0 || disk.f_blocks == 0) {
        *total = 0;
        return UINT64_MAX;
    }
    *total = (uint64_t)disk.f_blocks * disk.f_frsize;
    return (uint64_t)disk.f_bavail * disk.f_frsize;
}

struct room {
    uint64_t settled, reserved; /* as the quota counts */
    uint64_t arriving;          /* announced and not written yet */
    uint64_t free, total;       /* of the disk */
};

static struct room room_locked(const struct contents *contents) {
    struct room room = {.settled = contents->settled_bytes};
    room.free = contents_disk_free(contents, &room.total);
    for (const struct contents_writer *w = contents->writers; w != NULL; w = w->next) {
        room.reserved = add(room.reserved, contents_blocks(w->bytes));
        room.arriving = add(room.arriving, contents_blocks(w->bytes - w->written));
    }
    return room;
}

/* How much must go so that need fits. */
static uint64_t shortage(const struct contents *contents, const struct room *room, uint64_t need) {
    const uint64_t used = add(add(room->settled, room->reserved), need);
    const uint64_t wanted = add(room->arriving, need);
    const uint64_t quota = contents->quota_bytes > 0 && used > contents->quota_bytes
                               ? used - contents->quota_bytes
                               : 0;
    const uint64_t disk = wanted > room->free ? wanted - room->free : 0;
    return quota > disk ? quota : disk;
}

static shoal_status no_space(const struct contents *contents, const struct room *room,
                             uint64_t need, uint64_t evictable, struct shoal_error *error) {
    const double used = (double)room->settled + (double)room->reserved;
    if (contents->quota_bytes > 0 &&
        (double)need + used - (double)evictable > (double)contents->quota_bytes) {
        return error_set(
            error, SHOAL_NO_SPACE,
            "cache %s: %.3f MB more do not fit the quota of %.3f MB: %.3f MB are used, "
            "and only %.3f MB of them are not in use now; raise --cache-size",
            contents->directory, (double)need / 1e6, (double)contents->quota_bytes / 1e6,
            used / 1e6, (double)evictable / 1e6);
    }
    return error_set(error, SHOAL_NO_SPACE,
                     "cache %s: %.3f MB more do not fit the disk: %.3f MB of %.3f MB are free, "
                     "%.3f MB are promised to contents that arrive, and only %.3f MB of the cache "
                     "are not in use now; make room or take another disk (--cache)",
                     contents->directory, (double)need / 1e6, (double)room->free / 1e6,
                     (double)room->total / 1e6, (double)room->arriving / 1e6,
                     (double)evictable / 1e6);
}

static bool may_evict(const struct contents_entry *entry) {
    return !entry->pinned && !entry->busy;
}

/* Evicts in order of use until missing bytes have gone. */
static void evict(struct contents *contents, const struct contents_entry *entries, size_t count,
                  uint64_t missing) {
    for (size_t i = 0; i < count && missing > 0; i++) {
        const uint64_t size = contents_blocks(entries[i].bytes);
        if (may_evict(&entries[i]) &&
            contents_remove(contents, entries[i].key, entries[i].partial, NULL) == SHOAL_OK) {
            missing -= size < missing ? size : missing;
            contents->settled_bytes -=
                size < contents->settled_bytes ? size : contents->settled_bytes;
        }
    }
}

/* The file system is asked, then what must go goes. disk_full: so many bytes must go though the
 * figures see room. */
static shoal_status make_room(struct contents *contents, uint64_t need, bool disk_full,
                              struct shoal_error *error) {
    struct contents_entry *entries = NULL;
    size_t count = 0;
    TRY(contents_walk_locked(contents, &entries, &count, error));
    const struct room room = room_locked(contents);
    const uint64_t missing = disk_full ? need : shortage(contents, &room, need);
    uint64_t evictable = 0;
    for (size_t i = 0; i < count; i++) {
        evictable = add(evictable, may_evict(&entries[i]) ? contents_blocks(entries[i].bytes) : 0);
    }
    shoal_status status = SHOAL_OK;
    if (missing > evictable) {
        status = no_space(contents, &room, need, evictable, error);
    } else {
        evict(contents, entries, count, missing);
    }
    mem_free(entries);
    return status;
}

shoal_status contents_room_locked(struct contents *contents, uint64_t bytes,
                                  struct shoal_error *error) {
    const struct room room = room_locked(contents);
    const uint64_t need = contents_blocks(bytes);
    return shortage(contents, &room, need) == 0 ? SHOAL_OK
                                                : make_room(contents, need, false, error);
}

shoal_status contents_evict_locked(struct contents *contents, uint64_t bytes,
                                   struct shoal_error *error) {
    return make_room(contents, contents_blocks(bytes), true, error);
}

shoal_status contents_make_room(struct contents *contents, uint64_t bytes,
                                struct shoal_error *error) {
    (void)pthread_mutex_lock(&contents->mutex);
    const shoal_status status = contents_room_locked(contents, bytes, error);
    (void)pthread_mutex_unlock(&contents->mutex);
    return status;
}

shoal_status contents_usage_get(struct contents *contents, struct contents_usage *out,
                                struct shoal_error *error) {
    struct contents_entry *entries = NULL;
    size_t count = 0;
    TRY(contents_list(contents, &entries, &count, error));
    struct contents_usage usage = {.quota_bytes = contents->quota_bytes};
    for (size_t i = 0; i < count; i++) {
        const uint64_t size = contents_blocks(entries[i].bytes);
        usage.bytes = add(usage.bytes, size);
        usage.partial_bytes += entries[i].partial ? size : 0;
        usage.pinned_bytes += entries[i].pinned ? size : 0;
        usage.partials += entries[i].partial ? 1 : 0;
        usage.contents += entries[i].partial ? 0 : 1;
    }
    mem_free(entries);
    usage.disk_free_bytes = contents_disk_free(contents, &usage.disk_bytes);
    *out = usage;
    return SHOAL_OK;
}
