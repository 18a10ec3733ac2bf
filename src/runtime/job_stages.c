#include "runtime/job_stages.h"

#include "base/log.h"
#include "platform/clock.h"
#include "runtime/model_text.h"
#include "runtime/origin.h"

#include <string.h>

#define PREPARE_NS (900 * CLOCK_SECOND)
#define REPORT_NS (10 * CLOCK_SECOND)
#define LEASE_S 30
#define LOCAL_LEASE_S 86400 /* local devices end with their owner, whatever it waits for */

static struct cluster_device *device_of(const struct job_options *options, uint32_t stage) {
    return &options->cluster->devices[options->placement->stages[stage].device];
}

/* ---- before ---- */

static json_t *weights_document(const struct job_options *options) {
    const struct weights_spec *weights = &options->weights;
    if (options->origin != NULL) {
        return json_pack("{s:s}", "manifest", origin_manifest_key(options->origin));
    }
    return weights->path == NULL ? json_pack("{s:I}", "seed", (json_int_t)weights->seed)
                                 : json_pack("{s:s}", "path", weights->path);
}

/* null is this side. */
static json_t *neighbour(const struct cluster_device *device) {
    return device == NULL ? json_null()
                          : json_pack("{s:s, s:s, s:s}", "name", device->name, "address",
                                      device->address, "key", device->key);
}

static shoal_status prepare_request(const struct job_options *options,
                                    const struct model_text *model, uint64_t id, uint32_t index,
                                    json_t **out, struct shoal_error *error) {
    json_t *weights = weights_document(options);
    if (weights == NULL) {
        return error_set(error, SHOAL_INVALID, "%s: the weights' path must be UTF-8",
                         options->weights.path);
    }
    const struct plan_stage *stage = &options->placement->stages[index];
    const uint32_t stages = options->placement->stage_count;
    *out = json_pack("{s:s, s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:i, s:i, s:o, s:o, s:o, s:o, s:O}",
                     "call", "prepare", "job", (json_int_t)id, "generation", 1, "stage", (int)index,
                     "stages", (int)stages, "first", (json_int_t)stage->first, "last",
                     (json_int_t)stage->last, "batch", (json_int_t)options->batch, "threads",
                     cluster_threads(options->cluster, stage->device), "lease_s",
                     options->cluster->local != NULL ? LOCAL_LEASE_S : LEASE_S, "previous",
                     neighbour(index > 0 ? device_of(options, index - 1) : NULL), "next",
                     neighbour(index + 1 < stages ? device_of(options, index + 1) : NULL), "model",
                     model_text_json(model), "weights", weights, "choice", options->choice);
    return SHOAL_OK; /* a request that is NULL for want of memory is cluster_ask's to report */
}

shoal_status job_stages_prepare(const struct job_options *options, uint64_t id,
                                struct shoal_error *error) {
    struct model_text model;
    TRY(model_text_make(options->model, options->cluster, &model, error));
    cluster_lease(options->cluster, LEASE_S * CLOCK_SECOND);
    shoal_status status = SHOAL_OK;
    for (uint32_t i = 0; i < options->placement->stage_count && status == SHOAL_OK; i++) {
        json_t *request;
        status = prepare_request(options, &model, id, i, &request, error);
        if (status == SHOAL_OK) {
            status =
                cluster_ask(options->cluster, options->placement->stages[i].device, request, error);
        }
    }
    model_text_fini(&model);
    TRY(status);
    return cluster_collect(options->cluster, PREPARE_NS, error);
}

/* ---- after ---- */

static bool is_open(const struct job_options *options) {
    for (uint32_t i = 0; i < options->placement->stage_count; i++) {
        const struct cluster_device *device = device_of(options, i);
        if (device->pending != 0 && !device->lost) {
            return true;
        }
    }
    return false;
}

/* Asks every device that is still there, and waits until each has answered or left. */
static shoal_status ask_all(const struct job_options *options, uint64_t id, const char *call,
                            struct shoal_error *error) {
    struct cluster *cluster = options->cluster;
    const uint64_t deadline = platform_now_ns() + REPORT_NS;
    for (uint32_t i = 0; i < options->placement->stage_count; i++) {
        struct shoal_error why;
        if (!device_of(options, i)->lost &&
            cluster_ask(cluster, options->placement->stages[i].device,
                        json_pack("{s:s, s:I}", "call", call, "job", (json_int_t)id),
                        &why) != SHOAL_OK) {
            log_debug("%s", why.text);
        }
    }
    while (is_open(options)) {
        struct transport_event event;
        const shoal_status status = cluster_next(cluster, deadline, &event, error);
        if (status == SHOAL_TIMEOUT) {
            break;
        }
        TRY(status);
        if (event.kind == TRANSPORT_MESSAGE) {
            cluster->transport->ops->message_free(cluster->transport, event.message);
        }
    }
    return SHOAL_OK;
}

shoal_status job_stages_finish(const struct job_options *options, uint64_t id,
                               struct job_outcome *outcome, struct shoal_error *error) {
    TRY(ask_all(options, id, "report", error));
    for (uint32_t i = 0; i < options->placement->stage_count; i++) {
        struct cluster_device *device = device_of(options, i);
        const char *why = device->lost            ? device->lost_text
                          : device->pending != 0  ? "it does not answer"
                          : device->reply == NULL ? "it could not be asked"
                                                  : NULL;
        if (why == NULL && !json_is_true(json_object_get(device->reply, "ok"))) {
            const char *text = json_string_value(json_object_get(device->reply, "text"));
            why = text != NULL ? text : "it refused";
        }
        device->pending = 0;
        if (why != NULL) {
            log_warn("every result is here, but device %s gave no report: %s", device->name, why);
        } else {
            outcome->stages[i].report = json_incref(device->reply);
        }
    }
    TRY(ask_all(options, id, "stop", error));
    for (uint32_t i = 0; i < options->placement->stage_count; i++) {
        device_of(options, i)->pending = 0;
    }
    return SHOAL_OK;
}
