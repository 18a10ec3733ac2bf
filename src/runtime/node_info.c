/* `info`: what this device is, and what it is doing. */
#include "runtime/node_internal.h"

#include "base/memory.h"
#include "formats/digest.h"
#include "kernels/isa.h"
#include "kernels/registry.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/file.h"

#include <string.h>
#include <unistd.h>

#define ID_LIMIT 256
#define ID_DIGITS 32 /* of the hash: enough to tell machines apart */

/* The same for all devices of one machine, and for nobody to trace back: a hash of what the system
 * calls it, or of what this boot is called. */
static void machine_id(char out[DIGEST_TEXT]) {
    static const char *const files[] = {"/etc/machine-id", "/proc/sys/kernel/random/boot_id"};
    out[0] = '\0';
    for (size_t i = 0; i < sizeof files / sizeof files[0] && out[0] == '\0'; i++) {
        char *text;
        size_t size;
        if (file_read(files[i], ID_LIMIT, &text, &size, NULL) == SHOAL_OK) {
            if (size > 1) {
                struct digest digest;
                digest_init(&digest);
                digest_update(&digest, "shoal machine ", 14);
                digest_update(&digest, text, size);
                digest_final(&digest, out);
                out[ID_DIGITS] = '\0';
            }
            mem_free(text);
        }
    }
}

static json_t *jobs_document(const struct node *node) {
    json_t *list = json_array();
    const uint64_t now = platform_now_ns();
    for (int i = 0; list != NULL && i < NODE_MAX_JOBS; i++) {
        const struct node_job *job = &node->jobs[i];
        if (job->state != NODE_JOB_FREE &&
            json_array_append_new(
                list, json_pack("{s:I, s:s, s:i, s:i, s:I, s:f}", "id", (json_int_t)job->id,
                                "owner", job->owner, "stage", (int)job->index, "stages",
                                (int)job->count, "memory_bytes", (json_int_t)job->reserved_bytes,
                                "seconds", (double)(now - job->begin_ns) * 1e-9)) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* null: this device has none. */
static json_t *cache_document(const struct node *node) {
    struct contents_usage usage;
    if (node->options.contents == NULL ||
        contents_usage_get(node->options.contents, &usage, NULL) != SHOAL_OK) {
        return json_null();
    }
    return json_pack("{s:o, s:I, s:I, s:I, s:I}", "directory",
                     control_string(contents_directory(node->options.contents)), "bytes",
                     (json_int_t)usage.bytes, "quota", (json_int_t)usage.quota_bytes, "contents",
                     (json_int_t)usage.contents, "disk_free", (json_int_t)usage.disk_free_bytes);
}

shoal_status node_call_info(struct node_call *call, struct shoal_error *error) {
    const struct node *node = call->node;
    const struct node_options *options = &node->options;
    char host[256] = "", machine[DIGEST_TEXT];
    (void)gethostname(host, sizeof host - 1);
    machine_id(machine);
    json_t *reply = json_pack(
        "{s:I, s:b, s:s, s:s, s:o, s:s, s:o, s:s, s:s, s:i, s:i}", "id", (json_int_t)call->id, "ok",
        1, "name", options->name, "version", SHOAL_VERSION_TEXT, "host", control_string(host),
        "machine", machine, "cpu", control_string(cpu_model_name()), "isa", isa_name(isa_current()),
        "libraries", kernel_libraries(), "cores", cpu_usable_cores(), "threads", options->threads);
    json_t *rest = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:s?, s:I, s:f}", "message_bytes",
        (json_int_t)(options->message_bytes > 0 ? options->message_bytes : TRANSPORT_MESSAGE_BYTES),
        "memory_limit", (json_int_t)options->memory_limit, "memory_available",
        (json_int_t)memory_available_bytes(), "memory_total", (json_int_t)memory_total_bytes(),
        "memory_reserved", (json_int_t)node_reserved_bytes(node), "resident_bytes",
        (json_int_t)node->start_resident_bytes, "shared_process", (int)options->shared_process,
        "jobs", jobs_document(node), "cache", cache_document(node), "allow_file",
        options->allow_file, "clock_ms", (json_int_t)platform_wall_ms(), "uptime_s",
        (double)(platform_now_ns() - node->start_ns) * 1e-9);
    if (reply == NULL || rest == NULL || json_object_update(reply, rest) != 0) {
        json_decref(reply);
        reply = NULL;
    }
    json_decref(rest);
    return node_reply_or_out_of_memory(call, reply, error);
}
