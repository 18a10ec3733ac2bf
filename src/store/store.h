/*
 * What is kept between runs: measured profiles and a record of past runs, in one SQLite database,
 * shoal.db, in a directory (platform's file_data_directory by default).
 *
 * Many processes may have it open at once. It uses SQLite's rollback journal, not WAL: writes are
 * few and small, WAL needs shared memory (no network file systems) and a writable directory even to
 * read. A writer that finds the database locked waits up to 10 s. Each put is one transaction:
 * wholly there or not at all. In a directory that cannot be written, an existing database can still
 * be read.
 *
 * Nothing here is worth failing a run for: a caller that gets CORRUPT, VERSION or IO warns and
 * measures again.
 *
 * Units: created_s is in seconds since 1970. Ownership: texts handed out are the caller's
 * (mem_free). Threads: every function may be called by any thread; calls on one store wait for each
 * other. Errors, all naming the file: IO (cannot be opened, read or written; read-only), NO_SPACE
 * (disk full, or a file size limit), CORRUPT (not a database of ours, or damaged; says what to do),
 * VERSION (written by a newer Shoal; names both schema versions), BUSY (locked for longer than the
 * wait), NO_MEMORY, INVALID (a text beyond its limit).
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define STORE_SCHEMA_VERSION 1
#define STORE_KEY_LIMIT 4096u
#define STORE_TEXT_LIMIT ((size_t)64 << 20)

struct store;

/* Makes the directory and the database if they are not there. */
NODISCARD shoal_status store_open(const char *directory, struct store **out,
                                  struct shoal_error *error);
void store_close(struct store *store); /* NULL allowed */
const char *store_path(const struct store *store);

/* Replaces what stood under the key. */
NODISCARD shoal_status store_profile_put(struct store *store, const char *key, const char *json,
                                         int64_t created_s, struct shoal_error *error);
/* Errors: NOT_FOUND as well. created_s may be NULL. */
NODISCARD shoal_status store_profile_get(struct store *store, const char *key, char **json,
                                         int64_t *created_s, struct shoal_error *error);
/* Nothing under the key is no error. */
NODISCARD shoal_status store_profile_remove(struct store *store, const char *key,
                                            struct shoal_error *error);

struct store_run {
    int64_t id; /* rises with every run put */
    int64_t created_s;
    char *json;
};

/* id may be NULL. */
NODISCARD shoal_status store_run_put(struct store *store, const char *json, int64_t created_s,
                                     int64_t *id, struct shoal_error *error);
/* The latest `limit` runs, newest first; store_run_list_free them. */
NODISCARD shoal_status store_run_list(struct store *store, size_t limit, struct store_run **out,
                                      size_t *count, struct shoal_error *error);
void store_run_list_free(struct store_run *runs, size_t count);

#endif
