/* Who holds how much of this device's memory, and whether one more job fits. */
#include "runtime/node_internal.h"

#include "platform/cpu.h"

#include <stdio.h>
#include <string.h>

#define MB 1e6

size_t node_reserved_bytes(const struct node *node) {
    size_t bytes = 0;
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        bytes += node->jobs[i].reserved_bytes;
    }
    return bytes;
}

/* What the process takes besides its jobs and their messages: program, libraries, generated code.
 */
static size_t base_bytes(const struct node *node) {
    struct transport_stats stats;
    node->transport->ops->stats(node->transport, &stats);
    const size_t now = memory_resident_bytes();
    const size_t jobs = node_reserved_bytes(node) + stats.pool_bytes;
    const size_t rest = now > jobs ? now - jobs : 0;
    return rest > node->start_resident_bytes ? rest : node->start_resident_bytes;
}

/* ", holding 12.0 MB for job 7 of laptop", for every job but one. */
static void list_holders(const struct node *node, const struct node_job *except, char *text,
                         size_t text_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < NODE_MAX_JOBS; i++) {
        const struct node_job *job = &node->jobs[i];
        if (job != except && job->reserved_bytes > 0 && used < text_bytes) {
            const int written =
                snprintf(text + used, text_bytes - used, ", %.1f MB for a job of %s",
                         (double)job->reserved_bytes / MB, job->owner);
            used += written > 0 ? (size_t)written : 0;
        }
    }
}

/* Bytes that this process may have; 0: whatever it wants. */
static size_t limit_bytes(const struct node *node) {
    if (node->options.memory_limit > 0 || node->options.shared_process) {
        return node->options.memory_limit;
    }
    return memory_resident_bytes() + memory_available_bytes();
}

bool node_has_room(const struct node *node, size_t bytes) {
    const size_t limit = limit_bytes(node);
    return limit == 0 || base_bytes(node) + node_reserved_bytes(node) + bytes <= limit;
}

shoal_status node_reserve(struct node_job *job, const char *what, size_t bytes,
                          struct shoal_error *error) {
    const struct node *node = job->node;
    const size_t base = base_bytes(node), jobs = node_reserved_bytes(node);
    const size_t limit = limit_bytes(node);
    const char *whose = node->options.memory_limit > 0 ? "the limit" : "what the machine has";
    if (limit > 0 && base + jobs + bytes > limit) {
        char holders[256];
        list_holders(node, job, holders, sizeof holders);
        return error_set(error, SHOAL_NO_MEMORY,
                         "%s need %.1f MB, free are %.1f MB: %s is %.1f MB, in use are %.1f MB for "
                         "the program%s",
                         what, (double)bytes / MB,
                         (double)(limit > base + jobs ? limit - base - jobs : 0) / MB, whose,
                         (double)limit / MB, (double)base / MB, holders);
    }
    job->reserved_bytes = bytes;
    return SHOAL_OK;
}
