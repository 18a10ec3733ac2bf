/*
 * Brings contents to the devices of a cluster: asks what they have (`have`), lets them fetch what
 * they lack from here or from each other (`fetch`, protocol/distribute.h decides), and serves what
 * is asked from here meanwhile (`read`). Returns when every device has what it needs; it then keeps
 * that, pinned, until it loses the connection to the owner or is told to `release` it.
 *
 * Threads: the cluster's owner thread, which this uses until it returns.
 */
#ifndef RUNTIME_DISTRIBUTION_H
#define RUNTIME_DISTRIBUTION_H

#include "formats/digest.h"
#include "runtime/cluster.h"

struct distribution_content {
    char key[DIGEST_TEXT];
    const char *name; /* for people */
    uint64_t bytes;
};

struct distribution_progress {
    uint64_t done_bytes, total_bytes; /* of all devices together */
    uint64_t sent_bytes;              /* left this process */
    double seconds;
};

struct distribution_options {
    struct cluster *cluster;
    const struct distribution_content *contents; /* each key once */
    uint32_t content_count;
    const bool *needs; /* [cluster->count][content_count] */
    /* Reads a content here: up to size bytes, 0 at its end only. */
    shoal_status (*read)(void *context, const char *key, uint64_t offset, void *out, size_t size,
                         size_t *got, struct shoal_error *error);
    void *read_context;
    void (*on_progress)(void *context, const struct distribution_progress *progress); /* or NULL */
    void *context;
    uint64_t stall_ns; /* a device that receives nothing for so long; 0 = 60 s */
};

struct distribution_device {
    uint64_t received_bytes; /* over the network, in this distribution */
    uint64_t had_bytes;      /* of what it needs, there before */
};

struct distribution_outcome {
    uint64_t sent_bytes; /* left this process */
    uint64_t received_bytes, had_bytes;
    double seconds;
    struct distribution_device *devices; /* [device_count], the cluster's order */
    uint32_t device_count;
};

/*
 * *out is filled as far as it came, also on errors; distribution_outcome_fini it. Errors: NO_SPACE
 * (the device's figures), PEER_LOST, TIMEOUT, PROTOCOL, CORRUPT (what the origin reads is not what
 * its keys say), CANCELLED (Ctrl-C), UNSUPPORTED (a device without a cache), NO_MEMORY, all naming
 * device and content.
 */
NODISCARD shoal_status distribution_run(const struct distribution_options *options,
                                        struct distribution_outcome *out,
                                        struct shoal_error *error);
void distribution_outcome_fini(struct distribution_outcome *outcome);

#endif
