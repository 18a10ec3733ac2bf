#include "platform/file.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static shoal_status regular_size(int fd, const char *path, size_t *size,
                                 struct shoal_error *error) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return error_errno(error, errno, "%s", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return error_set(error, SHOAL_IO, "%s: not a regular file", path);
    }
    *size = (size_t)status.st_size;
    return SHOAL_OK;
}

static shoal_status open_regular(const char *path, int *out, size_t *size,
                                 struct shoal_error *error) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return error_errno(error, errno, "%s", path);
    }
    const shoal_status status = regular_size(fd, path, size, error);
    if (status != SHOAL_OK) {
        (void)close(fd);
        return status;
    }
    *out = fd;
    return SHOAL_OK;
}

shoal_status file_open(const char *path, int *out, struct shoal_error *error) {
    size_t size = 0;
    return open_regular(path, out, &size, error);
}

shoal_status file_identify(int fd, const char *path, struct file_identity *out,
                           struct shoal_error *error) {
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return error_errno(error, errno, "%s", path);
    }
    *out = (struct file_identity){.device = (uint64_t)status.st_dev,
                                  .inode = (uint64_t)status.st_ino,
                                  .size = (uint64_t)status.st_size,
                                  .modified_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 +
                                                 status.st_mtim.tv_nsec};
    return SHOAL_OK;
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified_ns == b->modified_ns;
}

shoal_status file_read_at(int fd, const char *path, uint64_t offset, void *out, size_t size,
                          size_t *got, struct shoal_error *error) {
    size_t used = 0;
    while (used < size && offset <= (uint64_t)INT64_MAX - used) {
        const ssize_t done = pread(fd, (char *)out + used, size - used, (off_t)(offset + used));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return error_errno(error, errno, "%s", path);
        }
        if (done == 0) {
            break;
        }
        used += (size_t)done;
    }
    *got = used;
    return SHOAL_OK;
}

shoal_status file_map_descriptor(int fd, const char *path, struct file_map *out,
                                 struct shoal_error *error) {
    size_t size = 0;
    TRY(regular_size(fd, path, &size, error));
    void *data = NULL;
    if (size > 0) {
        data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            return error_errno(error, errno, "%s: cannot map %zu bytes", path, size);
        }
    }
    out->data = data;
    out->size = size;
    return SHOAL_OK;
}

shoal_status file_map_open(const char *path, struct file_map *out, struct shoal_error *error) {
    int fd = -1;
    size_t size = 0;
    TRY(open_regular(path, &fd, &size, error));
    const shoal_status status = file_map_descriptor(fd, path, out, error);
    (void)close(fd);
    return status;
}

/* munmap and madvise take a plain pointer though they change nothing that const protects. */
static void *writable_address(const void *pointer) {
    return (void *)(uintptr_t)pointer;
}

void file_map_close(struct file_map *map) {
    if (map->data != NULL) {
        (void)munmap(writable_address(map->data), map->size);
    }
    map->data = NULL;
    map->size = 0;
}

void file_map_release(const struct file_map *map, size_t offset, size_t bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t start = (offset + page - 1) / page * page;
    const size_t end = (offset + bytes) / page * page;
    if (map->data != NULL && end > start && end <= map->size) {
        (void)madvise(writable_address((const char *)map->data + start), end - start,
                      MADV_DONTNEED);
    }
}

/* Takes the descriptor. */
static shoal_status read_descriptor(int fd, const char *path, size_t size, size_t limit, char **out,
                                    size_t *out_size, struct shoal_error *error) {
    if (size > limit) {
        (void)close(fd);
        return error_set(error, SHOAL_CORRUPT, "%s: %zu bytes, but at most %zu are accepted", path,
                         size, limit);
    }
    char *data = mem_alloc(size + 1);
    if (data == NULL) {
        (void)close(fd);
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory for %zu bytes", path, size);
    }
    size_t used = 0;
    while (used < size) {
        const ssize_t got = read(fd, data + used, size - used);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            const int saved = errno;
            (void)close(fd);
            mem_free(data);
            return got == 0
                       ? error_set(error, SHOAL_IO, "%s: became shorter while it was read", path)
                       : error_errno(error, saved, "%s", path);
        }
        used += (size_t)got;
    }
    (void)close(fd);
    data[size] = '\0';
    *out = data;
    if (out_size != NULL) {
        *out_size = size;
    }
    return SHOAL_OK;
}

shoal_status file_read(const char *path, size_t limit, char **out, size_t *out_size,
                       struct shoal_error *error) {
    int fd = -1;
    size_t size = 0;
    TRY(open_regular(path, &fd, &size, error));
    return read_descriptor(fd, path, size, limit, out, out_size, error);
}

shoal_status file_read_private(const char *path, size_t limit, char **out, size_t *out_size,
                               struct shoal_error *error) {
    int fd = -1;
    size_t size = 0;
    struct stat status;
    TRY(open_regular(path, &fd, &size, error));
    shoal_status result = SHOAL_OK;
    if (fstat(fd, &status) != 0) {
        result = error_errno(error, errno, "%s", path);
    } else if (status.st_uid != geteuid()) {
        result = error_set(error, SHOAL_DENIED,
                           "%s belongs to user %ld, not to user %ld who runs this; run: chown %ld "
                           "%s (or give the command as that user)",
                           path, (long)status.st_uid, (long)geteuid(), (long)geteuid(), path);
    } else if ((status.st_mode & 077) != 0) {
        result = error_set(error, SHOAL_DENIED,
                           "%s: others may read this key file; run: chmod 600 %s", path, path);
    }
    if (result != SHOAL_OK) {
        (void)close(fd);
        return result;
    }
    return read_descriptor(fd, path, size, limit, out, out_size, error);
}

bool file_is_world_writable(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && (status.st_mode & S_IWOTH) != 0;
}

static bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        const ssize_t written = write(fd, data, size);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        data += written;
        size -= (size_t)written;
    }
    return true;
}

shoal_status file_write_atomic(const char *path, const void *data, size_t size,
                               struct shoal_error *error) {
    char *temporary = mem_format("%s.%ld.tmp", path, (long)getpid());
    if (temporary == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    shoal_status status = SHOAL_OK;
    if (fd < 0) {
        status = error_errno(error, errno, "%s", temporary);
    } else {
        const bool written = write_all(fd, data, size) && fsync(fd) == 0;
        const int saved = errno;
        const bool closed = close(fd) == 0;
        if (!written || !closed) {
            status = error_errno(error, written ? errno : saved, "%s: cannot write", path);
        } else if (rename(temporary, path) != 0) {
            status = error_errno(error, errno, "%s: cannot put in place", path);
        }
        if (status != SHOAL_OK) {
            (void)unlink(temporary);
        }
    }
    mem_free(temporary);
    return status;
}

/* rename that replaces nothing; link does it on every file system that has links. */
static shoal_status put_new(const char *temporary, const char *path, struct shoal_error *error) {
    if (link(temporary, path) == 0) {
        (void)unlink(temporary);
        return SHOAL_OK;
    }
    if (errno != EEXIST && renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0) {
        return SHOAL_OK;
    }
    return errno == EEXIST ? error_set(error, SHOAL_BUSY, "%s exists already", path)
                           : error_errno(error, errno, "%s: cannot put in place", path);
}

shoal_status file_write_private(const char *path, const void *data, size_t size,
                                struct shoal_error *error) {
    char *temporary = mem_format("%s.%ld.tmp", path, (long)getpid());
    if (temporary == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    shoal_status status = SHOAL_OK;
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        status = error_errno(error, errno, "%s", temporary);
        mem_free(temporary);
        return status;
    }
    const bool written = write_all(fd, data, size) && fsync(fd) == 0;
    const int saved = errno;
    const bool closed = close(fd) == 0;
    if (!written || !closed) {
        status = error_errno(error, written ? errno : saved, "%s: cannot write", path);
    } else {
        status = put_new(temporary, path, error);
    }
    if (status != SHOAL_OK) {
        (void)unlink(temporary);
    }
    mem_free(temporary);
    return status;
}

bool file_exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0;
}

bool file_is_directory(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

shoal_status file_make_directories(const char *path, struct shoal_error *error) {
    char *copy = mem_strdup(path);
    if (copy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    shoal_status status = SHOAL_OK;
    for (char *p = copy + 1; status == SHOAL_OK; p++) {
        const char kept = *p;
        if (kept == '/' || kept == '\0') {
            *p = '\0';
            if (mkdir(copy, 0700) != 0 && errno != EEXIST) {
                status = error_errno(error, errno, "%s: cannot make the directory", copy);
            }
            *p = kept;
        }
        if (kept == '\0') {
            break;
        }
    }
    mem_free(copy);
    if (status == SHOAL_OK && !file_is_directory(path)) {
        status = error_set(error, SHOAL_IO, "%s: not a directory", path);
    }
    return status;
}

struct path_list {
    char **paths;
    size_t count, capacity;
};

static bool path_list_push(struct path_list *list, char *path) {
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        char **larger = mem_realloc(list->paths, capacity * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        list->paths = larger;
        list->capacity = capacity;
    }
    list->paths[list->count++] = path;
    return true;
}

#define LIST_MAX_DEPTH 32 /* a loop of directory links ends here */

static shoal_status list_into(const char *directory, int depth, struct path_list *list,
                              struct shoal_error *error) {
    DIR *stream = depth < LIST_MAX_DEPTH ? opendir(directory) : NULL;
    if (stream == NULL) {
        return depth < LIST_MAX_DEPTH ? error_errno(error, errno, "%s", directory)
                                      : error_set(error, SHOAL_IO, "%s: more than %d folders deep",
                                                  directory, LIST_MAX_DEPTH);
    }
    shoal_status status = SHOAL_OK;
    for (struct dirent *entry = readdir(stream); entry != NULL && status == SHOAL_OK;
         entry = readdir(stream)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *path = mem_format("%s/%s", directory, entry->d_name);
        struct stat info;
        bool kept = false;
        if (path == NULL) {
            status = error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
        } else if (stat(path, &info) != 0) {
            kept = false; /* a dangling link: the caller sees the rest */
        } else if (S_ISDIR(info.st_mode)) {
            status = list_into(path, depth + 1, list, error);
        } else if (S_ISREG(info.st_mode)) {
            kept = path_list_push(list, path);
            if (!kept) {
                status = error_set(error, SHOAL_NO_MEMORY, "%s: no memory", directory);
            }
        }
        if (!kept) {
            mem_free(path);
        }
    }
    (void)closedir(stream);
    return status;
}

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

shoal_status file_list(const char *directory, char ***out, size_t *count,
                       struct shoal_error *error) {
    struct path_list list = {0};
    const shoal_status status = list_into(directory, 0, &list, error);
    if (status != SHOAL_OK) {
        file_list_free(list.paths, list.count);
        return status;
    }
    if (list.count > 1) {
        qsort(list.paths, list.count, sizeof *list.paths, compare_paths);
    }
    *out = list.paths;
    *count = list.count;
    return SHOAL_OK;
}

void file_list_free(char **paths, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mem_free(paths[i]);
    }
    mem_free(paths);
}

shoal_status file_make_temporary(char *path, size_t path_bytes, struct shoal_error *error) {
    const char *base = getenv("TMPDIR");
    const int length = snprintf(path, path_bytes, "%s/shoal-XXXXXX",
                                base != NULL && base[0] != '\0' ? base : "/tmp");
    if (length < 0 || (size_t)length >= path_bytes) {
        return error_set(error, SHOAL_IO, "the path in TMPDIR is too long");
    }
    if (mkdtemp(path) == NULL) {
        return error_errno(error, errno, "%s: cannot make a temporary directory", path);
    }
    return SHOAL_OK;
}

void file_remove_tree(const char *path) {
    DIR *stream = opendir(path);
    if (stream != NULL) {
        for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
                continue;
            }
            char *child = mem_format("%s/%s", path, entry->d_name);
            struct stat status;
            if (child != NULL && lstat(child, &status) == 0) {
                if (S_ISDIR(status.st_mode)) {
                    file_remove_tree(child);
                } else {
                    (void)unlink(child);
                }
            }
            mem_free(child);
        }
        (void)closedir(stream);
    }
    (void)rmdir(path);
}

shoal_status file_data_directory(char *path, size_t path_bytes, struct shoal_error *error) {
    const char *own = getenv("SHOAL_HOME"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int length;
    if (own != NULL && own[0] != '\0') {
        length = snprintf(path, path_bytes, "%s", own);
    } else if (data != NULL && data[0] == '/') {
        length = snprintf(path, path_bytes, "%s/shoal", data);
    } else if (home != NULL && home[0] == '/') {
        length = snprintf(path, path_bytes, "%s/.local/share/shoal", home);
    } else {
        return error_set(error, SHOAL_NOT_FOUND,
                         "no place for Shoal's data: set SHOAL_HOME or HOME");
    }
    if (length < 0 || (size_t)length >= path_bytes) {
        return error_set(error, SHOAL_INVALID, "the path of Shoal's data directory is too long");
    }
    return SHOAL_OK;
}
