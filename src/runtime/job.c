#include "runtime/job.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "protocol/run.h"
#include "runtime/control.h"
#include "runtime/feeder.h"
#include "runtime/job_stages.h"
#include "runtime/job_weights.h"
#include "runtime/order.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define STALL_NS (60 * CLOCK_SECOND)
#define ANSWER_NS (2 * CLOCK_SECOND)
#define READ_AHEAD 2
#define PROGRESS_NS (100 * CLOCK_MS)
#define WINDOW_BATCHES 64               /* results that may wait for an older one, at most */
#define WINDOW_BYTES ((size_t)64 << 20) /* and of so many bytes */

/* When result n (from 1) came, and how many items there were with it. */
struct mark {
    uint64_t ns, items;
};

struct job {
    const struct job_options *options;
    struct job_outcome *outcome;
    struct run_state run;
    struct run_actions actions;
    struct feeder *feeder;
    uint64_t id;
    bool ended;                /* END_OF_INPUT was said */
    struct feeder_item *items; /* [slots][batch]: what a microbatch in flight holds */
    struct order *order;
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    uint32_t output_count;
    struct transport_message **arrived; /* [slots] */
    uint64_t start_ns, reported_ns;
    uint64_t sent_before;         /* to the first stage's device: weights, requests */
    uint64_t delivered, received; /* microbatches; items of them */
    struct mark first, *recent;   /* result p; ring of the last p + 1 */
    char name[4096];
};

static const struct plan_stage *stage_of(const struct job *job, uint32_t index) {
    return &job->options->placement->stages[index];
}

static uint32_t stage_count(const struct job *job) {
    return job->options->placement->stage_count;
}

static struct cluster_device *device_of(const struct job *job, uint32_t index) {
    return &job->options->cluster->devices[stage_of(job, index)->device];
}

static uint32_t stage_of_peer(const struct job *job, const char *peer) {
    for (uint32_t i = 0; i < stage_count(job); i++) {
        if (strcmp(device_of(job, i)->name, peer) == 0) {
            return i;
        }
    }
    return RUN_NO_STAGE;
}

/* ---- setup ---- */

static void on_skip(void *context, uint64_t item, const struct shoal_error *why) {
    const struct job_options *options = ((struct job *)context)->options;
    char name[4096];
    input_name(options->input, item, name, sizeof name);
    results_skip(options->results, item, name, why->text);
    options->on_skip(options->context, name, why->text);
}

static void on_filled(void *context) {
    cluster_interrupt(((struct job *)context)->options->cluster);
}

/* Items whose results may wait for an older one's. */
static uint64_t window_of(const struct job *job) {
    const uint64_t batch = (uint64_t)job->options->batch;
    const uint64_t rows = WINDOW_BYTES / results_row_bytes(job->options->results);
    const uint64_t window = WINDOW_BATCHES * batch < rows ? WINDOW_BATCHES * batch : rows;
    return window > batch ? window : batch;
}

static shoal_status start(struct job *job, struct shoal_error *error) {
    const uint32_t stages = stage_count(job);
    const char *names[RUN_MAX_STAGES];
    for (uint32_t i = 0; i < stages; i++) {
        names[i] = device_of(job, i)->name;
    }
    const uint64_t stall = job->options->stall_ns > 0 ? job->options->stall_ns : STALL_NS;
    const struct run_params params = {
        .stage_count = stages,
        .device_names = names,
        .in_flight = 3 * stages + 2,
        .read_ahead = READ_AHEAD,
        .credits = UINT32_MAX, /* the transport counts; BUSY says when it has none */
        .stall_ns = stall,
        .answer_ns = ANSWER_NS,
        .now_ns = platform_now_ns()};
    TRY(run_init(&job->run, &params, error));
    const size_t slots = params.in_flight + params.read_ahead;
    const uint64_t window = window_of(job);
    job->output_count = model_outputs(job->options->model, job->outputs);
    job->items = mem_calloc(slots * (size_t)job->options->batch, sizeof *job->items);
    job->arrived = mem_calloc(slots, sizeof(void *));
    job->recent = mem_calloc(stages + 1, sizeof *job->recent);
    if (job->items == NULL || job->arrived == NULL || job->recent == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a run");
    }
    TRY(order_create(window, results_row_bytes(job->options->results), &job->order, error));
    const struct feeder_options feeder = {.input = job->options->input,
                                          .model = job->options->model,
                                          .batch = job->options->batch,
                                          .slot_count = READ_AHEAD + 1,
                                          .window = window,
                                          .on_skip = on_skip,
                                          .on_filled = on_filled,
                                          .context = job};
    return feeder_create(&feeder, &job->feeder, error);
}

/* ---- carrying out ---- */

static struct run_event event_of(enum run_event_kind kind) {
    return (struct run_event){.kind = kind, .now_ns = platform_now_ns(), .stage = RUN_NO_STAGE};
}

/* The model's inputs at the microbatch's length. */
static uint32_t input_tensors(const struct job *job, const struct feeder_batch *batch,
                              struct tensor tensors[MODEL_MAX_INPUTS]) {
    struct model_config model = *job->options->model;
    struct model_input inputs[MODEL_MAX_INPUTS];
    model.length = batch->length;
    const uint32_t count = model_inputs(&model, inputs);
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor_type type = graph_resolve(inputs[i].type, job->options->batch);
        tensors[i] = (struct tensor){
            .dtype = type.dtype, .shape = type.shape, .data = (void *)(uintptr_t)batch->values[i]};
    }
    return count;
}

/* Sends microbatch `number` to the first stage; BUSY is an answer, not a failure. */
static shoal_status offer(struct job *job, uint64_t number, shoal_status *answer,
                          struct shoal_error *error) {
    struct transport *transport = job->options->cluster->transport;
    const struct feeder_batch batch = feeder_get(job->feeder, number);
    struct tensor tensors[MODEL_MAX_INPUTS];
    const uint32_t count = input_tensors(job, &batch, tensors);
    const struct wire_header header = {.kind = WIRE_ACTIVATION,
                                       .job = job->id,
                                       .generation = 1,
                                       .microbatch = number,
                                       .items = batch.items,
                                       .tensor_count = count};
    size_t size, used;
    struct transport_message *message;
    TRY(wire_size(tensors, count, 0, &size, error));
    TRY(transport->ops->message_new(transport, size, &message, error));
    shoal_status status =
        wire_encode(&header, tensors, NULL, message->data, message->capacity, NULL, &used, error);
    if (status == SHOAL_OK) {
        message->size = used;
        status = transport->ops->send(transport, device_of(job, 0)->name, message, error);
    }
    *answer = status;
    if (status != SHOAL_OK) {
        transport->ops->message_free(transport, message);
        return status == SHOAL_BUSY || status == SHOAL_PEER_LOST ? SHOAL_OK : status;
    }
    memcpy(&job->items[run_slot(&job->run, number) * (size_t)job->options->batch], batch.list,
           batch.items * sizeof *batch.list);
    feeder_release(job->feeder, number + 1);
    return SHOAL_OK;
}

static void mark_result(struct job *job, uint64_t items) {
    const uint32_t p = stage_count(job);
    const struct mark mark = {.ns = platform_now_ns(), .items = items};
    job->delivered++;
    if (job->delivered == p) {
        job->first = mark;
    }
    job->recent[job->delivered % (p + 1)] = mark;
}

/* An item's outputs, one after the other. */
static void copy_row(const struct job *job, const struct wire_message *message, uint32_t item,
                     unsigned char *row) {
    for (uint32_t i = 0; i < job->output_count; i++) {
        const struct tensor *tensor = &message->tensors[job->outputs[i].index];
        const size_t bytes = tensor_bytes(tensor) / (size_t)job->options->batch;
        memcpy(row, (const unsigned char *)tensor->data + item * bytes, bytes);
        row += bytes;
    }
}

static shoal_status deliver(struct job *job, uint64_t number, uint32_t items,
                            struct shoal_error *error) {
    const uint32_t slot = run_slot(&job->run, number);
    struct transport *transport = job->options->cluster->transport;
    struct transport_message *message = job->arrived[slot];
    struct wire_message decoded;
    TRY(wire_decode(message->data, message->size, &decoded, error));
    for (uint32_t i = 0; i < items; i++) {
        const struct feeder_item *item = &job->items[slot * (size_t)job->options->batch + i];
        copy_row(job, &decoded, i, order_put(job->order, item->sequence, item->index));
    }
    job->arrived[slot] = NULL;
    transport->ops->message_free(transport, message);
    job->received += items;
    mark_result(job, job->received);
    uint64_t item;
    const void *rows;
    while (order_next(job->order, &item, &rows)) {
        input_name(job->options->input, item, job->name, sizeof job->name);
        TRY(results_add(job->options->results, item, job->name, rows, error));
        job->outcome->items++;
    }
    return results_flush(job->options->results, error);
}

static shoal_status ask_progress(struct job *job, struct shoal_error *error) {
    for (uint32_t i = 0; i < stage_count(job); i++) {
        const struct cluster_device *device = device_of(job, i);
        if (device->pending == 0 && !device->lost) {
            TRY(cluster_ask(job->options->cluster, stage_of(job, i)->device,
                            json_pack("{s:s, s:I}", "call", "progress", "job", (json_int_t)job->id),
                            error));
        }
    }
    return SHOAL_OK;
}

/* *busy: an offer that the transport had no credit for. */
static shoal_status act(struct job *job, const struct run_action *action, bool *busy,
                        struct shoal_error *error) {
    shoal_status answer = SHOAL_OK;
    switch (action->kind) {
    case RUN_OFFER:
        TRY(offer(job, action->number, &answer, error));
        *busy = answer == SHOAL_BUSY; /* a lost peer is an event of its own */
        return SHOAL_OK;
    case RUN_DELIVER:
        return deliver(job, action->number, action->items, error);
    case RUN_ASK_PROGRESS:
        return ask_progress(job, error);
    case RUN_FAIL:
        return error_set(error, action->status, "%s", job->actions.fail_text);
    case RUN_FINISH:
        break;
    }
    return SHOAL_OK;
}

static shoal_status step(struct job *job, const struct run_event *event,
                         struct shoal_error *error) {
    struct run_event current = *event;
    bool refused;
    do {
        refused = false;
        run_step(&job->run, &current, &job->actions);
        for (uint32_t i = 0; i < job->actions.count; i++) {
            const struct run_action *action = &job->actions.list[i];
            if (refused && action->kind == RUN_OFFER) {
                continue; /* younger than the refused one: held again with it */
            }
            bool busy = false;
            TRY(act(job, action, &busy, error));
            if (busy) {
                refused = true;
                current = event_of(RUN_BUSY);
                current.number = action->number;
            }
        }
    } while (refused);
    return SHOAL_OK;
}

/* ---- events ---- */

static shoal_status take_input(struct job *job, struct shoal_error *error) {
    const bool ended =
        feeder_ended(job->feeder); /* asked first: what was filled before the end is seen below */
    const uint64_t filled = feeder_filled(job->feeder);
    while (run_wants_input(&job->run) && run_next_input(&job->run) < filled) {
        struct run_event event = event_of(RUN_INPUT);
        event.number = run_next_input(&job->run);
        event.items = feeder_get(job->feeder, event.number).items;
        TRY(step(job, &event, error));
    }
    if (ended && !job->ended && run_next_input(&job->run) == filled) {
        job->ended = true;
        const struct run_event event = event_of(RUN_END_OF_INPUT);
        TRY(step(job, &event, error));
    }
    return SHOAL_OK;
}

/* A result's tensors must be the model's outputs for every item of the microbatch. */
static bool is_result(const struct job *job, const struct wire_message *message) {
    if (message->header.kind != WIRE_RESULT || message->header.job != job->id ||
        message->header.generation != 1 || message->header.tensor_count != job->output_count) {
        return false;
    }
    for (uint32_t i = 0; i < job->output_count; i++) {
        const struct tensor_type type = graph_resolve(job->outputs[i].type, job->options->batch);
        const struct tensor *tensor = &message->tensors[job->outputs[i].index];
        if (tensor->dtype != type.dtype || !shape_equal(&tensor->shape, &type.shape)) {
            return false;
        }
    }
    return true;
}

static shoal_status take_result(struct job *job, uint32_t stage, const struct wire_message *message,
                                struct transport_message *raw, struct shoal_error *error) {
    struct run_event event = event_of(RUN_RESULT);
    event.stage = stage;
    event.number = message->header.microbatch;
    struct transport_message **slot = &job->arrived[run_slot(&job->run, event.number)];
    if (*slot == NULL) { /* otherwise a second result: the coordinator refuses it */
        *slot = raw;
    } else {
        job->options->cluster->transport->ops->message_free(job->options->cluster->transport, raw);
    }
    return step(job, &event, error);
}

/* "failed" and "lost", as a device reports them of itself or of its neighbour. */
static shoal_status take_report(struct job *job, uint32_t stage, const struct wire_message *message,
                                struct shoal_error *error) {
    json_t *document;
    const char *kind = "", *text = "", *peer = "";
    TRY(control_parse(message, &document, error));
    shoal_status status = control_text(document, "event", 32, &kind, error);
    const bool lost_peer = strcmp(kind, "lost") == 0;
    if (status != SHOAL_OK || (!lost_peer && strcmp(kind, "failed") != 0)) {
        json_decref(document); /* progress of a fetch that has ended, say */
        return status;
    }
    status = control_text(document, "text", SHOAL_ERROR_TEXT, &text, error);
    if (status == SHOAL_OK && lost_peer) {
        status = control_text(document, "peer", TRANSPORT_NAME_BYTES - 1, &peer, error);
        const uint32_t lost = status == SHOAL_OK ? stage_of_peer(job, peer) : RUN_NO_STAGE;
        if (lost != RUN_NO_STAGE) {
            struct run_event event = event_of(RUN_PEER_LOST);
            event.stage = lost;
            event.text = text;
            status = step(job, &event, error);
        }
    } else if (status == SHOAL_OK) {
        status = error_set(error, SHOAL_CLUSTER_LOST, "device %s: %s", device_of(job, stage)->name,
                           text);
    }
    json_decref(document);
    return status;
}

static shoal_status take_message(struct job *job, struct transport_message *raw,
                                 struct shoal_error *error) {
    struct transport *transport = job->options->cluster->transport;
    struct wire_message message;
    const uint32_t stage = stage_of_peer(job, raw->peer);
    shoal_status status = SHOAL_OK;
    if (stage == RUN_NO_STAGE) {
        log_debug("dropped a message of %s, which has no part in this run", raw->peer);
    } else if (wire_decode(raw->data, raw->size, &message, error) != SHOAL_OK) {
        status = error_wrap(error, SHOAL_PROTOCOL, "device %s", raw->peer);
    } else if (message.header.kind == WIRE_EVENT) {
        status = take_report(job, stage, &message, error);
    } else if (is_result(job, &message)) {
        return take_result(job, stage, &message, raw, error);
    } else {
        log_debug("dropped a stale %s message of %s", wire_kind_name(message.header.kind),
                  raw->peer);
    }
    transport->ops->message_free(transport, raw);
    return status;
}

static shoal_status take_replies(struct job *job, struct shoal_error *error) {
    for (uint32_t i = 0; i < stage_count(job); i++) {
        struct cluster_device *device = device_of(job, i);
        int64_t done;
        if (device->pending == 0 && device->reply != NULL &&
            control_integer(device->reply, "done", 0, INT64_MAX, &done, NULL) == SHOAL_OK) {
            struct run_event event = event_of(RUN_PROGRESS);
            event.stage = i;
            event.number = (uint64_t)done;
            json_decref(device->reply);
            device->reply = NULL;
            TRY(step(job, &event, error));
        }
    }
    return SHOAL_OK;
}

static shoal_status take_event(struct job *job, struct transport_event *received,
                               struct shoal_error *error) {
    struct run_event event;
    const uint32_t stage = stage_of_peer(job, received->peer);
    switch (received->kind) {
    case TRANSPORT_MESSAGE:
        return take_message(job, received->message, error);
    case TRANSPORT_WRITABLE:
        event = event_of(RUN_CREDIT);
        event.count = UINT32_MAX;
        return stage == 0 ? step(job, &event, error) : SHOAL_OK;
    case TRANSPORT_PEER_LOST:
        if (stage != RUN_NO_STAGE) {
            event = event_of(RUN_PEER_LOST);
            event.stage = stage;
            event.text = received->text;
            return step(job, &event, error);
        }
        return SHOAL_OK;
    case TRANSPORT_PEER_UP:
    case TRANSPORT_INTERRUPT:
        break;
    }
    return take_replies(job, error);
}

static void report_progress(struct job *job) {
    const uint64_t now = platform_now_ns();
    if (job->options->on_progress == NULL || now - job->reported_ns < PROGRESS_NS) {
        return;
    }
    job->reported_ns = now;
    const double seconds = (double)(now - job->start_ns) * 1e-9;
    const struct job_progress progress = {
        .items_done = job->outcome->items,
        .items_total = input_count(job->options->input),
        .seconds = seconds,
        .items_per_second = seconds > 0 ? (double)job->outcome->items / seconds : 0};
    job->options->on_progress(job->options->context, &progress);
}

static shoal_status run_pipeline(struct job *job, struct shoal_error *error) {
    for (uint32_t i = 0; i < stage_count(job); i++) {
        struct run_event ready = event_of(RUN_STAGE_READY);
        ready.stage = i;
        TRY(step(job, &ready, error));
    }
    while (!run_is_over(&job->run)) {
        TRY(take_input(job, error));
        report_progress(job);
        if (run_is_over(&job->run)) {
            break;
        }
        const uint64_t soon = platform_now_ns() + PROGRESS_NS, due = run_deadline_ns(&job->run);
        struct transport_event received;
        const shoal_status status =
            cluster_next(job->options->cluster, due < soon ? due : soon, &received, error);
        if (status == SHOAL_OK) {
            TRY(take_event(job, &received, error));
        } else if (status != SHOAL_TIMEOUT) {
            return status;
        }
        /* After messages too: a peer that is never silent must not hide that nothing moves. */
        if (platform_now_ns() >= run_deadline_ns(&job->run)) {
            const struct run_event tick = event_of(RUN_TICK);
            TRY(step(job, &tick, error));
        }
    }
    return results_finish(job->options->results, error);
}

/* ---- the end ---- */

/* Bytes that have gone to the first stage's device, for whatever purpose. */
static uint64_t bytes_to_first(const struct job *job) {
    struct transport_peer_stats stats;
    const struct transport *transport = job->options->cluster->transport;
    return transport->ops->peer_stats(transport, device_of(job, 0)->name, &stats) ? stats.bytes_sent
                                                                                  : 0;
}

static void summarise(struct job *job) {
    struct job_outcome *outcome = job->outcome;
    const uint32_t p = stage_count(job);
    const uint64_t n = job->delivered;
    outcome->seconds = n > 0 ? (double)(job->recent[n % (p + 1)].ns - job->start_ns) * 1e-9 : 0;
    outcome->items_per_second = outcome->seconds > 0 ? (double)job->received / outcome->seconds : 0;
    outcome->steady_items_per_second = (double)NAN;
    if (n > 2 * (uint64_t)p) { /* from result p to result n − p */
        const struct mark *last = &job->recent[(n - p) % (p + 1)];
        const double seconds = (double)(last->ns - job->first.ns) * 1e-9;
        if (seconds > 0) {
            outcome->steady_items_per_second = (double)(last->items - job->first.items) / seconds;
        }
    }
    outcome->failed_items = feeder_skipped(job->feeder);
    outcome->source_bytes = bytes_to_first(job) - job->sent_before;
}

static void fini(struct job *job) {
    struct transport *transport = job->options->cluster->transport;
    feeder_destroy(job->feeder);
    const uint32_t slots = job->arrived != NULL ? job->run.in_flight + job->run.read_ahead : 0;
    for (uint32_t i = 0; i < slots; i++) {
        transport->ops->message_free(transport, job->arrived[i]);
    }
    mem_free(job->arrived);
    mem_free(job->items);
    order_destroy(job->order);
    mem_free(job->recent);
    mem_free(job);
}

shoal_status job_run(const struct job_options *options, struct job_outcome *out,
                     struct shoal_error *error) {
    memset(out, 0, sizeof *out);
    struct job *job = mem_calloc(1, sizeof *job);
    if (job == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a run");
    }
    job->options = options;
    job->outcome = out;
    job->id = platform_now_ns() >>
              1; /* another for every run of this machine; positive as JSON's integers are */
    out->stage_count = stage_count(job);
    for (uint32_t i = 0; i < out->stage_count; i++) {
        memcpy(out->stages[i].name, device_of(job, i)->name, sizeof out->stages[i].name);
    }
    const uint64_t begin = platform_now_ns();
    shoal_status status = SHOAL_OK;
    if (options->origin != NULL) {
        status = job_weights_distribute(options, &out->weights, error);
    }
    if (status == SHOAL_OK) {
        status = job_stages_prepare(options, job->id, error);
    }
    job->sent_before = bytes_to_first(job);
    const double cpu = platform_process_cpu_s();
    job->start_ns = platform_now_ns();
    out->setup_s = (double)(job->start_ns - begin) * 1e-9;
    if (status == SHOAL_OK) {
        status = start(job, error);
    }
    if (status == SHOAL_OK) {
        status = run_pipeline(job, error);
        out->owner_cpu_s = platform_process_cpu_s() - cpu;
        summarise(job);
    }
    if (status == SHOAL_OK) {
        results_digest(options->results, out->digest);
        status = job_stages_finish(options, job->id, out, error);
    }
    cluster_lease(options->cluster, 0);
    fini(job);
    return status;
}

void job_outcome_fini(struct job_outcome *outcome) {
    distribution_outcome_fini(&outcome->weights);
    for (uint32_t i = 0; i < outcome->stage_count; i++) {
        json_decref(outcome->stages[i].report);
        outcome->stages[i].report = NULL;
    }
}
