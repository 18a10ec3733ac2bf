#include "runtime/keys.h"

#include "base/memory.h"
#include "platform/file.h"
#include "runtime/cluster_file.h"
#include "runtime/identity.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define FILE_LIMIT ((size_t)1 << 20)

shoal_status keys_default_path(const char *name, char *path, size_t path_bytes,
                               struct shoal_error *error) {
    TRY(file_data_directory(path, path_bytes, error));
    const size_t used = strlen(path);
    const int length = snprintf(path + used, path_bytes - used, "/%s", name);
    return length > 0 && (size_t)length < path_bytes - used
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID, "the path of %s is too long", name);
}

/* ---- key files ---- */

shoal_status keys_write(const char *path, const struct zmq_keypair *keys,
                        struct shoal_error *error) {
    char text[2 * ZMQ_KEY_TEXT + 32];
    const int length =
        snprintf(text, sizeof text, "public %s\nsecret %s\n", keys->public_key, keys->secret_key);
    const shoal_status status = file_write_private(path, text, (size_t)length, error);
    memset(text, 0, sizeof text);
    return status;
}

/* The next line that is no comment, split at its first blank; blanks at its end do not count. False
 * at the end. */
static bool next_pair(char **cursor, unsigned *line, char **first, char **second) {
    while (**cursor != '\0') {
        char *start = *cursor;
        char *end = start + strcspn(start, "\n");
        *cursor = *end == '\n' ? end + 1 : end;
        while (end > start && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }
        *end = '\0';
        (*line)++;
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

static shoal_status parse_keys(const char *path, char *text, struct zmq_keypair *out,
                               struct shoal_error *error) {
    char *first, *second, *cursor = text;
    unsigned line = 0;
    while (next_pair(&cursor, &line, &first, &second)) {
        const bool public = strcmp(first, "public") == 0, secret = strcmp(first, "secret") == 0;
        if ((!public && !secret) || identity_key_problem(second) != NULL) {
            /* What stands there is not shown: it may be most of a secret. */
            return error_set(error, SHOAL_CORRUPT,
                             "%s:%u: neither 'public KEY' nor 'secret KEY'; is it the key file?",
                             path, line);
        }
        char *place = public ? out->public_key : out->secret_key;
        if (place[0] != '\0') {
            return error_set(error, SHOAL_CORRUPT, "%s:%u: a second line '%s'", path, line, first);
        }
        memcpy(place, second, ZMQ_KEY_TEXT);
    }
    if (out->public_key[0] == '\0' || out->secret_key[0] == '\0') {
        return error_set(error, SHOAL_CORRUPT,
                         "%s:%u: a key file holds a line 'public KEY' and a line 'secret KEY'",
                         path, line);
    }
    char derived[ZMQ_KEY_TEXT];
    if (zmq_curve_public(derived, out->secret_key) != 0 || strcmp(derived, out->public_key) != 0) {
        return error_set(
            error, SHOAL_CORRUPT,
            "%s: its public key is not that of its secret key; move the file away, run "
            "'shoal key' for a new one, and give the others its new public key",
            path);
    }
    return SHOAL_OK;
}

shoal_status keys_read(const char *path, struct zmq_keypair *out, struct shoal_error *error) {
    char *text;
    size_t size;
    struct zmq_keypair keys = {0};
    TRY(file_read_private(path, FILE_LIMIT, &text, &size, error));
    const shoal_status status = parse_keys(path, text, &keys, error);
    memset(text, 0, size);
    mem_free(text);
    if (status == SHOAL_OK) {
        *out = keys;
    }
    memset(&keys, 0, sizeof keys);
    return status;
}

/* ---- allow-lists ---- */

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

/* A cluster file begins with one of its keys, a document mark, or a map in braces; no line 'NAME
 * KEY' does. */
static bool is_cluster_file(const char *text) {
    static const char *const begins[] = {"devices:", "links:", "clients:", "---", "{", "%YAML"};
    while (*text != '\0') {
        const char *start = text + strspn(text, " \t\r\n");
        if (*start != '#') {
            text = start;
            break;
        }
        text = start + strcspn(start, "\n");
    }
    const size_t word = strcspn(text, " \t\r\n");
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        if (strncmp(text, begins[i], strlen(begins[i])) == 0) {
            /* A device may be called "{x"; then 40 characters of a key follow. */
            const char *second = text + word + strspn(text + word, " \t");
            const size_t length = strcspn(second, " \t\r\n");
            char key[ZMQ_KEY_TEXT];
            if (length != ZMQ_KEY_TEXT - 1) {
                return true;
            }
            memcpy(key, second, length);
            key[length] = '\0';
            return identity_key_problem(key) != NULL;
        }
    }
    return false;
}

static shoal_status from_cluster_file(const char *path, const char *text, size_t size,
                                      struct zmq_allowed **out, size_t *count,
                                      struct shoal_error *error) {
    struct cluster_file *file;
    TRY(cluster_file_parse(path, text, size, &file, error));
    const size_t total = (size_t)file->device_count + file->client_count;
    struct zmq_allowed *list = mem_calloc(total, sizeof *list);
    shoal_status status = SHOAL_OK;
    if (list == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    } else {
        for (uint32_t i = 0; i < file->device_count; i++) {
            memcpy(list[i].name, file->devices[i].name, sizeof list[i].name);
            memcpy(list[i].public_key, file->devices[i].key, ZMQ_KEY_TEXT);
        }
        if (file->client_count > 0) {
            memcpy(list + file->device_count, file->clients, file->client_count * sizeof *list);
        }
        *out = list;
        *count = total;
    }
    cluster_file_free(file);
    return status;
}

static shoal_status check_line(const char *path, unsigned line, const char *name, const char *key,
                               const struct zmq_allowed *before, size_t count,
                               struct shoal_error *error) {
    const char *problem = identity_name_problem(name);
    if (problem != NULL) {
        return error_set(error, SHOAL_CORRUPT, "%s:%u: the name '%.80s' %s", path, line, name,
                         problem);
    }
    problem = identity_key_problem(key);
    if (problem != NULL) {
        return error_set(error, SHOAL_CORRUPT,
                         "%s:%u: a line 'NAME KEY' is expected; the key of '%s' %s", path, line,
                         name, problem);
    }
    for (size_t i = 0; i < count; i++) {
        const bool same_name = strcmp(before[i].name, name) == 0;
        if (same_name || strcmp(before[i].public_key, key) == 0) {
            return error_set(error, SHOAL_CORRUPT, "%s:%u: the %s of '%s' stands there twice", path,
                             line, same_name ? "name" : "key", before[i].name);
        }
    }
    return SHOAL_OK;
}

static shoal_status from_lines(const char *path, char *text, struct zmq_allowed **out,
                               size_t *count, struct shoal_error *error) {
    size_t lines = 1, used = 0;
    for (const char *p = text; *p != '\0'; p++) {
        lines += *p == '\n';
    }
    struct zmq_allowed *list = mem_calloc(lines, sizeof *list);
    if (list == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    char *first, *second, *cursor = text;
    unsigned line = 0;
    while (next_pair(&cursor, &line, &first, &second)) {
        if (used == KEYS_MOST_ALLOWED) {
            mem_free(list);
            return error_set(error, SHOAL_CORRUPT, "%s:%u: at most %d lines are possible", path,
                             line, KEYS_MOST_ALLOWED);
        }
        const shoal_status status = check_line(path, line, first, second, list, used, error);
        if (status != SHOAL_OK) {
            mem_free(list);
            return status;
        }
        (void)snprintf(list[used].name, sizeof list[used].name, "%s", first);
        memcpy(list[used].public_key, second, ZMQ_KEY_TEXT);
        used++;
    }
    *out = list;
    *count = used;
    return SHOAL_OK;
}

shoal_status keys_parse_allowed(const char *path, char *text, size_t size, struct zmq_allowed **out,
                                size_t *count, struct shoal_error *error) {
    return is_cluster_file(text) ? from_cluster_file(path, text, size, out, count, error)
                                 : from_lines(path, text, out, count, error);
}

shoal_status keys_read_allowed(const char *path, struct zmq_allowed **out, size_t *count,
                               struct shoal_error *error) {
    char *text;
    size_t size;
    if (file_is_world_writable(path)) {
        return error_set(error, SHOAL_DENIED,
                         "%s: everybody may write this allow-list and so let himself in; run: "
                         "chmod o-w %s",
                         path, path);
    }
    TRY(file_read(path, FILE_LIMIT, &text, &size, error));
    const shoal_status status = keys_parse_allowed(path, text, size, out, count, error);
    mem_free(text);
    return status;
}
