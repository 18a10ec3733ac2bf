/* Devices on other machines: dialling those of a cluster file. */
#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/cluster.h"
#include "runtime/cluster_file.h"
#include "runtime/control.h"
#include "transport/zmq/zmq_transport.h"

#include <stdio.h>
#include <string.h>

/* A dial that the transport gives up after lost_after has told so well before. */
#define DIAL_NS (CLUSTER_LOST_AFTER_NS + 2 * CLOCK_SECOND)
#define ANSWER_NS CLUSTER_LOST_AFTER_NS

static void lose(struct cluster_device *device, enum transport_lost reason, const char *text) {
    if (!device->lost) {
        device->lost = true;
        device->lost_reason = reason;
        (void)snprintf(device->lost_text, sizeof device->lost_text, "%.191s", text);
    }
}

/* ---- making it ---- */

static shoal_status fill_devices(struct cluster *cluster, const struct cluster_file *file,
                                 struct shoal_error *error) {
    cluster->devices = mem_calloc(file->device_count, sizeof *cluster->devices);
    if (cluster->devices == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %u devices", file->device_count);
    }
    cluster->count = file->device_count;
    for (uint32_t i = 0; i < file->device_count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        device->declared = i;
        (void)snprintf(device->name, sizeof device->name, "%s", file->devices[i].name);
        (void)snprintf(device->address, sizeof device->address, "%s", file->devices[i].address);
        (void)snprintf(device->key, sizeof device->key, "%s", file->devices[i].key);
    }
    return SHOAL_OK;
}

static shoal_status make_transport(struct cluster *cluster, const struct cluster_file *file,
                                   const struct cluster_connect_options *options,
                                   struct shoal_error *error) {
    struct zmq_allowed *allowed = mem_calloc(file->device_count, sizeof *allowed);
    if (allowed == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %u keys", file->device_count);
    }
    for (uint32_t i = 0; i < file->device_count; i++) {
        memcpy(allowed[i].name, file->devices[i].name, sizeof allowed[i].name);
        memcpy(allowed[i].public_key, file->devices[i].key, ZMQ_KEY_TEXT);
    }
    const struct zmq_transport_options transport = {
        .base = {.name = CLUSTER_OWNER,
                 .session = true,
                 .message_bytes = options->message_bytes,
                 .control_bytes = CONTROL_BYTES,
                 .lost_after_ns = CLUSTER_LOST_AFTER_NS},
        .keys = *options->keys,
        .allowed = allowed,
        .allowed_count = file->device_count,
    };
    const shoal_status status = zmq_transport_create(&transport, &cluster->transport, error);
    mem_free(allowed);
    return status;
}

/* ---- connecting ---- */

static shoal_status dial_all(struct cluster *cluster, struct shoal_error *error) {
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        struct shoal_error why;
        const shoal_status status = cluster->transport->ops->connect(
            cluster->transport, device->name, device->address, device->key, &why);
        if (status == SHOAL_NO_MEMORY) {
            return error_set(error, status, "device %s: %s", device->name, why.text);
        }
        if (status != SHOAL_OK) {
            lose(device, TRANSPORT_LOST_FAILED, why.text);
        }
    }
    return SHOAL_OK;
}

static uint32_t count_lost(const struct cluster *cluster) {
    uint32_t lost = 0;
    for (uint32_t i = 0; i < cluster->count; i++) {
        lost += cluster->devices[i].lost ? 1 : 0;
    }
    return lost;
}

static shoal_status await_all(struct cluster *cluster, bool *up, struct shoal_error *error) {
    const uint64_t deadline = platform_now_ns() + DIAL_NS;
    for (uint32_t done = count_lost(cluster); done < cluster->count;) {
        struct transport_event event;
        const shoal_status status = cluster_next(cluster, deadline, &event, error);
        if (status == SHOAL_TIMEOUT) {
            break;
        }
        TRY(status);
        const uint32_t index = cluster_find(cluster, event.peer);
        if (event.kind == TRANSPORT_PEER_UP && index < cluster->count) {
            up[index] = true;
            done++;
        } else if (event.kind == TRANSPORT_PEER_LOST && index < cluster->count) {
            done += up[index] ? 0 : 1;
        } else if (event.kind == TRANSPORT_MESSAGE) {
            cluster->transport->ops->message_free(cluster->transport, event.message);
        }
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (!up[i]) {
            lose(&cluster->devices[i], TRANSPORT_LOST_NO_ANSWER, "no answer in time");
        }
    }
    return SHOAL_OK;
}

static shoal_status connect_all(struct cluster *cluster, struct shoal_error *error) {
    bool *up = mem_calloc(cluster->count, sizeof *up);
    if (up == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %u devices", cluster->count);
    }
    shoal_status status = dial_all(cluster, error);
    if (status == SHOAL_OK) {
        status = await_all(cluster, up, error);
    }
    mem_free(up);
    return status;
}

shoal_status cluster_settle(struct cluster *cluster, uint64_t timeout_ns,
                            struct shoal_error *error) {
    const uint64_t deadline = platform_now_ns() + timeout_ns;
    for (;;) {
        uint32_t open = 0;
        for (uint32_t i = 0; i < cluster->count; i++) {
            open += cluster->devices[i].pending != 0 && !cluster->devices[i].lost ? 1 : 0;
        }
        if (open == 0 || platform_now_ns() >= deadline) {
            return SHOAL_OK;
        }
        struct transport_event event;
        const shoal_status status = cluster_next(cluster, deadline, &event, error);
        if (status == SHOAL_TIMEOUT) {
            return SHOAL_OK;
        }
        TRY(status);
        if (event.kind == TRANSPORT_MESSAGE) {
            cluster->transport->ops->message_free(cluster->transport, event.message);
        }
    }
}

static void take_info(struct cluster_device *device) {
    struct shoal_error why;
    if (device->lost) {
        return;
    }
    if (device->reply == NULL) {
        lose(device, TRANSPORT_LOST_SILENT, "connected, but it does not answer");
    } else if (!json_is_true(json_object_get(device->reply, "ok"))) {
        const shoal_status refused = control_refusal_status(device->reply, "it", &why);
        lose(device, TRANSPORT_LOST_REFUSED,
             refused != SHOAL_OK ? why.text : shoal_status_text(SHOAL_PROTOCOL));
    } else if (cluster_check_info(device, &why) != SHOAL_OK) {
        lose(device, TRANSPORT_LOST_BREACH, why.text);
    } else {
        device->info = json_incref(device->reply);
    }
}

static shoal_status ask_info(struct cluster *cluster, struct shoal_error *error) {
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        struct shoal_error why;
        if (!device->lost &&
            cluster_ask(cluster, i, json_pack("{s:s}", "call", "info"), &why) != SHOAL_OK) {
            lose(device, TRANSPORT_LOST_FAILED, why.text);
        }
    }
    TRY(cluster_settle(cluster, ANSWER_NS, error));
    for (uint32_t i = 0; i < cluster->count; i++) {
        take_info(&cluster->devices[i]);
    }
    return SHOAL_OK;
}

/* ---- what they may use ---- */

static size_t info_bytes(const struct cluster_device *device, const char *key) {
    const json_int_t value = json_integer_value(json_object_get(device->info, key));
    return value > 0 ? (size_t)value : 0;
}

size_t cluster_memory_limit(const struct cluster *cluster, uint32_t index) {
    const struct cluster_device *device = &cluster->devices[index];
    size_t limit = info_bytes(device, "memory_limit");
    if (cluster->file == NULL) {
        return limit;
    }
    if (limit == 0) { /* a node without a limit of its own takes what its machine has free */
        limit = info_bytes(device, "memory_available") + info_bytes(device, "resident_bytes");
    }
    const size_t declared = cluster->file->devices[device->declared].memory;
    limit = declared > 0 && declared < limit ? declared : limit;
    const size_t others = info_bytes(device, "memory_reserved");
    return limit > others ? limit - others : 1;
}

int cluster_threads(const struct cluster *cluster, uint32_t index) {
    const struct cluster_device *device = &cluster->devices[index];
    const int own = (int)json_integer_value(json_object_get(device->info, "threads"));
    const int declared =
        cluster->file != NULL ? cluster->file->devices[device->declared].threads : 0;
    return declared > 0 && declared < own ? declared : own;
}

/* ---- who is missing ---- */

static shoal_status missing_error(const struct cluster *cluster, struct shoal_error *error) {
    char text[SHOAL_ERROR_TEXT - 160] = "";
    size_t used = 0;
    uint32_t named = 0;
    const uint32_t lost = count_lost(cluster);
    for (uint32_t i = 0; i < cluster->count && used + 120 < sizeof text; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        if (device->lost) {
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s (%s): %s",
                                     named > 0 ? "; " : "", device->name, device->address,
                                     device->lost_text);
            named++;
        }
    }
    char more[32] = "";
    if (named < lost) {
        (void)snprintf(more, sizeof more, "; and %u more", lost - named);
    }
    return error_set(error, SHOAL_PEER_LOST,
                     "%u of %u devices cannot be used: %s%s. What to do about it: shoal doctor "
                     "--cluster %.100s",
                     lost, cluster->count, text, more, cluster->file->path);
}

shoal_status cluster_keep_available(struct cluster *cluster, struct shoal_error *error) {
    if (count_lost(cluster) == cluster->count) {
        return missing_error(cluster, error);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        if (device->lost) {
            json_decref(device->info);
            json_decref(device->reply);
        } else {
            cluster->devices[kept++] = *device;
        }
    }
    cluster->count = kept;
    return SHOAL_OK;
}

shoal_status cluster_connect(const struct cluster_file *file,
                             const struct cluster_connect_options *options, struct cluster **out,
                             struct shoal_error *error) {
    struct cluster *cluster = mem_calloc(1, sizeof *cluster);
    if (cluster == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a cluster");
    }
    cluster->file = file;
    memcpy(cluster->owner_key, options->keys->public_key, ZMQ_KEY_TEXT);
    shoal_status status = fill_devices(cluster, file, error);
    if (status == SHOAL_OK) {
        status = make_transport(cluster, file, options, error);
    }
    if (status == SHOAL_OK) {
        status = connect_all(cluster, error);
    }
    if (status == SHOAL_OK) {
        status = ask_info(cluster, error);
    }
    if (status == SHOAL_OK && !options->partly && count_lost(cluster) > 0) {
        status = missing_error(cluster, error);
    }
    if (status != SHOAL_OK) {
        cluster_destroy(cluster);
        return status;
    }
    *out = cluster;
    return SHOAL_OK;
}
