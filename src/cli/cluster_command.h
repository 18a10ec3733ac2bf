/* What nodes, links and doctor have in common: a cluster file, a key, devices as far as they are
 * there. */
#ifndef CLI_CLUSTER_COMMAND_H
#define CLI_CLUSTER_COMMAND_H

#include "cli/args.h"
#include "runtime/cluster.h"
#include "runtime/cluster_file.h"

#include <jansson.h>

struct cluster_command {
    const char *path, *key; /* --cluster, --key */
    bool json;
    struct cluster_file *file;
    struct cluster *cluster;
};

/* --cluster, --key, --json; returns how many (CLUSTER_COMMAND_OPTIONS). */
#define CLUSTER_COMMAND_OPTIONS 3
size_t cluster_command_options(struct cluster_command *command, struct args_option *out);

/* Reads file and key, connects; devices that are not there are marked lost. Errors: USAGE, those of
 * cluster_file_read, session_read_key and cluster_connect. */
NODISCARD shoal_status cluster_command_open(struct cluster_command *command,
                                            struct shoal_error *error);
void cluster_command_close(struct cluster_command *command);

/* Takes the reference; NULL: memory is out. Errors: IO. */
NODISCARD shoal_status cluster_command_print(json_t *document, struct shoal_error *error);

/* Fills a cell of a table: "2.0 GiB", "-" for 0. */
void cluster_command_bytes(double bytes, char *out, size_t out_bytes);

#endif
