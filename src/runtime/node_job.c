#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"

#include <string.h>

#define UNBLOCK_NS (1 * CLOCK_SECOND)
#define INBOX_RESERVE 4 /* room for what has credit already */

/* ---- the table ---- */

shoal_status node_find_job(struct node *node, const char *owner, uint64_t id, struct node_job **out,
                           struct shoal_error *error) {
    struct node_job *found = NULL;
    const struct node_job *other = NULL;
    int count = 0;
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->state == NODE_JOB_FREE || job->state == NODE_JOB_ENDING ||
            (id != 0 && job->id != id)) {
            continue;
        }
        if (strcmp(job->owner, owner) == 0) {
            found = job;
            count++;
        } else {
            other = job;
        }
    }
    if (count > 1) {
        return error_set(error, SHOAL_PROTOCOL, "%s has %d jobs here: 'job' must say which", owner,
                         count);
    }
    if (found == NULL && other != NULL) {
        return error_set(error, SHOAL_DENIED, "the job belongs to %s", other->owner);
    }
    if (found == NULL) {
        return error_set(error, SHOAL_NOT_FOUND, "no job of %s is here", owner);
    }
    *out = found;
    return SHOAL_OK;
}

/* Gives the credit of what waits back: other jobs may share it. */
static void drop_messages(struct node_job *job) {
    struct transport *transport = job->node->transport;
    transport->ops->message_free(transport, job->output);
    job->output = NULL;
    for (uint32_t i = 0; i < job->inbox_count; i++) {
        transport->ops->message_free(transport, job->inbox[i]);
    }
    job->inbox_count = job->inbox_copies = 0;
    job->blocked_ns = 0;
}

static void job_free(struct node_job *job) {
    struct node *node = job->node;
    drop_messages(job);
    node->transport->ops->message_free(node->transport, job->step.input);
    node->transport->ops->message_free(node->transport, job->step.output);
    stage_destroy(job->stage);
    node_load_free(job->load);
    if (job->stopping) {
        node_reply(node, job->owner,
                   json_pack("{s:I, s:b}", "id", (json_int_t)job->stop_id, "ok", 1));
    }
    memset(job, 0, sizeof *job);
    job->node = node;
}

void node_job_end(struct node_job *job) {
    if (job->state == NODE_JOB_FREE) {
        return;
    }
    if (job->working) {
        job->state = NODE_JOB_ENDING;
        node_load_cancel(job->load);
        drop_messages(job);
    } else {
        job_free(job);
    }
}

void node_job_fail(struct node_job *job, const struct shoal_error *error) {
    log_error("job %llu: %s", (unsigned long long)job->id, error->text);
    job->failed = true;
    drop_messages(job);
    struct shoal_error ignored;
    json_t *event =
        json_pack("{s:s, s:I, s:o, s:s}", "event", "failed", "job", (json_int_t)job->id, "text",
                  control_string(error->text), "status", shoal_status_text(error->code));
    if (control_send(job->node->transport, job->owner, WIRE_EVENT, event, &ignored) != SHOAL_OK) {
        log_debug("the owner could not be told: %s", ignored.text);
    }
}

/* ---- leases ---- */

bool node_has_jobs(const struct node *node) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        if (node->jobs[i].state != NODE_JOB_FREE) {
            return true;
        }
    }
    return false;
}

static bool is_leased(const struct node_job *job) {
    return job->state != NODE_JOB_FREE && job->state != NODE_JOB_ENDING && job->lease_ns > 0;
}

void node_jobs_renew(struct node *node, const char *owner) {
    const uint64_t now = platform_now_ns();
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (is_leased(job) && strcmp(job->owner, owner) == 0) {
            job->lease_until_ns = now + job->lease_ns;
        }
    }
}

void node_jobs_expire(struct node *node, uint64_t now_ns, bool all_heard) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (!is_leased(job) || now_ns < job->lease_until_ns + (all_heard ? 0 : job->lease_ns)) {
            continue;
        }
        struct shoal_error error;
        (void)error_set(&error, SHOAL_TIMEOUT, "the job's owner %s did not renew it for %.0f s",
                        job->owner, (double)job->lease_ns * 1e-9);
        if (job->state == NODE_JOB_READY) {
            node_job_fail(job, &error);
        } else {
            node_refuse(node, job->owner, job->prepare_id, &error);
        }
        node_job_end(job);
    }
}

/* ---- one window, several jobs ---- */

/*
 * Jobs that arrive over one connection share its window. One that is blocked would keep the others
 * from arriving, and jobs whose stages run round the same devices in a circle would wait for each
 * other for ever. So what waits behind a job's blocked output is copied after a while, and its
 * credit given back: at most what the owner has in flight, and no more than there is memory for.
 */
static bool shares_window(const struct node_job *job) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        const struct node_job *other = &job->node->jobs[i];
        if (other != job && other->state == NODE_JOB_READY &&
            strcmp(other->previous, job->previous) == 0) {
            return true;
        }
    }
    return false;
}

static bool wants_unblocking(const struct node_job *job) {
    return job->output != NULL && job->inbox_copies < job->inbox_count &&
           job->inbox_count + INBOX_RESERVE <= NODE_INBOX && shares_window(job);
}

static void copy_inbox(struct node_job *job) {
    struct transport *transport = job->node->transport;
    for (uint32_t i = job->inbox_copies; i < job->inbox_count; i++) {
        struct transport_message *from = job->inbox[i], *copy;
        struct shoal_error error;
        if (!node_has_room(job->node, from->size) ||
            transport->ops->message_new(transport, from->size, &copy, &error) != SHOAL_OK) {
            job->blocked_ns = platform_now_ns(); /* again after a while */
            return;
        }
        memcpy(copy->data, from->data, from->size);
        transport->ops->message_free(transport, from);
        job->inbox[i] = copy;
        job->inbox_copies = i + 1;
    }
}

void node_jobs_unblock(struct node *node, uint64_t now_ns) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (wants_unblocking(job) && now_ns >= job->blocked_ns + UNBLOCK_NS) {
            copy_inbox(job);
        }
    }
}

uint64_t node_jobs_deadline(const struct node *node) {
    uint64_t deadline = CLOCK_NEVER;
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        const struct node_job *job = &node->jobs[i];
        if (is_leased(job) && job->lease_until_ns < deadline) {
            deadline = job->lease_until_ns;
        }
        if (wants_unblocking(job) && job->blocked_ns + UNBLOCK_NS < deadline) {
            deadline = job->blocked_ns + UNBLOCK_NS;
        }
    }
    return deadline;
}

/* ---- time ---- */

/* Called before anything changes what the job waits for. */
static void account(struct node_job *job) {
    const uint64_t now = platform_now_ns();
    if (job->started && !job->working) {
        *(job->output != NULL ? &job->blocked_s : &job->wait_s) +=
            (double)(now - job->since_ns) * 1e-9;
    }
    job->since_ns = now;
}

static void mark_start(struct node_job *job) {
    struct transport_stats stats;
    job->node->transport->ops->stats(job->node->transport, &stats);
    job->started = true;
    job->since_ns = platform_now_ns();
    job->start_cpu_s = platform_process_cpu_s();
    job->start_io_cpu_s = stats.io_cpu_s;
    job->start_compute_cpu_s = job->node->compute_cpu_s;
}

/* ---- computing: on the computer's thread ---- */

/* The results' message, ready to be sent. */
static shoal_status encode_output(const struct node_job *job, const struct wire_header *in,
                                  const struct tensor *tensors, uint32_t count,
                                  struct transport_message *output, struct shoal_error *error) {
    struct wire_header header = *in;
    header.kind = job->index + 1 == job->count ? WIRE_RESULT : WIRE_ACTIVATION;
    header.from_stage = job->index;
    header.to_stage = (uint16_t)(job->index + 1);
    header.tensor_count = count;
    header.text_bytes = 0;
    return wire_encode(&header, tensors, NULL, output->data, output->capacity, NULL, &output->size,
                       error);
}

static shoal_status compute(const struct node_job *job, struct node_step *step) {
    struct wire_message decoded;
    struct tensor outputs[WIRE_MAX_TENSORS];
    uint32_t count;
    TRY(wire_decode(step->input->data, step->input->size, &decoded, &step->error));
    TRY(stage_run(job->stage, &decoded, outputs, &count, &step->copy_s, &step->compute_s,
                  &step->error));
    const uint64_t before = platform_now_ns();
    TRY(encode_output(job, &decoded.header, outputs, count, step->output, &step->error));
    step->copy_s += (double)(platform_now_ns() - before) * 1e-9;
    return SHOAL_OK;
}

static void run_step(struct task *task) {
    struct node_job *job = task->context;
    struct node_step *step = &job->step;
    const double cpu = platform_thread_cpu_s();
    step->queue_s = (double)(platform_now_ns() - step->submit_ns) * 1e-9;
    step->status = compute(job, step);
    step->cpu_s = platform_thread_cpu_s() - cpu;
}

/* ---- what arrives and leaves: on the event thread ---- */

static void advance(struct node_job *job);

static void try_output(struct node_job *job) {
    struct transport *transport = job->node->transport;
    struct shoal_error error;
    account(job);
    const shoal_status status = transport->ops->send(transport, job->next, job->output, &error);
    if (status == SHOAL_BUSY) {
        job->blocked_ns = job->blocked_ns > 0 ? job->blocked_ns : platform_now_ns();
        return; /* TRANSPORT_WRITABLE brings us back */
    }
    if (status == SHOAL_OK) {
        job->output = NULL;
        job->blocked_ns = 0;
        job->done++;
        if (job->done == 2) {
            job->steady_allocations = mem_allocation_count();
        }
        return;
    }
    drop_messages(job);
    if (status == SHOAL_PEER_LOST) { /* not this device's failure: the owner hears who is gone */
        node_jobs_peer_lost(job->node, job->next, "its connection broke");
        job->failed = true;
    } else if (!job->failed) {
        node_job_fail(job, &error);
    }
}

static void on_step_done(struct task *task) {
    struct node_job *job = task->context;
    struct node_step *step = &job->step;
    struct transport *transport = job->node->transport;
    account(job);
    job->working = false;
    transport->ops->message_free(transport, step->input);
    step->input = NULL;
    job->compute_s += step->compute_s;
    job->compute_cpu_s += step->cpu_s;
    job->node->compute_cpu_s += step->cpu_s;
    job->copy_s += step->copy_s;
    job->wait_s += step->queue_s;
    if (job->state == NODE_JOB_ENDING) {
        job_free(job);
        return;
    }
    if (step->status == SHOAL_OK && !job->failed) {
        job->output = step->output;
        step->output = NULL;
        try_output(job);
    } else {
        transport->ops->message_free(transport, step->output);
        step->output = NULL;
        if (!job->failed) {
            node_job_fail(job, &step->error);
        }
    }
    advance(job);
}

/* Gives the next microbatch to the computer; none while an output waits: memory is bounded. */
static void advance(struct node_job *job) {
    struct transport *transport = job->node->transport;
    if (job->working || job->output != NULL || job->failed || job->inbox_count == 0 ||
        job->state != NODE_JOB_READY) {
        return;
    }
    struct node_step *step = &job->step;
    struct shoal_error error;
    if (transport->ops->message_new(transport, job->out_bytes, &step->output, &error) != SHOAL_OK) {
        node_job_fail(job, &error);
        return;
    }
    account(job);
    step->input = job->inbox[0];
    job->inbox_count--;
    job->inbox_copies -= job->inbox_copies > 0;
    memmove(job->inbox, job->inbox + 1, job->inbox_count * sizeof job->inbox[0]);
    step->copy_s = step->compute_s = 0;
    step->submit_ns = platform_now_ns();
    job->task = (struct task){.run = run_step, .done = on_step_done, .context = job};
    job->working = true;
    worker_submit(job->node->computer, &job->task);
}

/* NULL: stale, of another job or generation, or from another than the previous device. */
static struct node_job *find_receiver(struct node *node, const char *peer,
                                      const struct wire_header *header) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->state == NODE_JOB_READY && !job->failed && header->job == job->id &&
            header->generation == job->generation && header->to_stage == job->index &&
            strcmp(peer, job->previous) == 0) {
            return job;
        }
    }
    return NULL;
}

static shoal_status check_input(const struct node_job *job, const char *peer,
                                const struct wire_header *header, struct shoal_error *error) {
    if (header->microbatch != job->taken || header->items == 0 ||
        header->items > (uint64_t)job->batch) {
        return error_set(error, SHOAL_PROTOCOL,
                         "%s sent microbatch %llu with %u items, expected was microbatch %llu",
                         peer, (unsigned long long)header->microbatch, header->items,
                         (unsigned long long)job->taken);
    }
    if (job->inbox_count == NODE_INBOX) {
        return error_set(error, SHOAL_PROTOCOL, "%s sent more microbatches than it had credit for",
                         peer);
    }
    return SHOAL_OK;
}

void node_job_data(struct node *node, struct transport_message *message,
                   const struct wire_message *decoded) {
    struct node_job *job = find_receiver(node, message->peer, &decoded->header);
    struct shoal_error error;
    if (job == NULL) {
        log_debug("dropped a stale activation of %s (job %llu, generation %u)", message->peer,
                  (unsigned long long)decoded->header.job, decoded->header.generation);
        node->transport->ops->message_free(node->transport, message);
        return;
    }
    if (check_input(job, message->peer, &decoded->header, &error) != SHOAL_OK) {
        node->transport->ops->message_free(node->transport, message);
        node_job_fail(job, &error);
        return;
    }
    if (!job->started) {
        mark_start(job);
    }
    job->taken++;
    job->inbox[job->inbox_count++] = message;
    advance(job);
}

void node_jobs_writable(struct node *node, const char *peer) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->output != NULL && strcmp(job->next, peer) == 0) {
            try_output(job);
            advance(job);
        }
    }
}

void node_jobs_peer_up(struct node *node, const char *peer) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->state != NODE_JOB_FREE && strcmp(job->next, peer) == 0) {
            node_prepare_peer_up(job);
        }
    }
}

static void tell_lost(const struct node_job *job, const char *peer, const char *reason) {
    struct shoal_error ignored;
    json_t *event = json_pack("{s:s, s:I, s:s, s:o}", "event", "lost", "job", (json_int_t)job->id,
                              "peer", peer, "text", control_string(reason));
    if (control_send(job->node->transport, job->owner, WIRE_EVENT, event, &ignored) != SHOAL_OK) {
        log_debug("the owner could not be told: %s", ignored.text);
    }
}

/* A job that is not ready yet and whose next device cannot be reached never will be. */
static void refuse_unreachable(struct node_job *job, const char *peer, const char *reason) {
    struct shoal_error error;
    (void)error_set(&error, SHOAL_PEER_LOST, "%s cannot be reached from here: %s", peer, reason);
    node_refuse(job->node, job->owner, job->prepare_id, &error);
    node_job_end(job);
}

void node_jobs_peer_lost(struct node *node, const char *peer, const char *reason) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->state == NODE_JOB_FREE || job->state == NODE_JOB_ENDING) {
            continue;
        }
        const bool is_next = strcmp(peer, job->next) == 0;
        if (strcmp(peer, job->owner) == 0) {
            log_info("job %llu is dropped: its owner is gone", (unsigned long long)job->id);
            node_job_end(job);
        } else if (is_next && job->state != NODE_JOB_READY) {
            refuse_unreachable(job, peer, reason);
        } else if (is_next || strcmp(peer, job->previous) == 0) {
            tell_lost(job, peer, reason);
        }
    }
}
