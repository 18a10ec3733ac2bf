/* Keys, the allow-list, and the ZAP handler that asks it (https://rfc.zeromq.org/spec/27/). */
#include "transport/zmq/zmq_internal.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

bool auth_key_is_sound(const char *text) {
    uint8_t key[KEY_BYTES];
    return text != NULL && strlen(text) == ZMQ_KEY_TEXT - 1 && zmq_z85_decode(key, text) != NULL;
}

shoal_status zmq_keypair_make(struct zmq_keypair *out, struct shoal_error *error) {
    struct zmq_keypair pair;
    if (zmq_curve_keypair(pair.public_key, pair.secret_key) != 0) {
        return error_set(error, SHOAL_UNSUPPORTED, "this libzmq was built without CURVE");
    }
    *out = pair;
    return SHOAL_OK;
}

void auth_list_free(struct allow_list *list) {
    mem_free(list->entries);
    mem_free(list->keys);
    *list = (struct allow_list){0};
}

static shoal_status check_entry(const struct allow_list *list, const struct zmq_allowed *entry,
                                struct shoal_error *error) {
    if (entry->name[0] == '\0' || memchr(entry->name, '\0', sizeof entry->name) == NULL) {
        return error_set(error, SHOAL_INVALID, "allow-list: a device has no name, or one too long");
    }
    if (strchr(entry->name, TRANSPORT_SESSION_MARK) != NULL ||
        strlen(entry->name) > TRANSPORT_LISTED_BYTES) {
        return error_set(error, SHOAL_INVALID,
                         "allow-list: a name has at most %d bytes and no '%c': \"%s\"",
                         TRANSPORT_LISTED_BYTES, TRANSPORT_SESSION_MARK, entry->name);
    }
    if (memchr(entry->public_key, '\0', ZMQ_KEY_TEXT) == NULL ||
        !auth_key_is_sound(entry->public_key)) {
        return error_set(error, SHOAL_INVALID, "allow-list: the key of %s is no z85 public key",
                         entry->name);
    }
    if (auth_find_name(list, entry->name) != NULL) {
        return error_set(error, SHOAL_INVALID, "allow-list: %s is on it twice", entry->name);
    }
    const struct zmq_allowed *same = auth_find_key(list, entry->public_key);
    if (same != NULL) {
        return error_set(error, SHOAL_INVALID, "allow-list: %s and %s have one key", same->name,
                         entry->name);
    }
    return SHOAL_OK;
}

shoal_status auth_list_make(const struct zmq_allowed *allowed, size_t count, struct allow_list *out,
                            struct shoal_error *error) {
    struct allow_list list = {.entries = mem_calloc(count, sizeof *list.entries),
                              .keys = mem_calloc(count, KEY_BYTES)};
    shoal_status status = SHOAL_OK;
    if (list.entries == NULL || list.keys == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "no memory for an allow-list of %zu", count);
    }
    for (size_t i = 0; i < count && status == SHOAL_OK; i++) {
        status = check_entry(&list, &allowed[i], error);
        if (status == SHOAL_OK) {
            list.entries[i] = allowed[i];
            (void)zmq_z85_decode(list.keys[i], allowed[i].public_key);
            list.count++;
        }
    }
    if (status != SHOAL_OK) {
        auth_list_free(&list);
        return status;
    }
    *out = list;
    return SHOAL_OK;
}

const struct zmq_allowed *auth_find_name(const struct allow_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->entries[i].name, name) == 0) {
            return &list->entries[i];
        }
    }
    return NULL;
}

const struct zmq_allowed *auth_find_key(const struct allow_list *list, const char *key_text) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->entries[i].public_key, key_text) == 0) {
            return &list->entries[i];
        }
    }
    return NULL;
}

/* Whose key this is, into name; false if nobody's. */
static bool admit(struct endpoint *e, const uint8_t key[KEY_BYTES],
                  char name[TRANSPORT_NAME_BYTES]) {
    bool found = false;
    (void)pthread_mutex_lock(&e->mutex);
    for (size_t i = 0; i < e->allow.count && !found; i++) {
        if (memcmp(e->allow.keys[i], key, KEY_BYTES) == 0) {
            (void)snprintf(name, TRANSPORT_NAME_BYTES, "%s", e->allow.entries[i].name);
            found = true;
        }
    }
    (void)pthread_mutex_unlock(&e->mutex);
    return found;
}

static void answer(void *zap, const void *request, size_t request_bytes, const char *name) {
    const char *status = name != NULL ? "200" : "400";
    const char *text = name != NULL ? "OK" : "not on the allow-list";
    (void)zmq_send(zap, "1.0", 3, ZMQ_SNDMORE);
    (void)zmq_send(zap, request, request_bytes, ZMQ_SNDMORE);
    (void)zmq_send(zap, status, 3, ZMQ_SNDMORE);
    (void)zmq_send(zap, text, strlen(text), ZMQ_SNDMORE);
    (void)zmq_send(zap, name != NULL ? name : "", name != NULL ? strlen(name) : 0, ZMQ_SNDMORE);
    (void)zmq_send(zap, "", 0, 0);
}

/* One request; false: there is none. */
static bool read_request(void *zap, struct zap_request *out) {
    int more = 1;
    size_t more_bytes = sizeof more;
    out->count = 0;
    while (more) {
        uint8_t rest[ZAP_FRAME_BYTES];
        uint8_t *to = out->count < ZAP_FRAMES ? out->frames[out->count] : rest;
        const int got = zmq_recv(zap, to, ZAP_FRAME_BYTES, ZMQ_DONTWAIT);
        if (got < 0) {
            return false;
        }
        if (out->count < ZAP_FRAMES) {
            out->sizes[out->count] = (size_t)got;
        }
        out->count++;
        (void)zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &more_bytes);
    }
    return true;
}

bool auth_serve(struct endpoint *e) {
    struct zap_request request;
    if (!read_request(e->zap, &request)) {
        return false;
    }
    char name[TRANSPORT_NAME_BYTES] = "";
    const uint8_t *key = zap_key(&request);
    const bool admitted = key != NULL && admit(e, key, name);
    if (admitted) {
        e->admitted++;
    } else {
        char who[64], key_text[ZMQ_KEY_TEXT] = "none", text[128];
        zap_address(&request, who, sizeof who);
        if (key != NULL) {
            (void)zmq_z85_encode(key_text, key, KEY_BYTES);
        }
        (void)snprintf(text, sizeof text, "key %s is not on the allow-list", key_text);
        io_refuse(e, REFUSED_KEY, who, text);
    }
    const size_t id = request.count > ZAP_REQUEST ? request.sizes[ZAP_REQUEST] : 0;
    answer(e->zap, request.frames[ZAP_REQUEST], id < ZAP_FRAME_BYTES ? id : ZAP_FRAME_BYTES,
           admitted ? name : NULL);
    return true;
}
