#include "store/store.h"

#include "base/memory.h"
#include "platform/file.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define APPLICATION_ID 0x53484f4c /* "SHOL": whose database this is */
#define BUSY_TIMEOUT_MS 10000

struct store {
    sqlite3 *database;
    char *path;
    bool read_only;
};

static const char schema_sql[] =
    "CREATE TABLE schema(version INTEGER NOT NULL);"
    "CREATE TABLE profiles(key TEXT PRIMARY KEY, json TEXT NOT NULL, created_s INTEGER NOT NULL);"
    "CREATE TABLE runs(id INTEGER PRIMARY KEY AUTOINCREMENT, created_s INTEGER NOT NULL, json TEXT "
    "NOT NULL);";

static shoal_status corrupt(const struct store *store, const char *what,
                            struct shoal_error *error) {
    return error_set(error, SHOAL_CORRUPT,
                     "%s: %s; move it away (mv '%s' '%s.broken') and Shoal starts a new one",
                     store->path, what, store->path, store->path);
}

/* The system's reason for the last failure, as far as SQLite kept it: of the database file, else
 * what errno still says. */
static int system_error(const struct store *store, int saved_errno) {
    int system = 0;
    if (store->database == NULL ||
        sqlite3_file_control(store->database, "main", SQLITE_FCNTL_LAST_ERRNO, &system) !=
            SQLITE_OK ||
        system == 0) {
        system = saved_errno;
    }
    return system;
}

/* What SQLite's last error on this database means for us. */
static shoal_status database_error(const struct store *store, int code, const char *doing,
                                   struct shoal_error *error) {
    const int system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN
                           ? system_error(store, errno)
                           : 0;
    const char *text =
        store->database != NULL ? sqlite3_errmsg(store->database) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return error_set(error, SHOAL_NO_MEMORY, "%s: %s: out of memory", store->path, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(error, SHOAL_BUSY, "%s: %s: locked by another process for more than %d s",
                         store->path, doing, BUSY_TIMEOUT_MS / 1000);
    case SQLITE_FULL:
        return error_set(error, SHOAL_NO_SPACE, "%s: %s: no space left", store->path, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return corrupt(store, text, error);
    case SQLITE_READONLY:
        return error_set(error, SHOAL_IO, "%s: %s: the file or its directory is read-only",
                         store->path, doing);
    case SQLITE_TOOBIG:
        return error_set(error, SHOAL_INVALID, "%s: %s: too large", store->path, doing);
    case SQLITE_IOERR:
        if (system == ENOSPC || system == EDQUOT || system == EFBIG) {
            return error_set(error, SHOAL_NO_SPACE, "%s: %s: %s", store->path, doing,
                             strerror(system));
        }
        break;
    default:
        break;
    }
    return error_set(error, SHOAL_IO, "%s: %s: %s%s%s", store->path, doing, text,
                     system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
}

static shoal_status execute(struct store *store, const char *sql, const char *doing,
                            struct shoal_error *error) {
    const int code = sqlite3_exec(store->database, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? SHOAL_OK : database_error(store, code, doing, error);
}

/* The first column of the first row; *found false if there is no row. */
static shoal_status query_number(struct store *store, const char *sql, bool *found, int64_t *out,
                                 struct shoal_error *error) {
    sqlite3_stmt *statement;
    int code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        *found = code == SQLITE_ROW;
        if (code == SQLITE_ROW) {
            *out = sqlite3_column_int64(statement, 0);
            code = SQLITE_DONE;
        }
        if (code == SQLITE_DONE) {
            (void)sqlite3_finalize(statement);
            return SHOAL_OK;
        }
        const shoal_status status = database_error(store, code, "read", error);
        (void)sqlite3_finalize(statement);
        return status;
    }
    return database_error(store, code, "read", error);
}

static shoal_status check_schema(struct store *store, bool *empty, struct shoal_error *error) {
    bool found = false;
    int64_t tables = 0, application = 0, version = 0;
    TRY(query_number(store, "SELECT count(*) FROM sqlite_master", &found, &tables, error));
    TRY(query_number(store, "PRAGMA application_id", &found, &application, error));
    *empty = tables == 0;
    if (*empty) {
        return SHOAL_OK;
    }
    if (application != APPLICATION_ID) {
        return corrupt(store, "it is a database, but not one of Shoal's", error);
    }
    TRY(query_number(store, "SELECT max(version) FROM schema", &found, &version, error));
    if (!found || version < 1) {
        return corrupt(store, "it does not say which version it is of", error);
    }
    if (version > STORE_SCHEMA_VERSION) {
        return error_set(
            error, SHOAL_VERSION,
            "%s: written by a newer Shoal: its schema is version %" PRId64
            ", this program knows up to %d; update Shoal, or set SHOAL_HOME to another directory",
            store->path, version, STORE_SCHEMA_VERSION);
    }
    return SHOAL_OK;
}

/* In one transaction that excludes other writers, so that two processes that both find nothing do
 * not both create. */
static shoal_status create_schema(struct store *store, struct shoal_error *error) {
    TRY(execute(store, "BEGIN IMMEDIATE", "create", error));
    bool empty = false;
    shoal_status status = check_schema(store, &empty, error);
    if (status == SHOAL_OK && empty) {
        char sql[sizeof schema_sql + 160];
        (void)snprintf(sql, sizeof sql,
                       "PRAGMA application_id = %d; %s INSERT INTO schema VALUES(%d);",
                       APPLICATION_ID, schema_sql, STORE_SCHEMA_VERSION);
        status = execute(store, sql, "create", error);
    }
    if (status == SHOAL_OK) {
        status = execute(store, "COMMIT", "create", error);
    }
    if (status != SHOAL_OK) {
        (void)sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}

static shoal_status connect_database(struct store *store, struct shoal_error *error) {
    const int flags = SQLITE_OPEN_FULLMUTEX;
    int code = sqlite3_open_v2(store->path, &store->database,
                               flags | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
    if (code == SQLITE_CANTOPEN && file_exists(store->path)) {
        (void)sqlite3_close(store->database);
        store->database = NULL;
        code = sqlite3_open_v2(store->path, &store->database, flags | SQLITE_OPEN_READONLY, NULL);
    }
    if (code != SQLITE_OK) {
        return database_error(store, code, "open", error);
    }
    store->read_only = sqlite3_db_readonly(store->database, "main") == 1;
    code = sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
    if (code != SQLITE_OK) {
        return database_error(store, code, "open", error);
    }
    (void)sqlite3_limit(store->database, SQLITE_LIMIT_LENGTH, (int)STORE_TEXT_LIMIT);
    bool empty = false;
    TRY(check_schema(store, &empty, error));
    if (empty && store->read_only) {
        return error_set(error, SHOAL_IO, "%s: empty, and it or its directory is read-only",
                         store->path);
    }
    return empty ? create_schema(store, error) : SHOAL_OK;
}

shoal_status store_open(const char *directory, struct store **out, struct shoal_error *error) {
    if (!file_is_directory(directory)) {
        TRY(file_make_directories(directory, error));
    }
    struct store *store = mem_calloc(1, sizeof *store);
    char *path = mem_format("%s/shoal.db", directory);
    if (store == NULL || path == NULL) {
        mem_free(store);
        mem_free(path);
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", directory);
    }
    store->path = path;
    const shoal_status status = connect_database(store, error);
    if (status != SHOAL_OK) {
        store_close(store);
        return status;
    }
    *out = store;
    return SHOAL_OK;
}

void store_close(struct store *store) {
    if (store != NULL) {
        (void)sqlite3_close(store->database);
        mem_free(store->path);
        mem_free(store);
    }
}

const char *store_path(const struct store *store) {
    return store->path;
}

static shoal_status check_text(const struct store *store, const char *what, const char *text,
                               size_t limit, struct shoal_error *error) {
    if (strlen(text) > limit) {
        return error_set(error, SHOAL_INVALID, "%s: a %s of %zu bytes; the limit is %zu",
                         store->path, what, strlen(text), limit);
    }
    return SHOAL_OK;
}

/* A statement's parameters in order: texts that are not NULL, then the number. */
static int bind(sqlite3_stmt *statement, const char *first, const char *second,
                const int64_t *number) {
    int index = 0, code = SQLITE_OK;
    if (first != NULL) {
        code = sqlite3_bind_text(statement, ++index, first, -1, SQLITE_STATIC);
    }
    if (second != NULL && code == SQLITE_OK) {
        code = sqlite3_bind_text(statement, ++index, second, -1, SQLITE_STATIC);
    }
    if (number != NULL && code == SQLITE_OK) {
        code = sqlite3_bind_int64(statement, ++index, *number);
    }
    return code;
}

/* One statement that changes something; SQLite makes it a transaction of its own. */
static shoal_status change(struct store *store, const char *sql, const char *first,
                           const char *second, const int64_t *number, int64_t *id,
                           struct shoal_error *error) {
    sqlite3_stmt *statement = NULL;
    sqlite3_mutex *mutex = sqlite3_db_mutex(store->database);
    sqlite3_mutex_enter(mutex); /* the id is of this statement */
    int code = sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = bind(statement, first, second, number);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    shoal_status status = SHOAL_OK;
    if (code != SQLITE_DONE) {
        status = database_error(store, code, "write", error);
    } else if (id != NULL) {
        *id = sqlite3_last_insert_rowid(store->database);
    }
    (void)sqlite3_finalize(statement);
    sqlite3_mutex_leave(mutex);
    return status;
}

shoal_status store_profile_put(struct store *store, const char *key, const char *json,
                               int64_t created_s, struct shoal_error *error) {
    TRY(check_text(store, "key", key, STORE_KEY_LIMIT, error));
    TRY(check_text(store, "profile", json, STORE_TEXT_LIMIT / 2, error));
    return change(store, "INSERT OR REPLACE INTO profiles(key, json, created_s) VALUES(?, ?, ?)",
                  key, json, &created_s, NULL, error);
}

shoal_status store_profile_remove(struct store *store, const char *key, struct shoal_error *error) {
    TRY(check_text(store, "key", key, STORE_KEY_LIMIT, error));
    return change(store, "DELETE FROM profiles WHERE key = ?", key, NULL, NULL, NULL, error);
}

/* A column's text as the caller's own. */
static shoal_status copy_text(const struct store *store, sqlite3_stmt *statement, int column,
                              char **out, struct shoal_error *error) {
    const unsigned char *text = sqlite3_column_text(statement, column);
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", store->path);
    }
    *out = mem_strdup((const char *)text);
    return *out != NULL ? SHOAL_OK
                        : error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", store->path);
}

shoal_status store_profile_get(struct store *store, const char *key, char **json,
                               int64_t *created_s, struct shoal_error *error) {
    TRY(check_text(store, "key", key, STORE_KEY_LIMIT, error));
    sqlite3_stmt *statement = NULL;
    int code =
        sqlite3_prepare_v2(store->database, "SELECT json, created_s FROM profiles WHERE key = ?",
                           -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = bind(statement, key, NULL, NULL);
    }
    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
    }
    shoal_status status;
    if (code == SQLITE_ROW) {
        status = copy_text(store, statement, 0, json, error);
        if (status == SHOAL_OK && created_s != NULL) {
            *created_s = sqlite3_column_int64(statement, 1);
        }
    } else if (code == SQLITE_DONE) {
        status = error_set(error, SHOAL_NOT_FOUND, "%s: no profile %s", store->path, key);
    } else {
        status = database_error(store, code, "read", error);
    }
    (void)sqlite3_finalize(statement);
    return status;
}

shoal_status store_run_put(struct store *store, const char *json, int64_t created_s, int64_t *id,
                           struct shoal_error *error) {
    TRY(check_text(store, "run", json, STORE_TEXT_LIMIT / 2, error));
    return change(store, "INSERT INTO runs(json, created_s) VALUES(?, ?)", json, NULL, &created_s,
                  id, error);
}

/* Appends rows until there are no more. */
static shoal_status read_runs(struct store *store, sqlite3_stmt *statement, struct store_run **runs,
                              size_t *count, struct shoal_error *error) {
    size_t capacity = 0;
    for (;;) {
        const int code = sqlite3_step(statement);
        if (code == SQLITE_DONE) {
            return SHOAL_OK;
        }
        if (code != SQLITE_ROW) {
            return database_error(store, code, "read", error);
        }
        if (*count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 16;
            struct store_run *larger = mem_realloc(*runs, capacity * sizeof **runs);
            if (larger == NULL) {
                return error_set(error, SHOAL_NO_MEMORY, "%s: out of memory", store->path);
            }
            *runs = larger;
        }
        struct store_run *run = &(*runs)[*count];
        *run = (struct store_run){.id = sqlite3_column_int64(statement, 0),
                                  .created_s = sqlite3_column_int64(statement, 1)};
        TRY(copy_text(store, statement, 2, &run->json, error));
        (*count)++;
    }
}

shoal_status store_run_list(struct store *store, size_t limit, struct store_run **out,
                            size_t *count, struct shoal_error *error) {
    sqlite3_stmt *statement = NULL;
    const int64_t rows = limit < INT64_MAX ? (int64_t)limit : INT64_MAX;
    int code = sqlite3_prepare_v2(store->database,
                                  "SELECT id, created_s, json FROM runs ORDER BY id DESC LIMIT ?",
                                  -1, &statement, NULL);
    if (code == SQLITE_OK) {
        code = bind(statement, NULL, NULL, &rows);
    }
    struct store_run *runs = NULL;
    size_t read = 0;
    const shoal_status status = code == SQLITE_OK ? read_runs(store, statement, &runs, &read, error)
                                                  : database_error(store, code, "read", error);
    (void)sqlite3_finalize(statement);
    if (status != SHOAL_OK) {
        store_run_list_free(runs, read);
        return status;
    }
    *out = runs;
    *count = read;
    return SHOAL_OK;
}

void store_run_list_free(struct store_run *runs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        mem_free(runs[i].json);
    }
    mem_free(runs);
}
