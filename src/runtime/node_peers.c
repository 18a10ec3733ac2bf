/* Who is connected, who is being dialled and for whom, and probes of links that wait for an answer.
 */
#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "runtime/link.h"

#include <stdio.h>
#include <string.h>

/* A peer that is connected. */
struct node_peer {
    struct node_peer *next;
    char name[TRANSPORT_NAME_BYTES];
    bool owed; /* its probe is not answered yet for want of credit */
    uint64_t owed_number;
};

static struct node_peer *find_peer(const struct node *node, const char *name) {
    struct node_peer *peer = node->peers;
    while (peer != NULL && strcmp(peer->name, name) != 0) {
        peer = peer->next;
    }
    return peer;
}

bool node_peer_is_up(const struct node *node, const char *name) {
    return find_peer(node, name) != NULL;
}

static void remove_peer(struct node *node, const char *name) {
    for (struct node_peer **at = &node->peers; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->name, name) == 0) {
            struct node_peer *peer = *at;
            *at = peer->next;
            mem_free(peer);
            return;
        }
    }
}

void node_peers_fini(struct node *node) {
    while (node->peers != NULL) {
        remove_peer(node, node->peers->name);
    }
}

/* ---- who is meant ---- */

shoal_status node_read_device(struct node *node, const json_t *device,
                              char name[TRANSPORT_NAME_BYTES], bool *listed,
                              struct shoal_error *error) {
    const char *said, *key, *known = NULL;
    TRY(control_text(device, "name", TRANSPORT_NAME_BYTES - 1, &said, error));
    TRY(control_text(device, "key", 64, &key, error));
    const bool keyless = strcmp(key, NODE_NO_KEY) == 0;
    if (!keyless) {
        known = node->transport->ops->name_of_key(node->transport, key);
    }
    if (listed != NULL) {
        *listed = keyless || known != NULL;
    }
    (void)snprintf(name, TRANSPORT_NAME_BYTES, "%s", known != NULL ? known : said);
    return SHOAL_OK;
}

shoal_status node_dial(struct node *node, const char *name, const json_t *device,
                       struct shoal_error *error) {
    const char *address, *key;
    TRY(control_text(device, "address", 256, &address, error));
    TRY(control_text(device, "key", 64, &key, error));
    if (node_peer_is_up(node, name)) {
        return SHOAL_OK;
    }
    const shoal_status status =
        node->transport->ops->connect(node->transport, name, address, key, error);
    return status == SHOAL_BUSY ? SHOAL_OK : status; /* underway: an event will tell */
}

shoal_status node_read_peer(const struct node_call *call, char name[TRANSPORT_NAME_BYTES],
                            json_t **device, bool *listed, struct shoal_error *error) {
    json_t *copy = json_copy((json_t *)(uintptr_t)call->request); /* "peer" is "name" elsewhere */
    json_t *peer = json_object_get(call->request, "peer");
    if (copy == NULL || (peer != NULL && json_object_set(copy, "name", peer) != 0)) {
        json_decref(copy);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a request");
    }
    const char *ignored;
    shoal_status status =
        control_text(call->request, "peer", TRANSPORT_NAME_BYTES - 1, &ignored, error);
    if (status == SHOAL_OK) {
        status = node_read_device(call->node, copy, name, listed, error);
    }
    if (status != SHOAL_OK) {
        json_decref(copy);
        return status;
    }
    *device = copy;
    return SHOAL_OK;
}

/* ---- `dial`: can this device reach that one? ---- */

/* reason: of a dial that failed; NULL: it did not, or nothing was dialled. */
static void answer_dial(struct node *node, struct node_dial *dial, bool up, const char *reason,
                        const char *text) {
    node_reply(node, dial->asker,
               json_pack("{s:I, s:b, s:b, s:b, s:s?, s:o}", "id", (json_int_t)dial->id, "ok", 1,
                         "up", (int)up, "listed", (int)dial->listed, "reason", reason, "text",
                         control_string(text)));
    dial->peer[0] = '\0';
}

shoal_status node_call_dial(struct node_call *call, struct shoal_error *error) {
    struct node *node = call->node;
    struct node_dial *place = NULL, made = {.id = call->id};
    for (int i = 0; i < NODE_MAX_DIALS; i++) {
        if (node->dials[i].peer[0] == '\0') {
            place = &node->dials[i];
        }
    }
    if (place == NULL) {
        return error_set(error, SHOAL_BUSY, "busy with dialling %d devices", NODE_MAX_DIALS);
    }
    json_t *device;
    TRY(node_read_peer(call, made.peer, &device, &made.listed, error));
    if (made.peer[0] == '\0') {
        json_decref(device);
        return error_set(error, SHOAL_PROTOCOL, "control message: 'peer' is empty");
    }
    (void)snprintf(made.asker, sizeof made.asker, "%s", call->peer);
    struct shoal_error why;
    const shoal_status status = node_dial(node, made.peer, device, &why);
    json_decref(device);
    *place = made;
    if (status != SHOAL_OK) {
        answer_dial(node, place, false, NULL, why.text);
    } else if (node_peer_is_up(node, made.peer)) {
        answer_dial(node, place, true, NULL, "connected before");
    }
    return SHOAL_OK;
}

static void dials_end(struct node *node, const char *peer, bool up, const char *reason,
                      const char *text) {
    for (int i = 0; i < NODE_MAX_DIALS; i++) {
        if (strcmp(node->dials[i].peer, peer) == 0) {
            answer_dial(node, &node->dials[i], up, reason, text);
        } else if (!up && strcmp(node->dials[i].asker, peer) == 0) {
            node->dials[i].peer[0] = '\0';
        }
    }
}

/* ---- probes of others ---- */

static void answer_probe(struct node *node, struct node_peer *peer) {
    struct shoal_error error;
    const shoal_status status = link_answer(node->transport, peer->name, peer->owed_number, &error);
    peer->owed = status == SHOAL_BUSY; /* again when it is writable */
    if (status != SHOAL_OK && status != SHOAL_BUSY) {
        log_debug("a probe of %s stays unanswered: %s", peer->name, error.text);
    }
}

void node_peer_probes(struct node *node, const char *name, const struct wire_header *header) {
    struct node_peer *peer = find_peer(node, name);
    if (peer != NULL && link_is_question(header)) {
        peer->owed_number = header->microbatch;
        answer_probe(node, peer);
    }
}

/* ---- events ---- */

shoal_status node_peer_came(struct node *node, const char *name, struct shoal_error *error) {
    remove_peer(node, name);
    struct node_peer *peer = mem_calloc(1, sizeof *peer);
    if (peer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a peer");
    }
    (void)snprintf(peer->name, sizeof peer->name, "%s", name);
    peer->next = node->peers;
    node->peers = peer;
    log_info("%s is connected", name);
    dials_end(node, name, true, NULL, "connected");
    return SHOAL_OK;
}

void node_peer_went(struct node *node, const char *name, enum transport_lost lost,
                    const char *reason) {
    if (find_peer(node, name) != NULL) {
        log_debug("%s is gone: %s", name, reason); /* the transport has said so */
    } else {
        log_warn("%s cannot be reached: %s", name, reason);
    }
    remove_peer(node, name);
    dials_end(node, name, false, transport_lost_name(lost), reason);
}

void node_peer_writable(struct node *node, const char *name) {
    struct node_peer *peer = find_peer(node, name);
    if (peer != NULL && peer->owed) {
        answer_probe(node, peer);
    }
}
