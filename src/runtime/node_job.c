#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"

#include <string.h>

void node_job_drop(struct node *node) {
    struct node_job *job = &node->job;
    node->transport->ops->message_free(node->transport, job->output);
    stage_destroy(job->stage);
    memset(job, 0, sizeof *job);
}

void node_job_fail(struct node *node, const struct shoal_error *error) {
    struct node_job *job = &node->job;
    log_error("job %llu: %s", (unsigned long long)job->id, error->text);
    job->failed = true;
    struct shoal_error ignored;
    json_t *event =
        json_pack("{s:s, s:I, s:o, s:s}", "event", "failed", "job", (json_int_t)job->id, "text",
                  control_string(error->text), "status", shoal_status_text(error->code));
    if (control_send(node->transport, job->owner, WIRE_EVENT, event, &ignored) != SHOAL_OK) {
        log_debug("the owner could not be told: %s", ignored.text);
    }
}

void node_job_try_output(struct node *node) {
    struct node_job *job = &node->job;
    if (job->output == NULL) {
        return;
    }
    struct shoal_error error;
    const shoal_status status =
        node->transport->ops->send(node->transport, job->next, job->output, &error);
    if (status == SHOAL_BUSY) {
        return; /* TRANSPORT_WRITABLE brings us back */
    }
    if (status == SHOAL_OK) {
        job->output = NULL;
        job->done++;
        if (job->done == 2) {
            job->steady_allocations = mem_allocation_count();
        }
        return;
    }
    node->transport->ops->message_free(node->transport, job->output);
    job->output = NULL;
    if (status == SHOAL_PEER_LOST) { /* not this device's failure: the owner hears who is gone */
        node_job_peer_lost(node, job->next, "its connection broke");
        job->failed = true;
    } else if (!job->failed) {
        node_job_fail(node, &error);
    }
}

/* The results' message, ready to be sent. */
static shoal_status make_output(struct node *node, const struct wire_header *in,
                                const struct tensor *tensors, uint32_t count,
                                struct shoal_error *error) {
    struct node_job *job = &node->job;
    struct wire_header header = *in;
    header.kind = job->index + 1 == job->count ? WIRE_RESULT : WIRE_ACTIVATION;
    header.from_stage = job->index;
    header.to_stage = (uint16_t)(job->index + 1);
    header.tensor_count = count;
    header.text_bytes = 0;
    size_t size, used;
    TRY(wire_size(tensors, count, 0, &size, error));
    TRY(node->transport->ops->message_new(node->transport, size, &job->output, error));
    const shoal_status status = wire_encode(&header, tensors, NULL, job->output->data,
                                            job->output->capacity, NULL, &used, error);
    if (status != SHOAL_OK) {
        node->transport->ops->message_free(node->transport, job->output);
        job->output = NULL;
        return status;
    }
    job->output->size = used;
    return SHOAL_OK;
}

static void mark_start(struct node *node) {
    struct node_job *job = &node->job;
    struct transport_stats stats;
    node->transport->ops->stats(node->transport, &stats);
    job->started = true;
    job->start_cpu_s = platform_process_cpu_s();
    job->start_io_cpu_s = stats.io_cpu_s;
}

/* Stale: of another job or generation, or from another than the previous device. Said once at debug
 * level, dropped. */
static bool is_ours(const struct node_job *job, const char *peer,
                    const struct wire_header *header) {
    return job->stage != NULL && !job->failed && header->job == job->id &&
           header->generation == job->generation && header->to_stage == job->index &&
           strcmp(peer, job->previous) == 0;
}

void node_job_data(struct node *node, struct transport_message *message,
                   const struct wire_message *decoded) {
    struct node_job *job = &node->job;
    if (!is_ours(job, message->peer, &decoded->header)) {
        log_debug("dropped a stale activation of %s (job %llu, generation %u)", message->peer,
                  (unsigned long long)decoded->header.job, decoded->header.generation);
        return;
    }
    struct shoal_error error;
    shoal_status status = SHOAL_OK;
    if (decoded->header.microbatch != job->done || decoded->header.items == 0 ||
        decoded->header.items > (uint64_t)job->batch) {
        status = error_set(&error, SHOAL_PROTOCOL,
                           "%s sent microbatch %llu with %u items, expected was microbatch %llu",
                           message->peer, (unsigned long long)decoded->header.microbatch,
                           decoded->header.items, (unsigned long long)job->done);
    }
    if (!job->started) {
        mark_start(node);
    }
    if (status == SHOAL_OK) {
        struct tensor outputs[WIRE_MAX_TENSORS];
        uint32_t count;
        double copy_s = 0, compute_s = 0;
        const double cpu = platform_thread_cpu_s();
        status = stage_run(job->stage, decoded, outputs, &count, &copy_s, &compute_s, &error);
        job->compute_cpu_s += platform_thread_cpu_s() - cpu;
        job->compute_s += compute_s;
        const uint64_t before = platform_now_ns();
        if (status == SHOAL_OK) {
            status = make_output(node, &decoded->header, outputs, count, &error);
        }
        job->copy_s += copy_s + (double)(platform_now_ns() - before) * 1e-9;
    }
    if (status != SHOAL_OK) {
        node_job_fail(node, &error);
        return;
    }
    node_job_try_output(node);
}

void node_job_peer_up(struct node *node, const char *peer) {
    struct node_job *job = &node->job;
    if (!job->waits_for_next || strcmp(peer, job->next) != 0) {
        return;
    }
    job->waits_for_next = false;
    struct executor_memory memory;
    stage_memory_get(job->stage, &memory);
    json_t *reply =
        json_pack("{s:I, s:b, s:I, s:I, s:I}", "id", (json_int_t)job->prepare_id, "ok", 1,
                  "weights_bytes", (json_int_t)memory.weights_bytes, "slot_bytes",
                  (json_int_t)memory.slot_bytes, "scratch_bytes", (json_int_t)memory.scratch_bytes);
    struct shoal_error error;
    if (control_send(node->transport, job->owner, WIRE_REPLY, reply, &error) != SHOAL_OK) {
        log_warn("the owner could not be told that the stage is ready: %s", error.text);
    }
}

void node_job_peer_lost(struct node *node, const char *peer, const char *reason) {
    struct node_job *job = &node->job;
    if (job->stage == NULL) {
        return;
    }
    if (strcmp(peer, job->owner) == 0) {
        log_info("job %llu is dropped: its owner is gone", (unsigned long long)job->id);
        node_job_drop(node);
        return;
    }
    if (strcmp(peer, job->next) == 0 || strcmp(peer, job->previous) == 0) {
        struct shoal_error ignored;
        json_t *event =
            json_pack("{s:s, s:I, s:s, s:o}", "event", "lost", "job", (json_int_t)job->id, "peer",
                      peer, "text", control_string(reason));
        if (control_send(node->transport, job->owner, WIRE_EVENT, event, &ignored) != SHOAL_OK) {
            log_debug("the owner could not be told: %s", ignored.text);
        }
    }
}
