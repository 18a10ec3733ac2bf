/* What an owner asks a device, as text: a request and a notice, whatever it says. */
#include "runtime/node_internal.h"
#include "transport/inproc/inproc.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_LIMIT ((size_t)256 << 20) /* larger models are refused */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool contains(const uint8_t *data, size_t size, const char *word) {
    const size_t length = strlen(word);
    for (size_t i = 0; i + length <= size; i++) {
        if (memcmp(data + i, word, length) == 0) {
            return true;
        }
    }
    return false;
}

static struct transport *make_peer(struct inproc_hub *hub, const char *name) {
    struct transport *transport;
    const struct transport_options options = {.name = name};
    if (inproc_create(hub, &options, &transport, NULL) != SHOAL_OK) {
        abort();
    }
    return transport;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct inproc_hub *hub;
    struct node *node;
    if (contains(data, size, "choose") || inproc_hub_create(&hub, NULL) != SHOAL_OK) {
        return 0; /* choosing measures for as long as it takes */
    }
    struct transport *device = make_peer(hub, "device"), *owner = make_peer(hub, "owner");
    const struct node_options options = {.name = "device",
                                         .transport = device,
                                         .threads = 1,
                                         .memory_limit = MEMORY_LIMIT,
                                         .shared_process = true};
    if (owner->ops->connect(owner, "device", "", "", NULL) != SHOAL_OK ||
        node_create(&options, &node, NULL) != SHOAL_OK) {
        abort();
    }
    struct wire_message message = {.header = {.kind = WIRE_REQUEST, .text_bytes = (uint32_t)size},
                                   .text = (const char *)data};
    node_handle_request(node, "owner", &message);
    node_handle_request(node, "owner", &message); /* and again: it may be there already */
    message.header.kind = WIRE_EVENT;
    node_handle_notice(node, "owner", &message);
    node_destroy(node); /* waits for what the request began */
    owner->ops->destroy(owner);
    device->ops->destroy(device);
    inproc_hub_destroy(hub);
    return 0;
}
