/* Devices that must reach each other: who is missing on whose allow-list, and who is not reached.
 */
#include "platform/clock.h"
#include "runtime/cluster_file.h"
#include "runtime/control.h"
#include "runtime/doctor_internal.h"

#include <stdio.h>
#include <string.h>

#define DIAL_NS (CLUSTER_LOST_AFTER_NS + 10 * CLOCK_SECOND)

static json_t *dial_request(const struct cluster_device *target) {
    return json_pack("{s:s, s:s, s:s, s:s}", "call", "dial", "peer", target->name, "address",
                     target->address, "key", target->key);
}

/* The target's line is not on the list of the one that was asked. */
static shoal_status report_unlisted(const struct doctor_options *options, uint32_t from,
                                    uint32_t to, struct doctor_report *report,
                                    struct shoal_error *error) {
    const struct cluster *cluster = options->cluster;
    const struct cluster_device *target = &cluster->devices[to];
    const char *list =
        json_string_value(json_object_get(cluster->devices[from].info, "allow_file"));
    struct doctor_finding *finding;
    TRY(doctor_add(report, from, DOCTOR_PEERS, DOCTOR_BROKEN, &finding, error));
    doctor_say(finding, "%s is not on its allow-list, so %s cannot send to it", target->name,
               target->name);
    doctor_fix(finding, "on it: echo '%s %s' | sudo tee -a %.100s && sudo systemctl reload shoal",
               target->name, target->key, list != NULL ? list : "/etc/shoal/allow");
    return SHOAL_OK;
}

static shoal_status report_unreached(const struct doctor_options *options, uint32_t from,
                                     uint32_t to, const char *reason, const char *text,
                                     struct doctor_report *report, struct shoal_error *error) {
    const struct cluster_device *target = &options->cluster->devices[to];
    struct doctor_finding *finding;
    if (strcmp(reason, transport_lost_name(TRANSPORT_LOST_REFUSED_KEY)) == 0) {
        return SHOAL_OK; /* the target says itself whom its list lacks */
    }
    TRY(doctor_add(report, from, DOCTOR_PEERS, DOCTOR_BROKEN, &finding, error));
    doctor_say(finding, "%s is not reached from it: %.140s", target->name, text);
    doctor_fix(finding, "on it: is %s reached? nc -vz HOST PORT; on %s: sudo ufw status",
               target->address, target->name);
    return SHOAL_OK;
}

static shoal_status explain_dial(const struct doctor_options *options, uint32_t from, uint32_t to,
                                 bool *good, struct doctor_report *report,
                                 struct shoal_error *error) {
    struct cluster_device *device = &options->cluster->devices[from];
    struct shoal_error why;
    if (device->pending != 0) {
        device->pending = 0;
        *good = false;
        return report_unreached(options, from, to, "", "no answer in time", report, error);
    }
    const json_t *reply = device->reply;
    if (!json_is_true(json_object_get(reply, "ok"))) {
        *good = false;
        const shoal_status refused = control_refusal_status(reply, "it", &why);
        return report_unreached(options, from, to, "", refused != SHOAL_OK ? why.text : "no answer",
                                report, error);
    }
    const char *reason = json_string_value(json_object_get(reply, "reason"));
    const char *text = json_string_value(json_object_get(reply, "text"));
    if (!json_is_true(json_object_get(reply, "listed"))) {
        *good = false;
        TRY(report_unlisted(options, from, to, report, error));
    }
    if (!json_is_true(json_object_get(reply, "up"))) {
        *good = false;
        TRY(report_unreached(options, from, to, reason != NULL ? reason : "",
                             text != NULL ? text : "?", report, error));
    }
    return SHOAL_OK;
}

/* Everybody dials the one that stands `distance` further in the file. */
static shoal_status dial_round(const struct doctor_options *options, uint32_t distance, bool *good,
                               struct doctor_report *report, struct shoal_error *error) {
    struct cluster *cluster = options->cluster;
    bool asked[CLUSTER_FILE_MAX_DEVICES] = {false};
    struct shoal_error why;
    for (uint32_t from = 0; from < cluster->count; from++) {
        const uint32_t to = (from + distance) % cluster->count;
        asked[from] =
            !cluster->devices[from].lost && !cluster->devices[to].lost &&
            cluster_ask(cluster, from, dial_request(&cluster->devices[to]), &why) == SHOAL_OK;
    }
    TRY(cluster_settle(cluster, DIAL_NS, error));
    for (uint32_t from = 0; from < cluster->count; from++) {
        if (asked[from] && !cluster->devices[from].lost) {
            TRY(explain_dial(options, from, (from + distance) % cluster->count, &good[from], report,
                             error));
        }
    }
    return SHOAL_OK;
}

shoal_status doctor_examine_peers(const struct doctor_options *options,
                                  struct doctor_report *report, struct shoal_error *error) {
    const struct cluster *cluster = options->cluster;
    bool good[CLUSTER_FILE_MAX_DEVICES];
    memset(good, true, sizeof good);
    for (uint32_t distance = 1; distance < cluster->count; distance++) {
        TRY(dial_round(options, distance, good, report, error));
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct doctor_finding *finding;
        if (good[i] && !cluster->devices[i].lost && cluster->count > 1) {
            TRY(doctor_add(report, i, DOCTOR_PEERS, DOCTOR_OK, &finding, error));
            doctor_say(finding, "it reaches the others, and lists them");
        }
    }
    return SHOAL_OK;
}
