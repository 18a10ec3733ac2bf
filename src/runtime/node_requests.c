#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "kernels/isa.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/choice_json.h"
#include "runtime/link.h"
#include "runtime/profile.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_BATCH 4096
#define MODEL_TEXT_BYTES 4096
#define MAX_PATH_BYTES 4096

/* A request being answered. reply stays NULL when the answer is deferred. */
struct call {
    struct node *node;
    const char *peer;
    uint64_t id;
    const json_t *request;
    json_t *reply;
};

static shoal_status reply_or_out_of_memory(struct call *call, json_t *reply,
                                           struct shoal_error *error) {
    call->reply = reply;
    return reply != NULL ? SHOAL_OK : error_set(error, SHOAL_NO_MEMORY, "no memory for an answer");
}

static shoal_status call_info(struct call *call, struct shoal_error *error) {
    const struct node_options *options = &call->node->options;
    char host[256] = "";
    (void)gethostname(host, sizeof host - 1);
    return reply_or_out_of_memory(
        call,
        json_pack("{s:I, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:b}", "id",
                  (json_int_t)call->id, "ok", 1, "name", options->name, "version",
                  SHOAL_VERSION_TEXT, "host", host, "cpu", cpu_model_name(), "isa",
                  isa_name(isa_current()), "libraries", kernel_libraries(), "cores",
                  cpu_usable_cores(), "threads", options->threads, "memory_limit",
                  (json_int_t)options->memory_limit, "memory_available",
                  (json_int_t)memory_available_bytes(), "resident_bytes",
                  (json_int_t)call->node->start_resident_bytes, "shared_process",
                  (int)options->shared_process),
        error);
}

/* The model and microbatch that choose and profile are about. */
static shoal_status read_model(const struct call *call, struct model_config *model, int64_t *batch,
                               struct shoal_error *error) {
    const char *text;
    TRY(control_text(call->request, "model", MODEL_TEXT_BYTES, &text, error));
    TRY(model_config_from_json(text, strlen(text), model, error));
    return control_integer(call->request, "batch", 1, MAX_BATCH, batch, error);
}

static shoal_status refuse_while_busy(const struct call *call, struct shoal_error *error) {
    if (call->node->measuring || call->node->job.stage != NULL) {
        return error_set(error, SHOAL_BUSY, "busy with %s",
                         call->node->measuring ? "a measurement" : "a job");
    }
    return SHOAL_OK;
}

static shoal_status choose(struct call *call, const struct graph *graph, int64_t batch,
                           struct shoal_error *error) {
    struct kernel_choice *choice;
    TRY(kernel_choice_create(&choice, error));
    shoal_status status = profile_choose(graph, batch, call->node->options.threads, choice, error);
    if (status == SHOAL_OK) {
        json_t *document = choice_to_json(choice, NULL);
        status = reply_or_out_of_memory(
            call,
            json_pack("{s:I, s:b, s:o}", "id", (json_int_t)call->id, "ok", 1, "choice", document),
            error);
    }
    kernel_choice_destroy(choice);
    return status;
}

static shoal_status call_choose(struct call *call, struct shoal_error *error) {
    struct model_config model;
    int64_t batch;
    TRY(refuse_while_busy(call, error));
    TRY(read_model(call, &model, &batch, error));
    struct graph *graph;
    TRY(model_build(&model, &graph, error));
    const shoal_status status = choose(call, graph, batch, error);
    graph_destroy(graph);
    return status;
}

static json_t *segments_to_json(const struct profile_segment *segments, uint32_t count) {
    json_t *list = json_array();
    for (uint32_t i = 0; list != NULL && i < count; i++) {
        const struct profile_segment *s = &segments[i];
        if (json_array_append_new(list,
                                  json_pack("[f,I,I,I,I]", s->seconds, (json_int_t)s->weights_bytes,
                                            (json_int_t)s->slot_bytes, (json_int_t)s->scratch_bytes,
                                            (json_int_t)s->load_extra_bytes)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static shoal_status profile(struct call *call, const struct profile_options *options,
                            struct shoal_error *error) {
    const uint32_t count = graph_segment_count(options->graph);
    struct profile_segment *segments = mem_calloc(count, sizeof *segments);
    if (segments == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a profile");
    }
    size_t library_bytes = 0;
    shoal_status status = profile_measure(options, segments, &library_bytes, error);
    if (status == SHOAL_OK) {
        status =
            reply_or_out_of_memory(call,
                                   json_pack("{s:I, s:b, s:o, s:I}", "id", (json_int_t)call->id,
                                             "ok", 1, "segments", segments_to_json(segments, count),
                                             "library_bytes", (json_int_t)library_bytes),
                                   error);
    }
    mem_free(segments);
    return status;
}

static shoal_status call_profile(struct call *call, struct shoal_error *error) {
    struct model_config model;
    int64_t batch;
    const json_t *document;
    TRY(refuse_while_busy(call, error));
    TRY(read_model(call, &model, &batch, error));
    TRY(control_object(call->request, "choice", &document, error));
    struct kernel_choice *choice;
    TRY(choice_from_json(document, &choice, error));
    struct graph *graph = NULL;
    shoal_status status = model_build(&model, &graph, error);
    if (status == SHOAL_OK) {
        const struct profile_options options = {.graph = graph,
                                                .batch = batch,
                                                .threads = call->node->options.threads,
                                                .choice = choice};
        call->node->measuring = true;
        status = profile(call, &options, error);
        call->node->measuring = false;
    }
    graph_destroy(graph);
    kernel_choice_destroy(choice);
    return status;
}

/* Dials the peer named in a request's "peer", "address", "key" unless it is connected. */
static shoal_status dial(struct call *call, const char *peer, const json_t *request,
                         struct shoal_error *error) {
    const char *address, *key;
    TRY(control_text(request, "address", 256, &address, error));
    TRY(control_text(request, "key", 64, &key, error));
    struct transport *transport = call->node->transport;
    const shoal_status status = transport->ops->connect(transport, peer, address, key, error);
    return status == SHOAL_BUSY ? SHOAL_OK : status;
}

static shoal_status on_other_event(void *context, struct transport_event *event,
                                   struct shoal_error *error) {
    struct node *node = context;
    TRY(node_handle_event(node, event, error));
    return atomic_load(&node->stop) ? error_set(error, SHOAL_CANCELLED, "the device is stopping")
                                    : SHOAL_OK;
}

static shoal_status call_link(struct call *call, struct shoal_error *error) {
    const char *peer;
    int64_t bytes;
    TRY(refuse_while_busy(call, error));
    TRY(control_text(call->request, "peer", TRANSPORT_NAME_BYTES - 1, &peer, error));
    TRY(control_integer(call->request, "bytes", 1, 1 << 28, &bytes, error));
    if (strcmp(peer, call->peer) != 0) {
        TRY(dial(call, peer, call->request, error));
    }
    struct link_figures figures;
    call->node->measuring = true;
    const shoal_status status = link_measure(call->node->transport, peer, (size_t)bytes,
                                             on_other_event, call->node, &figures, error);
    call->node->measuring = false;
    TRY(status);
    return reply_or_out_of_memory(
        call,
        json_pack("{s:I, s:b, s:f, s:f, s:f, s:f}", "id", (json_int_t)call->id, "ok", 1, "alpha_s",
                  figures.alpha_s, "beta_s_per_byte", figures.beta_s_per_byte, "cpu_s_per_message",
                  figures.cpu_s_per_message, "cpu_s_per_byte", figures.cpu_s_per_byte),
        error);
}

/* {"seed": n} or {"path": TEXT}, borrowed from the request. */
static shoal_status read_weights(const json_t *request, struct weights_spec *out,
                                 struct shoal_error *error) {
    const json_t *weights;
    TRY(control_object(request, "weights", &weights, error));
    if (json_object_get(weights, "seed") != NULL) {
        int64_t seed;
        TRY(control_integer(weights, "seed", INT64_MIN, INT64_MAX, &seed, error));
        *out = (struct weights_spec){.seed = (uint64_t)seed};
        return SHOAL_OK;
    }
    const char *path;
    TRY(control_text(weights, "path", MAX_PATH_BYTES, &path, error));
    *out = (struct weights_spec){.path = path};
    return SHOAL_OK;
}

static shoal_status make_stage(struct call *call, struct node_job *job, struct shoal_error *error) {
    struct model_config model;
    int64_t first, last;
    TRY(read_model(call, &model, &job->batch, error));
    TRY(control_integer(call->request, "first", 1, UINT32_MAX, &first, error));
    TRY(control_integer(call->request, "last", first, UINT32_MAX, &last, error));
    const json_t *choice_document;
    TRY(control_object(call->request, "choice", &choice_document, error));
    struct kernel_choice *choice = NULL;
    struct stage_options options = {.model = &model,
                                    .first = (uint32_t)first,
                                    .last = (uint32_t)last,
                                    .batch = job->batch,
                                    .threads = call->node->options.threads,
                                    .memory_limit = call->node->options.memory_limit};
    shoal_status status = read_weights(call->request, &options.weights, error);
    if (status == SHOAL_OK) {
        status = choice_from_json(choice_document, &choice, error);
    }
    if (status == SHOAL_OK) {
        options.choice = choice;
        status = stage_create(&options, &job->stage, error);
    }
    kernel_choice_destroy(choice);
    return status;
}

/*
 * Fills the message pool with what the run will have underway at most, so that the step path
 * allocates nothing: the credit window arriving and leaving, one being read, one being made.
 */
static shoal_status warm_pool(struct transport *transport, size_t bytes,
                              struct shoal_error *error) {
    enum { UNDERWAY = 4 };
    struct transport_message *messages[UNDERWAY] = {NULL};
    shoal_status status = SHOAL_OK;
    for (int i = 0; i < UNDERWAY && status == SHOAL_OK; i++) {
        status = transport->ops->message_new(transport, bytes, &messages[i], error);
    }
    for (int i = 0; i < UNDERWAY; i++) {
        transport->ops->message_free(transport, messages[i]);
    }
    return status;
}

static shoal_status prepare_messages(struct call *call, const struct stage *stage,
                                     struct shoal_error *error) {
    size_t in, out;
    TRY(stage_message_bytes(stage, &in, &out, error));
    TRY(warm_pool(call->node->transport, in, error));
    return warm_pool(call->node->transport, out, error);
}

static shoal_status read_job(struct call *call, struct node_job *job, struct shoal_error *error) {
    int64_t number;
    const char *previous, *next;
    TRY(control_integer(call->request, "job", 0, INT64_MAX, &number, error));
    job->id = (uint64_t)number;
    TRY(control_integer(call->request, "generation", 0, UINT32_MAX, &number, error));
    job->generation = (uint32_t)number;
    TRY(control_integer(call->request, "stages", 1, UINT16_MAX, &number, error));
    job->count = (uint16_t)number;
    TRY(control_integer(call->request, "stage", 0, job->count - 1, &number, error));
    job->index = (uint16_t)number;
    TRY(control_text(call->request, "previous", TRANSPORT_NAME_BYTES - 1, &previous, error));
    TRY(control_text(call->request, "next", TRANSPORT_NAME_BYTES - 1, &next, error));
    (void)snprintf(job->owner, sizeof job->owner, "%s", call->peer);
    (void)snprintf(job->previous, sizeof job->previous, "%s", previous);
    (void)snprintf(job->next, sizeof job->next, "%s", next);
    return SHOAL_OK;
}

/* Loads the stage, dials the next device, answers when that one is up. */
static shoal_status call_prepare(struct call *call, struct shoal_error *error) {
    struct node *node = call->node;
    TRY(refuse_while_busy(call, error));
    struct node_job job = {.prepare_id = call->id, .waits_for_next = true};
    TRY(read_job(call, &job, error));
    memory_trim();
    memory_resident_peak_reset(); /* a job's peak is its own, not that of an earlier job or a
                                     profile */
    TRY(make_stage(call, &job, error));
    node->job = job;
    const shoal_status warmed = prepare_messages(call, job.stage, error);
    if (warmed != SHOAL_OK) {
        node_job_drop(node);
        return warmed;
    }
    if (strcmp(job.next, call->peer) == 0) {
        node_job_peer_up(node, job.next);
        return SHOAL_OK;
    }
    struct transport *transport = node->transport;
    const char *address = NULL, *key = NULL;
    shoal_status status = control_text(call->request, "address", 256, &address, error);
    if (status == SHOAL_OK) {
        status = control_text(call->request, "key", 64, &key, error);
    }
    if (status == SHOAL_OK) {
        status = transport->ops->connect(transport, job.next, address, key, error);
        if (status == SHOAL_BUSY) { /* connected since an earlier job or a measurement */
            node_job_peer_up(node, job.next);
            status = SHOAL_OK;
        }
    }
    if (status != SHOAL_OK) {
        node_job_drop(node);
    }
    return status;
}

static shoal_status check_owner(const struct call *call, struct shoal_error *error) {
    if (call->node->job.stage == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "no job is here");
    }
    if (strcmp(call->node->job.owner, call->peer) != 0) {
        return error_set(error, SHOAL_DENIED, "the job belongs to %s", call->node->job.owner);
    }
    return SHOAL_OK;
}

static shoal_status call_progress(struct call *call, struct shoal_error *error) {
    TRY(check_owner(call, error));
    return reply_or_out_of_memory(call,
                                  json_pack("{s:I, s:b, s:I}", "id", (json_int_t)call->id, "ok", 1,
                                            "done", (json_int_t)call->node->job.done),
                                  error);
}

static shoal_status call_report(struct call *call, struct shoal_error *error) {
    TRY(check_owner(call, error));
    const struct node_job *job = &call->node->job;
    struct transport *transport = call->node->transport;
    struct transport_peer_stats in = {0}, out = {0};
    struct transport_stats all;
    transport->ops->stats(transport, &all);
    (void)transport->ops->peer_stats(transport, job->previous, &in);
    (void)transport->ops->peer_stats(transport, job->next, &out);
    const double cpu_s = job->started ? platform_process_cpu_s() - job->start_cpu_s : 0.0;
    const double io_cpu_s = job->started ? all.io_cpu_s - job->start_io_cpu_s : 0.0;
    const uint64_t allocations =
        job->done >= 2 ? mem_allocation_count() - job->steady_allocations : 0;
    return reply_or_out_of_memory(
        call,
        json_pack(
            "{s:I, s:b, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I}",
            "id", (json_int_t)call->id, "ok", 1, "done", (json_int_t)job->done, "compute_s",
            job->compute_s, "compute_cpu_s", job->compute_cpu_s, "copy_s", job->copy_s, "wait_s",
            job->wait_s, "blocked_s", job->blocked_s, "receive_s", in.receive_s, "send_s",
            out.send_s, "io_cpu_s", io_cpu_s, "cpu_s", cpu_s, "peak_memory_bytes",
            (json_int_t)memory_resident_peak(), "bytes_received", (json_int_t)in.bytes_received,
            "bytes_sent", (json_int_t)out.bytes_sent, "pool_bytes", (json_int_t)all.pool_peak_bytes,
            "steady_allocations", (json_int_t)allocations),
        error);
}

static shoal_status call_stop(struct call *call, struct shoal_error *error) {
    TRY(check_owner(call, error));
    node_job_drop(call->node);
    return reply_or_out_of_memory(
        call, json_pack("{s:I, s:b}", "id", (json_int_t)call->id, "ok", 1), error);
}

static const struct {
    const char *name;
    shoal_status (*handle)(struct call *call, struct shoal_error *error);
} calls[] = {
    {"info", call_info},     {"choose", call_choose},   {"profile", call_profile},
    {"link", call_link},     {"prepare", call_prepare}, {"progress", call_progress},
    {"report", call_report}, {"stop", call_stop},
};

static shoal_status dispatch(struct call *call, struct shoal_error *error) {
    const char *name;
    TRY(control_text(call->request, "call", 32, &name, error));
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(calls[i].name, name) == 0) {
            return calls[i].handle(call, error);
        }
    }
    return error_set(error, SHOAL_UNSUPPORTED, "version %s knows no call '%s'", SHOAL_VERSION_TEXT,
                     name);
}

void node_handle_request(struct node *node, const char *peer, const struct wire_message *message) {
    struct shoal_error error;
    json_t *request;
    if (control_parse(message, &request, &error) != SHOAL_OK) {
        log_warn("%s: %s", peer, error.text);
        return;
    }
    struct call call = {.node = node, .peer = peer, .request = request};
    int64_t id = 0;
    shoal_status status = control_integer(request, "id", 0, INT64_MAX, &id, &error);
    call.id = (uint64_t)id;
    if (status == SHOAL_OK) {
        status = dispatch(&call, &error);
    }
    if (status != SHOAL_OK) {
        log_info("a request of %s is refused: %s", peer, error.text);
        json_decref(call.reply);
        call.reply = control_refusal(call.id, &error);
    }
    if (call.reply != NULL &&
        control_send(node->transport, peer, WIRE_REPLY, call.reply, &error) != SHOAL_OK) {
        log_debug("%s gets no answer: %s", peer, error.text);
    }
    json_decref(request);
}
