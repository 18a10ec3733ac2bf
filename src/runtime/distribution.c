#include "runtime/distribution.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "protocol/distribute.h"
#include "runtime/control.h"
#include "runtime/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HAVE_NS (120 * CLOCK_SECOND)  /* a device may have to evict */
#define OTHERS_NS (20 * CLOCK_SECOND) /* for devices that need nothing */
#define STALL_NS (60 * CLOCK_SECOND)
#define PROGRESS_NS (200 * CLOCK_MS)
#define HAVE_BATCH 256u

/* A fetch that is decided. */
struct order {
    uint32_t content, source;
};

struct device {
    struct order queue[DISTRIBUTE_MAX_FETCHES]; /* not asked for yet */
    struct order asked[DISTRIBUTE_MAX_FETCHES]; /* by the call that is not answered yet */
    uint32_t queued, asked_count;
    uint64_t missing_bytes; /* to begin with */
    uint64_t told_bytes;    /* received, as it says in between */
};

struct named {
    const char *key;
    uint32_t content;
};

struct distribution {
    const struct distribution_options *options;
    struct distribution_outcome *outcome;
    struct cluster *cluster;
    struct distribute_state *state;
    struct serve *serve;
    struct device *devices;
    bool *has;           /* [device][content] */
    struct named *named; /* contents by key */
    const char **names;  /* of the devices */
    struct distribute_content *texts;
    uint64_t start_ns, reported_ns, missing_bytes;
};

static size_t at(const struct distribution *run, uint32_t device, uint32_t content) {
    return (size_t)device * run->options->content_count + content;
}

static int compare_named(const void *a, const void *b) {
    return strcmp(((const struct named *)a)->key, ((const struct named *)b)->key);
}

/* The content of a key; content_count if there is none. */
static uint32_t find_content(const struct distribution *run, const char *key) {
    const struct named wanted = {.key = key};
    const struct named *found = bsearch(&wanted, run->named, run->options->content_count,
                                        sizeof *run->named, compare_named);
    return found != NULL ? found->content : run->options->content_count;
}

/* ---- who has what ---- */

/* The next contents from *from on that the device is asked about; needed ones, or those that
 * another device misses. */
static uint32_t next_batch(const struct distribution *run, const bool *missed, uint32_t device,
                           uint32_t *from, uint32_t batch[HAVE_BATCH]) {
    uint32_t count = 0;
    for (; *from < run->options->content_count && count < HAVE_BATCH; ++*from) {
        const bool needed = run->options->needs[at(run, device, *from)];
        if (missed == NULL ? needed : !needed && missed[*from]) {
            batch[count++] = *from;
        }
    }
    return count;
}

static json_t *have_request(const struct distribution *run, const uint32_t *batch, uint32_t count,
                            bool need) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        const struct distribution_content *content = &run->options->contents[batch[i]];
        (void)json_array_append_new(list,
                                    json_pack("[s,I]", content->key, (json_int_t)content->bytes));
    }
    return json_pack("{s:s, s:b, s:o}", "call", "have", "need", (int)need, "contents", list);
}

static shoal_status take_missing(struct distribution *run, uint32_t device, const uint32_t *batch,
                                 uint32_t count, struct shoal_error *error) {
    const char *name = run->cluster->devices[device].name;
    const json_t *missing = json_object_get(run->cluster->devices[device].reply, "missing");
    if (!json_is_array(missing)) {
        return error_set(error, SHOAL_PROTOCOL, "device %s does not say what it misses", name);
    }
    for (uint32_t i = 0; i < count; i++) {
        run->has[at(run, device, batch[i])] = true;
    }
    size_t i;
    json_t *index;
    json_array_foreach(missing, i, index) {
        const json_int_t value = json_integer_value(index);
        if (!json_is_integer(index) || value < 0 || value >= (json_int_t)count) {
            return error_set(error, SHOAL_PROTOCOL,
                             "device %s misses something that it was not asked for", name);
        }
        run->has[at(run, device, batch[value])] = false;
    }
    return SHOAL_OK;
}

/* A device that needs nothing may be lost, have no cache or not answer: it is no source then. */
static bool answered(struct cluster_device *device) {
    const bool done = device->pending == 0 && json_is_true(json_object_get(device->reply, "ok"));
    device->pending = 0; /* an answer that comes later is nobody's */
    return done && !device->lost;
}

/* One call to each device that still has something to be asked. *any: there was one. */
static shoal_status ask_round(struct distribution *run, const bool *missed, uint32_t *from,
                              uint32_t (*batches)[HAVE_BATCH], uint32_t *counts, bool *any,
                              struct shoal_error *error) {
    struct cluster *cluster = run->cluster;
    const bool need = missed == NULL;
    *any = false;
    for (uint32_t d = 0; d < cluster->count; d++) {
        counts[d] = need || !cluster->devices[d].lost
                        ? next_batch(run, missed, d, &from[d], batches[d])
                        : 0;
        if (counts[d] > 0) {
            *any = true;
            TRY(cluster_ask(cluster, d, have_request(run, batches[d], counts[d], need), error));
        }
    }
    if (*any) {
        TRY(need ? cluster_collect(cluster, HAVE_NS, error)
                 : cluster_settle(cluster, OTHERS_NS, error));
    }
    for (uint32_t d = 0; d < cluster->count; d++) {
        if (counts[d] == 0) {
            continue;
        }
        if (need || answered(&cluster->devices[d])) {
            TRY(take_missing(run, d, batches[d], counts[d], error));
        } else {
            from[d] = run->options->content_count; /* it is asked no more */
        }
    }
    return SHOAL_OK;
}

static shoal_status ask_all(struct distribution *run, const bool *missed,
                            struct shoal_error *error) {
    uint32_t *from = mem_calloc(run->cluster->count, sizeof *from);
    uint32_t *counts = mem_calloc(run->cluster->count, sizeof *counts);
    uint32_t(*batches)[HAVE_BATCH] = mem_calloc(run->cluster->count, sizeof *batches);
    shoal_status status = SHOAL_OK;
    if (from == NULL || counts == NULL || batches == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    }
    bool any = true;
    while (any && status == SHOAL_OK) {
        status = ask_round(run, missed, from, batches, counts, &any, error);
    }
    mem_free(from);
    mem_free(counts);
    mem_free(batches);
    return status;
}

/* What each device needs and has; then, of what somebody misses, what the others have. */
static shoal_status ask_have(struct distribution *run, struct shoal_error *error) {
    const uint32_t count = run->options->content_count;
    TRY(ask_all(run, NULL, error));
    bool *missed = mem_calloc(count + 1, sizeof *missed);
    if (missed == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    }
    for (uint32_t d = 0; d < run->cluster->count; d++) {
        for (uint32_t c = 0; c < count; c++) {
            if (!run->options->needs[at(run, d, c)]) {
                continue;
            }
            const uint64_t bytes = run->options->contents[c].bytes;
            if (run->has[at(run, d, c)]) {
                run->outcome->devices[d].had_bytes += bytes;
                run->outcome->had_bytes += bytes;
            } else {
                missed[c] = true;
                run->devices[d].missing_bytes += bytes;
                run->missing_bytes += bytes;
            }
        }
    }
    const shoal_status status = run->missing_bytes > 0 ? ask_all(run, missed, error) : SHOAL_OK;
    mem_free(missed);
    return status;
}

/* ---- decisions ---- */

static void queue_fetch(struct distribution *run, const struct distribute_action *action) {
    struct device *device = &run->devices[action->device];
    /* Never more than the core lets run at a time. */
    if (device->queued < DISTRIBUTE_MAX_FETCHES) {
        device->queue[device->queued++] =
            (struct order){.content = action->content, .source = action->source};
    }
}

static shoal_status step(struct distribution *run, struct distribute_event event,
                         struct shoal_error *error) {
    struct distribute_actions actions;
    event.now_ns = platform_now_ns();
    distribute_step(run->state, &event, &actions);
    for (uint32_t i = 0; i < actions.count; i++) {
        const struct distribute_action *action = &actions.list[i];
        if (action->kind == DISTRIBUTE_FAIL) {
            return error_set(error, action->status, "%s", actions.fail_text);
        }
        if (action->kind == DISTRIBUTE_FETCH) {
            queue_fetch(run, action);
        }
    }
    return SHOAL_OK;
}

/* ---- asking for fetches ---- */

static json_t *source_document(const struct distribution *run, uint32_t source) {
    if (source == DISTRIBUTE_ORIGIN) {
        return json_null();
    }
    const struct cluster_device *device = &run->cluster->devices[source];
    return json_pack("{s:s, s:s, s:s}", "name", device->name, "address", device->address, "key",
                     device->key);
}

/* A call that fails is the failure of everything it asked for. */
static shoal_status fail_asked(struct distribution *run, uint32_t d, shoal_status status,
                               const char *text, struct shoal_error *error) {
    struct device *device = &run->devices[d];
    const uint32_t count = device->asked_count;
    device->asked_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        TRY(step(run,
                 (struct distribute_event){.kind = DISTRIBUTE_FAILED,
                                           .device = d,
                                           .content = device->asked[i].content,
                                           .status = status,
                                           .text = text},
                 error));
    }
    return SHOAL_OK;
}

/* All that is queued for one source goes into one call. */
static shoal_status ask_fetch(struct distribution *run, uint32_t d, struct shoal_error *error) {
    struct device *device = &run->devices[d];
    const uint32_t source = device->queue[0].source;
    json_t *list = json_array();
    uint32_t kept = 0;
    device->asked_count = 0;
    for (uint32_t i = 0; i < device->queued; i++) {
        const struct order order = device->queue[i];
        if (order.source != source) {
            device->queue[kept++] = order;
            continue;
        }
        const struct distribution_content *content = &run->options->contents[order.content];
        device->asked[device->asked_count++] = order;
        (void)json_array_append_new(list,
                                    json_pack("[s,I]", content->key, (json_int_t)content->bytes));
    }
    device->queued = kept;
    if (source != DISTRIBUTE_ORIGIN && run->cluster->devices[source].lost) {
        json_decref(list);
        return fail_asked(run, d, SHOAL_PEER_LOST, run->cluster->devices[source].lost_text, error);
    }
    const shoal_status status =
        cluster_ask(run->cluster, d,
                    json_pack("{s:s, s:o, s:o}", "call", "fetch", "contents", list, "source",
                              source_document(run, source)),
                    error);
    if (status == SHOAL_PEER_LOST) { /* an event will say why */
        device->asked_count = 0;
        return SHOAL_OK;
    }
    return status;
}

static shoal_status take_answer(struct distribution *run, uint32_t d, struct shoal_error *error) {
    const struct cluster_device *peer = &run->cluster->devices[d];
    if (json_is_true(json_object_get(peer->reply, "ok"))) {
        run->devices[d].asked_count = 0;
        return SHOAL_OK;
    }
    struct shoal_error why;
    const shoal_status status = control_refusal_status(peer->reply, peer->name, &why);
    return fail_asked(run, d, status, why.text, error);
}

static shoal_status talk(struct distribution *run, struct shoal_error *error) {
    for (uint32_t d = 0; d < run->cluster->count; d++) {
        struct device *device = &run->devices[d];
        const struct cluster_device *peer = &run->cluster->devices[d];
        if (peer->pending == 0 && device->asked_count > 0) {
            TRY(take_answer(run, d, error));
        }
        if (peer->pending == 0 && device->queued > 0 && !peer->lost) {
            TRY(ask_fetch(run, d, error));
        }
    }
    return SHOAL_OK;
}

/* ---- what devices say ---- */

static shoal_status take_fetched(struct distribution *run, uint32_t d, const json_t *document,
                                 struct shoal_error *error) {
    const char *key, *text = "", *name = "";
    int64_t bytes;
    TRY(control_text(document, "content", DIGEST_TEXT - 1, &key, error));
    TRY(control_integer(document, "bytes", 0, INT64_MAX / 2, &bytes, error));
    const uint32_t content = find_content(run, key);
    if (content == run->options->content_count) {
        return error_set(error, SHOAL_PROTOCOL, "it fetched %s, which is not needed", key);
    }
    run->outcome->devices[d].received_bytes += (uint64_t)bytes;
    run->outcome->received_bytes += (uint64_t)bytes;
    struct distribute_event event = {.kind = DISTRIBUTE_FETCHED, .device = d, .content = content};
    if (!json_is_true(json_object_get(document, "ok"))) {
        TRY(control_text(document, "text", SHOAL_ERROR_TEXT, &text, error));
        TRY(control_text(document, "status", 64, &name, error));
        event.kind = DISTRIBUTE_FAILED;
        event.status = control_status_of(name);
        event.text = text;
        log_info("device %s could not fetch %s: %s", run->names[d],
                 run->options->contents[content].name, text);
    }
    return step(run, event, error);
}

static shoal_status take_event(struct distribution *run, uint32_t d, const json_t *document,
                               struct shoal_error *error) {
    const char *kind;
    TRY(control_text(document, "event", 32, &kind, error));
    if (strcmp(kind, "fetched") == 0) {
        return take_fetched(run, d, document, error);
    }
    if (strcmp(kind, "fetching") == 0) {
        int64_t bytes;
        TRY(control_integer(document, "bytes", 0, INT64_MAX / 2, &bytes, error));
        run->devices[d].told_bytes += (uint64_t)bytes;
        return step(run, (struct distribute_event){.kind = DISTRIBUTE_PROGRESS, .device = d},
                    error);
    }
    return SHOAL_OK; /* of something else */
}

static void take_request(struct distribution *run, const char *peer, const json_t *document) {
    struct shoal_error error;
    const char *call;
    shoal_status status = control_text(document, "call", 32, &call, &error);
    if (status == SHOAL_OK && strcmp(call, "read") != 0) {
        status = error_set(&error, SHOAL_UNSUPPORTED, "an owner answers no call '%s'", call);
    }
    if (status == SHOAL_OK) {
        status = serve_request(run->serve, peer, document, &error);
    }
    if (status != SHOAL_OK) {
        log_debug("a request of %s is refused: %s", peer, error.text);
        const json_int_t id = json_integer_value(json_object_get(document, "id"));
        struct shoal_error unsent;
        if (control_send(run->cluster->transport, peer, WIRE_REPLY,
                         control_refusal((uint64_t)id, &error), &unsent) != SHOAL_OK) {
            log_debug("%s gets no answer: %s", peer, unsent.text);
        }
    }
}

static shoal_status take_message(struct distribution *run, struct transport_message *raw,
                                 struct shoal_error *error) {
    struct wire_message message;
    json_t *document;
    const uint32_t d = cluster_find(run->cluster, raw->peer);
    char name[TRANSPORT_NAME_BYTES];
    memcpy(name, raw->peer, sizeof name);
    shoal_status status = wire_decode(raw->data, raw->size, &message, error);
    if (status == SHOAL_OK && d < run->cluster->count &&
        (message.header.kind == WIRE_EVENT || message.header.kind == WIRE_REQUEST)) {
        status = control_parse(&message, &document, error);
        if (status == SHOAL_OK) {
            if (message.header.kind == WIRE_EVENT) {
                status = take_event(run, d, document, error);
            } else {
                take_request(run, raw->peer, document);
            }
            json_decref(document);
        }
    }
    run->cluster->transport->ops->message_free(run->cluster->transport, raw);
    /* What the core gives up for names the device already. */
    return status == SHOAL_OK || distribute_is_over(run->state)
               ? status
               : error_wrap(error, SHOAL_PROTOCOL, "device %s", name);
}

static shoal_status take(struct distribution *run, const struct transport_event *event,
                         struct shoal_error *error) {
    const uint32_t d = cluster_find(run->cluster, event->peer);
    switch (event->kind) {
    case TRANSPORT_MESSAGE:
        return take_message(run, event->message, error);
    case TRANSPORT_WRITABLE:
        serve_writable(run->serve, event->peer);
        return SHOAL_OK;
    case TRANSPORT_PEER_LOST:
        serve_peer_lost(run->serve, event->peer);
        if (d < run->cluster->count) {
            return step(run,
                        (struct distribute_event){
                            .kind = DISTRIBUTE_LOST, .device = d, .text = event->text},
                        error);
        }
        return SHOAL_OK;
    case TRANSPORT_PEER_UP:
    case TRANSPORT_INTERRUPT:
        break;
    }
    return SHOAL_OK;
}

/* ---- the whole ---- */

static void report_progress(struct distribution *run, bool last) {
    const uint64_t now = platform_now_ns();
    if (run->options->on_progress == NULL || (!last && now - run->reported_ns < PROGRESS_NS)) {
        return;
    }
    run->reported_ns = now;
    uint64_t told = 0; /* what devices say in between may count a piece twice */
    for (uint32_t d = 0; d < run->cluster->count; d++) {
        const struct device *device = &run->devices[d];
        told +=
            device->told_bytes < device->missing_bytes ? device->told_bytes : device->missing_bytes;
    }
    const uint64_t done = run->missing_bytes - distribute_missing_bytes(run->state);
    const struct distribution_progress progress = {.done_bytes = done > told ? done : told,
                                                   .total_bytes = run->missing_bytes,
                                                   .sent_bytes = serve_sent_bytes(run->serve),
                                                   .seconds = (double)(now - run->start_ns) * 1e-9};
    run->options->on_progress(run->options->context, &progress);
}

static shoal_status run_fetches(struct distribution *run, struct shoal_error *error) {
    TRY(step(run, (struct distribute_event){.kind = DISTRIBUTE_TICK}, error));
    while (!distribute_is_over(run->state)) {
        TRY(talk(run, error));
        report_progress(run, false);
        const uint64_t soon = platform_now_ns() + PROGRESS_NS;
        const uint64_t due = distribute_deadline_ns(run->state);
        struct transport_event event;
        const shoal_status status =
            cluster_next(run->cluster, due < soon ? due : soon, &event, error);
        if (status == SHOAL_OK) {
            TRY(take(run, &event, error));
        } else if (status == SHOAL_CANCELLED) {
            return step(run, (struct distribute_event){.kind = DISTRIBUTE_CANCEL}, error);
        } else if (status != SHOAL_TIMEOUT) {
            return status;
        }
        /* After messages too: a device that talks must not hide that another one is silent. */
        if (platform_now_ns() >= distribute_deadline_ns(run->state)) {
            TRY(step(run, (struct distribute_event){.kind = DISTRIBUTE_TICK}, error));
        }
    }
    report_progress(run, true);
    return SHOAL_OK;
}

static shoal_status prepare(struct distribution *run, struct shoal_error *error) {
    const struct distribution_options *options = run->options;
    const size_t devices = run->cluster->count, contents = options->content_count;
    run->devices = mem_calloc(devices, sizeof *run->devices);
    run->has = mem_calloc(devices * contents + 1, sizeof *run->has);
    run->named = mem_calloc(contents + 1, sizeof *run->named);
    run->names = mem_calloc(devices, sizeof *run->names);
    run->texts = mem_calloc(contents + 1, sizeof *run->texts);
    run->outcome->devices = mem_calloc(devices, sizeof *run->outcome->devices);
    if (run->devices == NULL || run->has == NULL || run->named == NULL || run->names == NULL ||
        run->texts == NULL || run->outcome->devices == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a distribution");
    }
    run->outcome->device_count = run->cluster->count;
    for (uint32_t d = 0; d < devices; d++) {
        run->names[d] = run->cluster->devices[d].name;
    }
    for (uint32_t c = 0; c < contents; c++) {
        run->named[c] = (struct named){.key = options->contents[c].key, .content = c};
        run->texts[c] = (struct distribute_content){.name = options->contents[c].name,
                                                    .bytes = options->contents[c].bytes};
    }
    qsort(run->named, contents, sizeof *run->named, compare_named);
    const struct serve_options serve = {.transport = run->cluster->transport,
                                        .read = options->read,
                                        .context = options->read_context};
    return serve_create(&serve, &run->serve, error);
}

static shoal_status distribute(struct distribution *run, struct shoal_error *error) {
    TRY(prepare(run, error));
    TRY(ask_have(run, error));
    const struct distribute_params params = {
        .device_count = run->cluster->count,
        .content_count = run->options->content_count,
        .device_names = run->names,
        .contents = run->texts,
        .needs = run->options->needs,
        .has = run->has,
        .stall_ns = run->options->stall_ns > 0 ? run->options->stall_ns : STALL_NS,
        .now_ns = platform_now_ns()};
    TRY(distribute_create(&params, &run->state, error));
    return run_fetches(run, error);
}

shoal_status distribution_run(const struct distribution_options *options,
                              struct distribution_outcome *out, struct shoal_error *error) {
    memset(out, 0, sizeof *out);
    struct distribution run = {.options = options,
                               .outcome = out,
                               .cluster = options->cluster,
                               .start_ns = platform_now_ns()};
    const shoal_status status = distribute(&run, error);
    out->seconds = (double)(platform_now_ns() - run.start_ns) * 1e-9;
    out->sent_bytes = run.serve != NULL ? serve_sent_bytes(run.serve) : 0;
    serve_destroy(run.serve);
    distribute_destroy(run.state);
    mem_free(run.devices);
    mem_free(run.has);
    mem_free(run.named);
    mem_free(run.names);
    mem_free(run.texts);
    return status;
}

void distribution_outcome_fini(struct distribution_outcome *outcome) {
    mem_free(outcome->devices);
    outcome->devices = NULL;
}
