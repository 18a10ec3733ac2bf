/* --cluster: the devices of a cluster file. */
#include "base/log.h"
#include "cli/session.h"
#include "runtime/keys.h"
#include "runtime/link_profile.h"

#include <string.h>

/* What the cluster file says, or the nodes, is not for the command line to say. */
shoal_status session_check_cluster_flags(const struct session *session, struct shoal_error *error) {
    if (session->cluster_path == NULL) {
        return session->available
                   ? error_set(error, SHOAL_USAGE, "--available has a meaning with --cluster only")
                   : SHOAL_OK;
    }
    if (session->devices > 0) {
        return error_set(error, SHOAL_USAGE,
                         "--devices starts local devices; with --cluster all devices of the file "
                         "are used, and with --choose-devices as many as help");
    }
    if (session->in_process) {
        return error_set(error, SHOAL_USAGE, "--in-process and --cluster exclude each other");
    }
    if (session->threads > 0 || session->memory > 0) {
        const char *what = session->threads > 0 ? "threads" : "memory";
        return error_set(error, SHOAL_USAGE,
                         "--%s is for local devices; with --cluster write %s into the device's "
                         "line of %s",
                         what, what, session->cluster_path);
    }
    if (strcmp(session->isa, "native") != 0) {
        return error_set(error, SHOAL_USAGE,
                         "--isa is for local devices; with --cluster start the nodes with --isa %s",
                         session->isa);
    }
    return SHOAL_OK;
}

/* Refuses what a device would refuse in the middle of the run. */
static shoal_status check_message_bytes(const struct session *session, size_t bytes,
                                        struct shoal_error *error) {
    for (uint32_t i = 0; i < session->cluster->count; i++) {
        const struct cluster_device *device = &session->cluster->devices[i];
        const json_int_t told = json_integer_value(json_object_get(device->info, "message_bytes"));
        const size_t most = told > 0 ? (size_t)told : TRANSPORT_MESSAGE_BYTES;
        if (bytes > most) {
            return error_set(
                error, SHOAL_INVALID,
                "--microbatch %lld: one message would take %.1f MB, but %s accepts %.1f "
                "MB; take a smaller microbatch, or start its node with "
                "--message-bytes %zuM",
                (long long)session->microbatch, (double)bytes / 1e6, device->name,
                (double)most / 1e6, (bytes >> 20) + 1);
        }
    }
    return SHOAL_OK;
}

shoal_status session_read_key(const char *path, struct zmq_keypair *out,
                              struct shoal_error *error) {
    char standard[4096];
    if (path == NULL) {
        TRY(keys_default_path("key", standard, sizeof standard, error));
        path = standard;
    }
    const shoal_status status = keys_read(path, out, error);
    return status == SHOAL_NOT_FOUND
               ? error_set(error, status,
                           "%s: there is no key file yet; run 'shoal key', and write the line that "
                           "it shows into the cluster file that the devices have",
                           path)
               : status;
}

shoal_status session_read_cluster(struct session *session, struct shoal_error *error) {
    if (session->cluster_path == NULL) {
        return SHOAL_OK;
    }
    TRY(cluster_file_read(session->cluster_path, &session->file, error));
    if (session->file->device_count > PLAN_MAX_DEVICES) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%s lists %u devices; at most %d can be planned for at once",
                         session->cluster_path, session->file->device_count, PLAN_MAX_DEVICES);
    }
    return SHOAL_OK;
}

shoal_status session_connect(struct session *session, size_t bytes, struct shoal_error *error) {
    struct zmq_keypair keys;
    TRY(session_read_key(session->key_path, &keys, error));
    const size_t least = LINK_PROFILE_BYTES + 4096; /* devices measure the way back with these */
    const struct cluster_connect_options options = {.keys = &keys,
                                                    .message_bytes = bytes > least ? bytes : least,
                                                    .partly = session->available};
    session_say(session, "connecting to %u device%s ...", session->file->device_count,
                session->file->device_count > 1 ? "s" : "");
    const shoal_status status = cluster_connect(session->file, &options, &session->cluster, error);
    memset(&keys, 0, sizeof keys);
    TRY(status);
    for (uint32_t i = 0; session->available && i < session->cluster->count; i++) {
        const struct cluster_device *device = &session->cluster->devices[i];
        if (device->lost) {
            log_warn("without %s: %s", device->name, device->lost_text);
        }
    }
    TRY(cluster_keep_available(session->cluster, error));
    return check_message_bytes(session, bytes, error);
}

static const char *info_text(const struct cluster_device *device, const char *key) {
    const char *text = json_string_value(json_object_get(device->info, key));
    return text != NULL ? text : "?";
}

bool session_bit_identical(const struct session *session, char text[SHOAL_ERROR_TEXT]) {
    const struct cluster *cluster = session->cluster;
    const struct cluster_device *first = &cluster->devices[0];
    text[0] = '\0';
    for (uint32_t i = 1; i < cluster->count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        static const char *const keys[] = {"isa", "libraries"};
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
            const char *a = info_text(first, keys[k]), *b = info_text(device, keys[k]);
            if (strcmp(a, b) != 0) {
                (void)snprintf(text, SHOAL_ERROR_TEXT,
                               "not bit-identical across placements: %s has %.120s, %s %.120s; %s",
                               first->name, a, device->name, b,
                               k == 0 ? "start the nodes with the same --isa NAME"
                                      : "install the same versions");
                return false;
            }
        }
        const int a = cluster_threads(cluster, 0), b = cluster_threads(cluster, i);
        if (a != b) {
            (void)snprintf(text, SHOAL_ERROR_TEXT,
                           "not bit-identical across placements: %s computes with %d threads, %s "
                           "with %d; write the same threads into the cluster file",
                           first->name, a, device->name, b);
            return false;
        }
    }
    return true;
}
