#include "runtime/cluster_file.h"

#include "base/memory.h"
#include "base/units.h"
#include "plan/yaml.h"
#include "platform/file.h"
#include "runtime/cluster.h"
#include "runtime/identity.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LEAST_MEMORY ((size_t)16 << 20)
#define MOST_THREADS 1024

/* ---- addresses ---- */

static bool is_host(const char *text, size_t length) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return length > 0 && length < 254 && strspn(text, allowed) >= length && text[0] != '-' &&
           text[0] != '.';
}

static bool is_ipv6(const char *text, size_t length) {
    char host[INET6_ADDRSTRLEN + 32];
    struct in6_addr address;
    if (length == 0 || length >= sizeof host) {
        return false;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    char *scope = strchr(host, '%'); /* fe80::1%eth0 */
    if (scope != NULL) {
        *scope = '\0';
        if (!is_host(scope + 1, strlen(scope + 1))) {
            return false;
        }
    }
    return inet_pton(AF_INET6, host, &address) == 1;
}

bool cluster_file_split_address(const char *address, char *host, uint16_t *port) {
    static const char scheme[] = "tcp://";
    if (strncmp(address, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *start = address + sizeof scheme - 1, *colon = strrchr(start, ':');
    if (colon == NULL) {
        return false;
    }
    size_t length = (size_t)(colon - start);
    const bool bracketed = length >= 2 && start[0] == '[' && start[length - 1] == ']';
    if (bracketed) {
        start++;
        length -= 2;
    }
    const size_t digits = strspn(colon + 1, "0123456789");
    if (!(bracketed ? is_ipv6(start, length) : is_host(start, length)) || digits == 0 ||
        digits > 5 || colon[1 + digits] != '\0') {
        return false;
    }
    const unsigned long number = strtoul(colon + 1, NULL, 10);
    if (number < 1 || number > 65535) {
        return false;
    }
    memcpy(host, start, length);
    host[length] = '\0';
    *port = (uint16_t)number;
    return true;
}

static bool is_wildcard(const char *host) {
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* ---- one value ---- */

/* As yaml_get, for what must be there; hint says where it comes from. */
static shoal_status need(struct yaml_item map, const char *key, const char *hint,
                         struct yaml_item *out, struct shoal_error *error) {
    *out = map;
    if (!yaml_has(map, key)) {
        return yaml_fail(map, error, "an entry has no \"%s\"; %s", key, hint);
    }
    return yaml_get(map, key, out, error);
}

static shoal_status read_name(struct yaml_item map, char out[TRANSPORT_NAME_BYTES],
                              struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    TRY(need(map, "name", "every device and client has one", &item, error));
    TRY(yaml_string(item, &text, error));
    const char *problem = identity_name_problem(text);
    if (problem == NULL && strcmp(text, CLUSTER_OWNER) == 0) {
        problem = "means the machine that gives the command; choose another name";
    }
    if (problem != NULL) {
        return yaml_fail(item, error, "'%.80s' %s", text, problem);
    }
    (void)snprintf(out, TRANSPORT_NAME_BYTES, "%s", text);
    return SHOAL_OK;
}

static shoal_status read_key(struct yaml_item map, char out[ZMQ_KEY_TEXT],
                             struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    TRY(need(map, "key", "run 'shoal key' on that machine and write what it shows", &item, error));
    TRY(yaml_string(item, &text, error));
    const char *problem = identity_key_problem(text);
    if (problem != NULL) {
        return yaml_fail(item, error, "'%.60s' %s", text, problem);
    }
    memcpy(out, text, ZMQ_KEY_TEXT);
    return SHOAL_OK;
}

static shoal_status read_address(struct yaml_item map, char out[256], struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    char host[256];
    uint16_t port;
    TRY(need(map, "address", "write where its node listens, e.g. \"tcp://192.0.2.11:7700\"", &item,
             error));
    TRY(yaml_string(item, &text, error));
    if (strlen(text) >= 256 || !cluster_file_split_address(text, host, &port)) {
        return yaml_fail(item, error,
                         "'%.100s' is no address; write \"tcp://HOST:PORT\" or "
                         "\"tcp://[IPV6]:PORT\", e.g. \"tcp://192.0.2.11:7700\"",
                         text);
    }
    if (is_wildcard(host)) {
        return yaml_fail(item, error,
                         "'%s' is where a node may listen, not where others reach it; write the "
                         "machine's own address",
                         text);
    }
    (void)snprintf(out, 256, "%s", text);
    return SHOAL_OK;
}

static shoal_status read_memory(struct yaml_item map, size_t *out, struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    if (!yaml_has(map, "memory")) {
        return SHOAL_OK;
    }
    TRY(yaml_get(map, "memory", &item, error));
    TRY(yaml_string(item, &text, error));
    if (!units_parse_size(text, out)) {
        return yaml_fail(item, error, "'%.40s' is no size; write e.g. 800M or 3G", text);
    }
    if (*out < LEAST_MEMORY) {
        return yaml_fail(item, error, "'%.40s' is less than 16M; is a unit missing, as in 3G?",
                         text);
    }
    return SHOAL_OK;
}

static shoal_status read_threads(struct yaml_item map, int *out, struct shoal_error *error) {
    struct yaml_item item;
    uint64_t number;
    if (!yaml_has(map, "threads")) {
        return SHOAL_OK;
    }
    TRY(yaml_get(map, "threads", &item, error));
    TRY(yaml_u64(item, &number, error));
    if (number < 1 || number > MOST_THREADS) {
        return yaml_fail(item, error, "a number from 1 to %d is expected", MOST_THREADS);
    }
    *out = (int)number;
    return SHOAL_OK;
}

/* ---- lists ---- */

/* *out gets an array for the list under key, *count its length; 0 if it is absent or empty. */
static shoal_status open_list(struct yaml_item root, const char *key, uint32_t most,
                              size_t entry_bytes, struct yaml_item *list, void **out,
                              uint32_t *count, struct shoal_error *error) {
    *count = 0;
    if (!yaml_has(root, key)) {
        return SHOAL_OK;
    }
    TRY(yaml_get(root, key, list, error));
    if (yaml_is_null(*list)) {
        return SHOAL_OK;
    }
    if (!yaml_is_list(*list)) {
        return yaml_fail(*list, error, "a list is expected: lines '  - {…}'");
    }
    if (yaml_count(*list) > most) {
        return yaml_fail(*list, error, "%zu entries; at most %u are possible", yaml_count(*list),
                         most);
    }
    const size_t entries = yaml_count(*list);
    *out = mem_calloc(entries > 0 ? entries : 1, entry_bytes);
    if (*out == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu %s", entries, key);
    }
    *count = (uint32_t)entries;
    return SHOAL_OK;
}

static shoal_status read_device(struct yaml_item map, struct cluster_file_device *out,
                                struct shoal_error *error) {
    static const char *const keys[] = {"name", "address", "key", "memory", "threads", NULL};
    TRY(yaml_check_keys(map, keys, error));
    TRY(read_name(map, out->name, error));
    TRY(read_address(map, out->address, error));
    TRY(read_key(map, out->key, error));
    TRY(read_memory(map, &out->memory, error));
    return read_threads(map, &out->threads, error);
}

/* Each in its list, so that a later one can be named as the second. */
static shoal_status refuse_twice(const struct cluster_file *file, struct yaml_item map,
                                 const char *name, const char *key, const char *address,
                                 uint32_t devices, uint32_t clients, struct shoal_error *error) {
    struct yaml_item item;
    for (uint32_t i = 0; i < devices; i++) {
        const struct cluster_file_device *other = &file->devices[i];
        if (strcmp(other->name, name) == 0) {
            TRY(yaml_get(map, "name", &item, error));
            return yaml_fail(item, error, "a device named '%s' stands above", name);
        }
        if (strcmp(other->key, key) == 0) {
            TRY(yaml_get(map, "key", &item, error));
            return yaml_fail(item, error,
                             "this is the key of device '%s' above; every machine has its own%s",
                             other->name,
                             address == NULL ? " (a device may give commands, too: it needs no "
                                               "line under clients)"
                                             : "");
        }
        if (address != NULL && strcasecmp(other->address, address) == 0) {
            TRY(yaml_get(map, "address", &item, error));
            return yaml_fail(item, error, "this is the address of device '%s' above", other->name);
        }
    }
    for (uint32_t i = 0; i < clients; i++) {
        const bool same_name = strcmp(file->clients[i].name, name) == 0;
        if (same_name || strcmp(file->clients[i].public_key, key) == 0) {
            TRY(yaml_get(map, same_name ? "name" : "key", &item, error));
            return yaml_fail(item, error, "client '%s' above has it already",
                             file->clients[i].name);
        }
    }
    return SHOAL_OK;
}

static shoal_status read_devices(struct cluster_file *file, struct yaml_item root,
                                 struct shoal_error *error) {
    struct yaml_item list, map;
    void *array = NULL;
    uint32_t count;
    if (!yaml_has(root, "devices")) {
        return yaml_fail(root, error,
                         "has no \"devices\"; a cluster file begins with 'devices:' and lines "
                         "'  - {name: …, address: …, key: …}' ('shoal key' shows them)");
    }
    TRY(open_list(root, "devices", CLUSTER_FILE_MAX_DEVICES, sizeof *file->devices, &list, &array,
                  &count, error));
    file->devices = array;
    if (count == 0) {
        TRY(yaml_get(root, "devices", &list, error));
        return yaml_fail(list, error,
                         "lists no device; run 'shoal key' on each machine and write "
                         "the line that it shows");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_file_device *device = &file->devices[i];
        yaml_list_at(list, i, &map);
        TRY(read_device(map, device, error));
        TRY(refuse_twice(file, map, device->name, device->key, device->address, i, 0, error));
        file->device_count = i + 1;
    }
    return SHOAL_OK;
}

static shoal_status read_clients(struct cluster_file *file, struct yaml_item root,
                                 struct shoal_error *error) {
    static const char *const keys[] = {"name", "key", NULL};
    struct yaml_item list, map;
    void *array = NULL;
    uint32_t count;
    TRY(open_list(root, "clients", CLUSTER_FILE_MAX_CLIENTS, sizeof *file->clients, &list, &array,
                  &count, error));
    file->clients = array;
    for (uint32_t i = 0; i < count; i++) {
        struct zmq_allowed *client = &file->clients[i];
        yaml_list_at(list, i, &map);
        TRY(yaml_check_keys(map, keys, error));
        TRY(read_name(map, client->name, error));
        TRY(read_key(map, client->public_key, error));
        TRY(refuse_twice(file, map, client->name, client->public_key, NULL, file->device_count, i,
                         error));
        file->client_count = i + 1;
    }
    return SHOAL_OK;
}

/* ---- links ---- */

static shoal_status read_end(const struct cluster_file *file, struct yaml_item map, const char *key,
                             uint32_t *out, struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    TRY(need(map, key, "a link has \"from\" and \"to\"", &item, error));
    TRY(yaml_string(item, &text, error));
    if (strcmp(text, "*") == 0 || strcmp(text, CLUSTER_OWNER) == 0) {
        *out = text[0] == '*' ? CLUSTER_FILE_ANY : CLUSTER_FILE_OWNER;
        return SHOAL_OK;
    }
    for (uint32_t i = 0; i < file->device_count; i++) {
        if (strcmp(file->devices[i].name, text) == 0) {
            *out = i;
            return SHOAL_OK;
        }
    }
    return yaml_fail(
        item, error,
        "no device is named '%.80s'; write a device's name, \"*\" for any, or owner for "
        "the machine that gives the command",
        text);
}

static shoal_status read_figures(struct yaml_item map, struct cluster_file_link *out,
                                 struct shoal_error *error) {
    struct yaml_item item;
    const char *text;
    out->rate = 0;
    out->delay_s = -1;
    if (yaml_has(map, "rate")) {
        TRY(yaml_get(map, "rate", &item, error));
        TRY(yaml_string(item, &text, error));
        if (!units_parse_rate(text, &out->rate)) {
            return yaml_fail(item, error, "'%.40s' is no rate; write e.g. 80Mbit or 1Gbit", text);
        }
    }
    if (yaml_has(map, "delay")) {
        TRY(yaml_get(map, "delay", &item, error));
        TRY(yaml_string(item, &text, error));
        if (!units_parse_time(text, &out->delay_s)) {
            return yaml_fail(item, error, "'%.40s' is no delay; write e.g. 3ms or 200us", text);
        }
    }
    if (out->rate <= 0 && out->delay_s < 0) {
        return yaml_fail(map, error,
                         "declares neither \"rate\" nor \"delay\"; without the line both are "
                         "measured");
    }
    return SHOAL_OK;
}

static shoal_status read_links(struct cluster_file *file, struct yaml_item root,
                               struct shoal_error *error) {
    static const char *const keys[] = {"from", "to", "rate", "delay", NULL};
    struct yaml_item list, map;
    void *array = NULL;
    uint32_t count;
    TRY(open_list(root, "links", CLUSTER_FILE_MAX_LINKS, sizeof *file->links, &list, &array, &count,
                  error));
    file->links = array;
    for (uint32_t i = 0; i < count; i++) {
        struct cluster_file_link *link = &file->links[i];
        yaml_list_at(list, i, &map);
        TRY(yaml_check_keys(map, keys, error));
        TRY(read_end(file, map, "from", &link->from, error));
        TRY(read_end(file, map, "to", &link->to, error));
        if (link->from == link->to && link->from != CLUSTER_FILE_ANY) {
            return yaml_fail(map, error, "a link needs two ends");
        }
        TRY(read_figures(map, link, error));
        for (uint32_t k = 0; k < i; k++) {
            if (file->links[k].from == link->from && file->links[k].to == link->to) {
                return yaml_fail(map, error, "this pair stands above already");
            }
        }
        file->link_count = i + 1;
    }
    return SHOAL_OK;
}

/* How well an entry fits; -1: not at all. */
static int fit(const struct cluster_file_link *link, uint32_t from, uint32_t to) {
    if ((link->from != from && link->from != CLUSTER_FILE_ANY) ||
        (link->to != to && link->to != CLUSTER_FILE_ANY)) {
        return -1;
    }
    return (link->from == from ? 2 : 0) + (link->to == to ? 1 : 0);
}

void cluster_file_link_find(const struct cluster_file *file, uint32_t from, uint32_t to,
                            double *rate, double *delay_s) {
    int rate_fit = -1, delay_fit = -1;
    *rate = 0;
    *delay_s = -1;
    for (uint32_t i = 0; i < file->link_count; i++) {
        const struct cluster_file_link *link = &file->links[i];
        const int now = fit(link, from, to);
        if (link->rate > 0 && now > rate_fit) {
            *rate = link->rate;
            rate_fit = now;
        }
        if (link->delay_s >= 0 && now > delay_fit) {
            *delay_s = link->delay_s;
            delay_fit = now;
        }
    }
}

/* ---- the file ---- */

static shoal_status read_root(struct cluster_file *file, struct yaml_item root,
                              struct shoal_error *error) {
    static const char *const keys[] = {"devices", "links", "clients", NULL};
    if (yaml_is_null(root)) {
        return yaml_fail(root, error, "is empty; a cluster file begins with 'devices:'");
    }
    TRY(yaml_check_keys(root, keys, error));
    TRY(read_devices(file, root, error));
    TRY(read_clients(file, root, error));
    return read_links(file, root, error);
}

shoal_status cluster_file_parse(const char *path, const char *text, size_t bytes,
                                struct cluster_file **out, struct shoal_error *error) {
    struct yaml *yaml;
    TRY(yaml_read_text(path, text, bytes, &yaml, error));
    struct cluster_file *file = mem_calloc(1, sizeof *file);
    shoal_status status = SHOAL_OK;
    if (file == NULL || (file->path = mem_strdup(path)) == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    } else {
        status = read_root(file, yaml_root(yaml), error);
    }
    yaml_destroy(yaml);
    if (status != SHOAL_OK) {
        cluster_file_free(file);
        /* A missing key is the file's fault, not a missing file. */
        if (status == SHOAL_NOT_FOUND && error != NULL) {
            error->code = SHOAL_CORRUPT;
        }
        return status == SHOAL_NOT_FOUND ? SHOAL_CORRUPT : status;
    }
    *out = file;
    return SHOAL_OK;
}

shoal_status cluster_file_read(const char *path, struct cluster_file **out,
                               struct shoal_error *error) {
    char *text;
    size_t bytes;
    const shoal_status read = file_read(path, CLUSTER_FILE_BYTES, &text, &bytes, error);
    if (read == SHOAL_NOT_FOUND) {
        return error_wrap(error, read, "the cluster file");
    }
    TRY(read);
    const shoal_status status = cluster_file_parse(path, text, bytes, out, error);
    mem_free(text);
    return status;
}

void cluster_file_free(struct cluster_file *file) {
    if (file != NULL) {
        mem_free(file->path);
        mem_free(file->devices);
        mem_free(file->links);
        mem_free(file->clients);
        mem_free(file);
    }
}
