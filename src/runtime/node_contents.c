/* What a device does with contents: says what it has, fetches, serves, keeps what is held. */
#include "runtime/node_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "runtime/transfer.h"

#include <stdio.h>
#include <string.h>

#define MAX_HAVE 256
#define MAX_FETCH 64
#define MAX_HELD ((size_t)1 << 17) /* of one peer */

/* A content that is pinned for a peer. */
struct held {
    char key[DIGEST_TEXT];
    uint64_t bytes; /* 0: it is there */
};

struct holder {
    struct holder *next;
    char peer[TRANSPORT_NAME_BYTES];
    struct held *held;
    size_t count, capacity;
};

struct node_contents {
    struct node *node;
    struct contents *contents;
    struct transfer *transfer;
    struct holder *holders;
};

/* ---- events ---- */

static void send_event(struct node_contents *here, const char *peer, json_t *event) {
    struct shoal_error error;
    if (control_send(here->node->transport, peer, WIRE_EVENT, event, &error) != SHOAL_OK) {
        log_warn("%s cannot be told about what it wanted fetched: %s", peer, error.text);
    }
}

static struct holder *find_holder(const struct node_contents *here, const char *peer) {
    struct holder *holder = here->holders;
    while (holder != NULL && strcmp(holder->peer, peer) != 0) {
        holder = holder->next;
    }
    return holder;
}

static void on_done(void *context, const struct transfer_result *result) {
    struct node_contents *here = context;
    struct holder *holder = find_holder(here, result->asker);
    for (size_t i = 0; result->status == SHOAL_OK && holder != NULL && i < holder->count; i++) {
        if (strcmp(holder->held[i].key, result->key) == 0) {
            holder->held[i].bytes = 0;
        }
    }
    if (result->status != SHOAL_OK) {
        log_info("content %s for %s: %s", result->key, result->asker, result->text);
    }
    send_event(here, result->asker,
               json_pack("{s:s, s:s, s:b, s:I, s:s, s:o}", "event", "fetched", "content",
                         result->key, "ok", (int)(result->status == SHOAL_OK), "bytes",
                         (json_int_t)result->received, "status",
                         control_status_name(result->status), "text",
                         control_string(result->text)));
}

static void on_progress(void *context, const char *asker, uint64_t received) {
    send_event(context, asker,
               json_pack("{s:s, s:I}", "event", "fetching", "bytes", (json_int_t)received));
}

/* ---- what is held ---- */

static shoal_status need_holder(struct node_contents *here, const char *peer, struct holder **out,
                                struct shoal_error *error) {
    *out = find_holder(here, peer);
    if (*out != NULL) {
        return SHOAL_OK;
    }
    struct holder *holder = mem_calloc(1, sizeof *holder);
    if (holder == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to hold contents for %s", peer);
    }
    (void)snprintf(holder->peer, sizeof holder->peer, "%s", peer);
    holder->next = here->holders;
    here->holders = holder;
    *out = holder;
    return SHOAL_OK;
}

static void release(struct node_contents *here, const char *peer) {
    for (struct holder **at = &here->holders; *at != NULL; at = &(*at)->next) {
        struct holder *holder = *at;
        if (strcmp(holder->peer, peer) == 0) {
            for (size_t i = 0; i < holder->count; i++) {
                contents_unpin(here->contents, holder->held[i].key);
            }
            *at = holder->next;
            mem_free(holder->held);
            mem_free(holder);
            return;
        }
    }
}

/* The holder's entry for a key, pinned; made if there is none. */
static shoal_status hold(struct node_contents *here, struct holder *holder, const char *key,
                         struct held **out, struct shoal_error *error) {
    for (size_t i = 0; i < holder->count; i++) {
        if (strcmp(holder->held[i].key, key) == 0) {
            *out = &holder->held[i];
            return SHOAL_OK;
        }
    }
    if (holder->count == holder->capacity) {
        const size_t capacity = holder->capacity > 0 ? 2 * holder->capacity : 64;
        struct held *held =
            capacity <= MAX_HELD ? mem_realloc(holder->held, capacity * sizeof *held) : NULL;
        if (held == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "%zu contents are held for %s; no more fit",
                             holder->count, holder->peer);
        }
        holder->held = held;
        holder->capacity = capacity;
    }
    TRY(contents_pin(here->contents, key, error));
    struct held *entry = &holder->held[holder->count++];
    (void)snprintf(entry->key, sizeof entry->key, "%s", key);
    entry->bytes = 0;
    *out = entry;
    return SHOAL_OK;
}

/* ---- calls ---- */

static shoal_status need_contents(const struct node_call *call, struct node_contents **out,
                                  struct shoal_error *error) {
    *out = call->node->contents;
    return *out != NULL ? SHOAL_OK
                        : error_set(error, SHOAL_UNSUPPORTED,
                                    "this device keeps no contents: it runs without a cache");
}

/* "contents": [[key, bytes], …]; element i. */
static shoal_status read_content(const json_t *list, size_t i, const char **key, uint64_t *bytes,
                                 struct shoal_error *error) {
    const json_t *pair = json_array_get(list, i);
    const json_t *first = json_array_get(pair, 0), *second = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_string(first) ||
        !contents_key_valid(json_string_value(first)) || !json_is_integer(second) ||
        json_integer_value(second) < 0 || json_integer_value(second) > INT64_MAX / 4) {
        return error_set(error, SHOAL_PROTOCOL,
                         "control message: 'contents' has something else than [key, bytes] at %zu",
                         i);
    }
    *key = json_string_value(first);
    *bytes = (uint64_t)json_integer_value(second);
    return SHOAL_OK;
}

static shoal_status read_list(const struct node_call *call, size_t most, const json_t **out,
                              struct shoal_error *error) {
    *out = json_object_get(call->request, "contents");
    if (!json_is_array(*out) || json_array_size(*out) > most) {
        return error_set(error, SHOAL_PROTOCOL,
                         "control message: 'contents' is not a list of at most %zu", most);
    }
    for (size_t i = 0; i < json_array_size(*out); i++) {
        const char *key;
        uint64_t bytes;
        TRY(read_content(*out, i, &key, &bytes, error));
    }
    return SHOAL_OK;
}

/* Room for all that this peer needs and that is not there yet. */
static shoal_status make_room(const struct node_contents *here, const struct holder *holder,
                              struct shoal_error *error) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < holder->count; i++) {
        if (__builtin_add_overflow(bytes, holder->held[i].bytes, &bytes)) {
            return error_set(error, SHOAL_NO_SPACE, "the contents asked for fit no disk");
        }
    }
    return bytes > 0 ? contents_make_room(here->contents, bytes, error) : SHOAL_OK;
}

/* Whether a content is here; pins it if it is, or if it is needed. */
static shoal_status look(struct node_contents *here, struct holder *holder, const char *key,
                         uint64_t bytes, bool need, bool *there, struct shoal_error *error) {
    uint64_t found = 0;
    if (!need && (!contents_has(here->contents, key, &found) || found != bytes)) {
        *there = false;
        return SHOAL_OK;
    }
    struct held *held;
    TRY(hold(here, holder, key, &held, error));
    *there = contents_has(here->contents, key, &found) && found == bytes;
    held->bytes = *there || !need ? 0 : bytes;
    return SHOAL_OK;
}

shoal_status node_call_have(struct node_call *call, struct shoal_error *error) {
    struct node_contents *here;
    const json_t *list;
    struct holder *holder;
    TRY(need_contents(call, &here, error));
    TRY(read_list(call, MAX_HAVE, &list, error));
    const bool need = !json_is_false(json_object_get(call->request, "need"));
    TRY(need_holder(here, call->peer, &holder, error));
    json_t *missing = json_array();
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < json_array_size(list) && status == SHOAL_OK; i++) {
        const char *key = "";
        uint64_t bytes = 0;
        bool there = false;
        status = read_content(list, i, &key, &bytes, error);
        if (status == SHOAL_OK) {
            status = look(here, holder, key, bytes, need, &there, error);
        }
        if (status == SHOAL_OK && !there) {
            (void)json_array_append_new(missing, json_integer((json_int_t)i));
        }
    }
    if (status == SHOAL_OK) {
        status = make_room(here, holder, error);
    }
    if (status != SHOAL_OK) {
        json_decref(missing);
        return status;
    }
    return node_reply_or_out_of_memory(
        call, json_pack("{s:I, s:b, s:o}", "id", (json_int_t)call->id, "ok", 1, "missing", missing),
        error);
}

/* null is who asks; a device is known by its key, as this device's allow-list calls it. */
static shoal_status read_source(const struct node_call *call, struct transfer_fetch *fetch,
                                struct shoal_error *error) {
    const json_t *source = json_object_get(call->request, "source");
    const char *name, *address, *key;
    if (json_is_null(source)) {
        (void)snprintf(fetch->source, sizeof fetch->source, "%s", call->peer);
        return SHOAL_OK;
    }
    TRY(control_object(call->request, "source", &source, error));
    TRY(control_text(source, "name", TRANSPORT_NAME_BYTES - 1, &name, error));
    TRY(control_text(source, "address", sizeof fetch->address - 1, &address, error));
    TRY(control_text(source, "key", sizeof fetch->public_key - 1, &key, error));
    struct transport *transport = call->node->transport;
    const char *known = transport->ops->name_of_key(transport, key);
    (void)snprintf(fetch->source, sizeof fetch->source, "%s", known != NULL ? known : name);
    (void)snprintf(fetch->address, sizeof fetch->address, "%s", address);
    (void)snprintf(fetch->public_key, sizeof fetch->public_key, "%s", key);
    return fetch->source[0] != '\0' && strcmp(fetch->source, call->node->name) != 0
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID, "'%s' is no source for this device", name);
}

/* Answered at once; what becomes of each content is told by a "fetched" event. */
shoal_status node_call_fetch(struct node_call *call, struct shoal_error *error) {
    struct node_contents *here;
    const json_t *list;
    TRY(need_contents(call, &here, error));
    TRY(read_list(call, MAX_FETCH, &list, error));
    struct transfer_fetch fetch = {.bytes = 0};
    (void)snprintf(fetch.asker, sizeof fetch.asker, "%s", call->peer);
    TRY(read_source(call, &fetch, error));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *key;
        TRY(read_content(list, i, &key, &fetch.bytes, error));
        (void)snprintf(fetch.key, sizeof fetch.key, "%s", key);
        struct shoal_error why;
        const shoal_status status = transfer_begin(here->transfer, &fetch, &why);
        if (status != SHOAL_OK) {
            const struct transfer_result result = {
                .asker = fetch.asker, .key = fetch.key, .status = status, .text = why.text};
            on_done(here, &result);
        }
    }
    return node_reply_or_out_of_memory(
        call, json_pack("{s:I, s:b}", "id", (json_int_t)call->id, "ok", 1), error);
}

/* Answered by CHUNK messages. */
shoal_status node_call_read(struct node_call *call, struct shoal_error *error) {
    struct node_contents *here;
    TRY(need_contents(call, &here, error));
    return transfer_request(here->transfer, call->peer, call->request, error);
}

shoal_status node_call_release(struct node_call *call, struct shoal_error *error) {
    struct node_contents *here;
    TRY(need_contents(call, &here, error));
    release(here, call->peer);
    return node_reply_or_out_of_memory(
        call, json_pack("{s:I, s:b}", "id", (json_int_t)call->id, "ok", 1), error);
}

/* ---- what the node's event thread passes on; all of it also without contents ---- */

void node_contents_chunk(struct node *node, const char *peer, const struct wire_message *message) {
    if (node->contents != NULL) {
        transfer_chunk(node->contents->transfer, peer, message);
    }
}

void node_contents_peer_up(struct node *node, const char *peer) {
    if (node->contents != NULL) {
        transfer_peer_up(node->contents->transfer, peer);
    }
}

void node_contents_peer_lost(struct node *node, const char *peer, const char *reason) {
    if (node->contents != NULL) {
        transfer_peer_lost(node->contents->transfer, peer, reason);
        release(node->contents, peer);
    }
}

void node_contents_writable(struct node *node, const char *peer) {
    if (node->contents != NULL) {
        transfer_writable(node->contents->transfer, peer);
    }
}

void node_contents_interrupted(struct node *node) {
    if (node->contents != NULL) {
        transfer_interrupted(node->contents->transfer);
    }
}

uint64_t node_contents_deadline(const struct node *node) {
    return node->contents != NULL ? transfer_deadline_ns(node->contents->transfer) : CLOCK_NEVER;
}

void node_contents_tick(struct node *node) {
    if (node->contents != NULL) {
        transfer_tick(node->contents->transfer);
    }
}

shoal_status node_contents_create(struct node *node, struct contents *contents,
                                  struct node_contents **out, struct shoal_error *error) {
    struct node_contents *here = mem_calloc(1, sizeof *here);
    if (here == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for contents");
    }
    here->node = node;
    here->contents = contents;
    const struct transfer_options options = {.transport = node->transport,
                                             .contents = contents,
                                             .on_done = on_done,
                                             .on_progress = on_progress,
                                             .context = here};
    const shoal_status status = transfer_create(&options, &here->transfer, error);
    if (status != SHOAL_OK) {
        mem_free(here);
        return status;
    }
    *out = here;
    return SHOAL_OK;
}

void node_contents_destroy(struct node_contents *here) {
    if (here == NULL) {
        return;
    }
    transfer_destroy(here->transfer);
    while (here->holders != NULL) {
        release(here, here->holders->peer);
    }
    mem_free(here);
}
