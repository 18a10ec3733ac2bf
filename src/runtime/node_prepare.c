/* `prepare`: a stage is compiled, its memory reserved, its weights loaded; then its next device is
 * waited for. */
#include "runtime/node_internal.h"

#include "base/log.h"
#include "base/memory.h"
#include "formats/manifest.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/choice_json.h"

#include <stdio.h>
#include <string.h>

#define MAX_PATH_BYTES 4096
#define DEFAULT_LEASE_S 30
#define MAX_LEASE_S 86400
#define MESSAGES_UNDERWAY 4

/* What loading needs of the request, and what became of it. */
struct node_load {
    struct model_config model;
    struct kernel_choice *choice;
    char *path;                     /* of weights */
    char manifest_key[DIGEST_TEXT]; /* "": seed or path */
    struct manifest manifest;
    bool has_manifest;
    struct weights_spec weights;
    atomic_bool cancel;
    struct stage_options options;
    struct stage *stage; /* the result */
    shoal_status status;
    struct shoal_error error;
};

void node_load_free(struct node_load *load) {
    if (load != NULL) {
        stage_destroy(load->stage);
        kernel_choice_destroy(load->choice);
        if (load->has_manifest) {
            manifest_fini(&load->manifest);
        }
        model_config_fini(&load->model);
        mem_free(load->path);
        mem_free(load);
    }
}

/* ---- reading the request ---- */

void node_load_cancel(struct node_load *load) {
    if (load != NULL) {
        atomic_store(&load->cancel, true);
    }
}

/* {"seed": n}, {"manifest": KEY} or {"path": TEXT} */
static shoal_status read_weights(const struct node_call *call, struct node_load *load,
                                 struct shoal_error *error) {
    const struct node_options *options = &call->node->options;
    const json_t *weights;
    load->weights.cancel = &load->cancel;
    TRY(control_object(call->request, "weights", &weights, error));
    if (json_object_get(weights, "seed") != NULL) {
        int64_t seed;
        TRY(control_integer(weights, "seed", INT64_MIN, INT64_MAX, &seed, error));
        load->weights.seed = (uint64_t)seed;
        return SHOAL_OK;
    }
    if (json_object_get(weights, "manifest") != NULL) {
        const char *key;
        TRY(control_text(weights, "manifest", DIGEST_TEXT - 1, &key, error));
        if (options->contents == NULL) {
            return error_set(error, SHOAL_UNSUPPORTED, "%s has no cache for weights",
                             call->node->name);
        }
        (void)snprintf(load->manifest_key, sizeof load->manifest_key, "%s", key);
        load->weights.contents = options->contents;
        return SHOAL_OK;
    }
    const char *path;
    TRY(control_text(weights, "path", MAX_PATH_BYTES, &path, error));
    if (!options->local) {
        return error_set(error, SHOAL_DENIED,
                         "weights by path are for devices of the owner's own machine");
    }
    load->path = mem_strdup(path);
    load->weights.path = load->path;
    return load->path != NULL ? SHOAL_OK
                              : error_set(error, SHOAL_NO_MEMORY, "no memory for a path");
}

static shoal_status read_load(const struct node_call *call, struct node_job *job,
                              struct shoal_error *error) {
    struct node_load *load = job->load;
    int64_t first, last;
    int threads;
    TRY(node_read_model(call, &load->model, &job->batch, error));
    TRY(node_read_threads(call, &threads, error));
    TRY(control_integer(call->request, "first", 1, UINT32_MAX, &first, error));
    TRY(control_integer(call->request, "last", first, UINT32_MAX, &last, error));
    const json_t *choice;
    TRY(control_object(call->request, "choice", &choice, error));
    TRY(choice_from_json(choice, &load->choice, error));
    TRY(read_weights(call, load, error));
    load->options = (struct stage_options){.model = &load->model,
                                           .first = (uint32_t)first,
                                           .last = (uint32_t)last,
                                           .batch = job->batch,
                                           .threads = threads,
                                           .choice = load->choice};
    return SHOAL_OK;
}

static shoal_status read_job(const struct node_call *call, struct node_job *job,
                             struct shoal_error *error) {
    int64_t number;
    TRY(control_integer(call->request, "job", 0, INT64_MAX, &number, error));
    job->id = (uint64_t)number;
    TRY(control_integer(call->request, "generation", 0, UINT32_MAX, &number, error));
    job->generation = (uint32_t)number;
    TRY(control_integer(call->request, "stages", 1, UINT16_MAX, &number, error));
    job->count = (uint16_t)number;
    TRY(control_integer(call->request, "stage", 0, job->count - 1, &number, error));
    job->index = (uint16_t)number;
    (void)snprintf(job->owner, sizeof job->owner, "%s", call->peer);
    number = DEFAULT_LEASE_S;
    if (json_object_get(call->request, "lease_s") != NULL) {
        TRY(control_integer(call->request, "lease_s", 1, MAX_LEASE_S, &number, error));
    }
    job->lease_ns = (uint64_t)number * CLOCK_SECOND;
    job->lease_until_ns = job->begin_ns + job->lease_ns;
    return SHOAL_OK;
}

/* ---- the neighbours ---- */

/* null is the owner. The previous device dials this one, which must let it. */
static shoal_status read_previous(const struct node_call *call, struct node_job *job,
                                  struct shoal_error *error) {
    const json_t *device = json_object_get(call->request, "previous");
    bool listed;
    if (json_is_null(device)) {
        memcpy(job->previous, job->owner, sizeof job->previous);
        return SHOAL_OK;
    }
    TRY(control_object(call->request, "previous", &device, error));
    TRY(node_read_device(call->node, device, job->previous, &listed, error));
    if (!listed) {
        return error_set(error, SHOAL_DENIED,
                         "the key of %s is not on the allow-list of %s, which is to receive from "
                         "it: add the line '%s %s' to %s there",
                         job->previous, call->node->name, job->previous,
                         json_string_value(json_object_get(device, "key")),
                         call->node->options.allow_file != NULL ? call->node->options.allow_file
                                                                : "the allow-list");
    }
    return SHOAL_OK;
}

/* Dials the next device unless it is connected, or is the owner (null). */
static shoal_status dial_next(const struct node_call *call, struct node_job *job,
                              struct shoal_error *error) {
    const json_t *device = json_object_get(call->request, "next");
    if (json_is_null(device)) {
        memcpy(job->next, job->owner, sizeof job->next);
        job->next_up = true;
        return SHOAL_OK;
    }
    TRY(control_object(call->request, "next", &device, error));
    TRY(node_read_device(call->node, device, job->next, NULL, error));
    job->next_up = node_peer_is_up(job->node, job->next);
    return node_dial(job->node, job->next, device, error);
}

/* ---- loading: on the loader's thread ---- */

static void run_compile(struct task *task) {
    struct node_load *load = ((struct node_job *)task->context)->load;
    load->status = stage_compile(&load->options, &load->stage, &load->error);
}

static shoal_status parse_manifest(struct node_load *load, const struct file_map *map,
                                   struct shoal_error *error) {
    char key[DIGEST_TEXT];
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, map->data, map->size);
    digest_final(&digest, key);
    if (strcmp(key, load->manifest_key) != 0) {
        const shoal_status removed =
            contents_remove(load->weights.contents, load->manifest_key, false, NULL);
        (void)removed;
        return error_set(error, SHOAL_CORRUPT, "the manifest in the cache is damaged");
    }
    return manifest_parse(map->data, map->size, &load->manifest, error);
}

static shoal_status read_manifest(struct node_load *load, struct shoal_error *error) {
    struct file_map map;
    TRY(contents_map(load->weights.contents, load->manifest_key, &map, error));
    const shoal_status status = parse_manifest(load, &map, error);
    file_map_close(&map);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "manifest %.16s", load->manifest_key);
    }
    load->has_manifest = true;
    load->weights.manifest = &load->manifest;
    return SHOAL_OK;
}

static void run_load(struct task *task) {
    struct node_load *load = ((struct node_job *)task->context)->load;
    load->status = load->manifest_key[0] != '\0' ? read_manifest(load, &load->error) : SHOAL_OK;
    if (load->status == SHOAL_OK) {
        load->status = stage_load(load->stage, &load->weights, &load->error);
    }
}

/* ---- what follows: on the event thread ---- */

/*
 * Fills the message pool with what the run will have underway at most, so that the step path
 * allocates nothing: the credit window arriving and leaving, one being read, one being made.
 */
static shoal_status warm_pool(struct transport *transport, size_t bytes,
                              struct shoal_error *error) {
    struct transport_message *messages[MESSAGES_UNDERWAY] = {NULL};
    shoal_status status = SHOAL_OK;
    for (int i = 0; i < MESSAGES_UNDERWAY && status == SHOAL_OK; i++) {
        status = transport->ops->message_new(transport, bytes, &messages[i], error);
    }
    for (int i = 0; i < MESSAGES_UNDERWAY; i++) {
        transport->ops->message_free(transport, messages[i]);
    }
    return status;
}

static void refuse(struct node_job *job, const struct shoal_error *error) {
    node_refuse(job->node, job->owner, job->prepare_id, error);
    node_job_end(job);
}

static void answer_when_ready(struct node_job *job) {
    if (job->state != NODE_JOB_CONNECTING || !job->next_up) {
        return;
    }
    job->state = NODE_JOB_READY;
    struct stage_memory memory;
    stage_memory_get(job->stage, &memory);
    node_reply(job->node, job->owner,
               json_pack("{s:I, s:b, s:I, s:I, s:I}", "id", (json_int_t)job->prepare_id, "ok", 1,
                         "weights_bytes", (json_int_t)memory.executor.weights_bytes, "slot_bytes",
                         (json_int_t)memory.executor.slot_bytes, "scratch_bytes",
                         (json_int_t)memory.executor.scratch_bytes));
}

void node_prepare_peer_up(struct node_job *job) {
    job->next_up = true;
    answer_when_ready(job);
}

static void on_loaded(struct task *task) {
    struct node_job *job = task->context;
    struct node_load *load = job->load;
    struct shoal_error error = load->error;
    shoal_status status = load->status;
    job->working = false;
    if (job->state == NODE_JOB_ENDING) {
        node_job_end(job);
        return;
    }
    if (status == SHOAL_OK) {
        struct stage_memory memory;
        stage_memory_get(load->stage, &memory);
        job->out_bytes = memory.out_bytes;
        status = warm_pool(job->node->transport, memory.in_bytes, &error);
        if (status == SHOAL_OK) {
            status = warm_pool(job->node->transport, memory.out_bytes, &error);
        }
    }
    if (status != SHOAL_OK) {
        refuse(job, &error);
        return;
    }
    job->stage = load->stage;
    load->stage = NULL;
    job->load = NULL;
    node_load_free(load);
    job->state = NODE_JOB_CONNECTING;
    answer_when_ready(job);
}

static void on_compiled(struct task *task) {
    struct node_job *job = task->context;
    struct node_load *load = job->load;
    job->working = false;
    if (job->state == NODE_JOB_ENDING) {
        node_job_end(job);
        return;
    }
    if (load->status == SHOAL_OK) {
        char what[64];
        struct stage_memory memory;
        stage_memory_get(load->stage, &memory);
        (void)snprintf(what, sizeof what, "segments %u to %u", load->options.first,
                       load->options.last);
        load->status = node_reserve(job, what, memory.planned_bytes, &load->error);
    }
    if (load->status != SHOAL_OK) {
        refuse(job, &load->error);
        return;
    }
    job->task = (struct task){.run = run_load, .done = on_loaded, .context = job};
    job->working = true;
    worker_submit(job->node->loader, &job->task);
}

/* ---- the call ---- */

/* A place in the table; other jobs' names if there is none. */
static shoal_status find_place(struct node *node, uint64_t id, struct node_job **out,
                               struct shoal_error *error) {
    struct node_job *place = NULL;
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        struct node_job *job = &node->jobs[i];
        if (job->state == NODE_JOB_FREE) {
            place = job;
        } else if (job->id == id) {
            return error_set(error, SHOAL_BUSY, "job %llu of %s is here already",
                             (unsigned long long)id, job->owner);
        }
    }
    if (place == NULL) {
        return error_set(error, SHOAL_BUSY, "busy with %d jobs, the first of %s: no more at once",
                         NODE_MAX_JOBS, node->jobs[0].owner);
    }
    *out = place;
    return SHOAL_OK;
}

shoal_status node_call_prepare(struct node_call *call, struct shoal_error *error) {
    struct node *node = call->node;
    struct node_job *job;
    struct node_job made = {.node = node, .prepare_id = call->id, .begin_ns = platform_now_ns()};
    TRY(node_check_not_measuring(node, error));
    TRY(read_job(call, &made, error));
    TRY(find_place(node, made.id, &job, error));
    if (!node_has_jobs(node)) {
        memory_trim();
        memory_resident_peak_reset(); /* a job's peak is its own, not that of an earlier job or a
                                         profile */
    }
    made.load = mem_calloc(1, sizeof *made.load);
    if (made.load == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a job");
    }
    *job = made;
    job->state = NODE_JOB_LOADING;
    shoal_status status = read_load(call, job, error);
    if (status == SHOAL_OK) {
        status = read_previous(call, job, error);
    }
    if (status == SHOAL_OK) {
        status = dial_next(call, job, error);
    }
    if (status != SHOAL_OK) {
        node_job_end(job);
        return status;
    }
    log_info("job %llu of %s: segments %u to %u", (unsigned long long)job->id, job->owner,
             job->load->options.first, job->load->options.last);
    job->task = (struct task){.run = run_compile, .done = on_compiled, .context = job};
    job->working = true;
    worker_submit(node->loader, &job->task);
    return SHOAL_OK;
}
