#include "runtime/link_profile.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/cluster_file.h"
#include "runtime/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINK_NS (300 * CLOCK_SECOND)
#define KEY_BYTES 2048
#define HEADER_BYTES ((size_t)4096) /* of a message, generously */

void link_profiles_fini(struct link_profiles *profiles) {
    json_decref(profiles->known);
    profiles->known = NULL;
}

/* ---- keys and the store ---- */

static const char *host_of(const struct cluster *cluster, uint32_t end) {
    const json_t *info = cluster->devices[end == cluster->count ? 0 : end].info;
    const char *host = json_string_value(json_object_get(info, "host"));
    return host != NULL ? host : "?";
}

static const char *key_of(const struct cluster *cluster, uint32_t end) {
    return end == cluster->count ? cluster->owner_key : cluster->devices[end].key;
}

static void link_key(const struct link_profiles *profiles, uint32_t from, uint32_t to,
                     char out[KEY_BYTES]) {
    const struct cluster *cluster = profiles->cluster;
    if (cluster->file != NULL) {
        (void)snprintf(out, KEY_BYTES, "link 2; from %s; to %s", key_of(cluster, from),
                       key_of(cluster, to));
        return;
    }
    (void)snprintf(out, KEY_BYTES, "link 1; %s; from %s %s; to %s; largest %zu",
                   cluster->transport->ops->name, from == cluster->count ? "owner" : "device",
                   host_of(cluster, from), host_of(cluster, to), profiles->bytes);
}

bool link_read_figures(const json_t *document, struct link_figures *out) {
    struct link_figures read;
    if (!json_is_object(document) ||
        control_number(document, "alpha_s", &read.alpha_s, NULL) != SHOAL_OK ||
        control_number(document, "beta_s_per_byte", &read.beta_s_per_byte, NULL) != SHOAL_OK ||
        control_number(document, "cpu_s_per_message", &read.cpu_s_per_message, NULL) != SHOAL_OK ||
        control_number(document, "cpu_s_per_byte", &read.cpu_s_per_byte, NULL) != SHOAL_OK ||
        !(read.alpha_s >= 0 && read.beta_s_per_byte >= 0 && read.cpu_s_per_message >= 0 &&
          read.cpu_s_per_byte >= 0)) {
        return false;
    }
    *out = read;
    return true;
}

static bool look_up(struct link_profiles *profiles, const char *key, struct link_figures *out) {
    if (link_read_figures(json_object_get(profiles->known, key), out)) {
        return true;
    }
    char *text = NULL;
    struct shoal_error error;
    if (profiles->store == NULL || profiles->measure_again) {
        return false;
    }
    const shoal_status status = store_profile_get(profiles->store, key, &text, NULL, &error);
    if (status != SHOAL_OK) {
        if (status != SHOAL_NOT_FOUND) {
            log_warn("%s; measuring again", error.text);
        }
        return false;
    }
    json_t *document = json_loads(text, 0, NULL);
    mem_free(text);
    const bool found = link_read_figures(document, out);
    json_decref(document);
    return found;
}

void link_profile_keep(struct link_profiles *profiles, uint32_t from, uint32_t to,
                       const struct link_figures *figures) {
    char key[KEY_BYTES];
    struct shoal_error error;
    link_key(profiles, from, to, key);
    json_t *document =
        json_pack("{s:f, s:f, s:f, s:f}", "alpha_s", figures->alpha_s, "beta_s_per_byte",
                  figures->beta_s_per_byte, "cpu_s_per_message", figures->cpu_s_per_message,
                  "cpu_s_per_byte", figures->cpu_s_per_byte);
    char *text = document != NULL ? json_dumps(document, JSON_COMPACT) : NULL;
    if (profiles->known == NULL) {
        profiles->known = json_object(); /* NULL costs time only */
    }
    (void)json_object_set_new(profiles->known, key, document);
    if (text != NULL && profiles->store != NULL &&
        store_profile_put(profiles->store, key, text, (int64_t)time(NULL), &error) != SHOAL_OK) {
        log_warn("a link's figures could not be kept: %s", error.text);
    }
    free(text);
}

/* ---- measuring ---- */

size_t link_profile_bytes(const struct cluster *cluster) {
    size_t bytes = LINK_PROFILE_BYTES;
    for (uint32_t i = 0; i < cluster->count; i++) {
        const json_int_t told =
            json_integer_value(json_object_get(cluster->devices[i].info, "message_bytes"));
        const size_t most = told > 0 ? (size_t)told : 0;
        if (most > 2 * HEADER_BYTES && most - HEADER_BYTES < bytes) {
            bytes = most - HEADER_BYTES;
        }
    }
    return bytes;
}

json_t *link_request(const struct cluster *cluster, uint32_t to, size_t bytes, double share) {
    json_t *request = json_pack("{s:s, s:I}", "call", "link", "bytes", (json_int_t)bytes);
    if (share > 0) {
        (void)json_object_set_new(request, "share", json_real(share));
    }
    if (to == cluster->count) { /* back to the one who asks */
        (void)json_object_set_new(request, "peer", json_null());
        return request;
    }
    const struct cluster_device *target = &cluster->devices[to];
    (void)json_object_set_new(request, "peer", json_string(target->name));
    (void)json_object_set_new(request, "address", json_string(target->address));
    (void)json_object_set_new(request, "key", json_string(target->key));
    return request;
}

static shoal_status other_event(void *context, struct transport_event *event,
                                struct shoal_error *error) {
    const struct link_profiles *profiles = context;
    (void)error;
    if (event->kind == TRANSPORT_MESSAGE) {
        struct transport *transport = profiles->cluster->transport;
        transport->ops->message_free(transport, event->message);
    }
    return SHOAL_OK;
}

static shoal_status measure(struct link_profiles *profiles, uint32_t from, uint32_t to,
                            struct link_figures *out, struct shoal_error *error) {
    struct cluster *cluster = profiles->cluster;
    const size_t bytes = cluster->file != NULL ? link_profile_bytes(cluster) : profiles->bytes;
    if (from == cluster->count) {
        return link_measure(cluster->transport, cluster->devices[to].name, bytes, other_event,
                            profiles, out, error);
    }
    const json_t *reply;
    TRY(cluster_call(cluster, from, link_request(cluster, to, bytes, 0), LINK_NS, &reply, error));
    if (!link_read_figures(reply, out)) {
        return error_set(error, SHOAL_PROTOCOL, "device %s sent link figures that are none",
                         cluster->devices[from].name);
    }
    return SHOAL_OK;
}

/* ---- all of it ---- */

static uint32_t declared_end(const struct cluster *cluster, uint32_t end) {
    return end == cluster->count ? CLUSTER_FILE_OWNER : cluster->devices[end].declared;
}

/* All that is wanted of it. What messages cost a device's processor is known by measuring only, and
 * wanted of its link to the owner. */
static bool is_declared(const struct cluster *cluster, uint32_t from, uint32_t to, double *rate,
                        double *delay_s) {
    *rate = 0;
    *delay_s = -1;
    if (cluster->file == NULL) {
        return false;
    }
    cluster_file_link_find(cluster->file, declared_end(cluster, from), declared_end(cluster, to),
                           rate, delay_s);
    return *rate > 0 && *delay_s >= 0 && to != cluster->count;
}

bool link_profile_is_known(struct link_profiles *profiles, uint32_t from, uint32_t to) {
    char key[KEY_BYTES];
    double rate, delay_s;
    struct link_figures figures;
    if (is_declared(profiles->cluster, from, to, &rate, &delay_s)) {
        return true;
    }
    link_key(profiles, from, to, key);
    return look_up(profiles, key, &figures);
}

shoal_status link_profile_find(struct link_profiles *profiles, uint32_t from, uint32_t to,
                               struct link_figures *out, struct shoal_error *error) {
    char key[KEY_BYTES];
    double rate, delay_s;
    struct link_figures figures = {0};
    if (!is_declared(profiles->cluster, from, to, &rate, &delay_s)) {
        link_key(profiles, from, to, key);
        if (!look_up(profiles, key, &figures)) {
            if (profiles->say != NULL) {
                profiles->say(profiles->context, "measuring links");
            }
            profiles->measured = true;
            TRY(measure(profiles, from, to, &figures, error));
            link_profile_keep(profiles, from, to, &figures);
        }
    }
    figures.beta_s_per_byte = rate > 0 ? 1 / rate : figures.beta_s_per_byte;
    figures.alpha_s = delay_s >= 0 ? delay_s : figures.alpha_s;
    *out = figures;
    return SHOAL_OK;
}
