/* `choose`, `profile`: on the computer's thread; `link`: on the event thread, events go on
 * meanwhile. */
#include "runtime/node_internal.h"

#include "base/memory.h"
#include "kernels/selftest.h"
#include "runtime/choice_json.h"
#include "runtime/profile.h"

#include <stdio.h>
#include <string.h>

struct node_measurement {
    struct task task;
    struct node *node;
    char peer[TRANSPORT_NAME_BYTES];
    uint64_t id;
    struct model_config model;
    struct graph *graph;
    int64_t batch;
    int threads;
    struct kernel_choice *choice; /* choose: the result; profile: of the request */
    json_t *reply;                /* the result */
    atomic_bool cancel;
    shoal_status status;
    struct shoal_error error;
};

void node_measurement_free(struct node_measurement *m) {
    if (m != NULL) {
        graph_destroy(m->graph);
        model_config_fini(&m->model);
        kernel_choice_destroy(m->choice);
        json_decref(m->reply);
        mem_free(m);
    }
}

void node_measurement_cancel(struct node_measurement *m) {
    if (m != NULL) {
        atomic_store(&m->cancel, true);
    }
}

void node_measurement_peer_lost(struct node *node, const char *peer) {
    if (node->measurement != NULL && strcmp(node->measurement->peer, peer) == 0) {
        node_measurement_cancel(node->measurement); /* nobody waits for it any more */
    }
}

shoal_status node_check_not_measuring(const struct node *node, struct shoal_error *error) {
    if (node->drain_until_ns > 0) {
        return error_set(error, SHOAL_CLOSED, "%s is stopping", node->name);
    }
    if (node->measurement != NULL) {
        return error_set(error, SHOAL_BUSY, "busy with a measurement for %s",
                         node->measurement->peer);
    }
    return node_check_no_link(node, error);
}

shoal_status node_check_idle(const struct node *node, struct shoal_error *error) {
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        const struct node_job *job = &node->jobs[i];
        if (job->state != NODE_JOB_FREE) {
            return error_set(error, SHOAL_BUSY, "busy with job %llu of %s",
                             (unsigned long long)job->id, job->owner);
        }
    }
    return node_check_not_measuring(node, error);
}

/* ---- choose and profile: on the computer's thread ---- */

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

static shoal_status finish(struct node_measurement *m, json_t *reply) {
    m->reply = reply;
    return reply != NULL ? SHOAL_OK
                         : error_set(&m->error, SHOAL_NO_MEMORY, "no memory for an answer");
}

static void run_choose(struct task *task) {
    struct node_measurement *m = task->context;
    m->status = profile_choose(m->graph, m->batch, m->threads, m->choice, &m->error);
    if (m->status == SHOAL_OK) {
        m->status = profile_choose_lengths(&m->model, m->batch, m->threads, m->choice, &m->error);
    }
    if (m->status == SHOAL_OK) {
        m->status = finish(m, json_pack("{s:I, s:b, s:o}", "id", (json_int_t)m->id, "ok", 1,
                                        "choice", choice_to_json(m->choice, NULL)));
    }
}

static void run_profile(struct task *task) {
    struct node_measurement *m = task->context;
    const uint32_t count = graph_segment_count(m->graph);
    struct profile_segment *segments = mem_calloc(count, sizeof *segments);
    if (segments == NULL) {
        m->status = error_set(&m->error, SHOAL_NO_MEMORY, "no memory for a profile");
        return;
    }
    const struct profile_options options = {
        .graph = m->graph,
        .model = &m->model,
        .batch = m->batch,
        .threads = m->threads,
        .choice = m->choice,
        .memory_limit = m->node->options.local ? 0 : m->node->options.memory_limit,
        .cancel = &m->cancel};
    size_t library_bytes = 0;
    m->status = profile_measure(&options, segments, &library_bytes, &m->error);
    if (m->status == SHOAL_OK) {
        m->status = finish(m, json_pack("{s:I, s:b, s:o, s:I}", "id", (json_int_t)m->id, "ok", 1,
                                        "segments", segments_to_json(segments, count),
                                        "library_bytes", (json_int_t)library_bytes));
    }
    mem_free(segments);
}

/* One entry for each set: whether it computes what the reference does. */
static void run_check(struct task *task) {
    struct node_measurement *m = task->context;
    json_t *list = json_array();
    for (const struct kernel_ops *const *set = kernel_sets(); list != NULL && *set != NULL; set++) {
        struct shoal_error why;
        char text[64];
        int ops = 0;
        const shoal_status status = kernel_self_test(*set, m->node->options.threads, &ops, &why);
        (void)snprintf(text, sizeof text, "%d ops are as the reference's", ops);
        if (json_array_append_new(
                list, json_pack("{s:s, s:b, s:o}", "set", (*set)->name, "ok", status == SHOAL_OK,
                                "text", control_string(status == SHOAL_OK ? text : why.text))) !=
            0) {
            json_decref(list);
            list = NULL;
        }
    }
    m->status =
        finish(m, json_pack("{s:I, s:b, s:o}", "id", (json_int_t)m->id, "ok", 1, "kernels", list));
}

/* ---- on the event thread ---- */

static void on_measured(struct task *task) {
    struct node_measurement *m = task->context;
    m->node->measurement = NULL;
    if (m->status == SHOAL_OK) {
        node_reply(m->node, m->peer, m->reply);
        m->reply = NULL;
    } else {
        node_refuse(m->node, m->peer, m->id, &m->error);
    }
    node_measurement_free(m);
}

enum what { CHOOSE, PROFILE, CHECK };

static shoal_status read_request(const struct node_call *call, enum what what,
                                 struct node_measurement *m, struct shoal_error *error) {
    if (what == CHECK) {
        return SHOAL_OK;
    }
    TRY(node_read_model(call, &m->model, &m->batch, error));
    TRY(node_read_threads(call, &m->threads, error));
    if (what == PROFILE) {
        const json_t *document;
        TRY(control_object(call->request, "choice", &document, error));
        TRY(choice_from_json(document, &m->choice, error));
    } else {
        TRY(kernel_choice_create(&m->choice, error));
    }
    return model_build(&m->model, &m->graph, error);
}

static shoal_status begin(struct node_call *call, enum what what, void (*run)(struct task *),
                          struct shoal_error *error) {
    struct node *node = call->node;
    TRY(node_check_idle(node, error));
    struct node_measurement *m = mem_calloc(1, sizeof *m);
    if (m == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a measurement");
    }
    const shoal_status status = read_request(call, what, m, error);
    if (status != SHOAL_OK) {
        node_measurement_free(m);
        return status;
    }
    m->node = node;
    m->id = call->id;
    (void)snprintf(m->peer, sizeof m->peer, "%s", call->peer);
    m->task = (struct task){.run = run, .done = on_measured, .context = m};
    node->measurement = m;
    worker_submit(node->computer, &m->task);
    return SHOAL_OK;
}

shoal_status node_call_choose(struct node_call *call, struct shoal_error *error) {
    return begin(call, CHOOSE, run_choose, error);
}

shoal_status node_call_profile(struct node_call *call, struct shoal_error *error) {
    return begin(call, PROFILE, run_profile, error);
}

shoal_status node_call_check(struct node_call *call, struct shoal_error *error) {
    return begin(call, CHECK, run_check, error);
}
