#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "kernels/isa.h"
#include "platform/cpu.h"
#include "platform/process.h"
#include "runtime/cluster.h"
#include "runtime/keys.h"
#include "runtime/node.h"
#include "transport/zmq/zmq_transport.h"

#include <string.h>
#include <unistd.h>

struct node_arguments {
    const char *listen, *name, *key, *allow, *isa, *log;
    int64_t threads;
    size_t memory, message_bytes;
};

static void stop(void *argument) {
    node_stop(argument);
}

static shoal_status serve(const struct node_arguments *arguments, struct transport *transport,
                          struct shoal_error *error) {
    struct node *node;
    const struct node_options options = {.name = arguments->name,
                                         .transport = transport,
                                         .threads = arguments->threads > 0 ? (int)arguments->threads
                                                                           : cpu_usable_cores(),
                                         .memory_limit = arguments->memory};
    TRY(node_create(&options, &node, error));
    process_catch_stop(stop, node);
    if (process_stop_requested() != 0) {
        node_stop(node);
    }
    printf("ready %s\n", transport->ops->address(
                             transport)); /* whoever started this process waits for the line */
    (void)fflush(stdout);
    const shoal_status status = node_run(node, error);
    process_catch_stop(NULL, NULL);
    node_destroy(node);
    return status;
}

static shoal_status start(const struct node_arguments *arguments, struct shoal_error *error) {
    if (arguments->key == NULL || arguments->allow == NULL) {
        return error_set(error, SHOAL_USAGE,
                         "--key FILE and --allow FILE are needed: no link is open to strangers");
    }
    struct zmq_transport_options options = {.base = {.name = arguments->name,
                                                     .message_bytes = arguments->message_bytes,
                                                     .lost_after_ns = CLUSTER_LOST_AFTER_NS},
                                            .listen = arguments->listen};
    TRY(keys_read(arguments->key, &options.keys, error));
    struct zmq_allowed *allowed;
    TRY(keys_read_allowed(arguments->allow, &allowed, &options.allowed_count, error));
    options.allowed = allowed;
    struct transport *transport;
    shoal_status status = zmq_transport_create(&options, &transport, error);
    mem_free(allowed);
    memset(&options.keys, 0, sizeof options.keys);
    if (status == SHOAL_OK) {
        status = serve(arguments, transport, error);
        transport->ops->destroy(transport);
    }
    return status;
}

int cli_node(int argc, char **argv) {
    static char host[64];
    (void)gethostname(host, sizeof host - 1);
    struct node_arguments a = {
        .listen = "tcp://127.0.0.1:7700", .name = host, .isa = "native", .log = "info"};
    const struct args_option options[] = {
        {"listen", ARGS_TEXT, "ADDR",
         "where to listen (default tcp://127.0.0.1:7700; port 0 picks one)", &a.listen, 0, 0},
        {"name", ARGS_TEXT, "N", "this device's name (default: the host's)", &a.name, 0, 0},
        {"key", ARGS_TEXT, "FILE",
         "this device's key file: lines 'public KEY' and 'secret KEY', mode 0600", &a.key, 0, 0},
        {"allow", ARGS_TEXT, "FILE", "who may connect: lines 'NAME KEY'", &a.allow, 0, 0},
        {"threads", ARGS_COUNT, "T", "compute threads (default: all cores)", &a.threads, 1, 1024},
        {"memory", ARGS_SIZE, "SIZE",
         "refuse stages beyond this much memory, e.g. 2G (default: no limit)", &a.memory, 0, 0},
        {"isa", ARGS_TEXT, "NAME", "instruction set cap: native, baseline, avx2, avx512, neon",
         &a.isa, 0, 0},
        {"log", ARGS_TEXT, "LEVEL", "error, warn, info or debug (default info)", &a.log, 0, 0},
        {"message-bytes", ARGS_SIZE, "SIZE", "largest tensor message accepted (default 64M)",
         &a.message_bytes, 0, 0},
    };
    const struct args_command command = {
        .name = "node",
        .summary = "Be a device of a cluster: listen for peers on the allow-list, hold one stage "
                   "of a model at a time, compute.\n"
                   "SIGTERM and Ctrl-C stop it. The owner of a job sends everything else; shoal "
                   "run --devices N starts its own.",
        .examples =
            "  shoal node --name pi-1 --listen tcp://192.0.2.11:7700 --key pi-1.key --allow peers\n"
            "  shoal node --key k --allow peers --memory 2G --threads 4\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0]};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    enum log_level level;
    enum isa isa;
    if (!log_parse_level(a.log, &level)) {
        (void)error_set(&error, SHOAL_USAGE, "--log: '%s' is none of error, warn, info, debug",
                        a.log);
        return cli_fail("node", &error);
    }
    log_set_level(level);
    log_set_name(a.name);
    if (isa_parse(a.isa, &isa, &error) != SHOAL_OK || isa_cap(isa, cli_argv, &error) != SHOAL_OK ||
        start(&a, &error) != SHOAL_OK) {
        return cli_fail("node", &error);
    }
    return 0;
}
