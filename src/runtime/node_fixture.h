/* A node on a thread with two owners, all over the in-process transport. */
#ifndef RUNTIME_NODE_FIXTURE_H
#define RUNTIME_NODE_FIXTURE_H

#include "runtime/control.h"
#include "runtime/node.h"
#include "transport/inproc/inproc.h"

#include <pthread.h>

struct fixture {
    struct inproc_hub *hub;
    struct transport *device, *owner, *other;
    struct node *node;
    pthread_t thread;
    bool joined;
    char *model; /* vit-test */
};

/* limit 0: none. */
int fixture_setup(void **state, size_t memory_limit);
int fixture_teardown(void **state);
void fixture_join(struct fixture *f); /* waits until node_run has ended well */

struct transport *fixture_peer(struct inproc_hub *hub, const char *name);
void fixture_next(struct transport *t, struct transport_event *event);

/* The next reply to `from`; other messages are freed. */
json_t *fixture_reply(struct transport *from);
json_t *fixture_ask(struct transport *from, json_t *request);
void assert_refused(json_t *reply, const char *status, const char *word);
void assert_ok(json_t *reply);

/* One stage of vit-test from owner to owner, microbatch 2. */
json_t *fixture_prepare(const struct fixture *f, int64_t job);
json_t *fixture_call(const char *call, int64_t job); /* job 0: none named */
void fixture_send_item(struct transport *from, uint64_t job, uint32_t generation,
                       uint64_t microbatch, uint32_t items, int64_t size);
/* The next data message or event of the device; decoded borrows from *raw. */
void fixture_message(struct transport *from, struct transport_message **raw,
                     struct wire_message *decoded);

#endif
