#include "cli/cluster_command.h"

#include "cli/cli.h"
#include "cli/session.h"
#include "plan/explain.h"
#include "platform/process.h"
#include "runtime/keys.h"

#include <string.h>

size_t cluster_command_options(struct cluster_command *command, struct args_option *out) {
    const struct args_option options[CLUSTER_COMMAND_OPTIONS] = {
        {"cluster", ARGS_TEXT, "FILE", "the cluster file", &command->path, 0, 0},
        {"key", ARGS_TEXT, "FILE", "this side's key file (default $SHOAL_HOME/key)", &command->key,
         0, 0},
        {"json", ARGS_FLAG, NULL, "one JSON document on standard output, nothing else",
         &command->json, 0, 0},
    };
    memcpy(out, options, sizeof options);
    return CLUSTER_COMMAND_OPTIONS;
}

shoal_status cluster_command_open(struct cluster_command *command, struct shoal_error *error) {
    struct zmq_keypair keys;
    if (command->path == NULL) {
        return error_set(error, SHOAL_USAGE,
                         "--cluster FILE is missing: which devices? ('shoal key' on each machine "
                         "shows its line of the file)");
    }
    TRY(cluster_file_read(command->path, &command->file, error));
    TRY(session_read_key(command->key, &keys, error));
    process_catch_stop(NULL, NULL);
    const struct cluster_connect_options options = {.keys = &keys, .partly = true};
    const shoal_status status = cluster_connect(command->file, &options, &command->cluster, error);
    memset(&keys, 0, sizeof keys);
    return status;
}

void cluster_command_close(struct cluster_command *command) {
    cluster_destroy(command->cluster);
    cluster_file_free(command->file);
    command->cluster = NULL;
    command->file = NULL;
}

shoal_status cluster_command_print(json_t *document, struct shoal_error *error) {
    const bool printed = document != NULL && json_dumpf(document, stdout, JSON_INDENT(1)) == 0 &&
                         fputc('\n', stdout) != EOF;
    json_decref(document);
    return printed ? cli_flush(error)
                   : error_set(error, SHOAL_IO, "cannot write to standard output");
}

void cluster_command_bytes(double bytes, char *out, size_t out_bytes) {
    if (bytes > 0) {
        plan_format_bytes(bytes, out, out_bytes);
    } else {
        (void)snprintf(out, out_bytes, "-");
    }
}
