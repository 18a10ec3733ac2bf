/* What the tests of the ZeroMQ transport under attack share: a device that is besieged, its friend,
 * and bare libzmq clients. */
#ifndef TRANSPORT_ZMQ_ZMQ_SIEGE_H
#define TRANSPORT_ZMQ_ZMQ_SIEGE_H

#include "transport/zmq/zmq_fixture.h"

#include "wire/hello.h"

/* device-0 is under attack, device-1 its friend; others lend their keys to the attacker. */
struct siege {
    struct cluster cluster;
    struct shared *shared;
    struct transport *victim, *friend;
    uint64_t number;
};

void siege_open(struct siege *siege);
void siege_exchange(struct siege *siege); /* victim and friend, one message each way */
uint64_t siege_refused(const struct transport *t);
void siege_await_refused(const struct siege *siege, uint64_t at_least);
void siege_close(struct siege *siege);

/* A bare libzmq client. */
struct raw {
    void *context, *socket;
};

/* keys NULL: no CURVE. */
void raw_open_at(struct raw *raw, const char *address, const struct zmq_keypair *keys,
                 const char *server_key, const char *routing_id);
void raw_open(struct raw *raw, const struct shared *shared, const struct zmq_keypair *keys,
              const char *server_key, const char *routing_id);
/* An authenticated client that has said HELLO properly. */
void raw_open_up_at(struct raw *raw, struct siege *siege, int index, const char *address);
void raw_open_up(struct raw *raw, struct siege *siege, int index);
void raw_close(struct raw *raw);
void raw_send(struct raw *raw, const void *bytes, size_t count, int flags);
/* The next message of this kind that the victim says; others (PING) are passed over. */
void raw_expect(struct raw *raw, enum wire_kind kind, struct wire_message *message,
                uint8_t span[1024]);
void raw_expect_bye(struct raw *raw, const char *words);
void siege_hello(uint8_t span[WIRE_HELLO_MESSAGE_BYTES], const char *name);

#endif
