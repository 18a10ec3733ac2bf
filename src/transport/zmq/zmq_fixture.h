/* What the tests of the ZeroMQ transport share: keys, addresses, the functions that conformance
 * asks for. */
#ifndef TRANSPORT_ZMQ_ZMQ_FIXTURE_H
#define TRANSPORT_ZMQ_ZMQ_FIXTURE_H

#include "transport/conformance.h"

#include "transport/zmq/zmq_transport.h"

/* All devices know each other. Addresses are fixed before anyone listens. */
struct shared {
    struct zmq_keypair keys[CONFORMANCE_DEVICES];
    struct zmq_allowed allowed[CONFORMANCE_DEVICES];
    char directory[256];
    char address[CONFORMANCE_DEVICES][320];
};

extern const struct conformance fixture_tcp, fixture_ipc;

#endif
