#include "runtime/keys.h"

#include "base/memory.h"
#include "platform/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_LIMIT ((size_t)1 << 20)
#define KEY_LENGTH (ZMQ_KEY_TEXT - 1)

/* Z85 of ZeroMQ's RFC 32. */
static bool is_z85(const char *text, size_t length) {
    static const char digits[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    return length == KEY_LENGTH && strspn(text, digits) >= length;
}

shoal_status keys_write(const char *path, const struct zmq_keypair *keys,
                        struct shoal_error *error) {
    char text[2 * ZMQ_KEY_TEXT + 32];
    const int length =
        snprintf(text, sizeof text, "public %s\nsecret %s\n", keys->public_key, keys->secret_key);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return error_errno(error, errno, "%s", path);
    }
    const ssize_t written = write(fd, text, (size_t)length);
    const int saved = errno;
    if (close(fd) != 0 || written != length) {
        (void)unlink(path);
        return error_errno(error, written < 0 ? saved : ENOSPC, "%s", path);
    }
    return SHOAL_OK;
}

/* The next line that is no comment, split at its first blank. False at the end. */
static bool next_pair(char **cursor, unsigned *line, char **first, char **second) {
    while (**cursor != '\0') {
        char *start = *cursor;
        char *end = start + strcspn(start, "\n");
        *cursor = *end == '\n' ? end + 1 : end;
        *end = '\0';
        (*line)++;
        end = start + strcspn(start, "\r");
        *end = '\0';
        if (*start == '\0' || *start == '#') {
            continue;
        }
        char *gap = start + strcspn(start, " \t");
        *second = gap + strspn(gap, " \t");
        *gap = '\0';
        *first = start;
        return true;
    }
    return false;
}

shoal_status keys_read(const char *path, struct zmq_keypair *out, struct shoal_error *error) {
    struct stat status;
    if (stat(path, &status) != 0) {
        return error_errno(error, errno, "%s", path);
    }
    if ((status.st_mode & 077) != 0) {
        return error_set(error, SHOAL_DENIED,
                         "%s: others may read this key file; run: chmod 600 %s", path, path);
    }
    char *text, *first, *second;
    TRY(file_read(path, FILE_LIMIT, &text, NULL, error));
    struct zmq_keypair keys = {0};
    unsigned line = 0;
    char *cursor = text;
    shoal_status result = SHOAL_OK;
    while (result == SHOAL_OK && next_pair(&cursor, &line, &first, &second)) {
        const bool public = strcmp(first, "public") == 0, secret = strcmp(first, "secret") == 0;
        if ((!public && !secret) || !is_z85(second, strlen(second))) {
            result = error_set(error, SHOAL_CORRUPT,
                               "%s: line %u is neither 'public KEY' nor 'secret KEY'", path, line);
        } else {
            memcpy(public ? keys.public_key : keys.secret_key, second, ZMQ_KEY_TEXT);
        }
    }
    memset(text, 0, strlen(text));
    mem_free(text);
    if (result == SHOAL_OK && (keys.public_key[0] == '\0' || keys.secret_key[0] == '\0')) {
        result =
            error_set(error, SHOAL_CORRUPT,
                      "%s: a key file holds a line 'public KEY' and a line 'secret KEY'", path);
    }
    if (result == SHOAL_OK) {
        *out = keys;
    }
    return result;
}

shoal_status keys_write_allowed(const char *path, const struct zmq_allowed *allowed, size_t count,
                                struct shoal_error *error) {
    const size_t size = count * (TRANSPORT_NAME_BYTES + ZMQ_KEY_TEXT + 2) + 1;
    char *text = mem_alloc(size);
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s %s\n", allowed[i].name,
                                 allowed[i].public_key);
    }
    const shoal_status status = file_write_atomic(path, text, used, error);
    mem_free(text);
    return status;
}

shoal_status keys_read_allowed(const char *path, struct zmq_allowed **out, size_t *count,
                               struct shoal_error *error) {
    char *text, *first, *second;
    TRY(file_read(path, FILE_LIMIT, &text, NULL, error));
    size_t lines = 1;
    for (const char *p = text; *p != '\0'; p++) {
        lines += *p == '\n';
    }
    struct zmq_allowed *list = mem_calloc(lines, sizeof *list);
    shoal_status result =
        list != NULL ? SHOAL_OK : error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    size_t used = 0;
    unsigned line = 0;
    char *cursor = text;
    while (result == SHOAL_OK && next_pair(&cursor, &line, &first, &second)) {
        if (*first == '\0' || strlen(first) >= TRANSPORT_NAME_BYTES ||
            !is_z85(second, strlen(second))) {
            result = error_set(error, SHOAL_CORRUPT, "%s: line %u is not 'NAME KEY'", path, line);
        } else {
            (void)snprintf(list[used].name, sizeof list[used].name, "%s", first);
            memcpy(list[used].public_key, second, ZMQ_KEY_TEXT);
            used++;
        }
    }
    mem_free(text);
    if (result != SHOAL_OK) {
        mem_free(list);
        return result;
    }
    *out = list;
    *count = used;
    return SHOAL_OK;
}
