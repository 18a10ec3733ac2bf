#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/model_text.h"
#include "store/contents.h"

#include <string.h>

shoal_status node_reply_or_out_of_memory(struct node_call *call, json_t *reply,
                                         struct shoal_error *error) {
    call->reply = reply;
    return reply != NULL ? SHOAL_OK : error_set(error, SHOAL_NO_MEMORY, "no memory for an answer");
}

void node_reply(struct node *node, const char *peer, json_t *reply) {
    struct shoal_error error;
    if (control_send(node->transport, peer, WIRE_REPLY, reply, &error) != SHOAL_OK) {
        log_debug("%s gets no answer: %s", peer, error.text);
    }
}

void node_refuse(struct node *node, const char *peer, uint64_t id,
                 const struct shoal_error *error) {
    log_info("a request of %s is refused: %s", peer, error->text);
    node_reply(node, peer, control_refusal(id, error));
}

/* A model whose JSON is a content of the cache here. */
static shoal_status read_content(const struct node_call *call, const json_t *document,
                                 struct model_config *model, struct shoal_error *error) {
    struct contents *contents = call->node->options.contents;
    struct file_map map;
    const char *key;
    TRY(control_text(document, "content", DIGEST_TEXT - 1, &key, error));
    if (contents == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED, "%s has no cache for a model of this size",
                         call->node->name);
    }
    TRY(contents_map(contents, key, &map, error));
    char text[DIGEST_TEXT];
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, map.data, map.size);
    digest_final(&digest, text);
    shoal_status status = SHOAL_OK;
    if (strcmp(text, key) != 0) {
        const shoal_status removed = contents_remove(contents, key, false, NULL);
        (void)removed;
        status = error_set(error, SHOAL_CORRUPT, "the model in the cache is damaged");
    } else if (map.size > MODEL_TEXT_LIMIT) {
        status = error_set(error, SHOAL_UNSUPPORTED, "a model of more than %zu bytes of JSON",
                           MODEL_TEXT_LIMIT);
    } else {
        status = model_config_from_json((const char *)map.data, map.size, model, error);
    }
    file_map_close(&map);
    return status;
}

shoal_status node_read_model(const struct node_call *call, struct model_config *model,
                             int64_t *batch, struct shoal_error *error) {
    const json_t *given = json_object_get(call->request, "model");
    if (json_is_object(given)) {
        TRY(read_content(call, given, model, error));
    } else {
        const char *text;
        TRY(control_text(call->request, "model", MODEL_TEXT_LIMIT, &text, error));
        TRY(model_config_from_json(text, strlen(text), model, error));
    }
    TRY(control_integer(call->request, "batch", 1, NODE_MAX_BATCH, batch, error));
    if (model_batch(model) != 0 && model_batch(model) != *batch) {
        return error_set(error, SHOAL_INVALID,
                         "a microbatch of %lld for a model that was made for %lld",
                         (long long)*batch, (long long)model_batch(model));
    }
    return SHOAL_OK;
}

shoal_status node_read_threads(const struct node_call *call, int *threads,
                               struct shoal_error *error) {
    int64_t wanted = call->node->options.threads;
    if (json_object_get(call->request, "threads") != NULL) {
        TRY(control_integer(call->request, "threads", 1, call->node->options.threads, &wanted,
                            error));
    }
    *threads = (int)wanted;
    return SHOAL_OK;
}

/* The job that a request is about: "job", or the only one of the peer. */
static shoal_status find_job(const struct node_call *call, struct node_job **out,
                             struct shoal_error *error) {
    int64_t id = 0;
    if (json_object_get(call->request, "job") != NULL) {
        TRY(control_integer(call->request, "job", 0, INT64_MAX, &id, error));
    }
    return node_find_job(call->node, call->peer, (uint64_t)id, out, error);
}

static shoal_status call_progress(struct node_call *call, struct shoal_error *error) {
    struct node_job *job;
    TRY(find_job(call, &job, error));
    return node_reply_or_out_of_memory(call,
                                       json_pack("{s:I, s:b, s:I}", "id", (json_int_t)call->id,
                                                 "ok", 1, "done", (json_int_t)job->done),
                                       error);
}

/* CPU time of the process since the job's first microbatch, without other jobs' computing. */
static double cpu_of(const struct node_job *job) {
    if (!job->started) {
        return 0.0;
    }
    const double others = job->node->compute_cpu_s - job->start_compute_cpu_s - job->compute_cpu_s;
    return platform_process_cpu_s() - job->start_cpu_s - others;
}

static shoal_status call_report(struct node_call *call, struct shoal_error *error) {
    struct node_job *job;
    TRY(find_job(call, &job, error));
    struct transport *transport = call->node->transport;
    struct transport_peer_stats in = {0}, out = {0};
    struct transport_stats all;
    transport->ops->stats(transport, &all);
    (void)transport->ops->peer_stats(transport, job->previous, &in);
    (void)transport->ops->peer_stats(transport, job->next, &out);
    const double io_cpu_s = job->started ? all.io_cpu_s - job->start_io_cpu_s : 0.0;
    const uint64_t allocations =
        job->done >= 2 ? mem_allocation_count() - job->steady_allocations : 0;
    return node_reply_or_out_of_memory(
        call,
        json_pack(
            "{s:I, s:b, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I}",
            "id", (json_int_t)call->id, "ok", 1, "done", (json_int_t)job->done, "compute_s",
            job->compute_s, "compute_cpu_s", job->compute_cpu_s, "copy_s", job->copy_s, "wait_s",
            job->wait_s, "blocked_s", job->blocked_s, "receive_s", in.receive_s, "send_s",
            out.send_s, "io_cpu_s", io_cpu_s, "cpu_s", cpu_of(job), "peak_memory_bytes",
            (json_int_t)memory_resident_peak(), "bytes_received", (json_int_t)in.bytes_received,
            "bytes_sent", (json_int_t)out.bytes_sent, "pool_bytes", (json_int_t)all.pool_peak_bytes,
            "steady_allocations", (json_int_t)allocations),
        error);
}

/* Answered when the stage is unloaded, which a microbatch or loading may delay. */
static shoal_status call_stop(struct node_call *call, struct shoal_error *error) {
    struct node_job *job;
    TRY(find_job(call, &job, error));
    if (job->state != NODE_JOB_READY) {
        (void)error_set(error, SHOAL_CANCELLED, "the job was stopped before it was ready");
        node_refuse(call->node, job->owner, job->prepare_id, error);
    }
    job->stopping = true;
    job->stop_id = call->id;
    node_job_end(job);
    return SHOAL_OK;
}

static const struct {
    const char *name;
    shoal_status (*handle)(struct node_call *call, struct shoal_error *error);
} calls[] = {
    {"info", node_call_info}, {"choose", node_call_choose},   {"profile", node_call_profile},
    {"link", node_call_link}, {"prepare", node_call_prepare}, {"progress", call_progress},
    {"report", call_report},  {"check", node_call_check},     {"dial", node_call_dial},
    {"stop", call_stop},      {"have", node_call_have},       {"fetch", node_call_fetch},
    {"read", node_call_read}, {"release", node_call_release},
};

static shoal_status dispatch(struct node_call *call, struct shoal_error *error) {
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

/* What a peer says without wanting an answer. */
void node_handle_notice(struct node *node, const char *peer, const struct wire_message *message) {
    struct shoal_error error;
    json_t *notice;
    const char *name = "";
    if (control_parse(message, &notice, &error) != SHOAL_OK) {
        log_warn("%s: %s", peer, error.text);
        return;
    }
    if (control_text(notice, "event", 32, &name, &error) != SHOAL_OK) {
        log_warn("%s: %s", peer, error.text);
    } else if (strcmp(name, "renew") == 0) {
        node_jobs_renew(node, peer);
    } else {
        log_debug("%s sent the event '%s', which a node does not take", peer, name);
    }
    json_decref(notice);
}

void node_handle_request(struct node *node, const char *peer, const struct wire_message *message) {
    struct shoal_error error;
    json_t *request;
    if (control_parse(message, &request, &error) != SHOAL_OK) {
        log_warn("%s: %s", peer, error.text);
        return;
    }
    struct node_call call = {.node = node, .peer = peer, .request = request};
    int64_t id = 0;
    shoal_status status = control_integer(request, "id", 0, INT64_MAX, &id, &error);
    call.id = (uint64_t)id;
    if (status == SHOAL_OK) {
        status = dispatch(&call, &error);
    }
    if (status != SHOAL_OK) {
        json_decref(call.reply);
        node_refuse(node, peer, call.id, &error);
    } else if (call.reply != NULL) {
        node_reply(node, peer, call.reply);
    }
    json_decref(request);
}
