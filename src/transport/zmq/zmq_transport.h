/*
 * ZeroMQ endpoints: one ROUTER that listens (if asked to), one DEALER per dialled peer, CURVE on
 * every connection, a ZAP handler with an allow-list, own heartbeats. What travels:
 * docs/protocol.md.
 *
 * connect: address is tcp://HOST:PORT (a number, IPv6 in brackets, or a name, which is looked up
 * without anybody waiting) or ipc://PATH; public_key NULL takes the key that the allow-list has for
 * the peer. A device that the allow-list knows is not dialled under another name or key (INVALID).
 * Who does not listen yet is dialled again until lost_after has passed. Of two devices that dial
 * each other one connection stays, the one dialled from the smaller public key; each side sees one
 * PEER_UP.
 *
 * stats: io_cpu_s is the I/O thread's CPU time plus that of libzmq's background threads of this
 * endpoint.
 */
#ifndef TRANSPORT_ZMQ_ZMQ_TRANSPORT_H
#define TRANSPORT_ZMQ_ZMQ_TRANSPORT_H

#include "transport/transport.h"

#define ZMQ_KEY_TEXT 41 /* z85 key and terminator */

struct zmq_keypair {
    char public_key[ZMQ_KEY_TEXT], secret_key[ZMQ_KEY_TEXT];
};

NODISCARD shoal_status zmq_keypair_make(struct zmq_keypair *out, struct shoal_error *error);

struct zmq_allowed {
    char name[TRANSPORT_NAME_BYTES];
    char public_key[ZMQ_KEY_TEXT];
};

struct zmq_transport_options {
    struct transport_options base;
    struct zmq_keypair keys;
    const char *listen; /* "tcp://127.0.0.1:0" picks a port (see address()); also "ipc://PATH";
                           NULL: dial only */
    const struct zmq_allowed *allowed;
    size_t allowed_count;
};

/* Errors: INVALID (a key is no z85 key, a name twice), IO (address in use…), NO_MEMORY. */
NODISCARD shoal_status zmq_transport_create(const struct zmq_transport_options *options,
                                            struct transport **out, struct shoal_error *error);

/* Replaces the allow-list (SIGHUP); connections of peers no longer on it are closed. Any thread. */
NODISCARD shoal_status zmq_transport_allow(struct transport *t, const struct zmq_allowed *allowed,
                                           size_t count, struct shoal_error *error);

/* Ends an endpoint without goodbye, as a crash would. For tests. */
void zmq_transport_vanish(struct transport *t);

#endif
