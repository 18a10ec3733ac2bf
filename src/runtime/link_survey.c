#include "runtime/link_survey.h"

#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/control.h"

#include <stdio.h>
#include <string.h>

#define LOOK_NS (200 * CLOCK_MS)
#define PATIENCE_NS (180 * CLOCK_SECOND) /* for one link at full share */
#define MOST_NS (3600 * CLOCK_SECOND)

struct survey {
    const struct link_survey_options *options;
    struct cluster *cluster;
    struct link_survey *result;
    bool *taken; /* [devices + 1]: ends of links underway */
    struct link_probe probe;
    struct link_entry *probed; /* the one of this side; NULL: none */
    uint64_t probe_number;
    uint32_t done;
    uint64_t start_ns;
};

static bool is_lost(const struct cluster *cluster, uint32_t end) {
    return end < cluster->count && cluster->devices[end].lost;
}

static bool has_jobs(const struct cluster *cluster, uint32_t end) {
    return end < cluster->count &&
           json_array_size(json_object_get(cluster->devices[end].info, "jobs")) > 0;
}

static uint32_t owner_of(const struct survey *survey) {
    return survey->cluster->count;
}

/* ---- which ---- */

static shoal_status list_links(struct survey *survey, struct shoal_error *error) {
    const uint32_t ends = survey->cluster->count + 1;
    struct link_survey *result = survey->result;
    result->entries = mem_calloc((size_t)ends * ends, sizeof *result->entries);
    survey->taken = mem_calloc(ends, sizeof *survey->taken);
    if (result->entries == NULL || survey->taken == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the links of %u devices", ends - 1);
    }
    for (uint32_t from = 0; from < ends; from++) {
        for (uint32_t to = 0; to < ends; to++) {
            const bool own = from == owner_of(survey) || to == owner_of(survey);
            if (from == to || is_lost(survey->cluster, from) || is_lost(survey->cluster, to) ||
                (survey->options->owner_only && !own) ||
                (survey->options->unknown_only &&
                 link_profile_is_known(survey->options->profiles, from, to))) {
                continue;
            }
            const bool shared = has_jobs(survey->cluster, from) || has_jobs(survey->cluster, to);
            result->entries[result->count++] = (struct link_entry){
                .from = from, .to = to, .share = shared ? survey->options->share : 1.0};
        }
    }
    return SHOAL_OK;
}

/* ---- one link ---- */

static void finish(struct survey *survey, struct link_entry *entry, const char *failure) {
    entry->state = failure == NULL ? LINK_MEASURED : LINK_FAILED;
    survey->taken[entry->from] = survey->taken[entry->to] = false;
    survey->done++;
    if (failure != NULL) {
        (void)snprintf(entry->text, sizeof entry->text, "%.191s", failure);
    } else {
        link_profile_keep(survey->options->profiles, entry->from, entry->to, &entry->figures);
    }
    if (survey->options->on_done != NULL) {
        const double passed = (double)(platform_now_ns() - survey->start_ns) * 1e-9;
        const uint32_t left = survey->result->count - survey->done;
        survey->options->on_done(survey->options->context, survey->done, survey->result->count,
                                 passed / survey->done * left);
    }
}

static void begin(struct survey *survey, struct link_entry *entry) {
    struct cluster *cluster = survey->cluster;
    struct shoal_error error;
    entry->state = LINK_UNDERWAY;
    entry->start_ns = platform_now_ns();
    survey->taken[entry->from] = survey->taken[entry->to] = true;
    if (entry->from == owner_of(survey)) {
        link_probe_init(&survey->probe, cluster->transport, cluster->devices[entry->to].name,
                        survey->options->bytes, entry->share, ++survey->probe_number);
        survey->probed = entry;
    } else if (cluster_ask(cluster, entry->from,
                           link_request(cluster, entry->to, survey->options->bytes, entry->share),
                           &error) != SHOAL_OK) {
        finish(survey, entry, error.text);
    }
}

static void begin_what_can(struct survey *survey) {
    for (uint32_t i = 0; i < survey->result->count; i++) {
        struct link_entry *entry = &survey->result->entries[i];
        if (entry->state == LINK_WAITING && !survey->taken[entry->from] &&
            !survey->taken[entry->to]) {
            begin(survey, entry);
        }
    }
}

static void step_probe(struct survey *survey) {
    struct link_entry *entry = survey->probed;
    struct shoal_error error;
    if (entry == NULL) {
        return;
    }
    if (link_probe_done(&survey->probe)) {
        link_probe_figures(&survey->probe, &entry->figures);
        survey->probed = NULL;
        finish(survey, entry, NULL);
    } else if (is_lost(survey->cluster, entry->to)) {
        survey->probed = NULL;
        finish(survey, entry, survey->cluster->devices[entry->to].lost_text);
    } else if (link_probe_step(&survey->probe, &error) != SHOAL_OK) {
        survey->probed = NULL;
        finish(survey, entry, error.text);
    }
}

/* Work may have come meanwhile: then at a share of the time. */
static bool again_beside_jobs(struct survey *survey, struct link_entry *entry,
                              shoal_status refused) {
    if (refused != SHOAL_BUSY || entry->share <= survey->options->share) {
        return false;
    }
    survey->taken[entry->from] = survey->taken[entry->to] = false;
    entry->share = survey->options->share;
    entry->state = LINK_WAITING;
    return true;
}

static void look_at_reply(struct survey *survey, struct link_entry *entry) {
    struct cluster_device *device = &survey->cluster->devices[entry->from];
    struct shoal_error error;
    const double patience = (double)PATIENCE_NS / entry->share;
    const uint64_t until =
        entry->start_ns + (patience < (double)MOST_NS ? (uint64_t)patience : MOST_NS);
    if (device->lost) {
        finish(survey, entry, device->lost_text);
    } else if (device->pending != 0) {
        if (platform_now_ns() > until) {
            device->pending = 0; /* a late answer is nobody's */
            finish(survey, entry, "no answer in time");
        }
    } else if (json_is_true(json_object_get(device->reply, "ok"))) {
        finish(survey, entry,
               link_read_figures(device->reply, &entry->figures) ? NULL
                                                                 : "it sent figures that are none");
    } else {
        const shoal_status refused = control_refusal_status(device->reply, device->name, &error);
        if (!again_beside_jobs(survey, entry, refused)) {
            finish(survey, entry, error.text);
        }
    }
}

static void look_at_replies(struct survey *survey) {
    for (uint32_t i = 0; i < survey->result->count; i++) {
        struct link_entry *entry = &survey->result->entries[i];
        if (entry->state == LINK_UNDERWAY && entry != survey->probed) {
            look_at_reply(survey, entry);
        }
    }
}

/* ---- all ---- */

static void handle(struct survey *survey, struct transport_event *event) {
    struct wire_message message;
    struct transport *transport = survey->cluster->transport;
    const bool probing = survey->probed != NULL;
    if (event->kind == TRANSPORT_MESSAGE) {
        if (probing &&
            wire_decode(event->message->data, event->message->size, &message, NULL) == SHOAL_OK) {
            (void)link_probe_take(&survey->probe, event->peer, &message.header);
        }
        transport->ops->message_free(transport, event->message);
    } else if (event->kind == TRANSPORT_WRITABLE && probing &&
               strcmp(event->peer, survey->probe.peer) == 0) {
        link_probe_retry(&survey->probe);
    }
}

static shoal_status run(struct survey *survey, struct shoal_error *error) {
    while (survey->done < survey->result->count) {
        begin_what_can(survey);
        step_probe(survey);
        uint64_t deadline = platform_now_ns() + LOOK_NS;
        if (survey->probed != NULL && link_probe_due(&survey->probe) < deadline) {
            deadline = link_probe_due(&survey->probe);
        }
        struct transport_event event;
        const shoal_status status = cluster_next(survey->cluster, deadline, &event, error);
        if (status == SHOAL_OK) {
            handle(survey, &event);
        } else if (status != SHOAL_TIMEOUT) {
            return status;
        }
        look_at_replies(survey);
    }
    return SHOAL_OK;
}

shoal_status link_survey_run(const struct link_survey_options *options, struct link_survey *out,
                             struct shoal_error *error) {
    struct link_survey result = {.count = 0};
    struct survey survey = {.options = options,
                            .cluster = options->profiles->cluster,
                            .result = &result,
                            .start_ns = platform_now_ns()};
    shoal_status status = list_links(&survey, error);
    if (status == SHOAL_OK) {
        status = run(&survey, error);
    }
    mem_free(survey.taken);
    if (status != SHOAL_OK) {
        link_survey_fini(&result);
        return status;
    }
    *out = result;
    return SHOAL_OK;
}

void link_survey_fini(struct link_survey *survey) {
    mem_free(survey->entries);
    survey->entries = NULL;
    survey->count = 0;
}
