#include "runtime/doctor.h"

#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/cluster_file.h"
#include "runtime/control.h"
#include "runtime/doctor_internal.h"
#include "runtime/link_survey.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INFO_NS (5 * CLOCK_SECOND)
#define CHECK_NS (120 * CLOCK_SECOND)
#define CLOCK_TOLERANCE_S 2.0
#define LOW_MEMORY ((size_t)128 << 20)
#define LOW_DISK ((size_t)1 << 30)
#define SLOW_LINK 1.25e6 /* bytes per second: 10 Mbit/s */
#define PROBE_BYTES ((size_t)256 << 10)
#define PROBE_SHARE 0.05

const char *doctor_layer_name(enum doctor_layer layer) {
    static const char *const names[] = {
#define X(code, name) name,
        DOCTOR_LAYERS(X)
#undef X
    };
    return names[layer];
}

const char *doctor_level_name(enum doctor_level level) {
    static const char *const names[] = {"ok", "warning", "broken"};
    return names[level];
}

/* ---- findings ---- */

shoal_status doctor_add(struct doctor_report *report, uint32_t device, enum doctor_layer layer,
                        enum doctor_level level, struct doctor_finding **out,
                        struct shoal_error *error) {
    if (report->count == report->capacity) {
        const uint32_t capacity = report->capacity > 0 ? 2 * report->capacity : 64;
        struct doctor_finding *larger =
            mem_realloc(report->findings, (size_t)capacity * sizeof *larger);
        if (larger == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for a report");
        }
        report->findings = larger;
        report->capacity = capacity;
    }
    struct doctor_finding *finding = &report->findings[report->count++];
    *finding = (struct doctor_finding){.device = device, .layer = layer, .level = level};
    *out = finding;
    return SHOAL_OK;
}

void doctor_say(struct doctor_finding *finding, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
}

void doctor_fix(struct doctor_finding *finding, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(finding->fix, sizeof finding->fix, format, arguments);
    va_end(arguments);
}

void doctor_report_fini(struct doctor_report *report) {
    mem_free(report->findings);
    *report = (struct doctor_report){.count = 0};
}

/* ---- what a device says of itself ---- */

static double info_number(const struct cluster_device *device, const char *key) {
    return json_number_value(json_object_get(device->info, key));
}

static shoal_status explain_reached(const struct cluster_device *device, uint32_t index,
                                    struct doctor_report *report, struct shoal_error *error) {
    struct doctor_finding *finding;
    TRY(doctor_add(report, index, DOCTOR_NAME, DOCTOR_OK, &finding, error));
    doctor_say(finding, "%s", device->address);
    TRY(doctor_add(report, index, DOCTOR_PORT, DOCTOR_OK, &finding, error));
    TRY(doctor_add(report, index, DOCTOR_KEY, DOCTOR_OK, &finding, error));
    const char *version = json_string_value(json_object_get(device->info, "version"));
    const bool same = version != NULL && strcmp(version, SHOAL_VERSION_TEXT) == 0;
    TRY(doctor_add(report, index, DOCTOR_VERSION, same ? DOCTOR_OK : DOCTOR_WARNING, &finding,
                   error));
    doctor_say(finding, "it has %.60s%s%s", version != NULL ? version : "an unknown version",
               same ? "" : ", this machine ", same ? "" : SHOAL_VERSION_TEXT);
    if (!same) {
        doctor_fix(finding, "install the same version of Shoal on both");
    }
    return SHOAL_OK;
}

static shoal_status explain_memory(const struct doctor_options *options, uint32_t index,
                                   struct doctor_report *report, struct shoal_error *error) {
    const struct cluster_device *device = &options->cluster->devices[index];
    const double available = info_number(device, "memory_available"),
                 limit = info_number(device, "memory_limit"),
                 total = info_number(device, "memory_total"),
                 declared = (double)options->cluster->file->devices[device->declared].memory;
    const double own = limit > 0 ? limit : total;
    struct doctor_finding *finding;
    if (total > 0 && limit > total) {
        TRY(doctor_add(report, index, DOCTOR_MEMORY, DOCTOR_WARNING, &finding, error));
        doctor_say(finding, "its limit of %.1f GB is more than the %.1f GB that it has",
                   limit / 1e9, total / 1e9);
        doctor_fix(finding, "start its node with a smaller --memory (SHOAL_MEMORY in "
                            "/etc/shoal/node.conf)");
    } else if (available < (double)LOW_MEMORY) {
        TRY(doctor_add(report, index, DOCTOR_MEMORY, DOCTOR_WARNING, &finding, error));
        doctor_say(finding, "only %.0f MB are free", available / 1e6);
        doctor_fix(finding, "on it: ps aux --sort=-rss | head");
    } else if (declared > own && own > 0) {
        TRY(doctor_add(report, index, DOCTOR_MEMORY, DOCTOR_WARNING, &finding, error));
        doctor_say(finding, "%.100s says %.1f GB, but it has %.1f GB to give",
                   options->cluster->file->path, declared / 1e9, own / 1e9);
        doctor_fix(finding, "write memory: %.0fM into its line", floor(own / (1 << 20)));
    } else {
        TRY(doctor_add(report, index, DOCTOR_MEMORY, DOCTOR_OK, &finding, error));
        doctor_say(finding, "%.1f GB free, limit %.1f GB", available / 1e9, own / 1e9);
    }
    return SHOAL_OK;
}

static shoal_status explain_disk(const struct cluster_device *device, uint32_t index,
                                 struct doctor_report *report, struct shoal_error *error) {
    const json_t *cache = json_object_get(device->info, "cache");
    struct doctor_finding *finding;
    if (!json_is_object(cache)) {
        TRY(doctor_add(report, index, DOCTOR_DISK, DOCTOR_WARNING, &finding, error));
        doctor_say(finding, "it keeps no weights: models must come with a seed");
        doctor_fix(finding, "on it: journalctl -u shoal | grep cache");
        return SHOAL_OK;
    }
    const char *directory = json_string_value(json_object_get(cache, "directory"));
    const double used = json_number_value(json_object_get(cache, "bytes")),
                 quota = json_number_value(json_object_get(cache, "quota")),
                 disk = json_number_value(json_object_get(cache, "disk_free"));
    const double wanted = quota > used ? quota - used : 0;
    const bool low = disk < (double)LOW_DISK || disk < wanted;
    TRY(doctor_add(report, index, DOCTOR_DISK, low ? DOCTOR_WARNING : DOCTOR_OK, &finding, error));
    doctor_say(finding, "%.120s: %.1f GB of weights, %.1f GB free on the disk",
               directory != NULL ? directory : "?", used / 1e9, disk / 1e9);
    if (low) {
        doctor_fix(finding,
                   "on it: df -h %.100s; make room, or start its node with a smaller "
                   "--cache-size; shoal cache rm removes weights",
                   directory != NULL ? directory : "?");
    }
    return SHOAL_OK;
}

shoal_status doctor_explain_info(const struct doctor_options *options, uint32_t index,
                                 struct doctor_report *report, struct shoal_error *error) {
    const struct cluster_device *device = &options->cluster->devices[index];
    TRY(explain_reached(device, index, report, error));
    TRY(explain_memory(options, index, report, error));
    return explain_disk(device, index, report, error);
}

/* ---- clock ---- */

/* Its clock when the question was half-way there; the way adds at most its time. */
static shoal_status examine_clock(const struct doctor_options *options, uint32_t index,
                                  struct doctor_report *report, struct shoal_error *error) {
    struct cluster *cluster = options->cluster;
    struct doctor_finding *finding;
    const int64_t before_ms = platform_wall_ms();
    const uint64_t start = platform_now_ns();
    struct shoal_error why;
    if (cluster_ask(cluster, index, json_pack("{s:s}", "call", "info"), &why) != SHOAL_OK) {
        return SHOAL_OK; /* lost: said elsewhere */
    }
    TRY(cluster_settle(cluster, INFO_NS, error));
    const struct cluster_device *device = &cluster->devices[index];
    const json_t *clock_ms = json_object_get(device->reply, "clock_ms");
    if (device->lost || !json_is_integer(clock_ms)) {
        return SHOAL_OK;
    }
    const double trip_s = (double)(platform_now_ns() - start) * 1e-9;
    const double ahead_s = (double)(json_integer_value(clock_ms) - before_ms) * 1e-3 - trip_s / 2;
    const bool wrong = fabs(ahead_s) > CLOCK_TOLERANCE_S + trip_s;
    TRY(doctor_add(report, index, DOCTOR_CLOCK, wrong ? DOCTOR_WARNING : DOCTOR_OK, &finding,
                   error));
    if (wrong) {
        doctor_say(finding, "%.1f s %s this machine's", fabs(ahead_s),
                   ahead_s > 0 ? "ahead of" : "behind");
        doctor_fix(finding, "on both: sudo timedatectl set-ntp true");
    } else {
        doctor_say(finding, "within %.1f s of this machine's", CLOCK_TOLERANCE_S + trip_s);
    }
    return SHOAL_OK;
}

/* ---- kernels ---- */

static shoal_status explain_kernels(const struct cluster_device *device, uint32_t index,
                                    struct doctor_report *report, struct shoal_error *error) {
    struct doctor_finding *finding;
    struct shoal_error why;
    if (!json_is_true(json_object_get(device->reply, "ok"))) {
        const shoal_status refused = control_refusal_status(device->reply, "it", &why);
        TRY(doctor_add(report, index, DOCTOR_KERNELS, DOCTOR_WARNING, &finding, error));
        doctor_say(finding, "not tested: %.180s", why.text);
        if (refused == SHOAL_BUSY) {
            doctor_fix(finding, "ask again when its jobs are done");
        }
        return SHOAL_OK;
    }
    size_t i;
    const json_t *set;
    json_array_foreach(json_object_get(device->reply, "kernels"), i, set) {
        const char *name = json_string_value(json_object_get(set, "set"));
        const char *text = json_string_value(json_object_get(set, "text"));
        const bool good = json_is_true(json_object_get(set, "ok"));
        TRY(doctor_add(report, index, DOCTOR_KERNELS, good ? DOCTOR_OK : DOCTOR_BROKEN, &finding,
                       error));
        doctor_say(finding, "%.32s: %.150s", name != NULL ? name : "?", text != NULL ? text : "");
        if (!good) {
            doctor_fix(finding,
                       "use another set: --kernels blas or --kernels reference; on it: sudo "
                       "apt-get install --reinstall shoal libdnnl3 libopenblas0-pthread");
        }
    }
    return SHOAL_OK;
}

static shoal_status examine_kernels(const struct doctor_options *options,
                                    struct doctor_report *report, struct shoal_error *error) {
    struct cluster *cluster = options->cluster;
    struct shoal_error why;
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (!cluster->devices[i].lost &&
            json_array_size(json_object_get(cluster->devices[i].info, "jobs")) == 0 &&
            cluster_ask(cluster, i, json_pack("{s:s}", "call", "check"), &why) != SHOAL_OK) {
            continue; /* lost: said at the end */
        }
    }
    TRY(cluster_settle(cluster, CHECK_NS, error));
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        struct doctor_finding *finding;
        if (device->lost) {
            continue;
        }
        if (json_array_size(json_object_get(device->info, "jobs")) > 0) {
            TRY(doctor_add(report, i, DOCTOR_KERNELS, DOCTOR_OK, &finding, error));
            doctor_say(finding, "not tested while it has jobs");
        } else if (device->pending != 0) {
            device->pending = 0;
            TRY(doctor_add(report, i, DOCTOR_KERNELS, DOCTOR_WARNING, &finding, error));
            doctor_say(finding, "the test did not end within %.0f s", (double)CHECK_NS * 1e-9);
        } else {
            TRY(explain_kernels(device, i, report, error));
        }
    }
    return SHOAL_OK;
}

/* ---- the link with this machine ---- */

static shoal_status explain_link(const struct cluster *cluster, const struct link_entry *entry,
                                 struct doctor_report *report, struct shoal_error *error) {
    const bool there = entry->from == cluster->count;
    const uint32_t device = there ? entry->to : entry->from;
    struct doctor_finding *finding;
    const double rate =
        entry->figures.beta_s_per_byte > 0 ? 1 / entry->figures.beta_s_per_byte : (double)INFINITY;
    const enum doctor_level level = entry->state != LINK_MEASURED ? DOCTOR_WARNING
                                    : rate < SLOW_LINK            ? DOCTOR_WARNING
                                                                  : DOCTOR_OK;
    TRY(doctor_add(report, device, DOCTOR_LINK, level, &finding, error));
    if (entry->state != LINK_MEASURED) {
        doctor_say(finding, "%s it: not measured: %.150s", there ? "to" : "from", entry->text);
        return SHOAL_OK;
    }
    doctor_say(finding, "%s it: %.1f Mbit/s, %.2f ms", there ? "to" : "from",
               isfinite(rate) ? rate * 8e-6 : 0.0, entry->figures.alpha_s * 1e3);
    if (level != DOCTOR_OK) {
        doctor_fix(finding, "a cable instead of Wi-Fi? on it: ethtool eth0 | grep Speed; iw dev "
                            "wlan0 link");
    }
    return SHOAL_OK;
}

static shoal_status examine_links(const struct doctor_options *options,
                                  struct doctor_report *report, struct shoal_error *error) {
    struct link_profiles profiles = {.cluster = options->cluster}; /* too small to be kept */
    const size_t most = link_profile_bytes(options->cluster);
    const struct link_survey_options survey_options = {.profiles = &profiles,
                                                       .share = PROBE_SHARE,
                                                       .bytes =
                                                           most < PROBE_BYTES ? most : PROBE_BYTES,
                                                       .owner_only = true};
    struct link_survey survey;
    shoal_status status = link_survey_run(&survey_options, &survey, error);
    link_profiles_fini(&profiles);
    TRY(status);
    for (uint32_t i = 0; i < survey.count && status == SHOAL_OK; i++) {
        status = explain_link(options->cluster, &survey.entries[i], report, error);
    }
    link_survey_fini(&survey);
    return status;
}

/* ---- all ---- */

static void say(const struct doctor_options *options, const char *what) {
    if (options->say != NULL) {
        options->say(options->context, what);
    }
}

static shoal_status examine(const struct doctor_options *options, struct doctor_report *report,
                            struct shoal_error *error) {
    const struct cluster *cluster = options->cluster;
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(cluster->devices[i].lost ? doctor_explain_lost(options, i, report, error)
                                     : doctor_explain_info(options, i, report, error));
    }
    say(options, "asking for the time");
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (!cluster->devices[i].lost) {
            TRY(examine_clock(options, i, report, error));
        }
    }
    say(options, "testing kernels");
    TRY(examine_kernels(options, report, error));
    say(options, "measuring links");
    TRY(examine_links(options, report, error));
    say(options, "letting the devices dial each other");
    return doctor_examine_peers(options, report, error);
}

static shoal_status report_lost_since(const struct doctor_options *options, const bool *was_lost,
                                      struct doctor_report *report, struct shoal_error *error) {
    for (uint32_t i = 0; i < options->cluster->count; i++) {
        struct doctor_finding *finding;
        if (options->cluster->devices[i].lost && !was_lost[i]) {
            TRY(doctor_add(report, i, DOCTOR_ANSWERS, DOCTOR_BROKEN, &finding, error));
            doctor_say(finding, "it was lost meanwhile: %.180s",
                       options->cluster->devices[i].lost_text);
            doctor_fix(finding, "on it: journalctl -u shoal");
        }
    }
    return SHOAL_OK;
}

static int compare_findings(const void *a, const void *b) {
    const struct doctor_finding *x = a, *y = b;
    if (x->device != y->device) {
        return x->device < y->device ? -1 : 1;
    }
    if (x->layer != y->layer) {
        return x->layer < y->layer ? -1 : 1;
    }
    return strcmp(x->text, y->text);
}

shoal_status doctor_examine(const struct doctor_options *options, struct doctor_report *out,
                            struct shoal_error *error) {
    struct doctor_report report = {.count = 0};
    bool *was_lost = mem_calloc(options->cluster->count, sizeof *was_lost);
    if (was_lost == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a report");
    }
    for (uint32_t i = 0; i < options->cluster->count; i++) {
        was_lost[i] = options->cluster->devices[i].lost;
    }
    shoal_status status = examine(options, &report, error);
    if (status == SHOAL_OK) {
        status = report_lost_since(options, was_lost, &report, error);
    }
    mem_free(was_lost);
    if (status != SHOAL_OK) {
        doctor_report_fini(&report);
        return status;
    }
    if (report.count > 0) {
        qsort(report.findings, report.count, sizeof *report.findings, compare_findings);
    }
    *out = report;
    return SHOAL_OK;
}
