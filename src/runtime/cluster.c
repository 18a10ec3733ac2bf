#include "runtime/cluster.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/process.h"
#include "runtime/control.h"
#include "runtime/link.h"
#include "runtime/local.h"

#include <stdio.h>
#include <string.h>

#define WATCH_NS (100 * CLOCK_MS) /* how often local processes are looked at */
#define CONNECT_NS (20 * CLOCK_SECOND)
#define INFO_NS (10 * CLOCK_SECOND)
#define RETRY_NS (1 * CLOCK_SECOND) /* a busy device is asked again so often, */
#define BUSY_NS (60 * CLOCK_SECOND) /* for so long */
#define RENEWALS_PER_LEASE 4

uint32_t cluster_find(const struct cluster *cluster, const char *name) {
    uint32_t i = 0;
    while (i < cluster->count && strcmp(cluster->devices[i].name, name) != 0) {
        i++;
    }
    return i;
}

void cluster_interrupt(struct cluster *cluster) {
    cluster->transport->ops->interrupt(cluster->transport);
}

static bool mark_lost(struct cluster_device *device, const char *reason) {
    if (device->lost) {
        return false;
    }
    device->lost = true;
    (void)snprintf(device->lost_text, sizeof device->lost_text, "%s", reason);
    return true;
}

/* A local process that ended says more than its closed connection: "killed by signal 9". */
static bool find_ended(struct cluster *cluster, struct transport_event *event) {
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        char description[96];
        if (local_ended(device, description, sizeof description) &&
            mark_lost(device, description)) {
            *event = (struct transport_event){.kind = TRANSPORT_PEER_LOST};
            memcpy(event->peer, device->name, sizeof event->peer);
            memcpy(event->text, description, sizeof description);
            return true;
        }
    }
    return false;
}

/* Whether a refusal means: later. The call then stays open. */
static bool ask_again(struct cluster_device *device, const json_t *reply) {
    const char *status = json_string_value(json_object_get(reply, "status"));
    const char *text = json_string_value(json_object_get(reply, "text"));
    const uint64_t now = platform_now_ns();
    if (device->request == NULL || status == NULL || text == NULL || strcmp(status, "BUSY") != 0) {
        return false;
    }
    if (device->retry_until_ns == 0) {
        device->retry_until_ns = now + BUSY_NS;
        log_warn("device %s is %s; waiting", device->name, text);
    }
    device->retry_ns = now + RETRY_NS;
    return now < device->retry_until_ns;
}

static void close_request(struct cluster_device *device) {
    json_decref(device->request);
    device->request = NULL;
    device->retry_ns = 0;
}

static void send_retries(struct cluster *cluster) {
    const uint64_t now = platform_now_ns();
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        struct shoal_error error;
        if (device->retry_ns == 0 || now < device->retry_ns || device->lost) {
            continue;
        }
        device->retry_ns = 0;
        if (control_send(cluster->transport, device->name, WIRE_REQUEST,
                         json_incref(device->request), &error) != SHOAL_OK) {
            log_debug("device %s: %s", device->name, error.text); /* lost, or again in a second */
            device->retry_ns = now + RETRY_NS;
        }
    }
}

void cluster_lease(struct cluster *cluster, uint64_t lease_ns) {
    cluster->lease_ns = lease_ns;
    cluster->renew_ns = platform_now_ns() + lease_ns / RENEWALS_PER_LEASE;
}

static void renew(struct cluster *cluster) {
    const uint64_t now = platform_now_ns();
    if (cluster->lease_ns == 0 || now < cluster->renew_ns) {
        return;
    }
    cluster->renew_ns = now + cluster->lease_ns / RENEWALS_PER_LEASE;
    for (uint32_t i = 0; i < cluster->count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        struct shoal_error error;
        if (!device->lost &&
            control_send(cluster->transport, device->name, WIRE_EVENT,
                         json_pack("{s:s}", "event", "renew"), &error) != SHOAL_OK) {
            log_debug("device %s: %s", device->name, error.text);
        }
    }
}

static void file_reply(struct cluster *cluster, const char *peer,
                       const struct wire_message *message) {
    const uint32_t index = cluster_find(cluster, peer);
    struct shoal_error error;
    json_t *reply;
    int64_t id;
    if (index == cluster->count) {
        return;
    }
    struct cluster_device *device = &cluster->devices[index];
    if (control_parse(message, &reply, &error) != SHOAL_OK) {
        log_warn("%s: %s", peer, error.text);
        return;
    }
    if (control_integer(reply, "id", 0, INT64_MAX, &id, &error) != SHOAL_OK ||
        (uint64_t)id != device->pending || device->pending == 0) {
        log_debug("%s answered a question that nobody asked", peer);
        json_decref(reply);
        return;
    }
    if (ask_again(device, reply)) {
        json_decref(reply);
        return;
    }
    close_request(device);
    json_decref(device->reply);
    device->reply = reply;
    device->pending = 0;
}

/* Devices measure their links to this side, too. */
static void answer_probe(struct cluster *cluster, struct cluster_device *device) {
    struct shoal_error error;
    const shoal_status status =
        link_answer(cluster->transport, device->name, device->owed_number, &error);
    device->owed = status == SHOAL_BUSY; /* again when it is writable */
    if (status != SHOAL_OK && status != SHOAL_BUSY) {
        log_debug("a probe of %s stays unanswered: %s", device->name, error.text);
    }
}

static void take_probe(struct cluster *cluster, const char *peer,
                       const struct wire_header *header) {
    const uint32_t index = cluster_find(cluster, peer);
    if (index < cluster->count) {
        cluster->devices[index].owed_number = header->microbatch;
        answer_probe(cluster, &cluster->devices[index]);
    }
}

static void on_writable(struct cluster *cluster, const char *peer) {
    const uint32_t index = cluster_find(cluster, peer);
    if (index < cluster->count && cluster->devices[index].owed) {
        answer_probe(cluster, &cluster->devices[index]);
    }
}

/* True if the event was a reply, or a probe, and is dealt with. */
static bool take_reply(struct cluster *cluster, struct transport_event *event) {
    struct wire_message message;
    if (event->kind != TRANSPORT_MESSAGE ||
        wire_decode(event->message->data, event->message->size, &message, NULL) != SHOAL_OK) {
        return false;
    }
    if (message.header.kind == WIRE_PROBE && link_is_question(&message.header)) {
        take_probe(cluster, event->peer, &message.header);
    } else if (message.header.kind == WIRE_REPLY) {
        file_reply(cluster, event->peer, &message);
    } else {
        return false;
    }
    cluster->transport->ops->message_free(cluster->transport, event->message);
    return true;
}

shoal_status cluster_next(struct cluster *cluster, uint64_t deadline_ns,
                          struct transport_event *event, struct shoal_error *error) {
    for (;;) {
        if (process_stop_requested() != 0) {
            return error_set(error, SHOAL_CANCELLED, "interrupted");
        }
        if (find_ended(cluster, event)) {
            return SHOAL_OK;
        }
        send_retries(cluster);
        renew(cluster);
        const uint64_t watch = platform_now_ns() + WATCH_NS;
        const shoal_status status = cluster->transport->ops->next(
            cluster->transport, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
            watch < deadline_ns ? watch : deadline_ns, event, error);
        if (status == SHOAL_TIMEOUT && platform_now_ns() < deadline_ns) {
            continue;
        }
        TRY(status);
        if (take_reply(cluster, event)) {
            *event = (struct transport_event){.kind = TRANSPORT_INTERRUPT};
            return SHOAL_OK; /* the caller looks at its devices */
        }
        if (event->kind == TRANSPORT_WRITABLE) {
            on_writable(cluster, event->peer);
        }
        if (event->kind == TRANSPORT_PEER_LOST) {
            const uint32_t index = cluster_find(cluster, event->peer);
            if (index < cluster->count) {
                struct transport_event ended;
                platform_sleep_ns(
                    10 *
                    CLOCK_MS); /* a process that died is about to be reaped: prefer its story */
                if (find_ended(cluster, &ended)) {
                    *event = ended;
                    return SHOAL_OK;
                }
                cluster->devices[index].lost_reason = event->reason;
                if (!mark_lost(&cluster->devices[index], event->text)) {
                    continue; /* known already */
                }
            }
        }
        return SHOAL_OK;
    }
}

static shoal_status lost_error(const struct cluster_device *device, struct shoal_error *error) {
    return error_set(error, SHOAL_PEER_LOST, "device %s was lost: %s", device->name,
                     device->lost_text);
}

shoal_status cluster_ask(struct cluster *cluster, uint32_t index, json_t *request,
                         struct shoal_error *error) {
    struct cluster_device *device = &cluster->devices[index];
    if (device->lost) {
        json_decref(request);
        return lost_error(device, error);
    }
    device->pending = ++cluster->next_id;
    device->retry_until_ns = 0;
    close_request(device);
    json_decref(device->reply);
    device->reply = NULL;
    if (request == NULL ||
        json_object_set_new(request, "id", json_integer((json_int_t)device->pending)) != 0) {
        json_decref(request);
        device->pending = 0;
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a request");
    }
    device->request = json_incref(request);
    const shoal_status status =
        control_send(cluster->transport, device->name, WIRE_REQUEST, request, error);
    if (status != SHOAL_OK) {
        device->pending = 0;
        close_request(device);
        return error_wrap(error, status, "device %s", device->name);
    }
    return SHOAL_OK;
}

/* The first asked device that is lost or refused; or how many still think. */
static shoal_status look_at_replies(struct cluster *cluster, uint32_t *open, const char **waiting,
                                    struct shoal_error *error) {
    *open = 0;
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        if (device->pending != 0) {
            if (device->lost) {
                return lost_error(device, error);
            }
            ++*open;
            *waiting = device->name;
        } else if (device->reply != NULL && !json_is_true(json_object_get(device->reply, "ok"))) {
            char name[TRANSPORT_NAME_BYTES + 8];
            (void)snprintf(name, sizeof name, "device %s", device->name);
            return control_refusal_status(device->reply, name, error);
        }
    }
    return SHOAL_OK;
}

shoal_status cluster_collect(struct cluster *cluster, uint64_t timeout_ns,
                             struct shoal_error *error) {
    const uint64_t deadline = platform_now_ns() + timeout_ns;
    for (;;) {
        uint32_t open;
        const char *waiting = "";
        TRY(look_at_replies(cluster, &open, &waiting, error));
        if (open == 0) {
            return SHOAL_OK;
        }
        struct transport_event event;
        const shoal_status status = platform_now_ns() < deadline
                                        ? cluster_next(cluster, deadline, &event, error)
                                        : SHOAL_TIMEOUT;
        if (status == SHOAL_TIMEOUT) {
            return error_set(error, SHOAL_TIMEOUT, "device %s did not answer within %.0f s",
                             waiting, (double)timeout_ns * 1e-9);
        }
        TRY(status);
        if (event.kind == TRANSPORT_MESSAGE) {
            cluster->transport->ops->message_free(cluster->transport, event.message);
        }
    }
}

shoal_status cluster_call(struct cluster *cluster, uint32_t device, json_t *request,
                          uint64_t timeout_ns, const json_t **reply, struct shoal_error *error) {
    TRY(cluster_ask(cluster, device, request, error));
    TRY(cluster_collect(cluster, timeout_ns, error));
    *reply = cluster->devices[device].reply;
    return SHOAL_OK;
}

static shoal_status connect_all(struct cluster *cluster, struct shoal_error *error) {
    for (uint32_t i = 0; i < cluster->count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        TRY(cluster->transport->ops->connect(cluster->transport, device->name, device->address,
                                             device->key, error));
    }
    const uint64_t deadline = platform_now_ns() + CONNECT_NS;
    for (uint32_t up = 0; up < cluster->count;) {
        struct transport_event event;
        const shoal_status status = cluster_next(cluster, deadline, &event, error);
        if (status == SHOAL_TIMEOUT) {
            return error_set(error, SHOAL_TIMEOUT, "only %u of %u devices connected in time", up,
                             cluster->count);
        }
        TRY(status);
        if (event.kind == TRANSPORT_PEER_UP) {
            up++;
        } else if (event.kind == TRANSPORT_PEER_LOST) {
            return error_set(error, SHOAL_PEER_LOST, "device %s was lost: %s", event.peer,
                             event.text);
        } else if (event.kind == TRANSPORT_MESSAGE) {
            cluster->transport->ops->message_free(cluster->transport, event.message);
        }
    }
    return SHOAL_OK;
}

/* What planning computes with must be numbers that it can compute with. */
shoal_status cluster_check_info(const struct cluster_device *device, struct shoal_error *error) {
    static const struct {
        const char *key;
        int64_t least, most;
    } wanted[] = {{"cores", 1, 1 << 20},
                  {"threads", 1, 1 << 20},
                  {"memory_limit", 0, INT64_C(1) << 62},
                  {"resident_bytes", 0, INT64_C(1) << 50}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        int64_t value;
        const shoal_status status = control_integer(device->reply, wanted[i].key, wanted[i].least,
                                                    wanted[i].most, &value, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "device %s", device->name);
        }
    }
    return SHOAL_OK;
}

static shoal_status ask_info(struct cluster *cluster, struct shoal_error *error) {
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(cluster_ask(cluster, i, json_pack("{s:s}", "call", "info"), error));
    }
    TRY(cluster_collect(cluster, INFO_NS, error));
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(cluster_check_info(&cluster->devices[i], error));
        cluster->devices[i].info = json_incref(cluster->devices[i].reply);
    }
    return SHOAL_OK;
}

shoal_status cluster_start_local(const struct cluster_options *options, struct cluster **out,
                                 struct shoal_error *error) {
    struct cluster *cluster = mem_calloc(1, sizeof *cluster);
    if (cluster == NULL ||
        (cluster->devices = mem_calloc(options->count, sizeof *cluster->devices)) == NULL) {
        mem_free(cluster);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %u devices", options->count);
    }
    cluster->count = options->count;
    cluster->in_process = options->in_process;
    const int share = cpu_usable_cores() / (int)options->count;
    cluster->threads = options->threads > 0 ? options->threads : share > 1 ? share : 1;
    shoal_status status = local_start(cluster, options, error);
    if (status == SHOAL_OK) {
        status = connect_all(cluster, error);
    }
    if (status == SHOAL_OK) {
        status = ask_info(cluster, error);
    }
    if (status != SHOAL_OK) {
        cluster_destroy(cluster);
        return status;
    }
    *out = cluster;
    return SHOAL_OK;
}

void cluster_destroy(struct cluster *cluster) {
    if (cluster == NULL) {
        return;
    }
    local_stop(cluster);
    if (cluster->transport != NULL) {
        cluster->transport->ops->destroy(cluster->transport);
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        json_decref(cluster->devices[i].info);
        json_decref(cluster->devices[i].reply);
        json_decref(cluster->devices[i].request);
    }
    mem_free(cluster->devices);
    mem_free(cluster);
}
