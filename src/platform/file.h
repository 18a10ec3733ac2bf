/* Files: read-only maps whose pages can be given back, bounded reads, atomic writes, directory
 * listings. */
#ifndef PLATFORM_FILE_H
#define PLATFORM_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_map {
    const void *data; /* NULL for an empty file */
    size_t size;
};

/* Which file, and in which state: two that are equal have the same bytes, unless somebody sets
 * times. */
struct file_identity {
    uint64_t device, inode, size;
    int64_t modified_ns; /* since 1970 */
};

/* A regular file for reading; close() it. Errors: NOT_FOUND, IO, naming the path. */
NODISCARD shoal_status file_open(const char *path, int *out, struct shoal_error *error);
NODISCARD shoal_status file_identify(int fd, const char *path, struct file_identity *out,
                                     struct shoal_error *error);
bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);

/* Up to size bytes from the offset; *got is less only where the file ends. Errors: IO. */
NODISCARD shoal_status file_read_at(int fd, const char *path, uint64_t offset, void *out,
                                    size_t size, size_t *got, struct shoal_error *error);

/* Private read-only map. Errors: NOT_FOUND, IO (not a regular file, cannot be read), NO_MEMORY; all
 * name the path. */
NODISCARD shoal_status file_map_open(const char *path, struct file_map *out,
                                     struct shoal_error *error);
/* The same of an open file, which stays the caller's; the path is for the texts. */
NODISCARD shoal_status file_map_descriptor(int fd, const char *path, struct file_map *out,
                                           struct shoal_error *error);
void file_map_close(struct file_map *map);
/* Drops the pages that lie wholly inside the range from this process's memory; they are read again
 * if touched. */
void file_map_release(const struct file_map *map, size_t offset, size_t bytes);

/* The whole file plus a terminating zero; mem_free it. Errors: as above; CORRUPT if larger than
 * limit. */
NODISCARD shoal_status file_read(const char *path, size_t limit, char **out, size_t *out_size,
                                 struct shoal_error *error);

/* Writes beside path, syncs, renames: path has the old bytes or the new ones, never a part. */
NODISCARD shoal_status file_write_atomic(const char *path, const void *data, size_t size,
                                         struct shoal_error *error);

/*
 * As file_read, of a file with a secret: it must be this user's, and nobody else may read or write
 * it; what is checked is what is read, also behind a symbolic link. Errors: DENIED as well, with
 * the command that mends it.
 */
NODISCARD shoal_status file_read_private(const char *path, size_t limit, char **out,
                                         size_t *out_size, struct shoal_error *error);

/* A new file of mode 0600, wholly there or not at all. Errors: BUSY if the path exists already
 * (it stays as it is). */
NODISCARD shoal_status file_write_private(const char *path, const void *data, size_t size,
                                          struct shoal_error *error);

/* May somebody else than owner and group write it? False if there is no such file. */
bool file_is_world_writable(const char *path);

bool file_exists(const char *path);
bool file_is_directory(const char *path);

/* mkdir -p, mode 0700. */
NODISCARD shoal_status file_make_directories(const char *path, struct shoal_error *error);

/* Full paths of the regular files below a directory, recursively, sorted by byte order; hidden ones
 * left out. */
NODISCARD shoal_status file_list(const char *directory, char ***out, size_t *count,
                                 struct shoal_error *error);
void file_list_free(char **paths, size_t count);

/* A private directory under $TMPDIR or /tmp; path has at least 256 bytes. */
NODISCARD shoal_status file_make_temporary(char *path, size_t path_bytes,
                                           struct shoal_error *error);
void file_remove_tree(const char *path); /* best effort */

/* $SHOAL_HOME, or $XDG_DATA_HOME/shoal, or $HOME/.local/share/shoal: where profiles live. */
NODISCARD shoal_status file_data_directory(char *path, size_t path_bytes,
                                           struct shoal_error *error);

#endif
