/* The store: what is put is got, in many processes at once, and each thing that can go wrong with a
 * file. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "platform/file.h"
#include "store/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct shoal_error error;
static char directory[512], database[600];

static int make_directory(void **unused) {
    (void)unused;
    if (file_make_temporary(directory, sizeof directory, &error) != SHOAL_OK) {
        return -1;
    }
    (void)snprintf(database, sizeof database, "%s/shoal.db", directory);
    return 0;
}

static int remove_directory(void **unused) {
    (void)unused;
    (void)chmod(directory, 0700);
    file_remove_tree(directory);
    return 0;
}

static struct store *open_store(void) {
    struct store *store;
    if (store_open(directory, &store, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return store;
}

static void expect_text(const char *part) {
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
}

static void test_profiles_are_kept(void **unused) {
    (void)unused;
    struct store *store = open_store();
    assert_string_equal(store_path(store), database);
    char *json;
    int64_t created;
    assert_int_equal(store_profile_get(store, "k", &json, &created, &error), SHOAL_NOT_FOUND);
    expect_text("no profile k");
    assert_int_equal(store_profile_put(store, "k", "{\"a\": 1}", 17, &error), SHOAL_OK);
    assert_int_equal(store_profile_put(store, "k", "{\"a\": 2}", 18, &error), SHOAL_OK);
    assert_int_equal(store_profile_put(store, "it's; --", "", 19, &error), SHOAL_OK);
    store_close(store);
    store = open_store();
    assert_int_equal(store_profile_get(store, "k", &json, &created, &error), SHOAL_OK);
    assert_string_equal(json, "{\"a\": 2}");
    assert_int_equal(created, 18);
    mem_free(json);
    assert_int_equal(store_profile_get(store, "it's; --", &json, NULL, &error), SHOAL_OK);
    assert_string_equal(json, "");
    mem_free(json);
    assert_int_equal(store_profile_remove(store, "k", &error), SHOAL_OK);
    assert_int_equal(store_profile_remove(store, "k", &error), SHOAL_OK);
    assert_int_equal(store_profile_get(store, "k", &json, &created, &error), SHOAL_NOT_FOUND);
    store_close(store);
}

static void test_runs_are_listed_newest_first(void **unused) {
    (void)unused;
    struct store *store = open_store();
    struct store_run *runs;
    size_t count;
    assert_int_equal(store_run_list(store, 10, &runs, &count, &error), SHOAL_OK);
    assert_int_equal(count, 0);
    store_run_list_free(runs, count);
    int64_t id, last = 0;
    for (int i = 0; i < 40; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "{\"run\": %d}", i);
        assert_int_equal(store_run_put(store, text, 100 + i, &id, &error), SHOAL_OK);
        assert_true(id > last);
        last = id;
    }
    assert_int_equal(store_run_list(store, 30, &runs, &count, &error), SHOAL_OK);
    assert_int_equal(count, 30);
    assert_string_equal(runs[0].json, "{\"run\": 39}");
    assert_string_equal(runs[29].json, "{\"run\": 10}");
    assert_int_equal(runs[0].id, last);
    assert_int_equal(runs[29].created_s, 110);
    store_run_list_free(runs, count);
    store_close(store);
}

static void test_texts_beyond_their_limit(void **unused) {
    (void)unused;
    struct store *store = open_store();
    char *key = mem_calloc(STORE_KEY_LIMIT + 2, 1);
    memset(key, 'k', STORE_KEY_LIMIT + 1);
    assert_int_equal(store_profile_put(store, key, "{}", 0, &error), SHOAL_INVALID);
    mem_free(key);
    char *text = mem_calloc(STORE_TEXT_LIMIT / 2 + 2, 1);
    memset(text, ' ', STORE_TEXT_LIMIT / 2 + 1);
    assert_int_equal(store_profile_put(store, "k", text, 0, &error), SHOAL_INVALID);
    assert_int_equal(store_run_put(store, text, 0, NULL, &error), SHOAL_INVALID);
    mem_free(text);
    store_close(store);
}

/* Children open (and one creates) the database at once, and each puts profiles and runs. */
static void test_many_processes_write_at_once(void **unused) {
    (void)unused;
    enum { PROCESSES = 4, RECORDS = 15 };
    pid_t children[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        children[p] = fork();
        assert_true(children[p] >= 0);
        if (children[p] == 0) {
            struct store *store;
            bool good = store_open(directory, &store, &error) == SHOAL_OK;
            for (int i = 0; i < RECORDS && good; i++) {
                char key[32];
                (void)snprintf(key, sizeof key, "%d-%d", p, i);
                good = store_profile_put(store, key, key, i, &error) == SHOAL_OK &&
                       store_profile_put(store, "shared", key, i, &error) == SHOAL_OK &&
                       store_run_put(store, key, i, NULL, &error) == SHOAL_OK;
            }
            if (!good) {
                (void)fprintf(stderr, "%s\n", error.text);
            }
            _exit(good ? 0 : 1);
        }
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status;
        assert_int_equal(waitpid(children[p], &status, 0), children[p]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct store *store = open_store();
    for (int p = 0; p < PROCESSES; p++) {
        for (int i = 0; i < RECORDS; i++) {
            char key[32], *json;
            (void)snprintf(key, sizeof key, "%d-%d", p, i);
            assert_int_equal(store_profile_get(store, key, &json, NULL, &error), SHOAL_OK);
            assert_string_equal(json, key);
            mem_free(json);
        }
    }
    struct store_run *runs;
    size_t count;
    assert_int_equal(store_run_list(store, 1000, &runs, &count, &error), SHOAL_OK);
    assert_int_equal(count, PROCESSES * RECORDS);
    store_run_list_free(runs, count);
    store_close(store);
}

static void run_sql(const char *sql) {
    sqlite3 *connection;
    assert_int_equal(sqlite3_open(database, &connection), SQLITE_OK);
    assert_int_equal(sqlite3_exec(connection, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(connection), SQLITE_OK);
}

static void test_a_newer_schema_is_refused(void **unused) {
    (void)unused;
    store_close(open_store());
    run_sql("UPDATE schema SET version = 7");
    struct store *store;
    assert_int_equal(store_open(directory, &store, &error), SHOAL_VERSION);
    expect_text("version 7, this program knows up to 1");
    expect_text(database);
}

static void test_foreign_databases_are_refused(void **unused) {
    (void)unused;
    run_sql("CREATE TABLE recipes(name TEXT)");
    struct store *store;
    assert_int_equal(store_open(directory, &store, &error), SHOAL_CORRUPT);
    expect_text("not one of Shoal's");
    assert_int_equal(unlink(database), 0);
    store_close(open_store());
    run_sql("DELETE FROM schema");
    assert_int_equal(store_open(directory, &store, &error), SHOAL_CORRUPT);
    expect_text("which version");
}

static void test_a_file_that_is_no_database(void **unused) {
    (void)unused;
    static const char text[] =
        "this is not a database, but long enough to have a header, one would think, or not?"
        "this is not a database, but long enough to have a header, one would think, or not?";
    assert_int_equal(file_write_atomic(database, text, sizeof text, &error), SHOAL_OK);
    struct store *store;
    assert_int_equal(store_open(directory, &store, &error), SHOAL_CORRUPT);
    expect_text(database);
    expect_text("move it away (mv ");
}

static void test_a_damaged_database(void **unused) {
    (void)unused;
    struct store *store = open_store();
    char text[9000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    for (int i = 0; i < 30; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key-%d", i);
        assert_int_equal(store_profile_put(store, key, text, i, &error), SHOAL_OK);
    }
    store_close(store);
    struct stat status;
    assert_int_equal(stat(database, &status), 0);
    const int fd = open(database, O_WRONLY);
    assert_true(fd >= 0);
    memset(text, 0x7f, sizeof text);
    for (off_t at = (off_t)2 * 4096; at < status.st_size;
         at += (off_t)sizeof text) { /* the first page and the schema stay */
        assert_true(pwrite(fd, text, sizeof text, at) == (ssize_t)sizeof text);
    }
    assert_int_equal(close(fd), 0);
    if (store_open(directory, &store, &error) == SHOAL_OK) { /* the damage shows when it is read */
        int corrupt = 0;
        for (int i = 0; i < 30; i++) {
            char key[16], *json;
            (void)snprintf(key, sizeof key, "key-%d", i);
            const shoal_status got = store_profile_get(store, key, &json, NULL, &error);
            assert_int_not_equal(got, SHOAL_OK);
            corrupt += got == SHOAL_CORRUPT ? 1 : 0;
        }
        assert_true(corrupt > 0);
        assert_int_equal(store_profile_get(store, "key-3", &(char *){NULL}, NULL, &error),
                         SHOAL_CORRUPT);
        store_close(store);
    }
    expect_text("move it away");
}

static void test_directories_that_cannot_be_made(void **unused) {
    (void)unused;
    char path[700];
    assert_int_equal(file_write_atomic(database, "x", 1, &error), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/below", database);
    struct store *store;
    assert_int_equal(store_open(path, &store, &error), SHOAL_IO);
    (void)snprintf(path, sizeof path, "%s/deep/er", directory);
    assert_int_equal(store_open(path, &store, &error), SHOAL_OK);
    store_close(store);
    (void)snprintf(path, sizeof path, "%s/odd/shoal.db", directory);
    assert_int_equal(file_make_directories(path, &error), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/odd", directory);
    assert_int_equal(store_open(path, &store, &error), SHOAL_IO); /* the database is a directory */
    expect_text("odd/shoal.db");
}

static void test_a_read_only_directory_can_be_read(void **unused) {
    (void)unused;
    if (geteuid() == 0) { /* root may write anywhere: become nobody, in a child */
        assert_int_equal(chmod(directory, 0755), 0);
    }
    struct store *store = open_store();
    assert_int_equal(store_profile_put(store, "k", "{}", 1, &error), SHOAL_OK);
    store_close(store);
    assert_int_equal(chmod(database, 0444), 0);
    assert_int_equal(chmod(directory, 0555), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(2);
        }
        char *json = NULL;
        bool good = store_open(directory, &store, &error) == SHOAL_OK &&
                    store_profile_get(store, "k", &json, NULL, &error) == SHOAL_OK &&
                    strcmp(json, "{}") == 0;
        good = good && store_profile_put(store, "k", "[]", 1, &error) == SHOAL_IO &&
               strstr(error.text, "read-only") != NULL && strstr(error.text, database) != NULL;
        if (!good) {
            (void)fprintf(stderr, "%s\n", error.text);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        print_message("SKIPPED: cannot become another user\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_full_disk(void **unused) {
    (void)unused;
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit limit = {200000, 200000};
        struct store *store;
        bool good = signal(SIGXFSZ, SIG_IGN) != SIG_ERR &&
                    store_open(directory, &store, &error) == SHOAL_OK &&
                    store_profile_put(store, "small", "{}", 1, &error) == SHOAL_OK &&
                    setrlimit(RLIMIT_FSIZE, &limit) == 0;
        char *large = mem_calloc(1000001, 1);
        memset(large, ' ', 1000000);
        good = good && store_profile_put(store, "large", large, 1, &error) == SHOAL_NO_SPACE &&
               strstr(error.text, database) != NULL;
        char *json;
        good = good && store_profile_get(store, "large", &json, NULL, &error) == SHOAL_NOT_FOUND &&
               store_profile_get(store, "small", &json, NULL, &error) == SHOAL_OK &&
               store_profile_put(store, "more", "{}", 1, &error) == SHOAL_OK;
        if (!good) {
            (void)fprintf(stderr, "%s\n", error.text);
        }
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    struct store *store = open_store();
    assert_int_equal(store_run_put(store, "{}", 1, NULL, &error), SHOAL_OK);
    assert_int_equal(store_profile_put(store, "k", "{}", 1, &error), SHOAL_OK);
    struct store_run *runs;
    size_t count;
    char *json;
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_after(n);
        const shoal_status status = store_run_list(store, 5, &runs, &count, &error);
        mem_fail_after(0);
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    mem_fail_after(1);
    const shoal_status got = store_profile_get(store, "k", &json, NULL, &error);
    mem_fail_after(0);
    assert_int_equal(got, SHOAL_NO_MEMORY);
    store_close(store);
    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_after(n);
        const shoal_status status = store_open(directory, &store, &error);
        mem_fail_after(0);
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_profiles_are_kept),
        TEST(test_runs_are_listed_newest_first),
        TEST(test_texts_beyond_their_limit),
        TEST(test_many_processes_write_at_once),
        TEST(test_a_newer_schema_is_refused),
        TEST(test_foreign_databases_are_refused),
        TEST(test_a_file_that_is_no_database),
        TEST(test_a_damaged_database),
        TEST(test_directories_that_cannot_be_made),
        TEST(test_a_read_only_directory_can_be_read),
        TEST(test_a_full_disk),
        TEST(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
