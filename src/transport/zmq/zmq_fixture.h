/* What the tests of the ZeroMQ transport share: keys, addresses, the functions that conformance
 * asks for. */
#ifndef TRANSPORT_ZMQ_ZMQ_FIXTURE_H
#define TRANSPORT_ZMQ_ZMQ_FIXTURE_H

#include "transport/conformance.h"

#include "transport/zmq/zmq_transport.h"

#include <pthread.h>

/* All devices know each other. Addresses are fixed before anyone listens. */
struct shared {
    struct zmq_keypair keys[CONFORMANCE_DEVICES];
    struct zmq_allowed allowed[CONFORMANCE_DEVICES];
    char directory[256];
    char address[CONFORMANCE_DEVICES][320];
};

int tcp_connect(const char *address); /* "tcp://127.0.0.1:PORT" */

/* One TCP connection through a thread of ours: keeps what the client said, or lets it through
 * slowly. */
struct relay {
    const char *to;
    uint8_t *bytes; /* of the client, up to capacity; NULL: none kept */
    size_t capacity, count;
    size_t bytes_per_second; /* from the client; 0: as fast as it goes */
    bool slow_back;          /* and from the server */
    char address[64];        /* where it listens, after relay_start */
    int listener;
    pthread_t thread;
};

void relay_start(struct relay *relay);
void relay_stop(struct relay *relay); /* once both ends have closed */

extern const struct conformance fixture_tcp, fixture_ipc;

#endif
