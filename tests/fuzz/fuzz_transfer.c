/*
 * What peers say about contents, in any order and of any bytes: requests and pieces at a device
 * (first byte 'D'), answers and events at an owner ('O'). A sequence of records: kind, length (u16,
 * little-endian), bytes. No crash, no hang, and nothing is in the cache that its key does not say.
 *
 * Kinds: R a request's JSON; W a whole wire message; C transfer (u8, from the first on), step,
 * dtype, offset (u24), then the piece; U the peer is up; L it is lost; N time for the thread that
 * commits.
 */
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "runtime/cluster.h"
#include "runtime/distribution.h"
#include "runtime/node_internal.h"
#include "runtime/serve.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PEER "peer"

static struct fake {
    struct transport transport;
    const uint8_t *data; /* records that next delivers */
    size_t size;
    uint64_t first_transfer; /* as the first `read` asked */
    unsigned sent;
} fake;

static const uint8_t *take(const uint8_t **data, size_t *size, size_t count) {
    if (*size < count) {
        *size = 0;
        return NULL;
    }
    const uint8_t *at = *data;
    *data += count;
    *size -= count;
    return at;
}

/* ---- a transport without peers ---- */

static shoal_status fake_connect(struct transport *t, const char *peer, const char *address,
                                 const char *key, struct shoal_error *error) {
    (void)t;
    (void)address;
    (void)key;
    return strcmp(peer, PEER) == 0 ? error_set(error, SHOAL_BUSY, "connected already") : SHOAL_OK;
}

static void fake_free(struct transport *t, struct transport_message *message) {
    (void)t;
    if (message != NULL) {
        free(message->data);
        free(message);
    }
}

static shoal_status fake_new(struct transport *t, size_t size, struct transport_message **out,
                             struct shoal_error *error) {
    (void)t;
    struct transport_message *message = calloc(1, sizeof *message);
    void *data = calloc(1, size + 1);
    if (message == NULL || data == NULL) {
        free(message);
        free(data);
        return error_set(error, SHOAL_NO_MEMORY, "no memory");
    }
    *message = (struct transport_message){.data = data, .size = size, .capacity = size};
    *out = message;
    return SHOAL_OK;
}

static shoal_status fake_send(struct transport *t, const char *peer,
                              struct transport_message *message, struct shoal_error *error) {
    struct wire_message decoded;
    json_t *document;
    if (strcmp(peer, PEER) != 0) {
        return error_set(error, SHOAL_PEER_LOST, "%s is not connected", peer);
    }
    if (wire_decode(message->data, message->size, &decoded, error) != SHOAL_OK) {
        abort(); /* we send what can be read */
    }
    if (wire_kind_is_data(decoded.header.kind) && ++fake.sent % 8 == 0) {
        return error_set(error, SHOAL_BUSY, "no credit");
    }
    if (decoded.header.kind == WIRE_REQUEST && fake.first_transfer == 0 &&
        control_parse(&decoded, &document, error) == SHOAL_OK) {
        fake.first_transfer = (uint64_t)json_integer_value(json_object_get(document, "transfer"));
        json_decref(document);
    }
    fake_free(t, message);
    return SHOAL_OK;
}

static shoal_status make_text(enum wire_kind kind, const uint8_t *bytes, size_t size,
                              struct transport_message **out) {
    const struct wire_header header = {.kind = kind, .text_bytes = (uint32_t)size};
    size_t whole, used;
    TRY(wire_size(NULL, 0, size, &whole, NULL));
    TRY(fake_new(&fake.transport, whole, out, NULL));
    return wire_encode(&header, NULL, (const char *)bytes, (*out)->data, whole, NULL, &used, NULL);
}

/* At an owner: replies, events, requests as text; everything else as it is. */
static shoal_status fake_next(struct transport *t, unsigned want, uint64_t deadline,
                              struct transport_event *out, struct shoal_error *error) {
    (void)t;
    (void)want;
    (void)deadline;
    static const enum wire_kind kinds[] = {
        ['A'] = WIRE_REPLY, ['E'] = WIRE_EVENT, ['R'] = WIRE_REQUEST};
    const uint8_t *head = take(&fake.data, &fake.size, 3);
    const size_t length = head != NULL ? head[1] + 256u * head[2] : 0;
    const uint8_t *bytes = head != NULL ? take(&fake.data, &fake.size, length) : NULL;
    if (bytes == NULL) {
        return error_set(error, SHOAL_CLOSED, "no more to be said");
    }
    *out = (struct transport_event){.kind = TRANSPORT_INTERRUPT, .peer = PEER};
    if (head[0] == 'L') {
        out->kind = TRANSPORT_PEER_LOST;
    } else if (head[0] == 'V') {
        out->kind = TRANSPORT_WRITABLE;
    } else if ((head[0] == 'A' || head[0] == 'E' || head[0] == 'R') && length > 0 &&
               make_text(kinds[head[0]], bytes, length, &out->message) == SHOAL_OK) {
        out->kind = TRANSPORT_MESSAGE;
    } else if (head[0] == 'W' &&
               fake_new(&fake.transport, length, &out->message, error) == SHOAL_OK) {
        memcpy(out->message->data, bytes, length);
        out->kind = TRANSPORT_MESSAGE;
    }
    if (out->kind == TRANSPORT_MESSAGE) {
        memcpy(out->message->peer, PEER, sizeof PEER);
    }
    return SHOAL_OK;
}

static void fake_interrupt(struct transport *t) {
    (void)t;
}

static const char *fake_name_of_key(struct transport *t, const char *key) {
    (void)t;
    return strcmp(key, "known") == 0 ? PEER : NULL;
}

static const struct transport_ops fake_ops = {.name = "fake",
                                              .connect = fake_connect,
                                              .send = fake_send,
                                              .next = fake_next,
                                              .message_new = fake_new,
                                              .message_free = fake_free,
                                              .interrupt = fake_interrupt,
                                              .name_of_key = fake_name_of_key};

/* ---- a device ---- */

static void request(struct node *node, const uint8_t *bytes, size_t size) {
    struct shoal_error error;
    json_t *document = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, NULL);
    const char *call = json_string_value(json_object_get(document, "call"));
    struct node_call made = {.node = node, .peer = PEER, .request = document};
    shoal_status status = SHOAL_OK;
    if (call != NULL && strcmp(call, "have") == 0) {
        status = node_call_have(&made, &error);
    } else if (call != NULL && strcmp(call, "fetch") == 0) {
        status = node_call_fetch(&made, &error);
    } else if (call != NULL && strcmp(call, "read") == 0) {
        status = node_call_read(&made, &error);
    } else if (call != NULL && strcmp(call, "release") == 0) {
        status = node_call_release(&made, &error);
    }
    if (status != SHOAL_OK && error.text[0] == '\0') {
        abort(); /* a refusal says why */
    }
    json_decref(made.reply);
    json_decref(document);
}

static void chunk(struct node *node, const uint8_t *bytes, size_t size) {
    const uint8_t *head = take(&bytes, &size, 6);
    if (head == NULL) {
        return;
    }
    const enum dtype dtype = head[2] == 0 ? DTYPE_U8 : (enum dtype)(head[2] % DTYPE_COUNT);
    const size_t width = dtype_size(dtype);
    const struct tensor tensor = {
        .dtype = dtype, .shape = SHAPE((int64_t)(size / width)), .data = (void *)(uintptr_t)bytes};
    const struct wire_message message = {
        .header = {.kind = WIRE_CHUNK,
                   .job = fake.first_transfer + head[0],
                   .step = head[1],
                   .items = head[1],
                   .microbatch = head[3] + 256u * head[4] + 65536u * head[5],
                   .tensor_count = 1},
        .tensors = {tensor}};
    node_contents_chunk(node, PEER, &message);
}

static void let_commit(struct node *node) {
    for (int i = 0; i < 4; i++) {
        platform_sleep_ns(CLOCK_MS / 4);
        node_contents_interrupted(node);
    }
    node_contents_tick(node);
}

static void record(struct node *node, uint8_t kind, const uint8_t *bytes, size_t size) {
    struct wire_message message;
    if (kind == 'R') {
        request(node, bytes, size);
    } else if (kind == 'C') {
        chunk(node, bytes, size);
    } else if (kind == 'U') {
        node_contents_peer_up(node, PEER);
    } else if (kind == 'L') {
        node_contents_peer_lost(node, PEER, "lost");
    } else if (kind == 'V') {
        node_contents_writable(node, PEER);
    } else if (kind == 'N') {
        let_commit(node);
    } else if (kind == 'W' && wire_decode(bytes, size, &message, NULL) == SHOAL_OK &&
               message.header.kind == WIRE_CHUNK) {
        node_contents_chunk(node, PEER, &message);
    }
}

static void check_cache(struct contents *contents) {
    struct contents_entry *entries;
    size_t count;
    if (contents_list(contents, &entries, &count, NULL) != SHOAL_OK) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].partial && contents_verify(contents, entries[i].key, NULL) != SHOAL_OK) {
            abort();
        }
        if (contents_remove(contents, entries[i].key, entries[i].partial, NULL) != SHOAL_OK) {
            continue;
        }
    }
    mem_free(entries);
}

static struct contents *open_cache(void) {
    static char directory[256];
    static struct contents *contents;
    if (contents == NULL) {
        const struct contents_options options = {.directory = directory,
                                                 .quota_bytes = UINT64_C(1) << 22};
        if (file_make_temporary(directory, sizeof directory, NULL) != SHOAL_OK ||
            contents_open(&options, &contents, NULL) != SHOAL_OK) {
            abort();
        }
    }
    return contents;
}

static void device(const uint8_t *data, size_t size) {
    struct contents *contents = open_cache();
    struct node *node = mem_calloc(1, sizeof *node);
    if (node == NULL) {
        return;
    }
    node->transport = &fake.transport;
    memcpy(node->name, "device", sizeof "device");
    if (node_contents_create(node, contents, &node->contents, NULL) == SHOAL_OK) {
        const uint8_t *head;
        for (int i = 0; i < 64 && (head = take(&data, &size, 3)) != NULL; i++) {
            const size_t length = head[1] + 256u * head[2];
            const uint8_t *bytes = take(&data, &size, length);
            if (bytes != NULL) {
                record(node, head[0], bytes, length);
            }
        }
        node_contents_destroy(node->contents);
    }
    mem_free(node);
    check_cache(contents);
}

/* ---- an owner ---- */

static shoal_status read_zeros(void *context, const char *key, uint64_t offset, void *out,
                               size_t size, size_t *got, struct shoal_error *error) {
    (void)context;
    (void)error;
    (void)key;
    const size_t left = offset < 1000 ? (size_t)(1000 - offset) : 0;
    *got = left < size ? left : size;
    memset(out, 0, *got);
    return *got > 0 ? SHOAL_OK : error_set(error, SHOAL_INVALID, "it ends before");
}

static void owner(const uint8_t *data, size_t size) {
    static const struct distribution_content contents[2] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "zero", 1000},
        {"1111111111111111111111111111111111111111111111111111111111111111", "one", 1000}};
    static const bool needs[2] = {true, true};
    struct cluster_device peer = {.name = PEER};
    struct cluster cluster = {.transport = &fake.transport, .count = 1, .devices = &peer};
    const struct distribution_options options = {.cluster = &cluster,
                                                 .contents = contents,
                                                 .content_count = 2,
                                                 .needs = needs,
                                                 .read = read_zeros};
    struct distribution_outcome outcome;
    struct shoal_error error = {.text = ""};
    fake.data = data;
    fake.size = size;
    if (distribution_run(&options, &outcome, &error) != SHOAL_OK && error.text[0] == '\0') {
        abort();
    }
    distribution_outcome_fini(&outcome);
    json_decref(peer.reply);
    json_decref(peer.request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fake = (struct fake){.transport = {.ops = &fake_ops}};
    if (size > 0 && data[0] == 'D') {
        device(data + 1, size - 1);
    } else if (size > 0 && data[0] == 'O') {
        owner(data + 1, size - 1);
    }
    return 0;
}
