#include "runtime/local.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "platform/process.h"
#include "runtime/control.h"
#include "runtime/keys.h"
#include "runtime/node.h"
#include "transport/inproc/inproc.h"
#include "transport/zmq/zmq_transport.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define START_NS (30 * CLOCK_SECOND)
#define STOP_NS (3 * CLOCK_SECOND)

struct local_device {
    struct process process; /* pid 0: none */
    pthread_t thread;
    bool thread_runs;
    struct transport *transport;
    struct node *node;
};

struct local_cluster {
    char directory[256]; /* keys, allow-list; empty for threads */
    struct inproc_hub *hub;
    struct local_device *devices;
    struct zmq_allowed *allowed;
};

/* ---- processes ---- */

static shoal_status make_keys(struct cluster *cluster, struct zmq_keypair *owner,
                              struct shoal_error *error) {
    struct local_cluster *local = cluster->local;
    char path[512];
    TRY(file_make_temporary(local->directory, sizeof local->directory, error));
    local->allowed = mem_calloc(cluster->count + 1, sizeof *local->allowed);
    if (local->allowed == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for keys");
    }
    TRY(zmq_keypair_make(owner, error));
    (void)snprintf(local->allowed[cluster->count].name, TRANSPORT_NAME_BYTES, "%s", CLUSTER_OWNER);
    memcpy(local->allowed[cluster->count].public_key, owner->public_key, ZMQ_KEY_TEXT);
    for (uint32_t i = 0; i < cluster->count; i++) {
        struct cluster_device *device = &cluster->devices[i];
        struct zmq_keypair keys;
        TRY(zmq_keypair_make(&keys, error));
        (void)snprintf(path, sizeof path, "%s/%s.key", local->directory, device->name);
        TRY(keys_write(path, &keys, error));
        memcpy(device->key, keys.public_key, sizeof keys.public_key);
        memcpy(local->allowed[i].name, device->name, TRANSPORT_NAME_BYTES);
        memcpy(local->allowed[i].public_key, keys.public_key, ZMQ_KEY_TEXT);
    }
    (void)snprintf(path, sizeof path, "%s/allow", local->directory);
    return keys_write_allowed(path, local->allowed, cluster->count + 1, error);
}

static shoal_status start_process(struct cluster *cluster, uint32_t index,
                                  const struct cluster_options *options,
                                  struct shoal_error *error) {
    char self[512], key[512], allow[512], threads[16], memory[32], window[32];
    const char *directory = cluster->local->directory;
    TRY(process_self_path(self, sizeof self, error));
    (void)snprintf(key, sizeof key, "%s/%s.key", directory, cluster->devices[index].name);
    (void)snprintf(allow, sizeof allow, "%s/allow", directory);
    (void)snprintf(threads, sizeof threads, "%d", cluster->threads);
    (void)snprintf(memory, sizeof memory, "%zu", options->memory_limit);
    (void)snprintf(window, sizeof window, "%zu", options->message_bytes);
    const char *const argv[] = {self,
                                "node",
                                "--listen",
                                "tcp://127.0.0.1:0",
                                "--name",
                                cluster->devices[index].name,
                                "--key",
                                key,
                                "--allow",
                                allow,
                                "--threads",
                                threads,
                                "--memory",
                                memory,
                                "--isa",
                                options->isa != NULL ? options->isa : "native",
                                "--log",
                                log_enabled(LOG_DEBUG) ? "debug" : "error",
                                "--message-bytes",
                                window,
                                "--drain",
                                "0",
                                "--local",
                                NULL};
    /* Threads are the kernels' business: a pool of OpenBLAS's own would only spin beside them. */
    static const char *const environment[] = {"OPENBLAS_NUM_THREADS=1", NULL};
    return process_start(argv, environment, &cluster->local->devices[index].process, error);
}

static shoal_status await_process(struct cluster *cluster, uint32_t index,
                                  struct shoal_error *error) {
    struct cluster_device *device = &cluster->devices[index];
    char line[320];
    const shoal_status status = process_read_line(&cluster->local->devices[index].process, line,
                                                  sizeof line, platform_now_ns() + START_NS, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "%s", device->name);
    }
    static const char prefix[] = "ready ";
    if (strncmp(line, prefix, sizeof prefix - 1) != 0) {
        return error_set(error, SHOAL_IO, "%s did not start: it said '%s'", device->name, line);
    }
    (void)snprintf(device->address, sizeof device->address, "%.255s", line + sizeof prefix - 1);
    return SHOAL_OK;
}

static shoal_status start_processes(struct cluster *cluster, const struct cluster_options *options,
                                    struct shoal_error *error) {
    struct zmq_keypair owner;
    TRY(make_keys(cluster, &owner, error));
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(start_process(cluster, i, options, error));
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(await_process(cluster, i, error));
    }
    const struct zmq_transport_options transport = {
        .base = {.name = CLUSTER_OWNER,
                 .message_bytes = options->message_bytes,
                 .control_bytes = CONTROL_LOCAL_BYTES,
                 .lost_after_ns = CLUSTER_LOST_AFTER_NS},
        .keys = owner,
        .allowed = cluster->local->allowed,
        .allowed_count = cluster->count,
    };
    return zmq_transport_create(&transport, &cluster->transport, error);
}

/* ---- threads ---- */

static void *run_device(void *argument) {
    struct local_device *device = argument;
    struct shoal_error error;
    if (node_run(device->node, &error) != SHOAL_OK) {
        log_error("a device's thread ended: %s", error.text);
    }
    return NULL;
}

static shoal_status start_thread(struct cluster *cluster, uint32_t index,
                                 const struct cluster_options *options, struct shoal_error *error) {
    struct local_device *device = &cluster->local->devices[index];
    const struct transport_options transport = {.name = cluster->devices[index].name,
                                                .message_bytes = options->message_bytes,
                                                .control_bytes = CONTROL_LOCAL_BYTES,
                                                .lost_after_ns = CLUSTER_LOST_AFTER_NS};
    TRY(inproc_create(cluster->local->hub, &transport, &device->transport, error));
    const struct node_options node = {.name = cluster->devices[index].name,
                                      .transport = device->transport,
                                      .threads = cluster->threads,
                                      .memory_limit = options->memory_limit,
                                      .shared_process = true,
                                      .local = true};
    TRY(node_create(&node, &device->node, error));
    if (pthread_create(&device->thread, NULL, run_device, device) != 0) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: cannot start its thread", node.name);
    }
    device->thread_runs = true;
    (void)snprintf(cluster->devices[index].address, sizeof cluster->devices[index].address,
                   "inproc://%s", node.name);
    (void)snprintf(cluster->devices[index].key, sizeof cluster->devices[index].key, "-");
    return SHOAL_OK;
}

static shoal_status start_threads(struct cluster *cluster, const struct cluster_options *options,
                                  struct shoal_error *error) {
    TRY(inproc_hub_create(&cluster->local->hub, error));
    for (uint32_t i = 0; i < cluster->count; i++) {
        TRY(start_thread(cluster, i, options, error));
    }
    const struct transport_options transport = {.name = CLUSTER_OWNER,
                                                .message_bytes = options->message_bytes,
                                                .control_bytes = CONTROL_LOCAL_BYTES,
                                                .lost_after_ns = CLUSTER_LOST_AFTER_NS};
    return inproc_create(cluster->local->hub, &transport, &cluster->transport, error);
}

/* ---- both ---- */

shoal_status local_start(struct cluster *cluster, const struct cluster_options *options,
                         struct shoal_error *error) {
    struct local_cluster *local = mem_calloc(1, sizeof *local);
    cluster->local = local;
    if (local == NULL ||
        (local->devices = mem_calloc(cluster->count, sizeof *local->devices)) == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %u devices", cluster->count);
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        local->devices[i].process = (struct process){.pid = 0, .output_fd = -1, .input_fd = -1};
        cluster->devices[i].local = &local->devices[i];
        (void)snprintf(cluster->devices[i].name, TRANSPORT_NAME_BYTES, "local-%u", i + 1);
    }
    return options->in_process ? start_threads(cluster, options, error)
                               : start_processes(cluster, options, error);
}

void local_stop(struct cluster *cluster) {
    struct local_cluster *local = cluster->local;
    if (local == NULL) {
        return;
    }
    if (cluster->transport != NULL) {
        cluster->transport->ops->destroy(cluster->transport);
        cluster->transport = NULL;
    }
    for (uint32_t i = 0; local->devices != NULL && i < cluster->count; i++) {
        struct local_device *device = &local->devices[i];
        process_stop(&device->process, STOP_NS);
        if (device->thread_runs) {
            node_stop(device->node);
            (void)pthread_join(device->thread, NULL);
        }
        node_destroy(device->node);
        if (device->transport != NULL) {
            device->transport->ops->destroy(device->transport);
        }
    }
    inproc_hub_destroy(local->hub);
    if (local->directory[0] != '\0') {
        file_remove_tree(local->directory);
    }
    mem_free(local->allowed);
    mem_free(local->devices);
    mem_free(local);
    cluster->local = NULL;
}

bool local_ended(struct cluster_device *device, char *description, size_t description_bytes) {
    return device->local != NULL && device->local->process.pid > 0 &&
           process_ended(&device->local->process, description, description_bytes);
}
