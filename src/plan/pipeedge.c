#include "plan/pipeedge.h"

#include "base/assert.h"
#include "base/memory.h"
#include "plan/yaml.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MEGA 1048576.0
#define MAX_NAMES 4096 /* of types and of hosts in a file: names are compared pairwise */

struct host_type {
    const char *name;
    double memory_mb, bandwidth_mbps;
    double *time_s; /* [layers] */
    struct yaml_item hosts;
    uint32_t host_count;
};

struct plan_pipeedge {
    struct yaml *models, *types_file, *devices; /* names are borrowed from these */
    char *model;
    uint32_t batch, buffers_in, buffers_out;
    uint32_t layers;
    double parameters_in;
    double *parameters_out, *memory_mb; /* [layers] */
    uint32_t type_count, host_count;
    struct host_type types[PLAN_DP_MAX_KINDS]; /* those with a host and a profile */
    char notes[512];
};

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t bytes,
                                                         const char *format, ...) {
    const size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + used, bytes - used, format, arguments);
    va_end(arguments);
}

static shoal_status not_negative(struct yaml_item item, double *out, struct shoal_error *error) {
    TRY(yaml_double(item, out, error));
    return *out >= 0.0 ? SHOAL_OK : yaml_fail(item, error, "must not be negative");
}

static shoal_status get_number(struct yaml_item map, const char *key, double *out,
                               struct shoal_error *error) {
    struct yaml_item item;
    TRY(yaml_get(map, key, &item, error));
    return not_negative(item, out, error);
}

/* A list of exactly `count` numbers; mem_free it. */
static shoal_status get_numbers(struct yaml_item map, const char *key, uint32_t count, double **out,
                                struct shoal_error *error) {
    struct yaml_item list;
    TRY(yaml_get(map, key, &list, error));
    if (!yaml_is_list(list) || yaml_count(list) != count) {
        return yaml_fail(list, error,
                         "a list of %" PRIu32 " numbers, one a layer, is expected, not %zu", count,
                         yaml_count(list));
    }
    double *values = mem_calloc(count, sizeof *values);
    if (values == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for %s", key);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct yaml_item item;
        yaml_list_at(list, i, &item);
        const shoal_status status = not_negative(item, &values[i], error);
        if (status != SHOAL_OK) {
            mem_free(values);
            return status;
        }
    }
    *out = values;
    return SHOAL_OK;
}

static shoal_status read_model(struct plan_pipeedge *p, const char *path,
                               struct shoal_error *error) {
    static const char *const keys[] = {"layers", "mem_MB", "parameters_in", "parameters_out", NULL};
    const struct yaml_item root = yaml_root(p->models);
    TRY(yaml_check_map(root, error));
    struct yaml_item model, layers;
    if (!yaml_has(root, p->model)) {
        return error_set(error, SHOAL_NOT_FOUND, "%s: there is no model \"%s\" in it", path,
                         p->model);
    }
    TRY(yaml_get(root, p->model, &model, error));
    TRY(yaml_check_keys(model, keys, error));
    TRY(yaml_get(model, "layers", &layers, error));
    uint64_t count;
    TRY(yaml_u64(layers, &count, error));
    if (count == 0 || count > PLAN_DP_MAX_SEGMENTS) {
        return yaml_fail(layers, error, "1 to %d layers are possible", PLAN_DP_MAX_SEGMENTS);
    }
    p->layers = (uint32_t)count;
    TRY(get_number(model, "parameters_in", &p->parameters_in, error));
    TRY(get_numbers(model, "parameters_out", p->layers, &p->parameters_out, error));
    return get_numbers(model, "mem_MB", p->layers, &p->memory_mb, error);
}

/* Finds the profile for the batch and float32 and checks them all. *out stays NULL if there is
 * none. */
static shoal_status read_profiles(const struct plan_pipeedge *p, struct yaml_item list,
                                  double **out, struct shoal_error *error) {
    static const char *const keys[] = {"batch_size", "dtype", "time_s", NULL};
    if (!yaml_is_list(list)) {
        return yaml_fail(list, error, "a list of profiles is expected");
    }
    for (size_t i = 0; i < yaml_count(list); i++) {
        struct yaml_item profile, item;
        uint64_t batch;
        const char *dtype;
        double *times;
        yaml_list_at(list, i, &profile);
        TRY(yaml_check_keys(profile, keys, error));
        TRY(yaml_get(profile, "batch_size", &item, error));
        TRY(yaml_u64(item, &batch, error));
        TRY(yaml_get(profile, "dtype", &item, error));
        TRY(yaml_string(item, &dtype, error));
        TRY(get_numbers(profile, "time_s", p->layers, &times, error));
        if (batch != p->batch || strcmp(dtype, "torch.float32") != 0) {
            mem_free(times);
        } else if (*out != NULL) {
            mem_free(times);
            return yaml_fail(profile, error, "a second profile for batch size %" PRIu32, p->batch);
        } else {
            *out = times;
        }
    }
    return SHOAL_OK;
}

static shoal_status read_type(const struct plan_pipeedge *p, struct yaml_item item,
                              struct host_type *type, struct shoal_error *error) {
    static const char *const keys[] = {"bw_Mbps", "mem_MB", "model_profiles", NULL};
    TRY(yaml_check_keys(item, keys, error));
    TRY(get_number(item, "bw_Mbps", &type->bandwidth_mbps, error));
    TRY(get_number(item, "mem_MB", &type->memory_mb, error));
    struct yaml_item profiles, list;
    TRY(yaml_get(item, "model_profiles", &profiles, error));
    if (yaml_is_null(profiles)) {
        return SHOAL_OK;
    }
    TRY(yaml_check_map(profiles, error));
    if (!yaml_has(profiles, p->model)) {
        return SHOAL_OK;
    }
    TRY(yaml_get(profiles, p->model, &list, error));
    return read_profiles(p, list, &type->time_s, error);
}

static shoal_status check_hosts(struct yaml_item hosts, struct shoal_error *error) {
    if (!yaml_is_list(hosts) && !yaml_is_null(hosts)) {
        return yaml_fail(hosts, error, "a list of host names is expected");
    }
    for (size_t i = 0; i < yaml_count(hosts); i++) {
        struct yaml_item host;
        const char *name;
        yaml_list_at(hosts, i, &host);
        TRY(yaml_string(host, &name, error));
    }
    return SHOAL_OK;
}

static const char *host_name(const struct host_type *type, uint32_t index) {
    struct yaml_item host;
    const char *name = "";
    yaml_list_at(type->hosts, index, &host);
    const shoal_status status = yaml_string(host, &name, NULL); /* checked when it was read */
    ASSERT(status == SHOAL_OK);
    return name;
}

static bool find_host(const struct plan_pipeedge *p, const char *name, uint32_t *type,
                      uint32_t *index) {
    for (uint32_t t = 0; t < p->type_count; t++) {
        for (uint32_t i = 0; i < p->types[t].host_count; i++) {
            if (strcmp(host_name(&p->types[t], i), name) == 0) {
                *type = t;
                *index = i;
                return true;
            }
        }
    }
    return false;
}

/* Takes a type with its hosts into the problem, or says why not. */
static shoal_status add_hosts(struct plan_pipeedge *p, struct yaml_item hosts,
                              struct host_type *type, struct shoal_error *error) {
    const size_t count = yaml_count(hosts);
    if (count == 0) {
        return SHOAL_OK;
    }
    if (type->time_s == NULL) {
        append(p->notes, sizeof p->notes,
               "%s%zu hosts of %s not used: no profile for batch size %" PRIu32,
               p->notes[0] != '\0' ? "; " : "", count, hosts.key, p->batch);
        return SHOAL_OK;
    }
    if (p->type_count == PLAN_DP_MAX_KINDS || count > MAX_NAMES ||
        p->host_count + count > MAX_NAMES) {
        return error_set(error, SHOAL_UNSUPPORTED, "more than %d usable types or %d hosts",
                         PLAN_DP_MAX_KINDS, MAX_NAMES);
    }
    type->name = hosts.key;
    type->hosts = hosts;
    for (uint32_t i = 0; i < (uint32_t)count; i++) {
        uint32_t t, other;
        type->host_count = i;
        p->types[p->type_count] = *type; /* the hosts before this one, to compare with */
        p->type_count++;
        const bool twice = find_host(p, host_name(type, i), &t, &other);
        p->type_count--;
        if (twice) {
            return yaml_fail(hosts, error, "host \"%s\" stands there twice", host_name(type, i));
        }
    }
    type->host_count = (uint32_t)count;
    p->types[p->type_count++] = *type;
    p->host_count += type->host_count;
    type->time_s = NULL; /* now the problem's */
    return SHOAL_OK;
}

static shoal_status read_hosts(struct plan_pipeedge *p, const char *types_path,
                               const char *devices_path, struct shoal_error *error) {
    const struct yaml_item types = yaml_root(p->types_file), devices = yaml_root(p->devices);
    TRY(yaml_check_map(types, error));
    TRY(yaml_check_map(devices, error));
    if (yaml_count(types) > MAX_NAMES || yaml_count(devices) > MAX_NAMES) {
        return error_set(error, SHOAL_UNSUPPORTED, "%s, %s: more than %d types", types_path,
                         devices_path, MAX_NAMES);
    }
    for (size_t i = 0; i < yaml_count(devices); i++) {
        struct yaml_item hosts;
        yaml_map_at(devices, i, &hosts);
        TRY(check_hosts(hosts, error));
        if (!yaml_has(types, hosts.key)) {
            append(p->notes, sizeof p->notes, "%s%zu hosts of %s not used: %s has no such type",
                   p->notes[0] != '\0' ? "; " : "", yaml_count(hosts), hosts.key, types_path);
        }
    }
    for (size_t i = 0; i < yaml_count(types); i++) {
        struct yaml_item item, hosts;
        struct host_type type = {.time_s = NULL};
        yaml_map_at(types, i, &item);
        shoal_status status = read_type(p, item, &type, error);
        if (status == SHOAL_OK && yaml_has(devices, item.key)) {
            status = yaml_get(devices, item.key, &hosts, error);
            if (status == SHOAL_OK) {
                status = add_hosts(p, hosts, &type, error);
            }
        }
        mem_free(type.time_s);
        TRY(status);
    }
    return SHOAL_OK;
}

shoal_status plan_pipeedge_build(const struct plan_pipeedge_options *options, struct yaml *models,
                                 struct yaml *types, struct yaml *devices,
                                 struct plan_pipeedge **out, struct shoal_error *error) {
    struct plan_pipeedge *p = mem_calloc(1, sizeof *p);
    if (p == NULL) {
        yaml_destroy(models);
        yaml_destroy(types);
        yaml_destroy(devices);
        return error_set(error, SHOAL_NO_MEMORY, "out of memory");
    }
    p->models = models;
    p->types_file = types;
    p->devices = devices;
    p->batch = options->batch;
    p->buffers_in = options->buffers_in;
    p->buffers_out = options->buffers_out;
    p->model = mem_strdup(options->model);
    shoal_status status = SHOAL_OK;
    if (options->batch == 0) {
        status = error_set(error, SHOAL_INVALID, "batch size 0");
    } else if (options->dtype != NULL && strcmp(options->dtype, "torch.float32") != 0) {
        status = error_set(error, SHOAL_UNSUPPORTED,
                           "dtype %s: only torch.float32 is supported here", options->dtype);
    } else if (p->model == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "out of memory");
    }
    if (status == SHOAL_OK) {
        status = read_model(p, options->models_path, error);
    }
    if (status == SHOAL_OK) {
        status = read_hosts(p, options->types_path, options->devices_path, error);
    }
    if (status != SHOAL_OK) {
        plan_pipeedge_destroy(p);
        return status;
    }
    *out = p;
    return SHOAL_OK;
}

shoal_status plan_pipeedge_load(const struct plan_pipeedge_options *options,
                                struct plan_pipeedge **out, struct shoal_error *error) {
    struct yaml *models = NULL, *types = NULL, *devices = NULL;
    shoal_status status = yaml_read_file(options->models_path, &models, error);
    if (status == SHOAL_OK) {
        status = yaml_read_file(options->types_path, &types, error);
    }
    if (status == SHOAL_OK) {
        status = yaml_read_file(options->devices_path, &devices, error);
    }
    if (status != SHOAL_OK) {
        yaml_destroy(models);
        yaml_destroy(types);
        yaml_destroy(devices);
        return status;
    }
    return plan_pipeedge_build(options, models, types, devices, out, error);
}

void plan_pipeedge_destroy(struct plan_pipeedge *problem) {
    if (problem == NULL) {
        return;
    }
    for (uint32_t t = 0; t < problem->type_count; t++) {
        mem_free(problem->types[t].time_s);
    }
    mem_free(problem->parameters_out);
    mem_free(problem->memory_mb);
    mem_free(problem->model);
    yaml_destroy(problem->models);
    yaml_destroy(problem->types_file);
    yaml_destroy(problem->devices);
    mem_free(problem);
}

/* A stage's parts; layers 0-based, grown from `first` as in plan/cost.h. */
struct stage_cost {
    double compute_s, memory_mb, memory_bytes;
};

static double tensor_bytes(const struct plan_pipeedge *p, uint32_t cut) {
    return 4.0 * (cut == 0 ? p->parameters_in : p->parameters_out[cut - 1]) * p->batch;
}

static void grow(const struct plan_pipeedge *p, uint32_t type, uint32_t first, uint32_t layer,
                 struct stage_cost *cost) {
    const double in = tensor_bytes(p, first), out = tensor_bytes(p, layer + 1);
    cost->compute_s += p->types[type].time_s[layer];
    cost->memory_mb += p->memory_mb[layer];
    cost->memory_bytes = cost->memory_mb * MEGA + (first > 0 ? in * p->buffers_in : 0.0) +
                         out * p->buffers_out + in + out;
}

static double limit_bytes(const struct plan_pipeedge *p, uint32_t type) {
    return p->types[type].memory_mb * MEGA;
}

static double send_seconds(const struct plan_pipeedge *p, uint32_t from, uint32_t to,
                           uint32_t cut) {
    const double mbps = fmin(p->types[from].bandwidth_mbps, p->types[to].bandwidth_mbps);
    return mbps > 0.0 ? tensor_bytes(p, cut) / (mbps * MEGA / 8.0) : HUGE_VAL;
}

static void fill_tables(const struct plan_pipeedge *p, bool memory_only, struct plan_tables *cost,
                        struct plan_tables *latency) {
    for (uint32_t u = 0; u < p->type_count; u++) {
        for (uint32_t i = 0; i < p->layers; i++) {
            struct stage_cost stage = {.compute_s = 0.0};
            for (uint32_t j = i; j < p->layers; j++) {
                grow(p, u, i, j, &stage);
                const bool fits = limit_bytes(p, u) > stage.memory_bytes;
                *plan_stage_entry(cost, u, i, j) =
                    memory_only ? (limit_bytes(p, u) > 0.0 ? stage.memory_bytes / limit_bytes(p, u)
                                                           : HUGE_VAL)
                    : fits      ? stage.compute_s
                                : HUGE_VAL;
                *plan_stage_entry(latency, u, i, j) = stage.compute_s;
            }
        }
        for (uint32_t v = 0; v < p->type_count; v++) {
            for (uint32_t c = 1; c < p->layers; c++) {
                const double seconds = send_seconds(p, u, v, c);
                *plan_link_entry(cost, u, v, c) = memory_only && isfinite(seconds) ? 0.0 : seconds;
                *plan_link_entry(latency, u, v, c) = seconds;
            }
        }
    }
}

/* Adds one stage to the schedule: its times, its memory, whether it fits. */
static void add_stage(const struct plan_pipeedge *p, uint32_t type, uint32_t host, uint32_t first,
                      uint32_t end, uint32_t next_type, struct plan_pipeedge_schedule *out) {
    struct stage_cost cost = {.compute_s = 0.0};
    for (uint32_t l = first; l < end; l++) {
        grow(p, type, first, l, &cost);
    }
    const uint32_t s = out->stage_count++;
    out->stages[s] = (struct plan_pipeedge_stage){
        .host = host_name(&p->types[type], host),
        .type = p->types[type].name,
        .first = first + 1,
        .last = end,
        .compute_s = cost.compute_s,
        .send_s = end < p->layers ? send_seconds(p, type, next_type, end) : 0.0,
        .memory_bytes = cost.memory_bytes,
        .memory_limit_bytes = limit_bytes(p, type),
    };
    out->feasible = out->feasible && limit_bytes(p, type) > cost.memory_bytes &&
                    isfinite(out->stages[s].send_s);
    out->latency_s += out->stages[s].compute_s;
    out->latency_s += out->stages[s].send_s;
    for (int link = 0; link < 2; link++) {
        const double seconds = link != 0 ? out->stages[s].send_s : out->stages[s].compute_s;
        if (seconds > out->bottleneck_s) {
            out->bottleneck_s = seconds;
            out->bottleneck_stage = s;
            out->bottleneck_is_link = link != 0;
        }
    }
}

static void find_single(const struct plan_pipeedge *p, struct plan_pipeedge_schedule *out) {
    out->single_device_s = HUGE_VAL;
    for (uint32_t t = 0; t < p->type_count; t++) {
        struct plan_pipeedge_schedule alone = {.feasible = true};
        add_stage(p, t, 0, 0, p->layers, t, &alone);
        if (alone.feasible && alone.bottleneck_s < out->single_device_s) {
            out->single_device_s = alone.bottleneck_s;
            out->single_device = alone.stages[0].host;
        }
    }
}

static void add_chain(const struct plan_pipeedge *p, const struct plan_chain *chain,
                      struct plan_pipeedge_schedule *out) {
    uint32_t used[PLAN_DP_MAX_KINDS] = {0};
    for (uint32_t s = 0; s < chain->stage_count; s++) {
        const uint32_t type = chain->kinds[s];
        add_stage(p, type, used[type]++, s > 0 ? chain->ends[s - 1] : 0, chain->ends[s],
                  s + 1 < chain->stage_count ? chain->kinds[s + 1] : type, out);
    }
}

static void give_reason(const struct plan_pipeedge *p, struct plan_pipeedge_schedule *out) {
    if (out->feasible && out->stage_count == 1) {
        append(out->reason, sizeof out->reason, "no pipeline is faster than %s alone",
               out->single_device);
    } else if (out->feasible && out->single_device == NULL) {
        append(out->reason, sizeof out->reason, "no host can hold the whole model alone");
    } else if (out->feasible) {
        append(out->reason, sizeof out->reason, "%s alone: %.4g s, %.3g times as long",
               out->single_device, out->single_device_s, out->single_device_s / out->bottleneck_s);
    } else if (p->host_count == 0) {
        append(out->reason, sizeof out->reason, "no host can be used");
    } else if (isfinite(out->memory_factor)) {
        append(out->reason, sizeof out->reason,
               "the hosts' memory is too small: every mem_MB would have to be more than %.6g times "
               "as large",
               out->memory_factor);
    } else {
        append(out->reason, sizeof out->reason, "no placement fits whatever the memory");
    }
    if (out->feasible && out->stage_count < p->host_count) {
        append(out->reason, sizeof out->reason,
               "; %" PRIu32 " of %" PRIu32 " hosts not used: they would not help",
               p->host_count - out->stage_count, p->host_count);
    }
}

static shoal_status search(const struct plan_pipeedge *p, struct plan_tables *cost,
                           struct plan_tables *latency, struct plan_dp **dp,
                           struct plan_pipeedge_schedule *out, struct shoal_error *error) {
    uint32_t counts[PLAN_DP_MAX_KINDS];
    for (uint32_t t = 0; t < p->type_count; t++) {
        counts[t] = p->types[t].host_count;
    }
    TRY(plan_tables_init(cost, p->layers, p->type_count, error));
    TRY(plan_tables_init(latency, p->layers, p->type_count, error));
    fill_tables(p, false, cost, latency);
    TRY(plan_dp_create(cost, counts, 1, p->host_count, dp, error));
    double bottleneck;
    struct plan_chain chain;
    TRY(plan_dp_best(*dp, latency, &bottleneck, &chain, error));
    if (isfinite(bottleneck)) {
        out->feasible = true;
        out->bottleneck_s = 0.0;
        out->latency_s = 0.0;
        add_chain(p, &chain, out);
        ASSERT(out->feasible && out->bottleneck_s == bottleneck);
        return SHOAL_OK;
    }
    fill_tables(p, true, cost, latency);
    return plan_dp_bottleneck(*dp, HUGE_VAL, &out->memory_factor, error);
}

shoal_status plan_pipeedge_solve(const struct plan_pipeedge *problem,
                                 const struct clock_source *clock,
                                 struct plan_pipeedge_schedule *out, struct shoal_error *error) {
    const uint64_t start_ns = clock != NULL ? clock_now_ns(clock) : 0;
    struct plan_pipeedge_schedule schedule = {
        .bottleneck_s = HUGE_VAL, .latency_s = HUGE_VAL, .memory_factor = HUGE_VAL};
    (void)snprintf(schedule.notes, sizeof schedule.notes, "%s", problem->notes);
    find_single(problem, &schedule);
    if (problem->host_count > 0) {
        struct plan_tables cost = {0}, latency = {0};
        struct plan_dp *dp = NULL;
        const shoal_status status = search(problem, &cost, &latency, &dp, &schedule, error);
        plan_dp_destroy(dp);
        plan_tables_fini(&cost);
        plan_tables_fini(&latency);
        TRY(status);
    }
    give_reason(problem, &schedule);
    schedule.solver_seconds = clock != NULL ? (double)(clock_now_ns(clock) - start_ns) * 1e-9 : 0.0;
    *out = schedule;
    return SHOAL_OK;
}

shoal_status plan_pipeedge_evaluate(const struct plan_pipeedge *problem, const uint32_t *ends,
                                    const char *const *hosts, uint32_t stage_count,
                                    struct plan_pipeedge_schedule *out, struct shoal_error *error) {
    if (stage_count == 0 || stage_count > PLAN_DP_MAX_STAGES ||
        ends[stage_count - 1] != problem->layers) {
        return error_set(error, SHOAL_INVALID,
                         "%" PRIu32 " stages that do not end with layer %" PRIu32, stage_count,
                         problem->layers);
    }
    uint32_t types[PLAN_DP_MAX_STAGES], indices[PLAN_DP_MAX_STAGES];
    for (uint32_t s = 0; s < stage_count; s++) {
        if (!find_host(problem, hosts[s], &types[s], &indices[s])) {
            return error_set(error, SHOAL_INVALID, "stage %" PRIu32 ": there is no host \"%s\"",
                             s + 1, hosts[s]);
        }
        for (uint32_t other = 0; other < s; other++) {
            if (strcmp(hosts[other], hosts[s]) == 0) {
                return error_set(error, SHOAL_INVALID, "host \"%s\" is used twice", hosts[s]);
            }
        }
        if (ends[s] <= (s > 0 ? ends[s - 1] : 0) || ends[s] > problem->layers) {
            return error_set(error, SHOAL_INVALID,
                             "stage %" PRIu32 " would end with layer %" PRIu32, s + 1, ends[s]);
        }
    }
    struct plan_pipeedge_schedule schedule = {.feasible = true, .memory_factor = HUGE_VAL};
    for (uint32_t s = 0; s < stage_count; s++) {
        add_stage(problem, types[s], indices[s], s > 0 ? ends[s - 1] : 0, ends[s],
                  s + 1 < stage_count ? types[s + 1] : types[s], &schedule);
    }
    find_single(problem, &schedule);
    *out = schedule;
    return SHOAL_OK;
}
