/*
 * What every transport must do, as tests: an implementation's test program supplies the few
 * functions below and runs the table. Tests use device-0, device-1 … as names. Not part of the
 * library.
 */
#ifndef TRANSPORT_CONFORMANCE_H
#define TRANSPORT_CONFORMANCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "transport/transport.h"
#include "wire/message.h"

#define CONFORMANCE_DEVICES 14

struct conformance {
    void *(*setup)(void); /* what the devices share: a hub, keys */
    void (*teardown)(void *shared);
    /* Creates device number index; options carry its name. */
    shoal_status (*create)(void *shared, int index, const struct transport_options *options,
                           struct transport **out, struct shoal_error *error);
    /* Dials. to may be a device that does not exist (yet). */
    shoal_status (*connect)(void *shared, struct transport *from, int from_index, int to_index,
                            struct shoal_error *error);
    void (*vanish)(struct transport *t); /* as a crash: no goodbye; frees t */
};

/* Fills table with all tests (those for implementation's own behaviour may follow); answers how
 * many. */
size_t conformance_tests(const struct conformance *implementation, struct CMUnitTest *table,
                         size_t capacity);

/* ---- helpers, also for the implementations' own tests ---- */

#define WANT_ALL (TRANSPORT_WANT_DATA | TRANSPORT_WANT_CONTROL)
#define PATIENCE (30 * CLOCK_SECOND) /* far beyond what a busy machine needs */

struct cluster { /* some devices of one implementation */
    const struct conformance *implementation;
    void *shared;
    struct transport *devices[CONFORMANCE_DEVICES];
};

const char *device_name(int index);
void cluster_open(struct cluster *cluster, const struct conformance *implementation);
/* options NULL: defaults with a long lost_after, so that a stalled machine does not disturb. */
struct transport *cluster_add(struct cluster *cluster, int index,
                              const struct transport_options *options);
void cluster_join(struct cluster *cluster, int from, int to); /* connects and awaits both PEER_UP */
void cluster_destroy_device(struct cluster *cluster, int index);
void cluster_close(struct cluster *cluster);

/* Awaits the next event, which must be of this kind. */
struct transport_event expect_event(struct transport *t, unsigned want,
                                    enum transport_event_kind kind);
void expect_nothing(struct transport *t, unsigned want, uint64_t for_ns);

/* An ACTIVATION with one u8 tensor of bytes drawn from its number; checked by expect_data. */
struct transport_message *make_data(struct transport *t, uint64_t number, size_t bytes);
struct transport_message *make_control(struct transport *t, uint64_t number);
shoal_status try_send(struct transport *t, int to, struct transport_message *message);
/* As try_send, but awaits WRITABLE as often as it needs. */
void send_patiently(struct transport *t, int to, struct transport_message *message);
void send_data(struct transport *t, int to, uint64_t number, size_t bytes);
void send_control(struct transport *t, int to, uint64_t number);
/* The message has this number and the right contents. */
void check_message(const struct transport_message *message, int from, uint64_t number);
void expect_message(struct transport *t, unsigned want, int from,
                    uint64_t number); /* and frees it */

/* The parts of the table. */
extern const struct conformance_case {
    const char *name;
    void (*run)(void **state);
} conformance_flow_cases[], conformance_peer_cases[];
extern const size_t conformance_flow_count, conformance_peer_count;

#endif
