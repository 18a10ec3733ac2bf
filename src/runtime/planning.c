#include "runtime/planning.h"

#include "base/log.h"
#include "base/memory.h"
#include "graph/graph.h"
#include "platform/clock.h"
#include "runtime/choice_json.h"
#include "runtime/cluster_file.h"
#include "runtime/control.h"
#include "runtime/link_survey.h"
#include "runtime/model_text.h"
#include "runtime/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEASURE_NS (600 * CLOCK_SECOND)
#define TEXT_BYTES 4096
#define PROBE_SHARE 0.05 /* of the time of links whose devices have jobs */
struct planning {
    struct planning_options options;
    struct graph *graph;
    json_t *choice;
    json_t **profiles; /* [devices], borrowed twice where devices are alike */
    bool measured;
    struct plan_device *devices;
    double *compute_s; /* [devices][segments] */
    struct plan_link *links;
    size_t *cut_bytes, *weights_bytes, *slot_bytes, *scratch_bytes;
    struct plan_problem problem;
};

static uint32_t device_count(const struct planning *planning) {
    return planning->options.cluster->count;
}

static const char *info_text(const struct planning *planning, uint32_t device, const char *key) {
    const char *text =
        json_string_value(json_object_get(planning->options.cluster->devices[device].info, key));
    return text != NULL ? text : "?";
}

static int64_t info_integer(const struct planning *planning, uint32_t device, const char *key) {
    return json_integer_value(
        json_object_get(planning->options.cluster->devices[device].info, key));
}

static void say(const struct planning *planning, const char *what) {
    if (planning->options.say != NULL) {
        planning->options.say(planning->options.context, what);
    }
}

/* ---- the store ---- */

static json_t *look_up(const struct planning *planning, const char *key) {
    char *text = NULL;
    struct shoal_error error;
    if (planning->options.store == NULL || planning->options.measure_again) {
        return NULL;
    }
    const shoal_status status =
        store_profile_get(planning->options.store, key, &text, NULL, &error);
    if (status != SHOAL_OK) {
        if (status != SHOAL_NOT_FOUND) {
            log_warn("%s; measuring again", error.text);
        }
        return NULL;
    }
    json_t *document = json_loads(text, 0, NULL);
    mem_free(text);
    if (document == NULL) {
        log_warn("a stored profile is not JSON; measuring again");
    }
    return document;
}

static void keep(const struct planning *planning, const char *key, const json_t *document) {
    struct shoal_error error;
    char *text = planning->options.store != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    if (text != NULL && store_profile_put(planning->options.store, key, text, (int64_t)time(NULL),
                                          &error) != SHOAL_OK) {
        log_warn("a profile could not be kept: %s", error.text);
    }
    free(text);
}

/* ---- profiles ---- */

/* Which machine a device is on: two may have one name, so the machine's own identity counts. */
static const char *machine_of(const struct planning *planning, uint32_t device) {
    const json_t *info = planning->options.cluster->devices[device].info;
    const char *machine = json_string_value(json_object_get(info, "machine"));
    return machine != NULL ? machine : info_text(planning, device, "host");
}

/* Two devices with equal text are alike as far as computing goes. */
static void device_text(const struct planning *planning, uint32_t device, char text[TEXT_BYTES]) {
    (void)snprintf(text, TEXT_BYTES, "host %s; cpu %s; isa %s; libraries %s; threads %d",
                   machine_of(planning, device), info_text(planning, device, "cpu"),
                   info_text(planning, device, "isa"), info_text(planning, device, "libraries"),
                   cluster_threads(planning->options.cluster, device));
}

static json_t *model_request(const struct planning *planning, uint32_t device, const char *call,
                             const struct model_text *model) {
    return json_pack("{s:s, s:o, s:I, s:i}", "call", call, "model", model_text_json(model), "batch",
                     (json_int_t)planning->options.batch, "threads",
                     cluster_threads(planning->options.cluster, device));
}

/* `auto`: the first device's measurements decide for all, so that all compute the same bits. */
static shoal_status find_choice(struct planning *planning, const struct model_text *model,
                                struct shoal_error *error) {
    if (strcmp(planning->options.kernels, "auto") != 0) {
        planning->choice = json_pack("{s:s, s:{}}", "default", planning->options.kernels, "ops");
        return planning->choice != NULL ? SHOAL_OK
                                        : error_set(error, SHOAL_NO_MEMORY, "no memory for a plan");
    }
    char device[TEXT_BYTES], key[3 * TEXT_BYTES];
    device_text(planning, 0, device);
    (void)snprintf(key, sizeof key, "choice 1; %s; batch %lld; model %s", device,
                   (long long)planning->options.batch, model_text_name(model));
    planning->choice = look_up(planning, key);
    if (planning->choice != NULL) {
        struct kernel_choice *choice;
        struct shoal_error why;
        if (choice_from_json(planning->choice, &choice, &why) == SHOAL_OK) {
            kernel_choice_destroy(choice);
            return SHOAL_OK;
        }
        log_warn("a stored kernel choice is of no use (%s); measuring again", why.text);
        json_decref(planning->choice);
        planning->choice = NULL;
    }
    say(planning, "choosing kernels");
    planning->measured = true;
    const json_t *reply, *choice;
    TRY(cluster_call(planning->options.cluster, 0, model_request(planning, 0, "choose", model),
                     MEASURE_NS, &reply, error));
    TRY(control_object(reply, "choice", &choice, error));
    planning->choice = json_deep_copy(choice);
    keep(planning, key, planning->choice);
    return SHOAL_OK;
}

static bool is_profile(const json_t *document, uint32_t segments) {
    const json_t *list = json_object_get(document, "segments");
    if (!json_is_array(list) || json_array_size(list) != segments ||
        !json_is_integer(json_object_get(document, "library_bytes"))) {
        return false;
    }
    for (uint32_t i = 0; i < segments; i++) {
        const json_t *entry = json_array_get(list, i);
        if (!json_is_array(entry) || json_array_size(entry) != 5 ||
            !json_is_real(json_array_get(entry, 0)) ||
            !(json_real_value(json_array_get(entry, 0)) >= 0)) {
            return false;
        }
        for (size_t k = 1; k < 5; k++) {
            if (!json_is_integer(json_array_get(entry, k)) ||
                json_integer_value(json_array_get(entry, k)) < 0) {
                return false;
            }
        }
    }
    return true;
}

static shoal_status profile_device(struct planning *planning, uint32_t device,
                                   const struct model_text *model, const char *key,
                                   struct shoal_error *error) {
    const uint32_t segments = graph_segment_count(planning->graph);
    json_t *document = look_up(planning, key);
    if (document != NULL && is_profile(document, segments)) {
        planning->profiles[device] = document;
        return SHOAL_OK;
    }
    json_decref(document);
    say(planning, "measuring the model's segments");
    planning->measured = true;
    json_t *request = model_request(planning, device, "profile", model);
    (void)json_object_set(request, "choice", planning->choice);
    const json_t *reply;
    TRY(cluster_call(planning->options.cluster, device, request, MEASURE_NS, &reply, error));
    if (!is_profile(reply, segments)) {
        return error_set(error, SHOAL_PROTOCOL,
                         "device %s sent a profile that is none of this model",
                         planning->options.cluster->devices[device].name);
    }
    planning->profiles[device] =
        json_pack("{s:O, s:O}", "segments", json_object_get(reply, "segments"), "library_bytes",
                  json_object_get(reply, "library_bytes"));
    keep(planning, key, planning->profiles[device]);
    return SHOAL_OK;
}

static shoal_status find_profiles(struct planning *planning, const struct model_text *model,
                                  struct shoal_error *error) {
    char texts[2][TEXT_BYTES], key[3 * TEXT_BYTES];
    for (uint32_t i = 0; i < device_count(planning); i++) {
        device_text(planning, i, texts[0]);
        for (uint32_t j = 0; j < i && planning->profiles[i] == NULL; j++) {
            device_text(planning, j, texts[1]);
            if (strcmp(texts[0], texts[1]) == 0) {
                planning->profiles[i] = json_incref(planning->profiles[j]);
            }
        }
        if (planning->profiles[i] == NULL) {
            (void)snprintf(key, sizeof key, "segments 2; %s; kernels %s; batch %lld; model %s",
                           texts[0], planning->options.kernels, (long long)planning->options.batch,
                           model_text_name(model));
            TRY(profile_device(planning, i, model, key, error));
        }
    }
    return SHOAL_OK;
}

/* ---- links ---- */

static size_t largest_cut(const struct planning *planning) {
    size_t largest = 1;
    for (uint32_t i = 0; i <= planning->problem.segment_count; i++) {
        largest = planning->cut_bytes[i] > largest ? planning->cut_bytes[i] : largest;
    }
    return largest < ((size_t)1 << 22) ? largest : (size_t)1 << 22;
}

/*
 * From and to the owner. A local device's way back is that of the owner's own messages, and so is
 * what they cost the processor, for it is the same one; a remote device measures both itself.
 */
static shoal_status find_owner_links(struct planning *planning, struct link_profiles *profiles,
                                     uint32_t d, struct shoal_error *error) {
    const uint32_t owner = device_count(planning);
    struct link_figures there, back;
    struct plan_device *device = &planning->devices[d];
    TRY(link_profile_find(profiles, owner, d, &there, error));
    back = there;
    if (planning->options.cluster->file != NULL) {
        TRY(link_profile_find(profiles, d, owner, &back, error));
    }
    device->from_source = (struct plan_link){there.alpha_s, there.beta_s_per_byte};
    device->to_sink = (struct plan_link){back.alpha_s, back.beta_s_per_byte};
    device->message_cpu_s = back.cpu_s_per_message;
    device->message_cpu_s_per_byte = back.cpu_s_per_byte;
    return SHOAL_OK;
}

static shoal_status find_all_links(struct planning *planning, struct link_profiles *profiles,
                                   struct shoal_error *error) {
    const uint32_t count = device_count(planning);
    for (uint32_t to = 0; to < count; to++) {
        TRY(find_owner_links(planning, profiles, to, error));
        for (uint32_t from = 0; from < count; from++) {
            struct link_figures figures;
            if (from != to) {
                TRY(link_profile_find(profiles, from, to, &figures, error));
                planning->links[from * count + to] =
                    (struct plan_link){figures.alpha_s, figures.beta_s_per_byte};
            }
        }
    }
    return SHOAL_OK;
}

static bool all_links_are_known(struct link_profiles *profiles) {
    const uint32_t ends = profiles->cluster->count + 1;
    for (uint32_t from = 0; from < ends; from++) {
        for (uint32_t to = 0; to < ends; to++) {
            if (from != to && !link_profile_is_known(profiles, from, to)) {
                return false;
            }
        }
    }
    return true;
}

/* Between machines: what is not known is measured together, beside whatever they compute. */
static shoal_status survey_links(struct planning *planning, struct link_profiles *profiles,
                                 struct shoal_error *error) {
    const struct cluster *cluster = planning->options.cluster;
    const struct link_survey_options options = {.profiles = profiles,
                                                .share = PROBE_SHARE,
                                                .bytes = link_profile_bytes(cluster),
                                                .unknown_only = true};
    struct link_survey survey;
    if (all_links_are_known(profiles)) {
        return SHOAL_OK;
    }
    say(planning, "measuring links");
    TRY(link_survey_run(&options, &survey, error));
    shoal_status status = SHOAL_OK;
    profiles->measured = profiles->measured || survey.count > 0;
    for (uint32_t i = 0; i < survey.count && status == SHOAL_OK; i++) {
        const struct link_entry *entry = &survey.entries[i];
        if (entry->state == LINK_FAILED) {
            status = error_set(
                error, SHOAL_PEER_LOST,
                "the link from %s to %s could not be measured: %s. What to do about it: shoal "
                "doctor --cluster %s",
                entry->from < cluster->count ? cluster->devices[entry->from].name : CLUSTER_OWNER,
                entry->to < cluster->count ? cluster->devices[entry->to].name : CLUSTER_OWNER,
                entry->text, cluster->file->path);
        }
    }
    link_survey_fini(&survey);
    return status;
}

static shoal_status find_links(struct planning *planning, struct shoal_error *error) {
    struct link_profiles profiles = {.cluster = planning->options.cluster,
                                     .store = planning->options.store,
                                     .measure_again = planning->options.measure_again,
                                     .bytes = largest_cut(planning),
                                     .say = planning->options.say,
                                     .context = planning->options.context};
    shoal_status status = SHOAL_OK;
    if (planning->options.cluster->file != NULL) {
        status = survey_links(planning, &profiles, error);
    }
    if (status == SHOAL_OK) {
        status = find_all_links(planning, &profiles, error);
    }
    planning->measured = planning->measured || profiles.measured;
    link_profiles_fini(&profiles);
    return status;
}

/* ---- the problem ---- */

/* What a device occupies before any stage: the most among those alike, so that the planner sees
 * that they are alike. */
static size_t idle_bytes(const struct planning *planning, uint32_t device) {
    size_t most = 0;
    for (uint32_t d = 0; d < device_count(planning); d++) {
        const size_t resident = (size_t)info_integer(planning, d, "resident_bytes");
        if (planning->profiles[d] == planning->profiles[device] && resident > most) {
            most = resident;
        }
    }
    return most;
}

/* What stands for the machine in texts; equal for the devices of one machine, which share its
 * cores. */
static const char *host_name(const struct planning *planning, uint32_t device) {
    if (planning->options.cluster->file == NULL) {
        return info_text(planning, device, "host");
    }
    uint32_t first = 0;
    while (strcmp(machine_of(planning, first), machine_of(planning, device)) != 0) {
        first++;
    }
    return planning->options.cluster->devices[first].name;
}

static void fill_devices(struct planning *planning) {
    const uint32_t count = device_count(planning), segments = planning->problem.segment_count;
    for (uint32_t d = 0; d < count; d++) {
        const json_t *list = json_object_get(planning->profiles[d], "segments");
        double *compute = &planning->compute_s[(size_t)d * segments];
        for (uint32_t s = 0; s < segments; s++) {
            compute[s] = json_real_value(json_array_get(json_array_get(list, s), 0));
        }
        struct plan_device *device = &planning->devices[d];
        device->name = planning->options.cluster->devices[d].name;
        device->host = host_name(planning, d);
        device->threads = cluster_threads(planning->options.cluster, d);
        device->host_cores = (int)info_integer(planning, d, "cores");
        device->compute_s = compute;
        device->memory_base =
            idle_bytes(planning, d) +
            (size_t)json_integer_value(json_object_get(planning->profiles[d], "library_bytes"));
        device->memory_limit = cluster_memory_limit(planning->options.cluster, d);
    }
    for (uint32_t d = 0; d < count; d++) {
        int wanted = 0;
        for (uint32_t e = 0; e < count; e++) {
            wanted += strcmp(planning->devices[e].host, planning->devices[d].host) == 0
                          ? planning->devices[e].threads
                          : 0;
        }
        planning->devices[d].shares_core = wanted >= planning->devices[d].host_cores;
    }
}

/* Figure k of a segment: unlike processors pack differently, so the most of all devices'. */
static size_t most_bytes(const struct planning *planning, uint32_t segment, size_t k) {
    size_t most = 0;
    for (uint32_t d = 0; d < device_count(planning); d++) {
        const json_t *list = json_object_get(planning->profiles[d], "segments");
        const size_t bytes =
            (size_t)json_integer_value(json_array_get(json_array_get(list, segment), k));
        most = bytes > most ? bytes : most;
    }
    return most;
}

/*
 * While weights are read neither slot and scratch nor messages exist yet, so of the two peaks the
 * larger counts; the planner adds messages to both, so the least that they can be is taken off the
 * first. What is in a profile was measured segment by segment; a stage's slot and scratch are the
 * largest of its segments'.
 */
static void fill_memory(struct planning *planning) {
    size_t messages = SIZE_MAX;
    for (uint32_t s = 1; s < planning->problem.segment_count; s++) {
        messages = planning->cut_bytes[s] < messages ? planning->cut_bytes[s] : messages;
    }
    /* The last stage sends small results, the first takes inputs: one side may be the smallest
     * there is. */
    const size_t ends[] = {planning->cut_bytes[0],
                           planning->cut_bytes[planning->problem.segment_count]};
    const size_t in = ends[0] < messages ? ends[0] : messages;
    const size_t out = ends[1] < messages ? ends[1] : messages;
    const size_t least = STAGE_MESSAGES_IN * in + STAGE_MESSAGES_OUT * out;
    for (uint32_t s = 0; s < planning->problem.segment_count; s++) {
        const size_t weights = most_bytes(planning, s, 1), slot = most_bytes(planning, s, 2),
                     scratch = most_bytes(planning, s, 3), extra = most_bytes(planning, s, 4),
                     loading = extra > least ? extra - least : 0;
        planning->weights_bytes[s] = weights;
        planning->slot_bytes[s] = 0;
        planning->scratch_bytes[s] = slot + scratch > loading ? slot + scratch : loading;
    }
}

static shoal_status allocate(struct planning *planning, struct shoal_error *error) {
    const uint32_t count = device_count(planning), segments = graph_segment_count(planning->graph);
    planning->profiles = mem_calloc(count, sizeof *planning->profiles);
    planning->devices = mem_calloc(count, sizeof *planning->devices);
    planning->compute_s = mem_calloc((size_t)count * segments, sizeof *planning->compute_s);
    planning->links = mem_calloc((size_t)count * count, sizeof *planning->links);
    planning->cut_bytes = mem_calloc(segments + 1, sizeof *planning->cut_bytes);
    planning->weights_bytes = mem_calloc(segments, sizeof *planning->weights_bytes);
    planning->slot_bytes = mem_calloc(segments, sizeof *planning->slot_bytes);
    planning->scratch_bytes = mem_calloc(segments, sizeof *planning->scratch_bytes);
    if (planning->profiles == NULL || planning->devices == NULL || planning->compute_s == NULL ||
        planning->links == NULL || planning->cut_bytes == NULL || planning->weights_bytes == NULL ||
        planning->slot_bytes == NULL || planning->scratch_bytes == NULL) {
        return error_set(error, SHOAL_NO_MEMORY,
                         "no memory for a plan of %u segments on %u devices", segments, count);
    }
    planning->problem = (struct plan_problem){.segment_count = segments,
                                              .device_count = count,
                                              .devices = planning->devices,
                                              .links = planning->links,
                                              .cut_bytes = planning->cut_bytes,
                                              .weights_bytes = planning->weights_bytes,
                                              .slot_bytes = planning->slot_bytes,
                                              .scratch_bytes = planning->scratch_bytes,
                                              .in_messages = STAGE_MESSAGES_IN,
                                              .out_messages = STAGE_MESSAGES_OUT,
                                              .use_all = true,
                                              .clock = platform_clock()};
    for (uint32_t s = 0; s <= segments; s++) {
        planning->cut_bytes[s] = graph_crossing_bytes(planning->graph, s, planning->options.batch);
    }
    return SHOAL_OK;
}

static shoal_status gather(struct planning *planning, struct shoal_error *error) {
    TRY(model_build(planning->options.model, &planning->graph, error));
    TRY(allocate(planning, error));
    struct model_text model;
    TRY(model_text_make(planning->options.model, planning->options.cluster, &model, error));
    shoal_status status = find_choice(planning, &model, error);
    if (status == SHOAL_OK) {
        status = find_profiles(planning, &model, error);
    }
    model_text_fini(&model);
    TRY(status);
    fill_devices(planning);
    fill_memory(planning);
    return find_links(planning, error);
}

shoal_status planning_create(const struct planning_options *options, struct planning **out,
                             struct shoal_error *error) {
    struct planning *planning = mem_calloc(1, sizeof *planning);
    if (planning == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a plan");
    }
    planning->options = *options;
    const shoal_status status = gather(planning, error);
    if (status != SHOAL_OK) {
        planning_destroy(planning);
        return status;
    }
    *out = planning;
    return SHOAL_OK;
}

void planning_destroy(struct planning *planning) {
    if (planning == NULL) {
        return;
    }
    for (uint32_t i = 0; planning->profiles != NULL && i < device_count(planning); i++) {
        json_decref(planning->profiles[i]);
    }
    json_decref(planning->choice);
    graph_destroy(planning->graph);
    mem_free(planning->profiles);
    mem_free(planning->devices);
    mem_free(planning->compute_s);
    mem_free(planning->links);
    mem_free(planning->cut_bytes);
    mem_free(planning->weights_bytes);
    mem_free(planning->slot_bytes);
    mem_free(planning->scratch_bytes);
    mem_free(planning);
}

const struct plan_problem *planning_problem(const struct planning *planning) {
    return &planning->problem;
}

const json_t *planning_choice(const struct planning *planning) {
    return planning->choice;
}

bool planning_from_store(const struct planning *planning) {
    return !planning->measured;
}

/* ---- placing ---- */

static shoal_status place_cuts(const struct planning *planning,
                               const struct planning_request *request, struct plan_placement *out,
                               struct shoal_error *error) {
    uint32_t ends[PLAN_MAX_DEVICES], devices[PLAN_MAX_DEVICES];
    const uint32_t segments = planning->problem.segment_count, stages = request->end_count + 1;
    if (stages > device_count(planning)) {
        return error_set(error, SHOAL_INVALID, "--cuts makes %u stages, but there are %u devices",
                         stages, device_count(planning));
    }
    for (uint32_t i = 0; i < stages; i++) {
        devices[i] = i;
        ends[i] = i < request->end_count ? request->ends[i] : segments;
        if (ends[i] <= (i > 0 ? ends[i - 1] : 0) || ends[i] > segments ||
            (i + 1 < stages && ends[i] == segments)) {
            return error_set(error, SHOAL_INVALID,
                             "--cuts: the last segments of the stages must rise from 1 to %u (the "
                             "model has %u segments)",
                             segments - 1, segments);
        }
    }
    return plan_evaluate(&planning->problem, ends, devices, stages, out, error);
}

/* The prediction for a placement with the host's cores taken into account; what the solver proved
 * is kept. */
static shoal_status evaluate_on_hosts(const struct planning *planning,
                                      struct plan_placement *placement, struct shoal_error *error) {
    uint32_t ends[PLAN_MAX_DEVICES], devices[PLAN_MAX_DEVICES];
    for (uint32_t i = 0; i < placement->stage_count; i++) {
        ends[i] = placement->stages[i].last;
        devices[i] = placement->stages[i].device;
    }
    struct plan_placement seen;
    TRY(plan_evaluate(&planning->problem, ends, devices, placement->stage_count, &seen, error));
    seen.single_device_s = placement->single_device_s;
    seen.single_device = placement->single_device;
    seen.solver_seconds = placement->solver_seconds;
    seen.exact = placement->exact;
    const double ratio = seen.single_device_s / seen.bottleneck_s;
    if (seen.bottleneck_kind != PLAN_BOUND_HOST) {
        memcpy(seen.rejected, placement->rejected, sizeof seen.rejected);
    } else if (isfinite(ratio) &&
               ratio > 1) { /* the solver's text knows nothing of the shared cores */
        (void)snprintf(seen.rejected, sizeof seen.rejected, "%s alone: %.4g s, %.3g times as long",
                       planning->devices[seen.single_device].name, seen.single_device_s, ratio);
    }
    /* No schedule beats the cores of the host, nor the best partition with a core for everyone. */
    seen.lower_bound_s = fmax(placement->lower_bound_s,
                              seen.bottleneck_kind == PLAN_BOUND_HOST ? seen.bottleneck_s : 0.0);
    *placement = seen;
    return SHOAL_OK;
}

static shoal_status place_on(const struct planning *planning,
                             const struct planning_request *request, uint32_t stages,
                             struct plan_placement *out, struct shoal_error *error) {
    struct plan_device devices[PLAN_MAX_DEVICES];
    struct plan_problem problem = planning->problem;
    memcpy(devices, planning->devices, problem.device_count * sizeof *devices);
    for (uint32_t i = 0; i < problem.device_count; i++) {
        devices[i].host_cores = 0;
    }
    problem.devices = devices;
    problem.latency = request->latency;
    problem.max_stages = stages;
    problem.use_all = stages == problem.device_count;
    switch (request->rule) {
    case PLANNING_EVEN:
        TRY(plan_even(&problem, out, error));
        break;
    case PLANNING_PIPEDREAM:
        TRY(plan_pipedream(&problem, out, error));
        break;
    case PLANNING_OPTIMAL:
    case PLANNING_CUTS:
        TRY(plan_solve(&problem, out, error));
        break;
    }
    return out->feasible ? evaluate_on_hosts(planning, out, error) : SHOAL_OK;
}

shoal_status planning_place(const struct planning *planning, const struct planning_request *request,
                            struct plan_placement *out, struct shoal_error *error) {
    if (request->rule == PLANNING_CUTS) {
        return place_cuts(planning, request, out, error);
    }
    const uint32_t count = device_count(planning);
    if (request->rule != PLANNING_OPTIMAL || !request->choose_devices) {
        const uint32_t segments = planning->problem.segment_count;
        return place_on(planning, request, count < segments ? count : segments, out, error);
    }
    struct plan_placement best = {.feasible = false};
    for (uint32_t stages = 1; stages <= count; stages++) {
        struct plan_placement candidate;
        TRY(place_on(planning, request, stages, &candidate, error));
        const double cost = request->latency ? candidate.latency_s : candidate.bottleneck_s;
        const double least = request->latency ? best.latency_s : best.bottleneck_s;
        /* One more device must earn its place: a gain below two hundredths is no gain worth a
         * device. */
        if (!best.feasible || (candidate.feasible && cost < least * 0.98)) {
            best = candidate;
        }
    }
    *out = best;
    return SHOAL_OK;
}
