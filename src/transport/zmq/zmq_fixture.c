#include "transport/zmq/zmq_fixture.h"

#include "base/memory.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

static void *setup(bool ipc) {
    struct shared *shared = mem_calloc(1, sizeof *shared);
    assert_non_null(shared);
    if (ipc) {
        assert_int_equal(file_make_temporary(shared->directory, sizeof shared->directory, NULL),
                         SHOAL_OK);
    }
    for (int i = 0; i < CONFORMANCE_DEVICES; i++) {
        assert_int_equal(zmq_keypair_make(&shared->keys[i], NULL), SHOAL_OK);
        (void)snprintf(shared->allowed[i].name, TRANSPORT_NAME_BYTES, "%s", device_name(i));
        memcpy(shared->allowed[i].public_key, shared->keys[i].public_key, ZMQ_KEY_TEXT);
        if (ipc) {
            (void)snprintf(shared->address[i], sizeof shared->address[i], "ipc://%s/%d",
                           shared->directory, i);
        }
    }
    return shared;
}

static void *setup_tcp(void) {
    return setup(false);
}

static void *setup_ipc(void) {
    return setup(true);
}

static void teardown(void *argument) {
    struct shared *shared = argument;
    if (shared->directory[0] != '\0') {
        file_remove_tree(shared->directory);
    }
    mem_free(shared);
}

/* A port that is free now: for a device that is dialled before it listens. */
static void find_port(char *address, size_t bytes) {
    void *context = zmq_ctx_new();
    void *socket = zmq_socket(context, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:0"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, address, &bytes), 0);
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
}

static shoal_status create(void *argument, int index, const struct transport_options *options,
                           struct transport **out, struct shoal_error *error) {
    struct shared *shared = argument;
    const struct zmq_transport_options own = {
        .base = *options,
        .keys = shared->keys[index],
        .listen = shared->address[index][0] != '\0' ? shared->address[index] : "tcp://127.0.0.1:0",
        .allowed = shared->allowed,
        .allowed_count = CONFORMANCE_DEVICES,
    };
    const shoal_status status = zmq_transport_create(&own, out, error);
    if (status == SHOAL_OK) {
        (void)snprintf(shared->address[index], sizeof shared->address[index], "%s",
                       (*out)->ops->address(*out));
    }
    return status;
}

static shoal_status dial(void *argument, struct transport *from, int from_index, int to_index,
                         struct shoal_error *error) {
    (void)from_index;
    struct shared *shared = argument;
    if (shared->address[to_index][0] == '\0') {
        find_port(shared->address[to_index], sizeof shared->address[to_index]);
    }
    return from->ops->connect(from, device_name(to_index), shared->address[to_index],
                              shared->keys[to_index].public_key, error);
}

const struct conformance fixture_tcp = {.setup = setup_tcp,
                                        .teardown = teardown,
                                        .create = create,
                                        .connect = dial,
                                        .vanish = zmq_transport_vanish};
const struct conformance fixture_ipc = {.setup = setup_ipc,
                                        .teardown = teardown,
                                        .create = create,
                                        .connect = dial,
                                        .vanish = zmq_transport_vanish};
