/* What the tests of contents share. Included after the C library's and cmocka's headers, once a
 * program. */
#ifndef STORE_CONTENTS_TESTING_H
#define STORE_CONTENTS_TESTING_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "platform/file.h"
#include "store/contents.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST ((size_t)1 << 21)

static struct shoal_error error;
static char directory[512];
static unsigned char data[MOST], back[MOST];

static inline int make_directory(void **unused) {
    (void)unused;
    return file_make_temporary(directory, sizeof directory, &error) == SHOAL_OK ? 0 : -1;
}

static inline int remove_directory(void **unused) {
    (void)unused;
    file_remove_tree(directory);
    return 0;
}

static inline void expect_text(const char *part) {
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
}

static inline struct contents *open_contents(uint64_t quota, bool lock) {
    const struct contents_options options = {
        .directory = directory, .quota_bytes = quota, .lock = lock};
    struct contents *contents;
    if (contents_open(&options, &contents, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return contents;
}

/* Content n in data, its key in the text. */
static inline void draw(uint64_t n, size_t size, char key[DIGEST_TEXT]) {
    const uint64_t stream = random_stream(n, "content");
    for (size_t i = 0; i < size; i++) {
        data[i] = (unsigned char)random_u32(stream, i);
    }
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, data, size);
    digest_final(&digest, key);
}

static inline shoal_status put(struct contents *contents, const char *key, size_t size) {
    struct contents_writer *writer;
    uint64_t have;
    TRY(contents_write_begin(contents, key, size, &writer, &have, &error));
    for (size_t at = (size_t)have; at < size;) {
        const size_t piece = size - at < 1000 ? size - at : 1000;
        const shoal_status status = contents_write(writer, data + at, piece, &error);
        if (status != SHOAL_OK) {
            contents_write_abandon(writer);
            return status;
        }
        at += piece;
    }
    return contents_write_commit(writer, &error);
}

static inline void put_drawn(struct contents *contents, uint64_t n, size_t size,
                             char key[DIGEST_TEXT]) {
    draw(n, size, key);
    if (put(contents, key, size) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
}

static inline char *path_of(const char *key, bool partial) {
    static char path[700];
    (void)snprintf(path, sizeof path, "%s/%.*s/%.*s", directory, partial ? 7 : 2,
                   partial ? "partial" : key, DIGEST_TEXT, key);
    return path;
}

/* As if it had been used so many days ago. */
static inline void age(const char *key, bool partial, int days) {
    struct timespec times[2];
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &times[0]), 0);
    times[0].tv_sec -= (time_t)days * 86400;
    times[1] = times[0];
    assert_int_equal(utimensat(AT_FDCWD, path_of(key, partial), times, 0), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_directory, remove_directory)

#endif
